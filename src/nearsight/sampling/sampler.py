"""Markov chains of a classical model: what every sampler can do."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling import _clusters as clusters
from nearsight.sampling import _single_spin as single_spin
from nearsight.sampling._streams import generator

Start = str | Tensor
START = 2**31
"""Number of the streams that draw first states, apart from those of the updates."""


class Sampler(abc.ABC):
    r"""Independent Markov chains whose states occur with probability exp(-E/kT) / Z in the long run.

    Every chain has random numbers of its own, drawn from ``seed`` and its number: what a chain does depends neither on
    the others nor on threads or processes, and :meth:`checkpoint` continues bit for bit.

    Parameters
    ----------
    model: any :class:`~nearsight.hamiltonians.ClassicalModel`.
    kT: temperature, one for all chains or one for each ``(chain,)``, in the units of the couplings.
    chains: number of chains; by default as many as temperatures or states are given.
    seed: whole number >= 0, or several that together name the streams.
    start: "random", "ordered" (the last of :func:`ordered_states`), "mixed" (every other chain random, the rest from
        each of the ordered states in turn), or states ``(site,)`` or ``(chain, site)``.
    """

    name: ClassVar[str]
    """What the sampler is called in :func:`sample`."""

    def __init__(
        self,
        model: ClassicalModel,
        kT: float | Sequence[float] | np.ndarray,
        *,
        chains: int | None = None,
        seed: int | tuple[int, ...] = 0,
        start: Start = "random",
    ) -> None:
        instance(model, ClassicalModel, "model", "Samplers take a classical model such as Ising(lattice).")
        temperatures = _real_temperatures(kT)
        seeds = tuple(integer(x, "seed", least=0) for x in (seed if isinstance(seed, tuple) else (seed,)))
        if not seeds:
            raise ValueError("seed must be one whole number ≥ 0, or several, got an empty tuple.")
        if temperatures.ndim > 1 or not temperatures.size:
            raise ValueError(f"kT is one number or one for every chain, got shape {temperatures.shape}.")
        _check_temperatures(temperatures)
        if chains is None:
            given = len(start) if isinstance(start, Tensor) and start.ndim == 2 else 1
            chains = temperatures.size if temperatures.ndim else given
        chains = integer(chains, "chains", least=1)
        if temperatures.ndim and temperatures.size != chains:
            raise ValueError(f"{temperatures.size} temperatures do not fit {chains} chains; pass one, or one for each.")
        self.model, self.chains = model, chains
        self.seed = seeds
        self._aligned = clusters.alignment(model)
        self._bonds = (model.pairs.i.astype(np.int32), model.pairs.j.astype(np.int32), model.pairs.strength)
        self._arrays = self._place(self._first_states(start))
        self.kT = np.broadcast_to(temperatures, (chains,))

    def __repr__(self) -> str:
        low, high = float(self.kT.min()), float(self.kT.max())
        kT = f"kT={low:g}" if low == high else f"kT={low:g}..{high:g}"
        return f"{type(self).__name__}({self.model!r}; {self.chains} chains, {kT})"

    # --- what a sampler defines -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _place(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Everything that changes during a run, streams included, from states ``(chain, site)``, int8."""

    @abc.abstractmethod
    def _tune(self, kT: np.ndarray) -> None:
        """Work out probabilities for temperatures ``(chain,)``."""

    @abc.abstractmethod
    def sweep(self, number: int = 1) -> None:
        """Move every chain on by so many sweeps (:class:`Wolff`: clusters)."""

    @abc.abstractmethod
    def _read(self) -> np.ndarray:
        """States ``(chain, site)``, int8, a copy."""

    # --- what follows from it ---------------------------------------------------------------------------------------

    @property
    def kT(self) -> np.ndarray:
        """Temperatures ``(chain,)``; others may be assigned at any time."""
        return self._kT.copy()

    @kT.setter
    def kT(self, kT: np.ndarray | float) -> None:
        self._kT = np.broadcast_to(_real_temperatures(kT), (self.chains,)).copy()
        self._tune(self._kT)

    @property
    def states(self) -> Tensor:
        """States of all chains ``(chain, site)``, int8, a copy."""
        return torch.from_numpy(self._read())

    @property
    def fields(self) -> Tensor:
        """Fields of all chains ``(chain, site, component)``, float64."""
        return self.model.from_states(self.states)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies ``(chain,)`` and how many sites are in which state ``(chain, state)``."""
        return single_spin.measure(self._read(), *self._bonds, self.model.interaction, self.model.onsite)

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and squares of the order parameter (:func:`_order`) ``(chain,)``; the staggered one where bonds of
        two states favour different ones on a bipartite lattice."""
        energy, counts = self.measure()
        if self._aligned is not None and self._aligned.any():
            up = (self._read() ^ self._aligned).sum(1, dtype=np.int64)
            counts = np.stack([self.model.lattice.n_sites - up, up], axis=-1)
        return energy, _order(self.model, counts)

    @property
    def energy(self) -> Tensor:
        """E of all chains ``(chain,)``, float64."""
        return torch.from_numpy(self.measure()[0])

    def record(self, sweeps: int, *, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Move on by ``sweeps`` and :meth:`observe` after ``every`` one: energies and m² ``(chain, time)``."""
        energy, m2 = _recorded(self.sweep, self.observe, sweeps, every)
        return energy, m2

    def checkpoint(self) -> dict[str, Tensor]:
        """Everything the rest of the run depends on, as tensors for :func:`nearsight.storage.save_tensors`."""
        arrays = {**self._arrays, "kT": self._kT}
        return {name: torch.from_numpy(_signed(array).copy()) for name, array in arrays.items()}

    def restore(self, checkpoint: dict[str, Tensor]) -> None:
        """Continue from a checkpoint of the same sampler."""
        expected = {**self._arrays, "kT": self._kT}
        for name, array in expected.items():
            if name not in checkpoint or tuple(checkpoint[name].shape) != array.shape:
                raise ValueError(
                    f"The checkpoint is not one of {self!r}: {name} should have shape {array.shape}. "
                    "Make the sampler as it was made before."
                )
        self._arrays = {name: checkpoint[name].numpy().copy().view(a.dtype) for name, a in self._arrays.items()}
        self.kT = checkpoint["kT"].numpy()

    def _first_states(self, start: Start) -> np.ndarray:
        n, q = self.model.lattice.n_sites, self.model.n_states
        instance(start, (str, Tensor), "start", 'Pass "random", "ordered", "mixed" or a tensor of states.')
        if isinstance(start, Tensor):
            states = self.model.check_states(start).to(torch.int8).expand(self.chains, n)
            return np.array(states.cpu().numpy())
        if start == "ordered":
            return np.broadcast_to(ordered_states(self.model)[-1], (self.chains, n)).copy()
        if start in ("random", "mixed"):
            names = [(*self.seed[1:], START, chain) for chain in range(self.chains)]
            drawn = np.stack([generator(self.seed[0], *name).integers(q, size=n, dtype=np.int8) for name in names])
            if start == "mixed":
                ordered = ordered_states(self.model)
                drawn[1::2] = ordered[np.arange(self.chains // 2) % len(ordered)]
            return drawn
        raise ValueError(f'start must be "random", "ordered", "mixed" or a tensor of states, got {start!r}.')


def ordered_states(model: ClassicalModel) -> np.ndarray:
    """Those of lowest energy among the uniform states and the two staggered ones of a bipartite antiferromagnet,
    ``(state, site)``, int8; without a field the last is s = 1."""
    n, q = model.lattice.n_sites, model.n_states
    states = np.repeat(np.arange(q, dtype=np.int8)[:, None], n, axis=1)
    staggered = clusters.alignment(model)
    if staggered is not None and staggered.any():
        states = np.concatenate([states, [staggered, staggered ^ 1]])
    energy = model.energy(torch.from_numpy(states)).numpy()
    return states[energy <= energy.min() + 1e-12 * abs(energy.min())]


def _signed(array: np.ndarray) -> np.ndarray:
    """Unsigned words as the signed ones that torch knows, bit for bit."""
    return array.view(array.dtype.str.replace("u", "i")) if array.dtype.kind == "u" else array


def _recorded(sweep: Callable[[int], None], observe: Callable[[], Any], sweeps: int, every: int) -> np.ndarray:
    """Energies and m² ``(2, chain, time)`` of ``sweeps``, observed after ``every`` one."""
    every, sweeps = integer(every, "every", least=1), integer(sweeps, "sweeps", least=1)
    if sweeps < every:
        raise ValueError(f"{sweeps} sweeps hold no record after {every}; make more, or measure more often.")
    rows = []
    for _ in range(sweeps // every):
        sweep(every)
        rows.append(observe())
    return np.moveaxis(np.array(rows), 0, -1)


def _real_temperatures(kT: Any) -> np.ndarray:
    """Temperatures as an array of floats, refused if they are not real, finite and > 0."""
    try:
        array = np.asarray(kT)
    except ValueError as error:
        raise ValueError("kT must be one temperature or a list of temperatures, not a ragged one.") from error
    if array.dtype.kind not in "fiu":
        what = repr(kT) if isinstance(kT, str | type) or kT is None else f"{type(kT).__name__} of {array.dtype}"
        raise TypeError(f"kT must hold real numbers > 0, got {what}.")
    _check_temperatures(array.astype(float))
    return array.astype(float)


def _check_temperatures(kT: np.ndarray) -> None:
    """Refuse temperatures that are not positive."""
    if not np.isfinite(kT).all() or (kT <= 0).any():
        raise ValueError(
            f"Temperatures must be finite and > 0, got {np.atleast_1d(kT)[~(np.atleast_1d(kT) > 0)][:3]}; "
            "for ground states use simulated annealing."
        )


def _magnetisation(model: ClassicalModel, counts: np.ndarray) -> np.ndarray:
    """Mean of the field over the sites ``(..., component)`` from how many sites are in which state ``(..., state)``."""
    return counts @ model.values.numpy() / model.lattice.n_sites


def _order(model: ClassicalModel, counts: np.ndarray) -> np.ndarray:
    r"""Square of the order parameter, the same for all ordered states: m² for spins; for Potts states
    Σ_a (x_a - 1/q)² q/(q-1) with the fractions x_a, 0 in disorder and 1 in order."""
    return _order_of_mean(model, _magnetisation(model, counts))


def _order_of_mean(model: ClassicalModel, mean: np.ndarray) -> np.ndarray:
    """The same from the mean of the field ``(..., component)``."""
    if model.components == 1:
        return mean[..., 0] ** 2
    q = model.n_states
    return ((mean - 1 / q) ** 2).sum(-1) * q / (q - 1)
