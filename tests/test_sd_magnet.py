"""The s-d model against published numbers and closed forms (see also contracts/hamiltonian_contract.py)."""

import math

import numpy as np
import pytest
import torch

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, double_exchange, skyrmion_magnet
from nearsight.lattices import Lattice, chain, honeycomb, square, triangular
from nearsight.solvers import Chebyshev, Dense, Poles, choose


def ferromagnet(lattice: Lattice) -> torch.Tensor:
    return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(lattice.n_sites, 3).clone()


def antiferromagnet(lattice: Lattice) -> torch.Tensor:
    return ferromagnet(lattice) * torch.from_numpy((-1.0) ** lattice.cells.sum(1))[:, None]


# --- published numbers ------------------------------------------------------------------------------------------------


def test_a_ferromagnet_with_one_tilted_spin_has_the_published_grand_energy_and_fields():
    """Grand potential per site, density matrix and field of the tilted spin at kT = 0.

    The reference writes the hopping as +t with t₁ = -1, t₃ = -0.5, and adds s₁ = 0.1 to the field for each of the four
    neighbours as an antiferromagnetic exchange +s₁ S·S that its energy leaves out. Its energy is from eigenvalues, its
    density matrix and fields from 2000 Chebyshev moments in single precision.
    """
    model = SDModel(square(6), t=(1.0, 0.0, 0.5), J=0.5, exchange=-0.1)
    spins = ferromagnet(model.lattice)
    spins[0] = 1 / math.sqrt(3)
    exact = ExactForceField(model, Dense(mu=0.103, kT=0.0))
    answer = exact.electrons.electrons(spins)
    assert float(answer.grand_potential) / 36 == pytest.approx(-1.98657216, abs=5e-9)
    up, down, mixed, _ = answer.rho[:4].tolist()
    assert (up.real, down.real) == pytest.approx((0.481926, 0.450972), abs=1e-5)
    assert (mixed.real, mixed.imag) == pytest.approx((0.0507966, -0.0507966), abs=1e-6)
    field = exact.electrons(spins).force[0].tolist()
    assert field == pytest.approx([0.0507965542, 0.0507965542, 0.015476587], abs=5e-6)
    assert exact(spins).force[0].tolist() == pytest.approx([0.0507965542, 0.0507965542, -0.384523162], abs=5e-6)


@pytest.mark.parametrize(("order", "energy"), [(antiferromagnet, -6.31517), (ferromagnet, -6.0)], ids=["AFM", "FM"])
def test_double_exchange_at_half_filling_prefers_the_antiferromagnet(order, energy):
    """Of the infinite lattice: the mean of -√(ε² + J²) in the antiferromagnet, -J in the ferromagnet with its gap."""
    model = double_exchange(square(12))
    answer = ExactForceField(model, Dense(mu=0.0, kT=0.0)).electrons.electrons(order(model.lattice))
    assert float(answer.energy) / 144 == pytest.approx(energy, abs=2e-4)
    assert float(answer.number) == pytest.approx(144, abs=1e-9)


def test_random_spins_leave_a_gap_at_strong_coupling(rng):
    model = double_exchange(square(16))
    spins = model.field_type.random(256, 3, rng)
    levels = torch.linalg.eigvalsh(model.matrix(spins))
    assert float(levels[256] - levels[255]) == pytest.approx(6.9, abs=0.3)
    field = ExactForceField(model, Dense(mu=0.0, kT=0.01)).electrons(spins).force
    along = (field * spins).sum(-1)
    assert float(along.mean()) == pytest.approx(5.83, abs=0.05)
    across = field - along[:, None] * spins
    assert float(across.square().sum(-1).mean().sqrt()) == pytest.approx(0.12, abs=0.03)


def test_the_triangular_magnet_nests_at_its_wave_vector():
    """χ₀(q) peaks at Q = (π/3, 0), with the band and the filling of the hopping -t and not +t."""
    model, L = skyrmion_magnet(triangular(48)), 48
    rows, columns, values = model.constant_elements
    spinless = torch.zeros(L * L, dtype=torch.complex128)
    from_origin = (columns == 0) & (rows % 2 == 0)
    spinless.index_add_(0, rows[from_origin] // 2, values[from_origin])
    eps = np.fft.fft2(spinless.reshape(L, L).numpy()).real
    assert (eps.min(), eps.max()) == pytest.approx((-4.53, 7.10), abs=0.01)
    kT, mu = 0.02, -3.5
    f = 0.5 * (1 - np.tanh((eps - mu) / (2 * kT)))
    assert f.mean() == pytest.approx(0.199, abs=2e-3)

    # Q = (π/3, 0) and its rotations have the components (π/3, π/6) along the primitive vectors.
    def chi_at(m: int, n: int) -> float:
        shifted, occupied = np.roll(eps, (m, n), (0, 1)), np.roll(f, (m, n), (0, 1))
        same = np.abs(eps - shifted) < 1e-9
        ratio = np.where(same, f * (1 - f) / kT, (occupied - f) / np.where(same, 1.0, eps - shifted))
        return float(ratio.mean())

    along = [chi_at(2 * k, k) for k in range(1, 13)]
    assert int(np.argmax(along)) + 1 == L // 12
    assert along[L // 12 - 1] == pytest.approx(0.201, abs=0.01)
    assert along[0] < 0.15


# --- laws -------------------------------------------------------------------------------------------------------------


MODELS = [
    pytest.param(SDModel(square(4), J=1.3, K=0.2, B=(0.1, 0.0, 0.3), exchange=(0.1, -0.2)), id="square"),
    pytest.param(skyrmion_magnet(triangular(4)), id="triangular"),
    pytest.param(SDModel(honeycomb(2), J=0.7, k=0.4, unit=False), id="honeycomb, any length"),
    pytest.param(SDModel(chain(5), t=(1.0, 0.4), twist=(0.7,)), id="chain, twisted"),
]
laws = pytest.mark.parametrize("model", MODELS)
ensembles = pytest.mark.parametrize("fixed", [{"mu": -0.5}, {"filling": 0.3}], ids=["fixed mu", "fixed number"])


@laws
@ensembles
def test_fields_are_minus_the_gradient_of_the_potential(model, fixed, rng):
    exact = ExactForceField(model, Dense(kT=0.1, **fixed))
    spins = model.field_type.random(model.lattice.n_sites, 3, rng)
    step = 1e-3
    kicks = step * torch.eye(spins.numel(), dtype=torch.float64).reshape(-1, *spins.shape)
    up, down, far_up, far_down = (exact(spins + m * kicks).energy for m in (1, -1, 2, -2))
    gradient = (8 * (up - down) - (far_up - far_down)) / (12 * step)
    torch.testing.assert_close(exact(spins).force.reshape(-1), -gradient, atol=1e-7, rtol=0)


@laws
def test_turning_all_spins_turns_the_fields_of_the_electrons(model, rng):
    electrons = ExactForceField(model, Dense(mu=-0.5, kT=0.1)).electrons
    spins = model.field_type.random(model.lattice.n_sites, 3, rng)
    force, energy = electrons(spins)
    for _ in range(4):
        R = model.field_type.internal_operation(3, rng)
        turned = electrons(spins @ R.T)
        torch.testing.assert_close(turned.force, force @ R.T, atol=1e-11, rtol=0)
        torch.testing.assert_close(turned.energy, energy, atol=1e-11, rtol=0)


def test_a_twist_with_a_handedness_breaks_reversal_in_the_declared_symmetry():
    assert SDModel(chain(5), twist=(0.7,)).field_type.internal == "SO(n)"
    assert SDModel(chain(5), twist=(math.pi,)).field_type.internal == "O(n)"


def test_one_site_splits_into_two_levels():
    """Without hopping the levels are ∓J_σ|S|, and the field points along the spin."""
    model = SDModel(chain(3), t=0.0, J=2.0, pauli=False)
    spins = torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8], [0.0, 0, 0.5]], dtype=torch.float64)
    levels = torch.linalg.eigvalsh(model.matrix(spins))
    torch.testing.assert_close(levels, torch.tensor([-1, -1, -0.5, 0.5, 1, 1]).double(), atol=1e-14, rtol=0)
    electrons = ExactForceField(model, Dense(mu=0.0, kT=1e-3)).electrons
    force = electrons(spins).force
    torch.testing.assert_close(force, spins / spins.norm(dim=-1, keepdim=True), atol=1e-12, rtol=0)
    torch.testing.assert_close(model.spin_density(force), force, atol=1e-14, rtol=0)


def test_the_sign_of_the_coupling_reverses_the_electrons_alone(rng):
    spins = double_exchange(square(3)).field_type.random(9, 3, rng)
    energies = [ExactForceField(SDModel(square(3), J=J), Dense(mu=0.3, kT=0.1))(spins) for J in (1.5, -1.5)]
    assert float(energies[0].energy) == pytest.approx(float(energies[1].energy), abs=1e-12)
    torch.testing.assert_close(energies[0].force, energies[1].force, atol=1e-12, rtol=0)


def test_half_of_the_coupling_goes_to_the_electron_spin():
    assert SDModel(square(3), J=3.0).J_sigma == 3.0
    assert SDModel(square(3), J=3.0, pauli=False).J_sigma == 1.5
    assert skyrmion_magnet(triangular(3)).J_sigma == 0.5


# --- the choice of a solver -------------------------------------------------------------------------------------------


def test_small_lattices_are_diagonalised_and_large_ones_are_not(rng):
    for side, name in ((4, "Dense"), (48, "Poles")):
        model = skyrmion_magnet(triangular(side))
        spins = model.field_type.random(side * side, 3, rng)
        choice = choose(model, spins, kT=0.02, mu=-3.5)
        assert type(choice.solver).__name__ == name, str(choice)
        assert min(choice.seconds, key=choice.seconds.get) == name and "orbitals on this machine" in choice.reason
        assert "constant" not in vars(model)  # no dense matrix was built


def test_without_an_error_or_a_temperature_the_choice_is_exact(rng):
    model = skyrmion_magnet(triangular(48))
    spins = model.field_type.random(48 * 48, 3, rng)
    assert isinstance(choose(model, spins, kT=0.0, filling=0.5).solver, Dense)
    assert isinstance(choose(model, spins, kT=0.1, mu=0.0, accuracy=None).solver, Dense)
    with pytest.raises(ValueError, match="one field"):
        choose(model, spins[None], kT=0.1, mu=0.0)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": math.nan}, "t, one number or one for each neighbour shell, must be"),
        ({"t": ()}, "t must be one finite number"),
        ({"t": (1.0,) * 40}, "shell must lie in"),
        ({"J": math.inf}, "J.* must be a finite real number"),
        ({"B": (0.0, 1.0)}, "B, of three finite components, must hold 3"),
        ({"k": 1.0}, "set unit=False"),
        ({"twist": (0.1,)}, "one phase for each of the 2 axes"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SDModel(square(4), **arguments)


def test_spins_without_direction_or_length_one_are_refused_where_they_must_have_it(rng):
    model = SDModel(square(3))
    spins = 2 * model.field_type.random(9, 3, rng)
    with pytest.raises(ValueError, match="holds unit values, but 9 sites differ"):
        model.field_type.check_values(spins)
    model.field_type.check_values(model.normalised(spins))
    spins[4] = 0
    with pytest.raises(ValueError, match=r"The spin at \(4,\) has length 0"):
        model.normalised(spins)
    spins[4] = math.nan
    with pytest.raises(ValueError, match="3 NaN"):
        model.normalised(spins)


def test_other_lattices_are_refused():
    with pytest.raises(ValueError, match="triangular lattice"):
        skyrmion_magnet(square(4))
    with pytest.raises(ValueError, match="lives on a square lattice"):
        SDModel(square(4)).on(triangular(4))
    with pytest.raises(ValueError, match="At J = 0"):
        SDModel(square(4), J=0.0).spin_density(torch.zeros(16, 3))


def test_its_name_tells_the_parameters():
    expected = "SDModel(triangular, 4 × 4 sites, periodic; t=(1, 0, -0.85), J=1, pauli=False, B=(0, 0, 0.005))"
    assert repr(skyrmion_magnet(triangular(4))) == expected
    assert repr(SDModel(square(4), J=0.5, twist=(0.25, 0))).endswith("; t=1, J=0.5, twist=(0.25, 0))")


@pytest.mark.parametrize(
    "other",
    [
        {"t": 1 + 1e-12},
        {"t": (1.0, 1e-12)},
        {"J": 6 + 1e-12},
        {"pauli": False},
        {"exchange": 1e-12},
        {"K": 1e-12},
        {"K": 1e-12, "axis": (1.0, 0, 0)},
        {"B": 1e-12},
        {"unit": False, "k": 1e-12},
        {"twist": (0.0, 0.25)},
        {"twist": (0.0, 0.25 + 1e-12)},
    ],
    ids=str,
)
def test_models_that_differ_anywhere_have_different_names(other):
    """Names decide whether two runs are the same run."""
    assert repr(SDModel(square(4), **other)) != repr(SDModel(square(4)))
    assert repr(SDModel(square(4), **({"twist": (0.0, 0.25)} | other))) != repr(SDModel(square(4)))


# --- from errors of the density matrix to errors of fields ------------------------------------------------------------


def worst_field(model, error):
    """The largest change of a component and of a vector of H_0, over elements of ρ that are off by ``error`` each.

    Phases and signs on a grid, through ∂h/∂S itself: -Σ δρ*_ab ∂h_ab/∂S.
    """
    spins = model.field_type.random(model.lattice.n_sites, 3, torch.Generator().manual_seed(1))
    leaf = spins.requires_grad_()
    angle = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    component = vector = 0.0
    for up in (-1.0, 1.0):
        for phase in angle.tolist():
            mixed = complex(math.cos(phase), math.sin(phase))
            rho = torch.zeros(len(model.rows), dtype=torch.complex128)
            rho[:4] = error * torch.tensor([up, -up, mixed, mixed.conjugate()])
            work = (model.coupling(leaf) * rho.conj()).real.sum()
            (slope,) = torch.autograd.grad(work, leaf)
            component, vector = max(component, float(slope.abs().max())), max(vector, float(slope[0].norm()))
    return component, vector


@pytest.mark.parametrize("model", [SDModel(square(3), J=-1.5), skyrmion_magnet(triangular(3))], ids=["J", "J half"])
def test_a_bound_of_the_density_matrix_makes_one_of_the_fields_and_no_wider_one(model):
    stated = model.force_error(torch.tensor(0.01, dtype=torch.float64))
    component, vector = worst_field(model, 0.01)
    assert component == pytest.approx(float(stated.component), rel=1e-5)
    assert vector == pytest.approx(float(stated.vector), rel=1e-5)


@pytest.mark.parametrize(("make", "attained"), [(Poles, 0.5), (Chebyshev, 1.8)])
def test_a_field_errs_by_up_to_twice_the_coupling_times_the_error_of_the_density_matrix(make, attained):
    """One spin without hopping: H = J tanh(J/2kT) S, with a level on either side of μ.

    J scans the residual of the Fermi function. That of Chebyshev's sum is opposite at opposite levels.
    """
    kT, ratio = 0.3, []
    spins = torch.tensor([[0.36, -0.48, 0.8]], dtype=torch.float64).repeat(2, 1)
    for J in np.geomspace(0.1, 3.0, 25):
        # A second pair of levels far away, which sets the interval on which the Fermi function is fitted.
        model = SDModel(chain(2), t=1e-12, J=float(J))
        wide = torch.stack([spins[0], 4 * spins[1] / J])
        option = {"tol": 1e-3} if make is Poles else {"accuracy": 1e-3}
        field = ExactForceField(model, make(kT=kT, mu=0.0, **option)).electrons
        answer = field.electrons(wide)
        assert answer.error_kind == "bound"
        off = field(wide).force[0] - J * math.tanh(J / (2 * kT)) * spins[0]
        stated = model.force_error(answer.error, answer.error_kind)
        assert float(off.norm()) <= float(stated.vector) and float(off.abs().max()) <= float(stated.component)
        ratio.append(float(off.norm() / (J * answer.error)))
    assert attained < max(ratio) <= 2.0  # both errors are functions of h, for which 2 |J_σ| ε bounds the vector


def test_the_mean_square_error_of_fields_is_at_most_eight_times_that_of_the_density_matrix(rng):
    model = SDModel(triangular(30), J=2.0)
    spins = model.field_type.random(900, 3, rng)
    # Diagonal errors have a mean square of ½ here, the complex ones of 1: (4 + {1, 2, 0}) / (8 · 3/4).
    for sign, expected in ((0.0, math.sqrt(5 / 6)), (-1.0, 1.0), (1.0, math.sqrt(4 / 6))):
        rho = torch.randn(900, 4, generator=rng, dtype=torch.complex128)
        rho = torch.stack([rho[:, 0].real, sign * rho[:, 0].real + (1 - sign**2) * rho[:, 1].real, rho[:, 2]], 1)
        rho = torch.cat([rho, rho[:, 2:].conj()], 1).to(torch.complex128)
        leaf = spins.clone().requires_grad_()
        (slope,) = torch.autograd.grad((model.coupling(leaf) * rho.flatten().conj()).real.sum(), leaf)
        stated = model.force_error(rho.abs().square().mean().sqrt(), "95 %")
        vector, component = slope.square().sum(-1).mean().sqrt(), slope.square().mean().sqrt()
        assert float(vector) <= (1 + 1e-12) * float(stated.vector) and float(component) <= float(stated.component)
        assert float(vector / stated.vector) == pytest.approx(expected, rel=0.05)
