"""Laws of classical fields: how they transform, and what is no field."""

import numpy as np
import pytest
import torch

from nearsight.fields import FieldType, check_field, scalar
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
