"""Extensive networks: the same small network on every tile of a lattice, outputs summed."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import boolean, generator, integer, integers, state_tensor
from nearsight.hamiltonians import TileModel
from nearsight.hamiltonians._tile_clusters import cell_operations
from nearsight.hamiltonians.classical_model import Tiles
from nearsight.hamiltonians.tile_model import _tile_sites
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

MAX_PERMUTED = 4
"""States of which all permutations are averaged."""


class EDNN(Described, nn.Module):
    r"""Extensive deep neural network on discrete states, E = Σ_t N(tile t): dense layers with ReLU on every tile.

    A tile is its ``focus``, the cells it is responsible for, with ``context`` cells around it: focus 2 and context 1
    make tiles of 4 × 4 cells at stride 2. States of a tile are as many as its codes, so that the network *is* a table:
    :meth:`table` evaluates it on every code, forward looks energies up, and :meth:`model` hands over the
    :class:`~nearsight.hamiltonians.TileModel`. A batch of any size costs one evaluation of 2^16 codes.

    Symmetric by construction: outputs are averaged over the operations of the point group that map a tile onto itself,
    and over s → -s (for more states, over their permutations). Translations by less than the focus are not a symmetry.

    Parameters
    ----------
    lattice: periodic, one site per cell; sides are multiples of the focus.
    focus, context: cells along every axis, >= 1 and >= 0.
    widths: sizes of the hidden layers.
    n_states: q.
    symmetric, internal: average over the point group, over states.
    rng: for the weights; None is a generator seeded with 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> network = ns.networks.EDNN(ns.lattices.square(4), focus=2, context=0)  # tiles of 2 × 2: a table of 16 energies
    >>> states = torch.randint(2, (3, 16), generator=torch.Generator().manual_seed(1))
    >>> torch.allclose(network(states), network(1 - states))  # E(s) = E(-s)
    True
    >>> torch.allclose(network.model().energy(states.to(torch.int8)).float(), network(states), atol=1e-5)
    True

    References
    ----------
    K. Mills et al., Chem. Sci. 10, 4129 (2019).
    """

    _parts: ClassVar = {"lattice": Lattice.from_config}
    unit: Tensor
    _moved: Tensor
    _permuted: Tensor

    def __init__(
        self,
        lattice: Lattice,
        *,
        focus: int = 2,
        context: int = 1,
        widths: Sequence[int] = (32, 64),
        n_states: int = 2,
        symmetric: bool = True,
        internal: bool = True,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.focus, self.context = integer(focus, "focus", least=1), integer(context, "context", least=0)
        self.widths = integers(widths, "widths, positive sizes of hidden layers,", least=1)
        self.n_states = q = integer(n_states, "n_states", least=2, most=127)
        self.symmetric, self.internal = boolean(symmetric, "symmetric"), boolean(internal, "internal")
        if self.internal and q > MAX_PERMUTED:
            raise ValueError(f"{q} states have too many permutations to average; pass internal=False.")
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        side = self.focus + 2 * self.context
        self.lattice = checked_lattice(lattice)
        self.shape, self.stride = (side,) * lattice.dim, (self.focus,) * lattice.dim
        n = math.prod(self.shape)
        # Refuses tiles that do not fit, or have too many codes.
        TileModel(lattice, np.zeros(min(q**n, 2**25)), shape=self.shape, stride=self.stride, n_states=q)
        sizes = (n * (1 if q == 2 else q), *self.widths, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for layer in self.layers:
            bound = math.sqrt(6 / layer.in_features)  # type: ignore[operator]
            nn.init.uniform_(layer.weight, -bound, bound, generator=rng)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.register_buffer("unit", torch.ones(()))
        for name, images in (("_moved", self._moved_codes()), ("_permuted", self._permuted_codes())):
            self.register_buffer(name, torch.from_numpy(images), persistent=False)

    def table(self) -> Tensor:
        """Energy of every code ``(q^n,)``, differentiable in the weights."""
        weight: Tensor = self.layers[0].weight  # type: ignore[assignment]
        n, q = math.prod(self.shape), self.n_states
        codes = torch.arange(q**n, device=weight.device)
        digits = codes[:, None] // q ** torch.arange(n, device=weight.device) % q
        h = 2 * digits - 1 if q == 2 else F.one_hot(digits, q).flatten(1)
        h = h.to(weight.dtype)
        for k, layer in enumerate(self.layers):
            h = layer(F.relu(h) if k else h)
        table = h[:, 0] * self.unit
        return table[self._moved].mean(0)[self._permuted].mean(0)

    def forward(self, states: Tensor) -> Tensor:
        """Energies ``(*batch,)`` of states ``(*batch, site)``."""
        state_tensor(states, self.lattice.n_sites, self.n_states)
        tiles = Tiles(_tile_sites(self.lattice, self.shape, self.stride), np.zeros(0), self.n_states)
        return self.table()[tiles.codes(states)].sum(-1)

    def model(self) -> TileModel:
        """The same energy as a table, computed in float64."""
        with torch.no_grad():
            table = copy.deepcopy(self).double().table()
        return TileModel(self.lattice, table, shape=self.shape, stride=self.stride, n_states=self.n_states)

    def _digits(self) -> np.ndarray:
        n = math.prod(self.shape)
        return np.arange(self.n_states**n)[:, None] // self.n_states ** np.arange(n) % self.n_states

    def _moved_codes(self) -> np.ndarray:
        """Codes after the operations that map a tile onto itself, ``(operation, code)``."""
        n, side = math.prod(self.shape), self.shape[0]
        # Cells from the centre of the tile, doubled to stay whole numbers.
        cells = 2 * np.stack(np.unravel_index(np.arange(n), self.shape), axis=-1) - (side - 1)
        operations = cell_operations(self.lattice) if self.symmetric else np.eye(self.lattice.dim, dtype=np.int64)[None]
        places = [(cells @ g.T + side - 1) // 2 for g in operations if np.abs(cells @ g.T).max() < side]
        digits = self._digits()
        return np.stack([digits @ self.n_states ** np.ravel_multi_index(tuple(p.T), self.shape) for p in places])

    def _permuted_codes(self) -> np.ndarray:
        """Codes after all permutations of the states, ``(permutation, code)``."""
        q, digits = self.n_states, self._digits()
        permutations = itertools.permutations(range(q)) if self.internal else [tuple(range(q))]
        powers = q ** np.arange(digits.shape[1])
        return np.stack([np.array(p)[digits] @ powers for p in permutations])
