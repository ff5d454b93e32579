"""The study of blocks end to end on a lattice too small for physics, and its measures against made-up accuracies."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from nearsight.analysis import resampled_means
from nearsight.cli.app import app
from nearsight.fields import SpinStore
from nearsight.sampling import ExactBlocks, Snapshots
from nearsight.storage import CorruptFileError
from nearsight.studies import Run, get
from nearsight.studies.fits import with_fits
from nearsight.studies.systems import _ising_blocks_accuracy as accuracies
from nearsight.studies.systems.ising_blocks import fit_options, seconds, tasks
from study_runs import assert_checks_are_numbers

pytestmark = pytest.mark.xdist_group("ising_blocks")

STUDY = get("ising_blocks")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    """The tiny preset through the command line, from nothing to the report."""
    runs = tmp_path_factory.mktemp("runs")
    result = CliRunner().invoke(app, ["run", "ising_blocks", "--preset", "tiny", "--runs", str(runs), "--debug"])
    assert result.exit_code == 0, result.output
    return Run(runs / "ising_blocks" / "tiny")


# --- the run ----------------------------------------------------------------------------------------------------------


def test_every_stage_leaves_what_it_promises(finished):
    for stage in STUDY.stages:
        assert finished.complete(stage.name)
    assert (finished.path / "report.html").stat().st_size > 1e5
    assert {task.name for task in tasks(TINY)} == {p.name for p in (finished.path / "models").iterdir()}


def test_blocks_are_cut_from_the_snapshots_that_were_sampled(finished):
    stored = Snapshots.open(finished.path / "testing.zarr")
    store = SpinStore.open(finished.path / "testing.npy", TINY.length)
    s = store.spins(np.arange(len(store))).astype(int)
    energy = -(s * np.roll(s, 1, 1) + s * np.roll(s, 1, 2)).sum((1, 2))
    np.testing.assert_array_equal(energy, stored.energy)
    np.testing.assert_allclose(s.mean((1, 2)), stored.magnetisation[:, 0])


def test_observables_are_of_the_test_snapshots(finished):
    energy, accuracy = finished.observable("energy"), finished.observable("accuracy")
    kT = TINY.testing.temperatures.ladder
    np.testing.assert_array_equal(energy.temperature, kT)
    assert accuracy.block.shape == (3, 3, len(kT), TINY.testing.snapshots)
    assert ((accuracy.block >= 0) & (accuracy.block <= 1)).all()
    assert set(np.unique(accuracy.whole)) <= {0.0, 1.0}
    # Far from the transition even a model that was hardly trained is right.
    assert float(accuracy.block.isel(temperature=[0, -1], side=-1).mean()) > 0.8
    assert np.abs(energy.sampled.mean("snapshot") - energy.exact).max() < 0.3


def test_the_exact_bound_is_measured_on_the_blocks_that_the_models_judge(finished):
    found, accuracy = finished.observable("bound"), finished.observable("accuracy")
    assert list(found.features.values) == ["exact", *TINY.compared]
    assert list(found.side.values) == [4, 8]
    # Nine blocks of a snapshot are all there are, so that both stages judged the same.
    for features in TINY.compared:
        np.testing.assert_allclose(
            found.block.sel(features=features),
            accuracy.block.sel(features=features, side=found.side, temperature=found.temperature),
        )


def test_exact_odds_are_a_ratio_of_two_distributions():
    kT = accuracies.TC + np.array([-0.3, -0.1, 0.05, 0.2])
    blocks = 2 * ((np.arange(512)[:, None] >> np.arange(9)) & 1).reshape(-1, 3, 3) - 1
    odds = accuracies.log_odds(blocks, kT)
    below = np.exp(ExactBlocks(3).log_probability(blocks, kT[:2])).mean(1)
    assert (below * np.exp(odds)).sum() == pytest.approx(1, abs=1e-9)
    assert odds[-1] == odds.min() < 0  # all spins up
    alternating = 2 * (np.indices((3, 3)).sum(0) % 2) - 1
    assert accuracies.log_odds(alternating[None], kT)[0] > 0


def test_checks_judge_the_exponents_and_the_comparison(finished):
    assert_checks_are_numbers(finished, more_than=40)
    judged = [check.name for check in finished.checks if check.criterion]
    for word in (
        "exact torus",
        "ΔT(85 %) of single blocks, network ~ l^-a",
        "network minus irreps",
        "exact bound minus network",
        "symmetry",
        "collapse, 1/ν",
    ):
        assert any(word in name for name in judged), word
    assert all(check.passed for check in finished.checks if "symmetry" in check.name)


@pytest.mark.slow
def test_a_run_that_lost_its_models_trains_the_same_again(finished):
    before = finished.hash("models")
    shutil.rmtree(finished.path / "models")
    shutil.rmtree(finished.path / "fit")
    STUDY.run(finished.path, TINY, resume=True)
    assert finished.hash("models") == before


def test_damaged_snapshots_stop_the_run(finished):
    path = finished.path / "training.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(CorruptFileError, match=r"training\.npy"):
            STUDY.run(finished.path, TINY, resume=True)
    finally:
        path.write_bytes(content)


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", STUDY.presets)
def test_temperatures_near_the_transition_favour_no_phase(preset):
    config = STUDY.configure(preset)
    for part in (config.training, config.testing):
        kT = part.temperatures.ladder
        assert (np.diff(kT) > 0).all()
        assert not np.isin(0.5, accuracies.phase(kT))
        distance = np.abs(kT - accuracies.TC)
        dense = np.geomspace(part.temperatures.nearest, part.temperatures.farthest, part.temperatures.near)
        for sign in (-1, 1):
            assert np.abs(kT[:, None] - (accuracies.TC + sign * dense)).min(0).max() < 1e-6
        assert distance.min() > 1e-3
    shared = np.intersect1d(*(p.temperatures.ladder for p in (config.training, config.testing)))
    assert len(shared) <= 4


def test_a_step_sees_as_many_spins_of_a_snapshot_as_was_asked():
    config = STUDY.configure("quick")
    blocks = {t.side: fit_options(config, t).blocks for t in tasks(config) if t.target == "phase"}
    assert blocks[32] == 4
    assert blocks[4] == config.max_blocks
    order = [seconds(config, task) for task in tasks(config)]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("length=40", "blocks of 32 need a lattice of 64"),
        ("length=127", "length = 127 is not allowed"),
        ("sides=[8, 4, 16]", "ascending"),
        ("sides=[2, 4, 8]", "a number >= 3"),
        ("sides=[4, 8]", "sides"),
        ("sides=[3, 4, 8]", "too few for exponents"),
        ("training.temperatures.low=-1", "a number > 0"),
        ("testing.temperatures.low=2.5", "either side of the transition"),
        ("testing.temperatures.nearest=1", "must be less than"),
        ("compared=[irreps]", "must hold the network"),
        ("fit.loss=both", "'average' or 'block'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, complaint):
    with pytest.raises(ValueError, match=complaint):
        STUDY.configure(settings=[setting])


# --- measures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted() -> xr.Dataset:
    """Blocks that err with the probability (1 - A) = l^-0.12 F((T - Tc) l), of snapshots that agree in part."""
    rng = np.random.default_rng(4)
    x = np.concatenate([-np.geomspace(1.2, 0.004, 28), np.geomspace(0.004, 1.2, 28)])
    sides = np.array([4, 8, 16, 32])
    wrong = 0.55 * np.exp(-np.abs(x) * sides[:, None] / 1.7) * sides[:, None] ** -0.12
    blocks, n = np.array([256, 256, 64, 16]), 30
    shape = (1, 4, len(x), n)
    p = np.clip(wrong[None, ..., None] * (1 + 0.3 * rng.standard_normal(shape)), 0, 1)
    block = 1 - rng.binomial(blocks[:, None, None], p) / blocks[:, None, None]
    dims = ("features", "side", "temperature", "snapshot")
    return xr.Dataset(
        {"block": (dims, block), "whole": (dims, (block > 0.5).astype(float)), "blocks": ("side", blocks)},
        coords={"features": ["network"], "side": sides, "temperature": x + accuracies.TC},
    )


@pytest.fixture(scope="module")
def measured(planted, tmp_path_factory) -> xr.Dataset:
    run = Run.create(tmp_path_factory.mktemp("run"), "ising_blocks", {"seed": 3})
    return accuracies.windows(run, STUDY.configure("tiny"), planted)


def test_a_planted_window_law_is_measured(measured, planted):
    for threshold in accuracies.THRESHOLDS:
        law = accuracies.law(TINY, measured, "network", threshold)
        exact = [2 * 1.7 / s * np.log(0.55 * s**-0.12 / (1 - threshold)) for s in planted.side.values]
        window = measured.window.sel(kind="block", features="network", threshold=threshold)
        np.testing.assert_allclose(window, exact, rtol=0.12)
        expected = np.polyfit(np.log(planted.side.values), np.log(exact), 1)[0]
        assert abs(law.exponent - expected) < max(0.08, 3 * law.error)


def test_a_planted_collapse_is_measured(measured, planted):
    found = accuracies.collapse(TINY, planted, measured, "network")
    assert abs(found.theta - 0.12) < 3 * found.theta_error + 0.01
    assert abs(found.inverse_nu - 1) < 3 * found.inverse_nu_error + 0.03
    assert found.quality < 2
    checks = {check.name: check for check in accuracies.scaling_checks(TINY, with_fits(measured, collapse=found))}
    assert checks["data collapse, 1/ν, network"].passed


def test_a_leaning_of_the_guess_does_not_spoil_the_collapse(planted, measured, tmp_path):
    """Errors that jump at Tc, as those of every model that prefers a phase, have the same mean of both sides."""
    leaning = planted.copy(deep=True)
    x = planted.temperature.values - accuracies.TC
    jump = 0.06 * np.sign(x) * np.exp(-np.abs(x) / 0.3)
    leaning["block"] = planted.block + xr.DataArray(jump, dims="temperature")
    run = Run.create(tmp_path / "run", "ising_blocks", {"seed": 3})
    jumping = accuracies.windows(run, TINY, leaning)
    plain, other = (accuracies.curves(TINY, *data, "network") for data in ((planted, measured), (leaning, jumping)))
    assert len(plain[1]) > 10
    np.testing.assert_allclose(other[2], plain[2], atol=1e-12)
    assert abs(accuracies.collapse(TINY, leaning, jumping, "network").theta - 0.12) < 0.05


def test_resampling_scatters_as_new_snapshots_would(planted):
    one = planted.block.values
    samples = resampled_means(one, rng=torch.Generator().manual_seed(1), samples=200)
    np.testing.assert_allclose(samples.mean(0), one.mean(-1), atol=0.01)
    ratio = samples.std(0).mean() / (one.std(-1) / np.sqrt(one.shape[-1])).mean()
    assert ratio == pytest.approx(1, abs=0.05)


def test_both_phases_count_the_same_near_the_transition(planted):
    config = STUDY.configure("tiny")
    x = planted.temperature.values - accuracies.TC
    biased = planted.copy()
    biased["block"] = planted.block * 0 + xr.DataArray((x > 0).astype(float), dims="temperature")
    dropped = biased.isel(temperature=np.flatnonzero((x < 0) | (np.arange(len(x)) % 2 == 0)))
    np.testing.assert_allclose(accuracies.near_transition(config, dropped), 0.5)


def test_windows_that_do_not_close_make_no_law(measured):
    broken = measured.copy(deep=True)
    broken.window[:] = np.nan
    assert accuracies.law(TINY, broken, "network", 0.85) is None
