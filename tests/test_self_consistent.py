"""Hubbard repulsion in mean field: closed forms, exact diagonalisation as a bound, and what forces must obey."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from contracts.solver_contract import everywhere, hermitian
from nearsight.dynamics import Langevin, simulate
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, Peierls, SDModel
from nearsight.lattices import chain, square, triangular
from nearsight.solvers import (
    NEGF,
    Chebyshev,
    Dense,
    Poles,
    Pulse,
    RecursiveNEGF,
    Reservoir,
    SelfConsistent,
    Solver,
    electrodes,
    random_vectors,
)
from nearsight.solvers.mean_field._anderson import Anderson

ensemble = pytest.mark.parametrize("fixed", [{"filling": 0.4}, {"mu": 1.7}], ids=["fixed number", "fixed mu"])
DIAGONAL = torch.arange(1)


def hubbard(lattice):
    """Hopping alone, counted for both spins."""
    return Holstein(lattice, g=0.0, spins=2).matrix(torch.zeros(lattice.n_sites, 1))


def potential(solver, h):
    """Of both spins."""
    return float(solver.solve(h, DIAGONAL, DIAGONAL, degeneracy=2).potential)


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("U", "kT"), [(4.0, 0.1), (2.0, 0.05), (8.0, 0.5), (3.0, 1e-3)])
@pytest.mark.parametrize("fixed", ["mu", "filling"])
def test_the_antiferromagnet_obeys_the_gap_equation(U, kT, fixed):
    """1/U = (1/N) Σ_k tanh(E_k/2kT)/2E_k with E_k² = ε_k² + Δ² and Δ = Um/2, on the same 6 × 6 lattice."""
    k = 2 * np.pi * np.arange(6) / 6
    eps = -2 * (np.cos(k)[:, None] + np.cos(k)).ravel()

    def gap(delta: float) -> float:
        E = np.sqrt(eps**2 + delta**2)
        return np.mean(np.tanh(E / (2 * kT)) / (2 * E)) - 1 / U

    delta = brentq(gap, 1e-9, U, xtol=1e-14)
    solver = SelfConsistent(Dense(kT=kT, **{fixed: U / 2 if fixed == "mu" else 0.5}), U=U, tol=1e-12)
    lattice = square(6)
    found = solver.mean_field(hubbard(lattice))
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1))
    m = sign * found.moment[:, 2]
    torch.testing.assert_close(m.abs(), torch.full((36,), 2 * delta / U, dtype=torch.float64), atol=1e-11, rtol=0)
    assert float(m.min() * m.max()) > 0 and float(found.moment[:, :2].abs().max()) == 0
    torch.testing.assert_close(found.density, torch.ones(36).double(), atol=1e-11, rtol=0)
    E = np.sqrt(eps**2 + delta**2)
    # Both spins have levels ±E for each pair k, k + π: Σ_k over the whole zone counts every pair twice.
    omega = -kT * np.sum(np.logaddexp(0, E / kT) + np.logaddexp(0, -E / kT)) - U * 36 / 4 + 36 * delta**2 / U
    answer = solver.solve(hubbard(lattice), DIAGONAL, DIAGONAL, degeneracy=2)
    assert float(answer.free_energy - U / 2 * answer.number) == pytest.approx(omega, abs=1e-9)


@pytest.mark.parametrize(("U", "kT", "moment"), [(2.0, 0.3, True), (2.0, 0.6, False), (5.0, 0.01, True)])
def test_a_single_site_has_a_moment_below_a_quarter_of_U(U, kT, moment):
    """At half filling m = tanh(Um/4kT), with a solution other than zero below kT = U/4."""
    matrix = torch.zeros(1, 1, dtype=torch.float64)
    solver = SelfConsistent(Dense(mu=U / 2, kT=kT), U=U)
    m = float(solver.mean_field(matrix).moment[0, 2])
    exact = brentq(lambda x: x - math.tanh(U * x / (4 * kT)), 1e-3, 1.0) if moment else 0.0
    assert m == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("mu", "number", "energy"), [(-0.1, 0, 0.0), (1.0, 1, 0.3), (3.5, 2, 0.3 * 2 + 2.4)])
def test_at_zero_temperature_a_single_site_has_whole_electrons(mu, number, energy):
    """ε = 0.3, U = 2.4: empty below ε, one electron without interaction up to ε + U, then two."""
    matrix = torch.full((1, 1), 0.3, dtype=torch.float64)
    answer = SelfConsistent(Dense(mu=mu, kT=0.0), U=2.4).solve(matrix, DIAGONAL, DIAGONAL, degeneracy=2)
    assert float(answer.number) == number and float(answer.energy) == pytest.approx(energy, abs=1e-14)
    assert float(answer.grand_potential) == pytest.approx(energy - mu * number, abs=1e-14)


def test_attraction_orders_charges_as_repulsion_orders_moments():
    """The particle-hole transformation of one spin on a bipartite lattice turns U into -U and m into n - 1."""
    h = hubbard(square(4))
    repulsive = SelfConsistent(Dense(mu=1.5, kT=0.1), U=3.0).mean_field(h)
    attractive = SelfConsistent(Dense(mu=-1.5, kT=0.1), U=-3.0).mean_field(h)
    assert float(repulsive.moment[0, 2]) > 0.5
    torch.testing.assert_close(attractive.density - 1, repulsive.moment[:, 2], atol=1e-9, rtol=0)
    assert float(attractive.moment.abs().max()) < 1e-9


@pytest.mark.parametrize("kT", [0.0, 0.2])
def test_one_level_between_two_leads_is_anderson_s(kT):
    """n_σ = Σ_leads ½ [½ - arctan((ε + U n_-σ - μ)/Γ)/π] (P. W. Anderson, Phys. Rev. 124, 41 (1961)), driven."""
    eps, U, gamma, mus = -1.2, 3.0, 0.15, (0.4, -0.1)
    leads = [Reservoir([0], gamma / 2, mu, kT) for mu in mus]
    solver = SelfConsistent(NEGF(*leads), U=U, starts=("uniform",), tol=1e-12)
    h = torch.full((1, 1), eps, dtype=torch.float64)
    found = solver.mean_field(h)
    n, m = float(found.density[0]), float(found.moment[0, 2])
    assert abs(m) > 0.5
    up, down = (n + m) / 2, (n - m) / 2
    for own, other in ((up, down), (down, up)):
        level = eps + U * other
        if kT:
            e, step = np.linspace(-400, 400, 4_000_001, retstep=True)
            f = sum(0.5 / (1 + np.exp(np.clip((e - mu) / kT, -700, 700))) for mu in mus)
            filled = float(np.sum(f * gamma / ((e - level) ** 2 + gamma**2)) * step / math.pi)
            assert own == pytest.approx(filled, abs=2e-4)  # tails beyond 400
        else:
            filled = sum(0.5 * (0.5 - math.atan((level - mu) / gamma) / math.pi) for mu in mus)
            assert own == pytest.approx(filled, abs=1e-11)
    answer = solver.solve(h, DIAGONAL, DIAGONAL, degeneracy=2)
    assert answer.potential is None and not solver.has_potential
    currents = solver.solver.steady_state(found.matrix).currents  # of spin up and down
    assert currents.shape == (2, 2) and float(currents.sum(-1).abs().max()) < 1e-12 < float(currents.abs().min())


# --- exact electrons --------------------------------------------------------------------------------------------------


def exact_levels(h: np.ndarray, U: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies and numbers of all 16 states of two sites, from annihilators as 16 × 16 matrices (Jordan, Wigner)."""
    z, a = np.diag([1.0, -1.0]), np.array([[0.0, 1.0], [0.0, 0.0]])
    c = []
    for k in range(4):  # up on 0 and 1, then down
        op = np.eye(1)
        for j in range(4):
            op = np.kron(op, z if j < k else a if j == k else np.eye(2))
        c.append(op)
    n = [x.T @ x for x in c]
    H = sum(h[i, j] * (c[i].T @ c[j] + c[2 + i].T @ c[2 + j]) for i, j in product(range(2), repeat=2))
    H = H + U * (n[0] @ n[2] + n[1] @ n[3])
    number = sum(n)
    energy, state = np.linalg.eigh(H + 1e-3 * math.pi * number)  # a field that tells numbers apart
    count = np.round(np.einsum("is,ij,js->s", state, number, state))
    return energy - 1e-3 * math.pi * count, count


@pytest.mark.parametrize("U", [-3.0, 0.5, 4.0, 12.0])
@pytest.mark.parametrize("kT", [0.05, 0.5, 2.0])
def test_the_potential_of_two_sites_is_never_below_the_exact_one(U, kT, rng):
    """Gibbs and Bogoliubov; at U = ½ and high temperature close to it, so that the bound is no empty one."""
    for _ in range(5):
        h = hermitian(2, rng, dtype=torch.float64)
        energy, count = exact_levels(h.numpy(), U)
        mu = float(torch.randn((), generator=rng)) + U / 2

        def exact_omega(mu: float, energy=energy, count=count) -> float:
            x = -(energy - mu * count) / kT
            return float(-kT * np.logaddexp.reduce(x))

        omega = potential(SelfConsistent(Dense(mu=mu, kT=kT), U=U), h)
        assert omega >= exact_omega(mu) - 1e-12
        if U == 0.5 and kT == 2.0:
            assert omega - exact_omega(mu) < 0.02
        # F at a mean number, exactly the largest Ω + μN.
        free = float(
            SelfConsistent(Dense(filling=0.3, kT=kT), U=U).solve(h, DIAGONAL, DIAGONAL, degeneracy=2).potential
        )
        assert free >= max(exact_omega(x) + 1.2 * x for x in np.linspace(-8, 8 + U, 400)) - 1e-12


# --- thermodynamics ---------------------------------------------------------------------------------------------------


@ensemble
@pytest.mark.parametrize("make", [Dense, Poles, Chebyshev], ids=["dense", "poles", "chebyshev"])
def test_weak_repulsion_is_none(make, fixed, rng):
    """At U = 10⁻¹² the mean field is solved as for any U, and the answer is that without."""
    h = hermitian(6, rng, 2)
    solver = make(kT=0.3, **fixed)
    plain = solver.solve(h, *everywhere(6), degeneracy=2)
    answer = SelfConsistent(solver, U=1e-12, starts=("bare",)).solve(h, *everywhere(6), degeneracy=2)
    tolerance = 1e-10 if make is Dense else 1e-4
    for name in ("rho", "number", "energy", "free_energy", "grand_potential", "potential", "mu"):
        torch.testing.assert_close(getattr(answer, name), getattr(plain, name), atol=tolerance, rtol=0)


@ensemble
@pytest.mark.parametrize("noncollinear", [False, True], ids=["collinear", "noncollinear"])
def test_the_density_matrix_is_the_gradient_of_the_potential(fixed, noncollinear, rng):
    """δ(potential) = Σ_ab ρ_ba δh_ab, though the mean field and μ move with h."""
    h, way = hermitian(6, rng), hermitian(6, rng)
    solver = SelfConsistent(Dense(kT=0.3, **fixed), U=2.0, noncollinear=noncollinear, tol=1e-12, starts=("bare",))
    copies = 1 if noncollinear else 2
    answer = solver.solve(h, *everywhere(6), degeneracy=copies)
    rho, step = answer.rho.reshape(6, 6), 1e-3
    moved = [solver.solve(h + k * step * way, DIAGONAL, DIAGONAL, degeneracy=copies).potential for k in (-2, -1, 1, 2)]
    slope = float(moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
    assert copies * float(torch.trace(rho @ way).real) == pytest.approx(slope, abs=1e-9)
    torch.testing.assert_close(rho, rho.mH, atol=1e-10, rtol=0)
    assert copies * float(torch.trace(rho).real) == pytest.approx(float(answer.number), abs=1e-10)
    assert float(answer.free_energy) == pytest.approx(float(answer.grand_potential + answer.mu * answer.number))
    assert float(answer.energy - answer.free_energy) >= 0  # kT times the entropy
    expected = answer.free_energy if "filling" in fixed else answer.grand_potential
    assert torch.equal(answer.potential, expected)


def test_the_slope_of_the_potential_in_U_is_the_number_of_pairs():
    """∂Ω/∂U = Σ ⟨n↑⟩⟨n↓⟩ at fixed μ: the double counting is right, and everything stationary."""
    h = hubbard(square(4)) + torch.diag(torch.linspace(-1, 1, 16, dtype=torch.float64))
    up, down = (potential(SelfConsistent(Dense(mu=1.0, kT=0.1), U=U, tol=1e-12), h) for U in (3.001, 2.999))
    found = SelfConsistent(Dense(mu=1.0, kT=0.1), U=3.0, tol=1e-12).mean_field(h)
    pairs = float((found.density**2 - found.moment[:, 2] ** 2).sum() / 4)
    assert (up - down) / 2e-3 == pytest.approx(pairs, abs=1e-6)


@ensemble
@pytest.mark.parametrize("make_model", [Holstein, partial(Peierls, t2=0.0)], ids=["holstein", "peierls"])
def test_the_stated_error_is_no_less_than_the_true_one(fixed, make_model, rng):
    model = make_model(square(4), spins=2)
    field = 0.5 * torch.randn(5, 16, model.components, generator=rng, dtype=torch.float64)
    h, where = model.matrix(field), everywhere(16)
    best = SelfConsistent(Dense(kT=0.1, **fixed), U=3.0, starts=("staggered",), tol=1e-13).solve(
        h, *where, degeneracy=2
    )
    for tol in (1e-6, 1e-8):
        rough = SelfConsistent(Dense(kT=0.1, **fixed), U=3.0, starts=("staggered",), tol=tol)
        answer = rough.solve(h, *where, degeneracy=2)
        true = (answer.rho - best.rho).abs().amax(-1)
        assert bool((true <= answer.error).all()) and bool((answer.error <= 4 * tol).all())
        # The potential errs by the square.
        assert float((answer.potential - best.potential).abs().max()) < 200 * tol**2 + 1e-11


@pytest.mark.parametrize("make", [Poles, Chebyshev], ids=["poles", "chebyshev"])
@ensemble
def test_any_solver_serves(make, fixed, rng):
    model = Holstein(square(4), spins=2)
    field = 0.5 * torch.randn(2, 16, 1, generator=rng, dtype=torch.float64)
    exact, other = (
        ExactForceField(model, SelfConsistent(solver(kT=0.3, **fixed), U=3.0, starts=("staggered",), tol=1e-7))(field)
        for solver in (Dense, make)
    )
    torch.testing.assert_close(other.force, exact.force, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.energy, exact.energy, atol=1e-3, rtol=0)


def test_of_several_solutions_the_lowest_is_kept_for_every_matrix(rng):
    model = Holstein(square(4), spins=2)
    h = model.matrix(torch.randn(6, 16, 1, generator=rng, dtype=torch.float64))
    kept = SelfConsistent(Dense(kT=0.05, filling=0.4), U=6.0).solve(h, DIAGONAL, DIAGONAL, degeneracy=2)
    each = [
        SelfConsistent(Dense(kT=0.05, filling=0.4), U=6.0, starts=(s,)).solve(h, DIAGONAL, DIAGONAL, degeneracy=2)
        for s in ("staggered", "uniform", "bare")
    ]
    potentials = torch.stack([x.potential for x in each])
    torch.testing.assert_close(kept.potential, potentials.amin(0), atol=1e-12, rtol=0)
    assert bool((potentials[2] - kept.potential > 1e-3).any())  # moments pay


def test_minima_are_found_from_starts_beyond_them():
    """A moment of 0.5 to begin with, of 0.1 in the end: a root-finder would jump to the saddle without moment."""
    kT = brentq(lambda kT: 0.1 - math.tanh(2.0 * 0.1 / (4 * kT)), 0.3, 0.6)
    found = SelfConsistent(Dense(mu=1.0, kT=kT), U=2.0, starts=("uniform",)).mean_field(torch.zeros(1, 1).double())
    assert float(found.moment[0, 2]) == pytest.approx(0.1, abs=1e-8)


def test_a_quadratic_problem_takes_as_many_steps_as_it_has_directions(rng):
    """Anderson's mixing without damping is GMRES: five unknowns need six residuals."""
    a = hermitian(5, rng, dtype=torch.float64)
    a = a @ a + torch.eye(5)
    b = torch.randn(5, generator=rng, dtype=torch.float64)
    mixing, x = Anderson(1, 0.1, 0, b), torch.zeros(1, 5).double()
    for _ in range(7):
        r = 0.1 * (b - x @ a)
        x, _ = mixing.step(x, r, None)
    torch.testing.assert_close(x[0], torch.linalg.solve(a, b), atol=1e-9, rtol=1e-9)


# --- directions -------------------------------------------------------------------------------------------------------


@ensemble
def test_moments_along_one_axis_are_those_without_directions(fixed):
    model = SDModel(square(4), J=0.0)
    bare = model.matrix(torch.ones(16, 3) / math.sqrt(3))
    free = SelfConsistent(Dense(kT=0.1, **fixed), U=4.0, noncollinear=True).solve(bare, DIAGONAL, DIAGONAL)
    axis = SelfConsistent(Dense(kT=0.1, **fixed), U=4.0).solve(hubbard(square(4)), DIAGONAL, DIAGONAL, degeneracy=2)
    assert float(free.potential) == pytest.approx(float(axis.potential), abs=1e-9)


def test_the_triangle_orders_at_120_degrees():
    """Half-filled triangular lattice at large U: three sublattices, lower than any collinear order."""
    lattice = triangular(3)
    h = SDModel(lattice, J=0.0).matrix(torch.ones(9, 3) / math.sqrt(3))
    options = {"U": 10.0, "starts": ("scattered",)}
    found = SelfConsistent(Dense(kT=0.05, filling=0.5), noncollinear=True, **options).mean_field(h)
    m = found.moment / found.moment.norm(dim=-1, keepdim=True)
    angles = torch.stack([(m[torch.from_numpy(lattice.bonds(1).i)] * m[torch.from_numpy(lattice.bonds(1).j)]).sum(-1)])
    torch.testing.assert_close(angles, torch.full_like(angles, -0.5), atol=1e-6, rtol=0)
    turned = SelfConsistent(Dense(kT=0.05, filling=0.5), noncollinear=True, **options).solve(h, DIAGONAL, DIAGONAL)
    flat = SelfConsistent(Dense(kT=0.05, filling=0.5), **options)
    flat = SelfConsistent(Dense(kT=0.05, filling=0.5), **options).solve(
        hubbard(lattice), DIAGONAL, DIAGONAL, degeneracy=2
    )
    assert float(turned.potential) < float(flat.potential) - 0.1


def test_electrons_follow_the_rotation_of_all_classical_spins(rng):
    """U enhances the field on the moments, which turns with them."""
    model = SDModel(square(3), J=1.0)
    spins = model.normalised(torch.randn(9, 3, generator=rng, dtype=torch.float64))
    exact = ExactForceField(model, SelfConsistent(Dense(kT=0.2, mu=1.0), U=2.0, noncollinear=True, starts=("bare",)))
    plain = ExactForceField(model, Dense(kT=0.2, mu=0.0))
    force, energy = exact(spins)
    R = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))[0]
    R = R * torch.linalg.det(R)
    turned = exact(spins @ R.T)
    torch.testing.assert_close(turned.force, force @ R.T, atol=1e-9, rtol=0)
    assert float(turned.energy) == pytest.approx(float(energy), abs=1e-9)
    assert float(force.norm()) > 1.1 * float(plain(spins).force.norm())


# --- between reservoirs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [NEGF, RecursiveNEGF])
def test_in_equilibrium_the_force_between_reservoirs_is_a_gradient(make, rng):
    model = Holstein(square(4, 2, periodic=(False, True)), spins=2)
    solver = make(*(Reservoir([k], 0.4 + 0.1 * k, 1.0, 0.2) for k in range(8)))
    exact = ExactForceField(model, SelfConsistent(solver, U=2.0, tol=1e-11, starts=("staggered",)))
    field = 0.5 * torch.randn(8, 1, generator=rng, dtype=torch.float64)
    way, step = torch.randn(8, 1, generator=rng, dtype=torch.float64), 1e-3
    energies = [float(exact(field + k * step * way).energy) for k in (-2, -1, 1, 2)]
    slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
    assert -float((exact(field).force * way).sum()) == pytest.approx(slope, abs=1e-6)


def test_both_solvers_drive_the_same_mean_field(rng):
    lattice = square(5, 2, periodic=(False, True))
    leads = electrodes(lattice, voltage=1.5, kT=0.1, bath=0.05, mu=1.0)
    model = Holstein(lattice, spins=2)
    field = 0.5 * torch.randn(2, 10, 1, generator=rng, dtype=torch.float64)
    forces = []
    for solver in (NEGF(*leads), RecursiveNEGF(*leads, tol=1e-9)):
        driven = ExactForceField(model, SelfConsistent(solver, U=2.0, starts=("staggered",), tol=1e-8))
        assert driven(field).energy is None
        forces.append(driven(field).force)
    torch.testing.assert_close(*forces, atol=1e-6, rtol=0)
    free = ExactForceField(model, NEGF(*leads))(field).force
    assert float((forces[0] - free).abs().max()) > 0.1


def test_it_follows_a_voltage_in_time():
    lead = Reservoir([0], 0.3, Pulse(1.0, start=1.0, stop=2.0), 0.1)
    solver = SelfConsistent(NEGF(lead, Reservoir([1], 0.3, 0.0, 0.1)), U=2.0, starts=("uniform",))
    h = torch.tensor([[-1.0, -0.5], [-0.5, -1.0]], dtype=torch.float64)
    assert solver.driven and not solver.has_potential
    before, during = (solver.at_time(time).mean_field(h).density for time in (0.0, 1.5))
    constant = SelfConsistent(NEGF(lead.replaced(mu=1.0), Reservoir([1], 0.3, 0.0, 0.1)), U=2.0, starts=("uniform",))
    assert torch.equal(during, constant.mean_field(h).density) and float((during - before).abs().max()) > 0.1


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_has_the_bits_of_one_that_did_not_stop(tmp_path):
    """The answer depends on the matrix alone, not on what was solved before."""
    exact = ExactForceField(Holstein(square(4), spins=2), SelfConsistent(Dense(filling=0.5, kT=0.1), U=3.0))
    scheme = Langevin(dt=0.05, kT=0.05, damping=0.2)
    field = 0.1 * torch.randn(16, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(name: str, steps: int):
        rng = torch.Generator().manual_seed(2)
        return simulate(exact, scheme, field, steps=steps, record=None, rng=rng, path=tmp_path / name, resume=True)

    whole = run("whole", 4)
    run("cut", 2)
    assert torch.equal(run("cut", 4).final.field, whole.final.field)


def test_a_batch_equals_a_loop_and_an_empty_one_is_empty(rng):
    model = Holstein(square(4), spins=2)
    field = torch.randn(2, 2, 16, 1, generator=rng, dtype=torch.float64)
    exact = ExactForceField(model, SelfConsistent(Dense(kT=0.1, mu=1.5), U=3.0, tol=1e-12))
    force, energy = exact(field)
    for i, j in product(range(2), repeat=2):
        torch.testing.assert_close(exact(field[i, j]).force, force[i, j], atol=1e-9, rtol=0)
        torch.testing.assert_close(exact(field[i, j]).energy, energy[i, j], atol=1e-11, rtol=0)
    empty = exact.solver.solve(model.matrix(field[:0]), model.rows, model.columns, degeneracy=2)
    assert empty.rho.shape == (0, 2, 16) and empty.potential.shape == (0, 2)


@pytest.mark.parametrize(
    "solver",
    [
        SelfConsistent(Dense(mu=1.0, kT=0.1), U=2.0),
        SelfConsistent(NEGF(Reservoir([0], 0.1, 0.0, 0.1)), U=-1.5, starts=("uniform",), tol=1e-6),
        SelfConsistent(Poles(filling=0.5, kT=0.1), U=2.0, noncollinear=True, mixing=0.3, steps=50),
    ],
    ids=["dense", "negf", "poles"],
)
def test_it_describes_itself(solver):
    again = Solver.from_config(solver.config())
    assert type(again) is SelfConsistent and repr(again) == repr(solver) and again.config() == solver.config()
    assert again.sparse == solver.solver.sparse and again.has_potential


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_does_not_converge_is_refused():
    metal = hubbard(square(4))  # levels at the Fermi energy, half filled, without temperature
    with pytest.raises(ArithmeticError, match=r"1 of 1 mean fields did not converge: after 3 steps.*kT > 0"):
        SelfConsistent(Dense(mu=2.0, kT=0.1), U=4.0, steps=3).mean_field(metal)


def test_a_start_that_does_not_converge_is_refused_only_where_it_is_lower():
    h = hubbard(square(4))
    low = SelfConsistent(Dense(mu=2.0, kT=0.1), U=4.0, starts=("staggered", "bare"), steps=8)
    with pytest.raises(ArithmeticError, match="from 'staggered'"):
        low.mean_field(h)  # the antiferromagnet is lower long before it has converged
    hot = SelfConsistent(Dense(mu=1.0, kT=2.0), U=2.0, starts=("bare", "staggered"), steps=8)
    assert int(hot.mean_field(h).start) == 0  # moments only decay


def test_spins_that_are_not_there_are_refused():
    h = hubbard(chain(4))
    with pytest.raises(ValueError, match="spins=2 in the model"):
        SelfConsistent(Dense(mu=1.0, kT=0.1), U=2.0).solve(h, DIAGONAL, DIAGONAL)
    with pytest.raises(ValueError, match="noncollinear=False"):
        SelfConsistent(Dense(mu=1.0, kT=0.1), U=2.0, noncollinear=True).solve(h, DIAGONAL, DIAGONAL, degeneracy=2)
    with pytest.raises(ValueError, match="3 orbitals are no pairs"):
        SelfConsistent(Dense(mu=1.0, kT=0.1), U=2.0, noncollinear=True).solve(h[:3, :3], DIAGONAL, DIAGONAL)


def test_a_lattice_without_two_sublattices_has_nothing_staggered():
    with pytest.raises(ValueError, match=r"rings of odd length.*'scattered'"):
        SelfConsistent(Dense(mu=1.0, kT=0.1), U=2.0).mean_field(hubbard(triangular(3)))


def test_chance_and_choice_without_a_potential_are_refused():
    noisy = Chebyshev(mu=0.0, kT=0.1, moments=64, probes=random_vectors(4), rng=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="answers differently every time"):
        SelfConsistent(noisy, U=1.0)
    driven = NEGF(Reservoir([0], 0.1, 0.0, 0.1), Reservoir([1], 0.1, 1.0, 0.1))
    with pytest.raises(ValueError, match=r"follow one, starts=\('staggered',\)"):
        SelfConsistent(driven, U=1.0)
    with pytest.raises(TypeError, match="One mean field is enough"):
        SelfConsistent(SelfConsistent(Dense(mu=0.0, kT=0.1), U=1.0), U=1.0)
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        SelfConsistent(Dense(mu=0.0, kT=0.1), U=1.0).mean_field(torch.full((1, 1), math.nan).double())
