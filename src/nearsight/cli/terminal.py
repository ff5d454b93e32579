"""Checks and verdicts in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from nearsight.analysis import Verdict, written
from nearsight.studies.checks import Check

# Fixed for a terminal of 80 characters, longer entries wrap: left alone, sentences would squeeze the numbers.
CHECK_WIDTHS = {"verdict": 10, "check": 20, "value": 12, "exact": 11, "published": 9, "criterion": 10}
WIDTHS = {"verdict": 10, "quantity": 22, "exact": 11, "learned": 11, "paper": 8, "target": 10}
COLOURS = {"pass": "green", "FAIL": "bold red", "not judged": "yellow"}


def check_table(checks: Iterable[Check], *, title: Text | None = None) -> Table:
    """The checks as a table for a rich console."""
    checks = list(checks)
    notes = [f"{check.name}: {check.remark}" for check in checks if check.remark]
    return _table([check.cells() for check in checks], CHECK_WIDTHS, notes, title)


def verdict_table(verdicts: Iterable[Verdict], *, title: Text | None = None) -> Table:
    """The verdicts as a table for a rich console."""
    verdicts = list(verdicts)
    values = ("exact", "learned", "paper", "target")
    rows = [
        {"verdict": v.word, "quantity": v.quantity} | {name: written(getattr(v, name)) for name in values}
        for v in verdicts
    ]
    return _table(rows, WIDTHS, [f"{v.quantity}: {v.note}" for v in verdicts if v.note], title)


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


def _table(rows: Iterable[Mapping[str, str]], widths: Mapping[str, int], notes: list[str], title: Text | None) -> Table:
    table = plain_table(title)
    for column, width in widths.items():
        left = column in ("check", "quantity", "verdict")
        table.add_column(column, justify="left" if left else "right", width=width)
    for row in rows:
        # Text, not markup: a quantity such as "[1/a]" must print as it is.
        table.add_row(*(Text(row[name], style=COLOURS[row[name]] if name == "verdict" else "") for name in widths))
    # Below and not beside: a column of sentences would squeeze the numbers of an 80-character terminal.
    table.caption = Text("\n".join(notes)) if notes else None
    return table
