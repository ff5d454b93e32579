"""From a recipe to a data set, in parallel, restartable at any moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nearsight import __version__
from nearsight._validation import boolean, filename, instance, integer
from nearsight.forcefields import ForceField, ParameterBox
from nearsight.parallel import once, resumable
from nearsight.parallel.parts import Parts
from nearsight.training import _snapshots as snapshots
from nearsight.training.dataset import KINDS, DataSet
from nearsight.training.recipe import Recipe

if TYPE_CHECKING:
    from distributed import Client


def generate(
    exact: ForceField,
    recipe: Recipe,
    path: str | Path,
    *,
    seed: int,
    parameters: ParameterBox | Mapping[str, tuple[float, float]] | None = None,
    workers: int | None = None,
    client: Client | None = None,
    progress: bool = True,
    resume: bool = True,
) -> DataSet:
    """Compute the snapshots of a recipe with an exact force field and write them to ``path``.

    The unit of work is a trajectory with random numbers of its own, drawn from ``seed`` and its number alone: the
    data do not depend on how many workers share the work or in which order. Each finished trajectory is kept as one
    file in ``path.parts/``; when all are there they become the data set and the parts go. Killed at any moment, the
    same call finds the parts, computes the rest, and ends with the same ``hash``; a part that was damaged meanwhile is
    named by a ``storage.DamagedFileWarning`` and computed again. A complete data set is opened, not computed again.
    All this holds to the last bit on one machine; another processor or library of linear algebra may round differently.

    Parameters
    ----------
    exact: the exact force field, on the lattice of the data set.
    parameters: of a family of Hamiltonians, as ``{"g": (1.0, 2.0), "kT": (0.05, 0.2)}``: every trajectory draws its own
        from this box (:meth:`nearsight.forcefields.ParameterBox.draw`), by a stream of its own, and is one of
        ``exact.with_parameters(...)``. They are stored with each snapshot;
        :class:`nearsight.forcefields.LearnedFamily` learns from them.
    workers, client: as in :func:`nearsight.parallel.resumable`.
    resume: go on with what is there; False refuses to touch it.

    Raises ``ValueError`` if what is there was made with another recipe, seed or model, and says what differs.
    """
    instance(exact, ForceField, "exact", "Give an ExactForceField of a model and a solver.")
    instance(recipe, Recipe, "recipe")
    path, seed = filename(path, "path"), integer(seed, "seed", least=0)
    workers = None if workers is None else integer(workers, "workers", least=0)
    for name, flag in (("progress", progress), ("resume", resume)):
        boolean(flag, name)
    box = ParameterBox(parameters) if isinstance(parameters, Mapping) else parameters
    if box is not None:
        exact.with_parameters(**next(instance(box, ParameterBox, "parameters").corners()))  # refuses unknown names
    plan, cost = _plan(exact, recipe, seed)
    if box is not None:
        plan |= {"parameters": box.config(), "parameter_names": list(box.names)}
    tasks = [(recipe, trajectory, seed, *(() if box is None else (box,))) for trajectory in range(len(recipe.plan()))]

    def build(folder: Path) -> Path:
        # The longest kinds first would balance better; in order of the plan an interrupted run leaves a readable state.
        parts: Any = resumable(
            snapshots.make, tasks, folder, shared=(exact,), plan=plan, workers=workers, client=client,
            seconds=cost * recipe.solutions, title="exact trajectories", progress=progress,
        )  # fmt: skip
        return _assemble(parts, exact, recipe.plan())

    return once(DataSet, path, plan, build, resume=resume)


def _plan(exact: ForceField, recipe: Recipe, seed: int) -> tuple[dict[str, Any], float]:
    """Everything that decides the data, and the seconds one exact solution takes.

    The description of a model may leave parameters out; the forces on one fixed field see all of them.
    """
    probe = snapshots.gaussian(exact, snapshots.generator(0, 0))
    start = time.perf_counter()
    force, energy = exact(probe)
    cost = time.perf_counter() - start
    if force.dtype != torch.float64 or any(p.requires_grad for p in exact.parameters()):
        raise ValueError(
            f"{exact!r} is not an exact force field in double precision; labels come from an ExactForceField."
        )
    weights = torch.randn(probe.shape, generator=snapshots.generator(0, 1), dtype=torch.float64)
    fingerprint = [float(force.norm()), float((force * weights).sum())] + (
        [float(energy)] if energy is not None else []
    )
    plan = {
        "nearsight": __version__,
        "model": repr(exact),
        "lattice": exact.lattice.config(),
        "components": exact.components,
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "fingerprint": fingerprint,
    }
    return plan, cost


def _assemble(parts: Parts, exact: ForceField, kinds: list[str]) -> Path:
    pieces = list(parts)
    counts = [len(piece["field"]) for piece in pieces]
    arrays = {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]}
    arrays["trajectory"] = np.repeat(np.arange(len(kinds)), counts)
    arrays["kind"] = np.repeat([KINDS.index(kind) for kind in kinds], counts)
    made = parts.folder / "assembled.zarr"
    DataSet._write(made, arrays, exact.lattice, parts.plan)
    return made
