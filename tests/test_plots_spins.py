"""Pictures of spins show what they are given, looked at through their artists."""

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.collections import PolyCollection
from matplotlib.quiver import Quiver

from nearsight import analysis, plots
from nearsight.fields import helix, perturbed, random_spins, skyrmion_lattice
from nearsight.lattices import honeycomb, kagome, square, triangular
from nearsight.plots import style

LATTICE = triangular(24)
TEXTURE = skyrmion_lattice(LATTICE, magnetisation=0.5)
PATH = analysis.symmetry_path(LATTICE, [("Γ", (0, 0)), ("K", (4 * np.pi / 3, 0)), ("M", (2 * np.pi, 0))])


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Few dots: the pictures are looked at through their artists."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40.0)


def drawn(picture: plots.Picture) -> bytes:
    png = picture.png()
    assert picture.caption.endswith(".") and len(png) > 2_000
    return png


def arrows(axes) -> list[Quiver]:
    return [artist for artist in axes.collections if isinstance(artist, Quiver)]


def test_a_spin_map_shows_the_z_component_and_the_others_as_arrows(rng):
    both = torch.stack([TEXTURE, perturbed(TEXTURE, 0.3, rng)])
    picture = plots.spin_map(both, LATTICE, times=[0, 50])
    drawn(picture)
    left, right = picture.axes[:2]
    assert [axes.get_title("left") for axes in (left, right)] == ["$t = 0$", "$t = 50$"]
    np.testing.assert_allclose(np.ravel(left.collections[0].get_array()), TEXTURE[:, 2])
    assert left.collections[0].get_clim() == (-1, 1)
    (quiver,) = arrows(left)
    length = 0.85
    np.testing.assert_allclose(np.stack([quiver.U, quiver.V], axis=1), length * TEXTURE[:, :2].numpy())


def test_arrows_are_left_out_where_they_would_not_be_seen_and_drawn_in_a_window(rng):
    large = triangular(60)
    spins = random_spins(large, rng)
    assert not arrows(plots.spin_map(spins, large).axes[0])
    (quiver,) = arrows((picture := plots.spin_map(spins, large, window=20)).axes[0])
    assert quiver.N == 400 and "20 × 20 cells of" in picture.caption
    corner = spins.reshape(60, 60, 3)[:20, :20].reshape(-1, 3)
    np.testing.assert_allclose(np.ravel(picture.axes[0].collections[0].get_array()), corner[:, 2])


def test_maps_of_large_lattices_fill_two_rows(rng):
    for side, rows in ((24, 1), (66, 2)):
        lattice = triangular(side)
        picture = plots.spin_map(random_spins(lattice, rng, 3), lattice, times=[0, 5, 10])
        titled = [axes for axes in picture.axes if axes.get_title("left")]
        assert len(titled) == 3 and len({round(axes.get_position().y0, 2) for axes in titled}) == rows
        drawn(picture)


def test_a_lattice_with_several_sites_per_cell_is_drawn_site_by_site(rng):
    lattice = kagome(5)
    spins = random_spins(lattice, rng)
    picture = plots.spin_map(spins, lattice)
    drawn(picture)
    np.testing.assert_allclose(picture.axes[0].collections[0].get_array(), spins[:, 2])
    assert arrows(picture.axes[0])[0].N == 75


def test_the_zone_is_drawn_with_its_boundary_and_the_peaks_where_they_are():
    S = analysis.spin_structure_factor(TEXTURE, LATTICE)
    picture = plots.zone_map({"ordered": S, "again": S}, LATTICE, decades=4)
    drawn(picture)
    axes = picture.axes[0]
    boundary = np.array(axes.lines[0].get_data()).T
    assert boundary[:-1] == pytest.approx(analysis.zone_boundary(LATTICE))
    cells = axes.collections[0]
    k = np.array([path.vertices[:-1].mean(0) for path in cells.get_paths()])
    high = k[np.asarray(cells.get_array()) > 0.99 * float(S.max())]
    inside = high[np.linalg.norm(high, axis=1) < 2]
    assert len(inside) == 6 and np.linalg.norm(inside, axis=1) == pytest.approx(np.full(6, np.pi / 3))


def test_zones_beyond_the_first_are_drawn_as_they_are_where_the_cell_holds_several_sites():
    lattice = honeycomb(6)
    Q = analysis.reciprocal_vectors(lattice)[0] / 6
    spins = helix(lattice, Q)
    S = analysis.spin_structure_factor(spins, lattice, reach=6.0)
    picture = plots.zone_map(S, lattice, extent=1.6)
    drawn(picture)
    first = analysis.spin_structure_factor(spins, lattice)
    cells = plots.zone_map(first, lattice).axes[0].collections[0]
    assert isinstance(cells, PolyCollection) and len(cells.get_paths()) == 36
    assert len(picture.axes[0].collections[0].get_paths()) > 36


def test_a_path_shows_the_mean_over_replicas_with_its_standard_error(rng):
    def ensemble():
        spins = torch.stack([perturbed(TEXTURE, 0.6, rng) for _ in range(6)])
        return analysis.spin_structure_factor_at(spins, LATTICE, PATH)

    exact, learned = ensemble(), ensemble()
    picture = plots.path_profile({"exact": exact, "learned": learned}, PATH)
    drawn(picture)
    (axes,) = picture.axes
    line, points = axes.lines[0], axes.containers[0]
    assert line.get_ydata() == pytest.approx(exact.mean("replica").values)
    assert points[0].get_ydata() == pytest.approx(learned.mean("replica").values)
    bars = np.array([segment[1, 1] - segment[0, 1] for segment in points[2][0].get_segments()]) / 2
    assert bars == pytest.approx(learned.std("replica", ddof=1).values / np.sqrt(6))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Γ", "K", "M"]
    assert "Γ-K-M" in picture.caption


def test_a_path_at_several_times_has_a_panel_for_each(rng):
    spins = torch.stack([random_spins(LATTICE, rng, 3) for _ in range(4)], dim=1)
    S = analysis.spin_structure_factor_at(spins, LATTICE, PATH, dims=("replica", "time"))
    S = S.assign_coords(time=[0.0, 10.0, 100.0, 1000.0])
    picture = plots.path_profile({"exact": S, "learned": S}, PATH)
    drawn(picture)
    titles = [axes.get_title("left") for axes in picture.axes if axes.get_visible()]
    assert titles == ["$t = 0$", "$t = 10$", "$t = 100$", "$t = 1000$"]
    assert picture.axes[2].lines[0].get_ydata() == pytest.approx(S.isel(time=2).mean("replica").values)


def test_a_gallery_shows_every_layer_at_every_time_in_its_own_colours(rng):
    lattice, values = square(8), rng_values(3, 64)
    layers = [plots.Layer(values, "Q"), plots.Layer(values, "n", centre=0.98), plots.Layer(abs(values), "a", None)]
    picture = plots.gallery(layers, lattice, times=[1.0, 2.0, 3.0])
    drawn(picture)
    images = [axes.collections[0] for axes in picture.axes if axes.collections]
    white = [0.5 * sum(image.get_clim()) for image in images[:6]]
    assert white == pytest.approx([0.0] * 3 + [0.98] * 3)
    assert all(image.get_clim()[0] == 0.0 for image in images[6:9])


def rng_values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("lattice", [LATTICE, square(6), kagome(4)], ids=lambda lattice: lattice.name)
def test_a_charge_map_paints_every_plaquette_once_and_states_the_sum(lattice, rng):
    spins = TEXTURE if lattice is LATTICE else random_spins(lattice, rng)
    q = analysis.charge_density(spins, lattice)
    picture = plots.charge_map(q, lattice)
    drawn(picture)
    cells = picture.axes[0].collections[0]
    assert np.asarray(cells.get_array()) == pytest.approx(q.values)
    area = 0.0
    for path in cells.get_paths():
        x, y = path.vertices[:-1].T
        area += 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert area == pytest.approx(abs(np.linalg.det(lattice.vectors)) * lattice.n_cells)
    assert f"{float(q.sum()):.4g} in all" in picture.caption


@pytest.mark.parametrize(
    ("draw", "cure"),
    [
        (lambda: plots.spin_map(TEXTURE, LATTICE, window=30), "between 1 and 24 cells"),
        (lambda: plots.spin_map(TEXTURE, LATTICE, times=[1, 2]), "must name the 1 configurations"),
        (lambda: plots.spin_map(TEXTURE.expand(7, -1, -1), LATTICE), "at most 6 maps"),
        (lambda: plots.zone_map({}, LATTICE), "1 to 4 zones"),
        (lambda: plots.zone_map(analysis.spin_structure_factor(TEXTURE, LATTICE) * 0, LATTICE), "vanishes everywhere"),
        (lambda: plots.zone_map(analysis.spin_structure_factor(TEXTURE[None], LATTICE), LATTICE), "average over repl"),
        (lambda: plots.path_profile({}, PATH), "at least one structure factor"),
        (lambda: plots.path_profile({"a": xr.DataArray(np.ones(3), dims="point")}, PATH), "a has 3 points"),
        (lambda: plots.charge_map(analysis.charge_density(TEXTURE[None], LATTICE), LATTICE), "choose one"),
    ],
)
def test_bad_input_is_refused_with_the_cure(draw, cure):
    with pytest.raises(ValueError, match=cure):
        draw()
