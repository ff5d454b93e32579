"""Point clouds: their pairs against a search by brute force, how they are made, and what is refused."""

import itertools
import json

import numpy as np
import pytest
import torch

from nearsight.lattices import (
    Lattice,
    PointCloud,
    Structures,
    bonds_within,
    diluted,
    fcc,
    from_ase,
    honeycomb,
    nearest_image_bonds,
    random_cloud,
    read_structure,
    site_group,
    square,
    torus_distance,
    triangular,
)

SKEWED = np.array([[2.0, 0.3, 0.0], [-0.7, 2.2, 0.4], [0.1, 0.5, 1.8]])


def cloud(n=20, dim=3, seed=0, cell=None, periodic=True, spread=1.0):
    rng = np.random.default_rng(seed)
    vectors = 2.0 * np.eye(dim) if cell is None else np.asarray(cell)
    return PointCloud(spread * rng.uniform(-0.2, 1.2, (n, dim)) @ vectors, vectors, periodic=periodic)


def brute_force(lattice, cutoff):
    """Every pair (i, j, winding) within the cutoff, in both directions, by looking at all images."""
    periods = lattice.vectors * np.array(lattice.shape)[:, None]
    reach = [range(-6, 7) if p else range(1) for p in lattice.periodic]
    found = {}
    for w in itertools.product(*reach):
        away = lattice.positions[None] + np.array(w) @ periods - lattice.positions[:, None]
        distance = np.linalg.norm(away, axis=-1)
        for i, j in np.argwhere((distance <= cutoff) & (distance > 1e-9)):
            found[int(i), int(j), w] = away[i, j]
    return found


@pytest.mark.parametrize(
    "lattice",
    [
        cloud(),
        cloud(n=1),
        cloud(cell=SKEWED),
        cloud(cell=SKEWED, periodic=(True, False, True)),
        cloud(n=9, dim=2, periodic=(False, True)),
        cloud(n=7, dim=1),
        cloud(periodic=False),
        cloud(n=6).resized(2, 1, 1),
        triangular(3),
        honeycomb(2, periodic=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cutoff", [0.7, 3.1])
def test_pairs_are_those_of_a_search_through_all_images(lattice, cutoff):
    bonds, expected = bonds_within(lattice, cutoff), brute_force(lattice, cutoff)
    both = {}
    for i, j, away, w in zip(bonds.i, bonds.j, bonds.displacement, bonds.winding, strict=True):
        both[int(i), int(j), tuple(map(int, w))] = away
        both[int(j), int(i), tuple(map(int, -w))] = -away
    assert both.keys() == expected.keys() and len(both) == 2 * len(bonds)
    for key, away in expected.items():
        np.testing.assert_allclose(both[key], away, atol=1e-12)


@pytest.mark.parametrize(
    "lattice",
    [cloud(), cloud(cell=SKEWED).resized(2, 1, 1), Structures([cloud(n=9), cloud(seed=1)]), square(5)],
    ids=repr,
)
def test_pairs_come_part_by_part_in_the_same_order(lattice):
    whole = bonds_within(lattice, 1.7)
    parts = [bonds_within(lattice, 1.7, sites=slice(k, k + 7)) for k in range(0, lattice.n_sites, 7)]
    for name in ("i", "j", "displacement", "winding"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.mark.parametrize("lattice", [cloud(), cloud(cell=SKEWED), cloud(periodic=(True, False, False))], ids=repr)
def test_nearest_images_are_the_shortest_of_all(lattice):
    bonds = nearest_image_bonds(lattice)
    assert len(bonds) == lattice.n_sites * (lattice.n_sites - 1) // 2
    expected = torus_distance(lattice.positions[bonds.j] - lattice.positions[bonds.i], lattice)
    np.testing.assert_allclose(np.linalg.norm(bonds.displacement, axis=1), expected, atol=1e-12)
    periods = lattice.vectors * np.array(lattice.shape)[:, None]
    ends = lattice.positions[bonds.j] + bonds.winding @ periods - lattice.positions[bonds.i]
    np.testing.assert_allclose(ends, bonds.displacement, atol=1e-12)


def test_shells_of_a_crystal_are_pairs_within_a_distance():
    for lattice in (square(5), triangular(4, 3), honeycomb(3)):
        shells = [lattice.bonds(s) for s in (1, 2)]
        assert len(bonds_within(lattice, lattice.shell_distances[1])) == sum(map(len, shells))


def test_random_sequential_addition_keeps_density_and_distance(rng):
    made = random_cloud(300, 0.8, 0.5, rng=rng)
    assert made.n_sites == 300 and made.density == pytest.approx(0.8)
    assert made.spacing >= 0.5 and not len(bonds_within(made, 0.5))
    flat = random_cloud(50, 2.0, 0.4, rng=rng, dim=2, periodic=False)
    assert flat.dim == 2 and not any(flat.periodic) and flat.spacing >= 0.4


@pytest.mark.parametrize(
    ("n", "density", "minimum", "dim", "periodic"),
    [
        (60, 0.8, 0.7, 3, True),
        (60, 0.8, 0.7, 3, (True, False, True)),
        (40, 2.0, 0.45, 2, False),
        (12, 1.0, 0.4, 1, True),
        (2, 0.5, 1.2, 2, True),
        (20, 1.0, 0.0, 3, True),
    ],
)
def test_sites_are_those_of_addition_one_by_one(n, density, minimum, dim, periodic):
    """The definition: every drawn position in turn, against all images of all that were kept."""
    made = random_cloud(n, density, minimum, rng=torch.Generator().manual_seed(5), dim=dim, periodic=periodic)
    edge, again, kept = (n / density) ** (1 / dim), torch.Generator().manual_seed(5), []
    images = np.array(list(itertools.product(*[(-1, 0, 1) if p else (0,) for p in made.periodic]))) * edge
    while len(kept) < n:
        for x in edge * torch.rand(max(64, 2 * (n - len(kept))), dim, generator=again, dtype=torch.float64).numpy():
            if len(kept) < n and all(np.linalg.norm(x - y + images, axis=1).min() > minimum for y in kept):
                kept.append(x)
    np.testing.assert_array_equal(made.basis, kept)


def test_nothing_fits_beside_its_own_image(rng):
    with pytest.raises(ValueError, match="jams at 0 of 3 sites"):
        random_cloud(3, 1.0, 1.5, rng=rng)
    assert random_cloud(3, 0.5, 1.0, rng=torch.Generator().manual_seed(0), periodic=False).n_sites == 3


def test_random_sequential_addition_has_no_other_order(rng):
    """Beyond twice the minimum a dilute gas of spheres has the pair density of an ideal one."""
    counts = [len(bonds_within(random_cloud(400, 0.8, 0.5, rng=rng), r)) for _ in range(20) for r in (2.0, 2.5)]
    found = np.diff(np.reshape(counts, (20, 2)))[:, 0] * 2 / 400
    expected = 0.8 * 4 / 3 * np.pi * (2.5**3 - 2.0**3)
    assert abs(found.mean() - expected) < 4 * found.std(ddof=1) / np.sqrt(20) + 0.01 * expected


def test_a_jam_names_the_density_that_would_do(rng):
    with pytest.raises(ValueError, match=r"a density of .* would do") as refused:
        random_cloud(60, 2.0, 1.0, rng=rng)
    density = float(str(refused.value).split("a density of ")[1].split(" ")[0])
    assert 0.3 < density < 0.8
    random_cloud(60, density, 1.0, rng=rng)


def test_a_dilute_alloy_has_sites_of_its_host(rng):
    host = fcc(4)
    alloy = diluted(host, 0.25, rng=rng)
    assert alloy.n_sites == 16 and alloy.volume == pytest.approx(64 * abs(np.linalg.det(host.vectors)))
    among = np.linalg.norm(host.positions[:, None] - alloy.positions, axis=-1).min(0)
    assert np.abs(among).max() < 1e-12
    nearest = np.linalg.norm(bonds_within(alloy, 1.01).displacement, axis=1)
    np.testing.assert_allclose(nearest, 1.0, atol=1e-9)
    with pytest.raises(ValueError, match="take a host of 500 or more"):
        diluted(square(3), 0.001, rng=rng)


def test_structures_side_by_side_have_their_own_bonds(rng):
    a, b = random_cloud(12, 0.8, 0.5, rng=rng), random_cloud(20, 0.8, 0.5, rng=rng)
    both = Structures([a, b])
    bonds = bonds_within(both, 1.5)
    here = bonds.i < 12
    assert ((bonds.j < 12) == here).all() and both.n_sites == 32 and both.offsets.tolist() == [0, 12, 32]
    for part, own, start in ((a, here, 0), (b, ~here, 12)):
        alone = bonds_within(part, 1.5)
        assert np.array_equal(bonds.i[own] - start, alone.i) and np.array_equal(bonds.j[own] - start, alone.j)
        assert np.array_equal(bonds.displacement[own], alone.displacement)
    field = torch.arange(2 * 32 * 3.0).reshape(2, 32, 3)
    parts = both.split(field)
    assert [p.shape for p in parts] == [(2, 12, 3), (2, 20, 3)] and torch.equal(torch.cat(parts, -2), field)


def test_clouds_survive_as_plain_data(rng):
    a = PointCloud(cloud().basis, SKEWED, periodic=(True, True, False), species=["Mn", "Cu"] * 10)
    for lattice in (a, a.resized(2, 1, 2), Structures([a, a.resized(1, 1, 2)]), cloud(periodic=False)):
        again = Lattice.from_config(json.loads(json.dumps(lattice.config())))
        assert type(again) is type(lattice) and again.coincides(lattice) and again.same_kind(lattice)
        assert again.species == lattice.species and again.config() == lattice.config()
    assert not a.coincides(cloud()) and a.same_kind(cloud()) and not a.same_kind(square(3))
    assert len(site_group(a)) == 1


def test_repetitions_of_a_cell_are_a_crystal():
    one, eight = cloud(n=5), cloud(n=5).resized(2, 2, 2)
    assert eight.n_sites == 40 and eight.density == pytest.approx(one.density)
    assert len(bonds_within(eight, 2.3)) == 8 * len(bonds_within(one, 2.3))


def test_atoms_and_their_files_become_clouds(tmp_path):
    ase = pytest.importorskip("ase")
    pytest.importorskip("ase.io")
    atoms = ase.Atoms("Mn2Cu", positions=[[0, 0, 0], [1.5, 0.2, 0], [0, 2.1, 1.0]], cell=SKEWED * 3, pbc=(1, 1, 0))
    made = from_ase(atoms)
    assert made.species == ("Mn", "Mn", "Cu") and made.periodic == (True, True, False)
    np.testing.assert_allclose(made.vectors, SKEWED * 3)
    for name in ("alloy.extxyz", "alloy.xyz"):
        atoms.write(tmp_path / name)
        again = read_structure(tmp_path / name)
        np.testing.assert_allclose(again.positions, made.positions, atol=1e-7)
        assert again.species == made.species
    molecule = from_ase(ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
    assert not any(molecule.periodic) and len(bonds_within(molecule, 0.8)) == 1
    broken = ase.Atoms("H", positions=[[0, 0, 0]], pbc=True)
    with pytest.raises(ValueError, match=r"set it with atoms\.set_cell"):
        from_ase(broken)
    with pytest.raises(FileNotFoundError):
        read_structure(tmp_path / "none.xyz")
    with pytest.raises(TypeError, match=r"ase\.Atoms"):
        from_ase(made)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PointCloud([[0.0, np.nan]]), "NaN"),
        (lambda: PointCloud([[0.1, 0.1], [0.5, 0.5], [2.1, 0.1]], 2.0), "1 pairs of sites lie on one point"),
        (lambda: PointCloud(np.zeros((0, 3)), 1.0), "one or more sites"),
        (lambda: PointCloud([[0.0, 0.0]], periodic=True), "needs a cell"),
        (lambda: PointCloud([[0.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]), "independent edges"),
        (lambda: PointCloud([[0.0, 0.0]], -1.0), "edge of a cube"),
        (lambda: PointCloud([[0.0, 0.0]], 1.0, species=("a", "b")), "each of the 1 sites, got 2"),
        (lambda: cloud().bonds(), "no neighbour shells"),
        (lambda: nearest_image_bonds(square(4)), "several nearest images"),
        (lambda: Structures([]), "one or more clouds"),
        (lambda: Structures([square(3)]), "must be a PointCloud"),
        (lambda: Structures([cloud(), cloud(dim=2)]), "one dimension"),
        (lambda: Structures([cloud(n=1), PointCloud([[0.0] * 3], 1.0, species="Mn")]), "same species"),
        (lambda: bonds_within(cloud(), 0.0), "cutoff"),
        (lambda: bonds_within(cloud(), 1.0, sites=3), "sites must be a slice"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
