"""The contractions by name, and those with a reference: lifted, power spectrum, phases."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors._contraction import Contraction, Variables
from nearsight.descriptors._eigenvalues import Eigenvalues
from nearsight.descriptors._products import Bispectrum, Pairs, exchange_symmetric, refuse_odd_products
from nearsight.descriptors._reference import Mix, Reference, generic_template, wedge
from nearsight.descriptors._states import LiftedStates
from nearsight.groups import clebsch_gordan


class Lifted(Contraction):
    """Scalar products with a soft frame ρ(g), and the moments of ρ over the group.

    With the symmetry Z2 every coefficient is odd, the invariant ones included, and so is ρ. Products with ρ are even;
    those with ρ³, projected on the same irreps, take the place of ⟨ρ³⟩ and tell apart what the former leave together.
    """

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        if eps == 0:
            raise ValueError("eps must be positive (0 is allowed for the phases of the papers), got 0.")
        template = generic_template(variables.distances / variables.unit, variables.components)
        self.odd = variables.trivial is None
        self.reference = Reference(variables.blocks, variables.group, template, trivial=variables.trivial)

    @property
    def names(self) -> tuple[str, ...]:
        if self.odd:
            return (*self._products("ref"), *self._products("cube"), "σ", "⟨ρ⁴⟩/σ³")
        return (*self._products("ref"), *(("σ", "⟨ρ³⟩/σ²", "⟨ρ⁴⟩/σ³") if self.reference.size else ()))

    def _products(self, vector: str) -> list[str]:
        names: list[str] = []
        for irrep, label in self.variables.copies:
            dim = self.variables.group.irrep(irrep).dim
            if irrep == self.variables.trivial:
                names.append(label)
            else:
                names += [f"{label}·{vector}" if dim == 1 else f"{label}·{vector}{k + 1}" for k in range(dim)]
        return names

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.reference.weights, "lift": self.reference.lift, "project": self.reference.project}

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        if not self.reference.size:
            return f
        v = constants["weights"] @ f
        rho = constants["lift"] @ v
        squares = rho * rho
        sigma = (squares.mean(0) + self.eps**2).sqrt()
        fourth = (squares * squares).mean(0) / sigma**3
        moments = [sigma, fourth] if self.odd else [sigma, (squares * rho).mean(0) / sigma**2, fourth]
        vectors = [v / sigma]
        if self.odd:
            vectors.append(constants["project"] @ (squares * rho) / sigma**3)
        tails = [*(None for _ in vectors[1:]), torch.stack(moments)]
        layout, slices = self.variables.layout, self.reference.slices
        mixed = [Mix.apply(f, u, layout, slices, False, True, tail) for u, tail in zip(vectors, tails, strict=True)]
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


class Power(Contraction):
    """The squared length of every copy."""

    @property
    def names(self) -> tuple[str, ...]:
        trivial = self.variables.trivial
        return tuple(
            label if irrep == trivial else f"|{label}|²" for irrep, labels in self.variables.views() for label in labels
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        features = [
            f_r if name == self.variables.trivial else f_r.square().sum(2)
            for name, f_r in self.variables.layout.views(f)
        ]
        return torch.cat([feature.reshape(-1, f.shape[-1]) for feature in features])


class Phase(Contraction):
    """Projections on one reference of every irrep, and lengths where the irrep has more than one dimension."""

    bispectrum = False

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        weights = np.repeat(
            wedge(variables.blocks, variables.group, variables.vectors)[:, None], variables.components, axis=1
        )
        self.reference = Reference(variables.blocks, variables.group, weights, trivial=variables.trivial, single=True)
        self.triples = self._triples() if self.bispectrum else []

    def _triples(self) -> list[tuple[tuple[str, ...], np.ndarray]]:
        """Invariant tensors of three references; those antisymmetric in equal ones vanish and are left out."""
        refuse_odd_products(self.variables, "phase+bispectrum")
        names = [irrep.name for irrep in self.reference.irreps]
        return [
            (triple, tensor)
            for triple in itertools.combinations_with_replacement(names, 3)
            for tensor in exchange_symmetric(
                clebsch_gordan(self.variables.group, *triple), [triple.count(name) for name in dict.fromkeys(triple)]
            )
        ]

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for irrep, labels in self.variables.views():
            if irrep == self.variables.trivial:
                names += labels
                continue
            if self.variables.group.irrep(irrep).dim > 1:
                names += [f"|{label}|²" for label in labels]
            names += [f"{label}·ref" for label in labels]
        return (*names, *(f"ref {'·'.join(irreps)}" for irreps, _ in self.triples))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.reference.weights, **{f"C{k}": c for k, (_, c) in enumerate(self.triples)}}

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        vectors = self.reference.split(constants["weights"] @ f) if self.reference.size else {}
        units = {name: v[0] * _inverse_length(v[0], self.eps) for name, v in vectors.items()}
        features: list[Tensor] = []
        for name, f_r in self.variables.layout.views(f):
            if name not in units:
                features.append(f_r)
                continue
            if f_r.shape[2] > 1:
                features.append(f_r.square().sum(2))
            features.append((f_r * units[name]).sum(2))
        for k, (names, _) in enumerate(self.triples):
            features.append(torch.einsum("abc,an,bn,cn->n", constants[f"C{k}"], *(units[name] for name in names)))
        return torch.cat([feature.reshape(-1, f.shape[-1]) for feature in features])


class PhaseBispectrum(Phase):
    """Phases, and the triple products of the references."""

    bispectrum = True


CONTRACTIONS: dict[str, type[Contraction]] = {
    "lifted": Lifted,
    "power": Power,
    "phase": Phase,
    "phase+bispectrum": PhaseBispectrum,
    "pairs": Pairs,
    "bispectrum": Bispectrum,
    "eigenvalues": Eigenvalues,
}
"""What :class:`Irreps` knows by the name of a mode."""

MODES = tuple(CONTRACTIONS)


def contraction(mode: str, variables: Variables, eps: float) -> Contraction:
    """The contraction of a mode; for equivalent states, the one whose sums run over all of them."""
    states = mode == "lifted" and variables.field_type.internal == "S(n)"
    return (LiftedStates if states else CONTRACTIONS[mode])(variables, eps)


def _inverse_length(v: Tensor, eps: float) -> Tensor:
    """1/√(|v|² + ε²) for vectors ``(component, point)``; without ε a vanishing vector has no direction and gives 0."""
    square = v.square().sum(0) + eps**2
    return torch.where(square > 0, square.clamp_min(torch.finfo(v.dtype).tiny).rsqrt(), 0.0)
