"""Configurations seen in equilibrium, packed in memory, a bit per site where there are two states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import filename, generator, instance, integer, number
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice
from nearsight.sampling import Snapshots
from nearsight.sampling.snapshots import pack
from nearsight.storage import load_tensors, save_tensors

_Rows = slice | int | Sequence[int] | np.ndarray | Tensor

_BLOCK = 2**18
"""Rows that are unpacked at a time where all are looked at once."""
_STRETCHES = 8
"""A single chain is split into so many stretches at most, each with its own validation part."""


class Observations:
    r"""Configurations a of one lattice, evidence of the distribution they come from,

    .. math:: P(a) = e^{-E(a) / kT} / Z, \qquad a_i \in \{0, \dots, q-1\}.

    States are the integers of :class:`~nearsight.hamiltonians.ClassicalModel`; Ising spins are s = 2a - 1. They stay
    packed in memory, a bit per site for two states and a byte otherwise: 5.12e7 configurations of 8 × 8 Ising spins
    take 410 MB. Rows that share a number ``chain`` are the successive snapshots of one Markov chain (or of one sample
    under a camera) in the order of time; different chains are independent of each other.

    Parameters
    ----------
    lattice: the sites, in whose order states are given.
    states: integers ``(snapshot, site)``, or ``(chain, snapshot, site)`` for chains of one length; array or tensor.
    n_states: q, 2..127.
    kT: temperature they were seen at; None where it is not known: energies are then in units of kT.
    chain: number of the chain of every row ``(snapshot,)``. By default all rows are one chain; for independent
        snapshots pass ``np.arange(len(states))``.
    missing: True where a site was not seen, ``(snapshot, site)``, or ``(site,)`` for sites that never are. What
        ``states`` hold there is not looked at and reads as 0.

    Example
    -------
    >>> import numpy as np, nearsight as ns
    >>> states = np.random.default_rng(1).integers(0, 2, (4, 1000, 16))
    >>> seen = ns.inference.Observations(ns.lattices.square(4), states, kT=2.5)
    >>> seen
    4000 observations of square, 4 × 4 sites, periodic: 2 states, kT = 2.5, 4 chains
    >>> seen.states([0, 7]).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        lattice: Lattice,
        states: Any,
        *,
        n_states: int = 2,
        kT: float | None = None,
        chain: Any = None,
        missing: Any = None,
    ) -> None:
        sites = checked_lattice(lattice).n_sites
        n_states = integer(n_states, "n_states", least=2, most=127)
        array = _integers(states)
        if array.ndim not in (2, 3) or array.shape[-1] != sites or not len(array):
            raise ValueError(
                f"States have shape (snapshot, {sites}) or (chain, snapshot, {sites}), at least one snapshot, got "
                f"{array.shape}: {lattice!r} has {sites} sites."
            )
        if array.ndim == 3:
            if chain is not None:
                raise ValueError("States (chain, snapshot, site) number their chains themselves; leave chain out.")
            chain = np.repeat(np.arange(len(array)), array.shape[1])
            array = array.reshape(-1, sites)
        unseen = None if missing is None else _mask(missing, np.shape(states), array.shape)
        blocks = []
        for start in range(0, len(array), _BLOCK):
            rows = slice(start, start + _BLOCK)
            block = array[rows] if unseen is None else np.where(unseen[rows], 0, array[rows])
            blocks.append(pack(_checked_range(block, n_states).astype(np.int8), n_states))
        self._set(lattice, np.concatenate(blocks), n_states, kT, chain, unseen)

    def _set(
        self,
        lattice: Lattice,
        packed: np.ndarray,
        n_states: int,
        kT: float | None,
        chain: Any,
        missing: np.ndarray | None,
    ) -> None:
        self.lattice, self.n_states = lattice, n_states
        self.kT = None if kT is None else number(kT, "kT", above=0)
        self.packed = packed
        """Rows as bytes ``(snapshot, byte)``, uint8: eight sites a byte for two states, the first in its lowest bit."""
        self.chain = _chains(chain, len(packed))
        """Number of the chain of every row ``(snapshot,)``."""
        self.missing = missing
        """True where a site was not seen ``(snapshot, site)``; None where all were."""

    @classmethod
    def from_packed(
        cls, lattice: Lattice, packed: np.ndarray, *, n_states: int = 2, kT: float | None = None, chain: Any = None
    ) -> Self:
        """Observations from rows that are :attr:`packed` already, which are not copied."""
        width = -(-checked_lattice(lattice).n_sites // 8) if n_states == 2 else lattice.n_sites
        instance(packed, np.ndarray, "packed")
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != width or not len(packed):
            raise ValueError(
                f"Packed rows are uint8 (snapshot, {width}) for {lattice!r}, at least one, got {packed.dtype} of shape "
                f"{packed.shape}."
            )
        made = cls.__new__(cls)
        made._set(lattice, packed, integer(n_states, "n_states", least=2, most=127), kT, chain, None)
        return made

    @classmethod
    def from_snapshots(cls, snapshots: Snapshots, kT: float | None = None) -> Self:
        """The snapshots of :func:`~nearsight.sampling.sample` at one temperature, ``kT`` if there are several."""
        instance(snapshots, Snapshots, "snapshots", "nearsight.sampling.sample makes them.")
        if kT is not None:
            snapshots = snapshots.select(kT=kT)
        known = snapshots.temperatures
        if len(known) != 1:
            raise ValueError(
                f"Observations have one temperature; pass kT=, one of {', '.join(f'{t:g}' for t in known)}."
                if len(known)
                else "There are no snapshots to observe; sample some."
            )
        return cls.from_packed(
            snapshots.lattice,
            snapshots.read("states"),
            n_states=len(snapshots.values),
            kT=float(known[0]),
            chain=snapshots.chain,
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file with a hash, atomically."""
        signed = self.chain.astype(np.result_type(self.chain.dtype, np.int8))
        tensors = {
            "packed": torch.from_numpy(np.require(self.packed, requirements="W")),
            "chain": torch.from_numpy(signed),
        }
        if self.missing is not None:
            tensors["missing"] = torch.from_numpy(np.array(self.missing))
        told = {"lattice": self.lattice.config(), "n_states": self.n_states, "kT": self.kT}
        save_tensors(filename(path, "path"), tensors, {"observations": json.dumps(told)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote; ``CorruptFileError`` for a damaged file. :func:`load_observations` reads others."""
        tensors, texts = load_tensors(path, cure="Restore a copy, or observe again.")
        if "observations" not in texts:
            raise ValueError(f"{path} holds tensors, but no observations; load_observations reads files of users.")
        told, missing = json.loads(texts["observations"]), tensors.get("missing")
        made = cls.__new__(cls)
        made._set(
            Lattice.from_config(told["lattice"]), tensors["packed"].numpy(), told["n_states"], told["kT"],
            tensors["chain"].numpy(), None if missing is None else missing.numpy(),
        )  # fmt: skip
        return made

    def __len__(self) -> int:
        return len(self.packed)

    def __repr__(self) -> str:
        kT = "kT not known" if self.kT is None else f"kT = {self.kT:g}"
        unseen = "" if self.missing is None else f", {self.missing.mean():.2%} of the sites not seen"
        chains = f"{self.n_chains} chain{'s' if self.n_chains > 1 else ''}"
        return f"{len(self)} observations of {self.lattice!r}: {self.n_states} states, {kT}, {chains}{unseen}"

    @property
    def n_chains(self) -> int:
        """Number of independent chains."""
        return len(np.unique(self.chain))

    def states(self, rows: _Rows = slice(None)) -> Tensor:
        """States ``(snapshot, site)``, int8, of the rows asked for; one row alone ``(site,)``."""
        packed = self.packed[rows.numpy() if isinstance(rows, Tensor) else rows]
        if self.n_states == 2:
            packed = np.unpackbits(packed, axis=-1, count=self.lattice.n_sites, bitorder="little")
        return torch.from_numpy(packed.view(np.int8) if self.n_states == 2 else packed.astype(np.int8))

    def take(self, rows: slice | Sequence[int] | np.ndarray) -> Observations:
        """Some of the observations, by a slice, their numbers or a mask; a slice shares memory with the whole."""
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        kinds = isinstance(index, slice) or (index.ndim == 1 and index.dtype.kind in "iub")
        if not kinds or not len(packed := self.packed[index]):
            raise ValueError("take needs a slice, numbers or a mask of rows that leaves at least one.")
        part = type(self).__new__(type(self))
        unseen = None if self.missing is None else self.missing[index]
        part._set(self.lattice, packed, self.n_states, self.kT, self.chain[index], unseen)
        return part

    def batches(self, size: int, rng: torch.Generator | None = None) -> Iterator[Tensor]:
        """All states once, ``(size, site)`` at a time, in order or in an order drawn from ``rng``; the last may be
        smaller."""
        size = integer(size, "size", least=1)
        generator(rng, optional=True)
        # Half the memory of int64 where rows are many; every order is equally likely.
        kind = torch.int32 if len(self) < 2**31 else torch.int64
        order = None if rng is None else torch.randperm(len(self), generator=rng, dtype=kind).numpy()
        for start in range(0, len(self), size):
            yield self.states(slice(start, start + size) if order is None else order[start : start + size])

    def split(
        self, validation: float = 0.1, *, rng: torch.Generator, gap: int = 0
    ) -> tuple[Observations, Observations]:
        """A part to learn from and one to validate on, about the fraction ``validation`` of all, which share no chain.

        Chains are drawn from ``rng``. A single chain is cut into stretches (at most 8) and a piece of each is drawn, at
        a random place; ``gap`` rows on both sides of a piece are in neither part, so that its neighbours in time do not
        tell what it holds: give several autocorrelation times.
        """
        validation = number(validation, "validation", above=0.0, below=1.0)
        gap = integer(gap, "gap", least=0)
        generator(rng)
        names = np.unique(self.chain)
        if len(names) > 1:
            count = min(max(1, round(validation * len(names))), len(names) - 1)
            drawn = np.isin(self.chain, names[torch.randperm(len(names), generator=rng).numpy()[:count]])
            return self.take(~drawn), self.take(drawn)
        pieces = _pieces(len(self), validation, gap, rng)
        second, kept = np.zeros(len(self), bool), np.ones(len(self), bool)
        for first, last in pieces:
            second[first:last] = True
            kept[max(first - gap, 0) : last + gap] = False
        # What lies between two cuts is a chain of its own: its first row does not follow the last of the one before.
        self = self.take(slice(None))
        self.chain = _chains(np.cumsum(np.diff(kept, prepend=kept[0]) | np.diff(second, prepend=second[0])), len(self))
        return self.take(kept), self.take(second)


def _pieces(rows: int, fraction: float, gap: int, rng: torch.Generator) -> list[tuple[int, int]]:
    """First row and end of every piece for validation, one in each of several equal stretches of a chain."""
    # A stretch is worth cutting if its training part is longer than the gaps it costs.
    stretches = max(min(_STRETCHES, int(rows * min(fraction, 1 - fraction)) // max(4 * gap, 1)), 1)
    length = rows // stretches
    piece = min(max(1, round(fraction * length)), length - 2 * gap - 1)
    if piece < 1:
        raise ValueError(
            f"One chain of {rows} observations has no room for a validation part with gaps of {gap}; "
            f"observe several chains, or pass a smaller gap."
        )
    places = torch.randint(length - piece + 1, (stretches,), generator=rng).tolist()
    return [(k * length + place, k * length + place + piece) for k, place in enumerate(places)]


def _integers(states: Any) -> np.ndarray:
    """States as an array of integers."""
    wanted = "States are an array or tensor of integers 0..q-1"
    if isinstance(states, Tensor):
        states = states.numpy(force=True)
    try:
        array = np.asarray(states)
    except ValueError as error:
        raise ValueError(f"{wanted} of one size; these have several: observe one lattice at a time.") from error
    if array.dtype.kind not in "iu":
        raise TypeError(f"{wanted}, got {array.dtype}; load_observations reads spins ±1 and values with NaN.")
    return array


def _checked_range(block: np.ndarray, n_states: int) -> np.ndarray:
    low, high = int(block.min()), int(block.max())
    if low < 0 or high >= n_states:
        cure = "spins s = ±1 are states (s + 1) / 2" if low == -1 and n_states == 2 else f"pass n_states={high + 1}"
        raise ValueError(f"States are numbered 0..{n_states - 1}, got {low}..{high}; {cure if low >= -1 else 'shift'}.")
    return block


def _chains(chain: Any, rows: int) -> np.ndarray:
    """Numbers of the chains of the rows, in the smallest type that holds them."""
    if chain is None:
        return np.broadcast_to(np.zeros(1, np.uint8), (rows,))
    array = np.asarray(chain)
    if array.dtype.kind not in "iu" or array.shape != (rows,):
        raise ValueError(
            f"chain numbers the chain of each of {rows} rows by an integer, got {array.dtype} of shape {array.shape}."
        )
    kind = np.result_type(np.min_scalar_type(int(array.min())), np.min_scalar_type(int(array.max())))
    return array.astype(kind)


def _mask(missing: Any, given: tuple[int, ...], shape: tuple[int, int]) -> np.ndarray:
    """Where no site was seen ``(snapshot, site)``, of a mask of the shape the states were given in, or of one row."""
    array = missing.numpy(force=True) if isinstance(missing, Tensor) else np.asarray(missing)
    if array.dtype != bool or array.shape not in (given, shape[1:]):
        raise ValueError(
            f"missing is True where a site was not seen, bool of shape {given} or {shape[1:]}, got {array.dtype} of "
            f"shape {array.shape}."
        )
    array = array.reshape(-1, shape[1])
    if array.all():
        raise ValueError("missing is True everywhere: no site was seen, and there is nothing to learn from.")
    return np.broadcast_to(array, shape)
