"""Learned force fields on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearsight._validation import instance
from nearsight.forcefields.forcefield import ForceField
from nearsight.forcefields.learned import ConvolutionalForceField, LearnedForceField, LocalForceField
from nearsight.forcefields.model_folder import read_model, write_model
from nearsight.lattices import Lattice

KINDS: dict[str, type[LocalForceField]] = {kind.__name__: kind for kind in (LearnedForceField, ConvolutionalForceField)}


def save(forcefield: LocalForceField, directory: str | Path) -> None:
    """Write ``model.yaml`` and ``weights.safetensors`` to a directory, atomically; an older model there is replaced."""
    instance(forcefield, ForceField, "forcefield")
    kind = type(forcefield).__name__
    if kind not in KINDS:
        raise TypeError(f"Only {', '.join(KINDS)} can be saved, not {kind}; save the learned part of a sum.")
    description = {"type": kind, "lattice": forcefield.lattice.config(), **forcefield.config()}
    write_model(forcefield, description, forcefield.dtype, directory)


def load(directory: str | Path) -> LocalForceField:
    """The force field that :func:`save` wrote, on the lattice it was trained on; move it with ``.on(lattice)``.

    Raises ``CorruptFileError`` that names a file which is damaged or belongs to another model.
    """

    def build(description: dict[str, Any]) -> LocalForceField:
        lattice = Lattice.from_config(description["lattice"])
        return KINDS[description["type"]].from_config(lattice, description)

    return read_model(build, directory)
