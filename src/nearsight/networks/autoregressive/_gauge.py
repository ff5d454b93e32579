"""Configurations with their states named by order of appearance: networks without a symmetry then have it exactly."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from nearsight.networks.autoregressive.model import AutoregressiveModel


class GaugedAutoregression(AutoregressiveModel, abc.ABC):
    r"""A member whose network sees the states renamed so that the first site is always in state 0.

    Shifts: a → a - a₁ mod q. Permutations: states are numbered in the order of their first appearance, and those that
    have not appeared yet, which nothing tells apart, share their probability equally. For spins both are s → s s₁. What
    a configuration is renamed to does not change under the symmetry, so neither does ln P, to the last bit.
    """

    @abc.abstractmethod
    def network(self, names: Tensor) -> Tensor:
        """Logits ``(batch, position, state)`` of renamed states ``(batch, position)``, each from those before."""

    def logits(self, states: Tensor) -> Tensor:
        table = self._table(states)
        logits = self.network(self._named(states, table))
        if table is None:
            return logits
        appeared = None if self._cyclic else self._appeared(states, table)
        return _renamed_back(logits, table, appeared)

    def site_logits(self, states: Tensor, position: int) -> Tensor:
        return self.logits(states[:, : position + 1])[:, position]

    @property
    def _cyclic(self) -> bool:
        return self.symmetry == "cyclic" or self.n_states == 2

    def _table(self, states: Tensor) -> Tensor | None:
        """New name of every state ``(batch, state)``; None without a symmetry."""
        if self.symmetry == "none":
            return None
        q = torch.arange(self.n_states, device=states.device)
        if self._cyclic:
            return (q - states[:, :1].long()) % self.n_states
        length = states.shape[1]
        place = torch.arange(length, device=states.device)[:, None]
        first = torch.where(states[:, :, None] == q, place, length).amin(1)
        return first.argsort(dim=-1, stable=True).argsort(dim=-1)

    def _named(self, states: Tensor, table: Tensor | None) -> Tensor:
        return states.long() if table is None else table.gather(-1, states.long())

    def _appeared(self, states: Tensor, table: Tensor) -> Tensor:
        """How many states appear before a position ``(batch, position, 1)``."""
        known = self._named(states, table).cummax(-1).values + 1
        return torch.cat([torch.zeros_like(known[:, :1]), known[:, :-1]], 1)[..., None]


def _renamed_back(logits: Tensor, table: Tensor, appeared: Tensor | None) -> Tensor:
    """Logits of names ``(batch, position, state)`` as those of the states they stand for."""
    if appeared is None:
        logits = torch.cat([torch.zeros_like(logits[:, :1]), logits[:, 1:]], 1)
    else:
        new = torch.arange(logits.shape[-1], device=logits.device) >= appeared
        mean = (logits * new).sum(-1, keepdim=True) / new.sum(-1, keepdim=True).clamp_min(1)
        logits = torch.where(new, mean, logits)
    return logits.gather(-1, table[:, None].expand_as(logits))
