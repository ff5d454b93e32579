"""Stores of snapshots: whole, independent of who computed them, and true to the equilibrium they promise."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from kills import kill_when
from nearsight.hamiltonians import BlumeCapel, EdwardsAnderson, Ising, Potts
from nearsight.lattices import square, triangular
from nearsight.sampling import Snapshots, equilibrium, ising_torus, sample
from nearsight.sampling.samplers import SAMPLERS
from nearsight.storage import CorruptFileError, DamagedFileWarning, tree_hash

MODEL = Ising(square(16))
TEMPERATURES = [1.5, 2.2, 3.2]


def drawn(path=None, model=MODEL, kT=TEMPERATURES, snapshots=70, **options) -> Snapshots:
    return sample(model, kT, snapshots, path, seed=5, progress=False, **{"workers": 1, **options})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Snapshots:
    return drawn(tmp_path_factory.mktemp("store") / "snapshots.zarr")


# --- what is stored -------------------------------------------------------------------------------------------------


def test_columns_are_those_of_the_stored_states(store):
    np.testing.assert_array_equal(MODEL.energy(store.states()).numpy(), store.energy)
    np.testing.assert_allclose(MODEL.magnetisation(store.states()).numpy(), store.magnetisation, atol=1e-15)
    torch.testing.assert_close(MODEL.from_states(store.states()), store.fields(dtype=torch.float64), rtol=0, atol=0)
    assert store.fields().shape == (210, 256, 1) and store.fields().dtype == torch.float32
    np.testing.assert_array_equal(np.unique(store.kT, return_counts=True)[1], [70, 70, 70])


@pytest.mark.parametrize(
    "model",
    [
        Ising(square(5, 3)),
        Ising(square(4), h=0.2),
        Potts(triangular(4), 3),
        Potts(square(4), 5, kind="clock"),
        BlumeCapel(square(5), D=0.5),
        EdwardsAnderson(square(4), seed=1),
    ],
    ids=repr,
)
def test_snapshots_of_any_model_have_their_energies(model, tmp_path):
    found = drawn(tmp_path / "s", model, [1.3], 10, equilibration=20, interval=2)
    np.testing.assert_allclose(model.energy(found.states()).numpy(), found.energy, rtol=1e-12, atol=1e-12)
    fields = found.fields(dtype=torch.float64)
    np.testing.assert_allclose(fields.mean(1).numpy(), found.magnetisation, atol=1e-14)
    model.field_type.check_values(fields)
    assert (found.lattice.shape, found.lattice.periodic) == (model.lattice.shape, model.lattice.periodic)
    assert found.lattice.same_kind(model.lattice)


def test_two_states_take_one_bit_a_site(tmp_path):
    found = drawn(tmp_path / "s", Ising(square(64)), [1e6], 100, equilibration=2, interval=1)
    # At infinite temperature nothing can be compressed.
    size = sum(file.stat().st_size for file in (tmp_path / "s" / "states").rglob("*") if file.is_file())
    assert 64 * 64 / 8 * 100 <= size < 64 * 64 / 8 * 100 + 4096
    assert found.states().shape == (100, 4096)


def test_rows_are_ordered_by_temperature_chain_and_time(store):
    rows = np.stack([store.kT, store.chain, store.sweep])
    np.testing.assert_array_equal(np.lexsort(rows[::-1]), np.arange(210))
    chains = {int(c): set(store.kT[store.chain == c]) for c in np.unique(store.chain)}
    assert all(len(kT) == 1 for kT in chains.values())
    assert len(chains) == 64 + 4 + 64


def test_automatic_choice_takes_clusters_near_the_transition_only(store):
    assert [u["sampler"] for u in store.attrs["units"]] == ["metropolis", "swendsen-wang", "metropolis"]
    assert [u["start"] for u in store.attrs["units"]] == ["ordered", "mixed", "mixed"]
    choose = equilibrium.choose
    assert choose(Ising(square(8), J=-2), 2 * 2.269) == "swendsen-wang"
    assert choose(Ising(square(8), J=-2), 2.269) == "metropolis"
    assert choose(Ising(square(8)), 5.0) == "heat-bath"
    # Domains reach around narrow tori at any temperature at which they occur at all.
    assert choose(Ising(square(2, 64)), 1.0) == choose(Ising(square(4, 256)), 1.0) == "swendsen-wang"
    assert choose(Ising(square(64, 64)), 1.8) == "metropolis"
    assert choose(Ising(square(8), h=0.1), 2.269) == "heat-bath"
    assert choose(Potts(triangular(3), 3), 9.0) == "swendsen-wang"
    assert choose(EdwardsAnderson(square(4), seed=1), 1.0) == "heat-bath"


# --- equilibrium ----------------------------------------------------------------------------------------------------


def test_intervals_and_sweeps_discarded_follow_the_rule(store):
    for unit in store.attrs["units"]:
        tau = max(unit["tau_energy"], unit["tau_order"])
        assert unit["interval"] == max(1, np.ceil(2 * tau))
        assert unit["discarded"] >= 40 * tau
        chains = store.select(kT=unit["kT"])
        first = chains.sweep[np.unique(chains.chain, return_index=True)[1]]
        np.testing.assert_array_equal(first, unit["discarded"] + unit["interval"])
        steps = np.diff(chains.sweep)[np.diff(chains.chain) == 0]
        np.testing.assert_array_equal(steps, unit["interval"])


def test_energies_of_snapshots_agree_with_the_exact_torus():
    found = drawn(model=Ising(square(32)), kT=[1.9, 2.27, 2.9], snapshots=300)
    exact = ising_torus(32, 32, found.temperatures).energy * 1024
    for kT, energy in zip(found.temperatures, exact, strict=True):
        values = found.energy[found.kT == kT]
        # Two autocorrelation times apart, (1 + e^-2) / (1 - e^-2) widens the error of independent snapshots.
        error = values.std() / np.sqrt(len(values)) * np.sqrt(1.31)
        assert abs(values.mean() - energy) < 3.5 * error


def test_snapshots_turn_with_the_symmetry_of_the_model_unless_asked_not_to():
    cold = dict(model=Ising(square(8)), kT=[1.0], snapshots=128, sampler="metropolis", start="ordered")
    turned, fixed = drawn(**cold), drawn(**cold, symmetrise=False)
    assert (fixed.magnetisation > 0.9).all()
    assert abs((turned.magnetisation > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(128)
    np.testing.assert_array_equal(np.abs(turned.magnetisation), fixed.magnetisation)
    np.testing.assert_array_equal(turned.energy, fixed.energy)
    colours = drawn(model=Potts(square(6), 3), kT=[0.4], snapshots=120, sampler="heat-bath", start="ordered")
    shares = np.bincount(colours.magnetisation.argmax(1), minlength=3)
    assert ((shares - 40) ** 2 / 40).sum() < 14
    assert (drawn(model=Ising(square(8), h=0.5), kT=[1.0], snapshots=8).magnetisation > 0).all()


def test_a_chain_that_does_not_equilibrate_gives_up():
    with pytest.raises(RuntimeError, match="swendsen-wang"):
        drawn(model=Ising(square(48)), kT=[2.27], snapshots=4, sampler="metropolis", max_sweeps=256)


# --- the same data, however computed --------------------------------------------------------------------------------


def same(a: Snapshots, b: Snapshots) -> bool:
    columns = ("kT", "energy", "magnetisation", "chain", "sweep")
    return (
        all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns)
        and torch.equal(a.states(), b.states())
        and a.attrs == b.attrs
    )


def test_snapshots_do_not_depend_on_the_number_of_workers(store, tmp_path):
    assert same(drawn(tmp_path / "s", workers=2), store)
    assert same(drawn(None), store)


def test_another_seed_gives_other_snapshots(store):
    other = sample(MODEL, TEMPERATURES, 70, seed=6, workers=1, progress=False)
    assert not (other.energy == store.energy).all()


def test_a_complete_store_is_opened_and_not_computed(store, monkeypatch):
    monkeypatch.setattr(equilibrium, "run_unit", None)
    assert same(drawn(store.path), store)
    with pytest.raises(FileExistsError, match="resume=True"):
        drawn(store.path, resume=False)


@pytest.mark.parametrize(
    "change",
    [{"kT": [1.5, 2.2]}, {"snapshots": 71}, {"model": Ising(square(16), J=2)}, {"sampler": "wolff"}, {"interval": 3}],
)
def test_a_store_made_differently_is_refused(store, change):
    with pytest.raises(ValueError, match="made differently"):
        drawn(store.path, **change)


def test_couplings_that_no_description_shows_are_told_apart(tmp_path):
    class Nameless(EdwardsAnderson):
        def __repr__(self) -> str:
            return "a spin glass"

    couplings = np.ones(32)
    drawn(tmp_path / "s", Nameless(square(4), couplings), [1.0], 4)
    couplings[3] = 0.5
    with pytest.raises(ValueError, match="its description does not show"):
        drawn(tmp_path / "s", Nameless(square(4), couplings), [1.0], 4)


def test_sampling_killed_at_any_moment_resumes_to_the_same_store(tmp_path):
    kT, path = [1.4, 1.5, 2.2, 2.3, 2.4, 3.2, 3.4], tmp_path / "snapshots.zarr"
    code = (
        "from nearsight.hamiltonians import Ising\n"
        "from nearsight.lattices import square\n"
        "from nearsight.sampling import sample\n"
        f"sample(Ising(square(16)), {kT}, 70, {str(path)!r}, seed=5, workers=1, progress=False)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        kill_when(process, lambda: len(list(tmp_path.glob("*.parts/0*.safetensors"))) >= 2)
    if path.exists():
        pytest.skip("the run was complete when it was killed")
    with pytest.raises(FileNotFoundError, match="unfinished"):
        Snapshots.open(path)
    resumed, whole = drawn(path, kT=kT), drawn(tmp_path / "whole", kT=kT)
    assert same(resumed, whole)
    assert tree_hash(path) == tree_hash(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["snapshots.zarr", "whole"]


def test_finished_units_are_not_computed_again_and_damaged_ones_are(store, tmp_path, monkeypatch):
    path, made, run = tmp_path / "s", [], equilibrium.run_unit

    def dying(model, unit, *rest):
        if len(made) == 2:
            made.append("dead")
            raise KeyboardInterrupt
        made.append(unit.kT)
        return run(model, unit, *rest)

    monkeypatch.setattr(equilibrium, "run_unit", dying)
    with pytest.raises(KeyboardInterrupt):
        drawn(path)
    part = tmp_path / "s.parts" / "000001.safetensors"
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.warns(DamagedFileWarning, match=r"s\.parts/000001\.safetensors"):
        assert same(drawn(path), store)
    assert made == [1.5, 2.2, "dead", 2.2, 3.2]


@pytest.mark.parametrize("sampler", ["metropolis", "swendsen-wang"])
def test_a_unit_that_was_killed_goes_on_from_what_it_had_drawn(tmp_path, monkeypatch, sampler):
    """Sweeps after the resumption are counted: those before are not made again."""
    kind = SAMPLERS[sampler]
    whole = drawn(None, kT=[2.3], snapshots=30, sampler=sampler, chains=4)
    path, sweep, made = tmp_path / "s", kind.sweep, []
    monkeypatch.setattr(equilibrium, "KEEP", 0.0)
    last = int(whole.sweep.max())

    def dying(self, number=1):
        made.append(number)
        if sum(made) > 0.9 * last and len(made) < 10**6:
            raise KeyboardInterrupt
        sweep(self, number)

    monkeypatch.setattr(kind, "sweep", dying)
    with pytest.raises(KeyboardInterrupt):
        drawn(path, kT=[2.3], snapshots=30, sampler=sampler, chains=4)
    assert [p.name for p in path.with_name("s.parts").glob("unf*")] == ["unfinished-000000.safetensors"]
    before, again = sum(made), []
    monkeypatch.setattr(kind, "sweep", lambda self, number=1: (again.append(number), sweep(self, number))[1])
    assert same(drawn(path, kT=[2.3], snapshots=30, sampler=sampler, chains=4), whole)
    assert sum(again) < 0.15 * last < before
    assert not path.with_name("s.parts").exists()


# --- reading --------------------------------------------------------------------------------------------------------


def test_any_rows_can_be_read(store):
    everything = store.fields()
    for index in (slice(3, 40, 7), [5, 2, 209, 2], np.array([0]), slice(0, 0)):
        assert torch.equal(store.fields(index), everything[index])
    assert store.fields(-1).shape == (256, 1) and torch.equal(store.fields(-1), everything[-1])
    with pytest.raises(IndexError):
        store.fields(210)


def test_batches_hold_every_snapshot_once(store, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    for generator in (None, rng):
        batches = list(store.batches(32, rng=generator))
        assert [len(b.rows) for b in batches] == [32] * 6 + [18]
        rows = np.concatenate([b.rows for b in batches])
        np.testing.assert_array_equal(np.sort(rows), np.arange(210))
        assert (rows == np.arange(210)).all() == (generator is None)
        assert torch.equal(torch.cat([b.fields for b in batches]), store.fields(rows))
    part = store.select(kT=2.2)
    assert torch.equal(torch.cat([b.fields for b in part.batches(9)]), part.fields())
    again = np.concatenate([b.rows for b in store.batches(32, rng=torch.Generator().manual_seed(0))])
    np.testing.assert_array_equal(
        again, np.concatenate([b.rows for b in store.batches(32, rng=torch.Generator().manual_seed(0))])
    )


def test_batches_read_every_chunk_once(tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.storage._zarr.CHUNK_BYTES", 320)
    store = drawn(tmp_path / "s")
    read = []
    original = Snapshots.read
    monkeypatch.setattr(Snapshots, "read", lambda self, name, rows: read.append(rows) or original(self, name, rows))
    assert sum(len(b.rows) for b in store.batches(17, rng=torch.Generator().manual_seed(1))) == 210
    chunks = np.concatenate([np.unique(rows // 10) for rows in read])
    assert len(chunks) == len(set(chunks.tolist())) == 21


def test_splits_share_no_chain(store):
    train, test = store.split(0.25, rng=torch.Generator().manual_seed(0))
    assert not set(train.chain) & set(test.chain)
    assert len(train) + len(test) == 210
    assert set(test.kT) == set(TEMPERATURES)
    assert 0.15 < len(test) / 210 < 0.35
    assert repr(train).startswith(f"{len(train)} snapshots of Ising")


def test_selections_are_what_they_say(store):
    part = store.select(kT=[1.5, 3.2]).select(np.arange(0, 140, 2))
    assert len(part) == 70 and set(part.kT) == {1.5, 3.2}
    np.testing.assert_array_equal(part.energy, MODEL.energy(part.states()).numpy())
    assert set(store.select(chain=66).chain) == {66}
    with pytest.raises(ValueError, match=r"only at 1\.5, 2\.2, 3\.2"):
        store.select(kT=2.0)


# --- damage and bad input -------------------------------------------------------------------------------------------


def test_damaged_and_missing_files_are_named(tmp_path):
    drawn(tmp_path / "s", kT=[3.0], snapshots=5, equilibration=2, interval=1)
    chunk = tmp_path / "s" / "states" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:10] + bytes([whole[10] ^ 1]) + whole[11:])
    with pytest.raises(CorruptFileError, match=r"states/c/0/0 is damaged"):
        Snapshots.open(tmp_path / "s").states()
    chunk.unlink()
    with pytest.raises(CorruptFileError, match=r"states/c/0/0 is damaged .it is missing"):
        Snapshots.open(tmp_path / "s")
    chunk.write_bytes(whole)
    assert len(Snapshots.open(tmp_path / "s").states()) == 5
    (tmp_path / "s" / "zarr.json").write_text("{")
    with pytest.raises(CorruptFileError, match="not a whole zarr group"):
        Snapshots.open(tmp_path / "s")


def test_what_is_no_store_is_refused(tmp_path):
    import zarr

    with pytest.raises(FileNotFoundError, match="Check the path"):
        Snapshots.open(tmp_path / "nothing")
    zarr.create_group(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="no store of snapshots"):
        Snapshots.open(tmp_path / "other")
    zarr.create_group(str(tmp_path / "newer"), attributes={"snapshots": 99})
    with pytest.raises(ValueError, match="format 99"):
        Snapshots.open(tmp_path / "newer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kT": [0.0]}, "> 0"),
        ({"kT": []}, "different temperatures"),
        ({"kT": [2.0, 2.0]}, "not for one twice"),
        ({"snapshots": 0}, "snapshots must be"),
        ({"chains": 2.5}, "chains must be"),
        ({"sampler": "gibbs"}, "metropolis"),
        ({"start": "cold"}, "'ordered'"),
        ({"interval": 0}, "interval"),
        ({"equilibration": -1}, "equilibration"),
        ({"workers": -1}, "workers"),
        ({"model": Ising(square(4), h=1.0), "sampler": "wolff"}, "cluster"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(change, message, tmp_path):
    with pytest.raises((TypeError, ValueError), match=f"(?i){message}"):
        drawn(tmp_path / "s", **change)
    assert not list(tmp_path.iterdir())
