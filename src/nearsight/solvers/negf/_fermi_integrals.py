r"""Integrals of the Fermi function with Green's functions of a wide band, in closed form.

For an eigenvalue λ of h - iΓ, below the real axis, let

.. math:: \theta(\lambda) = \frac14 + \frac{i}{2\pi}\left[\psi(\tfrac12 + w) + \ln 2\pi kT\right], \qquad
          w = \frac{i(\lambda - \mu)}{2\pi kT} .

Closing the contour around the Matsubara poles gives, up to an imaginary constant that cancels in sums,

.. math:: \int \frac{d\epsilon}{2\pi}\, \frac{i f(\epsilon)}{\epsilon - \lambda} = \theta(\lambda), \qquad
          \int \frac{d\epsilon}{2\pi}\, \frac{f(\epsilon)}{(\epsilon - \lambda_k)(\epsilon - \lambda_l^*)}
          = -i\,\frac{\theta(\lambda_k) + \theta(\lambda_l)^*}{\lambda_k - \lambda_l^*} .

Re λ on the axis gives 2 Re θ = f. At kT = 0 the bracket is ln i(λ - μ). Its integral is kT ln Γ(½ + w).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHIFT = 14
"""Asymptotic series are used from this |w| on, where their first term left out is below rounding."""

DIGAMMA = (1 / 24, -7 / 960, 31 / 8064, -127 / 30720, 511 / 67584, -1414477 / 67092480)
"""ψ(½ + w) - ln w = Σ_k c_k w^(-2k), k ≥ 1."""

LOG_GAMMA = (-1 / 24, 7 / 2880, -31 / 40320, 127 / 215040, -511 / 608256, 1414477 / 738017280)
"""ln Γ(½ + w) - w ln w + w - ½ ln 2π = Σ_k c_k w^(1-2k)."""


def theta(levels: Tensor, mu: float, kT: float) -> Tensor:
    """θ at complex ``levels`` in the lower half-plane, of any shape."""
    shifted, _, series, steps = _expanded(levels, mu, kT)
    psi = shifted.log() + _horner(DIGAMMA, series * series)
    for step in steps:
        psi = psi - step * 2 * math.pi * kT
    return 0.25 + 1j / (2 * math.pi) * psi


def theta_integral(levels: Tensor, mu: float, kT: float) -> Tensor:
    """∫ θ dλ, with the constant for which twice the real part is -kT ln(1 + e^((μ - λ)/kT)) on the real axis."""
    shifted, small, series, steps = _expanded(levels, mu, kT)
    width = 2 * math.pi * kT
    # kT ln Γ(½ + w) + kT w ln(2πkT) - ½ kT ln 2π, w counted from the shifted argument.
    log_gamma = (shifted * (shifted.log() - 1)) / (2 * math.pi)
    log_gamma = log_gamma + kT * series * _horner(tuple(LOG_GAMMA), series * series, first=0)
    log_gamma = torch.where(small, log_gamma - kT * SHIFT * (math.log(width) if kT else 0.0), log_gamma)
    for step in steps:
        log_gamma = log_gamma + kT * torch.where(small, step * width, 1.0).log() if kT else log_gamma
    return 0.25 * (levels - mu) + log_gamma


def _expanded(levels: Tensor, mu: float, kT: float) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """2πkT w, raised by SHIFT steps where it is small; where that is; the inverse of w; and 1/(2πkT(½ + w + j))."""
    x, width = 1j * (levels - mu), 2 * math.pi * kT
    small = x.abs() < SHIFT * width
    shifted = torch.where(small, x + SHIFT * width, x)
    steps: list[Tensor] = []
    if kT and bool(small.any()):
        zero = torch.zeros_like(x)
        steps = [torch.where(small, 1 / (x + (0.5 + j) * width), zero) for j in range(SHIFT)]
    return shifted, small, width / shifted, steps


def _horner(coefficients: tuple[float, ...], x: Tensor, first: int = 1) -> Tensor:
    """Σ_k c_k x^(k + first - 1), k ≥ 1."""
    total = torch.zeros_like(x)
    for c in reversed(coefficients):
        total = (total + c) * x if first else total * x + c
    return total


def fermi(energies: Tensor, mu: float, kT: float) -> Tensor:
    """f at real ``energies``; ½ at μ at every temperature."""
    distance = mu - energies
    return torch.sigmoid(distance / kT) if kT > 0 else 0.5 * (1 + torch.sign(distance))
