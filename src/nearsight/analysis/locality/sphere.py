"""Derivatives on the sphere: the change of all torques when one spin turns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nearsight.analysis.locality._range import normals
from nearsight.analysis.locality.derivative import directional_derivative
from nearsight.fields import check_field, tangent
from nearsight.forcefields import ForceField

UNIT = 1e-4
"""Largest deviation of a spin's length from one: fields stored in single precision, and some steps of a scheme."""


def spin_derivative(
    forcefield: ForceField, spins: Tensor, sources: Sequence[int], *, step: float = 1e-3
) -> tuple[Tensor, Tensor]:
    r"""Change of the normal part of H on every site when single spins turn, in float64,

    .. math::
        \chi_{i,jk} = P_i \frac{\partial \mathbf H_i}{\partial \mathbf S_j} \mathbf v_{jk}
                      - \delta_{ij} (\mathbf H_j \cdot \mathbf S_j)\, \mathbf v_{jk}, \qquad
        P_i = 1 - \mathbf S_i \mathbf S_i^T,

    along two unit normals v of S_j. It is the covariant derivative of H⊥ = H - (H·S) S on the sphere of each spin: the
    part of H along a spin turns no spin, and what it does to the derivative drops out. A force field that gives H⊥
    alone has the same χ as one that gives all of H. Of an energy, χ is minus the Hessian on the spheres, and symmetric.

    Parameters
    ----------
    spins: one field of unit spins ``(site, 3)``.
    sources: the sites j whose spins turn, one after the other.

    Returns
    -------
    χ ``(source, 2, site, 3)`` and the directions v ``(source, 2, 3)``.
    """
    check_field(spins, forcefield.lattice.n_sites, 3, finite=True)
    field = spins.detach().double()
    if float((field.norm(dim=-1) - 1).abs().max()) > UNIT:
        raise ValueError("A derivative on the sphere needs unit spins; divide the field by its lengths on all sites.")
    v = normals(field[list(sources)])
    directions = torch.zeros(len(v), 2, *field.shape, dtype=torch.float64)
    for k, j in enumerate(sources):
        directions[k, :, j] = v[k]
    change = directional_derivative(forcefield, field, directions.flatten(0, 1), step=step).view_as(directions)
    parameter = next(forcefield.parameters(), None)
    with torch.no_grad():
        H = forcefield((field if parameter is None else field.to(parameter.dtype))[None]).force[0].double()
    # The normal part of H_j turns with S_j: what lies along the spin drops out of its derivative on the sphere.
    along = (H * field).sum(-1, keepdim=True)
    return tangent(change - along * directions, field), v
