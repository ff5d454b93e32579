"""Textures of unit spins: ferromagnet, helix, cone, skyrmion lattice, and what disturbs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, generator, instance, integer, number, numbers
from nearsight.fields.catalogue import spin
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

Vector = Sequence[float] | np.ndarray


def random_spins(lattice: Lattice, rng: torch.Generator, *batch: int) -> Tensor:
    """Independent directions, uniform on the sphere, ``(*batch, site, 3)``, float64: the start of a quench."""
    return spin().random(checked_lattice(lattice).n_sites, 3, rng, *batch)


def ferromagnet(lattice: Lattice, direction: Vector = (0.0, 0.0, 1.0)) -> Tensor:
    """All spins along ``direction``, ``(site, 3)``."""
    return torch.from_numpy(np.tile(_unit(direction, "direction"), (checked_lattice(lattice).n_sites, 1)))


def helix(lattice: Lattice, Q: Vector, *, axis: Vector = (0.0, 0.0, 1.0), phase: float = 0.0) -> Tensor:
    r"""The helix S_i = e₁ cos(Q·r_i + φ) + e₂ sin(Q·r_i + φ) of wave vector Q, ``(site, 3)``.

    Spins turn in the plane normal to ``axis``, anticlockwise about it along Q; S(Q) has its two peaks at ±Q.
    """
    return cone(lattice, Q, axis=axis, magnetisation=0.0, phase=phase)


def cone(
    lattice: Lattice, Q: Vector, *, axis: Vector = (0.0, 0.0, 1.0), magnetisation: float = 0.5, phase: float = 0.0
) -> Tensor:
    """A helix tilted towards its axis, to a magnetisation per site between -1 and 1, ``(site, 3)``."""
    checked_lattice(lattice)
    magnetisation, phase = number(magnetisation, "magnetisation", least=-1, most=1), number(phase, "phase")
    e1, e2, e3 = _frame(axis)
    angle = (lattice.positions @ _fitting(Q, lattice) + phase)[:, None]
    across = np.sqrt(1 - magnetisation**2)
    return torch.from_numpy(across * (np.cos(angle) * e1 + np.sin(angle) * e2) + magnetisation * e3)


def skyrmion_lattice(
    lattice: Lattice,
    Q: Vector = (np.pi / 3, 0.0),
    *,
    amplitude: float | np.ndarray = 1.0,
    magnetisation: float | np.ndarray = 0.0,
    phase: float | np.ndarray = 0.0,
    vorticity: int = 1,
    axis: Vector = (0.0, 0.0, 1.0),
) -> Tensor:
    r"""Three helices whose wave vectors lie at 120°: a triangular lattice of skyrmions, ``(site, 3)``,

    .. math:: \mathbf S_i \sim \big(\cos q_1 - \tfrac12 \cos q_2 - \tfrac12 \cos q_3\big)\, \mathbf e_1
              + \tfrac{\sqrt3}{2} \big(\cos q_2 - \cos q_3\big)\, \mathbf e_2
              + \big[A \sum_\eta \sin(q_\eta + \phi) + M\big]\, \mathbf e_3, \qquad
              q_\eta = \mathbf Q_\eta \cdot \mathbf r_i,

    normalised site by site. Each magnetic cell of area 8π²/(√3 Q²), 48 sites of the triangular lattice at Q = π/3,
    carries the topological charge -1 for A = 1, φ = 0 and 0 ≤ M < 2.5 (+1 for negative M), and -2 for φ = π/2 and
    \|M\| ≤ 1; in between, M decides. Where the vector vanishes (at M = 0, φ = 0 on every site with all q_η = 0) the
    spin points along e₃.

    Parameters
    ----------
    lattice: of two dimensions, such that all three waves fit on the torus; at Q = (π/3, 0) a triangular lattice with
        multiples of 12 cells.
    Q: Q₁; Q₂ and Q₃ are turned by ±120°.
    amplitude, magnetisation, phase: A, M and φ, one number or one for each site ``(site,)``; random numbers for each
        site make a perturbed lattice that keeps its topology.
    vorticity: 1 or -1, the sense in which in-plane spins circulate; both have the same energy without spin-orbit
        coupling, and opposite charge.
    axis: e₃, normal to the plane in which the vortices circulate.

    References
    ----------
    R. Ozawa, S. Hayami, Y. Motome, Phys. Rev. Lett. 118, 147205 (2017); S. Hayami, R. Ozawa, Y. Motome, Phys. Rev. B
    95, 224424 (2017).
    """
    if checked_lattice(lattice).dim != 2:
        raise ValueError(f"A lattice of skyrmions lies in a plane, got {lattice!r}.")
    if integer(vorticity, "vorticity, 1 or -1,") not in (1, -1):
        raise ValueError(f"vorticity must be 1 or -1, got {vorticity}.")
    amplitude, magnetisation, phase = (np.asarray(value) for value in (amplitude, magnetisation, phase))
    for name, value in (("amplitude", amplitude), ("magnetisation", magnetisation), ("phase", phase)):
        real = value.dtype.kind in "iuf"
        if np.shape(value) not in ((), (lattice.n_sites,)) or not real or not np.isfinite(value).all():
            raise ValueError(f"{name} must be one finite number or {lattice.n_sites}, one for each site.")
    e1, e2, e3 = _frame(axis)
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in 2 * np.pi / 3 * np.array([0, 1, -1])]
    q = np.array([lattice.positions @ _fitting(turn @ array(Q, "Q", (2,)), lattice) for turn in turns])
    c, s = np.cos(q), np.sin(q + phase).sum(0)
    planar = (c[0] - c[1] / 2 - c[2] / 2)[:, None] * e1 + vorticity * np.sqrt(0.75) * (c[1] - c[2])[:, None] * e2
    spins = planar + (amplitude * s + magnetisation)[:, None] * e3
    length = np.linalg.norm(spins, axis=1, keepdims=True)
    return torch.from_numpy(np.where(length > 1e-9, spins / np.maximum(length, 1e-9), e3))


def perturbed(spins: Tensor, spread: float, rng: torch.Generator) -> Tensor:
    """Spins turned by random small angles: a normal vector of width ``spread`` is added to each, and it is normalised.

    A copy ``(*batch, site, 3)``; a spread of 0.1 turns every spin by about 0.14 rad, one of 1 melts the texture.
    """
    generator(rng)
    instance(spins, Tensor, "spins")
    spread = number(spread, "spread", least=0)
    noise = torch.randn(spins.shape, generator=rng, dtype=spins.dtype, device=rng.device).to(spins.device)
    moved = spins + spread * noise
    return moved / moved.norm(dim=-1, keepdim=True)


def _unit(vector: Vector, name: str) -> np.ndarray:
    v = np.array(numbers(vector, f"{name}, three finite numbers, not all zero,", length=3))
    if not v.any():
        raise ValueError(f"{name} must be three finite numbers, not all zero, got {vector}.")
    return v / np.linalg.norm(v)


def _frame(axis: Vector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A right-handed frame whose third vector is the axis; the coordinate axes for z."""
    e3 = _unit(axis, "axis")
    # The coordinate axis that is farthest from e3, so that x is e1 for e3 = z.
    first = np.eye(3)[int(np.argmin(np.abs(e3)))]
    e1 = first - (first @ e3) * e3
    e1 /= np.linalg.norm(e1)
    return e1, np.cross(e3, e1), e3


def _fitting(Q: Vector, lattice: Lattice) -> np.ndarray:
    """Q as an array; refused where a wave would jump across a periodic boundary."""
    name = f"Q, a wave vector of {lattice!r} of {lattice.dim} finite components in units of 1/a,"
    q = np.array(numbers(Q, name, length=lattice.dim))
    turns = lattice.vectors @ q * np.asarray(lattice.shape) / (2 * np.pi)
    misfit = np.asarray(lattice.periodic) & (np.abs(turns - np.round(turns)) > 1e-6)
    if misfit.any():
        raise ValueError(
            f"Q = {tuple(np.round(q, 4).tolist())} does not fit {lattice!r}: its phase turns {turns.round(4).tolist()} "
            f"times around the torus, which must be whole numbers. Choose the number of cells accordingly (even at π), "
            f"or an open boundary."
        )
    return q
