"""The Holstein model against closed forms and the numbers of its references."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from nearsight._description import fingerprint
from nearsight.forcefields import ElectronForceField, ExactForceField
from nearsight.hamiltonians import FalicovKimball, Hamiltonian, Holstein, JahnTeller, Peierls
from nearsight.lattices import chain, square
from nearsight.solvers import Dense


def spectrum(model: Hamiltonian, field: torch.Tensor | None = None) -> np.ndarray:
    field = torch.zeros(model.lattice.n_sites, model.components).double() if field is None else field
    return torch.linalg.eigvalsh(model.matrix(field)).numpy()


def normal(model: Hamiltonian, rng: torch.Generator) -> torch.Tensor:
    return torch.randn(model.lattice.n_sites, model.components, generator=rng, dtype=torch.float64)


# --- the band ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [None, math.pi, 0.7], ids=["periodic", "antiperiodic", "twisted"])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_ring_has_a_cosine_band(length, theta):
    model = Holstein(chain(length), t=1.3, twist=None if theta is None else (theta,))
    k = (2 * np.pi * np.arange(length) + (theta or 0.0)) / length
    np.testing.assert_allclose(spectrum(model), np.sort(-2.6 * np.cos(k)), atol=1e-13)


def test_open_chain_has_standing_waves():
    m = np.arange(1, 8)
    expected = np.sort(-2 * np.cos(np.pi * m / 8))
    np.testing.assert_allclose(spectrum(Holstein(chain(7, periodic=False))), expected, atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3), (1, 5)], ids=str)
@pytest.mark.parametrize("twist", [(0.0, 0.0), (math.pi, 0.0), (0.3, -1.1)], ids=str)
def test_square_band_is_a_sum_of_two_cosines(shape, twist):
    kx, ky = ((2 * np.pi * np.arange(n) + theta) / n for n, theta in zip(shape, twist, strict=True))
    expected = np.sort((-2 * np.cos(kx)[:, None] - 2 * np.cos(ky)).ravel())
    np.testing.assert_allclose(spectrum(Holstein(square(*shape), twist=twist)), expected, atol=1e-13)


def test_a_ribbon_is_open_along_one_axis_only():
    kx = 2 * np.pi * np.arange(5) / 5
    ky = np.pi * np.arange(1, 5) / 5
    expected = np.sort((-2 * np.cos(kx)[:, None] - 2 * np.cos(ky)).ravel())
    model = Holstein(square(5, 4, periodic=(True, False)))
    np.testing.assert_allclose(spectrum(model), expected, atol=1e-13)


def test_a_full_turn_of_the_twist_is_no_twist(rng):
    plain = Holstein(square(4))
    field = normal(plain, rng)
    turned = Holstein(square(4), twist=(2 * math.pi, -4 * math.pi))
    np.testing.assert_allclose(spectrum(turned, field), spectrum(plain, field), atol=1e-13)


@pytest.mark.parametrize("theta", [0.9, math.pi])
def test_a_twist_at_the_boundary_is_a_phase_on_every_bond(theta, rng):
    """The gauge transformation c_x → e^{iθx/L} c_x spreads the phase evenly; no energy may notice."""
    length = 6
    model = Holstein(chain(length), twist=(theta,))
    field = normal(model, rng)
    hop = np.roll(np.eye(length), 1, axis=0) * np.exp(1j * theta / length)
    even = -(hop + hop.conj().T) - 1.5 * np.diag(field[:, 0].numpy())
    np.testing.assert_allclose(spectrum(model, field), np.linalg.eigvalsh(even), atol=1e-13)


# --- symmetries of the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [square(4), square(4, 6), square(3, 5, periodic=False), chain(8)], ids=repr)
def test_particle_hole_transformation_reverses_the_field(lattice, rng):
    """On a bipartite lattice h(-Q) has the spectrum of -h(Q); at half filling E is even and n - 1/2 odd in Q."""
    model = Holstein(lattice)
    field = normal(model, rng)
    np.testing.assert_allclose(spectrum(model, -field), -spectrum(model, field)[::-1], atol=1e-12)
    exact = ExactForceField(model, Dense(filling=0.5, kT=0.07))
    here, there = exact(field), exact(-field)
    torch.testing.assert_close(there.force, -here.force, atol=1e-12, rtol=0)
    torch.testing.assert_close(there.energy, here.energy, atol=1e-11, rtol=0)
    n, p = (model.density(exact.electrons(q).force) for q in (field, -field))
    torch.testing.assert_close(n + p, torch.ones_like(n), atol=1e-12, rtol=0)


def test_antiperiodic_boundaries_keep_the_particle_hole_symmetry(rng):
    model = Holstein(square(4), twist=(math.pi, math.pi))
    field = normal(model, rng)
    np.testing.assert_allclose(spectrum(model, -field), -spectrum(model, field)[::-1], atol=1e-12)


def test_two_spins_count_twice(rng):
    one, two = Holstein(square(4)), Holstein(square(4), spins=2)
    field = normal(one, rng)
    solver = Dense(filling=0.4, kT=0.05)
    single, double = (ExactForceField(m, solver).electrons for m in (one, two))
    torch.testing.assert_close(double(field).force, 2 * single(field).force, atol=1e-13, rtol=0)
    torch.testing.assert_close(double(field).energy, 2 * single(field).energy, atol=1e-12, rtol=0)
    density = [m.density(e(field).force) for m, e in ((one, single), (two, double))]
    torch.testing.assert_close(density[1], 2 * density[0], atol=1e-13, rtol=0)
    assert float(density[1].sum()) == pytest.approx(2 * 0.4 * 16, abs=1e-12)


def test_coupling_to_n_or_to_n_minus_half_differs_by_a_constant_force(rng):
    field = normal(Holstein(square(4)), rng)
    solver = Dense(filling=0.5, kT=0.05)
    with_half, without = (ExactForceField(Holstein(square(4), symmetric=s), solver).electrons for s in (True, False))
    torch.testing.assert_close(without(field).force - with_half(field).force, torch.full((16, 1), 0.75).double())
    for electrons, symmetric in ((with_half, True), (without, False)):
        density = Holstein(square(4), symmetric=symmetric).density(electrons(field).force)
        assert float(density.sum()) == pytest.approx(8.0, abs=1e-12)


def test_a_model_that_breaks_a_symmetry_is_found_out(rng):
    class Lopsided(Holstein):
        def classical_energy(self, field):
            return super().classical_energy(field) + field[..., 1, 0]

    with pytest.raises(ArithmeticError, match="classical energy changes"):
        Lopsided(square(4)).check(rng)
    with pytest.raises(ArithmeticError, match="spectrum changes"):
        Holstein(square(4), twist=(0.5, 0.0)).check(rng)

    class Leaky(Holstein):
        def coupling(self, field):
            return super().coupling(field) * (1 + 0.1j)

    leaky = Leaky(square(4), twist=(0.5, 0.5))
    with pytest.raises(ArithmeticError, match="not Hermitian"):
        leaky.check(rng)


# --- the charge-density wave of the thesis, ch. 6 ---------------------------------------------------------------------

G = 1.5
SPRINGS = {"g": G, "k": 0.67 * G, "kappa": 0.12 * G}


def density_wave_of_the_infinite_lattice() -> tuple[float, float]:
    """Q0 and n of the occupied sublattice at T = 0, from (k - 4κ) Q = g (n - 1/2) summed over the Brillouin zone."""
    k = 2 * np.pi * (np.arange(400) + 0.5) / 400
    band = 2 * np.cos(k)[:, None] + 2 * np.cos(k)
    stiffness = SPRINGS["k"] - 4 * SPRINGS["kappa"]

    def excess(q: float) -> float:
        return 0.5 * float(np.mean(G * q / np.sqrt(band**2 + (G * q) ** 2)))

    q0 = brentq(lambda q: G * excess(q) - stiffness * q, 0.5, 5.0, xtol=1e-12)
    return q0, 0.5 + excess(q0)


def checkerboard(length: int, amplitude: float) -> torch.Tensor:
    x, y = np.indices((length, length))
    return amplitude * torch.from_numpy((-1.0) ** (x + y)).reshape(-1, 1)


def test_the_infinite_lattice_has_the_density_wave_of_the_thesis():
    q0, n = density_wave_of_the_infinite_lattice()
    assert q0 == pytest.approx(2.3428, abs=5e-5)
    assert 2 * G * q0 == pytest.approx(7.0285, abs=5e-5)
    assert n == pytest.approx(0.9451, abs=5e-5)


def test_a_finite_lattice_finds_the_density_wave_of_the_infinite_one():
    """With a gap of 7 t the electrons are so near-sighted that 12 × 12 sites are infinite to six digits."""
    model = Holstein(square(12), **SPRINGS)
    exact = ExactForceField(model, Dense(filling=0.5, kT=0.0))
    q0 = brentq(lambda q: float(exact(checkerboard(12, q)).force[0, 0]), 0.5, 5.0, xtol=1e-12)
    expected, occupied = density_wave_of_the_infinite_lattice()
    assert q0 == pytest.approx(expected, abs=1e-6)
    field = checkerboard(12, q0)
    assert float(exact(field).force.abs().max()) < 1e-9
    density = model.density(exact.electrons(field).force)
    assert float(density[0]) == pytest.approx(occupied, abs=1e-6)
    assert float(density[1]) == pytest.approx(0.0549, abs=5e-5)
    levels = spectrum(model, field)
    assert (levels[0], levels[71]) == pytest.approx((-5.324, -3.514), abs=5e-4)
    assert levels[72] - levels[71] == pytest.approx(7.0285, abs=5e-5)


def test_the_density_wave_is_stable():
    """Every eigenvalue of the Hessian is positive: the force constants from finite differences of exact forces."""
    model = Holstein(square(4), **SPRINGS)
    exact = ExactForceField(model, Dense(filling=0.5, kT=0.0))
    q0 = brentq(lambda q: float(exact(checkerboard(4, q)).force[0, 0]), 0.5, 5.0, xtol=1e-12)
    kicks = 1e-4 * torch.eye(16, dtype=torch.float64).unsqueeze(-1)
    ground = checkerboard(4, q0)
    hessian = -(exact(ground + kicks).force - exact(ground - kicks).force)[..., 0] / 2e-4
    torch.testing.assert_close(hessian, hessian.T, atol=1e-6, rtol=0)
    assert float(torch.linalg.eigvalsh(hessian).min()) > 0.1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": math.nan}, "t.* must be a finite real number"),
        ({"kappa": math.inf}, "kappa.* must be a finite real number"),
        ({"spins": 3}, r"spins, 1 \(spinless\) or 2, must be"),
        ({"twist": (0.1,)}, "one phase for each of the 2 axes"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Holstein(square(4), **arguments)


@pytest.mark.parametrize("model", [Holstein, JahnTeller, FalicovKimball])
def test_a_twist_is_part_of_what_a_run_is(model):
    """A run is resumed only with what it was started with; the twist decides its forces."""
    electrons = Dense(kT=0.1, filling=0.5)
    one, two = (ElectronForceField(model(square(4), twist=t), electrons) for t in (None, (math.pi, 0.0)))
    assert fingerprint(one) != fingerprint(two)
    with pytest.raises(ValueError, match="finite real number"):
        model(square(4), twist=(math.nan, 0.0))


def test_a_twist_across_an_open_edge_is_refused():
    ribbon = square(4, periodic=(True, False))
    Holstein(ribbon, twist=(0.5, 0.0))
    with pytest.raises(ValueError, match="open there"):
        Holstein(ribbon, twist=(0.5, 0.5))


def test_another_kind_of_lattice_is_refused():
    with pytest.raises(ValueError, match="lives on a square lattice"):
        Holstein(square(4)).on(chain(4))


def test_without_coupling_there_is_no_density_in_the_force():
    with pytest.raises(ValueError, match="density matrix"):
        Holstein(square(4), g=0.0).density(torch.zeros(16, 1))


def test_its_name_tells_the_parameters():
    assert repr(Holstein(square(4))) == "Holstein(square, 4 × 4 sites, periodic; t=1, g=1.5, k=1, kappa=0.18, spins=1)"


@pytest.mark.parametrize(
    "other",
    [
        {"t": 0.1 + 0.2},
        {"g": 1.5 + 1e-13},
        {"k": 1 + 1e-13},
        {"kappa": 0.18 - 1e-13},
        {"symmetric": False},
        {"spins": 2},
    ],
    ids=str,
)
def test_models_that_differ_anywhere_have_different_names(other):
    """Names decide whether two runs are the same run."""
    assert repr(Holstein(square(4), **other)) != repr(Holstein(square(4)))
    assert repr(Holstein(square(4), t=0.1 + 0.2)) != repr(Holstein(square(4), t=0.3))


def test_a_model_without_springs_still_has_forces(rng):
    class Bare(Peierls):
        classical_energy = Hamiltonian.classical_energy

    exact = ExactForceField(Bare(chain(6)), Dense(filling=0.5, kT=0.1))
    field = normal(exact.model, rng)
    assert torch.equal(exact(field).force, exact.electrons(field).force)
