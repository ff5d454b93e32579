"""Stage 4: phase separation on a lattice no exact solver can reach."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import DynamicalScaling, PowerLaw, SizeLaw, Verdict
from nearsight.lattices import Lattice
from nearsight.studies import parallel
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.physics import KEPT, TALLIES, scattered, scheme
from nearsight.studies.falicov_kimball.train import learned
from nearsight.studies.quenches import in_time, log_steps, quench
from nearsight.studies.run import Run

MAPS = 6
"""Configurations that are kept in full for the figures."""
UNITS = "attempts per f electron"
LARGEST_K = 1.5
"""Largest wave number at which domains, and not the lattice, shape S."""
RESAMPLED = 60
"""Sets of replicas behind the error of θ: each is a fit of its own."""


def simulate(run: Run, config: Config) -> None:
    """Quench a large lattice at learned energies; measure clusters and super-clusters at growing times."""
    large = config.large
    energies = learned(run, large.length)
    steps = log_steps(large.duration, 1.0, large.records)
    field = scattered(config, energies.lattice, large.replicas, run.rng("large", "positions"))
    rule = scheme(config, energies)
    tasks = [
        (None, rule, steps, part, run.path / "large" / f"{k:03d}", run.seed("large", "chance", k), KEPT)
        for k, part in enumerate(field.split(1))
    ]
    seconds = 1e-4 * float(field.sum()) * large.duration
    parts = parallel.run(quench, tasks, seconds=seconds, title="large quenches")
    growth, maps = measure(xr.concat(parts, dim="replica"), energies.lattice)
    run.record("growth", growth)
    run.record("maps", maps)
    run.judge("simulate", verdicts(run, config, growth))


def measure(trajectory: xr.Dataset, lattice: Lattice) -> tuple[xr.Dataset, xr.Dataset]:
    """Curves of every record, and maps of the first replica at a few times; one record in memory at a time."""
    records, maps = [], []
    shown = set(np.linspace(0, trajectory.sizes["record"] - 1, MAPS).round().astype(int))
    for k in range(trajectory.sizes["record"]):
        record = trajectory.isel(record=k)
        n = record.field.transpose("replica", "site", "component").values[..., 0]
        sigma = analysis.sublattice_field(n, lattice, dims=("replica",))
        measured = analysis.phase_separation(n, lattice, dims=("replica",))
        measured["S"] = analysis.shell_average(analysis.structure_factor(sigma, lattice), lattice)
        for name in TALLIES:
            counts = record[name].transpose("replica").values / n[0].sum()
            measured[name] = ("replica", counts, {"long_name": f"{name} hops per f electron", "units": "1"})
        at = {"time": float(record.time)}
        records.append(measured.assign_coords(at))
        if k in shown:
            grids = {"n": n[0], "sigma": sigma.values[0]}
            kept = {name: (("x", "y"), v.reshape(lattice.shape).astype(np.float32)) for name, v in grids.items()}
            maps.append(xr.Dataset(kept).assign_coords(at))
    return in_time(records, UNITS), in_time(maps, UNITS)


def small(config: Config, length: xr.DataArray) -> xr.DataArray:
    """Where a length is known in every replica and far below the edge of the lattice, on average."""
    return (length.mean("replica") < config.large.length / 8) & length.notnull().all("replica")


def fitted(run: Run, config: Config, length: xr.DataArray) -> PowerLaw | None:
    """A power law where clusters grow and the torus does not matter yet; None if too little of that was recorded."""
    large = config.large
    inside = small(config, length) & (length.time >= large.growth_from)
    times = length.time.values[(inside & (length.time <= large.growth_until)).values]
    if len(times) < 3:
        return None
    window = (float(times[0]), float(times[-1]))
    return analysis.growth_exponent(length.transpose("replica", "time"), rng=run.rng("bootstrap"), window=window)


def verdicts(run: Run, config: Config, growth: xr.Dataset) -> list[Verdict]:
    """What the large quench says; there is no exact number to hold against it."""
    end = growth.isel(time=-1)

    def at_end(name: str) -> str:
        return f"{float(end[name].mean()):.3g} ± {float(end[name].std(ddof=1)) / len(end.replica) ** 0.5:.1g}"

    found = [
        Verdict("cluster size at the end, mean over f electrons", learned=at_end("weighted_size")),
        Verdict(
            "super-clusters at the end, half height R; L = 1/<k>",
            learned=f"{at_end('R')} a; {at_end('L')} a",
            note=f"t = {float(end.time):g}",
        ),
        Verdict("share of f electrons in checkerboards at the end", learned=at_end("ordered")),
    ]
    for name, symbol, paper in (
        ("cluster_length", "√<s>", "0.35 at first, then freezing"),
        ("R", "R, the half height of super-clusters", "1 at first, then logarithmic"),
        ("L", "L = 1/<k>, which holds a logarithm of R", "1 at first, then logarithmic"),
    ):
        law = fitted(run, config, growth[name])
        found.append(
            Verdict(
                f"growth exponent of {symbol}",
                learned=None if law is None else f"{law.exponent:.3f} ± {law.sigma:.3f}",
                paper=paper,
                note=str(law) if law else "too few records while clusters grow",
            )
        )
    return [*found, logarithmic(config, growth.L), scaling(run, config, growth), porod(run, growth)]


def logarithmic(config: Config, length: xr.DataArray) -> Verdict:
    """L = a + b ln t, replica by replica, and how far the mean strays from it, next to the best power law."""
    window = (length.time >= config.large.growth_from) & small(config, length)
    L = length.sel(time=window.values).transpose("replica", "time")
    name, paper = "super-clusters grow as L = a + b ln t", "logarithmic at last"
    if L.sizes["time"] < 4:
        return Verdict(name, paper=paper, note="too few records while super-clusters grow")
    x = np.log(L.time.values)
    slopes, _ = np.polyfit(x, L.values.T, 1)
    mean = L.values.mean(0)
    line = np.polyval(np.polyfit(x, mean, 1), x)
    power = np.exp(np.polyval(np.polyfit(x, np.log(mean), 1), x))
    off = {law: 100 * float(np.sqrt(np.mean((mean / fit - 1) ** 2))) for law, fit in (("log", line), ("power", power))}
    return Verdict(
        name,
        learned=f"b = {slopes.mean():.3g} ± {slopes.std(ddof=1) / np.sqrt(len(slopes)):.1g} a",
        paper=paper,
        note=f"t from {float(L.time[0]):g} to {float(L.time[-1]):g}: the mean strays by {off['log']:.2g} % (rms) from "
        f"the logarithm, by {off['power']:.2g} % from a power law",
    )


def scaled(run: Run, config: Config, growth: xr.Dataset) -> DynamicalScaling | str:
    """Whether super-clusters at different times are one picture at different magnification; words if none can say.

    The length is the half height R of the correlation: with a Porod tail 1/<k> holds a logarithm of R.
    """
    late = growth.sel(time=(small(config, growth.R) & (growth.time >= config.large.growth_from)).values)
    S, R = late.S.transpose("replica", "time", "k"), late.R.transpose("replica", "time")
    try:
        return analysis.dynamical_scaling(
            S, R, dimension=2, rng=run.rng("scaling"), largest_k=LARGEST_K, samples=RESAMPLED
        )
    except ValueError as error:
        return str(error)


def tail(run: Run, growth: xr.Dataset) -> SizeLaw | str:
    """The power with which S(k) of the sublattice field falls at the end, which tells sharp walls."""
    end = growth.isel(time=-1)
    window = (max(3.0 / float(end.R.mean()), 0.2), LARGEST_K)
    try:
        return analysis.porod_law(end.S.transpose("replica", "k"), window=window, rng=run.rng("porod"))
    except ValueError as error:
        return str(error)


def scaling(run: Run, config: Config, growth: xr.Dataset) -> Verdict:
    name, found = "dynamical scaling of the super-clusters, S = R^θ G(kR)", scaled(run, config, growth)
    if isinstance(found, str):
        return Verdict(name, paper="θ = 2", note=found)
    return Verdict(name, learned=f"{found.theta:.3f} ± {found.theta_error:.2g}", paper="θ = 2", note=str(found))


def porod(run: Run, growth: xr.Dataset) -> Verdict:
    name, law = "Porod tail of the super-clusters, S ~ k^-p", tail(run, growth)
    if isinstance(law, str):
        return Verdict(name, paper="p = 3", note=law)
    return Verdict(name, learned=f"{-law.exponent:.2f} ± {law.error:.2f}", paper="p = 3", note=str(law))
