"""ASE moves the sites of a force field: against closed forms, and forces against differences of energies."""

import numpy as np
import pytest
import torch

from nearsight.fields import displacement
from nearsight.forcefields import ClassicalForceField, ExactForceField, LearnedForceField
from nearsight.hamiltonians import Holstein, Peierls
from nearsight.lattices import chain, from_ase, square, triangular
from nearsight.networks import MLP
from nearsight.solvers import Dense

pytest.importorskip("ase")
from nearsight.crystals import site_atoms, site_calculator


def rattled(forcefield, seed=0, **units):
    atoms = site_atoms(forcefield.lattice, length=units.get("length", 1.0), symbols="C")
    atoms.calc = site_calculator(forcefield, **units)
    amount = 0.05 * units.get("length", 1.0)
    atoms.positions += amount * np.random.default_rng(seed).normal(size=atoms.positions.shape)
    return atoms


def differences(atoms, step=1e-4):
    """Minus the central differences of energies."""
    forces = np.zeros_like(atoms.positions)
    for index in np.ndindex(*forces.shape):
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            moved.calc = atoms.calc
            values.append(moved.get_potential_energy())
        forces[index] = (values[1] - values[0]) / (2 * step)
    return forces


def test_sites_at_rest_are_atoms_in_the_order_of_fields():
    lattice = triangular(3, 4)
    atoms = site_atoms(lattice, length=2.5, symbols="Cu")
    np.testing.assert_allclose(atoms.positions[:, :2], 2.5 * lattice.positions)
    assert atoms.pbc.tolist() == [True, True, False]
    again = from_ase(atoms)
    np.testing.assert_allclose(again.positions[:, :2], 2.5 * lattice.positions)


def test_springs_have_their_closed_form_in_the_units_of_ase():
    k, kappa, epsilon, scale = 2.0, -0.7, 1.7, 2.5
    atoms = rattled(ClassicalForceField(Peierls(chain(5), k=k, kappa=kappa)), energy=epsilon, length=scale)
    u = atoms.positions[:, 0] / scale - np.arange(5)
    energy = epsilon * (0.5 * k * (u**2).sum() + kappa * (u * np.roll(u, 1)).sum())
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-10)
    forces = np.zeros((5, 3))
    forces[:, 0] = -epsilon / scale * (k * u + kappa * (np.roll(u, 1) + np.roll(u, -1)))
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)


def test_forces_are_differences_of_energies():
    model = Peierls(square(2), alpha=0.8, k=2.0, kappa=0.1)
    exact = ExactForceField(model, Dense(mu=0.1, kT=0.2))
    for forcefield in (exact, learned(square(3))):
        atoms = rattled(forcefield, energy=0.9, length=1.4)
        np.testing.assert_allclose(atoms.get_forces(), differences(atoms), atol=2e-6)
        assert not atoms.get_forces()[:, 2].any()


def learned(lattice):
    from nearsight.descriptors import Irreps

    torch.manual_seed(0)
    return LearnedForceField(Irreps(lattice, displacement(), 1.0), MLP((6, 6))).double().eval()


def test_an_atom_that_crosses_the_boundary_is_where_it_was():
    atoms = rattled(ClassicalForceField(Peierls(square(3), k=2.0)))
    energy = atoms.get_potential_energy()
    atoms.wrap()
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)


def test_the_integrator_of_ase_conserves_the_energy_of_a_learned_force_field():
    from ase.md.verlet import VelocityVerlet

    drift = []
    for dt in (0.4, 0.2):
        atoms = rattled(learned(square(3)), seed=1)
        start = atoms.get_total_energy()
        run = VelocityVerlet(atoms, timestep=dt)
        run.run(round(20 / dt))
        assert np.abs(atoms.get_momenta()).max() > 0
        drift.append(abs(atoms.get_total_energy() - start))
    assert drift[1] < 0.4 * drift[0] + 1e-12


def test_what_does_not_move_sites_is_refused():
    with pytest.raises(ValueError, match="it does not move sites"):
        site_calculator(ClassicalForceField(Holstein(square(3))))
    springs = ClassicalForceField(Peierls(square(3)))
    for wrong in (site_atoms(square(4)), site_atoms(square(3), length=2.0)):
        wrong.calc = site_calculator(springs)
        with pytest.raises(ValueError, match="9 sites in a cell"):
            wrong.get_potential_energy()
    with pytest.raises(TypeError, match="forcefield must be a ForceField"):
        site_calculator(square(3))
