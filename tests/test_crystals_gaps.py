"""Gaps by tight binding against the published bulk matrix, and properties of many configurations."""

import importlib

import numpy as np
import pytest
import torch

from nearsight.crystals import (
    AtomsProperty,
    PropertyData,
    SlaterKoster,
    ThermalDisplacements,
    TightBinding,
    ValenceForceField,
    carbon,
    evaluate,
    silicon,
)
from nearsight.lattices.symmetry import site_group, site_permutations


@pytest.fixture(scope="module")
def gap() -> TightBinding:
    return TightBinding(silicon(3), SlaterKoster.silicon())


@pytest.fixture(scope="module")
def thermal() -> ThermalDisplacements:
    return ThermalDisplacements(ValenceForceField.silicon().force_constants(silicon(4)), silicon(3))


def vogl(k: np.ndarray) -> np.ndarray:
    """The matrix of Vogl, Hjalmarson and Dow for silicon ``(10, 10)`` at k in units of 2π/a, from their table."""
    es, ep, ex, ss, xx, xy, sp, xp = -4.2, 1.715, 6.685, -8.3, 1.715, 4.575, 5.7292, 5.3749
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 4
    phase = np.exp(2j * np.pi * corners @ k)
    g0, g1, g2, g3 = (np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) @ phase) / 4
    t = np.array(
        [
            [ss * g0, sp * g1, sp * g2, sp * g3, 0],
            [-sp * g1, xx * g0, xy * g3, xy * g2, -xp * g1],
            [-sp * g2, xy * g3, xx * g0, xy * g1, -xp * g2],
            [-sp * g3, xy * g2, xy * g1, xx * g0, -xp * g3],
            [0, xp * g1, xp * g2, xp * g3, 0],
        ]
    )
    h = np.diag([es, ep, ep, ep, ex] * 2).astype(complex)
    h[:5, 5:] = t
    h[5:, :5] = t.conj().T
    return h


# --- bands ------------------------------------------------------------------------------------------------------------


def test_bands_are_those_of_the_published_matrix(gap):
    lattice, draw = gap.crystal.lattice, np.random.default_rng(2)
    for k in draw.uniform(-1, 1, (5, 3)):
        q = lattice.vectors / 5.398 @ k
        np.testing.assert_allclose(gap.bands(q), np.linalg.eigvalsh(vogl(k)), atol=2e-4)
    assert gap.infinite == pytest.approx(1.171, abs=1e-3)


@pytest.mark.parametrize("twist", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.2, 0.37, 0.0)])
def test_a_supercell_holds_the_bands_that_fold_into_it(twist):
    crystal = silicon(3)
    folded = TightBinding(crystal, SlaterKoster.silicon(), twist=twist)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    exact = np.sort(folded.bands((grid + twist) / 3).ravel())
    found = folded.energies(torch.zeros(54, 3, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), exact, atol=1e-10)


def test_a_displaced_primitive_cell_repeats_itself_in_the_supercell(gap):
    """Displacements that are equal in all cells, against the bands with an inner displacement."""
    inner = np.array([0.05, -0.02, 0.03])
    u = torch.zeros(27, 2, 3, dtype=torch.float64)
    u[:, 1] = torch.from_numpy(inner)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    exact = np.sort(gap.bands(grid / 3, inner=inner).ravel())
    np.testing.assert_allclose(gap.energies(u.reshape(54, 3)).numpy(), exact, atol=1e-10)


def test_hoppings_follow_their_power_of_the_bond_length(gap):
    stretched = gap.bands([0.1, 0.2, 0.3], strain=np.eye(3) * 0.02)
    p = SlaterKoster.silicon()
    names = ("ss_sigma", "sp_sigma", "pp_sigma", "pp_pi", "excited_sigma")
    scaled = {name: getattr(p, name) / 1.02**n for name, n in zip(names, p.exponents, strict=True)}
    np.testing.assert_allclose(
        stretched, TightBinding(gap.crystal, p.replaced(**scaled)).bands([0.1, 0.2, 0.3]), atol=1e-12
    )


# --- gaps -------------------------------------------------------------------------------------------------------------


def test_the_offset_of_a_cell_is_that_of_the_valleys_it_holds(gap):
    assert gap.states == (3, 6)
    assert gap.perfect == pytest.approx(float(gap.bands([1 / 3, 1 / 3, 0])[4] - gap.bands([0, 0, 0])[3]), abs=1e-9)
    assert gap.offset == pytest.approx(gap.perfect - gap.infinite) and gap.offset > 0.02


def test_the_gap_is_invariant_under_the_site_group_and_translations(gap, thermal, rng):
    u = thermal.sample(1, 300.0, rng)[0]
    group = site_group(gap.crystal.lattice)
    moved = site_permutations(gap.crystal.lattice, group)
    turned = torch.stack(
        [
            torch.zeros_like(u).index_copy(0, torch.from_numpy(p), u @ torch.tensor(g).T)
            for g, p in zip(group.matrices, moved, strict=True)
        ]
    )
    value = float(gap(u))
    np.testing.assert_allclose(gap(turned).numpy(), value, atol=1e-12)
    grid = u.reshape(3, 3, 3, 2, 3)
    assert float(gap(grid.roll((1, 2), (0, 2)).reshape(54, 3))) == pytest.approx(value, abs=1e-12)
    assert float(gap(u + 0.1)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_the_gradient_is_right_where_the_edges_are_degenerate_as_well(gap, thermal, rng, scale):
    u = (scale * thermal.sample(1, 300.0, rng)[0]).requires_grad_()
    (slope,) = torch.autograd.grad(gap(u), u)
    direction = thermal.sample(1, 300.0, rng)[0]
    step = 1e-4
    exact = (gap(u.detach() + step * direction) - gap(u.detach() - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(exact), abs=1e-6)


def test_batches_are_configurations(gap, thermal, rng):
    u = thermal.sample(4, 300.0, rng).reshape(2, 2, 54, 3)
    found = gap.shift(u)
    assert found.shape == (2, 2)
    assert float(found[1, 0]) == pytest.approx(float(gap(u[1, 0])) - gap.perfect, abs=1e-12)
    edges = gap.edges(u)
    assert (edges.lowest <= edges.conduction).all() and (edges.highest >= edges.valence).all()


def test_what_is_no_insulator_of_the_diamond_structure_is_refused(gap):
    with pytest.raises(ValueError, match="3 × 3 × 3 cells or more"):
        TightBinding(silicon(2), SlaterKoster.silicon())
    with pytest.raises(ValueError, match="Configuration 1 is metallic"):
        wild = torch.zeros(2, 54, 3, dtype=torch.float64)
        wild[1, 1::2] = -0.4 / 3**0.5  # one bond of every cell is shorter by 0.4 Å
        gap(wild)
    with pytest.raises(ValueError, match="perfect supercell"):
        metal = SlaterKoster.silicon().replaced(excited=-20.0)
        TightBinding(silicon(3), metal).perfect  # noqa: B018


PLANE_WAVES = (
    1e-3 * np.array([534.0, 545.5, 532.9, 560.2, 562.6, 557.6, 551.1, 534.5, 509.0, 496.8, 534.8, 521.9]) - 0.5989
)
"""Shifts of the mean gap in eV by Quantum ESPRESSO 6.7 (PZ-LDA, Si.pz-vbc, 16 Ry, Γ), the perfect cell at 0.5989 eV."""


def test_shifts_are_those_of_plane_waves_on_average(gap, thermal):
    """Of the displacements to which the exponents were fitted: four at each of 300, 0 and 600 K."""
    rng = torch.Generator().manual_seed(11)
    u = torch.cat([thermal.sample(4, temperature, rng) for temperature in (300.0, 0.0, 600.0)])
    shift = gap.shift(u).numpy()
    assert shift.mean() == pytest.approx(PLANE_WAVES.mean(), rel=0.05)
    assert np.corrcoef(shift, PLANE_WAVES)[0, 1] > 0.85
    for part in np.split(np.arange(12), 3):  # zero-point shift among them; a mean of four is known to 10 % itself
        assert shift[part].mean() == pytest.approx(PLANE_WAVES[part].mean(), rel=0.15)
    assert np.sqrt(((shift - PLANE_WAVES) ** 2).mean()) < 0.012


# --- many configurations ----------------------------------------------------------------------------------------------


def test_values_are_kept_and_computed_once(gap, thermal, rng, tmp_path, monkeypatch):
    u = thermal.sample(20, 100.0, rng)
    found = evaluate(gap, u, tmp_path / "gaps.zarr", temperature=100.0, workers=0, progress=False)
    np.testing.assert_allclose(found.value, gap(u).numpy(), atol=1e-12)
    assert torch.equal(found.displacement, u) and set(found.temperature) == {100.0}

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(TightBinding, "energies", never)
    again = evaluate(gap, u, tmp_path / "gaps.zarr", temperature=100.0, workers=0, progress=False)
    np.testing.assert_array_equal(again.value, found.value)
    with pytest.raises(ValueError, match="made differently: displacements"):
        evaluate(gap, u + 0.01, tmp_path / "gaps.zarr", temperature=100.0, workers=0, progress=False)
    with pytest.raises(ValueError, match="made differently: property"):
        other = TightBinding(silicon(3), SlaterKoster.silicon(), window=0.03)
        evaluate(other, u, tmp_path / "gaps.zarr", temperature=100.0, workers=0, progress=False)


def test_a_call_that_was_killed_goes_on(gap, thermal, rng, tmp_path, monkeypatch):
    u = thermal.sample(20, 100.0, rng)
    module = importlib.import_module("nearsight.crystals.evaluate")  # its function has the same name
    values, calls = module._values, []

    def stopping(prop, part):
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return values(prop, part)

    monkeypatch.setattr(module, "_values", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(gap, u, tmp_path / "gaps.zarr", workers=0, progress=False)
    found = evaluate(gap, u, tmp_path / "gaps.zarr", workers=0, progress=False)
    assert calls == [8, 8, 4, 4]
    np.testing.assert_allclose(found.value, gap(u).numpy(), atol=1e-12)
    assert PropertyData.open(tmp_path / "gaps.zarr").hash == found.hash


def test_any_function_of_an_ase_structure_is_a_property(rng):
    pytest.importorskip("ase")
    crystal = carbon(2)
    u = 0.01 * torch.randn(3, 16, 3, generator=rng, dtype=torch.float64)
    volume = AtomsProperty(crystal, lambda atoms: atoms.positions[3, 1] + len(atoms), "y of atom 3")
    found = evaluate(volume, u, workers=0, progress=False)
    np.testing.assert_allclose(found.value, u[:, 3, 1] + crystal.positions[3, 1] + 16)
    with pytest.raises(TypeError, match="AtomsProperty makes one"):
        evaluate(lambda u: u, u)
