"""The temperature of spins, from one configuration and the fields it feels."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis._fields import SpinField, described, spin_field
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice


def spin_temperature(
    spins: SpinField,
    force: SpinField,
    lattice: Lattice,
    *,
    curvature: Tensor | xr.DataArray | None = None,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    r"""kT of unit spins with effective fields H = -∂E/∂S, ``(*batch)``,

    .. math:: kT = \frac{\sum_i |\mathbf S_i \times \mathbf H_i|^2}
                         {\sum_i \big[2\, \mathbf S_i \cdot \mathbf H_i + C_i\big]}, \qquad
              C_i = \operatorname{tr}_\perp \frac{\partial^2 E}{\partial \mathbf S_i \partial \mathbf S_i} .

    In equilibrium any function f on the spheres obeys ⟨∇E·∇f⟩ = kT ⟨Δf⟩ (integrate exp(-E/kT) by parts); f = E gives
    the ratio of means above, because on the unit sphere |∇E|² = |S × H|² and ΔE = 2 S·H + C, where C is the trace of
    the second derivative over the two directions normal to the spin. C = 0 where E is linear in every single spin:
    exchange of any range, Dzyaloshinskii-Moriya interaction, Zeeman energy. An anisotropy -K (S·n)² contributes
    C_i = -2K (1 - (S_i·n)²). Electrons always contribute, about as much as the field they put on a spin along itself:
    pass what :func:`spin_curvature` measures.

    Spins out of equilibrium have a kT in this sense too, which tells whether precession alone has thermalised them.
    Average numerator and denominator, not kT, over small systems: one configuration of N spins is wrong by O(1/N).

    References
    ----------
    W. B. Nurdin, K.-D. Schotte, Phys. Rev. E 61, 3579 (2000); P.-W. Ma, S. L. Dudarev, A. A. Semenov, C. H. Woo, Phys.
    Rev. E 82, 031111 (2010).
    """
    S, H = spin_field(spins, lattice, dims), spin_field(force, lattice, dims)
    if S.shape != H.shape:
        raise ValueError(f"Spins and forces belong to the same configurations, got {S.shape} and {H.shape}.")
    if S.dims != H.dims:
        raise ValueError(f"Spins and forces must have the same dimensions in one order, got {S.dims} and {H.dims}.")
    # By position: labels of the two may differ, and xarray would keep what they share.
    H = S.copy(data=H.values)
    along = (S * H).sum("component")
    torque = (H**2).sum("component") - along**2
    below = 2 * along
    if curvature is not None:
        if isinstance(curvature, Tensor):
            values = curvature.detach().cpu().numpy()
        else:
            values = curvature.transpose(*below.dims, missing_dims="ignore").values
        if values.shape != below.shape:
            raise ValueError(f"curvature must have one number per site, shape {below.shape}, got {values.shape}.")
        below = below + values
    return described(torque.sum("site") / below.sum("site"), "kT", "spin temperature", "t")


def spin_curvature(
    forcefield: ForceField, spins: Tensor, rng: torch.Generator, *, probes: int = 16, step: float = 1e-3
) -> Tensor:
    """An unbiased estimate ``(*batch, site)`` of C_i, the second derivatives of E along the two normals of each spin.

    Independent random directions normal to every spin pick the blocks of single sites out of the whole matrix of
    second derivatives (Hutchinson); the derivative of the force along them is a central difference. Each probe costs
    two force calls; the sum over N sites is known to about the couplings between sites times √(N/probes). Energy models
    and exact electrons have this derivative; a network that predicts torques alone does not.
    """
    if probes < 1 or not step > 0:
        raise ValueError(f"probes must be at least 1 and step positive, got {probes} and {step}.")
    total = torch.zeros_like(spins[..., 0])
    for _ in range(probes):
        # A random direction normal to the spin, of mean square 1 in each of the two tangent directions.
        probe = torch.randn(spins.shape, generator=rng, dtype=spins.dtype, device=rng.device).to(spins.device)
        probe = probe - (probe * spins).sum(-1, keepdim=True) * spins
        probe = 2**0.5 * probe / probe.norm(dim=-1, keepdim=True)
        with torch.no_grad():
            change = forcefield(spins - step * probe).force - forcefield(spins + step * probe).force
        total += (probe * change).sum(-1) / (2 * step)
    return total / probes
