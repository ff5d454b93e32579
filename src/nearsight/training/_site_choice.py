"""Which sites of a run are worth an exact force: where the learned one is doubtful, and unlike each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nearsight.lattices import Lattice

SHELLS = 3
"""Neighbour shells whose mean fields describe the environment of a site."""
POOL = 20
"""Candidates per site that is chosen: those with the largest scores."""
NEAREST = 5
"""Judged sites from whose errors that of another is guessed."""
CHUNK = 2**16
"""Sites that are compared with judged ones at once."""


class Scale(NamedTuple):
    """Typical size of every feature of environments ``(feature,)``."""

    width: Tensor

    @classmethod
    def of(cls, environments: Tensor) -> Scale:
        """The standard deviation over environments ``(..., feature)``; 1 where they do not differ."""
        width = environments.flatten(0, -2).std(0)
        return cls(torch.where(width > 1e-9 * width.max(), width, 1.0))


def environments(lattice: Lattice, field: Tensor) -> Tensor:
    r"""Invariants of the surroundings of every site ``(*batch, site, feature)``, in units of the field.

    With :math:`m_{is}` the mean field on the s-th neighbour shell of i they are Φ_i², Φ_i·m_is and m_is² for the first
    three shells, and the mean of Φ_j² over the nearest neighbours: the same for fields that rotations and reflections
    of lattice, spins and time make equal. Square roots, with the sign of what they are of, keep rare large fields from
    being all that differs.
    """
    field = field.double()
    features = [_square(field)]
    for shell in range(1, min(SHELLS, len(lattice.shell_distances)) + 1):
        bonds = lattice.bonds(shell)
        i, j = torch.from_numpy(bonds.i), torch.from_numpy(bonds.j)
        count = torch.bincount(torch.cat([i, j]), minlength=lattice.n_sites).clamp_min(1).double()

        def around(values: Tensor, i: Tensor = i, j: Tensor = j, count: Tensor = count) -> Tensor:
            total = torch.zeros_like(values).index_add(-2, i, values[..., j, :]).index_add(-2, j, values[..., i, :])
            return total / count.unsqueeze(-1)

        mean = around(field)
        features += [(field * mean).sum(-1), _square(mean)]
        if shell == 1:
            features.append(around(_square(field).unsqueeze(-1)).squeeze(-1))
    found = torch.stack(features, dim=-1)
    return found.sign() * found.abs().sqrt()


def _square(field: Tensor) -> Tensor:
    return field.square().sum(-1)


def guessed_errors(environment: Tensor, judged: Tensor, errors: Tensor) -> Tensor:
    """The errors ``(site,)`` of forces in environments ``(site, feature)``, from those of judged ones ``(n,)``.

    The mean over the nearest environments ``(n, feature)``, with weights that fall as one over the distance squared.
    """
    found = []
    for part in environment.split(CHUNK):
        near = torch.cdist(part, judged).topk(min(NEAREST, len(judged)), largest=False)
        weight = 1 / (near.values.square() + 1e-6)
        found.append((weight * errors[near.indices]).sum(-1) / weight.sum(-1))
    return torch.cat(found)


def best_candidates(scores: Tensor, count: int) -> Tensor:
    """The places of the ``count`` largest scores ``(site,)``; of equal ones the first."""
    return scores.argsort(descending=True, stable=True)[:count]


def spread_out(scores: Tensor, environment: Tensor, known: Tensor, count: int) -> Tensor:
    r"""Places of ``count`` different candidates ``(count,)`` that are doubtful and unlike all that is known.

    Greedy: the next one has the largest

    .. math:: s_i \min_{j \in \mathrm{known} \cup \mathrm{chosen}} |e_i - e_j|

    of scores s ``(candidate,)`` and environments e ``(candidate, feature)``; ``known`` ``(n, feature)`` are those whose
    forces are known already, of which there may be none. With equal scores it is the farthest-point traversal, whose
    largest hole is at most twice that of the best choice of as many.

    References
    ----------
    T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985); O. Sener, S. Savarese, arXiv:1708.00489.
    """
    away = torch.full((len(scores),), torch.inf, dtype=torch.float64)
    for part in known.split(CHUNK):
        away = torch.minimum(away, torch.cdist(environment, part).amin(1)) if len(part) else away
    chosen: list[int] = []
    free = torch.ones(len(scores), dtype=torch.bool)
    for _ in range(min(count, len(scores))):
        value = scores * torch.where(away.isinf(), 1.0, away)
        place = int(torch.where(free, value, -torch.inf).argmax())
        chosen.append(place)
        free[place] = False
        away = torch.minimum(away, (environment - environment[place]).norm(dim=-1))
    return torch.tensor(chosen, dtype=torch.long)
