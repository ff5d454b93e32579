"""The knobs of a fit."""

from __future__ import annotations

import math
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nearsight._validation import boolean, integer, number, numbers

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Options(BaseModel):
    """Base of options: frozen, without unknown names, and numbers are numbers: not True, not "3", not 4.0 for a count.

    Files are read more freely (``model_validate``): YAML gives 1e-3 as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Schedule(Options):
    """The learning rate of every step of a fit: a rise, then half a cosine."""

    steps: Annotated[int, Field(ge=1)] = 1000
    """Optimiser steps."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 6e-3
    """The highest rate: reached after ``warmup`` steps, then half a cosine down to ``final_rate`` times this."""
    warmup: Annotated[int, Field(ge=0)] = 100
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress)))


class FitOptions(Schedule):
    """How a force field is fitted. The defaults suit small networks on one or two cores.

    The budget is a number of steps and not a time, so that a fit does not depend on how busy the machine was.
    """

    steps: Annotated[int, Field(ge=1)] = 4000
    """Optimiser steps."""
    optimizer: Literal["soap", "adamw"] = "soap"
    """:class:`SOAP` needs a fraction of the steps on small networks; AdamW is cheaper a step when layers are wide."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Snapshots a step; one snapshot holds the forces of all sites, so a few are many labels."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    force_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    energy_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """Weights of the two losses, each in units of the variance of its labels. Without an energy on either side the
    energy loss drops out by itself."""
    component: Literal["all", "tangent"] | None = None
    """What to learn of the forces; "tangent", for unit spins: :func:`nearsight.fields.tangent`, H⊥ = H - (H·S) S. The
    rest of H does nothing to a spin, and electrons make it 2 to 250 times larger: a fit of all of H spends itself on
    it. None: "tangent" if the field type of the force field has unit vectors, else "all"."""
    force_loss: Literal["squared", "relative"] = "squared"
    """The error of the forces: its mean square, or the mean of |F - F̂|₁ / |F̂| over the sites, which weighs small forces
    like large ones. For tangents it is the error of the torque S × H."""
    relative_floor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Forces shorter than this share of their rms length count as of this length in the relative loss."""
    augment: bool = False
    """Turn every snapshot of a step by a random operation of the field's own symmetry (rotations of all spins, their
    reversal) and of the point group, for students that do not have them built in. The labels must have both."""
    clip: Annotated[float, Field(gt=0)] = 10.0
    """Largest norm of the gradient."""
    average: Fraction = 0.99
    """Memory, per step, of the moving average of the weights that is validated and returned; 0: no averaging."""
    validate_every: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many validations without a better one; None: never."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 200
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Fraction = 0.15
    """Shares of the trajectories that a fit to a whole data set holds back (the test share is not looked at)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the order of the snapshots and of the split. Initial weights belong to whoever built the network."""
    dtype: Literal["float32", "float64"] = "float32"
    threads: Annotated[int, Field(ge=1)] | None = 1
    """Threads of torch during the fit (None: leave as it is). Small networks are fastest on one."""

    @model_validator(mode="after")
    def _consistent(self) -> FitOptions:
        if self.force_weight == 0 and self.energy_weight == 0:
            raise ValueError("force_weight and energy_weight are both 0: there is nothing to learn")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation={self.validation:g} and test={self.test:g} leave nothing to train on")
        return self
