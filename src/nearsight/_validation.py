"""Checks of arguments at the door: every constructor and public function asks these, inner loops trust.

Each takes a value and the name of its argument, returns the value as plain Python or as it came, and raises
``TypeError`` for what is of the wrong kind, ``ValueError`` for what is out of range. NumPy scalars and
zero-dimensional arrays or tensors are numbers like any other; ``bool``, ``str`` and ``None`` are not.
"""

from __future__ import annotations

import difflib
import math
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def integer(value: Any, name: str, *, least: int | None = None, most: int | None = None) -> int:
    """A whole number: ``int``, a NumPy integer, or a zero-dimensional integer array or tensor; 4.0 is refused."""
    value = _scalar(value)
    if isinstance(value, bool | type) or not hasattr(value, "__index__") or hasattr(value, "shape"):
        raise TypeError(f"{name} must be a whole number{_range(least, most)}, got {_shown(value)}.")
    whole = operator.index(value)
    if (least is not None and whole < least) or (most is not None and whole > most):
        raise ValueError(f"{name} must be a whole number{_range(least, most)}, got {whole}.")
    return whole


def number(
    value: Any,
    name: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> float:
    """A real number within closed (``least``, ``most``) or open (``above``, ``below``) bounds; NaN is refused."""
    value = _scalar(value)
    wanted = f"{name} must be a {'finite ' if finite else ''}real number{_range(least, most, above, below)}"
    if isinstance(value, bool | type) or not hasattr(value, "__float__") or hasattr(value, "shape"):
        raise TypeError(f"{wanted}, got {_shown(value)}.")
    real = float(value)
    outside = (
        (least is not None and real < least)
        or (most is not None and real > most)
        or (above is not None and real <= above)
        or (below is not None and real >= below)
    )
    if math.isnan(real) or outside or (finite and math.isinf(real)):
        raise ValueError(f"{wanted}, got {real:g}.")
    return real


def numbers(value: Any, name: str, *, length: int | None = None, **bounds: Any) -> tuple[float, ...]:
    """Several real numbers, each within the bounds of :func:`number`; ``length`` of them if it is given."""
    return _several(value, name, "real numbers", number, length, bounds)


def integers(value: Any, name: str, *, length: int | None = None, **bounds: Any) -> tuple[int, ...]:
    """Several whole numbers, each within the bounds of :func:`integer`; ``length`` of them if it is given."""
    return _several(value, name, f"whole numbers{_range(**bounds)}", integer, length, bounds)


def _several(
    value: Any, name: str, what: str, check: Callable[..., T], length: int | None, bounds: dict[str, Any]
) -> tuple[T, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
        raise TypeError(f"{name} must hold {'' if length is None else f'{length} '}{what}, got {_shown(value)}.")
    values = tuple(check(x, f"{name}[{k}]", **bounds) for k, x in enumerate(value))
    if length is not None and len(values) != length:
        raise ValueError(f"{name} must hold {length} {what}, got {len(values)}.")
    return values


def array(value: Any, name: str, shape: Sequence[int | str]) -> np.ndarray:
    """Finite real numbers of a shape, float64; a word in ``shape`` stands for any length, as in ``("site", 3)``."""
    wanted = f"{name} must have shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{wanted} and hold finite real numbers, got {_shown(value)}.") from error
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{wanted} and hold finite real numbers, got {_shown(value)}.")
    if given.ndim != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, given.shape, strict=True)):
        raise ValueError(f"{wanted}, got {given.shape}.")
    if not np.isfinite(given).all():
        raise ValueError(f"{wanted} and hold finite real numbers, got NaN or infinite ones.")
    return given.astype(float)


def indices(value: Any, name: str, below: int | None = None) -> Any:
    """Places ``(element,)`` from 0 on, before ``below`` if given: an integer array or tensor, returned as int64."""
    import torch

    if not isinstance(value, np.ndarray | torch.Tensor):
        raise TypeError(f"{name} must be an integer tensor (element,), got {_shown(value)}.")
    kinds = ("int16", "int32", "int64")  # torch takes uint8 and bool for masks
    if value.ndim != 1 or str(value.dtype).removeprefix("torch.") not in kinds:
        raise TypeError(
            f"{name} must be an integer tensor (element,), got {value.dtype} of shape {tuple(value.shape)}."
        )
    if len(value) and (int(value.min()) < 0 or (below is not None and int(value.max()) >= below)):
        most = "" if below is None else f" and ≤ {below - 1}"
        raise ValueError(f"{name} must lie ≥ 0{most}, got {int(value.min())} to {int(value.max())}.")
    return value.astype(np.int64, copy=False) if isinstance(value, np.ndarray) else value.long()


def filename(value: Any, name: str) -> Path:
    """A path of a file or folder."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise TypeError(f"{name} must be the path of a file or folder, got {_shown(value)}.")
    return Path(value)


def boolean(value: Any, name: str) -> bool:
    """True or False; neither 1 nor "no", whose truth is an accident."""
    value = _scalar(value)
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {_shown(value)}.")
    return bool(value)


def choice(value: Any, name: str, options: Sequence[T]) -> T:
    """One of a few values; a misspelt word is answered by the nearest."""
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    words = [option for option in options if isinstance(option, str)] if isinstance(value, str) else []
    near = difflib.get_close_matches(str(value), words, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    known = ", ".join(map(repr, options))
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name} must be one of {known}, got {_shown(value)}.{hint}")


def instance(value: Any, kinds: type[T] | tuple[type[T], ...], name: str, cure: str = "") -> T:
    """An object of a class (or of one of several); the class itself in place of an instance is refused by name."""
    if isinstance(value, kinds):
        return value
    names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    if isinstance(value, type):
        got = f"the class {value.__name__} itself; call it: {value.__name__}(...)"
    else:
        got = _shown(value)
    raise TypeError(f"{name} must be a {names}, got {got}.{' ' + cure if cure else ''}")


def generator(value: Any, name: str = "rng", *, optional: bool = False) -> torch.Generator | None:
    """A ``torch.Generator``: a bare seed would restart the sequence at every call."""
    import torch

    if isinstance(value, torch.Generator) or (optional and value is None):
        return value
    raise TypeError(f"{name} must be a torch.Generator, got {_shown(value)}; use torch.Generator().manual_seed(1).")


def state_tensor(value: Any, sites: int, n_states: int) -> torch.Tensor:
    """A tensor of states 0..q-1 ``(*batch, site)`` of whole numbers; field values are refused."""
    dtype = getattr(value, "dtype", None)
    if not hasattr(value, "is_floating_point") or value.is_floating_point() or str(dtype) == "torch.bool":
        raise TypeError("States are a tensor of integers; to_states(field) of a classical model makes them of a field.")
    if value.ndim < 1 or value.shape[-1] != sites:
        raise ValueError(f"States have shape (*batch, {sites}), got {tuple(value.shape)}.")
    if value.numel() and not 0 <= int(value.min()) <= int(value.max()) < n_states:
        raise ValueError(
            f"States are numbered 0..{n_states - 1}, got {int(value.min())}..{int(value.max())}; to_states(field) of a "
            "classical model makes them of field values."
        )
    return value


def _scalar(value: Any) -> Any:
    """The number inside a zero-dimensional array or tensor; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not getattr(value, "is_meta", False):
        return value.item()
    return value


def _shown(value: Any) -> str:
    """A value for an error message: its type and one short line."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value).splitlines()[0] if repr(value) else ""
    return f"{text[:60]}{'…' if len(text) > 60 else ''} ({type(value).__name__})"


def _range(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    lower = f" ≥ {least:g}" if least is not None else f" > {above:g}" if above is not None else ""
    upper = f" ≤ {most:g}" if most is not None else f" < {below:g}" if below is not None else ""
    return f"{lower}{' and' if lower and upper else ''}{upper}"
