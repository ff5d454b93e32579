"""Textures of spins and what is measured on them, against closed forms."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from nearsight import analysis
from nearsight.analysis.structure import reciprocal_vectors, wave_vectors
from nearsight.fields import cone, ferromagnet, helix, perturbed, random_spins, skyrmion_lattice, spin, tangent
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import Heisenberg, SDModel
from nearsight.lattices import (
    Lattice,
    chain,
    cubic,
    honeycomb,
    kagome,
    site_group,
    site_permutations,
    square,
    triangular,
)
from nearsight.solvers import Dense

RECTANGULAR = Lattice("rectangular", np.diag([1.0, 1.4]), np.zeros((1, 2)), (4, 6))
OBLIQUE = Lattice("oblique", np.array([[1.0, 0.0], [0.3, 1.1]]), np.zeros((1, 2)), (4, 5))
SKEWED = Lattice("square, skewed", np.array([[1.0, 0.0], [3.0, 1.0]]), np.zeros((1, 2)), (4, 4))
PLANES = [square(5, 4), triangular(6, 5), honeycomb(4), kagome(3), RECTANGULAR, OBLIQUE, SKEWED]
planes = pytest.mark.parametrize("lattice", PLANES, ids=lambda lattice: lattice.name)

MAGNET = triangular(24)
TEXTURE = skyrmion_lattice(MAGNET, magnetisation=0.5)


def moved(spins: torch.Tensor, lattice: Lattice, element: int) -> torch.Tensor:
    """The texture carried along by an operation of the lattice that leaves the directions of the spins alone."""
    group = site_group(lattice)
    return spin().transform(spins, group, element, site_permutations(lattice, group)[element])


# --- textures ---------------------------------------------------------------------------------------------------------


def test_textures_are_unit_vectors_with_the_magnetisation_they_promise(rng):
    Q = reciprocal_vectors(MAGNET)[0] / 6
    for spins in (
        ferromagnet(MAGNET, (1, 2, 2)),
        helix(MAGNET, Q, axis=(1, 1, 0), phase=0.3),
        cone(MAGNET, Q, magnetisation=-0.7),
        TEXTURE,
        skyrmion_lattice(MAGNET),
        perturbed(TEXTURE, 0.5, rng),
        random_spins(MAGNET, rng),
    ):
        assert spins.dtype == torch.float64 and spins.shape == (576, 3)
        torch.testing.assert_close(spins.norm(dim=-1), torch.ones(576, dtype=torch.float64))
    torch.testing.assert_close(ferromagnet(MAGNET, (1, 2, 2))[5] * 3, torch.tensor([1.0, 2.0, 2.0]).double())
    assert float(cone(MAGNET, Q, magnetisation=-0.7)[:, 2].mean()) == pytest.approx(-0.7)


def test_a_helix_turns_anticlockwise_about_its_axis_along_its_wave_vector():
    spins = helix(square(8), (2 * np.pi / 8, 0.0), axis=(0, 1, 0)).reshape(8, 8, 3)
    turn = torch.linalg.cross(spins[0, 0], spins[1, 0])
    torch.testing.assert_close(turn, torch.tensor([0.0, math.sin(np.pi / 4), 0.0]).double())
    torch.testing.assert_close(spins[:, 0], spins[:, 5])


def test_a_vanishing_vector_of_the_skyrmion_lattice_points_along_the_axis():
    spins = skyrmion_lattice(MAGNET, axis=(0, 1, 0))
    torch.testing.assert_close(spins[0], torch.tensor([0.0, 1.0, 0.0]).double())


def test_waves_that_do_not_fit_the_torus_are_refused():
    with pytest.raises(ValueError, match="does not fit triangular, 20 × 20"):
        skyrmion_lattice(triangular(20))
    with pytest.raises(ValueError, match=r"whole numbers\. Choose the number of cells"):
        helix(square(6), (0.5, 0.0))
    assert helix(square(6, periodic=False), (0.5, 0.0)).shape == (36, 3)


# --- the zone ---------------------------------------------------------------------------------------------------------


@planes
def test_the_zone_has_the_area_of_the_reciprocal_cell_and_the_symmetry_of_inversion(lattice):
    x, y = analysis.zone_boundary(lattice).T
    area = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert area == pytest.approx(abs(np.linalg.det(reciprocal_vectors(lattice))))
    assert np.sort(np.round(x, 6)) == pytest.approx(np.sort(np.round(-x, 6)))


@planes
def test_folded_wave_vectors_are_equivalent_and_the_shortest_of_their_kind(lattice):
    b = reciprocal_vectors(lattice)
    rng = np.random.default_rng(0)
    for k in (wave_vectors(lattice).reshape(-1, 2), rng.normal(scale=9, size=(200, 2))):
        folded = analysis.fold(k, lattice)
        turns = (folded - k) @ np.linalg.inv(b)
        assert turns == pytest.approx(np.round(turns), abs=1e-9)
        n = np.stack(np.meshgrid(*2 * [np.arange(-9, 10)], indexing="ij"), -1).reshape(-1, 2) @ b
        nearest = np.linalg.norm(folded[:, None] + n, axis=-1).min(1)
        assert np.linalg.norm(folded, axis=1) == pytest.approx(nearest, abs=1e-9)
        again = analysis.fold(k + 2 * b[0] - 3 * b[1], lattice)
        assert again == pytest.approx(folded, abs=1e-9)


def test_points_of_high_symmetry_are_those_of_the_textbook():
    points = analysis.symmetry_points(triangular(4))
    assert points["K"] == pytest.approx([4 * np.pi / 3, 0.0]) and np.linalg.norm(points["M"]) == pytest.approx(
        3.6276, 1e-4
    )
    assert analysis.symmetry_points(square(4))["M"] == pytest.approx([np.pi, np.pi])
    assert np.linalg.norm(analysis.symmetry_points(honeycomb(4))["K"]) == pytest.approx(4 * np.pi / 27**0.5)
    rectangle = analysis.symmetry_points(RECTANGULAR)
    assert rectangle["S"] == pytest.approx([np.pi, np.pi / 1.4]) and rectangle["Y"] == pytest.approx([0, np.pi / 1.4])
    assert analysis.symmetry_points(SKEWED)["X"] == pytest.approx([np.pi, 0.0])
    with pytest.raises(ValueError, match=r"pass the points of the path as \(name, k\) pairs"):
        analysis.symmetry_points(OBLIQUE)


def test_a_path_holds_the_wave_vectors_of_the_lattice_that_lie_on_it():
    """Γ(0, 0) → K(4π/3, 0) → M(2π, 0) on 48 × 48 sites: steps of π/12 along x."""
    stops = [("Γ", (0, 0)), ("K", (4 * np.pi / 3, 0)), ("M", (2 * np.pi, 0))]
    path = analysis.symmetry_path(triangular(48), stops)
    assert path.k == pytest.approx(np.stack([np.arange(25) * np.pi / 12, np.zeros(25)], axis=1))
    assert path.ticks == pytest.approx([0, 4 * np.pi / 3, 2 * np.pi]) and path.labels == ("Γ", "K", "M")
    around = analysis.symmetry_path(kagome(12))
    assert around.labels == ("Γ", "K", "M", "Γ")
    index = around.k @ kagome(12).vectors.T * 12 / (2 * np.pi)
    assert index == pytest.approx(np.round(index), abs=1e-9)
    fine = analysis.symmetry_path(square(5), ["Γ", "X"], spacing=0.1)
    assert len(fine) == 33 and np.diff(fine.distance).max() <= 0.1


def test_paths_that_lead_nowhere_are_refused():
    with pytest.raises(ValueError, match="has the points Γ, X, M, not 'K'"):
        analysis.symmetry_path(square(4), ["Γ", "K"])
    with pytest.raises(ValueError, match=r"No wave vector of square, 5 × 5 .* pass spacing="):
        analysis.symmetry_path(square(5), [("A", (0.1, 0.2)), ("B", (0.1, 0.9))])
    with pytest.raises(ValueError, match="same, at Γ"):
        analysis.symmetry_path(square(4), ["Γ", "Γ"])


def test_a_wave_vector_on_an_axis_of_the_triangular_lattice_has_six_arms():
    arms = analysis.star((np.pi / 3, 0), MAGNET)
    assert len(arms) == 6 and np.linalg.norm(arms, axis=1) == pytest.approx(np.full(6, np.pi / 3))
    assert len(analysis.star((np.pi, np.pi), square(4))) == 1 and len(analysis.star((np.pi, 0), square(4))) == 2


# --- structure factors ------------------------------------------------------------------------------------------------


def test_a_cone_has_its_weight_at_the_origin_and_at_plus_and_minus_its_wave_vector():
    m, Q = 0.6, 2 * reciprocal_vectors(MAGNET)[0] / 24 + 5 * reciprocal_vectors(MAGNET)[1] / 24
    S = analysis.spin_structure_factor(cone(MAGNET, Q, magnetisation=m), MAGNET)
    k = np.stack([S.kx, S.ky], axis=-1)
    peaks = {0.0: 576 * m**2, 1.0: 288 * (1 - m**2), -1.0: 288 * (1 - m**2)}
    expected = np.zeros(S.shape)
    for sign, height in peaks.items():
        expected[np.linalg.norm(k - analysis.fold(sign * Q, MAGNET), axis=-1) < 1e-9] = height
    assert S.values == pytest.approx(expected, abs=1e-9)


@planes
def test_the_structure_factor_in_any_zone_is_the_direct_sum(lattice, rng):
    spins = random_spins(lattice, rng, 2)
    for S in (
        analysis.spin_structure_factor(spins, lattice),
        analysis.spin_structure_factor(spins, lattice, reach=9.0),
    ):
        k = np.stack([S.kx.values, S.ky.values], axis=-1).reshape(-1, 2)
        direct = analysis.spin_structure_factor_at(spins, lattice, k)
        assert S.values.reshape(2, -1) == pytest.approx(direct.values, abs=1e-9)
    assert S.sizes["point"] > 3 * lattice.n_cells and np.abs(k).max() <= 9.0


@pytest.mark.parametrize("dim", [2, 3])
def test_distances_to_a_peak_and_folded_vectors_are_the_shortest_of_all_images_on_skewed_lattices(dim, rng):
    """A shear by whole primitive vectors changes the description of a lattice, not its wave vectors."""
    shear = torch.randint(-3, 4, (6, dim, dim), generator=rng).double().triu(1) + torch.eye(dim, dtype=torch.float64)
    vectors = torch.eye(dim, dtype=torch.float64) + 0.4 * torch.rand(6, dim, dim, generator=rng, dtype=torch.float64)
    k = 8 * torch.randn(20, dim, generator=rng, dtype=torch.float64).numpy()
    for straight, skewed in zip(vectors.numpy(), (shear @ vectors).numpy(), strict=True):
        b = 2 * np.pi * np.linalg.inv(straight).T
        fraction = k @ np.linalg.inv(b)
        images = np.stack(np.meshgrid(*dim * [np.arange(-4, 5)], indexing="ij"), -1).reshape(-1, dim) @ b
        shortest = np.linalg.norm(((fraction - np.round(fraction)) @ b)[:, None] + images, axis=-1).min(1)
        lattice = Lattice("skewed", skewed, np.zeros((1, dim)), (3,) * dim, symmetrise=False)
        assert analysis.distance_to(k, lattice) == pytest.approx(shortest, abs=1e-10)
        assert np.linalg.norm(analysis.fold(k, lattice), axis=1) == pytest.approx(shortest, abs=1e-10)


def test_the_arms_of_a_star_run_around_from_the_x_axis():
    for lattice in (square(6), triangular(6), honeycomb(6), kagome(6)):
        for Q in ((np.pi / 3, 0.0), (0.0, np.pi / 3), (0.3, 0.2)):
            arms = analysis.star(Q, lattice)
            angle = np.round(np.arctan2(arms[:, 1], arms[:, 0]), 6) % np.round(2 * np.pi, 6)
            assert (np.diff(angle) > 0).all()


def test_normalisations_and_the_sum_rule(rng):
    spins = random_spins(MAGNET, rng, 3)
    S = analysis.spin_structure_factor(spins, MAGNET)
    assert S.sum(("h1", "h2")).values == pytest.approx(np.full(3, 576))
    per_square = analysis.spin_structure_factor(spins, MAGNET, normalisation="1/N^2")
    assert 576 * per_square.values == pytest.approx(S.values)
    up = analysis.spin_structure_factor(ferromagnet(MAGNET), MAGNET, normalisation="1/N^2")
    assert float(up.max()) == pytest.approx(1.0)
    turned = spins @ spin().internal_operation(3, rng).T
    assert analysis.spin_structure_factor(turned, MAGNET).values == pytest.approx(S.values, abs=1e-9)


def test_labelled_spins_keep_their_labels(rng):
    data = xr.DataArray(
        random_spins(MAGNET, rng, 2, 3).numpy(),
        dims=("replica", "time", "site", "component"),
        coords={"time": [0.0, 1.0, 5.0]},
    )
    S = analysis.spin_structure_factor(data, MAGNET)
    assert S.dims == ("replica", "time", "h1", "h2") and S.time.values.tolist() == [0.0, 1.0, 5.0]
    assert analysis.topological_charge(data, MAGNET).dims == ("replica", "time")
    assert analysis.spin_correlation(data, MAGNET).dims == ("replica", "time", "r")


def test_peaks_of_a_skyrmion_lattice_are_six_and_equal():
    S = analysis.spin_structure_factor(TEXTURE, MAGNET)
    arms = analysis.star((np.pi / 3, 0), MAGNET)
    heights = analysis.spin_structure_factor_at(TEXTURE, MAGNET, arms).values
    assert heights == pytest.approx(np.full(6, float(S.max())))
    assert float(analysis.peak_order(S, MAGNET, arms)) == pytest.approx(float(S.max()))
    # All six and the background together hold the sum rule.
    assert 6 * float(S.max()) < 576 < 6 * float(S.max()) / 0.8
    with pytest.raises(ValueError, match=r"the nearest is 0\.\d+ away"):
        analysis.peak_order(S, MAGNET, [(1.2, 0.0)], radius=0.05)


def test_the_length_of_peaks_is_their_inverse_mean_distance():
    S = analysis.spin_structure_factor(ferromagnet(MAGNET), MAGNET)
    arms = analysis.star((np.pi / 3, 0), MAGNET)
    # All weight at Γ, which lies π/3 from every arm.
    assert float(analysis.peak_length(S, MAGNET, arms)) == pytest.approx(3 / np.pi)
    assert float(analysis.peak_length(S, MAGNET, [(0.0, 0.0)])) == np.inf


def test_peaks_grow_by_damping_as_fast_as_stated():
    rng = torch.Generator().manual_seed(0)
    spins, H = random_spins(MAGNET, rng, 2), random_spins(MAGNET, rng, 2)
    arms = analysis.star((np.pi / 3, 0), MAGNET)

    def height(step: float) -> np.ndarray:
        moved = torch.nn.functional.normalize(spins + step * tangent(H, spins), dim=-1)
        return analysis.spin_structure_factor_at(moved, MAGNET, arms).mean("point").values

    h = 1e-4
    slope = (np.log(height(h)) - np.log(height(-h))) / (2 * h)
    growth = analysis.peak_growth(spins, H, MAGNET, arms)
    assert growth.dims == ("replica",)
    np.testing.assert_allclose(2 * growth, slope, rtol=1e-6)
    np.testing.assert_allclose(analysis.peak_growth(spins, H + 3 * spins, MAGNET, arms), growth, rtol=1e-9)


def test_peaks_of_random_spins_grow_by_two_thirds_of_the_exchange():
    rng = torch.Generator().manual_seed(0)
    lattice = triangular(12)
    model = Heisenberg(lattice, J=1.0)
    spins = random_spins(lattice, rng, 2000)
    growth = analysis.peak_growth(spins, ClassicalForceField(model)(spins).force, lattice, [(0.0, 0.0)])
    weight = analysis.spin_structure_factor_at(spins, lattice, np.zeros((1, 2))).isel(point=0)
    assert float((growth * weight).sum() / weight.sum()) == pytest.approx(4.0, abs=0.1)  # of J(0) = 6


def test_peaks_that_cannot_grow_are_refused():
    with pytest.raises(ValueError, match="grows from nothing"):
        analysis.peak_growth(ferromagnet(MAGNET), ferromagnet(MAGNET), MAGNET, [(np.pi / 3, 0.0)])
    with pytest.raises(ValueError, match="differ in shape"):
        analysis.peak_growth(ferromagnet(MAGNET)[None], ferromagnet(MAGNET), MAGNET, [(np.pi / 3, 0.0)])
    with pytest.raises(ValueError, match="2 finite components"):
        analysis.peak_growth(ferromagnet(MAGNET), ferromagnet(MAGNET), MAGNET, [0.5])


def test_the_correlation_of_a_helix_is_the_mean_of_cosines():
    lattice = square(8)
    C = analysis.spin_correlation(helix(lattice, (2 * np.pi / 8, 0.0)), lattice)
    assert C.sel(r=[0, 1], method="nearest").values == pytest.approx([1.0, (1 + math.cos(np.pi / 4)) / 2])


@pytest.mark.parametrize(
    "lattice",
    [
        Lattice("triangular, skewed", np.array([[1.0, 0.0], [3.5, np.sqrt(0.75)]]), np.zeros((1, 2)), (6, 6)),
        Lattice("square, skewed", np.array([[1.0, 0.0], [4.0, 1.0]]), np.zeros((1, 2)), (5, 5), (True, False)),
        triangular(3, 14),
        honeycomb(3, 5),
    ],
    ids=lambda lattice: f"{lattice.name} {lattice.shape}",
)
def test_pairs_at_one_distance_are_those_of_all_images_on_skewed_long_and_odd_tori(lattice, rng):
    spins = random_spins(lattice, rng)
    C = analysis.spin_correlation(spins, lattice, max_distance=4.0)
    period = (np.asarray(lattice.shape) * np.broadcast_to(lattice.periodic, 2))[:, None] * lattice.vectors
    images = np.stack(np.meshgrid(*2 * [np.arange(-8, 9)], indexing="ij"), -1).reshape(-1, 2) @ period
    apart = lattice.positions[:, None] - lattice.positions
    r = np.stack([np.linalg.norm(row[:, None] + images, axis=-1).min(1) for row in apart])
    products = (spins @ spins.T).numpy()
    for distance, value, pairs in zip(C.r.values, C.values, C.pairs.values, strict=True):
        shell = np.abs(r - distance) < 1e-6
        assert shell.sum() == pairs and products[shell].mean() == pytest.approx(value, abs=1e-12)
    assert int(C.pairs.sum()) == int((r <= 4.0 + 1e-6).sum())


# --- topology ---------------------------------------------------------------------------------------------------------


@planes
def test_plaquettes_tile_the_torus_without_holes_or_overlap(lattice):
    faces = analysis.plaquettes(lattice)
    assert len(faces.triangles) == 2 * lattice.n_sites
    # Every edge of the tiling is run through once in each direction.
    ahead = np.concatenate([faces.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    code, back = (ahead @ np.array(w) for w in ((lattice.n_sites, 1), (1, lattice.n_sites)))
    assert np.array_equal(np.sort(code), np.sort(back))
    period = np.asarray(lattice.shape)[:, None] * lattice.vectors
    corners = lattice.positions[faces.triangles]
    edges = corners[:, 1:] - corners[:, :1]
    images = (
        edges[..., None, :] - np.stack(np.meshgrid(*2 * [np.arange(-4, 5)], indexing="ij"), -1).reshape(-1, 2) @ period
    )
    nearest = np.linalg.norm(images, axis=-1).argmin(-1)
    edges = np.take_along_axis(images, nearest[..., None, None], axis=-2).squeeze(-2)
    areas = 0.5 * np.linalg.det(edges)
    assert (areas > 0).all() and areas.sum() == pytest.approx(abs(np.linalg.det(period)))


def test_plaquettes_are_those_one_sees():
    for lattice, sizes in (
        (square(4), {4: 16}),
        (triangular(4), {3: 32}),
        (honeycomb(3), {6: 9}),
        (kagome(3), {3: 18, 6: 9}),
        (square(4, periodic=False), {4: 9}),
    ):
        size, count = np.unique(analysis.plaquettes(lattice).size, return_counts=True)
        assert dict(zip(size.tolist(), count.tolist(), strict=True)) == sizes
    with pytest.raises(ValueError, match="tile a plane"):
        analysis.plaquettes(cubic(3))


@planes
def test_the_charge_of_any_spins_on_a_torus_is_an_integer(lattice, rng):
    charge = analysis.topological_charge(random_spins(lattice, rng, 20), lattice).values
    assert charge == pytest.approx(np.round(charge), abs=1e-12) and np.abs(np.round(charge)).max() >= 1


@planes
def test_antiparallel_neighbours_leave_the_charge_whole_and_collinear_spins_without_one(lattice, rng):
    """Spins along ±n, and along the axes ±n₁, ±n₂, ±n₃ of a cube turned anyhow: nothing is left to rounding."""
    axes = torch.stack([spin().internal_operation(3, rng) for _ in range(8)])
    sign = 2.0 * torch.randint(2, (8, lattice.n_sites, 1), generator=rng).double() - 1
    which = torch.randint(3, (8, lattice.n_sites), generator=rng)
    collinear = sign * axes[:, :1]
    assert torch.from_numpy(analysis.charge_density(collinear, lattice).values).abs().max() == 0
    cubic = sign * axes[torch.arange(8)[:, None], which]
    charge = analysis.topological_charge(cubic, lattice).values
    assert charge == pytest.approx(np.round(charge), abs=1e-7)


def test_the_charge_at_antiparallel_spins_is_the_limit_of_spins_nearly_so():
    """Both are tilted towards z, as the arc between them is chosen."""
    lattice = square(4)
    spins = perturbed(ferromagnet(lattice, (1.0, 0.4, 0.2)), 0.8, torch.Generator().manual_seed(4))
    spins[5] = -spins[4]
    tilted = (
        spins
        + 1e-5 * torch.eye(3, dtype=torch.float64)[2] * torch.isin(torch.arange(16), torch.tensor([4, 5]))[:, None]
    )
    exact, near = (analysis.charge_density(x, lattice).values for x in (spins, tilted))
    assert near == pytest.approx(exact, abs=1e-4) and np.abs(exact).max() > 0.05
    assert float(exact.sum()) == pytest.approx(round(float(exact.sum())), abs=1e-7)


def test_an_octant_is_an_eighth_of_the_sphere_and_chirality_one():
    lattice = triangular(2, periodic=False)
    spins = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2]]
    triangles = analysis.plaquettes(lattice).corners
    which = [set(t) for t in triangles.tolist()].index({0, 1, 2})
    sign = np.linalg.det(spins[triangles[which]].numpy())
    assert float(analysis.charge_density(spins, lattice)[which]) == pytest.approx(sign / 8)
    assert float(analysis.scalar_chirality(spins, lattice)[which]) == pytest.approx(sign)


@pytest.mark.parametrize(("length", "skyrmions"), [(12, 3), (24, 12), (48, 48)])
def test_the_skyrmion_lattice_has_one_skyrmion_in_48_sites(length, skyrmions):
    lattice = triangular(length)
    for M in (0.0, 0.5, 1.0, 2.0):
        spins = skyrmion_lattice(lattice, magnetisation=M)
        assert float(analysis.topological_charge(spins, lattice)) == pytest.approx(-skyrmions, abs=1e-10)
        count = analysis.count_skyrmions(spins, lattice)
        assert (int(count.positive), int(count.negative), int(count.trivial)) == (0, skyrmions, 0)
    assert float(analysis.topological_charge(skyrmion_lattice(lattice, magnetisation=3.0), lattice)) == pytest.approx(0)


def test_two_per_cell_at_the_phase_of_ninety_degrees():
    spins = skyrmion_lattice(MAGNET, phase=np.pi / 2)
    assert float(analysis.topological_charge(spins, MAGNET)) == pytest.approx(-24)


def test_the_charge_is_odd_under_mirrors_vorticity_and_reversal_and_even_under_rotations(rng):
    rotation = spin().internal_operation(3, rng)
    rotation = rotation * torch.linalg.det(rotation)
    opposite = skyrmion_lattice(MAGNET, magnetisation=0.5, vorticity=-1)
    group = site_group(MAGNET)
    handed = np.round(np.linalg.det(group.matrices))
    expected = [(TEXTURE @ rotation.T, -12), (-TEXTURE, 12), (opposite, 12)]
    expected += [(moved(TEXTURE, MAGNET, g), -12 * handed[g]) for g in range(len(group))]
    expected.append((TEXTURE.reshape(24, 24, 3).roll((5, 7), (0, 1)).reshape(-1, 3), -12))
    for spins, charge in expected:
        assert float(analysis.topological_charge(spins, MAGNET)) == pytest.approx(charge, abs=1e-10)


def test_small_random_turns_and_random_parameters_keep_the_charge(rng):
    noisy = perturbed(TEXTURE.expand(5, -1, -1), 0.15, rng)
    assert analysis.topological_charge(noisy, MAGNET).values == pytest.approx(np.full(5, -12))
    numpy = np.random.default_rng(1)
    scattered = skyrmion_lattice(
        MAGNET,
        phase=0.05 * numpy.standard_normal(576),
        amplitude=1 + 0.1 * numpy.standard_normal(576),
        magnetisation=0.5 + 0.1 * numpy.standard_normal(576),
    )
    assert float(analysis.topological_charge(scattered, MAGNET)) == pytest.approx(-12)


@pytest.mark.parametrize("lattice", [square(60, periodic=False), triangular(60, periodic=False)], ids=lambda x: x.name)
@pytest.mark.parametrize("winding", [1, -1, 2])
def test_a_belavin_polyakov_skyrmion_has_its_winding(lattice, winding):
    """cos θ = (r^2n - R^2n)/(r^2n + R^2n) and φ = nϕ: core down, charge -n."""
    x, y = (lattice.positions - lattice.positions.mean(0) - 0.3).T
    r, phi = np.hypot(x, y), winding * np.arctan2(y, x)
    n = abs(winding)
    z = (r ** (2 * n) - 8.0 ** (2 * n)) / (r ** (2 * n) + 8.0 ** (2 * n))
    rho = np.sqrt(1 - z**2)
    spins = torch.from_numpy(np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1))
    # The tail beyond the open edge carries R²/r² of a skyrmion of n = 1.
    assert float(analysis.topological_charge(spins, lattice)) == pytest.approx(-winding, abs=0.15)
    count = analysis.count_skyrmions(spins, lattice)
    assert (int(count.positive), int(count.negative)) == ((1, 0) if winding < 0 else (0, 1))


def test_stripes_and_uniform_states_hold_no_skyrmion():
    # Four stripes along x, of which every second is the same one after a turn around the torus.
    stripes = helix(MAGNET, (np.pi / 3, 0.0), axis=(0, 1, 0))
    count = analysis.count_skyrmions(stripes, MAGNET)
    assert (int(count.positive), int(count.negative), int(count.trivial)) == (0, 0, 2)
    count = analysis.count_skyrmions(torch.stack([ferromagnet(MAGNET), TEXTURE]), MAGNET)
    assert count.negative.values.tolist() == [0, 12] and count.trivial.values.tolist() == [0, 0]


# --- chirality --------------------------------------------------------------------------------------------------------


@planes
def test_chirality_is_that_of_the_moved_texture_for_every_operation(lattice, rng):
    if len(set(lattice.shape)) > 1 or lattice is SKEWED:
        lattice = lattice.resized(4)
    spins = random_spins(lattice, rng)
    chi = np.sort(analysis.scalar_chirality(spins, lattice).values)
    group = site_group(lattice)
    for g, matrix in enumerate(group.matrices):
        there = np.sort(analysis.scalar_chirality(moved(spins, lattice, g), lattice).values * np.linalg.det(matrix))
        assert there == pytest.approx(chi, abs=1e-12)


def test_chirality_of_smooth_spins_is_eight_pi_times_their_charge():
    lattice = triangular(96)
    spins = skyrmion_lattice(lattice, Q=(np.pi / 24, 0.0), magnetisation=0.5)
    chi, q = analysis.scalar_chirality(spins, lattice), analysis.charge_density(spins, lattice)
    assert float(np.abs(chi - 8 * np.pi * q).max()) < 0.05 * float(np.abs(chi).max())


def test_alignment_and_clusters_tell_a_ferromagnet_in_an_antiferromagnet():
    """A stripe of parallel spins, two columns wide, across an antiferromagnet: half of the bonds to either side of it
    are parallel, too."""
    lattice = square(6)
    stripe = (lattice.cells[:, 0] == 2) | (lattice.cells[:, 0] == 3)
    spins = np.zeros((2, 36, 3))
    spins[..., 2] = np.where(lattice.cells.sum(1) % 2, -1.0, 1.0)
    spins[0, stripe, 2] = 1.0
    b, labels = analysis.spin_alignment(spins, lattice), analysis.parallel_clusters(spins, lattice)
    assert b.dims == labels.dims == ("replica", "site")
    assert float(b[0, stripe].mean()) == pytest.approx(3 / 4)
    assert (labels[0, stripe] == 1).all() and int(labels[0].max()) == 1
    np.testing.assert_allclose(b[1], -1.0)
    assert not labels[1].any()
    labelled = xr.DataArray(spins, dims=("time", "site", "component"), coords={"time": [0.0, 1.0]})
    assert analysis.spin_alignment(labelled, lattice).equals(b.rename(replica="time").assign_coords(time=[0.0, 1.0]))


# --- temperature ------------------------------------------------------------------------------------------------------


def test_the_spin_temperature_of_the_thermal_chain_is_its_temperature(rng):
    """Spins of an open chain, drawn one after the other from exp(cos θ/kT)."""
    kT, n = 0.4, 20_000
    spins = [random_spins(chain(1), rng)[0]]
    for _ in range(n - 1):
        u = torch.rand((), generator=rng, dtype=torch.float64)
        c = 1 + kT * torch.log(u + (1 - u) * math.exp(-2 / kT))
        side = torch.linalg.cross(spins[-1], torch.randn(3, generator=rng, dtype=torch.float64))
        spins.append(c * spins[-1] + (1 - c**2).clamp(min=0).sqrt() * side / side.norm())
    lattice = chain(n, periodic=False)
    field = torch.stack(spins)
    force = ClassicalForceField(Heisenberg(lattice))(field).force
    assert float(analysis.spin_temperature(field, force, lattice)) == pytest.approx(kT, rel=0.03)


def anisotropic(rng, kT: float, K: float, B: float, n: int) -> torch.Tensor:
    """Independent spins with the density exp((B c + K c²)/kT) of c = cos θ."""
    c = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    weight = torch.cumulative_trapezoid(torch.exp((B * c + K * c**2) / kT), c)
    index = torch.searchsorted(weight / weight[-1], torch.rand(n, generator=rng, dtype=torch.float64))
    z = c[index.clamp(max=20_000)]
    phi = 2 * np.pi * torch.rand(n, generator=rng, dtype=torch.float64)
    rho = (1 - z**2).clamp(min=0).sqrt()
    return torch.stack([rho * phi.cos(), rho * phi.sin(), z], dim=1)


def test_an_anisotropy_needs_its_curvature_and_the_probes_measure_it(rng):
    kT, K, B, lattice = 0.5, 0.6, 0.3, chain(20_000)
    forcefield = ClassicalForceField(Heisenberg(lattice, J=0.0, K=K, B=B))
    spins = anisotropic(rng, kT, K, B, 20_000)
    force = forcefield(spins).force
    exact = -2 * K * (1 - spins[:, 2] ** 2)
    known = analysis.spin_temperature(spins, force, lattice, curvature=exact)
    assert float(known) == pytest.approx(kT, rel=0.04)
    assert float(analysis.spin_temperature(spins, force, lattice)) < 0.8 * kT
    probed = analysis.spin_curvature(forcefield, spins, rng, probes=8)
    assert float(probed.mean()) == pytest.approx(float(exact.mean()), rel=0.02)
    measured = analysis.spin_temperature(spins, force, lattice, curvature=probed)
    assert float(measured) == pytest.approx(float(known), rel=0.02)


def test_labels_do_not_decide_which_forces_belong_to_which_spins(rng):
    """Other coordinates, another order of dimensions: the same number; dimensions of other names are refused."""
    lattice, dims = square(4), ("time", "site", "component")
    spins, force = (random_spins(lattice, rng, 5).numpy() for _ in range(2))
    curvature = random_spins(lattice, rng, 5).numpy()[..., 0]
    expected = analysis.spin_temperature(spins, force, lattice, curvature=torch.from_numpy(curvature)).values
    labelled = xr.DataArray(spins, dims=dims, coords={"time": range(5)})
    other = xr.DataArray(force, dims=dims, coords={"time": np.arange(5) + 3}).transpose("component", "time", "site")
    below = xr.DataArray(curvature, dims=dims[:2]).transpose("site", "time")
    found = analysis.spin_temperature(labelled, other, lattice, curvature=below)
    assert found.values == pytest.approx(expected) and found.time.values.tolist() == list(range(5))
    with pytest.raises(ValueError, match="same dimensions in one order"):
        analysis.spin_temperature(labelled, other.rename(time="replica"), lattice)


def test_the_probes_find_the_curvature_of_electrons(rng):
    lattice = square(4)
    electrons = ExactForceField(SDModel(lattice, J=4.0), Dense(mu=-1.0, kT=0.2))
    spins = random_spins(lattice, rng)
    exact, step = torch.zeros(16, dtype=torch.float64), 1e-3
    for site in range(16):
        e1 = torch.linalg.cross(spins[site], torch.randn(3, generator=rng, dtype=torch.float64))
        e1 = e1 / e1.norm()
        for e in (e1, torch.linalg.cross(spins[site], e1)):
            ahead, back = spins.clone(), spins.clone()
            ahead[site] += step * e
            back[site] -= step * e
            exact[site] += float((electrons(back).force - electrons(ahead).force)[site] @ e) / (2 * step)
    probed = analysis.spin_curvature(electrons, spins, rng, probes=60)
    torch.testing.assert_close(probed, exact, atol=0.15, rtol=0.1)
    assert float(exact.abs().min()) > 1.0


def test_exchange_between_sites_has_no_curvature(rng):
    lattice = square(16)
    forcefield = ClassicalForceField(Heisenberg(lattice))
    probed = analysis.spin_curvature(forcefield, random_spins(lattice, rng), rng, probes=64)
    # Every site feels four couplings of one with random signs: σ² = 4 · 2 · (2/3)²/64 or so, halved by the mean.
    assert float(probed.mean().abs()) < 4 * math.sqrt(4 * 4 / 64 / 256)


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (
            lambda: analysis.spin_structure_factor(np.zeros((16, 2)), square(4)),
            r"shape \(\*batch, 16, 3\), got \(16, 2\)",
        ),
        (
            lambda: analysis.charge_density(np.ones((5, 3, 16)), square(4)),
            r"shape \(\*batch, 16, 3\), got \(5, 3, 16\)",
        ),
        (lambda: helix(square(4), (0, 0), phase=math.nan), "phase must be a finite real number"),
        (lambda: analysis.spin_structure_factor(np.zeros((4, 3)), chain(4)), "lattices of two dimensions"),
        (lambda: analysis.spin_structure_factor(np.ones((16, 3)), square(4), normalisation="N"), "'1/N', '1/N.2'"),  # type: ignore[arg-type]
        (lambda: analysis.spin_structure_factor(np.ones((16, 3)), square(4), reach=-1.0), "positive wave number"),
        (lambda: analysis.charge_density(np.zeros((16, 3)), square(4)), "length zero"),
        (lambda: analysis.count_skyrmions(np.ones((16, 3)), square(4), level=1.0), "between -1 and 1"),
        (lambda: analysis.count_skyrmions(np.ones((16, 3)), square(4), axis=(0, 0, 0)), "not all zero"),
        (lambda: analysis.spin_temperature(np.ones((2, 16, 3)), np.ones((16, 3)), square(4)), "same configurations"),
        (lambda: skyrmion_lattice(MAGNET, vorticity=2), "must be 1 or -1"),
        (lambda: skyrmion_lattice(MAGNET, phase=np.zeros(7)), "phase must be one finite number or 576"),
        (lambda: cone(MAGNET, (0, 0), magnetisation=1.1), "magnetisation must be .* ≥ -1 and ≤ 1"),
        (lambda: ferromagnet(MAGNET, (0, 0, 0)), "not all zero"),
    ],
)
def test_bad_input_is_refused_with_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()
