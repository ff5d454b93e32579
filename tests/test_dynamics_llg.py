"""Spin dynamics against closed forms: one spin, two spins, one thermal spin, the thermal chain."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite_e, legendre

from nearsight.dynamics import (
    AB2Rotation,
    DepondtMertens,
    Every,
    HeunSpins,
    LandauLifshitz,
    SemiImplicit,
    SphericalMidpoint,
    Trajectory,
    simulate,
)
from nearsight.dynamics.landau_lifshitz import effective_rotation_rate
from nearsight.fields import random_spins
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, Forces
from nearsight.hamiltonians import Heisenberg, Holstein, SDModel
from nearsight.lattices import chain, square
from nearsight.solvers import Dense
from nearsight.storage import tree_hash

ALL = (SemiImplicit, SphericalMidpoint, AB2Rotation, DepondtMertens, HeunSpins)
schemes = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
# Noise hides what the last digits of an iteration would tell.
thermal = pytest.mark.parametrize(
    "make", [*ALL[:1], partial(SphericalMidpoint, tolerance=1e-5), *ALL[2:]], ids=[make.__name__ for make in ALL]
)
explicit = pytest.mark.parametrize("make", [SemiImplicit, AB2Rotation, DepondtMertens], ids=lambda make: make.__name__)
tangent = pytest.mark.parametrize("tangent", [False, True], ids=["whole field", "tangent"])

FIELD = ClassicalForceField(Heisenberg(chain(1), J=0.0, B=1.3))
PAIR = ClassicalForceField(Heisenberg(chain(2, periodic=False), J=0.8))
MAGNET = ClassicalForceField(Heisenberg(square(8)))


class Alongside(ForceField):
    """A force field with a multiple of every spin added to the field of that spin, which changes no torque."""

    def __init__(self, inner: ForceField, along: float) -> None:
        super().__init__()
        self.inner, self.along = inner, along
        self.lattice, self.components = inner.lattice, inner.components

    def evaluate(self, field):
        force, energy = self.inner.evaluate(field)
        return Forces(force + self.along * field, energy)

    def on(self, lattice):
        return type(self)(self.inner.on(lattice), self.along)


def walk(scheme, forcefield, field, steps, rng=None):
    state = scheme.start(field, forcefield, rng)
    for _ in range(steps):
        state = scheme.step(state, forcefield, rng)
    return state


def tilted(theta: float) -> torch.Tensor:
    return torch.tensor([[math.sin(theta), 0.0, math.cos(theta)]], dtype=torch.float64)


def order(dts, errors) -> float:
    return float(np.polyfit(np.log(dts), np.log(errors), 1)[0])


# --- one spin ---------------------------------------------------------------------------------------------------------


@explicit
def test_a_spin_precesses_clockwise_by_the_angle_of_cayley_and_keeps_its_projection(make):
    """S = (sin θ cos φ, sin θ sin φ, cos θ) with φ = -Bt: dS/dt = S × B."""
    dt, steps = 0.2, 37
    end = walk(make(dt, kT=0.0, damping=0.0), FIELD, tilted(0.7), steps).field[0]
    phi = -2 * math.atan(1.3 * dt / 2) * steps
    exact = torch.tensor([math.sin(0.7) * math.cos(phi), math.sin(0.7) * math.sin(phi), math.cos(0.7)])
    torch.testing.assert_close(end, exact.double(), atol=1e-6, rtol=0)
    assert phi / (steps * dt) == pytest.approx(-1.3, rel=6e-3)


@schemes
@tangent
def test_a_damped_spin_follows_the_closed_form_to_second_order(make, tangent):
    """tan(θ/2) = tan(θ₀/2) exp(-αBt) and φ = -Bt."""
    alpha, time, theta = 0.3, 4.0, 2.0
    angle = 2 * math.atan(math.tan(theta / 2) * math.exp(-alpha * 1.3 * time))
    x, y = math.sin(angle) * math.cos(-1.3 * time), math.sin(angle) * math.sin(-1.3 * time)
    exact = torch.tensor([x, y, math.cos(angle)], dtype=torch.float64)
    dts = (0.1, 0.05, 0.025)
    errors = [
        float((walk(make(dt, 0.0, alpha, tangent), FIELD, tilted(theta), round(time / dt)).field[0] - exact).norm())
        for dt in dts
    ]
    assert order(dts, errors) == pytest.approx(2.0, abs=0.15)
    assert errors[-1] < 2e-3


@thermal
def test_thermal_spins_in_a_field_have_the_magnetisation_of_langevin(make, rng):
    """⟨S_z⟩ = coth(B/kT) - kT/B, kept by spins that were drawn with it and reached by spins that were not."""
    kT, sites = 0.65, 3_000
    forcefield = ClassicalForceField(Heisenberg(chain(sites), J=0.0, B=1.3))
    exact = 1 / math.tanh(1.3 / kT) - kT / 1.3
    state = (scheme := make(0.02, kT, damping=1.0)).start(random_spins(forcefield.lattice, rng), forcefield, rng)
    seen = []
    for n in range(240):
        state = scheme.step(state, forcefield, rng)
        if n >= 140 and n % 10 == 0:
            seen.append(float(state.field[:, 2].mean()))
    # 3 000 spins scatter by 0.45 each; the samples of two time units are worth about three independent ones.
    assert np.mean(seen) == pytest.approx(exact, abs=4 * 0.45 / math.sqrt(3 * sites) + 0.004)


def langevin(x):
    """coth x - 1/x and its derivative."""
    return 1 / math.tanh(x) - 1 / x, 1 / x**2 - 1 / math.sinh(x) ** 2


def stationary_bias(make, alpha, dtB, x, monkeypatch, *, degree=24, nodes=10):
    """⟨S_z⟩ of the Markov chain that the steps of one spin in a field are, less coth x - 1/x, without any sampling.

    By symmetry S_z alone is a Markov chain. Its transitions are integrals over the three Gaussian numbers of a step,
    its stationary density a series in Legendre polynomials.
    """
    z, weight = legendre.leggauss(degree)
    points, share = hermite_e.hermegauss(nodes)
    share = share / share.sum()
    xi = np.stack(np.meshgrid(points, points, points, indexing="ij"), -1).reshape(-1, 3)
    chance = (share[:, None, None] * share[:, None] * share).reshape(-1)
    start = np.stack([np.sqrt(1 - z**2), np.zeros_like(z), z], -1)
    spins = torch.from_numpy(np.repeat(start, len(xi), axis=0))
    noise = torch.from_numpy(np.tile(xi, (degree, 1)) * math.sqrt(2 * alpha / x / dtB))
    monkeypatch.setattr(inspect.getmodule(make), "_thermal_noise", lambda scheme, like, rng: noise)
    forcefield = ClassicalForceField(Heisenberg(chain(len(spins)), J=0.0, B=1.0))
    options = {"tolerance": 1e-10} if make is SphericalMidpoint else {}
    scheme = make(dtB, 1 / x, damping=alpha, **options)
    after = scheme.step(scheme.start(spins, forcefield, torch.Generator()), forcefield, torch.Generator())
    moved = legendre.legvander(after.field[:, 2].numpy(), degree - 1).reshape(degree, len(xi), degree)
    mean = np.einsum("iwk,w->ik", moved, chance)  # of P_k after the step
    basis = legendre.legvander(z, degree - 1) * (np.arange(degree) + 0.5)
    transition = (mean * weight[:, None]).T @ basis - np.eye(degree)
    transition[0], right = np.eye(degree)[0], np.eye(degree)[0]
    return float(np.linalg.solve(transition, right)[1]) - langevin(x)[0]


@pytest.mark.parametrize(
    ("make", "factor"), [(SemiImplicit, 0.5), (DepondtMertens, 0.5), (HeunSpins, -0.5), (SphericalMidpoint, 0.0)]
)
def test_a_step_of_first_order_in_noise_is_a_bath_of_another_temperature(make, factor, monkeypatch):
    """Magnetisation in a field: that of kT (1 - factor · α kT dt), extrapolated from two steps."""
    for x, alpha in ((1.0, 1.0), (2.0, 0.5), (2.0, 2.0), (4.0, 1.0)):
        slope = [stationary_bias(make, alpha, u, x, monkeypatch) / (alpha * u) for u in (0.005 / alpha, 0.01 / alpha)]
        expected = factor * langevin(x)[1]
        assert 2 * slope[0] - slope[1] == pytest.approx(expected, abs=0.02 * langevin(x)[1])


@pytest.mark.parametrize(("alpha", "dtB"), [(1.0, 0.05), (1.0, 0.2), (0.5, 0.2), (2.0, 0.1), (0.1, 0.2)])
def test_the_stated_thermal_error_of_the_semi_implicit_step_is_that_of_its_markov_chain(alpha, dtB, monkeypatch):
    u = alpha * dtB
    bias = stationary_bias(SemiImplicit, alpha, dtB, 2.0, monkeypatch)
    assert bias == pytest.approx(0.087 * u - 0.09 * u**2, rel=0.03)


@pytest.mark.parametrize(
    ("alpha", "dtB"), [(1.0, 0.1), (2.0, 0.05), *(pytest.param(a, 0.1, marks=pytest.mark.slow) for a in (0.5, 0.2))]
)
def test_the_stated_thermal_error_of_extrapolated_rotations_is_the_true_one(alpha, dtB, monkeypatch):
    """The chain remembers a step: spins driven by the same noise as those of a scheme whose error is known exactly."""
    x, sites = 2.0, 4_000
    known = stationary_bias(SemiImplicit, alpha, dtB, x, monkeypatch)
    monkeypatch.undo()
    forcefield = ClassicalForceField(Heisenberg(chain(sites), J=0.0, B=1.0))
    schemes = [make(dtB, 1 / x, damping=alpha) for make in (SemiImplicit, AB2Rotation)]
    chances = [torch.Generator().manual_seed(4) for _ in schemes]
    u = torch.rand(sites, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = 1 + torch.log(u + (1 - u) * math.exp(-2 * x)) / x
    spins = torch.stack([(1 - z**2).sqrt(), torch.zeros_like(z), z], dim=1)
    states = [s.start(spins, forcefield, c) for s, c in zip(schemes, chances, strict=True)]
    seen = []
    while states[0].time < 10 / alpha:
        states = [s.step(a, forcefield, c) for s, a, c in zip(schemes, states, chances, strict=True)]
        if states[0].time > 3 / alpha:
            seen.append(states[1].field[:, 2] - states[0].field[:, 2])
    more = torch.stack(seen).mean(0)  # over time; spins are independent
    stated = 0.174 * alpha * dtB + (0.15 - 0.3 * alpha**2) * dtB**2
    error = float(more.std()) / math.sqrt(sites)
    assert error < 0.03 * stated
    assert known + float(more.mean()) == pytest.approx(stated, abs=4 * error)


def stated_bias(make, alpha, dtB):
    u = alpha * dtB
    if make is AB2Rotation:
        return 0.174 * u + (0.15 - 0.3 * alpha**2) * dtB**2
    return 0.087 * u - 0.09 * u**2


@pytest.mark.parametrize(
    ("make", "alpha", "dtB"),
    [
        (SemiImplicit, 1.0, 0.2),
        (SemiImplicit, 0.5, 0.4),
        (DepondtMertens, 1.0, 0.2),
        (AB2Rotation, 1.0, 0.2),
        (AB2Rotation, 0.5, 0.2),
    ],
)
def test_the_thermal_error_of_a_step_is_what_its_docstring_says(make, alpha, dtB, rng):
    """At B = 2 kT, of many spins that were drawn with the right magnetisation."""
    kT, sites, dt = 0.65, 30_000, dtB / 1.3
    forcefield = ClassicalForceField(Heisenberg(chain(sites), J=0.0, B=1.3))
    u = torch.rand(sites, generator=rng, dtype=torch.float64)
    z = 1 + 0.5 * torch.log(u + (1 - u) * math.exp(-4))
    rho = (1 - z**2).sqrt()
    scheme = make(dt, kT, damping=alpha)
    state = scheme.start(torch.stack([rho, torch.zeros_like(z), z], dim=1), forcefield, rng)
    seen = []
    while state.time < 7 / alpha:
        state = scheme.step(state, forcefield, rng)
        if state.time > 2 / alpha:
            seen.append(float(state.field[:, 2].mean()))
    # Five relaxation times are worth about five independent samples of spins that scatter by 0.45.
    exact = 1 / math.tanh(2) - 0.5
    bias = stated_bias(make, alpha, dtB)
    assert np.mean(seen) - exact == pytest.approx(bias, abs=4 * 0.42 / math.sqrt(5 * sites))


@thermal
def test_a_free_thermal_spin_diffuses_at_twice_damping_times_temperature(make, rng):
    """⟨S(t)·S(0)⟩ = exp(-2αkT t) on the sphere, which fixes the variance of the noise."""
    kT, alpha, dt, steps = 0.5, 0.4, 0.05, 40
    forcefield = ClassicalForceField(Heisenberg(chain(6_000), J=0.0))
    start = random_spins(forcefield.lattice, rng)
    end = walk(make(dt, kT, alpha), forcefield, start, steps, rng).field
    overlap = (start * end).sum(-1)
    exact = math.exp(-2 * alpha * kT * dt * steps)
    assert float(overlap.mean()) == pytest.approx(exact, abs=4 * float(overlap.std()) / math.sqrt(6_000) + 2e-3)


def test_without_damping_there_is_no_noise(rng):
    state = walk(SemiImplicit(0.1, kT=5.0, damping=0.0), FIELD, tilted(0.7), 5)
    assert torch.equal(state.field, walk(SemiImplicit(0.1, kT=0.0, damping=0.0), FIELD, tilted(0.7), 5, rng).field)


# --- two spins --------------------------------------------------------------------------------------------------------


@schemes
@tangent
def test_two_spins_turn_about_their_sum_to_second_order(make, tangent):
    """Both precess about the constant L = S₁ + S₂ at the frequency J|L|."""
    start = torch.cat([tilted(0.4), tilted(-1.1)])
    L = start.sum(0)
    w, time, dts = 0.8 * float(L.norm()), 5.0, (0.1, 0.05, 0.025)
    n = L / L.norm()
    along = (start @ n)[:, None] * n
    across, side = start - along, torch.linalg.cross(start, n.expand(2, 3))
    exact = along + math.cos(w * time) * across + math.sin(w * time) * side
    errors = [
        float((walk(make(dt, 0.0, 0.0, tangent), PAIR, start, round(time / dt)).field - exact).norm()) for dt in dts
    ]
    assert order(dts, errors) == pytest.approx(2.0, abs=0.25)
    assert errors[-1] < 3e-3


@schemes
def test_two_damped_spins_align_along_a_hyperbolic_tangent(make):
    """S₁·S₂ = tanh(2αJt + artanh c₀), by damping alone."""
    start = torch.cat([tilted(0.4), tilted(-1.1)])
    alpha, dt, steps = 0.25, 0.02, 200
    exact = math.tanh(2 * alpha * 0.8 * dt * steps + math.atanh(math.cos(1.5)))
    a, b = walk(make(dt, 0.0, alpha), PAIR, start, steps).field
    assert float(a @ b) == pytest.approx(exact, abs=1e-4)


# --- many spins -------------------------------------------------------------------------------------------------------


@schemes
@tangent
def test_lengths_are_kept_to_rounding(make, tangent, rng):
    for dtype, bound in ((torch.float64, 1e-15), (torch.float32, 3e-7)):
        field = random_spins(MAGNET.lattice, rng, 2).to(dtype)
        end = walk(make(0.1 if make is not AB2Rotation else 0.05, 0.3, 0.2, tangent), MAGNET, field, 50, rng).field
        assert float((end.double().norm(dim=-1) - 1).abs().max()) < bound


@schemes
def test_a_rotated_start_gives_the_rotated_trajectory(make, rng):
    field = random_spins(MAGNET.lattice, rng)
    rotation = MAGNET.model.field_type.internal_operation(3, rng)
    rotation = rotation * torch.linalg.det(rotation)  # a proper rotation: precession has a handedness
    scheme = make(0.05, kT=0.0, damping=0.1)
    straight, turned = (walk(scheme, MAGNET, start, 40).field for start in (field, field @ rotation.T))
    torch.testing.assert_close(turned, straight @ rotation.T, atol=1e-11, rtol=0)


def drift(make, dt: float, steps: int, rng) -> float:
    field = random_spins(MAGNET.lattice, rng)
    energies = [float(walk(make(dt, kT=0.0, damping=0.0), MAGNET, field, n).forces.energy) / 64 for n in (0, steps)]
    return abs(energies[1] - energies[0])


def test_undamped_energy_drifts_least_by_the_midpoint_and_most_by_heun(rng):
    seed = rng.get_state()

    def measured(make, steps):
        rng.set_state(seed)
        return drift(make, 0.1, steps, rng)

    assert measured(SphericalMidpoint, 150) < 1e-3
    assert 1e-3 < measured(SemiImplicit, 1000) < 0.05
    assert measured(HeunSpins, 600) > 0.2


def test_the_midpoint_conserves_the_total_spin_and_runs_backwards(rng):
    scheme, field = SphericalMidpoint(0.1, kT=0.0, damping=0.0), random_spins(MAGNET.lattice, rng)
    there = walk(scheme, MAGNET, field, 40).field
    torch.testing.assert_close(there.sum(0), field.sum(0), atol=1e-11, rtol=0)
    # S → -S reverses time, for H(-S) = -H(S).
    torch.testing.assert_close(-walk(scheme, MAGNET, -there, 40).field, field, atol=1e-8, rtol=0)


@explicit
def test_damped_spins_of_a_ferromagnet_reach_the_ground_state_and_never_gain_energy(make, rng):
    # In a field, or the slowest spin wave would take a time that grows as the number of sites.
    forcefield = ClassicalForceField(Heisenberg(square(4), B=0.5))
    scheme = make(0.05, kT=0.0, damping=0.5)
    state = scheme.start(random_spins(forcefield.lattice, rng), forcefield, None)
    energy = state.forces.energy
    for _ in range(400):
        state = scheme.step(state, forcefield, None)
        assert float(state.forces.energy) < float(energy) + 1e-9
        energy = state.forces.energy
    assert float(energy) / 16 == pytest.approx(-2.5, abs=1e-4)


def chain_in_equilibrium(J: float, kT: float, chains: int, length: int, rng) -> torch.Tensor:
    """Spins of open chains: every cos θ between neighbours is drawn from exp(J cos θ/kT) independently."""
    spins = [random_spins(chain(1), rng, chains)[:, 0]]
    for _ in range(length - 1):
        u = torch.rand(chains, 1, generator=rng, dtype=torch.float64)
        c = 1 + kT / J * torch.log(u + (1 - u) * math.exp(-2 * J / kT))
        side = torch.linalg.cross(spins[-1], torch.randn(chains, 3, generator=rng, dtype=torch.float64))
        spins.append(c * spins[-1] + (1 - c**2).clamp(min=0).sqrt() * side / side.norm(dim=-1, keepdim=True))
    return torch.stack(spins, dim=1)


@explicit
def test_the_thermal_chain_has_the_energy_of_fisher(make, rng):
    """E = -J (coth(J/kT) - kT/J) per bond; from equilibrium, and with the same damped noise from order."""
    J, kT, chains, length = 1.0, 0.5, 150, 24
    forcefield = ClassicalForceField(Heisenberg(chain(length, periodic=False), J=J))
    exact = -J * (1 / math.tanh(J / kT) - kT / J)
    drawn = chain_in_equilibrium(J, kT, chains, length, rng)
    ordered = torch.zeros(chains, length, 3, dtype=torch.float64)
    ordered[..., 2] = 1.0
    bonds = chains * (length - 1)
    assert float(forcefield(drawn).energy.sum()) / bonds == pytest.approx(exact, abs=0.015)
    for start, steps in ((drawn, 80), (ordered, 200)):
        end = walk(make(0.03, kT, damping=0.8), forcefield, start, steps, rng)
        # The variance of one bond is 1 + kT² - coth²: 0.18 at kT = 1/2.
        assert float(end.forces.energy.sum()) / bonds == pytest.approx(exact, abs=4 * math.sqrt(0.18 / bonds) + 0.01)


@schemes
def test_a_field_along_the_spins_does_not_change_tangent_steps(make, rng):
    field = random_spins(MAGNET.lattice, rng)
    scheme = make(0.02, kT=0.0, damping=0.1, tangent=True)
    plain, alongside = (walk(scheme, f, field, 30).field for f in (MAGNET, Alongside(MAGNET, 40.0)))
    torch.testing.assert_close(alongside, plain, atol=1e-10, rtol=0)


def test_a_field_along_the_spins_spoils_steps_that_do_not_leave_it_out(rng):
    field = random_spins(MAGNET.lattice, rng)
    exact = walk(SemiImplicit(0.005, 0.0, 0.1), MAGNET, field, 200).field

    def error(scheme):
        return float((walk(scheme, Alongside(MAGNET, 20.0), field, 20).field - exact).norm())

    with pytest.warns(UserWarning, match=r"or tangent=True: the torques alone turn them by 0\.\d+ rad"):
        whole = error(SemiImplicit(0.05, 0.0, 0.1))
    assert error(SemiImplicit(0.05, 0.0, 0.1, tangent=True)) < 0.2 * whole


def test_tangent_steps_follow_electrons_where_whole_ones_do_not(rng):
    """At J = 6 the field along a spin is far larger than the torque: 5.8 and 0.1 in rms."""
    lattice = square(4)
    electrons = ExactForceField(SDModel(lattice, J=6.0), Dense(mu=-1.0, kT=0.05))
    field = random_spins(lattice, rng)
    force = electrons(field).force
    along = (force * field).sum(-1)
    assert float(along.square().mean().sqrt()) > 20 * float((force - along[:, None] * field).square().mean().sqrt())
    exact = walk(SemiImplicit(0.025, 0.0, 0.05, tangent=True), electrons, field, 160).field
    assert float((walk(SemiImplicit(0.5, 0.0, 0.05, tangent=True), electrons, field, 8).field - exact).norm()) < 0.05
    with pytest.warns(UserWarning, match="or tangent=True"):
        whole = walk(SemiImplicit(0.5, 0.0, 0.05), electrons, field, 8).field
    assert float((whole - exact).norm()) > 0.5


# --- the door ---------------------------------------------------------------------------------------------------------


@schemes
def test_spins_that_are_no_unit_vectors_are_refused_with_the_cure(make, rng):
    field = random_spins(MAGNET.lattice, rng, 2)
    scheme = make(0.01, 0.0, 0.1)
    with pytest.raises(ValueError, match=r"128 sites differ, the first at \(0, 0\) with length 2; divide by"):
        scheme.start(2 * field, MAGNET, rng)
    field[1, 7] = 0.0
    with pytest.raises(
        ValueError, match=r"1 sites differ, the first at \(1, 7\) with length 0; a spin without direction"
    ):
        scheme.start(field, MAGNET, rng)


def test_fields_of_other_components_are_refused(rng):
    springs = ClassicalForceField(Holstein(square(3)))
    with pytest.raises(ValueError, match="turns spins of three components"):
        SemiImplicit(0.1, 0.0, 0.1).start(torch.ones(9, 1, dtype=torch.float64), springs, rng)


@schemes
def test_a_step_beyond_stability_warns_with_one_that_is_not(make, rng):
    field = random_spins(MAGNET.lattice, rng)
    with pytest.warns(UserWarning, match=r"too much for \w+; take dt <= (\S+?)[.,]?$") as caught:
        make(2.0, 0.0, 0.1).start(field, MAGNET, rng)
    assert len(caught) == 1
    suggested = float(str(caught[0].message).rsplit("<= ", 1)[1].split(",")[0].rstrip("."))
    assert 0.05 < suggested < 0.5
    make(suggested, 0.0, 0.1).start(field, MAGNET, rng)


@pytest.mark.parametrize("make", [SemiImplicit, AB2Rotation], ids=lambda make: make.__name__)
def test_the_step_that_is_proposed_is_never_warned_about(make, rng):
    """Fields of any size, whatever the digits of the limit are."""
    for B in np.geomspace(0.01, 100.0, 60):
        forcefield = ClassicalForceField(Heisenberg(chain(1), J=0.0, B=float(B)))
        with pytest.warns(UserWarning, match="too much") as caught:
            make(300.0 / B, 0.0, 0.1).start(tilted(0.5), forcefield, rng)
        proposed = float(str(caught[0].message).split("dt <= ")[1].split(", or")[0].rstrip("."))
        state = make(proposed, 0.0, 0.1).start(tilted(0.5), forcefield, rng)
        angle = proposed * float(
            effective_rotation_rate(make(proposed, 0.0, 0.1), state.field, state.forces.force).norm()
        )
        assert 0.9 * make.largest_angle < angle <= make.largest_angle


@schemes
def test_a_bath_that_turns_spins_too_far_warns_with_a_step_that_does_not(make, rng):
    quiet = ClassicalForceField(Heisenberg(chain(1), J=0.0, B=1e-3))
    with pytest.warns(UserWarning, match=r"The bath of kT = 40 .* take dt <= ") as caught:
        make(0.1, 40.0, 0.5).start(tilted(0.5), quiet, rng)
    proposed = float(str(caught[0].message).split("dt <= ")[1].rstrip("."))
    assert 0.9 * make.largest_kick < 2 * (0.5 * 40.0 * proposed) ** 0.5 <= make.largest_kick
    make(proposed, 40.0, 0.5).start(tilted(0.5), quiet, rng)


def test_a_midpoint_that_is_not_found_is_an_error(rng):
    field = random_spins(MAGNET.lattice, rng)
    with pytest.warns(UserWarning, match="too much"):
        state = (scheme := SphericalMidpoint(3.0, 0.0, 0.0)).start(field, MAGNET, rng)
    with pytest.raises(ArithmeticError, match=r"midpoint of step 1 was not found .* smaller dt"):
        scheme.step(state, MAGNET, rng)


def test_replicas_of_the_midpoint_stop_on_their_own(rng):
    scheme = SphericalMidpoint(0.1, 0.0, 0.1)
    quiet = torch.zeros(64, 3, dtype=torch.float64)
    quiet[:, 2] = 1.0
    wild = random_spins(MAGNET.lattice, rng)
    together = walk(scheme, MAGNET, torch.stack([quiet, wild]), 10).field
    for alone, field in zip((quiet, wild), together, strict=True):
        torch.testing.assert_close(walk(scheme, MAGNET, alone, 10).field, field, atol=1e-14, rtol=0)


# --- restart ----------------------------------------------------------------------------------------------------------


@schemes
def test_an_interrupted_run_of_spins_goes_on_to_the_same_bits(make, tmp_path, rng):
    field = random_spins(MAGNET.lattice, rng, 2)
    scheme: LandauLifshitz = make(0.05, kT=0.2, damping=0.3)

    class Stumbling(ClassicalForceField):
        left = 15 * (scheme.force_calls or 10)

        def evaluate(self, field):
            Stumbling.left -= 1
            if Stumbling.left < 0:
                raise KeyboardInterrupt
            return super().evaluate(field)

    Stumbling.__name__ = "ClassicalForceField"  # the same forces

    def run(path, forcefield):
        chance = torch.Generator().manual_seed(3)
        return simulate(
            forcefield,
            scheme,
            field,
            steps=24,
            record=Every(2),
            rng=chance,
            path=path,
            resume=True,
            checkpoint_every=3,
        )

    patient = Stumbling(MAGNET.model)
    Stumbling.left, left = 1000, Stumbling.left
    whole = run(tmp_path / "whole", patient)
    Stumbling.left = left
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Stumbling(MAGNET.model))
    Stumbling.left = 1000
    stopped = Trajectory.open(tmp_path / "cut").final
    assert 0 < stopped.step < 24
    assert (stopped.history is not None) == (make is AB2Rotation)
    assert torch.equal(run(tmp_path / "cut", patient).final.field, whole.final.field)
    assert tree_hash(tmp_path / "cut") == tree_hash(tmp_path / "whole")
