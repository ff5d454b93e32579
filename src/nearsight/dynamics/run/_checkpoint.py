"""The one file from which a run goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nearsight.dynamics.scheme import State
from nearsight.forcefields import Forces
from nearsight.storage import CorruptFileError, load_tensors, save_tensors, tensor_hash

FORMAT = 3
"""Version of the layout; a reader refuses a newer one. Those of version 1 have a hash of their tensors alone; the first
two told force fields in words and recognised them by the force on the first field."""

CHECKPOINT = "checkpoint.safetensors"
TRAJECTORY = "trajectory.zarr"
TALLY = "tally."
CHANCE = "chance."


def cure(folder: Path) -> str:
    """What to do about a run whose files are damaged. Its folder may hold other things, which are not to be lost."""
    return (
        f"restore a copy, or delete {folder / CHECKPOINT} and {folder / TRAJECTORY} (nothing else), and start it "
        "again: equal settings give equal numbers."
    )


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run at one moment: where it is, what it draws next, and what it has already written.

    ``records`` records are committed, and ``digests`` vouches for their content; whatever the trajectory holds beyond
    them is a leftover of the interrupted run. ``identity`` tells which run this is. ``generator_states`` are the states
    of the generators that the forces draw from. ``first_force`` is that on the first field, in layouts 1 and 2.
    """

    state: State
    rng: Tensor | None
    records: int
    digests: dict[str, str]
    identity: dict[str, Any]
    generator_states: tuple[Tensor, ...]
    first_force: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the checkpoint; it replaces the one before, or nothing changes."""
        state = self.state
        tensors = {
            "field": state.field,
            "velocity": state.velocity,
            "force": state.forces.force,
            "energy": state.forces.energy,
            "noise": state.noise,
            "history": state.history,
            "time": torch.as_tensor(state.time, dtype=torch.float64),
            "rng": self.rng,
            **{f"{TALLY}{name}": value for name, value in state.tally.items()},
            **{f"{CHANCE}{k}": value for k, value in enumerate(self.generator_states)},
        }
        # Copies, because safetensors refuses tensors that share memory, as a force may share it with a field.
        present = {name: value.detach().cpu().clone() for name, value in tensors.items() if value is not None}
        content = {
            "format": FORMAT,
            "step": state.step,
            "clocks": isinstance(state.time, Tensor),
            "records": self.records,
            "digests": self.digests,
            "identity": self.identity,
        }
        save_tensors(path, present, {"run": json.dumps(content, sort_keys=True)})

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Checkpoint:
        try:
            tensors, metadata = load_tensors(path, hashed=False, cure="")
            content = json.loads(metadata["run"])
            if content["format"] == 1 and content["hash"] != tensor_hash(tensors):
                raise CorruptFileError("its content does not have the hash stored with it")
        except (CorruptFileError, KeyError, json.JSONDecodeError) as error:
            raise CorruptFileError(
                f"{path} is not a whole checkpoint ({error}). The run cannot go on from it: {cure(path.parent)}"
            ) from error
        if content["format"] > FORMAT:
            raise ValueError(f"{path} has format {content['format']}, this version reads up to {FORMAT}; update.")
        first_force, rng, energy = (tensors.pop(name, None) for name in ("first_force", "rng", "energy"))
        count = sum(name.startswith(CHANCE) for name in tensors)
        generator_states = tuple(tensors.pop(f"{CHANCE}{k}") for k in range(count))
        there = {name: value.to(device) for name, value in tensors.items()}
        state = State(
            field=there["field"],
            velocity=there.get("velocity"),
            forces=Forces(there["force"], None if energy is None else energy.to(device)),
            time=there["time"] if content["clocks"] else float(there["time"]),
            step=content["step"],
            noise=there.get("noise"),
            history=there.get("history"),
            tally={name.removeprefix(TALLY): value for name, value in there.items() if name.startswith(TALLY)},
        )
        return cls(
            state, rng, content["records"], content["digests"], content["identity"], generator_states, first_force
        )
