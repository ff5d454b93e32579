"""Band gaps by Quantum ESPRESSO, through ASE."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import filename, instance, integer, integers, number
from nearsight.crystals.crystal import ASE, Crystal
from nearsight.fields import check_field

INSTALL = (
    "Install Quantum ESPRESSO, by apt-get install quantum-espresso quantum-espresso-data (Debian, Ubuntu) or conda "
    "install -c conda-forge qe, or name the executable by command=."
)
SPARE = 12
"""Empty bands beyond those of the edge, so that the iteration finds the lowest ones reliably."""


class EspressoGap(Described):
    """The band gap of a supercell by density-functional theory: one run of ``pw.x`` per configuration.

    The gap is that between the means of the states of either edge, as :class:`TightBinding` has it: those that lie
    within ``window`` of the edge in the perfect supercell, which is computed first, at every k point of the mesh. Take
    differences to that cell, :meth:`shift`. Everything that decides the numbers is an argument, and so part of what
    :func:`evaluate` knows its results by.

    Parameters
    ----------
    crystal: the supercell.
    pseudopotentials: file name by chemical symbol, ``{"Si": "Si.pz-vbc.UPF"}``; they decide the functional.
    pseudo_dir: the folder they lie in; Debian's quantum-espresso-data has ``/usr/share/espresso/pseudo``.
    cutoff: of the wave functions in Ry.
    k_points: numbers of k points along the axes of the supercell; (1, 1, 1) is Γ alone, with real wave functions.
    window: in eV.
    extra: states above the lowest empty one that may belong to the edge.
    command: the executable, with what stands before it, such as ``"mpirun -n 2 pw.x"``.
    tol: of the self-consistent energy in Ry.

    Needs ASE and an executable; ``FileNotFoundError`` says how to install it, ``RuntimeError`` what a failed run wrote
    last. Silicon at 16 Ry and Γ takes about half a minute for 54 atoms on one core, and grows as the third power.

    Examples
    --------
    >>> from nearsight.crystals import EspressoGap, silicon
    >>> gap = EspressoGap(silicon(3), {"Si": "Si.pz-vbc.UPF"}, "pseudo", cutoff=16.0, command="mpirun -n 2 pw.x")
    >>> gap.config()["cutoff"], "command" in gap.config()  # results are known by what decides them, wherever it runs
    (16.0, False)
    """

    unit = "eV"

    def __init__(
        self,
        crystal: Crystal,
        pseudopotentials: Mapping[str, str],
        pseudo_dir: str,
        *,
        cutoff: float = 30.0,
        k_points: tuple[int, int, int] = (1, 1, 1),
        window: float = 0.02,
        extra: int = 24,
        command: str = "pw.x",
        tol: float = 1e-8,
    ) -> None:
        self.crystal = instance(crystal, Crystal, "crystal", "crystals.silicon(3) is one.")
        self.pseudopotentials, self.pseudo_dir = dict(pseudopotentials), str(filename(pseudo_dir, "pseudo_dir"))
        missing = {str(s) for s in crystal.lattice.species} - self.pseudopotentials.keys()
        if missing:
            raise ValueError(f"pseudopotentials must name a file for {', '.join(sorted(missing))}.")
        self.cutoff = number(cutoff, "cutoff", above=0)
        self.k_points: tuple[int, ...] = integers(k_points, "k_points", length=3, least=1)
        self.window, self.tol = number(window, "window", least=0), number(tol, "tol", above=0)
        self.extra = integer(extra, "extra", least=1)
        self.command = instance(command, str, "command")

    def config(self) -> dict[str, Any]:
        told = super().config()
        return {name: value for name, value in told.items() if name not in ("command", "pseudo_dir")}

    def energies(self, displacement: Tensor) -> np.ndarray:
        """Band energies ``(k, band)`` in eV of one configuration ``(site, 3)``."""
        try:
            from ase.calculators.espresso import Espresso, EspressoProfile
        except ImportError as error:
            raise ImportError(ASE) from error
        if shutil.which(self.command.split()[-1]) is None or shutil.which(self.command.split()[0]) is None:
            raise FileNotFoundError(f"There is no executable {self.command!r}. {INSTALL}")
        check_field(displacement, self.crystal.n_atoms, 3, finite=True)
        gamma = self.k_points == (1, 1, 1)
        data = {
            "control": {"verbosity": "high", "disk_io": "none"},
            "system": {
                "ecutwfc": self.cutoff,
                "occupations": "fixed",
                "nosym": True,
                "noinv": not gamma,
                "nbnd": self.occupied + self.extra + SPARE,
            },
            "electrons": {"conv_thr": self.tol},
        }
        atoms = self.crystal.to_atoms(displacement.detach().numpy())
        with tempfile.TemporaryDirectory() as folder:
            profile = EspressoProfile(command=self.command, pseudo_dir=self.pseudo_dir)
            atoms.calc = calculator = Espresso(
                profile=profile, pseudopotentials=self.pseudopotentials, input_data=data,
                kpts=None if gamma else self.k_points, directory=folder,
            )  # fmt: skip
            try:
                atoms.get_potential_energy()
                return np.array([calculator.get_eigenvalues(kpt=k) for k in range(int(np.prod(self.k_points)))])
            except Exception as error:  # ASE raises what its reader stumbled over
                output = Path(folder) / "espresso.pwo"
                last = "\n".join(output.read_text(errors="replace").splitlines()[-15:]) if output.exists() else ""
                raise RuntimeError(
                    f"{self.command} failed ({type(error).__name__}: {error}). It ended with:\n{last}"
                ) from error

    @cached_property
    def occupied(self) -> int:
        """Occupied bands, from the valences in the pseudopotentials."""
        total = 0.0
        for symbol in self.crystal.lattice.species:
            file = Path(self.pseudo_dir) / self.pseudopotentials[str(symbol)]
            if not file.is_file():
                raise FileNotFoundError(f"There is no pseudopotential {file}. {INSTALL}")
            text = file.read_text(errors="replace")
            found = re.search(r'z_valence\s*=\s*"\s*([\d.Ee+-]+)', text) or re.search(r"([\d.Ee+-]+)\s+Z valence", text)
            if found is None:
                raise ValueError(f"{file} does not tell its valence; it is no pseudopotential in the format UPF.")
            total += float(found[1]) * self.crystal.lattice.n_cells
        if round(total) % 2:
            raise ValueError(f"{self.crystal!r} has {total:g} valence electrons, an odd number: it is a metal.")
        return round(total) // 2

    @cached_property
    def _perfect(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Which states ``(k, band)`` are the edges of the perfect supercell, and its gap."""
        energy = self.energies(torch.zeros(self.crystal.n_atoms, 3, dtype=torch.float64))
        top, bottom = energy[:, : self.occupied].max(), energy[:, self.occupied :].min()
        if bottom - top <= 2 * self.window:
            raise ValueError(f"The perfect supercell is metallic: its gap is {bottom - top:.3f} eV.")
        filled = np.arange(energy.shape[1]) < self.occupied
        valence = filled & (energy >= top - self.window)
        conduction = ~filled & (energy <= bottom + self.window)
        if conduction.sum(1).max() > self.extra:
            raise ValueError(f"The edge has {conduction.sum(1).max()} states at one k point; raise extra above that.")
        return valence, conduction, float(energy[conduction].mean() - energy[valence].mean())

    @property
    def perfect(self) -> float:
        """The gap of the perfect supercell in eV."""
        return self._perfect[2]

    def __call__(self, displacement: Tensor) -> Tensor:
        valence, conduction, _ = self._perfect
        flat = displacement.detach().reshape(-1, self.crystal.n_atoms, 3)
        energies = [self.energies(u) for u in flat]
        gaps = [float(e[conduction].mean() - e[valence].mean()) for e in energies]
        return torch.tensor(gaps, dtype=torch.float64).reshape(displacement.shape[:-2])

    def shift(self, displacement: Tensor) -> Tensor:
        """The gap minus that of the perfect supercell ``(*batch,)``, in eV."""
        return self(displacement) - self.perfect
