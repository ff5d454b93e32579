"""Energies of discrete moves, exact or learned: the seam for particles that hop, sister of the force fields."""

from nearsight.moves.exact_moves import DiagonalisingWalk, Ensembles, ExactMoves, ExactWalk
from nearsight.moves.hops import Hops
from nearsight.moves.lattice_gas import LatticeGas
from nearsight.moves.learned_moves import LearnedMoveEnergies, LearnedMoves
from nearsight.moves.move_energies import Attempts, MoveEnergies, Walk

__all__ = [
    "Attempts",
    "DiagonalisingWalk",
    "Ensembles",
    "ExactMoves",
    "ExactWalk",
    "Hops",
    "LatticeGas",
    "LearnedMoveEnergies",
    "LearnedMoves",
    "MoveEnergies",
    "Walk",
]
