"""Tensors on disk, without pickle, and in memory as they were before they went there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nearsight.storage.files import CURE, CorruptFileError, DamagedFileWarning, atomic_file, corrupt, data_hash

ALIGNMENT = 64
"""Bytes: where the allocator of torch begins every block of memory."""


HEAD = "sealed"
"""The entry of the metadata that holds texts and hash."""


def owned(tensor: Tensor) -> Tensor:
    """The same numbers in contiguous memory that begins at a multiple of 64 bytes; a copy only where they are not.

    A matrix library takes another path for a matrix that is transposed or begins elsewhere, and the last bits of a
    product may then differ. What goes on from a file must lie in memory as what was computed does.
    """
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Tensors by name with a few texts, as safetensors, atomically, and with a hash of it all."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    texts = metadata or {}
    # One entry only: safetensors writes several in random order, and equal content shall leave equal files.
    head = {HEAD: json.dumps({"texts": texts, "hash": _hash(contiguous, texts)}, sort_keys=True)}
    with atomic_file(path) as temporary:  # without the whole file in memory beside the tensors
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # as the user has it for new files; safetensors makes them private
        try:
            safetensors.torch.save_file(contiguous, temporary, head)
            temporary.chmod(mode)
        except safetensors.SafetensorError as error:  # of the disk, as a rule, told as a text
            if known := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(known[1]), os.strerror(int(known[1]))) from error
            raise


def load_tensors(
    path: str | Path, *, hashed: bool = True, cure: str = CURE
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts of a safetensors file; every tensor lies in memory of its own, as a fresh one does.

    Raises ``CorruptFileError``, which ends in ``cure``, for a file that is not whole or was changed after writing.
    Files of nearsight 0.1 carry no hash; they are read if ``hashed`` is False.
    """
    path = Path(path)
    path.stat()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # What comes out of the reader are views of the file, which begin anywhere and end with it.
            names = file.keys()
            tensors = {n: file.get_tensor(n).clone(memory_format=torch.contiguous_format) for n in names}
            header = file.metadata() or {}
        if HEAD not in header:
            if hashed:
                raise ValueError("it carries no hash: it is damaged, or was written by nearsight 0.1")
            texts = header
        else:
            head = json.loads(header[HEAD])
            texts = head["texts"]
            if head["hash"] != _hash(tensors, texts):
                raise ValueError("its content does not have the hash stored with it")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(path, "safetensors", error, cure) from error
    return tensors, texts


def usable_tensors(path: str | Path) -> bool:
    """Whether there is such a file and it is whole; a damaged one is named by a warning and deleted."""
    try:
        load_tensors(path)
    except FileNotFoundError:
        return False
    except CorruptFileError as error:
        remade(path, error)
        return False
    return True


def remade(path: str | Path, reason: object) -> None:
    """Delete a damaged file of unfinished work, which is made again, and say so."""
    warnings.warn(f"{path} cannot be used ({reason}); it is made again.", DamagedFileWarning, stacklevel=2)
    Path(path).unlink(missing_ok=True)


def _hash(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    return data_hash([tensor_hash(tensors), texts])


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
