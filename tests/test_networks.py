"""Networks on the grid of a lattice: what they are compared with, what they can learn, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nearsight.fields import FieldType, displacement, ising, jahn_teller, scalar, spin
from nearsight.forcefields import LearnedForceField, load, save
from nearsight.groups import PointGroup
from nearsight.lattices import (
    Lattice,
    chain,
    cubic,
    honeycomb,
    neighbour_permutations,
    site_group,
    site_permutations,
    square,
    triangular,
)
from nearsight.networks import GroupCNN, GroupConvolution, LatticeNetwork, SpinCNN, SymmetrisedMLP
from nearsight.networks.saturation import Saturation
from nearsight.training import DataSet, FitOptions, fit

VECTOR = displacement()
CHIRAL = spin(time_reversal=False)


def rotations(lattice: Lattice) -> PointGroup:
    matrices = site_group(lattice).matrices
    return PointGroup(matrices[np.linalg.det(matrices) > 0])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


NETWORKS = [
    pytest.param(lambda **o: GroupCNN(square(6), scalar(), channels=2, **o), id="GroupCNN"),
    pytest.param(lambda **o: GroupCNN(triangular(6), VECTOR, channels=2, radii=(1.1, 1.1), **o), id="GroupCNN, p6m"),
    pytest.param(lambda **o: GroupCNN(chain(8), ising(), channels=2, **o), id="GroupCNN, chain"),
    pytest.param(lambda **o: GroupCNN(cubic(4), VECTOR, channels=1, radii=(1.1, 1.1), **o), id="GroupCNN, Oh"),
    pytest.param(lambda **o: SymmetrisedMLP(square(6), jahn_teller(), cutoff=2.3, widths=(6, 5), **o), id="window"),
    pytest.param(lambda **o: SymmetrisedMLP(cubic(4), VECTOR, cutoff=1.1, widths=(4, 4), **o), id="window, Oh"),
    pytest.param(lambda **o: SpinCNN(square(6), spin(), channels=2, **o), id="SpinCNN"),
    pytest.param(
        lambda **o: SpinCNN(triangular(6), CHIRAL, channels=2, radii=(1.1, 1.1), group=rotations(triangular(6)), **o),
        id="SpinCNN, C6",
    ),
]
network = pytest.mark.parametrize("make", NETWORKS)
heads = pytest.mark.parametrize("head", ["energy", "force"])


def haloed(net: LatticeNetwork, shape: tuple[int, ...], rng: torch.Generator, batch: int = 1) -> torch.Tensor:
    halo = [n + 2 * r for n, r in zip(shape, net.reach, strict=True)]
    return torch.randn(batch, net.components, *halo, generator=rng, dtype=torch.float64)


# --- one call -------------------------------------------------------------------------------------------------------


@network
@heads
def test_a_grid_with_its_halo_gives_one_result_for_every_inner_site(make, head, rng):
    net = make(head=head).double().eval()
    shape = (5, 3, 4)[: net.dim]
    result = net(haloed(net, shape, rng, 2))
    assert result.shape == (2, 1 if head == "energy" else net.components, *shape)


@network
@heads
def test_a_site_sees_as_far_as_the_reach_and_no_farther(make, head, rng):
    net = make(head=head).double().eval()
    grid = haloed(net, (1,) * net.dim, rng).requires_grad_()
    (gradient,) = torch.autograd.grad(net(grid).sum(), grid)
    for axis in range(net.dim):
        moved = gradient.movedim(2 + axis, 0)
        assert bool(moved[0].any()) and bool(moved[-1].any()), "the halo is wider than it needs to be"
    shorter = tuple(slice(1, None) for _ in range(net.dim))
    with pytest.raises(RuntimeError):
        net(grid[(slice(None), slice(None), *shorter)])


@network
@heads
def test_a_network_is_rebuilt_from_plain_data(make, head, rng):
    net = make(head=head)
    again = type(net).from_config(net.config())
    assert repr(again) == repr(net) and again.config() == net.config()
    again.load_state_dict(net.state_dict())
    grid = haloed(net, (3,) * net.dim, rng).float()
    assert torch.equal(again.eval()(grid), net.eval()(grid))


@network
@heads
def test_symmetry_survives_a_file_in_single_precision(make, head, rng, tmp_path):
    """The law and the kernels are made from exact matrices, not from ones that once were rounded to float32."""
    net = make(head=head)
    save(LearnedForceField(net), tmp_path / "model")
    forcefield = load(tmp_path / "model").float().double()
    assert type(forcefield.model) is type(net)
    field = torch.randn(net.lattice.n_sites, net.components, generator=rng, dtype=torch.float64)
    force = forcefield(field).force
    for g, permutation in enumerate(site_permutations(net.lattice, net.group)):
        moved = forcefield(net.field_type.transform(field, net.group, g, permutation)).force
        expected = net.field_type.transform(force, net.group, g, permutation)
        torch.testing.assert_close(moved, expected, atol=1e-12, rtol=0)


@network
def test_training_and_evaluation_mode_agree(make, rng):
    net = make(head="energy").double()
    grid = haloed(net, (4,) * net.dim, rng, 2)
    with torch.no_grad():
        torch.testing.assert_close(net.train()(grid), net.eval()(grid), atol=1e-13, rtol=0)


@network
def test_constant_kernels_follow_the_weights(make, rng):
    net = make(head="force").double().eval()
    grid = haloed(net, (3,) * net.dim, rng)
    before = net(grid)
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.mul_(1.5)
        after = net(grid)
        torch.testing.assert_close(after, net.train()(grid), atol=1e-12, rtol=0)
        net.eval()
        if parameter.ndim > 1 and not torch.all(parameter == 0):
            assert not torch.allclose(after, before)
        before = after


@network
def test_the_number_of_operations_is_that_of_the_matrix_products(make, rng):
    net = make(head="energy").eval()
    shape = {1: (400,), 2: (40, 40), 3: (10, 10, 10)}[net.dim]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(haloed(net, shape, rng).float())
    # Beyond the count: the readout, and the halo on which all layers but the last run.
    assert 1.0 < counter.get_total_flops() / np.prod(shape) / net.flops_per_site < 1.15


# --- referees -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lattice", "radius"), [(chain(9), 2.0), (square(7), 2.3), (triangular(7), 1.1), (cubic(5), 1.1), (cubic(5), 1.8)]
)
def test_a_group_convolution_is_the_sum_it_claims_to_be(lattice, radius, rng):
    group, hood = rotations(lattice) if lattice.dim == 3 else site_group(lattice), lattice.neighbourhood(radius)
    layer = GroupConvolution(hood, group, 2, 3, rng=rng).double().eval()
    shape = [2 * r + 1 for r in layer.reach]
    f = torch.randn(2, len(group), *shape, generator=rng, dtype=torch.float64)
    moved = neighbour_permutations(hood, group)
    expected = torch.zeros(3, len(group), dtype=torch.float64)
    for g in range(len(group)):
        for h in range(len(group)):
            for k in range(len(hood)):
                place = tuple(hood.cells[moved[g, k]] + np.array(layer.reach))
                expected[:, g] += layer.weight[:, :, h, k] @ f[(slice(None), group.table[g, h], *place)]
    result = layer(f.flatten(0, 1)[None]).reshape(3, len(group))
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)


@heads
def test_a_symmetrised_network_is_the_mean_over_turned_windows(head, rng):
    """The same weights as an ordinary network, called once for every operation."""
    lattice, law = triangular(7), VECTOR
    net = SymmetrisedMLP(lattice, law, cutoff=1.8, widths=(7, 5), head=head, rng=rng).double().eval()
    group, hood = net.group, lattice.neighbourhood(1.8)
    field = torch.randn(lattice.n_sites, 2, generator=rng, dtype=torch.float64)
    window = field[torch.from_numpy(lattice.neighbour_table(hood))]  # site, neighbour, component
    M = torch.from_numpy(law.representation(group))
    with torch.no_grad():
        for b in net.biases:
            b.normal_(generator=rng)
        total = 0.0
        for g, moved in enumerate(neighbour_permutations(hood, group)):
            turned = window[:, moved] @ M[g]  # (g⁻¹Φ)_k = M(g)ᵀ Φ_gk
            h = torch.einsum("okc,ick->oi", turned, net.lift.weight[:, :, 0]) + net.lift.bias
            h = torch.nn.functional.silu(h) @ net.weights[0].T + net.biases[0][:, 0]
            out = torch.nn.functional.silu(h) @ net.readout.T
            total = total + (out if head == "energy" else out @ M[g].T) / len(group)
        forcefield = LearnedForceField(net).eval()
        result = forcefield.local(field)
    torch.testing.assert_close(result.reshape(total.shape), total, atol=1e-12, rtol=0)


@pytest.mark.parametrize("lattice", [square(4), triangular(4), cubic(3)], ids=lambda x: x.name)
def test_saturation_commutes_with_every_law(lattice, rng):
    group = site_group(lattice)
    laws = [(irrep.name,) for irrep in group.irreps] + [("vector",), ("vector", "trivial", group.irreps[-1].name)]
    for law in laws:
        saturation = Saturation(FieldType("u", law), group, (1.0, 3.0))
        u = torch.randn(5, saturation.law.shape[-1], 4, generator=rng, dtype=torch.float64)
        M = torch.from_numpy(saturation.law)
        for g in range(len(group)):
            turned = torch.einsum("ij,bjx->bix", M[g], u)
            copies = saturation(u).unflatten(1, (3, -1))
            expected = torch.einsum("ij,bcjx->bcix", M[g], copies).flatten(1, 2)
            torch.testing.assert_close(saturation(turned), expected, atol=1e-13, rtol=0)
        torch.testing.assert_close(saturation(-u), -saturation(u), atol=0, rtol=0)


def test_saturation_is_smooth_at_zero_and_levels_off():
    saturation = Saturation(VECTOR, site_group(triangular(4)), (3.0,))
    zero = torch.zeros(1, 2, 1, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda u: saturation(u)[0, 2:, 0], zero)[:, 0, :, 0]
    torch.testing.assert_close(jacobian, 3.0 * torch.eye(2, dtype=torch.float64))
    far = saturation(torch.full((1, 2, 1), 1e6, dtype=torch.float64))[:, 2:]
    assert float(far.norm()) == pytest.approx(1.0)


# --- parity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda head: GroupCNN(square(4), ising(), channels=2, head=head),
        lambda head: SymmetrisedMLP(square(4), ising(), cutoff=1.5, widths=(4, 4), head=head),
        lambda head: SpinCNN(square(4), spin(), channels=2, head=head),
    ],
    ids=["GroupCNN", "SymmetrisedMLP", "SpinCNN"],
)
@heads
def test_reversal_of_all_spins_is_exact(make, head, rng):
    forcefield = LearnedForceField(make(head)).double().eval()
    s = torch.randn(3, 16, forcefield.components, generator=rng, dtype=torch.float64)
    here, there = forcefield(s), forcefield(-s)
    torch.testing.assert_close(there.force, -here.force, atol=1e-15, rtol=0)
    assert bool(here.force.abs().max() > 1e-3)
    if head == "energy":
        torch.testing.assert_close(there.energy, here.energy, atol=1e-14, rtol=0)


@pytest.mark.parametrize("components", [2, 3])
def test_without_time_reversal_the_energy_has_an_odd_part(components, rng):
    law = spin(components=components, time_reversal=False)
    net = SpinCNN(triangular(4), law, channels=2, radii=(1.1, 1.1), group=rotations(triangular(4)))
    forcefield = LearnedForceField(net).double().eval()
    s = torch.randn(16, components, generator=rng, dtype=torch.float64)
    odd = forcefield(s).energy - forcefield(-s).energy
    assert (abs(float(odd)) > 1e-4) == (components == 3), "in two dimensions -1 is a rotation"
    mirror = s * torch.tensor([1.0] * (components - 1) + [-1.0])
    assert abs(float(forcefield(mirror).energy - forcefield(s).energy)) > 1e-4


# --- learning -------------------------------------------------------------------------------------------------------

FAST = FitOptions(component="all", steps=250, warmup=20, learning_rate=0.02, average=0.95, validate_every=250)


def shifted(lattice: Lattice, field: torch.Tensor, *cell: int) -> torch.Tensor:
    return field[:, torch.from_numpy(lattice.index(lattice.cells + np.array(cell)))]


def bilinear_biquadratic(lattice: Lattice, S: torch.Tensor) -> torch.Tensor:
    """-Σ S_i·S_j + ½ Σ (S_i·S_j)² over the bonds of the square lattice."""
    dots = [(S * shifted(lattice, S, *cell)).sum(-1) for cell in ((1, 0), (0, 1))]
    return sum((-d + 0.5 * d * d).sum(-1) for d in dots)


def chirality(lattice: Lattice, S: torch.Tensor) -> torch.Tensor:
    """Σ S_i · (S_j × S_k) over all triangles of the triangular lattice, counter-clockwise."""
    right, up, down = (shifted(lattice, S, *cell) for cell in ((1, 0), (0, 1), (1, -1)))
    return sum((S * torch.linalg.cross(j, k)).sum((-2, -1)) for j, k in ((right, up), (down, right)))


def quartic(lattice: Lattice, u: torch.Tensor) -> torch.Tensor:
    """Σ ½u² + ¼u⁴ and ½ u_i·u_j on the bonds of the triangular lattice."""
    square_ = u.square().sum(-1)
    bonds = sum((u * shifted(lattice, u, *cell)).sum(-1) for cell in ((1, 0), (0, 1), (1, -1)))
    return (0.5 * square_ + 0.25 * square_.square() + 0.5 * bonds).sum(-1)


def relative_error(net: LatticeNetwork, energy, lattice: Lattice, count: int = 32, test: int = 16) -> float:
    """Force error on fields never seen, relative to the forces, after a short fit."""
    field = net.field_type.random(lattice.n_sites, net.components, seeded(), count + test)
    if net.field_type.values == "real":
        field = torch.erf(field / 2**0.5)  # uniform in (-1, 1)
    field.requires_grad_()
    total = energy(lattice, field)
    (gradient,) = torch.autograd.grad(total.sum(), field)
    field, force = field.detach(), -gradient
    data = DataSet.from_arrays(
        lattice=lattice,
        field=field[:count],
        force=force[:count],
        energy=total[:count].detach(),
        components=net.components,
    )
    forcefield = fit(LearnedForceField(net), data, options=FAST, progress=False)
    error = forcefield(field[count:]).force - force[count:]
    return float(error.square().mean().sqrt() / force[count:].square().mean().sqrt())


@heads
def test_a_spin_network_learns_bilinear_and_biquadratic_exchange(head):
    net = SpinCNN(square(4), spin(), channels=3, radii=(1.1, 1.1), head=head)
    assert relative_error(net, bilinear_biquadratic, square(4)) < 0.12


@pytest.mark.parametrize(
    "make",
    [
        lambda lattice: GroupCNN(lattice, VECTOR, channels=2, radii=(1.1, 1.1)),
        lambda lattice: GroupCNN(lattice, VECTOR, channels=2, radii=(1.1, 1.1), head="force"),
        lambda lattice: SymmetrisedMLP(lattice, VECTOR, cutoff=1.1, widths=(16, 16)),
    ],
    ids=["GroupCNN", "GroupCNN, direct", "SymmetrisedMLP"],
)
def test_a_network_learns_a_quartic_lattice(make):
    assert relative_error(make(triangular(4)), quartic, triangular(4)) < 0.12


@pytest.mark.slow
def test_saturated_copies_of_a_vector_help_to_learn():
    with_, without = (
        relative_error(GroupCNN(triangular(4), VECTOR, channels=2, radii=(1.1, 1.1), scales=s), quartic, triangular(4))
        for s in ((1.0, 3.0), ())
    )
    assert with_ < 0.5 * without


@pytest.mark.parametrize(
    ("law", "mirrors", "learns"),
    [
        pytest.param(CHIRAL, False, True, id="SO(3), C6"),
        pytest.param(spin(), False, False, id="O(3), C6"),
        pytest.param(CHIRAL, True, False, id="SO(3), D6", marks=pytest.mark.slow),
    ],
)
def test_chirality_is_learned_with_cross_products_and_without_mirrors_only(law, mirrors, learns):
    lattice = triangular(4)
    net = SpinCNN(lattice, law, channels=3, radii=(1.1, 1.1), group=None if mirrors else rotations(lattice))
    error = relative_error(net, chirality, lattice)
    assert error < 0.12 if learns else error > 0.8


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SpinCNN(square(4), scalar()), "take GroupCNN"),
        (lambda: SpinCNN(square(4), FieldType("S", ("trivial",) * 4, "SO(n)")), "2 or 3 components"),
        (lambda: SpinCNN(square(4), spin(), channels=0), "channels must be a whole number ≥ 1"),
        (lambda: SpinCNN(honeycomb(4), spin()), "one site per cell"),
        (lambda: SpinCNN(square(4), spin(), head="torque"), "head"),
        (lambda: SymmetrisedMLP(square(4), spin()), "SpinCNN"),
        (lambda: SymmetrisedMLP(square(4), scalar(), widths=()), "hidden layers"),
        (lambda: SymmetrisedMLP(square(4), scalar(), parity="even"), "parity"),
        (lambda: SpinCNN(square(4), spin()).on(triangular(4)), "lives on a square"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
