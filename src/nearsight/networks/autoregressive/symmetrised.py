"""A probability averaged over operations of the lattice: invariance to rounding."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import boolean, generator, instance, integer
from nearsight.lattices import Lattice, site_permutations, torus_group
from nearsight.lattices.lattice import checked_lattice
from nearsight.networks.autoregressive.model import AutoregressiveModel


def lattice_operations(lattice: Lattice, *, step: int = 1, point_group: bool = True) -> np.ndarray:
    """Translations and rotations of a periodic lattice as permutations of its sites, a group ``(operation, site)``.

    Row g holds the site at which every site arrives. Translations are those by multiples of ``step`` cells along every
    axis (0: none), where ``step`` divides the numbers of cells; the point group is that of the torus about site 0. A
    coarser step is a smaller group: ``step=4`` on 8 × 8 sites has 4 · 8 operations of 512.

    >>> from nearsight.lattices import square
    >>> len(lattice_operations(square(8))), len(lattice_operations(square(8), step=4))
    (512, 32)
    """
    checked_lattice(lattice)
    step = integer(step, "step", least=0)
    if not all(lattice.periodic):  # type: ignore[arg-type]
        raise ValueError("Only a fully periodic lattice has translations; make all axes periodic.")
    if step and any(n % step for n in lattice.shape):
        raise ValueError(f"step={step} does not divide the numbers of cells {lattice.shape}.")
    axes = [range(0, n, step) if step else range(1) for n in lattice.shape]
    moves = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 1, lattice.dim)
    translations = lattice.index(lattice.cells + moves, lattice.sublattice)
    if not boolean(point_group, "point_group"):
        return translations
    points = site_permutations(lattice, torus_group(lattice))
    return translations[:, points].reshape(-1, lattice.n_sites)


class Symmetrised(Described, nn.Module):
    r"""The mean of P over a group of operations on the sites,

    .. math:: P_G(a) = \frac{1}{|G|} \sum_{g \in G} P(g\, a),

    normalised and invariant under all of G, to rounding. What is wrong with P in one place or direction averages out:
    the likelihood of data with the symmetry can only grow. ln P is |G| times the work. Fit P first.

    Parameters
    ----------
    model: P.
    operations: permutations of the sites that are a group, ``(operation, site)``; those of :func:`lattice_operations`
        by default.

    >>> from nearsight.lattices import square
    >>> from nearsight.networks import LogisticAutoregression
    >>> Symmetrised(LogisticAutoregression(square(4))).operations.shape
    (128, 16)
    """

    _parts: ClassVar = {"model": AutoregressiveModel.from_config, "operations": np.array}

    def __init__(self, model: AutoregressiveModel, operations: np.ndarray | None = None) -> None:
        super().__init__()
        self.model = instance(model, AutoregressiveModel, "model")
        self.operations = lattice_operations(model.lattice) if operations is None else _group(operations, model.lattice)

    @property
    def lattice(self) -> Lattice:
        """That of the model."""
        return self.model.lattice

    @property
    def n_states(self) -> int:
        """That of the model."""
        return self.model.n_states

    def log_prob(self, states: Tensor) -> Tensor:
        """ln P_G ``(*batch,)`` of states ``(*batch, site)``, float64."""
        terms = torch.stack([self.model.log_prob(states[..., p]) for p in torch.from_numpy(self.operations)])
        return terms.logsumexp(0) - math.log(len(self.operations))

    def forward(self, states: Tensor) -> Tensor:
        """:meth:`log_prob`."""
        return self.log_prob(states)

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Independent configurations ``(count, site)``, int8: draws of the model, each moved by some operation."""
        states = self.model.sample(count, rng)
        chosen = torch.randint(len(self.operations), (count,), generator=generator(rng))
        return states.gather(-1, torch.from_numpy(self.operations)[chosen].to(states.device))


def _group(operations: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Permutations, refused unless every product of two is there."""
    table = np.asarray(operations)
    n = lattice.n_sites
    wanted = f"operations must be permutations of {n} sites, integers (operation, {n})"
    if table.dtype.kind not in "iu" or table.ndim != 2 or table.shape[1] != n or not len(table):
        raise ValueError(f"{wanted}, got {table.dtype} of shape {table.shape}.")
    if not (np.sort(table, axis=1) == np.arange(n)).all():
        raise ValueError(f"{wanted}; some row leaves a site out.")
    table = table.astype(np.int64)
    known = {row.tobytes() for row in table}
    if len(known) < len(table):
        raise ValueError("operations must differ from each other; some is there twice.")
    if any(row.tobytes() not in known for g in table for row in np.ascontiguousarray(table[:, g])):
        raise ValueError(
            "operations are no group: the product of some two is missing, and the mean over them would not be "
            "invariant. lattice_operations(lattice, step=...) makes subgroups of any size."
        )
    return table
