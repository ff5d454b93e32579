"""Exact data that another run has made, and models that came from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearsight import forcefields
from nearsight.forcefields import pretrained
from nearsight.forcefields.card import Card
from nearsight.forcefields.shipped import SHIPPED
from nearsight.storage import atomic_directory, tree_hash, write_atomic
from nearsight.studies.run import Run
from nearsight.studies.settings import differing

if TYPE_CHECKING:
    from nearsight.studies.study import Stage

TRAIN, MODEL = "train", "model"
"""The stage of a study that trains, and what it leaves."""
PRETRAINED = "pretrained"


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


def has_model_of_elsewhere(run: Run) -> bool:
    """Whether the model of a run was taken and not trained; a run without manifest begins anew, and trains."""
    return run.has_manifest and "from" in run.stages.get(TRAIN, {})


def card_of(study: str, model: str | Path) -> Card:
    """The card of the model in a folder, or of the one that comes with the library.

    Raises ``ValueError`` where there is none, or it is that of another study.
    """
    card = forcefields.load(model_folder(study, model)).card
    if card is None:
        raise ValueError(f"The model in {model} has no card: make one of its run with `nearsight ship RUN`.")
    if (other := card.origin.get("study")) != study:
        raise ValueError(f"The model in {model} is one of the study {other!r}, and this is {study!r}.")
    return card


def told_of_model(run: Run, exact: Any) -> list[str]:
    """What the report of a run with a model from elsewhere says of it."""
    known, origin = forcefields.load(run.path / MODEL).card, run.stages[TRAIN]["from"]
    assert known is not None
    made = ", ".join(
        f"{name} {origin[name]}" for name in ("nearsight", "commit", "seed") if origin.get(name) is not None
    )
    others = known.differences(exact)
    told = "; ".join(f"{name} = {new}, trained at {old}" for name, (old, new) in others.items())
    return [
        f"The force field was not trained in this run; it came with {origin['run']!r} (made by {made}).",
        *([f"It is used outside of what it was trained for: {told}."] if told else []),
        f"What was found when it was made:\n{known}",
    ]


def model_folder(study: str, model: str | Path) -> Path:
    """Where a model is, the name PRETRAINED being that of the study among those that come with the library."""
    if str(model) != PRETRAINED:
        return Path(model)
    known = pretrained()
    if study not in known:
        raise ValueError(f"No model of the study {study!r} comes with the library, only of {', '.join(known)}.")
    return SHIPPED / study


def take_model(run: Run, model: str | Path, exact: Any) -> None:
    """Copy a model with a card into a run, and note where it is from; nothing happens if it was done before.

    Warns with the numbers if ``exact``, the electrons of the run, are not those that were learned.
    """
    study = run.manifest["study"]
    card, source = card_of(study, model), model_folder(study, model)
    card.check(exact)
    entry, found = run.stages.get(TRAIN), tree_hash(source)
    if entry is not None and entry.get("outputs") == {MODEL: found}:
        return
    if entry is not None:
        raise ValueError(f"{run.path} has a model of its own. Give the run with that of {model} another --name.")
    _copy(source, run.path / MODEL)
    origin = {name: x for name, x in card.origin.items() if name != "config"}
    run.take(TRAIN, {MODEL: found}, {"run": str(model), **origin})


def _copy(source: Path, place: Path) -> None:
    """A file or a folder, which appears whole."""
    if source.is_dir():
        with atomic_directory(place) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        write_atomic(place, source.read_bytes())
