"""Which filling, temperature and coupling a data set was computed with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from nearsight._validation import instance, integer, number, numbers
from nearsight.fields import tangent
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Hamiltonian
from nearsight.solvers import Dense
from nearsight.training.dataset import DataSet

Range = float | tuple[float, float] | None
"""A number that is known, an interval to search, or None: search where the model may be."""
COLD = 1e-9
"""The temperature that stands for kT = 0: degenerate levels are filled equally."""


@dataclass(frozen=True)
class Identification:
    """What :func:`identify` found; ``print`` shows it as a table."""

    ensemble: str
    """"filling" or "mu": which of the two is the same in all snapshots; "filling" if they cannot be told apart."""
    filling: float
    mu: float
    """Means over the snapshots, of the one that is not fixed."""
    coupling: float
    """J of magnets, g of lattice models."""
    kT: float
    errors: dict[str, float]
    """Standard errors of what was searched, by name, from the scatter of the forces that is left."""
    left: float
    """Rms of exact forces minus those of the data, over the rms of the latter."""
    left_normal: float | None
    """The same of the parts normal to unit spins, which are 2 to 250 times smaller."""
    factor: float
    """The common factor that data need to agree with some exact forces, if no others do: forces = factor × data."""
    others: dict[str, float]
    """``left`` in the other ensemble, and with a free ``factor``."""
    snapshots: int
    name: str = "J"

    @property
    def solver(self) -> Dense:
        """The solver of this ensemble."""
        fixed = {"filling": self.filling} if self.ensemble == "filling" else {"mu": self.mu}
        return Dense(kT=self.kT, **fixed)

    def __str__(self) -> str:
        values = {"filling": self.filling, "mu": self.mu, self.name: self.coupling, "kT": self.kT}
        rows = [f"{'':10s}{'value':>12s}{'error':>12s}"]
        for name, value in values.items():
            error = f"{self.errors[name]:12.2g}" if name in self.errors else f"{'':12s}"
            note = "  the same in all snapshots" if name == self.ensemble else ""
            rows.append(f"{name:10s}{value:12.6g}{error}{note}")
        normal = "" if self.left_normal is None else f", {100 * self.left_normal:.2g} % of their normal parts"
        rows.append(f"Exact forces differ by {100 * self.left:.2g} %{normal}, on {self.snapshots} snapshots.")
        for name, left in self.others.items():
            rows.append(f"With {'a free factor' if name == 'factor' else f'the same {name}'} by {100 * left:.2g} %.")
        if self.factor != 1:
            rows.append(f"These are exact forces if multiplied by {self.factor:.4g}: check the unit and the sign.")
        return "\n".join(rows)


def identify(
    data: DataSet,
    model: Hamiltonian,
    *,
    filling: Range = None,
    mu: Range = None,
    J: Range = None,
    kT: Range = None,
    snapshots: int = 3,
) -> Identification:
    r"""The filling or μ, the coupling and kT for which exact forces of a model agree best with those of a data set.

    One diagonalisation of a snapshot gives its forces at every filling and temperature,

    .. math:: F_k = -\sum_n f\!\left(\frac{\epsilon_n - \mu}{kT}\right) \langle n | \partial_k h | n \rangle ,

    so that only the coupling needs new ones: nine of the first snapshot on a grid, then some twenty of each while the
    sum of squares is minimised over all that is free (least squares in filling or μ, ln J and ln kT, with the standard
    errors that follow). Both ensembles are tried unless one is given. If forces agree only after a common factor, such
    as ½ for σ/2 in place of σ or -1 for gradients, the result says so.

    Parameters
    ----------
    data: fields and forces; of unit spins also torques turned into fields, which then are compared alone.
    model: on the lattice of the data; its hopping and classical energy are taken as they are.
    filling, mu, J, kT: a number that is known, an interval (low, high) to search, or None for a wide one. J is the
        coupling to the field, g of the Holstein and Jahn-Teller models; None searches from a quarter to four times that
        of the model. One of filling and mu alone may be given. kT is searched from 0.002 to 0.5.
    snapshots: how many are looked at, spread evenly over the data.

    Cost: an ``eigh`` each, O(n³): with J known one a snapshot, 20 s on 30 × 30 spins and one core; some forty if J is
    searched.
    """
    instance(data, DataSet, "data")
    if data.weight is not None:
        raise ValueError("Forces on all sites are compared here, and some of these have weight 0: leave such data out.")
    instance(model, Hamiltonian, "model", "Give the Hamiltonian, such as hamiltonians.double_exchange(lattice).")
    if not model.lattice.coincides(data.lattice) or model.components != data.components:
        raise ValueError(f"The model {model!r} has another lattice or field than the data, {data!r}.")
    if filling is not None and mu is not None:
        raise ValueError("Give filling= or mu=, not both: at fixed filling μ changes from snapshot to snapshot.")
    count = min(integer(snapshots, "snapshots", least=1), len(data))
    name, own = _coupling(model)
    if own is None and J is not None:
        raise ValueError(f"{model!r} has no coupling J or g that could be searched; leave J out.")
    ranges = {
        "filling": _range(filling, "filling", (0.01, 0.99), above=0, below=1),
        "mu": _range(mu, "mu", (-math.inf, math.inf)),
        name: _range(J, name, (1.0, 1.0) if own is None else (own / 4, 4 * own), above=0),
        "kT": _range(kT, "kT", (0.002, 0.5), least=0),
    }
    part = data.take(np.arange(0, len(data), max(1, len(data) // count))[:count])
    search = _Search(model, part, own, ranges, name)
    ensembles = ["mu"] if mu is not None else ["filling"] if filling is not None else ["filling", "mu"]
    start, start_scaled = search.scan(ensembles[0])
    fits = {ensemble: search.refine(ensemble, start, free_factor=False) for ensemble in ensembles}
    best = min(fits, key=lambda e: fits[e].left * (1 if e == ensembles[0] else 1.001))
    scaled = search.refine(best, start_scaled, free_factor=True)
    others = {e: f.left for e, f in fits.items() if e != best}
    chosen = fits[best]
    if scaled.left < 0.5 * chosen.left and abs(scaled.factor - 1) > 0.02:
        others, chosen = {}, scaled
    else:
        others["factor"] = scaled.left
    return search.result(best, chosen, others)


def _coupling(model: Hamiltonian) -> tuple[str, float | None]:
    """The name and size of what multiplies the coupling to the field; its sign gives no other fields."""
    for name in ("J", "g"):
        if isinstance(value := getattr(model, name, None), float) and value:
            return name, abs(value)
    return "coupling", None


def _range(given: Range, name: str, default: tuple[float, float], **bounds: Any) -> tuple[float, float]:
    """An interval; the two ends of a number that is known are equal."""
    if given is None:
        return default
    if isinstance(given, tuple | list):
        low, high = numbers(given, name, length=2, **bounds)
        if not low < high:
            raise ValueError(f"{name} is searched between (low, high), got ({low:g}, {high:g}).")
        return low, high
    value = number(given, name, **bounds)
    return value, value


@dataclass(frozen=True)
class _Fit:
    values: dict[str, float]
    errors: dict[str, float]
    left: float
    factor: float


class _Search:
    """Forces of a few snapshots at any filling, μ, temperature and coupling."""

    def __init__(
        self, model: Hamiltonian, data: DataSet, own: float | None, ranges: dict[str, tuple[float, float]], name: str
    ) -> None:
        self.model, self.ranges, self.name = model, ranges, name
        self.own = 1.0 if own is None else own
        self.fields = data.field
        self.target = data.force - ClassicalForceField(model)(data.field).force
        unit = model.field_type.values == "unit"
        along = (self.target * self.fields).sum(-1) if unit else torch.ones(1)
        self.unit, self.tangent = unit, unit and float(along.norm()) < 1e-6 * float(self.target.norm())
        self.size = float(self.target.norm())
        if not self.size:
            raise ValueError(
                "The forces of the data vanish beside the classical part of the model: nothing to compare."
            )
        self.levels = lru_cache(maxsize=4 * len(data))(self._levels)

    def _levels(self, snapshot: int, coupling: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels, the force of each when it is occupied ``(component, level)``, and that of none ``(component,)``."""
        model, field = self.model, self.fields[snapshot]
        strength = coupling / self.own
        matrix = model.constant + strength * (model.matrix(field) - model.constant)
        eps, psi = torch.linalg.eigh(matrix)
        rho = (psi[model.rows] * psi[model.columns].conj()).T  # (level, element)
        with torch.enable_grad():
            leaf = field.expand(len(eps), -1, -1).clone().requires_grad_()
            h = model.coupling(leaf)
            bound = (h * rho.conj()).real if rho.is_complex() or h.is_complex() else h * rho
            (slopes,) = torch.autograd.grad(bound.sum(), leaf)
            one = field.clone().requires_grad_()
            (background,) = torch.autograd.grad(model.background_energy(one), one)
        slopes, background = -strength * model.degeneracy * slopes, -strength * background
        return eps.numpy(), self._seen(slopes, snapshot).flatten(1).T.numpy(), self._seen(background, snapshot).numpy()

    def _seen(self, force: Tensor, snapshot: int) -> Tensor:
        """What is compared: all of the force, or for torques its normal part."""
        return tangent(force, self.fields[snapshot]) if self.tangent else force

    def forces(self, snapshot: int, ensemble: str, values: dict[str, float]) -> tuple[np.ndarray, float, float]:
        """Force ``(component,)``, filling and μ of one snapshot."""
        eps, slopes, background = self.levels(snapshot, values[self.name])
        kT = max(values["kT"], COLD)
        number = np.array([values["filling"]])
        mu = values["mu"] if ensemble == "mu" else float(_chemical_potential(eps, number, kT)[0])
        occupation = _fermi(eps, mu, kT)
        return slopes @ occupation + background.ravel(), float(occupation.mean()), mu

    def residual(self, ensemble: str, values: dict[str, float], free_factor: bool) -> tuple[np.ndarray, float]:
        """Differences relative to the forces of the data, and the factor that data were multiplied with."""
        x = np.concatenate([self.forces(k, ensemble, values)[0] for k in range(len(self.fields))])
        y = self.target.numpy().ravel()
        factor = float(x @ y) / max(float(y @ y), 1e-300) if free_factor else 1.0
        size = self.size if not free_factor else max(float(np.linalg.norm(x)), 1e-300)
        return (x - factor * y) / size, factor

    def scan(self, ensemble: str) -> tuple[dict[str, float], dict[str, float]]:
        """The best points of a grid, without and with a free factor, by the first snapshot alone."""
        (low, high), (cold, hot) = self.ranges[self.name], self.ranges["kT"]
        temperatures = np.geomspace(max(cold, COLD), hot, 6) if hot > cold else np.array([max(cold, COLD)])
        y = self.target[0].numpy().ravel()
        lowest, found = [math.inf, math.inf], [dict[str, float](), dict[str, float]()]
        for coupling in np.geomspace(low, high, 9 if high > low else 1):
            eps, slopes, background = self.levels(0, float(coupling))
            for kT in temperatures:
                filling, mu = self._fillings(ensemble, eps, kT)
                x = _fermi(eps, mu[:, None], kT) @ slopes.T + background.ravel()
                plain = np.linalg.norm(x - y, axis=1) / np.linalg.norm(y)
                cosine = (x @ y) / np.linalg.norm(y) / np.maximum(np.linalg.norm(x, axis=1), 1e-300)
                for k, left in enumerate((plain, np.sqrt(np.maximum(1 - cosine**2, 0.0)))):
                    # Where a particle-hole symmetry makes two fillings the same, the lower is named.
                    best = int(np.argmax(left <= left.min() * (1 + 1e-6) + 1e-9))
                    if left[best] < lowest[k]:
                        lowest[k] = float(left[best])
                        point = {"filling": filling[best], "mu": mu[best], self.name: coupling, "kT": kT}
                        found[k] = {name: float(value) for name, value in point.items()}
        return found[0], found[1]

    def _fillings(self, ensemble: str, eps: np.ndarray, kT: float) -> tuple[np.ndarray, np.ndarray]:
        """Fillings and chemical potentials of the grid."""
        low, high = self.ranges[ensemble]
        count = 41 if low < high else 1
        if ensemble == "mu" and math.isfinite(low):
            mu = np.linspace(low, high, count)
            return _fermi(eps, mu[:, None], kT).mean(1), mu
        filling = np.linspace(*((0.01, 0.99) if ensemble == "mu" else (low, high)), count)
        return filling, _chemical_potential(eps, filling, kT)

    def refine(self, ensemble: str, start: dict[str, float], *, free_factor: bool) -> _Fit:
        """Least squares from a point of the grid, in the logarithms of J and kT."""
        logarithmic = (self.name, "kT")
        free = [n for n in (ensemble, *logarithmic) if self.ranges[n][0] < self.ranges[n][1]]

        def inside(name: str, value: float) -> float:
            return math.log(max(value, COLD)) if name in logarithmic else value

        def values(x: np.ndarray) -> dict[str, float]:
            moved = {n: math.exp(v) if n in logarithmic else float(v) for n, v in zip(free, x, strict=True)}
            return {**start, **moved}

        def function(x: np.ndarray) -> np.ndarray:
            return self.residual(ensemble, values(x), free_factor)[0]

        if not free:
            rest, factor = self.residual(ensemble, start, free_factor)
            return _Fit(start, {}, float(np.linalg.norm(rest)), factor)
        bounds = [[inside(n, self.ranges[n][k]) for n in free] for k in (0, 1)]
        x0 = np.clip([inside(n, start[n]) for n in free], *(np.array(bounds) + np.array([[1e-9], [-1e-9]])))
        found = least_squares(function, x0, bounds=bounds, xtol=1e-10, ftol=1e-12, gtol=1e-14, max_nfev=40)
        variance = 2 * found.cost / max(1, found.fun.size - len(free))
        errors = np.sqrt(variance * np.diag(np.linalg.pinv(found.jac.T @ found.jac)))
        best = values(found.x)
        scatter = {n: float(e) * (best[n] if n in logarithmic else 1) for n, e in zip(free, errors, strict=True)}
        rest, factor = self.residual(ensemble, best, free_factor)
        return _Fit(best, scatter, float(np.linalg.norm(rest)), factor)

    def result(self, ensemble: str, fit: _Fit, others: dict[str, float]) -> Identification:
        solved = [self.forces(k, ensemble, fit.values) for k in range(len(self.fields))]
        normal = None
        if self.unit and not self.tangent:
            S = self.fields
            parts = [torch.from_numpy(np.stack([x[0] for x in solved])).reshape(S.shape), fit.factor * self.target]
            exact, given = (tangent(x, S) for x in parts)
            normal = float((exact - given).norm() / given.norm())
        return Identification(
            ensemble=ensemble,
            filling=fit.values["filling"] if ensemble == "filling" else float(np.mean([x[1] for x in solved])),
            mu=fit.values["mu"] if ensemble == "mu" else float(np.mean([x[2] for x in solved])),
            coupling=math.copysign(fit.values[self.name], getattr(self.model, self.name, 1.0)),
            kT=fit.values["kT"],
            errors=fit.errors,
            left=fit.left,
            left_normal=normal,
            factor=fit.factor,
            others=others,
            snapshots=len(solved),
            name=self.name,
        )


def _fermi(eps: np.ndarray, mu: float | np.ndarray, kT: float) -> np.ndarray:
    return 0.5 * (1 - np.tanh(0.5 * (eps - mu) / kT))


def _chemical_potential(eps: np.ndarray, filling: np.ndarray, kT: float) -> np.ndarray:
    """μ of mean occupations ``(filling,)``, by bisection: the occupation grows with μ."""
    width = kT * (40 + np.abs(np.log(filling / (1 - filling))))
    low, high = eps[0] - width, eps[-1] + width
    for _ in range(80):
        mu = 0.5 * (low + high)
        few = _fermi(eps, mu[:, None], kT).mean(1) < filling
        low, high = np.where(few, mu, low), np.where(few, high, mu)
    return 0.5 * (low + high)
