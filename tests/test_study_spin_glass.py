"""The study of the metallic spin glass end to end on structures too small for physics."""

import numpy as np
import pytest
import torch

from nearsight.dynamics import Trajectory
from nearsight.fields import tangent
from nearsight.forcefields import ExactForceField, load
from nearsight.lattices import PointCloud, Structures
from nearsight.solvers import Dense
from nearsight.studies import Run, get
from nearsight.studies.locality import examine
from nearsight.studies.systems import spin_glass
from nearsight.training import DataSet
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("spin_glass")

STUDY = get("spin_glass")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("spin_glass", tmp_path_factory.mktemp("runs"))


class TestRun(StudyContract):
    observables = ("snapshots", "curves", "levels", "growth")
    checks = 15


def test_the_data_are_exact_fields_of_structures_side_by_side(finished):
    data = DataSet.open(finished.path / "data.zarr")
    lattice = data.lattice
    assert isinstance(lattice, Structures) and len(lattice.structures) == 2 * 3 + 2
    k = 4
    spins, force = (lattice.split(x)[k] for x in (data.field, data.force))
    model = spin_glass.electrons(TINY, lattice.structures[k])
    expected = ExactForceField(model, Dense(filling=0.5, kT=0.0))(spins).force
    torch.testing.assert_close(tangent(force, spins), tangent(expected, spins), atol=1e-9, rtol=0)
    assert (data.time[0], data.time[-1]) == (0.0, 16.0)


def test_test_structures_are_in_no_group():
    groups = spin_glass._groups(TINY)
    used = [k for train, check in groups for part in (train, check) for k in part]
    assert sorted(used) == list(range(len(used))) and len(used) == 6


def test_structures_are_a_function_of_seed_and_purpose():
    a, b = (spin_glass.structures(TINY, "data", 2, 16) for _ in range(2))
    assert a.coincides(b) and not a.coincides(spin_glass.structures(TINY, "large", 2, 16))
    other = TINY.model_copy(update={"seed": 2})
    assert not a.coincides(spin_glass.structures(other, "data", 2, 16))


def test_snapshots_are_those_of_the_kept_network_on_unseen_structures(finished):
    data, found = DataSet.open(finished.path / "data.zarr"), finished.observable("snapshots")
    test = Structures(data.lattice.structures[6:])
    spins = torch.cat(data.lattice.split(data.field)[6:], -2)
    H = load(finished.path / "model").on(test)(spins.float()).force.double()
    np.testing.assert_allclose(found.learned_force, tangent(H, spins), atol=1e-5)
    exact = torch.cat(data.lattice.split(data.force)[6:], -2)
    np.testing.assert_allclose(found.exact_force, tangent(exact, spins), atol=1e-12)


def test_levels_begin_half_filled(finished):
    dos = finished.observable("levels").dos
    below = float(np.trapezoid(dos.where(dos.energy <= 0, 0.0), dos.energy))
    assert below == pytest.approx(1.0, abs=0.15)  # one electron per site, smeared


def test_the_symmetry_of_the_learned_field_is_exact_before_it_is_accurate(finished):
    found = {check.name: check for check in finished.checks}
    assert found["symmetry of the learned field, worst of 12 operations"].passed
    assert found["relative rms error of H normal to the spins, unseen structures"].value > 0.05


def test_locality_is_examined_on_a_structure_of_the_comparison(finished):
    """That no training has seen, with the exact fields of that structure and continuations from other quenches."""
    target = STUDY.target(finished, TINY)
    cloud, field = target.data.lattice, target.data.field
    assert isinstance(cloud, PointCloud) and not isinstance(cloud, Structures) and cloud.n_sites == 16
    assert not any(cloud.coincides(one) for one in DataSet.open(finished.path / "data.zarr").lattice.structures)
    assert len(np.unique(target.data.trajectory)) == TINY.comparison.quenches
    kept = Trajectory.open(finished.path / "comparison" / "exact" / "000").data.field.isel(record=0)
    kept = kept.transpose("replica", "site", "component").values[:, :16]
    first = np.flatnonzero(np.diff(target.data.trajectory, prepend=-1))  # of every quench
    np.testing.assert_allclose(field[first][: len(kept)], kept, atol=1e-6)
    torch.testing.assert_close(target.exact(field).force, target.force, atol=1e-12, rtol=0)

    found = examine(finished.path, samples=8)
    error = tangent(target.learned(field.float()).force.double() - target.force, field).square().mean().sqrt()
    assert float(found.data["error"][0]) == pytest.approx(float(error), rel=1e-3)
    share = found.data["share"].sel(source="exact").dropna("r")
    assert share.r.values[0] == 0 and share.r.values[1] >= TINY.model.minimum and "length" not in found.data.attrs
    assert float(found.data["floor"][0]) > 2 * float(found.data["floor"][-1]) > 0


def test_locality_needs_the_quenches_of_the_comparison(tmp_path):
    with pytest.raises(FileNotFoundError, match="quenches of the comparison"):
        STUDY.target(Run.create(tmp_path / "tiny", "spin_glass", TINY.model_dump(mode="json")), TINY)
