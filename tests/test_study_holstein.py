"""The Holstein study end to end on a lattice too small for physics: what must hold on any lattice."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.forcefields import load
from nearsight.lattices import square
from nearsight.storage import CorruptFileError
from nearsight.studies import Run, get
from nearsight.studies.ensembles import Quench
from nearsight.studies.refinement import draw
from nearsight.studies.systems import holstein
from nearsight.training import DataSet
from study_runs import finished_run, without_report

pytestmark = pytest.mark.xdist_group("holstein")

STUDY = get("holstein")
NUMBERS = without_report(STUDY)
TINY = STUDY.configure("tiny")
OBSERVABLES = ("snapshots", "curves", "growth", "maps", "audit")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("holstein", tmp_path_factory.mktemp("runs"))


def fingerprint(run: Run) -> dict[str, str]:
    """Hashes of everything that must not depend on interruptions; timings do, and stand in the checks alone."""
    hashes = {name: run.hash(f"observables.nc:{name}") for name in OBSERVABLES}
    return hashes | {"data": DataSet.open(run.path / "data.zarr").hash, "model": run.hash("model")}


def command(run: Run, *words: str) -> list[str]:
    folder = ["--name", run.path.name, "--runs", str(run.path.parent.parent)]
    return [sys.executable, "-c", "from nearsight.cli import main; main()", *words, "holstein", *folder]


def events(log: Path) -> list[dict[str, str]]:
    """Whole lines of the log, without their times."""
    text = log.read_text() if log.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def kill_in(stage: str, run: Run, *options: str, after: float = 0.05) -> None:
    """Start or resume the run in a process of its own and kill it once ``stage`` has begun."""
    log = run.path / "log.jsonl"
    seen = len(events(log))
    process = subprocess.Popen(
        command(run, "run") + list(options),
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while process.poll() is None:
            if {"event": "begin", "stage": stage} in events(log)[seen:]:
                break
            time.sleep(0.01)
        time.sleep(after)
        assert process.poll() is None, f"the run ended before it could be killed in {stage}"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert run.stages[stage]["state"] == "begun"


def test_every_stage_leaves_what_it_promises(finished):
    for stage in STUDY.stages:
        assert finished.complete(stage.name)
    assert (finished.path / "report.html").exists()


def test_the_same_configuration_gives_the_same_numbers(finished, tmp_path):
    again = STUDY.run(tmp_path / "again", TINY, only="generate")
    assert DataSet.open(again.path / "data.zarr").hash == fingerprint(finished)["data"]


def test_another_seed_gives_other_data(finished, tmp_path):
    other = STUDY.run(tmp_path / "other", STUDY.configure("tiny", ["seed=2"]), only="generate")
    assert DataSet.open(other.path / "data.zarr").hash != fingerprint(finished)["data"]


def test_both_ensembles_start_from_the_same_fields(finished):
    from nearsight.dynamics import Trajectory

    exact = np.concatenate(
        [Trajectory.open(p).data.field.values[0] for p in sorted((finished.path / "comparison/exact").iterdir())]
    )
    learned = Trajectory.open(finished.path / "comparison/learned").data.field.values
    np.testing.assert_allclose(learned[0], exact, atol=1e-6)
    assert np.abs(learned[-1] - exact).max() > 0.1 if len(learned) == len(exact) else True


def test_densities_are_fillings(finished):
    data = finished.observable("snapshots")
    assert data.exact_density.min() > 0 and data.exact_density.max() < 1
    assert finished.observable("maps").density.mean("time").mean() == pytest.approx(0.5, abs=0.2)


def test_quenches_at_a_fixed_number_keep_it(finished, tmp_path):
    config = STUDY.configure("tiny", ["filling=0.49"])
    run = NUMBERS.run(tmp_path / "runs" / "holstein" / "canonical", config)
    assert DataSet.open(run.path / "data.zarr").hash == fingerprint(finished)["data"]  # learned at fixed μ all the same
    number = run.observable("maps").density.mean(("x", "y"))
    np.testing.assert_allclose(number, 0.49, atol=1e-5)
    assert np.ptp(finished.observable("maps").density.mean(("x", "y")).values) > 1e-3


def test_errors_by_kind_add_up(finished):
    data = finished.observable("snapshots")
    assert float(data.rmse.max()) <= float(data["max"].max())
    assert (data["std"] <= data.rmse + 1e-12).all()


def test_the_force_keeps_every_symmetry(finished):
    assert float(finished.observable("snapshots").symmetry_error.max()) < 1e-4


def test_every_check_is_a_number_of_its_own_name(finished):
    checks = finished.checks
    assert len({check.name for check in checks}) == len(checks) > 10
    assert all(check.note if check.value is None else np.isfinite(check.value) for check in checks)


def test_no_field_of_the_large_quench_is_kept(finished):
    kept = {p.name for p in (finished.path / "large" / "trajectory.zarr").iterdir()}
    assert {"L", "map_density"} <= kept and not {"field", "force"} & kept


def test_the_error_of_the_forces_is_measured_in_the_large_quench(finished):
    found = finished.observable("audit").sel(quench="")
    assert (found.rms_low <= found.rms).all() and (found.rms <= found.rms_high).all()
    assert (finished.path / "figures" / "audit.png").exists()
    words = [check for check in finished.checks if check.name.startswith("force error in the large quench")]
    assert [check.value for check in words] == [float(found.rms[-1]), float(found.rms.max())]
    assert "500 sites against" in words[0].note
    growth = finished.observable("growth")
    assert set(found.time.values) <= set(growth.time.values[1:])


def test_a_replay_ends_where_the_quench_ended(finished):
    ((maps, lattice),) = STUDY.replay(finished, TINY, frames=3).values()
    stored = finished.observable("maps").isel(time=-1)
    assert maps.sizes["time"] == 3 and lattice.shape == (TINY.large.length,) * 2
    np.testing.assert_array_equal(maps.phi.isel(time=-1), stored.phi)
    assert not [folder for folder in finished.path.iterdir() if "replay" in folder.name]


def test_the_report_draws_the_fit_that_the_stage_has_made(finished):
    from nearsight.studies.fits import fits

    exponent = next(c for c in finished.checks if "exponent" in c.name)
    assert fits(finished.observable("growth"))["chord"].exponent == exponent.value


def test_a_run_killed_while_training_ends_as_if_nothing_had_happened(finished, tmp_path):
    run = Run(tmp_path / "runs" / "holstein" / "killed")
    kill_in("train", run, "--preset", "tiny")
    NUMBERS.run(run.path, TINY, resume=True)
    assert fingerprint(run) == fingerprint(finished)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.05])
def test_a_run_killed_in_every_stage_ends_as_if_nothing_had_happened(finished, tmp_path, after):
    run = Run(tmp_path / "runs" / "holstein" / "killed")
    kill_in("generate", run, "--preset", "tiny", after=after)
    for stage in ("train", "validate", "simulate"):
        kill_in(stage, run, "--resume", after=after)
    subprocess.run([*command(run, "run"), "--resume"], check=True, capture_output=True)
    assert fingerprint(run) == fingerprint(finished)


@pytest.mark.parametrize("file", ["data.zarr/zarr.json", "model", "observables.nc", "comparison", "large"])
def test_damage_in_a_finished_run_is_named(finished, tmp_path, file):
    copy = shutil.copytree(finished.path, tmp_path / "copy")
    target: Path = copy / file
    if target.is_dir():
        target = max((p for p in target.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    target.write_bytes(target.read_bytes()[:-5])
    with pytest.raises(CorruptFileError, match=file.split("/")[0]):
        STUDY.run(copy, TINY, resume=True)


def test_the_cure_of_a_damaged_trajectory_leaves_the_exact_data_alone(finished, tmp_path):
    """In a finished run, where the manifest vouches for it, and in an unfinished one, which goes on from it."""
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    data = {p: p.stat().st_mtime_ns for p in (copy.path / "data.zarr").rglob("*")}
    lost = next((copy.path / "large" / "trajectory.zarr" / "map_density" / "c").rglob("0"))
    for unfinished in (False, True):
        if unfinished:
            copy._note("simulate", {"state": "begun", "seconds": 0.0})
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        with pytest.raises(CorruptFileError) as error:
            NUMBERS.run(copy.path, TINY, resume=True)
        victims = re.findall(rf"(?:delete|and) ({re.escape(str(copy.path))}\S+)", str(error.value))
        assert victims and all(str(copy.path / "large") in victim for victim in victims)
        for victim in map(Path, victims):
            shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        NUMBERS.run(copy.path, TINY, resume=True)
        assert fingerprint(copy) == fingerprint(finished)
    assert {p: p.stat().st_mtime_ns for p in (copy.path / "data.zarr").rglob("*")} == data


def test_simulating_needs_a_model(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match="generate"):
        STUDY.run(tmp_path / "new", TINY, only="simulate")


def test_every_recorded_state_is_measured_once(tmp_path):
    """Though the first tells the layout of the records as well, and the last their labels."""
    system = holstein.physics(TINY, square(6))
    asked = []

    def measure(state):
        asked.append(state.step)
        return holstein.observe(TINY, system, state)

    field = system.initial_fields(2, torch.Generator().manual_seed(1))
    quench = Quench(
        system=system, engine=system.exact, field=field, steps=(0, 2, 5), measure=measure, path=tmp_path / "run", seed=1
    )
    assert quench.run().sizes["time"] == 3
    assert asked == [0, 2, 5]


def test_a_finished_run_hands_out_what_it_made(finished):
    run = Run.open(finished.path)
    data = DataSet.open(run.path / "data.zarr")
    exact, learned = run.exact(), run.learned()
    assert (exact(data.field[:2]).force - data.force[:2]).abs().max() < 1e-9
    assert (
        learned.lattice.coincides(data.lattice) and learned(data.field[:2].float()).force.shape == data.force[:2].shape
    )
    assert run.learned(12).lattice.shape == (12, 12) and run.study.name == "holstein"
    assert len(run.trajectories) >= 2  # of the comparison and of the large quench
    assert all(trajectory.data.sizes["record"] > 1 for trajectory in run.trajectories.values())
    page = run._repr_html_()
    assert "validate: complete" in page and page.count("<tr>") == 1 + len(run.checks)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        Run.open(tmp_path)


REFINE = ["rounds=1", "length=10", "sites=10", "audited=8", "times=2", "duration=1.0", "steps=20"]


def test_a_refined_run_has_one_stage_more_and_moves_by_the_refined_model(finished, tmp_path):
    config = STUDY.configure("tiny", [f"refine.{setting}" for setting in REFINE])
    assert [stage.name for stage in STUDY.of_config(config).stages][1:4] == ["train", "refine", "validate"]
    assert STUDY.of_config(TINY) is STUDY
    with pytest.raises(ValueError, match=r"ask for it: --set refine\.rounds"):
        STUDY.run(tmp_path / "none", TINY, only="refine")
    path = tmp_path / "runs" / "holstein" / "refined"
    STUDY.run(path, config, only="generate", data=finished.path)
    STUDY.run(path, config, only="train")
    run = STUDY.run(path, config, only="refine")
    found = run.observable("refinement")
    assert found.sizes["solutions"] == 2 and found.solutions[0] == 0 and len(run.checks) == 2
    assert [stage for stage in STUDY.of_config(config).stages if "refined" in stage.inputs]
    moved, trained = STUDY.electrons(run, config, square(6)), load(run.path / "model")
    assert moved.state_dict().keys() == trained.state_dict().keys() and moved.card.data == trained.card.data
    refined = load(run.path / "refined")
    assert all(torch.equal(x, y) for x, y in zip(moved.parameters(), refined.parameters(), strict=True))
    assert "no fit has seen" in draw(found).caption
    skipped = STUDY.run(path, config, only="refine", resume=True)
    assert skipped.hash("refined") == run.hash("refined")


@pytest.mark.parametrize("study, settings", [("holstein", ["filling=0.49"]), ("jahn_teller", [])])
def test_what_has_no_local_forces_is_not_refined_and_nothing_is_begun(study, settings, tmp_path):
    found = get(study)
    config = found.configure("tiny", [*settings, "refine.rounds=1"])
    with pytest.raises(ValueError, match="fixed number of electrons"):
        found.run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
