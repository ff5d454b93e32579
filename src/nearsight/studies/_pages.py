"""Docstrings of studies in HTML: paragraphs, lists, formulas set apart, and bold heads of sections."""

from __future__ import annotations

import html
import re


def sections(text: str) -> dict[str, str]:
    """HTML by the bold words at the head of every section, as "System" in ``**System.** Electrons ...``."""
    found: dict[str, str] = {}
    parts = re.split(r"^\*\*([^*]+?)\.\*\*", text, flags=re.MULTILINE)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        found[name] = page(body)
    return found


def page(text: str) -> str:
    """Paragraphs, lists with ``-`` and blocks indented by four spaces."""
    done = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.rstrip().split("\n")
        if all(line.startswith("    ") for line in lines):
            done.append(f"<pre>{html.escape(chr(10).join(line[4:] for line in lines))}</pre>")
        elif lines[0].lstrip().startswith("- "):
            items = re.split(r"^\s*- ", block, flags=re.MULTILINE)[1:]
            done.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        else:
            done.append(f"<p>{_inline(block)}</p>")
    return "\n".join(done)


def _inline(text: str) -> str:
    words = html.escape(" ".join(text.split()))
    words = re.sub(r":\w+:`~?(?:nearsight\.)?([^`]*)`", r"\1", words)
    words = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", words)
    return re.sub(r"``?([^`]+)``?", r"<code>\1</code>", words)
