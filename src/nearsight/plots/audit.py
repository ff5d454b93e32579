"""The error of forces in the course of a run."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight._validation import instance
from nearsight.plots._axes import colours, light_grid, plain_log_ticks, with_unit
from nearsight.plots.style import Picture, picture, styled


@styled
def audit(found: xr.Dataset) -> Picture:
    """The rms error of forces with its 95 % interval over time, and the referee's own error.

    found: ``trajectory.audit`` of a run, or the audits of several along a further dimension "quench".
    """
    instance(found, xr.Dataset, "found", "Pass trajectory.audit, of a run with audit=ns.Audit(...).")
    if missing := {"rms", "rms_low", "rms_high", "referee_error", "scale"} - set(found):
        raise ValueError(f"An audit has {', '.join(sorted(missing))}: pass trajectory.audit.")
    several = found if "quench" in found.dims else found.expand_dims(quench=[""])
    figure = picture(3.4, 2.6)
    axes = figure.add_subplot()
    names = [str(name) for name in several.quench.values]
    for name, colour in zip(names, colours(dict.fromkeys(names)), strict=True):
        one = several.sel(quench=name)
        kept = np.isfinite(one.rms.values) & (one.time.values > 0)
        t, rms = one.time.values[kept], one.rms.values[kept]
        low, high = (np.abs(one[k].values[kept] - rms) for k in ("rms_low", "rms_high"))
        axes.errorbar(t, rms, (low, high), fmt="o-", color=colour, markersize=3, capsize=2, label=name or "learned")
        referee = np.maximum(one.referee_error.values[kept], np.finfo(float).tiny)
        axes.plot(t, np.where(referee > 1e-12, referee, np.nan), "--", color=colour, linewidth=0.8)
    axes.set(xscale="log", yscale="log", ylabel="rms error of the force")
    axes.set_xlabel(with_unit("time $t$", str(found.attrs.get("unit", ""))))
    light_grid(axes)
    plain_log_ticks(axes)
    if len(names) > 1:
        axes.legend()
    relative = 100 * np.nanmedian(several.rms / several.scale)
    unsure = int((several.converged == 0).sum())
    figure.caption = (
        f"Error of the forces in the run itself, against exact electrons on {several.sizes['sample']} random sites at "
        f"every time, with 95 % intervals; the median is {relative:.2g} % of the rms exact force. Dashed: the error of "
        "the exact forces themselves, which are those of patches around the sites, or of the whole lattice."
    )
    if unsure:
        figure.caption += (
            f" {unsure} of the audits did not converge within their budget: there the error of the patches is no "
            "small part of what is shown."
        )
    return figure
