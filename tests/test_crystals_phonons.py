"""Crystals, force constants and thermal displacements, against exact distributions and against phonopy."""

import numpy as np
import pytest
import torch
from scipy import stats

from nearsight.crystals import Crystal, ForceConstants, ThermalDisplacements, ValenceForceField, carbon, silicon
from nearsight.crystals.force_constants import HBAR, UNIT, _matching
from nearsight.crystals.thermal import KB
from nearsight.lattices import square
from nearsight.lattices.symmetry import site_group, site_permutations


@pytest.fixture(scope="module")
def phi() -> ForceConstants:
    return ValenceForceField.silicon().force_constants(silicon(4))


def rows(phi: ForceConstants, shape: tuple[int, ...]) -> np.ndarray:
    """The whole matrix of force constants of a supercell ``(3 site, 3 site)``, pair by pair from its own images."""
    crystal = phi.crystal.resized(*shape)
    lattice, home = crystal.lattice, phi.crystal.lattice
    full = np.zeros((crystal.n_atoms, 3, crystal.n_atoms, 3))
    for b in range(lattice.n_basis):
        for k in range(home.n_sites):
            if not phi.matrices[b, k].any():
                continue
            images = (
                home.cells[k] + np.stack(np.meshgrid(*[[-1, 0]] * 3, indexing="ij"), -1).reshape(-1, 3) * home.shape
            )
            away = images @ home.vectors + home.basis[home.sublattice[k]] - home.basis[b]
            distance = np.linalg.norm(away, axis=1)
            near = images[distance < distance.min() + 1e-6]
            for cell in near:
                for start in np.unique(lattice.cells, axis=0):
                    i = lattice.index(start, b)
                    j = lattice.index(start + cell, home.sublattice[k])
                    full[i, :, j] += phi.matrices[b, k] / len(near)
    return full.reshape(3 * crystal.n_atoms, -1)


# --- force constants --------------------------------------------------------------------------------------------------


def test_the_force_field_has_the_frequencies_and_the_sound_it_was_fitted_to(phi):
    wanted = {
        (0, 0, 0): [0, 0, 0, 15.31, 15.31, 15.31],
        (0.5, 0.5, 0): [4.18, 4.18, 12.21, 12.21, 13.72, 13.72],
        (0.5, 0, 0): [3.2, 3.2, 11.18, 12.29, 14.58, 14.58],
    }
    for q, values in wanted.items():
        assert np.abs(phi.frequencies(q) - values).max() < 0.7
    # Sound along x, ρ v² = C44, C44, C11; ρ of two atoms in a³/4.
    q = 1e-3
    speed = 2 * np.pi * phi.frequencies(phi.crystal.lattice.vectors @ [q, 0, 0])[:3] / (2 * np.pi * q) * 100
    density = 2 * 28.0855 * 1.66054e-27 / (5.398e-10**3 / 4)
    np.testing.assert_allclose(density * speed**2 / 1e9, [79.6, 79.6, 165.8], rtol=0.03)


def test_phonons_of_another_supercell_are_those_of_the_infinite_crystal(phi):
    """Against the matrix of all its atoms, put together pair by pair."""
    eigen = np.linalg.eigvalsh(rows(phi, (2, 3, 2)))
    found = ThermalDisplacements(phi, silicon(2).resized(2, 3, 2))
    np.testing.assert_allclose(
        np.sort(found.frequencies.ravel() ** 2 * (2 * np.pi) ** 2),
        eigen * UNIT / 28.0855,
        atol=1e-6 * eigen.max() * UNIT,
    )


def test_energy_is_unchanged_by_translations_and_rotations(phi):
    from nearsight.crystals.valence_force_field import _terms

    positions = phi.crystal.positions
    for term in _terms(phi.crystal):
        np.testing.assert_allclose(term.sum(1), 0, atol=1e-12)
        # Φ u = 0 for an infinitesimal rotation u = ω × r; of the neighbours at their shortest distance.
        for b in range(2):
            away = positions - positions[b]
            shift = np.rint(away @ np.linalg.inv(phi.crystal.cell))
            turned = np.cross([0.3, -0.5, 0.8], away - shift @ phi.crystal.cell)
            np.testing.assert_allclose(np.einsum("sij,sj->i", term[b], turned), 0, atol=1e-10)


def test_the_dynamical_matrix_has_the_symmetry_of_the_site(phi):
    group = site_group(phi.crystal.lattice)
    moved = site_permutations(phi.crystal.lattice, group)
    for g, p in zip(group.matrices, moved, strict=True):
        np.testing.assert_allclose(phi.matrices[0][p], g @ phi.matrices[0] @ g.T, atol=1e-10)


def test_force_constants_of_an_energy_are_its_second_derivatives():
    crystal = silicon(2)

    def energy(u):
        return 0.5 * (u - u.mean(0)).square().sum() + (u - u.mean(0)).pow(3).sum()

    found = ForceConstants.from_energy(crystal, energy)
    np.testing.assert_allclose(found.matrices[0, 0], np.eye(3) * 15 / 16, atol=1e-12)
    np.testing.assert_allclose(found.matrices[0, 5], -np.eye(3) / 16, atol=1e-12)


def test_force_constants_that_cannot_be_are_refused(phi):
    with pytest.raises(ValueError, match="another supercell"):
        ForceConstants(silicon(3), phi.matrices)
    with pytest.raises(ValueError, match="exchange of two atoms"):
        broken = phi.matrices.copy()
        broken[0, 3, 0, 1] += 1
        ForceConstants(phi.crystal, broken)
    with pytest.raises(ValueError, match="sum rule"):
        broken = phi.matrices.copy()
        broken[[0, 1], [0, 1]] += np.eye(3)
        ForceConstants(phi.crystal, broken)
    with pytest.raises(ValueError, match="another crystal"):
        ThermalDisplacements(phi, carbon(3))
    with pytest.raises(ValueError, match="three dimensions"):
        Crystal(square(4))


def test_an_unstable_crystal_is_named_with_its_worst_mode(phi):
    with pytest.raises(ValueError, match=r"i THz at q = \(.*Relax the structure"):
        ThermalDisplacements(ValenceForceField(9.0, -0.2).force_constants(silicon(4)), silicon(4))


# --- displacements ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", ["quantum", "classical"])
@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_covariance_is_that_of_independent_oscillators(phi, statistics, temperature):
    """Against the normal modes of the whole supercell, found without Fourier transform."""
    shape = (2, 3, 2)
    squares, modes = np.linalg.eigh(rows(phi, shape) * UNIT / 28.0855)
    omega, kT = np.sqrt(squares[3:]), KB * temperature
    if statistics == "quantum":
        energy = HBAR * omega * (0.5 + (1 / np.expm1(HBAR * omega / kT) if kT else 0))
    else:
        energy = kT * np.ones_like(omega)
    full = (modes[:, 3:] * (energy / omega**2 * UNIT / 28.0855)) @ modes[:, 3:].T
    found = ThermalDisplacements(phi, phi.crystal.resized(*shape), statistics=statistics).covariance(temperature)
    np.testing.assert_allclose(found.transpose(0, 2, 1, 3).reshape(6, -1), full[:6], atol=1e-9)


def test_samples_have_the_exact_covariance(phi, rng):
    thermal = ThermalDisplacements(phi, silicon(2))
    u = thermal.sample(4000, 200.0, rng)
    exact = thermal.covariance(200.0)
    np.testing.assert_allclose(u.sum(1), 0, atol=1e-10)
    # Of a Gaussian, x y has the variance <xx><yy> + <xy>²; 288 numbers, of which the largest is looked at.
    found = torch.einsum("kbi,ksj->bsij", u[:, :2], u).numpy() / len(u)
    own = np.einsum("bii->bi", exact[[0, 1], [0, 1]])
    error = np.sqrt((own[:, None, :, None] * own[0] + exact**2) / len(u))
    assert np.abs((found - exact) / error).max() < stats.norm.isf(0.005 / exact.size)


def test_antithetic_pairs_are_opposite_and_one_noise_serves_all_temperatures(phi, rng):
    thermal = ThermalDisplacements(phi, silicon(3))
    w = thermal.noise(6, rng, antithetic=True)
    u = thermal.displacements(w, 100.0)
    assert torch.equal(w[::2], -w[1::2])
    torch.testing.assert_close(u[::2], -u[1::2])
    step = (thermal.displacements(w, 101.0) - thermal.displacements(w, 99.0)) / 2
    torch.testing.assert_close(thermal.slope(w, 100.0), step, rtol=1e-3, atol=1e-7)
    assert not thermal.slope(w, 0.0).any()


def test_the_special_displacement_has_the_width_of_every_mode(phi):
    thermal = ThermalDisplacements(phi, silicon(3))
    u = thermal.special(300.0)
    covariance = thermal.covariance(300.0)
    mean = float(np.einsum("bii->", covariance[[0, 1], [0, 1]])) * 27
    assert float(u.square().sum()) == pytest.approx(mean, rel=1e-9)
    assert float(u.sum(0).abs().max()) < 1e-9


def test_high_temperature_is_classical(phi):
    quantum, classical = (ThermalDisplacements(phi, silicon(3), statistics=s) for s in ("quantum", "classical"))
    np.testing.assert_allclose(quantum.covariance(5000.0), classical.covariance(5000.0), rtol=5e-3, atol=1e-3)


def test_temperatures_below_zero_and_odd_pairs_are_refused(phi, rng):
    thermal = ThermalDisplacements(phi, silicon(2))
    with pytest.raises(ValueError, match="temperature, in K"):
        thermal.sample(2, -1.0, rng)
    with pytest.raises(ValueError, match="count must be even"):
        thermal.sample(3, 1.0, rng, antithetic=True)


# --- other programs ---------------------------------------------------------------------------------------------------


def test_crystals_come_from_ase_and_go_back():
    build = pytest.importorskip("ase.build")
    atoms = build.bulk("Si", "diamond", a=5.398)
    crystal = Crystal.from_atoms(atoms, 3)
    assert crystal.n_atoms == 54 and crystal.masses == pytest.approx((28.085, 28.085), abs=1e-2)
    back = crystal.to_atoms(np.full((54, 3), 0.1))
    assert len(back) == 54 and back.get_volume() == pytest.approx(27 * atoms.get_volume())
    np.testing.assert_allclose(back.positions - 0.1, crystal.positions)
    assert Crystal.from_atoms(build.bulk("GaAs", "zincblende", a=5.65), 2).lattice.species == ("Ga", "As")


def test_snapshots_of_other_programs_become_displacements():
    ase = pytest.importorskip("ase")
    crystal, draw = silicon(3), np.random.default_rng(2)
    u = 0.08 * draw.normal(size=(54, 3))
    atoms = crystal.to_atoms(u + np.array([0.4, -0.2, 0.3]))
    atoms.wrap()
    mixed = atoms[draw.permutation(54)]
    np.testing.assert_allclose(crystal.displacement(mixed), u - u.mean(0), atol=1e-10)
    with pytest.raises(ValueError, match="not one of Si2, 2 × 2 × 2"):
        silicon(2).displacement(atoms)
    with pytest.raises(ValueError, match="share an atom"):
        molten = ase.Atoms("Si54", cell=crystal.cell, pbc=True, scaled_positions=draw.random((54, 3)))
        crystal.displacement(molten)
    with pytest.raises(ValueError, match="elements"):
        atoms.symbols[3] = "C"
        crystal.displacement(atoms)


@pytest.mark.slow
def test_phonopy_finds_the_same_phonons_and_displacements(phi, tmp_path):
    """Through a calculator of ASE that has these force constants, with atoms in the order of phonopy."""
    pytest.importorskip("phonopy")
    calculators = pytest.importorskip("ase.calculators.calculator")
    import phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    full = rows(phi, (4, 4, 4))

    class Harmonic(calculators.Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=(), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            away = (atoms.positions[:, None] - phi.crystal.positions) @ np.linalg.inv(phi.crystal.cell)
            away = (away - np.rint(away)) @ phi.crystal.cell
            site = np.linalg.norm(away, axis=-1).argmin(1)
            u = np.zeros((len(atoms), 3))
            u[site] = away[np.arange(len(atoms)), site]
            force = -(full @ u.reshape(-1)).reshape(-1, 3)
            self.results = {"energy": 0.5 * float(-(force * u).sum()), "forces": force[site]}

    found = ForceConstants.from_calculator(silicon(1).to_atoms(), Harmonic(), 4)
    points = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.0], [0.13, 0.31, 0.07]])
    np.testing.assert_allclose(found.frequencies(points), phi.frequencies(points), atol=1e-4)

    home = silicon(1)
    cell = PhonopyAtoms(symbols=["Si", "Si"], cell=home.cell, positions=home.positions, masses=home.masses)
    phonons = phonopy.Phonopy(cell, supercell_matrix=np.eye(3, dtype=int) * 4, primitive_matrix=np.eye(3))
    place = _matching(phi.crystal, phonons.supercell.positions)
    ordered = np.empty((128, 128, 3, 3))
    ordered[np.ix_(place, place)] = full.reshape(128, 3, 128, 3).transpose(0, 2, 1, 3)
    phonons.force_constants = ordered
    phonons.run_qpoints(points)
    np.testing.assert_allclose(phi.frequencies(points), phonons.qpoints.frequencies, atol=1e-3)
    phonons.run_mesh([3, 3, 3], with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
    phonons.run_thermal_displacements(temperatures=[0.0, 300.0], freq_min=0.1)
    thermal = ThermalDisplacements(phi, silicon(3))
    for temperature, theirs in zip((0.0, 300.0), phonons.thermal_displacements.thermal_displacements, strict=True):
        own = np.einsum("bii->bi", thermal.covariance(temperature)[[0, 1], [0, 1]])
        np.testing.assert_allclose(own.reshape(-1), theirs, rtol=1e-4)

    phonons.save(tmp_path / "phonopy_params.yaml", settings={"force_constants": True})
    again = ForceConstants.from_phonopy(tmp_path / "phonopy_params.yaml")
    np.testing.assert_allclose(again.frequencies(points), phi.frequencies(points), atol=1e-4)
    with pytest.raises(FileNotFoundError, match="save"):
        ForceConstants.from_phonopy(tmp_path / "nothing.yaml")
