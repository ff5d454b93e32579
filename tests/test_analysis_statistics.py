"""Error bars and p-values mean what they say."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from nearsight import analysis
from nearsight.analysis.statistics import _draws

POINTS = 40


def curves(random: np.random.Generator, replicas: int, *, shift: float = 0.0) -> np.ndarray:
    """Gaussian curves: points correlated over a fifth of the curve, and a decade apart in size."""
    x = np.linspace(0.0, 1.0, POINTS)
    covariance = np.exp(-(((x[:, None] - x) / 0.2) ** 2)) + 1e-6 * np.eye(POINTS)
    scale = 10.0**x
    return (random.standard_normal((replicas, POINTS)) @ np.linalg.cholesky(covariance).T + shift) * scale


def lengths(random: np.random.Generator, replicas: int, exponent: float, scatter: float = 0.1) -> xr.DataArray:
    """Planted growth: every replica carries one factor at all times and a smaller one at each time."""
    time = np.geomspace(1.0, 200.0, 15)
    common, own = random.standard_normal((replicas, 1)), random.standard_normal((replicas, 15))
    values = 1.7 * time**exponent * (1.0 + scatter * common + 0.3 * scatter * own)
    return xr.DataArray(values, dims=("replica", "time"), coords={"time": time})


@pytest.mark.parametrize(("replicas", "paired"), [((8, 8), False), ((30, 12), False), ((10, 10), True)])
def test_p_values_are_uniform_when_the_ensembles_are_equal(replicas, paired):
    random = np.random.default_rng(1)
    p = []
    for _ in range(6000):
        common = curves(random, replicas[0]) if paired else 0.0
        a, b = curves(random, replicas[0]) + common, curves(random, replicas[1]) + common
        p.append(analysis.compare_curves(a, b, paired=paired, equal_covariances=True).p_value)
    # 6000 draws resolve a bias of 2 % in p; a sound method fails one such test in a thousand.
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_chi_square_that_ignores_correlations_would_not_be_uniform():
    """The trap that compare_curves avoids, so that the uniformity above is an achievement of the method."""
    random = np.random.default_rng(2)
    p = []
    for _ in range(300):
        a, b = curves(random, 30), curves(random, 30)
        pulls = (a.mean(0) - b.mean(0)) / np.sqrt(a.var(0, ddof=1) / 30 + b.var(0, ddof=1) / 30)
        p.append(stats.chi2.sf(np.sum(pulls**2), POINTS))
    assert stats.kstest(p, "uniform").pvalue < 1e-6


@pytest.mark.parametrize("replicas", [(24, 8), (8, 24), (12, 12), (6, 6), (30, 4)], ids=str)
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_ensembles_that_scatter_unequally_differ_no_more_often_than_chance(replicas, spread):
    random, p, claimed = np.random.default_rng(31), [], []
    for _ in range(500):
        a, b = curves(random, replicas[0]), spread * curves(random, replicas[1])
        p.append(analysis.compare_curves(a, b).p_value)
        claimed.append(analysis.compare_curves(a, b, equal_covariances=True).p_value)
    # 5 % nominal: the standard deviation of 500 verdicts is 1 %.
    assert 0.015 < np.mean(np.array(p) < 0.05) < 0.08
    if spread > 1 and replicas[0] > replicas[1]:
        assert np.mean(np.array(claimed) < 0.05) > 0.3


def test_a_comparison_says_how_unequally_ensembles_scatter():
    random = np.random.default_rng(32)
    found = analysis.compare_curves(curves(random, 24), 3.0 * curves(random, 24))
    assert found.scatter == pytest.approx(1 / 3, rel=0.2) and "times as much" in str(found)
    assert "times" not in str(analysis.compare_curves(curves(random, 24), curves(random, 24)))


def test_a_real_shift_is_found():
    random = np.random.default_rng(3)
    p = [analysis.compare_curves(curves(random, 20), curves(random, 20, shift=1.5)).p_value for _ in range(50)]
    assert np.median(p) < 1e-3


def test_pairing_finds_a_shift_that_independent_ensembles_hide():
    random = np.random.default_rng(4)
    start = curves(random, 20)
    a, b = start, start + 0.1 * curves(random, 20, shift=1.5)
    assert analysis.compare_curves(a, b, paired=True).p_value < 1e-3
    assert analysis.compare_curves(a, b).p_value > 0.01


def test_statistic_is_hotellings_for_few_points():
    random = np.random.default_rng(5)
    a, b = random.standard_normal((12, 3)), random.standard_normal((9, 3))
    difference = a.mean(0) - b.mean(0)
    pooled = (11 * np.cov(a.T) + 8 * np.cov(b.T)) / 19
    t2 = 12 * 9 / 21 * difference @ np.linalg.solve(pooled, difference)
    result = analysis.compare_curves(a, b, modes=3, equal_covariances=True)
    assert result.statistic == pytest.approx((21 - 3 - 1) / (3 * 19) * t2)
    assert result.dof == (3, 17) and result.explained == pytest.approx(1.0)


def test_one_point_is_students_test():
    random = np.random.default_rng(6)
    a, b = random.standard_normal((7, 1)), random.standard_normal((9, 1))
    equal = analysis.compare_curves(a, b, equal_covariances=True)
    assert equal.p_value == pytest.approx(stats.ttest_ind(a[:, 0], b[:, 0]).pvalue)
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert analysis.compare_curves(a, b).p_value == pytest.approx(welch.pvalue)
    pairs = analysis.compare_curves(a, b[:7], paired=True)
    assert pairs.p_value == pytest.approx(stats.ttest_rel(a[:, 0], b[:7, 0]).pvalue)


def test_units_of_a_point_do_not_matter():
    random = np.random.default_rng(7)
    a, b = curves(random, 10), curves(random, 10)
    units = 10.0 ** random.uniform(-5, 5, POINTS)
    assert analysis.compare_curves(a * units, b * units).p_value == pytest.approx(analysis.compare_curves(a, b).p_value)


def test_identical_ensembles_agree():
    a = curves(np.random.default_rng(8), 10)
    assert analysis.compare_curves(a, a.copy()).p_value == pytest.approx(1.0)
    assert analysis.compare_curves(a, a.copy(), paired=True).p_value == 1.0


def test_a_normalised_point_without_scatter_is_left_out():
    random = np.random.default_rng(9)
    a, b = curves(random, 10), curves(random, 10)
    with_constant = (np.concatenate([np.ones((10, 1)), x], axis=1) for x in (a, b))
    assert analysis.compare_curves(*with_constant).p_value == pytest.approx(analysis.compare_curves(a, b).p_value)


def test_standard_error_of_the_mean():
    values = xr.DataArray(
        np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]), dims=("replica", "time"), attrs={"units": "a"}
    )
    result = analysis.mean_and_error(values)
    assert result["mean"].values.tolist() == [3.0, 2.0]
    assert result["error"].values == pytest.approx([2.0 / np.sqrt(3), 0.0])
    assert result["mean"].attrs["units"] == "a" and result.attrs["replicas"] == 3


def test_a_single_replica_has_a_mean_and_no_error():
    result = analysis.mean_and_error(xr.DataArray([[1.0, 2.0]], dims=("replica", "time")))
    assert result["mean"].values.tolist() == [1.0, 2.0] and np.isnan(result["error"]).all()


def test_equal_weights_give_the_plain_mean_and_error():
    values = xr.DataArray(np.random.default_rng(20).standard_normal((7, 3)), dims=("replica", "time"))
    plain, weighted = analysis.mean_and_error(values), analysis.weighted_mean_and_error(values, 0 * values + 2.5)
    xr.testing.assert_allclose(weighted, plain)


def test_weighted_mean_counts_sites_not_replicas():
    values = xr.DataArray([1.0, 4.0, np.nan], dims="replica")
    result = analysis.weighted_mean_and_error(values, xr.DataArray([2.0, 1.0, 0.0], dims="replica"))
    # n/(n - 1) = 2 for two replicas with sites; (2·1)² + (1·2)² = 8, over 3².
    assert float(result["mean"]) == pytest.approx(2.0) and float(result["error"]) == pytest.approx(4 / 3)


def test_without_weight_nothing_is_known():
    values = xr.DataArray([[np.nan, 1.0], [np.nan, np.nan]], dims=("replica", "distance"))
    result = analysis.weighted_mean_and_error(values, values.notnull().astype(float))
    assert np.isnan(result["mean"][0]) and float(result["mean"][1]) == 1.0 and np.isnan(result["error"]).all()
    with pytest.raises(ValueError, match="known where the weight is positive"):
        analysis.weighted_mean_and_error(values, 0 * values.fillna(0.0) + 1.0)


def test_weighted_errors_cover_the_mean_of_all_sites():
    random = np.random.default_rng(21)
    pulls = []
    for _ in range(400):
        sites = random.integers(5, 100, 20)
        values = 0.3 + random.standard_normal(20) / np.sqrt(sites)
        result = analysis.weighted_mean_and_error(*(xr.DataArray(x, dims="replica") for x in (values, sites)))
        pulls.append((float(result["mean"]) - 0.3) / float(result["error"]))
    assert abs(np.mean(pulls)) < 4 / np.sqrt(400) and 0.9 < np.std(pulls) < 1.2


def test_bootstrap_error_of_a_mean_is_its_standard_error(rng):
    values = np.random.default_rng(10).standard_normal((400, 3))
    estimate = analysis.bootstrap(lambda x: x.mean(0), values, rng=rng, samples=2000)
    assert estimate.value == pytest.approx(values.mean(0))
    assert estimate.error == pytest.approx(values.std(0, ddof=1) / 20, rel=0.08)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(estimate.error, rel=0.1)


@pytest.mark.parametrize("exponent", [0.5, 1 / 3, 0.05])
def test_a_planted_power_law_is_recovered_with_honest_error_bars(exponent, rng):
    random = np.random.default_rng(11)
    fits = [analysis.growth_exponent(lengths(random, 30, exponent), rng=rng, samples=200) for _ in range(120)]
    pulls = np.array([(fit.exponent - exponent) / fit.sigma for fit in fits])
    # 120 unit normals: mean within 4 standard errors, width within a fifth (bootstrap errors are low by about 1/60).
    assert abs(pulls.mean()) < 4 / np.sqrt(120)
    assert 0.8 < pulls.std() < 1.25


@pytest.mark.parametrize("replicas", [3, 4, 8, 24])
def test_intervals_of_growth_cover_the_truth_however_few_the_replicas(replicas, rng):
    random, covered = np.random.default_rng(12), []
    for _ in range(400):
        L = lengths(random, replicas, 0.4)
        fit = analysis.growth_exponent(L, rng=rng, samples=200)
        # Raised to the power ½, the law of Allen and Cahn with t0 = 0.
        law = analysis.allen_cahn(L * L["time"] ** 0.1, rng=rng, samples=200)
        local = analysis.local_exponent(L, rng=rng, samples=200, factor=4.0).isel(time=4)
        covered.append(
            [
                fit.interval[0] < 0.4 < fit.interval[1],
                law.t0_interval[0] < 0.0 < law.t0_interval[1],
                float(local.low) < 0.4 < float(local.high),
            ]
        )
    # 95 % nominal; the standard deviation of 400 verdicts is 1.1 %.
    assert (np.mean(covered, axis=0) > 0.92).all() and (np.mean(covered, axis=0) < 0.985).all(), np.mean(covered, 0)


@pytest.mark.parametrize("students", [False, True])
def test_draws_of_a_mean_scatter_as_means_do(students, rng):
    values = np.random.default_rng(13).normal(10.0, 0.1, (5, 2))
    drawn = _draws.mean_draws(values, rng=rng, samples=20000, students=students)
    z = (drawn[:, 0] - values[:, 0].mean()) / (values[:, 0].std(ddof=1) / np.sqrt(5))
    assert stats.kstest(z, stats.t(4).cdf if students else stats.norm.cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(np.log(drawn.T))[0, 1], np.corrcoef(values.T)[0, 1], atol=0.15)


@pytest.mark.parametrize("replicas", [3, 8, 40])
def test_jackknife_of_a_mean_is_the_standard_error_and_of_a_ratio_holds_in_68_of_100(replicas):
    random = np.random.default_rng(replicas)
    values = random.standard_normal((replicas, 5))
    found = analysis.jackknife(lambda x: x.mean(0), values)
    np.testing.assert_allclose(found.error, values.std(0, ddof=1) / np.sqrt(replicas), rtol=1e-12)
    inside = 0
    for _ in range(1000):
        x = random.normal([2.0, 5.0], 0.2, (replicas, 2))
        ratio = analysis.jackknife(lambda pair: pair[:, 0].mean() / pair[:, 1].mean(), x)
        inside += ratio.low <= 0.4 <= ratio.high
    assert 0.6827 - 4 * 0.0147 < inside / 1000 < 0.6827 + 4 * 0.0147


@pytest.mark.parametrize("bad", [np.zeros(1), np.zeros(()), np.array([1.0, np.nan])])
def test_jackknife_needs_replicas(bad):
    with pytest.raises(ValueError, match="2 finite replicas or more"):
        analysis.jackknife(np.mean, bad)


@pytest.mark.parametrize("replicas", [3, 4, 8, 24])
def test_bootstrap_intervals_are_those_of_few_replicas(replicas, rng):
    random = np.random.default_rng(14)
    covered = []
    for _ in range(400):
        found = analysis.bootstrap(lambda x: x.mean(), random.standard_normal(replicas), rng=rng, samples=200)
        covered.append(found.low < 0 < found.high)
    # 68 % nominal, standard deviation 2.3 %; three replicas have ten resamplings, whose quantiles are coarse.
    assert 0.68 - 0.08 < np.mean(covered) < 0.68 + 0.08


def test_the_window_selects_the_regime(rng):
    time = np.geomspace(1.0, 1000.0, 31)
    law = np.where(time < 30, time**0.5, 30**0.3 * time**0.2)
    values = law * (1 + 0.01 * np.random.default_rng(12).standard_normal((20, 31)))
    data = xr.DataArray(values, dims=("replica", "time"), coords={"time": time})
    early, late = (analysis.growth_exponent(data, rng=rng, window=w) for w in ((1, 29), (31, 1000)))
    assert early.exponent == pytest.approx(0.5, abs=4 * early.sigma)
    assert late.exponent == pytest.approx(0.2, abs=4 * late.sigma)
    assert analysis.growth_exponent(data, rng=rng).chi2_per_dof > 20 * late.chi2_per_dof
    assert late(np.array([100.0])) == pytest.approx([30**0.3 * 100**0.2], rel=0.02)
    assert "χ²/dof" in str(late)


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda a: analysis.compare_curves(a[:, :3], a), "same points"),
        (lambda a: analysis.compare_curves(a[:1], a[:1]), "at least 3"),
        (lambda a: analysis.compare_curves(a, a[:4], paired=True), "equally many"),
        (lambda a: analysis.compare_curves(a, a + np.nan), "leave out the points"),
        (lambda a: analysis.compare_curves(a, a, modes=99), "modes must lie"),
        (lambda a: analysis.compare_curves(a[0], a[0]), r"\(replica, point\)"),
        (lambda a: analysis.mean_and_error(xr.DataArray(a, dims=("x", "y"))), "independent replicas"),
        (lambda a: analysis.bootstrap(np.mean, a[:1], rng=torch.Generator()), "at least 2"),
        (lambda a: analysis.growth_exponent(xr.DataArray(a, dims=("x", "time")), rng=torch.Generator()), "'replica'"),
        (
            lambda a: analysis.growth_exponent(
                lengths(np.random.default_rng(0), 5, 0.5), window=(1, 2), rng=torch.Generator()
            ),
            "at least 3",
        ),
        (
            lambda a: analysis.growth_exponent(lengths(np.random.default_rng(0), 2, 0.5), rng=torch.Generator()),
            "3 replicas",
        ),
        (
            lambda a: analysis.growth_exponent(-lengths(np.random.default_rng(0), 5, 0.5), rng=torch.Generator()),
            "positive",
        ),
    ],
)
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call(curves(np.random.default_rng(0), 6))
