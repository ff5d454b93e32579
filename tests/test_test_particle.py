"""The potential of a test particle and the barrier between sublattices, against dense eigenvalues of every site."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight import analysis
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import chain, cubic, honeycomb, kagome, site_permutations, square, torus_group
from nearsight.moves import ExactMoves, LatticeGas
from nearsight.solvers import Dense


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gas(lattice, *batch: int, density: float = 0.2, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((*batch, lattice.n_sites)) < density).astype(float)


def dense_energies(model: FalicovKimball, field: np.ndarray, solver: Dense) -> np.ndarray:
    """What the electrons pay for one more particle on every empty site, by one diagonalisation each."""
    diagonal = torch.arange(model.orbitals)

    def potential(n: np.ndarray) -> float:
        matrix = model.matrix(torch.from_numpy(n)[:, None])
        return float(solver.solve(matrix, diagonal, diagonal, degeneracy=model.degeneracy).potential)

    base, result = potential(field), np.full(len(field), np.inf)
    for site in np.flatnonzero(field == 0):
        tested = field.copy()
        tested[site] = 1.0
        result[site] = potential(tested) - base
    return result


# --- the energies -----------------------------------------------------------------------------------------------------

MODELS = [
    FalicovKimball(square(6)),
    FalicovKimball(square(4, 6), U=-1.5, spins=2),
    FalicovKimball(square(6), U=8.0),
    FalicovKimball(square(5, periodic=False), t=(1.0, -0.3)),
    FalicovKimball(chain(12), twist=(0.7,)),
    FalicovKimball(honeycomb(3), U=3.0),
]


@pytest.mark.parametrize("kT", [0.05, 0.3])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_one_diagonalisation_gives_the_energies_of_all_sites(model, kT):
    field = gas(model.lattice, seed=3)
    for chosen, solver in (
        ({"mu": -0.4}, Dense(mu=-0.4, kT=kT)),
        ({"number": 0.55 * model.orbitals * model.degeneracy}, Dense(filling=0.55, kT=kT)),
    ):
        found = analysis.particle_potential(field, model, kT=kT, **chosen)
        np.testing.assert_allclose(found.F, dense_energies(model, field, solver), atol=1e-9)


def test_a_gap_leaves_the_free_energy_as_sharp_as_a_metal():
    """At fixed number in a gap of 100 kT the chemical potential is anywhere, and F is not."""
    lattice = square(6)
    checkerboard = 0.5 + 0.5 * analysis.sublattice_sign(lattice)
    checkerboard[0] = 0.0
    model = FalicovKimball(lattice, U=6.0)
    for electrons in (18, 17, 19):
        found = analysis.particle_potential(checkerboard, model, kT=0.05, number=electrons)
        exact = dense_energies(model, checkerboard, Dense(filling=electrons / 36, kT=0.05))
        np.testing.assert_allclose(found.F, exact, atol=1e-9)


def test_frequencies_are_those_of_boltzmann_and_add_up():
    model, kT = FalicovKimball(square(6)), 0.1
    fields = gas(model.lattice, 2, 3, density=0.3)
    found = analysis.particle_potential(fields, model, kT=kT, mu=0.2, dims=("replica", "time"))
    assert found.V.dims == ("replica", "time", "site")
    frequency = np.exp(-found.V / kT)
    np.testing.assert_allclose(frequency.sum("site"), 1.0)
    assert np.isinf(found.V.values[fields == 1]).all() and np.isfinite(found.V.values[fields == 0]).all()
    difference = (found.V - found.F).values.reshape(6, -1)
    for row, occupied in zip(difference, fields.reshape(6, -1), strict=True):
        assert np.ptp(row[occupied == 0]) < 1e-10


def test_the_potential_turns_with_the_particles():
    lattice = square(6)
    model, n = FalicovKimball(lattice), gas(lattice, seed=5)
    V = analysis.particle_potential(n, model, kT=0.05, number=20).V.values
    for p in site_permutations(lattice, torus_group(lattice)):
        moved, expected = np.empty_like(n), np.empty_like(V)
        moved[p], expected[p] = n, V
        found = analysis.particle_potential(moved, model, kT=0.05, number=20).V
        np.testing.assert_allclose(found, expected, atol=1e-8)
    shifted = np.roll(n.reshape(6, 6), 1, 0).reshape(-1)
    found = analysis.particle_potential(shifted, model, kT=0.05, number=20).V
    np.testing.assert_allclose(found, np.roll(V.reshape(6, 6), 1, 0).reshape(-1), atol=1e-8)
    assert float(analysis.staggered_barrier(found, lattice)) == pytest.approx(
        float(analysis.staggered_barrier(V, lattice))
    )


def test_no_interaction_no_potential():
    model = FalicovKimball(square(6), U=0.0)
    found = analysis.particle_potential(gas(model.lattice), model, kT=0.1, number=10)
    finite = np.isfinite(found.V.values)
    np.testing.assert_allclose(found.F.values[finite], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.V.values[finite], 0.1 * np.log(finite.sum()))


# --- the walk ---------------------------------------------------------------------------------------------------------


def test_a_walk_visits_sites_as_often_as_boltzmann_says():
    lattice, kT = square(4), 0.7
    gas_ = LatticeGas(lattice, J=(0.9, -0.5))
    n = np.zeros(16)
    n[[0, 5, 6]] = 1.0
    energies = np.full(16, np.inf)
    for site in np.flatnonzero(n == 0):
        tested = n.copy()
        tested[site] = 1.0
        energies[site] = float(gas_.energy(torch.from_numpy(tested)[:, None]))
    frequency = np.exp(-energies / kT)
    frequency /= frequency.sum()
    field = torch.from_numpy(n)[:, None].clone()
    field[10] = 1.0
    walks = [
        np.exp(-analysis.walked_potential(field, gas_, 10, kT=kT, attempts=20_000, discard=500, rng=generator(k)) / kT)
        for k in range(16)
    ]
    mean, error = np.mean(walks, 0), np.std(walks, 0, ddof=1) / 4
    assert mean.sum() == pytest.approx(1.0)
    assert (mean[n == 1] == 0).all()
    pulls = (mean - frequency)[n == 0] / error[n == 0]
    assert np.abs(pulls).max() < 4.0 and np.mean(pulls**2) < 3.0


@pytest.mark.parametrize("chosen", [{"mu": -0.5}, {"number": 20}], ids=str)
def test_the_potential_between_neighbours_is_what_a_hop_costs(chosen):
    """Two routes to the same number: one site's Green's function, and that of the pair of sites of a hop."""
    model, kT = FalicovKimball(square(6)), 0.1
    n = gas(model.lattice, seed=5)
    V = analysis.particle_potential(n, model, kT=kT, **chosen).V.values
    moves = ExactMoves(model, kT=kT, tolerance=1e-10, **chosen)
    for site in np.flatnonzero(n == 0)[::7]:
        field = torch.from_numpy(n)[:, None].clone()
        field[site] = 1.0
        cost = moves.differences(field).numpy().reshape(36, -1)[site]
        np.testing.assert_allclose(cost, V[moves.hops.targets[site]] - V[site], atol=1e-7)


def test_a_walk_among_electrons_finds_the_exact_potential():
    """The estimate of the thesis: frequencies of a test particle next to a small patch, from exact hops."""
    model, kT = FalicovKimball(square(4), U=1.0), 0.3
    n = np.zeros(16)
    n[[0, 5]] = 1.0
    V = analysis.particle_potential(n, model, kT=kT, mu=-0.3).V.values
    field = torch.from_numpy(n)[:, None].clone()
    field[10] = 1.0
    moves = ExactMoves(model, kT=kT, mu=-0.3)
    walks = [
        np.exp(-analysis.walked_potential(field, moves, 10, kT=kT, attempts=700, discard=50, rng=generator(k)) / kT)
        for k in range(8)
    ]
    mean, error = np.mean(walks, 0), np.std(walks, 0, ddof=1) / np.sqrt(8)
    pulls = (mean - np.exp(-V / kT))[n == 0] / error[n == 0]
    assert np.mean(pulls**2) < 3.0


def test_a_walk_counts_every_attempt_once():
    lattice = square(4)
    field = torch.zeros(16, 1, dtype=torch.float64)
    field[3] = 1.0
    for attempts, discard in ((1, 0), (7, 3), (1000, 10)):
        V = analysis.walked_potential(
            field, LatticeGas(lattice), 3, kT=1.0, attempts=attempts, discard=discard, rng=generator(attempts)
        )
        visits = np.exp(-V.values) * attempts
        np.testing.assert_allclose(visits, np.rint(visits), atol=1e-8)
        assert visits.sum() == pytest.approx(attempts)


# --- barriers and blocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [square(6), honeycomb(3), cubic(4)], ids=repr)
def test_a_staggered_potential_has_its_amplitude_twice_as_barrier(lattice):
    V = 0.3 * analysis.sublattice_sign(lattice) + 7.0
    assert float(analysis.staggered_barrier(V, lattice)) == pytest.approx(0.6)
    V[: lattice.n_sites // 4] = np.inf  # occupied sites count for nothing
    assert float(analysis.staggered_barrier(V, lattice)) == pytest.approx(0.6)
    labelled = xr.DataArray(np.stack([V, -2 * V]), dims=("configuration", "site"))
    np.testing.assert_allclose(analysis.staggered_barrier(labelled, lattice), [0.6, 1.2])


def test_sites_beside_particles_can_be_left_out_of_the_barrier():
    """V is high inside the patch alone: a barrier of the whole lattice, none outside."""
    lattice = square(8)
    n = np.zeros((8, 8))
    n[1, 1] = n[2, 2] = n[3, 1] = n[2, 0] = 1
    V = np.where(n == 1, np.inf, 0.0)
    V[2, 1] = 5.0
    V, n = V.reshape(-1), n.reshape(-1)
    assert float(analysis.staggered_barrier(V, lattice)) > 0.1
    assert float(analysis.staggered_barrier(V, lattice, outside=n)) == 0.0
    V = V + 0.3 * analysis.sublattice_sign(lattice)
    assert float(analysis.staggered_barrier(V, lattice, outside=n)) == pytest.approx(0.6)


def test_large_lattices_take_the_series_in_the_chemical_potential_and_agree(monkeypatch):
    model, field = FalicovKimball(square(10)), gas(square(10), seed=8)
    found = analysis.particle_potential(field, model, kT=0.4, number=55).F.values
    monkeypatch.setattr("nearsight.analysis.clusters.insertion.RADIUS", 0.0)
    level_by_level = analysis.particle_potential(field, model, kT=0.4, number=55).F.values
    np.testing.assert_allclose(found, level_by_level, atol=1e-9)


def test_a_patch_of_checkerboard_makes_a_barrier_and_two_opposite_ones_cancel_it():
    """The staggered potential of a patch adds up over patches of one polarity and cancels over opposite ones."""
    lattice = square(12)
    model = FalicovKimball(lattice)
    patch = np.array([[0, 0], [1, 1], [2, 0], [1, -1], [2, 2]])
    same, opposite = (
        analysis.block_arrangements(lattice, patch, rng=generator(4), count=3, blocks=(2, 1), polarity=np.array(signs))
        for signs in ([1, 1], [1, -1])
    )
    barriers = []
    for arranged in (same, opposite):
        V = analysis.particle_potential(arranged.n, model, kT=0.05, number=79).V
        barriers.append(float(analysis.staggered_barrier(V, lattice).mean()))
    assert barriers[0] > 3 * barriers[1]


def test_blocks_hold_the_same_patch_on_the_sublattices_asked_for():
    lattice = square(30)
    patch = analysis.grow_checkerboard(lattice, 14, rng=generator(1))
    arranged = analysis.block_arrangements(lattice, patch, rng=generator(2), count=20)
    assert arranged.n.dims == ("configuration", "site") and set(np.unique(arranged.n)) == {0.0, 1.0}
    assert set(np.abs(arranged.M.values)) <= {1, 3, 5, 7, 9}
    np.testing.assert_array_equal(arranged.M, arranged.polarity.sum("block"))
    colour = analysis.sublattice_sign(lattice).reshape(30, 30)
    own = np.sort(np.linalg.norm(patch[:, None] - patch, axis=-1).ravel())
    orientations = set()
    for n, signs in zip(arranged.n.values.reshape(-1, 30, 30), arranged.polarity.values, strict=True):
        for J, (x, y) in enumerate(itertools.product(range(3), range(3))):
            block = (slice(10 * x, 10 * x + 10), slice(10 * y, 10 * y + 10))
            cells = np.argwhere(n[block])
            assert (colour[block][n[block] == 1] == signs[J]).all()
            distances = np.sort(np.linalg.norm(cells[:, None] - cells, axis=-1).ravel())
            np.testing.assert_allclose(distances, own)
            orientations.add((cells - cells.min(0)).tobytes())
    assert len(orientations) == 8


def test_the_majority_of_sigma_in_a_block_is_the_sublattice_of_its_patch():
    lattice = square(30)
    patch = analysis.grow_checkerboard(lattice, 20, rng=generator(1))
    arranged = analysis.block_arrangements(lattice, patch, rng=generator(3), count=20)
    found = analysis.block_polarity(analysis.sublattice_field(arranged.n, lattice), lattice)
    assert float((found == arranged.polarity.values).mean()) > 0.98


def test_imposed_polarities_are_kept():
    lattice = chain(24)
    signs = np.array([[1, 1, -1], [-1, -1, -1]])
    patch = np.array([[0], [2], [6]])
    arranged = analysis.block_arrangements(lattice, patch, rng=generator(), count=2, polarity=signs)
    np.testing.assert_array_equal(arranged.polarity, signs)
    assert arranged.M.values.tolist() == [1, -3]


@pytest.mark.parametrize("lattice", [square(8), cubic(6), chain(9)], ids=repr)
def test_a_grown_patch_is_one_cluster(lattice):
    patch = analysis.grow_checkerboard(lattice, 6, rng=generator(5))
    large = lattice.resized(*(16,) * lattice.dim)
    n = np.zeros(large.shape)
    n[tuple((patch % 16).T)] = 1
    sizes = analysis.cluster_sizes(analysis.checkerboard_clusters(n.reshape(-1), large), large)
    assert int(sizes.clusters) == 1 and int(sizes.largest) == 6


@pytest.mark.parametrize("seed", range(12))
def test_a_patch_one_cell_shorter_than_its_block_finds_room_on_both_sublattices(seed):
    lattice = square(12)
    patch = analysis.grow_checkerboard(lattice, 4, rng=generator(seed), span=3)
    for sign in (1, -1):
        arranged = analysis.block_arrangements(lattice, patch, rng=generator(seed), polarity=np.full(9, sign))
        assert float(arranged.n.sum()) == 36 and arranged.M.item() == 9 * sign
    with pytest.raises(ValueError, match="raise span"):
        analysis.grow_checkerboard(lattice, 6, rng=generator(seed), span=3)


def test_a_line_is_found_with_its_errors():
    """The bootstrap error of the slope is that of independent repetitions."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 40)
    slopes, errors = [], []
    for k in range(60):
        law = analysis.linear_law(x, 2.0 + 3.0 * x + 0.3 * rng.standard_normal(40), rng=generator(k), samples=200)
        slopes.append(law.slope)
        errors.append(law.slope_sigma)
    assert np.mean(slopes) == pytest.approx(3.0, abs=4 * np.std(slopes) / 8)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.25)
    straight = analysis.linear_law(x, 2.0 - 3.0 * x, rng=generator())
    assert (straight.slope, straight.intercept, straight.correlation) == pytest.approx((-3.0, 2.0, -1.0))
    np.testing.assert_allclose(straight(x), 2.0 - 3.0 * x, atol=1e-12)


MODEL = FalicovKimball(square(4))
EMPTY = np.zeros(16)


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: analysis.particle_potential(EMPTY, MODEL, kT=0.1), "Give either number="),
        (lambda: analysis.particle_potential(EMPTY, MODEL, kT=0.1, mu=0, number=4), "Give either number="),
        (lambda: analysis.particle_potential(EMPTY, MODEL, kT=0.0, mu=0), "kT > 0"),
        (lambda: analysis.particle_potential(EMPTY, MODEL, kT=0.1, number=16), "do not fit into 16 states"),
        (lambda: analysis.particle_potential(EMPTY + 1, MODEL, kT=0.1, mu=0), "no empty site"),
        (lambda: analysis.particle_potential(EMPTY + 0.5, MODEL, kT=0.1, mu=0), "not 0 or 1"),
        (lambda: analysis.walked_potential(torch.zeros(16, 1), LatticeGas(square(4)), 3, kT=1.0, attempts=5,
                                           rng=generator()), "no particle on site 3"),
        (lambda: analysis.staggered_barrier(np.full(16, np.inf), square(4)), "no site to average V over"),
        (lambda: analysis.staggered_barrier(np.zeros(27), kagome(3)), "no two sublattices"),
        (lambda: analysis.block_arrangements(square(8), np.zeros((1, 2), int), rng=generator()), "equal blocks"),
        (lambda: analysis.block_arrangements(square(6), np.array([[0, 0], [1, 0]]), rng=generator()), "has both"),
        (lambda: analysis.block_arrangements(square(6), np.array([[0, 0], [4, 0]]), rng=generator()), "does not fit"),
        (lambda: analysis.block_arrangements(square(6), np.zeros((2, 2), int), rng=generator()), "different cells"),
        (lambda: analysis.block_arrangements(square(6), np.array([[0, 0]]), rng=generator(), polarity=np.zeros(9)),
         "±1 for each of 9 blocks"),
        (lambda: analysis.block_arrangements(square(6), np.array([[0, 0]]), rng=generator(), count=2,
                                             polarity=np.ones((3, 9))), "3 rows for count=2"),
        (lambda: analysis.grow_checkerboard(honeycomb(3), 4, rng=generator()), "one site per cell"),
        (lambda: analysis.grow_checkerboard(square(4), 0, rng=generator()), "at least one particle"),
        (lambda: analysis.linear_law(np.ones(9), np.arange(9), rng=generator()), "not all have the same x"),
        (lambda: analysis.linear_law(np.ones(3), np.ones(3), rng=generator()), "5 or more points"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()
