"""What a user sees while a run goes on, and at its end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from nearsight.cli._terminal import check_table
from nearsight.studies import Run


class ConsoleLogger:
    """Tells every logged event in one line."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        sentence = _SENTENCES.get(event)
        text = sentence(facts) if sentence else f"  {event}: " + ", ".join(f"{k} {v}" for k, v in facts.items())
        self.console.print(text, highlight=False, markup=False)


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
