"""Electrons between reservoirs beyond what both solvers promise (see contracts/negf_contract.py)."""

import math

import numpy as np
import pytest
import torch

import nearsight.solvers.negf._choice as choice_of_solver
import nearsight.solvers.negf.closed_form as closed_form
from contracts.negf_contract import by_quadrature, everywhere, hopping
from nearsight.dynamics import Brownian, simulate
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import chain, square
from nearsight.solvers import NEGF, Pattern, RecursiveNEGF, Reservoir, SparseMatrix, choose, electrodes
from nearsight.solvers.negf._chain import BlockChain
from nearsight.solvers.negf._fermi_integrals import fermi, theta, theta_integral
from nearsight.solvers.negf._quadrature import Integrand, integrate
from nearsight.solvers.negf._theta_poles import Region, theta_poles

# --- exceptional points -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [0.0, 1e-14, 1e-9, 1e-5, 1e-2])
def test_at_and_near_an_exceptional_point_no_digit_is_lost(distance):
    """Two sites, one in contact: both eigenvectors are one at Γ = 2t, λ = -iΓ/2 ± √(t² - Γ²/4)."""
    h = torch.tensor([[0.3, -1.0], [-1.0, 0.3]], dtype=torch.float64)
    reservoirs = (Reservoir([0], 1.9 + distance, -0.5, 0.1), Reservoir([0], 0.1, 0.8, 0.2))
    answer = NEGF(*reservoirs).solve(h, *everywhere(2))
    true = np.abs(answer.rho.reshape(2, 2).numpy() - by_quadrature(h, reservoirs)).max()
    assert true <= 1e-12 + min(float(answer.error), 1e-9)


def test_of_a_batch_only_matrices_at_an_exceptional_point_take_their_schur_form():
    h = torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64)
    both = torch.stack([h, 1.5 * h])
    solver = NEGF(Reservoir([0], 1.5, -0.5, 0.1), Reservoir([0], 0.5, 0.8, 0.2))
    contacts = solver._contacts(SparseMatrix.of(h))
    kinds = [type(solver._form(m, contacts)).__name__ for m in both]
    assert kinds == ["SchurForm", "Eigenvectors"]
    answer = solver.solve(both, *everywhere(2))
    for k in range(2):
        true = np.abs(answer.rho[k].reshape(2, 2).numpy() - by_quadrature(both[k], solver.reservoirs)).max()
        assert true <= 2e-12


def test_equal_levels_need_no_schur_form():
    # On a torus across the bar the levels ±k coincide, and eigenvectors of transposes are no inverse.
    lattice = square(4, 4, periodic=(False, True))
    h = Holstein(lattice).matrix(torch.zeros(16, 1))
    solver = NEGF(*electrodes(lattice, voltage=1.0, kT=0.1, bath=0.05))
    form = solver._form(h, solver._contacts(SparseMatrix.of(h)))
    assert isinstance(form, closed_form.Eigenvectors)
    true = np.abs(solver.solve(h, *everywhere(16)).rho.reshape(16, 16).numpy() - by_quadrature(h, solver.reservoirs))
    assert true.max() <= 2e-12


def test_levels_that_feel_no_reservoir_have_no_filling():
    h = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    driven = NEGF(Reservoir([0], 0.1, 0.5, 0.1), Reservoir([0], 0.1, -0.5, 0.1))
    with pytest.raises(ValueError, match="Attach a bath"):
        driven.solve(h, *everywhere(2))


# --- integrals --------------------------------------------------------------------------------------------------------


def test_filling_functions_are_digammas():
    mpmath = pytest.importorskip("mpmath")
    levels = [complex(3 * math.cos(5 * k), -(10.0 ** (k % 7 - 5))) for k in range(40)]
    for kT in (1e-6, 1e-3, 0.1, 30.0):
        x = [1j * (mpmath.mpc(z) - 0.3) for z in levels]
        w = [v / (2 * mpmath.pi * kT) for v in x]
        exact = [0.25 + 0.5j / mpmath.pi * (mpmath.digamma(0.5 + v) + mpmath.log(2 * mpmath.pi * kT)) for v in w]
        found = theta(torch.tensor(levels, dtype=torch.complex128), 0.3, kT)
        np.testing.assert_allclose(found.numpy(), np.array(exact, dtype=complex), atol=2e-15)


def test_twice_the_real_part_on_the_axis_is_the_fermi_function():
    eps = torch.linspace(-5, 5, 41, dtype=torch.float64)
    for kT in (0.05, 1.0, 20.0):
        on_axis = eps.to(torch.complex128)
        torch.testing.assert_close(2 * theta(on_axis, 0.3, kT).real, fermi(eps, 0.3, kT), atol=1e-14, rtol=0)
        omega = -kT * torch.log1p(torch.exp((0.3 - eps) / kT))
        torch.testing.assert_close(2 * theta_integral(on_axis, 0.3, kT).real, omega, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kT", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("tol", [1e-6, 1e-11])
def test_poles_err_by_what_they_say_inside_of_their_region(kT, tol, rng):
    region = Region(-8.0, 5.0, 1e-3, 1.0)
    fit = theta_poles(region, kT, tol=tol)
    inside = torch.complex(-8 + 13 * torch.rand(500, generator=rng, dtype=torch.float64),
                           -(10 ** (-3 * torch.rand(500, generator=rng, dtype=torch.float64))))  # fmt: skip
    inside = torch.cat(
        [inside, torch.complex(torch.linspace(-0.01, 0.01, 99).double(), torch.full((99,), -1e-3).double())]
    )
    found = fit.c0 + (fit.w / (fit.z - inside.numpy()[:, None])).sum(-1)
    true = np.abs(found - theta(inside, 0.0, kT).numpy()).max()
    assert true <= 1.1 * fit.error + 1e-14 and fit.error <= tol
    assert fit.z.imag.min() > 0 and len(fit.z) <= 40


def test_adaptive_quadrature_finds_lorentzians_and_states_their_error():
    widths = torch.logspace(-6, 0, 7, dtype=torch.float64)
    centres = torch.linspace(-0.7, 0.8, 7, dtype=torch.float64)

    def lorentzians(eps, replica):
        x = eps[:, None] - centres - 0.1 * replica[:, None]
        return widths / (x * x + widths * widths) / math.pi

    whole = Integrand(lorentzians, (7,), (1e-9,), (0.0,), 600)
    found = integrate(whole, torch.linspace(-2, 2, 9, dtype=torch.float64), 2)
    for replica in range(2):
        c = centres + 0.1 * replica
        exact = (torch.atan((2 - c) / widths) + torch.atan((2 + c) / widths)) / math.pi
        true = float((found.values[replica] - exact).abs().max())
        assert true <= float(found.errors[replica, 0]) + 1e-14 <= 2e-9


# --- long bars --------------------------------------------------------------------------------------------------------


def test_a_bar_is_a_chain_of_its_columns():
    lattice = square(12, 4, periodic=(False, True))
    model = Holstein(lattice)
    blocks = BlockChain.of(Pattern(*model.positions, 48), torch.arange(4)).blocks
    assert [b.tolist() for b in blocks] == [list(range(4 * x, 4 * x + 4)) for x in range(12)]


def test_parts_without_connection_hang_on_the_chain_one_after_the_other():
    h = torch.block_diag(hopping(3), hopping(2))
    reservoirs = (Reservoir([0], 0.5, -0.5, 0.1), Reservoir(range(5), 0.1, 0.5, 0.1))
    answer = RecursiveNEGF(*reservoirs, tol=1e-10).solve(h, *everywhere(5))
    assert np.abs(answer.rho.reshape(5, 5).numpy() - by_quadrature(h, reservoirs)).max() <= 1e-9


@pytest.mark.parametrize("tol", [1e-4, 1e-7, 1e-10])
def test_the_error_of_a_bar_with_narrow_levels_is_stated(tol, rng):
    lattice = square(10, 3, periodic=(False, True))
    h = Holstein(lattice).matrix(torch.randn(2, 30, 1, generator=rng, dtype=torch.float64))
    reservoirs = electrodes(lattice, voltage=2.0, kT=0.05, bath=1e-3)
    exact, answer = (s.steady_state(h) for s in (NEGF(*reservoirs), RecursiveNEGF(*reservoirs, tol=tol)))
    true = (answer.rho - exact.rho).abs().amax(-1)
    assert bool((true <= answer.error + exact.error).all()) and bool((answer.error <= 2 * tol).all())
    off = (answer.currents - exact.currents).abs().amax(-1)
    assert bool((off <= answer.current_error + exact.current_error).all())


def test_a_level_that_quadrature_cannot_see_shows_in_the_error(rng):
    # A site behind a wall of amplitude 1e-9 is filled by the leads all the same: its level is 1e-18 wide.
    h = torch.diag(torch.tensor([0.0, 0.123456, 0.0], dtype=torch.float64))
    h[0, 1] = h[1, 0] = 1e-9
    h[0, 2] = h[2, 0] = -1.0
    reservoirs = (Reservoir([0], 0.5, -1.0, 0.05), Reservoir([2], 0.5, 1.0, 0.05))
    state = RecursiveNEGF(*reservoirs, tol=1e-8).steady_state(h)
    assert float(state.density[1]) < 0.01 and float(state.error) > 0.9


def test_currents_far_below_the_rounding_of_densities_keep_their_digits():
    """Through a barrier of 12 sites, T ~ 1e-12: the recursion knows the current to its tol."""
    h = hopping(14) + 4.0 * torch.diag(torch.tensor([0.0, *[1.0] * 12, 0.0], dtype=torch.float64))
    reservoirs = (Reservoir([0], 0.7, -0.5, 0.02), Reservoir([13], 0.7, 0.5, 0.02))
    state = RecursiveNEGF(*reservoirs, tol=1e-6).steady_state(h)
    eps = torch.linspace(-1.5, 1.5, 6001, dtype=torch.float64)
    expected = float(torch.trapezoid(state.spectral_currents(eps)[:, 1], eps))
    assert 1e-16 < expected < 1e-11
    assert float(state.currents[1]) == pytest.approx(expected, rel=0.02)


# --- a bar ------------------------------------------------------------------------------------------------------------


def test_columns_under_the_leads_are_filled_as_the_option_says():
    lattice = square(6, 2, periodic=(False, True))
    make = {name: electrodes(lattice, voltage=2.5, kT=0.1, lead_columns=name) for name in ("lead", "sum", "both")}
    assert [len(r) for r in make.values()] == [3, 3, 3]
    assert [make[name][0].gamma for name in make] == [1.0, 1.001, 1.0]
    assert [len(make[name][2].sites) for name in make] == [8, 8, 12]
    assert len(electrodes(lattice, voltage=2.5, kT=0.1, bath=0.0)) == 2


def test_a_raised_gate_is_the_lowered_one_seen_by_holes(rng):
    """Particle-hole symmetry of the bipartite bar: Q → -Q and V → -V give n → 1 - n and opposite currents."""
    lattice = square(6, 4, periodic=(False, True))
    model, field = Holstein(lattice), torch.randn(24, 1, generator=rng, dtype=torch.float64)
    low, high = (NEGF(*electrodes(lattice, voltage=2.0, kT=0.1, gate=gate)) for gate in ("lowered", "raised"))
    a, b = low.steady_state(model.matrix(field)), high.steady_state(model.matrix(-field))
    torch.testing.assert_close(b.density, 1 - a.density, atol=1e-12, rtol=0)
    torch.testing.assert_close(b.currents, -a.currents, atol=1e-12, rtol=0)


def test_the_other_sign_of_the_coupling_is_the_other_sign_of_the_field(rng):
    """H = ... + gQn of some papers is Holstein(g=-g, symmetric=False)."""
    lattice = square(5, 2, periodic=(False, True))
    solver = NEGF(*electrodes(lattice, voltage=2.5, kT=0.1, gate="raised", lead_columns="sum"))
    field = torch.randn(10, 1, generator=rng, dtype=torch.float64)
    ours, theirs = (Holstein(lattice, g=g, symmetric=False) for g in (1.5, -1.5))
    a, b = ExactForceField(ours, solver)(field).force, ExactForceField(theirs, solver)(-field).force
    torch.testing.assert_close(b, -a, atol=1e-12, rtol=0)


def test_a_driven_force_is_no_gradient_and_an_equilibrium_one_is(rng):
    """Circulation around a plaquette of field space, ∂F_i/∂Q_j - ∂F_j/∂Q_i."""
    lattice = chain(6, periodic=False)
    field, step = torch.randn(6, 1, generator=rng, dtype=torch.float64), 1e-4

    def curl(voltage: float) -> float:
        solver = NEGF(*electrodes(lattice, voltage=voltage, kT=0.1, bath=0.01))
        exact = ExactForceField(Holstein(lattice), solver)
        shifts = torch.zeros(4, 6, 1, dtype=torch.float64)
        for k, (site, sign) in enumerate(((1, 1), (1, -1), (4, 1), (4, -1))):
            shifts[k, site] = sign * step
        f = exact(field + shifts).force
        return float((f[2] - f[3])[1, 0] - (f[0] - f[1])[4, 0]) / (2 * step)

    assert abs(curl(0.0)) <= 1e-9 and abs(curl(2.5)) >= 1e-3


def test_a_driven_bar_moves():
    lattice = square(8, 4, periodic=(False, True))
    exact = ExactForceField(Holstein(lattice, k=1.005), NEGF(*electrodes(lattice, voltage=3.0, kT=0.02)))
    start = torch.from_numpy(2.34 * (-1.0) ** lattice.cells.sum(1))[:, None]
    run = simulate(exact, Brownian(dt=0.1, kT=0.0, damping=0.3), start, steps=5, record=None, rng=None)
    assert run.final.forces.energy is None
    moved = (run.final.field - start).abs().reshape(8, 4).mean(1)
    assert float(moved[0]) > 3 * float(moved[4])  # it begins at the gate


@pytest.mark.parametrize(
    ("length", "pace", "kind"), [(6, (0.1, 0.003, 0.003), NEGF), (300, (0.1, 0.05, 0.05), RecursiveNEGF)]
)
def test_choose_takes_the_closed_form_for_short_bars_and_the_recursion_for_long_ones(monkeypatch, length, pace, kind):
    """By the pace of one core, whatever else the machine that runs the test has to do.

    Seconds of the eigenproblem of 256 orbitals, of the poles of one filling, and of 15 energies.
    """
    seconds = iter(pace)

    def known(call):
        call()
        return next(seconds)

    monkeypatch.setattr(choice_of_solver, "_seconds", known)
    lattice = square(length, 3, periodic=(False, True))
    field = torch.from_numpy(2.34 * (-1.0) ** lattice.cells.sum(1))[:, None]
    reservoirs = electrodes(lattice, voltage=1.0, kT=0.05)
    choice = choose(Holstein(lattice), field, reservoirs=reservoirs)
    assert isinstance(choice.solver, kind), choice
    assert set(choice.seconds) == {"NEGF", "RecursiveNEGF"} and choice.solver.reservoirs == reservoirs


def test_the_choice_between_reservoirs_is_timed():
    lattice = square(6, 3, periodic=(False, True))
    field = torch.zeros(18, 1, dtype=torch.float64)
    reservoirs = electrodes(lattice, voltage=1.0, kT=0.05)
    choice = choose(Holstein(lattice), field, reservoirs=reservoirs)
    assert all(value > 0 for value in choice.seconds.values()) and len(choice.seconds) == 2
    assert isinstance(choose(Holstein(lattice), field, reservoirs=reservoirs, accuracy=None).solver, NEGF)
    with pytest.raises(ValueError, match="leave kT="):
        choose(Holstein(lattice), field, reservoirs=reservoirs, kT=0.1)
