"""Invariants from irreducible representations of the site group: lifted reference, reference phases, power spectrum."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor

from nearsight.descriptors.blocks import Stencil, gather, symmetry_blocks
from nearsight.descriptors.contraction import Variables
from nearsight.descriptors.contractions import CONTRACTIONS, MODES
from nearsight.descriptors.descriptor import Descriptor
from nearsight.fields import FieldType, check_field
from nearsight.lattices import Lattice, site_group


class Irreps(Descriptor):
    r"""Invariants of the neighbourhood under the point group of the site, from its irreducible representations.

    The field within ``cutoff`` of a site is decomposed, orbit by orbit, into coefficients :math:`f_r^\Gamma` that
    transform with the matrices of the irrep Γ; the trivial ones are invariant as they stand. The others become
    invariant by contraction, and ``mode`` says with what:

    ``"lifted"`` (default)
        with a soft frame read from the same neighbourhood. A fixed template w gives one number for every operation,
        :math:`\rho(g) = \sum_j w_j\, (g^{-1}\Phi)_j`, and :math:`v_k^\Gamma` (k = 1..d) are its components on the
        group. Features are :math:`f_r \cdot v_k / \sigma` with :math:`\sigma^2 = \epsilon^2 + \langle\rho^2\rangle_g`,
        and σ, ⟨ρ³⟩/σ², ⟨ρ⁴⟩/σ³. As many numbers as variables, plus three; smooth everywhere; tells apart all 132 744
        inequivalent occupations of the 20 nearest sites of the square lattice.
    ``"power"``
        with themselves, :math:`|f_r|^2`: loses all relative phases.
    ``"phase"``
        with one reference per irrep, the average of the field over a wedge, as in the papers:
        :math:`f_r \cdot v / \sqrt{|v|^2 + \epsilon^2}`, and :math:`|f_r|^2` as well where the irrep has more than one
        dimension. ``eps=0`` is the set of the papers; it jumps where a reference vanishes, which happens at every
        symmetric configuration, so forces need ``eps > 0``.
    ``"phase+bispectrum"``
        adds the normalised triple products of the references, such as A2·B1·B2 and B1·E·E of D4.

    Parameters
    ----------
    lattice: a periodic lattice with one site per cell, of any dimension.
    field_type: the components of the field and their law under the site group.
    cutoff: radius of the neighbourhood in units of a, the sites at the cutoff and the centre included.
    mode: one of ``MODES``.
    eps: softening ε in units of the field, about half of its typical variation.

    The cost is linear in the number of sites and of the order of one microsecond per site and pass for 149 neighbours,
    less than any network that follows.

    References
    ----------
    Zhang, Zhang, Chern, "Descriptors for machine learning model of generalized force field in condensed matter
    systems" (2022), section IV, whose sets are the modes "phase" and "phase+bispectrum". The lifted reference spans the
    same coefficients and replaces the products of reference irreps by powers of ρ(g) on the group.
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float = 5.0,
        *,
        mode: str = "lifted",
        eps: float = 0.4,
    ) -> None:
        super().__init__()
        if lattice.n_basis != 1 or not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(
                f"Irreps works on periodic lattices with one site per cell (chain, square, triangular, cubic), not on "
                f"{lattice!r}."
            )
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}.")
        if not eps >= 0:
            raise ValueError(f"eps must be positive, got {eps}.")
        self.lattice, self.field_type = lattice, field_type
        self.cutoff, self.mode, self.eps = float(cutoff), mode, float(eps)
        self.group = site_group(lattice)
        law = field_type.representation(self.group)
        self.components = law.shape[-1]
        neighbourhood = lattice.neighbourhood(cutoff)
        self.neighbourhood = neighbourhood
        self.blocks = symmetry_blocks(neighbourhood, self.group, law)
        variables = Variables(self.group, self.blocks, neighbourhood.vectors, field_type, self.components)
        self.contraction = CONTRACTIONS[mode](variables, self.eps)
        self.feature_names = self.contraction.names
        self.features = len(self.feature_names)
        self._stencils: dict[tuple[torch.dtype, torch.device], Stencil] = {}

    def __repr__(self) -> str:
        counts = " + ".join(f"{n} {name}" for name, n in self.multiplicities().items())
        return (
            f"{self.mode} irreps of {self.group.name} on {self.lattice.name}: {len(self.neighbourhood)} sites within "
            f"{self.cutoff:.6g}, {counts}, {self.features} features"
        )

    def multiplicities(self) -> dict[str, int]:
        """How often each irrep occurs among the variables of the neighbourhood."""
        return {
            irrep.name: total
            for irrep in self.group.irreps
            if (total := sum(len(b.members) * n for b in self.blocks for name, n in b.copies if name == irrep.name))
        }

    def config(self) -> dict[str, Any]:
        return {"field_type": self.field_type.config(), "cutoff": self.cutoff, "mode": self.mode, "eps": self.eps}

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        options = {key: value for key, value in config.items() if key != "field_type"}
        return cls(lattice, FieldType.from_config(config["field_type"]), **options)

    def on(self, lattice: Lattice) -> Self:
        if not lattice.same_kind(self.lattice) or not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(f"A descriptor of {self.lattice!r} works on that lattice in any size, not on {lattice!r}.")
        other = copy.copy(self)
        other.lattice, other._stencils = lattice, {}
        return other

    def evaluate(self, field: Tensor) -> Tensor:
        grid = field.reshape(-1, *self.lattice.shape, self.components).movedim(-1, 0)
        features = self.contraction(self._stencil(field).coefficients(grid))
        # Stored feature by feature: the view costs nothing, and a linear layer reads it as it is.
        return features.view(-1, *field.shape[:-1]).movedim(0, -1)

    def of_neighbourhoods(self, values: Tensor) -> Tensor:
        """Features ``(*batch, feature)`` of neighbourhoods ``(*batch, neighbour, component)``.

        The neighbours follow ``lattice.neighbourhood(cutoff)``. For single sites, as after the flip of one of them;
        whole lattices are faster by calling the descriptor.
        """
        check_field(values, len(self.neighbourhood), self.components)
        coefficients = gather(self.blocks, self._stencil(values).bases, values.reshape(-1, *values.shape[-2:]))
        return self.contraction(coefficients).view(-1, *values.shape[:-2]).movedim(0, -1)

    def _stencil(self, like: Tensor) -> Stencil:
        """The linear step in the precision and on the device of a tensor, always converted from double precision."""
        key = like.dtype, like.device
        if key not in self._stencils:
            around = self.neighbourhood
            offsets = tuple(around.cells[block.members] for block in self.blocks)
            bases = tuple(torch.as_tensor(b.basis, dtype=like.dtype, device=like.device) for b in self.blocks)
            self._stencils[key] = Stencil(self.lattice.shape, around.reach, offsets, bases)
        return self._stencils[key]
