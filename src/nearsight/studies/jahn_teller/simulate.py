"""Stage 4: quenches no exact solver can reach."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight import analysis, dynamics
from nearsight.analysis import AllenCahn, Verdict
from nearsight.analysis.order import CHECKERBOARD
from nearsight.dynamics import At, Guard
from nearsight.hamiltonians import JahnTeller
from nearsight.storage import rounded
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.dynamics import root_mean_square
from nearsight.studies.jahn_teller.physics import density, held, hot, jahn_teller, scheme, tau
from nearsight.studies.jahn_teller.train import learned
from nearsight.studies.options import torch_device
from nearsight.studies.quenches import in_time, log_steps
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split

MAPS = 6
"""Configurations that are kept in full for the figures."""


def simulate(run: Run, config: Config) -> None:
    """Quench a large lattice at every filling; measure domains at logarithmically spaced times."""
    large = config.large
    device = torch_device(config.device)
    electrons = learned(run, config, large.length)
    steps = log_steps(large.duration, config.quench.dt, large.records)
    model = jahn_teller(config, large.length)
    guard = Guard.around(split(run, config.fit, config.seed).train.field, large.guard)
    growth, maps = [], []
    for filling in config.fillings:
        forcefield = held(config, electrons, filling).to(device)
        dtype = next(forcefield.parameters()).dtype
        run.log("note", text=f"{large.replicas} quenches at f = {filling:g}")
        trajectory = dynamics.simulate(
            forcefield,
            scheme(config),
            hot(config, model.lattice, large.replicas, run.rng("large", "field")).to(device, dtype),
            steps=steps[-1],
            record=At(steps, fields=("field", "force", "energy")),
            rng=run.rng("large", "noise", str(filling)),
            path=run.path / "large" / f"{filling:g}",
            resume=True,
            guard=guard,
            progress=True,
        )
        measured, shown = measure(trajectory.data, model, config)
        growth.append(measured)
        maps.append(shown)
    by_filling = xr.Variable("filling", np.array(config.fillings), {"long_name": "electrons per orbital"})
    observed = xr.concat(growth, dim=by_filling)
    run.record("growth", observed)
    run.record("maps", xr.concat(maps, dim=by_filling))
    run.judge("simulate", [v for f in config.fillings for v in verdicts(run, config, f, observed.sel(filling=f))])


def measure(trajectory: xr.Dataset, model: JahnTeller, config: Config) -> tuple[xr.Dataset, xr.Dataset]:
    """Curves of every record, and maps of the first replica at a few times; one record in memory at a time."""
    lattice = model.lattice
    records, maps = [], []
    shown = set(np.linspace(0, trajectory.sizes["record"] - 1, MAPS).round().astype(int))
    for k in range(trajectory.sizes["record"]):
        record = trajectory.isel(record=k).load()
        field, force = (torch.from_numpy(record[name].values).double() for name in ("field", "force"))
        n, Qx = density(model, field, force), field[..., 1]
        phi = analysis.contrast_order(Qx, lattice)
        sigma = analysis.ising_sign(phi, lattice)
        S = analysis.structure_factor(Qx, lattice)
        walls = analysis.wall_shape(sigma, lattice)
        profile = analysis.wall_profile(n, sigma, lattice)
        checkerboard = analysis.local_amplitude(analysis.contrast_order(n, lattice), lattice)
        measured = {
            "L": analysis.correlation_length(S, lattice, about=CHECKERBOARD),
            "S": analysis.shell_average(S, lattice, about=CHECKERBOARD),
            "Phi": analysis.global_order(phi),
            "phi_rms": root_mean_square(phi),
            "walls": analysis.wall_density(sigma, lattice),
            "wall_length": walls.length,
            "along_x": walls.along_x,
            "along_y": walls.along_y,
            "diagonal": walls.diagonal,
            "charge": profile.deviation,
            "charge_spread": profile.spread,
            "charge_sites": profile.sites,
            "n_std": xr.DataArray(n.std(-1, correction=0).numpy(), dims=("replica",)),
            "cdw": root_mean_square(checkerboard).assign_attrs(long_name="rms amplitude of the charge order"),
        }
        if "energy" in record:
            measured["energy"] = (record.energy / lattice.n_sites).drop_vars(("time", "step"), errors="ignore")
            measured["energy"].attrs = {"long_name": "energy per site", "units": "t"}
        at = {"time": float(record.time) / tau(config)}
        records.append(xr.Dataset(measured).assign_coords(at))
        if k in shown:
            grids = {"density": n, "Q1": field[..., 0], "Qx": Qx, "Qz": field[..., 2]}
            values = {name: value[0].numpy() for name, value in grids.items()} | {"phi": phi.values[0]}
            kept = {name: (("x", "y"), v.reshape(lattice.shape).astype(np.float32)) for name, v in values.items()}
            maps.append(xr.Dataset(kept).assign_coords(at))
    return in_time(records, "τ0"), in_time(maps, "τ0")


def fitted(run: Run, config: Config, length: xr.DataArray) -> AllenCahn | None:
    """The Allen-Cahn law in the window of the configuration, while L stays below an eighth of the lattice.

    None if fewer than four records lie there, or if L does not grow.
    """
    small = length.mean("replica") < config.large.length / 8
    first, last = config.large.fit
    times = length.time.values[((length.time >= first) & (length.time <= last) & small).values]
    if len(times) < 4:
        return None
    window = (float(times[0]), float(times[-1]))
    try:
        return analysis.allen_cahn(length.transpose("replica", "time"), rng=run.rng("bootstrap"), window=window)
    except ValueError:  # no growth in the window
        return None


def verdicts(run: Run, config: Config, filling: float, growth: xr.Dataset) -> list[Verdict]:
    """What the large quench of one filling says; there is no exact number to hold against it."""
    end, name = growth.isel(time=-1), f"f = {filling:g}"
    law = fitted(run, config, growth.L)
    return [
        Verdict(
            f"{name}: domain size at the end",
            learned=f"{float(end.L.mean()):.3g} ± {float(end.L.std(ddof=1)) / len(end.replica) ** 0.5:.1g} a",
            note=f"t = {rounded(end.time)} τ0",
        ),
        Verdict(
            f"{name}: Allen-Cahn law L = a (t - t0)^½",
            learned=None if law is None else f"a = {law.a:.3g} ± {law.a_sigma:.1g}",
            paper="holds until t = 15 to 20 τ0",
            note=str(law) if law else "too few records while domains grow",
        ),
        Verdict(
            f"{name}: growth freezes (local exponent below ¼)",
            learned=frozen(run, growth.L, 0.0 if law is None else law.t0),
            paper="from t = 15 to 20 τ0 on",
        ),
        Verdict(f"{name}: walls that run diagonally", learned=diagonal(end), paper="walls run along x and y"),
        charge_on_walls(name, filling, end),
        Verdict(
            f"{name}: charge order, rms amplitude at the end", learned=float(end.cdw.mean()), paper="local patches"
        ),
    ]


def frozen(run: Run, length: xr.DataArray, since: float) -> str | None:
    try:
        fall = analysis.departure(length.transpose("replica", "time"), rng=run.rng("departure"), since=since)
    except ValueError:  # no window of the local exponent was recorded in full
        return None
    return str(fall)


def diagonal(end: xr.Dataset) -> str:
    """Share of the length of the walls."""
    summary = 100 * analysis.weighted_mean_and_error(end.diagonal, end.wall_length)
    return f"{float(summary['mean']):.3g} ± {float(summary['error']):.1g} %"


def charge_on_walls(name: str, filling: float, end: xr.Dataset) -> Verdict:
    """Whether doped holes gather next to the walls: the density there less the mean."""
    quantity, doped = f"{name}: density at the walls less the mean", filling < 0.5
    charge, sites = end.charge.isel(distance=0), end.charge_sites.isel(distance=0)
    if int((sites > 0).sum()) < 2:
        return Verdict(quantity, note="no walls are left")
    summary = analysis.weighted_mean_and_error(charge, sites)
    mean, error = float(summary["mean"]), float(summary["error"])
    return Verdict(
        quantity,
        learned=f"{mean:.3g} ± {error:.1g}",
        paper="holes gather there" if doped else "no net charge",
        target="below 0 by three errors" if doped else None,
        passed=mean < -3 * error if doped else None,
    )
