"""How wrong the forces of a run are, measured in that run against exact electrons on a few of its sites."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._description import fingerprint
from nearsight._validation import choice, instance, integer, number
from nearsight.dynamics.run._audit_statistics import LEVEL, Sample, draw, mean_interval, rms_interval, unusual
from nearsight.dynamics.scheme import State
from nearsight.forcefields import ExactForceField, FixedNumber, ForceField, UncertainForceField
from nearsight.forcefields.patches import BOUNDARIES, Boundary
from nearsight.forcefields.referee import Judgement, Referee, equilibrium
from nearsight.lattices import PointCloud, cut_patches
from nearsight.storage import CorruptFileError, data_hash, load_tensors, save_tensors

FOLDER = "audit"
SURROUNDINGS = 4
"""Cells around the worst site whose field is kept."""
CURE = "restore a copy, or delete the run and start it again: equal settings give equal numbers."


class AuditWarning(UserWarning):
    """The forces of a run are worse than they were allowed to be."""


class UntrustedError(ArithmeticError):
    """The forces of a run are worse than they were allowed to be; ``step`` and ``rms`` tell when and by how much."""

    step: int = -1
    rms: float = float("nan")

    def __init__(self, message: str, **found: Any) -> None:
        super().__init__(message)
        vars(self).update(found)


@dataclass(frozen=True, eq=False)
class Audit:
    r"""Exact forces on random sites of a run, and what they say of the forces the run goes by.

    At chosen steps the force of the electrons on ``sites`` random sites of all replicas is computed exactly, at the
    chemical potential of the run, and compared with that of the run:

    .. math:: \delta_i = F_i - F_i^{\mathrm{exact}}, \qquad
              \mathrm{rms}^2 = \frac{1}{n N_c} \sum_{i, c} \delta_{ic}^2, \qquad \mathrm{bias}_c = \frac1n \sum_i
              \delta_{ic} .

    Electrons are nearsighted, so that this costs as much on a lattice of a million sites as on one of a thousand: the
    referee is a patch around each site, or the whole lattice where that is cheaper, chosen and grown until its own
    error is a third of the one it judges (:class:`nearsight.forcefields.Referee`). Where the budget ends before that,
    ``converged`` says so, and the intervals hold the referee's error as it is.

    Unit spins are moved by the part of a force normal to them, and only that is compared. A run at a fixed number by
    :class:`~nearsight.forcefields.FixedNumber` has its chemical potential in the uniform shift of the field that it
    found, μ = μ₀ + λs: exact electrons see the field with that shift, at μ₀.

    Parameters
    ----------
    exact: electrons and classical part, on a lattice of any size of the same kind, in equilibrium, at a chemical
        potential (at a fixed filling forces are not local, and only the whole lattice will do).
    replicas: how many of the replicas are looked at, drawn anew at every step; None for all. Where the whole lattice is
        the referee that is what an audit costs. Intervals are those of the replicas that were looked at.
    sites: how many, of all replicas together; the interval of the rms is some ±12 % for 200, and falls as one over
        the square root. From 40 on they are drawn in four strata, since errors are large in rare places: a fifth of
        them each among the 1 % and the next 4 % of all sites whose fields and forces are the least like those of
        others. All means are weighted accordingly.
    at: steps of the run; by default every step that is recorded, and without a record the last.
    tol: the largest rms error of the force that is allowed. What happens if the lower end of its 95 % interval is above
        depends on ``excess``: "stop" raises :class:`UntrustedError`, "warn" gives an :class:`AuditWarning`.
    boundaries: of patches, to choose from: "open", "periodic" and "twisted".
    budget: nominal seconds one audit may take (those of one core of 2020, counted and not measured).
    seed: of the random sites, which are others at every step. The random numbers of the run are left alone: a run is
        the same with and without an audit, but for what is kept of it.

    The result is ``trajectory.audit``, a Dataset along ``audit`` with the intervals ``rms``, ``rms_low``, ``rms_high``
    and ``bias`` (per component, with its ends), the errors themselves (``error``, ``exact``, ``site``, ``replica``,
    ``stratum`` and ``weight`` along ``sample``), ``largest_share`` (the part of the mean square that one site makes),
    the worst site and the field around it, and the referee: its error, radius, boundary and solver. Of an
    :class:`~nearsight.forcefields.UncertainForceField` it counts, along ``level``, the fraction ``covered`` of errors
    inside the intervals that should hold the fraction ``nominal``. On disk each audit
    is a file in the folder ``audit`` of the run, written before any checkpoint that lies behind it, so that a run that
    is killed and goes on ends with the same bits.

    Raises ``TypeError`` and ``ValueError`` where no exact partner can be made of what is given. A force field that
    knows from which electrons it was learned (:attr:`ForceField.card`) is not audited with those of another
    Hamiltonian, and other parameters are warned about with their numbers.

    >>> import torch
    >>> import nearsight as ns
    >>> lattice, rng = ns.lattices.square(100), torch.Generator().manual_seed(0)
    >>> exact = ns.ExactForceField(ns.hamiltonians.Holstein(ns.lattices.square(4)), ns.solvers.Dense(mu=0.0, kT=0.2))
    >>> field = torch.randn(lattice.n_sites, 1, generator=rng, dtype=torch.float64)
    >>> springs = exact.classical.on(lattice)  # a force field without electrons errs by all of their force
    >>> scheme = ns.dynamics.Langevin(dt=0.1, mass=1.0, damping=0.1, kT=0.0)
    >>> run = ns.dynamics.simulate(springs, scheme, field, steps=1, record=None, rng=rng, audit=Audit(exact, sites=100))
    >>> bool(run.audit.rms_low < run.audit.scale) and bool(run.audit.scale < run.audit.rms_high)
    True
    """

    exact: ExactForceField
    sites: int = 200
    at: Sequence[int] | None = None
    tol: float | None = None
    excess: str = "stop"
    replicas: int | None = None
    boundaries: Sequence[Boundary] = ("open", "periodic")
    budget: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        instance(
            self.exact,
            ExactForceField,
            "exact",
            "An audit needs the exact partner of what was learned: ExactForceField(model, Dense(mu=0.0, kT=0.1)).",
        )
        equilibrium(self.exact.solver)
        at = self.at
        if at is not None:
            at = tuple(sorted({integer(s, "at (steps)", least=0) for s in (at if np.iterable(at) else [at])}))
            if not at:
                raise ValueError("at must name one step or more; None audits what is recorded.")
        several = (self.boundaries,) if isinstance(self.boundaries, str) else tuple(self.boundaries)
        for name in several or ("",):
            choice(name, "boundaries", BOUNDARIES)
        values: dict[str, Any] = {"at": at, "boundaries": several}
        values |= {"sites": integer(self.sites, "sites", least=2), "seed": integer(self.seed, "seed", least=0)}
        values["budget"] = number(self.budget, "budget", above=0)
        values["tol"] = None if self.tol is None else number(self.tol, "tol", above=0)
        values["replicas"] = None if self.replicas is None else integer(self.replicas, "replicas", least=1)
        choice(self.excess, "excess", ("stop", "warn"))
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def config(self) -> dict[str, Any]:
        """What decides the numbers of an audit, as plain data."""
        names = ("sites", "replicas", "boundaries", "budget", "seed")
        told = {"exact": fingerprint(self.exact), **{name: getattr(self, name) for name in names}}
        return json.loads(json.dumps(told))

    def check(self, forcefield: ForceField | None) -> None:
        """Refuse a run that these exact electrons cannot judge."""
        if forcefield is None:
            raise ValueError("An audit compares forces, and this run has none: leave audit= out.")
        if forcefield.driven:
            raise ValueError("Forces that depend on time are those of reservoirs, of which patches know nothing.")
        own, other = self.exact.lattice, forcefield.lattice
        if isinstance(other, PointCloud):
            raise TypeError(f"Patches are boxes of cells, which {other!r} lacks: leave audit= out.")
        if not own.same_kind(other) or self.exact.components != forcefield.components:
            raise ValueError(
                f"The exact forces act on {self.exact.components} components on {own!r}, those of the run on "
                f"{forcefield.components} on {other!r}: an audit needs the same field on the same kind of lattice."
            )

    def of(self, forcefield: ForceField, state: State) -> xr.Dataset:
        """The audit of one state of a run, without the dimension ``audit``."""
        self.check(forcefield)
        field = state.field.reshape(-1, *state.field.shape[-2:])
        replicas, sites = field.shape[:2]
        rng = torch.Generator().manual_seed(int(data_hash([self.seed, state.step])[:12], 16))
        among = torch.randperm(replicas, generator=rng)[: self.replicas].sort().values
        force = state.forces.force.reshape(field.shape)
        sample = draw(unusual(forcefield.lattice, field[among], force[among]), self.sites, rng)
        replica, site = among[sample.site // sites], sample.site % sites
        classical = self.exact.classical.on(forcefield.lattice)
        at = replica.to(field.device), site.to(field.device)
        exact_classical = classical(field.double()).force[at].cpu()
        judged = force[at].double().cpu() - exact_classical
        seen, shift = self._seen(forcefield, field)
        own = field[at].double().cpu()
        unit = self.exact.field_type is not None and self.exact.field_type.values == "unit"

        def part(difference: Tensor) -> Tensor:
            normal = own[: len(difference)]
            return difference - (difference * normal).sum(-1, keepdim=True) * normal if unit else difference

        weights = torch.from_numpy(sample.weights)

        def norm(difference: Tensor) -> float:
            w = weights[: len(difference)]
            return float(((w / w.sum())[:, None] * part(difference).square()).sum(0).mean().sqrt())

        referee = Referee(self.exact.model, forcefield.lattice, self.exact.solver, self.boundaries, budget=self.budget)
        found = referee.judge(seen, site, replica, judged, norm)
        error = part(judged - found.force).numpy()
        data = self._statistics(found, error, part(found.force).numpy(), sample)
        worst = int(np.square(error).sum(-1).argmax())
        around = cut_patches(forcefield.lattice, site[worst : worst + 1].numpy(), SURROUNDINGS)[0]
        index = torch.from_numpy(around.sites[0]).to(field.device)
        return data.assign(
            **_covered(forcefield, seen, at, error, sample),
            step=state.step,
            time=float(torch.as_tensor(state.time, dtype=torch.float64).mean()),
            shift=("sample", shift[replica].numpy()),
            replica=("sample", replica.numpy()),
            site=("sample", site.numpy()),
            worst=worst,
            surroundings=(("near", "component"), field[replica[worst], index].double().cpu().numpy()),
            surrounding_sites=("near", around.sites[0]),
        )

    def _seen(self, forcefield: ForceField, field: Tensor) -> tuple[Tensor, Tensor]:
        """The field that exact electrons at μ₀ must see to be those of the run, and its shift ``(replica,)``."""
        fixed = [m for m in forcefield.modules() if isinstance(m, FixedNumber)]
        none = torch.zeros(len(field), dtype=torch.float64)
        if not fixed:
            return field, none
        if self.exact.solver.mu is None:  # type: ignore[attr-defined]
            raise ValueError("A run of FixedNumber is audited by exact electrons at its μ₀: Dense(mu=...).")
        with torch.no_grad():
            shift = fixed[0].shift(field)
        moved = field.double().clone()
        moved[..., fixed[0].component] += shift.to(moved)[:, None]
        return moved, shift.double().cpu()

    def _statistics(self, found: Judgement, error: np.ndarray, exact: np.ndarray, sample: Sample) -> xr.Dataset:
        squares = sample.weights * np.square(error).sum(-1)
        rms = rms_interval(error, sample, found.error)
        bias = [mean_interval(e, sample, found.error) for e in error.T]
        value, low, high = (("component", np.array(x)) for x in zip(*bias, strict=True))
        return xr.Dataset(
            {
                "error": (("sample", "component"), error),
                "exact": (("sample", "component"), exact),
                "weight": ("sample", sample.weights),
                "stratum": ("sample", sample.stratum),
                "rms": rms.value,
                "rms_low": rms.low,
                "rms_high": rms.high,
                "bias": value,
                "bias_low": low,
                "bias_high": high,
                "scale": float(np.sqrt((sample.weights * np.square(exact).mean(-1)).sum())),
                "largest_share": float(squares.max() / squares.sum()) if squares.sum() > 0 else 0.0,
                "referee_error": found.error,
                "radius": found.radius,
                "boundary": found.boundary,
                "solver": found.solver,
                "converged": found.converged,
                "nominal_seconds": found.seconds,
            }
        )

    def judge(self, found: xr.Dataset) -> None:
        """Stop or warn if the error is above what is allowed, beyond doubt."""
        if self.tol is None or not float(found.rms_low) > self.tol:
            return
        step, rms = int(found.step), float(found.rms)
        words = (
            f"At step {step} the rms error of the forces is {rms:.3g}, at {LEVEL:.0%} confidence at least "
            f"{float(found.rms_low):.3g}, more than tol={self.tol:g}. What this run does is not what the exact "
            "electrons would do: add training data from such fields, or allow more."
        )
        if self.excess == "stop":
            raise UntrustedError(words, step=step, rms=rms)
        warnings.warn(words, AuditWarning, stacklevel=2)


def _covered(
    forcefield: ForceField, field: Tensor, at: tuple[Tensor, Tensor], error: np.ndarray, sample: Sample
) -> dict[str, Any]:
    """How many of the errors lie in the intervals of a force field that has them, and how many should."""
    parts = [m for m in forcefield.modules() if isinstance(m, UncertainForceField) and m.components == error.shape[1]]
    if len(parts) != 1:
        return {}
    (part,) = parts
    width = part.estimate(field, part.levels[0]).width[at].double().cpu()
    times = (part.quantiles / part.quantiles[0]).double().cpu()
    inside = [(np.abs(error) <= (width * q).numpy()).mean(1) @ sample.weights for q in times]
    covered = np.array(inside) / sample.weights.sum()
    return {"covered": ("level", covered), "nominal": ("level", np.array(part.levels))}


class Auditor:
    """The audits of one run, in memory and, if it has a folder, there."""

    def __init__(self, audit: Audit, forcefield: ForceField, steps: Sequence[int], path: Path | None) -> None:
        audit.check(forcefield)
        if forcefield.card is not None and isinstance(forcefield.card.exact, ExactForceField):
            forcefield.card.check(audit.exact)
        self.audit, self.forcefield, self.steps = audit, forcefield, set(map(int, steps))
        self.path, self.found = path, {}  # type: Path | None, dict[int, xr.Dataset]

    def begin(self, step: int | None) -> None:
        """Read what was found before the step from which a run goes on; a new run (None) has found nothing yet."""
        there = [] if self.path is None else sorted(self.path.glob("*.safetensors"))
        if step is None:
            for name in there:  # of another run, whose checkpoint was deleted
                name.unlink()
            return
        self.found = {int(name.stem): self._read(name) for name in there if int(name.stem) < step}
        lost = [s for s in self.steps if s < step and s not in self.found and any(s > other for other in self.found)]
        if lost:
            raise CorruptFileError(f"{self.path} lacks the audit of step {min(lost)}: {CURE}")

    def look(self, state: State) -> None:
        """Audit a state if it is one of those, and stop or warn where its forces are too bad."""
        if state.step not in self.steps:
            return
        name = None if self.path is None else self.path / f"{state.step:012d}.safetensors"
        if name is not None and name.exists():
            found = self._read(name)
        else:
            found = self.audit.of(self.forcefield, state)
            if name is not None:
                name.parent.mkdir(parents=True, exist_ok=True)
                write(name, found, self.audit.config())
        self.found[state.step] = found
        self.audit.judge(found)

    def _read(self, name: Path) -> xr.Dataset:
        found, config = read(name)
        if config != self.audit.config():
            raise ValueError(f"{name} is of another audit: call with the settings of then, or choose another path.")
        return found

    @property
    def data(self) -> xr.Dataset | None:
        return joined(self.found)


def joined(found: dict[int, xr.Dataset]) -> xr.Dataset | None:
    """Audits by their steps as one Dataset along ``audit``."""
    if not found:
        return None
    data = xr.concat([found[step] for step in sorted(found)], dim="audit", join="outer", combine_attrs="drop")
    return data.set_coords(["step", "time"])


def stored(path: Path) -> xr.Dataset | None:
    """The audits of a run on disk."""
    return joined({int(name.stem): read(name)[0] for name in sorted((path / FOLDER).glob("*.safetensors"))})


def write(path: Path, found: xr.Dataset, config: dict[str, Any]) -> None:
    """One audit as a file, atomically."""
    numbers = {str(n): v for n, v in found.data_vars.items() if v.dtype.kind in "fibu"}
    tensors = {n: torch.from_numpy(np.array(v.values)) for n, v in numbers.items()}
    head = {
        "dims": {n: list(map(str, v.dims)) for n, v in numbers.items()},
        "texts": {str(n): str(v.values) for n, v in found.data_vars.items() if str(n) not in numbers},
        "config": config,
    }
    save_tensors(path, tensors, {"audit": json.dumps(head, sort_keys=True)})


def read(path: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """One audit and the settings it was made with; ``CorruptFileError`` for a damaged file."""
    tensors, texts = load_tensors(path, cure=CURE)
    head = json.loads(texts["audit"])
    values = {n: (head["dims"][n], t.numpy()) for n, t in tensors.items()}
    return xr.Dataset(values | head["texts"]), head["config"]
