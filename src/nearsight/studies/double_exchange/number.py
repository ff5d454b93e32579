"""The number of electrons is one number for all sites: how much of a torque is out of reach of a local field."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis import Verdict
from nearsight.fields import tangent
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.ground_states import coexistence
from nearsight.studies.double_exchange.physics import at_fixed_mu, density, exact
from nearsight.studies.magnets.snapshots import relative_error
from nearsight.studies.run import Run
from nearsight.studies.snapshots import BATCH, forces, split


def at_number(config: Config, length: int, field: Tensor) -> tuple[Tensor, Tensor]:
    """μ ``(snapshot,)`` that gives the wanted number of electrons on spins ``(snapshot, site, 3)``, and ⟨n_i⟩
    ``(snapshot, site)``."""
    electrons = exact(config, length).electrons
    parts = [electrons.electrons(part) for part in field.split(BATCH)]
    return torch.cat([part.mu for part in parts]), torch.cat([density(electrons.model, part) for part in parts])


def drift(run: Run, config: Config) -> tuple[xr.Dataset, list[Verdict]]:
    """Exact torques of the test snapshots at fixed number against exact ones at fixed μ.

    At fixed μ they are local, at fixed number every electron that crosses the Fermi energy anywhere moves μ everywhere.
    Two ways to fix it: one μ for all snapshots, and the mean μ of each time and kind of start, for a student may tell
    from the order it sees how late it is.
    """
    test = split(run, config.fit, config.seed).test
    truth = tangent(test.force, test.field)
    mu, _ = at_number(config, config.length, test.field)
    alike = [
        np.flatnonzero((test.time == t) & (test.kind == k))
        for k, t in sorted({*zip(test.kind, test.time, strict=True)})
    ]
    at_time = torch.empty_like(truth)
    for group in alike:
        fixed = at_fixed_mu(config, config.length, float(mu[group].mean())).electrons
        at_time[group] = tangent(forces(fixed, test.field[group]), test.field[group])
    fixed = at_fixed_mu(config, config.length, float(mu.mean())).electrons
    at_mean = tangent(forces(fixed, test.field), test.field)

    def per_snapshot(H: Tensor) -> np.ndarray:
        return H.square().sum(-1).mean(-1).sqrt().numpy()

    dataset = xr.Dataset(
        {
            "mu": ("snapshot", mu.numpy(), {"long_name": "chemical potential", "units": "t"}),
            "torque": ("snapshot", per_snapshot(truth), {"long_name": "rms torque", "units": "t"}),
            "at_mean": ("snapshot", per_snapshot(at_mean - truth), {"long_name": "error at the mean μ", "units": "t"}),
            "at_time": ("snapshot", per_snapshot(at_time - truth), {"long_name": "error at μ(t)", "units": "t"}),
        },
        coords={
            "time": ("snapshot", test.time, {"units": "ħ/t"}),
            "kind": ("snapshot", test.kind),
            "trajectory": ("snapshot", test.trajectory),
        },
    )
    if config.half_filled:
        return dataset, [
            Verdict(
                "chemical potential of the data", exact=0.0, note="by symmetry, in every texture: the number is local"
            )
        ]
    first, last = (mu[torch.from_numpy(test.time == t)] for t in (test.time.min(), test.time.max()))
    tangent_mu = coexistence(run.observable("phases"), config.density).mu
    return dataset, [
        Verdict(
            "chemical potential of the data, from the first to the last snapshots",
            exact=f"{float(first.mean()):.3g} to {float(last.mean()):.3g} t",
            note=f"spread {float(first.std()):.2g} and {float(last.std()):.2g} t; phases coexist at {tangent_mu:.3f} t",
        ),
        Verdict(
            "exact torques at fixed μ instead of fixed number, relative rms",
            exact=f"{relative_error(at_mean, truth):.2g}",
            note=f"at the mean μ of all snapshots; {relative_error(at_time, truth):.2g} at the mean μ of each time. A "
            "local student sees no μ: of this much it can learn only what the order around a site tells",
        ),
    ]
