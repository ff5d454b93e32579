"""Learned force fields: local energies and their gradients, or local forces."""

from __future__ import annotations

import abc
import itertools
from typing import Any, Self

import torch
from torch import Tensor, nn

from nearsight.descriptors import Descriptor
from nearsight.forcefields.forcefield import ForceField, Forces
from nearsight.lattices import Lattice
from nearsight.networks import MLP, LatticeNetwork

TILE = 64
"""Cells along the edge of a tile of a large lattice."""


class EnergyReference(nn.Module):
    """The energy per site that a network need not learn; shared by all copies of a force field."""

    energy_offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("energy_offset", torch.zeros((), dtype=torch.float64))


class LocalForceField(ForceField, abc.ABC):
    r"""A force field that is a sum of learned local terms, so that it serves lattices of any size.

    Fields of any precision are accepted; the network runs in the precision of its parameters and the result comes back
    in that of the field. Energies are summed in float64.

    ``mean_force`` builds in what electrons at a fixed number obey exactly: a uniform shift of the field only shifts μ,
    so that the force of a scalar field sums to a constant, ``mean_force`` per site (g(f - ½) in the Holstein model at
    filling f). The local terms then see Φ minus its mean and

    .. math:: E(\Phi) = \sum_i \epsilon_i(\Phi - \bar\Phi) - N \bar F\, \bar\Phi .

    ``None`` (the default, and right at fixed μ) assumes nothing.
    """

    mean_force: float | None
    conservative: bool

    @abc.abstractmethod
    def local(self, field: Tensor) -> Tensor:
        """Local energies ``(*batch, site)`` if conservative, else forces ``(*batch, site, component)``."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return next(self.parameters()).dtype

    def evaluate(self, field: Tensor) -> Forces:
        x = field.detach().to(self.dtype)
        if not self.conservative:
            with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
                return Forces(self._force(x).to(field.dtype), None)
        with torch.enable_grad():
            x = x.requires_grad_()
            energy = self._energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=self.training)
        if not self.training:
            energy = energy.detach()
        return Forces(-gradient.to(field.dtype), energy.to(field.dtype))

    def _energy(self, x: Tensor) -> Tensor:
        sites = self.lattice.n_sites
        mean = x.mean(-2, keepdim=True)
        local = self.local(x if self.mean_force is None else x - mean)
        energy = local.double().sum(-1) + self.reference.energy_offset * sites  # type: ignore[union-attr, operator]
        return energy if not self.mean_force else energy - sites * self.mean_force * mean.double().sum((-2, -1))

    def _force(self, x: Tensor) -> Tensor:
        if self.mean_force is None:
            return self.local(x)
        force = self.local(x - x.mean(-2, keepdim=True))
        return force - force.mean(-2, keepdim=True) + self.mean_force

    def _check_mean_force(self, mean_force: float | None) -> float | None:
        if mean_force is not None and self.components != 1:
            raise ValueError(f"mean_force applies to scalar fields, this one has {self.components} components.")
        return mean_force

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
    mean_force: see :class:`LocalForceField`.

    References
    ----------
    J. Behler, M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
    """

    conservative = True

    def __init__(self, descriptor: Descriptor, network: MLP, *, mean_force: float | None = None) -> None:
        super().__init__()
        self.descriptor, self.network = descriptor, network.build(descriptor.features)
        self.lattice, self.components = descriptor.lattice, descriptor.components
        self.mean_force = self._check_mean_force(mean_force)
        self.reference = EnergyReference()

    def __repr__(self) -> str:
        return f"LearnedForceField({self.descriptor!r}, {self.network!r})"

    def local(self, field: Tensor) -> Tensor:
        return self.network(self.descriptor(field))

    def calibrate(self, field: Tensor) -> None:
        """Scale the features to unit variance over typical fields ``(batch, site, component)``; ``fit`` does it."""
        x = field.to(self.dtype)
        with torch.no_grad():
            self.network.calibrate(self.descriptor(x if self.mean_force is None else x - x.mean(-2, keepdim=True)))

    def on(self, lattice: Lattice) -> Self:
        copy = type(self)(self.descriptor.on(lattice), self.network, mean_force=self.mean_force)
        copy.reference = self.reference
        return copy.train(self.training)

    def config(self) -> dict[str, Any]:
        return {
            "descriptor": {"type": type(self.descriptor).__name__, **self.descriptor.config()},
            "network": self.network.config(),
            "mean_force": self.mean_force,
        }

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        from nearsight import descriptors

        described = dict(config["descriptor"])
        descriptor = getattr(descriptors, described.pop("type")).from_config(lattice, described)
        return cls(descriptor, MLP.from_config(config["network"]), mean_force=config["mean_force"])


class ConvolutionalForceField(LocalForceField):
    """A network on the grid of the whole lattice, exactly equivariant, conservative or not as its head says.

    Parameters
    ----------
    lattice: periodic, of the kind the network was made for.
    network: any :class:`nearsight.networks.LatticeNetwork`; with the "energy" head forces are gradients, with "force"
        they are predicted directly, three times faster and without an energy.
    mean_force: see :class:`LocalForceField`.
    """

    def __init__(self, lattice: Lattice, network: LatticeNetwork, *, mean_force: float | None = None) -> None:
        super().__init__()
        if not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(f"Convolutions wrap around: {lattice!r} must be periodic along every axis.")
        if not network.lattice.same_kind(lattice):
            raise ValueError(f"The network was made for a {network.lattice.name} lattice, not for {lattice!r}.")
        self.lattice, self.network, self.components = lattice, network, network.components
        self._halo: list[Tensor] | None = None
        self.mean_force = self._check_mean_force(mean_force)
        self.reference = EnergyReference()

    def __repr__(self) -> str:
        return f"ConvolutionalForceField({self.lattice!r}, {self.network!r})"

    @property
    def conservative(self) -> bool:  # type: ignore[override]
        return self.network.head == "energy"

    def local(self, field: Tensor) -> Tensor:
        batch = field.shape[:-2]
        grid = field.reshape(-1, *self.lattice.shape, self.components).movedim(-1, 1)
        for axis, halo in enumerate(self._halos(grid.device)):
            grid = grid.index_select(2 + axis, halo)
        # Tiles keep the features of one tile in the cache, whatever the size of the lattice.
        tiled = not grid.requires_grad and not self.training and max(self.lattice.shape) > TILE
        result = self._tiles(grid) if tiled else self.network(grid)
        result = result.movedim(1, -1).reshape(*batch, self.lattice.n_sites, -1)
        return result.squeeze(-1) if self.conservative else result

    def _halos(self, device: torch.device) -> list[Tensor]:
        """The cells along every axis with a periodic halo on both sides, as wide as the network reaches."""
        if self._halo is None or self._halo[0].device != device:
            self._halo = [
                torch.arange(-reach, length + reach, device=device) % length
                for reach, length in zip(self.network.reach, self.lattice.shape, strict=True)
            ]
        return self._halo

    def _tiles(self, grid: Tensor) -> Tensor:
        shape, reach = self.lattice.shape, self.network.reach
        result = grid.new_empty(len(grid), 1 if self.conservative else self.components, *shape)
        for corner in itertools.product(*(range(0, length, TILE) for length in shape)):
            ends = [min(c + TILE, length) for c, length in zip(corner, shape, strict=True)]
            window = tuple(slice(c, e + 2 * r) for c, e, r in zip(corner, ends, reach, strict=True))
            inside: tuple[slice, ...] = tuple(slice(c, e) for c, e in zip(corner, ends, strict=True))
            result[(slice(None), slice(None), *inside)] = self.network(grid[(slice(None), slice(None), *window)])
        return result

    def on(self, lattice: Lattice) -> Self:
        if not self.lattice.same_kind(lattice):
            raise ValueError(f"The force field lives on a {self.lattice.name} lattice, not on {lattice!r}.")
        copy = type(self)(lattice, self.network, mean_force=self.mean_force)
        copy.reference = self.reference
        return copy.train(self.training)

    def config(self) -> dict[str, Any]:
        network = {"type": type(self.network).__name__, **self.network.config()}
        return {"network": network, "mean_force": self.mean_force}

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        from nearsight import networks

        described = dict(config["network"])
        # The first files knew one kind of network and did not name it.
        network: LatticeNetwork = getattr(networks, described.pop("type", "GroupCNN")).from_config(lattice, described)
        return cls(lattice, network, mean_force=config["mean_force"])
