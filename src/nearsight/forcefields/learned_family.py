"""One learned force field for all Hamiltonians of a family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import instance, integer
from nearsight.forcefields.card import Card
from nearsight.forcefields.exact import ExactForceField
from nearsight.forcefields.forcefield import ForceField, Forces
from nearsight.forcefields.gradients import wanted
from nearsight.forcefields.learned import LearnedForceField
from nearsight.forcefields.parameter_box import ParameterBox
from nearsight.hamiltonians import Reduction
from nearsight.lattices import Lattice
from nearsight.networks import GroupCNN, LatticeNetwork, Modulation, SpinCNN

NO_UNITS = Reduction(1.0, 0.0, 1.0, 0.0, {})
"""Where no scaling relation is known."""


class LearnedFamily(ForceField):
    r"""Electrons at all parameters of a box, learned once: (g, kT) or (J, μ), by any names a Hamiltonian knows.

    What an exact scaling relation says of the parameters is used and not learned
    (:meth:`nearsight.hamiltonians.Hamiltonian.reduction`),

    .. math:: E(\Phi; p) = e\, \hat E(a \Phi + b;\, u) + c N ,

    with a, b, c, e and the parameters that are left, u, functions of p. Those scale the channels of the network
    (:class:`nearsight.networks.Modulation`), which keeps every symmetry. Electrons of the Holstein model are left with
    one parameter, kT/t: a network at one temperature already serves all g and μ.

    :meth:`with_parameters` gives the force field of one Hamiltonian: an ordinary :class:`LearnedForceField`, with
    weights of its own and the cost of one, for everything that takes one (sums with springs, dynamics on large
    lattices, :class:`~nearsight.forcefields.UncertainForceField`, :class:`~nearsight.forcefields.FixedNumber`,
    ``save``). Its card names the exact partner at the same parameters, which an audit takes:
    ``ns.Audit(one.card.exact)``. The family itself has no forces.

    Parameters
    ----------
    model: a :class:`~nearsight.networks.GroupCNN` or a :class:`~nearsight.networks.SpinCNN` for one Hamiltonian.
    exact: any member of the family, on the lattice it is learned on: what the box does not name is as it says.
    box: the parameters, as a :class:`ParameterBox` or as ``{"g": (1.0, 2.0), "kT": (0.05, 0.2)}``; that of the data,
        ``training.generate(exact, recipe, path, seed=1, parameters=box)``.
    degree: of the polynomials by which channels are scaled.

    Parameters of the classical energy alone, such as spring constants, need no learning: ``with_parameters`` takes any
    value of them for the card, and ``fit(family + exact.classical, data)`` subtracts the springs of every snapshot.

    Raises ``ValueError`` for names that the exact force field lacks.

    Examples
    --------
    >>> import nearsight as ns
    >>> lattice = ns.lattices.square(6)
    >>> exact = ns.ExactForceField(ns.hamiltonians.Holstein(lattice), ns.solvers.Dense(mu=0.0, kT=0.1))
    >>> network = ns.networks.GroupCNN(lattice, ns.fields.scalar(), channels=2, parity="odd")
    >>> family = LearnedFamily(network, exact, {"g": (1.0, 2.0), "kT": (0.05, 0.2)})
    >>> family.reduced  # g is a unit of the field
    ParameterBox(kT from 0.05 to 0.2)
    >>> weak, strong = family.with_parameters(g=1.0, kT=0.1), family.with_parameters(g=2.0, kT=0.1)
    >>> field = torch.randn(36, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> torch.allclose(strong(field).force, 2 * weak(2 * field).force)
    True
    >>> strong.card.exact.model.g
    2.0
    """

    _parts: ClassVar = {
        "model": LatticeNetwork.from_config,
        "exact": ExactForceField.from_config,
        "box": ParameterBox.from_config,
    }

    def __init__(
        self,
        model: GroupCNN | SpinCNN,
        exact: ExactForceField,
        box: ParameterBox | Mapping[str, tuple[float, float]],
        *,
        degree: int = 2,
    ) -> None:
        super().__init__()
        instance(model, (GroupCNN, SpinCNN), "model", "Its channels are scaled by functions of the parameters.")
        instance(exact, ExactForceField, "exact", "A family is known by a member: ExactForceField(model, Dense(...)).")
        self.box = box if isinstance(box, ParameterBox) else ParameterBox(box)
        self.degree = integer(degree, "degree", least=1)
        # In a tuple: its electrons are no part of what is learned.
        self._exact = (exact,)
        self.learned = LearnedForceField(model)
        self.lattice, self.components, self.field_type = model.lattice, model.components, model.field_type
        if exact.components != self.components or not exact.lattice.same_kind(self.lattice):
            raise ValueError(f"The network does not see the field of {exact!r}: give both one lattice and field type.")
        if _reduction(exact) is not None and not isinstance(model, GroupCNN):
            raise TypeError(f"The field of {type(exact.model).__name__} has units that depend on p: take a GroupCNN.")
        self.reduced = self._reduced_box()
        self.modulation = Modulation(model, len(self.reduced or ()), degree=self.degree)
        self.offsets = nn.Parameter(torch.zeros(len(self.modulation.powers))) if model.conservative else None
        """Energy per site, as polynomials of the parameters."""

    @property
    def model(self) -> GroupCNN | SpinCNN:
        """The network before its channels are scaled."""
        return self.learned.model  # type: ignore[return-value]

    @property
    def exact(self) -> ExactForceField:
        """A member of the family."""
        return self._exact[0]

    def on(self, lattice: Lattice) -> Self:
        """The same on another lattice of the same kind; what is learned is shared, not copied."""
        other = self.replaced(model=self.model.on(lattice))
        for name in ("gains", "shifts"):
            setattr(other.modulation, name, getattr(self.modulation, name))
        other.offsets, other.learned.reference, other._card = self.offsets, self.learned.reference, self._card
        return other.train(self.training)

    def evaluate(self, field: Tensor) -> NoReturn:
        given = ", ".join(f"{name}={(a + b) / 2:.3g}" for name, (a, b) in self.box.ranges.items())
        raise ValueError(f"This force field serves a family of Hamiltonians, take one: with_parameters({given}).")

    # --- one Hamiltonian ----------------------------------------------------------------------------------------------

    def _at_parameters(self, values: Mapping[str, float]) -> tuple[LearnedForceField, set[str]]:
        """The electrons at values for all parameters of the box; those of the classical energy are for the card."""
        classical = set(self.exact.model.classical_parameters)
        known = {name: x for name, x in values.items() if name in self.box.names or name in classical}
        chosen = self.box.checked({name: x for name, x in known.items() if name in self.box.names})
        exact = self.exact._at_parameters(known | chosen)[0]
        assert isinstance(exact, ExactForceField)
        return self._plain(exact), set(known)

    @torch.no_grad()
    def _plain(self, exact: ExactForceField) -> LearnedForceField:
        """Weights scaled by the parameters, and units and an origin of field and energy."""
        u, unit = self._coordinates(exact), _reduction(exact) or NO_UNITS
        model = self.modulation.at(u)
        if isinstance(model, GroupCNN):
            a, b = model.affine
            model.affine = (a * unit.scale, a * unit.shift + b)
        plain = LearnedForceField(model).train(False)
        own, reference = self.learned.reference, plain.reference
        reference.scale.copy_(own.scale * unit.energy * (1.0 if self.learned.conservative else unit.scale))
        offset = own.energy_offset + (0.0 if self.offsets is None else self._offset(u).double())
        reference.energy_offset.copy_(unit.energy * offset + unit.constant)
        reference.longitudinal.copy_(own.longitudinal)
        plain._card = Card(exact=exact) if self._card is None else replace(self._card, exact=exact)
        return plain

    def _coordinates(self, exact: ExactForceField) -> Tensor:
        """u ``(parameter,)`` of a member, in [-1, 1] inside the box, in the precision of the weights."""
        if self.reduced is None:
            return torch.zeros(0, dtype=self.learned.dtype)
        values = _remaining(exact, self.box)
        p = torch.tensor([values[name] for name in self.reduced.names], dtype=torch.float64)
        weight = next(self.parameters())
        return self.reduced.rescaled(p).to(weight.device, weight.dtype)

    def _reduced_box(self) -> ParameterBox | None:
        """The range of what is left to learn, from the corners; None where nothing is."""
        for name in self.box.names:
            if name not in self.exact._at_parameters({name: self.box.ranges[name][0]})[1]:
                raise ValueError(
                    f"{self.exact!r} has no parameter called {name!r}: names of the box are those of the arguments of "
                    "its Hamiltonian and its solver."
                )
        members = [self.exact._at_parameters(corner)[0] for corner in self.box.corners()]
        found = [_remaining(member, self.box) for member in members]  # type: ignore[arg-type]
        ends = {name: (min(x[name] for x in found), max(x[name] for x in found)) for name in found[0]}
        moving = {name: (a, b) for name, (a, b) in ends.items() if a < b}
        return ParameterBox(moving) if moving else None

    def _offset(self, u: Tensor) -> Tensor:
        """Energy per site at parameters u ``(*batch, parameter)``."""
        assert self.offsets is not None
        return self.modulation.polynomials(u) @ self.offsets

    # --- a fit --------------------------------------------------------------------------------------------------------

    def reduce(self, field: Tensor, force: Tensor, energy: Tensor | None, parameters: Mapping[str, Any]) -> Reduced:
        """What is left to learn of snapshots at many parameters: fields, forces and energies by the scaling relation.

        Parameters
        ----------
        field, force: of the electrons alone ``(snapshot, site, component)``; energy: ``(snapshot,)`` or None.
        parameters: numbers ``(snapshot,)`` by their names.

        Raises ``ValueError`` where the names are not those of the box.
        """
        self._check_names(parameters)
        rows = torch.stack([torch.as_tensor(parameters[name]).double() for name in self.box.names], -1)
        distinct, which = rows.unique(dim=0, return_inverse=True)
        units, coordinates = [], []
        for row in distinct.tolist():
            values = dict(zip(self.box.names, row, strict=True))
            self.box.warn_outside(values)
            exact = self.exact._at_parameters(values)[0]
            unit = _reduction(exact) or NO_UNITS  # type: ignore[arg-type]
            if unit.scale == 0:
                raise ValueError(f"At {values} electrons do not feel the field: leave these snapshots out.")
            units.append((unit.scale, unit.shift, unit.energy, unit.constant))
            coordinates.append(self._coordinates(exact).cpu().double())  # type: ignore[arg-type]
        a, b, e, c = torch.tensor(units, dtype=torch.float64)[which].T
        lifted = energy if energy is None else (energy - c * field.shape[-2]) / e
        a, b, e = (x[:, None, None] for x in (a, b, e))
        return Reduced(a * field + b, force / (e * a), lifted, torch.stack(coordinates)[which])

    def _check_names(self, names: Mapping[str, Any] | Sequence[str]) -> None:
        if set(names) != set(self.box.names):
            raise ValueError(
                f"This family has the parameters {', '.join(self.box.names)}, the data have "
                f"{', '.join(names) or 'none'}: training.generate(..., parameters=box) makes such data, and "
                "DataSet.from_arrays(..., parameters={name: numbers}) takes them."
            )

    def conditioned(self, u: Tensor) -> ForceField:
        """Forces of a batch of reduced fields whose parameters are u ``(batch, parameter)``, each its own, for fits."""
        return _Conditioned(self, u)


class Reduced(NamedTuple):
    """Snapshots as the network sees them, and their parameters u ``(snapshot, parameter)`` in [-1, 1]."""

    field: Tensor
    force: Tensor
    energy: Tensor | None
    u: Tensor


class _Conditioned(ForceField):
    """Fields of one batch, each with parameters of its own."""

    def __init__(self, family: LearnedFamily, u: Tensor) -> None:
        super().__init__()
        self.family, self.u = family, u
        self.lattice, self.components, self.field_type = family.lattice, family.components, family.field_type
        self.training = family.training

    def evaluate(self, field: Tensor) -> Forces:
        family, learned, sites = self.family, self.family.learned, field.shape[-2]
        keep = wanted(field) or (learned.training and torch.is_grad_enabled())
        # Tiles take a batch apart, and each field has factors of its own.
        size = len(field) if keep else max(1, learned._capacity(field) // sites)
        found = []
        for part, u in zip(field.split(size), self.u.split(size), strict=True):
            with family.modulation.applied(u, network=family.model):
                force, energy = learned.evaluate(part)
            if energy is not None:
                energy = energy + (sites * family._offset(u)).to(energy.dtype)
            found.append(Forces(force, energy))
        energies = [x.energy for x in found if x.energy is not None]
        return Forces(torch.cat([x.force for x in found]), torch.cat(energies) if energies else None)


def _reduction(exact: ExactForceField) -> Reduction | None:
    """The scaling relation of these electrons; at a fixed number μ is no parameter, and there is none."""
    mu, kT = (getattr(exact.solver, name, None) for name in ("mu", "kT"))
    return None if mu is None or kT is None else exact.model.reduction(mu=mu, kT=kT)


def _remaining(exact: ExactForceField, box: ParameterBox) -> dict[str, float]:
    """What the electrons of a member depend on beyond units: by the scaling relation, or all but the springs."""
    reduction = _reduction(exact)
    if reduction is not None:
        return dict(reduction.parameters)
    names = [name for name in box.names if name not in exact.model.classical_parameters]
    return {name: _value((exact.model, exact.solver), name) for name in names}


def _value(parts: Iterable[Any], name: str) -> float:
    """A number by its name among the arguments of these objects, or of theirs."""
    described = [part.arguments for part in parts if isinstance(part, Described)]
    for own in described:
        if name in own:
            return float(own[name])
    return _value([x for own in described for x in own.values()], name)
