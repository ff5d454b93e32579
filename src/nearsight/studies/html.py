"""The report: one HTML file that can be mailed, with every picture inside."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from nearsight.plots.style import COLUMN, Picture
from nearsight.storage import write_atomic
from nearsight.studies.checks import Check

SCREEN = 130.0
"""Pixels of the page for an inch of a figure."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_report(
    path: str | Path,
    *,
    title: str,
    question: str,
    figures: Mapping[str, Picture],
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    checks: Sequence[Check] = (),
    notes: Sequence[str] | str = (),
    command: str | Sequence[str] | None = None,
) -> Path:
    """Write a self-contained report to ``path`` and the figures as PNG to ``figures/`` beside it.

    The file loads nothing from the network and from the disk: styles and pictures are inside. All text is escaped. Both
    the pictures and the report are written atomically, the report last.

    Parameters
    ----------
    path: the HTML file, by convention ``report.html`` in the run folder.
    question: what the study asks, in words.
    checks: what was found.
    figures: name of the file (without suffix) and picture, in the order in which they appear.
    config, manifest: as in ``config.yaml`` and ``manifest.json``; any nesting of mappings, lists and values.
    notes: paragraphs on what falls short.
    command: how to run it again, a line or a list of arguments (which is quoted for the shell).
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"A report is an HTML file, got {path.name!r}; use report.html.")
    for name, figure in figures.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a figure file; use letters, digits, '_', '-' and '.'.")
        if not isinstance(figure, Picture):
            raise TypeError(f"Figure {name!r} must be a Picture of nearsight.plots, got {type(figure).__name__}.")
    pictures = []
    for name, figure in figures.items():
        png = figure.png()
        write_atomic(path.parent / "figures" / f"{name}.png", png)
        inches = float(figure.get_figwidth())
        pictures.append(
            {
                "name": name,
                "data": base64.b64encode(png).decode(),
                "caption": plain(figure.caption),
                "width": round(inches * SCREEN),
                "wide": inches > 1.3 * COLUMN,
            }
        )
    words = [check.word for check in checks]
    counts = {word: words.count(word) for word in ("pass", "FAIL", "not judged")}
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            question=question,
            checks=checks,
            counts=counts,
            figures=pictures,
            config=yaml.safe_dump(_plain_data(config), sort_keys=False, allow_unicode=True),
            manifest=yaml.safe_dump(_plain_data(manifest), sort_keys=False, allow_unicode=True),
            notes=[notes] if isinstance(notes, str) else list(notes),
            command=command if command is None or isinstance(command, str) else shlex.join(command),
        )
    )
    write_atomic(path, html)
    return path


def plain(caption: str) -> str:
    """A caption without TeX: ``$\\varphi$`` becomes φ, for readers of HTML."""
    letters = {"varphi": "φ", "phi": "φ", "Phi": "Φ", "Delta": "Δ", "times": "×", "pi": "π", "sigma": "σ", "rho": "ρ"}
    letters |= {"tau": "τ", "lambda": "λ", "langle": "⟨", "rangle": "⟩"}
    text = re.sub(r"\\([A-Za-z]+)", lambda m: letters.get(m[1], m[1]), caption)
    return re.sub(r"\$([^$]*)\$", lambda m: re.sub(r"[{}]", "", m[1]), text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nearsight.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment


def _plain_data(value: Any) -> Any:
    """Mappings, lists, numbers and text as YAML knows them; anything else by its name."""
    if isinstance(value, Mapping):
        return {str(k): _plain_data(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain_data(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
