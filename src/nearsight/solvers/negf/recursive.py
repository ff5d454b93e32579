"""Electrons out of equilibrium on long bars: poles for the filling, recursive Green's functions for the window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import number
from nearsight.solvers.lanczos import spectrum
from nearsight.solvers.negf._chain import BlockChain, ChainGreen
from nearsight.solvers.negf._contacts import Contacts, Green
from nearsight.solvers.negf._driven import DrivenSolver, Solution
from nearsight.solvers.negf._fermi_integrals import fermi, theta_integral
from nearsight.solvers.negf._quadrature import Integrand, integrate
from nearsight.solvers.negf._theta_poles import Region, ThetaPoles, theta_poles
from nearsight.solvers.negf.reservoirs import Reservoir
from nearsight.solvers.poles._elimination import SelectedInversion
from nearsight.solvers.sparse import Pattern, SparseMatrix

TAIL = 16.0
"""Beyond ln(1/tol) + this many kT from μ the Fermi function is a step."""

PANELS = (12, 96, 768)
"""Intervals to begin with; more where the density of states says that a level was missed."""

SMALLEST = 1e-12
"""Currents below this are not resolved."""


class RecursiveNEGF(DrivenSolver):
    r"""Steady states between wide-band reservoirs, at every energy at a cost linear in the length of a bar.

    The filling 0 of most sites is that of all in equilibrium, which takes Green's function at a few complex energies
    z_p (nested dissection, as in :class:`Poles`); what other fillings change is integrated along the window between,

    .. math::
        \rho = c + \sum_p \left[ w_p\, G(z_p) + \mathrm{h.c.} \right]
               + \sum_r \int \frac{d\epsilon}{2\pi}\, [f_r(\epsilon) - f_0(\epsilon)]\, G\, 2\Gamma_r\, G^\dagger ,

    with the columns of G on the sites of r from a recursion along the bar. Intervals of energy are halved until the
    error is met, many of them and all replicas at once. A bath that gives every level a width makes that fast: no
    interval needs to be much shorter than the narrowest width.

    Parameters
    ----------
    reservoirs: any number, on any sites. The cost grows with the number of sites of all fillings but one.
    tol: largest error of the elements of ρ; that of currents is ``tol`` times the largest current.
    orbitals: per site of the model; every orbital of a site is coupled.

    ``Electrons.error`` is the sum of what the poles err on the edge of a region that holds all levels, of rounding, and
    of the window: the estimate of the quadrature, or, where that is more, the difference of the levels in the window by
    quadrature and by poles, which knows of every level that was missed. It may exceed ``tol`` where levels are narrower
    than 10⁻¹² of the window.

    Raises ``ArithmeticError`` at kT = 0 where some orbital has no reservoir: the step is no sum over poles.

    Cost: blocks of a column each, some 20 W³ complex multiplications per column and energy, in batches of as many
    energies as fit the memory, on a processor or a GPU. The energies number in proportion to the levels in the window,
    hence to the length, until the widths that a bath gives the levels overlap, and from then on do not grow: 8, 13 and
    16 thousand for 40, 80 and 120 columns of 30 sites, a third of them metal, a bath of Γ = 0.001 and tol = 10⁻⁶. In a
    gap they are few. :class:`NEGF` for bars that are not long, or metallic and without a bath.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> bar = ns.lattices.square(6, 4, periodic=(False, True))
    >>> reservoirs = ns.solvers.electrodes(bar, voltage=2.0, kT=0.1)
    >>> h = ns.hamiltonians.Holstein(bar).matrix(torch.zeros(24, 1))
    >>> a, b = (way(*reservoirs).steady_state(h) for way in (ns.solvers.RecursiveNEGF, ns.solvers.NEGF))
    >>> bool((a.currents - b.currents).abs().max() < 1e-6), bool(abs(a.currents.sum()) < 1e-6)  # what enters leaves
    (True, True)

    References
    ----------
    A. Svizhenko et al., J. Appl. Phys. 91, 2343 (2002), the recursion; Y. Nakatsukasa, O. Sète, L. N. Trefethen, SIAM
    J. Sci. Comput. 40, A1494 (2018), the poles.
    """

    sparse: ClassVar[bool] = True

    def __init__(self, *reservoirs: Reservoir, tol: float = 1e-8, orbitals: int = 1) -> None:
        super().__init__(*reservoirs, orbitals=orbitals)
        self.tol = number(tol, "tol", least=1e-12, most=1e-2)

    def _integrate(
        self, matrix: SparseMatrix, rows: Tensor, columns: Tensor
    ) -> tuple[Solution, Callable[[Tensor, Tensor], Green]]:
        contacts, batch = self._contacts(matrix), matrix.values.shape[:-1]
        flat = SparseMatrix(matrix.pattern, matrix.values.reshape(-1, matrix.values.shape[-1]))
        device = flat.values.device
        place = _positions(matrix.pattern, rows, columns, device)
        fillings = [self._filled(flat, contacts, g, place) for g in range(len(contacts.groups))]
        base = fillings[0]
        rho, density, energy, error = base.rho, base.density, base.energy, base.error
        group = {r: g for g, members in enumerate(contacts.groups) for r in members}
        entering = [fillings[group[r]].density - density for r in range(len(self.reservoirs))]
        chain = _chain(matrix.pattern, contacts.orbitals[self._seed(contacts)])
        recursion = ChainGreen(flat, contacts.total, chain)
        flow = 2 * contacts.gamma.sum(-1).max() * error
        if len(fillings) > 1:
            window = self._window(recursion, contacts, fillings, place, len(flat.values))
            rho, density, energy = rho + window.rho, density + window.density, energy + window.energy
            error, flow = error + window.error, window.current_error
            for r, g in group.items():
                entering[r] = (window.levels[:, g - 1] if g else 0.0) - window.density
        currents = torch.stack([2 * x @ gamma for x, gamma in zip(entering, contacts.gamma, strict=True)], dim=-1)

        def green(energies: Tensor, sites: Tensor) -> Green:
            some, copies = len(energies), len(flat.values)
            replica = torch.arange(copies, device=device).repeat_interleave(some)
            parts = recursion.at(energies.repeat(copies), replica, sites)
            return Green(*(x.reshape((*batch, some, *x.shape[1:])) for x in parts))

        found = (place.asked(rho), density, energy, currents, error, flow)
        rho, density, energy, currents, error, flow = (x.reshape((*batch, *x.shape[1:])) for x in found)
        potential = base.potential.reshape(batch) if self.in_equilibrium else None
        solution = Solution(rho, density, energy, currents, error, flow, potential)
        return solution, green

    def _seed(self, contacts: Contacts) -> int:
        """The reservoir at which the chain begins: the smallest of those that fill differently, if any."""
        among = [r for g in contacts.groups[1:] for r in g] or range(len(self.reservoirs))
        return min(among, key=lambda r: len(self.reservoirs[r].sites))

    # --- one filling for all, by poles --------------------------------------------------------------------------------

    def _filled(self, matrix: SparseMatrix, contacts: Contacts, group: int, place: _Positions) -> _Filled:
        """As if all reservoirs filled like one group; the flat batch of matrices."""
        mu, kT = self._filling(group)
        levels, n, gamma = spectrum(matrix), matrix.size, contacts.total
        widths = float(gamma.min()), float(gamma.max())
        region = Region(float(levels.lowest.min()) - mu, float(levels.highest.max()) - mu, *widths)
        fit = theta_poles(region, kT, tol=0.1 * self.tol)
        pattern, device = matrix.pattern, matrix.values.device
        order = pattern.dissection(place.rows, place.columns)
        inversion = SelectedInversion.of(matrix, order, place.rows, place.columns)
        inversion = replace(inversion, diagonal=inversion.diagonal - 1j * gamma)
        z, w = (torch.from_numpy(x.copy()).to(device) for x in (fit.z, fit.w))
        g = inversion.inverse(torch.full_like(levels.lowest, mu), z, torch.complex128)  # (h - iΓ - ζ)⁻¹ = -G(ζ)
        half, transposed = -(g.elements.mT @ w), -(g.transposed.mT @ w)
        diagonal = place.rows == place.columns
        constant = fit.c0 * diagonal.to(half)
        rho = (half + constant) + (transposed + constant).conj()
        density = rho.real[:, place.diagonal]
        # h G = (ζ + iΓ) G - 1, with G off by the sign of g.
        inside = g.elements[..., place.diagonal]
        product = 1 + (z[:, None] + mu + 1j * gamma) * inside
        trace = matrix.diagonal().sum(-1)
        energy = 2 * (fit.c0.real * trace - (product.sum(-1) @ w).real)
        potential = self._potential(g.log_det, trace, fit, region, float(gamma.sum()), n, mu, kT)
        error = 2 * fit.error + 2 * g.rounding @ w.abs()
        return _Filled(rho, density, energy, error, potential)

    @staticmethod
    def _potential(
        log_det: Tensor, trace: Tensor, fit: ThetaPoles, region: Region, gamma: float, n: int, mu: float, kT: float
    ) -> Tensor:
        """2 Re Tr ∫θ with the sum over poles for θ, so that forces are its gradient to all digits."""
        here = complex(0.0, -max(region.narrowest, 1e-3 * region.widest))
        exact = complex(theta_integral(torch.tensor([here], dtype=torch.complex128), 0.0, kT)[0])
        constant = exact - fit.c0 * here + complex((fit.w * np.log(fit.z - here)).sum())
        linear = fit.c0 * (trace - n * mu - 1j * gamma)
        logs = (log_det + 1j * math.pi * n) @ torch.from_numpy(fit.w.copy()).to(log_det)
        return 2 * (linear - logs + n * constant).real

    # --- the window ---------------------------------------------------------------------------------------------------

    def _window(
        self, green: ChainGreen, contacts: Contacts, fillings: list[_Filled], place: _Positions, replicas: int
    ) -> _Window:
        device, n = contacts.gamma.device, contacts.gamma.shape[-1]
        groups = range(1, len(fillings))
        gammas = [contacts.of_group(g) for g in groups]
        sites = (torch.stack(gammas) > 0).any(0).nonzero().squeeze(-1)
        weight = torch.stack([gamma[sites] for gamma in gammas])  # (group, column)
        a, b = place.rows[place.off], place.columns[place.off]
        kinds = (len(a), n, n * len(groups), 1, *[1] * len(self.reservoirs))

        def values(energies: Tensor, replica: Tensor) -> Tensor:
            f0 = fermi(energies, *self._filling(0))
            change = torch.stack([fermi(energies, *self._filling(g)) - f0 for g in groups], dim=-1) / math.pi
            found = green.at(energies, replica, sites)
            filling = change @ weight  # (energy, column)
            intensity = found.columns.abs().square()
            density = (intensity @ filling[..., None]).squeeze(-1)
            pairs = (filling[:, None] * found.columns[:, a] * found.columns[:, b].conj()).sum(-1)
            levels = (change[:, :, None] * -found.diagonal.imag[:, None]).flatten(1)
            own = found.columns[:, sites, torch.arange(len(sites), device=device)]
            # Tr h G Γ G†, from h G = (ε + iΓ) G - 1.
            energy = energies[:, None] * density.sum(-1, keepdim=True) - (filling * own.real).sum(-1, keepdim=True)
            flows = 2 * density @ contacts.gamma.mT
            return torch.cat([pairs, density, levels, energy, flows], dim=-1)

        absolute = (self.tol, self.tol, self.tol, self.tol * n, *[0.1 * SMALLEST] * len(self.reservoirs))
        relative = (0.0, 0.0, 0.0, 0.0, *[0.1 * self.tol] * len(self.reservoirs))
        integrand = Integrand(values, kinds, absolute, relative, max(15, green.together))
        exact = torch.stack([fillings[g].density - fillings[0].density for g in groups], dim=1)
        for panels in PANELS:
            found = integrate(integrand, self._edges(panels, device), replicas)
            pairs, density, levels, energy, _ = found.values.split((*kinds[:4], len(self.reservoirs)), dim=-1)
            levels = levels.real.unflatten(-1, (len(groups), n))
            missed = (levels - exact).abs().amax((-2, -1))
            if bool((missed <= self.tol + fillings[0].error).all()):
                break
        error = torch.maximum(found.errors[:, :3].amax(-1), missed)
        current_error = found.errors[:, 4:].sum(-1) + 4 * contacts.gamma.sum(-1).max() * torch.finfo(torch.float64).eps
        current_error = torch.where(missed <= self.tol + fillings[0].error, current_error,
                                    current_error + 2 * missed * contacts.gamma.sum(-1).max())  # fmt: skip
        rho = pairs.new_zeros(replicas, len(place.rows))
        rho[:, place.off], rho[:, place.diagonal] = pairs, density.to(pairs)
        return _Window(rho, density.real, levels, energy.real.squeeze(-1), error, current_error)

    def _edges(self, panels: int, device: torch.device) -> Tensor:
        """The window, divided around every μ on the scale of its kT."""
        reach = math.log(1 / self.tol) + TAIL
        fillings = [self._filling(g) for g in range(len(self._groups))]
        places = {mu + s * kT for mu, kT in fillings for s in (-reach, -3, 3, reach)} | {mu for mu, _ in fillings}
        ends = sorted(places)
        length = (ends[-1] - ends[0]) / panels
        edges = [np.linspace(x, y, 2 + int((y - x) / length))[:-1] for x, y in pairwise(ends)]
        return torch.from_numpy(np.append(np.concatenate(edges), ends[-1])).to(device)


class _Filled(NamedTuple):
    """All reservoirs alike: ρ at the positions ``(replica, position)``, density, energy, error of ρ, Ω."""

    rho: Tensor
    density: Tensor
    energy: Tensor
    error: Tensor
    potential: Tensor


class _Window(NamedTuple):
    """What other fillings change, and the ``levels`` of the window ``(replica, group, orbital)``."""

    rho: Tensor
    density: Tensor
    levels: Tensor
    energy: Tensor
    error: Tensor
    current_error: Tensor


class _Positions(NamedTuple):
    """The diagonal of ρ and what else is asked for, each pair of orbitals once.

    ``diagonal`` and ``off`` tell which of ``rows``, ``columns`` are which, ``inverse`` where every element asked for is
    found, and ``flipped`` that its conjugate stands there.
    """

    rows: Tensor
    columns: Tensor
    diagonal: Tensor
    off: Tensor
    inverse: Tensor
    flipped: Tensor

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, size: int) -> _Positions:
        own = torch.arange(size, device=rows.device)
        low, high = torch.minimum(rows, columns), torch.maximum(rows, columns)
        keys, inverse = torch.unique(torch.cat([own * (size + 1), low * size + high]), return_inverse=True)
        a, b = keys // size, keys % size
        on, off = (a == b).nonzero().squeeze(-1), (a != b).nonzero().squeeze(-1)
        return cls(a, b, on, off, inverse[size:], rows > columns)

    def asked(self, rho: Tensor) -> Tensor:
        """ρ at the elements asked for, from that at the positions ``(replica, position)``."""
        found = rho[:, self.inverse]
        return torch.where(self.flipped, found.conj(), found)


_places: WeakKeyDictionary[Pattern, tuple[Tensor, Tensor, _Positions]] = WeakKeyDictionary()
_chains: WeakKeyDictionary[Pattern, tuple[Tensor, BlockChain]] = WeakKeyDictionary()


def _positions(pattern: Pattern, rows: Tensor, columns: Tensor, device: torch.device) -> _Positions:
    """Found once as long as the same tensors ask."""
    known = _places.get(pattern)
    if known is None or known[0] is not rows or known[1] is not columns:
        known = rows, columns, _Positions.of(rows.to(device), columns.to(device), pattern.size)
        _places[pattern] = known
    return known[2]


def _chain(pattern: Pattern, first: Tensor) -> BlockChain:
    """Found once as long as it begins at the same orbitals."""
    known = _chains.get(pattern)
    if known is None or not torch.equal(known[0], first):
        known = first, BlockChain.of(pattern, first)
        _chains[pattern] = known
    return known[1]
