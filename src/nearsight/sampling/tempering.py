"""Parallel tempering: copies at many temperatures that trade places, for models that get stuck at low ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, integer
from nearsight._validation import number as number_
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._streams import generator
from nearsight.sampling.sampler import START, Sampler, _real_temperatures, _recorded
from nearsight.sampling.samplers import SAMPLERS, HeatBath, Metropolis


class ParallelTempering:
    r"""One copy at every temperature; after every sweep neighbouring temperatures are exchanged with probability

    .. math:: \min\left\{1, \exp\left[(\beta_k - \beta_l)(E_k - E_l)\right]\right\}, \qquad \beta = 1 / kT ,

    even pairs and odd pairs in turn. Every temperature samples its Boltzmann distribution, and a copy that is stuck
    when cold forgets its state when it has travelled to the hot end and back: :attr:`round_trips` counts that.

    ``states``, ``energy`` and records are ordered by temperature, not by copy. Swaps cost nothing beside the sweeps;
    the chains may be those of any :class:`Sampler`.

    Parameters
    ----------
    model: any classical model.
    kT: temperatures, at least two, all different; :func:`temperature_ladder` spaces them.
    sampler: class of the chains, or its name; :class:`HeatBath` by default.
    seed, start: as for a :class:`Sampler`.

    References
    ----------
    K. Hukushima, K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996).
    """

    def __init__(
        self,
        model: ClassicalModel,
        kT: Sequence[float] | np.ndarray,
        *,
        sampler: type[Sampler] | str = HeatBath,
        seed: int = 0,
        start: str | Tensor = "random",
    ) -> None:
        temperatures = np.sort(np.atleast_1d(_real_temperatures(kT)))
        if temperatures.ndim != 1 or len(temperatures) < 2 or (np.diff(temperatures) <= 0).any():
            raise ValueError(f"Parallel tempering needs at least two different temperatures, got {kT}.")
        if isinstance(sampler, str):
            sampler = SAMPLERS[choice(sampler, "sampler", tuple(SAMPLERS))]
        if not (isinstance(sampler, type) and issubclass(sampler, Sampler)):
            raise TypeError(f"sampler must be a class of samplers such as HeatBath, or its name, got {sampler!r}.")
        # 64 chains that share words would have to share a temperature.
        options: dict[str, Any] = {"code": "single"} if issubclass(sampler, Metropolis | HeatBath) else {}
        self.chains = sampler(model, temperatures, seed=seed, start=start, **options)
        self.model, self.kT = model, temperatures
        self._rng = generator(seed, START + 2)
        self._copy = np.arange(len(temperatures))
        self._turn = 0
        self._tried, self._swapped = (np.zeros(len(temperatures) - 1, np.int64) for _ in range(2))
        # Which end a copy touched last: 1 hot, -1 cold after hot.
        self._end = np.zeros(len(temperatures), np.int64)
        self._trips = np.zeros(len(temperatures), np.int64)

    def __repr__(self) -> str:
        kT = f"{len(self.kT)} temperatures in [{self.kT[0]:g}, {self.kT[-1]:g}]"
        return f"ParallelTempering({self.model!r}; {type(self.chains).__name__}, {kT})"

    def sweep(self, number: int = 1) -> None:
        """So many sweeps of every copy, each followed by an attempt to exchange neighbours."""
        for _ in range(integer(number, "number", least=0)):
            self.chains.sweep()
            self._exchange(self.chains.measure()[0])

    def record(self, sweeps: int, *, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Move on by ``sweeps`` and measure after ``every`` one: energies and m² ``(temperature, time)``."""
        energy, m2 = _recorded(self.sweep, lambda: np.array(self.chains.observe())[:, self._copy], sweeps, every)
        return energy, m2

    @property
    def states(self) -> Tensor:
        """States at all temperatures ``(temperature, site)``, int8."""
        return self.chains.states[torch.from_numpy(self._copy)]

    @property
    def energy(self) -> Tensor:
        """E at all temperatures ``(temperature,)``, float64."""
        return self.chains.energy[torch.from_numpy(self._copy)]

    @property
    def acceptance(self) -> np.ndarray:
        """Fraction of accepted exchanges between neighbouring temperatures ``(temperature - 1,)``; 0.2 to 0.5 is good.

        Where it is close to 0 the ladder is cut in two: add temperatures there.
        """
        return np.where(self._tried > 0, self._swapped / np.maximum(self._tried, 1), np.nan)

    @property
    def round_trips(self) -> int:
        """How often any copy has gone from the hottest temperature to the coldest and back."""
        return int(self._trips.sum())

    def checkpoint(self) -> dict[str, Tensor]:
        """Everything the rest of the run depends on, as tensors for :func:`nearsight.storage.save_tensors`."""
        state = self._rng.bit_generator.state
        words = [state["state"]["state"], state["state"]["inc"]]
        rng = [word >> shift & (2**32 - 1) for word in words for shift in range(0, 128, 32)]
        rng += [state["has_uint32"], state["uinteger"]]
        tempering = {
            "rng": np.array(rng),
            "copy": self._copy,
            "turn": np.array([self._turn]),
            "tried": self._tried,
            "swapped": self._swapped,
            "end": self._end,
            "trips": self._trips,
        }
        own = {f"tempering.{name}": torch.from_numpy(array.copy()) for name, array in tempering.items()}
        return {**self.chains.checkpoint(), **own}

    def restore(self, checkpoint: dict[str, Tensor]) -> None:
        """Continue from a checkpoint of the same ladder."""
        self.chains.restore(checkpoint)
        own = {
            name.removeprefix("tempering."): t.numpy().copy() for name, t in checkpoint.items() if "tempering." in name
        }
        self._copy, self._tried, self._swapped = own["copy"], own["tried"], own["swapped"]
        self._end, self._trips, self._turn = own["end"], own["trips"], int(own["turn"][0])
        words = [sum(int(own["rng"][4 * k + part]) << 32 * part for part in range(4)) for k in (0, 1)]
        self._rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": words[0], "inc": words[1]},
            "has_uint32": int(own["rng"][8]),
            "uinteger": int(own["rng"][9]),
        }

    def _exchange(self, energy: np.ndarray) -> None:
        beta, copy = 1 / self.kT, self._copy
        low = np.arange(self._turn % 2, len(beta) - 1, 2)
        self._turn += 1
        gain = (beta[low + 1] - beta[low]) * (energy[copy[low + 1]] - energy[copy[low]])
        swapped = low[np.log1p(-self._rng.random(len(low))) < gain]
        self._tried[low] += 1
        self._swapped[swapped] += 1
        copy[swapped], copy[swapped + 1] = copy[swapped + 1], copy[swapped].copy()
        if len(swapped):
            kT = np.empty_like(self.kT)
            kT[copy] = self.kT
            self.chains.kT = kT
        cold, hot = copy[0], copy[-1]
        self._trips[hot] += self._end[hot] == -1
        self._end[hot] = 1
        self._end[cold] = -1 if self._end[cold] != 0 else 0


def temperature_ladder(low: float, high: float, number: int) -> np.ndarray:
    """``number`` temperatures from ``low`` to ``high`` with a constant ratio.

    A constant ratio gives equal acceptance where the specific heat is constant; the lattice needs C (ln ratio)² ~ 1:
    with N sites, about √(N c) ln(high/low) temperatures. Look at :attr:`ParallelTempering.acceptance`.
    """
    low, high = number_(low, "low", above=0.0), number_(high, "high", above=0.0)
    number = integer(number, "number", least=2)
    if not low < high:
        raise ValueError(f"A ladder has at least 2 temperatures, low < high, got {number} in [{low}, {high}].")
    return np.geomspace(low, high, number)
