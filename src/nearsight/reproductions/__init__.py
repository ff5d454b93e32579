"""Models to compare with: published networks, and energies of moves without an energy whose differences they are."""

from nearsight.reproductions.five_cases import FiveCaseCNN, FiveCases
from nearsight.reproductions.move_centred import MoveCentred

__all__ = [
    "FiveCaseCNN",
    "FiveCases",
    "MoveCentred",
]
