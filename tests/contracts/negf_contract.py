"""What every solver of steady states between reservoirs must satisfy. A member signs by one line in ``SOLVERS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import nearsight.solvers.negf.closed_form as closed_form
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, SDModel
from nearsight.lattices import chain, square
from nearsight.solvers import NEGF, Dense, Pattern, RecursiveNEGF, Reservoir, SparseMatrix, electrodes


@dataclass(frozen=True)
class Member:
    """A solver with the error it promises; ``schur`` takes eigenvectors away from it."""

    make: Callable[..., NEGF | RecursiveNEGF]
    error: float = 0.0
    schur: bool = False
    needs_width: bool = False
    """At kT = 0 it takes levels that all have a width."""

    def __call__(self, *reservoirs: Reservoir, orbitals: int = 1) -> NEGF | RecursiveNEGF:
        return self.make(*reservoirs, orbitals=orbitals)

    def to(self, tolerance: float) -> float:
        return max(tolerance, self.error)


SOLVERS = [
    pytest.param(Member(NEGF), id="closed form"),
    pytest.param(Member(NEGF, schur=True), id="closed form, Schur"),
    pytest.param(Member(partial(RecursiveNEGF, tol=1e-9), error=2e-9, needs_width=True), id="recursive"),
]


@pytest.fixture(params=SOLVERS)
def make(request, monkeypatch) -> Member:
    if request.param.schur:
        monkeypatch.setattr(closed_form, "DEFECTIVE", 0.0)
    return request.param


def hopping(length: int) -> Tensor:
    """An open chain, ε_k = -2 cos k."""
    off = torch.ones(length - 1, dtype=torch.float64)
    return -torch.diag(off, 1) - torch.diag(off, -1)


def bar(rng: torch.Generator, length: int = 5, width: int = 3, *batch: int) -> tuple[Tensor, tuple[Reservoir, ...]]:
    """Holstein fields on a small bar, and electrodes."""
    lattice = square(length, width, periodic=(False, True))
    field = torch.randn(*batch, lattice.n_sites, 1, generator=rng, dtype=torch.float64)
    return Holstein(lattice).matrix(field), electrodes(lattice, voltage=1.5, kT=0.1, bath=0.05)


def by_quadrature(h: Tensor, reservoirs: tuple[Reservoir, ...], orbitals: int = 1) -> np.ndarray:
    """ρ = ∫dε/2π G [Σ 2Γ f] G† from inverted matrices, by Gauss-Legendre rules: no code of the library."""
    h = h.numpy()
    n = len(h)
    gamma = np.zeros((len(reservoirs), n))
    for row, r in zip(gamma, reservoirs, strict=True):
        row[(r.sites[:, None] * orbitals + np.arange(orbitals)).ravel()] = r.gamma
    ends = np.unique(np.concatenate([np.linspace(-9, 9, 201), [r.mu for r in reservoirs]]))
    x, w = np.polynomial.legendre.leggauss(16)

    def rule(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half = 0.5 * (b - a)[:, None]
        return (0.5 * (a + b)[:, None] + half * x).ravel(), (half * w).ravel()

    e, weight = rule(ends[:-1], ends[1:])
    # Beyond, in u = 1/ε: Green's function is regular at infinity.
    u, v = rule(np.linspace(0, 1 / 9, 9)[:-1], np.linspace(0, 1 / 9, 9)[1:])
    e, weight = np.concatenate([e, -1 / u]), np.concatenate([weight, v / u**2])
    filled = np.zeros((len(e), n))
    for row, r in zip(gamma, reservoirs, strict=True):
        f = 1 / (np.exp(np.clip((e - r.mu) / r.kT, -700, 700)) + 1) if r.kT else (e < r.mu) + 0.5 * (e == r.mu)
        filled += f[:, None] * row
    rho = np.zeros((n, n), dtype=complex)
    for part in np.array_split(np.arange(len(e)), 8):
        g = np.linalg.inv(e[part, None, None] * np.eye(n) - h + 1j * np.diag(gamma.sum(0)))
        rho += np.einsum("e,eas,es,ebs->ab", weight[part], g, filled[part], g.conj(), optimize=True) / np.pi
    return rho


def everywhere(size: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return rows.reshape(-1), columns.reshape(-1)


# --- against brute force, and closed forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("kT", [0.0, 0.1], ids=["cold", "warm"])
def test_the_density_matrix_is_the_integral_of_inverted_matrices(make, kT, is_complex, rng):
    """Three fillings and temperatures; the stated error holds."""
    h, _ = bar(rng)
    if is_complex:
        phase = torch.randn(15, 15, generator=rng, dtype=torch.float64) * (h != 0)
        h = torch.complex(h, 0.3 * (phase - phase.T))
    fills = [(range(3), 0.7, -1.5, kT), (range(12, 15), 0.4, 0.5, 2 * kT), (range(15), 0.05, 0.0, kT)]
    reservoirs = tuple(Reservoir(*fill) for fill in fills)
    exact = by_quadrature(h, reservoirs)
    answer = make(*reservoirs).solve(h, *everywhere(15))
    true = np.abs(answer.rho.reshape(15, 15).numpy() - exact).max()
    assert true <= make.to(2e-12)
    assert true <= float(answer.error) + 2e-12
    assert float(answer.number) == pytest.approx(exact.trace().real, abs=15 * make.to(1e-12))
    energy = np.einsum("ab,ba->", exact, h.numpy()).real
    assert float(answer.energy) == pytest.approx(energy, abs=60 * make.to(1e-12))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_chain_between_two_leads_obeys_the_landauer_formula(make, length):
    """T(ε) = 4Γ_L Γ_R/|D|², D = u_N + i(Γ_L + Γ_R) u_{N-1} - Γ_L Γ_R u_{N-2} with u_n = sin (n+1)k/sin k."""
    from scipy.integrate import quad

    left, right = 0.8, 0.5
    reservoirs = (Reservoir([0], left, -0.6, 0.2), Reservoir([length - 1], right, 0.7, 0.1))

    def transmission(eps):
        k = np.arccos(np.asarray(eps, dtype=complex) / 2)
        u = lambda n: np.sin((n + 1) * k) / np.sin(k)  # noqa: E731
        if length == 1:
            return 4 * left * right / (eps**2 + (left + right) ** 2)
        return (
            4
            * left
            * right
            / np.abs(u(length) + 1j * (left + right) * u(length - 1) - left * right * u(length - 2)) ** 2
        )

    state = make(*reservoirs).steady_state(hopping(length))
    eps = np.linspace(-3.1, 2.9, 23)
    np.testing.assert_allclose(state.transmission(eps)[:, 1, 0].numpy(), transmission(eps), rtol=1e-10)
    np.testing.assert_allclose(state.transmission(eps)[:, 0, 1].numpy(), transmission(eps), rtol=1e-10)
    f = lambda e, mu, kT: 0.5 * (1 - np.tanh((e - mu) / (2 * kT)))  # noqa: E731
    integrand = lambda e: transmission(e) * (f(e, 0.7, 0.1) - f(e, -0.6, 0.2)) / (2 * np.pi)  # noqa: E731
    current = quad(integrand, -8, 6, points=(-2, -0.6, 0.7, 2), limit=400, epsabs=1e-13, epsrel=1e-12)[0]
    assert float(state.currents[1]) == pytest.approx(current, rel=max(1e-8, make.error))
    assert float(state.currents[0]) == pytest.approx(-current, rel=max(1e-8, make.error))


def test_one_cold_level_carries_the_current_of_an_arctangent(make):
    left, right, level = 0.3, 0.2, 0.4
    state = make(Reservoir([0], left, -1.0, 0), Reservoir([0], right, 0.9, 0)).steady_state(
        torch.full((1, 1), level, dtype=torch.float64)
    )
    width = left + right
    inside = math.atan((0.9 - level) / width) - math.atan((-1.0 - level) / width)
    assert float(state.currents[1]) == pytest.approx(2 * left * right / (math.pi * width) * inside, rel=make.to(1e-12))
    below = [0.5 + math.atan((mu - level) / width) / math.pi for mu in (-1.0, 0.9)]
    assert float(state.density) == pytest.approx((left * below[0] + right * below[1]) / width, abs=make.to(1e-13))


# --- equilibrium ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kT", [0.05, 1.0])
def test_narrow_levels_are_those_of_the_dense_solver(make, kT, rng):
    h, _ = bar(rng)
    solver = make(*(Reservoir(sites, 1e-9, 0.2, kT) for sites in (range(8), range(5, 15))))
    answer, exact = solver.solve(h, *everywhere(15)), Dense(mu=0.2, kT=kT).solve(h, *everywhere(15))
    torch.testing.assert_close(answer.rho, exact.rho, atol=make.to(1e-8), rtol=0)
    for name in ("mu", "number", "energy", "free_energy", "grand_potential", "potential"):
        assert float(getattr(answer, name)) == pytest.approx(float(getattr(exact, name)), abs=20 * make.to(1e-8)), name


def test_equal_fillings_carry_no_current_and_any_share_of_gamma_will_do(make, rng):
    h, _ = bar(rng)
    split = (
        Reservoir(range(6), 0.4, 0.1, 0.2),
        Reservoir(range(15), 0.1, 0.1, 0.2),
        Reservoir(range(4), 0.3, 0.1, 0.2),
    )
    state = make(*split).steady_state(h)
    assert float(state.currents.abs().max()) <= 1e-12 and float(state.bond_currents.abs().max()) <= make.to(1e-12)
    other = (
        Reservoir(range(4), 0.8, 0.1, 0.2),
        Reservoir([4, 5], 0.5, 0.1, 0.2),
        Reservoir(range(6, 15), 0.1, 0.1, 0.2),
    )
    torch.testing.assert_close(make(*other).steady_state(h).rho, state.rho, atol=make.to(1e-13), rtol=0)


@pytest.mark.parametrize("kT", [0.0, 0.1])
def test_in_equilibrium_the_force_is_minus_the_gradient_of_the_potential(make, kT, rng):
    lattice = square(4, 3, periodic=(False, True))
    solver = make(*electrodes(lattice, voltage=0.0, kT=kT, bath=0.02))
    exact = ExactForceField(Holstein(lattice), solver)
    field, direction = torch.randn(2, 12, 1, generator=rng, dtype=torch.float64)
    energies = [float(exact(field + s * 1e-3 * direction).energy) for s in (-2, -1, 1, 2)]
    slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / 12e-3
    assert float((exact(field).force * direction).sum()) == pytest.approx(-slope, abs=max(1e-9, 5 * make.error))


# --- sum rules and conservation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "filled"), [(1e9, 1.0), (-1e9, 0.0)])
def test_reservoirs_far_outside_of_the_band_fill_everything_or_nothing(make, mu, filled, rng):
    h, reservoirs = bar(rng)
    answer = make(*(r.replaced(mu=mu) for r in reservoirs)).solve(h, *everywhere(15))
    torch.testing.assert_close(answer.rho.reshape(15, 15), filled * torch.eye(15).double(), atol=1e-7, rtol=0)
    between = make(reservoirs[0].replaced(mu=-5e3), *reservoirs[1:]).solve(h, *everywhere(15))
    occupations = torch.linalg.eigvalsh(between.rho.reshape(15, 15))
    assert float(occupations.min()) >= -1e-8 and float(occupations.max()) <= 1 + 1e-8


def test_every_orbital_has_one_level(make, rng):
    h, reservoirs = bar(rng)
    theta = (torch.arange(20000).double() + 0.5) / 20000 * math.pi - math.pi / 2
    state = make(*reservoirs).steady_state(h)
    weight = math.pi / 20000 / theta.cos().square()
    total = (state.local_density_of_states(theta.tan()) * weight[:, None]).sum(0)
    torch.testing.assert_close(total, torch.ones(15).double(), atol=1e-6, rtol=0)


def test_what_enters_a_reservoir_is_what_leaves_it_at_every_energy(make, rng):
    h, reservoirs = bar(rng)
    state = make(*reservoirs).steady_state(h)
    eps = torch.linspace(-4, 4, 9)
    t = state.transmission(eps)
    levels = state.local_density_of_states(eps)
    for k, r in enumerate(reservoirs):
        every = 4 * math.pi * r.gamma * levels[:, torch.tensor(r.sites)].sum(-1)
        torch.testing.assert_close(t[:, k].sum(-1), every)
        torch.testing.assert_close(t[..., k].sum(-1), every)
    assert bool((t >= 0).all())
    assert float(state.spectral_currents(eps).sum(-1).abs().max()) <= 1e-12


@pytest.mark.parametrize("kT", [0.0, 0.1])
def test_currents_are_conserved_to_1e_8_of_themselves(make, kT, rng):
    """Between the leads at every cut, whatever the field; with a bath in sum."""
    lattice = square(6, 3, periodic=(False, True))
    h = Holstein(lattice).matrix(torch.randn(18, 1, generator=rng, dtype=torch.float64))
    if kT == 0 and make.needs_width:
        with pytest.raises(ArithmeticError, match="Attach a bath"):
            make(*electrodes(lattice, voltage=1.5, kT=0.0, bath=0.0)).steady_state(h)
        kT = 1e-3
    left, right = electrodes(lattice, voltage=1.5, kT=kT, bath=0.0)
    state = make(left, right).steady_state(h)
    current = float(state.currents[1])
    assert current > 1e-3 and float(state.currents[0]) == pytest.approx(-current, rel=1e-8)
    x = torch.from_numpy(lattice.cells[:, 0])
    for cut in range(5):
        across = (x[state.columns] == cut + 1) & (x[state.rows] == cut)  # from right to left
        assert float(state.bond_currents[across].sum()) == pytest.approx(current, rel=max(1e-8, 20 * make.error))
    bath = make(*electrodes(lattice, voltage=1.5, kT=kT, bath=0.01)).steady_state(h).currents
    assert abs(float(bath.sum())) <= 1e-8 * float(bath.abs().max())


def test_currents_are_the_integral_of_their_spectra(make, rng):
    h, reservoirs = bar(rng)
    state = make(*reservoirs).steady_state(h)
    x, w = np.polynomial.legendre.leggauss(12)
    ends = np.linspace(-4.5, 3.0, 151)
    eps = (0.5 * (ends[1:] + ends[:-1])[:, None] + 0.025 * x).ravel()
    weight = torch.from_numpy(np.tile(0.025 * w, 150))[:, None]
    spectral = (state.spectral_currents(eps) * weight).sum(0)
    torch.testing.assert_close(spectral, state.currents, atol=make.to(1e-9), rtol=0)
    # Bonds carry persistent parts far below the window too, which cancel in real matrices in equilibrium.
    bonds = (state.spectral_bond_currents(eps) * weight).sum(0)
    torch.testing.assert_close(bonds, state.bond_currents, atol=make.to(1e-7), rtol=0)


def test_density_changes_nowhere(make, rng):
    """What bonds bring to an orbital its reservoirs take: Kirchhoff's law, with a bath of one more filling."""
    h, reservoirs = bar(rng)
    state = make(*reservoirs).steady_state(h)
    by_bonds = torch.zeros(15).double().index_add(0, state.rows, state.bond_currents)
    for r, entering in zip(reservoirs[:2], state.currents, strict=False):
        assert float(by_bonds[torch.tensor(r.sites)].sum()) == pytest.approx(-float(entering), abs=make.to(1e-12) * 20)


# --- batches, symmetry, limits ----------------------------------------------------------------------------------------


def test_a_batch_equals_a_loop(make, rng):
    h, reservoirs = bar(rng, 5, 3, 2, 2)
    solver = make(*reservoirs)
    batch, where = solver.solve(h, *everywhere(15), degeneracy=2), everywhere(15)
    states = solver.steady_state(h)
    for i, j in np.ndindex(2, 2):
        single, state = solver.solve(h[i, j], *where, degeneracy=2), solver.steady_state(h[i, j])
        for name in ("rho", "number", "energy", "error"):
            torch.testing.assert_close(
                getattr(batch, name)[i, j], getattr(single, name), atol=make.to(1e-12) * 20, rtol=0
            )
        torch.testing.assert_close(states.currents[i, j], state.currents, atol=make.to(1e-12), rtol=0)
        eps = [-1.0, 0.3]
        torch.testing.assert_close(states.transmission(eps)[i, j], state.transmission(eps))
        torch.testing.assert_close(states.local_density_of_states(eps)[i, j], state.local_density_of_states(eps))


def test_an_empty_batch_has_an_empty_answer(make, rng):
    _, reservoirs = bar(rng)
    answer = make(*reservoirs).solve(torch.zeros(2, 0, 15, 15).double(), *everywhere(15))
    assert answer.rho.shape == (2, 0, 225) and answer.energy.shape == (2, 0) and answer.potential is None


def test_sparse_and_dense_matrices_are_solved_alike(make, rng):
    lattice = square(5, 3, periodic=(False, True))
    model, field = Holstein(lattice), torch.randn(15, 1, generator=rng, dtype=torch.float64)
    _, reservoirs = bar(rng)
    sparse = SparseMatrix(Pattern(*model.positions, 15, model.cuts), model.elements(field))
    solver, where = make(*reservoirs), torch.tensor([0, 7, 3])
    a, b = (solver.solve(m, where, where.flip(0)).rho for m in (sparse, model.matrix(field)))
    torch.testing.assert_close(a, b, atol=make.to(1e-13), rtol=0)


def test_a_phase_of_the_basis_changes_no_density_and_no_current(make, rng):
    h, reservoirs = bar(rng)
    phase = torch.polar(torch.ones(15).double(), 6.28 * torch.rand(15, generator=rng, dtype=torch.float64))
    real, gauged = (make(*reservoirs).steady_state(m) for m in (h, phase[:, None] * h * phase.conj()))
    for name in ("density", "currents", "bond_currents"):
        torch.testing.assert_close(getattr(gauged, name), getattr(real, name), atol=make.to(1e-12), rtol=0)


def test_leads_exchanged_in_a_mirrored_bar_exchange_their_currents(make, rng):
    h, (left, right, bath) = bar(rng)
    mirror = torch.arange(15).reshape(5, 3).flip(0).reshape(-1)
    there = make(left.replaced(sites=right.sites), right.replaced(sites=left.sites), bath)
    a, b = make(left, right, bath).steady_state(h), there.steady_state(h[mirror][:, mirror])
    torch.testing.assert_close(b.currents, a.currents, atol=make.to(1e-13), rtol=0)
    torch.testing.assert_close(b.density, a.density[mirror], atol=make.to(1e-13), rtol=0)


def test_zero_temperature_is_the_limit_of_low_temperature(make, rng):
    h, reservoirs = bar(rng)
    zero, low = (make(*(r.replaced(kT=kT) for r in reservoirs)).steady_state(h) for kT in (0.0, 1e-6))
    torch.testing.assert_close(low.rho, zero.rho, atol=make.to(1e-9), rtol=0)
    torch.testing.assert_close(low.currents, zero.currents, atol=make.to(1e-9), rtol=0)


def test_a_cold_level_at_mu_is_half_filled(make):
    answer = make(Reservoir([0], 0.3, 1.2, 0.0)).solve(torch.full((1, 1), 1.2, dtype=torch.float64), *everywhere(1))
    assert float(answer.rho) == pytest.approx(0.5, abs=make.to(1e-15))


def test_every_orbital_of_a_site_feels_its_reservoir(make, rng):
    lattice = chain(4, periodic=False)
    model = SDModel(lattice, J=1.5)
    spins = torch.nn.functional.normalize(torch.randn(4, 3, generator=rng, dtype=torch.float64), dim=-1)
    reservoirs = (Reservoir([0], 0.5, -1.0, 0.1), Reservoir([1, 2, 3], 0.2, 0.5, 0.1))
    h = model.matrix(spins)
    answer = make(*reservoirs, orbitals=2).solve(h, *everywhere(8))
    true = np.abs(answer.rho.reshape(8, 8).numpy() - by_quadrature(h, reservoirs, 2)).max()
    assert true <= make.to(2e-12)
    assert ExactForceField(model, make(*reservoirs, orbitals=2))(spins).energy is None


# --- no energy, and refusals ------------------------------------------------------------------------------------------


def test_driven_electrons_have_forces_without_an_energy(make, rng):
    lattice = square(5, 3, periodic=(False, True))
    solver = make(*electrodes(lattice, voltage=1.5, kT=0.1, bath=0.05))
    model = Holstein(lattice)
    exact = ExactForceField(model, solver)
    field = torch.randn(2, 15, 1, generator=rng, dtype=torch.float64)
    force, energy = exact(field)
    density = solver.steady_state(model.matrix(field)).density
    torch.testing.assert_close(model.density(exact.electrons(field).force), density, atol=make.to(1e-12), rtol=0)
    assert energy is None and force.shape == field.shape
    torch.testing.assert_close(exact(field[1]).force, force[1], atol=make.to(1e-12), rtol=0)
    assert exact(field[:0]).energy is None
    answer = solver.solve(model.matrix(field), torch.arange(15), torch.arange(15))
    assert (answer.mu, answer.free_energy, answer.grand_potential, answer.potential) == (None,) * 4


def test_a_solver_describes_itself_and_stays_where_it_is(make, rng):
    _, reservoirs = bar(rng)
    solver = make(*reservoirs)
    again = type(solver).from_config(solver.config())
    assert repr(again) == repr(solver) and again.config() == solver.config()
    with pytest.raises(ValueError, match="one lattice"):
        solver.on(square(6, 3))


def test_sites_beyond_the_matrix_and_forgotten_orbitals_are_refused(make):
    with pytest.raises(ValueError, match="do not fit a matrix of 4 orbitals"):
        make(Reservoir([4], 1.0, 0.0, 0.1)).solve(hopping(4), torch.arange(4), torch.arange(4))
    with pytest.raises(ValueError, match=r"8 orbitals on 4 sites.*orbitals="):
        ExactForceField(SDModel(chain(4)), make(Reservoir([0], 1.0, 0.0, 0.1)))


def test_nan_is_refused(make):
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        make(Reservoir([0], 1.0, 0.0, 0.1)).solve(torch.full((1, 1), math.nan).double(), *everywhere(1))
