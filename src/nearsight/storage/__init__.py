"""Files that are whole or absent: atomic writes, content hashes, tensors without pickle, numbers with all digits."""

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
from nearsight.storage.text import number_text, numbers_text, rounded

__all__ = [
    "CorruptFileError",
    "atomic_directory",
    "load_tensors",
    "number_text",
    "numbers_text",
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
