"""The Falicov-Kimball study end to end on a lattice too small for physics: what must hold on any lattice."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from nearsight.dynamics import Trajectory
from nearsight.lattices import honeycomb, square
from nearsight.moves import Hops
from nearsight.reproductions import MoveCentred
from nearsight.studies import Run, get
from nearsight.studies.falicov_kimball import physics, snapshots
from nearsight.studies.falicov_kimball.barrier import magnetised
from nearsight.studies.falicov_kimball.generate import DATA, split
from nearsight.studies.falicov_kimball.train import learned
from nearsight.training import MoveData
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("falicov_kimball")

STUDY = get("falicov_kimball")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("falicov_kimball", tmp_path_factory.mktemp("runs"))


class TestRun(StudyContract):
    observables = ("snapshots", "curves", "growth", "maps", "barrier", "potential")
    verdicts = 20
    data = DATA


def test_no_quench_loses_an_f_electron(finished):
    for path in sorted((finished.path / "comparison").glob("*/*")) + sorted((finished.path / "large").iterdir()):
        field = Trajectory.open(path).data.field.values
        assert np.ptp(field.sum((-2, -1))) == 0


def test_all_ensembles_start_from_the_same_positions_and_part(finished):
    def fields(name: str) -> np.ndarray:
        parts = [Trajectory.open(p).data.field.values for p in sorted((finished.path / "comparison" / name).iterdir())]
        return np.concatenate(parts, axis=1)

    exact, student, screened = fields("exact"), fields("learned"), fields("screened")
    np.testing.assert_array_equal(exact[0], student[0])
    np.testing.assert_array_equal(exact[0, : screened.shape[1]], screened[0])
    assert (exact[-1] != student[-1]).any()


def test_labels_are_exact_free_energies(finished):
    data = MoveData.open(finished.path / DATA)
    energies = physics.exact(TINY, TINY.length)
    torch.testing.assert_close(torch.from_numpy(data.difference[5]), energies.differences(data.field[5]))


def test_the_student_is_judged_on_quenches_it_has_not_seen(finished):
    parts = split(finished, TINY)
    seen = [set(part.trajectory.tolist()) for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    data = finished.observable("snapshots")
    truth = parts.test.difference[np.isfinite(parts.test.difference)]
    np.testing.assert_array_equal(data.exact.values, truth)
    student = learned(finished, TINY.length)
    again = student.differences(parts.test.field[:1])[0]
    again = again[torch.isfinite(again)]
    np.testing.assert_allclose(data.learned.values[: len(again)], again.numpy(), atol=1e-6)


@pytest.mark.parametrize("lattice", [square(5), square(4, 6), honeycomb(3)], ids=repr)
def test_moved_hops_are_the_hops_of_the_moved_field(lattice):
    """A hop, moved by a translation and by a shuffle that keeps neighbours, does to the moved field what it did."""
    hops = Hops(lattice)
    rng = torch.Generator().manual_seed(3)
    field = (torch.rand(lattice.n_sites, 1, generator=rng) < 0.4).double()
    shifted = lattice.index(lattice.cells + np.eye(lattice.dim, dtype=int)[0], lattice.sublattice)
    number = snapshots.moved_hops(hops, shifted)
    for move in torch.nonzero(hops.possible(field))[:, 0]:
        there = hops.apply(field[shifted], torch.tensor(number[move]))
        torch.testing.assert_close(there, hops.apply(field, move)[shifted])


def test_a_broken_symmetry_is_seen(finished):
    """Energies that favour one direction fail the examination that the student passes."""

    class Tilted:
        def __init__(self, energies):
            self.energies, self.hops, self.lattice = energies, energies.hops, energies.lattice

        def differences(self, field):
            tilt = torch.arange(len(self.hops)) % self.hops.directions == 0
            return self.energies.differences(field) + 0.1 * tilt

    student = learned(finished, TINY.length)
    field = split(finished, TINY).test.field[:2]
    assert max(snapshots.symmetry_error(student, field)) < snapshots.SYMMETRY
    assert max(snapshots.symmetry_error(Tilted(student), field)) > 0.1
    rng = torch.Generator().manual_seed(0)
    assert snapshots.loop_verdict(student, field, rng).passed is True
    odd = MoveCentred(student.hops, cutoff=2.0)
    assert snapshots.loop_verdict(odd, field, rng).passed is False


def test_magnetisations_come_equally_often():
    signs = magnetised(16, torch.Generator().manual_seed(0))
    values, counts = np.unique(np.abs(signs.sum(1)), return_counts=True)
    assert values.tolist() == [1, 3, 5, 7] and counts.tolist() == [4, 4, 4, 4]


def test_tables_of_others_are_drawn(finished, tmp_path):
    from nearsight.studies.falicov_kimball import figures as falicov_kimball

    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    folder = copy.path / falicov_kimball.PUBLISHED
    folder.mkdir()
    (folder / "lengths.csv").write_text("t,L\n1,0.8\n10,1.5\n")
    (folder / "lengths.yaml").write_text(yaml.safe_dump({"quantity": "length", "source": "somebody (2020)"}))
    assert "somebody (2020)" in falicov_kimball.growth(copy, TINY).caption
    assert "somebody" not in falicov_kimball.growth(finished, TINY).caption


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("f_density=0.01", "fewer than two f electrons"),
        ("f_density=1.2", "f_density"),
        ("kT=-1", "kT"),
        ("model.U=0", "model.U"),
        ("large.growth_from=500", "growth_from"),
        ("network.radius=-1", "network.radius"),
    ],
)
def test_settings_without_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        STUDY.configure("tiny", [setting])
