"""What every equation of motion must satisfy. A member signs by one line in ``SCHEMES``."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.dynamics import (
    TDGL,
    AB2Rotation,
    Brownian,
    DepondtMertens,
    EulerMaruyama,
    Every,
    HeunSpins,
    HopMonteCarlo,
    HopRates,
    KineticMonteCarlo,
    Langevin,
    RejectionFreeHops,
    Scheme,
    SemiImplicit,
    SphericalMidpoint,
    SpinFlips,
    State,
    simulate,
)
from nearsight.fields import spin
from nearsight.forcefields import ClassicalForceField, ForceField, Forces, LearnedForceField
from nearsight.hamiltonians import RKKY, Heisenberg, Holstein, JahnTeller
from nearsight.lattices import Lattice, PointCloud, Structures, square
from nearsight.moves import LatticeGas
from nearsight.networks import SpinMessagePassing

LATTICE = square(3)


def springs(k: float = 1.0, kappa: float = 0.12) -> ClassicalForceField:
    return ClassicalForceField(Holstein(LATTICE, k=k, kappa=kappa))


def ising() -> ClassicalForceField:
    """E = -Σ_<ij> σ_i σ_j."""
    return springs(k=0.0, kappa=-1.0)


def attraction() -> ClassicalForceField:
    """E = -Σ_<ij> n_i n_j."""
    return springs(k=0.0, kappa=-1.0)


def continuous(rng: torch.Generator, *batch: int) -> Tensor:
    return torch.randn(*batch, 9, 1, generator=rng, dtype=torch.float64)


def signs(rng: torch.Generator, *batch: int) -> Tensor:
    return continuous(rng, *batch).sign()


def exchange() -> ClassicalForceField:
    return ClassicalForceField(Heisenberg(LATTICE, J=(1.0, -0.3), B=0.2))


CLOUD = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0], [1.5, 1.5, 0.1], [0.9, 1.0, 1.5]], cell=2.0)
OPEN_CLOUD = PointCloud([[0.0, 0.0, 0.1], [1.1, 0.2, 0.0], [0.4, 0.9, 0.3], [1.3, 1.4, 0.8]])


def oscillating() -> ClassicalForceField:
    """Two structures side by side, nine sites, with an exchange that oscillates with the distance."""
    parts = Structures([CLOUD, PointCloud(OPEN_CLOUD.basis, 2.5)])
    return ClassicalForceField(Heisenberg(parts, J=RKKY(1.0, 2.0, cutoff=1.9), B=0.2))


def messages() -> LearnedForceField:
    """A learned field of a cloud of nine sites; one layer of an untrained network."""
    positions = torch.rand(9, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64).numpy()
    cloud = PointCloud(3.0 * positions, cell=3.0)
    options = {"layers": 1, "channels": 3, "vectors": 2, "radial": 3, "hidden": 6}
    return LearnedForceField(SpinMessagePassing(cloud, spin(), 1.6, **options)).double().eval()


def spins(rng: torch.Generator, *batch: int) -> Tensor:
    S = torch.randn(*batch, 9, 3, generator=rng, dtype=torch.float64)
    return S / S.norm(dim=-1, keepdim=True)


def occupations(rng: torch.Generator, *batch: int) -> Tensor:
    """Four particles on every field."""
    return (continuous(rng, *batch).argsort(-2) < 4).double()


GAS = LatticeGas(LATTICE, J=1.0)

# The scheme, the force field it moves in, and the fields it moves.
SCHEMES = [
    pytest.param(Langevin(dt=0.1, kT=0.3, damping=0.5, mass=2.0), springs, continuous, id="Langevin"),
    pytest.param(Langevin(dt=0.1, kT=0.0, damping=0.0), springs, continuous, id="Verlet"),
    pytest.param(Brownian(dt=0.1, kT=0.3, damping=2.0), springs, continuous, id="Brownian"),
    pytest.param(EulerMaruyama(dt=0.1, kT=0.3), springs, continuous, id="EulerMaruyama"),
    pytest.param(TDGL(dt=0.1), springs, continuous, id="TDGL"),
    pytest.param(KineticMonteCarlo(SpinFlips(ising(), kT=2.0)), ising, signs, id="KineticMonteCarlo"),
    pytest.param(KineticMonteCarlo(HopRates(GAS, kT=2.0)), attraction, occupations, id="KineticMonteCarlo of hops"),
    pytest.param(HopMonteCarlo(GAS, kT=2.0), attraction, occupations, id="HopMonteCarlo"),
    pytest.param(
        HopMonteCarlo(GAS, kT=2.0, rule="glauber", attempts=2.5, screen=LatticeGas(LATTICE, J=0.6)),
        attraction,
        occupations,
        id="HopMonteCarlo with a screen",
    ),
    pytest.param(RejectionFreeHops(HopRates(GAS, kT=2.0)), attraction, occupations, id="RejectionFreeHops"),
    pytest.param(SemiImplicit(dt=0.1, kT=0.3, damping=0.2), exchange, spins, id="SemiImplicit"),
    pytest.param(SemiImplicit(dt=0.1, kT=0.3, damping=0.2, tangent=True), exchange, spins, id="SemiImplicit, tangent"),
    pytest.param(SphericalMidpoint(dt=0.05, kT=0.3, damping=0.2), exchange, spins, id="SphericalMidpoint"),
    pytest.param(AB2Rotation(dt=0.05, kT=0.3, damping=0.2), exchange, spins, id="AB2Rotation"),
    pytest.param(AB2Rotation(dt=0.05, kT=0.0, damping=0.0), exchange, spins, id="AB2Rotation, free"),
    pytest.param(DepondtMertens(dt=0.1, kT=0.3, damping=0.2), exchange, spins, id="DepondtMertens"),
    pytest.param(HeunSpins(dt=0.05, kT=0.3, damping=0.2), exchange, spins, id="HeunSpins"),
    pytest.param(HeunSpins(dt=0.05, kT=0.3, damping=0.2), oscillating, spins, id="HeunSpins, clouds"),
    pytest.param(SphericalMidpoint(dt=0.05, kT=0.3, damping=0.2), oscillating, spins, id="SphericalMidpoint, clouds"),
    pytest.param(DepondtMertens(dt=0.1, kT=0.3, damping=0.2), oscillating, spins, id="DepondtMertens, clouds"),
    pytest.param(SemiImplicit(dt=0.1, kT=0.3, damping=0.2), oscillating, spins, id="SemiImplicit, clouds"),
    pytest.param(AB2Rotation(dt=0.05, kT=0.3, damping=0.2, tangent=True), messages, spins, id="AB2Rotation, a cloud"),
]
every_scheme = pytest.mark.parametrize(("scheme", "physics", "fields"), SCHEMES)

Fields = Callable[..., Tensor]


class Counted(ForceField):
    """A force field that counts how often it is called."""

    def __init__(self, inner: ForceField) -> None:
        super().__init__()
        self.inner, self.lattice, self.components = inner, inner.lattice, inner.components
        self.calls = 0

    def evaluate(self, field: Tensor) -> Forces:
        self.calls += 1
        return self.inner.evaluate(field)

    def on(self, lattice: Lattice) -> Self:
        return type(self)(self.inner.on(lattice))


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walk(scheme: Scheme, forcefield: ForceField, state: State, steps: int, rng: torch.Generator) -> State:
    for _ in range(steps):
        state = scheme.step(state, forcefield, rng)
    return state


def tensors(state: State) -> dict[str, Tensor]:
    parts = {
        "field": state.field,
        "velocity": state.velocity,
        "force": state.forces.force,
        "energy": state.forces.energy,
        "noise": state.noise,
        "history": state.history,
        "time": torch.as_tensor(state.time, dtype=torch.float64),
        **state.tally,
    }
    return {name: value for name, value in parts.items() if value is not None}


def same(a: State, b: State) -> bool:
    x, y = tensors(a), tensors(b)
    return a.step == b.step and x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


@every_scheme
def test_the_given_state_and_field_are_left_alone(scheme, physics, fields, rng):
    forcefield, field = physics(), fields(rng, 2)
    given = field.clone()
    state = scheme.start(field, forcefield, rng)
    before = copy.deepcopy(state)
    walk(scheme, forcefield, state, 3, rng)
    assert torch.equal(field, given) and same(state, before)


@every_scheme
def test_a_run_is_a_function_of_field_and_generator(scheme, physics, fields, rng):
    forcefield, field = physics(), fields(rng, 2)
    runs = []
    for _ in range(2):
        chance = generator()
        runs.append((walk(scheme, forcefield, scheme.start(field, forcefield, chance), 6, chance), chance.get_state()))
    assert same(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1])


@every_scheme
def test_a_run_can_be_cut_and_taken_up_from_state_and_generator(scheme, physics, fields, rng):
    forcefield, chance = physics(), generator()
    middle = walk(scheme, forcefield, scheme.start(fields(rng, 2), forcefield, chance), 4, chance)
    kept, kept_chance = copy.deepcopy(middle), torch.Generator()
    kept_chance.set_state(chance.get_state())
    through = walk(scheme, forcefield, middle, 5, chance)
    assert same(through, walk(copy.deepcopy(scheme), physics(), kept, 5, kept_chance))


@every_scheme
@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shape_and_precision_of_the_field_are_kept(scheme, physics, fields, batch, dtype, rng):
    forcefield, field = physics(), fields(rng, *batch).to(dtype)
    state = walk(scheme, forcefield, scheme.start(field, forcefield, rng), 3, rng)
    time = tensors(state).pop("time")
    assert time.dtype == torch.float64 and time.shape in ((), batch)
    assert all(count.dtype == torch.float64 and count.shape == batch for count in state.tally.values())
    for name, value in tensors(state).items():
        if name != "time" and name not in state.tally:
            assert value.dtype == dtype, name
            assert value.shape == (batch if name == "energy" else field.shape), name


@every_scheme
def test_replicas_do_not_depend_on_the_shape_of_their_batch(scheme, physics, fields, rng):
    forcefield, field = physics(), fields(rng, 2, 3)
    ends = []
    for start in (field, field.flatten(0, 1)):
        chance = generator()
        ends.append(walk(scheme, forcefield, scheme.start(start, forcefield, chance), 5, chance).field)
    assert torch.equal(ends[0].flatten(0, 1), ends[1])


@every_scheme
def test_forces_and_energy_belong_to_the_field(scheme, physics, fields, rng):
    forcefield = physics()
    state = scheme.start(fields(rng, 2), forcefield, rng)
    for _ in range(3):
        force, energy = forcefield(state.field)
        assert torch.equal(state.forces.force, force) and torch.equal(state.forces.energy, energy)
        assert not state.forces.force.requires_grad and not state.forces.energy.requires_grad
        state = scheme.step(state, forcefield, rng)


@every_scheme
def test_time_and_step_advance(scheme, physics, fields, rng):
    forcefield = physics()
    state = scheme.start(fields(rng, 3), forcefield, rng)
    assert state.step == 0 and bool((torch.as_tensor(state.time) == 0).all())
    for count in range(1, 5):
        new = scheme.step(state, forcefield, rng)
        waited = torch.as_tensor(new.time) - torch.as_tensor(state.time)
        assert new.step == count and bool((waited > 0).all()) and bool(torch.isfinite(waited).all())
        state = new


@every_scheme
def test_a_step_calls_the_force_field_as_often_as_declared(scheme, physics, fields, rng):
    forcefield = Counted(physics())
    state = scheme.start(fields(rng, 2), forcefield, rng)
    assert forcefield.calls == 1
    walk(scheme, forcefield, state, 7, rng)
    if scheme.force_calls is None:
        assert 1 + 7 < forcefield.calls < 1 + 7 * 40
    else:
        assert forcefield.calls == 1 + 7 * scheme.force_calls


@every_scheme
def test_the_configuration_is_plain_and_names_the_scheme(scheme, physics, fields):
    config = scheme.config()
    assert config["type"] == type(scheme).__name__ and type(scheme).__name__ in repr(scheme)
    assert json.loads(json.dumps(config)) == config


@every_scheme
def test_a_run_has_the_bits_of_its_steps(scheme, physics, fields, rng):
    """What a run asks of the forces to judge its step leaves no trace in fields, clocks or generators."""
    field, alone, within = fields(rng, 2), generator(), generator()
    bare = walk(scheme, physics(), scheme.start(field, physics(), alone), 5, alone)
    run = simulate(physics(), scheme, field, steps=np.int64(5), record=None, rng=within).final
    assert same(bare, run) and torch.equal(alone.get_state(), within.get_state())


@every_scheme
@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_a_run_of_no_replicas_is_empty(scheme, physics, fields, on_disk, tmp_path, rng):
    field = fields(rng, 2)[:0]
    path = tmp_path / "run" if on_disk else None
    run = simulate(physics(), scheme, field, steps=3, record=Every(1), rng=generator(), path=path)
    assert run.final.step == 3 and run.final.field.shape == field.shape
    assert run.data.sizes["record"] == 4 and run.data.field.shape == (4, 0, *field.shape[1:])
    assert run.tensor("energy").shape == (4, 0)


@every_scheme
def test_fields_that_the_scheme_cannot_move_are_refused(scheme, physics, fields, rng):
    modes = ClassicalForceField(JahnTeller(LATTICE))
    for forcefield, field in ((exchange(), spins(rng)), (modes, torch.zeros(9, 3).double()), (springs(), spins(rng))):
        if fields is spins and forcefield.field_type.values == "unit":
            continue
        if fields is continuous and forcefield is modes:
            continue
        with pytest.raises(ValueError):
            scheme.start(field, forcefield, rng)


@every_scheme
@pytest.mark.parametrize("wrong", [3, "springs", ClassicalForceField, GAS], ids=["3", "word", "class", "gas"])
def test_what_is_no_force_field_and_no_generator_is_refused(scheme, physics, fields, wrong, rng):
    with pytest.raises(TypeError, match="forcefield must be a ForceField"):
        simulate(wrong, scheme, fields(rng), steps=1, record=None, rng=rng)
    with pytest.raises(TypeError, match=r"rng must be a torch\.Generator"):
        simulate(physics(), scheme, fields(rng), steps=1, record=None, rng=wrong)


NUMBERS = {"dt": 0.1, "kT": 0.1, "damping": 1.0, "mass": 1.0}
ZERO_IS_FINE = {Langevin: {"kT", "damping"}, Brownian: {"kT"}, EulerMaruyama: {"kT"}, TDGL: set()} | {
    scheme: {"kT", "damping"} for scheme in (SemiImplicit, SphericalMidpoint, AB2Rotation, DepondtMertens, HeunSpins)
}


def names(make: type[Scheme]) -> list[str]:
    return [f.name for f in dataclasses.fields(make) if f.name in NUMBERS]  # type: ignore[arg-type]


IMPOSSIBLE = [
    pytest.param(make, name, value, id=f"{make.__name__} {name}={value}")
    for make, fine in ZERO_IS_FINE.items()
    for name in names(make)
    for value in (-0.1, math.nan, math.inf, *(() if name in fine else (0.0,)), "0.1", None, True, 1j)
]


@pytest.mark.parametrize(("make", "name", "value"), IMPOSSIBLE)
def test_impossible_parameters_are_refused_by_name(make, name, value):
    arguments = {key: NUMBERS[key] for key in names(make)} | {name: value}
    with pytest.raises((ValueError, TypeError), match=f"{name} must be a finite real number [>≥] 0"):
        make(**arguments)


@pytest.mark.parametrize(("make", "name"), [(m, n) for m, fine in ZERO_IS_FINE.items() for n in sorted(fine)])
def test_zero_is_allowed_where_physics_allows_it(make, name):
    arguments = {key: NUMBERS[key] for key in names(make)} | {name: 0.0}
    assert getattr(make(**arguments), name) == 0.0


@every_scheme
def test_a_field_of_the_wrong_shape_is_refused(scheme, physics, fields, rng):
    with pytest.raises(ValueError, match=r"shape \(\*batch, 9, [13]\)"):
        scheme.start(fields(rng)[:-1], physics(), rng)


@pytest.mark.parametrize("scheme", [Brownian(0.1, 0.1), EulerMaruyama(0.1, 0.1), TDGL(0.1)], ids=repr)
def test_first_order_equations_refuse_a_velocity(scheme, rng):
    field = continuous(rng)
    with pytest.raises(ValueError, match="first order in time"):
        scheme.start(field, springs(), rng, velocity=field)


@pytest.mark.parametrize("scheme", [Langevin(0.1, 0.1, 1.0), Brownian(0.1, 0.1), EulerMaruyama(0.1, 0.1)], ids=repr)
def test_noise_without_a_generator_is_refused(scheme, rng):
    with pytest.raises(TypeError, match=r"pass rng=torch\.Generator"):
        scheme.step(scheme.start(continuous(rng), springs(), None), springs(), None)
