"""A walk flat in the energy reaches every level and prefers no state of it; errors of energies as they are defined."""

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import EdwardsAnderson, Ising, Potts, TileModel
from nearsight.inference import energy_errors, reference_set
from nearsight.lattices import square
from nearsight.sampling import enumerate_states, ising_levels

MODEL = Ising(square(4))
FOUND = reference_set(MODEL, per_level=2000, seed=1)
BOND, PLAQUETTE = ((0, 0), (0, 1)), ((0, 0), (0, 1), (1, 0), (1, 1))
TILES = TileModel.from_couplings(square(4), {BOND: 1.0, PLAQUETTE: 0.5})
FAR = Ising(square(4), J=(1.0, 0.5, 0.25, 0.5))  # fifteen neighbours: costs are added up


@pytest.mark.parametrize(
    "model", [MODEL, Potts(square(3), q=3), Ising(square(3), J=(1.0, 0.5), h=0.25), TILES, FAR], ids=repr
)
def test_every_level_holds_states_of_its_energy(model):
    dos = enumerate_states(model)
    found = reference_set(model, dos, per_level=50, seed=2)
    assert len(found.energies) == len(dos.energies)
    torch.testing.assert_close(model.energy(found.states), torch.from_numpy(dos.energies)[:, None].expand(-1, 50))


def test_states_of_a_level_are_equally_likely():
    # 32 states at the second level, one spin turned; a walk gives successive ones correlated, so count loosely.
    level = FOUND.states[1].numpy()
    names, counts = np.unique(level @ (1 << np.arange(16)), return_counts=True)
    assert len(names) == ising_levels(4, 4).counts[1] == 32
    assert ((counts - 62.5) ** 2 / 62.5).sum() < 31 + 5 * np.sqrt(62) * 2


def test_the_exact_energy_has_no_error_whatever_its_constant():
    found = energy_errors(lambda states: MODEL.energy(states) + 7.0, FOUND)
    assert found.rmse < 1e-12 and found.best < 1e-12 and found.constant == pytest.approx(7.0, abs=1e-12)


def test_errors_of_a_wrong_coupling_are_those_of_its_energies():
    # 1.1 E - E = 0.1 E; random spins have mean energy 0, and so has the symmetric set of levels of an even torus.
    found = energy_errors(Ising(square(4), J=1.1), FOUND)
    expected = 0.1 * np.sqrt(np.mean(FOUND.energies**2))
    assert found.rmse == pytest.approx(expected, rel=1e-3) and found.best == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(found.bias, 0.1 * FOUND.energies - found.constant, atol=1e-9)
    assert found.spread.max() < 1e-9 and abs(found.constant) < 5 * 0.1 * np.sqrt(32 / 2**14)


def test_the_best_constant_is_never_worse():
    disordered = EdwardsAnderson(square(4), seed=1)
    found = energy_errors(disordered, FOUND)
    assert 0 < found.best <= found.rmse


def test_an_energy_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite for"):
        energy_errors(lambda states: torch.where(states.sum(-1) == 16, torch.inf, 0.0), FOUND)
