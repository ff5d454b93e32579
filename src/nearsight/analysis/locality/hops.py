"""The range of the energies of hops: their response to distant particles, and what is decided beyond a radius."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality.response import Response, distances, shells
from nearsight.analysis.locality.truncation import checked, in_turn, replaced
from nearsight.lattices import Lattice
from nearsight.moves import Hops, LearnedMoveEnergies, MoveEnergies


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
    if fields.ndim != 3 or not len(fields):
        raise ValueError(f"fields must have shape (sample, site, 1), got {tuple(fields.shape)}.")
    sources = min(sources, lattice.n_sites)
    if sources < 1:
        raise ValueError(f"sources must be at least 1, got {sources}.")
    fields = fields.double()
    chosen = torch.stack([torch.randperm(lattice.n_sites, generator=rng)[:sources] for _ in fields])
    sites = chosen.unique().tolist()
    r, label = shells(distances(lattice, sites), lattice.tolerance)
    shell_of = dict(zip(sites, label, strict=True))
    first, last = ends(hops)
    shape = (len(fields), len(r))
    square, norm, signed, pairs = (np.zeros(shape) for _ in range(4))
    column, weight = np.zeros((len(fields), sources)), np.zeros((len(fields), sources))
    for s, field in enumerate(fields):
        turned = field.repeat(sources, 1, 1)
        turned[torch.arange(sources), chosen[s]] = 1.0 - field[chosen[s]]
        before, after = energies.differences(field), energies.differences(turned)
        for k, j in enumerate(chosen[s].tolist()):
            # Hops of the particle itself, or onto it, are possible only once.
            both = torch.isfinite(before) & torch.isfinite(after[k])
            chi = (after[k] - before)[both].numpy() * (1.0 - 2.0 * float(field[j, 0]))
            at = np.minimum(shell_of[j][first], shell_of[j][last])[both.numpy()]
            for total, values in ((square[s], chi**2), (norm[s], np.abs(chi)), (signed[s], chi), (pairs[s], 1.0)):
                np.add.at(total, at, values)
            column[s, k], weight[s, k] = chi.sum(), np.abs(chi).sum()
    seen = pairs.sum(0) > 0
    if not seen.any():
        raise ValueError("No hop is possible in these fields; give some with particles and empty sites next to them.")
    matrix = ("sample", "r", "a", "b")
    data = xr.Dataset(
        {
            "square": (matrix[:2], square[:, seen]),
            "norm": (matrix[:2], norm[:, seen]),
            "signed": (matrix, signed[:, seen, None, None]),
            "pairs": (matrix[:2], pairs[:, seen]),
            "column": (("sample", "source", "a", "b"), column[..., None, None]),
            "weight": (("sample", "source", "a", "b"), weight[..., None, None]),
        },
        coords={"r": ("r", r[seen], {"long_name": "distance", "units": "a"})},
    )
    return Response(lattice, data)


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


def ends(hops: Hops) -> tuple[np.ndarray, np.ndarray]:
    """Where every move begins and ends ``(move,)``; at its beginning if it leads nowhere."""
    first = np.repeat(np.arange(hops.lattice.n_sites), hops.directions)
    last = hops.targets.reshape(-1)
    return first, np.where(last >= 0, last, first)


def nearer_end(lattice: Lattice, hops: Hops, moves: np.ndarray) -> np.ndarray:
    """Distance of every site from the nearer end of each of some moves ``(move, site)``."""
    first, last = (end[moves] for end in ends(hops))
    return np.minimum(distances(lattice, first.tolist()), distances(lattice, last.tolist()))


def doubled_moves(energies: MoveEnergies) -> MoveEnergies:
    """The energies in double precision: themselves, or a copy if their parameters are single."""
    if isinstance(energies, LearnedMoveEnergies) and energies.dtype != torch.float64:
        return copy.deepcopy(energies).double().eval()
    return energies


def _one_of(possible: Tensor, rng: torch.Generator) -> Tensor:
    moves = torch.nonzero(possible)[:, 0]
    return moves[torch.randint(len(moves), (), generator=rng)]
