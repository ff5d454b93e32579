"""Posteriors of several parameters, and whether they are as wide as they should be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy import ndimage

from nearsight._validation import instance
from nearsight.plots._axes import with_unit
from nearsight.plots.style import CYCLE, EXACT, PAGE, Picture, picture, styled

BINS = 48


@styled
def corner(samples: Mapping[str, xr.DataArray], truth: xr.DataArray | None = None) -> Picture:
    """Marginal densities of one and of two parameters, the latter by the contours that hold 50 and 90 %.

    Parameters
    ----------
    samples: of equal weight ``("sample", "parameter")`` by what they come from, in order; a coordinate ``units`` along
        "parameter" adds units to labels.
    truth: ``("parameter",)``, marked by lines.
    """
    instance(samples, Mapping, "samples", "Give arrays of samples by what they come from.")
    if not samples:
        raise ValueError("samples must hold one array at least, with dimensions ('sample', 'parameter').")
    for name, data in samples.items():
        instance(data, xr.DataArray, f"samples[{name!r}]")
        if set(data.dims) != {"sample", "parameter"} or not data.sizes["sample"] > 1:
            raise ValueError(f"samples[{name!r}] must have dimensions ('sample', 'parameter'), got {data.dims}.")
    first = next(iter(samples.values()))
    names = [str(name) for name in first.parameter.values]
    units = dict(zip(names, map(str, first.units.values), strict=True)) if "units" in first.coords else {}
    d = len(names)
    figure = picture(min(PAGE, 1.3 + 1.35 * d), min(PAGE, 1.0 + 1.35 * d))
    panels = figure.subplots(d, d, squeeze=False)
    pooled = np.concatenate([data.transpose("sample", "parameter").values for data in samples.values()])
    low, high = np.quantile(pooled, [0.0005, 0.9995], axis=0)
    edges = [np.linspace(a, b, BINS + 1) for a, b in zip(low, high, strict=True)]
    for row in range(d):
        for column in range(d):
            axes = panels[row, column]
            if column > row:
                axes.set_visible(False)
                continue
            for k, data in enumerate(samples.values()):
                x = data.transpose("sample", "parameter").values
                _draw(axes, x[:, column], x[:, row], edges[column], edges[row], CYCLE[k % len(CYCLE)], row == column)
            if truth is not None:
                axes.axvline(float(truth[column]), color=EXACT, linewidth=0.7, linestyle=":")
                if row != column:
                    axes.axhline(float(truth[row]), color=EXACT, linewidth=0.7, linestyle=":")
            if row == d - 1:
                axes.set_xlabel(with_unit(names[column], units.get(names[column], "1")))
            if column == 0 and row > 0:
                axes.set_ylabel(with_unit(names[row], units.get(names[row], "1")))
            axes.locator_params(nbins=3)
            axes.ticklabel_format(useOffset=False)
            axes.tick_params(labelbottom=row == d - 1, labelleft=column == 0 and row > 0)
    for k, name in enumerate(samples):
        panels[0, 0].plot([], [], color=CYCLE[k % len(CYCLE)], label=name)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper right")
    figure.caption = f"Posterior densities from {', '.join(samples)}; contours hold 50 and 90 %."
    return figure


def _draw(axes: Axes, x: np.ndarray, y: np.ndarray, ex: np.ndarray, ey: np.ndarray, color: str, one: bool) -> None:
    if one:
        axes.hist(x, ex.tolist(), density=True, histtype="step", color=color)
        axes.set_yticks([])
        axes.set_xlim(ex[0], ex[-1])
        return
    density = ndimage.gaussian_filter(np.histogram2d(x, y, [ex, ey])[0], 1.5)
    order = np.sort(density.ravel())[::-1]
    mass = np.cumsum(order) / max(order.sum(), 1e-300)
    places = [min(int(np.searchsorted(mass, part)), len(order) - 1) for part in (0.9, 0.5)]
    levels = sorted({float(order[place]) for place in places})
    middle_x, middle_y = ((e[1:] + e[:-1]) / 2 for e in (ex, ey))
    if levels[0] > 0:
        axes.contour(middle_x, middle_y, density.T, levels=levels, colors=color, linewidths=(0.8, 1.2))
    axes.set_xlim(ex[0], ex[-1])
    axes.set_ylim(ey[0], ey[-1])


@styled
def probabilities(calibrated: xr.Dataset, coverage: xr.Dataset) -> Picture:
    """P-P curves of all parameters from ``calibration``, and the coverage from ``expected_coverage`` beside them.

    Strips hold a whole curve in 95 % of all cases if the posteriors are right.
    """
    rank = instance(calibrated, xr.Dataset, "calibrated").ranks
    band = float(instance(coverage, xr.Dataset, "coverage").attrs["band"])
    figure = picture(PAGE, 3.2)
    left, right = figure.subplots(1, 2)
    level = np.linspace(0, 1, rank.sizes["trial"] + 1)
    for k, name in enumerate(rank.parameter.values):
        p = float(calibrated.p_value.sel(parameter=name))
        x = np.concatenate([[0.0], np.sort(rank.sel(parameter=name).values)])
        left.step(x, level, where="post", color=CYCLE[k % len(CYCLE)], label=f"{name}, p = {p:.2g}", linewidth=1.0)
    left.set_xlabel("fraction of samples below the truth")
    left.set_ylabel("fraction of injections")
    left.legend(loc="upper left")
    right.plot(coverage.credibility, coverage.coverage, color=CYCLE[1], label=f"p = {float(coverage.p_value):.2g}")
    right.set_xlabel("credibility")
    right.set_ylabel("coverage about random points")
    right.legend(loc="upper left")
    for axes in (left, right):
        x = np.array([0.0, 1.0])
        axes.plot(x, x, color=EXACT, linewidth=0.7, linestyle=":")
        axes.fill_between(x, x - band, x + band, color="#dddddd", linewidth=0, zorder=0)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    figure.caption = (
        f"Ranks of the truth in {rank.sizes['trial']} injections from the prior, parameter by parameter, and the "
        "coverage of regions of all parameters at once; grey: where 95 % of whole curves lie."
    )
    return figure
