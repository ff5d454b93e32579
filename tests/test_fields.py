"""Laws of classical fields: how they transform, and what is no field."""

import json

import numpy as np
import pytest
import torch

from nearsight.fields import (
    FieldType,
    check_field,
    displacement,
    ising,
    jahn_teller,
    occupation,
    potts,
    scalar,
    spin,
    spin_one,
)
from nearsight.lattices import cubic, site_group, site_permutations, square, triangular

FIELDS = [
    (square(4), scalar()),
    (square(4), FieldType("u", ("vector",))),
    (square(4), FieldType("Jahn-Teller modes", ("trivial", "B1", "A1"))),
    (square(4), FieldType("everything", ("A2", "B1", "vector", "B2", "E", "trivial"))),
    (triangular(3), FieldType("quadrupole", ("E2", "vector"))),
    (cubic(2), FieldType("u and e_g", ("vector", "Eg"))),
]
EVERY = pytest.mark.parametrize(("lattice", "field_type"), FIELDS, ids=[f"{f.name} on {x.name}" for x, f in FIELDS])


@EVERY
def test_the_law_is_an_orthogonal_homomorphism(lattice, field_type):
    group = site_group(lattice)
    M = field_type.representation(group)
    assert M.shape[-1] == field_type.components(group)
    np.testing.assert_allclose(np.einsum("gij,hjk->ghik", M, M), M[group.table], atol=1e-13)
    np.testing.assert_allclose(M @ M.transpose(0, 2, 1), np.broadcast_to(np.eye(M.shape[-1]), M.shape), atol=1e-13)


@EVERY
def test_transformations_compose_like_the_group(lattice, field_type):
    group = site_group(lattice)
    permutations = site_permutations(lattice, group)
    rng = torch.Generator().manual_seed(1)
    field = torch.randn(2, lattice.n_sites, field_type.components(group), generator=rng, dtype=torch.float64)

    def act(g, phi):
        return field_type.transform(phi, group, g, permutations[g])

    for g in range(len(group)):
        for h in range(0, len(group), 5):
            torch.testing.assert_close(act(g, act(h, field)), act(group.table[g, h], field), rtol=0, atol=1e-13)


def test_a_vector_field_of_positions_is_a_fixed_point():
    # u(r) = r turns into itself: the arrow moves with its site and turns with it.
    lattice = square(5)
    group = site_group(lattice)
    centred = (lattice.positions + 2) % 5 - 2
    field = torch.as_tensor(centred)
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = FieldType("u", ("vector",)).transform(field, group, g, permutation)
        torch.testing.assert_close(moved, field, rtol=0, atol=1e-13)


def test_a_scalar_has_one_component_and_only_moves():
    lattice = square(3)
    group = site_group(lattice)
    field = torch.arange(9.0)[:, None]
    assert scalar().components(group) == 1
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = scalar().transform(field, group, g, permutation)
        assert torch.equal(moved[torch.as_tensor(permutation)], field)


def test_a_law_that_the_group_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"D6 has no irrep 'B3'; nearest: B\d, B\d"):
        FieldType("Q", ("B3",)).representation(site_group(triangular(3)))


def test_a_good_field_passes_unchanged():
    field = torch.zeros(2, 3, 16, 1)
    assert check_field(field, 16, 1, finite=True) is field


@pytest.mark.parametrize(
    ("field", "error", "message"),
    [
        (np.zeros((16, 1)), TypeError, "wrap arrays with torch.as_tensor"),
        (torch.zeros(16, 1, dtype=torch.int64), TypeError, r"convert it with \.double\(\)"),
        (torch.zeros(16), ValueError, r"shape \(\*batch, 16, 1\), got \(16,\)"),
        (torch.zeros(1, 16), ValueError, r"brought into shape by field\.reshape\(\*batch, 16, 1\)"),
        (torch.zeros(4, 4, 1), ValueError, r"got \(4, 4, 1\)"),
        (torch.tensor([[float("nan")]] * 16), ValueError, "16 NaN or infinite values; a smaller time step"),
    ],
)
def test_what_is_no_field_is_refused_with_the_cure(field, error, message):
    with pytest.raises(error, match=message):
        check_field(field, 16, 1, finite=True)


CATALOGUE = [scalar(), jahn_teller(), displacement(), spin(), spin(components=2, unit=False, time_reversal=False)]
CATALOGUE += [ising(), spin_one(), occupation(), potts(3), FieldType("P", ("vector", "B2"), internal="Z2")]
CATALOGUED = pytest.mark.parametrize("field_type", CATALOGUE, ids=[repr(f) for f in CATALOGUE])


@CATALOGUED
def test_a_law_survives_as_plain_data(field_type):
    assert FieldType.from_config(json.loads(json.dumps(field_type.config()))) == field_type


@CATALOGUED
def test_internal_operations_are_orthogonal_and_commute_with_the_lattice(field_type, rng):
    group = site_group(square(4))
    n = field_type.components(group)
    M = torch.as_tensor(field_type.representation(group))
    for _ in range(5):
        R = field_type.internal_operation(n, rng)
        torch.testing.assert_close(R @ R.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-13)
        torch.testing.assert_close(R @ M, M @ R, rtol=0, atol=1e-13)


@CATALOGUED
def test_random_fields_are_allowed_and_stay_so_under_the_internal_group(field_type, rng):
    n = field_type.components(site_group(square(4)))
    field = field_type.random(16, n, rng, 3)
    assert field.shape == (3, 16, n)
    assert field_type.check_values(field) is field
    moved = field @ field_type.internal_operation(n, rng).T
    field_type.check_values(moved)


def test_internal_groups_are_the_whole_group(rng):
    def determinants(field_type, n):
        return {round(float(torch.linalg.det(field_type.internal_operation(n, rng)))) for _ in range(40)}

    assert determinants(spin(), 3) == {1, -1}
    assert determinants(spin(time_reversal=False), 3) == {1}
    assert determinants(ising(), 1) == {-1}
    permutations = {tuple(potts(3).internal_operation(3, rng).argmax(1).tolist()) for _ in range(60)}
    assert len(permutations) == 6


def test_any_orthogonal_matrices_make_a_law(rng):
    group = site_group(square(4))
    plain = FieldType("Q", ("A1", "E", "B1", "E")).representation(group)
    mixed = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q.numpy()
    matrices = mixed @ plain @ mixed.T
    field_type = FieldType.from_matrices("Q", group, matrices)
    assert sorted(field_type.law) == ["A1", "B1", "E", "E"]
    np.testing.assert_allclose(field_type.representation(group), matrices, atol=1e-12)
    again = FieldType.from_config(json.loads(json.dumps(field_type.config())))
    np.testing.assert_allclose(again.representation(group), matrices, atol=1e-12)
    assert FieldType.from_matrices("Q", group, plain[:, :1, :1]).basis is None
    with pytest.raises(ValueError, match="not an orthogonal representation"):
        FieldType.from_matrices("Q", group, np.roll(matrices, 1, axis=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FieldType("S", ("vector",), internal="SO(n)"), "must be 'trivial'"),
        (lambda: FieldType("S", internal="U(1)"), "internal must be one of 'none', 'Z2'"),
        (lambda: FieldType("S", ()), "at least one component"),
        (lambda: spin(components=1), r"see ising\(\)"),
        (lambda: potts(1), "states, of a Potts variable, must be a whole number ≥ 2"),
        (lambda: FieldType("Q", basis=((1.0, 0.0), (0.0, 1.0))).representation(site_group(square(3))), "1 × 1"),
        (lambda: spin().check_values(torch.ones(4, 3)), r"4 sites differ, the first at \(0,\).*divide by"),
        (lambda: ising().check_values(torch.zeros(2, 4, 1)), r"\+1 or -1"),
        (lambda: spin_one().check_values(torch.full((2, 4, 1), 2.0)), "-1, 0 or 1"),
        (lambda: occupation().check_values(torch.full((4, 1), float("nan"))), "0 or 1"),
        (lambda: potts(2).check_values(torch.ones(4, 2)), "one_hot"),
    ],
)
def test_bad_laws_and_values_are_refused_with_their_cure(make, message):
    with pytest.raises(ValueError, match=message):
        make()
