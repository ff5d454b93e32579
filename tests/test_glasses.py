"""Observables of disordered spins against closed forms and brute force; the coverage of the error of ψ is counted."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight.analysis import (
    autocorrelation,
    correlation_moment_length,
    glass_growth,
    level_density,
    radial_correlation,
    replica_overlap,
    spin_correlation,
    spin_glass_susceptibility,
)
from nearsight.fields import random_spins, spin
from nearsight.hamiltonians import Exponential, SDModel
from nearsight.lattices import PointCloud, Structures, random_cloud, square, torus_distance
from nearsight.solvers import Chebyshev, Pattern, SparseMatrix


def test_correlations_by_distance_are_those_of_all_pairs(rng):
    cloud = random_cloud(30, 0.8, 0.5, rng=rng)
    spins = random_spins(cloud, rng, 2)
    bins = np.linspace(0.5, 1.6, 5)  # below half the period every pair has one image
    found = radial_correlation(spins, cloud, bins)
    away = torus_distance(cloud.positions[None] - cloud.positions[:, None], cloud)
    for k, S in enumerate(spins.numpy()):
        products = S @ S.T
        for b, (low, high) in enumerate(pairwise(bins)):
            inside = (away >= low) & (away < high) & ~np.eye(30, dtype=bool)
            assert float(found[k, b]) == pytest.approx(products[inside].mean())
            assert int(found.pairs[b]) == inside.sum() // 2


def test_on_a_lattice_they_are_its_shells(rng):
    lattice = square(8)
    spins = random_spins(lattice, rng, 3)
    found = radial_correlation(spins, lattice, np.array([0.9, 1.1, 1.5, 1.9, 2.1]))
    by_shell = spin_correlation(spins, lattice)
    for k, r in ((0, 1.0), (1, 2**0.5), (3, 2.0)):
        np.testing.assert_allclose(found.isel(r=k), by_shell.sel(r=r, method="nearest"), atol=1e-12)
    assert found.isel(r=2).isnull().all()


def test_an_exponential_correlation_has_its_length():
    r = np.linspace(0.0, 12.0, 1201)
    for xi in (0.5, 0.9):
        C = xr.DataArray(np.tile(np.exp(-r / xi), (4, 2, 1)), dims=("replica", "time", "r"), coords={"r": r})
        np.testing.assert_allclose(correlation_moment_length(C), xi, rtol=1e-3)
        np.testing.assert_allclose(correlation_moment_length(C, power=2), xi, rtol=1e-3)


def test_pseudo_values_have_the_bias_of_noise_removed(rng):
    """|C| of a noisy mean is biased; the mean of pseudo-values is less so than the plain ratio."""
    r, draw = np.linspace(0.5, 4.0, 36), np.random.default_rng(0)
    truth = np.cos(4 * r) * np.exp(-r / 0.8)
    exact = np.trapezoid(r * abs(truth), r) / np.trapezoid(abs(truth), r)
    plain, corrected, errors = [], [], []
    for _ in range(200):
        noisy = truth + 0.02 * draw.normal(size=(6, 1, len(r)))
        C = xr.DataArray(noisy, dims=("replica", "time", "r"), coords={"r": r})
        xi = correlation_moment_length(C).values[:, 0]
        weight = abs(noisy.mean((0, 1)))
        plain.append(np.trapezoid(r * weight, r) / np.trapezoid(weight, r))
        corrected.append(xi.mean())
        errors.append(xi.std(ddof=1) / np.sqrt(6))
    assert abs(np.mean(corrected) - exact) < 0.7 * abs(np.mean(plain) - exact)
    assert np.mean(errors) == pytest.approx(np.std(corrected), rel=0.3)


def test_squares_of_different_replicas_do_not_see_noise():
    """Of a short correlation under strong noise ξ₁ is drawn to half of the largest distance, ξ₂ is not."""
    r, draw = np.linspace(0.5, 4.0, 36), np.random.default_rng(0)
    truth = np.exp(-(r - 0.5) / 0.25)
    right = 2 * np.trapezoid(r * truth**2, r) / np.trapezoid(truth**2, r)
    found = {1: [], 2: []}
    for _ in range(100):
        noisy = truth + 0.15 * draw.normal(size=(8, 1, len(r)))
        C = xr.DataArray(noisy, dims=("replica", "time", "r"), coords={"r": r})
        for power, values in found.items():
            values.append(float(correlation_moment_length(C, power=power).mean()))
    exact = np.trapezoid(r * truth, r) / np.trapezoid(truth, r)
    assert np.mean(found[1]) > 1.3 * exact
    assert np.mean(found[2]) == pytest.approx(right, abs=4 * np.std(found[2]) / 10)


def test_the_density_of_states_counts_levels_and_is_that_of_chebyshev(rng):
    cloud = random_cloud(60, 0.8, 0.5, rng=rng)
    model = SDModel(cloud, t=Exponential(-1.0, cutoff=2.5), J=0.0)
    spins = random_spins(cloud, rng)
    energies = np.linspace(-4, 20, 600)
    levels = torch.linalg.eigvalsh(model.matrix(spins))
    rho = level_density(levels, energies, 0.4, 60)
    assert float(np.trapezoid(rho, energies)) == pytest.approx(2.0, rel=1e-3)
    matrix = SparseMatrix(Pattern(*model.positions, model.orbitals, model.cuts), model.elements(spins))
    series = Chebyshev(mu=0.0, kT=0.1, moments=400, kernel="jackson")
    k = int(levels.diff()[40:100].argmax()) + 40  # a gap in the upper half of the levels
    middle = float(levels[k] + levels[k + 1]) / 2
    at = torch.linspace(-1.5, middle, 2000, dtype=torch.float64)
    counted = torch.trapezoid(series.density_of_states(matrix, at).values, at)
    assert float(counted) == pytest.approx(k + 1, rel=0.01)


def test_overlaps_do_not_see_a_rotation_of_all_spins(rng):
    cloud = random_cloud(200, 0.8, 0.5, rng=rng)
    S = random_spins(cloud, rng)
    R = spin().internal_operation(3, rng)
    q = replica_overlap(torch.stack([S, S @ R.T, random_spins(cloud, rng)]), cloud)
    own = float(((S.T @ S / 200) ** 2).sum()) ** 0.5
    assert float(q[0]) == pytest.approx(own) and own == pytest.approx(3**-0.5, abs=0.02)
    assert float(q[1]) == pytest.approx(float(q[2])) and float(q[1]) < 0.15
    up = torch.zeros(2, 200, 3).double()
    up[0, :, 2], up[1, :, 0] = 1.0, 1.0
    assert float(replica_overlap(up, cloud)[0]) == pytest.approx(1.0)


def test_independent_replicas_have_susceptibility_one(rng):
    clouds = Structures([random_cloud(50, 0.8, 0.5, rng=rng), random_cloud(80, 0.8, 0.5, rng=rng)])
    found = [spin_glass_susceptibility(random_spins(clouds, rng, 8), clouds) for _ in range(60)]
    chi = np.array([f.susceptibility.values for f in found])
    assert np.abs(chi.mean(0) - 1).max() < 4 * chi.std(0).max() / np.sqrt(60)
    alike = random_spins(clouds, rng).expand(4, -1, -1)
    assert spin_glass_susceptibility(alike, clouds).susceptibility.values[1] > 80 / 3
    errors = np.array([f.error.values for f in found])
    assert 0.5 < errors.mean() / chi.std(0).mean() < 2.0


def test_spins_that_turn_steadily_forget_by_the_cosine():
    t = np.array([0.0, 0.5, 1.0, 2.0])
    spins = np.stack([np.cos(t), np.sin(t), 0 * t], -1)[:, None, None].repeat(5, axis=2)
    labelled = xr.DataArray(spins, dims=("time", "replica", "site", "component"), coords={"time": t})
    C = autocorrelation(labelled, (0.5, 1.0))
    np.testing.assert_allclose(C.sel(waiting=0.5, time=2.0), np.cos(1.5))
    assert C.sel(waiting=1.0, time=0.5).isnull().all() and float(C.ratio.sel(waiting=0.5, time=2.0)) == 3.0
    with pytest.raises(ValueError, match="share recorded times"):
        autocorrelation(labelled, (0.5, 0.6))


def planted(law, draw, replicas=8, noise=0.02):
    t = np.geomspace(2, 2000, 14)
    xi = {"activated": 0.5 * np.log(t) ** (1 / 1.4), "power": 0.5 * t**0.12, "logarithm": 1.0 + 0.15 * np.log(t)}[law]
    # Replicas differ as a whole, and from time to time.
    wobble = noise * (draw.normal(size=(replicas, 1)) + draw.normal(size=(replicas, len(t))))
    return xr.DataArray(xi * (1 + wobble), dims=("replica", "time"), coords={"time": t})


@pytest.mark.parametrize("law", ["activated", "power", "logarithm"])
def test_the_law_that_was_planted_is_preferred(law, rng):
    found = glass_growth(planted(law, np.random.default_rng(1), noise=0.003), rng=rng, samples=200)
    assert found.preferred[law] > 0.95 and found.chi2[law] == min(found.chi2.values())
    assert f"{law} {found.chi2[law]:.3g}" in str(found)


def test_the_interval_of_psi_covers_the_truth_as_often_as_it_says(rng):
    draw, inside = np.random.default_rng(2), 0
    for _ in range(200):
        found = glass_growth(planted("activated", draw), rng=rng, samples=100)
        inside += found.interval[0] <= 1.4 <= found.interval[1]
    assert 0.90 <= inside / 200 <= 0.99


def test_noise_does_not_decide_between_the_laws(rng):
    found = glass_growth(planted("logarithm", np.random.default_rng(3), replicas=4, noise=0.15), rng=rng)
    assert max(found.preferred.values()) < 0.99
    np.testing.assert_allclose(found(np.array([10.0])), found.amplitude * np.log(10.0) ** (1 / found.psi))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, s: radial_correlation(s, c, np.array([1.0, 0.5])), "ascending edges"),
        (lambda c, s: correlation_moment_length(xr.DataArray(np.ones((2, 3)), dims=("replica", "r"))), "at least 3"),
        (lambda c, s: correlation_moment_length(xr.DataArray(np.ones(3), dims="r")), "'replica' and 'r'"),
        (lambda c, s: replica_overlap(s[:1], c), "two replicas or more"),
        (lambda c, s: spin_glass_susceptibility(s, c), "needs 3 replicas"),
        (lambda c, s: autocorrelation(xr.DataArray(np.ones(3), dims="x"), (1.0,)), "'time', 'site', 'component'"),
    ],
)
def test_bad_input_is_refused_by_name(call, message, rng):
    cloud = PointCloud([[0.0, 0.0], [1.0, 0.3], [0.2, 1.1]])
    with pytest.raises(ValueError, match=message):
        call(cloud, random_spins(cloud, rng, 2))


def test_a_window_too_short_for_three_laws_is_refused(rng):
    with pytest.raises(ValueError, match="holds 3 times"):
        glass_growth(planted("power", np.random.default_rng(0)), rng=rng, window=(2.0, 8.0))
