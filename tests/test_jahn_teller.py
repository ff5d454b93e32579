"""The Jahn-Teller model against its bands, its symmetries and the orders it is known for."""

import math

import numpy as np
import pytest
import torch

from nearsight.dynamics import Brownian, simulate
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import JahnTeller
from nearsight.lattices import chain, square, triangular
from nearsight.solvers import Dense

COLD = Dense(filling=0.5, kT=0.0)
REFLECTION = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


def normal(model: JahnTeller, rng: torch.Generator, scale: float = 0.5) -> torch.Tensor:
    return scale * torch.randn(model.lattice.n_sites, 3, generator=rng, dtype=torch.float64)


def spectrum(model: JahnTeller, field: torch.Tensor | None = None) -> np.ndarray:
    field = torch.zeros(model.lattice.n_sites, 3).double() if field is None else field
    return torch.linalg.eigvalsh(model.matrix(field)).numpy()


# --- the bands --------------------------------------------------------------------------------------------------------


def bands(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """Eigenvalues of 2 (tˣ cos kx + tʸ cos ky), written out by hand."""
    diagonal = 2 * (np.cos(kx) + np.cos(ky))
    mixing = 2 * (np.cos(ky) - np.cos(kx)) / math.sqrt(3)
    mean, half = 2 / 3 * diagonal, 1 / 3 * diagonal
    split = np.sqrt(half**2 + mixing**2)
    return np.sort(np.concatenate([(mean - split).ravel(), (mean + split).ravel()]))


@pytest.mark.parametrize("shape", [(4, 6), (2, 3), (1, 5)], ids=str)
@pytest.mark.parametrize("twist", [(0.0, 0.0), (math.pi, 0.0), (0.3, -1.1)], ids=str)
def test_electrons_without_distortions_have_two_bands(shape, twist):
    kx, ky = ((2 * np.pi * np.arange(n) + theta) / n for n, theta in zip(shape, twist, strict=True))
    expected = bands(*np.meshgrid(kx, ky, indexing="ij"))
    np.testing.assert_allclose(spectrum(JahnTeller(square(*shape), twist=twist)), expected, atol=1e-13)


def test_one_orbital_of_two_cannot_move_along_a_bond():
    """tˣ and tʸ have the eigenvalues 4/3 and 0: an open chain along x is one band and as many levels at zero."""
    levels = spectrum(JahnTeller(square(7, 1, periodic=False), t=1.5))
    moving = 1.5 * 8 / 3 * np.cos(np.pi * np.arange(1, 8) / 8)
    np.testing.assert_allclose(levels, np.sort(np.concatenate([moving, np.zeros(7)])), atol=1e-13)


def test_a_ribbon_is_open_along_one_axis_only():
    model = JahnTeller(square(5, 4, periodic=(True, False)))
    matrix = model.constant.reshape(5, 4, 2, 5, 4, 2)
    assert float(matrix[0, 0, :, 4, 0].abs().max()) > 0.5 and float(matrix[0, 0, :, 0, 3].abs().max()) == 0.0


def test_uniform_distortions_shift_and_split_the_levels(rng):
    model = JahnTeller(square(4), t=0.0, lam=1.25)
    q = torch.tensor([0.3, -0.4, 0.2], dtype=torch.float64)
    split = 1.25 * math.hypot(0.4, 0.2)
    expected = np.repeat([-1.25 * 0.3 - split, -1.25 * 0.3 + split], 16)
    np.testing.assert_allclose(spectrum(model, q.expand(16, 3)), expected, atol=1e-13)


# --- symmetries of the model ------------------------------------------------------------------------------------------


def test_a_quarter_turn_changes_the_sign_of_qx_and_of_the_orbital_a(rng):
    """h(gQ) = P h(Q) P† with P the turn of the sites and -1 on orbital a, element by element."""
    model = JahnTeller(square(4))
    field = normal(model, rng)
    grid = field.reshape(4, 4, 3)
    turned = (torch.rot90(grid, 1, (0, 1)) * REFLECTION).reshape(16, 3)
    h = model.matrix(field).reshape(4, 4, 2, 4, 4, 2)
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    expected = torch.rot90(torch.rot90(h, 1, (0, 1)), 1, (3, 4)) * sign[:, None, None, None] * sign
    torch.testing.assert_close(model.matrix(turned).reshape(4, 4, 2, 4, 4, 2), expected, atol=1e-14, rtol=0)


def test_particles_and_holes_are_mirror_images(rng):
    model = JahnTeller(square(4, 6))
    field = normal(model, rng)
    np.testing.assert_allclose(spectrum(model, -field), -spectrum(model, field)[::-1], atol=1e-13)
    exact = ExactForceField(model, Dense(mu=0.0, kT=0.1)).electrons
    force, mirrored = exact(field).force, exact(-field).force
    torch.testing.assert_close(model.density(force) + model.density(mirrored), torch.full((24,), 2.0).double())
    torch.testing.assert_close(model.pseudo_spin(mirrored), -model.pseudo_spin(force), atol=1e-12, rtol=0)


def test_a_chemical_potential_is_a_uniform_breathing(rng):
    model = JahnTeller(square(4))
    field = normal(model, rng)
    moved = field + torch.tensor([0.2 / model.lam, 0.0, 0.0], dtype=torch.float64)
    here, there = (ExactForceField(model, Dense(mu=mu, kT=0.05)).electrons for mu in (0.3, 0.1))
    torch.testing.assert_close(there(moved).force, here(field).force, atol=1e-12, rtol=0)


def test_the_symmetric_coupling_measures_the_breathing_mode_from_its_mean(rng):
    """The same lattice, described from Q¹ = λ/(βK): equal forces, and energies that differ by -λ²/(2βK) a site."""
    plain, shifted = JahnTeller(square(4)), JahnTeller(square(4), symmetric=True)
    origin = plain.lam / (plain.beta * plain.K)
    field = normal(plain, rng)
    solver = Dense(filling=0.5, kT=0.05)
    here = ExactForceField(plain, solver)(field + torch.tensor([origin, 0.0, 0.0], dtype=torch.float64))
    there = ExactForceField(shifted, solver)(field)
    torch.testing.assert_close(there.force, here.force, atol=1e-12, rtol=0)
    assert float(there.energy - here.energy) == pytest.approx(16 * 0.5 * plain.lam * origin, abs=1e-11)
    at_half = ExactForceField(shifted, Dense(mu=0.0, kT=0.05)).electrons(0 * field)
    torch.testing.assert_close(shifted.density(at_half.force), torch.ones(16).double(), atol=1e-12, rtol=0)


# --- densities from forces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_forces_tell_density_and_pseudo_spin(symmetric, rng):
    """Against the full density matrix: n = ρ_aa + ρ_bb, τˣ = 2 Re ρ_ab, τᶻ = ρ_aa - ρ_bb."""
    model = JahnTeller(square(4), symmetric=symmetric)
    field = normal(model, rng)
    solver = Dense(filling=0.49, kT=0.05)
    everywhere = (i.reshape(-1) for i in torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij"))
    rho = solver.solve(model.matrix(field), *everywhere).rho.reshape(32, 32)
    aa, bb, ab = rho.diagonal()[::2], rho.diagonal()[1::2], rho[::2, 1::2].diagonal()
    exact = ExactForceField(model, solver)
    force = exact.electrons(field).force
    torch.testing.assert_close(model.density(force), aa + bb, atol=1e-13, rtol=0)
    torch.testing.assert_close(model.pseudo_spin(force), torch.stack([2 * ab, aa - bb], dim=-1), atol=1e-13, rtol=0)
    assert float(model.density(force).sum()) == pytest.approx(0.49 * 32, abs=1e-12)
    if not symmetric:
        total = exact(field).force
        by_hand = (total[:, 0] + model.beta * model.K * field[:, 0]) / model.lam
        torch.testing.assert_close(by_hand, aa + bb, atol=1e-13, rtol=0)


# --- springs ----------------------------------------------------------------------------------------------------------


def test_springs_between_octahedra_follow_the_symmetry_of_the_square(rng):
    """Along y the coupling of Qˣ with the other modes has the opposite sign; the energy is summed by hand."""
    kappa = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    kappa = kappa + kappa.T
    model = JahnTeller(square(3, 4), kappa=kappa.tolist())
    model.on(square(4)).check(rng)
    field = normal(model, rng)
    q = field.reshape(3, 4, 3)
    energy = 0.5 * model.K * (torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64) * q * q).sum()
    for axis, matrix in ((0, kappa), (1, REFLECTION[:, None] * kappa * REFLECTION)):
        energy += torch.einsum("xym,mn,xyn->", q, matrix, torch.roll(q, -1, axis))
    assert float(model.classical_energy(field)) == pytest.approx(float(energy), rel=1e-13)


# --- the orders of the half-filled lattice ----------------------------------------------------------------------------

LEAST = {"C": -1.95393, "CDW": -1.94235, "ferro": -1.93756}
"""Energies per site at T = 0, λ = 1.25, K = 1.1574, β = 2. The two insulators have converged with the size of the
lattice; the uniform Qˣ is that of 60 × 60 sites and shrinks as 1/L, to nothing on the infinite lattice."""


def ordered(kind: str, length: int = 2) -> torch.Tensor:
    lattice = square(length)
    sign = torch.from_numpy((-1.0) ** lattice.cells.sum(1))
    field = torch.zeros(lattice.n_sites, 3, dtype=torch.float64)
    field[:, 0] = 0.54
    match kind:
        case "C":
            field[:, 1] = 0.41 * sign
        case "CDW":
            field[:, 0] += 0.1 * sign
            field[:, 2] = -0.14 * sign
        case "ferro":
            field[:, 1] = 0.05
    return field


class Bloch:
    """A cell of 2 × 2 sites repeated m × m times, solved at its m² wave vectors: the energy per site of the whole."""

    def __init__(self, m: int) -> None:
        self.model = JahnTeller(square(2))
        steps = [2 * math.pi * k / m for k in range(m)]
        self.models = [JahnTeller(square(2), twist=(x, y)) for x in steps for y in steps]

    def __call__(self, field: torch.Tensor) -> tuple[float, torch.Tensor, float]:
        """Energy per site, force on the cell, and the gap, at half filling and T = 0."""
        field = field.clone().requires_grad_()
        levels = torch.stack([torch.linalg.eigvalsh(model.matrix(field)) for model in self.models])
        ordered = levels.flatten().sort().values
        half = len(ordered) // 2
        energy = ordered[:half].sum() / len(self.models) + self.model.classical_energy(field)
        (gradient,) = torch.autograd.grad(energy, field)
        return float(energy.detach()) / 4, -gradient, float((ordered[half] - ordered[half - 1]).detach())

    def relaxed(self, field: torch.Tensor, steps: int = 60) -> tuple[torch.Tensor, float, float]:
        for _ in range(steps):
            energy, force, gap = self(field)
            if float(force.abs().max()) < 1e-6:
                break
            field = field + 0.5 * force
        return field, energy, gap


@pytest.mark.slow
def test_the_infinite_lattice_orders_its_orbitals():
    """C-type order is the ground state, with the energy, distortion and gap of the infinite lattice."""
    bloch = Bloch(20)  # 40 × 40 sites
    field, energy, gap = bloch.relaxed(ordered("C"))
    assert energy == pytest.approx(LEAST["C"], abs=2e-5)
    assert field[0].tolist() == pytest.approx([0.5400, 0.4066, 0.0], abs=5e-4)
    torch.testing.assert_close(field[1], field[0] * REFLECTION, atol=1e-6, rtol=0)
    assert bloch.model.K / bloch.model.lam * float(field[0, 1]) == pytest.approx(0.3765, abs=5e-4)
    assert gap == pytest.approx(0.881, abs=2e-3)
    _, energy_cdw, _ = bloch.relaxed(ordered("CDW"))
    assert energy_cdw == pytest.approx(LEAST["CDW"], abs=1e-4)


@pytest.mark.slow
def test_a_uniform_distortion_is_an_artefact_of_a_finite_lattice():
    (smaller, _, _), (field, energy, _) = (Bloch(m).relaxed(ordered("ferro")) for m in (20, 30))
    assert energy == pytest.approx(LEAST["ferro"], abs=2e-5)
    assert float(field[0, 1] / smaller[0, 1]) == pytest.approx(2 / 3, abs=0.01)
    assert LEAST["C"] < LEAST["CDW"] < energy


def relax(exact: ExactForceField, field: torch.Tensor) -> tuple[torch.Tensor, float]:
    scheme = Brownian(dt=0.5, kT=0.0, damping=1.0)
    state = simulate(exact, scheme, field, steps=80, record=None, rng=None).final
    assert float(state.forces.force.abs().max()) < 1e-5
    return state.field, float(state.forces.energy) / exact.lattice.n_sites


def test_a_finite_torus_orders_its_orbitals_as_the_infinite_lattice_does():
    exact = ExactForceField(JahnTeller(square(12)), COLD)
    (field, energy), (_, cdw), (_, ferro) = (relax(exact, ordered(kind, 12)) for kind in ("C", "CDW", "ferro"))
    assert energy < cdw < ferro
    assert field[:, 0].numpy() == pytest.approx(1.25 / (2 * 1.1574), abs=1e-5)
    tau = exact.model.pseudo_spin(exact.electrons(field).force)
    torch.testing.assert_close(tau, field[:, 1:] * 1.1574 / 1.25, atol=1e-4, rtol=0)  # (7.56)
    torch.testing.assert_close(field[0, 1], -field[1, 1], atol=1e-5, rtol=0)


def test_bloch_and_the_torus_agree():
    """8 × 8 sites at once, or as 4 × 4 wave vectors of a cell of 2 × 2."""
    energy, force, _ = Bloch(4)(ordered("C"))
    whole = ExactForceField(JahnTeller(square(8)), COLD)(ordered("C", 8))
    assert float(whole.energy) / 64 == pytest.approx(energy, abs=1e-12)
    torch.testing.assert_close(whole.force.reshape(8, 8, 3)[:2, :2].reshape(4, 3), force, atol=1e-12, rtol=0)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": math.nan}, "t.* must be a finite real number"),
        ({"beta": math.inf}, "beta.* must be a finite real number"),
        ({"kappa": [[0.1, 0.2], [0.2, 0.1]]}, "symmetric 3 × 3"),
        ({"kappa": [[0, 1, 0], [0, 0, 0], [0, 0, 0]]}, "symmetric 3 × 3"),
        ({"twist": (0.1,)}, "one phase for each of the 2 axes"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        JahnTeller(square(4), **arguments)


def test_other_lattices_are_refused():
    for lattice in (chain(4), triangular(4)):
        with pytest.raises(ValueError, match="square lattice"):
            JahnTeller(lattice)
    with pytest.raises(ValueError, match="lives on a square lattice"):
        JahnTeller(square(4)).on(triangular(4))
    with pytest.raises(ValueError, match="open there"):
        JahnTeller(square(4, periodic=(True, False)), twist=(0.5, 0.5))


def test_without_coupling_there_is_no_density_in_the_force():
    with pytest.raises(ValueError, match="density matrix"):
        JahnTeller(square(4), lam=0.0).density(torch.zeros(16, 3))


def test_its_name_tells_the_parameters():
    expected = "JahnTeller(square, 4 × 4 sites, periodic; t=1, lam=1.25, K=1.1574, beta=2)"
    assert repr(JahnTeller(square(4))) == expected
    kappa = ((0.2, 0.1, 0), (0.1, 0.3, 0), (0, 0, 0.25))
    expected = expected.replace("beta=2", "beta=2, kappa=((0.2, 0.1, 0), (0.1, 0.3, 0), (0, 0, 0.25))")
    assert repr(JahnTeller(square(4), kappa=kappa)) == expected
