"""What every descriptor promises."""

from __future__ import annotations

import abc
from typing import Any, Self

from torch import Tensor, nn

from nearsight.fields import check_field
from nearsight.lattices import Lattice


class Descriptor(nn.Module, abc.ABC):
    """Features of the neighbourhood of every site: ``(*batch, site, component)`` to ``(*batch, site, feature)``.

    The features of a site do not change when the field is transformed by an operation of the site's point group, they
    travel with the field under translations, and they depend on nothing beyond the cutoff. They can be differentiated
    twice, so that a force (one derivative) can be trained (another one).
    """

    lattice: Lattice
    components: int
    features: int

    @abc.abstractmethod
    def evaluate(self, field: Tensor) -> Tensor:
        """Features of a field whose shape has been checked."""

    @abc.abstractmethod
    def on(self, lattice: Lattice) -> Self:
        """The same features on another lattice of the same kind. Parameters are shared, not copied."""

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments except the lattice, in plain data, to rebuild the descriptor from a file."""

    @classmethod
    @abc.abstractmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        """The descriptor that :meth:`config` was read from, on a lattice of the same kind."""

    def forward(self, field: Tensor) -> Tensor:
        check_field(field, self.lattice.n_sites, self.components)
        return self.evaluate(field)
