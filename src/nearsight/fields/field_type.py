"""The law of a classical field: its components, how they turn with the lattice, and what else leaves energies alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import array, choice, generator, instance, integer
from nearsight.groups import PointGroup

Internal = Literal["none", "Z2", "SO(n)", "O(n)", "S(n)"]
Values = Literal["real", "unit", "0/1", "+-1", "-1,0,1", "one-hot"]


@dataclass(frozen=True, repr=False)
class FieldType(Described):
    r"""A site field: how its components transform under the point group, and under a symmetry of their own.

    Under an operation g of the site group the field moves and its components mix,

    .. math:: (g\,\Phi)_{g(i)} = M(g)\, \Phi_i .

    Type I fields (displacements, Jahn-Teller modes) have this law alone. Type II fields (spins without spin-orbit
    coupling, Ising and Potts variables) also have an ``internal`` group that acts on all sites at once and leaves the
    lattice where it is.

    Parameters
    ----------
    name: symbol of the field in plots and messages.
    law: the blocks of M(g) in the order of the components: the name of an irreducible representation of the site group
        ("B1"), "trivial" for an invariant component, or "vector" for a Cartesian vector of the lattice's dimension.
    internal: "none"; "Z2", all components change sign together; "SO(n)", rotations of the n components (spins);
        "O(n)", reflections as well: for three components the reversal Φ → -Φ (spins with time reversal), for two that
        of one axis, which exchanges the handedness of XY spins; "S(n)", permutations of the n components
        (Potts). Operations other than Z2 commute with a trivial law only.
    values: what a site may hold: "real" numbers, a "unit" vector, occupations "0/1", Ising signs "+-1", the three
        values "-1,0,1", or one component equal to 1 and the others 0 ("one-hot").
    basis: an orthogonal matrix U, rows first, if M(g) is not block diagonal as it stands: M = U diag(blocks) Uᵀ.
        :meth:`from_matrices` finds it.

    Examples
    --------
    >>> import nearsight as ns
    >>> group = ns.lattices.site_group(ns.lattices.square(4))
    >>> quadrupole = ns.fields.FieldType("Q", ("B1", "B2"))  # x² - y² and xy
    >>> turn = [[0, -1], [1, 0]]  # a quarter turn reverses both
    >>> g = next(k for k, matrix in enumerate(group.matrices.round().tolist()) if matrix == turn)
    >>> quadrupole.representation(group)[g].round(12).tolist()
    [[-1.0, 0.0], [0.0, -1.0]]
    """

    name: str
    law: tuple[str, ...] = ("trivial",)
    internal: Internal = "none"
    values: Values = "real"
    basis: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        instance(self.name, str, "name")
        if isinstance(self.law, str) or not np.iterable(self.law) or not all(isinstance(x, str) for x in self.law):
            raise TypeError(f"law must hold a word for every block, such as ('B1', 'trivial'), got {self.law!r}.")
        object.__setattr__(self, "law", tuple(self.law))
        if self.basis is not None:
            U = array(self.basis, "basis", ("component", "component"))
            if U.shape[0] != U.shape[1] or not np.allclose(U @ U.T, np.eye(len(U)), atol=1e-6):
                raise ValueError(f"basis must be an orthogonal matrix, got shape {U.shape} and U Uᵀ ≠ 1.")
            object.__setattr__(self, "basis", tuple(map(tuple, U.tolist())))
        if not self.law:
            raise ValueError("A field has at least one component; law=('trivial',) is a scalar.")
        choice(self.internal, "internal", get_args(Internal))
        choice(self.values, "values", get_args(Values))
        if self.internal not in ("none", "Z2") and set(self.law) != {"trivial"}:
            raise ValueError(
                f"internal={self.internal!r} mixes components that the lattice must leave alone: every entry of law "
                f"must be 'trivial', got {self.law}."
            )

    def components(self, group: PointGroup) -> int:
        """Number of components per site."""
        instance(group, PointGroup, "group", "site_group(lattice) makes one.")
        return sum(self._block(name, group).shape[-1] for name in self.law)

    def representation(self, group: PointGroup) -> np.ndarray:
        """M(g) for every element ``(order, components, components)``."""
        instance(group, PointGroup, "group", "site_group(lattice) makes one.")
        blocks = [self._block(name, group) for name in self.law]
        size = sum(b.shape[-1] for b in blocks)
        if self.basis is not None and len(self.basis) != size:
            shape = np.shape(self.basis)
            raise ValueError(f"basis must be {size} × {size} for the law {self.law} of {group.name}, got {shape}.")
        return self.assembled(blocks)

    def assembled(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """M ``(..., components, components)`` from its blocks ``(..., n, n)``, those of one operation or of several."""
        stops = np.cumsum([b.shape[-1] for b in blocks])
        result = np.zeros((*blocks[0].shape[:-2], stops[-1], stops[-1]))
        for b, stop in zip(blocks, stops, strict=True):
            own = slice(stop - b.shape[-1], stop)
            result[..., own, own] = b
        if self.basis is None:
            return result
        U = np.array(self.basis)
        return U @ result @ U.T

    @staticmethod
    def _block(name: str, group: PointGroup) -> np.ndarray:
        if name == "trivial":
            return np.ones((len(group), 1, 1))
        if name == "vector":
            return group.matrices
        return group.irrep(name).matrices

    @classmethod
    def from_matrices(cls, name: str, group: PointGroup, matrices: np.ndarray, **options: Any) -> Self:
        """The law with any orthogonal matrices M(g) ``(order, n, n)``, in the order of ``group.matrices``.

        They are taken apart into irreps, so that the law is stored as names and one basis U. ``ValueError`` if they are
        no representation of the group.
        """
        copies = instance(group, PointGroup, "group", "site_group(lattice) makes one.").decompose(matrices)
        law = tuple(irrep for irrep, x in copies.items() for _ in x)
        basis = np.concatenate([column for x in copies.values() for column in x], axis=1)
        diagonal = np.array_equal(basis, np.eye(len(basis)))
        return cls(name, law, basis=None if diagonal else tuple(map(tuple, basis)), **options)

    def transform(self, field: Tensor, group: PointGroup, element: int, permutation: np.ndarray) -> Tensor:
        """g·Φ for a field ``(*batch, site, component)``; ``permutation[i]`` is the site at which site i arrives."""
        matrix = torch.as_tensor(self.representation(group)[element], dtype=field.dtype, device=field.device)
        result = torch.empty_like(field)
        result[..., torch.as_tensor(permutation, device=field.device), :] = field @ matrix.T
        return result

    def internal_operation(self, components: int, rng: torch.Generator) -> Tensor:
        """A random element R of the internal group ``(component, component)``, float64: Φ_i → R Φ_i on every site."""
        generator(rng)
        identity = torch.eye(integer(components, "components", least=1), dtype=torch.float64)
        sign = 1.0 if torch.rand((), generator=rng) < 0.5 else -1.0
        if self.internal == "none":
            return identity
        if self.internal == "Z2":
            return -identity
        if self.internal == "S(n)":
            return identity[torch.randperm(components, generator=rng)]
        rotation = torch.linalg.qr(torch.randn(components, components, generator=rng, dtype=torch.float64)).Q
        if torch.linalg.det(rotation) < 0:
            rotation[:, 0] = -rotation[:, 0]
        if self.internal == "O(n)" and sign < 0:
            rotation[:, 0] = -rotation[:, 0]
        return rotation

    def random(self, sites: int, components: int, rng: torch.Generator, *batch: int) -> Tensor:
        """An uncorrelated field ``(*batch, site, component)`` of allowed values, float64; real numbers are normal."""
        generator(rng)
        sites, components = integer(sites, "sites", least=0), integer(components, "components", least=1)
        shape = (*(integer(n, "batch", least=0) for n in batch), sites, components)
        if self.values == "one-hot":
            state = torch.randint(components, shape[:-1], generator=rng)
            return torch.nn.functional.one_hot(state, components).double()
        if self.values == "-1,0,1":
            return torch.randint(-1, 2, shape, generator=rng).double()
        field = torch.randn(shape, generator=rng, dtype=torch.float64)
        if self.values == "unit":
            return field / field.norm(dim=-1, keepdim=True)
        if self.values == "real":
            return field
        occupied = (field > 0).double()
        return occupied if self.values == "0/1" else 2 * occupied - 1

    def check_values(self, field: Tensor, *, tolerance: float = 1e-5) -> Tensor:
        """Refuse a field that holds other ``values`` than it may, naming the first site that does."""
        match self.values:
            case "real":
                return field
            case "unit":
                error, cure = (field.norm(dim=-1) - 1).abs(), "divide by field.norm(dim=-1, keepdim=True)"
            case "one-hot":
                error = (field * (1 - field)).abs().amax(-1) + (field.sum(-1) - 1).abs()
                cure = "torch.nn.functional.one_hot makes it from states 0, 1, ..."
            case "0/1":
                error, cure = (field * (1 - field)).abs().amax(-1), "occupations are 0 or 1"
            case "+-1":
                error, cure = (field * field - 1).abs().amax(-1), "Ising variables are +1 or -1"
            case "-1,0,1":
                error, cure = (field * (field * field - 1)).abs().amax(-1), "spins with a vacancy are -1, 0 or 1"
        bad = ~(error <= tolerance)
        if bool(bad.any()):
            where = tuple(torch.nonzero(bad)[0].tolist())
            raise ValueError(
                f"{self.name} holds {self.values} values, but {int(bad.sum())} sites differ, the first at {where}: "
                f"{[round(v, 6) for v in field[where].tolist()]}; {cure}."
            )
        return field


def checked_field_type(value: Any) -> FieldType:
    """A field type; anything else is refused with the way to make one."""
    return instance(value, FieldType, "field_type", "nearsight.fields makes them: scalar(), spin().")


def check_field(field: Tensor, sites: int, components: int, *, finite: bool = False) -> Tensor:
    """Refuse a field that is not ``(*batch, sites, components)`` of floating-point numbers, naming the cure."""
    if not isinstance(field, Tensor):
        raise TypeError(f"A field is a torch.Tensor, got {type(field).__name__}; wrap arrays with torch.as_tensor.")
    if field.is_meta or field.layout != torch.strided:
        kind = "without numbers (meta)" if field.is_meta else f"of the layout {field.layout}"
        raise TypeError(f"A field is a dense tensor, got one {kind}; make it with .to_dense() or torch.zeros_like.")
    if not field.is_floating_point():
        raise TypeError(f"A field holds floating-point numbers, got {field.dtype}; convert it with .double().")
    if field.ndim < 2 or tuple(field.shape[-2:]) != (sites, components):
        raise ValueError(
            f"A field of this model has shape (*batch, {sites}, {components}), got {tuple(field.shape)}. "
            f"A grid of scalars is brought into shape by field.reshape(*batch, {sites}, {components})."
        )
    if finite and not bool(torch.isfinite(field).all()):
        values = field.detach().cpu()
        raise ValueError(not_finite(int((~values.isfinite()).sum()), values.isnan().flatten(-2).all(-1).numpy()))
    return field


def not_finite(count: int, empty: np.ndarray) -> str:
    """What to say of a field with NaN or infinite values; ``empty`` ``(*batch,)`` marks where all values are NaN."""
    if empty.any() and empty.ndim:
        return (
            f"{int(empty.sum())} of {empty.size} snapshots are NaN throughout, as records are that a run has not "
            "written yet: dynamics.Trajectory.open(path).data ends with the last one that is written."
        )
    return f"The field holds {count} NaN or infinite values; a smaller time step is the usual cure."
