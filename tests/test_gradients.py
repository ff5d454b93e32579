"""Energies as functions of the field: what PyTorch makes of their gradients."""

import gc
import math
import weakref

import pytest
import torch
from scipy.optimize import brentq

from nearsight.descriptors import Irreps
from nearsight.fields import occupation, scalar
from nearsight.forcefields import (
    ClassicalForceField,
    ExactForceField,
    FixedNumber,
    ForceField,
    Forces,
    LearnedForceField,
)
from nearsight.hamiltonians import Heisenberg, Holstein
from nearsight.lattices import chain, square
from nearsight.moves import LatticeGas, LearnedMoves
from nearsight.networks import MLP, GroupCNN
from nearsight.solvers import Dense


def test_the_dimerised_chain_is_found_by_lbfgs(rng):
    """Half filling, kT = 0, 8 sites: bands ±√(4 cos²p + g²q²) in Q_i = ±q, whose minimum solves one equation for q."""
    g, k, momenta = 1.5, 1.0, [2 * math.pi * n / 8 for n in range(8)]

    def band(q: float, p: float) -> float:
        return math.sqrt(4 * math.cos(p) ** 2 + (g * q) ** 2)

    q = brentq(lambda q: k - g**2 * sum(1 / band(q, p) for p in momenta) / 16, 1e-3, 5.0, xtol=1e-14)
    lowest = 8 * k * q**2 / 2 - sum(band(q, p) for p in momenta) / 2

    exact = ExactForceField(Holstein(chain(8), g=g, k=k, kappa=0.0), Dense(filling=0.5, kT=0.0))
    field = (0.2 * torch.randn(8, 1, generator=rng, dtype=torch.float64)).requires_grad_()
    search = torch.optim.LBFGS(
        [field], max_iter=200, tolerance_grad=1e-10, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure():
        search.zero_grad()
        energy = exact(field).energy
        energy.backward()
        return energy.detach()

    search.step(closure)
    pattern = q * torch.tensor([(-1.0) ** i for i in range(8)], dtype=torch.float64)[:, None]
    found = field.detach() * torch.sign(field[0, 0].detach())
    torch.testing.assert_close(found, pattern, atol=1e-6, rtol=0)
    assert float(exact(field.detach()).energy) == pytest.approx(lowest, abs=1e-10)


class Detached(ForceField):
    """Somebody's force field, which computes its energy without a graph: E = Σ cosh Q."""

    def __init__(self, lattice):
        super().__init__()
        self.lattice, self.components = lattice, 1

    def evaluate(self, field):
        q = field.detach()
        return Forces(-torch.sinh(q), torch.cosh(q).sum((-2, -1)))

    def on(self, lattice):
        return type(self)(lattice)


def test_force_fields_written_without_a_graph_are_connected_too(rng):
    field = torch.randn(3, 9, 1, generator=rng, dtype=torch.float64).requires_grad_()
    force, energy = (Detached(square(3)) + Detached(square(3)))(field)
    (gradient,) = torch.autograd.grad((energy * torch.tensor([1.0, 2.0, 3.0])).sum(), field)
    expected = 2 * torch.tensor([1.0, 2.0, 3.0])[:, None, None] * torch.sinh(field.detach())
    torch.testing.assert_close(gradient, expected)
    with pytest.raises(RuntimeError, match=r"The forces of Detached.*no derivatives"):
        force.sum().backward()


def test_constant_forces_have_the_derivative_zero():
    springs = ClassicalForceField(Heisenberg(square(3), J=0.0, B=0.3))
    field = torch.ones(9, 3, dtype=torch.float64, requires_grad=True)
    (change,) = torch.autograd.grad(springs(field).force.sum(), field)
    assert torch.equal(change, torch.zeros_like(field))


def student(lattice) -> LearnedForceField:
    network = MLP((12, 12))
    return LearnedForceField(Irreps(lattice, scalar(), cutoff=2.3), network).double().eval()


def test_a_learned_force_field_stays_differentiable_beyond_one_tile(monkeypatch, rng):
    forcefield, field = student(square(6)), torch.randn(36, 1, generator=rng, dtype=torch.float64)
    whole = torch.autograd.functional.hessian(lambda q: forcefield(q).energy, field)
    monkeypatch.setattr(type(forcefield.model), "tile", 9)
    assert forcefield._tiled(field)
    torch.testing.assert_close(torch.autograd.functional.hessian(lambda q: forcefield(q).energy, field), whole)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(lambda q: forcefield(q).force, field), -whole, atol=1e-12, rtol=0
    )


def test_single_precision_networks_give_gradients_in_the_precision_of_the_field(rng):
    forcefield = student(square(6)).float()
    field = torch.randn(36, 1, generator=rng, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(forcefield(field).energy, field)
    assert gradient.dtype == torch.float64
    torch.testing.assert_close(gradient, -forcefield(field.detach()).force, atol=1e-6, rtol=0)


def test_a_fit_through_a_fixed_number_knows_that_the_shift_follows_the_parameters(rng):
    """Against differences of force and energy when one weight changes."""
    learned = student(square(4))
    whole = FixedNumber(
        learned + ClassicalForceField(Holstein(square(4), k=0.0, kappa=-1.0)), 0.1, tolerance=1e-13
    ).train()
    field, weight = torch.randn(2, 2, 16, 1, generator=rng, dtype=torch.float64)
    parameter = next(learned.model.network.parameters())

    def loss():
        force, energy = whole(field)
        return (weight * force).sum() + energy[0] - 2 * energy[1]

    (gradient,) = torch.autograd.grad(loss(), parameter)
    step = 1e-4
    with torch.no_grad():
        place = int(gradient.abs().argmax())
        values = []
        for sign in (1, -2, 1):
            parameter.view(-1)[place] += sign * step
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient.view(-1)[place]), rel=1e-6)


def test_a_graph_lives_no_longer_than_its_energy(rng):
    for forcefield in (ExactForceField(Holstein(square(4)), Dense(filling=0.5, kT=0.1)), student(square(4))):
        field = torch.randn(16, 1, generator=rng, dtype=torch.float64).requires_grad_()
        answer = forcefield(field)
        gone = weakref.ref(answer.energy)
        gc.disable()  # no cycles: memory is free without waiting for the collector
        try:
            del answer
            assert gone() is None
        finally:
            gc.enable()


def test_what_has_no_derivatives_refuses_fields_that_want_them():
    lattice = square(4)
    field = torch.zeros(16, 1, dtype=torch.float64)
    field[:5] = 1.0
    field.requires_grad_()
    network = GroupCNN(lattice, occupation(), channels=2)
    for energies in (LatticeGas(lattice, J=1.0), LearnedMoves(LearnedForceField(network).double())):
        for ask in (energies.differences, energies.start_walk):
            with pytest.raises(ValueError, match=r"pass field\.detach\(\)"):
                ask(field)
        assert torch.isfinite(energies.differences(field.detach())).any()
    exact = ExactForceField(Holstein(lattice), Dense(mu=0.0, kT=0.1))
    with pytest.raises(ValueError, match=r"take the energy of the force field"):
        exact.electrons.electrons(field)
    with pytest.raises(ValueError, match=r"pass field\.detach\(\); force and energy have"):
        FixedNumber(exact.electrons, 0.0).shift(field)
