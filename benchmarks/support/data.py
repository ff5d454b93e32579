"""Small exact data sets, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Hamiltonian, Holstein, JahnTeller
from nearsight.lattices import square
from nearsight.solvers import Dense
from nearsight.training import Recipe, Split, generate


@dataclass(frozen=True)
class Task:
    """Electrons to be learned: a model at fixed μ = 0, which is half filling by particle-hole symmetry."""

    name: str
    model: Hamiltonian
    kT: float = 0.1

    @property
    def exact(self) -> ExactForceField:
        return ExactForceField(self.model, Dense(mu=0.0, kT=self.kT))

    def split(self, folder: Path, factor: float) -> Split:
        """Training, validation and test snapshots of the default recipe with ``factor`` times its trajectories."""
        recipe = Recipe().scaled(factor)
        path = folder / f"{self.name.lower().replace(' ', '_')}_{self.model.lattice.n_sites}_{len(recipe)}.zarr"
        folder.mkdir(parents=True, exist_ok=True)
        return generate(self.exact, recipe, path, seed=1, workers=1, progress=False).split(
            validation=0.15, test=0.25, seed=0
        )


def tasks(full: bool) -> list[Task]:
    """Holstein and Jahn-Teller electrons on lattices whose exact solution takes milliseconds."""
    return [
        Task("Holstein", Holstein(square(12), g=1.5, k=1.005, kappa=0.18)),
        Task("Jahn-Teller", JahnTeller(square(10 if full else 8), symmetric=True)),
    ]
