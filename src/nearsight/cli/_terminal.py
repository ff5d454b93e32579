"""Checks in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from nearsight.studies.checks import Check

# Fixed for a terminal of 80 characters, longer entries wrap: left alone, sentences would squeeze the numbers.
WIDTHS = {"verdict": 10, "check": 20, "value": 12, "exact": 11, "published": 9, "criterion": 10}
COLOURS = {"pass": "green", "FAIL": "bold red", "not judged": "yellow"}


def check_table(checks: Iterable[Check], *, title: Text | None = None) -> Table:
    """The checks as a table for a rich console."""
    checks, table = list(checks), plain_table(title)
    for column, width in WIDTHS.items():
        table.add_column(column, justify="left" if column in ("check", "verdict") else "right", width=width)
    for row in (check.cells() for check in checks):
        # Text, not markup: a quantity such as "[1/a]" must print as it is.
        table.add_row(*(Text(row[name], style=COLOURS[row[name]] if name == "verdict" else "") for name in WIDTHS))
    # Below and not beside: a column of sentences would squeeze the numbers of an 80-character terminal.
    notes = [f"{check.name}: {check.remark}" for check in checks if check.remark]
    table.caption = Text("\n".join(notes)) if notes else None
    return table


def plain_table(title: Text | None = None) -> Table:
    """An empty table as all commands draw it."""
    return Table(
        title=title,
        title_justify="left",
        header_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
