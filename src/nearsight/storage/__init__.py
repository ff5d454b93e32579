"""Files that are whole or absent: atomic writes, content hashes, tensors without pickle, numbers with all digits."""

from nearsight.storage.files import (
    CorruptFileError,
    atomic_directory,
    read_json,
    read_yaml,
    tree_hash,
    write_atomic,
    write_json,
    write_yaml,
)
from nearsight.storage.tensors import load_tensors, owned, save_tensors, tensor_hash, whole_tensors
from nearsight.storage.text import number_text, numbers_text, rounded

__all__ = [
    "CorruptFileError",
    "atomic_directory",
    "load_tensors",
    "number_text",
    "numbers_text",
    "owned",
    "read_json",
    "read_yaml",
    "rounded",
    "save_tensors",
    "tensor_hash",
    "tree_hash",
    "whole_tensors",
    "write_atomic",
    "write_json",
    "write_yaml",
]
