"""Files of other programs: every way to write the same states reads as the same observations."""

import h5py
import numpy as np
import pytest
import zarr

from nearsight.inference import load_observations
from nearsight.lattices import honeycomb, square

STATES = np.random.default_rng(1).integers(0, 2, (20, 6))
LATTICE = square(2, 3)


def write(path, **arrays):
    first = next(iter(arrays.values()))
    if path.suffix == ".npy":
        np.save(path, first)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, x in arrays.items():
                file[name] = x
    else:
        group = zarr.create_group(str(path))
        for name, x in arrays.items():
            group.create_array(name, data=x)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".zarr"])
@pytest.mark.parametrize(
    "written",
    [STATES, 2 * STATES - 1, STATES + 1, STATES == 1, 2.0 * STATES - 1, STATES.reshape(20, 2, 3).astype(np.uint8)],
    ids=["0/1", "spins", "1/2", "bool", "float", "grid"],
)
def test_all_ways_to_write_states_read_the_same(tmp_path, suffix, written):
    seen = load_observations(write(tmp_path / f"a{suffix}", spins=written), LATTICE, kT=2.0)
    assert (seen.states().numpy() == STATES).all() and seen.kT == 2.0 and seen.missing is None


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
def test_chains_and_masks_are_read_by_name(tmp_path, suffix):
    chain, missing = np.arange(20) // 5, np.random.default_rng(2).random((20, 6)) < 0.2
    states = np.where(missing, 77, STATES)
    path = write(tmp_path / f"a{suffix}", states=states, c=chain, m=missing.astype(np.uint8))
    seen = load_observations(path, LATTICE, chain="c", missing="m")
    assert (seen.chain == chain).all() and (seen.missing == missing).all()
    assert (seen.states().numpy() == np.where(missing, 0, STATES)).all()


def test_nan_is_a_site_that_was_not_seen(tmp_path):
    spins = np.where(STATES[:, ::-1] == 1, np.nan, 2.0 * STATES - 1)
    seen = load_observations(write(tmp_path / "a.npy", x=spins), LATTICE)
    assert (seen.missing == np.isnan(spins)).all()
    assert (seen.states().numpy()[~seen.missing] == STATES[~seen.missing]).all()


def test_spins_one_are_read_as_states(tmp_path):
    spins = np.random.default_rng(4).integers(-1, 2, (20, 6))
    written = np.where(STATES == 1, np.nan, spins)
    seen = load_observations(write(tmp_path / "a.npy", x=written), LATTICE, n_states=3)
    assert (seen.states().numpy()[~seen.missing] == spins[~seen.missing] + 1).all() and seen.missing.any()


def test_chains_may_be_an_axis_and_sites_a_grid_with_basis(tmp_path):
    states = np.random.default_rng(3).integers(0, 3, (4, 10, 3, 3, 2))
    seen = load_observations(write(tmp_path / "a.npy", x=states), honeycomb(3), n_states=3)
    assert seen.n_chains == 4 and (seen.states().numpy() == states.reshape(40, 18)).all()


@pytest.mark.parametrize(
    ("written", "options", "message"),
    [
        (STATES + 0.5, {}, "no integers"),
        (2 * STATES, {}, "n_states="),
        (np.where(STATES == 1, 1, -STATES[:, ::-1]), {}, "zeros"),
        (np.ones((20, 6)), {}, 'values="spins"'),
        (np.ones((20, 7)), {}, r"needs \(snapshot, 6\)"),
        (STATES * 1j, {}, "are numbers"),
        (np.full((20, 6), np.nan), {}, "no site was seen"),
        (STATES, {"values": "from one"}, "1..2"),
        (STATES, {"name": "x"}, "several into one .npz"),
        (np.array([[None] * 6]), {}, "Python objects"),
    ],
)
def test_what_is_no_state_is_refused_with_the_cure(tmp_path, written, options, message):
    with pytest.raises(ValueError, match=message):
        load_observations(write(tmp_path / "a.npy", x=written), LATTICE, **options)


def test_a_file_of_several_arrays_asks_which(tmp_path):
    path = write(tmp_path / "a.npz", a=STATES, b=STATES)
    with pytest.raises(ValueError, match="pass name="):
        load_observations(path, LATTICE)
    assert (load_observations(path, LATTICE, name="b").states().numpy() == STATES).all()
    with pytest.raises(ValueError, match="no array 'c'"):
        load_observations(path, LATTICE, name="c")
    with pytest.raises(FileNotFoundError):
        load_observations(tmp_path / "b.npz", LATTICE)
