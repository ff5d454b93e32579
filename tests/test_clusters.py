"""Clusters of checkerboard and the field of sublattices, against brute force and the symmetries of the torus."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight import analysis
from nearsight.lattices import (
    Lattice,
    bcc,
    chain,
    cubic,
    diamond,
    honeycomb,
    kagome,
    site_permutations,
    square,
    torus_group,
    triangular,
)

CHAINS = Lattice("chains", np.diag([1.0, 3.0]), np.zeros((1, 2)), (8, 4))
"""Nearest neighbours along x alone, and as far apart along y as three steps along x, which change the sublattice."""
SPACED = Lattice("spaced", np.diag([1.0, 1.3]), np.zeros((1, 2)), (6, 4))
"""Chains whose second neighbours are on the next chain."""
BIPARTITE = [
    square(6),
    square(4, 8),
    square(5, 7, periodic=False),
    square(6, 5, periodic=(True, False)),
    chain(10),
    honeycomb(4),
    cubic(4),
    diamond(2),
]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gas(lattice: Lattice, *batch: int, density: float = 0.3, seed: int = 0) -> np.ndarray:
    field = (random(seed).random((*batch, lattice.n_sites)) < density).astype(float)
    field[..., seed % lattice.n_sites] = 1.0
    return field


def images(lattice: Lattice) -> np.ndarray:
    turns = [(-2, -1, 0, 1, 2) if p else (0,) for p in np.broadcast_to(lattice.periodic, lattice.dim)]
    return np.array(list(itertools.product(*turns))) @ (lattice.vectors * np.asarray(lattice.shape)[:, None])


def displacements(lattice: Lattice) -> np.ndarray:
    """r_j - r_i for all images ``(i, j, image, dim)``."""
    r = lattice.positions
    return r[None, :, None] - r[:, None, None] + images(lattice)


def brute_clusters(n: np.ndarray, lattice: Lattice, core: int = 1) -> list[set[int]]:
    """Clusters of one configuration, by walking over pairs of particles."""
    d = displacements(lattice)
    distance = np.linalg.norm(d, axis=-1)
    first, second = lattice.shell_distances[:2]
    at = {int(i) for i in np.flatnonzero(n)}
    bonds: dict[int, list[int]] = {i: [] for i in at}
    for i, j in itertools.product(at, at):
        for image in np.flatnonzero(np.abs(distance[i, j] - second) < 1e-6):
            v = d[i, j, image]
            shared = [
                m
                for m in range(lattice.n_sites)
                if np.any((np.abs(distance[i, m] - first) < 1e-6)
                          & (np.abs(np.linalg.norm(d[i, m] - v, axis=-1) - first) < 1e-6))
            ]  # fmt: skip
            if not at & set(shared):
                bonds[i].append(j)
    kept = {i: [j for j in bonds[i] if max(len(bonds[i]), len(bonds[j])) >= core] for i in at}
    clusters = []
    left = set(at)
    while left:
        cluster, front = set(), {left.pop()}
        while front:
            i = front.pop()
            cluster.add(i)
            front |= set(kept[i]) - cluster
        left -= cluster
        clusters.append(cluster)
    return sorted(clusters, key=min)


def sets(labels: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(labels == k).tolist()) for k in range(1, int(labels.max()) + 1)]


# --- clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("core", [1, 2, 3])
@pytest.mark.parametrize("lattice", [*BIPARTITE[:4], honeycomb(3), cubic(4)], ids=repr)
def test_clusters_are_those_of_a_walk_over_all_pairs(lattice, core):
    for density in (0.15, 0.4):
        fields = gas(lattice, 3, density=density, seed=7)
        labels = analysis.checkerboard_clusters(fields, lattice, core=core).values
        for field, row in zip(fields, labels, strict=True):
            assert sets(row) == brute_clusters(field, lattice, core)


def test_perfect_checkerboard_is_one_cluster_of_half_the_sites():
    lattice = square(8)
    ordered = 0.5 + 0.5 * analysis.sublattice_sign(lattice)
    sizes = analysis.cluster_sizes(analysis.checkerboard_clusters(ordered, lattice), lattice)
    assert int(sizes.clusters) == 1 and float(sizes.mean_size) == 32 and float(sizes.ordered) == 1
    full = analysis.cluster_sizes(analysis.checkerboard_clusters(np.ones(64), lattice), lattice)
    assert int(full.clusters) == 64  # no empty site, no checkerboard


def test_a_patch_across_the_corner_of_the_torus_is_one_cluster():
    lattice = square(8)
    n = np.zeros((8, 8))
    for x, y in ((7, 7), (0, 0), (7, 1), (0, 6)):  # one diagonal chain through the corner, both boundaries crossed
        n[x, y] = 1
    labels = analysis.checkerboard_clusters(n.reshape(-1), lattice)
    assert int(labels.max()) == 1
    opened = analysis.checkerboard_clusters(n.reshape(-1), square(8, periodic=False))
    assert int(opened.max()) == 4


def test_an_electron_between_two_others_breaks_their_bond():
    lattice = square(6)
    n = np.zeros((6, 6))
    n[2, 2] = n[3, 3] = 1
    assert int(analysis.checkerboard_clusters(n.reshape(-1), lattice).max()) == 1
    n[2, 3] = 1
    assert int(analysis.checkerboard_clusters(n.reshape(-1), lattice).max()) == 3


def test_a_core_of_three_bonds_takes_stripes_apart_and_leaves_patches_whole():
    lattice = square(12)
    stripe = np.zeros((12, 12))
    stripe[np.arange(9), np.arange(9)] = 1
    patch = np.zeros((12, 12))
    x, y = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    patch[((x + y) % 2 == 0) & (x < 7) & (y < 7)] = 1
    stack = np.stack([stripe, patch]).reshape(2, -1)
    largest = [analysis.cluster_sizes(analysis.checkerboard_clusters(stack, lattice, core=c), lattice).largest.values
               for c in (1, 3)]  # fmt: skip
    assert largest[0].tolist() == [9, 25] and largest[1].tolist() == [1, 25]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([square(6), square(4, 8), honeycomb(4), cubic(4)]))
def test_the_symmetries_of_the_torus_carry_clusters_into_clusters(seed, lattice):
    n = gas(lattice, density=0.35, seed=seed)
    clusters = {frozenset(c) for c in sets(analysis.checkerboard_clusters(n, lattice).values)}
    for p in site_permutations(lattice, torus_group(lattice))[1::3]:
        moved = np.empty_like(n)
        moved[p] = n
        expected = {frozenset(p[list(c)].tolist()) for c in clusters}
        assert {frozenset(c) for c in sets(analysis.checkerboard_clusters(moved, lattice).values)} == expected


def test_every_cluster_lives_on_one_sublattice():
    lattice = square(20)
    n = gas(lattice, 5, density=0.3)
    labels, colour = analysis.checkerboard_clusters(n, lattice).values, analysis.sublattice_sign(lattice)
    for row in labels:
        assert all(len(set(colour[list(cluster)])) == 1 for cluster in sets(row))


def test_averages_of_sizes_are_those_of_the_list_of_clusters():
    lattice = square(10)
    n = gas(lattice, 2, 3, density=0.3, seed=3)
    labels = analysis.checkerboard_clusters(n, lattice, dims=("replica", "time"))
    for smallest in (1, 2):
        sizes = analysis.cluster_sizes(labels, lattice, smallest=smallest)
        assert sizes.mean_size.dims == ("replica", "time")
        for r, t in itertools.product(range(2), range(3)):
            s = np.array([len(c) for c in sets(labels.values[r, t]) if len(c) >= smallest])
            chosen = sizes.isel(replica=r, time=t)
            assert int(chosen.clusters) == len(s) and int(chosen.largest) == s.max()
            assert float(chosen.mean_size) == pytest.approx(s.mean())
            assert float(chosen.weighted_size) == pytest.approx((s**2).sum() / s.sum())
            assert float(chosen.length) == pytest.approx(np.sqrt(s.mean()))
            alone = sum(len(c) for c in sets(labels.values[r, t]) if len(c) == 1)
            assert float(chosen.ordered) == pytest.approx(1 - alone / n[r, t].sum())


@pytest.mark.parametrize("edges", [None, [1, 2, 3, 10, 1000]])
def test_the_size_distribution_counts_every_cluster_and_every_particle(edges):
    lattice = square(20)
    n = gas(lattice, 4, density=0.3)
    labels = analysis.checkerboard_clusters(n, lattice)
    distribution = analysis.size_distribution(labels, lattice, edges=edges)
    total = (distribution * distribution.width).sum("size") * lattice.n_sites
    np.testing.assert_allclose(total, analysis.cluster_sizes(labels, lattice).clusters)
    alone = [sum(len(c) == 1 for c in sets(row)) for row in labels.values]
    np.testing.assert_allclose(distribution.sel(size=1) * lattice.n_sites, alone)


def test_configurations_of_a_batch_do_not_know_each_other(monkeypatch):
    lattice = square(8)
    n = gas(lattice, 6, density=0.4, seed=2)
    together = analysis.checkerboard_clusters(n, lattice)
    apart = np.stack([analysis.checkerboard_clusters(row, lattice).values for row in n])
    np.testing.assert_array_equal(together, apart)
    monkeypatch.setattr("nearsight.analysis.clusters.checkerboard.BATCH", 300)
    np.testing.assert_array_equal(analysis.checkerboard_clusters(n, lattice), apart)


def test_coordinates_and_names_are_kept():
    lattice = square(4)
    n = xr.DataArray(gas(lattice, 3), dims=("time", "site"), coords={"time": [0.0, 1.0, 2.0]})
    for result in (analysis.checkerboard_clusters(n, lattice), analysis.sublattice_field(n, lattice)):
        assert result.dims == ("time", "site") and result.time.values.tolist() == [0.0, 1.0, 2.0]
    # An empty configuration has no clusters, and no mean.
    none = analysis.cluster_sizes(analysis.checkerboard_clusters(0 * n, lattice), lattice)
    assert not none.clusters.any() and np.isnan(none.mean_size).all() and not none.largest.any()


# --- the field of sublattices -----------------------------------------------------------------------------------------


def brute_sigma(n: np.ndarray, lattice: Lattice) -> np.ndarray:
    distance = np.linalg.norm(displacements(lattice), axis=-1)
    colour = analysis.sublattice_sign(lattice)
    at = np.flatnonzero(n)
    result = np.zeros(lattice.n_sites)
    for i in range(lattice.n_sites):
        to = distance[i, at]
        result[i] = np.sign(((np.abs(to - to.min()) < 1e-6).sum(-1) * colour[at]).sum())
    return result


@pytest.mark.parametrize("lattice", [*BIPARTITE, CHAINS], ids=repr)
def test_sigma_is_the_sublattice_of_the_nearest_particle_of_all(lattice):
    fields = np.concatenate([gas(lattice, 3, density=d, seed=5) for d in (0.01, 0.1, 0.5)])
    sigma = analysis.sublattice_field(fields, lattice)
    assert sigma.dtype == np.int8
    np.testing.assert_array_equal(sigma, [brute_sigma(field, lattice) for field in fields])


@pytest.mark.parametrize("lattice", [square(8), cubic(4), honeycomb(4), diamond(2), chain(8), bcc(4)], ids=repr)
def test_sites_at_one_distance_are_on_one_sublattice(lattice):
    """Why σ = ±1 on these lattices: no two sublattices can tie."""
    distance = np.linalg.norm(displacements(lattice), axis=-1)[0].round(6)
    colour = np.broadcast_to(analysis.sublattice_sign(lattice)[:, None], distance.shape)
    for d in np.unique(distance):
        assert len(np.unique(colour[distance == d])) == 1


def test_a_tie_between_sublattices_is_no_decision():
    n = np.zeros((8, 4))
    n[3, 0] = n[0, 1] = 1
    sigma = analysis.sublattice_field(n.reshape(-1), CHAINS).values.reshape(8, 4)
    assert sigma[0, 0] == 0 and sigma[1, 0] == -1 and sigma[0, 1] == 1
    n[5, 0] = 1  # (-3, 0): two of three
    assert analysis.sublattice_field(n.reshape(-1), CHAINS).values.reshape(8, 4)[0, 0] == -1


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([square(6), square(4, 8), honeycomb(4), cubic(4)]))
def test_sigma_turns_with_the_lattice(seed, lattice):
    n = gas(lattice, density=0.1, seed=seed)
    colour, sigma = analysis.sublattice_sign(lattice), analysis.sublattice_field(n, lattice).values
    for p in site_permutations(lattice, torus_group(lattice))[1::3]:
        moved, expected = np.empty_like(n), np.empty_like(sigma)
        moved[p] = n
        expected[p] = sigma * int(colour[p[0]])  # the operations about site 0 keep the sublattices
        np.testing.assert_array_equal(analysis.sublattice_field(moved, lattice), expected)


@given(st.integers(0, 10**6), st.integers(0, 1), st.integers(1, 5))
def test_a_shift_by_one_site_exchanges_the_sublattices(seed, axis, steps):
    lattice = square(6)
    n = gas(lattice, 2, density=0.15, seed=seed)
    shift = {"shift": steps, "axis": 1 + axis}
    moved = np.roll(n.reshape(2, 6, 6), **shift).reshape(2, -1)
    sigma, after = (analysis.sublattice_field(x, lattice).values.reshape(2, 6, 6) for x in (n, moved))
    np.testing.assert_array_equal(after, (-1) ** steps * np.roll(sigma, **shift))
    phi, shifted = (analysis.polarity(analysis.sublattice_field(x, lattice)) for x in (n, moved))
    np.testing.assert_allclose(shifted, (-1) ** steps * phi)


def test_one_particle_rules_the_whole_torus():
    lattice = square(20)
    n = np.zeros((2, 400))
    n[0, 0] = n[1, 1] = 1
    phi = analysis.polarity(analysis.sublattice_field(n, lattice))
    assert phi.values.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: analysis.checkerboard_clusters(np.zeros(36), triangular(6)), "no two sublattices"),
        (lambda: analysis.checkerboard_clusters(np.zeros(25), square(5)), "no two sublattices"),
        (lambda: analysis.sublattice_field(np.ones(27), kagome(3)), "no two sublattices"),
        (lambda: analysis.checkerboard_clusters(np.zeros(24), SPACED), "no checkerboard"),
        (lambda: analysis.checkerboard_clusters(np.full(36, 0.5), square(6)), "not 0 or 1"),
        (lambda: analysis.checkerboard_clusters(np.zeros(36), square(6), core=5), "core must lie in 1..4"),
        (lambda: analysis.sublattice_field(np.zeros((3, 36)), square(6)), "3 configurations hold no particle"),
        (lambda: analysis.cluster_sizes(xr.DataArray(np.ones(36), dims="site"), square(6), smallest=0), "smallest"),
        (lambda: analysis.size_distribution(xr.DataArray(np.ones(36), dims="site"), square(6), edges=[2, 1]),
         "ascending"),
        (lambda: analysis.size_distribution(xr.DataArray(np.ones(36), dims="site"), square(6), edges=[1.2, 1.5, 3]),
         "holds no whole number"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()


def test_a_tensor_is_as_good_as_an_array():
    lattice = square(6)
    n = gas(lattice, 2)
    np.testing.assert_array_equal(
        analysis.checkerboard_clusters(torch.from_numpy(n), lattice), analysis.checkerboard_clusters(n, lattice)
    )
