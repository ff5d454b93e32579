"""Occupations of a lattice with the exact energies of their hops, on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight import __version__
from nearsight._validation import instance, integer, number
from nearsight.lattices import Lattice
from nearsight.moves import Hops, MoveEnergies
from nearsight.storage import CorruptFileError, load_tensors, lock, owned, save_tensors, tidy
from nearsight.training.dataset import deal
from nearsight.training.imports import as_numpy

FORMAT = 1
DTYPES = {"occupied": np.uint8, "difference": np.float64, "trajectory": np.int64, "time": np.float64}


class MoveSplit(NamedTuple):
    """Three data sets that share no trajectory."""

    train: MoveData
    validation: MoveData
    test: MoveData


class MoveData:
    """Configurations of particles and what every hop from them costs.

    One configuration holds some hundred labels, which one diagonalisation gives at once. On disk one safetensors file:
    ``occupied`` ``(configuration, site)``, ``difference`` ``(configuration, move)``, infinite for impossible moves,
    ``trajectory`` (configurations of one resemble each other) and ``time``, with the lattice, the shell of the hops,
    what made the labels, and a hash of it all.

    Make one with :meth:`label`, :meth:`from_arrays` or :meth:`open`.
    """

    def __init__(self, hops: Hops, arrays: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> None:
        self.hops, self.lattice, self.attrs = hops, hops.lattice, dict(attrs)
        self.arrays = {name: np.ascontiguousarray(arrays[name], dtype=kind) for name, kind in DTYPES.items()}

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
            "trajectory": np.arange(count) if trajectory is None else np.asarray(trajectory),
            "time": np.zeros(count) if time is None else np.asarray(time),
        }
        for name in ("trajectory", "time"):
            if arrays[name].shape != (count,) or arrays[name].dtype.kind not in (
                "iu" if name == "trajectory" else "iuf"
            ):
                raise ValueError(f"{name} must hold one number for each of {count} configurations.")
        return cls(hops, arrays, {"nearsight": __version__, **(attrs or {})})

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
        """Write one safetensors file, atomically."""
        text = {
            "format": FORMAT,
            "lattice": self.lattice.config(),
            "shell": self.hops.shell,
            "hash": self.hash,
            "attrs": self.attrs,
        }
        tensors = {name: torch.from_numpy(values) for name, values in self.arrays.items()}
        with lock(path, beside=True):
            tidy(path)
            save_tensors(path, tensors, {"nearsight": json.dumps(text)})

    @classmethod
    def open(cls, path: str | Path) -> MoveData:
        """Read a data set; ``CorruptFileError`` if the file is damaged or was changed after writing."""
        tensors, metadata = load_tensors(path, hashed=False, cure="Restore a copy, or label it again.")
        text = json.loads(metadata.get("nearsight", "{}"))
        if "format" not in text or set(tensors) != set(DTYPES):
            raise ValueError(f"{path} holds no energies of moves; make it with MoveData.label(...).save(path).")
        if text["format"] > FORMAT:
            raise ValueError(
                f"{path} has format {text['format']}, this version reads up to {FORMAT}; update nearsight."
            )
        hops = Hops(Lattice.from_config(text["lattice"]), text["shell"])
        data = cls(hops, {name: t.numpy() for name, t in tensors.items()}, text["attrs"])
        if data.hash != text["hash"]:
            raise CorruptFileError(f"{path} does not have the hash stored with it; restore a copy or label it again.")
        return data

    # --- contents ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.arrays["occupied"])

    def __repr__(self) -> str:
        trajectories = len(np.unique(self.trajectory))
        return (
            f"{self.labels} hops from {len(self)} configurations of {trajectories} trajectories on {self.lattice!r}, "
            f"{self.spread:.4g} rms"
        )

    @cached_property
    def field(self) -> Tensor:
        """n ``(configuration, site, 1)``, float64."""
        return owned(torch.from_numpy(self.arrays["occupied"].astype(np.float64))[..., None])

    @property
    def difference(self) -> np.ndarray:
        """ΔE ``(configuration, move)``, infinite for impossible moves."""
        return self.arrays["difference"]

    @property
    def trajectory(self) -> np.ndarray:
        return self.arrays["trajectory"]

    @property
    def time(self) -> np.ndarray:
        return self.arrays["time"]

    @cached_property
    def labels(self) -> int:
        """Number of possible moves."""
        return int(np.isfinite(self.difference).sum())

    @cached_property
    def spread(self) -> float:
        """Root of the mean square of ΔE: the error of a model that knows nothing but the symmetry, and answers zero."""
        known = self.difference[np.isfinite(self.difference)]
        return float(np.sqrt(np.square(known).mean())) if len(known) else 0.0

    @cached_property
    def hash(self) -> str:
        """SHA-256 of lattice, hops, configurations and energies."""
        digest = hashlib.sha256(json.dumps([self.lattice.config(), self.hops.shell]).encode())
        for name, values in self.arrays.items():
            digest.update(f"{name} {values.shape}\n".encode())
            digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()

    # --- parts ------------------------------------------------------------------------------------------------------

    def take(self, keep: np.ndarray) -> MoveData:
        """The configurations with these numbers, or where a mask holds."""
        return MoveData(self.hops, {name: values[keep] for name, values in self.arrays.items()}, self.attrs)

    def split(self, *, validation: float = 0.15, test: float = 0.15, seed: int = 0) -> MoveSplit:
        """Training, validation and test sets that share no trajectory, in these fractions of the trajectories."""
        validation, test = number(validation, "validation"), number(test, "test")
        seed = integer(seed, "seed", least=0)
        if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
            raise ValueError(f"The fractions must leave something to train on, got {validation:g} and {test:g}.")
        order = np.random.default_rng(seed).permutation(np.unique(self.trajectory))
        dealt = deal(order, {"train": 1.0 - validation - test, "validation": validation, "test": test})
        if not dealt.get("validation") or not dealt.get("train"):
            raise ValueError(f"{len(order)} trajectories are too few to split: a trajectory is never cut. Make more.")
        parts = (self.take(np.isin(self.trajectory, dealt.get(name, []))) for name in MoveSplit._fields)
        return MoveSplit(*parts)
