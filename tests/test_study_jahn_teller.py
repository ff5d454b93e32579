"""The Jahn-Teller study end to end on a lattice too small for physics: what must hold on any lattice."""

import numpy as np
import pytest
import torch

from nearsight.dynamics import Trajectory
from nearsight.forcefields import ExactForceField
from nearsight.lattices import square
from nearsight.solvers import Dense
from nearsight.studies import Run, get
from nearsight.studies.jahn_teller import network, physics
from nearsight.studies.jahn_teller.generate import moved
from nearsight.studies.jahn_teller.train import learned
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
    observables = ("snapshots", "curves", "growth", "maps")
    verdicts = 15


# --- the data ---------------------------------------------------------------------------------------------------------


def test_the_data_hold_every_snapshot_at_its_filling_and_once_beside_it(finished):
    data = DataSet.open(finished.path / "data.zarr")
    model = physics.jahn_teller(TINY, TINY.length)
    springs = physics.ClassicalForceField(model)(data.field).force
    n = model.density(data.force - springs).mean(-1).numpy().reshape(-1, 2)
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
    both, force, _ = moved(TINY, 0.3, field, torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64))
    exact = physics.quenched(TINY, 6, 0.3)
    at_mu_zero = force[:, 0] - exact.classical(both[:, 0]).force
    torch.testing.assert_close(at_mu_zero, exact.electrons(field).force, atol=1e-10, rtol=0)
    torch.testing.assert_close(both[2, 0], both[2, 1], atol=0, rtol=0)
    step = 1e-5
    up, down = (moved(TINY, 0.3, field, torch.full((3,), s, dtype=torch.float64))[2][:, 1] for s in (step, -step))
    slope = -(up - down) / (2 * step)
    torch.testing.assert_close(slope, force[:, 0, :, 0].sum(-1), atol=1e-6, rtol=0)


def test_the_twist_makes_a_small_lattice_respond_as_a_large_one(rng):
    """Regression of the density on Q¹ of random fields: periodic lattices of 10 and 12 straddle the twisted one."""

    def response(length: int, periodic: bool) -> float:
        model = physics.jahn_teller(TINY, length, periodic=periodic)
        field = 0.3 * torch.randn(2400 // length**2, length**2, 3, generator=rng, dtype=torch.float64)
        force = ExactForceField(model, Dense(mu=0.0, kT=TINY.electron_kT)).electrons(field).force
        return float((force * field)[..., 0].sum() / field[..., 0].square().sum())

    below, above, small, large = (response(*case) for case in ((10, True), (12, True), (8, False), (12, False)))
    assert below < 0.95 * large and above > 1.04 * large
    assert small == pytest.approx(large, rel=0.02)


# --- the student ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["network.hybrid=true", "network.learns=total", "network.head=energy"])
def test_every_kind_of_student_learns_the_same_electrons(setting, rng, tmp_path):
    """Whatever a network learns, saved and loaded it gives the electrons' force, odd in Q and with the law of D4."""
    config = STUDY.configure("tiny", [setting])
    model = physics.jahn_teller(config, 6)
    parts = network.untrained(config, model.lattice, seed=3)
    network.save(parts, tmp_path)
    there = physics.jahn_teller(config, 8)
    electrons = network.electrons(config, there, tmp_path)
    field = 0.3 * torch.randn(2, 64, 3, generator=rng, dtype=torch.float64).float()
    force = electrons(field).force
    torch.testing.assert_close(electrons(-field).force, -force, atol=1e-6, rtol=0)
    whole = network.joined([part.on(there.lattice) for part in parts])(field).force
    if config.network.learns == "total":
        whole = whole - physics.ClassicalForceField(there)(field).force
    torch.testing.assert_close(force, whole, atol=1e-6, rtol=0)


def test_a_hybrid_leaves_each_mode_to_its_own_network(rng):
    config = STUDY.configure("tiny", ["network.hybrid=true"])
    doublet, breathing = network.untrained(config, square(6), seed=3)
    field = 0.3 * torch.randn(36, 3, generator=rng)
    both, first, second = (
        network.joined(parts)(field).force for parts in ([doublet, breathing], [doublet], [breathing])
    )
    assert torch.equal(both[..., 1:], first[..., 1:]) and torch.equal(both[..., 0], second[..., 0])


def test_one_student_holds_any_filling(finished, rng):
    model = physics.jahn_teller(TINY, 12)
    electrons = learned(finished, TINY, 12)
    field = 0.3 * torch.randn(2, 144, 3, generator=rng)
    for filling in (0.5, 0.49, 0.47):
        force = physics.held(TINY, electrons, filling)(field).force
        n = physics.density(model, field, force)
        np.testing.assert_allclose(n.mean(-1), 2 * filling, atol=2 * physics.NUMBER_TOLERANCE)


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
    np.testing.assert_allclose(data.rmse_all, np.sqrt((error**2).mean((0, 1))), rtol=1e-12)
    np.testing.assert_allclose(data.mse, data.rmse**2, rtol=1e-12)
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
