"""Calibration of posteriors: right samplers pass as often as promised, wrong ones are found."""

import numpy as np
import pytest
import torch
from scipy import stats

from nearsight.analysis import calibration, expected_coverage, truth_ranks

NOISE = np.array([0.5, 2.0])
GAIN = 1 / (1 + NOISE**2)
WIDTH = NOISE * np.sqrt(GAIN)


def posterior(draw, trials, samples, *, width=1.0, shift=0.0):
    """Truth, data and samples of normal posteriors: prior N(0, 1), noise of two sizes."""
    truth = draw.normal(size=(trials, 2))
    data = truth + NOISE * draw.normal(size=truth.shape)
    drawn = draw.normal(size=(trials, samples, 2))
    return truth, data, (GAIN * data)[:, None] + WIDTH * (shift + width * drawn)


def in_promised_number(found: int, of: int, rate: float) -> bool:
    return stats.binomtest(found, of, rate).pvalue > 1e-3


@pytest.mark.parametrize(("samples", "grid"), [(1, None), (2, 0.5), (19, 0.5)])
def test_right_posteriors_are_rejected_as_often_as_promised(samples, grid):
    """However few the samples, and with ties: the truth and its samples rounded to a grid follow the same law."""
    draw, rng = np.random.default_rng(1), torch.Generator().manual_seed(2)
    p, joint, coverage = [], [], []
    for _ in range(240):
        truth, _, drawn = posterior(draw, 20, samples)
        if grid:
            truth, drawn = np.round(truth / grid), np.round(drawn / grid)
        found = calibration(truth, drawn, rng=rng)
        p.append([*found.p_value.values, *found.p_scatter.values])
        joint.append(float(found.combined))
        coverage.append(float(expected_coverage(truth, drawn, rng=rng).p_value))
    for values in (*np.transpose(p), coverage):
        for rate in (0.05, 0.3):
            assert in_promised_number(int((np.array(values) < rate).sum()), 240, rate)
    assert stats.binomtest(int((np.array(joint) < 0.05).sum()), 240, 0.05, "greater").pvalue > 1e-3


@pytest.mark.parametrize(
    "wrong", [{"width": 0.7}, {"width": 1.4}, {"shift": 0.35}], ids=["overconfident", "underconfident", "biased"]
)
def test_wrong_posteriors_are_found(wrong):
    draw, rng = np.random.default_rng(3), torch.Generator().manual_seed(4)
    marginal, joint = [], []
    for _ in range(20):
        truth, _, drawn = posterior(draw, 200, 60, **wrong)
        marginal.append(float(calibration(truth, drawn, rng=rng).combined))
        joint.append(float(expected_coverage(truth, drawn, rng=rng).p_value))
    assert np.mean(np.array(marginal) < 0.01) > 0.9
    if "width" in wrong:  # balls about random points hardly see a shift
        assert np.mean(np.array(joint) < 0.05) > 0.7


def test_the_scatter_is_by_how_much_posteriors_are_too_narrow():
    truth, _, drawn = posterior(np.random.default_rng(5), 2000, 200, width=0.6)
    found = calibration(truth, drawn, rng=torch.Generator().manual_seed(1))
    expected = 1 / 0.6  # normal scores of few samples are smaller than that in the wings
    assert float(abs(found.scatter / expected - 1).max()) < 0.12
    coverage = expected_coverage(truth, drawn, rng=torch.Generator().manual_seed(1))
    excess = coverage.coverage - coverage.credibility
    assert float(excess.sel(credibility=0.9, method="nearest")) < -0.1


def test_the_band_holds_whole_curves_as_often_as_it_says():
    draw, rng, inside = np.random.default_rng(6), torch.Generator().manual_seed(7), 0
    for _ in range(300):
        truth, _, drawn = posterior(draw, 50, 30)
        found = expected_coverage(truth, drawn, rng=rng, levels=400)
        inside += bool((abs(found.coverage - found.credibility) <= found.attrs["band"]).all())
        assert found.coverage[0] == 0 and found.coverage[-1] == 1
    assert in_promised_number(inside, 300, 0.95) or inside > 285  # on a grid of levels the band is a little safer


def test_the_prior_is_a_calibrated_posterior_until_references_know_the_data():
    draw, rng = np.random.default_rng(8), torch.Generator().manual_seed(9)
    truth, data, _ = posterior(draw, 400, 1)
    prior = draw.normal(size=(400, 100, 2))
    assert float(calibration(truth, prior, rng=rng).combined) > 0.01
    assert float(expected_coverage(truth, prior, rng=rng).p_value) > 0.01
    assert float(expected_coverage(truth, prior, rng=rng, references=data).p_value) < 1e-6


def test_weights_turn_a_proposal_into_the_posterior():
    draw, rng = np.random.default_rng(10), torch.Generator().manual_seed(11)
    truth, data, proposed = posterior(draw, 300, 2000, width=1.5, shift=0.3)
    z = (proposed - (GAIN * data)[:, None]) / WIDTH
    weights = np.exp((-(z**2) / 2 + ((z - 0.3) / 1.5) ** 2 / 2).sum(-1))
    assert float(calibration(truth, proposed, rng=rng).combined) < 1e-3
    assert float(calibration(truth, proposed, rng=rng, weights=weights).combined) > 0.01
    assert float(expected_coverage(truth, proposed, rng=rng, weights=weights).p_value) > 0.01


def test_ranks_are_what_counting_gives():
    rng = torch.Generator().manual_seed(1)
    chance = float(torch.rand(1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)[0])
    assert truth_ranks([[0.0]], [[[-1.0], [0.0], [0.0], [2.0]]], rng=rng)[0, 0] == (1 + 3 * chance) / 5
    of_several = truth_ranks([[5.0], [-5.0]], [np.zeros((3, 1)), np.zeros((7, 1))], rng=rng)
    assert 0.75 < of_several[0, 0] < 1 and 0 < of_several[1, 0] < 0.125
    weighted = truth_ranks([[0.0]], [[[-1.0], [3.0]]], rng=rng, weights=[[3.0, 1.0]])
    assert weighted[0, 0] == 0.75


def test_names_are_kept():
    truth, _, drawn = posterior(np.random.default_rng(1), 5, 5)
    found = calibration(truth, drawn, rng=torch.Generator(), names=["mass", "spin"])
    assert list(found.parameter.values) == ["mass", "spin"]
