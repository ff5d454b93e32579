"""Walks of particles with an embedded energy, in compiled loops."""

from __future__ import annotations

import numba
import numpy as np
import torch

from nearsight.moves.local_differences import _HopStencil
from nearsight.moves.move_energies import Attempts, MoveEnergies, Walk


class EmbeddedWalk(Walk):
    r"""A replica with the energy of an :class:`~nearsight.networks.EmbeddedNetwork`.

    Kept are the linear features u and the energy of every site, and every energy difference that nothing has touched
    since. A hop changes u at the sites that see one of its ends; a difference costs the pointwise layers there.

    **No rounding accumulates.** The weights w and b are rounded once, to multiples of a power of two so large that u,
    a sum of some of them, has no more binary digits than the type holds. Sums and differences of such numbers are
    exact: after any number of hops u has the bits that it has in a walk that starts from the same field. In single
    precision the rounding of a weight is some 10⁻⁶ of the largest u.
    """

    def __init__(self, energies: MoveEnergies, columns: _HopStencil, field: torch.Tensor) -> None:
        super().__init__(energies, field)
        network, lattice = columns.network, columns.lattice
        order, channels = network.order, network.channels
        dtype = np.dtype(str(network.lift.weight.dtype).removeprefix("torch."))
        offsets, where = columns.own
        with torch.no_grad():
            # Operations first: the sum over them then runs over rows, and the channels of a row fill one instruction.
            own = np.zeros((len(offsets), order, channels))
            spread = network.columns()[:, 0].detach().cpu().double().view(-1, channels, order).transpose(1, 2).numpy()
            np.add.at(own, where, spread)
            bias = network.lift.bias.detach().cpu().double().numpy()  # type: ignore[union-attr]
        quantum = _quantum(np.abs(own).sum(0).max() + np.abs(bias).max(), dtype)
        own, bias = np.rint(own / quantum) * quantum, np.rint(bias / quantum) * quantum
        seen = np.concatenate([own, np.zeros((1, order, channels))])  # the last row: out of sight
        arriving, leaving = columns.seen
        change = seen[arriving] - seen[leaving]
        sizes = [channels]
        weights: list[np.ndarray] = []
        for layer in network.pointwise:
            weight, shift = (t.detach().cpu().double().numpy() for t in (layer.weight, layer.bias))
            # The half of φ and the mean over the operations are part of the weights.
            scale = 0.5 if weights else 0.5 / order
            weights += [scale * weight.T.reshape(-1), shift]
            sizes.append(len(shift))
        self._near = columns.near
        self._shape = np.array(lattice.shape)
        self._model = (
            self._shape,
            self.hops.targets,
            columns.offsets,
            columns.size,
            change.astype(dtype),
            np.array(sizes),
            np.concatenate(weights).astype(dtype),
        )
        self.u = np.empty((lattice.n_sites, order, channels), dtype)
        """Linear features ``(site, operation, channel)``."""
        self.site_energies = np.empty(lattice.n_sites)
        """Energy of every site."""
        self._number = np.full(lattice.n_sites, -1)
        self._number[self.positions] = np.arange(len(self.positions))
        self._known = np.full(len(self.hops), np.nan)
        self._state = (self.occupied, self.positions, self._number, self.u, self.site_energies, self._known)
        _fill(self._shape, self.occupied, offsets, own.astype(dtype), bias.astype(dtype), self.u)
        _site_energies(np.arange(lattice.n_sites), self.u, *self._model[-2:], self.site_energies)

    def difference(self, move: int) -> float:
        return float(_costs(np.array([move]), *self._state, *self._model)[0])

    def differences(self) -> np.ndarray:
        return self.differences_of(np.arange(len(self.hops)))

    def differences_of(self, moves: np.ndarray) -> np.ndarray:
        return _costs(moves, *self._state, *self._model)

    def accept(self, move: int) -> np.ndarray:
        return _accept(move, self._near, *self._state, *self._model)

    def attempt(self, particle: np.ndarray, direction: np.ndarray, threshold: np.ndarray) -> Attempts:
        return Attempts(*_attempt(particle, direction, threshold, self._near, *self._state, *self._model))


def _quantum(bound: float, dtype: np.dtype) -> float:
    """The power of two of which every number up to ``bound`` is a multiple that the type holds exactly."""
    digits = np.finfo(dtype).nmant + 1
    return float(2.0 ** (np.ceil(np.log2(max(bound, 1e-30))) + 1 - digits))


@numba.njit(inline="always")
def _cell(site, shape, cell):
    """Cell coordinates of a site."""
    for axis in range(len(shape) - 1, -1, -1):
        site, cell[axis] = divmod(site, shape[axis])


@numba.njit(inline="always")
def _shifted(cell, offset, shape):
    """The site at an offset, which is not negative, from a cell."""
    site = 0
    for axis in range(len(shape)):
        c = cell[axis] + offset[axis]
        if c >= shape[axis]:
            c -= shape[axis]
        site = site * shape[axis] + c
    return site


@numba.njit(nogil=True)
def _pointwise(u, change, sizes, weights, h, z):
    """Energy of a site with the features ``u + change``; h and z are room for the widest layer.

    Sums run over rows and never across one, so that they vectorise in a fixed order: the result does not depend on
    who calls.
    """
    four = u.dtype.type(4.0)
    channels = sizes[0]
    for c in range(channels):
        z[c] = 0.0
    for g in range(u.shape[0]):
        for c in range(channels):
            x = u[g, c] + change[g, c]
            z[c] += x + np.sqrt(four + x * x)
    start = 0
    for layer in range(len(sizes) - 1):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        bias = start + inputs * outputs
        for w in range(outputs):
            h[w] = weights[bias + w]
        for c in range(inputs):
            factor, row = z[c], start + c * outputs
            for w in range(outputs):
                h[w] += factor * weights[row + w]
        start = bias + outputs
        if layer < len(sizes) - 2:
            for w in range(outputs):
                x = h[w]
                z[w] = x + np.sqrt(four + x * x)
    return h[0]


@numba.njit(nogil=True, cache=True)
def _fill(shape, occupied, offsets, own, bias, u):
    cell = np.empty(len(shape), np.int64)
    u[:] = bias
    for site in range(len(occupied)):
        if occupied[site]:
            _cell(site, shape, cell)
            for place in range(len(offsets)):
                u[_shifted(cell, offsets[place], shape)] += own[place]


@numba.njit(nogil=True, cache=True)
def _site_energies(sites, u, sizes, weights, energies):
    zero = np.zeros_like(u[0])
    h, z = np.empty(sizes.max(), u.dtype), np.empty(sizes.max(), u.dtype)
    for site in sites:
        energies[site] = _pointwise(u[site], zero, sizes, weights, h, z)


@numba.njit(nogil=True)
def _evaluate(move, u, energies, shape, directions, windows, extent, change, sizes, weights, cell, h, z):
    site, d = divmod(move, directions)
    _cell(site, shape, cell)
    delta = 0.0
    for place in range(extent[d]):
        k = _shifted(cell, windows[d, place], shape)
        delta += _pointwise(u[k], change[d, place], sizes, weights, h, z) - energies[k]
    return delta


@numba.njit(inline="always")
def _possible(move, occupied, targets):
    site, d = divmod(move, targets.shape[1])
    return occupied[site] == 1 and targets[site, d] >= 0 and occupied[targets[site, d]] == 0


@numba.njit(nogil=True, cache=True)
def _costs(
    moves, occupied, positions, number, u, energies, known, shape, targets, windows, extent, change, sizes, weights
):
    """ΔE of every one of some moves, from memory where nothing has changed."""
    cell, h, z = np.empty(len(shape), np.int64), np.empty(sizes.max(), u.dtype), np.empty(sizes.max(), u.dtype)
    result = np.full(len(moves), np.inf)
    model = (shape, targets.shape[1], windows, extent, change, sizes, weights, cell, h, z)
    for n, move in enumerate(moves):
        if _possible(move, occupied, targets):
            if np.isnan(known[move]):
                known[move] = _evaluate(move, u, energies, *model)
            result[n] = known[move]
    return result


@numba.njit(nogil=True)
def _hop(
    move, near, occupied, positions, number, u, energies, known, shape, targets, windows, extent, change, sizes,
    weights, cell, h, z, zero,
):  # fmt: skip
    """Make the move; forget the differences of all moves whose windows share a site with its own."""
    directions = targets.shape[1]
    site, d = divmod(move, directions)
    target = targets[site, d]
    occupied[site], occupied[target] = 0, 1
    p = number[site]
    positions[p], number[target], number[site] = target, p, -1
    _cell(site, shape, cell)
    for place in range(extent[d]):
        k = _shifted(cell, windows[d, place], shape)
        u[k] += change[d, place]
        energies[k] = _pointwise(u[k], zero, sizes, weights, h, z)
    for place in range(len(near)):
        first = _shifted(cell, near[place], shape) * directions
        for move in range(first, first + directions):
            known[move] = np.nan


@numba.njit(nogil=True, cache=True)
def _accept(
    move, near, occupied, positions, number, u, energies, known, shape, targets, windows, extent, change, sizes, weights
):
    cell, h, z = np.empty(len(shape), np.int64), np.empty(sizes.max(), u.dtype), np.empty(sizes.max(), u.dtype)
    state = (occupied, positions, number, u, energies, known)
    _hop(move, near, *state, shape, targets, windows, extent, change, sizes, weights, cell, h, z, np.zeros_like(u[0]))
    directions = targets.shape[1]
    changed = np.empty(len(near) * directions, np.int64)
    for place in range(len(near)):
        first = _shifted(cell, near[place], shape) * directions
        for d in range(directions):
            changed[place * directions + d] = first + d
    return changed


@numba.njit(nogil=True, cache=True)
def _attempt(
    particle, direction, threshold, near, occupied, positions, number, u, energies, known, shape, targets, windows,
    extent, change, sizes, weights,
):  # fmt: skip
    cell, h, z = np.empty(len(shape), np.int64), np.empty(sizes.max(), u.dtype), np.empty(sizes.max(), u.dtype)
    zero = np.zeros_like(u[0])
    accepted, difference = np.zeros(len(particle), np.bool_), np.full(len(particle), np.inf)
    model = (shape, targets.shape[1], windows, extent, change, sizes, weights, cell, h, z)
    for n in range(len(particle)):
        move = positions[particle[n]] * targets.shape[1] + direction[n]
        if not _possible(move, occupied, targets):
            continue
        if np.isnan(known[move]):
            known[move] = _evaluate(move, u, energies, *model)
        difference[n] = known[move]
        if known[move] <= threshold[n]:
            state = (occupied, positions, number, u, energies, known)
            _hop(
                move, near, *state, shape, targets, windows, extent, change, sizes, weights, cell, h, z, zero
            )  # fmt: skip
            accepted[n] = True
    return accepted, difference
