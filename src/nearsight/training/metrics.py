"""How far a force field is from the exact forces, in numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearsight.forcefields import ForceField, Forces
from nearsight.training.dataset import KINDS, DataSet


def evaluate(forcefield: ForceField, data: DataSet, *, batch: int = 64) -> dict[str, Any]:
    r"""Errors of a force field on a data set, as plain numbers.

    ``force``: rms error of a component, its standard deviation, its largest absolute value, the rms of the exact force
    (``label``) and ``relative`` = rmse / label. ``energy`` (None if either side has none), per site and up to the
    constant that no force depends on: ``rmse`` after the mean error ``offset`` has been removed, ``max``, ``label``
    (standard deviation of the exact energy). ``kinds``: the same two by kind of snapshot. The force field is called
    in its own precision (float64 if it has no parameters), errors are summed in float64.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
    predicted = predict(forcefield.on(data.lattice), data.field, batch)
    errors = predicted.force - data.force
    energies = None
    if predicted.energy is not None and data.energy is not None:
        energies = (predicted.energy - data.energy) / data.lattice.n_sites
    kinds = torch.from_numpy(data.kind)
    result = _summary(errors, data.force, energies, data.energy, data.lattice.n_sites)
    result["kinds"] = {}
    for name in data.counts:
        here = kinds == KINDS.index(name)
        result["kinds"][name] = _summary(
            errors[here],
            data.force[here],
            None if energies is None else energies[here],
            None if data.energy is None else data.energy[here],
            data.lattice.n_sites,
        )
    return result


def predict(forcefield: ForceField, field: Tensor, batch: int) -> Forces:
    """Forces and energies of many fields, in float64 on the CPU, without a graph."""
    parameter = next(forcefield.parameters(), None)
    dtype = torch.float64 if parameter is None else parameter.dtype
    device = torch.device("cpu") if parameter is None else parameter.device
    training = forcefield.training
    forcefield.eval()
    forces, energies = [], []
    try:
        with torch.no_grad():
            for chunk in field.split(batch):
                force, energy = forcefield(chunk.to(device, dtype))
                forces.append(force.detach().cpu().double())
                if energy is not None:
                    energies.append(energy.detach().cpu().double())
    finally:
        forcefield.train(training)
    return Forces(torch.cat(forces), torch.cat(energies) if energies else None)


def _summary(
    errors: Tensor, labels: Tensor, energies: Tensor | None, exact: Tensor | None, sites: int
) -> dict[str, Any]:
    rmse, label = float(errors.square().mean().sqrt()), float(labels.square().mean().sqrt())
    result: dict[str, Any] = {
        "snapshots": len(errors),
        "force": {
            "rmse": rmse,
            "std": float(errors.std(correction=0)),
            "max": float(errors.abs().max()),
            "label": label,
            "relative": rmse / label if label > 0 else float("nan"),
        },
        "energy": None,
    }
    if energies is not None and exact is not None:
        centred = energies - energies.mean()
        result["energy"] = {
            "rmse": float(centred.square().mean().sqrt()),
            "max": float(centred.abs().max()),
            "offset": float(energies.mean()),
            "label": float((exact / sites).std(correction=0)),
        }
    return result
