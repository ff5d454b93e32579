"""Real irreducible representations of a finite group from its multiplication table, in one fixed gauge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight._validation import array

TOLERANCE = 1e-8
"""Characters, overlaps and eigenvalues closer than this are equal: they are built from a few sums of order one."""

_EXACT = np.sort(np.concatenate([s * np.sqrt([0.25, 0.75, 0.5, 1.0]) for s in (-1, 1)] + [[0.0]]))


@dataclass(frozen=True, eq=False)
class Irrep:
    """A real irreducible representation: one orthogonal matrix ``(dim, dim)`` for every group element.

    ``kind`` is "real" when it stays irreducible over the complex numbers (⟨χ²⟩ = 1) and "complex" when it is a pair of
    complex-conjugate irreps written in real form (⟨χ²⟩ = 2).

    :attr:`PointGroup.irreps` and :meth:`PointGroup.irrep` return them.
    """

    name: str
    matrices: np.ndarray
    kind: str = "real"

    @property
    def dim(self) -> int:
        return self.matrices.shape[-1]

    @cached_property
    def characters(self) -> np.ndarray:
        return np.trace(self.matrices, axis1=1, axis2=2)

    def __repr__(self) -> str:
        return self.name


def _snap(matrices: np.ndarray) -> np.ndarray:
    """Set entries within rounding of 0, ±1/2, ±√2/2, ±√3/2, ±1 to these numbers: every machine holds the same bits."""
    nearest = _EXACT[np.abs(matrices[..., None] - _EXACT).argmin(-1)]
    return np.where(np.abs(matrices - nearest) < TOLERANCE, nearest, matrices)


def _real_irreps(table: np.ndarray, spatial: np.ndarray) -> list[np.ndarray]:
    r"""One matrix representation ``(order, d, d)`` for every real irrep of the group, without names.

    The left regular representation commutes with every right multiplication R(h), so the eigenspaces of a generic
    symmetric element :math:`\sum_h c_h (R(h) + R(h)^T)` of the commutant are invariant, and irreducible over the reals.
    The sum rule :math:`\sum_\Gamma d^2/\langle\chi^2\rangle = |G|` shows that none was split or missed, and
    :math:`\langle\chi^2\rangle + \langle\chi(g^2)\rangle = 2` that no two were merged (Frobenius and Schur).

    The gauge of D(g) is fixed as follows. An irrep with the character of the Cartesian vector gets the ``spatial``
    matrices themselves. Any other one is written in the common eigenvectors of its sign flips (diagonal ``spatial``
    matrices), then of the further involutions that commute with them, such as the swap x ↔ y; the signs of the
    components follow from the first element that connects each of them to an earlier one.
    """
    order = len(table)
    # Fixed numbers with no algebraic relations among them (Lindemann and Weierstrass), which could merge two irreps.
    weights = np.cos(np.arange(1, order + 1) ** 2)
    identity = np.eye(order)
    left = identity[table].transpose(0, 2, 1)  # left[g] e_h = e_{gh}
    commutant = np.einsum("h,ghk->kg", weights, identity[table])  # right multiplications e_g -> e_{gh}
    values, vectors = np.linalg.eigh(commutant + commutant.T)
    found: dict[tuple[float, ...], np.ndarray] = {}
    for space in np.split(vectors, np.flatnonzero(np.diff(values) > TOLERANCE) + 1, axis=1):
        matrices = space.T @ left @ space
        found.setdefault(tuple(np.round(np.trace(matrices, axis1=1, axis2=2), 6) + 0.0), matrices)
    count = sum(m.shape[-1] ** 2 / _norm(m) for m in found.values())
    if abs(count - order) > TOLERANCE * order:
        raise ValueError(f"The sum of d²/⟨χ²⟩ over the irreps is {count:.6f} instead of the group order {order}.")
    squares = np.diag(table)
    if any(
        abs(_norm(m) + np.trace(m[squares], axis1=1, axis2=2).mean() - 2) > TOLERANCE * order for m in found.values()
    ):
        raise ValueError("Two irreps could not be separated.")
    return [_snap(_canonical(matrices, spatial, table)) for matrices in found.values()]


def _norm(matrices: np.ndarray) -> float:
    """⟨χ²⟩ over the group: 1 for a real irrep, 2 for a pair of complex conjugates."""
    return float((np.trace(matrices, axis1=1, axis2=2) ** 2).mean())


def _canonical(matrices: np.ndarray, spatial: np.ndarray, table: np.ndarray) -> np.ndarray:
    dim = matrices.shape[-1]
    characters = np.trace(matrices, axis1=1, axis2=2)
    if np.allclose(characters, np.trace(spatial, axis1=1, axis2=2), atol=TOLERANCE) and dim == spatial.shape[-1]:
        return spatial
    involutions = np.flatnonzero(np.diag(table) == 0)
    diagonal = [np.allclose(spatial[g], np.diag(np.diag(spatial[g])), atol=TOLERANCE) for g in involutions]
    ordered = [*involutions[np.array(diagonal)], *involutions[~np.array(diagonal)]]
    chosen: list[np.ndarray] = []
    for g in ordered:
        if all(np.allclose(matrices[g] @ m, m @ matrices[g], atol=TOLERANCE) for m in chosen):
            chosen.append(matrices[g])
    labels = sum((2.0**-k * m for k, m in enumerate(chosen)), np.zeros((dim, dim)))
    values, frame = np.linalg.eigh(-(labels + labels.T))
    if dim > 1 and np.diff(values).min() < TOLERANCE and _norm(matrices) < 1.5:
        # No commuting involutions separate the components (5-dimensional irreps): a generic symmetric element does.
        weights = (np.arange(1, len(table) + 1) ** 2 * np.sqrt(2)) % 1
        generic = np.einsum("g,gij->ij", weights, matrices)
        frame = np.linalg.eigh(generic + generic.T)[1]
    matrices = frame.T @ matrices @ frame
    signs = np.ones(dim)
    for k in range(1, dim):
        links = (signs[:k] * matrices[:, :k, k]).ravel()
        signs[k] = np.sign(links[np.flatnonzero(np.abs(links) > 1e-6)[0]])
    return signs[:, None] * matrices * signs


def decompose(representation: np.ndarray, irreps: Sequence[Irrep]) -> Mapping[str, np.ndarray]:
    r"""The copies of every irrep in an orthogonal representation T(g) ``(order, n, n)``.

    Returns isometries ``{name: (copies, n, dim)}``, the names with at least one copy in the order of ``irreps``, such
    that every copy X transforms with the same matrices,

    .. math:: T(g)\, X = X\, D(g), \qquad X^T X = 1, \qquad \sum_{\Gamma, r} X X^T = 1 ,

    which is what allows scalar products between coefficients of different copies. Each copy is the average
    :math:`\sum_g T(g)\, e_j e_1^T D(g)^T` of the first basis vector :math:`e_j` that earlier copies do not exhaust.
    """
    if isinstance(irreps, str) or not all(isinstance(i, Irrep) for i in (irreps if np.iterable(irreps) else [None])):
        raise TypeError(f"irreps must be those of a group, group.irreps, got {irreps!r}.")
    representation = array(representation, "representation", (len(irreps[0].matrices), "n", "n"))
    n = representation.shape[-1]
    copies: dict[str, np.ndarray] = {}
    for irrep in irreps:
        # average[:, j, :] intertwines T and D for every j; by Schur's lemma X^T X is a multiple of one.
        average = np.einsum("gij,gm->ijm", representation, irrep.matrices[:, :, 0], optimize=True) / len(representation)
        found: list[np.ndarray] = []
        for j in range(n):
            x = average[:, j]
            for earlier in found:
                x = x - earlier @ (earlier.T @ x)
            weight = float((x**2).sum() / irrep.dim)
            if weight > TOLERANCE:
                found.append(_snap(x / np.sqrt(weight)))
        if found:
            copies[irrep.name] = np.stack(found)
    total = sum(x.shape[0] * x.shape[2] for x in copies.values())
    matrices = {irrep.name: irrep.matrices for irrep in irreps}
    if total != n or any(
        not np.allclose(representation @ x, x @ matrices[name], atol=1e-6) for name, xs in copies.items() for x in xs
    ):
        raise ValueError(
            "T(g) is not an orthogonal representation of this group; its matrices must follow the canonical order of "
            "the elements."
        )
    return copies
