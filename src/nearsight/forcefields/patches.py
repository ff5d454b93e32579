"""Exact forces on single sites of a lattice of any size, each from the electrons of a patch around it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, indices, instance, integer, number
from nearsight.hamiltonians import Hamiltonian
from nearsight.lattices import Lattice, Patches, cut_patches
from nearsight.solvers import Dense, Pattern, SparseMatrix, local_elements

Boundary = Literal["open", "periodic", "twisted"]
"""How a patch is closed where it was cut out: not at all, on itself, or on itself with a mean over four twists."""
BOUNDARIES: tuple[Boundary, ...] = ("open", "periodic", "twisted")
SolverName = Literal["moments", "dense"]

CHUNK = 2**17
"""Orbitals of all patches that are held at once."""

PRODUCT, EIGENPROBLEM = 1 / 4e8, 1 / 2e9
"""Nominal seconds of one multiplication of a sparse matrix, and of one n³ of a diagonalisation: what a core of 2020
takes. Nominal, so that what is decided by them is decided alike on every machine and in every run."""


@dataclass(frozen=True, eq=False)
class PatchForces:
    r"""Forces of the electrons on single sites, -∂Ω/∂Φ_i at fixed μ, from a patch around each of them.

    Electrons are nearsighted: at a temperature, or with a gap, the density matrix between orbitals at site i depends on
    fields at a distance r as :math:`e^{-r/\xi}`, so that the force on i is that of a piece of the lattice that reaches
    some ξ further, whatever the size of the lattice. The error falls exponentially with ``radius``.

    Parameters
    ----------
    model: the electrons, on a lattice of any size.
    lattice: the large lattice, of the same kind.
    kT, mu: of the electrons.
    radius: how many cells a patch reaches in every direction.
    boundary: "open", "periodic", or "twisted": periodic with a mean over the phases ±π/2 along every axis that is cut,
        which makes the levels of a metal denser.
    solver: "moments" (:func:`nearsight.solvers.local_elements`, kT > 0) or "dense".
    tol: of the elements of ρ, by moments.

    An axis of the lattice that is no longer than the patch is taken whole, with the boundary it has.

    >>> import torch
    >>> import nearsight as ns
    >>> large = ns.lattices.square(300)
    >>> patches = PatchForces(ns.hamiltonians.Holstein(ns.lattices.square(4)), large, kT=0.2, mu=0.0, radius=8)
    >>> field = 2.0 * torch.tensor((-1.0) ** large.cells.sum(-1))[:, None]  # a charge-density wave
    >>> patches(field, torch.tensor([0, 1])).round(decimals=4)
    tensor([[ 0.6478],
            [-0.6478]], dtype=torch.float64)

    References
    ----------
    W. Kohn, Phys. Rev. Lett. 76, 3168 (1996); E. Prodan, W. Kohn, PNAS 102, 11635 (2005).
    """

    model: Hamiltonian
    lattice: Lattice
    kT: float
    mu: float
    radius: int
    boundary: Boundary = "open"
    solver: SolverName = "moments"
    tol: float = 1e-6

    def __post_init__(self) -> None:
        instance(self.model, Hamiltonian, "model")
        if not self.model.lattice.same_kind(instance(self.lattice, Lattice, "lattice")):
            raise ValueError(f"The model lives on a {self.model.lattice.name} lattice, not on {self.lattice!r}.")
        values = {"kT": number(self.kT, "kT", least=0), "mu": number(self.mu, "mu")}
        values |= {"radius": integer(self.radius, "radius", least=1), "tol": number(self.tol, "tol", above=0)}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        choice(self.boundary, "boundary", BOUNDARIES)
        choice(self.solver, "solver", ("moments", "dense"))
        if self.solver == "moments" and self.kT == 0:
            raise ValueError("At kT = 0 the Fermi function is a step, which no series resolves: take solver='dense'.")
        if self.boundary == "twisted" and not hasattr(self.model, "twist"):
            raise ValueError(f"{type(self.model).__name__} knows no twist: take an open or a periodic patch.")

    def __call__(self, field: Tensor, sites: Tensor, replicas: Tensor | None = None) -> Tensor:
        """Forces ``(n, component)``, float64, on ``sites (n,)`` of a field ``(*batch, site, component)``.

        replicas: for each of the sites, in which field of the flattened batch; the first if not given.
        """
        sites = indices(sites, "sites", self.lattice.n_sites)
        flat = field.detach().reshape(-1, *field.shape[-2:])
        where = torch.zeros_like(sites) if replicas is None else indices(replicas, "replicas", len(flat))
        forces = torch.empty(len(sites), self.model.components, dtype=torch.float64)
        for patches in cut_patches(self.lattice, sites.numpy(), self.radius, closed=self.boundary != "open"):
            cuts = [_Cut.of(self.model, patches, twist) for twist in self._twists(patches)]
            many = max(1, CHUNK // cuts[0].model.orbitals)
            for part in np.array_split(np.arange(len(patches.drawn)), -(-len(patches.drawn) // many)):
                index, drawn = torch.from_numpy(patches.sites[part]), torch.from_numpy(patches.drawn[part])
                own = flat[where[drawn].to(flat.device)[:, None], index.to(flat.device)].double().cpu()
                found = torch.stack([cut.force(own, self) for cut in cuts])
                forces[drawn] = found.mean(0)
        return forces

    def seconds(self, count: int, moments: int) -> float:
        """Nominal seconds of forces on ``count`` sites, if a series has so many moments."""
        patches = cut_patches(self.lattice, np.zeros(1, int), self.radius, closed=self.boundary != "open")[0]
        cut = _Cut.of(self.model, patches, self._twists(patches)[0])
        n, elements = cut.model.orbitals, len(cut.pattern.rows)
        complex_ = 4 if cut.model.constant_elements[2].is_complex() or self.boundary == "twisted" else 1
        one = EIGENPROBLEM * n**3 if self.solver == "dense" else 0.5 * PRODUCT * moments * elements * cut.columns
        return len(self._twists(patches)) * count * complex_ * one

    def _twists(self, patches: Patches) -> list[tuple[float, ...] | None]:
        """The phases across the boundaries of a patch, those of the lattice where it is whole."""
        own = getattr(self.model, "twist", None) or (0.0,) * self.lattice.dim
        cut = [k for k in range(self.lattice.dim) if not patches.whole[k] and patches.lattice.periodic[k]]  # type: ignore[index]
        phases: Sequence[float] = (0.0,) if self.boundary != "twisted" else (0.5 * math.pi, -0.5 * math.pi)
        found = []
        for signs in itertools.product(phases, repeat=len(cut)):
            twist = [own[k] if patches.whole[k] else 0.0 for k in range(self.lattice.dim)]
            for k, phase in zip(cut, signs, strict=True):
                twist[k] = phase
            found.append(tuple(twist) if any(twist) else None)
        return found


@dataclass(frozen=True, eq=False)
class _Cut:
    """The electrons of a patch, and what of them bears on the force on the site in its middle."""

    model: Hamiltonian
    centre: int

    @classmethod
    def of(cls, model: Hamiltonian, patches: Patches, twist: tuple[float, ...] | None) -> _Cut:
        arguments: dict[str, Any] = {"lattice": patches.lattice}
        if hasattr(model, "twist"):
            arguments["twist"] = twist
        return cls(model.replaced(**arguments), patches.centre)

    @cached_property
    def pattern(self) -> Pattern:
        return Pattern(*self.model.positions, self.model.orbitals)

    @cached_property
    def elements(self) -> Tensor:
        """Those of the coupling that the field of the centre enters, which two random fields tell apart."""
        shape = self.model.lattice.n_sites, self.model.components
        field = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
        moved = field.clone()
        moved[self.centre] += torch.linspace(0.3, 0.7, self.model.components, dtype=torch.float64)
        return (self.model.coupling(field) != self.model.coupling(moved)).nonzero().squeeze(-1)

    @property
    def columns(self) -> int:
        """Orbitals between which ρ is needed."""
        where = self.elements
        return len(torch.unique(torch.cat([self.model.rows[where], self.model.columns[where]])))

    def force(self, field: Tensor, options: PatchForces) -> Tensor:
        """The force on the centre of every patch ``(patch, component)`` of fields ``(patch, site, component)``."""
        model, where = self.model, self.elements
        rows, columns = model.rows[where], model.columns[where]
        if options.solver == "moments":
            matrix = SparseMatrix(self.pattern, model.elements(field))
            rho = local_elements(matrix, rows, columns, kT=options.kT, mu=options.mu, tol=options.tol)
        else:
            rho = torch.cat(list(self._dense(field, rows, columns, options)))
        with torch.enable_grad():
            leaf = field.clone().requires_grad_()
            h = model.coupling(leaf)[..., where]
            explicit = (
                model.degeneracy * (h * rho.conj()).real.sum()
                if h.is_complex() or rho.is_complex()
                else (model.degeneracy * (h * rho).sum())
            )
            (gradient,) = torch.autograd.grad(explicit + model.background_energy(leaf).sum(), leaf)
        return -gradient[:, self.centre]

    def _dense(self, field: Tensor, rows: Tensor, columns: Tensor, options: PatchForces) -> Iterator[Tensor]:
        solver = Dense(kT=options.kT, mu=options.mu)
        for part in field.split(max(1, 2**24 // self.model.orbitals**2)):
            yield solver.solve(self.model.matrix(part), rows, columns).rho
