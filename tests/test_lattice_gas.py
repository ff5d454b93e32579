"""The lattice gas against an independent energy, and its compiled walk against the plain one."""

import numpy as np
import pytest
import torch

from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, honeycomb, kagome, square, triangular
from nearsight.moves import Hops, LatticeGas, Walk

GASES = [
    pytest.param(lambda: LatticeGas(square(4, 3), J=0.7), id="square"),
    pytest.param(lambda: LatticeGas(square(5), J=(0.7, -0.3, 0.2)), id="three shells"),
    pytest.param(lambda: LatticeGas(square(4, periodic=False), J=-1.1), id="open"),
    pytest.param(lambda: LatticeGas(triangular(4), J=(1.0, 0.5)), id="triangular"),
    pytest.param(lambda: LatticeGas(honeycomb(3), J=1.0), id="honeycomb"),
    pytest.param(lambda: LatticeGas(kagome(3, periodic=False), J=0.4), id="kagome, open"),
    pytest.param(lambda: LatticeGas(square(5), J=(0.7, -0.3), shell=2), id="diagonal hops"),
    pytest.param(lambda: LatticeGas(chain(7), J=0.9), id="chain"),
]
every_gas = pytest.mark.parametrize("make", GASES)


def occupations(gas, rng, *batch):
    return (torch.rand(*batch, gas.lattice.n_sites, 1, generator=rng) < 0.4).double()


@every_gas
def test_differences_are_those_of_the_energies_before_and_after(make, rng):
    gas = make()
    fields = occupations(gas, rng, 3)
    possible, delta = gas.hops.possible(fields), gas.differences(fields)
    assert torch.equal(torch.isfinite(delta), possible) and bool((delta[~possible] == torch.inf).all())
    replica, move = torch.nonzero(possible, as_tuple=True)
    after = gas.hops.apply(fields[replica], move)
    expected = gas.energy(after) - gas.energy(fields)[replica]
    torch.testing.assert_close(delta[possible], expected, atol=1e-12, rtol=0)


@every_gas
def test_a_hop_back_costs_the_opposite(make, rng):
    gas = make()
    fields = occupations(gas, rng, 1)
    delta = gas.differences(fields)[0]
    move = torch.nonzero(torch.isfinite(delta))[:, 0]
    after = gas.hops.apply(fields.expand(len(move), -1, -1), move)
    back = torch.from_numpy(gas.hops.reversed)[move]
    torch.testing.assert_close(gas.differences(after).gather(-1, back[:, None])[:, 0], -delta[move])


def test_the_energy_is_that_of_a_classical_hamiltonian(rng):
    gas = LatticeGas(square(5, 4), J=0.7)
    field = occupations(gas, rng, 6)
    expected = ClassicalForceField(Holstein(gas.lattice, k=0.0, kappa=-0.7))(field).energy
    torch.testing.assert_close(gas.energy(field), expected)


def test_the_gas_is_the_ising_model_with_a_quarter_of_the_coupling(rng):
    gas = LatticeGas(square(5), J=1.2)
    field = (torch.rand(8, 25, 1, generator=rng).argsort(-2) < 9).double()
    ising = ClassicalForceField(Holstein(gas.lattice, k=0.0, kappa=-0.3))(2 * field - 1).energy
    torch.testing.assert_close((gas.energy(field) - ising).std(), torch.tensor(0.0).double(), atol=1e-12, rtol=0)


@every_gas
def test_the_compiled_walk_is_the_plain_walk(make, rng):
    gas = make()
    field = occupations(gas, rng)
    walks = gas.start_walk(field), Walk(gas, field)
    chance = np.random.default_rng(3)
    particles, count = len(walks[0].positions), 150
    attempts = (
        chance.integers(particles, size=count),
        chance.integers(gas.hops.directions, size=count),
        chance.exponential(0.6, count),
    )
    fast, plain = (walk.attempt(*attempts) for walk in walks)
    assert np.array_equal(fast.accepted, plain.accepted) and fast.accepted.any() and not fast.accepted.all()
    np.testing.assert_allclose(fast.difference, plain.difference, atol=1e-12)
    assert np.array_equal(walks[0].positions, walks[1].positions)
    assert torch.equal(walks[0].field, walks[1].field) and int(walks[0].field.sum()) == particles
    np.testing.assert_allclose(walks[0].differences(), walks[1].differences(), atol=1e-12)


@every_gas
def test_an_accepted_hop_names_every_move_whose_difference_changes(make, rng):
    gas = make()
    walk = gas.start_walk(occupations(gas, rng))
    chance = np.random.default_rng(4)
    for _ in range(30):
        before = walk.differences()
        changed = walk.accept(int(chance.choice(np.flatnonzero(np.isfinite(before)))))
        after = walk.differences()
        kept = np.setdiff1d(np.arange(len(gas.hops)), changed)
        assert np.array_equal(before[kept], after[kept])
        assert np.array_equal(walk.differences_of(changed), after[changed])
        assert np.array_equal(np.sort(walk.positions), np.flatnonzero(walk.occupied))


def test_some_differences_are_a_choice_of_all(rng):
    gas = LatticeGas(square(4), J=1.0)
    walk = Walk(gas, occupations(gas, rng))
    moves = np.array([3, 17, 40, 3])
    assert np.array_equal(walk.differences_of(moves), walk.differences()[moves])


def test_the_same_gas_on_another_lattice(rng):
    gas = LatticeGas(square(4), J=(0.7, 0.1)).on(square(6))
    assert gas.lattice.n_sites == 36 and gas.J == (0.7, 0.1)
    assert gas.config() == {"type": "LatticeGas", "lattice": square(6).config(), "J": [0.7, 0.1], "shell": 1}


def test_what_is_no_gas_is_refused(rng):
    gas = LatticeGas(square(4))
    with pytest.raises(ValueError, match="16 of 16 values are not 0 or 1"):
        gas.differences(torch.full((16, 1), 0.5))
    with pytest.raises(ValueError, match="A walk is of one replica"):
        gas.start_walk(torch.zeros(2, 16, 1))
    with pytest.raises(ValueError, match="J, one number or one for each neighbour shell, must be"):
        LatticeGas(square(4), J=float("nan"))
    with pytest.raises(ValueError, match="take three cells or more"):
        LatticeGas(square(2))
    with pytest.raises(ValueError, match="shell must be a whole number"):
        Hops(square(4), shell=0)
