"""What the letters of a figure stand for, said in its caption."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.text import Text

from nearsight.plots.style import Picture

MEANINGS: Mapping[str, str] = {
    "t": "time",
    "r": "distance",
    "k": "wave number",
    "k_x": "wave vector along x",
    "k_y": "wave vector along y",
    "kT": "temperature",
    "S^z": "component of the spin along z",
    r"H_\perp": "part of the effective field H = −∂Ω/∂S normal to the spin",
    r"\xi": "length of correlations",
    r"\mu": "chemical potential",
    r"\chi": "χ²/dof: squared deviations over their variances, per degree of freedom",
}
"""Letters that mean the same in most figures. A study adds its own, and what a caption says comes first."""

_OPERATORS = frozenset(
    (
        *("pm", "times", "cdot", "approx", "propto", "le", "ge", "leq", "geq", "to", "in", "infty", "perp", "parallel"),
        *("max", "min", "ln", "log", "exp", "sqrt", "frac", "sum", "partial", "nabla", "Delta", "prime", "quad"),
        *("langle", "rangle", "left", "right", "mathrm", "mathdefault"),
    )
)
_UNITS = re.compile(r"\[[^\]]*\]|ħ\s*/\s*\w+")
_MATH = re.compile(r"\$([^$]*)\$")
_SYMBOL = re.compile(r"\\([A-Za-z]+)|([A-Za-zΑ-Ωα-ωℓ])")
_INDEX = re.compile(r"_(?:\{(\w+)\}|\\([A-Za-z]+)|(\w))")
_COMPONENT = re.compile(r"\^([xyz])(?![A-Za-z])")
_PLAIN = re.compile(r"(?<![\w/\\'’.])([A-ZΑ-Ωα-ω](?:_\w+)?(?![\w'’.])|kT\b|[a-z](?=\s*[=~<>≤≥]))")
_IDLE = frozenset(("exact", "learned", "rms", "error", "errors", "the", "and", "from", "with", "for", "over"))


def symbols(text: str) -> set[str]:
    """Letters for quantities in a text with mathematical parts between dollars, without units in brackets.

    >>> sorted(symbols(r"exact $H_\\perp$ [t], $t = 16$, field B"))
    ['B', 'H_\\\\perp', 't']
    """
    text = _UNITS.sub(" ", text)
    found = {symbol for part in _MATH.findall(text) for symbol in _of_formula(part)}
    words = _MATH.sub(" ", text)
    return found | {_typed(symbol) for symbol in _PLAIN.findall(words)}


def _typed(symbol: str) -> str:
    r"""A symbol as it is typed in a formula: ξ_F is ``\xi_F``."""
    name = unicodedata.name(symbol[0], "")
    if symbol[0] == "ℓ":
        return f"\\ell{symbol[1:]}"
    if not name.startswith("GREEK"):
        return symbol
    word = name.rsplit(" ", 1)[-1].lower().replace("lamda", "lambda")
    return f"\\{word.capitalize() if 'CAPITAL' in name else word}{symbol[1:]}"


def define_symbols(picture: Picture, meanings: Mapping[str, str] | None = None) -> set[str]:
    r"""Add to the caption what its symbols, and those of the figure, stand for; returns what nothing explains.

    Parameters
    ----------
    meanings: words by symbol as it is typed between dollars (``r"H_\perp"``). Those of ``MEANINGS`` are added where no
        words on an axis explain the symbol.

    Examples
    --------
    >>> import nearsight as ns
    >>> picture = ns.plots.picture()
    >>> axes = picture.add_subplot(xlabel="$t$", ylabel="$M$")
    >>> ns.plots.define_symbols(picture, {"M": "magnetisation"})
    set()
    >>> picture.caption
    '$M$: magnetisation; $t$: time.'
    """
    texts = [text for artist in picture.findobj(Text) if (text := artist.get_text())]
    mentioned, explained = symbols(picture.caption), _explained(texts)
    met = mentioned.union(*map(symbols, texts))
    known = {s: words for s, words in MEANINGS.items() if s not in explained} | dict(meanings or {})
    fresh = [s for s in met if s in known and f"${s}$: " not in picture.caption]
    fresh.sort(key=lambda symbol: symbol.lstrip("\\").lower())
    if fresh:
        picture.caption = f"{picture.caption} {'; '.join(f'${s}$: {known[s]}' for s in fresh)}.".strip()
    return {s for s in met if not {s, re.sub(r"_\d+$", "", s)} & (mentioned | explained | set(known))}


def _explained(texts: Sequence[str]) -> set[str]:
    """Symbols of labels that stand beside words for them, as in "order parameter $M$"; "n = 1" explains nothing."""
    found: set[str] = set()
    for text in texts:
        words = set(re.findall(r"[^\W\d_]{3,}", _MATH.sub(" ", _UNITS.sub(" ", text)))) - _IDLE
        if words and not re.search("[=<>]", text):
            found |= symbols(text)
    return found | {symbol.split("_")[0] for symbol in found}


def _of_formula(text: str) -> Iterator[str]:
    """Symbols of a formula: a letter with its index, and with x, y or z as its component."""
    text = re.sub(r"\\mathrm\{[^}]*\}|\\mathdefault\{[^}]*\}|\\text\{[^}]*\}", " ", text)
    at = 0
    while match := _SYMBOL.search(text, at):
        at = match.end()
        if match[1] in _OPERATORS:
            continue
        letter = f"\\{match[1]}" if match[1] else _typed(match[2])
        if letter == "k" and text[at : at + 1] == "T":
            letter, at = "kT", at + 1
        if index := _INDEX.match(text, at):
            letter += f"_\\{index[2]}" if index[2] else f"_{index[1] or index[3]}"
            at = index.end()
        if component := _COMPONENT.match(text, at):
            letter += component[0]
            at = component.end()
        yield letter
