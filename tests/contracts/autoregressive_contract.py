"""What every autoregressive model must satisfy. A member signs by one line in ``MODELS``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nearsight.inference import AutoregressiveEnergy
from nearsight.lattices import honeycomb, square
from nearsight.networks import (
    AttentionAutoregression,
    AutoregressiveModel,
    GRUAutoregression,
    HiddenSpinAutoregression,
    LogisticAutoregression,
    Symmetrised,
    lattice_operations,
)

MODELS = [
    pytest.param(LogisticAutoregression, id="logistic"),
    pytest.param(partial(HiddenSpinAutoregression, hidden=3), id="hidden spins"),
    pytest.param(partial(GRUAutoregression, hidden=5), id="gru"),
    pytest.param(partial(AttentionAutoregression, channels=8, heads=2), id="attention"),
]
model = pytest.mark.parametrize("make", MODELS)
states_and_symmetry = pytest.mark.parametrize(
    ("q", "symmetry"), [(2, "permutations"), (2, "none"), (3, "permutations"), (3, "cyclic"), (3, "none")]
)
Make = Callable[..., AutoregressiveModel]


def randomised(built: AutoregressiveModel, *, scale: float = 1.0, seed: int = 3) -> AutoregressiveModel:
    """The model in double precision with all its parameters drawn anew: none stands at zero by chance."""
    rng = torch.Generator().manual_seed(seed)
    for p in built.double().parameters():
        p.data = scale * torch.randn(p.shape, generator=rng, dtype=torch.float64)
    return built.eval()


def every_state(sites: int, q: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(q), repeat=sites)), dtype=torch.int8)


# --- a probability ----------------------------------------------------------------------------------------------------


@model
@states_and_symmetry
@pytest.mark.parametrize("order", ["snake", "spiral"])
@torch.no_grad()
def test_probabilities_of_all_states_add_up_to_one(make, q, symmetry, order):
    lattice = square(3) if q == 2 else square(2)
    built = randomised(make(lattice, n_states=q, symmetry=symmetry, order=order))
    log_prob = built.log_prob(every_state(lattice.n_sites, q))
    assert torch.isfinite(log_prob).all()
    assert float(log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-12)


@model
@torch.no_grad()
def test_ln_p_is_finite_for_the_least_likely_states_of_a_large_lattice(make):
    lattice = square(24)
    built = randomised(make(lattice), scale=0.3).float()
    up = torch.ones(lattice.n_sites, dtype=torch.int8)
    staggered = torch.from_numpy(lattice.cells.sum(1) % 2).to(torch.int8)
    found = built.log_prob(torch.stack([up, staggered, 1 - staggered]))
    assert torch.isfinite(found).all()
    assert found.dtype == torch.float64 and (found < 0).all()


@model
@states_and_symmetry
@torch.no_grad()
def test_conditionals_look_at_earlier_sites_only_and_multiply_to_the_probability(make, q, symmetry, rng):
    lattice = honeycomb(2)
    built = randomised(make(lattice, n_states=q, symmetry=symmetry))
    states = torch.randint(q, (2, 7, lattice.n_sites), generator=rng, dtype=torch.int8)
    conditionals = built.conditionals(states)
    assert conditionals.shape == (2, 7, lattice.n_sites, q)
    torch.testing.assert_close(conditionals.exp().sum(-1), torch.ones(2, 7, lattice.n_sites, dtype=torch.float64))
    seen = conditionals.gather(-1, states.long()[..., None]).squeeze(-1)
    torch.testing.assert_close(seen.sum(-1), built.log_prob(states), rtol=1e-12, atol=1e-12)
    for position in (0, 1, 4, 7):
        site, later = built.sequence[position], built.sequence[position:]
        other = states.clone()
        other[..., later] = (other[..., later] + 1) % q
        torch.testing.assert_close(built.conditionals(other)[..., site, :], conditionals[..., site, :])
        alone = torch.log_softmax(built.site_logits(other.flatten(0, 1)[:, built.sequence], position), -1)
        torch.testing.assert_close(alone.reshape(2, 7, q), conditionals[..., site, :])


@model
@states_and_symmetry
def test_draws_have_the_probabilities_that_the_model_gives_them(make, q, symmetry, rng):
    lattice = square(2)
    built = randomised(make(lattice, n_states=q, symmetry=symmetry), scale=0.7)
    count = 8_000
    drawn = built.sample(count, rng)
    assert drawn.dtype == torch.int8 and drawn.shape == (count, 4)
    code = (drawn.long() * q ** torch.arange(3, -1, -1)).sum(-1)
    seen = torch.bincount(code, minlength=q**4).double().numpy()
    expected = count * built.log_prob(every_state(4, q)).exp().detach().numpy()
    # Rare states together, so that every cell of the comparison is a Gaussian.
    rare = expected < 8
    cells = [np.append(x[~rare], x[rare].sum()) for x in (seen, expected)]
    kept = [x[cells[1] > 8] for x in cells]
    chi2 = float(((kept[0] - kept[1]) ** 2 / kept[1]).sum())
    assert stats.chi2.sf(chi2, len(kept[0]) - 1) > 1e-4
    assert torch.equal(drawn, built.sample(count, torch.Generator().manual_seed(rng.initial_seed())))


# --- symmetry ---------------------------------------------------------------------------------------------------------


@model
@torch.no_grad()
def test_reversing_all_spins_leaves_every_bit(make, rng):
    built = randomised(make(square(6))).float()
    states = torch.randint(2, (50, 36), generator=rng, dtype=torch.int8)
    assert torch.equal(built.log_prob(states), built.log_prob(1 - states))
    field = randomised(make(square(6), symmetry="none"))
    assert (field.log_prob(states) - field.log_prob(1 - states)).abs().min() > 1e-3


@model
@torch.no_grad()
def test_renaming_potts_states_leaves_the_probability(make, rng):
    states = torch.randint(3, (50, 9), generator=rng)
    shift, swap = torch.tensor([1, 2, 0]), torch.tensor([1, 0, 2])
    full = randomised(make(square(3), n_states=3))
    for name in (shift, swap):
        torch.testing.assert_close(full.log_prob(name[states]), full.log_prob(states), rtol=1e-12, atol=1e-12)
    clock = randomised(make(square(3), n_states=3, symmetry="cyclic"))
    torch.testing.assert_close(clock.log_prob(shift[states]), clock.log_prob(states), rtol=1e-12, atol=1e-12)
    assert (clock.log_prob(swap[states]) - clock.log_prob(states)).abs().max() > 0.1


@model
@torch.no_grad()
def test_the_mean_over_operations_is_invariant_normalised_and_drawn_from(make, rng):
    lattice = square(3)
    operations = lattice_operations(lattice, step=0)
    average = Symmetrised(randomised(make(lattice), scale=0.5), operations)
    states = every_state(9, 2)
    log_prob = average.log_prob(states)
    assert float(log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    for operation in operations:
        torch.testing.assert_close(average.log_prob(states[:, operation]), log_prob, rtol=1e-12, atol=1e-12)
    code = (average.sample(8_000, rng).long() * 2 ** torch.arange(8, -1, -1)).sum(-1)
    seen, expected = torch.bincount(code, minlength=512).double(), 8_000 * log_prob.exp()
    kept = expected > 8
    chi2 = ((seen - expected)[kept].square() / expected[kept]).sum()
    assert stats.chi2.sf(float(chi2), int(kept.sum())) > 1e-4


# --- a value ----------------------------------------------------------------------------------------------------------


@model
@torch.no_grad()
def test_a_model_is_made_again_from_its_description_and_weights(make, tmp_path, rng):
    built = randomised(make(square(3), n_states=3, symmetry="cyclic", order=tuple(range(8, -1, -1))))
    again = AutoregressiveModel.from_config(built.config())
    assert repr(again) == repr(built)
    states = torch.randint(3, (5, 9), generator=rng)
    AutoregressiveEnergy(built, kT=0.7).save(tmp_path / "model")
    energy = AutoregressiveEnergy.load(tmp_path / "model")
    assert energy.kT == 0.7
    torch.testing.assert_close(energy(states), -0.7 * built.log_prob(states), rtol=0, atol=0)


@model
def test_another_lattice_is_refused(make):
    built = make(square(3))
    assert built.on(square(3)) is built
    with pytest.raises(ValueError, match="is the probability on one lattice"):
        built.on(square(4))


@model
def test_the_likelihood_of_a_site_is_differentiable_in_every_weight(make):
    built = randomised(make(square(3), symmetry="none"), scale=0.3)
    (-built.log_prob(every_state(9, 2)).mean()).backward()
    dead = [name for name, p in built.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert not dead
