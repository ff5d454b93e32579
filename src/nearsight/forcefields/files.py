"""Learned force fields on disk: a page of YAML that says what they are, and safetensors with the numbers. No pickle."""

from __future__ import annotations

from pathlib import Path

from nearsight.forcefields.learned import ConvolutionalForceField, LearnedForceField, LocalForceField
from nearsight.lattices import Lattice
from nearsight.storage import CorruptFileError, atomic_directory, load_tensors, read_yaml, save_tensors, write_yaml

FORMAT = 1
KINDS: dict[str, type[LocalForceField]] = {kind.__name__: kind for kind in (LearnedForceField, ConvolutionalForceField)}


def save(forcefield: LocalForceField, directory: str | Path) -> None:
    """Write ``model.yaml`` and ``weights.safetensors`` to a directory, atomically; an older model there is replaced."""
    kind = type(forcefield).__name__
    if kind not in KINDS:
        raise TypeError(f"Only {', '.join(KINDS)} can be saved, not {kind}; save the learned part of a sum.")
    description = {
        "format": FORMAT,
        "type": kind,
        "dtype": str(forcefield.dtype).removeprefix("torch."),
        "lattice": forcefield.lattice.config(),
        **forcefield.config(),
    }
    with atomic_directory(directory) as folder:
        write_yaml(folder / "model.yaml", description)
        save_tensors(folder / "weights.safetensors", forcefield.state_dict())


def load(directory: str | Path) -> LocalForceField:
    """The force field that :func:`save` wrote, on the lattice it was trained on; move it with ``.on(lattice)``.

    Raises ``CorruptFileError`` that names a file which is damaged or belongs to another model.
    """
    import torch

    folder = Path(directory)
    for name in ("model.yaml", "weights.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} does not exist; a model needs model.yaml and its weights.")
    description = read_yaml(folder / "model.yaml")
    tensors, _ = load_tensors(folder / "weights.safetensors")
    try:
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']} is not {FORMAT}")
        lattice = Lattice.from_config(description["lattice"])
        forcefield = KINDS[description["type"]].from_config(lattice, description)
        forcefield.to(getattr(torch, description["dtype"]))
        forcefield.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptFileError(f"{folder / 'model.yaml'} and its weights do not fit together: {error}") from error
    return forcefield.eval()
