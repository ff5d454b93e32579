"""What this machine has."""

import functools
import os

import torch


@functools.cache
def physical_memory() -> int | None:
    """Bytes of memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_dense(orbitals: int, number: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse dense matrices that no memory of this machine holds, before it swaps or the system kills the process.

    Each stays with its eigenvectors, and eigh works on one more of both.
    """
    needed = (2 + 2 * number) * orbitals**2 * dtype.itemsize
    if device.type == "cpu":
        check_memory(
            needed,
            f"Exact diagonalisation of {number} matrices of {orbitals} orbitals",
            "Poles or Chebyshev need none, choose(model, field, ...) finds the faster of them; or solve fewer fields "
            "at a time.",
        )


def check_memory(needed: int, what: str, cure: str) -> None:
    """Refuse what needs more bytes than this machine has, where the system tells."""
    there = physical_memory()
    if there is not None and needed > there:
        raise ValueError(f"{what} needs {needed / 2**30:.2g} GiB, and this machine has {there / 2**30:.2g} GiB. {cure}")
