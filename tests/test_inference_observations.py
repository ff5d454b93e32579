"""Observations: what is put in comes out, packed; parts that share nothing."""

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import Ising, Potts
from nearsight.inference import Observations
from nearsight.lattices import chain, square
from nearsight.sampling import sample
from nearsight.storage import save_tensors


def random_states(*shape, q=2, seed=1):
    return np.random.default_rng(seed).integers(0, q, shape)


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("sites", "q"), [(3, 2), (8, 2), (17, 2), (5, 3), (4, 127)])
@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.int8])
def test_states_come_back_as_they_were_given(sites, q, kind):
    states = random_states(100, sites, q=q)
    given = torch.from_numpy(states).to(kind) if isinstance(kind, torch.dtype) else states.astype(kind)
    seen = Observations(chain(sites), given, n_states=q)
    assert seen.states().dtype == torch.int8 and len(seen) == 100
    assert (seen.states().numpy() == states).all()
    assert (seen.states(torch.tensor([3, 99])).numpy() == states[[3, 99]]).all()
    assert (seen.states(7).numpy() == states[7]).all()


def test_two_states_take_a_bit_per_site():
    assert Observations(square(8), random_states(1000, 64)).packed.nbytes == 8000
    assert Observations(square(8), random_states(1000, 64), chain=np.repeat(np.arange(10), 100)).chain.nbytes == 1000


def test_batches_hold_every_observation_once():
    states = random_states(1003, 10)
    seen = Observations(chain(10), states)
    assert (torch.cat(list(seen.batches(100))).numpy() == states).all()
    batches = list(seen.batches(100, rng()))
    assert [len(b) for b in batches] == [100] * 10 + [3]
    code = 1 << np.arange(10)
    shuffled = torch.cat(batches).numpy() @ code
    assert (np.sort(shuffled) == np.sort(states @ code)).all() and (shuffled != states @ code).any()


def test_a_split_by_chains_shares_no_chain_and_loses_no_row():
    seen = Observations(chain(6), random_states(10, 50, 6))
    training, validation = seen.split(0.2, rng=rng())
    assert len(training) == 400 and len(validation) == 100
    assert not set(training.chain) & set(validation.chain)
    assert training.n_chains == 8 and validation.n_chains == 2


def test_a_split_of_one_chain_keeps_its_distance_in_time():
    # The row number is written in the states.
    states = (np.arange(10000)[:, None] >> np.arange(14)) & 1
    training, validation = Observations(chain(14), states).split(0.1, rng=rng(), gap=20)
    code = 1 << np.arange(14)
    a, b = training.states().numpy() @ code, validation.states().numpy() @ code
    assert len(b) == 1000 and len(a) >= 9000 - 8 * 40
    assert min(np.abs(a[:, None] - b).min(1)) == 21
    for part, numbers in ((training, a), (validation, b)):
        steps = np.diff(numbers)[np.diff(part.chain.astype(int)) == 0]
        assert (steps == 1).all()


def test_snapshots_of_a_sampler_are_observations():
    store = sample(Potts(square(4), q=3), [1.0, 2.0], 10, seed=3, chains=2, progress=False, workers=1)
    seen = Observations.from_snapshots(store, kT=2.0)
    assert seen.kT == 2.0 and seen.n_states == 3 and seen.n_chains == 2
    assert (seen.states() == store.select(kT=2.0).states()).all()
    with pytest.raises(ValueError, match="pass kT=, one of 1, 2"):
        Observations.from_snapshots(store)
    store = sample(Ising(square(5)), 2.0, 10, seed=3, chains=2, progress=False, workers=1)
    assert (Observations.from_snapshots(store).states() == store.states()).all()


def test_observations_come_back_from_their_file(tmp_path):
    states = random_states(3, 50, 6)
    for seen in (
        Observations(chain(6), states, kT=2.5, missing=states == 1),
        Observations(square(3), random_states(20, 9, q=3), n_states=3),
    ):
        seen.save(tmp_path / "seen.safetensors")
        back = Observations.load(tmp_path / "seen.safetensors")
        assert repr(back) == repr(seen) and (back.states() == seen.states()).all() and (back.chain == seen.chain).all()
        assert back.missing is seen.missing is None or (back.missing == seen.missing).all()
    with pytest.raises(ValueError, match="load_observations"):
        save_tensors(tmp_path / "other", {"a": torch.zeros(2)})
        Observations.load(tmp_path / "other")


def test_what_was_not_seen_is_not_looked_at():
    states, missing = random_states(2, 50, 6), random_states(2, 50, 6, seed=2) == 1
    states[missing] = 99
    seen = Observations(chain(6), states, missing=missing)
    assert (seen.missing == missing.reshape(100, 6)).all()
    assert (seen.states().numpy() == np.where(missing, 0, states).reshape(100, 6)).all()
    assert (seen.take([3, 60]).missing == missing.reshape(100, 6)[[3, 60]]).all()
    never = Observations(chain(6), states * ~missing, missing=np.arange(6) == 2)
    assert never.missing.shape == (100, 6) and (never.missing.sum(0) == [0, 0, 100, 0, 0, 0]).all()


def test_states_out_of_range_are_answered_with_the_cure():
    with pytest.raises(ValueError, match=r"\(s \+ 1\) / 2"):
        Observations(chain(6), 2 * random_states(10, 6) - 1)
    with pytest.raises(ValueError, match="n_states=3"):
        Observations(chain(6), random_states(10, 6, q=3))
    with pytest.raises(ValueError, match="one lattice at a time"):
        Observations(chain(6), [np.zeros(6, int), np.zeros(5, int)])
    with pytest.raises(ValueError, match="has 6 sites"):
        Observations(chain(6), random_states(10, 5))
