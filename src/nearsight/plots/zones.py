"""Intensities in reciprocal space, over the Brillouin zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize

from nearsight._validation import instance, number, numbers
from nearsight.analysis import fold, reciprocal_vectors, zone_boundary
from nearsight.lattices import Lattice
from nearsight.plots._axes import axis_label, capitalised, side_bar, value_text
from nearsight.plots._planes import check_plane
from nearsight.plots.style import PAGE, Picture, picture, styled


@styled
def zones(
    S: xr.DataArray | Mapping[str, xr.DataArray],
    lattice: Lattice,
    *,
    decades: float | None = 4.0,
    about: Sequence[float] | None = None,
    extent: float = 1.12,
) -> Picture:
    """S(k) over the first Brillouin zone, its boundary dashed, side by side with one colour bar.

    Parameters
    ----------
    S: the result of ``structure_factor`` or ``spin_structure_factor``, with "source" or "time" for several maps, or
        maps by their titles; means over "replica" are drawn. With one site per cell the zone is continued
        periodically; otherwise every wave vector is drawn where it lies.
    decades: colours are logarithmic over so many decades below the highest peak, or linear from zero if None.
    about: a wave vector to centre on, marked by a ring, such as (π, π); Γ if not given.
    extent: half width of the picture in units of the farthest corner of the zone.
    """
    check_plane(lattice)
    decades = None if decades is None else number(decades, "decades", above=0)
    extent = number(extent, "extent", above=0)
    centre = np.zeros(2) if about is None else np.array(numbers(about, "about", length=2))
    named = _named(S)
    corners = zone_boundary(lattice)
    half = extent * float(np.abs(corners).max())
    top = max(float(data.max()) for data in named.values())
    if not top > 0:
        raise ValueError("S(k) vanishes everywhere, so there is nothing to draw.")
    norm = Normalize(0, top) if decades is None else LogNorm(top / 10**decades, top, clip=True)
    panel = min(3.0, (PAGE - 0.8) / len(named))
    figure = picture(len(named) * panel + 0.8, panel + 0.45)
    panels = figure.subplots(1, len(named), squeeze=False)[0]
    for axes, (title, data) in zip(panels, named.items(), strict=True):
        image = _draw(axes, data, lattice, centre, half, norm)
        if about is None:
            axes.plot(*np.concatenate([corners, corners[:1]]).T, "--", color="white", linewidth=0.9, dashes=(4, 2))
        else:
            axes.plot(*centre, "o", markersize=16, markerfacecolor="none", markeredgecolor="white", markeredgewidth=0.9)
        axes.set(xlim=centre[0] + (-half, half), ylim=centre[1] + (-half, half), aspect="equal", title=title)
        axes.set_facecolor("black")
        axes.set_xlabel("$k_x$ [1/a]")
    panels[0].set_ylabel("$k_y$ [1/a]")
    first = next(iter(named.values()))
    side_bar(panels[-1], image, axis_label(first, "S(k)"))
    scale = "linear colours" if decades is None else f"logarithmic over {decades:g} decades"
    outline = "the dashed line is the first Brillouin zone" if about is None else "the ring marks the ordering vector"
    name = capitalised(str(first.attrs.get("long_name", "structure factor")))
    figure.caption = f"{name} in reciprocal space, {scale}; {outline}."
    return figure


def _named(S: xr.DataArray | Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Maps by their titles, averaged over replicas and checked."""
    if isinstance(S, xr.DataArray):
        data = S.mean("replica", keep_attrs=True) if "replica" in S.dims else S
        named = {"": data}
        for dim in ("source", "time"):
            if dim in data.dims:
                named = {
                    ", ".join(filter(None, (title, value_text(v) if dim == "source" else f"$t = {value_text(v)}$"))): (
                        part.sel({dim: v})
                    )
                    for title, part in named.items()
                    for v in data[dim].values
                }
    else:
        named = dict(instance(S, Mapping, "S, if no labelled array,", "Name every map, as in {'exact': ...}."))
        for title, data in named.items():
            instance(data, xr.DataArray, f"S[{title!r}]")
        named = {t: d.mean("replica", keep_attrs=True) if "replica" in d.dims else d for t, d in named.items()}
    if not 1 <= len(named) <= 4:
        raise ValueError(f"One picture holds 1 to 4 zones, got {len(named)}.")
    for data in named.values():
        if data.dims not in (("kx", "ky"), ("h1", "h2"), ("point",)) or not {"kx", "ky"} <= set(data.coords):
            raise ValueError(f"A map takes S(k) of one configuration, got {data.dims}; choose the rest with .sel(...).")
        if not np.isfinite(data.values).all():
            raise ValueError("S(k) holds NaN or infinite values; look for them in the field it was made from.")
    return named


def _draw(
    axes: Axes, S: xr.DataArray, lattice: Lattice, centre: np.ndarray, half: float, norm: Normalize
) -> ScalarMappable:
    if S.dims == ("kx", "ky") and lattice.n_basis == 1:
        axis, index = [], []
        for j, name in enumerate(("kx", "ky")):
            step = reciprocal_vectors(lattice)[j, j] / lattice.shape[j]
            m = np.arange(np.ceil((centre[j] - half) / step - 1), np.floor((centre[j] + half) / step + 1) + 1)
            axis.append(m * step)
            index.append((m.astype(int) - round(float(S[name][0]) / step)) % lattice.shape[j])
        grid = np.meshgrid(*axis, indexing="ij")
        values = S.values[np.ix_(*index)]
        return axes.pcolormesh(*grid, values, norm=norm, cmap="magma", shading="nearest", rasterized=True)
    k, value = _tiled(S, lattice, centre, half)
    torus = Lattice(
        "torus", np.asarray(lattice.shape)[:, None] * lattice.vectors, np.zeros((1, 2)), (1, 1), symmetrise=False
    )
    cells = PolyCollection(
        k[:, None] + zone_boundary(torus), array=value, norm=norm, cmap="magma", edgecolors="face", linewidths=0.2,
        rasterized=True,
    )  # fmt: skip
    axes.add_collection(cells)
    return cells


def _tiled(S: xr.DataArray, lattice: Lattice, centre: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors within the picture and S there."""
    k, value = np.stack(xr.broadcast(S["kx"], S["ky"]), axis=-1).reshape(-1, 2), S.values.ravel()
    if S.dims != ("point",) and lattice.n_basis > 1:
        inside = np.linalg.norm(k - fold(k, lattice), axis=1) < 1e-6
        return k[inside], value[inside]
    if S.dims != ("point",):
        n = np.arange(-2, 3)
        G = np.stack(np.meshgrid(n, n, indexing="ij"), -1).reshape(-1, 2) @ reciprocal_vectors(lattice)
        k, value = (k[None] + G[:, None]).reshape(-1, 2), np.tile(value, len(G))
    near = (np.abs(k - centre) <= 1.1 * half).all(1)
    return k[near], value[near]
