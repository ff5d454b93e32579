"""Every occupation of a small neighbourhood, once: which modes tell all inequivalent ones apart."""

import functools
import itertools

import numpy as np
import pytest
import torch

from nearsight.descriptors import Irreps, count_distinct, inequivalent_occupations
from nearsight.fields import ising, potts, scalar
from nearsight.lattices import neighbour_permutations, site_group, square, triangular

# Modes and numbers of distinct feature vectors, for sites within 2 and √5 of a site of the square lattice.
OCCUPATIONS = {
    2.0: (618, {"power": 216, "phase": 583, "pairs": 583, "bispectrum": 618, "lifted": 618}),
    5**0.5: (132_744, {"power": 7_344, "pairs": 124_820, "bispectrum": 132_740, "lifted": 132_744}),
}
SIGNS = {
    2.0: (314, {"power": 64, "phase": 300, "pairs": 302, "lifted": 314}),
    5**0.5: (66_440, {"power": 1_408, "pairs": 62_876, "lifted": 66_440}),
}
SIZES = [2.0, pytest.param(5**0.5, marks=pytest.mark.slow)]


@functools.cache
def classes(cutoff, flip):
    lattice = square(4)
    return inequivalent_occupations(lattice.neighbourhood(cutoff), site_group(lattice), flip=flip)


def separated(mode, cutoff, *, flip=False):
    descriptor = Irreps(square(4), ising() if flip else scalar(), cutoff, mode=mode, include_centre=False)
    occupations = torch.as_tensor(classes(cutoff, flip))[..., None]
    values = 2 * occupations - 1 if flip else occupations
    return count_distinct(torch.cat([descriptor.of_neighbourhoods(part) for part in values.split(16_384)]))


@pytest.mark.parametrize("flip", [False, True], ids=["occupations", "signs"])
@pytest.mark.parametrize("cutoff", SIZES)
def test_the_number_of_classes_is_that_of_burnside(cutoff, flip):
    neighbourhood, group = square(4).neighbourhood(cutoff), site_group(square(4))
    fixed = 0
    for permutation in neighbour_permutations(neighbourhood, group):
        lengths, left = [], set(range(1, len(neighbourhood)))
        while left:
            cycle = [left.pop()]
            while (image := int(permutation[cycle[-1]])) in left:
                left.remove(image)
                cycle.append(image)
            lengths.append(len(cycle))
        fixed += 2 ** len(lengths)
        if flip:  # an operation with a change of sign fixes occupations that alternate along every cycle
            fixed += 2 ** len(lengths) if all(n % 2 == 0 for n in lengths) else 0
    assert len(classes(cutoff, flip)) == fixed // (len(group) * (2 if flip else 1))
    assert len(classes(cutoff, flip)) == (SIGNS if flip else OCCUPATIONS)[cutoff][0]


@pytest.mark.parametrize("cutoff", SIZES)
def test_modes_separate_as_many_occupations_as_enumeration_says(cutoff):
    assert {mode: separated(mode, cutoff) for mode in OCCUPATIONS[cutoff][1]} == OCCUPATIONS[cutoff][1]


@pytest.mark.parametrize("cutoff", SIZES)
def test_even_modes_separate_signs_up_to_a_common_one(cutoff):
    assert {mode: separated(mode, cutoff, flip=True) for mode in SIGNS[cutoff][1]} == SIGNS[cutoff][1]


@pytest.mark.parametrize(("states", "cutoff", "expected"), [(2, 1.5, 27), (3, 1.5, 172), (4, 1.0, 7)])
def test_states_are_separated_up_to_relabelling(states, cutoff, expected):
    descriptor = Irreps(square(4), potts(states), cutoff, include_centre=False)
    permutations = neighbour_permutations(descriptor.neighbourhood, descriptor.group)
    configurations = np.array([*itertools.product(range(states), repeat=permutations.shape[1])])
    labels = np.array([*itertools.permutations(range(states))])
    images = labels[:, configurations[:, permutations]]  # relabelling, configuration, operation, site
    codes = (images @ states ** np.arange(permutations.shape[1])).min(axis=(0, 2))
    assert len(set(codes)) == expected
    field = torch.nn.functional.one_hot(torch.as_tensor(configurations), states).double()
    assert count_distinct(descriptor.of_neighbourhoods(field)) == expected


def test_four_occupations_need_a_product_of_four_coefficients():
    # One doublet, with A2 and B1 but without B2: (Ex, Ey) and (-Ex, Ey) differ in A2·B1·Ex·Ey alone.
    descriptor = Irreps(square(4), scalar(), 5**0.5, mode="bispectrum", include_centre=False)
    variables = descriptor.contraction.variables
    f = torch.zeros(2, variables.layout.variables, dtype=torch.float64)
    f[:, variables.rows["A2[r=2.236]"]] = 2**0.5
    f[:, variables.rows["B1[r=1.000]"]] = 1.0
    f[:, variables.rows["E[r=1.000]"]] = torch.tensor([[1.0, 0.5], [-1.0, 0.5]], dtype=torch.float64)
    values = (f @ torch.as_tensor(variables.basis))[..., None]
    first, second = descriptor.of_neighbourhoods(values)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    lifted = Irreps(square(4), scalar(), 5**0.5, include_centre=False)
    first, second = lifted.of_neighbourhoods(values)
    assert (first - second).abs().max() > 1e-3


def test_equivalent_occupations_are_listed_once():
    lattice = triangular(4)
    neighbourhood, group = lattice.neighbourhood(1.0), site_group(lattice)
    occupations = inequivalent_occupations(neighbourhood, group)
    assert len(occupations) == 13  # necklaces of six beads of two colours, up to reflections
    assert len(inequivalent_occupations(neighbourhood, group, flip=True)) == 8
    assert len(inequivalent_occupations(neighbourhood, group, centre=True)) == 26
    images = occupations[:, neighbour_permutations(neighbourhood, group)[:, 1:] - 1].transpose(1, 0, 2)
    codes = (images @ 2 ** np.arange(6)).min(0)
    assert len(set(codes)) == 13


def test_rows_that_differ_by_rounding_count_once():
    rows = np.random.default_rng(0).normal(size=(200, 5)).round(2)
    assert count_distinct(np.concatenate([rows, rows + 1e-14])) == len(np.unique(rows, axis=0))


def test_a_neighbourhood_too_large_to_enumerate_is_refused():
    with pytest.raises(ValueError, match=r"36 sites have 2\^36 occupations"):
        inequivalent_occupations(square(4).neighbourhood(3.2), site_group(square(4)))
