"""Parameters that depend on time: steps, ramps, pulses, alternating voltages and their sums."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from nearsight._description import Described
from nearsight._validation import number, numbers

Parameter = Any
"""A number; or a :class:`Protocol` in its place, as long as nobody has said when."""

ROUNDING = 1e-9
"""A clock that adds up time steps arrives within this fraction of a time."""


class Protocol(Described, abc.ABC):
    """A parameter as a function of time, taken where a number would be.

    Protocols can be added, to each other and to numbers, and multiplied by numbers. :meth:`at_time` tells the value.
    What holds one (a reservoir, a solver, a force field) has a method ``at_time`` as well, which puts the value in its
    place.

    >>> sum_of_both = Step(2.0, start=10.0) + Alternating(0.5, period=4.0)
    >>> sum_of_both.at_time(1.0), sum_of_both.at_time(11.0)
    (0.5, 1.5)
    """

    @abc.abstractmethod
    def at_time(self, time: float) -> float:  # type: ignore[override]
        """The value at a time; at a jump that after it."""

    def __add__(self, other: Protocol | float) -> Superposition:
        return _sum(self, 1.0, other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: Protocol | float) -> Superposition:
        return _sum(self, 1.0, other, -1.0)

    def __rsub__(self, other: float) -> Superposition:
        return _sum(self, -1.0, other, 1.0)

    def __neg__(self) -> Superposition:
        return _sum(self, -1.0, 0.0, 1.0)

    def __mul__(self, factor: float) -> Superposition:
        return _sum(self, number(factor, "factor of a protocol"), 0.0, 1.0)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Step(Protocol):
    """``before`` until ``start``, ``value`` from then on.

    >>> Step(2.5, start=20.0).at_time(20.0)
    2.5
    """

    value: float
    start: float = 0.0
    before: float = 0.0

    def __post_init__(self) -> None:
        _finite(self, "value", "start", "before")

    def at_time(self, time: float) -> float:  # type: ignore[override]
        return self.value if _reached(time, self.start) else self.before


@dataclass(frozen=True)
class Ramp(Protocol):
    """From ``first`` at the time ``start`` in a straight line to ``last`` at ``stop``, constant before and after.

    >>> Ramp(0.0, 3.0, start=10.0, stop=40.0).at_time(20.0)
    1.0
    """

    first: float
    last: float
    start: float
    stop: float

    def __post_init__(self) -> None:
        _finite(self, "first", "last", "start", "stop")
        _ordered(self)

    def at_time(self, time: float) -> float:  # type: ignore[override]
        part = (number(time, "time") - self.start) / (self.stop - self.start)
        return self.first + (self.last - self.first) * min(max(part, 0.0), 1.0)


@dataclass(frozen=True)
class Pulse(Protocol):
    """``value`` from ``start`` until ``stop``, ``base`` before and after.

    >>> pulse = Pulse(2.5, start=0.0, stop=400.0)
    >>> pulse.at_time(399.9), pulse.at_time(400.0)
    (2.5, 0.0)
    """

    value: float
    start: float
    stop: float
    base: float = 0.0

    def __post_init__(self) -> None:
        _finite(self, "value", "start", "stop", "base")
        _ordered(self)

    def at_time(self, time: float) -> float:  # type: ignore[override]
        return self.value if _reached(time, self.start) and not _reached(time, self.stop) else self.base


@dataclass(frozen=True)
class Alternating(Protocol):
    """amplitude · sin(2π t / period + phase), at all times; add a number for a mean value.

    >>> Alternating(1.5, period=8.0).at_time(2.0)
    1.5
    """

    amplitude: float
    period: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        _finite(self, "amplitude", "phase")
        object.__setattr__(self, "period", number(self.period, "period", above=0))

    def at_time(self, time: float) -> float:  # type: ignore[override]
        return self.amplitude * math.sin(2 * math.pi * number(time, "time") / self.period + self.phase)


@dataclass(frozen=True)
class Superposition(Protocol):
    """offset + Σ factor · protocol: what sums and multiples of protocols are.

    >>> (2 * Step(1.0) - 0.5).at_time(3.0)
    1.5
    """

    protocols: tuple[Protocol, ...]
    factors: tuple[float, ...]
    offset: float = 0.0

    _parts: ClassVar = {"protocols": lambda given: tuple(Protocol.from_config(x) for x in given)}

    def __post_init__(self) -> None:
        if not isinstance(self.protocols, tuple) or not all(isinstance(p, Protocol) for p in self.protocols):
            raise TypeError(f"protocols must be a tuple of them, such as (Step(1.0),), got {self.protocols!r}.")
        object.__setattr__(self, "factors", numbers(self.factors, "factors", length=len(self.protocols)))
        _finite(self, "offset")

    def at_time(self, time: float) -> float:  # type: ignore[override]
        pairs = zip(self.factors, self.protocols, strict=True)
        return self.offset + sum(factor * protocol.at_time(time) for factor, protocol in pairs)


def parameter(value: Any, name: str, **bounds: Any) -> Any:
    """A number within bounds, or a protocol, whose values are checked when there is a time."""
    return value if isinstance(value, Protocol) else number(value, f"{name} (or a Protocol)", **bounds)


def revived(value: Any) -> Any:
    """A parameter from plain data."""
    return Protocol.from_config(value) if isinstance(value, dict) else value


def _sum(a: Protocol, by: float, b: Protocol | float, times: float) -> Superposition:
    terms: list[tuple[Protocol, float]] = []
    offset = 0.0
    for part, factor in ((a, by), (b, times)):
        if isinstance(part, Superposition):
            terms += [(p, factor * f) for p, f in zip(part.protocols, part.factors, strict=True)]
            offset += factor * part.offset
        elif isinstance(part, Protocol):
            terms.append((part, factor))
        else:
            offset += factor * number(part, "what is added to a protocol")
    return Superposition(tuple(p for p, _ in terms), tuple(f for _, f in terms), offset)


def _reached(time: float, when: float) -> bool:
    """Whether a clock has come to a time; sums of time steps may miss it by their rounding."""
    return number(time, "time") >= when - ROUNDING * max(1.0, abs(when))


def _finite(protocol: Protocol, *names: str) -> None:
    for name in names:
        object.__setattr__(protocol, name, number(getattr(protocol, name), name))


def _ordered(protocol: Ramp | Pulse) -> None:
    if not protocol.start < protocol.stop:
        raise ValueError(
            f"{type(protocol).__name__} must stop after it has started, got start={protocol.start:g} and "
            f"stop={protocol.stop:g}; Step jumps at once."
        )
