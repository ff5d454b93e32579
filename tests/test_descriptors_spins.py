"""Spins without spin-orbit coupling: invariants under rotations of all spins and, apart from these, the lattice."""

from collections import Counter

import numpy as np
import pytest
import torch

from nearsight.descriptors import SpinACE, SpinInvariants
from nearsight.fields import FieldType, displacement, ising, spin
from nearsight.forcefields import LearnedForceField, files
from nearsight.lattices import Lattice, chain, kagome, site_group, site_permutations, square, triangular
from nearsight.networks import MLP

FREE, IN_A_FIELD = spin(), spin(time_reversal=False)
XY = spin(components=2)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def kinds(descriptor):
    """How often each combination of symbol, size of the orbit and irreps occurs."""
    found = Counter()
    for line in descriptor.variables.table().splitlines():
        scalars, irreps = line.split(": ")
        size, symbol = scalars.split(" r=")[0].split(" × ")
        found[symbol, int(size), irreps] += 1
    return found


def irreps_of(descriptor, scalar):
    """The irreps of the orbit whose description is ``scalar``; several orbits may share one."""
    lines = descriptor.variables.table().splitlines()
    return {irreps for text, irreps in (line.split(": ") for line in lines) if text == scalar}


def unit(field):
    return field / field.norm(dim=-1, keepdim=True)


def textures(lattice, components, rng):
    """Random spins, and states in which many invariants vanish."""
    n = lattice.n_sites
    up = torch.eye(components, dtype=torch.float64)[-1]
    phases = {
        "ferromagnet": torch.zeros(n, dtype=torch.float64),
        "Neel": np.pi * torch.as_tensor(lattice.cells.sum(1) % 2, dtype=torch.float64),
        "120 degrees": 2 * np.pi / 3 * torch.as_tensor(lattice.cells @ np.arange(1, lattice.dim + 1) % 3).double(),
        "collinear": np.pi * torch.randint(2, (n,), generator=rng).double(),
        "coplanar": 2 * np.pi * torch.rand(n, generator=rng, dtype=torch.float64),
    }
    first = torch.eye(components, dtype=torch.float64)[0]
    states = {name: phi.cos()[:, None] * up + phi.sin()[:, None] * first for name, phi in phases.items()}
    states["random"] = unit(torch.randn(n, components, generator=rng, dtype=torch.float64))
    defect = states["ferromagnet"].clone()
    defect[0] = first
    return torch.stack([*states.values(), defect])


def neighbourhood_rank(descriptor, field, site=0):
    """Rank of the derivatives of the features of one site by the directions of all spins."""
    jacobian = torch.autograd.functional.jacobian(lambda s: descriptor(unit(s))[site], field).flatten(1)
    values = torch.linalg.svdvals(jacobian)
    return int((values > 1e-9 * values[0]).sum())


# --- which scalars, and how the lattice acts on them --------------------------------------------------------------


def test_the_triangular_neighbourhood_has_1992_scalars():
    descriptor = SpinInvariants(triangular(4), FREE, 6.0, bond_cutoff=2.0)
    assert descriptor.counts() == {"S·S": 126, "s·s": 933, "S·s×s": 933}
    assert descriptor.features == 126 + 933 + 933 + 3
    assert sum(n * descriptor.group.irrep(name).dim for name, n in descriptor.multiplicities().items()) == 1992
    assert repr(descriptor).endswith("cutoff=6, bond_cutoff=2, chirality_cutoff=2, eps=0.4)")


def test_every_feature_has_a_name_of_its_own():
    for mode in ("lifted", "power", "phase", "phase+bispectrum"):
        for descriptor in (
            SpinInvariants(triangular(4), FREE, 3.0, mode=mode),
            SpinInvariants(square(4), spin(unit=False), 3.0, mode=mode),
            SpinInvariants(square(4), XY, 2.3, mode=mode),
        ):
            assert len(set(descriptor.feature_names)) == descriptor.features
    for order in (2, 3, 4):
        descriptor = SpinACE(triangular(4), spin(unit=False), 2.0, 3, order=order)
        assert len(set(descriptor.feature_names)) == descriptor.features


@pytest.mark.parametrize(
    ("scalar", "irreps"),
    [
        ("6 × S·S r=1", "A1 + B1 + E1 + E2"),
        ("6 × S·S r=1.732", "A1 + B2 + E1 + E2"),
        ("12 × S·S r=2.646", "A1 + A2 + B1 + B2 + 2E1 + 2E2"),
        ("3 × s·s r=1,1 d=2", "A1 + E2"),
        ("6 × S·s×s r=1,1 d=1", "A2 + B1 + E1 + E2"),
        ("6 × S·s×s r=1,1 d=1.732", "A2 + B2 + E1 + E2"),
        ("3 × S·s×s r=1,1 d=2", "B1 + E1"),
    ],
)
def test_irreps_of_the_triangular_lattice(scalar, irreps):
    assert irreps_of(SpinInvariants(triangular(4), IN_A_FIELD, 2.7), scalar) == {irreps}


@pytest.mark.parametrize(
    ("scalar", "irreps"),
    [
        ("4 × S·S r=1", "A1 + B1 + E"),
        ("4 × S·S r=1.414", "A1 + B2 + E"),
        ("4 × S·s×s r=1,1 d=1.414", "A2 + B1 + E"),
        ("4 × S·s×s r=1.414,1.414 d=2", "A2 + B2 + E"),
        ("2 × S·s×s r=1,1 d=2", "E"),
        ("8 × S·s×s r=1,1.414 d=1", "A1 + A2 + B1 + B2 + 2E"),
    ],
)
def test_irreps_of_the_square_lattice(scalar, irreps):
    assert irreps_of(SpinInvariants(square(4), IN_A_FIELD, 1.5), scalar) == {irreps}


def test_time_reversal_marks_chiralities_as_odd():
    assert kinds(SpinInvariants(triangular(4), FREE, 1.0)) == {
        ("S·S", 6, "A1+ + B1+ + E1+ + E2+"): 1,
        ("s·s", 6, "A1+ + B2+ + E1+ + E2+"): 1,
        ("s·s", 6, "A1+ + B1+ + E1+ + E2+"): 1,
        ("s·s", 3, "A1+ + E2+"): 1,
        ("S·s×s", 6, "A2- + B1- + E1- + E2-"): 1,
        ("S·s×s", 6, "A2- + B2- + E1- + E2-"): 1,
        ("S·s×s", 3, "B1- + E1-"): 1,
    }


def test_turns_of_xy_spins_are_oriented_bonds():
    # From the centre outwards a turn has the irreps of a bond; across it the two ends are exchanged by half turns.
    descriptor = SpinInvariants(square(4), spin(components=2, time_reversal=False), 1.0)
    assert descriptor.counts() == {"S·S": 4, "s·s": 6, "S×S": 4, "s×s": 6}
    assert irreps_of(descriptor, "4 × S×S r=1") == {"A1 + B1 + E"}
    assert irreps_of(descriptor, "4 × s×s r=1,1 d=1.414") == {"A2 + B1 + E"}
    assert irreps_of(descriptor, "2 × s×s r=1,1 d=2") == {"E"}


@pytest.mark.parametrize(("bond_cutoff", "chirality_cutoff"), [(2.0, 2.0), (1.0, 0.0), (0.0, 1.0), (1.8, 3.0)])
def test_cutoffs_choose_the_scalars(bond_cutoff, chirality_cutoff):
    lattice = triangular(4)
    r = lattice.neighbourhood(2.0).vectors[1:]
    separation = np.linalg.norm(r[:, None] - r, axis=-1)[np.triu_indices(len(r), 1)]
    expected = {"S·S": 18, "|s|²": 19}
    for symbol, cutoff in (("s·s", bond_cutoff), ("S·s×s", chirality_cutoff)):
        if cutoff > 0:
            expected[symbol] = int((separation < cutoff + 1e-6).sum())
    options = {"bond_cutoff": bond_cutoff, "chirality_cutoff": chirality_cutoff}
    assert SpinInvariants(lattice, spin(unit=False), 2.0, **options).counts() == expected


@pytest.mark.parametrize("lattice", [triangular(5), square(5), kagome(4)], ids=repr)
@pytest.mark.parametrize("components", [2, 3])
def test_the_lattice_permutes_scalars_with_signs(lattice, components, rng):
    # Direct evaluation on the transformed spins, against the images and signs of the selection.
    law = spin(components=components, time_reversal=False)
    descriptor = SpinInvariants(lattice, law, 1.8 if lattice.n_basis == 1 else 1.0)
    group, around = site_group(lattice), descriptor.neighbourhood
    table = lattice.neighbour_table(around)[0]
    field = law.random(lattice.n_sites, components, rng)
    reversed_somewhere = False
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = law.transform(field, group, g, permutation)
        for family in descriptor.variables.families:
            members = family.selection.members[:, -family.sites :]
            before, after = (
                family.of(s[table[0]][:, None], *(s[table[members[:, k]]].T for k in range(family.sites)))
                for s in (field, moved)
            )
            signs = torch.as_tensor(family.selection.signs[g] if family.antisymmetric else np.ones(len(members)))
            torch.testing.assert_close(after[family.selection.permutations[g]], signs * before, rtol=0, atol=1e-14)
            reversed_somewhere |= bool((signs < 0).any())
    assert reversed_somewhere


# --- invariance ---------------------------------------------------------------------------------------------------

MEMBERS = {
    "triangular": lambda: SpinInvariants(triangular(6), FREE, 1.8),
    "triangular, all pairs": lambda: SpinInvariants(triangular(6), FREE, 1.0, mode="phase+bispectrum"),
    "triangular in a field": lambda: SpinInvariants(triangular(6), IN_A_FIELD, 1.8),
    "square, phase": lambda: SpinInvariants(square(6), FREE, 2.0, mode="phase"),
    "square XY": lambda: SpinInvariants(square(6), XY, 1.5),
    "square XY of one handedness": lambda: SpinInvariants(square(6), spin(components=2, time_reversal=False), 1.5),
    "chain": lambda: SpinInvariants(chain(12), FREE, 2.0),
    "expansion": lambda: SpinACE(triangular(6), FREE, 1.8, 3),
    "expansion in a field": lambda: SpinACE(triangular(6), IN_A_FIELD, 1.8, 3),
    "expansion XY": lambda: SpinACE(square(6), XY, 1.5, 3),
}


@pytest.fixture(params=MEMBERS.values(), ids=MEMBERS.keys())
def member(request):
    return request.param()


def test_rotations_of_the_spins_and_of_the_lattice_are_independent(member, rng):
    lattice, law = member.lattice, member.field_type
    fields = textures(lattice, member.components, rng)
    features, group = member(fields), site_group(lattice)
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = law.transform(fields, group, g, permutation) @ law.internal_operation(member.components, rng).T
        assert (member(moved)[:, permutation] - features).abs().max() < 1e-12 * features.abs().max()


def test_reversal_is_a_symmetry_only_where_the_law_says_so(member, rng):
    mirror = -torch.eye(3, dtype=torch.float64) if member.components == 3 else torch.diag(torch.tensor([1.0, -1.0]))
    field = unit(torch.randn(member.lattice.n_sites, member.components, generator=rng, dtype=torch.float64))
    change = (member(field @ mirror.double()) - member(field)).abs().max()
    if member.field_type.internal == "O(n)":
        assert change < 1e-12
    else:
        assert change > 1e-3


def test_bonds_at_the_cutoff_are_counted_whatever_their_length():
    lattice = Lattice("rectangular", [[1.0, 0.0], [0.0, 1.3]], [[0.0, 0.0]], (5, 5))
    for limit in (1.3, 2.6, 1.69**0.5 * 3, (1 + 1.69) ** 0.5):
        at, beyond = (SpinInvariants(lattice, spin(), 3.0, bond_cutoff=c).counts() for c in (limit, limit + 1e-4))
        assert at == beyond


def test_collinear_spins_have_no_chirality(rng):
    with_chirality = SpinInvariants(triangular(6), IN_A_FIELD, 1.8, mode="power")
    odd = torch.tensor(["×" in name for name in with_chirality.feature_names])
    features = with_chirality(textures(with_chirality.lattice, 3, rng))
    assert features[:5, :, odd].abs().max() < 1e-15  # ferromagnet, Néel, 120 degrees, collinear, coplanar
    assert features[5][:, odd].abs().max() > 0.1


def skyrmion(lattice, swirl):
    """A skyrmion about site 0, its profile modulated with the angle: left by ``swirl`` > 0, right by swirl < 0."""
    shifts = [lattice.vectors.T @ (np.array(n) * lattice.shape) for n in np.ndindex(3, 3)]
    images = lattice.positions[:, None] - np.array(shifts) + (lattice.vectors.T @ np.array(lattice.shape))
    x = images[np.arange(len(images)), np.linalg.norm(images, axis=-1).argmin(1)]
    r, phi = np.linalg.norm(x, axis=1), np.arctan2(x[:, 1], x[:, 0])
    theta = np.pi * np.exp(-((r / 2.5) ** 2)) * (1 + swirl * np.sin(6 * phi))
    return torch.as_tensor(np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1))


@pytest.mark.parametrize("kind", [SpinInvariants, SpinACE])
def test_the_handedness_of_a_skyrmion_shows_against_that_of_a_swirl(kind):
    lattice = triangular(9)
    free, in_a_field = (kind(lattice, law, 2.7) for law in (FREE, IN_A_FIELD))

    def at_the_centre(descriptor, field):
        return descriptor.at(field, torch.tensor(0))

    # -S winds the other way round. A mirror of the lattice and a rotation of the spins undo that ...
    round_, swirling = skyrmion(lattice, 0.0), skyrmion(lattice, 0.3)
    for descriptor in (free, in_a_field):
        torch.testing.assert_close(
            at_the_centre(descriptor, -round_), at_the_centre(descriptor, round_), rtol=0, atol=1e-12
        )
    # ... unless the profile has a handedness of its own, which rotations of the spins do not see.
    torch.testing.assert_close(at_the_centre(free, -swirling), at_the_centre(free, swirling), rtol=0, atol=1e-12)
    left, right = (at_the_centre(in_a_field, s * swirling) for s in (1, -1))
    assert (left - right).abs().max() > 1e-2
    # Both handednesses reversed is the mirror image.
    mirrored = at_the_centre(in_a_field, -skyrmion(lattice, -0.3))
    torch.testing.assert_close(mirrored, left, rtol=0, atol=1e-12)


def test_squares_lengths_and_bonds_are_what_they_say(rng):
    law = spin(unit=False, time_reversal=False)
    lattice = square(5)
    descriptor = SpinInvariants(lattice, law, 1.0)
    field = law.random(lattice.n_sites, 3, rng)
    features = dict(zip(descriptor.feature_names, descriptor(field)[0], strict=True))
    neighbours = field[lattice.neighbour_table(lattice.neighbourhood(1.0))[0, 1:]]
    torch.testing.assert_close(features["A1[S·S r=1]"], (neighbours @ field[0]).sum() / 2)
    torch.testing.assert_close(features["A1[|s|² r=0]"], field[0] @ field[0])
    torch.testing.assert_close(features["A1[|s|² r=1]"], neighbours.square().sum() / 2)


# --- completeness -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lattice", "cutoff", "mode"),
    [(triangular(5), 1.8, "lifted"), (square(5), 1.5, "lifted"), (square(5), 1.5, "phase")],
    ids=["triangular", "square", "square, phase"],
)
def test_all_directions_of_the_spins_but_a_common_rotation_are_seen(lattice, cutoff, mode, rng):
    descriptor = SpinInvariants(lattice, FREE, cutoff, mode=mode)
    degrees_of_freedom = 2 * len(descriptor.neighbourhood) - 3
    assert neighbourhood_rank(descriptor, FREE.random(lattice.n_sites, 3, rng)) == degrees_of_freedom


def test_phases_between_irreps_complete_the_cluster_expansion(rng):
    field = FREE.random(25, 3, rng)
    ranks = {order: neighbourhood_rank(SpinACE(triangular(5), FREE, 1.8, 4, order=order), field) for order in (2, 3, 4)}
    assert ranks == {2: 11, 3: 13, 4: 23}  # of 2 · 13 - 3


# --- the cluster expansion ----------------------------------------------------------------------------------------


def test_sums_over_neighbours_are_what_they_say(rng):
    lattice = triangular(6)
    descriptor = SpinACE(lattice, IN_A_FIELD, 1.8, 2, order=3)
    with torch.no_grad():
        for weights in descriptor.weights.values():
            weights.zero_()
        descriptor.weights["A1"].copy_(torch.eye(2))  # channel 1 sums the first shell, channel 2 the second
    field = IN_A_FIELD.random(lattice.n_sites, 3, rng)
    features = dict(zip(descriptor.feature_names, descriptor(field)[0], strict=True))
    around = lattice.neighbourhood(1.8)
    spins = field[lattice.neighbour_table(around)[0]]
    first, second = spins[1:7].sum(0) / 6**0.5, spins[7:].sum(0) / 6**0.5
    torch.testing.assert_close(features["S·a1"], spins[0] @ first)
    torch.testing.assert_close(features["a1·a2[A1]"], first @ second)
    torch.testing.assert_close(features["a2·a2[A1]"], second @ second)
    torch.testing.assert_close(features["S·a1×a2[A1]"], spins[0] @ torch.linalg.cross(first, second))


def test_weights_of_the_expansion_are_learned_if_wanted(rng):
    field = FREE.random(25, 3, rng, 2)
    descriptor = SpinACE(triangular(5), FREE, 1.8, 3)
    descriptor(field).square().sum().backward()
    assert all(weights.grad.abs().max() > 0 for weights in descriptor.parameters())
    fixed = SpinACE(triangular(5), FREE, 1.8, 3, learnable=False)
    assert torch.equal(fixed(field), descriptor(field))
    assert not any(weights.requires_grad for weights in fixed.parameters())
    other = SpinACE(triangular(5), FREE, 1.8, 3, rng=rng)
    assert not torch.allclose(other(field), descriptor(field))


# --- force fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptor", [SpinInvariants, SpinACE])
def test_exchange_fields_turn_with_the_spins_and_travel_with_the_lattice(descriptor, rng):
    lattice = triangular(5)
    forcefield = LearnedForceField(descriptor(lattice, FREE, 1.8), MLP((16,))).double()
    field = FREE.random(lattice.n_sites, 3, rng, 2)
    forcefield.calibrate(field)
    forces = forcefield(field)
    group = site_group(lattice)
    for g, permutation in enumerate(site_permutations(lattice, group)):
        R = FREE.internal_operation(3, rng)
        moved = forcefield(FREE.transform(field, group, g, permutation) @ R.T)
        torch.testing.assert_close(moved.energy, forces.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(moved.force[:, permutation], forces.force @ R.T, rtol=0, atol=1e-12)
    # Rotations of all spins leave the energy alone: the torques S × H add up to zero.
    assert torch.linalg.cross(field, forces.force).sum(-2).abs().max() < 1e-12
    assert forces.force.abs().max() > 0.01


@pytest.mark.parametrize("descriptor", [SpinInvariants, SpinACE])
def test_a_saved_model_of_spins_returns(descriptor, rng, tmp_path):
    trained = descriptor(triangular(5), spin(unit=False), 1.8)
    with torch.no_grad():
        for weights in trained.parameters():
            weights.add_(0.1)
    forcefield = LearnedForceField(trained, MLP((8,))).eval()
    files.save(forcefield, tmp_path / "model")
    field = spin(unit=False).random(25, 3, rng).float()
    assert torch.equal(files.load(tmp_path / "model")(field).force, forcefield(field).force)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SpinInvariants(square(4), ising(), 1.5), "Take Irreps"),
        (lambda: SpinInvariants(square(4), displacement(), 1.5), "Take Irreps"),
        (lambda: SpinACE(square(4), FieldType("S", ("trivial",) * 4, "SO(n)"), 1.5), "2 or 3 components"),
        (lambda: SpinInvariants(square(4, periodic=False), FREE, 1.5), "lack neighbours"),
        (lambda: SpinInvariants(square(4), FREE, 0.5), "cutoff=0.5 sees no neighbour"),
        (lambda: SpinACE(square(4), FREE, 0.5), "cutoff=0.5 sees no neighbour"),
        (lambda: SpinInvariants(square(4), FREE, 1.5, mode="eigenvalues"), "mode must be"),
        (lambda: SpinInvariants(square(4), FREE, 1.5, bond_cutoff=-1.0), "bond_cutoff, one of the distances, must be"),
        (lambda: SpinACE(square(4), FREE, 1.5, order=5), "order must be a whole number ≥ 2 and ≤ 4"),
    ],
)
def test_what_is_not_served_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_rectangle_has_fewer_irreps_but_the_same_scalars():
    rectangle = Lattice("rectangular", np.diag([1.0, 1.3]), np.zeros((1, 2)), (4, 5))
    descriptor = SpinInvariants(rectangle, FREE, 1.3, bond_cutoff=1.7)
    assert descriptor.counts() == {"S·S": 4, "s·s": 4, "S·s×s": 4}
    assert irreps_of(descriptor, "4 × S·s×s r=1,1.3 d=1.64") == {"A1- + A2- + B1- + B2-"}
