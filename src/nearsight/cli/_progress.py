"""What a user sees while a run goes on, and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from nearsight.cli._terminal import check_table
from nearsight.studies import Run


class ConsoleLogger:
    """Tells every logged event in one line.

    stages: those that are to run. expected: seconds that they took elsewhere, if known: their ratio to what the first
    ones take here tells the time that is left in all.
    """

    def __init__(
        self, console: Console, stages: Sequence[str] = (), expected: Mapping[str, float] | None = None
    ) -> None:
        self.console, self.stages, self.expected = console, list(stages), dict(expected or {})
        self.here = self.there = 0.0

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if event == "begin" and facts["stage"] in self.stages:
            number = self.stages.index(facts["stage"])
            text = f"stage {number + 1}/{len(self.stages)}: {facts['stage']} ...{self._left(self.stages[number:])}"
            self.console.print(text, highlight=False, markup=False)
            return
        if event == "complete" and facts["stage"] in self.expected:
            self.here, self.there = self.here + facts["seconds"], self.there + self.expected[facts["stage"]]
        sentence = _SENTENCES.get(event)
        text = sentence(facts) if sentence else f"  {event}: " + ", ".join(f"{k} {v}" for k, v in facts.items())
        self.console.print(text, highlight=False, markup=False)

    def _left(self, stages: Sequence[str]) -> str:
        """What is left in all, where what earlier runs took says it."""
        if not any(stage in self.expected for stage in stages):
            return ""
        pace = self.here / self.there if self.there > 1 else 1.0
        left = pace * sum(self.expected.get(stage, 0.0) for stage in stages)
        return f" (about {duration(left)} left in all)" if left >= 5 else ""


_SENTENCES: dict[str, Any] = {
    "begin": lambda f: f"{f['stage']} ...",
    "complete": lambda f: f"{f['stage']} done in {duration(f['seconds'])}",
    "skip": lambda f: f"{f['stage']} is complete and verified",
    "missing": lambda f: f"{f['output']} of the stage {f['stage']} is missing: the stage runs again",
    "stale": lambda f: f"{', '.join(f['inputs'])} changed since the stage {f['stage']}: it runs again",
    "failed": lambda f: f"{f['stage']} stopped: {f['reason']}",
    "note": lambda f: f"  {f['text']}",
}


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(run: Run, console: Console) -> None:
    """The table of checks, and where the report is."""
    if checks := run.checks:
        console.print(check_table(checks, title=Text(str(run.path))))
    report = run.path / "report.html"
    console.print(Text(f"Report: {report}" if report.exists() else f"Run folder: {run.path}"), soft_wrap=True)
