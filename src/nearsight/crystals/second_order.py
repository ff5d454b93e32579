"""A property to second order in the displacements: from one gradient or learned from values, its thermal mean exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import array, filename, instance, number
from nearsight.crystals.crystal import Crystal
from nearsight.crystals.evaluate import Property
from nearsight.crystals.force_constants import exchanged
from nearsight.crystals.thermal import ThermalDisplacements
from nearsight.fields import check_field
from nearsight.lattices import site_group, torus_distance
from nearsight.lattices.symmetry import matching_operations, site_permutations
from nearsight.storage import load_tensors, save_tensors, tensor_hash

POWERS = (0, 1, 2, 3)
"""Powers of the distance among which leaving one out decides."""
STRENGTHS = np.geomspace(1e-9, 1e1, 41)
"""The same for the strength of the ridge, in units of the largest eigenvalue of the normal equations."""


class SecondOrder(Described):
    r"""A property of a crystal to second order in the displacements of its atoms,

    .. math:: Q(u) = Q_0 + \tfrac12 \sum_{ij} u_i^T G_{ij} u_j, \qquad
              \langle Q \rangle_T = Q_0 + \tfrac12 \sum_{ij} \mathrm{tr}\, G_{ij} \langle u_j u_i^T \rangle_T ,

    with G invariant under all operations and translations of the crystal, as force constants are. There is no term of
    first order where the operations of every site leave no vector alone (Td, Oh). This is what perturbation theory of
    second order (Allen, Heine, Cardona) says of a gap, in a finite cell; and as a surrogate of the exact property its
    mean needs no sampling.

    :meth:`from_gradient` reads G from one gradient of a differentiable property, :meth:`fitted` learns it from values.
    Both have the symmetry exactly, and any supercell of the same shape is understood.

    Parameters
    ----------
    crystal: the supercell, invariant under the operations of its sites, which may be of several kinds (GaAs, fluorite).
    matrices: G ``(basis, site, 3, 3)`` per Å², of the atoms of cell 0 with all others.
    constant: Q₀, the property of the perfect supercell.

    Called with u ``(*batch, site, 3)`` in Å it returns Q ``(*batch,)``. Cost: one Fourier transform, O(N log N).

    Examples
    --------
    Zero-point renormalisation of the gap of silicon by perturbation theory, in 54 atoms:

    >>> from nearsight.crystals import SecondOrder, SlaterKoster, ThermalDisplacements, TightBinding, ValenceForceField
    >>> from nearsight.crystals import silicon
    >>> gap = TightBinding(silicon(3), SlaterKoster.silicon())
    >>> phonons = ValenceForceField.silicon().force_constants(gap.crystal)
    >>> thermal = ThermalDisplacements(phonons, gap.crystal)
    >>> print(f"{1e3 * (SecondOrder.from_gradient(gap).mean(thermal, 0.0) - gap.perfect):.0f} meV")
    -42 meV
    """

    def __init__(self, crystal: Crystal, matrices: np.ndarray, constant: float = 0.0) -> None:
        self.crystal = instance(crystal, Crystal, "crystal", "crystals.silicon(5) is one.")
        lattice = crystal.lattice
        self.matrices = array(matrices, "matrices", (lattice.n_basis, lattice.n_sites, 3, 3))
        self.matrices.setflags(write=False)
        self.constant = number(constant, "constant")

    def __repr__(self) -> str:
        return f"SecondOrder({self.crystal!r})"

    def config(self) -> dict[str, Any]:
        told = {"type": "SecondOrder", "crystal": self.crystal.config(), "constant": self.constant}
        return {**told, "matrices": tensor_hash({"matrices": torch.tensor(self.matrices)})}

    def __call__(self, displacement: Tensor) -> Tensor:
        pairs = pair_sums(self.crystal, displacement)
        weights = torch.tensor(self.matrices, device=displacement.device).reshape(-1)
        return self.constant + 0.5 * (pairs.flatten(-4) @ weights)

    def mean(self, thermal: ThermalDisplacements, temperature: float) -> float:
        """⟨Q⟩ at T in K, exact; ``thermal`` of the same supercell."""
        if not self.crystal.lattice.coincides(thermal.crystal.lattice):
            raise ValueError(f"The displacements are those of {thermal.crystal!r}, the property of {self.crystal!r}.")
        pairs = self.crystal.lattice.n_cells * thermal.covariance(temperature)
        return self.constant + 0.5 * float((self.matrices * pairs).sum())

    def by_mode(self, thermal: ThermalDisplacements) -> np.ndarray:
        r"""Q's change per quantum of every phonon ``(q, branch)``: the electron-phonon coupling, mode by mode,

        .. math:: \frac{\partial\langle Q\rangle}{\partial n} = \frac{\hbar}{2\Omega}\, e^\dagger G(q)\, e / m .

        Of the modes of ``thermal.frequencies``; zero for the translations. It is a property of the modes, the same
        with quantum and with classical statistics: what differs is how many quanta there are,
        ``mean(thermal, T) = constant + (by_mode(thermal) * thermal.quanta(T)).sum()`` with either.
        """
        values, vectors = thermal._modes
        lattice, roots = self.crystal.lattice, np.repeat(np.sqrt(self.crystal.masses), 3)
        waves = self._waves() / (roots[:, None] * roots)
        curvature = np.einsum("qis,qij,qjs->qs", vectors.conj(), waves, vectors).real
        assert values.shape == curvature.shape and lattice.n_cells == len(values)
        return 0.5 * curvature * thermal._quantum[1]

    def _waves(self) -> np.ndarray:
        """G(q) ``(q, 3 basis, 3 basis)``."""
        lattice, n = self.crystal.lattice, self.crystal.lattice.n_basis
        grid = self.matrices.reshape(n, *lattice.shape, n, 3, 3)
        found = np.fft.ifftn(grid, axes=(1, 2, 3)) * lattice.n_cells
        return found.transpose(1, 2, 3, 0, 5, 4, 6).reshape(-1, 3 * n, 3 * n)

    # --- where it comes from ----------------------------------------------------------------------------------------

    @classmethod
    def from_gradient(cls, prop: Property, *, step: float = 0.02) -> Self:
        """From gradients of a differentiable property at displacements of one atom of every kind, by ± ``step`` Å.

        Two gradients a kind where its site group turns one direction into the others, up to six elsewhere. All other
        second derivatives follow by symmetry; the error is of second order in the step.
        """
        crystal, size = prop.crystal, number(step, "step", above=0)
        found = {}
        for kind in _kinds(crystal):
            # G(g s) = g G(s) gᵀ: an operation turns the row of x into one of g x; least squares gives all three.
            rows, weight = np.zeros((crystal.n_atoms, 3, 3)), np.zeros((3, 3))
            for axis in range(3):
                if np.linalg.matrix_rank(weight, tol=1e-6) == 3:
                    break
                row = _gradient_row(prop, kind.site, axis, size)
                for g, p in zip(kind.group, kind.moved, strict=True):
                    weight += np.outer(g[:, axis], g[:, axis])
                    rows[p] += np.einsum("i,sj->sij", g[:, axis], row @ g.T)
            found[kind.site] = np.einsum("ik,skj->sij", np.linalg.inv(weight), rows)
        still = float(prop(torch.zeros(crystal.n_atoms, 3, dtype=torch.float64)).detach())
        return cls(crystal, _completed(crystal, found), still)

    @classmethod
    def fitted(
        cls,
        crystal: Crystal,
        displacement: Tensor,
        value: np.ndarray,
        *,
        constant: float,
        cutoff: float | None = None,
        prior: SecondOrder | None = None,
    ) -> Self:
        """Learned from values ``(configuration,)`` at displacements ``(configuration, site, 3)``, by ridge regression.

        The coefficients of all independent invariants (:func:`pair_invariants`) are found at once. What is penalised is
        the square of G, weighted with a power of the distance; power and strength are those by which values that are
        left out are predicted best. ``constant`` is Q₀, which one value of the perfect supercell gives; ``cutoff`` in
        Å leaves out pairs farther apart, where data are few. Of a ``prior``, such as the form of a cheaper engine, only
        the difference is learned and penalised; Q₀ is still ``constant``.
        """
        basis = pair_invariants(crystal, cutoff)
        u = check_field(displacement, crystal.n_atoms, 3, finite=True)
        wanted = array(value, "value", (len(u),)) - number(constant, "constant")
        before = np.zeros(basis.shape[1:])
        if prior is not None:
            before = instance(prior, SecondOrder, "prior").matrices
            wanted = wanted - (prior(u).numpy() - prior.constant)
        x, flat = 0.5 * _products(crystal, u, basis), basis.reshape(len(basis), -1)
        apart = np.stack([_distances(crystal, b) for b in range(crystal.lattice.n_basis)]) / crystal.lattice.spacing
        fits = []
        for power in POWERS:
            penalty = np.repeat(np.maximum(apart, 1.0) ** (2 * power), 9)
            root = np.linalg.inv(np.linalg.cholesky((flat * penalty) @ flat.T)).T
            error, found = _ridge(x @ root, wanted)
            fits.append((error, root @ found))
        weights = min(fits, key=lambda fit: fit[0])[1]
        return cls(crystal, before + np.einsum("k,kbsij->bsij", weights, basis), constant)

    # --- on disk ----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write G and Q₀ to one file, atomically."""
        tensors = {
            "matrices": torch.tensor(self.matrices),
            "constant": torch.tensor(self.constant, dtype=torch.float64),
        }
        save_tensors(filename(path, "path"), tensors, {"crystal": repr(self.crystal)})

    @classmethod
    def load(cls, path: str | Path, crystal: Crystal) -> Self:
        """What :meth:`save` wrote, for the crystal it was made of; ``CorruptFileError`` if the file is damaged."""
        tensors, texts = load_tensors(filename(path, "path"))
        if texts.get("crystal") != repr(crystal):
            raise ValueError(f"{path} holds a property of {texts.get('crystal')}, not of {crystal!r}.")
        return cls(crystal, tensors["matrices"].numpy(), float(tensors["constant"]))


def pair_sums(crystal: Crystal, displacement: Tensor) -> Tensor:
    """Σ over cells of u ⊗ u of atom b and of the atom at every distance from it ``(*batch, basis, site, 3, 3)``, Å²."""
    lattice = crystal.lattice
    u = check_field(displacement, lattice.n_sites, 3).double()
    batch = u.shape[:-2]
    waves = torch.fft.fftn(u.reshape(-1, *lattice.shape, lattice.n_basis, 3), dim=(1, 2, 3))
    products = torch.einsum("zpqrai,zpqrbj->zpqrabij", waves.conj(), waves)
    sums = torch.fft.ifftn(products, dim=(1, 2, 3)).real
    return sums.permute(0, 4, 1, 2, 3, 5, 6, 7).reshape(*batch, lattice.n_basis, lattice.n_sites, 3, 3)


def pair_invariants(crystal: Crystal, cutoff: float | None = None) -> np.ndarray:
    """An orthonormal basis ``(invariant, basis, site, 3, 3)`` of all matrices G that the symmetry allows.

    Invariant under the site group, the operations between sublattices, translations of the lattice, exchange of the
    atoms of a pair, and a displacement of the whole. Pairs farther apart than ``cutoff`` Å are left out.
    """
    lattice = crystal.lattice
    limit = np.inf if cutoff is None else number(cutoff, "cutoff", above=0) + lattice.tolerance
    found = []
    for kind in _kinds(crystal):
        group, moved, distance = kind.group, kind.moved, _distances(crystal, kind.site)
        for s in np.flatnonzero(moved.min(0) == np.arange(lattice.n_sites)):
            if distance[s] > limit:
                continue
            keeps = moved[:, s] == s
            average = np.einsum("gij,gkl->ikjl", group[keeps], group[keeps]).reshape(9, 9) / keeps.sum()
            values, vectors = np.linalg.eigh((average + average.T) / 2)
            for matrix in vectors[:, values > 0.5].T.reshape(-1, 3, 3):
                first = np.zeros((lattice.n_sites, 3, 3))
                first[moved[:, s]] = np.einsum("gij,jk,glk->gil", group, matrix, group)
                found.append(_completed(crystal, {kind.site: first}, sum_rule=False).reshape(-1))
    flat = np.array(found)
    _, size, rows = np.linalg.svd(flat, full_matrices=False)
    rows = rows[size > 1e-8 * size[0]]  # what exchange of the atoms makes equal, once
    # The sum rule, Σ_s G(b, s) = 0, is linear: its null space is kept.
    totals = rows.reshape(len(rows), lattice.n_basis, lattice.n_sites, 9).sum(2).reshape(len(rows), -1)
    _, size, right = np.linalg.svd(totals.T)
    null = right[int((size > 1e-8).sum()) :]
    return (null @ rows).reshape(-1, lattice.n_basis, lattice.n_sites, 3, 3)


@dataclass(frozen=True, eq=False)
class _Kind:
    """Equivalent atoms: the first of them in cell 0, the operations ``group`` of its site and where they take all
    sites, and for each of the atoms of cell 0 an operation from the surroundings of the first onto its own."""

    site: int
    group: np.ndarray
    moved: np.ndarray
    onto: dict[int, np.ndarray]


@lru_cache(maxsize=8)
def _kinds(crystal: Crystal) -> tuple[_Kind, ...]:
    """Every kind of inequivalent atoms, by the first of each in cell 0."""
    lattice, kinds = crystal.lattice, list[_Kind]()
    left = list(range(lattice.n_basis))
    while left:
        site = left[0]
        group = site_group(lattice, centre=site)
        if np.abs(group.matrices.mean(0)).max() > 1e-6:
            raise ValueError(
                f"The operations {group.name} of site {site} of {crystal!r} leave a direction alone, along which a "
                f"property may have a term of first order; it is not known here."
            )
        onto = {site: np.eye(3)}
        for b in left[1:]:
            if lattice.species[b] == lattice.species[site] and len(found := matching_operations(lattice, site, b)):
                onto[b] = found[0]
        left = [b for b in left if b not in onto]
        kinds.append(_Kind(site, group.matrices, site_permutations(lattice, group, centre=site), onto))
    return tuple(kinds)


def _gradient_row(prop: Property, site: int, axis: int, size: float) -> np.ndarray:
    """Second derivatives by one coordinate of one atom and by all others ``(site, 3)``."""
    slopes = []
    for sign in (1, -1):
        u = torch.zeros(prop.crystal.n_atoms, 3, dtype=torch.float64)
        u[site, axis] = sign * size
        slopes.append(torch.autograd.grad(prop(u.requires_grad_()), u)[0])
    return ((slopes[0] - slopes[1]) / (2 * size)).numpy()


def _distances(crystal: Crystal, origin: int = 0) -> np.ndarray:
    """From one site to every site of the torus by the shortest way, in Å."""
    return torus_distance(crystal.positions - crystal.positions[origin], crystal.lattice)


def _completed(crystal: Crystal, found: dict[int, np.ndarray], *, sum_rule: bool = True) -> np.ndarray:
    """G of all atoms of a cell from those of the first of each kind, symmetric under exchange of the atoms of pairs."""
    lattice = crystal.lattice
    rows = np.zeros((lattice.n_basis, lattice.n_sites, 3, 3))
    for kind in _kinds(crystal):
        if (first := found.get(kind.site)) is None:
            continue
        for b, h in kind.onto.items():
            # An operation about the first site with part h, followed by the shift to site b, takes its pairs to those
            # of b.
            target = (lattice.positions - lattice.basis[kind.site]) @ h.T + lattice.basis[b]
            rows[b, _sites(crystal, target)] = np.einsum("ij,sjk,lk->sil", h, first, h)
    even = (rows + exchanged(crystal, rows)) / 2
    if sum_rule:
        for b in range(lattice.n_basis):
            even[b, b] -= even[b].sum(0)
    return even


def _sites(crystal: Crystal, positions: np.ndarray) -> np.ndarray:
    """The sites of the torus at positions ``(n, 3)``."""
    lattice = crystal.lattice
    result = np.full(len(positions), -1)
    for b in range(lattice.n_basis):
        cells = (positions - lattice.basis[b]) @ np.linalg.inv(lattice.vectors)
        on = np.abs(cells - np.rint(cells)).max(1) < 1e-4
        result[on] = lattice.index(np.rint(cells[on]).astype(int), b)
    return result


def _products(crystal: Crystal, displacement: Tensor, basis: np.ndarray) -> np.ndarray:
    flat = torch.from_numpy(basis.reshape(len(basis), -1).T.copy())
    return torch.cat([pair_sums(crystal, part).flatten(-4) @ flat for part in displacement.split(64)]).numpy()


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Error of values left out, and coefficients, of the ridge regression for which it is least."""
    left, size, right = np.linalg.svd(x, full_matrices=False)
    along, best = left.T @ y, (np.inf, np.zeros(len(size)))
    for strength in STRENGTHS * size[0] ** 2:
        shrink = size**2 / (size**2 + strength)
        residual = (y - left @ (shrink * along)) / (1 - (left**2) @ shrink).clip(1e-6)
        error = float((residual**2).mean())
        if error < best[0]:
            best = (error, right.T @ (shrink / size * along))
    return best
