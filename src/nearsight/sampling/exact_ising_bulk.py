"""The Ising model on infinite two-dimensional lattices, exactly: Onsager, Houtappel, Yang, and star-triangle maps."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ellipe, ellipkm1
from torch import Tensor

from nearsight._validation import instance
from nearsight.lattices import Lattice
from nearsight.sampling.exact_ising import COLD, _check_coupling
from nearsight.sampling.thermodynamics import Thermodynamics, _temperatures

LATTICES = ("square", "triangular", "honeycomb", "kagome")
CRITICAL = {
    "square": math.log(1 + math.sqrt(2)) / 2,
    "triangular": math.log(3) / 4,
    "honeycomb": math.log(2 + math.sqrt(3)) / 2,
    "kagome": math.log(3 + 2 * math.sqrt(3)) / 4,
}
"""J/kT at the transition."""

LANDEN = 0.1
"""Below sinh 2K = LANDEN elliptic integrals are taken from their series, to all digits."""

POLYGONS = {"triangular": (3, 2, 3, 6), "honeycomb": (1.5, 0, 0, 0), "kagome": (2, 2 / 3, 0, 0)}
"""Bonds, and polygons of three, four and five bonds, per site."""
GROUND = {"square": (2, 2), "triangular": (3, 1), "honeycomb": (1.5, 1.5), "kagome": (2, 2 / 3)}
"""-E/|J| per site of the ground states at J > 0 and J < 0."""
HOT = 1e-4
"""Below |J|/kT = HOT five orders in tanh K are all digits there are."""


def critical_temperature(lattice: Lattice | str, *, J: float = 1.0) -> float:
    r"""kT_c of the nearest-neighbour Ising model, in the units of J.

    .. math::
        \frac{J}{kT_c} = \tfrac12\ln(1+\sqrt2) \text{ (square)}, \quad \tfrac14\ln 3 \text{ (triangular)}, \quad
        \tfrac12\ln(2+\sqrt3) \text{ (honeycomb)}, \quad \tfrac14\ln(3+2\sqrt3) \text{ (kagome)},

    2.2692, 3.6410, 1.5187 and 2.1433 J. Antiferromagnets on the square and honeycomb lattices order at the same
    temperature; on the triangular and kagome lattices they never do, and the answer is 0.

    References
    ----------
    H. A. Kramers, G. H. Wannier, Phys. Rev. 60, 252 (1941); R. M. F. Houtappel, Physica 16, 425 (1950);
    I. Syozi, Prog. Theor. Phys. 6, 306 (1951).
    """
    name = _name(lattice)
    _check_coupling(J)
    return 0.0 if J < 0 and name in ("triangular", "kagome") else abs(J) / CRITICAL[name]


def spontaneous_magnetisation(lattice: Lattice | str, kT: ArrayLike, *, J: float = 1.0) -> np.ndarray:
    r"""⟨s⟩ of the infinite lattice as h → 0⁺; 0 above the transition. J > 0.

    .. math:: m^8 = 1 - \sinh^{-4} 2K \text{ (square)}, \qquad
              m^8 = \frac{(w - 3)(w + 1)^3}{(w + 3)(w - 1)^3}, \quad w = e^{4K} \text{ (triangular)}.

    The star-triangle transformation removes one sublattice of the honeycomb, w = 2 cosh 2K - 1; the kagome lattice is a
    honeycomb with e^{2K'} = (e^{4K} + 1)/2 whose bonds carry spins of mean m' tanh 2K_1, cosh 2K_1 = e^{2K'}.

    References
    ----------
    C. N. Yang, Phys. Rev. 85, 808 (1952); R. B. Potts, Phys. Rev. 88, 352 (1952); S. Naya, Prog. Theor. Phys. 11, 53
    (1954).
    """
    name = _name(lattice)
    T = _temperatures(kT)
    _check_coupling(J)
    if J < 0:
        raise ValueError(
            "An antiferromagnet has no magnetisation; its staggered one is that at J > 0 if it is bipartite."
        )
    K = np.minimum(J / T, COLD)
    factor = np.ones_like(K)
    if name == "kagome":
        cosh = (np.exp(4 * K) + 1) / 2
        factor, K = np.sqrt(1 - 1 / cosh**2), np.log(cosh) / 2
    if name == "square":
        eighth = 1 - np.maximum(np.sinh(2 * K), 1.0) ** -4.0
    else:
        w = np.exp(4 * K) if name == "triangular" else 2 * np.cosh(2 * K) - 1
        # As a product of ratios, which do not overflow.
        eighth = (w - 3) / (w + 3) * ((w + 1) / np.where(w > 3, w - 1, 1)) ** 3
    return (factor * np.clip(eighth, 0, None) ** 0.125)[()]


def ising_bulk(lattice: Lattice | str, kT: ArrayLike, *, J: float = 1.0) -> Thermodynamics:
    r"""Ising model on the infinite square, triangular, honeycomb or kagome lattice at h = 0, J of either sign.

    Square (Onsager), with κ = 2 sinh 2K / cosh² 2K, t = tanh 2K and complete elliptic integrals K₁, E₁ of modulus κ:

    .. math::
        U = -J \coth 2K \left[1 + \tfrac{2}{\pi}(2t^2 - 1) K_1\right], \qquad
        C = \tfrac{4}{\pi} (K \coth 2K)^2 \left\{K_1 - E_1 - (1 - t^2)\left[\tfrac{\pi}{2} + (2t^2-1) K_1\right]\right\}

    and F by quadrature of γ(θ)/2 over the angle. Triangular (Houtappel), with C = cosh 2K, S = sinh 2K:

    .. math::
        \frac{\ln Z}{N} = \ln 2 + \frac{1}{8\pi^2} \int_0^{2\pi}\!\!\int_0^{2\pi}
            \ln\left[C^3 + S^3 - S (\cos a + \cos b + \cos(a + b))\right] da\, db ;

    one integral is done by hand, the other by double-exponential quadrature, and derivatives act on the integrand. The
    honeycomb follows from the triangular lattice by the star-triangle transformation, the kagome lattice from the
    honeycomb by one more and a decimation. The triangular and kagome antiferromagnets do not order: S(kT → 0) = 0.32307
    and 0.50183 per site.

    At the transition C diverges as ln |T - T_c| and U is finite: -√2 J, -2 J, -2 J/√3, -(1 + 2√3) J/3 in the order of
    the lattices above. 14 digits of F and U are right, and 10 of C if T is further than 10⁻⁶ T_c from the transition;
    11 digits of U and C remain where these vanish, however hot.

    Raises ``ValueError`` for kT ≤ 0, J = 0 and other lattices.

    References
    ----------
    L. Onsager, Phys. Rev. 65, 117 (1944); G. H. Wannier, Phys. Rev. 79, 357 (1950); R. M. F. Houtappel, Physica 16, 425
    (1950); K. Kano, S. Naya, Prog. Theor. Phys. 10, 158 (1953).
    """
    name = _name(lattice)
    T = _temperatures(kT)
    _check_coupling(J)
    K = torch.from_numpy(np.clip(J / T.reshape(-1, 1), -COLD, COLD)).requires_grad_()
    f = {"square": _square, "triangular": _triangular, "honeycomb": _honeycomb, "kagome": _kagome}[name](K)
    if name == "square":
        value = f.detach().numpy()
        first, second = _onsager(K.detach().numpy())
    else:
        (slope,) = torch.autograd.grad(f.sum(), K, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), K)
        value, first, second = (x.detach().numpy() for x in (f, slope, bend))
        hot = np.abs(K.detach().numpy()) < HOT
        found = zip(_series(name, J / T.reshape(-1, 1)), (value, first, second), strict=True)
        value, first, second = (np.where(hot, x, y) for x, y in found)
    # Energies count from those of the ground states, whose ln Z is linear in β, unless they are small themselves.
    size = abs(J) / T.reshape(-1, 1)
    cold = size > COLD
    ground = GROUND[name][0 if J > 0 else 1]
    zero = np.where(size < LANDEN, 0.0, ground)
    value = value - np.minimum(size, COLD) * zero
    first, second = np.where(cold, 0.0, np.sign(J) * first - zero), np.where(cold, 0.0, second)
    parts = (x.reshape(T.shape) for x in (value, abs(J) * first, J**2 * second))
    return Thermodynamics.from_log_partition(T, *parts, lowest=-abs(J) * zero.reshape(T.shape))


def _series(name: str, K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ln Z per site and its derivatives in K to fifth order: ln 2 + b ln cosh K + Σ_k n_k tanh^k K over polygons."""
    bonds, *polygons = POLYGONS[name]
    t = np.tanh(K)
    f = 1 - t * t  # dt/dK
    value, first, second = math.log(2) + bonds * np.log(np.cosh(np.minimum(np.abs(K), 1.0))), bonds * t, bonds * f
    for k, n in enumerate(polygons, start=3):
        value = value + n * t**k
        first = first + n * k * t ** (k - 1) * f
        second = second + n * k * f * ((k - 1) * t ** (k - 2) * f - 2 * t**k)
    return value, first, second


def _name(lattice: Lattice | str) -> str:
    name = lattice if isinstance(lattice, str) else instance(lattice, Lattice, "lattice", "Or give its name.").name
    if name not in LATTICES:
        raise ValueError(
            f"The Ising model is solved on the {', '.join(LATTICES)} lattices, not on {name!r}; "
            "enumerate_states is exact for up to 24 sites of any lattice."
        )
    return name


# --- square -----------------------------------------------------------------------------------------------------------


def _square(K: Tensor) -> Tensor:
    """ln Z per site: ½ ln 2 sinh 2K + (1/2π) ∫ γ(θ) dθ over 0 < θ < π."""
    s = torch.sinh(2 * K.detach().abs())
    theta, weight = _nodes(0.0, math.pi)
    gamma = 2 * torch.asinh(torch.sqrt(((s - 1) ** 2 / s + 2 * torch.sin(theta / 2) ** 2) / 2))
    return torch.log(2 * s) / 2 + (gamma * weight).sum(-1, keepdim=True) / (2 * math.pi)


def _onsager(K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of ln Z per site in K."""
    sign, K = np.sign(K), np.abs(K)
    s = np.sinh(2 * K)
    hot, s, small = s < LANDEN, np.maximum(s, LANDEN), np.minimum(s, LANDEN)
    t = s / np.sqrt(1 + s * s)
    q = (s * s - 1) / (s * s + 1)  # 2t² - 1 = ± the complementary modulus
    with np.errstate(invalid="ignore"):
        first_kind, second_kind = ellipkm1(q * q), ellipe(1 - q * q)
        product = np.where(q == 0, 0.0, q * first_kind)
    first = (1 + 2 / np.pi * product) / t
    second = 4 / np.pi / t**2 * (first_kind - second_kind - (1 - t * t) * (np.pi / 2 + product))
    # At high temperature all of this cancels. Landen's transformation has the modulus s²: with 2K₁/π = 1 + s⁴ k and
    # 2E₁/π = 1 + s⁴ e of that, known from their series, what is left is of order s.
    s2, s4 = small**2, small**4
    k = (1 + 9 / 16 * s4 * (1 + 25 / 36 * s4 * (1 + 49 / 64 * s4))) / 4
    e = -(1 + 3 / 16 * s4 * (1 + 15 / 36 * s4 * (1 + 35 / 64 * s4))) / 4
    first = np.where(hot, small * (1 - (1 - s2) * s2 * k) * np.sqrt(1 + s2), first)
    second = np.where(hot, 2 * (1 + s4 * k) + s2 * (6 * k - 4 * e), second)
    return sign * first, second


# --- triangular, and what maps to it ----------------------------------------------------------------------------------


def _triangular(K: Tensor) -> Tensor:
    """ln Z per site; K is ``(temperature, 1)`` and has one sign."""
    ferromagnet = bool((K > 0).all())
    parts = [_nodes(0.0, 2 * math.pi / 3), _nodes(2 * math.pi / 3, math.pi)]
    a, weight = (torch.cat(x) for x in zip(*parts, strict=True))
    # The integral over b leaves ln [(A + √(A² - B²))/2] with A = C³ + S³ - S cos a, B = 2S cos(a/2). Both A - B and
    # A + B are sums of squares: no digits are lost where one of them vanishes, at a = 0 at the transition and at
    # a = 2π/3 in the cold antiferromagnet. The largest power of z = e^{2K} is taken out.
    x = torch.cos(a / 2)
    ripple = 2 * torch.sin(a / 2) ** 2 + 4 * torch.sin(a / 4) ** 2
    node = -2 * torch.sin(a / 4 + math.pi / 6) * torch.sin(a / 4 - math.pi / 6)  # cos(a/2) - ½
    if ferromagnet:
        u = torch.exp(-2 * K)
        minus = (1 - 3 * u**2) ** 2 / 4 + (u**2 - u**4) / 2 * ripple
        plus = 0.25 - u**2 * (x * x - x - 0.5) + u**4 * node**2
        power = 3 * K
    else:
        z = torch.exp(2 * K)
        minus = (z * z - 3) ** 2 / 4 + (z * z - 1) / 2 * ripple
        plus = z**4 / 4 - z**2 * (x * x - x - 0.5) + node**2
        power = -K
    log = torch.log((minus + plus) / 4 + torch.sqrt(minus * plus) / 2)
    return math.log(2) + power + (log * weight).sum(-1, keepdim=True) / (2 * math.pi)


def _honeycomb(K: Tensor) -> Tensor:
    """Σ_s e^{K s (a + b + c)} = R e^{L(ab + bc + ca)}: summed over one sublattice, the other is triangular."""
    K = K.abs()
    u = torch.exp(-2 * K)
    L = (2 * K + torch.log(1 - u + u * u)) / 4  # e^{4L} = 2 cosh 2K - 1
    log_R = (6 * K + torch.log1p(u**3) + 3 * torch.log1p(u)) / 4  # R⁴ = 2 cosh 3K (2 cosh K)³
    return (log_R + _triangular(L)) / 2


def _kagome(K: Tensor) -> Tensor:
    """Triangles as stars of couplings K₁, then the sum over the spins of the kagome lattice, each between two centres.

    The centres are a honeycomb, 2/3 per site.
    """
    log_c = torch.logaddexp(4 * K, torch.zeros_like(K)) - math.log(2)  # cosh 2K₁ = (e^{4K} + 1)/2
    log_R = K + torch.logaddexp(4 * K, torch.full_like(K, math.log(3))) / 2  # 2 cosh K₁ = R e^{-K}
    log_A = log_c / 2 + math.log(2)  # 2 cosh K₁(a + b) = A e^{K₂ab}, e^{2K₂} = cosh 2K₁
    return log_A + 2 / 3 * (_honeycomb(log_c / 2) - log_R)


@lru_cache(maxsize=8)
def _nodes(start: float, stop: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of double-exponential (tanh-sinh) quadrature, which does not mind singular end points.

    H. Takahasi, M. Mori, Publ. RIMS 9, 721 (1974).
    """
    tau = np.arange(-256, 257) / 64
    half = np.pi / 2 * np.sinh(tau)
    weight = np.pi / 128 * np.cosh(tau) / np.cosh(half) ** 2
    # Distances from the nearer end point, so that nodes next to it keep their digits.
    near = (stop - start) / (1 + np.exp(2 * np.abs(half)))
    x = np.where(tau < 0, start + near, stop - near)
    return torch.from_numpy(x), torch.from_numpy(weight * (stop - start) / 2)
