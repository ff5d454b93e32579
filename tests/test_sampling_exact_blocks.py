"""Probabilities of blocks from free fermions against sums over all states and against sampled lattices."""

import itertools

import numpy as np
import pytest

from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.sampling import ExactBlocks, SwendsenWang


def enumerated(box: int, side: int, kT: float) -> tuple[np.ndarray, np.ndarray]:
    """All blocks in the middle of (box + 1)² spins whose edge is all up or all down, and their probabilities."""
    inner = box - 1
    states = 1 - 2 * ((np.arange(2 ** (inner**2))[:, None] >> np.arange(inner**2)) & 1)
    spins = np.ones((len(states), box + 1, box + 1), np.int8)
    spins[:, 1:-1, 1:-1] = states.reshape(-1, inner, inner)
    energy = -(spins[:, 1:] * spins[:, :-1]).sum((1, 2)) - (spins[:, :, 1:] * spins[:, :, :-1]).sum((1, 2))
    weight = np.exp(-energy / kT)
    low = (box + 1 - side) // 2
    blocks = spins[:, low : low + side, low : low + side].reshape(len(states), -1)
    # With the edge down everything is turned over.
    keys = np.concatenate([blocks, -blocks]) > 0
    numbers = keys @ (1 << np.arange(side**2))
    total = np.bincount(numbers, np.concatenate([weight, weight]), minlength=2 ** (side**2))
    every = 2 * ((np.arange(2 ** (side**2))[:, None] >> np.arange(side**2)) & 1) - 1
    return every.reshape(-1, side, side), total / total.sum()


@pytest.mark.parametrize(("box", "side"), [(4, 2), (5, 2), (5, 3)])
@pytest.mark.parametrize("kT", [1.3, 2.3, 5.0])
def test_probabilities_are_those_of_all_states(box, side, kT):
    blocks, exact = enumerated(box, side, kT)
    found = np.exp(ExactBlocks(side, box=box).log_probability(blocks, kT))
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize("kT", [2.0, 2.27, 2.8])
def test_probabilities_of_all_blocks_sum_to_one_in_a_large_box(kT):
    blocks = np.array(list(itertools.product((-1, 1), repeat=16))).reshape(-1, 4, 4)
    assert np.exp(ExactBlocks(4, box=12).log_probability(blocks, kT)).sum() == pytest.approx(1, abs=1e-9)


def test_likelihood_of_sampled_blocks_peaks_at_their_temperature():
    """Differences of the mean of ln P between temperatures are minus relative entropies: the truth is the largest."""
    kT, box = np.array([2.3, 2.5, 2.7]), 32
    chain = SwendsenWang(Ising(square(32)), 2.5, chains=8, seed=5)
    rows = []
    chain.sweep(40)
    for _ in range(12):
        chain.sweep(4)
        s = 2 * chain.states.numpy().reshape(-1, 32, 32) - 1
        rows += [s[:, x : x + 8, y : y + 8] for x in (0, 16) for y in (0, 16)]
    mean = ExactBlocks(8, box=box).log_probability(np.concatenate(rows), kT).mean(0)
    assert mean.argmax() == 1


def test_senseless_requests_are_refused():
    with pytest.raises(ValueError, match="2 or more sites"):
        ExactBlocks(1)
    with pytest.raises(ValueError, match="box ≥ 6"):
        ExactBlocks(4, box=5)
    exact = ExactBlocks(3, box=8)
    with pytest.raises(ValueError, match="shape"):
        exact.log_probability(np.ones((2, 4, 4)), 2.0)
    with pytest.raises(ValueError, match="> 0"):
        exact.log_probability(np.ones((2, 3, 3)), -1.0)
