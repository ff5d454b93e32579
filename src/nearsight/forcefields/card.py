"""What a learned force field was made of, and where it holds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from nearsight._description import Described, plain
from nearsight._validation import instance, numbers
from nearsight.forcefields.exact import ExactForceField
from nearsight.storage.text import number_text

ENSEMBLE = ("mu", "filling", "number", "kT")
"""Parameters of a solver that are physics; the others decide how exactly it solves."""
UNITS = {"energy": "t", "length": "a"}


class ExtrapolationWarning(UserWarning):
    """A learned force field is used for parameters it was not trained at."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What stands beside the weights of a learned force field.

    Force fields carry it (:attr:`ForceField.card`), also on other lattices and in sums, and
    :func:`nearsight.forcefields.save` writes it.

    Parameters
    ----------
    exact: the exact force field that was learned: Hamiltonian, classical part, solver and ensemble. Energies of moves,
        and what else is no :class:`ExactForceField`, by their description in plain data.
    low, high: smallest and largest value of every component of the fields it was trained on.
    data: of the training data: their ``hash``, how many, and how they were made.
    errors: of what no training has seen: checks in plain data, each with ``name`` and ``value``, and ``error``,
        ``unit``, ``exact`` and ``note`` where they are known.
    audit: the error of the forces in a large run, by :class:`nearsight.Audit`: ``time``, ``rms``, ``rms_low``,
        ``rms_high`` and ``scale`` (the rms exact force), a list each.
    units: of "energy", "length" and "time".
    origin: study, configuration, seed, version and commit it comes from.

    >>> import nearsight as ns
    >>> holstein = ns.hamiltonians.Holstein(ns.lattices.square(8), g=1.5)
    >>> exact = ns.ExactForceField(holstein, ns.solvers.Dense(mu=0, kT=0.1))
    >>> card = Card(exact=exact, low=(-2.5,), high=(2.5,))
    >>> card.parameters["g"], card.parameters["kT"]
    (1.5, 0.1)
    >>> warmer = exact.replaced(solver=ns.solvers.Dense(mu=0, kT=0.2))
    >>> card.differences(warmer)
    {'kT': (0.1, 0.2)}
    """

    exact: ExactForceField | Mapping[str, Any]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    errors: Sequence[Mapping[str, Any]] = ()
    audit: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        exact = self.exact
        if isinstance(exact, Mapping) and exact.get("type") == ExactForceField.__name__:
            exact = ExactForceField.from_config(exact)
        instance(exact, (ExactForceField, Mapping), "exact", "Give an ExactForceField, or a description in plain data.")
        low, high = (numbers(getattr(self, name), name) for name in ("low", "high"))
        if len(low) != len(high) or any(a >= b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"low and high are the range of every component, low < high, got {low} and {high}.")
        for name, value in (("exact", exact), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    # --- physics ----------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, float]:
        """Numbers and switches of Hamiltonian and ensemble, by their names; of nested objects as ``outer.inner``."""
        return _parameters(self.exact)

    def differences(self, exact: Described | Mapping[str, Any]) -> dict[str, tuple[float | None, float | None]]:
        """Parameters by which these electrons are others than those that were learned: then, and now.

        None stands for a parameter that only the other has, such as a filling in the place of μ.
        """
        then, now = self.parameters, _parameters(exact)
        names = dict.fromkeys([*then, *now])
        return {name: (then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)}

    def check(self, exact: Described | Mapping[str, Any]) -> None:
        """Give an :class:`ExtrapolationWarning` with the numbers if other electrons were learned.

        Raises ``ValueError`` for another Hamiltonian, whatever its numbers.
        """
        then, now = (_kind(x) for x in (self.exact, exact))
        if then != now:
            raise ValueError(f"What was learned are the electrons of {then}, not those of {now}.")
        if found := self.differences(exact):
            told = ", ".join(f"{name} = {_text(new)} (trained at {_text(old)})" for name, (old, new) in found.items())
            warnings.warn(
                f"These parameters are not those of the training data: {told}. Learned forces are those of the "
                "electrons they were trained on, whatever is asked for; only the classical part, which is exact, "
                "follows its own parameters. Audit the run to see what it costs, or train anew.",
                ExtrapolationWarning,
                stacklevel=3,
            )

    # --- plain data -------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The card in plain data."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The card that :meth:`config` described."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(config) - known):
            raise ValueError(f"A card has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        return cls(**config)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        origin = self.origin
        made = ", ".join(
            f"{name} {origin[name]}" for name in ("study", "nearsight", "commit", "seed") if name in origin
        )
        yield f"{_kind(self.exact)}: " + ", ".join(f"{name} = {_text(x)}" for name, x in self.parameters.items())
        yield "units: " + ", ".join(f"{name} in {unit}" for name, unit in self.units.items())
        if self.low:
            ranges = (f"[{a:.4g}, {b:.4g}]" for a, b in zip(self.low, self.high, strict=True))
            yield f"fields of the training data: {', '.join(ranges)}"
        if self.data:
            known = ", ".join(f"{name} {x}" for name, x in self.data.items() if isinstance(x, int | float | str))
            yield f"training data: {known}"
        for check in self.errors:
            error = f" ± {check['error']:.2g}" if isinstance(check.get("error"), float) else ""
            value = "–" if check.get("value") is None else f"{check['value']:.4g}"
            yield f"{check['name']}: {value}{error} {check.get('unit', '')}".rstrip()
        if self.audit:
            rows = zip(*(self.audit[name] for name in ("time", "rms", "rms_low", "rms_high", "scale")), strict=True)
            for t, rms, low, high, scale in rows:
                yield f"audit at t = {t:.4g}: rms error {rms:.3g} [{low:.3g}, {high:.3g}] of {scale:.3g}"
        if made:
            yield f"made by {made}"


def _told(exact: Described | Mapping[str, Any]) -> Mapping[str, Any]:
    """What is exact in plain data."""
    return exact if isinstance(exact, Mapping) else exact.config()


def _kind(exact: Described | Mapping[str, Any]) -> str:
    """Name of the Hamiltonian."""
    told = _told(exact)
    return str(told.get("model", told).get("type", "?"))


def _parameters(exact: Described | Mapping[str, Any]) -> dict[str, float]:
    told = _told(exact)
    model, solver = told.get("model", told), told.get("solver", told)
    found = dict(_numbers({name: x for name, x in model.items() if name != "lattice"}))
    ensemble = {name: solver[name] for name in ENSEMBLE if solver.get(name) is not None}
    return found | dict(_numbers(ensemble))


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number and switch in nested plain data, by its place."""
    if isinstance(value, int | float):
        yield name, value
    elif isinstance(value, Mapping):
        for key, x in value.items():
            yield from _numbers(x, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for k, x in enumerate(value):
            yield from _numbers(x, f"{name}[{k}]")


def _text(value: float | None) -> str:
    return str(value) if value is None or isinstance(value, bool) else number_text(value)


def _plain(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(x) for key, x in value.items()}
    return [_plain(x) for x in value] if isinstance(value, list) else value
