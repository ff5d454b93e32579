"""Electrons out of equilibrium by one eigendecomposition of h - iΓ."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nearsight.solvers.negf._contacts import Contacts, Green
from nearsight.solvers.negf._driven import DrivenSolver, Solution
from nearsight.solvers.negf._fermi_integrals import theta_integral
from nearsight.solvers.negf._spectral_forms import EPSILON, Eigenvectors, SchurForm, SpectralForm
from nearsight.solvers.sparse import SparseMatrix

DEFECTIVE = 1e3
"""Condition of an eigenvalue beyond which the neighbourhood of an exceptional point costs too many digits."""

ROUNDING = 16.0
"""Rounding over its estimate."""

PIECE = 2**22
"""Products of elements that are summed at once."""


class NEGF(DrivenSolver):
    r"""Steady states between wide-band reservoirs, every integral over energy in closed form.

    With :math:`A = h - i\Gamma = R\,\lambda\,R^{-1}`, which does not depend on energy, and a function θ_r of digamma
    type for the filling f_r of every reservoir,

    .. math::
        \rho = \int \frac{d\epsilon}{2\pi}\, G \Bigl[\sum_r 2\Gamma_r f_r(\epsilon)\Bigr] G^\dagger
             = \theta_0(A) + \theta_0(A)^\dagger
               + \sum_r R \left[ \Delta K^r \circ R^{-1}\, 2\Gamma_r R^{-1\dagger} \right] R^\dagger, \\
        \Delta K^r_{kl} = -i\, \frac{\Delta\theta_r(\lambda_k) + \Delta\theta_r(\lambda_l)^*}{\lambda_k - \lambda_l^*},

    where 0 is the filling of most sites and Δθ_r = θ_r - θ_0. Equal fillings leave the first two terms: equilibrium,
    with the grand potential Ω = 2 Re Σ_k ∫θ_0(λ_k), of which the force is minus the gradient. Out of equilibrium there
    is no potential, and force fields of this solver have no energy. kT = 0 is the limit: digammas become logarithms.

    Parameters
    ----------
    reservoirs: any number, on any sites; :func:`electrodes` makes those of a bar.
    orbitals: per site of the model; every orbital of a site is coupled.

    ``Electrons.error`` is an estimate of the rounding. Near an exceptional point, where eigenvectors become parallel
    and lose digits, the Schur form takes their place, with Sylvester equations A X - X A† = -i(ΔθΓ + ΓΔθ†).

    Cost: one complex eigenproblem per matrix, O(n³): 6 s for a 40 × 30 bar on one 2.5 GHz core, and 100 n² bytes. For
    bars much longer than wide :class:`RecursiveNEGF`.

    Raises ``ValueError`` out of equilibrium where a level feels no reservoir, for its filling is not determined.

    >>> import nearsight as ns
    >>> bar = ns.lattices.square(6, 4, periodic=(False, True))
    >>> solver = NEGF(*ns.solvers.electrodes(bar, voltage=2.0, kT=0.1))
    >>> exact = ns.ExactForceField(ns.hamiltonians.Holstein(bar), solver)
    >>> exact(torch.zeros(24, 1)).energy is None
    True
    >>> left, right, bath = solver.steady_state(exact.model.matrix(torch.zeros(24, 1))).currents
    >>> bool(left < 0 < right)  # the left lead is lower
    True

    References
    ----------
    Y. Meir, N. S. Wingreen, Phys. Rev. Lett. 68, 2512 (1992), the integrals; S. Zhang, thesis (2024), ch. 6, the bar.
    """

    def _integrate(
        self, matrix: SparseMatrix, rows: Tensor, columns: Tensor
    ) -> tuple[Solution, Callable[[Tensor, Tensor], Green]]:
        contacts = self._contacts(matrix)
        dense = matrix.dense()
        batch, n = dense.shape[:-2], matrix.size
        forms = [self._form(h, contacts) for h in dense.reshape(-1, n, n)]
        found = [self._sums(form, contacts, rows, columns) for form in forms]
        stacked = Solution(*(None if x[0] is None else torch.stack(x).reshape((*batch, *x[0].shape))  # type: ignore
                             for x in zip(*found, strict=True)))  # fmt: skip

        def green(energies: Tensor, sites: Tensor) -> Green:
            parts = [form.green(energies, sites) for form in forms]
            return Green(*(torch.stack(x).reshape((*batch, *x[0].shape)) for x in zip(*parts, strict=True)))

        return stacked, green

    def _form(self, h: Tensor, contacts: Contacts) -> SpectralForm:
        gamma = contacts.total
        a = h.to(torch.complex128) - 1j * torch.diag(gamma)
        form: SpectralForm = Eigenvectors.of(a, gamma, symmetric=not h.is_complex())
        if not self.in_equilibrium and form.width <= EPSILON * float(form.levels.abs().max()):
            raise ValueError(
                f"Of {len(a)} levels the narrowest has a width of {max(form.width, 0.0):.1e}: it feels no reservoir, "
                "so that its filling out of equilibrium is not determined. Attach a bath to all sites."
            )
        return form if form.condition <= DEFECTIVE else SchurForm.of(a, gamma)

    def _sums(self, form: SpectralForm, contacts: Contacts, rows: Tensor, columns: Tensor) -> Solution:
        functions = [form.theta(*self._filling(g)) for g in range(len(contacts.groups))]
        # ρ = U V + (U V)† + W R†
        u, v = form.times(form.right, functions[0]), form.left
        filled = [2 * (form.times(form.right, f) * v.mT).sum(-1).real for f in functions]
        density, energy = filled[0], 2 * (form.times(form.hamiltonian, functions[0]) * v.mT).sum().real
        w = None
        if len(functions) > 1:
            x = sum(form.lesser(f - functions[0], contacts.of_group(g + 1)) for g, f in enumerate(functions[1:]))
            w = form.right @ x
            density = density + (w * form.right.conj()).sum(-1).real
            energy = energy + (w * form.hamiltonian.conj()).sum().real
        # What enters is 2Γ times what is missing to the filling by that reservoir alone.
        group = {r: g for g, members in enumerate(contacts.groups) for r in members}
        currents = torch.stack([2 * gamma @ (filled[group[r]] - density) for r, gamma in enumerate(contacts.gamma)])
        error = torch.as_tensor(ROUNDING * self._rounding(form)).to(density)
        flow = 2 * contacts.gamma.sum(-1).max() * error
        potential = 2 * theta_integral(form.levels, *self._filling(0)).real.sum() if self.in_equilibrium else None
        rho = self._elements((u, v), w, form.right, rows, columns)
        return Solution(rho, density, energy, currents, error, flow, potential)

    def _rounding(self, form: SpectralForm) -> float:
        """Levels know their place within ε|A| times their condition, and fillings change on the scale of kT or of a
        width."""
        sharpest = form.width + 3 * min(r.kT for r in self.reservoirs) if self.in_equilibrium else form.width
        scale = float(form.levels.abs().max())
        return EPSILON * form.condition * (form.condition + scale / max(sharpest, EPSILON * scale))

    @staticmethod
    def _elements(uv: tuple[Tensor, Tensor], w: Tensor | None, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        u, v = uv
        if len(rows) > 2 * len(u):
            half = u @ v
            rho = half + half.mH
            return (rho if w is None else rho + w @ right.mH)[rows, columns]
        size = max(1, PIECE // len(u))
        parts = []
        for a, b in zip(rows.split(size), columns.split(size), strict=True):
            rho = (u[a] * v.mT[b]).sum(-1) + (u[b] * v.mT[a]).sum(-1).conj()
            parts.append(rho if w is None else rho + (w[a] * right[b].conj()).sum(-1))
        return torch.cat(parts) if parts else u.new_zeros(0)
