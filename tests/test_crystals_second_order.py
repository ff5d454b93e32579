"""Properties to second order: their symmetry, where they come from, and their thermal means."""

import numpy as np
import pytest
import torch

from nearsight.analysis import controlled_mean
from nearsight.crystals import (
    Crystal,
    SecondOrder,
    SlaterKoster,
    ThermalDisplacements,
    TightBinding,
    ValenceForceField,
    silicon,
)
from nearsight.crystals.second_order import pair_invariants, pair_sums
from nearsight.lattices import Lattice
from nearsight.lattices.symmetry import site_group, site_permutations
from nearsight.storage import CorruptFileError


@pytest.fixture(scope="module")
def gap() -> TightBinding:
    return TightBinding(silicon(3), SlaterKoster.silicon())


@pytest.fixture(scope="module")
def thermal() -> ThermalDisplacements:
    return ThermalDisplacements(ValenceForceField.silicon().force_constants(silicon(4)), silicon(3))


@pytest.fixture(scope="module")
def curved(gap) -> SecondOrder:
    return SecondOrder.from_gradient(gap)


def test_pair_sums_are_sums_over_pairs(rng):
    crystal = silicon(2).resized(2, 3, 1)
    u = torch.randn(2, 12, 3, generator=rng, dtype=torch.float64)
    lattice = crystal.lattice
    exact = torch.zeros(2, 2, 12, 3, 3, dtype=torch.float64)
    for start in np.unique(lattice.cells, axis=0):
        for b in range(2):
            i = int(lattice.index(start, b))
            for s in range(12):
                j = int(lattice.index(start + lattice.cells[s], lattice.sublattice[s]))
                exact[:, b, s] += u[:, i, :, None] * u[:, j, None, :]
    torch.testing.assert_close(pair_sums(crystal, u), exact)


def test_every_invariant_is_invariant(rng):
    crystal = silicon(3)
    basis = pair_invariants(crystal)
    np.testing.assert_allclose(
        basis.reshape(len(basis), -1) @ basis.reshape(len(basis), -1).T, np.eye(len(basis)), atol=1e-9
    )
    weights = torch.from_numpy(basis.reshape(len(basis), -1).T.copy())
    u = torch.randn(54, 3, generator=rng, dtype=torch.float64)

    def values(field):
        return (pair_sums(crystal, field).flatten(-4) @ weights).numpy()

    group, expected = site_group(crystal.lattice), values(u)
    for g, p in zip(group.matrices, site_permutations(crystal.lattice, group), strict=True):
        turned = torch.zeros_like(u).index_copy(0, torch.from_numpy(p), u @ torch.tensor(g).T)
        np.testing.assert_allclose(values(turned), expected, atol=1e-9)
    np.testing.assert_allclose(values(u + torch.tensor([0.3, -0.2, 0.5])), expected, atol=1e-9)
    cells = u.reshape(3, 3, 3, 2, 3)
    np.testing.assert_allclose(values(cells.roll(1, 1).reshape(54, 3)), expected, atol=1e-9)
    # The inversion through the middle of a bond exchanges the sublattices.
    lattice = crystal.lattice
    image = torch.from_numpy(lattice.index(-lattice.cells, 1 - lattice.sublattice))
    np.testing.assert_allclose(values(torch.zeros_like(u).index_copy(0, image, -u)), expected, atol=1e-9)


def test_no_invariant_is_missing():
    """The trace of the projection on the invariants, by characters of the whole space group of a small torus."""
    crystal = silicon(2)
    lattice, group = crystal.lattice, site_group(silicon(2).lattice)
    n = lattice.n_sites
    inverse = lattice.index(-lattice.cells, 1 - lattice.sublattice)
    operations = []
    for g, p in zip(group.matrices, site_permutations(lattice, group), strict=True):
        for sign, image in ((1.0, np.arange(n)), (-1.0, inverse)):
            for shift in lattice.cells[:: lattice.n_basis]:
                moved = image[p]
                operations.append((sign * g, lattice.index(lattice.cells[moved] + shift, lattice.sublattice[moved])))
    traces, squares = [], []
    for g, p in operations:
        full = np.zeros((3 * n, 3 * n))
        full.reshape(n, 3, n, 3)[p, :, np.arange(n)] = g
        # Without the uniform displacement, on which G vanishes.
        traces.append(np.trace(full) - np.trace(g))
        squares.append(np.trace(full @ full) - np.trace(g @ g))
    count = (np.square(traces) + squares).mean() / 2
    assert len(pair_invariants(crystal)) == round(count)
    assert count == pytest.approx(round(count))


def zincblende(length):
    lattice = silicon(length).lattice
    return Crystal(
        Lattice("zincblende", lattice.vectors, lattice.basis, lattice.shape, species=("Ga", "As")), (69.7, 74.9)
    )


def fluorite(length):
    """Ca at the centres of Oh, two F at those of Td: two kinds, of which the second has two atoms."""
    lattice, a = silicon(length).lattice, silicon(length).lattice.basis[1]
    basis = np.array([0 * a, a, 3 * a])
    return Crystal(
        Lattice("fluorite", lattice.vectors, basis, lattice.shape, species=("Ca", "F", "F")), (40.1, 19.0, 19.0)
    )


@pytest.mark.parametrize("make", [zincblende, fluorite])
def test_no_invariant_of_inequivalent_sites_is_missing(make):
    """Both space groups are symmorphic about site 0: its operations and the translations are all there are."""
    crystal = make(2)
    lattice, group = crystal.lattice, site_group(crystal.lattice)
    n, traces, squares = lattice.n_sites, [], []
    for g, p in zip(group.matrices, site_permutations(lattice, group), strict=True):
        for shift in lattice.cells[:: lattice.n_basis]:
            image = lattice.index(lattice.cells[p] + shift, lattice.sublattice[p])
            fixed, twice = (np.arange(n) == image).sum(), (np.arange(n) == image[image]).sum()
            traces.append((fixed - 1) * np.trace(g))
            squares.append((twice - 1) * np.trace(g @ g))
    count = (np.square(traces) + squares).mean() / 2
    assert len(pair_invariants(crystal)) == round(count) and count == pytest.approx(round(count))


class Springs:
    """½ Σ k (e · (u_j - u_i))² over the bonds of a crystal, stiffer between unlike atoms."""

    def __init__(self, crystal):
        self.crystal = crystal
        lattice, parts = crystal.lattice, []
        for shell, stiffness in ((1, 2.0), (2, 0.3)):
            bonds = lattice.bonds(shell)
            kinds = np.array([str(s) for s in lattice.species])[lattice.sublattice]
            like = np.where(kinds[bonds.i] == str(lattice.species[0]), 0.8, 0.4)
            k = stiffness * np.where(kinds[bonds.i] == kinds[bonds.j], like, 1.0)
            e = bonds.displacement / np.linalg.norm(bonds.displacement, axis=1, keepdims=True)
            parts.append((bonds.i, bonds.j, e, k))
        self.i, self.j, self.e, self.k = (torch.from_numpy(np.concatenate(x)) for x in zip(*parts, strict=True))

    def __call__(self, u):
        stretch = ((u[..., self.j, :] - u[..., self.i, :]) * self.e).sum(-1)
        return 1.5 + 0.5 * (self.k * stretch**2).sum(-1)


@pytest.mark.parametrize("make", [zincblende, fluorite])
def test_a_gradient_for_every_kind_of_site_gives_the_whole_form(make, rng):
    springs = Springs(make(3))
    form = SecondOrder.from_gradient(springs)
    u = 0.1 * torch.randn(5, springs.crystal.n_atoms, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(form(u), springs(u), rtol=1e-9, atol=1e-9)
    basis = pair_invariants(springs.crystal).reshape(-1, form.matrices.size)
    flat = form.matrices.reshape(-1)
    np.testing.assert_allclose(basis.T @ (basis @ flat), flat, atol=1e-9)


def test_a_site_that_leaves_a_direction_alone_is_named():
    lattice = silicon(2).lattice
    basis = np.array([[0.0] * 3, 0.9 * lattice.basis[1]])
    polar = Crystal(Lattice("polar", lattice.vectors, basis, lattice.shape, species=("Ga", "As")), (69.7, 74.9))
    with pytest.raises(ValueError, match=r"of site 0 of .* leave a direction alone"):
        pair_invariants(polar)


def test_a_gradient_gives_all_second_derivatives(gap, curved, rng):
    for _ in range(2):
        d = torch.randn(54, 3, generator=rng, dtype=torch.float64)
        d = d / d.norm()
        step = 0.03
        exact = float(gap(step * d) + gap(-step * d) - 2 * gap.perfect) / 2
        assert float(curved(step * d)) - gap.perfect == pytest.approx(exact, rel=0.01, abs=1e-7)
    basis = pair_invariants(gap.crystal).reshape(-1, curved.matrices.size)
    flat = curved.matrices.reshape(-1)
    np.testing.assert_allclose(basis.T @ (basis @ flat), flat, atol=1e-10)


def test_the_mean_is_that_of_samples(curved, thermal, rng):
    values = curved(thermal.sample(4000, 300.0, rng)).numpy()
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - curved.mean(thermal, 300.0)) < 4 * error


def test_the_mean_is_a_sum_over_phonons(curved, thermal):
    quanta = curved.by_mode(thermal)
    omega = thermal.frequencies
    assert quanta.shape == omega.shape
    for temperature in (0.0, 300.0):
        with np.errstate(over="ignore", divide="ignore"):
            n = 1 / np.expm1(2 * np.pi * np.abs(omega) * 0.6582119569e-3 / (8.617333e-5 * max(temperature, 1e-9)))
        n[0, :3] = 0
        shift = float((quanta * (n + 0.5)).sum())
        assert curved.constant + shift == pytest.approx(curved.mean(thermal, temperature), rel=1e-6)


def test_classical_modes_have_the_coupling_of_quantum_ones_and_equipartition(curved, thermal):
    """Against the dense normal modes of the supercell: ⟨u u⟩ = k_BT D⁻¹/√(m m), without waves."""
    classical = ThermalDisplacements(thermal.force_constants, thermal.crystal, statistics="classical")
    np.testing.assert_array_equal(curved.by_mode(classical), curved.by_mode(thermal))
    crystal, kT = curved.crystal, 8.617333262e-5 * 250.0
    n, index = crystal.n_atoms, np.arange(crystal.n_atoms).reshape(3, 3, 3, 2)
    quadratic = np.zeros((n, 3, n, 3))
    for cell in np.ndindex(3, 3, 3):  # every row is that of cell 0, shifted
        sites = np.roll(index, [-c for c in cell], (0, 1, 2)).reshape(-1)
        for b in range(2):
            quadratic[index[(*cell, b)], :, sites] = curved.matrices[b]
    u = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = 0.5 * np.einsum("ia,iajb,jb", u.numpy(), quadratic, u.numpy())
    assert float(curved(u)) - curved.constant == pytest.approx(value, rel=1e-9)
    fine = ThermalDisplacements(thermal.force_constants, crystal)
    waves = fine.force_constants.dynamical_matrix(fine.q).reshape(-1, 2, 3, 2, 3)  # D(q), e^{-iq(R - R')} between cells
    cells = crystal.lattice.cells[::2]
    phase = np.exp(2j * np.pi * (cells[:, None] - cells) @ fine.q.T) / len(cells)
    dense = np.einsum("rsq,qaibj->raisbj", phase, waves).reshape(3 * n, 3 * n)
    assert np.abs(dense.imag).max() < 1e-10 * np.abs(dense).max()
    values, vectors = np.linalg.eigh(dense.real)
    inverse = (vectors[:, 3:] / values[3:]) @ vectors[:, 3:].T  # without the three translations
    masses = np.tile(np.repeat(crystal.masses, 3), len(cells))
    covariance = 9648.53321 * kT * inverse / np.sqrt(np.outer(masses, masses))  # 1 eV/(Å² u) in (rad/ps)²
    shift = 0.5 * float((quadratic.reshape(3 * n, 3 * n) * covariance).sum())
    assert shift == pytest.approx(curved.mean(classical, 250.0) - curved.constant, rel=1e-5)
    assert shift == pytest.approx(float((curved.by_mode(classical) * classical.quanta(250.0)).sum()), rel=1e-5)
    assert abs(shift) > 1e-3


def test_second_order_explains_the_gap_of_thermal_displacements(gap, curved, thermal, rng):
    u = thermal.sample(60, 100.0, rng)
    exact, second = gap(u), curved(u)
    assert float((exact - second).var() / exact.var()) < 0.05


@pytest.mark.parametrize("cutoff", [None, 6.0])
def test_a_planted_form_is_learned_from_as_many_values_as_it_has_parameters(thermal, rng, cutoff):
    crystal = thermal.crystal
    basis = pair_invariants(crystal, cutoff)
    weights = np.random.default_rng(3).normal(size=len(basis))
    planted = SecondOrder(crystal, np.einsum("k,kbsij->bsij", weights, basis), 1.2)
    u = thermal.sample(len(basis) + 5, 300.0, rng)
    learned = SecondOrder.fitted(crystal, u, planted(u).numpy(), constant=1.2, cutoff=cutoff)
    fresh = thermal.sample(20, 300.0, rng)
    np.testing.assert_allclose(learned(fresh).numpy(), planted(fresh).numpy(), atol=1e-4)


def test_a_prior_is_improved_by_few_values(gap, curved, thermal, rng):
    """Of another engine, here Harrison's exponents: ten values find more of the difference than of the whole."""
    harrison = TightBinding(gap.crystal, SlaterKoster.silicon().replaced(exponents=(2.0,) * 5))
    u, fresh = thermal.sample(10, 300.0, rng), thermal.sample(40, 300.0, rng)
    value, exact = harrison(u).numpy(), harrison(fresh).numpy()
    options = {"constant": harrison.perfect}
    alone = SecondOrder.fitted(gap.crystal, u, value, **options)(fresh).numpy() - exact
    helped = SecondOrder.fitted(gap.crystal, u, value, prior=curved, **options)(fresh).numpy() - exact
    plain = curved(fresh).numpy() - curved.constant - (exact - harrison.perfect)
    assert (helped**2).mean() < 0.7 * min((alone**2).mean(), (plain**2).mean())


def test_the_gap_is_learned_from_few_values(gap, thermal, rng):
    u = torch.cat([thermal.sample(60, t, rng) for t in (0.0, 300.0)])
    value = gap(u).numpy()
    learned = SecondOrder.fitted(gap.crystal, u[::2], value[::2], constant=gap.perfect)
    residual = value[1::2] - learned(u[1::2]).numpy()
    assert np.sqrt((residual**2).mean()) < 0.003
    for part in (slice(0, 30), slice(30, 60)):
        assert residual[part].var() < 0.4 * value[1::2][part].var()


@pytest.mark.slow
def test_error_bars_of_the_mean_gap_hold_in_200_repetitions(gap, curved, thermal, rng):
    """Each of 24 new gaps, by the surrogate from a gradient and by one that is learned anew and cross-fitted."""
    repetitions, n, temperature = 200, 24, 300.0
    u = thermal.sample(repetitions * n, temperature, rng)
    exact, second = gap(u).numpy(), curved(u).numpy()
    truth = controlled_mean(exact, second, curved.mean(thermal, temperature))
    assert truth.reduction > 10
    fold, inside = np.arange(n) % 3, {"gradient": [], "learned": []}
    for k in range(repetitions):
        part = slice(k * n, (k + 1) * n)
        found = {"gradient": controlled_mean(exact[part], second[part], curved.mean(thermal, temperature))}
        own, means = np.empty(n), []
        for j in range(3):
            rest, left = u[part][fold != j], u[part][fold == j]
            model = SecondOrder.fitted(gap.crystal, rest, exact[part][fold != j], constant=gap.perfect, cutoff=5.0)
            own[fold == j] = model(left).numpy()
            means.append(model.mean(thermal, temperature))
        found["learned"] = controlled_mean(exact[part], own, np.array(means), fold=fold)
        for name, estimate in found.items():
            inside[name].append(abs(estimate.value - truth.value) < estimate.error)
    for name, hits in inside.items():
        assert 0.6 <= np.mean(hits) <= 0.75, name


def test_what_is_saved_is_read(curved, tmp_path):
    curved.save(tmp_path / "gap.safetensors")
    again = SecondOrder.load(tmp_path / "gap.safetensors", curved.crystal)
    np.testing.assert_array_equal(again.matrices, curved.matrices)
    assert again.constant == curved.constant and again.config() == curved.config()
    with pytest.raises(ValueError, match="not of"):
        SecondOrder.load(tmp_path / "gap.safetensors", silicon(4))
    content = (tmp_path / "gap.safetensors").read_bytes()
    (tmp_path / "gap.safetensors").write_bytes(content[:-9] + b"x" + content[-8:])
    with pytest.raises(CorruptFileError):
        SecondOrder.load(tmp_path / "gap.safetensors", curved.crystal)


def test_crystals_with_a_term_of_first_order_are_refused(curved, thermal):
    tilted = Lattice("tetragonal", np.diag([3.0, 3.0, 4.0]), np.array([[0, 0, 0], [1.5, 1.5, 1.6]]), (2, 2, 2))
    with pytest.raises(ValueError, match=r"C4v of site 0 of .* leave a direction alone"):
        pair_invariants(Crystal(tilted, (1.0, 1.0)))
    with pytest.raises(ValueError, match="displacements are those of"):
        curved.mean(ThermalDisplacements(thermal.force_constants, silicon(2)), 0.0)
