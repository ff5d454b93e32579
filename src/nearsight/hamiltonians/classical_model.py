"""Classical variables with a finite number of states: no electrons, energies of pairs and of sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import generator, number, numbers, state_tensor
from nearsight.fields import FieldType, check_field
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

Coupling = float | Sequence[float]
"""One coupling of nearest neighbours, or one for every neighbour shell from the first."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Interacting pairs, every bond once: sites ``i`` ≠ ``j`` and coupling ``strength``, NumPy arrays ``(bond,)``.

    On a torus of two cells the same pair of sites is listed twice, as the sum over bonds requires.

    :attr:`ClassicalModel.pairs` has them.
    """

    i: np.ndarray
    j: np.ndarray
    strength: np.ndarray

    def __len__(self) -> int:
        return len(self.i)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The same bonds seen from the sites: ``index`` and ``strength``, NumPy arrays ``(site, slot)``.

    Every site has as many slots as the one with most bonds has; a slot without a bond points to the site itself with
    strength 0, so that loops need no test.

    :attr:`ClassicalModel.neighbours` has them.
    """

    index: np.ndarray
    strength: np.ndarray


@dataclass(frozen=True, eq=False)
class Tiles:
    """Energies of groups of n sites: that of a tile is ``table[c]`` with its code c = Σ_k a_k q^k.

    Parameters
    ----------
    sites: which sites a tile holds, in the order of the digits ``(tile, n)``, all different.
    table: energy of every code ``(q^n,)``, float64, one table for all tiles.
    n_states: q.
    """

    sites: np.ndarray
    table: np.ndarray
    n_states: int

    def __len__(self) -> int:
        return len(self.sites)

    @cached_property
    def powers(self) -> np.ndarray:
        """q^k ``(n,)``: what the code of a tile gains when the state of its site k grows by one."""
        return self.n_states ** np.arange(self.sites.shape[1], dtype=np.int64)

    @cached_property
    def around(self) -> tuple[np.ndarray, np.ndarray]:
        """The tiles that hold each site and the power of their codes that it has, ``(site, slot)``.

        A slot that is not needed has the power 0: the code of its tile does not change.
        """
        order = np.argsort(self.sites.reshape(-1), kind="stable")
        site, n = self.sites.reshape(-1)[order], self.sites.shape[1]
        count = np.bincount(site)
        slot = np.arange(len(site)) - np.repeat(np.cumsum(count) - count, count)
        tile = np.zeros((len(count), count.max()), np.int64)
        power = np.zeros_like(tile)
        tile[site, slot], power[site, slot] = order // n, self.powers[order % n]
        return tile, power

    def codes(self, states: Tensor) -> Tensor:
        """c of every tile ``(*batch, tile)``, int64, of states ``(*batch, site)``."""
        codes = torch.zeros((*states.shape[:-1], len(self)), dtype=torch.long, device=states.device)
        for column, power in zip(torch.from_numpy(self.sites.T.copy()).to(states.device), self.powers, strict=True):
            codes += states.index_select(-1, column).long() * int(power)
        return codes


class ClassicalModel(Hamiltonian):
    r"""A variable with q states on every site, and an energy of bonds, of single sites, and of tiles of many sites,

    .. math::
        E = -\sum_{b = \langle ij \rangle} J_b\, g(a_i, a_j) + \sum_i u_i(a_i) + \sum_t T(a_{t_1}, \dots, a_{t_n}),
        \qquad a_i \in \{0, \dots, q-1\}.

    It is a :class:`Hamiltonian` without orbitals: :meth:`classical_energy` of a field ``(*batch, site, component)`` is
    the same polynomial of the components that holds for the allowed values, so that force fields, descriptors and
    dynamics take it like any other model.

    Samplers and enumerations work with integer states ``(*batch, site)``, torch.int8, instead: :meth:`to_states`,
    :meth:`from_states`, :attr:`interaction` g, :attr:`onsite` u, :attr:`pairs` (or :attr:`neighbours`), :attr:`tiles` T
    and their energies :meth:`energy` and :meth:`energy_change`. Energies are exact in float64 whenever couplings are
    integers. Most models have no tiles (None); what works with bonds alone, such as clusters, has to refuse those that
    do.

    A subclass hands over its ``values``, one row of field components per state, the symmetric ``metric`` G with
    g(a, b) = φ_aᵀ G φ_b, its bonds, and overrides :meth:`site_energy` where sites have energies.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> import torch
    >>> ring = ns.lattices.chain(6).bonds(1)
    >>> bonds = ring.i, ring.j, np.full(6, -1.0)  # an antiferromagnetic ring of three-state clock spins
    >>> angle = 2 * torch.pi / 3 * torch.arange(3)
    >>> values = torch.stack([angle.cos(), angle.sin()], dim=1)
    >>> xy = ns.fields.FieldType("S", ("trivial",) * 2)
    >>> model = ns.hamiltonians.ClassicalModel(ns.lattices.chain(6), xy, values, torch.eye(2), bonds)
    >>> round(float(model.energy(torch.tensor([0, 1, 2, 0, 1, 2], dtype=torch.int8))), 6)  # six bonds of cos 120°
    -3.0
    """

    site_orbitals = 0
    disordered: bool = False
    """Whether couplings differ from bond to bond, so that no operation of the lattice leaves the energy alone."""
    values: Tensor
    """Field components of every state ``(state, component)``, float64."""
    tiles: Tiles | None = None
    """Energies of more than two sites; None for a model of bonds and single sites."""

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        values: Tensor,
        metric: Tensor,
        bonds: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        self.lattice, self.field_type = checked_lattice(lattice), field_type
        self.values, self._metric = values.double(), metric.double()
        self.components = self.values.shape[-1]
        self.constant = torch.zeros(0, 0, dtype=torch.float64)
        self.rows = self.columns = torch.zeros(0, dtype=torch.long)
        i, j, strength = bonds
        # A bond around a torus of one cell joins a site with itself: an energy of that site.
        own = i == j
        self.pairs = Pairs(i[~own], j[~own], strength[~own])
        self._own = np.bincount(i[own], strength[own], lattice.n_sites) if own.any() else None

    # --- what a Hamiltonian is asked for ----------------------------------------------------------------------------

    def coupling(self, field: Tensor) -> Tensor:
        return field[..., :0, 0]

    def site_energy(self, field: Tensor) -> Tensor:
        """u_i(φ_i) ``(*batch, site)``, differentiable in the field; zero unless a model overrides it."""
        return 0.0 * field.sum(-1)

    def classical_energy(self, field: Tensor) -> Tensor:
        i, j, strength = self._bond_tensors(field)
        metric = self._metric.to(field)
        left, right = field.index_select(-2, i), field.index_select(-2, j)
        energy = self.site_energy(field).sum(-1) - (((left @ metric) * right).sum(-1) * strength).sum(-1)
        if self._own is not None:
            own = torch.from_numpy(self._own).to(field)
            energy = energy - (((field @ metric) * field).sum(-1) * own).sum(-1)
        return energy

    def _allows(self, law: np.ndarray) -> bool:
        return not self.disordered

    # --- what samplers work with ------------------------------------------------------------------------------------

    @property
    def n_states(self) -> int:
        """q, the number of states of a site."""
        return len(self.values)

    @cached_property
    def interaction(self) -> np.ndarray:
        """g(a, b) ``(state, state)``, symmetric; a bond of strength J costs -J g."""
        return (self.values @ self._metric @ self.values.T).numpy()

    @cached_property
    def onsite(self) -> np.ndarray:
        """u_i(a) ``(site, state)``: everything a state costs on its own."""
        uniform = self.values[:, None, :].expand(-1, self.lattice.n_sites, -1)
        table = self.site_energy(uniform).T.numpy().copy()
        if self._own is not None:
            table -= self._own[:, None] * np.diag(self.interaction)
        return table

    @cached_property
    def neighbours(self) -> Neighbours:
        """The bonds of every site, in the order of :attr:`pairs`."""
        n = self.lattice.n_sites
        site = np.concatenate([self.pairs.i, self.pairs.j])
        other = np.concatenate([self.pairs.j, self.pairs.i])
        strength = np.concatenate([self.pairs.strength] * 2)
        order = np.argsort(site, kind="stable")
        count = np.bincount(site, minlength=n)
        slot = np.arange(len(site)) - np.repeat(np.cumsum(count) - count, count)
        index = np.repeat(np.arange(n)[:, None], count.max(initial=0), axis=1)
        table = np.zeros(index.shape)
        index[site[order], slot], table[site[order], slot] = other[order], strength[order]
        return Neighbours(index, table)

    def to_states(self, field: Tensor) -> Tensor:
        """The states ``(*batch, site)``, int8, of a field of allowed values ``(*batch, site, component)``."""
        self.field_type.check_values(check_field(field, self.lattice.n_sites, self.components))
        distance = (field[..., None, :] - self.values.to(field)).square().sum(-1)
        return distance.argmin(-1).to(torch.int8)

    def from_states(self, states: Tensor) -> Tensor:
        """The field ``(*batch, site, component)``, float64, of states ``(*batch, site)``."""
        self.check_states(states)
        return self.values.to(states.device)[states.long()]

    def check_states(self, states: Tensor) -> Tensor:
        """Refuse what is no tensor of states ``(*batch, site)``, naming the cure."""
        return state_tensor(states, self.lattice.n_sites, self.n_states)

    def random_states(self, rng: torch.Generator, *batch: int) -> Tensor:
        """Uncorrelated states ``(*batch, site)``, int8, all equally likely: infinite temperature."""
        generator(rng)
        shape = (*batch, self.lattice.n_sites)
        return torch.randint(self.n_states, shape, generator=rng, dtype=torch.int8, device=rng.device)

    def energy(self, states: Tensor) -> Tensor:
        """E ``(*batch,)``, float64, of states ``(*batch, site)``."""
        self.check_states(states)
        i, j, strength = self._bond_tensors(states)
        states = states.long()
        g, u = self._tables(states.device)
        bond = g.reshape(-1)[states.index_select(-1, i) * self.n_states + states.index_select(-1, j)]
        energy = u.expand(*states.shape, -1).gather(-1, states[..., None]).sum((-2, -1)) - bond @ strength
        if self.tiles is None:
            return energy
        return energy + torch.from_numpy(self.tiles.table).to(states.device)[self.tiles.codes(states)].sum(-1)

    def local_energies(self, states: Tensor, site: int | Tensor) -> Tensor:
        """Energy of every state of one site in the surroundings it has, ``(*batch, state)``, float64.

        ``site`` is one index or one for each of the batch ``(*batch,)``. This is what a heat bath draws from; the cost
        is that of the bonds of one site.
        """
        batch = states.shape[:-1]
        site = torch.as_tensor(site, device=states.device).expand(batch)
        index, strength = (
            torch.from_numpy(table).to(states.device)[site]
            for table in (self.neighbours.index, self.neighbours.strength)
        )
        g, u = self._tables(states.device)
        around = g[states.gather(-1, index).long()]
        local = u[site] - (around * strength[..., None]).sum(-2)
        return local if self.tiles is None else local + self._tile_energies(states, site)

    def _tile_energies(self, states: Tensor, site: Tensor) -> Tensor:
        """Energies of the tiles around one site for each of its states ``(*batch, state)``."""
        tiles = self.tiles
        assert tiles is not None
        tile, power = (torch.from_numpy(x).to(states.device)[site] for x in tiles.around)
        members = torch.from_numpy(tiles.sites).to(states.device)[tile]
        seen = states[..., None, :].expand(*members.shape[:-1], -1).gather(-1, members).long()
        codes = (seen * torch.from_numpy(tiles.powers).to(states.device)).sum(-1)
        step = torch.arange(self.n_states, device=states.device) - states.gather(-1, site[..., None]).long()
        table = torch.from_numpy(tiles.table).to(states.device)
        # A slot that is not needed, of power 0, would add the same energy to all states.
        return (table[codes[..., None] + power[..., None] * step[..., None, :]] * (power[..., None] > 0)).sum(-2)

    def energy_change(self, states: Tensor, site: int | Tensor, new: int | Tensor) -> Tensor:
        """E after minus E before ``site`` takes the state ``new`` ``(*batch,)``, from its own bonds alone."""
        local = self.local_energies(states, site)
        site, new = (torch.as_tensor(x, device=states.device).long().expand(states.shape[:-1]) for x in (site, new))
        old = states.gather(-1, site[..., None]).long()
        return (local.gather(-1, new[..., None]) - local.gather(-1, old)).squeeze(-1)

    def magnetisation(self, states: Tensor) -> Tensor:
        """Mean of the field over the sites ``(*batch, component)``; for Potts states, the fraction of each."""
        return self.from_states(states).mean(-2)

    def _bond_tensors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """i, j and strength on the device, and strengths in the precision, of ``like``; states meet float64."""
        i, j, strength = (
            torch.from_numpy(x).to(like.device) for x in (self.pairs.i, self.pairs.j, self.pairs.strength)
        )
        return i, j, strength.to(like.dtype) if like.is_floating_point() else strength

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.interaction).to(device), torch.from_numpy(self.onsite).to(device)


def _shell_bonds(lattice: Lattice, J: Coupling) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds of the first neighbour shells (i, j, strength), one strength per shell."""
    shells = _couplings(J)
    bonds = [checked_lattice(lattice).bonds(k) for k in range(1, len(shells) + 1)]
    strength = np.concatenate([np.full(len(b), s) for b, s in zip(bonds, shells, strict=True)])
    return np.concatenate([b.i for b in bonds]), np.concatenate([b.j for b in bonds]), strength


def _couplings(J: Coupling, name: str = "J") -> tuple[float, ...]:
    """One finite number per shell."""
    if isinstance(J, str) or not np.iterable(J):
        return (number(J, f"{name}, one number or one for each neighbour shell,"),)
    values = numbers(J, name)
    if not values:
        raise ValueError(f"{name} must be one finite number, or one for each neighbour shell, got none.")
    return values
