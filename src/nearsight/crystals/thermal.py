"""Thermal displacements of a harmonic crystal: quantum or classical, in a supercell of any size."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import boolean, choice, generator, instance, integer, number
from nearsight.crystals.crystal import Crystal
from nearsight.crystals.force_constants import HBAR, UNIT, ForceConstants, in_thz

KB = 8.617333262e-5
"""Boltzmann's constant in eV/K."""
SOFT = 0.02
"""Frequencies below this, in THz, are taken for zero: a mode with one has no restoring force."""
Statistics = Literal["quantum", "classical"]


class ThermalDisplacements(Described):
    r"""The Gaussian distribution of atomic displacements u at temperature T in the harmonic approximation.

    Normal coordinates :math:`\xi = \sum_i \sqrt{m_i}\, e_i \cdot u_i` have the Hamiltonian
    :math:`\tfrac12 (p^2 + \Omega^2 \xi^2)`; ½ Ω² ⟨ξ²⟩ is half of the energy :math:`\hbar\Omega (n + \tfrac12)`, so that

    .. math:: \langle\xi^2\rangle = \frac{\hbar}{2\Omega}\,(2n + 1) = \frac{\hbar}{2\Omega}
              \coth\frac{\hbar\Omega}{2 k_B T}, \qquad \text{classically } \frac{k_B T}{\Omega^2}

    (the thesis prints the square of ħ/2Ω, whose unit is not that of ξ²). A sample is white noise w of every atom and
    direction, passed through the square root of the covariance, :math:`u = m^{-1/2} \sigma(D)\, w` with
    :math:`\sigma^2(\Omega^2) = \langle\xi^2\rangle`. It does not depend on how degenerate modes are chosen, and one w
    gives displacements at all temperatures that change smoothly with T. The three translations of the whole stay at
    rest.

    Parameters
    ----------
    force_constants: of the same crystal, in a supercell of any size.
    crystal: the supercell in which atoms move; that of the force constants if it is not given.
    statistics: "quantum", with zero-point motion, or "classical".

    ``ValueError`` names modes with imaginary frequency, of which no thermal distribution exists.

    Cost: one Fourier transform per sample, O(N log N).

    Examples
    --------
    >>> from nearsight.crystals import ThermalDisplacements, ValenceForceField, silicon
    >>> phonons = ValenceForceField.silicon().force_constants(silicon(4))
    >>> quantum, classical = (ThermalDisplacements(phonons, statistics=s) for s in ("quantum", "classical"))
    >>> u2 = [float(quantum.covariance(T)[0, 0, 0, 0]) for T in (0.0, 300.0, 5000.0)]
    >>> print(f"{u2[0] ** 0.5:.3f} Å at zero temperature, {u2[1] ** 0.5:.3f} Å at 300 K")
    0.048 Å at zero temperature, 0.073 Å at 300 K
    >>> round(u2[2] / float(classical.covariance(5000.0)[0, 0, 0, 0]), 2)  # equipartition
    1.0

    References
    ----------
    S. Zhang, PhD thesis (2024), eqs. (5.1) to (5.6). M. Zacharias, F. Giustino, Phys. Rev. Research 2, 013357 (2020).
    """

    def __init__(
        self, force_constants: ForceConstants, crystal: Crystal | None = None, *, statistics: Statistics = "quantum"
    ) -> None:
        self.force_constants = instance(force_constants, ForceConstants, "force_constants")
        self.crystal = force_constants.crystal if crystal is None else instance(crystal, Crystal, "crystal")
        if not self.crystal.same_kind(force_constants.crystal):
            raise ValueError(
                f"The force constants are those of another crystal than {self.crystal!r}: their lattice vectors, "
                f"positions, elements or masses differ. Take force_constants.crystal.resized(n)."
            )
        self.statistics = choice(statistics, "statistics", get_args(Statistics))
        self._refuse_unstable()

    def __repr__(self) -> str:
        return f"ThermalDisplacements({self.crystal!r}, {self.statistics})"

    @cached_property
    def q(self) -> np.ndarray:
        """Wave vectors of the supercell ``(q, 3)`` in units of reciprocal vectors, in the order of a discrete FFT."""
        axes = [np.fft.fftfreq(n) for n in self.crystal.lattice.shape]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)

    @cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(self.force_constants.dynamical_matrix(self.q))

    @property
    def frequencies(self) -> np.ndarray:
        """Ω/2π of all modes ``(q, branch)`` in THz; the three translations are zero up to rounding."""
        return in_thz(self._modes[0])

    def _refuse_unstable(self) -> None:
        found = self.frequencies.copy()
        found[0, np.abs(found[0]).argsort()[:3]] = np.inf
        if found.min() >= SOFT:
            return
        soft = [(k, s) for k, s in np.argwhere(found < SOFT)]
        k, s = min(soft, key=lambda ks: found[tuple(ks)])
        worst = found[k, s]
        value = f"{-worst:.2f}i" if worst < 0 else f"{worst:.3f}"
        raise ValueError(
            f"The crystal is not stable in this structure: {len(soft)} modes have an imaginary or no frequency, the "
            f"worst {value} THz at q = ({', '.join(f'{x:.3g}' for x in self.q[k])}), branch {s + 1}. Relax the "
            f"structure, converge the force constants in supercell and accuracy, move to the lower structure along "
            f"this mode, or take effective force constants at the temperature (or snapshots of molecular dynamics)."
        )

    @cached_property
    def _quantum(self) -> tuple[np.ndarray, np.ndarray]:
        """ħΩ in eV, and the ⟨ξ²⟩ of one quantum, ħ/Ω in Å² u, which is 0 for the translations ``(q, branch)``."""
        squares = self._modes[0].copy()
        still = np.zeros(squares.shape, bool)
        still[0, np.abs(squares[0]).argsort()[:3]] = True
        squares[still] = 1.0
        omega = np.sqrt(squares)
        return HBAR * omega, np.where(still, 0.0, UNIT * HBAR / omega)

    def quanta(self, temperature: float) -> np.ndarray:
        r"""Quanta of every mode ``(q, branch)`` at T in K, in units of which ⟨ξ²⟩ is ħ/Ω; 0 for the translations.

        n + ½ = ½ coth(ħΩ / 2k_BT) with quantum statistics, zero-point motion included; k_BT / ħΩ, their limit at high
        temperatures, with classical ones.
        """
        return np.where(self._quantum[1] > 0, self._counted(_energy(temperature)), 0.0)

    def _counted(self, kT: float) -> np.ndarray:
        energy = self._quantum[0]
        if self.statistics == "classical":
            return kT / energy
        return 0.5 / np.tanh(np.inf if kT == 0 else energy / (2 * kT))

    def _variance(self, kT: float) -> np.ndarray:
        """⟨ξ²⟩ ``(q, branch)`` in Å² u."""
        return self._quantum[1] * self._counted(kT)

    def _function(self, values: np.ndarray) -> np.ndarray:
        """A function of D, given by its values ``(q, branch)``, as matrices ``(q, 3 basis, 3 basis)``."""
        vectors = self._modes[1]
        return (vectors * values[:, None, :]) @ vectors.conj().transpose(0, 2, 1)

    def _filter(self, values: np.ndarray) -> Tensor:
        roots = np.repeat(np.sqrt(self.crystal.masses), 3)
        return torch.from_numpy(self._function(values) / roots[:, None])

    def _filtered(self, kernel: Tensor, noise: Tensor) -> Tensor:
        lattice, batch = self.crystal.lattice, noise.shape[:-2]
        grid = noise.reshape(-1, *lattice.shape, 3 * lattice.n_basis)
        waves = torch.fft.fftn(grid.to(torch.complex128), dim=(1, 2, 3)).flatten(1, 3)
        moved = torch.einsum("qij,bqj->bqi", kernel, waves).unflatten(1, lattice.shape)
        return torch.fft.ifftn(moved, dim=(1, 2, 3)).real.reshape(*batch, lattice.n_sites, 3)

    # --- samples ----------------------------------------------------------------------------------------------------

    def noise(self, count: int, rng: torch.Generator, *, antithetic: bool = False) -> Tensor:
        """White noise w ``(count, site, 3)``; with ``antithetic`` rows 2k and 2k + 1 are w and -w."""
        generator(rng)
        count = integer(count, "count", least=1)
        shape = (self.crystal.n_atoms, 3)
        if not boolean(antithetic, "antithetic"):
            return torch.randn(count, *shape, generator=rng, dtype=torch.float64)
        if count % 2:
            raise ValueError(f"Antithetic samples come in pairs; count must be even, got {count}.")
        half = torch.randn(count // 2, *shape, generator=rng, dtype=torch.float64)
        return torch.stack([half, -half], 1).flatten(0, 1)

    def displacements(self, noise: Tensor, temperature: float) -> Tensor:
        """u ``(*batch, site, 3)`` in Å at T in K, of white noise of that shape."""
        return self._filtered(self._filter(np.sqrt(self._variance(_energy(temperature)))), noise.double())

    def sample(self, count: int, temperature: float, rng: torch.Generator, *, antithetic: bool = False) -> Tensor:
        """Independent displacements ``(count, site, 3)`` in Å at T in K.

        Of antithetic pairs, u and -u in rows 2k and 2k + 1, the mean has no part odd in u; the pairs are independent of
        each other, and errors must be taken over pairs.
        """
        return self.displacements(self.noise(count, rng, antithetic=antithetic), temperature)

    def slope(self, noise: Tensor, temperature: float) -> Tensor:
        """∂u/∂T ``(*batch, site, 3)`` in Å/K of :meth:`displacements` at fixed noise.

        With the gradient of a property, d⟨Q⟩/dT = ⟨∂Q/∂u · ∂u/∂T⟩. Zero at T = 0 in quantum statistics.
        """
        kT = _energy(temperature)
        if kT == 0 and self.statistics == "classical":
            raise ValueError("Classical displacements grow as √T, without a slope at T = 0; take T > 0.")
        step = 1e-4 * kT
        if kT == 0:
            return torch.zeros_like(noise, dtype=torch.float64)
        ends = [np.sqrt(self._variance(kT + s * step)) for s in (1, -1)]
        return self._filtered(self._filter((ends[0] - ends[1]) / (2 * step) * KB), noise.double())

    def covariance(self, temperature: float) -> np.ndarray:
        """⟨u u⟩ ``(basis, site, 3, 3)`` in Å², of the atoms of cell 0 with all others; exact."""
        lattice, roots = self.crystal.lattice, np.repeat(np.sqrt(self.crystal.masses), 3)
        matrices = self._function(self._variance(_energy(temperature))) / (roots[:, None] * roots)
        # Of cell 0 with cell R: the coefficient of exp(iqR), conjugated because row and column change places.
        grid = np.fft.ifftn(matrices.conj().reshape(*lattice.shape, *matrices.shape[1:]), axes=(0, 1, 2)).real
        grid = grid.reshape(lattice.n_cells, lattice.n_basis, 3, lattice.n_basis, 3)
        return np.ascontiguousarray(grid.transpose(1, 0, 3, 2, 4)).reshape(lattice.n_basis, -1, 3, 3)

    def special(self, temperature: float) -> Tensor:
        r"""The special displacement ``(site, 3)`` of Zacharias and Giustino: one structure in place of an average.

        Every mode is displaced by its thermal width, with signs that alternate along the frequencies,

        .. math:: u_i = m_i^{-1/2} \sum_\nu (-1)^\nu \sqrt{\langle\xi_\nu^2\rangle}\; e_{i\nu},

        so that mixed second-order terms of neighbouring modes cancel, better in larger supercells. How degenerate modes
        are chosen is not unique, and the error of one structure is not known: compare with :meth:`sample`.
        """
        variance, vectors = self._variance(_energy(temperature)), self._modes[1]
        lattice = self.crystal.lattice
        opposite = np.ravel_multi_index(
            tuple(((-np.rint(self.q * lattice.shape)).astype(int) % lattice.shape).T), lattice.shape
        )
        phases = np.exp(2j * np.pi * lattice.cells[:: lattice.n_basis] @ self.q.T)  # (cell, q)
        waves, widths, order = [], [], []
        for k, partner in enumerate(opposite):
            if partner < k:
                continue
            own = vectors[k]
            if partner == k:  # D is real: so are its modes
                own = np.linalg.eigh(self.force_constants.dynamical_matrix(self.q[k]).real)[1].astype(complex)
            for s in range(own.shape[1]):
                wave = (phases[:, k, None] * own[:, s]).reshape(-1)
                for part in (wave.real, wave.imag)[: 1 if partner == k else 2]:
                    waves.append(part / np.linalg.norm(part))
                    widths.append(np.sqrt(variance[k, s]))
                    order.append(self._modes[0][k, s])
        signs = np.empty(len(order))
        signs[np.argsort(np.round(order, 6), kind="stable")] = (-1.0) ** np.arange(len(order))
        total = (np.array(waves) * (signs * np.array(widths))[:, None]).sum(0).reshape(-1, lattice.n_basis, 3)
        return torch.from_numpy((total / np.sqrt(self.crystal.masses)[:, None]).reshape(-1, 3).copy())


def _energy(temperature: float) -> float:
    """k_B T in eV."""
    return KB * number(temperature, "temperature, in K,", least=0)
