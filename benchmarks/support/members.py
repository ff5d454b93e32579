"""Every local model of the library on the square lattice, with as many parameters as asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from nearsight.descriptors import ACSF, MODES, Descriptor, Irreps
from nearsight.fields import FieldType
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import Lattice
from nearsight.networks import MLP, GroupCNN, LatticeNetwork, SymmetrisedMLP

Build = Callable[[int], LearnedForceField]
"""From the one free width of a model to the model."""


def descriptors(lattice: Lattice, law: FieldType, cutoff: float) -> dict[str, Callable[[], Descriptor]]:
    """Invariants of a neighbourhood: all modes of Irreps, the hard phases of the papers, symmetry functions."""
    found: dict[str, Callable[[], Descriptor]] = {
        mode: lambda mode=mode: Irreps(lattice, law, cutoff, mode=mode)  # type: ignore[misc]
        for mode in MODES
    }
    found["phase, ε = 0"] = lambda: Irreps(lattice, law, cutoff, mode="phase", eps=0.0)
    found["symmetry functions"] = lambda: ACSF(lattice, law, cutoff)
    return found


def models(
    lattice: Lattice, law: FieldType, cutoff: float, *, exclude: tuple[str, ...] = (), seed: int = 0
) -> dict[str, Build]:
    """Descriptors with a network of two equal layers, and networks on the lattice with both heads."""

    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def with_network(make: Callable[[], Descriptor]) -> Build:
        descriptor = make()
        return lambda width: LearnedForceField(descriptor, MLP((width, width), rng=rng()))

    def on_lattice(make: Callable[[int], LatticeNetwork]) -> Build:
        return lambda width: LearnedForceField(make(width))

    found = {
        name: with_network(make) for name, make in descriptors(lattice, law, cutoff).items() if name not in exclude
    }
    for head in ("energy", "force"):
        found[f"group convolution, {head}"] = on_lattice(
            lambda width, head=head: GroupCNN(lattice, law, channels=width, head=head, rng=rng())  # type: ignore[misc]
        )
        found[f"symmetrised network, {head}"] = on_lattice(
            lambda width, head=head: SymmetrisedMLP(  # type: ignore[misc]
                lattice, law, cutoff=cutoff, widths=(width, width), head=head, rng=rng()
            )
        )
    return found


def parameters(forcefield: LearnedForceField) -> int:
    """Numbers that a fit adjusts."""
    return sum(p.numel() for p in forcefield.parameters() if p.requires_grad)


def sized(build: Build, target: int) -> LearnedForceField:
    """The model whose number of parameters is nearest to ``target``."""
    previous = build(1)
    for width in itertools.count(2):
        following = build(width)
        if parameters(following) >= target:
            closer = parameters(following) - target < target - parameters(previous)
            return following if closer else previous
        previous = following
    raise AssertionError
