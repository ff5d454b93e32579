"""Stage 5: a quench that no exact solver can follow."""

from __future__ import annotations

from functools import partial

import torch
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.lattices import square
from nearsight.storage import rounded
from nearsight.studies.agreement import at_last
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.dynamics import in_words, inside_and_outside
from nearsight.studies.double_exchange.physics import (
    at_fixed_mu,
    bond_order,
    density,
    disordered,
    ferromagnetic_clusters,
    observe,
)
from nearsight.studies.double_exchange.train import learned
from nearsight.studies.magnets.motion import follow, growth
from nearsight.studies.run import Run

TOL = 1e-4
"""Largest error of the densities of the maps."""


def simulate(run: Run, config: Config) -> None:
    """Quench random spins of a large lattice, and put exact electrons on a few of its textures."""
    large = config.large
    lattice = square(large.length)
    student = learned(run, config, large.length)
    start = disordered(lattice, large.replicas, run.rng("large", "random"))
    measure = partial(observe, lattice=lattice)
    quench = follow(run, config, "quench", student, start, large.duration, large.records, measure)
    run.record("quench", quench)
    maps = electrons(config, quench, float(run.observable("densities").attrs["mean_mu"]))
    run.record("maps", maps)
    run.judge("simulate", verdicts(run, config, quench, maps))


def electrons(config: Config, quench: xr.Dataset, mu: float) -> xr.Dataset:
    """Bond order and exact electrons of the textures that were kept ``(shown, site)``, at the μ of exact quenches."""
    field = torch.from_numpy(quench.spins.values).double()
    lattice = square(config.large.length)
    exact = at_fixed_mu(config, config.large.length, mu, tol=TOL).electrons
    n = torch.cat([density(exact.model, exact.electrons(spins)) for spins in field.split(1)])
    dims = ("shown", "site")
    return xr.Dataset(
        {
            "b": (dims, bond_order(field, lattice), {"long_name": "bond order", "units": "1"}),
            "n": (dims, n.numpy(), {"long_name": "electrons per site", "units": "1"}),
            "ferro": (dims, ferromagnetic_clusters(field, lattice).values > 0),
        },
        coords={"shown": quench.shown},
        attrs={"mu": mu},
    )


def verdicts(run: Run, config: Config, quench: xr.Dataset, maps: xr.Dataset) -> list[Verdict]:
    """What became of the quench; the small exact quenches stand beside it where sizes may be compared."""
    end = quench.isel(time=-1)
    small = run.observable("curves").sel(source="exact").isel(time=-1)
    beside = f"exact: {config.comparison.length} × {config.comparison.length} sites at t = {rounded(small.time)}"
    when = f"t = {rounded(end.time)}; {beside}"
    inside, outside = inside_and_outside(maps.isel(shown=-1))
    n = float(maps.n.isel(shown=-1).mean())
    return [
        Verdict("quench: bond order at the end", exact=at_last(small.b), learned=at_last(end.b), note=when),
        Verdict(
            "quench: share of ferromagnetic sites at the end",
            exact=at_last(small.ferro),
            learned=at_last(end.ferro),
            note=when,
        ),
        Verdict(
            "quench: sites of a ferromagnetic cluster at the end",
            exact=at_last(small.cluster),
            learned=at_last(end.cluster),
            note=f"mean over sites of clusters; 5 are one reversed spin; {when}",
        ),
        Verdict("quench: length of the antiferromagnet at the end", learned=f"{at_last(end.L)} a"),
        growth(run, "quench: growth exponent of this length, L ~ t^n", quench.L, config.large.growth),
        Verdict("quench: magnetisation at the end", learned=at_last(end.m)),
        Verdict(
            "quench: electrons per site at the end, at the μ of exact quenches",
            exact=config.density,
            learned=n,
            note=f"exact electrons at μ = {maps.attrs['mu']:.4f} t on the first replica; the torques know of no number",
        ),
        Verdict(
            "quench: electrons per site in ferromagnetic clusters; outside",
            learned=in_words((inside, outside)),
            target=None if config.half_filled else "fewer inside",
            passed=None if config.half_filled else inside < outside,
            note="exact electrons, as above",
        ),
    ]
