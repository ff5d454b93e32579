"""Force fields of several structures as one, on the lattice that holds all of them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from nearsight._validation import instance
from nearsight.forcefields.forcefield import ForceField, Forces, revived
from nearsight.lattices import Lattice, Structures


class Disjoint(ForceField):
    """One force field for every structure of a :class:`~nearsight.lattices.Structures`, each blind to the others.

    Exact electrons of several structures are solved one by one, each with its own chemical potential, and schemes,
    records and comparisons see one field ``(*batch, site, component)``. The energy is the sum. Learned force fields
    need no such wrapper: they live on ``Structures`` as on any other lattice.

    >>> import torch
    >>> from nearsight.forcefields import Disjoint, ExactForceField
    >>> from nearsight.hamiltonians import Exponential, SDModel
    >>> from nearsight.lattices import random_cloud
    >>> from nearsight.solvers import Dense
    >>> rng = torch.Generator().manual_seed(1)
    >>> clouds = [random_cloud(n, 0.8, 0.5, rng=rng) for n in (10, 16)]
    >>> both = Disjoint(*(ExactForceField(SDModel(c, t=Exponential(-1.0)), Dense(filling=0.5, kT=0.0)) for c in clouds))
    >>> both(torch.ones(26, 3).double()).force.shape
    torch.Size([26, 3])
    """

    lattice: Structures
    parts: nn.ModuleList
    _parts: ClassVar = {"parts": revived}

    def __init__(self, *parts: ForceField) -> None:
        super().__init__()
        if not parts:
            raise ValueError("Disjoint needs one or more force fields, one for every structure.")
        for k, part in enumerate(parts):
            instance(part, ForceField, f"parts[{k}]")
            if part.components != parts[0].components:
                raise ValueError(
                    f"All parts must act on fields of {parts[0].components} components, part {k} does not."
                )
        self.lattice = Structures([part.lattice for part in parts])  # type: ignore[misc]
        self.parts = nn.ModuleList(parts)
        self.components, self.field_type = parts[0].components, parts[0].field_type

    @property
    def model(self) -> Any:
        """The Hamiltonian of the first structure; all have the same parameters."""
        return self.parts[0].model

    @property
    def electrons(self) -> Disjoint:
        """The electrons of exact parts alone."""
        return Disjoint(*(part.electrons for part in self.parts))  # type: ignore[arg-type]

    @property
    def classical(self) -> Disjoint:
        """The classical energies of exact parts alone."""
        return Disjoint(*(part.classical for part in self.parts))  # type: ignore[arg-type]

    def on(self, lattice: Lattice) -> Self:
        """The same parts on other structures, as many as there are parts."""
        structures = instance(lattice, Structures, "lattice", "lattices.Structures holds several clouds.").structures
        if len(structures) != len(self.parts):
            raise ValueError(f"{len(self.parts)} force fields serve as many structures, got {lattice!r}.")
        return type(self)(*(part.on(s) for part, s in zip(self.parts, structures, strict=True)))  # type: ignore[operator]

    def evaluate(self, field: Tensor) -> Forces:
        fields = self.lattice.split(field)
        results = [part.connected(f) for part, f in zip(self.parts, fields, strict=True)]  # type: ignore[operator]
        energy = results[0].energy
        for result in results[1:]:
            energy = None if energy is None or result.energy is None else energy + result.energy
        return Forces(torch.cat([result.force for result in results], dim=-2), energy)
