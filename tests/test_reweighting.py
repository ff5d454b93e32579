"""Temperatures joined, against exact sums over states, and their intervals, counted."""

import numpy as np
import pytest
import torch
from scipy import stats

from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.sampling import MultiHistogram, critical_temperature, ising_levels, ising_torus, sample

LEVELS = ising_levels(6, 6)
ENERGIES = np.asarray(LEVELS.energies, dtype=float)


def draws(rng, temperatures, count):
    """Independent energies of the 6 × 6 torus at each temperature, from its exact density of states."""
    energy = [rng.choice(ENERGIES, count, p=LEVELS.probabilities(t)) for t in temperatures]
    return np.concatenate(energy), np.repeat(temperatures, count)


def cold():
    return MultiHistogram(*draws(np.random.default_rng(6), [0.8, 1.0], 200))


def test_the_cumulant_is_that_of_all_states():
    states = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    energy = Ising(square(4)).energy(torch.from_numpy(states.astype(np.int8))).numpy()
    m = (2 * states - 1).mean(1)
    at, sampled = np.array([2.0, 2.6, 3.5]), np.array([2.2, 3.0])

    def probabilities(t):
        weight = np.exp(-(energy - energy.min()) / t)
        return weight / weight.sum()

    rng = np.random.default_rng(1)
    picked = [rng.choice(2**16, 20000, p=probabilities(t)) for t in sampled]
    index = np.concatenate(picked)
    joined = MultiHistogram(energy[index], np.repeat(sampled, 20000), magnetisation=m[index, None])
    found = joined.binder(at)
    m2, m4 = (np.array([(probabilities(t) * m**p).sum() for t in at]) for p in (2, 4))
    exact = 1 - m4 / (3 * m2**2)
    assert (abs(found.value - exact) < 4 * found.error).all() and (found.error < 0.01).all()


def test_one_temperature_is_the_plain_average():
    energy, kT = draws(np.random.default_rng(0), [2.4], 400)
    joined = MultiHistogram(energy, kT)
    found = joined.average(energy**2, [2.4])
    assert found.value[0] == pytest.approx((energy**2).mean(), rel=1e-12)
    assert found.effective[0] == pytest.approx(400)
    # The jackknife over groups of independent snapshots is the error of the mean of the groups.
    groups = (energy**2).reshape(20, 20).mean(1)
    assert found.error[0] == pytest.approx(groups.std(ddof=1) / np.sqrt(20), rel=1e-9)


def test_free_energies_are_those_of_the_exact_partition_function():
    temperatures = np.array([2.0, 2.3, 2.7, 3.3])
    energy, kT = draws(np.random.default_rng(2), temperatures, 20000)
    joined = MultiHistogram(energy, kT)
    f = joined._f[0] + joined._levels.mean() / temperatures  # energies are counted from their mean inside
    f -= f[0]
    exact = -LEVELS.thermodynamics(temperatures).log_partition * 36
    scatter = joined._f[1:] + joined._levels.mean() / temperatures
    scatter = (scatter - scatter[:, :1]).std(0) * np.sqrt(19)
    assert (abs(f - (exact - exact[0]))[1:] < 4 * scatter[1:]).all() and (scatter[1:] < 0.1).all()


@pytest.mark.parametrize("count", [60, 400])
def test_intervals_hold_in_95_of_100_draws(count):
    rng = np.random.default_rng(3)
    at = np.array([2.15, 2.5, 2.9])
    exact = LEVELS.thermodynamics(at)
    inside = {"U": np.zeros(3), "C": np.zeros(3)}
    repeats = 100
    for _ in range(repeats):
        joined = MultiHistogram(*draws(rng, [2.0, 2.3, 2.7, 3.2], count))
        for name, found, true in (
            ("U", joined.energy_per_site(at, sites=36), exact.energy),
            ("C", joined.specific_heat(at, sites=36), exact.specific_heat),
        ):
            inside[name] += (found.low <= true) & (true <= found.high)
    # Of one temperature alone: the three share their snapshots. C of few snapshots is biased by what is skewed.
    low, high = stats.binom.interval(0.999, repeats, 0.95)
    assert ((inside["U"] >= low) & (inside["U"] <= high)).all(), inside
    assert (inside["C"] >= stats.binom.ppf(1e-3, repeats, 0.93 if count < 100 else 0.95)).all(), inside


def test_sampled_chains_meet_the_exact_torus_and_cross_at_the_transition():
    joined = {}
    for length in (8, 16):
        drawn = sample(Ising(square(length)), [2.1, 2.27, 2.45], 3000, seed=length, workers=1, progress=False)
        joined[length] = MultiHistogram.of(drawn)
        at = np.array([2.18, 2.35])
        exact = ising_torus(length, length, kT=at)
        for found, true in (
            (joined[length].energy_per_site(at, sites=length**2), exact.energy),
            (joined[length].specific_heat(at, sites=length**2), exact.specific_heat),
        ):
            assert (abs(found.value - true) < 4.5 * found.error).all()
    crossing = joined[8].crossing(joined[16], (2.2, 2.35))
    tc = critical_temperature(square(8))
    assert crossing.low[0] - 0.01 < tc < crossing.high[0] + 0.01  # small lattices cross within half a per cent of it
    assert crossing.error[0] < 0.02
    swapped = joined[16].crossing(joined[8], (2.2, 2.35))
    np.testing.assert_allclose(swapped.value, crossing.value, rtol=1e-6)
    np.testing.assert_allclose(swapped.error, crossing.error, rtol=1e-6)


def test_energies_far_from_zero_lose_no_digits():
    energy, kT = draws(np.random.default_rng(5), [2.2, 2.6], 200)
    plain, shifted = (MultiHistogram(energy + shift, kT).specific_heat([2.4], sites=36) for shift in (0.0, 1e6))
    np.testing.assert_allclose(shifted.value, plain.value, rtol=1e-8)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda e, t: cold().average(np.ones(400), [2.5]), "too far from the temperatures sampled, 0.8, 1"),
        (lambda e, t: MultiHistogram(e, t).binder([2.3]), "needs magnetisation"),
        (lambda e, t: MultiHistogram(e[:30], t[:30], groups=40), "30 snapshots for 40 groups"),
        (lambda e, t: MultiHistogram(e, t, groups=2), "groups"),
        (lambda e, t: MultiHistogram(e, t[:5]), "one temperature for every snapshot"),
        (lambda e, t: MultiHistogram(e * np.nan, t), "finite number"),
        (lambda e, t: MultiHistogram(e, -t), "kT must be > 0"),
        (lambda e, t: MultiHistogram(e, t).average(e[:7], [2.3]), "Observables"),
        (lambda e, t: MultiHistogram(e, t, magnetisation=e[:4]), "magnetisation"),
        (
            lambda e, t: MultiHistogram(e, t, magnetisation=e[:, None]).crossing(
                MultiHistogram(e, t, magnetisation=e[:, None]), (2.3, 2.5)
            ),
            "do not cross",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(build, words):
    energy, kT = draws(np.random.default_rng(4), [2.2, 2.6], 200)
    with pytest.raises(ValueError, match=words):
        build(energy, kT)
