"""Inverse methods of mean-field theory: couplings from one inversion of the matrix of correlations."""

from __future__ import annotations

import numpy as np

from nearsight.inference._blocks import Blocks, long_run
from nearsight.inference._conditional import Estimate
from nearsight.inference.terms import Terms

_PARTS = 64
"""Parts of the observations that are left out in turn, for the error bars."""


def mean_field(blocks: Blocks, terms: Terms, order: str) -> Estimate:
    r"""Pair couplings θ = J/kT of Ising spins from magnetisations m and connected correlations C,

    .. math::
        \theta_{ij} &= -c \qquad\text{("mean-field")}, \quad c = (C^{-1})_{ij}, \\
        c &= -\theta_{ij} - 2 \theta_{ij}^2 m_i m_j \qquad\text{("tap")}, \\
        \theta_{ij} &= -\operatorname{artanh}\Big[\tfrac{r}{2c} - m_i m_j
            - \tfrac{1}{2c}\sqrt{(r - 2 m_i m_j c)^2 - 4 c^2}\Big], \quad
            r = \sqrt{1 + 4 (1 - m_i^2)(1 - m_j^2) c^2} \qquad\text{("bethe")},

    averaged over the bonds of a term. They are expansions in weak couplings (Bethe: exact on trees) and biased beyond;
    the jackknife errors are those of sampling alone. Without magnetisation "tap" is "mean-field".

    References
    ----------
    H. J. Kappen, F. B. Rodríguez, Neural Comput. 10, 1137 (1998); H. C. Nguyen, J. Berg, J. Stat. Mech. P03004 (2012).
    """
    if terms.n_states != 2 or any(t.kind != "ising" for t in terms.terms):
        raise ValueError(
            f"{order} finds pair couplings of Ising spins alone; for these terms take 'pseudo-likelihood'."
        )
    n, edges = terms.lattice.n_sites, blocks.edges
    parts = min(_PARTS, len(blocks))
    part_of = np.arange(len(blocks)) * parts // len(blocks)
    first, second, size = np.zeros((parts, n)), np.zeros((parts, n, n)), np.zeros(parts)
    for states, block in blocks.rows():
        spins = 2.0 * states - 1.0
        where = part_of[block]
        for p in np.unique(where):
            s = spins[where == p].astype(np.float32)
            first[p] += s.sum(0, dtype=float)
            second[p] += s.T @ s  # whole numbers up to 2^24: exact
            size[p] += len(s)
    full = _couplings(first.sum(0), second.sum(0), float(edges[-1]), terms, order)
    left_out = np.stack(
        [
            _couplings(first.sum(0) - first[p], second.sum(0) - second[p], float(edges[-1] - size[p]), terms, order)
            for p in range(parts)
        ]
    )
    influence = (full - left_out) * (1 - size / edges[-1])[:, None]
    chain = blocks.chain[np.searchsorted(part_of, np.arange(parts))]
    return Estimate(full, long_run(influence, chain))


def _couplings(first: np.ndarray, second: np.ndarray, number: float, terms: Terms, order: str) -> np.ndarray:
    m = first / number
    try:
        inverse = np.linalg.inv(second / number - np.outer(m, m))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"The matrix of correlations has no inverse: {number:.0f} observations do not move all "
            f"{len(m)} sites independently. Observe more."
        ) from None
    if order == "mean-field":
        theta = -inverse
    else:
        mm = np.outer(m, m)
        free = np.outer(1 - m**2, 1 - m**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            if order == "tap":
                # The root that goes to -c where m goes to 0; where there is none, its real part.
                theta = -2 * inverse / (1 + np.sqrt(np.maximum(1 - 8 * mm * inverse, 0.0)))
            else:
                r = np.sqrt(1 + 4 * free * inverse**2)
                inside = np.maximum((r - 2 * mm * inverse) ** 2 - 4 * inverse**2, 0.0)
                theta = -np.arctanh((r - 2 * mm * inverse - np.sqrt(inside)) / (2 * inverse))
    return np.array([theta[t.clusters[:, 0], t.clusters[:, 1]].mean() for t in terms.terms])
