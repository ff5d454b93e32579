"""Exact electrons on point clouds: against a matrix written out by hand, perturbation theory, and other solvers."""

import numpy as np
import pytest
import torch

from nearsight.fields import random_spins
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Exponential, SDModel
from nearsight.lattices import PointCloud, random_cloud, torus_distance
from nearsight.solvers import Chebyshev, Dense, Poles

THESIS = Exponential(-1.0)


def amorphous(n, seed=3, density=0.8):
    return random_cloud(n, density, 0.5, rng=torch.Generator().manual_seed(seed))


def written_out(cloud, spins, J):
    """+Σ exp(-R) c†c at the nearest image, minus J S·c†σc, element by element."""
    n, sigma = cloud.n_sites, np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    h = np.zeros((2 * n, 2 * n), dtype=complex)
    for i in range(n):
        h[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = -J * np.einsum("a,aij->ij", spins[i], sigma)
        for j in range(n):
            if i != j:
                away = np.exp(-torus_distance(cloud.positions[j] - cloud.positions[i], cloud))
                h[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = away * np.eye(2)
    return h


def test_the_matrix_is_that_of_the_thesis(rng):
    cloud = amorphous(15)
    spins = random_spins(cloud, rng)
    h = SDModel(cloud, t=THESIS, J=6.0).matrix(spins).numpy()
    np.testing.assert_allclose(h, written_out(cloud, spins.numpy(), 6.0), atol=1e-13)


@pytest.mark.parametrize("kT", [0.0, 0.05])
def test_fields_are_those_of_numerical_derivatives_of_the_energy(kT, rng):
    cloud = amorphous(12)
    spins, J = random_spins(cloud, rng).numpy(), 6.0
    exact = ExactForceField(SDModel(cloud, t=THESIS, J=J), Dense(filling=0.5, kT=kT))

    def energy(s):  # half filling, in the middle of a gap of some 7 t
        e = np.linalg.eigvalsh(written_out(cloud, s, J))
        return e[: cloud.n_sites].sum()

    H = exact(torch.from_numpy(spins)).force.numpy()
    for i, a in ((0, 0), (3, 1), (11, 2)):
        kick = np.zeros_like(spins)
        kick[i, a] = 1e-4
        assert H[i, a] == pytest.approx(-(energy(spins + kick) - energy(spins - kick)) / 2e-4, abs=1e-6)


def test_weak_coupling_is_second_order_perturbation_theory(rng):
    r"""Ω(J) - Ω(0) -> J² Σ_ij χ_ij S_i·S_j with χ_ij = Σ_nm ψ_n(i) ψ_m(i) ψ_n(j) ψ_m(j) (f_n - f_m)/(e_n - e_m):
    the RKKY interaction of electrons that are no plane waves."""
    cloud, kT, mu = amorphous(24), 0.3, -0.2
    spins = random_spins(cloud, rng)
    hopping = Exponential(-1.0, cutoff=2.5)
    H0 = SDModel(cloud, t=hopping, J=0.0).matrix(spins)[::2, ::2].real
    e, psi = torch.linalg.eigh(H0)
    f = torch.sigmoid((mu - e) / kT)
    slope = -f * (1 - f) / kT
    gap = e[:, None] - e
    ratio = torch.where(gap.abs() < 1e-9, slope[:, None], (f[:, None] - f) / torch.where(gap.abs() < 1e-9, 1.0, gap))
    chi = torch.einsum("in,im,jn,jm,nm->ij", psi, psi, psi, psi, ratio)
    errors = []
    for J in (0.1, 0.05):
        model, solver = SDModel(cloud, t=hopping, J=J), Dense(mu=mu, kT=kT)
        exact = ExactForceField(model, solver)(spins)
        free = ExactForceField(SDModel(cloud, t=hopping, J=0.0), solver)(spins)
        energy = J**2 * torch.einsum("ij,ia,ja->", chi, spins, spins)
        field = -2 * J**2 * chi @ spins
        assert float(exact.energy - free.energy) == pytest.approx(float(energy), rel=10 * J**2)
        errors.append(float((exact.force - field).norm() / field.norm()))
    assert errors[0] < 0.05 and errors[1] == pytest.approx(errors[0] / 4, rel=0.1)  # the next order is J⁴


def test_sparse_solvers_agree_with_diagonalisation(rng):
    cloud = amorphous(30)
    spins = random_spins(cloud, rng)
    model = SDModel(cloud, t=Exponential(-1.0, cutoff=1.6), J=6.0)
    expected = ExactForceField(model, Dense(mu=0.0, kT=0.1))(spins)
    poles = ExactForceField(model, Poles(mu=0.0, kT=0.1, tol=1e-8))(spins)
    torch.testing.assert_close(poles.force, expected.force, atol=1e-6, rtol=0)
    series = ExactForceField(model, Chebyshev(mu=0.0, kT=0.1, accuracy=1e-6))(spins)
    torch.testing.assert_close(series.force, expected.force, atol=1e-4, rtol=0)


def test_a_site_without_neighbours_has_the_field_of_an_isolated_spin(rng):
    cloud = PointCloud([[0.0, 0.0, 0.0], [0.7, 0.0, 0.0], [6.0, 6.0, 6.0]], cell=12.0)
    spins = random_spins(cloud, rng)
    exact = ExactForceField(SDModel(cloud, t=Exponential(-1.0, cutoff=2.0), J=6.0), Dense(mu=0.0, kT=0.0))
    H = exact(spins).force
    torch.testing.assert_close(H[2], 6.0 * spins[2], atol=1e-12, rtol=0)  # one electron along its spin
    assert float(torch.linalg.cross(spins, H)[:2].norm()) > 1e-3


def test_the_numbers_of_the_amorphous_magnet(rng):
    """N = 100, J = 6, random spins: the gap, the field along spins, and that which turns them."""
    cloud = amorphous(100)
    spins = random_spins(cloud, rng, 4)
    model = SDModel(cloud, t=THESIS, J=6.0)
    exact = ExactForceField(model, Dense(filling=0.5, kT=0.0))
    H = exact(spins).force
    along = (H * spins).sum(-1)
    normal = H - along[..., None] * spins
    e = torch.linalg.eigvalsh(model.matrix(spins))
    gap = e[:, 100] - e[:, 99]
    assert 7.0 < float(gap.mean()) < 7.8
    assert 5.88 < float(along.mean()) < 5.97
    assert 0.023 < float(normal.square().sum(-1).mean().sqrt()) < 0.029
