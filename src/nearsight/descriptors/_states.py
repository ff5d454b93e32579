"""Equivalent states of a site (Potts): invariants under the group of the site and under every relabelling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors._contraction import Contraction, Variables
from nearsight.descriptors._reference import Mix, Reference, generic_template
from nearsight.descriptors.blocks import _Block
from nearsight.fields import FieldType


class LiftedStates(Contraction):
    r"""The lifted reference of a field with the internal group S(q), which permutes its q components.

    Every component a is decomposed as a scalar field of its own, with the same template for all, so that a relabelling
    permutes the coefficients :math:`f_{r,a}` and the frames :math:`\rho_a(g)`. Invariant are sums over a:

    .. math:: \frac1q\sum_a f_{r,a} \cdot v_{k,a}^{(m)}, \qquad m = 1 \dots q,

    with the components :math:`v^{(m)}` of :math:`(\rho_a/\sigma)^m` in the irreps, the invariant one included, and
    :math:`\sigma^2 = \epsilon^2 + \langle\rho_a(g)^2\rangle_{g,a}`; further σ, ⟨ρ³⟩/σ² and ⟨ρ⁴⟩/σ³. One power for each
    component makes as many numbers as variables, plus three.
    """

    internal = ("S(n)",)

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        if eps == 0:
            raise ValueError("eps must be positive, got 0.")
        self.states = variables.components
        blocks = [_first_component(block, self.states) for block in variables.blocks]
        self.single = replace(variables, blocks=blocks, field_type=FieldType("n"), components=1)
        template = generic_template(self.single.distances / variables.unit, 1)
        self.reference = Reference(blocks, variables.group, template, trivial=None)

    @property
    def names(self) -> tuple[str, ...]:
        names = []
        for power in ("", *("⁰¹²³⁴⁵⁶⁷⁸⁹"[m] if m < 10 else f"^{m}" for m in range(2, self.states + 1))):
            for irrep, label in self.single.copies:
                dim = self.variables.group.irrep(irrep).dim
                names += [f"Σ {label}·ref{power}" + (f",{k + 1}" if dim > 1 else "") for k in range(dim)]
        return (*names, "σ", "⟨ρ³⟩/σ²", "⟨ρ⁴⟩/σ³")

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            # from the coefficients of all components together to (row, component), through the field
            "split": np.kron(self.single.basis, np.eye(self.states)) @ self.variables.basis.T,
            "weights": self.reference.weights,
            "lift": self.reference.lift,
            "project": self.reference.project,
        }

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        q, points = self.states, f.shape[-1]
        f_a = (constants["split"] @ f).view(-1, q * points)  # components beside each other as points
        rho = constants["lift"] @ (constants["weights"] @ f_a)

        def mean(values: Tensor) -> Tensor:
            return values.view(-1, points).mean(0)

        sigma = (mean(rho * rho) + self.eps**2).sqrt()
        unit = rho / sigma.repeat(q)
        power, features = unit, []
        for _ in range(q):
            v = constants["project"] @ power
            products = Mix.apply(f_a, v, self.single.layout, self.reference.slices, False, True, None)
            features.append(products.view(-1, q, points).mean(1))
            power = power * unit
        return torch.cat([*features, torch.stack([sigma, sigma * mean(unit**3), sigma * mean(unit**4)])])


def _first_component(block: _Block, components: int) -> _Block:
    """The block of a scalar field, out of that of several: each copy is built from one component and stays in it."""
    orbits, rows, size = block.basis.shape
    basis = block.basis.reshape(orbits, rows, size // components, components)
    mine = np.flatnonzero((basis[..., 1:] == 0).all((0, 2, 3)))
    return _Block(block.members, basis[..., 0][:, mine], tuple((name, n // components) for name, n in block.copies))
