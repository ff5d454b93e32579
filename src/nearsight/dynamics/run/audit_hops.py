"""How wrong the energies of hops are on a large lattice, measured against exact electrons on a few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._validation import choice, instance, integer, number
from nearsight.dynamics.run._audit_statistics import Sample, mean_interval, rms_interval
from nearsight.forcefields.patches import EIGENPROBLEM, Boundary
from nearsight.forcefields.referee import PART, PILOT, RADII, _History
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice, cut_patches
from nearsight.moves import ExactMoves, MoveEnergies
from nearsight.solvers import Chebyshev, Dense, Pattern, SparseMatrix, random_vectors

DIAGONALISED = 1600
"""Orbitals up to which the chemical potential comes from a diagonalisation."""
REPEATS = 6
"""Independent solutions by random vectors on larger lattices, from whose spread it has an error."""
MEMORY = 2**24
"""Elements of all matrices that are diagonalised at once."""


class _Costs(NamedTuple):
    """Of hops ``(n,)``: ΔΩ at fixed μ, the change of the number of electrons, and ∂N/∂μ per orbital before."""

    grand: Tensor
    number: Tensor
    response: Tensor


def audit_hops(
    energies: MoveEnergies,
    exact: ExactMoves,
    field: Tensor,
    *,
    hops: int = 200,
    boundaries: Sequence[Boundary] = ("open", "periodic"),
    budget: float = 30.0,
    seed: int = 0,
) -> xr.Dataset:
    r"""What random hops of a configuration cost by ``energies``, compared with exact electrons in patches around them.

    The electrons answer a hop at fixed number N, on a large lattice that of fixed μ but for a small part,

    .. math:: \Delta F = \Delta\Omega + \frac{(\Delta N)^2}{2\,\partial N/\partial\mu} + O(1/N^2), \qquad
              \Omega = -kT \sum_n \ln\left(1 + e^{-(\epsilon_n - \mu)/kT}\right),

    and ΔΩ is local: two spectra of a patch, before and after, give it with an error that falls exponentially with the
    radius. Patches grow, with each of the ``boundaries``, until that error, estimated from successive radii on 24 hops
    as in :class:`~nearsight.forcefields.Referee`, is a third of what it judges, or the budget ends and ``converged``
    says so. μ is that of the whole configuration: diagonalised up to 1600 orbitals, by Chebyshev moments of random
    vectors beyond, where its error adds ΔN δμ to that of the referee.

    Parameters
    ----------
    energies: what is judged, on a lattice of any size, :class:`~nearsight.moves.LearnedMoves` for example.
    exact: the electrons, on any lattice of the same kind, at fixed filling or μ; free energies.
    field: occupations ``(*replica, site, 1)`` on the lattice of ``energies``.
    hops: how many, drawn uniformly from all that are possible in all replicas.
    boundaries: of patches, "open" or "periodic".
    budget: nominal seconds, those of one core of 2020. Counted, not measured.
    seed: of the choice of hops, and of random vectors.

    Returns
    -------
    Dataset with ``error`` and ``exact`` (along ``sample``, with ``replica`` and ``move``), ``rms``, ``rms_low``,
    ``rms_high`` and ``bias``, ``bias_low``, ``bias_high`` (95 %), ``scale``, the rms of exact energies, and of the
    referee ``referee_error``, ``radius`` (0: the whole lattice), ``boundary``, ``converged``, and ``mu`` with
    ``mu_error`` of every replica that was looked at.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.FalicovKimball(ns.lattices.square(6), U=2.0)
    >>> exact = ns.moves.ExactMoves(model, kT=0.2, filling=0.5)
    >>> large = exact.on(ns.lattices.square(10))
    >>> field = (torch.rand(100, 1, generator=torch.Generator().manual_seed(1)) < 0.25).double()
    >>> found = ns.dynamics.audit_hops(large, exact, field, hops=40)
    >>> bool(found.rms < 0.02 * found.scale)  # exact energies on the whole lattice stand the test
    True
    """
    instance(energies, MoveEnergies, "energies", "LearnedMoves(...) are some.")
    instance(exact, ExactMoves, "exact", "An audit needs the exact partner of what was learned.")
    lattice, count = energies.lattice, integer(hops, "hops", least=2)
    if not isinstance(lattice, Lattice) or not lattice.same_kind(exact.lattice):
        raise ValueError(f"The exact electrons live on {exact.lattice!r}, the energies on {lattice!r}, another kind.")
    if exact.energy != "free":
        raise ValueError("Internal energies at fixed number are not local; audit free energies, or grand potentials.")
    several: Any = tuple(boundaries) if np.iterable(boundaries) and not isinstance(boundaries, str) else (boundaries,)
    for name in several or ("",):
        choice(name, "boundaries", ("open", "periodic"))
    budget, seed = number(budget, "budget", above=0), integer(seed, "seed", least=0)
    flat = energies.hops.check(field).detach().reshape(-1, lattice.n_sites, 1).double().cpu()
    possible = energies.hops.possible(flat)
    if not possible.any():
        raise ValueError("No hop is possible: every site is occupied, or none.")
    rng = torch.Generator().manual_seed(seed)
    places = possible.nonzero()
    drawn = places[torch.randperm(len(places), generator=rng)[:count]]
    replica, move = drawn.T
    looked_at, own = replica.unique(return_inverse=True)
    mu, mu_error = _chemical_potentials(exact, lattice, flat[looked_at], rng)
    judged = torch.empty(len(drawn), dtype=torch.float64)
    for k, row in enumerate(looked_at.tolist()):
        here = (own == k).nonzero()[:, 0]
        judged[here] = torch.from_numpy(energies.start_walk(flat[row]).differences_of(move[here].numpy()))
    target = torch.from_numpy(energies.hops.targets.reshape(-1))[move]
    referee = _Referee(exact, lattice, flat, replica, move // energies.hops.directions, target, mu[own])
    costs, error, radius, boundary, converged, spent = referee.judge(judged, several, budget)
    error = math.hypot(error, _rms(costs.number * mu_error[own]))
    off = (judged - costs.grand).numpy()
    sample = Sample(torch.arange(len(drawn)), np.zeros(len(drawn), int), np.array([len(places)]))
    rms, bias = rms_interval(off[:, None], sample, error), mean_interval(off, sample, error)
    return xr.Dataset(
        {
            "error": ("sample", off, {"long_name": "error of the energy of a hop"}),
            "exact": ("sample", costs.grand.numpy(), {"long_name": "exact energy of a hop"}),
            "replica": ("sample", replica.numpy()),
            "move": ("sample", move.numpy()),
            **dict(zip(("rms", "rms_low", "rms_high"), rms, strict=True)),
            **dict(zip(("bias", "bias_low", "bias_high"), bias, strict=True)),
            "scale": float(costs.grand.square().mean().sqrt()),
            "referee_error": error,
            "radius": radius,
            "boundary": boundary,
            "converged": converged,
            "mu": ("looked_at", mu.numpy()),
            "mu_error": ("looked_at", mu_error.numpy()),
            "nominal_seconds": spent,
        }
    )


def _chemical_potentials(
    exact: ExactMoves, lattice: Lattice, fields: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """μ of every configuration ``(replica,)``, and its standard error."""
    if exact.mu is not None:
        return torch.full((len(fields),), exact.mu, dtype=torch.float64), torch.zeros(len(fields), dtype=torch.float64)
    model, one = exact.model.on(lattice), torch.zeros(1, dtype=torch.int64)  # an element of ρ, which nobody reads
    found, errors = [], []
    for field in fields:
        if model.orbitals <= DIAGONALISED:
            found.append(Dense(kT=exact.kT, filling=exact.filling).solve(model.matrix(field), one, one).mu)
            errors.append(torch.zeros(()))
            continue
        matrix = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(field))
        several = [
            Chebyshev(kT=exact.kT, filling=exact.filling, accuracy=1e-3, probes=random_vectors(2, sets=2), rng=rng)
            .solve(matrix, one, one)
            .mu
            for _ in range(REPEATS)
        ]
        sets = torch.stack([torch.as_tensor(m, dtype=torch.float64) for m in several])
        found.append(sets.mean())
        errors.append(sets.std() / REPEATS**0.5)
    return torch.stack([torch.as_tensor(m, dtype=torch.float64) for m in found]), torch.stack(errors).double()


class _Referee:
    """Exact energies of hops ``(n,)`` from ``source`` to ``target`` in ``fields (replica, site, 1)``, by patches."""

    def __init__(
        self, exact: ExactMoves, lattice: Lattice, fields: Tensor, replica: Tensor, source: Tensor, target: Tensor,
        mu: Tensor,
    ) -> None:  # fmt: skip
        self.exact, self.lattice, self.fields, self.replica = exact, lattice, fields, replica
        self.source, self.target, self.mu = source, target, mu

    def judge(
        self, judged: Tensor, boundaries: Sequence[Boundary], budget: float
    ) -> tuple[_Costs, float, int, str, bool, float]:
        """Costs, their error, radius and boundary of the patches, whether the error is small enough, seconds."""
        pilot, rest = np.arange(len(judged))[:PILOT], np.arange(len(judged))[PILOT:]
        history, trials, spent, tried = {b: _History() for b in boundaries}, {}, 0.0, 0
        name: Boundary = boundaries[0]
        for radius in RADII:
            cost = {b: self._seconds(radius, b) for b in boundaries}
            trial = len(pilot) * sum(cost.values())
            if tried and spent + trial + len(rest) * min(cost.values()) > budget:
                break
            trials = {b: self._costs(pilot, radius, b) for b in boundaries}
            for b, known in history.items():
                known.add(self._free(trials[b]), _rms, self._is_whole(radius), 0.0)
            if len(history) > 1 and not self._is_whole(radius):  # what boundaries decide is not known
                apart = _rms(torch.stack([known.force for known in history.values()]).std(0))
                for known in history.values():
                    known.error = max(known.error, apart)
            spent, tried = spent + trial, radius
            name = min(history, key=lambda b: history[b].error)
            best = history[name]
            if best.error <= PART * _rms(judged[:PILOT] - best.force):
                break
        costs = _Costs(*map(torch.cat, zip(trials[name], self._costs(rest, tried, name), strict=True)))
        costs = costs._replace(grand=self._free(costs))
        spent += len(rest) * self._seconds(tried, name)
        error, whole = history[name].error, self._is_whole(tried)
        converged = error <= PART * _rms(judged - costs.grand)
        return costs, error, 0 if whole else tried, "of the lattice" if whole else name, converged, spent

    def _free(self, costs: _Costs) -> Tensor:
        """ΔF at fixed number, or ΔΩ where μ is given."""
        if self.exact.mu is not None:
            return costs.grand
        response = costs.response.mean() * self.lattice.n_sites
        return costs.grand + costs.number.square() / (2 * response)

    def _is_whole(self, radius: int) -> bool:
        return all(2 * radius >= n for n in self.lattice.shape)

    def _model(self, small: Lattice, whole: bool) -> FalicovKimball:
        return self.exact.model.replaced(lattice=small, twist=self.exact.model.twist if whole else None)

    def _seconds(self, radius: int, boundary: Boundary) -> float:
        """Nominal seconds of one hop: two spectra without vectors."""
        n = cut_patches(self.lattice, np.zeros(1, int), radius, closed=boundary == "periodic")[0].lattice.n_sites
        return EIGENPROBLEM * n**3

    def _costs(self, which: np.ndarray, radius: int, boundary: Boundary) -> _Costs:
        """Of some of the hops, in patches around their sources."""
        source = self.source[which].numpy()
        found = torch.empty(3, len(which), dtype=torch.float64)
        for patches in cut_patches(self.lattice, source, radius, closed=boundary == "periodic"):
            model = self._model(patches.lattice, all(patches.whole))
            for part in np.array_split(patches.drawn, -(-len(patches.drawn) * model.orbitals**2 // MEMORY)):
                rows = np.searchsorted(patches.drawn, part)
                index, own = torch.from_numpy(patches.sites[rows]), which[part]
                before = self.fields[self.replica[own][:, None], index]
                arrived = index == self.target[own][:, None]
                after = before.clone()
                after[:, patches.centre] = 0.0
                after[arrived] = 1.0
                found[:, part] = torch.stack(self._change(model, before, after, self.mu[own]))
        return _Costs(*found)

    def _change(self, model: FalicovKimball, before: Tensor, after: Tensor, mu: Tensor) -> tuple[Tensor, ...]:
        kT = self.exact.kT
        omega, electrons = [], []
        for field in (before, after):
            x = (torch.linalg.eigvalsh(model.matrix(field)) - mu[:, None]) / kT
            f = torch.sigmoid(-x)
            omega.append(-kT * model.degeneracy * torch.nn.functional.softplus(-x).sum(-1))
            electrons.append((model.degeneracy * f.sum(-1), model.degeneracy * (f * (1 - f)).mean(-1) / kT))
        background = model.background_energy(after) - model.background_energy(before)
        return omega[1] - omega[0] + background, electrons[1][0] - electrons[0][0], electrons[0][1]


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())
