"""What is special about each mode of Irreps: how many invariants there are, what they lose, where they are smooth."""

import itertools

import numpy as np
import pytest
import torch

from nearsight.descriptors import MODES, Irreps
from nearsight.descriptors._eigenvalues import SortedEigenvalues, cluster_mean
from nearsight.descriptors._products import independent_products
from nearsight.fields import FieldType, displacement, ising, jahn_teller, potts, scalar, spin
from nearsight.groups import PointGroup
from nearsight.lattices import cubic, diamond, kagome, site_group, square, triangular

REAL, EVEN = scalar(), FieldType("m", internal="Z2")
MEMBERS = [
    pytest.param(mode, law, id=f"{mode}, {law.name}")
    for mode in MODES
    for law in (REAL, jahn_teller(), EVEN)
    if law is not EVEN or "bispectrum" not in mode
]


def random_neighbourhoods(descriptor, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shape = count, len(descriptor.neighbourhood), descriptor.components
    return torch.randn(shape, generator=rng, dtype=torch.float64)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "field_type"), MEMBERS)
def test_every_feature_has_a_name_of_its_own(mode, field_type):
    descriptor = Irreps(square(4), field_type, 1.5, mode=mode)
    assert len(set(descriptor.feature_names)) == descriptor.features
    assert descriptor(torch.zeros(16, descriptor.components)).shape[-1] == descriptor.features


def test_names_say_which_coefficient_they_stand_for():
    # A feature that is named after a coefficient is that coefficient: the sum over the orbit divided by its root.
    lattice = square(12)
    rng = torch.Generator().manual_seed(1)
    for mode in ("lifted", "power", "phase", "pairs", "bispectrum"):
        descriptor = Irreps(lattice, scalar(), 2.3, mode=mode)
        values = torch.randn(2, 21, 1, generator=rng, dtype=torch.float64)
        features = descriptor.of_neighbourhoods(values)
        radii = torch.as_tensor(descriptor.neighbourhood.distances)
        for radius in (0, 1, 2**0.5, 2, 5**0.5):
            on = (radii - radius).abs() < 1e-6
            expected = values[:, on, 0].sum(1) / int(on.sum()) ** 0.5
            torch.testing.assert_close(
                features[:, descriptor.feature_names.index(f"A1[r={radius:.3f}]")], expected, rtol=0, atol=1e-13
            )


def test_copies_at_one_distance_are_numbered_whatever_orbit_they_come_from():
    # Twelve sites at distance 5: (5, 0) and its images, (4, 3) and its images.
    names = Irreps(square(4), scalar(), 5.0, mode="power").feature_names
    assert [n for n in names if "r=5.000" in n and "A1" in n] == ["A1[r=5.000,1]", "A1[r=5.000,2]"]
    assert [n for n in names if "r=5.000" in n and "A2" in n] == ["|A2[r=5.000]|²"]
    assert [n for n in names if "r=5.000" in n and "E" in n] == [f"|E[r=5.000,{k}]|²" for k in (1, 2, 3)]


def test_orbits_print_in_the_notation_of_the_field():
    assert Irreps(square(4), scalar(), 2.3).orbit_table().splitlines() == [
        "1 site at r = 0.000: A1",
        "4 sites at r = 1.000: A1 + B1 + E",
        "4 sites at r = 1.414: A1 + B2 + E",
        "4 sites at r = 2.000: A1 + B1 + E",
        "8 sites at r = 2.236: A1 + A2 + B1 + B2 + 2E",
    ]


# --- products -------------------------------------------------------------------------------------------------------


ROTATIONS = PointGroup(np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in np.arange(4) * np.pi / 2]))
CHIRAL = site_group(diamond(2)).subgroup(lambda g: np.linalg.det(g) > 0)


@pytest.mark.parametrize("group", [ROTATIONS, site_group(square(4)), site_group(triangular(4)), CHIRAL], ids=repr)
@pytest.mark.parametrize("factors", [2, 3])
def test_the_number_of_independent_products_is_that_of_molien(group, factors):
    # Invariants of degree n in some copies of each irrep: the average character of the n-th symmetric power.
    counts = {irrep.name: 1 + k % 3 for k, irrep in enumerate(reversed(group.irreps[1:]))}
    chi = sum(n * group.irrep(name).characters for name, n in counts.items())
    square_of = np.diag(group.table)
    cube_of = group.table[square_of, np.arange(len(group))]
    power = (
        (chi**2 + chi[square_of]) / 2 if factors == 2 else (chi**3 + 3 * chi * chi[square_of] + 2 * chi[cube_of]) / 6
    )
    assert sum(map(len, independent_products(group, counts, factors))) == round(float(power.mean()))


@pytest.mark.parametrize(
    ("lattice", "field_type", "cutoff"),
    [(square(4), scalar(), 2.3), (triangular(4), scalar(), 1.8), (cubic(4), displacement(), 0.0)],
    ids=["square", "triangular", "one vector"],
)
def test_the_products_are_linearly_independent(lattice, field_type, cutoff):
    descriptor = Irreps(lattice, field_type, cutoff, mode="bispectrum")
    features = descriptor.of_neighbourhoods(random_neighbourhoods(descriptor, 2 * descriptor.features + 10))
    assert torch.linalg.matrix_rank(features) == descriptor.features


def test_the_counts_of_products_are_those_of_the_square_lattice():
    def features(mode, cutoff):
        return Irreps(square(4), scalar(), cutoff, mode=mode, include_centre=False).features

    assert [features("pairs", cutoff) for cutoff in (5**0.5, 7, 10)] == [29, 1181, 5306]
    assert features("bispectrum", 5**0.5) == 120
    with pytest.raises(ValueError, match=r"40270 independent products of 2 and 3 .* more than 10000.*mode='lifted'"):
        features("bispectrum", 7)


def test_pairs_cannot_see_the_turn_of_one_irrep_alone():
    descriptor = Irreps(square(6), scalar(), 2.3, mode="pairs")
    basis = torch.as_tensor(descriptor.contraction.variables.basis)
    f = basis @ random_neighbourhoods(descriptor, 1)[0]
    turned, a = f.clone(), 0.3
    rotation = torch.tensor([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    for label, rows in descriptor.contraction.variables.rows.items():
        if label.startswith("E"):  # all copies by one angle, which is no symmetry of the square
            turned[rows] = rotation @ f[rows]
    both = (basis.T @ torch.stack([f, turned]))[..., 0][..., None]
    for mode, blind in (("pairs", True), ("bispectrum", False), ("lifted", False)):
        first, second = Irreps(square(6), scalar(), 2.3, mode=mode).of_neighbourhoods(both)
        assert ((first - second).abs().max() < 1e-12) == blind


# --- Z2 and other internal symmetries -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["lifted", "power", "phase", "pairs"])
def test_a_field_without_the_symmetry_keeps_its_sign(mode):
    field = torch.randn(36, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    even, free = (Irreps(square(6), law, 2.3, mode=mode) for law in (FieldType("m", internal="Z2"), FieldType("m")))
    torch.testing.assert_close(even(-field), even(field), rtol=0, atol=1e-13)
    assert (free(-field) - free(field)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("field_type", "mode", "message"),
    [
        (spin(), "lifted", "SpinInvariants"),
        (spin(time_reversal=False), "pairs", r"SO\(n\).*SpinInvariants"),
        (potts(3), "power", r"S\(n\) of p.*mode='lifted'"),
        (ising(), "bispectrum", "change sign with the field.*mode='lifted'"),
        (ising(), "phase+bispectrum", "change sign with the field"),
        (ising(), "eigenvalues", "squares of the field, and s = ±1"),
        (displacement(), "eigenvalues", "lengths of u alone"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "name", ""),
)
def test_what_a_mode_cannot_describe_is_refused_with_the_cure(field_type, mode, message):
    with pytest.raises(ValueError, match=message):
        Irreps(square(4), field_type, 1.5, mode=mode)


# --- eigenvalues ----------------------------------------------------------------------------------------------------


def test_the_correlation_matrix_is_that_of_the_paper():
    descriptor = Irreps(square(6), scalar(), 2.3, mode="eigenvalues")
    values = random_neighbourhoods(descriptor, 1)
    u, R = values[0, :, 0].numpy(), descriptor.neighbourhood.vectors
    C = np.empty((len(u), len(u)))
    for r, s in np.ndindex(C.shape):  # equation (65), case by case
        if r == s:
            C[r, r] = u[r] ** 2 if r == 0 else u[r] ** 2 / (R[r] @ R[r])
        elif 0 in (r, s):
            C[r, s] = u[r] * u[s] / (R[r + s] @ R[r + s])
        else:
            C[r, s] = u[r] * u[s] / np.linalg.norm(R[r]) / np.linalg.norm(R[s]) / np.linalg.norm(R[r] - R[s])
    expected = np.linalg.eigvalsh(C)[::-1].copy()
    torch.testing.assert_close(descriptor.of_neighbourhoods(values)[0], torch.as_tensor(expected))


def test_components_that_only_a_sublattice_mixes_have_no_eigenvalues():
    """The axes of a kagome site turn by 60 degrees from one sublattice to the next."""
    with pytest.raises(ValueError, match="lengths of u alone"):
        Irreps(kagome(4), displacement(), 1.0, mode="eigenvalues")
    assert Irreps(kagome(4), scalar(), 1.0, mode="eigenvalues").features == 5


def test_eigenvalues_do_not_see_the_sign_of_any_single_site():
    descriptor = Irreps(square(6), scalar(), 2.3, mode="eigenvalues")
    values = random_neighbourhoods(descriptor, 2)
    signs = torch.ones(21, 1, dtype=torch.float64)
    signs[3::4] = -1.0
    torch.testing.assert_close(descriptor.of_neighbourhoods(signs * values), descriptor.of_neighbourhoods(values))
    lifted = Irreps(square(6), scalar(), 2.3)
    assert (lifted.of_neighbourhoods(signs * values) - lifted.of_neighbourhoods(values)).abs().max() > 0.1


def symmetric_neighbourhoods(descriptor):
    sites = len(descriptor.neighbourhood)
    parity = torch.as_tensor(descriptor.neighbourhood.cells.sum(1) % 2)
    return {"uniform": torch.ones(sites), "checkerboard": parity, "staggered": 0.5 + parity, "zero": torch.zeros(sites)}


@pytest.mark.parametrize("name", ["uniform", "checkerboard", "staggered", "zero"])
def test_where_eigenvalues_meet_their_mean_has_the_slope_that_is_returned(name):
    descriptor = Irreps(square(6), scalar(), 2.3, mode="eigenvalues")
    values = symmetric_neighbourhoods(descriptor)[name].double()[:, None]
    jacobian = torch.autograd.functional.jacobian(descriptor.of_neighbourhoods, values)[..., 0]
    mean = cluster_mean(descriptor.of_neighbourhoods(values))
    assert (mean.diagonal() < 1).any()
    torch.testing.assert_close(mean @ jacobian, jacobian)  # equal slopes within a cluster
    direction, h = random_neighbourhoods(descriptor, 1)[0], 1e-4
    upper, lower = (mean @ descriptor.of_neighbourhoods(values + s * h * direction) for s in (1, -1))
    torch.testing.assert_close(jacobian @ direction[:, 0], (upper - lower) / (2 * h), rtol=1e-6, atol=1e-7)


def test_a_cluster_of_three_splits_symmetrically_about_its_mean():
    # A(t) = 1 + t B: every one-sided slope is an eigenvalue of B, and the returned one is their mean.
    B = torch.tensor([[1.0, 0.5, 0.0], [0.5, -2.0, 0.3], [0.0, 0.3, 4.0]], dtype=torch.float64)
    A = torch.eye(3, dtype=torch.float64).requires_grad_()
    for k in range(3):
        (gradient,) = torch.autograd.grad(SortedEigenvalues.apply(A)[k], A)
        torch.testing.assert_close((gradient * B).sum(), B.trace() / 3)
    slopes = (SortedEigenvalues.apply(A.detach() + 1e-6 * B) - 1) / 1e-6
    torch.testing.assert_close(slopes, torch.linalg.eigvalsh(B).flip(0), rtol=1e-8, atol=1e-8)


def test_simple_eigenvalues_have_two_exact_derivatives():
    A = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def eigenvalues(matrix):
        return SortedEigenvalues.apply(matrix + matrix.mT)

    assert torch.autograd.gradcheck(eigenvalues, A.requires_grad_())
    assert torch.autograd.gradgradcheck(eigenvalues, A.requires_grad_())


def test_gradients_of_eigenvalues_share_the_symmetry_of_the_field():
    descriptor = Irreps(square(6), scalar(), 2.3, mode="eigenvalues")
    field = torch.ones(36, 1, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(descriptor.features, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((descriptor(field) @ weights).sum(), field)
    torch.testing.assert_close(gradient, gradient.mean().expand_as(gradient), rtol=0, atol=1e-12)


# --- smoothness -----------------------------------------------------------------------------------------------------


def path_through_symmetry(descriptor, steps):
    """cos t Φ₁ + sin t Φ₂, where Φ₂ has the symmetry of the site: references of the other irreps vanish at t = π/2."""
    generic = random_neighbourhoods(descriptor, 1)[0]
    variables = descriptor.contraction.variables
    invariant = [rows for label, rows in variables.rows.items() if label.startswith("A1")]
    symmetric = torch.as_tensor(sum(variables.basis[rows][0] for rows in invariant)).reshape(generic.shape)
    angle = torch.linspace(0.5, 2.6, steps, dtype=torch.float64)[:, None, None]
    return descriptor.of_neighbourhoods(angle.cos() * generic + angle.sin() * symmetric)


@pytest.mark.parametrize(("mode", "field_type"), [m for m in MEMBERS if m.values[0] != "eigenvalues"])
def test_the_second_derivative_along_a_path_through_symmetry_is_bounded(mode, field_type):
    descriptor = Irreps(square(6), field_type, 2.3, mode=mode)
    curvatures = []
    for steps in (501, 5001):
        path = path_through_symmetry(descriptor, steps)
        curvatures.append(float(path.diff(n=2, dim=0).abs().max()) * (steps / 2.1) ** 2)
    coarse, fine = curvatures
    assert fine < 1.1 * coarse  # a kink would multiply it by 10, a jump by 100


def test_without_softening_the_curvature_grows_without_bound_at_symmetric_fields():
    descriptor = Irreps(square(6), scalar(), 2.3, mode="phase+bispectrum", eps=0.0)
    jumps = [float(path_through_symmetry(descriptor, steps).diff(dim=0).abs().max()) for steps in (501, 5001)]
    assert jumps[1] > 0.9 * jumps[0] > 0.1  # unit references reverse from one step to the next, however short it is


def test_softened_phases_differ_by_the_square_of_eps_from_those_of_the_papers():
    lattice, errors = square(6), []
    values = random_neighbourhoods(Irreps(lattice, scalar(), 2.3), 50)
    exact = Irreps(lattice, scalar(), 2.3, mode="phase", eps=0.0).of_neighbourhoods(values)
    for eps in (2e-3, 1e-3):
        soft = Irreps(lattice, scalar(), 2.3, mode="phase", eps=eps).of_neighbourhoods(values)
        errors.append(float((soft - exact).norm(dim=1).median()))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


# --- completeness for continuous fields -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "rank"),
    [
        ("power", 15),
        ("phase", 19),
        ("phase+bispectrum", 20),
        ("pairs", 19),
        ("bispectrum", 20),
        ("lifted", 20),
        ("eigenvalues", 20),
    ],
)
def test_the_rank_of_the_jacobian_counts_the_variables_a_mode_can_tell(mode, rank):
    # Of 20: the power spectrum loses the direction of each of 5 doublets, pairs and phases one angle common to all.
    descriptor = Irreps(square(6), scalar(), np.sqrt(5), mode=mode, include_centre=False)
    values = random_neighbourhoods(descriptor, 1)[0]
    jacobian = torch.autograd.functional.jacobian(descriptor.of_neighbourhoods, values)[..., 0]
    singular = torch.linalg.svdvals(jacobian)
    assert int((singular > 1e-10 * singular[0]).sum()) == rank


# --- the printed tables ---------------------------------------------------------------------------------------------


def eight_sites():
    """Sites a..h of the orbit (2, 1) counterclockwise from it, and the permutation of each operation of D4."""
    sites = np.array([(2, 1), (1, 2), (-1, 2), (-2, 1), (-2, -1), (-1, -2), (1, -2), (2, -1)])
    group = site_group(square(4))
    images = np.einsum("gij,sj->gsi", group.matrices, sites)
    return np.abs(images[:, :, None] - sites).sum(-1).argmin(-1)


def share_of_occupations_that_change(invariant):
    Q = np.array([*itertools.product((0, 1), repeat=8)])
    values = np.array([invariant(Q[:, permutation].T) for permutation in eight_sites()])
    return float((np.abs(values - values[0]).max(0) > 1e-9).mean())


def test_the_printed_doublet_of_eight_sites_is_none_and_the_corrected_one_is():
    def printed(q):  # equation (67): reflections carry (a - e, c - g) into the other copy
        a, _, c, _, e, _, g, _ = q
        return (a - e) ** 2 + (c - g) ** 2

    def corrected(q):  # Tian, Zhang, Chern 2023, equation (A2)
        a, b, c, d, e, f, g, h = q
        return (a + b - e - f) ** 2 + (-c - d + g + h) ** 2

    # A mirror exchanges two independent sums of two squares, each 0, 1 or 2 with odds 1 : 2 : 1.
    assert share_of_occupations_that_change(printed) == 1 - (1 + 4 + 1) / 16
    assert share_of_occupations_that_change(corrected) == 0.0


def test_doublets_in_different_gauges_have_no_invariant_product():
    # On-axis sites in the gauge (x, y), the orbit of eight turned by 45 degrees, as in the Ising paper (A1) and (A2).
    def mixed(q):
        a, b, c, d, e, f, g, h = q
        x = np.stack([2 * a + b - c - 2 * d - 2 * e - f + g + 2 * h, a + 2 * b + 2 * c + d - e - 2 * f - 2 * g - h])
        return x[0] * (a + b - e - f) + x[1] * (-c - d + g + h)

    assert share_of_occupations_that_change(mixed) > 0.5
