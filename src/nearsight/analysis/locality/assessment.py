"""Whether the cutoff limits a local model, in words, from errors and irreducible errors against the cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

LIMITED = 1.5
"""An error within this factor of the floor is limited by what lies beyond the model's size."""
FREE = 1 / 3
"""A floor below this fraction of the error adds to it, in quadrature, 5 % at most."""
FALLING = 0.1
"""Errors of two sizes that differ by less than this fraction are the same, if their own errors are not known."""


@dataclass(frozen=True, eq=False)
class LocalityReport:
    """What was measured, and what it means.

    ``data`` holds ``floor`` ``(radius,)`` with ``floor_error``, ``error`` ``(model,)`` with the ``size`` of each model,
    and what else was measured; ``sentences`` say what follows.

    :func:`assess_size` and :func:`assess_growth` return it.
    """

    data: xr.Dataset
    sentences: tuple[str, ...]

    @property
    def words(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)

    def __str__(self) -> str:
        return self.words


def assess_size(
    size: Sequence[float] | np.ndarray,
    error: Mapping[str, tuple[float, float]] | None = None,
    *,
    floor: Sequence[float] | np.ndarray | None = None,
    floor_error: Sequence[float] | np.ndarray | None = None,
    length: float | None = None,
    name: str = "cutoff",
    unit: str = "a",
    quantity: str = "force",
) -> LocalityReport:
    """Compare the errors of models of several sizes with the irreducible error of any model of that size.

    The size is the cutoff of a force field, or the side of the blocks from which a block model predicts an intensive
    property: anything that grows until it is enough.

    Parameters
    ----------
    size: sizes at which the floor is known, ascending (with ``floor``); otherwise ignored.
    error: for every model, by name, its size and its error.
    floor, floor_error: irreducible error at every ``size`` (see :func:`truncation`), and its standard error.
    length: the correlation length of the data, in the same unit as the sizes; 0 where there are no correlations.
    """
    sizes = np.asarray(size, dtype=float)
    models = dict(error or {})
    if floor is None and not models:
        raise ValueError("There is nothing to assess: give errors of models, a floor, or both.")
    data = xr.Dataset(attrs={"name": name, "unit": unit, "quantity": quantity})
    floors = None
    if floor is not None:
        floors = np.asarray(floor, dtype=float)
        if floors.shape != sizes.shape or sizes.ndim != 1 or np.any(np.diff(sizes) <= 0):
            raise ValueError(f"floor needs one value for each ascending size, got {floors.shape} and {sizes}.")
        data["floor"] = ("radius", floors, {"long_name": f"irreducible error of the {quantity}"})
        data = data.assign_coords(radius=("radius", sizes, {"long_name": name, "units": unit}))
        if floor_error is not None:
            data["floor_error"] = ("radius", np.asarray(floor_error, dtype=float))
    if models:
        pairs = _pairs(models)
        data["size"] = ("model", pairs[:, 0], {"long_name": name, "units": unit})
        data["error"] = ("model", pairs[:, 1], {"long_name": f"rms error of the {quantity}"})
        data = data.assign_coords(model=list(models))
    if length is not None:
        data.attrs["length"] = float(length)
    sentences = _on_models(models, sizes, floors, length, name, unit, quantity)
    return LocalityReport(data, tuple(sentences))


def assess_growth(
    error: Mapping[str, tuple[float, float]],
    *,
    name: str = "cutoff",
    unit: str = "a",
    quantity: str = "force",
) -> LocalityReport:
    """What a larger cutoff brings to models that differ in nothing else.

    Parameters
    ----------
    error: for every model, by name, its size and its error, after the same training.

    Returns
    -------
    ``probe_error`` and ``probe_size`` ``(probe,)``, ascending in size, and what they say: the size from which on no
    larger one is better by more than a tenth.
    """
    if not error:
        raise ValueError("There is nothing to assess: give errors of models of several sizes.")
    names = sorted(error, key=lambda key: error[key])
    pairs = _pairs({key: error[key] for key in names})
    data = xr.Dataset(
        {
            "probe_size": ("probe", pairs[:, 0], {"long_name": name, "units": unit}),
            "probe_error": ("probe", pairs[:, 1], {"long_name": f"rms error of the {quantity}"}),
        },
        coords={"probe": names},
    )
    sizes = np.unique(pairs[:, 0])
    best = np.array([pairs[pairs[:, 0] == size, 1].min() for size in sizes])
    if len(sizes) < 2:
        return LocalityReport(data, ())
    enough = int(np.argmax(best * (1 - FALLING) <= best.min()))
    start = f"After equal training the error is {best[0]:.2g} at a {name} of {sizes[0]:.3g}"
    if enough == 0:
        said = f"{start}, and a larger one does not help."
    elif enough == len(sizes) - 1:
        said = (
            f"{start} and still falls, from {best[-2]:.2g} at {sizes[-2]:.3g} to {best[-1]:.2g} at {sizes[-1]:.3g}, "
            "the largest that was tried."
        )
    else:
        said = f"{start} and {best[enough]:.2g} at {sizes[enough]:.3g}; beyond, no {name} brings a tenth."
    return LocalityReport(data, (said,))


def _pairs(models: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Size and error of every model ``(model, 2)``, checked."""
    pairs = np.array(list(models.values()), dtype=float)
    if not (np.isfinite(pairs).all() and (pairs >= 0).all()):
        raise ValueError(f"Sizes and errors of models must be finite and not negative, got {dict(models)}.")
    return pairs


def _on_models(
    models: Mapping[str, tuple[float, float]],
    sizes: np.ndarray,
    floors: np.ndarray | None,
    length: float | None,
    name: str,
    unit: str,
    quantity: str,
) -> list[str]:
    if not models:
        assert floors is not None
        return [
            f"The irreducible error of the {quantity} falls from {floors[0]:.2g} at a {name} of {sizes[0]:.3g} to "
            f"{floors[-1]:.2g} at {sizes[-1]:.3g}."
        ]
    said = []
    best = min(models, key=lambda key: models[key][1])
    size, error = models[best]
    if length is not None and 0 < length < np.inf:
        said.append(
            f"A {name} of {size:.3g} {unit} is {size / length:.2g} correlation lengths (ξ = {length:.2g} {unit})."
        )
    if floors is not None:
        said += _against_floor(size, error, sizes, floors, name, quantity)
    if len({s for s, _ in models.values()}) > 1:
        said.append(_trend(list(models.values()), name))
    return said


def _against_floor(
    size: float, error: float, sizes: np.ndarray, floors: np.ndarray, name: str, quantity: str
) -> list[str]:
    if size > sizes[-1]:
        return [
            f"The floor is known up to a {name} of {sizes[-1]:.3g} only, where it is {floors[-1]:.2g}; the error of "
            f"the model is {error:.2g}. A larger lattice would show more."
        ]
    here = float(np.interp(size, sizes, floors))
    said = [f"The irreducible error of any model with this {name} is {here:.2g}, the model's {error:.2g}:"]
    enough = sizes[floors <= FREE * error]
    better = sizes[(sizes > size) & (floors <= 0.5 * here)]
    if error > LIMITED * here or here == 0:
        said.append(f"the {name} does not limit it; more data, a larger network or longer training would help.")
        if len(enough) and enough[0] < size:
            said.append(f"For this error a {name} of {enough[0]:.3g} would do.")
    elif len(better):
        said.append(f"the {name} limits it; use {better[0]:.3g}, which halves the irreducible part.")
    else:
        said.append(f"the {name} limits it, and none up to {sizes[-1]:.3g} halves the irreducible part.")
    if error < 0.8 * here:
        said.append(
            "That it lies below says that the model infers what is beyond from what is within; the floor, which joins "
            f"independent surroundings, is an estimate of the {quantity} from above."
        )
    return said


def _trend(models: list[tuple[float, float]], name: str) -> str:
    """Does the error still fall at the largest size? The best model of every size counts."""
    sizes = sorted({s for s, _ in models})
    best = [min(e for s, e in models if s == size) for size in sizes]
    change = f"from {best[-2]:.2g} to {best[-1]:.2g} as the {name} goes from {sizes[-2]:.3g} to {sizes[-1]:.3g}"
    if best[-1] < (1 - FALLING) * best[-2]:
        return f"The error is still falling, {change}."
    if best[-1] > (1 + FALLING) * best[-2]:
        return f"The error rises, {change}: a larger {name} asks for more data."
    return f"The error no longer changes, {change}."
