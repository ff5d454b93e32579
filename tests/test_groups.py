"""Laws of point groups, their irreps, and the decomposition of representations."""

import numpy as np
import pytest

from crystal_classes import CRYSTAL_CLASSES, MOLECULES, PLANAR, generated, turn
from nearsight.groups import PointGroup

CASES = [(name, *case) for table in (CRYSTAL_CLASSES, MOLECULES, PLANAR) for name, case in table.items()]
IDS = [f"{name}-{len(generators[0])}d" for name, generators, _ in CASES]


@pytest.fixture(params=CASES, ids=IDS, scope="module")
def case(request):
    name, generators, irreps = request.param
    return name, generated(*generators), irreps


def test_schoenflies_and_mulliken_names_follow_the_tables(case):
    name, group, irreps = case
    assert repr(group) == f"{name}: {len(group)} elements, irreps {irreps}"


def test_irreps_are_orthogonal_homomorphisms(case):
    _, group, _ = case
    for irrep in group.irreps:
        D = irrep.matrices
        np.testing.assert_allclose(D @ D.transpose(0, 2, 1), np.broadcast_to(np.eye(irrep.dim), D.shape), atol=1e-14)
        np.testing.assert_allclose(np.einsum("gij,hjk->ghik", D, D), D[group.table], atol=1e-14)


def test_characters_obey_the_orthogonality_relations(case):
    _, group, _ = case
    chi = np.array([irrep.characters for irrep in group.irreps])
    norms = [1.0 if irrep.kind == "real" else 2.0 for irrep in group.irreps]
    np.testing.assert_allclose(chi @ chi.T / len(group), np.diag(norms), atol=1e-13)
    assert sum(irrep.dim**2 / n for irrep, n in zip(group.irreps, norms, strict=True)) == pytest.approx(len(group))


def test_there_are_as_many_complex_irreps_as_classes_and_none_is_a_sum_of_others(case):
    _, group, _ = case
    assert sum(1 if irrep.kind == "real" else 2 for irrep in group.irreps) == len(group.classes)
    for irrep in group.irreps:  # the indicator of Frobenius and Schur: 1 for real irreps, 0 for each of a complex pair
        assert irrep.characters[np.diag(group.table)].mean() == pytest.approx(
            1.0 if irrep.kind == "real" else 0.0, abs=1e-9
        )


def test_every_copy_transforms_with_the_same_matrices_and_nothing_is_lost(case):
    _, group, _ = case
    vector = group.matrices
    tensor = np.einsum("gij,gkl->gikjl", vector, vector).reshape(len(group), group.dim**2, group.dim**2)
    shuffled = tensor[:, ::-1, ::-1]
    for T in (vector, tensor, shuffled):
        copies = group.decompose(T)
        for name, isometries in copies.items():
            D = group.irrep(name).matrices
            for X in isometries:
                np.testing.assert_allclose(T @ X, X @ D, atol=1e-13)
        basis = np.concatenate([X for isometries in copies.values() for X in isometries], axis=1)
        np.testing.assert_allclose(basis.T @ basis, np.eye(T.shape[1]), atol=1e-13)


def test_the_regular_representation_holds_every_irrep_d_times(case):
    _, group, _ = case
    regular = np.eye(len(group))[group.table].transpose(0, 2, 1)
    copies = group.decompose(regular)
    for irrep in group.irreps:
        assert len(copies[irrep.name]) == irrep.dim // (1 if irrep.kind == "real" else 2)


def test_the_gauge_does_not_depend_on_the_order_of_the_elements(case):
    name, group, _ = case
    shuffled = PointGroup(group.matrices[np.random.default_rng(len(name)).permutation(len(group))])
    np.testing.assert_array_equal(shuffled.matrices, group.matrices)
    for a, b in zip(group.irreps, shuffled.irreps, strict=True):
        np.testing.assert_array_equal(a.matrices, b.matrices)


def test_the_irrep_of_the_vector_is_the_matrices_themselves():
    for name, irrep in {"D4": "E", "D6": "E1", "C3": "E"}.items():
        group = generated(*PLANAR[name][0])
        np.testing.assert_array_equal(group.irrep(irrep).matrices, group.matrices)
    for name, irrep in {"Oh": "T1u", "Td": "T2", "T": "T"}.items():
        group = generated(*CRYSTAL_CLASSES[name][0])
        np.testing.assert_array_equal(group.irrep(irrep).matrices, group.matrices)


def test_on_the_square_lattice_b1_is_x2_minus_y2_and_b2_is_xy():
    group = generated(*PLANAR["D4"][0])
    shapes = {
        "B1": np.diag([1.0, -1.0]),
        "B2": np.array([[0.0, 1], [1, 0]]),
        "A1": np.eye(2),
        "A2": np.array([[0.0, 1], [-1, 0]]),
    }
    for name, tensor in shapes.items():
        moved = group.matrices @ tensor @ group.matrices.transpose(0, 2, 1)
        np.testing.assert_allclose(moved, group.irrep(name).matrices * tensor, atol=1e-14)


def test_e2_of_d6_turns_by_twice_the_angle():
    group = generated(*PLANAR["D6"][0])
    E2, rotation = group.irrep("E2").matrices, group.matrices
    for g in np.flatnonzero(np.linalg.det(rotation) > 0):
        np.testing.assert_allclose(E2[g], rotation[g] @ rotation[g], atol=1e-14)


def test_the_character_table_prints_classes_and_irreps():
    assert generated(*PLANAR["D4"][0]).character_table().splitlines() == [
        "D4  E  2C4  C2  2m  2m",
        "A1  1    1   1   1   1",
        "A2  1    1   1  -1  -1",
        "B1  1   -1   1   1  -1",
        "B2  1   -1   1  -1   1",
        " E  2    0  -2   0   0",
    ]


def test_an_unknown_irrep_names_its_nearest_relatives():
    group = generated(*CRYSTAL_CLASSES["Oh"][0])
    with pytest.raises(ValueError, match=r"no irrep 'T3g'; nearest: T\dg, T\dg"):
        group.irrep("T3g")
    with pytest.raises(ValueError, match="Its irreps are A1g A2g"):
        group.irrep("vector")


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.eye(2), "shape"),
        (np.array([np.eye(2), [[1.0, 1.0], [0.0, 1.0]]]), "orthogonal"),
        (np.array([-np.eye(2)]), "identity"),
    ],
)
def test_what_is_not_a_set_of_point_operations_is_refused(matrices, message):
    with pytest.raises(ValueError, match=message):
        PointGroup(matrices)


def test_a_set_that_is_not_closed_is_refused():
    with pytest.raises(ValueError, match="not closed"):
        _ = PointGroup(np.array([np.eye(3), turn(4)])).table
    with pytest.raises(ValueError, match="listed twice"):
        _ = PointGroup(np.array([np.eye(2), np.eye(2)])).table


def test_a_representation_in_the_wrong_order_is_refused():
    group = generated(*PLANAR["D4"][0])
    with pytest.raises(ValueError, match="not an orthogonal representation"):
        group.decompose(group.matrices[::-1])
