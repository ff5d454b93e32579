"""The non-conservative part of forces, against loops that are gone around, planted derivatives and whole Jacobians."""

import numpy as np
import pytest
import torch
from scipy import stats

from nearsight.analysis import circulation
from nearsight.forcefields import Biased, ExactForceField, ForceField, Forces, LearnedForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.networks import BarCNN
from nearsight.solvers import NEGF, Dense, electrodes

BAR = square(4, 3, periodic=(False, True))


class Linear(ForceField):
    """F = J Φ."""

    def __init__(self, J):
        super().__init__()
        self.J, self.lattice, self.components = J, BAR, 1

    def evaluate(self, field):
        return Forces((self.J @ field.double()).to(field.dtype), None)


def exact(voltage: float) -> ExactForceField:
    return ExactForceField(Holstein(BAR, g=1.5), NEGF(*electrodes(BAR, voltage=voltage, kT=0.1)))


def jacobian(forcefield: ForceField, field: torch.Tensor) -> torch.Tensor:
    kicks = 1e-4 * torch.eye(12, dtype=torch.float64)[..., None]
    change = forcefield(field + kicks).force - forcefield(field - kicks).force
    return change[..., 0].T / 2e-4


@pytest.fixture
def field(rng):
    return 1.5 * torch.randn(12, 1, generator=rng, dtype=torch.float64)


def test_the_work_is_that_around_a_loop(field, rng):
    """∮ F·dΦ around a parallelogram about the field, by Gauss points on its sides."""
    driven = exact(2.0)
    state = rng.get_state()
    found = circulation(driven, field, rng=rng, vectors=3)
    rng.set_state(state)
    vectors = torch.randn(3, 12, 1, generator=rng, dtype=torch.float64)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    scale = 0.002
    for a, b in ((0, 1), (0, 2), (1, 2)):
        u, v = scale * vectors[a], scale * vectors[b]
        corners = [field - (u + v) / 2, field + (u - v) / 2, field + (u + v) / 2, field + (v - u) / 2]
        work = 0.0
        for k in range(4):
            start, side = corners[k], corners[(k + 1) % 4] - corners[k]
            points = torch.stack([start + 0.5 * (x + 1) * side for x in nodes])
            work += float((0.5 * torch.from_numpy(weights) * (driven(points).force * side).sum((-1, -2))).sum())
        assert work / scale**2 == pytest.approx(float(found.work[a, b]), rel=2e-3, abs=1e-5)
        assert float(found.work[a, b]) == -float(found.work[b, a])


def test_the_fraction_is_that_of_the_derivative_with_errors_that_are_kept(rng):
    """A planted derivative; z-values over many draws have the width that their errors promise."""
    J = torch.randn(12, 12, generator=rng, dtype=torch.float64)
    S, A = (J + J.T) / 2, (J - J.T) / 2
    linear = Linear(S + 0.3 * A)
    true = float(0.3 * A.norm() / (S.square().sum() + 0.09 * A.square().sum()).sqrt())
    found = [circulation(linear, torch.zeros(12, 1).double(), rng=rng, vectors=12) for _ in range(120)]
    z = np.array([(float(f.fraction) - true) / float(f.fraction_error) for f in found])
    inside = int((np.abs(z) < 2).sum())
    assert stats.binomtest(inside, len(z), 0.95).pvalue > 1e-3 or inside > 0.95 * len(z)
    assert abs(z.mean()) < 0.5
    many = circulation(linear, torch.zeros(12, 1).double(), rng=rng, vectors=400)
    assert float(many.fraction) == pytest.approx(true, abs=4 * float(many.fraction_error))


def test_forces_between_equal_leads_are_a_gradient_to_rounding(field, rng):
    for conservative in (exact(0.0), ExactForceField(Holstein(BAR, g=1.5), Dense(mu=0.0, kT=0.1))):
        found = circulation(conservative, field, rng=rng, vectors=6)
        assert float(np.abs(found.work).max()) < 1e-7 * float(np.abs(found.stretch).max())
        assert float(found.fraction) < 1e-8


@pytest.mark.parametrize("voltage", [0.5, 2.0, 3.5])
def test_under_a_voltage_it_is_that_of_the_whole_jacobian(voltage, field, rng):
    J = jacobian(exact(voltage), field)
    true = float((J - J.T).norm() / 2 / J.norm())
    found = circulation(exact(voltage), field, rng=rng, vectors=100)
    assert true > 1e-4 and float(found.fraction) == pytest.approx(true, abs=4 * float(found.fraction_error))


def test_heads_of_a_network_are_what_they_are_called(field, rng):
    """The gradient of an energy has none, a direct force has some, what vanishes with the voltage adds none at 0."""
    energy = LearnedForceField(BarCNN(BAR, channels=2, radii=(1.5,), radii_after=(1.1,), head="energy"))
    direct = LearnedForceField(BarCNN(BAR, channels=2, radii=(1.5,), radii_after=(1.1,), head="force", vanishes=True))
    both = (energy + direct).eval()
    part = {V: float(circulation(Biased(both, V), field, rng=rng, vectors=6).fraction) for V in (0.0, 2.0)}
    assert part[0.0] < 1e-8 < 1e-3 < part[2.0]
    assert float(circulation(Biased(energy.eval(), 2.0), field, rng=rng, vectors=6).fraction) < 1e-8
