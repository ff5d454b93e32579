"""Error bars of random vectors: 95 % of independent draws lie inside, whoever carries the noise."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from nearsight.hamiltonians import Holstein, SDModel, skyrmion_magnet
from nearsight.lattices import square, triangular
from nearsight.solvers import Chebyshev, SparseMatrix, coloured_vectors, random_vectors
from nearsight.solvers.kpm._noise_modes import element_pieces, grouped, level_pieces


def exact(h, kT, d, *, mu=None, filling=None):
    """Elements of ρ ``(n, n)``, number, potential and energy by diagonalisation."""
    eps, psi = np.linalg.eigh(h)
    if mu is None:
        low, high = eps[0] - 60 * kT, eps[-1] + 60 * kT
        for _ in range(200):
            mu = 0.5 * (low + high)
            number = (0.5 * (1 - np.tanh(0.5 * (eps - mu) / kT))).sum()
            low, high = (mu, high) if number < filling * len(eps) else (low, mu)
    f = 0.5 * (1 - np.tanh(0.5 * (eps - mu) / kT))
    omega = -kT * np.logaddexp(0.0, (mu - eps) / kT).sum()
    potential = omega + (0.0 if filling is None else mu * f.sum())
    return (psi * f) @ psi.conj().T, d * f.sum(), d * potential, d * (f * eps).sum()


def electrons(size):
    """Few of them, half filled, few holes, gaps; fixed μ and fixed number; real and complex; a thin torus."""
    rng = torch.Generator().manual_seed(5)
    holstein = Holstein(square(size), g=1.0)
    disorder = torch.randn(size**2, 1, generator=rng, dtype=torch.float64)
    stagger = torch.from_numpy((-1.0) ** holstein.lattice.cells.sum(1))[:, None]
    h, n = holstein.matrix(disorder), size**2
    eps = torch.linalg.eigvalsh(h)
    below, above = (float(eps[k - 1] + eps[k]) / 2 for k in (3, n - 3))
    magnet, thin = SDModel(square(size - 2), J=6.0), Holstein(square(2, 2 * size), g=1.0)
    skyrmions = skyrmion_magnet(triangular(size - 2))
    spins = magnet.field_type.random(magnet.lattice.n_sites, 3, rng)
    orbitals = magnet.orbitals
    narrow = torch.randn(4 * size, 1, generator=rng, dtype=torch.float64)
    return {
        "half filled": (holstein, h, 0.2, {"filling": 0.5}),
        "metal": (holstein, h, 0.2, {"mu": 0.3}),
        "few electrons": (holstein, h, 0.1, {"filling": 3 / n}),
        "few electrons, fixed mu": (holstein, h, 0.1, {"mu": below}),
        "few holes": (holstein, h, 0.1, {"filling": 1 - 3 / n}),
        "few holes, fixed mu": (holstein, h, 0.1, {"mu": above}),
        "gap": (holstein, holstein.matrix(2 * stagger + 0.2 * disorder), 0.2, {"mu": 0.0}),
        "spins, few electrons": (magnet, magnet.matrix(spins), 0.15, {"filling": 3 / orbitals}),
        "spins, few holes": (magnet, magnet.matrix(spins), 0.15, {"filling": 1 - 3 / orbitals}),
        "spins, gap": (magnet, magnet.matrix(spins), 0.3, {"mu": 0.0}),
        "skyrmions": (skyrmions, skyrmions.matrix(spins), 0.2, {"mu": -3.5}),
        "thin torus": (thin, thin.matrix(narrow), 0.2, {"filling": 0.25}),
        "thin torus, fixed mu": (thin, thin.matrix(narrow), 0.2, {"mu": -1.0}),
    }


PROBES = {
    "random": random_vectors(16),
    "random, signs": random_vectors(16, phases="sign"),
    "random, gaussian": random_vectors(16, phases="gaussian"),
    "random, two sets": random_vectors(8, sets=2),
    "coloured": coloured_vectors(1),
    "coloured, signs": coloured_vectors(1, phases="sign"),
    "coloured, four sets": coloured_vectors(1, sets=4),
}


def coverage(model, h, kT, fixed, probes, estimator, draws, seed=7):
    """How many of so many draws of the probes lie inside their bars: for ρ, N, the potential and the energy."""
    rho, number, potential, energy = exact(h.numpy(), kT, model.degeneracy, **fixed)
    rho = torch.from_numpy(rho)[model.rows, model.columns]
    chance = torch.Generator().manual_seed(seed)
    solver = Chebyshev(kT=kT, accuracy=1e-3, probes=probes, estimator=estimator, rng=chance, **fixed)
    matrix = SparseMatrix.of(h)
    matrix = SparseMatrix(matrix.pattern, matrix.values.expand(draws, -1))
    answer = solver.solve(matrix, model.rows, model.columns, degeneracy=model.degeneracy)
    assert answer.error_kind == "95 %"
    off = (answer.rho - rho).abs().square().mean(-1).sqrt()
    student = answer.bars.quantile()
    inside = {"rho": off <= answer.error}
    inside["potential"] = (answer.potential - potential).abs() <= student * answer.bars.potential
    inside["energy"] = (answer.energy - energy).abs() <= student * answer.bars.energy
    if "mu" in fixed:
        inside["number"] = (answer.number - number).abs() <= student * answer.bars.number
    return {name: int(x.sum()) for name, x in inside.items()}


def honest(inside, draws):
    """Whether a count is what a coverage between 92 and 99 % gives with more than one chance in a thousand."""
    return binom.cdf(inside, draws, 0.92) > 1e-3 and binom.sf(inside - 1, draws, 0.99) > 1e-3


FAST = [
    ("half filled", "random", "direct"),
    ("few electrons", "coloured", "gradient"),
    ("few holes", "random", "gradient"),
    ("few electrons, fixed mu", "random, two sets", "gradient"),
]


@pytest.mark.parametrize(("who", "how", "estimator"), FAST, ids=str)
def test_ninety_five_of_a_hundred_draws_lie_inside_their_bars(who, how, estimator):
    found = coverage(*electrons(6)[who], PROBES[how], estimator, 150)
    assert all(honest(inside, 150) for inside in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["direct", "gradient"])
@pytest.mark.parametrize("how", PROBES)
@pytest.mark.parametrize("who", electrons(6))
def test_error_bars_hold_for_all_electrons_and_probes(who, how, estimator):
    found = coverage(*electrons(8)[who], PROBES[how], estimator, 300)
    assert all(honest(inside, 300) for inside in found.values()), found


# --- independent pieces -----------------------------------------------------------------------------------------------


def level_noise(eps, mu, kT, *, of_gradient, real, draws=4000):
    """Tr C² / (Tr C)² of noise between given levels, sampled: X of random orthogonal or unitary states."""
    rng = np.random.default_rng(1)
    n = len(eps)
    f = 0.5 * (1 - np.tanh(0.5 * (eps - mu) / kT))
    g = -kT * np.logaddexp(0.0, (mu - eps) / kT)
    L = 0.5 * (f[:, None] + f)
    if of_gradient:
        gaps = eps[:, None] - eps + np.eye(n)
        L = np.where(np.eye(n) > 0, f, (g[:, None] - g) / gaps)
    size = 400  # sites of random waves: more than pairs of levels
    psi = rng.normal(size=(size, n)) + (0 if real else 1j) * rng.normal(size=(size, n))
    psi, _ = np.linalg.qr(psi)
    noise = np.empty((draws, size))
    for k in range(draws):
        x = rng.normal(size=(n, n)) + (0 if real else 1j) * rng.normal(size=(n, n))
        noise[k] = np.einsum("an,nm,am->a", psi, L * (x + x.conj().T), psi.conj()).real
    gram = noise @ noise.T
    own = np.diag(gram)
    return own.mean() ** 2 * draws * (draws - 1) / (np.square(gram).sum() - np.square(own).sum())


@pytest.mark.parametrize("of_gradient", [False, True])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("mu", [-2.0, -1.1, 0.0])
def test_pairs_of_levels_are_as_many_numbers_as_their_noise_shows(mu, real, of_gradient):
    eps = np.array([-1.5, -1.2, -0.7, -0.1, 0.3, 0.9])
    kT = 0.1
    # Six levels on 400 sites: the constant in L is not the identity's, whose noise vanishes, so nothing is subtracted.
    stated = level_pieces(
        eps[None],
        np.ones((1, 6)),
        np.array([mu]),
        kT,
        of_gradient=of_gradient,
        real=real,
        unit_modulus=False,
        fixed_number=False,
    )
    measured = level_noise(eps, mu, kT, of_gradient=of_gradient, real=real, draws=1500)
    assert float(stated[0]) == pytest.approx(1 / (1 / measured - 1 / 400), rel=0.2)


def test_a_single_electron_is_a_single_number_and_a_metal_is_many():
    eps = np.linspace(-1.0, 1.0, 100)[None]
    options = {"real": False, "unit_modulus": True, "fixed_number": False}
    one = np.where(np.arange(100) == 0, -3.0, eps)
    few = level_pieces(one, np.ones((1, 100)), np.array([-2.98]), 0.02, of_gradient=True, **options)
    many = level_pieces(eps, np.ones((1, 100)), np.array([0.0]), 0.02, of_gradient=True, **options)
    assert float(few[0]) < 2 and float(many[0]) > 1000


def test_elements_of_equal_variance_are_as_many_numbers_as_they_are(rng):
    """Real ones count once, complex ones twice; measured variances scatter, which must not make them fewer."""
    for sets in (2, 4, 16):
        draws = torch.randn(sets, 400, generator=rng, dtype=torch.complex128).numpy()
        deviation = draws.std(0, ddof=1)[None] / np.sqrt(sets)
        real = draws.real.std(0, ddof=1)[None] / np.sqrt(sets)
        off, on = np.zeros(400, bool), np.ones(400, bool)
        assert element_pieces(deviation, np.full(400, 2), off, False, sets) == pytest.approx(800, rel=0.25)
        assert element_pieces(real, np.ones(400), on, True, sets) == pytest.approx(400, rel=0.25)


def test_groups_of_levels_keep_their_number_and_their_energy(rng):
    weights = torch.rand(2, 3000, generator=rng, dtype=torch.float64).numpy()
    energies = np.sort(torch.randn(2, 3000, generator=rng, dtype=torch.float64).numpy(), axis=-1)
    e, w = grouped(energies, weights)
    assert e.shape[-1] <= 128
    np.testing.assert_allclose(w.sum(-1), weights.sum(-1))
    np.testing.assert_allclose((w * e).sum(-1), (weights * energies).sum(-1), atol=1e-9)
