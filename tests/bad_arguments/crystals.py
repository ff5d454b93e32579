"""Crystals."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_NUMBERS, NOT_OBJECTS, each
from nearsight.analysis import best_numbers, controlled_mean, multilevel_mean
from nearsight.crystals import (
    AtomsProperty,
    Crystal,
    DisplacementBlocks,
    EspressoGap,
    ForceConstants,
    SecondOrder,
    SlaterKoster,
    ThermalDisplacements,
    TightBinding,
    ValenceForceField,
    carbon,
    evaluate,
    silicon,
)
from nearsight.descriptors import BlockDisplacements
from nearsight.lattices import diamond, square

SI = silicon(3)
PHI = ValenceForceField.silicon().force_constants(SI)
THERMAL = ThermalDisplacements(PHI, SI)
SK = SlaterKoster.silicon()
GAP = TightBinding(SI, SK)
U = torch.zeros(2, 54, 3, dtype=torch.float64)
RNG = torch.Generator()
FRONT = BlockDisplacements(SI.lattice, 5.398)
FORM = np.zeros((2, 54, 3, 3))
NOT_DISPLACEMENTS = (None, U.numpy(), U[:, :5], U[..., :2], U.long(), U * math.nan, "u")

ROWS = [
    *each(Crystal, "lattice", (*NOT_OBJECTS, square(3), diamond(3, periodic=False))),
    *each(Crystal, "masses", ((1.0,), (1.0, -1.0), "ab", (None, 1.0)), SI.lattice),
    *each(silicon, "length", NOT_COUNTS),
    *each(carbon, "a", (*NOT_NUMBERS, 0.0, -5.0), 3),
    *each(ForceConstants, "crystal", NOT_OBJECTS, matrices=PHI.matrices),
    *each(ForceConstants, "matrices", (None, "phi", FORM, PHI.matrices * 1j, PHI.matrices * math.nan), PHI.crystal),
    *each(ForceConstants, "tol", (*NOT_NUMBERS, 0.0), PHI.crystal, PHI.matrices),
    *each(ValenceForceField, "stretch", NOT_NUMBERS, bend=1.0),
    *each(ValenceForceField.silicon().force_constants, "crystal", NOT_OBJECTS),
    *each(ThermalDisplacements, "force_constants", NOT_OBJECTS),
    *each(ThermalDisplacements, "crystal", (1, "Si", carbon(3), silicon(3, a=5.5)), PHI),
    *each(ThermalDisplacements, "statistics", ("bose", 1, None), PHI),
    *each(THERMAL.sample, "count", NOT_COUNTS, temperature=1.0, rng=RNG),
    *each(THERMAL.sample, "temperature", (*NOT_NUMBERS, -1.0), 2, rng=RNG),
    *each(THERMAL.sample, "rng", (None, 1), 2, 1.0),
    *each(THERMAL.sample, "antithetic", (1, "yes", None), 2, 1.0, RNG),
    *each(THERMAL.covariance, "temperature", (*NOT_NUMBERS, -1.0)),
    *each(THERMAL.special, "temperature", (*NOT_NUMBERS, -1.0)),
    *each(SK.replaced, "s", NOT_NUMBERS),
    *each(SK.replaced, "exponents", (2.0, (2.0,), "22222", (None,) * 5)),
    *each(TightBinding, "crystal", (*NOT_OBJECTS, silicon(2)), parameters=SK),
    *each(TightBinding, "parameters", (*NOT_OBJECTS, {"s": 1.0}), SI),
    *each(TightBinding, "twist", (0.5, (0.5,), "abc"), SI, SK),
    *each(TightBinding, "window", (*NOT_NUMBERS, -1.0), SI, SK),
    *each(GAP.bands, "strain", (1.0, np.zeros((2, 2)), "e"), np.zeros(3)),
    *each(GAP.hamiltonian, "displacement", NOT_DISPLACEMENTS[:5]),
    *each(AtomsProperty, "function", (None, 1.0, "gap"), SI, name="gap"),
    *each(AtomsProperty, "name", (None, 1), SI, len),
    *each(evaluate, "prop", (None, len, "gap", TightBinding), displacement=U),
    *each(evaluate, "displacement", NOT_DISPLACEMENTS, GAP),
    *each(evaluate, "workers", (1.5, "2", -1), GAP, U),
    *each(SecondOrder, "matrices", (None, FORM[:1], FORM * math.nan), SI),
    *each(SecondOrder, "constant", NOT_NUMBERS, SI, FORM),
    *each(SecondOrder.from_gradient, "step", (*NOT_NUMBERS, 0.0), GAP),
    *each(SecondOrder.fitted, "value", (None, np.zeros(3), "E"), SI, U, constant=1.0),
    *each(SecondOrder.fitted, "cutoff", ("1", True, -1.0, math.nan), SI, U, np.zeros(2), constant=1.0),
    *each(EspressoGap, "pseudopotentials", ({}, {"C": "C.UPF"}), SI, pseudo_dir="."),
    *each(EspressoGap, "cutoff", (*NOT_NUMBERS, 0.0), SI, {"Si": "a"}, "."),
    *each(EspressoGap, "k_points", (1, (1, 1), (0, 1, 1), "111"), SI, {"Si": "a"}, "."),
    *each(BlockDisplacements, "edge", (*NOT_NUMBERS, 0.0), SI.lattice),
    *each(BlockDisplacements, "mode", ("all", None), SI.lattice, 5.398),
    *each(BlockDisplacements, "temperature", (1, "yes", None), SI.lattice, 5.398),
    *each(DisplacementBlocks, "front", NOT_OBJECTS, crystal=SI, displacement=U),
    *each(DisplacementBlocks, "crystal", (*NOT_OBJECTS, carbon(3)), FRONT, displacement=U),
    *each(DisplacementBlocks, "displacement", (U[0], U[:, :5], "u", None), FRONT, SI),
    *each(controlled_mean, "exact", (None, "E", np.ones((2, 2)), np.ones(1)), surrogate=np.ones(2), many=np.ones(2)),
    *each(controlled_mean, "many", ("m", math.nan, np.ones((2, 2))), np.ones(2), np.ones(2)),
    *each(multilevel_mean, "levels", ((), (np.ones(1),), ("ab",))),
    *each(best_numbers, "costs", ((1.0,), (0.0, 1.0), "ab"), (1.0, 1.0), error=1.0),
    *each(best_numbers, "error", (0.0, -1.0, "1"), (1.0, 1.0), (1.0, 1.0)),
]
