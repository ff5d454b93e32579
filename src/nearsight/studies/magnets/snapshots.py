"""What students know of torques on trajectories that no training has seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.fields import FieldType, tangent
from nearsight.forcefields import ForceField
from nearsight.lattices import site_group, site_permutations
from nearsight.studies.magnets.config import MagnetConfig, Student
from nearsight.studies.magnets.students import learned
from nearsight.studies.magnets.trajectories import STARTS
from nearsight.studies.run import Run
from nearsight.studies.snapshots import forces, rms, split, symmetry_error, symmetry_verdict
from nearsight.training import KINDS

ANGLE = 10.0
"""Degrees; most of the learned fields are nearer than that to the exact ones, thesis sec. 3.3.1."""
GROWTH = 0.03
"""Largest relative error of the rate at which peaks grow; one of 0.05 makes peaks of skyrmions a fifth too low."""
TURNED = 4
"""Snapshots that are turned to see how equivariant a student is."""


class Published(NamedTuple):
    """A mean square error in print; ``of`` says of what if it is not the torque, and then it is not judged."""

    mse: float
    of: str = ""


def compare(
    run: Run, config: MagnetConfig, law: FieldType, published: Published, *, peaks: np.ndarray
) -> tuple[xr.Dataset, list[Verdict]]:
    """Errors of the torques of all students on the test trajectories, how well each keeps the symmetry, and how fast
    the peaks of S(q), wave vectors ``(peak, 2)``, grow under it."""
    test = split(run, config.fit, config.seed).test
    truth = tangent(test.force, test.field)
    origin = {KINDS.index(kind): name for name, kind in STARTS.items()}
    starts = np.array([origin[code] for code in test.kind])
    group = site_group(test.lattice).name
    by_student, symmetry, growing, verdicts = [], [], [], []

    def growth(H: Tensor) -> xr.DataArray:
        return analysis.peak_growth(test.field, H, test.lattice, peaks, dims=("snapshot",)).assign_attrs(units="t")

    exact_growth = growth(truth)
    for kind in config.students:
        student = learned(run, config, test.lattice, kind)
        H = tangent(forces(student, test.field), test.field)
        violation = equivariance(law, student, test.field[:TURNED], run.rng("turns", kind))
        by_student.append(H.numpy())
        symmetry.append(violation.numpy())
        growing.append(growth(H).values)
        judged = kind == config.students[0]
        verdicts += of_student(kind, truth, H, violation, starts, published=published, group=group, judged=judged)
        verdicts.append(of_peaks(kind, exact_growth.values, growing[-1], starts, judged=judged))
    errors = symmetry_error(learned(run, config, test.lattice), law, test.field[:TURNED])
    dims = ("snapshot", "site", "component")
    dataset = xr.Dataset(
        {
            "exact_force": (dims, truth.numpy(), {"long_name": "exact H normal to the spin", "units": "t"}),
            "learned_force": (("student", *dims), np.stack(by_student), {"long_name": "learned H", "units": "t"}),
            "equivariance": (("student", "turned", "site", "component"), np.stack(symmetry)),
            "symmetry_error": ("operation", errors, {"long_name": "violation relative to the largest force"}),
            "exact_growth": exact_growth,
            "learned_growth": (("student", "snapshot"), np.stack(growing), exact_growth.attrs),
        },
        coords={
            "student": list(config.students),
            "component": ["x", "y", "z"],
            "start": ("snapshot", starts),
            "trajectory": ("snapshot", test.trajectory),
            "time": ("snapshot", test.time, {"units": "ħ/t"}),
        },
    )
    return dataset, [*verdicts, symmetry_verdict(errors)]


def of_student(
    kind: Student,
    truth: Tensor,
    H: Tensor,
    violation: Tensor,
    starts: np.ndarray,
    *,
    published: Published,
    group: str,
    judged: bool,
) -> list[Verdict]:
    """Only the student that moves the spins is judged; the others stand beside it."""
    error = H - truth
    mse = float(error.square().mean())
    relative = relative_error(H, truth)
    present = [name for name in STARTS if (starts == name).any()]
    by_start = ", ".join(f"{name} {relative_error(H[starts == name], truth[starts == name]):.3g}" for name in present)
    degrees = angles(H, truth)
    near = float((degrees < ANGLE).double().mean())
    broken = rms(violation.numpy())
    same = not published.of
    share = f"{mse / published.mse:.3g} of the thesis; " if same else f"in print, of {published.of}; "
    return [
        Verdict(
            f"{kind}: mean square error of the torque",
            learned=mse,
            paper=published.mse,
            target=f"≤ {published.mse:g}" if same else None,
            passed=mse <= published.mse if judged and same else None,
            note=f"{share}mean square torque {float(truth.square().mean()):.3g}; by component, {len(truth)} unseen "
            "snapshots",
        ),
        Verdict(
            f"{kind}: error of the torque, relative rms",
            learned=relative,
            note=f"by start: {by_start}",
        ),
        Verdict(
            f"{kind}: angle between learned and exact H, median",
            learned=f"{float(degrees.median()):.3g}°",
            paper=f"mostly below {ANGLE:g}°",
            target=f"half of them below {ANGLE:g}°",
            passed=near > 0.5 if judged else None,
            note=f"{100 * near:.3g} % below {ANGLE:g}°, {100 * float((degrees > 30).double().mean()):.2g} % above 30°, "
            "on all sites however small their torque",
        ),
        Verdict(
            f"{kind}: equivariance under SO(3) × {group}, rms violation over rms error",
            exact=0.0,
            learned=broken / rms(error.numpy()),
            paper="well below 1",
            target="< 1",
            passed=broken < rms(error.numpy()) if judged else None,
            note=f"random rotations and reversals of all spins with random operations of the lattice, {TURNED} "
            "snapshots each",
        ),
    ]


def of_peaks(kind: Student, exact: np.ndarray, learned: np.ndarray, starts: np.ndarray, *, judged: bool) -> Verdict:
    """Errors that are alike on all sites add up in the peaks, and decide how fast spins order."""
    quenches = starts == "random"
    truth, found = float(exact[quenches].mean()), float(learned[quenches].mean())
    return Verdict(
        f"{kind}: growth of the peaks on unseen quenches",
        exact=f"{truth:.4g} t",
        learned=f"{found:.4g} t",
        target=f"within {100 * GROWTH:g} %",
        passed=abs(found / truth - 1) <= GROWTH if judged else None,
        note=f"{100 * (found / truth - 1):+.2g} %; Γ of d ln M / dt = 2αΓ by damping, mean over "
        f"{int(quenches.sum())} snapshots",
    )


def relative_error(H: Tensor, truth: Tensor) -> float:
    return float((H - truth).norm() / truth.norm())


def angles(a: Tensor, b: Tensor) -> Tensor:
    """Between the vectors of every site, in degrees; exact for small angles as well."""
    cross = torch.linalg.cross(a, b).norm(dim=-1)
    return torch.rad2deg(torch.atan2(cross, (a * b).sum(-1))).flatten()


def equivariance(law: FieldType, student: ForceField, field: Tensor, rng: torch.Generator) -> Tensor:
    """H(g R Φ) - g R H(Φ) for a random rotation R of all spins and operation g for each field, normal to the spins."""
    group = site_group(student.lattice)
    permutations = site_permutations(student.lattice, group)
    result = []
    for spins in field.split(1):
        R = law.internal_operation(3, rng)
        g = int(torch.randint(len(permutations), (), generator=rng))
        moved, H = (
            law.transform(x @ R.T, group, g, permutations[g]) for x in (spins, tangent(forces(student, spins), spins))
        )
        result.append(tangent(forces(student, moved), moved) - H)
    return torch.cat(result)
