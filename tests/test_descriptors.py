"""The contract of the descriptors, and what is special about each mode of Irreps."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.descriptor_contract import DescriptorContract, exchanges
from nearsight.descriptors import Irreps
from nearsight.descriptors import _stencil as stencil
from nearsight.fields import FieldType, displacement, occupation, scalar
from nearsight.lattices import (
    chain,
    crystal_class,
    cubic,
    diamond,
    honeycomb,
    kagome,
    square,
    sublattice_operations,
    triangular,
)

BORON_NITRIDE = replace(honeycomb(4), species=(0, 1))
JAHN_TELLER = FieldType("Q", ("trivial", "B1", "trivial"))


class TestContract(DescriptorContract):
    pass


# --- counting, against the papers ---------------------------------------------------------------------------------


def test_the_holstein_neighbourhood_has_89_sites_and_92_lifted_features():
    descriptor = Irreps(square(4), scalar(), np.sqrt(26))
    assert len(descriptor.neighbourhood) == 89
    assert descriptor.features == 89 + 3
    assert sum(n * descriptor.group.irrep(name).dim for name, n in descriptor.multiplicities().items()) == 89
    assert descriptor.multiplicities() == {"A1": 16, "A2": 7, "B1": 12, "B2": 10, "E": 22}
    assert repr(descriptor).startswith("Irreps(square, 4 × 4 sites, periodic; field_type=FieldType(name=Q)")


def test_the_jahn_teller_descriptor_has_the_450_features_of_the_thesis():
    # 3 modes on 149 sites, and the three reference bispectra A2·B1·B2, B1·E·E, B2·E·E.
    assert Irreps(square(4), JAHN_TELLER, 7, mode="phase+bispectrum").features == 450


def test_phases_count_one_number_for_every_variable_of_the_plane():
    assert Irreps(square(4), scalar(), 10, mode="phase").features == 317
    assert Irreps(square(4), scalar(), np.sqrt(26), mode="phase").features == 89
    falicov_kimball = Irreps(square(4), occupation(), 10, mode="phase", include_centre=False)
    assert falicov_kimball.features == 316
    orbits = Counter({4: 0, 8: 0})
    for block in falicov_kimball.blocks:
        orbits[block.members.shape[1]] += len(block.members)
    assert orbits == {4: 17, 8: 31}


def test_without_the_centre_its_value_does_not_matter_and_the_rest_is_as_before():
    around = Irreps(square(6), scalar(), 2.3, mode="power", include_centre=False)
    field = torch.randn(36, 1, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    changed = field.clone()
    changed[14] += 1.0
    assert torch.equal(around(changed)[14], around(field)[14])
    whole = Irreps(square(6), scalar(), 2.3, mode="power")(field)
    torch.testing.assert_close(whole[:, 1:], around(field), rtol=0, atol=1e-14)  # the first feature is the centre


@pytest.mark.parametrize(("lattice", "cutoff", "triples"), [(square(4), 2.3, 3), (triangular(4), 2.7, 5)])
def test_the_number_of_reference_bispectra_is_that_of_the_group(lattice, cutoff, triples):
    phase = Irreps(lattice, scalar(), cutoff, mode="phase").features
    assert Irreps(lattice, scalar(), cutoff, mode="phase+bispectrum").features == phase + triples


@pytest.mark.parametrize(
    ("lattice", "field_type", "orbits"),
    [
        (square(4), scalar(), {1.0: "A1 B1 E", 1.5: "A1 B2 E", 2.3: "A1 A2 B1 B2 2E"}),
        (square(4), FieldType("Qx", ("B1",)), {1.0: "A1 B1 E", 1.5: "A2 B1 E", 2.3: "A1 A2 B1 B2 2E"}),
        (triangular(4), scalar(), {1.0: "A1 B1 E1 E2", 1.8: "A1 B2 E1 E2", 2.7: "A1 A2 B1 B2 2E1 2E2"}),
        (cubic(4), scalar(), {1.0: "A1g Eg T1u", 1.5: "A1g Eg T2g T1u T2u", 1.8: "A1g T2g A2u T1u"}),
    ],
    ids=["scalar on square", "B1 on square", "scalar on triangular", "scalar on cubic"],
)
def test_orbits_decompose_as_in_the_tables(lattice, field_type, orbits):
    for radius, expected in orbits.items():
        blocks = Irreps(lattice, field_type, radius).blocks
        found = [
            " ".join(f"{n if n > 1 else ''}{name}" for name, n in block.copies)
            for block in blocks
            if np.linalg.norm(lattice.neighbourhood(radius).vectors[block.members[0, 0]]) > radius - 0.5
        ]
        assert expected in found


# --- the phases of the papers -------------------------------------------------------------------------------------


def test_the_phases_of_the_papers_follow_from_their_printed_tables():
    # The 4 nearest neighbours a, b, c, d at +x, +y, -x, -y of the square lattice.
    lattice = square(6)
    field = torch.randn(36, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a, b, c, d = (
        field[torch.as_tensor(lattice.index(lattice.cells + n)), 0] for n in [(1, 0), (0, 1), (-1, 0), (0, -1)]
    )
    A1, B1 = (a + b + c + d) / 2, (a - b + c - d) / 2
    E = torch.stack([a - c, b - d]) / 2**0.5
    # One orbit is its own reference: signs drop out, and the doublet is projected on its own direction.
    expected = torch.stack([field[:, 0], A1, B1.abs(), E.square().sum(0), E.norm(dim=0)], dim=1)
    for eps, tolerance in [(0.0, 1e-14), (1e-5, 1e-3)]:
        features = Irreps(lattice, scalar(), 1.0, mode="phase", eps=eps)(field)
        features[:, 4] *= features[0, 4].sign()  # the direction of a reference doublet is a convention
        torch.testing.assert_close(features, expected, rtol=0, atol=tolerance)


def test_without_softening_a_symmetric_field_gives_zero_phases_not_nan():
    field = torch.ones(36, 1, dtype=torch.float64, requires_grad=True)
    features = Irreps(square(6), scalar(), 2.3, mode="phase", eps=0.0)(field)
    assert features.isfinite().all()
    (gradient,) = torch.autograd.grad(features.sum(), field)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("mode", "eps", "jumps"), [("lifted", 0.4, False), ("phase", 0.4, False), ("phase", 0.0, True)]
)
def test_only_the_hard_phases_jump_along_a_path(mode, eps, jumps):
    descriptor = Irreps(square(6), scalar(), 2.3, mode=mode, eps=eps)
    ends = torch.randn(2, 21, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    largest = []
    for steps in (400, 4000):
        angle = torch.linspace(0, 2 * torch.pi, steps, dtype=torch.float64)[:, None, None]
        path = descriptor.of_neighbourhoods(angle.cos() * ends[0] + angle.sin() * ends[1])
        largest.append(float(path.diff(dim=0).abs().max()))
    coarse, fine = largest
    assert fine > 0.5 * coarse if jumps else fine < 0.15 * coarse


# --- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["lifted", "phase+bispectrum"])
def test_single_neighbourhoods_agree_with_the_whole_lattice(mode):
    lattice = triangular(5)
    descriptor = Irreps(lattice, FieldType("u", ("vector",)), 1.8, mode=mode)
    field = torch.randn(3, 25, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    table = torch.as_tensor(lattice.neighbour_table(descriptor.neighbourhood))
    torch.testing.assert_close(descriptor.of_neighbourhoods(field[:, table]), descriptor(field))


def test_gradients_are_the_same_to_the_last_bit():
    descriptor = Irreps(square(8), scalar(), 4.0)
    field = torch.randn(2, 64, 1, generator=torch.Generator().manual_seed(5)).requires_grad_()
    first, second = (torch.autograd.grad(descriptor(field).sin().sum(), field)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_cutoff_beyond_the_lattice_sees_its_periodic_images():
    small, large = square(3), square(12)
    field = torch.randn(9, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    tile = torch.as_tensor(small.index(large.cells))
    descriptor = Irreps(small, scalar(), 5.0)
    torch.testing.assert_close(descriptor.on(large)(field[tile]), descriptor(field)[tile])


LAYOUTS = [
    Irreps(square(9), JAHN_TELLER, 3.7),
    Irreps(square(2, 9), scalar(), 3.7),
    Irreps(triangular(6, 5), displacement(), 2.1, mode="phase"),
    Irreps(honeycomb(4, 5), displacement(), 2.7),
    Irreps(kagome(4), displacement(), 2.1),
    Irreps(kagome(3), FieldType("m", ("B1", "vector")), 1.8, mode="power"),
    Irreps(diamond(3), displacement(), 1.7),
]
layouts = pytest.mark.parametrize("descriptor", LAYOUTS, ids=lambda d: f"{d.field_type.law} on {d.lattice.name}")


def derivatives(descriptor, fields):
    """Features, a gradient, and the gradient of its square."""
    leaf = fields.clone().requires_grad_()
    features = descriptor(leaf)
    (gradient,) = torch.autograd.grad(features.sin().sum(), leaf, create_graph=True)
    return features, gradient, torch.autograd.grad(gradient.square().sum(), leaf)[0]


@layouts
@pytest.mark.parametrize("chunk", [stencil.CHUNK, 20])
def test_slices_and_index_tables_are_the_same_map(descriptor, chunk, monkeypatch):
    sites = descriptor.lattice.n_sites
    for batch in (3, 1, 2):  # tables for several numbers of replicas live side by side
        rng = torch.Generator().manual_seed(batch)
        fields = torch.randn(batch, sites, descriptor.components, generator=rng, dtype=torch.float64)
        by_table = derivatives(descriptor, fields)
        with monkeypatch.context() as patch:
            patch.setattr(stencil, "TABLE", 0)
            patch.setattr(stencil, "CHUNK", chunk)
            by_slices = derivatives(descriptor, fields)
        for one, other in zip(by_table, by_slices, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_components_named_by_an_irrep_live_in_the_frame_of_their_sublattice():
    # A mode that is odd under the twofold axis along its own bond direction: invariant only if it turns with its site.
    lattice = kagome(3)
    descriptor = Irreps(lattice, FieldType("m", ("B1",)), 1.8)
    law = descriptor.field_type.representation(descriptor.group)[:, 0, 0]
    assert set(law) == {1.0, -1.0}
    h = sublattice_operations(lattice)
    field = torch.randn(lattice.n_sites, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    features = descriptor(field)
    crystal = crystal_class(lattice).matrices
    for element, permutation in exchanges(lattice):
        sign = np.empty(lattice.n_sites)
        for site, image in enumerate(permutation):
            start, end = h[lattice.sublattice[site]], h[lattice.sublattice[image]]
            local = end.T @ crystal[element] @ start
            sign[site] = law[np.abs(descriptor.group.matrices - local).max((1, 2)).argmin()]
        moved = torch.empty_like(field)
        moved[permutation] = field * torch.as_tensor(sign)[:, None]
        torch.testing.assert_close(descriptor(moved)[permutation], features, rtol=0, atol=1e-12)


@pytest.mark.gpu
@layouts
@pytest.mark.parametrize("table", [stencil.TABLE, 0])
def test_a_gpu_has_the_features_of_the_cpu_and_the_same_gradient_in_every_run(descriptor, table, monkeypatch):
    monkeypatch.setattr(stencil, "TABLE", table)
    fields = torch.randn(
        2, descriptor.lattice.n_sites, descriptor.components, generator=torch.Generator().manual_seed(1)
    )
    fields = fields.double()
    expected = derivatives(descriptor, fields)
    first, second = (derivatives(descriptor, fields.cuda()) for _ in range(2))
    for here, there, again in zip(expected, first, second, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-11, atol=1e-11)
        assert torch.equal(there, again)
    sites, change = torch.tensor([1, 4], device="cuda"), fields[0, :2].cuda()
    for before, after in zip(
        descriptor.delta(fields, sites.cpu(), change.cpu()), descriptor.delta(fields.cuda(), sites, change), strict=True
    ):
        torch.testing.assert_close(after.cpu(), before, rtol=1e-11, atol=1e-11)


def test_a_neighbourhood_of_one_site_is_its_value():
    field = torch.arange(5.0)[:, None]
    assert torch.equal(Irreps(chain(5), scalar(), 0.0)(field), field)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(lattice=BORON_NITRIDE), "inequivalent"),
        (dict(lattice=square(4, periodic=False)), "periodic lattices"),
        (dict(cutoff=0.9, include_centre=False), "cutoff=0.9 sees no neighbour"),
        (dict(mode="phases"), "mode must be one of 'lifted'"),
        (dict(eps=0.0), "eps must be positive"),
        (dict(cutoff=-1.0), "cutoff must be a finite real number ≥ 0"),
        (dict(field_type=FieldType("Q", ("B3",))), "no irrep 'B3'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_described_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Irreps(**{"lattice": square(4), "field_type": scalar(), **arguments})
