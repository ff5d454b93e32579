"""What a fit minimises, and the labels it is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearsight.forcefields import ForceField, SumForceField
from nearsight.training.dataset import DataSet
from nearsight.training.metrics import predict


@dataclass(frozen=True)
class Labels:
    """Fields and what is left to learn of their forces and energies, in the precision and on the device of the fit."""

    field: Tensor
    force: Tensor
    energy: Tensor | None
    """Centred; ``mean_energy`` is what was taken away."""
    mean_energy: float = 0.0

    def __len__(self) -> int:
        return len(self.field)


@dataclass(frozen=True)
class Loss:
    r"""Force and energy errors, each in units of the variance of its labels.

    .. math::
        L = \frac{w_F}{\sigma_F^2}\, \overline{(F_{ic} - \hat F_{ic})^2}
            + \frac{w_E}{\sigma_E^2}\, \mathrm{Var}\!\left[\frac{E - \hat E}{N}\right]

    σ_F is one number for all components, for a number each would break the symmetry that mixes them. σ_E is the
    standard deviation of the energy per site. An energy is defined up to a constant: the unbiased variance over the
    batch does not see it, whatever the batch; the constant is put in at the end of the fit.
    """

    force_weight: float
    energy_weight: float
    force_scale: float
    energy_scale: float
    sites: int

    @classmethod
    def of(cls, labels: Labels, force_weight: float, energy_weight: float) -> Loss:
        sites = labels.field.shape[-2]
        force_scale = float(labels.force.double().square().mean().sqrt())
        with_energy = labels.energy is not None and len(labels) > 1
        energy_scale = float((labels.energy.double() / sites).std()) if with_energy else 0.0  # type: ignore[union-attr]
        # Labels without any spread (all zero, one snapshot repeated) leave nothing to divide by.
        return cls(force_weight, energy_weight if with_energy else 0.0, force_scale or 1.0, energy_scale or 1.0, sites)

    def __call__(self, forcefield: ForceField, batch: Labels) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and its force and energy parts without their weights."""
        force, energy = forcefield(batch.field)
        force_loss = (force - batch.force).square().mean() / self.force_scale**2
        energy_loss = torch.zeros_like(force_loss)
        if self.energy_weight > 0 and energy is not None and batch.energy is not None:
            energy_loss = ((energy - batch.energy) / self.sites).var() / self.energy_scale**2
        return self.force_weight * force_loss + self.energy_weight * energy_loss, force_loss, energy_loss


def learned_part(student: ForceField) -> tuple[ForceField, ForceField | None]:
    """The parts of a force field with parameters, and those without."""
    parts = list(student.parts) if isinstance(student, SumForceField) else [student]
    learned = [p for p in parts if any(w.requires_grad for w in p.parameters())]
    fixed = [p for p in parts if not any(w.requires_grad for w in p.parameters())]
    if not learned:
        raise ValueError(f"{student!r} has no parameters to fit; build a learned force field, or add one to this.")
    return _sum(learned), _sum(fixed) if fixed else None


def _sum(parts: list) -> ForceField:
    return parts[0] if len(parts) == 1 else SumForceField(*parts)


def labels(
    data: DataSet, fixed: ForceField | None, *, energy: bool, dtype: torch.dtype, device: torch.device, batch: int
) -> Labels:
    """What remains of the exact forces and energies after the parts that need no fitting.

    Those are evaluated once, in float64: exact springs cost nothing during the fit, and large forces that cancel do so
    before anything is rounded. Energies are centred, because float32 resolves a part in 10⁷ of a total energy and the
    fit needs its fluctuations.
    """
    force, energies = data.force, data.energy if energy else None
    if fixed is not None:
        known = predict(fixed, data.field, batch)
        force = force - known.force
        energies = None if energies is None or known.energy is None else energies - known.energy
    mean = 0.0
    if energies is not None:
        mean = float(energies.mean())
        energies = (energies - mean).to(device, dtype)
    return Labels(data.field.to(device, dtype), force.to(device, dtype), energies, mean)
