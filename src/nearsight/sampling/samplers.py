"""The samplers: Metropolis and heat bath one site at a time, Swendsen-Wang and Wolff by clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nearsight._validation import choice, integer
from nearsight.hamiltonians import ClassicalModel, Ising
from nearsight.sampling import _clusters as clusters
from nearsight.sampling import _multispin as multispin
from nearsight.sampling._codes import CODES, chain_streams
from nearsight.sampling._tiles import TileKernel
from nearsight.sampling._two_states import LaneKernel
from nearsight.sampling.sampler import Sampler, _order


class _SingleSpin(Sampler):
    """One rule, five codes: 64 replicas a word, one spin a byte, tables of tiles, 16 chains abreast, or tables of
    neighbours.

    ``code`` names one of them ("words", "bytes", "tiles", "lanes", "table"), "auto" takes the first that fits and
    "single" the first of the latter four, in which every chain may have a temperature of its own.
    """

    def __init__(self, model: ClassicalModel, kT: Any, *, code: str = "auto", **options: Any) -> None:
        self._asked = choice(code, "code", ("auto", "single", "words", "bytes", "tiles", "lanes", "table"))
        super().__init__(model, kT, **options)

    @property
    def code(self) -> str:
        """ "words", "bytes", "tiles", "lanes" or "table"."""
        return self._code.name

    def _place(self, states: np.ndarray) -> dict[str, np.ndarray]:
        reason = _not_checkerboard(self.model)
        words = reason is None and self.chains % multispin.REPLICAS == 0 and self.model.h == 0  # type: ignore[attr-defined]
        tiles, lanes = self.model.tiles is not None, self.model.tiles is None and self.model.n_states == 2
        single = "tiles" if tiles else "bytes" if reason is None else "lanes" if lanes else "table"
        asked = {"auto": "words" if words else single, "single": single}.get(self._asked, self._asked)
        if asked == "words" and not words:
            reason = reason or f"64 replicas a word need a multiple of 64 chains in zero field, got {self.chains}"
        if asked == "tiles":
            reason = f"{self.model!r} has no tiles"
        if asked in ("lanes", "table"):
            reason = f"neighbours are not all that matters in {self.model!r}"
            if not tiles:
                reason = f"chains abreast are for models of two states, not {self.model!r}"
        fits = {single: True, "words": words, "lanes": lanes, "table": not tiles}
        if not fits.get(asked, False):
            raise ValueError(f'{reason}; pass code="auto" to have code that fits.')
        self._code = (CODES | {kind.name: kind for kind in (TileKernel, LaneKernel)})[asked](self.model, self.name)
        return self._code.init_state(states, self.seed)

    def _tune(self, kT: np.ndarray) -> None:
        self._code.set_temperature(kT)

    def sweep(self, number: int = 1) -> None:
        number = integer(number, "number", least=0)
        self._code.sweep(self._arrays, number)

    def _read(self) -> np.ndarray:
        return self._code.states(self._arrays)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        quick = self._code.measure(self._arrays)
        return quick[:2] if quick else super().measure()

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        quick = self._code.measure(self._arrays)
        return (quick[0], _order(self.model, quick[2])) if quick else super().observe()


class Metropolis(_SingleSpin):
    """Metropolis's rule: a change of one site that costs ΔE is accepted with probability min(1, exp(-ΔE/kT)).

    For Ising spins with nearest neighbours on a square torus of even sides all sites of one colour of the checkerboard
    are tried at once: about 1 update per nanosecond and core, and 2.5 if 64 chains share a temperature in zero field.
    A :class:`~nearsight.hamiltonians.TileModel` takes its table, for sites of one colour or many chains at once (0.05).
    Other models of two states, glasses among them, go through the lattice in order, 16 chains in a register (0.8 with
    couplings ±J, 0.4 with others; give them 16 chains or a multiple). Models of more states take tables of neighbours
    (0.02). One sweep tries every site once, or as many sites as there are.

    The rule always accepts a change that costs nothing, and a sweep that tries every site then turns states in which
    every flip is free, such as diagonal stripes of width two, into each other for ever. One site in 16, drawn at
    random, is therefore skipped; with it every state leads to every other, on every lattice, and its weight in the long
    run is Boltzmann's. Far above the transition nearly every spin turns at every sweep, and little else happens: take
    :class:`HeatBath`.

    Near a critical point take :class:`SwendsenWang`: the autocorrelation time grows as L^2.17.

    Examples
    --------
    >>> import nearsight as ns
    >>> model = ns.hamiltonians.Ising(ns.lattices.square(4))
    >>> chains = ns.sampling.Metropolis(model, 3.0, chains=64, seed=1)
    >>> chains.sweep(50)
    >>> energy, m2 = chains.record(200)
    >>> exact = 16 * float(ns.sampling.ising_torus(4, 4, kT=3.0).energy)
    >>> bool(abs(energy.mean() - exact) < 5 * energy.mean(1).std() / 64**0.5)  # the exact energy within its error
    True
    """

    name = "metropolis"


class HeatBath(_SingleSpin):
    """Heat bath (Glauber): a site takes a state drawn from the Boltzmann distribution in the surroundings it has.

    Code and speed are those of :class:`Metropolis`; autocorrelation times are about twice as long for Ising spins, and
    shorter for Potts models of many states. Every state can be reached from every other.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> model = ns.hamiltonians.Ising(ns.lattices.chain(16), J=0.0, h=1.0)  # free spins in a field
    >>> chains = ns.sampling.HeatBath(model, 2.0, chains=256, seed=1)
    >>> energy, m2 = chains.record(20)
    >>> bool(abs(-energy.mean() / 16 - np.tanh(0.5)) < 0.02)  # ⟨s⟩ = tanh h/kT, from the first sweep on
    True
    """

    name = "heat-bath"


class _Clusters(Sampler):
    """Fortuin-Kasteleyn clusters, on states in which every satisfied bond joins equal ones."""

    _cost: np.ndarray
    _flip: np.ndarray
    _move: Callable[[np.ndarray, np.ndarray, np.ndarray, int], None]
    """Moves of one chain: its states, odds of bonds, random stream and the number of moves."""

    def _tune(self, kT: np.ndarray) -> None:
        self._odds = [clusters.keep_odds(self._cost, t) for t in kT]

    def _read(self) -> np.ndarray:
        return self._arrays["states"] ^ self._flip

    def sweep(self, number: int = 1) -> None:
        number = integer(number, "number", least=0)
        for spins, rng, odds in zip(self._arrays["states"], self._arrays["streams"], self._odds, strict=True):
            self._move(spins, odds, rng, number)


class SwendsenWang(_Clusters):
    """All clusters of Fortuin-Kasteleyn bonds take new states: Ising and Potts models without field, any lattice.

    Bonds may differ and be negative as long as no loop is frustrated (a bipartite antiferromagnet). About 30 ns per
    site and sweep at every temperature; the autocorrelation time of the square Ising model stays below five sweeps up
    to 320 × 320 sites.

    Examples
    --------
    >>> import nearsight as ns
    >>> model = ns.hamiltonians.Ising(ns.lattices.square(4))
    >>> clusters = ns.sampling.SwendsenWang(model, 2.269, chains=64, seed=1)  # at the transition
    >>> clusters.sweep(20)
    >>> energy, m2 = clusters.record(100)
    >>> exact = 16 * float(ns.sampling.ising_torus(4, 4, kT=2.269).energy)
    >>> bool(abs(energy.mean() - exact) < 5 * energy.mean(1).std() / 64**0.5)  # the exact energy within its error
    True
    """

    name = "swendsen-wang"

    def _place(self, states: np.ndarray) -> dict[str, np.ndarray]:
        cost, self._flip = clusters.cluster_costs(self.model)
        first, second = (self.model.pairs.i.astype(np.int32), self.model.pairs.j.astype(np.int32))
        # A bond belongs to its smaller site, and bonds follow the sites: memory is read in order.
        order = np.argsort(np.minimum(first, second), kind="stable")
        self._first, self._second, self._cost = first[order], second[order], cost[order]
        return {"states": states ^ self._flip, "streams": chain_streams(self.seed, len(states))}

    def _move(self, spins: np.ndarray, odds: np.ndarray, rng: np.ndarray, number: int) -> None:
        clusters.sweep_swendsen_wang(spins, self._first, self._second, odds, self.model.n_states, rng, number)


class Wolff(_Clusters):
    """One Fortuin-Kasteleyn cluster, grown from a random site, takes another state: models as :class:`SwendsenWang`.

    One step is one cluster: of the order of the lattice below the transition, of a few sites far above, where many
    steps make an independent state. At the transition of the square Ising model both cluster samplers cost the same.

    Examples
    --------
    >>> import nearsight as ns
    >>> model = ns.hamiltonians.Ising(ns.lattices.square(8))
    >>> chains = ns.sampling.Wolff(model, 0.5, chains=16, seed=1, start="ordered")
    >>> chains.sweep(10)  # deep in the ordered phase a cluster is the whole lattice
    >>> sorted({*chains.states.sum(1).tolist()})  # of 64 states 0 or 1: all down or all up
    [0, 64]
    """

    name = "wolff"

    def _place(self, states: np.ndarray) -> dict[str, np.ndarray]:
        cost, self._flip = clusters.cluster_costs(self.model)
        neighbours, pairs = self.model.neighbours, self.model.pairs
        self._index = neighbours.index.astype(np.int32)
        # Costs are proportional to couplings, with one factor for the model; empty slots have coupling 0.
        largest = np.abs(pairs.strength).max(initial=0.0)
        gain = cost.max(initial=0.0) / largest if largest else 0.0
        self._cost = gain * np.abs(neighbours.strength)
        return {"states": states ^ self._flip, "streams": chain_streams(self.seed, len(states))}

    def _move(self, spins: np.ndarray, odds: np.ndarray, rng: np.ndarray, number: int) -> None:
        clusters.step_wolff(spins, self._index, odds, self.model.n_states, rng, number)


SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in (Metropolis, HeatBath, SwendsenWang, Wolff)}
"""Samplers by the name that :func:`sample` takes."""


def _not_checkerboard(model: ClassicalModel) -> str | None:
    """Why a model is not an Ising model on an even square torus with nearest neighbours alone; None if it is."""
    lattice = model.lattice
    if type(model) is not Ising or len(model.J) != 1:
        return f"checkerboard code is for Ising spins with equal couplings of nearest neighbours, not {model!r}"
    if (
        lattice.dim != 2
        or lattice.n_basis != 1
        or not np.allclose(lattice.vectors, np.eye(2) * lattice.vectors[0, 0], atol=lattice.tolerance)
    ):
        return f"a checkerboard is made of squares, not of {lattice!r}"
    if lattice.periodic != (True, True) or any(n % 2 for n in lattice.shape):
        return f"a checkerboard needs periodic boundaries and even sides, not {lattice!r}"
    return None
