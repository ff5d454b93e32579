"""Stage 4: a quench no exact solver can reach."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight import analysis, dynamics
from nearsight.analysis import PowerLaw, Verdict
from nearsight.dynamics import At, Guard
from nearsight.hamiltonians import Holstein
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import density, held, holstein, hot, scheme
from nearsight.studies.holstein.train import student
from nearsight.studies.options import torch_device
from nearsight.studies.quenches import in_time, log_steps
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split

MAPS = 6
"""Configurations whose density is kept in full for the figures."""


def simulate(run: Run, config: Config) -> None:
    """Quench a large lattice with the learned force field; measure domains at logarithmically spaced times."""
    large = config.large
    device = torch_device(config.device)
    learned = held(config, student(run, config, large.length)).to(device)
    dtype = next(learned.parameters()).dtype
    steps = log_steps(large.duration, config.quench.dt, large.records)
    trajectory = dynamics.simulate(
        learned,
        scheme(config),
        hot(config, learned.lattice, large.replicas, run.rng("large", "field")).to(device, dtype),
        steps=steps[-1],
        record=At(steps, fields=("field", "force", "energy")),
        rng=run.rng("large", "noise"),
        path=run.path / "large",
        resume=True,
        guard=Guard.around(split(run, config.fit, config.seed).train.field, large.guard),
        progress=True,
    )
    growth, maps = measure(trajectory.data, holstein(config, large.length), config.mean_density)
    run.record("growth", growth)
    run.record("maps", maps)
    run.judge("simulate", verdicts(run, config, growth))


def measure(trajectory: xr.Dataset, model: Holstein, mean: float) -> tuple[xr.Dataset, xr.Dataset]:
    """Curves of every record, and density maps of the first replica at a few times; one record in memory at a time."""
    records, maps = [], []
    shown = set(np.linspace(0, trajectory.sizes["record"] - 1, MAPS).round().astype(int))
    for k in range(trajectory.sizes["record"]):
        record = trajectory.isel(record=k).load()
        field, force = (torch.from_numpy(record[name].values) for name in ("field", "force"))
        n = density(model, field, force)
        phi = analysis.cdw_order(n, model.lattice, mean=mean)
        sigma = analysis.ising_sign(phi, model.lattice)
        S = analysis.structure_factor(phi, model.lattice)
        measured = {
            "L": analysis.correlation_length(S, model.lattice),
            "S": analysis.shell_average(S, model.lattice),
            "Phi": analysis.global_order(phi),
            "walls": analysis.wall_density(sigma, model.lattice),
        }
        if "energy" in record:
            measured["energy"] = (record.energy / model.lattice.n_sites).drop_vars(("time", "step"), errors="ignore")
            measured["energy"].attrs = {"long_name": "energy per site", "units": "t"}
        at = {"time": float(record.time)}
        records.append(xr.Dataset(measured).assign_coords(at))
        if k in shown:
            grid = n[0].reshape(model.lattice.shape).float().numpy()
            maps.append(xr.Dataset({"density": (("x", "y"), grid, {"units": "1"})}).assign_coords(at))
    return in_time(records, "1/t"), in_time(maps, "1/t")


def fitted(run: Run, config: Config, growth: xr.Dataset) -> PowerLaw | None:
    """L ~ t^α where domains have formed and the torus does not matter yet; None if too little of that was recorded."""
    small = growth.L.mean("replica") < config.large.length / 8
    times = growth.time.values[((growth.time >= config.large.fit_from) & small).values]
    if len(times) < 3 or growth.sizes["replica"] < 3:
        return None
    window = (float(times[0]), float(times[-1]))
    return analysis.growth_exponent(growth.L.transpose("replica", "time"), rng=run.rng("bootstrap"), window=window)


def verdicts(run: Run, config: Config, growth: xr.Dataset) -> list[Verdict]:
    """What the large quench says; there is no exact number to hold against it."""
    end, law = growth.isel(time=-1), fitted(run, config, growth)
    exponent = None if law is None else f"{law.exponent:.3f} ± {law.sigma:.3f}"
    return [
        Verdict("domain size at the end", learned=f"{float(end.L.mean()):.3g} a", note=f"t = {float(end.time):g}"),
        Verdict(
            "exponent of domain growth, L ~ t^α",
            learned=exponent,
            paper="1/2 (Allen, Cahn)",
            note=str(law) if law else "too few records between formation and the size of the lattice",
        ),
    ]
