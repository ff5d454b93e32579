"""The largest stable step of a run, from a few forces at its start."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics.run.guard import _rounded_down
from nearsight.dynamics.scheme import Scheme, State, _forces
from nearsight.forcefields import ForceField

MOST_CALLS = 10
"""Forces on one replica that the estimate takes, or a tenth of the steps of the run, but no less than four."""


def warn_if_unstable(scheme: Scheme, state: State, forcefield: ForceField, steps: int) -> float | None:
    """Warn about a step beyond the stability limit at the first field; returns the limit, None if there is none.

    The run itself is not touched: its generators and those of the forces are left as they were.
    """
    if not state.field.numel() or not steps:
        return None
    generators = forcefield.generators
    before = [g.get_state() for g in generators]
    try:
        rates = eigenvalues(scheme, state, forcefield, min(MOST_CALLS, max(4, steps // 10)))
        longest = scheme.longest_step(rates, state)
    except (ArithmeticError, np.linalg.LinAlgError):  # no answer so near to the first field
        return None
    finally:
        for generator, then in zip(generators, before, strict=True):
            generator.set_state(then)
    if not math.isfinite(longest):
        return None
    dt: float = scheme.dt  # type: ignore[attr-defined]
    if dt > longest:
        warnings.warn(
            f"A step of dt = {dt:g} is beyond the stability limit of {type(scheme).__name__} in these forces, about "
            f"{longest:.3g} at the first field: fast modes will grow. Take dt <= {_rounded_down(0.9 * longest):g}.",
            stacklevel=4,
        )
    return longest


def eigenvalues(scheme: Scheme, state: State, forcefield: ForceField, calls: int) -> np.ndarray:
    r"""Approximate eigenvalues μ of J = ∂(dΦ/dt)/∂Φ at the first replica, complex; those of largest \|μ\| come first.

    Arnoldi's method on differences of forces, [f(Φ + hv) - f(Φ)]/h, from a fixed random vector: the ends of the
    spectrum are found to a few per cent with ten vectors, and a limit is never underestimated by more than the forces
    are non-linear over h, so that stable steps are not warned about. Forces that are estimates are made with the same
    random numbers at both fields.
    """
    field = state.field.reshape(-1, *state.field.shape[-2:])[:1]
    generators = forcefield.generators
    drawn = [g.get_state() for g in generators]

    def drift(x: Tensor) -> Tensor:
        for generator, then in zip(generators, drawn, strict=True):
            generator.set_state(then)
        return scheme.drift(x, _forces(forcefield, x, state.time).force).double()

    known = state.forces.force.reshape(-1, *field.shape[-2:])[:1]
    here = drift(field) if generators else scheme.drift(field, known).double()
    scale = float(field.double().square().mean().sqrt()) or 1.0
    h = scale * (1e-4 if field.dtype == torch.float64 else 1e-2) * math.sqrt(field.numel())

    own = torch.Generator().manual_seed(1)
    v = torch.randn(field.shape, generator=own, dtype=torch.float64).to(field.device)
    basis: list[Tensor] = []
    matrix = np.zeros((calls + 1, calls))
    for k in range(min(calls, field.numel())):
        # A vector of the tangent space, orthogonal to those before: what is left of it decides whether to go on.
        moved = scheme.displaced(field, (h * v / v.norm()).to(field.dtype)) - field
        v = moved.double() / h
        for _ in range(2):
            for b in basis:
                v = v - (b * v).sum() * b
        v = v / v.norm()
        moved = scheme.displaced(field, (h * v).to(field.dtype))
        w = (drift(moved) - here) / h
        if not bool(torch.isfinite(w).all()):
            raise ArithmeticError("forces near the first field are not finite")
        basis.append(v)
        for i, b in enumerate(basis):
            matrix[i, k] = float((b * w).sum())
            w = w - matrix[i, k] * b
        if float(w.norm()) <= 1e-6 * np.abs(matrix[: k + 1, : k + 1]).max(initial=0.0) or not float(w.norm()):
            break
        matrix[k + 1, k] = float(w.norm())
        v = w
    size = len(basis)
    return np.linalg.eigvals(matrix[:size, :size])
