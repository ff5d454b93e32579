"""Structure factors, correlations, order and lengths against what is known exactly."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from nearsight import analysis
from nearsight.lattices import Lattice, chain, square

TRIANGULAR = np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
Q = (np.pi, np.pi)


def honeycomb(n: int, periodic: bool = True) -> Lattice:
    vectors = TRIANGULAR * np.sqrt(3)
    return Lattice("honeycomb", vectors, np.array([[0.0, 0.0], vectors.sum(0) / 3]), (n, n), periodic)


LATTICES = [
    square(6),
    square(4, 7),
    chain(9),
    Lattice("triangular", TRIANGULAR, np.zeros((1, 2)), (5, 6)),
    honeycomb(4),
    square(5, 4, periodic=False),
    square(5, 6, periodic=(True, False)),
    honeycomb(3, periodic=False),
    Lattice("cubic", np.eye(3), np.zeros((1, 3)), (3, 4, 5)),
]
PERIODIC = [lattice for lattice in LATTICES if all(lattice.periodic)]


def noise(lattice: Lattice, *batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*batch, lattice.n_sites, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def checkerboard(lattice: Lattice) -> torch.Tensor:
    return torch.from_numpy(0.5 - lattice.cells.sum(1) % 2)


def direct_correlation(field: np.ndarray, lattice: Lattice) -> dict[float, float]:
    """All pairs of sites, each at the smallest distance between any of their images."""
    periods = [np.arange(-1, 2) if p else np.zeros(1) for p in lattice.periodic]
    shifts = np.stack(np.meshgrid(*periods, indexing="ij"), -1).reshape(-1, lattice.dim) * np.asarray(lattice.shape)
    sums: dict[float, list[float]] = {}
    for i in range(lattice.n_sites):
        for j in range(lattice.n_sites):
            d = lattice.positions[j] - lattice.positions[i] + shifts @ lattice.vectors
            sums.setdefault(round(float(np.linalg.norm(d, axis=1).min()), 5), []).append(field[i] * field[j])
    return {r: float(np.mean(products)) for r, products in sums.items()}


# --- reciprocal space -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", LATTICES, ids=repr)
def test_structure_factor_is_the_direct_sum(lattice):
    field = noise(lattice, 2)
    k = analysis.wave_vectors(lattice).reshape(-1, lattice.dim)
    direct = analysis.structure_factor_at(field, lattice, k)
    np.testing.assert_allclose(
        analysis.structure_factor(field, lattice).values.reshape(2, -1), direct.values, atol=1e-12
    )


def test_checkerboard_is_one_peak_of_height_a_quarter_of_the_sites():
    lattice = square(8, 6)
    S = analysis.structure_factor(checkerboard(lattice), lattice)
    assert float(S.sel(kx=-np.pi, ky=-np.pi)) == pytest.approx(lattice.n_sites / 4)
    assert float(S.sum()) == pytest.approx(lattice.n_sites / 4)


def test_white_noise_is_flat_at_its_variance():
    lattice = square(6)
    S = analysis.structure_factor(3.0 * noise(lattice, 4000), lattice)
    pulls = (S.mean("replica") - 9.0) / (S.std("replica") / np.sqrt(4000))
    assert float(np.abs(pulls).max()) < 4.5


@given(st.sampled_from([x for x in LATTICES if x.n_basis == 1]), st.integers(0, 10**6))
def test_parseval(lattice, seed):
    field = noise(lattice, seed=seed)
    assert float(analysis.structure_factor(field, lattice).sum()) == pytest.approx(float(field.square().sum()))


@given(st.sampled_from(PERIODIC), st.integers(0, 10**6), st.integers(0, 10**6))
def test_translations_leave_structure_factor_and_correlation_unchanged(lattice, seed, shift):
    field = noise(lattice, seed=seed)
    shifts = np.unravel_index(shift % lattice.n_cells, lattice.shape)
    grid = field.reshape(*lattice.shape, lattice.n_basis)
    moved = torch.roll(grid, [int(s) for s in shifts], tuple(range(lattice.dim))).reshape(-1)
    for measure in (analysis.structure_factor, analysis.correlation):
        np.testing.assert_allclose(measure(moved, lattice), measure(field, lattice), atol=1e-10)


NONE, NO_SPINS = np.empty((0, 36)), np.empty((0, 36, 3))
EMPTY = {
    "structure factor": lambda x: analysis.structure_factor(NONE, x),
    "shell average": lambda x: analysis.shell_average(analysis.structure_factor(NONE, x), x),
    "correlation length": lambda x: analysis.correlation_length(analysis.structure_factor(NONE, x), x),
    "correlation": lambda x: analysis.correlation(NONE, x, connected=True, normalised=True),
    "crossing length": lambda x: analysis.crossing_length(analysis.correlation(NONE, x)),
    "axial correlation": lambda x: analysis.axial_correlation(NONE, x),
    "order": lambda x: analysis.contrast_order(NONE, x),
    "walls": lambda x: analysis.wall_shape(NONE, x)["length"],
    "wall profile": lambda x: analysis.wall_profile(NONE, NONE, x)["deviation"],
    "phase separation": lambda x: analysis.phase_separation(NONE, x)["L"],
    "spin structure factor": lambda x: analysis.spin_structure_factor(NO_SPINS, x),
    "spin correlation": lambda x: analysis.spin_correlation(NO_SPINS, x),
    "skyrmions": lambda x: analysis.count_skyrmions(NO_SPINS, x)["positive"],
    "topological charge": lambda x: analysis.topological_charge(NO_SPINS, x),
    "spin temperature": lambda x: analysis.spin_temperature(NO_SPINS, NO_SPINS, x),
}


@pytest.mark.parametrize("measure", EMPTY.values(), ids=EMPTY)
def test_an_empty_batch_has_an_empty_result(measure):
    """With the dimensions that any other batch has."""
    empty = measure(square(6))
    assert empty.sizes["replica"] == 0
    assert all(n > 0 for dim, n in empty.sizes.items() if dim != "replica")


@pytest.mark.parametrize("measure", [analysis.correlation, analysis.axial_correlation])
def test_an_empty_batch_on_an_open_lattice_has_an_empty_correlation(measure):
    one = measure(noise(square(6, periodic=False), 1), square(6, periodic=False))
    empty = measure(NONE, square(6, periodic=False))
    assert empty.dims == one.dims and empty.sizes["r"] == one.sizes["r"] and empty.sizes["replica"] == 0


def test_subtracting_the_mean_removes_gamma_only():
    lattice = square(6)
    field = noise(lattice) + 2.0
    with_mean, without = (analysis.structure_factor(field, lattice, subtract_mean=s) for s in (False, True))
    gamma = dict(kx=0.0, ky=0.0)
    assert float(without.sel(gamma)) == pytest.approx(0.0, abs=1e-12)
    assert float(with_mean.sel(gamma)) > 1.0
    assert float((with_mean - without).sum()) == pytest.approx(float(with_mean.sel(gamma)))


def test_distances_in_the_zone_are_those_of_the_nearest_image():
    lattice = square(8)
    assert analysis.distance_to(np.array([[-np.pi, -np.pi], [np.pi, 0.0]]), lattice, Q) == pytest.approx([0.0, np.pi])
    triangular = LATTICES[3]
    b = analysis.reciprocal_vectors(triangular)
    assert analysis.distance_to(b, triangular) == pytest.approx([0.0, 0.0])
    corner = (b[0] - b[1]) / 3  # K of the hexagonal zone, 4π/3 from Γ whichever image is taken
    for image in (corner, corner - b[0], corner + b[1]):
        assert float(analysis.distance_to(image, triangular)) == pytest.approx(4 * np.pi / 3)


def test_shell_average_weighs_every_wave_vector_once():
    lattice = square(9, 12)
    S = analysis.structure_factor(noise(lattice, 3), lattice)
    shells = analysis.shell_average(S, lattice, about=Q)
    assert int(shells["count"].sum()) == lattice.n_cells
    np.testing.assert_allclose((shells * shells["count"]).sum("k"), S.sum(["kx", "ky"]))
    assert bool((np.diff(shells["k"]) > 0).all())


def test_coordinates_names_and_units_travel_with_the_field():
    lattice = square(4)
    times = xr.DataArray([0.0, 2.0], dims="time", attrs={"units": "1/t"})
    field = xr.DataArray(
        noise(lattice, 2).numpy(), dims=("time", "site"), coords={"time": times}, attrs={"units": "t/a"}
    )
    for result in (analysis.structure_factor(field, lattice), analysis.correlation(field, lattice)):
        assert result.attrs["units"] == "(t/a)^2" and result.attrs["long_name"]
        assert result["time"].values.tolist() == [0.0, 2.0]
    assert analysis.structure_factor(field, lattice)["kx"].attrs["units"] == "1/a"
    skewed = analysis.structure_factor(noise(LATTICES[3]), LATTICES[3])
    np.testing.assert_allclose(np.stack([skewed["kx"], skewed["ky"]], -1), analysis.wave_vectors(LATTICES[3]))


# --- real space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", LATTICES, ids=repr)
def test_fast_correlation_is_the_sum_over_all_pairs(lattice):
    field = noise(lattice)
    C = analysis.correlation(field, lattice, max_distance=100.0)
    direct = direct_correlation(field.numpy(), lattice)
    assert C["r"].values == pytest.approx(sorted(direct), abs=1e-4)
    assert C.values == pytest.approx([direct[r] for r in sorted(direct)], abs=1e-10)
    assert int(C["pairs"].sum()) == lattice.n_sites**2


def test_correlation_of_a_checkerboard_alternates_with_the_sublattice():
    lattice = square(8)
    C = analysis.correlation(checkerboard(lattice), lattice, normalised=True, max_distance=2.3)
    assert C["r"].values == pytest.approx([0, 1, np.sqrt(2), 2, np.sqrt(5)])
    assert C.values == pytest.approx([1, -1, 1, 1, -1])


def test_connected_correlation_ignores_a_uniform_shift():
    lattice = square(6)
    field = noise(lattice, 2)
    reference = analysis.correlation(field, lattice, connected=True)
    np.testing.assert_allclose(analysis.correlation(field + 7.0, lattice, connected=True), reference, atol=1e-10)


# --- order ------------------------------------------------------------------------------------------------------------


def test_staggering_a_checkerboard_makes_it_uniform():
    lattice = square(6)
    phi = analysis.cdw_order(checkerboard(lattice) + 0.5, lattice)
    assert phi.values == pytest.approx(np.full(36, 0.5))
    assert float(analysis.global_order(phi)) == pytest.approx(0.5)


def test_two_domains_share_the_lattice_and_meet_in_two_walls():
    lattice = square(8)
    sign = torch.from_numpy(np.where(lattice.cells[:, 0] < 2, 1.0, -1.0))
    phi = analysis.cdw_order(0.5 + checkerboard(lattice) * sign, lattice)
    sigma = analysis.ising_sign(phi, lattice)
    assert float(analysis.domain_fraction(sigma)) == pytest.approx(0.25)
    assert float(analysis.global_order(phi)) == pytest.approx(0.25)
    assert float(analysis.wall_density(sigma, lattice)) == pytest.approx(2 * 8 / (2 * 64))


def test_one_fluctuating_site_is_no_domain():
    lattice = square(6)
    phi = torch.full((36,), 0.4)
    phi[7] = -0.1
    assert float(analysis.domain_fraction(analysis.ising_sign(phi, lattice))) == 1.0
    assert float(analysis.domain_fraction(analysis.ising_sign(phi, lattice, smooth=False))) == pytest.approx(35 / 36)


def test_structure_factor_about_q_is_that_of_the_staggered_field_about_gamma():
    lattice = square(6)
    field = noise(lattice)
    about_q = analysis.correlation_length(analysis.structure_factor(field, lattice), lattice, about=Q)
    staggered = analysis.staggered(field, lattice, Q)
    about_gamma = analysis.correlation_length(analysis.structure_factor(staggered, lattice), lattice)
    assert float(about_q) == pytest.approx(float(about_gamma))


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("wavelength", [8, 12, 24])
def test_length_of_a_modulated_checkerboard_is_its_wavelength_over_two_pi(wavelength, moment):
    lattice = square(24)
    x = torch.from_numpy(lattice.positions[:, 0])
    field = checkerboard(lattice) * torch.cos(2 * np.pi * x / wavelength)
    S = analysis.structure_factor(field, lattice)
    L = analysis.correlation_length(S, lattice, about=Q, moment=moment)
    assert float(L) == pytest.approx(wavelength / (2 * np.pi))
    assert L.attrs["units"] == "a"


def test_half_height_and_first_zero_of_a_cosine():
    lattice = chain(240)
    C = analysis.correlation(np.cos(2 * np.pi * lattice.positions[:, 0] / 60), lattice)
    assert float(analysis.crossing_length(C, level=0.0)) == pytest.approx(15.0, abs=0.01)
    assert float(analysis.crossing_length(C, level=0.5)) == pytest.approx(10.0, abs=0.01)


def test_stripes_twice_as_wide_have_twice_the_length():
    lattice = square(96, 4)
    lengths = []
    for width in (12, 24):
        stripes = np.where(lattice.cells[:, 0] // width % 2 == 0, 1.0, -1.0)
        S = analysis.structure_factor(stripes, lattice)
        C = analysis.correlation(stripes, lattice, max_distance=40)
        zero = analysis.crossing_length(C.where(C["r"] == np.round(C["r"]), drop=True), level=0.0)
        assert float(zero) == pytest.approx(width / 2, rel=0.3)
        lengths.append(float(analysis.correlation_length(S, lattice)))
    assert lengths[1] / lengths[0] == pytest.approx(2.0, rel=0.15)


def test_perfect_order_has_no_finite_length():
    lattice = square(6)
    S = analysis.structure_factor(torch.ones(36), lattice)
    assert np.isinf(float(analysis.correlation_length(S, lattice)))


def test_correlation_that_stays_high_has_no_crossing():
    lattice = square(6)
    assert np.isnan(float(analysis.crossing_length(analysis.correlation(torch.ones(36), lattice))))


# --- errors name the cure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: analysis.structure_factor(torch.zeros(4, 36, 1), square(6)), r"field\[\.\.\., 0\]"),
        (lambda: analysis.structure_factor(torch.zeros(35), square(6)), "36"),
        (lambda: analysis.structure_factor(torch.full((36,), torch.nan), square(6)), "smaller time step"),
        (lambda: analysis.structure_factor(xr.DataArray(np.zeros(36), dims="x"), square(6)), "rename"),
        (lambda: analysis.structure_factor(torch.zeros(2, 36), square(6), dims=("a", "b")), "dims must name the 1"),
        (lambda: analysis.structure_factor_at(torch.zeros(36), square(6), np.zeros(2)), "shape"),
        (lambda: analysis.staggered(torch.zeros(25), square(5), Q), "even"),
        (lambda: analysis.staggered(torch.zeros(36), square(6), (np.pi,)), "2 finite components"),
        (lambda: analysis.correlation(torch.zeros(36), square(6), normalised=True), "Leave it out"),
        (lambda: analysis.correlation_length(xr.DataArray(np.ones(36), dims="r"), square(6)), "structure_factor"),
        (
            lambda: analysis.correlation_length(
                xr.zeros_like(analysis.structure_factor(torch.ones(36), square(6))), square(6)
            ),
            "vanishes",
        ),
        (lambda: analysis.crossing_length(xr.DataArray(np.ones(3), dims="k")), "correlation"),
        (
            lambda: analysis.shell_average(analysis.structure_factor(torch.ones(36), square(6)), square(6), width=0.0),
            "width",
        ),
    ],
)
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()


def test_no_replicas_have_no_structure_factors():
    S = analysis.structure_factor(torch.ones(0, 16), square(4))
    assert S.shape == (0, 4, 4) and S.dims[0] == "replica"


@pytest.mark.parametrize("shape", [(7,), (8,), (1,), (2,), (5, 6), (6, 5), (2, 4), (3, 4, 5), (4, 3, 6), (5, 5, 7)])
@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_the_power_of_real_fields_is_that_of_the_whole_transform(shape, kind):
    from nearsight.analysis._fields import power

    grid = torch.randn(3, *shape, dtype=kind, generator=torch.Generator().manual_seed(1))
    before, axes = grid.clone(), tuple(range(1, len(shape) + 1))
    modes = np.fft.fftshift(np.fft.fftn(grid.numpy(), axes=axes), axes)
    np.testing.assert_allclose(power(grid).numpy(), np.abs(modes) ** 2, atol=1e-11)
    assert torch.equal(grid, before)
