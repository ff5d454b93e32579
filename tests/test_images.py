"""Nearest images on tori of any shape, against a search over far more periods than can matter."""

import itertools

import numpy as np
import pytest

from nearsight.analysis import wall_distance, wall_profile
from nearsight.lattices import (
    Lattice,
    bcc,
    chain,
    cubic,
    diamond,
    fcc,
    half_period,
    honeycomb,
    kagome,
    nearest_image,
    square,
    torus_distance,
    triangular,
)

THIN = [
    chain(1),
    chain(5),
    square(2, 9),
    square(1, 7, periodic=(False, True)),
    triangular(2, 12),
    triangular(1, 9),
    triangular(12, 2, periodic=(True, False)),
    honeycomb(3, 12),
    honeycomb(12, 3),
    honeycomb(1, 8),
    kagome(1, 7),
    cubic(1, 2, 5),
    fcc(2),
    bcc(2),
    diamond(2),
    Lattice("fcc, needle", fcc(1).vectors, fcc(1).basis, (1, 2, 6)),
    Lattice("bcc, plate", bcc(1).vectors, bcc(1).basis, (5, 1, 4), (True, True, False)),
    Lattice("skewed", [[1.0, 0.0], [3.5, 0.75**0.5]], [[0, 0]], (6, 2)),
    Lattice("very skewed", [[1.0, 0.0], [7.3, 0.4]], [[0, 0], [0.4, 0.1]], (2, 3)),
    Lattice("skewed in space", [[1.0, 0, 0], [2.4, 1, 0], [-1.7, 3.3, 1]], [[0, 0, 0]], (2, 2, 2)),
    Lattice("acute in space", [[1.0, 0, 0], [0.49, 0.9, 0], [0.49, 0.3, 0.8]], [[0, 0, 0]], (3, 3, 3)),
]


def brute_force(vectors, lattice):
    """Lengths after trying every combination of periods no longer than the longest that could help."""
    periods = lattice.vectors * np.asarray(lattice.shape)[:, None]
    rows = periods[np.asarray(lattice.periodic)]
    if not len(rows):
        return np.linalg.norm(vectors, axis=-1)
    # |v + nP| <= |v| needs |nP| <= 2 |v|, hence |n_i| <= 2 |v| times the norm of a column of the inverse.
    reach = np.ceil(2 * np.linalg.norm(vectors, axis=-1).max() * np.linalg.norm(np.linalg.pinv(rows), axis=0))
    shifts = np.array(list(itertools.product(*[np.arange(-n, n + 1) for n in reach]))) @ rows
    shortest = np.full(len(vectors), np.inf)
    for block in np.array_split(shifts, -(-len(shifts) // 2000)):
        np.minimum(shortest, np.linalg.norm(vectors[:, None] + block, axis=-1).min(axis=1), out=shortest)
    return shortest


@pytest.mark.parametrize("lattice", THIN, ids=repr)
def test_distances_on_a_torus_are_those_to_the_nearest_of_all_images(lattice):
    rng = np.random.default_rng(3)
    sites = lattice.positions[rng.permutation(lattice.n_sites)[:40]] - lattice.positions[0]
    points = rng.uniform(-1, 1, (20, lattice.dim)) @ lattice.vectors
    vectors = np.concatenate([sites, points])
    np.testing.assert_allclose(torus_distance(vectors, lattice), brute_force(vectors, lattice), atol=1e-12)
    moved = nearest_image(vectors, lattice) - vectors
    turns = moved @ np.linalg.inv(lattice.vectors) / np.asarray(lattice.shape)
    np.testing.assert_allclose(turns, np.round(turns) * np.asarray(lattice.periodic), atol=1e-10)


def test_distances_on_random_tori_are_those_to_the_nearest_of_all_images():
    rng = np.random.default_rng(11)
    tried = 0
    for _ in range(60):
        dim = int(rng.integers(1, 4))
        vectors = rng.normal(size=(dim, dim))
        shape, periodic = tuple(rng.integers(1, 4, dim).tolist()), tuple((rng.random(dim) < 0.8).tolist())
        if abs(np.linalg.det(vectors)) < 0.1:
            continue  # the brute force would take too long
        lattice = Lattice("random", vectors, rng.normal(size=(1, dim)), shape, periodic, symmetrise=False)
        points = rng.uniform(-0.7, 0.7, (8, dim)) @ vectors
        np.testing.assert_allclose(torus_distance(points, lattice), brute_force(points, lattice), atol=1e-12)
        tried += 1
    assert tried > 40


@pytest.mark.parametrize("lattice", THIN, ids=repr)
def test_half_a_period_is_half_the_distance_to_the_next_copy_of_a_site(lattice):
    rows = (lattice.vectors * np.asarray(lattice.shape)[:, None])[np.asarray(lattice.periodic)]
    turns = np.array([n for n in itertools.product(range(-14, 15), repeat=len(rows)) if any(n)])
    assert half_period(lattice) == pytest.approx(0.5 * np.linalg.norm(turns @ rows, axis=1).min(), rel=1e-12)


@pytest.mark.parametrize("lattice", [t for t in THIN if t.n_sites > 1], ids=repr)
def test_walls_are_as_far_as_the_nearest_image_of_the_other_sign(lattice):
    n = lattice.n_sites
    vectors = lattice.positions[None, :] - lattice.positions[:, None]
    all_pairs = brute_force(vectors.reshape(-1, lattice.dim), lattice).reshape(n, n)
    bonds = lattice.bonds()
    # One site of the other sign is as far from the others as two sites can be; a random field has walls everywhere.
    fields = [*(1.0 - 2.0 * np.eye(n)), np.where(np.random.default_rng(5).random(n) < 0.8, 1.0, -1.0)]
    for sigma in fields[:: max(1, n // 40)] + fields[-1:]:
        broken = sigma[bonds.i] != sigma[bonds.j]
        beside = np.isin(np.arange(n), [bonds.i[broken], bonds.j[broken]])
        across = (sigma[:, None] != sigma) & beside
        expected = np.where(across, all_pairs, np.inf).min(axis=1) - 0.5 * lattice.shell_distances[0]
        np.testing.assert_allclose(wall_distance(sigma, lattice), expected, atol=1e-12)


def test_on_a_thin_honeycomb_every_site_lies_in_the_bin_of_its_distance():
    lattice = honeycomb(3, 12)
    sigma = np.ones(lattice.n_sites)
    sigma[0] = -1
    vectors = lattice.positions[None, :] - lattice.positions[:, None]
    all_pairs = brute_force(vectors.reshape(-1, 2), lattice).reshape(lattice.n_sites, -1)
    distance = np.where(sigma[:, None] != sigma, all_pairs, np.inf).min(axis=1) - 0.5
    edges = (0.0, 0.75, 1.25, 2.0, 3.0, 5.0, 7.0, 9.0, 11.0)
    profile = wall_profile(np.ones(lattice.n_sites), sigma, lattice, edges=edges)
    np.testing.assert_array_equal(profile.sites, np.histogram(distance + 1e-9, edges)[0])
