"""Means by control variates: no bias from any surrogate, error bars that keep what they promise."""

import numpy as np
import pytest

from nearsight.analysis import best_numbers, controlled_mean, multilevel_mean


def exact(x):
    return x @ np.arange(1, 5) / 3 + (x**2).sum(-1) + 0.3 * np.sin(3 * x[..., 0])


MEAN = 4.0  # of four independent normal x


def coverage(estimate, repetitions=1000):
    """How often the truth lies within one standard error, and the mean deviation in standard errors of its own."""
    draw = np.random.default_rng(5)
    found = [estimate(draw) for _ in range(repetitions)]
    pulls = np.array([(value - MEAN) / error for value, error in found])
    return (np.abs(pulls) < 1).mean(), pulls.mean() * np.sqrt(repetitions)


@pytest.mark.parametrize("bias", [0.0, 5.0])
def test_a_surrogate_however_bad_leaves_no_bias_and_honest_errors(bias):
    def one(draw):
        y, x = draw.normal(size=(40, 4)), draw.normal(size=(400, 4))
        found = controlled_mean(exact(y), (y**2).sum(-1) + bias, (x**2).sum(-1) + bias)
        return found.value, found.error

    inside, shift = coverage(one)
    assert 0.60 <= inside <= 0.75
    assert abs(shift) < 3


def features(x):
    return np.concatenate([np.ones((len(x), 1)), x, x**2], 1)


def test_cross_fitting_is_honest_where_fitting_and_correcting_with_the_same_values_is_not():
    def models(y, fold, folds):
        return [np.linalg.lstsq(features(y[fold != k]), exact(y[fold != k]), rcond=None)[0] for k in range(folds)]

    def honest(draw):
        y, x = draw.normal(size=(40, 4)), draw.normal(size=(1000, 4))
        fold = np.arange(40) % 5
        fits = models(y, fold, 5)
        own = np.array([features(y[i : i + 1])[0] @ fits[fold[i]] for i in range(40)])
        found = controlled_mean(exact(y), own, np.array([features(x) @ w for w in fits]), fold=fold)
        return found.value, found.error

    def careless(draw):
        y, x = draw.normal(size=(14, 4)), draw.normal(size=(20000, 4))
        (w,) = models(y, np.ones(14, int), 1)
        found = controlled_mean(exact(y), features(y) @ w, features(x) @ w)
        return found.value, found.error

    inside, shift = coverage(honest, 400)
    assert 0.60 <= inside <= 0.75
    assert abs(shift) < 3
    assert coverage(careless, 100)[0] < 0.5


def test_the_variance_falls_as_the_surrogate_explains_it():
    draw = np.random.default_rng(2)
    y, x = draw.normal(size=(500, 4)), draw.normal(size=(100_000, 4))
    good = y @ np.arange(1, 5) / 3 + (y**2).sum(-1)
    found = controlled_mean(exact(y), good, x @ np.arange(1, 5) / 3 + (x**2).sum(-1))
    assert found.reduction > 50
    # The surrogate itself is averaged over 200 times as many.
    assert 1 / found.reduction == pytest.approx(1 - found.explained + 1 / 200, rel=0.2)
    assert found.plain == pytest.approx(exact(y).mean()) and found.plain_error > 7 * found.error


def test_a_known_mean_is_that_of_endlessly_many_values():
    draw = np.random.default_rng(2)
    y = draw.normal(size=(50, 4))
    own = (y**2).sum(-1)
    known, sampled = controlled_mean(exact(y), own, 4.0), controlled_mean(exact(y), own, np.array([3.0, 5.0] * 10**6))
    assert known.value == pytest.approx(sampled.value)
    assert known.error == pytest.approx(sampled.error, rel=1e-3)
    folds = controlled_mean(exact(y), own, np.array([4.0, 5.0]), fold=np.arange(50) // 25)
    assert folds.value == pytest.approx(known.value + 0.5) and folds.error == pytest.approx(known.error)


def test_levels_telescope_to_the_finest():
    def one(draw):
        a, b, c = (draw.normal(size=(n, 4)) for n in (2000, 200, 30))
        rough = (a**2).sum(-1) - 1.0
        middle = (b @ np.arange(1, 5) / 3 + (b**2).sum(-1)) - ((b**2).sum(-1) - 1.0)
        fine = exact(c) - (c @ np.arange(1, 5) / 3 + (c**2).sum(-1))
        return multilevel_mean([rough, middle, fine])

    inside, shift = coverage(one)
    assert 0.60 <= inside <= 0.75
    assert abs(shift) < 3


def test_the_best_split_is_cheaper_than_its_neighbours():
    variances, costs = np.array([2.0, 0.1, 0.02]), np.array([0.01, 1.0, 40.0])
    n = best_numbers(variances, costs, error=0.05)
    assert (variances / n).sum() <= 0.05**2
    for a in range(3):
        for b in range(3):
            other = n.astype(float)
            other[a] *= 1.1
            # as much money, taken from another level
            other[b] -= 0.1 * n[a] * costs[a] / costs[b]
            if a != b and other[b] > 0:
                assert (variances / other).sum() > (variances / n).sum() * (1 - 2e-2)
    spent = best_numbers(variances, costs, budget=1000.0)
    assert 900 < spent @ costs <= 1000
    np.testing.assert_allclose(spent / spent.sum(), n / n.sum(), rtol=0.1)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: controlled_mean(np.ones(3), np.ones(4), np.ones(5)), "3 exact values need as many"),
        (lambda: controlled_mean(np.ones(3), np.ones(3), np.ones(1)), "two or more finite numbers"),
        (lambda: controlled_mean(np.ones(3), np.ones(3), np.float64(1), fold=np.zeros(3, int)), "many is"),
        (lambda: controlled_mean(np.ones(3), np.ones(3), np.ones((2, 5)), fold=np.zeros(3, int)), "all of the 2 rows"),
        (lambda: multilevel_mean([]), "no values"),
        (lambda: best_numbers([1, 1], [1], error=1), "a variance and a cost"),
        (lambda: best_numbers([1], [1]), "either the budget or the error"),
        (lambda: best_numbers([1, 1], [1, 1], budget=3), "does not pay"),
    ],
)
def test_bad_input_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
