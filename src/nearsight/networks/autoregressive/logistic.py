"""The fully visible sigmoid belief net: every conditional a logistic regression on the sites before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nearsight.lattices import Lattice
from nearsight.networks.autoregressive._causal_linear import CausalLinear, encode
from nearsight.networks.autoregressive.model import AutoregressiveModel, Symmetry
from nearsight.networks.autoregressive.order import NamedOrder


class EquivariantAutoregression(AutoregressiveModel):
    """A member whose outputs are turned along with the states: ``(batch, channel, position)`` to the same.

    One channel for two states, the spin, whose output is the difference z(1) - z(0); one for each of more states.
    """

    def outputs(self, x: Tensor) -> Tensor:
        """Of encoded states, in the order of the model; of a position from those before it only."""
        raise NotImplementedError

    def logits(self, states: Tensor) -> Tensor:
        return self._both(self.outputs(encode(states, self.n_states, self.dtype)))

    def _terms(self, states: Tensor) -> Tensor:
        if self.n_states > 2:
            return super()._terms(states)
        x = encode(states, 2, self.dtype)
        # x z has the same bits for s and -s, and so has ln P.
        return F.logsigmoid(x * self.outputs(x))[:, 0]

    def _both(self, outputs: Tensor) -> Tensor:
        """Outputs ``(batch, channel, ...)`` as logits ``(batch, ..., state)``."""
        if self.n_states > 2:
            return outputs.movedim(1, -1)
        half = 0.5 * outputs[:, 0]
        return torch.stack([-half, half], -1)


class LogisticAutoregression(EquivariantAutoregression):
    r"""Conditionals whose logits are linear in the sites before: for spins,

    .. math:: p_k(s_k \mid s_{<k}) = \frac{1}{1 + e^{-s_k z_k}}, \qquad z_k = \sum_{l<k} W_{kl}\, s_l ,

    and z_k(a) = Σ W_kl δ(a, a_l) for q states. N(N - 1)/2 weights, a convex likelihood, and exact for the last site of
    any model with pair couplings, W = 2J/kT. What earlier conditionals lack, products of three and more sites before,
    is of fourth order in J/kT on lattices without triangles. It starts at W = 0, all configurations equally likely.

    One pass over n configurations costs 4 n N² operations. :class:`HiddenSpinAutoregression` adds what is not linear.

    Parameters
    ----------
    lattice, n_states, order, symmetry: as of :class:`AutoregressiveModel`.

    >>> import torch
    >>> from nearsight.lattices import square
    >>> model = LogisticAutoregression(square(4))
    >>> states = model.sample(5, torch.Generator().manual_seed(1))
    >>> states.shape, model.log_prob(states).div(16).round(decimals=4).tolist()[0]
    (torch.Size([5, 16]), -0.6931)

    References
    ----------
    B. J. Frey, Graphical Models for Machine Learning and Digital Communication (MIT Press, 1998), section 5.1.
    """

    def __init__(
        self,
        lattice: Lattice,
        *,
        n_states: int = 2,
        order: NamedOrder | Sequence[int] = "snake",
        symmetry: Symmetry = "permutations",
    ) -> None:
        super().__init__(lattice, n_states=n_states, order=order, symmetry=symmetry)
        self.linear = CausalLinear(self.lattice.n_sites, self.n_states, self.symmetry)

    def outputs(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def site_logits(self, states: Tensor, position: int) -> Tensor:
        x = encode(states, self.n_states, self.dtype)
        return self._both(self.linear.row(x, position))[:, 0]
