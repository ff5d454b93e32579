"""Poles and selected inversion beyond what every solver promises (see contracts/solver_contract.py)."""

import math

import pytest
import torch

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, SDModel, skyrmion_magnet
from nearsight.lattices import chain, cubic, square, triangular
from nearsight.solvers import Dense, NestedDissection, Pattern, Poles, SparseMatrix, spectrum

SITES = torch.arange(4)


def magnet(side: int = 12) -> tuple[SDModel, torch.Tensor]:
    model = skyrmion_magnet(triangular(side))
    spins = model.field_type.random(model.lattice.n_sites, 3, torch.Generator().manual_seed(1))
    return model, spins


def pattern(model) -> Pattern:
    return Pattern(*model.positions, model.orbitals, model.cuts)


def cut_up(model) -> NestedDissection:
    return NestedDissection.of(*model.positions, model.orbitals, model.cuts)


# --- the order of elimination -----------------------------------------------------------------------------------------


def test_a_torus_is_cut_by_slabs_as_thick_as_the_hops_reach():
    """48 columns of 48 sites and two spins; third neighbours reach two columns, and a ring needs two cuts."""
    shapes = cut_up(skyrmion_magnet(triangular(48))).shapes
    assert shapes[0] == (1, 2 * 2 * 48 * 2, 0)
    # Each half is a cylinder of 22 columns, and is cut in the other direction, again twice.
    assert shapes[1] == (2, 2 * 2 * 22 * 2, 384)
    assert len(shapes) == 7  # equal pieces are worked on together
    assert sum(n * s for n, s, _ in shapes) == 4608


def test_an_open_lattice_needs_one_cut():
    assert cut_up(SDModel(square(60, 40, periodic=(False, True)))).shapes[0] == (1, 40 * 2, 0)


def test_the_shorter_side_is_cut():
    for shape in ((40, 8), (8, 40)):
        assert cut_up(SDModel(square(*shape))).shapes[0] == (1, 2 * 8 * 2, 0)


@pytest.mark.parametrize(("sides", "growth"), [((24, 48), 8), ((16, 32), 8)], ids=str)
def test_the_cost_grows_as_the_cube_of_the_side(sides, growth):
    """A chain of columns would cost as its fourth power."""
    small, large = (cut_up(skyrmion_magnet(triangular(side))).flops for side in sides)
    assert large / small < 1.35 * growth


MODELS = [
    skyrmion_magnet(triangular(9, 14)),
    skyrmion_magnet(triangular(4, 3)),
    skyrmion_magnet(triangular(2, 40)),
    SDModel(square(3, 31)),
    Holstein(cubic(6, 5, 4)),
    Holstein(chain(301)),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_every_orbital_is_eliminated_once_and_every_element_lies_in_a_front(model):
    order, (rows, columns) = cut_up(model), model.positions
    assert order.holds(rows, columns)
    pivots = torch.cat([group.pivots.flatten() for group in order.groups])
    assert pivots.sort().values.tolist() == list(range(model.orbitals))
    found = torch.cat([place.element for place in order.places("all", rows, columns, torch.device("cpu"))])
    assert found.sort().values.tolist() == list(range(len(rows)))


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_an_orbital_on_a_border_is_one_of_the_front_around(model):
    groups = cut_up(model).groups
    for group in groups:
        linked = 0
        for link in group.links:
            around = torch.cat([groups[link.group].pivots, groups[link.group].border], dim=1)
            found = around[link.front].gather(1, link.place)
            assert torch.equal(found, group.border[link.first : link.last])
            # No two of them are added to the same front at once: sums do not depend on their order.
            assert len(link.front.unique()) == len(link.front)
            linked += link.last - link.first
        assert linked == (group.shape[0] if group.shape[2] else 0)


def test_without_hints_an_end_of_the_graph_is_found():
    rows = torch.arange(299)
    order = NestedDissection.of(torch.cat([rows, rows + 1]), torch.cat([rows + 1, rows]), 300)
    assert order.shapes[0] == (1, 1, 0) and max(s for _, s, _ in order.shapes) <= 40


def test_parts_that_do_not_touch_are_eliminated_one_by_one():
    """Without hops a matrix falls into single levels."""
    order = NestedDissection.of(torch.arange(500), torch.arange(500), 500)
    assert order.shapes == [(500, 1, 0)]


def test_distant_elements_of_rho_may_be_asked_for(rng):
    model = Holstein(square(14))
    h = model.matrix(torch.randn(196, 1, generator=rng, dtype=torch.float64))
    rows, columns = torch.tensor([0, 5, 100]), torch.tensor([97, 180, 3])
    answer, exact = (s.solve(h, rows, columns) for s in (Poles(mu=0.1, kT=0.1, tol=1e-9), Dense(mu=0.1, kT=0.1)))
    torch.testing.assert_close(answer.rho, exact.rho, atol=2e-9, rtol=0)


# --- spectra ----------------------------------------------------------------------------------------------------------


def test_the_ends_enclose_the_spectrum_and_are_close_to_it(rng):
    model, spins = magnet(14)
    found = spectrum(SparseMatrix(pattern(model), model.elements(spins)), vectors=4)
    levels = torch.linalg.eigvalsh(model.matrix(spins))
    width = float(levels[-1] - levels[0])
    assert -0.02 * width < float(found.lowest - levels[0]) < 0.003 * width
    assert -0.003 * width < float(found.highest - levels[-1]) < 0.02 * width
    assert float(found.weight.sum()) == pytest.approx(1)
    mean = float((found.weight * found.energy).sum())
    assert mean == pytest.approx(float(levels.mean()), abs=0.02 * width)


# --- accuracy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("fixed", [{"mu": -3.5}, {"filling": 0.21}], ids=["fixed mu", "fixed number"])
def test_fields_of_a_magnet_are_as_accurate_as_asked(tol, fixed):
    model, spins = magnet()
    poles = ExactForceField(model, Poles(kT=0.02, tol=tol, **fixed)).electrons
    dense = ExactForceField(model, Dense(kT=0.02, **fixed)).electrons
    answer, exact = poles.electrons(spins), dense.electrons(spins)
    off = float((answer.rho - exact.rho).abs().max())
    assert off <= float(answer.error) <= 3 * tol
    # A field is the sum of two or four elements of rho times J_sigma = 1/2.
    torch.testing.assert_close(poles(spins).force, dense(spins).force, atol=2 * tol, rtol=0)
    assert float((answer.potential - exact.potential).abs()) / 144 <= 2 * tol


@pytest.mark.parametrize("fixed", [{"mu": -3.5}, {"filling": 0.21}], ids=["fixed mu", "fixed number"])
def test_forces_are_the_gradient_of_the_potential_however_few_the_poles_are(fixed):
    model, spins = magnet(5)
    forcefield = ExactForceField(model, Poles(kT=0.1, tol=1e-3, dtype=torch.complex128, **fixed)).electrons
    direction = torch.randn(25, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-3
    up, down, far_up, far_down = (forcefield(spins + m * step * direction).energy for m in (1, -1, 2, -2))
    slope = float((8 * (up - down) - (far_up - far_down)) / (12 * step))
    # At fixed number the force is that of a number met to tol, and off by no more than the square of what is missing.
    work = -float((forcefield(spins).force * direction).sum())
    assert work == pytest.approx(slope, abs=1e-8 if "mu" in fixed else 1e-3)
    exact = ExactForceField(model, Dense(kT=0.1, **fixed)).electrons
    assert work == pytest.approx(-float((exact(spins).force * direction).sum()), abs=1e-2)


def test_an_origin_of_the_energy_far_away_costs_no_digits():
    """A thousand bandwidths above zero single precision does what it does at zero."""
    model, spins = magnet(8)
    h = model.matrix(spins)
    far = Poles(kT=0.05, mu=997.0, dtype=torch.complex64).solve(h + 1e3 * torch.eye(128), model.rows, model.columns)
    exact = Dense(kT=0.05, mu=-3.0).solve(h, model.rows, model.columns)
    assert float((far.rho - exact.rho).abs().max()) <= float(far.error) <= 1e-6


def uniform() -> torch.Tensor:
    """Fourteen of its 24 × 24 levels lie at zero, and most of those of its pieces: elimination divides by Im ζ."""
    return Holstein(square(24)).matrix(torch.zeros(576, 1, dtype=torch.float64))


def dimers(first: float = 1.0, second: float = 0.1) -> torch.Tensor:
    """A gap of 1.8, and a level in its middle wherever a cut breaks a strong bond."""
    bonds = torch.tensor([first, second] * 100, dtype=torch.float64)[:-1]
    h = torch.diag(bonds, 1)
    h[0, -1] = second
    return h + h.mT


@pytest.mark.parametrize("kT", [0.05, 0.005])
@pytest.mark.parametrize("matrix", [uniform, dimers, lambda: dimers(0.1, 1.0)], ids=["levels", "dimers", "cut dimers"])
def test_single_precision_states_its_rounding(matrix, kT):
    h = matrix()
    rows, columns = (h + torch.eye(len(h))).nonzero(as_tuple=True)
    exact = Dense(kT=kT, mu=0.0).solve(h, rows, columns)
    for tol in (1e-6, 1e-9):  # nearly all of the error is rounding, and nearly none of it
        single = Poles(kT=kT, mu=0.0, tol=tol, dtype=torch.complex64).solve(h, rows, columns)
        assert float((single.rho - exact.rho).abs().max()) <= float(single.error)


def test_single_precision_is_left_where_rounding_is_too_much():
    h, sites = uniform(), torch.arange(576)
    exact = Dense(kT=0.005, mu=0.01).solve(h, sites, sites)
    automatic = Poles(kT=0.005, mu=0.01, tol=1e-6).solve(h, sites, sites)
    single = Poles(kT=0.005, mu=0.01, tol=1e-6, dtype=torch.complex64).solve(h, sites, sites)
    assert float((automatic.rho - exact.rho).abs().max()) <= float(automatic.error) <= 1e-6
    assert float((single.rho - exact.rho).abs().max()) > 3e-6


def test_one_replica_at_a_time_is_what_a_batch_does(rng):
    """Hops that differ between replicas are not shared among them."""
    h = torch.randn(3, 80, 80, generator=rng, dtype=torch.float64)
    band = (torch.arange(80)[:, None] - torch.arange(80)).abs() <= 4
    h = (h + h.mT) * band
    rows = torch.arange(80)
    poles = Poles(mu=0.3, kT=0.1, tol=1e-10)
    batch = poles.solve(h, rows, rows)
    for i in range(3):
        single = poles.solve(h[i], rows, rows)
        torch.testing.assert_close(batch.rho[i], single.rho, atol=1e-10, rtol=0)
        torch.testing.assert_close(batch.potential[i], single.potential, atol=1e-8, rtol=0)


def test_replicas_with_gaps_and_without_find_their_numbers_together():
    levels = torch.stack([torch.linspace(-1, 1, 120), torch.cat([torch.full((60,), -1.0), torch.full((60,), 5.0)])])
    answer = Poles(filling=0.5, kT=0.05).solve(torch.diag_embed(levels.double()), SITES, SITES)
    assert answer.number.tolist() == pytest.approx([60, 60], abs=1e-9)
    assert float(answer.mu[0]) == pytest.approx(0, abs=1e-5) and -1 < float(answer.mu[1]) < 5


@pytest.mark.parametrize("size", [1, 3, 120])
def test_a_matrix_of_zeros_alone_has_one_level(size):
    zero = torch.zeros(size, size, dtype=torch.float64)
    for fixed in ({"mu": 0.1}, {"filling": 0.5}):
        answer, exact = (s.solve(zero, SITES[:1], SITES[:1]) for s in (Poles(kT=0.1, **fixed), Dense(kT=0.1, **fixed)))
        assert float(answer.rho) == pytest.approx(float(exact.rho), abs=1e-6)
        assert float(answer.number) == pytest.approx(float(exact.number), abs=1e-6 * size)


THIN = [(1, 40), (2, 2), (2, 23), (3, 3), (3, 17), (4, 31), (7, 7)]


@pytest.mark.parametrize("shape", THIN, ids=str)
def test_hops_around_a_thin_torus_are_all_there(shape):
    """Third neighbours wrap around it, some of them onto the site itself or onto each other."""
    model = skyrmion_magnet(triangular(*shape))
    spins = model.field_type.random(model.lattice.n_sites, 3, torch.Generator().manual_seed(3))
    for fixed in ({"mu": -3.5}, {"filling": 0.3}):
        poles, dense = (ExactForceField(model, s(kT=0.03, **fixed)).electrons.electrons(spins) for s in (Poles, Dense))
        assert float((poles.rho - dense.rho).abs().max()) <= float(poles.error) <= 2e-6
        assert float(poles.potential) == pytest.approx(float(dense.potential), abs=2e-6 * model.orbitals)


def test_a_number_of_electrons_that_cuts_a_degenerate_level_is_met():
    """Most levels of 8 × 8 free sites have four or more partners, and kT is a tenth of their distance or less."""
    model = Holstein(square(8))
    h = model.matrix(torch.zeros(64, 1, dtype=torch.float64))
    for filling in (1 / 64, 0.3, 0.5):
        for kT in (0.2, 0.01):
            poles, dense = (s(kT=kT, filling=filling).solve(h, model.rows, model.columns) for s in (Poles, Dense))
            assert float((poles.rho - dense.rho).abs().max()) <= float(poles.error) <= 2e-6
            assert float(poles.number) == pytest.approx(64 * filling, abs=1e-9)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 0.0, "mu": 0.0}, "Poles need kT > 0"),
        ({"kT": 0.1, "mu": 0.0, "tol": 0.5}, "tol must lie"),
        ({"kT": 0.1, "mu": 0.0, "tol": math.nan}, "tol must be a finite"),
        ({"kT": 0.1, "mu": 0.0, "dtype": torch.float64}, "complex64, torch.complex128 or None"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Poles(**arguments)


def test_a_temperature_too_low_for_the_poles_is_refused_with_the_cure():
    with pytest.raises(ArithmeticError, match=r"Raise tol or kT .* or take Dense"):
        Poles(mu=0.0, kT=1e-9, tol=1e-12).solve(torch.diag(torch.tensor([-1.0, 1.0])).double(), SITES[:1], SITES[:1])


def test_values_must_fit_their_pattern():
    with pytest.raises(ValueError, match="The pattern has 2 elements"):
        SparseMatrix(Pattern(torch.arange(2), torch.arange(2), 2), torch.zeros(3))
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        matrix = SparseMatrix(Pattern(torch.arange(2), torch.arange(2), 2), torch.tensor([0.0, math.nan]))
        Poles(mu=0.0, kT=0.1).solve(matrix, SITES[:1], SITES[:1])


def test_its_name_tells_ensemble_and_tolerance():
    assert repr(Poles(mu=-3.5, kT=0.02)) == "Poles(kT=0.02, mu=-3.5, tol=1e-06)"
    expected = "NestedDissection of 4608 orbitals into 127 fronts of up to 560"
    assert repr(cut_up(skyrmion_magnet(triangular(48)))) == expected


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answer():
    model, spins = magnet()
    forcefield = ExactForceField(model, Poles(mu=-3.5, kT=0.02, tol=1e-9)).electrons
    here, there = forcefield(spins), forcefield(spins.cuda())
    torch.testing.assert_close(there.force.cpu(), here.force, atol=1e-9, rtol=0)
    torch.testing.assert_close(there.energy.cpu(), here.energy, atol=1e-6, rtol=0)
