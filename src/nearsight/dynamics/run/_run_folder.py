"""A run on disk: its trajectory, its checkpoint, and whether it is the run that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nearsight._description import differences
from nearsight.dynamics.run._checkpoint import CHECKPOINT, TRAJECTORY, Checkpoint
from nearsight.dynamics.run._record_store import Records
from nearsight.dynamics.scheme import State, _forces
from nearsight.forcefields import ForceField
from nearsight.storage import CorruptFileError, tidy, tidy_tree
from nearsight.storage.table import Column

SAME_FORCE = {torch.float64: 1e-8}
"""Force fields told in words are the same if forces agree to this relative to 1 + the largest (1e-4 in lower
precision)."""


class RunFolder:
    """``path/trajectory.zarr`` and ``path/checkpoint.safetensors``.

    The first checkpoint is written before the trajectory, and afterwards every checkpoint after the records it vouches
    for. So at any moment the checkpoint, if there is one, tells the truth, and a trajectory without a checkpoint is
    not an interrupted run but a damaged one.
    """

    def __init__(self, path: Path, identity: dict[str, Any], generators: Sequence[torch.Generator]) -> None:
        self.path, self.identity, self.generators = path, identity, generators
        self.checkpoint: Checkpoint | None = None
        self.records: Records

    def resume(
        self, resume: bool, steps: int, forcefield: ForceField | None, field: Tensor, rng: torch.Generator | None
    ) -> State | None:
        """The last state of the run that is there, with the generator set to go on; None if there is no run yet."""
        there = [name for name in (CHECKPOINT, TRAJECTORY) if (self.path / name).exists()]
        if there and not resume:
            raise FileExistsError(
                f"{self.path / there[0]} exists. Pass resume=True to go on with that run, or choose another path."
            )
        self._clean()
        if not there:
            return None
        if CHECKPOINT not in there:
            raise CorruptFileError(
                f"{self.path / TRAJECTORY} has no checkpoint beside it: restore {CHECKPOINT}, or delete "
                f"{self.path / TRAJECTORY} (nothing else) and start it again."
            )
        checkpoint = Checkpoint.load(self.path / CHECKPOINT, field.device)
        self._refuse_other(checkpoint, forcefield, field)
        if steps < checkpoint.state.step:
            raise ValueError(
                f"The run in {self.path} has gone {checkpoint.state.step} steps already, more than the {steps} asked "
                f"for. Ask for at least {checkpoint.state.step}, or read what is there with Trajectory.open."
            )
        for generator, state in zip(self.generators, checkpoint.generator_states, strict=True):
            generator.set_state(state)
        if rng is not None and checkpoint.rng is not None:
            rng.set_state(checkpoint.rng)
        self.checkpoint = checkpoint
        return checkpoint.state

    def create(
        self,
        state: State,
        rng: torch.Generator | None,
        layout: Iterable[Column],
        rows: int,
        attributes: dict[str, Any],
    ) -> Records:
        """Room for the records of the run, ``rows`` of them, new or taken up."""
        trajectory = self.path / TRAJECTORY
        if self.checkpoint is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._save(state, rng, 0, {})
        if self.checkpoint is not None and (self.checkpoint.records or trajectory.exists()):
            self.records = Records.resume(trajectory, self.checkpoint.records, self.checkpoint.digests)
            self.records.resize(rows)
        else:
            self.records = Records.start(trajectory, layout, rows, attributes)
        return self.records

    def save_checkpoint(self, state: State, rng: torch.Generator | None) -> None:
        """Make sure the run never has to go back behind this state."""
        if (
            self.checkpoint is not None
            and self.checkpoint.state is state
            and self.checkpoint.records == self.records.appended
        ):
            return
        self.records.flush()
        self._save(state, rng, self.records.appended, self.records.all_digests)

    def _save(self, state: State, rng: torch.Generator | None, records: int, digests: dict[str, str]) -> None:
        random = None if rng is None else rng.get_state()
        generator_states = tuple(generator.get_state() for generator in self.generators)
        checkpoint = Checkpoint(state, random, records, digests, self.identity, generator_states)
        checkpoint.save(self.path / CHECKPOINT)

    def _refuse_other(self, checkpoint: Checkpoint, forcefield: ForceField | None, field: Tensor) -> None:
        identities = [_until(identity, checkpoint.state.step) for identity in (checkpoint.identity, self.identity)]
        if checkpoint.first_force is not None:
            identities = [_of_layout_2(identity) for identity in identities]
        lines = differences(*identities)
        if checkpoint.first_force is not None and forcefield is not None and not lines:
            now, then = _forces(forcefield, field).force.cpu(), checkpoint.first_force
            deviation = float((now - then).abs().max()) / (1 + float(then.abs().max()))
            if not deviation <= SAME_FORCE.get(field.dtype, 1e-4):
                lines = [f"forcefield: its forces on the first field differ by {deviation:.1e} of the largest"]
        if lines:
            listed = "\n  ".join(lines)
            raise ValueError(
                f"The run in {self.path} was started with something else:\n  {listed}\n"
                "Call with the settings of then, or choose another path."
            )

    def _clean(self) -> None:
        """Delete what a killed writer left under a temporary name."""
        for name in (CHECKPOINT, TRAJECTORY):
            tidy(self.path / name)
        tidy_tree(self.path / TRAJECTORY)


def _until(identity: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What decided a run up to a step, of its identity: not which records are still to come."""
    record = identity["record"]
    if record and "at" in record:
        record = record | {"at": [at for at in record["at"] if at <= step]}
    return {**identity, "record": record}


def _of_layout_2(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of an identity can be compared with those of layouts 1 and 2, which told force fields in words.

    These named a scheme by "scheme", and kept how long the run was to be.
    """
    kept = {name: value for name, value in identity.items() if name not in ("forcefield", "steps")}
    scheme = dict(kept.pop("scheme"))
    return {"scheme": {"type": scheme.pop("scheme", scheme.get("type")), **scheme}, **kept}
