"""The scoreboard: every number of the papers, ours, and what it takes to get ours again."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nearsight
from nearsight.storage import CorruptFileError, read_json, write_atomic
from nearsight.studies.checks import Check
from nearsight.studies.comparison import _checked_run

COMMITTED = Path(nearsight.__file__).parents[2] / "docs" / "scoreboard.json"
"""The scoreboard of a checkout; an installed package has none."""

_HEAD = """# Scoreboard

Every number of the papers that a study measures as well, and what it came out as; the criterion is ours.
`nearsight scoreboard RUN` shows the same of your own runs, and
`nearsight scoreboard RUN --write docs/scoreboard.json` puts them on this page, which is written from that file.
[Results](results.md) says more about each.
"""


@dataclass(frozen=True)
class Record:
    """The numbers of one run that have a published counterpart.

    Parameters
    ----------
    study, command: what makes the run again; they identify a record.
    seed, version, machine, date: as the run's manifest has them; the version is that of nearsight.
    checks: those with ``published``.
    """

    study: str
    command: str
    seed: int | None
    version: str
    machine: str
    date: str
    checks: tuple[Check, ...]

    @property
    def origin(self) -> str:
        """Seed, version, machine and date in a line."""
        return f"seed {self.seed}, nearsight {self.version}, {self.machine}, {self.date}"

    def config(self) -> dict[str, Any]:
        """The record in plain data."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return own | {"checks": [check.config() for check in self.checks]}


def record(path: str | Path) -> Record:
    """The record of a finished run; ``ValueError`` if none of its checks has a published counterpart."""
    from nearsight.studies import get
    from nearsight.studies.report import command  # draws, which takes a second to load

    run = _checked_run(path)
    manifest = run.manifest
    checks = tuple(check for check in run.checks if check.published is not None)
    if not checks:
        raise ValueError(f"No check of {run.path} has a published number beside it.")
    study, machine = get(manifest["study"]), manifest["machine"]
    system = machine.get("system", "").partition("-")[0]  # without the version of the kernel
    return Record(
        study=study.name,
        command=shlex.join(command(study.name, study.presets, study.stored_config(run))),
        seed=manifest["seed"],
        version=manifest["nearsight"],
        machine=", ".join(filter(None, [f"{machine['cores']} cores", machine.get("gpu"), system])),
        date=manifest["created"][:10],
        checks=checks,
    )


def merge(known: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """Both, sorted by study and command; of records with the same study and command the new one."""
    found = {(one.study, one.command): one for one in (*known, *new)}
    return [found[key] for key in sorted(found)]


def read(path: str | Path) -> list[Record]:
    """The records in a file; ``CorruptFileError`` for one that holds none."""
    try:
        return [
            Record(**one | {"checks": tuple(Check.from_config(check) for check in one["checks"])})
            for one in read_json(path, cure="Restore a copy.")
        ]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CorruptFileError):
            raise
        raise CorruptFileError(f"{path} is no scoreboard ({error}). Restore a copy.") from error


def write(path: str | Path, records: Iterable[Record]) -> None:
    """Write the records as JSON and, beside it under the same name, the page of them as Markdown; atomically."""
    path, records = Path(path), list(records)
    if path.suffix != ".json":
        raise ValueError(f"A scoreboard is a JSON file, got {path.name!r}; use scoreboard.json.")
    content = json.dumps([one.config() for one in records], indent=2, ensure_ascii=False)
    write_atomic(path, content + "\n")
    write_atomic(path.with_suffix(".md"), page(records))


def page(records: Iterable[Record]) -> str:
    """The records as a page of Markdown: a section for every study, a table for every run."""
    parts, study = [_HEAD], None
    for one in records:
        if one.study != study:
            study = one.study
            parts.append(f"## {study}\n")
        parts.append(f"`{one.command}` ({one.origin})\n")
        lines = ["| number | published | here | criterion | | source and remarks |", "|---|---|---|---|---|---|"]
        for check in one.checks:
            cells = check.cells()
            shown = [cells[name] for name in ("check", "published", "value", "criterion", "verdict")]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*shown, check.remark)) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
