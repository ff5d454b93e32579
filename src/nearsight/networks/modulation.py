"""Networks whose channels are scaled by functions of parameters, and those networks at one value of them."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import instance, integer
from nearsight.networks.group_cnn import GroupCNN
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import LatticeNetwork
from nearsight.networks.spin_cnn import SpinCNN


class Modulation(Described, nn.Module):
    r"""Factors for the channels of a network, as polynomials of parameters.

    After every group convolution, and before the readout, channel c of a field whose parameters are u is changed to

    .. math:: h_c \to \Bigl(1 + \sum_k A_{ck} P_k(u)\Bigr)\, h_c + \sum_k B_{ck} P_k(u) ,

    with products P_k of Chebyshev polynomials of total degree 1 to ``degree``. A and B are learned, and start at 0, a
    network that knows no parameters; B is there in layers with a bias alone. All operations of the point group share a
    factor, so that every symmetry of the network stays what it is, exactly, and so does its parity.

    At one value of u the factors are those of the weights, W_c → (1 + ...) W_c: :meth:`at` gives an ordinary network,
    at the cost of one.

    Parameters
    ----------
    network: of group convolutions (:class:`GroupConvolution`), such as :class:`GroupCNN` and :class:`SpinCNN`.
    inputs: number of parameters, each rescaled to [-1, 1].
    degree: of the polynomials.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> network = ns.networks.GroupCNN(ns.lattices.square(6), ns.fields.scalar(), channels=2)
    >>> modulation = ns.networks.Modulation(network, inputs=2, degree=2)
    >>> field, u = torch.ones(3, 36, 1), torch.tensor([[0.0, 0.5], [1.0, 0.5], [0.0, -1.0]])  # three fields, each its u
    >>> with modulation.applied(u):
    ...     energies = network.local(field)
    >>> torch.allclose(energies[1], modulation.at(u[1]).local(field[1]))
    True

    References
    ----------
    E. Perez et al., FiLM: visual reasoning with a general conditioning layer, arXiv:1709.07871.
    """

    def __init__(self, network: GroupCNN | SpinCNN, inputs: int, *, degree: int = 2) -> None:
        super().__init__()
        instance(network, (GroupCNN, SpinCNN), "network", "The layers that are modulated are group convolutions.")
        # Held in a tuple: the weights belong to whoever owns the network, and are not listed twice.
        self._network = (network,)
        self.inputs, self.degree = integer(inputs, "inputs", least=0), integer(degree, "degree", least=1)
        several = itertools.product(range(self.degree + 1), repeat=self.inputs)
        self.powers = [powers for powers in several if 0 < sum(powers) <= self.degree]
        layers = _layers(network)
        outputs = [*(layer.outputs for layer in layers), network.channels] if self.powers else []
        biased = {str(k): n for k, n in enumerate(outputs[:-1]) if layers[k].bias is not None}
        self.gains = nn.ParameterList(torch.zeros(n, len(self.powers)) for n in outputs)
        self.shifts = nn.ParameterDict({k: torch.zeros(n, len(self.powers)) for k, n in biased.items()})

    @property
    def network(self) -> GroupCNN | SpinCNN:
        """The network that is modulated."""
        return self._network[0]

    def polynomials(self, u: Tensor) -> Tensor:
        """P ``(*batch, polynomial)`` of parameters u ``(*batch, parameter)``."""
        if not self.powers:
            return u.new_zeros(*u.shape[:-1], 0)
        T = [torch.ones_like(u), u]
        while len(T) <= self.degree:
            T.append(2 * u * T[-1] - T[-2])
        table = torch.stack(T, -1)
        places = range(self.inputs)
        return torch.stack([table[..., places, powers].prod(-1) for powers in self.powers], -1)

    def factors(self, u: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Factors and shifts ``(*batch, channel)`` of every layer and of the readout; none where u has no numbers."""
        P = self.polynomials(u)
        shifts = {int(k): P @ shift.T for k, shift in self.shifts.items()}
        return [(1.0 + P @ gain.T, shifts.get(k)) for k, gain in enumerate(self.gains)]

    @contextlib.contextmanager
    def applied(self, u: Tensor, network: LatticeNetwork | None = None) -> Iterator[None]:
        """While it lasts, the network serves a batch of fields with parameters u ``(batch, parameter)``, each its own.

        ``network`` stands for the same one on another lattice.
        """
        network = self.network if network is None else network
        places: list[Any] = [*_layers(network), network]
        try:
            for place, factor in zip(places, self.factors(u), strict=False):
                place.modulation = factor
            yield
        finally:
            for place in places:
                place.modulation = None

    @torch.no_grad()
    def at(self, u: Tensor) -> GroupCNN | SpinCNN:
        """The network at parameters u ``(parameter,)``, with weights of its own."""
        other = copy.deepcopy(self.network)
        for place, factor in zip([*_layers(other), other], self.factors(u), strict=False):
            _fold(place, *factor)
        return other


def _layers(network: nn.Module) -> list[GroupConvolution]:
    return [module for module in network.modules() if isinstance(module, GroupConvolution)]


def _fold(place: Any, gain: Tensor, shift: Tensor | None) -> None:
    if isinstance(place, GroupCNN | SpinCNN):
        place.readout.mul_(gain)
        return
    place.weight.mul_(gain[:, None, None, None])
    if place.bias is not None:
        place.bias.mul_(gain).add_(shift)
