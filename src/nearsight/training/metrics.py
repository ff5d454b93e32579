"""How far a force field is from the exact forces, in numbers."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from nearsight._validation import choice, instance, integer
from nearsight.fields import FieldType, tangent
from nearsight.forcefields import ForceField, Forces, LearnedFamily
from nearsight.training.dataset import KINDS, DataSet

Component = Literal["all", "tangent"]
"""Which part of the forces counts."""

UNIT = 1e-5
"""Largest deviation of a spin from length 1, enough for a field stored in single precision."""


def _unit_spins(data: DataSet) -> Tensor:
    """The field of a data set of unit vectors; ``ValueError`` for any other, which has no tangential part."""
    error = (data.field.norm(dim=-1) - 1).abs().amax()
    if data.components < 2 or error > UNIT:
        raise ValueError(
            f'component="tangent" is for unit vectors; the fields of {data!r} deviate from length 1 by up to '
            f'{float(error):.2g}. Normalise the spins before the labels are computed, or take component="all".'
        )
    return data.field


def _natural_component(forcefield: ForceField) -> Component:
    """What of the forces matters: of unit vectors the tangential part, of other fields all."""
    for part in forcefield.modules():
        kind = getattr(getattr(part, "model", part), "field_type", None)
        if isinstance(kind, FieldType) and kind.values == "unit":
            return "tangent"
    return "all"


def evaluate(
    forcefield: ForceField, data: DataSet, *, batch: int = 64, component: Component | None = None
) -> dict[str, Any]:
    r"""Errors of a force field on a data set, as plain numbers.

    ``force``: rms error of a component, its standard deviation, its largest absolute value, the rms of the exact force
    (``label``) and ``relative`` = rmse / label. ``energy`` (None if either side has none), per site and up to the
    constant that no force depends on: ``rmse`` after the mean error ``offset`` has been removed, ``max``, ``label``
    (standard deviation of the exact energy). ``kinds``: the same two by kind of snapshot. Sites whose forces are not
    known (:attr:`DataSet.weight`) are left out, and snapshots of a family of Hamiltonians are compared each at its own
    parameters. The force field is called in its own precision (float64 if it has no parameters), errors are summed in
    float64.

    ``component="tangent"``, for unit spins: the numbers of ``force`` are those of H⊥ = H - (H·S) S, and there are two
    more, ``mse`` = rmse², which is also that of the torque since |S × H| = |H⊥|, and ``angle``, the ``median`` and the
    90 % quantile (``q90``) of the angle in degrees between learned and exact H⊥ on sites where neither vanishes. It is
    the default where the field type of the force field has unit vectors.
    """
    instance(forcefield, ForceField, "forcefield")
    instance(data, DataSet, "data")
    integer(batch, "batch", least=1)
    options: tuple[Component, ...] = get_args(Component)
    judged = _natural_component(forcefield) if component is None else choice(component, "component", options)
    predicted = _predict_each(forcefield.on(data.lattice), data, batch)
    learned, exact = predicted.force, data.force
    if judged == "tangent":
        learned, exact = (tangent(force, _unit_spins(data)) for force in (learned, exact))
    energies = None
    if predicted.energy is not None and data.energy is not None:
        energies = tuple(e / data.lattice.n_sites for e in (predicted.energy - data.energy, data.energy))
    kinds = torch.from_numpy(data.kind)

    def known(force: Tensor, keep: Any) -> Tensor:
        return force[keep] if data.weight is None else force[keep][data.weight[keep] > 0]

    def errors(keep: Any) -> dict[str, Any]:
        energy = None if energies is None else _energy_errors(*(e[keep] for e in energies))
        return {
            "snapshots": len(exact[keep]),
            "force": _force_errors(known(learned, keep), known(exact, keep), judged),
            "energy": energy,
        }

    return errors(slice(None)) | {"kinds": {name: errors(kinds == KINDS.index(name)) for name in data.counts}}


def _predict(forcefield: ForceField, field: Tensor, batch: int, u: Tensor | None = None) -> Forces:
    """Forces and energies of many fields, in float64 on the CPU, without a graph; of a family at parameters u each."""
    parameter = next(forcefield.parameters(), None)
    dtype = torch.float64 if parameter is None else parameter.dtype
    device = torch.device("cpu") if parameter is None else parameter.device
    training = forcefield.training
    forcefield.eval()
    forces, energies = [], []
    try:
        with torch.no_grad():
            for k, chunk in enumerate(field.split(batch)):
                at = forcefield if u is None else forcefield.conditioned(u[k * batch :][:batch])  # type: ignore[operator]
                force, energy = at(chunk.to(device, dtype))
                forces.append(force.detach().cpu().double())
                if energy is not None:
                    energies.append(energy.detach().cpu().double())
    finally:
        forcefield.train(training)
    return Forces(torch.cat(forces), torch.cat(energies) if energies else None)


def _predict_each(forcefield: ForceField, data: DataSet, batch: int) -> Forces:
    """The same of all snapshots, each at its own parameters as far as the force field has them.

    What was learned for one Hamiltonian is that, whatever the parameters of the data.
    """
    several = any(isinstance(m, LearnedFamily) for m in forcefield.modules())
    if not data.parameters or not (several or next(forcefield.parameters(), None) is None):
        return _predict(forcefield, data.field, batch)
    force, energies = torch.empty_like(data.force), torch.empty(len(data), dtype=torch.float64)
    conservative = True
    for values, rows in data.by_parameters():
        found = _predict(forcefield._at_parameters(values)[0], data.field[rows], batch)
        force[rows], conservative = found.force, conservative and found.energy is not None
        if found.energy is not None:
            energies[rows] = found.energy
    return Forces(force, energies if conservative else None)


def _force_errors(learned: Tensor, labels: Tensor, component: Component) -> dict[str, Any]:
    errors = learned - labels
    rmse, label = float(errors.square().mean().sqrt()), float(labels.square().mean().sqrt())
    result = {
        "rmse": rmse,
        "std": float(errors.std(correction=0)),
        "max": float(errors.abs().max()),
        "label": label,
        "relative": rmse / label if label > 0 else float("nan"),
    }
    return result if component == "all" else result | {"mse": rmse**2, "angle": _angles(learned, labels)}


def _energy_errors(errors: Tensor, exact: Tensor) -> dict[str, float]:
    centred = errors - errors.mean()
    return {
        "rmse": float(centred.square().mean().sqrt()),
        "max": float(centred.abs().max()),
        "offset": float(errors.mean()),
        "label": float(exact.std(correction=0)),
    }


def _angles(a: Tensor, b: Tensor) -> dict[str, float]:
    a, b = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    lengths = a.norm(dim=-1), b.norm(dim=-1)
    keep = (lengths[0] > 0) & (lengths[1] > 0)
    if not bool(keep.any()):
        return {"median": float("nan"), "q90": float("nan")}
    a, b = (x[keep] / n[keep, None] for x, n in zip((a, b), lengths, strict=True))
    # Half the angle from the diagonals of a rhombus: exact near 0 and near 180 degrees, where the cosine is not.
    degrees = torch.rad2deg(2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))).sort().values
    return {name: float(degrees[int(q * (len(degrees) - 1))]) for name, q in (("median", 0.5), ("q90", 0.9))}
