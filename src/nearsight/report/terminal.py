"""Verdicts in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from nearsight.analysis import Verdict, written

COLOURS = {"pass": "green", "FAIL": "bold red", "not judged": "yellow"}


def verdict_table(verdicts: Iterable[Verdict], *, title: str | None = None) -> Table:
    """The verdicts as a table for a rich console."""
    verdicts = list(verdicts)
    table = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
    for column in ("quantity", "exact", "learned", "paper", "target", "verdict"):
        table.add_column(column, justify="left" if column in ("quantity", "verdict") else "right")
    for v in verdicts:
        # Text, not markup: a quantity such as "[1/a]" must print as it is.
        values = (Text(written(x)) for x in (v.exact, v.learned, v.paper, v.target))
        table.add_row(Text(v.quantity), *values, Text(v.word, style=COLOURS[v.word]))
    # Below and not beside: a column of sentences would squeeze the numbers of an 80-character terminal.
    notes = [f"{v.quantity}: {v.note}" for v in verdicts if v.note]
    table.caption = Text("\n".join(notes)) if notes else None
    return table
