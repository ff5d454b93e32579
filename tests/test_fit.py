"""Fits: a planted law is recovered, and a fit is a function of its inputs."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from kills import kill_when
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, Forces
from nearsight.hamiltonians import Holstein
from nearsight.lattices import Lattice, square
from nearsight.solvers import Dense
from nearsight.storage import CorruptFileError, load_tensors, save_tensors
from nearsight.training import DataSet, FitOptions, Random, Trainer, evaluate, fit, trainer


class Springs(ForceField):
    """E = ½ a Σ Q_i² + b Σ_⟨ij⟩ Q_i Q_j + N e₀ with a and b to be learned."""

    def __init__(self, lattice: Lattice, a=0.0, b=0.0, *, energy: bool = True, parameters: nn.Module | None = None):
        super().__init__()
        self.lattice, self.components, self.energy = lattice, 1, energy
        self.a = parameters.a if parameters else nn.Parameter(torch.tensor(a, dtype=torch.float64))
        self.b = parameters.b if parameters else nn.Parameter(torch.tensor(b, dtype=torch.float64))
        self.register_buffer("energy_offset", parameters.energy_offset if parameters else torch.zeros(()))

    def on(self, lattice):
        return Springs(lattice, energy=self.energy, parameters=self)

    def evaluate(self, field):
        q, bonds = field[..., 0], self.lattice.bonds(1)
        i, j = torch.as_tensor(bonds.i), torch.as_tensor(bonds.j)
        neighbours = torch.zeros_like(q).index_add(-1, i, q[..., j]).index_add(-1, j, q[..., i])
        energy = None
        if self.energy:
            energy = 0.5 * (q * (self.a * q + self.b * neighbours)).sum(-1) + self.energy_offset * self.lattice.n_sites
        return Forces(-(self.a * q + self.b * neighbours).unsqueeze(-1), energy)


class Network(ForceField):
    """A small energy network, local on every site: enough weights to make bit-for-bit mean something."""

    def __init__(self, lattice: Lattice, seed: int = 0):
        super().__init__()
        self.lattice, self.components = lattice, 1
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        rng = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            nn.init.normal_(p, std=0.3, generator=rng)

    def on(self, lattice):
        moved = Network(lattice)
        moved.net = self.net
        return moved

    def evaluate(self, field):
        with torch.enable_grad():
            leaf = field if field.requires_grad else field.detach().requires_grad_()
            energy = self.net(leaf).sum(dim=(-2, -1))
            (gradient,) = torch.autograd.grad(energy.sum(), leaf, create_graph=self.training)
        return Forces(-gradient, energy)


LATTICE = square(4)
PRECISE = FitOptions(
    optimizer="adamw",
    steps=700,
    batch_size=8,
    learning_rate=0.05,
    warmup=10,
    dtype="float64",
    average=0.0,
    validate_every=500,
    clip=1e6,
)
SHORT = FitOptions(
    steps=60, batch_size=4, warmup=5, dtype="float64", validate_every=7, checkpoint_every=10, average=0.9
)


def planted(a=1.3, b=-0.4, *, constant=7.0, lattice=LATTICE, extra=None) -> DataSet:
    field = torch.randn(40, lattice.n_sites, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        force, energy = Springs(lattice, a, b)(field)
        if extra is not None:
            force, energy = force + extra(field).force, energy + extra(field).energy
    return DataSet.from_arrays(
        lattice=lattice, field=field, force=force, energy=energy + constant, trajectory=np.repeat(np.arange(20), 2)
    )


@pytest.fixture(scope="module")
def data() -> DataSet:
    field = torch.randn(40, 16, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return DataSet.from_arrays(
        lattice=LATTICE,
        field=field,
        force=-2 * torch.sin(2 * field),
        energy=-torch.cos(2 * field).sum((-2, -1)),
        trajectory=np.repeat(np.arange(20), 2),
    )


def weights(forcefield) -> dict:
    return {name: p.detach().clone() for name, p in forcefield.state_dict().items()}


def assert_same(one, other) -> None:
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


# --- a planted law --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("energy_weight", [0.0, 1.0])
def test_a_planted_linear_force_is_recovered(energy_weight):
    options = PRECISE.model_copy(update={"energy_weight": energy_weight})
    student = fit(Springs(LATTICE), planted(), options=options, progress=False)
    assert student.a.item() == pytest.approx(1.3, abs=1e-6)
    assert student.b.item() == pytest.approx(-0.4, abs=1e-6)
    assert not student.training


def test_energies_alone_determine_the_planted_forces():
    options = PRECISE.model_copy(update={"force_weight": 0.0, "energy_weight": 1.0})
    student = fit(Springs(LATTICE), planted(), options=options, progress=False)
    assert (student.a.item(), student.b.item()) == pytest.approx((1.3, -0.4), abs=1e-6)


def test_the_constant_of_the_energy_ends_up_in_the_offset_per_site():
    student = fit(Springs(LATTICE), planted(constant=7.0), options=PRECISE, progress=False)
    assert float(student.energy_offset) == pytest.approx(7.0 / 16, abs=1e-6)
    assert evaluate(student, planted())["energy"]["offset"] == pytest.approx(0.0, abs=1e-6)


def test_a_driven_student_learns_from_forces_alone():
    student = fit(Springs(LATTICE, energy=False), planted(), options=PRECISE, progress=False)
    assert (student.a.item(), student.b.item()) == pytest.approx((1.3, -0.4), abs=1e-6)


def test_of_a_sum_only_the_unknown_part_is_learned():
    exact = ClassicalForceField(Holstein(LATTICE, k=5.0, kappa=0.7))
    student = Springs(LATTICE) + exact
    fitted = fit(student, planted(extra=exact), options=PRECISE, progress=False)
    assert fitted is student
    assert (student.parts[0].a.item(), student.parts[0].b.item()) == pytest.approx((1.3, -0.4), abs=1e-6)
    assert evaluate(student, planted(extra=exact))["force"]["rmse"] < 1e-6


def test_exact_parts_are_evaluated_once(monkeypatch):
    exact = ClassicalForceField(Holstein(LATTICE))
    labels, calls, evaluate_ = planted(extra=exact), [], ClassicalForceField.evaluate
    monkeypatch.setattr(
        ClassicalForceField, "evaluate", lambda self, field: calls.append(len(field)) or evaluate_(self, field)
    )
    fit(Springs(LATTICE) + exact, labels, options=SHORT, progress=False)
    split = labels.split()
    assert sum(calls) == len(split.train) + len(split.validation)


def test_a_student_of_another_size_learns_from_the_lattice_of_the_data():
    student = fit(Springs(square(6)), planted(), options=PRECISE, progress=False)
    assert student.lattice.shape == (6, 6)
    assert (student.a.item(), student.b.item()) == pytest.approx((1.3, -0.4), abs=1e-6)


def test_a_network_approaches_a_nonlinear_law(data):
    before = evaluate(Network(LATTICE), data)["force"]["relative"]
    options = FitOptions(steps=800, batch_size=8, learning_rate=3e-2, dtype="float64")
    split = data.split()
    student = fit(Network(LATTICE), split, options=options, progress=False)
    after = evaluate(student, split.test)
    assert after["force"]["relative"] < 0.1 * before
    assert after["energy"]["rmse"] < 0.1 * after["energy"]["label"]


def test_single_precision_is_what_the_options_say(data):
    student = fit(Network(LATTICE), data, options=SHORT.model_copy(update={"dtype": "float32"}), progress=False)
    assert {p.dtype for p in student.parameters()} == {torch.float32}


# --- a function of its inputs ---------------------------------------------------------------------------------------


def test_a_fit_repeats_itself_bit_for_bit_and_follows_its_seed(data):
    first, second = (fit(Network(LATTICE), data, options=SHORT, progress=False) for _ in range(2))
    assert_same(first, second)
    other = fit(Network(LATTICE), data.split(), options=SHORT.model_copy(update={"seed": 1}), progress=False)
    assert not torch.equal(other.net[0].weight, first.net[0].weight)


def test_a_fit_leaves_global_settings_alone(data):
    student = Network(LATTICE)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        fit(student, data, options=SHORT, progress=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize("at", [1, 10, 13, 59])
def test_a_fit_interrupted_at_any_step_resumes_bit_for_bit(data, tmp_path, monkeypatch, at):
    undisturbed = fit(Network(LATTICE), data, options=SHORT, path=tmp_path / "whole", progress=False)
    advance = Trainer.advance

    def dying(self):
        if self.step == at:
            raise KeyboardInterrupt
        advance(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "advance", dying)
        fit(Network(LATTICE), data, options=SHORT, path=tmp_path / "cut", progress=False)
    # The student that resumes starts from other weights: all that matters must come from the checkpoint.
    start = Network(LATTICE, seed=0 if at < SHORT.checkpoint_every else 9)
    resumed = fit(start, data, options=SHORT, path=tmp_path / "cut", resume=True, progress=False)
    assert_same(undisturbed, resumed)
    assert (tmp_path / "cut" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def interrupted(self):
    raise KeyboardInterrupt


@pytest.fixture
def measured(monkeypatch):
    """Torch with two threads, a measurement with a given result, and the numbers of threads of the steps since."""
    before, steps, advance = torch.get_num_threads(), [], Trainer.advance

    def watched(self):
        steps.append(torch.get_num_threads())
        advance(self)

    def found(number):
        steps.clear()
        monkeypatch.setattr(trainer, "fastest_threads", lambda work, most: work() or min(number, most))
        return steps

    monkeypatch.setattr(Trainer, "advance", watched)
    torch.set_num_threads(2)
    yield found
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2])
def test_measuring_threads_leaves_no_trace_in_a_fit(data, tmp_path, measured, number):
    steps = measured(number)
    free = SHORT.model_copy(update={"threads": None})
    chosen = fit(Network(LATTICE), data, options=free, path=tmp_path, progress=False)
    assert set(steps) == {number} and torch.get_num_threads() == 2
    given = SHORT.model_copy(update={"threads": number})
    assert_same(chosen, fit(Network(LATTICE), data, options=given, progress=False))


@pytest.mark.parametrize("recorded", [True, False])
def test_a_resumed_fit_keeps_the_threads_it_began_with(data, tmp_path, measured, monkeypatch, recorded):
    options, file = SHORT.model_copy(update={"threads": None}), tmp_path / "checkpoint.safetensors"
    steps = measured(1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "validate", interrupted)
        fit(Network(LATTICE), data, options=options, path=tmp_path, progress=False)
    assert set(steps) == {1}
    if not recorded:  # files of earlier versions, which left the number as it was
        tensors, texts = load_tensors(file)
        numbers = json.loads(texts["numbers"])
        assert numbers.pop("threads") == 1
        save_tensors(file, tensors, texts | {"numbers": json.dumps(numbers)})
    steps = measured(2)
    fit(Network(LATTICE), data, options=options, path=tmp_path, resume=True, progress=False)
    assert set(steps) == {1 if recorded else 2}


def test_the_threads_are_on_disk_before_the_first_step(data, tmp_path, measured, monkeypatch):
    measured(1)
    options = SHORT.model_copy(update={"threads": None})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "advance", interrupted)
        fit(Network(LATTICE), data, options=options, path=tmp_path, progress=False)
    steps = measured(2)
    resumed = fit(Network(LATTICE, seed=9), data, options=options, path=tmp_path, resume=True, progress=False)
    assert set(steps) == {1}
    assert_same(resumed, fit(Network(LATTICE), data, options=SHORT, progress=False))


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_fit import *
def slow(self, advance=Trainer.advance):
    time.sleep(0.02)
    advance(self)
Trainer.advance = slow
torch.set_num_threads(1)
fit(Network(LATTICE), DataSet.open({data!r}), options=SHORT, path={path!r}, progress=False)
"""


def test_a_fit_killed_resumes_bit_for_bit(data, tmp_path):
    DataSet.from_arrays(
        tmp_path / "d",
        lattice=LATTICE,
        field=data.field,
        force=data.force,
        energy=data.energy,
        trajectory=data.trajectory,
    )
    code = SCRIPT.format(tests=os.path.dirname(__file__), data=str(tmp_path / "d"), path=str(tmp_path / "fit"))
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        kill_when(process, (tmp_path / "fit" / "checkpoint.safetensors").exists)
    rows = (tmp_path / "fit" / "log.csv").read_text().splitlines() if (tmp_path / "fit" / "log.csv").exists() else []
    assert len(rows) < 1 + SHORT.steps // SHORT.validate_every
    opened = DataSet.open(tmp_path / "d")
    resumed = fit(Network(LATTICE, seed=9), opened, options=SHORT, path=tmp_path / "fit", resume=True, progress=False)
    assert_same(fit(Network(LATTICE), data, options=SHORT, progress=False), resumed)


def test_resuming_a_finished_fit_returns_its_result(data, tmp_path):
    first = fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False)
    again = fit(Network(LATTICE, seed=4), data, options=SHORT, path=tmp_path, resume=True, progress=False)
    assert_same(first, again)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            dict(options=SHORT.model_copy(update={"learning_rate": 1e-4})),
            r"options\.learning_rate: 0\.006 \(then\), 0\.0001 \(now\)",
        ),
        (dict(data=planted()), r"train: \w{64} \(then\), \w{64} \(now\)"),
        (dict(model=Springs(LATTICE)), r"parameters\.net\.0\.weight: \[8, 1\] \(then\), None \(now\)"),
    ],
    ids=["options", "data", "student"],
)
def test_resuming_another_fit_is_refused_and_named(data, tmp_path, change, named):
    fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False)
    arguments = dict(model=Network(LATTICE), data=data, options=SHORT) | change
    with pytest.raises(ValueError, match=named):
        fit(**arguments, path=tmp_path, resume=True, progress=False)


def test_a_fit_is_never_overwritten_by_accident(data, tmp_path):
    fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="resume=True"):
        fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False)


def test_a_truncated_checkpoint_is_named(data, tmp_path):
    fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CorruptFileError, match=r"checkpoint\.safetensors"):
        fit(Network(LATTICE), data, options=SHORT, path=tmp_path, resume=True, progress=False)


# --- what is kept ---------------------------------------------------------------------------------------------------


def read_log(path) -> np.ndarray:
    return np.genfromtxt(path / "log.csv", delimiter=",", names=True)


def test_the_result_is_the_best_of_the_log_on_held_out_trajectories(data, tmp_path):
    # A rate far too high makes the error go up and down: the last weights are then not the best ones.
    options = SHORT.model_copy(update={"optimizer": "adamw", "learning_rate": 0.3, "final_rate": 1.0, "average": 0.0})
    student = fit(Network(LATTICE), data, options=options, path=tmp_path, progress=False)
    log = read_log(tmp_path)
    assert log["step"].tolist() == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    np.testing.assert_array_equal(log["best_rmse"], np.minimum.accumulate(log["validation_rmse"]))
    assert log["best_rmse"][-1] < log["validation_rmse"][-1]
    validation = data.split(seed=options.seed).validation
    assert evaluate(student, validation)["force"]["rmse"] == pytest.approx(log["best_rmse"][-1], rel=1e-12)


def test_patience_ends_a_fit_that_no_longer_improves(data, tmp_path):
    options = SHORT.model_copy(
        update={"learning_rate": 0.5, "final_rate": 1.0, "average": 0.0, "patience": 2, "steps": 2000}
    )
    fit(Network(LATTICE), data, options=options, path=tmp_path, progress=False)
    log = read_log(tmp_path)
    assert log["step"][-1] < 2000
    assert (log["validation_rmse"][-2:] >= log["best_rmse"][-1]).all()
    assert np.argmin(log["validation_rmse"]) == len(log) - 3


def test_the_test_part_of_a_split_is_never_looked_at(data):
    split = data.split()
    spoiled = split._replace(test=None)
    assert_same(
        fit(Network(LATTICE), split, options=SHORT, progress=False),
        fit(Network(LATTICE), spoiled, options=SHORT, progress=False),
    )


def test_tensorboard_events_are_written_when_asked_for(data, tmp_path):
    pytest.importorskip("tensorboard")
    fit(Network(LATTICE), data, options=SHORT, path=tmp_path, progress=False, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))
    with pytest.raises(ValueError, match="pass path="):
        fit(Network(LATTICE), data, options=SHORT, progress=False, tensorboard=True)


# --- the door -------------------------------------------------------------------------------------------------------


def test_a_force_field_without_parameters_cannot_be_fitted(data):
    exact = ExactForceField(Holstein(LATTICE), Dense(filling=0.5, kT=0.1))
    with pytest.raises(ValueError, match="no parameters to fit"):
        fit(exact, data, options=SHORT, progress=False)


def test_an_energy_loss_needs_two_snapshots_a_batch(data):
    with pytest.raises(ValueError, match="energy_weight=0"):
        fit(Network(LATTICE), data, options=SHORT.model_copy(update={"batch_size": 1}), progress=False)


def test_a_fit_without_held_out_trajectories_is_refused(data):
    with pytest.raises(ValueError, match="validation part of the split is empty"):
        fit(Network(LATTICE), data.split(validation=0.0), options=SHORT, progress=False)


def test_an_exploding_fit_says_so(data):
    options = SHORT.model_copy(update={"learning_rate": 1e308, "warmup": 0})
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        fit(Network(LATTICE), data, options=options, progress=False)


def test_a_force_field_that_copies_its_parameters_is_refused():
    class Copying(Springs):
        def on(self, lattice):
            return Copying(lattice)

    with pytest.raises(TypeError, match="must share"):
        fit(Copying(square(6)), planted(), options=SHORT, progress=False)


@pytest.mark.parametrize(
    "bad",
    [
        dict(steps=0),
        dict(batch_size=0),
        dict(learning_rate=-1.0),
        dict(learning_rate=float("inf")),
        dict(force_weight=0.0, energy_weight=0.0),
        dict(average=1.0),
        dict(validation=0.0),
        dict(validation=0.6, test=0.4),
        dict(dtype="float16"),
        dict(threads=0),
        dict(patience=0),
        dict(epochs=10),
    ],
)
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        FitOptions(**bad)


def test_numbers_of_numpy_and_torch_are_numbers_and_files_may_write_them_as_text():
    given = dict(steps=np.int64(7), learning_rate=np.float32(0.5), patience=torch.tensor(3), augment=np.bool_(True))
    assert FitOptions(**given) == FitOptions(steps=7, learning_rate=0.5, patience=3, augment=True)
    assert Random(trajectories=np.int32(2), snapshots=1, amplitude=np.array([0.5, 1.0])).amplitude == (0.5, 1.0)
    assert type(FitOptions(**given).steps) is int

    class Config(BaseModel):
        fit: FitOptions

    assert Config.model_validate({"fit": {"learning_rate": "1e-3"}}).fit == FitOptions(learning_rate=1e-3)


def test_options_are_frozen():
    with pytest.raises(ValidationError):
        FitOptions().steps = 3


def test_the_rate_warms_up_and_falls_to_its_end():
    options = FitOptions(steps=1000, warmup=100, learning_rate=1e-2, final_rate=0.1)
    rates = [options.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-4) and max(rates) == rates[99] == pytest.approx(1e-2)
    assert rates[1000] == pytest.approx(1e-3)
    assert all(a >= b for a, b in pairwise(rates[100:]))


# --- errors in numbers ----------------------------------------------------------------------------------------------


def test_evaluate_reports_a_planted_error():
    labels = planted(a=1.0, b=0.0, constant=3.2)
    result = evaluate(Springs(LATTICE, 1.1, 0.0), labels, batch=7)
    rms, top = float(labels.field.square().mean().sqrt()), float(labels.field.abs().max())
    assert result["force"]["rmse"] == pytest.approx(0.1 * rms)
    assert result["force"]["max"] == pytest.approx(0.1 * top)
    assert result["force"]["relative"] == pytest.approx(0.1)
    squares = 0.05 * labels.field.square().mean(dim=(-2, -1))
    assert result["energy"]["offset"] == pytest.approx(float(squares.mean()) - 3.2 / 16)
    assert result["energy"]["rmse"] == pytest.approx(float(squares.std(correction=0)))
    assert result["kinds"] == {"imported": {k: v for k, v in result.items() if k != "kinds"}}


def test_evaluate_separates_the_kinds():
    field = torch.cat([torch.ones(2, 16, 1), 2 * torch.ones(3, 16, 1)]).double()
    kinds = np.array([0, 0, 1, 1, 1])
    labels = DataSet.from_arrays(lattice=LATTICE, field=field, force=torch.zeros_like(field), kind=kinds)
    result = evaluate(Springs(LATTICE, 1.0, 0.0), labels)
    assert result["energy"] is None
    assert result["kinds"]["random"]["force"]["rmse"] == 1.0 and result["kinds"]["random"]["snapshots"] == 2
    assert result["kinds"]["thermal"]["force"]["rmse"] == 2.0 and result["kinds"]["thermal"]["snapshots"] == 3
    assert result["force"]["rmse"] == pytest.approx(np.sqrt((2 + 12) / 5))
