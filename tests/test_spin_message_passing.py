"""Message passing on clouds: symmetries at rounding, forces on sites, fits to several structures, what is refused."""

import numpy as np
import pytest
import torch

from nearsight.fields import random_spins, scalar, spin, tangent
from nearsight.forcefields import Disjoint, ExactForceField, LearnedForceField, load, save
from nearsight.hamiltonians import Exponential, SDModel
from nearsight.lattices import EdgeBasis, PointCloud, Structures, bonds_within, edges, random_cloud
from nearsight.networks import SpinMessagePassing
from nearsight.solvers import Dense
from nearsight.training import DataSet, FitOptions, Split, fit

CELL = np.array([[3.2, 0.4, 0.0], [-0.5, 3.0, 0.3], [0.2, 0.1, 2.9]])
SIZES = {"channels": 5, "vectors": 2, "radial": 5, "hidden": 12}


def cloud(n=24, seed=0, species=()):
    rng = np.random.default_rng(seed)
    return PointCloud(rng.uniform(0, 1, (n, 3)) @ CELL, CELL, species=species)


def network(lattice, **options):
    model = SpinMessagePassing(lattice, spin(), 1.4, **SIZES | options)
    with torch.no_grad():  # no weight is special
        rng = torch.Generator().manual_seed(3)
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=rng)
    return LearnedForceField(model).double().eval()


def orthogonal(seed, dim=3):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def test_the_edge_functions_are_those_of_the_neighbours():
    lattice = cloud()
    table, bonds = edges(lattice, 1.4), bonds_within(lattice, 1.4)
    assert table.present.sum() == 2 * len(bonds)
    basis = EdgeBasis(1.4, radial=4)
    vectors = torch.from_numpy(table.vectors)
    radial, angular = basis.radial_values(vectors), basis.angular_values(vectors)
    assert float(radial[~torch.from_numpy(table.present)].abs().max()) == 0  # empty places count for nothing
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    cosine = torch.einsum("ija,ika->ijk", unit, unit)
    for l, value in ((0, cosine**0), (1, cosine), (2, cosine**2 - 1 / 3)):
        m = slice((0, 1, 4)[l], (1, 4, 9)[l])
        torch.testing.assert_close(torch.einsum("ijm,ikm->ijk", angular[..., m], angular[..., m]), value)


@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"layers": 3, "degree": 1}, {"head": "force"}], ids=repr)
def test_symmetries_of_space_and_of_spins_hold_at_rounding(options, rng):
    lattice = cloud(species=("Mn", "Fe") * 12)
    forcefield, spins = network(lattice, **options), random_spins(lattice, rng)
    H, energy = forcefield(spins)
    assert float(H.std()) > 1e-3
    for seed in range(3):  # rotations and reflections of the positions
        g = orthogonal(seed)
        turned = PointCloud(lattice.basis @ g.T, CELL @ g.T, species=lattice.species)
        found = forcefield.on(turned)(spins)
        torch.testing.assert_close(found.force, H, atol=1e-11, rtol=0)
    order = np.random.default_rng(1).permutation(lattice.n_sites)  # permutations, shifts, other images
    shuffled = lattice.basis[order] + 0.3 + np.random.default_rng(2).integers(-2, 3, (24, 3)) @ CELL
    moved = PointCloud(shuffled, CELL, species=np.array(lattice.species)[order].tolist())
    found = forcefield.on(moved)(spins[order])
    torch.testing.assert_close(found.force, H[order], atol=1e-11, rtol=0)
    for seed in (4, 5):  # rotations of all spins, and their reversal
        R = torch.from_numpy(orthogonal(seed))
        turned_spins = forcefield(spins @ R.T)
        torch.testing.assert_close(turned_spins.force, H @ R.T, atol=1e-11, rtol=0)
        assert energy is None or float(turned_spins.energy) == pytest.approx(float(energy), rel=1e-12)
    reversed_spins = forcefield(-spins)
    torch.testing.assert_close(reversed_spins.force, -H, atol=1e-11, rtol=0)


def test_reversal_of_one_spin_alone_is_no_symmetry(rng):
    lattice = cloud()
    forcefield, spins = network(lattice), random_spins(lattice, rng)
    other = spins.clone()
    other[0] *= -1
    assert abs(float(forcefield(other).energy - forcefield(spins).energy)) > 1e-3


def test_handedness_of_positions_and_of_spins_together_is_seen_by_no_scalar_product(rng):
    """A mirror of the positions alone leaves the energy: the price of having scalar products only."""
    lattice = cloud()
    forcefield, spins = network(lattice), random_spins(lattice, rng)
    mirrored = PointCloud(lattice.basis * [1, 1, -1], CELL * [1, 1, -1])
    torch.testing.assert_close(forcefield.on(mirrored)(spins).energy, forcefield(spins).energy, atol=1e-10, rtol=0)


def test_forces_on_sites_are_minus_the_gradient_of_the_energy(rng):
    lattice = cloud()
    forcefield, spins = network(lattice), random_spins(lattice, rng)
    F = forcefield.model.atomic_forces(spins)
    assert float(F.sum(0).abs().max()) < 1e-10 and float(F.abs().max()) > 1e-3
    rng_np = np.random.default_rng(0)
    for _ in range(3):
        way = rng_np.normal(size=lattice.positions.shape)
        up, down = (
            float(forcefield.on(PointCloud(lattice.basis + s * 1e-4 * way, CELL))(spins).energy) for s in (1, -1)
        )
        assert float((F.numpy() * way).sum()) == pytest.approx(-(up - down) / 2e-4, rel=1e-5, abs=1e-6)


def test_energies_are_smooth_where_a_neighbour_leaves():
    """Across the cutoff the energy has no step and no kink."""
    values = []
    for x in 1.4 + np.linspace(-2e-3, 2e-3, 9):
        pair = PointCloud([[0.0, 0.0, 0.0], [x, 0.0, 0.0]])
        forcefield = network(pair)
        values.append(float(forcefield(torch.tensor([[0.0, 0, 1], [0, 0.6, 0.8]]).double()).energy))
    assert np.abs(np.diff(values, 2)).max() < 1e-9


def test_a_site_without_neighbours_feels_no_torque(rng):
    lone = PointCloud([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    forcefield, spins = network(lone), random_spins(lone, rng)
    assert float(tangent(forcefield(spins).force, spins).abs().max()) < 1e-12


def test_large_clouds_are_evaluated_piece_by_piece_with_the_same_result(rng, monkeypatch):
    lattice = cloud(60)
    forcefield, spins = network(lattice), random_spins(lattice, rng, 2)
    expected = forcefield(spins)
    monkeypatch.setattr("nearsight.networks.spin_message_passing.CHUNK", 30)
    monkeypatch.setattr("nearsight.networks.spin_message_passing.TABLE", 0)
    for answer in (forcefield.on(cloud(60))(spins), network(lattice, head="force")(spins)):
        assert answer.force.shape == spins.shape
    pieces = forcefield.on(cloud(60))(spins)
    torch.testing.assert_close(pieces.force, expected.force, atol=1e-12, rtol=0)
    torch.testing.assert_close(pieces.energy, expected.energy, atol=1e-11, rtol=0)


def test_structures_together_are_structures_alone(rng):
    parts = [cloud(12, 1), cloud(20, 2)]
    both = Structures(parts)
    forcefield, spins = network(both), random_spins(both, rng, 2)
    together = forcefield(spins)
    alone = [forcefield.on(p)(s) for p, s in zip(parts, both.split(spins), strict=True)]
    torch.testing.assert_close(together.force, torch.cat([a.force for a in alone], -2), atol=1e-12, rtol=0)
    torch.testing.assert_close(together.energy, sum(a.energy for a in alone), atol=1e-11, rtol=0)


def test_a_model_is_saved_with_its_species(tmp_path, rng):
    lattice = cloud(species=("Mn", "Fe") * 12)
    forcefield, spins = network(lattice), random_spins(lattice, rng)
    save(forcefield, tmp_path / "model")
    again = load(tmp_path / "model")
    torch.testing.assert_close(again(spins).force, forcefield(spins).force, atol=0, rtol=0)
    plain = cloud(species="Fe")
    torch.testing.assert_close(again.on(plain)(spins).force, forcefield.on(plain)(spins).force, atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match=r"knows the species \['Fe', 'Mn'\].*has \['Gd'\] as well"):
        again.on(cloud(species="Gd"))


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"internal='O\(n\)'"):
        SpinMessagePassing(cloud(), spin(time_reversal=False))
    with pytest.raises(ValueError, match=r"internal='O\(n\)'"):
        SpinMessagePassing(cloud(), scalar())
    with pytest.raises(ValueError, match="dimension 3"):
        network(cloud()).on(PointCloud([[0.0, 0.0]]))
    with pytest.raises(ValueError, match="derive from an energy"):
        network(cloud(), head="force").model.atomic_forces(torch.zeros(24, 3).double())


@pytest.mark.slow
def test_a_fit_to_several_structures_is_validated_on_others(rng):
    """A planted exchange J(R): a small network finds it from a few structures, and has it on one it has not seen."""
    J = Exponential(-2.0, 0.3, cutoff=1.6)

    def truth(lattice):
        return ExactForceField(SDModel(lattice, t=0.0, J=0.0, exchange=J), Dense(mu=0.0, kT=0.1))

    def data(*clouds):
        exact = Disjoint(*map(truth, clouds))
        field = random_spins(exact.lattice, rng, 12)
        force, energy = exact(field)
        return DataSet.from_arrays(lattice=exact.lattice, field=field, force=force, energy=energy, components=3)

    a, b, c, unseen = (random_cloud(n, 0.8, 0.5, rng=rng) for n in (24, 36, 48, 30))
    splits = [Split(data(a, b), data(unseen), None), Split(data(c), data(unseen), None)]
    model = LearnedForceField(SpinMessagePassing(a, spin(), 1.6, layers=1, channels=4, vectors=1, radial=6, hidden=8))
    options = FitOptions(
        steps=100, warmup=5, batch_size=4, validate_every=20, average=0.8, energy_weight=0.0, learning_rate=2e-2
    )
    fitted = fit(model, splits, options=options, progress=False)
    test = data(unseen)
    error = tangent(fitted.on(test.lattice)(test.field).force - test.force, test.field)
    assert float(error.norm() / tangent(test.force, test.field).norm()) < 0.15
