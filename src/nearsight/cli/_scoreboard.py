"""`nearsight scoreboard`: the numbers of the papers and ours."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from nearsight.cli._terminal import check_table
from nearsight.studies import scoreboard


def show(paths: list[Path], *, file: Path | None, console: Console) -> None:
    """Print the committed scoreboard with the numbers of finished runs in it; write it to a file if one is named."""
    base = file if file is not None and file.exists() else scoreboard.COMMITTED
    known = scoreboard.read(base) if base.exists() else []
    records = scoreboard.merge(known, [scoreboard.record(path) for path in paths])
    if not records:
        raise ValueError(
            "There is no scoreboard here: docs/scoreboard.json comes with a checkout, not with an installation. Name "
            "finished runs, as RUNS/STUDY/NAME."
        )
    if file is not None:
        scoreboard.write(file, records)
    for one in records:
        console.print()
        console.print(check_table(one.checks, title=Text(f"{one.command}\n{one.origin}")))
