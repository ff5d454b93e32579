"""Snapshots of a field with the exact forces on it, on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nearsight import __version__
from nearsight._validation import choice, filename, integers, numbers
from nearsight.lattices import Lattice
from nearsight.storage import file_hash
from nearsight.training import _imports as imports
from nearsight.training.labelled import _Labelled

KINDS = ("random", "thermal", "relaxing", "near_equilibrium", "imported", "refined")
"""Where a snapshot comes from; ``kind`` stores the position in this list."""

INNER = ("site", "component")
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "field": INNER, "force": INNER, "energy": (), "trajectory": (), "kind": (), "time": (), "weight": ("site",),
    "parameters": ("parameter",),
}  # fmt: skip
DTYPES = {name: np.dtype(np.int64 if name in ("trajectory", "kind") else np.float64) for name in DIMENSIONS}


class DataSet(_Labelled):
    """Snapshots Φ with the total force and energy of an exact force field.

    Arrays, float64: ``field`` and ``force`` ``(snapshot, site, component)``, ``energy`` ``(snapshot,)`` (absent for a
    driven system), with ``trajectory`` (an integer: snapshots of one trajectory resemble each other), ``kind`` (a code,
    see ``KINDS``) and ``time``. Where forces are known on some sites only, ``weight`` ``(snapshot, site)`` is 0 on all
    others, whose forces mean nothing, and says how much a site counts; fits and errors are then means with these
    weights. Snapshots of a family of Hamiltonians have ``parameters``, by name. ``attrs`` holds the lattice, the recipe
    and the seed. Arrays are read when first asked for.

    Make one with :func:`~nearsight.training.generate`, :meth:`open`, :meth:`from_npz` or :meth:`from_arrays`.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, rng = ns.lattices.square(4), torch.Generator().manual_seed(1)
    >>> field = torch.randn(6, 16, 1, generator=rng).double()
    >>> force, energy = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(lattice))(field)
    >>> arrays = dict(field=field, force=force, energy=energy, trajectory=[0, 0, 1, 1, 2, 2])
    >>> data = ns.training.DataSet.from_arrays(lattice=lattice, **arrays)
    >>> train, validation, test = data.split(validation=0.3, test=0.3)  # by trajectories, whose snapshots are alike
    >>> len(data), len(train), sorted({*train.trajectory} & {*test.trajectory})
    (6, 2, [])
    """

    noun, key, dimension = "data set", "format", "snapshot"
    hint = "Check the path, or make one with training.generate, or DataSet.from_npz."
    cure = "Generate the data set again or restore a copy."

    @property
    def components(self) -> int:
        return self.shape("field")[-1]

    @classmethod
    def from_arrays(
        cls,
        path: str | Path | None = None,
        *,
        lattice: Lattice,
        field: np.ndarray | Tensor,
        force: np.ndarray | Tensor,
        energy: np.ndarray | Tensor | None = None,
        trajectory: np.ndarray | Tensor | None = None,
        kind: np.ndarray | str = "imported",
        time: np.ndarray | Tensor | None = None,
        weight: np.ndarray | Tensor | None = None,
        parameters: Mapping[str, np.ndarray | Tensor | float] | None = None,
        components: int = 1,
        attrs: Mapping[str, Any] | None = None,
    ) -> DataSet:
        """A data set from arrays, written to ``path`` or kept in memory.

        Fields and forces are ``(snapshot, site, component)``, or grids ``(snapshot, *shape)`` with the axes of the
        lattice. Without ``trajectory`` every snapshot counts as independent: name the trajectories if several snapshots
        come from one run, or neighbours in time end up on both sides of a split. ``kind`` is one name or one code each.
        ``weight``, shaped as a field of one component, is 0 where a force is not known: any finite number may stand
        there.
        ``parameters`` of a family of Hamiltonians have one number by name for each snapshot, or for all.
        """
        path = None if path is None else filename(path, "path")
        optional = dict(energy=energy, trajectory=trajectory, time=time)
        given = dict(field=field, force=force) | {k: v for k, v in optional.items() if v is not None}
        arrays = {name: imports.as_numpy(values, name) for name, values in given.items()}
        arrays = imports.checked(arrays, lattice, components, source="The arrays")
        count = len(arrays["field"])
        if isinstance(kind, str):
            codes = np.full(count, KINDS.index(choice(kind, "kind", KINDS)))
        else:
            codes = imports.as_numpy(kind, "kind")
            if codes.dtype.kind not in "iu" or codes.shape != (count,) or not np.isin(codes, range(len(KINDS))).all():
                raise ValueError(f"kind must hold one code in 0..{len(KINDS) - 1} for each of the {count} snapshots.")
        arrays["kind"] = codes
        if weight is not None:
            arrays["weight"] = imports.weights(imports.as_numpy(weight, "weight"), lattice, count)
        arrays.setdefault("trajectory", np.arange(count))
        arrays.setdefault("time", np.zeros(count))
        named = {} if not parameters else {"parameter_names": list(parameters)}
        if parameters:
            arrays["parameters"] = imports.parameter_columns(parameters, count)
        return cls._write(path, arrays, lattice, dict(attrs or {}) | named)

    @classmethod
    def from_npz(
        cls, npz: str | Path, path: str | Path | None = None, *, lattice: Lattice, components: int = 1
    ) -> DataSet:
        """Import your own snapshots from a NumPy ``.npz`` file.

        Keys: ``field`` and ``force`` (required), ``energy``, ``trajectory`` and ``time`` (optional); shapes as in
        :meth:`from_arrays`. ``force`` is the total generalised force -∂E/∂Φ and ``energy`` the total energy of the
        whole lattice, in the same units. Everything is checked; an error names the key and the cure.
        """
        source = filename(npz, "npz")
        arrays = imports.read_npz(source)
        attrs = {"source": source.name, "source_hash": file_hash(source)}
        return cls.from_arrays(path, lattice=lattice, components=components, attrs=attrs, **arrays)  # type: ignore[arg-type]

    @classmethod
    def _write(
        cls, path: str | Path | None, arrays: dict[str, np.ndarray], lattice: Lattice, attrs: dict[str, Any]
    ) -> DataSet:
        attributes = {
            "nearsight": __version__,
            "lattice": lattice.config(),
            "lattice_description": repr(lattice),
            "kinds": list(KINDS),
            "counts": _counts(arrays["kind"]),
            **attrs,
        }
        ordered = {name: np.ascontiguousarray(arrays[name], DTYPES[name]) for name in DIMENSIONS if name in arrays}
        return cls.write(None if path is None else Path(path), ordered, DIMENSIONS, attributes)

    # --- contents ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        trajectories = len(np.unique(self.trajectory))
        without = "" if self.has_energy else ", no energies"
        if self.weight is not None:
            without += f", forces of {int((self.weight > 0).sum())} sites"
        family = f", at several {', '.join(self.parameters)}" if self.parameters else ""
        return f"{len(self)} snapshots ({counts}) of {trajectories} trajectories on {self.lattice!r}{family}{without}"

    @property
    def has_energy(self) -> bool:
        return "energy" in self

    @cached_property
    def field(self) -> Tensor:
        """Φ ``(snapshot, site, component)``, float64."""
        return self._tensor("field")

    @cached_property
    def force(self) -> Tensor:
        """Total generalised force -∂E/∂Φ, shaped as the field."""
        return self._tensor("force")

    @cached_property
    def energy(self) -> Tensor | None:
        """Total energy ``(snapshot,)``, or None for a driven system."""
        return self._tensor("energy") if self.has_energy else None

    @cached_property
    def weight(self) -> Tensor | None:
        """How much the force on every site counts ``(snapshot, site)``, 0 where it is not known; None: all alike."""
        return self._tensor("weight") if "weight" in self else None

    @cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """Parameters ``(snapshot,)`` of the Hamiltonian of every snapshot by name; none where all have the same."""
        if "parameters" not in self:
            return {}
        return dict(zip(self.attrs["parameter_names"], self.read("parameters").T, strict=True))

    def by_parameters(self) -> Iterator[tuple[dict[str, float], np.ndarray]]:
        """The parameters that occur, and the numbers of their snapshots."""
        if not self.parameters:
            yield {}, np.arange(len(self))
            return
        distinct, which = np.unique(np.stack(list(self.parameters.values()), 1), axis=0, return_inverse=True)
        for k, row in enumerate(distinct.tolist()):
            yield dict(zip(self.parameters, row, strict=True)), np.flatnonzero(which.ravel() == k)

    @property
    def counts(self) -> dict[str, int]:
        """Number of snapshots of every kind present, which ``kind`` tells by its position in ``KINDS``."""
        return _counts(self.kind)

    @property
    def field_range(self) -> tuple[float, float]:
        """Smallest and largest value of any field component: outside it a learned force field extrapolates."""
        return float(self.field.min()), float(self.field.max())

    # --- parts ------------------------------------------------------------------------------------------------------

    def select(
        self,
        *,
        kind: str | Iterable[str] | None = None,
        trajectory: int | Iterable[int] | None = None,
        time: tuple[float, float] | None = None,
    ) -> DataSet:
        """The snapshots of these kinds, of these trajectories, in this closed interval of time (all that are given)."""
        keep = np.ones(len(self), dtype=bool)
        if kind is not None:
            if not isinstance(kind, Iterable):
                raise TypeError(f"kind must be one or several of {', '.join(KINDS)}, got {kind!r}.")
            names = [choice(name, "kind", KINDS) for name in ([kind] if isinstance(kind, str) else kind)]
            keep &= np.isin(self.kind, [KINDS.index(name) for name in names])
        if trajectory is not None:
            several = isinstance(trajectory, Iterable) and getattr(trajectory, "ndim", 1) > 0
            wanted = integers(list(trajectory) if several else [trajectory], "trajectory")  # type: ignore[arg-type]
            keep &= np.isin(self.trajectory, wanted)
        if time is not None:
            start, end = numbers(time, "time", length=2, finite=False)
            keep &= (self.time >= start) & (self.time <= end)
        if not keep.any():
            raise ValueError(f"No snapshot is left by this selection from {self!r}.")
        return self.take(np.flatnonzero(keep))


def _counts(kind: np.ndarray) -> dict[str, int]:
    return {name: int(n) for name, n in zip(KINDS, np.bincount(kind, minlength=len(KINDS)), strict=True) if n}
