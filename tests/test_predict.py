"""Predictions of learned energies against exact finite lattices, and their two error bars against repetition."""

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import Ising, Potts, TileModel
from nearsight.inference import Observations, Terms, learn_couplings, predict
from nearsight.inference.predict import _responses
from nearsight.lattices import square
from nearsight.sampling import DensityOfStates, enumerate_states, ising_torus, sample

LATTICE = square(4)


def exact(J: float, kT: np.ndarray, lattice=LATTICE) -> dict[str, np.ndarray]:
    states = Ising(lattice, J=J)
    levels: DensityOfStates = enumerate_states(states, {"order": lambda a: (2.0 * a - 1).mean(-1).abs()})
    found = levels.thermodynamics(kT)
    names = ("energy", "free_energy", "entropy", "specific_heat")
    return {name: getattr(found, name) for name in names} | {"order": levels.average("order", kT)}


def observed(count: int, seed: int, kT: float = 2.5) -> Observations:
    drawn = sample(Ising(LATTICE), kT, count, seed=seed, progress=False, workers=1)
    return Observations(LATTICE, drawn.states(), kT=kT, chain=np.arange(count))


def test_energies_integrate_to_the_exact_free_energy():
    kT = np.array([4.0, 2.0, 2.6])
    found = predict(Ising(LATTICE), square(6), kT, snapshots=2000, seed=3, progress=False)
    torus = ising_torus(6, 6, kT)
    for name in ("energy", "free_energy", "entropy", "specific_heat"):
        pull = (found[name] - getattr(torus, name)) / found[f"{name}_sampling"]
        assert float(abs(pull).max()) < 4, name
        assert float(found[f"{name}_learning"].max()) == 0
    assert float(found.free_energy_sampling.max()) < 2e-3
    assert (found.temperature == kT).all()


def test_order_and_heat_are_those_of_all_states():
    kT = np.array([2.0, 3.0])
    found, states = predict(Ising(LATTICE), LATTICE, kT, snapshots=4000, seed=5, progress=False), exact(1.0, kT)
    for name, value in states.items():
        assert float(abs((found[name] - value) / found[f"{name}_sampling"]).max()) < 4, name


def test_responses_are_derivatives_by_the_coupling():
    kT, h = 2.5, 1e-3
    up, down = exact(1 + h, np.array([kT])), exact(1 - h, np.array([kT]))
    learned = learn_couplings(observed(4000, 1), Terms.pairs(LATTICE, 1))
    here = sample(Ising(LATTICE), kT, 40_000, seed=2, progress=False, workers=1)
    response = _responses(learned, Ising(LATTICE), here, kT)
    for name in up:
        wanted = float((up[name] - down[name])[0] / (2 * h))
        assert float(response[name][0]) == pytest.approx(wanted, rel=0.06, abs=0.01), name


@pytest.mark.parametrize("draws", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_errors_hold_the_truth_as_often_as_they_say(draws):
    """From 300 snapshots each: with both errors 95 % of predictions of another temperature and size are right."""
    lattice, kT = square(6), np.array([3.2])
    torus = ising_torus(6, 6, kT)
    right = []
    for seed in range(draws):
        learned = learn_couplings(observed(300, 100 + seed), Terms.pairs(LATTICE, 1))
        found = predict(learned, lattice, kT, snapshots=400, nodes=6, seed=seed, progress=False)
        for name in ("energy", "free_energy", "entropy"):
            error = np.hypot(found[f"{name}_sampling"], found[f"{name}_learning"])
            right.append(abs(float(found[name][0] - getattr(torus, name)[0])) < 1.96 * float(error[0]))
            assert float(found[f"{name}_learning"][0]) > 0
    # Three values of a draw are correlated: count draws, not values.
    expected, spread = 0.95, np.sqrt(0.95 * 0.05 / draws)
    assert expected - 4 * spread < np.mean(right) <= 1


def test_a_table_and_potts_states_are_carried_to_other_lattices():
    tiles = TileModel.from_couplings(square(6), {((0, 0), (0, 1)): 1.0}, shape=(3, 3), stride=(1, 1))
    found = predict(tiles, square(8), [3.0], snapshots=1000, nodes=6, seed=1, progress=False)
    torus = ising_torus(8, 8, np.array([3.0]))
    assert abs(float(found.energy[0] - torus.energy[0])) < 4 * float(found.energy_sampling[0])
    potts = predict(Potts(square(3), q=3), square(3), [1.5], snapshots=2000, nodes=6, seed=1, progress=False)
    levels = enumerate_states(Potts(square(3), q=3)).thermodynamics(np.array([1.5]))
    assert abs(float(potts.entropy[0] - levels.entropy[0])) < 4 * float(potts.entropy_sampling[0])


def test_what_is_kept_is_gone_on_with(tmp_path):
    options = {"snapshots": 128, "nodes": 3, "seed": 1, "progress": False}
    first = predict(Ising(LATTICE), LATTICE, [3.0], path=tmp_path / "kept", **options)
    again = predict(Ising(LATTICE), LATTICE, [3.0], path=tmp_path / "kept", **options)
    assert first.equals(again) and first.equals(predict(Ising(LATTICE), LATTICE, [3.0], **options))


def test_couplings_know_their_lattice():
    learned = learn_couplings(observed(1000, 1), Terms.pairs(LATTICE, by="bond"))
    assert len(predict(learned, LATTICE, [3.0], snapshots=128, nodes=3, seed=1, progress=False).temperature) == 1
    with pytest.raises(ValueError, match="its own coupling"):
        predict(learned, square(6), [3.0], snapshots=128, nodes=3, seed=1, progress=False)
    with pytest.raises(TypeError, match="learn_couplings and distil"):
        predict(torch.zeros(3), LATTICE, [3.0], seed=1)
