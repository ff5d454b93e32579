"""Examinations are calibrated: p-values of true symmetries are uniform for correlated chains, violations are found."""

import numpy as np
import pytest

from nearsight.hamiltonians import EdwardsAnderson, Ising, Potts
from nearsight.inference import Observations, examine, observe
from nearsight.lattices import chain, square

SYMMETRIES = ("translations", "point group D4", "spin inversion")


def pvalues(model, kT, runs, **protocol):
    """p-values ``(run, symmetry)`` of data drawn again and again."""
    found = [examine(observe(model, kT, seed=seed, **protocol), seed=seed, draws=99).symmetries for seed in range(runs)]
    return np.array([[test.pvalue for test in tests] for tests in found])


# Three chains of about 150 autocorrelation times; ten of a few, each then one stretch.
@pytest.mark.parametrize(
    ("kT", "runs", "protocol"),
    [
        (3.0, 40, dict(count=3 * 6000, chains=3, period=4)),
        pytest.param(3.0, 200, dict(count=3 * 6000, chains=3, period=4), marks=pytest.mark.slow),
        pytest.param(2.4, 200, dict(count=10 * 250, chains=10, period=8), marks=pytest.mark.slow),
    ],
)
def test_pvalues_of_true_symmetries_are_uniform(kT, runs, protocol):
    p = pvalues(Ising(square(4)), kT, runs, **protocol)
    for level in (0.05, 0.2, 0.5, 0.8):
        wrong = np.abs((p <= level).mean(0) - level) / np.sqrt(level * (1 - level) / len(p))
        assert wrong.max() < 4.0, (level, (p <= level).mean(0))


def anisotropic(lattice, along, across):
    bonds = lattice.bonds(1)
    return EdwardsAnderson(lattice, np.where(np.abs(bonds.displacement[:, 0]) > 0.5, along, across))


@pytest.mark.parametrize(
    ("model", "broken"),
    [
        (EdwardsAnderson(square(4), seed=1), "translations"),
        (anisotropic(square(4), 0.9, 1.1), "point group D4"),
        (Ising(square(4), h=0.02), "spin inversion"),
    ],
    ids=("disorder", "anisotropy", "field"),
)
def test_a_violated_symmetry_is_found_and_others_stand(model, broken):
    seen = observe(model, 3.0, 400000, chains=16, period=8, seed=1)
    found = {test.name: test.pvalue for test in examine(seen).symmetries}
    assert found[broken] <= 0.002
    others = set(SYMMETRIES) - {broken} - ({"point group D4"} if broken == "translations" else set())
    assert all(found[name] > 0.01 for name in others)


def test_the_effective_number_is_that_of_the_chains():
    # s = ±1 of every site is kept with probability r: tau = (1 + r) / (1 - r) / 2, for every average.
    rng, r, length = np.random.default_rng(2), 0.9, 20000
    states = np.empty((4, length, 9), int)
    states[:, 0] = rng.integers(0, 2, (4, 9))
    for t in range(1, length):
        states[:, t] = np.where(rng.random((4, 1)) < r, states[:, t - 1], rng.integers(0, 2, (4, 9)))
    found = examine(Observations(square(3), states))
    number, error = found.effective
    assert abs(number - 4 * length * (1 - r) / (1 + r)) < 4 * error and error < 0.15 * number
    assert found.reliable and found.correlation["bonds"] == pytest.approx(r, abs=0.01)
    assert found.chains_agree > 1e-3


def test_independent_snapshots_are_counted_as_such():
    states = np.random.default_rng(3).integers(0, 3, (500, 9))
    found = examine(Observations(square(3), states, n_states=3, chain=np.arange(500)))
    assert found.effective == (500.0, 0.0)
    assert [t.name for t in found.symmetries][2:] == ["reversal of the states", "permutations of the states"]
    assert all(test.pvalue > 1e-3 for test in found.symmetries)


def test_a_preferred_state_of_a_potts_model_is_found():
    model = Potts(square(4), q=3)
    states = observe(model, 2.0, 100000, chains=16, period=8, seed=4).states().numpy().copy()
    assert all(t.pvalue > 0.002 for t in examine(Observations(square(4), states, n_states=3)).symmetries)
    states[::7, 3] = 1
    found = examine(Observations(square(4), states, n_states=3, chain=np.repeat(np.arange(16), 6250)))
    assert all(t.pvalue <= 0.002 for t in found.symmetries if t.name != "point group D4" and "reversal" not in t.name)


def test_frozen_sites_and_missing_states_are_named():
    states = np.random.default_rng(5).integers(0, 2, (4000, 8))
    states[:, 5] = 1
    found = examine(Observations(chain(8), states, n_states=3))
    assert found.constant_sites.tolist() == [5] and found.unseen_states.tolist() == [2]
    assert "sites that never change: 5" in str(found) and "states that never occur: 2" in str(found)
    assert examine(Observations(chain(8), states)).constant_sites.tolist() == [5]


def test_chains_that_are_too_short_are_not_tested():
    seen = observe(Ising(square(8)), 2.27, 3000, chains=3, period=2, seed=1)
    found = examine(seen)
    assert not found.reliable and "upper bound" in str(found)
    assert all(test.pvalue is None and "stretches" in test.reason for test in found.symmetries)
