"""Metropolis's rule watched every few attempts: Boltzmann's distribution, one flip per attempt at most."""

import importlib

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import BlumeCapel, EdwardsAnderson, Ising, Potts, TileModel
from nearsight.inference import _flips, observe
from nearsight.lattices import chain, square, triangular
from nearsight.sampling import agreement, enumerate_states, mean_and_error

observed = importlib.import_module("nearsight.inference.observe")
BOND, PLAQUETTE = ((0, 0), (0, 1)), ((0, 0), (0, 1), (1, 0), (1, 1))
TILES = TileModel.from_couplings(square(4), {BOND: 1.0, PLAQUETTE: 0.4})

MODELS = [
    Ising(square(4)),
    Ising(triangular(3), J=(0.5, -0.25), h=0.3),
    Potts(square(3), q=3),
    BlumeCapel(square(2), D=0.5),
    EdwardsAnderson(square(4), seed=2),
    TILES,
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_observations_follow_boltzmann(model):
    chains, kT = 8, 2.5
    seen = observe(model, kT, 8 * 6000, chains=chains, period=5, seed=1)
    energy = model.energy(seen.states()).numpy().reshape(chains, -1)
    dos = enumerate_states(model)
    for power in (1, 2):
        mean, error = mean_and_error(energy**power)
        assert abs(mean - dos.average(dos.energies**power, kT)) < 4.5 * error
    assert agreement(energy) > 1e-4


def test_successive_observations_differ_in_one_site_per_attempt_at_most():
    for model in (Ising(square(4)), Potts(square(4), q=4)):
        for period in (1, 3):
            states = observe(model, 5.0, 500, chains=1, period=period, seed=3).states()
            changed = (states[1:] != states[:-1]).sum(-1)
            assert 0 < changed.max() <= period


def test_a_chain_does_not_depend_on_threads():
    threads = torch.get_num_threads()
    first = observe(Ising(square(4)), 2.0, 1003, chains=4, seed=9)
    try:
        torch.set_num_threads(3)
        second = observe(Ising(square(4)), 2.0, 1003, chains=4, seed=9)
    finally:
        torch.set_num_threads(threads)
    assert (first.packed == second.packed).all()
    assert np.bincount(first.chain).tolist() == [251, 251, 251, 250]
    assert (first.packed != observe(Ising(square(4)), 2.0, 1003, chains=4, seed=10).packed).any()


@pytest.mark.parametrize("model", [Ising(chain(11), J=(1.0, 0.3), h=0.2), Potts(square(4), q=3)], ids=repr)
def test_tables_and_sums_over_bonds_accept_the_same(model, monkeypatch):
    first = observe(model, 2.0, 400, chains=2, seed=4)
    monkeypatch.setattr(_flips, "_LARGEST", 1)
    second = observe(model, 2.0, 400, chains=2, seed=4)
    # Tables draw no offset where there is one other state, so that the streams of Ising spins part.
    if model.n_states > 2:
        assert (first.packed == second.packed).all()
    else:
        a, b = (float(model.energy(x.states()).mean()) for x in (first, second))
        assert abs(a - b) < 0.3 * abs(a)


def test_tiles_of_bonds_walk_as_the_bonds_do(monkeypatch):
    bonds, tiles = Ising(square(4)), TileModel.from_couplings(square(4), {BOND: 1.0})
    monkeypatch.setattr(_flips, "_LARGEST", 1)  # costs of bonds are added up, too
    monkeypatch.setattr(observed, "sample", lambda *_, **__: Start())
    first, second = (observe(model, 2.0, 4000, chains=2, seed=4) for model in (bonds, tiles))
    assert (first.packed == second.packed).all()


class Start:
    """The first states, which samplers would draw in a different order for tiles."""

    def states(self):
        return torch.randint(2, (2, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
