"""Schoenflies names of point groups and Mulliken names of their irreps, from the matrices alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOLERANCE = 1e-6


def element_order(g: np.ndarray) -> int:
    """The smallest n > 0 with gⁿ = 1."""
    power, n = g, 1
    while not np.allclose(power, np.eye(len(g)), atol=TOLERANCE):
        power, n = power @ g, n + 1
        if n > 1000:
            raise ValueError("An element of the group has no finite order; its matrix is not a point-group operation.")
    return n


def group_name(matrices: np.ndarray) -> str:
    """Schoenflies symbol. In one and two dimensions Cₙ holds rotations only and Dₙ adds n mirrors."""
    proper = np.linalg.det(matrices) > 0
    rotations = [element_order(g) for g in matrices[proper]]
    improper = matrices[~proper]
    if matrices.shape[-1] < 3:
        return f"{'D' if len(improper) else 'C'}{len(rotations)}"
    inversion = any(np.allclose(g, -np.eye(3), atol=TOLERANCE) for g in improper)
    mirrors = sum(abs(np.trace(g) - 1) < TOLERANCE for g in improper)
    n = max(rotations)
    if rotations.count(3) >= 8:
        letter = {12: "T", 24: "O", 60: "I"}[len(rotations)]
        return letter + ("" if not len(improper) else "d" if letter == "T" and not inversion else "h")
    dihedral = len(rotations) == 2 * n
    name = f"{'D' if dihedral else 'C'}{n}"
    if not len(improper):
        return name
    if inversion:
        odd = "Ci" if n == 1 else f"D{n}d" if dihedral else f"S{2 * n}"
        return odd if n % 2 else name + "h"
    if dihedral:
        return name + ("h" if mirrors > n else "d")
    if mirrors == 0:
        return f"S{2 * n}"
    return "Cs" if n == 1 else name + ("v" if mirrors == n else "h")


def irrep_names(matrices: np.ndarray, characters: Sequence[np.ndarray]) -> list[str]:
    """Mulliken symbol of every irrep, given its characters on the elements in canonical order.

    In the plane A and B are even and odd under the rotation by 2π/n, and 1 and 2 even and odd under the first mirror in
    canonical order, which is y → -y where that is a symmetry: with nearest neighbours along x, x² - y² of D4 is B1 and
    xy is B2. Eₖ turns by k times the angle. In space the principal axis takes the part of the rotation and the first
    two-fold axis normal to it (or mirror through it) the part of the mirror; g and u give the parity, ′ and ″ the
    reflection in the plane normal to the axis. In cubic groups 1 and 2 refer to the four-fold operation, in I and Ih to
    the five-fold one.
    """
    if matrices.shape[-1] < 3:
        principal, second = _turn(matrices, np.linalg.det(matrices) > 0), _first(np.linalg.det(matrices) < 0)
        return _symbols(matrices, characters, principal=principal, second=second)
    trace, proper = np.trace(matrices, axis1=1, axis2=2), np.linalg.det(matrices) > 0
    inversion = _first(~proper & (trace < -3 + TOLERANCE))
    orders = np.array([element_order(g) for g in matrices])
    if (proper & (orders == 3)).sum() >= 8:
        fivefold = _turn(matrices, proper) if (orders == 5).any() else None
        second = _first(proper & (orders == 4)) if fivefold is None else fivefold
        second = _first(orders == 4) if second is None else second
        return _symbols(matrices, characters, second=second, inversion=inversion)
    n = orders[proper].max()
    # In D2d and S4 the four-fold rotation-reflection outranks the two-fold axis that it contains; so do S8, S12, ...
    outranks = ~proper & (orders == 2 * n) & (n % 2 == 0)
    principal = int(np.where(outranks, trace, -np.inf).argmax()) if outranks.any() else _turn(matrices, proper)
    axis = _axis(matrices[principal])
    halves = np.array(
        [order == 2 and abs(_axis(g) @ axis) < TOLERANCE for g, order in zip(matrices, orders, strict=True)]
    )
    mirrors = ~proper & (np.abs(trace - 1) < TOLERANCE)
    second = _first(halves & proper & (n > 1))
    second = _first(halves & mirrors & (n > 1)) if second is None else second
    across = np.array([n == 1 or abs(_axis(g) @ axis) > 1 - TOLERANCE for g in matrices])
    horizontal = _first(mirrors & across) if inversion is None and n % 2 else None
    twofold = np.flatnonzero(proper & (orders == 2))
    axes = twofold[::-1] if n == 2 and len(twofold) == 3 and (orders < 4).all() else None
    return _symbols(
        matrices, characters, principal=principal, second=second, inversion=inversion, horizontal=horizontal, axes=axes
    )


def _symbols(
    matrices: np.ndarray,
    characters: Sequence[np.ndarray],
    *,
    principal: int | None = None,
    second: int | None = None,
    inversion: int | None = None,
    horizontal: int | None = None,
    axes: np.ndarray | None = None,
) -> list[str]:
    cubic = principal is None
    names = []
    for chi in characters:
        dim = round(float(chi[0]))
        letter = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}[dim]
        number = ""
        if dim == 1 and axes is not None:  # D2 and D2h: B1, B2, B3 are even under the two-fold axis z, y, x
            even = np.flatnonzero(chi[axes] > 0)
            letter, number = ("A", "") if len(even) == 3 else ("B", str(even[0] + 1))
        elif dim == 1 or (cubic and dim == 3):
            letter = "B" if not cubic and chi[principal] < 0 else letter
            number = "" if second is None else "1" if chi[second] > 0 else "2"
        elif not cubic:
            turn = float(np.arccos(np.clip(chi[principal] / 2, -1, 1))) / (2 * np.pi)
            number = str(round(turn * element_order(matrices[principal])))
        parity = "" if inversion is None else "g" if chi[inversion] > 0 else "u"
        plane = "" if horizontal is None else "'" if chi[horizontal] > 0 else "''"
        names.append((letter, number, parity + plane))
    numbers = {letter: {number for other, number, _ in names if other == letter} for letter, _, _ in names}
    return [letter + ("" if len(numbers[letter]) == 1 else number) + suffix for letter, number, suffix in names]


def _first(flags: np.ndarray) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None


def _turn(matrices: np.ndarray, proper: np.ndarray) -> int:
    """The first proper rotation by the smallest angle; the identity if there is no other."""
    trace = np.where(proper, np.trace(matrices, axis1=1, axis2=2), -np.inf)
    trace[0] = -np.inf
    return int(trace.argmax()) if len(trace) > 1 and np.isfinite(trace.max()) else 0


def _axis(g: np.ndarray) -> np.ndarray:
    """Unit vector along the axis of a rotation, or normal to a mirror (any direction for ±1)."""
    rotation = g * np.sign(np.linalg.det(g))
    values, vectors = np.linalg.eig(rotation)
    return np.real(vectors[:, np.argmin(np.abs(values - 1))])
