"""Linear spin waves about an ordered state, in the fields of any force field."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._validation import instance
from nearsight.analysis._fields import spin_field
from nearsight.analysis.locality.derivative import directional_derivative
from nearsight.analysis.structure._reciprocal import check_wave_vector, label_wave_vectors
from nearsight.analysis.structure.brillouin import Path
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.lattices.images import nearest_image, periods
from nearsight.lattices.reduction import image_shifts

REST = 1e-5
"""Largest torque of a state at rest, in units of its largest field."""
SAME = 1e-6
"""Largest difference of spins that are images of each other."""
FLAT = 1e-6
"""Curvatures this much smaller than the largest count as zero: those of turning all spins, and their rounding."""


def spin_waves(forcefield: ForceField, spins: Tensor, k: np.ndarray | Path, *, step: float = 1e-3) -> xr.Dataset:
    r"""Frequencies and intensities of the small oscillations of unit spins about a state at rest,

    .. math::
        \delta\dot{\mathbf S}_i = \delta\mathbf S_i \times \mathbf H_i + \mathbf S_i \times \delta\mathbf H_i, \qquad
        \delta\mathbf H_i = \sum_j \frac{\partial \mathbf H_i}{\partial \mathbf S_j}\, \delta\mathbf S_j .

    With two coordinates x normal to every spin, M the matrix of second derivatives of the energy on the spheres and Ω
    the quarter turn in every normal plane this is dx/dt = Ω M x. In a crystal whose magnetic cell has n spins it falls
    into blocks of 2n coordinates, one for every wave vector, whose n frequencies ω > 0 are the positive eigenvalues of
    the Hermitian matrix :math:`\sqrt{M}\, i\Omega \sqrt{M}` (zero modes need no care so). Linear quantum spin waves
    have the same frequencies, times ħ, for moments of length S if H is the field on one of them divided by S.

    The fields may be those of electrons, of classical exchange, or learned: only their first derivatives enter, exact
    ones where the library knows them (:func:`~nearsight.analysis.locality.directional_derivative`). They are measured
    on the torus of the force field; at its own wave vectors ω is exact for it, between them it interpolates as nearest
    images do.

    ===========  ==================================================================
    S_i, H_i     ``spins``, ``forcefield(spins).force``
    ω            ``omega`` of the result, in units of H (the gyromagnetic ratio is 1)
    ===========  ==================================================================

    Parameters
    ----------
    spins: a state at rest ``(site, 3)``, unit vectors along their fields. Its magnetic cell, the smallest one whose
        copies it is made of, is found.
    k: wave vectors ``(point, dim)`` in units of 1/a, or a path (:func:`~nearsight.analysis.symmetry_path`).
    step: turn of the spins by which derivatives are measured where they are not known.

    Returns
    -------
    A Dataset with ``omega`` ``(point, branch)``, rising, and ``intensity``, the weight of the branch in the dynamical
    structure factor of classical spins at a low temperature, :math:`S(\mathbf k, \omega) = kT \sum_n I_n(\mathbf k)\,
    \delta(\omega - \omega_n(\mathbf k))` for ω > 0 and normalised as :func:`spin_structure_factor`; that at -ω is the
    one of -k at ω. It is infinite for zero modes. Coordinates kx, ky, and ``distance`` along a path.

    Cost: 2n derivatives of the field, and one diagonalisation of 2n × 2n for every wave vector.

    Raises ``ValueError`` if the spins feel torques (relax them first), or if the energy falls in some direction: the
    state is then no minimum, and the wave vector of the fall is named.

    Example
    -------
    A ferromagnetic chain has ω = 2J (1 - cos k):

    >>> import numpy as np, nearsight as ns
    >>> chain = ns.lattices.chain(12)
    >>> heisenberg = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(chain))
    >>> up = ns.fields.ferromagnet(chain)
    >>> waves = ns.analysis.spin_waves(heisenberg, up, np.array([[np.pi / 2], [np.pi]]))
    >>> waves.omega.values.round(6).ravel().tolist()
    [2.0, 4.0]

    References
    ----------
    J. H. P. Colpa, Physica A 93, 327 (1978); S. Toth, B. Lake, J. Phys.: Condens. Matter 27, 166002 (2015).
    """
    lattice = instance(forcefield, ForceField, "forcefield").lattice
    labelled = spin_field(spins, lattice)
    if labelled.ndim != 2:
        raise ValueError(f"Spin waves are those of one state (site, 3), got dimensions {labelled.dims}.")
    S = torch.from_numpy(np.ascontiguousarray(labelled.transpose("site", "component").values))
    points = _points(k, lattice)
    along, frames = _at_rest(forcefield, S)
    cell = _Cell(S.numpy(), lattice)
    frames = frames[cell.origin]  # the same in all copies of a site
    matrices = _curvature(forcefield, S, frames, along, cell, points, step)
    omega, modes = _normal_modes(matrices, points)
    amplitude = np.einsum("pibm,ibc->pmic", modes.reshape(len(points), cell.n, 2, cell.n), frames[cell.first]).sum(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        intensity = np.where(omega > 0, (np.abs(amplitude) ** 2).sum(-1) / cell.n / omega, np.inf)
    result = xr.Dataset(
        {
            "omega": (("point", "branch"), omega, {"long_name": "frequency", "units": "t"}),
            "intensity": (("point", "branch"), intensity, {"long_name": "intensity over kT", "units": "1/t"}),
        }
    )
    result = result.assign_coords(label_wave_vectors(result.omega, points, ("point",)).coords)
    return result.assign_coords(distance=("point", k.distance)) if isinstance(k, Path) else result


class _Cell:
    """The magnetic cell: its sites ``first`` (n,), and for every site the ``place`` of the one it copies.

    Sites are copies of each other if a translation of the torus that leaves all spins alone takes one to the other.
    """

    def __init__(self, s: np.ndarray, lattice: Lattice) -> None:
        cells, sublattice, shape = lattice.cells, lattice.sublattice, np.asarray(lattice.shape)
        self.origin = np.arange(lattice.n_sites)
        # Most translations are ruled out by where they take the first cell.
        start = np.flatnonzero((cells == 0).all(1))
        for shift in np.ndindex(*np.where(lattice.periodic, shape, 1).tolist()):
            image = lattice.index((cells[start] + shift) % shape, sublattice[start])
            if np.abs(s[image] - s[start]).max() < SAME:
                image = lattice.index((cells + shift) % shape, sublattice)
                if np.abs(s[image] - s).max() < SAME:
                    self.origin = np.minimum(self.origin, image)
        self.first, self.place = np.unique(self.origin, return_inverse=True)
        self.n = len(self.first)


def _points(k: np.ndarray | Path, lattice: Lattice) -> np.ndarray:
    points = np.asarray(k.k if isinstance(k, Path) else k, dtype=float)
    if points.ndim != 2:
        raise ValueError(f"k must list wave vectors with shape (point, {lattice.dim}), got {points.shape}.")
    return np.array([check_wave_vector(point, lattice) for point in points]).reshape(len(points), lattice.dim)


def _at_rest(forcefield: ForceField, S: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """S·H ``(site,)`` and two unit vectors normal to every spin ``(site, 2, 3)``, right-handed with it."""
    with torch.no_grad():
        H = forcefield(S).force.double()
    along = (S * H).sum(-1)
    torque, largest = float((H - along[:, None] * S).norm(dim=-1).max()), float(H.norm(dim=-1).max())
    if torque > REST * largest:
        raise ValueError(
            f"The spins are not at rest: they feel torques up to {torque:.3g} in fields up to {largest:.3g}. Relax "
            f"them first, by SemiImplicit(kT=0, damping=1) for instance."
        )
    s = S.numpy()
    axis = np.eye(3)[np.abs(s).argmin(1)]
    e1 = axis - (axis * s).sum(1, keepdims=True) * s
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    return along.numpy(), np.stack([e1, np.cross(s, e1)], axis=1)


def _curvature(
    forcefield: ForceField, S: Tensor, frames: np.ndarray, along: np.ndarray, cell: _Cell, k: np.ndarray, step: float
) -> np.ndarray:
    """M at every wave vector, Hermitian ``(point, 2n, 2n)``, with the phases of the sites' own positions."""
    lattice, n = forcefield.lattice, cell.n
    directions = torch.zeros(2 * n, lattice.n_sites, 3, dtype=torch.float64)
    for number, site in enumerate(cell.first):
        directions[2 * number : 2 * number + 2, site] = torch.from_numpy(frames[site])
    change = directional_derivative(forcefield, S, directions, step=step).numpy()  # (2n, site, 3)
    K = -np.einsum("dsc,sbc->dsb", change, frames).reshape(n, 2, lattice.n_sites, 2)
    result = np.zeros((len(k), n, 2, n, 2), dtype=complex)
    for number, site in enumerate(cell.first):
        waves = _waves(k, lattice, lattice.positions - lattice.positions[site])  # (point, site)
        for other in range(n):
            copies = np.flatnonzero(cell.place == other)
            result[:, other, :, number] = np.einsum("ps,asb->pba", waves[:, copies], K[number][:, copies])
        result[:, number, :, number] += along[site] * np.eye(2)
    matrices = result.reshape(len(k), 2 * n, 2 * n)
    return 0.5 * (matrices + matrices.conj().swapaxes(1, 2))


def _waves(k: np.ndarray, lattice: Lattice, displacements: np.ndarray) -> np.ndarray:
    """exp(-i k·r) ``(point, site)``, the mean over the nearest images where several are equally near."""
    d, rows = nearest_image(displacements, lattice), periods(lattice)
    total, count = np.zeros((len(k), len(d)), dtype=complex), np.zeros(len(d))
    nearest = np.linalg.norm(d, axis=1)
    for shift in image_shifts(rows, 1.0):
        equal = np.linalg.norm(d + shift, axis=1) < nearest + lattice.tolerance
        total[:, equal] += np.exp(-1j * k @ (d[equal] + shift).T)
        count += equal
    return total / count


def _normal_modes(matrices: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ω ≥ 0 ``(point, n)``, rising, and ω^½ times the amplitudes of their modes at kT = 1 ``(point, 2n, n)``."""
    if not len(k):
        return np.zeros((0, matrices.shape[1] // 2)), np.zeros((0, matrices.shape[1], matrices.shape[1] // 2), complex)
    n = matrices.shape[1] // 2
    curvature, axes = np.linalg.eigh(matrices)
    scale = curvature.max()
    if (lowest := curvature.min()) < -FLAT * scale:
        where = k[np.unravel_index(curvature.argmin(), curvature.shape)[0]]
        raise ValueError(
            f"The state is no minimum: at k = {tuple(where.round(4).tolist())} the energy falls, with a curvature of "
            f"{lowest:.3g} where the largest is {scale:.3g}. Relax the spins into another state."
        )
    root = np.sqrt(np.where(curvature < FLAT * scale, 0.0, curvature))
    sqrt = (axes * root[:, None]) @ axes.conj().swapaxes(1, 2)
    turn = np.kron(np.eye(n), [[0.0, 1.0], [-1.0, 0.0]])
    omega, vectors = np.linalg.eigh(sqrt @ (1j * turn) @ sqrt)
    omega, vectors = omega[:, n:], vectors[:, :, n:]
    omega = np.where(omega < FLAT * scale, 0.0, omega)
    # √M⁻¹ w = iΩ √M w / ω needs no inverse.
    with np.errstate(divide="ignore", invalid="ignore"):
        return omega, (1j * turn @ sqrt @ vectors) / np.sqrt(omega)[:, None]
