"""Models on disk: a page of YAML that says what they are, and safetensors with the numbers. No pickle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from nearsight.storage import CorruptFileError, atomic_directory, load_tensors, read_yaml, save_tensors, write_yaml

FORMAT = 1
FILES = ("model.yaml", "weights.safetensors")

Model = TypeVar("Model", bound=nn.Module)


def write_model(model: nn.Module, description: dict[str, Any], dtype: torch.dtype, directory: str | Path) -> None:
    """Write both files, atomically; an older model there is replaced."""
    head = {"format": FORMAT, "dtype": str(dtype).removeprefix("torch.")}
    with atomic_directory(directory) as folder:
        write_yaml(folder / FILES[0], head | description)
        save_tensors(folder / FILES[1], model.state_dict())


def read_model(build: Callable[[dict[str, Any]], Model], directory: str | Path) -> Model:
    """The model that ``build`` makes of the description, with its weights, in eval mode.

    Raises ``FileNotFoundError`` for a file that is not there, and ``CorruptFileError`` that names files which are
    damaged or do not belong together.
    """
    page, weights = (Path(directory) / name for name in FILES)
    for file in (page, weights):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; a model needs model.yaml and its weights.")
    description = read_yaml(page)
    tensors, _ = load_tensors(weights)
    try:
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']} is not {FORMAT}")
        model = build(description)
        model.to(getattr(torch, description["dtype"])).load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CorruptFileError(f"{page} and its weights do not fit together: {error}") from error
    return model.eval()
