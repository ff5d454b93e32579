"""One linear layer that commutes with translations and with the point group of the site."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations


class GroupConvolution(nn.Module):
    r"""One linear map between feature fields that commutes with translations and the point group.

    Regular features f(x, g) carry one value per group element and move as (hf)(x, g) = f(h⁻¹x, h⁻¹g). The lifting layer
    (made by giving a ``representation``) takes a site field Φ with law M(g), every other layer a regular field:

    .. math::
        f(x, g) = \sum_r w(r) \cdot M(g)^{-1} \Phi(x + g r), \qquad
        f'(x, g) = \sum_{h, r} w(h, r)\, f(x + g r, g h) .

    The free numbers are w ``(out, in, |G| or 1, neighbour)``; :meth:`kernel` copies them by a fixed index table into
    the kernel of an ordinary convolution with ``out·|G|`` channels, which is what runs.

    References
    ----------
    T. Cohen, M. Welling, Group equivariant convolutional networks, arXiv:1602.07576.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        group: PointGroup,
        inputs: int,
        outputs: int,
        *,
        rng: torch.Generator,
        representation: np.ndarray | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.moved: Tensor
        self.law: Tensor
        self.relative: Tensor
        self.reach = neighbourhood.reach
        self.box = tuple(2 * r + 1 for r in self.reach)
        self.inputs, self.outputs, self.order = inputs, outputs, len(group)
        self.lift = representation is not None
        copies = 1 if self.lift else self.order
        self.weight = nn.Parameter(torch.empty(outputs, inputs, copies, len(neighbourhood)))
        nn.init.normal_(self.weight, std=(inputs * copies * len(neighbourhood)) ** -0.5, generator=rng)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        slots = np.ravel_multi_index(tuple((neighbourhood.cells + np.array(self.reach)).T), self.box)
        # moved[g, k]: where in the box neighbour k sits after g.
        moved = slots[neighbour_permutations(neighbourhood, group)]
        self.register_buffer("moved", torch.from_numpy(moved), persistent=False)
        if representation is not None:
            inverse = np.ascontiguousarray(np.swapaxes(representation, 1, 2))  # M(g)⁻¹, orthogonal
            self.register_buffer("law", torch.from_numpy(inverse), persistent=False)
        else:
            relative = group.table[group.inverse]  # relative[g, g'] = g⁻¹ g'
            self.register_buffer("relative", torch.from_numpy(relative), persistent=False)
        self._expanded: tuple[tuple[object, ...], Tensor] | None = None

    def kernel(self) -> Tensor:
        """The kernel of the ordinary convolution ``(out·|G|, in or in·|G|, *box)``.

        In evaluation mode it is a constant, made once for every state of the weights; in training mode it is a
        differentiable function of them.
        """
        if self.training:
            return self._expand()
        state = (self.weight._version, self.weight.data_ptr(), self.weight.dtype)
        if self._expanded is None or self._expanded[0] != state:
            with torch.no_grad():
                kernel = self._expand()
            if len(self.box) == 2:
                kernel = kernel.contiguous(memory_format=torch.channels_last)
            self._expanded = (state, kernel)
        return self._expanded[1]

    def _expand(self) -> Tensor:
        if self.lift:
            turned = torch.einsum("oixk,gij->ogjk", self.weight, self.law.to(self.weight.dtype))
        else:
            turned = (
                self.weight[:, :, self.relative].permute(0, 2, 1, 3, 4).flatten(2, 3)
            )  # out, g, (in, g'), neighbour
        index = self.moved[None, :, None].expand(turned.shape)
        box = turned.new_zeros(*turned.shape[:3], int(np.prod(self.box)))
        return box.scatter(-1, index, turned).reshape(self.outputs * self.order, -1, *self.box)

    def channel_bias(self) -> Tensor | None:
        """One bias for every channel of the ordinary convolution, equal for all group elements."""
        return None if self.bias is None else self.bias.repeat_interleave(self.order)
