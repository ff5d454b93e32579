"""`nearsight show`, and what a run would do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from nearsight.cli._progress import duration
from nearsight.cli._runs import finished
from nearsight.cli._terminal import plain_table
from nearsight.studies import Run, Study
from nearsight.studies.meanings import settings
from nearsight.studies.settings import difference


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
