"""How far students and electrons see."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice, torus_distance
from nearsight.studies.magnets.config import MagnetConfig
from nearsight.studies.magnets.students import learned
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split

SHARE = 0.95
"""Share of the response that lies within the effective receptive field."""


def receptive_field(run: Run, config: MagnetConfig, electrons: ForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """|∂H_i/∂S_j| of normal parts by the distance of i and j, learned and exact, on test snapshots; spread over sites.

    The field of one spin is changed along its two normals, and all others are asked; central differences.
    """
    test = split(run, config.fit, config.seed).test
    rng = run.rng("receptive field")
    lattice = test.lattice
    chosen = torch.randperm(len(test), generator=rng)[: config.comparison.receptive_fields]
    sources = torch.randint(lattice.n_sites, (len(chosen),), generator=rng)
    by_source, maps = {}, {}
    for name, forcefield in (("exact", electrons), ("learned", learned(run, config, lattice))):
        chi = [responses(forcefield, test.field[k], int(j)) for k, j in zip(chosen, sources, strict=True)]
        rings = [by_distance(lattice, x, int(j)) for x, j in zip(chi, sources, strict=True)]
        by_source[name] = np.mean([ring for _, ring in rings], axis=0)
        maps[name] = np.mean([around(lattice, x, int(j)) for x, j in zip(chi, sources, strict=True)], axis=0)
    names = list(by_source)
    r = rings[0][0]
    total = np.stack([by_source[name] for name in names])
    share = total.cumsum(-1) / total.sum(-1, keepdims=True)
    dataset = xr.Dataset(
        {
            "share": (("source", "r"), share, {"long_name": "share of the response within r"}),
            "response": (("source", "x", "y"), np.stack([maps[name] for name in names]), {"units": "t"}),
        },
        coords={"source": names, "r": ("r", r, {"long_name": "distance", "units": "a"})},
    )
    radius = {name: float(r[np.argmax(share[k] >= SHARE)]) for k, name in enumerate(names)}
    return dataset, [
        Verdict(
            f"effective receptive field: radius of {100 * SHARE:.0f} % of the response",
            exact=radius["exact"],
            learned=radius["learned"],
            paper="about 6 a on the triangular lattice",
            note=f"Σ |∂H_i/∂S_j| of {len(chosen)} spins in unseen configurations of {lattice!r}",
        )
    ]


def responses(forcefield: ForceField, field: Tensor, source: int) -> Tensor:
    """Norm of the change of the normal part of H_i on all sites i when spin j turns ``(site,)``."""
    return analysis.spin_derivative(forcefield, field, [source])[0][0].square().sum((0, -1)).sqrt()


def by_distance(lattice: Lattice, chi: Tensor, source: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the source and the sum of the responses at each."""
    r = torus_distance(lattice.positions - lattice.positions[source], lattice)
    shells, index = np.unique(np.round(r, 6), return_inverse=True)
    return shells, np.bincount(index, chi.numpy(), len(shells))


def around(lattice: Lattice, chi: Tensor, source: int) -> np.ndarray:
    """The responses on the cells of the torus, the source in the middle ``(x, y)``."""
    grid = chi.numpy().reshape(lattice.shape)
    shift = [n // 2 - int(c) for n, c in zip(lattice.shape, lattice.cells[source], strict=True)]
    return np.roll(grid, shift, axis=(0, 1))
