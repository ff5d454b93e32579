"""Files of nearsight 0.1 have the numbers they had, or are refused with a sentence that says how to make them again.

``data/0.1/make.py`` made them with that version, and wrote what it found in them to ``expected.json``.
"""

import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.dynamics import Every, Langevin, Trajectory, simulate
from nearsight.forcefields import ExactForceField, load
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain
from nearsight.moves import LearnedMoves
from nearsight.properties import PropertyModel
from nearsight.sampling import Snapshots
from nearsight.solvers import Dense
from nearsight.storage import CorruptFileError
from nearsight.studies import Run, get
from nearsight.studies.settings import configure, validated
from nearsight.training import DataSet, MoveData

ARCHIVES = Path(__file__).parent / "data" / "0.1"
EXPECTED = json.loads((ARCHIVES / "expected.json").read_text())
RUNS = EXPECTED["runs"]


def unpacked(name: str, folder: Path) -> Path:
    """A copy of what an archive holds."""
    with tarfile.open(ARCHIVES / f"{name}.tar.gz") as archive:
        archive.extractall(folder / name, filter="data")
    return folder / name


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """``models``, ``data``, ``trajectories`` and runs of studies, which are only read."""
    folder = tmp_path_factory.mktemp("0.1")
    for name in ("models", "data", "trajectories", *(f"run_{study}" for study in RUNS)):
        unpacked(name, folder)
    return folder


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def energies(values: list) -> torch.Tensor:
    """Energies of moves, infinite where they are not possible."""
    return tensor([math.inf if value is None else value for value in values])


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_force_field_answers_as_it_did(files, name):
    known = EXPECTED["models"][name]
    answer = load(files / "models" / name)(tensor(known["field"]))
    torch.testing.assert_close(answer.force, tensor(known["force"]), atol=1e-6, rtol=1e-5)
    if known["energy"] is None:
        assert answer.energy is None
    else:
        torch.testing.assert_close(answer.energy, tensor(known["energy"]), atol=1e-6, rtol=1e-5)


def test_learned_energies_of_hops_are_what_they_were(files):
    moves = LearnedMoves(load(files / "models/embedded"))
    found = moves.differences(tensor(EXPECTED["models"]["embedded"]["field"]))
    torch.testing.assert_close(found.double(), energies(EXPECTED["moves"]["embedded"]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", EXPECTED["properties"])
def test_a_property_of_blocks_is_what_it_was(files, name):
    known = EXPECTED["properties"][name]
    found = PropertyModel.load(files / "models" / name)(torch.tensor(known["blocks"]))
    torch.testing.assert_close(found.double(), tensor(known["values"]), atol=1e-6, rtol=1e-5)


def test_a_model_on_rounded_digits_is_refused_with_the_exact_ones(files):
    """0.1 saw D1 where graphene has D3, in as many features: the weights would fit, and mean something else."""
    with pytest.raises(CorruptFileError, match=r"rounded .*compute this again, on vectors=\[\[2\.4597"):
        load(files / "models/graphene")


def test_a_data_set_holds_the_same_snapshots(files):
    known, data = EXPECTED["data"], DataSet.open(files / "data/forces.zarr")
    assert data.hash == known["hash"]
    for name in ("field", "force", "energy"):
        torch.testing.assert_close(getattr(data, name), tensor(known[name]), atol=0, rtol=0)
    assert data.counts == {"random": 4, "thermal": 2, "relaxing": 6, "near_equilibrium": 1}


def test_energies_of_moves_are_the_same(files):
    known, data = EXPECTED["move_data"], MoveData.open(files / "data/moves.safetensors")
    assert data.hash == known["hash"]
    for found, expected in zip(data.difference, known["difference"], strict=True):
        np.testing.assert_array_equal(found, energies(expected))


def continued(path: Path, steps: int) -> Trajectory:
    """The run of which ``finished`` is the end and ``stopped`` the first half, and what comes after it."""
    model = Holstein(chain(6), g=1.5, k=1.0, kappa=0.2)
    return simulate(
        ExactForceField(model, Dense(mu=0.0, kT=0.1)), Langevin(dt=0.1, kT=0.1, damping=0.3, mass=1.0),
        tensor(EXPECTED["trajectory"]["start"]), steps=steps, record=Every(3), rng=torch.Generator().manual_seed(9),
        path=path, resume=True, checkpoint_every=6,
    )  # fmt: skip


def assert_as_it_was(run: Trajectory, records: int) -> None:
    known = EXPECTED["trajectory"]
    np.testing.assert_array_equal(run.data.time[:records], known["time"][:records])
    np.testing.assert_allclose(run.data.field[:records], known["field"][:records], rtol=0, atol=1e-12)


def test_a_trajectory_is_read(files):
    run = Trajectory.open(files / "trajectories/finished")
    assert_as_it_was(run, 5)
    torch.testing.assert_close(run.final.field, tensor(EXPECTED["trajectory"]["final"]), atol=0, rtol=0)
    assert_as_it_was(Trajectory.open(files / "trajectories/stopped"), 3)


def test_a_run_that_was_stopped_ends_as_it_would_have(tmp_path):
    assert_as_it_was(continued(unpacked("trajectories", tmp_path) / "stopped", 12), 5)


def test_a_finished_run_is_extended(tmp_path):
    run = continued(unpacked("trajectories", tmp_path) / "finished", 18)
    assert_as_it_was(run, 5)
    assert run.final.step == 18 and len(run.data.record) == 7


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_a_study_vouches_for_its_numbers(files, name):
    run, known = Run(files / f"run_{name}"), RUNS[name]
    assert list(run.stages) == known["stages"]
    assert all(run.complete(stage) for stage in known["stages"] if stage != "report")
    assert len(run.checks) == known["verdicts"] and {check.passed for check in run.checks} == {None}
    assert run.checks[0].name == known["first"]["quantity"]
    assert all(check.note.startswith("nearsight 0.1: ") for check in run.checks)
    for group, sums in known["observables"].items():
        found = run.observable(group)
        for variable, total in sums.items():
            np.testing.assert_allclose(np.nansum(found[variable]), total, rtol=1e-12, err_msg=f"{group}.{variable}")


def test_the_data_of_runs_are_read(files):
    assert len(DataSet.open(files / "run_holstein/data.zarr")) == 33
    assert load(files / "run_holstein/model").lattice.shape == (6, 6)
    assert MoveData.open(files / "run_falicov_kimball/data.safetensors").lattice.shape == (8, 8)
    assert Snapshots.open(files / "run_ising_blocks/testing.zarr").lattice.shape == (24, 24)
    for path in (*files.glob("run_*/comparison/*/000"), files / "run_holstein", *files.glob("run_*/large/*")):
        assert len(Trajectory.open(path).data.record) > 1


@pytest.mark.parametrize("name", ["holstein", pytest.param("falicov_kimball", marks=pytest.mark.slow)])
def test_a_run_of_a_study_goes_on_where_it_was(tmp_path, name, blank_figures):
    study, run = get(name), Run(unpacked(f"run_{name}", tmp_path))
    before, skipped = run.stages, []

    def listener(event: str, facts: dict) -> None:
        if event == "skip":
            skipped.append(facts["stage"])

    study.run(run.path, study.stored_config(run), resume=True, listener=listener)
    assert skipped == [stage for stage in before if stage != "report"]
    assert {stage: run.stages[stage] for stage in skipped} == {stage: before[stage] for stage in skipped}
    assert (run.path / "report.html").exists()


def test_a_run_whose_settings_are_called_otherwise_is_refused_with_the_cure(files):
    with pytest.raises(ValueError, match=r"(?s)no configuration of this version.*'fronts'.*with another --name"):
        get("ising_blocks").stored_config(Run(files / "run_ising_blocks"))


@pytest.mark.parametrize(
    ("study", "old", "new"),
    [
        ("skyrmion", {"students": ["resnet"]}, "networks=[resnet]"),
        ("falicov_kimball", {"comparison": {"runs": 30}}, "comparison.quenches=30"),
    ],
)
def test_settings_that_were_renamed_are_read_under_their_old_names(study, old, new):
    kind = type(get(study).configure())
    assert validated(kind, old) == configure(kind(), [new]) != kind()
