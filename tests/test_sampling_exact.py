"""Exact referees of statistical mechanics: against each other, against mpmath, against laws and published numbers."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch

from nearsight.hamiltonians import BlumeCapel, ClassicalModel, EdwardsAnderson, Ising, Potts
from nearsight.lattices import chain, cubic, honeycomb, kagome, square, triangular
from nearsight.sampling import (
    Thermodynamics,
    chain_thermodynamics,
    critical_temperature,
    enumerate_states,
    enumeration,
    ising_bulk,
    ising_levels,
    ising_torus,
    spontaneous_magnetisation,
)

KT = np.array([0.1, 0.4, 1.0, 2.0, 2.3, 5.0, 100.0])
T_C = 2 / math.log(1 + math.sqrt(2))
ENTRIES = ("free_energy", "energy", "entropy", "specific_heat")


def assert_alike(one: Thermodynamics, other: Thermodynamics, tolerance: float = 1e-12) -> None:
    for name in ENTRIES:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


def brute_force(model: ClassicalModel, kT: float) -> tuple[np.ndarray, np.ndarray]:
    """Boltzmann weights and states, in the plainest way."""
    states = torch.tensor(list(itertools.product(range(model.n_states), repeat=model.lattice.n_sites)))
    energy = model.energy(states).numpy()
    weight = np.exp(-(energy - energy.min()) / kT)
    return weight / weight.sum(), energy


# --- the square torus -------------------------------------------------------------------------------------------------

# L, β, then S, F, U, C per spin: Kaufman's product with 60 digits, differentiated numerically.
TABLE = [
    (8, 0.125, 0.6768973, -5.6718278, -0.2566496, 0.0337811),
    (8, 0.25, 0.6195120, -3.0365390, -0.5584911, 0.1742505),
    (8, 0.4406868, 0.2823917, -2.1323882, -1.4915891, 1.1455592),
    (16, 0.125, 0.6768975, -5.6718276, -0.2566474, 0.0337788),
    (16, 0.25, 0.6197883, -3.0364259, -0.5572728, 0.1711916),
    (16, 0.4406868, 0.2918498, -2.1153262, -1.4530649, 1.4987049),
    (24, 0.125, 0.6768975, -5.6718276, -0.2566474, 0.0337788),
    (24, 0.25, 0.6197884, -3.0364259, -0.5572722, 0.1711884),
    (24, 0.4406868, 0.2961588, -2.1121727, -1.4401336, 1.7027336),
    (320, 0.125, 0.6768975, -5.6718276, -0.2566474, 0.0337788),
    (320, 0.25, 0.6197884, -3.0364259, -0.5572722, 0.1711884),
    (320, 0.4406868, 0.3056192, -2.1096653, -1.4161588, 2.9902713),
]


@pytest.mark.parametrize(("L", "beta", "S", "F", "U", "C"), TABLE)
def test_torus_has_every_printed_digit_of_the_table(L, beta, S, F, U, C):
    exact = ising_torus(L, L, 1 / beta)
    computed = exact.entropy, exact.free_energy, exact.energy, exact.specific_heat
    assert [f"{x:.7f}" for x in computed] == [f"{x:.7f}" for x in (S, F, U, C)]


def kaufman(n: int, m: int, K: mpmath.mpf) -> mpmath.mpf:
    """ln Z by the product formula as printed, in the precision of mpmath."""
    gamma = [
        mpmath.acosh(mpmath.cosh(2 * K) * mpmath.coth(2 * K) - mpmath.cos(mpmath.pi * k / n)) for k in range(2 * n)
    ]
    gamma[0] = 2 * K + mpmath.log(mpmath.tanh(K))
    products = [
        mpmath.fprod(2 * f(m * gamma[k] / 2) for k in range(parity, 2 * n, 2))
        for parity in (0, 1)
        for f in (mpmath.cosh, mpmath.sinh)
    ]
    return mpmath.log((2 * mpmath.sinh(2 * K)) ** (mpmath.mpf(n * m) / 2) * sum(products) / 2)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 9), (30, 12), (3, 40)])
@pytest.mark.parametrize("kT", [0.5, 1.5, T_C, 2.2692, 2.6, 20.0])
def test_torus_holds_the_digits_of_float64(n, m, kT):
    with mpmath.workdps(60):
        beta, step = 1 / mpmath.mpf(kT), mpmath.mpf(10) ** -18
        below, at, above = (kaufman(n, m, beta + k * step) / (n * m) for k in (-1, 0, 1))
        first, second = (above - below) / (2 * step), (above - 2 * at + below) / step**2
        F, U, S, C = (float(x) for x in (-at / beta, -first, at - beta * first, beta**2 * second))
    exact = ising_torus(n, m, kT)
    np.testing.assert_allclose([exact.free_energy, exact.energy, exact.entropy], [F, U, S], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(exact.specific_heat, C, rtol=2e-12, atol=1e-13)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 2), (1, 5), (4, 6), (5, 9)])
@pytest.mark.parametrize("kT", [5.0, 6.7, 6.9, 300.0, 1e6, 1e10, 1e60])
def test_a_hot_torus_keeps_the_digits_of_what_vanishes(n, m, kT):
    """U = -2J²/kT and C = 2(J/kT)² are small differences of what Kaufman's products are made of."""
    with mpmath.workdps(320 if kT > 1e20 else 110):
        beta = 1 / mpmath.mpf(kT)
        step = beta * mpmath.mpf(10) ** -20
        below, at, above = (kaufman(n, m, beta + k * step) / (n * m) for k in (-1, 0, 1))
        first, second = (above - below) / (2 * step), (above - 2 * at + below) / step**2
        F, U, S, C = (float(x) for x in (-at / beta, -first, at - beta * first, beta**2 * second))
    for exact in (ising_torus(n, m, kT), ising_torus(m, n, np.array([kT, 1.0]))):
        found = [np.ravel(getattr(exact, name))[0] for name in ENTRIES]
        np.testing.assert_allclose(found, [F, U, S, C], rtol=1e-13, atol=0)


def test_one_site_bound_to_itself_has_no_fluctuation_however_hot():
    exact = ising_torus(1, 1, [5.0, 1e3, 1e10, 1e200], J=0.5)
    assert exact.energy.tolist() == [-1.0] * 4 and exact.specific_heat.tolist() == [0.0] * 4


@pytest.mark.parametrize("kT", [24.0, 25.0, 300.0, 1e6, 1e10, 1e100])
def test_levels_keep_the_digits_of_what_vanishes_where_it_is_hot(kT):
    exact, levels = ising_torus(4, 6, kT), ising_levels(4, 6)
    enumerated = enumerate_states(Ising(square(3, 4)))
    for dos, torus in ((levels, exact), (enumerated, ising_torus(3, 4, kT))):
        found = dos.thermodynamics(kT)
        for name in ENTRIES:
            np.testing.assert_allclose(getattr(found, name), getattr(torus, name), rtol=1e-12, atol=0)


def hot_bulk(name, K):
    """ln Z per site and two derivatives of the double integrals, by sums over a fine grid of angles."""
    angles = [2 * mpmath.pi * k / 24 for k in range(24)]
    cosines = [(mpmath.cos(a) + mpmath.cos(b), mpmath.cos(a + b)) for a in angles for b in angles]

    def log_partition(K):
        c, s = mpmath.cosh(2 * K), mpmath.sinh(2 * K)
        if name == "square":
            terms = (mpmath.log(c**2 - s * x) for x, _ in cosines)
        else:
            terms = (mpmath.log(c**3 + s**3 - s * (x + y)) for x, y in cosines)
        return mpmath.log(2) + mpmath.fsum(terms) / (2 * len(cosines))

    step = K * mpmath.mpf(10) ** -15
    below, at, above = (log_partition(K + k * step) for k in (-1, 0, 1))
    return at, (above - below) / (2 * step), (above - 2 * at + below) / step**2


@pytest.mark.parametrize("name", ["square", "triangular"])
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_a_hot_infinite_lattice_keeps_the_digits_of_what_vanishes(name, J):
    for kT in (21.0, 1e3, 9.9e3, 1.1e4, 1e7, 1e10):
        with mpmath.workdps(75):
            K = mpmath.mpf(J) / mpmath.mpf(kT)
            at, first, second = hot_bulk(name, K)
            F, U, C = float(-kT * at), float(-J * first), float(K**2 * second)
        exact = ising_bulk(name, kT, J=J)
        np.testing.assert_allclose(exact.free_energy, F, rtol=2e-14)
        np.testing.assert_allclose([exact.energy, exact.specific_heat], [U, C], rtol=1e-11, atol=0)


@pytest.mark.parametrize(("name", "bonds", "triangles"), [("honeycomb", 1.5, 0), ("kagome", 2, 2 / 3)])
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_hot_lattices_made_by_star_and_triangle_keep_them_too(name, bonds, triangles, J):
    """To the first orders in K: U = -J (b K + 3 n₃ K²), C = K² (b + 6 n₃ K); no fourth or fifth polygons."""
    K = J / np.array([1e4 * 1.001, 1e6, 1e10, 1e30])
    exact = ising_bulk(name, J / K, J=J)
    np.testing.assert_allclose(exact.energy, -J * (bonds * K + 3 * triangles * K**2 - bonds * K**3 / 3), rtol=1e-11)
    heat = K**2 * (bonds * (1 - K**2) + 6 * triangles * K)
    np.testing.assert_allclose(exact.specific_heat, heat, rtol=1e-11)
    # The series takes over without a step.
    near = ising_bulk(name, [0.9999e4, 1.0001e4], J=J)
    np.testing.assert_allclose(np.diff(near.energy * near.kT), 0, atol=6e-8 * triangles + 2e-11)


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (1, 2), (6, 1), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4), (2, 7), (5, 3)], ids=str
)
def test_torus_levels_and_enumeration_agree_on_every_small_lattice(n, m):
    enumerated, levels = enumerate_states(Ising(square(n, m))), ising_levels(n, m)
    assert np.array_equal(enumerated.energies, levels.energies)
    assert enumerated.counts.tolist() == levels.counts.tolist()
    assert_alike(ising_torus(n, m, KT), enumerated.thermodynamics(KT))


@pytest.mark.parametrize(("n", "m"), [(3, 4), (5, 3), (4, 4), (2, 3)], ids=str)
def test_levels_of_frustrated_antiferromagnets_are_those_of_enumeration(n, m):
    enumerated, levels = enumerate_states(Ising(square(n, m), J=-0.5)), ising_levels(n, m, J=-0.5)
    assert np.array_equal(enumerated.energies, levels.energies)
    assert enumerated.counts.tolist() == levels.counts.tolist()


@pytest.mark.parametrize(("n", "m"), [(16, 16), (7, 12), (24, 24)], ids=str)
def test_torus_and_levels_agree_where_nothing_can_be_enumerated(n, m):
    levels = ising_levels(n, m)
    assert levels.total == 2 ** (n * m)
    assert_alike(ising_torus(n, m, KT), levels.thermodynamics(KT))


def test_the_two_axes_of_a_torus_are_equivalent_and_so_are_signs_of_a_bipartite_coupling():
    assert_alike(ising_torus(6, 17, KT), ising_torus(17, 6, KT), 0)
    assert_alike(ising_torus(6, 8, KT, J=-1.0), ising_torus(6, 8, KT), 0)
    np.testing.assert_allclose(ising_torus(6, 8, 2 * KT, J=2.0).energy, 2 * ising_torus(6, 8, KT).energy, rtol=1e-13)


def test_large_tori_are_safe_at_every_temperature():
    exact = ising_torus(1000, 1000, [1e-3, 0.1, 1.0, T_C, 10.0, 1e4])
    for name in ENTRIES:
        assert np.isfinite(getattr(exact, name)).all()
    assert exact.energy[0] == -2 and exact.specific_heat[0] == 0
    np.testing.assert_allclose(exact.entropy[[0, -1]], [math.log(2) / 1e6, math.log(2)], rtol=2e-8)
    # C = 2 (J/kT)² at high temperature.
    np.testing.assert_allclose(exact.specific_heat[-1], 2e-8, rtol=1e-6)


def test_specific_heat_at_the_transition_grows_with_the_logarithm_of_the_side():
    """C(T_c) = (2/π) ln²(1 + √2) ln L + const, Ferdinand and Fisher."""
    L = np.array([64, 256, 1024])
    C = np.array([ising_torus(n, n, T_C).specific_heat for n in L])
    slopes = np.diff(C) / np.diff(np.log(L))
    amplitude = 2 / math.pi * math.log(1 + math.sqrt(2)) ** 2
    # Corrections fall as 1/L: a quarter is left from one slope to the next.
    np.testing.assert_allclose((4 * slopes[1] - slopes[0]) / 3, amplitude, rtol=1e-5)


def test_free_energy_at_the_transition_has_a_universal_correction():
    """ln Z = -N F/kT + ln(2^{1/4} + 2^{-1/2}) on the square torus: Ferdinand and Fisher (1969)."""
    bulk = ising_bulk("square", T_C).log_partition
    excess = 128**2 * (ising_torus(128, 128, T_C).log_partition - bulk)
    assert excess == pytest.approx(math.log(2**0.25 + 2**-0.5), abs=1e-4)


def test_entropy_and_specific_heat_are_derivatives():
    h = 1e-5
    below, at, above = (ising_torus(12, 10, KT[1:] + k * h) for k in (-1, 0, 1))
    np.testing.assert_allclose((above.energy - below.energy) / (2 * h), at.specific_heat, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose((below.free_energy - above.free_energy) / (2 * h), at.entropy, rtol=1e-6, atol=1e-9)


# --- infinite lattices ------------------------------------------------------------------------------------------------


def test_critical_temperatures_are_the_published_ones():
    published = {"square": 2.269185, "triangular": 3.640957, "honeycomb": 1.518651, "kagome": 2.143319}
    for name, value in published.items():
        assert critical_temperature(name) == pytest.approx(value, abs=1e-6)
    assert critical_temperature(square(4), J=-2.0) == 2 * critical_temperature("square")
    assert critical_temperature(kagome(2), J=-1.0) == critical_temperature("triangular", J=-1.0) == 0


def test_the_bulk_is_the_limit_of_large_tori():
    kT = [0.5, 1.5, 2.0, 2.6, 5.0]
    assert_alike(ising_torus(1000, 1000, kT), ising_bulk("square", kT), 1e-6)
    assert_alike(ising_torus(300, 300, [2.6, 5.0]), ising_bulk("square", [2.6, 5.0]), 1e-12)


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        ("square", -math.sqrt(2)),
        ("triangular", -2.0),
        ("honeycomb", -2 / math.sqrt(3)),
        ("kagome", -(1 + 2 * math.sqrt(3)) / 3),
    ],
)
def test_energy_at_the_transition_is_the_closed_form(name, energy):
    assert ising_bulk(name, critical_temperature(name)).energy == pytest.approx(energy, abs=1e-6)


@pytest.mark.parametrize("name", ["square", "triangular", "honeycomb", "kagome"])
def test_specific_heat_diverges_as_a_logarithm_with_one_amplitude_on_both_sides(name):
    epsilon = np.array([1e-3, 1e-4, 1e-5])
    above, below = (
        ising_bulk(name, critical_temperature(name) * (1 + sign * epsilon)).specific_heat for sign in (1, -1)
    )
    np.testing.assert_allclose(np.diff(above)[-1], np.diff(below)[-1], rtol=1e-3)
    np.testing.assert_allclose(np.diff(above)[0], np.diff(above)[1], rtol=0.02)


@pytest.mark.parametrize(
    ("name", "bonds", "triangles", "squares"),
    [("square", 2, 0, 1), ("triangular", 3, 2, 3), ("honeycomb", 1.5, 0, 0), ("kagome", 2, 2 / 3, 0)],
)
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_bulk_has_the_high_temperature_series_of_its_lattice(name, bonds, triangles, squares, J):
    """ln Z/N = ln 2 + b ln cosh K + n₃ t³ + n₄ t⁴ + O(t⁵) with t = tanh K and n_k polygons of k bonds per site."""
    K = J / np.array([40.0, 80.0])
    t = np.tanh(K)
    series = math.log(2) + bonds * np.log(np.cosh(K)) + triangles * t**3 + squares * t**4
    rest = ising_bulk(name, J / K, J=J).log_partition - series
    # Exponentiating the sum over polygons subtracts pairs of a polygon with itself from t⁶ on.
    assert np.all(np.abs(rest) < 10 * np.abs(t) ** 5)


@pytest.mark.parametrize(
    ("lattice", "kT"), [(triangular(4, 5), 18.0), (honeycomb(3), 6.0), (kagome(2, 3), 12.0)], ids=repr
)
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_bulk_is_near_small_lattices_at_high_temperature(lattice, kT, J):
    small = enumerate_states(Ising(lattice, J=J)).thermodynamics(kT)
    assert_alike(ising_bulk(lattice, kT, J=J), small, 2e-3)


def test_frustrated_antiferromagnets_keep_their_residual_entropy():
    """0.32307 (Wannier 1950, corrected 1973) and 0.50183 (Kano and Naya 1953)."""
    for name, entropy, energy in (("triangular", 0.3230659669, -1.0), ("kagome", 0.5018331646, -2 / 3)):
        cold = ising_bulk(name, [1e-3, 0.02], J=-1.0)
        np.testing.assert_allclose(cold.entropy, entropy, atol=1e-9)
        np.testing.assert_allclose(cold.energy, energy, atol=1e-12)


def test_bipartite_lattices_do_not_know_the_sign_of_their_coupling():
    for name in ("square", "honeycomb"):
        assert_alike(ising_bulk(name, KT, J=-1.0), ising_bulk(name, KT), 0)


@pytest.mark.parametrize(("name", "neighbours"), [("square", 4), ("triangular", 6), ("honeycomb", 3), ("kagome", 4)])
def test_spontaneous_magnetisation_starts_from_one_flipped_spin_and_ends_with_exponent_one_eighth(name, neighbours):
    T_c = critical_temperature(name)
    cold = 0.2 * T_c
    assert 1 - spontaneous_magnetisation(name, cold) == pytest.approx(2 * math.exp(-2 * neighbours / cold), rel=0.06)
    near = spontaneous_magnetisation(name, T_c * (1 - np.array([1e-6, 1e-8])))
    assert math.log(near[0] / near[1]) / math.log(100) == pytest.approx(1 / 8, abs=1e-5)
    assert np.array_equal(spontaneous_magnetisation(name, [T_c * 1.0001, 10.0]), [0.0, 0.0])


def test_yang_is_the_square_root_of_the_long_range_correlation():
    """⟨s s'⟩ between the farthest spins of a cold 4 × 5 torus is m² up to the walls that fit into it."""
    model = Ising(square(4, 5))
    far = model.lattice.index(np.array([2, 2]))
    sign = enumerate_states(model, {"far": lambda s: (2.0 * s[:, 0] - 1) * (2.0 * s[:, int(far)] - 1)})
    assert sign.average("far", 0.9) == pytest.approx(float(spontaneous_magnetisation("square", 0.9)) ** 2, rel=1e-4)


# --- densities of states ----------------------------------------------------------------------------------------------


def test_four_by_four_has_the_known_levels():
    levels = ising_levels(4, 4)
    half = [2, 32, 64, 424, 1728, 6688, 13568]
    assert levels.counts.tolist() == [*half, 20524, *half[::-1]]
    assert levels.energies.tolist() == [-32, *range(-24, 25, 4), 32]


def transfer_by_sites(L: int) -> np.ndarray:
    """g_k of the L × L torus, L ≤ 8, spin by spin from every first row; exact modulo 2^64, which all g_k are below."""
    rows = np.arange(2**L)
    along = np.array([int(r ^ ((r >> 1) | ((r & 1) << (L - 1)))).bit_count() for r in rows])
    total = np.zeros(2 * L * L + 1, dtype=np.uint64)
    # Rows that differ by a rotation, a reflection or a flip of all spins have the same sum.
    classes: dict[int, int] = {}
    for r in rows:
        bits = f"{r:0{L}b}"
        turned = [b[k:] + b[:k] for b in (bits, bits[::-1]) for k in range(L)]
        name = min(min(int(b, 2), 2**L - 1 - int(b, 2)) for b in turned)
        classes[name] = classes.get(name, 0) + 1
    for first, multiplicity in classes.items():
        g = np.zeros((2**L, 2 * L * L + 1), dtype=np.uint64)
        g[first, along[first]] = 1
        for row in range(L):
            for bit in range(L):
                flipped = g[rows ^ (1 << bit)]
                g[:, 1:] += flipped[:, :-1]
            if row < L - 1:
                for r in rows:
                    g[r] = np.roll(g[r], along[r])
        total += g[first] * np.uint64(multiplicity)
    return total


def test_levels_are_those_of_a_transfer_matrix():
    for L in (4, 6, 8):
        expected = transfer_by_sites(L)
        levels = ising_levels(L, L)
        broken = np.rint(levels.energies / 2 + L * L).astype(int)
        assert levels.counts.tolist() == expected[broken].tolist()
        assert np.count_nonzero(expected) == len(broken)
    assert levels.total == 2**64 and len(broken) == 63


def test_an_even_torus_has_a_symmetric_spectrum_and_two_ground_states():
    levels = ising_levels(12, 10)
    assert np.array_equal(levels.counts, levels.counts[::-1])
    assert levels.counts[0] == 2 and levels.counts[1] == 2 * 120


def test_moments_of_the_energy_come_from_the_levels():
    model = Ising(square(3, 4), h=0.2)
    dos = enumerate_states(model)
    weight, energy = brute_force(model, 1.7)
    mean = (weight * energy).sum()
    fourth = (weight * (energy - mean) ** 4).sum()
    centre = dos.average(dos.energies, 1.7)
    assert centre == pytest.approx(mean, rel=1e-13)
    assert dos.average((dos.energies - centre) ** 4, 1.7) == pytest.approx(fourth, rel=1e-12)
    histogram = [weight[np.abs(energy - e) < 1e-9].sum() for e in dos.energies]
    np.testing.assert_allclose(dos.probabilities(1.7), histogram, atol=1e-15)
    np.testing.assert_allclose(dos.probabilities([1.0, 1.7]).sum(-1), 1, rtol=1e-14)


# --- enumeration ------------------------------------------------------------------------------------------------------

SMALL = [
    Ising(square(3), J=(1.0, -0.4), h=0.3),
    Ising(triangular(3), J=-1.0),
    EdwardsAnderson(cubic(2), seed=1),
    EdwardsAnderson(square(3), distribution="+-J", seed=2),
    Potts(square(2, 3), 3),
    Potts(kagome(1, 2), 4, kind="clock"),
    BlumeCapel(honeycomb(2), D=0.7, h=0.2),
    BlumeCapel(chain(1), D=0.5),
]


@pytest.mark.parametrize("block", [2**20, 7], ids=["one block", "many blocks"])
@pytest.mark.parametrize("model", SMALL, ids=repr)
def test_enumeration_is_the_sum_over_all_states(model, block, monkeypatch):
    monkeypatch.setattr(enumeration, "BLOCK", block)
    first = {"m2": lambda s: model.magnetisation(s)[:, 0] ** 2, "odd": lambda s: s[:, 0] * s[:, -1]}
    dos = enumerate_states(model, first)
    states = torch.tensor(list(itertools.product(range(model.n_states), repeat=model.lattice.n_sites)))
    n = model.lattice.n_sites
    assert dos.total == model.n_states**n
    for kT in (0.3, 2.0):
        weight, energy = brute_force(model, kT)
        mean = (weight * energy).sum()
        exact = dos.thermodynamics(kT)
        assert exact.energy == pytest.approx(mean / n, abs=1e-12)
        assert exact.specific_heat == pytest.approx((weight * (energy - mean) ** 2).sum() / n / kT**2, abs=1e-12)
        partition = np.exp(-(energy - energy.min()) / kT).sum()
        assert exact.free_energy == pytest.approx((energy.min() - kT * math.log(partition)) / n, abs=1e-12)
        for name, observable in first.items():
            assert dos.average(name, kT) == pytest.approx((weight * observable(states).numpy()).sum(), abs=1e-12)


def test_fluctuations_of_the_magnetisation_are_its_response():
    """N⟨m²⟩ = kT d⟨m⟩/dh at h = 0, with ⟨m⟩ = -dF/dh from the free energy alone."""
    lattice, kT, h = square(3, 4), 2.0, 1e-3
    at, model = (Ising(lattice, h=x) for x in (h, 0.0))
    m2 = enumerate_states(model, {"m2": lambda s: model.magnetisation(s)[:, 0] ** 2}).average("m2", kT)
    gain = enumerate_states(model).thermodynamics(kT).free_energy - enumerate_states(at).thermodynamics(kT).free_energy
    assert 2 * gain / h**2 * kT == pytest.approx(12 * m2, rel=1e-4)


def test_equal_energies_that_differ_by_rounding_are_one_level():
    dos = enumerate_states(Ising(square(3, 4), J=0.1))
    assert len(dos.energies) == len(ising_levels(3, 4).energies)
    np.testing.assert_allclose(dos.energies, ising_levels(3, 4, J=0.1).energies, atol=1e-13)


# --- chains -----------------------------------------------------------------------------------------------------------

CHAINS = [
    Ising(chain(9), J=0.7, h=0.3),
    Ising(chain(2)),
    Ising(chain(1)),
    Ising(chain(1, periodic=False), h=0.3),
    EdwardsAnderson(chain(11), seed=4),
    EdwardsAnderson(chain(10, periodic=False), distribution="+-J", seed=5),
    Potts(chain(6), 3, J=-1.0),
    Potts(chain(5, periodic=False), 5, kind="clock"),
    BlumeCapel(chain(8), D=0.5, h=0.1),
]


@pytest.mark.parametrize("model", CHAINS, ids=repr)
def test_transfer_matrices_agree_with_enumeration(model):
    assert_alike(chain_thermodynamics(model, KT), enumerate_states(model).thermodynamics(KT))


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("periodic", [True, False])
def test_a_hot_chain_keeps_the_digits_of_what_vanishes(n, periodic):
    """Z = (2 cosh K)ⁿ + (2 sinh K)ⁿ of a ring, 2ⁿ coshⁿ⁻¹ K of an open chain."""
    model = Ising(chain(n, periodic=periodic), J=0.7)
    for kT in (10.0, 41.9, 42.1, 1e3, 1e6, 1e10, 1e60):
        with mpmath.workdps(260):
            beta = 1 / mpmath.mpf(kT)

            def log_partition(beta):
                c, s = mpmath.cosh(0.7 * beta), mpmath.sinh(0.7 * beta)
                return mpmath.log((2 * c) ** n + (2 * s) ** n if periodic else 2 * (2 * c) ** (n - 1)) / n

            step = beta * mpmath.mpf(10) ** -20
            below, at, above = (log_partition(beta + k * step) for k in (-1, 0, 1))
            U, C = float((below - above) / (2 * step)), float(beta**2 * (above - 2 * at + below) / step**2)
        exact = chain_thermodynamics(model, kT)
        np.testing.assert_allclose(exact.energy, U, rtol=1e-12, atol=0)
        np.testing.assert_allclose(exact.specific_heat, C, rtol=1e-12, atol=1e-200)
        np.testing.assert_allclose(exact.free_energy, float(-at / beta), rtol=1e-13)


@pytest.mark.parametrize(("name", "entropy"), [("square", 0.0), ("triangular", 0.3230659669), ("kagome", 0.5018331646)])
@pytest.mark.parametrize("kT", [0.05, 1e-3, 1e-10, 1e-80, 1e-250])
def test_a_frozen_lattice_keeps_its_entropy_and_no_specific_heat_however_cold(name, entropy, kT):
    for J in (1.0, -1.0):
        cold = ising_bulk(name, kT, J=J)
        np.testing.assert_allclose(cold.entropy, entropy if J < 0 else 0.0, atol=1e-9)
        assert abs(float(cold.specific_heat)) < 1e-9
    assert float(ising_torus(4, 6, kT).entropy) == pytest.approx(math.log(2) / 24, abs=1e-12)


def test_an_ising_ring_is_two_powers():
    N, kT = 1001, np.array([0.5, 1.0, 3.0])
    K = 1 / kT
    exact = chain_thermodynamics(Ising(chain(N)), kT)
    power = np.tanh(K) ** N
    np.testing.assert_allclose(exact.log_partition, np.log(2 * np.cosh(K)) + np.log1p(power) / N, rtol=1e-14)
    energy = -np.tanh(K) - (1 / np.tanh(K) - np.tanh(K)) * power / (1 + power)
    np.testing.assert_allclose(exact.energy, energy, rtol=1e-13)


def test_a_long_chain_loses_no_digits():
    kT = np.array([0.5, 1.0, 3.0])
    exact = chain_thermodynamics(Ising(chain(300_000)), kT)
    np.testing.assert_allclose(exact.energy, -np.tanh(1 / kT), rtol=1e-14)
    np.testing.assert_allclose(exact.specific_heat, (1 / kT / np.cosh(1 / kT)) ** 2, rtol=1e-13)


def test_an_open_chain_of_random_bonds_is_free_bonds():
    model = EdwardsAnderson(chain(5000, periodic=False), seed=3)
    kT = 0.4
    free = (math.log(2) + np.log(2 * np.cosh(model.couplings / kT)).sum()) / 5000
    exact = chain_thermodynamics(model, kT)
    assert exact.log_partition == pytest.approx(free, rel=1e-13)
    assert exact.energy == pytest.approx(-(model.couplings * np.tanh(model.couplings / kT)).sum() / 5000, rel=1e-13)


def test_a_frustrated_ring_has_one_wall_anywhere_in_the_cold():
    ring = EdwardsAnderson(chain(50), np.r_[-1.0, np.ones(49)])
    exact = chain_thermodynamics(ring, [1e-3, 0.05])
    np.testing.assert_allclose(exact.entropy, math.log(100) / 50, rtol=1e-12)
    np.testing.assert_allclose(exact.energy, -48 / 50, rtol=1e-14)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ising_torus(4, 4, 0.0), "kT must be > 0"),
        (lambda: ising_torus(4, 4, [1.0, -1.0]), "kT must be > 0"),
        (lambda: ising_torus(4, 4, float("nan")), "kT must be > 0"),
        (lambda: ising_torus(4, 0, 1.0), "whole number ≥ 1"),
        (lambda: ising_torus(4, 2.5, 1.0), "whole number ≥ 1"),
        (lambda: ising_torus(4, 5, 1.0, J=-1.0), "frustrated.*enumerate_states"),
        (lambda: ising_torus(4, 4, 1.0, J=0.0), "ln 2"),
        (lambda: ising_bulk("cubic", 1.0), "square, triangular, honeycomb, kagome"),
        (lambda: ising_bulk(cubic(3), 1.0), "not on 'cubic'"),
        (lambda: ising_bulk("square", -1.0), "kT must be > 0"),
        (lambda: critical_temperature("square", J=0.0), "must be finite and not 0"),
        (lambda: spontaneous_magnetisation("square", 1.0, J=-1.0), "staggered"),
        (lambda: ising_levels(100, 100), "ising_torus"),
        (lambda: enumerate_states(Ising(square(6))), "at most 26 sites"),
        (lambda: enumerate_states(Potts(square(5), 3)), "at most 16 sites"),
        (lambda: enumerate_states(Ising(square(2)), {"m": lambda s: s}), r"'m' must give one number per state"),
        (lambda: enumerate_states(Ising(square(2))).average("m2", 1.0), "'m2' was not recorded"),
        (lambda: chain_thermodynamics(Ising(square(3)), 1.0), r"lattices\.chain"),
        (lambda: chain_thermodynamics(Ising(chain(6), J=(1.0, 0.5)), 1.0), "beyond nearest neighbours"),
        (lambda: chain_thermodynamics(Ising(chain(6)), 0.0), "kT must be > 0"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_cure(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
