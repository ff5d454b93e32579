"""Files that are whole or absent: atomic writes, content hashes, tensors without pickle."""

from nearsight.storage.files import (
    CorruptFileError,
    atomic_directory,
    load_tensors,
    read_json,
    read_yaml,
    save_tensors,
    tensor_hash,
    tree_hash,
    whole_tensors,
    write_atomic,
    write_json,
    write_yaml,
)

__all__ = [
    "CorruptFileError",
    "atomic_directory",
    "load_tensors",
    "read_json",
    "read_yaml",
    "save_tensors",
    "tensor_hash",
    "tree_hash",
    "whole_tensors",
    "write_atomic",
    "write_json",
    "write_yaml",
]
