"""What all networks on the grid of a lattice have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import choice, instance, numbers
from nearsight.fields import FieldType
from nearsight.fields.field_type import checked_field_type
from nearsight.fields.halo import pad_periodic
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice, site_group
from nearsight.lattices.lattice import checked_cutoff, checked_lattice
from nearsight.networks._kernel_cache import KernelCache

Head = Literal["energy", "force"]
Modulated = tuple[Tensor, Tensor | None] | None
"""Factors, and terms to add, ``(batch, channel)``; None: as it is."""


class LatticeNetwork(Described, nn.Module):
    r"""A learned local function of a field on its grid, which commutes with translations and a point group exactly.

    It is called with a grid and its halo, ``(batch, component, *shape + 2 reach)``, and returns local energies
    ``(batch, 1, *shape)`` or local forces ``(batch, component, *shape)``: all that a member writes is this ``forward``,
    and all it says is its ``reach`` and what it costs. :class:`nearsight.forcefields.LearnedForceField` sums the
    energies and takes their gradient. Everything is a convolution with a fixed kernel, so that a network serves every
    size.

    Weights are constants in evaluation mode, as in dynamics; call ``train()`` to differentiate by them.

    A member keeps its features per group element, channel c and operation g at index ``c · |G| + g``, and moves them
    with the lattice as (h f)(x, g) = f(h⁻¹x, h⁻¹g).

    Parameters
    ----------
    lattice: one site per cell; only its kind matters, the size may differ at every call.
    field_type: the law of the field, input and (for forces) output.
    head: "energy" returns a local energy, whose gradient is the force; "force" a field that transforms as the input
        does and need not be a gradient.
    group: the point group to commute with: that of a site, or a subgroup where the Hamiltonian has less symmetry than
        the lattice (the rotations alone in a magnetic field). The law of ``field_type`` is one of this group.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> class Springs(ns.networks.LatticeNetwork):  # a member of one's own, with one parameter
    ...     reach, flops_per_site = (0, 0), 3
    ...
    ...     def __init__(self, lattice, field_type):
    ...         super().__init__(lattice, field_type)
    ...         self.k = torch.nn.Parameter(torch.tensor(2.0))
    ...
    ...     def forward(self, grid):
    ...         return 0.5 * self.k * grid.square()
    >>> learned = ns.LearnedForceField(Springs(ns.lattices.square(4), ns.fields.scalar()))
    >>> force, energy = learned(torch.ones(16, 1))
    >>> force[0, 0].item(), energy.item()  # -k Q, and k/2 Q² of every site
    (-2.0, 16.0)
    """

    _parts: ClassVar = {
        "lattice": Lattice.from_config,
        "field_type": FieldType.from_config,
        "group": lambda told: PointGroup(np.array(told["matrices"] if isinstance(told, Mapping) else told)),
    }
    tile: int = 64**2
    """Sites evaluated at once on a large lattice."""
    whole: bool = False
    """Whether a large lattice is evaluated as a whole: where halos cost more than what tiles gain."""
    open_boundaries: bool = False
    """Convolutions wrap around."""
    conservative: bool
    """Whether it is an energy, whose gradient is the force."""
    reach: tuple[int, ...]
    """How many cells away a site can still matter, along every axis: the halo that the input needs."""
    flops_per_site: int
    """Floating-point operations per site, forward, of the matrix products; a multiplication and an addition are 2.

    Zeros in the corners of a convolution's box count, as they are multiplied too.
    """

    def __init__(
        self, lattice: Lattice, field_type: FieldType, *, head: Head = "energy", group: PointGroup | None = None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        checked_lattice(lattice)
        checked_field_type(field_type)
        if group is not None:
            instance(group, PointGroup, "group", "site_group(lattice) makes one.")
        if lattice.n_basis != 1:
            raise ValueError(f"{name} needs one site per cell, {lattice!r} has {lattice.n_basis}; use a descriptor.")
        choice(head, "head", get_args(Head))
        full = site_group(lattice)
        if group is not None:
            distance = np.abs(group.matrices[:, None] - full.matrices[None]).max((-1, -2)).min(1)
            if distance.max() > 1e-6:
                raise ValueError(f"{group.name} is no subgroup of {full.name}, the point group of {lattice!r}.")
        self.lattice, self.field_type, self.head = lattice, field_type, head
        self.group = full if group is None else group
        self._subgroup, self.conservative = group is not None, head == "energy"
        self.dim, self.order = lattice.dim, len(self.group)
        # A numpy array: a buffer would lose its digits for good when the network passes through float32.
        self.representation = field_type.representation(self.group)
        self.components: int = self.representation.shape[-1]
        self._projection = KernelCache()
        self.modulation: Modulated = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The group only where it is not all of that of the site."""
        return super().arguments | ({} if self._subgroup else {"group": None})

    def local(self, field: Tensor) -> Tensor:
        """Energies ``(*batch, site)`` of a periodic field ``(*batch, site, component)``, or forces of its shape."""
        grid = field.reshape(-1, *self.lattice.shape, 1, self.components)
        result = self.window(pad_periodic(grid, self.reach, first=1))
        return result.view(field.shape[:-1] if self.conservative else field.shape)

    def window(self, window: Tensor) -> Tensor:
        """:meth:`local` on the inner cells of a part of the lattice with its halo, which is as wide as the reach.

        From ``(batch, *cells, 1, component)`` to ``(batch, *inner)``, for forces ``(batch, *inner, 1, component)``.
        """
        result = self(window.squeeze(-2).movedim(-1, 1)).movedim(1, -1)
        return result if self.conservative else result.unsqueeze(-2)

    def calibrate(self, field: Tensor) -> None:
        """Nothing: a network on a grid has no features to scale."""

    def project(self, h: Tensor, readout: nn.Parameter, *, law: bool) -> Tensor:
        r"""From features per group element to the law of the output, :math:`\frac{1}{|G|} \sum_g M(g)\, W f(x, g)`.

        ``readout`` holds W ``(outputs, channel)``; without ``law`` M = 1, as for energies and for spins.
        """

        def weight() -> Tensor:
            if law:
                M = torch.as_tensor(self.representation, dtype=readout.dtype, device=readout.device)
                w = torch.einsum("gij,jc->icg", M, readout)
            else:
                w = readout[:, :, None].expand(-1, -1, self.order)
            return w.reshape(w.shape[0], -1, *(1,) * self.dim) / self.order

        h = modulated(h, self.modulation, self.order)
        kernel = self._projection(weight, readout, fresh=self.training)
        return CONVOLUTIONS[self.dim](h, kernel)


def modulated(h: Tensor, by: Modulated, order: int) -> Tensor:
    """Features ``(batch, channel · order, *shape)`` scaled and shifted, channel by channel, and sample by sample.

    Components that are batch entries, as those of spins are, share what is said of their sample.
    """
    if by is None:
        return h
    gain, shift = by
    h = h * _spread(gain, len(h), order, h.ndim)
    return h if shift is None else h + _spread(shift, len(h), order, h.ndim)


def _spread(x: Tensor, batch: int, order: int, axes: int) -> Tensor:
    x = x.repeat_interleave(batch // len(x), 0).repeat_interleave(order, 1)
    return x.reshape(*x.shape, *(1,) * (axes - 2))


def checked_radii(lattice: Lattice, radii: Sequence[float]) -> tuple[float, ...]:
    """The cutoff of every layer of a network, of one or more."""
    if not (radii := numbers(radii, "radii", least=0)):
        raise ValueError("radii must hold the cutoff of one layer or more, got none.")
    return tuple(checked_cutoff(lattice, r, f"radii[{k}]") for k, r in enumerate(radii))


CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
"""The convolution of every dimension."""
