"""The fastest solver for a model, by measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import generator, instance, number
from nearsight.solvers.dense import Dense
from nearsight.solvers.kpm._chebyshev_series import Band, FermiSeries
from nearsight.solvers.kpm.chebyshev import MARGIN, Chebyshev
from nearsight.solvers.kpm.error_bars import _noise_bar
from nearsight.solvers.kpm.probing import coloured_vectors, layout
from nearsight.solvers.lanczos import Spectrum, spectrum
from nearsight.solvers.negf._choice import _choose_driven
from nearsight.solvers.negf.reservoirs import Reservoir
from nearsight.solvers.poles.fermi_poles import fermi_poles
from nearsight.solvers.poles.poles import Poles
from nearsight.solvers.products import NumbaProducts, Rows, TorchProducts
from nearsight.solvers.solver import Solver
from nearsight.solvers.sparse import Pattern, SparseMatrix

PROBE = 384
"""Size of the matrices whose eigenproblem and product are timed; longer times follow from the number of operations."""

COLUMNS = 64
"""Vectors that are multiplied at once."""

TRAFFIC = 20
"""How often an elimination reads or writes every number of its fronts, besides multiplying them."""

SHORT = 1.0
"""Seconds that a trial may take; beyond, operations are counted."""

SOLUTIONS = 4
"""How often the poles are solved for one chemical potential at fixed filling."""

PIECE = 1500
"""Orbitals of the piece of the matrix on which the noise of coloured vectors is measured."""

FARTHEST = 30
"""Most hops between two orbitals of one colour."""

MEASURED = 3
"""Distances, in hops, of which the noise is measured."""

SINGLE, SINGLE_POLES = 1e-5, 1e-6
"""Accuracies from which on vectors, and most poles, are in single precision."""


@dataclass(frozen=True)
class Choice:
    """A solver, the seconds each candidate is expected to take for one matrix, and the reason in words.

    ``seconds`` name the candidates Dense, Poles, Chebyshev (by unit vectors) and Coloured (Chebyshev by coloured ones),
    or NEGF and RecursiveNEGF.

    :func:`choose` returns it.
    """

    solver: Solver
    seconds: dict[str, float]
    reason: str

    def __str__(self) -> str:
        return f"{self.solver!r}: {self.reason}"


class _Speed(NamedTuple):
    """What this machine does in a second.

    ``eigenproblem``: n³ of Hermitian matrices diagonalised; ``multiplication``: real operations of matrix products;
    ``memory``: complex numbers read and written; ``product``: products of the sparse matrix with one vector.
    """

    eigenproblem: float
    multiplication: float
    memory: float
    product: float

    @classmethod
    def of(cls, matrix: SparseMatrix, accuracy: float) -> _Speed:
        """Measured, with the precision that an accuracy takes."""
        device, is_complex = matrix.values.device, matrix.values.is_complex()
        square = _probe(torch.complex64 if accuracy >= SINGLE_POLES else torch.complex128, device)
        many = square.repeat(16, 1, 1)
        backend = NumbaProducts if device.type == "cpu" else TorchProducts
        precision = torch.float32 if accuracy >= SINGLE else torch.float64
        work: Any = backend(Rows.of(matrix).rescaled(np.zeros(1), np.ones(1)), precision, False)
        current, previous = (work.vectors(np.full((matrix.size, COLUMNS), 1e-3 + 0j)) for _ in range(2))
        return cls(
            _eigenproblem_speed(torch.complex128 if is_complex else torch.float64, device),
            8 * PROBE**3 / _seconds(lambda: square @ square, device),
            many.numel() / _seconds(many.clone, device),
            COLUMNS / _seconds(lambda: work.step(current, previous, first=True), device),
        )


def choose(
    model: Any,
    field: Tensor,
    *,
    kT: float | None = None,
    filling: float | None = None,
    mu: float | None = None,
    reservoirs: Sequence[Reservoir] = (),
    accuracy: float | None = 1e-6,
    rng: torch.Generator | None = None,
) -> Choice:
    """The solver that takes least time for ``field`` and fields like it ``(site, component)``, on its device.

    Either ``kT`` with ``filling`` or ``mu``, or ``reservoirs``, between which it is :class:`NEGF` or
    :class:`RecursiveNEGF`.

    Operations are counted and divided by the :class:`_Speed` of this machine, measured here: n³ of the eigenproblem for
    :class:`Dense`; for :class:`Poles` those of one elimination times the number of poles, and of solutions that a
    chemical potential takes at fixed filling; moments times vectors for :class:`Chebyshev`. Poles are tried on the
    field itself where that is a matter of a second. How many coloured vectors an accuracy needs is measured on a piece
    of the matrix, since electrons are nearsighted. A few seconds at most, and no dense matrix of the size of the model
    is built. Other users of the machine disturb what is close.

    Parameters
    ----------
    model: any ``Hamiltonian``; what is asked of it is the list of its elements.
    accuracy: largest error of the elements of ρ; of coloured vectors, their root mean square error at 95 % confidence.
        ``None`` wants an exact solver, and so does kT = 0.
    rng: for the phases of coloured vectors, which cost as little as the size of the system times a constant. Without it
        answers with noise are not considered.
    """
    needed = ("rows", "columns", "orbitals", "positions", "cuts", "elements")
    if isinstance(model, type) or not all(hasattr(model, name) for name in needed):
        raise TypeError(f"model must be a Hamiltonian of electrons, an object with {', '.join(needed)}, got {model!r}.")
    accuracy = None if accuracy is None else number(accuracy, "accuracy (None: an exact solver)", above=0, below=1)
    generator(rng, optional=True)
    if instance(field, Tensor, "field").ndim != 2:
        raise ValueError(f"Give one field (site, component) to choose for, got the shape {tuple(field.shape)}.")
    (i, j), n = model.positions, model.orbitals
    matrix = SparseMatrix(Pattern(i, j, n, model.cuts), model.elements(field)).check()
    if not isinstance(reservoirs, Sequence):
        raise TypeError(f"reservoirs must be a sequence of Reservoir, got {reservoirs!r}.")
    if reservoirs:
        if (kT, filling, mu) != (None, None, None):
            raise ValueError("Reservoirs have their own kT and mu: leave kT=, filling= and mu= out.")
        return Choice(*_choose_driven(matrix, tuple(reservoirs), n // len(field), accuracy))
    dense = Dense(kT=kT, filling=filling, mu=mu)  # type: ignore[arg-type]
    kT, filling, mu = dense.kT, dense.filling, dense.mu
    ensemble = {"filling": filling} if filling is not None else {"mu": mu}
    dtype = torch.complex128 if matrix.values.is_complex() else torch.float64
    if accuracy is None or kT == 0:
        why = "at kT = 0 the Fermi function is a step" if kT == 0 else "no error is allowed"
        seconds = {"Dense": n**3 / _eigenproblem_speed(dtype, field.device)}
        return Choice(dense, seconds, f"{why}, so every matrix is diagonalised")
    speed = _Speed.of(matrix, accuracy)
    solvers: dict[str, Solver] = {"Dense": dense}
    seconds, remarks = {"Dense": n**3 / speed.eigenproblem}, {"Dense": ""}
    levels = spectrum(matrix)
    task = _Task(matrix, model.rows, model.columns, kT, float(levels.energy.median()) if mu is None else mu, accuracy)
    try:
        poles, one = task.poles(speed, levels)
        solutions = 1 if filling is None else SOLUTIONS
        solvers["Poles"] = Poles(kT=kT, tol=accuracy, **ensemble)
        seconds["Poles"] = solutions * one
        remarks["Poles"] = f"{poles} poles, {solutions} solution{'s' if solutions > 1 else ''}"
    except ArithmeticError:
        remarks["Poles"] = f"no sum over poles has an error of {accuracy:g}"
    single = {"dtype": torch.float32} if accuracy >= SINGLE else {}
    try:
        moments = task.moments(levels, of_gradient=False)
        solvers["Chebyshev"] = Chebyshev(kT=kT, accuracy=accuracy, **ensemble, **single)  # type: ignore[arg-type]
        seconds["Chebyshev"] = moments * n * task.share / speed.product
        remarks["Chebyshev"] = f"{moments} moments"
        if rng is not None:
            moments = task.moments(levels, of_gradient=True)
            step = 1.5 * moments * task.share / speed.product  # of one vector
            distance, vectors = task.colours(moments, most=min(seconds.values()) / step)
            if vectors < n:
                probes = coloured_vectors(distance)
                solvers["Coloured"] = Chebyshev(
                    kT=kT,
                    accuracy=accuracy,
                    probes=probes,
                    rng=rng,
                    **ensemble,
                    **single,  # type: ignore[arg-type]
                )
                seconds["Coloured"] = step * vectors
                remarks["Coloured"] = f"{vectors} vectors"
    except (ValueError, ArithmeticError):
        remarks["Chebyshev"] = f"too many moments for kT = {kT:g}"
    best = min(seconds, key=seconds.__getitem__)
    words = [
        f"{name} {seconds[name]:.2g} s{f' ({remark})' if remark else ''}" if name in seconds else f"{name}: {remark}"
        for name, remark in remarks.items()
    ]
    return Choice(solvers[best], seconds, f"{', '.join(words)} for {n} orbitals on this machine")


@dataclass(frozen=True)
class _Task:
    """A matrix, what is wanted of it, and how well."""

    matrix: SparseMatrix
    rows: Tensor
    columns: Tensor
    kT: float
    mu: float
    accuracy: float

    @property
    def share(self) -> float:
        """Work for a moment over that of its product: the elements of ρ are summed over the same vectors."""
        return 1 + len(self.rows) / len(self.matrix.pattern.rows)

    def poles(self, speed: _Speed, levels: Spectrum) -> tuple[int, float]:
        """Their number, and the seconds of one solution."""
        below, above = self.mu - float(levels.lowest), float(levels.highest) - self.mu
        count = len(fermi_poles(below / self.kT, above / self.kT, tol=0.5 * self.accuracy).z)
        order = self.matrix.pattern.dissection(self.rows, self.columns)
        seconds = count * (order.flops / speed.multiplication + TRAFFIC * order.elements / speed.memory)
        if seconds < SHORT:
            # Small fronts cost their overhead, which is measured rather than counted.
            trial = Poles(kT=self.kT, mu=self.mu, tol=self.accuracy)
            seconds = _seconds(lambda: trial.solve(self.matrix, self.rows, self.columns), self.matrix.values.device)
        return count, seconds

    def moments(self, levels: Spectrum, *, of_gradient: bool) -> int:
        lowest, highest = (x.reshape(1).cpu().numpy() for x in (levels.lowest, levels.highest))
        series = FermiSeries(Band.around(lowest, highest, margin=MARGIN), self.kT, 5)
        # As Chebyshev does: the larger part of the error is statistical.
        part = 0.25 * self.accuracy
        return series.resolved(part, np.full(1, self.mu), of_gradient=of_gradient, margin=MARGIN).moments

    def colours(self, moments: int, most: float) -> tuple[int, float]:
        """Hops between orbitals of one colour that the accuracy asks for, and how many vectors these are.

        The noise of small distances is measured on a piece, and falls about exponentially. ``most`` are the vectors
        that would be worth it: more are not counted, nor is their noise measured.
        """
        piece, rows, columns = self._piece()
        form = Rows.of(self.matrix).structure
        noise: list[float] = []
        for distance in range(1, FARTHEST):
            vectors = layout(coloured_vectors(distance), form.crow, form.col).vectors
            if vectors >= most:
                break
            if distance <= MEASURED:
                trial = Chebyshev(
                    kT=self.kT,
                    mu=self.mu,
                    moments=moments,
                    probes=coloured_vectors(distance),
                    rng=torch.Generator().manual_seed(0),  # not that of the answers
                    dtype=torch.float32,
                )
                bars = trial.solve(piece, rows, columns).bars
                assert bars is not None
                # The piece stands for a lattice with as many more independent numbers.
                pieces = bars.pieces * (self.matrix.size / piece.size)
                bar = float(_noise_bar(bars.noise, bars.sets, pieces))
                noise.append(math.log(bar))
            else:
                rate = min(0.0, (noise[-1] - noise[0]) / (len(noise) - 1))
                bar = math.exp(noise[-1] + rate * (distance - MEASURED))
            if bar <= 0.75 * self.accuracy:
                return distance, vectors
        return 0, math.inf

    def _piece(self) -> tuple[SparseMatrix, Tensor, Tensor]:
        """The orbitals nearest to one of them, in hops, and what is wanted there."""
        from scipy.sparse import csr_array  # imported when needed: the door of the library stays light
        from scipy.sparse.csgraph import breadth_first_order

        pattern, n = self.matrix.pattern, self.matrix.size
        i, j = pattern.rows.cpu().numpy(), pattern.columns.cpu().numpy()
        graph = csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
        near = breadth_first_order(graph, n // 2, return_predecessors=False)[:PIECE]
        place = torch.full((n,), -1)
        place[torch.from_numpy(near).long()] = torch.arange(len(near))
        inside, wanted = (
            ((place[a.cpu()] >= 0) & (place[b.cpu()] >= 0)).nonzero().squeeze(-1)
            for a, b in ((pattern.rows, pattern.columns), (self.rows, self.columns))
        )
        cut = Pattern(place[pattern.rows.cpu()[inside]], place[pattern.columns.cpu()[inside]], len(near))
        values = self.matrix.values.cpu()[inside]
        return SparseMatrix(cut, values), place[self.rows.cpu()[wanted]], place[self.columns.cpu()[wanted]]


def _eigenproblem_speed(dtype: torch.dtype, device: torch.device) -> float:
    """n³ of Hermitian matrices diagonalised in a second."""
    probe = _probe(dtype, device)
    return PROBE**3 / _seconds(lambda: torch.linalg.eigh(probe), device)


def _probe(dtype: torch.dtype, device: torch.device) -> Tensor:
    probe = torch.randn(PROBE, PROBE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (probe + probe.mT).to(device, dtype)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """The faster of two calls after a first one."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
