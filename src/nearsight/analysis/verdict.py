"""What was compared with what, and how it came out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One line of a study's answer: a quantity, its exact and learned values, the paper's number and the target.

    Values are numbers, or words where a number needs company ("0.52 ± 0.03"); None where there is nothing to quote.
    ``passed`` is None for what is reported but not judged.
    """

    quantity: str
    exact: float | str | None = None
    learned: float | str | None = None
    paper: float | str | None = None
    target: float | str | None = None
    passed: bool | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.quantity.strip():
            raise ValueError("A verdict needs the name of the quantity it judges.")
        if self.passed not in (True, False, None):
            raise TypeError(f"passed must be True, False or None (not judged), got {self.passed!r}.")

    @property
    def word(self) -> str:
        return {True: "pass", False: "FAIL", None: "not judged"}[self.passed]


def written(value: float | str | None) -> str:
    """A value of a verdict as text: four significant digits, a dash for nothing."""
    return "–" if value is None else value if isinstance(value, str) else f"{value:.4g}"
