"""The skyrmion study end to end on lattices too small for physics: what must hold on any lattice."""

import math

import numpy as np
import pytest
import torch

from nearsight import analysis
from nearsight.dynamics import Trajectory
from nearsight.fields import cone, ferromagnet, random_spins, skyrmion_lattice, tangent
from nearsight.forcefields import ExactForceField
from nearsight.lattices import triangular
from nearsight.solvers import Dense
from nearsight.studies import Run, get, torques
from nearsight.studies.magnets import compared_spins
from nearsight.studies.systems import skyrmion
from nearsight.studies.systems._skyrmion_ground_states import TEXTURES, checks, exact, magnet, measure, tiled, twisted
from nearsight.training import DataSet
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("skyrmion")

STUDY = get("skyrmion")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("skyrmion", tmp_path_factory.mktemp("runs"))


# --- the run ----------------------------------------------------------------------------------------------------------


class TestRun(StudyContract):
    observables = ("ground_states", "snapshots", "response", "curves", "growth", "maps", "restored", "audit")
    checks = 45
    lost = (*StudyContract.lost, "ground/0")


# --- ground states ----------------------------------------------------------------------------------------------------


def test_twists_make_the_electrons_of_a_larger_torus(rng):
    """Spins repeated twice along each axis of a torus with the twist left over: Bloch's theorem, site by site."""
    small = twisted(TINY, B=0.005, mesh=2)
    spins = random_spins(triangular(12), rng)
    solver = Dense(mu=TINY.model.mu, kT=TINY.electron_kT)
    large = ExactForceField(magnet(TINY, triangular(24), B=0.005, twist=(math.pi, math.pi)), solver)
    repeated = spins.reshape(12, 12, 3).repeat(2, 2, 1).reshape(-1, 3)
    one, whole = small(spins), large(repeated)
    assert float(whole.energy) == pytest.approx(4 * float(one.energy), rel=1e-10)
    there = one.force.reshape(12, 12, 3).repeat(2, 2, 1).reshape(-1, 3)
    torch.testing.assert_close(whole.force, there, atol=1e-9, rtol=0)


def test_a_field_changes_the_energy_by_its_scalar_product_with_the_magnetisation():
    up = ferromagnet(triangular(12))
    without, within = (float(twisted(TINY, B, 1)(up).energy) for B in (0.0, 0.01))
    assert within - without == pytest.approx(-0.01 * 144, rel=1e-9)


def test_energies_and_charges_belong_to_the_textures_that_are_kept(finished):
    data = finished.observable("ground_states")
    spins = torch.from_numpy(data.spins.values)
    again = measure(TINY, spins)
    np.testing.assert_allclose(again.omega, data.omega, atol=1e-12)
    charge = analysis.topological_charge(spins, triangular(12), dims=("texture", "field"))
    np.testing.assert_allclose(data.n_sk, abs(charge) / 3, atol=1e-9)
    assert list(data.texture.values) == list(TEXTURES)
    np.testing.assert_allclose(spins.norm(dim=-1), 1, atol=1e-12)
    drawn = float(twisted(TINY, 0.0, 1)(skyrmion_lattice(triangular(12), magnetisation=0.3)).energy) / 144
    assert float(data.omega.sel(texture="skyrmions, n = 1", field=0.0)) < drawn - 1e-4  # the relaxation goes downhill


def test_the_ground_state_is_the_texture_of_lowest_energy(finished):
    data = finished.observable("ground_states").copy(deep=True)
    data["omega"].loc[{"texture": "skyrmions, n = 1", "field": 0.005}] = -1.0
    data["omega"].loc[{"texture": "helix", "field": 0.0}] = -1.0
    data["torus"].loc[{"texture": "skyrmions, n = 2", "field": 0.005}] = -1.0
    judged = [check for check in checks(TINY, data) if check.passed is not None]
    zero, field, torus = judged
    assert zero.value == 0 and not zero.passed and zero.note.startswith("helix")
    assert field.value == 1 and field.passed
    assert torus.value > 0 and not torus.passed
    assert "skyrmions, n = 2; on large lattices: skyrmions, n = 1" in torus.note


def test_textures_are_repeated_on_the_torus_of_the_data_by_whole_cells():
    cell, torus = triangular(12), triangular(36)
    helices = torch.stack([cone(lattice, skyrmion.Q, magnetisation=0.3) for lattice in (cell, cell)])
    expected = cone(torus, skyrmion.Q, magnetisation=0.3)
    torch.testing.assert_close(tiled(helices, 12, 36)[1], expected, atol=1e-12, rtol=0)


def test_a_torus_that_no_whole_number_of_cells_fills_is_refused():
    with pytest.raises(ValueError, match=r"ground\.cell = 24 must divide length = 36"):
        STUDY.configure("tiny", settings=["ground.cell=24", "length=36"])


# --- the data and the network -----------------------------------------------------------------------------------------


def test_labels_are_what_electrons_do_without_the_field(finished):
    data = DataSet.open(finished.path / "data.zarr")
    answer = exact(TINY, triangular(TINY.length)).electrons(data.field[:2])
    torch.testing.assert_close(answer.force, data.force[:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.energy, data.energy[:2], atol=1e-3, rtol=0)
    turned = -data.field[:1]  # no field in the labels: reversal of all spins reverses them
    reversed_ = exact(TINY, triangular(TINY.length)).electrons(turned).force
    torch.testing.assert_close(reversed_, -data.force[:1], atol=1e-5, rtol=0)


def test_half_of_the_trajectories_start_ordered_and_no_split_cuts_one(finished):
    data = DataSet.open(finished.path / "data.zarr")
    assert data.counts == {"relaxing": 9, "near_equilibrium": 9}
    parts = data.split(validation=TINY.fit.validation, test=TINY.fit.test, seed=TINY.seed)
    seen = [set(part.trajectory.tolist()) for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    for part in parts:
        assert set(part.counts) == {"relaxing", "near_equilibrium"}


def test_perturbed_lattices_keep_skyrmions_of_either_winding(rng):
    config = STUDY.configure("tiny", ["dynamics.spread=[0.02, 0.02]"])
    lattice = triangular(24)
    spins = skyrmion.perturbed_skyrmions(config, lattice, 12, rng)
    charge = analysis.topological_charge(spins, lattice).values
    assert {round(q) for q in charge} == {-12, 12}


def test_the_network_keeps_what_rotations_of_spins_and_lattice_leave_alone(finished, rng):
    learned = torques.load_network(finished, TINY, triangular(12))
    spins = random_spins(triangular(12), rng, 2)
    violation = torques.equivariance(learned, spins, rng)
    size = float(tangent(learned(spins.float()).force.double(), spins).abs().max())
    assert float(violation.abs().max()) < 1e-5 * size
    assert float(finished.observable("snapshots").symmetry_error.max()) < 1e-5


def test_a_broken_symmetry_is_seen(finished, rng):
    class Leaning(ExactForceField):
        """Spins prefer x, which no rotation of spins leaves alone."""

        def evaluate(self, field):
            force, energy = super().evaluate(field)
            return type(super().evaluate(field))(force + torch.tensor([1e-3, 0, 0]), energy)

    solver = Dense(mu=-3.5, kT=0.1)
    spins = random_spins(triangular(12), rng, 1)
    model = magnet(TINY, triangular(12), B=0.0)
    straight, leaning = (
        torques.equivariance(kind(model, solver), spins, rng).norm() for kind in (ExactForceField, Leaning)
    )
    assert float(straight) < 1e-9
    assert float(leaning) > 1e-3


def test_angles_are_exact_where_they_are_small():
    a = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 2]], dtype=torch.float64)
    b = torch.tensor([[1.0, 1e-9, 0], [0, 3, 0], [-1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    np.testing.assert_allclose(torques.angles(a, b), [np.rad2deg(1e-9), 90, 180, 0], rtol=1e-12)


def test_responses_are_the_derivative_on_the_sphere(rng):
    """Against finite turns of one spin; the normal part at that spin turns along with it."""
    electrons = ExactForceField(magnet(TINY, triangular(12), B=0.0), Dense(mu=-3.5, kT=0.1)).electrons
    spins = random_spins(triangular(12), rng)
    chi = torques.responses(electrons, spins, 17)
    axis = torch.eye(3, dtype=torch.float64)[int(spins[17].abs().argmin())]
    first = torch.linalg.cross(spins[17], axis)
    first = first / first.norm()
    change = 0.0
    for v in (first, torch.linalg.cross(spins[17], first)):
        H = []
        for angle in (1e-3, -1e-3):
            moved = spins.clone()
            moved[17] = math.cos(angle) * spins[17] + math.sin(angle) * v
            H.append(tangent(electrons(moved).force, moved))
        change = change + tangent((H[0] - H[1]) / 2e-3, spins).square().sum(-1)
    torch.testing.assert_close(chi, change.sqrt(), atol=1e-6, rtol=1e-4)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_exact_and_learned_quenches_start_from_the_same_spins_and_part(finished):
    spins = compared_spins(finished)
    exact, learned = (spins.sel(source=source) for source in ("exact", "learned"))
    np.testing.assert_allclose(exact.isel(time=0), learned.isel(time=0), atol=1e-6)
    assert float(abs(exact - learned).isel(time=-1).max()) > 1e-3
    overlap = finished.observable("curves").overlap.transpose("time", "replica")
    np.testing.assert_allclose(overlap, (exact * learned).sum("component").mean("site"), atol=1e-6)
    np.testing.assert_allclose(overlap[0], 1.0, atol=1e-6)


def test_the_path_holds_the_wave_vector_of_the_skyrmions():
    for length in (12, 24, 48):
        k = skyrmion.path(triangular(length)).k
        assert np.linalg.norm(k - np.array(skyrmion.Q), axis=1).min() < 1e-9


def test_structure_factors_obey_the_sum_rule(finished):
    for group, sites in (("maps", 24 * 24), ("curves", 12 * 12)):
        zone = finished.observable(group).zone
        np.testing.assert_allclose(zone.sum(("h1", "h2")), sites, rtol=1e-5)


def test_charges_of_the_large_lattices_are_those_of_the_spins_that_are_kept(finished):
    data = finished.observable("restored")
    lattice = triangular(12)
    spins = data.spins.stack(site=("x", "y"), create_index=False).transpose("shown", "site", "component")
    kept = analysis.topological_charge(spins.values.astype(float), lattice).values
    first = data.Q.isel(replica=0).sel(time=data.shown.values)
    np.testing.assert_allclose(kept, first, atol=1e-6)
    final = Trajectory.open(finished.path / "large" / "restored").final.field[0]
    np.testing.assert_allclose(spins.values[-1], final, atol=1e-6)


def test_no_field_of_the_large_lattices_is_kept(finished):
    for name in ("restored", "quench"):
        kept = {p.name for p in (finished.path / "large" / name / "trajectory.zarr").iterdir()}
        assert {"M", "map_spins"} <= kept and not {"field", "force"} & kept


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("length=20", "multiple of 12"),
        ("ground.fields=[0.01, 0.0]", "rising order"),
        ("large.growth=[9, 3]", "first, last"),
        ("networks=[]", "one or more"),
        ("dynamics.spread=[0.3, 0.1]", "low, high"),
        ("comparison.quenches=3", ">= 8"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        STUDY.configure("tiny", [setting])
