"""Rejection-free kinetic Monte Carlo against the enumeration of a ring of four Ising spins."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from nearsight.dynamics import Every, KineticMonteCarlo, SpinFlips, simulate
from nearsight.forcefields import ClassicalForceField, ForceField, Forces
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, square

KT = 2.5


def ring() -> ClassicalForceField:
    """E = -0.8 Σ σ_i σ_{i+1} on four sites."""
    return ClassicalForceField(Holstein(chain(4), k=0.0, kappa=-0.8))


def states():
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)[..., None]


def numbers(field) -> np.ndarray:
    """Index of the state in ``states()``."""
    bits = (np.asarray(field)[..., 0] > 0).astype(int)
    return bits @ np.array([8, 4, 2, 1])


def boltzmann() -> np.ndarray:
    return torch.softmax(-ring()(states()).energy / KT, 0).numpy()


@pytest.fixture(scope="module", params=SpinFlips.RULES)
def run(request):
    """3000 independent replicas from one state, followed for 130 events each, 22 units of time and more.

    The slowest correlation of either rule decays as exp(-0.43 t), so at t = 18 the start is forgotten to 4e-4.
    """
    rng = torch.Generator().manual_seed(11)
    scheme = KineticMonteCarlo(SpinFlips(ring(), kT=KT, rule=request.param))
    start = torch.ones(3000, 4, 1, dtype=torch.float64)
    return simulate(ring(), scheme, start, steps=130, record=Every(1, fields=("field",)), rng=rng).data


def test_the_state_at_a_late_time_is_distributed_as_boltzmann_says(run):
    # At a fixed time, not after a fixed number of events: then the replicas are independent draws from equilibrium.
    time, moment = run.time.values, 20.0
    assert time[-1].min() > moment
    last = (time <= moment).sum(axis=0) - 1
    field = run.field.values[last, np.arange(3000)]
    counts = np.bincount(numbers(field), minlength=16)
    assert scipy.stats.chisquare(counts, 3000 * boltzmann()).pvalue > 1e-3


def test_the_occupation_weighted_with_time_is_that_of_boltzmann(run):
    time, state = run.time.values, numbers(run.field.values)
    begin, end = 18.0, 22.0
    lived = np.clip(time[1:], begin, end) - np.clip(time[:-1], begin, end)
    shares = np.stack([(lived * (state[:-1] == s)).sum(axis=0) for s in range(16)]) / (end - begin)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-12)
    sigma = shares.std(axis=1, ddof=1) / math.sqrt(shares.shape[1])
    pulls = (shares.mean(axis=1) - boltzmann()) / sigma
    assert np.abs(pulls).max() < 4
    # Without the weights the events overcount the states that are soon left.
    events = np.bincount(state[60:].ravel(), minlength=16) / state[60:].size
    assert np.abs(events - boltzmann()).max() > 8 * sigma.max()


def test_waiting_times_are_exponential_and_moves_follow_their_rates(rng):
    rates = SpinFlips(ring(), kT=KT)
    field = torch.tensor([1.0, 1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    w = rates.rates(field).numpy()
    scheme = KineticMonteCarlo(rates)
    start = scheme.start(field.expand(20_000, 4, 1), ring(), rng)
    new = scheme.step(start, ring(), rng)
    assert scipy.stats.kstest(new.time.numpy(), "expon", args=(0, 1 / w.sum())).pvalue > 1e-3
    moved = (new.field != start.field)[..., 0]
    assert bool((moved.sum(-1) == 1).all())
    assert scipy.stats.chisquare(moved.sum(0).numpy(), 20_000 * w / w.sum()).pvalue > 1e-3


def test_energy_differences_are_those_of_the_flipped_fields(rng):
    forcefield = ClassicalForceField(Holstein(square(3), k=0.3, kappa=-0.7))
    model = SpinFlips(forcefield, kT=1.0)
    field = torch.randn(2, 9, 1, generator=rng, dtype=torch.float64).sign()
    # ΔE = -2 κ σ_i Σ_j σ_j, neighbours counted once for each bond.
    bonds = forcefield.lattice.bonds(1)
    s, local = field[..., 0], torch.zeros(2, 9, dtype=torch.float64)
    for i, j in zip(bonds.i, bonds.j, strict=True):
        local[:, i] += s[:, j]
        local[:, j] += s[:, i]
    torch.testing.assert_close(model.energy_differences(field), 2 * 0.7 * s * local, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("rule", "uphill", "level", "downhill"), [("metropolis", 0, 1, 1), ("glauber", 0, 0.5, 1)])
def test_zero_temperature_is_the_limit_of_low_temperature(rule, uphill, level, downhill):
    cold, cool = (SpinFlips(ring(), kT=kT, rule=rule, attempt_rate=2.0) for kT in (0.0, 1e-3))
    torch.testing.assert_close(cold.rates(states()), cool.rates(states()), atol=1e-12, rtol=0)
    one_up = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)[:, None]
    expected = 2.0 * torch.tensor([downhill, level, uphill, level], dtype=torch.float64)
    assert torch.equal(cold.rates(one_up), expected)


def test_a_frozen_replica_stays_and_does_not_hold_up_the_others(rng):
    scheme = KineticMonteCarlo(SpinFlips(ring(), kT=0.0))
    ground, other = torch.ones(4, 1), torch.tensor([1.0, -1.0, -1.0, -1.0])[:, None]
    state = scheme.step(scheme.start(torch.stack([ground, other]), ring(), rng), ring(), rng)
    assert torch.equal(state.field[0], ground) and float(state.time[0]) == math.inf
    assert not torch.equal(state.field[1], other) and math.isfinite(float(state.time[1]))
    assert float(scheme.step(state, ring(), rng).time[0]) == math.inf


def test_what_cannot_flip_is_refused(rng):
    class Driven(ForceField):
        def __init__(self):
            super().__init__()
            self.lattice, self.components = chain(4), 1

        def evaluate(self, field):
            return Forces(field, None)

        def on(self, lattice):
            return self

    with pytest.raises(ValueError, match="has none"):
        SpinFlips(Driven(), kT=1.0).rates(torch.ones(4, 1))
    with pytest.raises(ValueError, match="heat bath of a two-valued variable"):
        SpinFlips(ring(), kT=1.0, rule="heat-bath")
    with pytest.raises(ValueError, match="kT must be"):
        SpinFlips(ring(), kT=-1.0)
    with pytest.raises(ValueError, match="4 of 4 values"):
        KineticMonteCarlo(SpinFlips(ring(), kT=1.0)).start(torch.zeros(4, 1), ring(), rng)
