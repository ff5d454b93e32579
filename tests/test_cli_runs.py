"""What a user asks about studies and runs, and how one run uses what another has made."""

import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import nearsight
from nearsight.cli import _progress, _show
from nearsight.cli.app import app
from nearsight.parallel import progress_bar, tasks
from nearsight.studies import Run, get, meanings, names
from nearsight.studies.settings import configure
from nearsight.training import DataSet
from study_runs import finished_run

pytestmark = pytest.mark.xdist_group("holstein")


def run(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("holstein", tmp_path_factory.mktemp("runs"))


@pytest.fixture
def runs(finished, tmp_path) -> Path:
    """A folder with a copy of the finished run, holstein/tiny."""
    shutil.copytree(finished.path, tmp_path / "holstein" / "tiny")
    return tmp_path


def test_version():
    assert run("--version").output == f"nearsight {nearsight.__version__}\n"


# --- show -------------------------------------------------------------------------------------------------------------


def leaves(config: BaseModel) -> set[str]:
    found: set[str] = set()
    for name, value in config:
        found |= {f"{name}.{key}" for key in leaves(value)} if isinstance(value, BaseModel) else {name}
    return found


@pytest.mark.parametrize("name", names())
def test_every_setting_is_shown_with_value_type_and_meaning(name):
    study = get(name)
    for config in study.presets.values():
        rows = {key: (value, kind, meaning) for key, value, kind, meaning in meanings.settings(config)}
        assert set(rows) == leaves(config)
        for key, (_value, kind, meaning) in rows.items():
            assert kind and meaning and "<class" not in kind, key
        assert configure(config, [f"{key}={value}" for key, (value, _, _) in rows.items()]) == config


@pytest.mark.parametrize("name", names())
def test_a_study_says_what_it_asks_and_of_what(name):
    result = run("show", name, "--preset", "tiny")
    assert result.exit_code == 0
    for word in ("Question", "System", "What to expect", "Cost", "seed"):
        assert word in result.output


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("length", "whole number ≥ 4, ≤ 16384, multiple of 2"),
        ("filling", "number > 0, < 1 or none"),
        ("network.kind", "convolution | descriptor"),
        ("network.radii", "list of number > 0"),
        ("recipe.thermal.kT", "[number ≥ 0, number ≥ 0]"),
    ],
)
def test_types_are_words(key, kind):
    assert kind == next(row[2] for row in meanings.settings(get("holstein").configure()) if row[0] == key)


# --- settings from a file ---------------------------------------------------------------------------------------------


def test_settings_come_from_a_file_and_those_of_the_line_win(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("model: {g: 1.2, kappa: 0.1}\nseed: 7\n")
    study = get("holstein")
    config = study.configure("tiny", ["seed=8"], file)
    assert config == study.configure("tiny", ["model.g=1.2", "model.kappa=0.1", "seed=8"])


def test_the_configuration_of_a_run_is_such_a_file(finished):
    study = get("holstein")
    assert study.configure("quick", (), finished.path / "config.yaml") == study.stored_config(finished)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("model: {gg: 1}", "There is no setting 'model.gg'. The nearest is 'model.g'"),
        ("model: 3", "set one of model.t"),
        ("- 3", "holds no settings"),
        ("length: 7", "length = 7 is not allowed"),
        ("{", "is not a whole YAML file"),
    ],
)
def test_a_file_is_read_as_strictly_as_the_command_line(text, answer, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    result = run("run", "holstein", "--config", file, "--runs", tmp_path / "runs")
    assert result.exit_code == 2 and answer in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("xyzzy=1", "There is no setting 'xyzzy'. There are length, recipe"),
        ("model.temperature=1", "There are model.t, model.g"),
        ("lenght=1", "The nearest is 'length'"),
    ],
)
def test_only_what_is_near_is_called_the_nearest(key, answer, tmp_path):
    result = run("run", "holstein", "--set", key, "--runs", tmp_path)
    assert answer in result.stderr
    assert result.exit_code == 2


# --- what would run, what there is ------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_knows_what_is_done(runs):
    before = sorted(runs.rglob("*"))
    fresh = run("run", "holstein", "--preset", "tiny", "--name", "b", "--runs", runs, "--dry-run", "--set", "seed=5")
    assert fresh.exit_code == 0
    assert "would begin" in fresh.output and "seed=5" in fresh.output and fresh.output.count("runs") >= 5
    there = run("run", "holstein", "--preset", "tiny", "--runs", runs, "--dry-run")
    assert there.exit_code == 2 or "goes on with" in there.output
    known = run("run", "holstein", "--name", "tiny", "--runs", runs, "--dry-run")
    assert known.exit_code == 0 and known.output.count("verified") == 4
    assert sorted(runs.rglob("*")) == before


def test_the_time_is_that_of_a_run_of_the_same_preset(runs):
    study = get("holstein")
    there = Run(runs / "holstein" / "tiny")
    same = {**study.presets["tiny"].model_dump(mode="json"), "seed": 3}
    manifest = there.manifest | {"config": same}
    there._write_manifest(manifest)
    (there.path / "config.yaml").unlink()
    seconds, source = _show.expected(study, runs / "holstein" / "new", "tiny")
    assert seconds == {name: entry["seconds"] for name, entry in there.stages.items()} and str(there.path) in source
    assert _show.expected(study, runs / "holstein" / "new", "quick")[1] != source


def test_runs_are_listed_with_their_state(runs):
    half = Run(shutil.copytree(runs / "holstein" / "tiny", runs / "holstein" / "half"))
    manifest = half.manifest
    manifest["stages"]["validate"] = {"state": "begun", "seconds": 1.0}
    half._write_manifest(manifest)
    bad = Path(shutil.copytree(half.path, runs / "holstein" / "wrong"))
    (bad / "manifest.json").write_text("{}")
    result = run("runs", "--runs", runs)
    assert result.exit_code == 0
    lines = " ".join(result.output.split())
    assert "finished" in lines and "stopped in validate" in lines and "damaged" in lines and "pass" in lines


def test_where_there_are_no_runs_it_says_how_to_make_one(tmp_path):
    assert "nearsight run STUDY" in " ".join(run("runs", "--runs", tmp_path).output.split())


def test_checks_that_fail_decide_the_exit_code_if_asked(runs, blank_figures):
    there = Run(runs / "holstein" / "tiny")
    assert any(check.passed is False for check in there.checks)  # so few steps learn little
    words = ["report", "holstein", "--name", "tiny", "--runs", runs, "--resume"]
    assert run(*words).exit_code == 0
    assert run(*words, "--strict").exit_code == 1


def test_the_damage_of_another_run_is_no_affair_of_this_one(runs):
    (runs / "holstein" / "tiny" / "manifest.json").write_text("{}")
    result = run("run", "holstein", "--preset", "tiny", "--name", "b", "--runs", runs, "--dry-run")
    assert result.exit_code == 0 and "would begin" in result.output


# --- data of another run ----------------------------------------------------------------------------------------------

OTHER = ["holstein", "--preset", "tiny", "--name", "other", "--set", "seed=9"]
QUICK = ["--set", "fit.steps=10", "--set", "network.channels=4", "--set", "comparison.duration=1.0"]


def test_a_run_takes_the_data_of_another(runs):
    source = runs / "holstein" / "tiny"
    result = run("train", *OTHER, *QUICK, "--runs", runs, "--data", source, "--debug")
    assert result.exit_code == 0, result.output
    made = Run(runs / "holstein" / "other")
    assert DataSet.open(made.path / "data.zarr").hash == DataSet.open(source / "data.zarr").hash
    assert made.complete("generate") and made.complete("train")
    assert made.stages["generate"]["from"] == {
        "run": str(source), **{key: Run(source).manifest[key] for key in ("nearsight", "commit", "created", "seed")}
    }  # fmt: skip
    again = run("train", "holstein", "--name", "other", "--runs", runs, "--data", source, "--resume", "--debug")
    assert again.exit_code == 0 and "generate" not in again.stderr.replace("data", "")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (["model.g=1.2"], "model.g: 1.5 there, 1.2 here"),
        (["recipe.random.trajectories=4"], "recipe.random.trajectories: 3 there, 4 here"),
    ],
)
def test_data_of_other_physics_are_refused(settings, answer, runs):
    words = [word for setting in settings for word in ("--set", setting)]
    result = run("run", *OTHER, *QUICK, *words, "--runs", runs, "--data", runs / "holstein" / "tiny")
    assert result.exit_code == 2 and answer in result.stderr
    assert not (runs / "holstein" / "other" / "data.zarr").exists()


def test_data_that_are_unfinished_damaged_or_elsewhere_are_refused(runs):
    def answer(place: Path) -> str:
        shutil.rmtree(runs / "holstein" / "other", ignore_errors=True)
        result = run("run", *OTHER, *QUICK, "--runs", runs, "--data", place)
        assert result.exit_code == 2
        return result.stderr

    assert "There is no run in" in answer(runs / "nowhere")
    there = Run(runs / "holstein" / "tiny")
    chunk = next(p for p in (there.path / "data.zarr").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    assert "SHA-256 differs" in answer(there.path)
    shutil.rmtree(there.path / "data.zarr")
    assert "has not finished" in answer(there.path)


def test_a_run_with_data_of_its_own_keeps_them(runs):
    there = runs / "holstein" / "tiny"
    other = Run(shutil.copytree(there, runs / "holstein" / "own"))
    manifest = other.manifest
    manifest["stages"]["generate"]["outputs"]["data.zarr"] = "0" * 64
    other._write_manifest(manifest)
    result = run("run", "holstein", "--name", "own", "--runs", runs, "--data", there, "--resume")
    assert result.exit_code == 2 and "has data of its own" in result.stderr


# --- progress ---------------------------------------------------------------------------------------------------------


def test_the_time_left_in_all_follows_the_pace_of_the_stages_so_far():
    from rich.console import Console

    console = Console(record=True, width=200, force_terminal=False)
    tell = _progress.ConsoleLogger(
        console, ["generate", "train", "report"], {"generate": 40, "train": 100, "report": 2}
    )
    tell("begin", {"stage": "generate"})
    tell("complete", {"stage": "generate", "seconds": 80.0})
    tell("begin", {"stage": "train"})
    text = console.export_text()
    assert "stage 1/3: generate ... (about 2 min 22 s left in all)" in text
    assert "stage 2/3: train ... (about 3 min 24 s left in all)" in text


def test_without_a_terminal_progress_is_a_line_a_minute(monkeypatch, capfd):
    clock = [0.0]
    monkeypatch.setattr(tasks.time, "monotonic", lambda: clock[0])
    with progress_bar() as bar:
        line = bar.add_task("quenches", total=10, completed=4)
        for _ in range(6):
            clock[0] += 25
            bar.advance(line)
    told = [line for line in capfd.readouterr().err.splitlines() if line]
    assert [line.partition(",")[0] for line in told] == ["quenches 7/10", "quenches 10/10"]


def test_no_progress_where_none_is_wanted(monkeypatch, capfd):
    monkeypatch.setattr(tasks, "MINUTE", 0.0)
    with progress_bar(False) as bar:
        bar.advance(bar.add_task("quenches", total=2))
    assert not any(capfd.readouterr())


def test_the_shell_completes_studies_and_presets(monkeypatch):
    monkeypatch.setenv("_NEARSIGHT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "nearsight run hol")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run().output.split() == ["holstein"]
    monkeypatch.setenv("COMP_WORDS", "nearsight run holstein --preset qu")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert run().output.split() == ["quick"]
