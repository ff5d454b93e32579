"""Langevin dynamics against the exact damped, thermal oscillator."""

import math

import numpy as np
import pytest
import torch

from nearsight.dynamics import Langevin
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import Dense

LATTICE = square(4)
REPLICAS = 5_000  # of 16 independent oscillators: 80 000 samples


def oscillators(k: float = 1.0) -> ClassicalForceField:
    return ClassicalForceField(Holstein(LATTICE, k=k, kappa=0.0))


def walk(scheme, forcefield, state, steps, rng):
    for _ in range(steps):
        state = scheme.step(state, forcefield, rng)
    return state


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def assert_variance(samples, expected: float, sigmas: float = 4.0) -> None:
    """The variance of n normal numbers of mean zero scatters by √(2/n) of itself."""
    measured = float((samples**2).mean())
    assert abs(measured / expected - 1) < sigmas * math.sqrt(2 / samples.numel())


@pytest.mark.parametrize(
    ("dt", "damping", "mass"), [(0.2, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.5, 2.0, 2.0)]
)
def test_the_field_of_an_oscillator_is_sampled_exactly_at_any_stable_step(dt, damping, mass, rng):
    kT, k = 0.7, 1.3
    scheme, forcefield = Langevin(dt, kT, damping, mass), oscillators(k)
    field = math.sqrt(kT / k) * torch.randn(REPLICAS, 16, 1, generator=rng, dtype=torch.float64)
    state = walk(scheme, forcefield, scheme.start(field, forcefield, rng), 40, rng)
    assert_variance(state.field, kT / k)
    # The shadow Hamiltonian of Verlet, p²/2m (1 - ω²dt²/4)⁻¹ + kQ²/2, is what the scheme keeps at kT.
    assert_variance(state.velocity, kT / mass * (1 - k / mass * dt**2 / 4))
    assert abs(float((state.field * state.velocity).mean())) < 4 * kT / math.sqrt(k * mass * state.field.numel())


def test_the_oscillator_forgets_a_cold_start(rng):
    scheme, forcefield = Langevin(dt=0.5, kT=0.4, damping=1.0), oscillators()
    state = scheme.start(torch.zeros(REPLICAS, 16, 1, dtype=torch.float64), forcefield, rng)
    assert_variance(state.velocity, 0.4)
    assert_variance(walk(scheme, forcefield, state, 60, rng).field, 0.4)


def test_the_velocity_of_a_free_particle_decorrelates_exactly_at_any_step(rng):
    kT, damping, mass, dt = 0.5, 0.8, 1.6, 0.9
    scheme, forcefield = Langevin(dt, kT, damping, mass), oscillators(k=0.0)
    first = scheme.start(torch.zeros(REPLICAS, 16, 1, dtype=torch.float64), forcefield, rng)
    state = first
    for n in range(1, 5):
        state = scheme.step(state, forcefield, rng)
        correlation = float((first.velocity * state.velocity).mean()) / (kT / mass)
        assert correlation == pytest.approx(math.exp(-damping * n * dt / mass), abs=4 * math.sqrt(2 / 80_000))


def test_the_velocity_autocorrelation_is_that_of_the_damped_oscillator(rng):
    kT, damping, dt = 0.5, 0.6, 0.05
    scheme, forcefield = Langevin(dt, kT, damping), oscillators()
    field = math.sqrt(kT) * torch.randn(REPLICAS, 16, 1, generator=rng, dtype=torch.float64)
    first = scheme.start(field, forcefield, rng)
    state, w = first, math.sqrt(1 - damping**2 / 4)
    for t in (1.0, 2.0, 3.0):
        state = walk(scheme, forcefield, state, 20, rng)
        exact = math.exp(-damping * t / 2) * (math.cos(w * t) - damping / (2 * w) * math.sin(w * t))
        measured = float((first.velocity * state.velocity).mean()) / kT
        assert measured == pytest.approx(exact, abs=4 * math.sqrt(2 / 80_000) + dt**2 / 4)


@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_cold_dynamics_are_of_second_order(damping):
    forcefield, time = oscillators(), 4.0
    field = torch.ones(16, 1, dtype=torch.float64)
    w = math.sqrt(1 - damping**2 / 4)
    exact = math.exp(-damping * time / 2) * (math.cos(w * time) + damping / (2 * w) * math.sin(w * time))
    dts, errors = (0.2, 0.1, 0.05, 0.025), []
    for dt in dts:
        scheme = Langevin(dt, kT=0.0, damping=damping)
        end = walk(scheme, forcefield, scheme.start(field, forcefield, None), round(time / dt), None)
        assert float(end.time) == pytest.approx(time)
        errors.append(abs(float(end.field[0, 0]) - exact))
    assert slope(dts, errors) == pytest.approx(2.0, abs=0.1)


def test_without_bath_the_dynamics_run_backwards(rng):
    scheme, forcefield = Langevin(dt=0.3, kT=0.0, damping=0.0), oscillators()
    field, velocity = torch.randn(2, 16, 1, generator=rng, dtype=torch.float64)
    there = walk(scheme, forcefield, scheme.start(field, forcefield, None, velocity=velocity), 50, None)
    back = walk(scheme, forcefield, scheme.start(there.field, forcefield, None, velocity=-there.velocity), 50, None)
    torch.testing.assert_close(back.field, field, atol=1e-12, rtol=0)
    torch.testing.assert_close(back.velocity, -velocity, atol=1e-12, rtol=0)


def test_without_bath_electrons_and_field_conserve_energy_to_second_order(rng):
    lattice = square(4)
    exact = ExactForceField(Holstein(lattice), Dense(filling=0.5, kT=0.1))
    field = torch.randn(16, 1, generator=rng, dtype=torch.float64)
    dts, errors = (0.2, 0.1, 0.05), []
    for dt in dts:
        scheme = Langevin(dt, kT=0.0, damping=0.0)
        state = scheme.start(field, exact, None)
        energies = []
        for _ in range(round(20 / dt)):
            state = scheme.step(state, exact, None)
            energies.append(float(state.forces.energy + 0.5 * (state.velocity**2).sum()))
        energies = np.array(energies)
        errors.append(np.ptp(energies))
        # A drift would show as a difference of the two halves; what there is oscillates about zero.
        half = len(energies) // 2
        assert abs(energies[:half].mean() - energies[half:].mean()) < 0.2 * errors[-1]
    assert slope(dts, errors) == pytest.approx(2.0, abs=0.25)


def test_a_given_velocity_is_taken_and_checked(rng):
    scheme, forcefield = Langevin(0.1, 0.1, 1.0), oscillators()
    field, velocity = torch.randn(2, 16, 1, generator=rng, dtype=torch.float64)
    state = scheme.start(field, forcefield, rng, velocity=velocity)
    assert torch.equal(state.velocity, velocity) and state.velocity is not velocity
    with pytest.raises(ValueError, match="velocity has shape"):
        scheme.start(field, forcefield, rng, velocity=velocity[:3])
