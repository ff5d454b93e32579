"""Lengths of patches and of super-clusters, the collapse of structure factors and their tails, on planted textures."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter

from nearsight import analysis
from nearsight.lattices import cubic, honeycomb, square, triangular


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def domains(n: int, width: float, replicas: int, seed: int = 0) -> np.ndarray:
    """σ = ±1 with sharp walls that are smooth on the scale of ``width``: the sign of a Gaussian field."""
    white = np.random.default_rng(seed).standard_normal((replicas, n, n))
    smooth = gaussian_filter(white, (0, width, width), mode="wrap")
    return np.sign(smooth).reshape(replicas, -1)


def patches(n: int, edge: int, *, seed: int = 0) -> np.ndarray:
    """Square patches of checkerboard of a given edge on a background without particles, at random places."""
    rng, field = np.random.default_rng(seed), np.zeros((n, n))
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    for _ in range(max(2, n * n // (8 * edge * edge))):
        a, b, side = *rng.integers(n, size=2), rng.integers(2)
        inside = ((x - a) % n < edge) & ((y - b) % n < edge)
        field[inside] = ((x + y + side) % 2)[inside]
    return field.reshape(-1)


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_the_length_of_the_checkerboard_grows_with_its_patches():
    lattice = square(64)
    lengths = [
        float(analysis.checkerboard_length(np.stack([patches(64, edge, seed=k) for k in range(6)]), lattice).mean())
        for edge in (2, 4, 8, 16)
    ]
    assert all(b > 1.2 * a for a, b in itertools.pairwise(lengths))
    # The peak about Q taken over the whole zone hardly notices: the outlines show around Γ as well.
    whole = [
        float(
            analysis.correlation_length(
                analysis.structure_factor(patches(64, edge), lattice, subtract_mean=True), lattice, about=(np.pi, np.pi)
            )
        )
        for edge in (2, 16)
    ]
    assert max(whole) < 0.6 < lengths[2]


def test_particles_at_random_have_the_length_of_white_noise_in_half_the_zone():
    lattice = square(32)
    n = (np.random.default_rng(0).random((60, 1024)) < 0.187).astype(float)
    k = np.abs(analysis.wave_vectors(square(400)).reshape(-1, 2))
    half = k[k.sum(1) < np.pi]  # as large as the half of the zone around Q
    expected = 1 / np.linalg.norm(half, axis=1).mean()
    assert float(analysis.checkerboard_length(n, lattice).mean()) == pytest.approx(expected, rel=0.01)
    assert expected == pytest.approx(0.588, abs=0.002)


@pytest.mark.parametrize("lattice", [square(8), square(8, 4), cubic(4), honeycomb(6)], ids=repr)
def test_perfect_checkerboard_has_no_finite_length(lattice):
    ordered = 0.5 + 0.5 * analysis.sublattice_sign(lattice)
    assert np.isinf(analysis.checkerboard_length(ordered, lattice))


def test_one_sublattice_everywhere_is_an_infinite_super_cluster_and_one_stray_domain_is_not():
    lattice = square(30)
    sigma = np.ones((2, 900))
    sigma[1, 17] = -1
    L = analysis.correlation_length(analysis.structure_factor(sigma, lattice), lattice)
    assert np.isinf(L[0]) and 1 < L[1] < 1000


def test_the_length_of_the_checkerboard_knows_no_sublattice():
    lattice = square(16)
    n = patches(16, 5).reshape(16, 16)
    lengths = [float(analysis.checkerboard_length(np.roll(n, s, 0).reshape(-1), lattice)) for s in (0, 1, 2)]
    assert lengths == pytest.approx([lengths[0]] * 3)


def test_the_summary_is_made_of_its_parts():
    lattice = square(16)
    n = (np.random.default_rng(1).random((2, 3, 256)) < 0.187).astype(float)
    summary = analysis.phase_separation(n, lattice, dims=("replica", "time"))
    assert set(summary.data_vars) == {
        "mean_size", "weighted_size", "ordered", "cluster_length", "l", "L", "R", "phi", "walls",
    }  # fmt: skip
    assert all(v.dims == ("replica", "time") for v in summary.data_vars.values())
    sigma = analysis.sublattice_field(n, lattice, dims=("replica", "time"))
    S = analysis.structure_factor(sigma, lattice)
    k = np.linalg.norm(analysis.wave_vectors(lattice), axis=-1)
    np.testing.assert_allclose(summary.L, S.sum(("kx", "ky")) / (S * k).sum(("kx", "ky")))
    C = analysis.correlation(sigma, lattice)
    np.testing.assert_allclose(summary.R, analysis.crossing_length(C))
    np.testing.assert_allclose(summary.phi, sigma.values.mean(-1))
    labels = analysis.checkerboard_clusters(n, lattice)
    np.testing.assert_allclose(summary.cluster_length**2, n.sum(-1) / labels.values.max(-1))


# --- scaling ----------------------------------------------------------------------------------------------------------


WIDTHS = (3.0, 4.0, 5.0, 6.5)


@pytest.fixture(scope="module")
def textures() -> xr.Dataset:
    """Self-similar domains: S(k), 1/⟨k⟩ and the half height of C(r)."""
    lattice = square(128)
    fields = np.stack([domains(128, w, 24, seed=k) for k, w in enumerate(WIDTHS)], axis=1)
    sigma = xr.DataArray(fields, dims=("replica", "time", "site"), coords={"time": list(WIDTHS)})
    S = analysis.structure_factor(sigma, lattice)
    return xr.Dataset(
        {
            "S": analysis.shell_average(S, lattice),
            "L": analysis.correlation_length(S, lattice),
            "R": analysis.crossing_length(analysis.correlation(sigma, lattice)).rename("R"),
        }
    )


def test_sharp_walls_have_the_tail_of_porod(textures):
    for width in WIDTHS[1:]:
        law = analysis.porod_law(textures.S.sel(time=width), window=(2.0 / width, 1.2), rng=generator())
        assert abs(law.exponent + 3.0) < 0.1 + 2 * law.error
        assert law.error < 0.05


def test_diffuse_walls_fall_faster_than_porod():
    lattice = square(128)
    soft = gaussian_filter(domains(128, 6.5, 12).reshape(12, 128, 128), (0, 1.5, 1.5), mode="wrap").reshape(12, -1)
    S = analysis.shell_average(analysis.structure_factor(soft, lattice), lattice)
    assert analysis.porod_law(S, window=(0.6, 1.5), rng=generator()).exponent < -5.0


def test_domains_of_several_sizes_and_one_shape_collapse(textures):
    chosen = {"dimension": 2, "window": (1.5, 25.0), "largest_k": 1.0, "samples": 60}
    found = analysis.dynamical_scaling(textures.S, textures.R, rng=generator(), **chosen)
    assert abs(found.theta - 2.0) < 3 * found.theta_error and found.theta_error < 0.03
    assert found.deviation < 0.05 and 0.4 < found.quality < 2.0


def test_the_inverse_mean_wave_number_of_sharp_walls_is_no_length_that_scales(textures):
    """∫ k S d²k ~ ∫ dk/k: the lattice constant enters by a logarithm."""
    chosen = {"dimension": 2, "window": (0.7, 10.0), "largest_k": 1.0, "samples": 60}
    found = analysis.dynamical_scaling(textures.S, textures.L, rng=generator(), **chosen)
    assert found.theta < 1.8 and found.quality > 5
    growth = np.log(textures.L.mean("replica")).values, np.log(textures.R.mean("replica")).values
    assert np.ptp(growth[1]) == pytest.approx(np.log(WIDTHS[-1] / WIDTHS[0]), rel=0.07)
    assert np.ptp(growth[0]) < 0.85 * np.log(WIDTHS[-1] / WIDTHS[0])


def planted(exponent: float, *, replicas: int = 40, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """S = L^exponent G(kL) with G = 1/(1 + x²)^(3/2), ln-normal noise, on a dense grid of k."""
    rng, k, L = np.random.default_rng(seed), np.linspace(0.0, 1.5, 61), np.array([2.0, 3.0, 4.5, 6.0])
    curve = L[:, None] ** exponent * (1 + (k * L[:, None]) ** 2) ** -1.5
    S = curve * np.exp(0.2 * rng.standard_normal((replicas, 4, 61)))
    coords = {"time": [1.0, 2.0, 3.0, 4.0], "k": k}
    lengths = xr.DataArray(np.broadcast_to(L, (replicas, 4)), dims=("replica", "time"), coords={"time": coords["time"]})
    return xr.DataArray(S, dims=("replica", "time", "k"), coords=coords), lengths


@pytest.mark.parametrize("exponent", [2.0, 1.5])
def test_the_exponent_of_the_collapse_is_the_planted_one(exponent):
    pulls = []
    for seed in range(4):
        S, L = planted(exponent, seed=seed)
        found = analysis.dynamical_scaling(S, L, dimension=2, rng=generator(seed), samples=60)
        pulls.append((found.theta - exponent) / found.theta_error)
        if exponent == 2.0:
            assert 0.6 < found.quality < 1.5
        else:
            assert found.quality > 10
    assert np.sqrt(np.mean(np.square(pulls))) < 2.5


def test_a_planted_tail_is_found_with_its_error():
    rng, k = np.random.default_rng(0), np.linspace(0.1, 1.0, 19)
    S = xr.DataArray(k**-3.0 * np.exp(0.3 * rng.standard_normal((50, 19))), dims=("replica", "k"), coords={"k": k})
    law = analysis.porod_law(S, window=(0.2, 0.9), rng=generator())
    assert abs(law.exponent + 3.0) < 4 * law.error and law.error < 0.1


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: analysis.checkerboard_length(np.zeros(16), square(4)), "uniform"),
        (lambda: analysis.checkerboard_length(np.eye(36)[0], triangular(6)), "no two sublattices"),
        (lambda: analysis.porod_law(planted(2.0)[0], window=(0.1, 1), rng=generator()), "choose a time"),
        (lambda: analysis.porod_law(planted(2.0)[0].isel(time=0), window=(0.1, 0.12), rng=generator()), "needs 3"),
        (lambda: analysis.dynamical_scaling(*(x.isel(replica=[0, 1]) for x in planted(2.0)), dimension=2,
                                            rng=generator()), "3 or more replicas"),
        (lambda: analysis.dynamical_scaling(planted(2.0)[0].mean("replica"), planted(2.0)[1], dimension=2,
                                            rng=generator()), r"S needs \(replica, time, k\)"),
        (lambda: analysis.dynamical_scaling(planted(2.0)[0], planted(2.0)[1] * np.inf, dimension=2,
                                            rng=generator()), "finite and positive"),
        (lambda: analysis.dynamical_scaling(*planted(2.0), dimension=2, rng=generator(), window=(100.0, 200.0)),
         "overlap in kL"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()
