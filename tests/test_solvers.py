"""Exact diagonalisation beyond what every solver promises (see contracts/solver_contract.py)."""

import contextlib
import math

import numpy as np
import pytest
import torch

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import Dense, LowRankUpdates, Pattern, Poles, SparseMatrix

WHERE = torch.arange(1)


def test_its_name_tells_the_ensemble():
    assert repr(Dense(filling=0.5, kT=0.05)) == "Dense(kT=0.05, filling=0.5)"
    assert repr(Dense(mu=-1.2, kT=0)) == "Dense(kT=0, mu=-1.2)"
    assert repr(Dense(filling=1 / 3, kT=0.1 + 0.2)) == "Dense(kT=0.30000000000000004, filling=0.3333333333333333)"


@pytest.mark.parametrize("kT", [1e-300, 1e-15, 1e-9, 1e-6])
@pytest.mark.parametrize("filling", [0.5, 0.37])
def test_the_filling_holds_at_temperatures_far_below_the_level_spacing(kT, filling, rng):
    h = torch.randn(50, 50, generator=rng, dtype=torch.float64)
    answer = Dense(filling=filling, kT=kT).solve(h + h.T, WHERE, WHERE)
    assert float(answer.number) == pytest.approx(50 * filling, rel=1e-14)


def test_a_fraction_of_kt_is_resolved_where_mu_itself_has_no_digits_left():
    # 0.6 electrons share two levels a distance kT apart at energy 1, where the spacing of floats is a third of kT.
    kT = 6e-16
    h = torch.diag(torch.tensor([-1.0, 1.0, 1.0 + kT, 3.0], dtype=torch.float64))
    answer = Dense(filling=0.4, kT=kT).solve(h, torch.arange(4), torch.arange(4))
    assert float(answer.number) == pytest.approx(1.6, abs=1e-15)
    x = float(h[2, 2] - h[1, 1]) / kT
    f = answer.rho[1:3].numpy()
    np.testing.assert_allclose(np.diff(np.log(1 / f - 1)), x, rtol=1e-10)


def test_the_potentials_have_all_digits_when_levels_lie_far_from_mu():
    # A level 25 kT above μ contributes e⁻²⁵ to -Ω/kT, which a truncated ln(1 + eˣ) loses.
    kT = 0.1
    answer = Dense(mu=0.0, kT=kT).solve(torch.full((1, 1), 25 * kT, dtype=torch.float64), WHERE, WHERE)
    assert float(answer.grand_potential) / -kT == pytest.approx(math.exp(-25.0), rel=1e-10, abs=0)
    deep = Dense(mu=0.0, kT=kT).solve(torch.full((1, 1), -25 * kT, dtype=torch.float64), WHERE, WHERE)
    assert float(deep.grand_potential) + 2.5 == pytest.approx(-kT * math.exp(-25.0), abs=1e-15)


def test_degenerate_levels_are_recognised_whatever_the_unit_of_energy():
    ring = -(torch.roll(torch.eye(12), 1, 0) + torch.roll(torch.eye(12), -1, 0)).double()
    for unit in (1e-9, 1.0, 1e9):
        answer = Dense(filling=0.5, kT=0.0).solve(unit * ring, torch.arange(12), torch.arange(12))
        torch.testing.assert_close(answer.rho, torch.full((12,), 0.5).double(), atol=1e-13, rtol=0)


def test_levels_split_by_noise_count_as_degenerate():
    levels = torch.tensor([-1.0, 0.0, 1e-11, 1.0], dtype=torch.float64)
    answer = Dense(filling=0.5, kT=0.0).solve(torch.diag(levels), torch.arange(4), torch.arange(4))
    assert answer.rho.tolist() == [1.0, 0.5, 0.5, 0.0]
    split = torch.diag(torch.tensor([-1.0, 0.0, 1e-6, 1.0], dtype=torch.float64))
    assert Dense(filling=0.5, kT=0.0).solve(split, torch.arange(4), torch.arange(4)).rho.tolist() == [
        1.0,
        1.0,
        0.0,
        0.0,
    ]


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answer(rng):
    h = torch.randn(4, 40, 40, generator=rng, dtype=torch.float64)
    h = h + h.mT
    rows = torch.arange(40)
    solver = Dense(filling=0.45, kT=0.05)
    here, there = solver.solve(h, rows, rows), solver.solve(h.cuda(), rows.cuda(), rows.cuda())
    torch.testing.assert_close(there.rho.cpu(), here.rho, atol=1e-11, rtol=0)
    torch.testing.assert_close(there.free_energy.cpu(), here.free_energy, atol=1e-11, rtol=0)


def test_positions_of_any_width_and_numpy_numbers_give_the_same_answer(rng):
    h = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    h, rows, columns = h + h.T, torch.tensor([0, 5, 2]), torch.tensor([1, 5, 0])
    sparse = SparseMatrix(Pattern(rows.int(), columns.int(), np.int64(6)), torch.ones(3))
    assert sparse.pattern.rows.dtype == torch.int64  # row · size + column of large matrices has no room in int32
    for solver in (Dense(kT=0.1, mu=0.2), Poles(kT=0.1, mu=0.2)):
        expected = solver.solve(h, rows, columns, degeneracy=2)
        answer = solver.solve(h, rows.int(), columns.int(), degeneracy=np.int64(2))
        assert torch.equal(answer.rho, expected.rho) and torch.equal(answer.energy, expected.energy)


def test_a_matrix_of_whole_numbers_is_one_of_real_numbers():
    h = torch.tensor([[0, -1], [-1, 3]])
    for solver in (Dense(kT=0.1, mu=0.2), Poles(kT=0.1, mu=0.2)):
        assert torch.equal(solver.solve(h, WHERE, WHERE).rho, solver.solve(h.double(), WHERE, WHERE).rho)


def test_an_unsymmetric_matrix_is_no_reference_for_local_changes():
    h = np.array([[0.0, -1.0], [-0.9, 0.0]])
    with pytest.raises(ValueError, match="must be symmetric"):
        LowRankUpdates(h, Dense(kT=0.1, mu=0.0), bounds=(-5.0, 5.0))


def test_matrices_larger_than_the_memory_are_refused_before_they_are_made(monkeypatch):
    model, fields = Holstein(square(6)), torch.zeros(3, 36, 1, dtype=torch.float64)
    sparse = SparseMatrix(Pattern(*model.positions, 36), model.elements(fields))
    exact = ExactForceField(model, Dense(kT=0.1, mu=0.0))
    enough = 8 * 36**2 * 8  # three matrices with their eigenvectors, and one that is worked on
    for there, found in ((enough, contextlib.nullcontext()), (enough - 1, pytest.raises(ValueError, match="Poles or"))):
        monkeypatch.setattr("nearsight._machine.physical_memory", lambda there=there: there)
        for ask in (sparse.dense, lambda: model.matrix(fields), lambda: exact(fields)):
            with found:
                ask()
