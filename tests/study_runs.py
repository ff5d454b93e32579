"""What tests of all studies do with a run of the tiny preset, and what every such run must keep."""

import functools
import math
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nearsight.cli.app import app
from nearsight.plots import Picture, define_symbols
from nearsight.studies import Run, Study, get
from nearsight.training import DataSet, MoveData

KEPT = tempfile.TemporaryDirectory(prefix="runs")
"""Finished runs of this process, of which tests get copies."""


def finished_run(study: str, runs: Path) -> Run:
    """The tiny preset through the command line, from nothing to the report, in whose figures no letter is unknown.

    It is carried out once for all tests of a worker: they share it where they are of one group.
    """
    return Run(shutil.copytree(_finished(study).path, runs / study / "tiny"))


@functools.cache
def _finished(study: str) -> Run:
    unknown: set[str] = set()

    def watched(*arguments) -> set[str]:
        nonlocal unknown
        unknown |= (found := define_symbols(*arguments))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nearsight.studies.report.define_symbols", watched)
        if study != "holstein":  # one study draws for papers, too; fonts take half of the time of figures
            patch.setattr(Picture, "rendered", _on_the_screen)
        result = CliRunner().invoke(app, ["run", study, "--preset", "tiny", "--runs", KEPT.name, "--debug"])
    assert result.exit_code == 0, result.output
    assert not unknown, f"say what {', '.join(sorted(unknown))} are, in a caption or in the symbols of the study"
    return Run(Path(KEPT.name) / study / "tiny")


RENDERED = Picture.rendered


def _on_the_screen(picture: Picture, *kinds: str) -> tuple[bytes, ...]:
    (png,) = RENDERED(picture, "png")
    return tuple(png if kind == "png" else b"" for kind in kinds)


def without_report(study: Study) -> Study:
    """The study up to its numbers: figures take a third of a tiny run, and tests of restarts do not look at them."""
    *stages, report = study.stages
    assert report.name == "report"
    return replace(study, stages=tuple(stages))


def fingerprint(run: Run, observables: Iterable[str], moves: bool = False) -> dict[str, str]:
    """Hashes of everything that must not depend on interruptions; timings do, and stand in the checks alone."""
    kind = MoveData if moves else DataSet
    hashes = {name: run.hash(f"observables.nc:{name}") for name in observables}
    return hashes | {"data": kind.open(run.path / "data.zarr").hash, "model": run.hash("model")}


def assert_kept_promises(run: Run) -> None:
    """Every stage has left its outputs, the report has figures, and nothing half done is left."""
    for stage in get(run.manifest["study"]).stages:
        assert run.complete(stage.name)
    assert (run.path / "report.html").stat().st_size > 1e5
    assert not (run.path / "ensembles").exists() and not list(run.path.glob("*.parts"))


def assert_checks_are_numbers(run: Run, *, more_than: int) -> None:
    checks = run.checks
    assert len({check.name for check in checks}) == len(checks) > more_than
    assert all(check.note if check.value is None else math.isfinite(check.value) for check in checks)


def without_results(run: Run, folder: Path, lost: Iterable[str]) -> Run:
    """A copy of the run in which folders and all observables are lost, but not the data."""
    study = run.manifest["study"]
    copy = Run(shutil.copytree(run.path, folder / study / "tiny"))
    for name in lost:
        shutil.rmtree(copy.path / name)
    (copy.path / "observables.nc").unlink()
    return copy


def resume(run: Run) -> list[str]:
    """Go on with a run to the last of its numbers, and tell which stages were skipped."""
    skipped: list[str] = []

    def listener(event: str, facts: dict) -> None:
        if event == "skip":
            skipped.append(facts["stage"])

    study = without_report(get(run.manifest["study"]))
    study.run(run.path, study.stored_config(run), resume=True, listener=listener)
    return skipped


class StudyContract:
    """Tests of ``finished``, a run of the tiny preset: the tests of a study inherit them and say what differs."""

    observables: tuple[str, ...]
    checks: int
    """There are more."""
    lost: tuple[str, ...] = ("model", "fit", "comparison", "large")
    moves = False
    """Whether the data are of moves."""

    def test_every_stage_leaves_what_it_promises(self, finished):
        assert_kept_promises(finished)

    @pytest.mark.slow
    def test_a_stage_that_is_lost_ends_with_the_same_numbers(self, finished, tmp_path):
        copy = without_results(finished, tmp_path, self.lost)
        assert resume(copy) == ["generate"]
        assert fingerprint(copy, self.observables, self.moves) == fingerprint(finished, self.observables, self.moves)

    def test_every_check_is_a_number_of_its_own_name(self, finished):
        assert_checks_are_numbers(finished, more_than=self.checks)
