"""Finite-size scaling against curves whose exponents are planted."""

import numpy as np
import pytest
import torch

from nearsight.analysis import (
    collapse_quality,
    fit_collapse,
    mean_of_both_sides,
    resampled_means,
    size_law,
    threshold_width,
    threshold_window,
)

SIZES = np.array([4.0, 8.0, 16.0, 32.0])
X = np.concatenate([-np.geomspace(1.0, 0.004, 30), np.geomspace(0.004, 1.2, 30)])


def planted(theta, inverse_nu, noise, rng, samples=12):
    """y L^θ = F(x L^{1/ν}) with another F on either side, and a jump at 0."""
    z = X * SIZES[:, None] ** inverse_nu
    y = np.where(X < 0, 0.5 * np.exp(-np.abs(z) / 1.3), 0.35 * np.exp(-np.abs(z))) * SIZES[:, None] ** -theta
    error = noise * (y + 0.01)
    draws = y + error * rng.standard_normal((samples + 1, *y.shape))
    # A resampling scatters about the data as the data do about the truth.
    return draws[0], error, draws[0] + draws[1:] - y


@pytest.mark.parametrize(("theta", "inverse_nu"), [(0.12, 1.0), (0.4, 1.4)])
def test_planted_exponents_are_found_within_their_errors(theta, inverse_nu):
    y, error, samples = planted(theta, inverse_nu, 0.03, np.random.default_rng(5))
    found = fit_collapse(SIZES, X, y, error, samples=samples)
    assert abs(found.theta - theta) < 3 * found.theta_error + 2e-3
    assert abs(found.inverse_nu - inverse_nu) < 3 * found.inverse_nu_error + 5e-3
    assert found.theta_error < 0.02
    assert found.inverse_nu_error < 0.05
    assert found.quality == pytest.approx(1.0, abs=0.35)
    assert found.theta_interval[0] < found.theta < found.theta_interval[1] or found.theta_error < 1e-3
    assert found.nu == pytest.approx(1 / found.inverse_nu)


def test_the_quality_tells_a_collapse_from_none():
    y, error, _ = planted(0.12, 1.0, 0.03, np.random.default_rng(6))
    right = collapse_quality(SIZES, X, y, error, 0.12, 1.0)
    assert right < 1.4
    for theta, inverse_nu in ((0.0, 1.0), (0.3, 1.0), (0.12, 0.7), (0.12, 1.3)):
        assert collapse_quality(SIZES, X, y, error, theta, inverse_nu) > 3 * right


def test_the_quality_does_not_depend_on_the_order_of_sizes_or_points_and_skips_what_is_missing():
    y, error, _ = planted(0.12, 1.0, 0.03, np.random.default_rng(7))
    expected = collapse_quality(SIZES, X, y, error, 0.1, 1.1)
    order = np.random.default_rng(0).permutation(len(X))
    assert collapse_quality(SIZES[::-1], X[order], y[::-1, order], error[::-1, order], 0.1, 1.1) == pytest.approx(
        expected
    )
    y[0, 3] = np.nan
    assert np.isfinite(collapse_quality(SIZES, X, y, error, 0.1, 1.1))


def test_a_collapse_needs_sizes_and_errors():
    y, error, samples = planted(0.12, 1.0, 0.03, np.random.default_rng(8), samples=3)
    with pytest.raises(ValueError, match="three or more sizes"):
        fit_collapse(SIZES[:2], X, y[:2], error[:2], samples=samples[:, :2])
    with pytest.raises(ValueError, match="error > 0"):
        fit_collapse(SIZES, X, y, 0 * error, samples=samples)


def test_the_window_is_where_the_accuracy_crosses():
    accuracy = np.where(X < 0, 1 - 0.5 * np.exp(X / 0.1), 1 - 0.4 * np.exp(-X / 0.2))
    low, high = threshold_window(X, accuracy, 0.85)
    assert low == pytest.approx(-0.1 * np.log(0.5 / 0.15), rel=0.02)
    assert high == pytest.approx(0.2 * np.log(0.4 / 0.15), rel=0.02)


def test_noise_makes_no_second_crossing_and_edges_may_be_absent():
    x = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    assert threshold_window(x, np.array([0.9, 0.6, 0.95, 0.95, 0.9, 0.99]), 0.8)[0] == pytest.approx(-2.2, abs=0.3)
    low, high = threshold_window(x, np.array([0.6, 0.5, 0.4, 0.95, 0.97, 0.99]), 0.8)
    assert np.isnan(low)
    assert high == 0.0
    with pytest.raises(ValueError, match="either side"):
        threshold_window(x[2:], np.ones(4), 0.8)
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold_window(x, np.ones(6), 85)


def test_a_planted_power_law_is_found_and_its_error_covers():
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(100):
        truth = 2.4 / SIZES
        data = truth * np.exp(0.05 * rng.standard_normal(4))
        law = size_law(SIZES, data, data * np.exp(0.05 * rng.standard_normal((200, 4))))
        missed += not law.interval[0] < -1 < law.interval[1]
    assert 18 <= missed <= 48  # 32 are expected
    assert law.confidence[0] < law.interval[0] < law.exponent < law.interval[1] < law.confidence[1]
    np.testing.assert_allclose(law(SIZES), truth, rtol=0.2)


def test_windows_that_did_not_open_make_no_power_law():
    good = np.full((20, 2), 0.3)
    with pytest.raises(ValueError, match="no power law"):
        size_law(np.array([4, 8]), np.array([0.3, 0.0]), good)
    with pytest.raises(ValueError, match="no power law"):
        size_law(np.array([4, 8]), np.array([0.3, 0.2]), np.where(np.arange(20)[:, None] < 12, np.nan, good))
    with pytest.raises(ValueError, match="different sizes"):
        size_law(np.array([4, 4]), np.array([0.3, 0.2]), good)


def test_widths_of_many_curves_are_those_of_each():
    y, _, _ = planted(0.12, 1.0, 0.03, np.random.default_rng(8))
    curves = np.stack([1 - y, 0 * y + 0.5])
    widths = threshold_width(X, curves, 0.85)
    assert widths.shape == (2, len(SIZES)) and np.isnan(widths[1]).all()
    edges = np.array([threshold_window(X, curve, 0.85) for curve in 1 - y])
    np.testing.assert_allclose(widths[0], edges[:, 1] - edges[:, 0])


def test_the_mean_of_both_sides_knows_no_odd_part_and_only_pairs():
    x = np.array([-0.4, -0.2, -0.1, 0.1, 0.2000001, 0.3, 0.4])
    even, odd = np.stack([x**2, np.cos(x)]), np.sign(x)
    distance, mean = mean_of_both_sides(x, even + odd, reach=0.3)
    np.testing.assert_allclose(distance, [0.1, 0.2], atol=1e-6)
    np.testing.assert_allclose(mean, [distance**2, np.cos(distance)], atol=1e-6)
    with pytest.raises(ValueError, match="point"):
        mean_of_both_sides(x, even[:, :3], reach=0.3)


def test_resampled_trials_are_the_same_on_leading_axes():
    values = np.random.default_rng(9).standard_normal((5, 40))
    drawn = resampled_means(np.stack([values, 2 * values]), rng=torch.Generator().manual_seed(1), samples=50)
    assert drawn.shape == (50, 2, 5) and drawn.std(0).min() > 0
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0])
    with pytest.raises(ValueError, match="trial"):
        resampled_means(np.ones(3), rng=torch.Generator(), samples=50)
