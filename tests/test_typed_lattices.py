"""Lattices as people type them: a few digits in any unit mean the exactly symmetric lattice."""

import warnings

import numpy as np
import pytest
import spglib
import torch

from crystal_classes import generated, turn
from nearsight.analysis import star, symmetry_points, zone_boundary
from nearsight.analysis.spins import plaquettes
from nearsight.descriptors import ACSF, Irreps
from nearsight.fields import scalar
from nearsight.lattices import (
    Lattice,
    bcc,
    chain,
    crystal_class,
    cubic,
    diamond,
    fcc,
    honeycomb,
    kagome,
    lengths,
    neighbour_permutations,
    plaquette_centre,
    site_group,
    square,
    triangular,
)

CATALOGUE = [square, triangular, honeycomb, kagome, cubic, fcc, bcc, diamond, chain]


def digits(values, count):
    """Numbers with so many significant digits, as one would type them."""
    return [[float(f"{x:.{count - 1}e}") for x in row] for row in values]


def typed(lattice, count, scale, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Lattice(
            lattice.name, digits(scale * lattice.vectors, count), digits(scale * lattice.basis, count), lattice.shape,
            species=lattice.species, **options,
        )  # fmt: skip


def bond_table(lattice, shell):
    bonds = lattice.bonds(shell)
    return sorted(zip(bonds.i.tolist(), bonds.j.tolist(), map(tuple, bonds.winding.tolist()), strict=True))


@pytest.mark.parametrize("scale", [1e-10, 1.0, 3.9])
@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("make", CATALOGUE)
def test_a_lattice_typed_with_a_few_digits_is_that_of_the_catalogue(make, count, scale):
    exact = make(4)
    try:
        lattice = typed(exact, count, scale)
    except ValueError as refused:
        # Digits that happen to end in zeros may leave open whether a distortion is meant; the error says what to type.
        assert "symmetrise=True" in str(refused)
        lattice = typed(exact, count, scale, symmetrise=True)
    known = exact.shell_distances[:5]
    np.testing.assert_allclose(lattice.shell_distances[:5] / lattice.spacing, known, rtol=1e-9)
    assert lattice.spacing == pytest.approx(scale, rel=5.1 * 10.0**-count)
    for shell in range(1, 5):
        assert bond_table(lattice, shell) == bond_table(exact, shell)
    np.testing.assert_allclose(site_group(lattice).matrices, site_group(exact).matrices, atol=1e-9)
    np.testing.assert_allclose(crystal_class(lattice).matrices, crystal_class(exact).matrices, atol=1e-9)
    around, here = exact.neighbourhood(2.1), lattice.neighbourhood(2.1 * lattice.spacing)
    np.testing.assert_array_equal(here.cells, around.cells)
    moves = neighbour_permutations(here, site_group(lattice))
    np.testing.assert_array_equal(moves, neighbour_permutations(around, site_group(exact)))


def test_graphene_typed_with_three_digits_has_three_equal_bonds():
    with pytest.warns(UserWarning, match=r"rounded digits .* symmetrise=True says that this is meant"):
        graphene = Lattice("graphene", [[2.13, 1.23], [0.0, 2.46]], [[0, 0], [1.42, 0]], (4, 4))
    assert bond_table(graphene, 1) == bond_table(honeycomb(4), 1)
    assert site_group(graphene).name == "D3"
    assert 1e-4 < graphene.moved < 1e-3
    assert graphene.resized(5).moved == graphene.moved
    again = Lattice.from_config(graphene.config())
    np.testing.assert_array_equal(again.vectors, graphene.vectors)
    assert again.moved == 0
    assert graphene.same_kind(again)
    assert not graphene.same_kind(honeycomb(4))


def test_metres_are_not_too_small_to_tell_lattices_apart():
    lattice = Lattice("metres", 3.9e-10 * np.eye(2), [[0, 0]], (4, 4))
    assert not lattice.same_kind(Lattice("metres", 4.1e-10 * np.eye(2), [[0, 0]], (4, 4)))
    assert bond_table(lattice, 2) == bond_table(square(4), 2)
    field = torch.randn(16, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for make in (Irreps, ACSF):
        small, unit = make(lattice, scalar(), 2.1 * 3.9e-10), make(square(4), scalar(), 2.1)
        torch.testing.assert_close(small(field), unit(field))
    assert plaquette_centre(lattice) == pytest.approx([1.95e-10, 1.95e-10])
    assert len(plaquettes(lattice)) == 16
    np.testing.assert_allclose(zone_boundary(lattice), zone_boundary(square(4)) / 3.9e-10, rtol=1e-12)
    assert set(symmetry_points(lattice)) == {"Γ", "X", "M"}
    quarter = np.array([np.pi / 2, 0.0])
    np.testing.assert_allclose(star(quarter / 3.9e-10, lattice), star(quarter, square(4)) / 3.9e-10, atol=1e-3)
    np.testing.assert_allclose(
        lengths(lattice.neighbourhood(8e-10).vectors[:6]), 3.9e-10 * np.array([0, 1, 1, 1, 1, 2**0.5])
    )


def test_a_strained_lattice_is_taken_as_it_stands_when_that_is_said():
    for strain in (1e-2, 3e-3, 1e-4, 1e-5):
        vectors = np.diag([1.0, 1.0 + strain])
        lattice = Lattice("strained", vectors, [[0, 0]], (4, 4), symmetrise=False)
        np.testing.assert_array_equal(lattice.vectors, vectors)
        np.testing.assert_allclose(lattice.shell_distances[:2], [1.0, 1.0 + strain])
        assert site_group(lattice).name == "D2"
        assert len(lattice.bonds(1)) == 16
        np.testing.assert_array_equal(Lattice.from_config(lattice.config()).vectors, vectors)
        assert lattice.resized(6).symmetrise is False


@pytest.mark.parametrize(
    ("vectors", "basis"),
    [
        ([[1.0, 0.0], [0.0, 1.003]], [[0, 0]]),
        ([[3.9, 0.0], [0.0, 3.91]], [[0, 0]]),
        ([[1.0, 0.0], [0.5, 0.867]], [[0, 0]]),
        (np.pi * np.array([[1.0, 0.0], [0.5, 0.866]]), [[0, 0]]),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0054321]], [[0, 0, 0]]),
        ([[2.0, 0.0], [0.0, 1.0]], [[0, 0], [1.004, 0]]),
    ],
)
def test_a_small_distortion_that_its_digits_do_not_explain_is_asked_about(vectors, basis):
    shape = (3,) * len(vectors)
    with pytest.raises(
        ValueError, match=r"type vectors=\[\[.* or pass symmetrise=True; .* symmetrise=False"
    ) as refused:
        Lattice("distorted", vectors, basis, shape)
    exact = Lattice("distorted", vectors, basis, shape, symmetrise=True)
    numbers = str(refused.value).split("type ")[1].split(", or pass")[0]
    told = eval(f"dict({numbers})")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retyped = Lattice("as told", **told, shape=shape)
    np.testing.assert_array_equal(retyped.vectors, exact.vectors)
    assert len(site_group(exact)) > len(site_group(Lattice("d", vectors, basis, shape, symmetrise=False)))


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_typed_crystals_have_the_space_group_that_spglib_finds_in_the_exact_ones(count):
    rng = np.random.default_rng(17)
    third, wurtzite = np.sqrt(3) / 2, 0.376
    crystals = {
        "wurtzite": ([[1, 0, 0], [-0.5, third, 0], [0, 0, 1.62]],
                     [[0, 2 * third / 3, 0], [0.5, third / 3, 0.81], [0, 2 * third / 3, 1.62 * wurtzite],
                      [0.5, third / 3, 1.62 * (0.5 + wurtzite)]], (0, 0, 1, 1)),
        "rutile": (np.diag([1.0, 1.0, 0.64]),
                   [[0, 0, 0], [0.5, 0.5, 0.32], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.805, 0.195, 0.32],
                    [0.195, 0.805, 0.32]], (0, 0, 1, 1, 1, 1)),
        "pyrochlore": (np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]]) / np.sqrt(2),
                       np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2), (0,) * 4),
        "corundum-like": ([[1, 0, 0], [-0.5, third, 0], [0, 0, 2.7]], [[0, 0, 0], [0, 0, 1.1], [0.3, 0, 0.55]],
                          (0, 0, 1)),
    }  # fmt: skip
    for name, (vectors, basis, species) in crystals.items():
        scale = rng.uniform(2, 9)
        rows, sites = (np.array(digits(scale * np.asarray(x, dtype=float), count)) for x in (vectors, basis))
        lattice = Lattice(name, rows, sites, (2, 2, 2), species=species, symmetrise=True)
        wanted, found = (
            spglib.get_symmetry((v, np.asarray(b) @ np.linalg.inv(v), species), symprec=1e-7)
            for v, b in ((vectors, basis), (lattice.vectors / scale, lattice.basis / scale))
        )
        assert len(wanted["rotations"]) > 2
        np.testing.assert_array_equal(*(np.sort(s["rotations"].reshape(-1, 9), axis=0) for s in (wanted, found)))
        typed_error = 5 * 10.0**-count * 10
        assert np.abs(lattice.vectors - rows).max() <= typed_error
        assert np.abs(lattice.basis - sites).max() <= typed_error


def test_typed_cells_of_hundreds_of_sites_have_the_symmetry_of_the_crystal():
    """Silicon, 216 sites with two decimals: 48 operations with 108 translations each, or the 24 about a vacancy."""
    cells = np.array(list(np.ndindex(3, 3, 3)))[:, None] + np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4
    sites = 5.43 * np.concatenate([cells, cells + 0.25], axis=1).reshape(-1, 3)
    whole, vacant = (
        Lattice("Si", 16.29 * np.eye(3), b.round(2), (1, 1, 1), symmetrise=True) for b in (sites, sites[1:])
    )
    np.testing.assert_allclose(whole.basis, sites, atol=1e-12)
    assert vacant.moved > 0
    displacement = vacant.basis - 16.29 * np.rint(vacant.basis / 16.29)
    neighbours = np.argsort(np.linalg.norm(displacement, axis=1))[:4]
    assert site_group(vacant, centre=displacement[neighbours].mean(axis=0)).name == "Td"


def test_a_symmetrised_lattice_keeps_its_axes_where_they_were_typed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        lattice = Lattice("triangular", [[1, 0], [0.5, 0.866]], [[0.3, 0.1]], (4, 4))
    assert lattice.vectors[0, 1] == 0
    np.testing.assert_array_equal(lattice.basis, [[0.3, 0.1]])
    group = generated(turn(6)[:2, :2], np.diag([1.0, -1.0]))
    np.testing.assert_allclose(site_group(lattice).matrices, group.matrices, atol=1e-12)


def test_shells_that_digits_do_not_tell_apart_are_refused_by_their_distances():
    loose = Lattice("two bonds", [[2.41, 0.0], [0.3, 3.13]], [[0, 0], [1.2, 0.1], [0.5, 1.105]], (3, 3))
    known = loose.shell_distances
    close = np.flatnonzero(np.diff(known) < 0.01 * known[0])
    assert len(close)
    with pytest.raises(ValueError, match=f"{known[close[0]]:.6g}, .*symmetrise=False"):
        loose.bonds(int(close[0]) + 1)
    meant = Lattice("two bonds", loose.vectors, loose.basis, (3, 3), symmetrise=False)
    assert len(meant.bonds(int(close[0]) + 1)) == 9


def test_a_cutoff_that_is_a_rounded_distance_is_refused_with_one_that_is_not():
    with pytest.raises(ValueError, match=r"1\.732 is the distance 1\.73205081 .* Give 1\.733 to see it, or 1\.731"):
        honeycomb(4).neighbourhood(1.732)
    assert len(honeycomb(4).neighbourhood(1.733)) == 10
    assert len(honeycomb(4).neighbourhood(1.731)) == 4
    assert len(honeycomb(4).neighbourhood(3**0.5)) == 10
    assert len(honeycomb(4).neighbourhood(1.7)) == 4


def test_a_cutoff_that_sees_no_neighbour_names_the_shortest_distance():
    lattice = Lattice("perovskite", 3.9 * np.eye(2), [[0, 0]], (4, 4))
    with pytest.raises(ValueError, match=r"cutoff=1\.5 sees no neighbour: the shortest distance .* is 3\.9"):
        Irreps(lattice, scalar(), 1.5)


def test_cells_of_several_primitive_cells_are_symmetrised_with_their_translations():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        thirds = Lattice("chain", [[1.0]], [[0], [0.333], [0.667]], (2,))
        four = Lattice(
            "square", [[2.0, 0.0], [0.0, 2.0]], [[0, 0], [1, 0.001], [0, 1], [1, 1]], (2, 2), symmetrise=True
        )
    np.testing.assert_allclose(thirds.shell_distances[:2] * 3, [1, 2], rtol=1e-12)
    assert len(thirds.bonds()) == 6
    assert len(four.bonds()) == 32
    assert crystal_class(four).name == "D4"
    with pytest.raises(ValueError, match="pass symmetrise=True"):
        Lattice("chain", [[3.0]], [[0], [0.999], [2.001]], (2,))
