"""Energies of hops on a large lattice against exact electrons in patches: what is stated is right."""

import numpy as np
import pytest
import torch

import nearsight as ns
from nearsight.dynamics import audit_hops
from nearsight.dynamics.run import audit_hops as module
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import honeycomb, square
from nearsight.moves import ExactMoves

SMALL = FalicovKimball(square(4), U=2.0)


def occupied(side, share=0.2, seed=1, replicas=()):
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(*replicas, side**2, 1, generator=rng) < share).double()


def known(energies, field):
    cost = energies.differences(field)
    return cost[torch.isfinite(cost)]


@pytest.mark.parametrize("ensemble", [{"filling": 0.55}, {"mu": 0.4}])
def test_the_whole_lattice_is_an_exact_referee(ensemble):
    exact, field = ExactMoves(SMALL, kT=0.2, **ensemble), occupied(8, replicas=(2,))
    found = audit_hops(exact.on(square(8)), exact, field, hops=60)
    assert int(found.radius) == 0 and float(found.referee_error) == 0.0 and bool(found.converged)
    # At fixed number what is left is of the second order in 1/N, and of the mean response of both replicas.
    assert float(abs(found.error).max()) < (1e-2 if "filling" in ensemble else 3e-6) * float(found.scale)
    costs = exact.on(square(8)).differences(field)[found.replica.values, found.move.values]
    np.testing.assert_allclose(found.exact, costs, atol=1e-2 * float(found.scale))


@pytest.mark.parametrize("kT", [0.2, 0.05])
@pytest.mark.parametrize("boundaries", ["open", ("open", "periodic")])
def test_the_referee_is_as_wrong_as_it_says(kT, boundaries):
    exact, field = ExactMoves(SMALL, kT=kT, filling=0.55), occupied(16)
    found = audit_hops(exact.on(square(16)), exact, field, hops=60, budget=0.15, boundaries=boundaries)
    off = float(found.rms)  # of a referee that judges exact energies
    assert 3 <= int(found.radius) <= 6 and not bool(found.converged)
    assert 0.1 * float(found.referee_error) < off < 2.0 * float(found.referee_error)
    if len(boundaries) == 2:
        assert float(found.rms_low) == 0.0


def test_the_audited_error_is_that_of_all_hops():
    """95 % of the intervals hold it, as many draws of other configurations and hops count."""
    exact, wrong = ExactMoves(SMALL, kT=0.3, filling=0.5), FalicovKimball(square(12), U=2.6)
    learned = ExactMoves(wrong, kT=0.3, filling=0.5)
    held = []
    for seed in range(30):
        field = occupied(12, 0.3, seed)
        true = float((known(learned, field) - known(exact.on(square(12)), field)).square().mean().sqrt())
        found = audit_hops(learned, exact, field, hops=30, budget=0.03, seed=seed)
        assert int(found.radius) == 4
        held.append(float(found.rms_low) <= true <= float(found.rms_high))
    assert np.mean(held) >= 0.84  # 25 of 30: fewer happen once in 150 times at 95 %


def test_a_chemical_potential_by_random_vectors_is_right_within_its_error(monkeypatch):
    exact, fields = ExactMoves(SMALL, kT=0.2, filling=0.55), occupied(12, replicas=(4,))
    there = module._chemical_potentials(exact, square(12), fields, torch.Generator().manual_seed(1))[0]
    monkeypatch.setattr(module, "DIAGONALISED", 10)
    mu, error = module._chemical_potentials(exact, square(12), fields, torch.Generator().manual_seed(1))
    assert (error > 0).all() and float(((mu - there) / error).abs().max()) < 4.5
    found = audit_hops(exact.on(square(12)), exact, fields, hops=40)
    assert float(found.referee_error) > 0 and found.sizes["looked_at"] == 4


def test_an_audit_depends_on_its_seed_alone():
    exact, field = ExactMoves(SMALL, kT=0.3, filling=0.5), occupied(8)
    first, again, other = (audit_hops(exact.on(square(8)), exact, field, hops=20, seed=s) for s in (1, 1, 2))
    assert first.identical(again) and not first.equals(other)


def test_what_cannot_be_audited_is_refused_with_the_cure():
    exact, field = ExactMoves(SMALL, kT=0.2, filling=0.5), occupied(4)
    with pytest.raises(ValueError, match="No hop is possible"):
        audit_hops(exact, exact, torch.zeros(16, 1))
    with pytest.raises(ValueError, match="not local"):
        audit_hops(exact, ExactMoves(SMALL, kT=0.2, filling=0.5, energy="internal"), field)
    with pytest.raises(ValueError, match="another kind"):
        audit_hops(exact, ExactMoves(FalicovKimball(honeycomb(3), U=2.0), kT=0.2, filling=0.5), field)
    with pytest.raises(ValueError, match="boundaries"):
        audit_hops(exact, exact, field, boundaries=["twisted"])
    with pytest.raises(TypeError, match="exact partner"):
        audit_hops(exact, ns.solvers.Dense(mu=0.0, kT=0.1), field)
