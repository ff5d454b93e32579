"""The driven bar end to end, too small for physics, and its fronts and thresholds on data that are known."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight.dynamics import Trajectory
from nearsight.studies import Run, get
from nearsight.studies.systems import _driven_holstein_bars as bars
from nearsight.studies.systems import driven_holstein
from nearsight.training import DataSet
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("driven_holstein")

STUDY = get("driven_holstein")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("driven_holstein", tmp_path_factory.mktemp("runs"))


class TestStudy(StudyContract):
    observables = ("fronts", "snapshots", "circulation", "long")
    checks = 15
    lost = ("model", "fit", "drive")


def test_labels_are_the_forces_of_the_electrons_at_the_voltage_of_the_moment(finished):
    """Against the solver, at equilibrium, under the voltage and after it."""
    data = DataSet.open(finished.path / "data.zarr")
    lattice = bars.bar(TINY.length, TINY.width)
    start, stop = TINY.drive.start, TINY.drive.start + TINY.drive.on
    voltage = np.where((data.time >= start - 1e-6) & (data.time < stop - 1e-6), 3.0, 0.0)
    driven = data.trajectory >= TINY.drive.replicas  # after those at 0
    np.testing.assert_allclose(
        data.field[..., 1].numpy(), np.broadcast_to((voltage * driven)[:, None], (len(data), 24))
    )
    for row in np.flatnonzero(driven)[::5]:
        exact = bars.exact(TINY, lattice, float(voltage[row])).electrons(data.field[row, :, :1])
        torch.testing.assert_close(data.force[row, :, :1], exact.force, atol=1e-9, rtol=0)
        assert float(data.force[row, :, 1].abs().max()) == 0.0


def test_the_data_hold_no_unseen_voltage(finished):
    seen = set(np.unique(DataSet.open(finished.path / "data.zarr").field[..., 1].numpy()).tolist())
    assert seen == set(TINY.voltages) and not seen & set(TINY.unseen)


def test_exact_and_learned_pulses_are_observed_at_the_same_times(finished):
    fronts = finished.observable("fronts")
    assert list(fronts.source.values) == ["exact", "learned"] and list(fronts.voltage.values) == TINY.driven
    assert fronts.sizes["replica"] == TINY.drive.replicas and not bool(fronts.xi.isnull().any())
    total = TINY.drive.start + TINY.drive.on + TINY.drive.off
    assert float(fronts.time[0]) == 0 and float(fronts.time[-1]) > total - 4 * TINY.drive.every * TINY.dt
    # Without a voltage nothing flows.
    assert (
        float(np.abs(fronts.current.sel(voltage=0.0)).max())
        < 1e-9
        < 1e-4
        < float(fronts.current.sel(voltage=3.0).max())
    )


def test_densities_and_currents_are_those_of_the_electrons(finished):
    """What is observed of an exact pulse, against the steady state of its last field."""
    data = Trajectory.open(finished.path / "exact" / "exact_3").data
    fronts = finished.observable("fronts").sel(source="exact", voltage=3.0)
    here = fronts.sel(time=1.5, method="nearest")
    when = int(np.abs(data.time.values - float(here.time)).argmin())
    assert data.time.values[when] == float(here.time) > TINY.drive.start
    field = torch.from_numpy(data.field.isel(record=when).values)
    driven = bars.exact(TINY, bars.bar(TINY.length, TINY.width), 3.0)
    state = driven.solver.steady_state(driven.model.matrix(field))
    np.testing.assert_allclose(here.n.transpose("replica", "x", "y").values.reshape(4, -1), state.density, atol=1e-9)
    np.testing.assert_allclose(here.current, -state.currents[:, 0], atol=1e-9)
    assert float(fronts.loss.max()) < 1e-8


def columns(*positions: float, speed: float = 0.5, length: int = 16) -> xr.DataArray:
    """Fronts that move from the gate, one for every replica: order 2 beyond, 0 before, a column in between."""
    time = np.arange(0, 20.0, 0.5)
    x = np.arange(length)
    xi = np.array(positions)[:, None] + speed * np.maximum(time - 2.0, 0)
    order = 2.0 * np.clip(x + 0.5 - xi[..., None] + 0.5, 0, 1)
    dims = ("replica", "time", "x")
    return xr.DataArray(order * (-1.0) ** np.arange(len(positions))[:, None, None], dims=dims, coords={"time": time})


def test_the_front_and_its_velocity_are_found():
    c = TINY.model_copy(update={"drive": bars.Drive(start=2.0, on=17.0, off=1.0)})
    for speed in (0.0, 0.3, 0.7):
        data = columns(0.0, 1.0, speed=speed)
        xi = driven_holstein.front(data, c)
        moved = xi.isel(time=-1) - xi.isel(time=0)
        np.testing.assert_allclose(moved, min(17.5 * speed, 16), atol=0.6)
        v = driven_holstein.velocity(xi, c, 16, 17.0)
        np.testing.assert_allclose(v, speed, atol=0.03)


def test_a_bar_without_order_is_crossed():
    c = TINY.model_copy(update={"drive": bars.Drive(start=2.0, on=17.0, off=1.0)})
    data = columns(0.0)
    gone = data.where(data.time < 10, 0.01)
    assert driven_holstein.front(gone, c).isel(time=-1).values.tolist() == [16.0]


def test_the_threshold_is_where_the_mean_velocity_crosses_and_its_error_that_of_replicas(finished):
    rng = np.random.default_rng(1)
    V = np.array([1.0, 2.0, 2.5, 3.0])
    c = TINY.model_copy(update={"moving": 0.2})
    found = []
    for _ in range(40):
        v = np.clip(V - 2.0, 0, None)[:, None] + 0.05 * rng.standard_normal((4, 8))
        data = xr.DataArray(v, dims=("voltage", "replica"), coords={"voltage": V})
        found.append(driven_holstein.threshold(data, c, finished, "exact"))
    value, error = np.array(found).T
    assert abs(value.mean() - 2.2) < 4 * value.std() / np.sqrt(40)
    assert error.mean() == pytest.approx(value.std(), rel=0.4)


@pytest.mark.parametrize("settings", [["width=5"], ["length=4"], ["drive.replicas=2"], ["voltages=[-1.0]"], ["kT=0"],
                                      ["network.head=both"], ["reservoirs.gate=up"], ["unseen=[]"]])  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=settings[0].split("=")[0].replace("[", "")):
        STUDY.configure("tiny", settings)


def test_the_configuration_is_plain():
    content = STUDY.configure("paper").model_dump(mode="json")
    assert json.loads(json.dumps(content)) == content and (content["length"], content["width"]) == (40, 30)
