"""Mixtures of Student's t distributions that follow a posterior, in coordinates in which the prior is normal."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nearsight.gravity.priors import Prior

FREEDOM = 6.0
"""Degrees of freedom: tails heavier than those of a posterior keep weights bounded."""
TOO_FAR = 7.0
"""Normal coordinates beyond are not told from the end of the prior in double precision."""


def to_normal(prior: Prior, theta: Tensor) -> Tensor:
    """z = Φ⁻¹(u) of the coordinates u in the unit cube, standard normal under the prior."""
    return prior.to_normal(theta, TOO_FAR)


def from_normal(prior: Prior, z: Tensor) -> Tensor:
    """θ of normal coordinates."""
    return prior.from_normal(z.clamp(-TOO_FAR, TOO_FAR))


@dataclass(frozen=True, eq=False)
class Shear:
    r"""Coordinates :math:`y_k = z_k - P_k(u_1, \dots, u_{k-1})`, with polynomials P in coordinates u = Φ(z) of the unit
    cube, in some order of the parameters.

    A thin curved sheet becomes flat, and the volume is what it was; u stays finite where the prior ends.
    """

    order: tuple[int, ...]
    degree: int
    low: Tensor
    high: Tensor
    coefficients: tuple[Tensor, ...]

    def to_flat(self, z: Tensor) -> Tensor:
        """y of z ``(n, parameter)``."""
        y = z.clone()
        for k in range(len(self.order)):
            y[:, self.order[k]] -= self._polynomial(z, k)
        return y

    def from_flat(self, y: Tensor) -> Tensor:
        """z of y ``(n, parameter)``."""
        z = y.clone()
        for k in range(len(self.order)):
            z[:, self.order[k]] += self._polynomial(z, k)
        return z

    def _polynomial(self, z: Tensor, k: int) -> Tensor:
        return monomials(z, self.order[:k], self.degree, self.low, self.high) @ self.coefficients[k]


def monomials(z: Tensor, which: tuple[int, ...], degree: int, low: Tensor, high: Tensor) -> Tensor:
    """All products of up to ``degree`` of some u, scaled to [-1, 1] between ``low`` and ``high`` ``(n, monomial)``."""
    x = (2 * torch.special.ndtr(z) - low - high) / (high - low)
    found = [torch.ones_like(z[:, 0])]
    for d in range(1, degree + 1):
        found += [x[:, list(c)].prod(-1) for c in itertools.combinations_with_replacement(which, d)]
    return torch.stack(found, -1)


def fit_shear(z: Tensor, weights: Tensor) -> Shear:
    """The shear by least squares from weighted points; what is determined best by the others comes last."""
    d, effective = z.shape[1], float(weights.sum().square() / weights.square().sum())
    degree = max((k for k in (1, 2, 3, 4, 5) if effective > 15 * math.comb(d - 1 + k, k)), default=0)
    root, unit = (weights / weights.sum()).sqrt()[:, None], torch.special.ndtr(z[weights > 0])
    low = unit.amin(0)
    high = torch.maximum(unit.amax(0), low + 1e-9)
    left, order, found = list(range(d)), [], []
    while left:
        tried = []
        for k in left:
            rest = tuple(j for j in left if j != k)
            features = monomials(z, rest, degree, low, high)
            # Normal equations: the usual driver of least squares does not repeat its last bits.
            matrix = (root * features).T @ (root * features)
            matrix = matrix + 1e-11 * torch.eye(len(matrix), dtype=z.dtype)
            solved = torch.linalg.solve(matrix, (root * features).T @ (root[:, 0] * z[:, k]))
            mean = (root[:, 0] ** 2) @ z[:, k]
            shares = [((root[:, 0] * (z[:, k] - x)) ** 2).sum() for x in (features @ solved, mean)]
            tried.append((float(shares[0] / shares[1].clamp(min=1e-300)), k, rest, solved))
        _, k, rest, solved = min(tried, key=lambda one: one[0])
        left.remove(k)
        order.append(k)
        found.append((rest, solved))
    # Monomials are made in the order in which the parameters come: sort those of the fit into it.
    order = order[::-1]
    coefficients = []
    for place, (rest, solved) in enumerate(reversed(found)):
        combined = [c for n in range(degree + 1) for c in itertools.combinations_with_replacement(rest, n)]
        named = {tuple(sorted(c)): value for c, value in zip(combined, solved, strict=True)}
        wanted = [c for n in range(degree + 1) for c in itertools.combinations_with_replacement(order[:place], n)]
        coefficients.append(torch.stack([named[tuple(sorted(c))] for c in wanted]))
    return Shear(tuple(order), degree, low, high, tuple(coefficients))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A proposal: a mixture in sheared normal coordinates, seen as a density of θ, which :func:`refine` fits."""

    prior: Prior
    shear: Shear
    shares: Tensor
    """``(component,)``, sum one."""
    means: Tensor
    """``(component, parameter)``."""
    factors: Tensor
    """Lower triangular square roots of the scale matrices ``(component, parameter, parameter)``."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """θ ``(n, parameter)``."""
        d = self.means.shape[1]
        which = torch.multinomial(self.shares, n, replacement=True, generator=rng)
        normal = torch.randn(n, d, generator=rng, dtype=self.means.dtype)
        squares = torch.randn(n, int(FREEDOM), generator=rng, dtype=self.means.dtype).square().mean(-1, keepdim=True)
        y = self.means[which] + (self.factors[which] @ (normal / squares.sqrt())[..., None])[..., 0]
        return from_normal(self.prior, self.shear.from_flat(y))

    def log_prob(self, theta: Tensor) -> Tensor:
        """ln q(θ) ``(n,)``, -inf outside of the prior."""
        density = self.prior.log_density(theta)
        inside = density.isfinite()
        unit = torch.full_like(theta, 0.5)
        unit[inside] = self.prior.to_unit(theta[inside])
        z = torch.special.ndtri(unit)
        inside = inside & (z.abs() < TOO_FAR).all(-1)
        z = torch.where(inside[:, None], z, 0.0)
        normal = -z.square().sum(-1) / 2 - z.shape[-1] / 2 * math.log(2 * math.pi)
        found = torch.logsumexp(self.log_terms(self.shear.to_flat(z)), -1)
        return torch.where(inside, found - normal + density, -math.inf)

    def log_terms(self, y: Tensor) -> Tensor:
        """ln of share times density at sheared coordinates ``(n, component)``."""
        d, nu = y.shape[-1], FREEDOM
        norm = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
        volume = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return self.shares.log() + norm - volume - (nu + d) / 2 * torch.log1p(self.distances(y) / nu)

    def distances(self, y: Tensor) -> Tensor:
        """Squared Mahalanobis distances ``(n, component)``."""
        shift = (y[:, None] - self.means).permute(1, 2, 0)
        return torch.linalg.solve_triangular(self.factors, shift, upper=False).square().sum(1).T


def fit_mixture(
    prior: Prior, z: Tensor, weights: Tensor, components: int, rng: torch.Generator, *, steps: int = 30
) -> Mixture:
    """A mixture by expectation and maximisation from weighted points z ``(n, parameter)``. Against what the fit misses,
    30 % of it has twice the widths of the components, and 5 % twice those of all points together."""
    d, weights = z.shape[1], weights / weights.sum()
    shear = fit_shear(z, weights)
    y = shear.to_flat(z)
    mean = weights @ y
    whole = ((y - mean).T * weights) @ (y - mean)
    whole = whole + 1e-9 * torch.diag(whole.diagonal().clamp(min=1e-12))
    effective = 1 / float(weights.square().sum())
    components = max(1, min(components, int(effective / (8 * d))))
    centres = y[torch.multinomial(weights, components, replacement=True, generator=rng)]
    factor, size = torch.linalg.cholesky(whole), components ** (-1 / d)
    shares = torch.full((components,), 1 / components, dtype=y.dtype)
    fit = Mixture(prior, shear, shares, centres, size * factor.expand(components, d, d).contiguous())
    for _ in range(steps):
        terms = fit.log_terms(y)
        parts = torch.softmax(terms, -1) * weights[:, None]
        pulled = parts * (FREEDOM + d) / (FREEDOM + fit.distances(y))
        shares = parts.sum(0)
        means = (pulled.T @ y) / pulled.sum(0)[:, None].clamp(min=1e-300)
        shift = y[:, None] - means
        scatter = torch.einsum("nk,nki,nkj->kij", pulled, shift, shift)
        # As if 2 d more points of the shape of the whole had been seen: no component shrinks to a point.
        extra = 2 * d / effective
        matrices = (scatter + extra * size**2 * whole) / (shares + extra)[:, None, None]
        kept = shares > 1e-6
        factors = torch.linalg.cholesky(matrices[kept])
        fit = Mixture(prior, shear, shares[kept] / shares[kept].sum(), means[kept], factors)
    wide = fit.shares.new_tensor([0.05])
    return Mixture(
        prior,
        shear,
        torch.cat([0.65 * fit.shares, 0.3 * fit.shares, wide]),
        torch.cat([fit.means, fit.means, mean[None]]),
        torch.cat([fit.factors, 2 * fit.factors, 2 * factor[None]]),
    )
