"""Occupations of a lattice with the exact energies of their hops, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nearsight import __version__
from nearsight._validation import filename, instance
from nearsight.moves import Hops, MoveEnergies
from nearsight.storage import load_tensors, owned
from nearsight.training._imports import as_numpy
from nearsight.training.labelled import _Labelled, per_row

DTYPES = {"occupied": np.uint8, "difference": np.float64, "trajectory": np.int64, "time": np.float64}


class MoveData(_Labelled):
    """Configurations of particles and what every hop from them costs.

    One configuration holds some hundred labels, which one diagonalisation gives at once. Arrays: ``occupied``
    ``(configuration, site)``, ``difference`` ``(configuration, move)``, infinite for impossible moves, ``trajectory``
    (configurations of one resemble each other) and ``time``. ``attrs`` holds the lattice, the shell of the hops, and
    what made the labels.

    Make one with :meth:`label`, :meth:`from_arrays` or :meth:`open`.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> gas = ns.moves.LatticeGas(ns.lattices.square(4), J=1.0)
    >>> field = torch.zeros(2, 16, 1).double()
    >>> field[:, [0, 1]] = 1.0  # a pair of neighbours, which costs J to part
    >>> data = ns.training.MoveData.label(gas, field)
    >>> data.labels, float(data.difference[data.difference < 10].max())  # six hops of each of two configurations
    (12, 1.0)
    """

    noun, key, dimension = "data set of moves", "moves", "configuration"
    hint = "Check the path, or make one with MoveData.label(...).save(path)."
    cure = "Restore a copy, or label it again."

    @cached_property
    def hops(self) -> Hops:
        return Hops(self.lattice, self.attrs["shell"])

    @classmethod
    def from_arrays(
        cls,
        *,
        hops: Hops,
        field: np.ndarray | Tensor,
        difference: np.ndarray | Tensor,
        trajectory: np.ndarray | None = None,
        time: np.ndarray | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> MoveData:
        """A data set from fields ``(configuration, site, 1)`` and energies ``(configuration, move)``.

        The energies must be finite for possible moves and infinite for all others. Without ``trajectory`` every
        configuration counts as independent: name the trajectories if several come from one run.
        """
        instance(hops, Hops, "hops", "Give Hops(lattice).")
        fields = hops.check(torch.from_numpy(as_numpy(field, "field")))
        labels = as_numpy(difference, "difference")
        if labels.dtype.kind not in "iuf":
            raise TypeError(f"difference must hold real numbers, energies of moves, got {labels.dtype}.")
        labels = labels.astype(float)
        if fields.ndim != 3 or labels.shape != (len(fields), len(hops)):
            raise ValueError(
                f"{hops!r} needs fields (configuration, {hops.lattice.n_sites}, 1) and energies (configuration, "
                f"{len(hops)}), got {tuple(fields.shape)} and {labels.shape}."
            )
        wrong = np.isnan(labels) | (labels == -np.inf) | (np.isfinite(labels) != hops.possible(fields).cpu().numpy())
        if wrong.any():
            where = np.argwhere(wrong)[0]
            raise ValueError(
                f"Energies are finite for possible moves and infinite for others; move {where[1]} of configuration "
                f"{where[0]} has {labels[tuple(where)]}."
            )
        count = len(fields)
        arrays = {
            "occupied": fields[..., 0].cpu().numpy().astype(np.uint8),
            "difference": labels,
            "trajectory": per_row(
                np.arange(count) if trajectory is None else trajectory, "trajectory", count, "configurations"
            ),
            "time": per_row(np.zeros(count) if time is None else time, "time", count, "configurations", "iuf"),
        }
        about = {"nearsight": __version__, "lattice": hops.lattice.config(), "shell": hops.shell, **(attrs or {})}
        return cls._write(None, arrays, about)

    @classmethod
    def label(
        cls,
        energies: MoveEnergies,
        field: Tensor,
        *,
        trajectory: np.ndarray | None = None,
        time: np.ndarray | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> MoveData:
        """Ask energies, usually the exact ones, for all hops of many fields ``(configuration, site, 1)``."""
        instance(energies, MoveEnergies, "energies")
        found = [energies.differences(one) for one in field]
        return cls.from_arrays(
            hops=energies.hops, field=field, difference=torch.stack(found).cpu().numpy(), trajectory=trajectory,
            time=time, attrs={"energies": energies.config(), **(attrs or {})},
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the data set to a folder, which appears as a whole."""
        self._write(filename(path, "path"), {name: self.read(name) for name in DTYPES}, self.attrs)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Open a data set on disk; one of 0.1, in one file, is read as a whole."""
        path = filename(path, "path")
        if not path.is_file():
            return super().open(path, verify=verify)
        tensors, metadata = load_tensors(path, hashed=False, cure=cls.cure)
        content = json.loads(metadata.get("nearsight", "{}"))
        if "format" not in content or set(tensors) != set(DTYPES):
            raise ValueError(f"{path} is no {cls.noun}. {cls.hint}")
        about = {"lattice": content["lattice"], "shell": content["shell"], **content["attrs"]}
        data = cls._write(None, {name: tensor.numpy() for name, tensor in tensors.items()}, about)
        data._old_hash = content["hash"]
        return data

    @classmethod
    def _write(cls, path: Path | None, arrays: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> Self:
        dimensions = {"occupied": ("site",), "difference": ("move",), "trajectory": (), "time": ()}
        ordered = {name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in DTYPES.items()}
        return cls.write(path, ordered, dimensions, attrs)

    # --- contents ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        trajectories = len(np.unique(self.trajectory))
        return (
            f"{self.labels} hops from {len(self)} configurations of {trajectories} trajectories on {self.lattice!r}, "
            f"{self.spread:.4g} rms"
        )

    @cached_property
    def field(self) -> Tensor:
        """n ``(configuration, site, 1)``, float64."""
        return owned(torch.from_numpy(self.read("occupied").astype(np.float64))[..., None])

    @cached_property
    def difference(self) -> np.ndarray:
        """ΔE ``(configuration, move)``, infinite for impossible moves."""
        return self.read("difference")

    @cached_property
    def labels(self) -> int:
        """Number of possible moves."""
        return int(np.isfinite(self.difference).sum())

    @cached_property
    def spread(self) -> float:
        """Root of the mean square of ΔE: the error of a model that knows nothing but the symmetry, and answers zero."""
        known = self.difference[np.isfinite(self.difference)]
        return float(np.sqrt(np.square(known).mean())) if len(known) else 0.0
