"""Invariants of displacements in a cube of a crystal: the bases of the thesis, symmetry, and models of them."""

import re

import numpy as np
import pytest
import torch

from nearsight.crystals import DisplacementBlocks, silicon
from nearsight.descriptors import MODES, BlockDisplacements
from nearsight.lattices import neighbour_permutations, square
from nearsight.lattices.symmetry import site_group, site_permutations
from nearsight.networks import MLP
from nearsight.properties import PropertyModel
from nearsight.training import PropertyFitOptions, fit_property

EDGE = 5.398
FOUR = {"a": (1, 1, 1), "b": (-1, -1, 1), "c": (1, -1, -1), "d": (-1, 1, -1)}
SIX = {"a": (2, 0, 0), "b": (0, 2, 0), "c": (0, 0, 2), "d": (0, 0, -2), "e": (0, -2, 0), "f": (-2, 0, 0)}
TWELVE = {
    "a": (1, 1, 0), "b": (0, 1, 1), "c": (1, 0, 1), "d": (0, 1, -1), "e": (1, 0, -1), "f": (0, -1, 1),
    "g": (-1, 0, -1), "h": (0, -1, -1), "i": (-1, 0, 1), "j": (1, -1, 0), "k": (-1, 1, 0), "l": (-1, -1, 0),
}  # fmt: skip
APPENDIX = [  # appendix A of the thesis: shell, irrep, its components (those of E as printed, √3 apart)
    (FOUR, "A1", ["ax+ay+az-bx-by+bz+cx-cy-cz-dx+dy-dz"]),
    (FOUR, "E", ["ax+ay-2az-bx-by-2bz+cx-cy+2cz-dx+dy+2dz", "s-ax+ay+bx-by-cx-cy+dx+dy"]),
    (FOUR, "T1", ["ay-az+by+bz-cy+cz-dy-dz", "ax-az+bx+bz-cx-cz-dx+dz", "-ax+ay+bx-by+cx+cy-dx-dy"]),
    (FOUR, "T2", ["ax+bx+cx+dx", "ay+by+cy+dy", "az+bz+cz+dz"]),
    (FOUR, "T2", ["ay+az+by-bz-cy-cz-dy+dz", "ax+az+bx-bz-cx+cz-dx-dz", "ax+ay-bx-by-cx+cy+dx-dy"]),
    (SIX, "A1", ["ax+by+cz-dz-ey-fx"]),
    (SIX, "E", ["ax+by-2cz+2dz-ey-fx", "s-ax+by-ey+fx"]),
    (SIX, "T1", ["bx-cx-dx+ex", "ay-cy-dy+fy", "-az+bz+ez-fz"]),
    (SIX, "T1", ["-bz+cy-dy+ez", "-az+cx-dx+fz", "ay-bx+ex-fy"]),
    (SIX, "T2", ["ax+fx", "by+ey", "cz+dz"]),
    (SIX, "T2", ["bz+cy-dy-ez", "az+cx-dx-fz", "ay+bx-ex-fy"]),
    (SIX, "T2", ["bx+cx+dx+ex", "ay+cy+dy+fy", "az+bz+ez+fz"]),
    (TWELVE, "A1", ["ax+ay+by+bz+cx+cz+dy-dz+ex-ez-fy+fz-gx-gz-hy-hz-ix+iz+jx-jy-kx+ky-lx-ly"]),
    (TWELVE, "A1", ["az+bx+cy-dx-ey-fx+gy+hx-iy-jz-kz+lz"]),
    (TWELVE, "A2", ["ax-ay+by-bz-cx+cz+dy+dz-ex-ez-fy-fz+gx-gz-hy+hz+ix+iz+jx+jy-kx-ky-lx+ly"]),
    (TWELVE, "T2", ["ax+cx+ex+gx+ix+jx+kx+lx", "ay+by+dy+fy+hy+jy+ky+ly", "bz+cz+dz+ez+fz+gz+hz+iz"]),
    (TWELVE, "T2", ["bx+dx+fx+hx", "cy+ey+gy+iy", "az+jz+kz+lz"]),
]


@pytest.fixture(scope="module")
def large() -> BlockDisplacements:
    return BlockDisplacements(silicon(6).lattice, 3 * EDGE)


@pytest.fixture(scope="module")
def small() -> BlockDisplacements:
    return BlockDisplacements(silicon(3).lattice, EDGE)


def read(text: str, atoms: list[str]) -> np.ndarray:
    """A printed combination ``(3 atom,)``: ``-2az`` is -2 times component z of atom a, a leading s the factor √3."""
    row = np.zeros((len(atoms), 3))
    for sign, number, atom, axis in re.findall(r"([+-]?)(\d?)([a-l])([xyz])", text.removeprefix("s")):
        row[atoms.index(atom), "xyz".index(axis)] += (-1.0 if sign == "-" else 1.0) * float(number or 1)
    return row.reshape(-1) * (3**0.5 if text.startswith("s") else 1.0)


# --- the thesis -------------------------------------------------------------------------------------------------------


def test_a_block_of_three_cubes_has_the_numbers_of_the_thesis(large):
    assert (large.side, large.features) == (279, 837)
    table = large.orbit_table()
    for line in ("4 sites at r = 2.337: A1 + E + T1 + 2T2", "6 sites at r = 5.398: A1 + E + 2T1 + 3T2",
                 "12 sites at r = 3.817: 2A1 + A2 + 3E + 4T1 + 5T2"):  # fmt: skip
        assert line in table


@pytest.mark.parametrize(("shell", "irrep", "printed"), APPENDIX)
def test_printed_bases_transform_as_their_irreps(large, shell, irrep, printed):
    """Of the twelve atoms, those that are printed whole; a z component of T2 that is not printed is added."""
    atoms, places = list(shell), np.array(list(shell.values()), dtype=float)
    rows = np.array([read(text, atoms) for text in printed])
    gram = rows @ rows.T
    np.testing.assert_allclose(gram, np.eye(len(rows)) * gram[0, 0], atol=1e-12)
    group = large.group
    for g, character in zip(group.matrices, group.irrep(irrep).characters, strict=True):
        arrives = np.abs((places @ g.T)[:, None] - places).max(-1).argmin(1)
        action = np.zeros((len(atoms), 3, len(atoms), 3))
        action[arrives, :, np.arange(len(atoms))] = g
        moved = rows @ action.reshape(3 * len(atoms), -1).T
        matrix = moved @ rows.T / gram[0, 0]
        np.testing.assert_allclose(matrix @ rows, moved, atol=1e-12)  # closed
        assert np.trace(matrix) == pytest.approx(character, abs=1e-12)


# --- symmetry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["power+phase", "lifted", "phase", "power"])
def test_features_are_invariant_under_the_group_of_the_site(rng, mode):
    front = BlockDisplacements(silicon(3).lattice, EDGE, mode=mode)
    u = 0.1 * torch.randn(3, front.side, 3, generator=rng, dtype=torch.float64)
    found = front(u)
    assert found.shape == (3, front.features) and len(set(front.feature_names)) == front.features
    for g, p in zip(front.group.matrices, neighbour_permutations(front.around, front.group), strict=True):
        turned = torch.zeros_like(u).index_copy(1, torch.from_numpy(p), u @ torch.tensor(g).T)
        torch.testing.assert_close(front(turned), found, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_there_are_as_many_independent_invariants_as_displacements(large, rng):
    """The Jacobian at a generic place has the rank of all of them but one, of the length of a reference."""
    u = torch.randn(1, large.side, 3, generator=rng, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: large(x)[0], u).reshape(large.features, -1)
    scaled = jacobian / jacobian.norm(dim=1, keepdim=True)
    assert torch.linalg.matrix_rank(scaled, rtol=1e-10) >= large.features - 1


def test_a_model_of_all_blocks_is_invariant_under_the_whole_crystal(small, rng):
    crystal = silicon(3)
    model = PropertyModel(small, MLP((8,))).double()
    u = 0.1 * torch.randn(54, 3, generator=rng, dtype=torch.float64)
    lattice, group = crystal.lattice, site_group(crystal.lattice)
    moved = site_permutations(lattice, group)
    inversion = torch.from_numpy(lattice.index(-lattice.cells, 1 - lattice.sublattice))
    same = [u, torch.zeros_like(u).index_copy(0, inversion, -u), u.reshape(3, 3, 3, 6).roll(1, 1).reshape(54, 3)]
    same += [
        torch.zeros_like(u).index_copy(0, torch.from_numpy(moved[k]), u @ torch.tensor(group.matrices[k]).T)
        for k in (5, 17)
    ]
    store = DisplacementBlocks(small, crystal, torch.stack(same))
    places = np.broadcast_to(np.arange(54)[:, None], (5, 54, 1))
    values = model.of_blocks(store, np.arange(5)[:, None], places).mean(1)
    np.testing.assert_allclose(values, values[0], atol=1e-6 * np.abs(values).max())


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [False, True])
def test_a_planted_property_is_learned_and_kept(rng, tmp_path, temperature):
    """The mean square of bond lengths, at two temperatures; with T, a term of its own."""
    crystal = silicon(3)
    front = BlockDisplacements(crystal.lattice, EDGE, temperature=temperature)
    heat = np.where(np.arange(120) % 2, 300.0, 100.0)
    u = torch.randn(120, 54, 3, generator=rng) * torch.from_numpy(0.003 * heat**0.5).float()[:, None, None]
    bonds = crystal.lattice.bonds()
    along = torch.from_numpy(bonds.displacement).float() / crystal.lattice.spacing
    stretch = ((u[:, bonds.j] - u[:, bonds.i]) * along).sum(-1)
    label = stretch.square().mean(1).numpy() * 1e3 + (heat / 100.0 if temperature else 0.0)
    store = DisplacementBlocks(front, crystal, u, heat if temperature else None)
    model = PropertyModel(front, MLP((16,)))
    options = PropertyFitOptions(
        steps=250, batch_size=20, blocks=8, learning_rate=1e-2, validate_every=50, average=0.9, loss="average"
    )
    fit_property(model, store, label, options=options, progress=False)
    found = model.predict(store, 54, rng).mean
    for t in (100.0, 300.0):
        assert np.corrcoef(found[heat == t], label[heat == t])[0, 1] > 0.6
    assert np.sqrt(((found - label) ** 2).mean()) < 0.4 * label.std()
    model.save(tmp_path / "model")
    again = PropertyModel.load(tmp_path / "model")
    places = np.arange(54)[None, :, None]
    np.testing.assert_array_equal(
        again.of_blocks(store, np.zeros((1, 54), int), places), model.of_blocks(store, np.zeros((1, 54), int), places)
    )


def test_what_does_not_fit_is_refused(small, large, rng):
    crystal = silicon(3)
    u = torch.zeros(2, 54, 3)
    with pytest.raises(ValueError, match="would meet itself among 54"):
        PropertyModel(large, MLP((4,))).predict(DisplacementBlocks(large, crystal, u), 2, rng)
    with pytest.raises(ValueError, match="blocks of 17 atoms, not of 279"):
        DisplacementBlocks(small, crystal, u).blocks(0, np.zeros((1, 1), int), 279)
    with pytest.raises(ValueError, match="reads no temperature"):
        DisplacementBlocks(small, crystal, u, np.zeros(2))
    with pytest.raises(ValueError, match="are those of"):
        DisplacementBlocks(small, silicon(3, a=5.5), u)
    with pytest.raises(ValueError, match="17 × 3 displacements"):
        PropertyModel(small, MLP((4,)))(torch.zeros(1, 279, 3))
    with pytest.raises(ValueError, match="mode must be one of"):
        BlockDisplacements(crystal.lattice, EDGE, mode="all")
    with pytest.raises(ValueError):
        BlockDisplacements(square(4), EDGE)
    assert "power+phase" not in MODES
