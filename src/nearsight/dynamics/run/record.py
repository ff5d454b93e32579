"""What to keep of a run, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.dynamics.scheme import State
from nearsight.storage.table import Column

FIELDS = ("field", "velocity", "force", "energy")
TALLIES = ("accepted", "evaluated", "energy_change")
RESERVED = (*FIELDS, *TALLIES, "time", "step", "record", "replica", "site", "component")

Observables = Mapping[str, Callable[[Tensor], Tensor]]
Measure = Callable[[State], xr.Dataset]


@dataclass(frozen=True)
class Every:
    """A record at step 0 and every ``n`` steps after.

    Parameters
    ----------
    n: steps between records.
    fields: any of "field", "velocity", "force", "energy". What the force field does not have is left out. Also what
        schemes of hops count since the start: "accepted" hops, "evaluated" differences of energy, and the
        "energy_change" that the accepted ones add up to.
    observables: functions of the field ``(*batch, site, component)`` with results ``(*batch, ...)``, by name. A run
        on a large lattice that records ``fields=("energy",)`` and observables never stores a whole field.
    measure: a function of the whole :class:`~nearsight.dynamics.State` (field, velocity, forces, time, tally) whose
        result is an ``xarray.Dataset`` of named quantities, of the same names and shapes in every record. Their
        dimensions are kept, their coordinates are not.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(ns.lattices.chain(4), k=1.0, kappa=0.0))
    >>> record = ns.dynamics.Every(5, fields=("energy",), observables={"mean": lambda field: field.mean((-2, -1))})
    >>> field = torch.ones(4, 1).double()
    >>> run = ns.dynamics.simulate(springs, ns.dynamics.TDGL(dt=0.1), field, steps=10, record=record, rng=None)
    >>> run.data["mean"].values.round(2).tolist()  # exp(-t) at t = 0, ½ and 1
    [1.0, 0.61, 0.37]
    """

    n: int
    fields: tuple[str, ...] = ("field", "force", "energy")
    observables: Observables = field(default_factory=dict)
    measure: Measure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", integer(self.n, "n", least=1))
        object.__setattr__(self, "fields", _checked(self.fields, self.observables, self.measure))

    def schedule(self, steps: int) -> np.ndarray:
        """The steps at which a run of ``steps`` steps is recorded."""
        return np.arange(0, steps + 1, self.n)

    def config(self) -> dict[str, Any]:
        """What is recorded and when, as plain data."""
        return {"every": self.n, **_described(self)}


@dataclass(frozen=True)
class At:
    """A record at the given steps; ``fields``, ``observables`` and ``_measure`` are those of :class:`Every`.

    Examples
    --------
    >>> from nearsight.dynamics import At
    >>> At.logarithmic(1000, per_decade=2).schedule(1000).tolist()
    [0, 1, 3, 10, 32, 100, 316, 1000]
    """

    steps: tuple[int, ...]
    fields: tuple[str, ...] = ("field", "force", "energy")
    observables: Observables = field(default_factory=dict)
    measure: Measure | None = None

    def __post_init__(self) -> None:
        given = self.steps if isinstance(self.steps, Iterable) else [self.steps]
        steps = {integer(step, "steps of At", least=0) for step in given}
        if not steps:
            raise ValueError("At needs one step or more; pass record=None to keep only the final state.")
        object.__setattr__(self, "steps", tuple(sorted(steps)))
        object.__setattr__(self, "fields", _checked(self.fields, self.observables, self.measure))

    @classmethod
    def logarithmic(cls, steps: int, per_decade: int = 10, **what: Any) -> Self:
        """Steps 0, 1, ... ``steps``, equally spaced in their logarithm: for what grows as a power of time."""
        steps, per_decade = integer(steps, "steps", least=1), integer(per_decade, "per_decade", least=1)
        count = int(np.ceil(np.log10(steps) * per_decade)) + 1
        return cls((0, *np.rint(np.geomspace(1, steps, count)).astype(int).tolist()), **what)

    def schedule(self, steps: int) -> np.ndarray:
        """The steps at which a run of ``steps`` steps is recorded."""
        if self.steps[-1] > steps:
            raise ValueError(f"A record is asked for at step {self.steps[-1]}, but the run ends at step {steps}.")
        return np.asarray(self.steps)

    def config(self) -> dict[str, Any]:
        """What is recorded and when, as plain data."""
        return {"at": list(self.steps), **_described(self)}


class _Value(NamedTuple):
    """One measured quantity. Not an ``xarray.Variable``, which takes as long to make as a step of a small lattice."""

    dims: tuple[str, ...]
    values: np.ndarray


def _measure(record: Every | At, state: State) -> dict[str, _Value]:
    """Everything a record asks for, with the batch flattened to one dimension "replica" (absent without a batch)."""
    batch = state.field.shape[:-2]
    known = {
        "field": state.field,
        "velocity": state.velocity,
        "force": state.forces.force if state.forces.force.shape[-1] else None,
        "energy": state.forces.energy,
        **state.tally,
    }
    time = torch.as_tensor(state.time, dtype=torch.float64)
    values = {"time": _value("time", time, len(batch) if time.ndim else 0)}
    for name in record.fields:
        value = known.get(name)
        if value is None and name not in ("force", "energy"):
            raise ValueError(f"This scheme has no {name} to record; leave it out of fields.")
        if value is not None:
            values[name] = _value(name, value, len(batch))
    for name, function in record.observables.items():
        with torch.no_grad():
            value = function(state.field)
        if not isinstance(value, Tensor) or value.shape[: len(batch)] != batch:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"Observable {name!r} must return a tensor that begins with the batch {tuple(batch)}, got {got}."
            )
        values[name] = _value(name, value, len(batch))
    if record.measure is not None:
        with torch.no_grad():
            measured = record.measure(state)
        instance(measured, xr.Dataset, "the result of measure", "Return an xarray.Dataset of named quantities.")
        values |= {str(n): _Value(tuple(map(str, v.dims)), v.values) for n, v in measured.data_vars.items()}
    return values


def _columns(values: Mapping[str, _Value]) -> list[Column]:
    """The layout of the quantities in one measurement."""
    return [Column(name, dims, array.shape, array.dtype) for name, (dims, array) in values.items()]


def _value(name: str, value: Tensor, batch: int) -> _Value:
    flat = (value.flatten(0, batch - 1) if batch else value).detach().cpu().numpy()
    replica = ("replica",) if batch else ()
    rest = flat.ndim - len(replica)
    inner = ("site", "component") if name in FIELDS else tuple(f"{name}_{i}" for i in range(rest))
    return _Value(replica + inner[:rest], flat)


def _described(record: Every | At) -> dict[str, Any]:
    described: dict[str, Any] = {"fields": list(record.fields), "observables": list(record.observables)}
    return described if record.measure is None else described | {"measure": True}


def _checked(fields: Iterable[str], observables: Observables, measure: Measure | None) -> tuple[str, ...]:
    instance(observables, Mapping, "observables", 'Give {"name": function of the field}.')
    fields = (fields,) if isinstance(fields, str) else tuple(fields)
    unknown = [name for name in fields if name not in (*FIELDS, *TALLIES)]
    if unknown:
        raise ValueError(
            f"A record holds some of {', '.join((*FIELDS, *TALLIES))}, not {', '.join(map(repr, unknown))}; "
            "see observables."
        )
    taken = [name for name in observables if name in RESERVED or not name.isidentifier()]
    if taken:
        raise ValueError(f"An observable needs a name of its own, an identifier that is not taken: {', '.join(taken)}.")
    if measure is not None and not callable(measure):
        raise TypeError(f"measure must be a function of the state, got {type(measure).__name__}.")
    if not fields and not observables and measure is None:
        raise ValueError("This record keeps nothing; name fields or observables, or pass record=None.")
    return fields
