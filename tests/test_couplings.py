"""Couplings learned from configurations: against enumeration, against brute force, and against each other."""

import itertools
import math

import numpy as np
import pytest
import torch

from nearsight.hamiltonians import BlumeCapel, EdwardsAnderson, Ising, Potts
from nearsight.inference import Observations, Terms, learn_couplings, select_couplings
from nearsight.inference import _environments as environments
from nearsight.inference import maximum_likelihood as likelihood
from nearsight.inference._blocks import Blocks
from nearsight.lattices import Lattice, honeycomb, random_cloud, square

CONSISTENT = ("pseudo-likelihood", "interaction-screening", "likelihood")
LATTICE = square(4)
MIXED = Terms.pairs(LATTICE, 2) + Terms.plaquettes(LATTICE) + Terms.fields(LATTICE)
MIXED_J = np.array([0.5, 0.1, 0.2, -0.1])
MIXED_kT = 2.0


def drawn(model, kT, number, seed):
    """Independent states ``(number, site)`` with Boltzmann's weights, from all there are."""
    every = np.array(list(itertools.product(range(model.n_states), repeat=model.lattice.n_sites)), np.int8)
    energy = model.energy(torch.from_numpy(every)).numpy()
    return _drawn(every, energy / kT, number, seed)


def _drawn(every, energy, number, seed):
    weight = np.exp(energy.min() - energy)
    rows = np.random.default_rng(seed).choice(len(every), number, p=weight / weight.sum())
    return every[rows]


def mixed(number, seed, kT=MIXED_kT):
    every = np.array(list(itertools.product((0, 1), repeat=16)), np.int8)
    s = (2.0 * every - 1).reshape(-1, 4, 4)
    right, down = np.roll(s, -1, 1), np.roll(s, -1, 2)
    diagonal = np.roll(right, -1, 2)
    sums = [s * right + s * down, s * diagonal + right * down, s * right * down * diagonal, s]
    energy = -sum(J * x.sum((1, 2)) for J, x in zip(MIXED_J, sums, strict=True))
    return Observations(
        LATTICE,
        _drawn(every, energy / MIXED_kT, number, seed),
        kT=kT,
        chain=np.random.default_rng(0).permutation(number),
    )


@pytest.fixture(scope="module")
def seen():
    return mixed(40_000, 1)


# --- terms ------------------------------------------------------------------------------------------------------------


def test_the_energy_of_terms_by_shell_is_that_of_the_ising_model():
    lattice, J = square(4), (1.0, -0.3, 0.2)
    states = torch.randint(2, (3, 5, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    terms = Terms.pairs(lattice, 3) + Terms.fields(lattice)
    energy = -terms.statistics(states) @ torch.tensor([*J, 0.7], dtype=torch.float64)
    torch.testing.assert_close(energy, Ising(lattice, J=J, h=0.7).energy(states), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["potts", "clock"])
def test_the_energy_of_potts_terms_is_that_of_the_potts_model(kind):
    lattice = honeycomb(3)
    states = torch.randint(4, (7, 18), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    energy = -Terms.pairs(lattice, 2, n_states=4, kind=kind).statistics(states) @ torch.tensor(
        [1.0, 0.4], dtype=torch.float64
    )
    model = Potts(lattice, 4, J=(1.0, 0.4), kind="standard" if kind == "potts" else "clock")
    torch.testing.assert_close(energy, model.energy(states), rtol=0, atol=1e-12)


def test_the_energy_of_spin_one_terms_is_that_of_the_blume_capel_model():
    lattice, spins_one = square(4), {"n_states": 3, "kind": "blume-capel"}
    states = torch.randint(3, (7, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    terms = Terms.pairs(lattice, 2, **spins_one) + Terms.fields(lattice, **spins_one)
    energy = -terms.statistics(states) @ torch.tensor([1.0, 0.4, 0.3, 0.8], dtype=torch.float64)
    expected = BlumeCapel(lattice, J=(1.0, 0.4), h=0.3, D=0.8).energy(states)
    torch.testing.assert_close(energy, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="three states"):
        Terms.fields(lattice, n_states=4, kind="blume-capel")
    with pytest.raises(ValueError, match="no Ising spins"):
        Terms.fields(lattice, n_states=3, kind="ising")


def test_displacements_hold_every_pair_once():
    for lattice, number in ((square(8), 33), (square(4), 9), (honeycomb(3), 4 + 4 + 9)):
        terms = Terms.pairs(lattice, by="displacement")
        pairs = np.concatenate([term.clusters for term in terms.terms])
        n = lattice.n_sites
        assert len(terms) == number
        assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs) == n * (n - 1) // 2


def test_every_plaquette_counts_once():
    assert [len(Terms.plaquettes(square(side)).terms[0].clusters) for side in (3, 6)] == [9, 36]
    open_ = Lattice("open", np.eye(2), np.zeros((1, 2)), (4, 3), periodic=False)
    assert len(Terms.plaquettes(open_).terms[0].clusters) == 6


# --- estimates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CONSISTENT)
def test_couplings_are_recovered_within_their_errors(method, seen):
    learned = learn_couplings(seen, MIXED, method=method)
    assert np.abs((learned.value - MIXED_J) / learned.error).max() < 3.5
    assert learned.error.max() < 0.03


def test_maximum_likelihood_reproduces_the_observed_means_exactly(seen):
    learned = learn_couplings(seen, MIXED, method="likelihood")
    every = torch.from_numpy(np.array(list(itertools.product((0, 1), repeat=16)), np.int8))
    weight = torch.softmax(-learned.energy(every) / MIXED_kT, 0)
    torch.testing.assert_close(
        weight @ MIXED.statistics(every), MIXED.statistics(seen.states()).mean(0), rtol=1e-6, atol=1e-6
    )


def test_pseudo_likelihood_is_the_largest_product_of_conditional_probabilities(seen):
    few = seen.take(slice(300))
    terms = Terms.pairs(LATTICE, 2) + Terms.fields(LATTICE)
    learned = learn_couplings(few, terms)
    states = few.states()

    def log_probability(J):
        model = Ising(LATTICE, J=tuple(J[:2]), h=float(J[2]))
        odds = [model.energy_change(states, i, 1 - states[:, i]) for i in range(16)]
        return float(-torch.nn.functional.softplus(-torch.stack(odds) / MIXED_kT).sum())

    best = log_probability(learned.value)
    for step in 0.01 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert log_probability(learned.value + step) < best
        fall = log_probability(learned.value + step / 2)
        assert best - log_probability(learned.value + step) == pytest.approx(4 * (best - fall), rel=0.05)


def test_interaction_screening_of_two_spins_is_their_exact_coupling():
    # S is smallest at tanh θ = mean of s s'.
    pair = Lattice("pair", np.eye(1), np.zeros((1, 1)), (2,), periodic=False)
    states = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [400, 120, 80, 400], axis=0)
    seen = Observations(pair, states, chain=np.arange(1000))
    for method in CONSISTENT:
        assert learn_couplings(seen, Terms.pairs(pair), method=method).value[0] == pytest.approx(
            math.atanh(0.6), abs=1e-6
        )


def potts_in_clock_form():
    """Three states, neighbours of three shells, and sites that were not always seen."""
    lattice = square(6)
    rng = np.random.default_rng(5)
    states = rng.integers(0, 3, (1500, 36)).astype(np.int8)
    states[:, 1] = states[:, 0]  # something to learn
    missing = rng.random(states.shape) < 0.02
    seen = Observations(lattice, states, chain=np.arange(1500) // 50, missing=missing, n_states=3)
    return seen, Terms.pairs(lattice, 3, n_states=3, kind="clock")


@pytest.mark.parametrize("case", ["mixed", "clock"])
@pytest.mark.parametrize("method", CONSISTENT[:2])
def test_surroundings_counted_or_collapsed_or_read_one_by_one_give_the_same(method, case, seen, monkeypatch):
    few, terms = (seen.take(slice(2000)), MIXED) if case == "mixed" else potts_in_clock_form()
    kinds, found = environments.Environments, []
    monkeypatch.setattr(environments, "COUNTS", 2**27)
    monkeypatch.setattr(kinds, "number", 2.0**25)  # as if there were enough for any table
    for closed in ((), ("_count",), ("_count", "_summed"), ("_count", "_summed", "_collapsed")):
        monkeypatch.setattr(environments, "CODES", 0 if closed else 2**16)
        for name in closed[1:]:
            monkeypatch.setattr(kinds, name, lambda self: None)
        assert kinds(Blocks(few), terms).counted == (len(closed) < 3)
        found.append(learn_couplings(few, terms, method=method))
    for other in found[1:]:
        np.testing.assert_allclose(other.value, found[0].value, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(other.covariance, found[0].covariance, rtol=1e-5, atol=1e-12)


def test_pairs_of_three_states_are_collapsed_and_a_record_stands_for_all_that_equal_it():
    seen, terms = potts_in_clock_form()
    found = environments.Environments(Blocks(seen), terms)
    [records] = found
    assert found.counted and len(records.own) < 0.25 * found.number
    complete = ~seen.missing.numpy() if hasattr(seen.missing, "numpy") else ~np.asarray(seen.missing)
    [kind] = found.kinds
    assert records.weight.sum() == complete[:, kind.members].all(-1).sum()
    assert records.blocks.sum() == records.weight.sum()


def test_sampled_maximum_likelihood_agrees_with_the_exact_one(seen, monkeypatch):
    seen = seen.take(slice(8000))
    exact = learn_couplings(seen, MIXED, method="likelihood")
    monkeypatch.setattr(likelihood, "_ENUMERATED", 0)
    sampled = learn_couplings(seen, MIXED, method="likelihood")
    # Monte Carlo adds a tenth of the variance: a third of an error.
    assert (np.abs(sampled.value - exact.value) < exact.error).all()
    np.testing.assert_allclose(sampled.error, exact.error, rtol=0.25)
    other = learn_couplings(seen, MIXED, method="likelihood", seed=1)
    assert np.abs(other.value - sampled.value).max() > 0


@pytest.mark.parametrize("by", ["bond", "displacement"])
def test_maximum_likelihood_by_pfaffians_is_that_by_enumeration(by, monkeypatch):
    glass = EdwardsAnderson(LATTICE, seed=5)
    seen = Observations(LATTICE, drawn(glass, 2.0, 5000, 1), kT=2.0)
    terms = Terms.pairs(LATTICE, 1, by=by)
    enumerated = learn_couplings(seen, terms, method="likelihood")
    monkeypatch.setattr(likelihood, "_ENUMERATED", 0)
    found = learn_couplings(seen, terms, method="likelihood")
    np.testing.assert_allclose(found.value, enumerated.value, rtol=1e-6)
    np.testing.assert_allclose(found.covariance, enumerated.covariance, rtol=1e-5, atol=1e-12)


def test_maximum_likelihood_serves_clouds_that_have_no_shells():
    cloud = random_cloud(24, 0.8, 0.5, rng=torch.Generator().manual_seed(1), dim=2)
    states = torch.randint(2, (2000, 24), generator=torch.Generator().manual_seed(2))
    learned = learn_couplings(Observations(cloud, states), Terms.fields(cloud, by="site"), method="likelihood")
    assert (np.abs(learned.value) < 4 * learned.error).all()


def test_maximum_likelihood_too_cold_for_pfaffians_goes_on_by_monte_carlo(monkeypatch):
    def too_cold(lattice, K):
        raise ArithmeticError

    seen = Observations(LATTICE, drawn(Ising(LATTICE), 4.0, 4000, 1), kT=4.0)
    exact = learn_couplings(seen, Terms.pairs(LATTICE), method="likelihood")
    monkeypatch.setattr(likelihood, "_ENUMERATED", 0)
    monkeypatch.setattr(likelihood, "bond_moments", too_cold)
    sampled = learn_couplings(seen, Terms.pairs(LATTICE), method="likelihood")
    assert 0 < abs(sampled.value[0] - exact.value[0]) < exact.error[0]


def test_the_error_of_maximum_likelihood_is_the_bound_of_cramer_and_rao(seen):
    learned = {method: learn_couplings(seen, MIXED, method=method) for method in CONSISTENT}
    every = torch.from_numpy(np.array(list(itertools.product((0, 1), repeat=16)), np.int8))
    phi = MIXED.statistics(every)
    weight = torch.softmax(phi @ torch.from_numpy(MIXED_J) / MIXED_kT, 0)
    around = phi - weight @ phi
    fisher = (around.T * weight) @ around * len(seen) / MIXED_kT**2
    bound = torch.linalg.inv(fisher).diagonal().sqrt().numpy()
    np.testing.assert_allclose(learned["likelihood"].error, bound, rtol=0.12)
    for method in CONSISTENT:
        assert (learned[method].error > 0.88 * bound).all()


def test_bonds_of_a_glass_are_recovered_each():
    sample = EdwardsAnderson(LATTICE, seed=5)
    seen = Observations(LATTICE, drawn(sample, 2.0, 50_000, 2), kT=2.0, chain=np.arange(50_000))
    terms = Terms.pairs(LATTICE, by="bond")
    for method in CONSISTENT:
        learned = learn_couplings(seen, terms, method=method)
        assert np.corrcoef(learned.value, sample.couplings)[0, 1] > 0.9995
        assert np.mean(((learned.value - sample.couplings) / learned.error) ** 2) == pytest.approx(
            1, abs=4 * (2 / 32) ** 0.5
        )
        assert isinstance(learned.model(), EdwardsAnderson)


@pytest.mark.parametrize("kind", ["potts", "clock"])
def test_potts_couplings_are_recovered(kind):
    lattice = square(3)
    model = Potts(lattice, 3, J=(1.0, 0.3), kind="standard" if kind == "potts" else "clock")
    seen = Observations(lattice, drawn(model, 3.0, 40_000, 3), n_states=3, kT=3.0, chain=np.arange(40_000))
    terms = Terms.pairs(lattice, 2, n_states=3, kind=kind)
    for method in CONSISTENT:
        learned = learn_couplings(seen, terms, method=method)
        assert np.abs((learned.value - model.J) / learned.error).max() < 3.5
        assert learned.error.max() < 0.03
    again = learned.model(square(6))
    assert isinstance(again, Potts)
    assert tuple(learned.value) == again.J


def test_couplings_and_crystal_field_of_spins_one_are_recovered():
    lattice, spins_one = square(3), {"n_states": 3, "kind": "blume-capel"}
    model = BlumeCapel(lattice, J=(1.0, 0.3), h=0.1, D=0.6)
    seen = Observations(lattice, drawn(model, 3.0, 40_000, 3), n_states=3, kT=3.0, chain=np.arange(40_000))
    terms = Terms.pairs(lattice, 2, **spins_one) + Terms.fields(lattice, **spins_one)
    for method in CONSISTENT:
        learned = learn_couplings(seen, terms, method=method)
        assert np.abs((learned.value - [1.0, 0.3, 0.1, 0.6]) / learned.error).max() < 3.5
        assert learned.error.max() < 0.06
    again = learned.model(square(6))
    assert isinstance(again, BlumeCapel)
    assert tuple(learned.value) == (*again.J, again.h, again.D)


def test_bethe_is_exact_on_a_chain_with_open_ends():
    chain = Lattice("chain", np.eye(1), np.zeros((1, 1)), (7,), periodic=False)
    sample = EdwardsAnderson(chain, seed=1)
    seen = Observations(chain, drawn(sample, 1.5, 100_000, 4), kT=1.5, chain=np.arange(100_000))
    terms = Terms.pairs(chain, by="bond")
    bethe, naive = (learn_couplings(seen, terms, method=method) for method in ("bethe", "mean-field"))
    assert np.abs((bethe.value - sample.couplings) / bethe.error).max() < 3.5
    assert np.abs((naive.value - sample.couplings) / naive.error).max() > 10


def test_mean_field_methods_agree_where_couplings_are_weak():
    lattice = square(3)
    model = Ising(lattice, J=0.05, h=0.3)
    seen = Observations(lattice, drawn(model, 1.0, 200_000, 4), chain=np.arange(200_000))
    values = [learn_couplings(seen, Terms.pairs(lattice), method=m) for m in ("mean-field", "tap", "bethe")]
    for learned in values:
        assert learned.value[0] == pytest.approx(0.05, abs=0.006)
    assert values[0].value[0] != values[1].value[0] != values[2].value[0]


def test_the_model_of_four_spin_terms_has_their_energy_and_grows(seen):
    for terms in (MIXED, Terms.pairs(LATTICE, [1, 2], by="displacement")):
        learned = learn_couplings(seen.take(slice(2000)), terms)
        states = torch.randint(2, (20, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
        torch.testing.assert_close(learned.model().energy(states), learned.energy(states), rtol=0, atol=1e-9)
        larger = learned.model(square(6))
        torch.testing.assert_close(
            larger.energy(torch.ones(36, dtype=torch.int8)) / 36,
            learned.energy(torch.ones(16, dtype=torch.int8)) / 16,
        )


# --- observations as they come ----------------------------------------------------------------------------------------


def test_couplings_are_in_units_of_kT_where_it_is_not_known(seen):
    unknown = learn_couplings(mixed(40_000, 1, kT=None), MIXED)
    np.testing.assert_allclose(unknown.value * MIXED_kT, learn_couplings(seen, MIXED).value, rtol=1e-9)


def test_the_order_of_chains_does_not_matter():
    states, chain = mixed(4000, 5).states().numpy(), np.repeat(np.arange(4), 1000)
    mixed_up = np.argsort(np.tile(np.arange(1000), 4), kind="stable")
    apart = learn_couplings(Observations(LATTICE, states, chain=chain), MIXED)
    woven = learn_couplings(Observations(LATTICE, states[mixed_up], chain=chain[mixed_up]), MIXED)
    np.testing.assert_allclose(woven.value, apart.value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(woven.covariance, apart.covariance, rtol=1e-9)


def test_errors_know_that_snapshots_repeat():
    once = mixed(4000, 6).states().numpy()
    single = learn_couplings(Observations(LATTICE, once, chain=np.arange(4000)), MIXED)
    slow = learn_couplings(Observations(LATTICE, np.repeat(once, 20, axis=0)), MIXED)
    np.testing.assert_allclose(slow.value, single.value, rtol=1e-6)
    np.testing.assert_allclose(slow.error, single.error, rtol=0.25)
    assert slow.effective == pytest.approx(single.effective, rel=0.3)


def test_sites_that_were_not_seen_cost_precision_and_no_bias():
    states = mixed(20_000, 7).states().numpy()
    missing = np.random.default_rng(1).random(states.shape) < 0.1
    holes = Observations(LATTICE, np.where(missing, 0, states), kT=MIXED_kT, chain=np.arange(20_000), missing=missing)
    for method in CONSISTENT[:2]:
        learned = learn_couplings(holes, MIXED, method=method)
        assert np.abs((learned.value - MIXED_J) / learned.error).max() < 3.5
    with pytest.raises(ValueError, match="all were seen"):
        learn_couplings(holes, MIXED, method="likelihood")


def test_fewer_effective_samples_than_couplings_are_refused_with_the_number_that_would_do():
    states = np.repeat(mixed(20, 8).states().numpy(), 50, axis=0)
    with pytest.raises(
        ValueError, match=r"1000 observations are worth \d+ independent ones, fewer than the 32 .* least \d+"
    ):
        learn_couplings(Observations(LATTICE, states), Terms.pairs(LATTICE, by="bond"))


def test_frozen_sites_are_named(seen):
    states = seen.states(slice(500)).numpy().copy()
    states[:, [3, 7]] = 1
    with pytest.raises(ValueError, match="Sites 3, 7 never change"):
        learn_couplings(Observations(LATTICE, states, chain=np.arange(500)), MIXED)


def test_a_coupling_bounded_from_one_side_has_an_infinite_error_and_harms_no_other():
    states = drawn(Ising(square(3), J=0.2), 1.0, 5000, 9)
    states[:, 1] = states[:, 0]
    seen = Observations(square(3), states, chain=np.arange(5000))
    terms = Terms.pairs(square(3), by="bond")
    tied = terms.names.index("J 0-1")
    for method in CONSISTENT:
        with pytest.warns(UserWarning, match="bound J 0-1, .* from one side"):
            learned = learn_couplings(seen, terms, method=method)
        assert np.isinf(learned.error[tied])
        away = [k for k, t in enumerate(terms.terms) if not set(t.clusters[0]) & {0, 1}]
        assert np.isfinite(learned.error[away]).all()
        assert np.abs((learned.value - 0.2) / learned.error)[away].max() < 4


def test_couplings_of_which_only_a_sum_is_observed_are_named(seen):
    twice = Terms.products(LATTICE, [[0, 0], [1, 0]], [[0, 0], [0, 1]], name="pairs again")
    with pytest.raises(ValueError, match="combination of J1, pairs again"):
        learn_couplings(seen, Terms.pairs(LATTICE, 2) + twice)


# --- selection --------------------------------------------------------------------------------------------------------


def test_selection_finds_range_and_four_spin_terms(seen):
    candidates = [Terms.pairs(LATTICE, 1), Terms.pairs(LATTICE, 3), MIXED]
    found = select_couplings(seen, candidates, rng=torch.Generator().manual_seed(1))
    assert set(found.learned.terms.names) == {"J1", "J2", "plaquette", "h"}
    assert found.rest > 0.05
    gains = {model.terms.names: (model.gain, model.error) for model in found.validation}
    gain, error = gains["J1",]
    assert gain < -3 * error
    assert "supported" in repr(found)
    with pytest.raises(ValueError, match="None of 3 couplings"):
        free = np.random.default_rng(1).integers(0, 2, (2000, 16))
        select_couplings(
            Observations(LATTICE, free, chain=np.arange(2000)), Terms.pairs(LATTICE, 3), rng=torch.Generator()
        )


def test_many_weak_couplings_are_seen_together_where_none_stands_out():
    lattice = square(3)
    weak = EdwardsAnderson(lattice, 0.045 * np.resize([1.0, -1.0, 1.0], 18))
    states = drawn(weak, 1.0, 2200, 11)
    anchor = Terms.fields(lattice)
    seen = Observations(
        lattice, np.where(np.random.default_rng(1).random(states.shape) < 0.1, 1, states), chain=np.arange(2200)
    )
    found = select_couplings(seen, Terms.pairs(lattice, by="bond") + anchor, rng=torch.Generator().manual_seed(2))
    assert found.rest < 0.01
    assert (~found.supported).sum() >= 12
