"""Learned force fields: local energies and their gradients, or local forces."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from nearsight._validation import instance
from nearsight.descriptors import Descriptor
from nearsight.fields import FieldType
from nearsight.fields.halo import pad_periodic, pad_periodic_adjoint
from nearsight.forcefields.forcefield import ForceField, Forces
from nearsight.forcefields.gradients import slope, wanted
from nearsight.lattices import Lattice
from nearsight.networks import MLP, LatticeNetwork

ACCELERATED = 64
"""How many times larger the tiles are on an accelerator, which has to be kept busy and has no cache to fill."""


class EnergyReference(nn.Module):
    r"""What a network need not learn, shared by all copies of a force field: a constant, a unit, a mean field.

    .. math:: E = e_0 N - \tfrac{h}{2} \sum_i (\mathbf S_i^2 - 1) + \text{scale} \cdot E_\mathrm{network}, \qquad
              \mathbf H_i = h\, \mathbf S_i + \dots

    h is the mean of H·S over the labels of unit spins. It is large where electrons follow the spins (J per electron),
    and for unit spins a derivative of E by a length that never varies: no product of spins has it without bending the
    torques, too. e₀ and h are put in by the fit; h stays zero for fields that are no spins.
    """

    energy_offset: Tensor
    scale: Tensor
    """What a network's 1 means in energy or force. 1, unless a fit of small forces (torques) chose their size."""
    longitudinal: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("energy_offset", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("longitudinal", torch.zeros((), dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(prefix + "scale", torch.ones_like(self.scale))  # files older than the unit
        state_dict.setdefault(prefix + "longitudinal", torch.zeros_like(self.longitudinal))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def energy(self, x: Tensor) -> Tensor:
        """e₀ N - h/2 Σ (S² - 1) ``(*batch,)``, float64, differentiable."""
        constant = self.energy_offset * x.shape[-2]
        if float(self.longitudinal) == 0:
            return constant
        return constant - 0.5 * self.longitudinal * (x.double().square().sum(-1) - 1.0).sum(-1)

    def field(self, x: Tensor) -> Tensor | float:
        """h S, minus the gradient of :meth:`energy`."""
        h = float(self.longitudinal)
        return h * x if h else 0.0


class LocalForceField(ForceField, abc.ABC):
    r"""A force field that is a sum of learned local terms, so that it serves lattices of any size.

    Fields of any precision are accepted; the network runs in the precision of its parameters and the result comes back
    in that of the field. Energies are summed in float64.
    """

    conservative: bool
    reference: EnergyReference
    tile: int
    """Sites evaluated at once. Energies and their gradients are summed tile by tile: what one tile needs stays in the
    cache, and the memory hardly grows with the lattice. Training, and fields that require a gradient, keep everything,
    for their derivatives."""

    @property
    @abc.abstractmethod
    def field_type(self) -> FieldType:
        """The law of the field, and its symmetry."""

    @abc.abstractmethod
    def local(self, field: Tensor) -> Tensor:
        """Local energies ``(*batch, site)`` if conservative, else forces ``(*batch, site, component)``."""

    @property
    @abc.abstractmethod
    def reach(self) -> tuple[int, ...]:
        """How many cells away a local term sees, along every axis."""

    @abc.abstractmethod
    def window(self, window: Tensor) -> Tensor:
        """:meth:`local` on the inner cells of a part of the lattice with its halo, which is as wide as the reach.

        From ``(batch, *cells, basis, component)`` to ``(batch, *inner, basis)``, for forces with components.
        """

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return next(self.parameters()).dtype

    def evaluate(self, field: Tensor) -> Forces:
        if not field.numel():  # an empty batch
            return Forces(torch.zeros_like(field), field.new_zeros(field.shape[:-2]) if self.conservative else None)
        # A fit needs derivatives by the parameters, a field that requires a gradient by the field (and by both).
        keep = wanted(field) or (self.training and torch.is_grad_enabled())
        x = (field if wanted(field) else field.detach()).to(self.dtype)
        tiled = not keep and self._tiled(x)
        if not self.conservative:
            with torch.set_grad_enabled(keep):
                force = self._tiled_local(x) if tiled else self.local(x)
                return Forces((force + self.reference.field(x)).to(field.dtype), None)
        if tiled:
            gradient, energy = self._gradient(x)
            return Forces(-gradient.to(field.dtype), energy.to(field.dtype))
        with torch.enable_grad():
            x = x if x.requires_grad else x.requires_grad_()
            energy = self._energy(x)
            gradient = slope(energy, x, keep=keep)
        if not keep:
            energy = energy.detach()
        return Forces(-gradient.to(field.dtype), energy.to(field.dtype))

    def _energy(self, x: Tensor) -> Tensor:
        return self.local(x).double().sum(-1) + self.reference.energy(x)

    # --- tiles ------------------------------------------------------------------------------------------------------

    def _tiled(self, x: Tensor) -> bool:
        # Tiles close around the torus; an open lattice is evaluated as a whole.
        return all(self.lattice.periodic) and x.shape[:-1].numel() > self._capacity(x)  # type: ignore[arg-type]

    def _capacity(self, x: Tensor) -> int:
        return self.tile * (1 if x.device.type == "cpu" else ACCELERATED)

    def _windows(self, grid: Tensor) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Where every tile with its halo, and without it, lies in the padded grid and in the result."""
        shape, basis = self.lattice.shape, self.lattice.n_basis
        edge = max(1, int((self._capacity(grid) / basis) ** (1 / len(shape)) + 1e-9))
        # Tiles of nearly the same size: a narrow last one would cost almost as much as a whole.
        edges = [-(-length // -(-length // edge)) for length in shape]
        together = max(1, self._capacity(grid) // (math.prod(edges) * basis))
        axes = [(len(grid), together, 0), *zip(shape, edges, self.reach, strict=True)]
        for corner in itertools.product(*(range(0, length, step) for length, step, _ in axes)):
            spans = [(c, min(c + step, length), r) for c, (length, step, r) in zip(corner, axes, strict=True)]
            yield tuple(slice(c, e + 2 * r) for c, e, r in spans), tuple(slice(c, e) for c, e, _ in spans)

    def _padded(self, x: Tensor) -> Tensor:
        grid = x.reshape(-1, *self.lattice.shape, self.lattice.n_basis, self.components)
        return pad_periodic(grid, self.reach, first=1)

    def _tiled_local(self, x: Tensor) -> Tensor:
        """:meth:`local` without a graph for its derivatives."""
        grid = self._padded(x)
        result = x.new_empty(len(grid), *self.lattice.shape, self.lattice.n_basis, self.components)
        for outer, inner in self._windows(grid):
            result[inner] = self.window(grid[outer])
        return result.view(x.shape)

    def _gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient ``(*batch, site, component)`` and energy ``(*batch,)``."""
        grid = self._padded(x)
        slopes = torch.zeros_like(grid)
        energy = torch.zeros(len(grid), dtype=torch.float64, device=x.device)
        for outer, inner in self._windows(grid):
            with torch.enable_grad():
                tile = grid[outer].detach().requires_grad_()
                local = self.window(tile).double().flatten(1).sum(1)
                slopes[outer] += torch.autograd.grad(local.sum(), tile)[0]
            energy[inner[0]] += local.detach()
        gradient = pad_periodic_adjoint(slopes, self.reach, first=1).view(x.shape) - self.reference.field(x)
        return gradient, energy.view(x.shape[:-2]) + self.reference.energy(x)

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """Everything but the numbers, in plain data, to rebuild the force field from a file."""

    @classmethod
    @abc.abstractmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        """The force field that :meth:`config` was read from, with fresh parameters."""


class LearnedForceField(LocalForceField):
    """Behler-Parrinello: invariants of the neighbourhood of every site, a network, a local energy; forces by autograd.

    Parameters
    ----------
    descriptor: features of every site.
    network: from features to one local energy; built here for the number of features.

    References
    ----------
    J. Behler, M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
    """

    conservative = True
    tile = 128**2

    def __init__(self, descriptor: Descriptor, network: MLP) -> None:
        super().__init__()
        instance(descriptor, Descriptor, "descriptor")
        instance(network, MLP, "network")
        self.descriptor, self.network = descriptor, network.build(descriptor.features)
        self.lattice, self.components = descriptor.lattice, descriptor.components
        self.reference = EnergyReference()

    def __repr__(self) -> str:
        return f"LearnedForceField({self.descriptor!r}, {self.network!r})"

    def local(self, field: Tensor) -> Tensor:
        return self.reference.scale * self.network(self.descriptor(field))

    @property
    def reach(self) -> tuple[int, ...]:
        return self.descriptor.reach

    def window(self, window: Tensor) -> Tensor:
        return self.reference.scale * self.network(self.descriptor.evaluate_window(window))

    @property
    def field_type(self) -> FieldType:
        return self.descriptor.field_type

    def calibrate(self, field: Tensor) -> None:
        """Scale the features to unit variance over typical fields ``(batch, site, component)``; ``fit`` does it."""
        with torch.no_grad():
            self.network.calibrate(self.descriptor(field.to(self.dtype)))

    def on(self, lattice: Lattice) -> Self:
        copy = type(self)(self.descriptor.on(lattice), self.network)
        copy.reference = self.reference
        return copy.train(self.training)

    def config(self) -> dict[str, Any]:
        return {
            "descriptor": {"type": type(self.descriptor).__name__, **self.descriptor.config()},
            "network": self.network.config(),
        }

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        from nearsight import descriptors

        described = dict(config["descriptor"])
        kind = getattr(descriptors, name := described.pop("type"), None)
        if not (isinstance(kind, type) and issubclass(kind, Descriptor)):
            raise ValueError(f"{name!r} is no descriptor that this version knows")
        descriptor = kind.from_config(lattice, described)
        return cls(descriptor, MLP.from_config(config["network"]))


class ConvolutionalForceField(LocalForceField):
    """A network on the grid of the whole lattice, as equivariant as it is, conservative or not as its head says.

    Parameters
    ----------
    lattice: periodic, of the kind the network was made for.
    network: any :class:`nearsight.networks.LatticeNetwork`; with the "energy" head forces are gradients, with "force"
        they are predicted directly, three times faster and without an energy.
    """

    tile = 64**2

    def __init__(self, lattice: Lattice, network: LatticeNetwork) -> None:
        super().__init__()
        instance(lattice, Lattice, "lattice")
        instance(network, LatticeNetwork, "network")
        if not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(f"Convolutions wrap around: {lattice!r} must be periodic along every axis.")
        if not network.lattice.same_kind(lattice):
            raise ValueError(f"The network was made for a {network.lattice.name} lattice, not for {lattice!r}.")
        self.lattice, self.network, self.components = lattice, network, network.components
        self.reference = EnergyReference()

    def __repr__(self) -> str:
        return f"ConvolutionalForceField({self.lattice!r}, {self.network!r})"

    @property
    def field_type(self) -> FieldType:
        return self.network.field_type

    @property
    def conservative(self) -> bool:  # type: ignore[override]
        return self.network.head == "energy"

    @property
    def reach(self) -> tuple[int, ...]:
        return self.network.reach

    def local(self, field: Tensor) -> Tensor:
        shape = field.shape[:-1] if self.conservative else field.shape
        if not self.network.whole:
            return self.window(self._padded(field)).view(shape)
        grid = field.reshape(-1, *self.lattice.shape, self.components).movedim(-1, 1)
        return (self.reference.scale * self.network.on_torus(grid)).movedim(1, -1).reshape(shape)

    def _tiled_local(self, x: Tensor) -> Tensor:
        if not self.network.whole:
            return super()._tiled_local(x)
        fields = x.reshape(-1, *x.shape[-2:]).split(max(1, self._capacity(x) // self.lattice.n_sites))
        return torch.cat([self.local(part) for part in fields]).view(x.shape)

    def window(self, window: Tensor) -> Tensor:
        result = self.reference.scale * self.network(window.squeeze(-2).movedim(-1, 1)).movedim(1, -1)
        return result if self.conservative else result.unsqueeze(-2)

    def on(self, lattice: Lattice) -> Self:
        if not self.lattice.same_kind(lattice):
            raise ValueError(f"The force field lives on a {self.lattice.name} lattice, not on {lattice!r}.")
        copy = type(self)(lattice, self.network)
        copy.reference = self.reference
        return copy.train(self.training)

    def config(self) -> dict[str, Any]:
        return {"network": {"type": type(self.network).__name__, **self.network.config()}}

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        from nearsight import networks

        described = dict(config["network"])
        # The first files knew one kind of network and did not name it.
        kind = getattr(networks, name := described.pop("type", "GroupCNN"), None)
        if not (isinstance(kind, type) and issubclass(kind, LatticeNetwork)):
            raise ValueError(f"{name!r} is no network on a grid that this version knows")
        return cls(lattice, kind.from_config(lattice, described))
