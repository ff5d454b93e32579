"""What every descriptor promises, as tests. A new member joins by one line in ``DESCRIPTORS``."""

import functools
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nearsight.descriptors import Descriptor, Irreps, MagneticACSF, SpinACE, SpinInvariants
from nearsight.fields import FieldType, displacement, ising, jahn_teller, potts, scalar, spin
from nearsight.lattices import (
    Lattice,
    PointCloud,
    chain,
    crystal_class,
    cubic,
    diamond,
    honeycomb,
    kagome,
    site_group,
    site_permutations,
    square,
    triangular,
)

RECTANGULAR = Lattice("rectangular", np.diag([1.0, 1.3]), np.zeros((1, 2)), (4, 5))

CLOUD = PointCloud([[0.1, 0.0], [1.0, 0.6], [0.2, 1.1]], cell=1.7).resized(3, 3)
RINGS = {"radii": (0.5, 1.1, 4), "width": 0.3, "pairs": (0.8,)}

DESCRIPTORS = {
    "magnetic ACSF on a cloud": lambda: MagneticACSF(CLOUD, spin(unit=False), 1.4, **RINGS),
    "magnetic ACSF of one handedness": lambda: MagneticACSF(
        CLOUD, spin(time_reversal=False), 1.4, chirality=True, **RINGS
    ),
    "magnetic ACSF with squared chiralities, triangular": lambda: MagneticACSF(
        triangular(4), spin(), 1.3, chirality=True, **RINGS
    ),
    "lifted, scalar on the square lattice": lambda: Irreps(square(6), scalar(), 2.3),
    "lifted, three Jahn-Teller modes": lambda: Irreps(square(5), FieldType("Q", ("trivial", "B1", "trivial")), 1.5),
    "lifted, vector on the square lattice": lambda: Irreps(square(5), FieldType("u", ("vector",)), 2.0),
    "lifted, scalar on the triangular lattice": lambda: Irreps(triangular(5), scalar(), 1.8),
    "lifted, displacement on the cubic lattice": lambda: Irreps(cubic(4), FieldType("u", ("vector",)), 1.0),
    "lifted, rectangular": lambda: Irreps(RECTANGULAR, FieldType("P", ("vector", "A2")), 1.7),
    "lifted, chain": lambda: Irreps(chain(9), scalar(), 2.0),
    "lifted, scalar on the honeycomb lattice": lambda: Irreps(honeycomb(4), scalar(), 2.1),
    "lifted, displacement on the kagome lattice": lambda: Irreps(kagome(3), displacement(), 1.8),
    "lifted, displacement on the diamond lattice": lambda: Irreps(diamond(3), displacement(), 1.0),
    "lifted, scalar on the diamond lattice": lambda: Irreps(diamond(3), scalar(), 1.7),
    "lifted, without the centre": lambda: Irreps(square(6), scalar(), 2.3, include_centre=False),
    "power": lambda: Irreps(square(5), scalar(), 1.5, mode="power"),
    "phase": lambda: Irreps(square(6), scalar(), 2.3, mode="phase"),
    "phase with bispectrum": lambda: Irreps(triangular(6), scalar(), 2.7, mode="phase+bispectrum"),
    "pairs, scalar on the square lattice": lambda: Irreps(square(6), scalar(), 2.3, mode="pairs"),
    "pairs, displacement on the cubic lattice": lambda: Irreps(cubic(4), displacement(), 1.0, mode="pairs"),
    "bispectrum": lambda: Irreps(triangular(5), scalar(), 1.8, mode="bispectrum"),
    "bispectrum, Jahn-Teller modes": lambda: Irreps(square(5), jahn_teller(), 1.0, mode="bispectrum"),
    "eigenvalues": lambda: Irreps(square(6), scalar(), 2.3, mode="eigenvalues"),
    "eigenvalues, Jahn-Teller modes": lambda: Irreps(square(5), jahn_teller(), 1.0, mode="eigenvalues"),
    "lifted, Z2": lambda: Irreps(square(6), FieldType("m", internal="Z2"), 2.3),
    "lifted, three equivalent states": lambda: Irreps(square(5), potts(3), 1.5),
    "phase, Z2": lambda: Irreps(triangular(5), ising(), 1.8, mode="phase"),
    "pairs, Z2 and Jahn-Teller modes": lambda: Irreps(
        square(5), FieldType("Q", ("A1", "B1", "A1"), "Z2"), 1.5, mode="pairs"
    ),
    "phase with bispectrum, vector": lambda: Irreps(
        square(5), FieldType("u", ("vector",)), 1.5, mode="phase+bispectrum"
    ),
    "spins, triangular lattice": lambda: SpinInvariants(triangular(5), spin(), 1.8),
    "spins, triangular lattice in a magnetic field": lambda: SpinInvariants(
        triangular(5), spin(time_reversal=False), 1.0, mode="phase+bispectrum"
    ),
    "spins of varying length, square lattice": lambda: SpinInvariants(
        square(6), spin(unit=False), 2.0, bond_cutoff=1.5, chirality_cutoff=1.0, mode="phase"
    ),
    "XY spins, square lattice": lambda: SpinInvariants(square(5), spin(components=2), 1.5),
    "XY spins of one handedness, chain": lambda: SpinInvariants(
        chain(9), spin(components=2, time_reversal=False), 2.0, mode="pairs"
    ),
    "spin cluster expansion, triangular lattice": lambda: SpinACE(triangular(5), spin(), 1.8, 3),
    "spin cluster expansion in a magnetic field, varying length": lambda: SpinACE(
        square(6), spin(unit=False, time_reversal=False), 2.0, 2
    ),
    "spin cluster expansion, XY spins": lambda: SpinACE(triangular(5), spin(components=2), 1.0, 2, order=3),
    "spin cluster expansion, diamond lattice": lambda: SpinACE(diamond(3), spin(), 1.7, 2, learnable=False),
    "spins, kagome lattice": lambda: SpinInvariants(kagome(3), spin(), 1.0),
}


def random_field(descriptor, *batch, seed=0):
    shape = (*batch, descriptor.lattice.n_sites, descriptor.components)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def checkerboard(descriptor):
    parity = torch.as_tensor(descriptor.lattice.cells.sum(1) % 2, dtype=torch.float64)
    return parity[:, None].expand(-1, descriptor.components).clone()


def symmetric_fields(descriptor):
    """Fields at which references vanish or directions are undefined."""
    zero = torch.zeros_like(random_field(descriptor))
    single = zero.clone()
    single[0] = 1.0
    return {"zero": zero, "uniform": zero + 0.7, "checkerboard": checkerboard(descriptor), "one site": single}


def exchanges(lattice):
    """Element, and permutation of the sites, of every operation that carries site 0 to some site of cell 0."""
    inverse = np.linalg.inv(lattice.vectors)
    for element, g in enumerate(crystal_class(lattice).matrices):
        for origin in lattice.positions[: lattice.n_basis]:
            arrived = (lattice.positions - lattice.positions[0]) @ g.T + origin
            cells = (arrived[:, None] - lattice.basis) @ inverse
            on = np.abs(cells - cells.round()).max(-1) < 1e-6
            if on.any(1).all():
                sublattice = on.argmax(1)
                chosen = cells[np.arange(len(cells)), sublattice].round().astype(int)
                yield element, lattice.index(chosen, sublattice)


@functools.cache
def built(make: Callable[[], Descriptor]) -> Descriptor:
    """Each descriptor is built once for all of its laws, and left as it is by all of them."""
    return make()


class DescriptorContract:
    """Collected by ``tests/test_descriptors.py``."""

    @pytest.fixture(params=DESCRIPTORS.values(), ids=DESCRIPTORS.keys())
    def descriptor(self, request) -> Descriptor:
        return built(request.param)

    def test_the_shape_of_the_answer_is_batch_site_feature(self, descriptor):
        lattice = descriptor.lattice
        assert descriptor(random_field(descriptor)).shape == (lattice.n_sites, descriptor.features)
        assert descriptor(random_field(descriptor, 2, 3)).shape == (2, 3, lattice.n_sites, descriptor.features)

    def test_features_are_invariant_under_every_operation_of_the_lattice(self, descriptor):
        group = site_group(descriptor.lattice)
        occupations = (random_field(descriptor, 4, seed=1) > 0.3).double()
        fields = torch.cat(
            [random_field(descriptor, 2), occupations, torch.stack([*symmetric_fields(descriptor).values()])]
        )
        features = descriptor(fields)
        scale = features.abs().max()
        permutations = site_permutations(descriptor.lattice, group)
        for g, permutation in enumerate(permutations):
            moved = descriptor(descriptor.field_type.transform(fields, group, g, permutation))
            assert (moved[:, permutation] - features).abs().max() < 1e-12 * scale

    def test_features_are_the_same_on_equivalent_sublattices(self, descriptor):
        lattice, law = descriptor.lattice, set(descriptor.field_type.law)
        if lattice.disordered:
            pytest.skip("no two sites of a cloud are equivalent")
        if lattice.n_basis == 1 or not law <= {"trivial", "vector"}:
            pytest.skip("one site per cell, or a law of the site group alone")
        fields = torch.cat([random_field(descriptor, 1), torch.stack([*symmetric_fields(descriptor).values()])])
        features, operations = descriptor(fields), [*exchanges(lattice)]
        assert len(operations) == lattice.n_basis * len(site_group(lattice))
        for element, permutation in operations:
            moved = descriptor(descriptor.field_type.transform(fields, crystal_class(lattice), element, permutation))
            assert (moved[:, permutation] - features).abs().max() < 1e-12 * features.abs().max()

    def test_features_are_invariant_under_the_internal_symmetry_of_the_field(self, descriptor):
        rng = torch.Generator().manual_seed(8)
        fields = torch.cat([random_field(descriptor, 2), torch.stack([*symmetric_fields(descriptor).values()])])
        features = descriptor(fields)
        for _ in range(3):
            operation = descriptor.field_type.internal_operation(descriptor.components, rng)
            assert (descriptor(fields @ operation.T) - features).abs().max() < 1e-12 * features.abs().max()

    def test_features_travel_with_the_field(self, descriptor):
        lattice, field = descriptor.lattice, random_field(descriptor)
        shift = torch.as_tensor(lattice.index(lattice.cells + np.array([1, 2, 2])[: lattice.dim], lattice.sublattice))
        torch.testing.assert_close(descriptor(field[shift]), descriptor(field)[shift], rtol=0, atol=1e-13)

    def test_a_batch_is_the_sum_of_its_parts(self, descriptor):
        fields = random_field(descriptor, 2, 2)
        together = descriptor(fields)
        for index in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            torch.testing.assert_close(together[index], descriptor(fields[index]), rtol=0, atol=1e-13)

    def test_an_empty_batch_has_empty_features(self, descriptor):
        field = random_field(descriptor, 0).requires_grad_()
        features = descriptor(field)
        assert features.shape == (0, descriptor.lattice.n_sites, descriptor.features)
        features.sum().backward()

    def test_inference_leaves_training_as_it_was(self, descriptor):
        fresh = type(descriptor).from_config(descriptor.config())
        with torch.inference_mode():
            inferred = fresh(random_field(descriptor))
        leaf = random_field(descriptor).requires_grad_()
        features = fresh(leaf)
        features.square().sum().backward()
        assert torch.equal(features, inferred) and leaf.grad.isfinite().all()

    def test_derivatives_are_those_of_finite_differences(self, descriptor):
        random = random_field(descriptor)
        probe = torch.randn(descriptor.features, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        for field in [random, *symmetric_fields(descriptor).values()]:
            leaf = field.clone().requires_grad_()
            (gradient,) = torch.autograd.grad((descriptor(leaf) @ probe).sum(), leaf)
            assert gradient.isfinite().all()
            if field is not random and not descriptor.smooth:
                continue  # finite, and one-sided differences disagree
            for seed in (3, 4):
                direction, h = random_field(descriptor, seed=seed), 1e-4
                ends = torch.stack([field + s * h * direction for s in (-2, -1, 1, 2)])
                lower2, lower, upper, upper2 = (descriptor(ends) @ probe).sum(-1)
                slope = (8 * (upper - lower) - (upper2 - lower2)) / (12 * h)
                torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-7, atol=1e-8)

    def test_forces_can_be_trained_on(self, descriptor):
        # The derivative of a squared force, against a finite difference of it.
        probe = torch.randn(descriptor.features, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

        def squared_force(field):
            energy = torch.tanh(descriptor(field) @ probe).sum()
            return torch.autograd.grad(energy, field, create_graph=True)[0].square().sum()

        for field in (random_field(descriptor), checkerboard(descriptor))[: 2 if descriptor.smooth else 1]:
            leaf = field.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(squared_force(leaf), leaf)
            direction, h = random_field(descriptor, seed=6), 1e-4
            lower2, lower, upper, upper2 = (
                squared_force((field + s * h * direction).requires_grad_()).detach() for s in (-2, -1, 1, 2)
            )
            slope = (8 * (upper - lower) - (upper2 - lower2)) / (12 * h)
            torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-6)

    def test_single_precision_agrees_with_double(self, descriptor):
        field = random_field(descriptor)
        torch.testing.assert_close(descriptor(field.float()).double(), descriptor(field), rtol=1e-4, atol=1e-5)

    def test_a_tiled_field_has_tiled_features(self, descriptor):
        lattice, field = descriptor.lattice, random_field(descriptor)
        large = lattice.resized(*(2 * n for n in lattice.shape))
        tile = torch.as_tensor(lattice.index(large.cells, large.sublattice))
        torch.testing.assert_close(descriptor.on(large)(field[tile]), descriptor(field)[tile], rtol=0, atol=1e-13)

    def test_nothing_beyond_the_cutoff_matters(self, descriptor):
        large = descriptor.on(descriptor.lattice.resized(*(9 for _ in descriptor.lattice.shape)))
        lattice, field = large.lattice, random_field(large)
        near = set(lattice.neighbour_table(lattice.neighbourhood(descriptor.cutoff))[0].tolist())
        far = torch.tensor([i for i in range(lattice.n_sites) if i not in near])
        changed = field.clone()
        changed[far] += 1.0
        assert torch.equal(large(changed)[0], large(field)[0])
        assert not torch.equal(large(changed), large(field))

    def test_the_change_of_one_site_is_known_without_the_others(self, descriptor):
        lattice, before = descriptor.lattice, random_field(descriptor, 2)
        sites = torch.tensor([0, lattice.n_sites // 2 + lattice.n_basis - 1])
        change = random_field(descriptor, 2, seed=7)[:, sites]
        centres, features = descriptor.delta(before, sites, change)
        for k, site in enumerate(sites):
            after = before.clone()
            after[:, site] += change[:, k]
            full = descriptor(after)
            assert len(set(centres[k].tolist())) == len(centres[k])
            torch.testing.assert_close(features[:, k], full[:, centres[k]], rtol=1e-12, atol=1e-12)
            others = [i for i in range(lattice.n_sites) if i not in set(centres[k].tolist())]
            assert torch.equal(full[:, others], descriptor(before)[:, others])
            one_centres, one = descriptor.delta(before[0], int(site), change[0, k])
            assert torch.equal(one_centres, centres[k])
            torch.testing.assert_close(one, features[0, k], rtol=1e-12, atol=1e-12)

    def test_chosen_sites_have_the_features_of_the_whole(self, descriptor):
        field = random_field(descriptor, 2)
        sites = torch.tensor([[0, 5], [3, descriptor.lattice.n_sites - 1]])
        features = descriptor(field)
        torch.testing.assert_close(descriptor.at(field, sites), features[:, sites], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(descriptor.at(field, 5), features[:, 5], rtol=1e-12, atol=1e-12)

    def test_a_window_with_its_halo_has_the_features_of_the_whole(self, descriptor):
        lattice, reach = descriptor.lattice, descriptor.reach
        field = random_field(descriptor, 2)
        grid = field.view(2, *lattice.shape, lattice.n_basis, -1)
        expected = descriptor(field).view(2, *lattice.shape, lattice.n_basis, -1)
        for axis, r in enumerate(reach, start=1):  # cells 1 and 2 of every axis
            cells = torch.arange(1 - r, 3 + r) % lattice.shape[axis - 1]
            grid, expected = grid.index_select(axis, cells), expected.narrow(axis, 1, 2)
        torch.testing.assert_close(descriptor.evaluate_window(grid), expected, rtol=1e-12, atol=1e-12)

    def test_a_window_without_its_halo_is_refused(self, descriptor):
        lattice, cells = descriptor.lattice, [2 * r + 1 for r in descriptor.reach]
        assert descriptor.evaluate_window(torch.ones(*cells, lattice.n_basis, descriptor.components)).isfinite().all()
        cells[-1] -= 1
        for shape in [(*cells, lattice.n_basis, descriptor.components), (lattice.n_basis, descriptor.components)]:
            with pytest.raises(ValueError, match=r"A window of this descriptor has shape \(\*batch, more than"):
                descriptor.evaluate_window(torch.ones(shape))

    def test_another_kind_of_lattice_is_refused(self, descriptor):
        with pytest.raises(ValueError, match="in any size"):
            descriptor.on(chain(8) if descriptor.lattice.dim > 1 else square(8))

    def test_a_field_of_the_wrong_shape_is_refused(self, descriptor):
        with pytest.raises(ValueError, match="has shape"):
            descriptor(random_field(descriptor)[1:])

    def test_a_site_beyond_the_lattice_is_refused(self, descriptor):
        with pytest.raises(IndexError):
            descriptor.at(random_field(descriptor), torch.tensor([descriptor.lattice.n_sites]))

    def test_a_descriptor_is_rebuilt_from_plain_data(self, descriptor):
        config = json.loads(json.dumps(descriptor.config()))
        rebuilt = type(descriptor).from_config(config)
        field = random_field(descriptor)
        assert rebuilt.config() == descriptor.config()
        assert torch.equal(rebuilt(field), descriptor(field))
