"""The study of silicon's gap end to end, in a cell too small for its numbers to be those of silicon."""

import numpy as np
import pytest

from nearsight.crystals import PropertyData, silicon
from nearsight.descriptors import BlockDisplacements
from nearsight.studies import Run, get
from nearsight.studies.systems.silicon_gap import atoms_of_block, gap, thermal
from study_runs import assert_checks_are_numbers, assert_kept_promises, finished_run, without_results

pytestmark = pytest.mark.xdist_group("silicon_gap")

STUDY = get("silicon_gap")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("silicon_gap", tmp_path_factory.mktemp("runs"))


def test_every_stage_leaves_what_it_promises(finished):
    assert_kept_promises(finished)
    assert_checks_are_numbers(finished, more_than=15)


def test_gaps_are_those_of_the_displacements_that_were_drawn(finished):
    data = PropertyData.open(finished.path / "gaps.zarr")
    assert len(data) == 2 * (TINY.training + TINY.testing)
    hot = data.temperature == 300.0
    expected = thermal(TINY, 3).covariance(300.0)[[0, 1], [0, 1]].trace(axis1=1, axis2=2).mean()
    assert float(data.displacement[hot].square().sum(-1).mean()) == pytest.approx(expected, rel=0.05)
    exact = gap(TINY, 3)
    np.testing.assert_allclose(exact(data.displacement[:3]).numpy(), data.value[:3], atol=1e-12)


def test_surrogates_are_better_than_nothing_and_agree_with_the_exact_mean(finished):
    means = finished.observable("renormalisation")
    assert (means.reduction.sel(surrogate="gradient") > 10).all()
    assert (means["mean"] < -30).all() and (means.error.sel(surrogate="gradient") < means.plain_error / 3).all()
    np.testing.assert_allclose(
        means["mean"].sel(surrogate="learned"), means["mean"].sel(surrogate="gradient"), atol=2.0
    )


def test_the_curve_passes_through_the_means(finished):
    curve, means = finished.observable("curve"), finished.observable("renormalisation")
    ends = curve.isel(temperature=[0, -1])
    np.testing.assert_allclose(ends["mean"], means["mean"].sel(surrogate="gradient"), atol=1e-9)
    np.testing.assert_allclose(ends.error, means.error.sel(surrogate="gradient"), atol=1e-9)
    assert abs(float(curve.slope[0])) < 0.01  # zero-point motion alone does not change with temperature
    assert float(curve.slope[-1]) < -0.05


def test_models_that_are_lost_are_made_again(finished, tmp_path):
    copy = without_results(finished, tmp_path, ("models",))
    STUDY.run(copy.path, TINY, resume=True, only="train")
    assert copy.hash("models") == finished.hash("models")


@pytest.mark.slow
def test_a_run_that_lost_everything_ends_with_the_same_numbers(finished, tmp_path):
    copy = without_results(finished, tmp_path, ("models", "gaps.zarr"))
    STUDY.run(copy.path, TINY, resume=True)
    again, before = (PropertyData.open(run.path / "gaps.zarr") for run in (copy, finished))
    assert again.hash == before.hash
    for name in ("gaps", "renormalisation", "coverage"):
        assert copy.hash(f"observables.nc:{name}") == finished.hash(f"observables.nc:{name}")


@pytest.mark.parametrize("edge", [1, 2, 3])
def test_blocks_are_counted_as_they_are_cut(edge):
    assert atoms_of_block(edge) == BlockDisplacements(silicon(3).lattice, edge * 5.398).side


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("temperatures=[300,0]", "ascending order"),
        ("temperatures=[-1,300]", "a number >= 0"),
        ("length=2", "a number >= 3"),
        ("folds=60", "leave some empty"),
        ("network.edge=3", "279 atoms do not fit among 250 atoms"),
        ("crystal=germanium", "'silicon' or 'diamond'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, complaint):
    with pytest.raises(ValueError, match=complaint):
        STUDY.configure(settings=[setting])
