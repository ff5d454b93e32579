"""Fields of spins from two potentials."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from nearsight.analysis.locality import circulation
from nearsight.descriptors import SpinInvariants
from nearsight.fields import scalar, spin
from nearsight.forcefields import ExactForceField, ForceField, Forces, LearnedForceField, Solenoidal
from nearsight.hamiltonians import SDModel
from nearsight.lattices import chain, square
from nearsight.networks import MLP, GroupCNN, SpinCNN
from nearsight.solvers import NEGF, Reservoir
from nearsight.training import DataSet, FitOptions, fit

LATTICE = chain(8)


def learned(seed: int, **options) -> LearnedForceField:
    rng = torch.Generator().manual_seed(seed)
    invariants = SpinInvariants(LATTICE, spin(), 1.0, bond_cutoff=1.0)
    return LearnedForceField(invariants, MLP((16, 16), rng=rng, **options))


class Planted(ForceField):
    """E = Σ S_i·S_{i+1} and G = ½ Σ (S_i·S_{i+1})², by hand."""

    def __init__(self):
        super().__init__()
        self.lattice, self.components, self.field_type = LATTICE, 3, spin(time_reversal=False)

    def evaluate(self, field):
        before, after = field.roll(1, -2), field.roll(-1, -2)
        slope = sum((field * other).sum(-1, keepdim=True) * other for other in (before, after))
        return Forces(-(before + after) + torch.linalg.cross(field, slope, dim=-1), None)


def tangential(force, field):
    return force - (force * field).sum(-1, keepdim=True) * field


def random_spins(*shape, seed):
    return normalize(torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_two_potentials_learn_what_one_cannot():
    """What one potential leaves is the field of the other, to a hundredth."""
    field = random_spins(300, 8, seed=1)
    force = tangential(Planted()(field).force, field)
    data = DataSet.from_arrays(
        lattice=LATTICE, components=3, field=field[:240], force=force[:240], trajectory=np.arange(240) // 8
    )
    left = {}
    for name, model in (("one", learned(1)), ("two", learned(1) + Solenoidal(learned(2)))):
        fit(model, data, options=FitOptions(steps=150, batch_size=16, validate_every=50), progress=False)
        off = tangential(model.eval()(field[240:]).force - force[240:], field[240:])
        left[name] = float(off.norm() / force[240:].norm())
    own = force + tangential(field.roll(1, -2) + field.roll(-1, -2), field)
    assert left["one"] == pytest.approx(float(own.norm() / force.norm()), rel=0.05)
    assert left["two"] < 0.1


def test_driven_spins_have_a_field_that_no_energy_has_and_spins_in_equilibrium_do_not():
    lattice, spins = chain(12), random_spins(12, seed=2).double()

    def fraction(right: float) -> float:
        reservoirs = (
            Reservoir(np.arange(0, 12, 4), gamma=0.5, mu=3.0, kT=0.1),
            Reservoir(np.arange(2, 12, 4), gamma=0.2, mu=right, kT=0.1),
        )
        exact = ExactForceField(SDModel(lattice, J=1.0), NEGF(*reservoirs, orbitals=2))
        return float(circulation(exact, spins, rng=torch.Generator().manual_seed(3), vectors=8).fraction)

    assert fraction(3.0) < 1e-7 and fraction(1.0) > 0.1


def test_only_potentials_of_spins_have_a_rotated_gradient():
    lattice = square(4)
    with pytest.raises(ValueError, match="three components"):
        Solenoidal(LearnedForceField(GroupCNN(lattice, scalar(), channels=2)))
    with pytest.raises(ValueError, match="three components"):
        Solenoidal(LearnedForceField(SpinCNN(lattice, spin(components=2), channels=2)))
    with pytest.raises(ValueError, match="head='energy'"):
        Solenoidal(LearnedForceField(SpinCNN(lattice, spin(), channels=2, head="force")))
    with pytest.raises(TypeError, match="potential"):
        Solenoidal(None)
    leads = (Reservoir(np.arange(k, 16, 2), gamma=1.0, mu=float(k), kT=0.1) for k in (0, 1))
    driven = ExactForceField(SDModel(lattice), NEGF(*leads, orbitals=2))
    with pytest.raises(ValueError, match="no energy"):
        Solenoidal(driven)(random_spins(16, seed=1).double())
