"""The driven bar end to end, too small for physics, and its fronts and thresholds on data that are known."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight.dynamics import Trajectory
from nearsight.forcefields import LearnedForceField, SumForceField, save
from nearsight.networks import BarCNN
from nearsight.studies import Run, get
from nearsight.studies.locality import examine
from nearsight.studies.systems import _driven_holstein_bars as bars
from nearsight.studies.systems import _driven_holstein_temperature as heat
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
    observables = ("fronts", "snapshots", "circulation", "temperatures", "long")
    checks = 20
    lost = ("model", "fit", "drive")


def test_labels_are_the_forces_of_the_electrons_at_the_voltage_of_the_moment_and_at_their_temperature(finished):
    """Against the solver, at equilibrium, under the voltage and after it; the last pulse is a hotter one."""
    data = DataSet.open(finished.path / "data.zarr")
    lattice = bars.bar(TINY.length, TINY.width)
    start, stop = TINY.drive.start, TINY.drive.start + TINY.drive.on
    voltage = np.where((data.time >= start - 1e-6) & (data.time < stop - 1e-6), 3.0, 0.0)
    driven = data.trajectory >= TINY.drive.replicas  # after those at 0
    np.testing.assert_allclose(
        data.field[..., 1].numpy(), np.broadcast_to((voltage * driven)[:, None], (len(data), 24))
    )
    kT = np.where(data.trajectory >= 2 * TINY.drive.replicas, 0.2, TINY.kT)
    np.testing.assert_allclose(data.field[..., 2].numpy(), np.broadcast_to(kT[:, None], (len(data), 24)))
    for row in np.flatnonzero(driven)[::5]:
        exact = bars.exact(TINY, lattice, float(voltage[row]), float(kT[row])).electrons(data.field[row, :, :1])
        torch.testing.assert_close(data.force[row, :, :1], exact.force, atol=1e-9, rtol=0)
        assert float(data.force[row, :, 1:].abs().max()) == 0.0


def test_the_data_hold_no_unseen_voltage_and_no_unseen_temperature(finished):
    field = DataSet.open(finished.path / "data.zarr").field.numpy()
    seen, heated = (set(np.unique(field[..., k]).tolist()) for k in (1, 2))
    assert seen == set(TINY.voltages) and not seen & set(TINY.unseen)
    assert heated == {TINY.kT, 0.2} and not heated & set(TINY.temperatures.unseen)


def test_pulses_at_another_temperature_have_its_electrons_and_its_noise(finished):
    """The exact density of the hotter pulse, and how far displacements have moved before the voltage, ∝ √kT."""
    data = Trajectory.open(finished.path / "exact" / "exact_2_kT_0.1").data
    field, force = (torch.from_numpy(data[name].isel(record=-1).values) for name in ("field", "force"))
    hot = bars.exact(TINY, bars.bar(TINY.length, TINY.width), 0.0, 0.1)
    torch.testing.assert_close(force, hot(field).force, atol=1e-9, rtol=0)
    assert float((force - bars.exact(TINY, hot.lattice, 0.0)(field).force).abs().max()) > 1e-4
    # Replicas differ by noise alone, which has not felt the force yet.
    moved = [
        float(Trajectory.open(finished.path / "exact" / name).data.field.isel(record=1).std("replica").mean())
        for name in ("exact_2_kT_0.1", "exact_2")
    ]
    assert moved[0] / moved[1] == pytest.approx(np.sqrt(0.1 / TINY.kT), rel=0.15)


def test_velocities_are_compared_at_the_unseen_temperature_and_that_of_the_study(finished):
    found = finished.observable("temperatures")
    assert found.kT.values.tolist() == [TINY.kT, 0.1] and list(found.source.values) == ["exact", "learned"]
    here, there = found.velocity.sel(kT=TINY.kT), finished.observable("fronts").velocity.sel(voltage=2.0)
    # What is half of the order is asked of other pulses.
    np.testing.assert_allclose(here.transpose("source", "replica"), there.transpose("source", "replica"), rtol=0.05)
    names = [check.name for check in finished.checks]
    assert "velocity at kT = 0.1 t, eV = 2 t" in names and "slope of the velocity with kT at eV = 2 t" in names
    assert "density error at kT = 0.1 t, eV = 2 t, rms" in names


def test_the_slope_with_temperature_is_that_of_the_means_with_the_error_of_replicas():
    rng, kT = np.random.default_rng(2), np.array([0.03, 0.05, 0.1])
    found = []
    for _ in range(100):
        v = 0.2 + 3.0 * kT[:, None] + 0.1 * rng.standard_normal((3, 8))
        found.append(heat.slope(xr.DataArray(v, dims=("kT", "replica"), coords={"kT": kT})))
    value, error = np.array(found).T
    assert abs(value.mean() - 3.0) < 4 * value.std() / 10
    assert np.sqrt((error**2).mean()) == pytest.approx(value.std(), rel=0.25)


def test_the_learned_force_knows_its_temperature(finished):
    lattice = bars.bar(TINY.length, TINY.width)
    field = bars.staggered(lattice)[None, :, None]
    here, cold, hot = (bars.learned(finished.path, TINY, lattice, 3.0, kT)(field).force for kT in (None, TINY.kT, 0.2))
    assert torch.equal(here, cold) and float((hot - cold).abs().max()) > 1e-6
    still = bars.learned(finished.path, TINY, lattice, 0.0, 0.2)
    assert (
        isinstance(still.whole, SumForceField)
        and not still.whole.parts[1](
            torch.cat([field, torch.zeros_like(field), 0.2 * torch.ones_like(field)], -1)
        ).force.any()
    )  # what is no gradient vanishes without a voltage, at every temperature


def test_a_run_at_one_temperature_learns_a_network_that_knows_none(tmp_path):
    """And so do runs of earlier versions, whose networks go on to serve."""
    c = STUDY.configure("tiny", ["temperatures.seen=[]", "temperatures.unseen=[]"])
    assert c.data == [bars.Task("exact", 0.0), bars.Task("exact", 3.0)] and c.compared("exact") == {}
    lattice = bars.bar(c.length, c.width)
    for name in bars.PARTS[c.network.head]:
        save(LearnedForceField(BarCNN(lattice, channels=2)), tmp_path / "model" / name)
    assert bars.learned(tmp_path, c, lattice, 3.0).kT is None
    assert heat.measure_temperatures(Run(tmp_path), c).sizes["kT"] == 0
    assert not heat.judge_temperatures(c, heat.measure_temperatures(Run(tmp_path), c))


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


def test_locality_is_examined_under_an_unseen_voltage(finished):
    """Errors, responses and floors of the electrons at that voltage, in fields that were driven by it."""
    target = STUDY.target(finished, TINY)
    lattice, field = bars.bar(TINY.length, TINY.width), target.data.field
    assert sorted(np.unique(target.data.trajectory)) == [0, 1, 2, 3] and field.shape[1:] == (24, 1)
    start = TINY.drive.start
    assert ((target.data.time > start - 1e-6) & (target.data.time < start + TINY.drive.on - 1e-6)).all()
    exact = bars.exact(TINY, lattice, 2.0).electrons(field[:3]).force
    torch.testing.assert_close(target.force[:3], exact, atol=1e-9, rtol=0)
    found = examine(finished.path, samples=8)
    error = (target.learned(field.float()).force - target.force).square().mean().sqrt()
    assert float(found.data["error"][0]) == pytest.approx(float(error), rel=1e-4)
    assert float(found.data["radius"].max()) == 3.0  # half of the bar, beyond half of its width
    assert "at eV = 2 t" in found.words


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
                                      ["network.head=both"], ["reservoirs.gate=up"], ["unseen=[]"],
                                      ["temperatures.seen=[]"], ["temperatures.unseen=[0.0]"]])  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=settings[0].split("=")[0].replace("[", "")):
        STUDY.configure("tiny", settings)


def test_the_configuration_is_plain():
    content = STUDY.configure("paper").model_dump(mode="json")
    assert json.loads(json.dumps(content)) == content and (content["length"], content["width"]) == (40, 30)
