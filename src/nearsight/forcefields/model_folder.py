"""Models on disk: a page of YAML that says what they are, and safetensors with the numbers. No pickle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from nearsight.storage import (
    CorruptFileError,
    atomic_directory,
    load_tensors,
    lock,
    read_yaml,
    recover,
    save_tensors,
    tensor_hash,
    tidy,
    write_yaml,
)

FORMAT = 3
"""Version of the folder; those of format 1 carry no hashes, those of 2 no cards and no sums."""
CURE = "Restore a copy of the folder, or delete it and fit the model again."
FILES = ("model.yaml", "weights.safetensors")

Model = TypeVar("Model", bound=nn.Module)


def write_model(model: nn.Module, description: dict[str, Any], dtype: torch.dtype, directory: str | Path) -> None:
    """Write both files, atomically; an older model there is replaced.

    Both carry a hash of their content, and the page the hash of the weights, so that no page stands beside others.
    """
    head = {"format": FORMAT, "dtype": str(dtype).removeprefix("torch.")}
    # Parts of a sum may share a network; on disk each has its own.
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    with lock(directory, beside=True):
        tidy(directory)
        with atomic_directory(directory) as folder:
            write_yaml(folder / FILES[0], head | description | {"weights": tensor_hash(weights)}, hashed=True)
            save_tensors(folder / FILES[1], weights)


def read_model(build: Callable[[dict[str, Any]], Model], directory: str | Path) -> Model:
    """The model that ``build`` makes of the description, with its weights, in eval mode.

    Raises ``FileNotFoundError`` for a file that is not there, and ``CorruptFileError`` that names files which are
    damaged or do not belong together.
    """
    recover(directory)
    page, weights = (Path(directory) / name for name in FILES)
    for file in (page, weights):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; a model needs model.yaml and its weights.")
    description = read_yaml(page, cure=CURE)
    old = isinstance(description, dict) and description.get("format") == 1
    if not old:
        description = read_yaml(page, hashed=True, cure=CURE)
    tensors, _ = load_tensors(weights, hashed=not old, cure=CURE)
    try:
        if description["format"] > FORMAT:
            raise ValueError(f"format {description['format']} is newer than {FORMAT}: update nearsight")
        if not old and description.pop("weights") != tensor_hash(tensors):
            raise ValueError("the weights are not those the page was written with")
        dtype = getattr(torch, description["dtype"])
        model = build({name: x for name, x in description.items() if name not in ("format", "dtype", "hash")})
        model.to(dtype).load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CorruptFileError(f"{page} and its weights do not fit together: {error}") from error
    return model.eval()
