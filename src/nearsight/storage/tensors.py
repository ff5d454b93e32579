"""Tensors on disk, without pickle, and in memory as they were before they went there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nearsight.storage.files import CorruptFileError, corrupt, write_atomic

ALIGNMENT = 64
"""Bytes: where the allocator of torch begins every block of memory."""


def owned(tensor: Tensor) -> Tensor:
    """The same numbers in contiguous memory that begins at a multiple of 64 bytes; a copy only where they are not.

    A matrix library takes another path for a matrix that is transposed or begins elsewhere, and the last bits of a
    product may then differ. What goes on from a file must lie in memory as what was computed does.
    """
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Tensors by name, as safetensors, atomically."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomic(path, safetensors.torch.save(contiguous, metadata))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; every tensor lies in memory of its own, as a fresh one does."""
    content = Path(path).read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (safetensors.SafetensorError, ValueError) as error:
        raise corrupt(path, "safetensors", error) from error
    # What comes out of the reader are views of a buffer, which begin anywhere.
    owning = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    return owning, header.get("__metadata__", {})


def whole_tensors(path: str | Path) -> bool:
    """Whether a safetensors file can be used; one that a full disk or a crash has damaged is deleted."""
    try:
        load_tensors(path)
    except FileNotFoundError:
        return False
    except CorruptFileError:
        Path(path).unlink()
        return False
    return True


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
