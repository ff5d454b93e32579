"""Published numbers to hold figures against: tables that a reader brings along."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from nearsight._validation import filename
from nearsight.storage import read_yaml

CARD = ("quantity", "source", "units", "label", "scale")
MARKERS = "s^Dv<>"


@dataclass(frozen=True)
class Published:
    """A table of published numbers, and where it is from.

    ``columns`` are by their symbols: t, l, L, phi, barrier, ...; the error of a column y is the column ``y_error``.
    Nothing of this kind comes with the library: numbers read off a printed figure belong to whoever read them.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.plots import Published
    >>> t = np.array([1.0, 4.0, 9.0])
    >>> table = Published("growth", "Fig. 3 of a paper", {"t": t, "L": np.sqrt(t), "L_error": 0.1 * np.sqrt(t)})
    >>> x, y, error = table.curve("t", "L")
    >>> y.tolist(), error.round(2).tolist()
    ([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    """

    quantity: str
    source: str
    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str] = field(default_factory=dict)
    label: str = ""

    def curve(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Points (x, y) and the errors of y if the table has them."""
        missing = [name for name in (x, y) if name not in self.columns]
        if missing:
            raise ValueError(
                f"The table of {self.source} has no column {' or '.join(map(repr, missing))}, but "
                f"{', '.join(self.columns)}; rename the column in the first line of the file."
            )
        return self.columns[x], self.columns[y], self.columns.get(f"{y}_error")


def read_published(path: str | Path) -> Published:
    """Read a table ``name.csv`` with its card ``name.yaml`` beside it.

    The first line of the table names the columns; the rest are numbers. The card says what they are:

    .. code-block:: yaml

        quantity: length of the super-clusters, 150 × 150 sites
        source: S. Zhang, PhD thesis (2024), fig. 2.8(b)
        units: {t: 100 steps, L: a}
        scale: {t: 100}               # optional: factors that bring columns to the units of our figures
        label: thesis                 # optional: a short name for the legend

    ``quantity`` and ``source`` are required: a number whose origin nobody knows proves nothing.
    """
    path = filename(path, "path")
    beside = path.with_suffix(".yaml")
    for file in (path, beside):
        if not file.exists():
            raise FileNotFoundError(
                f"{file} does not exist: a table needs numbers (.csv) and a card (.yaml) beside it."
            )
    card = read_yaml(beside)
    if not isinstance(card, dict) or not all(str(card.get(key) or "").strip() for key in CARD[:2]):
        raise ValueError(f"{beside.name} must say 'quantity' and 'source' of the numbers.")
    if unknown := sorted(set(card) - set(CARD)):
        raise ValueError(f"{beside.name} has entries {', '.join(unknown)}; a card knows {', '.join(CARD)}.")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise ValueError(f"{path.name} needs a line of column names and one or more lines of numbers.")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"The columns of {path.name} need different names, got {names}.")
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"Every line of {path.name} needs {len(names)} numbers, one for each column.")
    try:
        table = np.array([[float(cell) for cell in row] for row in rows[1:]])
    except ValueError as error:
        raise ValueError(f"{path.name} holds something that is no number: {error}.") from error
    if not np.isfinite(table).all():
        raise ValueError(f"{path.name} holds NaN or infinite numbers; leave out their lines.")
    scale = card.get("scale") or {}
    units = card.get("units") or {}
    for key, entry in (("scale", scale), ("units", units)):
        if not isinstance(entry, dict) or (strange := sorted(set(entry) - set(names))):
            strange = strange if isinstance(entry, dict) else [str(entry)]
            raise ValueError(
                f"{key} of {beside.name} must be by column ({', '.join(names)}), got {', '.join(strange)}."
            )
    columns = {}
    for name, column in zip(names, table.T, strict=True):
        factor = scale.get(name, scale.get(name.removesuffix("_error"), 1.0))
        columns[name] = column * float(factor)
    units = {str(name): str(unit) for name, unit in units.items()}
    return Published(str(card["quantity"]), str(card["source"]), columns, units, str(card.get("label") or ""))


def _overlay(axes: Axes, published: Published, x: str, y: str, *, number: int = 0) -> None:
    """Draw a published curve as open grey symbols, with its label or source in the legend."""
    at, values, errors = published.curve(x, y)
    axes.errorbar(
        at, values, errors, fmt=MARKERS[number % len(MARKERS)], color="#777777", markersize=3.4, elinewidth=0.7,
        markerfacecolor="white", markeredgewidth=0.8, zorder=2.5, label=published.label or published.source,
    )  # fmt: skip


def _sources(tables: list[Published]) -> str:
    """What the open symbols of a figure are, for its caption."""
    listed = "; ".join(dict.fromkeys(f"{table.quantity} from {table.source}" for table in tables))
    return f" Open grey symbols are published: {listed}." if listed else ""
