"""Wave vectors of a finite lattice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import xarray as xr

from nearsight.lattices import Lattice
from nearsight.lattices.reduction import reduced, shortest


def reciprocal_vectors(lattice: Lattice) -> np.ndarray:
    """Primitive reciprocal vectors as rows, a_i · b_j = 2π δ_ij, in units of 1/a."""
    return 2.0 * np.pi * np.linalg.inv(lattice.vectors).T


@lru_cache(maxsize=16)
def reduced_vectors(lattice: Lattice) -> np.ndarray:
    """Primitive reciprocal vectors of the same lattice, as short as pairwise reduction makes them."""
    b = reduced(reciprocal_vectors(lattice))
    b.setflags(write=False)
    return b


@lru_cache(maxsize=16)
def wave_vectors(lattice: Lattice) -> np.ndarray:
    """The wave vectors of the lattice ``(*shape, dim)``, k = Σ_j (m_j/L_j) b_j with -L_j/2 <= m_j < L_j/2 ascending.

    They fill the parallelepiped of the b_j centred on Γ, which is the first Brillouin zone of a square lattice and
    holds the same wave vectors up to reciprocal vectors on any other.
    """
    fractions = [np.fft.fftshift(np.fft.fftfreq(n)) for n in lattice.shape]
    grid = np.stack(np.meshgrid(*fractions, indexing="ij"), axis=-1)
    k = grid @ reciprocal_vectors(lattice)
    k.setflags(write=False)
    return k


def distance_to(k: np.ndarray, lattice: Lattice, about: Sequence[float] | None = None) -> np.ndarray:
    """|k - Q| to the nearest image of Q: the smallest |k - Q + G| over reciprocal vectors G; Q = 0 if not given."""
    difference = np.asarray(k, dtype=float) - check_wave_vector(about, lattice)
    return np.linalg.norm(shortest(difference, reduced_vectors(lattice)), axis=-1)


def zone_distance(lattice: Lattice, about: Sequence[float] | None = None) -> np.ndarray:
    """:func:`distance_to` of all wave vectors of the lattice ``shape``, worked out once."""
    return _zone_distance(lattice, tuple(check_wave_vector(about, lattice).tolist()))


@lru_cache(maxsize=8)
def _zone_distance(lattice: Lattice, about: tuple[float, ...]) -> np.ndarray:
    distance = distance_to(wave_vectors(lattice), lattice, about)
    distance.setflags(write=False)
    return distance


def check_wave_vector(Q: Sequence[float] | None, lattice: Lattice) -> np.ndarray:
    """Q as an array of the lattice's dimension; zero if not given."""
    vector = np.zeros(lattice.dim) if Q is None else np.asarray(Q, dtype=float)
    if vector.shape != (lattice.dim,) or not np.isfinite(vector).all():
        raise ValueError(f"A wave vector of {lattice!r} has {lattice.dim} finite components in units of 1/a, got {Q}.")
    return vector


AXES = ("kx", "ky", "kz")


def label_wave_vectors(S: xr.DataArray, k: np.ndarray, dims: tuple[str, ...]) -> xr.DataArray:
    """Coordinates kx, ky, kz over some dimensions, and the fractions h along those named h1, h2, ..."""
    for j, name in enumerate(AXES[: k.shape[-1]]):
        S = S.assign_coords({name: (dims, k[..., j], {"long_name": f"$k_{name[1]}$", "units": "1/a"})})
    for j, name in enumerate(dims):
        if name.startswith("h"):
            fraction = np.fft.fftshift(np.fft.fftfreq(S.sizes[name]))
            S = S.assign_coords({name: (name, fraction, {"long_name": f"$h_{j + 1}$", "units": "1"})})
    return S


def momentum_dims(S: xr.DataArray, lattice: Lattice) -> tuple[str, ...]:
    """The dimensions of S that run over wave vectors, checked against the lattice."""
    for names in (AXES[: lattice.dim], tuple(f"h{j + 1}" for j in range(lattice.dim))):
        if all(name in S.dims for name in names):
            shape = tuple(S.sizes[name] for name in names)
            if shape != lattice.shape:
                raise ValueError(f"S has {shape} wave vectors, {lattice!r} has {lattice.shape}.")
            return names
    raise ValueError(f"S has dimensions {S.dims}; pass the result of structure_factor(field, lattice).")
