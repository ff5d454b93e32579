"""The seam between physics, learning and dynamics."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.fields import FieldType, check_field
from nearsight.forcefields.gradients import _Energy, _Underived, wanted
from nearsight.hamiltonians import ClassicalModel, Hamiltonian
from nearsight.lattices import Lattice
from nearsight.solvers import Solver

if TYPE_CHECKING:
    from nearsight.forcefields.card import Card


class Forces(NamedTuple):
    """Generalised forces ``(*batch, site, component)`` and, if there is one, their energy ``(*batch,)``.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Ising(ns.lattices.chain(6))
    >>> force, energy = ns.forcefields.ClassicalForceField(model)(torch.ones(6, 1))  # what every force field returns
    >>> force.shape, float(energy)
    (torch.Size([6, 1]), -6.0)
    """

    force: Tensor
    energy: Tensor | None


class ForceField(Described, nn.Module, abc.ABC):
    """Generalised forces on a classical field, exact or learned.

    Called with a field ``(*batch, site, component)`` of any floating-point precision; force and energy come back in the
    same precision and on the same device. A force field does not know who calls it.

    Energies of a field that requires a gradient have minus the force as their gradient, so they can be minimised or
    enter a loss. Forces can be differentiated where their derivatives are known (learned and classical ones); where
    they are not (electrons), asking for them raises ``RuntimeError``. Such calls keep a graph of the whole lattice, as
    in training; calls with other fields, or under ``torch.no_grad()``, keep none.

    Raises ``ValueError`` for a field of the wrong shape or with NaN or infinite values.
    """

    lattice: Lattice
    components: int
    field_type: FieldType | None = None
    """What the field may hold and how it transforms, where the force field knows."""
    _card: Card | None = None

    if TYPE_CHECKING:  # nn.Module hides it from editors and type checkers

        def __call__(self, field: Tensor) -> Forces: ...

    @property
    def card(self) -> Card | None:
        """What was learned, from which data, and where it holds: of the force field or of a part that has a card."""
        cards = (m._card for m in self.modules() if isinstance(m, ForceField))
        return next((card for card in cards if card is not None), None)

    def on(self, lattice: Lattice) -> Self:
        """The same on another lattice of the same kind; what is learned is shared, not copied."""
        other = super().on(lattice)
        other._card = self._card
        return other

    @property
    def rng(self) -> torch.Generator | None:
        """What the forces draw from, where they are estimates."""
        return None

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """All random generators, those of parts included: with their states a run goes on as if it had not stopped."""
        drawn = (m.rng for m in self.modules() if isinstance(m, ForceField) and m.rng is not None)
        return tuple(dict.fromkeys(drawn))

    _follows_time: bool = False
    """Whether an argument of its own, not of a part that is a force field, depends on time."""

    @property
    def driven(self) -> bool:
        """Whether forces depend on time; ``at_time(time)`` is the force field of that moment, and dynamics takes it."""
        return any(m._follows_time for m in self.modules() if isinstance(m, ForceField))

    def with_parameters(self, **values: float) -> ForceField:
        """The same at other values of parameters of the Hamiltonian and of the ensemble, by their names.

        ``exact.with_parameters(g=1.3, kT=0.08)`` changes what the model and the solver call g and kT. Of a sum every
        part takes the parameters that it has. :class:`~nearsight.forcefields.LearnedFamily` has learned several values.

        Raises ``ValueError`` for a name that no part has.
        """
        changed, used = self._at_parameters(values)
        if unknown := [name for name in values if name not in used]:
            raise ValueError(
                f"No part of {self!r} has a parameter called {unknown[0]!r}; names are those of the arguments of its "
                "Hamiltonian and its solver, or of the box of a learned family."
            )
        return changed

    def _at_parameters(self, values: Mapping[str, float]) -> tuple[ForceField, set[str]]:
        """The same with the values it has a place for, and the names of those."""
        found = {name: _at_parameters(part, values) for name, part in self.arguments.items()}
        used = set().union(*(names for _, names in found.values()))
        return (self.replaced(**{name: part for name, (part, _) in found.items()}) if used else self), used

    @abc.abstractmethod
    def evaluate(self, field: Tensor) -> Forces:
        """Forces of a field whose shape and values have been checked.

        Results without a graph are connected to a field that requires a gradient by the caller.
        """

    def forward(self, field: Tensor) -> Forces:
        check_field(field, self.lattice.n_sites, self.components)
        # One sum finds NaN and infinity; only if it does (or overflows) is every value looked at.
        if not math.isfinite(float(field.detach().sum())):
            check_field(field, self.lattice.n_sites, self.components, finite=True)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):  # forces are derivatives
                return self.connected(field.clone())
        return self.connected(field)

    def connected(self, field: Tensor) -> Forces:
        """:meth:`evaluate` of a field that has been checked, differentiable by a field that requires a gradient."""
        force, energy = self.evaluate(field)
        if wanted(field):
            if not force.requires_grad:
                force = _Underived.apply(field, force, repr(self))
            if energy is not None and not energy.requires_grad:
                energy = _Energy.apply(field, force, energy)
        return Forces(force, energy)

    def __add__(self, other: ForceField) -> SumForceField:
        if not isinstance(other, ForceField):
            return NotImplemented
        return SumForceField(self, other)


class SumForceField(ForceField):
    """The sum of several force fields on one lattice, such as learned electrons and exact springs.

    The sum has an energy if every part has one.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(8)
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(lattice))
    >>> learned = ns.LearnedForceField(ns.networks.GroupCNN(lattice, ns.fields.scalar(), channels=2))
    >>> total, field = learned + springs, torch.ones(64, 1)  # a SumForceField
    >>> torch.allclose(total(field).force, learned(field).force + springs(field).force)
    True
    """

    parts: nn.ModuleList
    _parts: ClassVar[Mapping[str, Any]] = {"parts": lambda told: revived(told)}

    def __init__(self, *parts: ForceField) -> None:
        super().__init__()
        # Nested sums are flattened, so that parts can be told apart by whether they have parameters to learn.
        flat: list[ForceField] = []
        for part in parts:
            instance(part, ForceField, "every part of a sum")
            flat.extend(part.parts if isinstance(part, SumForceField) else [part])  # type: ignore[arg-type]
        if not flat:
            raise ValueError("A sum needs at least one force field.")
        first = flat[0].lattice
        for part in flat:
            if not part.lattice.coincides(first):
                raise ValueError(f"All parts must live on one lattice, got {first!r} and {part.lattice!r}.")
            if part.components != flat[0].components:
                raise ValueError(
                    f"All parts must act on one field, got {flat[0].components} and {part.components} components."
                )
        self.parts = nn.ModuleList(flat)
        self.lattice, self.components = flat[0].lattice, flat[0].components
        self.field_type = next((part.field_type for part in flat if part.field_type is not None), None)
        self._card = next((part._card for part in parts if part._card is not None), None)  # that of a nested sum

    def evaluate(self, field: Tensor) -> Forces:
        results = [part.connected(field) for part in self.parts]  # type: ignore[operator]
        force, energy = results[0]
        for part in results[1:]:
            force = force + part.force
            energy = None if energy is None or part.energy is None else energy + part.energy
        return Forces(force, energy)


def revived(told: Any) -> Any:
    """A force field from its description, or several from a list of them."""
    return tuple(map(revived, told)) if isinstance(told, list | tuple) else ForceField.from_config(told)


def _at_parameters(part: Any, values: Mapping[str, float]) -> tuple[Any, set[str]]:
    """A part of a force field with other numbers under these names, and the names it has."""
    if isinstance(part, ForceField):
        return part._at_parameters(values)
    if isinstance(part, tuple) and any(isinstance(x, ForceField) for x in part):
        found = [_at_parameters(x, values) for x in part]
        return tuple(x for x, _ in found), set().union(*(names for _, names in found))
    if not isinstance(part, Hamiltonian | ClassicalModel | Solver):
        return part, set()
    nested = {name: _at_parameters(x, values) for name, x in part.arguments.items()}
    used = set().union(*(names for _, names in nested.values()))
    changes = {name: x for name, (x, names) in nested.items() if names}
    changes |= {name: number(x, name) for name, x in values.items() if name in part.arguments}
    return (part.replaced(**changes) if changes else part), used | (changes.keys() & values.keys())
