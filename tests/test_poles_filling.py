"""The stated error of poles at a fixed number of electrons, judged by diagonalisation in NumPy and a root in SciPy.

Levels far from μ are many. What the sum over poles misses of each of them is made up for by the few levels at μ.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from nearsight.solvers import Poles

Case = tuple[np.ndarray, float]
"""A Hermitian matrix and a number of electrons."""


def exact(h: np.ndarray, kT: float, electrons: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Levels, vectors, occupations and μ."""
    eps, psi = np.linalg.eigh(h)
    mu = brentq(lambda mu: occupation(eps, mu, kT).sum() - electrons, eps[0] - 100 * kT, eps[-1] + 100 * kT, xtol=1e-15)
    return eps, psi, occupation(eps, mu, kT), mu


def occupation(eps: np.ndarray, mu: float, kT: float) -> np.ndarray:
    return 0.5 * (1 - np.tanh((eps - mu) / (2 * kT)))


def check(case: Case, kT: float, tol: float, **options) -> None:
    """ρ at all positions where the matrix has elements, potentials, and that the error stays below ``tol``."""
    h, electrons = case
    n = len(h)
    rows, columns = ((h != 0) | np.eye(n, dtype=bool)).nonzero()
    solver = Poles(kT=kT, filling=electrons / n, tol=tol, **options)
    answer = solver.solve(torch.from_numpy(h), torch.from_numpy(rows), torch.from_numpy(columns))
    eps, psi, f, mu = exact(h, kT, electrons)
    rho = (psi[rows] * f * psi[columns].conj()).sum(-1)
    error = float(answer.error)
    off = np.abs(answer.rho.numpy() - rho).max()
    assert off <= error + 1e-13, f"off by {off:.1e}, stated {error:.1e}"
    assert answer.error_kind == "bound"
    if not options:
        assert error <= tol
    found = float(answer.mu)
    assert np.abs(occupation(eps, found, kT) - f).max() <= error + 1e-13
    assert float(answer.number) == pytest.approx(electrons, rel=1e-12)
    # Every level within the width of the band is off by no more than the error of its occupation.
    most = n * (eps[-1] - eps[0] + 40 * kT) * (error + 1e-13)
    omega = lambda mu: -kT * np.logaddexp(0, (mu - eps) / kT).sum()  # noqa: E731
    assert float(answer.grand_potential) == pytest.approx(omega(found), abs=most)
    assert float(answer.potential) == pytest.approx(omega(mu) + mu * electrons, abs=most)
    assert float(answer.energy) == pytest.approx((f * eps).sum(), abs=most)


# --- matrices with few levels at μ ------------------------------------------------------------------------------------


def lattice(*shape: int, t: float = 1.0) -> np.ndarray:
    """Nearest neighbours on a torus, hops of twice the amplitude on sides of two."""
    h = np.zeros((1, 1))
    for side in shape:
        ring = np.roll(np.eye(side), 1, axis=0)
        h = np.kron(h, np.eye(side)) - t * np.kron(np.eye(len(h)), ring + ring.T)
    return h


def uniform(rng: np.random.Generator) -> Case:
    h = lattice(*[(10, 10), (12, 9), (14, 8), (120,)][rng.integers(4)])
    return h, len(h) / 2


def impurity(rng: np.random.Generator) -> Case:
    """A level split off from the band, and a number that leaves it partly filled."""
    h = lattice(10, 11)
    sign = rng.choice([-1, 1])
    h[17, 17] = 7.0 * sign
    part = rng.uniform(0.02, 0.98)
    return h, part if sign < 0 else len(h) - part


def vacancy(rng: np.random.Generator) -> Case:
    h = lattice(11, 10)
    for site in rng.choice(110, rng.integers(1, 3), replace=False):
        h[site], h[:, site] = 0.0, 0.0
        h[site, site] = 50.0
    return h, rng.choice([54.0, 54.5, 55.0, 40.3])


def in_gap(rng: np.random.Generator) -> Case:
    """Dimers with one unpaired site: one level in the middle of a gap."""
    h = np.diag([1.0, 0.2] * 60, 1)
    h = h + h.T
    return h, 60 + rng.uniform(0, 1) ** 3


def insulator(rng: np.random.Generator) -> Case:
    h = np.diag(([1.0, 0.2] * 60)[:-1], 1)
    return h + h.T, 60.0


def holstein(rng: np.random.Generator) -> Case:
    h = lattice(10, 11)
    return h - np.diag(1.5 * (1 + rng.normal(size=110))), rng.choice([20.0, 33.0, 55.0])


def magnet(spins: np.ndarray, shape: tuple[int, int], t: float, J: float) -> np.ndarray:
    """Electrons that hop and see -J σ · S on every site."""
    x, y, z = spins.T
    h = np.kron(lattice(*shape, t=t), np.eye(2)).astype(complex)
    up, down = 2 * np.arange(len(spins)), 2 * np.arange(len(spins)) + 1
    h[up, up] -= J * z
    h[down, down] += J * z
    h[up, down] -= J * (x - 1j * y)
    h[down, up] -= J * (x + 1j * y)
    return h


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    spins = rng.normal(size=(n, 3))
    return spins / np.linalg.norm(spins, axis=1)[:, None]


def one_spin_missing(rng: np.random.Generator) -> Case:
    """Two levels between the bands of a strongly coupled magnet."""
    spins = unit(rng, 64)
    spins[rng.integers(64)] = 0
    return magnet(spins, (8, 8), 0.3, 4.0), 63 + rng.uniform(0.1, 1.9)


def holes_on_reversed_spins(rng: np.random.Generator) -> Case:
    """Double exchange: a ferromagnet, a few spins against it, and as many holes."""
    spins = np.tile([0.0, 0.0, 1.0], (64, 1))
    spins[rng.choice(64, 4, replace=False), 2] = -1
    return magnet(spins, (8, 8), 1.0, 20.0), 60.0


def nearly_empty(rng: np.random.Generator) -> Case:
    h = rng.normal(size=(100, 100)) * (rng.random((100, 100)) < 0.1)
    return h + h.T, 100 * 10 ** rng.uniform(-5, -1.5)


def nearly_full(rng: np.random.Generator) -> Case:
    h, electrons = nearly_empty(rng)
    return h, 100 - electrons


def flat_bands(rng: np.random.Generator) -> Case:
    """Many levels in two far bunches, a few between them."""
    levels = np.concatenate(
        [rng.normal(-5, 0.05, 70), rng.normal(5, 0.05, 60), rng.normal(0, 0.05, rng.integers(1, 4))]
    )
    return np.diag(levels), 70 + rng.uniform(0.05, 0.95)


FAMILIES = [
    uniform,
    impurity,
    vacancy,
    in_gap,
    insulator,
    holstein,
    one_spin_missing,
    holes_on_reversed_spins,
    nearly_empty,
    nearly_full,
    flat_bands,
]
family = pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)


@family
def test_the_stated_error_holds_at_fixed_filling(make):
    rng = np.random.default_rng(5)
    for _ in range(3):
        check(make(rng), kT=0.06, tol=1e-5)


def test_a_half_filled_uniform_lattice_is_solved_to_nine_digits_far_below_its_level_spacing():
    """As many levels at μ as sites along a diagonal, and a temperature of a thousandth of the band."""
    check((lattice(12, 12), 72.0), kT=0.01, tol=1e-9)


@pytest.mark.slow
@family
def test_the_stated_error_holds_at_fixed_filling_for_many_matrices(make):
    rng = np.random.default_rng(11)
    for _ in range(40):
        kT, tol = 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-9, -1.5)
        check(make(rng), kT, tol)


@pytest.mark.parametrize("make", [impurity, holstein, flat_bands], ids=lambda make: make.__name__)
def test_a_chosen_precision_states_what_it_costs(make):
    check(make(np.random.default_rng(6)), kT=0.06, tol=1e-6, dtype=torch.complex64)


def test_replicas_with_few_and_many_levels_at_mu_share_a_batch():
    rng = np.random.default_rng(3)
    levels = np.stack([flat_bands(rng)[0].diagonal()[:131] for _ in range(3)] + [np.linspace(-5, 5, 131)])
    electrons, kT, tol = 70.4, 0.05, 1e-6
    sites = torch.arange(131)
    h = torch.diag_embed(torch.from_numpy(levels))
    answer = Poles(kT=kT, filling=electrons / 131, tol=tol).solve(h, sites, sites)
    for k in range(4):
        *_, f, _ = exact(np.diag(levels[k]), kT, electrons)
        assert np.abs(answer.rho[k].numpy() - np.sort(f)[::-1][np.argsort(np.argsort(levels[k]))]).max() <= tol


@pytest.mark.slow
def test_what_no_sum_over_poles_can_state_is_refused_with_the_reason():
    """Three thousand levels far away and one at μ: rounding of f alone leaves more than 10⁻¹² of it uncertain."""
    n = 3000
    h = torch.diag(torch.cat([torch.full((n - 1,), -40.0), torch.zeros(1)])).double()
    with pytest.raises(ArithmeticError, match=r"electrons uncertain.*more than tol.*Raise tol or kT .* or take Dense"):
        Poles(kT=0.01, filling=(n - 0.5) / n, tol=1e-12).solve(h, torch.arange(2), torch.arange(2))
