"""The exact side of the seam: Hellmann-Feynman forces, sums of force fields, memory bounds."""

import pytest
import torch

from nearsight.forcefields import (
    ClassicalForceField,
    ElectronForceField,
    ExactForceField,
    ForceField,
    Forces,
    SumForceField,
    exact,
)
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, square
from nearsight.solvers import Dense

SOLVER = Dense(filling=0.4, kT=0.1)


class Drag(ForceField):
    """A force without an energy, such as that of a drive."""

    components = 1

    def __init__(self, lattice):
        super().__init__()
        self.lattice = lattice

    def evaluate(self, field):
        return Forces(torch.ones_like(field), None)

    def on(self, lattice):
        return type(self)(lattice)


@pytest.fixture
def field(rng):
    return torch.randn(16, 1, generator=rng, dtype=torch.float64)


def test_the_electron_force_is_the_density(field):
    """F_i = g (n_i - 1/2), with n_i from the occupied states themselves."""
    model = Holstein(square(4))
    levels, states = torch.linalg.eigh(model.matrix(field))
    answer = ExactForceField(model, SOLVER).electrons.electrons(field)
    density = (states.square() * torch.sigmoid((answer.mu - levels) / 0.1)).sum(-1)
    force = ExactForceField(model, SOLVER).electrons(field).force[:, 0]
    torch.testing.assert_close(force, 1.5 * (density - 0.5), atol=1e-12, rtol=0)


def test_the_energy_is_the_free_energy_and_not_the_energy_of_the_electrons(field):
    """Only the free energy has the Hellmann-Feynman force as its gradient; the two differ by TS."""
    part = ExactForceField(Holstein(square(4), symmetric=False), SOLVER).electrons
    answer = part.electrons(field)
    assert float(part(field).energy) == pytest.approx(float(answer.free_energy), abs=1e-12)
    assert float(answer.energy - answer.free_energy) > 0.1


def test_without_coupling_only_the_springs_pull(field):
    model = Holstein(square(4), g=0.0, k=2.0, kappa=0.3)
    grid = field.reshape(4, 4)
    neighbours = sum(torch.roll(grid, s, d) for s in (1, -1) for d in (0, 1))
    expected = -(2.0 * grid + 0.3 * neighbours).reshape(16, 1)
    torch.testing.assert_close(ExactForceField(model, SOLVER)(field).force, expected, atol=1e-14, rtol=0)


def test_exact_is_the_sum_of_its_two_parts(field):
    whole = ExactForceField(Holstein(square(4)), SOLVER)
    assert isinstance(whole.electrons, ElectronForceField) and isinstance(whole.classical, ClassicalForceField)
    parts = [part(field) for part in (whole.electrons, whole.classical)]
    torch.testing.assert_close(whole(field).force, parts[0].force + parts[1].force)
    torch.testing.assert_close(whole(field).energy, parts[0].energy + parts[1].energy)


def test_a_long_batch_is_cut_without_a_trace(monkeypatch, rng):
    forcefield = ExactForceField(Holstein(square(4)), SOLVER)
    field = torch.randn(3, 5, 16, 1, generator=rng, dtype=torch.float64)
    whole = forcefield(field)
    monkeypatch.setattr(exact, "CHUNK", 4 * 16**2)
    cut = forcefield(field)
    torch.testing.assert_close(cut.force, whole.force, atol=1e-13, rtol=0)
    torch.testing.assert_close(cut.energy, whole.energy, atol=1e-12, rtol=0)


def test_forces_need_no_autograd_mode(field):
    forcefield = ExactForceField(Holstein(square(4)), SOLVER)
    with torch.no_grad():
        quiet = forcefield(field)
    assert torch.equal(quiet.force, forcefield(field).force)
    assert not quiet.force.requires_grad and not quiet.energy.requires_grad


def test_sums_are_flat_and_commute(field):
    whole = ExactForceField(Holstein(square(4)), SOLVER)
    nested = whole.classical + (whole.electrons + whole.classical)
    assert [type(p) for p in nested.parts] == [ClassicalForceField, ElectronForceField, ClassicalForceField]
    torch.testing.assert_close((whole.classical + whole.electrons)(field).force, whole(field).force)
    assert repr(nested).count("ForceField(model=") == 3


def test_one_part_without_energy_leaves_the_sum_without(field):
    springs = ExactForceField(Holstein(square(4)), SOLVER).classical
    driven = springs + Drag(square(4))
    force, energy = driven(field)
    assert energy is None
    torch.testing.assert_close(force, springs(field).force + 1.0)
    assert driven.on(square(6)).lattice.n_sites == 36


@pytest.mark.parametrize("other", [square(5), square(4, periodic=False), chain(16)], ids=repr)
def test_parts_on_different_lattices_do_not_add(other):
    with pytest.raises(ValueError, match="one lattice"):
        SumForceField(Drag(square(4)), Drag(other))


def test_an_empty_sum_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        SumForceField()


def test_nan_is_refused_with_its_usual_cause(field):
    field[3] = torch.nan
    with pytest.raises(ValueError, match="1 NaN or infinite values; a smaller time step"):
        ExactForceField(Holstein(square(4)), SOLVER)(field)


def test_another_lattice_is_another_exact_problem(rng):
    there = ExactForceField(Holstein(square(4), spins=2), SOLVER).on(square(3, 5))
    fresh = ExactForceField(Holstein(square(3, 5), spins=2), SOLVER)
    field = torch.randn(15, 1, generator=rng, dtype=torch.float64)
    assert torch.equal(there(field).force, fresh(field).force)
    assert repr(there) == repr(fresh)
