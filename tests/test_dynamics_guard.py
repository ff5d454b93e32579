"""The guard: a run stops where the force field stops being trustworthy."""

import math
import pickle

import pytest
import torch
import xarray as xr

from nearsight.dynamics import TDGL, EulerMaruyama, Every, Guard, Langevin, OutOfRangeError, Trajectory, simulate
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square

# Steps beyond stability are what these runs are made of.
unstable = pytest.mark.filterwarnings("ignore:A step of dt:UserWarning")


def springs(k: float = 1.0) -> ClassicalForceField:
    return ClassicalForceField(Holstein(square(3), k=k, kappa=0.0))


def test_the_range_is_widened_about_its_centre():
    low, high = Guard(low=1.0, high=3.0, factor=1.5).allowed
    assert (low, high) == (0.5, 3.5)
    low, high = Guard(low=(-1.0, 0.0), high=(1.0, 4.0), factor=2.0).allowed
    assert low.tolist() == [-2.0, -2.0] and high.tolist() == [2.0, 6.0]


def test_a_guard_around_training_fields_lets_all_of_them_pass(rng):
    fields = torch.randn(20, 9, 2, generator=rng) * torch.tensor([1.0, 5.0])
    guard = Guard.around(fields, factor=1.0)
    guard.check(fields, 0)
    with pytest.raises(OutOfRangeError):
        guard.check(1.01 * fields, 0)


@pytest.mark.parametrize("value", [2.6, -2.6, math.nan, math.inf, -math.inf])
def test_one_bad_value_is_found_and_named(value):
    field = torch.zeros(4, 9, 2, dtype=torch.float32)
    field[2, 7, 1] = value
    with pytest.raises(
        OutOfRangeError, match=r"step 31 .* site 7, component 1, replica 2 .*\[-2.5, 2.5\].*smaller dt"
    ) as e:
        Guard(-1.0, 1.0, factor=2.5).check(field, 31)
    assert (e.value.step, e.value.replica, e.value.site, e.value.component) == (31, 2, 7, 1)
    assert e.value.value == pytest.approx(value, nan_ok=True)
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)


def test_the_bounds_themselves_are_allowed():
    Guard(-1.0, 1.0, factor=1.0).check(torch.tensor([[-1.0], [1.0]]), 0)


@unstable
def test_a_run_stops_at_the_first_step_outside():
    # An unstable step, dt k = 2.5, multiplies the field by -1.5: 1, -1.5, 2.25, ...
    scheme, field = EulerMaruyama(dt=2.5, kT=0.0), torch.ones(9, 1)
    with pytest.raises(OutOfRangeError, match=r"At step 3 .* -3\.375, outside of"):
        simulate(springs(), scheme, field, steps=50, record=None, rng=None, guard=Guard(-1.0, 1.0, factor=3.0))


def test_a_start_outside_is_refused():
    with pytest.raises(OutOfRangeError, match="At step 0"):
        simulate(springs(), TDGL(0.1), torch.ones(9, 1), steps=1, record=None, rng=None, guard=Guard(-0.1, 0.1))


@unstable
def test_without_a_guard_a_field_that_is_not_finite_is_still_refused():
    field = torch.ones(9, 1)
    for record in (Every(10), None):
        # 1, -1e8, 1e16, ..., 1e32, and then more than single precision holds.
        with pytest.raises(OutOfRangeError, match=r"At step 5 .* not a finite number: .* smaller dt") as e:
            simulate(springs(), EulerMaruyama(dt=1e8, kT=0.0), field, steps=50, record=record, rng=None)
        assert (e.value.step, e.value.site) == (5, 0)
        with pytest.raises(OutOfRangeError, match=r"a million times beyond its start: .* Take dt <= 1\.8;"):
            simulate(springs(), EulerMaruyama(dt=50.0, kT=0.0), field, steps=50, record=record, rng=None)


@unstable
def test_what_led_to_the_stop_can_be_read(tmp_path):
    scheme, field = EulerMaruyama(dt=2.5, kT=0.0), torch.ones(9, 1, dtype=torch.float64)
    arguments = dict(steps=50, record=Every(1), rng=None, path=tmp_path)
    with pytest.raises(OutOfRangeError):
        simulate(springs(), scheme, field, guard=Guard(-1.0, 1.0, factor=3.0), **arguments)
    seen = xr.open_zarr(tmp_path / "trajectory.zarr").field.values[:, 0, 0]
    assert seen[:3].tolist() == [1.0, -1.5, 2.25] and all(math.isnan(x) for x in seen[3:])
    assert Trajectory.open(tmp_path).final.step == 0
    # A wider guard is a way out, and is no other run.
    with pytest.raises(OutOfRangeError, match="At step 5 "):
        simulate(springs(), scheme, field, guard=Guard(-1.0, 1.0, factor=6.0), resume=True, **arguments)


def test_a_guard_does_not_change_the_run(rng):
    scheme, field = Langevin(0.1, 0.1, 0.5), torch.zeros(9, 1)
    ends = [
        simulate(
            springs(), scheme, field, steps=9, record=None, rng=torch.Generator().manual_seed(3), guard=g
        ).final.field
        for g in (None, Guard(-9.0, 9.0))
    ]
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.0), "finite low < high"),
        ((2.0, 1.0), "finite low < high"),
        ((math.nan, 1.0), "low must be a real number, got nan"),
        ((-math.inf, 1.0), "finite low < high"),
        ((0.0, 1.0, 0.9), "factor must be"),
        ((0.0, 1.0, math.nan), "factor must be"),
        (((0.0, 0.0), (1.0,)), "two rows of equal length"),
    ],
    ids=str,
)
def test_impossible_guards_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Guard(*arguments)


def test_a_guard_of_other_components_is_refused():
    with pytest.raises(ValueError, match="bounds 2 components, the field has 3"):
        Guard((0.0, 0.0), (1.0, 1.0)).check(torch.zeros(4, 3), 0)
