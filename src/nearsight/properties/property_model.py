"""Intensive properties of a large system from a learned function of its blocks."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import choice, generator, instance, integer
from nearsight.descriptors import BlockDisplacements, BlockIrreps, BlockMoments
from nearsight.fields import SpinStore, check_side
from nearsight.forcefields.model_folder import read_model, write_model
from nearsight.networks import MLP, BlockCNN

Kind = Literal["value", "probability"]
Front = BlockIrreps | BlockMoments | BlockCNN | BlockDisplacements
FRONTS: dict[str, type[Front]] = {
    front.__name__: front for front in (BlockIrreps, BlockMoments, BlockCNN, BlockDisplacements)
}
ROUNDING = 1e-12
"""Labels whose spread is a smaller share of their size than this are equal."""
CHUNK = 2**19
"""Numbers of blocks that pass through a network at once where no gradient is needed."""


class Blocks(Protocol):
    """Snapshots from which blocks can be cut: :class:`nearsight.fields.SpinStore`, ``crystals.DisplacementBlocks``.

    A place, where a block lies, is ``axes`` whole numbers from 0 to ``length`` - 1: the corner of a square of spins, or
    the atom in the middle.
    """

    axes: int
    length: int

    def __len__(self) -> int: ...

    def blocks(self, snapshot: int | np.ndarray, corners: np.ndarray, side: int) -> np.ndarray: ...


def as_blocks(snapshots: Blocks | np.ndarray | Tensor) -> Blocks:
    """Spins ``(L, L)`` or ``(snapshot, L, L)`` packed; anything that can cut blocks itself as it is."""
    if isinstance(snapshots, np.ndarray | Tensor):
        return SpinStore.pack(snapshots)
    if isinstance(snapshots, type) or not all(hasattr(snapshots, name) for name in ("blocks", "length", "axes")):
        raise TypeError(
            f"snapshots must be a SpinStore or an array of ±1 (snapshot, L, L), got {type(snapshots).__name__}."
        )
    return snapshots


def check_blocks(model: PropertyModel, snapshots: Blocks) -> None:
    """Refuse snapshots in which the blocks of a model do not fit."""
    if snapshots.axes == 2:
        check_side(model.side, snapshots.length)
    elif model.side > snapshots.length:
        raise ValueError(
            f"A block of {model.side} atoms would meet itself among {snapshots.length}; take a larger supercell, or a "
            f"model of smaller blocks."
        )


class Prediction(NamedTuple):
    """What blocks say about snapshots, each entry ``(snapshot,)``.

    ``mean`` and ``spread`` are eqs. (3) and (4) of the paper: the average over the blocks, and the standard deviation
    of single blocks, a property of the system and not an error. ``error`` is the standard error of the mean with the
    correlations of overlapping blocks in it (:func:`error_of_mean`).

    :meth:`PropertyModel.predict` returns it.
    """

    mean: np.ndarray
    spread: np.ndarray
    error: np.ndarray


class PropertyModel(Described, nn.Module):
    r"""An intensive property Q of a snapshot as the average of a learned function over blocks,

    .. math:: Q = \frac{1}{M} \sum_\alpha f(B_\alpha), \qquad f = \mathrm{MLP}(\text{invariants of } B_\alpha),

    of l × l spins, exactly invariant under the point group of the block and under s → -s, or of displacements of atoms,
    under the group of the site. Snapshots may have any size that holds a block; the cost is that of the blocks one
    looks at and does not depend on the size.

    Parameters
    ----------
    front: block ``(batch, l, l)`` to invariants: :class:`~nearsight.networks.BlockCNN` (learned),
        :class:`~nearsight.descriptors.BlockIrreps` (those of the paper) or
        :class:`~nearsight.descriptors.BlockMoments` (the baseline); of blocks ``(batch, atom, 3)`` of displacements,
        :class:`~nearsight.descriptors.BlockDisplacements`.
    head: network on the invariants.
    kind: "value", a number such as the energy per site, in units that :meth:`calibrate` reads from the labels; or
        "probability", between 0 and 1 by a sigmoid.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> import torch
    >>> model = ns.properties.PropertyModel(ns.networks.BlockCNN(8, channels=2))
    >>> spins = np.where(np.indices((40, 40)).sum(0) % 2, 1, -1)  # a Néel state: every block says the same
    >>> found = model.predict(spins, n_blocks=20, rng=torch.Generator().manual_seed(1))
    >>> found.mean.shape, bool(found.spread[0] < 1e-5)
    ((1,), True)

    References
    ----------
    Z. Tian, S. Zhang, G.-W. Chern, Machine learning for structure-property relationships: Scalability and limitations
    (2023).
    """

    _parts: ClassVar = {"front": lambda told: FRONTS[told["type"]].from_config(told), "head": MLP.from_config}

    def __init__(self, front: Front, head: MLP | None = None, *, kind: Kind = "value") -> None:
        super().__init__()
        if type(front).__name__ not in FRONTS:
            raise TypeError(f"front must be one of {', '.join(FRONTS)}, got {type(front).__name__}.")
        choice(kind, "kind", get_args(Kind))
        if head is not None:
            instance(head, MLP, "head")
        self.front, self.kind = front, kind
        self.head = (head or MLP((32, 16))).build(front.features)
        self.offset: Tensor
        self.unit: Tensor
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("unit", torch.ones(()))

    @property
    def side(self) -> int:
        """Sites l along an edge of a block of spins; atoms of a block of displacements."""
        return self.front.side

    @property
    def block(self) -> tuple[int, int]:
        """Shape of a block."""
        return getattr(self.front, "block", (self.side, self.side))

    @torch.no_grad()
    def calibrate(self, blocks: Tensor, labels: Tensor | None = None) -> None:
        """Shift and scale the invariants by typical blocks, and a value by labels, to mean 0 and variance 1."""
        dtype = self.offset.dtype
        self.head.calibrate(self.front(blocks.to(dtype)))
        if self.kind == "value" and labels is not None:
            spread, size = labels.double().std(correction=0), labels.double().abs().max()
            self.offset.copy_(labels.double().mean())
            # Labels that are equal but for rounding hold nothing to learn.
            self.unit.copy_(torch.where(spread > ROUNDING * size, spread, 1.0))

    def raw(self, blocks: Tensor) -> Tensor:
        """The head's output z ``(batch,)``: log(p / (1 - p)) of a probability, (Q - offset) / unit of a value."""
        if blocks.shape[-2:] != self.block:
            kind = "spins" if self.block == (self.side, self.side) else "displacements"
            raise ValueError(
                f"This model reads blocks of {self.block[0]} × {self.block[1]} {kind}, got {tuple(blocks.shape)}; cut "
                f"them from a snapshot by SpinStore.blocks, or call predict."
            )
        return self.head(self.front(blocks.to(self.offset.dtype)))

    def forward(self, blocks: Tensor) -> Tensor:
        """The property by every block alone: ``(batch, l, l)`` of ±1 to ``(batch,)``."""
        z = self.raw(blocks)
        return torch.sigmoid(z) if self.kind == "probability" else self.offset + self.unit * z

    @torch.no_grad()
    def of_blocks(self, snapshots: Blocks, index: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """f of many blocks ``(...)``: ``index`` ``(...)`` says of which snapshot, ``corners`` ``(..., axes)`` where."""
        flat, places = np.broadcast_to(index, corners.shape[:-1]).reshape(-1), corners.reshape(-1, corners.shape[-1])
        device, step = self.offset.device, max(1, CHUNK // (self.block[0] * self.block[1]))
        found = [
            self(torch.from_numpy(snapshots.blocks(flat[k : k + step], places[k : k + step], self.side)).to(device))
            for k in range(0, len(flat), step)
        ]
        return torch.cat(found).double().cpu().numpy().reshape(corners.shape[:-1])

    def predict(
        self,
        snapshots: Blocks | np.ndarray | Tensor,
        n_blocks: int,
        rng: torch.Generator,
        *,
        index: np.ndarray | None = None,
    ) -> Prediction:
        """The property of every snapshot (or of those in ``index``) from ``n_blocks`` random blocks of each.

        ``snapshots`` are a store, of which only the bytes of the blocks are read, or arrays of ±1, ``(L, L)`` or
        ``(snapshot, L, L)``. Blocks lie anywhere on the torus and may overlap. Those about the atoms of a supercell
        mostly do, and then have no error.
        """
        generator(rng)
        snapshots = as_blocks(snapshots)
        n_blocks = integer(n_blocks, "n_blocks", least=2)
        check_blocks(self, snapshots)
        chosen = np.arange(len(snapshots)) if index is None else np.asarray(index)
        corners = torch.randint(snapshots.length, (len(chosen), n_blocks, snapshots.axes), generator=rng).numpy()
        values = self.of_blocks(snapshots, chosen[:, None], corners)
        length = snapshots.length if snapshots.axes == 2 else 1  # in a crystal, all overlap
        errors = [error_of_mean(v, c, self.side, length) for v, c in zip(values, corners, strict=True)]
        return Prediction(values.mean(1), values.std(1), np.array(errors))

    # --- on disk ----------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Write ``model.yaml`` and ``weights.safetensors``, atomically; an older model there is replaced."""
        write_model(self, self.config(), self.offset.dtype, directory)

    @classmethod
    def load(cls, directory: str | Path) -> PropertyModel:
        """The model that :meth:`save` wrote; ``CorruptFileError`` that names what is damaged."""
        return read_model(cls.from_config, directory)


def error_of_mean(values: np.ndarray, corners: np.ndarray, side: int, length: int) -> float:
    r"""Standard error of the mean of values of blocks at random places, some of which overlap.

    .. math:: \sigma^2 = \frac{\sum_{ab} K_{ab}\,(Q_a - \bar Q)(Q_b - \bar Q)}{N^2 - \sum_{ab} K_{ab}}

    with K = 1 for blocks that share spins or touch, and 0 for others. Deviations are from the mean of the sample
    itself, which lowers every product by σ² on average: the denominator restores that. Blocks far apart are taken as
    independent, so the error is too small where the correlation length exceeds l: near a critical point only several
    snapshots tell. At least the error of N independent values; NaN if all blocks overlap, as on a lattice not much
    larger than a block.

    Parameters
    ----------
    values: of the blocks ``(N,)``. corners: where they are ``(N, 2)``. side: l. length: L, periodic.
    """
    count = len(values)
    deviation = values - values.mean()
    total, pairs = 0.0, 0
    for start in range(0, count, 256):
        apart = np.abs(corners[start : start + 256, None] - corners[None])
        near = (np.minimum(apart, length - apart) <= side).all(-1)
        total += float(deviation[start : start + 256] @ (near @ deviation))
        pairs += int(near.sum())
    if pairs >= count**2:
        return float("nan")
    independent = float(deviation @ deviation) / (count * (count - 1))
    return float(np.sqrt(max(total / (count**2 - pairs), independent)))
