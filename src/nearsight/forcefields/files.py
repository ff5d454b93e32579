"""Learned force fields on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nearsight._validation import instance
from nearsight.forcefields.card import Card
from nearsight.forcefields.forcefield import ForceField
from nearsight.forcefields.model_folder import read_model, write_model


def save(forcefield: ForceField, directory: str | Path, *, card: Card | None = None) -> None:
    """Write ``model.yaml`` and ``weights.safetensors`` to a directory, atomically; an older model there is replaced.

    Parameters
    ----------
    forcefield: learned, or a sum or another composition of learned and exact ones.
    card: what it was learned from and where it holds; the one it carries, if none is given.

    Raises ``TypeError`` for a force field that could not be read back from its description.
    """
    instance(forcefield, ForceField, "forcefield")
    described = forcefield.config()
    try:
        ForceField.from_config(described)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise TypeError(
            f"{type(forcefield).__name__} cannot be read back from its description ({error}): save the learned part."
        ) from error
    card = forcefield.card if card is None else instance(card, Card, "card")
    if card is not None:
        described |= {"card": card.config()}
    write_model(forcefield, described, _dtype(forcefield), directory)


def load(directory: str | Path) -> ForceField:
    """The force field that :func:`save` wrote, on the lattice it was trained on; move it with ``.on(lattice)``.

    Its :attr:`~ForceField.card` is the one it was saved with.

    Raises ``CorruptFileError`` that names a file which is damaged or belongs to another model.
    """
    return read_model(_built, directory)


def _built(described: dict[str, Any]) -> ForceField:
    card = described.pop("card", None)
    found = ForceField.from_config(_present(described))
    found._card = None if card is None else Card.from_config(card)
    return found


def _present(described: dict[str, Any]) -> dict[str, Any]:
    """A description as it is now, from those of 0.1: a descriptor and its network, or a network, and the lattice."""
    if "lattice" not in described:
        return {"type": "LearnedForceField"} | described
    lattice, network = described["lattice"], described["network"]
    if "descriptor" in described:
        descriptor = described["descriptor"] | {"lattice": lattice}
        model = {"type": "BehlerParrinello", "descriptor": descriptor, "network": network}
    else:
        model = {"type": "GroupCNN", "lattice": lattice} | network  # the first files knew one kind of network
    return {"type": "LearnedForceField", "model": model}


def _dtype(forcefield: ForceField) -> torch.dtype:
    """The precision of the parameters."""
    parameter = next(forcefield.parameters(), None)
    return torch.float64 if parameter is None else parameter.dtype
