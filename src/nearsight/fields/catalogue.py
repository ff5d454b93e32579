"""The fields of this library's models, ready made."""

from __future__ import annotations

from nearsight._validation import boolean, integer
from nearsight.fields.field_type import FieldType


def scalar(name: str = "Q") -> FieldType:
    """One real number per site, invariant under every operation (a breathing mode, a density)."""
    return FieldType(name)


def jahn_teller() -> FieldType:
    """The modes (Q1, Qx, Qz) of an octahedron on the square lattice: breathing A1, and the e_g doublet as B1 and A1.

    Qx changes sign under quarter turns, as the product of the orbitals x² - y² and 3z² - r² does.
    """
    return FieldType("Q", ("A1", "B1", "A1"))


def displacement(name: str = "u") -> FieldType:
    """A Cartesian vector of the lattice's dimension that turns with the lattice."""
    return FieldType(name, ("vector",))


def spin(name: str = "S", *, components: int = 3, unit: bool = True, time_reversal: bool = True) -> FieldType:
    """A classical spin without spin-orbit coupling: its rotations are independent of those of the lattice.

    components: 2 (XY) or 3 (Heisenberg).
    unit: |S| = 1; False lets the length vary.
    time_reversal: the energy is even under S → -S as well; False in a magnetic field, or where an odd invariant such as
        a scalar chirality may enter alone.
    """
    if integer(components, "components") not in (2, 3):
        raise ValueError(f"A spin has 2 (XY) or 3 (Heisenberg) components, got {components}; see ising() for one.")
    law, values = ("trivial",) * int(components), "unit" if boolean(unit, "unit") else "real"
    return FieldType(name, law, "O(n)" if boolean(time_reversal, "time_reversal") else "SO(n)", values)  # type: ignore[arg-type]


def ising(name: str = "s") -> FieldType:
    """s = ±1 with the symmetry s → -s; in a field, take ``FieldType(name, values="+-1")``."""
    return FieldType(name, internal="Z2", values="+-1")


def spin_one(name: str = "s", *, even: bool = True) -> FieldType:
    """s = -1, 0 or 1, a spin that may be absent; ``even``: with the symmetry s → -s (False in a field)."""
    return FieldType(name, internal="Z2" if boolean(even, "even") else "none", values="-1,0,1")


def occupation(name: str = "n") -> FieldType:
    """0 or 1: an ion, an atom, a localised electron."""
    return FieldType(name, values="0/1")


def potts(states: int, name: str = "p") -> FieldType:
    """One of q equivalent states per site, stored as q components of which one is 1."""
    states = integer(states, "states, of a Potts variable,", least=2)
    return FieldType(name, ("trivial",) * states, "S(n)", "one-hot")
