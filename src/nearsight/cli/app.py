"""The commands. Everything heavy is imported inside them, so that help and mistakes answer at once."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

STAGES = {
    "ground_states": "Compare the exact energies of ordered states (skyrmion, double_exchange).",
    "observe": "Watch the true model (learn_ising, learn_potts, learn_spin_glass).",
    "generate": "Compute exact snapshots (data.zarr).",
    "learn": "Learn energies from what was observed.",
    "transfer": "Carry what was learned to other sizes and temperatures.",
    "simulate_basis": "Compress simulated strains (edgb).",
    "train": "Fit the learned force field, or the flow of posteriors (model/).",
    "refine": "Learn from exact forces on sites of its own runs (with --set refine.rounds=3; refined/).",
    "drive": "Drive bars with the learned force (driven_holstein).",
    "infer": "Posteriors of single events (edgb).",
    "validate": "Compare learned with exact: forces, then dynamics.",
    "simulate": "Run the learned force field on a large lattice.",
    "barrier": "Exact potentials of a test particle among frozen clusters (falicov_kimball).",
    "report": "Build figures and report.html again.",
}

app = typer.Typer(
    name="nearsight",
    help="Exact electrons on small lattices in, fast learned force fields and large-scale dynamics out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _studies(incomplete: str) -> list[str]:
    """Names of the studies of the library, for the shell: from their files, as importing them would take seconds."""
    folder = Path(__file__).parents[1] / "studies" / "systems"
    return sorted(f.stem for f in folder.glob("[!_]*.py") if f.stem.startswith(incomplete))


def _presets(incomplete: str) -> list[str]:
    """The usual presets, for the shell: it does not tell of which study."""
    return [name for name in ("quick", "paper", "tiny") if name.startswith(incomplete)]


StudyName = Annotated[
    str,
    typer.Argument(help="Name of the study; `nearsight list` shows them.", show_default=False, autocompletion=_studies),
]
Preset = Annotated[
    str | None,
    typer.Option(help="Named configuration to start from (default: the study's first).", autocompletion=_presets),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="YAML with settings, such as the config.yaml of another run."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. --set model.g=1.4. May be repeated."),
]
Name = Annotated[str | None, typer.Option(help="Name of the run (default: the preset's).")]
Runs = Annotated[Path, typer.Option(help="Folder of all runs; this one is RUNS/STUDY/NAME.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an existing run: verify what is finished, do the rest.")
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Take the exact data of another run, RUNS/STUDY/NAME, if they are the same here."),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="pretrained|FOLDER",
        help="Quench with a model that comes with the library, or one that `nearsight ship` wrote, and train none.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, how long and how large; write nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="End with 1 if a check fails.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers do independent tasks, e.g. tcp://node7:8786."),
]
Slurm = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML with keyword arguments of dask_jobqueue.SLURMCluster: workers are queued."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main() -> None:
    """Entry point of the ``nearsight`` command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from nearsight import __version__

        typer.echo(f"nearsight {__version__}")
        raise typer.Exit


@app.callback()
def on_any_terminal(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # What a terminal cannot show appears as "?": results are not lost for a Greek letter in their last table.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@app.command("list")
def list_studies() -> None:
    """Show the studies, their questions and presets."""
    from nearsight.studies import get, names

    console = Console()
    for name in names():
        study = get(name)
        console.print(Text.assemble((name, "bold"), "  ", study.question))
        console.print(Text(f"  presets: {', '.join(study.presets)}"))
        console.print(Text(f"  stages:  {', '.join(stage.name for stage in study.stages)}"))
        for stage, setting in study.on_request.items():
            console.print(Text(f"  also:    {stage}, with --set {setting}"))


@app.command("show")
def show_study(study: StudyName, preset: Preset = None, debug: Debug = False) -> None:
    """Show what a study asks, of which system, what is expected at what cost, and all settings of a preset."""
    with _mistakes_in_words(debug):
        from nearsight.cli._show import show
        from nearsight.studies import get

        show(get(study), preset, Console())


@app.command("runs")
def list_runs(runs: Runs = Path("runs"), debug: Debug = False) -> None:
    """List the runs there are: how far, how old, how large, and what their checks say."""
    with _mistakes_in_words(debug):
        from nearsight.cli._runs import show

        show(runs, Console())


def _study_command(stage: str | None, words: str) -> Callable[..., None]:
    def command(
        study: StudyName,
        preset: Preset = None,
        config_file: ConfigFile = None,
        settings: Settings = None,
        name: Name = None,
        runs: Runs = Path("runs"),
        resume: Resume = False,
        data: Data = None,
        model: Model = None,
        dry_run: DryRun = False,
        strict: Strict = False,
        scheduler: Scheduler = None,
        slurm: Slurm = None,
        debug: Debug = False,
    ) -> None:
        workers = ["--scheduler", scheduler] if scheduler else ["--slurm", str(slurm)] if slurm else []
        others = [*workers, "--model", model] if model else workers
        path: Path | None = None

        def kept() -> str:
            given = (preset, config_file, settings or [], name)
            if path is not None and (path / "config.yaml").exists():
                given = (None, None, [], path.name)
            return f"what is finished is kept. Go on with: {_command(study, stage, *given, runs, others)}"

        with _mistakes_in_words(debug, kept):
            from nearsight.cli._progress import ConsoleLogger, summary
            from nearsight.cli._show import dry_run as say
            from nearsight.cli._show import expected
            from nearsight.parallel import cluster
            from nearsight.studies import Run, get
            from nearsight.studies.settings import closest

            found = get(study)
            place = runs.absolute() if workers else runs  # workers may be elsewhere
            usual = next(iter(found.presets)) if model is None else "pretrained"
            path = place / found.name / _one_folder(name or preset or usual)
            existing = Run(path)
            stored = existing.exists and preset is None and not settings and config_file is None
            asked = (preset, settings or [], config_file, model)
            config: Any = found.stored_config(existing) if stored else found.configure(*asked)
            start = preset or closest(found.presets, config)
            shown, only = (found.of_config(config), stage) if model is None else (found.of_model(), None)
            if dry_run:
                say(shown, path, config, start, Console(), only)
                return
            with cluster(scheduler=scheduler, slurm=slurm):
                steps = [step.name for step in shown.stages] if only is None else [only]
                logger = ConsoleLogger(Console(stderr=True), steps, expected(found, path, start)[0])
                run = found.run(path, config, only=stage, resume=resume, data=data, model=model, listener=logger)
            summary(run, Console())
        if strict and not dry_run and any(check.passed is False for check in run.checks):
            raise typer.Exit(1)

    command.__doc__ = words
    return command


app.command("run")(_study_command(None, "Run all stages of a study, from exact data to the report."))
for _stage in STAGES:
    app.command(_stage)(_study_command(_stage, STAGES[_stage]))


doctor = typer.Typer(help="What this machine offers, or what a trained model can see.")
app.add_typer(doctor, name="doctor")


@doctor.callback(invoke_without_command=True)
def machine(context: typer.Context) -> None:
    """Show versions, cores, memory, devices, optional packages, and how fast matrices multiply here.

    `nearsight doctor locality RUN` examines a trained model instead.
    """
    if context.invoked_subcommand is None:
        from nearsight.cli._doctor import examine

        if not examine(Console()):
            raise typer.Exit(1)


@doctor.command("locality")
def examine_locality(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, RUNS/STUDY/NAME.", show_default=False)],
    others: Annotated[
        list[Path] | None, typer.Argument(help="Runs with the same data and other cutoffs.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(help="Sites tried for every cutoff; the cost is proportional.", min=8)] = 64,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training of every model that is grown for the comparison (200; 0 for none), where the study can.",
            min=0,
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Tell how far the force field of a run sees, how far it needs to see, and what a longer sight would bring."""
    with _mistakes_in_words(debug):
        from nearsight.cli._locality import examine

        examine(run, others or [], samples=samples, steps=steps, console=Console(), progress=Console(stderr=True))


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs of one study.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    debug: Debug = False,
) -> None:
    """Put the checks of several runs side by side, and the settings in which the runs differ.

    Ends with 0 if everything judged passes and nothing is worse than in the first run by more than two standard errors
    (without errors: passes there and fails here), and with 1 otherwise.
    """
    with _mistakes_in_words(debug):
        from nearsight.cli._compare import show

        passed = show(runs, as_json=as_json, console=Console())
    if not passed:
        raise typer.Exit(1)


@app.command("movie")
def make_movie(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, RUNS/STUDY/NAME.", show_default=False)],
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="What to show (default: the first map). May be repeated.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames, at logarithmically spaced times.", min=2)] = 120,
    rate: Annotated[float, typer.Option(help="Frames per second.", min=0.1)] = 12.0,
    to: Annotated[
        Path | None, typer.Option(help="A name in .mp4 or .gif (default: RUN/movie.mp4, .gif without ffmpeg).")
    ] = None,
    debug: Debug = False,
) -> None:
    """Carry out the large quench of a run once more, with the same noise, and film it."""
    with _mistakes_in_words(debug):
        from nearsight.cli._movie import film

        film(run, fields or [], frames=frames, rate=rate, to=to, console=Console())


@app.command("ship")
def ship_model(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, RUNS/STUDY/NAME.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="Folder; the model becomes TO/STUDY (default: those of the library).")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the model of a finished run with a card: what it learned, from which data, and how large its errors are.

    With it `nearsight simulate STUDY --model TO/STUDY` quenches at once; without --to it is the one that
    `nearsight.pretrained` and `--model pretrained` take.
    """
    with _mistakes_in_words(debug):
        from nearsight.studies import Run
        from nearsight.studies.shipping import ship

        Console().print(f"Model: {ship(Run.open(run), to)}", soft_wrap=True)


@app.command("scoreboard")
def show_scoreboard(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of finished runs to be taken in.", show_default=False)
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rewrite this JSON file and the page beside it.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """List every number of the papers with ours, its error, command, seed, machine and date."""
    with _mistakes_in_words(debug):
        from nearsight.cli._scoreboard import show

        show(runs or [], file=write, console=Console())


@contextlib.contextmanager
def _mistakes_in_words(debug: bool, kept: Callable[[], str] = lambda: "nothing was written.") -> Iterator[None]:
    """End with the sentence of an error instead of its traceback, or with what an interrupted command has kept."""
    try:
        yield
    except KeyboardInterrupt as stop:
        terminated = type(stop).__name__ == "Terminated"  # by SIGTERM; importing the class would cost a second
        word, code = ("Terminated", 143) if terminated else ("Interrupted", 130)
        _stop(f"{word}; {kept()}", code=code)
    except (ValueError, OSError, ArithmeticError, RuntimeError, ImportError) as error:
        if debug:
            raise
        _stop(f"{error}\n(--debug shows where this comes from.)")


def _one_folder(name: str) -> str:
    """The name of a run, which is one folder in RUNS/STUDY and leads nowhere else."""
    if name in (".", "..") or name.startswith("-") or any(c in "/\\:" or not c.isprintable() for c in name):
        raise ValueError(
            f"{name!r} cannot be the name of a run: it is one folder, without slashes, colons and control characters. "
            f"--runs says where the runs are."
        )
    return name


def _command(
    study: str,
    stage: str | None,
    preset: str | None,
    file: Path | None,
    settings: list[str],
    name: str | None,
    runs: Path,
    others: list[str],
) -> str:
    """The command that goes on with a run; once it holds its configuration its name is enough."""
    words = ["nearsight", *([stage] if stage else ["run"]), study]
    words += ["--preset", preset] if preset else []
    words += ["--config", str(file)] if file else []
    words += [word for setting in settings for word in ("--set", setting)]
    words += ["--name", name] if name else []
    words += ["--runs", str(runs)] if runs != Path("runs") else []
    return shlex.join([*words, *others, "--resume"])


def _stop(message: str, code: int = 2) -> None:
    print(f"nearsight: {message}", file=sys.stderr)
    raise typer.Exit(code)
