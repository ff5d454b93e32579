"""A stop before a learned force field is asked about fields it has never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


class OutOfRangeError(ArithmeticError):
    """A field left the range a force field can be trusted in, or is no longer finite.

    ``step``, ``replica`` (flattened batch index), ``site``, ``component`` and ``value`` tell where and how.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int = -1,
        replica: int = -1,
        site: int = -1,
        component: int = -1,
        value: float = float("nan"),
    ) -> None:
        # Only the message is an argument of the base class, so the error survives pickling on its way from a worker.
        super().__init__(message)
        self.step, self.replica, self.site, self.component, self.value = step, replica, site, component, value


@dataclass(frozen=True)
class Guard:
    """Stops a run whose field leaves the training range [low, high] widened by ``factor`` about its centre.

    A network interpolates. Outside of its data its forces are arbitrary, and a run that got there looks alive long
    after it stopped meaning anything. The guard looks at every step, at the cost of one pass over the field.

    Parameters
    ----------
    low, high: the range of the training data: one number, or one for every component.
    factor: ≥ 1; the allowed range is (low + high)/2 ± factor (high - low)/2.
    """

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    factor: float = 1.5

    def __post_init__(self) -> None:
        low, high = np.atleast_1d(np.asarray(self.low, float)), np.atleast_1d(np.asarray(self.high, float))
        if low.shape != high.shape or low.ndim != 1:
            raise ValueError(
                f"low and high must be two numbers or two rows of equal length, got {self.low} and {self.high}."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"A guard needs finite low < high, got low={self.low}, high={self.high}.")
        if not (np.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"factor must be a finite number >= 1, got {self.factor}.")

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
        if _within(field, low, high):
            return
        where, value = _first(field, low, high)
        *_, component = where
        lo, hi = (float(np.broadcast_to(x, field.shape[-1:])[component]) for x in (low, high))
        raise _error(
            field,
            step,
            where,
            value,
            f"outside of [{lo:.4g}, {hi:.4g}], the training range widened by {self.factor:g}. "
            "Forces out there are extrapolated: add training data from such fields (a hotter or longer exact run), "
            "or, if the step is too large for the stiffness, take a smaller dt.",
        )


def check_finite(field: Tensor, step: int) -> None:
    """Raise :class:`OutOfRangeError` if a value of the field is NaN or infinite."""
    infinity = np.array([np.finfo(float).max])
    if not _within(field, -infinity, infinity):
        where, value = _first(field, -infinity, infinity)
        raise _error(field, step, where, value, "not a finite number: the integration is unstable. Take a smaller dt.")


def _within(field: Tensor, low: np.ndarray, high: np.ndarray) -> bool:
    smallest, largest = torch.aminmax(field.reshape(-1, field.shape[-1]), dim=0)
    # Compared in float64 after one transfer; a NaN fails both comparisons.
    bounds = torch.stack([smallest, largest]).double().cpu().numpy()
    return bool((bounds[0] >= low).all() and (bounds[1] <= high).all())


def _first(field: Tensor, low: np.ndarray, high: np.ndarray) -> tuple[tuple[int, int, int], float]:
    flat = field.double().cpu().numpy().reshape(-1, *field.shape[-2:])
    replica, site, component = (int(x) for x in np.argwhere(~((flat >= low) & (flat <= high)))[0])
    return (replica, site, component), float(flat[replica, site, component])


def _error(field: Tensor, step: int, where: tuple[int, int, int], value: float, reason: str) -> OutOfRangeError:
    replica, site, component = where
    place = f"site {site}"
    place += f", component {component}" if field.shape[-1] > 1 else ""
    place += f", replica {replica}" if field.ndim > 2 else ""
    return OutOfRangeError(
        f"At step {step} the field at {place} is {value:.6g}, {reason}",
        step=step,
        replica=replica,
        site=site,
        component=component,
        value=value,
    )
