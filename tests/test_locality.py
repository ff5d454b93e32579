"""How far forces see: response functions, what lies beyond a radius, and what follows for a cutoff."""

import numpy as np
import pytest
import torch

from nearsight.analysis import (
    assess_size,
    directional_derivative,
    ensemble_length,
    examine_locality,
    linear_response,
    response,
    truncation,
)
from nearsight.forcefields import ExactForceField, FixedNumber, ForceField, Forces, LearnedForceField
from nearsight.hamiltonians import Holstein, JahnTeller
from nearsight.lattices import PointCloud, Structures, chain, honeycomb, random_cloud, square
from nearsight.networks import GroupCNN
from nearsight.solvers import Dense

G = 1.5


def electrons(model, kT=0.1, **ensemble):
    return ExactForceField(model, Dense(kT=kT, **(ensemble or {"mu": 0.0}))).electrons


def noise(lattice, rng, batch=4, components=1, amplitude=0.5):
    return amplitude * torch.randn(batch, lattice.n_sites, components, generator=rng, dtype=torch.float64)


def local_change(lattice, site, components=1, component=0):
    direction = torch.zeros(1, lattice.n_sites, components, dtype=torch.float64)
    direction[0, site, component] = 1.0
    return direction


class Hidden(ForceField):
    """Another force field, whose kind nobody can see: it has to be differentiated by differences."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.lattice, self.components = inner, inner.lattice, inner.components

    def evaluate(self, field):
        return self.inner(field)

    def on(self, lattice):
        return type(self)(self.inner.on(lattice))


class Pairwise(ForceField):
    """F_i = Σ_j K(r_ij) s(Φ_j) with any kernel K(r) and function s."""

    def __init__(self, lattice, kernel, function=lambda x: x):
        super().__init__()
        self.lattice, self.components, self.kernel, self.function = lattice, 1, kernel, function
        difference = lattice.positions[:, None] - lattice.positions[None]
        half = np.asarray(lattice.shape) / 2
        difference = (difference + half) % (2 * half) - half
        self.r = np.linalg.norm(difference, axis=-1)
        self.matrix = torch.from_numpy(kernel(self.r))

    def evaluate(self, field):
        return Forces(torch.einsum("ij,...jc->...ic", self.matrix, self.function(field)), None)

    def on(self, lattice):
        return type(self)(lattice, self.kernel, self.function)


# --- the response is right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [linear_response, directional_derivative], ids=lambda f: f.__name__)
@pytest.mark.parametrize("mu", [0.0, -0.7])
def test_the_density_responds_to_a_wave_by_the_lindhard_function(mu, measure):
    """δn_q = g χ(q) δQ_q with χ(q) = -(1/N) Σ_k (f_k - f_{k+q})/(ε_k - ε_{k+q}) about the uniform metal."""
    n, kT = 10, 0.3
    lattice = square(n)
    exact = electrons(Holstein(lattice, g=G), kT=kT, mu=mu)
    if measure is directional_derivative:
        exact = Hidden(exact)
    field = torch.zeros(lattice.n_sites, 1, dtype=torch.float64)
    column = measure(exact, field, local_change(lattice, 0))[0, :, 0] / G
    measured = torch.fft.fftn(column.reshape(n, n)).real.numpy() / G

    k = 2 * np.pi * np.arange(n) / n
    eps = -2 * (np.cos(k)[:, None] + np.cos(k)[None])
    f = 1 / (np.exp((eps - mu) / kT) + 1)
    lindhard = np.zeros((n, n))
    for q in np.ndindex(n, n):
        shifted, f_shifted = np.roll(eps, (-q[0], -q[1]), (0, 1)), np.roll(f, (-q[0], -q[1]), (0, 1))
        gap = eps - shifted
        same = np.abs(gap) < 1e-9
        quotient = np.where(same, f * (1 - f) / kT, -(f - f_shifted) / np.where(same, 1.0, gap))
        lindhard[q] = quotient.mean()
    np.testing.assert_allclose(measured, lindhard, atol=2e-6)
    assert lindhard[n // 2, n // 2] == pytest.approx(lindhard.max()) or mu  # nesting of the half-filled band


class Bent(Holstein):
    """Levels that are no linear function of the field: the force changes also at fixed density."""

    def coupling(self, field):
        return -self.g * torch.sin(field[..., 0])

    def background_energy(self, field):
        return 0.5 * self.g * torch.sin(field).sum((-2, -1))


@pytest.mark.parametrize("ensemble", [{"mu": -0.3}, {"filling": 0.4}], ids=["fixed mu", "fixed number"])
@pytest.mark.parametrize("kT", [0.02, 0.4])
@pytest.mark.parametrize(
    "model",
    [
        Holstein(square(6), g=G),
        Holstein(honeycomb(3), g=G, spins=2, twist=(0.3, 0.0)),
        JahnTeller(square(4), symmetric=True),
        Bent(square(4), g=G),
    ],
    ids=["Holstein", "twisted Holstein", "Jahn-Teller", "bent"],
)
def test_linear_response_is_the_derivative_of_the_force(model, kT, ensemble, rng):
    exact = electrons(model, kT=kT, **ensemble)
    field = noise(model.lattice, rng, 1, model.components)[0]
    along = torch.randn(2, *field.shape, generator=rng, dtype=torch.float64)
    along[1] *= torch.arange(model.lattice.n_sites)[:, None] == 3
    direct = linear_response(exact, field, along)
    differences = directional_derivative(Hidden(exact), field, along, step=1e-5)
    torch.testing.assert_close(direct, differences, atol=2e-6, rtol=1e-5)


def test_a_response_function_is_symmetric(rng):
    exact = electrons(Holstein(square(5), g=G), filling=0.4)
    field = noise(exact.lattice, rng, 1)[0]
    everywhere = torch.eye(25, dtype=torch.float64).unsqueeze(-1)
    chi = linear_response(exact, field, everywhere)[..., 0]
    torch.testing.assert_close(chi, chi.T, atol=1e-12, rtol=0)


def test_springs_and_electrons_add_up(rng):
    exact = ExactForceField(Holstein(square(4), g=G), Dense(mu=0.0, kT=0.2))
    field, along = noise(exact.lattice, rng, 1)[0], local_change(exact.lattice, 2)
    torch.testing.assert_close(
        directional_derivative(exact, field, along),
        directional_derivative(Hidden(exact), field, along, step=1e-4),
        atol=1e-7,
        rtol=0,
    )


def test_linear_response_at_zero_temperature_is_refused(rng):
    exact = electrons(Holstein(square(4)), kT=0.0)
    with pytest.raises(ValueError, match="by differences"):
        linear_response(exact, torch.zeros(16, 1), local_change(square(4), 0))


# --- how far it reaches ---------------------------------------------------------------------------------------------


def test_thermal_length_of_free_electrons_in_one_dimension(rng):
    """χ(r) falls as exp(-2π kT r / v_F), the thermal length of electrons with the velocity v_F = 2 sin k_F."""
    lattice = chain(72)
    k_F = 0.3 * np.pi
    field = torch.zeros(1, lattice.n_sites, 1, dtype=torch.float64)
    for kT in (0.1, 0.15):
        found = response(electrons(Holstein(lattice, g=G), kT=kT, mu=-2 * np.cos(k_F)), field, rng=rng, sources=1)
        # One period of the Friedel oscillation measures 10/3, so that a window of multiples of 10 sees whole periods.
        decay = found.decay(rng=rng, window=(3.0, 23.0))
        assert decay.length == pytest.approx(2 * np.sin(k_F) / (2 * np.pi * kT), rel=0.1)


def test_heat_and_a_gap_shorten_the_sight(rng):
    lattice = square(12)
    model = Holstein(lattice, g=G)

    def lengths(fields, temperatures):
        return [response(electrons(model, kT=kT), fields, rng=rng).decay(rng=rng).length for kT in temperatures]

    by_heat = lengths(noise(lattice, rng, amplitude=0.2), (0.1, 0.3, 1.0))
    assert np.all(np.diff(by_heat) < 0)
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1))[None, :, None]
    by_gap = [lengths(order * sign, (0.1,))[0] for order in (0.3, 1.0, 3.0)]
    assert np.all(np.diff(by_gap) < 0)


@pytest.mark.parametrize("R0", [0.0, 2.0, np.sqrt(5.0)])
def test_a_local_force_field_sees_its_range_and_nothing_beyond(R0, rng):
    local = Pairwise(square(10), lambda r: np.where(r < R0 + 1e-6, np.exp(-r), 0.0), torch.tanh)
    fields = noise(local.lattice, rng, 6)
    found = response(local, fields, rng=rng)
    assert found.reach == pytest.approx(R0) and not found.whole and not found.spread_out
    assert float(found.profile[found.r > R0 + 1e-6].max()) == 0.0
    assert found.radius(1.0) == pytest.approx(R0)
    floor = truncation(local, fields, [0.0, 1.0, R0, 4.0], rng=rng, samples=12)
    beyond = floor["radius"].values > R0 - 1e-6
    assert float(np.abs(floor["change"].values[beyond]).max(initial=0.0)) < 1e-14
    assert (floor["floor"].values[~beyond] > 1e-3).all()


def test_an_exponential_response_has_its_length(rng):
    kernel = Pairwise(square(16), lambda r: np.exp(-r / 1.7))
    found = response(kernel, noise(kernel.lattice, rng, 3), rng=rng)
    assert found.decay(rng=rng).length == pytest.approx(1.7, rel=0.02)
    everything = np.exp(-found.r / 1.7) * found.data["pairs"].values.sum(0)
    np.testing.assert_allclose(found.share, np.cumsum(everything) / everything.sum(), atol=1e-8)
    np.testing.assert_allclose(found.profile, np.exp(-found.r / 1.7), atol=1e-8)


def test_the_cutoff_of_a_network_is_measured(rng):
    lattice = square(12)
    law = Holstein(lattice).field_type
    for head, factor in (("force", 1), ("energy", 2)):
        network = GroupCNN(lattice, law, channels=2, radii=(1.0, 1.0), head=head, rng=rng)
        found = response(LearnedForceField(network), noise(lattice, rng, 2), rng=rng, sources=2)
        assert found.reach == pytest.approx(2.0 * factor)


# --- fixed number ---------------------------------------------------------------------------------------------------


def test_fixed_number_adds_a_uniform_part_by_the_legendre_formula(rng):
    """χ at fixed number is χ at fixed μ less κ_i κ_j / Σ κ, with the response κ to a uniform shift."""
    lattice = square(6)
    model = Holstein(lattice, g=G)
    field = noise(lattice, rng, 1)[0]
    everywhere = torch.eye(36, dtype=torch.float64).unsqueeze(-1)
    held = electrons(model, filling=0.4)
    at_mu = electrons(model, mu=float(held.electrons(field).mu))
    local, fixed = (linear_response(f, field, everywhere)[..., 0] for f in (at_mu, held))
    kappa = local.sum(0)
    torch.testing.assert_close(fixed, local - torch.outer(kappa, kappa) / kappa.sum(), atol=1e-12, rtol=0)
    by_shift = FixedNumber(electrons(model, mu=0.2), G * (0.4 - 0.5), tolerance=1e-11)
    torch.testing.assert_close(directional_derivative(by_shift, field, everywhere)[..., 0], fixed, atol=1e-7, rtol=0)


def test_the_uniform_part_of_a_uniform_metal_is_minus_its_compressibility_per_site(rng):
    lattice = square(14)
    model = Holstein(lattice, g=G)
    field = torch.zeros(2, lattice.n_sites, 1, dtype=torch.float64)
    at_mu, held = (response(electrons(model, kT=0.5, **e), field, rng=rng) for e in ({"mu": 0.0}, {"filling": 0.5}))
    kappa = float(at_mu.data["column"][0, 0, 0, 0])
    assert float(held.uniform[0, 0]) == pytest.approx(-kappa / lattice.n_sites, rel=0.01)
    assert abs(float(at_mu.uniform[0, 0])) < 0.01 * kappa / lattice.n_sites


@pytest.mark.parametrize("length", [8, 14])
def test_fixed_number_is_recognised_and_fixed_mu_is_not(length, rng):
    lattice = square(length)
    model = Holstein(lattice, g=G)
    fields = noise(lattice, rng, 6, amplitude=0.3)
    held = response(electrons(model, kT=0.3, filling=0.5), fields, rng=rng)
    assert held.fixed_number and held.conserved == (0,) and float(held.uniform[0, 0]) < 0
    learned = response(FixedNumber(Hidden(electrons(model, kT=0.3)), 0.0), fields[:2], rng=rng)
    assert learned.fixed_number
    local = response(electrons(model, kT=0.3), fields, rng=rng)
    assert not local.fixed_number and not local.spread_out and local.conserved == ()


def test_an_insulator_is_local_at_fixed_number_too(rng):
    """Behind a gap nothing flows: a fixed number is no constraint."""
    lattice = square(10)
    order = 3.0 * torch.from_numpy((-1.0) ** lattice.cells.sum(1))[None, :, None]
    found = response(
        electrons(Holstein(lattice, g=G), filling=0.5), order + noise(lattice, rng, 3, amplitude=0.1), rng=rng
    )
    assert found.conserved == (0,) and not found.spread_out and not found.fixed_number


@pytest.mark.parametrize(
    ("kernel", "spread_out"),
    [
        (lambda r: np.where(r < 0.5, 1.0, 0.02), True),
        (lambda r: np.where(r < 0.5, 1.0, 1e-4), False),
        (lambda r: np.exp(-r / 2), False),
    ],
    ids=["coupled to the mean", "hardly coupled to the mean", "decaying"],
)
def test_only_what_does_not_decay_and_is_felt_is_not_local(kernel, spread_out, rng):
    force = Pairwise(square(12), kernel)
    found = response(force, noise(force.lattice, rng), rng=rng)
    assert found.spread_out == spread_out and not found.fixed_number
    assert float(found.uniform[0, 0]) == pytest.approx(kernel(force.r[force.r > 5.5]).mean(), rel=0.4)


# --- what lies beyond -----------------------------------------------------------------------------------------------


def test_the_floor_of_a_linear_force_in_white_noise_is_the_variance_beyond(rng):
    kernel = Pairwise(square(8), lambda r: np.exp(-r))
    fields = noise(kernel.lattice, rng, 200, amplitude=0.7)
    floor = truncation(kernel, fields, [0.0, 1.0, 2.0, 3.0], rng=rng, samples=1500, candidates=1)
    for R, value, error in zip(floor["radius"].values, floor["floor"].values, floor["error"].values, strict=True):
        beyond = kernel.r[0] > R + 1e-6
        assert abs(value - 0.7 * np.sqrt((np.exp(-2 * kernel.r[0][beyond])).sum())) < 4 * error


def test_the_floor_falls_with_the_radius_and_vanishes_with_the_whole_lattice(rng):
    exact = electrons(Holstein(square(8), g=G), kT=0.3)
    floor = truncation(exact, noise(exact.lattice, rng, 30), [0.0, 1.0, 2.0, 4.0, 6.0], rng=rng)["floor"].values
    assert np.all(np.diff(floor) < 0) and floor[-1] == 0.0


def test_ordered_surroundings_continue_as_they_are(rng):
    """Joined at random, domains of opposite sign would meet at every cutoff, as they do not in the ensemble."""
    lattice = square(8)
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1))[:, None]
    fields = torch.stack([sign, -sign] * 6) * 2.0
    exact = electrons(Holstein(lattice, g=G))
    joined = {n: truncation(exact, fields, [1.0], rng=rng, candidates=n) for n in (1, 64)}
    assert float(joined[1]["floor"][0]) > 1e-2 and float(joined[64]["floor"][0]) < 1e-12


def test_continuations_come_from_other_trajectories(rng):
    """Two trajectories that never change: a continuation from one's own would change nothing."""
    kernel = Pairwise(square(6), lambda r: np.exp(-r))
    fields = torch.cat([torch.zeros(5, 36, 1), torch.ones(5, 36, 1)]).double()
    change = truncation(kernel, fields, [0.0], rng=rng, samples=20, groups=np.repeat([0, 1], 5))["change"].values
    assert np.allclose(np.abs(change), np.exp(-kernel.r[0]).sum() - 1.0)


def test_a_single_trajectory_continues_by_others_from_elsewhere(rng):
    kernel = Pairwise(square(6), lambda r: np.exp(-r))
    fields, others = torch.zeros(5, 36, 1).double(), torch.ones(3, 36, 1).double()
    found = truncation(kernel, fields, [0.0], rng=rng, samples=20, groups=np.zeros(5), elsewhere=others)
    assert np.allclose(found["change"].values, np.exp(-kernel.r[0]).sum() - 1.0)
    with pytest.raises(ValueError, match="pass fields of others"):
        truncation(kernel, fields, [0.0], rng=rng, groups=np.zeros(5))
    with pytest.raises(ValueError, match="fields like"):
        truncation(kernel, fields, [0.0], rng=rng, elsewhere=others[:, :4])


def test_a_force_that_responds_to_nothing_is_no_division_by_zero(rng):
    deaf = Pairwise(square(6), lambda r: 0.0 * r)
    found = response(deaf, noise(deaf.lattice, rng), rng=rng)
    assert found.reach == 0.0 and found.radius(0.9) == 0.0 and not found.spread_out
    report = examine_locality(deaf, noise(deaf.lattice, rng, 6), models={"deaf": deaf}, rng=rng, samples=8)
    assert float(report.data["error"][0]) == 0.0 and np.isfinite(report.data["share"]).all()


def test_noise_has_no_correlation_length_and_waves_have_theirs(rng):
    lattice = square(16)
    assert ensemble_length(noise(lattice, rng, 50), lattice) == 0.0
    x = torch.from_numpy(lattice.positions[:, 0])
    phases = 2 * np.pi * torch.rand(20, 1, generator=rng, dtype=torch.float64)
    ordered = torch.cos(np.pi * torch.from_numpy(lattice.positions).sum(-1) + 2 * np.pi * x / 16 + phases)
    # Two peaks at (π ± 2π/16, π), the second at a distance of 4π/16 from the first, with half of the weight.
    assert ensemble_length(ordered[..., None], lattice) == pytest.approx(np.sqrt(2) / (np.pi / 4), rel=1e-6)


# --- the judgement --------------------------------------------------------------------------------------------------

SIZES, FLOOR = [2.0, 4.0, 6.0, 8.0], [0.04, 0.01, 0.004, 0.001]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"a": (4.0, 0.012)}, ["2 correlation lengths", "the cutoff limits it; use 6"]),
        ({"a": (4.0, 0.05)}, ["the cutoff does not limit it"]),
        ({"a": (8.0, 0.05)}, ["does not limit it", "a cutoff of 4 would do"]),
        ({"a": (8.0, 0.0011)}, ["none up to 8 halves"]),
        ({"a": (4.0, 0.005)}, ["infers what is beyond"]),
        ({"a": (9.0, 0.005)}, ["known up to a cutoff of 8"]),
        ({"a": (2.0, 0.05), "b": (4.0, 0.015)}, ["still falling, from 0.05 to 0.015"]),
        ({"a": (2.0, 0.05), "b": (4.0, 0.049)}, ["no longer changes"]),
        ({"a": (2.0, 0.05), "b": (4.0, 0.07)}, ["rises"]),
    ],
)
def test_the_verdict_follows_from_the_numbers(error, words):
    report = assess_size(SIZES, error, floor=FLOOR, length=2.0)
    for part in words:
        assert part in report.words
    assert list(report.data["model"].values) == list(error)


def test_block_models_are_judged_by_the_same_rule():
    errors = {f"l = {size}": (float(size), 0.3 / size) for size in (2, 4, 8)}
    report = assess_size([], errors, length=1.5, name="block size", unit="sites", quantity="magnetisation")
    assert "A block size of 8 sites is 5.3 correlation lengths" in report.words
    assert "still falling, from 0.075 to 0.037 as the block size goes from 4 to 8" in report.words


def test_mistakes_are_answered_in_words(rng):
    local = Pairwise(square(4), lambda r: np.exp(-r))
    fields = noise(local.lattice, rng)
    with pytest.raises(ValueError, match="nothing to assess"):
        assess_size(SIZES)
    with pytest.raises(ValueError, match="one value for each ascending size"):
        assess_size(SIZES, floor=[1.0])
    with pytest.raises(ValueError, match="at least two different labels"):
        truncation(local, fields, [1.0], rng=rng, groups=np.zeros(4))
    with pytest.raises(ValueError, match="truth must hold"):
        examine_locality(local, fields, truth=fields[:2], rng=rng)
    with pytest.raises(ValueError, match="finite distances"):
        truncation(local, fields, [-1.0], rng=rng)
    with pytest.raises(ValueError, match="sample, site, component"):
        response(local, fields[0], rng=rng)
    with pytest.raises(ValueError, match="move it with"):
        examine_locality(local, fields, models={"small": local.on(square(3))}, rng=rng)


# --- all together ---------------------------------------------------------------------------------------------------


def test_a_model_of_short_cutoff_errs_by_what_lies_beyond_and_the_report_says_so(rng):
    """A model that is exact within its cutoff errs by the floor, and a larger cutoff is proposed."""
    truth = Pairwise(square(10), lambda r: np.exp(-r))
    short = Pairwise(square(10), lambda r: np.where(r < 1.5, np.exp(-r), 0.0))
    report = examine_locality(truth, noise(truth.lattice, rng, 60), models={"short": short}, rng=rng, samples=200)
    data = report.data
    at = float(data["floor"].sel(radius=np.sqrt(2), method="nearest"))
    assert float(data["size"][0]) == pytest.approx(np.sqrt(2))
    assert float(data["error"][0]) == pytest.approx(at, rel=0.15)
    assert "the cutoff limits it" in report.words
    assert set(data["source"].values) == {"exact", "short"}


def test_what_the_truth_shows_does_not_depend_on_who_is_examined_beside_it():
    truth = Pairwise(square(6), lambda r: np.exp(-r))
    fields = noise(truth.lattice, torch.Generator().manual_seed(1), 10)
    alone, beside = (
        examine_locality(
            truth, fields, models=models, rng=torch.Generator().manual_seed(2), samples=10, radii=[1.0, 2.0]
        ).data
        for models in ({}, {"twin": truth})
    )
    np.testing.assert_array_equal(alone["floor"], beside["floor"])
    exact, twin = (beside["response"].sel(source=name).values for name in ("exact", "twin"))
    np.testing.assert_array_equal(alone["response"].sel(source="exact").values, exact)
    np.testing.assert_array_equal(exact, twin)
    assert float(beside["error"][0]) == 0.0


def test_the_doctor_says_not_local_at_fixed_number(rng):
    lattice = square(8)
    model = Holstein(lattice, g=G)
    fields = noise(lattice, rng, 8, amplitude=0.3)
    canonical = electrons(model, kT=0.3, filling=0.5)
    alone = examine_locality(canonical, fields, rng=rng, samples=8, radii=[1, 2])
    assert "Not local: fixed number" in alone.words
    beside = examine_locality(electrons(model, kT=0.3), fields, canonical=canonical, rng=rng, samples=8, radii=[1, 2])
    assert "Not local" not in beside.words and "not local: fixed number" in beside.words


# --- open boundaries and arbitrary positions --------------------------------------------------------------------------


class Springs(ForceField):
    """F_i = Σ_j exp(-2 r_ij) Φ_j over the distances of nearest images."""

    def __init__(self, lattice):
        super().__init__()
        self.lattice, self.components = lattice, 1
        away = lattice.positions[:, None] - lattice.positions
        edges = lattice.vectors.diagonal() * np.asarray(lattice.shape)
        away = np.where(lattice.periodic, away - edges * np.rint(away / edges), away)
        self.r = np.linalg.norm(away, axis=-1)

    def evaluate(self, field):
        return Forces(torch.exp(-2.0 * torch.from_numpy(self.r)) @ field, None)


def test_an_open_bar_has_no_images_along_it(rng):
    """A site at one end responds to the other as to one the whole length away, and shells are those of a bar."""
    bar = square(8, 4, periodic=(False, True))
    seen = response(Springs(bar), noise(bar, rng), rng=rng, sources=32)
    np.testing.assert_allclose(seen.profile, np.exp(-2.0 * seen.r), rtol=1e-6)
    assert seen.r[-1] == pytest.approx(np.hypot(7, 2)) and seen.decay(rng=rng).window == (1.0, 4.0)
    assert response(Springs(square(8, 4)), noise(bar, rng), rng=rng, sources=32).decay(rng=rng).window == (1.0, 2.0)


def test_what_lies_beyond_a_radius_of_an_open_bar_is_not_shifted_along_it(rng):
    """Fields that are the same function of x in all samples leave nothing undecided; shifts along x would."""
    bar = square(8, 4, periodic=(False, True))
    fields = torch.from_numpy(np.repeat(bar.cells[None, :, :1] ** 2.0, 4, 0))
    apart = {"radii": [0, 1, 2], "rng": rng, "samples": 16, "candidates": 1}
    assert float(truncation(Springs(bar), fields, **apart).floor.max()) == 0.0
    assert float(truncation(Springs(square(8, 4)), fields, **apart).floor.min()) > 0.1


def test_the_floor_of_an_open_bar_is_that_of_independent_surroundings(rng):
    """Of noise of variance s², ε(R)² = s² Σ_{r > R} K², averaged over all sites, also those at the ends."""
    bar = square(8, 4, periodic=(False, True))
    springs = Springs(bar)
    found = truncation(springs, noise(bar, rng, batch=40), [0, 1, 3], rng=rng, samples=600)
    K2 = np.exp(-4.0 * springs.r)
    for radius, floor, error in zip([0, 1, 3], found.floor.values, found.error.values, strict=True):
        expected = 0.5 * np.sqrt(np.where(springs.r > radius + 1e-6, K2, 0).sum(1).mean())
        assert abs(floor - expected) < 4 * error


@pytest.mark.parametrize("cell", [6.0, None])
def test_the_response_of_a_cloud_is_by_the_distance_of_its_sites(cell, rng):
    cloud = random_cloud(40, 0.2, 0.5, rng=rng)
    cloud = PointCloud(cloud.positions % 6.0, cell=cell)
    springs = Springs(cloud)
    seen = response(springs, noise(cloud, rng), rng=rng, sources=40)
    assert seen.r[0] == 0 and seen.data["pairs"].values[0, 0] == 40  # every site with itself, alone
    assert (np.diff(seen.r) > 0).all() and seen.data["pairs"].values[0].sum() == 1600
    width = 0.2 * cloud.spacing
    np.testing.assert_allclose(seen.profile, np.exp(-2.0 * seen.r), rtol=2 * np.exp(2 * width) * width)
    inside = np.exp(-2.0 * np.where(springs.r < seen.r[9] + width, springs.r, np.inf)).sum()
    assert float(seen.share[9]) == pytest.approx(inside / np.exp(-2.0 * springs.r).sum(), abs=0.02)


def test_the_floor_of_a_cloud_is_that_of_independent_surroundings(rng):
    cloud = random_cloud(40, 0.2, 0.5, rng=rng)
    springs = Springs(cloud)
    found = truncation(springs, noise(cloud, rng, batch=40), [0, 1.2], rng=rng, samples=600, candidates=1)
    for radius, floor, error in zip([0, 1.2], found.floor.values, found.error.values, strict=True):
        expected = 0.5 * np.sqrt(np.where(springs.r > radius + 1e-6, np.exp(-4.0 * springs.r), 0).sum(1).mean())
        assert abs(floor - expected) < 4 * error


def test_a_cloud_is_examined_and_several_structures_are_refused(rng):
    clouds = [random_cloud(16, 0.2, 0.5, rng=rng) for _ in range(2)]
    springs = Springs(clouds[0])
    found = examine_locality(springs, noise(clouds[0], rng, batch=8), models={"same": springs}, rng=rng, samples=16)
    assert float(found.data["error"][0]) == 0.0 and "length" not in found.data.attrs
    both = Springs(Structures(clouds))
    with pytest.raises(ValueError, match=r"lattice.structures\[0\]"):
        examine_locality(both, noise(both.lattice, rng, batch=8), rng=rng, samples=16)
