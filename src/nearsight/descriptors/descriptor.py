"""What every descriptor promises."""

from __future__ import annotations

import abc
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight.fields import FieldType, check_field
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice
from nearsight.lattices.patches import cells_within


class Descriptor(Described, nn.Module, abc.ABC):
    """Features of the neighbourhood of every site: ``(*batch, site, component)`` to ``(*batch, site, feature)``.

    The features of a site do not change when the field is transformed by an operation of the site's point group, they
    travel with the field under translations, and they depend on nothing beyond the cutoff. They can be differentiated
    twice, so that a force (one derivative) can be trained (another one).

    ``evaluate`` is all a member has to write. What its finite ``cutoff`` makes possible on top, features of chosen
    sites, of a window, and after the change of one site, is correct for every member as it stands; a member with a
    faster way says so by overriding it.
    """

    _parts: ClassVar = {"lattice": Lattice.from_config, "field_type": FieldType.from_config}

    lattice: Lattice
    field_type: FieldType
    components: int
    features: int
    cutoff: float
    open_boundaries: bool = False
    """Whether sites that lack neighbours have features."""
    smooth: bool = True
    """Whether the features have two derivatives everywhere. Without, they have one-sided slopes at symmetric fields."""

    @abc.abstractmethod
    def evaluate(self, field: Tensor) -> Tensor:
        """Features of a field whose shape has been checked."""

    def _of_kind(self, lattice: Lattice) -> Lattice:
        return super()._of_kind(self._checked_lattice(lattice))

    def _checked_lattice(self, lattice: Lattice) -> Lattice:
        """A lattice, refused if it has edges that this descriptor cannot serve."""
        if not (np.all(checked_lattice(lattice).periodic) or self.open_boundaries):
            name = type(self).__name__
            raise ValueError(f"{name} works on periodic lattices; {lattice!r} has sites that lack neighbours.")
        return lattice

    @cached_property
    def _tables(self) -> dict[tuple[torch.dtype, torch.device], Any]:
        return {}

    def tables(self, like: Tensor) -> Any:
        """What :meth:`make_tables` gives, made once for every precision and device."""
        key = like.dtype, like.device
        if key not in self._tables:
            with torch.inference_mode(False):  # what is made here serves training, too
                self._tables[key] = self.make_tables(like)
        return self._tables[key]

    def make_tables(self, like: Tensor) -> Any:
        """The constants of an evaluation in the precision and on the device of a tensor, converted from double."""
        raise NotImplementedError

    def forward(self, field: Tensor) -> Tensor:
        check_field(field, self.lattice.n_sites, self.components)
        if not field.numel():  # an empty batch, of which no reshaping can tell the other axes
            return field.sum(-1, keepdim=True).expand(*field.shape[:-1], self.features)
        return self.evaluate(field)

    # --- what a finite cutoff makes possible ------------------------------------------------------------------------

    @cached_property
    def reach(self) -> tuple[int, ...]:
        """How many cells away a site still matters, along every axis."""
        if self.lattice.disordered:  # without a neighbourhood for every site of the cell
            return cells_within(self.lattice, self.cutoff)
        around = [self.lattice.neighbourhood(self.cutoff, centre=b).reach for b in range(self.lattice.n_basis)]
        return tuple(max(r) for r in zip(*around, strict=True))

    def evaluate_window(self, window: Tensor) -> Tensor:
        """Features ``(*batch, *inner, basis, feature)`` of a part of a lattice that is surrounded by its true halo.

        The window is a field ``(*batch, *cells, basis, component)``; its inner cells are those at least :attr:`reach`
        away from every edge. Large lattices are evaluated window by window, in memory that does not grow with them.
        """
        lattice, reach = self.lattice, self.reach
        batch, cells = self.window_shape(window)
        # The window closed to a torus is wrong only where it is seen from closer than the reach to an edge.
        features = self.on(lattice.resized(*cells)).evaluate(window.flatten(-lattice.dim - 2, -2))
        features = features.unflatten(-2, (*cells, lattice.n_basis))
        inner = tuple(slice(r, n - r) for n, r in zip(cells, reach, strict=True))
        return features[(*(slice(None),) * len(batch), *inner)]

    def window_shape(self, window: Tensor) -> tuple[torch.Size, torch.Size]:
        """The batch and the cells of a window; ``ValueError`` if it does not hold one inner cell with its halo."""
        dim, site = self.lattice.dim, (self.lattice.n_basis, self.components)
        batch, cells = window.shape[: -dim - 2], window.shape[-dim - 2 : -2]
        if (
            window.ndim < dim + 2
            or window.shape[-2:] != site
            or any(n <= 2 * r for n, r in zip(cells, self.reach, strict=True))
        ):
            halo = ", ".join(f"more than {2 * r}" for r in self.reach)
            raise ValueError(
                f"A window of this descriptor has shape (*batch, {halo}, {site[0]}, {site[1]}), got "
                f"{tuple(window.shape)}."
            )
        return batch, cells

    def at(self, field: Tensor, sites: Tensor | int) -> Tensor:
        """Features ``(*batch, *sites, feature)`` of chosen sites, an index or an integer tensor of any shape."""
        return self.evaluate(field)[..., sites, :]

    def touched(self, site: Tensor | int) -> Tensor:
        """The sites ``(*site, centre)`` whose features may change when the field of ``site`` does, itself included.

        ``site`` is an index or a tensor of several; each centre is listed once, also on a torus smaller than the
        neighbourhood.
        """
        sites = torch.as_tensor(site)
        chosen = sites.cpu().numpy().reshape(-1)
        lattice = self.lattice
        cells = np.stack(np.unravel_index(chosen // lattice.n_basis, lattice.shape), axis=-1)
        rows: list[np.ndarray] = [np.empty(0)] * len(chosen)
        for b in range(lattice.n_basis):
            here = np.flatnonzero(chosen % lattice.n_basis == b)
            around = lattice.neighbourhood(self.cutoff, centre=b)
            centres = lattice.index(cells[here, None] + around.cells, around.sublattice)
            wraps = any(2 * r + 1 > n for r, n in zip(around.reach, lattice.shape, strict=True))
            for k, row in zip(here, centres, strict=True):
                inside = row[row >= 0]  # nothing lies beyond an open edge
                rows[k] = np.unique(inside) if wraps else inside
        if len({len(row) for row in rows}) > 1:
            raise ValueError(
                f"These sites of {lattice!r} have different numbers of distinct sites within {self.cutoff:g}, which no "
                f"rectangular array holds; take one site at a time."
            )
        return torch.as_tensor(np.array(rows), device=sites.device).view(*sites.shape, -1)

    def delta(self, field: Tensor, site: Tensor | int, change: Tensor) -> tuple[Tensor, Tensor]:
        r"""What the change of one site does: the centres it touches, and their features after it.

        Parameters
        ----------
        field: the field before the change ``(*batch, site, component)``; it is not altered.
        site: the site that changes; or a tensor ``(*proposals,)`` of sites of which each changes alone, as the moves a
            Monte Carlo step can choose from.
        change: :math:`\delta\Phi` at the site, ``(component,)`` or ``(*batch, *proposals, component)``.

        Returns
        -------
        Site indices ``(*proposals, centre)`` and features ``(*batch, *proposals, centre, feature)``, equal to those of
        a full evaluation to rounding. All other sites keep theirs, so that the energy difference of a move is
        :math:`\Delta E = \sum_{\rm centres} (\epsilon_{\rm after} - \epsilon_{\rm before})`.
        """
        sites = torch.as_tensor(site, device=field.device)
        centres, flat = self.touched(sites), sites.reshape(-1)
        batch = field.shape[:-2]
        change = change.to(field).expand(*batch, *sites.shape, self.components).reshape(*batch, len(flat), -1)
        features = []
        for k in range(len(flat)):
            after = field.clone()
            after[..., flat[k], :] += change[..., k, :]
            features.append(self.at(after, centres.view(len(flat), -1)[k]))
        return centres, torch.stack(features, -3).view(*batch, *centres.shape, self.features)


class _GridDescriptor(Descriptor):
    """A descriptor of periodic lattices whose features come point by point from stencils on the grid."""

    @abc.abstractmethod
    def _of_grid(self, grid: Tensor, centre: Tensor, *, halo: bool) -> Tensor:
        """Features ``(feature, point)`` of the cells ``centre`` of a field ``(batch, *shape, basis, component)``.

        These are all cells of a torus, or with ``halo`` the inner ones, which the reach keeps from the edges.
        """

    def evaluate(self, field: Tensor) -> Tensor:
        grid = field.reshape(-1, *self.lattice.shape, self.lattice.n_basis, self.components)
        # Stored feature by feature: the view costs nothing, and a linear layer reads it as it is.
        return self._of_grid(grid, grid, halo=False).view(-1, *field.shape[:-1]).movedim(0, -1)

    def evaluate_window(self, window: Tensor) -> Tensor:
        batch, cells = self.window_shape(window)
        grid = window.reshape(-1, *window.shape[len(batch) :])
        inner = grid[(slice(None), *(slice(r, n - r) for r, n in zip(self.reach, cells, strict=True)))]
        return self._of_grid(grid, inner, halo=True).view(-1, *batch, *inner.shape[1:-1]).movedim(0, -1)
