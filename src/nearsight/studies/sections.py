"""Groups of settings that several studies have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from nearsight.fields import FieldType
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import Lattice
from nearsight.networks import GroupCNN
from nearsight.studies.options import Count, Positive
from nearsight.studies.settings import Section


class Convolution(Section):
    """A convolutional network that commutes with the point group of the lattice."""

    head: Literal["energy", "force"] = "force"
    """The force itself, three times faster, or a local energy whose gradient is the force."""
    channels: Count = 8
    """Features per operation of the group in every layer."""
    radii: tuple[Positive, ...] = (2.3, 1.5, 1.5)
    """Cutoff of each layer; the receptive field is their sum."""
    scales: tuple[Positive, ...] = (1.0, 3.0)
    """The first layer sees Φ and tanh(sΦ) for each s."""

    def build(self, lattice: Lattice, law: FieldType, rng: torch.Generator, **options: Any) -> LearnedForceField:
        """The network with its initial weights; ``options`` are those of ``GroupCNN``."""
        shape = {"head": self.head, "channels": self.channels, "radii": self.radii, "scales": self.scales}
        return LearnedForceField(GroupCNN(lattice, law, **shape | options, rng=rng))


class RandomStart(Section):
    """A random field from which a quench starts."""

    amplitude: Positive = 0.5
    """Standard deviation of every component of the initial field."""

    def initial_fields(self, lattice: Lattice, components: int, replicas: int, rng: torch.Generator) -> torch.Tensor:
        """Independent Gaussian noise ``(replica, site, component)``, float64."""
        shape = (replicas, lattice.n_sites, components)
        return self.amplitude * torch.randn(*shape, generator=rng, dtype=torch.float64)


class LangevinQuench(RandomStart):
    """Langevin dynamics from a random field."""

    dt: Positive = 0.2
    damping: Annotated[float, Field(ge=0)] = 0.3
    mass: Positive = 1.0
    """Mass m."""
