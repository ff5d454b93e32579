"""One linear layer that commutes with translations and with the point group of the site."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._validation import generator, instance, integer
from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations
from nearsight.networks._kernel_cache import KernelCache
from nearsight.networks._sectors import Sectors
from nearsight.networks.lattice_network import CONVOLUTIONS, Modulated, modulated


class GroupConvolution(nn.Module):
    r"""One linear map between feature fields that commutes with translations and the point group.

    Regular features f(x, g) carry one value per group element and move as (hf)(x, g) = f(h⁻¹x, h⁻¹g). The lifting layer
    (made by giving a ``representation``) takes a site field Φ with law M(g), every other layer a regular field:

    .. math::
        f(x, g) = \sum_r w(r) \cdot M(g)^{-1} \Phi(x + g r), \qquad
        f'(x, g) = \sum_{h, r} w(h, r)\, f(x + g r, g h) .

    The free numbers are w ``(out, in, |G| or 1, neighbour)``; :meth:`kernel` copies them by a fixed index table into
    the kernel of an ordinary convolution with ``out·|G|`` channels, which is what runs. Its box holds zeros where the
    neighbourhood is round: 16 % for 21 neighbours of the square lattice, 22 % in the skewed box of the 6 of the
    triangular one. Where more than half would be zeros, as for the 6 of the cubic lattice (74 %, three to ten times
    slower), the neighbours are multiplied one by one instead. With ``columns``, for lifting layers only, the fields of
    all neighbours are written side by side and multiplied at once, which is two to nine times faster where a single
    component meets a wide window.

    With ``sectors``, for regular features and fields that no operation changes, a processor works in the
    :class:`nearsight.networks._sectors.Sectors` of the group in evaluation mode: with a quarter of the multiplications
    on the square and the triangular lattice, an eighth on the cubic one. Results differ by rounding.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(8)
    >>> group, scalar = ns.lattices.site_group(lattice), ns.fields.scalar()
    >>> lifting = ns.networks.GroupConvolution(
    ...     lattice.neighbourhood(1.0), group, 1, 2, rng=torch.Generator().manual_seed(1),
    ...     representation=scalar.representation(group))
    >>> sum(w.numel() for w in lifting.parameters()), lifting.kernel().shape  # 2 × 5 free numbers, 2 × 8 channels of D4
    (10, torch.Size([16, 1, 3, 3]))

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
        columns: bool = False,
        sectors: bool = False,
    ) -> None:
        super().__init__()
        self.moved: Tensor
        self.relative: Tensor
        instance(neighbourhood, Neighbourhood, "neighbourhood", "lattice.neighbourhood(1.5) makes one.")
        instance(group, PointGroup, "group", "site_group(lattice) makes one.")
        inputs, outputs = integer(inputs, "inputs", least=1), integer(outputs, "outputs", least=1)
        generator(rng)
        self.reach = neighbourhood.reach
        self.box = tuple(2 * r + 1 for r in self.reach)
        self.inputs, self.outputs, self.order = inputs, outputs, len(group)
        # KernelCache in numpy, as a buffer would be rounded for good when the network passes through float32.
        self.representation = representation
        copies = self.order if representation is None else 1
        self.weight = nn.Parameter(torch.empty(outputs, inputs, copies, len(neighbourhood)))
        nn.init.normal_(self.weight, std=(inputs * copies * len(neighbourhood)) ** -0.5, generator=rng)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        corners = neighbourhood.cells + np.array(self.reach)
        self.corners: list[list[int]] | None = None
        if columns or 2 * len(neighbourhood) < np.prod(self.box):
            self.corners = corners.tolist()
        # moved[g, k]: where in the kernel neighbour k sits after g.
        moved = neighbour_permutations(neighbourhood, group)
        if self.corners is None:
            moved = np.ravel_multi_index(tuple(corners.T), self.box)[moved]
        self.register_buffer("moved", torch.from_numpy(moved), persistent=False)
        if representation is None:
            relative = group.table[group.inverse]  # relative[g, g'] = g⁻¹ g'
            self.register_buffer("relative", torch.from_numpy(relative), persistent=False)
        self._kept = KernelCache()
        if sectors and bias:
            raise ValueError("Layers in sectors have no bias.")
        if sectors and representation is not None and not np.array_equal(representation, np.ones_like(representation)):
            raise ValueError("A field has sectors of its own if operations change it; lift it without sectors.")
        self.sectors = (
            Sectors(neighbourhood, group, inputs, outputs, lifting=representation is not None) if sectors else None
        )
        self._kept_sectors = KernelCache()
        self.modulation: Modulated = None

    def kernel(self) -> Tensor:
        """The kernel of the ordinary convolution, ``(out·|G|, in·|G|, *box)``.

        Without a box it is ``(neighbour, out·|G|, in·|G|)``, and for a lifting layer ``(out·|G|, in·neighbour)``. In
        evaluation mode it is a constant, made once for every state of the weights; in training mode it is a
        differentiable function of them.
        """
        return self._kept(self._expand, self.weight, fresh=self.training)

    def _expand(self) -> Tensor:
        w = self.weight
        if self.representation is not None:
            law = torch.as_tensor(self.representation, dtype=w.dtype, device=w.device)
            turned = torch.einsum("oixk,gji->ogjk", w, law)  # M(g)⁻¹ is the transpose
        else:
            turned = w[:, :, self.relative].permute(0, 2, 1, 3, 4).flatten(2, 3)  # out, g, (in, g'), neighbour
        index = self.moved[None, :, None].expand(turned.shape)
        if self.corners is not None:
            flat = torch.zeros_like(turned).scatter(-1, index, turned).flatten(0, 1)
            return flat.flatten(1) if self.representation is not None else flat.movedim(-1, 0).contiguous()
        box = turned.new_zeros(*turned.shape[:3], int(np.prod(self.box)))
        kernel = box.scatter(-1, index, turned).reshape(self.outputs * self.order, -1, *self.box)
        # Once made, a constant kernel is laid out as the convolution wants it.
        keep = len(self.box) == 2 and not torch.is_grad_enabled()
        return kernel.contiguous(memory_format=torch.channels_last) if keep else kernel

    def channel_bias(self) -> Tensor | None:
        """One bias for every channel of the ordinary convolution, equal for all group elements."""
        return None if self.bias is None else self.bias.repeat_interleave(self.order)

    def forward(self, h: Tensor) -> Tensor:
        """``(batch, in or in·|G|, *shape)`` to ``(batch, out·|G|, *shape - 2 reach)``."""
        return modulated(self._convolved(h), self.modulation, self.order)

    def _convolved(self, h: Tensor) -> Tensor:
        if self.sectors is not None and not self.training and h.device.type == "cpu":
            make = functools.partial(self.sectors.kernel, self.weight)
            return self.sectors(h, self._kept_sectors(make, self.weight, fresh=False))
        if not any(self.reach) and not self.training and self.bias is None and self.corners is None:
            return (self.kernel().flatten(1) @ h.flatten(2)).unflatten(2, h.shape[2:])
        if self.corners is None:
            return CONVOLUTIONS[len(self.box)](h, self.kernel(), self.channel_bias())
        shape = [n - 2 * r for n, r in zip(h.shape[2:], self.reach, strict=True)]
        windows = [
            h[(slice(None), slice(None), *(slice(c, c + n) for c, n in zip(corner, shape, strict=True)))]
            for corner in self.corners
        ]
        bias = self.channel_bias()
        kernel, result = self.kernel(), h.new_zeros(()) if bias is None else bias[:, None]
        if self.representation is not None:
            seen = torch.stack(windows, dim=2).flatten(3).flatten(1, 2)
            result = torch.baddbmm(result, kernel.expand(len(h), -1, -1), seen)
        else:
            for matrix, window in zip(kernel, windows, strict=True):
                result = torch.baddbmm(result, matrix.expand(len(h), -1, -1), window.flatten(2))
        return result.unflatten(2, shape)

    @property
    def flops_per_site(self) -> int:
        """Multiplications and additions per site, those with the zeros of the box included; those of a processor."""
        if self.sectors is not None:
            return 2 * self.outputs * self.order * self.sectors.columns
        inputs = self.inputs * (self.order if self.representation is None else 1)
        places = int(np.prod(self.box)) if self.corners is None else len(self.corners)
        return 2 * self.outputs * self.order * inputs * places
