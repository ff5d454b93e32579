"""Which solver is chosen, by what was counted and how fast the machine is said to be."""

import sys

import pytest
import torch

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import triangular
from nearsight.solvers import Chebyshev, Dense, Poles, choose

MODULE = sys.modules["nearsight.solvers.choose"]
PROCESSOR = MODULE._Speed(eigenproblem=1.5e9, multiplication=1.5e11, memory=5e8, product=2.5e4)
"""One core, for vectors of 48 × 48 sites and two spins."""


@pytest.fixture
def counted(monkeypatch):
    """Operations are counted for a machine of known speed, and nothing is timed."""

    def of(matrix, accuracy):
        return PROCESSOR._replace(product=PROCESSOR.product * 4608 / matrix.size)

    monkeypatch.setattr(MODULE._Speed, "of", of)
    monkeypatch.setattr(MODULE, "SHORT", 0.0)


def magnet(side: int) -> tuple[SDModel, torch.Tensor]:
    model = skyrmion_magnet(triangular(side))
    return model, model.field_type.random(side * side, 3, torch.Generator().manual_seed(side))


def chosen(side: int, **options) -> MODULE.Choice:
    model, spins = magnet(side)
    choice = choose(model, spins, mu=-3.5, rng=torch.Generator().manual_seed(0), **options)
    assert "constant" not in vars(model)  # no dense matrix was built
    return choice


def test_small_matrices_are_diagonalised(counted):
    choice = chosen(6, kT=0.02)
    assert isinstance(choice.solver, Dense)
    assert choice.seconds["Dense"] < choice.seconds["Poles"] < choice.seconds["Chebyshev"]


def test_matrices_of_a_thousand_orbitals_at_high_accuracy_are_for_poles(counted):
    choice = chosen(30, kT=0.02)
    assert isinstance(choice.solver, Poles)
    assert 5 * choice.seconds["Poles"] < min(choice.seconds["Dense"], choice.seconds["Chebyshev"])


def test_large_matrices_at_low_accuracy_are_for_coloured_vectors(counted):
    choice = chosen(48, kT=0.2, accuracy=1e-2)
    assert isinstance(choice.solver, Chebyshev) and not choice.solver.probes.exact
    assert choice.seconds["Coloured"] < choice.seconds["Poles"] < choice.seconds["Dense"]
    assert choice.seconds["Coloured"] < choice.seconds["Chebyshev"]


def test_coloured_vectors_that_were_chosen_are_as_accurate_as_asked(counted, monkeypatch):
    """Nearly free products make them the choice for a matrix that can also be diagonalised."""
    monkeypatch.setattr(MODULE._Speed, "of", lambda matrix, accuracy: PROCESSOR._replace(product=1e9))
    monkeypatch.setattr(MODULE, "PIECE", 400)
    for accuracy in (0.03, 0.01):
        choice = chosen(20, kT=0.2, accuracy=accuracy)
        assert isinstance(choice.solver, Chebyshev) and not choice.solver.probes.exact
        model, spins = magnet(20)
        answer, exact = (
            ExactForceField(model, solver).electrons.electrons(spins)
            for solver in (choice.solver, Dense(kT=0.2, mu=-3.5))
        )
        off = float((answer.rho - exact.rho).abs().square().mean().sqrt())
        assert 0.05 * accuracy < off < accuracy  # neither too far off nor far too dear


def test_noise_is_not_considered_without_a_source_of_chance(counted):
    model, spins = magnet(48)
    choice = choose(model, spins, kT=0.2, mu=-3.5, accuracy=1e-2)
    assert "Coloured" not in choice.seconds and isinstance(choice.solver, Poles)


def test_unit_vectors_win_where_few_moments_do_and_products_are_cheap(counted, monkeypatch):
    monkeypatch.setattr(MODULE._Speed, "of", lambda matrix, accuracy: PROCESSOR._replace(product=1e7))
    model, spins = magnet(30)
    choice = choose(model, spins, kT=1.0, mu=-3.5, accuracy=1e-4)
    assert isinstance(choice.solver, Chebyshev) and choice.solver.probes.exact


def test_more_solutions_at_fixed_number_are_counted(counted):
    model, spins = magnet(30)
    given, found = (choose(model, spins, kT=0.05, **fixed) for fixed in ({"mu": -3.5}, {"filling": 0.2}))
    assert found.seconds["Poles"] > 2 * given.seconds["Poles"]
    assert isinstance(found.solver, Poles) and found.solver.filling == 0.2


def test_a_temperature_out_of_reach_of_all_others_is_for_diagonalisation(counted):
    choice = chosen(12, kT=1e-9, accuracy=1e-12)
    assert isinstance(choice.solver, Dense) and list(choice.seconds) == ["Dense"]
    assert "no sum over poles" in choice.reason and "too many moments" in choice.reason


def test_the_reason_names_every_candidate(counted):
    reason = str(chosen(30, kT=0.05))
    assert reason.startswith("Poles(kT=0.05, mu=-3.5, tol=1e-06): Dense ")
    for word in ("poles, 1 solution", "moments", "for 1800 orbitals on this machine"):
        assert word in reason


def test_a_matrix_with_holes_is_refused():
    model, spins = magnet(6)
    spins[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        choose(model, spins, kT=0.1, mu=0.0)


def test_a_batch_of_fields_is_refused():
    model, spins = magnet(6)
    with pytest.raises(ValueError, match=r"one field \(site, component\)"):
        choose(model, spins[None], kT=0.1, mu=0.0)
