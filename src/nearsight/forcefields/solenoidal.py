"""The part of a field on spins that no energy has."""

from __future__ import annotations

from typing import ClassVar

import torch

from nearsight._validation import instance
from nearsight.fields import FieldType
from nearsight.forcefields.forcefield import ForceField, Forces, revived


class Solenoidal(ForceField):
    r"""The divergence-free field of a second potential G of unit spins, for torques out of equilibrium.

    On the sphere of a spin every tangent field is a gradient and a rotated gradient (Helmholtz). Electrons between
    reservoirs have both,

    .. math:: \mathbf H_i = -\frac{\partial E}{\partial \mathbf S_i}
              + \mathbf S_i \times \frac{\partial G}{\partial \mathbf S_i},

    and this is the second term: ``learned + Solenoidal(other)`` is trained as one force field, each part a sum of local
    terms with a network of its own. In H E is the work that can be regained, G the torque that pumps energy in or
    damps. G is odd under time reversal relative to E: with G even under S → -S, so is its field, while that of E
    changes sign. What turns all spins turns it, too. It has no energy.

    Parameters
    ----------
    potential: a conservative force field of Heisenberg spins (three components), whose energy is G.

    Raises
    ------
    ValueError: for fields that are no spins of three components, and force fields without an energy.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, rng = ns.lattices.square(6), torch.Generator().manual_seed(1)
    >>> E, G = (ns.LearnedForceField(ns.networks.SpinCNN(lattice, ns.fields.spin(), channels=2)) for _ in range(2))
    >>> driven = E + ns.forcefields.Solenoidal(G)
    >>> spins = ns.fields.spin().random(36, 3, rng)
    >>> across = (driven(spins).force - E(spins).force) * spins  # tangent to every sphere
    >>> bool(across.sum(-1).abs().max() < 1e-6), driven(spins).energy
    (True, None)

    References
    ----------
    P. Zhang, G.-W. Chern, arXiv:2112.12124; G.-W. Chern et al., arXiv:2604.11513.
    """

    _parts: ClassVar = {"potential": revived}

    def __init__(self, potential: ForceField) -> None:
        super().__init__()
        self.potential = instance(potential, ForceField, "potential")
        kind = potential.field_type
        if potential.components != 3 or (kind is not None and kind.internal not in ("O(n)", "SO(n)")):
            raise ValueError(
                f"S × ∂G/∂S is for spins of three components, fields.spin(), not for {kind!r} in {potential!r}; other "
                "fields have non-conservative forces by networks with head='force'."
            )
        if getattr(potential, "conservative", True) is False:
            raise ValueError(f"{potential!r} has no energy to derive a field from; give its network head='energy'.")
        self.lattice, self.components = potential.lattice, potential.components
        if kind is not None:
            self.field_type = FieldType(kind.name, kind.law, "SO(n)", kind.values)

    def evaluate(self, field: torch.Tensor) -> Forces:
        force, energy = self.potential.connected(field)
        if energy is None:
            raise ValueError(f"{self.potential!r} has no energy to derive a field from.")
        return Forces(torch.linalg.cross(force, field, dim=-1), None)
