"""The contract of the descriptors, and what is special about each mode of Irreps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.descriptor_contract import DescriptorContract
from nearsight.descriptors import Irreps
from nearsight.fields import FieldType, scalar
from nearsight.lattices import chain, cubic, honeycomb, square, triangular

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
    assert repr(descriptor) == (
        "lifted irreps of D4 on square: 89 sites within 5.09902, 16 A1 + 7 A2 + 12 B1 + 10 B2 + 22 E, 92 features"
    )


def test_the_jahn_teller_descriptor_has_the_450_features_of_the_thesis():
    # 3 modes on 149 sites, and the three reference bispectra A2·B1·B2, B1·E·E, B2·E·E.
    assert Irreps(square(4), JAHN_TELLER, 7, mode="phase+bispectrum").features == 450


def test_phases_count_one_number_for_every_variable_of_the_plane():
    assert Irreps(square(4), scalar(), 10, mode="phase").features == 317  # 316 without the centre: Falicov-Kimball


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


def test_a_neighbourhood_of_one_site_is_its_value():
    field = torch.arange(5.0)[:, None]
    assert torch.equal(Irreps(chain(5), scalar(), 0.0)(field), field)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(lattice=BORON_NITRIDE), "inequivalent"),
        (dict(lattice=square(4, periodic=False)), "periodic lattices"),
        (dict(cutoff=0.9, include_centre=False), "No neighbour lies within 0.9"),
        (dict(mode="phases"), "mode must be one of 'lifted'"),
        (dict(eps=0.0), "eps must be positive"),
        (dict(cutoff=-1.0), "cutoff must be a finite distance"),
        (dict(field_type=FieldType("Q", ("B3",))), "no irrep 'B3'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_described_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Irreps(**{"lattice": square(4), "field_type": scalar(), **arguments})
