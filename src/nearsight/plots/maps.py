"""Maps of the plane: fields on the lattice, intensities in the zone, and the values that a data set covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import Collection, EllipseCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from torch import Tensor

from nearsight._validation import instance, number, numbers
from nearsight.analysis._fields import SiteField, site_field
from nearsight.lattices import Lattice
from nearsight.plots.style import CYCLE, DIVERGING, PAGE, SEQUENTIAL, Picture, picture, side_bar, styled, with_unit
from nearsight.storage import rounded

LARGEST_MAP = 1000
"""Cells along an edge beyond which a map is thinned out: no print resolves more."""


@styled
def snapshots(
    fields: SiteField,
    lattice: Lattice,
    *,
    times: Sequence[float] | None = None,
    label: str = r"$\varphi$",
    unit: str = "1",
    limit: float | None = None,
    time_unit: str = "1/t",
) -> Picture:
    """A field of a two-dimensional lattice at one or several times ``(time, site)``, side by side with one colour bar.

    The colours run symmetrically from -``limit`` to ``limit``, by default to the 99.5th percentile of |field|, so that
    white means zero in every panel.
    """
    check_plane(lattice)
    labelled = site_field(fields, lattice, ("time",) if np.ndim(fields) == 2 else None)
    values = labelled.values.reshape(-1, lattice.n_sites)
    if times is None and "time" in labelled.coords:
        times = list(np.atleast_1d(labelled["time"].values))
    times = None if times is None else numbers(times, "times")
    if times is not None and len(times) != len(values):
        raise ValueError(f"times must name the {len(values)} fields, got {len(times)}.")
    if len(values) > 6:
        raise ValueError(f"One row holds at most 6 maps, got {len(values)}; choose some of the records.")
    limit = float(np.quantile(np.abs(values), 0.995)) or 1.0 if limit is None else number(limit, "limit", above=0)
    width, height = plane_size(lattice)
    panel = min(3.0, (PAGE - 0.7) / len(values))
    figure = picture(len(values) * panel + 0.7, panel * min(height / width, 1.5) + 0.45)
    panels = figure.subplots(1, len(values), squeeze=False)[0]
    norm = Normalize(-limit, limit)
    for n, (axes, value) in enumerate(zip(panels, values, strict=True)):
        image = draw_plane(axes, value, lattice, norm, DIVERGING)
        if times is not None:
            axes.set_title(f"$t = {times[n]:g}$")
    panels[0].set_xlabel(rf"${lattice.shape[0]} \times {lattice.shape[1]}$ cells", fontsize=7.5, loc="left")
    side_bar(panels[-1], image, with_unit(label, unit), extend="both")
    when = f" at {len(values)} times with common colours" if len(values) > 1 else ""
    clock = f", times in {time_unit}" if times is not None and time_unit not in ("", "1") else ""
    figure.caption = f"Maps of {label} on {lattice!r}{when}; white is zero{clock}."
    return figure


@dataclass(frozen=True)
class Layer:
    """One quantity of :func:`gallery`: a row of maps ``(time, site)`` with colours of its own.

    ``centre`` is white, and the colours run to ``limit`` on either side (by default to the 99.5th percentile of the
    distance from it); with centre None they run from zero to ``limit``, for amplitudes.
    """

    values: SiteField
    label: str
    centre: float | None = 0.0
    limit: float | None = None
    unit: str = "1"


@styled
def gallery(
    layers: Sequence[Layer], lattice: Lattice, *, times: Sequence[float], title: str = "", time_unit: str = "1/t"
) -> Picture:
    """Several quantities of a two-dimensional lattice, row by row, at the same times from left to right.

    What happens at one place can be followed across rows: whether a wall of the order in one row carries charge in
    another.
    """
    check_plane(lattice)
    times = numbers(times, "times")
    instance(layers, (list, tuple), "layers", "List the rows of the gallery.")
    for k, layer in enumerate(layers):
        instance(layer, Layer, f"layers[{k}]")
    if not layers or not 1 <= len(times) <= 6:
        raise ValueError(f"A gallery has at least one layer and 1 to 6 times, got {len(layers)} and {len(times)}.")
    shape = plane_size(lattice)
    panel = min(2.2, (PAGE - 0.8) / len(times))
    height = panel * min(shape[1] / shape[0], 1.5)
    figure = picture(len(times) * panel + 0.8, len(layers) * (height + 0.06) + 0.4)
    panels = figure.subplots(len(layers), len(times), squeeze=False)
    for row, layer in zip(panels, layers, strict=True):
        values = site_field(layer.values, lattice, ("time",)).values
        if len(values) != len(times):
            raise ValueError(f"times must name the {len(values)} fields of {layer.label}, got {len(times)}.")
        far = values if layer.centre is None else values - number(layer.centre, "centre")
        given = layer.limit
        limit = float(np.quantile(np.abs(far), 0.995)) or 1.0 if given is None else number(given, "limit", above=0)
        low, high = (0.0, limit) if layer.centre is None else (layer.centre - limit, layer.centre + limit)
        colours = SEQUENTIAL if layer.centre is None else DIVERGING
        for axes, value in zip(row, values, strict=True):
            image = draw_plane(axes, value, lattice, Normalize(low, high), colours)
        side_bar(row[-1], image, with_unit(layer.label, layer.unit), extend="max" if layer.centre is None else "both")
    for axes, time in zip(panels[0], times, strict=True):
        axes.set_title(f"$t = {rounded(time)}$")
    panels[-1, 0].set_xlabel(rf"${lattice.shape[0]} \times {lattice.shape[1]}$ cells", fontsize=7.5, loc="left")
    clock = "" if time_unit in ("", "1") else f" (times in {time_unit})"
    labels = ", ".join(layer.label for layer in layers)
    figure.caption = f"{title + ': ' if title else ''}maps of {labels} at the same sites and times{clock}."
    return figure


@styled
def structure_factor_map(
    S: xr.DataArray, *, title: str = "", decades: float = 4.0, about: tuple[float, float] | None = None
) -> Picture:
    """S(k) over the zone in logarithmic colour, down to ``decades`` below its peak.

    A ring marks the wave vector ``about``. On a lattice along the axes, with one site per cell, the map is centred
    on it: a peak at (π, π) stands in the middle and not in four corners.
    """
    instance(S, xr.DataArray, "S", "structure_factor makes one.")
    decades = number(decades, "decades", above=0)
    about = None if about is None else numbers(about, "about", length=2)  # type: ignore[assignment]
    if S.ndim != 2 or "kx" not in S.coords or "ky" not in S.coords:
        raise ValueError(f"The map takes S(kx, ky) alone, got {S.dims}; average over replicas and choose a time first.")
    intensity, kx, ky = S.values, S["kx"].values, S["ky"].values
    if kx.ndim == 1:
        for direction, q in enumerate(about or (0.0, 0.0)):
            k = (kx, ky)[direction]
            period = (k[1] - k[0]) * len(k)
            near = q + (k - q + period / 2) % period - period / 2
            order = np.argsort(near)
            intensity = np.take(intensity, order, direction)
            kx, ky = (near[order], ky) if direction == 0 else (kx, near[order])
        kx, ky = np.meshgrid(kx, ky, indexing="ij")
    if not np.isfinite(intensity).all():
        raise ValueError("S(k) holds NaN or infinite values; look for them in the field it was made from.")
    top = float(S.max())
    if not top > 0:
        raise ValueError("S(k) vanishes everywhere, so there is nothing to draw.")
    figure = picture(3.3, 2.8)
    axes = figure.add_subplot()
    norm = LogNorm(top / 10**decades, top)
    image = axes.pcolormesh(
        kx, ky, np.maximum(intensity, top / 10**decades), norm=norm, cmap="magma", shading="nearest", rasterized=True
    )
    if about is not None:
        axes.plot(*about, "o", markersize=16, markerfacecolor="none", markeredgecolor="white", markeredgewidth=0.9)
    axes.set_aspect("equal")
    names = {-2: r"$-2\pi$", -1: r"$-\pi$", 0: "0", 1: r"$\pi$", 2: r"$2\pi$"}
    for axis, k in ((axes.xaxis, kx), (axes.yaxis, ky)):
        inside = [n for n in names if k.min() - 0.1 <= n * np.pi <= k.max() + 0.1]
        axis.set_ticks([n * np.pi for n in inside], [names[n] for n in inside])
    axes.set_xlabel("$k_x$ [1/a]")
    axes.set_ylabel("$k_y$ [1/a]")
    if title:
        axes.set_title(title)
    side_bar(axes, image, with_unit(r"$S(\mathbf{k})$", S.attrs.get("units", "1")))
    figure.caption = f"Structure factor in the Brillouin zone, logarithmic over {decades:g} decades."
    return figure


@styled
def data_overview(fields: Mapping[str, Tensor | np.ndarray], *, symbol: str = "Q", unit: str = "1") -> Picture:
    """Histograms of the field in every kind of snapshot of a data set: what the student has seen."""
    instance(fields, Mapping, "fields", "Name every kind of snapshot, as in {'thermal': ...}.")
    if not fields:
        raise ValueError("There are no kinds of snapshots to draw.")
    arrays = {name: np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v) for name, v in fields.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "iufb" or array.ndim == 0:
            raise TypeError(f"{name!r} must hold real numbers (snapshot, ...), got {type(fields[name]).__name__}.")
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"{name!r} must hold finite field values, at least one.")
    low, high = min(a.min() for a in arrays.values()), max(a.max() for a in arrays.values())
    edges = np.linspace(low, high, 81) if high > low else np.linspace(low - 0.5, high + 0.5, 81)
    figure = picture(PAGE / 2, 0.8 + 0.62 * len(arrays))
    panels = figure.subplots(len(arrays), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, array), colour in zip(panels, arrays.items(), CYCLE * len(arrays), strict=False):
        axes.hist(array.ravel(), edges, density=True, color=colour, alpha=0.75, linewidth=0)
        count = f"{name}: {len(array)} {'snapshot' if len(array) == 1 else 'snapshots'}"
        axes.text(0.0, 1.0, count, transform=axes.transAxes, va="top", fontsize=7.5)
        axes.margins(y=0.35)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel(with_unit(f"${symbol}$", unit))
    figure.supylabel("density of values", fontsize=8.5)
    figure.caption = f"Distribution of ${symbol}$ over the data set, by kind of snapshot."
    return figure


def check_plane(lattice: Lattice) -> None:
    if instance(lattice, Lattice, "lattice").dim != 2:
        raise ValueError(f"A map needs a two-dimensional lattice, got {lattice!r}.")


def plane_size(lattice: Lattice) -> np.ndarray:
    """Width and height of the lattice."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * np.asarray(lattice.shape) @ lattice.vectors
    return np.ptp(corners, axis=0)


def draw_plane(axes: Axes, value: np.ndarray, lattice: Lattice, norm: Normalize, colours: str | Colormap) -> Collection:
    """One map in its frame, without ticks."""
    image = _draw(axes, value, lattice, norm, colours)
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom", "top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#555555")
    return image


def _draw(axes: Axes, value: np.ndarray, lattice: Lattice, norm: Normalize, colours: str | Colormap) -> Collection:
    if lattice.n_basis == 1:
        grid = value.reshape(lattice.shape)
        step = max(1, int(np.ceil(max(lattice.shape) / LARGEST_MAP)))
        # Corners of the primitive cells: a skewed lattice shows as parallelograms that tile the plane.
        corners = [np.arange(0, n + step, step) - 0.5 for n in lattice.shape]
        x, y = np.moveaxis(np.stack(np.meshgrid(*corners, indexing="ij"), -1) @ lattice.vectors, -1, 0)
        return axes.pcolormesh(x, y, grid[::step, ::step], cmap=colours, norm=norm, rasterized=True, shading="flat")
    size = np.full(lattice.n_sites, 0.95 * lattice.shell_distances[0])
    sites = EllipseCollection(
        size,
        size,
        np.zeros_like(size),
        offsets=lattice.positions,
        units="xy",
        offset_transform=axes.transData,
        cmap=colours,
        norm=norm,
    )
    sites.set_array(value)
    axes.add_collection(sites)
    low, high = lattice.positions.min(0) - 0.6, lattice.positions.max(0) + 0.6
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return sites
