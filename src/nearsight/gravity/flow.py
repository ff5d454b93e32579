"""Posteriors as a neural network: a normalising flow that is told the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import generator, instance, integer, integers
from nearsight.forcefields.model_folder import read_model, write_model
from nearsight.gravity.priors import Prior

CHUNK = 2**14
"""Samples that are drawn at a time, which bounds the memory."""
LARGEST = 8.0
"""Of the normal coordinates: beyond, the unit cube has no more digits in double precision."""


class ResidualEmbedding(nn.Module):
    r"""Data ``(*batch, k)``, shifted and scaled to mean 0 and variance 1, to features ``(*batch, width)`` by blocks
    :math:`h \to h + W_2\, \sigma(W_1\, \sigma(h))` (SiLU), the second matrix zero at first."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.zeros(inputs))
        self.first, self.blocks = nn.Linear(inputs, width), nn.ModuleList()
        for _ in range(blocks):
            last = nn.Linear(width, width)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.blocks.append(nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last))

    @property
    def calibrated(self) -> bool:
        """Whether shift and scale are known."""
        return bool((self.scale > 0).all())

    @torch.no_grad()
    def calibrate(self, data: Tensor) -> None:
        """Take shift and scale from data ``(n, k)``; an entry that never changes keeps scale 1."""
        deviation = data.double().std(0)
        self.shift.copy_(data.double().mean(0))
        self.scale.copy_(torch.where(deviation > 1e-9 * data.double().abs().amax(0), deviation, 1.0))

    def forward(self, data: Tensor) -> Tensor:
        h = self.first((data - self.shift).to(self.first.weight.dtype) / self.scale)
        for block in self.blocks:
            h = h + block(h)
        return F.silu(h)


class PosteriorFlow(Described, nn.Module):
    r"""Posterior q(θ | data) of a neural network, for any data in one pass (neural posterior estimation).

    Parameters become coordinates u of the prior's unit cube and these standard normal ones, :math:`z = \Phi^{-1}(u)`,
    in which the prior is a normal distribution; then

    .. math:: \epsilon = S\big(A(x)\, (z - \mu(x));\, x\big) \sim N(0, 1), \qquad
              \ln q(\theta | x) = \ln N(\epsilon) + \ln\left|\frac{\partial \epsilon}{\partial z}\right|
              - \ln N(z) + \ln p(\theta) ,

    with a triangular matrix A and a shift μ, which make a Gaussian posterior exact, and autoregressive splines S for
    what is left; all depend on the data x through a residual embedding. The untrained flow is the prior. Whatever is
    sampled lies inside the prior, whose density vanishes outside.

    Data are real vectors: what a :class:`Simulator` makes of strains, noise curves and masks. They are shifted and
    scaled in the first layer, as :func:`fit_posterior` finds them. Weights are drawn from ``rng``; without one, from a
    generator seeded with 0. Needs ``nearsight[gw]``.

    Parameters
    ----------
    prior: of the parameters, whose unit cube is the domain.
    inputs: length k of the data.
    transforms, bins, hidden: number of spline layers, bins of a spline, hidden layers of the network of each.
    width, blocks: of the embedding.
    context: how many numbers the splines are told of the data.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import PosteriorFlow, Prior, Uniform
    >>> known = dict(mass_ratio=0.6, chi_1=0.1, chi_2=0.0, inclination=0.4, phase=0.0)
    >>> known |= dict(ra=1.0, dec=-0.5, psi=0.2, time=7.0)
    >>> prior = Prior(dict(chirp_mass=Uniform(8.0, 10.0), distance=Uniform(200, 900)) | known)
    >>> flow = PosteriorFlow(prior, inputs=6, transforms=1, hidden=(8,), width=8, blocks=1, context=4)
    >>> theta, data = prior.sample(5, torch.Generator().manual_seed(1)), torch.arange(12.0).view(2, 6)
    >>> flow.embedding.calibrate(data)
    >>> torch.allclose(flow.log_prob(theta, data[0]), prior.log_density(theta), atol=1e-4)  # untrained, it is the prior
    True

    References
    ----------
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, *Neural spline flows*, NeurIPS (2019); M. Dax et al., Phys. Rev.
    Lett. 127, 241103 (2021).
    """

    _parts: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"prior": Prior.from_config}

    def __init__(
        self,
        prior: Prior,
        inputs: int,
        *,
        transforms: int = 4,
        bins: int = 8,
        hidden: tuple[int, ...] = (96, 96),
        width: int = 192,
        blocks: int = 3,
        context: int = 64,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.prior = instance(prior, Prior, "prior")
        self.inputs = integer(inputs, "inputs", least=1)
        self.transforms = integer(transforms, "transforms", least=1)
        self.bins = integer(bins, "bins", least=2)
        self.hidden = integers(hidden, "hidden", least=1)
        self.width, self.context = integer(width, "width", least=1), integer(context, "context", least=1)
        self.blocks = integer(blocks, "blocks", least=0)
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.dimensions = d = len(prior.names)
        with torch.random.fork_rng(devices=[]):  # zuko and torch draw weights from the global generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
            self.embedding = ResidualEmbedding(self.inputs, self.width, self.blocks)
            self.to_context = nn.Linear(self.width, self.context)
            self.to_affine = nn.Linear(self.width, d + d * (d + 1) // 2)
            self.splines = _splines(d, self.context, self.transforms, self.bins, self.hidden)
        nn.init.zeros_(self.to_affine.weight)
        nn.init.zeros_(self.to_affine.bias)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights; densities are double."""
        return self.to_context.weight.dtype

    def log_prob(self, theta: Tensor, data: Tensor) -> Tensor:
        """ln q(θ | data) ``(*batch,)``, double, of parameters ``(*batch, d)`` and data ``(*batch, k)``; both broadcast.

        -∞ outside of the prior.
        """
        theta, data = self._checked(theta, self.dimensions, "theta"), self._checked(data, self.inputs, "data")
        density = self.prior.log_density(theta)
        inside = torch.isfinite(density)
        z = self.prior.to_normal(theta, LARGEST)
        z = torch.where(inside[..., None], z, torch.zeros_like(z))
        return torch.where(inside, self.log_ratio(z, self._features(data)) + density, -torch.inf)

    def log_ratio(self, z: Tensor, features: Tensor) -> Tensor:
        """ln of the posterior over the prior ``(*batch,)``, of normal coordinates ``(*batch, d)`` and features of the
        data ``(*batch, width)`` (the embedding's)."""
        shift, matrix, log_det = self._affine(features)
        y = torch.einsum("...ij,...j->...i", matrix, z.to(self.dtype) - shift)
        eps, log_slope = self._spline(features, y.shape[:-1]).call_and_ladj(y)
        normal = 0.5 * (z.double().square().sum(-1) - eps.double().square().sum(-1))
        return normal + (log_det + log_slope).double()

    @torch.no_grad()
    def sample(self, n: int, data: Tensor, rng: torch.Generator) -> Tensor:
        """Parameters ``(n, *batch, d)``, double, given data ``(*batch, k)``."""
        n, data = integer(n, "n", least=1), self._checked(data, self.inputs, "data")
        generator(rng)
        batch = data.shape[:-1]
        features, drawn, size = self._features(data), [], max(1, CHUNK // math.prod(batch))
        shift, matrix, _ = self._affine(features)
        for count in [size] * (n // size) + [n % size] * (n % size > 0):
            shape = (count, *batch, self.dimensions)
            eps = torch.randn(shape, generator=rng, dtype=self.dtype, device=rng.device).to(data.device)
            y = self._spline(features, shape[:-1]).inv(eps)
            solved = torch.linalg.solve_triangular(matrix, y[..., None], upper=False)[..., 0]
            z = (solved + shift).double().clamp(-LARGEST, LARGEST)
            drawn.append(self.prior.from_normal(z))
        return torch.cat(drawn)

    def _features(self, data: Tensor) -> Tensor:
        if not self.embedding.calibrated:
            raise ValueError(
                "This flow has never seen data; train it with fit_posterior, or load one that was trained."
            )
        return self.embedding(data)

    def _affine(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """μ ``(*batch, d)``, A ``(*batch, d, d)`` and ln det A ``(*batch,)``."""
        d = self.dimensions
        shift, scale, lower = self.to_affine(features).split((d, d, d * (d - 1) // 2), -1)
        row, column = torch.tril_indices(d, d, -1, device=features.device)
        matrix = torch.eye(d, dtype=lower.dtype, device=lower.device).repeat(*lower.shape[:-1], 1, 1)
        matrix[..., row, column] = lower
        # In units of the row's scale, so that learning a narrow direction does not undo its correlations.
        matrix = matrix * scale.exp()[..., None]
        return shift, matrix, scale.sum(-1)

    def _spline(self, features: Tensor, batch: torch.Size | tuple[int, ...]) -> Any:
        return self.splines(self.to_context(features).expand(*batch, self.context))

    def _checked(self, value: Tensor, length: int, name: str) -> Tensor:
        instance(value, Tensor, name)
        if value.ndim < 1 or value.shape[-1] != length:
            raise ValueError(f"{name} must have {length} entries on the last axis, got {tuple(value.shape)}.")
        return value.double()

    def given(self, data: Tensor) -> Conditioned:
        """The density of one event, whose data are ``(k,)``: a proposal for :func:`importance`."""
        return Conditioned(self, self._checked(data, self.inputs, "data"))

    def save(self, directory: str | Path) -> None:
        """Write ``model.yaml`` and ``weights.safetensors`` to a directory, atomically."""
        write_model(self, self.config(), self.dtype, directory)

    @classmethod
    def load(cls, directory: str | Path) -> PosteriorFlow:
        """The flow that :meth:`save` wrote, bit for bit, in eval mode.

        Raises ``CorruptFileError`` that names a file which is damaged or belongs to another flow.
        """
        return read_model(cls.from_config, directory)


class Conditioned:
    """A flow with the data of one event, without gradients: ``sample(n, rng)`` and ``log_prob(theta)``."""

    def __init__(self, flow: PosteriorFlow, data: Tensor) -> None:
        self.flow, self.data = flow, data

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Parameters ``(n, d)``."""
        return self.flow.sample(n, self.data, rng)

    @torch.no_grad()
    def log_prob(self, theta: Tensor) -> Tensor:
        """ln q(θ | data) ``(n,)``."""
        return torch.cat([self.flow.log_prob(part, self.data) for part in theta.split(CHUNK)])


def _splines(features: int, context: int, transforms: int, bins: int, hidden: tuple[int, ...]) -> nn.Module:
    """Autoregressive spline layers; the order of the features is reversed from one to the next."""
    try:
        from zuko.flows import NSF
    except ImportError as error:
        raise ImportError("Flows of posteriors need zuko; pip install nearsight[gw].") from error
    flow = NSF(features, context, bins=bins, transforms=transforms, hidden_features=hidden, activation=nn.SiLU)
    for layer in flow.transform.transforms:
        last = [module for module in layer.modules() if isinstance(getattr(module, "weight", None), nn.Parameter)][-1]
        nn.init.zeros_(last.weight)  # a spline of zeros is the identity
        nn.init.zeros_(last.bias)
    return flow.transform
