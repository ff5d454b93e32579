"""What every rate model in equilibrium must satisfy. A member signs by one line in ``RATE_MODELS``."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from nearsight.dynamics import HopRates, RateModel, SpinFlips
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, square
from nearsight.moves import LatticeGas
from nearsight.solvers import Dense

KT = 0.8


def ising_grid() -> ForceField:
    return ClassicalForceField(Holstein(square(3), k=0.0, kappa=-0.4))


def electrons_on_a_ring() -> ForceField:
    """Free energies of electrons among Ising variables: long-ranged and far from pairwise."""
    return ExactForceField(Holstein(chain(4), g=1.1, k=0.0, kappa=0.1), Dense(filling=0.5, kT=0.1))


def all_signs(sites: int) -> Tensor:
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=sites)), dtype=torch.float64)[..., None]


def lattice_gas() -> ForceField:
    """E = -0.7 Σ_<ij> n_i n_j, from a model that knows nothing of hops."""
    return ClassicalForceField(Holstein(square(3), k=0.0, kappa=-0.7))


def all_occupations(sites: int) -> Tensor:
    return 0.5 * (all_signs(sites) + 1)


# The model, its energy, and every state it can be in.
RATE_MODELS = [
    pytest.param(lambda f, rule=rule: SpinFlips(f, kT=KT, rule=rule), physics, all_signs, id=f"{rule} {name}")
    for rule in SpinFlips.RULES
    for name, physics in {"Ising 3 × 3": ising_grid, "electrons, ring of 4": electrons_on_a_ring}.items()
] + [
    pytest.param(
        lambda f, rule=rule: HopRates(LatticeGas(f.lattice, J=0.7), kT=KT, rule=rule),
        lattice_gas,
        all_occupations,
        id=f"{rule} lattice gas 3 × 3",
    )
    for rule in SpinFlips.RULES
]
every_model = pytest.mark.parametrize(("make", "physics", "states"), RATE_MODELS)


def targets(model: RateModel, fields: Tensor) -> Tensor:
    """Where every move of every field leads: ``(field, move, site, component)``."""
    repeated = fields[:, None].expand(-1, model.moves, -1, -1).contiguous()
    return model.apply(repeated, torch.arange(model.moves).expand(len(fields), -1))


@every_model
def test_detailed_balance_holds_for_every_pair_of_states(make, physics, states):
    forcefield = physics()
    model, fields = make(forcefield), states(forcefield.lattice.n_sites)
    energy = forcefield(fields).energy
    number = {tuple(f.flatten().tolist()): i for i, f in enumerate(fields)}
    flow = torch.zeros(len(fields), len(fields), dtype=torch.float64)
    rates, reached = model.rates(fields), targets(model, fields)
    for a in range(len(fields)):
        for move in range(model.moves):
            flow[a, number[tuple(reached[a, move].flatten().tolist())]] += rates[a, move]
    flow *= torch.softmax(-energy / KT, 0)[:, None]
    torch.testing.assert_close(flow, flow.T, atol=1e-14, rtol=1e-10)
    assert float(flow.sum()) > 0


@every_model
def test_rates_are_finite_and_not_negative(make, physics, states):
    forcefield = physics()
    rates = make(forcefield).rates(states(forcefield.lattice.n_sites))
    assert rates.dtype == torch.float64
    assert bool(torch.isfinite(rates).all()) and bool((rates >= 0).all())


@every_model
def test_a_batch_of_rates_equals_a_loop(make, physics, states):
    forcefield = physics()
    model = make(forcefield)
    fields = states(forcefield.lattice.n_sites)[:6].reshape(2, 3, -1, 1)
    batch = model.rates(fields)
    assert batch.shape == (2, 3, model.moves)
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(batch[i, j], model.rates(fields[i, j]), atol=1e-13, rtol=0)


@every_model
def test_a_move_makes_a_new_field_that_is_a_state(make, physics, states):
    forcefield = physics()
    model, fields = make(forcefield), states(forcefield.lattice.n_sites)[3:8]
    given = fields.clone()
    reached = targets(model, fields)
    model.check(reached)
    assert torch.equal(fields, given)
    new = (reached != fields[:, None]).flatten(2).any(-1)
    assert torch.equal(new, model.rates(fields) > 0)


@every_model
def test_precision_of_the_field_is_kept_and_does_not_change_the_rates(make, physics, states):
    forcefield = physics()
    model, fields = make(forcefield), states(forcefield.lattice.n_sites)[:5]
    assert torch.equal(model.rates(fields.float()), model.rates(fields))
    assert model.apply(fields.float(), torch.zeros(5, dtype=torch.int64)).dtype == torch.float32


@every_model
def test_a_field_that_is_no_state_is_refused(make, physics, states):
    forcefield = physics()
    fields = states(forcefield.lattice.n_sites)[0].clone()
    fields[1] = 0.3
    with pytest.raises(ValueError, match=r"1 of \d+ values"):
        make(forcefield).check(fields)


@every_model
def test_the_process_moves_to_another_lattice(make, physics, states):
    forcefield = physics()
    model = make(forcefield)
    larger = forcefield.lattice.resized(6)
    there = model.on(larger)
    assert there.lattice.coincides(larger) and there.moves * model.lattice.n_sites == model.moves * larger.n_sites
    physics = ("forcefield", "energies")
    assert {k: v for k, v in there.config().items() if k not in physics} == {
        k: v for k, v in model.config().items() if k not in physics
    }
