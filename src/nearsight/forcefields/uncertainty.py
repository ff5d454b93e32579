"""How wrong a learned force is, site by site, from what the last layer of its network has seen."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, number, numbers
from nearsight.fields import tangent
from nearsight.forcefields.forcefield import ForceField, Forces, revived
from nearsight.forcefields.learned import LearnedForceField
from nearsight.lattices import Lattice
from nearsight.networks import GroupCNN, SpinCNN

CHUNK = 64
"""Fields whose features are held at once."""


class Estimate(NamedTuple):
    """Forces with the half-width of the interval that holds the exact one, by :meth:`UncertainForceField.estimate`.

    ``force`` and ``width`` are ``(*batch, site, component)``, ``energy`` is ``(*batch,)`` or None.
    """

    force: Tensor
    energy: Tensor | None
    width: Tensor


class UncertainForceField(ForceField):
    r"""A learned force field that knows the error of its force on every site.

    The force is linear in the features h of the last layer, F = W h. Let the weights W have a Gaussian prior and what
    the network cannot express be noise; then, given the training data, they are Gaussian again, and the force on a site
    is uncertain by a multiple of

    .. math:: s_i = \sqrt{ h_i^\top (\Phi + \lambda)^{-1} h_i }, \qquad
              \Phi = \frac{1}{N |G|} \sum_{j, g} P_g h_j h_j^\top P_g^\top ,

    large where features are unlike those of the training sites j. The sum over the operations g of the point group,
    which permute the features of a channel, makes s invariant: the weights are those of a last layer that would not
    have to keep the symmetry, since those that keep it are a handful and tell little. λ is ``ridge`` times the mean
    diagonal element of Φ. Where the network is an energy, s is the same measure of what is unlike the data, though the
    force is a gradient.

    That errors are proportional to s, and Gaussian, is an assumption; how large they are is measured. On trajectories
    that no training has seen the quantiles of the scores :math:`|F_i - F_i^{\mathrm{exact}}| / s_i` are taken, by
    component, at the ``levels``, and the interval at level p is :math:`F_i \pm q_p s_i`. It holds the exact force in a
    fraction p of the sites of further trajectories like these whatever the law of the errors (conformal prediction): of
    all of them together, not of each kind.

    Parameters
    ----------
    learned: with a :class:`~nearsight.networks.GroupCNN`.
    levels: nominal coverages, such as 0.68 and 0.95.
    ridge: λ, relative.

    As a force field it is ``learned`` itself, in sums and runs, on lattices of any size. :meth:`calibrate` first, then
    :meth:`estimate`. The cost of an estimate is that of the force and of a product with a triangular matrix of one row
    per feature, some tenth of it; with an energy head the features are computed once more, a third.

    >>> import nearsight as ns
    >>> lattice, rng = ns.lattices.square(8), torch.Generator().manual_seed(0)
    >>> network = ns.networks.GroupCNN(lattice, ns.fields.scalar(), channels=2, head="force")
    >>> uncertain = UncertainForceField(ns.LearnedForceField(network))
    >>> seen, unseen = torch.randn(2, 16, 64, 1, generator=rng)
    >>> exact = uncertain(unseen).force + 0.1 * torch.randn(16, 64, 1, generator=rng)
    >>> found = uncertain.calibrate(seen, unseen, exact).estimate(unseen, level=0.95)
    >>> inside = (exact - found.force).abs() <= found.width
    >>> round(float(inside.double().mean()), 2)
    0.95

    References
    ----------
    F. Bigi et al., Mach. Learn.: Sci. Technol. 5, 045018 (2024), for the last layer; A. N. Angelopoulos, S. Bates,
    arXiv:2107.07511, for conformal prediction.
    """

    _parts: ClassVar = {"learned": revived}
    factor: Tensor
    """L with L Lᵀ = Φ + λ ``(feature, feature)``; zero before the calibration."""
    quantiles: Tensor
    """q ``(level, component)``."""

    def __init__(
        self, learned: LearnedForceField, levels: tuple[float, ...] = (0.68, 0.95), ridge: float = 1e-4
    ) -> None:
        super().__init__()
        self.learned = instance(learned, LearnedForceField, "learned")
        instance(learned.model, (GroupCNN, SpinCNN), "learned.model", "Its last layer is what tells.")
        self.levels, self.ridge = numbers(levels, "levels", above=0, below=1), number(ridge, "ridge", above=0)
        if not self.levels:
            raise ValueError("levels must name one coverage or more, such as (0.68, 0.95).")
        self.lattice, self.components, self.field_type = learned.lattice, learned.components, learned.field_type
        features = self._network.channels * self._network.order
        self.register_buffer("factor", torch.zeros(features, features))
        self.register_buffer("quantiles", torch.zeros(len(self.levels), self.components))

    @property
    def _network(self) -> GroupCNN | SpinCNN:
        return cast(GroupCNN | SpinCNN, self.learned.model)

    def deviation(self, field: Tensor, force: Tensor, exact: Tensor) -> Tensor:
        """What intervals are of: ``force - exact``, of unit spins the part normal to them."""
        off = force.double() - exact.double()
        unit = self.field_type is not None and self.field_type.values == "unit"
        return tangent(off, field.double()) if unit else off

    @property
    def arguments(self) -> dict[str, Any]:
        return {"learned": self.learned, "levels": self.levels, "ridge": self.ridge}

    def on(self, lattice: Lattice) -> UncertainForceField:
        other = super().on(lattice)
        other.factor, other.quantiles = self.factor, self.quantiles
        return other

    def evaluate(self, field: Tensor) -> Forces:
        return self.learned.evaluate(field)

    # --- calibration ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def calibrate(self, train: Tensor, field: Tensor, force: Tensor) -> UncertainForceField:
        """Set Φ and the quantiles; the same object comes back.

        Parameters
        ----------
        train: fields it was trained on ``(snapshot, site, component)``.
        field, force: of trajectories no training has seen, with the exact forces of what was learned (without springs),
            of the same shape.

        Raises ``ValueError`` where there are too few sites for the highest level.
        """
        if force.shape != field.shape:
            raise ValueError(f"force must have the shape of field, {tuple(field.shape)}, got {tuple(force.shape)}.")
        sites = field.shape[:-1].numel()
        if math.ceil((sites + 1) * max(self.levels)) > sites:
            raise ValueError(f"{sites} sites are too few for an interval that holds {max(self.levels):g} of all.")
        network, order = self._network, self._network.order
        phi, count = torch.zeros(self.factor.shape, dtype=torch.float64), 0
        for part in train.split(CHUNK):
            h = self._features(self.learned._padded(part.to(self.learned.dtype))).double().flatten(0, -2).cpu()
            phi, count = phi + h.T @ h, count + len(h)
        # (P_g f)(k) = f(g⁻¹ k), the same for every channel.
        moved = torch.from_numpy(network.group.table[network.group.inverse])
        index = (torch.arange(network.channels)[:, None] * order + moved[:, None, :]).flatten(1)
        phi = torch.stack([phi[i][:, i] for i in index]).mean(0) / count
        phi += self.ridge * phi.diagonal().mean() * torch.eye(len(phi), dtype=torch.float64)
        self.factor.copy_(torch.linalg.cholesky(phi))
        self.quantiles.fill_(1.0)
        scores = []
        for fields, exact in zip(field.split(CHUNK), force.split(CHUNK), strict=True):
            found = self.estimate(fields.double(), level=self.levels[0])
            off = self.deviation(fields, found.force, exact).abs()
            scores.append((off / found.width).flatten(0, -2).cpu().numpy())
        self.quantiles.copy_(torch.from_numpy(self._conformal(np.concatenate(scores))))
        return self

    def _conformal(self, scores: np.ndarray) -> np.ndarray:
        """The ⌈(n + 1) p⌉-th smallest of n scores, which the next one does not exceed with probability p or more."""
        if isinstance(self._network, SpinCNN):
            scores = scores.reshape(-1, 1)
        rank = np.ceil((len(scores) + 1) * np.array(self.levels)).astype(int)
        return np.sort(scores, axis=0)[rank - 1]

    # --- estimates --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def estimate(self, field: Tensor, level: float = 0.68) -> Estimate:
        """Forces of a field ``(*batch, site, component)``, and the half-width of the interval of one of the levels."""
        if level not in self.levels:
            raise ValueError(f"level must be one of those calibrated, {', '.join(map(str, self.levels))}, got {level}.")
        if not bool(self.factor.any()):
            raise ValueError("These intervals are not calibrated yet: calibrate(train, field, force) comes first.")
        learned = self.learned
        x = field.to(learned.dtype)
        grid = learned._padded(x)
        shape = (len(grid), *self.lattice.shape, self.lattice.n_basis)
        spread, force = grid.new_empty(shape), grid.new_empty(*shape, self.components)
        direct = isinstance(self._network, GroupCNN) and not learned.conservative
        for outer, inner in learned._windows(grid):
            h = self._features(grid[outer])
            spread[inner] = self._spread(h).unsqueeze(-1)
            if direct:
                found = self._network.project(h.movedim(-1, 1), self._network.readout, law=True)
                force[inner] = learned.reference.scale.to(h) * found.movedim(1, -1).unsqueeze(-2)
        width = spread.view(*x.shape[:-1], 1) * self.quantiles[self.levels.index(level)].to(spread)
        if direct:
            total, energy = force.view(x.shape) + learned.reference.field(x), None
        else:
            total, energy = learned.evaluate(field)
        return Estimate(total.to(field.dtype), energy, width.to(field.dtype))

    def _features(self, window: Tensor) -> Tensor:
        """h ``(batch, *inner, feature)`` of a window with its halo."""
        return self._network.features(window.squeeze(-2).movedim(-1, 1)).movedim(1, -1)

    def _spread(self, h: Tensor) -> Tensor:
        """s ``(batch, *inner)``."""
        flat = h.reshape(-1, h.shape[-1])
        solved = torch.linalg.solve_triangular(self.factor.to(flat), flat.T, upper=False)
        square = solved.square().sum(0).view(h.shape[:-1])
        if isinstance(self._network, SpinCNN) and self._network.head == "force":
            square = square.unflatten(0, (-1, self.components)).mean(1)
        return square.sqrt()
