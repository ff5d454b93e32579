"""Which products of the values on one, two and three sites are invariant, by the law of the field."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nearsight.fields import FieldType
from nearsight.groups import PointGroup, clebsch_gordan


@dataclass(frozen=True, eq=False)
class Triple:
    """b_ijk = Σ C_abc f_i,a f_j,b f_k,c with the components of the irreps ``kinds`` on the sites i, j and k."""

    kinds: tuple[int, int, int]
    tensor: np.ndarray

    @property
    def antisymmetric(self) -> bool:
        """Whether b_ijk changes sign when j and k are exchanged."""
        same = self.kinds[1] == self.kinds[2]
        return same and bool(np.allclose(self.tensor, -np.swapaxes(self.tensor, 1, 2)))

    def exchanged(self) -> Triple:
        """The same with the parts of j and k exchanged."""
        i, j, k = self.kinds
        return Triple((i, k, j), np.swapaxes(self.tensor, 1, 2))


class SiteInvariants:
    r"""The components of a field, sorted by irreps, and their invariant products between sites.

    Irreps are those of the internal group where there is one (a spin is one vector), else those of the point group.
    ``basis`` turns components into coefficients, f = Φ·basis; ``kinds`` are the slices of f that belong together.

    ``singles``: kinds invariant by themselves. ``pairs``: kinds (K, K') with :math:`f_j^K\cdot f_k^{K'}` invariant,
    K <= K'. ``triples``: with :math:`f_i^K` not invariant, and K' <= K''; products of a single and a pair are left
    out. ``even``: triples change sign under an operation of the internal group, and enter by even powers only.
    """

    def __init__(self, field_type: FieldType, group: PointGroup) -> None:
        law = field_type.representation(group)
        self.components = law.shape[-1]
        self.basis = np.eye(self.components)
        self.triples: list[Triple] = []
        self.even = field_type.internal == "O(n)"
        trivial = group.irreps[0].name
        names: list[str]
        if field_type.internal in ("none", "Z2"):
            copies = group.decompose(law)
            names = [name for name, x in copies.items() for _ in x]
            self.basis = np.concatenate([column for x in copies.values() for column in x], axis=1)
            sizes = [group.irrep(name).dim for name in names]
        else:
            names, sizes = [field_type.internal], [self.components]
        stops = np.cumsum(sizes)
        self.kinds = [slice(int(b - n), int(b)) for b, n in zip(stops, sizes, strict=True)]
        self.singles = [k for k, name in enumerate(names) if name == trivial and field_type.internal == "none"]
        every = list(itertools.combinations_with_replacement(range(len(names)), 2))
        self.pairs = [(a, b) for a, b in every if names[a] == names[b]]
        normalised = field_type.values in ("unit", "+-1", "one-hot") and len(names) == 1
        self.onsite = [(a, b) for a, b in self.pairs if a not in self.singles and not (a == b and normalised)]
        """Pairs on one site that are neither constant nor products of singles."""
        if field_type.internal in ("SO(n)", "O(n)") and self.components == 3:
            self.triples = [Triple((0, 0, 0), np.cross(np.eye(3)[:, None], np.eye(3)[None]).transpose(2, 0, 1))]
        elif field_type.internal == "none":
            outer = [k for k in range(len(names)) if k not in self.singles]
            for kinds in [(i, a, b) for i in outer for a, b in every]:
                i, a, b = (names[k] for k in kinds)
                self.triples += [Triple(kinds, tensor) for tensor in clebsch_gordan(group, i, a, b)]
