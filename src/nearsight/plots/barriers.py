"""Pictures of the potential of a test particle, and of the barrier between the sublattices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import Normalize
from torch import Tensor

from nearsight._validation import instance
from nearsight.analysis import LinearLaw, sublattice_sign
from nearsight.analysis._fields import SiteField, site_field
from nearsight.lattices import Lattice
from nearsight.plots.maps import check_plane, draw_plane, plane_size
from nearsight.plots.published import Published, overlay, sources
from nearsight.plots.style import (
    CYCLE,
    DIVERGING,
    EXACT,
    PAGE,
    SEQUENTIAL,
    Picture,
    light_grid,
    picture,
    side_bar,
    styled,
    with_unit,
)

PALE = 0.3


@styled
def particle_potentials(
    V: SiteField,
    field: SiteField,
    sigma: SiteField,
    lattice: Lattice,
    *,
    titles: Sequence[str] = (),
    unit: str = "t",
) -> Picture:
    """Configurations ``(configuration, site)`` over their field σ, and below the potential V of a test particle.

    V is drawn from its lowest value, in the same colours for all configurations; sites without one are black.
    """
    check_plane(lattice)
    if isinstance(V, Tensor):
        V = V.detach().cpu().numpy()
    if np.asarray(V).dtype.kind not in "iuf":
        raise TypeError(f"V must hold a potential at every site (configuration, site), got {type(V).__name__}.")
    finite = np.isfinite(np.asarray(V, dtype=float))
    shown = V.copy(data=np.where(finite, V, 0.0)) if isinstance(V, xr.DataArray) else np.where(finite, V, 0.0)
    values, n, s = (site_field(x, lattice).values.reshape(-1, lattice.n_sites) for x in (shown, field, sigma))
    known = site_field(finite if not isinstance(V, xr.DataArray) else V.copy(data=finite), lattice).values > 0.5
    if not values.shape == n.shape == s.shape or len(values) > 6:
        raise ValueError(
            f"V, field and sigma must hold the same configurations, at most 6, got {len(values)}, {len(n)}, {len(s)}."
        )
    if titles and len(titles) != len(values):
        raise ValueError(f"titles must name the {len(values)} configurations, got {len(titles)}.")
    drawn = np.ma.masked_array(values, ~known.reshape(values.shape))
    drawn = drawn - drawn.min(axis=1)[:, None]
    shape = plane_size(lattice)
    panel = min(2.4, (PAGE - 0.8) / len(values))
    figure = picture(len(values) * panel + 0.8, 2 * (panel * min(shape[1] / shape[0], 1.5) + 0.06) + 0.4)
    above, below = figure.subplots(2, len(values), squeeze=False)
    low, high = np.quantile(drawn.compressed(), [0.005, 0.995])
    colours = colormaps[SEQUENTIAL].with_extremes(bad="black")
    particles = np.where(n > 0.5, sublattice_sign(lattice), PALE * s)
    for upper, lower, particle, value in zip(above, below, particles, drawn, strict=True):
        draw_plane(upper, particle, lattice, Normalize(-1, 1), DIVERGING)
        image = draw_plane(lower, value, lattice, Normalize(low, high if high > low else low + 1.0), colours)
    for axes, title in zip(above, titles, strict=False):
        axes.set_title(title)
    side_bar(below[-1], image, with_unit(r"$V - V_{\min}$", unit), extend="both")
    figure.caption = (
        "Above: frozen particles on the A (orange) and the B sublattice (blue) over the field σ in pale. Below: the "
        "potential $V = -kT \\ln \\nu$ of a test particle; the frozen ones are black."
    )
    return figure


@styled
def barriers(
    barrier: xr.DataArray,
    L: xr.DataArray,
    phi: xr.DataArray,
    M: xr.DataArray,
    *,
    fits: tuple[LinearLaw | None, LinearLaw | None] = (None, None),
    published: Sequence[Published] = (),
    unit: str = "t",
) -> Picture:
    """The staggered barrier ΔV_AB against the length of the super-clusters and against the order of the sublattices.

    All ``(configuration)``; colours tell the magnetisation \\|M\\| of the blocks. ``fits`` are straight lines against L
    and |φ|. Configurations with infinite L have no point on the left.
    """
    for name, data in (("barrier", barrier), ("L", L), ("phi", phi), ("M", M)):
        if instance(data, xr.DataArray, name).dtype.kind not in "iuf":
            raise TypeError(f"{name} must hold real numbers (configuration), got {data.dtype}.")
    numbers = [np.asarray(x, dtype=float).ravel() for x in (barrier, L, np.abs(phi), np.abs(M))]
    dV, length, order, magnetisation = numbers
    if len({len(x) for x in numbers}) != 1 or not len(dV) or not np.isfinite(dV).all():
        raise ValueError(f"Every configuration has one finite barrier, L, phi and M, got {[len(x) for x in numbers]}.")
    figure = picture(PAGE, 2.8)
    panels = figure.subplots(1, 2, sharey=True)
    groups = np.unique(magnetisation)
    palette = CYCLE if len(groups) <= len(CYCLE) else [EXACT] * len(groups)
    for axes, x, fit in zip(panels, (length, order), fits, strict=True):
        for group, colour in zip(groups, palette, strict=False):
            mine = (magnetisation == group) & np.isfinite(x)
            axes.plot(x[mine], dV[mine], "o", color=colour, markersize=3.4, alpha=0.8, markeredgewidth=0,
                      label=f"$|M| = {group:g}$")  # fmt: skip
        if fit is not None:
            ends = np.array([np.nanmin(x[np.isfinite(x)]), np.nanmax(x[np.isfinite(x)])])
            axes.plot(ends, fit(ends), color=EXACT, linewidth=0.9, zorder=1)
            axes.set_title(rf"slope ${fit.slope:.3g} \pm {fit.slope_sigma:.1g}$, $r = {fit.correlation:.2f}$")
        light_grid(axes)
    for axes, column in zip(panels, ("L", "phi"), strict=True):
        for number, table in enumerate(table for table in published if column in table.columns):
            overlay(axes, table, column, "barrier", number=number)
    panels[0].set_xlabel(with_unit("length of the super-clusters $L$", L.attrs.get("units", "a")))
    panels[1].set_xlabel(r"order of the sublattices $|\phi|$")
    panels[0].set_ylabel(with_unit(r"barrier $\Delta V_{AB}$", unit))
    panels[1].legend(loc="best")
    figure.caption = (
        f"Difference between the mean potentials of a test particle on the two sublattices, for {len(dV)} arrangements "
        "of one patch of checkerboard in every block; colours tell the block magnetisation."
    )
    for fit, name in zip(fits, ("L", "|φ|"), strict=True):
        if fit is not None:
            figure.caption += f" Line against {name}: {fit}."
    figure.caption += sources(list(published))
    return figure
