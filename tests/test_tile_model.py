"""Tile models: tables against enumeration, couplings against sums written out, samplers against exact lattices."""

import itertools

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import Ising, Potts, TileModel
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.lattices import chain, cubic, honeycomb, site_group, square, triangular
from nearsight.sampling import (
    HeatBath,
    Metropolis,
    SwendsenWang,
    Wolff,
    chain_thermodynamics,
    enumerate_states,
    ising_levels,
    ising_torus,
    mean_and_error,
    sample,
)
from nearsight.sampling._tiles import _colours

BOND, DIAGONAL, PLAQUETTE = ((0, 0), (0, 1)), ((0, 0), (1, 1)), ((0, 0), (0, 1), (1, 0), (1, 1))
SMALL = {"shape": (3, 3), "stride": (1, 1)}


def random_table(lattice, shape, stride, q=2, seed=0, scale=0.3) -> TileModel:
    size = q ** int(np.prod(shape))
    table = scale * np.random.default_rng(seed).standard_normal(size)
    return TileModel(lattice, table, shape=shape, stride=stride, n_states=q)


MODELS = [
    random_table(square(4), (4, 4), (2, 2)),
    random_table(square(6, 4), (3, 2), (2, 1)),
    random_table(square(5, 3), (3, 3), (1, 1), seed=2),
    random_table(triangular(4), (2, 2), (1, 1), q=3),
    random_table(chain(6), (4,), (3,), q=2),
    random_table(cubic(2), (2, 2, 1), (1, 2, 1), q=2),
]
models = pytest.mark.parametrize("model", MODELS, ids=repr)


def energy_by_hand(model: TileModel, state) -> float:
    """Tile after tile in plain Python: its code digit by digit, its entry of the table."""
    lattice, total = model.lattice, 0.0
    grid = np.asarray(state).reshape(lattice.shape)
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(lattice.shape, model.stride, strict=True))):
        code = 0
        for k, cell in enumerate(itertools.product(*map(range, model.shape))):
            site = tuple((c + d) % n for c, d, n in zip(corner, cell, lattice.shape, strict=True))
            code += int(grid[site]) * model.n_states**k
        total += float(model.table[code])
    return total


def energy_of_couplings(lattice, couplings, states) -> np.ndarray:
    """-Σ J Σ Π s over all distinct clusters of a torus, from the point group on Cartesian positions."""
    spins, V = 2.0 * states.numpy() - 1, lattice.vectors
    energy = np.zeros(len(spins))
    for cluster, J in couplings.items():
        images = set()
        for g in site_group(lattice).matrices:
            cells = np.rint(np.array(cluster) @ V @ g.T @ np.linalg.inv(V)).astype(int)
            images.add(frozenset(map(tuple, (cells - sorted(map(tuple, cells.tolist()))[0]).tolist())))
        for image, corner in itertools.product(images, itertools.product(*map(range, lattice.shape))):
            sites = [lattice.index(np.array(cell) + corner, 0) for cell in image]
            energy -= J * spins[:, np.array(sites).reshape(-1)].prod(1)
    return energy


# --- energies ---------------------------------------------------------------------------------------------------------


@models
def test_energy_is_the_sum_of_the_entries_of_all_tiles(model, rng):
    states = model.random_states(rng, 5)
    expected = [energy_by_hand(model, state) for state in states.tolist()]
    np.testing.assert_allclose(model.energy(states), expected, rtol=0, atol=1e-12)


@models
def test_a_change_of_one_site_costs_the_difference_of_two_energies(model, rng):
    states = model.random_states(rng, 2, 3)
    for site, new in itertools.product(range(model.lattice.n_sites), range(model.n_states)):
        changed = states.clone()
        changed[..., site] = new
        expected = model.energy(changed) - model.energy(states)
        torch.testing.assert_close(model.energy_change(states, site, new), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lattice", [square(4), square(8, 6)], ids=repr)
def test_couplings_of_the_ising_model_give_its_energies_exactly(lattice, rng):
    ising, tiles = Ising(lattice), TileModel.from_couplings(lattice, {BOND: 1.0})
    states = ising.random_states(rng, 200)
    assert torch.equal(tiles.energy(states), ising.energy(states))
    assert tiles.field_type == ising.field_type and not tiles.disordered
    field = torch.randn(3, lattice.n_sites, 1, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(tiles.classical_energy(field), ising.classical_energy(field), rtol=1e-12, atol=1e-12)
    dos, exact = enumerate_states(TileModel.from_couplings(square(4), {BOND: 1.0})), ising_levels(4, 4)
    assert np.array_equal(dos.energies, exact.energies) and np.array_equal(dos.counts, exact.counts)


def test_couplings_of_many_sites_give_the_sum_over_clusters(rng):
    couplings = {((0, 0),): 0.3, BOND: 1.0, DIAGONAL: -0.4, ((0, 0), (1, 2)): 0.2, PLAQUETTE: 0.7,
                 ((0, 0), (0, 1), (1, 0)): 0.15}  # fmt: skip
    for lattice, tile in ((square(6), {}), (square(5), SMALL), (triangular(5), SMALL)):
        if lattice.name == "triangular":
            couplings = {BOND: -1.0, ((0, 0), (0, 1), (1, 0)): 0.5}
        model = TileModel.from_couplings(lattice, couplings, **tile)
        states = model.random_states(rng, 10)
        np.testing.assert_allclose(model.energy(states), energy_of_couplings(lattice, couplings, states), atol=1e-11)
        read = {c.cluster: c.value for c in model.couplings() if abs(c.value) > 1e-10}
        assert len(read) == len(couplings)
        np.testing.assert_allclose(sorted(read.values()), sorted(couplings.values()), atol=1e-12)


def test_couplings_of_potts_states_are_read_in_the_gauge_without_means(rng):
    lattice = square(4)
    model = TileModel.from_couplings(lattice, {BOND: np.eye(3)}, n_states=3, **SMALL)
    potts = Potts(lattice, 3)
    states = potts.random_states(rng, 50)
    torch.testing.assert_close(model.energy(states), potts.energy(states), rtol=0, atol=1e-12)
    assert model.field_type == potts.field_type
    # Where components sum to 1, as averages of one-hot fields do, the polynomials are one.
    field = torch.rand(4, 16, 3, generator=rng, dtype=torch.float64)
    field = field / field.sum(-1, keepdim=True)
    torch.testing.assert_close(model.classical_energy(field), potts.classical_energy(field), rtol=0, atol=1e-12)
    (read,) = [c for c in model.couplings(sites=2) if c.cluster == BOND]
    np.testing.assert_allclose(read.value, np.eye(3) - 1 / 3, atol=1e-12)
    again = TileModel.from_couplings(lattice, model.couplings(sites=2), n_states=3, **SMALL)
    torch.testing.assert_close(again.energy(states), model.energy(states), rtol=0, atol=1e-11)


def test_reading_and_writing_couplings_are_inverse(rng):
    model = TileModel.from_couplings(square(6), random_table(square(6), **SMALL).couplings(sites=9), **SMALL)
    again = TileModel.from_couplings(square(6), model.couplings(sites=9), shape=(3, 4), stride=(1, 2))
    read = {c.cluster: c.value for c in again.couplings(sites=9)}
    for c in model.couplings(sites=9):
        assert read[c.cluster] == pytest.approx(c.value, abs=1e-12)
    assert max(c.spread for c in again.couplings()) < 1e-12
    states = model.random_states(rng, 20)
    torch.testing.assert_close(again.energy(states), model.energy(states), rtol=0, atol=1e-11)


def test_couplings_know_nothing_of_the_gauge_of_a_table():
    model = random_table(square(6), **SMALL, seed=4)
    # A function of one site moved from one corner of the tile to another changes every entry and no energy.
    code = np.arange(2**9)
    shift = 0.7 * ((code & 1) - (code >> 8 & 1))
    other = TileModel(square(6), model.table + shift, **SMALL)
    for a, b in zip(model.couplings(), other.couplings(), strict=True):
        assert a.cluster == b.cluster and a.value == pytest.approx(b.value, abs=1e-13)


def test_a_table_without_symmetry_says_so():
    model = random_table(square(4), (4, 4), (2, 2))
    assert model.disordered and model.field_type.internal == "none"
    assert all(c.spread > 1e-3 for c in model.couplings(sites=2) if len(c.cluster) == 2)


def test_other_tiles_are_the_same_energy(rng):
    model = TileModel.from_couplings(square(8), {BOND: 1.0, PLAQUETTE: 0.3, ((0, 0), (2, 1)): -0.2, ((0, 0),): 0.1})
    other = model.retiled((3, 3), (1, 1))
    states = model.random_states(rng, 20)
    torch.testing.assert_close(other.energy(states), model.energy(states), rtol=0, atol=1e-12)
    torch.testing.assert_close(other.retiled((4, 4), (2, 2)).energy(states), model.energy(states), rtol=0, atol=1e-12)
    assert other.on(square(15)).lattice.shape == (15, 15)
    np.testing.assert_allclose(other.wide_tiles.table[other.wide_tiles.codes(states)].sum(-1), model.energy(states))
    assert len(other.wide_tiles) == 16


def test_energy_of_a_mean_field_is_the_mean_energy_of_independent_spins(rng):
    model = random_table(square(3), **SMALL, seed=3)
    mean = 2 * torch.rand(9, 1, generator=rng, dtype=torch.float64) - 1
    states = torch.from_numpy(np.arange(2**9)[:, None] >> np.arange(9) & 1).to(torch.int8)
    probability = (1 + (2 * states - 1) * mean[:, 0]).div(2).prod(-1)
    expected = (probability * model.energy(states)).sum()
    torch.testing.assert_close(model.classical_energy(mean), expected, rtol=1e-12, atol=1e-12)


def test_a_table_has_the_internal_symmetry_that_it_shows():
    even = TileModel.from_couplings(square(4), {BOND: 1.0})
    assert even.field_type.internal == "Z2"
    assert TileModel.from_couplings(square(4), {BOND: 1.0, ((0, 0),): 0.1}).field_type.internal == "none"
    clock = np.cos(2 * np.pi / 4 * (np.arange(4)[:, None] - np.arange(4)))
    tile = {"shape": (2, 2), "stride": (1, 1), "n_states": 4}
    assert TileModel.from_couplings(square(4), {BOND: np.eye(4)}, **tile).field_type.internal == "S(n)"
    assert TileModel.from_couplings(square(4), {BOND: clock}, **tile).field_type.internal == "none"


def test_what_does_not_fit_is_refused_with_its_cure():
    with pytest.raises(ValueError, match="larger shape, or a smaller stride"):
        TileModel.from_couplings(square(8), {((0, 0), (0, 3)): 1.0})
    with pytest.raises(ValueError, match="given twice"):
        TileModel.from_couplings(square(8), {BOND: 1.0, ((0, 0), (1, 0)): 1.0})
    with pytest.raises(ValueError, match=r"retiled\(shape"):
        TileModel.from_couplings(square(8), {BOND: 1.0}).on(square(9))
    with pytest.raises(ValueError, match="too small"):
        TileModel.from_couplings(square(8), {BOND: 1.0}).on(square(2))
    with pytest.raises(ValueError, match="one site per cell"):
        TileModel(honeycomb(4), np.zeros(2**16))
    with pytest.raises(ValueError, match="translation by one cell"):
        random_table(square(4), (4, 4), (2, 2)).retiled((3, 3), (1, 1))
    with pytest.raises(ValueError, match="Clusters are made of bonds"):
        Wolff(MODELS[0], 1.0)
    with pytest.raises(ValueError, match="Clusters are made of bonds"):
        SwendsenWang(MODELS[0], 1.0)
    with pytest.raises(ValueError, match="nearest neighbours"):
        chain_thermodynamics(MODELS[4], 1.0)
    with pytest.raises(ValueError, match="checkerboard code"):
        Metropolis(MODELS[0], 1.0, code="bytes")


def test_a_model_is_read_back_from_plain_data():
    model = TileModel.from_couplings(triangular(4), {BOND: 1.0}, **SMALL)
    again = Hamiltonian.from_config(model.config())
    assert isinstance(again, TileModel) and np.array_equal(again.table, model.table)


# --- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "width"), [((8, 8), (4, 4)), ((7, 9), (3, 2)), ((5,), (5,)), ((6, 4, 3), (2, 2, 1))])
def test_sites_of_one_colour_share_no_tile(shape, width):
    order, starts = _colours(shape, np.array(width))
    assert sorted(order) == list(range(np.prod(shape)))
    cells = np.stack(np.unravel_index(order, shape), axis=-1)
    for first, last in itertools.pairwise(starts):
        apart = np.abs(cells[first:last, None] - cells[first:last])
        apart = np.minimum(apart, np.array(shape) - apart)
        far = (apart >= width).any(-1)
        np.fill_diagonal(far, True)
        assert far.all()


@pytest.mark.parametrize("rule", [Metropolis, HeatBath])
@pytest.mark.parametrize("chains", [4, 32])
def test_energies_of_the_ising_torus_are_sampled(rule, chains):
    model = TileModel.from_couplings(square(8), {BOND: 1.0})
    sampler = rule(model, 2.6, chains=chains, seed=3)
    assert sampler.code == "tiles"
    sampler.sweep(200)
    energy, _ = sampler.record(10000 // chains * 4, every=4)
    mean, error = mean_and_error(energy / 64)
    assert abs(mean - ising_torus(8, 8, 2.6).energy) < 4 * error < 0.02


@pytest.mark.parametrize("chains", [3, 20])
@pytest.mark.parametrize("model", [MODELS[0], MODELS[2], MODELS[3]], ids=repr)
def test_codes_follow_the_states(model, chains):
    for rule in (Metropolis, HeatBath):
        sampler = rule(model, 1.3, chains=chains, seed=1)
        sampler.sweep(7)
        torch.testing.assert_close(sampler.energy, model.energy(sampler.states), rtol=0, atol=1e-10)
        counts = torch.nn.functional.one_hot(sampler.states.long(), model.n_states).sum(1)
        assert np.array_equal(sampler.measure()[1], counts.numpy())


@pytest.mark.parametrize("chains", [2, 18])
def test_a_restored_run_goes_on_bit_for_bit(chains):
    for rule, model in itertools.product((Metropolis, HeatBath), (MODELS[2], MODELS[3])):
        sampler = rule(model, 1.3, chains=chains, seed=1)
        sampler.sweep(3)
        kept = {name: x.clone() for name, x in sampler.checkpoint().items()}
        sampler.sweep(4)
        again = rule(model, 1.3, chains=chains, seed=1)
        again.restore(kept)
        again.sweep(4)
        assert torch.equal(again.states, sampler.states)


def test_chains_do_not_depend_on_each_other():
    model = MODELS[0]
    for few, many in ((1, 3), (16, 20)):
        a, b = (Metropolis(model, np.linspace(1, 2, many)[:n], chains=n, seed=5) for n in (few, many))
        a.sweep(20)
        b.sweep(20)
        assert torch.equal(a.states, b.states[:few])


def test_snapshots_of_a_tile_model_are_drawn(tmp_path):
    model = TileModel.from_couplings(square(6), {BOND: 1.0, DIAGONAL: 0.2})
    snapshots = sample(model, 4.0, 200, tmp_path / "store", seed=1, workers=0, progress=False)
    np.testing.assert_allclose(model.energy(snapshots.states(slice(None))), snapshots.energy, rtol=0, atol=1e-10)
