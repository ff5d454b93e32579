"""Nested sampling as the referee of proposals."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from nearsight._validation import integer, number
from nearsight.gravity.likelihood import Likelihood
from nearsight.gravity.posterior import Posterior


def nested(
    likelihood: Likelihood, *, live: int = 500, dlogz: float = 0.1, seed: int = 0, progress: bool = False
) -> Posterior:
    """The posterior by nested sampling with dynesty (extra ``gw``): no proposal, tens of thousands of likelihoods.

    ``live`` points are moved by random walks until at most ``dlogz`` of ln Z is left. The error of the evidence is what
    dynesty estimates from one run. Weights are those of nested sampling: samples are not independent, and
    :attr:`Posterior.effective_error` does not hold.

    References
    ----------
    J. S. Speagle, Mon. Not. R. Astron. Soc. 493, 3132 (2020).
    """
    try:
        import dynesty
    except ImportError as error:
        raise ImportError("Nested sampling needs dynesty: pip install 'nearsight[gw]'.") from error
    live, dlogz = integer(live, "live", least=20), number(dlogz, "dlogz", above=0.0)
    prior = likelihood.prior

    def theta(u: np.ndarray) -> np.ndarray:
        return prior.from_unit(torch.from_numpy(u)[None])[0].numpy()

    def log_likelihood(x: np.ndarray) -> float:
        return float(likelihood(torch.from_numpy(x)[None]))

    rng = np.random.default_rng(integer(seed, "seed", least=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = dynesty.NestedSampler(
            log_likelihood, theta, len(prior.names), nlive=live, rstate=rng, sample="rwalk", bound="multi"
        )
        sampler.run_nested(dlogz=dlogz, print_progress=progress)
    found = sampler.results
    return Posterior(
        prior,
        torch.from_numpy(np.asarray(found.samples)),
        torch.from_numpy(np.asarray(found.logwt)),
        float(found.logz[-1]),
        float(found.logzerr[-1]),
        int(np.sum(found.ncall)),
    )
