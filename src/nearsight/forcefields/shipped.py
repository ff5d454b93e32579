"""Learned force fields that come with the library."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from nearsight._validation import choice, instance
from nearsight.forcefields.exact import ExactForceField
from nearsight.forcefields.files import load
from nearsight.forcefields.forcefield import ForceField
from nearsight.storage import CorruptFileError

SHIPPED = Path(__file__).with_name("models")
"""A folder for each, as :func:`nearsight.forcefields.save` leaves it."""


@overload
def pretrained() -> list[str]: ...


@overload
def pretrained(name: str, exact: ExactForceField | None = None, *, classical: bool = True) -> ForceField: ...


def pretrained(
    name: str | None = None, exact: ExactForceField | None = None, *, classical: bool = True
) -> ForceField | list[str]:
    r"""The force field that a study has learned, from the package itself; without a name, those there are.

    .. math:: F = F_\mathrm{learned}(\Phi) - \partial E_\mathrm{classical} / \partial \Phi

    Its :attr:`~ForceField.card` says which electrons it learned, from which data, in which range of the field, and how
    large its errors were, on unseen snapshots and in an audited large run; ``print(learned.card)``. It is made by
    ``nearsight ship`` from a finished run of the study, which anyone can repeat.

    Parameters
    ----------
    name: of the study.
    exact: the electrons you mean, on the lattice you mean. Their classical part is taken, and a
        :class:`~nearsight.forcefields.ExtrapolationWarning` gives the numbers if other electrons were learned.
        Without them, those of the card on the lattice of the training data; ``.on(lattice)`` moves them.
    classical: False for the learned part alone, such as :class:`~nearsight.forcefields.FixedNumber` and
        :class:`~nearsight.moves.LearnedMoves` take.

    Raises ``ValueError`` for a name that is not there, which names the nearest, and ``CorruptFileError`` for files that
    are not what was shipped.

    >>> import torch
    >>> import nearsight as ns
    >>> "holstein" in ns.pretrained()
    True
    >>> learned = ns.pretrained("holstein").on(ns.lattices.square(100))
    >>> field = torch.zeros(10_000, 1)
    >>> float(learned(field).force.abs().max()) < 0.01  # half filling: no force without displacements
    True
    >>> audit = ns.Audit(learned.card.exact, sites=100)
    """
    names = sorted(page.parent.name for page in SHIPPED.glob("*/model.yaml"))
    if name is None:
        return names
    try:
        learned = load(SHIPPED / choice(name, "name", names))
    except CorruptFileError as error:
        raise CorruptFileError(f"A file of this installation is damaged, install nearsight again. {error}") from error
    card = learned.card
    if exact is not None:
        assert card is not None
        card.check(instance(exact, ExactForceField, "exact"))
        learned = learned.on(exact.lattice)
    partner = card.exact if exact is None and card is not None else exact
    if not classical or not isinstance(partner, ExactForceField):  # energies of moves have no classical part
        return learned
    return learned + partner.classical
