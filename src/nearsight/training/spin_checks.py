"""What spins and fields computed elsewhere reveal about the conventions they were written in."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.fields import tangent
from nearsight.lattices import Lattice
from nearsight.training.dataset import DataSet
from nearsight.training.metrics import unit_spins

ENOUGH = 64
"""Snapshots that the regressions look at, spread evenly over the data."""


def check_spins(data: DataSet, *, cutoff: float = 3.5) -> dict[str, Any]:
    r"""Sum rules and regressions of the fields H on unit spins, as plain numbers.

    That H is the field of a given model can be told by solving the model alone. What follows needs the data only, and
    finds most errors of conventions:

    - ``parallel``: rms of H·S over that of H⊥, 0 for fields stored as torques. No judgement: electrons give 4 to 100.
    - ``total_torque``: :math:`|\sum_i \mathbf S_i \times \mathbf H_i|` over :math:`(\sum_i |\mathbf S_i \times
      \mathbf H_i|^2)^{1/2}`, rms over the snapshots. If the energy does not change when all spins are turned, it
      vanishes exactly; what is left is the numerical error of the labels. Fields of unrelated spins have about 1.
    - ``uniform_field``: the B whose torque :math:`\mathbf M \times \mathbf B` on the total spin explains the total
      torque best, and the share ``left`` that it does not. A small share is a field that was not taken out of H.
    - ``exchange``: the linear law :math:`\mathbf H_\perp \approx (\sum_s c_s \sum_{j \in s} \mathbf S_j)_\perp` over
      the shells s within ``cutoff``: ``distance``, ``coupling`` c_s (for weak coupling that of the RKKY interaction),
      and ``left``, the relative rms of what is not linear. ``others`` holds ``left`` for grids whose axes are exchanged
      or reversed, where this is no symmetry: the right convention has the smallest. None for several sites per cell.
    - ``precession``: the slope and the correlation of dS/dt with S × H along trajectories with times; slope 1 in the
      equation of :class:`nearsight.dynamics.LandauLifshitz`, -1 if the sign of H is reversed, 2 if the fields are half
      of what turns the spins, the gyromagnetic ratio in general; damping does not enter. None if nothing moves, or a
      spin turns by more than half a radian.
    - ``work``: the slope and the correlation of energy differences with :math:`-\bar{\mathbf H} \cdot \Delta \mathbf S`
      along trajectories with energies; slope 1 if H = -∂E/∂S in the units of E, 2 if the fields are half of it. None
      without energies.

    A mirror image of the lattice, and a common rotation of all spins and fields, cannot be told from the original.
    """
    field, force = unit_spins(data), data.force
    torque = torch.linalg.cross(field, force)
    normal = tangent(force, field)
    along = (force * field).sum(-1)
    rms = float(normal.square().sum(-1).mean().sqrt())
    total, single = torque.sum(-2), float(torque.square().sum((-2, -1)).mean().sqrt())
    left, B = _uniform_field(field.sum(-2), total)
    return {
        "snapshots": len(data),
        "parallel": float(along.square().mean().sqrt()) / rms if rms else float("nan"),
        "total_torque": float(total.square().sum(-1).mean().sqrt()) / single if single else float("nan"),
        "uniform_field": {"B": B, "left": left},
        "exchange": _exchange(data.lattice, field, normal, cutoff),
        "precession": _precession(data, field, force),
        "work": _work(data, field, force),
    }


def suspicions(checks: dict[str, Any], factor: float = 1.0) -> list[str]:
    """What :func:`check_spins` found that speaks against the conventions, each with its cure.

    ``factor`` is the one the fields were multiplied by before; the factor proposed replaces it.
    """
    found = []
    if checks["total_torque"] > 0.05:
        if checks["uniform_field"]["left"] < 0.3:
            B = ", ".join(f"{b:.4g}" for b in checks["uniform_field"]["B"])
            found.append(f"the fields hold a uniform field of ({B}); give it as external, to be taken out of them")
        else:
            found.append(
                f"the torques add up to {checks['total_torque']:.2g} of their size instead of 0, as they must for "
                f"energies that do not change when all spins turn; compare the axes and the order of sites of the "
                f"spins with those of the fields"
            )
    exchange = checks["exchange"]
    if exchange is not None and exchange["others"]:
        name, best = min(exchange["others"].items(), key=lambda item: item[1])
        if best < 0.95 * exchange["left"]:
            found.append(
                f"a linear law leaves {exchange['left']:.2f} of the fields, but only {best:.2f} on a grid with "
                f"{name}; give the primitive vectors your axes run along as vectors"
            )
    for name, meaning in (("precession", "dS/dt = S × H"), ("work", "H = -∂E/∂S")):
        if checks[name] is not None and abs(checks[name]["correlation"]) > 0.5:
            slope = checks[name]["slope"]
            if not 0.8 < slope < 1.25:
                found.append(
                    f"{meaning} holds for {slope:.3g} H instead of H; give factor: {factor * slope:.3g} instead of "
                    f"{factor:.3g}"
                )
    return found


def _uniform_field(total_spin: Tensor, total_torque: Tensor) -> tuple[float, list[float]]:
    norm = float(total_torque.norm())
    if norm == 0:
        return float("nan"), [0.0, 0.0, 0.0]
    # M × B, column by column of B.
    design = torch.linalg.cross(total_spin[:, None].expand(-1, 3, -1), torch.eye(3, dtype=total_spin.dtype)[None])
    design = design.movedim(1, -1).reshape(-1, 3)
    B = torch.linalg.lstsq(design, total_torque.reshape(-1, 1)).solution
    return float((total_torque.reshape(-1, 1) - design @ B).norm()) / norm, B[:, 0].tolist()


def _exchange(lattice: Lattice, field: Tensor, normal: Tensor, cutoff: float) -> dict[str, Any] | None:
    if lattice.n_basis > 1 or not all(lattice.periodic) or float(normal.norm()) == 0:  # type: ignore[arg-type]
        return None
    chosen = torch.arange(0, len(field), max(1, len(field) // ENOUGH))[:ENOUGH]
    field, normal = field[chosen], normal[chosen]
    around = lattice.neighbourhood(cutoff).without_centre()
    distance = np.round(around.distances[-len(around.cells) :], 6)
    shells = [around.cells[distance == d] for d in np.unique(distance)]
    coupling, left = _linear_law(lattice, field, normal, shells)
    others = {}
    for axes in itertools.permutations(range(lattice.dim)):
        for signs in itertools.product((1, -1), repeat=lattice.dim):
            moved = [shell[:, axes] * np.array(signs) for shell in shells]
            symmetry = all(_same(a, b) for a, b in zip(shells, moved, strict=True))
            fits = all(lattice.shape[a] == n for a, n in zip(axes, lattice.shape, strict=True))
            # A reversal of all axes is a symmetry of every such law.
            if fits and not symmetry and signs[0] > 0:
                others[_name(axes, signs)] = _linear_law(lattice, field, normal, moved)[1]
    return {"distance": np.unique(distance).tolist(), "coupling": coupling, "left": left, "others": others}


def _linear_law(lattice: Lattice, field: Tensor, normal: Tensor, shells: list[np.ndarray]) -> tuple[list[float], float]:
    columns = []
    for shell in shells:
        sources = torch.from_numpy(lattice.index(lattice.cells[:, None] + shell[None]))
        columns.append(tangent(field[:, sources].sum(2), field).reshape(-1))
    design, y = torch.stack(columns, 1), normal.reshape(-1, 1)
    # On small tori shells coincide: the smallest solution shares a coupling among them.
    c = torch.linalg.lstsq(design, y, driver="gelsd").solution
    return c[:, 0].tolist(), float((y - design @ c).norm() / y.norm())


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return {tuple(x) for x in a.tolist()} == {tuple(x) for x in b.tolist()}


def _name(axes: tuple[int, ...], signs: tuple[int, ...]) -> str:
    moved = [f"axes in the order {', '.join(map(str, axes))}"] if axes != tuple(sorted(axes)) else []
    moved += [f"axis {k} reversed" for k, sign in enumerate(signs) if sign < 0]
    return " and ".join(moved)


def _pairs(data: DataSet) -> tuple[Tensor, Tensor]:
    """Positions of snapshots that follow one another in a trajectory."""
    order = np.lexsort((data.time, data.trajectory))
    one, two = order[:-1], order[1:]
    keep = (data.trajectory[one] == data.trajectory[two]) & (data.time[two] > data.time[one])
    return torch.from_numpy(one[keep]), torch.from_numpy(two[keep])


def _regression(x: Tensor, y: Tensor) -> dict[str, float] | None:
    xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    return {"slope": xy / xx, "correlation": xy / (xx * yy) ** 0.5} if xx > 0 and yy > 0 else None


def _precession(data: DataSet, field: Tensor, force: Tensor) -> dict[str, float] | None:
    one, two = _pairs(data)
    if not len(one):
        return None
    change = field[two] - field[one]
    if float(change.norm(dim=-1).max()) > 0.5:
        return None
    dt = torch.from_numpy(data.time)[two] - torch.from_numpy(data.time)[one]
    mean = 0.5 * (torch.linalg.cross(field[one], force[one]) + torch.linalg.cross(field[two], force[two]))
    return _regression(mean, change / dt[:, None, None])


def _work(data: DataSet, field: Tensor, force: Tensor) -> dict[str, float] | None:
    one, two = _pairs(data)
    if data.energy is None or not len(one):
        return None
    work = -0.5 * ((force[one] + force[two]) * (field[two] - field[one])).sum((-2, -1))
    return _regression(work, data.energy[two] - data.energy[one])
