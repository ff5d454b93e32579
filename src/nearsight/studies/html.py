"""The report: one HTML file that can be mailed, with every picture inside."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import unicodedata
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
    system: str = "",
    parameters: Sequence[tuple[str, str, str]] = (),
    settings: Sequence[tuple[str, str, str]] = (),
    sources: Sequence[str] = (),
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
    system: the Hamiltonian and what belongs to it, as HTML.
    parameters, settings: (name, value, meaning) of the physics, which is shown, and of all settings, which is folded.
    sources: what to cite.
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
                "caption": marked(figure.caption),
                "alt": plain(figure.caption) or name,
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
    content = page.get_template("report.html.j2").render(
        title=title,
        question=question,
        checks=checks,
        counts=counts,
        figures=pictures,
        config=_plain_text(config),
        manifest=_plain_text(manifest),
        notes=[notes] if isinstance(notes, str) else list(notes),
        system=system,
        parameters=parameters,
        settings=settings,
        sources=sources,
        command=command if command is None or isinstance(command, str) else shlex.join(command),
    )
    write_atomic(path, content)
    return path


_SIGNS = {
    "times": "×", "cdot": "·", "pm": "±", "perp": "⊥", "langle": "⟨", "rangle": "⟩", "propto": "∝", "ell": "ℓ",
    "infty": "∞", "partial": "∂", "sqrt": "√", "le": "≤", "ge": "≥", "to": "→", "mathrm": "", "left": "", "right": "",
    "varphi": "φ", "varepsilon": "ε", "lambda": "λ", "Lambda": "Λ",
}  # fmt: skip
_INDEX = re.compile(r"([_^])(?:\{([^{}]*)\}|(\S))")


def plain(caption: str) -> str:
    """A caption without TeX: ``$\\varphi$`` becomes φ, for readers of HTML."""
    return re.sub(r"\$([^$]*)\$", lambda m: re.sub(r"[{}]", "", _letters(m[1])), caption)


def marked(caption: str) -> str:
    """A caption as HTML, escaped: letters of formulas in italics, their indices below and above."""
    parts = re.split(r"\$([^$]*)\$", caption)
    return "".join(_formula(part) if k % 2 else html.escape(part) for k, part in enumerate(parts))


def _formula(text: str) -> str:
    done, at, text = "", 0, _letters(text)
    for index in _INDEX.finditer(text):
        tag = "sub" if index[1] == "_" else "sup"
        done += _italic(text[at : index.start()]) + f"<{tag}>{html.escape(index[2] or index[3])}</{tag}>"
        at = index.end()
    return done + _italic(text[at:])


def _italic(text: str) -> str:
    """Single letters in italics, names of functions upright."""
    words = re.split(r"([^\W\d_]+)", re.sub(r"[{}]", "", text))
    return "".join(f"<i>{word}</i>" if len(word) == 1 and word.isalpha() else html.escape(word) for word in words)


def _letters(text: str) -> str:
    """Commands of TeX as the letters and signs they print; names of functions as they are."""

    def printed(match: re.Match[str]) -> str:
        name = match[1]
        case = "CAPITAL" if name[0].isupper() else "SMALL"
        try:
            return _SIGNS[name] if name in _SIGNS else unicodedata.lookup(f"GREEK {case} LETTER {name.upper()}")
        except KeyError:
            return name

    return re.sub(r"\\[,;! ]", " ", re.sub(r"\\([A-Za-z]+)", printed, text))


def _plain_text(content: Mapping[str, Any]) -> str:
    """Nested mappings, lists and values as YAML; what YAML does not know by its name."""
    plain = json.loads(json.dumps(content, default=lambda x: x.item() if hasattr(x, "item") else str(x)))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
