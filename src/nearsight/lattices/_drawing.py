"""A lattice as a picture, for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nearsight.lattices.lattice import Lattice

SHOWN = 8
"""Cells of each axis that are drawn."""
WIDTH = 320.0
"""Of the picture in pixels."""


def picture(lattice: Lattice) -> str:
    """Sites and bonds of the first cells of a lattice in one or two dimensions, as SVG."""
    inside = np.flatnonzero((lattice.cells < SHOWN).all(1))
    at = np.zeros((lattice.n_sites, 2))
    at[:, : lattice.dim] = lattice.positions * [1, -1][: lattice.dim]  # y points up
    low, high = at[inside].min(0), at[inside].max(0)
    margin = 0.6 * lattice.spacing
    size = high - low + 2 * margin
    scale = WIDTH / max(size)
    at = (at - low + margin) * scale
    bonds = lattice.bonds(1) if lattice.n_sites > 1 else None
    lines, here = [], np.isin(np.arange(lattice.n_sites), inside)
    for i, j, step in zip(bonds.i, bonds.j, bonds.displacement, strict=True) if bonds is not None else ():
        ends = [site for site in (i, j) if here[site]]
        straight = here[i] and here[j] and np.allclose(lattice.positions[j] - lattice.positions[i], step)
        for site in ends[:1] if straight else ends:
            half = 1.0 if straight else 0.4  # what leaves the picture, or goes around the torus, is a stub
            way = np.zeros(2)
            way[: lattice.dim] = step * (1 if site == i else -1) * [1, -1][: lattice.dim]
            (x, y), (u, v) = at[site], at[site] + half * scale * way
            lines.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{u:.1f}" y2="{v:.1f}"/>')
    colours = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
    dots = [
        f'<circle cx="{at[k, 0]:.1f}" cy="{at[k, 1]:.1f}" r="{0.12 * lattice.spacing * scale:.1f}" '
        f'fill="{colours[lattice.sublattice[k] % len(colours)]}"/>'
        for k in inside
    ]
    width, height = size * scale
    return (
        f'<p>{html.escape(repr(lattice))}</p><svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.1f} {height:.1f}"><g stroke="#888">{"".join(lines)}</g>'
        f"{''.join(dots)}</svg>"
    )
