"""Autoregressive models beyond what each promises (see contracts/autoregressive_contract.py), fits and entropies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nearsight.hamiltonians import Ising, Potts
from nearsight.inference import (
    AutoregressiveEnergy,
    LikelihoodOptions,
    Observations,
    cross_entropy,
    entropy,
    fit_likelihood,
    reweight,
)
from nearsight.inference.likelihood import scattered_rows
from nearsight.lattices import Lattice, chain, cubic, honeycomb, square
from nearsight.networks import (
    HiddenSpinAutoregression,
    LogisticAutoregression,
    Symmetrised,
    lattice_operations,
)
from nearsight.networks.autoregressive import site_order
from nearsight.sampling import enumerate_states
from nearsight.training import Trainer

QUICK = LikelihoodOptions(steps=40, batch_size=64, validate_every=10, dtype="float64", checkpoint_every=10)


def every_state(sites: int, q: int = 2) -> Tensor:
    return torch.tensor(list(itertools.product(range(q), repeat=sites)), dtype=torch.int8)


def open_chain(length: int) -> Lattice:
    return Lattice("chain", np.eye(1), [[0.0]], (length,), periodic=False)


def planted(lattice: Lattice, *, scale: float = 0.4, q: int = 2) -> LogisticAutoregression:
    model = LogisticAutoregression(lattice, n_states=q).double()
    rng = torch.Generator().manual_seed(5)
    model.linear.weight.data = scale * torch.randn(model.linear.weight.shape, generator=rng, dtype=torch.float64)
    return model.eval()


def boltzmann(model: Ising | Potts, kT: float) -> Tensor:
    weight = -model.energy(every_state(model.lattice.n_sites, model.n_states)) / kT
    return weight - weight.logsumexp(0)


# --- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattice", [square(4, 3), honeycomb(3), cubic(3), chain(5)], ids=repr)
@pytest.mark.parametrize("name", ["raster", "snake", "spiral"])
def test_an_order_visits_every_site_once(lattice, name):
    if name == "spiral" and lattice.dim != 2:
        pytest.skip("two dimensions")
    assert sorted(site_order(lattice, name)) == list(range(lattice.n_sites))


@pytest.mark.parametrize("lattice", [square(4, 3), cubic(3)], ids=repr)
@pytest.mark.parametrize("name", ["snake", "spiral"])
def test_successive_sites_are_neighbours(lattice, name):
    if name == "spiral" and lattice.dim != 2:
        pytest.skip("two dimensions")
    steps = np.diff(lattice.cells[site_order(lattice, name)], axis=0)
    assert (np.abs(steps).sum(1) == 1).all()


# --- exact models -----------------------------------------------------------------------------------------------------


def test_a_chain_is_a_logistic_model_whose_weights_are_the_couplings():
    lattice, K = open_chain(6), 0.7
    model = LogisticAutoregression(lattice, order="raster").double()
    model.linear.weight.data = 2 * K * torch.diag(torch.ones(5, dtype=torch.float64), -1)
    torch.testing.assert_close(model.log_prob(every_state(6)), boltzmann(Ising(lattice, J=K), 1.0))


@pytest.mark.parametrize("q", [2, 3])
@torch.no_grad()
def test_a_hidden_spin_is_a_site_that_is_not_drawn_yet(q):
    # The middle of three sites comes last: the others see each other through it alone.
    lattice, K = open_chain(3), 0.9
    model = HiddenSpinAutoregression(lattice, n_states=q, order=(0, 2, 1), hidden=1).double()
    for p in model.parameters():
        p.zero_()
    exact = Ising(lattice, J=K) if q == 2 else Potts(lattice, q, J=K)
    model.inner.weight[1, 0] = K
    model.coupling[1, 0] = K
    model.linear.weight[2, :2] = 2 * K if q == 2 else K
    torch.testing.assert_close(model.log_prob(every_state(3, q)), boltzmann(exact, 1.0))


def test_the_gradient_of_a_message_is_that_of_its_formula():
    rng = torch.Generator().manual_seed(2)
    model = HiddenSpinAutoregression(square(3), hidden=2).double()
    states = torch.randint(2, (4, 9), generator=rng)

    def loss(coupling: Tensor, weight: Tensor) -> Tensor:
        named = {"coupling": coupling, "inner.weight": weight}
        return torch.func.functional_call(model, named, (states,)).sum()

    inputs = [p.detach().clone().requires_grad_() for p in (model.coupling, model.inner.weight)]
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_hidden_spins_start_from_a_logistic_model():
    fitted = planted(square(3))
    model = HiddenSpinAutoregression(square(3)).double().start_from(fitted)
    model.coupling.data.zero_()
    states = every_state(9)
    torch.testing.assert_close(model.log_prob(states), fitted.log_prob(states), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="same order"):
        HiddenSpinAutoregression(square(3), order="raster").start_from(fitted)


# --- the mean over operations -----------------------------------------------------------------------------------------


def test_operations_of_the_torus_are_a_group_of_translations_and_rotations():
    lattice = square(4)
    operations = lattice_operations(lattice)
    assert operations.shape == (128, 16) and len(np.unique(operations, axis=0)) == 128
    model = Ising(lattice, J=(1.0, 0.3))
    states = model.random_states(torch.Generator().manual_seed(1), 20)
    for p in operations:
        torch.testing.assert_close(model.energy(states[:, p]), model.energy(states))
    assert len(lattice_operations(honeycomb(3), point_group=False)) == 9
    Symmetrised(planted(lattice), lattice_operations(lattice, step=2))


def test_operations_that_are_no_group_are_refused():
    lattice = square(4)
    with pytest.raises(ValueError, match="no group"):
        Symmetrised(planted(lattice), lattice_operations(lattice)[:5])
    with pytest.raises(ValueError, match="twice"):
        Symmetrised(planted(lattice), np.stack([np.arange(16)] * 2))


def test_symmetrising_a_model_of_symmetric_data_lowers_the_cross_entropy(rng):
    lattice = square(3)
    model = planted(lattice)
    states = every_state(9)
    exact = boltzmann(Ising(lattice), 3.0)
    plain, average = (-(exact.exp() @ p.log_prob(states).detach()) for p in (model, Symmetrised(model)))
    assert average < plain


# --- the fit ----------------------------------------------------------------------------------------------------------


def test_rows_of_an_epoch_are_a_permutation_and_a_step_takes_them_from_everywhere():
    for count, size in ((1000, 64), (997, 10), (50, 64)):
        steps = count // min(size, count)
        for epoch in range(3):
            rows = np.concatenate([scattered_rows(epoch * steps + k, count, size, seed=4) for k in range(steps)])
            assert len(np.unique(rows)) == len(rows) == steps * min(size, count)
            assert rows.min() >= 0 and rows.max() < count
    tenths = np.bincount(scattered_rows(3, 10**6, 1000, seed=0) // 10**5, minlength=10)
    assert (np.abs(tenths - 100) < 30).all()


def test_a_fit_recovers_a_planted_model_as_well_as_the_data_allow():
    lattice, n = square(3), 20_000
    truth = planted(lattice)
    rng = torch.Generator().manual_seed(8)
    seen, other = (Observations(lattice, truth.sample(k, rng), chain=np.arange(k)) for k in (n, 5_000))
    options = LikelihoodOptions(steps=250, batch_size=1000, dtype="float64", average=0.98)
    fitted = fit_likelihood(LogisticAutoregression(lattice), (seen, other), options=options, progress=False)
    with torch.no_grad():
        exact, found = (m.log_prob(every_state(9)) for m in (truth, fitted))
    # Twice n times the relative entropy of a maximum-likelihood fit is a chi-square with a degree per weight.
    divergence = 2 * n * float(exact.exp() @ (exact - found))
    assert 0.3 < divergence / 36 < 2.0


def test_a_fit_with_all_operations_learns_a_symmetric_distribution_from_fewer_observations():
    lattice, n = square(3), 300
    exact = boltzmann(Ising(lattice), 2.5)
    rng = torch.Generator().manual_seed(1)
    states = every_state(9)
    drawn = states[torch.multinomial(exact.exp(), n + 400, replacement=True, generator=rng)]
    seen = Observations(lattice, drawn[:n], chain=np.arange(n)), Observations(lattice, drawn[n:], chain=np.arange(400))
    divergence = {}
    for augment in ("none", "all"):
        options = LikelihoodOptions(steps=150, batch_size=100, learning_rate=4e-2, average=0.9, augment=augment)
        model = fit_likelihood(LogisticAutoregression(lattice), seen, options=options, progress=False)
        with torch.no_grad():
            divergence[augment] = float(exact.exp() @ (exact - model.log_prob(states)))
    assert divergence["all"] < 0.7 * divergence["none"]


def test_a_killed_fit_ends_with_the_bits_of_an_undisturbed_one(tmp_path, monkeypatch, misaligned_reads):
    lattice = square(3)
    seen = Observations(lattice, planted(lattice).sample(500, torch.Generator().manual_seed(1)).reshape(5, 100, 9))

    def run(path, resume=False):
        model = HiddenSpinAutoregression(lattice, hidden=2)
        return fit_likelihood(model, seen, options=QUICK, path=path, resume=resume, progress=False)

    whole = run(tmp_path / "whole")
    advance = Trainer.advance
    with monkeypatch.context() as patch:

        def killed(self):
            if self.step == 25:
                raise KeyboardInterrupt
            advance(self)

        patch.setattr(Trainer, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
    again = run(tmp_path / "cut", resume=True)
    assert all(torch.equal(p, again.state_dict()[name]) for name, p in whole.state_dict().items())


def test_observations_of_something_else_are_refused():
    model, states = LogisticAutoregression(square(3)), np.zeros((8, 9), int)
    with pytest.raises(ValueError, match="2 states, the observations 3"):
        fit_likelihood(model, Observations(square(3), states, n_states=3), progress=False)
    with pytest.raises(ValueError, match="the observations of chain"):
        fit_likelihood(model, Observations(chain(9), states), progress=False)
    with pytest.raises(TypeError, match="fit its model"):
        fit_likelihood(Symmetrised(model), Observations(square(3), states), progress=False)  # type: ignore[arg-type]


def test_missing_sites_at_the_end_of_the_order_are_summed_over_and_others_refused(rng):
    lattice = square(3)
    model = planted(lattice)
    states = torch.randint(2, (6, 9), generator=rng)
    last = model.sequence[-2:]
    missing = np.zeros((6, 9), bool)
    missing[:3, last.numpy()] = True
    seen = Observations(lattice, states, missing=missing, chain=np.arange(6))
    total = 0.0
    for row, unseen in zip(states, missing, strict=True):
        filled = row.repeat(4, 1)
        if unseen.any():
            filled[:, last] = every_state(2).long()
        log_prob = model.log_prob(filled).detach()
        total += float(log_prob.logsumexp(0) if unseen.any() else log_prob[0])
    assert cross_entropy(model, seen).value == pytest.approx(-total / 54, rel=1e-13)
    assert fit_likelihood(model, (seen, seen), options=QUICK, progress=False) is model
    hole = np.zeros((6, 9), bool)
    hole[4, model.sequence[3]] = True
    with pytest.raises(ValueError, match=r"1 observations \(the first is row 4\) miss a site"):
        fit_likelihood(model, Observations(lattice, states, missing=hole), progress=False)
    with pytest.raises(ValueError, match="augment moves missing sites"):
        options = QUICK.model_copy(update={"augment": "translations"})
        fit_likelihood(model, (seen, seen), options=options, progress=False)


# --- entropy and free energy ------------------------------------------------------------------------------------------


def test_error_bars_of_entropy_and_reweighting_hold_in_95_of_100_draws():
    lattice, kT = square(3), 5.0
    ising = Ising(lattice)
    model = planted(lattice, scale=0.2)
    states = every_state(9)
    exact = enumerate_states(ising).thermodynamics(kT)
    with torch.no_grad():
        log_prob = model.log_prob(states)
    own = -float(log_prob.exp() @ log_prob) / 9
    runs, hits = 100, {"own": 0, "F": 0, "U": 0, "S": 0}
    for seed in range(runs):
        rng = torch.Generator().manual_seed(seed)
        found = reweight(model, ising, kT, 1000, rng)
        measured = {
            "own": (entropy(model, 1000, rng), own),
            "F": (found.free_energy, exact.free_energy),
            "U": (found.energy, exact.energy),
            "S": (found.entropy, exact.entropy),
        }
        for name, ((value, error), truth) in measured.items():
            hits[name] += abs(value - truth) < 1.96 * error
    low, high = stats.binom.ppf([0.001, 0.999], runs, 0.95)
    assert all(low <= count <= high for count in hits.values()), hits


def test_a_perfect_model_has_no_error_and_accepts_everything(rng):
    lattice, K = open_chain(6), 0.7
    model = LogisticAutoregression(lattice, order="raster").double()
    model.linear.weight.data = 2 * K * torch.diag(torch.ones(5, dtype=torch.float64), -1)
    ising = Ising(lattice, J=K)
    exact = enumerate_states(ising).thermodynamics(1.0)
    found = reweight(model, ising, 1.0, 500, rng)
    assert found.free_energy.value == pytest.approx(float(exact.free_energy), rel=1e-13)
    assert found.free_energy.error < 1e-13
    assert found.effective == pytest.approx(1.0) and found.acceptance == pytest.approx(1.0)


def test_the_acceptance_is_that_of_an_independence_sampler(rng):
    lattice, kT = square(3), 4.0
    ising = Ising(lattice)
    model = planted(lattice, scale=0.3)
    stated = reweight(model, ising, kT, 40_000, rng).acceptance
    chains, steps = 400, 120
    proposed = model.sample(chains * steps, rng)
    with torch.no_grad():
        weight = (-ising.energy(proposed) / kT - model.log_prob(proposed)).reshape(steps, chains)
    current, accepted = weight[0].clone(), []
    for k in range(1, steps):
        taken = torch.rand(chains, generator=rng, dtype=torch.float64).log() < weight[k] - current
        current = torch.where(taken, weight[k], current)
        if k >= 20:
            accepted.append(taken.double())
    rate = torch.stack(accepted).mean(0)
    assert abs(float(rate.mean()) - stated) < 4 * float(rate.std() / chains**0.5) + 0.005


def test_a_model_of_another_temperature_is_refused(rng):
    lattice = square(6)
    with pytest.raises(ArithmeticError, match="come closer to the temperature"):
        reweight(LogisticAutoregression(lattice), Ising(lattice), 1.0, 1000, rng)


def test_cross_entropy_counts_observations_by_their_memory(rng):
    lattice = square(3)
    model = planted(lattice)
    drawn = model.sample(4000, rng)
    free = cross_entropy(model, Observations(lattice, drawn, chain=np.arange(4000)))
    repeated = cross_entropy(model, Observations(lattice, drawn.repeat_interleave(5, 0).reshape(20, 1000, 9)))
    single = cross_entropy(model, Observations(lattice, drawn.reshape(4, 1000, 9)))
    assert repeated.value == pytest.approx(free.value, rel=1e-12) and single.value == pytest.approx(free.value)
    assert repeated.error == pytest.approx(free.error, rel=0.15) and single.error == pytest.approx(free.error, rel=0.15)
    with torch.no_grad():
        log_prob = model.log_prob(every_state(9))
    assert abs(free.value + float(log_prob.exp() @ log_prob) / 9) < 4 * free.error


def test_an_energy_is_minus_kT_times_the_logarithm():
    lattice = square(3)
    model = planted(lattice)
    energy = AutoregressiveEnergy(model, kT=2.0)
    states = every_state(9)
    with torch.no_grad():
        torch.testing.assert_close(energy(states), -2 * model.log_prob(states))
        average = AutoregressiveEnergy(Symmetrised(model), kT=2.0)
        torch.testing.assert_close(average(states), -2 * Symmetrised(model).log_prob(states))
