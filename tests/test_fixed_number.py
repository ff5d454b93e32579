"""Electrons at fixed number from electrons at fixed chemical potential."""

import pytest
import torch

from nearsight.forcefields import ExactForceField, FixedNumber, LearnedForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square, triangular
from nearsight.networks import GroupCNN
from nearsight.solvers import Dense

G = 1.5


def electrons(model, kT=0.05, **ensemble):
    return ExactForceField(model, Dense(kT=kT, **ensemble)).electrons


def fields(model, rng, batch=4):
    return 0.3 + 0.7 * torch.randn(batch, model.lattice.n_sites, 1, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize("filling", [0.1, 0.49, 0.5, 0.8])
@pytest.mark.parametrize("lattice", [square(6), triangular(5)], ids=["square", "triangular"])
def test_it_is_the_canonical_ensemble(lattice, filling, spins, rng):
    """Forces, free energies and μ of a solver that holds the number itself."""
    model = Holstein(lattice, g=G, spins=spins)
    field, mu0 = fields(model, rng), -0.2
    held = FixedNumber(electrons(model, mu=mu0), spins * G * (filling - 0.5), tolerance=1e-10)
    exact = electrons(model, filling=filling)
    force, energy = held(field)
    torch.testing.assert_close(force, exact(field).force, atol=1e-8, rtol=0)
    number = spins * filling * lattice.n_sites
    torch.testing.assert_close(energy + mu0 * number, exact(field).energy, atol=1e-10, rtol=1e-12)
    torch.testing.assert_close(mu0 + G * held.shift(field), exact.electrons(field).mu, atol=1e-7, rtol=0)


def test_a_uniform_shift_of_the_field_moves_the_energy_and_nothing_else(rng):
    model = Holstein(square(5), g=G)
    held = FixedNumber(electrons(model, mu=0.0), 0.3, tolerance=1e-11)
    field = fields(model, rng)
    here, there = held(field), held(field + 0.37)
    torch.testing.assert_close(there.force, here.force, atol=1e-9, rtol=0)
    torch.testing.assert_close(here.energy - there.energy, torch.full((4,), 0.37 * 0.3 * 25).double())


def test_every_field_of_a_batch_finds_its_own_shift(rng):
    model = Holstein(square(4), g=G)
    held = FixedNumber(electrons(model, mu=0.4), 0.2, tolerance=1e-10)
    field = fields(model, rng, 6).reshape(2, 3, 16, 1)
    field[1] += 3.0
    alone = torch.stack([held.shift(f) for f in field.flatten(0, 1)]).reshape(2, 3)
    torch.testing.assert_close(held.shift(field), alone, atol=1e-9, rtol=0)
    assert held.shift(field).std() > 1


def test_a_network_without_an_energy_adds_up_to_the_number(rng):
    lattice = square(8)
    network = GroupCNN(lattice, Holstein(lattice).field_type, channels=3, head="force", rng=rng)
    student = LearnedForceField(network).eval()
    field = fields(Holstein(lattice), rng).float()
    plain = student(field).force.mean(-2)
    target = float(plain.mean()) + 1e-3
    force, energy = FixedNumber(student, target)(field)
    assert energy is None and plain.std() > 1e-5
    torch.testing.assert_close(force.mean(-2), torch.full((4, 1), target), atol=2e-6, rtol=0)


def test_at_mu_itself_one_evaluation_is_enough(rng):
    model = Holstein(square(4), g=G)
    inner = electrons(model, mu=0.3)
    field = fields(model, rng, 1)
    calls = []
    plain, inner.evaluate = inner.evaluate, lambda x: calls.append(1) or plain(x)
    FixedNumber(inner, float(plain(field).force.mean()))(field)
    assert len(calls) == 1


def test_densities_out_of_reach_or_with_jumps_are_refused(rng):
    model = Holstein(square(4), g=G)
    field = fields(model, rng)
    with pytest.raises(ArithmeticError, match="beyond the training data"):
        FixedNumber(electrons(model, mu=0.0), 0.6 * G)(field)
    with pytest.raises(ArithmeticError, match="take kT > 0"):
        FixedNumber(electrons(model, kT=0.0, mu=0.0), 0.03)(field)
    with pytest.raises(ValueError, match="smaller time step"):
        FixedNumber(electrons(model, mu=0.0), 0.0)(field.log())
    with pytest.raises(ValueError, match="component must be a whole number ≥ 0 and ≤ 0"):
        FixedNumber(electrons(model, mu=0.0), 0.0, component=1)
    with pytest.raises(ValueError, match="finite"):
        FixedNumber(electrons(model, mu=0.0), float("nan"))
