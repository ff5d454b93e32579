"""What spins and fields computed elsewhere reveal about the conventions they were written in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.fields import tangent
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.training._neighbour_law import Pairs, linear_law, neighbour_law
from nearsight.training._site_orders import SiteOrder, axis_orders, file_orders
from nearsight.training.dataset import DataSet
from nearsight.training.metrics import _unit_spins

ENOUGH = 64
"""Snapshots that the regressions look at, spread evenly over the data."""
DISAGREE = 0.05
"""Fields that differ from exact ones by more are refused; right ones of other programs do by less than 0.01."""
SPINS = 20000
"""Spins that the comparison of orders looks at."""


def check_spins(data: DataSet, *, cutoff: float = 3.5) -> dict[str, Any]:
    r"""Sum rules and regressions of the fields H on unit spins, as plain numbers.

    That H is the field of a given model can be told by solving the model alone (:func:`identify`). What follows needs
    the data only, and finds most errors of conventions:

    - ``parallel``: rms of H·S over that of H⊥, 0 for fields stored as torques; electrons give 2 to 250. ``along``: the
      mean of H·S over its rms. Ω and F are concave in the coupling J and even, so that :math:`\sum_i \mathbf S_i \cdot
      \mathbf H_i = -J\, \partial \Omega / \partial J \ge 0` for electrons in every snapshot; they give 0.86 to 1.
    - ``total_torque``: :math:`|\sum_i \mathbf S_i \times \mathbf H_i|` over :math:`(\sum_i |\mathbf S_i \times
      \mathbf H_i|^2)^{1/2}`, rms over the snapshots. If the energy does not change when all spins are turned, it
      vanishes exactly; what is left is the numerical error of the labels. Fields of unrelated spins have about 1.
      ``total_field``: the same of H; it vanishes instead if the array held torques. ``rearranged``: the total torque if
      the sites, components or snapshots of H came in another order than those of S; None where the torques cancel.
    - ``uniform_field``: the B whose torque :math:`\mathbf M \times \mathbf B` on the total spin explains the total
      torque best, and the share ``left`` that it does not. A small share is a field that was not taken out of H.
    - ``exchange``: the linear law :math:`\mathbf H_\perp \approx (\sum_s c_s \sum_{j \in s} \mathbf S_j)_\perp` over
      the shells s within ``cutoff``: ``distance``, ``coupling`` c_s (for weak coupling that of the RKKY interaction),
      and ``left``, the relative rms of what is not linear. ``others`` holds ``left`` for grids whose axes are exchanged
      or reversed, where this is no symmetry. None if no field is normal to its spin.
    - ``order``: electrons are nearsighted, and a wrong order of sites destroys it. ``left`` is what neighbours leave of
      H⊥ in the declared order, now with weights that depend on how parallel spins are, ``others`` the same for other
      shapes of as many sites and other orders, ``boundaries`` what is left on the sites along every axis' edge and what
      would be if that axis were open instead of periodic, or periodic instead of open; ``labels`` counts the numbers
      behind ``left``.
    - ``level``: mean energy of the snapshots by the linear law, in standard deviations of that of random spins. What
      is relaxed or in equilibrium lies below zero; above it if the sign of H is reversed.
    - ``precession``: the slope and the correlation of dS/dt with S × H along trajectories with times; slope 1 in the
      equation of :class:`nearsight.dynamics.LandauLifshitz`, -1 if the sign of H is reversed, 2 if the fields are half
      of what turns the spins, the gyromagnetic ratio in general; damping does not enter. None if nothing moves, or a
      spin turns by more than half a radian.
    - ``work``: the slope and the correlation of energy differences with :math:`-\bar{\mathbf H} \cdot \Delta \mathbf S`
      along trajectories with energies; slope 1 if H = -∂E/∂S in the units of E, 2 if the fields are half of it. None
      without energies.

    A mirror image of the lattice, and a common rotation of all spins and fields, cannot be told from the original; the
    unit of H is known from energies, times, or the exact forces of a model alone.
    """
    instance(data, DataSet, "data")
    if data.weight is not None:
        raise ValueError("Forces on all sites are compared here, and some of these have weight 0: leave such data out.")
    number(cutoff, "cutoff", above=0)
    if data.components != 3:
        raise ValueError(f"These checks are for spins of three components, got {data.components} in {data!r}.")
    field, force = _unit_spins(data), data.force
    torque = torch.linalg.cross(field, force)
    normal = tangent(force, field)
    along = (force * field).sum(-1)
    rms, rms_along = float(normal.square().sum(-1).mean().sqrt()), float(along.square().mean().sqrt())
    total = _total(torque)
    left, B = _uniform_field(field.sum(-2), torque.sum(-2))
    result = {
        "snapshots": len(data),
        "parallel": rms_along / rms if rms else float("nan"),
        "along": float(along.mean()) / rms_along if rms_along > 1e-6 * rms else float("nan"),
        "total_torque": total,
        "total_field": _total(force),
        "rearranged": _rearranged(data.lattice, field, force) if total > 0.05 else None,
        "uniform_field": {"B": B, "left": left},
        "exchange": None,
        "order": None,
        "level": None,
        "precession": _precession(data, field, force),
        "work": _work(data, field, force),
    }
    if rms > 1e-9 * rms_along:
        S, H = field.numpy(), normal.numpy()
        result["exchange"], result["level"] = _exchange(data, S, H, cutoff)
        result["order"] = _order(data.lattice, S, H, cutoff)
    return result


def _compare_exact(data: DataSet, exact: ForceField, factor: float = 1.0) -> tuple[dict[str, float], list[str]]:
    """Fields of two snapshots against exact ones: slope and what is left, and what that speaks against.

    Where the data hold nothing along the spins, normal parts are compared.
    """
    part = data.take(_spread(len(data), 2))
    field, force, other = part.field, part.force, exact(part.field).force
    if float((force * field).sum(-1).norm()) < 1e-6 * float(force.norm()):
        other = tangent(other, field)
    size = float(other.norm())
    slope = float((force * other).sum()) / size**2 if size else float("nan")
    left = float((force - other).norm()) / size if size else float("nan")
    rest = float((force - slope * other).norm()) / max(float(force.norm()), 1e-300)
    found = []
    if not left < DISAGREE:
        if rest < DISAGREE and slope:
            found.append(
                f"H is {slope:.3g} × the exact field; give factor: {factor / slope:.3g} instead of {factor:.3g}"
            )
        else:
            found.append(
                f"H differs from the exact field by {left:.2g} of its size; training.identify looks for the filling, "
                f"temperature and coupling that were used"
            )
    return {"slope": slope, "left": left}, found


def _total(vectors: Tensor) -> float:
    """|Σ v| over (Σ v²)^½, rms over the snapshots."""
    size = float(vectors.square().sum((-2, -1)).mean().sqrt())
    return float(vectors.sum(-2).square().sum(-1).mean().sqrt()) / size if size else float("nan")


def _rearranged(lattice: Lattice, field: Tensor, force: Tensor) -> dict[str, float]:
    def total(moved: Tensor) -> float:
        return _total(torch.linalg.cross(field, moved))

    result: dict[str, float] = {}
    for order in [*axis_orders(lattice), *file_orders(lattice)]:
        if order.lattice is lattice and order.name:
            place = torch.from_numpy(order.place)
            result[f"sites in another order: {order.name}"] = min(
                total(force[:, place]), total(torch.empty_like(force).index_copy_(1, place, force))
            )
    grid = force.reshape(len(force), *lattice.shape, lattice.n_basis, 3)
    for axis in range(lattice.dim):
        moved = (total(grid.roll(step, 1 + axis).reshape(force.shape)) for step in (1, -1))
        result[f"sites shifted by one along axis {axis}"] = min(moved)
    for name in ("xzy", "yxz", "yzx", "zxy", "zyx"):
        result[f"components in the order {', '.join(name)}"] = total(force[..., ["xyz".index(c) for c in name]])
    for c in range(3):
        result[f"component {'xyz'[c]} of the other sign"] = total(force * (1 - 2 * torch.eye(3)[c]).to(force))
    if len(force) > 2:
        for name, step in (("next", -1), ("previous", 1)):
            moved = torch.linalg.cross(field, force.roll(step, 0))[1:-1]
            result[f"those of the {name} snapshot"] = _total(moved)
    return result


def _uniform_field(total_spin: Tensor, total_torque: Tensor) -> tuple[float, list[float]]:
    norm = float(total_torque.norm())
    if norm == 0:
        return float("nan"), [0.0, 0.0, 0.0]
    # M × B, column by column of B.
    design = torch.linalg.cross(total_spin[:, None].expand(-1, 3, -1), torch.eye(3, dtype=total_spin.dtype)[None])
    design = design.movedim(1, -1).reshape(-1, 3)
    B = torch.linalg.lstsq(design, total_torque.reshape(-1, 1)).solution
    return float((total_torque.reshape(-1, 1) - design @ B).norm()) / norm, B[:, 0].tolist()


def _exchange(data: DataSet, field: np.ndarray, normal: np.ndarray, cutoff: float) -> tuple[dict[str, Any], float]:
    """The linear law, also on grids with other axes, and the energy of the snapshots by it."""
    lattice = data.lattice
    chosen = _spread(len(field), ENOUGH)
    field, normal = field[chosen], normal[chosen]
    pairs = Pairs.of(lattice, cutoff).within(lattice.periodic)  # type: ignore[arg-type]
    law = linear_law(pairs, field, normal)
    others = {
        order.name: linear_law(pairs, order.arranged(field), order.arranged(normal)).left
        for order in axis_orders(lattice)
        if not pairs.unchanged_by(order.place)
    }
    c = law.coefficients
    energy = [-0.5 * x * (pairs.sums(field, s) * field).sum((-2, -1)).mean() for s, x in enumerate(c)]
    # Of random spins ⟨(S·S')²⟩ = 1/3, and every pair is listed twice.
    spread = float(np.sqrt(np.square(c[pairs.shell]).sum() / 6))
    runs = len(np.unique(data.trajectory[chosen]))
    level = sum(energy) / spread * runs**0.5 if spread else float("nan")
    found = {"distance": pairs.distances.tolist(), "coupling": c.tolist(), "left": law.left, "others": others}
    return found, level


def _order(lattice: Lattice, field: np.ndarray, normal: np.ndarray, cutoff: float) -> dict[str, Any]:
    periodic: tuple[bool, ...] = lattice.periodic  # type: ignore[assignment]
    chosen = _spread(len(field), max(1, SPINS // lattice.n_sites))
    field, normal = field[chosen], normal[chosen]

    def left(order: SiteOrder) -> float:
        near = pairs if order.lattice is lattice else Pairs.of(order.lattice, cutoff).within(periodic)
        return neighbour_law(near, order.arranged(field), order.arranged(normal)).left

    everything = Pairs.of(lattice, cutoff)
    pairs = everything.within(periodic)
    law = neighbour_law(pairs, field, normal)
    orders = [*axis_orders(lattice), *file_orders(lattice)]
    others = {o.name: left(o) for o in orders if o.lattice is not lattice or not pairs.unchanged_by(o.place)}
    edges = []
    for axis in range(lattice.dim):
        flags = tuple(p != (k == axis) for k, p in enumerate(periodic))
        edge = np.unique(everything.i[everything.around[:, axis] & (everything.shell == 0)])
        size = np.square(normal[:, edge]).sum(-1).mean(0).sum()
        rest = [x.rest[edge].sum() for x in (law, neighbour_law(everything.within(flags), field, normal))]
        here, there = (float(np.sqrt(x / size)) if size > 0 else float("nan") for x in rest)
        edges.append({"periodic": periodic[axis], "left": here, "other": there, "labels": 2 * len(edge) * len(field)})
    return {"left": law.left, "others": others, "boundaries": edges, "labels": 2 * lattice.n_sites * len(field)}


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many positions, spread evenly."""
    return np.arange(0, count, max(1, -(-count // most)))


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
