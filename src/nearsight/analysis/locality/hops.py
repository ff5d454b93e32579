"""The range of the energies of hops: their response to distant particles, and what is decided beyond a radius."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality._range import doubled_moves, ends, nearer_end
from nearsight.analysis.locality._replacement import checked, in_turn, replaced
from nearsight.analysis.locality.response import Response, _PairSums
from nearsight.moves import MoveEnergies


def hop_response(energies: MoveEnergies, fields: Tensor, *, rng: torch.Generator, sources: int = 4) -> Response:
    r"""How the energy of a hop depends on whether there is a particle at a distance,

    .. math:: \chi_{a,j} = \Delta E_a[n_j = 1] - \Delta E_a[n_j = 0] ,

    for all hops a that are possible either way, by the distance of site j from the nearer end of the hop. It is the
    third difference of the energy; pair interactions that end at some distance have none beyond.

    Parameters
    ----------
    fields: typical occupations ``(sample, site, 1)``.
    rng: chooses the sites j; sources: how many in every field.

    Returns
    -------
    A :class:`Response` with one component. The particle comes or goes at the same number of electrons, if that is
    fixed. Costs one evaluation of all hops per field and source.
    """
    hops, lattice, energies = energies.hops, energies.lattice, doubled_moves(energies)
    hops.check(fields)
    sums = _PairSums(lattice, fields, 1, sources, rng)
    fields = fields.double()
    first, last = ends(hops)
    for s, field in enumerate(fields):
        sites = sums.sites[s]
        turned = field.repeat(len(sites), 1, 1)
        turned[torch.arange(len(sites)), sites] = 1.0 - field[sites]
        before, after = energies.differences(field), energies.differences(turned)
        for k, j in enumerate(sites.tolist()):
            # Hops of the particle itself, or onto it, are possible only once.
            both = torch.isfinite(before) & torch.isfinite(after[k])
            chi = (after[k] - before)[both].numpy() * (1.0 - 2.0 * float(field[j, 0]))
            nearer = np.minimum(sums.shell_of[j][first], sums.shell_of[j][last])
            sums.add(s, k, nearer[both.numpy()], chi[:, None, None])
    if not sums.pairs.any():
        raise ValueError("No hop is possible in these fields; give some with particles and empty sites next to them.")
    return sums.response()


def hop_truncation(
    energies: MoveEnergies,
    fields: Tensor,
    radii: Sequence[float],
    *,
    rng: torch.Generator,
    samples: int = 64,
    groups: np.ndarray | None = None,
    candidates: int = 64,
    elsewhere: Tensor | None = None,
) -> xr.Dataset:
    """How much of the energy of a hop is decided farther than R from both of its ends.

    :func:`nearsight.analysis.truncation` for hops, parameters and result as there: everything beyond R is replaced by
    what lies there in another configuration, of ``candidates`` the one that fits best on the rim, and of those that fit
    equally well the one that changes the number of particles least. Every sample is one possible hop.
    """
    hops, lattice, energies = energies.hops, energies.lattice, doubled_moves(energies)
    hops.check(fields)
    cutoffs, source = checked(fields, radii, samples, groups, candidates, elsewhere)
    fields = fields.double()
    chosen = in_turn(len(fields), samples, rng)
    possible = hops.possible(fields)
    if not bool(possible.any(-1).all()):
        raise ValueError("No hop is possible in some of these fields; leave them out.")
    moves = torch.stack([_one_of(possible[s], rng) for s in chosen])
    used, place = chosen.unique(return_inverse=True)
    true = energies.differences(fields[used])[place, moves]
    r = nearer_end(lattice, hops, moves.numpy())
    pools = [source.pool(lattice, int(s), candidates, rng) for s in chosen]

    def change(mixed: Tensor) -> Tensor:
        return (energies.differences(mixed)[torch.arange(samples), moves] - true)[:, None]

    return replaced(
        change, fields[chosen], pools, torch.from_numpy(r), cutoffs, spacing=lattice.spacing, rng=rng, conserved=True
    )


def _one_of(possible: Tensor, rng: torch.Generator) -> Tensor:
    moves = torch.nonzero(possible)[:, 0]
    return moves[torch.randint(len(moves), (), generator=rng)]
