"""`nearsight compare`: checks of several runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearsight.cli._terminal import COLOURS, plain_table
from nearsight.studies.checks import Check
from nearsight.studies.comparison import Comparison, compare


def show(paths: list[Path], *, as_json: bool, console: Console) -> bool:
    """Print the comparison as tables or as JSON, and return whether nothing failed or got worse."""
    found = compare(paths)
    if as_json:
        console.print(json.dumps(found.config(), indent=2), highlight=False, markup=False, soft_wrap=True)
    else:
        console.print(settings_table(found))
        console.print(checks_table(found))
    return found.passed


def settings_table(found: Comparison) -> Table:
    """Where the runs come from, and the settings in which they differ."""
    table = _with_runs(found, "setting")
    for key in ("created", "nearsight", "commit"):
        table.add_row(Text(key), *(Text(str(made[key])[:19], style="dim") for made in found.made))
    for setting, values in found.settings.items():
        table.add_row(Text(setting), *(Text("–" if value is None else str(value)) for value in values))
    return table


def checks_table(found: Comparison) -> Table:
    """Every check in every run, red where it fails, and what is worse than in the first run."""
    table = _with_runs(found, "check")
    for row in found.rows:
        cells = [_cell(check, worse) for check, worse in zip(row.checks, row.worse, strict=True)]
        criterion = next((check.criterion.text for check in row.checks if check and check.criterion), "")
        table.add_row(Text(f"{row.name} {criterion}".strip()), *cells)
    return table


def _with_runs(found: Comparison, head: str) -> Table:
    names = [path.name for path in found.runs]
    table = plain_table()
    table.add_column(head)
    for path in found.runs:
        table.add_column(Text(path.name if names.count(path.name) == 1 else str(path)), justify="right")
    return table


def _cell(check: Check | None, worse: bool) -> Text:
    if check is None:
        return Text("absent, worse" if worse else "–", style=COLOURS["FAIL"] if worse else "")
    cells = check.cells()
    words = [cells["value"], *([cells["verdict"]] if check.passed is not None else []), *(["worse"] if worse else [])]
    return Text(", ".join(words), style=COLOURS["FAIL"] if worse or check.passed is False else "")
