"""The model, its teacher, and the quench that teacher and student are both put through."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics import Langevin
from nearsight.forcefields import ClassicalForceField, ExactForceField, FixedNumber, SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import Lattice, square
from nearsight.solvers import Dense
from nearsight.studies.holstein.config import Config
from nearsight.studies.run import Run
from nearsight.training import DataSet, Split


def holstein(config: Config, length: int) -> Holstein:
    return Holstein(square(length), **config.model.model_dump())


def teacher(config: Config, length: int) -> ExactForceField:
    """Exact electrons at fixed μ, and springs: what the student learns."""
    return ExactForceField(holstein(config, length), Dense(mu=config.mu, kT=config.kT))


def quenched(config: Config, length: int) -> ExactForceField:
    """Exact electrons in the ensemble of the quenches, and springs."""
    if config.filling is None:
        return teacher(config, length)
    return ExactForceField(holstein(config, length), Dense(filling=config.filling, kT=config.kT))


def held(config: Config, learned: SumForceField) -> SumForceField:
    """The student, with its electrons in the ensemble of the quenches."""
    if config.filling is None:
        return learned
    electrons, *springs = learned.parts
    per_site = config.model.g * config.model.spins * (config.filling - 0.5)
    return SumForceField(FixedNumber(electrons, per_site), *springs)  # type: ignore[arg-type]


def split(run: Run, config: Config) -> Split:
    """Training, validation and test snapshots, always the same in one run; no trajectory is in two of them."""
    fit = config.fit
    return DataSet.open(run.path / "data.zarr").split(validation=fit.validation, test=fit.test, seed=config.seed)


def device(config: Config) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "This run is set to device=cuda, but torch sees no CUDA device. Start one with --set device=cpu."
        )
    return torch.device(config.device)


def scheme(config: Config) -> Langevin:
    quench = config.quench
    return Langevin(dt=quench.dt, kT=config.kT, damping=quench.damping, mass=quench.mass)


def hot(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Fields from which a quench starts: independent Gaussian noise on every site ``(replica, site, 1)``, float64."""
    return config.quench.amplitude * torch.randn(replicas, lattice.n_sites, 1, generator=rng, dtype=torch.float64)


def log_steps(duration: float, dt: float, records: int) -> tuple[int, ...]:
    """Step 0 and up to ``records`` more, evenly spaced in the logarithm of time, the last at ``duration``."""
    last = max(1, round(duration / dt))
    return (0, *sorted({round(step) for step in np.geomspace(1, last, records)}))


def density(model: Holstein, field: Tensor, force: Tensor) -> Tensor:
    """⟨n_i⟩ ``(*batch, site)`` of records: the total force less that of the springs is the electrons'."""
    field = field.double()
    return model.density(force.double() - ClassicalForceField(model)(field).force)
