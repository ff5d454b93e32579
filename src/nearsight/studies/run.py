"""A run: one folder that holds everything a study computed, and knows whether it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from nearsight.storage import (
    CorruptFileError,
    file_hash,
    read_json,
    read_yaml,
    tree_hash,
    write_json,
    write_yaml,
)
from nearsight.studies import observables
from nearsight.studies.checks import Check, number_cell
from nearsight.studies.provenance import provenance
from nearsight.studies.settings import differing

if TYPE_CHECKING:
    from nearsight.dynamics import Trajectory
    from nearsight.studies.study import Study
    from nearsight.studies.system import Engine, System

Listener = Callable[[str, dict[str, Any]], None]


class Run:
    """The folder ``runs/<study>/<name>/``.

    ========================  ==========================================================================
    ``config.yaml``           the configuration as used, defaults filled in
    ``manifest.json``         version, commit, seed, machine, configuration; per stage: time spent and hashes of its
                              outputs
    ``data.zarr``             exact snapshots
    ``model/``                the learned force field
    ``observables.nc``        measured curves, one group each (:meth:`record`, :meth:`observable`)
    ``checks.json``           what was measured, what it should have been and whether it is, by stage
                              (:meth:`record_checks`, :meth:`checks`)
    ``verdicts.json``         the same in words, by nearsight 0.1
    ``log.jsonl``             one event a line, only ever appended
    ========================  ==========================================================================

    Outputs are named by their path in the folder; ``observables.nc:curves`` and ``checks.json:validate`` name one part
    of a shared file. ``listener`` is told every event that is logged.

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> from nearsight.studies import Run
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = Run.create(f"{folder.name}/quick", "holstein", {"seed": 7})
    >>> run.record("growth", xr.Dataset({"L": ("time", [1.0, 1.5, 2.1])}))
    >>> again = Run.open(f"{folder.name}/quick")
    >>> again.observable("growth").L.values.tolist(), again.seed("noise") == run.seed("noise")
    ([1.0, 1.5, 2.1], True)
    >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, *, listener: Listener | None = None) -> None:
        self.path = Path(path)
        self.listener = listener

    def __repr__(self) -> str:
        return f"Run({self.path})"

    # --- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A run that is there, finished or not.

        Raises ``FileNotFoundError`` if there is none.
        """
        run = cls(path)
        if not run.exists:
            raise FileNotFoundError(f"There is no run in {path}; give the folder of one, RUNS/STUDY/NAME.")
        return run

    @classmethod
    def create(cls, path: str | Path, study: str, config: dict[str, Any], *, listener: Listener | None = None) -> Run:
        """A fresh folder for ``config``, or the existing one if it holds the same configuration.

        Raises ``ValueError`` that names the keys in which an existing run differs.
        """
        run = cls(path, listener=listener)
        if run.exists:
            run._refuse_other_config(config)
            if (other := run._study) not in (None, study):
                raise ValueError(f"{run.path} holds a run of the study {other!r}. Give this run another --name.")
        page = run.path / "config.yaml"
        if not run.has_manifest:  # without it nothing vouches: stages run again
            head = {"study": study, "seed": config.get("seed")}
            content = head | provenance() | {"config": json.loads(json.dumps(config)), "stages": {}}
        else:
            content = {"config": run.config, **run.manifest}  # that of 0.1 does not hold it yet
        if not page.exists():
            write_yaml(page, config)
        if not run.has_manifest or content.get("config_hash") != file_hash(page):
            run._write_manifest(content | {"config_hash": file_hash(page)})
        return run

    @property
    def exists(self) -> bool:
        """Whether there is a run: its configuration is there, as a file or in the manifest."""
        return (self.path / "config.yaml").exists() or self.has_manifest

    @property
    def has_manifest(self) -> bool:
        """Whether anything vouches for the stages: without it all of them run again."""
        return (self.path / "manifest.json").exists()

    @property
    def _study(self) -> str | None:
        return self.manifest["study"] if self.has_manifest else None

    @property
    def config(self) -> dict[str, Any]:
        """The configuration the run was started with: ``config.yaml`` as the manifest vouches for it."""
        page = self.path / "config.yaml"
        manifest = self.manifest if self.has_manifest else {}
        known = manifest.get("config")
        if not page.exists():
            if known is None:
                raise FileNotFoundError(
                    f"{page} is missing, and the manifest of nearsight 0.1 does not hold its content. Restore a copy, "
                    f"or start a run with another --name."
                )
            return known
        if known is None:
            return read_yaml(page, cure="Restore a copy, or start a run with another --name.")
        if file_hash(page) != manifest["config_hash"]:
            raise CorruptFileError(
                f"{page} is not what this run was started with (its SHA-256 differs). Delete it and resume: it is "
                f"written again from manifest.json. Other settings are another run: give it another --name."
            )
        return known

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` holds, checked."""
        path = self.path / "manifest.json"
        cure = (
            "Restore a copy, or delete it and resume: every stage then runs again, with the configuration in "
            "config.yaml and what is left of the data."
        )
        content = read_json(path, cure=cure)
        if isinstance(content, dict) and ("config_hash" in content or "hash" in content):
            content = read_json(path, hashed=True, cure=cure)
        if not _is_manifest(content):  # possible in those of 0.1, which carry no hash
            raise CorruptFileError(f"{path} is not the manifest of a run. {cure}")
        return content

    def _refuse_other_config(self, config: dict[str, Any]) -> None:
        if changed := differing(self.config, json.loads(json.dumps(config))):
            raise ValueError(
                f"{self.path} holds a run with another configuration ({'; '.join(changed)}). Give this run another "
                f"--name, or drop the options that differ."
            )

    # --- what was made ----------------------------------------------------------------------------------------------

    @property
    def study(self) -> Study:
        """What the run is of; a study that was a file of your own is asked for by ``studies.get``."""
        from nearsight.studies.study import get

        return get(self.manifest["study"])

    def system(self, length: int | None = None, **variant: Any) -> System:
        """The physics of a quench study, with the configuration of the run, on a lattice of this length.

        ``length`` and the variant are those of ``QuenchStudy.system``; without them the lattice is that of the data.
        """
        study = self.study
        if not hasattr(study, "system"):
            raise ValueError(f"Force fields are handed out by runs of quenches; {study.name!r} is no study of one.")
        return study.system(study.stored_config(self), length, **variant)

    def exact(self, length: int | None = None, **variant: Any) -> Engine:
        """What the exact quenches of the run move by: an exact force field, or exact energies of moves."""
        return self.system(length, **variant).quenched

    def learned(self, length: int | None = None, **variant: Any) -> Engine:
        """What the learned quenches move by, on a lattice of any length: the learned part and the classical one."""
        system = self.system(length, **variant)
        return system.learned(self.study.electrons(self, self.study.stored_config(self), system.lattice))  # type: ignore[attr-defined]

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """Every trajectory that the run has kept, by its place in the folder; read lazily, and verified."""
        from nearsight.dynamics import Trajectory

        found = sorted(self.path.glob("**/checkpoint.safetensors"))
        return {
            str(file.parent.relative_to(self.path)): Trajectory.open(file.parent)
            for file in found
            if (file.parent / "trajectory.zarr").exists()
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in check.cells().values()) + "</tr>"
            for check in self.checks
        )
        head = "".join(f"<th>{name}</th>" for name in (self.checks[0].cells() if self.checks else ()))
        done = ", ".join(f"{html.escape(name)}: {entry['state']}" for name, entry in self.stages.items())
        return f"<p><b>{html.escape(str(self.path))}</b> ({done})</p><table><tr>{head}</tr>{rows}</table>"

    # --- what stages use --------------------------------------------------------------------------------------------

    def log(self, event: str, **facts: Any) -> None:
        """Append an event to ``log.jsonl`` and tell the listener."""
        self._append({"event": event} | facts)
        if self.listener is not None:
            self.listener(event, facts)

    def rng(self, *purpose: str | int) -> torch.Generator:
        """A generator for one purpose, a function of the run's seed and the name of the purpose alone.

        The stages and their replicas therefore draw the same numbers in whatever order, and however often, they run.
        """
        return torch.Generator().manual_seed(self.seed(*purpose))

    def seed(self, *purpose: str | int) -> int:
        """The seed of :meth:`rng` for one purpose."""
        words = [zlib.crc32(str(word).encode()) for word in purpose]
        return int(np.random.SeedSequence([self.config["seed"], *words]).generate_state(1, np.uint64)[0] >> 1)

    def record(self, name: str, dataset: xr.Dataset) -> None:
        """Store a data set in ``observables.nc``."""
        observables.write(self.path / "observables.nc", name, dataset)

    def observable(self, name: str) -> xr.Dataset:
        """A group of ``observables.nc``, read into memory."""
        return observables.read(self.path / "observables.nc", name)

    def record_checks(self, stage: str, checks: Sequence[Check]) -> None:
        """Store the checks of one stage in ``checks.json``; a name is used once in a run."""
        known = self._checked() | {stage: list(checks)}
        names = [check.name for found in known.values() for check in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Checks of one run need names of their own; twice there is {', '.join(twice)}.")
        content = {name: [check.config() for check in found] for name, found in known.items()}
        write_json(self.path / "checks.json", content, hashed=True)

    @property
    def checks(self) -> list[Check]:
        """All checks so far, in the order of the stages; what 0.1 wrote in sentences is shown but not judged again."""
        return [check for stage in (self._told() | self._checked()).values() for check in stage]

    def _told(self) -> dict[str, list[Check]]:
        """What a run of nearsight 0.1 left in ``verdicts.json``."""
        path = self.path / "verdicts.json"
        if not path.exists() or not self.has_manifest or not str(self.manifest.get("nearsight")).startswith("0.1"):
            return {}
        try:
            return {stage: [_of_sentence(**verdict) for verdict in found] for stage, found in read_json(path).items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise CorruptFileError(f"{path} holds no verdicts ({error}). {_NO_CHECKS}") from error

    def _checked(self) -> dict[str, list[Check]]:
        path = self.path / "checks.json"
        if not path.exists():
            return {}
        content = read_json(path, hashed=True, cure=_NO_CHECKS)
        try:
            return {stage: [Check.from_config(check) for check in found] for stage, found in content.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise CorruptFileError(f"{path} holds no checks ({error}). {_NO_CHECKS}") from error

    # --- stages -----------------------------------------------------------------------------------------------------

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """What the manifest says about every stage that has begun."""
        return self.manifest["stages"]

    @contextlib.contextmanager
    def stage(self, name: str, outputs: tuple[str, ...], inputs: tuple[str, ...] = ()) -> Iterator[None]:
        """Time the block as stage ``name`` and, when it ends without an error, record the hashes of its outputs."""
        earlier = self.stages.get(name, {})
        spent = earlier.get("seconds", 0.0) if earlier.get("state") == "begun" else 0.0
        self._note(name, {"state": "begun", "seconds": spent})
        self.log("begin", stage=name)
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            self._note(name, {"state": "begun", "seconds": spent + time.perf_counter() - start})
            self._append({"event": "traceback", "stage": name, "text": traceback.format_exc()})
            self.log("failed", stage=name, reason=reason)
            raise
        seconds = round(spent + time.perf_counter() - start, 3)
        hashes = {output: self.hash(output) for output in outputs}
        used = {key: value for key, value in self._recorded().items() if key in inputs}
        self._note(name, {"state": "complete", "seconds": seconds, "inputs": used, "outputs": hashes})
        self.log("complete", stage=name, seconds=seconds)

    def take(self, name: str, outputs: dict[str, str], origin: dict[str, Any]) -> None:
        """Take stage ``name`` as finished by outputs with these hashes, which were made elsewhere.

        origin: where and by what, for the manifest.
        """
        for output, recorded in outputs.items():
            if self.hash(output) != recorded:
                raise CorruptFileError(f"{self.path / output} is not a faithful copy (its SHA-256 differs).")
        self._note(name, {"state": "complete", "seconds": 0.0, "inputs": {}, "outputs": outputs, "from": origin})
        self.log("note", text=f"{', '.join(outputs)} of {origin['run']}")

    def complete(self, name: str) -> bool:
        """Whether a stage has finished, its outputs are all there, and they came from what is in the folder now.

        Raises :class:`CorruptFileError` for an output that differs from what the stage wrote.
        """
        entry = self.stages.get(name)
        if entry is None or entry["state"] != "complete":
            return False
        damaged = []
        for output, recorded in entry["outputs"].items():
            try:
                if self.hash(output) != recorded:
                    damaged.append(output)
            except FileNotFoundError:  # the stage goes on from what is left, where every file has its own hash
                self.log("missing", stage=name, output=output)
                return False
        if damaged:
            file = self.path / damaged[0].partition(":")[0]
            raise CorruptFileError(
                f"{self.path / damaged[0]} is not what the stage {name!r} wrote (its SHA-256 differs). Restore a copy, "
                f"or delete {file} and resume: the stage then runs again."
            )
        current = self._recorded()
        stale = [key for key, value in entry["inputs"].items() if current.get(key) != value]
        if stale:
            self.log("stale", stage=name, inputs=stale)
        return not stale

    def hash(self, output: str) -> str:
        """SHA-256 of a file, a folder, or the named part of ``observables.nc`` or a JSON file of results."""
        file, _, part = output.partition(":")
        path = self.path / file
        if not part:
            return tree_hash(path)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist.")
        if path.suffix == ".nc":
            if part not in observables.names(path):
                raise FileNotFoundError(f"{path} holds no data set {part!r}.")
            return observables.content_hash(observables.read(path, part))
        content = read_json(path)
        if not isinstance(content, dict) or part not in content:
            raise FileNotFoundError(f"{path} holds nothing about {part!r}.")
        return hashlib.sha256(json.dumps(content[part]).encode()).hexdigest()

    def _recorded(self) -> dict[str, str]:
        """Hashes of all outputs so far."""
        return {key: value for entry in self.stages.values() for key, value in entry.get("outputs", {}).items()}

    def _append(self, event: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now} | event, default=str) + "\n"
        with open(self.path / "log.jsonl", "ab+") as file:
            # A killed writer may have left half a line, which shall not swallow this one.
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n":
                line = "\n" + line
            file.write(line.encode())

    def _note(self, stage: str, entry: dict[str, Any]) -> None:
        manifest = self.manifest
        manifest["stages"][stage] = entry
        self._write_manifest(manifest)

    def _write_manifest(self, content: dict[str, Any]) -> None:
        write_json(self.path / "manifest.json", content, hashed=True)


def _is_manifest(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("study"), str):
        return False
    stages = content.get("stages")
    if not isinstance(stages, dict) or not isinstance(content.get("config", {}), dict):
        return False
    for entry in stages.values():
        if not isinstance(entry, dict) or entry.get("state") not in ("begun", "complete"):
            return False
        if not isinstance(entry.get("seconds", 0.0), int | float):
            return False
        parts = [entry.get(name, {} if entry["state"] == "begun" else None) for name in ("inputs", "outputs")]
        if not all(isinstance(part, dict) for part in parts):
            return False
    return True


_NO_CHECKS = "Restore a copy, or delete it and resume: the stages that check then run again."


def _of_sentence(
    quantity: str, exact: Any, learned: Any, paper: Any, target: Any, passed: bool | None, note: str
) -> Check:
    """A check from a verdict of nearsight 0.1; values that are words and not numbers go to the note."""
    value, reference = (x if isinstance(x, int | float) else None for x in (learned, exact))
    paper, target = (number_cell(x) if isinstance(x, int | float) else x for x in (paper, target))
    told = {"exact": exact, "learned": learned, "paper": paper, "target": target}
    words = [f"{name} {x}" for name, x in told.items() if isinstance(x, str) and x]
    words += [] if passed is None else ["pass" if passed else "FAIL"]
    text = "; ".join(filter(None, [", ".join(words), note]))
    return Check(quantity, value, exact=reference, note=f"nearsight 0.1: {text or 'not judged'}")
