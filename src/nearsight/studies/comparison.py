"""Checks of several runs side by side: what differs between the runs, what came out, and what got worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearsight.studies.checks import Check, Sigma, Within
from nearsight.studies.run import Run
from nearsight.studies.settings import flatten

SIGNIFICANT = 2.0
"""Standard errors by which a check of one run must be worse than that of another to count."""


@dataclass(frozen=True)
class Row:
    """One check in every run, None where a run has none of this name; ``worse`` than in the first run, or not."""

    name: str
    checks: tuple[Check | None, ...]
    worse: tuple[bool, ...]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Parameters
    ----------
    study: that of all runs.
    runs: the folders.
    made: for every run, what the manifest says of its origin: version, commit, date.
    settings: dotted name of every setting that is not the same in all runs, and its values.
    rows: checks in the order in which they first appear.
    """

    study: str
    runs: tuple[Path, ...]
    made: tuple[dict[str, Any], ...]
    settings: dict[str, tuple[Any, ...]]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether everything judged passes in every run, and nothing is significantly worse than in the first."""
        failed = any(check is not None and check.passed is False for row in self.rows for check in row.checks)
        return not failed and not any(any(row.worse) for row in self.rows)

    def config(self) -> dict[str, Any]:
        """The comparison in plain data, which JSON can hold."""
        judged = [
            {
                "name": row.name,
                "checks": [None if c is None else c.config() | {"passed": c.passed} for c in row.checks],
                "worse": list(row.worse),
            }
            for row in self.rows
        ]
        return {
            "study": self.study,
            "runs": [{"path": str(path)} | made for path, made in zip(self.runs, self.made, strict=True)],
            "settings": {key: list(values) for key, values in self.settings.items()},
            "checks": judged,
            "passed": self.passed,
        }


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Compare finished runs of one study with the first of them.

    Raises ``ValueError`` for runs of different studies, fewer than two, or without checks, and ``FileNotFoundError``
    where there is no run.
    """
    if len(paths) < 2:
        raise ValueError(f"It takes two runs to compare, got {len(paths)}.")
    runs = [_checked_run(path) for path in paths]
    studies = [run.manifest["study"] for run in runs]
    if len(set(studies)) > 1:
        each = ", ".join(f"{run.path} of {study}" for run, study in zip(runs, studies, strict=True))
        raise ValueError(f"Runs of different studies have no checks in common: {each}.")
    configs = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    settings = {key: tuple(config.get(key) for config in configs) for key in keys}
    named = [{check.name: check for check in run.checks} for run in runs]
    rows = []
    for name in dict.fromkeys(name for checks in named for name in checks):
        first, *others = checks = [found.get(name) for found in named]
        rows.append(Row(name, tuple(checks), (False, *(worse(first, other) for other in others))))
    return Comparison(
        study=studies[0],
        runs=tuple(run.path for run in runs),
        made=tuple({key: run.manifest.get(key) for key in ("nearsight", "commit", "created")} for run in runs),
        settings={key: values for key, values in settings.items() if any(value != values[0] for value in values)},
        rows=tuple(rows),
    )


def worse(first: Check | None, other: Check | None) -> bool:
    """Whether a check came out significantly worse than in the first run.

    That is: it is judged there and absent here, it passes there and fails here, or, where both values have errors, the
    distance to the good side has grown by more than two standard errors of the difference. Without errors nobody can
    tell, and only the verdict counts; what is not judged has no good side.
    """
    if first is None or first.criterion is None:
        return False
    if other is None or (first.passed is True and other.passed is False):
        return True
    errors = [_error(first), _error(other)]
    growth = first.criterion.badness(other) - first.criterion.badness(first)
    return growth > SIGNIFICANT * math.hypot(*errors)  # never, if one of them is not known


def _error(check: Check) -> float:
    """Standard error of what the criterion looks at; NaN if the value has none."""
    if check.error is None:
        return math.nan
    return check.combined_error if isinstance(check.criterion, Within | Sigma) else check.error


def _checked_run(path: str | Path) -> Run:
    """A run that holds checks; ``ValueError`` or ``FileNotFoundError`` with the cure for any other folder."""
    run = Run(path)
    if not run.has_manifest:
        raise FileNotFoundError(f"There is no run in {run.path}. Give a folder as RUNS/STUDY/NAME.")
    if (run.path / "checks.json").exists() and run.checks:
        return run
    if (run.path / "verdicts.json").exists():
        raise ValueError(
            f"{run.path} holds its results as sentences (verdicts.json), not as numbers. Delete verdicts.json and the "
            f"folders comparison and large, and resume: what is judged is computed again, with the data and the model "
            f"that are there."
        )
    raise ValueError(f"{run.path} holds no checks yet. Resume it, so that its stages come to their end.")
