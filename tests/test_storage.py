"""Files: what is read is what was written, in memory and in content."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from nearsight.dynamics import Langevin, simulate
from nearsight.dynamics.scheme import State
from nearsight.forcefields import ClassicalForceField, Forces
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.storage import (
    CorruptFileError,
    atomic_directory,
    load_tensors,
    owned,
    read_json,
    read_yaml,
    recover,
    save_tensors,
    tidy,
    tidy_tree,
    write_atomic,
    write_json,
    write_yaml,
)


def lies_as_fresh(tensor: torch.Tensor) -> bool:
    """Contiguous, at a multiple of 64 bytes, and in memory that belongs to no other."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.is_contiguous() and tensor.data_ptr() % 64 == 0 and whole


SHAPES = {"matrix": (3, 5), "row": (7,), "number": (), "empty": (0, 2), "large": (90, 70), "field": (2, 9, 3)}


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool], ids=str)
def test_loaded_tensors_lie_in_memory_as_fresh_ones(tmp_path, rng, dtype):
    tensors = {name: (10 * torch.rand(shape, generator=rng)).to(dtype) for name, shape in SHAPES.items()}
    save_tensors(tmp_path / "t", tensors, {"a": "b"})
    loaded, metadata = load_tensors(tmp_path / "t")
    assert metadata == {"a": "b"} and loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
        assert lies_as_fresh(loaded[name]) and loaded[name].stride() == tensor.stride()


def test_loaded_tensors_outlive_their_file(tmp_path):
    save_tensors(tmp_path / "t", {"x": torch.arange(4000.0)})
    loaded = load_tensors(tmp_path / "t")[0]["x"]
    (tmp_path / "t").write_bytes(b"\xff" * 20_000)
    assert torch.equal(loaded, torch.arange(4000.0))


def test_what_lies_right_is_not_copied():
    fresh = torch.rand(5, 5)
    assert owned(fresh) is fresh
    for odd in (fresh.T, torch.rand(26)[1:].view(5, 5), fresh[:, 0].expand(5, 5)):
        assert lies_as_fresh(owned(odd)) and torch.equal(owned(odd), odd)


def test_every_state_of_a_run_lies_in_memory_as_one_from_a_checkpoint():
    odd = torch.rand(3, 10, dtype=torch.float64).T[1:, :1].expand(9, 3)
    state = State(odd, odd, Forces(odd, odd[0, 0]), 0.0, 0, odd, odd)
    for name in ("field", "velocity", "noise", "history"):
        assert lies_as_fresh(getattr(state, name)) and torch.equal(getattr(state, name), odd)
    assert lies_as_fresh(state.forces.force) and lies_as_fresh(state.forces.energy)
    springs = ClassicalForceField(Holstein(square(3), k=1.0))
    rng = torch.Generator().manual_seed(1)
    scheme = Langevin(dt=0.1, kT=0.1, damping=0.5)
    final = simulate(springs, scheme, odd[..., :1], steps=3, record=None, rng=rng).final
    assert lies_as_fresh(final.field) and lies_as_fresh(final.velocity) and lies_as_fresh(final.forces.force)


# --- damage ---------------------------------------------------------------------------------------------------------


def flips(file: Path, every: int = 1) -> Iterator[int]:
    """The file with one bit changed, at every so many bytes in turn; whole again at the end."""
    content = file.read_bytes()
    for place in range(0, len(content), every):
        changed = bytearray(content)
        changed[place] ^= 1 << place // every % 8
        file.write_bytes(changed)
        yield place
    file.write_bytes(content)


def test_no_flipped_bit_of_stored_tensors_goes_unnoticed(tmp_path, rng):
    tensors = {"x": torch.rand(3, 4, generator=rng), "n": torch.arange(4), "on": torch.tensor(True)}
    save_tensors(tmp_path / "t", tensors, {"step": "12", "why": "ünïcode"})
    assert load_tensors(tmp_path / "t")[1] == {"step": "12", "why": "ünïcode"}
    for _ in flips(tmp_path / "t"):
        try:
            found, texts = load_tensors(tmp_path / "t")
        except CorruptFileError as error:
            assert str(tmp_path / "t") in str(error)
        else:  # in the padding, which means nothing
            assert texts == {"step": "12", "why": "ünïcode"}
            assert found.keys() == tensors.keys() and all(torch.equal(found[k], tensors[k]) for k in tensors)


@pytest.mark.parametrize(("write", "read"), [(write_json, read_json), (write_yaml, read_yaml)])
def test_no_flipped_bit_of_plain_data_goes_unnoticed(tmp_path, write, read):
    content = {"a": 1.5, "b": [1, None, {"c": "text"}], "d": np.float64(1e-6), "e": 10**30, "f": True, "n": np.int64(3)}
    write(tmp_path / "p", content, hashed=True)
    plain = {**content, "n": 3}
    assert read(tmp_path / "p", hashed=True) == plain
    for _ in flips(tmp_path / "p"):
        try:
            assert read(tmp_path / "p", hashed=True) == plain
        except CorruptFileError as error:
            assert str(tmp_path / "p") in str(error)


def test_files_without_a_hash_are_refused_where_one_is_due_and_read_where_none_is(tmp_path):
    (tmp_path / "old").write_bytes(safetensors.torch.save({"x": torch.ones(2)}, {"kind": "old"}))
    with pytest.raises(CorruptFileError, match=r"old .*no hash.*written by nearsight 0\.1.*delete it"):
        load_tensors(tmp_path / "old")
    assert load_tensors(tmp_path / "old", hashed=False)[1] == {"kind": "old"}


def test_aliases_by_which_a_page_fills_all_memory_are_refused(tmp_path):
    page = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        page += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    (tmp_path / "bomb.yaml").write_text(page)
    with pytest.raises(CorruptFileError, match=r"bomb\.yaml.*aliases"):
        read_yaml(tmp_path / "bomb.yaml")
    shared = [1, 2]
    write_yaml(tmp_path / "ours.yaml", {"a": shared, "b": shared})
    assert read_yaml(tmp_path / "ours.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": 1', b"\xff\xfe", b""], ids=["deep", "cut", "bytes", "empty"]
)
def test_plain_files_that_are_none_are_named(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    for read in (read_json, read_yaml):
        with pytest.raises(CorruptFileError, match=re.escape(str(tmp_path / "p"))):
            read(tmp_path / "p", hashed=True)


# --- writing --------------------------------------------------------------------------------------------------------


KILLED = """
import os, signal, sys
from pathlib import Path
from nearsight.storage import atomic_directory, recover, tidy

def replace(target, text):
    with atomic_directory(target) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text(text)

count = 0
root = Path(sys.argv[1])
names = ("rename", "replace", "mkdir", "rmdir", "unlink")
while True:
    count += 1
    target = root / str(count) / "model"
    replace(target, "old")
    pid = os.fork()
    if pid == 0:
        left = [count]
        def dying(real):
            def call(*a, **k):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*a, **k)
            return call
        for name in names:
            setattr(os, name, dying(getattr(os, name)))
        replace(target, "new")
        os._exit(0)
    killed = os.waitpid(pid, 0)[1] != 0
    recover(target)
    texts = {(target / name).read_text() for name in "ab"}
    assert len(texts) == 1 and texts <= {"old", "new"}, (count, texts)
    tidy(target)
    assert [p.name for p in target.parent.iterdir()] == ["model"], count
    if not killed:
        assert texts == {"new"}
        break
print(count)
"""


def test_a_directory_replaced_by_a_writer_that_is_killed_at_any_moment_is_the_old_or_the_new(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4


def test_a_reader_that_puts_the_old_directory_back_does_not_stop_its_writer(tmp_path, monkeypatch):
    target, rename = tmp_path / "model", os.rename
    for text in ("old", "new"):
        if text == "new":

            def interfering(source, goal):
                rename(source, goal)
                if str(goal).endswith(".previous"):
                    monkeypatch.setattr(os, "rename", rename)
                    recover(target)

            monkeypatch.setattr(os, "rename", interfering)
        with atomic_directory(target) as folder:
            (folder / "a").write_text(text)
    assert (target / "a").read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in (".a.json.0123abcd", "sub/.b.0123abcd", "a.json", ".hidden", ".a.json.note", "sub/b"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".model.ffffffff").mkdir()
    tidy(tmp_path / "a.json")
    assert not (tmp_path / ".a.json.0123abcd").exists() and (tmp_path / "sub/.b.0123abcd").exists()
    tidy_tree(tmp_path)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == [".a.json.note", ".hidden", "a.json", "sub/b"] and not (tmp_path / ".model.ffffffff").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    import resource

    write_atomic(tmp_path / "log", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"Make room.*log") as error:
            write_atomic(tmp_path / "log", "new" * 1000)
        with pytest.raises(OSError, match=r"Make room.*model"), atomic_directory(tmp_path / "model") as folder:
            (folder / "weights").write_bytes(b"x" * 5000)
        with pytest.raises(OSError, match=r"Make room.*tensors"):
            save_tensors(tmp_path / "tensors", {"large": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(tmp_path / "log")
    assert [p.name for p in tmp_path.iterdir()] == ["log"] and (tmp_path / "log").read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_of_tensors_may_be_read_by_whom_other_new_files_may(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "tensors", {"x": torch.ones(3)})
        write_atomic(tmp_path / "text", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "tensors").stat().st_mode == (tmp_path / "text").stat().st_mode


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_tensors_are_written_without_a_second_copy_in_memory(tmp_path):
    script = """
import sys, torch
from nearsight.storage import save_tensors

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

tensor = torch.ones(256 * 2**20, dtype=torch.uint8)
before = peak()
save_tensors(sys.argv[1], {"tensor": tensor})
print((peak() - before) / 2**10)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "tensors")]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 64
