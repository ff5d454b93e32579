"""The Jahn-Teller study end to end on a lattice too small for physics: what must hold on any lattice."""

import shutil

import numpy as np
import pytest
import torch

from nearsight import forcefields
from nearsight.dynamics import Trajectory
from nearsight.forcefields import ClassicalForceField
from nearsight.lattices import square
from nearsight.studies import Run, get
from nearsight.studies.fits import fits
from nearsight.studies.systems import _jahn_teller_electrons as learning
from nearsight.studies.systems import jahn_teller
from nearsight.studies.systems.jahn_teller import physics
from nearsight.training import DataSet
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("jahn_teller")

STUDY = get("jahn_teller")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("jahn_teller", tmp_path_factory.mktemp("runs"))


# --- the run ----------------------------------------------------------------------------------------------------------


class TestRun(StudyContract):
    observables = ("snapshots", "curves", "growth", "maps", "audit")
    checks = 20


# --- the data ---------------------------------------------------------------------------------------------------------


def test_the_data_hold_every_snapshot_at_its_filling_and_once_beside_it(finished):
    data = DataSet.open(finished.path / "data.zarr")
    n = physics(TINY, data.lattice).density(data.field, data.force).mean(-1).numpy().reshape(-1, 2)
    half = len(n) // 2
    np.testing.assert_allclose(n[:half, 0], 1.0, atol=1e-9)
    np.testing.assert_allclose(n[half:, 0], 0.98, atol=1e-9)
    assert (np.abs(n[:, 1] - n[:, 0]) > 1e-3).mean() > 0.5  # an ordered lattice has a gap, in which n stands still
    copies = data.field.reshape(-1, 2, *data.field.shape[1:])
    difference = copies[:, 1] - copies[:, 0]
    assert float(difference[..., 1:].abs().max()) == 0.0
    assert float((difference[..., 0] - difference[:, :1, 0]).abs().max()) < 1e-12
    assert float(difference.abs().max()) <= TINY.shift


def test_a_trajectory_is_never_on_both_sides_of_a_split(finished):
    data = DataSet.open(finished.path / "data.zarr")
    recipe = TINY.recipe
    assert len(np.unique(data.trajectory)) == 2 * len(recipe.plan())
    assert len(data) == 4 * len(recipe)
    parts = [set(part.trajectory) for part in data.split(seed=1)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_electrons_at_zero_mu_are_those_of_the_shifted_field_at_any_filling(rng):
    field = 0.3 * torch.randn(3, 36, 3, generator=rng, dtype=torch.float64)
    both, force, _ = learning.moved(TINY, 0.3, field, torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64))
    exact = physics(TINY, square(6), 0.3).quenched
    at_mu_zero = force[:, 0] - exact.classical(both[:, 0]).force
    torch.testing.assert_close(at_mu_zero, exact.electrons(field).force, atol=1e-10, rtol=0)
    torch.testing.assert_close(both[2, 0], both[2, 1], atol=0, rtol=0)
    step = 1e-5
    up, down = (
        learning.moved(TINY, 0.3, field, torch.full((3,), s, dtype=torch.float64))[2][:, 1] for s in (step, -step)
    )
    slope = -(up - down) / (2 * step)
    torch.testing.assert_close(slope, force[:, 0, :, 0].sum(-1), atol=1e-6, rtol=0)


def test_the_twist_makes_a_small_lattice_respond_as_a_large_one(rng):
    """Regression of the density on Q¹ of random fields: periodic lattices of 10 and 12 straddle the twisted one."""

    def response(length: int, periodic: bool) -> float:
        exact = physics(TINY, square(length), periodic=periodic).exact
        field = 0.3 * torch.randn(2400 // length**2, length**2, 3, generator=rng, dtype=torch.float64)
        force = exact.electrons(field).force
        return float((force * field)[..., 0].sum() / field[..., 0].square().sum())

    below, above, small, large = (response(*case) for case in ((10, True), (12, True), (8, False), (12, False)))
    assert below < 0.95 * large and above > 1.04 * large
    assert small == pytest.approx(large, rel=0.02)


# --- what is learned --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["network.hybrid=true", "network.learns=total", "network.head=energy"])
def test_every_kind_of_network_learns_the_same_electrons(setting, rng, tmp_path):
    """Whatever a network learns, saved and loaded it gives the electrons' force, odd in Q and with the law of D4."""
    config = STUDY.configure("tiny", [setting])
    parts = learning.networks(config, square(6), rng)
    for part, name in zip(parts, learning.parts(config), strict=True):
        forcefields.save(part, tmp_path / "model" / name)
    there = square(8)
    electrons = learning.load_model(Run(tmp_path), config, there)
    field = 0.3 * torch.randn(2, 64, 3, generator=rng, dtype=torch.float64).float()
    force = electrons(field).force
    torch.testing.assert_close(electrons(-field).force, -force, atol=1e-6, rtol=0)
    forces = [part.on(there)(field).force for part in parts]
    whole = torch.cat([forces[-1][..., :1], forces[0][..., 1:]], dim=-1)
    if config.network.learns == "total":
        whole = whole - ClassicalForceField(physics(config, there).model)(field).force
    torch.testing.assert_close(force, whole, atol=1e-6, rtol=0)


def test_a_hybrid_leaves_each_mode_to_its_own_network(rng):
    config = STUDY.configure("tiny", ["network.hybrid=true"])
    doublet, breathing = learning.networks(config, square(6), rng)
    field = 0.3 * torch.randn(36, 3, generator=rng)
    both = learning.joined(config, square(6), [doublet, breathing])(field).force
    assert torch.equal(both[..., 1:], doublet(field).force[..., 1:])
    assert torch.equal(both[..., 0], breathing(field).force[..., 0])


def test_one_network_serves_any_filling(finished, rng):
    electrons = learning.load_model(finished, TINY, square(12))
    field = 0.3 * torch.randn(2, 144, 3, generator=rng)
    for filling in (0.5, 0.49, 0.47):
        system = physics(TINY, square(12), filling)
        n = system.density(field, system.learned(electrons)(field).force)
        np.testing.assert_allclose(n.mean(-1), 2 * filling, atol=2 * jahn_teller.NUMBER_TOL)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_exact_and_learned_quenches_start_from_the_same_fields(finished):
    fields = {}
    for source in ("exact", "twins"):
        folders = sorted((finished.path / "comparison" / source).iterdir())
        fields[source] = np.concatenate([Trajectory.open(p).data.field.values[0] for p in folders])
    fields["learned"] = Trajectory.open(finished.path / "comparison/learned").data.field.values[0]
    assert np.array_equal(fields["exact"], fields["twins"])
    np.testing.assert_allclose(fields["learned"], fields["exact"], atol=1e-6)


def test_times_are_in_units_of_the_modes_own(finished):
    steps = Trajectory.open(finished.path / "comparison/learned").data.step.values
    time = finished.observable("curves").time.values
    np.testing.assert_allclose(time, steps * TINY.quench.dt, rtol=1e-12)
    assert time[-1] == pytest.approx(TINY.comparison.duration, rel=0.05)


def test_large_quenches_keep_their_filling(finished):
    maps = finished.observable("maps")
    density = maps.density.mean(("x", "y"))
    for filling in TINY.fillings:
        np.testing.assert_allclose(density.sel(filling=filling), 2 * filling, atol=1e-3)


def test_errors_are_those_of_the_forces_that_are_kept(finished):
    data = finished.observable("snapshots")
    error = (data.learned_force - data.exact_force).values
    found = {check.name: check.value for check in finished.checks}
    for k, mode in enumerate(data.mode.values):
        assert found[f"force error of {mode}, rms"] == pytest.approx(np.sqrt((error[..., k] ** 2).mean()), rel=1e-12)
    assert found["force error, mean square"] == pytest.approx(found["force error, rms"] ** 2, rel=1e-12)
    of_kind = {kind: error[(data.kind == kind).values] for kind in data.group.values}
    np.testing.assert_allclose(data.rmse, [np.sqrt((e**2).mean((0, 1))) for e in of_kind.values()], rtol=1e-12)
    assert (data["max"] >= data.rmse).all() and (data["std"] <= data.rmse + 1e-12).all()


def test_the_force_keeps_every_symmetry(finished):
    assert float(finished.observable("snapshots").symmetry_error.max()) < 1e-4


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fillings=[0.5, 0.5]", "different numbers"),
        ("fillings=[1.5]", "a number < 1"),
        ("large.fit=[9, 3]", "first, last"),
        ("comparison.quenches=3", ">= 20"),
        ("network.learns=spins", "one of 'electrons'"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        STUDY.configure("tiny", [setting])


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_holds_every_figure_and_both_fillings(finished):
    shown = {path.stem for path in (finished.path / "figures").glob("*.png")}
    assert shown == {*STUDY.figures, "audit", "training", "domains_0.5", "domains_0.49"} - {"domains"}
    page = (finished.path / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == len(shown)
    for words in ("6 × 6 sites", "12 × 12 sites", STUDY.question, "--preset tiny"):
        assert words in page, words


def test_the_growth_figure_draws_the_recorded_law(finished):
    observed = finished.observable("growth")
    laws = fits(observed)
    axes = STUDY.figures["growth"](finished, TINY).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2
    for line, filling in zip(dashed, TINY.fillings, strict=True):
        np.testing.assert_allclose(line.get_ydata(), laws[f"L {filling:g}"](line.get_xdata()))


def test_domains_that_freeze_are_found_at_every_filling(finished, tmp_path):
    """Lengths that follow the law until 20 τ0 and stay there, with replicas that scatter by a hundredth."""
    time = np.geomspace(0.5, 120.0, 40)
    rng = np.random.default_rng(0)
    L = np.sqrt(np.minimum(time, 20.0)) * (1 + 0.01 * rng.standard_normal((2, 5, 40)))
    growth = finished.observable("growth").isel(time=[-1] * 40, replica=[0, 1, 2, 0, 1]).assign_coords(time=time)
    growth["L"] = (("filling", "replica", "time"), L)
    config = STUDY.configure("quick")
    growth, checks = jahn_teller.analyse(finished, config, growth)
    freezing = [check for check in checks if "local exponent" in check.name]
    assert [check.value is not None and 14 < check.value < 30 for check in freezing] == [True, True]
    assert float(growth.exponent.sel(time=5.0, method="nearest").mean()) == pytest.approx(0.5, abs=0.05)
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    copy.record("growth", growth)
    _, exponents = STUDY.figures["growth"](copy, config).axes
    assert len(exponents.collections) == 2  # a band of one error each
