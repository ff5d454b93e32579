"""What every force field must satisfy, exact or learned. A member signs by one line in ``FORCEFIELDS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.descriptors import Irreps, SpinInvariants
from nearsight.fields import FieldType, ising, jahn_teller, scalar, spin
from nearsight.forcefields import (
    ClassicalForceField,
    Disjoint,
    ElectronForceField,
    ExactForceField,
    FixedNumber,
    ForceField,
    LearnedFamily,
    LearnedForceField,
    Solenoidal,
    load,
    save,
)
from nearsight.groups import PointGroup
from nearsight.hamiltonians import Exponential, Holstein, JahnTeller, Peierls, SDModel
from nearsight.lattices import (
    Lattice,
    PointCloud,
    Structures,
    chain,
    cubic,
    site_group,
    site_permutations,
    square,
    triangular,
)
from nearsight.networks import MLP, GroupCNN, LatticeNetwork, SpinCNN, SpinMessagePassing, SymmetrisedMLP, TorqueResNet
from nearsight.solvers import Dense, Poles, SelfConsistent


@dataclass(frozen=True)
class Member:
    """A force field in double precision on a lattice, and the law of its field."""

    make: Callable[[Lattice], ForceField]
    lattice: Lattice
    field_type: FieldType
    symmetry: Callable[[Lattice], PointGroup] = site_group

    def random(self, rng: torch.Generator, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        components = self.field_type.components(self.symmetry(self.lattice))
        return torch.randn(*batch, self.lattice.n_sites, components, generator=rng, dtype=torch.float64).to(dtype)


MEAN_FIELD = SelfConsistent(Dense(filling=0.45, kT=0.2), U=2.5, starts=("staggered", "bare"), tol=1e-13)
SPINS_IN_MEAN_FIELD = SelfConsistent(Dense(mu=0.5, kT=0.4), U=1.5, noncollinear=True, starts=("bare",), tol=1e-13)
FIXED_NUMBER, FIXED_MU, COLD = Dense(filling=0.5, kT=0.1), Dense(mu=-0.3, kT=0.1), Dense(filling=0.45, kT=0.0)
DISPLACEMENT = FieldType("u", ("vector",))
DOUBLET = FieldType("d", ("E", "B"))
c, s = math.cos(0.4), math.sin(0.4)
TWISTED = FieldType("d", ("A1", "E2"), basis=((c, s, 0), (-s, c, 0), (0, 0, 1)))
THREE = FieldType("S", ("trivial",) * 3)
XY = spin(components=2)
CHIRAL, CHIRAL_XY = spin(time_reversal=False), spin(components=2, time_reversal=False)


def convolution(lattice: Lattice, field_type: FieldType, **options) -> ForceField:
    network = GroupCNN(lattice, field_type, channels=3, **options)
    return LearnedForceField(network).double().eval()


def rotations(lattice: Lattice) -> PointGroup:
    """The operations that distinguish left and right."""
    matrices = site_group(lattice).matrices
    return PointGroup(matrices[np.linalg.det(matrices) > 0])


def on_grid(
    network: type[LatticeNetwork], lattice: Lattice, field_type: FieldType, name: str, symmetry=None, **options
):
    """One line for a network on a grid."""

    def make(x: Lattice) -> ForceField:
        group = None if symmetry is None else symmetry(x)
        return LearnedForceField(network(x, field_type, group=group, **options)).double().eval()

    return pytest.param(Member(make, lattice, field_type, symmetry or site_group), id=name)


def descriptor(lattice: Lattice, field_type: FieldType) -> ForceField:
    irreps = Irreps(lattice, field_type, cutoff=2.3)
    return LearnedForceField(irreps, MLP((12, 12))).double().eval()


def growing(lattice: Lattice) -> ForceField:
    """A learned force that grows with a uniform shift, as that of electrons does."""
    return descriptor(lattice, scalar()) + ClassicalForceField(Holstein(lattice, k=0.0, kappa=-1.0))


def spin_invariants(lattice: Lattice) -> ForceField:
    invariants = SpinInvariants(lattice, spin(unit=False), 1.0, bond_cutoff=1.0)
    return LearnedForceField(invariants, MLP((6, 6))).double().eval()


CLOUD = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0], [1.5, 1.5, 0.1]], cell=2.0)
OPEN_CLOUD = PointCloud([[0.0, 0.0], [1.1, 0.2], [0.4, 0.9], [1.3, 1.4], [2.0, 0.5]])
ALLOY = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0]], cell=2.0, species=("Mn", "Fe", "Mn"))


def electrons_on_clouds(lattice: Lattice) -> ForceField:
    return ExactForceField(SDModel(lattice, t=Exponential(-1.0, 0.8, cutoff=1.9), J=1.3), FIXED_NUMBER)


def several(lattice: Lattice) -> ForceField:
    return Disjoint(*map(electrons_on_clouds, lattice.structures))


def messages(lattice: Lattice, law: FieldType = spin(), **options) -> ForceField:  # noqa: B008
    small = {"layers": 2, "channels": 3, "vectors": 2, "radial": 3, "hidden": 6}
    return LearnedForceField(SpinMessagePassing(lattice, law, 1.3, **small | options)).double().eval()


def of_a_family(network: LatticeNetwork, box: dict, exact: ForceField, **values: float) -> ForceField:
    """One member of a family whose factors are far from 1."""
    family = LearnedFamily(network, exact, box).double().eval()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in family.modulation.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return family.with_parameters(**values)


def holstein_family(lattice: Lattice, **options) -> ForceField:
    box = {"g": (1.0, 2.0), "mu": (-1.0, 1.0), "kT": (0.1, 0.3)}
    network = GroupCNN(lattice, scalar(), channels=3, **options)
    return of_a_family(network, box, ExactForceField(Holstein(lattice), FIXED_MU), g=1.3, mu=-0.4, kT=0.25)


def magnet_family(lattice: Lattice) -> ForceField:
    network = SpinCNN(lattice, spin(), channels=2, radii=(1.1, 1.1))
    return of_a_family(network, {"J": (1.0, 3.0)}, ExactForceField(SDModel(lattice), FIXED_MU), J=2.5)


FORCEFIELDS = [
    pytest.param(Member(electrons_on_clouds, CLOUD, spin()), id="s-d on a cloud"),
    pytest.param(Member(several, Structures([CLOUD, CLOUD.resized(1, 2, 1)]), spin()), id="s-d, several"),
    pytest.param(Member(messages, CLOUD, spin()), id="messages on a cloud"),
    pytest.param(Member(lambda x: messages(x, layers=1, degree=1), OPEN_CLOUD, spin()), id="messages, open cloud"),
    pytest.param(Member(messages, ALLOY, spin()), id="messages, two species"),
    pytest.param(Member(lambda x: messages(x, head="force"), CLOUD, spin()), id="messages, direct"),
    pytest.param(Member(messages, Structures([CLOUD, CLOUD.resized(2, 1, 1)]), spin()), id="messages, several clouds"),
    pytest.param(Member(messages, triangular(4), spin()), id="messages, triangular"),
    pytest.param(Member(lambda x: messages(x, XY, radial=2, degree=0), chain(5), XY), id="messages, XY chain"),
    pytest.param(Member(lambda x: ExactForceField(Holstein(x), FIXED_NUMBER), square(4), scalar()), id="exact"),
    pytest.param(Member(lambda x: ExactForceField(Holstein(x), FIXED_MU), square(4), scalar()), id="exact, fixed mu"),
    pytest.param(Member(lambda x: ExactForceField(Holstein(x), COLD), square(4), scalar()), id="exact, kT = 0"),
    pytest.param(Member(lambda x: ExactForceField(Holstein(x), COLD).electrons, square(4), scalar()), id="electrons"),
    pytest.param(Member(lambda x: ExactForceField(Holstein(x), COLD).classical, square(4), scalar()), id="springs"),
    pytest.param(
        Member(
            lambda x: FixedNumber(ExactForceField(Holstein(x), FIXED_MU).electrons, 0.1, tolerance=1e-12),
            square(4),
            scalar(),
        ),
        id="exact, number by a shift",
    ),
    pytest.param(
        Member(lambda x: FixedNumber(growing(x), 0.1, tolerance=1e-12), square(6), scalar()),
        id="irreps, number by a shift",
    ),
    pytest.param(Member(lambda x: ExactForceField(Peierls(x), FIXED_NUMBER), square(4), DISPLACEMENT), id="peierls"),
    pytest.param(
        Member(lambda x: ExactForceField(Peierls(x, twist=0.7), FIXED_MU), chain(5), DISPLACEMENT), id="complex"
    ),
    pytest.param(
        Member(lambda x: ExactForceField(JahnTeller(x), FIXED_NUMBER), square(4), jahn_teller()), id="jahn-teller"
    ),
    pytest.param(
        Member(lambda x: ExactForceField(JahnTeller(x, symmetric=True), FIXED_MU), square(3), jahn_teller()),
        id="jahn-teller, fixed mu",
    ),
    pytest.param(
        Member(lambda x: ExactForceField(SDModel(x, J=1.3, exchange=0.2), FIXED_MU), square(3), spin()), id="s-d"
    ),
    pytest.param(
        Member(lambda x: ExactForceField(SDModel(x, t=(1.0, 0.3)), FIXED_NUMBER), triangular(3), spin()),
        id="s-d, fixed number",
    ),
    pytest.param(
        Member(lambda x: ExactForceField(SDModel(x, J=1.3), Poles(mu=-0.3, kT=0.1, tol=2e-13)), square(3), spin()),
        id="s-d, poles",
    ),
    pytest.param(
        Member(lambda x: ExactForceField(Holstein(x, spins=2), MEAN_FIELD), square(4), scalar()), id="mean field"
    ),
    pytest.param(
        Member(lambda x: ExactForceField(SDModel(x, J=1.3), SPINS_IN_MEAN_FIELD), square(3), spin()),
        id="mean field, s-d",
    ),
    pytest.param(Member(lambda x: descriptor(x, scalar()), square(6), scalar()), id="irreps"),
    pytest.param(Member(lambda x: descriptor(x, DISPLACEMENT), square(5), DISPLACEMENT), id="irreps, vector"),
    pytest.param(Member(lambda x: convolution(x, scalar()), square(6), scalar()), id="convolution"),
    pytest.param(Member(lambda x: convolution(x, scalar(), parity="odd"), square(6), scalar()), id="convolution, odd"),
    pytest.param(
        Member(lambda x: convolution(x, scalar(), parity="odd", head="force"), square(6), scalar()),
        id="convolution, direct",
    ),
    pytest.param(
        Member(lambda x: convolution(x, DISPLACEMENT, head="force"), square(5), DISPLACEMENT),
        id="convolution, direct, vector",
    ),
    pytest.param(
        Member(lambda x: convolution(x, DISPLACEMENT, radii=(1.1, 1.1)), triangular(5), DISPLACEMENT),
        id="convolution, triangular, vector",
    ),
    pytest.param(Member(holstein_family, square(4), scalar()), id="family"),
    pytest.param(
        Member(lambda x: holstein_family(x, parity="odd", head="force"), square(4), scalar()), id="family, direct"
    ),
    pytest.param(Member(magnet_family, square(4), spin()), id="family of magnets"),
    on_grid(GroupCNN, chain(6), scalar(), "convolution, chain", channels=2),
    on_grid(GroupCNN, triangular(4), TWISTED, "convolution, E2 + A1 turned", channels=2, radii=(1.1, 1.1)),
    on_grid(GroupCNN, square(5), DOUBLET, "convolution, C4", rotations, channels=2, head="force"),
    on_grid(GroupCNN, square(4), ising(), "convolution, Z2", channels=2, radii=(1.5, 1.1)),
    on_grid(GroupCNN, cubic(3), DISPLACEMENT, "convolution, cubic, vector", channels=1, radii=(1.1, 1.1)),
    on_grid(SymmetrisedMLP, square(4), scalar(), "window", cutoff=2.3, widths=(5, 4)),
    on_grid(SymmetrisedMLP, square(5), jahn_teller(), "window, direct", cutoff=2.0, widths=(5, 4), head="force"),
    on_grid(SymmetrisedMLP, triangular(4), DISPLACEMENT, "window, triangular, odd", cutoff=1.1, parity="odd"),
    on_grid(SpinCNN, square(4), spin(), "spins", channels=2),
    on_grid(SpinCNN, square(5), spin(unit=False), "spins, direct", channels=2, head="force"),
    on_grid(SpinCNN, triangular(4), spin(components=2), "spins, XY", channels=2, radii=(1.1, 1.1)),
    on_grid(SpinCNN, triangular(4), CHIRAL, "spins, C6", rotations, channels=2, radii=(1.1, 1.1)),
    on_grid(SpinCNN, square(4), CHIRAL_XY, "spins, XY, C4, direct", rotations, channels=2, head="force"),
    on_grid(SpinCNN, cubic(2), spin(), "spins, cubic", channels=1, radii=(1.1, 1.1)),
    on_grid(SpinCNN, triangular(4), spin(), "spins, triangular, direct", channels=2, radii=(1.1, 1.1), head="force"),
    pytest.param(
        Member(
            lambda x: LearnedForceField(TorqueResNet(x, THREE, channels=(3, 4), kernel=3)).double().eval(),
            triangular(4),
            THREE,
            lambda x: PointGroup(np.eye(x.dim)[None]),
        ),
        id="torques, translations alone",
    ),
    pytest.param(Member(spin_invariants, triangular(4), spin()), id="spin invariants, triangular"),
    pytest.param(Member(lambda x: Solenoidal(messages(x)), CLOUD, CHIRAL), id="solenoidal"),
    pytest.param(
        Member(lambda x: messages(x) + Solenoidal(messages(x, channels=4)), CLOUD, CHIRAL), id="two potentials"
    ),
]
member = pytest.mark.parametrize("member", FORCEFIELDS)


@member
def test_force_is_minus_the_gradient_of_the_energy(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng)
    force, energy = forcefield(field)
    if energy is None:
        pytest.skip("this force field is not conservative")
    # Five points: the error is of order step⁴, far below the tolerance; every component of every site is tried.
    step = 1e-3
    kicks = step * torch.eye(field.numel(), dtype=torch.float64).reshape(-1, *field.shape)
    up, down, far_up, far_down = (forcefield(field + m * kicks).energy for m in (1, -1, 2, -2))
    gradient = (8 * (up - down) - (far_up - far_down)) / (12 * step)
    torch.testing.assert_close(force.reshape(-1), -gradient, atol=1e-7, rtol=0)


@member
def test_forces_turn_with_the_field(member, rng):
    """F(gΦ) = g F(Φ) and E(gΦ) = E(Φ) for every rotation and reflection about a site."""
    forcefield, field = member.make(member.lattice), member.random(rng)
    force, energy = forcefield(field)
    group = member.symmetry(member.lattice)
    for element, permutation in enumerate(site_permutations(member.lattice, group)):
        moved = forcefield(member.field_type.transform(field, group, element, permutation))
        expected = member.field_type.transform(force, group, element, permutation)
        torch.testing.assert_close(moved.force, expected, atol=1e-11, rtol=0)
        if energy is not None:
            torch.testing.assert_close(moved.energy, energy, atol=1e-11, rtol=1e-12)


@member
def test_forces_follow_the_internal_symmetry(member, rng):
    """F(RΦ) = R F(Φ) and E(RΦ) = E(Φ) for rotations and reversals that act on all sites at once."""
    if member.field_type.internal == "none":
        pytest.skip("this field has no internal symmetry")
    forcefield, field = member.make(member.lattice), member.random(rng)
    force, energy = forcefield(field)
    for _ in range(6):
        R = member.field_type.internal_operation(field.shape[-1], rng)
        turned = forcefield(field @ R.T)
        torch.testing.assert_close(turned.force, force @ R.T, atol=1e-11, rtol=0)
        if energy is not None:
            torch.testing.assert_close(turned.energy, energy, atol=1e-11, rtol=1e-12)


@member
def test_forces_travel_with_the_field(member, rng):
    lattice = member.lattice
    forcefield, field = member.make(lattice), member.random(rng)
    force, energy = forcefield(field)
    for cell in lattice.cells[lattice.n_basis :: lattice.n_basis]:
        source = torch.from_numpy(lattice.index(lattice.cells - cell, lattice.sublattice))
        moved = forcefield(field[source])
        torch.testing.assert_close(moved.force, force[source], atol=1e-11, rtol=0)
        if energy is not None:
            torch.testing.assert_close(moved.energy, energy, atol=1e-11, rtol=1e-12)


@member
def test_a_batch_equals_a_loop(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng, 2, 3)
    force, energy = forcefield(field)
    assert force.shape == field.shape
    assert energy is None or energy.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            single = forcefield(field[i, j])
            torch.testing.assert_close(force[i, j], single.force, atol=1e-12, rtol=0)
            if energy is not None:
                torch.testing.assert_close(energy[i, j], single.energy, atol=1e-12, rtol=1e-13)


@member
def test_no_fields_have_no_forces(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng, 1)[:0]
    force, energy = forcefield(field)
    assert force.shape == field.shape
    assert energy is None or energy.shape == (0,)


@member
def test_precision_of_the_field_comes_back(member, rng):
    double, single = member.make(member.lattice), member.make(member.lattice).float()
    field = member.random(rng)
    for forcefield, dtype in ((double, torch.float64), (double, torch.float32), (single, torch.float32)):
        force, energy = forcefield(field.to(dtype))
        assert force.dtype == dtype and (energy is None or energy.dtype == dtype)
        expected = member.make(member.lattice)(field).force
        torch.testing.assert_close(force.double(), expected, atol=1e-12 if dtype == torch.float64 else 1e-4, rtol=0)


@member
def test_the_gradient_of_an_energy_in_any_expression_is_minus_the_force(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng, 2)
    force, energy = forcefield(field)
    if energy is None:
        pytest.skip("this force field is not conservative")
    weight = torch.tensor([0.7, -1.3], dtype=torch.float64)
    leaf = field.clone().requires_grad_()
    ((weight * forcefield(leaf).energy).sum() + 0.05 * leaf.square().sum()).backward()
    torch.testing.assert_close(leaf.grad, -weight[:, None, None] * force + 0.1 * field, atol=1e-11, rtol=0)


@member
def test_forces_are_differentiated_as_they_change_or_not_at_all(member, rng):
    """Against differences of forces along a random direction; second derivatives of the energy are the same numbers."""
    forcefield, field, weight, way = member.make(member.lattice), *(member.random(rng, 2) for _ in range(3))
    leaf = field.clone().requires_grad_()
    force, energy = forcefield(leaf)
    if any(isinstance(part, ElectronForceField) for part in forcefield.modules()):
        with pytest.raises(RuntimeError, match=r"no derivatives by the field.*directional_derivative"):
            (leaf.square().sum() + force.sum()).backward()
        (gradient,) = torch.autograd.grad(forcefield(leaf).energy.sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match=r"no derivatives by the field.*directional_derivative"):
            gradient.square().sum().backward()
        return
    step = 1e-5  # small enough to miss the kinks of rectified networks
    up, down = (forcefield(field + m * step * way).force for m in (1, -1))
    expected = (weight * (up - down)).sum() / (2 * step)
    (product,) = torch.autograd.grad((weight * force).sum(), leaf)
    torch.testing.assert_close((product * way).sum(), expected, atol=1e-6, rtol=1e-6)
    if energy is not None:
        (gradient,) = torch.autograd.grad(forcefield(leaf).energy.sum(), leaf, create_graph=True)
        (product,) = torch.autograd.grad(-(weight * gradient).sum(), leaf)
        torch.testing.assert_close((product * way).sum(), expected, atol=1e-6, rtol=1e-6)


@member
def test_no_graph_is_kept_where_none_is_asked_for(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng)
    expected = forcefield(field)
    leaf = field.clone().requires_grad_()
    with torch.no_grad():
        quiet = forcefield(leaf)
    with torch.inference_mode():
        inferred = forcefield(field)
    for answer in (expected, quiet, inferred):
        assert torch.equal(answer.force, expected.force) and not answer.force.requires_grad
        assert answer.energy is None or not answer.energy.requires_grad
    torch.testing.assert_close(forcefield(leaf).force.detach(), expected.force, atol=1e-12, rtol=0)


@member
def test_fields_that_are_not_finite_are_refused(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng, 2)
    for value in (math.nan, math.inf):
        field[1, -1, 0] = value
        with pytest.raises(ValueError, match="1 NaN or infinite"):
            forcefield(field)


@member
def test_the_field_is_left_as_it_was(member, rng):
    field = member.random(rng)
    before = field.clone()
    member.make(member.lattice)(field)
    assert torch.equal(field, before) and not field.requires_grad


@member
def test_symmetric_fields_have_finite_symmetric_forces(member):
    """Where every neighbour is alike and levels cross: zero, uniform, and alternating fields."""
    forcefield, lattice = member.make(member.lattice), member.lattice
    ones = torch.ones_like(member.random(torch.Generator()))
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1)).unsqueeze(-1)
    for field, pattern in ((0 * ones, ones), (0.7 * ones, ones), (0.7 * sign * ones, sign), (1e-9 * sign * ones, sign)):
        force, energy = forcefield(field)
        assert bool(torch.isfinite(force).all()) and (energy is None or bool(torch.isfinite(energy)))
        if member.field_type.law == ("trivial",):
            # Sites of one kind feel one force: a uniform field a uniform one, a checkerboard one for each colour.
            same = [force[(pattern[:, 0] == s)] for s in (1.0, -1.0)]
            assert all(float((f - f[:1]).abs().max()) < 1e-10 for f in same if len(f))


@member
def test_parameters_are_shared_with_other_lattices(member, rng):
    forcefield = member.make(member.lattice)
    larger = member.lattice.resized(*(n + 2 for n in member.lattice.shape))
    there = forcefield.on(larger)
    assert there.lattice.shape == larger.shape and type(there) is type(forcefield)
    assert [id(p) for p in there.parameters()] == [id(p) for p in forcefield.parameters()]
    field = member.random(rng)
    torch.testing.assert_close(there.on(member.lattice)(field).force, forcefield(field).force, atol=1e-12, rtol=0)
    assert there(torch.zeros(larger.n_sites, forcefield.components).double()).force.shape[-2] == larger.n_sites


@member
def test_fields_of_another_lattice_are_refused_with_their_cure(member, rng):
    forcefield, field = member.make(member.lattice), member.random(rng)
    for wrong in (field[:-1], field[..., 0], torch.cat([field, field], dim=-1)):
        with pytest.raises(ValueError, match="has shape"):
            forcefield(wrong)
    with pytest.raises(TypeError, match=r"\.double\(\)"):
        forcefield(field.long())


@member
def test_the_size_of_a_batch_does_not_matter(member, rng):
    forcefield = member.make(member.lattice)
    assert forcefield(member.random(rng, 1, 1)).force.shape[:2] == (1, 1)
    many = forcefield(member.random(rng, 33))
    assert bool(torch.isfinite(many.force).all())


@member
@pytest.mark.gpu
def test_a_gpu_gives_the_same_forces(member, rng):
    field = member.random(rng, 2)
    here = member.make(member.lattice)(field)
    there = member.make(member.lattice).cuda()(field.cuda())
    assert there.force.is_cuda
    torch.testing.assert_close(there.force.cpu(), here.force, atol=1e-10, rtol=0)


@member
def test_a_saved_one_has_the_same_forces(member, rng, tmp_path):
    forcefield, field = member.make(member.lattice), member.random(rng)
    save(forcefield, tmp_path / "model")
    again = load(tmp_path / "model")
    assert repr(again) == repr(forcefield)
    torch.testing.assert_close(again(field).force, forcefield(field).force, atol=0, rtol=0)


@member
def test_its_name_is_more_than_the_default(member):
    text = repr(member.make(member.lattice))
    assert "object at" not in text and len(text) > 10
