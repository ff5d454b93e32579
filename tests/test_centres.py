"""Neighbourhoods and symmetry about any point: sites, midpoints of bonds, centres of plaquettes."""

import itertools

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight.lattices import (
    bcc,
    bond_centre,
    chain,
    cubic,
    diamond,
    fcc,
    honeycomb,
    kagome,
    neighbour_permutations,
    plaquette_centre,
    site_group,
    site_permutations,
    square,
    triangular,
)

# Lattice, centre, group and order, and the number of sites nearest to the centre with their distance.
CENTRES = [
    (chain(4), bond_centre, "D1", 2, 2, 0.5),
    (square(4), bond_centre, "D2", 4, 2, 0.5),
    (square(4), plaquette_centre, "D4", 8, 4, 0.5**0.5),
    (triangular(4), bond_centre, "D2", 4, 2, 0.5),
    (triangular(4), plaquette_centre, "D3", 6, 3, 3**-0.5),
    (honeycomb(4), bond_centre, "D2", 4, 2, 0.5),
    (honeycomb(4), plaquette_centre, "D6", 12, 6, 1.0),
    (kagome(4), bond_centre, "D1", 2, 2, 0.5),
    (kagome(4), plaquette_centre, "D6", 12, 6, 1.0),
    (cubic(4), bond_centre, "D4h", 16, 2, 0.5),
    (cubic(4), plaquette_centre, "Oh", 48, 8, 0.75**0.5),
    (fcc(4), bond_centre, "D2h", 8, 2, 0.5),
    (fcc(4), plaquette_centre, "Oh", 48, 6, 0.5**0.5),
    (bcc(4), bond_centre, "D3d", 12, 2, 0.5),
    (bcc(4), plaquette_centre, "D2d", 8, 4, (5 / 12) ** 0.5),
    (diamond(4), bond_centre, "D3d", 12, 2, 0.5),
    (diamond(4), plaquette_centre, "Td", 24, 4, 1.0),
]
EVERY = pytest.mark.parametrize(
    ("lattice", "make", "name", "order", "corners", "distance"),
    CENTRES,
    ids=[f"{case[0].name}-{case[1].__name__.split('_')[0]}" for case in CENTRES],
)


@EVERY
def test_bonds_and_plaquettes_have_the_symmetry_of_the_tables(lattice, make, name, order, corners, distance):
    centre = make(lattice)
    group = site_group(lattice, centre=centre)
    assert (group.name, len(group)) == (name, order)
    around = lattice.neighbourhood(1.01, centre=centre)
    assert not around.on_site
    np.testing.assert_allclose(around.distances[:corners], distance, atol=1e-12)
    assert len(around) == corners or around.distances[corners] > distance + 1e-6


@EVERY
def test_operations_about_a_point_permute_sites_and_neighbours(lattice, make, name, order, corners, distance):
    centre = make(lattice)
    group = site_group(lattice, centre=centre)
    sites = site_permutations(lattice, group, centre=centre)
    around = lattice.neighbourhood(1.6, centre=centre)
    moves = neighbour_permutations(around, group)
    for p in (sites, moves):
        for g in range(order):
            np.testing.assert_array_equal(p[g][p], p[group.table[g]])
    # Both say the same: the neighbours of the point in cell 0 are sites of the lattice.
    own = lattice.neighbour_table(around)[0]
    np.testing.assert_array_equal(sites[:, own], own[moves])


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@EVERY
def test_the_group_of_a_point_is_that_of_an_atom_placed_there(lattice, make, name, order, corners, distance):
    dim, missing = lattice.dim, 3 - lattice.dim
    cell = np.diag([7.0, 11.0, 13.0])  # thin layers in a tall cell
    cell[:dim, :dim] = lattice.vectors
    positions = np.zeros((lattice.n_basis + 1, 3))
    positions[:, :dim] = np.vstack([lattice.basis, make(lattice)]) @ np.linalg.inv(lattice.vectors)
    symmetry = spglib.get_symmetry((cell, positions, [1] * lattice.n_basis + [2]), symprec=1e-5)
    moved = symmetry["rotations"] @ positions[-1] + symmetry["translations"] - positions[-1]
    fixed = np.abs(moved - np.round(moved)).max(axis=1) < 1e-6
    assert fixed.sum() == order * 2**missing


@EVERY
def test_translates_of_a_point_share_its_neighbourhood(lattice, make, name, order, corners, distance):
    centre = make(lattice)
    around = lattice.neighbourhood(2.0, centre=centre)
    shift = np.arange(1, lattice.dim + 1)
    assert lattice.neighbourhood(2.0, centre=centre - shift @ lattice.vectors).cells.tolist() == around.cells.tolist()
    np.testing.assert_allclose(around.centre, centre, atol=1e-12)
    # Row c of the table belongs to the translate by cell c.
    row = np.ravel_multi_index(tuple(shift), lattice.shape) if max(shift) < min(lattice.shape) else 0
    cells = around.cells + (shift if row else 0)
    np.testing.assert_array_equal(lattice.neighbour_table(around)[row], lattice.index(cells, around.sublattice))


@pytest.mark.parametrize("lattice", [square(3), triangular(3), fcc(3)], ids=repr)
@settings(max_examples=25)
@given(corner=st.lists(st.integers(0, 11), min_size=3, max_size=3))
def test_the_group_of_a_point_times_its_images_is_the_group_of_the_lattice(lattice, corner):
    fractions = np.array(corner[: lattice.dim]) / 12
    whole = site_group(lattice)
    images = (whole.matrices @ (fractions @ lattice.vectors)) @ np.linalg.inv(lattice.vectors)
    distinct = {tuple(f) for f in np.round(images * 12).astype(int) % 12}
    assert len(site_group(lattice, centre=fractions @ lattice.vectors)) * len(distinct) == len(whole)


@pytest.mark.parametrize("make", [square, honeycomb, kagome, diamond], ids=lambda make: make.__name__)
def test_every_site_of_a_sublattice_has_the_same_neighbourhood(make):
    lattice = make(3)
    for site, b in itertools.islice(enumerate(lattice.sublattice), 0, None, 4):
        assert lattice.neighbourhood(2.0, centre=site) is lattice.neighbourhood(2.0, centre=int(b))
        by_position = lattice.neighbourhood(2.0, centre=lattice.positions[site])
        np.testing.assert_allclose(by_position.vectors, lattice.neighbourhood(2.0, centre=int(b)).vectors, atol=1e-12)
        p = site_permutations(lattice, site_group(lattice, centre=site), centre=site)
        assert (p[:, site] == site).all()


@pytest.mark.parametrize(
    ("lattice", "corners", "name", "distance"),
    [(kagome(3), 3, "D3", 3**-0.5), (kagome(3), 6, "D6", 1.0), (fcc(3), 4, "Td", 0.375**0.5),
     (fcc(3), 6, "Oh", 0.5**0.5), (diamond(3), 6, "D3d", (11 / 12) ** 0.5), (diamond(3), 4, "Td", 1.0)],
    ids=str,
)  # fmt: skip
def test_holes_are_told_apart_by_their_corners(lattice, corners, name, distance):
    centre = plaquette_centre(lattice, corners=corners)
    assert site_group(lattice, centre=centre).name == name
    np.testing.assert_allclose(lattice.neighbourhood(1.01, centre=centre).distances[:corners], distance, atol=1e-12)


@pytest.mark.parametrize("lattice", [case[0] for case in CENTRES if case[1] is plaquette_centre], ids=repr)
def test_no_point_of_the_cell_is_farther_from_all_sites_than_the_plaquette_centre(lattice):
    radius = lattice.neighbourhood(1.01, centre=plaquette_centre(lattice)).distances[0]
    for point in np.random.default_rng(5).random((60, lattice.dim)) @ lattice.vectors:
        assert lattice.neighbourhood(1.01, centre=point).distances[0] <= radius + 1e-12


def test_a_bond_of_a_farther_shell_has_its_own_midpoint():
    lattice = square(5)
    diagonal = bond_centre(lattice, shell=2)
    np.testing.assert_allclose(lattice.neighbourhood(1.0, centre=diagonal).distances[:4], 0.5**0.5)
    np.testing.assert_array_equal(bond_centre(square(9, 4, periodic=False), shell=2), diagonal)
    group = site_group(lattice, centre=diagonal)
    assert len(group) == 8  # both diagonals of a square cross at its centre: the point knows more than the bond
    ends = lattice.bonds(2).displacement[0] / 2 * np.array([[1.0], [-1.0]])
    assert len(group.stabiliser(ends)) == 4 and len(group.stabiliser(ends, ordered=True)) == 2
    knight = lattice.bonds(4).displacement[0] / 2 * np.array([[1.0], [-1.0]])
    assert len(site_group(lattice, centre=bond_centre(lattice, shell=4)).stabiliser(knight)) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: square(3).neighbourhood(1.0, centre=[0.5]), "site index or 2 finite coordinates"),
        (lambda: square(3).neighbourhood(1.0, centre=[0.5, np.nan]), "finite coordinates"),
        (lambda: square(3).neighbourhood(0.3, centre=[0.5, 0.5]), "No site lies within 0.3"),
        (lambda: plaquette_centre(kagome(3), corners=5), "holes with 3, 6 corners, none with 5"),
        (lambda: site_permutations(square(4), site_group(square(4)), centre=[0.5, 0.0]), "not the symmetry about the"),
    ],
)
def test_centres_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
