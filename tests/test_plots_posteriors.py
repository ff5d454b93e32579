"""Figures of posteriors: what is drawn is what was given."""

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight import plots
from nearsight.analysis import calibration, expected_coverage

DRAW = np.random.default_rng(1)
COORDS = {"parameter": ["mass", "ratio", "coupling"], "units": ("parameter", ["M_sun", "1", "km"])}
SAMPLES = xr.DataArray(DRAW.normal(size=(500, 3)), dims=("sample", "parameter"), coords=COORDS)
TRUTH = xr.DataArray([0.1, 0.2, 0.3], dims="parameter")


def test_a_corner_shows_every_parameter_and_pair() -> None:
    figure = plots.corner({"flow": SAMPLES, "referee": SAMPLES + 0.5}, TRUTH)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 6
    labels = {axes.get_xlabel() for axes in shown} - {""}
    assert labels == {"mass [M_sun]", "ratio", "coupling [km]"}
    assert "flow, referee" in figure.caption and len(figure.png()) > 10_000


def test_probabilities_show_curves_within_their_strip() -> None:
    rng = torch.Generator().manual_seed(1)
    truth, drawn = DRAW.normal(size=(60, 2)), DRAW.normal(size=(60, 50, 2))
    found = calibration(truth, drawn, rng=rng, names=["mass", "coupling"])
    figure = plots.probabilities(found, expected_coverage(truth, drawn, rng=rng))
    left, right = figure.axes
    assert [line.get_label().split(",")[0] for line in left.lines[:2]] == ["mass", "coupling"]
    x, y = left.lines[0].get_data()
    assert list(x[1:]) == sorted(found.ranks.sel(parameter="mass").values) and y[-1] == 1.0
    assert right.get_xlabel() == "credibility"


@pytest.mark.parametrize("samples", [{}, None, {"flow": np.zeros((5, 2))}, {"flow": SAMPLES[0]}])
def test_what_is_no_sample_is_refused(samples) -> None:
    with pytest.raises((ValueError, TypeError), match="samples"):
        plots.corner(samples)


def test_losses_of_densities_have_a_linear_axis() -> None:
    figure = plots.training_curves({"step": [1, 2], "loss": [-1.0, -2.0], "learning_rate": [1e-3, 1e-4]})
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log"]
