"""Files that are whole or absent: atomic writes, content hashes, tensors without pickle, numbers with all digits."""

from nearsight.storage.files import (
    CorruptFileError,
    DamagedFileWarning,
    atomic_directory,
    check_hashed,
    data_hash,
    file_hash,
    recover,
    tidy,
    tidy_tree,
    tree_hash,
    write_atomic,
    write_hashed,
)
from nearsight.storage.locks import LockedError, Terminated, lock, locked
from nearsight.storage.plain import parse_yaml, read_json, read_yaml, write_json, write_yaml
from nearsight.storage.tensors import load_tensors, owned, save_tensors, tensor_hash, usable_tensors
from nearsight.storage.text import number_text, rounded

__all__ = [
    "CorruptFileError",
    "DamagedFileWarning",
    "LockedError",
    "Terminated",
    "atomic_directory",
    "check_hashed",
    "data_hash",
    "file_hash",
    "load_tensors",
    "lock",
    "locked",
    "number_text",
    "owned",
    "parse_yaml",
    "read_json",
    "read_yaml",
    "recover",
    "rounded",
    "save_tensors",
    "tensor_hash",
    "tidy",
    "tidy_tree",
    "tree_hash",
    "usable_tensors",
    "write_atomic",
    "write_hashed",
    "write_json",
    "write_yaml",
]
