"""Do quenches at learned energies look like quenches at exact ones?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.dynamics import HopMonteCarlo
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies
from nearsight.studies import parallel
from nearsight.studies.agreement import same_mean
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.physics import KEPT, exact, exact_seconds, scattered, scheme
from nearsight.studies.quenches import log_steps, quench
from nearsight.studies.run import Run

CHUNK = 2
"""Replicas of one task."""


def compare(run: Run, config: Config, student: MoveEnergies) -> tuple[xr.Dataset, list[Verdict]]:
    """Clusters, super-clusters and correlations of both ensembles, and whether their means agree."""
    options = config.comparison
    teacher = exact(config, options.length)
    student = student.on(teacher.lattice)
    runs = {
        "exact": ensemble(run, config, scheme(config, teacher), "exact"),
        "learned": ensemble(run, config, scheme(config, student), "learned"),
    }
    by_source = {source: curves(part, teacher.lattice) for source, part in runs.items()}
    dataset = xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))
    late = dataset.isel(time=slice(1, None))  # the initial positions are the same
    verdicts = [
        same_mean("checkerboard length l(t)", late.l, np.log),
        same_mean("cluster size <s>(t), mean over f electrons", late.weighted_size, np.log),
        same_mean("inverse length of super-clusters 1/L(t)", 1.0 / late.L),
        same_mean("correlation C(r, t) of f electrons", late.C.isel(r=slice(1, None))),
        same_mean("accepted hops per f electron", late.accepted),
    ]
    if options.screened:
        verdicts.append(screening(run, config, scheme(config, teacher, screen=student), runs["exact"]))
    return dataset, verdicts


def ensemble(run: Run, config: Config, rule: HopMonteCarlo, name: str, runs: int | None = None) -> xr.Dataset:
    """Quenches of the comparison, from the same initial positions for every ``name``, spread over all cores."""
    options = config.comparison
    steps = log_steps(options.duration, 1.0, options.records)
    field = scattered(config, rule.lattice, options.runs, run.rng("initial positions"))[:runs]
    folder = run.path / "comparison" / name
    tasks = [
        (None, rule, steps, part, folder / f"{k:03d}", run.seed(f"{name} chance", k), KEPT)
        for k, part in enumerate(field.split(CHUNK))
    ]
    each = 0.02 * options.duration if name == "learned" else exact_seconds(options.length, options.duration)
    seconds = len(field) * each
    return xr.concat(parallel.run(quench, tasks, seconds=seconds, title=f"{name} quenches"), dim="replica")


def curves(trajectory: xr.Dataset, lattice: Lattice) -> xr.Dataset:
    """What is measured on every record of every replica."""
    dims = ("replica", "time")
    time = ("time", trajectory["time"].values, {"long_name": "time", "units": "attempts per f electron"})
    n = trajectory.field.transpose("replica", "record", "site", "component").values[..., 0]
    measured = analysis.phase_separation(n, lattice, dims=dims)
    measured["C"] = analysis.axial_correlation(n, lattice, dims=dims)
    particles = n[0, 0].sum()
    accepted = trajectory.accepted.transpose("replica", "record").values / particles
    measured["accepted"] = (dims, accepted, {"long_name": "accepted hops per f electron", "units": "1"})
    return measured.assign_coords(time=time)


def screening(run: Run, config: Config, rule: HopMonteCarlo, plain: xr.Dataset) -> Verdict:
    """How many exact energies are spared when the student proposes; the stationary state is the exact one."""
    screened = ensemble(run, config, rule, "screened", config.comparison.screened)

    def last(part: xr.Dataset, name: str) -> float:
        return float(part[name].isel(record=-1).mean("replica"))

    asked = last(screened, "evaluated") / last(plain, "evaluated")
    hops = last(screened, "accepted") / last(plain, "accepted")
    return Verdict(
        "hybrid: exact energies asked for, as a share of those without the student",
        learned=f"{asked:.3g}",
        note=f"{hops:.3g} times as many hops in the same time; "
        f"{last(screened, 'accepted') / last(screened, 'evaluated'):.3g} of the exact energies are accepted, "
        f"{last(plain, 'accepted') / last(plain, 'evaluated'):.3g} without the student",
    )
