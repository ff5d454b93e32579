"""Values that describe themselves: what a constructor was given is what the object is, says and is stored as."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from nearsight.storage.text import number_text


class Described:
    """An object whose constructor arguments are attributes of the same names.

    From these alone follow its representation, its description in plain data (:meth:`config`), the object made from
    that again (:meth:`from_config`), and the same object with other arguments (:meth:`replaced`). A parameter that is
    not an attribute is an ``AttributeError`` at once, so none can hide from a description.
    """

    _kinds: ClassVar[dict[str, type]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if Described in cls.__bases__:
            cls._kinds = {}  # one namespace for every family: a Hamiltonian and a network may share a name
        cls._kinds[cls.__name__] = cls

    @classmethod
    def _signature(cls) -> Mapping[str, inspect.Parameter]:
        return _signature(cls)  # type: ignore[arg-type]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor would have to be given to make this object again."""
        return {name: getattr(self, name) for name in self._signature()}

    def replaced(self, **changes: Any) -> Self:
        """The same object with other values of some arguments."""
        return type(self)(**self.arguments | changes)

    def config(self) -> dict[str, Any]:
        """Class and arguments in plain data, numbers with all digits."""
        return {"type": type(self).__name__, **{name: plain(value) for name, value in self.arguments.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object that :meth:`config` described; ``ValueError`` for a class this family does not have."""
        arguments = dict(config)
        name = arguments.pop("type", cls.__name__)
        kind = cls._kinds.get(name)
        if kind is None or not issubclass(kind, cls):
            raise ValueError(f"{name!r} is no {cls.__name__} that this version knows; it has {', '.join(cls._kinds)}.")
        return kind(**{key: kind._revived(key, value) for key, value in arguments.items()})

    @classmethod
    def _revived(cls, name: str, value: Any) -> Any:
        """An argument from plain data; a class with arguments that are objects themselves overrides it."""
        return tuple(value) if isinstance(value, list) else value

    def __repr__(self) -> str:
        """The class and its arguments; couplings and switches that are off by default are named where they are not."""
        arguments, parameters = self.arguments, self._signature()
        lattice = arguments.pop("lattice", None)
        shown = ", ".join(
            f"{name}={text(value)}"
            for name, value in arguments.items()
            if not _left_out(value, parameters[name].default)
        )
        return f"{type(self).__name__}({'; '.join(filter(None, [repr(lattice) if lattice else '', shown]))})"


def _left_out(value: Any, default: Any) -> bool:
    """Whether a representation is as clear without a value: it is the default, and not a number that sets a scale."""
    if isinstance(default, int | float) and not isinstance(default, bool):
        return default == 0 and not np.any(value)
    return text(value) == text(default)


@functools.cache
def _signature(kind: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(kind).parameters.items() if name != "rng"}


def plain(value: Any) -> Any:
    """A value as YAML and JSON know it; an array by its numbers, an object by its own description."""
    if hasattr(value, "config"):
        return value.config()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [plain(x) for x in value]
    return value


def text(value: Any) -> str:
    """A value for the eye, numbers with all the digits they need, a large array by its hash."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, tuple | list):
        return text(value[0]) if len(value) == 1 else f"({', '.join(map(text, value))})"
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:8]
        return f"array {' × '.join(map(str, value.shape))} {digest}"
    return value if isinstance(value, str) else repr(value)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for every entry of two descriptions that is not the same, nested entries by their full name."""
    lines = []
    for name in dict.fromkeys([*then, *now]):
        a, b = then.get(name), now.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += [f"{name}.{line}" for line in differences(a, b)]
        elif a != b:
            lines.append(f"{name}: {a} (then), {b} (now)")
    return lines
