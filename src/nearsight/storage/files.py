"""Atomic files and directories, and the hashes that vouch for them."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CURE = "Restore a copy, or delete it and resume."
MARK = b"\nsha256 "
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")
"""Names of what is being written, beside the place it will take."""


class CorruptFileError(ValueError):
    """A file that is truncated, damaged, or not what its name says; the message names it and the cure."""


class DamagedFileWarning(UserWarning):
    """A damaged file of unfinished work was deleted and is made again; the message names it."""


def corrupt(path: str | Path, kind: str, error: object, cure: str = CURE) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a whole {kind} file ({error}). {cure}")


# --- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file under a temporary name; it appears at ``path``, on disk, when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    with _named(path):
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_atomic(path: str | Path, content: bytes | memoryview | str) -> None:
    """Write a file so that a reader, or a killed writer, sees the old content or the new, never a part."""
    with atomic_file(path) as temporary, open(temporary, "xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Fill a directory under a temporary name; it appears at ``path``, whole, when the block ends without an error.

    No file system replaces a full directory in one step: an older one is renamed, the new one takes its place, and
    the older one is deleted. A kill in between leaves one of them whole, and :func:`recover` puts it in its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    with _named(path):
        try:
            yield temporary
            while True:
                recover(path)
                if path.exists():
                    os.rename(path, _previous(path))
                try:
                    os.rename(temporary, path)
                    break
                except OSError as error:
                    # A reader found the place empty just now and put the older one back.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        finally:
            recover(path)
            shutil.rmtree(temporary, ignore_errors=True)


def recover(path: str | Path) -> None:
    """What a kill within :func:`atomic_directory` left of the older directory: put back where there is no newer one."""
    path = Path(path)
    previous = _previous(path)
    if not previous.exists():
        return
    if path.exists():
        shutil.rmtree(previous, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.rename(previous, path)


def tidy(path: str | Path) -> None:
    """Remove what killed writers of this file or directory left beside it. Only for who alone writes there."""
    path = Path(path)
    recover(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if (name := TEMPORARY.fullmatch(leftover.name)) and name[1] == path.name:
            _delete(leftover)


def tidy_tree(folder: str | Path) -> None:
    """The same for everything below a folder."""
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and name.endswith(".previous"):
                recover(Path(place) / name[1:].removesuffix(".previous"))
            elif TEMPORARY.fullmatch(name):
                _delete(Path(place) / name)
        folders[:] = [name for name in folders if not name.startswith(".")]


def _beside(path: Path) -> Path:
    # Not from tempfile, whose files only their owner can read: a run folder is shared with a group.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of the disk says which file was being written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = ". Make room and go on: what is finished is kept. The file that could not be written is" if full else ""
        raise type(error)(error.errno, f"{error.strerror}{cure}", str(path)) from error


# --- hashes -----------------------------------------------------------------------------------------------------------


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of names and contents of all files below a directory (hidden temporary files apart)."""
    path = Path(path)
    if path.is_file():
        return file_hash(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist.")
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path)
        if not any(part.startswith(".") for part in name.parts):
            digest.update(name.as_posix().encode() + b"\0")
            digest.update(bytes.fromhex(file_hash(file)))
    return digest.hexdigest()


def write_hashed(path: str | Path, content: bytes) -> None:
    """A file, atomically, with its hash behind its end, where readers of HDF5 do not look."""
    write_atomic(path, content + MARK + hashlib.sha256(content).hexdigest().encode())


def check_hashed(path: str | Path, cure: str = CURE) -> None:
    """Raise ``CorruptFileError`` if a file has no longer the hash behind its end. One of 0.1 has none, and passes."""
    content = Path(path).read_bytes()
    end = content.rfind(MARK, max(0, len(content) - len(MARK) - 64))
    if end >= 0 and content[end + len(MARK) :] != hashlib.sha256(content[:end]).hexdigest().encode():
        raise CorruptFileError(f"{path} does not have the hash stored with it: it is damaged. {cure}")


def data_hash(content: Any) -> str:
    """SHA-256 of plain data: the same for every order of keys, for tuples and lists, for NumPy's numbers and ours."""
    text = json.dumps(content, sort_keys=True, default=number)
    return hashlib.sha256(text.encode()).hexdigest()


def number(x: Any) -> Any:
    """A number of NumPy as one of Python, for :func:`json.dumps`."""
    if isinstance(x, np.generic):
        return x.item()
    raise TypeError(f"{x!r} is no plain data.")


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Plain data with their hash as the last entry."""
    return {**content, "hash": data_hash(content)}


def _unsealed(content: Any) -> dict[str, Any]:
    """What :func:`_sealed` was given; ``ValueError`` in words if it is not that."""
    if not isinstance(content, dict) or "hash" not in content:
        raise ValueError("it carries no hash: it is damaged, or was written by nearsight 0.1")
    plain = {key: value for key, value in content.items() if key != "hash"}
    if data_hash(plain) != content["hash"]:
        raise ValueError("its content does not have the hash stored with it")
    return plain
