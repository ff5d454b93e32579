"""Pictures of spins: textures, the zone, paths through it, and topological charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize

from nearsight._validation import boolean, instance, integer, number, numbers
from nearsight.analysis import Path, fold, mean_and_error, plaquettes, reciprocal_vectors, zone_boundary
from nearsight.analysis._fields import SpinField, rows, spin_field
from nearsight.lattices import Lattice
from nearsight.plots._axes import light_grid, side_bar, with_unit
from nearsight.plots._planes import check_plane, draw_plane, plane_size
from nearsight.plots.style import CYCLE, DIVERGING, EXACT, LEARNED, PAGE, Picture, picture, styled

MOST_ARROWS = 40
"""Arrows along an edge beyond which a map is drawn without them: they would be shorter than they are wide."""
ONE_ROW = 64
"""Sites along an edge beyond which more than two maps fill two rows: in one, a skyrmion would be a speck."""


@styled
def spin_map(
    spins: SpinField,
    lattice: Lattice,
    *,
    times: Sequence[float] | None = None,
    window: int | None = None,
    arrows: bool | None = None,
    time_unit: str = "1/t",
) -> Picture:
    """Spins of a plane lattice at one or several times ``(time, site, 3)``: S^z in colour, S^x and S^y as arrows.

    Parameters
    ----------
    window: draw this many cells along each axis, from cell 0, instead of all.
    arrows: whether to draw them; by default where there is room for them.
    """
    check_plane(lattice)
    array = rows(spin_field(spins, lattice))
    times = None if times is None else numbers(times, "times")
    arrows = None if arrows is None else boolean(arrows, "arrows")
    if times is not None and len(times) != len(array):
        raise ValueError(f"times must name the {len(array)} configurations, got {len(times)}.")
    if len(array) > 6:
        raise ValueError(f"One picture holds at most 6 maps, got {len(array)}; choose some of the records.")
    shown = lattice
    if window is not None:
        window = integer(window, "window")
        if not 1 <= window <= min(lattice.shape):
            raise ValueError(f"A window has between 1 and {min(lattice.shape)} cells along each axis, got {window}.")
        inside = (lattice.cells < window).all(1)
        array, shown = array[:, inside], lattice.resized(window, window)
    across = max(shown.shape) * np.sqrt(shown.n_basis)
    drawn = across <= MOST_ARROWS if arrows is None else arrows
    width, height = plane_size(shown)
    lines = 2 if across > ONE_ROW and len(array) > 2 else 1
    columns = -(-len(array) // lines)
    panel = min(3.2, (PAGE - 0.7) / columns)
    figure = picture(columns * panel + 0.7, lines * (panel * min(height / width, 1.5) + 0.3) + 0.15)
    grid = figure.subplots(lines, columns, squeeze=False)
    panels = list(grid.flat)[: len(array)]
    for unused in grid.flat[len(array) :]:
        unused.set_axis_off()
    for n, (axes, S) in enumerate(zip(panels, array, strict=True)):
        image = draw_plane(axes, S[:, 2], shown, Normalize(-1, 1), DIVERGING)
        if drawn:
            _arrows(axes, S, shown)
        if times is not None:
            axes.set_title(f"$t = {times[n]:g}$")
    grid[-1, 0].set_xlabel(rf"${shown.shape[0]} \times {shown.shape[1]}$ cells", fontsize=7.5, loc="left")
    side_bar(grid[0, -1], image, "$S^z$")
    part = f" ({window} × {window} cells of {lattice!r})" if window is not None else f" on {lattice!r}"
    clock = f", times in {time_unit}" if times is not None and time_unit not in ("", "1") else ""
    kind = "S^z in colour, the components in the plane as arrows" if drawn else "S^z in colour"
    figure.caption = f"Spins{part}: {kind}{clock}."
    return figure


@styled
def zone_map(
    S: xr.DataArray | Mapping[str, xr.DataArray],
    lattice: Lattice,
    *,
    decades: float | None = None,
    extent: float = 1.12,
    unit: str | None = None,
) -> Picture:
    """Structure factors S(q) over the first Brillouin zone, its boundary dashed, side by side with one colour bar.

    Parameters
    ----------
    S: the result of ``spin_structure_factor``, averaged over replicas, or several by their titles. With ``reach`` every
        wave vector is drawn where it lies; without, the zone is continued periodically, which is right for one site
        per cell.
    decades: colours are linear from zero; or logarithmic over so many decades below the highest peak.
    extent: half width of the picture in units of the farthest corner of the zone.
    """
    check_plane(lattice)
    decades = None if decades is None else number(decades, "decades", above=0)
    extent = number(extent, "extent", above=0)
    if not isinstance(S, xr.DataArray):
        instance(S, Mapping, "S, if no labelled array,", "Name every map, as in {'exact': ...}.")
    maps = {"": S} if isinstance(S, xr.DataArray) else dict(S)
    if not 1 <= len(maps) <= 4:
        raise ValueError(f"One picture holds 1 to 4 zones, got {len(maps)}.")
    for title, data in maps.items():
        if not np.isfinite(instance(data, xr.DataArray, f"S[{title!r}]").values).all():
            raise ValueError("S(q) holds NaN or infinite values; look for them in the spins it was made from.")
    corners = zone_boundary(lattice)
    half = extent * float(np.abs(corners).max())
    top = max(float(data.max()) for data in maps.values())
    if not top > 0:
        raise ValueError("S(q) vanishes everywhere, so there is nothing to draw.")
    norm = Normalize(0, top) if decades is None else LogNorm(top / 10**decades, top)
    panel = min(3.0, (PAGE - 0.8) / len(maps))
    figure = picture(len(maps) * panel + 0.8, panel + 0.45)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, data) in zip(panels, maps.items(), strict=True):
        k, value = _tiled(data, lattice, half)
        cells = PolyCollection(
            k[:, None] + _cell(lattice),
            array=value if decades is None else np.maximum(value, top / 10**decades),
            norm=norm,
            cmap="magma",
            edgecolors="face",
            linewidths=0.2,
            rasterized=True,
        )
        axes.add_collection(cells)
        axes.plot(*np.concatenate([corners, corners[:1]]).T, "--", color="white", linewidth=0.9, dashes=(4, 2))
        axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=title, xlabel="$q_x$ [1/a]")
        axes.set_facecolor("black")
    panels[0].set_ylabel("$q_y$ [1/a]")
    units = unit if unit is not None else next(iter(maps.values())).attrs.get("units", "1")
    side_bar(panels[-1], cells, with_unit(r"$S(\mathbf{q})$", units))
    scale = "linear colours" if decades is None else f"logarithmic over {decades:g} decades"
    figure.caption = f"Structure factor of spins, {scale}; the dashed line is the first Brillouin zone."
    return figure


@styled
def path_profile(
    S: Mapping[str, xr.DataArray], path: Path, *, times: Sequence[float] | None = None, time_unit: str = "1/t"
) -> Picture:
    """S(q) along a path through the zone, ``(replica, point)`` or ``(replica, time, point)``, one panel for each time.

    The first of the mapping is drawn as a line with a band, the others as points with error bars, of one standard error
    over replicas: exact dynamics against learned, ``{"exact": ..., "learned": ...}``.
    """
    instance(S, Mapping, "S", "Name every curve, as in {'exact': ...}.")
    instance(path, Path, "path", "nearsight.analysis makes one through points of the zone.")
    times = None if times is None else numbers(times, "times")
    for name, data in S.items():
        instance(data, xr.DataArray, f"S[{name!r}]")
    if not S:
        raise ValueError("There is nothing to draw: pass at least one structure factor along the path.")
    for name, data in S.items():
        if data.sizes.get("point") != len(path):
            raise ValueError(f"{name} has {data.sizes.get('point', 'no')} points, the path {len(path)}.")
    first = next(iter(S.values()))
    if times is None:
        times = [float(t) for t in first["time"].values] if "time" in first.dims else [float("nan")]
    if not 1 <= len(times) <= 8:
        raise ValueError(f"One picture holds 1 to 8 times, got {len(times)}; choose some with times=.")
    columns = min(len(times), 4 if len(times) % 3 else 3)
    lines = -(-len(times) // columns)
    figure = picture(max(3.4, min(PAGE, 2.4 * columns)), 0.5 + 1.9 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    colours = {"exact": EXACT, "learned": LEARNED}
    for axes in panels[len(times) :]:
        axes.set_visible(False)
    for axes, time in zip(panels, times, strict=False):
        for n, (name, data) in enumerate(S.items()):
            chosen = data.sel(time=time, method="nearest") if "time" in data.dims else data
            colour = colours.get(name, CYCLE[n % len(CYCLE)])
            if "replica" in chosen.dims and chosen.sizes["replica"] > 1:
                summary = mean_and_error(chosen)
                mean, error = summary["mean"].values, summary["error"].values
            else:
                mean, error = chosen.squeeze().values, np.zeros(len(path))
            if n == 0:
                axes.fill_between(path.distance, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
                axes.plot(path.distance, mean, color=colour, label=name)
            else:
                axes.errorbar(
                    path.distance,
                    mean,
                    error,
                    fmt="o",
                    color=colour,
                    markersize=2.8,
                    markerfacecolor="white",
                    elinewidth=0.9,
                    zorder=3,
                    label=name,
                )
        if np.isfinite(time):
            axes.set_title(f"$t = {time:g}$")
        for tick in path.ticks[1:-1]:
            axes.axvline(tick, color="#888888", linewidth=0.6, zorder=0)
        axes.set_xticks(path.ticks, path.labels)
        axes.set_xlim(path.ticks[0], path.ticks[-1])
        axes.set_ylim(bottom=0)
        light_grid(axes)
    panels[0].legend(loc="best")
    for axes in panels[::columns]:
        axes.set_ylabel(with_unit(r"$S(\mathbf{q})$", first.attrs.get("units", "1")))
    way = "-".join(path.labels)
    clock = f" Times in {time_unit}." if np.isfinite(times[0]) and time_unit not in ("", "1") else ""
    figure.caption = f"Structure factor along {way}; bands and error bars are one standard error over replicas.{clock}"
    return figure


@styled
def charge_map(
    density: xr.DataArray,
    lattice: Lattice,
    *,
    limit: float | None = None,
    label: str = "topological charge",
) -> Picture:
    """A quantity of every plaquette of a plane lattice ``(plaquette,)``, such as ``charge_density`` or a chirality.

    Colours run symmetrically from -``limit`` to ``limit``, by default to the largest value; white is zero.
    """
    check_plane(lattice)
    faces = plaquettes(lattice)
    instance(density, xr.DataArray, "density")
    if density.dims != ("plaquette",) or density.sizes["plaquette"] != len(faces):
        raise ValueError(
            f"The map takes one value for each of the {len(faces)} plaquettes, got {dict(density.sizes)}; choose one "
            f"configuration first."
        )
    values = density.values
    if not np.isfinite(values).all():
        raise ValueError("density holds NaN or infinite values; look for them in the spins it was made from.")
    limit = float(np.abs(values).max()) or 1.0 if limit is None else number(limit, "limit", above=0)
    polygons = []
    for centre, size, corners in zip(faces.centres, faces.size, faces.corners, strict=True):
        # Across a periodic boundary the image of the corner that is next to the centre.
        offset = lattice.positions[corners[:size]] - centre
        turns = offset @ np.linalg.inv(lattice.vectors) / np.asarray(lattice.shape)
        wrapped = np.round(turns) * np.asarray(lattice.periodic)
        polygons.append(centre + offset - wrapped * np.asarray(lattice.shape) @ lattice.vectors)
    width, height = plane_size(lattice)
    figure = picture(3.9, 3.2 * min(height / width, 1.5) + 0.4)
    axes = figure.add_subplot()
    image = PolyCollection(
        polygons,
        array=values,
        norm=Normalize(-limit, limit),
        cmap=DIVERGING,
        edgecolors="face",
        linewidths=0.2,
        rasterized=True,
    )
    axes.add_collection(image)
    axes.autoscale_view()
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    side_bar(axes, image, label)
    figure.caption = f"{label[0].upper()}{label[1:]} of every plaquette of {lattice!r}, {values.sum():.4g} in all."
    return figure


def _arrows(axes: Axes, S: np.ndarray, lattice: Lattice) -> None:
    """Arrows of the length of the component in the plane, in a colour that stands out from the map below."""
    spacing = lattice.shell_distances[0]
    dark = np.where(np.abs(S[:, 2]) > 0.6, 0.95, 0.12)
    axes.quiver(
        *lattice.positions.T,
        0.85 * spacing * S[:, 0],
        0.85 * spacing * S[:, 1],
        color=np.repeat(dark[:, None], 3, axis=1),
        pivot="middle",
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.09 * spacing,
        units="xy",
        headwidth=3.5,
        headlength=3.5,
        headaxislength=3.0,
        rasterized=lattice.n_sites > 2000,
    )


def _cell(lattice: Lattice) -> np.ndarray:
    """The patch of reciprocal space around every wave vector: the zone of the whole torus, ``(corner, 2)``."""
    torus = Lattice(
        "torus", np.asarray(lattice.shape)[:, None] * lattice.vectors, np.zeros((1, 2)), (1, 1), symmetrise=False
    )
    return zone_boundary(torus)


def _tiled(S: xr.DataArray, lattice: Lattice, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors within the picture and S there."""
    k = np.stack([S["kx"].values, S["ky"].values], axis=-1) if {"kx", "ky"} <= set(S.coords) else None
    if k is None or S.dims not in (("h1", "h2"), ("point",)):
        raise ValueError(
            f"The map takes S(q) of one time, got {S.dims}; average over replicas and choose a time first."
        )
    k, value = k.reshape(-1, 2), S.values.ravel()
    if S.dims == ("h1", "h2"):
        if lattice.n_basis > 1:
            inside = np.linalg.norm(k - fold(k, lattice), axis=1) < 1e-6
            return k[inside], value[inside]
        n = np.arange(-2, 3)
        G = np.stack(np.meshgrid(n, n, indexing="ij"), -1).reshape(-1, 2) @ reciprocal_vectors(lattice)
        k, value = (k[None] + G[:, None]).reshape(-1, 2), np.tile(value, len(G))
    near = (np.abs(k) <= 1.1 * half).all(1)
    return k[near], value[near]
