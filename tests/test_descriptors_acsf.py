"""Symmetry functions against direct sums over neighbours, their contract, and what they can and cannot see."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.descriptor_contract import DescriptorContract, built
from nearsight.descriptors import (
    ACSF,
    Angular,
    Irreps,
    Radial,
    angular_functions,
    count_distinct,
    inequivalent_occupations,
    radial_functions,
)
from nearsight.fields import (
    FieldType,
    displacement,
    ising,
    jahn_teller,
    occupation,
    potts,
    scalar,
    spin,
)
from nearsight.groups import clebsch_gordan
from nearsight.lattices import (
    Lattice,
    chain,
    cubic,
    honeycomb,
    kagome,
    site_group,
    site_permutations,
    square,
    triangular,
)

FUNCTIONS = (
    Angular((1.0, 1.0), 0.8, 2, -1),
    Angular((1.0, 2.0), 0.9, 3, 1),
    Angular((2.0, 1.0), 0.9, 1, 1),
    Angular((1.0, 2.0), 0.9, 2, 1, (1.5, 0.7)),
    Angular((1.5, 1.5), 1.0, 1, -1, (2.0, 1.0)),
)
RADIAL = (Radial(1.0, 0.7), Radial(2.0, 0.9))

MEMBERS = {
    "scalar on the square lattice": lambda: ACSF(square(5), scalar(), 2.3),
    "occupation on the triangular lattice": lambda: ACSF(triangular(5), occupation(), 1.8),
    "three Jahn-Teller modes": lambda: ACSF(square(5), jahn_teller(), 1.5),
    "displacement in the plane": lambda: ACSF(triangular(5), displacement(), 1.8, angular=FUNCTIONS),
    "displacement in space": lambda: ACSF(cubic(4), displacement(), 1.5, angular=FUNCTIONS[:3]),
    "spins with time reversal": lambda: ACSF(triangular(5), spin(unit=False), 2.1, angular=FUNCTIONS),
    "spins in a field": lambda: ACSF(square(5), spin(unit=False, time_reversal=False), 2.1),
    "Ising variables on a chain": lambda: ACSF(chain(9), ising(), 2.5),
    "Potts variables": lambda: ACSF(square(5), potts(3), 1.5),
}


class TestContract(DescriptorContract):
    @pytest.fixture(params=MEMBERS.values(), ids=MEMBERS.keys())
    def descriptor(self, request):
        return built(request.param)


def random_field(descriptor, *batch, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return descriptor.field_type.random(descriptor.lattice.n_sites, descriptor.components, rng, *batch)


# --- the direct sums ----------------------------------------------------------------------------------------------


def f2(r, d, w, cutoff):
    return np.exp(-((r - d) ** 2) / w**2) * 0.5 * (np.cos(np.pi * r / cutoff) + 1) if r <= cutoff else 0.0


def f3(rj, rk, function, cutoff):
    """Equation (4.11) of the thesis with different radii for the two neighbours."""
    R1, R2, R3 = (np.linalg.norm(x) for x in (rj, rk, rj - rk))
    value = 2.0 ** (1 - function.zeta) * (1 + function.sign * (rj @ rk) / (R1 * R2)) ** function.zeta
    for R, d in zip((R1, R2), function.distances, strict=True):
        value *= f2(R, d, function.width, cutoff)
    return value * f2(R3, *function.pair, cutoff) if function.pair else value


def surroundings(lattice, site, cutoff):
    """Index and displacement of all neighbours, the site excluded, from positions alone."""
    spans = [range(-4, 5) if periodic else (0,) for periodic in np.broadcast_to(lattice.periodic, lattice.dim)]
    for image in itertools.product(*spans):
        shift = (np.array(image) * lattice.shape) @ lattice.vectors
        for j, position in enumerate(lattice.positions):
            r = position + shift - lattice.positions[site]
            if 1e-9 < np.linalg.norm(r) < cutoff:
                yield j, r


def direct(descriptor, field, site, singles, pairs, triples):
    """Features of one site by the definition; ``pairs`` and ``triples`` are functions of the fields on the sites."""
    cutoff = descriptor.cutoff
    near = [(field[j], r) for j, r in surroundings(descriptor.lattice, site, cutoff)]
    centre = field[site]
    result = {}
    for name, single in singles.items():
        result[f"f[{name}]"] = single(centre)
        for n, F in enumerate(descriptor.radial):
            result[f"G2a[{name}]({n})"] = sum(
                single(v) * f2(np.linalg.norm(r), F.distance, F.width, cutoff) for v, r in near
            )
    for name, pair in pairs.items():
        result[f"p[{name}]"] = pair(centre, centre)
        for n, F in enumerate(descriptor.radial):
            result[f"G2b[{name}]({n})"] = sum(
                pair(centre, v) * f2(np.linalg.norm(r), F.distance, F.width, cutoff) for v, r in near
            )
        for n, F in enumerate(descriptor.angular):
            total = sum(f3(rj, rk, F, cutoff) * pair(u, v) for (u, rj), (v, rk) in itertools.product(near, near))
            result[f"G3a[{name}]({n})"] = result[f"G3b[{name}]({n})"] = total
    for name, triple in triples.items():
        for n, F in enumerate(descriptor.angular):
            result[f"G3c[{name}]({n})"] = sum(
                f3(rj, rk, F, cutoff) * triple(centre, u, v) for (u, rj), (v, rk) in itertools.product(near, near)
            )
    for name in descriptor.feature_names:
        if name.endswith("²"):
            result[name] = result[name[:-1]] ** 2
        elif "·" in name:
            first, second = name.split("·")
            result[name] = result[first] * result[first.split("(")[0] + second]
    return torch.tensor([float(result[name]) for name in descriptor.feature_names], dtype=torch.float64)


def chirality(a, b, c):
    return float(a @ np.cross(b, c))


@pytest.mark.parametrize(
    "lattice",
    [square(5), triangular(4), honeycomb(3), kagome(2), cubic(3), chain(7), square(5, 4, periodic=(True, False))],
    ids=repr,
)
def test_scalar_functions_are_the_sums_over_all_pairs(lattice):
    descriptor = ACSF(lattice, scalar(), 2.3, radial=RADIAL, angular=FUNCTIONS)
    field = random_field(descriptor)
    value = lambda v: v[0]  # noqa: E731
    for site in (0, lattice.n_sites - 1):
        expected = direct(descriptor, field.numpy(), site, {"0": value}, {"00": lambda u, v: u[0] * v[0]}, {})
        torch.testing.assert_close(descriptor(field)[site], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lattice", [triangular(4), kagome(2), cubic(3)], ids=repr)
@pytest.mark.parametrize("time_reversal", [True, False])
def test_functions_of_spins_are_the_sums_over_bonds_and_chiralities(lattice, time_reversal):
    law = spin(time_reversal=time_reversal)
    descriptor = ACSF(lattice, law, 2.3, radial=RADIAL, angular=FUNCTIONS)
    spins = random_field(descriptor)
    expected = direct(descriptor, spins.numpy(), 1, {}, {"00": np.dot}, {"000": chirality})
    torch.testing.assert_close(descriptor(spins)[1], expected, rtol=1e-12, atol=1e-12)


def test_functions_of_jahn_teller_modes_are_the_sums_over_their_invariant_products():
    # In the order of the irreps: 0 and 1 are the A1 modes Q1 and Qz, 2 is the B1 mode Qx.
    descriptor = ACSF(square(5), jahn_teller(), 2.3, radial=RADIAL, angular=FUNCTIONS)
    place = {"0": 0, "1": 2, "2": 1}
    field = random_field(descriptor)
    expected = direct(
        descriptor,
        field.numpy(),
        3,
        {k: lambda v, k=k: v[place[k]] for k in "01"},
        {a + b: lambda u, v, a=a, b=b: u[place[a]] * v[place[b]] for a, b in ("00", "01", "10", "11", "22")},
        {"2" + a + b: lambda c, u, v, a=a, b=b: c[1] * u[place[a]] * v[place[b]] for a, b in ("02", "12", "20", "21")},
    )
    torch.testing.assert_close(descriptor(field)[3], expected, rtol=1e-12, atol=1e-12)
    assert len(set(descriptor.feature_names)) == descriptor.features


def test_doublets_are_coupled_by_clebsch_gordan_coefficients():
    # E2 × E2 × E2 of D6 holds one invariant: Re (u v w), the doublets taken as complex numbers.
    field_type = FieldType("u", ("E2",))
    lattice = triangular(4)
    tensor = clebsch_gordan(site_group(lattice), "E2", "E2", "E2")[0]
    descriptor = ACSF(lattice, field_type, 2.3, radial=RADIAL, angular=FUNCTIONS)
    field = random_field(descriptor)

    def triple(c, u, v):
        return np.einsum("abc,a,b,c", tensor, c, u, v)

    expected = direct(descriptor, field.numpy(), 2, {}, {"00": np.dot}, {"000": triple})
    torch.testing.assert_close(descriptor(field)[2], expected, rtol=1e-12, atol=1e-12)


def test_weights_are_those_of_dscribe():
    # The patch of atoms -4 <= x, y <= 4 below, dscribe 2.1.2: ACSF(r_cut=3.2) with g2_params [1/0.8², 1], [1/0.9², 2],
    # g4_params [0.25, 1, 1], [0.25, 2, -1] (with a condition on R_jk) and g5_params [0.25, 1, 1], [0.25, 4, -1].
    peer = [3.359245452704235, 2.3737622502688205]
    peer_pairs = [1.0940051213894684, 0.2968878501147134, 2.727118450055139, 2.295503503912901]
    lattice = square(9, periodic=False)
    x, y = lattice.cells.T
    atoms = torch.as_tensor((2 * x * x + 3 * y + x * y) % 5 < 3, dtype=torch.float64)[:, None]
    angular = [Angular((0.0, 0.0), 2.0, *zeta) for zeta in [(1, 1, (0.0, 2.0)), (2, -1, (0.0, 2.0)), (1, 1), (4, -1)]]
    descriptor = ACSF(lattice, occupation(), 3.2, radial=[Radial(1.0, 0.8), Radial(2.0, 0.9)], angular=angular)
    centre = int(lattice.index(np.array([4, 4])))
    features = descriptor(atoms)[centre].numpy()
    np.testing.assert_allclose(features[1:3], peer, rtol=1e-13)
    # dscribe counts every pair once and leaves out j = k, where cos θ = 1 and R_jk = 0.
    rings = np.array([f2(np.linalg.norm(r), 0.0, 2.0, 3.2) for j, r in surroundings(lattice, centre, 3.2) if atoms[j]])
    same = [2.0 ** (1 - f.zeta) * (1 + f.sign) ** f.zeta * (rings**2).sum() for f in angular]
    np.testing.assert_allclose((features[3:] - same) / 2, peer_pairs, rtol=1e-12)


# --- symmetry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [honeycomb(4), kagome(3)], ids=repr)
@pytest.mark.parametrize("law", [scalar(), spin()], ids=lambda law: law.name)
def test_lattices_with_a_basis_are_described_exactly_at_every_site(lattice, law):
    descriptor = ACSF(lattice, law, 2.1)
    field = random_field(descriptor, 2)
    features = descriptor(field)
    for centre in range(lattice.n_basis):
        group = site_group(lattice, centre=centre)
        for g, permutation in enumerate(site_permutations(lattice, group, centre=centre)):
            moved = descriptor(law.transform(field, group, g, permutation))
            torch.testing.assert_close(moved[:, permutation], features, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", [spin(), spin(time_reversal=False), ising(), potts(4)], ids=repr)
def test_the_internal_symmetry_is_exact(law):
    lattice = triangular(4)
    components = {"S": 3, "s": 1, "p": 4}[law.name]
    descriptor = ACSF(lattice, law, 2.1)
    rng = torch.Generator().manual_seed(1)
    field = law.random(16, components, rng, 2)
    for _ in range(6):
        turned = field @ law.internal_operation(components, rng).T
        torch.testing.assert_close(descriptor(turned), descriptor(field), rtol=1e-12, atol=1e-12)


def chiral_part(descriptor, spins):
    chosen = [k for k, name in enumerate(descriptor.feature_names) if name.startswith("G3c")]
    return descriptor(spins)[..., chosen]


def test_the_chirality_of_the_papers_is_zero_and_that_of_two_different_rings_is_not():
    law = spin(time_reversal=False)
    papers = angular_functions((1.0,), zetas=(1, 2)) + angular_functions((2.0,), zetas=(1, 2))
    descriptor = ACSF(triangular(5), law, 3.0, angular=papers)
    assert not any(name.startswith("G3c") for name in descriptor.feature_names)
    spins = law.random(25, 3, torch.Generator().manual_seed(2)).numpy()
    near = [(spins[j], r) for j, r in surroundings(descriptor.lattice, 0, 3.0)]

    def total(function):
        terms = [
            f3(rj, rk, function, 3.0) * chirality(spins[0], u, v) for (u, rj), (v, rk) in itertools.product(near, near)
        ]
        return abs(sum(terms)) / np.abs(terms).sum()

    assert max(total(function) for function in papers) < 1e-15
    different = angular_functions((1.0, 2.0), zetas=(1, 2))
    assert all(total(function) > 1e-3 for function in different if function.distances == (1.0, 2.0))
    ours = chiral_part(ACSF(triangular(5), law, 3.0, angular=different), torch.as_tensor(spins))
    assert ours.abs().amax(0).min() > 1e-2


def test_a_chirality_is_odd_under_time_reversal_and_even_under_reflections_of_the_lattice():
    law = spin(time_reversal=False)
    lattice = triangular(5)
    descriptor = ACSF(lattice, law, 3.0)
    spins = law.random(25, 3, torch.Generator().manual_seed(3))
    chi = chiral_part(descriptor, spins)
    torch.testing.assert_close(chiral_part(descriptor, -spins), -chi)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))  # of spin space
    torch.testing.assert_close(chiral_part(descriptor, spins @ mirror), -chi)
    group = site_group(lattice)
    for g, permutation in enumerate(site_permutations(lattice, group)):
        moved = law.transform(spins, group, g, permutation)
        torch.testing.assert_close(chiral_part(descriptor, moved)[permutation], chi)


def test_with_time_reversal_chiralities_enter_by_squares_and_products_that_keep_their_relative_signs():
    lattice = triangular(5)
    spins = spin().random(25, 3, torch.Generator().manual_seed(4))
    chi = chiral_part(ACSF(lattice, spin(time_reversal=False), 3.0), spins)
    even = chiral_part(ACSF(lattice, spin(), 3.0), spins)
    torch.testing.assert_close(even, torch.cat([chi**2, chi[:, 1:] * chi[:, :-1]], dim=-1))


def test_coplanar_spins_have_no_chirality():
    angle = torch.rand(25, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 6.28
    spins = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1)
    assert chiral_part(ACSF(triangular(5), spin(time_reversal=False), 3.0), spins).abs().max() < 1e-14


def test_rings_do_not_tell_apart_orbits_at_the_same_distance():
    # (5, 0) and (3, 4) are both 5 away: one occupied site at either gives equal symmetry functions, but for pairs.
    lattice = square(13)
    descriptor = ACSF(lattice, occupation(), 5.5)
    fields = torch.zeros(2, 169, 1, dtype=torch.float64)
    for field, cell in zip(fields, [(5, 0), (3, 4)], strict=True):
        field[int(lattice.index(np.array(cell)))] = 1.0
    first, second = descriptor(fields)[:, 0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-14)


def test_pair_sums_tell_apart_what_the_pair_products_of_irreps_do():
    # All occupations of the 20 nearest sites; the phases between different irreps are lost by both.
    lattice, cutoff = square(4), 5**0.5
    occupations = torch.as_tensor(inequivalent_occupations(lattice.neighbourhood(cutoff), site_group(lattice)))
    values = torch.nn.functional.pad(occupations, (1, 0))[..., None]
    functions = angular_functions((1.0, 2.0), width=0.7)
    descriptor = ACSF(lattice, occupation(), 2.5, radial=radial_functions(2.5, 0.5), angular=functions)
    assert len(descriptor.neighbourhoods[0]) == 21
    assert count_distinct(descriptor.of_neighbourhoods(values)) == 124_820
    pairs = Irreps(lattice, occupation(), cutoff, mode="pairs")
    assert count_distinct(pairs.of_neighbourhoods(values)) == 124_820


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_single_neighbourhoods_agree_with_the_whole_lattice():
    for lattice, law in [(triangular(5), displacement()), (kagome(3), spin())]:
        descriptor = ACSF(lattice, law, 1.8, angular=FUNCTIONS)
        field = random_field(descriptor, 2)
        for b, around in enumerate(descriptor.neighbourhoods):
            table = torch.as_tensor(lattice.neighbour_table(around))
            features = descriptor.of_neighbourhoods(field[:, table], sublattice=b)
            torch.testing.assert_close(features, descriptor(field)[:, b :: lattice.n_basis])


@pytest.mark.parametrize(
    "lattice", [kagome(3), square(5, periodic=False), square(6, 4, periodic=(True, False))], ids=repr
)
def test_chosen_sites_have_the_features_of_the_whole_on_lattices_with_a_basis_or_an_edge(lattice):
    descriptor = ACSF(lattice, scalar(), 2.3)
    field = random_field(descriptor, 2)
    sites = torch.tensor([[0, lattice.n_sites - 1], [7, 3]])
    torch.testing.assert_close(descriptor.at(field, sites), descriptor(field)[:, sites])


@pytest.mark.parametrize("lattice", [square(5, periodic=False), chain(4, periodic=False)], ids=repr)
def test_beyond_an_open_edge_no_centre_is_touched(lattice):
    descriptor = ACSF(lattice, scalar(), 2.1)
    before = random_field(descriptor)
    for site in range(lattice.n_sites):
        centres, features = descriptor.delta(before, site, torch.tensor([0.7], dtype=torch.float64))
        after = before.clone()
        after[site] += 0.7
        away = np.linalg.norm(lattice.positions - lattice.positions[site], axis=1)
        assert sorted(centres.tolist()) == np.flatnonzero(away < 2.1).tolist()
        torch.testing.assert_close(features, descriptor(after)[centres], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="one site at a time"):
        descriptor.delta(before, torch.tensor([0, lattice.n_sites // 2]), torch.tensor([0.7]))


def test_lengths_of_parts_of_a_unit_vector_are_features():
    law = FieldType("d", ("B1", "B2"), values="unit")
    descriptor = ACSF(square(4), law, 1.5, angular=())
    assert {"p[00]", "p[11]"} <= set(descriptor.feature_names)


def test_harmonics_are_as_few_as_the_dimension_allows():
    for lattice, count in [(square(4), 2 * 4 + 1), (triangular(4), 2 * 4 + 1), (cubic(4), (4 + 1) ** 2)]:
        descriptor = ACSF(lattice, scalar(), 3.5, angular=angular_functions(zetas=(1, 2, 4)))
        filters, collect = descriptor.expansion.filters(descriptor.neighbourhoods[0].vectors, 3.5)
        assert filters.shape[:2] == (3, count)
        assert collect.shape == (5, count)


def test_a_set_may_be_radial_only_or_angular_only():
    field = torch.randn(25, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    both = ACSF(square(5), scalar(), 2.3)
    radial = ACSF(square(5), scalar(), 2.3, angular=())
    angular = ACSF(square(5), scalar(), 2.3, radial=())
    torch.testing.assert_close(torch.cat([radial(field), angular(field)[:, 1:]], -1), both(field))


RECTANGULAR = Lattice("rectangular", np.diag([1.0, 1.3]), np.zeros((1, 2)), (4, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ACSF(square(4), scalar(), 0.0), "cutoff must be a finite real number > 0"),
        (lambda: ACSF(honeycomb(4), displacement(), 2.0), "different axes"),
        (lambda: ACSF(replace(honeycomb(4), species=(5, 7)), scalar(), 2.0), "2 species"),
        (lambda: Angular((1.0, 2.0), zeta=0), "positive integer"),
        (lambda: Angular((1.0, 2.0), sign=2), "sign=1 or -1"),
        (lambda: Angular((1.0, 2.0), width=0.0), "positive width"),
        (lambda: Radial(1.0, -1.0), "positive width"),
        (lambda: ACSF(square(4), scalar()).on(RECTANGULAR), "in any size"),
    ],
)
def test_what_cannot_be_described_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
