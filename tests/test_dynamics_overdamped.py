"""Dynamics without inertia against the exact Ornstein-Uhlenbeck process, and the deterministic relaxation."""

import math

import numpy as np
import pytest
import torch

from nearsight.dynamics import TDGL, Brownian, EulerMaruyama
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import Dense

REPLICAS = 5_000  # of 16 independent oscillators: 80 000 samples


def oscillators(k: float = 1.0) -> ClassicalForceField:
    return ClassicalForceField(Holstein(square(4), k=k, kappa=0.0))


def walk(scheme, forcefield, state, steps, rng):
    for _ in range(steps):
        state = scheme.step(state, forcefield, rng)
    return state


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def assert_variance(samples, expected: float, sigmas: float = 4.0) -> None:
    """The variance of n normal numbers of mean zero scatters by √(2/n) of itself."""
    assert abs(float((samples**2).mean()) / expected - 1) < sigmas * math.sqrt(2 / samples.numel())


@pytest.mark.parametrize("dt", [0.1, 0.6, 1.2])
def test_brownian_motion_samples_an_oscillator_exactly_at_any_stable_step(dt, rng):
    kT, k, damping = 0.7, 1.3, 1.5
    scheme, forcefield = Brownian(dt, kT, damping), oscillators(k)
    state = scheme.start(torch.zeros(REPLICAS, 16, 1, dtype=torch.float64), forcefield, rng)
    assert_variance(walk(scheme, forcefield, state, max(20, int(12 / dt)), rng).field, kT / k)


@pytest.mark.parametrize("dt", [0.6, 1.2])
def test_euler_maruyama_is_too_hot_by_the_known_factor(dt, rng):
    kT, k, damping = 0.7, 1.3, 1.5
    scheme, forcefield = EulerMaruyama(dt, kT, damping), oscillators(k)
    state = scheme.start(torch.zeros(REPLICAS, 16, 1, dtype=torch.float64), forcefield, rng)
    field = walk(scheme, forcefield, state, max(20, int(12 / dt)), rng).field
    assert_variance(field, kT / k / (1 - k * dt / (2 * damping)))
    with pytest.raises(AssertionError):
        assert_variance(field, kT / k)


@pytest.mark.parametrize("make", [Brownian, EulerMaruyama])
def test_correlations_decay_at_the_rate_of_the_process(make, rng):
    kT, k, damping, dt = 0.5, 1.0, 2.0, 0.02
    scheme, forcefield = make(dt, kT, damping), oscillators(k)
    state = scheme.start(math.sqrt(kT / k) * torch.randn(REPLICAS, 16, 1, generator=rng).double(), forcefield, rng)
    first = walk(scheme, forcefield, state, 20, rng)
    later = walk(scheme, forcefield, first, 100, rng)
    measured = float((first.field * later.field).mean()) / (kT / k)
    assert measured == pytest.approx(math.exp(-k * 100 * dt / damping), abs=4 * math.sqrt(2 / 80_000) + dt / 2)


@pytest.mark.parametrize("make", [Brownian, EulerMaruyama])
def test_free_diffusion_obeys_einstein(make, rng):
    kT, damping, dt = 0.5, 1.7, 0.3
    scheme, forcefield = make(dt, kT, damping), oscillators(k=0.0)
    first = scheme.start(torch.zeros(REPLICAS, 16, 1, dtype=torch.float64), forcefield, rng)
    last = walk(scheme, forcefield, first, 20, rng)
    # Every kick of Brownian is spread over two steps; of the first one half was spent before the start.
    steps = 20 - (0.5 if make is Brownian else 0)
    assert_variance(last.field, 2 * kT / damping * steps * dt)


@pytest.mark.parametrize("make", [Brownian, EulerMaruyama])
def test_at_zero_temperature_both_are_the_euler_step(make, rng):
    forcefield, field = oscillators(), torch.randn(16, 1, generator=rng, dtype=torch.float64)
    scheme = make(dt=0.1, kT=0.0, damping=2.0)
    end = scheme.step(scheme.start(field, forcefield, None), forcefield, None)
    torch.testing.assert_close(end.field, field * (1 - 0.05), atol=1e-15, rtol=0)


def test_relaxation_is_of_second_order():
    forcefield, time = oscillators(k=1.3), 2.0
    field = torch.ones(16, 1, dtype=torch.float64)
    dts, errors = (0.2, 0.1, 0.05, 0.025), []
    for dt in dts:
        scheme = TDGL(dt, damping=0.8)
        end = walk(scheme, forcefield, scheme.start(field, forcefield, None), round(time / dt), None)
        errors.append(abs(float(end.field[0, 0]) - math.exp(-1.3 / 0.8 * time)))
    assert slope(dts, errors) == pytest.approx(2.0, abs=0.15)


def test_relaxation_lowers_the_energy_of_electrons_and_field_to_a_stationary_point(rng):
    exact = ExactForceField(Holstein(square(4)), Dense(filling=0.5, kT=0.1))
    scheme = TDGL(dt=0.3)
    state = scheme.start(torch.randn(3, 16, 1, generator=rng, dtype=torch.float64), exact, rng)
    start = state.forces.force.norm()
    for _ in range(300):
        new = scheme.step(state, exact, rng)
        assert bool((new.forces.energy <= state.forces.energy + 1e-12).all())
        state = new
    assert float(state.forces.force.norm()) < 1e-3 * float(start)


def test_relaxation_draws_no_random_number(rng):
    before = rng.get_state()
    scheme, forcefield = TDGL(dt=0.1), oscillators()
    walk(scheme, forcefield, scheme.start(torch.ones(16, 1), forcefield, rng), 5, rng)
    assert torch.equal(rng.get_state(), before)
