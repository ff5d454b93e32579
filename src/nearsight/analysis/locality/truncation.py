"""How much of a force, or of the energy of a hop, is decided beyond a radius: the error of every local model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality._range import Model, distances, doubled, forces, nearer_end
from nearsight.analysis.locality._replacement import checked, in_turn, replaced
from nearsight.analysis.spins.intensities import peak_length
from nearsight.analysis.structure._reciprocal import momentum_dims
from nearsight.analysis.structure.brillouin import star
from nearsight.analysis.structure.intensities import structure_factor
from nearsight.analysis.structure.lengths import correlation_length
from nearsight.fields import tangent
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies


def truncation(
    model: Model,
    fields: Tensor,
    radii: Sequence[float],
    *,
    rng: torch.Generator,
    samples: int = 64,
    groups: np.ndarray | None = None,
    candidates: int = 64,
    spins: bool = False,
    turn: bool = False,
    elsewhere: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    r"""How much of the force at a site, or of the energy of a hop, is decided beyond a radius R.

    A model with cutoff R can at best give the mean of the force over all that may lie beyond R, and is then wrong by

    .. math::
        \varepsilon(R) = \sqrt{\left\langle \mathrm{Var}(F_i \mid \Phi_{r \le R}) \right\rangle}
                       = \sqrt{\tfrac12 \left\langle (F_i[\Phi_{r \le R}, \Phi'_{r > R}] - F_i[\Phi])^2 \right\rangle},

    where Φ' continues the same neighbourhood in another way, as probable as the first. Such continuations are not to be
    had, so that they are approximated: of ``candidates`` other fields, each shifted by a random lattice vector, the one
    is taken that fits best on the outermost ring of width one inside R, and replaces everything beyond R. Along open
    axes, and at arbitrary positions, nothing is shifted: candidates are other fields on the same sites. A seam
    remains, which makes ε(R) an estimate from above for ordered or correlated fields; for fields without correlations
    it is exact with any number of candidates. Of a hop R is the distance from the nearer of its ends, every sample is
    one possible hop, and of candidates that fit equally well that is taken which changes the number of particles least.

    Parameters
    ----------
    model: a force field, or energies of hops of occupations.
    fields: the ensemble ``(sample, site, component)``.
    radii: cutoffs R, in units of a. Near half the period of the lattice ε(R) is about that of the torus, which has no
        beyond.
    samples: how many sites of the ensemble are tried.
    groups: a label for every field, such as its trajectory: continuations come from fields with another label.
    candidates: 1 for a far field that is independent of the near one.
    spins: the fields are unit spins, of which only the part of the force normal to them counts.
    turn: continuations are turned and mirrored, all their spins alike, so that they fit best (Kabsch); for forces that
        turn with the spins, without spin-orbit coupling or a field.
    elsewhere: more fields, of still other trajectories, from which continuations may come.

    References
    ----------
    W. Kabsch, Acta Cryst. A 32, 922 (1976), for the best rotation of one set of vectors onto another.

    Returns
    -------
    ``floor`` ``(radius,)``, rms over samples and components, ``error``, its bootstrap error, ``largest``, the largest
    change of any force over √2, and the ``change`` of every sample ``(radius, sample, component)``. Costs one
    evaluation of the force field per sample and radius, and one per sample.
    """
    lattice, model, hops = model.lattice, doubled(model), isinstance(model, MoveEnergies)
    if isinstance(model, MoveEnergies):
        model.hops.check(fields)
    cutoffs, source = checked(fields, radii, samples, groups, candidates, elsewhere)
    fields = fields.double()
    chosen = in_turn(len(fields), samples, rng)
    if isinstance(model, MoveEnergies):
        places = _possible_moves(model.hops.possible(fields), chosen, rng)
        r = nearer_end(lattice, model.hops, places.numpy())
    else:
        places = torch.randint(lattice.n_sites, (samples,), generator=rng)
        r = distances(lattice, places.tolist())

    def ask(fields: Tensor) -> Tensor:
        return model.differences(fields)[..., None] if isinstance(model, MoveEnergies) else forces(model, fields)

    used, place = chosen.unique(return_inverse=True)
    true = ask(fields[used])[place, places]

    def change(mixed: Tensor) -> Tensor:
        found = ask(mixed)[torch.arange(samples), places] - true
        return tangent(found, fields[chosen, places]) if spins else found

    pools = [source.pool(lattice, int(s), candidates, rng) for s in chosen]
    # The nearest of a cloud are nearer than most: a ring of that width may hold no site.
    spacing = (lattice.volume / lattice.n_sites) ** (1 / lattice.dim) if lattice.disordered else lattice.spacing
    settings: dict[str, Any] = dict(spacing=spacing, conserved=hops, turn=turn, progress=progress)
    return replaced(change, fields[chosen], pools, torch.from_numpy(r), cutoffs, rng=rng, **settings)


def _possible_moves(possible: Tensor, chosen: Tensor, rng: torch.Generator) -> Tensor:
    """One possible move of each of the chosen fields."""
    if not bool(possible.any(-1).all()):
        raise ValueError("No hop is possible in some of these fields; leave them out.")
    several = (torch.nonzero(possible[s])[:, 0] for s in chosen)
    return torch.stack([moves[torch.randint(len(moves), (), generator=rng)] for moves in several])


def ensemble_length(fields: Tensor, lattice: Lattice, *, spins: bool = False) -> float:
    """Correlation length of an ensemble ``(sample, site, component)``: second moment of S(k) about its own maximum.

    The mean of every component over the ensemble is subtracted, and components are summed. See
    :func:`nearsight.analysis.correlation_length` for the convention, in which a domain measures some 2πL, and noise has
    the length of the zone, 0.39 a on the square lattice: nothing is correlated at or below 1.1 times that, and the
    answer is then zero.

    With ``spins`` it is the first moment of the spin structure factor about all wave vectors that symmetry makes
    equivalent to the maximum, :func:`nearsight.analysis.peak_length`: spirals and skyrmions have several peaks, and
    S falls about each of them too slowly for a second moment that would not be one of the background.
    """
    centred = fields.double() - fields.double().mean((0, 1))
    S = structure_factor(centred.movedim(-1, 0), lattice, dims=("component", "sample")).sum("component").mean("sample")
    if float(S.sum()) <= 0:
        return float("inf")  # the same uniform field throughout
    names = momentum_dims(S, lattice)
    peak = S.isel(S.argmax(names))
    Q = [float(peak.coords[name]) for name in ("kx", "ky", "kz")[: lattice.dim]]

    def length(intensity: xr.DataArray) -> float:
        if spins:
            return float(peak_length(intensity, lattice, star(Q, lattice)))
        return float(correlation_length(intensity, lattice, about=Q, moment=2))

    found = length(S)
    return found if found > 1.1 * length(xr.ones_like(S)) else 0.0
