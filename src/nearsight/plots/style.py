"""One look for every figure: sizes of a journal column, colours that survive colour blindness and grey print."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from nearsight._validation import number
from nearsight.plots._legends import clear_legends

EXACT = "#1f1f1f"
LEARNED = "#d55e00"
PAPER = "#0072b2"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1f1f1f")
"""The palette of Okabe and Ito (2008), ordered by contrast on white; yellow is left out."""

DIVERGING = LinearSegmentedColormap.from_list("domains", ["#08306b", "#2b7bba", "#f5f4f0", "#e07b39", "#7f2704"], N=255)
"""Blue to orange through paper white: signs stay apart for every common colour blindness."""
SEQUENTIAL = "cividis"

COLUMN, PAGE = 3.4, 7.0
"""Widths of one column and of the page, in inches."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 8.0,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "errorbar.capsize": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.6,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "savefig.dpi": 220.0,
    "pdf.fonttype": 42,
    "image.interpolation": "nearest",
    "image.origin": "lower",
}

Parameters = ParamSpec("Parameters")


class Picture(Figure):
    """A figure with a caption. It belongs to no global list of open figures and is freed like any other object.

    Examples
    --------
    >>> import nearsight as ns
    >>> picture = ns.plots.picture(width=3.3, height=2.0)
    >>> lines = picture.add_subplot().plot([0, 1, 2], [0.0, 1.0, 4.0])
    >>> picture.caption = "Growth"
    >>> picture.png()[1:4]
    b'PNG'
    """

    caption: str = ""

    def png(self) -> bytes:
        """The figure as a PNG image at 220 dots per inch."""
        return self.rendered("png")[0]

    def pdf(self) -> bytes:
        """The figure as PDF, for a paper: lines and letters as vectors, maps of many cells as images in it."""
        return self.rendered("pdf")[0]

    def rendered(self, *kinds: str) -> tuple[bytes, ...]:
        """The figure in several formats, "png" or "pdf", laid out once for all of them."""
        found, dpi, engine = [], self.get_dpi(), self.get_layout_engine()
        with matplotlib.rc_context(STYLE):
            self.set_dpi(STYLE["savefig.dpi"])
            self.draw_without_rendering()  # the layout needs the labels of a first pass, or cuts them off
            clear_legends(self)
            self.draw_without_rendering()
            # The canvas is asked itself: savefig would draw, and lay out, twice more for every format.
            self.set_layout_engine("none")
            try:
                for kind in kinds:
                    self.set_dpi(STYLE["savefig.dpi"])
                    buffer = io.BytesIO()
                    if kind == "png":
                        FigureCanvasAgg(self).print_png(buffer, metadata={"Software": None})
                    else:  # without a date or a version the same picture gives the same bytes
                        nameless = dict.fromkeys(("CreationDate", "Creator", "Producer"))
                        FigureCanvasPdf(self).print_pdf(buffer, metadata=nameless)
                    found.append(buffer.getvalue())
            finally:
                self.set_layout_engine(engine)
                self.set_dpi(dpi)
                FigureCanvasAgg(self)
        return tuple(found)


def picture(width: float = COLUMN, height: float = 2.6) -> Picture:
    """An empty picture of the given size in inches, drawn without a display."""
    width, height = number(width, "width", above=0), number(height, "height", above=0)
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def styled(draw: Callable[Parameters, Picture]) -> Callable[Parameters, Picture]:
    """Run a figure function with the style above; the caller's own matplotlib settings are left as they were."""

    @functools.wraps(draw)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Picture:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper
