"""The kernel polynomial method: series, products, probes, and error bars that hold (see also the solver contract)."""

import math
import re

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev
from scipy.special import expit
from scipy.stats import binom

from nearsight.fields import spin
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Exponential, Holstein, SDModel, skyrmion_magnet
from nearsight.lattices import honeycomb, random_cloud, square, triangular
from nearsight.solvers import (
    Chebyshev,
    Dense,
    Pattern,
    SparseMatrix,
    coloured_vectors,
    distance_colours,
    lattice_colours,
    random_vectors,
    unit_vectors,
)
from nearsight.solvers._sparse_kernels import greedy_colours
from nearsight.solvers.kpm._chebyshev_recursion import Block, gradient
from nearsight.solvers.kpm._chebyshev_series import (
    Band,
    FermiSeries,
    damping,
    derivative,
    nodes,
    to_coefficients,
    to_values,
)
from nearsight.solvers.kpm._moment_thermodynamics import MomentThermodynamics
from nearsight.solvers.kpm.probing import layout
from nearsight.solvers.products import NumbaProducts, Rows, TorchProducts, structure

backends = pytest.mark.parametrize("backend", [NumbaProducts, TorchProducts])
estimators = pytest.mark.parametrize("estimator", ["direct", "gradient"])
ensembles = pytest.mark.parametrize("fixed", [{"mu": -1.0}, {"filling": 0.3}], ids=["fixed mu", "fixed number"])


def magnet(rng, *batch, side=4):
    """A triangular magnet and random spins."""
    model = skyrmion_magnet(triangular(side))
    spins = torch.randn(*batch, side * side, 3, generator=rng, dtype=torch.float64)
    return model, spins / spins.norm(dim=-1, keepdim=True)


def rms(x):
    return x.abs().square().mean(-1).sqrt()


def band(low=-1.0, high=1.0):
    return Band(np.array([0.5 * (low + high)]), np.array([0.5 * (high - low)]))


# --- series -----------------------------------------------------------------------------------------------------------


def test_a_transform_and_its_inverse_give_the_function_back():
    x = nodes(64)
    values = np.exp(x) * np.sin(5 * x)
    c = to_coefficients(values)
    np.testing.assert_allclose(to_values(c, 64), values, atol=1e-14)
    np.testing.assert_allclose(chebyshev.chebval(0.3, c), math.exp(0.3) * math.sin(1.5), atol=1e-14)


@pytest.mark.parametrize("size", [4, 5, 8, 13])
def test_the_derivative_of_a_series_is_that_of_numpy(size):
    c = np.random.default_rng(size).normal(size=(2, size))
    for got, row in zip(derivative(c), c, strict=True):
        np.testing.assert_allclose(got[:-1], chebyshev.chebder(row), atol=1e-12)
        assert got[-1] == 0


def test_coefficients_fall_by_the_distance_of_the_poles():
    # f has its nearest poles at ±iπkT: in units of the half width they lie on the ellipse with ln ρ = asinh(πkT).
    series = FermiSeries(band(), 0.05, 64)
    c = np.abs(series.occupation(np.zeros(1)))[0, 1::2]
    rate = math.log(c[30] / c[60]) / 60
    assert rate == pytest.approx(math.asinh(math.pi * 0.05), rel=1e-6)


def test_the_grand_potential_is_the_integral_of_the_occupation():
    series = FermiSeries(band(-2.0, 3.0), 0.1, 400)
    mu = np.array([0.4])
    slope = derivative(series.grand_potential(mu)) / series.band.halfwidth[:, None]
    np.testing.assert_allclose(slope[:, :400], series.occupation(mu)[:, :400], atol=1e-12)


def test_at_zero_temperature_the_series_is_that_of_the_step():
    series = FermiSeries(band(), 0.0, 256, "jackson")
    values = to_values(series.damped(series.occupation(np.array([0.2]))), 4096)[0]
    x = nodes(4096)
    far = np.abs(x - 0.2) > 0.1
    np.testing.assert_allclose(values[far], (x < 0.2)[far], atol=1e-3)
    # Jackson's kernel is positive: a step stays between 0 and 1.
    assert values.min() > -1e-12 and values.max() < 1 + 1e-12


@pytest.mark.parametrize("kernel", ["jackson", "lorentz", "fejer"])
def test_kernels_leave_the_number_of_levels_alone_and_damp_the_highest_moment(kernel):
    g = damping(kernel, 100)
    assert g[0] == pytest.approx(1.0)
    assert (np.diff(g) < 0).all() and 0 < g[-1] < 0.05


@pytest.mark.parametrize("kT", [0.02, 0.2])
@pytest.mark.parametrize("of_gradient", [False, True])
def test_the_residual_is_what_the_sum_lacks(kT, of_gradient):
    series = FermiSeries(band(-2.0, 1.0), kT, 61)
    mu = np.array([-0.7])
    if of_gradient:
        cut = chebyshev.Chebyshev(series.damped(series.grand_potential(mu))[0]).deriv()(nodes(series.count)) / 1.5
    else:
        cut = chebyshev.chebval(nodes(series.count), series.damped(series.occupation(mu))[0])
    exact = expit((mu - series.band.energies(nodes(series.count))[0]) / kT)
    np.testing.assert_allclose(series.residual(mu, of_gradient=of_gradient)[0], exact - cut, atol=1e-10)


@pytest.mark.parametrize("of_gradient", [False, True])
def test_no_residual_between_the_nodes_is_larger_than_the_truncation(of_gradient):
    mu, x = np.array([0.0]), np.linspace(-1 / 1.01, 1 / 1.01, 50001)
    for moments in range(33, 130, 6):
        series = FermiSeries(band(), 0.05, moments)
        stated = float(series.truncation(mu, of_gradient=of_gradient, margin=0.01)[0])
        cut = chebyshev.Chebyshev(series.damped((series.grand_potential if of_gradient else series.occupation)(mu))[0])
        found = float(np.abs(expit(-x / 0.05) - (cut.deriv() if of_gradient else cut)(x)).max())
        assert found <= stated <= 1.2 * found


@pytest.mark.parametrize("accuracy", [1e-2, 1e-5, 1e-10])
def test_as_many_moments_as_the_accuracy_needs_and_no_more(accuracy):
    wide, mu = band(-4.0, 6.0), np.array([0.3])
    for how in ({"of_gradient": False, "margin": 0.01}, {"of_gradient": True, "margin": 0.01}):
        series = FermiSeries(wide, 0.05, 5).resolved(accuracy, mu, **how)
        enough, few = (
            np.abs(FermiSeries(wide, 0.05, n).truncation(mu, **how)).max()
            for n in (series.moments, int(0.85 * series.moments))
        )
        assert enough <= accuracy < few


# --- products ---------------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("real", [False, True])
def test_products_are_those_of_the_dense_matrices(backend, dtype, real, rng):
    model, spins = magnet(rng, 3)
    dense = model.matrix(spins)
    dense = dense.real.contiguous() if real else dense
    products = backend(Rows.of(SparseMatrix.of(dense)), dtype, real)
    x, y = (np.random.default_rng(k).normal(size=(2, 3 * model.orbitals, 7)) for k in (0, 1))
    x, y = (v[0] if real else v[0] + 1j * v[1] for v in (x, y))
    current, previous = products.vectors(x), products.vectors(y)
    sums = products.step(current, previous)
    expected = 2 * np.einsum("bij,bjk->bik", dense.numpy(), x.reshape(3, -1, 7)) - y.reshape(3, -1, 7)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    got = products.columns(previous).reshape(3, -1, 7)
    np.testing.assert_allclose(got, expected, atol=tolerance)
    np.testing.assert_allclose(sums[:, 0], (np.abs(expected) ** 2).sum((1, 2)), rtol=10 * tolerance)
    overlap = (expected.conj() * x.reshape(3, -1, 7)).real.sum((1, 2))
    np.testing.assert_allclose(sums[:, 1], overlap, atol=1e3 * tolerance)


def test_elements_listed_twice_add_up():
    rows, columns = torch.tensor([0, 1, 0, 0]), torch.tensor([1, 0, 0, 0])
    matrix = SparseMatrix(Pattern(rows, columns, 2), torch.tensor([-1.0, -1.0, 0.25, 0.5], dtype=torch.float64))
    where = torch.arange(2)
    answer = Chebyshev(mu=0.1, kT=0.3, accuracy=1e-12).solve(matrix, where, where)
    torch.testing.assert_close(answer.rho, Dense(mu=0.1, kT=0.3).solve(matrix.dense(), where, where).rho)


# --- gradients --------------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("last", [1, 2, 3, 6])
def test_the_gradient_is_that_of_the_estimate_itself(backend, last, rng):
    """For any coefficients and vectors, Σ c_m Tr R† T_m(A) R changes by Tr(ρ̂ δA): checked by automatic derivatives."""
    model, spins = magnet(rng, 2, side=3)
    dense = model.matrix(spins) / 9.0
    n = model.orbitals
    matrix = SparseMatrix.of(dense)
    arrangement = layout(random_vectors(8, sets=2), *structure(matrix.pattern)[:2])
    (block,) = Block.all_of(arrangement, arrangement.draw(2, rng))
    c = torch.randn(2, 2 * last + 1, generator=rng, dtype=torch.float64)
    i, j = np.divmod(np.arange(n * n), n)
    moments, rho = gradient(backend(Rows.of(matrix), torch.float64, False), block, c.numpy(), i, j)
    A = dense.clone().requires_grad_()
    R = torch.from_numpy(block.vectors).reshape(2, n, -1)
    T = [R, A @ R]
    for _ in range(2, 2 * last + 1):
        T.append(2 * A @ T[-1] - T[-2])
    mu = torch.stack([(R.conj() * t).real.sum((1, 2)) for t in T], dim=-1)
    np.testing.assert_allclose(moments, mu.detach().numpy(), atol=1e-10)
    (G,) = torch.autograd.grad((c * mu).sum(), A)
    # torch gives G with δL = Re Σ G*_ij δA_ij; only its Hermitian part moves a Hermitian matrix.
    torch.testing.assert_close(torch.from_numpy(rho).reshape(2, n, n), 0.5 * (G + G.mH), atol=1e-10, rtol=0)


@ensembles
def test_forces_of_given_probes_are_the_gradient_of_their_potential(fixed, rng):
    """Conservative although noisy, at fixed number too, where μ moves with the estimate."""
    model, spins = magnet(rng)
    h, direction = (model.matrix(s) for s in (spins, torch.roll(spins, 1, -2)))
    direction = direction - model.constant

    def solve(shift):
        chance = torch.Generator().manual_seed(5)
        solver = Chebyshev(kT=0.3, moments=41, probes=coloured_vectors(1), rng=chance, margin=0.1, **fixed)
        return solver.solve(SparseMatrix(pattern, (h + shift * direction)[rows, columns]), rows, columns)

    rows, columns = (h != 0).nonzero(as_tuple=True)
    pattern = Pattern(rows, columns, len(h))
    answer = solve(0.0)
    step = 1e-3
    # The band moves with the matrix, and with it the truncated series: 41 moments are enough to see the rest alone.
    slope = float(solve(step).potential - solve(-step).potential) / (2 * step)
    work = float((answer.rho * direction[columns, rows]).sum().real)
    exact = Dense(kT=0.3, **fixed).solve(h, rows, columns)
    assert work == pytest.approx(slope, abs=2e-4)
    assert float(answer.bars.noise) > 0.01  # what is conserved is noisy
    assert abs(float(exact.potential - answer.potential)) > 1e-2


# --- probes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_orbitals_of_one_colour_are_further_apart_than_the_distance(distance, rng):
    model, spins = magnet(rng, side=6)
    form = structure(SparseMatrix.of(model.matrix(spins)).pattern)
    colours = greedy_colours(form.crow, form.col, distance)
    near = torch.linalg.matrix_power((model.matrix(spins) != 0).double() + torch.eye(72).double(), distance) > 0
    same = torch.from_numpy(colours[:, None] == colours)
    assert torch.equal(near & same, torch.eye(72, dtype=torch.bool))


def test_colours_of_a_lattice_repeat_with_their_period_and_tell_orbitals_apart():
    lattice = honeycomb(6)
    colours = lattice_colours(lattice, 3, orbitals=2).reshape(6, 6, 2, 2)
    assert torch.equal(colours, torch.roll(colours, (3, -3), (0, 1)))
    assert len(colours[:3, :3].unique()) == 9 * 2 * 2 == int(colours.max()) + 1


def test_a_period_that_does_not_fit_the_torus_names_those_that_do():
    with pytest.raises(ValueError, match=r"use one of \[1, 2, 3, 6\]"):
        lattice_colours(square(6), 4)
    assert len(lattice_colours(square(6).resized(6, 6), 6).unique()) == 36


@pytest.mark.parametrize("distance", [0.3, 1.0, 1.6])
@pytest.mark.parametrize("periodic", [True, (False, True, True)])
def test_sites_of_one_colour_are_further_apart_than_a_length(distance, periodic, rng):
    cloud = random_cloud(80, 0.8, 0.5, rng=rng, periodic=periodic)
    colours = distance_colours(cloud, distance, orbitals=2).reshape(80, 2)
    assert torch.equal(colours % 2, torch.tensor([0, 1]).expand(80, 2)) and torch.equal(*(colours // 2).unbind(1))
    away = cloud.basis[:, None] - cloud.basis
    away -= np.where(cloud.periodic, np.rint(away / cloud.vectors[0, 0]), 0) * cloud.vectors[0, 0]
    near = (np.linalg.norm(away, axis=-1) <= distance) & ~np.eye(80, dtype=bool)
    site = colours[:, 0].numpy() // 2
    assert not (near & (site[:, None] == site)).any() and site.max() <= near.sum(1).max()
    assert site.min() == 0 and len(np.unique(site)) == site.max() + 1


def test_colours_of_a_cloud_leave_less_noise_than_as_many_random_vectors(rng):
    cloud = random_cloud(64, 0.8, 0.5, rng=rng)
    model = SDModel(cloud, t=Exponential(-1.0, cutoff=2.5), J=6.0)
    rows, columns = model.positions
    h = model.matrix(spin().random(64, 3, rng))
    exact = Dense(filling=0.5, kT=0.1).solve(h, rows, columns).rho
    own = rows // 2 == columns // 2  # the blocks that turn the spins

    def error(probes):
        solver = Chebyshev(filling=0.5, kT=0.1, moments=400, probes=probes, rng=torch.Generator().manual_seed(3))
        answer = solver.solve(h, rows, columns)
        return answer.probes, float((answer.rho - exact)[own].abs().square().mean().sqrt())

    count, coloured = error(coloured_vectors(colours=distance_colours(cloud, 1.6, orbitals=2), orbitals=2))
    more = -(-count // 4) * 4
    assert more <= 64
    assert coloured < 0.6 * error(random_vectors(more, sets=2, orbitals=2))[1]


@estimators
def test_a_colour_for_every_orbital_is_exact(estimator, rng):
    """Also where the colours asked for are further apart than the lattice is wide."""
    model, spins = magnet(rng)
    for probes in (coloured_vectors(99), coloured_vectors(colours=torch.arange(32).flip(0))):
        solver = Chebyshev(mu=-2.0, kT=0.1, accuracy=1e-10, probes=probes, rng=rng, estimator=estimator)
        answer = solver.solve(model.matrix(spins), model.rows, model.columns)
        exact = Dense(mu=-2.0, kT=0.1).solve(model.matrix(spins), model.rows, model.columns)
        torch.testing.assert_close(answer.rho, exact.rho, atol=1e-9, rtol=0)
        assert answer.probes == 32 and float(answer.bars.noise) == 0 and float(answer.error) < 1e-9


@estimators
@pytest.mark.parametrize("phases", ["phase", "sign", "gaussian"])
def test_random_vectors_are_right_in_the_mean(estimator, phases, rng):
    model, spins = magnet(rng, side=3)
    h = model.matrix(spins)
    solver = Chebyshev(
        mu=-2.0, kT=0.2, accuracy=1e-6, probes=random_vectors(4096, phases=phases), rng=rng, estimator=estimator
    )
    answer = solver.solve(h, model.rows, model.columns)
    exact = Dense(mu=-2.0, kT=0.2).solve(h, model.rows, model.columns)
    # 1/√4096 is 1.6 %: a bias of a third of that would be seen.
    assert float(rms(answer.rho - exact.rho)) < 1.3 * float(answer.bars.noise) < 0.02


def test_noise_of_random_vectors_falls_as_the_square_root_of_their_number(rng):
    model, spins = magnet(rng)
    noise = []
    for count in (16, 256):
        solver = Chebyshev(mu=-2.0, kT=0.1, accuracy=1e-3, probes=random_vectors(count, sets=8), rng=rng)
        noise.append(float(solver.solve(model.matrix(spins), model.rows, model.columns).bars.noise))
    assert noise[0] / noise[1] == pytest.approx(4.0, rel=0.25)


def test_the_gradient_errs_less_than_the_direct_estimate(rng):
    model, spins = magnet(rng, side=12)
    h = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(spins))
    probes = coloured_vectors(colours=lattice_colours(model.lattice, 6, 2))
    noise = {}
    for estimator in ("direct", "gradient"):
        solver = Chebyshev(mu=-3.5, kT=0.1, accuracy=1e-3, probes=probes, rng=rng, estimator=estimator)
        noise[estimator] = float(solver.solve(h, model.rows, model.columns).bars.noise)
    assert noise["gradient"] < 0.7 * noise["direct"]


SHARED = [random_vectors(16, orbitals=2), coloured_vectors(1, orbitals=2)]


@estimators
@pytest.mark.parametrize("probes", SHARED, ids=repr)
def test_noise_turns_with_the_spins_where_both_spins_share_it(estimator, probes, rng):
    """R = r ⊗ 1 commutes with any rotation of the spins: a potential of it leaves the total torque at zero."""
    model = SDModel(honeycomb(4), J=1.5, twist=(0.3, 0.0))
    spins = model.field_type.random(32, 3, rng)
    R = model.field_type.internal_operation(3, rng)

    def field(spins, probes):
        chance = torch.Generator().manual_seed(1)
        solver = Chebyshev(mu=-0.7, kT=0.1, moments=257, probes=probes, rng=chance, estimator=estimator)
        return ExactForceField(model, solver).electrons(spins).force

    force = field(spins, probes)
    exact = ExactForceField(model, Dense(mu=-0.7, kT=0.1)).electrons(spins).force
    assert float((force - exact).norm() / exact.norm()) > 0.01
    # Equal up to the truncation, which moves with the band that Lanczos finds.
    torch.testing.assert_close(field(spins @ R.T, probes), force @ R.T, atol=1e-6, rtol=0)
    if estimator == "gradient":
        apart = field(spins, random_vectors(16) if probes.kind == "random" else coloured_vectors(1))
        kept, broken = (float(torch.linalg.cross(spins, x).sum(0).abs().max()) for x in (force, apart))
        assert kept < 1e-12 and broken > 1e-2


def test_shared_noise_is_less_in_torques_and_stays_within_its_bar(rng):
    model, spins = magnet(rng, side=8)
    h = model.matrix(spins)
    exact = Dense(mu=-3.5, kT=0.1).solve(h, model.rows, model.columns)
    across = torch.eye(3, dtype=torch.float64) - spins[:, :, None] * spins[:, None]

    def torque(rho):
        x = torch.stack([2 * rho[2::4].real, 2 * rho[2::4].imag, (rho[::4] - rho[1::4]).real], -1)
        return torch.einsum("iab,ib->ia", across, x)

    for make in (lambda n: random_vectors(32, orbitals=n), lambda n: coloured_vectors(1, orbitals=n)):
        errors, inside = {1: [], 2: []}, []
        for orbitals in errors:
            for estimator in ("direct", "gradient"):
                solver = Chebyshev(mu=-3.5, kT=0.1, accuracy=1e-3, probes=make(orbitals), rng=rng, estimator=estimator)
                for _ in range(5):
                    answer = solver.solve(h, model.rows, model.columns)
                    errors[orbitals].append(float((torque(answer.rho) - torque(exact.rho)).norm()))
                    inside.append(float(rms(answer.rho - exact.rho)) <= float(answer.error))
        assert np.mean(errors[2]) < 0.7 * np.mean(errors[1])
        assert binom.cdf(sum(inside), len(inside), 0.95) > 1e-3


def test_sites_that_share_a_number_are_as_far_apart_as_the_distance(rng):
    model, spins = magnet(rng, side=6)
    form = structure(SparseMatrix.of(model.matrix(spins)).pattern)
    arrangement = layout(coloured_vectors(1, orbitals=2), form.crow, form.col)
    colours = torch.from_numpy(arrangement.colours).reshape(36, 2)
    joined = (model.matrix(spins) != 0).reshape(36, 2, 36, 2).any(3).any(1)
    same = (colours[:, None] == colours).any(-1)
    assert torch.equal(colours[:, 1], colours[:, 0] + 1)
    assert torch.equal(joined & same, torch.eye(36, dtype=torch.bool))
    numbers = torch.from_numpy(arrangement.draw(1, rng)).reshape(36, 2)
    assert torch.equal(numbers[:, 0], numbers[:, 1]) and len(set(numbers[:, 0].tolist())) == 36


# --- error bars -------------------------------------------------------------------------------------------------------


def cases(rng):
    """Models, fields, temperatures and ensembles, dense for the referee."""
    models = (skyrmion_magnet(triangular(5)), SDModel(square(4), J=6.0), Holstein(square(7), g=1.5))
    for model in models:
        for kT in (0.08, 0.3):
            for fixed in ({"mu": -1.0}, {"filling": 0.3}):
                field = torch.randn(2, model.lattice.n_sites, model.components, generator=rng, dtype=torch.float64)
                field = field / field.norm(dim=-1, keepdim=True) if model.components == 3 else field
                yield model, model.matrix(field), kT, fixed


def test_the_true_error_stays_within_the_stated_bar(rng):
    """96 solutions against diagonalisation: as many inside as 95 % confidence says, and the bar not much wider."""
    inside, looseness, measured, true = [], [], [], []
    kinds = [
        {"probes": random_vectors(16), "estimator": "direct"},
        {"probes": random_vectors(16, phases="sign"), "estimator": "gradient"},
        {"probes": coloured_vectors(1, sets=3), "estimator": "direct"},
        {"probes": coloured_vectors(1), "estimator": "gradient"},
    ]
    for model, h, kT, fixed in cases(rng):
        exact = Dense(kT=kT, **fixed).solve(h, model.rows, model.columns)
        for kind in kinds:
            answer = Chebyshev(kT=kT, accuracy=1e-3, rng=rng, **kind, **fixed).solve(h, model.rows, model.columns)
            error = rms(answer.rho - exact.rho)
            inside += (error <= answer.error).tolist()
            looseness += (answer.error / error).tolist()
            measured += answer.bars.noise.tolist()
            true += error.tolist()
    assert len(inside) == 96
    assert binom.cdf(sum(inside), len(inside), 0.95) > 1e-3
    assert np.median(looseness) < 2
    # The square of the noise is an unbiased estimate of the mean square error.
    assert np.mean(np.square(measured)) == pytest.approx(np.mean(np.square(true)), rel=0.1)


@estimators
@pytest.mark.parametrize("accuracy", [1e-1, 1e-2, 1e-4, 1e-8])
def test_the_truncation_bounds_every_element(estimator, accuracy, rng):
    """24 solutions for each accuracy: no element is off by more than stated, and the accuracy is met."""
    worst = []
    for model, h, kT, fixed in cases(rng):
        exact = Dense(kT=kT, **fixed).solve(h, model.rows, model.columns)
        answer = Chebyshev(kT=kT, accuracy=accuracy, estimator=estimator, **fixed).solve(h, model.rows, model.columns)
        error = (answer.rho - exact.rho).abs().amax(-1)
        assert (error <= answer.error).all()
        assert (answer.error <= accuracy + 1e-12).all()
        worst += (error / answer.error).tolist()
    assert max(worst) > 1e-2  # a bound, and no astronomical one


def test_errors_of_potentials_are_those_of_student(rng):
    inside = []
    for model, h, kT, fixed in cases(rng):
        exact = Dense(kT=kT, **fixed).solve(h, model.rows, model.columns, degeneracy=2)
        for sets in (2, 4):
            solver = Chebyshev(kT=kT, accuracy=1e-3, probes=coloured_vectors(1, sets=sets), rng=rng, **fixed)
            answer = solver.solve(h, model.rows, model.columns, degeneracy=2)
            bar = answer.bars.potential * answer.bars.quantile()
            inside += ((answer.potential - exact.potential).abs() <= bar).tolist()
    assert len(inside) == 48
    assert binom.cdf(sum(inside), len(inside), 0.95) > 1e-3


@estimators
@pytest.mark.parametrize("accuracy", [1e-2, 1e-8])
def test_the_accuracy_is_reached_where_few_levels_lie_near_mu(estimator, accuracy, rng):
    """Level spacings of some kT: what N(μ) lacks moves μ by more than the same number would in a metal."""
    model = SDModel(square(6), J=1.0)
    h = model.matrix(model.field_type.random(36, 3, rng))
    for filling in (0.5, 0.3):
        exact = Dense(kT=0.02, filling=filling).solve(h, model.rows, model.columns)
        solver = Chebyshev(kT=0.02, filling=filling, accuracy=accuracy, estimator=estimator)
        answer = solver.solve(h, model.rows, model.columns)
        assert float((answer.rho - exact.rho).abs().max()) <= float(answer.error) <= accuracy


def test_a_batch_solved_in_parts_states_the_noise_of_every_part(rng, monkeypatch):
    """Parts that needed unit vectors must not make those that did not look exact."""
    model = Holstein(square(8), g=1.0)
    field = torch.randn(64, generator=rng, dtype=torch.float64)
    field = torch.stack([20 * field.sign(), field])
    h = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(field[..., None]))
    monkeypatch.setattr("nearsight.solvers.kpm.chebyshev.ROWS", 64)

    def solve(matrix):
        chance = torch.Generator().manual_seed(3)
        solver = Chebyshev(mu=0.0, kT=0.2, accuracy=0.01, probes=coloured_vectors(), rng=chance)
        return solver.solve(matrix, model.rows, model.columns)

    first, second = (solve(SparseMatrix(h.pattern, values)) for values in h.values)
    assert {first.bars.sets, second.bars.sets} == {1, 2}
    both = solve(h)
    assert both.bars.sets == 2
    torch.testing.assert_close(
        both.error.sort().values, torch.stack([first.error, second.error]).sort().values, rtol=0.3, atol=0
    )


@pytest.mark.parametrize("probes", [random_vectors(), coloured_vectors()], ids=repr)
def test_probes_left_open_reach_the_accuracy(probes, rng):
    model = Holstein(square(16), g=1.0)
    field = torch.randn(256, 1, generator=rng, dtype=torch.float64)
    solver = Chebyshev(filling=0.5, kT=0.5, accuracy=0.04, probes=probes, rng=rng)
    answer = solver.solve(model.matrix(field), model.rows, model.columns)
    exact = Dense(filling=0.5, kT=0.5).solve(model.matrix(field), model.rows, model.columns)
    assert float(rms(answer.rho - exact.rho)) <= float(answer.error) <= 0.04
    assert answer.probes < 256


def test_an_accuracy_that_no_probes_reach_cheaper_is_reached_by_unit_vectors(rng):
    model, spins = magnet(rng)
    solver = Chebyshev(mu=-2.0, kT=0.1, accuracy=1e-6, probes=coloured_vectors(), rng=rng)
    answer = solver.solve(model.matrix(spins), model.rows, model.columns)
    assert answer.probes == model.orbitals and float(answer.error) <= 1e-6


@pytest.mark.parametrize("moments", [64, 128, 256])
def test_a_damped_step_errs_as_much_as_it_says(moments, rng):
    model, spins = magnet(rng, 3, side=6)
    h = model.matrix(spins)
    exact = Dense(mu=-3.5, kT=0.0).solve(h, model.rows, model.columns)
    solver = Chebyshev(mu=-3.5, kT=0.0, kernel="jackson", moments=moments)
    answer = solver.solve(h, model.rows, model.columns)
    assert (rms(answer.rho - exact.rho) < answer.error).all() and (answer.error < 0.2).all()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "bound"),
        ({"kT": 0.0, "kernel": "jackson", "moments": 64}, "rms"),
        ({"probes": random_vectors(8)}, "95 %"),
        ({"probes": coloured_vectors(1)}, "95 %"),
        ({"probes": coloured_vectors(99)}, "bound"),
    ],
    ids=str,
)
def test_an_answer_says_what_its_error_is(options, kind, rng):
    model, spins = magnet(rng, side=3)
    solver = Chebyshev(**{"mu": -2.0, "kT": 0.2, "accuracy": 1e-3, "rng": rng} | options)
    assert solver.solve(model.matrix(spins), model.rows, model.columns).error_kind == kind


def test_a_force_errs_by_the_coupling_times_the_error_of_the_density_matrix(rng):
    model, spins = magnet(rng, 3)
    exact = ExactForceField(model, Dense(mu=-3.5, kT=0.1)).electrons
    field = ExactForceField(model, Chebyshev(mu=-3.5, kT=0.1, accuracy=1e-4)).electrons
    answer = field.electrons(spins)
    assert answer.error_kind == "bound"
    bound = model.force_error(answer.error.max(), answer.error_kind).component
    assert 0 < float((field(spins).force - exact(spins).force).abs().max()) <= float(bound) <= 1e-4


def test_single_precision_is_right_to_the_rounding_it_states(rng):
    model, spins = magnet(rng)
    h = model.matrix(spins)
    exact = Dense(filling=0.3, kT=0.02).solve(h, model.rows, model.columns)
    solver = Chebyshev(filling=0.3, kT=0.02, accuracy=1e-7, dtype=torch.float32)
    answer = solver.solve(h, model.rows, model.columns)
    assert 1e-9 < float(rms(answer.rho - exact.rho)) < float(answer.error) < 1e-5


# --- the same answer by all ways --------------------------------------------------------------------------------------


@ensembles
@estimators
def test_both_backends_and_any_number_of_threads_agree(fixed, estimator, rng):
    model, spins = magnet(rng, 2, side=6)
    h = model.matrix(spins)
    answers = []
    for backend, threads in ((NumbaProducts, 1), (NumbaProducts, 2), (TorchProducts, 1)):
        torch.set_num_threads(threads)
        try:
            chance = torch.Generator().manual_seed(3)
            solver = Chebyshev(
                kT=0.2,
                accuracy=1e-3,
                probes=random_vectors(512, sets=4),
                rng=chance,
                estimator=estimator,
                products=backend,
                **fixed,
            )
            answers.append(solver.solve(h, model.rows, model.columns))
        finally:
            torch.set_num_threads(1)
    torch.testing.assert_close(answers[0].rho, answers[1].rho, atol=1e-12, rtol=0)
    torch.testing.assert_close(answers[0].rho, answers[2].rho, atol=1e-9, rtol=0)
    torch.testing.assert_close(answers[0].potential, answers[2].potential, atol=1e-8, rtol=0)


def test_a_lattice_too_large_for_a_dense_matrix_is_solved(rng):
    """40 × 40 sites of the magnet; the referee is the torus of 8 × 8, of which it is 25 periods."""
    small, spins = magnet(rng, side=8)
    model = small.on(triangular(40))
    field = spins.reshape(8, 8, 3).repeat(5, 5, 1).reshape(-1, 3)
    h = SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(field))
    solver = Chebyshev(mu=-3.5, kT=1.0, accuracy=1e-2, probes=coloured_vectors(1), dtype=torch.float32, rng=rng)
    answer = solver.solve(h, model.rows, model.columns)
    # At kT = 1 the torus of 8 × 8 is as good as infinite.
    exact = Dense(mu=-3.5, kT=1.0).solve(small.matrix(spins), small.rows, small.columns)
    expected = exact.rho.reshape(8, 8, 4).repeat(5, 5, 1).reshape(-1)
    assert float(rms(answer.rho - expected)) < float(answer.error)
    assert float(answer.number) == pytest.approx(25 * float(exact.number), abs=4 * float(answer.bars.number) + 0.05)


@pytest.mark.parametrize("kernel", ["jackson", "lorentz", "fejer"])
def test_the_density_of_states_counts_all_levels(kernel, rng):
    model, spins = magnet(rng, 2)
    energies = torch.linspace(-9, 12, 3001, dtype=torch.float64)
    solver = Chebyshev(mu=0.0, kT=0.1, moments=128, kernel=kernel)
    dos = solver.density_of_states(model.matrix(spins), energies)
    total = torch.trapezoid(dos.values, energies)
    torch.testing.assert_close(total, torch.full((2,), 32.0).double(), rtol=1e-2, atol=0)
    assert float(dos.error.max()) == 0


def test_jackson_levels_are_gaussians_of_the_stated_width():
    h = torch.diag(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    energies = torch.linspace(-0.3, 0.3, 2001, dtype=torch.float64)
    dos = Chebyshev(mu=0.0, kT=0.1, moments=200).density_of_states(h, energies).values
    weight = torch.trapezoid(dos, energies)
    width = (torch.trapezoid(dos * energies**2, energies) / weight).sqrt()
    assert float(weight) == pytest.approx(1.0, abs=1e-3)
    assert float(width) == pytest.approx(math.pi * 1.02 / 201, rel=0.03)


def test_random_densities_of_states_err_as_much_as_they_say(rng):
    model, spins = magnet(rng, 4)
    h = model.matrix(spins)
    energies = torch.linspace(-4, 6, 40, dtype=torch.float64)
    exact = Chebyshev(mu=0.0, kT=0.1, moments=32, kernel="jackson").density_of_states(h, energies)
    solver = Chebyshev(mu=0.0, kT=0.1, moments=32, kernel="jackson", probes=random_vectors(64, sets=16), rng=rng)
    estimate = solver.density_of_states(h, energies)
    error = (estimate.values - exact.values).square().mean().sqrt()
    assert float(error) == pytest.approx(float(estimate.error.square().mean().sqrt()), rel=0.3)


@pytest.mark.parametrize("count", [1, 7])
def test_the_number_of_the_moments_is_that_of_the_levels(count):
    levels = np.linspace(-0.9, 0.8, count)
    moments = np.cos(np.arange(401)[:, None] * np.arccos(levels)).sum(-1)[None]
    thermodynamics = MomentThermodynamics(FermiSeries(band(), 0.05, 401), moments)
    mu, gap = thermodynamics.chemical_potential(0.4)
    assert gap.tolist() == [0.0]
    assert float(thermodynamics.at(mu).number[0]) == pytest.approx(0.4 * count, rel=1e-12)
    assert float(expit((mu - levels) / 0.05).sum()) == pytest.approx(0.4 * count, rel=1e-9)


@estimators
@pytest.mark.parametrize(
    ("model", "filling"),
    [
        (SDModel(square(4), J=6.0), 0.5),
        (SDModel(square(2), t=(1.0, 0.4), J=1.0), 0.25),
        (SDModel(honeycomb(3), J=-4.0), 0.5),
    ],
    ids=["half filling", "smallest torus", "honeycomb"],
)
def test_in_a_gap_mu_is_its_middle_however_coarse_the_sum(model, filling, estimator, rng):
    """Truncation and rounding leave N(μ) almost constant there: they may not choose where in the gap μ lies."""
    h = model.matrix(model.field_type.random(model.lattice.n_sites, 3, rng))
    levels = torch.linalg.eigvalsh(h)
    below = round(filling * len(levels))
    for kT in (0.01, 0.04):
        exact = Dense(kT=kT, filling=filling).solve(h, model.rows, model.columns)
        assert float(levels[below] - levels[below - 1]) > 20 * kT
        for accuracy, dtype in ((1e-8, torch.float64), (1e-2, torch.float64), (1e-3, torch.float32)):
            solver = Chebyshev(kT=kT, filling=filling, accuracy=accuracy, estimator=estimator, dtype=dtype)
            answer = solver.solve(h, model.rows, model.columns)
            assert float(answer.mu) == pytest.approx(float(exact.mu), abs=0.05 * kT)
            assert float(answer.grand_potential) == pytest.approx(float(exact.grand_potential), abs=0.05)
            assert float((answer.rho - exact.rho).abs().max()) <= float(answer.error) <= accuracy


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_levels_outside_the_band_are_noticed(rng, monkeypatch):
    model, spins = magnet(rng)

    def narrow(lowest, highest, *, margin):
        return Band(0.5 * (lowest + highest), 0.45 * (highest - lowest))

    monkeypatch.setattr(Band, "around", narrow)
    for estimator in ("direct", "gradient"):
        for dtype in (torch.float32, torch.float64):
            solver = Chebyshev(mu=-2.0, kT=0.02, accuracy=1e-4, estimator=estimator, dtype=dtype)
            with pytest.raises(ArithmeticError, match=r"levels outside the band .* margin="):
                solver.solve(model.matrix(spins), model.rows, model.columns)


def test_moments_that_cannot_resolve_the_temperature_are_refused_with_the_number_that_can(rng):
    model, spins = magnet(rng)
    with pytest.raises(ValueError, match=r"moments = 16 cannot resolve kT = 0.01 .* Use moments=(\d+)") as caught:
        Chebyshev(mu=-2.0, kT=0.01, moments=16).solve(model.matrix(spins), model.rows, model.columns)
    enough = int(str(caught.value).split("moments=")[1].split()[0])
    answer = Chebyshev(mu=-2.0, kT=0.01, moments=enough).solve(model.matrix(spins), model.rows, model.columns)
    assert float(answer.error) <= 1e-3


def test_a_temperature_that_needs_millions_of_moments_is_refused():
    h = torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"kT = 1e-09 needs about .* moments .* Dense or Poles"):
        Chebyshev(mu=0.0, kT=1e-9).solve(h, torch.arange(2), torch.arange(2))
    # Nor are moments given by hand paid for with all the memory there is.
    for kernel in (None, "jackson"):
        with pytest.raises(ValueError, match="too sharp for any series; use kT=0 with a kernel"):
            Chebyshev(mu=0.0, kT=1e-9, moments=64, kernel=kernel).solve(h, torch.arange(2), torch.arange(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 0.0}, "At kT = 0 .* kernel='jackson' and moments="),
        ({"kT": 0.0, "moments": 100}, "At kT = 0"),
        ({"kT": 0.1, "kernel": "jackson"}, "give moments="),
        ({"kT": 0.1, "kernel": "dirichlet", "moments": 9}, "kernel must be one of None, 'jackson', 'lorentz', 'fejer'"),
        ({"kT": 0.1, "accuracy": 0.0}, r"accuracy \(of elements of ρ\) must be a finite real number > 0 and < 1"),
        ({"kT": 0.1, "accuracy": math.nan}, r"accuracy \(of elements of ρ\) must be a finite"),
        ({"kT": 0.1, "moments": 2}, "moments must be a whole number ≥ 4"),
        ({"kT": 0.1, "estimator": "best"}, "estimator must be one of None, 'direct', 'gradient'"),
        ({"kT": 0.1, "dtype": torch.complex64}, "dtype must be torch.float32 or torch.float64"),
        ({"kT": 0.1, "margin": 0.0}, r"margin \(of the bandwidth\) must be a finite real number > 0 and < 1"),
        ({"kT": 0.1, "probes": random_vectors(8)}, "need rng="),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Chebyshev(mu=0.0, **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_vectors(6), "multiple of sets = 4"),
        (lambda: random_vectors(12, orbitals=2), "multiple of sets = 4 times orbitals = 2"),
        (lambda: coloured_vectors(2, orbitals=0), "orbitals must be a whole number ≥ 1"),
        (lambda: random_vectors(8, sets=1), "sets must be a whole number ≥ 2"),
        (lambda: random_vectors(8, phases="z2"), "phases must be one of"),
        (lambda: coloured_vectors(0), "distance must be a whole number ≥ 1"),
        (lambda: coloured_vectors(2, colours=torch.arange(4)), "either distance= .* or colours="),
        (lambda: coloured_vectors(colours=torch.tensor([0, -1])), "colours must lie ≥ 0"),
        (lambda: lattice_colours(square(4), 0), "period must be a whole number ≥ 1"),
    ],
)
def test_impossible_probes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_colours_of_another_lattice_are_refused(rng):
    model, spins = magnet(rng)
    solver = Chebyshev(mu=0.0, kT=0.1, probes=coloured_vectors(colours=torch.arange(16)), rng=rng)
    with pytest.raises(ValueError, match="16 orbitals have a colour, but the matrix has 32"):
        solver.solve(model.matrix(spins), model.rows, model.columns)


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (random_vectors(12, orbitals=3), "32 orbitals are no whole number of sites with 3"),
        (coloured_vectors(colours=torch.arange(32) // 2, orbitals=2), r"lattice_colours\(lattice, period, 2\)"),
    ],
    ids=repr,
)
def test_orbitals_that_are_not_those_of_a_site_are_refused(probes, message, rng):
    model, spins = magnet(rng)
    with pytest.raises(ValueError, match=message):
        Chebyshev(mu=0.0, kT=0.1, probes=probes, rng=rng).solve(model.matrix(spins), model.rows, model.columns)


def test_its_name_tells_how_it_looks():
    exact = Chebyshev(mu=-3.5, kT=0.02)
    assert repr(exact) == f"Chebyshev(kT=0.02, mu=-3.5, accuracy=1e-06, probes={unit_vectors()!r}, margin=0.01)"
    named = repr(Chebyshev(filling=0.5, kT=0.02, moments=256, probes=coloured_vectors(2), rng=torch.Generator()))
    assert "filling=0.5" in named and "moments=256" in named and "kind=coloured, distance=2" in named
    assert re.search("colours=array 8 [0-9a-f]{8}", repr(coloured_vectors(colours=torch.arange(8) % 4)))


def test_solvers_that_answer_differently_have_different_names():
    rng = torch.Generator()
    given = {"mu": -3.5, "kT": 0.02, "rng": rng}
    colours = torch.arange(8) % 4
    variants = [
        {"mu": -3.5 + 1e-12},
        {"kT": 0.1 + 0.2},
        {"kT": 0.3},
        {"dtype": torch.float32},
        {"margin": 0.02},
        {"estimator": "gradient"},
        {"moments": 512},
        {"probes": random_vectors(8)},
        {"probes": random_vectors(8, sets=8)},
        {"probes": random_vectors(8, phases="sign")},
        {"probes": random_vectors(8), "estimator": "direct"},
        {"probes": random_vectors(8, orbitals=2)},
        {"probes": coloured_vectors(colours=colours)},
        {"probes": coloured_vectors(colours=colours.flip(0))},
        {"probes": coloured_vectors(3)},
        {"probes": coloured_vectors(), "moments": 512},
        {"probes": coloured_vectors(), "moments": 512, "accuracy": 1e-3},
    ]
    names = [repr(Chebyshev(**given)), *(repr(Chebyshev(**(given | v))) for v in variants)]
    assert len(set(names)) == len(names)


@pytest.mark.gpu
@estimators
def test_a_gpu_gives_the_same_answer(estimator, rng):
    model, spins = magnet(rng, 2)
    h = model.matrix(spins)
    solver = Chebyshev(filling=0.3, kT=0.1, accuracy=1e-8, estimator=estimator)
    here, there = solver.solve(h, model.rows, model.columns), solver.solve(h.cuda(), model.rows, model.columns)
    torch.testing.assert_close(there.rho.cpu(), here.rho, atol=1e-9, rtol=0)
    torch.testing.assert_close(there.free_energy.cpu(), here.free_energy, atol=1e-9, rtol=0)
