"""Docstrings as they are written (reStructuredText roles and math, plain lists of parameters) as Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object


class Docstrings(Extension):
    """Rewrites every docstring before it is rendered; the source stays readable in ``help()``."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    text = _math(text)
    # Sessions, which would be quotations and links, as code; a heading above them as a bold word.
    text = re.sub(r"^(Examples?)\n-{3,}\n", r"**\1**\n\n", text, flags=re.MULTILINE)
    text = re.sub(
        r"^>>> (?:.*\S.*\n?)+", lambda found: f"\n~~~pycon\n{found[0].rstrip()}\n~~~\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^([A-Z]\w+)\n-{3,}\n((?:.*\S.*\n?|\n(?=[ ]))*)", _section, text, flags=re.MULTILINE)
    # Options listed in the text would be taken for titles of boxes.
    text = re.sub(r"^(`*[a-z_]\w*`*): (\S.*(?:\n {4}.*)*)", _option, text, flags=re.MULTILINE)
    text = re.sub(r"^((?:={3,} +)+={3,})\n(.*?)\n\1$", _table, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    # Brackets of averages and of pairs, as in <n_i>, would be taken for tags, and vanish.
    return "\n".join(line if line.startswith("    ") else _without_tags(line) for line in text.split("\n"))


def _without_tags(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if k % 2 else re.sub(r"<(/?\w+)>", r"&lt;\1&gt;", p) for k, p in enumerate(parts))


def _math(text: str) -> str:
    """``.. math::`` blocks between \\[ and \\]; lines of their own, so that no Markdown rule touches them."""
    lines, result = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        found = re.match(r"^( *)\.\. math::\s*(.*)$", line)
        if not found:
            result.append(line)
            continue
        indent, block = len(found[1]), [found[2]] if found[2] else []
        while lines and (not lines[0].strip() or len(lines[0]) - len(lines[0].lstrip()) > indent):
            block.append(lines.pop(0))
        body = textwrap.dedent("\n".join(block[1:] if found[2] else block)).strip()
        equation = " ".join(part for part in (found[2], *body.split("\n")) if part.strip())
        result += ["", f"{found[1]}$$", f"{found[1]}{equation}", f"{found[1]}$$", ""]
    return "\n".join(result)


def _section(found: re.Match[str]) -> str:
    """A heading and ``name: text`` entries, continued by deeper lines, as a bold word and a list."""
    title, body = found[1], found[2]
    if title == "References":
        entries = [body.strip()]
    else:
        entries = [e.strip() for e in re.split(r"\n(?=\S)", body.strip("\n"))]
        entries = [re.sub(r"^([\w, ]+):\s", r"`\1`: ", e) for e in entries]
    items = "\n".join("- " + " ".join(e.split()) for e in entries if e)
    return f"**{title}**\n\n{items}\n"


def _option(found: re.Match[str]) -> str:
    return f"- `{found[1].strip('`')}`: {' '.join(found[2].split())}\n"


def _table(found: re.Match[str]) -> str:
    """A simple table without a header; its columns start where the rule does."""
    starts = [m.start() for m in re.finditer("=+", found[1])]
    cut = [slice(a, b) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    rows = ["| " + " | ".join(line[c].strip() for c in cut) + " |" for line in found[2].split("\n")]
    return "\n".join(["|" + " |" * len(cut), "|" + "---|" * len(cut), *rows])
