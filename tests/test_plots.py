"""Figures show what they are given, and the report stands on its own."""

import base64
import gc
import io
import subprocess
import sys
import weakref
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

from nearsight import analysis, plots
from nearsight.cli._terminal import check_table
from nearsight.lattices import Lattice, square
from nearsight.studies._pages import sections
from nearsight.studies.checks import Below, Check, Published
from nearsight.studies.html import marked, plain, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
TRIANGULAR = Lattice("triangular", np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]]), np.zeros((1, 2)), (6, 6))
HONEYCOMB = Lattice("honeycomb", TRIANGULAR.vectors * np.sqrt(3), np.array([[0, 0], [1.5, np.sqrt(3) / 2]]), (4, 4))


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def lengths() -> xr.DataArray:
    time = np.geomspace(1, 100, 8)
    values = time**0.5 * (1 + 0.05 * random().standard_normal((6, 8)))
    return xr.DataArray(values, dims=("replica", "time"), coords={"time": time}, attrs={"units": "a"})


def correlations() -> xr.DataArray:
    r = xr.DataArray(np.arange(5.0), dims="r", attrs={"units": "a"})
    values = np.exp(-r.values) + 0.01 * random().standard_normal((6, 3, 5))
    return xr.DataArray(values, dims=("replica", "time", "r"), coords={"time": [1.0, 2.0, 5.0], "r": r})


def field(times: int, sites: int) -> xr.DataArray:
    values = random().standard_normal((times, sites))
    return xr.DataArray(values, dims=("time", "site"), coords={"time": 1.0 + np.arange(times)}, name="phi")


KINDS = xr.DataArray(
    np.repeat([1.0, 2.0], 4)[:, None] * np.ones(9),
    dims=("snapshot", "site"),
    coords={"kind": ("snapshot", ["hot"] * 4 + ["cold"] * 4)},
    attrs={"long_name": "exact force"},
)
FIGURES = {
    "parity": lambda: plots.parity(
        torch.randn(50, 1, generator=generator()), torch.zeros(50, 1), quantity="F", unit="t/a"
    ),
    "parity density": lambda: plots.parity(random().standard_normal(9000), random().standard_normal(9000)),
    "error histogram": lambda: plots.error_histogram(random().standard_normal(900), paper=0.023, unit="t/a"),
    "errors by kind": lambda: plots.rms_errors(KINDS, 0.0 * KINDS, by="kind"),
    "symmetry error": lambda: plots.symmetry_error({"float32": [0.0, 1e-7]}, labels=["E", "C4"], tolerance=1e-5),
    "growth": lambda: plots.growth(
        {"exact": lengths(), "learned": lengths()},
        {"exact": analysis.growth_exponent(lengths(), rng=generator(), samples=50)},
    ),
    "growth of one replica": lambda: plots.growth({"learned": lengths().isel(replica=[0])}),
    "correlations": lambda: plots.profiles({"exact": correlations(), "learned": correlations()}, together=True),
    "training curves": lambda: plots.training_curves(
        {"step": [0, 1], "loss": [1.0, 0.1], "learning_rate": [1e-3, 1e-4]}
    ),
    "map": lambda: plots.maps(field(3, 36), square(6)),
    "triangular map": lambda: plots.maps(field(1, 36), TRIANGULAR),
    "honeycomb map": lambda: plots.maps(field(1, 32).assign_attrs(units="a"), HONEYCOMB),
    "structure factor": lambda: plots.zones(
        analysis.structure_factor(random().standard_normal(36), square(6)), square(6), about=(np.pi, np.pi)
    ),
    "triangular structure factor": lambda: plots.zones(
        analysis.structure_factor(random().standard_normal(36), TRIANGULAR), TRIANGULAR
    ),
    "histograms": lambda: plots.histograms({"random": torch.zeros(3, 4), "quench": torch.ones(1, 4)}),
}


class Page(HTMLParser):
    """Checks nesting; collects text, tags and every address that a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.loads: list[str] = []
        self.tags: Counter[str] = Counter()
        self.feed(html)
        self.close()
        assert self.open == [], f"unclosed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


CHECKS = [
    Check("torque error", 0.1234, 0.0021, "t", published=Published(0.19, "<a thesis>"), criterion=Below(0.15)),
    Check("angle", 14.2, unit="°", criterion=Below(10), note="late <script>"),
    Check("charge", 1.02),
]


def write(path: Path, **changes) -> Path:
    arguments = dict(
        title="A & B", question="Is <b> bold?", checks=CHECKS, figures={},
        config={"seed": np.int64(7), "shape": (4, 4)},
        manifest={"version": "0.1.0", "path": Path("x")}, notes="Short.", command=["nearsight", "run", "a study"],
    )  # fmt: skip
    return write_report(path / "report.html", **(arguments | changes))


# --- figures ----------------------------------------------------------------------------------------------------------


def panels(figure: plots.Picture) -> list[matplotlib.axes.Axes]:
    """The axes that carry data rather than a colour scale."""
    return [axes for axes in figure.axes if axes.has_data() and axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_has_ink_labels_and_a_caption(draw):
    figure = draw()
    image = matplotlib.image.imread(io.BytesIO(figure.png()))
    assert image[..., :3].std() > 0.02
    assert figure.caption.endswith(".")
    assert panels(figure)
    assert any(axes.get_xlabel() for axes in panels(figure)) or any(axes.get_title("left") for axes in panels(figure))


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_leaves_no_trace(draw):
    before = dict(matplotlib.rcParams)
    figure = draw()
    figure.png()
    assert dict(matplotlib.rcParams) == before
    reference = weakref.ref(figure)
    del figure
    gc.collect()
    assert reference() is None


def test_drawing_needs_neither_pyplot_nor_a_display():
    code = (
        "import sys, numpy, nearsight.plots as r; r.parity(numpy.arange(9.0), numpy.arange(9.0)).png(); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_picture_gives_the_same_bytes():
    assert FIGURES["growth"]().png() == FIGURES["growth"]().png()


def test_parity_states_the_error_in_its_units():
    figure = plots.parity(np.zeros(10), np.full(10, 0.5), unit="t/a")
    assert "0.5 t/a" in figure.axes[0].get_title("left")
    assert "[t/a]" in figure.axes[0].get_xlabel()


def test_histogram_shows_the_papers_number_on_both_sides():
    axes = plots.error_histogram(random().standard_normal(900), paper=0.5).axes[0]
    lines = sorted(float(line.get_xdata()[0]) for line in axes.lines if len(set(line.get_xdata())) == 1)
    assert lines == pytest.approx([-0.5, 0.5])


def test_bars_are_root_mean_squares():
    axes = FIGURES["errors by kind"]().axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([1.0, 2.0])


def test_map_puts_every_site_where_it_is():
    """Site (x, y) has index x·width + y and must be drawn at column x, row y."""
    lattice = square(3, 2)
    one = xr.DataArray(np.zeros(6), dims="site")
    one[lattice.index(np.array([2, 1]))] = 1.0
    mesh = plots.maps(one, lattice).axes[0].collections[0]
    corners = mesh.get_coordinates()
    centres = 0.25 * (corners[1:, 1:] + corners[:-1, 1:] + corners[1:, :-1] + corners[:-1, :-1])
    assert centres[mesh.get_array().reshape(centres.shape[:2]) == 1.0].tolist() == [[2.0, 1.0]]


def test_peak_of_the_checkerboard_stands_in_the_middle_of_its_map():
    lattice = square(8)
    S = analysis.structure_factor(0.5 - lattice.cells.sum(1) % 2, lattice)
    axes = plots.zones(S, lattice, about=(np.pi, np.pi)).axes[0]
    mesh = axes.collections[0]
    corners = mesh.get_coordinates()
    centres = 0.25 * (corners[1:, 1:] + corners[:-1, 1:] + corners[1:, :-1] + corners[:-1, :-1])
    peak = np.unravel_index(np.argmax(mesh.get_array()), centres.shape[:2])
    np.testing.assert_allclose(centres[peak], np.pi)
    assert np.mean(axes.get_xlim()) == pytest.approx(np.pi) and np.mean(axes.get_ylim()) == pytest.approx(np.pi)


def test_training_curves_read_the_log_of_a_fit(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("step,learning_rate,loss,energy_loss,best_rmse\n0,1e-3,1.0,,0.5\n10,5e-4,0.1,,0.2\n")
    figure = plots.training_curves(log)
    drawn = {line.get_label() for axes in figure.axes for line in axes.lines}
    assert drawn == {"loss", "best rmse", "learning rate"}


PAGE = """Head.

**Question.** Why?

**System.** Spins <S> with ``J``,
and **more**:

    H = -J Σ
      S·S

- one
  line
- two
"""


def test_docstrings_of_studies_become_pages():
    assert sections(PAGE) == {
        "Question": "<p>Why?</p>",
        "System": "<p>Spins &lt;S&gt; with <code>J</code>, and <b>more</b>:</p>\n<pre>H = -J Σ\n  S·S</pre>\n"
        "<ul><li>one line</li><li>two</li></ul>",
    }


def test_a_report_states_system_parameters_and_sources(tmp_path):
    rows = [("model.g", "1.5", "coupling <g>")]
    more = {"parameters": rows, "settings": [*rows, ("seed", "1", "")], "sources": ["A & B"]}
    content = write(tmp_path, system="<pre>H = -t</pre>", **more).read_text()
    assert "<h2>System</h2>\n<pre>H = -t</pre>" in content
    assert "coupling &lt;g&gt;" in content and "A &amp; B" in content
    places = [content.index(part) for part in ("model.g", "<h2>Verdict</h2>", "<details>", "<td>seed</td>")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("draw", "cure"),
    [
        (lambda: plots.parity([1.0], [1.0, 2.0]), "needs its learned one"),
        (lambda: plots.parity([], []), "finite numbers"),
        (lambda: plots.parity([np.nan], [1.0]), "finite numbers"),
        (lambda: plots.error_histogram([1.0, 1.0]), "no distribution"),
        (lambda: plots.symmetry_error({"a": [1.0]}, labels=["E", "C2"]), "each of the 2 operations"),
        (lambda: plots.growth({}), "no curves"),
        (lambda: plots.training_curves({"loss": [1.0]}), "'step'"),
    ],
)
def test_bad_input_is_refused_with_the_cure(draw, cure):
    with pytest.raises(ValueError, match=cure):
        draw()


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"log\.csv"):
        plots.training_curves(tmp_path / "log.csv")


# --- the report -------------------------------------------------------------------------------------------------------


def test_report_is_well_formed_and_loads_nothing(tmp_path):
    page = Page(write(tmp_path, figures={n: FIGURES[n]() for n in ("parity", "growth")}).read_text())
    assert page.tags["img"] == 2 and page.tags["script"] == page.tags["link"] == 0
    assert len(page.loads) == 2 and all(address.startswith("data:image/png;base64,") for address in page.loads)
    assert "url(" not in (tmp_path / "report.html").read_text()


def test_pictures_in_the_report_are_the_files_beside_it(tmp_path):
    page = Page(write(tmp_path, figures={"parity": FIGURES["parity"]()}).read_text())
    png = (tmp_path / "figures" / "parity.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert base64.b64decode(page.loads[0].partition(",")[2]) == png


def test_report_contains_every_check_and_section(tmp_path):
    text = " ".join(Page(write(tmp_path).read_text()).text)
    for check in CHECKS:
        for cell in (*check.cells().values(), check.remark):
            assert cell in text
    assert "0.1234 ± 0.0021 t" in text and "published: <a thesis>" in text
    assert [text.count(f"1 {word}") for word in ("pass", "fail", "not judged")] == [1, 1, 1]
    assert all(word in text for word in ("pass", "FAIL", "not judged"))
    for section in ("Question", "Verdict", "Figures", "Configuration", "Provenance", "How to reproduce"):
        assert section in text
    assert "seed: 7" in text and "version: 0.1.0" in text and "nearsight run 'a study'" in text


def test_text_is_escaped(tmp_path):
    html = write(tmp_path, notes=["<img src=x onerror=alert(1)>"], command="a < b").read_text()
    assert "<script>" not in html and "&lt;script&gt;" in html and "<img src=x" not in html and "a &lt; b" in html
    assert Page(html).tags["b"] == 0


def test_an_empty_report_is_still_a_report(tmp_path):
    text = " ".join(Page(write(tmp_path, checks=[], notes=(), command=None).read_text()).text)
    assert "Nothing has been judged yet." in text and "No figures." in text


def test_captions_lose_their_tex():
    assert plain(r"Maps of $\varphi$ on $8 \times 8$ cells, $L^{2}$.") == "Maps of φ on 8 × 8 cells, L^2."
    formula = r"a < b: $H_\perp \pm \Omega/N$, $\max x_{12}^2$"
    assert plain(formula) == "a < b: H_⊥ ± Ω/N, max x_12^2"
    assert marked(formula) == (
        "a &lt; b: <i>H</i><sub>⊥</sub> ± <i>Ω</i>/<i>N</i>, max <i>x</i><sub>12</sub><sup>2</sup>"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "cure"),
    [
        ({"figures": {"../x": plots.picture()}}, ValueError, "letters, digits"),
        ({"figures": {"x": matplotlib.figure.Figure()}}, TypeError, "Picture"),
    ],
)
def test_bad_figures_are_refused_before_anything_is_written(tmp_path, arguments, error, cure):
    with pytest.raises(error, match=cure):
        write(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_an_html_file(tmp_path):
    with pytest.raises(ValueError, match=r"report\.html"):
        write_report(tmp_path / "x.pdf", title="", question="", figures={}, config={}, manifest={})


def test_terminal_table_shows_checks_as_they_are():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(check_table([*CHECKS, Check("k [1/a]", 1.0)]))
    text = console.export_text()
    for expected in ("k [1/a]", "0.1234 ±", "14.2 °", "pass", "FAIL", "not judged", "late <script>"):
        assert expected in " ".join(text.split())
