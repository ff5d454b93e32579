"""The same bars by nearsight and by sisl: transmissions, levels, densities, currents.

python benchmarks/peers/negf_sisl.py      in an environment that has nearsight and sisl ≥ 0.20

sisl (N. Papior, https://sisl.readthedocs.io; the companion of TBtrans) comes with a Green's function of its own,
``sisl_toolbox.btd.DeviceGreen``: blocks found by graph partitioning, spectral functions by propagation along them. It
gets the matrix of a Holstein bar, metal next to a charge-density wave, leads of a wide band as self-energies -iΓ on
both end columns, and the bath of all sites as the imaginary part of its energies. What sisl calls Γ, i(Σ - Σ†), is 2Γ
here. It takes one energy at a time; the density that the voltage adds is the integral of A = G 2Γ G† times
(f_left - f)/2π by Gauss-Legendre rules.

Recorded with sisl 0.20.0, NumPy 2.4.6 and torch 2.13.0, in seconds of one core, with the largest differences:

  bar      quantity                    sisl     NEGF   RecursiveNEGF   sisl - NEGF   recursive - NEGF
  8 × 4    T, 29 energies              0.12     0.01            0.00         6e-14              6e-14
           levels on sites                                                   6e-14              6e-14
           density the voltage adds    8.1      0.01            0.06         5e-15              1e-12
  16 × 6   T, 29 energies              0.21     0.03            0.01         7e-13              7e-13
           levels on sites                                                   6e-13              6e-13
           density the voltage adds   11.9      0.03            0.31         2e-14              4e-12
  30 × 10  T, 29 energies              0.38     0.20            0.03         5e-14              5e-14
           levels on sites                                                   4e-13              4e-13
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import sisl
import torch
from rich.console import Console
from rich.table import Table
from sisl_toolbox.btd import DeviceGreen, Electrode

from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import NEGF, Pattern, RecursiveNEGF, Reservoir, SparseMatrix, SteadyState, electrodes

SIZES = ((8, 4), (16, 6), (30, 10))
VOLTAGE, KT, BATH = 2.0, 0.1, 0.02
ENERGIES = torch.linspace(-3.5, 3.5, 29, dtype=torch.float64)


class WideBand(Electrode):
    """Σ = -iΓ on every orbital, at all energies."""

    def __init__(self, reservoir: Reservoir, name: str) -> None:
        super().__init__(name=name)
        self.reservoir = reservoir

    def __len__(self) -> int:
        return len(self.reservoir.sites)

    @property
    def eta(self) -> float:
        return 0.0

    def self_energy(self, E: complex, k: object = (0, 0, 0), **kwargs: object) -> np.ndarray:
        return -1j * self.reservoir.gamma * np.eye(len(self))

    def se2broadening(self, SE: np.ndarray) -> np.ndarray:
        return 1j * (SE - SE.conj().T)


def device(h: np.ndarray, length: int, width: int, reservoirs: tuple[Reservoir, ...]) -> DeviceGreen:
    """The matrix as a Hamiltonian of sisl, one orbital for each site."""
    cells = np.stack(np.meshgrid(np.arange(length), np.arange(width), indexing="ij"), -1).reshape(-1, 2)
    places = np.concatenate([cells, np.zeros((len(cells), 1))], axis=1)
    box = sisl.Lattice([length + 10, width + 10, 10], nsc=[1, 1, 1])
    hamiltonian = sisl.Hamiltonian(sisl.Geometry(places, sisl.Atom(1, R=1.1), lattice=box))
    for i, j in zip(*np.nonzero(h), strict=True):
        hamiltonian[i, j] = h[i, j]
    leads = [(WideBand(r, name), r.sites) for r, name in zip(reservoirs[:2], ("left", "right"), strict=True)]
    return DeviceGreen(hamiltonian, leads, eta=reservoirs[2].gamma)


def of_sisl(green: DeviceGreen) -> tuple[np.ndarray, np.ndarray]:
    """Transmission from right to left ``(energy,)`` and levels ``(energy, site)``."""
    transmissions, levels = [], []
    for e in ENERGIES.tolist():
        transmissions.append(green.transmission(e, "right", "left"))
        levels.append(in_order(green, -green.green(e, format="array").diagonal().imag / math.pi))
    return np.array(transmissions), np.array(levels)


def in_order(green: DeviceGreen, values: np.ndarray) -> np.ndarray:
    """Values of the sites as we count them, from those in the order of blocks."""
    ordered = np.empty_like(values)
    ordered[green.permute] = values
    return ordered


def integrated(green: DeviceGreen, reservoirs: tuple[Reservoir, ...], h: np.ndarray) -> np.ndarray:
    """⟨n_i⟩ minus that with all reservoirs as the last, from spectral functions of the first alone."""
    gate, rest = reservoirs[0], reservoirs[-1]
    low, high = gate.mu - 36 * KT, rest.mu + 36 * KT
    x, w = np.polynomial.legendre.leggauss(10)
    density = np.zeros(len(h))
    edges = np.linspace(low, high, 1 + int((high - low) / (2 * BATH)))
    for a, b in pairwise(edges):
        for node, weight in zip(x, w, strict=True):
            e = 0.5 * (a + b) + 0.5 * (b - a) * node
            change = fermi(e, gate) - fermi(e, rest)
            spectral = green.spectral(e, "left", format="array", method="column")
            density += 0.5 * (b - a) * weight * change * spectral.diagonal().real / (2 * math.pi)
    return in_order(green, density)


def fermi(energy: float, reservoir: Reservoir) -> float:
    return 0.5 * (1 - math.tanh((energy - reservoir.mu) / (2 * reservoir.kT)))


def timed(call):  # type: ignore[no-untyped-def]
    start = time.process_time()
    return call(), time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    table = Table("bar", "quantity", "sisl, s", "NEGF, s", "RecursiveNEGF, s", "sisl - NEGF", "recursive - NEGF")
    for length, width in SIZES:
        lattice = square(length, width, periodic=(False, False))
        rng = torch.Generator().manual_seed(1)
        cells = torch.from_numpy(lattice.cells)
        field = 1.2 * (1 - 2 * (cells.sum(1) % 2)) * (cells[:, 0] >= length // 2)
        field = field + 0.1 * torch.randn(len(cells), generator=rng, dtype=torch.float64)
        model = Holstein(lattice, g=1.5)
        reservoirs = electrodes(lattice, voltage=VOLTAGE, kT=KT, gamma=1.0, bath=BATH, lead_columns="both")
        h = model.matrix(field[:, None])
        sparse = SparseMatrix(Pattern(*model.positions, model.orbitals, model.cuts), model.elements(field[:, None]))
        green = device(h.numpy(), length, width, reservoirs)
        closed, recursive = NEGF(*reservoirs), RecursiveNEGF(*reservoirs, tol=1e-9)

        def spectra(state: SteadyState) -> tuple[np.ndarray, np.ndarray]:
            return state.transmission(ENERGIES)[:, 0, 1].numpy(), state.local_density_of_states(ENERGIES).numpy()

        (theirs, levels), seconds = timed(lambda g=green: of_sisl(g))
        state, solved = timed(lambda s=closed, m=h: s.steady_state(m))
        (ours, own), spectrum = timed(lambda s=state: spectra(s))
        other, also = timed(lambda s=recursive, m=sparse: s.steady_state(m))
        (third, further), sweep = timed(lambda s=other: spectra(s))
        name, differences = f"{length} × {width}", (np.abs(theirs - ours).max(), np.abs(third - ours).max())
        times = (seconds, solved + spectrum, sweep)
        table.add_row(
            name, f"T, {len(ENERGIES)} energies", *map("{:.2f}".format, times), *map("{:.0e}".format, differences)
        )
        differences = (np.abs(levels - own).max(), np.abs(further - own).max())
        table.add_row("", "levels on sites", "", "", "", *map("{:.0e}".format, differences))
        if length > 16:
            continue
        change, seconds = timed(lambda g=green, r=reservoirs, m=h: integrated(g, r, m.numpy()))
        alike = NEGF(*(r.replaced(mu=reservoirs[-1].mu) for r in reservoirs)).steady_state(h).density
        driven = (state.density - alike).numpy()
        differences = (np.abs(change - driven).max(), float((other.density - state.density).abs().max()))
        times = (seconds, 2 * solved, also)
        table.add_row("", "density the voltage adds", *map("{:.2f}".format, times), *map("{:.0e}".format, differences))
        print(f"{length} × {width}: currents {[f'{x:.9g}' for x in state.currents.tolist()]}")
    Console(width=118).print(table)


if __name__ == "__main__":
    main()
