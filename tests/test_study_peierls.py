"""The Peierls study end to end on a lattice too small for physics, and its order parameter on fields it must know."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nearsight.studies import Run, get
from nearsight.studies.systems import peierls
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("peierls")

STUDY = get("peierls")
TINY = STUDY.configure("tiny")
DIRECTIONS = {"x": (1.0, 0.0), "y": (0.0, 1.0), "-x": (-1.0, 0.0), "-y": (0.0, -1.0)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("peierls", tmp_path_factory.mktemp("runs"))


class TestStudy(StudyContract):
    observables = ("snapshots", "curves", "growth", "maps", "audit")
    checks = 9


def halves(left: str, right: str, length: int = 8, u: float = 0.24):
    """Two domains, each half of the torus, with walls that run along y."""
    system = STUDY.system(TINY, length)
    cells = system.lattice.cells
    direction = np.where((cells[:, :1] < length // 2), [DIRECTIONS[left]], [DIRECTIONS[right]])
    field = torch.from_numpy(u * (-1.0) ** cells.sum(axis=1, keepdims=True) * direction)
    return system, field.unsqueeze(0)


def observed(system, field):
    return peierls.observe(TINY, system, SimpleNamespace(field=field)).isel(replica=0)


@pytest.mark.parametrize(("direction", "psi"), [("x", 1), ("y", 1j), ("-x", -1), ("-y", -1j)])
def test_the_order_parameter_is_the_same_everywhere_in_a_domain_and_tells_four_apart(direction, psi):
    system, field = halves(direction, direction)
    np.testing.assert_allclose(peierls.order(field, system.lattice), 0.24 * psi * np.ones((1, 64)), atol=1e-15)
    found = observed(system, field)
    assert float(found.walls) == 0 and np.isinf(float(found.L))


@pytest.mark.parametrize(("right", "walls"), [("y", 0.5), ("-y", 0.5), ("-x", 1.0)])
def test_a_wall_counts_once_between_opposite_domains_and_half_between_others(right, walls):
    """Two walls of 8 bonds among 128; the bonds along x on either side of one join its domains."""
    system, field = halves("x", right)
    assert float(observed(system, field).walls) == pytest.approx(walls * 16 / 128)


def test_the_force_on_ordered_fields_keeps_their_domains(finished):
    """Exact forces at (π, π) on a perfect domain are along it: no other domain is favoured."""
    system, field = halves("y", "y")
    force = system.exact(field).force
    psi = peierls.order(force, system.lattice).values
    np.testing.assert_allclose(psi.real, 0.0, atol=1e-10)
    np.testing.assert_allclose(psi.imag, psi.imag[0, 0], atol=1e-10)


def test_data_are_quenches_from_their_first_to_their_last_step():
    recipe = STUDY.configure("quick").recipe
    assert recipe.thermal.trajectories == recipe.relaxing.trajectories == 18 and recipe.thermal.burn_in == 0
    assert recipe.random.trajectories == recipe.near_equilibrium.trajectories == 0
    assert recipe.relaxing.steps * recipe.relaxing.dt == pytest.approx(6.0)
    assert 0.9 * 200 <= recipe.thermal.steps <= 200


def test_odd_lattices_have_no_staggered_order():
    with pytest.raises(ValueError, match="length"):
        STUDY.configure("tiny", ["length=7"])
    with pytest.raises(ValueError, match="length"):
        STUDY.configure("tiny", ["large.length=13"])


def test_the_force_keeps_every_symmetry(finished):
    assert float(finished.observable("snapshots").symmetry_error.max()) < 1e-4


def test_errors_are_judged_on_quenches_no_training_has_seen(finished):
    names = {check.name: check for check in finished.checks}
    whole, late = (names[f"error of the force {part}"] for part in ("over a quench", "in the last third of a quench"))
    assert 0 < whole.value < 1.5 and late.value > 0 and "1 quenches" in whole.note
