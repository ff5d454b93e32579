"""Figures: labelled arrays in, a :class:`Picture` out.

Names, units and scales are attributes of the arrays and of their coordinates: ``long_name``, ``units``, ``symbol`` (in
mathematical type, such as ``"C(r)"``), ``scale = "log"``; of maps also ``centre`` and ``limit``. Dimensions have the
names that runs give them: "source" (exact, learned), "replica", "time", "site". What is drawn through the data, a
recorded ``PowerLaw`` or ``LinearLaw``, is passed in; no figure fits anything.

==================================================  ===============================================================
compare(curves["L"], curves["s"], log="x")          mean and error of observables over time, exact beside learned
growth(curves["L"], law)                            the same on logarithmic axes, with recorded laws
profiles(curves["C"], times=..., path=...)          C(r) or S(k) at several times, lines and points
collapse(S, L, L**-2)                               curves of several times or sizes, as measured and rescaled
points(L, barrier, fit=line)                        one number against another
maps([phi, density], lattice, times=...)            scalar fields, spins, quantities of plaquettes in the plane
animate([phi, density], lattice, "walls.mp4")       the same fields in motion
zones(S, lattice, about=(pi, pi))                   intensities over the Brillouin zone
parity(exact, learned, by="mode")                   learned against exact values, by component with distributions
error_histogram(error), histograms(values, by=...)  distributions
rms_errors(exact, learned, by="kind")               errors in groups
audit(trajectory.audit)                             error of the forces of a run over time
corner({"flow": samples}), probabilities(...)       posteriors of several parameters, and their calibration
define_symbols(figure, {"M": "magnetisation"})      letters of a figure that nothing explains, into its caption
==================================================  ===============================================================

A figure of a study is one line: ``plots.growth(run.observable("growth").L, law)``.
"""

from nearsight.plots.audit import audit
from nearsight.plots.bands import collapse, compare, growth
from nearsight.plots.errors import (
    error_histogram,
    histograms,
    parity,
    rms_errors,
    symmetry_error,
)
from nearsight.plots.locality import locality
from nearsight.plots.maps import maps
from nearsight.plots.movie import animate
from nearsight.plots.points import points
from nearsight.plots.posteriors import corner, probabilities
from nearsight.plots.profiles import profiles
from nearsight.plots.published import Published, read_published
from nearsight.plots.style import Picture, picture, styled
from nearsight.plots.symbols import define_symbols
from nearsight.plots.training import training_curves
from nearsight.plots.zones import zones

__all__ = [
    "Picture",
    "Published",
    "animate",
    "audit",
    "collapse",
    "compare",
    "corner",
    "define_symbols",
    "error_histogram",
    "growth",
    "histograms",
    "locality",
    "maps",
    "parity",
    "picture",
    "points",
    "probabilities",
    "profiles",
    "read_published",
    "rms_errors",
    "styled",
    "symmetry_error",
    "training_curves",
    "zones",
]
