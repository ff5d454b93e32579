"""Formulas as MathML, worked out when the pages are built: browsers show them without a script and without network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
UNKNOWN = re.compile(r">\\[A-Za-z]+<")
"""A command that was not understood stands in the result as it was typed."""


def on_page_content(content: str, page: Any, **kwargs: Any) -> str:
    """The page with every formula as MathML; one that cannot be read is an error of the build."""

    def mathml(found: re.Match[str]) -> str:
        tex = html.unescape(found["tex"]).strip()
        result = convert(tex, display="block" if found["open"] == "[" else "inline")
        if unknown := UNKNOWN.search(result):
            raise ValueError(f"{page.file.src_uri}: {unknown[0][1:-1]} of the formula {tex} has no MathML.")
        return f'<{found["tag"]} class="formula">{result}</{found["tag"]}>'

    return FORMULA.sub(mathml, content)
