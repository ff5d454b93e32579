"""A study: a question, a configuration, and the stages that answer it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import xarray as xr
from pydantic import BaseModel

from nearsight.parallel import kept_workers
from nearsight.storage import lock, tidy_tree
from nearsight.studies import systems
from nearsight.studies.checks import Check
from nearsight.studies.reuse import card_of, has_model_of_elsewhere, take_data, take_model
from nearsight.studies.run import Listener, Run
from nearsight.studies.settings import configure, suggestion, validated

LARGE = "simulate"
"""The stage of the large run."""


@dataclass(frozen=True)
class Stage:
    """One step of a study: reads ``inputs`` from the run folder and leaves ``outputs`` there.

    ``action`` may be called again after it was killed at any moment, and must then end with the same outputs.
    A stage that is ``cheap`` is simply repeated instead of being verified and skipped.
    ``requires(config)`` raises an error if the machine lacks what the stage needs; it is asked before the first stage.
    ``unread`` names the settings that neither the stage nor any before it reads: where runs differ in them alone, one
    can take the outputs of the other.

    Examples
    --------
    >>> import tempfile
    >>> from nearsight.studies import Run, Stage
    >>> double = Stage("double", lambda run, config: run.log("doubled", length=2 * config["length"]), ("log.jsonl",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run.create(f"{folder}/quick", "doubling", {"length": 30})
    ...     double.action(run, run.config)
    ...     print('"length": 60' in (run.path / "log.jsonl").read_text())
    True
    """

    name: str
    action: Callable[[Run, Any], None]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    cheap: bool = False
    requires: Callable[[Any], None] | None = None
    unread: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Cost:
    """What a preset took: a finished run on two cores of a processor at 2.5 GHz.

    seconds: by stage. megabytes: of the run's folder.
    """

    seconds: Mapping[str, float]
    megabytes: float

    @property
    def where(self) -> str:
        """Where it took so long, and what it left."""
        return f"on two cores at 2.5 GHz, {self.megabytes:.0f} MB"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A reproducible question.

    question: one sentence with a question mark.
    presets: named configurations, all of one pydantic class; the first is the default.
    stages: in the order in which they run; the report comes last by itself.
    title: of the report.
    figures: ``(run, config) -> Picture`` of the report by the name of the file, in their order; or several by a suffix.
    symbols: what letters of the figures stand for, by how they are typed between dollars; common ones are known.
    notes: ``(run, config) -> `` paragraphs of the report on what falls short.
    target: ``(run, config) -> LocalityTarget``: what `nearsight doctor locality` examines.
    name: as on the command line: that of the module.
    text: what the question, the system, the expected numbers and the cost are: the docstring of the module.
    cost: of presets that were run.

    Examples
    --------
    >>> from nearsight.studies import Section, Stage, Study
    >>> class Config(Section):
    ...     length: int = 30
    >>> study = Study(
    ...     question="How large is twice a lattice?",
    ...     presets={"tiny": Config(length=8), "full": Config(length=100)},
    ...     stages=(Stage("double", lambda run, config: run.log("doubled", length=2 * config.length), ()),),
    ... )
    >>> study.configure("full", ["length=120"])
    Config(length=120)
    """

    question: str
    presets: Mapping[str, BaseModel]
    stages: tuple[Stage, ...] = ()
    title: str = ""
    figures: Mapping[str, Callable[[Run, Any], Any]] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)
    notes: Callable[[Run, Any], Sequence[str]] | None = None
    target: Callable[[Run, Any], Any] | None = None
    name: str = ""
    text: str = ""
    cost: Mapping[str, Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stages:  # those of a template; a copy under another name has them
            object.__setattr__(self, "stages", tuple(self.usual_stages()))

    def usual_stages(self) -> Sequence[Stage]:
        """The stages of a template, where none are given."""
        return ()

    def configure(
        self,
        preset: str | None = None,
        settings: Iterable[str] = (),
        file: str | Path | None = None,
        model: str | Path | None = None,
    ) -> Any:
        """A preset, with what a YAML ``file`` says changed, then settings such as ``"model.g=1.7"``.

        Where no preset is named the configuration of the run that made a ``model`` is the start.
        """
        if preset is None and model is not None:
            kind = type(next(iter(self.presets.values())))
            return configure(validated(kind, card_of(self.name, model).origin["config"]), settings, file)
        preset = preset or next(iter(self.presets))
        if preset not in self.presets:
            raise ValueError(f"The study {self.name!r} has no preset {preset!r}. {suggestion(preset, self.presets)}")
        return configure(self.presets[preset], settings, file)

    def stored_config(self, run: Run) -> Any:
        """The configuration an existing run was started with; options it does not name have their defaults."""
        kind, content = type(next(iter(self.presets.values()))), run.config
        try:
            return validated(kind, content)
        except ValueError as error:
            raise ValueError(
                f"{run.path / 'config.yaml'} is no configuration of this version of nearsight: {error} What the run "
                f"holds can be read; to make it again, run the study with another --name."
            ) from None

    def run(
        self,
        path: str | Path,
        config: Any,
        *,
        only: str | None = None,
        resume: bool = False,
        data: str | Path | None = None,
        model: str | Path | None = None,
        listener: Listener | None = None,
    ) -> Run:
        """Run all stages, or ``only`` one whose predecessors are complete, in the folder ``path``.

        With ``data``, the folder of another run, its exact data are taken instead of made (:func:`reuse.take_data`).
        With ``model``, the folder of a model with a card or "pretrained" for the one of the library, nothing is made
        or trained: the large run follows, and the report; so it does where a run has begun like that.
        With ``resume`` a finished stage is verified against its recorded hashes and skipped, an unfinished one goes on
        where it stopped. Without it, results that exist are never touched: a ``FileExistsError`` says what to do.
        """
        path = Path(path)
        existed, study = Run(path).exists, self
        if model is not None or has_model_of_elsewhere(Run(path)):
            study, only = self.of_model(), None if only == LARGE else only
        else:
            study = self.of_config(config)
        stages = study._selected(only)
        if only is not None and not existed and stages[0].inputs and data is None:
            raise FileNotFoundError(
                f"There is no run in {path}, and the stage {only!r} needs {', '.join(stages[0].inputs)}. Run "
                f"{self.stages[0].name!r} first, with the same --name."
            )
        if not existed:
            _require(stages, {}, config)
        with lock(path):
            tidy_tree(path)
            run = Run.create(path, self.name, self._content(Run(path), config), listener=listener)
            if existed and not resume:
                self._refuse_results(run, stages)
            if data is not None:
                take_data(run, self.stages, data)
            if model is not None:
                take_model(run, model, self.system(config).exact)  # type: ignore[attr-defined]
            _require(stages, run.stages, config)
            if only is not None:
                study._require_earlier(run, stages[0])
            with kept_workers():
                for stage in stages:
                    if not stage.cheap and run.complete(stage.name):
                        run.log("skip", stage=stage.name)
                        continue
                    with run.stage(stage.name, stage.outputs, stage.inputs):
                        stage.action(run, config)
        return run

    def of_config(self, config: Any) -> Study:
        """The study with the stages that a configuration asks for beside those that it always has."""
        return self

    @property
    def on_request(self) -> Mapping[str, str]:
        """Stages that :meth:`of_config` adds, and a setting that asks for each."""
        return {}

    def of_model(self) -> Study:
        """The study as it is carried out with a model that came from elsewhere: the large run and the report.

        Raises ``ValueError`` where there is no such run.
        """
        raise ValueError(f"The study {self.name!r} has no large run by a force field, so it takes no model.")

    def _content(self, run: Run, config: Any) -> dict[str, Any]:
        """A configuration in plain data, as the run has it if they differ only in options that 0.1 did not name."""
        with contextlib.suppress(ValueError):  # Run.create says what else differs
            if run.exists and self.stored_config(run) == config:
                return run.config
        content: dict[str, Any] = config.model_dump(mode="json")
        return content

    def _selected(self, only: str | None) -> Sequence[Stage]:
        if only is None:
            return self.stages
        by_name = {stage.name: stage for stage in self.stages}
        if only in self.on_request and only not in by_name:
            raise ValueError(f"The stage {only!r} is one of runs that ask for it: --set {self.on_request[only]}.")
        if only not in by_name:
            raise ValueError(f"The study {self.name!r} has no stage {only!r}. {suggestion(only, by_name)}")
        return [by_name[only]]

    def _refuse_results(self, run: Run, stages: Sequence[Stage]) -> None:
        begun = [stage.name for stage in stages if stage.name in run.stages and not stage.cheap]
        if begun:
            raise FileExistsError(
                f"{run.path} already holds results of {', '.join(begun)}. Add --resume to go on with that run, or "
                f"choose another --name."
            )

    def _require_earlier(self, run: Run, stage: Stage) -> None:
        for earlier in self.stages[: [each.name for each in self.stages].index(stage.name)]:
            if set(earlier.outputs) & set(stage.inputs) and not run.complete(earlier.name):
                raise FileNotFoundError(
                    f"The stage {stage.name!r} needs {', '.join(earlier.outputs)} of the stage {earlier.name!r}, which "
                    f"has not finished in {run.path}. Run {earlier.name!r} first."
                )


@dataclass(frozen=True, kw_only=True)
class MeasuredStudy(Study):
    """A study whose stage "validate" measures by name and judges what was measured.

    measures: ``(run, config) -> xr.Dataset`` by the name under which it is recorded, in their order.
    judge: ``(run, config, {name: measured}) -> checks``.
    """

    measures: Mapping[str, Callable[[Run, Any], xr.Dataset]]
    judge: Callable[[Run, Any, Mapping[str, xr.Dataset]], Sequence[Check]]

    def validation(self, inputs: tuple[str, ...]) -> Stage:
        """The stage "validate"."""
        recorded = tuple(f"observables.nc:{name}" for name in self.measures)
        return Stage("validate", self.validate, outputs=(*recorded, "checks.json:validate"), inputs=inputs)

    def validate(self, run: Run, config: Any) -> None:
        """Measure, and judge."""
        measured = {}
        for name, measure in self.measures.items():
            measured[name] = measure(run, config)
            run.record(name, measured[name])
        run.record_checks("validate", list(self.judge(run, config, measured)))


def _require(stages: Sequence[Stage], begun: Mapping[str, Mapping[str, Any]], config: Any) -> None:
    """Find out before the first stage what a later one would fail for."""
    for stage in stages:
        if stage.requires is not None and begun.get(stage.name, {}).get("state") != "complete":
            stage.requires(config)


def names() -> list[str]:
    """Names of all studies: the public modules of ``nearsight.studies.systems`` and those that packages bring."""
    return sorted({*_modules(), *(entry.name for entry in _entry_points())})


def get(name: str) -> Study:
    """The study of this name or file, complete with the stage that writes its report.

    A file ``my_study.py`` of your own, or an entry point of the group ``nearsight.studies`` of a package of yours, is a
    study like those of the library: a module that exports ``STUDY``.
    """
    if name.endswith(".py"):
        module = _from_file(Path(name))
    elif name in _modules():
        module = importlib.import_module(f"nearsight.studies.systems.{name}")
    elif found := [entry for entry in _entry_points() if entry.name == name]:
        module = found[0].load()
    else:
        known = names()
        raise ValueError(
            f"There is no study {name!r}. {suggestion(name, known)} A study of your own is named by its file, "
            f"./{name}.py."
        )
    if not isinstance(found_study := getattr(module, "STUDY", None), Study):
        raise ValueError(f"{name} is no study: it exports no STUDY that is a nearsight.studies.Study.")
    study = replace(found_study, name=Path(name).stem, text=inspect.cleandoc(module.__doc__ or ""))

    def report(run: Run, config: Any) -> None:
        # Not before it is drawn: matplotlib takes a second to load.
        importlib.import_module("nearsight.studies.report").build(study, run, config)

    inputs = tuple(output for stage in study.stages for output in stage.outputs)
    return replace(study, stages=(*study.stages, Stage("report", report, ("report.html",), inputs, cheap=True)))


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(systems.__path__) if not module.name.startswith("_")]


def _entry_points() -> list[EntryPoint]:
    return list(entry_points(group="nearsight.studies"))


def _from_file(path: Path) -> ModuleType:
    """The module of a file outside of any package, imported so that processes started later can import it as well."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}, so no study in it.")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.import_module(path.stem)
    if Path(str(module.__file__)).resolve() != path.resolve():
        raise ValueError(f"{path.name} has the name of another module, {module.__file__}: give the file another name.")
    return module
