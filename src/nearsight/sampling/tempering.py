"""Parallel tempering: copies at many temperatures that trade places, for models that get stuck at low ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, integer
from nearsight._validation import number as number_
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._abreast import Ladder, exchange_once, temper_abreast
from nearsight.sampling._streams import stream
from nearsight.sampling._two_states import LaneKernel
from nearsight.sampling.annealing import Annealed
from nearsight.sampling.sampler import START, Sampler, _real_temperatures, _recorded, _signed
from nearsight.sampling.samplers import SAMPLERS, HeatBath, Metropolis


class ParallelTempering:
    r"""One copy at every temperature; after every sweep neighbouring temperatures are exchanged with probability

    .. math:: \min\left\{1, \exp\left[(\beta_k - \beta_l)(E_k - E_l)\right]\right\}, \qquad \beta = 1 / kT ,

    even pairs and odd pairs in turn. Every temperature samples its Boltzmann distribution, and a copy that is stuck
    when cold forgets its state when it has travelled to the hot end and back: :attr:`round_trips` counts that.

    ``states``, ``energy`` and records are ordered by temperature, not by copy. Swaps cost little beside the sweeps;
    the chains may be those of any :class:`Sampler`. Models of two states, glasses among them, go through the lattice
    16 copies at a time, sweeps and exchanges in one compiled loop. :attr:`lowest` is the lowest state of all, and
    :meth:`search` stops when it is low enough: the way to ground states of glasses of some hundred spins.

    Parameters
    ----------
    model: any classical model.
    kT: temperatures, at least two, all different; :func:`temperature_ladder` spaces them.
    sampler: class of the chains, or its name; :class:`HeatBath` by default.
    seed, start: as for a :class:`Sampler`.

    >>> from nearsight.hamiltonians import EdwardsAnderson
    >>> from nearsight.lattices import cubic
    >>> glass = EdwardsAnderson(cubic(4), distribution="+-J", seed=1)
    >>> ParallelTempering(glass, temperature_ladder(0.3, 2.0, 16), sampler="metropolis").search(500).energy
    -104.0

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
        self._rng = stream(seed, START + 2)[:, 0]
        n = len(temperatures)
        zeros = {name: np.zeros(n - 1, np.int64) for name in ("tried", "swapped")}
        zeros |= {name: np.zeros(n, np.int64) for name in ("end", "trips")}
        self._ladder = Ladder(copy=np.arange(n), turn=np.zeros(1, np.int64), marked=np.zeros(n - 1, bool), **zeros)
        energies = self.chains.measure()[0]
        first = int(np.argmin(energies))
        self._lowest, self._kept = energies[first : first + 1].copy(), self.chains.states.numpy()[first].copy()

    def __repr__(self) -> str:
        kT = f"{len(self.kT)} temperatures in [{self.kT[0]:g}, {self.kT[-1]:g}]"
        return f"ParallelTempering({self.model!r}; {type(self.chains).__name__}, {kT})"

    def sweep(self, number: int = 1) -> None:
        """So many sweeps of every copy, each followed by an attempt to exchange neighbours."""
        self._move(integer(number, "number", least=0), -math.inf)

    def search(self, sweeps: int, *, goal: float = -math.inf) -> Annealed:
        """The lowest state found in at most ``sweeps`` more, or before; no more are made once it is at ``goal``.

        Parameters
        ----------
        sweeps: largest number of sweeps.
        goal: an energy that is low enough, such as a bound or the energy that another search found.
        """
        self._move(integer(sweeps, "sweeps", least=0), number_(goal, "goal", finite=False))
        return self.lowest

    @property
    def lowest(self) -> Annealed:
        """The state of lowest energy that any copy was in after a sweep."""
        states, energy = torch.from_numpy(self._kept.copy()), float(self._lowest[0])
        return Annealed(states, energy, torch.tensor([energy], dtype=torch.float64))

    def record(self, sweeps: int, *, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Move on by ``sweeps`` and measure after ``every`` one: energies and m² ``(temperature, time)``."""
        energy, m2 = _recorded(self.sweep, lambda: np.array(self.chains.observe())[:, self._ladder.copy], sweeps, every)
        return energy, m2

    @property
    def states(self) -> Tensor:
        """States at all temperatures ``(temperature, site)``, int8."""
        return self.chains.states[torch.from_numpy(self._ladder.copy)]

    @property
    def energy(self) -> Tensor:
        """E at all temperatures ``(temperature,)``, float64."""
        return self.chains.energy[torch.from_numpy(self._ladder.copy)]

    @property
    def acceptance(self) -> np.ndarray:
        """Fraction of accepted exchanges between neighbouring temperatures ``(temperature - 1,)``; 0.2 to 0.5 is good.

        Where it is close to 0 the ladder is cut in two: add temperatures there.
        """
        tried, swapped = self._ladder.tried, self._ladder.swapped
        return np.where(tried > 0, swapped / np.maximum(tried, 1), np.nan)

    @property
    def round_trips(self) -> int:
        """How often any copy has gone from the hottest temperature to the coldest and back."""
        return int(self._ladder.trips.sum())

    def checkpoint(self) -> dict[str, Tensor]:
        """Everything the rest of the run depends on, as tensors for :func:`nearsight.storage.save_tensors`."""
        own = {f"tempering.{name}": torch.from_numpy(_signed(a).copy()) for name, a in self._arrays().items()}
        return {**self.chains.checkpoint(), **own}

    def restore(self, checkpoint: dict[str, Tensor]) -> None:
        """Continue from a checkpoint of the same ladder."""
        arrays = self._arrays()
        for name, array in arrays.items():
            found = checkpoint.get(f"tempering.{name}")
            if found is None or tuple(found.shape) != array.shape:
                raise ValueError(
                    f"The checkpoint is not one of {self!r}: {name} should have shape {array.shape}. Make the ladder "
                    "as it was made before; those of versions that exchanged by other random numbers start again."
                )
        self.chains.restore(checkpoint)
        for name, array in arrays.items():
            array[...] = checkpoint[f"tempering.{name}"].numpy().view(array.dtype)

    def _arrays(self) -> dict[str, np.ndarray]:
        """What changes beside the chains."""
        ladder = {name: array for name, array in self._ladder._asdict().items() if name != "marked"}
        return {"rng": self._rng, "lowest": self._lowest, "kept": self._kept, **ladder}

    def _move(self, sweeps: int, goal: float) -> None:
        beta, code = 1 / self.kT, getattr(self.chains, "_code", None)
        if isinstance(code, LaneKernel):
            kept = 2 * self._kept[:, None] - 1
            code.place(self.chains._arrays)
            loops = code.spins, code.bonds, code.tables, code.streams
            temper_abreast(*loops, beta, self._ladder, self._rng, self._lowest, kept, sweeps, goal)
            self._kept[:] = (kept[:, 0] + 1) // 2
            self.chains._kT[self._ladder.copy] = self.kT
            return
        for _ in range(sweeps):
            if self._lowest[0] <= goal:
                return
            self.chains.sweep()
            energy = self.chains.measure()[0]
            best = int(np.argmin(energy))
            if energy[best] < self._lowest[0]:
                self._lowest[0], self._kept[:] = energy[best], self.chains.states[best].numpy()
            exchange_once(energy, beta, self._ladder, self._rng)
            if self._ladder.marked.any():
                kT = np.empty_like(self.kT)
                kT[self._ladder.copy] = self.kT
                self.chains.kT = kT


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
