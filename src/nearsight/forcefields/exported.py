"""Learned force fields as programs of PyTorch alone, which run where nearsight is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearsight._validation import filename, instance, integer
from nearsight.forcefields.forcefield import ForceField

AGREE = 1e-4
"""Largest relative deviation of an exported force from the original, in single precision; 10⁻¹⁰ in double."""


def export(forcefield: ForceField, path: str | Path, *, batch: int | None = None) -> Path:
    """Write a learned force field on its lattice as a program of ``torch.export`` (``.pt2``).

    Forces are derived once and for all: the program holds the operations of the energy and of its gradient, for fields
    of one shape and of the precision of the parameters. It needs PyTorch alone::

        program = torch.export.load("holstein.pt2").module()
        force, energy = program(field)      # energy is absent where there is none: (force,)

    and compiles ahead of time with ``torch._inductor.aoti_compile_and_package``, for C++ too.

    Parameters
    ----------
    forcefield: a learned one, or a sum of learned and classical ones; on the CPU.
    path: where to write it. batch: fields at a time; None for a field without a batch ``(site, component)``.

    ``ValueError`` for a force field with steps outside of PyTorch (electrons, compiled kernels): the program is
    compared with the force field on two fields, and not written if they differ by more than rounding.

    Cost: one evaluation, and a program as large as its steps; fields of 10⁵ sites and more are evaluated in tiles, each
    a part of the program.

    References
    ----------
    J. Ansel et al., PyTorch 2, ASPLOS 2024, doi:10.1145/3620665.3640366.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    instance(forcefield, ForceField, "forcefield", "forcefields.load(path) reads a learned one.")
    path, parameters = filename(path, "path"), list(forcefield.parameters())
    if not parameters:
        raise ValueError(f"{forcefield!r} has no parameters: there is nothing learned to export.")
    leading = () if batch is None else (integer(batch, "batch", least=1),)
    shape = (*leading, forcefield.lattice.n_sites, forcefield.components)
    rng = torch.Generator().manual_seed(0)
    fields = [_field(forcefield, shape, rng).to(parameters[0].dtype) for _ in range(2)]
    fields[1] = fields[1] if _bounded(forcefield) else 0.5 * fields[1]
    training = forcefield.training
    try:
        forcefield.eval()
        exact = [_plain(forcefield, field) for field in fields]
        try:
            with torch.no_grad():
                graph = _with_constants(make_fx(lambda field: _plain(forcefield, field))(fields[0]))
                program = torch.export.export(_Program(graph), (fields[0],))
            found = [program.module()(field) for field in fields]
        except Exception as error:  # what tracing meets has no common kind
            raise ValueError(f"{forcefield!r} has steps that torch.export cannot follow: {error}") from error
    finally:
        forcefield.train(training)
    limit = AGREE if parameters[0].dtype == torch.float32 else 1e-10
    for right, got in zip(exact, found, strict=True):
        if not all(_agree(a, b, limit) for a, b in zip(right, got, strict=True)):
            raise ValueError(
                f"{forcefield!r} has steps outside of PyTorch, which the exported program lacks: it gives other "
                f"forces. Use the force field itself."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, path)
    return path


def _with_constants(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The graph with the parameters as numbers of its own: nothing is learned any more, and no memory is shared."""
    for name in {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}:
        if isinstance(value := getattr(graph, name), Tensor):
            delattr(graph, name)
            graph.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))
    return graph


class _Program(nn.Module):
    def __init__(self, graph: Any) -> None:
        super().__init__()
        self.graph_of_operations = graph

    def forward(self, field: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = tuple(self.graph_of_operations(field))
        return found


def _plain(forcefield: ForceField, field: Tensor) -> tuple[Tensor, ...]:
    """Force, and energy if there is one, without a graph."""
    force, energy = forcefield.evaluate(field)
    return (force.detach(),) if energy is None else (force.detach(), energy.detach())


def _agree(right: Tensor, found: Tensor, limit: float) -> bool:
    return float((right - found).abs().max()) <= limit * float(right.abs().max().clamp_min(1e-30))


def _bounded(forcefield: ForceField) -> bool:
    return forcefield.field_type is not None and forcefield.field_type.values != "real"


def _field(forcefield: ForceField, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    law = forcefield.field_type
    if law is None:
        return torch.randn(shape, generator=rng)
    return law.random(shape[-2], shape[-1], rng, *shape[:-2])
