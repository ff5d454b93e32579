"""Sites, pairs and triplets of a neighbourhood: the counts and multiplicities of the literature, and closure."""

from math import comb

import numpy as np
import pytest

from nearsight.lattices import (
    chain,
    cubic,
    diamond,
    honeycomb,
    lengths,
    plaquette_centre,
    select_pairs,
    select_sites,
    select_triplets,
    site_group,
    square,
    triangular,
)


def around(lattice, cutoff, centre=0):
    return lattice.neighbourhood(cutoff, centre=centre), site_group(lattice, centre=centre)


def parallel(a, b):
    return np.abs((a * b).sum(axis=1)) > lengths(a) * lengths(b) - 1e-6


# --- counts ---------------------------------------------------------------------------------------------------------


def test_selections_print_their_orbits():
    hood, group = around(square(4), 10)
    sites = select_sites(hood, group, centre=False)
    assert repr(sites) == "316 sites in 48 orbits of D4 (17 × 4 + 31 × 8), |r| <= 10"
    hood, group = around(triangular(4), 2)
    assert repr(select_pairs(hood, group, lambda m, n, mn: lengths(mn) == 3**0.5, centre=False)) == (
        "24 pairs in 3 orbits of D6 (2 × 6 + 1 × 12), |r| <= 2"
    )


@pytest.mark.parametrize(("cutoff", "centre", "count"), [(10, False, 316), (7, True, 149), (26**0.5, True, 89)])
def test_disks_of_the_square_lattice_hold_the_sites_of_the_papers(cutoff, centre, count):
    assert len(select_sites(*around(square(4), cutoff), centre=centre)) == count


def test_the_cube_of_silicon_holds_279_atoms_about_an_atom_and_280_about_an_interstitial():
    lattice = diamond(3)
    edge = 4 / 3**0.5
    counts = []
    for centre in (0, 1, plaquette_centre(lattice)):
        hood, group = around(lattice, 1.5 * edge * 3**0.5 + 1e-3, centre)
        cube = select_sites(hood, group, lambda r: np.abs(r).max(axis=1) <= 1.5 * edge + 1e-6)
        counts.append(len(cube))
        assert sum(map(len, cube.orbits)) == len(cube)
    assert counts == [279, 279, 280]


def test_variables_of_the_triangular_spin_model_number_1992():
    hood, group = around(triangular(4), 6)

    def near(r_m, r_n, r_mn):
        return lengths(r_mn) <= 2

    def bent(r_m, r_n, r_mn):
        return near(r_m, r_n, r_mn) & ~parallel(r_m, r_n)

    def inner(r_m, r_n, r_mn):
        return near(r_m, r_n, r_mn) & (lengths(r_n) < 6)

    sites = len(select_sites(hood, group, centre=False))
    assert sites == 126
    assert len(select_pairs(hood, group, centre=False)) == 7875 == comb(126, 2)
    pairs, chiralities = (
        len(s) for s in (select_pairs(hood, group, near, centre=False), select_triplets(hood, group, near))
    )
    assert pairs == chiralities == 933
    assert sites + 7875 + 933 == 8934 and sites + pairs + chiralities == 1992
    assert sites + pairs + len(select_triplets(hood, group, bent)) == 1923
    strict = len(select_sites(hood, group, lambda r: lengths(r) < 6, centre=False))
    assert (
        strict + len(select_pairs(hood, group, inner, centre=False)) + len(select_triplets(hood, group, inner)) == 1890
    )


def test_every_pair_and_triplet_of_a_neighbourhood_occurs_once():
    hood, group = around(square(4), 3)
    n = len(hood)
    assert len(select_pairs(hood, group)) == comb(n, 2)
    assert len(select_pairs(hood, group, centre=False)) == comb(n - 1, 2) == len(select_triplets(hood, group))
    assert (select_triplets(hood, group).members[:, 0] == 0).all()
    hood, group = around(square(4), 3, plaquette_centre(square(4)))
    assert len(select_sites(hood, group, centre=False)) == len(hood)  # there is no site at the centre
    assert len(select_pairs(hood, group, centre=False)) == comb(len(hood), 2)


# --- the action of the group ----------------------------------------------------------------------------------------

SELECTIONS = [
    ("sites", select_sites(*around(diamond(3), 2.4))),
    ("pairs", select_pairs(*around(triangular(4), 2.0))),
    ("plaquette", select_pairs(*around(honeycomb(4), 2.0, plaquette_centre(honeycomb(4))))),
    ("triplets", select_triplets(*around(square(4), 2.3))),
    ("space", select_triplets(*around(cubic(3), 1.5))),
]
EVERY = pytest.mark.parametrize("selection", [s for _, s in SELECTIONS], ids=[name for name, _ in SELECTIONS])


@EVERY
def test_members_move_with_their_sites(selection):
    for g, matrix in enumerate(selection.group.matrices):
        for m in range(0, len(selection), 7):
            start = selection.neighbourhood.vectors[selection.members[m]] @ matrix.T
            end = selection.neighbourhood.vectors[selection.members[selection.permutations[g, m]]]
            assert {tuple(np.round(v, 4) + 0.0) for v in start} == {tuple(np.round(v, 4) + 0.0) for v in end}


@EVERY
@pytest.mark.parametrize("antisymmetric", [False, True])
def test_every_orbit_carries_a_representation(selection, antisymmetric):
    group = selection.group
    orbits = selection.orbits
    np.testing.assert_array_equal(np.sort(np.concatenate(orbits)), np.arange(len(selection)))
    for orbit in orbits:
        assert len(group) % len(orbit) == 0
        T = selection.representation(orbit, antisymmetric=antisymmetric)
        np.testing.assert_array_equal(np.einsum("gij,hjk->ghik", T, T), T[group.table])
        sizes = [len(x) * x.shape[2] for x in group.decompose(T).values()]
        assert sum(sizes) == len(orbit)


@pytest.mark.parametrize("lattice", [square(4), triangular(4), cubic(3)], ids=repr)
def test_signs_are_those_of_the_chirality_of_the_moved_spins(lattice):
    rng = np.random.default_rng(2)
    selection = select_triplets(*around(lattice, 1.5))
    spins = rng.normal(size=(len(selection.neighbourhood), 3))

    def chirality(s):
        a, b, c = s[selection.members].swapaxes(0, 1)
        return np.einsum("ni,ni->n", a, np.cross(b, c))

    whole = select_sites(selection.neighbourhood, selection.group)
    for g in range(len(selection.group)):
        moved = np.empty_like(spins)
        moved[whole.permutations[g]] = spins  # the spin of site k is found at g(k); it does not turn in itself
        expected = np.empty(len(selection))
        expected[selection.permutations[g]] = selection.signs[g] * chirality(spins)
        np.testing.assert_allclose(chirality(moved), expected, atol=1e-12)


# --- multiplicities of the literature -------------------------------------------------------------------------------

SQUARE, TRIANGULAR, CUBIC, DIAMOND = square(4), triangular(4), cubic(3), diamond(3)
EDGE = 4 / 3**0.5  # of the cubic cell of diamond


def shell(lattice, *distances, centre=0):
    hood, group = around(lattice, max(distances), centre)
    return select_sites(hood, group, lambda r: np.isclose(lengths(r), max(distances)))


def triplet(lattice, r_m, r_n):
    """The orbit of the triplet of the centre and two vectors."""
    hood, group = around(lattice, max(np.linalg.norm(r_m), np.linalg.norm(r_n)))
    wanted = {frozenset(tuple(np.round(g @ v, 4) + 0.0) for v in np.array([r_m, r_n])) for g in group.matrices}

    def where(m, n, mn):
        return np.array([frozenset([tuple(np.round(a, 4) + 0.0), tuple(np.round(b, 4) + 0.0)]) in wanted
                         for a, b in zip(m, n, strict=True)])  # fmt: skip

    return select_triplets(hood, group, where)


def turned(angle, length=1.0):
    return length * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])


CORNERS = [1.0, 0.0], [0.0, 1.0]
MULTIPLICITIES = [
    # square: sites, the field Q^x (B1), and chiralities
    ("D4 on the axes", shell(SQUARE, 1), "trivial", "A1+B1+E"),
    ("D4 on the diagonals", shell(SQUARE, 2**0.5), "trivial", "A1+B2+E"),
    ("D4 generic", shell(SQUARE, 5**0.5), "trivial", "A1+A2+B1+B2+2E"),
    ("D4 Qx on the axes", shell(SQUARE, 1), "B1", "A1+B1+E"),
    ("D4 Qx on the diagonals", shell(SQUARE, 2**0.5), "B1", "A2+B1+E"),
    ("D4 Qx generic", shell(SQUARE, 5**0.5), "B1", "A1+A2+B1+B2+2E"),
    ("D4 plaquette", shell(SQUARE, 0.5**0.5, centre=plaquette_centre(SQUARE)), "trivial", "A1+B2+E"),
    ("D4 plaquette, 8 sites", shell(SQUARE, 2.5**0.5, centre=plaquette_centre(SQUARE)), "trivial", "A1+A2+B1+B2+2E"),
    ("D4 plaquette, far corners", shell(SQUARE, 4.5**0.5, centre=plaquette_centre(SQUARE)), "trivial", "A1+B2+E"),
    ("D4 chirality x y", triplet(SQUARE, *CORNERS), "chirality", "A2+B1+E"),
    ("D4 chirality of diagonals", triplet(SQUARE, [1.0, 1.0], [1.0, -1.0]), "chirality", "A2+B2+E"),
    ("D4 chirality of a line", triplet(SQUARE, [1.0, 0.0], [-1.0, 0.0]), "chirality", "E"),
    ("D4 chirality generic", triplet(SQUARE, [1.0, 0.0], [1.0, 1.0]), "chirality", "A1+A2+B1+B2+2E"),
    # triangular
    ("D6 on the axes", shell(TRIANGULAR, 1), "trivial", "A1+B1+E1+E2"),
    ("D6 between the axes", shell(TRIANGULAR, 3**0.5), "trivial", "A1+B2+E1+E2"),
    ("D6 generic", shell(TRIANGULAR, 7**0.5), "trivial", "A1+A2+B1+B2+2E1+2E2"),
    ("D6 chirality of neighbours", triplet(TRIANGULAR, turned(0), turned(60)), "chirality", "A2+B1+E1+E2"),
    ("D6 chirality at 120 degrees", triplet(TRIANGULAR, turned(0), turned(120)), "chirality", "A2+B2+E1+E2"),
    ("D6 chirality of a line", triplet(TRIANGULAR, turned(0), turned(180)), "chirality", "B1+E1"),
    ("D6 antipodal bond", triplet(TRIANGULAR, turned(0), turned(180)), "trivial", "A1+E2"),
    # displacements in diamond
    ("Td centre", select_sites(*around(DIAMOND, 0.5)), "vector", "T2"),
    ("Td 4 atoms", shell(DIAMOND, 1), "vector", "A1+E+T1+2T2"),
    ("Td 6 atoms", shell(DIAMOND, EDGE), "vector", "A1+E+2T1+3T2"),
    ("Td 12 atoms", shell(DIAMOND, EDGE / 2**0.5), "vector", "2A1+A2+3E+4T1+5T2"),
    # scalars on the cubic lattice
    ("Oh 6 sites", shell(CUBIC, 1), "trivial", "A1g+Eg+T1u"),
    ("Oh 12 sites", shell(CUBIC, 2**0.5), "trivial", "A1g+Eg+T2g+T1u+T2u"),
    ("Oh 8 sites", shell(CUBIC, 3**0.5), "trivial", "A1g+T2g+A2u+T1u"),
]  # fmt: skip
NAMES = [case[0] for case in MULTIPLICITIES]


@pytest.mark.parametrize(("selection", "law", "expected"), [case[1:] for case in MULTIPLICITIES], ids=NAMES)
def test_multiplicities_are_those_of_the_literature(selection, law, expected):
    group = selection.group
    (orbit,) = selection.orbits
    T = selection.representation(orbit, antisymmetric=law == "chirality")
    scalar = np.ones((len(group), 1, 1))
    M = {"trivial": scalar, "chirality": scalar, "vector": group.matrices}.get(law)
    M = group.irrep(law).matrices if M is None else M
    action = np.einsum("gij,gab->giajb", T, M).reshape(len(group), len(orbit) * M.shape[1], -1)
    copies = group.decompose(action)
    assert "+".join(f"{len(x) if len(x) > 1 else ''}{name}" for name, x in copies.items()) == expected
    for name, isometries in copies.items():  # one gauge for all orbits: their coefficients may be multiplied
        D = group.irrep(name).matrices
        for X in isometries:
            np.testing.assert_allclose(action @ X, X @ D, atol=1e-12)


def test_an_orbit_is_not_a_shell():
    # |r| = 5 on the square lattice is 4 + 8 sites, |r| = 1.2247 edges in diamond twice 12.
    assert sorted(map(len, shell(SQUARE, 5).orbits)) == [4, 8]
    assert sorted(map(len, shell(DIAMOND, 1.5**0.5 * EDGE).orbits)) == [12, 12]


# --- refusals -------------------------------------------------------------------------------------------------------


def test_lengths_are_exact_on_shells():
    for lattice, squares in ((triangular(4), [1, 3, 4, 7, 9]), (diamond(3), [1, 8 / 3, 11 / 3]), (chain(4), [1, 4])):
        vectors = lattice.neighbourhood(squares[-1] ** 0.5).vectors
        assert set(lengths(vectors)) == {0.0, *(s**0.5 for s in squares)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: select_sites(*around(SQUARE, 2), lambda r: r[:, 0] > 0.5),
            r"not closed under D4: it holds the site at",
        ),
        (
            lambda: select_pairs(*around(SQUARE, 2), lambda m, n, mn: np.abs(mn[:, 1]) < 0.1),
            "holds the pair at .* but not its image",
        ),
        (lambda: select_sites(*around(SQUARE, 2), lambda r: r), "one boolean for each of the 13 sites"),
        (lambda: select_sites(*around(SQUARE, 2), lambda r: lengths(r)), "got float64 of shape"),
        (
            lambda: select_triplets(*around(SQUARE, 2, plaquette_centre(SQUARE))),
            "the centre is no site. Take pairs",
        ),
        (lambda: select_sites(SQUARE.neighbourhood(2), site_group(TRIANGULAR)), "does not map this neighbourhood"),
    ],
)
def test_selections_that_break_the_symmetry_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_selection_may_be_closed_under_a_subgroup_only():
    hood, group = around(SQUARE, 2)
    hop = group.stabiliser([1.0, 0.0], ordered=True)
    ahead = select_sites(hood, hop, lambda r: r[:, 0] > 0.5)
    assert repr(ahead) == "4 sites in 3 orbits of D1 (2 × 1 + 1 × 2), |r| <= 2"


def test_an_empty_selection_is_empty():
    nothing = select_pairs(*around(SQUARE, 2), lambda m, n, mn: lengths(mn) > 100)
    assert len(nothing) == 0 and nothing.orbits == ()
    assert repr(nothing) == "0 pairs in 0 orbits of D4 (), |r| <= 2"
