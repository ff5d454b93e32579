"""Laws of lattices: counting, bonds, neighbour tables, and the symmetry of sites."""

import json
from collections import Counter

import numpy as np
import pytest
import spglib
import torch
from hypothesis import given
from hypothesis import strategies as st

from nearsight.lattices import (
    Lattice,
    bcc,
    chain,
    cubic,
    diamond,
    fcc,
    honeycomb,
    kagome,
    neighbour_permutations,
    site_group,
    site_permutations,
    square,
    torus_group,
    triangular,
)

# Constructor, neighbours at distance 1, and the distances of the first shells.
CATALOGUE = {
    "chain": (chain, 2, [1, 2, 3]),
    "square": (square, 4, [1, 2**0.5, 2, 5**0.5]),
    "triangular": (triangular, 6, [1, 3**0.5, 2, 7**0.5]),
    "honeycomb": (honeycomb, 3, [1, 3**0.5, 2, 7**0.5]),
    "kagome": (kagome, 4, [1, 3**0.5, 2, 7**0.5]),
    "cubic": (cubic, 6, [1, 2**0.5, 3**0.5, 2]),
    "fcc": (fcc, 12, [1, 2**0.5, 3**0.5, 2]),
    "bcc": (bcc, 8, [1, (4 / 3) ** 0.5, (8 / 3) ** 0.5, (11 / 3) ** 0.5]),
    "diamond": (diamond, 4, [1, (8 / 3) ** 0.5, (11 / 3) ** 0.5]),
}
EVERY = pytest.mark.parametrize("name", CATALOGUE)


FLAGS = st.booleans()


def lattices(smallest=1, periodic=FLAGS):
    """Any lattice of the catalogue in any shape and with any open edges."""

    @st.composite
    def draw_lattice(draw):
        lattice = CATALOGUE[draw(st.sampled_from(list(CATALOGUE)))][0](3)
        shape = tuple(draw(st.integers(smallest, 4)) for _ in range(lattice.dim))
        flags = tuple(draw(periodic) for _ in range(lattice.dim))
        return Lattice(lattice.name, lattice.vectors, lattice.basis, shape, flags)

    return draw_lattice()


# --- geometry -----------------------------------------------------------------------------------------------------


@EVERY
def test_the_first_shells_lie_where_the_textbook_says(name):
    make, _, distances = CATALOGUE[name]
    np.testing.assert_allclose(make(3).shell_distances[: len(distances)], distances, atol=1e-12)


@EVERY
def test_every_site_has_the_coordination_of_its_lattice(name):
    make, coordination, _ = CATALOGUE[name]
    lattice = make(4)
    bonds = lattice.bonds()
    assert len(bonds) == lattice.n_sites * coordination // 2
    np.testing.assert_array_equal(np.bincount(np.concatenate([bonds.i, bonds.j])), coordination)
    for centre in range(lattice.n_basis):
        assert len(lattice.neighbourhood(1.0, centre=centre)) == 1 + coordination


@given(lattices())
def test_sites_are_ordered_like_the_grid(lattice):
    grid = np.arange(lattice.n_sites).reshape(*lattice.shape, lattice.n_basis)
    np.testing.assert_array_equal(grid[(*lattice.cells.T, lattice.sublattice)], np.arange(lattice.n_sites))
    np.testing.assert_array_equal(lattice.index(lattice.cells, lattice.sublattice), np.arange(lattice.n_sites))
    assert len({tuple(p) for p in np.round(lattice.positions, 6)}) == lattice.n_sites


@given(lattices(), st.data())
def test_an_index_wraps_along_periodic_axes_and_ends_at_open_ones(lattice, data):
    axis = data.draw(st.integers(0, lattice.dim - 1))
    shifted = lattice.cells + lattice.shape[axis] * np.eye(lattice.dim, dtype=int)[axis]
    expected = np.arange(lattice.n_sites) if lattice.periodic[axis] else -1
    np.testing.assert_array_equal(lattice.index(shifted, lattice.sublattice), expected)


def test_a_field_on_the_square_lattice_reshapes_to_its_grid():
    lattice = square(3, 5)
    x, y = torch.as_tensor(lattice.positions).reshape(3, 5, 2).unbind(-1)
    assert (x == torch.arange(3)[:, None]).all() and (y == torch.arange(5)).all()


@given(lattices(), st.integers(1, 5))
def test_resizing_changes_nothing_but_the_size(lattice, length):
    larger = lattice.resized(length)
    assert larger.shape == (length,) * lattice.dim
    assert larger.same_kind(lattice) and larger.periodic == lattice.periodic
    assert larger.n_sites == length**lattice.dim * lattice.n_basis


def test_different_lattices_are_different_kinds():
    kinds = [make(3) for make, *_ in CATALOGUE.values()]
    assert all(a.same_kind(b) == (a is b) for a in kinds for b in kinds)
    assert not square(3).same_kind(Lattice("two species", np.eye(2), [[0, 0]], (3, 3), species=(1,)))


def test_lattices_coincide_if_they_have_the_same_sites():
    assert square(3, 4).coincides(square(3, 4))
    for other in (square(4, 3), square(3, 4, periodic=(True, False)), triangular(3, 4)):
        assert not square(3, 4).coincides(other)


def test_lattices_print_in_the_notation_of_the_field():
    assert repr(honeycomb(8)) == "honeycomb, 8 × 8 cells × 2 sites, periodic"
    assert repr(square(4, 6, periodic=False)) == "square, 4 × 6 sites, open"
    assert repr(square(4, periodic=(True, False))) == "square, 4 × 4 sites, periodic along [0]"


# --- bonds and neighbours -----------------------------------------------------------------------------------------


@given(lattices(smallest=3, periodic=st.just(True)), st.integers(1, 2))
def test_every_bond_occurs_once(lattice, shell):
    bonds = lattice.bonds(shell)
    ends = [
        frozenset([(i, tuple(np.round(d, 6) + 0.0)), (j, tuple(np.round(-d, 6) + 0.0))])
        for i, j, d in zip(bonds.i.tolist(), bonds.j.tolist(), bonds.displacement, strict=True)
    ]
    assert len(set(ends)) == len(bonds)


@given(lattices(), st.integers(1, 3))
def test_bonds_have_the_length_of_their_shell_and_end_where_they_say(lattice, shell):
    bonds = lattice.bonds(shell)
    lengths = np.linalg.norm(bonds.displacement, axis=1)
    np.testing.assert_allclose(lengths, lattice.shell_distances[shell - 1], atol=1e-9)
    torus = np.asarray(lattice.shape)[:, None] * lattice.vectors
    ends = lattice.positions[bonds.j] + bonds.winding @ torus - lattice.positions[bonds.i]
    np.testing.assert_allclose(ends, bonds.displacement, atol=1e-9)


@given(lattices())
def test_open_edges_cut_exactly_the_bonds_that_cross_them(lattice):
    closed = Lattice(lattice.name, lattice.vectors, lattice.basis, lattice.shape, True).bonds()
    crossing = (closed.winding[:, ~np.array(lattice.periodic)] != 0).any(axis=1)
    kept = Counter(zip(closed.i[~crossing].tolist(), closed.j[~crossing].tolist(), strict=True))
    bonds = lattice.bonds()
    assert Counter(zip(bonds.i.tolist(), bonds.j.tolist(), strict=True)) == kept


def test_two_cells_on_a_ring_are_joined_twice():
    bonds = chain(2).bonds()
    assert len(bonds) == 2 and {frozenset([i, j]) for i, j in zip(bonds.i.tolist(), bonds.j.tolist(), strict=True)} == {
        frozenset([0, 1])
    }
    assert len(chain(2, periodic=False).bonds()) == 1


@given(lattices(periodic=st.just(True)), st.sampled_from([1.0, 1.8, 2.1]))
def test_neighbour_tables_are_inverse_to_each_other(lattice, cutoff):
    # If b is the neighbour of a at R, then a is the neighbour of b at -R.
    steps = []
    for centre in range(lattice.n_basis):
        hood = lattice.neighbourhood(cutoff, centre=centre)
        sites = lattice.index(lattice.cells[:: lattice.n_basis], centre)
        vectors = np.round(hood.vectors, 5).tolist()
        for a, row in zip(sites.tolist(), lattice.neighbour_table(hood).tolist(), strict=True):
            steps += [(a, b, *(x + 0.0 for x in v)) for b, v in zip(row, vectors, strict=True)]
    assert Counter(steps) == Counter((b, a, *(0.0 - x for x in v)) for a, b, *v in steps)


@EVERY
def test_a_neighbourhood_is_sorted_by_distance_and_starts_at_its_centre(name):
    lattice = CATALOGUE[name][0](3)
    for centre in range(lattice.n_basis):
        hood = lattice.neighbourhood(2.5, centre=centre)
        assert hood.distances[0] == 0 and hood.sublattice[0] == centre
        assert (np.diff(hood.distances) > -1e-9).all() and hood.distances[-1] <= 2.5
        vectors = hood.cells @ lattice.vectors + lattice.basis[hood.sublattice] - lattice.basis[centre]
        np.testing.assert_allclose(vectors, hood.vectors)


@pytest.mark.parametrize(("cutoff", "sites"), [(7, 149), (10, 317), (26**0.5, 89)])
def test_the_neighbourhoods_of_the_papers_have_their_number_of_sites(cutoff, sites):
    assert len(square(4).neighbourhood(cutoff)) == sites


# --- symmetry -----------------------------------------------------------------------------------------------------

SITE_GROUPS = [
    (chain(4), "D1", 2), (square(4), "D4", 8), (triangular(4), "D6", 12), (honeycomb(4), "D3", 6), (kagome(4), "D2", 4),
    (cubic(3), "Oh", 48), (diamond(3), "Td", 24),
    (fcc(3), "Oh", 48), (bcc(3), "Oh", 48),
    (Lattice("rectangular", np.diag([1.0, 1.3]), [[0, 0]], (3, 3)), "D2", 4),
    (Lattice("oblique", np.array([[1.0, 0.0], [0.3, 1.2]]), [[0, 0]], (3, 3)), "C2", 2),
    (Lattice("zinc blende", diamond(3).vectors, diamond(3).basis, (3, 3, 3), species=(0, 1)), "Td", 24),
    (Lattice("boron nitride", honeycomb(3).vectors, honeycomb(3).basis, (3, 3), species=(0, 1)), "D3", 6),
]  # fmt: skip
SITES = pytest.mark.parametrize(("lattice", "group", "order"), SITE_GROUPS, ids=[c[0].name for c in SITE_GROUPS])


@SITES
def test_the_site_group_is_that_of_the_tables(lattice, group, order):
    found = site_group(lattice)
    assert (found.name, len(found)) == (group, order)


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@SITES
def test_the_site_group_is_that_of_spglib(lattice, group, order):
    # Thin layers in a tall cell: the reflection of the third axis (and of the second, for a chain) is divided out.
    dim, missing = lattice.dim, 3 - lattice.dim
    cell = np.diag([7.0, 11.0, 13.0])
    cell[:dim, :dim] = lattice.vectors
    positions = np.zeros((lattice.n_basis, 3))
    positions[:, :dim] = lattice.basis @ np.linalg.inv(lattice.vectors)
    symmetry = spglib.get_symmetry((cell, positions, np.asarray(lattice.species) + 1), symprec=1e-5)
    moved = symmetry["rotations"] @ positions[0] + symmetry["translations"] - positions[0]
    rotations = symmetry["rotations"][np.abs(moved - np.round(moved)).max(axis=1) < 1e-6]
    assert len(rotations) == order * 2**missing
    cartesian = cell.T @ rotations @ np.linalg.inv(cell.T)
    theirs = {tuple(np.round(g[:dim, :dim], 4).ravel() + 0.0) for g in cartesian}
    assert theirs == {tuple(np.round(g, 4).ravel() + 0.0) for g in site_group(lattice).matrices}


@SITES
def test_permutations_are_a_homomorphism_and_keep_bonds(lattice, group, order):
    found = site_group(lattice)
    permutations = site_permutations(lattice, found)
    for g in range(order):
        np.testing.assert_array_equal(np.sort(permutations[g]), np.arange(lattice.n_sites))
        np.testing.assert_array_equal(permutations[g][permutations], permutations[found.table[g]])
    assert (permutations[:, 0] == 0).all()
    species = np.asarray(lattice.species)[lattice.sublattice]
    np.testing.assert_array_equal(species[permutations], np.broadcast_to(species, permutations.shape))
    bonds = lattice.bonds()
    pairs = Counter(map(frozenset, zip(bonds.i.tolist(), bonds.j.tolist(), strict=True)))
    for p in permutations:
        assert Counter(map(frozenset, zip(p[bonds.i].tolist(), p[bonds.j].tolist(), strict=True))) == pairs


@SITES
def test_neighbours_move_as_the_matrices_say(lattice, group, order):
    found = site_group(lattice)
    hood = lattice.neighbourhood(2.1)
    moves = neighbour_permutations(hood, found)
    for g, p in enumerate(moves):
        np.testing.assert_allclose(hood.vectors[p], hood.vectors @ found.matrices[g].T, atol=1e-9)
        np.testing.assert_array_equal(p[moves], moves[found.table[g]])


@pytest.mark.parametrize("last_digit", [0, 5])
def test_the_digits_of_a_lattice_constant_have_no_part_in_its_symmetry(last_digit):
    # Half a unit of any digit at which coordinates might be rounded in order to compare them.
    for digits in (5, 6):
        for k in range(1, 12):
            a = round(1 + 0.0789 * k, digits - 1) + last_digit * 10.0**-digits
            lattices = {"C2": [[1, 0], [a - 0.7, a]], "D2": [[a, 0], [0, 1]], "D6": [[a, 0], [a / 2, 0.75**0.5 * a]]}
            for name, vectors in lattices.items():
                lattice = Lattice("measured", vectors, [[0, 0]], (3, 3), symmetrise=False)
                group, around = site_group(lattice), lattice.neighbourhood(2 * a)
                assert group.name == name
                moves = neighbour_permutations(around, group)
                arrived = np.einsum("gij,nj->gni", group.matrices, around.vectors)
                np.testing.assert_allclose(around.vectors[moves], arrived, atol=1e-9)


@pytest.mark.parametrize("lattice", [honeycomb(3), kagome(3), diamond(2)], ids=repr)
def test_every_sublattice_has_a_site_group_of_the_same_order(lattice):
    orders = {len(site_group(lattice, centre=c)) for c in range(lattice.n_basis)}
    assert len(orders) == 1
    for centre in range(lattice.n_basis):
        p = site_permutations(lattice, site_group(lattice, centre=centre), centre=centre)
        assert (p[:, centre] == centre).all()


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: square(0), "length must be a whole number ≥ 1"),
        (lambda: Lattice("flat", [[1.0, 0.0], [2.0, 0.0]], [[0, 0]], (2, 2)), "independent rows"),
        (lambda: Lattice("x", np.eye(2), [[0, 0, 0]], (2, 2)), r"basis must have shape \(sites, 2\)"),
        (lambda: Lattice("x", np.eye(2), [[0, 0]], (2,)), "shape must hold 2"),
        (lambda: square(3, periodic=(True,)), "one flag or 2 flags"),
        (lambda: Lattice("x", np.eye(2), [[0, 0]], (2, 2), species=(0, 1)), "each of the 1 basis sites"),
        (lambda: square(3).bonds(0), "shell must lie in 1"),
        (lambda: square(3).neighbourhood(float("nan")), "cutoff must be a finite real number ≥ 0"),
        (lambda: square(3).neighbourhood(1.0, centre=9), r"sites 0\.\.8 or a position"),
        (lambda: square(3).resized(2, 3, 4), "shape must hold 2"),
        (lambda: site_permutations(square(3, 4), site_group(square(3))), "equal numbers of cells"),
        (lambda: site_permutations(square(3, periodic=False), site_group(square(3))), "make all axes periodic"),
        (lambda: site_permutations(honeycomb(3), site_group(triangular(3))), "not the symmetry about site 0"),
        (lambda: neighbour_permutations(square(3).neighbourhood(1), site_group(triangular(3))), "onto itself"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_small_cluster_may_not_pass_its_accidental_symmetry_on():
    # A square lattice in which one site in four is displaced: the four neighbours of site 0 do not know it.
    lattice = Lattice("displaced", 2 * np.eye(2), [[0, 0], [1, 0], [0, 1], [1.1, 1.2]], (3, 3))
    with pytest.raises(ValueError, match=r"accidental symmetry \(8 operations, 1 one shell"):
        site_group(lattice, radius=1.0)
    assert len(site_group(lattice)) == 1
    with pytest.raises(ValueError, match="pass a larger one"):
        site_group(lattice, radius=0.5)


@pytest.mark.parametrize("lattice", [kagome(3, 4), square(5, periodic=(True, False)), diamond(2)])
def test_a_lattice_survives_as_plain_data(lattice):
    again = Lattice.from_config(json.loads(json.dumps(lattice.config())))
    assert again.coincides(lattice) and again.name == lattice.name
    older = {k: v for k, v in lattice.config().items() if k != "periodic"}
    assert all(Lattice.from_config(older).periodic)


def test_the_group_of_a_torus_is_what_its_shape_allows():
    assert torus_group(square(4)).name == "D4" and torus_group(square(4, 6)).name == "D2"
    assert torus_group(triangular(3)).name == "D6" and len(torus_group(triangular(3, 4))) == 2
    assert len(torus_group(cubic(2, 2, 3))) == 16
    site_permutations(square(4, 6), torus_group(square(4, 6)))
    with pytest.raises(ValueError, match="torus_group"):
        site_permutations(square(4, 6), site_group(square(4, 6)))
