"""Figures of labelled arrays: names and units from attributes, means and errors from replicas, laws as recorded."""

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.quiver import Quiver

from nearsight import analysis, plots
from nearsight.analysis import LinearLaw, PowerLaw
from nearsight.fields import helix, skyrmion_lattice
from nearsight.lattices import chain, honeycomb, kagome, square, triangular
from nearsight.plots import style

SOURCES = ["exact", "learned"]
TIME = np.r_[0.0, np.geomspace(1, 100, 9)]
TRIANGULAR = triangular(12)
TEXTURE = skyrmion_lattice(TRIANGULAR, magnetisation=0.5).numpy()
LAW = PowerLaw(0.5, 0.01, 2.0, (0.47, 0.53), window=(4.0, 60.0), chi2=5.0, dof=5, replicas=6)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Few dots: the pictures are looked at through their artists."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40.0)


def drawn(picture: plots.Picture) -> plots.Picture:
    assert len(picture.png()) > 2_000
    assert picture.caption.endswith(".") and picture.caption[0].isupper()
    return picture


def ensemble(**attrs) -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = (TIME + 0.1) ** 0.5 * (1 + 0.05 * rng.standard_normal((2, 6, len(TIME))))
    return xr.DataArray(
        values,
        dims=("source", "replica", "time"),
        coords={"source": SOURCES, "time": ("time", TIME, {"long_name": "time", "units": "ħ/t"})},
        attrs={"long_name": "correlation length", "symbol": "L", "units": "a", **attrs},
        name="L",
    )


def correlations() -> xr.DataArray:
    rng = np.random.default_rng(0)
    r = ("r", np.arange(6.0), {"long_name": "distance", "units": "a"})
    return xr.DataArray(
        np.exp(-np.arange(6.0) / 2) + 0.02 * rng.standard_normal((2, 6, 3, 6)),
        dims=("source", "replica", "time", "r"),
        coords={"source": SOURCES, "time": [1.0, 5.0, 20.0], "r": r},
        attrs={"long_name": "charge correlation"},
    )


def field(lattice, times: int = 3) -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((times, lattice.n_sites))
    return xr.DataArray(values, dims=("time", "site"), coords={"time": 2.0 ** np.arange(times)}, name="phi")


# --- curves -----------------------------------------------------------------------------------------------------------


def test_curves_are_means_over_replicas_labelled_by_their_attributes():
    L = ensemble()
    axes = drawn(plots.compare(L, log="")).axes[0]
    for line, source in zip(axes.lines, SOURCES, strict=True):
        np.testing.assert_allclose(line.get_ydata(), L.sel(source=source).mean("replica"))
        assert line.get_label() == f"{source} (6 replicas)"
    assert axes.get_ylabel() == "correlation length $L$ [a]" and axes.get_xlabel() == "time [ħ/t]"
    assert [line.get_color() for line in axes.lines] == [style.EXACT, style.LEARNED]


def test_bands_are_one_standard_error():
    L = ensemble()
    band = plots.compare(L, log="").axes[0].collections[0].get_paths()[0].vertices
    error = L.sel(source="exact").std("replica", ddof=1).values / np.sqrt(6)
    mean = L.sel(source="exact").mean("replica").values
    assert band[:, 1].max() == pytest.approx((mean + error).max())


def test_scales_come_from_attributes_unless_they_are_asked_for():
    L = ensemble(scale="log")
    even = L.assign_coords(time=("time", np.arange(10.0)))
    assert plots.compare(even).axes[0].get_yscale() == "log" and plots.compare(even).axes[0].get_xscale() == "linear"
    assert plots.compare(L).axes[0].get_xscale() == "log"  # times are recorded ever less often
    axes = plots.compare(L, log="x").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert axes.lines[0].get_xdata()[0] == 1.0  # t = 0 has no place on a logarithmic axis


def test_every_quantity_has_a_panel_and_levels_and_marks_are_lines():
    picture = drawn(plots.compare(ensemble(), ensemble(long_name="size"), levels=(None, 3.0), mark=10.0))
    left, right = picture.axes
    assert len(left.lines) == 3 and len(right.lines) == 4
    assert right.get_ylabel() == "size $L$ [a]"


def test_laws_are_drawn_as_they_were_recorded_in_their_window():
    picture = drawn(plots.growth(ensemble().sel(source="learned"), LAW))
    law = picture.axes[0].lines[1]
    x, y = law.get_xdata(), law.get_ydata()
    np.testing.assert_allclose(y, 2.0 * x**0.5)
    assert (x[0], x[-1]) == pytest.approx((4.0, 60.0)) and law.get_label() == r"$n = 0.500 \pm 0.010$"
    assert str(LAW) in picture.caption


def test_laws_of_several_curves_go_by_their_names():
    axes = plots.growth(ensemble(), {"learned": LAW}).axes[0]
    assert [line.get_color() for line in axes.lines if line.get_linestyle() == "--"] == [style.LEARNED]


def test_other_dimensions_tell_curves_apart_and_count_samples():
    accuracy = xr.DataArray(
        np.random.default_rng(0).random((2, 5, 8)),
        dims=("side", "temperature", "snapshot"),
        coords={"side": [2, 4], "temperature": np.linspace(2, 3, 5)},
    )
    axes = drawn(plots.compare(accuracy, x="temperature", by="side", over="snapshot", points=True)).axes[0]
    assert [c.get_label() for c in axes.containers] == ["side = 2 (8 snapshots)", "side = 4 (8 snapshots)"]
    np.testing.assert_allclose(axes.containers[1][0].get_ydata(), accuracy.sel(side=4).mean("snapshot"))


def test_means_and_errors_that_are_known_are_drawn_as_they_are():
    known = analysis.mean_and_error(ensemble().sel(source="exact"))
    line = drawn(plots.compare({"exact": known}, log="")).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), known["mean"])


def test_published_columns_are_drawn_in_the_panel_of_their_name():
    table = plots.Published("length", "a thesis", {"t": np.array([1.0, 10.0]), "L": np.array([1.0, 3.0])})
    picture = drawn(plots.compare(ensemble(), ensemble().rename("s"), published=[table]))
    assert [len(axes.containers) for axes in picture.axes] == [1, 0]
    assert "length from a thesis" in picture.caption


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_profiles_have_a_panel_for_every_time_with_lines_and_points():
    C = correlations()
    picture = drawn(plots.profiles(C, times=[1, 20]))
    assert [axes.get_title("left") for axes in picture.axes] == ["$t = 1$", "$t = 20$"]
    last = C.sel(time=20.0)
    np.testing.assert_allclose(picture.axes[1].lines[0].get_ydata(), last.sel(source="exact").mean("replica"))
    points = picture.axes[1].containers[0][0].get_ydata()
    np.testing.assert_allclose(points, last.sel(source="learned").mean("replica"))


def test_profiles_together_share_one_panel():
    (axes,) = drawn(plots.profiles(correlations(), together=True)).axes
    assert [line.get_label() for line in axes.lines if line.get_label().startswith("$t")] == [
        "$t = 1$", "$t = 5$", "$t = 20$"
    ]  # fmt: skip


@pytest.mark.parametrize("paired", [True, False])
def test_residuals_are_in_standard_errors_of_the_difference(paired):
    C = correlations()
    picture = drawn(plots.profiles(C, times=[5], residuals=True, paired=paired))
    exact, learned = (C.sel(source=s, time=5.0) for s in SOURCES)
    gap = (learned - exact).mean("replica")
    errors = [x.std("replica", ddof=1) / np.sqrt(6) for x in (exact, learned)]
    sigma = (learned - exact).std("replica", ddof=1) / np.sqrt(6) if paired else np.hypot(*errors)
    np.testing.assert_allclose(picture.axes[1].lines[0].get_ydata(), gap / sigma)


def test_a_path_names_its_points():
    path = analysis.symmetry_path(TRIANGULAR)
    S = analysis.spin_structure_factor_at(np.stack([TEXTURE, TEXTURE]), TRIANGULAR, path)
    picture = drawn(plots.profiles({"exact": S, "learned": S}, path=path))
    assert [tick.get_text() for tick in picture.axes[0].get_xticklabels()] == list(path.labels)
    assert "Γ-K-M-Γ" in picture.caption


def test_a_guide_has_the_slope_that_is_asked_for():
    k = np.geomspace(0.1, 3, 20)
    S = xr.DataArray(np.stack([k**-3.0] * 2), dims=("replica", "k"), coords={"k": k})
    axes = drawn(plots.profiles({"exact": S}, log="xy", guide=-3)).axes[0]
    x, y = axes.lines[1].get_data()
    np.testing.assert_allclose(np.polyfit(np.log(x), np.log(y), 1)[0], -3.0)


def test_a_collapse_multiplies_every_curve_by_its_factors():
    size = xr.DataArray([1.0, 2.0], dims="size", coords={"size": [1, 2]})
    x = np.linspace(1, 3, 5)
    values = np.stack([x**2, x**2 * 2])
    data = xr.DataArray(values, dims=("size", "x"), coords={"size": [1, 2], "x": x})
    left, right = drawn(plots.collapse(data, size, size**-1, fit="θ = 1")).axes
    for axes, u, v in ((left, 1.0, 1.0), (right, 2.0, 0.5)):
        np.testing.assert_allclose(axes.containers[1][0].get_xdata(), u * x)
        np.testing.assert_allclose(axes.containers[1][0].get_ydata(), v * values[1])


# --- points -----------------------------------------------------------------------------------------------------------


def test_points_leave_out_what_is_infinite_and_show_the_recorded_line():
    x = xr.DataArray([1.0, 2.0, np.inf, 4.0], dims="configuration", name="L", attrs={"units": "a"})
    y = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="configuration", name="barrier")
    line = LinearLaw(2.0, 0.1, 1.0, 0.1, 0.9, 0.1, 4)
    picture = drawn(plots.points(x, y, fit=line))
    axes = picture.axes[0]
    assert axes.containers[0][0].get_xdata().tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), 1 + 2 * axes.lines[-1].get_xdata())
    assert axes.get_xlabel() == "L [a]" and str(line) in picture.caption


def test_points_of_several_groups_have_their_colours():
    x = xr.DataArray(np.arange(4.0), dims="configuration")
    kind = xr.DataArray([0, 0, 1, 1], dims="configuration", name="M")
    axes = drawn(plots.points(x, x**2, by=kind)).axes[0]
    assert [c.get_label() for c in axes.containers] == ["M = 0", "M = 1"]


# --- maps and zones ---------------------------------------------------------------------------------------------------


def test_maps_have_a_row_for_every_field_and_a_column_for_every_time():
    lattice = square(6, 4)
    phi = field(lattice)
    density = abs(phi).assign_attrs(long_name="density", centre=0.5, limit=0.25)
    picture = drawn(plots.maps([phi, density, abs(phi)], lattice))
    panels = [axes for axes in picture.axes if axes.collections and axes.get_label() != "<colorbar>"]
    assert len(panels) == 9
    images = [axes.collections[0] for axes in panels[::3]]
    limit = np.quantile(np.abs(phi), 0.995)
    assert [image.get_clim() for image in images] == [pytest.approx((-limit, limit)), (0.25, 0.75),
                                                      pytest.approx((0.0, limit))]  # fmt: skip
    np.testing.assert_array_equal(np.ravel(panels[1].collections[0].get_array()), phi[1])


def test_maps_draw_the_times_and_the_window_that_are_asked_for():
    lattice = square(6)
    phi = field(lattice)
    grid = xr.DataArray(phi.values.reshape(3, 6, 6), dims=("time", "x", "y"), coords={"time": phi.time})
    picture = drawn(plots.maps(grid, lattice, times=[4.0], window=3))
    np.testing.assert_array_equal(np.ravel(picture.axes[0].collections[0].get_array()), grid[2, :3, :3].values.ravel())
    assert picture.axes[0].get_title("left") == "$t$ = 4"


def test_sources_have_rows_of_their_own():
    both = xr.concat([field(square(4)), 2 * field(square(4))], "source").assign_coords(source=SOURCES)
    picture = drawn(plots.maps(both, square(4)))
    assert "phi, exact, phi, learned" in picture.caption


def test_spins_are_drawn_with_arrows_and_plaquettes_as_polygons():
    S = xr.DataArray(TEXTURE, dims=("site", "component"))
    image, arrows = drawn(plots.maps(S, TRIANGULAR)).axes[0].collections
    # Every site is painted; those at the edge of the wrapped torus twice, half by half.
    np.testing.assert_array_equal(np.unique(image.get_array().compressed()), np.unique(TEXTURE[:, 2]))
    assert isinstance(arrows, Quiver) and image.get_clim() == (-1, 1)
    assert len(plots.maps(S, TRIANGULAR, arrows=False).axes[0].collections) == 1
    q = analysis.charge_density(TEXTURE, TRIANGULAR)
    picture = drawn(plots.maps(q, TRIANGULAR))
    (cells,) = picture.axes[0].collections
    assert isinstance(cells, PolyCollection) and len(cells.get_paths()) == len(q.plaquette)
    assert f"{float(q.sum()):.4g}" in picture.caption


def labelled_spins(lattice, *times: int) -> xr.DataArray:
    S = np.random.default_rng(0).standard_normal((*times, lattice.n_sites, 3))
    return xr.DataArray(S / np.linalg.norm(S, axis=-1, keepdims=True), dims=("time", "site", "component")[-S.ndim :])


def quivers(axes) -> list[Quiver]:
    return [artist for artist in axes.collections if isinstance(artist, Quiver)]


def test_arrows_are_left_out_where_they_would_not_be_seen_and_drawn_in_a_window():
    large = triangular(60)
    S = labelled_spins(large)
    assert not quivers(plots.maps(S, large).axes[0])
    picture = drawn(plots.maps(S, large, window=20))
    (quiver,) = quivers(picture.axes[0])
    # The sites of a rectangle of 20 × 20 cells, rows wrapped around the torus.
    x, y = large.positions.T
    inside = ((x + 0.5 + 1e-6) % 60 < 20) & (large.cells[:, 1] < 20)
    assert inside.sum() == 400
    np.testing.assert_allclose(np.stack([quiver.U, quiver.V], axis=1), 0.85 * S.values[inside, :2])
    np.testing.assert_allclose(quiver.Y, y[inside])
    np.testing.assert_allclose(quiver.X, (x[inside] + 0.5 + 1e-6) % 60 - 0.5, atol=1e-5)
    assert "20 × 20 cells of" in picture.caption


@pytest.mark.parametrize("shape", [(6, 6), (5, 7), (9, 4)])
@pytest.mark.parametrize("window", [None, 3])
def test_a_skewed_torus_fills_a_rectangle_with_the_value_of_every_site_around_it(shape, window):
    """Painted bricks leave no hole in the frame, and the brick over a site, or over one of its images, is its own."""
    lattice = triangular(*shape)
    values = np.arange(float(lattice.n_sites))
    axes = drawn(plots.maps(xr.DataArray(values, dims="site"), lattice, window=window)).axes[0]
    (mesh,) = axes.collections
    corners, colours = (
        mesh.get_coordinates(),
        np.ma.asarray(mesh.get_array()).reshape(np.array(mesh.get_coordinates().shape[:2]) - 1),
    )
    cells = [
        (corners[i, j], corners[i + 1, j + 1], colours[i, j])
        for i, j in np.ndindex(*colours.shape)
        if not np.ma.is_masked(colours[i, j])
    ]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    n = shape if window is None else (window, window)
    assert (right - left, high - low) == pytest.approx((n[0], n[1] * np.sqrt(3) / 2))
    rng = np.random.default_rng(0)
    for x, y in zip(rng.uniform(left, right, 200), rng.uniform(low, high, 200), strict=True):
        (value,) = [v for a, b, v in cells if a[0] <= x < b[0] and a[1] <= y < b[1]]
        away = to_site(lattice, int(value), x, y)
        assert abs(away[0]) <= 0.5 + 1e-9 and abs(away[1]) <= np.sqrt(3) / 4 + 1e-9
    assert "wrapped" in axes.figure.caption


def to_site(lattice, site, x, y):
    """From a site to a point along the axes, whole periods along x apart."""
    dx, dy = np.array([x, y]) - lattice.positions[site]
    return dx - lattice.shape[0] * np.rint(dx / lattice.shape[0]), dy


def test_an_open_skewed_lattice_keeps_its_shape():
    lattice = triangular(5, 4, periodic=False)
    axes = drawn(plots.maps(xr.DataArray(np.arange(20.0), dims="site"), lattice)).axes[0]
    assert axes.collections[0].get_coordinates().shape == (6, 5, 2) and "wrapped" not in axes.figure.caption


@pytest.mark.parametrize("make", [honeycomb, kagome])
def test_sites_of_a_skewed_torus_are_drawn_in_a_rectangle(make):
    lattice = make(6)
    axes = drawn(plots.maps(xr.DataArray(np.arange(float(lattice.n_sites)), dims="site"), lattice)).axes[0]
    where = axes.collections[0].get_offsets()
    away = where - lattice.positions
    period = 6 * lattice.vectors[0, 0]
    np.testing.assert_allclose(away[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(away[:, 0] / period, np.rint(away[:, 0] / period), atol=1e-9)
    assert np.ptp(where[:, 0]) < period


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", ["line", "points", "bars", "band"])
def test_a_legend_lies_on_no_data(log, kind):
    """Data fill the axes from corner to corner; afterwards no pixel of them is inside of the box of the legend."""
    picture = plots.style.picture()
    axes = picture.subplots()
    x, y = np.linspace(1, 2, 101), np.where(np.arange(101) % 2, 1.0, 100.0)
    if kind == "line":
        axes.plot(x, y, label="something long", color="red")
    elif kind == "points":
        axes.scatter(x, y + 0.5 * (100 - y) * (np.arange(101) % 3 == 0), label="something long", color="red")
    elif kind == "bars":
        axes.bar(x, y + 50, width=0.01, label="something long", color="red")
    else:
        axes.fill_between(x, np.ones(101), np.full(101, 100.0), label="something long", color="red")
    axes.set_yscale("log" if log else "linear")
    axes.legend(loc="upper left")
    picture.png()
    box = axes.get_legend().get_window_extent()
    axes.get_legend().set_visible(False)
    picture.canvas.draw()
    pixels = np.asarray(picture.canvas.buffer_rgba())[::-1].astype(int)
    part = pixels[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)]
    assert part.size and not ((part[..., 0] > 150) & (part[..., 1] < 100)).any()


def test_a_legend_beside_the_data_stays_where_it_is():
    picture = plots.style.picture()
    axes = picture.subplots()
    axes.plot([0, 1], [0, 1], label="a")
    axes.legend(loc="upper left")
    before = axes.get_ylim()
    picture.png()
    assert axes.get_ylim() == before


def test_a_figure_is_also_a_vector_pdf():
    first, second = (plots.maps(xr.DataArray(np.arange(16.0), dims="site"), square(4)).pdf() for _ in range(2))
    assert first.startswith(b"%PDF") and first == second and b"Type3" not in first


@pytest.mark.parametrize(("side", "rows"), [(24, 1), (66, 2)])
def test_maps_of_large_lattices_fill_two_rows(side, rows):
    picture = drawn(plots.maps(labelled_spins(triangular(side), 3).assign_coords(time=[0, 5, 10]), triangular(side)))
    titled = [axes for axes in picture.axes if axes.get_title("left")]
    assert len(titled) == 3 and len({round(axes.get_position().y0, 2) for axes in titled}) == rows


def test_a_lattice_with_several_sites_per_cell_is_drawn_site_by_site():
    S = labelled_spins(kagome(5))
    axes = drawn(plots.maps(S, kagome(5))).axes[0]
    np.testing.assert_allclose(axes.collections[0].get_array(), S.values[:, 2])
    assert quivers(axes)[0].N == 75


@pytest.mark.parametrize("lattice", [TRIANGULAR, square(6), kagome(4)], ids=lambda lattice: lattice.name)
def test_every_plaquette_is_painted_once(lattice):
    q = analysis.charge_density(labelled_spins(lattice), lattice)
    (cells,) = drawn(plots.maps(q, lattice)).axes[0].collections
    np.testing.assert_allclose(np.asarray(cells.get_array()), q.values)
    area = 0.0
    for path in cells.get_paths():
        x, y = path.vertices[:-1].T
        area += 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert area == pytest.approx(abs(np.linalg.det(lattice.vectors)) * lattice.n_cells)


def test_values_that_are_not_finite_are_masked():
    V = field(square(4), 1).copy(data=np.r_[[np.inf, np.nan], np.ones(14)][None])
    (mesh,) = drawn(plots.maps(V, square(4))).axes[0].collections
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 2


def test_maps_may_be_logarithmic():
    data = field(square(4), 1).copy(data=np.geomspace(1e-6, 1, 16)[None]).assign_attrs(scale="log")
    (mesh,) = drawn(plots.maps(data, square(4))).axes[0].collections
    assert mesh.get_clim() == pytest.approx((1e-4, 1.0))


@pytest.mark.parametrize("about", [None, (np.pi, np.pi)])
def test_a_zone_shows_the_peak_where_it_is(about):
    lattice = square(8)
    S = analysis.structure_factor(0.5 - lattice.cells.sum(1) % 2, lattice)
    (mesh,) = drawn(plots.zones(S, lattice, about=about)).axes[0].collections
    assert isinstance(mesh, QuadMesh)
    corners = mesh.get_coordinates()
    centres = 0.25 * (corners[1:, 1:] + corners[:-1, 1:] + corners[1:, :-1] + corners[:-1, :-1])
    high = centres[np.asarray(mesh.get_array()) > 0.99 * float(S.max())]
    np.testing.assert_allclose(np.abs(np.round(high / np.pi) % 2), 1.0)
    np.testing.assert_allclose(high, np.pi * np.round(high / np.pi), atol=1e-9)


def test_a_skewed_zone_is_tiled_by_cells():
    S = analysis.spin_structure_factor(np.stack([TEXTURE] * 2), TRIANGULAR)
    picture = drawn(plots.zones({"exact": S, "learned": S}, TRIANGULAR))
    cells = picture.axes[0].collections[0]
    k = np.array([path.vertices[:-1].mean(0) for path in cells.get_paths()])
    high = k[np.asarray(cells.get_array()) > 0.99 * float(S.max())]
    assert np.linalg.norm(high[np.linalg.norm(high, axis=1) < 2], axis=1) == pytest.approx(np.full(6, np.pi / 3))
    assert [axes.get_title("left") for axes in picture.axes[:2]] == SOURCES
    boundary = np.array(picture.axes[0].lines[0].get_data()).T
    assert boundary[:-1] == pytest.approx(analysis.zone_boundary(TRIANGULAR))


def test_wave_vectors_beyond_the_first_zone_are_drawn_where_they_lie():
    lattice = honeycomb(6)
    spins = helix(lattice, analysis.reciprocal_vectors(lattice)[0] / 6)
    first = plots.zones(analysis.spin_structure_factor(spins, lattice), lattice).axes[0].collections[0]
    beyond = analysis.spin_structure_factor(spins, lattice, reach=6.0)
    cells = drawn(plots.zones(beyond, lattice, extent=1.6)).axes[0].collections[0]
    assert len(first.get_paths()) == 36 < len(cells.get_paths())


def test_a_zone_of_several_sites_per_cell_is_not_continued():
    lattice = kagome(4)
    S = analysis.structure_factor(np.random.default_rng(0).standard_normal(lattice.n_sites), lattice)
    (cells,) = drawn(plots.zones(S, lattice, decades=None)).axes[0].collections
    assert len(cells.get_paths()) <= lattice.n_cells


# --- errors -----------------------------------------------------------------------------------------------------------


def snapshots() -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(0)
    exact = xr.DataArray(
        rng.standard_normal((10, 2, 7)), dims=("snapshot", "mode", "site"),
        coords={"kind": ("snapshot", ["hot"] * 4 + ["cold"] * 6), "mode": ["F^x", "F^z"]},
        attrs={"long_name": "exact force", "units": "t/a"},
    )  # fmt: skip
    return exact, (exact + 0.1 * rng.standard_normal(exact.shape)).assign_attrs(long_name="learned force", units="t/a")


def test_parity_takes_labels_from_attributes_and_components_from_a_dimension():
    exact, learned = snapshots()
    axes = drawn(plots.parity(exact, learned)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("exact force [t/a]", "learned force [t/a]")
    assert axes.get_title("left").endswith("t/a")
    picture = drawn(plots.parity(exact, learned, by="mode", paper=0.1))
    assert [axes.get_title("left") for axes in picture.axes[:2]] == ["$F^x$", "$F^z$"]


def test_errors_in_groups_are_root_mean_squares_with_errors_over_snapshots():
    exact, learned = snapshots()
    axes = drawn(plots.rms_errors(exact, learned, by="kind")).axes[0]
    squares = ((learned - exact) ** 2).mean(["mode", "site"])
    for bar, kind in zip(axes.patches, ("hot", "cold"), strict=True):
        assert bar.get_height() == pytest.approx(float(np.sqrt(squares[squares.kind == kind].mean())))
    cold = squares[squares.kind == "cold"].values
    (low, high) = axes.containers[-1][2][0].get_segments()[0][:, 1]
    sigma = cold.std(ddof=1) / np.sqrt(6) / (2 * np.sqrt(cold.mean()))
    assert (high - low) / 2 == pytest.approx(sigma)


def test_errors_are_grouped_by_dimensions_too():
    exact, learned = snapshots()
    several = xr.concat([learned, exact], "source").assign_coords(source=SOURCES)
    axes = drawn(plots.rms_errors(exact, several, by=("source", "kind"))).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        f"{s},\n{k}" for s in SOURCES for k in ("hot", "cold")
    ]
    assert axes.patches[2].get_height() == 0.0


def test_histograms_are_by_group():
    exact, _ = snapshots()
    picture = drawn(plots.histograms(exact, by="kind"))
    assert [axes.texts[0].get_text() for axes in picture.axes] == ["hot: 4", "cold: 6"]


# --- bad input --------------------------------------------------------------------------------------------------------

PATH = analysis.symmetry_path(TRIANGULAR)
POINT = xr.DataArray(np.arange(3.0), dims="configuration")
ZONE = analysis.structure_factor(np.arange(16.0), square(4))


@pytest.mark.parametrize(
    ("draw", "cure"),
    [
        (lambda: plots.compare(), "1 to 4 quantities"),
        (lambda: plots.compare({}), "no curves"),
        (lambda: plots.compare(correlations()), "choose with"),
        (lambda: plots.compare(ensemble(), x="r"), "no dimension 'r'"),
        (lambda: plots.compare(ensemble().rename(time="t").expand_dims("k")), "horizontal axis"),
        (lambda: plots.compare(ensemble().drop_vars("time")), "coordinate time"),
        (lambda: plots.compare(ensemble() * np.nan), "finite"),
        (lambda: plots.compare(ensemble(), log="z"), "'xy'"),
        (lambda: plots.compare({"exact": xr.Dataset({"L": ensemble()})}), "'mean' and 'error'"),
        (lambda: plots.growth({}), "no curves"),
        (lambda: plots.profiles(correlations(), times=[]), "choose some"),
        (lambda: plots.profiles(correlations().sel(source="exact"), residuals=True), "two curves"),
        (lambda: plots.profiles({"a": xr.DataArray(np.ones(3), dims="point")}, path=PATH), "a has 3 points"),
        (lambda: plots.collapse(POINT, POINT[:2], POINT[:2]), "for 2 curves"),
        (lambda: plots.collapse(POINT, POINT, POINT.expand_dims("a")), "one number for every curve"),
        (lambda: plots.points(POINT, POINT[:2]), "like y"),
        (lambda: plots.points(POINT * np.nan, POINT), "no points"),
        (lambda: plots.maps(field(chain(5)), chain(5)), "two-dimensional"),
        (lambda: plots.maps(field(square(4), 7), square(4)), "1 to 6 maps"),
        (lambda: plots.maps(field(square(4)), square(5)), "25 sites"),
        (lambda: plots.maps([], square(4)), "1 to 6 maps"),
        (lambda: plots.maps(field(square(4)), square(4), window=5), "between 1 and 4 cells"),
        (lambda: plots.maps(field(square(4)) * np.nan, square(4)), "no finite number"),
        (lambda: plots.maps(field(square(4)).expand_dims(a=2, b=2), square(4)), "choose one"),
        (lambda: plots.zones({}, square(4)), "1 to 4 zones"),
        (lambda: plots.zones(0 * ZONE, square(4)), "vanishes everywhere"),
        (lambda: plots.zones(ZONE.expand_dims("k"), square(4)), "one configuration"),
        (lambda: plots.zones(ZONE * np.nan, square(4)), "NaN"),
        (lambda: plots.parity({}, {}), "no components"),
        (lambda: plots.parity({"a": [1.0]}, {"b": [1.0]}), "same components"),
        (lambda: plots.rms_errors(*snapshots(), by="age"), "no coordinate 'age'"),
        (lambda: plots.histograms({}), "no groups"),
        (lambda: plots.histograms(snapshots()[0]), "by="),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_cure(draw, cure):
    with pytest.raises(ValueError, match=cure):
        draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.compare(np.ones((2, 3))),
        lambda: plots.compare({"exact": np.ones(3)}),
        lambda: plots.profiles(torch.ones(3)),
        lambda: plots.points([1.0], [2.0]),
        lambda: plots.maps(np.ones(16), square(4)),
        lambda: plots.zones(ZONE.values, square(4)),
        lambda: plots.rms_errors([1.0], [2.0], by="kind"),
        lambda: plots.parity([1.0], [1.0], by="mode"),
    ],
)
def test_arrays_without_names_are_refused(draw):
    with pytest.raises(TypeError):
        draw()
