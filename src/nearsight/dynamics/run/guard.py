"""A stop before a learned force field is asked about fields it has never seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import number, numbers

WITHIN = "Within a step"
FAR = 1e6
"""How many times beyond the largest value of its start (or 1) no field gets but by an unstable step."""


class OutOfRangeError(ArithmeticError):
    """A field left the range a force field can be trusted in, or is no longer finite.

    ``step``, ``replica`` (flattened batch index), ``site``, ``component`` and ``value`` tell where and how.
    """

    step = replica = site = component = -1
    value = float("nan")

    def __init__(self, message: str, **place: Any) -> None:
        # Only the message is an argument of the base class, so the error survives pickling on its way from a worker.
        super().__init__(message)
        vars(self).update(place)

    def at(self, step: int) -> OutOfRangeError:
        """The same, found in the course of a step whose number the finder did not know."""
        return OutOfRangeError(str(self).replace(WITHIN, f"At step {step}", 1), **vars(self) | {"step": step})


@dataclass(frozen=True)
class Guard:
    """Stops a run whose field leaves the training range [low, high] widened by ``factor`` about its centre.

    A network interpolates. Outside of its data its forces are arbitrary, and a run that got there looks alive long
    after it stopped meaning anything. The guard looks at every step, at the cost of one pass over the field.

    Parameters
    ----------
    low, high: the range of the training data: one number, or one for every component.
    factor: ≥ 1; the allowed range is (low + high)/2 ± factor (high - low)/2.

    Examples
    --------
    >>> import torch
    >>> from nearsight.dynamics import Guard
    >>> guard = Guard.around(torch.tensor([[[-1.0], [0.5], [1.0]]]))  # what a force field was trained on
    >>> guard.check(torch.tensor([[1.4], [-1.4]]), step=0)  # within 1.5 times that range
    >>> try:
    ...     guard.check(torch.tensor([[1.4], [1.6]]), step=7)
    ... except ArithmeticError as error:
    ...     print(error.step, error.site)
    7 1
    """

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    factor: float = 1.5

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bounds = getattr(self, name)
            several = isinstance(bounds, list | tuple) or np.ndim(bounds) == 1
            given = numbers(bounds, name, finite=False) if several else number(bounds, name, finite=False)
            object.__setattr__(self, name, given)
        object.__setattr__(self, "factor", number(self.factor, "factor", least=1))
        low, high = np.atleast_1d(np.asarray(self.low, float)), np.atleast_1d(np.asarray(self.high, float))
        if low.shape != high.shape or low.ndim != 1:
            raise ValueError(
                f"low and high must be two numbers or two rows of equal length, got {self.low} and {self.high}."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"A guard needs finite low < high, got low={self.low}, high={self.high}.")

    @classmethod
    def around(cls, fields: Tensor, factor: float = 1.5) -> Self:
        """The guard of a training set ``(*batch, site, component)``, from its extremes component by component."""
        low, high = torch.aminmax(fields.detach().reshape(-1, fields.shape[-1]), dim=0)
        return cls(tuple(low.tolist()), tuple(high.tolist()), factor)

    @property
    def allowed(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest allowed value of every component."""
        low, high = np.atleast_1d(np.asarray(self.low, float)), np.atleast_1d(np.asarray(self.high, float))
        centre, reach = (low + high) / 2, self.factor * (high - low) / 2
        return centre - reach, centre + reach

    def check(self, field: Tensor, step: int) -> None:
        """Raise :class:`OutOfRangeError` if a value of the field is not allowed."""
        low, high = self.allowed
        if len(low) not in (1, field.shape[-1]):
            raise ValueError(f"The guard bounds {len(low)} components, the field has {field.shape[-1]}.")
        _refuse_outside(
            field,
            step,
            low,
            high,
            f"outside of [{{low:.4g}}, {{high:.4g}}], the training range widened by {self.factor:g}. "
            "Forces out there are extrapolated: add training data from such fields (a hotter or longer exact run), "
            "or, if the step is too large for the stiffness, take a smaller dt.",
        )


def _check_finite(field: Tensor, step: int | None) -> None:
    """Raise :class:`OutOfRangeError` if a value of the field is NaN or infinite."""
    largest, reason = np.finfo(float).max, "not a finite number: the integration is unstable. Take a smaller dt."
    _refuse_outside(field, step, -largest, largest, reason)


@dataclass(frozen=True)
class _Watch:
    """Stops a run of displacements that has left every scale it could have: it is unstable, though still finite.

    ``start`` is the largest |value| of the first field. An unstable step multiplies a field by a constant factor, so
    that a limit a million times further than that (and than 1) is reached soon, and by nothing else.
    """

    start: float
    longest: float | None = None
    """The largest stable dt, where it is known."""

    @classmethod
    def of(cls, field: Tensor, longest: float | None) -> Self:
        return cls(float(field.abs().max()) if field.numel() else 0.0, longest)

    def check(self, field: Tensor, step: int) -> None:
        """Raise :class:`OutOfRangeError` if a value is beyond the limit."""
        limit = FAR * max(1.0, self.start)
        cure = "Take a smaller dt" if self.longest is None else f"Take dt <= {_rounded_down(0.9 * self.longest):g}"
        if not _within(field, -limit, limit):
            _check_finite(field, step)
        _refuse_outside(
            field,
            step,
            -limit,
            limit,
            f"a million times beyond its start: the integration is unstable. {cure}; where fields of that size are "
            "meant, give their range by guard=Guard(low, high).",
        )


def _rounded_down(value: float) -> float:
    """The largest number of two digits that is not above a positive one: a step that is proposed must do."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / unit) * unit


Bound = float | np.ndarray
"""One number, or one for every component."""


def _within(field: Tensor, low: Bound, high: Bound) -> bool:
    if not field.numel():
        return True
    smallest, largest = torch.aminmax(field.reshape(-1, field.shape[-1]), dim=0)
    # Compared in float64 after one transfer; a NaN fails both comparisons.
    bounds = torch.stack([smallest, largest]).double().cpu().numpy()
    return bool((bounds[0] >= low).all() and (bounds[1] <= high).all())


def _refuse_outside(field: Tensor, step: int | None, low: Bound, high: Bound, reason: str) -> None:
    """Raise :class:`OutOfRangeError` for the first value that is not within the bounds, which ``reason`` may name."""
    if _within(field, low, high):
        return
    flat = field.double().cpu().numpy().reshape(-1, *field.shape[-2:])
    replica, site, component = (int(x) for x in np.argwhere(~((flat >= low) & (flat <= high)))[0])
    value = float(flat[replica, site, component])
    bounds = (float(np.broadcast_to(x, field.shape[-1:])[component]) for x in (low, high))
    place = f"site {site}"
    place += f", component {component}" if field.shape[-1] > 1 else ""
    place += f", replica {replica}" if field.ndim > 2 else ""
    when = WITHIN if step is None else f"At step {step}"
    words = reason.format(**dict(zip(("low", "high"), bounds, strict=True)))
    where = {"step": -1 if step is None else step, "replica": replica, "site": site, "component": component}
    raise OutOfRangeError(f"{when} the field at {place} is {value:.6g}, {words}", **where, value=value)
