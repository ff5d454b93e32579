"""Symmetry learned from examples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.fields import FieldType
from nearsight.forcefields import ForceField, LearnedForceField
from nearsight.lattices import Lattice, site_permutations, torus_group


class Augmentation:
    r"""Snapshots turned at random: :math:`(\Phi, F) \to (g R\, \Phi,\; g R\, F)`, anew for every snapshot.

    R is an operation of the field's internal group (a rotation of all spins, with time reversal their reversal too), g
    one of the point group of a site that fits the shape of the torus. Forces transform as the field does. Translations
    are left out, for every network on a grid has them. What has to be learned grows with the size of the group: an
    equivariant force field needs none of this.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), sec. 3.4.1.
    """

    def __init__(self, lattice: Lattice, field_type: FieldType) -> None:
        group = torus_group(lattice)
        self.field_type = field_type
        self.laws = torch.as_tensor(field_type.representation(group))
        # sources[g, i]: the site whose value arrives at site i.
        self.sources = torch.from_numpy(np.argsort(site_permutations(lattice, group), axis=1))

    @classmethod
    def of(cls, model: ForceField) -> Augmentation:
        """That of a learned force field, by the law of its field."""
        if not isinstance(model, LearnedForceField):
            raise TypeError(
                f"augment=True needs one learned part that names the law of its field, such as "
                f"LearnedForceField; {model!r} does not."
            )
        return cls(model.lattice, model.field_type)

    def __call__(self, field: Tensor, force: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Turned fields and forces ``(snapshot, site, component)``."""
        turned, turned_force, _ = self.weighted(field, force, None, rng)
        return turned, turned_force

    def weighted(
        self, field: Tensor, force: Tensor, weight: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same with weights of the sites ``(snapshot, site)``, which move along."""
        element = torch.randint(len(self.sources), (len(field),), generator=rng)
        turns = torch.stack([self.field_type.internal_operation(field.shape[-1], rng) for _ in element])
        matrix = (self.laws[element] @ turns).to(field.device, field.dtype)
        source = self.sources[element].to(field.device)
        everywhere = source[..., None].expand_as(field)
        turned = [torch.einsum("bij,bnj->bni", matrix, x).gather(1, everywhere) for x in (field, force)]
        return turned[0], turned[1], None if weight is None else weight.gather(1, source)
