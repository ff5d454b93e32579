"""The report: one HTML file that can be mailed, with every picture inside."""

from __future__ import annotations

import base64
import json
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
    """Write a self-contained report to ``path`` and the figures as PNG and vector PDF to ``figures/`` beside it.

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
        png, pdf = figure.rendered("png", "pdf")
        write_atomic(path.parent / "figures" / f"{name}.png", png)
        write_atomic(path.parent / "figures" / f"{name}.pdf", pdf)
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
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("nearsight.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = page.get_template("report.html.j2").render(
        title=title,
        question=question,
        checks=checks,
        counts=counts,
        figures=pictures,
        config=_plain_text(config),
        manifest=_plain_text(manifest),
        notes=[notes] if isinstance(notes, str) else list(notes),
        command=command if command is None or isinstance(command, str) else shlex.join(command),
    )
    write_atomic(path, html)
    return path


def plain(caption: str) -> str:
    """A caption without TeX: ``$\\varphi$`` becomes φ, for readers of HTML."""
    letters = {"varphi": "φ", "phi": "φ", "Phi": "Φ", "Delta": "Δ", "times": "×", "pi": "π", "sigma": "σ", "rho": "ρ"}
    letters |= {"tau": "τ", "lambda": "λ", "langle": "⟨", "rangle": "⟩"}
    text = re.sub(r"\\([A-Za-z]+)", lambda m: letters.get(m[1], m[1]), caption)
    return re.sub(r"\$([^$]*)\$", lambda m: re.sub(r"[{}]", "", m[1]), text)


def _plain_text(content: Mapping[str, Any]) -> str:
    """Nested mappings, lists and values as YAML; what YAML does not know by its name."""
    plain = json.loads(json.dumps(content, default=lambda x: x.item() if hasattr(x, "item") else str(x)))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
