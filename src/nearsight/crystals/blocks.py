"""Blocks of displacements about the atoms of a crystal, for models that average over them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, instance
from nearsight.crystals.crystal import Crystal
from nearsight.descriptors import BlockDisplacements
from nearsight.fields import check_field

HUNDRED = 100.0
"""Unit of temperature in K in which a model reads it."""


class DisplacementBlocks:
    """Displacements of a crystal from which the blocks of :class:`~nearsight.descriptors.BlockDisplacements` are cut.

    It takes the place of ``SpinStore`` in ``PropertyModel.predict`` and ``training.fit_property``: a block is told by
    the atom in its middle. Blocks about atoms of another sublattice are turned so that equal surroundings look equal.

    Parameters
    ----------
    front: whose blocks are cut.
    crystal: the supercell, of the lattice of ``front``.
    displacement: ``(configuration, site, 3)`` in Å.
    temperature: of every configuration in K, where ``front.temperature`` asks for it.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from nearsight.crystals import DisplacementBlocks, silicon
    >>> from nearsight.descriptors import BlockDisplacements
    >>> crystal = silicon(4)
    >>> front = BlockDisplacements(crystal.lattice, edge=5.5)  # an atom, 4 first and 12 second neighbours
    >>> u = torch.randn(1, crystal.n_atoms, 3, generator=torch.Generator().manual_seed(1))
    >>> block = DisplacementBlocks(front, crystal, u).blocks(0, np.array([6]), front.side)
    >>> block.shape, bool(np.abs(block[0] - u[0, 6].numpy()).max() < 1e-6)  # the atom in the middle is the first
    ((17, 3), True)
    """

    axes = 1

    def __init__(
        self,
        front: BlockDisplacements,
        crystal: Crystal,
        displacement: Tensor,
        temperature: np.ndarray | None = None,
    ) -> None:
        self.front = instance(front, BlockDisplacements, "front")
        lattice = instance(crystal, Crystal, "crystal").lattice
        if not lattice.same_kind(front.lattice):
            raise ValueError(f"The blocks are those of {front.lattice!r}, not of {crystal!r}.")
        if front.temperature != (temperature is not None):
            needed = "needs the temperature of every configuration" if front.temperature else "reads no temperature"
            raise ValueError(f"This front {needed}; pass temperature= accordingly.")
        self.crystal, self.displacement = crystal, check_field(displacement, crystal.n_atoms, 3).detach().float()
        if self.displacement.ndim != 3:
            raise ValueError(f"displacement must be (configuration, site, 3), got {tuple(displacement.shape)}.")
        self.length = crystal.n_atoms
        self.temperature = None if temperature is None else array(temperature, "temperature", (len(displacement),))
        tables = np.stack([lattice.neighbour_table(around) for around in front.arounds], 1)
        self._members = torch.from_numpy(tables.reshape(lattice.n_sites, -1))
        self._frames = torch.tensor(front.operations, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.displacement)

    def __repr__(self) -> str:
        return f"DisplacementBlocks({len(self)} configurations, {self.crystal!r})"

    def blocks(self, snapshot: int | np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
        """Blocks ``(..., atom, 3)``, float32: ``corners`` ``(..., 1)`` are the atoms in their middle."""
        if side != self.front.side:
            raise ValueError(f"These are blocks of {self.front.side} atoms, not of {side}.")
        which, site = np.broadcast_arrays(np.asarray(snapshot), corners[..., 0])
        index, middle = torch.from_numpy(which.copy()), torch.from_numpy(site.copy())
        found = self.displacement[index[..., None], self._members[middle]]
        frames = self._frames[middle % len(self._frames)]
        found = found @ frames  # hᵀ u, of rows
        if self.temperature is not None:
            heat = torch.zeros(*found.shape[:-2], 1, 3)
            heat[..., 0, 0] = torch.from_numpy(self.temperature / HUNDRED).float()[index]
            found = torch.cat([found, heat], -2)
        return found.numpy()
