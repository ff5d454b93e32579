"""Options of a refinement."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nearsight.training.fit import FitOptions
from nearsight.training.options import Count, Positive, Whole, _Options

LEAST = 4
"""Audited sites that say anything of the others."""


class RefineOptions(_Options):
    """How often a force field is refined, on how many exact forces, and what may be spent.

    Examples
    --------
    >>> from nearsight.training import RefineOptions
    >>> options = RefineOptions(rounds=4, sites=300, audited=60, solutions=1000)
    >>> options.rounds * (options.sites + options.audited)  # in patches; the fourth round has too little left
    1440
    """

    rounds: Whole = 3
    """Runs, each followed by a fit."""
    steps: Count = 200
    """Steps of every run."""
    times: Count = 3
    """Steps of a run, the last among them, at which sites are audited and chosen, evenly spaced in the logarithm."""
    sites: Count = 200
    """Sites that are chosen in every round, to be learned from."""
    audited: Annotated[int, Field(ge=LEAST)] = 60
    """Random sites of every round that measure the error, at all times together, and choose the weights of the fit."""
    solutions: Count | None = None
    """Exact forces on single sites that may be computed in all; None: no limit."""
    seconds: Positive | None = None
    """Nominal seconds of exact forces in all, those of one core of 2020; no round begins after them."""
    referee: Positive = 30.0
    """Nominal seconds that one exact calculation may take."""
    guard: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """A run ends where its field leaves the range of the training data and of its start, widened by this factor."""
    fit: FitOptions = FitOptions(steps=1000, warmup=50, learning_rate=2e-3)
    """How to fit in every round, from the weights of the round before."""
    seed: Whole = 0
    """Of initial fields, noise, and audited sites."""

    @model_validator(mode="after")
    def _affordable(self) -> RefineOptions:
        if self.audited < 2 * self.times:
            raise ValueError(
                f"audited={self.audited} sites cannot be shared among times={self.times}: give 2 or more for each time"
            )
        if self.solutions is not None and self.solutions <= self.audited:
            raise ValueError(
                f"solutions={self.solutions} do not pay for one round, which audits {self.audited} sites: raise "
                "solutions, or lower audited"
            )
        return self
