"""Steps beyond stability are warned about at the start, and runs that blow up stop."""

import math
import re
import warnings
from typing import Self

import numpy as np
import pytest
import torch

from nearsight.dynamics import (
    TDGL,
    AB2Rotation,
    Brownian,
    DepondtMertens,
    EulerMaruyama,
    Every,
    Guard,
    HeunSpins,
    Langevin,
    OutOfRangeError,
    SemiImplicit,
    SphericalMidpoint,
    Trajectory,
    simulate,
)
from nearsight.fields import check_field
from nearsight.forcefields import ClassicalForceField, ForceField, Forces
from nearsight.hamiltonians import Heisenberg, Holstein
from nearsight.lattices import Lattice, square

LATTICE = square(6)
STIFFEST = 1.0 + 4 * 0.12
"""k + 4κ, the mode that alternates."""
SPRINGS = ClassicalForceField(Holstein(LATTICE, k=1.0, kappa=0.12))

# Each scheme by its step, and the step beyond which that mode grows.
LIMITS = [
    pytest.param(lambda dt: Langevin(dt, kT=0.0, damping=0.3, mass=2.0), 2 * math.sqrt(2.0 / STIFFEST), id="Langevin"),
    pytest.param(lambda dt: Langevin(dt, kT=0.1, damping=0.0), 2 / math.sqrt(STIFFEST), id="Verlet"),
    pytest.param(lambda dt: Brownian(dt, kT=0.1, damping=3.0), 6 / STIFFEST, id="Brownian"),
    pytest.param(lambda dt: EulerMaruyama(dt, kT=0.1), 2 / STIFFEST, id="EulerMaruyama"),
    pytest.param(lambda dt: TDGL(dt, damping=0.5), 1 / STIFFEST, id="TDGL"),
]


def run(scheme, field, steps=400, forcefield=SPRINGS, **options):
    rng = torch.Generator().manual_seed(2)
    return simulate(forcefield, scheme, field, steps=steps, record=None, rng=rng, **options).final.field


@pytest.mark.parametrize(("make", "limit"), LIMITS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_steps_are_warned_about_beyond_the_limit_and_not_below(make, limit, dtype, rng):
    field = torch.randn(2, 36, 1, generator=rng, dtype=torch.float64).to(dtype)
    assert float(run(make(0.97 * limit), field).abs().max()) < 100
    with pytest.warns(UserWarning, match="beyond the stability limit") as told, pytest.raises(OutOfRangeError) as stop:
        run(make(1.1 * limit), field)
    assert told[0].filename == __file__
    proposed = float(re.search(r"dt <= ([\d.e+-]+)\.$", str(told[0].message)).group(1))
    assert 0.75 * limit < proposed < limit
    assert f"Take dt <= {proposed:g}" in str(stop.value) and 0 < stop.value.step <= 400


@pytest.mark.parametrize("scheme", [AB2Rotation, HeunSpins, SemiImplicit, DepondtMertens, SphericalMidpoint])
def test_spins_at_rest_are_judged_by_how_they_would_move(scheme):
    """No torque acts in a ferromagnet, whose fastest magnon has the frequency 2zJ = 8 all the same."""
    forcefield = ClassicalForceField(Heisenberg(LATTICE, J=1.0))
    aligned = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64).expand(36, 3)
    limit = 2 * scheme.largest_angle / 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(scheme(0.9 * limit, kT=0.0, damping=0.0, tangent=True), aligned, 100, forcefield)
    with pytest.warns(UserWarning, match="beyond the stability limit") as told:
        run(scheme(1.2 * limit, kT=0.0, damping=0.0, tangent=True), aligned, 100, forcefield)
    proposed = float(re.search(r"dt <= ([\d.e+-]+)\.$", str(told[0].message)).group(1))
    assert 0.75 * limit < proposed < limit


def test_growth_that_physics_wants_is_no_instability(rng):
    """A double well, from the top: Q grows from 1e-9 to ±1, by a factor of a billion."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end = run(TDGL(0.1), 1e-9 * torch.randn(36, 1, generator=rng, dtype=torch.float64), 400, Wells(LATTICE))
    torch.testing.assert_close(end.abs(), torch.ones_like(end))


class Wells(ForceField):
    """E = Σ (1 - Q²)²/4; with noise in the forces, all drawn from a generator of its own."""

    def __init__(self, lattice: Lattice, noise: float = 0.0, breaks: float = math.inf) -> None:
        super().__init__()
        self.lattice, self.components, self.noise, self.breaks = lattice, 1, noise, breaks
        self.own = torch.Generator().manual_seed(3)
        self.calls = 0

    @property
    def rng(self) -> torch.Generator | None:
        return self.own if self.noise else None

    def evaluate(self, field):
        self.calls += 1
        if 1 < self.calls < self.breaks < math.inf:
            raise ArithmeticError("no answer here")
        force = field - field**3
        if self.noise:
            force = force + self.noise * torch.randn(field.shape, generator=self.own, dtype=field.dtype)
        return Forces(force, (0.25 * (1 - field**2) ** 2).sum((-2, -1)))

    def on(self, lattice: Lattice) -> Self:
        return type(self)(lattice, self.noise)


def test_forces_that_are_estimates_are_judged_without_their_noise_and_keep_their_numbers():
    field = torch.ones(36, 1, dtype=torch.float64)  # stiffness 2
    noisy = Wells(LATTICE, noise=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end = run(EulerMaruyama(0.9, kT=0.0), field, 40, noisy)
    bare = Wells(LATTICE, noise=0.1)
    scheme = EulerMaruyama(0.9, kT=0.0)
    state = scheme.start(field, bare, None)
    for _ in range(40):
        state = scheme.step(state, bare, None)
    assert torch.equal(state.field, end) and torch.equal(bare.own.get_state(), noisy.own.get_state())
    with pytest.warns(UserWarning, match="about 1 at the first field"), pytest.raises(OutOfRangeError):
        run(EulerMaruyama(1.6, kT=0.0), field, 400, Wells(LATTICE, noise=0.1))


def test_a_force_field_without_an_answer_nearby_is_run_without_a_warning():
    assert run(TDGL(0.1), torch.full((36, 1), 0.5).double(), 10, Wells(LATTICE, breaks=3)).shape == (36, 1)


def test_the_estimate_costs_a_tenth_of_the_run_at_most():
    for steps, most in ((0, 0), (20, 4), (60, 6), (1000, 10)):
        counted = Wells(LATTICE)
        run(EulerMaruyama(0.1, kT=0.0), torch.full((36, 1), 0.3).double(), steps, counted)
        assert 1 + steps <= counted.calls <= 1 + steps + most


def test_a_guard_takes_the_place_of_the_watch():
    field = torch.full((36, 1), 1.0, dtype=torch.float64)
    drifting = ClassicalForceField(Holstein(LATTICE, k=0.0, kappa=0.0))
    pushed = torch.full((36, 1), 1e6, dtype=torch.float64)
    with pytest.raises(OutOfRangeError, match=r"a million times beyond its start.*guard=Guard"):
        run(Langevin(1.0, kT=0.0, damping=0.0), field, 40, drifting, velocity=pushed)
    end = run(Langevin(1.0, kT=0.0, damping=0.0), field, 40, drifting, velocity=pushed, guard=Guard(0.0, 1e9))
    torch.testing.assert_close(end, field + 40 * pushed)


def test_records_not_yet_written_are_named_as_such(tmp_path):
    field = torch.ones(2, 36, 1, dtype=torch.float64)
    with pytest.raises(OutOfRangeError):
        simulate(
            SPRINGS,
            TDGL(0.1),
            field,
            steps=9,
            record=Every(1),
            rng=None,
            path=tmp_path,
            guard=Guard(0.6, 1.1, factor=1.0),
            checkpoint_every=1,
        )
    import xarray as xr

    seen = torch.from_numpy(xr.open_zarr(tmp_path / "trajectory.zarr").field.values)
    with pytest.raises(ValueError, match=r"snapshots are NaN throughout.*has not written yet: .*Trajectory\.open"):
        check_field(seen, 36, 1, finite=True)
    with pytest.raises(ValueError, match="snapshots are NaN throughout"):
        SPRINGS(seen)
    committed = Trajectory.open(tmp_path).tensor("field")
    assert 0 < len(committed) < len(seen) and bool(torch.isfinite(SPRINGS(committed).force).all())
    assert np.isfinite(committed.numpy()).all()
