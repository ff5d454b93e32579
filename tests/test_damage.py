"""A flipped bit in what unfinished work left is named, or means nothing: it never becomes another result."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from nearsight.descriptors import BlockMoments, Irreps
from nearsight.dynamics import Brownian, Every, Trajectory, simulate
from nearsight.fields import SpinStore, occupation, scalar
from nearsight.forcefields import ClassicalForceField, ExactForceField, LearnedForceField
from nearsight.hamiltonians import Holstein, Ising
from nearsight.lattices import square
from nearsight.moves import LatticeGas, LearnedMoves
from nearsight.networks import MLP, EmbeddedNetwork
from nearsight.properties import PropertyModel
from nearsight.sampling import Snapshots, equilibrium, sample
from nearsight.solvers import Dense
from nearsight.storage import CorruptFileError, DamagedFileWarning, tensor_hash, tree_hash
from nearsight.training import (
    DataSet,
    FitOptions,
    MoveData,
    MoveFitOptions,
    PropertyFitOptions,
    Random,
    Recipe,
    Trainer,
    fit,
    fit_moves,
    fit_property,
    generate,
)
from nearsight.training import (
    _snapshots as snapshots,
)

LATTICE = square(4)


class Work(NamedTuple):
    """Something that may be stopped: ``finish(folder)`` does it, or goes on with it, and gives a hash of the result.

    ``interrupt(patch)`` lets it stop half way. ``kept`` are the files it then goes on from.
    """

    finish: Callable[[Path], str]
    interrupt: Callable[[pytest.MonkeyPatch], None]
    kept: str


def stop_at(target: object, name: str, number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Call number ``number`` of a function stops the work."""

    def interrupt(patch: pytest.MonkeyPatch) -> None:
        calls, real = [0], getattr(target, name)

        def stopping(*arguments, **options):
            calls[0] += 1
            if calls[0] == number:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        patch.setattr(target, name, stopping)

    return interrupt


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def exact_data(folder: Path) -> str:
    exact = ExactForceField(Holstein(square(2)), Dense(filling=0.5, kT=0.1))
    none = {"trajectories": 0, "snapshots": 1}
    recipe = Recipe(random=Random(trajectories=3, snapshots=2), thermal=none, relaxing=none, near_equilibrium=none)
    generate(exact, recipe, folder / "d.zarr", seed=1, workers=1, progress=False)
    return tree_hash(folder / "d.zarr")


def sampled(folder: Path) -> str:
    sample(Ising(LATTICE), [1.5, 3.0], 8, folder / "s", seed=1, chains=2, workers=1, progress=False)
    return tree_hash(folder / "s")


def fields() -> torch.Tensor:
    return torch.randn(8, 16, 1, generator=draws(), dtype=torch.float64)


def fitted(folder: Path) -> str:
    field = fields()
    data = DataSet.from_arrays(lattice=LATTICE, field=field, force=-torch.sin(field), trajectory=np.arange(8))
    student = LearnedForceField(Irreps(LATTICE, scalar(), cutoff=1.5), MLP((4,), rng=draws()))
    options = FitOptions(steps=6, batch_size=2, checkpoint_every=2, validate_every=2, energy_weight=0.0)
    fit(student, data, options=options, path=folder, resume=True, progress=False)
    return tensor_hash(student.state_dict())


def fitted_moves(folder: Path) -> str:
    field = (torch.rand(8, 16, 1, generator=draws(), dtype=torch.float64) < 0.4).double()
    data = MoveData.label(LatticeGas(LATTICE, J=(0.3,)), field)
    network = EmbeddedNetwork(LATTICE, occupation(), radius=1.0, channels=2, widths=(3,), rng=draws())
    student = LearnedMoves(LearnedForceField(network))
    options = MoveFitOptions(steps=6, batch_size=2, checkpoint_every=2, validate_every=2)
    fit_moves(student, data, options=options, path=folder, resume=True, progress=False)
    return tensor_hash(student.state_dict())


def fitted_property(folder: Path) -> str:
    spins = 2 * torch.randint(2, (12, 8, 8), generator=draws()) - 1
    model = PropertyModel(BlockMoments(4), MLP((4,), rng=draws()))
    options = PropertyFitOptions(steps=6, batch_size=4, blocks=2, checkpoint_every=2, validate_every=2)
    labels = np.linspace(0, 1, 12)
    fit_property(model, SpinStore.pack(spins), labels, options=options, path=folder, resume=True, progress=False)
    return tensor_hash(model.state_dict())


def moved(folder: Path) -> str:
    springs = ClassicalForceField(Holstein(square(2), k=1.0))
    rng, start = draws(), torch.zeros(4, 1, dtype=torch.float64)
    scheme = Brownian(dt=0.1, kT=0.2)
    options = dict(steps=9, record=Every(2), checkpoint_every=3, path=folder, resume=True)
    simulate(springs, scheme, start, rng=rng, **options)
    return records(folder)


def records(folder: Path) -> str:
    found = Trajectory.open(folder)
    values = {
        "q": found.tensor("field"),
        "s": found.final.field,
        "f": found.tensor("force"),
        "E": found.tensor("energy"),
    }
    return tensor_hash(values) + str(
        [found.data.step.values, found.data.time.values, found.data.attrs, found.final.time]
    )


WORKS = {
    "exact data": Work(exact_data, stop_at(snapshots, "make", 3), "d.zarr.parts/*"),
    "finished units of samples": Work(sampled, stop_at(equilibrium, "run_unit", 2), "s.parts/*"),
    "unfinished units of samples": Work(sampled, stop_at(equilibrium, "pack", 7), "s.parts/*"),
    "fit": Work(fitted, stop_at(Trainer, "advance", 6), "checkpoint.safetensors"),
    "fit of hops": Work(fitted_moves, stop_at(Trainer, "advance", 6), "checkpoint.safetensors"),
    "fit of a property": Work(fitted_property, stop_at(Trainer, "advance", 6), "checkpoint.safetensors"),
    "dynamics": Work(moved, stop_at(Brownian, "step", 8), "*"),
}


def flipped(file: Path, count: int) -> Iterator[int]:
    """The file with one changed bit, at places all over it; whole again at the end."""
    content = file.read_bytes()
    for place in sorted({int(x) for x in np.linspace(0, len(content) - 1, count)}):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        yield place
    file.write_bytes(content)


COUNTS = pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])


@COUNTS
@pytest.mark.parametrize("name", WORKS)
def test_no_flipped_bit_of_unfinished_work_becomes_another_result(name, count, tmp_path, monkeypatch):
    work = WORKS[name]
    monkeypatch.setattr(equilibrium, "KEEP", 0.0)
    expected = work.finish(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        work.interrupt(patch)
        work.finish(tmp_path / "cut")
    kept = sorted(p for p in (tmp_path / "cut").glob(work.kept) if p.name != "log.csv")
    files = sorted(p for k in kept for p in (k.rglob("*") if k.is_dir() else [k]) if p.is_file())
    assert files
    noticed = 0
    for file in files:
        for place in flipped(file, count if len(files) < 9 else count // 2):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(tmp_path / "cut", copy)
            damaged = copy / file.relative_to(tmp_path / "cut")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", DamagedFileWarning)
                try:
                    assert work.finish(copy) == expected, (file, place)
                except CorruptFileError as error:
                    noticed += 1
                    top = damaged if "trajectory.zarr" not in str(damaged) else copy / "trajectory.zarr"
                    assert str(top) in str(error), (file, place)
                    # The cure that the message names.
                    for victim in [damaged] if name != "dynamics" else list(copy.iterdir()):
                        assert str(victim) in str(error)
                        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
                    assert work.finish(copy) == expected, (file, place)
            mine = [w for w in caught if issubclass(w.category, DamagedFileWarning)]
            assert all(str(damaged) in str(w.message) for w in mine)
            noticed += len(mine)
    assert noticed >= count * len(files) / (2 if name != "dynamics" else 6)


@COUNTS
def test_no_flipped_bit_of_stored_results_goes_unnoticed(count, tmp_path):
    """Lattice, recipe, seed and temperatures stand in the attributes, numbers in the chunks."""
    exact_data(tmp_path)
    sampled(tmp_path)
    moved(tmp_path / "run")
    gas = LatticeGas(LATTICE, J=(0.3,))
    field = (torch.rand(3, 16, 1, generator=draws(), dtype=torch.float64) < 0.4).double()
    MoveData.label(gas, field).save(tmp_path / "hops")

    def dataset() -> str:
        data = DataSet.open(tmp_path / "d.zarr")
        return tensor_hash({"q": data.field, "f": data.force}) + str(data.attrs)

    def store() -> str:
        found = Snapshots.open(tmp_path / "s")
        return tensor_hash({"q": found.fields()}) + str([found.attrs, found.kT, found.energy, found.sweep])

    def hops() -> str:
        found = MoveData.open(tmp_path / "hops")
        return found.hash + str(found.attrs)

    reads = {"d.zarr": dataset, "s": store, "run": lambda: records(tmp_path / "run"), "hops": hops}
    for path, read in reads.items():
        whole = read()
        place = tmp_path / path
        for file in sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]:
            for where in flipped(file, count):
                try:
                    assert read() == whole, (file, where)
                except CorruptFileError as error:
                    assert str(place) in str(error), (file, where)
