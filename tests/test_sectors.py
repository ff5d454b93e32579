"""Convolutions in the sectors of commuting reflections: the same sums with fewer products, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.groups import PointGroup
from nearsight.lattices import Lattice, chain, cubic, site_group, square, triangular
from nearsight.networks import GroupConvolution
from nearsight.networks import _sectors as module
from nearsight.networks._sectors import Sectors, commuting_reflections

SIZES = {"D1": 2, "D4": 4, "D6": 4, "Oh": 8, "C4": 2, "C6": 2, "C3": 1, "D3": 2, "O": 4, "C1": 1}


def subgroups(lattice: Lattice) -> list[PointGroup]:
    """The group of a site, its rotations, and for the triangular lattice those of three-fold symmetry."""
    matrices = site_group(lattice).matrices
    turns = matrices[np.linalg.det(matrices) > 0]
    found = [PointGroup(matrices), PointGroup(turns), PointGroup(np.eye(lattice.dim)[None])]
    if lattice.name == "triangular":
        cube = [g for g in matrices if np.allclose(np.linalg.matrix_power(g, 3), np.eye(2))]
        mirror = next(g for g in matrices if np.linalg.det(g) < 0)
        found += [PointGroup(np.array(cube)), PointGroup(np.array(cube + [g @ mirror for g in cube]))]
    return found


CASES = [
    (lattice, radius, group)
    for lattice, radius in [(chain(9), 2.0), (square(9), 2.3), (triangular(9), 3.1), (cubic(5), 1.5)]
    for group in subgroups(lattice)
]


def layer(lattice: Lattice, radius: float, group: PointGroup, rng: torch.Generator, *, lifting: bool):
    law = np.ones((len(group), 1, 1)) if lifting else None
    return GroupConvolution(
        lattice.neighbourhood(radius), group, 1 if lifting else 2, 3, rng=rng, representation=law, sectors=True
    ).double()


def grid(convolution: GroupConvolution, rng: torch.Generator, *inner: int, batch: int = 2) -> torch.Tensor:
    shape = [n + 2 * r for n, r in zip(inner, convolution.reach, strict=True)]
    channels = convolution.inputs * (1 if convolution.representation is not None else convolution.order)
    return torch.randn(batch, channels, *shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("lattice", [chain(9), square(9), triangular(9), cubic(5)], ids=lambda x: x.name)
def test_commuting_reflections_are_a_group_of_the_largest_size(lattice):
    for group in subgroups(lattice):
        elements = commuting_reflections(group)
        assert len(elements) == SIZES[group.name]
        for i, a in enumerate(elements):
            for j, b in enumerate(elements):
                assert group.table[a, b] == elements[i ^ j]


@pytest.mark.parametrize(("lattice", "radius", "group"), CASES, ids=lambda x: getattr(x, "name", str(x)))
@pytest.mark.parametrize("lifting", [True, False], ids=["lifting", "regular"])
def test_sectors_are_the_plain_convolution_with_fewer_products(lattice, radius, group, lifting, rng):
    convolution = layer(lattice, radius, group, rng, lifting=lifting)
    h = grid(convolution, rng, *(5, 4, 3)[: lattice.dim])
    plain = convolution.train()(h)
    torch.testing.assert_close(convolution.eval()(h), plain, atol=1e-13, rtol=0)
    products = convolution.sectors.columns * convolution.sectors.order
    neighbours = len(lattice.neighbourhood(radius))
    inputs = 1 if lifting else 2 * len(group)
    assert products >= neighbours * inputs  # what sectors of a lifting layer lack is made up with zeros
    if not lifting:
        assert products == neighbours * inputs


@pytest.mark.parametrize("lattice", [chain(9), square(9), cubic(5)], ids=lambda x: x.name)
@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_how_many_sites_are_made_at_once_does_not_matter(lattice, at_once, monkeypatch, rng):
    convolution = layer(lattice, 1.1, site_group(lattice), rng, lifting=False)
    h = grid(convolution, rng, *(4, 3, 9)[-lattice.dim :])
    plain = convolution.train()(h)
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    module._rows.cache_clear()
    torch.testing.assert_close(convolution.eval()(h), plain, atol=1e-13, rtol=0)
    module._rows.cache_clear()


@pytest.mark.parametrize("lifting", [True, False], ids=["lifting", "regular"])
@pytest.mark.parametrize("lattice", [chain(5), square(5), triangular(5), cubic(3)], ids=lambda x: x.name)
def test_all_derivatives_of_first_and_second_order(lattice, lifting, rng):
    group, hood = site_group(lattice), lattice.neighbourhood(1.1)
    group = PointGroup(group.matrices[np.linalg.det(group.matrices) > 0]) if lattice.dim == 3 else group
    sectors = Sectors(hood, group, 1, 1, lifting=lifting)
    inner = (2, 3, 1)[: lattice.dim]
    shape = [n + 2 * r for n, r in zip(inner, hood.reach, strict=True)]
    h = torch.randn(1, 1 if lifting else len(group), *shape, generator=rng, dtype=torch.float64, requires_grad=True)
    w = torch.randn(1, 1, 1 if lifting else len(group), len(hood), generator=rng, dtype=torch.float64)
    kernel = sectors.kernel(w).requires_grad_()
    # With fast_mode random directions stand for all of them.
    assert torch.autograd.gradcheck(sectors, (h, kernel), fast_mode=True)
    assert torch.autograd.gradgradcheck(sectors, (h, kernel), fast_mode=True)


def test_the_kernel_is_a_differentiable_function_of_the_free_numbers(rng):
    lattice = triangular(7)
    convolution = layer(lattice, 2.1, site_group(lattice), rng, lifting=False)
    h = grid(convolution, rng, 4, 3)
    (plain,) = torch.autograd.grad(convolution.train()(h).square().sum(), convolution.weight)
    made = convolution.sectors(h, convolution.sectors.kernel(convolution.weight))
    (other,) = torch.autograd.grad(made.square().sum(), convolution.weight)
    torch.testing.assert_close(other, plain, atol=1e-11, rtol=0)


def test_an_infinite_field_stays_where_it_is_seen(rng):
    """No site is touched by what lies beyond its neighbourhood, not even multiplied by zero."""
    lattice = triangular(9)
    convolution = layer(lattice, 1.1, site_group(lattice), rng, lifting=False).eval()
    h = grid(convolution, rng, 5, 5, batch=1)
    h[..., 0, :] = torch.inf
    assert bool(convolution(h)[..., 1:, :].isfinite().all())


def test_a_grid_without_inner_sites_is_refused(rng):
    convolution = layer(square(9), 2.3, site_group(square(9)), rng, lifting=False).eval()
    with pytest.raises(RuntimeError, match="no site whose neighbours up to"):
        convolution(grid(convolution, rng, 0, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bias": True}, "no bias"), ({"representation": np.stack([np.eye(2)] * 7 + [-np.eye(2)])}, "lift it without")],
)
def test_layers_that_have_no_sectors_are_refused(options, message, rng):
    with pytest.raises(ValueError, match=message):
        GroupConvolution(square(5).neighbourhood(1.1), site_group(square(5)), 2, 2, rng=rng, sectors=True, **options)
