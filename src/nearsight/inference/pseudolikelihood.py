"""Maximum pseudo-likelihood: every site given all others."""

from __future__ import annotations

import numpy as np

from nearsight.inference._environments import Local, Records


def pseudolikelihood(records: Records, theta: np.ndarray) -> Local:
    r"""Minus the logarithm of the probability of the state of a site in its surroundings,

    .. math:: -\ln P(a_i \mid a_{\setminus i}) = \ln \sum_a e^{\theta \cdot f_i(a)} - \theta \cdot f_i(a_i), \qquad
              \theta = J / kT,

    where f(a) is what the clusters of the site count when its state is a. No partition function enters. The sum over
    all sites and observations is convex in θ, and its minimum is consistent.

    References
    ----------
    J. Besag, J. R. Stat. Soc. B 36, 192 (1974); E. Aurell, M. Ekeberg, Phys. Rev. Lett. 108, 090201 (2012).
    """
    f, row = records.features, np.arange(len(records.own))
    energy = f @ theta
    top = energy.max(1, keepdims=True)
    odds = np.exp(energy - top)
    total = odds.sum(1, keepdims=True)
    p = odds / total
    objective = np.log(total[:, 0]) + top[:, 0] - energy[row, records.own]
    around = f - np.einsum("na,nak->nk", p, f)[:, None]
    root = np.sqrt(p * records.weight[:, None])[..., None]
    flat = (around * root).reshape(-1, f.shape[-1])
    return Local(objective, around[row, records.own], flat.T @ flat)
