"""Named parameters of a Hamiltonian and its ensemble, and the box they are drawn from."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import number, numbers
from nearsight.forcefields.card import ExtrapolationWarning
from nearsight.storage.text import number_text


class ParameterBox(Described):
    r"""An interval for each of several named parameters, such as g, kT or μ.

    Force fields that learn a family of Hamiltonians see the parameters p rescaled to

    .. math:: u = \frac{2 p - (p_\mathrm{low} + p_\mathrm{high})}{p_\mathrm{high} - p_\mathrm{low}} \in [-1, 1] .

    Parameters
    ----------
    ranges: name → (low, high), low < high; names are those of the arguments of a Hamiltonian or a solver.

    Raises ``ValueError`` for a box that holds nothing, and for values that are not one number for every name.

    >>> import torch
    >>> box = ParameterBox({"g": (1.0, 2.0), "kT": (0.05, 0.2)})
    >>> box
    ParameterBox(g from 1 to 2, kT from 0.05 to 0.2)
    >>> box.rescaled(torch.tensor([[1.5, 0.2]]))
    tensor([[0., 1.]])
    >>> sorted(box.draw(torch.Generator().manual_seed(1)))
    ['g', 'kT']
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        if not isinstance(ranges, Mapping):
            raise TypeError(f"ranges must name parameters, as in {{'kT': (0.05, 0.2)}}, got {ranges!r}.")
        if not ranges:
            raise ValueError("A box needs a parameter or more, as in {'kT': (0.05, 0.2)}.")
        self.ranges: dict[str, tuple[float, float]] = {}
        for name, interval in ranges.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise ValueError(f"Parameters have names such as 'kT', got {name!r}.")
            low, high = numbers(interval, name, length=2)
            if low >= high:
                cure = f"write {name}=({high:g}, {low:g})" if low > high else "leave a parameter that is fixed out"
                raise ValueError(f"The range of {name} is (low, high), low < high, got ({low:g}, {high:g}): {cure}.")
            self.ranges[name] = (low, high)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of their columns in data."""
        return tuple(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    def __repr__(self) -> str:
        ranges = (f"{name} from {number_text(a)} to {number_text(b)}" for name, (a, b) in self.ranges.items())
        return f"ParameterBox({', '.join(ranges)})"

    def config(self) -> dict[str, Any]:
        """The box in plain data."""
        return {"type": type(self).__name__, "ranges": {name: list(ends) for name, ends in self.ranges.items()}}

    def rescaled(self, values: Tensor) -> Tensor:
        """u ``(*batch, parameter)`` of values p of the same shape."""
        low, high = (torch.tensor(ends, dtype=values.dtype, device=values.device) for ends in self._ends())
        return (2 * values - (low + high)) / (high - low)

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        r"""Values drawn independently with the arcsine density 1/π√(1 - u²), whose quantiles are Chebyshev's nodes.

        What is learned of the parameters are polynomials, and those are worst determined at the ends: a uniform density
        leaves the corners of a box, which have neighbours on one side only, with the largest errors.
        """
        angles = math.pi * torch.rand(len(self), generator=rng, dtype=torch.float64)
        u = (0.5 - 0.5 * torch.cos(angles)).tolist()
        return {name: a + (b - a) * x for x, (name, (a, b)) in zip(u, self.ranges.items(), strict=True)}

    def corners(self) -> Iterator[dict[str, float]]:
        """All combinations of ends."""
        for k in range(2 ** len(self)):
            yield {name: ends[k >> place & 1] for place, (name, ends) in enumerate(self.ranges.items())}

    def checked(self, given: Mapping[str, Any]) -> dict[str, float]:
        """One number for every name, in order.

        ``ValueError`` names what is missing and what is unknown; values outside are told by an
        :class:`~nearsight.forcefields.ExtrapolationWarning`.
        """
        if missing := [name for name in self.ranges if name not in given]:
            raise ValueError(
                f"{' and '.join(missing)} missing: give a number for each of {', '.join(self.ranges)}, as in "
                f"with_parameters({', '.join(f'{n}={(a + b) / 2:.3g}' for n, (a, b) in self.ranges.items())})."
            )
        if unknown := [name for name in given if name not in self.ranges]:
            raise ValueError(f"No parameter is called {unknown[0]!r}: those learned are {', '.join(self.ranges)}.")
        values = {name: number(given[name], name) for name in self.ranges}
        self.warn_outside(values)
        return values

    def warn_outside(self, values: Mapping[str, float]) -> None:
        """Give an :class:`~nearsight.forcefields.ExtrapolationWarning` with the numbers that lie outside."""
        # Ends that went through single precision still are ends.
        outside = [
            f"{name} = {number_text(values[name])} (trained from {number_text(a)} to {number_text(b)})"
            for name, (a, b) in self.ranges.items()
            if not a - 1e-6 * (b - a) <= values[name] <= b + 1e-6 * (b - a)
        ]
        if outside:
            warnings.warn(
                f"These parameters lie outside of the box that was learned: {', '.join(outside)}. Learned forces are "
                "extrapolated there. Audit the run to see what it costs, or train on a larger box.",
                ExtrapolationWarning,
                stacklevel=_level_of_caller(),
            )

    def _ends(self) -> tuple[list[float], list[float]]:
        low, high = zip(*self.ranges.values(), strict=True)
        return list(low), list(high)


def _level_of_caller() -> int:
    """The ``stacklevel`` of the line outside of the library that asked, through however many parts of a sum."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "nearsight":
        level, frame = level + 1, frame.f_back
    return level
