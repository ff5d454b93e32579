"""The study of Einstein-dilaton-Gauss-Bonnet gravity end to end, at sizes too small for physics."""

import shutil
import sys

import pytest

from nearsight.studies import Run, get
from nearsight.studies.systems import _edgb_events
from study_runs import assert_checks_are_numbers, assert_kept_promises, finished_run, resume

pytest.importorskip("zuko", reason="pip install nearsight[gw]")

OBSERVABLES = ("calibration", "coverage", "draws", "events")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("edgb", tmp_path_factory.mktemp("runs"))


@pytest.mark.xdist_group("edgb")
def test_every_stage_leaves_what_it_promises(finished):
    assert_kept_promises(finished)
    names = [stage.name for stage in get("edgb").stages]
    assert names == ["simulate_basis", "train", "infer", "validate", "report"]


@pytest.mark.xdist_group("edgb")
def test_every_check_is_a_number_of_its_own_name(finished):
    assert_checks_are_numbers(finished, more_than=15)


@pytest.mark.slow
@pytest.mark.xdist_group("edgb")
def test_what_is_lost_is_made_again_with_the_same_numbers(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "edgb" / "tiny"))
    shutil.rmtree(copy.path / "infer")
    shutil.rmtree(copy.path / "model")
    (copy.path / "observables.nc").unlink()
    assert resume(copy) == ["simulate_basis"]
    for name in OBSERVABLES:
        assert copy.hash(f"observables.nc:{name}") == finished.hash(f"observables.nc:{name}"), name


@pytest.mark.xdist_group("edgb")
def test_estimators_agree_about_an_event_as_well_as_they_say(finished):
    """A refined proposal corrects even a network that has hardly been trained."""
    events = finished.observable("events").sel(estimator="refined")
    assert set(events.event.values) == {"gr", "edgb", "gr_7", "gr_9"}
    low, high = (events.quantiles.sel(level=level) for level in (0.05, 0.95))
    inside = (low <= events.truth) & (events.truth <= high)
    masses = inside.sel(event=["gr", "gr_7", "gr_9"], parameter=["chirp_mass", "mass_ratio"])
    assert float(masses.mean()) >= 0.5
    assert (events.bound > 0).all() and (events.bound <= 1.0).all()


def test_a_study_without_zuko_says_what_to_install(tmp_path, monkeypatch):
    study = get("edgb")
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"pip install nearsight\[gw\]"):
        study.run(tmp_path / "run", study.configure("tiny"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["quick", "thesis"])
def test_events_of_a_preset_lie_inside_of_its_prior(preset):
    """And are as loud as they should be."""
    c = get("edgb").configure(preset, ["training.size=32"])
    for snr, coupling in [*((snr, 0.0) for snr in c.injections.snr), (c.injections.snr[1], c.injections.coupling)]:
        theta = _edgb_events._event(c, snr, coupling)
        assert bool(_edgb_events.prior(c).log_density(theta).isfinite())
        assert theta[_edgb_events.prior(c).names.index("sqrt_alpha")] == coupling
