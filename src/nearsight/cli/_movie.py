"""`nearsight movie`: the large quench of a run in motion."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from nearsight import plots
from nearsight.studies import Run, get
from nearsight.studies.quench import QuenchStudy


def film(path: Path, fields: list[str], *, frames: int, rate: float, to: Path | None, console: Console) -> None:
    """A movie for every large quench of a run; a second name gets that of its quench."""
    run = Run(path)
    if not run.exists:
        raise ValueError(f"{path} is no run; `nearsight runs` lists those there are.")
    study = get(run.manifest["study"])
    if not isinstance(study, QuenchStudy):
        raise ValueError(f"The study {study.name} quenches no large lattice, so there is nothing to film.")
    config = study.stored_config(run)
    target = run.path / "movie" if to is None else to
    found = study.replay(run, config, frames)
    for name, (maps, lattice) in found.items():
        unknown = [field for field in fields if field not in maps]
        if unknown:
            raise ValueError(f"There is no map {unknown[0]!r} in this run; it has {', '.join(map(str, maps))}.")
        shown = [maps[field] for field in fields or [str(next(iter(maps)))]]
        own = target if len(found) == 1 else target.with_name(f"{target.stem}-{name}{target.suffix}")
        console.print(f"Movie: {plots.animate(shown, lattice, own, rate=rate)}", soft_wrap=True)
