"""Where the spins of a site are found in a matrix, what their mean field is, and patterns to begin with.

Densities and moments ``(item, 1 + moments, site)``: n = ⟨c†c⟩ first, then m = ⟨c†σc⟩, m_z alone if it is collinear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nearsight.lattices._two_colours import two_colours
from nearsight.solvers.sparse import Pattern

BEGIN = 0.5
"""Moments of the patterns, where densities are at least as much away from empty and full."""


class Layout(NamedTuple):
    """Two matrices of one spin each (collinear), or one with the spins of site i in orbitals 2i and 2i + 1.

    ``rows`` and ``columns`` of the mean field's elements; ``elements`` makes them from densities and moments times U/2,
    as ``(item, matrix, element)``, and ``densities`` finds densities and moments in ρ there.
    """

    matrices: int
    sites: int
    rows: Tensor
    columns: Tensor
    elements: Callable[[Tensor], Tensor]
    densities: Callable[[Tensor], Tensor]


def collinear(orbitals: int, device: torch.device) -> Layout:
    site = torch.arange(orbitals, device=device)

    def elements(x: Tensor) -> Tensor:
        n, m = x.unbind(1)
        return torch.stack([n - m, n + m], dim=1)

    def densities(rho: Tensor) -> Tensor:
        up, down = rho.real.unbind(1)
        return torch.stack([up + down, up - down], dim=1)

    return Layout(2, orbitals, site, site, elements, densities)


def noncollinear(orbitals: int, device: torch.device) -> Layout:
    up = 2 * torch.arange(orbitals // 2, device=device)
    down = up + 1

    def elements(x: Tensor) -> Tensor:
        n, mx, my, mz = x.unbind(1)
        flip = torch.complex(-mx, -my)  # at (down, up)
        return torch.stack([n - mz + 0j, n + mz + 0j, flip, flip.conj()], dim=1).flatten(1)[:, None]

    def densities(rho: Tensor) -> Tensor:
        uu, dd, du, _ = rho[:, 0].unflatten(-1, (4, -1)).unbind(1)
        return torch.stack([(uu + dd).real, 2 * du.real, 2 * du.imag, (uu - dd).real], dim=1)

    rows, columns = torch.cat([up, down, down, up]), torch.cat([up, down, up, down])
    return Layout(1, orbitals // 2, rows, columns, elements, densities)


def metric(x: Tensor) -> Tensor:
    """x with the moments reversed: U/4 Σ x · metric(x) is U/4 Σ (n² - |m|²)."""
    return torch.cat([x[:, :1], -x[:, 1:]], dim=1)


def begun(start: str, bare: Tensor, pattern: Pattern, *, charges: bool) -> Tensor:
    """Densities and moments of electrons without interaction, with a pattern of moments (or of charges) added."""
    if start == "bare":
        return bare
    sites = bare.shape[-1]
    vectors = bare.new_zeros(3, sites)
    if start == "scattered":
        # Irrational turns: directions and sizes that no wave vector of a lattice repeats.
        k = torch.arange(sites, dtype=bare.dtype, device=bare.device)
        height = 2 * torch.frac(0.5 + k * math.sqrt(2)) - 1
        angle, ring = k * math.pi * (3 - math.sqrt(5)), (1 - height * height).clamp_min(0).sqrt()
        vectors = torch.stack([ring * angle.cos(), ring * angle.sin(), height])
    else:
        vectors[2] = 1.0 if start == "uniform" else sublattice_sign(pattern, sites).to(bare)
    x = bare.clone()
    # Without interaction a μ of interacting electrons may fill all sites, and leave no room for moments.
    x[:, 0] = x[:, 0].clamp(BEGIN, 2 - BEGIN)
    if charges:
        x[:, 0] += BEGIN * vectors[2]
    elif x.shape[1] == 2:
        x[:, 1] += BEGIN * vectors[2]
    else:
        x[:, 1:] += BEGIN * vectors
    return x


def sublattice_sign(pattern: Pattern, sites: int) -> Tensor:
    """±1 on every site ``(site,)``, opposite on sites that elements of the matrix join; +1 on the first of each piece.

    ``ValueError`` where a ring of an odd number of sites forbids it.
    """
    per_site = pattern.size // sites
    i, j = (x.numpy(force=True) // per_site for x in (pattern.rows, pattern.columns))
    sign = two_colours(i[i != j], j[i != j], sites)
    if sign is None:
        raise ValueError(
            "start 'staggered' needs two sublattices, and this matrix joins orbitals in rings of odd length: take "
            "starts=('scattered', 'uniform', 'bare')."
        )
    return torch.from_numpy(sign)


def directions(x: Tensor) -> Tensor:
    """Moments ``(item, site, 3)``, along z if they are collinear."""
    m = x[:, 1:]
    if m.shape[1] == 1:
        m = torch.cat([torch.zeros_like(m), torch.zeros_like(m), m], dim=1)
    return m.mT
