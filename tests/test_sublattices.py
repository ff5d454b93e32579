"""Sublattices of equivalent sites: the operations between them and the common order of their neighbours."""

import numpy as np
import pytest
import spglib

from nearsight.lattices import (
    Lattice,
    aligned_neighbourhoods,
    chain,
    crystal_class,
    cubic,
    diamond,
    honeycomb,
    kagome,
    site_group,
    square,
    sublattice_operations,
    triangular,
)

LIEB = Lattice("Lieb", 2 * np.eye(2), [[0, 0], [1, 0], [0, 1]], (3, 3))
NITRIDE = Lattice("boron nitride", honeycomb(3).vectors, honeycomb(3).basis, (3, 3), species=(0, 1))
STAGGERED = Lattice("staggered", np.array([[2.0, 0], [0, 1]]), [[0, 0], [1, 0]], (2, 4), species=(3, 3))
# Four sites per cell joined by glides and screws only: every h_b but the identity comes with a fractional translation.
HERRINGBONE = Lattice("herringbone", np.diag([2.0, 3.1]), [[0.2, 0.3], [-0.2, -0.3], [1.2, 1.25], [0.8, 1.85]], (3, 3))
PYROCHLORE = Lattice(
    "pyrochlore",
    np.sqrt(2) * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    np.sqrt(0.5) * np.array([[0.0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    (2, 2, 2),
)
CASES = [
    (chain(4), "D1"), (square(4), "D4"), (triangular(4), "D6"), (cubic(3), "Oh"), (honeycomb(4), "D6"),
    (kagome(4), "D6"), (diamond(3), "Oh"), (STAGGERED, "D4"), (HERRINGBONE, "D2"), (PYROCHLORE, "Oh"),
]  # fmt: skip
EVERY = pytest.mark.parametrize(("lattice", "name"), CASES, ids=[lattice.name for lattice, _ in CASES])


@EVERY
def test_the_operations_carry_neighbour_k_of_the_first_site_to_neighbour_k_of_every_other(lattice, name):
    operations = sublattice_operations(lattice)
    hoods = aligned_neighbourhoods(lattice, 2.7)
    first = lattice.neighbourhood(2.7)
    np.testing.assert_array_equal(operations[0], np.eye(lattice.dim))
    np.testing.assert_array_equal(hoods[0].cells, first.cells)
    for b, (h, hood) in enumerate(zip(operations, hoods, strict=True)):
        np.testing.assert_allclose(h @ h.T, np.eye(lattice.dim), atol=1e-14)
        np.testing.assert_allclose(hood.vectors, first.vectors @ h.T, atol=1e-9)
        # The rows are sites of the lattice, the same set as without the alignment.
        where = hood.cells @ lattice.vectors + lattice.basis[hood.sublattice] - lattice.basis[b]
        np.testing.assert_allclose(where, hood.vectors, atol=1e-12)
        assert {tuple(c) for c in hood.cells} == {tuple(c) for c in lattice.neighbourhood(2.7, centre=b).cells}
        assert hood.sublattice[0] == b and len(hood) == len(first)


@EVERY
def test_the_crystal_class_is_the_union_of_the_cosets_of_the_site_group(lattice, name):
    group, site, operations = crystal_class(lattice), site_group(lattice), sublattice_operations(lattice)
    assert group.name == name

    def keys(matrices):
        return {tuple(np.round(g, 4).ravel() + 0.0) for g in matrices}

    cosets = [keys(h @ site.matrices) for h in operations]
    assert set.union(*cosets) == keys(group.matrices)
    # The site group of sublattice b is that of 0, conjugated by h_b.
    for b, h in enumerate(operations):
        assert keys(h @ site.matrices @ h.T) == keys(site_group(lattice, centre=b).matrices)


@EVERY
def test_a_sum_over_aligned_neighbours_does_not_tell_sublattices_apart(lattice, name):
    # A position-dependent field turned by h_b looks from b as the original looks from 0.
    rng = np.random.default_rng(3)
    weights = rng.normal(size=len(lattice.neighbourhood(2.1)))
    wave = rng.normal(size=lattice.dim)
    values = [
        np.cos(hood.vectors @ h @ wave) @ weights
        for hood, h in zip(aligned_neighbourhoods(lattice, 2.1), sublattice_operations(lattice), strict=True)
    ]
    np.testing.assert_allclose(values, values[0], atol=1e-12)


def test_the_tables_of_aligned_neighbourhoods_cover_every_site_once_per_shell():
    lattice = kagome(4)
    tables = [lattice.neighbour_table(hood) for hood in aligned_neighbourhoods(lattice, 1.0)]
    centres = np.concatenate([table[:, 0] for table in tables])
    np.testing.assert_array_equal(np.sort(centres), np.arange(lattice.n_sites))
    counts = np.bincount(np.concatenate([table[:, 1:].ravel() for table in tables]), minlength=lattice.n_sites)
    np.testing.assert_array_equal(counts, 4)


def test_honeycomb_and_diamond_are_joined_by_the_inversion_and_kagome_by_sixths_of_a_turn():
    for lattice in (honeycomb(3), diamond(2)):
        np.testing.assert_array_equal(sublattice_operations(lattice)[1], -np.eye(lattice.dim))
    kagome_operations = sublattice_operations(kagome(3))
    np.testing.assert_allclose(np.linalg.det(kagome_operations), 1, atol=1e-14)
    np.testing.assert_allclose(np.trace(kagome_operations[1:], axis1=1, axis2=2), 1, atol=1e-14)  # 2 cos 60°


@pytest.mark.parametrize("lattice", [honeycomb(3), kagome(3), diamond(2), PYROCHLORE, HERRINGBONE], ids=repr)
def test_the_choice_is_the_same_for_every_size_and_order_of_calls(lattice):
    np.testing.assert_array_equal(sublattice_operations(lattice), sublattice_operations(lattice.resized(5)))


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@EVERY
def test_the_crystal_class_is_that_of_spglib(lattice, name):
    dim = lattice.dim
    cell = np.diag([7.0, 11.0, 13.0])  # thin layers in a tall cell
    cell[:dim, :dim] = lattice.vectors
    positions = np.zeros((lattice.n_basis, 3))
    positions[:, :dim] = lattice.basis @ np.linalg.inv(lattice.vectors)
    # The sites of a staggered cell form a smaller lattice; spglib then lists every rotation once per translation.
    rotations = spglib.get_symmetry((cell, positions, np.ones(lattice.n_basis)), symprec=1e-5)["rotations"]
    cartesian = cell.T @ rotations @ np.linalg.inv(cell.T)
    theirs = {tuple(np.round(g[:dim, :dim], 4).ravel() + 0.0) for g in cartesian}
    ours = {tuple(np.round(g, 4).ravel() + 0.0) for g in crystal_class(lattice).matrices}
    if lattice is STAGGERED:  # a quarter turn does not fit the cell that spglib was given
        assert theirs < ours
    else:
        assert theirs == ours


@pytest.mark.parametrize(
    ("lattice", "message"),
    [(LIEB, "sublattice 0 of Lieb onto sublattices 1, 2"), (NITRIDE, "0 of boron nitride onto sublattice 1:")],
    ids=["Lieb", "BN"],
)
def test_inequivalent_sublattices_are_refused_by_name(lattice, message):
    for call in (sublattice_operations, crystal_class, lambda x: aligned_neighbourhoods(x, 1.0)):
        with pytest.raises(ValueError, match=message):
            call(lattice)
