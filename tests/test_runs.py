"""A run folder knows whether it is whole: stages resume, damage is named, one process at a time."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.storage import CorruptFileError, write_json
from nearsight.studies import Run, Section, Stage, Study
from nearsight.studies.lock import RunLockedError, lock
from nearsight.studies.settings import configure, difference


class Walk(Section):
    steps: int = 5
    width: float = 1.0


class Config(Section):
    walk: Walk = Walk()
    seed: int = 3


def draw(run: Run, config: Config) -> None:
    numbers = config.walk.width * np.random.default_rng(run.seed("draw")).normal(size=config.walk.steps)
    write_json(run.path / "numbers.json", numbers.tolist())


def add(run: Run, config: Config) -> None:
    numbers = json.loads((run.path / "numbers.json").read_text())
    run.record("walk", xr.Dataset({"x": ("time", np.cumsum(numbers), {"units": "a"})}))
    run.judge("add", [Verdict("steps", learned=len(numbers), passed=len(numbers) == config.walk.steps)])


STUDY = Study(
    "walk",
    "How far does a drunkard get?",
    {"short": Config(), "long": Config(walk=Walk(steps=50))},
    (
        Stage("draw", draw, outputs=("numbers.json",)),
        Stage("add", add, outputs=("observables.nc:walk", "verdicts.json:add"), inputs=("numbers.json",)),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return STUDY.run(tmp_path / "a", Config())


def events(run: Run) -> list[str]:
    return [json.loads(line)["event"] for line in (run.path / "log.jsonl").read_text().splitlines()]


def test_a_run_records_what_it_was_made_of(run):
    manifest = run.manifest
    assert manifest["seed"] == 3 and manifest["study"] == "walk"
    assert {"nearsight", "commit", "libraries", "machine"} <= manifest.keys()
    assert manifest["stages"]["add"]["inputs"] == manifest["stages"]["draw"]["outputs"]
    assert run.config == {"walk": {"steps": 5, "width": 1.0}, "seed": 3}
    assert run.verdicts == [Verdict("steps", learned=5, passed=True)]


def test_results_are_not_touched_without_resume(run):
    with pytest.raises(FileExistsError, match=r"draw, add.*--resume"):
        STUDY.run(run.path, Config())


def test_finished_stages_are_verified_and_skipped(run):
    before = run.manifest["stages"]
    STUDY.run(run.path, Config(), resume=True)
    assert run.manifest["stages"] == before
    assert events(run)[-2:] == ["skip", "skip"]


def test_another_configuration_is_refused_by_the_keys_that_differ(run):
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"walk\.steps: 5 there, 6 here"):
            STUDY.run(run.path, configure(Config(), ["walk.steps=6"]), resume=resume)


@pytest.mark.parametrize("file", ["numbers.json", "observables.nc", "verdicts.json"])
def test_a_changed_output_is_named_with_the_cure(run, file):
    path = run.path / file
    if file == "observables.nc":
        run.record("walk", run.observable("walk") + 1e-9)
    else:
        path.write_bytes(path.read_bytes().replace(b"1", b"2").replace(b"true", b"false"))
    with pytest.raises(CorruptFileError, match=rf"{file}.*SHA-256.*[Rr]estore a copy, or delete"):
        STUDY.run(run.path, Config(), resume=True)


@pytest.mark.parametrize("file", ["numbers.json", "observables.nc", "verdicts.json", "manifest.json", "config.yaml"])
def test_a_truncated_file_is_named_and_deleting_it_is_a_cure(run, file):
    hashes = {name: entry["outputs"] for name, entry in run.stages.items()}
    path = run.path / file
    path.write_bytes(path.read_bytes()[:-8] if file != "config.yaml" else b"walk: {")
    with pytest.raises(CorruptFileError, match=rf"(?s){file}.*elete"):
        STUDY.run(run.path, Config(), resume=True)
    path.unlink()
    STUDY.run(run.path, Config(), resume=True)
    assert {name: entry["outputs"] for name, entry in run.stages.items()} == hashes


def test_a_deleted_output_is_named_and_made_again(run):
    recorded = run.manifest["stages"]["draw"]["outputs"]
    (run.path / "numbers.json").unlink()
    STUDY.run(run.path, Config(), resume=True)
    assert "missing" in events(run)
    assert run.manifest["stages"]["draw"]["outputs"] == recorded


def test_a_stage_is_repeated_when_its_inputs_have_changed(run):
    (run.path / "numbers.json").unlink()
    other = Study(
        "walk",
        "?",
        STUDY.presets,
        (Stage("draw", lambda r, c: draw(r, Config(walk=Walk(width=2.0))), ("numbers.json",)), STUDY.stages[1]),
    )
    old = run.observable("walk").x.values
    other.run(run.path, Config(), resume=True)
    np.testing.assert_allclose(run.observable("walk").x.values, 2 * old)


def test_a_stage_alone_needs_its_predecessors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"numbers\.json.*'draw' first"):
        STUDY.run(tmp_path / "b", Config(), only="add")
    STUDY.run(tmp_path / "b", Config(), only="draw")
    run = STUDY.run(tmp_path / "b", Config(), only="add")
    assert run.complete("add")


def test_data_sets_share_one_file_and_leave_each_other_alone(run):
    before = run.hash("observables.nc:walk")
    run.record("other", xr.Dataset({"y": 1.0}))
    assert run.hash("observables.nc:walk") == before
    assert float(run.observable("other").y) == 1.0


def test_random_numbers_depend_on_seed_and_purpose_alone(run):
    assert run.seed("quench", 3) == run.seed("quench", 3)
    assert len({run.seed("quench", 3), run.seed("quench", 4), run.seed("train", 3)}) == 3


def test_a_failed_stage_is_logged_and_repeated(tmp_path):
    def fail(run: Run, config: Config) -> None:
        raise ArithmeticError("the walk left the town")

    broken = Study("walk", "?", STUDY.presets, (STUDY.stages[0], Stage("add", fail, (), ("numbers.json",))))
    with pytest.raises(ArithmeticError):
        broken.run(tmp_path / "c", Config())
    assert "the walk left the town" in (tmp_path / "c/log.jsonl").read_text()
    run = STUDY.run(tmp_path / "c", Config(), resume=True)
    assert run.complete("add")


def test_the_lock_of_a_living_process_is_respected(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError, match=f"process {holder.pid}"), lock(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with lock(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert not list(tmp_path.iterdir())


HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from nearsight.studies.lock import lock
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


def test_a_reused_process_number_does_not_keep_a_lock(tmp_path):
    with lock(tmp_path):
        claim = json.loads((tmp_path / "lock").read_text())
    write_json(tmp_path / "lock", claim | {"started": "1"})
    with lock(tmp_path):
        pass


def test_a_lock_from_another_machine_is_left_to_the_user(tmp_path):
    write_json(tmp_path / "lock", {"host": "elsewhere", "pid": 1, "started": "1"})
    with pytest.raises(RunLockedError, match="elsewhere"), lock(tmp_path):
        pass


def test_a_run_in_use_is_refused(run):
    with lock(run.path), pytest.raises(RunLockedError, match="in use"):
        STUDY.run(run.path, Config(), resume=True)


def test_a_listener_hears_every_event(tmp_path):
    heard = []
    run = STUDY.run(tmp_path / "d", Config(), listener=lambda event, facts: heard.append(event))
    assert heard == events(run) == ["begin", "complete", "begin", "complete"]


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_reach_nested_values():
    config = configure(Config(), ["walk.steps=7", "seed=1", "walk.width=1e-3"])
    assert config == Config(walk=Walk(steps=7, width=1e-3), seed=1)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("walk.stepz=7", "nearest is 'walk.steps'"),
        ("steps=7", "nearest is 'walk.steps'"),
        ("walk.steps=many", "walk.steps = 'many' is not allowed: it should be a whole number"),
        ("walk.width=.inf", "walk.width = inf is not allowed: it should be a finite number"),
        ("walk=3", "set one of walk.steps, walk.width"),
        ("walk.steps", "key=value"),
        ("walk.steps=[1", "not a YAML value"),
    ],
)
def test_bad_settings_are_refused_in_words(setting, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        configure(Config(), [setting])
    assert "pydantic" not in str(error.value)


def test_the_difference_of_two_configurations_leads_from_one_to_the_other():
    other = Config(walk=Walk(steps=9, width=0.5))
    assert configure(Config(), difference(Config(), other)) == other
    assert difference(other, other) == []


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="nearest is 'short'"):
        STUDY.configure("shrt")
