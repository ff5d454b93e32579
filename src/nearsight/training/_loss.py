"""What a fit minimises, and the labels it is measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearsight.fields import tangent
from nearsight.forcefields import ForceField, LearnedFamily, SumForceField
from nearsight.training import _distributed
from nearsight.training.dataset import DataSet
from nearsight.training.metrics import Component, _predict_each, _unit_spins

ROUNDING = 1e-12
"""Forces and spreads of energies smaller than this share of what they are differences of are rounding."""


@dataclass(frozen=True)
class Labels:
    """Fields and what is left to learn of their forces and energies, in the precision and on the device of the fit."""

    field: Tensor
    force: Tensor
    energy: Tensor | None
    """Centred; ``mean_energy`` is what was taken away."""
    mean_energy: float = 0.0
    force_rounding: float = 0.0
    energy_rounding: float = 0.0
    """Rms of forces and of energies per site below which they are rounding of what was taken away."""
    weight: Tensor | None = None
    """How much the force on every site counts ``(snapshot, site)``; None: all alike."""
    u: Tensor | None = None
    """Parameters ``(snapshot, parameter)`` of a family of Hamiltonians, as the network sees them."""
    balance: Tensor | None = None
    """Factors ``(snapshot, 1, 1)`` of the errors of the forces, so that all parameters of a family count alike."""

    def __len__(self) -> int:
        return len(self.field)

    @property
    def family(self) -> dict[str, Tensor]:
        """What snapshots of a family of Hamiltonians have besides."""
        return {name: x for name in ("u", "balance") if (x := getattr(self, name)) is not None}

    def without(self, longitudinal: float) -> Labels:
        """The same without a mean field h S, whose energy is the same for all unit spins."""
        return replace(self, force=self.force - longitudinal * self.field) if longitudinal else self

    def mean_square(self, force: Tensor) -> float:
        """Of forces ``(snapshot, site, component)``, with the weights of the sites."""
        squares = force.double().square()
        if self.weight is None:
            return float(squares.mean())
        weight = self.weight.to(squares)
        return float((weight * squares.mean(-1)).sum() / weight.sum())


@dataclass(frozen=True)
class Loss:
    r"""Force and energy errors, each in units of the variance of its labels.

    .. math::
        L = \frac{w_F}{\sigma_F^2}\, \overline{(F_{ic} - \hat F_{ic})^2}
            + \frac{w_E}{\sigma_E^2}\, \mathrm{Var}\!\left[\frac{E - \hat E}{N}\right]

    σ_F is one number for all components, for a number each would break the symmetry that mixes them. σ_E is the
    standard deviation of the energy per site. An energy is defined up to a constant: the unbiased variance over the
    batch does not see it, whatever the batch; the constant is put in at the end of the fit. Where forces are known on
    some sites only, the means over sites are those with the weights w_i of the data, Σ w_i x_i / Σ w_i over the batch:
    sites of weight 0 do not enter.

    For unit spins F may be the tangential part H⊥ of the field alone (``component="tangent"``), on both sides. The
    relative error in place of the first term is, with the torque :math:`T = S \times H` in place of F for tangents and
    a floor under its length,

    .. math:: w_F\, \overline{|F_i - \hat F_i|_1 \,/\, \max(|\hat F_i|,\, \epsilon\, \hat F_\mathrm{rms})} .

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), eq. 3.11, for the relative error.
    """

    force_weight: float
    energy_weight: float
    force_scale: float
    energy_scale: float
    sites: int
    component: Component = "all"
    relative_floor: float | None = None
    """ε; None takes the mean square."""

    @classmethod
    def of(
        cls,
        labels: Labels,
        force_weight: float,
        energy_weight: float,
        *,
        component: Component = "all",
        relative_floor: float | None = None,
    ) -> Loss:
        sites = labels.field.shape[-2]
        force_scale = math.sqrt(labels.mean_square(labels.force))
        with_energy = labels.energy is not None and len(labels) > 1
        energy_scale = float((labels.energy.double() / sites).std()) if with_energy else 0.0  # type: ignore[union-attr]
        # Labels without any spread (all zero, one snapshot repeated, energies that are conserved) leave nothing to
        # divide by but rounding.
        force_scale = force_scale if force_scale > labels.force_rounding else 1.0
        if energy_scale <= labels.energy_rounding:
            energy_weight, energy_scale = 0.0, 1.0
        return cls(force_weight, energy_weight, force_scale, energy_scale, sites, component, relative_floor)

    def __call__(self, forcefield: ForceField, batch: Labels) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and its force and energy parts without their weights."""
        force, energy = given(forcefield, batch.u)(batch.field)
        if self.component == "tangent":
            force = tangent(force, batch.field)
        error = force - batch.force
        if batch.balance is not None and self.relative_floor is None:
            error = error * batch.balance
        force_loss = self._force_loss(error, batch)
        energy_loss = torch.zeros_like(force_loss)
        if self.energy_weight > 0 and energy is not None and batch.energy is not None:
            energy_loss = _distributed.variance((energy - batch.energy) / self.sites) / self.energy_scale**2
        return self.force_weight * force_loss + self.energy_weight * energy_loss, force_loss, energy_loss

    def _force_loss(self, error: Tensor, batch: Labels) -> Tensor:
        if self.relative_floor is None:
            squares = error.square()
            mean = squares.mean() if batch.weight is None else _weighted(squares.mean(-1), batch)
            return mean / self.force_scale**2
        if self.component == "tangent" and error.shape[-1] == 3:
            error = torch.linalg.cross(batch.field, error)
        floor = self.relative_floor * self.force_scale * error.shape[-1] ** 0.5
        relative = error.abs().sum(-1) / batch.force.norm(dim=-1).clamp_min(floor)
        return relative.mean() if batch.weight is None else _weighted(relative, batch)


def _weighted(values: Tensor, batch: Labels) -> Tensor:
    """The mean of values ``(snapshot, site)`` over the sites whose forces are known."""
    assert batch.weight is not None
    return _distributed.weighted_mean(values, batch.weight)


def mean_longitudinal(labels: Labels) -> float:
    """h, the mean of H·S over all sites of unit spins: the mean field h S has the smallest squared error."""
    along = (labels.force.double() * labels.field.double()).sum(-1)
    if labels.weight is None:
        return float(along.mean())
    weight = labels.weight.double()
    return float((weight * along).sum() / weight.sum())


def given(forcefield: ForceField, u: Tensor | None) -> ForceField:
    """The force field of snapshots that have parameters."""
    return forcefield if u is None else forcefield.conditioned(u)  # type: ignore[operator]


def learned_part(forcefield: ForceField) -> tuple[ForceField, ForceField | None]:
    """The parts of a force field with parameters, and those without."""
    parts = list(forcefield.parts) if isinstance(forcefield, SumForceField) else [forcefield]
    learned = [p for p in parts if any(w.requires_grad for w in p.parameters())]
    fixed = [p for p in parts if not any(w.requires_grad for w in p.parameters())]
    if not learned:
        raise ValueError(f"{forcefield!r} has no parameters to fit; build a learned force field, or add one to this.")
    return _sum(learned), _sum(fixed) if fixed else None


def _sum(parts: list) -> ForceField:
    return parts[0] if len(parts) == 1 else SumForceField(*parts)


def labels(
    data: DataSet,
    fixed: ForceField | None,
    *,
    energy: bool,
    dtype: torch.dtype,
    device: torch.device,
    batch: int,
    component: Component = "all",
    family: LearnedFamily | None = None,
) -> Labels:
    """What remains of the exact forces and energies after the parts that need no fitting.

    Those are evaluated once, in float64: exact springs cost nothing during the fit, and large forces that cancel do so
    before anything is rounded. Energies are centred, because float32 resolves a part in 10⁷ of a total energy and the
    fit needs its fluctuations. Of the field on spins only the tangential part remains if asked for. Snapshots of a
    family are reduced by its scaling relation.
    """
    field, force, energies = data.field, data.force, data.energy if energy else None
    if data.weight is not None:  # what stands on sites without forces shall enter nowhere
        force = torch.where(data.weight.unsqueeze(-1) > 0, force, 0.0)
    weight = None if data.weight is None else data.weight.to(device, dtype)
    rounding = ROUNDING * float(force.square().mean().sqrt())
    size = 0.0 if energies is None else float(energies.abs().max())
    if fixed is not None:
        known = _predict_each(fixed, data, batch)
        force = force - known.force
        energies = None if energies is None or known.energy is None else energies - known.energy
    u = balance = None
    if family is not None:
        field, force, energies, u = family.reduce(field, force, energies, data.parameters)
    if component == "tangent":
        force = tangent(force, _unit_spins(data))
    if u is not None:
        balance = parameter_weights(u, force, data.weight).sqrt()[:, None, None].to(device, dtype)
        u = u.to(device, dtype)
    mean = 0.0
    if energies is not None:
        mean = float(energies.mean())
        energies = (energies - mean).to(device, dtype)
    energy_rounding = ROUNDING * size / data.lattice.n_sites
    field, force = field.to(device, dtype), force.to(device, dtype)
    return Labels(field, force, energies, mean, rounding, energy_rounding, weight, u=u, balance=balance)


def parameter_weights(u: Tensor, force: Tensor, known: Tensor | None = None) -> Tensor:
    r"""Weights ``(snapshot,)`` by which large forces at some parameters do not outweigh small ones at others,

    .. math:: w(u) \propto 1 / \sigma^2(u), \qquad \ln \sigma^2(u) = c_0 + c \cdot u ,

    fitted to the mean squares of the forces at every value of u, those on sites with a weight in ``known``
    ``(snapshot, site)`` alone.
    """
    rows, which = u.unique(dim=0, return_inverse=True)
    squares = force.double().square().mean(-1)
    squares = squares.mean(-1) if known is None else (known * squares).sum(-1) / known.sum(-1)
    counts = torch.bincount(which, minlength=len(rows))
    means = torch.zeros(len(rows), dtype=torch.float64).index_add(0, which, squares) / counts
    seen = means > 0
    if int(seen.sum()) <= u.shape[1] + 1:
        return torch.ones(len(u), dtype=torch.float64)
    design = torch.cat([torch.ones(len(rows), 1, dtype=torch.float64), rows], 1)
    root = counts[seen].double().sqrt()[:, None]
    slope = torch.linalg.lstsq(root * design[seen], root * means[seen].log()[:, None], driver="gelsd").solution[1:, 0]
    weight = torch.exp(-(u @ slope))
    return weight * squares.sum() / (weight * squares).sum()
