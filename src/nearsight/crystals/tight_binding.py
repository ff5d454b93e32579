"""Band gaps by tight binding: sp3s* of the diamond structure, its hoppings scaled with the bond length."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import array, instance, number, numbers
from nearsight.crystals.crystal import Crystal
from nearsight.crystals.valence_force_field import tetrahedral_neighbours
from nearsight.fields import check_field

ORBITALS = 5
"""s, x, y, z and the excited s* of every atom."""
CHUNK = 2**26
"""Matrix elements that are held at once where no gradient is needed."""


@dataclass(frozen=True)
class SlaterKoster(Described):
    r"""Parameters of the sp3s* model of one element, in eV.

    On-site energies of ``s``, ``p`` and ``excited``, the s* orbital that stands for the d states; hoppings between
    nearest neighbours at the distance d₀ of the crystal, which change with the length of a bond,

    .. math:: V(d) = V\,(d_0 / d)^n,

    n the entry of ``exponents`` in the order of the hoppings: ss σ, sp σ, pp σ, pp π, s*p σ. They all are 2 in
    Harrison's rule.

    Examples
    --------
    >>> from nearsight.crystals import SlaterKoster, TightBinding, silicon
    >>> gap = TightBinding(silicon(3), SlaterKoster.silicon())
    >>> print(f"{gap.infinite:.2f} eV")  # of the infinite crystal
    1.17 eV

    References
    ----------
    P. Vogl, H. P. Hjalmarson, J. D. Dow, J. Phys. Chem. Solids 44, 365 (1983): all energies, converted to two-centre
    integrals.
    """

    s: float
    p: float
    excited: float
    ss_sigma: float
    sp_sigma: float
    pp_sigma: float
    pp_pi: float
    excited_sigma: float
    exponents: tuple[float, ...] = (2.0,) * 5

    def __post_init__(self) -> None:
        for one in fields(self)[:-1]:
            object.__setattr__(self, one.name, number(getattr(self, one.name), one.name))
        object.__setattr__(self, "exponents", numbers(self.exponents, "exponents", length=5))

    @classmethod
    def silicon(cls) -> SlaterKoster:
        """Vogl's silicon; exponents fitted to a plane-wave calculation, with a penalty on their distance from 2.

        The reference are the band edges of 12 configurations of 54 atoms with thermal displacements, four at each of 0,
        300 and 600 K, by PZ-LDA (Quantum ESPRESSO 6.7, 16 Ry, Γ): the shift of the mean gap and the splittings of the
        three valence and six conduction states. Fitted to one half of them, the model gives the mean shift of the other
        half within 2 %, and single ones within 11 meV of shifts of 30 to 100 meV. Uniaxial strain, which turns bonds
        without changing their length, moves the conduction valleys too little, as in every sp3s* model.
        """
        return cls(-4.2, 1.715, 6.685, -2.075, 2.48081, 2.71625, -0.715, 2.32740, (2.11, 2.70, 1.26, 5.26, 0.56))

    @classmethod
    def diamond(cls) -> SlaterKoster:
        """Vogl's diamond with Harrison's exponents: not calibrated to any reference."""
        return cls(-4.545, 3.84, 11.37, -5.68125, 6.59071, 6.795, -1.9575, 3.55542)


class Edges(NamedTuple):
    """Band edges in eV ``(*batch)``: means over the states of either edge, and the extreme ones of them."""

    valence: Tensor
    conduction: Tensor
    highest: Tensor
    lowest: Tensor


class TightBinding(Described):
    r"""The band gap of a supercell as a function of the displacements of its atoms, by tight binding.

    .. math:: H_{i\mu,j\nu} = \delta_{ij}\delta_{\mu\nu}\, \varepsilon_\mu
              + V_{\mu\nu}(R_j + u_j - R_i - u_i)\, e^{2\pi i\, \theta \cdot w_{ij}}

    for the four nearest neighbours of the perfect crystal, with the two-centre integrals of Slater and Koster and twist
    θ: the wave vector of the supercell in units of its reciprocal vectors, w how often a bond crosses the boundaries.
    Two electrons fill each of the lower 2 N of the 5 N states of N atoms.

    Called with displacements u ``(*batch, site, 3)`` in Å it returns the gap ``(*batch,)`` in eV between the *means* of
    the states of either edge: all states that lie within ``window`` of the edge in the perfect supercell, three at the
    top of the valence bands and, at the bottom of the conduction bands, the folded valleys. The mean of a manifold is
    smooth in u although its states split and cross, and its shift is that of perturbation theory of second order.
    The gap between the extreme states, :meth:`edges`, shrinks by their splitting, which vanishes as the cell grows.

    Which valleys a supercell has depends on its size: at θ = 0, n × n × n cells hold those at 2j/n of the way from Γ to
    X. :attr:`offset` tells how far the lowest of them lies above the minimum of the infinite crystal. Take the
    difference to :attr:`perfect`, the gap of the same cell without displacements (:meth:`shift`).

    Parameters
    ----------
    crystal: of the diamond structure, 3 × 3 × 3 cells or more.
    parameters: of its element; :meth:`SlaterKoster.silicon`.
    twist: θ ``(3,)``; the matrices are real at 0 and at halves, which takes a fourth of the time.
    window: in eV.

    ``ValueError`` where the perfect supercell, or one with displacements, is metallic.

    Cost: one diagonalisation O((5N)³) per configuration, 0.2 s for 250 atoms and 0.6 s for 432 on one core.

    Examples
    --------
    >>> from nearsight.crystals import SlaterKoster, TightBinding, silicon
    >>> gap = TightBinding(silicon(5), SlaterKoster.silicon())
    >>> print(f"{gap.perfect:.3f} eV, {1e3 * gap.offset:.0f} meV above the infinite crystal")
    1.204 eV, 32 meV above the infinite crystal
    """

    unit = "eV"

    def __init__(
        self,
        crystal: Crystal,
        parameters: SlaterKoster,
        *,
        twist: tuple[float, ...] = (0.0, 0.0, 0.0),
        window: float = 0.02,
    ) -> None:
        self.crystal = instance(crystal, Crystal, "crystal", "crystals.silicon(5) is one.")
        self.parameters = instance(parameters, SlaterKoster, "parameters", "SlaterKoster.silicon() are some.")
        self.twist = numbers(twist, "twist", length=3)
        self.window = number(window, "window", least=0)
        around = tetrahedral_neighbours(crystal, "tight-binding model")[0]
        if min(crystal.lattice.shape) < 3:
            raise ValueError(f"Bonds of {crystal!r} meet their own images; take 3 × 3 × 3 cells or more.")
        self._bonds = _Bonds.of(crystal, around)

    # --- matrices ---------------------------------------------------------------------------------------------------

    def hamiltonian(self, displacement: Tensor) -> Tensor:
        """H ``(*batch, 5 site, 5 site)`` in eV, real where the twist allows; differentiable."""
        check_field(displacement, self.crystal.n_atoms, 3)
        return _assembled(self.parameters, self._bonds, self.crystal, displacement.double(), self.twist)

    def bands(self, q: np.ndarray, *, strain: np.ndarray | None = None, inner: np.ndarray | None = None) -> np.ndarray:
        """Energies ``(*batch, 10)`` of the infinite crystal at q ``(*batch, 3)`` in units of reciprocal vectors.

        With a homogeneous ``strain`` ε ``(3, 3)``, bonds become (1 + ε) d, plus ``inner``, the displacement ``(3,)`` in
        Å of the second atom of the cell against the first: deformation potentials.
        """
        home = self.crystal.resized(1)
        bonds = _Bonds.of(home, tetrahedral_neighbours(home, "tight-binding model")[0])
        if strain is not None:
            stretched = bonds.vectors @ (
                torch.eye(3, dtype=torch.float64) + torch.from_numpy(array(strain, "strain", (3, 3)))
            )
            bonds = bonds._replace(vectors=stretched)
        u = torch.zeros(2, 3, dtype=torch.float64)
        if inner is not None:
            u[1] = torch.from_numpy(array(inner, "inner", (3,)))
        points = np.asarray(q, dtype=float).reshape(-1, 3)
        matrices = [_assembled(self.parameters, bonds, home, u, tuple(x)).to(torch.complex128) for x in points]
        return torch.linalg.eigvalsh(torch.stack(matrices)).numpy().reshape(*np.shape(q)[:-1], -1)

    # --- gaps -------------------------------------------------------------------------------------------------------

    def energies(self, displacement: Tensor) -> Tensor:
        """All energies ``(*batch, 5 site)`` in eV, ascending."""
        if displacement.requires_grad and torch.is_grad_enabled():
            return torch.linalg.eigvalsh(self.hamiltonian(displacement))
        flat = displacement.reshape(-1, *displacement.shape[-2:])
        step = max(1, CHUNK // (5 * self.crystal.n_atoms) ** 2)
        found = [torch.linalg.eigvalsh(self.hamiltonian(part)) for part in flat.split(step)]
        return torch.cat(found).reshape(*displacement.shape[:-2], -1)

    def edges(self, displacement: Tensor) -> Edges:
        """The edges of the bands of every configuration; ``ValueError`` if their gap is within ``window`` of zero."""
        energy, middle = self.energies(displacement), 2 * self.crystal.n_atoms
        valence, conduction = self.states
        below, above = energy[..., middle - valence : middle], energy[..., middle : middle + conduction]
        found = Edges(below.mean(-1), above.mean(-1), below[..., -1], above[..., 0])
        open_gap = (found.lowest - found.highest).reshape(-1)
        if bool((open_gap <= self.window).any()):
            which = int(open_gap.argmin())
            raise ValueError(
                f"Configuration {which} is metallic: its gap is {float(open_gap[which]):.3f} eV. Thermal motion of an "
                f"insulator does not do that; check the unit of the displacements, Å, and the temperature."
            )
        return found

    def __call__(self, displacement: Tensor) -> Tensor:
        found = self.edges(displacement)
        return found.conduction - found.valence

    def shift(self, displacement: Tensor) -> Tensor:
        """The gap minus that of the perfect supercell ``(*batch,)``, in eV."""
        return self(displacement) - self.perfect

    @cached_property
    def _still(self) -> np.ndarray:
        return self.energies(torch.zeros(self.crystal.n_atoms, 3, dtype=torch.float64)).numpy()

    @cached_property
    def states(self) -> tuple[int, int]:
        """How many states the edges of the valence and conduction bands have in the perfect supercell."""
        energy, middle = self._still, 2 * self.crystal.n_atoms
        if energy[middle] - energy[middle - 1] <= 2 * self.window:
            raise ValueError(
                f"The perfect supercell of {self.crystal!r} is metallic, or its gap of "
                f"{energy[middle] - energy[middle - 1]:.3f} eV is smaller than twice the window."
            )
        valence = int((energy[:middle] >= energy[middle - 1] - self.window).sum())
        return valence, int((energy[middle:] <= energy[middle] + self.window).sum())

    @cached_property
    def perfect(self) -> float:
        """The gap of the perfect supercell in eV."""
        energy, middle, (valence, conduction) = self._still, 2 * self.crystal.n_atoms, self.states
        return float(energy[middle : middle + conduction].mean() - energy[middle - valence : middle].mean())

    @cached_property
    def infinite(self) -> float:
        """The gap of the infinite crystal in eV, from the top at Γ to the lowest state on the line from Γ to X."""
        line = np.linspace(0, 0.5, 201)[:, None] * [1.0, 1.0, 0.0]
        energy = self.bands(line)
        return float(energy[:, 4].min() - energy[0, 3])

    @property
    def offset(self) -> float:
        """How far the gap of the perfect supercell lies above that of the infinite crystal, in eV: folding."""
        return self.perfect - self.infinite


class _Bonds(NamedTuple):
    """Nearest neighbours, every bond once, from sublattice 0 to 1: sites, vectors in Å, crossings of the boundary."""

    i: Tensor
    j: Tensor
    vectors: Tensor
    winding: Tensor

    @classmethod
    def of(cls, crystal: Crystal, around: Any) -> _Bonds:
        lattice = crystal.lattice
        target = lattice.cells[::2][:, None] + around.cells
        return cls(
            torch.arange(0, lattice.n_sites, 2).repeat_interleave(len(around)),
            torch.from_numpy(lattice.neighbour_table(around).reshape(-1)),
            torch.from_numpy(np.tile(around.vectors, (lattice.n_cells, 1))),
            torch.from_numpy((target // np.array(lattice.shape)).reshape(-1, 3).astype(float)),
        )


def _hoppings(parameters: SlaterKoster, bond: Tensor, spacing: float) -> Tensor:
    """Two-centre matrices ``(*batch, bond, 5, 5)`` of bond vectors ``(*batch, bond, 3)``: row orbital at the start."""
    p, length = parameters, bond.norm(dim=-1)
    direction, ratio = bond / length[..., None], spacing / length
    strengths = (p.ss_sigma, p.sp_sigma, p.pp_sigma, p.pp_pi, p.excited_sigma)
    ss, sp, sigma, pi, ep = (v * ratio**n for v, n in zip(strengths, p.exponents, strict=True))
    result = bond.new_zeros(*bond.shape[:-1], ORBITALS, ORBITALS)
    result[..., 0, 0] = ss
    for row, strength in ((0, sp), (4, ep)):
        result[..., row, 1:4] = direction * strength[..., None]
        result[..., 1:4, row] = -direction * strength[..., None]  # p is odd
    result[..., 1:4, 1:4] = direction[..., :, None] * direction[..., None, :] * (sigma - pi)[..., None, None]
    result[..., 1:4, 1:4] += torch.eye(3, dtype=bond.dtype, device=bond.device) * pi[..., None, None]
    return result


def _assembled(
    parameters: SlaterKoster, bonds: _Bonds, crystal: Crystal, displacement: Tensor, twist: tuple[float, ...]
) -> Tensor:
    """H ``(*batch, 5 site, 5 site)``."""
    i, j, vectors, winding = (x.to(displacement.device) for x in bonds)
    blocks = _hoppings(parameters, vectors + displacement[..., j, :] - displacement[..., i, :], crystal.lattice.spacing)
    angle = winding @ torch.tensor(twist, dtype=torch.float64, device=displacement.device)
    if np.any(np.mod(twist, 0.5)):
        blocks = blocks * torch.exp(2j * torch.pi * angle)[:, None, None]
    elif any(twist):
        blocks = blocks * torch.cos(2 * torch.pi * angle)[:, None, None]
    n, batch = crystal.n_atoms, displacement.shape[:-2]
    flat = blocks.reshape(-1, *blocks.shape[-3:])
    one = torch.arange(len(flat), device=flat.device)[:, None]
    upper = flat.new_zeros(len(flat), n, n, ORBITALS, ORBITALS).index_put((one, i, j), flat, accumulate=True)
    upper = upper.transpose(2, 3).reshape(len(flat), n * ORBITALS, n * ORBITALS)
    p = parameters
    site = torch.tensor([p.s, p.p, p.p, p.p, p.excited] * n, dtype=torch.float64, device=flat.device)
    return (upper + upper.mH + torch.diag(site)).reshape(*batch, n * ORBITALS, n * ORBITALS)
