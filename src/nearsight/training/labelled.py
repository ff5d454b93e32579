"""Rows that belong to trajectories, and their parts for training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import integer, number
from nearsight.lattices import Lattice
from nearsight.storage import owned
from nearsight.storage.table import Table


class Split(NamedTuple):
    """Three data sets of one kind that share no trajectory.

    :meth:`DataSet.split` and :meth:`MoveData.split` return them.
    """

    train: Any
    validation: Any
    test: Any


class _Labelled(Table):
    """A table whose rows name the trajectory they come from, an integer: rows of one trajectory resemble each other."""

    @cached_property
    def lattice(self) -> Lattice:
        return Lattice.from_config(self.attrs["lattice"])

    @cached_property
    def trajectory(self) -> np.ndarray:
        return self.read("trajectory")

    @cached_property
    def time(self) -> np.ndarray:
        return self.read("time")

    @cached_property
    def kind(self) -> np.ndarray:
        """A code of where every row comes from ``(row,)``; 0 where all come from one source."""
        return self.read("kind") if "kind" in self else np.zeros(len(self), dtype=np.int64)

    def _tensor(self, name: str) -> Tensor:
        return owned(torch.from_numpy(self.read(name)))

    def split(
        self, *, train: float | None = None, validation: float = 0.15, test: float = 0.15, seed: int = 0
    ) -> Split:
        """Training, validation and test sets that share no trajectory.

        Rows of one trajectory resemble each other, so a split by rows would test memory instead of learning.
        Trajectories, those of each kind apart, are shuffled by ``seed`` and dealt out in these fractions, at least one
        to each part; a kind with too few trajectories for that goes to training first, then testing. ``train`` below
        its default (all the rest) leaves data out: test and validation sets stay the same and a smaller training set is
        contained in a larger one, as a learning curve needs.
        """
        validation, test = number(validation, "validation"), number(test, "test")
        train = 1.0 - validation - test if train is None else number(train, "train")
        parts = {"test": test, "validation": validation, "train": train}
        if not (train > 0 and validation >= 0 and test >= 0 and sum(parts.values()) <= 1 + 1e-9):
            raise ValueError(
                f"The fractions must not be negative, train not zero, and their sum at most 1; got train={train:g}, "
                f"validation={validation:g}, test={test:g}."
            )
        chosen: dict[str, list[int]] = {name: [] for name in parts}
        seed = integer(seed, "seed", least=0)
        for code in np.unique(self.kind):
            ids = np.unique(self.trajectory[self.kind == code])
            order = np.random.default_rng([seed, int(code)]).permutation(ids)
            for name, part in _deal(order, parts).items():
                chosen[name].extend(part)
        missing = [name for name, fraction in parts.items() if fraction > 0 and not chosen[name]]
        if missing:
            raise ValueError(
                f"{len(np.unique(self.trajectory))} trajectories are too few to give {' and '.join(missing)} one: "
                "a trajectory is never cut. Generate more, shorter trajectories, or set that fraction to 0; "
                "independent snapshots need no trajectory (independent: true in a card)."
            )
        rows = [np.flatnonzero(np.isin(self.trajectory, chosen[name])) for name in Split._fields]
        return Split(*(self.take(part) for part in rows))


def per_row(values: Any, name: str, count: int, rows: str, kinds: str = "iu") -> np.ndarray:
    """One integer (``kinds`` "iuf": one number) for each of ``count`` rows."""
    array = np.asarray(values)
    if array.dtype.kind not in kinds or array.shape != (count,):
        what = "integer" if kinds == "iu" else "number"
        raise ValueError(f"{name} must hold one {what} for each of the {count} {rows}.")
    return array


def _deal(order: np.ndarray, fractions: Mapping[str, float]) -> dict[str, list[int]]:
    """Shuffled trajectories of one kind: those not trained on come first, so they do not depend on how many are."""
    n = len(order)
    wanted = [name for name in ("train", "test", "validation") if fractions[name] > 0]
    if n < len(wanted):
        return {name: [int(i)] for name, i in zip(wanted, order, strict=False)}
    sizes = {name: max(1, round(fractions[name] * n)) for name in wanted if name != "train"}
    while sum(sizes.values()) > n - 1:
        sizes[max(sizes, key=lambda name: sizes[name])] -= 1
    rest = n - sum(sizes.values())
    # All the rest if the fractions add up to one, whatever the rounding of the others did.
    whole = sum(fractions.values()) > 1 - 1e-9
    sizes["train"] = rest if whole else min(rest, max(1, round(fractions["train"] * n)))
    result, start = {}, 0
    for name, size in sizes.items():
        result[name] = [int(i) for i in order[start : start + size]]
        start += size
    return result
