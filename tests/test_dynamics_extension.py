"""More steps after a finished run: as if it had been asked for them at the start."""

import numpy as np
import pytest
import torch

from contracts.scheme_contract import every_scheme, generator
from nearsight.dynamics import At, Brownian, Every, Langevin, Trajectory, simulate
from nearsight.dynamics.run._record_store import Records
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.storage import _zarr, tree_hash


class Killed(Exception):
    pass


ENERGY = ("field", "energy")


def oscillators(path, steps, record, rng=None, **changes):
    settings = dict(rng=rng or generator(), resume=True, checkpoint_every=7)
    forcefield = ClassicalForceField(Holstein(square(3), k=1.0, kappa=0.1))
    field = torch.zeros(2, 9, 1, dtype=torch.float64)
    scheme = Langevin(dt=0.1, kT=0.2, damping=0.7)
    return simulate(forcefield, scheme, field, steps=steps, record=record, path=path, **(settings | changes))


@every_scheme
def test_an_extended_run_equals_the_uninterrupted_one_bit_for_bit(scheme, physics, fields, rng, tmp_path):
    field = fields(rng, 2)

    def run(path, steps, chance):
        record = Every(3, fields=ENERGY)
        return simulate(
            physics(), scheme, field, steps=steps, record=record, rng=chance, path=tmp_path / path, resume=True
        )

    chance, again = generator(), generator()
    whole = run("whole", 10, chance)
    assert run("extended", 4, generator()).final.step == 4
    extended = run("extended", 10, again)
    assert torch.equal(extended.final.field, whole.final.field) and torch.equal(again.get_state(), chance.get_state())
    assert torch.equal(torch.as_tensor(extended.final.time), torch.as_tensor(whole.final.time))
    assert extended.data.step.values.tolist() == [0, 3, 6, 9]
    assert tree_hash(tmp_path / "extended") == tree_hash(tmp_path / "whole")


@every_scheme
@pytest.mark.parametrize("saved", [False, True], ids=["in memory", "on disk"])
def test_a_run_from_the_last_state_of_another_goes_on_as_if_it_had_not_ended(
    scheme, physics, fields, saved, rng, tmp_path
):
    field, record = fields(rng, 2), Every(3, fields=ENERGY)
    path = tmp_path if saved else None
    chance, again = generator(), generator()
    whole = simulate(physics(), scheme, field, steps=10, record=record, rng=chance)
    first = simulate(physics(), scheme, field, steps=4, record=record, rng=again)
    then = simulate(physics(), scheme, first.final, steps=10, record=record, rng=again, path=path)
    assert torch.equal(then.final.field, whole.final.field) and torch.equal(again.get_state(), chance.get_state())
    assert torch.equal(torch.as_tensor(then.final.time), torch.as_tensor(whole.final.time))
    assert then.data.step.values.tolist() == [6, 9] and then.data.identical(whole.data.isel(record=[2, 3]))


def test_a_state_is_refused_by_a_scheme_of_another_kind(rng):
    forcefield = ClassicalForceField(Holstein(square(3), k=1.0, kappa=0.1))
    settings = dict(record=None, rng=rng)
    field = torch.zeros(9, 1, dtype=torch.float64)
    end = simulate(forcefield, Brownian(dt=0.1, kT=0.2), field, steps=3, **settings).final
    with pytest.raises(ValueError, match="not one of Langevin, whose velocity is another"):
        simulate(forcefield, Langevin(dt=0.1, kT=0.2, damping=0.7), end, steps=5, **settings)
    with pytest.raises(ValueError, match="ask for more steps"):
        simulate(forcefield, Brownian(dt=0.1, kT=0.2), end, steps=2, **settings)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Every(3), Every(3)),
        (At((0, 2, 5)), At((0, 2, 5, 11, 30))),
        (At.logarithmic(8), At.logarithmic(30)),
        (At((0,)), At((0, 30))),
        (None, None),
    ],
    ids=["every", "at", "logarithmic", "late", "nothing"],
)
def test_records_to_come_may_be_named_when_the_run_is_extended(first, then, tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.dynamics.run._record_store.CHUNK_RECORDS", 3)
    oscillators(tmp_path / "whole", 30, then)
    for steps, record in ((8, first), (8, first), (30, then)):
        oscillators(tmp_path / "extended", steps, record)
    assert tree_hash(tmp_path / "extended") == tree_hash(tmp_path / "whole")


@pytest.mark.parametrize("then", [Every(4), At((0, 2, 7, 30)), At((0, 5, 30))], ids=repr)
def test_records_of_the_past_cannot_be_asked_for_afterwards(then, tmp_path):
    oscillators(tmp_path, 8, At((0, 2, 5)))
    with pytest.raises(ValueError, match=r"record\.at: \[0, 2, 5\] \(then\)"):
        oscillators(tmp_path, 30, then)


def test_a_run_that_was_stopped_may_end_sooner_than_it_was_started_for(tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.dynamics.run._record_store.CHUNK_RECORDS", 3)
    oscillators(tmp_path / "short", 16, Every(3))

    class Stumbling(ClassicalForceField):
        calls = 0

        def evaluate(self, field):
            Stumbling.calls += 1
            if Stumbling.calls > 13:
                raise KeyboardInterrupt
            return super().evaluate(field)

    Stumbling.__name__ = "ClassicalForceField"  # the same forces
    model = Holstein(square(3), k=1.0, kappa=0.1)
    start = torch.zeros(2, 9, 1, dtype=torch.float64)
    with pytest.raises(KeyboardInterrupt):
        simulate(
            Stumbling(model), Langevin(dt=0.1, kT=0.2, damping=0.7), start, steps=60, record=Every(3), rng=generator(),
            path=tmp_path / "cut", checkpoint_every=7,
        )  # fmt: skip
    oscillators(tmp_path / "cut", 16, Every(3))
    assert tree_hash(tmp_path / "cut") == tree_hash(tmp_path / "short")


def test_a_run_is_never_cut_back(tmp_path):
    oscillators(tmp_path, 8, Every(2))
    before = tree_hash(tmp_path)
    with pytest.raises(ValueError, match=r"has gone 8 steps already, more than the 5 .* Trajectory\.open"):
        oscillators(tmp_path, 5, Every(2))
    assert tree_hash(tmp_path) == before


@pytest.mark.parametrize("moment", (0, 1, 3, 5, 6, 10))
def test_an_extension_killed_at_any_moment_goes_on(moment, tmp_path, monkeypatch):
    oscillators(tmp_path / "whole", 20, Every(2))
    oscillators(tmp_path / "cut", 8, Every(2))
    left, write = [moment], _zarr.write_atomic

    def killed(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(_zarr, "write_atomic", killed)
        with pytest.raises(Killed):
            oscillators(tmp_path / "cut", 20, Every(2))
    assert len(Trajectory.open(tmp_path / "cut").data.step) == 5
    oscillators(tmp_path / "cut", 8 if moment % 2 else 20, Every(2))
    oscillators(tmp_path / "cut", 20, Every(2))
    assert tree_hash(tmp_path / "cut") == tree_hash(tmp_path / "whole")


def test_what_is_read_while_a_run_is_extended_is_nan_beyond_its_records(tmp_path):
    oscillators(tmp_path, 8, Every(2))
    records = Records.resume(tmp_path / "trajectory.zarr", 0, {})
    records.resize(11)
    data = records.xarray
    assert data.sizes["record"] == 11
    assert np.isfinite(data.energy[:5]).all() and np.isnan(data.energy[5:]).all()
