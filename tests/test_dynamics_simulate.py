"""A run and what it leaves behind: records, files, refusals."""

import json
import re

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight.dynamics import (
    TDGL,
    At,
    Brownian,
    Every,
    KineticMonteCarlo,
    Langevin,
    SpinFlips,
    Trajectory,
    simulate,
)
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, Forces
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import Dense

SCHEME = Langevin(dt=0.1, kT=0.2, damping=0.7)


def springs() -> ClassicalForceField:
    return ClassicalForceField(Holstein(square(3), k=1.0, kappa=0.1))


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def zeros(*batch: int, dtype=torch.float64):
    return torch.zeros(*batch, 9, 1, dtype=dtype)


def test_the_records_are_the_states_of_the_scheme():
    forcefield, rng = springs(), generator()
    run = simulate(
        forcefield, SCHEME, zeros(4), steps=10, record=Every(5, fields=("field", "velocity")), rng=generator()
    )
    state = SCHEME.start(zeros(4), forcefield, rng)
    states = [state]
    for _ in range(10):
        states.append(SCHEME.step(states[-1], forcefield, rng))
    for row, step in enumerate((0, 5, 10)):
        assert torch.equal(run.tensor("field")[row], states[step].field)
        assert torch.equal(run.tensor("velocity")[row], states[step].velocity)
        assert float(run.data.time[row]) == states[step].time
    assert torch.equal(run.final.field, states[10].field) and run.final.step == 10


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_disk_and_memory_hold_the_same(batch, dtype, tmp_path):
    arguments = dict(steps=23, record=Every(4, observables={"mean": lambda q: q.mean(-2)}), rng=generator())
    memory = simulate(springs(), SCHEME, zeros(*batch, dtype=dtype), **arguments)
    arguments["rng"] = generator()
    disk = simulate(springs(), SCHEME, zeros(*batch, dtype=dtype), path=tmp_path, checkpoint_every=7, **arguments)
    opened = Trajectory.open(tmp_path)
    for other in (disk, opened):
        xr.testing.assert_identical(other.data.load(), memory.data)
        assert other.batch == batch
        assert torch.equal(other.tensor("field"), memory.tensor("field"))
    assert memory.tensor("field").shape == (6, *batch, 9, 1) and memory.tensor("field").dtype == dtype
    assert memory.tensor("energy").shape == (6, *batch)
    assert memory.data.field.dims == ("record", *(("replica",) if batch else ()), "site", "component")
    assert memory.data.time.dtype == np.float64


def test_plain_xarray_reads_the_file_and_its_origin(tmp_path):
    simulate(springs(), SCHEME, zeros(2, 3), steps=6, record=Every(2), rng=generator(), path=tmp_path)
    data = xr.open_zarr(tmp_path / "trajectory.zarr")
    assert set(data.coords) == {"step", "time"} and data.step.values.tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(data.time, [0.0, 0.2, 0.4, 0.6])
    assert json.loads(data.attrs["scheme"]) == SCHEME.config()
    assert data.attrs["batch_shape"] == [2, 3] and data.attrs["lattice_shape"] == [3, 3]
    assert "square, 3 × 3" in data.attrs["lattice"] and data.attrs["dtype"] == "float64"


def test_records_are_kept_at_the_asked_steps_only():
    run = simulate(springs(), SCHEME, zeros(), steps=20, record=At((20, 3, 3, 7)), rng=generator())
    whole = simulate(springs(), SCHEME, zeros(), steps=20, record=Every(1), rng=generator())
    assert run.data.step.values.tolist() == [3, 7, 20]
    xr.testing.assert_equal(run.data, whole.data.isel(record=[3, 7, 20]))


def test_recording_does_not_change_the_run():
    ends = [
        simulate(springs(), SCHEME, zeros(2), steps=12, record=record, rng=generator()).final.field
        for record in (None, Every(1), Every(5), At((2,)))
    ]
    assert all(torch.equal(end, ends[0]) for end in ends)


def test_logarithmic_records_begin_at_zero_and_end_at_the_end():
    at = At.logarithmic(1000, per_decade=4)
    assert at.steps[0] == 0 and at.steps[-1] == 1000 and list(at.steps) == sorted(set(at.steps))
    late = np.array([s for s in at.steps if s >= 30])
    np.testing.assert_allclose(late[1:] / late[:-1], 10**0.25, rtol=0.05)
    assert At.logarithmic(1).steps == (0, 1)


def test_observables_stand_in_for_fields():
    spectrum = lambda q: torch.fft.fft2(q.reshape(*q.shape[:-2], 3, 3)).abs() ** 2  # noqa: E731
    run = simulate(
        springs(), SCHEME, zeros(2), steps=4, rng=generator(),
        record=Every(2, fields=("energy",), observables={"S": spectrum}),
    )  # fmt: skip
    assert set(run.data.data_vars) == {"energy", "S"}
    assert run.data.S.dims == ("record", "replica", "S_0", "S_1")
    torch.testing.assert_close(run.tensor("S")[-1], spectrum(run.final.field))


def test_a_driven_system_is_recorded_without_energy():
    class Wind(ForceField):
        def __init__(self):
            super().__init__()
            self.lattice, self.components = square(3), 1

        def evaluate(self, field):
            return Forces(torch.ones_like(field), None)

        def on(self, lattice):
            return self

    run = simulate(Wind(), TDGL(dt=0.5), zeros(), steps=4, record=Every(2), rng=None)
    assert set(run.data.data_vars) == {"field", "force"}
    torch.testing.assert_close(run.final.field, torch.full((9, 1), 2.0, dtype=torch.float64))


def test_every_replica_of_kinetic_monte_carlo_has_its_clock(tmp_path):
    forcefield = ClassicalForceField(Holstein(square(3), k=0.0, kappa=-1.0))
    scheme = KineticMonteCarlo(SpinFlips(forcefield, kT=2.0))
    for path in (None, tmp_path):
        run = simulate(forcefield, scheme, zeros(4) + 1, steps=6, record=Every(1), rng=generator(), path=path)
        assert run.data.time.dims == ("record", "replica")
        assert bool((run.data.time.diff("record") > 0).all())
        flips = (run.data.field.diff("record") != 0).sum(("site", "component"))
        assert bool((flips == 1).all())


def test_exact_electrons_are_moved_in_batches_as_one_by_one(rng):
    exact = ExactForceField(Holstein(square(4)), Dense(filling=0.5, kT=0.1))
    field = torch.randn(3, 16, 1, generator=rng, dtype=torch.float64)
    scheme = TDGL(dt=0.2)
    together = simulate(exact, scheme, field, steps=10, record=Every(5), rng=None)
    for replica in range(3):
        alone = simulate(exact, scheme, field[replica], steps=10, record=Every(5), rng=None)
        np.testing.assert_allclose(together.data.isel(replica=replica).field, alone.data.field, atol=1e-11)
        np.testing.assert_allclose(together.data.isel(replica=replica).energy, alone.data.energy, atol=1e-11)


def test_a_run_goes_on_from_where_another_ended():
    scheme = Langevin(dt=0.1, kT=0.0, damping=0.3)
    field = zeros() + 1
    first = simulate(springs(), scheme, field, steps=8, record=None, rng=None).final
    second = simulate(springs(), scheme, first.field, velocity=first.velocity, steps=5, record=None, rng=None).final
    whole = simulate(springs(), scheme, field, steps=13, record=None, rng=None).final
    assert torch.equal(second.field, whole.field) and torch.equal(second.velocity, whole.velocity)


@pytest.mark.parametrize("path", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("record", [None, Every(1)], ids=["nothing", "every"])
def test_a_run_of_no_steps_is_its_start(path, record, tmp_path):
    run = simulate(
        springs(), SCHEME, zeros(2), steps=0, record=record, rng=generator(), path=tmp_path if path else None
    )
    assert run.final.step == 0 and run.data.sizes["record"] == (0 if record is None else 1)
    assert torch.equal(run.final.field, zeros(2))


def test_progress_tells_the_speed(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    simulate(springs(), TDGL(0.1), zeros(), steps=30, record=None, rng=None, progress=True)
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "TDGL" in shown and "30/30" in shown and "steps/s" in shown


def test_the_run_is_silent_by_default(capsys):
    simulate(springs(), TDGL(0.1), zeros(), steps=3, record=Every(1), rng=None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0), "n must be a whole number ≥ 1"),
        (lambda: Every(2.5), "n must be a whole number ≥ 1"),
        (lambda: Every(1, fields=("fields",)), r"field, velocity, force, energy, .*not 'fields'"),
        (lambda: Every(1, fields=()), "keeps nothing"),
        (lambda: Every(1, observables={"energy": torch.sum}), "name of its own"),
        (lambda: Every(1, observables={"a b": torch.sum}), "name of its own"),
        (lambda: At(()), "one step or more"),
        (lambda: At((-1, 2)), "steps of At must be a whole number ≥ 0"),
        (lambda: At((0.5,)), "steps of At must be a whole number ≥ 0"),
        (lambda: At("0"), "steps of At must be a whole number ≥ 0"),
        (lambda: At.logarithmic(0), "steps must be a whole number ≥ 1"),
        (lambda: Every(1, observables=[torch.sum]), "observables must be a Mapping"),
    ],
)
def test_impossible_records_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_numbers_of_numpy_and_torch_are_numbers_of_steps():
    assert (
        Every(np.int64(2)) == Every(2) and At((np.int32(3), torch.tensor(1))) == At((1, 3)) and At(np.int64(4)) == At(4)
    )
    run = simulate(springs(), TDGL(0.1), zeros(), steps=np.int64(2), record=Every(1), rng=None)
    assert run.final.step == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": -1}, ValueError, "steps must be a whole number ≥ 0"),
        ({"steps": 1.5}, TypeError, "steps must be a whole number ≥ 0"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be a whole number ≥ 1"),
        ({"record": At((11,))}, ValueError, "at step 11, but the run ends at step 10"),
        ({"field": torch.zeros(8, 1)}, ValueError, r"shape \(\*batch, 9, 1\)"),
        ({"field": torch.full((9, 1), torch.nan)}, ValueError, "9 NaN"),
        ({"rng": None}, TypeError, "pass rng="),
        ({"rng": 1}, TypeError, r"rng must be a torch\.Generator"),
        ({"record": 5}, TypeError, "record must be a Every or At"),
        ({"scheme": TDGL}, TypeError, "the class TDGL itself"),
        ({"resume": "no"}, TypeError, "resume must be True or False"),
        ({"record": Every(1, observables={"m": lambda q: q.mean()})}, ValueError, r"begins with the batch \(2,\)"),
        ({"record": Every(1, observables={"m": lambda q: 1.0})}, ValueError, "got float"),
        (
            {"scheme": Brownian(0.1, 0.1), "record": Every(1, fields=("velocity",))},
            ValueError,
            "no velocity to record",
        ),
    ],
)
def test_impossible_runs_are_refused_before_they_start(change, error, message, tmp_path):
    arguments = dict(scheme=SCHEME, field=zeros(2), steps=10, record=Every(1), rng=generator()) | change
    with pytest.raises(error, match=message):
        simulate(springs(), path=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()
