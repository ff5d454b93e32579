"""The command line: mistakes are answered in words, results are never touched by accident."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nearsight.cli.app import STAGES, app
from nearsight.studies import get, names


def nearsight(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["run", "holstien"], "The nearest is 'holstein'"),
        (["run", "holstein", "--preset", "quik"], "The nearest is 'quick'"),
        (["run", "holstein", "--set", "model.gg=1"], "The nearest is 'model.g'"),
        (["run", "holstein", "--set", "quenches=30"], "The nearest is 'comparison.quenches'"),
        (["run", "holstein", "--set", "comparison.quenches=2"], "comparison.quenches = 2 is not allowed: it should be"),
        (
            ["run", "holstein", "--set", "model.g=strong"],
            "model.g = 'strong' is not allowed: it should be a finite number",
        ),
        (["run", "holstein", "--set", "length=7"], "length = 7 is not allowed"),
        (["run", "holstein", "--set", "network.kind=forest"], "one of 'convolution'"),
        (["run", "holstein", "--set", "network=big"], "set one of network.head, network.channels"),
        (["run", "holstein", "--set", "seed"], "key=value"),
        (["train", "holstein"], "Run 'generate' first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_answered_in_words(words, answer, tmp_path):
    result = nearsight(*words, "--runs", tmp_path)
    assert result.exit_code == 2
    assert answer in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize("name", [name for name in names() if hasattr(get(name).presets["tiny"], "device")])
def test_what_no_stage_can_do_here_is_said_before_the_first(name, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = nearsight("run", name, "--preset", "tiny", "--set", "device=cuda", "--runs", tmp_path)
    assert result.exit_code == 2 and "torch sees no CUDA device. Start one with --set device=cpu" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_gpu_makes_the_data_for_one_that_has(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["holstein", "--preset", "tiny", "--set", "device=cuda", "--runs", tmp_path]
    assert nearsight("generate", *words).exit_code == 0
    assert "no CUDA device" in nearsight("train", *words).stderr


def test_an_unknown_stage_or_option_is_refused():
    assert nearsight("trian", "holstein").exit_code == 2
    assert nearsight("run", "holstein", "--presett", "quick").exit_code == 2


def test_debug_shows_the_traceback(tmp_path):
    result = nearsight("run", "holstien", "--runs", tmp_path, "--debug")
    assert isinstance(result.exception, ValueError)


def test_list_shows_every_study_with_its_question():
    result = nearsight("list")
    assert result.exit_code == 0
    assert "holstein" in result.output and "?" in result.output and "quick" in result.output
    assert all(stage in result.output for stage in STAGES)


def test_the_stages_of_every_study_have_a_command():

    for name in names():
        stages = {stage.name for stage in get(name).stages}
        assert [stage.name for stage in get(name).stages] == [stage for stage in STAGES if stage in stages]


def test_the_package_runs_as_a_command():
    command = [sys.executable, "-m", "nearsight", "list"]
    assert "holstein" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_doctor_names_versions_cores_and_speed():
    result = nearsight("doctor")
    assert result.exit_code == 0
    for word in ("nearsight", "torch", "cores", "memory", "GFlop/s"):
        assert word in result.output


def test_help_loads_nothing_heavy():
    """Half a second of start-up is torch, numpy or a study that was imported for nothing."""
    code = (
        "import atexit, sys\n"
        "from nearsight.cli import main\n"
        "heavy = ('torch', 'numpy', 'scipy', 'matplotlib', 'zarr', 'xarray', 'nearsight.studies.holstein')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, text=True)
    assert "Usage" in run.stdout and run.stdout.splitlines()[-1] == "[]"


def test_interruption_says_how_to_go_on(tmp_path, monkeypatch):
    from nearsight.studies import Study

    def interrupted(self, path, *_, **__):
        path.mkdir(parents=True)
        (path / "config.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "run", interrupted)
    result = nearsight("train", "holstein", "--preset", "tiny", "--name", "my run", "--runs", tmp_path)
    assert result.exit_code == 130
    assert f"nearsight train holstein --name 'my run' --runs {tmp_path} --resume" in result.stderr.replace("\n", " ")


def test_interruption_before_there_is_a_run_repeats_all_that_was_asked_for(tmp_path, monkeypatch):
    from nearsight.studies import Study

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, "run", interrupted)
        words = ["generate", "holstein", "--preset", "tiny", "--set", "model.g=1.7", "--name", "a", "--runs", tmp_path]
        again = nearsight(*words).stderr.partition("Go on with: nearsight ")[2].split()
    assert again == [*map(str, words), "--resume"]
    assert nearsight(*again).exit_code == 0
    from nearsight.studies import Run

    assert Run(tmp_path / "holstein" / "a").config["model"]["g"] == 1.7


@pytest.mark.parametrize("name", ["../../x", "..", ".", "a/b", "/tmp/x", "a\\b", "C:x", "-x", "a\0b", "a\nb"])
def test_the_name_of_a_run_is_one_folder(name, tmp_path):
    result = nearsight("generate", "holstein", "--preset", "tiny", f"--name={name}", "--runs", tmp_path / "a" / "runs")
    assert result.exit_code == 2 and "cannot be the name of a run" in result.stderr
    assert not list(tmp_path.iterdir())


NAME = "[/b] [red] [bold"


def test_brackets_are_shown_as_they_are(tmp_path):
    from rich.console import Console

    from nearsight.cli._progress import ConsoleLogger, summary
    from nearsight.parallel import progress_bar
    from nearsight.studies import Run
    from nearsight.studies.checks import Check

    run = Run(tmp_path / NAME)
    run.path.mkdir(parents=True)
    run.record_checks("x", [Check(NAME, 1.0, note=NAME)])
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    summary(run, console)
    ConsoleLogger(console)("note", {"text": NAME})
    ConsoleLogger(console)(NAME, {NAME: NAME})
    with progress_bar() as bar:
        bar.add_task(NAME, total=1)
        console.print(bar.make_tasks_table(bar.tasks))
    assert console.file.getvalue().count(NAME) >= 8


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_any_terminal_shows_the_last_table(encoding, tmp_path, monkeypatch):
    from nearsight.studies import Run, Study
    from nearsight.studies.checks import Check

    def done(self, path, *_, **__):
        run = Run(path)
        run.path.mkdir(parents=True)
        run.record_checks("x", [Check("ξ / a, ΔE → ∞", 1.0, note="χ² ≤ 1 — ✓")])
        return run

    monkeypatch.setattr(Study, "run", done)
    words = ["run", "holstein", "--preset", "tiny", "--runs", str(tmp_path)]
    result = CliRunner(charset=encoding).invoke(app, words)
    assert result.exit_code == 0 and result.exception is None
    assert "E" in result.stdout and "?" in result.stdout and "Run folder" in result.stdout
