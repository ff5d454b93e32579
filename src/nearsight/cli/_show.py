"""`nearsight show`, and what a run would do."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from nearsight.cli._progress import duration
from nearsight.cli._runs import finished
from nearsight.cli._terminal import plain_table
from nearsight.studies import Run, Study
from nearsight.studies.settings import MEANINGS, difference


def show(study: Study, preset: str | None, console: Console) -> None:
    """What a study asks, of which system, what is expected and at what cost; and every setting of a preset."""
    name = preset or next(iter(study.presets))
    config = study.configure(name)
    console.print(Markdown(study.text or study.question))
    costs = [f"{key}: {_cost(study, key)}" for key in study.presets]
    console.print(Text("\nMeasured: " + "; ".join(costs) + "."))
    table = plain_table(Text(f"\nSettings of the preset {name!r}; change one by --set KEY=VALUE"))
    for column in ("setting", "default", "type", "meaning"):
        table.add_column(column, overflow="fold")
    for key, value, kind, meaning in settings(config):
        table.add_row(Text(key), Text(value), Text(kind, style="dim"), Text(meaning))
    console.print(table)


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


def dry_run(study: Study, path: Path, config: BaseModel, preset: str, console: Console, only: str | None) -> None:
    """What would run, in which folder, how long it would take, and how large it would be. Nothing is written."""
    run, changed = Run(path), difference(study.presets[preset], config)
    console.print(Text(f"{study.name}, preset {preset}" + "".join(f", {setting}" for setting in changed)))
    where = "goes on with" if run.exists else "would begin"
    console.print(Text(f"{where} {path}"))
    begun, taken, source = run.stages if run.exists else {}, *expected(study, path, preset)
    table = plain_table()
    for column in ("stage", "state", "time", "leaves"):
        table.add_column(column, overflow="fold")
    total = 0.0
    for stage in study.stages:
        if only not in (None, stage.name):
            continue
        done = not stage.cheap and begun.get(stage.name, {}).get("state") == "complete"
        time = 0.0 if done else taken.get(stage.name, 0.0)
        total += time
        state = "finished: verified" if done else "goes on" if stage.name in begun else "runs"
        table.add_row(stage.name, state, duration(time) if time else "–", Text(", ".join(stage.outputs)))
    console.print(table)
    words = f"about {duration(total)} by {source}" if total else "nobody has timed this preset yet"
    console.print(Text(f"In all: {words}." + (" The settings changed are not reckoned with." if changed else "")))


def expected(study: Study, path: Path, preset: str) -> tuple[Mapping[str, float], str]:
    """Seconds of every stage: of a finished run of the preset beside this one, else those the study states."""
    start = study.presets[preset].model_dump(mode="json")
    for other in finished(path.parent, len(study.stages)):
        if {**other.config, "seed": 0} == {**start, "seed": 0} and other.path != path:
            return {name: entry["seconds"] for name, entry in other.stages.items()}, f"the run {other.path}"
    cost = study.cost.get(preset)
    return (cost.seconds, f"a run {cost.where}") if cost else ({}, "")


def _cost(study: Study, preset: str) -> str:
    cost = study.cost.get(preset)
    return "not yet" if cost is None else f"{duration(sum(cost.seconds.values()))} {cost.where}"


def _meaning(section: type[BaseModel], name: str) -> str:
    """What a setting is: a section that only gives it another default leaves that to the one it stands on."""
    fields = [getattr(kind, "model_fields", {}).get(name) for kind in section.__mro__]
    own = next((field.description for field in fields if field is not None and field.description), "")
    text = own or MEANINGS.get(name) or ("Parameter of the Hamiltonian." if section.__name__ == "Model" else "")
    return " ".join(re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").split())


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
