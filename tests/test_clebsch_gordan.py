"""Couplings of irreps: invariant tensors, product tables, subgroups, and the agreement with other authorities."""

import itertools

import numpy as np
import pytest
import spgrep

from crystal_classes import CRYSTAL_CLASSES, crystal_class, planar, turn
from nearsight.groups import PointGroup, clebsch_gordan

GROUPS = {
    **{name: planar(name) for name in ("C3", "C4", "C6", "D3", "D4", "D6")},
    **{name: crystal_class(name) for name in ("T", "Th", "Td", "O", "Oh", "D3d", "C3h")},
}
EVERY = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS.keys())


def names(group):
    return [irrep.name for irrep in group.irreps]


def triples(group):
    return itertools.product(names(group), repeat=3)


# --- invariant tensors ----------------------------------------------------------------------------------------------


@EVERY
def test_coupled_covariants_are_covariant(group):
    for a, b, c in triples(group):
        tensors = clebsch_gordan(group, a, b, c)
        D = [group.irrep(name).matrices for name in (a, b, c)]
        turned = np.einsum("gli,gmj,gnk,rijk->grlmn", *D, tensors, optimize=True)
        np.testing.assert_allclose(turned, np.broadcast_to(tensors, turned.shape), atol=1e-12)


@EVERY
def test_the_tensors_are_orthonormal_and_as_many_as_the_characters_say(group):
    for a, b, c in triples(group):
        tensors = clebsch_gordan(group, a, b, c)
        chi = [group.irrep(name).characters for name in (a, b, c)]
        assert len(tensors) == round(float(np.prod(chi, axis=0).mean()))
        flat = tensors.reshape(len(tensors), np.prod(tensors.shape[1:]))
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(tensors)), atol=1e-13)


@EVERY
def test_all_couplings_of_two_irreps_together_are_complete(group):
    # Σ_c Σ_r (d_c/⟨χ_c²⟩) C C^T = 1 on the product of a and b: nothing of u ⊗ v is lost.
    for a, b in itertools.product(names(group), repeat=2):
        size = group.irrep(a).dim * group.irrep(b).dim
        total = np.zeros((size, size))
        for irrep in group.irreps:
            C = clebsch_gordan(group, a, b, irrep.name).reshape(-1, size, irrep.dim)
            total += irrep.dim / (1 if irrep.kind == "real" else 2) * np.einsum("rik,rjk->ij", C, C)
        np.testing.assert_allclose(total, np.eye(size), atol=1e-12)


@EVERY
def test_the_order_of_the_irreps_only_transposes_the_tensor(group):
    for triple in itertools.combinations(names(group), 3):
        first = clebsch_gordan(group, *triple)
        for p in itertools.permutations(range(3)):
            other = clebsch_gordan(group, *(triple[k] for k in p))
            np.testing.assert_array_equal(other, first.transpose(0, *(1 + k for k in p)))


@EVERY
def test_copies_have_a_definite_sign_under_the_exchange_of_equal_irreps_even_ones_first(group):
    for a, c in itertools.permutations(names(group), 2):
        tensors = clebsch_gordan(group, a, a, c)
        signs = [np.vdot(C, C.transpose(1, 0, 2)) for C in tensors]
        np.testing.assert_allclose(np.abs(signs), 1, atol=1e-12)
        assert sorted(np.round(signs), reverse=True) == list(np.round(signs))
        chi, square = group.irrep(a).characters, group.irrep(a).characters[np.diag(group.table)]
        even = ((chi**2 + square) / 2 * group.irrep(c).characters).mean()  # the symmetrised square of a holds c
        assert sum(s > 0 for s in signs) == round(float(even))


def test_the_couplings_of_the_vector_are_the_products_of_vector_algebra():
    u, v, w = np.random.default_rng(1).normal(size=(3, 3))
    T = crystal_class("T")
    even, odd = np.einsum("rijk,i,j,k->r", clebsch_gordan(T, "T", "T", "T"), u, v, w)
    assert odd == pytest.approx(u @ np.cross(v, w) / np.sqrt(6))
    yz_zx_xy = np.array([v[1] * w[2] + v[2] * w[1], v[2] * w[0] + v[0] * w[2], v[0] * w[1] + v[1] * w[0]])
    assert even == pytest.approx(u @ yz_zx_xy / np.sqrt(6))
    C4 = planar("C4")
    dot, cross = np.einsum("rij,i,j->r", clebsch_gordan(C4, "E", "E", "A")[..., 0], u[:2], v[:2])
    assert dot == pytest.approx(u[:2] @ v[:2] / np.sqrt(2))
    assert cross == pytest.approx((u[0] * v[1] - u[1] * v[0]) / np.sqrt(2))


def test_the_gauge_is_the_same_for_every_order_of_the_elements():
    for name, group in GROUPS.items():
        shuffled = PointGroup(group.matrices[np.random.default_rng(len(name)).permutation(len(group))])
        for triple in triples(group):
            np.testing.assert_array_equal(clebsch_gordan(shuffled, *triple), clebsch_gordan(group, *triple))


def test_an_irrep_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="D4 has no irrep 'E1'; nearest: E"):
        clebsch_gordan(GROUPS["D4"], "E", "E1", "A1")


# --- product tables -------------------------------------------------------------------------------------------------

# Upper triangles of the published tables: row a, then a × b for b = a, ... in the order of the head.
D4_TABLE = """A1 A1 A2 B1 B2 E
A2 A1 B2 B1 E
B1 A1 A2 E
B2 A1 E
E A1+A2+B1+B2"""
D6_TABLE = """A1 A1 A2 B1 B2 E1 E2
A2 A1 B2 B1 E1 E2
B1 A1 A2 E2 E1
B2 A1 E2 E1
E1 A1+A2+E2 B1+B2+E1
E2 A1+A2+E2"""
TD_TABLE = """A1 A1 A2 E T1 T2
A2 A1 E T2 T1
E A1+A2+E T1+T2 T1+T2
T1 A1+E+T1+T2 A2+E+T1+T2
T2 A1+E+T1+T2"""


def read(text):
    rows = [line.split() for line in text.splitlines()]
    heads = [row[0] for row in rows]
    table = {}
    for k, (a, *entries) in enumerate(rows):
        for b, entry in zip(heads[k:], entries, strict=True):
            table[a, b] = table[b, a] = set(entry.split("+"))
    return table


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (planar("D4"), D4_TABLE),
        (crystal_class("C4v"), D4_TABLE),
        (planar("D6"), D6_TABLE),
        (crystal_class("D6"), D6_TABLE),
        (crystal_class("Td"), TD_TABLE),
        (crystal_class("O"), TD_TABLE),
    ],
    ids=["D4-2d", "C4v", "D6-2d", "D6", "Td", "O"],
)
def test_products_agree_with_the_published_tables(group, text):
    for (a, b), irreps in read(text).items():
        assert group.product(a, b) == dict.fromkeys(sorted(irreps, key=names(group).index), 1), (a, b)


def test_parities_multiply_in_the_table_of_oh():
    group = GROUPS["Oh"]
    for (a, b), irreps in read(TD_TABLE).items():
        for p, q in itertools.product("gu", repeat=2):
            expected = {irrep + ("g" if p == q else "u"): 1 for irrep in irreps}
            assert group.product(a + p, b + q) == expected


@EVERY
def test_a_product_has_the_dimension_of_its_factors(group):
    for triple in triples(group):
        dims = [group.irrep(name).dim for name in triple]
        for k in (1, 2, 3):
            held = group.product(*triple[:k])
            assert sum(n * group.irrep(name).dim for name, n in held.items()) == np.prod(dims[:k])


@EVERY
def test_multiplicities_are_the_copies_that_the_decomposition_finds(group):
    for a, b in itertools.combinations_with_replacement(names(group), 2):
        A, B = group.irrep(a).matrices, group.irrep(b).matrices
        product = np.einsum("gij,gkl->gikjl", A, B).reshape(len(group), A.shape[1] * B.shape[1], -1)
        assert group.product(a, b) == {name: len(copies) for name, copies in group.decompose(product).items()}


def test_product_tables_print_multiplicities():
    assert crystal_class("T").product_table().splitlines() == [
        "T  A     E       T",
        "A  A     E       T",
        "E  E  2A+E      2T",
        "T  T    2T  A+E+2T",
    ]
    with pytest.raises(ValueError, match="at least one irrep"):
        GROUPS["D4"].product()


# --- an outside authority -------------------------------------------------------------------------------------------

HEXAGONAL = np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 1]])


@pytest.mark.parametrize("name", CRYSTAL_CLASSES)
def test_real_irreps_are_those_of_spgrep_up_to_a_change_of_basis(name):
    group = crystal_class(name)
    cell = np.eye(3) if np.allclose(group.matrices, np.round(group.matrices)) else HEXAGONAL
    rotations = np.linalg.inv(cell.T) @ group.matrices @ cell.T
    integer = np.round(rotations).astype(int)
    np.testing.assert_allclose(rotations, integer, atol=1e-12)
    theirs = spgrep.get_crystallographic_pointgroup_irreps_from_symmetry(integer, real=True)
    matched = set()
    for irrep in group.irreps:
        partners = [k for k, D in enumerate(theirs) if np.allclose(np.trace(D, axis1=1, axis2=2), irrep.characters)]
        assert len(partners) == 1
        matched.add(partners[0])
        # Equal characters mean equal irreps; the matrix between them shows it element by element.
        D = np.real(theirs[partners[0]])
        seed = np.random.default_rng(0).normal(size=(irrep.dim, irrep.dim))
        U = np.einsum("gij,jk,glk->il", D, seed, irrep.matrices) / len(group)
        U /= np.linalg.norm(U[0])
        np.testing.assert_allclose(U @ U.T, np.eye(irrep.dim), atol=1e-8)
        np.testing.assert_allclose(D @ U, U @ irrep.matrices, atol=1e-8)
    assert matched == set(range(len(theirs)))


# --- subgroups ------------------------------------------------------------------------------------------------------


def test_subgroups_are_chosen_by_index_by_mask_and_by_condition():
    Oh = GROUPS["Oh"]
    rotations = Oh.subgroup(lambda g: np.linalg.det(g) > 0)
    assert rotations.name == "O"
    proper = np.linalg.det(Oh.matrices) > 0
    for choice in (proper, np.flatnonzero(proper), list(np.flatnonzero(proper)[::-1])):
        np.testing.assert_array_equal(Oh.subgroup(choice).matrices, rotations.matrices)
    assert Oh.subgroup(lambda g: np.allclose(np.abs(g), np.eye(3))).name == "D2h"
    assert Oh.subgroup([0]).name == "C1"


def test_a_selection_that_is_not_closed_names_the_missing_product():
    D4 = GROUPS["D4"]
    quarter = next(g for g in range(8) if np.allclose(D4.matrices[g], turn(4)[:2, :2]))
    half = D4.table[quarter, quarter]
    with pytest.raises(ValueError, match=f"elements {quarter} and {quarter} have the product {half}, which is missing"):
        D4.subgroup([0, quarter])
    with pytest.raises(ValueError, match="holds no element"):
        D4.subgroup(lambda g: False)


@pytest.mark.parametrize(
    ("name", "vectors", "ordered", "expected"),
    [
        ("D4", [1.0, 0.0], True, "D1"),  # a hop along x keeps the mirror y -> -y only
        ("D4", [1.0, 1.0], True, "D1"),
        ("D4", [2.0, 1.0], True, "C1"),
        ("D4", [[1.0, 0.0], [-1.0, 0.0]], False, "D2"),
        ("D4", [[1.0, 0.0], [-1.0, 0.0]], True, "D1"),
        ("D4", [[1.0, 0.0], [0.0, 1.0]], False, "D1"),
        ("D4", [[1.0, 0.0], [0.0, 1.0]], True, "C1"),
        ("D6", [1.0, 0.0], True, "D1"),
        ("D6", [[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], False, "D3"),
        ("Oh", [0.0, 0.0, 1.0], True, "C4v"),
        ("Oh", [1.0, 1.0, 1.0], True, "C3v"),
        ("Oh", [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], False, "D3d"),
        ("Oh", [1.0, 1.0, 0.0], True, "C2v"),
        ("Oh", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], False, "D4h"),
        ("Oh", [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], False, "Td"),
        ("Td", [1.0, 1.0, 1.0], True, "C3v"),
    ],
)
def test_stabilisers_of_hops_and_bonds_are_those_of_the_tables(name, vectors, ordered, expected):
    assert GROUPS[name].stabiliser(vectors, ordered=ordered).name == expected


@pytest.mark.parametrize("vector", [[0, 0, 1], [1, 1, 1], [0, 1, 1], [1, 2, 0], [1, 1, 2], [1, 2, 3]], ids=str)
def test_cosets_of_a_stabiliser_are_the_orbit(vector):
    group, d = GROUPS["Oh"], np.array(vector, dtype=float)
    cosets = group.cosets(group.stabiliser(d, ordered=True))
    np.testing.assert_array_equal(np.sort(cosets.ravel()), np.arange(len(group)))
    images = group.matrices[cosets] @ d  # all elements of a coset send d to the same place
    np.testing.assert_allclose(images, np.broadcast_to(images[:, :1], images.shape), atol=1e-12)
    assert len(np.unique(np.round(images[:, 0], 6), axis=0)) == len(cosets)
    np.testing.assert_allclose(images[0, 0], d, atol=1e-12)


def test_restricting_an_irrep_to_a_subgroup_follows_the_correlation_table():
    # Oh -> Td: g and u of T1 become T1 and T2; Oh -> D4 (C4v): T1u -> A1 + E, Eg -> A1 + B1, T2g -> B2 + E.
    Oh = GROUPS["Oh"]
    Td, C4v = Oh.stabiliser(GROUPS["Td"].matrices @ np.ones(3)), Oh.stabiliser([0.0, 0, 1], ordered=True)

    def restricted(name, subgroup):
        return {k: len(x) for k, x in subgroup.decompose(Oh.irrep(name).matrices[Oh.indices(subgroup)]).items()}

    assert [restricted(f"T{k}{p}", Td) for k, p in ["1g", "1u", "2g", "2u"]] == [{f"T{k}": 1} for k in (1, 2, 2, 1)]
    assert restricted("T1u", C4v) == {"A1": 1, "E": 1}
    assert restricted("Eg", C4v) == {"A1": 1, "B1": 1}
    assert restricted("T2g", C4v) == {"B2": 1, "E": 1}
    with pytest.raises(ValueError, match="Oh is no subgroup of this Td"):
        Td.indices(Oh)
    with pytest.raises(ValueError, match=r"vectors for Oh must have shape \(n, 3\)"):
        Oh.stabiliser([1.0, 0.0])
