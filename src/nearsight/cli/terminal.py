"""Verdicts in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from nearsight.analysis import Verdict, written

WIDTHS = {"verdict": 10, "quantity": 22, "exact": 11, "learned": 11, "paper": 8, "target": 10}
COLOURS = {"pass": "green", "FAIL": "bold red", "not judged": "yellow"}


def verdict_table(verdicts: Iterable[Verdict], *, title: Text | None = None) -> Table:
    """The verdicts as a table for a rich console."""
    verdicts = list(verdicts)
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    # Fixed for a terminal of 80 characters, longer entries wrap: left alone, sentences would squeeze the numbers.
    for column, width in WIDTHS.items():
        left = column in ("quantity", "verdict")
        table.add_column(column, justify="left" if left else "right", width=width)
    for v in verdicts:
        # Text, not markup: a quantity such as "[1/a]" must print as it is.
        values = (Text(written(x)) for x in (v.exact, v.learned, v.paper, v.target))
        table.add_row(Text(v.word, style=COLOURS[v.word]), Text(v.quantity), *values)
    # Below and not beside: a column of sentences would squeeze the numbers of an 80-character terminal.
    notes = [f"{v.quantity}: {v.note}" for v in verdicts if v.note]
    table.caption = Text("\n".join(notes)) if notes else None
    return table
