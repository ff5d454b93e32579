"""Entropy and free energy from a normalised probability, with error bars, and how good the probability is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import generator, instance, integer, number
from nearsight.hamiltonians import ClassicalModel
from nearsight.inference.autoregressive_energy import Probability
from nearsight.inference.likelihood import check_observed
from nearsight.inference.observations import Observations
from nearsight.networks import AutoregressiveModel, Symmetrised
from nearsight.sampling import mean_and_error

CHUNK = 2**14
"""Configurations evaluated at once."""
ENOUGH = 100
"""Effective draws below which an error bar of a reweighted mean is no promise."""


class Measured(NamedTuple):
    """A value and its standard error.

    :func:`entropy` and :func:`cross_entropy` return it.
    """

    value: float
    error: float


@torch.no_grad()
def entropy(model: Probability, count: int, rng: torch.Generator) -> Measured:
    r"""Entropy of a model per site, :math:`-\langle \ln P \rangle_P / N`, from ``count`` independent draws of it.

    The error is that of the draws. What the model's entropy has to do with that of the data is another question, which
    :func:`cross_entropy` bounds and :func:`reweight` answers where energies are known. √(C/N count) is the error in
    equilibrium, C the specific heat per site: 10⁻⁴ needs two million draws of 8 × 8 Ising spins at the critical point.
    """
    _checked(model)
    size = integer(count, "count", least=2)
    parts = [model.log_prob(model.sample(min(CHUNK, size - k), rng)) for k in range(0, size, CHUNK)]
    values = -torch.cat(parts).numpy(force=True) / model.lattice.n_sites
    return Measured(float(values.mean()), float(values.std(ddof=1) / np.sqrt(size)))


@torch.no_grad()
def cross_entropy(model: Probability, observations: Observations) -> Measured:
    r"""Mean of -ln P per site over observations that the model was not fitted to, an upper bound of their entropy,

    .. math:: -\langle \ln P \rangle_{\text{data}} / N = s + D(\text{true} \,\|\, P) / N, \qquad D \ge 0 .

    The error counts observations by their autocorrelation, chain by chain. Missing sites as in :func:`fit_likelihood`,
    of an autoregressive model; s is then the entropy of the sites that were seen, over all N.
    """
    _checked(model)
    instance(observations, Observations, "observations")
    alone = model.model if isinstance(model, Symmetrised) else model
    check_observed(alone, observations)
    if observations.missing is not None and isinstance(model, Symmetrised):
        raise ValueError("The operations of a Symmetrised model move missing sites; measure its model instead.")
    values = np.concatenate(
        [
            _log_prob(model, observations, slice(start, start + CHUNK)).numpy(force=True)
            for start in range(0, len(observations), CHUNK)
        ]
    )
    return Measured(*_chain_mean(-values / model.lattice.n_sites, np.asarray(observations.chain)))


def _log_prob(model: Probability, observations: Observations, rows: slice) -> Tensor:
    states = observations.states(rows)
    if observations.missing is None:
        return model.log_prob(states)
    assert isinstance(model, AutoregressiveModel)
    missing = torch.from_numpy(np.array(observations.missing[rows]))[:, model.sequence]
    return (model._terms(states[:, model.sequence]) * ~missing).sum(-1, dtype=torch.float64)


def _chain_mean(values: np.ndarray, chain: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of a series of several chains, each with its rows in the order of time."""
    order = np.argsort(chain, kind="stable")
    lengths = np.unique(chain, return_counts=True)[1]
    values = values[order]
    mean = float(values.mean())
    if lengths.min() < 4:
        # Chains too short to show their memory are independent of each other.
        starts = np.cumsum(lengths) - lengths
        sums = np.add.reduceat(values - mean, starts)
        if len(lengths) < 2:
            raise ValueError(f"An error bar needs 4 observations of a chain, or several chains; got {len(values)}.")
        return mean, float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(values))
    ends = np.cumsum(lengths)
    table = np.stack([values[end - lengths.min() : end] for end in ends])
    _, error = mean_and_error(table)
    return mean, error * float(np.sqrt(table.size / len(values)))


@dataclass(frozen=True)
class Reweighted:
    r"""Exact thermodynamics from the draws of an approximate probability, per site, with standard errors.

    ``free_energy`` F, ``energy`` U and ``entropy`` S. ``effective`` is the fraction of draws that count,
    :math:`(\sum w)^2 / (n \sum w^2)`; ``acceptance`` that of the Metropolis chain that proposes independent draws of
    the model and accepts them by the energies: one for a perfect model.

    :func:`reweight` returns it.
    """

    free_energy: Measured
    energy: Measured
    entropy: Measured
    effective: float
    acceptance: float


@torch.no_grad()
def reweight(
    model: Probability,
    energy: ClassicalModel | Callable[[Tensor], Tensor],
    kT: float,
    count: int,
    rng: torch.Generator,
) -> Reweighted:
    r"""F, U and S at kT of a model whose energies are known, free of the error of P,

    .. math:: w = \frac{e^{-E/kT}}{P}, \qquad e^{-NF/kT} = \langle w \rangle_P, \qquad
              NU = \frac{\langle w E \rangle_P}{\langle w \rangle_P}, \qquad S = \frac{U - F}{kT},

    from ``count`` independent draws of P, and the check of P itself: its effective fraction of draws and the acceptance
    rate of the independence sampler. Errors are those of the draws, to first order in 1/√count, about
    √(var w / count) kT/N for F: far below those of simulations of the same length, since no fluctuation of E enters.

    A configuration that P all but excludes may never be drawn, and no draw shows that it is missing:
    :func:`cross_entropy` on data does. ``ArithmeticError`` where fewer than 100 effective draws are left.

    Parameters
    ----------
    energy: a classical model, or a function of states ``(batch, site)`` to energies ``(batch,)``.
    kT: temperature, which may differ from that of the observations as long as the draws overlap.
    """
    _checked(model)
    kT = number(kT, "kT", above=0)
    count = integer(count, "count", least=2)
    generator(rng)
    evaluate = energy.energy if isinstance(energy, ClassicalModel) else energy
    if not callable(evaluate):
        raise TypeError(f"energy must be a classical model or a function of states, got {type(energy).__name__}.")
    energies, logs = [], []
    for start in range(0, count, CHUNK):
        states = model.sample(min(CHUNK, count - start), rng)
        energies.append(evaluate(states).double().numpy(force=True))
        logs.append(model.log_prob(states).numpy(force=True))
    return _reweighted(np.concatenate(energies), np.concatenate(logs), kT, model.lattice.n_sites)


def _reweighted(energies: np.ndarray, log_prob: np.ndarray, kT: float, sites: int) -> Reweighted:
    exponent = -energies / kT - log_prob
    shift = exponent.max()
    weight = np.exp(exponent - shift)
    log_z = float(shift + np.log(weight.mean()))
    weight /= weight.mean()
    n = len(weight)
    effective = 1.0 / float((weight**2).mean())
    if effective * n < ENOUGH:
        raise ArithmeticError(
            f"Of {n} draws only {effective * n:.1f} count: the model is not the distribution of these energies at "
            f"kT = {kT:g}. Fit it further, come closer to the temperature of its observations, or draw more."
        )
    mean = float((weight * energies).mean())
    by_z, by_energy = weight - 1.0, weight * (energies - mean) / kT  # influence of a draw on ln Z and on U/kT

    def error(influence: np.ndarray) -> float:
        return float(influence.std(ddof=1) / np.sqrt(n)) / sites

    rising = np.sort(weight)
    # Both chains' draws have weights from this sample: the mean over pairs of min(w, w').
    acceptance = float((rising * (2.0 * np.arange(n)[::-1] + 1.0)).sum() / n**2)
    return Reweighted(
        Measured(-kT * log_z / sites, kT * error(by_z)),
        Measured(mean / sites, kT * error(by_energy)),
        Measured((mean / kT + log_z) / sites, error(by_energy + by_z)),
        effective,
        acceptance,
    )


def _checked(model: Probability) -> None:
    instance(model, (AutoregressiveModel, Symmetrised), "model")
