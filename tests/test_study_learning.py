"""The studies that learn Hamiltonians end to end, at sizes too small for physics."""

import shutil

import numpy as np
import pytest

from nearsight.studies import Run, get
from study_runs import assert_checks_are_numbers, assert_kept_promises, finished_run, resume

STUDIES = {"learn_ising": ("errors", "couplings", "entropy", "predictions", "curves"),
           "learn_spin_glass": ("couplings", "bound", "cooling"),
           "learn_potts": ("couplings", "curves")}  # fmt: skip


@pytest.fixture(scope="module", params=[pytest.param(s, marks=pytest.mark.xdist_group(s)) for s in STUDIES])
def finished(request, tmp_path_factory) -> Run:
    return finished_run(request.param, tmp_path_factory.mktemp("runs"))


def study(run: Run) -> str:
    return run.manifest["study"]


def test_every_stage_leaves_what_it_promises(finished):
    assert_kept_promises(finished)
    assert [stage.name for stage in get(study(finished)).stages[:4]] == ["observe", "learn", "transfer", "validate"]


def test_every_check_is_a_number_of_its_own_name(finished):
    assert_checks_are_numbers(finished, more_than=7)


@pytest.mark.slow
def test_what_is_lost_is_made_again_with_the_same_numbers(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / study(finished) / "tiny"))
    shutil.rmtree(copy.path / "learn")
    shutil.rmtree(copy.path / "transfer")
    (copy.path / "observables.nc").unlink()
    assert resume(copy) == ["observe"]
    for name in STUDIES[study(finished)]:
        assert copy.hash(f"observables.nc:{name}") == finished.hash(f"observables.nc:{name}"), name


def test_couplings_are_those_of_the_model(finished):
    """Within five of their error bars, even at this size; and there are error bars."""
    couplings = finished.observable("couplings")
    if study(finished) == "learn_spin_glass":
        off = (couplings.value - couplings.true).sel(estimator=["likelihood", "pseudo-likelihood"])
        error = couplings.error.sel(estimator=off.estimator)
    else:
        here = couplings.sel(term="J1")
        off, error = here.value - 1.0, here.error
    assert float(np.abs(off / error).max()) < 5 and float(error.min()) > 0
