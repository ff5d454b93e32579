"""The energy that a probability stands for: -kT ln P."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.forcefields.model_folder import read_model, write_model
from nearsight.lattices import Lattice
from nearsight.networks import AutoregressiveModel, Symmetrised

Probability = AutoregressiveModel | Symmetrised


def _probability(told: dict[str, Any]) -> Probability:
    return (Symmetrised if told["type"] == "Symmetrised" else AutoregressiveModel).from_config(told)


class AutoregressiveEnergy(Described, nn.Module):
    r"""Energies of configurations from their probability at one temperature,

    .. math:: E(a) = -kT \ln P(a) ,

    counted from the free energy at kT, since P is normalised. An energy for labels and for comparison
    (:func:`energy_errors`): one evaluation looks at the whole lattice, and it holds on this lattice only.

    Parameters
    ----------
    model: P, autoregressive or its mean over the symmetry of the lattice.
    kT: temperature of the observations it was fitted to; 1 for energies in units of kT.

    >>> import torch
    >>> from nearsight.lattices import square
    >>> from nearsight.networks import LogisticAutoregression
    >>> energy = AutoregressiveEnergy(LogisticAutoregression(square(4)), kT=2.0)
    >>> round(energy(torch.zeros(16, dtype=torch.int8)).item() / 16, 4)  # 2 ln 2
    1.3863
    """

    _parts: ClassVar = {"model": _probability}

    def __init__(self, model: Probability, *, kT: float = 1.0) -> None:
        super().__init__()
        self.model: Probability = instance(model, (AutoregressiveModel, Symmetrised), "model")  # type: ignore[assignment]
        self.kT = number(kT, "kT", above=0)

    @property
    def lattice(self) -> Lattice:
        """That of the model."""
        return self.model.lattice

    def forward(self, states: Tensor) -> Tensor:
        """E ``(*batch,)``, float64, of states ``(*batch, site)``."""
        return -self.kT * self.model.log_prob(states)

    def save(self, directory: str | Path) -> None:
        """Write ``model.yaml`` and ``weights.safetensors``, atomically; an older model there is replaced."""
        write_model(self, self.config(), next(self.parameters()).dtype, directory)

    @classmethod
    def load(cls, directory: str | Path) -> AutoregressiveEnergy:
        """The energy that :meth:`save` wrote; ``CorruptFileError`` that names what is damaged."""
        return read_model(cls.from_config, directory)
