"""Spin waves against the whole linearised lattice, closed forms, and the spectrum of real motion."""

import numpy as np
import pytest
import torch
from scipy import signal

import nearsight as ns
from nearsight.analysis import dynamical_structure_factor, spin_structure_factor_at, spin_waves, symmetry_path
from nearsight.dynamics import Every, SemiImplicit, simulate
from nearsight.fields import ferromagnet, helix, random_spins
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Heisenberg, SDModel
from nearsight.lattices import chain, honeycomb, kagome, square, triangular


def exchange(lattice, **parameters):
    return ClassicalForceField(Heisenberg(lattice, **parameters))


def staggered(lattice, sign, direction=(0.0, 0.0, 1.0)):
    return ferromagnet(lattice, direction) * torch.as_tensor(sign, dtype=torch.float64)[:, None]


def neel(lattice, direction=(0.0, 0.0, 1.0)):
    return staggered(lattice, (-1.0) ** lattice.cells.sum(1), direction)


def whole_lattice(forcefield, spins):
    """All frequencies ω ≥ 0 of dS/dt = S × H, linearised by differences on the whole torus, without any wave vector."""

    def velocity(flat):
        s = torch.from_numpy(flat.reshape(-1, 3))
        s = s / s.norm(dim=-1, keepdim=True)
        return torch.linalg.cross(s, forcefield(s).force).numpy().ravel()

    start, h = spins.numpy().ravel(), 1e-5
    steps = h * np.eye(len(start))
    jacobian = np.stack([(velocity(start + e) - velocity(start - e)) / (2 * h) for e in steps], axis=1)
    found = np.sort(np.linalg.eigvals(jacobian).imag)
    return found[-len(spins) :]  # the other two thirds: -ω, and turns along the spins


def own_wave_vectors(lattice):
    return ns.analysis.structure._reciprocal.wave_vectors(lattice).reshape(-1, lattice.dim)


CASES = {
    "ferromagnet": lambda: (exchange(square(4), B=0.3, K=0.1), ferromagnet(square(4))),
    "two shells": lambda: (exchange(square(5), J=(1.0, 0.2)), ferromagnet(square(5), (1.0, 2.0, 0.5))),
    "antiferromagnet": lambda: (exchange(square(4, 6), J=-1.0, K=0.2), neel(square(4, 6))),
    "honeycomb": lambda: (exchange(honeycomb(3), J=-1.0), staggered(honeycomb(3), (-1.0) ** honeycomb(3).sublattice)),
    "kagome": lambda: (exchange(kagome(3), B=0.5), ferromagnet(kagome(3))),
    "spiral": lambda: (exchange(triangular(6), J=-1.0), helix(triangular(6), (4 * np.pi / 3, 0.0))),
    "one direction": lambda: (exchange(square(5), D=0.3, B=(1.0, 0.0, 0.0)), ferromagnet(square(5), (1.0, 0.0, 0.0))),
    "thin": lambda: (exchange(square(2, 5), K=0.1), ferromagnet(square(2, 5))),
    "open": lambda: (exchange(square(6, 3, periodic=(False, True)), B=0.1), ferromagnet(square(6, 3, periodic=False))),
    "electrons": lambda: (
        ns.ExactForceField(SDModel(square(4), J=2.0), ns.solvers.Dense(filling=0.5, kT=0.05)),
        neel(square(4)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_blocks_of_all_wave_vectors_are_the_whole_lattice(name):
    forcefield, spins = CASES[name]()
    lattice = forcefield.lattice
    waves = spin_waves(forcefield, spins, own_wave_vectors(lattice))
    if lattice.periodic == (False, True):
        waves = waves.isel(point=waves.kx == 0)
    # A magnetic cell of m primitive cells has all its branches at every wave vector, so that each is found m times.
    times = waves.omega.size // lattice.n_sites
    found = np.sort(waves.omega.values.ravel())[::times]
    expected = whole_lattice(forcefield, spins)
    np.testing.assert_allclose(
        found, expected, atol=2e-4 * expected.max()
    )  # √ of the error of differences at zero modes


def test_closed_forms():
    lattice = square(8)
    k = np.random.default_rng(0).uniform(-3, 3, (20, 2))
    gamma = np.cos(k).mean(1)
    # Couplings of nearest neighbours are interpolated exactly between the wave vectors of the torus.
    ferro = spin_waves(exchange(lattice, J=1.3, B=0.2), ferromagnet(lattice), k).omega[:, 0]
    np.testing.assert_allclose(ferro, 0.2 + 1.3 * 4 * (1 - gamma), rtol=1e-9)
    anti = spin_waves(exchange(lattice, J=-1.0, K=0.1), neel(lattice), k).omega
    np.testing.assert_allclose(anti, np.sqrt(4.2**2 - (4 * gamma) ** 2)[:, None].repeat(2, 1), rtol=1e-9)


def test_honeycomb_antiferromagnet_along_its_path():
    lattice = honeycomb(6)
    path = symmetry_path(lattice, ["Γ", "K", "M", "Γ"], spacing=0.1)
    spins = staggered(lattice, (-1.0) ** lattice.sublattice)
    waves = spin_waves(exchange(lattice, J=-1.0), spins, path)
    bonds = lattice.bonds(1)
    sign = np.where(lattice.sublattice[bonds.i] == 0, 1, -1)[:, None]
    three = np.unique((sign * bonds.displacement).round(9), axis=0)
    f = np.exp(1j * path.k @ three.T).sum(1)
    np.testing.assert_allclose(waves.omega[:, 0], np.sqrt(9 - np.abs(f) ** 2), atol=1e-5)
    assert np.array_equal(waves.distance, path.distance) and waves.sizes["branch"] == 2


def test_waves_of_a_canted_magnet_see_the_direction():
    lattice = square(8)
    forcefield = exchange(lattice, D=0.4, B=(1.0, 0.0, 0.0))
    k = np.array([[0.7, 0.0], [-0.7, 0.0]])
    there, back = spin_waves(forcefield, ferromagnet(lattice, (1.0, 0.0, 0.0)), k).omega.values[:, 0]
    assert abs(there - back) == pytest.approx(4 * 0.4 * np.sin(0.7), rel=1e-9)


def test_intensities_are_those_of_thermal_fluctuations():
    forcefield, spins = CASES["antiferromagnet"]()
    lattice = forcefield.lattice
    k = own_wave_vectors(lattice)
    waves = spin_waves(forcefield, spins, k)
    # Covariance over kT of the harmonic fluctuations: the inverse of the Hessian on the spheres, on the whole lattice.
    model = Heisenberg(lattice, J=-1.0, K=0.2)
    tangent = torch.zeros(lattice.n_sites, 3, 2, dtype=torch.float64)
    tangent[:, 0, 0] = tangent[:, 1, 1] = 1.0

    def energy(x):
        moved = spins + (tangent @ x.reshape(-1, 2, 1)).squeeze(-1)
        return model.classical_energy(moved / moved.norm(dim=-1, keepdim=True))

    hessian = torch.autograd.functional.hessian(energy, torch.zeros(2 * lattice.n_sites, dtype=torch.float64))
    covariance = torch.linalg.inv(hessian).reshape(lattice.n_sites, 2, lattice.n_sites, 2).numpy()
    phases = np.exp(-1j * k @ lattice.positions.T)
    static = np.einsum("pi,iajb,pj,ab->p", phases, covariance, phases.conj(), np.eye(2)).real / lattice.n_sites
    opposite = spin_waves(forcefield, spins, -k)
    np.testing.assert_allclose(waves.intensity.sum("branch") + opposite.intensity.sum("branch"), static, rtol=1e-8)


def test_zero_modes_have_no_finite_weight_and_no_warning():
    waves = spin_waves(exchange(square(4)), ferromagnet(square(4)), np.zeros((1, 2)))
    assert waves.omega.item() == 0 and np.isinf(waves.intensity.item())


@pytest.mark.parametrize(
    ("parameters", "spins", "words"),
    [
        ({"J": -1.0}, ferromagnet(square(4)), r"no minimum: at k = \(3.1416, 3.1416\)"),
        ({"B": (1.0, 0.0, 0.0)}, ferromagnet(square(4)), "feel torques up to 1 in fields up to"),
        ({}, random_spins(square(4), torch.Generator().manual_seed(0)), "Relax them first"),
        ({}, random_spins(square(4), torch.Generator().manual_seed(0), 2), "one state"),
    ],
)
def test_states_that_do_not_rest_are_refused(parameters, spins, words):
    with pytest.raises(ValueError, match=words):
        spin_waves(exchange(square(4), **parameters), spins, np.array([[0.0, 0.0], [np.pi, np.pi]]))


@pytest.mark.parametrize("k", [np.zeros(2), np.zeros((1, 3)), np.full((1, 2), np.nan)])
def test_wave_vectors_have_the_shape_of_the_lattice(k):
    with pytest.raises(ValueError, match="wave vector"):
        spin_waves(exchange(square(4)), ferromagnet(square(4)), k)


# --- spectra of real motion -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm():
    """Undamped motion of warm spins about the Néel state, from equilibrium; 8 replicas."""
    lattice, kT = square(6), 0.02
    forcefield = exchange(lattice, J=-1.0, K=0.2)
    rng = torch.Generator().manual_seed(3)
    start = neel(lattice).expand(8, -1, -1).clone()
    heated = simulate(forcefield, SemiImplicit(dt=0.1, kT=kT, damping=0.5), start, steps=300, record=None, rng=rng)
    free = SemiImplicit(dt=0.1, kT=0.0, damping=0.0)
    run = simulate(forcefield, free, heated.final.field, steps=1024, record=Every(4), rng=None)
    return forcefield, run.data.field, kT


def test_spectra_of_motion_peak_at_the_frequencies_of_spin_waves(warm):
    forcefield, motion, kT = warm
    lattice = forcefield.lattice
    k = np.array([[np.pi / 3, 0.0], [2 * np.pi / 3, np.pi / 3], [np.pi, 0.0]])
    S = dynamical_structure_factor(motion, lattice, k).mean("replica")
    waves = spin_waves(forcefield, neel(lattice), k)
    resolution = float(S.omega[1] - S.omega[0])
    positive = S.where(S.omega > 1.0, 0.0)
    for point in range(len(k)):
        here = positive.isel(point=point)
        centre = float((here * S.omega).sum() / here.sum())
        # Softened by the other waves, by about kT times a number over J.
        assert centre == pytest.approx(float(waves.omega[point, 0]), abs=2 * resolution + 4 * kT)
        weight = float(here.sum()) * resolution
        assert weight == pytest.approx(kT * float(waves.intensity[point].sum()), rel=0.8)  # 8 draws of an exponential


def test_the_integral_over_frequencies_is_the_static_structure_factor(warm):
    forcefield, motion, _ = warm
    k = np.array([[np.pi / 3, 0.0], [np.pi, np.pi]])
    S = dynamical_structure_factor(motion, forcefield.lattice, k, window="boxcar")
    integral = S.sum("omega") * float(S.omega[1] - S.omega[0])
    static = spin_structure_factor_at(motion, forcefield.lattice, k).mean("record")
    np.testing.assert_allclose(integral.transpose(*static.dims), static, rtol=1e-9)


def test_arrays_and_labelled_records_give_the_same(warm):
    forcefield, motion, _ = warm
    k = np.array([[np.pi, 0.0]])
    labelled = dynamical_structure_factor(motion, forcefield.lattice, k, segments=3)
    values = motion.transpose("record", "replica", "site", "component").values
    plain = dynamical_structure_factor(values, forcefield.lattice, k, dt=0.4, segments=3)
    np.testing.assert_allclose(plain.values, labelled.values, rtol=1e-9)
    assert plain.dims == labelled.dims == ("replica", "point", "omega")


def test_the_sign_of_the_frequency_is_that_of_the_wave():
    lattice, k, omega = chain(16), 2 * np.pi / 16 * 3, 0.8
    t = 0.1 * np.arange(2048)[:, None]
    phase = k * lattice.positions[:, 0] - omega * t
    tilt = 0.1
    spins = np.stack([tilt * np.cos(phase), tilt * np.sin(phase), np.sqrt(1 - tilt**2) + 0 * phase], axis=-1)
    S = dynamical_structure_factor(spins, lattice, np.array([[k]]), dt=0.1)[0]
    moving = S.where(abs(S.omega) > 0.1, 0.0)
    assert float(S.omega[int(moving.argmax("omega"))]) == pytest.approx(omega, abs=0.04)


def test_corrected_spectra_obey_detailed_balance(warm):
    forcefield, motion, _ = warm
    k = np.array([[np.pi, 0.0], [-np.pi, 0.0]])
    plain, corrected = (dynamical_structure_factor(motion, forcefield.lattice, k, kT=t) for t in (None, 0.7))
    ratio = (corrected / plain).isel(replica=0, point=0)
    up = ratio.sel(omega=slice(0.5, 8)).values
    down = ratio.sel(omega=slice(-8, -0.5)).values[::-1]
    omega = plain.omega.sel(omega=slice(0.5, 8)).values
    np.testing.assert_allclose(up / down, np.exp(omega / 0.7), rtol=1e-9)
    assert float(ratio.sel(omega=0.0, method="nearest")) == pytest.approx(1.0)


def test_segments_are_those_of_welch(warm):
    forcefield, motion, _ = warm
    one = motion.isel(replica=0)
    S = dynamical_structure_factor(one, forcefield.lattice, np.array([[np.pi, 0.0]]), segments=4, window="hamming")
    x = one.transpose("record", "component", "site").values @ np.exp(1j * forcefield.lattice.positions @ [np.pi, 0.0])
    n = 2 * len(x) // 5
    _, power = signal.welch(x, 2.5, "hamming", n, n // 2, detrend=False, return_onesided=False, axis=0)
    expected = np.fft.fftshift(power.sum(1)) / (2 * np.pi * 36)
    np.testing.assert_allclose(S.values[0], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda m: m.values, {}, "need dt"),
        (lambda m: m.isel(record=[0, 1, 3, 4, 5, 6, 7, 8, 9, 10]), {}, "not evenly spaced"),
        (lambda m: m.isel(record=slice(4)), {}, "record more often"),
        (lambda m: m, {"segments": 1000}, "fewer segments"),
        (lambda m: m, {"segments": 0}, "segments"),
        (lambda m: m, {"kT": -1.0}, "kT"),
        (lambda m: m.drop_vars("time"), {}, "dimension 'time'"),
        (lambda m: m.isel(component=[0, 1]), {}, "3 components"),
    ],
)
def test_what_is_no_trajectory_is_refused(warm, change, options, words):
    forcefield, motion, _ = warm
    with pytest.raises(ValueError, match=words):
        dynamical_structure_factor(change(motion), forcefield.lattice, np.zeros((1, 2)), **options)
