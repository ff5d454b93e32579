"""Random numbers inside compiled loops: xoshiro streams whose whole state is an array that can be stored.

Streams are numbered: :func:`stream` derives the state from a seed and any numbers that tell one stream from the others
(temperature, chain, lane), through NumPy's ``SeedSequence``. No thread shares a stream, so that results do not depend
on who works on what, and a stored state continues bit for bit.

References
----------
D. Blackman, S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021) (xoshiro256++ and xoshiro128++).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

U64 = np.uint64
U32 = np.uint32


FILES = sorted({Path(__file__), *Path(__file__).parent.glob("_*.py")})
DIGEST = hashlib.sha256(b"".join(file.read_bytes() for file in FILES)).hexdigest()[:8]


def kernel(function: Callable[..., Any]) -> Any:
    """A loop that draws from the streams below, compiled, and kept compiled on disk.

    Numba compiles a kept function anew when the file it stands in was edited, but not when one was that it calls into
    and has become part of it. So its name, under which it is kept, holds a digest of this file and of the private ones
    beside it.
    """
    function.__qualname__ = f"{function.__qualname__}_{DIGEST}"
    return numba.njit(nogil=True, cache=True)(function)


def stream(seed: int, *number: int, lanes: int = 1, bits: int = 64) -> np.ndarray:
    """States ``(4, lanes)`` of independent generators, of 64-bit (xoshiro256++) or 32-bit words (xoshiro128++)."""
    words = _sequence(seed, number).generate_state(4 * lanes, U64 if bits == 64 else U32)
    return words.reshape(4, lanes)


def generator(seed: int, *number: int) -> np.random.Generator:
    """A generator of NumPy's for what happens outside compiled loops, numbered like the streams."""
    return np.random.default_rng(_sequence(seed, number))


def _sequence(seed: int, number: tuple[int, ...]) -> np.random.SeedSequence:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}.")
    return np.random.SeedSequence(int(seed), spawn_key=tuple(map(int, number)))


@numba.njit(inline="always")
def next64(state):
    """The next 64 random bits of the generator ``state`` (4,)."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    x = a + d
    result = ((x << U64(23)) | (x >> U64(41))) + a
    c ^= a
    d ^= b
    state[1] = b ^ c
    state[0] = a ^ d
    state[2] = c ^ (b << U64(17))
    state[3] = (d << U64(45)) | (d >> U64(19))
    return result


@numba.njit(inline="always")
def uniform(state):
    """Uniform in [0, 1) with 53 bits."""
    return (next64(state) >> U64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(inline="always")
def boltzmann(energy, inverse, state):
    """A state drawn with probability ∝ exp(-inverse · energy); ``energy`` holds running sums of weights afterwards."""
    lowest = energy[0]
    for a in range(1, len(energy)):
        lowest = min(lowest, energy[a])
    total = 0.0
    for a in range(len(energy)):
        total += math.exp(-inverse * (energy[a] - lowest))
        energy[a] = total
    mark = uniform(state) * total
    drawn = 0
    while drawn < len(energy) - 1 and energy[drawn] <= mark:
        drawn += 1
    return drawn


TRIED = 15 / 16
"""Share of the changes that Metropolis's rule, and Wolff's, try at all; the others are skipped.

Metropolis's rule always accepts what costs nothing, and a sweep that tries every site then moves states in which every
change is free through a cycle, for ever. Skipped at random, every single change happens alone with a positive
probability, and nothing happens with another: any state leads to any other, on any lattice, and to itself.
"""


@numba.njit(inline="always")
def below(state, n):
    """A whole number 0..n-1, all equally likely up to n / 2^53."""
    return int(uniform(state) * n)
