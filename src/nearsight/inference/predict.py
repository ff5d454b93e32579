"""What a learned energy says of other sizes and temperatures, with the errors of sampling and of learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight._validation import instance, integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.inference.couplings import LearnedCouplings
from nearsight.inference.entropy import _chain_mean
from nearsight.lattices import Lattice
from nearsight.sampling import Snapshots, sample
from nearsight.sampling.sampler import _order_of_mean, _real_temperatures

BLOCKS = 32
"""Of the jackknife that gives the error of the specific heat."""
LEAST_NODES = 3
"""Temperatures between two of those asked for at which energies are integrated."""
_Pair = tuple[float, float]

QUANTITIES = {
    "energy": ("energy per site", "J"),
    "order": ("order parameter", "1"),
    "specific_heat": ("specific heat per site", "1"),
    "free_energy": ("free energy per site", "J"),
    "entropy": ("entropy per site", "1"),
}


def predict(
    energy: LearnedCouplings | ClassicalModel,
    lattice: Lattice,
    kT: float | Sequence[float] | np.ndarray,
    *,
    snapshots: int = 2000,
    nodes: int = 24,
    seed: int,
    path: str | Path | None = None,
    progress: bool = True,
) -> xr.Dataset:
    r"""Equilibrium of a learned energy on any lattice at any temperatures, by simulation.

    .. math:: U = \langle E \rangle / N, \qquad C = \frac{\langle E^2 \rangle - \langle E \rangle^2}{N (kT)^2}, \qquad
              -\frac{F}{kT} = \ln q - \int_0^{1/kT} U\, d\beta, \qquad S = \frac{U - F}{kT},

    and the order parameter: |m|, or for Potts states the root of Σ_a (x_a - 1/q)² q/(q-1) with the fractions x_a. The
    integral is Gauss's over inverse temperatures from infinite temperature on, where the energy of q^N equally likely
    states needs no reference; energies count from the zero of the learned energy.

    Errors are of two kinds, each given by itself: that of the samples, and, for :class:`LearnedCouplings`, what their
    covariance Σ makes of it, :math:`\sqrt{g^T \Sigma\, g}` with the exact response
    :math:`g_k = \partial \langle O \rangle / \partial J_k = \langle \partial_k O \rangle + \mathrm{cov}(O, \varphi_k)
    / kT`.

    Parameters
    ----------
    energy: couplings learned from observations, or any classical model, which is taken to another lattice by ``on``.
    kT: temperatures, all different.
    snapshots: configurations at every temperature, nearly independent (:func:`~nearsight.sampling.sample`).
    nodes: inverse temperatures at which energies are integrated, about; 0 leaves out F and S, and what they cost.
    seed: whole number >= 0.
    path: a folder where samples are kept and a killed call is gone on with; None keeps them in memory.

    Returns
    -------
    Dataset over ``temperature``, in the order given: ``energy``, ``order``, ``specific_heat``, ``free_energy`` and
    ``entropy``, each with ``..._sampling`` and ``..._learning``, its standard errors.

    Examples
    --------
    >>> import nearsight as ns
    >>> ising = ns.hamiltonians.Ising(ns.lattices.square(4))
    >>> found = ns.inference.predict(ising, ns.lattices.square(6), [2.5, 4.0], snapshots=400, seed=1, progress=False)
    >>> exact = ns.sampling.ising_torus(6, 6, [2.5, 4.0])
    >>> bool((abs(found.free_energy - exact.free_energy) < 5 * found.free_energy_sampling).all())
    True
    """
    instance(energy, (LearnedCouplings, ClassicalModel), "energy", "learn_couplings and distil make some.")
    instance(lattice, Lattice, "lattice")
    integer(snapshots, "snapshots", least=4 * BLOCKS)
    learned = energy if isinstance(energy, LearnedCouplings) else None
    model = energy.model(lattice) if isinstance(energy, LearnedCouplings) else energy.on(lattice)
    asked = np.atleast_1d(_real_temperatures(kT))
    if asked.ndim > 1 or not asked.size or len(np.unique(asked)) < asked.size:
        raise ValueError(f"kT is one temperature or several that all differ, got {asked.tolist()}.")
    inner, weight = _nodes(1 / asked, integer(nodes, "nodes", least=0))
    everywhere = np.unique(np.concatenate([asked, 1 / inner]))
    folder = None if path is None else Path(path)
    found = sample(model, everywhere, snapshots, folder, seed=seed, progress=progress)
    parts = {t: found.select(kT=t) for t in everywhere.tolist()}
    mean = {t: _chain_mean(here.energy / lattice.n_sites, here.chain) for t, here in parts.items()}
    columns: dict[str, list[np.ndarray]] = {}
    for place, t in enumerate(asked.tolist()):
        here = parts[t]
        values = _at(model, here, t, mean[t])
        if nodes:
            u, error = np.array([mean[s] for s in (1 / inner).tolist()]).T
            log_z = np.log(model.n_states) - weight[place] @ u
            spread = np.sqrt((weight[place] ** 2) @ error**2)
            values["free_energy"] = (-t * log_z, t * spread)
            values["entropy"] = (mean[t][0] / t + log_z, float(np.hypot(mean[t][1] / t, spread)))
        response = None if learned is None else _responses(learned, model, here, t)
        for name, (value, sampling) in values.items():
            learning = 0.0 if learned is None else _propagated(learned, response[name])  # type: ignore[index]
            columns.setdefault(name, []).append(np.array([value, sampling, learning]))
    data: dict[str, tuple[str, np.ndarray, dict[str, str]]] = {}
    for name, rows in columns.items():
        value, sampling, learning = np.array(rows).T
        words, unit = QUANTITIES[name]
        off = {"long_name": f"error of the {words}", "units": unit}
        data[name] = ("temperature", value, {"long_name": words, "units": unit})
        data[f"{name}_sampling"] = ("temperature", sampling, off)
        data[f"{name}_learning"] = ("temperature", learning, off)
    return xr.Dataset(data, {"temperature": ("temperature", asked, {"long_name": "temperature", "units": "J"})})


def _nodes(beta: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse temperatures ``(node,)`` and their weights in the integrals from 0 to every β ``(β, node)``."""
    if not nodes:
        return np.zeros(0), np.zeros((len(beta), 0))
    ends = np.concatenate([[0.0], np.sort(beta)])
    inner, weights = [], []
    for low, high in pairwise(ends):
        count = max(LEAST_NODES, round(nodes * (high - low) / ends[-1]))
        x, w = np.polynomial.legendre.leggauss(count)
        inner.append((low + high) / 2 + (high - low) / 2 * x)
        weights.append((high - low) / 2 * w)
    place, weight = np.concatenate(inner), np.concatenate(weights)
    return place, np.where(place < beta[:, None], weight, 0.0)


def _order(model: ClassicalModel, here: Snapshots) -> np.ndarray:
    return np.sqrt(_order_of_mean(model, here.magnetisation))


def _at(model: ClassicalModel, here: Snapshots, t: float, energy: _Pair) -> dict[str, _Pair]:
    def heat(values: np.ndarray) -> float:
        return float(np.var(values) / t**2 / model.lattice.n_sites)

    blocks = np.array_split(here.energy, BLOCKS)
    left_out = np.array([heat(np.concatenate(blocks[:k] + blocks[k + 1 :])) for k in range(BLOCKS)])
    jackknife = float(np.sqrt((BLOCKS - 1) / BLOCKS * ((left_out - left_out.mean()) ** 2).sum()))
    order = _chain_mean(_order(model, here), here.chain)
    return {"energy": energy, "order": order, "specific_heat": (heat(here.energy), jackknife)}


def _responses(learned: LearnedCouplings, model: ClassicalModel, here: Snapshots, t: float) -> dict[str, np.ndarray]:
    """∂⟨O⟩/∂J_k ``(term,)`` of everything that :func:`predict` measures."""
    n, states = model.lattice.n_sites, here.states()
    if model.lattice.coincides(learned.terms.lattice):
        phi = learned.terms.statistics(states).numpy()
    else:  # the energy of one coupling alone
        units = np.eye(len(learned.terms))
        phi = -np.stack([replace(learned, value=one).model(model.lattice).energy(states).numpy() for one in units], -1)
    energy, deviation = here.energy - here.energy.mean(), phi - phi.mean(0)
    free = -phi.mean(0) / n
    inner = free + energy @ deviation / (len(phi) * n * t)
    order = _order(model, here)
    # C = var(E) / N (kT)²: of the variance and of the weights.
    square = energy**2 - (energy**2).mean()
    heat = (-2 * energy @ deviation + square @ deviation / t) / (len(phi) * n * t**2)
    return {
        "energy": inner,
        "order": (order - order.mean()) @ deviation / (len(phi) * t),
        "specific_heat": heat,
        "free_energy": free,
        "entropy": (inner - free) / t,
    }


def _propagated(learned: LearnedCouplings, response: np.ndarray) -> float:
    return float(np.sqrt(response @ learned.covariance @ response))
