"""Finished parts of unfinished work, one file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._description import differences
from nearsight.storage import CorruptFileError, data_hash, load_tensors, read_json, save_tensors, tidy_tree, write_json
from nearsight.storage.tensors import remade

TOLD = 500
"""Characters up to which a difference between two plans is spelt out."""


class Parts(Sequence[dict[str, Tensor]]):
    """The results of tasks, dicts of tensors by name, kept in a folder and read when they are asked for.

    Every part carries a hash of its content and the hash of the plan it belongs to, which ``plan.json`` spells out. A
    part that is damaged or belongs to another plan is named by a ``storage.DamagedFileWarning`` and made again.
    """

    def __init__(self, folder: Path, count: int, plan: Mapping[str, Any]) -> None:
        self.folder, self._size = folder, count
        tidy_tree(folder)
        file = folder / "plan.json"
        try:
            self.plan = read_json(file, hashed=True)
        except FileNotFoundError:
            self.plan = {}
        except CorruptFileError as error:
            remade(file, error)
            self.plan = {}
        if self.plan:
            _refuse_other(self.plan, plan, folder)
        else:
            self.plan = dict(plan)
            write_json(file, self.plan, hashed=True)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(self._size))]
        file = self._file(range(self._size)[number])
        tensors, texts = load_tensors(file)
        if texts.get("plan") != data_hash(self.plan):
            raise CorruptFileError(f"{file} belongs to another plan. Delete it and resume.")
        return tensors

    def missing(self) -> list[int]:
        """The parts that are still to be made."""
        return [number for number in range(self._size) if not self._usable(number)]

    def save(self, number: int, result: Mapping[str, Tensor | np.ndarray]) -> None:
        """Keep a part, atomically; what its task has kept on the way is no longer needed."""
        tensors = {name: torch.as_tensor(values) for name, values in result.items()}
        save_tensors(self._file(number), tensors, {"plan": data_hash(self.plan)})
        unfinished(self.folder, number).unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _usable(self, number: int) -> bool:
        try:
            self[number]
        except FileNotFoundError:
            return False
        except CorruptFileError as error:
            remade(self._file(number), error)
            return False
        return True


def unfinished(folder: Path, number: int) -> Path:
    """Where a task may keep what it has so far."""
    return folder / f"unfinished-{number:06d}.safetensors"


def _refuse_other(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """``ValueError`` with the differences if a plan is not the one that something was made by.

    "nearsight", the version, is no difference. "fingerprint" holds numbers that see parameters which descriptions leave
    out; from machine to machine they differ by rounding.
    """
    decisive = [name for name in now if name not in ("nearsight", "fingerprint")]
    lines = differences(*({name: plan.get(name) for name in decisive} for plan in (then, now)))
    lines = [line if len(line) <= TOLD else f"{line.partition(':')[0]} differs" for line in lines]
    if not lines and "fingerprint" in now:
        old, new = (np.asarray(plan.get("fingerprint", ()), dtype=float) for plan in (then, now))
        if old.shape != new.shape or not np.allclose(old, new, rtol=1e-8, atol=1e-10):
            lines = ["the model gives other numbers, by a parameter that its description does not show"]
    if lines:
        raise ValueError(
            f"{path} was made differently: {'; '.join(lines)}. Ask for what is there, or choose another path."
        )
