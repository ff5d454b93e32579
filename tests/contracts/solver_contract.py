"""What every electron solver must satisfy. A member signs by one line in ``SOLVERS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nearsight.hamiltonians import RKKY, Exponential, Holstein, SDModel
from nearsight.lattices import Lattice, PointCloud, chain, cubic, honeycomb, square, triangular
from nearsight.solvers import Chebyshev, Dense, Pattern, Poles, Solver, SparseMatrix


@dataclass(frozen=True)
class Member:
    """A solver with the error it promises, relative or absolute, and the lowest temperature it is made for."""

    solver: Callable[..., Solver]
    error: float = 0.0
    coldest: float = 0.0

    def __call__(self, *, kT: float, **fixed: float) -> Solver:
        if kT < self.coldest:
            pytest.skip("colder than this solver is made for")
        return self.solver(kT=kT, **fixed)

    def to(self, tolerance: float) -> float:
        """The tolerance of an exact solver, or what this one promises if that is more."""
        return max(tolerance, self.error)


SOLVERS = [
    pytest.param(Member(Dense), id="dense"),
    pytest.param(Member(partial(Chebyshev, accuracy=1e-10), error=3e-9, coldest=0.01), id="chebyshev"),
    pytest.param(Member(partial(Poles, tol=1e-10), error=3e-9, coldest=0.01), id="poles"),
]
solver = pytest.mark.parametrize("make", SOLVERS)
ensemble = pytest.mark.parametrize("fixed", [{"filling": 0.37}, {"mu": 0.2}], ids=["fixed number", "fixed mu"])
temperature = pytest.mark.parametrize("kT", [0.02, 0.5])

DIAGONAL = torch.arange(1)


def hermitian(size: int, rng: torch.Generator, *batch: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    matrix = torch.randn(*batch, size, size, generator=rng, dtype=dtype)
    return 0.5 * (matrix + matrix.mH)


def everywhere(size: int) -> tuple[Tensor, Tensor]:
    """All positions of the matrix, so that the answer holds the full density matrix."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return rows.reshape(-1), columns.reshape(-1)


def levels(*energies: float) -> Tensor:
    return torch.diag(torch.tensor(energies, dtype=torch.float64))


def ring(length: int) -> Tensor:
    """Nearest-neighbour ring, ε_k = -2 cos k."""
    hop = torch.roll(torch.eye(length, dtype=torch.float64), 1, dims=0)
    return -(hop + hop.T)


# --- closed forms -----------------------------------------------------------------------------------------------------


@solver
@pytest.mark.parametrize("kT", [0.1, 1.0, 5.0])
def test_two_sites_follow_the_closed_form(make, kT):
    t, mu = 1.3, 0.4
    matrix = torch.tensor([[0.0, -t], [-t, 0.0]], dtype=torch.float64)
    answer = make(mu=mu, kT=kT).solve(matrix, *everywhere(2))
    bonding, antibonding = 1 / (math.exp((-t - mu) / kT) + 1), 1 / (math.exp((t - mu) / kT) + 1)
    assert float(answer.number) == pytest.approx(bonding + antibonding, rel=make.to(1e-14))
    assert float(answer.energy) == pytest.approx(t * (antibonding - bonding), rel=make.to(1e-13))
    omega = -kT * (math.log1p(math.exp((mu + t) / kT)) + math.log1p(math.exp((mu - t) / kT)))
    assert float(answer.grand_potential) == pytest.approx(omega, rel=make.to(1e-13))
    site, bond = 0.5 * (bonding + antibonding), 0.5 * (bonding - antibonding)
    torch.testing.assert_close(
        answer.rho, torch.tensor([site, bond, bond, site], dtype=torch.float64), atol=make.to(1e-14), rtol=0
    )


@solver
@pytest.mark.parametrize("length", [6, 10])
def test_half_filled_ring_has_the_energy_of_the_cosine_band(make, length):
    # At length 4m + 2 the Fermi level lies in a gap: E = -2 Σ_{|k| < π/2} cos k = -2 / sin(π/L), filled without chance.
    answer = make(filling=0.5, kT=0.0).solve(ring(length), *everywhere(length))
    assert float(answer.energy) == pytest.approx(-2 / math.sin(math.pi / length), rel=make.to(1e-13))
    rho = answer.rho.reshape(length, length)
    distance = np.arange(1, length)
    expected = np.sin(np.pi * distance / 2) / (length * np.sin(np.pi * distance / length))
    np.testing.assert_allclose(rho[0, 1:].numpy(), expected, atol=make.to(1e-13))


@solver
def test_hot_electrons_spread_evenly(make, rng):
    answer = make(filling=0.3, kT=1e6).solve(hermitian(7, rng), *everywhere(7))
    torch.testing.assert_close(answer.rho.real.reshape(7, 7), 0.3 * torch.eye(7).double(), atol=make.to(1e-6), rtol=0)


# --- thermodynamics ---------------------------------------------------------------------------------------------------


@solver
@ensemble
@temperature
def test_free_energy_is_the_grand_potential_plus_mu_times_number(make, fixed, kT, rng):
    answer = make(kT=kT, **fixed).solve(hermitian(9, rng, 3), DIAGONAL, DIAGONAL)
    torch.testing.assert_close(
        answer.free_energy, answer.grand_potential + answer.mu * answer.number, atol=make.to(1e-12), rtol=0
    )
    expected = answer.free_energy if "filling" in fixed else answer.grand_potential
    assert torch.equal(answer.potential, expected)


@solver
@ensemble
@pytest.mark.parametrize("kT", [1e-3, 0.02, 0.5, 30.0])
def test_entropy_is_that_of_the_occupations(make, fixed, kT, rng):
    h = hermitian(12, rng)
    answer = make(kT=kT, **fixed).solve(h, *everywhere(12))
    f = torch.linalg.eigvalsh(answer.rho.reshape(12, 12)).clamp(0, 1)
    entropy = -(torch.xlogy(f, f) + torch.xlogy(1 - f, 1 - f)).sum()
    assert float(entropy) >= 0
    measured = float(answer.energy - answer.free_energy) / kT
    assert measured == pytest.approx(float(entropy), abs=1e-9 + make.to(1e-13) / kT)


@solver
@ensemble
@pytest.mark.parametrize("kT", [0.05, 0.7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_the_density_matrix_is_the_gradient_of_the_potential(make, fixed, kT, dtype, rng):
    """Stationarity: δ(potential) = Σ_ab ρ_ba δh_ab, though μ moves with h at fixed number."""
    h, direction = hermitian(8, rng, dtype=dtype), hermitian(8, rng, dtype=dtype)
    solver = make(kT=kT, **fixed)
    rho = solver.solve(h, *everywhere(8)).rho.reshape(8, 8)
    step = 1e-4
    # Five points: the error is of order step⁴, far below the tolerance.
    values = [float(solver.solve(h + k * step * direction, DIAGONAL, DIAGONAL).potential) for k in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    assert float(torch.trace(rho @ direction).real) == pytest.approx(slope, abs=make.to(2e-10))


@solver
@ensemble
@pytest.mark.parametrize("kT", [0.0, 0.1])
def test_the_density_matrix_is_a_hermitian_function_of_the_matrix(make, fixed, kT, rng):
    h = hermitian(9, rng)
    answer = make(kT=kT, **fixed).solve(h, *everywhere(9))
    rho = answer.rho.reshape(9, 9)
    torch.testing.assert_close(rho, rho.mH, atol=make.to(1e-14), rtol=0)
    torch.testing.assert_close(rho @ h, h @ rho, atol=make.to(1e-13), rtol=0)
    assert float(torch.trace(rho).real) == pytest.approx(float(answer.number), abs=make.to(1e-13))
    assert float(torch.trace(rho @ h).real) == pytest.approx(float(answer.energy), abs=make.to(1e-13))


@solver
@ensemble
def test_every_copy_counts_in_energies_and_numbers_but_not_in_rho(make, fixed, rng):
    h = hermitian(6, rng)
    one, two = (make(kT=0.1, **fixed).solve(h, DIAGONAL, DIAGONAL, degeneracy=d) for d in (1, 2))
    for name in ("number", "energy", "free_energy", "grand_potential", "potential"):
        assert float(getattr(two, name)) == pytest.approx(2 * float(getattr(one, name)), rel=make.to(1e-15))
    assert torch.equal(one.rho, two.rho) and torch.equal(one.mu, two.mu)


# --- the chemical potential -------------------------------------------------------------------------------------------


@solver
@given(
    spectrum=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=24),
    scale=st.floats(-3, 3),
    kT=st.one_of(st.just(0.0), st.floats(-9, 3).map(lambda x: 10.0**x)),
    filling=st.floats(1e-4, 1 - 1e-4),
)
def test_the_filling_is_met_to_machine_precision(make, spectrum, scale, kT, filling):
    h = levels(*spectrum) * 10.0**scale
    answer = make(filling=filling, kT=kT).solve(h, *(torch.arange(len(spectrum)),) * 2)
    assert float(answer.number) == pytest.approx(filling * len(spectrum), rel=make.to(1e-13), abs=make.to(1e-15))
    assert float(answer.rho.min()) >= 0 and float(answer.rho.max()) <= 1 + 1e-15


@solver
@pytest.mark.parametrize("kT", [0.0, 1e-6, 1e-2])
def test_a_wide_gap_returns_its_middle(make, kT):
    answer = make(filling=0.5, kT=kT).solve(levels(-2.0, -1.0, 3.0, 3.5), DIAGONAL, DIAGONAL)
    # A solver that never sees the levels promises the number of electrons, which any μ in the gap has.
    assert float(answer.mu) == pytest.approx(1.0, abs=1e-12 if make.error == 0 else 2.0)
    assert float(answer.number) == pytest.approx(2.0, abs=make.to(1e-13))


@solver
def test_level_shift_moves_mu_and_nothing_else(make, rng):
    h = hermitian(8, rng)
    solver = make(filling=0.4, kT=0.1)
    here, there = solver.solve(h, *everywhere(8)), solver.solve(h + 5.0 * torch.eye(8), *everywhere(8))
    assert float(there.mu - here.mu) == pytest.approx(5.0, abs=make.to(1e-12))
    torch.testing.assert_close(here.rho, there.rho, atol=make.to(1e-12), rtol=0)


@solver
@pytest.mark.parametrize("electrons", [2, 3, 5])
def test_an_open_shell_is_filled_equally_at_zero_temperature(make, electrons):
    # The ring of 8 sites has pairs of levels ±k; unless they are filled equally, ρ depends on the basis eigh picks.
    answer = make(filling=electrons / 8, kT=0.0).solve(ring(8), *everywhere(8))
    density = answer.rho.reshape(8, 8).diagonal()
    torch.testing.assert_close(density, torch.full((8,), electrons / 8).double(), atol=make.to(1e-13), rtol=0)


@solver
@pytest.mark.parametrize("fixed", [{"filling": 2 / 8}, {"filling": 0.3}, {"mu": 0.0}, {"mu": 0.3}], ids=str)
def test_zero_temperature_is_the_limit_of_low_temperature(make, fixed):
    zero, low = (make(kT=kT, **fixed).solve(ring(8), *everywhere(8)) for kT in (0.0, 1e-7))
    torch.testing.assert_close(low.rho, zero.rho, atol=make.to(1e-7), rtol=0)
    for name in ("number", "energy", "free_energy", "grand_potential", "potential", "mu"):
        assert float(getattr(low, name)) == pytest.approx(float(getattr(zero, name)), abs=make.to(3e-6)), name


@solver
@pytest.mark.parametrize("filling", [1e-6, 1 - 1e-6])
@pytest.mark.parametrize("kT", [0.0, 1e-12, 1e-3, 10.0])
def test_almost_empty_and_almost_full_bands_are_solved(make, filling, kT, rng):
    answer = make(filling=filling, kT=kT).solve(hermitian(20, rng), DIAGONAL, DIAGONAL)
    assert float(answer.number) == pytest.approx(20 * filling, rel=make.to(1e-12))
    assert all(math.isfinite(float(x)) for x in (answer.mu, answer.energy, answer.free_energy, answer.grand_potential))


# --- batches, precision, positions ------------------------------------------------------------------------------------


@solver
@ensemble
@pytest.mark.parametrize("kT", [0.0, 1e-6, 0.1])
def test_a_batch_equals_a_loop(make, fixed, kT, rng):
    h = hermitian(10, rng, 2, 3)
    solver, where = make(kT=kT, **fixed), everywhere(10)
    batch = solver.solve(h, *where)
    for i in range(2):
        for j in range(3):
            single = solver.solve(h[i, j], *where)
            for name in ("rho", "mu", "number", "energy", "free_energy", "grand_potential", "potential"):
                torch.testing.assert_close(
                    getattr(batch, name)[i, j], getattr(single, name), atol=make.to(1e-12), rtol=0
                )


@solver
@ensemble
def test_an_empty_batch_has_an_empty_answer(make, fixed):
    answer = make(kT=np.float32(0.1), **{name: np.float64(x) for name, x in fixed.items()}).solve(
        torch.zeros(2, 0, 5, 5).double(), *everywhere(5)
    )
    assert answer.rho.shape == (2, 0, 25) and answer.mu.shape == answer.potential.shape == (2, 0)


@solver
@ensemble
def test_a_complex_phase_of_the_basis_changes_no_energy(make, fixed, rng):
    h = hermitian(8, rng, dtype=torch.float64)
    phase = torch.polar(torch.ones(8).double(), torch.rand(8, generator=rng, dtype=torch.float64) * 6.28)
    gauged = phase[:, None] * h * phase.conj()
    real, complex_ = (make(kT=0.1, **fixed).solve(m, *everywhere(8)) for m in (h, gauged))
    assert float(complex_.potential) == pytest.approx(float(real.potential), abs=make.to(1e-13))
    moved = phase[:, None] * real.rho.reshape(8, 8) * phase.conj()
    torch.testing.assert_close(complex_.rho.reshape(8, 8), moved, atol=make.to(1e-13), rtol=0)


@solver
def test_rho_is_returned_at_the_requested_positions(make, rng):
    h = hermitian(9, rng)
    solver = make(filling=0.5, kT=0.1)
    full = solver.solve(h, *everywhere(9)).rho.reshape(9, 9)
    rows, columns = torch.tensor([0, 4, 8, 3]), torch.tensor([7, 4, 0, 2])
    torch.testing.assert_close(solver.solve(h, rows, columns).rho, full[rows, columns], atol=make.to(1e-14), rtol=0)


@solver
def test_single_precision_matrices_are_solved_in_double(make, rng):
    h = hermitian(6, rng, dtype=torch.float64)
    answer = make(filling=0.5, kT=0.1).solve(h.float(), DIAGONAL, DIAGONAL)
    assert answer.energy.dtype == torch.float64 and answer.rho.dtype == torch.float64


CLOUD = PointCloud([[0.1, 0.0, 0.3], [1.0, 0.6, 0.4], [0.2, 1.4, 1.0], [1.5, 1.5, 0.1], [0.9, 1.0, 1.5]], cell=2.0)
OPEN_CLOUD = PointCloud([[0.0, 0.0], [1.1, 0.2], [0.4, 0.9], [1.3, 1.4], [2.0, 0.5]])

LATTICES = [
    pytest.param(
        lambda x: SDModel(x, t=Exponential(-1.0, 0.8, cutoff=1.9), J=1.3, twist=(0.4, 0.0, 1.0)),
        CLOUD,
        id="cloud, twisted, s-d",
    ),
    pytest.param(lambda x: SDModel(x, t=Exponential(-1.0)), CLOUD, id="cloud, nearest images, s-d"),
    pytest.param(lambda x: SDModel(x, t=Exponential(cutoff=1.2)), CLOUD.resized(3, 1, 2), id="repeated cloud, s-d"),
    pytest.param(lambda x: SDModel(x, t=RKKY(0.7, 2.0, cutoff=1.3), J=0.5), OPEN_CLOUD, id="open cloud, s-d"),
    pytest.param(lambda x: Holstein(x, twist=(0.4,)), chain(14), id="chain, twisted"),
    pytest.param(lambda x: Holstein(x), square(5, 7), id="square"),
    pytest.param(lambda x: SDModel(x, J=1.5), square(6, 4, periodic=(True, False)), id="square, half open, s-d"),
    pytest.param(
        lambda x: SDModel(x, t=(1.0, 0.0, -0.85), J=1.0, twist=(0.3, 1.0)),
        triangular(7, 5),
        id="triangular, twisted, s-d",
    ),
    pytest.param(lambda x: SDModel(x, t=(1.0, 0.3)), honeycomb(4, 3, periodic=False), id="honeycomb, open, s-d"),
    pytest.param(lambda x: Holstein(x), cubic(5, 3, 4), id="cubic"),
    pytest.param(lambda x: SDModel(x, t=0.0), square(4), id="single sites, s-d"),
]


@solver
@ensemble
@pytest.mark.parametrize(("make_model", "lattice"), LATTICES)
def test_listed_elements_are_solved_like_the_matrix_they_make(make, fixed, make_model, lattice: Lattice, rng):
    """Against exact diagonalisation, with rho at all elements of the matrix."""
    model = make_model(lattice)
    field = torch.randn(2, lattice.n_sites, model.components, generator=rng, dtype=torch.float64)
    rows, columns = model.positions
    sparse = SparseMatrix(Pattern(rows, columns, model.orbitals, model.cuts), model.elements(field))
    answer = make(kT=0.05, **fixed).solve(sparse, rows, columns)
    exact = Dense(kT=0.05, **fixed).solve(model.matrix(field), rows, columns)
    torch.testing.assert_close(answer.rho, exact.rho, atol=make.to(1e-13), rtol=0)
    for name in ("mu", "number", "energy", "free_energy", "grand_potential", "potential"):
        torch.testing.assert_close(
            getattr(answer, name), getattr(exact, name), atol=make.to(1e-11) * lattice.n_sites, rtol=0
        )


@solver
def test_the_stated_error_is_no_less_than_the_true_one(make, rng):
    h = hermitian(30, rng, 3)
    answer = make(mu=0.2, kT=0.1).solve(h, *everywhere(30))
    if answer.error is None:
        pytest.skip("an exact solver")
    true = (answer.rho - Dense(mu=0.2, kT=0.1).solve(h, *everywhere(30)).rho).abs().amax(-1)
    assert bool((true <= answer.error).all()) and bool((answer.error <= make.error).all())


# --- refusals ---------------------------------------------------------------------------------------------------------


@solver
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 0.1}, "either filling= .* or mu="),
        ({"kT": 0.1, "filling": 0.5, "mu": 0.0}, "either filling= .* or mu="),
        ({"kT": 0.1, "filling": 0.0}, "> 0 and < 1"),
        ({"kT": 0.1, "filling": 1.0}, "> 0 and < 1"),
        ({"kT": 0.1, "filling": math.nan}, "> 0 and < 1"),
        ({"kT": 0.1, "mu": math.inf}, "mu must be a finite real number"),
        ({"kT": -0.1, "mu": 0.0}, "kT must be a finite real number ≥ 0"),
        ({"kT": math.nan, "mu": 0.0}, "kT must be a finite real number ≥ 0"),
    ],
    ids=str,
)
def test_impossible_ensembles_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make.solver(**arguments)


@solver
def test_nan_is_refused_before_the_eigensolver_sees_it(make):
    with pytest.raises(ValueError, match="1 NaN or infinite elements"):
        make(mu=0.0, kT=0.1).solve(levels(0.0, math.nan), DIAGONAL, DIAGONAL)


@solver
@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (0, 0)], ids=str)
def test_what_is_not_square_is_refused(make, shape):
    with pytest.raises(ValueError, match="orbital, orbital"):
        make(mu=0.0, kT=0.1).solve(torch.zeros(shape).double(), DIAGONAL, DIAGONAL)
