"""One round of a refinement: a run, its audit, the sites that are worth an exact force, and the labels there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import At, Audit, Guard, Scheme, simulate
from nearsight.dynamics.run.guard import OutOfRangeError
from nearsight.fields import tangent
from nearsight.forcefields import ExactForceField, ForceField, Referee, UncertainForceField
from nearsight.lattices import Lattice
from nearsight.storage import data_hash, load_tensors, save_tensors
from nearsight.training._site_choice import (
    POOL,
    Scale,
    best_candidates,
    environments,
    guessed_errors,
    spread_out,
)  # fmt: skip
from nearsight.training._snapshots import generator
from nearsight.training._windows import Labelled, Windows, joined
from nearsight.training.dataset import KINDS, DataSet
from nearsight.training.refine_options import RefineOptions

PART = 0.1
"""Labels are to err by this part of what the learned forces do, which otherwise learn the errors of the referee."""
LABELS, CHOSEN, AUDITED, RUN, SHORT = "labels.safetensors", "chosen.zarr", "audited.zarr", "run", "run-short"
STREAMS = 3
"""Random streams of a round: the initial field, the noise of the run, the order of sites."""
CURE = "Restore a copy, or delete the folder of its round and resume: equal settings give equal numbers."


@dataclass(frozen=True, eq=False)
class Problem:
    """What all rounds have in common.

    learned: the part with parameters, on the lattice of the run; fixed: what was added to it in the fit, or None.
    typical: fields of the training data, whose environments set the scale.
    """

    learned: ForceField
    fixed: ForceField | None
    exact: ExactForceField
    scheme: Scheme
    field: Callable[[torch.Generator], Tensor]
    lattice: Lattice
    options: RefineOptions
    windows: Windows
    typical: DataSet
    progress: bool

    @property
    def unit(self) -> bool:
        """Whether fields are unit vectors, of whose forces only the part normal to them counts."""
        law = self.exact.field_type
        return law is not None and law.values == "unit"

    @property
    def device(self) -> torch.device:
        """Where learned forces are computed; exact ones are on the CPU."""
        return next(self.learned.parameters()).device

    @property
    def uncertain(self) -> UncertainForceField | None:
        """The part that knows its error, if there is one."""
        return next((m for m in self.learned.modules() if isinstance(m, UncertainForceField)), None)

    def rng(self, number: int, stream: int) -> torch.Generator:
        return generator(self.options.seed, STREAMS * number + stream)

    def relevant(self, force: Tensor, field: Tensor) -> Tensor:
        """What of forces ``(n, component)`` on values of the field counts."""
        return tangent(force, field) if self.unit else force

    def scale(self) -> Scale:
        return Scale.of(environments(self.typical.lattice, self.typical.field[:64]))


@dataclass(frozen=True, eq=False)
class Labels:
    """What a round found: windows to learn from (chosen) and to be judged by (audited), and how it was found."""

    chosen: DataSet
    audited: DataSet
    known: Tensor
    """Environments of all sites that were labelled ``(n, feature)``."""
    facts: dict[str, Any]


def label(problem: Problem, number: int, folder: Path, known: Tensor, left: int | None) -> Labels:
    """Run, audit, choose and label; what is there already is read. ``left``: exact solutions that may be spent."""
    if not (folder / LABELS).exists():
        _compute(problem, number, folder, known, left)
    tensors, texts = load_tensors(folder / LABELS, cure=CURE)
    for name in (RUN, SHORT):
        shutil.rmtree(folder / name, ignore_errors=True)
    chosen, audited = (DataSet.open(folder / name) for name in (CHOSEN, AUDITED))
    facts = json.loads(texts["facts"])
    for name, data in (("chosen", chosen), ("audited", audited)):
        if data.hash != facts["hashes"][name]:
            raise ValueError(f"{data.path} is not what its round made. {CURE}")
    return Labels(chosen, audited, tensors["environments"], facts)


def _compute(problem: Problem, number: int, folder: Path, known: Tensor, left: int | None) -> None:
    fields, steps, audit, stopped = _moved(problem, number, folder)
    audited = _audited(problem, fields, audit)
    scale = problem.scale()
    around = environments(problem.lattice, fields) / scale.width  # (snapshot, site, feature)
    at = torch.from_numpy(audited.replica), torch.from_numpy(audited.site)
    judged = around[at]
    count = problem.options.sites if left is None else min(problem.options.sites, left - audited.solutions)
    scores = _scores(problem, fields, around, judged, audited.errors)
    sites, replicas = _chosen(problem, number, scores, around, torch.cat([known, judged]), at, max(1, count))
    parts, facts = _labelled(problem, fields, sites, replicas, at)
    for name, part in ((CHOSEN, parts), (AUDITED, audited.windows)):
        _write(problem, folder / name, part, number, steps)
    hashes = {"chosen": DataSet.open(folder / CHOSEN).hash, "audited": DataSet.open(folder / AUDITED).hash}
    facts |= {
        "round": number,
        "sites": parts.place.tolist(),
        "hashes": hashes,
        "audit": audited.facts,
        "steps": steps,
        "stopped": stopped,
    }
    facts["solutions"] = facts["solutions"] + audited.solutions
    facts["seconds"] = facts["seconds"] + audited.seconds
    environment = torch.cat([around[replicas, sites], judged])
    save_tensors(folder / LABELS, {"environments": environment}, {"facts": json.dumps(facts, sort_keys=True)})


# --- the run ----------------------------------------------------------------------------------------------------------


def _moved(problem: Problem, number: int, folder: Path) -> tuple[Tensor, list[int], xr.Dataset, int | None]:
    """Fields of a run ``(snapshot, site, component)``, the step of each, its audit, and where it had to stop.

    A poor force field may lead out of its range: what it did before is what there is to learn from.
    """
    options = problem.options
    first = 1 if options.times > 1 else options.steps
    times = sorted({round(t) for t in np.geomspace(first, options.steps, options.times)})
    start = problem.field(problem.rng(number, 0)).to(problem.device)
    try:
        return *_simulated(problem, number, folder / RUN, start, times), None
    except OutOfRangeError as error:
        step = error.step
    before = [t for t in times if t < step] or [max(0, step // 2)]
    # Beside the first one, which a resumed refinement asks again.
    return *_simulated(problem, number, folder / SHORT, start, before), step


def _simulated(
    problem: Problem, number: int, path: Path, start: Tensor, times: list[int]
) -> tuple[Tensor, list[int], xr.Dataset]:
    options = problem.options
    each = options.audited // len(times)
    # Another audit in every round: its sites are drawn by its seed and the step.
    seed = int(data_hash([options.seed, number])[:8], 16)
    audit = Audit(problem.exact, sites=each, at=times, budget=options.referee, seed=seed)
    learned = problem.learned
    run = simulate(
        learned + problem.exact.classical.on(problem.lattice), problem.scheme, start, steps=times[-1],
        record=At(tuple(times), fields=("field",)), rng=problem.rng(number, 1), path=path, resume=True,
        guard=_guard(problem, start), audit=audit, progress=problem.progress,
    )  # fmt: skip
    assert run.audit is not None
    fields = run.tensor("field").double()
    replicas = fields.shape[1:-2].numel()
    return fields.reshape(-1, *fields.shape[-2:]), [t for t in times for _ in range(replicas)], run.audit


def _guard(problem: Problem, start: Tensor) -> Guard | None:
    """The range of the training data and of the start, widened: what lies beyond it is of no run by exact forces."""
    if problem.unit:
        return None
    known = (problem.typical.field, start.double().cpu())
    return Guard.around(torch.cat([x.reshape(1, -1, x.shape[-1]) for x in known], dim=1), problem.options.guard)


# --- the audit --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Audited:
    """Exact forces on random sites of the run: what the error is there, and what later weights are judged by."""

    replica: np.ndarray
    site: np.ndarray
    errors: Tensor
    windows: Labelled
    solutions: int
    seconds: float
    facts: dict[str, Any]


def _audited(problem: Problem, fields: Tensor, audit: xr.Dataset) -> _Audited:
    replicas = len(fields) // audit.sizes["audit"]
    parts, errors, seen_sites, seen_replicas, solutions = [], [], [], [], 0
    for k in range(audit.sizes["audit"]):
        one = audit.isel(audit=k).dropna("sample", how="any", subset=["error"])
        site, row = (torch.from_numpy(one[n].values.astype(np.int64)) for n in ("site", "replica"))
        row = row + k * replicas
        force, error = (torch.from_numpy(one[n].values.astype(float)) for n in ("exact", "error"))
        parts.append(_cut(problem, fields, site, row, force))
        errors.append(error.norm(dim=-1))
        seen_sites.append(site.numpy())
        seen_replicas.append(row.numpy())
        whole = int(one.radius) == 0
        solutions += len(row.unique()) * problem.lattice.n_sites if whole else len(site)
    rms = {n: [float(x) for x in audit[n].values] for n in ("rms", "rms_low", "rms_high", "scale", "referee_error")}
    facts = {**rms, "step": audit.step.values.astype(int).tolist(), "solutions": solutions}
    return _Audited(
        np.concatenate(seen_replicas), np.concatenate(seen_sites), torch.cat(errors), joined(parts), solutions,
        float(audit.nominal_seconds.sum()), facts,
    )  # fmt: skip


# --- the choice -------------------------------------------------------------------------------------------------------


def _scores(problem: Problem, fields: Tensor, around: Tensor, judged: Tensor, errors: Tensor) -> Tensor:
    """How doubtful the force on every site is ``(snapshot, site)``: by itself, or by the audit of sites like it."""
    part = problem.uncertain
    if part is None:
        return torch.stack([guessed_errors(each, judged, errors) for each in around])
    dtype = next(part.parameters()).dtype
    widths = [part.estimate(field.to(problem.device, dtype), part.levels[0]).width for field in fields]
    return torch.stack([w.double().cpu().norm(dim=-1) for w in widths])


def _chosen(
    problem: Problem,
    number: int,
    scores: Tensor,
    around: Tensor,
    known: Tensor,
    audited: tuple[Tensor, ...],
    count: int,
) -> tuple[Tensor, Tensor]:
    """Sites and their snapshots, in random order: a pilot of the referee shall be like the rest."""
    free = scores.clone()
    free[audited] = -torch.inf
    pool = best_candidates(free.flatten(), POOL * count)
    pool = pool[free.flatten()[pool].isfinite()]
    places = pool[spread_out(scores.flatten()[pool], around.flatten(0, 1)[pool], known, count)]
    places = places[torch.randperm(len(places), generator=problem.rng(number, 2))]
    sites = scores.shape[1]
    return places % sites, places // sites


def _labelled(
    problem: Problem, fields: Tensor, sites: Tensor, replicas: Tensor, audited: tuple[Tensor, ...]
) -> tuple[Labelled, dict[str, Any]]:
    """Exact forces of the electrons on chosen sites, and how far the learned ones are from them."""
    own = fields[replicas, sites]
    with torch.no_grad():
        learned = torch.stack([problem.learned(x.to(problem.device)).force.double().cpu() for x in fields])[
            replicas, sites
        ]

    def norm(difference: Tensor) -> float:
        return float(problem.relevant(difference, own[: len(difference)]).square().mean().sqrt())

    referee = Referee(
        problem.exact.model, problem.lattice, problem.exact.solver, budget=problem.options.referee, part=PART
    )
    found = referee.judge(fields, sites, replicas, learned, norm)
    error = norm(learned - found.force)
    if found.error > 0.5 * error and found.error > 0:
        raise ArithmeticError(
            f"The exact forces of this round err by {found.error:.2g}, and the learned ones by {error:.2g}: nothing "
            "can be learned from them. Raise referee= (nominal seconds), or stop here."
        )
    whole = found.everywhere is not None
    facts = {
        "referee_error": found.error, "radius": found.radius, "boundary": found.boundary, "solver": found.solver,
        "seconds": found.seconds,
        "solutions": len(replicas.unique()) * problem.lattice.n_sites if whole else len(sites),
    }  # fmt: skip
    more = found.everywhere
    if more is not None:  # what judges the fit is not learned
        more = more.clone()
        rows = replicas.unique()
        for row, site in zip(*audited, strict=True):
            more[rows == row, site] = torch.nan
    return _cut(problem, fields, sites, replicas, found.force, more), facts


# --- windows ----------------------------------------------------------------------------------------------------------


def _cut(
    problem: Problem, fields: Tensor, sites: Tensor, replicas: Tensor, force: Tensor, more: Tensor | None = None
) -> Labelled:
    """Windows whose labels are those of a fit: with the parts of its model that are known."""
    found = problem.windows.cut(fields, sites, replicas, force, more)
    if problem.fixed is None:
        return found
    with torch.no_grad():
        return found._replace(force=found.force + problem.fixed.on(found.lattice)(found.field).force)


def _write(problem: Problem, path: Path, part: Labelled, number: int, steps: list[int]) -> None:
    DataSet.from_arrays(
        path, lattice=part.lattice, field=part.field, force=part.force * (part.weight > 0).unsqueeze(-1),
        weight=part.weight, kind=np.full(len(part.field), KINDS.index("refined")), components=part.field.shape[-1],
        attrs={"round": number, "run": repr(problem.lattice), "steps": sorted(set(steps))},
    )  # fmt: skip
