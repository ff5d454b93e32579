"""`nearsight runs`: what there is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nearsight.cli._progress import duration
from nearsight.cli._terminal import plain_table
from nearsight.storage import CorruptFileError, locked
from nearsight.studies import Run, get


def show(folder: Path, console: Console) -> None:
    """A line for every run below a folder: how far it is, how old, how large, and what its checks say."""
    table = plain_table()
    for column in ("run", "state", "changed", "MB", "checks"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for manifest in sorted(folder.glob("*/*/manifest.json")):
        run = Run(manifest.parent)
        try:
            how_far, checks = state(run), [check.word for check in run.checks]
        except CorruptFileError as error:
            how_far, checks = f"damaged: {error}", []
        told = ", ".join(f"{checks.count(word)} {word}" for word in ("pass", "FAIL", "not judged") if word in checks)
        age = time.time() - max(file.stat().st_mtime for file in run.path.iterdir())
        style = "bold red" if "FAIL" in checks else ""
        name = Text(str(run.path.relative_to(folder)))
        table.add_row(name, Text(how_far), f"{_age(age)} ago", f"{megabytes(run.path):.1f}", Text(told, style=style))
    if not table.rows:
        console.print(
            Text(f"There are no runs in {folder}. `nearsight run STUDY` makes one; --runs says where to look.")
        )
        return
    console.print(table)


def finished(folder: Path, stages: int) -> Iterator[Run]:
    """The whole runs of one study's folder whose stages have all ended."""
    for manifest in sorted(folder.glob("*/manifest.json")):
        run = Run(manifest.parent)
        with contextlib.suppress(CorruptFileError, FileNotFoundError):  # another run's damage is no affair of this one
            done = [entry["state"] == "complete" for entry in run.stages.values()]
            if len(done) == stages and all(done) and run.config:
                yield run


def state(run: Run) -> str:
    """How far a run is."""
    stages = run.stages
    done = sum(entry["state"] == "complete" for entry in stages.values())
    unfinished = [name for name, entry in stages.items() if entry["state"] != "complete"]
    try:
        total = f"/{len(get(run.manifest['study']).stages)}"
    except (ValueError, FileNotFoundError):  # a study of somebody's own
        total = ""
    if unfinished:
        return f"{'in' if locked(run.path) else 'stopped in'} {unfinished[0]}, {done}{total} done"
    return "finished" if total == f"/{done}" else f"{done}{total} done"


def megabytes(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _age(seconds: float) -> str:
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else duration(seconds)
