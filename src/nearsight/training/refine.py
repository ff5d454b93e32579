"""Learning where a force field fails: exact forces on sites of its own runs, and a fit that goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import __version__
from nearsight._description import differences, fingerprint, plain
from nearsight._validation import boolean, filename, instance
from nearsight.dynamics import Audit, Scheme
from nearsight.fields import tangent
from nearsight.forcefields import (
    ExactForceField,
    FixedNumber,
    ForceField,
    LearnedForceField,
    Referee,
    UncertainForceField,
)
from nearsight.lattices import Lattice
from nearsight.storage import load_tensors, lock, read_json, save_tensors, tensor_hash, tidy_tree, write_json
from nearsight.training import _distributed
from nearsight.training._loss import learned_part
from nearsight.training._refine_round import CURE, Labels, Problem, label
from nearsight.training._windows import Windows, halo
from nearsight.training.dataset import DataSet
from nearsight.training.fit import CHUNK, FitOptions, _Several, _workspace
from nearsight.training.labelled import Split
from nearsight.training.metrics import _predict, evaluate
from nearsight.training.refine_options import RefineOptions
from nearsight.training.trainer import Trainer

PLAN, ROUND, WEIGHTS = "refinement.json", "round.json", "weights.safetensors"
TRIED, AGREE = 8, 0.1
"""Sites on which the labels of the data are compared with the exact electrons, and how well they must agree."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """What a refinement has found, round by round.

    model: the force field that was refined, in eval mode. history: along "round" the exact ``solutions`` and nominal
    ``seconds`` spent so far; ``rms`` with its 95 % interval ``rms_low`` to ``rms_high``, the error of the forces in the
    run of the round, by its audit, before the fit; ``chosen_before`` and ``chosen_after``, ``audited_before`` and
    ``audited_after``: rms errors on the sites that were learned and on the random ones that were not, before and after
    the fit; ``referee_error`` of the labels; ``kept``, whether the fit was better on audited sites than what it began
    with, without which its weights are dropped. spent: whether the budget ended it. path: its folder.

    :func:`refine` returns it.
    """

    model: ForceField
    history: xr.Dataset
    spent: bool
    path: Path


def refine(
    learned: ForceField,
    exact: ExactForceField,
    data: DataSet | Split,
    *,
    scheme: Scheme,
    field: Tensor | Callable[[torch.Generator], Tensor],
    lattice: Lattice,
    path: str | Path,
    options: RefineOptions | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Refinement:
    r"""Refine a learned force field on the exact forces of sites where it fails, in runs of its own on any lattice.

    A round is a run, an audit, a choice, exact forces and a fit:

    1. The field moves by the learned forces on ``lattice``, which no exact solver need be able to follow.
    2. Exact forces on random sites (:class:`nearsight.Audit`) tell the error of that run.
    3. Sites are chosen where the force is doubtful and the surroundings are new: with scores s_i, the spread of an
       :class:`~nearsight.forcefields.UncertainForceField` or else the errors of audited sites with similar
       surroundings, and invariants e_i of the field around a site, greedily the largest

       .. math:: s_i \min_j |\mathbf e_i - \mathbf e_j| ,

       where j are all sites chosen or audited so far.
    4. Their exact forces are those of patches around them, or of the whole lattice where that is cheaper, by the
       referee of audits at a tenth of the error of what is learned.
    5. The fit goes on from the weights it has, every other step on the original data, so that nothing is forgotten. Of
       a window cut around chosen sites only these count,

       .. math:: L = \frac{\sum_i w_i |F_i - F_i^{\mathrm{exact}}|^2}{\sigma_F^2 N_c \sum_i w_i}, \qquad w_i \in
                 \{0, 1\} ,

       since the learned force on them is the one on the large lattice, while those near the seam are none of it. The
       weights with the smallest error on audited sites and validation data are taken, those from before if there are
       no better ones.

    Parameters
    ----------
    learned: as :func:`fit` left it with ``data``: a :class:`LearnedForceField`, or an uncertain one, on a lattice
        of any size, with or without exact parts. It is refined in place.
    exact: the electrons it learned, in equilibrium at a chemical potential μ, and the classical part of the run.
    data: the original data, or the split of it that was fitted. F ``(snapshot, site, component)``.
    scheme: the equation of motion of the runs, one that moves by forces.
    field: the initial fields Φ ``(*batch, site, component)`` on ``lattice``; or a function of a generator that draws
        them for every round.
    lattice: of the runs, periodic along every axis, of the kind of ``learned``.
    path: a folder. Every round leaves ``round-NNN`` there, with the labelled windows as data sets (``chosen.zarr``,
        ``audited.zarr``), the log of the fit, the weights, and ``round.json``: which sites (the number of a recorded
        field and the site in it), their errors before and after, the exact solutions, and the hashes of data and
        weights.
    options: rounds, sites, the budget and the fit.
    resume: go on with what is in ``path``, also to more rounds than there were; killed at any moment, the same call
        ends with the same bits. False refuses to touch it.

    A round costs ``sites + audited`` exact forces, some milliseconds each where patches will do; where the referee is
    the whole lattice all of its sites count, and all that are near a chosen one are learned. ``solutions`` and
    ``seconds`` are looked at before a round begins, which takes fewer sites where not enough is left; a round whose
    referee is the whole lattice may exceed them.

    Raises ``TypeError`` or ``ValueError`` for what has no exact partner on single sites (fixed numbers of electrons,
    driven systems, discrete moves, open lattices, point clouds), for data that are not those of the exact electrons,
    for a folder of another refinement; ``ArithmeticError`` where the budget of the referee gives no labels better than
    what is learned.

    Examples
    --------
    >>> import tempfile, torch
    >>> import nearsight as ns
    >>> small, large, rng = ns.lattices.square(6), ns.lattices.square(16), torch.Generator().manual_seed(1)
    >>> exact = ns.ExactForceField(ns.hamiltonians.Holstein(small), ns.solvers.Dense(mu=0.0, kT=0.3))
    >>> fields = 0.1 * torch.randn(8, 36, 1, generator=rng).double()  # smaller than those of the run
    >>> data = ns.training.DataSet.from_arrays(lattice=small, field=fields, force=exact(fields).force)
    >>> network = ns.networks.GroupCNN(small, ns.fields.scalar(), channels=2, radii=(1.1,), head="force", rng=rng)
    >>> fit = ns.training.FitOptions(steps=100, warmup=10, learning_rate=0.01)
    >>> learned = ns.LearnedForceField(network)
    >>> _ = ns.training.fit(learned + exact.classical, data, options=fit, progress=False)
    >>> found = ns.training.refine(
    ...     learned + exact.classical, exact, data, lattice=large, path=tempfile.mkdtemp(), progress=False,
    ...     scheme=ns.dynamics.Langevin(dt=0.2, mass=1.0, damping=0.3, kT=0.1),
    ...     field=lambda rng: 0.5 * torch.randn(256, 1, generator=rng).double(),
    ...     options=ns.training.RefineOptions(rounds=1, steps=10, times=1, sites=40, audited=20, fit=fit),
    ... )
    >>> int(found.history.solutions[-1]), bool(found.history.audited_after < found.history.audited_before)
    (60, True)

    References
    ----------
    E. V. Podryabinkin, A. V. Shapeev, Comput. Mater. Sci. 140, 171 (2017), for learning on the fly where extrapolation
    is largest; K. Hodapp, A. Shapeev, Mach. Learn.: Sci. Technol. 1, 045005 (2020), for labels of single atoms in
    pieces cut out of large systems.
    """
    options = RefineOptions() if options is None else instance(options, RefineOptions, "options")
    path = filename(path, "path")
    for name, flag in (("resume", resume), ("progress", progress)):
        boolean(flag, name)
    split = _split(data, options)
    part, fixed = _parts(learned, exact, scheme, lattice)
    _check_component(exact, options.fit)
    start = field if callable(field) else _always(instance(field, Tensor, "field", "Or a function of a generator."))
    learned.to(getattr(torch, options.fit.dtype))
    _check_data(part, fixed, exact, split.train, options)
    moving = part.on(lattice)
    Audit(exact).check(moving + exact.classical.on(lattice))
    problem = Problem(
        learned=moving, fixed=fixed, exact=exact, scheme=scheme, field=start, lattice=lattice, options=options,
        windows=Windows(lattice, max(halo(part))), typical=split.train, progress=progress,
    )  # fmt: skip
    with lock(path):
        tidy_tree(path)
        _begin(path, _plan(problem, learned, split), learned, resume)
        rounds, spent = _rounds(problem, learned, split, path)
    return Refinement(learned.eval(), _history(rounds), spent, path)


def _always(field: Tensor) -> Callable[[torch.Generator], Tensor]:
    return lambda rng: field


# --- what is refused --------------------------------------------------------------------------------------------------


def _split(data: Any, options: RefineOptions) -> Split:
    instance(data, (DataSet, Split), "data", "Give the data set that was fitted, or the split of it.")
    if _distributed.ranks() > 1:
        raise RuntimeError("A refinement is one process: its runs and exact forces are not shared. Start it by itself.")
    fit = options.fit
    return data if isinstance(data, Split) else data.split(validation=fit.validation, test=fit.test, seed=fit.seed)


def _parts(learned: Any, exact: Any, scheme: Any, lattice: Any) -> tuple[ForceField, ForceField | None]:
    """The part with parameters and the rest, where windows and patches know all that a refinement asks for."""
    instance(learned, ForceField, "learned", "Energies of discrete moves are refined by none: fit_moves on more data.")
    instance(exact, ExactForceField, "exact", "Labels are those of electrons: ExactForceField(model, Dense(mu=, kT=)).")
    if instance(scheme, Scheme, "scheme").moves is None:
        raise TypeError(f"{type(scheme).__name__} makes discrete moves: refine with a scheme that moves by forces.")
    instance(lattice, Lattice, "lattice")
    if any(isinstance(m, FixedNumber) for m in learned.modules()):
        raise ValueError(
            "At a fixed number forces are not local, and no site can be learned by itself: refine the electrons inside "
            "FixedNumber at their μ₀, and put FixedNumber around them afterwards."
        )
    if getattr(exact.solver, "mu", None) is None:
        raise ValueError(
            f"{type(exact.solver).__name__} has no chemical potential, and at a fixed filling forces are not local: "
            "give the electrons at the μ they were learned at, ExactForceField(model, Dense(mu=..., kT=...))."
        )
    part, fixed = learned_part(learned)
    known = {id(p) for m in part.modules() if isinstance(m, LearnedForceField) for p in m.parameters()}
    if any(id(p) not in known for p in part.parameters() if p.requires_grad):
        raise TypeError(f"How far {part!r} sees is not known, so no window can be cut: give a LearnedForceField.")
    if not all(lattice.periodic):
        raise ValueError(f"Windows close around the torus: {lattice!r} must be periodic along every axis.")
    if any(isinstance(m, UncertainForceField) and not bool(m.factor.any()) for m in part.modules()):
        raise ValueError("Its intervals are not calibrated yet: calibrate(train, field, force) comes first.")
    return part, fixed


def _check_component(exact: ExactForceField, fit: FitOptions) -> None:
    if exact.field_type is not None and exact.field_type.values == "unit" and fit.component == "all":
        raise ValueError(
            'Of unit spins the torques are audited and refined: leave out fit.component, or take "tangent".'
        )


def _check_data(
    part: ForceField, fixed: ForceField | None, exact: ExactForceField, train: DataSet, options: RefineOptions
) -> None:
    """Refuse data whose labels are not those of the exact electrons: other parameters, or another classical part."""
    lattice, rng = train.lattice, torch.Generator().manual_seed(0)
    field, force = train.field[:1], train.force[:1]
    if fixed is not None:
        force = force - fixed.on(lattice)(field).force
    known = torch.arange(lattice.n_sites) if train.weight is None else train.weight[0].nonzero()[:, 0]
    sites = known[torch.randperm(len(known), generator=rng)[:TRIED]]
    unit = exact.field_type is not None and exact.field_type.values == "unit"
    own, labels = field[0, sites], force[0, sites]

    def norm(difference: Tensor) -> float:
        value = own[: len(difference)]
        return float((tangent(difference, value) if unit else difference).square().mean().sqrt())

    referee = Referee(exact.model, lattice, exact.solver, budget=options.referee, part=AGREE)
    found = referee.judge(field, sites, torch.zeros_like(sites), (1 + AGREE) * labels, norm)
    error, size = norm(labels - found.force), norm(labels)
    if error > AGREE * size + 3 * found.error:
        raise ValueError(
            f"The labels of the data differ from the exact electrons by {error:.2g} rms, and are {size:.2g}: give the "
            "electrons that made the data, and the classical part beside the learned one exactly if the data have it "
            "(learned + exact.classical for total forces, learned alone for those of the electrons)."
        )


# --- folder -----------------------------------------------------------------------------------------------------------


def _plan(problem: Problem, learned: ForceField, split: Split) -> dict[str, Any]:
    """All that decides the numbers but the number of rounds, which may grow."""
    first = problem.field(problem.rng(0, 0))
    options = {k: v for k, v in problem.options.model_dump(mode="json").items() if k != "rounds"}
    return {
        "nearsight": __version__, "exact": fingerprint(problem.exact), "scheme": fingerprint(problem.scheme),
        "learned": plain(learned), "lattice": problem.lattice.config(), "options": options,
        "field": tensor_hash({"field": first}),
        "data": {"train": split.train.hash, "validation": split.validation.hash},
    }  # fmt: skip


def _begin(path: Path, plan: dict[str, Any], learned: ForceField, resume: bool) -> None:
    """Keep the weights a refinement starts from, or take them: a force field that went some rounds goes on with it."""
    file, own = path / PLAN, learned.state_dict()
    if not file.exists():
        save_tensors(path / WEIGHTS, own)
        write_json(file, plan, hashed=True)
        return
    if not resume:
        raise FileExistsError(f"{path} holds a refinement; pass resume=True to go on with it, or choose another path.")
    there = {k: v for k, v in read_json(file, hashed=True, cure=CURE).items() if k != "nearsight"}
    if found := differences(there, {k: v for k, v in plan.items() if k != "nearsight"}):
        raise ValueError(
            f"{path} belongs to another refinement: {'; '.join(found)}. Resume with what it was started with, or "
            "choose another path."
        )
    start = load_tensors(path / WEIGHTS, cure=CURE)[0]
    rounds = [read_json(f, hashed=True, cure=CURE)["hashes"]["weights"] for f in path.glob(f"round-*/{ROUND}")]
    if tensor_hash(own) not in (tensor_hash(start), *rounds):
        raise ValueError(
            f"{path} began with other weights: resume with the force field it was started with, or choose another path."
        )
    learned.load_state_dict(start)


# --- rounds -----------------------------------------------------------------------------------------------------------


def _rounds(problem: Problem, learned: ForceField, split: Split, path: Path) -> tuple[list[dict[str, Any]], bool]:
    options, rounds = problem.options, []  # type: RefineOptions, list[dict[str, Any]]
    labels: list[Labels] = []
    known = torch.empty(0, problem.scale().width.numel(), dtype=torch.float64)
    for number in range(options.rounds):
        solutions, seconds = (sum(facts[name] for facts in rounds) for name in ("solutions", "seconds"))
        left = None if options.solutions is None else options.solutions - solutions
        if (left is not None and left <= options.audited) or (
            options.seconds is not None and seconds >= options.seconds
        ):
            return rounds, True
        folder = path / f"round-{number + 1:03d}"
        labels.append(label(problem, number, folder, known, left))
        known = torch.cat([known, labels[-1].known])
        if not (folder / ROUND).exists():
            _fitted(problem, learned, split, labels, folder)
        facts = read_json(folder / ROUND, hashed=True, cure=CURE)
        weights = load_tensors(folder / WEIGHTS, cure=CURE)[0]
        if tensor_hash(weights) != facts["hashes"]["weights"]:
            raise ValueError(f"{folder / WEIGHTS} is not what its round made. {CURE}")
        learned.load_state_dict(weights)
        rounds.append(facts)
    return rounds, False


def _fitted(problem: Problem, learned: ForceField, split: Split, labels: list[Labels], folder: Path) -> None:
    """Go on with the fit on all that has been labelled so far, and keep the weights and what is known of the round."""
    new, options = labels[-1], problem.options
    before = {name: _rms(learned, getattr(new, name)) for name in ("chosen", "audited")}
    errors = {"before": _errors(problem, learned, new.chosen)}
    chosen, audited = (_together([getattr(part, name) for part in labels]) for name in ("chosen", "audited"))
    parts = [Split(split.train, split.validation, None), Split(chosen, audited, None)]
    kept = {name: value.clone() for name, value in learned.state_dict().items()}
    with _workspace(folder / "fit", options.fit, resume=True):
        task = _Several(learned, parts, options.fit, calibrate=False)
        start = task.validate(task.model.eval())
        trainer = Trainer(task.model, task, options.fit)
        trainer.run(folder / "fit", resume=True, progress=problem.progress)
        task.set_constants()
    better = trainer.best < start
    if not better:
        learned.load_state_dict(kept)
    learned.eval()
    _calibrate(problem, split)
    after = {name: _rms(learned, getattr(new, name)) for name in ("chosen", "audited")}
    state = learned.state_dict()
    save_tensors(folder / WEIGHTS, state)
    facts = new.facts | {
        "before": before, "after": after, "kept": better, "best_step": trainer.best_step,
        "windows": len(chosen), "errors": errors | {"after": _errors(problem, learned, new.chosen)},
        "hashes": new.facts["hashes"] | {"weights": tensor_hash(state)},
    }  # fmt: skip
    write_json(folder / ROUND, facts, hashed=True)


def _calibrate(problem: Problem, split: Split) -> None:
    """Intervals follow the weights: features are others now."""
    part = problem.uncertain
    if part is None:
        return
    part = part.on(split.train.lattice)
    force = split.validation.force
    if problem.fixed is not None:
        force = force - problem.fixed.on(split.validation.lattice)(split.validation.field).force
    part.calibrate(split.train.field, split.validation.field, force)


def _rms(learned: ForceField, data: DataSet) -> float:
    """Error on the labelled sites of windows."""
    return float(evaluate(learned, data)["force"]["rmse"])


def _errors(problem: Problem, learned: ForceField, data: DataSet) -> list[float]:
    """Of the force on every labelled site of windows, in their order."""
    assert data.weight is not None
    error = _predict(learned.on(data.lattice), data.field, CHUNK).force - data.force
    known = data.weight > 0
    return problem.relevant(error[known], data.field[known]).norm(dim=-1).tolist()


def _together(parts: list[DataSet]) -> DataSet:
    names = ("field", "force", "weight")
    arrays: dict[str, Any] = {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
    kind = np.concatenate([p.kind for p in parts])
    return DataSet.from_arrays(None, lattice=parts[0].lattice, kind=kind, components=parts[0].components, **arrays)


def _history(rounds: list[dict[str, Any]]) -> xr.Dataset:
    def mean(name: str) -> list[float]:
        return [float(np.sqrt(np.mean(np.square(facts["audit"][name])))) for facts in rounds]

    curves: dict[str, Any] = {
        "solutions": np.cumsum([facts["solutions"] for facts in rounds]).astype(int),
        "seconds": np.cumsum([facts["seconds"] for facts in rounds]).astype(float),
        **{name: mean(name) for name in ("rms", "rms_low", "rms_high", "scale")},
        **{f"{n}_{when}": [f[when][n] for f in rounds] for n in ("chosen", "audited") for when in ("before", "after")},
        "referee_error": [facts["referee_error"] for facts in rounds],
        "kept": [facts["kept"] for facts in rounds],
    }
    data = xr.Dataset({name: ("round", np.asarray(values)) for name, values in curves.items()})
    return data.assign_coords(round=np.arange(1, len(rounds) + 1))
