"""Data sets: what is stored is exact, whole, and independent of how it was computed."""

import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from kills import kill_when
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, square
from nearsight.solvers import Dense
from nearsight.storage import CorruptFileError, DamagedFileWarning
from nearsight.training import (
    KINDS,
    DataSet,
    NearEquilibrium,
    Random,
    Recipe,
    Relaxing,
    Thermal,
    generate,
)
from nearsight.training import (
    _snapshots as snapshots,
)

RECIPE = Recipe(
    random=Random(trajectories=4, snapshots=2),
    thermal=Thermal(trajectories=3, snapshots=2, burn_in=4, every=2),
    relaxing=Relaxing(trajectories=3, snapshots=4, steps=9),
    near_equilibrium=NearEquilibrium(trajectories=3, snapshots=2, steps=8, wavevector=(0.5, 0.5)),
)


def teacher(length: int = 4, model: type[Holstein] = Holstein, **parameters) -> ExactForceField:
    return ExactForceField(model(square(length), **parameters), Dense(filling=0.5, kT=0.05))


class Secretive(Holstein):
    """A model whose name does not tell what decides its numbers."""

    def __repr__(self) -> str:
        return repr(Holstein(self.lattice))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(teacher(), RECIPE, tmp_path_factory.mktemp("data") / "data.zarr", seed=5, workers=1, progress=False)


# --- what is stored -------------------------------------------------------------------------------------------------


def test_stored_forces_and_energies_are_those_of_the_stored_fields(data):
    force, energy = teacher()(data.field)
    torch.testing.assert_close(data.force, force, rtol=0, atol=1e-13)
    torch.testing.assert_close(data.energy, energy, rtol=0, atol=1e-12)


def test_a_data_set_holds_what_the_recipe_promises(data):
    assert len(data) == len(RECIPE) == 32
    assert data.counts == {"random": 8, "thermal": 6, "relaxing": 12, "near_equilibrium": 6}
    assert data.attrs["counts"] == data.counts
    np.testing.assert_array_equal(np.unique(data.trajectory), np.arange(13))
    assert repr(data) == (
        "32 snapshots (8 random, 6 thermal, 12 relaxing, 6 near_equilibrium) of 13 trajectories "
        "on square, 4 × 4 sites, periodic"
    )


def test_recorded_times_follow_the_recipe(data):
    relaxing = data.select(kind="relaxing", trajectory=7)
    np.testing.assert_allclose(relaxing.time, 0.05 * np.array(RECIPE.relaxing.record))
    np.testing.assert_allclose(data.select(kind="thermal").time, [0.2, 0.3] * 3)


def test_energy_falls_along_every_quench(data):
    for trajectory in np.unique(data.select(kind="relaxing").trajectory):
        assert (data.select(trajectory=int(trajectory)).energy.diff() < 0).all()


def test_every_shaken_state_lies_above_its_relaxed_one(tmp_path):
    calm = NearEquilibrium(trajectories=2, snapshots=4, steps=300, wavevector=(0.5, 0.5))
    recipe = RECIPE.model_copy(update={"near_equilibrium": calm})
    data = generate(teacher(), recipe, tmp_path / "d", seed=5, workers=1, progress=False).select(
        kind="near_equilibrium"
    )
    for trajectory in np.unique(data.trajectory):
        part = data.select(trajectory=int(trajectory))
        assert part.force[0].abs().max() < 1e-2 * part.force[1:].abs().max()
        assert (part.energy[1:] > part.energy[0]).all()


def test_number_of_exact_solutions_is_the_promised_price(tmp_path, monkeypatch):
    exact = teacher()
    calls = []
    evaluate = type(exact).evaluate
    monkeypatch.setattr(type(exact), "evaluate", lambda self, field: calls.append(1) or evaluate(self, field))
    generate(exact, RECIPE, tmp_path / "data.zarr", seed=0, workers=1, progress=False)
    assert len(calls) == RECIPE.solutions + 1  # one more for the fingerprint of the model


def test_xarray_opens_a_data_set_without_a_warning(data, tmp_path):
    copy = DataSet.from_arrays(tmp_path / "d.zarr", lattice=data.lattice, field=data.field, force=data.force)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(tmp_path / "d.zarr", chunks=None)
    np.testing.assert_array_equal(plain.field.values, copy.field.numpy())
    assert plain.field.dims == ("snapshot", "site", "component")
    assert "energy" not in plain and copy.energy is None
    np.testing.assert_array_equal(data.select(kind="thermal").xarray.time, data.select(kind="thermal").time)


def test_field_range_bounds_every_field(data):
    low, high = data.field_range
    assert low == data.field.min() and high == data.field.max() and low < 0 < high


def test_the_lattice_comes_back_whole(tmp_path):
    lattice = square(3, 4, periodic=(True, False))
    field = np.random.default_rng(0).normal(size=(2, 3, 4))
    opened = DataSet.open(
        DataSet.from_arrays(tmp_path / "d", lattice=lattice, field=field, force=field) and tmp_path / "d"
    )
    assert opened.lattice.same_kind(lattice)
    assert (opened.lattice.shape, opened.lattice.periodic) == ((3, 4), (True, False))


# --- the same data, however computed --------------------------------------------------------------------------------


def test_data_do_not_depend_on_the_number_of_workers(data, tmp_path):
    parallel = generate(teacher(), RECIPE, tmp_path / "data.zarr", seed=5, workers=2, progress=False)
    assert parallel.hash == data.hash


def test_a_client_of_the_user_computes_the_same_data(data, tmp_path):
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0")
    with cluster, Client(cluster) as client:
        result = generate(teacher(), RECIPE, tmp_path / "data.zarr", seed=5, client=client, progress=False)
    assert result.hash == data.hash


def test_another_seed_gives_other_data_and_each_trajectory_its_own(data, tmp_path):
    assert generate(teacher(), RECIPE, tmp_path / "d", seed=6, workers=1, progress=False).hash != data.hash
    first = data.field[np.unique(data.trajectory, return_index=True)[1]]
    assert len(torch.unique(first, dim=0)) == len(first)


def run_generation(path, *, seed: int = 5) -> subprocess.Popen:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from nearsight.forcefields import ExactForceField\n"
        "from nearsight.hamiltonians import Holstein\n"
        "from nearsight.lattices import square\n"
        "from nearsight.solvers import Dense\n"
        "from nearsight.training import Recipe, generate\n"
        f"recipe = Recipe.model_validate_json({RECIPE.model_dump_json()!r})\n"
        "exact = ExactForceField(Holstein(square(4)), Dense(filling=0.5, kT=0.05))\n"
        f"print(generate(exact, recipe, {str(path)!r}, seed={seed}, workers=1, progress=False).hash)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("parts", [1, 6])
def test_generation_killed_at_any_moment_resumes_to_the_same_data(data, tmp_path, parts):
    path = tmp_path / "data.zarr"
    process = run_generation(path)
    with process:
        kill_when(process, lambda: len(list(tmp_path.glob("data.zarr.parts/0*.safetensors"))) >= parts)
    left = sorted(tmp_path.glob("data.zarr.parts/0*.safetensors"))
    assert parts <= len(left) < 13
    with pytest.raises(FileNotFoundError, match="unfinished"):
        DataSet.open(path)
    resumed = generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False)
    assert resumed.hash == data.hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.zarr"]


def test_finished_trajectories_are_not_computed_again(tmp_path, monkeypatch):
    path, made, make = tmp_path / "d", [], snapshots.make

    def dying(exact, recipe, trajectory, seed):
        if trajectory == 5 and not made.count("dead"):
            made.append("dead")
            raise KeyboardInterrupt
        made.append(trajectory)
        return make(exact, recipe, trajectory, seed)

    monkeypatch.setattr(snapshots, "make", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False)
    generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False)
    assert made == [0, 1, 2, 3, 4, "dead", *range(5, 13)]
    generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False)
    assert len(made) == 14, "a complete data set is opened, not computed"


def test_a_damaged_part_is_computed_again(data, tmp_path, monkeypatch):
    path, make = tmp_path / "d", snapshots.make

    def dying(exact, recipe, trajectory, seed):
        if trajectory == 3:
            raise KeyboardInterrupt
        return make(exact, recipe, trajectory, seed)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(snapshots, "make", dying)
        generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False)
    part = tmp_path / "d.parts" / "000001.safetensors"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.warns(DamagedFileWarning, match=r"d\.parts/000001\.safetensors"):
        assert generate(teacher(), RECIPE, path, seed=5, workers=1, progress=False).hash == data.hash


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(seed=6), "seed: 5 .then., 6 .now."),
        (
            dict(recipe=Recipe(**{**dict(RECIPE), "random": Random(trajectories=4, snapshots=3)})),
            "recipe.random.snapshots",
        ),
        (dict(exact=teacher(g=1.4)), "model:.*g=1.5.*g=1.4"),
        (dict(exact=teacher(5)), "lattice"),
        (dict(exact=teacher(symmetric=False)), "model:.*symmetric"),
        (dict(exact=teacher(model=Secretive, g=1.4)), "its description does not show"),
    ],
    ids=["seed", "recipe", "model", "lattice", "convention", "hidden parameter"],
)
def test_resuming_with_something_else_is_refused_and_named(tmp_path, change, named):
    small = RECIPE
    path = tmp_path / "d"
    generate(teacher(), small, path, seed=5, workers=1, progress=False)
    arguments = dict(exact=teacher(), recipe=small, seed=5) | change
    with pytest.raises(ValueError, match=named):
        generate(arguments["exact"], arguments["recipe"], path, seed=arguments["seed"], workers=1, progress=False)


def test_without_resume_nothing_is_overwritten(data, tmp_path):
    path = tmp_path / "d"
    DataSet.from_arrays(path, lattice=data.lattice, field=data.field, force=data.force)
    with pytest.raises(FileExistsError, match="delete it"):
        generate(teacher(), RECIPE, path, seed=5, resume=False, progress=False)


def test_a_diverging_trajectory_is_named_with_its_cure(tmp_path):
    wild = Recipe(**{**dict(RECIPE), "relaxing": Relaxing(trajectories=1, snapshots=2, steps=4000, dt=5.0)})
    with pytest.raises(ValueError, match=r"Trajectory 7 \(relaxing\).*relaxing\.dt"):
        generate(teacher(), wild, tmp_path / "d", seed=5, workers=1, progress=False)


# --- damage ---------------------------------------------------------------------------------------------------------


def written(data, path):
    DataSet.from_arrays(path, lattice=data.lattice, field=data.field, force=data.force, energy=data.energy)
    return path


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "missing"])
def test_a_damaged_chunk_is_detected_and_named(data, tmp_path, damage):
    path = written(data, tmp_path / "d")
    chunk = path / "force" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    if damage == "flipped bit":
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    elif damage == "truncated":
        chunk.write_bytes(content[: len(content) // 2])
    else:
        chunk.unlink()
    with pytest.raises(CorruptFileError, match="force/c/0/0/0"):
        DataSet.open(path)


def test_changed_values_are_detected_by_the_hash(data, tmp_path):
    import zarr

    path = written(data, tmp_path / "d")
    zarr.open_group(str(path), mode="r+")["energy"][3] = 0.0
    with pytest.raises(CorruptFileError, match="hash"):
        DataSet.open(path)
    assert DataSet.open(path, verify=False).energy[3] == 0.0


def test_damaged_metadata_are_detected(data, tmp_path):
    path = written(data, tmp_path / "d")
    (path / "zarr.json").write_text((path / "zarr.json").read_text()[:50])
    with pytest.raises(CorruptFileError, match="zarr group"):
        DataSet.open(path)


def test_a_newer_format_is_refused(data, tmp_path):
    path = written(data, tmp_path / "d")
    text = json.loads((path / "zarr.json").read_text())
    text["attributes"]["format"] = 99
    (path / "zarr.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match="format 99"):
        DataSet.open(path)


def test_a_missing_data_set_and_a_foreign_one_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set"):
        DataSet.open(tmp_path / "nowhere")
    xr.Dataset({"x": ("n", np.zeros(3))}).to_zarr(tmp_path / "foreign", zarr_format=3, consolidated=False)
    with pytest.raises(ValueError, match="but no data set"):
        DataSet.open(tmp_path / "foreign")


def test_hash_sees_contents_and_nothing_else(data, tmp_path):
    arrays = dict(lattice=data.lattice, field=data.field, force=data.force, energy=data.energy)
    in_memory = DataSet.from_arrays(**arrays)
    assert in_memory.hash == DataSet.from_arrays(tmp_path / "d", attrs={"note": "moved"}, **arrays).hash
    moved = dict(arrays, energy=data.energy.index_fill(0, torch.tensor([0]), 1.0))
    assert DataSet.from_arrays(**moved).hash != in_memory.hash
    assert in_memory.select(time=(0.0, 1.0)).hash == in_memory.hash, "selecting everything changes nothing"


# --- splits ---------------------------------------------------------------------------------------------------------


def test_no_trajectory_is_on_two_sides_of_a_split_and_every_kind_is_on_all(data):
    for seed in range(10):
        split = data.split(seed=seed)
        owners = [set(part.trajectory) for part in split]
        assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
        assert set.union(*owners) == set(data.trajectory)
        assert sum(map(len, split)) == len(data)
        for part in split:
            assert set(part.counts) == set(KINDS[:4])


def many(trajectories: int) -> DataSet:
    field = np.zeros((3 * trajectories, 4))
    return DataSet.from_arrays(
        lattice=chain(4), field=field, force=field, trajectory=np.repeat(np.arange(trajectories), 3)
    )


def test_fractions_are_kept_to_within_a_trajectory():
    split = many(100).split(validation=0.2, test=0.1)
    assert [len(part) for part in split] == [210, 60, 30]


def test_smaller_training_sets_are_contained_in_larger_ones_and_tested_alike():
    data = many(40)
    large, small = data.split(seed=3), data.split(train=0.2, seed=3)
    assert set(small.train.trajectory) < set(large.train.trajectory)
    assert len(small.train) == 24
    assert small.test.hash == large.test.hash and small.validation.hash == large.validation.hash


def test_splits_follow_their_seed():
    data = many(20)
    assert data.split(seed=1).test.hash == data.split(seed=1).test.hash
    assert set(data.split(seed=1).test.trajectory) != set(data.split(seed=2).test.trajectory)


def test_too_few_trajectories_are_refused_and_zero_fractions_allowed():
    with pytest.raises(ValueError, match="2 trajectories are too few to give validation"):
        many(2).split()
    split = many(2).split(validation=0.0, test=0.5)
    assert [len(part) for part in split] == [3, 0, 3]


@pytest.mark.parametrize("fractions", [dict(train=0.9), dict(test=1.0), dict(train=0.0), dict(validation=-0.1)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions"):
        many(20).split(**fractions)


def test_selections_of_nothing_are_refused(data):
    with pytest.raises(ValueError, match="No snapshot is left"):
        data.select(kind="imported")
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'frozen'"):
        data.select(kind="frozen")


# --- import ---------------------------------------------------------------------------------------------------------


def npz(path, **changes):
    rng = np.random.default_rng(1)
    arrays = dict(field=rng.normal(size=(6, 3, 4)), force=rng.normal(size=(6, 3, 4)), energy=rng.normal(size=6))
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez(path, **arrays)
    return path


def test_grids_and_rows_of_sites_import_alike(tmp_path):
    lattice = square(3, 4)
    grid = DataSet.from_npz(npz(tmp_path / "a.npz"), tmp_path / "a", lattice=lattice)
    with np.load(tmp_path / "a.npz") as file:
        content = dict(file)
    for shape in [(6, 12), (6, 12, 1), (6, 3, 4, 1)]:
        changes = {key: content[key].reshape(shape) for key in ("field", "force")}
        assert DataSet.from_npz(npz(tmp_path / "b.npz", **changes), lattice=lattice).hash == grid.hash
    assert grid.counts == {"imported": 6}
    np.testing.assert_array_equal(grid.field.reshape(6, 3, 4), content["field"])
    assert DataSet.open(tmp_path / "a").attrs["source"] == "a.npz"


def test_components_and_trajectories_are_imported(tmp_path):
    field = np.random.default_rng(0).normal(size=(4, 3, 4, 2)).astype(np.float32)
    file = npz(tmp_path / "a.npz", field=field, force=field, energy=None, trajectory=np.array([7, 7, 8, 8]))
    data = DataSet.from_npz(file, lattice=square(3, 4), components=2)
    assert data.components == 2 and data.field.dtype == torch.float64 and data.energy is None
    np.testing.assert_array_equal(data.trajectory, [7, 7, 8, 8])
    assert repr(data).endswith("no energies")


NAN = np.zeros((6, 3, 4))
NAN[2, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (dict(force=None), "the key 'force' is missing; found energy, field"),
        (dict(field=None), "the key 'field' is missing"),
        (dict(forces=np.zeros(3)), "unknown key 'forces'"),
        (dict(field=np.zeros((6, 4, 3))), "'field' must have shape .n, 12, 1. or .*got .6, 4, 3."),
        (dict(force=np.zeros((5, 3, 4))), "'force' has 5 snapshots, 'field' has 6"),
        (dict(field=NAN), "'field' holds NaN .* in 1 snapshots, first in snapshot 2"),
        (dict(force=NAN), "'force' holds NaN"),
        (dict(energy=np.full(6, np.inf)), "'energy' holds NaN or infinite"),
        (dict(energy=np.zeros((6, 1))), r"'energy' must have shape \(6,\)"),
        (dict(field=np.zeros((6, 3, 4), dtype=int)), "'field' must hold real floating-point .*int64.*astype"),
        (dict(force=np.zeros((6, 3, 4), dtype=complex)), "'force' must hold real"),
        (dict(trajectory=np.zeros(6)), "'trajectory' labels snapshots by integers"),
        (dict(trajectory=np.zeros(5, dtype=int)), r"'trajectory' must have shape \(6,\)"),
        (dict(time=np.zeros(2)), "'time' must have shape"),
        (dict(field=np.zeros((0, 3, 4)), force=np.zeros((0, 3, 4)), energy=None), "'field' holds no snapshot"),
        (dict(energy=np.array([None] * 6)), "'energy' holds Python objects"),
    ],
)
def test_a_bad_import_names_the_key_and_the_cure(tmp_path, changes, error):
    with pytest.raises(ValueError, match=error):
        DataSet.from_npz(npz(tmp_path / "a.npz", **changes), lattice=square(3, 4))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"a\.npz"):
        DataSet.from_npz(tmp_path / "a.npz", lattice=square(3, 4))
    npz(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:500])
    with pytest.raises(CorruptFileError, match=r"c\.npz"):
        DataSet.from_npz(tmp_path / "c.npz", lattice=square(3, 4))
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"np\.savez"):
        DataSet.from_npz(tmp_path / "d.npy", lattice=square(3, 4))
    with pytest.raises(FileNotFoundError):
        DataSet.from_npz(tmp_path / "e.npz", lattice=square(3, 4))


# --- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("snapshots_", "steps"), [(1, 5), (2, 5), (3, 2), (6, 5), (10, 100), (40, 60)])
def test_quenches_are_recorded_at_distinct_growing_steps_from_first_to_last(snapshots_, steps):
    record = Relaxing(trajectories=1, snapshots=snapshots_, steps=steps).record
    assert len(record) == snapshots_ and record[-1] == steps
    assert all(a < b for a, b in pairwise(record))
    assert snapshots_ == 1 or record[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        dict(random=dict(trajectories=-1, snapshots=1)),
        dict(random=dict(trajectories=1, snapshots=0)),
        dict(random=dict(trajectories=1, snapshots=1, amplitude=(2.0, 1.0))),
        dict(random=dict(trajectories=1, snapshots=1, correlated=1.5)),
        dict(thermal=dict(trajectories=1, snapshots=1, dt=0.0)),
        dict(thermal=dict(trajectories=1, snapshots=1, kT=(-0.1, 0.1))),
        dict(relaxing=dict(trajectories=1, snapshots=9, steps=3)),
        dict(relaxing=dict(trajectories=1, snapshots=2, speed=3)),
        {kind: dict(trajectories=0, snapshots=1) for kind in KINDS[:4]},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(options):
    with pytest.raises(ValidationError):
        Recipe(**options)


def test_scaling_keeps_the_proportions():
    recipe = Recipe()
    double = recipe.scaled(2.0)
    assert len(double) == 2 * len(recipe) and double.solutions == 2 * recipe.solutions
    assert recipe.scaled(1e-9).random.trajectories == 1


@pytest.mark.parametrize("staggered", [False, True])
def test_smoothed_noise_has_the_requested_correlation_length(staggered):
    lattice, length = square(64), 2.5
    noise = torch.randn(40, lattice.n_sites, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    grid = snapshots.smooth(noise, lattice, length, staggered=staggered).reshape(40, 64, 64)
    for r in (1, 2, 3, 4):
        measured = float((grid * grid.roll(r, dims=1)).mean() / grid.square().mean())
        # Long-wave noise: 40 · (64/ξ√2π)² ≈ 4000 independent patches, 3 % is two standard deviations at the far end.
        expected = np.exp(-(r**2) / (2 * length**2)) * ((-1) ** r if staggered else 1)
        assert measured == pytest.approx(expected, abs=0.03)
