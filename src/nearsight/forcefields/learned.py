"""Learned force fields: local energies and their gradients, or local forces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import instance
from nearsight.descriptors import Descriptor
from nearsight.fields import FieldType
from nearsight.fields.halo import pad_periodic, pad_periodic_adjoint
from nearsight.forcefields.forcefield import ForceField, Forces
from nearsight.forcefields.gradients import _slope, wanted
from nearsight.lattices import Lattice
from nearsight.networks import MLP, LatticeNetwork, SpinMessagePassing

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
        for name, value in (("energy_offset", 0.0), ("scale", 1.0), ("longitudinal", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

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


@runtime_checkable
class LocalModel(Protocol):
    """A learned function of the neighbourhood of every site: its energy, or the force on it.

    :class:`BehlerParrinello` is one, and so is every :class:`nearsight.networks.LatticeNetwork`.
    """

    lattice: Lattice
    field_type: FieldType
    components: int
    conservative: bool
    """Whether it is an energy."""
    reach: tuple[int, ...]
    """How many cells away a local term sees, along every axis."""
    open_boundaries: bool
    """Whether sites that lack neighbours have a value."""
    tile: int
    """Sites evaluated at once. Energies and their gradients are summed tile by tile: what one tile needs stays in the
    cache, and the memory hardly grows with the lattice."""
    whole: bool
    """Whether tiles do not pay, so that whole lattices are evaluated."""

    def local(self, field: Tensor) -> Tensor:
        """Local energies ``(*batch, site)`` if conservative, else forces ``(*batch, site, component)``."""

    def window(self, window: Tensor) -> Tensor:
        """:meth:`local` on the inner cells of a part of the lattice with its halo, which is as wide as the reach.

        From ``(batch, *cells, basis, component)`` to ``(batch, *inner, basis)``, for forces with components.
        """

    def calibrate(self, field: Tensor) -> None:
        """Scale what the network sees to unit variance over typical fields."""

    def on(self, lattice: Lattice) -> Self:
        """The same on another lattice of the same kind, with the same parameters."""


class BehlerParrinello(Described, nn.Module):
    """Invariants of the neighbourhood of every site, a network, a local energy.

    Parameters
    ----------
    descriptor: features of every site.
    network: from features to one local energy; built here for the number of features.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(6)
    >>> descriptor = ns.descriptors.Irreps(lattice, ns.fields.scalar(), cutoff=2.0)
    >>> model = ns.forcefields.BehlerParrinello(descriptor, ns.networks.MLP((16,)))
    >>> field = torch.randn(36, 1, generator=torch.Generator().manual_seed(1))
    >>> turned = field.view(6, 6).rot90().reshape(36, 1)  # a quarter turn moves the energies of the sites along
    >>> torch.allclose(model.local(turned), model.local(field).view(6, 6).rot90().reshape(36), atol=1e-5)
    True

    References
    ----------
    J. Behler, M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
    """

    _parts: ClassVar = {"descriptor": Descriptor.from_config, "network": MLP.from_config}
    conservative = True
    whole = False
    tile = 128**2

    def __init__(self, descriptor: Descriptor, network: MLP) -> None:
        super().__init__()
        instance(descriptor, Descriptor, "descriptor")
        instance(network, MLP, "network")
        self.descriptor, self.network = descriptor, network.build(descriptor.features)
        self.lattice, self.field_type = descriptor.lattice, descriptor.field_type
        self.components, self.reach = descriptor.components, descriptor.reach
        self.open_boundaries = descriptor.open_boundaries

    def local(self, field: Tensor) -> Tensor:
        """Energies ``(*batch, site)``."""
        return self.network(self.descriptor(field))

    def window(self, window: Tensor) -> Tensor:
        """Energies ``(batch, *inner, basis)`` of a window with its halo."""
        return self.network(self.descriptor.evaluate_window(window))

    @torch.no_grad()
    def calibrate(self, field: Tensor) -> None:
        """Scale the features to unit variance over typical fields ``(batch, site, component)``."""
        self.network.calibrate(self.descriptor(field))


class LearnedForceField(ForceField):
    r"""A force field that is a sum of learned local terms, so that it serves lattices of any size.

    Conservative or not as the local model says: energies have their gradients for forces, by autograd, and forces of a
    network with ``head="force"`` are predicted directly, three times faster and without an energy.

    Fields of any precision are accepted; the network runs in the precision of its parameters and the result comes back
    in that of the field. Energies are summed in float64. Large lattices are evaluated tile by tile; training, and
    fields that require a gradient, keep everything, for their derivatives.

    Parameters
    ----------
    model: a :class:`nearsight.networks.LatticeNetwork` such as :class:`~nearsight.networks.GroupCNN`, on the lattice it
        was made for; or a descriptor, which takes a ``network``: short for ``BehlerParrinello(descriptor, network)``.
    network: from the features of the descriptor to a local energy.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> small, large = ns.lattices.square(8), ns.lattices.square(16)
    >>> learned = ns.LearnedForceField(ns.networks.GroupCNN(small, ns.fields.scalar(), channels=2))
    >>> field = torch.randn(8, 8, 1, generator=torch.Generator().manual_seed(1))
    >>> force, energy = learned(field.view(64, 1))
    >>> fourfold = learned.on(large)(field.repeat(2, 2, 1).view(256, 1))  # the same field, four times
    >>> torch.allclose(fourfold.energy, 4 * energy, rtol=1e-4), torch.allclose(fourfold.force[0], force[0], atol=1e-5)
    (True, True)
    """

    _parts: ClassVar = {
        "model": lambda told: {kind.__name__: kind for kind in (BehlerParrinello, SpinMessagePassing)}.get(
            told.get("type"), LatticeNetwork
        ).from_config(told)
    }

    field_type: FieldType

    def __init__(self, model: LocalModel | Descriptor, network: MLP | None = None) -> None:
        super().__init__()
        if isinstance(model, Descriptor) or network is not None:
            model = BehlerParrinello(model, network)  # type: ignore[arg-type]
        self.model = instance(model, LocalModel, "model", "Give a network on a grid, or a descriptor and an MLP.")
        self.lattice, self.components, self.field_type = model.lattice, model.components, model.field_type
        if not (model.open_boundaries or all(self.lattice.periodic)):  # type: ignore[arg-type]
            raise ValueError(f"Convolutions wrap around: {self.lattice!r} must be periodic along every axis.")
        self.reference = EnergyReference()

    @property
    def arguments(self) -> dict[str, Any]:
        return {"model": self.model}

    def on(self, lattice: Lattice) -> Self:
        other = super().on(lattice)
        other.reference = self.reference
        return other

    def _at_parameters(self, values: Mapping[str, float]) -> NoReturn:
        raise ValueError(
            "These forces were learned for one Hamiltonian, whatever its parameters are called: LearnedFamily learns "
            "several. The classical part alone may change, learned + exact.with_parameters(...).classical."
        )

    @property
    def reach(self) -> tuple[int, ...]:
        """How many cells away a local term sees, along every axis."""
        return self.model.reach

    @property
    def conservative(self) -> bool:
        """Whether the forces are the gradient of an energy."""
        return self.model.conservative

    def local(self, field: Tensor) -> Tensor:
        """What the local model says of every site, in units of energy or force."""
        return self.reference.scale * self.model.local(field)

    def window(self, window: Tensor) -> Tensor:
        """:meth:`local` on the inner cells of a part of the lattice with its halo; see :class:`LocalModel`."""
        return self.reference.scale * self.model.window(window)

    def calibrate(self, field: Tensor) -> None:
        """Scale features to unit variance over typical fields ``(batch, site, component)``; ``fit`` does it."""
        self.model.calibrate(field.to(self.dtype))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Files of 0.1 name the parts of the local model alone, a network on a grid as its ``network``.
        own = prefix + "model." + ("network." if isinstance(self.model, BehlerParrinello) else "")
        for part, now in (("network.", own), ("descriptor.", prefix + "model.descriptor.")):
            for name in [name for name in state_dict if name.startswith(prefix + part)]:
                state_dict[now + name.removeprefix(prefix + part)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return next(self.parameters()).dtype

    def evaluate(self, field: Tensor) -> Forces:
        if not field.numel():  # an empty batch
            energy = field.new_zeros(field.shape[:-2])
            return Forces(torch.zeros_like(field), energy if self.conservative else None)
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
            gradient = _slope(energy, x, keep=keep)
        if not keep:
            energy = energy.detach()
        return Forces(-gradient.to(field.dtype), energy.to(field.dtype))

    def _energy(self, x: Tensor) -> Tensor:
        return self.local(x).double().sum(-1) + self.reference.energy(x)

    # --- tiles ------------------------------------------------------------------------------------------------------

    def _tiled(self, x: Tensor) -> bool:
        # Tiles close around the torus; an open lattice is evaluated as a whole, and a cloud, which is one cell.
        return all(self.lattice.periodic) and not self.lattice.disordered and x.shape[:-1].numel() > self._capacity(x)  # type: ignore[arg-type]

    def _capacity(self, x: Tensor) -> int:
        return self.model.tile * (1 if x.device.type == "cpu" else ACCELERATED)

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
        if self.model.whole:
            fields = x.reshape(-1, *x.shape[-2:]).split(max(1, self._capacity(x) // self.lattice.n_sites))
            return torch.cat([self.local(part) for part in fields]).view(x.shape)
        grid = self._padded(x)
        last = () if self.conservative else (self.components,)
        result = x.new_empty(len(grid), *self.lattice.shape, self.lattice.n_basis, *last)
        for outer, inner in self._windows(grid):
            result[inner] = self.window(grid[outer])
        return result.view(*x.shape[:-1], *last)

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
