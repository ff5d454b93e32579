"""Tables: every row is vouched for, whoever wrote it and in however many attempts; those of earlier versions open."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from nearsight.dynamics import Trajectory
from nearsight.sampling import Snapshots
from nearsight.storage import CorruptFileError
from nearsight.storage._zarr import AtomicStore
from nearsight.storage.table import Column, Table
from nearsight.training import DataSet, MoveData

OLD = Path(__file__).with_name("old_tables.zip")
"""A data set, snapshots, moves, and a run that was interrupted at step 10, as they were written before tables."""


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(folder)
    return folder


def test_data_sets_of_before_tables_open(old):
    data = DataSet.open(old / "forces.zarr")
    assert data.hash == "ff69b85669e8cde847bb734a68f9cdaa0aff1126d44cf3c0a2843c919d288555"
    assert repr(data) == "7 snapshots (4 random, 3 relaxing) of 3 trajectories on square, 2 × 2 sites, periodic"
    assert float(data.field.sum()) == pytest.approx(-0.5083, abs=1e-4) and data.attrs["seed"] == 5


def test_snapshots_of_before_tables_open(old):
    found = Snapshots.open(old / "snapshots.zarr", verify=True)
    assert found.energy.tolist() == [-32.0] * 6 + [-8, -24, -20, -8, -24, -12]
    assert found.states().shape == (12, 16) and found.attrs["seed"] == 1


def test_moves_of_before_tables_open(old, tmp_path):
    data = MoveData.open(old / "moves.safetensors")
    assert repr(data).startswith("66 hops from 4 configurations of 2 trajectories on square, 4 × 4 sites")
    data.save(tmp_path / "moves")
    again = MoveData.open(tmp_path / "moves")
    assert again.hash == data.take(np.arange(4)).hash and again.hash != data.hash  # the old one covers the lattice
    np.testing.assert_array_equal(again.difference, data.difference)


def test_runs_of_before_tables_open(old):
    run = Trajectory.open(old / "cut")
    assert run.final.step == 6 and run.data.step.values.tolist() == [0, 2, 4, 6]
    assert bool(np.isfinite(run.data.energy).all())


def columns(*names: str) -> list[Column]:
    return [Column(name, ("site",), (3,), np.dtype(float)) for name in names]


@pytest.mark.parametrize("blocks", [[9], [1] * 9, [4, 0, 5]], ids=str)
def test_the_hash_does_not_know_in_which_blocks_rows_came(blocks, tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.storage._zarr.CHUNK_BYTES", 100)
    values = np.random.default_rng(1).normal(size=(9, 3))
    table = Table.create(tmp_path / "t", columns("x"), {"a": 1}, rows=9)
    for start, count in zip(np.cumsum([0, *blocks]), blocks, strict=False):
        table.append({"x": values[start : start + count]})
    table.seal()
    opened, memory = Table.open(tmp_path / "t"), Table.write(None, {"x": values}, {"x": ("site",)}, {"a": 1})
    assert opened.hash == memory.hash and opened.attrs == memory.attrs == {"a": 1}
    assert len(list((tmp_path / "t" / "x" / "c").iterdir())) == 3
    np.testing.assert_array_equal(opened.read("x", [7, 0]), values[[7, 0]])
    np.testing.assert_array_equal(opened.xarray.x, memory.xarray.x)
    assert opened.take(np.arange(4)).hash == Table.write(None, {"x": values[:4]}, {"x": ("site",)}, {}).hash


def test_a_row_that_was_changed_after_writing_is_found(tmp_path):
    Table.write(tmp_path / "t", {"x": np.zeros((4, 3)), "y": np.ones((4, 3))}, dict.fromkeys("xy", ("site",)), {})
    zarr.open_group(str(tmp_path / "t"), mode="r+")["y"][2, 1] = 0.0
    with pytest.raises(CorruptFileError, match=r"t/y is damaged \(its rows do not have the hash"):
        Table.open(tmp_path / "t")


def test_rows_are_appended_behind_those_that_were_committed(tmp_path):
    values = np.random.default_rng(1).normal(size=(9, 3))
    table = Table.create(tmp_path / "t", columns("x"), {}, rows=9, chunk_rows=4)
    table.append({"x": values[:5]})
    table.flush()
    committed = table.digests
    table.append({"x": values[5:6] + 1.0})  # what a killed writer left
    table.flush()
    again = Table.resume(tmp_path / "t", 5, committed)
    again.append({"x": values[5:]})
    again.seal()
    np.testing.assert_array_equal(Table.open(tmp_path / "t").read("x"), values)
    with pytest.raises(CorruptFileError, match="first 6 rows are not those that were committed"):
        Table.resume(tmp_path / "t", 6, committed)


def test_a_table_replaces_one_of_its_kind_and_nothing_else(tmp_path):
    rows = {"x": np.zeros((4, 3))}
    for _ in range(2):
        Table.write(tmp_path / "t", rows, {"x": ("site",)}, {})

    class Other(Table):
        noun, key = "other", "other"

    (tmp_path / "file").touch()
    for place in ("t", "file"):
        with pytest.raises(FileExistsError, match="is no other"):
            Other.write(tmp_path / place, rows, {"x": ("site",)}, {})
    with pytest.raises(ValueError, match="but no other"):
        Other.open(tmp_path / "t")


def test_a_chunk_that_is_on_disk_is_not_written_again(tmp_path, monkeypatch):
    written = []

    async def recorded(self, key, value, plain=AtomicStore.set):
        written.append(key)
        await plain(self, key, value)

    table = Table.create(tmp_path / "t", columns("a"), {}, rows=6, chunk_rows=2)
    monkeypatch.setattr(AtomicStore, "set", recorded)
    for row in np.arange(5.0):
        table.append({"a": np.full((1, 3), row)})
        table.flush()
        table.flush()
    assert written == ["a/c/0/0", "a/c/0/0", "a/c/1/0", "a/c/1/0", "a/c/2/0"]
    opened = zarr.open_array(tmp_path / "t" / "a", mode="r")[:]
    np.testing.assert_array_equal(opened[:5], np.arange(5.0)[:, None] * np.ones(3))
    assert np.isnan(opened[5]).all()


def test_rows_may_be_changed_by_their_owner_once_they_are_appended(tmp_path):
    table, row = Table.create(tmp_path / "t", columns("a"), {}, rows=2, chunk_rows=1), np.zeros((1, 3))
    for value in (1.0, 2.0):
        row[:] = value
        table.append({"a": row})
    row[:] = -1.0
    table.seal()
    np.testing.assert_array_equal(Table.open(tmp_path / "t").read("a"), [[1.0] * 3, [2.0] * 3])
