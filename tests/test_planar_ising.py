"""Ising spins with any couplings on planar and toroidal lattices against sums over all states."""

import numpy as np
import pytest

from nearsight.hamiltonians import BlumeCapel, EdwardsAnderson, Ising, Potts
from nearsight.lattices import Lattice, chain, cubic, honeycomb, kagome, square, triangular
from nearsight.sampling import enumerate_states, ising_levels, ising_torus, planar_thermodynamics
from nearsight.sampling._kac_ward import bond_moments

SMALL = [
    square(4),
    square(3),
    square(3, 4),
    square(3, 5, periodic=(False, True)),
    square(3, 4, periodic=(True, False)),
    square(4, 4, periodic=False),
    triangular(3),
    triangular(4),
    triangular(3, 4, periodic=(True, False)),
    honeycomb(2),
    honeycomb(2, 3),
    kagome(2),
    square(2, 4),
    square(1, 5, periodic=False),
    square(1, 5),  # a site is its own neighbour
    square(1),
    triangular(5, 2),
    kagome(1),
    Lattice("oblique", [[1.0, 0.3], [0.2, 1.4]], [[0.0, 0.0], [0.5, 0.55]], (2, 3)),
]


def exact_moments(lattice, K):
    """ln Z, means and covariance of s_i s_j over all bonds, a sum over all states."""
    bonds, n = lattice.bonds(1), lattice.n_sites
    spins = 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) - 1
    products = spins[:, bonds.i] * spins[:, bonds.j]
    log = products @ K
    weight = np.exp(log - log.max())
    log_partition = float(np.log(weight.sum()) + log.max())
    weight /= weight.sum()
    mean = weight @ products
    return log_partition, mean, (products * weight[:, None]).T @ products - np.outer(mean, mean)


def errors(lattice, K):
    found, (log_partition, mean, covariance) = bond_moments(lattice, K), exact_moments(lattice, K)
    return (
        abs(found.log_partition - log_partition),
        np.abs(found.mean - mean).max(),
        np.abs(found.covariance - covariance).max(),
    )


@pytest.mark.parametrize("lattice", SMALL, ids=repr)
def test_moments_of_random_couplings_are_sums_over_all_states(lattice):
    K = np.random.default_rng(7).normal(0, 0.6, len(lattice.bonds(1)))
    assert max(errors(lattice, K)) < 1e-12


@pytest.mark.parametrize("lattice", [square(4), triangular(3), honeycomb(2)], ids=repr)
def test_bonds_without_coupling_are_as_good_as_absent(lattice):
    rng = np.random.default_rng(3)
    K = rng.normal(0, 0.8, len(lattice.bonds(1))) * (rng.random(len(lattice.bonds(1))) < 0.6)
    assert (K == 0).sum() >= 2
    assert max(errors(lattice, K)) < 1e-12
    assert max(errors(lattice, 0 * K)) < 1e-12


def test_what_is_not_refused_as_too_cold_is_right():
    """Twenty glasses, from hot to frozen: never an error beyond 10⁻⁶, and none refused above kT = 0.5 J."""
    refused = []
    for seed in range(20):
        glass = EdwardsAnderson(square(3, 4), seed=seed)
        for kT in (1.0, 0.6, 0.4, 0.3, 0.2, 0.1, 0.03):
            try:
                assert max(errors(glass.lattice, glass.couplings / kT)) < 1e-6, (seed, kT)
            except ArithmeticError as error:
                assert "ParallelTempering" in str(error)
                refused.append(kT)
    assert refused and max(refused) < 0.5


@pytest.mark.parametrize("sides", [(4, 4), (6, 5), (8, 12)])
def test_a_uniform_torus_agrees_with_kaufman_at_its_transition_too(sides):
    """At the transition one of the four Pfaffians is zero."""
    critical = 2 / np.log(1 + np.sqrt(2))
    kT = critical + np.array([0.0, 1e-13, -1e-10, 1e-7, -1e-3, 0.5, 5.0, -1.0])
    found, exact = planar_thermodynamics(Ising(square(*sides)), kT), ising_torus(*sides, kT)
    for name in ("free_energy", "energy", "entropy", "specific_heat"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=1e-10, atol=1e-12)


def test_a_frustrated_torus_agrees_with_its_levels():
    kT = np.array([1.5, 2.0, 5.0])
    found, exact = planar_thermodynamics(Ising(square(5, 7), J=-1.0), kT), ising_levels(5, 7, J=-1.0).thermodynamics(kT)
    for name in ("free_energy", "energy", "specific_heat"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=1e-9)


def test_a_glass_agrees_with_enumeration():
    glass = EdwardsAnderson(square(4), distribution="+-J", seed=2)
    kT = np.array([[0.7, 1.0], [2.0, 50.0]])
    found, exact = planar_thermodynamics(glass, kT), enumerate_states(glass).thermodynamics(kT)
    for name in ("free_energy", "energy", "entropy", "specific_heat"):
        assert getattr(found, name).shape == kT.shape
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=1e-8)


def test_gauge_transformations_change_the_signs_of_correlations_alone():
    lattice, rng = square(8, 6), np.random.default_rng(1)
    bonds = lattice.bonds(1)
    K, signs = rng.normal(0, 0.5, len(bonds)), rng.choice([-1.0, 1.0], lattice.n_sites)
    turned = signs[bonds.i] * signs[bonds.j]
    there, here = bond_moments(lattice, K * turned), bond_moments(lattice, K)
    assert there.log_partition == pytest.approx(here.log_partition, rel=1e-13)
    np.testing.assert_allclose(there.mean * turned, here.mean, atol=1e-12)
    np.testing.assert_allclose(there.covariance * np.outer(turned, turned), here.covariance, atol=1e-12)


def test_means_are_derivatives_of_ln_z_and_covariances_those_of_means():
    lattice, rng, h = triangular(5), np.random.default_rng(4), 1e-5
    K = rng.normal(0, 0.4, len(lattice.bonds(1)))
    direction = rng.standard_normal(len(K))
    here, up, down = (bond_moments(lattice, K + k * h * direction) for k in (0, 1, -1))
    slope = (up.log_partition - down.log_partition) / (2 * h)
    assert here.mean @ direction == pytest.approx(slope, rel=1e-8)
    np.testing.assert_allclose(here.covariance @ direction, (up.mean - down.mean) / (2 * h), atol=1e-8)
    assert np.linalg.eigvalsh(here.covariance)[0] > 0


def test_a_frozen_magnet_overflows_nowhere():
    cold = planar_thermodynamics(Ising(square(6)), [1e-3, 0.05])
    np.testing.assert_allclose(cold.energy, -2.0, rtol=1e-14)
    np.testing.assert_allclose(cold.free_energy, -2.0 - cold.kT * np.log(2) / 36, rtol=1e-14)
    assert np.abs(cold.specific_heat).max() < 1e-12


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Ising(square(4), h=0.1), "a field"),
        (Ising(square(4), J=(1.0, 0.5)), "nearest neighbours alone"),
        (Potts(square(4), 3), "Ising spins"),
        (Potts(square(4), 2), "Ising spins"),
        (BlumeCapel(square(4), D=0.5), "Ising spins"),
        (Ising(chain(6)), "chain_thermodynamics"),
        (EdwardsAnderson(cubic(2), seed=1), "two-dimensional"),
    ],
    ids=repr,
)
def test_models_without_a_pfaffian_are_refused(model, words):
    with pytest.raises(ValueError, match=words):
        planar_thermodynamics(model, 1.0)


def test_a_lattice_too_large_for_the_memory_is_refused_before_it_is_filled():
    with pytest.raises(ValueError, match="GiB"):
        planar_thermodynamics(Ising(square(1000)), 1.0)
