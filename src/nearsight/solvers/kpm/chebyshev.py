"""The kernel polynomial method, with the error of every answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, generator, instance, integer, number
from nearsight.solvers.kpm._chebyshev_parts import Estimate, Pairs, Part, Plan, sum_of_blocks
from nearsight.solvers.kpm._chebyshev_recursion import Block, direct, forward, gradient
from nearsight.solvers.kpm._chebyshev_series import KERNELS, Band, FermiSeries, Kernel
from nearsight.solvers.kpm._moment_thermodynamics import MomentThermodynamics
from nearsight.solvers.kpm._noise_modes import element_pieces, independent_pieces, level_pieces
from nearsight.solvers.kpm.error_bars import ChebyshevElectrons, DensityOfStates, ErrorBars, _mean_of_sets, _noise_bar
from nearsight.solvers.kpm.probing import ProbeSet, _Layout, layout, unit_vectors
from nearsight.solvers.lanczos import spectrum
from nearsight.solvers.products import NumbaProducts, Rows, SparseProducts, TorchProducts
from nearsight.solvers.solver import Solver, _check_ensemble, _check_wanted, _no_electrons
from nearsight.solvers.sparse import SparseMatrix

Estimator = Literal["direct", "gradient"]

UNRESOLVED = 0.3
"""A Fermi function that is wrong by more than this somewhere is not the one that was asked for."""

ROWS = 2**18
"""Rows of a block: larger batches of matrices are solved one part after the other."""

ROUNDING = {False: 2.0, True: 4.0}
"""Elements lose at most this times ε √M to rounding, those of a gradient more: the way back repeats the way forth."""

MARGIN = 0.01

ATTEMPTS = 8
"""Probes are enlarged at most this often until the accuracy is reached."""


class Chebyshev(Solver):
    r"""Functions of sparse matrices by Chebyshev recursion (kernel polynomial method), with their errors.

    .. math:: f(H) = \sum_{m=0}^{M-1} g_m c_m T_m\!\left(\frac{H - b}{a}\right), \qquad
              \rho \simeq \left\langle f(H)\, R R^\dagger \right\rangle

    where a, b map the spectrum into (-1, 1), the c_m are those of the Fermi function and R are the probes. The cost is
    M products of H with the vectors of R: quadratic in the size for unit vectors, linear for a fixed number of colours
    or random vectors. For lattices below some 10⁴ orbitals :class:`Poles` is faster at any accuracy worth having.

    Give exactly one of ``filling`` (electrons per orbital and spin copy; forces derive from F) and ``mu`` (from Ω).

    Parameters
    ----------
    kT: temperature of the electrons; 0 needs a ``kernel`` and ``moments``.
    accuracy: root mean square error of the elements of ρ, at 95 % confidence, from which the number of moments follows,
        and that of probes where ``probes`` leave it open. The force -Σ ρ_ba ∂h_ab/∂Φ is off by at most Σ |∂h_ab/∂Φ|
        times the error of an element: ``SDModel.force_error`` for spins.
    moments: their number M, instead of what ``accuracy`` asks for.
    kernel: None, the plain sum, which converges exponentially at kT > 0; ``jackson``, ``lorentz`` or ``fejer``.
    probes: :func:`unit_vectors` (no noise), :func:`coloured_vectors` or :func:`random_vectors`.
    estimator: ``gradient`` of the estimated potential (1.5 products per moment and half a sum over columns for every
        element; conservative for given probes, and errs down to a third as much where colours are far apart) or
        ``direct`` (one of each). Default: direct for unit vectors, which have no noise, gradient for others.
    dtype: precision of the vectors: float64, or float32 at half the cost with errors of 1e-6.
    rng: for the probes, drawn anew in every call.
    margin: part of the bandwidth that is added on either side of what Lanczos finds.
    products: how matrices are multiplied; None: :class:`NumbaProducts` on a processor, :class:`TorchProducts` on a GPU.

    Every answer carries ``error`` and its ``error_kind``, and the parts in ``bars``. Raises ``ValueError`` where the
    moments cannot resolve kT, and ``ArithmeticError`` if a vector grows: a level lies outside the band.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(4))
    >>> asked = model.matrix(torch.zeros(16, 1)), model.rows, model.columns
    >>> found = ns.solvers.Chebyshev(kT=0.3, filling=0.25, accuracy=1e-8).solve(*asked)
    >>> exact = ns.solvers.Dense(kT=0.3, filling=0.25).solve(*asked)
    >>> bool(((found.rho - exact.rho).abs() < found.error).all())  # the error that it states is a bound
    True

    References
    ----------
    A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006); K. Barros, Y. Kato, Phys. Rev. B 88,
    235101 (2013); Z. Wang, G.-W. Chern, C. D. Batista, K. Barros, J. Chem. Phys. 148, 094107 (2018).
    """

    sparse: ClassVar[bool] = True

    def __init__(
        self,
        *,
        kT: float,
        filling: float | None = None,
        mu: float | None = None,
        accuracy: float = 1e-6,
        moments: int | None = None,
        kernel: Kernel | None = None,
        probes: ProbeSet | None = None,
        estimator: Estimator | None = None,
        dtype: torch.dtype = torch.float64,
        rng: torch.Generator | None = None,
        margin: float = MARGIN,
        products: type[SparseProducts] | None = None,
    ) -> None:
        self.kT, self.filling, self.mu = _check_ensemble(kT, filling, mu)
        self.accuracy = number(accuracy, "accuracy (of elements of ρ)", above=0, below=1)
        self.margin = number(margin, "margin (of the bandwidth)", above=0, below=1)
        self.moments = None if moments is None else integer(moments, "moments", least=4)
        choice(kernel, "kernel", (None, *KERNELS))
        choice(estimator, "estimator", (None, "direct", "gradient"))
        self.kernel, self.estimator = kernel, estimator
        self.probes = instance(
            unit_vectors() if probes is None else probes,
            ProbeSet,
            "probes",
            "Use unit_vectors(), coloured_vectors() or random_vectors().",
        )
        self.rng = generator(rng, optional=True)
        if self.kT == 0 and (kernel is None or moments is None):
            raise ValueError("At kT = 0 the series of a step rings: give kernel='jackson' and moments=, or a kT > 0.")
        if kernel is not None and moments is None:
            raise ValueError(
                "A kernel damps every moment, so that accuracy= cannot choose their number; give moments=."
            )
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}.")
        if not self.probes.exact and rng is None:
            raise ValueError("Random probes need rng=torch.Generator().manual_seed(...); unit_vectors() need none.")
        self.gradient = (not self.probes.exact) if estimator is None else estimator == "gradient"
        self.dtype, self.products = dtype, products

    # --- the answer ---------------------------------------------------------------------------------------------------

    def solve(
        self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1
    ) -> ChebyshevElectrons:
        given = _sparse(matrix)
        rows, columns, d = _check_wanted(rows, columns, given.size, degeneracy)
        batch, device = given.values.shape[:-1], given.values.device
        if 0 in batch:
            return ChebyshevElectrons(**vars(_no_electrons(given, rows)))
        pairs = Pairs.of(rows.cpu().numpy(), columns.cpu().numpy(), given.size)
        chunks = given.values.reshape(-1, given.values.shape[-1]).split(max(1, ROWS // given.size))
        parts = [self._solve(SparseMatrix(given.pattern, values), pairs) for values in chunks]

        def out(values: list[np.ndarray]) -> Tensor:
            whole = np.concatenate(values)
            return torch.from_numpy(np.ascontiguousarray(whole)).reshape((*batch, *whole.shape[1:])).to(device)

        mu, number, energy, omega = (out(list(x)) for x in zip(*(p.potentials for p in parts), strict=True))
        number, energy, omega = d * number, d * energy, d * omega
        free = omega + mu * number
        bars = ErrorBars(
            out([p.truncation for p in parts]),
            out([p.mean_truncation for p in parts]),
            max(p.rounding for p in parts),
            out([p.noise for p in parts]),
            d * out([p.potential_noise for p in parts]),
            d * out([p.number_noise for p in parts]),
            d * out([p.energy_noise for p in parts]),
            # Parts that unit vectors solved have no noise, whatever its bar is multiplied by.
            min((p.layout.sets for p in parts if not p.layout.exact), default=1),
            out([p.pieces for p in parts]),
        )
        exact = all(p.layout.exact for p in parts)
        bounded = torch.cat([torch.full((len(p.noise),), p.layout.exact and self.kT > 0) for p in parts])
        bound = bars.truncation + bars.rounding
        return ChebyshevElectrons(
            out([pairs.unfold(p.rho) for p in parts]),
            mu,
            number,
            energy,
            free,
            omega,
            omega if self.filling is None else free,
            error=torch.where(bounded.reshape(batch).to(device), bound, bars.rho()),
            error_kind=("bound" if self.kT > 0 else "rms") if exact else "95 %",
            bars=bars,
            moments=max(p.moments for p in parts),
            probes=max(p.layout.vectors for p in parts),
        )

    def density_of_states(self, matrix: Tensor | SparseMatrix, energies: Tensor) -> DensityOfStates:
        """Levels per unit of energy at ``energies (energy,)``, with the moments and the probes of this solver.

        Damped by ``kernel``, without one by Jackson's: levels are Gaussians of width πa/M, and densities positive.
        """
        given = _sparse(matrix)
        flat = SparseMatrix(given.pattern, given.values.reshape(-1, given.values.shape[-1]))
        nowhere = np.zeros(0, np.int64)
        plan = self._plan(flat, Pairs.of(nowhere, nowhere, given.size))
        plan = plan._replace(series=replace(plan.series, kernel=self.kernel or "jackson"))
        arrangement = layout(self.probes.start(), plan.matrix.structure.crow, plan.matrix.structure.col)
        products = self._products(plan.matrix, plan.series.band, arrangement)
        at = energies.detach().cpu().double().numpy()
        found = [
            MomentThermodynamics(plan.series, moments[:, : plan.series.moments]).density_of_states(at)
            for moments in self._moments(products, arrangement, plan.series.moments // 2)
        ]
        batch, device = given.values.shape[:-1], given.values.device
        mean, error = _mean_of_sets(np.stack(found))
        return DensityOfStates(*(torch.from_numpy(x).reshape((*batch, -1)).to(device) for x in (mean, error)))

    # --- how it is found ----------------------------------------------------------------------------------------------

    def _solve(self, matrix: SparseMatrix, pairs: Pairs) -> Part:
        """The answer for one batch ``(batch,)``; moments and probes left open grow until the accuracy is reached."""
        plan, finer = self._plan(matrix, pairs), 1.0
        crow, col = plan.matrix.structure.crow, plan.matrix.structure.col
        probes = self.probes.start()
        history: list[tuple[int, float]] = []
        for _ in range(ATTEMPTS):
            arrangement = layout(probes, crow, col)
            if self.probes.open and arrangement.vectors >= matrix.size:
                arrangement = layout(unit_vectors(), crow, col)
            part = self._sample(plan, arrangement)
            cut, share = (part.truncation, 1.0) if arrangement.exact else (part.mean_truncation, 0.5)
            excess = float(cut.max()) / (share * self.accuracy)
            if self.moments is None and excess > 1:
                # Few levels near μ turn a small error of their number into a large one of μ; that is known only now.
                finer *= 0.8 / excess
                plan = self._plan(matrix, pairs, finer=finer)
                continue
            bars = _noise_bar(torch.from_numpy(part.noise), arrangement.sets, torch.from_numpy(part.pieces))
            bar = float(bars.max())
            allowed = self.accuracy - float(part.mean_truncation.max()) - part.rounding
            if not self.probes.open or arrangement.exact or bar <= allowed:
                break
            history.append((probes.distance or 0, bar))
            # Where truncation has used up the accuracy, noise is reduced to a tenth of it and no further.
            probes = probes.enlarged(bar / max(allowed, 0.1 * self.accuracy), history)
        return part

    def _plan(self, matrix: SparseMatrix, pairs: Pairs, *, finer: float = 1.0) -> Plan:
        """The band, and the series that is summed on it: ``finer`` than the accuracy asks for by this factor."""
        ends = spectrum(matrix)
        band = Band.around(ends.lowest.cpu().numpy(), ends.highest.cpu().numpy(), margin=self.margin)
        mu = band.centre if self.mu is None else np.full(len(band.centre), self.mu)
        series = FermiSeries(band, self.kT, self.moments or 4, self.kernel).in_pairs()
        if self.moments is None:
            # The larger part of the error is statistical, and at fixed number to the μ of the moments at hand.
            part = 0.25 if self.filling is None else 0.1
            series = series.resolved(part * finer * self.accuracy, mu, of_gradient=self.gradient, margin=self.margin)
        if self.kernel is None:
            wrong = float(np.abs(series.residual(mu, of_gradient=False)).max())
            if wrong > UNRESOLVED:
                enough = series.resolved(1e-3, mu, of_gradient=self.gradient, margin=self.margin).moments
                raise ValueError(
                    f"moments = {self.moments} cannot resolve kT = {self.kT:g} on a band of half width "
                    f"{float(band.halfwidth.max()):.3g}: f would be wrong by {wrong:.2f}. Use moments={enough} for "
                    "errors below 0.001, accuracy= to have them chosen, or a kernel, which smears the Fermi edge."
                )
        return Plan(Rows.of(matrix), pairs, series)

    def _products(self, matrix: Rows, band: Band, arrangement: _Layout) -> SparseProducts:
        real = not matrix.values.is_complex() and arrangement.real
        backend = self.products or (NumbaProducts if matrix.values.device.type == "cpu" else TorchProducts)
        return backend(matrix.rescaled(band.centre, band.halfwidth), self.dtype, real)

    def _rounding(self, series: FermiSeries) -> float:
        return torch.finfo(self.dtype).eps * ROUNDING[self.gradient] * math.sqrt(series.moments)

    def _sample(self, plan: Plan, arrangement: _Layout) -> Part:
        """The mean over all sets of probes, and their spread."""
        matrix, pairs, series = plan
        products = self._products(matrix, series.band, arrangement)
        mu, gap = np.full(matrix.batch, math.nan if self.mu is None else self.mu), np.zeros(matrix.batch)
        if self.filling is not None:
            # One μ for all sets: with one for each, its fluctuation would leave a bias that no spread shows.
            drawn = None if self.rng is None else self.rng.get_state()
            steps = series.moments // 2 if self.gradient else series.moments - 1
            found = self._moments(products, arrangement, steps)
            if self.rng is not None and drawn is not None:
                self.rng.set_state(drawn)  # the same vectors once more
            thermodynamics = MomentThermodynamics(series, np.mean(found, axis=0))
            mu, gap = thermodynamics.chemical_potential(self.filling, self._rounding(series))
        sets = [self._set(plan, products, arrangement, mu) for _ in range(arrangement.sets)]
        all_sets = MomentThermodynamics(series, np.mean([s.moments for s in sets], axis=0))
        truncation = series.truncation(mu, of_gradient=self.gradient, margin=self.margin)
        mean = all_sets.mean_truncation(mu, of_gradient=self.gradient, margin=self.margin)
        mean = np.minimum(mean / math.sqrt(max(1, pairs.asked)), truncation)
        if self.filling is not None:
            shift = all_sets.shift_of_mu(mu, gap)
            truncation, mean = truncation + shift, mean + shift
        deviation, potential, number, energy = self._spread(plan, sets, mu)
        return Part(
            np.mean([s.rho for s in sets], axis=0),
            all_sets.at(mu),
            truncation,
            mean,
            self._rounding(series),
            np.sqrt((np.square(deviation) * pairs.weights).sum(-1) / max(1, pairs.asked)),
            self._pieces(plan, arrangement, all_sets, mu, deviation),
            potential,
            number,
            energy,
            series.moments,
            arrangement,
        )

    def _set(self, plan: Plan, products: SparseProducts, arrangement: _Layout, mu: np.ndarray) -> Estimate:
        """The answer from one set of probes at a chemical potential ``(batch,)``."""
        matrix, pairs, series = plan
        follows = self.filling is not None and self.kT > 0 and not arrangement.exact
        response = series.damped(series.response(mu)) if follows else None
        if self.gradient:
            c = series.damped(series.grand_potential(mu)) / series.band.halfwidth[:, None]
            # Half of the moments resolve ∂f/∂μ well enough for an error bar, and vectors go no further.
            response = None if response is None else response[:, : series.moments // 2 + 1]
        else:
            c = series.damped(series.occupation(mu))
        estimate = gradient if self.gradient else direct
        moments, *elements = self._sum(
            products, arrangement, lambda b: estimate(products, b, c, pairs.i, pairs.j, response)
        )
        if not matrix.values.is_complex():
            elements = [x.real for x in elements]
        return Estimate(moments, *elements)

    def _moments(self, products: SparseProducts, arrangement: _Layout, steps: int) -> list[np.ndarray]:
        """μ_0 ... μ_{2 steps} ``(batch, moment)`` of every set of probes."""
        sets = range(arrangement.sets)
        return [self._sum(products, arrangement, lambda b: forward(products, b, steps)[:1])[0] for _ in sets]

    def _sum(
        self, products: SparseProducts, arrangement: _Layout, work: Callable[[Block], tuple[np.ndarray, ...]]
    ) -> list[np.ndarray]:
        """What ``work`` says of all columns of a set of probes that is drawn now."""
        blocks = Block.all_of(arrangement, arrangement.draw(products.batch, self.rng))
        return [x / arrangement.repeats for x in sum_of_blocks(products, blocks, work)]

    def _spread(self, plan: Plan, sets: list[Estimate], mu: np.ndarray) -> list[np.ndarray]:
        """Standard errors of ρ ``(batch, pair)``, of the potential, the number and the energy from those of the sets.

        At fixed number a set that holds δN too many electrons asks for a μ that is lower by δN / N', and would have
        elements lower by that times ∂ρ/∂μ: its deviation to first order. F is stationary in μ.
        """
        series, rho = plan.series, np.stack([s.rho for s in sets])
        found = (MomentThermodynamics(series, s.moments).at(mu) for s in sets)
        _, number, energy, omega = (np.stack(x) for x in zip(*found, strict=True))
        if self.filling is not None:
            target = self.filling * np.stack([s.moments[:, 0] for s in sets])
            following = [s.following for s in sets if s.following is not None]
            if following:
                total = np.mean([s.moments for s in sets], axis=0)
                response = series.response(mu)

                def summed(coefficients: np.ndarray) -> np.ndarray:
                    return (series.damped(coefficients, total.shape[-1]) * total).sum(-1)

                # One level half filled has this slope; less is rounding in a gap.
                shift = (target - number) / np.maximum(summed(response), 0.25 / self.kT)
                rho = rho + shift[..., None] * np.mean(following, axis=0)
                energy = energy + shift * summed(series.times_energy(response))
            number, omega = target, omega + mu * target
        return [_mean_of_sets(x)[1] for x in (rho, omega, number, energy)]

    def _pieces(
        self, plan: Plan, arrangement: _Layout, found: MomentThermodynamics, mu: np.ndarray, deviation: np.ndarray
    ) -> np.ndarray:
        """Independent numbers that the noise of a set consists of ``(batch,)``."""
        if arrangement.exact:
            return np.ones(plan.matrix.batch)
        pairs, real = plan.pairs, not plan.matrix.values.is_complex()
        energies, weights = found.smooth.levels
        levels = level_pieces(
            energies,
            weights,
            mu,
            self.kT,
            of_gradient=self.gradient,
            real=real,
            unit_modulus=arrangement.phases != "gaussian",
            fixed_number=self.filling is not None,
        )
        elements = element_pieces(deviation, pairs.weights, pairs.i == pairs.j, real, arrangement.sets)
        return independent_pieces(levels, elements)


def _sparse(matrix: Tensor | SparseMatrix) -> SparseMatrix:
    return matrix.check() if isinstance(matrix, SparseMatrix) else SparseMatrix.of(matrix)
