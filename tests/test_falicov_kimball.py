"""The Falicov-Kimball model: limits and theorems (contracts/hamiltonian_contract.py has the rest)."""

import itertools
import math

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import chain, square, triangular
from nearsight.solvers import Dense


def occupied(lattice, sites):
    field = torch.zeros(lattice.n_sites, 1, dtype=torch.float64)
    field[list(sites)] = 1
    return field


def checkerboard(lattice):
    return torch.from_numpy((lattice.cells.sum(1) % 2).astype(float))[:, None]


def spectrum(model, field):
    return torch.linalg.eigvalsh(model.matrix(field))


def test_two_sites_follow_the_closed_form():
    model = FalicovKimball(chain(2, periodic=False), t=0.7, U=1.8)
    root = math.sqrt(0.81 + 0.49)
    levels = spectrum(model, occupied(model.lattice, [0]))
    torch.testing.assert_close(levels, torch.tensor([0.9 - root, 0.9 + root], dtype=torch.float64), atol=1e-14, rtol=0)


def test_a_full_lattice_only_shifts_the_levels():
    model = FalicovKimball(triangular(4), U=1.7)
    empty, full = (torch.full((16, 1), value, dtype=torch.float64) for value in (0.0, 1.0))
    torch.testing.assert_close(spectrum(model, full), spectrum(model, empty) + 1.7)


@pytest.mark.parametrize("U", [2.0, -3.0])
def test_a_checkerboard_opens_a_gap_of_u(U):
    """ε = U/2 ± √(ε_k² + U²/4)."""
    lattice = square(6)
    free = spectrum(FalicovKimball(lattice), torch.zeros(36, 1).double())
    below = U / 2 - torch.sqrt(free[:18] ** 2 + U * U / 4)
    expected = torch.cat([below, U - below]).sort().values
    torch.testing.assert_close(spectrum(FalicovKimball(lattice, U=U), checkerboard(lattice)), expected)


def test_particles_and_holes_are_equivalent(rng):
    """c_i → (-1)^i c_i† turns h(U) into -h(-U)."""
    lattice = square(4)
    field = (torch.rand(16, 1, generator=rng) < 0.4).double()
    torch.testing.assert_close(
        spectrum(FalicovKimball(lattice, U=-2.0), field), -spectrum(FalicovKimball(lattice, U=2.0), field).flip(0)
    )


@pytest.mark.parametrize("U", [0.5, 4.0])
def test_at_half_filling_the_checkerboards_are_the_ground_states(U):
    """The theorem of Kennedy and Lieb, by enumeration."""
    lattice = chain(8)
    model = FalicovKimball(lattice, U=U)
    states = torch.stack([occupied(lattice, sites) for sites in itertools.combinations(range(8), 4)])
    energy = Dense(filling=0.5, kT=0).solve(model.matrix(states), model.rows, model.columns).energy
    lowest = energy.argsort()[:2]
    boards = torch.stack([1 - checkerboard(lattice), checkerboard(lattice)])
    assert torch.equal(states[lowest.sort().values], boards)
    assert energy.sort().values[2] > energy.min() + 1e-3


def test_density_in_the_electrons_is_the_derivative_with_respect_to_the_occupation(rng):
    model = FalicovKimball(square(4), U=1.3, spins=2)
    field = torch.rand(16, 1, generator=rng, dtype=torch.float64).requires_grad_()
    solver = Dense(filling=0.4, kT=0.2)
    answer = solver.solve(model.matrix(field.detach()), model.rows, model.columns, degeneracy=2)
    step = 1e-5
    shifted = [field.detach().clone() for _ in range(2)]
    shifted[0][3] -= step
    shifted[1][3] += step
    low, high = (
        float(solver.solve(model.matrix(f), model.rows, model.columns, degeneracy=2).potential) for f in shifted
    )
    assert 1.3 * 2 * float(answer.rho[3]) == pytest.approx((high - low) / (2 * step), abs=1e-8)


def test_farther_shells_hop_with_their_own_amplitudes():
    lattice = square(5)
    h = FalicovKimball(lattice, t=(1.0, 0.0, -0.3)).matrix(torch.zeros(25, 1).double())
    row = h[0].reshape(5, 5)
    assert row[0, 1] == row[1, 0] == row[0, 4] == -1 and row[1, 1] == 0 and row[0, 2] == row[2, 0] == 0.3


def test_its_name_tells_the_parameters():
    assert repr(FalicovKimball(square(3), t=(1, 0.5), U=-2)) == (
        "FalicovKimball(square, 3 × 3 sites, periodic; t=(1, 0.5), U=-2, spins=1)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"U": math.nan}, "U.* must be a finite real number"),
        ({"t": math.inf}, "t.* must be a finite real number"),
        ({"t": (1.0, math.nan)}, r"t\[1\] must be a finite real number"),
        ({"t": ()}, "t must be one finite number"),
        ({"t": (1.0,) * 200}, "t must give 1 to"),
        ({"spins": 3}, r"spins, 1 \(spinless\) or 2, must be"),
        ({"twist": (0.0,)}, "one phase for each"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FalicovKimball(square(4), **arguments)


def test_other_kinds_of_lattices_are_refused():
    with pytest.raises(ValueError, match="lives on a square lattice"):
        FalicovKimball(square(4)).on(triangular(4))


def test_shells_survive_a_move_to_another_lattice():
    there = FalicovKimball(square(5), t=(1.0, -0.4), U=3.0, spins=2).on(square(6))
    assert there.t == (1.0, -0.4) and there.U == 3.0 and there.degeneracy == 2
    assert np.count_nonzero(there.constant[0]) == 8
