"""Reference vectors of every irrep, read from the neighbourhood itself by a template of weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors.blocks import Block
from nearsight.groups import PointGroup


class Reference:
    r"""A template w seen from all sides of the group, and its components in the irreps.

    With the copies X_r of an irrep Γ in the neighbourhood, the overlap of the turned template with the field is

    .. math:: \rho(g) = \sum_j w_j (g^{-1}\Phi)_j = \sum_{\Gamma k\mu} D^\Gamma_{\mu k}(g)\, v^\Gamma_{k\mu},
              \qquad v^\Gamma_{k\mu} = \sum_r (w^T X_r)_k\, f_{r\mu},

    so that every row :math:`v_k` transforms like the coefficients :math:`f_r` themselves. The trivial irrep, which is
    invariant already, is left out. ``weights`` holds, block by block, the matrices from coefficients to v; ``lift``
    those from v to ρ. ``count`` limits k; without it all d vectors of an irrep are kept. Templates are scaled such that
    independent fields of unit variance give ρ unit variance.
    """

    def __init__(
        self, blocks: Sequence[Block], group: PointGroup, template: np.ndarray, count: int | None = None
    ) -> None:
        self.trivial = group.irreps[0].name
        present = {name for block in blocks for name, _ in block.copies} - {self.trivial}
        self.irreps = [irrep for irrep in group.irreps if irrep.name in present]
        self.slices: dict[str, tuple[slice, int]] = {}
        self.size = 0
        for irrep in self.irreps:
            rows = (count or irrep.dim) * irrep.dim
            self.slices[irrep.name] = slice(self.size, self.size + rows), irrep.dim
            self.size += rows
        self.weights = [np.zeros((self.size, *block.basis.shape[:2])) for block in blocks]
        power = 0.0
        for block, weights in zip(blocks, self.weights, strict=True):
            w = template[block.members].reshape(len(block.members), -1)
            overlap = np.einsum("ors,os->or", block.basis, w)
            for name, rows in block.rows(group).items():
                if name == self.trivial:
                    continue
                where, dim = self.slices[name]
                omega = overlap[:, rows].reshape(len(w), -1, dim)  # orbit, copy, k
                power += float((omega**2).sum())
                mixing = np.einsum("ork,mn->kmorn", omega[..., :count], np.eye(dim))
                weights[where, :, rows] = mixing.reshape(-1, len(w), omega.shape[1] * dim)
        for weights in self.weights:
            weights /= np.sqrt(power or 1.0)
        kept = [irrep.matrices[:, :, :count].transpose(0, 2, 1).reshape(len(group), -1) for irrep in self.irreps]
        self.lift = np.concatenate(kept, axis=1) if kept else np.zeros((len(group), 0))

    def vectors(self, coefficients: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """All v ``(Γ k μ, point)`` from the coefficients of every block ``(orbit, row, point)``."""
        return torch.stack([w.flatten(1) @ f.flatten(0, 1) for w, f in zip(weights, coefficients, strict=True)]).sum(0)

    def split(self, vectors: Tensor) -> dict[str, Tensor]:
        """v of every irrep ``(k, μ, point)``."""
        return {name: vectors[where].unflatten(0, (-1, dim)) for name, (where, dim) in self.slices.items()}


def wedge(blocks: Sequence[Block], vectors: np.ndarray) -> np.ndarray:
    """One site of every orbit, all from the same wedge of the neighbourhood: 1 for these neighbours, 0 elsewhere.

    Only the largest orbits have a site inside each wedge; the others lie on the mirrors and would be counted twice.
    """
    largest = max(block.members.shape[1] for block in blocks)
    direction = np.cos(0.3) * np.eye(vectors.shape[1])[0] + np.sin(0.3) * 0.7 ** np.arange(vectors.shape[1])
    weights = np.zeros(len(vectors))
    for block in blocks:
        if block.members.shape[1] == largest:
            ahead = (vectors @ direction)[block.members]
            weights[block.members[np.arange(len(ahead)), ahead.argmax(axis=1)]] = 1.0
    return weights


def triple_invariants(group: PointGroup, names: Sequence[str]) -> list[tuple[tuple[str, str, str], np.ndarray]]:
    r"""Invariant tensors C of :math:`\sum C_{abc} u_a v_b w_c` for triples of irreps, one vector of each irrep.

    They span the fixed space of the averaged product :math:`\langle D_1 \otimes D_2 \otimes D_3\rangle_g`. Tensors that
    vanish when equal irreps share one vector (antisymmetric ones, such as A2·E·E of D4) are dropped.
    """
    rng = np.random.default_rng(0)
    samples = {name: rng.normal(size=(8, group.irrep(name).dim)) for name in names}
    result = []
    for triple in itertools.combinations_with_replacement(names, 3):
        a, b, c = (group.irrep(name).matrices for name in triple)
        shape = a.shape[-1], b.shape[-1], c.shape[-1]
        average = np.einsum("gij,gkl,gmn->ikmjln", a, b, c, optimize=True).reshape(np.prod(shape), -1) / len(group)
        values: list[np.ndarray] = []
        for column in average.T:
            tensor = column.reshape(shape)
            value = np.einsum("abc,na,nb,nc->n", tensor, *(samples[name] for name in triple))
            for earlier in values:
                value = value - earlier * (earlier @ value) / (earlier @ earlier)
            if np.abs(value).max() > 1e-8:
                values.append(value)
                result.append(((triple[0], triple[1], triple[2]), tensor / np.linalg.norm(tensor)))
    return result
