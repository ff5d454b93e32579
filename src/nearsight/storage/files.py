"""Atomic files and directories, and the hashes that vouch for them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml


class CorruptFileError(ValueError):
    """A file that is truncated, damaged, or not what its name says; the message names it and the cure."""


def write_atomic(path: str | Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a killed writer, sees the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Fill a directory under a temporary name; it appears at ``path``, whole, when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    # Not from tempfile, whose files only their owner can read: a run folder is shared with a group.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def tree_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of names and contents of all files below a directory (hidden temporary files apart)."""
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
        return digest.hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist.")
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def write_json(path: str | Path, content: Any) -> None:
    """Plain data as JSON, atomically."""
    write_atomic(path, json.dumps(content, indent=2, sort_keys=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Plain data from a JSON file; ``CorruptFileError`` if it is not whole."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise corrupt(path, "JSON", error) from error


class _PlainDumper(yaml.SafeDumper):
    """Numbers of numpy are written as those of Python, which compare and read the same."""


def _represent_number(dumper: yaml.SafeDumper, number: Any) -> yaml.Node:
    return dumper.represent_data(number.item())


for _kind in (np.bool_, np.number):
    _PlainDumper.add_multi_representer(_kind, _represent_number)


def write_yaml(path: str | Path, content: Any) -> None:
    """Plain data as YAML in the given order, atomically."""
    write_atomic(path, yaml.dump(content, Dumper=_PlainDumper, sort_keys=False))


def read_yaml(path: str | Path) -> Any:
    """Plain data from a YAML file; ``CorruptFileError`` if it is not whole."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise corrupt(path, "YAML", error) from error


def corrupt(path: str | Path, kind: str, error: Exception) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a whole {kind} file ({error}). Delete it and resume, or restore a copy.")
