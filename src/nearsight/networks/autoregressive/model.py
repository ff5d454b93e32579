"""Autoregressive models of the probability of a configuration: a product of conditionals, one for every site."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import choice, generator, integer, state_tensor
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice
from nearsight.networks.autoregressive.order import NamedOrder, site_order

Symmetry = Literal["permutations", "cyclic", "none"]
CHUNK = 2**22
"""Numbers in the widest layer at once where no gradient is needed."""


class AutoregressiveModel(Described, nn.Module, abc.ABC):
    r"""A normalised probability of the configurations of N variables with q states each,

    .. math:: \ln P(a) = \sum_{k=1}^{N} \ln p_k\!\left(a_{\pi(k)} \mid a_{\pi(1)}, \dots, a_{\pi(k-1)}\right),
              \qquad p_k(a) = \frac{e^{z_k(a)}}{\sum_b e^{z_k(b)}}.

    Everything is computed from the logits z: no probability is ever formed, and ln P is finite for every configuration
    of any size. Z = 1, so that energies -kT ln P come with their zero, F = 0. Configurations are drawn without a Markov
    chain, one site after another (:meth:`sample`).

    States are integers 0..q-1 ``(*batch, site)``, as in :class:`~nearsight.hamiltonians.ClassicalModel`.

    **Internal symmetry** is exact by construction, to rounding. With ``symmetry="permutations"`` P is unchanged by any
    permutation of the states (for q = 2: P(-s) = P(s)), as without a field; ``"cyclic"`` only by shifts a → a + 1
    mod q, as for a clock model with a chirality; the first conditional is then 1/q. ``"none"`` is for data in a field.

    A member writes :meth:`logits`, and :meth:`site_logits` where one site alone is cheaper.

    Parameters
    ----------
    lattice: whose sites are the variables. P belongs to this lattice: :meth:`on` refuses another.
    n_states: q ≥ 2.
    order: π, see :func:`site_order`.
    symmetry: of the states, see above.
    """

    _parts: ClassVar = {"lattice": Lattice.from_config}
    width: int = 1
    """Numbers per site and state in the widest layer: what memory is counted by."""

    def __init__(
        self,
        lattice: Lattice,
        *,
        n_states: int = 2,
        order: NamedOrder | Sequence[int] = "snake",
        symmetry: Symmetry = "permutations",
    ) -> None:
        super().__init__()
        self.lattice = checked_lattice(lattice)
        self.n_states = integer(n_states, "n_states", least=2, most=127)
        sequence = site_order(lattice, order)
        self.order = order if isinstance(order, str) else tuple(sequence.tolist())
        self.symmetry = choice(symmetry, "symmetry", get_args(Symmetry))
        self.sequence: Tensor
        self.rank: Tensor
        self.register_buffer("sequence", torch.from_numpy(sequence), persistent=False)
        self.register_buffer("rank", torch.from_numpy(np.argsort(sequence)), persistent=False)

    # --- what a member writes ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """z ``(batch, position, state)`` of states ``(batch, position)``, both in the order of the model.

        z of a position depends on the states before it only.
        """

    def site_logits(self, states: Tensor, position: int) -> Tensor:
        """z of one position ``(batch, state)``; states from there on are not looked at."""
        return self.logits(states)[:, position]

    def _terms(self, states: Tensor) -> Tensor:
        """ln p of the states that are there ``(batch, position)``, in the order of the model."""
        logits = self.logits(states)
        return logits.gather(-1, states.long()[..., None]).squeeze(-1) - logits.logsumexp(-1)

    # --- what everyone asks -----------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return next(self.parameters()).dtype

    def conditionals(self, states: Tensor) -> Tensor:
        """ln p(a | earlier sites) of every state a of every site ``(*batch, site, state)``."""
        flat = self._ordered(states)
        found = F.log_softmax(self.logits(flat), -1)[:, self.rank]
        return found.reshape(*states.shape, self.n_states)

    def log_prob(self, states: Tensor) -> Tensor:
        """ln P ``(*batch,)`` of states ``(*batch, site)``, summed in float64.

        Where gradients are off, a large batch is taken in parts that fit the cache.
        """
        flat = self._ordered(states)
        size = len(flat) if torch.is_grad_enabled() else max(1, CHUNK // (flat.shape[-1] * self.n_states * self.width))
        parts = [self._terms(part).sum(-1, dtype=torch.float64) for part in flat.split(max(1, size))]
        return torch.cat(parts).reshape(states.shape[:-1]) if parts else flat.new_zeros(states.shape[:-1])

    def forward(self, states: Tensor) -> Tensor:
        """:meth:`log_prob`."""
        return self.log_prob(states)

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Independent configurations ``(count, site)``, int8, drawn site by site for all of them at once."""
        count = integer(count, "count", least=1)
        generator(rng)
        n = self.lattice.n_sites
        states = torch.zeros(count, n, dtype=torch.int8, device=self.sequence.device)
        size = max(1, CHUNK // (n * self.n_states * self.width))
        for part in states.split(size):
            self._draw(part, rng)
        return states[:, self.rank]

    def _draw(self, states: Tensor, rng: torch.Generator) -> None:
        """Fill states ``(batch, position)``."""
        for position in range(states.shape[1]):
            states[:, position] = draw_states(self.site_logits(states, position), rng)

    def on(self, lattice: Lattice) -> Self:
        """The model itself, on its own lattice; ``ValueError`` for any other."""
        if self.lattice.coincides(checked_lattice(lattice)):
            return self
        raise ValueError(
            f"An autoregressive model is the probability on one lattice, {self.lattice!r}: it does not transfer to "
            f"{lattice!r}. Distil an extensive energy from it, which does."
        )

    def _ordered(self, states: Tensor) -> Tensor:
        """States ``(batch, position)`` in the order of the model, refused if they are none of its own."""
        n = self.lattice.n_sites
        return state_tensor(states, n, self.n_states).reshape(-1, n)[:, self.sequence]


def draw_states(logits: Tensor, rng: torch.Generator) -> Tensor:
    """One state for every row of logits ``(batch, state)``, int8, by inversion of the cumulative distribution."""
    cumulative = torch.softmax(logits.double(), -1).cumsum(-1)
    u = torch.rand(len(logits), 1, generator=rng, dtype=torch.float64, device=logits.device)
    return (u > cumulative[:, :-1]).sum(-1).to(torch.int8)
