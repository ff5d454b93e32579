"""The Peierls model: its bands, its order and its signs, against sums over wavevectors and a molecule of two atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Peierls
from nearsight.lattices import chain, square
from nearsight.solvers import Dense

T, T2, ALPHA, K, KAPPA = 2.5, 0.5, 4.0, 30.0, 4.0
COLD = Dense(filling=0.5, kT=1e-4)


def band(kx, ky):
    return -2 * T * (np.cos(kx) + np.cos(ky)) - 4 * T2 * np.cos(kx) * np.cos(ky)


def wavevectors(length: int, twist: float) -> tuple[np.ndarray, np.ndarray]:
    k = (2 * np.pi * np.arange(length) + twist) / length
    return tuple(np.meshgrid(k, k, indexing="ij"))  # type: ignore[return-value]


class WaveOfDisplacements:
    """u_i = u cos(Q·r_i) with Q = (π, π) or (π, 0) on the torus of L × L sites, wavevector by wavevector.

    The bond from r to r + x̂ then is t + 2α u_x cos(Q·r), which joins k to k + Q by 4iα u_x sin k_x: two bands.
    """

    def __init__(self, length: int, twist: float = np.pi, Q: tuple[float, float] = (np.pi, np.pi)) -> None:
        self.k, self.Q = wavevectors(length, twist), Q

    def levels(self, u: tuple[float, float]) -> np.ndarray:
        stretched = [4 * ALPHA * c * np.sin(k) for c, k, q in zip(u, self.k, self.Q, strict=True) if q]
        here, there = band(*self.k), band(self.k[0] + self.Q[0], self.k[1] + self.Q[1])
        half = np.sqrt((here - there) ** 2 / 4 + sum(stretched) ** 2)
        return np.stack([(here + there) / 2 - half, (here + there) / 2 + half])

    def energy(self, u: tuple[float, float]) -> float:
        """Per site, at half filling and zero temperature."""
        levels = np.sort(self.levels(u).ravel())  # every level twice: k and k + Q are the same
        stiffness = K + 2 * KAPPA * (np.cos(self.Q[0]) + np.cos(self.Q[1]))
        return levels[: len(levels) // 2].mean() / 2 + 0.5 * stiffness * (u[0] ** 2 + u[1] ** 2)

    def best(self, angle: float) -> tuple[float, float]:
        """The displacement along a direction with the lowest energy, and that energy."""
        c, s = np.cos(angle), np.sin(angle)
        found = minimize_scalar(lambda u: self.energy((u * c, u * s)), bounds=(0, 1), method="bounded")
        return float(found.x), float(found.fun)


def wave(length: int, u: tuple[float, float], Q: tuple[float, float] = (np.pi, np.pi)) -> torch.Tensor:
    sign = np.cos(square(length).cells @ np.asarray(Q))
    return torch.from_numpy(np.stack([u[0] * sign, u[1] * sign], axis=-1))


@pytest.mark.parametrize("twist", [0.0, np.pi, 0.7])
def test_without_displacements_the_bands_are_those_of_two_shells(twist):
    model = Peierls(square(5), twist=(twist, twist) if twist else None)
    levels = torch.linalg.eigvalsh(model.matrix(torch.zeros(25, 2).double()))
    np.testing.assert_allclose(levels, np.sort(band(*wavevectors(5, twist)).ravel()), atol=1e-12)
    assert model.constant.is_complex() == (twist == 0.7)


@pytest.mark.parametrize("Q", [(np.pi, np.pi), (np.pi, 0.0)])
@pytest.mark.parametrize("u", [(0.24, 0.0), (0.1, -0.17)])
def test_a_wave_of_displacements_has_two_bands(u, Q):
    levels = torch.linalg.eigvalsh(Peierls(square(6), twist=(np.pi, np.pi)).matrix(wave(6, u, Q)))
    expected = np.sort(WaveOfDisplacements(6, Q=Q).levels(u).ravel())[::2]
    np.testing.assert_allclose(levels, expected, atol=1e-12)


@pytest.mark.parametrize("spins", [1, 2])
def test_the_force_on_a_wave_is_the_slope_of_the_sum_over_wavevectors(spins):
    exact = ExactForceField(Peierls(square(8), twist=(np.pi, np.pi), spins=spins), Dense(filling=0.5, kT=0.0))
    # A spin doubles the electrons, as if the springs were half as stiff.
    referee, u, h = WaveOfDisplacements(8), 0.2, 1e-5
    springs = 0.5 * (K - 4 * KAPPA)

    def energy(x: float) -> float:
        return spins * (referee.energy((x, 0.0)) - springs * x**2) + springs * x**2

    found = exact(wave(8, (u, 0.0)))
    assert float(found.energy) / 64 == pytest.approx(energy(u), rel=1e-12)
    slope = (energy(u + h) - energy(u - h)) / (2 * h)
    torch.testing.assert_close(found.force, wave(8, (-slope, 0.0)), atol=1e-6, rtol=0)


def test_the_square_lattice_orders_at_pi_pi_along_an_axis():
    """The infinite lattice: four domains, ±x̂ and ±ŷ; a semimetal that touches at (π, 0), at the energy 4 t₂."""
    infinite = WaveOfDisplacements(400)
    (axis, low), (_, oblique), (_, diagonal) = (infinite.best(angle) for angle in (0.0, np.pi / 8, np.pi / 4))
    assert axis == pytest.approx(0.24406, abs=1e-5) and low == pytest.approx(-2.17082, abs=1e-5)
    assert low < oblique < diagonal < infinite.energy((0.0, 0.0)) == pytest.approx(-2.05151, abs=1e-4)
    striped, stripes = WaveOfDisplacements(400, Q=(np.pi, 0.0)).best(0.0)
    assert abs(striped) < 1e-4 and stripes == pytest.approx(-2.05151, abs=1e-4)
    lower, upper = infinite.levels((axis, 0.0))
    assert lower.max() < 4 * T2 < upper.min() and upper.min() - lower.max() < 0.1


def test_a_large_lattice_rests_at_the_displacement_of_the_infinite_one():
    exact = ExactForceField(Peierls(square(20), twist=(np.pi, np.pi)), COLD)
    field = wave(20, (0.24406, 0.0))
    assert float((exact(field).force * field.sign()).mean()) == pytest.approx(0.0, abs=0.01)
    assert float(exact.electrons(field).force.abs().max()) == pytest.approx((K - 4 * KAPPA) * 0.24406, rel=0.005)


def test_a_stretched_molecule_binds_less():
    """Two atoms on an open chain: one electron in the bond -[t - α(u₂ - u₁)], forces that pull the atoms together."""
    model = Peierls(chain(2, periodic=False), t2=0.0, kappa=1.5)
    field = torch.tensor([[-0.1], [0.2]]).double()
    exact = ExactForceField(model, Dense(filling=0.5, kT=0.0))
    torch.testing.assert_close(exact.electrons(field).energy, torch.tensor(-(T - ALPHA * 0.3)).double())
    torch.testing.assert_close(exact.electrons(field).force, torch.tensor([[ALPHA], [-ALPHA]]).double())
    springs = torch.tensor(0.5 * K * (0.01 + 0.04) - 1.5 * 0.02).double()
    torch.testing.assert_close(model.classical_energy(field), springs)


def test_electrons_do_not_feel_a_shift_of_the_whole_lattice(rng):
    exact = ExactForceField(Peierls(square(4, 5)), Dense(filling=0.4, kT=0.1))
    field = 0.2 * torch.randn(20, 2, generator=rng, dtype=torch.float64)
    here, there = exact.electrons(field), exact.electrons(field + torch.tensor([0.3, -0.2]).double())
    torch.testing.assert_close(there, here, atol=1e-11, rtol=0)
    assert float(here.force.sum(0).abs().max()) < 1e-12 < float(here.force.abs().max())


def test_springs_between_the_atoms_of_a_chain_are_an_on_site_and_a_coupled_spring(rng):
    field = torch.randn(7, 1, generator=rng, dtype=torch.float64)
    stretch = field.roll(-1, 0) - field
    energy = Peierls(chain(7), k=1.6, kappa=-0.8).classical_energy(field)
    torch.testing.assert_close(energy, 0.5 * 0.8 * stretch.square().sum())
