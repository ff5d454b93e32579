"""Exact free-energy changes, judged by diagonalisation (see contracts/move_energies_contract.py)."""

import itertools

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import chain, square, triangular
from nearsight.moves import DiagonalisingWalk, ExactMoves, ExactWalk, Hops
from nearsight.solvers import Dense, LowRankUpdates, two_site_updates

BOTH = pytest.mark.parametrize("ensemble", [{"filling": 0.55}, {"mu": 0.3}], ids=["fixed number", "fixed mu"])


def random_field(lattice, density, rng):
    sites = lattice.n_sites
    return (torch.rand(sites, 1, generator=rng).argsort(0) < round(density * sites)).double()


def metropolis(walk, kT, attempts, rng):
    particle = torch.randint(len(walk.positions), (attempts,), generator=rng).numpy()
    direction = torch.randint(walk.hops.directions, (attempts,), generator=rng).numpy()
    threshold = -kT * torch.rand(attempts, generator=rng, dtype=torch.float64).log().numpy()
    return walk.attempt(particle, direction, threshold)


def direct(energies, field):
    """The potential by diagonalisation, through another door than the code under test."""
    model = energies.model
    return energies.electrons.solve(
        model.matrix(field), model.rows, model.columns, degeneracy=model.degeneracy
    ).potential


# --- every state of twelve sites --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("lattice", "particles", "kT"), [(square(4, 3), 3, 0.05), (chain(12), 4, 0.3)], ids=["square", "chain"]
)
def test_every_move_of_every_state_of_twelve_sites_is_exact(lattice, particles, kT, ensemble):
    energies = ExactMoves(FalicovKimball(lattice), kT=kT, tolerance=1e-8, **ensemble)
    sites = list(itertools.combinations(range(12), particles))
    states = torch.zeros(len(sites), 12, 1, dtype=torch.float64)
    for state, where in zip(states, sites, strict=True):
        state[list(where)] = 1
    free = direct(energies, states)
    number = {tuple(where): k for k, where in enumerate(sites)}
    differences = energies.differences(states)
    state, move = torch.nonzero(torch.isfinite(differences), as_tuple=True)
    assert len(state) > 1000
    after = energies.hops.apply(states[state], move)
    reached = torch.tensor([number[tuple(torch.nonzero(f[:, 0])[:, 0].tolist())] for f in after])
    assert float((differences[state, move] - (free[reached] - free[state])).abs().max()) < 1e-8
    # What the differences are for: the weights of the ensemble, here along a path that visits every state.
    weight = torch.softmax(-free / kT, 0)
    ratio = weight[reached] / weight[state]
    torch.testing.assert_close(torch.exp(-differences[state, move] / kT), ratio, rtol=1e-6, atol=0)


# --- changes of any rank ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_any_local_change_of_the_levels_is_weighed_exactly(rank, ensemble, rng):
    model = FalicovKimball(square(8))
    field = random_field(model.lattice, 0.3, rng)
    electrons = Dense(kT=0.05, **ensemble)
    matrix = model.matrix(field)
    changes = LowRankUpdates(matrix.numpy(), electrons, bounds=(-10.0, 12.0), tolerance=1e-8)
    before = float(electrons.solve(matrix, model.rows, model.columns).potential)
    assert changes.potential == pytest.approx(before, abs=1e-11)
    for _ in range(6):
        sites = torch.randperm(64, generator=rng)[:rank].numpy()
        change = 2.0 * torch.randn(rank, generator=rng, dtype=torch.float64).numpy()
        cost = changes.difference(sites, change)
        matrix[sites, sites] += torch.from_numpy(change)
        after = float(electrons.solve(matrix, model.rows, model.columns).potential)
        assert cost == pytest.approx(after - before, abs=1e-8)
        assert changes.accept(sites, change) == pytest.approx(cost, abs=2e-8)
        before = after
    assert np.array_equal(changes.matrix, matrix.numpy())


@BOTH
@pytest.mark.parametrize("unit", [1.0, 100.0, 0.01])
def test_the_tolerance_is_an_energy_whatever_its_unit(unit, ensemble, rng):
    """The error of f counts once for every level between the ends of the band."""
    lattice, tolerance = square(8), 1e-6 * unit
    model = FalicovKimball(lattice, t=unit, U=2.0 * unit)
    ensemble = {name: x * (unit if name == "mu" else 1.0) for name, x in ensemble.items()}
    electrons = Dense(kT=0.1 * unit, **ensemble)
    matrix = model.matrix(random_field(lattice, 0.3, rng))
    bounds = (-4.5 * unit, 7.0 * unit)
    i, j = (torch.randint(32, (10,), generator=rng) + 32 * k for k in (0, 1))
    change = np.array([2.0, -2.0]) * unit
    costs = two_site_updates(matrix, electrons, i.numpy(), j.numpy(), change, bounds=bounds, tolerance=tolerance)
    walk = LowRankUpdates(matrix.numpy(), electrons, bounds=bounds, tolerance=tolerance)
    before = float(electrons.solve(matrix, model.rows, model.columns).potential)
    for k, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        moved = matrix.clone()
        moved[[a, b], [a, b]] += torch.from_numpy(change)
        exact = float(electrons.solve(moved, model.rows, model.columns).potential) - before
        assert costs.potential[k] == pytest.approx(exact, abs=0.5 * tolerance)
        assert walk.difference(np.array([a, b]), change) == pytest.approx(exact, abs=0.5 * tolerance)


def test_changes_that_cancel_leave_the_reference(rng):
    model = FalicovKimball(square(6))
    changes = LowRankUpdates(
        model.matrix(random_field(model.lattice, 0.3, rng)).numpy(), Dense(kT=0.1, mu=0.2), bounds=(-4.0, 6.0)
    )
    start = changes.potential
    for k in range(40):
        sites, change = np.array([k % 7, 20]), np.array([2.0, -2.0])
        there = changes.accept(sites, change)
        back = changes.accept(sites, -change)
        assert there == pytest.approx(-back, abs=1e-12)
    assert changes.potential == pytest.approx(start, abs=1e-11)
    assert changes.diagonalisations == 1


def test_a_change_that_moves_mu_far_is_diagonalised(rng):
    model = FalicovKimball(square(4))
    electrons = Dense(kT=0.02, filling=0.5)
    matrix = model.matrix(random_field(model.lattice, 0.5, rng))
    changes = LowRankUpdates(matrix.numpy(), electrons, bounds=(-60.0, 60.0), tolerance=1e-7)
    sites, change = np.arange(6), np.full(6, 40.0)
    before = float(electrons.solve(matrix, model.rows, model.columns).potential)
    matrix[sites, sites] += 40.0
    after = float(electrons.solve(matrix, model.rows, model.columns).potential)
    assert changes.accept(sites, change) == pytest.approx(after - before, abs=1e-9)
    assert changes.diagonalisations == 3
    assert changes.potential == pytest.approx(after, abs=1e-9)


def test_levels_beyond_the_bounds_are_detected():
    matrix = np.diag(np.arange(5.0))
    with pytest.raises(ArithmeticError, match="widen"):
        LowRankUpdates(matrix, Dense(kT=0.1, mu=0.0), bounds=(0.0, 3.0))
    changes = LowRankUpdates(matrix, Dense(kT=0.1, mu=0.0), bounds=(0.0, 4.0), rank=4)
    with pytest.raises(ArithmeticError, match="widen"):
        for site in range(5):
            changes.accept(np.array([site]), np.array([3.0]))


# --- long walks -------------------------------------------------------------------------------------------------------


@BOTH
def test_the_tracked_free_energy_stays_exact_over_a_thousand_moves(ensemble, rng):
    energies = ExactMoves(FalicovKimball(square(8)), kT=0.2, tolerance=1e-7, rank=24, **ensemble)
    walk = energies.start_walk(random_field(energies.lattice, 0.25, rng))
    start, total, accepted = walk.potential, 0.0, 0
    while accepted < 1000:
        made = metropolis(walk, 0.2, 100, rng)
        total += made.difference[made.accepted].sum()
        accepted += made.accepted.sum()
    assert walk.potential == pytest.approx(float(direct(energies, walk.field)), abs=1e-6)
    # Errors of single differences add up at random.
    assert start + total == pytest.approx(walk.potential, abs=1e-6)
    assert 0 < walk.drift.potential < 1e-6
    assert walk.diagonalisations > 10


@pytest.mark.slow
def test_rounding_does_not_gather_over_a_hundred_thousand_moves(rng):
    energies = ExactMoves(FalicovKimball(square(6)), kT=0.2, mu=0.3, tolerance=1e-9)
    walk = energies.start_walk(random_field(energies.lattice, 0.25, rng))
    accepted = 0
    while accepted < 100_000:
        accepted += metropolis(walk, 0.2, 5000, rng).accepted.sum()
        assert walk.potential == pytest.approx(float(direct(energies, walk.field)), abs=1e-8)
    # All 36 sites fit into the T matrix: after the first one there never was a diagonalisation.
    assert walk.diagonalisations == 1
    assert 0 < walk.drift.green < 1e-10


def test_the_walk_is_that_of_diagonalisations(rng):
    energies = ExactMoves(FalicovKimball(square(6)), kT=0.1, filling=0.55, tolerance=1e-8)
    field = random_field(energies.lattice, 0.3, rng)
    fast, plain = ExactWalk(energies, field), DiagonalisingWalk(energies, field)
    chance = rng.get_state()
    made = metropolis(fast, 0.1, 300, rng)
    meant = metropolis(plain, 0.1, 300, rng.set_state(chance))
    np.testing.assert_array_equal(made.accepted, meant.accepted)
    np.testing.assert_allclose(made.difference, meant.difference, atol=1e-8)
    assert fast.potential == pytest.approx(plain.potential, abs=1e-7)


# --- two ensembles ----------------------------------------------------------------------------------------------------


def test_at_thirty_by_thirty_the_second_order_is_good_and_the_ensembles_are_close(rng):
    energies = ExactMoves(FalicovKimball(square(30)), kT=0.05, filling=0.55)
    field = random_field(energies.lattice, 0.187, rng)
    canonical, grand, number, second = (x.numpy() for x in energies.ensembles(field))
    moves = np.flatnonzero(np.isfinite(canonical))
    walk = DiagonalisingWalk(energies, field)
    for move in moves[:: len(moves) // 5]:
        assert canonical[move] == pytest.approx(walk.difference(int(move)), abs=1e-6)
    gap, error = (np.abs(canonical[moves] - other[moves]) for other in (grand, second))
    assert 1e-4 < gap.max() < 1e-2
    assert 5e-7 < error.max() < 3e-5
    assert np.abs(number[moves]).max() < 1
    assert np.array_equal(energies.differences(field).numpy(), canonical)


def test_at_eight_by_eight_the_ensembles_differ_and_the_second_order_fails(rng):
    energies = ExactMoves(FalicovKimball(square(8)), kT=0.05, filling=0.55)
    field = random_field(energies.lattice, 0.187, rng)
    canonical, grand, _, second = (x[torch.isfinite(x)] for x in energies.ensembles(field))
    assert float((canonical - grand).abs().max()) > 5e-3
    assert 5e-4 < float((canonical - second).abs().max()) < 1e-2


def test_the_ensembles_agree_where_the_number_does_not_change(rng):
    """F(N) is stationary in μ: with no change of N at fixed μ there is nothing to correct."""
    energies = ExactMoves(FalicovKimball(square(8)), kT=0.1, filling=0.55, tolerance=1e-8)
    canonical, grand, number, _ = energies.ensembles(random_field(energies.lattice, 0.187, rng))
    still = torch.isfinite(canonical) & (number.abs() < 0.02)
    assert bool(still.any())
    assert float((canonical - grand)[still].abs().max()) < 1e-4


@pytest.mark.parametrize("kT", [0.05, 0.02])
@pytest.mark.parametrize("U", [8.0, 30.0])
def test_in_a_gap_there_is_nothing_to_correct(U, kT):
    """κ and ΔN vanish together: their rounding must not be divided by each other."""
    lattice = square(6)
    board = torch.from_numpy((lattice.cells.sum(1) % 2).astype(float))[:, None]
    found = ExactMoves(FalicovKimball(lattice, U=U), kT=kT, filling=0.5).ensembles(board)
    canonical, _, _, second = (x[torch.isfinite(found.canonical)] for x in found)
    torch.testing.assert_close(second, canonical, atol=2e-6, rtol=0)


# --- symmetries and limits --------------------------------------------------------------------------------------------


def test_particles_and_holes_cost_the_same(rng):
    lattice = square(6)
    field = random_field(lattice, 0.3, rng)
    particles, holes = (
        ExactMoves(FalicovKimball(lattice, U=U), kT=0.1, filling=filling, tolerance=1e-9).differences(field)
        for U, filling in ((2.0, 0.3), (-2.0, 0.7))
    )
    torch.testing.assert_close(particles, holes, atol=1e-8, rtol=0)


def test_two_spins_cost_twice_as_much(rng):
    lattice = square(6)
    field = random_field(lattice, 0.3, rng)
    one, two = (
        ExactMoves(FalicovKimball(lattice, spins=spins), kT=0.1, number=20 * spins).differences(field)
        for spins in (1, 2)
    )
    torch.testing.assert_close(two, 2 * one, atol=1e-12, rtol=0)


def test_electrons_that_cannot_hop_do_not_care_where_the_f_electrons_are(rng):
    energies = ExactMoves(FalicovKimball(square(5), t=0.0), kT=0.2, filling=0.4)
    differences = energies.differences(random_field(energies.lattice, 0.3, rng))
    assert float(differences[torch.isfinite(differences)].abs().max()) < 1e-8


def test_in_a_wide_gap_fixed_number_and_fixed_mu_are_the_same(rng):
    lattice = square(6)
    board = torch.from_numpy((lattice.cells.sum(1) % 2).astype(float))[:, None]
    board[0], board[1] = 1, 0
    fixed = [{"filling": 0.5}, {"mu": 10.0}]
    canonical, grand = (
        ExactMoves(FalicovKimball(lattice, U=20.0), kT=0.05, tolerance=1e-8, **e).differences(board) for e in fixed
    )
    torch.testing.assert_close(canonical, grand, atol=1e-8, rtol=0)


def test_no_configuration_has_no_differences():
    energies = ExactMoves(FalicovKimball(square(4)), kT=0.2, filling=0.5)
    assert energies.differences(torch.zeros(0, 16, 1)).shape == (0, 64)


@pytest.mark.parametrize(
    "other", [{"twist": (np.pi, 0.0)}, {"U": 2.0000001}, {"t": (1.0, 1e-9)}, {"spins": 2}], ids=str
)
def test_electrons_that_differ_at_all_are_another_run(other):
    one, two = (ExactMoves(FalicovKimball(square(4), **kind), kT=0.2, filling=0.5) for kind in ({}, other))
    assert one.config() != two.config()


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of"),
        ({"mu": 0.0, "filling": 0.5}, "exactly one of"),
        ({"number": 16}, "between 0 and the 16 states"),
        ({"number": 0}, "between 0 and the 16 states"),
        ({"filling": 1.0}, "filling .* > 0 and < 1"),
        ({"mu": float("nan")}, "mu must be a finite"),
        ({"mu": 0.0, "kT": 0.0}, "kT must be positive"),
        ({"mu": 0.0, "kT": -1.0}, "kT must be positive"),
        ({"mu": 0.0, "kT": float("inf")}, "kT must be"),
        ({"mu": 0.0, "tolerance": 1e-14}, "tolerance must lie"),
        ({"mu": 0.0, "rank": 2}, "rank must be a whole number ≥ 4"),
    ],
    ids=str,
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExactMoves(FalicovKimball(square(4)), **{"kT": 0.1, **arguments})


def test_electrons_that_see_nothing_are_refused():
    with pytest.raises(ValueError, match="U = 0"):
        ExactMoves(FalicovKimball(square(4), U=0.0), kT=0.1, mu=0.0)


def test_hops_of_another_lattice_are_refused():
    with pytest.raises(ValueError, match="hops are on"):
        ExactMoves(FalicovKimball(square(4)), Hops(square(5)), kT=0.1, mu=0.0)


def test_a_lattice_too_small_for_hops_is_refused():
    with pytest.raises(ValueError, match="three cells"):
        ExactMoves(FalicovKimball(square(2)), kT=0.1, mu=0.0)


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["empty", "full"])
def test_a_walk_without_a_move_is_refused(value):
    energies = ExactMoves(FalicovKimball(triangular(4)), kT=0.1, filling=0.5)
    with pytest.raises(ValueError, match="nothing can ever hop"):
        energies.start_walk(torch.full((16, 1), value).double())


def test_two_ensembles_need_a_number(rng):
    energies = ExactMoves(FalicovKimball(square(4)), kT=0.1, mu=0.2)
    with pytest.raises(ValueError, match="number= or filling="):
        energies.ensembles(random_field(energies.lattice, 0.3, rng))


def test_temperatures_too_low_for_poles_say_so(rng):
    energies = ExactMoves(FalicovKimball(square(4)), kT=1e-12, mu=0.2)
    with pytest.raises(ArithmeticError, match="raise tol or the temperature"):
        energies.differences(random_field(energies.lattice, 0.3, rng))


# --- internal energies ------------------------------------------------------------------------------------------------


def internal_energy(matrix: np.ndarray, number: float, kT: float) -> float:
    """E = Σ f ε at the μ that holds so many electrons, by diagonalisation and bisection alone."""
    from scipy.optimize import brentq
    from scipy.special import expit

    levels = np.linalg.eigvalsh(matrix)
    span = 50 * kT + np.ptp(levels)
    mu = brentq(lambda m: expit((m - levels) / kT).sum() - number, levels[0] - span, levels[-1] + span, xtol=1e-14)
    return float((levels * expit((mu - levels) / kT)).sum())


@pytest.mark.parametrize(("kT", "tolerance"), [(0.02, 1e-6), (0.05, 1e-6), (0.3, 1e-6), (2.0, 1e-6), (0.05, 1e-9)])
def test_internal_energies_of_hops_are_those_of_two_spectra(kT, tolerance, rng):
    model = FalicovKimball(square(6), spins=2)
    energies = ExactMoves(model, kT=kT, number=37, tolerance=tolerance, energy="internal")
    field = random_field(model.lattice, 0.3, rng)
    found = energies.differences(field)
    walk = energies.start_walk(field)
    before = internal_energy(model.matrix(field).numpy(), 37 / 2, kT)
    for move in torch.nonzero(torch.isfinite(found))[::7, 0].tolist():
        after = model.matrix(energies.hops.apply(field, torch.tensor(move))).numpy()
        wanted = 2 * (internal_energy(after, 37 / 2, kT) - before)
        assert float(found[move]) == pytest.approx(wanted, abs=tolerance)
        assert walk.difference(move) == pytest.approx(wanted, abs=tolerance)


def test_a_walk_by_internal_energies_keeps_account_of_them(rng):
    model = FalicovKimball(square(6))
    energies = ExactMoves(model, kT=0.1, number=19, energy="internal", rank=12)
    walk = energies.start_walk(random_field(model.lattice, 0.3, rng))
    total = walk.potential
    for _ in range(25):
        possible = np.flatnonzero(np.isfinite(walk.differences()))
        move = int(possible[torch.randint(len(possible), (), generator=rng)])
        total += walk.difference(move)
        walk.accept(move)
    exact = internal_energy(model.matrix(walk.field).numpy(), 19, 0.1)
    assert walk.potential == pytest.approx(exact, abs=1e-6)
    assert total == pytest.approx(exact, abs=1e-6)
    assert walk.diagonalisations > 4


def test_internal_and_free_energies_differ_by_the_entropy_and_say_which_they_are():
    lattice = square(4)
    free, internal = (ExactMoves(FalicovKimball(lattice), kT=0.2, filling=0.5, energy=e) for e in ("free", "internal"))
    assert "internal" in repr(internal) and "internal" not in repr(free)
    assert free.config() != internal.config()
    assert internal.on(square(6)).energy == "internal"
    with pytest.raises(ValueError, match="number= or filling="):
        ExactMoves(FalicovKimball(lattice), kT=0.2, mu=0.1, energy="internal")
    with pytest.raises(ValueError, match="Did you mean 'internal'"):
        ExactMoves(FalicovKimball(lattice), kT=0.2, filling=0.5, energy="internl")
