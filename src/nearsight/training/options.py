"""Options of fits and recipes."""

from __future__ import annotations

import math
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from nearsight._validation import boolean, integer, number, numbers

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Options(BaseModel):
    """Base of options: frozen, without unknown names, and numbers are numbers: not True, not "3", not 4.0 for a count.

    Files are read more freely (``model_validate``): YAML gives 1e-3 as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def __init__(self, **values: Any) -> None:
        fields = type(self).model_fields
        super().__init__(**{n: _plain(v, n, fields[n].annotation) if n in fields else v for n, v in values.items()})

    # Marks this as a door for callers only; sections of files that pydantic builds itself do not come through it.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def _plain(value: Any, name: str, annotation: Any) -> Any:
    """The value as plain Python if it is of the kind that the option has; ``TypeError`` in words if it is not."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds]
    if value is None and type(None) in plain:
        return None
    if int in plain:
        return integer(value, name)
    if float in plain:
        return number(value, name, finite=False)
    if bool in plain:
        return boolean(value, name)
    if any(get_origin(kind) is tuple for kind in plain):
        return numbers(value, name, finite=False)
    return value


class TrainerOptions(_Options):
    """How a :class:`~nearsight.training.Trainer` steps, validates and stops, whatever it fits.

    The budget is a number of steps and not a time, so that a fit does not depend on how busy the machine was.

    Examples
    --------
    >>> from nearsight.training import TrainerOptions
    >>> options = TrainerOptions(steps=2000, warmup=100)
    >>> short = options.shortened(80)  # the same fit, as a trial
    >>> short.steps, short.warmup, short.validate_every, short.learning_rate == options.learning_rate
    (80, 20, 20, True)
    """

    steps: Count = 4000
    """Optimiser steps."""
    optimizer: Literal["soap", "adamw"] = "soap"
    """:class:`SOAP` needs a fraction of the steps on small networks; AdamW is cheaper per step when layers are wide."""
    batch_size: Count = 8
    """Snapshots per step, over all processes."""
    learning_rate: Positive = 6e-3
    """The highest rate: reached after ``warmup`` steps, then half a cosine down to ``final_rate`` times this."""
    warmup: Whole = 100
    """Steps in which the rate rises."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Rate at the end, in units of the highest."""
    weight_decay: NonNegative = 0.0
    """Pull of the weights towards zero, relative to the rate."""
    clip: Annotated[float, Field(gt=0)] = 10.0
    """Largest norm of the gradient."""
    average: Fraction = 0.99
    """Memory, per step, of the moving average of the weights that is validated and returned; 0: no averaging."""
    validate_every: Count = 100
    """Steps between two validations."""
    patience: Count | None = None
    """Stop after this many validations without a better one; None: never."""
    checkpoint_every: Count = 200
    """Steps between two checkpoints: what a killed fit loses at most."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Fraction of the data that chooses the step whose weights are returned."""
    seed: Whole = 0
    """Of the split and of all choices of a step. Initial weights belong to whoever built the network."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of weights and data."""
    threads: Count | None = 1
    """Threads of torch during the fit. Small networks are fastest on one, and weights of different numbers of threads
    differ in their last bits. None: measured before the first step, 1, 2, 4, ... up to as many as torch has
    (``OMP_NUM_THREADS``), more only where they clearly pay beside what else the machine does. The checkpoint keeps
    the number, so that a resumed fit has the same bits. On a GPU and under ``torchrun`` None leaves it as it is."""

    def shortened(self, steps: int) -> Self:
        """The same fit of so many steps: it warms up for a quarter of them at most, and validates four times."""
        warmup, every = min(self.warmup, steps // 4), max(1, steps // 4)
        return self.model_copy(update={"steps": steps, "warmup": warmup, "validate_every": every})

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: a rise, then half a cosine."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress)))
