"""Values that describe themselves: what a constructor was given is what the object is, says and is stored as."""

from __future__ import annotations

import copy
import hashlib
import html
import inspect
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from nearsight._validation import instance
from nearsight.storage import tensor_hash
from nearsight.storage.text import number_text

if TYPE_CHECKING:
    from nearsight.lattices import Lattice


class Described:
    """An object whose constructor arguments are attributes of the same names.

    From these alone follow its representation, its description in plain data (:meth:`config`), the object made from
    that again (:meth:`from_config`), the same object with other arguments (:meth:`replaced`), on another lattice
    (:meth:`on`) or at a time (:meth:`at_time`). A parameter that is not an attribute is a ``TypeError`` at once, so
    none can hide from a description. Only a generator ``rng`` is left out: what a module drew from it is told by
    :func:`fingerprint`.
    """

    _kinds: ClassVar[dict[str, type]]
    _parts: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """How arguments that are objects themselves are made from plain data, by their names."""

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
        missing = [name for name in self._signature() if not hasattr(self, name)]
        if missing:
            raise TypeError(f"{type(self).__name__} does not keep its argument {missing[0]} as an attribute.")
        values = {name: getattr(self, name) for name in self._signature()}
        return {name: tuple(x) if isinstance(x, torch.nn.ModuleList) else x for name, x in values.items()}

    def replaced(self, **changes: Any) -> Self:
        """The same object with other values of some arguments."""
        return self._made(self.arguments | changes)

    @classmethod
    def _made(cls, arguments: dict[str, Any]) -> Self:
        kinds = [p.kind for p in cls._signature().values()]
        if inspect.Parameter.VAR_POSITIONAL not in kinds:
            return cls(**arguments)
        *first, several = list(cls._signature())[: kinds.index(inspect.Parameter.VAR_POSITIONAL) + 1]
        given = [arguments.pop(name) for name in (*first, several)]
        return cls(*given[:-1], *given[-1], **arguments)

    def on(self, lattice: Lattice) -> Self:
        """The same on another lattice of the same kind; what is learned is shared, not copied."""
        arguments = self.arguments
        moved = {name: _on(value, lattice) for name, value in arguments.items()}
        if "lattice" in moved:
            moved["lattice"] = self._of_kind(lattice)
        elif all(moved[name] is arguments[name] for name in moved):
            return self  # a network on features, a solver: at home on every lattice
        if not isinstance(self, torch.nn.Module):
            return self.replaced(**moved)
        # Parameters of its own would be drawn anew by the constructor; those of its parts have been taken along.
        if "lattice" in moved:
            other = copy.copy(self)
            other.lattice = lattice
        else:
            other = self.replaced(**moved)
        other.training = self.training
        return other

    def at_time(self, time: float) -> Self:
        """The same at a time, with numbers in place of protocols; itself if nothing depends on time."""
        arguments = self.arguments
        moved = {name: _at_time(value, time) for name, value in arguments.items()}
        if all(moved[name] is arguments[name] for name in moved):
            return self
        other = self.replaced(**moved)
        if isinstance(self, torch.nn.Module):
            other.training = self.training
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without what is worked out on demand: an object travels to other processes, its tables need not."""
        kind = type(self)
        return {k: v for k, v in vars(self).items() if not isinstance(getattr(kind, k, None), cached_property)}

    def _of_kind(self, lattice: Lattice) -> Lattice:
        """The lattice, refused if it is of another kind than that of the object."""
        kinds = type(self.lattice).__mro__[:-1]  # type: ignore[attr-defined]
        if not self.lattice.same_kind(instance(lattice, kinds, "lattice")):  # type: ignore[attr-defined]
            own = self.lattice.name  # type: ignore[attr-defined]
            raise ValueError(f"{type(self).__name__} lives on a {own} lattice in any size, not on {lattice!r}.")
        return lattice

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
        return kind._made({key: kind._revived(key, value) for key, value in arguments.items()})

    @classmethod
    def _revived(cls, name: str, value: Any) -> Any:
        if name in cls._parts and value is not None:
            return cls._parts[name](value)
        return tuple(cls._revived("", x) for x in value) if isinstance(value, list) else value

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

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(text(value))}</td></tr>"
            for name, value in self.arguments.items()
        )
        return f"<b>{html.escape(type(self).__name__)}</b><table>{''.join(cells)}</table>"


def _left_out(value: Any, default: Any) -> bool:
    """Whether a representation is as clear without a value: it is the default, and not a number that sets a scale."""
    if isinstance(default, int | float) and not isinstance(default, bool):
        return default == 0 and not np.any(value)
    return text(value) == text(default)


@cache
def _signature(kind: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(kind).parameters.items() if name != "rng"}


def _on(value: Any, lattice: Lattice) -> Any:
    if isinstance(value, tuple):
        moved = tuple(_on(x, lattice) for x in value)
        return value if all(a is b for a, b in zip(moved, value, strict=True)) else moved
    return value.on(lattice) if hasattr(value, "on") else value


def _at_time(value: Any, time: float) -> Any:
    if isinstance(value, tuple):
        moved = tuple(_at_time(x, time) for x in value)
        return value if all(a is b for a, b in zip(moved, value, strict=True)) else moved
    return value.at_time(time) if isinstance(value, Described) else value


def plain(value: Any) -> Any:
    """A value as YAML and JSON know it; an array by its numbers, an object by its own description."""
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "config"):
        return value.config()
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.dtype):
        return text(value)
    if isinstance(value, tuple | list):
        return [plain(x) for x in value]
    return value


def fingerprint(value: Any) -> Any:
    """:func:`plain` for telling objects apart: arrays by their hashes, and with a hash of what is learned."""
    if not isinstance(value, Described):
        if isinstance(value, tuple | list):
            return [fingerprint(x) for x in value]
        return text(value) if isinstance(value, np.ndarray | torch.Tensor) else plain(value)
    told = {"type": type(value).__name__, **{name: fingerprint(x) for name, x in value.arguments.items()}}
    if isinstance(value, torch.nn.Module) and (state := value.state_dict()):
        told["parameters"] = tensor_hash(state)
    return told


def text(value: Any) -> str:
    """A value for the eye, numbers with all the digits they need, a large array by its hash."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, tuple | list):
        return text(value[0]) if len(value) == 1 else f"({', '.join(map(text, value))})"
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, torch.Tensor):
        value = value.numpy(force=True)
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
