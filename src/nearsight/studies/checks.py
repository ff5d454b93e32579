"""Checks: what a study measured, what it should have been and whether it is: numbers, of which words are made last."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nearsight._validation import boolean, instance, number

DISSERTATION = "S. Zhang, PhD thesis (University of Virginia, 2024)"
"""Where most of the published numbers stand."""


@dataclass(frozen=True)
class Published:
    """A number of the literature.

    Parameters
    ----------
    value: as printed there, in the unit of the check.
    source: where it stands, with figure, table or equation, such as ``"arXiv:2201.00798, fig. 5"``.
    error: its standard error, as printed there.
    note: what it is exactly, where that differs from ours.
    """

    value: float
    source: str
    error: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        _store(self, value=number(self.value, "value"), source=_words(self.source, "source"))
        if self.error is not None:
            _store(self, error=number(self.error, "error", least=0))


@dataclass(frozen=True)
class Below:
    """The value is at most ``bound``."""

    bound: float
    _sign: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _store(self, bound=number(self.bound, "bound"))

    @property
    def text(self) -> str:
        return f"{'≤' if self._sign > 0 else '≥'} {number_cell(self.bound)}"

    def test(self, check: Check) -> bool:
        return self.badness(check) <= self._sign * self.bound

    def badness(self, check: Check) -> float:
        """A number in the unit of the value that grows as the check gets worse."""
        return self._sign * _known(check.value)


@dataclass(frozen=True)
class Above(Below):
    """The value is at least ``bound``."""

    _sign: ClassVar[int] = -1


class _Near:
    """The value is off its reference by at most a width."""

    def width(self, check: Check) -> float:
        """The tolerance in the unit of the value."""
        raise NotImplementedError

    def test(self, check: Check) -> bool:
        return self.badness(check) <= self.width(check)

    def badness(self, check: Check) -> float:
        return abs(_known(check.value) - _known(check.reference))


@dataclass(frozen=True)
class Within(_Near):
    """The value is off its reference by at most ``tolerance``, in its unit or ``relative`` to the reference."""

    tolerance: float
    relative: bool = False

    def __post_init__(self) -> None:
        _store(self, tolerance=number(self.tolerance, "tolerance", least=0))
        _store(self, relative=boolean(self.relative, "relative"))

    @property
    def text(self) -> str:
        return f"within {number_cell(100 * self.tolerance)} %" if self.relative else f"± {number_cell(self.tolerance)}"

    def width(self, check: Check) -> float:
        return self.tolerance * (abs(_known(check.reference)) if self.relative else 1.0)


@dataclass(frozen=True)
class Sigma(_Near):
    """The value is off its reference by at most ``most`` times the combined standard error of both."""

    most: float

    def __post_init__(self) -> None:
        _store(self, most=number(self.most, "most", above=0))

    @property
    def text(self) -> str:
        return f"≤ {number_cell(self.most)} σ"

    def width(self, check: Check) -> float:
        return self.most * check.combined_error


@dataclass(frozen=True)
class PValue:
    """The value is the p-value of a test of the hypothesis that two laws agree, and above ``least``.

    Two ensembles of the same law fail this in a fraction ``least`` of all runs.
    """

    least: float = 0.01

    def __post_init__(self) -> None:
        _store(self, least=number(self.least, "least", above=0, below=1))

    @property
    def text(self) -> str:
        return f"p > {number_cell(self.least)}"

    def test(self, check: Check) -> bool:
        return _known(check.value) > self.least

    def badness(self, check: Check) -> float:
        """None is worse than another: p-values of agreeing laws are spread evenly between 0 and 1."""
        return 0.0


Criterion = Below | Above | Within | Sigma | PValue
_CRITERIA: dict[str, type[Criterion]] = {kind.__name__: kind for kind in (Below, Above, Within, Sigma, PValue)}


@dataclass(frozen=True)
class Check:
    """One number of a study's answer and, if it is judged, the criterion.

    A criterion that compares takes the exact number as reference, or the published one where there is no exact number.
    What is not finite passes nothing.

    Parameters
    ----------
    name: the quantity, in words that are the same in every run of the study: by them runs are compared.
    value: as measured; None if it could not be measured, and ``note`` says why.
    error: its standard error.
    unit: of the value and all its references, such as ``"a"`` or ``"t"``.
    exact: the same quantity from the exact solution.
    exact_error: the standard error of that.
    published: the same quantity in the literature.
    criterion: None for what is reported and not judged.
    note: how it was measured, in a line.

    Raises ``ValueError`` for an error without its number, a criterion that compares with nothing, or a p-value outside
    of [0, 1].
    """

    name: str
    value: float | None
    error: float | None = None
    unit: str = ""
    exact: float | None = None
    exact_error: float | None = None
    published: Published | None = None
    criterion: Criterion | None = None
    note: str = ""

    def __post_init__(self) -> None:
        _words(self.name, "name")
        for name in ("unit", "note"):
            instance(getattr(self, name), str, name)
        for name in ("value", "exact"):
            _store(self, **{name: _measured(getattr(self, name), name)})
        for name in ("error", "exact_error"):
            _store(self, **{name: _measured(getattr(self, name), name, least=0)})
        if self.published is not None:
            instance(self.published, Published, "published")
        if self.criterion is not None:
            instance(self.criterion, tuple(_CRITERIA.values()), "criterion")
        if self.value is None and not self.note.strip():
            raise ValueError(f"{self.name!r} has no value; note must say why it could not be measured.")
        for name, error in (("value", self.error), ("exact", self.exact_error)):
            if error is not None and getattr(self, name) is None:
                raise ValueError(f"{self.name!r} has the error of a number that is not there; give {name}, too.")
        if isinstance(self.criterion, Within | Sigma) and self.reference is None:
            raise ValueError(f"{self.name!r} is compared with nothing; give exact or published.")
        if isinstance(self.criterion, Sigma) and self.value is not None and not self._errors:
            raise ValueError(f"{self.name!r} is judged in standard errors; give error, exact_error or that published.")
        if isinstance(self.criterion, PValue) and self.value is not None and not math.isnan(self.value):
            number(self.value, f"the p-value of {self.name!r}", least=0, most=1)

    @property
    def reference(self) -> float | None:
        """What the value is compared with: the exact number, or the published one."""
        return self.exact if self.exact is not None else self.published.value if self.published else None

    @property
    def _errors(self) -> list[float]:
        """The errors of value and reference that are given."""
        published = self.published.error if self.published and self.exact is None else None
        return [error for error in (self.error, self.exact_error, published) if error is not None]

    @property
    def combined_error(self) -> float:
        """Standard error of the difference between value and reference; NaN if an error is not finite."""
        total = math.hypot(*self._errors)
        return total if math.isfinite(total) else math.nan

    @property
    def passed(self) -> bool | None:
        """Whether the criterion is met; None for what is not judged."""
        return None if self.criterion is None else self.criterion.test(self)

    @property
    def word(self) -> str:
        return {True: "pass", False: "FAIL", None: "not judged"}[self.passed]

    @property
    def remark(self) -> str:
        """The note, and where the published number stands."""
        place = ""
        if self.published:
            aside = f" ({self.published.note})" if self.published.note else ""
            place = f"published: {self.published.source}{aside}"
        return "; ".join(filter(None, [self.note, place]))

    def config(self) -> dict[str, Any]:
        """The check in plain data, without what is not given; numbers keep all digits, and NaN is a word."""
        return {"name": self.name, "value": None} | _plain(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Check:
        """The check that :meth:`config` described; ``ValueError`` or ``TypeError`` for anything else."""
        arguments = dict(instance(config, Mapping, "a stored check"))
        if "published" in arguments:
            arguments["published"] = Published(**_revived(arguments["published"]))
        if "criterion" in arguments:
            criterion = _revived(arguments["criterion"])
            kind = _CRITERIA.get(criterion.pop("type", None))
            if kind is None:
                raise ValueError(f"A criterion is one of {', '.join(_CRITERIA)}, got {arguments['criterion']}.")
            arguments["criterion"] = kind(**criterion)
        return cls(**_revived(arguments))

    def __str__(self) -> str:
        """The check as a sentence."""
        cells = self.cells()
        parts = [f"{word} {cells[word]}" for word in ("exact", "published") if cells[word] != "–"]
        source = f", {self.published.source}" if self.published else ""
        aside = f" ({', '.join(parts)}{source})" if parts else ""
        judged = f", wanted {cells['criterion']}: {self.word}" if self.criterion else ""
        return f"{self.name} = {cells['value']}{aside}{judged}"

    def cells(self) -> dict[str, str]:
        """The check as a row of a table: columns and what stands in them, a dash for nothing.

        Numbers have four significant digits; with an error they end where its second digit does, and with a tolerance
        no sooner than it.
        """
        finest = self.criterion.width(self) if isinstance(self.criterion, Within) else 0.0

        def cell(value: float | None, error: float | None) -> str:
            if value is not None and isinstance(self.criterion, PValue):
                return f"p = {value:.2g}"
            text = number_cell(value, error, finest)
            return f"{text} {self.unit}" if self.unit and value is not None else text

        published = self.published
        return {
            "check": self.name,
            "value": cell(self.value, self.error),
            "exact": cell(self.exact, self.exact_error),
            "published": cell(published.value, published.error) if published else "–",
            "criterion": self.criterion.text if self.criterion else "–",
            "verdict": self.word,
        }


def number_cell(value: float | None, error: float | None = None, finest: float = 0.0) -> str:
    """A number, and its error with two digits, for a table; a dash for nothing.

    Four significant digits, or as many as the error or a difference of ``finest`` need to be seen.
    """
    if value is None:
        return "–"
    steps = [x for x in (error, finest) if x and math.isfinite(x)]
    if not steps or not value or not math.isfinite(value):
        digits = 4
    else:
        shown = math.floor(math.log10(abs(value))) - math.floor(math.log10(min(steps))) + 2
        digits = max(shown, 1) if error else max(shown, 4)
    text = f"{value:.{min(digits, 15)}g}"
    return text if error is None else f"{text} ± {error:.2g}"


def _store(thing: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(thing, name, value)  # of a frozen dataclass, while it is made


def _words(value: Any, name: str) -> str:
    if not instance(value, str, name).strip():
        raise ValueError(f"{name} must not be empty.")
    return value


def _measured(value: Any, name: str, **bounds: float) -> float | None:
    """A number that came out of a measurement: NaN and infinity are facts, too."""
    if value is None:
        return None
    if getattr(value, "ndim", 0) == 0 and value != value:
        return math.nan
    return number(value, name, finite=False, **bounds)


def _known(value: float | None) -> float:
    """The number if it is finite and NaN otherwise, for which no comparison holds."""
    return value if value is not None and math.isfinite(value) else math.nan


def _plain(value: Any) -> Any:
    """A field as JSON knows it, which has no word for NaN."""
    if dataclasses.is_dataclass(value):
        kind = {"type": type(value).__name__} if isinstance(value, Criterion) else {}
        given = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return kind | {name: _plain(part) for name, part in given.items() if part is not None and part != ""}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_NUMBERS = ("value", "error", "exact", "exact_error")


def _revived(content: Any) -> dict[str, Any]:
    """Plain data with "nan", "inf" and "-inf" as numbers again."""
    return {
        key: float(value) if key in _NUMBERS and value in ("nan", "inf", "-inf") else value
        for key, value in instance(content, Mapping, "a part of a stored check").items()
    }
