"""What was learned for many voltages, at one of them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.fields import FieldType
from nearsight.forcefields.forcefield import ForceField, Forces, revived
from nearsight.solvers import protocols
from nearsight.solvers.protocols import Parameter, Protocol, parameter


class Biased(ForceField):
    """A force field of a field and a voltage, at one voltage: that of the field alone.

    :class:`nearsight.networks.BarCNN` learns such force fields, with the voltage eV as a component behind those of the
    field that is the same on every site and feels no force, and with kT of the electrons behind it where it learns many
    temperatures. Springs are added outside, ``Biased(learned, 2.5) + exact.classical``.

    Parameters
    ----------
    whole: the force field of all; one network serves all voltages.
    voltage: eV, or a :class:`nearsight.solvers.Protocol`.
    kT: temperature of the electrons, if ``whole`` takes it as its last component. That of a scheme's noise is its own.

    >>> import nearsight as ns
    >>> bar = ns.lattices.square(8, 4, periodic=(False, True))
    >>> learned = ns.LearnedForceField(ns.networks.BarCNN(bar, channels=2))
    >>> pulsed = Biased(learned, ns.solvers.Pulse(2.5, start=0.0, stop=40.0))
    >>> pulsed.at_time(10.0)(torch.zeros(32, 1)).force.shape
    torch.Size([32, 1])
    >>> network = ns.networks.BarCNN(bar, channels=2, temperatures=(0.02, 0.15))
    >>> Biased(ns.LearnedForceField(network), 2.5, kT=0.1)(torch.zeros(32, 1)).force.shape
    torch.Size([32, 1])
    """

    _parts: ClassVar = {"whole": revived, "voltage": protocols.revived}

    def __init__(self, whole: ForceField, voltage: Parameter, kT: float | None = None) -> None:
        super().__init__()
        self.whole = instance(whole, ForceField, "whole")
        if whole.components < 2:
            raise ValueError(
                f"{whole!r} has one component, which leaves none for the voltage: networks such as BarCNN take two."
            )
        if kT is not None and whole.components < 3:
            raise ValueError(
                f"{whole!r} has two components, which leaves none for the temperature: leave kT out, or take a network "
                "that was trained at several, BarCNN(lattice, temperatures=(low, high))."
            )
        self.voltage = parameter(voltage, "voltage")
        self.kT = None if kT is None else number(kT, "kT", least=0)
        self.lattice, self.components = whole.lattice, whole.components - (1 if kT is None else 2)
        kind = whole.field_type
        if kind is not None and set(kind.law) == {"trivial"}:
            self.field_type = FieldType("field", kind.law[: self.components])

    @property
    def _follows_time(self) -> bool:  # type: ignore[override]
        return isinstance(self.voltage, Protocol)

    def evaluate(self, field: Tensor) -> Forces:
        if self._follows_time:
            raise ValueError(f"The voltage depends on time: take at_time(time) of {type(self).__name__}.")
        outside = [self.voltage] if self.kT is None else [self.voltage, self.kT]
        driven = torch.cat([field, *(torch.full_like(field[..., :1], x) for x in outside)], dim=-1)
        force, energy = self.whole.connected(driven)
        return Forces(force[..., : self.components], energy)
