"""The response of forces, or of energies of hops, to the field, by distance: their range."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality._range import distances, doubled, ends, farthest, shells
from nearsight.analysis.locality.derivative import directional_derivative
from nearsight.analysis.locality.sphere import spin_derivative
from nearsight.analysis.statistics.ensembles import bootstrap
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies

BLIND = 1e-9
"""A response below this fraction of the largest is rounding: the force field ends before."""
SPREAD_OUT = 0.1
"""A part of the response that does not decay counts if all sites together feel this fraction of the whole response."""
SIGNIFICANT = 3.0
"""In standard errors over the fields."""


class Decay(NamedTuple):
    """ξ of a response that falls as exp(-r/ξ), its bootstrap error over fields, and the distances of the fit.

    ξ and its error are NaN where fewer than two rings of the window respond at all; ξ is infinite where nothing falls.

    :meth:`Response.decay` returns it.
    """

    length: float
    error: float
    window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Response:
    r"""Response :math:`\chi_{ia,jb} = \partial F_{ia} / \partial \Phi_{jb}` of a force field, by distance.

    ``data`` holds, for every field ``sample`` and distance ``r`` of i and j: ``square``, the sum of Σ_ab |χ_ia,jb|²
    over the pairs, ``norm``, the sum of its root, ``signed``, the sum of χ itself, and ``pairs``, their number; for
    every source j ``column``, Σ_i χ_ia,jb, beside ``weight``, Σ_i |χ_ia,jb|. Made by :func:`response`.
    """

    lattice: Lattice
    data: xr.Dataset

    @property
    def r(self) -> np.ndarray:
        return self.data["r"].values

    @cached_property
    def profile(self) -> xr.DataArray:
        """Root mean square of the norm |∂F_i/∂Φ_j| over pairs at one distance, and over fields ``(r,)``."""
        total = self.data[["square", "pairs"]].sum("sample")
        result = (total["square"] / total["pairs"]) ** 0.5
        return result.assign_attrs(long_name="response |∂F_i/∂Φ_j|, rms", units="1").rename("response")

    @cached_property
    def share(self) -> xr.DataArray:
        """Fraction of Σ_j |∂F_i/∂Φ_j| within a distance ``(r,)``.

        The sum is the largest change of a force, to first order, that a change of the field by at most one everywhere
        can make.
        """
        total = self.data["norm"].sum("sample").cumsum("r")
        # What responds to nothing at all does so within any distance.
        whole = total.isel(r=-1)
        share = total / whole if float(whole) > 0 else xr.ones_like(total)
        return share.assign_attrs(long_name="fraction of the response within r").rename("share")

    def radius(self, share: float) -> float:
        """The smallest distance within which lies this fraction ``share`` of the response."""
        if not 0 < share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}.")
        return float(self.r[np.argmax(self.share.values >= share - 1e-12)])

    @property
    def reach(self) -> float:
        """The largest distance at which there is any response: the cutoff of a force field, as measured."""
        seen = float(self.r[self._rms > BLIND * self._rms.max()].max(initial=0.0))
        return float(f"{seen:.10g}")  # 2, and not the distance of two positions that are 2.0000000000000004 apart

    @property
    def whole(self) -> bool:
        """Whether the reach is the whole lattice, which then says nothing about a cutoff."""
        return self.reach > self.r[-1] - self.lattice.tolerance

    def decay(self, *, rng: torch.Generator, window: tuple[float, float] | None = None) -> Decay:
        """The length of exponential decay: a straight line through ln(response) against r.

        The response is averaged over rings of one nearest-neighbour distance, on which the oscillations of an electron
        gas (Friedel) even out; every ring counts the same. A power law has no such length: its ξ grows with the window.

        Parameters
        ----------
        window: smallest and largest distance; from one spacing to half the shortest period, or to half of an open edge
            that is longer, if not given.
        """
        spacing, tolerance = self.lattice.spacing, self.lattice.tolerance
        low, high = (spacing, farthest(self.lattice)) if window is None else window
        r, data = self.r, self.data
        inside = r >= low - tolerance
        inside &= (r <= high + tolerance) & (self._rms > BLIND * self._rms.max())
        ring = np.rint(r / spacing).astype(int)
        rings = np.unique(ring[inside])
        limits = (float(low), float(high))
        if len(rings) < 2:
            return Decay(float("nan"), float("nan"), limits)
        member = (ring[None] == rings[:, None]) & inside
        pairs = data["pairs"].values @ member.T
        distance = (data["pairs"].values.sum(0) * r) @ member.T / pairs.sum(0)

        def length(parts: np.ndarray) -> np.ndarray:
            square = parts[..., 0, :].sum(-2) / parts[..., 1, :].sum(-2)
            rate = -_slope(distance, 0.5 * np.log(square))
            return np.where(rate > 0, 1.0 / np.where(rate > 0, rate, 1.0), np.inf)

        parts = np.stack([data["square"].values @ member.T, pairs], axis=1)  # (sample, 2, ring)
        value = float(length(parts))
        if len(parts) < 2 or not np.isfinite(value):
            return Decay(value, float("nan"), limits)
        rates = bootstrap(lambda p: 1.0 / length(p), parts, rng=rng, samples=400)
        return Decay(value, float(rates.error) * value**2, limits)

    @cached_property
    def uniform(self) -> np.ndarray:
        """What is left of χ ``(a, b)`` far away: its mean over the farther half of all pairs."""
        return self._far(self._halfway, np.inf)

    @property
    def spread_out(self) -> bool:
        """Whether a part of the response does not decay with distance on this lattice.

        The mean of χ over the farther half of the pairs then does not fall within that half, differs from zero by more
        than its scatter over fields allows, and is felt: times the number of sites, it is at least a tenth of the whole
        response. A response whose length is that of the lattice cannot be told from one that does not decay.
        """
        data, pairs = self.data, self.data["pairs"].sum("sample").values
        middle = float(self.r[np.searchsorted(np.cumsum(pairs), 0.75 * pairs.sum())])
        a, b = np.unravel_index(np.abs(self.uniform).argmax(), self.uniform.shape)
        near, far = self._far(self._halfway, middle)[a, b], self._far(middle, np.inf)[a, b]
        whole = float(data["weight"].mean(("sample", "source")).max())
        beyond = data.sel(r=data["r"] > self._halfway)
        each = (beyond["signed"].sum("r").values[:, a, b]) / beyond["pairs"].sum("r").values
        error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0
        felt = self.lattice.n_sites * abs(self.uniform[a, b]) > SPREAD_OUT * whole
        return bool(felt and abs(each.mean()) > SIGNIFICANT * error and near * far > 0 and abs(far) > 0.7 * abs(near))

    @property
    def conserved(self) -> tuple[int, ...]:
        """The components a whose total Σ_i F_ia no local change of the field can change: a fixed number."""
        column = np.abs(self.data["column"].values).max((0, 1, 3))
        weight = self.data["weight"].values.max((0, 1, 3))
        return tuple(int(a) for a in np.flatnonzero((column < 1e-6 * weight) & (weight > 0)))

    @property
    def fixed_number(self) -> bool:
        """Whether the part that does not decay comes from a fixed number."""
        return bool(self.conserved) and self.spread_out

    @cached_property
    def _rms(self) -> np.ndarray:
        return self.profile.values

    @property
    def _halfway(self) -> float:
        pairs = self.data["pairs"].sum("sample").values
        return float(self.r[np.searchsorted(np.cumsum(pairs), 0.5 * pairs.sum())])

    def _far(self, low: float, high: float) -> np.ndarray:
        """Mean of χ over pairs with low < r <= high; over the farthest pairs if there are none."""
        chosen = (self.r > low) & (self.r <= high)
        if not chosen.any():
            chosen = self.r == self.r[-1]
        data = self.data.isel(r=np.flatnonzero(chosen))
        return (data["signed"].sum(("sample", "r")) / data["pairs"].sum()).values


def response(
    model: ForceField | MoveEnergies,
    fields: Tensor,
    *,
    rng: torch.Generator,
    sources: int = 4,
    step: float = 1e-3,
    spins: bool = False,
) -> Response:
    r"""Measure how forces, or energies of hops, respond to a change of fields ``(sample, site, component)``.

    For exact electrons (the part ``exact.electrons`` is what is learned: springs are known) this is exact linear
    response, two diagonalisations per field and a matrix product per source and component; for other force fields
    central differences of step ``step``, two evaluations per source and component. See :func:`directional_derivative`.

    The energy of a hop depends on whether there is a particle at a distance,

    .. math:: \chi_{a,j} = \Delta E_a[n_j = 1] - \Delta E_a[n_j = 0] ,

    for all hops a that are possible either way, by the distance of site j from the nearer end of the hop. It is the
    third difference of the energy; pair interactions that end at some distance have none beyond. The particle comes or
    goes at the same number of electrons, if that is fixed. Costs one evaluation of all hops per field and source.

    Parameters
    ----------
    model: a force field, or energies of hops, for which ``fields`` are occupations ``(sample, site, 1)``.
    fields: typical fields, as independent as can be; errors come from their scatter.
    rng: chooses the sites whose field is changed.
    sources: how many such sites in every field; all sites respond to each.
    spins: the fields are unit spins, of which only the part of the force normal to them counts: derivatives are those
        on the sphere (:func:`spin_derivative`), a and b the axes of spin space, χ_ij the same matrix in all frames.
    """
    if isinstance(model, MoveEnergies):
        return _of_hops(doubled(model), fields, sources, rng)
    sums = _PairSums(model.lattice, fields, model.components, sources, rng)
    model = doubled(model)
    for s, field in enumerate(fields):
        sites = sums.sites[s].tolist()
        chi = (_on_sphere if spins else _in_space)(model, field, sites, step)
        for k, j in enumerate(sites):
            sums.add(s, k, sums.shell_of[j], chi[k])
    return sums.response()


def _of_hops(energies: MoveEnergies, fields: Tensor, sources: int, rng: torch.Generator) -> Response:
    energies.hops.check(fields)
    sums = _PairSums(energies.lattice, fields, 1, sources, rng)
    first, last = ends(energies.hops)
    for s, field in enumerate(fields.double()):
        sites = sums.sites[s]
        turned = field.repeat(len(sites), 1, 1)
        turned[torch.arange(len(sites)), sites] = 1.0 - field[sites]
        before, after = energies.differences(field), energies.differences(turned)
        for k, j in enumerate(sites.tolist()):
            # Hops of the particle itself, or onto it, are possible only once.
            both = torch.isfinite(before) & torch.isfinite(after[k])
            chi = (after[k] - before)[both].numpy() * (1.0 - 2.0 * float(field[j, 0]))
            nearer = np.minimum(sums.shell_of[j][first], sums.shell_of[j][last])
            sums.add(s, k, nearer[both.numpy()], chi[:, None, None])
    if not sums.pairs.any():
        raise ValueError("No hop is possible in these fields; give some with particles and empty sites next to them.")
    return sums.response()


class _PairSums:
    """Sums of χ by distance, source by source; ``sites`` ``(sample, source)`` are those where the field changes."""

    def __init__(self, lattice: Lattice, fields: Tensor, components: int, sources: int, rng: torch.Generator) -> None:
        if fields.ndim != 3 or not len(fields):
            raise ValueError(f"fields must have shape (sample, site, component), got {tuple(fields.shape)}.")
        sources = min(sources, lattice.n_sites)
        if sources < 1:
            raise ValueError(f"sources must be at least 1, got {sources}.")
        self.lattice = lattice
        self.sites = torch.stack([torch.randperm(lattice.n_sites, generator=rng)[:sources] for _ in fields])
        different = self.sites.unique().tolist()
        self.r, label = shells(distances(lattice, different), lattice)
        self.shell_of = dict(zip(different, label, strict=True))
        shape, matrix = (len(fields), len(self.r)), (components, components)
        self.square, self.norm, self.pairs = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.signed = np.zeros((*shape, *matrix))
        self.column = np.zeros((len(fields), sources, *matrix))
        self.weight = np.zeros_like(self.column)

    def add(self, sample: int, source: int, shell: np.ndarray, chi: np.ndarray) -> None:
        """χ ``(pair, a, b)`` of one source with everything that responds, at the given shells ``(pair,)``."""
        squares = (chi**2).sum((-2, -1))
        sums = ((self.square, squares), (self.norm, np.sqrt(squares)), (self.signed, chi), (self.pairs, 1.0))
        for total, values in sums:
            np.add.at(total[sample], shell, values)
        self.column[sample, source], self.weight[sample, source] = chi.sum(0), np.abs(chi).sum(0)

    def response(self) -> Response:
        """The response at all distances with any pair."""
        seen = self.pairs.sum(0) > 0
        matrix = ("sample", "r", "a", "b")
        data = xr.Dataset(
            {
                "square": (matrix[:2], self.square[:, seen]),
                "norm": (matrix[:2], self.norm[:, seen]),
                "signed": (matrix, self.signed[:, seen]),
                "pairs": (matrix[:2], self.pairs[:, seen]),
                "column": (("sample", "source", "a", "b"), self.column),
                "weight": (("sample", "source", "a", "b"), self.weight),
            },
            coords={"r": ("r", self.r[seen], {"long_name": "distance", "units": "a"})},
        )
        return Response(self.lattice, data)


def _in_space(forcefield: ForceField, field: Tensor, sources: list[int], step: float) -> np.ndarray:
    """∂F_ia/∂Φ_jb ``(source, site, a, b)``."""
    components = field.shape[-1]
    directions = torch.zeros(len(sources), components, *field.shape, dtype=torch.float64)
    for k, j in enumerate(sources):
        for b in range(components):
            directions[k, b, j, b] = 1.0
    change = directional_derivative(forcefield, field, directions.flatten(0, 1), step=step)
    return change.reshape(directions.shape).movedim(1, -1).numpy()


def _on_sphere(forcefield: ForceField, field: Tensor, sources: list[int], step: float) -> np.ndarray:
    """P_i (∂H⊥_i/∂S_j) P_j ``(source, site, a, b)``, in the axes of spin space, whatever normals were chosen."""
    change, v = spin_derivative(forcefield, field, sources, step=step)
    return torch.einsum("skia,skb->siab", change, v).numpy()


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    centred = x - x.mean()
    return (y * centred).sum(-1) / (centred**2).sum()
