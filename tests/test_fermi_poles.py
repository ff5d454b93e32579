"""The Fermi function by poles: accuracy, thermodynamics, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight.solvers import fermi_poles

# Errors measured with an independent implementation, for 5, 6, 7, 8, 10, 12 poles.
MEASURED = {
    (100, 140): (3e-4, 1e-5, 1e-6, 3e-8, 7e-11, 6e-14),
    (100, 300): (5e-4, 2e-5, 3e-6, 3e-7, 6e-10, 7e-13),
    (200, 600): (1e-3, 7e-4, 1e-5, 4e-6, 3e-8, 2e-10),
    (400, 1200): (6e-3, 3e-3, 2e-4, 6e-5, 1e-6, 2e-8),
}


def fermi(y):
    return 1 / (np.exp(np.minimum(y, 700.0)) + 1)


@pytest.mark.parametrize("interval", MEASURED, ids=str)
def test_errors_are_those_of_an_independent_fit(interval):
    for n, error in zip((5, 6, 7, 8, 10, 12), MEASURED[interval], strict=True):
        assert fermi_poles(*interval, n).error < 2 * error, n


@settings(max_examples=25)
@given(
    y1=st.floats(-20, 2000),
    width=st.floats(20, 2000),
    tol=st.sampled_from([1e-3, 1e-5, 1e-7, 1e-8]),
    y=st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_the_stored_error_holds_everywhere_on_the_interval(y1, width, tol, y):
    poles = fermi_poles(y1, width - y1, tol=tol)
    inside = -poles.lower + np.asarray(y) * (poles.lower + poles.upper)
    assert poles.error <= tol
    # The largest error lies between two test points at most a little above what they show.
    assert np.abs(poles(inside) - fermi(inside)).max() <= 1.05 * poles.error + 1e-13


def test_poles_lie_off_the_axis_and_near_the_matsubara_frequencies_at_mu():
    poles = fermi_poles(100, 140, 12)
    assert poles.z.imag.min() > 3
    assert np.abs(poles.z[:2] - 1j * math.pi * np.array([1, 3])).max() < 1e-6
    # The residue of 1/(e^y + 1) at an odd multiple of iπ is -1.
    assert np.abs(poles.w[:2] + 1).max() < 1e-6


def test_the_density_matrix_is_a_sum_of_green_functions():
    rng = np.random.default_rng(3)
    h = rng.normal(size=(20, 20))
    h = h + h.T
    kT, mu = 0.1, 0.3
    eps, psi = np.linalg.eigh(h)
    poles = fermi_poles((mu - eps[0]) / kT, (eps[-1] - mu) / kT, tol=1e-9)
    green = np.linalg.inv((mu + kT * poles.z)[:, None, None] * np.eye(20) - h)
    weighted = kT * (poles.w[:, None, None] * green).sum(0)
    rho = poles.c0 * np.eye(20) - weighted - weighted.conj().T
    exact = (psi * fermi((eps - mu) / kT)) @ psi.T
    assert np.abs(rho - exact).max() < 1e-9


def test_grand_potential_of_a_change_of_one_level_is_the_logarithm_of_a_determinant():
    # For one level, det(1 - ΔV G) = (ζ - ε - ΔV)/(ζ - ε), and ΔΩ = -kT ln(1 + e^-y) between the two.
    kT, mu, before, change = 0.05, 0.2, -0.4, 2.0
    poles = fermi_poles(100, 140, 12)
    ratio = 1 - change / (mu + kT * poles.z - before)
    shift = poles.c0 * change + 2 * kT * (poles.w * np.log(ratio)).real.sum()
    exact = kT * (np.logaddexp(0, (mu - before) / kT) - np.logaddexp(0, (mu - before - change) / kT))
    assert shift == pytest.approx(exact, abs=1e-12)


def test_results_are_cached_and_cannot_be_overwritten():
    poles = fermi_poles(50, 60, tol=1e-6)
    assert fermi_poles(50, 60, tol=1e-6) is poles
    with pytest.raises(ValueError, match="read-only"):
        poles.z[0] = 0


def test_the_covered_interval_is_wider_than_asked_for():
    poles = fermi_poles(100, 140)
    assert poles.covers(-105, 147) and not poles.covers(-106, 0) and not poles.covers(0, 148)
    assert fermi_poles(0, 1).covers(-10, 10)
    assert not fermi_poles(0, 1).covers(math.nan, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((100, 140, 18), ArithmeticError, "Ask for fewer"),
        ((5, 5, 12), ArithmeticError, "Ask for fewer"),
        ((1e7, 1e7), ArithmeticError, "raise tol or the temperature"),
        ((100, 140, 0), ValueError, "n, the number of poles, must be a whole number ≥ 1 and ≤ 20"),
        ((100, 140, 21), ValueError, "n, the number of poles, must be a whole number ≥ 1 and ≤ 20"),
        ((100, 140, None, 0.0), ValueError, "tol must lie"),
        ((100, 140, None, 1e-14), ValueError, "tol must lie"),
        ((math.nan, 1), ValueError, "interval"),
        ((math.inf, 1), ValueError, "interval"),
        ((-2, 1), ValueError, "interval"),
    ],
    ids=str,
)
def test_what_cannot_be_fitted_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fermi_poles(*arguments)
