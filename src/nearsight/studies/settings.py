"""Configurations from a preset and ``key=value`` settings, with errors that name the nearest valid key."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from nearsight.storage import parse_yaml, read_yaml

Config = TypeVar("Config", bound=BaseModel)
LARGEST = {int: 10**8, float: 1e9}
"""Largest sizes of numbers in settings: beyond, a slip of the keyboard would fill the memory or never end."""


MEANINGS = {
    "amplitude": "Standard deviation of the initial field.",
    "beta": "Inverse temperature of the observations.",
    "chains": "Independent Markov chains.",
    "channels": "Features of a layer, per operation of the group.",
    "compared": "Kinds of features that are compared.",
    "configurations": "Random configurations that are averaged over.",
    "cutoff": "Radius of the neighbourhood.",
    "damping": "Friction, or Gilbert damping.",
    "dt": "Time step.",
    "duration": "Time at which it ends.",
    "electron_kT": "Temperature of the electrons.",
    "farthest": "Largest distance from the transition.",
    "filling": "Electrons per orbital.",
    "high": "Highest temperature.",
    "learning_rate": "The highest rate.",
    "length": "Sites along each axis of the lattice.",
    "low": "Lowest temperature.",
    "nearest": "Smallest distance from the transition.",
    "number": "How many.",
    "optimizer": "Method of descent.",
    "quenches": "Number of quenches by each force field.",
    "records": "Number of times at which observables are measured.",
    "replicas": "Independent copies, side by side.",
    "rule": "Probability to accept a move.",
    "seed": "Of all random numbers of the run.",
    "steps": "Steps of the optimiser.",
    "temperatures": "Those that are compared, in units of J.",
    "widths": "Neurons of each layer.",
}
"""What settings are that mean the same in every study; others say it where they are defined."""


class Section(BaseModel):
    """Base of configurations: frozen, and unknown keys are refused.

    Examples
    --------
    >>> from nearsight.studies import Section
    >>> class Config(Section):
    ...     g: float = 1.5
    ...     length: int = 30
    >>> Config(g=1.7).model_dump()
    {'g': 1.7, 'length': 30}
    >>> try:
    ...     Config(G=1.7)
    ... except ValueError as error:
    ...     print("Extra inputs are not permitted" in str(error))
    True
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )


def configure(preset: Config, settings: Iterable[str], file: str | Path | None = None) -> Config:
    """The preset, with what a YAML file says changed, then settings such as ``"model.g=1.7"``, read as YAML 1.2.

    Raises ``ValueError`` for a key that does not exist (naming the nearest that does), for a value that is not allowed,
    and for numbers that nobody means: whole ones above 10⁸ (seeds apart), others above 10⁹, would run without end.
    """
    content = preset.model_dump(mode="json")
    if file is not None:
        for key, value in _changes(content, read_yaml(Path(file), cure="Write it anew."), file).items():
            _check_size(key, value)
            _assign(content, key, value)
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise ValueError(f"A setting has the form key=value, got {setting!r}.")
        try:
            value = parse_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise ValueError(
                f"{key}: {text!r} is not a YAML value; quote text that holds ':', '#' or brackets."
            ) from None
        _check_size(key, value)
        _assign(content, key, value)
    return validated(type(preset), content)


def validated(kind: type[Config], content: Any) -> Config:
    """``kind`` from plain data, with pydantic's complaints put in words."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(_in_words(complaint, content) for complaint in error.errors())) from None


def difference(start: BaseModel, config: BaseModel) -> list[str]:
    """The settings that turn one configuration into another."""
    old, new = (flatten(c.model_dump(mode="json")) for c in (start, config))
    return [f"{key}={json.dumps(value)}" for key, value in new.items() if old.get(key) != value]


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """ "key: value there, value here" of all settings in which two configurations in plain data differ."""
    old, new = flatten(there), flatten(here)
    return [
        f"{key}: {old.get(key, 'absent')} there, {new.get(key, 'absent')} here"
        for key in {**old, **new}
        if (key in old, old.get(key)) != (key in new, new.get(key))
    ]


def closest(presets: Mapping[str, BaseModel], config: BaseModel) -> str:
    """The preset from which a configuration differs in the fewest settings."""
    return min(presets, key=lambda preset: len(difference(presets[preset], config)))


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        result |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result


def suggestion(name: str, valid: Iterable[str]) -> str:
    """The valid names most like ``name``, in a sentence, or all of them (of settings, the groups) if none is near.

    For dotted keys, those that end in it come first.
    """
    candidates = list(valid)
    *group, last = name.split(".")
    ending = [c for c in candidates if c.rpartition(".")[2] == last]
    inside = [c for c in candidates if group and c.startswith(".".join(group) + ".")]
    for pool in (ending, inside, candidates):
        if found := difflib.get_close_matches(name, pool, n=1, cutoff=0.0 if pool is ending else 0.7):
            return f"The nearest is {found[0]!r}."
    shown = inside or list(dict.fromkeys(c.partition(".")[0] for c in candidates))
    return f"There are {', '.join(shown)}."


def keys(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all sections and values."""
    result = []
    for key, value in content.items():
        result.append(prefix + key)
        if isinstance(value, Mapping):
            result += keys(value, f"{prefix}{key}.")
    return result


def _changes(content: Mapping[str, Any], told: Any, file: str | Path) -> dict[str, Any]:
    """What a file says, by dotted key: groups of settings are merged, and a value that is a mapping stays whole."""
    if not isinstance(told, Mapping):
        raise ValueError(f"{file} holds no settings: it should have lines such as 'seed: 3', and groups of them.")

    def leaves(inside: Any, told: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in told.items():
            group = inside.get(key) if isinstance(inside, Mapping) else None
            both = isinstance(value, Mapping) and isinstance(group, Mapping)
            found |= leaves(group, value, f"{prefix}{key}.") if both else {f"{prefix}{key}": value}
        return found

    return leaves(content, told, "")


def _assign(content: dict[str, Any], key: str, value: Any) -> None:
    if key not in keys(content):
        raise ValueError(f"There is no setting {key!r}. {suggestion(key, keys(content))}")
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target[section]
    if isinstance(target[last], dict):
        inner = ", ".join(f"{key}.{name}" for name in target[last])
        raise ValueError(f"{key!r} is a group of settings; set one of {inner}.")
    if isinstance(value, bool) and isinstance(target[last], int | float) and not isinstance(target[last], bool):
        raise ValueError(f"{key} = {json.dumps(value)} is not allowed: it should be a number.")
    target[last] = value


def _check_size(key: str, value: Any) -> None:
    values = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    for x in values:
        if isinstance(x, list | dict):
            _check_size(key, x)
        most = LARGEST[type(x)] if type(x) in LARGEST and key.rpartition(".")[2] != "seed" else None
        if most is not None and math.isfinite(x) and abs(x) > most:
            raise ValueError(f"{key} = {x} is not allowed: nothing here is larger than {most:g}.")


def _in_words(complaint: Any, content: Any) -> str:
    key = ".".join(str(part) for part in complaint["loc"] if not isinstance(part, int)) or "configuration"
    facts = complaint.get("ctx", {})
    match complaint["type"]:
        case "extra_forbidden":
            known = [k for k in keys(content) if k != key]
            return f"There is no setting {key!r}. {suggestion(key, known)}"
        case "missing":
            return f"{key} is missing."
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
            allowed = " and ".join(f"a number {sign[name]} {bound:g}" for name, bound in facts.items() if name in sign)
        case "int_parsing" | "int_type" | "int_from_float":
            allowed = "a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            allowed = "a finite number"
        case "bool_parsing" | "bool_type":
            allowed = "true or false"
        case "literal_error" | "enum":
            allowed = f"one of {facts['expected']}"
        case "value_error" | "assertion_error":
            return f"{key}: {facts['error']}" if key != "configuration" else str(facts["error"])
        case _:
            allowed = complaint["msg"].removeprefix("Input should be ")
    return f"{key} = {complaint['input']!r} is not allowed: it should be {allowed}."
