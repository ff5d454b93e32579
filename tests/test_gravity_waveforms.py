"""Waveforms and detectors against energy balance, LALSuite where it is installed, and limits of the theory."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.gravity import (
    DETECTORS,
    GaussBonnet,
    PostEinsteinian,
    TaylorF2,
    advanced_ligo,
    load_asd,
    masses,
    project,
    scalar_charge,
    sidereal_time,
    small_coupling_bound,
    varied_noise,
)
from nearsight.gravity.constants import KILOMETRE, SOLAR_MASS

FREQUENCIES = torch.arange(20.0, 200.0, 4.0, dtype=torch.float64)


def source(**changed: float) -> dict[str, Tensor]:
    values = {"chirp_mass": 8.5, "mass_ratio": 0.5, "chi_1": 0.0, "chi_2": 0.0, "distance": 300.0, "inclination": 0.7}
    values |= {"phase": 0.4, "ra": 1.1, "dec": -0.6, "psi": 0.3, "time": 1.25, "sqrt_alpha": 1.0} | changed
    return {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()}


def of_masses(m1: float, m2: float, **changed: float) -> dict[str, Tensor]:
    return source(chirp_mass=(m1 * m2) ** 0.6 / (m1 + m2) ** 0.2, mass_ratio=m2 / m1, **changed)


@pytest.mark.parametrize("eta", [0.05, 0.16, 0.25])
def test_the_phase_follows_from_energy_and_flux(eta: float) -> None:
    """d²Ψ/dΩ² = 2 dt/dΩ with dE/dt = -F, to 3.5PN: what is left is O(v⁸)."""
    pi, gamma = math.pi, 0.5772156649015329
    energy = {0: 1.0, 2: -(9 + eta) / 12, 4: -27 / 8 + 19 / 8 * eta - eta**2 / 24}
    energy[6] = -675 / 64 + (34445 / 576 - 205 * pi**2 / 96) * eta - 155 / 96 * eta**2 - 35 / 5184 * eta**3
    flux = {0: 1.0, 2: -1247 / 336 - 35 / 12 * eta, 3: 4 * pi}
    flux[4] = -44711 / 9072 + 9271 / 504 * eta + 65 / 18 * eta**2
    flux[5] = -(8191 / 672 + 583 / 24 * eta) * pi
    flux[6] = 6643739519 / 69854400 + 16 * pi**2 / 3 - 1712 / 105 * gamma - 856 / 105 * math.log(16)
    flux[6] += (-134543 / 7776 + 41 * pi**2 / 48) * eta - 94403 / 3024 * eta**2 - 775 / 324 * eta**3
    flux[7] = (-16285 / 504 + 214745 / 1728 * eta + 193385 / 3024 * eta**2) * pi

    v = torch.linspace(0.02, 0.06, 9, dtype=torch.float64).requires_grad_()
    ratio = ((1 - 2 * eta) - math.sqrt(1 - 4 * eta)) / (2 * eta)
    binary = masses(source(mass_ratio=ratio))
    assert float(binary.symmetric_ratio) == pytest.approx(eta)
    x = v**3
    phase = 3 / (128 * eta) * TaylorF2().series(x ** (1 / 3), binary, source(mass_ratio=ratio))
    first = torch.autograd.grad(phase.sum(), v, create_graph=True)[0] / (3 * v**2)
    second = torch.autograd.grad(first.sum(), v)[0] / (3 * v**2)
    second, v = second.detach().numpy(), v.detach().numpy()
    slope = sum((k + 2) / 2 * c * v**k for k, c in energy.items())  # -dE/dv / (η M v)
    power = sum(c * v**k for k, c in flux.items()) - 1712 / 105 * np.log(v) * v**6  # F / (32/5 η² v¹⁰)
    wanted = 5 / (48 * eta) * v**-11 * slope / power  # of d²Ψ/d(v³)²
    left = (second / wanted - 1) / v**8
    assert np.abs(left).max() < 1e4


def test_lal_has_the_same_strains() -> None:
    lal, simulation = pytest.importorskip("lal"), pytest.importorskip("lalsimulation")
    grid = lal.CreateREAL8Sequence(len(FREQUENCIES))
    grid.data = FREQUENCIES.numpy()
    for ratio, chi_1, chi_2 in ((0.9, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.2, -0.7, 0.6)):
        binary = source(mass_ratio=ratio, chi_1=chi_1, chi_2=chi_2)
        m1, m2 = (float(m) / SOLAR_MASS * lal.MSUN_SI for m in masses(binary))
        spins = (0, 0, chi_1, 0, 0, chi_2)
        place = (0.0, 300e6 * lal.PC_SI, 0.7, lal.CreateDict(), simulation.TaylorF2, grid)
        theirs = simulation.SimInspiralChooseFDWaveformSequence(0.4, m1, m2, *spins, *place)
        inspiral = FREQUENCIES.numpy() < float(
            masses(binary).innermost
        )  # LAL goes on beyond where frequencies are given
        for ours, series in zip(TaylorF2()(FREQUENCIES, binary), theirs, strict=True):
            error = np.abs(ours.numpy() - series.data.data)
            assert error[inspiral].max() < 1e-9 * np.abs(series.data.data).max() and not ours[~inspiral].any()


def test_lal_has_the_same_detectors() -> None:
    lal = pytest.importorskip("lal")
    for gps in (8e8, 1126259462.4, 1.3e9):
        assert sidereal_time(gps) == pytest.approx(lal.GreenwichMeanSiderealTime(gps) % (2 * math.pi), abs=1e-4)
    for name, detector in DETECTORS.items():
        theirs, where = lal.cached_detector_by_prefix[name], source()
        plus, cross, delay = detector.response(where, lal.GreenwichMeanSiderealTime(1126259462.4))
        sky = float(where["ra"]), float(where["dec"])
        gains = lal.ComputeDetAMResponse(theirs.response, *sky, 0.3, lal.GreenwichMeanSiderealTime(1126259462.4))
        assert [float(plus), float(cross)] == pytest.approx(gains, abs=1e-7)
        assert float(delay) == pytest.approx(
            lal.TimeDelayFromEarthCenter(theirs.location, *sky, 1126259462.4), abs=1e-9
        )


def test_batches_are_rows_and_gradients_are_slopes() -> None:
    batch = {name: torch.stack([value, value * 0.9]) for name, value in source().items()}
    plus, cross = TaylorF2([GaussBonnet()])(FREQUENCIES, batch)
    for row in range(2):
        single = TaylorF2([GaussBonnet()])(FREQUENCIES, {name: value[row] for name, value in batch.items()})
        assert torch.equal(plus[row], single.plus) and torch.equal(cross[row], single.cross)

    def power(chirp: Tensor) -> Tensor:
        waves = TaylorF2([GaussBonnet()])(FREQUENCIES, source() | {"chirp_mass": chirp})
        strain = project(waves, FREQUENCIES, source(), list(DETECTORS.values()), 0.2)
        return (strain / advanced_ligo(FREQUENCIES)).real.square().sum()

    chirp = torch.tensor(8.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(power, (chirp,), eps=1e-7, rtol=1e-4)


def test_the_dipole_term_is_the_published_one() -> None:
    """δΨ = -(5/7168) ζ (m₁² s₂ - m₂² s₁)² / (M⁴ η^{18/5}) u⁻⁷, with u of the chirp mass and ζ = 16π α²/M⁴."""
    m1, m2, chi_1, chi_2 = 36.0, 21.0, 0.6, -0.2
    s1, s2 = (2 * (math.sqrt(1 - c * c) - 1 + c * c) / c**2 for c in (chi_1, chi_2))
    eta, total = m1 * m2 / (m1 + m2) ** 2, m1 + m2
    zeta = 16 * math.pi * (3.0 * KILOMETRE / (total * SOLAR_MASS)) ** 4
    f = np.array([20.0, 50.0])
    u = (math.pi * total * SOLAR_MASS * eta**0.6 * f) ** (1 / 3)
    wanted = -5 / 7168 * zeta * (m1**2 * s2 - m2**2 * s1) ** 2 / (total**4 * eta**3.6) * u**-7
    binary = of_masses(m1, m2, chi_1=chi_1, chi_2=chi_2, sqrt_alpha=3.0)
    found = GaussBonnet(orders=(-1,)).phase(torch.from_numpy(f), binary)
    assert found.numpy() == pytest.approx(wanted, rel=1e-12)
    by_theory = PostEinsteinian([-7]).phase(
        torch.from_numpy(f), binary | {"beta_-7": torch.tensor(wanted[0] * u[0] ** 7)}
    )
    assert by_theory.numpy() == pytest.approx(wanted, rel=1e-12)


def test_one_charge_has_the_published_ratios_of_orders() -> None:
    binary = of_masses(5.9, 1.44)
    eta, bodies = float(masses(binary).symmetric_ratio), ("black hole", "neutron star")
    v = masses(binary).speed(FREQUENCIES)
    dipole, zeroth, half = (GaussBonnet(bodies, orders=[n]).phase(FREQUENCIES, binary) for n in (-1, 0, 0.5))
    assert torch.allclose(zeroth, dipole * v**2 * (659 + 728 * eta) / 96, rtol=1e-12)
    assert torch.allclose(half, -15 * math.pi * dipole * v**3, rtol=1e-12)
    assert torch.allclose(GaussBonnet(bodies).phase(FREQUENCIES, binary), dipole + zeroth + half, rtol=1e-12)


def test_twins_have_no_dipole_and_a_stronger_gravity() -> None:
    """Equal charges a: gravity is stronger by 1 + a², scalar waves add a²/6 to the flux: -(5/6) a² at 0PN."""
    binary = of_masses(10.0, 10.0, sqrt_alpha=2.0)
    a = 4 * math.sqrt(math.pi) * (2.0 * KILOMETRE / (10.0 * SOLAR_MASS)) ** 2
    leading = 3 / (128 * 0.25) * masses(binary).speed(FREQUENCIES) ** -5
    assert torch.allclose(GaussBonnet().phase(FREQUENCIES, binary), -5 / 6 * a**2 * leading, rtol=1e-12)


def test_charges_are_smooth_at_zero_spin() -> None:
    chi = torch.tensor([0.0, 1e-9, 1e-3, 0.5], dtype=torch.float64, requires_grad=True)
    assert scalar_charge(chi)[:2].tolist() == [1.0, 1.0]
    assert float(scalar_charge(chi.detach())[2]) == pytest.approx(1 - 1e-6 / 4, abs=1e-12)
    assert float(scalar_charge(chi.detach())[3]) == pytest.approx(2 * (math.sqrt(0.75) - 0.75) / 0.25)
    assert torch.autograd.grad(scalar_charge(chi).sum(), chi)[0].isfinite().all()
    assert float(small_coupling_bound(5.0)) == pytest.approx(0.3157 * 5.0 * SOLAR_MASS / KILOMETRE, rel=1e-3)


def test_beyond_its_end_a_correction_only_shifts_time() -> None:
    binary, f = of_masses(36.0, 29.0), torch.linspace(40.0, 300.0, 521, dtype=torch.float64)
    phase = GaussBonnet(end=1.0).phase(f, binary)
    last = float(masses(binary).innermost)
    slope = torch.diff(phase)
    assert slope[f[:-1] > last].diff().abs().max() < 1e-13
    around = slope[(f[:-1] > last - 3) & (f[:-1] < last + 3)]
    assert (around - around.mean()).abs().max() < 0.2 * around.mean().abs()


def test_more_terms_can_be_given() -> None:
    binary = of_masses(5.9, 1.44)
    mass = masses(binary)
    extra = GaussBonnet(coefficients={1.0: 3.0}).phase(FREQUENCIES, binary) - GaussBonnet().phase(FREQUENCIES, binary)
    assert torch.allclose(extra, 3.0 * (KILOMETRE / mass.total) ** 4 * mass.speed(FREQUENCIES) ** -3, rtol=1e-8)


def test_waves_arrive_with_the_light() -> None:
    """Delays between detectors never exceed the light travel time, and are it along the line that joins them."""
    rng = np.random.default_rng(1)
    sky = {"ra": torch.tensor(rng.uniform(0, 6.28, 2000)), "dec": torch.tensor(np.arcsin(rng.uniform(-1, 1, 2000)))}
    sky["psi"] = torch.zeros(2000, dtype=torch.float64)
    first, second = DETECTORS["H1"], DETECTORS["L1"]
    light = np.linalg.norm(np.subtract(first.vertex, second.vertex)) / 299792458.0
    delay = first.response(sky, 0.3)[2] - second.response(sky, 0.3)[2]
    assert 0.99 * light < float(delay.abs().max()) <= light and light == pytest.approx(0.010, abs=2e-4)
    gain = sum(g**2 for g in first.response(sky, 0.3)[:2])
    assert float(gain.mean()) == pytest.approx(0.4, abs=0.02)  # 2/5 on average over the sky
    assert float(gain.max()) <= 1.0


def test_noise_varies_about_the_design(tmp_path) -> None:
    f = torch.arange(20.0, 1024.0, dtype=torch.float64)
    drawn = varied_noise(f, torch.Generator().manual_seed(1), 400, scale=0.1)
    ratio = torch.log(drawn / advanced_ligo(f))
    assert ratio.shape == (400, len(f)) and abs(float(ratio.mean())) < 0.02
    assert float(ratio[:, 0].std()) == pytest.approx(0.1 * math.sqrt(2), rel=0.15)
    file = tmp_path / "asd.txt"
    np.savetxt(file, np.stack([f.numpy(), drawn[0].numpy()], -1))
    assert torch.allclose(load_asd(file, f[:-1] + 0.0), drawn[0, :-1], rtol=1e-9)
    with pytest.raises(ValueError, match="covers 20 to 1023 Hz"):
        load_asd(file, f + 10)
    np.savetxt(file, np.stack([f.numpy(), np.where(f == 60, 0.0, 1e-23)], -1))
    with pytest.raises(ValueError, match="not positive at 60 Hz"):
        load_asd(file, f)
