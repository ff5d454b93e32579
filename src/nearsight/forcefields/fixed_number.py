"""Electrons at a fixed number, from a force field that knows them at a fixed chemical potential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor

from nearsight._validation import instance, integer, number
from nearsight.fields import check_field
from nearsight.forcefields.forcefield import ForceField, Forces, revived
from nearsight.forcefields.gradients import _Energy, _Root, wanted


class FixedNumber(ForceField):
    r"""The canonical ensemble by one uniform shift of the field, exactly.

    At fixed μ₀ the force of electrons on a field is local, and so can be learned; at fixed number it is not, because
    every level that crosses the Fermi energy moves μ for all sites. But where the field couples to the density,
    :math:`-\lambda \sum_i Q_i n_i`, a uniform shift of Q is nothing but a shift of μ. The one non-local number is
    therefore found where it matters, at run time: s such that the densities add up,

    .. math::
        \frac1N \sum_i F_i(Q + s) = \bar F, \qquad F^{\mathrm{canonical}}(Q) = F(Q + s), \qquad
        E^{\mathrm{canonical}}(Q) = \max_s \left[ E(Q + s) + s N \bar F \right] ,

    a Legendre transform, whose gradient is the force again since s makes it stationary. The same electrons, learned
    once, serve every filling that their training data reach; μ = μ₀ + λs.

    Parameters
    ----------
    electrons: the electrons' part of the force, exact or learned, at fixed μ₀; springs are added outside,
        ``FixedNumber(learned, ...) + exact.classical``, since they do feel a uniform shift.
    mean_force: the force per site at the wanted number: ``λ n`` for the Jahn-Teller breathing mode, ``g (f - ½)`` per
        spin for the Holstein model at filling f.
    component: the component of the field that couples to the density.
    tolerance: largest allowed deviation of the mean force, not below what the precision of ``electrons`` resolves. An
        energy is wrong by its square only.

    Raises ``ArithmeticError`` if no shift gives the number: the densities are beyond what the electrons know, or jump
    (kT = 0). Costs four to six evaluations of ``electrons``, one at μ₀; the energy is that of ``electrons`` and
    lacks the constant μ₀ times the number. Derivatives of a field that requires a gradient cost three more.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(4), g=1.5)
    >>> at_fixed_mu = ns.forcefields.ElectronForceField(model, ns.solvers.Dense(kT=0.2, mu=0.0))
    >>> quarter = ns.forcefields.FixedNumber(at_fixed_mu, mean_force=1.5 * (0.25 - 0.5))  # g (filling - ½)
    >>> exact = ns.forcefields.ElectronForceField(model, ns.solvers.Dense(kT=0.2, filling=0.25))
    >>> field = torch.randn(16, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> bool((quarter(field).force - exact(field).force).abs().max() < 1e-5)
    True
    """

    _parts: ClassVar = {"electrons": revived}

    def __init__(
        self, electrons: ForceField, mean_force: float, *, component: int = 0, tolerance: float = 1e-6
    ) -> None:
        super().__init__()
        self.electrons, self.mean_force = instance(electrons, ForceField, "electrons"), number(mean_force, "mean_force")
        self.component = integer(component, "component", least=0, most=electrons.components - 1)
        self.tolerance = number(tolerance, "tolerance", above=0)
        self.lattice, self.components, self.field_type = electrons.lattice, electrons.components, electrons.field_type

    def _at_parameters(self, values: Mapping[str, float]) -> NoReturn:
        raise ValueError(
            "The mean force of a fixed number may depend on the parameters: wrap the electrons that have them, "
            "FixedNumber(electrons.with_parameters(...), mean_force)."
        )

    def shift(self, field: Tensor) -> Tensor:
        """s ``(*batch,)``; the chemical potential is μ₀ + λs."""
        check_field(field, self.lattice.n_sites, self.components, finite=True)
        if wanted(field):
            raise ValueError("The shift has no derivatives by the field, pass field.detach(); force and energy have.")
        return self._solve(field.reshape(-1, *field.shape[-2:])).shift.reshape(field.shape[:-2])

    def evaluate(self, field: Tensor) -> Forces:
        in_a_fit = self.training and torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        flat = field.reshape(-1, *field.shape[-2:])
        with torch.no_grad():
            shift, force, energy, _ = self._solve(flat.detach())
        if field.numel() and (in_a_fit or wanted(field)):
            force, energy = self._differentiable(flat if wanted(field) else flat.detach(), shift)
        if energy is not None:
            energy = energy + shift * self.mean_force * self.lattice.n_sites
            energy = energy.reshape(field.shape[:-2]).to(field.dtype)
        return Forces(force.reshape(field.shape).to(field.dtype), energy)

    def _differentiable(self, field: Tensor, shift: Tensor) -> Forces:
        """The same at a known shift, with derivatives by field and parameters.

        Forces change with s, whose derivative follows from the condition that defines it. Energies do not, since s
        makes them stationary: their derivative by the field is minus the force, and by the parameters that at fixed s.
        """
        field = field.double()

        def excess(s: Tensor, at: Tensor) -> Tensor:
            return self.electrons(self._moved(at, s)).force[..., self.component].double().mean(-1) - self.mean_force

        def by_shift() -> Tensor:
            with torch.enable_grad():
                s = shift.detach().requires_grad_()
                return torch.autograd.grad(excess(s, field.detach()).sum(), s)[0]

        force = self.electrons(self._moved(field, _Root.apply(excess(shift, field), shift, by_shift))).force
        energy = self.electrons(self._moved(field.detach(), shift).requires_grad_(field.requires_grad)).energy
        if energy is not None and field.requires_grad:
            energy = _Energy.apply(field, force, energy)
        return Forces(force, energy)

    def _moved(self, field: Tensor, shift: Tensor) -> Tensor:
        unit = torch.zeros(self.components, dtype=field.dtype, device=field.device)
        unit[self.component] = 1.0
        return field + shift[:, None, None] * unit

    def _solve(self, field: Tensor) -> _Point:
        """The root of the excess of the mean force, which grows with s, for each of ``(batch, site, component)``.

        Secant steps until two points enclose the root, then inverse quadratic interpolation where it is safe and
        bisection where not (T. R. Chandrupatla, Adv. Eng. Softw. 28, 145 (1997)).
        """
        field = field.double()  # a shift in single precision is too coarse to solve for
        s = field.new_zeros(len(field))
        result = self._at(field, s)
        a, fa = s, result.excess  # the newest point
        b, fb = a, fa  # the other end of the bracket; while there is none, the point before
        c, fc = a, fa
        step = torch.full_like(s, FIRST_STEP)
        unbounded = torch.ones_like(s, dtype=torch.bool)
        for _ in range(MOST_EVALUATIONS):
            todo = torch.nonzero(result.excess.abs() > self.tolerance).squeeze(-1)
            if len(todo) == 0:
                return result
            outwards = a - torch.sign(fa) * step
            inside = a + _fraction(a, fa, b, fb, c, fc) * (b - a)
            new = torch.where(unbounded, outwards, inside)[todo]
            found = self._at(field[todo], new)
            result = result.replaced(todo, found)
            x, fx = a.clone(), fa.clone()
            x[todo], fx[todo] = new, found.excess
            # The root stays between a and b: the end on the same side as the new point becomes the third point.
            same = (torch.sign(fx) == torch.sign(fa)) & ~unbounded
            c, fc = torch.where(same, a, b), torch.where(same, fa, fb)
            b, fb = torch.where(same, b, a), torch.where(same, fb, fa)
            unbounded &= torch.sign(fx) == torch.sign(fa)
            # Without a bracket the secant, at most four times as far as the last step: densities may be flat (a gap).
            aim = (fx * (x - b) / torch.where(fx == fb, 1.0, fx - fb)).abs()
            step = torch.where(fx == fb, 4 * step, torch.minimum(aim, 4 * step))
            a, fa = x, fx
            stuck = ~unbounded[todo] & ((a - b)[todo].abs() < 1e-14 * (1 + a[todo].abs()))
            if bool(stuck.any()) or bool((a.abs() > LARGEST_SHIFT).any()):
                break
        worst = float(result.excess.abs().max())
        raise ArithmeticError(
            f"No uniform shift of the field makes the mean force {self.mean_force:g}: it stays off by {worst:.2g}. "
            "Either these densities are beyond the training data (train with a wider range of uniform shifts), or they "
            "jump with μ (take kT > 0)."
        )

    def _at(self, field: Tensor, shift: Tensor) -> _Point:
        force, energy = self.electrons(self._moved(field, shift))
        excess = force[..., self.component].double().mean(-1) - self.mean_force
        if not bool(torch.isfinite(excess).all()):
            raise ValueError(
                "The field or its force holds NaN or infinite values; a smaller time step is the usual cure."
            )
        return _Point(shift, force, energy, excess)


FIRST_STEP = 0.05
"""In units of the field. Only the number of evaluations depends on it."""
LARGEST_SHIFT = 1e3
MOST_EVALUATIONS = 80


class _Point(NamedTuple):
    shift: Tensor
    force: Tensor
    energy: Tensor | None
    excess: Tensor

    def replaced(self, index: Tensor, by: _Point) -> _Point:
        pairs = zip(self, by, strict=True)
        return _Point(*(old if old is None else old.index_copy(0, index, new) for old, new in pairs))  # type: ignore[arg-type]


def _fraction(a: Tensor, fa: Tensor, b: Tensor, fb: Tensor, c: Tensor, fc: Tensor) -> Tensor:
    """Where between a (0) and b (1), on both sides of the root, to look next; c is the point before."""

    def ratio(x: Tensor, y: Tensor) -> Tensor:
        return x / torch.where(y == 0, 1.0, y)

    xi, phi = ratio(a - b, c - b), ratio(fa - fb, fc - fb)
    quadratic = ratio(fa, fb - fa) * ratio(fc, fb - fc) + ratio(c - a, b - a) * ratio(fa, fc - fa) * ratio(fb, fc - fb)
    safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
    # A third point outside the bracket occurs once, when the bracket has just been found.
    fallback = torch.where(xi < 0, ratio(fa, fa - fb).clamp(0.05, 0.95), 0.5)
    return torch.where(safe, quadratic, fallback).clamp(1e-6, 1 - 1e-6)
