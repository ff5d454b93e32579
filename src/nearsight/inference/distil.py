"""From any energy of configurations to a table that is fast, extensive, and can be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean, generator, instance, integer, number
from nearsight.hamiltonians import TileModel
from nearsight.inference._tile_regression import TileRegression
from nearsight.inference.observations import Observations
from nearsight.lattices import Lattice, site_permutations, torus_group
from nearsight.networks import EDNN
from nearsight.storage import tensor_hash
from nearsight.training import Trainer, TrainerOptions
from nearsight.training.trainer import _workspace, minibatch

Energy = Callable[[Tensor], Any]
"""States ``(batch, site)``, int8 → energies ``(batch,)``."""

RIDGES = np.concatenate([[0.0], np.logspace(-7, 0, 22)])
"""Penalties that are tried, relative to the weight of all labels."""
ITERATIONS = 64
"""Dimension of the Krylov space: the normal matrix of random configurations is nearly diagonal."""
MAX_PERMUTED = 6
"""States of which all permutations are averaged."""
LABELLED = 8192
"""Configurations labelled at once."""
COMPARED, IMAGES = 2048, 8
"""Configurations whose labels are compared with those of so many random images."""


@dataclass(frozen=True, eq=False)
class Distilled:
    """A tile model, and how far it is from its labels.

    model: the energy, with mean zero over random states.
    residual: root-mean-square difference of validation labels and the model, both of mean zero.
    label_error: root-mean-square deviation of labels from their mean over the symmetry operations of the lattice and of
        the states, under which the model is invariant and the true energy is believed to be: an error of the labels
        alone. NaN where labels were given as numbers.
    misfit: root-mean-square difference of these means and the model, √(residual² - label_error²): what the tiles cannot
        hold, or the labels have wrong in all images alike.
    ridge: the penalty that was chosen, relative to the number of labels; NaN for a network.
    parameters: number of parameters learned.
    labels: number of labels they were learned from.

    :func:`distil` returns it.
    """

    model: TileModel
    residual: float
    label_error: float
    misfit: float
    ridge: float
    parameters: int
    labels: int

    def __str__(self) -> str:
        return (
            f"{self.model!r} from {self.labels} labels, {self.parameters} parameters: residual {self.residual:.3g} = "
            f"labels {self.label_error:.3g} and misfit {self.misfit:.3g} in quadrature"
        )


def distil(
    energy: Energy | Tensor,
    lattice: Lattice,
    states: Observations | Tensor | None = None,
    *,
    count: int = 960_000,
    weights: Tensor | None = None,
    shape: Sequence[int] = (4, 4),
    stride: Sequence[int] = (2, 2),
    n_states: int = 2,
    symmetric: bool = True,
    internal: bool = True,
    ridge: float | None = None,
    validation: float = 0.1,
    network: EDNN | None = None,
    options: TrainerOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    rng: torch.Generator,
) -> Distilled:
    r"""The tile model closest to an energy, such as E = -kT ln P of an autoregressive model, on given configurations,

    .. math:: \min_{T, c} \sum_i w_i \Big[ \sum_t T[c_t(a_i)] + c - E_i \Big]^2 + \lambda \sum_i w_i\, |\theta|^2 .

    The unknowns θ are the couplings of all clusters in a tile, one for each orbit under translations and the point
    group: unique, and few (4 × 4 tiles at stride 2 hold the energies of all 3 × 3 clusters). The equations are solved
    by Lanczos's method, in 3 s for 10⁶ labels of 8 × 8 sites, for all λ at once; the one with the smallest error of the
    validation labels is taken. On random configurations products of spins are independent, which makes every coupling
    as certain as it can be; configurations at the temperature that was observed weigh what occurs there.

    Parameters
    ----------
    energy: a function of states ``(batch, site)``, or labels ``(configuration,)`` of the given ``states``.
    states: configurations ``(configuration, site)`` or observations of one lattice; None draws ``count`` random ones.
        Of more observations, ``count`` are taken at equal distances.
    weights: w ``(configuration,)``, > 0, for given states; None weighs all alike.
    shape, stride, n_states: as for :class:`~nearsight.hamiltonians.TileModel`.
    symmetric: the energy has the lattice's point group.
    internal: the energy is even under s → -s, for more states invariant under their permutations.
    ridge: λ; None chooses it.
    validation: fraction of the labels for validation.
    network: fit this network with the :class:`~nearsight.training.Trainer` and turn it into a table, instead of least
        squares; its own tiles and symmetry count. ``options``, ``path``, ``resume``, ``progress``: of a fit.

    Examples
    --------
    >>> import torch
    >>> from nearsight.hamiltonians import Ising
    >>> from nearsight.inference import distil
    >>> from nearsight.lattices import square
    >>> ising = Ising(square(6), J=(1.0, 0.2))
    >>> found = distil(ising.energy, square(6), count=2000, rng=torch.Generator().manual_seed(1))
    >>> [round(c.value, 6) for c in found.model.couplings(sites=2)[2:4]]
    [1.0, 0.2]

    References
    ----------
    K. Mills et al., Chem. Sci. 10, 4129 (2019).
    """
    generator(rng)
    validation = number(validation, "validation", above=0, below=1)
    ridges = RIDGES if ridge is None else np.array([number(ridge, "ridge", least=0)])
    boolean(symmetric, "symmetric"), boolean(internal, "internal")
    if network is not None:
        instance(network, EDNN, "network")
        shape, stride, n_states = network.shape, network.stride, network.n_states
    size = integer(n_states, "n_states", least=2, most=127) ** math.prod(shape) if np.ndim(shape) else 0
    blank = TileModel(lattice, np.zeros(size), shape=shape, stride=stride, n_states=n_states)
    if internal and blank.n_states > MAX_PERMUTED:
        raise ValueError(f"{blank.n_states} states have too many permutations to average; pass internal=False.")
    configurations = _configurations(blank, states, integer(count, "count", least=2), rng)
    labels = _labels(energy, configurations, given=states is not None)
    w = _weights(weights, len(labels), given=states is not None)
    order = torch.randperm(len(labels), generator=rng).numpy()
    kept = max(1, round(validation * len(labels)))
    if kept >= len(labels):
        raise ValueError(f"{len(labels)} labels leave nothing to fit with validation={validation:g}; pass more.")
    trained, checked = np.sort(order[kept:]), np.sort(order[:kept])
    if network is None:
        task = TileRegression(blank, symmetric=symmetric, internal=internal)
        codes = task.codes(configurations.numpy())
        found = task.solutions(codes[trained], labels[trained], w[trained], ridges, ITERATIONS)
        errors = [_rms(task.energies(theta, codes[checked]) - labels[checked], w[checked]) for theta in found]
        best = int(np.argmin(errors))
        model, residual, chosen = blank.replaced(table=task.table(found[best])), errors[best], float(ridges[best])
        parameters = task.parameters
    else:
        model = _fit_network(network.on(blank.lattice), configurations, labels, w, trained, checked,
                             options, path, resume, progress)  # fmt: skip
        residual = _rms(model.energy(configurations[checked]).numpy() - labels[checked], w[checked])
        chosen, parameters = math.nan, sum(p.numel() for p in network.parameters())
    spread = math.nan
    if callable(energy):
        spread = _label_error(energy, model, configurations[checked[:COMPARED]], symmetric, internal, rng)
    misfit = math.sqrt(max(residual**2 - spread**2, 0.0)) if math.isfinite(spread) else math.nan
    return Distilled(model, residual, spread, misfit, chosen, parameters, len(trained))


def _configurations(blank: TileModel, states: Any, count: int, rng: torch.Generator) -> Tensor:
    if states is None:
        return blank.random_states(rng, count)
    if isinstance(states, Observations):
        if not states.lattice.coincides(blank.lattice) or states.n_states != blank.n_states:
            raise ValueError(f"{states!r} are no configurations of {blank!r}; pass lattice=observations.lattice.")
        rows = np.unique(np.linspace(0, len(states) - 1, min(count, len(states))).astype(np.int64))
        return states.states(rows)
    states = blank.check_states(states)
    if states.ndim != 2 or len(states) < 2:
        raise ValueError(f"Configurations have shape (configuration, site), two or more, got {tuple(states.shape)}.")
    return states.to(torch.int8).cpu()


@torch.no_grad()  # graphs of all labels would be kept until the last
def _labels(energy: Any, states: Tensor, *, given: bool) -> np.ndarray:
    """Labels ``(configuration,)``, float64, of mean zero."""
    if callable(energy):
        parts = [energy(part) for part in states.split(LABELLED)]
        labels = np.concatenate([np.asarray(torch.as_tensor(x).detach().cpu(), float) for x in parts])
    elif isinstance(energy, Tensor | np.ndarray) and given:
        labels = np.asarray(torch.as_tensor(energy).detach().cpu(), float)
    else:
        raise TypeError("energy must be a function of states (batch, site), or an array of labels of given states.")
    if labels.shape != (len(states),):
        raise ValueError(f"{len(states)} configurations need as many labels, got shape {labels.shape}.")
    if not np.isfinite(labels).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(labels))} labels are not finite: leave their states out.")
    return labels - labels.mean()


def _weights(weights: Any, count: int, *, given: bool) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    if not given:
        raise ValueError("weights belong to given states; random configurations are all alike.")
    w = np.asarray(torch.as_tensor(weights).detach().cpu(), float)
    if w.shape != (count,) or not np.isfinite(w).all() or (w <= 0).any():
        raise ValueError(f"weights hold a finite number > 0 for each of the {count} configurations, got {w.shape}.")
    return w / w.mean()


def _rms(difference: np.ndarray, weight: np.ndarray) -> float:
    mean = np.average(difference, weights=weight)
    return float(np.sqrt(np.average((difference - mean) ** 2, weights=weight)))


@torch.no_grad()
def _label_error(
    energy: Energy, model: TileModel, states: Tensor, symmetric: bool, internal: bool, rng: torch.Generator
) -> float:
    """Root-mean-square deviation of labels from their mean over random images of a state."""
    lattice, q = model.lattice, model.n_states
    group = torus_group(lattice)
    operations = site_permutations(lattice, group) if symmetric else np.arange(lattice.n_sites)[None]
    images = []
    for _ in range(IMAGES):
        g, shift = (int(torch.randint(n, (), generator=rng)) for n in (len(operations), lattice.n_sites))
        moved = lattice.index(lattice.cells + lattice.cells[shift], lattice.sublattice)
        image = states[:, torch.from_numpy(moved[operations[g]])]
        images.append(torch.randperm(q, generator=rng).to(torch.int8)[image.long()] if internal else image)
    labels = np.stack([np.asarray(torch.as_tensor(energy(x)).detach().cpu(), float) for x in images])
    return float(np.sqrt(labels.var(axis=0, ddof=1).mean()))


class _Labels:
    """A network learned from labels, up to a constant."""

    quantity = "rmse"

    def __init__(self, states: Tensor, labels: Tensor, weight: Tensor, parts: tuple[Any, Any], options: TrainerOptions):
        self.states, self.labels, self.weight, self.options = states, labels, weight, options
        self.trained, self.checked = (torch.from_numpy(part) for part in parts)
        self.identity = {"labels": tensor_hash({"states": states, "labels": labels, "trained": self.trained})}

    def batch(self, step: int) -> Tensor:
        chosen = minibatch(step, len(self.trained), self.options.batch_size, [self.options.seed])
        return self.trained[torch.from_numpy(chosen)]

    def loss(self, model: EDNN, batch: Tensor) -> dict[str, Tensor]:
        weight = self.weight[batch]
        difference = model(self.states[batch]) - self.labels[batch]
        mean = (weight * difference).sum() / weight.sum()
        return {"loss": (weight * (difference - mean).square()).sum() / weight.sum() / model.unit**2}

    def validate(self, model: EDNN) -> float:
        difference = model(self.states[self.checked]).double() - self.labels[self.checked]
        return _rms(difference.detach().numpy(), self.weight[self.checked].double().numpy())


def _fit_network(
    network: EDNN, states: Tensor, labels: np.ndarray, weight: np.ndarray, trained: np.ndarray, checked: np.ndarray,
    options: TrainerOptions | None, path: Any, resume: bool, progress: bool,
) -> TileModel:  # fmt: skip
    options = (
        TrainerOptions(steps=1000, optimizer="adamw", batch_size=8000, learning_rate=3e-3, warmup=50)
        if options is None
        else instance(options, TrainerOptions, "options")
    )
    dtype = getattr(torch, options.dtype)
    network.to(dtype)
    network.unit.fill_(float(labels.std()))
    task = _Labels(
        states, torch.from_numpy(labels).to(dtype), torch.from_numpy(weight).to(dtype), (trained, checked), options
    )
    with _workspace(path, options, resume=resume):
        Trainer(network, task, options).run(path, resume=resume, progress=progress)
    return network.model()
