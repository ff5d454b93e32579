"""The parameters a data set was made with are found again; the exact force field that made it is the referee."""

import pytest
import torch

from nearsight.fields import random_spins, tangent
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, SDModel
from nearsight.lattices import square, triangular
from nearsight.solvers import Dense
from nearsight.training import DataSet, identify


def made(model, solver, *, scale=1.0, noise=0.0, torque=False, count=4) -> DataSet:
    rng = torch.Generator().manual_seed(3)
    if model.components == 3:
        field = random_spins(model.lattice, rng, count)
    else:
        field = torch.randn(count, model.lattice.n_sites, model.components, generator=rng, dtype=torch.float64)
    force = ExactForceField(model, solver)(field).force
    force = tangent(force, field) if torque else force
    force = scale * (force + noise * torch.randn(force.shape, generator=rng, dtype=torch.float64))
    return DataSet.from_arrays(lattice=model.lattice, components=model.components, field=field, force=force.float())


@pytest.mark.parametrize(
    ("model", "ensemble", "torque", "scale"),
    [
        (SDModel(square(4, 6), J=6.0), {"filling": 0.46, "kT": 0.05}, False, 1.0),
        (SDModel(square(4, 6), J=6.0, exchange=0.1), {"filling": 0.46, "kT": 0.05}, False, 1.0),
        (SDModel(square(4, 6), J=2.0), {"mu": -1.3, "kT": 0.1}, False, -2.0),
        (SDModel(triangular(4, 6), t=(1.0, 0.5), J=0.7), {"filling": 0.2, "kT": 0.03}, True, 0.5),
        (Holstein(square(4, 6), g=1.5), {"filling": 0.3, "kT": 0.1}, False, 1.0),
    ],
    ids=["filling", "classical part", "mu and factor", "torques and factor", "Holstein"],
)
def test_filling_mu_coupling_and_temperature_are_found(model, ensemble, torque, scale):
    data = made(model, Dense(**ensemble), torque=torque, scale=scale)
    own = model.J if isinstance(model, SDModel) else model.g
    guess = (
        SDModel(model.lattice, t=model.t, J=1.7 * own, exchange=model.spin_energy.J)
        if isinstance(model, SDModel)
        else Holstein(model.lattice, g=1.7 * own)
    )
    found = identify(data, guess)
    fixed = "mu" if "mu" in ensemble else "filling"
    assert found.ensemble == fixed and getattr(found, fixed) == pytest.approx(ensemble[fixed], abs=1e-4)
    assert found.coupling == pytest.approx(own, rel=1e-4) and found.kT == pytest.approx(ensemble["kT"], rel=1e-3)
    assert found.factor == pytest.approx(1 / scale, rel=1e-4) and found.left < 1e-5
    exact = ExactForceField(model, found.solver)(data.field).force
    exact = tangent(exact, data.field) if torque else exact
    torch.testing.assert_close(found.factor * data.force, exact, atol=1e-3, rtol=1e-3)
    assert ("multiplied by" in str(found)) == (scale != 1.0) and fixed in str(found)


def test_errors_are_those_of_noisy_labels():
    model = SDModel(square(4, 6), J=3.0)
    data = made(model, Dense(filling=0.4, kT=0.1), noise=0.02, count=6)
    found = identify(data, model, snapshots=6)
    for name, value in (("filling", 0.4), ("J", 3.0), ("kT", 0.1)):
        got = found.coupling if name == "J" else getattr(found, name)
        assert 0 < found.errors[name] < 0.05 * value and abs(got - value) < 4 * found.errors[name]
    size = float(data.force.square().mean().sqrt())
    assert found.left == pytest.approx(0.02 / size, rel=0.1)


def test_a_known_coupling_costs_one_diagonalisation_a_snapshot(monkeypatch):
    model = SDModel(square(4, 6), J=3.0)
    data = made(model, Dense(mu=-2.0, kT=0.1))
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda h: calls.append(1) or eigh(h))
    found = identify(data, model, J=3.0, snapshots=2)
    assert len(calls) == 2 and found.mu == pytest.approx(-2.0, abs=1e-4) and "J" not in found.errors
    found = identify(data, model, J=3.0, mu=-2.0, kT=0.1, snapshots=2)
    assert found.errors == {} and found.left < 1e-6 and len(calls) == 4


def test_what_cannot_be_searched_is_refused():
    model = SDModel(square(2, 3), J=3.0)
    data = made(model, Dense(mu=-2.0, kT=0.1))
    for options, message in [
        ({"filling": 0.3, "mu": -1.0}, "not both"),
        ({"filling": (0.4, 0.3)}, r"filling is searched between \(low, high\)"),
        ({"filling": 1.2}, "filling must be a finite real number > 0 and < 1, got 1.2"),
        ({"kT": -0.1}, "kT must be"),
        ({"J": 0.0}, "J must be"),
        ({"snapshots": 0}, "snapshots must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            identify(data, model, **options)
    with pytest.raises(ValueError, match="another lattice or field"):
        identify(data, SDModel(square(3, 2), J=3.0))
    with pytest.raises(TypeError, match="model must be a Hamiltonian"):
        identify(data, ExactForceField(model, Dense(mu=-2.0, kT=0.1)))
