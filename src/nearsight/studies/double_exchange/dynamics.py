"""Do spins that move by learned torques order, and part, as spins that move by exact ones?"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.lattices import square
from nearsight.storage import rounded
from nearsight.studies.agreement import at_last, same_mean
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.number import at_number
from nearsight.studies.double_exchange.physics import (
    at_fixed_mu,
    disordered,
    exact,
    ferromagnetic_clusters,
    observe,
)
from nearsight.studies.double_exchange.train import learned
from nearsight.studies.magnets.motion import overlap, two_ensembles
from nearsight.studies.run import Run
from nearsight.studies.snapshots import BATCH


def compare(run: Run, config: Config) -> tuple[xr.Dataset, list[Verdict]]:
    """S(q, t) along Γ-X-M-Γ, orders, lengths and clusters of both ensembles, and whether their means agree."""
    options = config.comparison
    lattice = square(options.length)
    start = disordered(lattice, options.quenches, run.rng("initial spins"))
    teacher, student = exact(config, options.length), learned(run, config, options.length)
    dataset = two_ensembles(run, config, start, teacher, student, lambda spins: observe(spins, lattice))
    late = dataset.isel(time=slice(1, None))  # the initial spins are the same
    return dataset, [
        same_mean("structure factor S(q, t) along Γ-X-M-Γ", late.S, np.log),
        same_mean("antiferromagnetic order S(π, π)/N", late.staggered, np.log),
        same_mean("length L(t) of the antiferromagnet", late.L, np.log),
        same_mean("bond order ⟨S_i·S_j⟩", late.b),
        same_mean("share of ferromagnetic sites", late.ferro),
        same_mean("size of ferromagnetic clusters", late.cluster),
        same_mean("magnetisation", late.m),
        overlap(dataset),
    ]


def densities(config: Config, curves: xr.Dataset) -> tuple[xr.Dataset, list[Verdict]]:
    """Exact electrons of the given number on the spins of both ensembles: their μ, and where they are.

    ``number`` is what learned and exact spins of the last time would hold at the mean μ of the exact ones: learned
    torques know of no number, and this is the number that they keep.
    """
    length = config.comparison.length
    lattice = square(length)
    spins = curves.spins.transpose("source", "replica", "time", "site", "component")
    field = torch.from_numpy(spins.values).double()
    mu, n = at_number(config, length, field.flatten(0, 2))
    joined = ferromagnetic_clusters(field.flatten(0, 2), lattice).values > 0
    last = field[:, :, -1].flatten(0, 1)
    dims, shape = ("source", "replica", "time"), field.shape[:3]
    mean_mu = float(mu.reshape(shape)[0, :, -1].mean())
    number = torch.cat(
        [at_fixed_mu(config, length, mean_mu).electrons.electrons(part).number for part in last.split(BATCH)]
    )
    dataset = xr.Dataset(
        {
            "mu": (dims, mu.reshape(shape).numpy(), {"long_name": "chemical potential", "units": "t"}),
            "number": (dims[:2], number.reshape(shape[:2]).numpy() / lattice.n_sites),
            "n": ((*dims, "site"), n.reshape(*shape, -1).float().numpy(), {"long_name": "electrons per site"}),
            "ferro": ((*dims, "site"), joined.reshape(*shape, -1)),
        },
        coords={"source": curves.source, "time": curves.time},
        attrs={"mean_mu": mean_mu},
    )
    words = {source: inside_and_outside(dataset.isel(time=-1).sel(source=source)) for source in ("exact", "learned")}
    verdicts = [
        Verdict(
            "electrons per site in ferromagnetic clusters; outside",
            exact=in_words(words["exact"]),
            learned=in_words(words["learned"]),
            target=None if config.half_filled else "fewer inside, on both",
            passed=None if config.half_filled else all(inside < outside for inside, outside in words.values()),
            note=f"exact electrons of the given number on the spins of t = {rounded(curves.time[-1])}",
        )
    ]
    if not config.half_filled:
        verdicts += [
            same_mean("chemical potential that holds the number", dataset.mu.isel(time=slice(1, None))),
            Verdict(
                "electrons per site of the last spins at the μ of the exact ones",
                exact=at_last(dataset.number.sel(source="exact")),
                learned=at_last(dataset.number.sel(source="learned")),
                note=f"μ = {mean_mu:.4f} t; exact torques hold {config.density:.4f}, learned torques know of no number",
            ),
        ]
    return dataset, verdicts


def inside_and_outside(data: xr.Dataset) -> tuple[float, float]:
    """Mean density in ferromagnetic clusters and outside; NaN where there is no such site."""
    inside, outside = data.n.where(data.ferro), data.n.where(~data.ferro)
    return float(inside.mean()), float(outside.mean())


def in_words(densities: tuple[float, float]) -> str:
    inside, outside = densities
    return f"{'no clusters' if math.isnan(inside) else f'{inside:.3f}'}; {outside:.3f}"
