"""The double-exchange study end to end on lattices too small for physics: what must hold on any lattice."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight import analysis
from nearsight.dynamics import State, Trajectory
from nearsight.fields import cone, random_spins, tangent
from nearsight.forcefields import ExactForceField, Forces
from nearsight.hamiltonians import double_exchange as magnet_of
from nearsight.lattices import square
from nearsight.solvers import Dense, Poles
from nearsight.studies import Run, get, torques
from nearsight.studies.magnets import compared_spins
from nearsight.studies.systems import _double_exchange_ground_states as ground
from nearsight.studies.systems import double_exchange
from nearsight.studies.systems._double_exchange_ground_states import (
    antiferromagnet,
    bubbles,
    coexistence,
    energies,
    energy_per_site,
    exact,
    levels,
    magnet,
    solved,
    with_disc,
)  # fmt: skip
from nearsight.training import DataSet
from study_runs import StudyContract, finished_run

pytestmark = pytest.mark.xdist_group("double_exchange")

STUDY = get("double_exchange")
TINY = STUDY.configure("tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("double_exchange", tmp_path_factory.mktemp("runs"))


# --- the run ----------------------------------------------------------------------------------------------------------


class TestRun(StudyContract):
    observables = (
        *("phases", "bubbles", "snapshots", "number", "response", "curves", "densities", "growth", "maps"),
        *("electrons", "audit"),
    )
    checks = 60


def test_presets_put_a_whole_number_of_holes_on_lattices_of_exact_electrons():
    for preset in STUDY.presets.values():
        for length in (preset.length, preset.comparison.length):
            holes = (1 - preset.density) * length**2
            assert holes == pytest.approx(round(holes), abs=1e-9)


# --- ground states ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("Q", "theta"), [((2, 2), 0.5), ((1, 0), 0.5), ((4, 4), 0.2), ((0, 0), 0.0)])
def test_levels_of_a_spiral_are_those_of_its_matrix(Q, theta):
    """On the torus of 8 × 8 sites with the twist that shifts its wave vectors half a step."""
    lattice = square(8)
    Q = tuple(2 * math.pi * q / 8 for q in Q)
    spins = cone(lattice, Q, magnetisation=math.cos(theta * math.pi))
    # In the frame that turns with the spins both electrons carry half of Q: opposite halves, of which only the mean of
    # the two wave vectors is on the shifted mesh. An even number of turns keeps it there.
    turns = round(8 * Q[0] / (2 * math.pi)), round(8 * Q[1] / (2 * math.pi))
    twist = tuple(math.pi + math.pi * n for n in turns)
    exact = torch.linalg.eigvalsh(magnet_of(lattice, twist=twist).matrix(spins)).numpy()
    np.testing.assert_allclose(levels(TINY, Q, theta * math.pi, mesh=8), exact, atol=1e-9)


def test_the_half_filled_antiferromagnet_has_the_energy_of_its_integral():
    k = 2 * math.pi * (np.arange(512) + 0.5) / 512
    epsilon = -2 * (np.cos(k)[:, None] + np.cos(k))
    integral = -np.sqrt(epsilon**2 + 36).mean()
    phases = energies(TINY, torch.Generator().manual_seed(0)).energy.sel(density=1.0)
    assert float(phases.sel(texture="antiferromagnet")) == pytest.approx(integral, abs=1e-6)
    assert integral == pytest.approx(-6.31517, abs=1e-5)
    assert float(phases.sel(texture="ferromagnet")) == pytest.approx(-6.0, abs=1e-9)


def test_electrons_fill_levels_from_the_lowest():
    E = energy_per_site(np.array([-2.0, -1.0, 0.0, 3.0]), 2, np.array([0.0, 0.5, 0.75, 2.0]))
    np.testing.assert_allclose(E, [0.0, -1.0, -1.25, 0.0])


def test_maxwell_finds_the_tangent_of_two_parabolas():
    """4 (n - 0.6)² and 4 (n - 0.9)² + 0.2: by calculus, for equal curvatures, and not by the hull."""
    n = np.linspace(0.5, 1.0, 2001)
    one, two = 4 * (n - 0.6) ** 2, 4 * (n - 0.9) ** 2 + 0.2
    phases = xr.Dataset(
        {"energy": (("texture", "density"), np.stack([one, two]))}, {"texture": ["left", "right"], "density": n}
    )
    slope = 0.2 / 0.3  # equal curvatures: the tangent joins points shifted alike from both minima
    found = coexistence(phases, 0.75)
    assert found.mu == pytest.approx(slope, abs=1e-3)
    assert (found.low, found.high) == pytest.approx((0.6 + slope / 8, 0.9 + slope / 8), abs=1e-3)
    assert found.phases == ("left", "right") and not found.one_phase
    assert coexistence(phases, 0.55).one_phase


def test_a_reversed_spin_traps_one_hole_and_not_two():
    config = STUDY.configure("tiny", ["ground.bubble_length=8"])
    energy = bubbles(config).energy
    np.testing.assert_allclose(energy.sel(radius=-1.0), 6.0, atol=1e-9)
    alone = energy.sel(radius=0.0)
    assert float(alone.sel(holes=1)) < 5.0 < float(energy.sel(holes=2).min())


# --- the electrons ----------------------------------------------------------------------------------------------------


def test_densities_add_up_to_the_number_and_follow_the_spins(rng):
    spins = random_spins(square(6), rng, 2)
    mu, n = solved(exact(TINY, square(6)), spins)
    np.testing.assert_allclose(n.sum(-1), 36 * TINY.density, atol=1e-9)
    fixed = exact(TINY, square(6), float(mu[0])).electrons.electrons(spins[:1])
    assert float(fixed.number) == pytest.approx(36 * TINY.density, abs=1e-6)
    h = magnet(TINY, square(6)).matrix(spins[0])
    eps, psi = torch.linalg.eigh(h)
    f = torch.sigmoid((mu[0] - eps) / TINY.electron_kT)
    direct = (psi.abs().square() * f).sum(-1).reshape(36, 2).sum(-1)
    torch.testing.assert_close(n[0], direct, atol=1e-9, rtol=0)


def test_half_filling_has_one_electron_on_every_site_and_no_drift_of_the_number(rng):
    half = STUDY.configure("tiny", ["filling=0.5"])
    spins = random_spins(square(6), rng, 2)
    mu, n = solved(exact(half, square(6)), spins)
    np.testing.assert_allclose(n, 1.0, atol=1e-10)
    np.testing.assert_allclose(mu, 0.0)
    canonical = ExactForceField(magnet(half, square(6)), Dense(filling=0.5, kT=half.electron_kT))
    torch.testing.assert_close(canonical(spins).force, exact(half, square(6))(spins).force, atol=1e-9, rtol=0)


def test_large_lattices_are_solved_by_poles():
    assert isinstance(exact(TINY, square(12)).solver, Dense)
    assert isinstance(exact(TINY, square(30)).solver, Poles)


# --- the data and the network -----------------------------------------------------------------------------------------


def test_labels_are_the_fields_of_electrons_of_the_given_number(finished):
    data = DataSet.open(finished.path / "data.zarr")
    answer = exact(TINY, data.lattice)(data.field[:2])
    torch.testing.assert_close(answer.force, data.force[:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.energy, data.energy[:2], atol=1e-3, rtol=0)
    assert data.counts == {"relaxing": 9, "near_equilibrium": 9}


def test_discs_are_ferromagnetic_in_an_antiferromagnet(rng):
    config = STUDY.configure("tiny", ["dynamics.spread=0", "dynamics.radius=[2.0, 2.1]"])
    lattice = square(12)
    spins = ground.discs(config, lattice, 3, rng)
    b = analysis.spin_alignment(spins, lattice).values
    assert ((b > 0.999).sum(-1) == 5).all()  # sites of a disc of 13 whose neighbours all belong to it
    assert ((b < -0.999).sum(-1) == 144 - 13 - 12).all()


def test_torques_at_the_mean_mu_are_off_by_more_than_at_the_mu_of_each_time(finished):
    number = finished.observable("number")
    wrong = [float((number[name] ** 2).mean()) for name in ("at_mean", "at_time")]
    assert wrong[0] > wrong[1] >= 0
    assert float(number.mu.std()) > 1e-3


def test_the_network_moves_spins_by_what_the_data_call_torque(finished):
    data = finished.observable("snapshots")
    network = torques.load_network(finished, TINY, square(TINY.length))
    stored = DataSet.open(finished.path / "data.zarr").split(
        validation=TINY.fit.validation, test=TINY.fit.test, seed=TINY.seed
    )
    field = stored.test.field
    np.testing.assert_allclose(data.exact_force, tangent(stored.test.force, field), atol=1e-12)
    H = tangent(network(field.float()).force.double(), field)
    np.testing.assert_allclose(data.learned_force.sel(network="equivariant"), H, atol=1e-5)


# --- what is measured -------------------------------------------------------------------------------------------------


def seen_in(spins: torch.Tensor) -> xr.Dataset:
    """What the study measures on spins ``(replica, site, 3)``."""
    system = double_exchange.physics(TINY, square(round(spins.shape[-2] ** 0.5)))
    state = State(spins, None, Forces(torch.zeros_like(spins), None), 0.0, 0)
    return double_exchange.observe(TINY, system, state)


def test_one_reversed_spin_is_a_ferromagnetic_cluster_of_five():
    lattice = square(6)
    spins = antiferromagnet(lattice)
    reversed_ = with_disc(spins, lattice, 7, 0.0, -spins[7])
    labels = analysis.parallel_clusters(torch.stack([spins, reversed_]), lattice)
    assert labels.max("site").values.tolist() == [0, 1]
    assert int((labels[1] > 0).sum()) == 5
    seen = seen_in(torch.stack([spins, reversed_]))
    assert float(seen.L[0]) == min(lattice.shape)  # one domain is as long as the lattice
    np.testing.assert_allclose(seen.b, [-1.0, -1.0 + 16 / 144])
    np.testing.assert_allclose(seen.ferro, [0.0, 1 / 36])
    np.testing.assert_allclose(seen.cluster, [0.0, 5.0])
    np.testing.assert_allclose(seen.staggered, [1.0, (34 / 36) ** 2])
    np.testing.assert_allclose(seen.m, [0.0, 2 / 36])


def test_the_path_ends_at_the_peaks_of_both_phases():
    lattice = square(8)
    way = double_exchange.path(lattice)
    spins = torch.stack([antiferromagnet(lattice), uniform(lattice)])
    S = seen_in(spins).S
    at = {label: int(np.argmin(abs(way.distance - tick))) for label, tick in zip(way.labels, way.ticks, strict=True)}
    assert S.values[0].argmax() == at["M"] and S.values[0].max() == pytest.approx(64)
    assert S.values[1, 0] == pytest.approx(64) and S.values[1, at["M"]] == pytest.approx(0, abs=1e-9)


def uniform(lattice) -> torch.Tensor:
    spins = torch.zeros(lattice.n_sites, 3, dtype=torch.float64)
    spins[:, 0] = 1.0
    return spins


def test_exact_and_learned_quenches_start_from_the_same_spins_and_part(finished):
    spins = compared_spins(finished)
    exact, learned = (spins.sel(source=source) for source in ("exact", "learned"))
    np.testing.assert_allclose(exact.isel(time=0), learned.isel(time=0), atol=1e-6)
    assert float(abs(exact - learned).isel(time=-1).max()) > 1e-3


def test_maps_show_the_spins_that_are_kept_with_their_electrons(finished):
    spins, maps = finished.observable("maps").spins.isel(time=-1), finished.observable("electrons")
    lattice = square(TINY.large.length)
    field = torch.from_numpy(spins.values).reshape(-1, 3).double()
    final = Trajectory.open(finished.path / "large" / "quench").final.field[0]
    np.testing.assert_allclose(field, final, atol=1e-6)
    mu, n = solved(exact(TINY, lattice, maps.attrs["mu"]), field[None])
    assert float(mu) == maps.attrs["mu"] == finished.observable("densities").attrs["mean_mu"]
    np.testing.assert_allclose(maps.n.values[-1], n[0], atol=1e-3)
    np.testing.assert_allclose(maps.b.values[-1], analysis.spin_alignment(field, lattice), atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("filling=0.6", "<= 0.5"),
        ("length=7", "multiple of 2"),
        ("large.growth=[9, 3]", "first, last"),
        ("dynamics.radius=[3, 1]", "low, high"),
        ("networks=[]", "one or more"),
        ("comparison.quenches=3", ">= 8"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        STUDY.configure("tiny", [setting])


def test_densities_are_compared_where_both_phases_are():
    n = xr.DataArray([0.8, 0.9, 1.0, 1.0], dims="site")
    both = xr.Dataset({"n": n, "ferro": ("site", [True, True, False, False])})
    apart, inside, outside = double_exchange.parted("quench", both, TINY)
    assert (inside.value, outside.value) == pytest.approx((0.85, 1.0))
    assert apart.value == pytest.approx(0.15) and apart.passed
    (alone,) = double_exchange.parted("quench", both.assign(ferro=both.ferro & False), TINY)
    assert alone.value is None and not alone.passed
