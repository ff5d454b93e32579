"""Pictures of phase separation and of barriers show what they are given, and tables from outside find their place."""

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from nearsight import analysis, plots
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import chain, honeycomb, square
from nearsight.plots import style
from nearsight.storage import CorruptFileError

TIMES = np.array([0.0, 1.0, 2.0, 5.0, 10.0, 20.0])


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Few dots: the pictures are looked at through their artists."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(picture: plots.Picture) -> bytes:
    png = picture.png()
    assert picture.caption.endswith(".") and len(png) > 2_000
    return png


def lines(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def quench(n: int, replicas: int, seed: int = 0) -> xr.DataArray:
    """Particles thrown at random, of which more and more move to the sublattice of a slow field."""
    rng, lattice = np.random.default_rng(seed), square(n)
    colour = analysis.sublattice_sign(lattice)
    waves = rng.standard_normal((replicas, n * n, 1)) * 0.3 + np.sin(2 * np.pi * lattice.positions[:, :1] / n)
    field = rng.random((replicas, n * n)) < 0.25
    frames = [field & ((colour * waves[..., 0] > 0) | (rng.random((replicas, n * n)) < np.exp(-t / 5))) for t in TIMES]
    coords = {"time": ("time", TIMES)}
    return xr.DataArray(np.stack(frames, 1).astype(float), dims=("replica", "time", "site"), coords=coords)


@pytest.fixture(scope="module")
def runs() -> dict[str, xr.DataArray]:
    return {"exact": quench(16, 6), "learned": quench(16, 6, seed=1)}


@pytest.fixture(scope="module")
def summaries(runs) -> dict[str, xr.Dataset]:
    return {name: analysis.phase_separation(n, square(16)) for name, n in runs.items()}


@pytest.fixture
def table(tmp_path):
    """Writes a table and its card."""

    def write(text: str = "t,L,L_error\n1,2.0,0.1\n10,3.0,0.2\n", **card) -> object:
        path = tmp_path / "digitised.csv"
        path.write_text(text, encoding="utf-8")
        entries = {"quantity": "length of super-clusters", "source": "made-up paper, fig. 1"} | card
        path.with_suffix(".yaml").write_text(yaml.safe_dump({k: v for k, v in entries.items() if v is not None}))
        return path

    return write


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [square(12), square(8, 12), honeycomb(6)], ids=repr)
def test_maps_show_particles_by_sublattice_over_pale_sigma(lattice):
    n = (np.random.default_rng(0).random((3, lattice.n_sites)) < 0.2).astype(float)
    sigma = analysis.sublattice_field(n, lattice)
    picture = plots.sublattice_maps(n, sigma.values, lattice, times=[0, 5, 10])
    drawn(picture)
    images = [axes.collections[0] for axes in picture.axes]
    assert len(images) == 6 and all(image.get_clim() == (-1.0, 1.0) for image in images)
    for column in range(3):
        above, below = (np.asarray(image.get_array()).ravel() for image in (images[column], images[3 + column]))
        colour = analysis.sublattice_sign(lattice)
        np.testing.assert_array_equal(above[n[column] == 1], colour[n[column] == 1])
        assert np.abs(above[n[column] == 0]).max() < 0.5
        np.testing.assert_array_equal(np.sign(above[n[column] == 0]), sigma[column][n[column] == 0])
        np.testing.assert_array_equal(below, sigma[column])


def test_a_close_up_shows_a_corner_above_and_everything_below(runs):
    n = runs["exact"].isel(replica=0, time=[1, 5])
    picture = plots.sublattice_maps(n, analysis.sublattice_field(n, square(16)), square(16), times=[1, 20], close_up=8)
    drawn(picture)
    assert picture.axes[0].get_xlim() == (-0.5, 7.5) and picture.axes[2].get_xlim()[1] > 15


# --- growth -----------------------------------------------------------------------------------------------------------


def test_every_quantity_has_a_panel_with_fits_and_published_points(summaries, table):
    published = plots.read_published(table(label="paper"))
    symbols = {r"\langle s \rangle(t)": "mean_size", r"\ell(t)": "l", "L(t)": "R"}
    quantities = {s: {name: data[v] for name, data in summaries.items()} for s, v in symbols.items()}
    fit = analysis.growth_exponent(summaries["exact"].R, rng=generator(), window=(1, 20), samples=50)
    picture = plots.separation_growth(
        quantities, fits={"L(t)": {"exact": fit}}, published={"L(t)": [(published, "L")]}, time_unit="100 steps"
    )
    drawn(picture)
    assert len(picture.axes) == 3 and all(axes.get_xscale() == "log" for axes in picture.axes)
    assert lines(picture.axes[0]) == ["exact (6 replicas)", "learned (6 replicas)"]
    assert "paper" in lines(picture.axes[2]) and len(lines(picture.axes[2])) == 4
    solid = picture.axes[0].lines[0]
    np.testing.assert_allclose(solid.get_ydata(), summaries["exact"].mean_size.mean("replica")[1:])
    dashed = next(line for line in picture.axes[2].lines if line.get_linestyle() == "--")
    assert tuple(dashed.get_xdata()[[0, -1]]) == pytest.approx(fit.window)
    assert "made-up paper, fig. 1" in picture.caption


def test_a_single_replica_is_drawn_without_a_band(summaries):
    one = {"learned": summaries["learned"].L.isel(replica=[0])}
    picture = plots.separation_growth({"L(t)": one})
    drawn(picture)
    assert lines(picture.axes[0]) == ["learned (1 replica, no error bars)"]


def test_a_perfect_collapse_lies_on_one_line():
    """Planted S = L² G(kL): the rescaled curves coincide, the measured ones do not."""
    k, times = np.linspace(0.0, 2.0, 30), np.array([1.0, 4.0, 9.0])
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal((5, 3, 30)))
    size = np.sqrt(times)[:, None]
    S = xr.DataArray(size**2 * (1 + (k * size) ** 2) ** -1.5 * noise, dims=("replica", "time", "k"),
                     coords={"time": times, "k": k})  # fmt: skip
    L = xr.DataArray(np.ones((5, 1)) * size[:, 0], dims=("replica", "time"), coords={"time": times})
    found = analysis.dynamical_scaling(S, L, dimension=2, rng=generator(), samples=20)
    tail = analysis.porod_law(S.isel(time=-1), window=(1.0, 2.0), rng=generator(), samples=50)
    picture = plots.scaling_collapse(S, L, dimension=2, times=list(times), found=found, tail=tail)
    drawn(picture)
    left, right = picture.axes
    curves = [line for line in right.lines if line.get_linestyle() == "-"]
    assert len(curves) == 3 and len(lines(left)) == 3
    for line in curves:
        np.testing.assert_allclose(line.get_ydata(), (1 + line.get_xdata() ** 2) ** -1.5, rtol=0.03)
    guide = next(line for line in right.lines if line.get_linestyle() == "--")
    slope = np.polyfit(np.log(guide.get_xdata()), np.log(guide.get_ydata()), 1)[0]
    assert slope == pytest.approx(-3.0)
    assert "θ = 2" in picture.caption and str(tail) in picture.caption


def test_correlations_show_their_difference_in_standard_errors(runs):
    exact, learned = (analysis.axial_correlation(n, square(16)) for n in runs.values())
    for paired in (False, True):
        picture = plots.pair_correlations(exact, learned, times=[5, 20], paired=paired)
        drawn(picture)
        assert len(picture.axes) == 4
        at_five = [C.sel(time=5)[:, 1:] for C in (exact, learned)]
        p = analysis.compare_curves(*at_five, paired=paired).p_value
        assert f"$p = {p:.2g}$" in picture.axes[0].get_title("left")
        pulls = picture.axes[2].lines[0].get_ydata()
        a, b = (analysis.mean_and_error(C) for C in at_five)
        spread = np.hypot(a["error"], b["error"])
        if paired:
            spread = analysis.mean_and_error(at_five[1] - at_five[0])["error"]
        np.testing.assert_allclose(pulls, (b["mean"] - a["mean"]) / spread)


def test_differences_of_hops_are_drawn_as_points_or_density():
    """Predicted against exact ΔF: the scatter of the thesis is the picture of parity."""
    exact = np.random.default_rng(0).standard_normal(20_000)
    picture = plots.parity(exact, exact + 0.2, quantity=r"\Delta F", unit="t")
    drawn(picture)
    assert picture.axes[0].get_title("left") == "RMSE 0.2 t"


# --- potentials and barriers ------------------------------------------------------------------------------------------


def test_potentials_are_drawn_from_their_minimum_with_particles_black():
    lattice = square(12)
    patch = np.array([[0, 0], [1, 1]])
    arranged = analysis.block_arrangements(lattice, patch, rng=generator(), count=2)
    V = analysis.particle_potential(arranged.n, FalicovKimball(lattice), kT=0.1, mu=-0.5).V
    sigma = analysis.sublattice_field(arranged.n, lattice)
    picture = plots.particle_potentials(V, arranged.n, sigma, lattice, titles=["a", "b"])
    drawn(picture)
    images = [axes.collections[0] for axes in picture.axes if axes.collections][:4]
    below = images[2].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(below).ravel(), arranged.n[0] == 1)
    finite = np.isfinite(V[0])
    np.testing.assert_allclose(below.compressed(), (V[0] - V[0].min())[finite])
    assert [axes.get_title("left") for axes in picture.axes[:2]] == ["a", "b"]
    plain = plots.particle_potentials(V.values, arranged.n.values, sigma.values, lattice)
    np.testing.assert_array_equal(plain.axes[2].collections[0].get_array(), below)


def test_barriers_are_coloured_by_the_magnetisation_of_the_blocks(table):
    rng = np.random.default_rng(0)
    M = np.tile([1, -3, 5, 7, -9, 1], 5)
    phi = M / 9 + 0.02 * rng.standard_normal(30)
    data = {"barrier": 0.4 * np.abs(phi) + 0.01 * rng.random(30), "L": 2 + np.abs(phi), "phi": phi, "M": M}
    arrays = {k: xr.DataArray(v.astype(float), dims="configuration") for k, v in data.items()}
    arrays["L"][4] = np.inf
    law = analysis.linear_law(np.abs(phi), data["barrier"], rng=generator())
    published = plots.read_published(table("phi,barrier\n0.1,0.2\n0.9,0.5\n"))
    picture = plots.barriers(**arrays, fits=(None, law), published=[published])
    drawn(picture)
    left, right = picture.axes
    assert lines(right)[:5] == [f"$|M| = {m}$" for m in (1, 3, 5, 7, 9)]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == 29
    assert f"{law.slope:.3g}" in right.get_title("left") and str(law) in picture.caption


# --- published tables -------------------------------------------------------------------------------------------------


def test_a_table_is_read_with_its_card(table):
    path = table(units={"t": "100 steps", "L": "a"}, scale={"t": 100, "L": 2}, label="paper")
    published = plots.read_published(path)
    t, L, error = published.curve("t", "L")
    assert t.tolist() == [100.0, 1000.0] and L.tolist() == [4.0, 6.0]
    assert error.tolist() == [0.2, 0.4]  # errors scale with their column
    assert published.units == {"t": "100 steps", "L": "a"} and published.label == "paper"
    assert plots.read_published(table("t,l\n1,2\n\n")).curve("t", "l")[2] is None


@pytest.mark.parametrize(
    ("text", "card", "cure"),
    [
        ("t,L\n1,2\n", {"source": None}, "must say 'quantity' and 'source'"),
        ("t,L\n1,2\n", {"colour": "red"}, "a card knows"),
        ("t,L\n", {}, "one or more lines of numbers"),
        ("t,t\n1,2\n", {}, "different names"),
        ("t,L\n1,two\n", {}, "no number"),
        ("t,L\n1,2\n3\n", {}, "needs 2 numbers"),
        ("t,L\n1,nan\n", {}, "NaN or infinite"),
        ("t,L\n1,2\n", {"scale": {"x": 2}}, "must be by column"),
        ("t,L\n1,2\n", {"units": "a"}, "must be by column"),
    ],
)
def test_a_bad_table_is_refused_with_the_cure(table, text, card, cure):
    with pytest.raises(ValueError, match=cure):
        plots.read_published(table(text, **card))


def test_a_table_without_its_card_or_column_is_missed(table, tmp_path):
    with pytest.raises(ValueError, match="no column 'phi', but t, L"):
        plots.read_published(table()).curve("t", "phi")
    with pytest.raises(FileNotFoundError, match="card"):
        (tmp_path / "alone.csv").write_text("t,L\n1,2\n")
        plots.read_published(tmp_path / "alone.csv")
    path = table()
    path.with_suffix(".yaml").write_text("quantity: [")
    with pytest.raises(CorruptFileError, match="YAML"):
        plots.read_published(path)


@pytest.mark.parametrize(
    ("draw", "cure"),
    [
        (lambda: plots.sublattice_maps(np.zeros((2, 16)), np.zeros((2, 16)), square(4), times=[1]), "1 to 6 times"),
        (lambda: plots.sublattice_maps(np.zeros((1, 8)), np.zeros((1, 8)), chain(8), times=[1]), "two-dimensional"),
        (lambda: plots.separation_growth({}), "no quantities"),
        (lambda: plots.separation_growth({key: {} for key in "abcde"}), "at most 4 panels"),
        (lambda: plots.scaling_collapse(xr.DataArray(), xr.DataArray(), dimension=2, times=[]), "1 to 8 times"),
        (lambda: plots.pair_correlations(xr.DataArray(), xr.DataArray(), times=[]), "1 to 5 times"),
        (lambda: plots.particle_potentials(np.zeros((2, 16)), np.zeros((1, 16)), np.zeros((2, 16)), square(4)),
         "same configurations"),
        (lambda: plots.particle_potentials(*(np.zeros((2, 16)) for _ in range(3)), square(4), titles=["a"]),
         "must name the 2"),
        (lambda: plots.barriers(*(xr.DataArray(np.zeros(n)) for n in (3, 3, 3, 2))), "one finite barrier"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_cure(draw, cure):
    with pytest.raises(ValueError, match=cure):
        draw()
