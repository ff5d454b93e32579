"""Learned force fields on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearsight._validation import instance
from nearsight.forcefields.forcefield import ForceField
from nearsight.forcefields.learned import LearnedForceField
from nearsight.forcefields.model_folder import read_model, write_model


def save(forcefield: LearnedForceField, directory: str | Path) -> None:
    """Write ``model.yaml`` and ``weights.safetensors`` to a directory, atomically; an older model there is replaced."""
    instance(forcefield, ForceField, "forcefield")
    if type(forcefield) is not LearnedForceField:
        kind = type(forcefield).__name__
        raise TypeError(f"Only a LearnedForceField can be saved, not {kind}; save the learned part of a sum.")
    write_model(forcefield, forcefield.config(), forcefield.dtype, directory)


def load(directory: str | Path) -> LearnedForceField:
    """The force field that :func:`save` wrote, on the lattice it was trained on; move it with ``.on(lattice)``.

    Raises ``CorruptFileError`` that names a file which is damaged or belongs to another model.
    """
    return read_model(lambda described: LearnedForceField.from_config(_present(described)), directory)


def _present(described: dict[str, Any]) -> dict[str, Any]:
    """A description as it is now, from those of 0.1: a descriptor and its network, or a network, and the lattice."""
    if "lattice" not in described:
        return described
    lattice, network = described["lattice"], described["network"]
    if "descriptor" in described:
        descriptor = described["descriptor"] | {"lattice": lattice}
        model = {"type": "BehlerParrinello", "descriptor": descriptor, "network": network}
    else:
        model = {"type": "GroupCNN", "lattice": lattice} | network  # the first files knew one kind of network
    return {"model": model}
