"""Ising, Edwards-Anderson, Potts and Blume-Capel models: energies bond by bond, symmetries, and states for samplers."""

import itertools

import numpy as np
import pytest
import torch

from nearsight.dynamics import SpinFlips
from nearsight.fields import ising
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import BlumeCapel, ClassicalModel, EdwardsAnderson, Ising, Potts, TileModel
from nearsight.lattices import bcc, chain, cubic, diamond, fcc, honeycomb, kagome, square, triangular

MODELS = [
    Ising(square(4, 3), J=(1.0, -0.4), h=0.3),
    Ising(square(4, periodic=False)),
    Ising(square(2)),
    Ising(square(3, 1), J=2.0),
    Ising(kagome(2), J=-1.0),
    EdwardsAnderson(honeycomb(3), seed=3),
    Potts(triangular(3), 4),
    Potts(chain(6), 5, J=(1.0, 0.5), kind="clock"),
    BlumeCapel(cubic(3), D=1.2, h=-0.4),
    BlumeCapel(chain(1), D=0.5, h=0.1),
    TileModel(square(4, 3), np.random.default_rng(1).standard_normal(64), shape=(2, 3), stride=(2, 1)),
    TileModel(triangular(3), np.random.default_rng(2).standard_normal(81), shape=(2, 2), stride=(1, 1), n_states=3),
]
models = pytest.mark.parametrize("model", MODELS, ids=repr)
LATTICES = [chain(4), square(3), triangular(3), honeycomb(2), kagome(2), cubic(2), fcc(2), bcc(2), diamond(2)]


def by_hand(model: ClassicalModel, bond, site) -> tuple[list[list[float]], list[float]]:
    """Some fields of one component, and their energies bond by bond from the lattice, in plain Python."""
    values = model.from_states(model.random_states(torch.Generator().manual_seed(1), 3))[..., 0].tolist()
    shells = [model.lattice.bonds(k) for k in range(1, len(model.J) + 1)]
    return values, [
        sum(site(s) for s in row)
        - sum(
            J * bond(row[i], row[j])
            for J, b in zip(model.J, shells, strict=True)
            for i, j in zip(b.i, b.j, strict=True)
        )
        for row in values
    ]


# --- energies ---------------------------------------------------------------------------------------------------------


@models
def test_states_and_fields_have_one_energy(model, rng):
    states = model.random_states(rng, 2, 5)
    field = model.from_states(states)
    assert field.dtype == torch.float64 and field.shape == (2, 5, model.lattice.n_sites, model.components)
    model.field_type.check_values(field)
    assert torch.equal(model.to_states(field), states)
    torch.testing.assert_close(model.energy(states), model.classical_energy(field), rtol=1e-14, atol=1e-13)


@models
def test_a_change_of_one_site_costs_the_difference_of_two_energies(model, rng):
    states = model.random_states(rng, 4)
    for site, new in itertools.product(range(model.lattice.n_sites), range(model.n_states)):
        changed = states.clone()
        changed[:, site] = new
        expected = model.energy(changed) - model.energy(states)
        torch.testing.assert_close(model.energy_change(states, site, new), expected, rtol=0, atol=1e-12)


@models
def test_every_replica_may_change_a_site_of_its_own(model, rng):
    states = model.random_states(rng, 3, 2)
    site = torch.randint(model.lattice.n_sites, (3, 2), generator=rng)
    new = torch.randint(model.n_states, (3, 2), generator=rng)
    together = model.energy_change(states, site, new)
    for k in itertools.product(range(3), range(2)):
        torch.testing.assert_close(together[k], model.energy_change(states[k], int(site[k]), int(new[k])))


@models
def test_tables_of_neighbours_list_every_bond_from_both_ends(model):
    index, strength = model.neighbours.index, model.neighbours.strength
    seen = sorted(
        (i, int(j), float(J)) for i in range(len(index)) for j, J in zip(index[i], strength[i], strict=True) if J
    )
    i, j, J = (x.tolist() for x in (model.pairs.i, model.pairs.j, model.pairs.strength))
    assert seen == sorted([*zip(i, j, J, strict=True), *zip(j, i, J, strict=True)])
    assert all(a != b for a, b in zip(i, j, strict=True))


def test_ising_energy_is_minus_the_sum_over_bonds_and_fields():
    for lattice in (square(3, 4), square(2), triangular(3), cubic(3, periodic=False)):
        model = Ising(lattice, J=(0.7, -0.2), h=0.3)
        states, expected = by_hand(model, lambda a, b: a * b, lambda s: -0.3 * s)
        energy = model.classical_energy(torch.tensor(states).double()[..., None])
        np.testing.assert_allclose(energy, expected, rtol=0, atol=1e-12)


def test_blume_capel_energy_has_the_crystal_field_of_its_docstring():
    model = BlumeCapel(triangular(3), J=0.7, D=1.3, h=0.2)
    states, expected = by_hand(model, lambda a, b: a * b, lambda s: 1.3 * s * s - 0.2 * s)
    energy = model.energy(torch.tensor(states).to(torch.int8) + 1)
    np.testing.assert_allclose(energy, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["standard", "clock"])
def test_potts_energy_depends_on_differences_of_states(kind, rng):
    q, lattice = 5, square(3)
    states = torch.randint(q, (4, 9), generator=rng)
    b = lattice.bonds(1)
    difference = (states[:, b.i] - states[:, b.j]).double()
    value = (difference == 0).double() if kind == "standard" else torch.cos(2 * torch.pi * difference / q)
    torch.testing.assert_close(Potts(lattice, q, J=0.4, kind=kind).energy(states), -0.4 * value.sum(-1))


@pytest.mark.parametrize("lattice", LATTICES, ids=lambda x: x.name)
def test_aligned_spins_gain_every_bond_once(lattice):
    bonds = len(lattice.bonds(1))
    up = torch.ones(lattice.n_sites, dtype=torch.int8)
    assert float(Ising(lattice, J=2.0).energy(up)) == -2 * bonds
    assert float(Potts(lattice, 3).energy(up)) == -bonds
    assert float(BlumeCapel(lattice, D=0.5).energy(2 * up)) == -bonds + 0.5 * lattice.n_sites
    assert float(EdwardsAnderson(lattice, np.ones(bonds)).energy(up)) == -bonds


# --- symmetries -------------------------------------------------------------------------------------------------------


def test_samples_with_other_couplings_have_other_names():
    couplings = EdwardsAnderson(cubic(3), seed=5).couplings
    same, other = couplings.copy(), couplings * (1 + 1e-15)
    names = [repr(EdwardsAnderson(cubic(3), c)) for c in (couplings, same, other)]
    assert names[0] == names[1] != names[2] and "couplings=array 81 " in names[0]
    assert repr(EdwardsAnderson(cubic(3), seed=5, J=0.1 + 0.2)) != repr(EdwardsAnderson(cubic(3), seed=5, J=0.3))


def test_reversing_one_sublattice_reverses_the_coupling(rng):
    for lattice in (square(4, 6), honeycomb(3), cubic(2), diamond(2)):
        sign = torch.ones(lattice.n_sites)
        if lattice.n_basis == 2:
            sign[lattice.sublattice == 1] = -1
        else:
            sign[lattice.cells.sum(1) % 2 == 1] = -1
        field = ising().random(lattice.n_sites, 1, rng, 3)
        moved = field * sign[:, None].double()
        assert torch.equal(Ising(lattice, J=-1.0).classical_energy(moved), Ising(lattice).classical_energy(field))


def test_gauge_transformations_of_a_spin_glass_leave_its_energy_alone(rng):
    model = EdwardsAnderson(cubic(3), seed=5)
    field, epsilon = (ising().random(27, 1, rng) for _ in range(2))
    e = epsilon[:, 0].numpy()
    transformed = EdwardsAnderson(model.lattice, model.couplings * e[model.pairs.i] * e[model.pairs.j])
    torch.testing.assert_close(transformed.classical_energy(field * epsilon), model.classical_energy(field))


def test_standard_potts_states_may_be_permuted_and_clock_states_turned_and_reflected(rng):
    q = 5
    standard, clock = Potts(square(4), q), Potts(square(4), q, kind="clock")
    states = standard.random_states(rng, 6).long()
    permutation = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(standard.energy(permutation[states]), standard.energy(states))
    assert not torch.allclose(clock.energy(permutation[states]), clock.energy(states))
    for image in ((states + 2) % q, -states % q):
        torch.testing.assert_close(clock.energy(image), clock.energy(states))


def test_few_states_of_potts_models_are_ising_spins(rng):
    lattice = square(4)
    bonds = len(lattice.bonds(1))
    ising_model = Ising(lattice)
    two = ising_model.random_states(rng, 5)
    torch.testing.assert_close(2 * Potts(lattice, 2).energy(two), ising_model.energy(two) - bonds)
    torch.testing.assert_close(Potts(lattice, 2, kind="clock").energy(two), ising_model.energy(two))
    three = Potts(lattice, 3).random_states(rng, 5)
    clock = Potts(lattice, 3, kind="clock").energy(three)
    torch.testing.assert_close(clock, 1.5 * Potts(lattice, 3).energy(three) + bonds / 2)
    # Quarter turns: cos(π(a - b)/2) = (σσ' + ττ')/2 with the signs of (cos + sin, cos - sin) of the angle.
    other = ising_model.random_states(rng, 5)
    four = torch.tensor([[2, 3], [1, 0]])[two.long(), other.long()]
    energy = Potts(lattice, 4, kind="clock").energy(four)
    torch.testing.assert_close(energy, (ising_model.energy(two) + ising_model.energy(other)) / 2)


def test_blume_capel_without_vacancies_is_ising(rng):
    ising_model, model = Ising(square(4), h=0.3), BlumeCapel(square(4), D=-2.0, h=0.3)
    states = ising_model.random_states(rng, 5)
    torch.testing.assert_close(model.energy(2 * states), ising_model.energy(states) - 2.0 * 16)


def test_a_field_takes_the_inversion_away():
    assert Ising(square(3)).field_type.internal == BlumeCapel(square(3)).field_type.internal == "Z2"
    assert Ising(square(3), h=0.1).field_type.internal == BlumeCapel(square(3), h=0.1).field_type.internal == "none"


def test_a_model_vouches_for_what_its_field_type_claims(rng):
    wrong = Ising(square(3), h=0.1)
    wrong.field_type = ising()
    with pytest.raises(ArithmeticError, match="internal operation"):
        wrong.check(rng)
    wrong = EdwardsAnderson(square(3), seed=1)
    wrong.disordered = False
    with pytest.raises(ArithmeticError, match=r"under operation \d"):
        wrong.check(rng)


# --- samples of a spin glass ------------------------------------------------------------------------------------------


def test_a_seed_names_a_sample():
    lattice = square(6)
    sample = EdwardsAnderson(lattice, seed=7)
    assert np.array_equal(sample.couplings, EdwardsAnderson(lattice, seed=7).couplings)
    assert not np.array_equal(sample.couplings, EdwardsAnderson(lattice, seed=8).couplings)
    # PCG64 and NumPy's ziggurat: the same numbers everywhere.
    np.testing.assert_allclose(sample.couplings[:3], [0.00123015, 0.29874554, -0.27413786], atol=1e-8)
    again = EdwardsAnderson(lattice, sample.couplings)
    assert np.array_equal(again.pairs.strength, sample.pairs.strength)


def test_couplings_have_the_distribution_asked_for():
    n = 2 * 60**2
    gaussian = EdwardsAnderson(square(60), J=0.5, seed=1).couplings
    assert abs(gaussian.mean()) < 4 * 0.5 / n**0.5
    assert abs(gaussian.std() / 0.5 - 1) < 4 / (2 * n) ** 0.5
    signs = EdwardsAnderson(square(60), distribution="+-J", J=0.5, seed=1).couplings
    assert set(signs) == {-0.5, 0.5}
    assert abs(signs.mean()) < 4 * 0.5 / n**0.5


# --- the rest of the library takes them -------------------------------------------------------------------------------


def test_the_force_on_a_spin_is_its_local_field(rng):
    model = Ising(triangular(4), J=0.6, h=0.2)
    field = ising().random(16, 1, rng, 2)
    answer = ClassicalForceField(model)(field)
    around = field[..., torch.from_numpy(model.neighbours.index), 0].sum(-1)
    torch.testing.assert_close(answer.force[..., 0], 0.6 * around + 0.2)
    torch.testing.assert_close(answer.energy, model.classical_energy(field))
    single = ClassicalForceField(model)(field.float())
    assert single.energy.dtype == single.force.dtype == torch.float32


def test_rates_of_spin_flips_see_the_same_energies(rng):
    model = EdwardsAnderson(square(4), seed=2)
    states = model.random_states(rng, 3)
    expected = torch.stack([model.energy_change(states, i, 1 - states[:, i]) for i in range(16)], dim=-1)
    flips = SpinFlips(ClassicalForceField(model), kT=1.0)
    torch.testing.assert_close(flips.energy_differences(model.from_states(states)), expected)


def test_magnetisation_is_the_mean_of_the_field():
    states = torch.tensor([[0, 1, 1, 2], [2, 2, 2, 2]])
    torch.testing.assert_close(BlumeCapel(chain(4)).magnetisation(states)[:, 0].tolist(), [0.0, 1.0])
    shares = Potts(chain(4), 3).magnetisation(states)
    torch.testing.assert_close(shares.tolist(), [[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Ising(square(3), h=float("nan")), ValueError, "h.* must be a finite real number"),
        (lambda: Ising(square(3), J=()), ValueError, "one for each neighbour shell"),
        (lambda: Ising(square(3), J=(1.0, float("inf"))), ValueError, r"J\[1\] must be a finite"),
        (lambda: Ising(square(3)).on(triangular(3)), ValueError, "lives on a square lattice"),
        (lambda: Potts(square(3), 1), ValueError, "q must be a whole number ≥ 2 and ≤ 127"),
        (lambda: Potts(square(3), 3, kind="vector"), ValueError, "'standard', 'clock'"),
        (lambda: EdwardsAnderson(square(3)), ValueError, "either couplings"),
        (lambda: EdwardsAnderson(square(3), np.ones(18), seed=1), ValueError, "either couplings"),
        (lambda: EdwardsAnderson(square(3), np.ones(17)), ValueError, r"couplings, one for each .* shape \(18,\)"),
        (lambda: EdwardsAnderson(square(3), seed=1, J=0.0), ValueError, "scale of the couplings"),
        (lambda: EdwardsAnderson(square(3), seed=1, distribution="uniform"), ValueError, "gaussian"),
        (lambda: EdwardsAnderson(square(3), np.ones(18)).on(square(4)), ValueError, "seed="),
        (lambda: Ising(square(3)).energy(torch.ones(2, 8, dtype=torch.int8)), ValueError, r"\(\*batch, 9\)"),
        (lambda: Ising(square(3)).energy(torch.full((9,), -1)), ValueError, "numbered 0..1, got -1"),
        (lambda: Ising(square(3)).energy(torch.ones(9)), TypeError, "to_states"),
        (lambda: Ising(square(3)).to_states(torch.zeros(9, 1)), ValueError, r"\+1 or -1"),
    ],
)
def test_what_is_no_model_or_state_is_refused_with_the_cure(make, error, message):
    with pytest.raises(error, match=message):
        make()
