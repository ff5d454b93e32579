"""Work in independent pieces that may be killed at any moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from nearsight.storage.files import CorruptFileError, data_hash, tidy, tidy_tree
from nearsight.storage.plain import read_json, write_json
from nearsight.storage.tensors import load_tensors, remade, save_tensors


class Parts:
    """The finished pieces of a result at ``path``, one file each in ``path.parts/``, until the result is there.

    Every piece carries a hash of its content and the hash of the plan it belongs to, which ``plan.json`` spells out. A
    piece that is damaged or belongs to another plan is named by a :class:`DamagedFileWarning` and counts as missing.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_name(path.name + ".parts")
        self.plan: dict[str, Any] = {}

    def start(self, plan: dict[str, Any], refuse: Callable[[dict[str, Any], Path], None]) -> None:
        """Begin, or go on with what is there; ``refuse(stored, folder)`` raises if the stored plan is another one."""
        file = self.folder / "plan.json"
        tidy(self.path)
        tidy_tree(self.folder)
        try:
            self.plan = read_json(file, hashed=True)
        except FileNotFoundError:
            pass
        except CorruptFileError as error:
            remade(file, error)
        if self.plan:
            refuse(self.plan, self.folder)
        else:
            self.plan = plan
            write_json(file, plan, hashed=True)

    def file(self, number: int) -> Path:
        """Where a piece is kept."""
        return self.folder / f"{number:06d}.safetensors"

    def missing(self, count: int) -> list[int]:
        """The pieces that are still to be made, out of ``count``."""
        return [number for number in range(count) if not self._usable(number)]

    def save(self, number: int, tensors: dict[str, Tensor]) -> None:
        """Keep a piece, atomically."""
        save_tensors(self.file(number), tensors, {"plan": data_hash(self.plan)})

    def load(self, number: int) -> dict[str, Tensor]:
        """A piece; ``CorruptFileError`` if it is damaged or belongs to another plan."""
        tensors, texts = load_tensors(self.file(number))
        if texts.get("plan") != data_hash(self.plan):
            raise CorruptFileError(f"{self.file(number)} belongs to another plan. Delete it and resume.")
        return tensors

    def finish(self, made: Path) -> None:
        """Move the result, built among the pieces, to its place in one step, and remove the pieces."""
        os.rename(made, self.path)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _usable(self, number: int) -> bool:
        try:
            self.load(number)
        except FileNotFoundError:
            return False
        except CorruptFileError as error:
            remade(self.file(number), error)
            return False
        return True
