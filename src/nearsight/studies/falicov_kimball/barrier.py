"""Stage 5: why growth freezes: the barrier between the sublattices that frozen clusters raise for an f electron."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.parallel import threads
from nearsight.studies import parallel
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.physics import falicov_kimball
from nearsight.studies.run import Run

MAPS = 2


def barrier(run: Run, config: Config) -> None:
    """Exact potentials of a test particle in arrangements of one cluster in nine blocks."""
    options = config.barrier
    model = falicov_kimball(config, options.length)
    # The nine clusters hold as many f electrons as the quenches have, but for the one that is tested.
    size = max(2, round((config.f_density * model.lattice.n_sites - 1) / 9))
    patch = analysis.grow_checkerboard(model.lattice, size, rng=run.rng("patch"), span=options.length // 3 - 1)
    polarity = magnetised(options.configurations, run.rng("polarity"))
    arranged = analysis.block_arrangements(
        model.lattice, patch, rng=run.rng("blocks"), count=options.configurations, polarity=polarity
    )
    number = config.filling * model.lattice.n_sites
    tasks = [(config, row, number) for row in arranged.n.values]
    V = np.stack(
        parallel.run(potential, tasks, seconds=1.3 * len(tasks) * (options.length / 30) ** 6, title="barriers")
    )
    dims = ("configuration",)
    sigma = analysis.sublattice_field(arranged.n, model.lattice)
    measured = xr.Dataset(
        {
            "barrier": analysis.staggered_barrier(V, model.lattice, dims=dims),
            "L": analysis.correlation_length(analysis.structure_factor(sigma, model.lattice), model.lattice),
            "phi": analysis.polarity(sigma),
            "M": arranged.M,
        }
    )
    shape = (MAPS, *model.lattice.shape)
    grids = {"V": V[:MAPS], "n": arranged.n.values[:MAPS], "sigma": sigma.values[:MAPS]}
    potentials = xr.Dataset({k: (("configuration", "x", "y"), v.reshape(shape)) for k, v in grids.items()})
    run.record("barrier", measured)
    run.record("potential", potentials)
    run.judge("barrier", verdicts(run, measured))


def potential(config: Config, row: np.ndarray, number: float) -> np.ndarray:
    """V of one configuration ``(site,)``."""
    with threads(1):
        model = falicov_kimball(config, config.barrier.length)
        return analysis.particle_potential(row, model, kT=config.kT, number=number).V.values


def magnetised(count: int, rng: torch.Generator) -> np.ndarray:
    """Sublattices of the nine clusters: every |M| of 1, 3, 5, 7 equally often, either sign, blocks at random."""
    signs = np.ones((count, 9))
    for k in range(count):
        down = torch.randperm(9, generator=rng)[: 1 + k % 4].numpy()  # M = 7, 5, 3, 1
        signs[k, down] = -1
        signs[k] *= 2 * int(torch.randint(2, (), generator=rng)) - 1
    return signs


def verdicts(run: Run, measured: xr.Dataset) -> list[Verdict]:
    """Whether the barrier rises with order and with the size of the super-clusters."""
    phi, gap = np.abs(measured.phi.values), measured.barrier.values
    law = analysis.linear_law(phi, gap, rng=run.rng("line"))
    finite = np.isfinite(measured.L.values)
    by_length = analysis.linear_law(measured.L.values[finite], gap[finite], rng=run.rng("line", "length"))
    means = {int(m): gap[np.abs(measured.M.values) == m].mean() for m in sorted({*np.abs(measured.M.values)})}
    return [
        Verdict(
            "staggered barrier ΔV_AB against the order |φ|",
            exact=f"slope {law.slope:.3g} ± {law.slope_sigma:.1g}",
            paper="linear",
            target="rises by three errors",
            passed=law.slope > 3 * law.slope_sigma,
            note=str(law),
        ),
        Verdict(
            "staggered barrier against the length of super-clusters",
            exact=f"r = {by_length.correlation:.2f} ± {by_length.correlation_sigma:.1g}",
            paper="rises with L",
            note=str(by_length),
        ),
        Verdict(
            "mean barrier by block magnetisation |M|",
            exact="; ".join(f"{m}: {v:.3g}" for m, v in means.items()),
            paper="four groups, |M| = 1, 3, 5, 7",
        ),
    ]
