"""What this machine has, and how fast it is."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import time

import torch
from packaging.requirements import Requirement
from rich.console import Console

import nearsight
from nearsight._machine import physical_memory
from nearsight.parallel import cores

OPTIONAL = {
    "tensorboard": "training curves while a fit runs",
    "distributed": "workers of a Dask cluster, --scheduler",
    "dask-jobqueue": "workers from SLURM, --slurm",
    "zuko": "posteriors of gravitational waves",
    "dynesty": "checking such posteriors by nested sampling",
    "mkdocs-material": "building the documentation",
    "pytest": "running the tests",
    "ase": "structures and calculators of crystals",
    "phonopy": "phonons of crystals from any of these calculators",
    "spglib": "checking groups against a second source",
}
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}
"""Modules of packages that have other names than these."""


def examine(console: Console) -> bool:
    """Print the state of the installation and of the machine; False if the installation lacks something it needs."""
    sound = True

    def say(key: str, value: object) -> None:
        console.print(f"{key:<16} {value}", highlight=False, markup=False)

    say("nearsight", nearsight.__version__)
    say("python", f"{platform.python_version()} on {platform.platform()}")
    for requirement in requirements():
        fault = what_is_wrong(requirement)
        sound &= fault is None
        say(requirement.name, fault or version(requirement.name))
    say("cores", f"{cores()} usable, torch uses {torch.get_num_threads()} threads")
    memory = physical_memory()
    say("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB")
    say("disk here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            say(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    else:
        say("cuda", "no device; everything runs on the CPU")
    for package, purpose in OPTIONAL.items():
        say(package, version(package) or f"not installed (only for {purpose})")
    for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
        for dtype in (torch.float64, torch.float32):
            name = str(dtype).removeprefix("torch.")
            say("matmul", f"{gemm(device, dtype):.0f} GFlop/s in {name} on {device}")
    say("eigh 900", f"{diagonalisation():.2f} s for one exact solution of a 30 × 30 lattice")
    if not sound:
        say("installation", "NOT SOUND: see the lines that say MISSING, TOO OLD or BROKEN above")
    return sound


def requirements() -> list[Requirement]:
    """What nearsight needs to run on this machine, as its metadata declare it; extras are left out."""
    found = [Requirement(text) for text in importlib.metadata.requires("nearsight") or []]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def what_is_wrong(requirement: Requirement) -> str | None:
    """Why a required package cannot be used, with the command that mends it; None if it can be imported."""
    name, installed = requirement.name, version(requirement.name)
    cure = f"pip install '{name}{requirement.specifier}'"
    if installed is None:
        return f"MISSING: {cure}"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"TOO OLD ({installed}): {cure}"
    try:
        importlib.import_module(MODULES.get(name, name))
    except Exception as error:  # an extension built for another machine can raise anything
        return f"BROKEN ({installed}; {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def gemm(device: str, dtype: torch.dtype, n: int = 1024) -> float:
    """Speed of a matrix product in units of 10⁹ floating-point operations per second, the best of three."""
    a = torch.full((n, n), 0.5, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def diagonalisation(n: int = 900) -> float:
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = time.perf_counter()
    torch.linalg.eigh(matrix + matrix.T)
    return time.perf_counter() - start
