"""The learned force field on configurations it has never seen."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.forcefields import ForceField
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import density, holstein, teacher
from nearsight.studies.run import Run
from nearsight.studies.snapshots import forces, rms, split, symmetry_error, symmetry_verdict
from nearsight.training import KINDS

PAPER_ERROR = 0.023
"""Standard deviation of the density error, arXiv:2201.00798, fig. 5 (correlation-matrix descriptor, 30 × 30)."""
TARGET_ERROR = 0.006
"""What nearsight asks of itself on 16 × 16 sites."""


def compare(run: Run, config: Config, learned: ForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """Density errors on the test trajectories, in all and by kind, and how well the force keeps the symmetry."""
    test = split(run, config.fit, config.seed).test
    model = holstein(config, config.length)
    exact_n = density(model, test.field, test.force).numpy()
    learned_n = density(model, test.field, forces(learned, test.field)).numpy()
    error = learned_n - exact_n
    kinds = np.array(KINDS)[test.kind]
    groups = list(dict.fromkeys(kinds.tolist()))
    by_kind = [error[kinds == kind] for kind in groups]
    symmetry = symmetry_error(learned, model.field_type, test.field[:4])
    dataset = xr.Dataset(
        {
            "exact_density": (("snapshot", "site"), exact_n, {"long_name": "exact density", "units": "1"}),
            "learned_density": (("snapshot", "site"), learned_n, {"long_name": "learned density", "units": "1"}),
            "std": ("group", [e.std() for e in by_kind], {"long_name": "standard deviation of the error"}),
            "rmse": ("group", [rms(e) for e in by_kind], {"long_name": "rms error"}),
            "max": ("group", [np.abs(e).max() for e in by_kind], {"long_name": "largest error"}),
            "symmetry_error": ("operation", symmetry, {"long_name": "violation relative to the largest force"}),
        },
        coords={
            "group": groups,
            "kind": ("snapshot", kinds),
            "trajectory": ("snapshot", test.trajectory),
            "time": ("snapshot", test.time, {"units": "1/t"}),
        },
    )
    std = float(error.std())
    return dataset, [
        Verdict(
            "density error on unseen trajectories, std",
            learned=std,
            paper=PAPER_ERROR,
            target=f"≤ {TARGET_ERROR}",
            passed=std <= TARGET_ERROR,
            note=f"{len(test)} snapshots of {len(np.unique(test.trajectory))} trajectories",
        ),
        Verdict("density error, rms", learned=rms(error)),
        Verdict("density error, largest", learned=float(np.abs(error).max())),
        symmetry_verdict(symmetry),
    ]


def ordered_state(config: Config, learned: ForceField) -> list[Verdict]:
    """The displacement at which a perfect checkerboard feels no force."""
    exact_q, learned_q = (equilibrium(f) for f in (teacher(config, config.length), learned))
    if exact_q is None:
        return [Verdict("displacement in the ordered state", exact="no order", learned=learned_q)]
    good = learned_q is not None and abs(learned_q - exact_q) < 0.02 * exact_q
    return [
        Verdict(
            "displacement in the ordered state", exact=exact_q, learned=learned_q or "no order", target="within 2 %",
            passed=good, note="2.3428 on the infinite lattice at T = 0 for the default parameters",
        )
    ]  # fmt: skip


def equilibrium(forcefield: ForceField, largest: float = 10.0) -> float | None:
    """Q > 0 with no force on the checkerboard ±Q, by bisection; None if order does not grow from small Q."""
    sign = torch.from_numpy((-1.0) ** forcefield.lattice.cells.sum(axis=1)).unsqueeze(-1)

    def pull(q: float) -> float:
        return float((forces(forcefield, (q * sign).unsqueeze(0))[0] * sign).mean())

    low, high = 0.05, largest
    if pull(low) <= 0 or pull(high) >= 0:
        return None
    while high - low > 1e-5:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if pull(middle) > 0 else (low, middle)
    return 0.5 * (low + high)
