"""Poles and selected inversion beyond what every solver promises (see contracts/solver_contract.py)."""

import math

import pytest
import torch

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, SDModel, skyrmion_magnet
from nearsight.lattices import chain, cubic, square, triangular
from nearsight.solvers import BlockChain, Dense, Pattern, Poles, SparseMatrix, spectrum

SITES = torch.arange(4)


def magnet(side: int = 12) -> tuple[SDModel, torch.Tensor]:
    model = skyrmion_magnet(triangular(side))
    spins = model.field_type.random(model.lattice.n_sites, 3, torch.Generator().manual_seed(1))
    return model, spins


def pattern(model) -> Pattern:
    return Pattern(*model.positions, model.orbitals, model.cuts)


def chain_of(model) -> BlockChain:
    return BlockChain.of(*model.positions, model.orbitals, model.cuts)


# --- the chain of blocks ----------------------------------------------------------------------------------------------


def test_a_torus_is_folded_into_layers_as_wide_as_the_hops_reach():
    """48 columns of 48 sites and two spins; third neighbours reach two columns, on either side."""
    sizes = chain_of(skyrmion_magnet(triangular(48))).sizes
    assert sum(sizes) == 4608 and max(sizes) == 4 * 48 * 2
    assert len(sizes) == 13


def test_an_open_lattice_is_cut_from_its_edge():
    sizes = chain_of(SDModel(square(60, 40, periodic=(False, True)))).sizes
    assert max(sizes) <= 2 * 40


def test_the_shorter_side_is_cut():
    for shape in ((40, 8), (8, 40)):
        assert max(chain_of(SDModel(square(*shape))).sizes) <= 64


def test_no_element_skips_a_block(rng):
    for model in (skyrmion_magnet(triangular(9, 14)), Holstein(cubic(6, 5, 4)), Holstein(chain(301))):
        blocks = chain_of(model)
        rows, columns = model.positions
        assert blocks.holds(rows, columns)
        assert sorted(zip(blocks.block.tolist(), blocks.local.tolist(), strict=True)) == [
            (k, i) for k, n in enumerate(blocks.sizes) for i in range(n)
        ]


def test_without_hints_an_end_of_the_graph_is_found():
    rows = torch.arange(299)
    blocks = BlockChain.of(torch.cat([rows, rows + 1]), torch.cat([rows + 1, rows]), 300)
    assert max(blocks.sizes) <= 64


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


def test_single_precision_is_left_where_rounding_is_too_much():
    """A thousand bandwidths above zero it has three digits less."""
    model, spins = magnet(8)
    h = model.matrix(spins) + 1e3 * torch.eye(128)
    exact = Dense(kT=0.05, mu=997.0).solve(h, model.rows, model.columns)
    options = {"kT": 0.05, "mu": 997.0, "tol": 1e-6}
    automatic = Poles(**options).solve(h, model.rows, model.columns)
    single = Poles(**options, dtype=torch.complex64).solve(h, model.rows, model.columns)
    assert float((automatic.rho - exact.rho).abs().max()) <= float(automatic.error) <= 1e-6
    assert 1e-6 < float((single.rho - exact.rho).abs().max()) <= 3 * float(single.error)


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


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 0.0, "mu": 0.0}, "Poles need kT > 0"),
        ({"kT": 0.1, "mu": 0.0, "tol": 0.5}, "tol must lie"),
        ({"kT": 0.1, "mu": 0.0, "tol": math.nan}, "tol must lie"),
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
    assert repr(Poles(mu=-3.5, kT=0.02)) == "Poles(mu=-3.5, kT=0.02, tol=1e-06)"
    assert repr(chain_of(skyrmion_magnet(triangular(48)))) == "BlockChain of 13 blocks, 96 to 384 orbitals"


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answer():
    model, spins = magnet()
    forcefield = ExactForceField(model, Poles(mu=-3.5, kT=0.02, tol=1e-9)).electrons
    here, there = forcefield(spins), forcefield(spins.cuda())
    torch.testing.assert_close(there.force.cpu(), here.force, atol=1e-9, rtol=0)
    torch.testing.assert_close(there.energy.cpu(), here.energy, atol=1e-6, rtol=0)
