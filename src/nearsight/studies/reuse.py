"""Exact data that another run has made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearsight.storage import atomic_directory, write_atomic
from nearsight.studies.run import Run
from nearsight.studies.settings import differing

if TYPE_CHECKING:
    from nearsight.studies.study import Stage


def take_data(run: Run, stages: Sequence[Stage], source: str | Path) -> None:
    """Copy the outputs of a run's first stage that says which settings it leaves unread, and note where they are from.

    The copies are verified. Nothing happens if they have been taken from there before. Another seed is no difference:
    its data are as good.

    Raises ``ValueError`` if the data would have been made differently here, and names the settings in which; or if this
    run has data of its own.
    """
    other = Run.open(source)
    study = run.manifest["study"]
    if other.manifest["study"] != study:
        raise ValueError(f"{source} holds a run of the study {other.manifest['study']!r}, and this is {study!r}.")
    stage = next((stage for stage in stages if stage.unread is not None), None)
    if stage is None or stage.unread is None:
        raise ValueError(f"The study {study!r} does not say which of its settings decide its data; make them anew.")
    free = {*stage.unread, "seed", "device"}
    there, here = ({key: value for key, value in r.config.items() if key not in free} for r in (other, run))
    if lines := differing(there, here):
        raise ValueError(
            f"The data of {source} were made with other settings ({'; '.join(lines)}). Take them over with --set, or "
            f"make data of this run's own."
        )
    if not other.complete(stage.name):
        raise ValueError(f"The stage {stage.name!r} of {source} has not finished: there are no whole data to be taken.")
    hashes = other.stages[stage.name]["outputs"]
    entry = run.stages.get(stage.name)
    if entry is not None and entry.get("outputs") == hashes:
        return
    if entry is not None:
        raise ValueError(f"{run.path} has data of its own. Give the run with those of {source} another --name.")
    for output in hashes:
        _copy(other.path / output, run.path / output)
    made = {key: other.manifest.get(key) for key in ("nearsight", "commit", "created", "seed")}
    origin = {"run": str(Path(source)), **made}
    run.take(stage.name, hashes, origin)


def _copy(source: Path, place: Path) -> None:
    """A file or a folder, which appears whole."""
    if source.is_dir():
        with atomic_directory(place) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        write_atomic(place, source.read_bytes())
