"""How far forces are from the gradient of an energy: their circulation around loops in the space of fields."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._validation import generator, instance, integer, number
from nearsight.analysis.locality._range import doubled, forces
from nearsight.analysis.statistics._draws import left_out_error
from nearsight.fields import check_field
from nearsight.forcefields import ForceField


def circulation(
    forcefield: ForceField,
    field: Tensor,
    *,
    rng: torch.Generator,
    vectors: int = 24,
    step: float = 1e-3,
) -> xr.Dataset:
    r"""Work of the forces around small loops in the space of fields, and which part of their derivative makes it.

    Around the parallelogram of two vectors u, v of that space, divided by the square of its scale,

    .. math:: C_{uv} = \oint F \cdot d\Phi \;/\; \epsilon^2 = v \cdot J u - u \cdot J v, \qquad
              J = \frac{\partial F}{\partial \Phi},

    which vanishes for every gradient. With normal random vectors its mean square is that of the antisymmetric part A of
    J = S + A, four times, and a fraction of J follows that has no free scale,

    .. math:: \eta = \sqrt{\|A\|^2 / \left( \|S\|^2 + \|A\|^2 \right)} \in [0, 1] ,

    0 for the gradient of an energy, 1/√2 where S and A are alike. Derivatives are differences of forces of fourth order
    in ``step``, four forces a vector; learned ones are taken in a copy of double precision.

    Parameters
    ----------
    field: one field ``(site, component)``, float64.
    rng: of the vectors. Two force fields are compared loop by loop if both are given the same.
    vectors: how many; all pairs of them are loops.
    step: of the differences, in units of the field.

    Returns
    -------
    ``work`` C ``(u, v)``, antisymmetric; ``stretch`` ½ (v·Ju + u·Jv) ``(u, v)``; ``fraction`` η and ``fraction_error``,
    its standard error over the draw of vectors, by leaving out one after the other.

    >>> import nearsight as ns
    >>> bar = ns.lattices.square(4, 3, periodic=(False, True))
    >>> solver = ns.solvers.NEGF(*ns.solvers.electrodes(bar, voltage=2.0, kT=0.1))
    >>> exact = ns.ExactForceField(ns.hamiltonians.Holstein(bar, g=1.5), solver)
    >>> rng = torch.Generator().manual_seed(1)
    >>> field = torch.randn(12, 1, generator=rng, dtype=torch.float64)
    >>> bool(circulation(exact, field, rng=rng, vectors=6).fraction > 0.001)
    True
    """
    instance(forcefield, ForceField, "forcefield")
    check_field(field, forcefield.lattice.n_sites, forcefield.components, finite=True)
    if field.ndim != 2:
        raise ValueError(f"Give one field (site, component), got the shape {tuple(field.shape)}.")
    vectors, step = integer(vectors, "vectors", least=3), number(step, "step", above=0)
    generator(rng)
    field = field.detach().double()
    drawn = torch.randn(vectors, *field.shape, generator=rng, dtype=torch.float64)
    model = doubled(forcefield)
    moved = torch.cat([field + m * step * drawn for m in (1, -1, 2, -2)])
    up, down, far_up, far_down = forces(model, moved).chunk(4)
    change = (8 * (up - down) - (far_up - far_down)) / (12 * step)
    B = torch.einsum("vsc,usc->uv", drawn, change).numpy()  # v · J u
    work, stretch = B - B.T, 0.5 * (B + B.T)
    odd, even = np.square(0.5 * work), np.square(stretch)
    np.fill_diagonal(even, 0.0)
    totals = [np.array([odd.sum(), even.sum()])]
    totals += [totals[0] - 2 * np.array([odd[k].sum(), even[k].sum()]) for k in range(vectors)]
    fraction = np.array([np.sqrt(a / (a + s)) if a + s > 0 else 0.0 for a, s in totals])
    label = {"long_name": "work around a loop", "units": "force per field"}
    data = {
        "work": (("u", "v"), work, label),
        "stretch": (("u", "v"), stretch, {"long_name": "symmetric part", "units": "force per field"}),
        "fraction": ((), fraction[0], {"long_name": "non-conservative fraction of the derivative", "units": "1"}),
        "fraction_error": ((), left_out_error(fraction[1:]), {"long_name": "its standard error", "units": "1"}),
    }
    return xr.Dataset(data)
