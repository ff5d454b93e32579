"""One trajectory of a recipe: the unit of work and of reproducibility."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics import Brownian, Langevin, Scheme, State
from nearsight.forcefields import ForceField, ParameterBox
from nearsight.lattices import Lattice
from nearsight.parallel import threads
from nearsight.training.recipe import NearEquilibrium, Random, Recipe, Relaxing, Thermal


def generator(seed: int, trajectory: int) -> torch.Generator:
    """The random numbers of one trajectory, independent of all others and of who computes it."""
    state = np.random.SeedSequence(seed, spawn_key=(trajectory,)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


def parameters_of(box: ParameterBox, seed: int, trajectory: int) -> dict[str, float]:
    """Those of one trajectory, from a stream of their own: its other random numbers are the same with and without."""
    state = np.random.SeedSequence(seed, spawn_key=(trajectory, 1)).generate_state(1, np.uint64)[0]
    return box.draw(torch.Generator().manual_seed(int(state) & (2**63 - 1)))


def make(
    exact: ForceField, recipe: Recipe, trajectory: int, seed: int, box: ParameterBox | None = None
) -> dict[str, Tensor]:
    """Fields, forces, energies and parameters (if there are any) and times of one trajectory of the recipe's plan.

    Runs on one thread whatever the caller uses: the last digits of a diagonalisation depend on the number of threads,
    and small matrices are diagonalised faster side by side than by several threads each.
    """
    kind = recipe.plan()[trajectory]
    values = {} if box is None else parameters_of(box, seed, trajectory)
    exact = exact.with_parameters(**values) if values else exact
    try:
        with threads(1):
            states = _MAKERS[kind](exact, getattr(recipe, kind), generator(seed, trajectory))
    except (ValueError, ArithmeticError) as error:
        raise type(error)(
            f"Trajectory {trajectory} ({kind}{_at(values)}) failed: {error} In the recipe, try a smaller {kind}.dt or "
            "amplitude."
        ) from error
    result = {
        "field": torch.stack([s.field for s in states]),
        "force": torch.stack([s.forces.force for s in states]),
        "time": torch.tensor([float(s.time) for s in states], dtype=torch.float64),
    }
    if all(s.forces.energy is not None for s in states):
        result["energy"] = torch.stack([s.forces.energy for s in states])  # type: ignore[misc]
    if values:
        row = torch.tensor(list(values.values()), dtype=torch.float64)
        result["parameters"] = row.repeat(len(states), 1)
    broken = [name for name, values in result.items() if not bool(torch.isfinite(values).all())]
    if broken:
        raise ArithmeticError(f"Trajectory {trajectory} ({kind}) holds NaN or infinite {broken[0]}; lower {kind}.dt.")
    return result


def _at(values: dict[str, float]) -> str:
    return "".join(f", {name} = {value:.4g}" for name, value in values.items())


def _random(exact: ForceField, kind: Random, rng: torch.Generator) -> list[State]:
    return [_still(exact, _random_field(exact, kind, rng)) for _ in range(kind.snapshots)]


def _random_field(exact: ForceField, kind: Random, rng: torch.Generator) -> Tensor:
    field = gaussian(exact, rng)
    if _uniform((0.0, 1.0), rng) < kind.correlated:
        length = _uniform(kind.correlation, rng)
        field = smooth(field, exact.lattice, length, staggered=_uniform((0.0, 1.0), rng) < 0.5)
    return _with_rms(field, _uniform(kind.amplitude, rng))


def _thermal(exact: ForceField, kind: Thermal, rng: torch.Generator) -> list[State]:
    field = _with_rms(gaussian(exact, rng), _uniform(kind.amplitude, rng))
    kT = _uniform(kind.kT, rng)
    scheme: Scheme = (
        Brownian(dt=kind.dt, kT=kT, damping=kind.damping)
        if kind.mass is None
        else Langevin(dt=kind.dt, kT=kT, damping=kind.damping, mass=kind.mass)
    )
    return _record(exact, scheme, field, range(kind.burn_in, kind.steps + 1, kind.every), rng)


def _relaxing(exact: ForceField, kind: Relaxing, rng: torch.Generator) -> list[State]:
    field = _with_rms(gaussian(exact, rng), _uniform(kind.amplitude, rng))
    # Euler's step for the descent: half the exact solutions of Heun's, and a snapshot need not lie on the exact path.
    scheme = Brownian(dt=kind.dt, kT=_uniform(kind.kT, rng), damping=kind.damping)
    return _record(exact, scheme, field, kind.record, rng)


def _near_equilibrium(exact: ForceField, kind: NearEquilibrium, rng: torch.Generator) -> list[State]:
    noise = gaussian(exact, rng)
    amplitude = _uniform(kind.amplitude, rng)
    if kind.wavevector is None:
        field = _with_rms(noise, amplitude)
    else:
        phase = 2 * math.pi * torch.as_tensor(exact.lattice.cells).double() @ _wavevector(kind, exact.lattice)
        # Sites of one cell and the components of one site differ in phase at random; noise breaks what symmetry is
        # left.
        shift = 2 * math.pi * torch.rand(exact.lattice.n_basis, exact.components, generator=rng, dtype=torch.float64)
        wave = torch.cos(phase.unsqueeze(-1) + shift[torch.as_tensor(exact.lattice.sublattice)])
        field = _with_rms(wave + 0.05 * noise, amplitude)
    scheme = Brownian(dt=kind.dt, kT=0.0, damping=kind.damping)
    (relaxed,) = _record(exact, scheme, field, [kind.steps], rng)
    shaken = [
        relaxed.field + _with_rms(gaussian(exact, rng), _uniform(kind.shake, rng)) for _ in range(kind.snapshots - 1)
    ]
    return [relaxed, *(_still(exact, field) for field in shaken)]


_MAKERS: dict[str, Callable[..., list[State]]] = {
    "random": _random,
    "thermal": _thermal,
    "relaxing": _relaxing,
    "near_equilibrium": _near_equilibrium,
}


def _record(
    exact: ForceField, scheme: Scheme, field: Tensor, steps: tuple[int, ...] | range | list[int], rng: torch.Generator
) -> list[State]:
    """The states at these steps. Their forces were computed to move the field: a snapshot costs nothing extra."""
    state = scheme.start(field, exact, rng)
    wanted, states = set(steps), []
    while True:
        if state.step in wanted:
            states.append(state)
        if state.step >= max(wanted):
            return states
        state = scheme.step(state, exact, rng)


def _still(exact: ForceField, field: Tensor) -> State:
    return State(field, None, exact(field), 0.0, 0)


def gaussian(exact: ForceField, rng: torch.Generator) -> Tensor:
    return torch.randn(exact.lattice.n_sites, exact.components, generator=rng, dtype=torch.float64)


def smooth(field: Tensor, lattice: Lattice, length: float, *, staggered: bool = False) -> Tensor:
    r"""White noise turned into noise with correlations ∝ exp(-r²/2ξ²), ξ = ``length``, by diffusion along the bonds.

    A hop of probability α to each of z neighbours at distance a spreads a point by α z a²/d along each of d axes, so
    n of them make a Gaussian of variance σ² = n α z a²/d, and noise smoothed by it has ξ² = 2σ². Diffusion works on
    every lattice, with open edges too. ``staggered`` lets neighbours spread with the opposite sign.
    """
    bonds = lattice.bonds(1)
    z = 2 * len(bonds) / lattice.n_sites
    spread = 0.5 * length**2 * lattice.dim / (z * float(np.linalg.norm(bonds.displacement[0])) ** 2)
    hops = math.ceil(spread * 2 * z)  # α <= 1/2z: no mode changes sign
    if hops == 0:
        return field
    alpha, sign = spread / hops, -1.0 if staggered else 1.0
    i, j = torch.as_tensor(bonds.i), torch.as_tensor(bonds.j)
    for _ in range(hops):
        flow = sign * field[..., j, :] - field[..., i, :], sign * field[..., i, :] - field[..., j, :]
        field = field.index_add(-2, i, flow[0], alpha=alpha).index_add(-2, j, flow[1], alpha=alpha)
    return field


def _wavevector(kind: NearEquilibrium, lattice: Lattice) -> Tensor:
    assert kind.wavevector is not None
    if len(kind.wavevector) != lattice.dim:
        raise ValueError(
            f"near_equilibrium.wavevector needs {lattice.dim} numbers on {lattice!r}, got {kind.wavevector}."
        )
    return torch.tensor(kind.wavevector, dtype=torch.float64)


def _with_rms(field: Tensor, rms: float) -> Tensor:
    return field * (rms / field.square().mean().sqrt().clamp_min(1e-300))


def _uniform(interval: tuple[float, float], rng: torch.Generator) -> float:
    low, high = interval
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))
