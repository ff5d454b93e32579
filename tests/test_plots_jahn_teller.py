"""The report of the Jahn-Teller study draws what the run folder holds, from observables made up here."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter

from nearsight import analysis, plots
from nearsight.lattices import square
from nearsight.plots import style
from nearsight.plots.maps import Layer

TIME = {"long_name": "time", "units": "τ0"}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quench(n: int, time: np.ndarray, replicas: int, *, doping: float = 0.0, seed: int = 0) -> xr.Dataset:
    """Orbital domains whose size grows as √t until 20 τ0 and freezes, with a little noise and holes on their walls."""
    lattice, rng = square(n), random(seed)
    stagger = analysis.sublattice_sign(lattice)
    white = rng.standard_normal((replicas, n, n))
    field, density = [], []
    for t in time:
        size = 0.5 * np.sqrt(t) * (1 + (t / 20) ** 6) ** (-0.5 / 6)
        smooth = gaussian_filter(white, (0, 1.5 * size + 0.3, 1.5 * size + 0.3), mode="wrap")
        order = 0.41 * np.tanh(3 * smooth / smooth.std())
        field.append(order.reshape(replicas, -1) * stagger + 0.02 * rng.standard_normal((replicas, n * n)))
        holes = np.exp(-((order / 0.2) ** 2)).reshape(replicas, -1)
        density.append(1 - doping * holes / holes.mean(-1, keepdims=True) + 0.03 * rng.standard_normal(holes.shape))
    dims = ("time", "replica", "site")
    coords = {"time": ("time", time, TIME)}
    return xr.Dataset({"Qx": (dims, np.array(field)), "density": (dims, np.array(density))}, coords=coords).transpose(
        "replica", "time", "site"
    )


def measured(data: xr.Dataset, n: int) -> xr.Dataset:
    lattice = square(n)
    phi = analysis.contrast_order(data.Qx, lattice)
    sigma = analysis.ising_sign(phi, lattice)
    S = analysis.structure_factor(data.Qx, lattice)
    shape = analysis.wall_shape(sigma, lattice)
    profile = analysis.wall_profile(data.density, sigma, lattice)
    return xr.Dataset(
        {
            "L": analysis.correlation_length(S, lattice, about=(np.pi, np.pi)),
            "S": analysis.shell_average(S, lattice, about=(np.pi, np.pi)),
            "C": analysis.axial_correlation(data.Qx, lattice),
            "phi": phi,
            "diagonal": shape.diagonal,
            "wall_length": shape.length,
            "charge": profile.deviation,
            "charge_sites": profile.sites,
        }
    )


TIMES = np.concatenate([[0.05], np.geomspace(0.5, 120.0, 20)])


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Few dots: the pictures are looked at through their artists."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40.0)


@pytest.fixture(scope="module")
def data() -> dict[str, xr.Dataset]:
    return {name: quench(32, TIMES, 5, doping=doping) for name, doping in (("f = 0.5", 0.0), ("f = 0.49", 0.02))}


@pytest.fixture(scope="module")
def curves(data) -> dict[str, xr.Dataset]:
    return {name: measured(quenches, 32) for name, quenches in data.items()}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(picture: plots.Picture) -> bytes:
    png = picture.png()
    assert picture.caption.endswith(".") and len(png) > 2_000
    return png


def lines(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_coarsening_shows_laws_beyond_their_windows_and_the_time_of_departure(curves):
    lengths = {name: data.L for name, data in curves.items()}
    laws = {name: analysis.allen_cahn(L, rng=generator(), window=(2, 15), samples=50) for name, L in lengths.items()}
    local = {name: analysis.local_exponent(L, rng=generator(), samples=50) for name, L in lengths.items()}
    falls = {name: analysis.departure(L, rng=generator(), samples=50) for name, L in lengths.items()}
    picture = plots.coarsening(lengths, local, laws=laws, departures=falls, time_unit=r"$\tau_0$")
    drawn(picture)
    left, right = picture.axes
    assert lines(left) == ["f = 0.5 (5 replicas)", "f = 0.49 (5 replicas)"]
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2 and all(line.get_xdata()[-1] == pytest.approx(120.0) for line in dashed)
    marks = [line.get_xdata()[0] for line in right.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([falls[name].time for name in lengths])
    assert all(10 < mark < 40 for mark in marks)


def test_coarsening_without_laws_or_departures_draws_the_lengths_alone(curves):
    lengths = {"f = 0.5": curves["f = 0.5"].L}
    never = analysis.Departure(None, np.inf, np.inf, 0.0, 0.25, 100.0)
    local = {"f = 0.5": analysis.local_exponent(lengths["f = 0.5"], rng=generator(), samples=50)}
    picture = plots.coarsening(lengths, local, laws={"f = 0.5": None}, departures={"f = 0.5": never})
    drawn(picture)
    assert not [line for line in picture.axes[1].lines if line.get_marker() == "o"]


def test_every_time_has_a_panel_of_correlations(curves):
    exact, learned = curves["f = 0.5"].C, curves["f = 0.49"].C
    chosen = list(TIMES[[2, 5, 9, 12, 20]])
    picture = plots.axial_correlations(exact, learned, times=chosen)
    drawn(picture)
    visible = [axes for axes in picture.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in visible] == [f"$t = {t:.3g}$" for t in chosen]
    line = visible[-1].lines[0]
    np.testing.assert_allclose(line.get_ydata(), exact.isel(time=-1).mean("replica"))


def test_peak_profile_has_one_panel_for_each_ensemble_and_one_line_for_each_time(curves):
    S = {name: data.S for name, data in curves.items()}
    picture = plots.peak_profile(S, times=[1.0, 10.0, 100.0])
    drawn(picture)
    assert [axes.get_title("left") for axes in picture.axes] == list(S)
    assert len(lines(picture.axes[0])) == 3


def test_walls_show_direction_and_charge(curves):
    directions = {
        name: analysis.weighted_mean_and_error(data.diagonal, data.wall_length) for name, data in curves.items()
    }
    late = curves["f = 0.49"].isel(time=-1)
    profile = analysis.weighted_mean_and_error(late.charge, late.charge_sites)
    picture = plots.walls(directions, {"f = 0.49": profile})
    drawn(picture)
    left, right = picture.axes
    assert lines(left) == list(curves) and lines(right) == ["f = 0.49"]
    assert left.get_ylim() == (0.0, 1.0)


def test_a_gallery_shows_every_layer_at_every_time_in_its_own_colours(data):
    maps = data["f = 0.49"].isel(replica=0, time=[2, 8, 20])
    lattice = square(32)
    charge = analysis.local_amplitude(analysis.contrast_order(maps.density, lattice), lattice)
    layers = [
        Layer(maps.Qx, "$Q^x$"),
        Layer(maps.density, "density", centre=0.98),
        Layer(charge, "charge", centre=None),
    ]
    picture = plots.gallery(layers, lattice, times=list(maps.time.values), title="f = 0.49")
    drawn(picture)
    images = [axes.collections[0] for axes in picture.axes if axes.collections]
    assert len(images) >= 9
    white = [0.5 * sum(image.get_clim()) for image in images[:6]]
    assert white == pytest.approx([0.0] * 3 + [0.98] * 3)
    assert all(image.get_clim()[0] == 0.0 for image in images[6:9])
    # Cell (2, 0) of the first map stands at x = 2.
    corner = images[0].get_array().reshape(32, 32)[2, 0]
    assert corner == pytest.approx(float(maps.Qx[0, 2 * 32]))


def test_parity_by_mode_states_the_error_of_every_mode():
    exact = {mode: random(k).standard_normal(4000) for k, mode in enumerate(("F^{A_1}", "F^x", "F^z"))}
    learned = {mode: F + 0.01 * (k + 1) for k, (mode, F) in enumerate(exact.items())}
    learned = {mode: F + 1e-3 * random(9).standard_normal(4000) for mode, F in learned.items()}
    picture = plots.parity_by_mode(exact, learned, paper=0.005, source="thesis")
    drawn(picture)
    titles = [axes.get_title("left") for axes in picture.axes]
    assert titles[:3] == ["$F^{A_1}$", "$F^x$", "$F^z$"]
    assert [float(title.removeprefix("RMSE ")) for title in titles[3:6]] == pytest.approx([0.01, 0.02, 0.03], rel=0.01)
    assert "0.005" in picture.caption


@pytest.mark.parametrize(
    ("draw", "cure"),
    [
        (lambda: plots.gallery([], square(4), times=[1.0]), "at least one layer"),
        (lambda: plots.gallery([Layer(np.zeros((2, 16)), "Q")], square(4), times=[1.0]), "must name the 2 fields"),
        (lambda: plots.parity_by_mode({"x": [1.0]}, {"y": [1.0]}), "same components"),
        (lambda: plots.parity_by_mode({"x": [1.0]}, {"x": [1.0, 2.0]}), "needs its learned one"),
        (lambda: plots.walls({}, {}), "no walls"),
        (lambda: plots.axial_correlations(xr.DataArray(), xr.DataArray(), times=[]), "1 to 8 times"),
    ],
)
def test_bad_input_is_refused_with_the_cure(draw, cure):
    with pytest.raises(ValueError, match=cure):
        draw()
