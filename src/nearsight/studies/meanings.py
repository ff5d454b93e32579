"""Settings of a study in words: what each is, which values it takes, and what it means."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from nearsight.studies.settings import MEANINGS


def settings(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, value, type, meaning) of every setting."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from settings(value, f"{prefix}{name}.")
        else:
            plain = config.model_dump(mode="json", include={name})[name]
            kind = _kind(field.annotation, field.metadata)
            yield f"{prefix}{name}", json.dumps(plain, ensure_ascii=False), kind, _meaning(type(config), name)


def _meaning(section: type[BaseModel], name: str) -> str:
    """What a setting is: a section that only gives it another default leaves that to the one it stands on."""
    fields = [getattr(kind, "model_fields", {}).get(name) for kind in section.__mro__]
    own = next((field.description for field in fields if field is not None and field.description), "")
    text = own or _parameter(section, name) or MEANINGS.get(name, "")
    return " ".join(re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").split())


def _parameter(section: type[BaseModel], name: str) -> str:
    """What the Hamiltonian that a section describes says of its parameter."""
    found = re.search(r":(?:class|func):`(nearsight\.[\w.]+)\.(\w+)`", section.__doc__ or "")
    if found is None:
        return ""
    page = inspect.getdoc(getattr(importlib.import_module(found[1]), found[2])) or ""
    entry = re.search(rf"^(?:\w+, )*{re.escape(name)}(?:, \w+)*: (.*(?:\n    .*)*)", page, re.MULTILINE)
    return f"{entry[1][:1].upper()}{entry[1][1:]}" if entry else "Parameter of the Hamiltonian."


def _kind(annotation: Any, metadata: Any = ()) -> str:
    """A type as a physicist would say it."""
    words = _type(annotation)
    bounds = [f"{name} {limit:g}" for item in metadata for name, limit in _bounds(item)]
    return f"{words} {', '.join(bounds)}".strip()


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(x) for x in inner)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if x is type(None) else _type(x) for x in inner)
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__, annotation.__metadata__)
    if origin is tuple:
        shown = [x for x in inner if x is not Ellipsis]
        return f"list of {_type(shown[0])}" if Ellipsis in inner else "[" + ", ".join(_type(x) for x in shown) + "]"
    plain = {float: "number", int: "whole number", bool: "true | false", str: "text"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(item: Any) -> Iterator[tuple[str, float]]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of"}
    for part in getattr(item, "metadata", [item]):
        for name, sign in signs.items():
            if (limit := getattr(part, name, None)) is not None:
                yield sign, limit
