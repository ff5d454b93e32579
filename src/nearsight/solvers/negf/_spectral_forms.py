"""h - iΓ by its eigenvectors, or by a Schur form where these are nearly parallel."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.negf._contacts import Green
from nearsight.solvers.negf._fermi_integrals import theta
from nearsight.solvers.negf._theta_poles import Region, theta_poles

EPSILON = torch.finfo(torch.float64).eps

ORTHOGONAL = 1e-12
"""Right eigenvectors of symmetric matrices serve as left ones where they are orthogonal this well."""

LEAF = 48
"""Sylvester equations up to this size are solved by LAPACK, larger ones by halves."""


@dataclass(frozen=True, eq=False)
class SpectralForm(abc.ABC):
    """A = h - iΓ = R B R⁻¹ with a simple B of eigenvalues ``levels``.

    ``right``, ``left``: R and R⁻¹ ``(orbital, orbital)``. Functions of B are whatever :meth:`times` multiplies with.
    """

    levels: Tensor
    right: Tensor
    left: Tensor
    gamma: Tensor

    @property
    @abc.abstractmethod
    def condition(self) -> float:
        """By how much small changes of A are enlarged in eigenvalues, at most."""

    @abc.abstractmethod
    def theta(self, mu: float, kT: float) -> Tensor:
        """θ(B)."""

    @abc.abstractmethod
    def times(self, vectors: Tensor, function: Tensor) -> Tensor:
        """Rows ``(..., orbital)`` times a function of B."""

    @abc.abstractmethod
    def lesser(self, theta: Tensor, gamma: Tensor) -> Tensor:
        """X of B X - X B† = -i(θ Q + Q θ†), with Q = R⁻¹ 2Γ R⁻¹† for Γ ``(orbital,)``."""

    @property
    @abc.abstractmethod
    def product(self) -> Tensor:
        """R B = A R."""

    @abc.abstractmethod
    def green(self, energies: Tensor, sites: Tensor) -> Green:
        """G(ε) ``(energy, orbital)`` on the diagonal, and its columns ``(energy, orbital, site)``."""

    @property
    def width(self) -> float:
        """Of the narrowest level."""
        return -float(self.levels.imag.max())

    @cached_property
    def hamiltonian(self) -> Tensor:
        """h R."""
        return self.product + 1j * self.gamma[:, None] * self.right

    def source(self, gamma: Tensor) -> Tensor:
        """Q of :meth:`lesser`."""
        on = (gamma > 0).nonzero().squeeze(-1)
        some = self.left[:, on]
        return (2 * gamma[on] * some) @ some.mH


class Eigenvectors(SpectralForm):
    """B is diagonal: its functions are vectors."""

    @classmethod
    def of(cls, a: Tensor, gamma: Tensor, *, symmetric: bool) -> Eigenvectors:
        levels, right = torch.linalg.eig(a)
        if symmetric:
            # Eigenvectors of a complex symmetric matrix are orthogonal without conjugation, unless levels coincide.
            left = right.mT / (right * right).sum(0)[:, None]
            probe = torch.linspace(-1, 1, len(a), dtype=torch.float64, device=a.device).to(a)
            off = (left @ (right @ probe) - probe).abs().max()
            if not bool(off <= ORTHOGONAL):
                symmetric = False
        if not symmetric:
            left = torch.linalg.inv_ex(right).inverse
        return cls(levels, right, left, gamma)

    @cached_property
    def condition(self) -> float:
        k = float((torch.linalg.vector_norm(self.right, dim=0) * torch.linalg.vector_norm(self.left, dim=1)).max())
        return k if k < np.inf else np.inf  # NaN: eigenvectors are parallel to the last digit

    def theta(self, mu: float, kT: float) -> Tensor:
        return theta(self.levels, mu, kT)

    def times(self, vectors: Tensor, function: Tensor) -> Tensor:
        return vectors * function

    def lesser(self, theta: Tensor, gamma: Tensor) -> Tensor:
        kernel = (theta[:, None] + theta.conj()) / (self.levels[:, None] - self.levels.conj())
        return kernel.mul_(-1j).mul_(self.source(gamma))

    @property
    def product(self) -> Tensor:
        return self.right * self.levels

    def green(self, energies: Tensor, sites: Tensor) -> Green:
        resolvent = 1 / (energies[:, None] - self.levels)
        return Green(
            resolvent @ (self.right * self.left.mT).mT, (self.right * resolvent[:, None]) @ self.left[:, sites]
        )


@dataclass(frozen=True, eq=False)
class SchurForm(SpectralForm):
    """B is a ``triangle`` and R unitary: no digits are lost, however parallel eigenvectors are."""

    triangle: Tensor

    @classmethod
    def of(cls, a: Tensor, gamma: Tensor) -> SchurForm:
        from scipy.linalg import schur  # imported when needed: the door of the library stays light

        t, u = (torch.from_numpy(x).to(a) for x in schur(a.numpy(force=True), output="complex"))
        return cls(t.diagonal().clone(), u, u.mH, gamma, t)

    @property
    def condition(self) -> float:
        return 1.0

    def theta(self, mu: float, kT: float) -> Tensor:
        # By Cauchy's formula a function of A is as accurate as its approximation around all levels.
        fit = theta_poles(Region.around(self.levels - mu), kT, tol=1e-13)
        one = torch.eye(len(self.levels)).to(self.triangle)
        total = fit.c0 * one
        for z, w in zip(fit.z.tolist(), fit.w.tolist(), strict=True):
            total = total + w * torch.linalg.solve_triangular((z + mu) * one - self.triangle, one, upper=True)
        return total

    def times(self, vectors: Tensor, function: Tensor) -> Tensor:
        return vectors @ function

    def lesser(self, theta: Tensor, gamma: Tensor) -> Tensor:
        q = self.source(gamma)
        half = theta @ q
        return _sylvester(self.triangle, self.triangle, -1j * (half + half.mH))

    @property
    def product(self) -> Tensor:
        return self.right @ self.triangle

    def green(self, energies: Tensor, sites: Tensor) -> Green:
        one = torch.eye(len(self.levels)).to(self.triangle)
        inner = torch.linalg.solve_triangular(energies[:, None, None] * one - self.triangle, one[None], upper=True)
        left = inner @ self.left
        return Green((self.right * left.mT).sum(-1), self.right @ left[..., sites])


def _sylvester(t: Tensor, s: Tensor, c: Tensor) -> Tensor:
    """X of T X - X S† = C for upper triangular T and S."""
    m, n = c.shape
    if max(m, n) <= LEAF:
        from scipy.linalg.lapack import ztrsyl

        x, scale, _ = ztrsyl(t.numpy(force=True), s.numpy(force=True), c.numpy(force=True), tranb="C", isgn=-1)
        return torch.from_numpy(x / scale).to(c)
    if m >= n:
        k = m // 2
        below = _sylvester(t[k:, k:], s, c[k:])
        above = _sylvester(t[:k, :k], s, c[:k] - t[:k, k:] @ below)
        return torch.cat([above, below])
    k = n // 2
    right = _sylvester(t, s[k:, k:], c[:, k:])
    left = _sylvester(t, s[:k, :k], c[:, :k] + right @ s[:k, k:].mH)
    return torch.cat([left, right], dim=1)
