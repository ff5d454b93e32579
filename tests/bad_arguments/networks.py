"""Networks: sizes, cutoffs, heads and what they are built on."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.fields import scalar, spin
from nearsight.lattices import Lattice, honeycomb, site_group, square, triangular
from nearsight.networks import (
    EDNN,
    MLP,
    AttentionAutoregression,
    BarCNN,
    BlockCNN,
    EmbeddedNetwork,
    GroupCNN,
    GroupConvolution,
    GRUAutoregression,
    HiddenSpinAutoregression,
    LogisticAutoregression,
    SpinCNN,
    Symmetrised,
    SymmetrisedMLP,
    TorqueResNet,
    lattice_operations,
)
from nearsight.reproductions import FiveCaseCNN

LATTICE = square(4)
WIDE = Lattice("wide", 3.9 * np.eye(2), [[0, 0]], (4, 4))
FIELDS = {
    GroupCNN: scalar(),
    SymmetrisedMLP: scalar(),
    EmbeddedNetwork: scalar(),
    SpinCNN: spin(),
    TorqueResNet: spin(),
}
NOT_RNG = (0, 1.5, "seed", np.random.default_rng(1), torch.Generator)
NOT_SIZES = (None, 8, "88", (0,), (8, None), (8.5,), (True,), (-1,), (math.nan,), np.ones((2, 2)))
NOT_RADII = (None, 1.5, "12", (), (math.nan,), (1.5, None), (-1.0,), (0.5,), (1j,), (True,), (1e9,))
AROUND, D4 = LATTICE.neighbourhood(1.0), site_group(LATTICE)
PROBABILITIES = (LogisticAutoregression, HiddenSpinAutoregression, GRUAutoregression, AttentionAutoregression)
LOGISTIC = LogisticAutoregression(square(2))
BAR = square(6, 4, periodic=(False, True))
LAYER = {"neighbourhood": AROUND, "group": D4, "inputs": 1, "outputs": 1, "rng": torch.Generator()}

ROWS = [
    *(r for kind, field in FIELDS.items() for r in each(kind, "lattice", [*NOT_OBJECTS, honeycomb(3)],
                                                      field_type=field)),
    *(r for kind in FIELDS for r in each(kind, "field_type", NOT_OBJECTS, lattice=LATTICE)),
    *(r for kind, field in FIELDS.items() for r in each(kind, "rng", NOT_RNG, lattice=LATTICE, field_type=field)),
    *(r for kind in (GroupCNN, SymmetrisedMLP, SpinCNN)
      for r in each(kind, "head", (None, "forces", 1), lattice=LATTICE, field_type=FIELDS[kind])),
    *(r for kind in (GroupCNN, SymmetrisedMLP, SpinCNN, EmbeddedNetwork)
      for r in each(kind, "group", (3, "D4", [], site_group(triangular(3))), lattice=LATTICE, field_type=FIELDS[kind])),
    *(r for kind in (GroupCNN, SymmetrisedMLP)
      for r in each(kind, "parity", ("even", 1, True), lattice=LATTICE, field_type=scalar())),
    *(r for kind in (GroupCNN, SpinCNN, EmbeddedNetwork)
      for r in each(kind, "channels", NOT_COUNTS, lattice=LATTICE, field_type=FIELDS[kind])),
    *(r for kind in (GroupCNN, SpinCNN)
      for r in each(kind, "radii", NOT_RADII, lattice=LATTICE, field_type=FIELDS[kind])),
    *each(GroupCNN, "scales", (None, 1.0, "x", (math.nan,), (1j,)), lattice=LATTICE, field_type=scalar()),
    *each(SymmetrisedMLP, "cutoff", [*NOT_FINITE, -1.0, 0.5], lattice=LATTICE, field_type=scalar()),
    *each(SymmetrisedMLP, "widths", (*NOT_SIZES, ()), lattice=LATTICE, field_type=scalar()),
    *each(EmbeddedNetwork, "radius", [*NOT_FINITE, -1.0, 0.5], lattice=LATTICE, field_type=scalar()),
    *each(EmbeddedNetwork, "widths", NOT_SIZES, lattice=LATTICE, field_type=scalar()),
    *each(TorqueResNet, "channels", (*NOT_SIZES, ()), lattice=LATTICE, field_type=spin()),
    *each(TorqueResNet, "kernel", [*NOT_COUNTS, 4], lattice=LATTICE, field_type=spin()),
    row(GroupCNN, LATTICE, spin()),
    row(SpinCNN, LATTICE, scalar()),
    row(TorqueResNet, LATTICE, scalar()),
    row(EmbeddedNetwork, LATTICE, spin()),
    row(GroupCNN, WIDE, scalar()),
    *each(BarCNN, "lattice", [*NOT_OBJECTS, LATTICE, square(4, periodic=False), honeycomb(3)]),
    *each(BarCNN, "channels", NOT_COUNTS, BAR),
    *each(BarCNN, "signals", [*NOT_WHOLE, -1], BAR),
    *(r for name in ("radii", "radii_after") for r in each(BarCNN, name, NOT_RADII, BAR)),
    *(r for name in ("scales", "distances") for r in each(BarCNN, name, (None, 1.0, "x", (math.nan,), (0.0,)), BAR)),
    *each(BarCNN, "voltages", (None, 1.0, "x", (math.nan,), (1j,)), BAR),
    *each(BarCNN, "temperatures", (1.0, "x", (0.1,), (math.nan, 0.1), (-0.1, 0.1), (0.1, 0.1), (0.2, 0.1)), BAR),
    *each(BarCNN, "head", (None, "forces", 1), BAR),
    *each(BarCNN, "vanishes", NOT_FLAGS, BAR),
    *each(BarCNN, "rng", NOT_RNG, BAR),
    row(BarCNN(BAR), torch.zeros(1, 2, 10, 8)),
    *each(MLP, "widths", (*NOT_SIZES, ())),
    *each(MLP, "rng", NOT_RNG),
    *each(BlockCNN, "side", [*NOT_COUNTS, 2]),
    *each(BlockCNN, "channels", NOT_COUNTS, side=4),
    *each(BlockCNN, "rng", NOT_RNG, side=4),
    *each(FiveCaseCNN, "features", [*NOT_COUNTS, 18]),
    *each(FiveCaseCNN, "rng", NOT_RNG),
    *(r for name in ("neighbourhood", "group") for r in each(GroupConvolution, name, NOT_OBJECTS, **LAYER)),
    *(r for name in ("inputs", "outputs") for r in each(GroupConvolution, name, NOT_COUNTS, **LAYER)),
    *each(GroupConvolution, "rng", (None, *NOT_RNG), **LAYER),
    *(r for kind in PROBABILITIES for r in each(kind, "lattice", NOT_OBJECTS)),
    *(r for kind in PROBABILITIES for r in each(kind, "n_states", [*NOT_COUNTS, 1, 128], lattice=LATTICE)),
    *(r for kind in PROBABILITIES for r in each(kind, "order", (None, 3, "snail", (0, 1), range(1, 17), (0.5,) * 16),
                                                lattice=LATTICE)),
    *(r for kind in PROBABILITIES for r in each(kind, "symmetry", (None, True, "Z2"), lattice=LATTICE)),
    *(r for kind in PROBABILITIES[1:] for r in each(kind, "rng", NOT_RNG, lattice=LATTICE)),
    *(r for kind in PROBABILITIES[1:3] for r in each(kind, "hidden", NOT_COUNTS, lattice=LATTICE)),
    *each(GRUAutoregression, "dropout", [*NOT_FINITE, -0.1, 1.0], lattice=LATTICE),
    *(r for name in ("channels", "layers", "heads")
      for r in each(AttentionAutoregression, name, NOT_COUNTS, lattice=LATTICE)),
    row(AttentionAutoregression, LATTICE, heads=5),
    row(LOGISTIC.on, square(3)),
    *(r for f in (LOGISTIC.log_prob, LOGISTIC.conditionals)
      for r in each(f, "states", (None, "up", torch.zeros(4), torch.zeros(5, dtype=torch.int8), torch.full((4,), 2)))),
    *each(LOGISTIC.sample, "count", NOT_COUNTS, rng=torch.Generator()),
    *each(LOGISTIC.sample, "rng", (None, *NOT_RNG), count=2),
    *each(HiddenSpinAutoregression(square(2)).start_from, "logistic", (None, "fit", LogisticAutoregression)),
    *each(Symmetrised, "model", (None, 3, LogisticAutoregression, MLP())),
    *each(Symmetrised, "operations", ("D4", np.eye(4), np.zeros((0, 4), int), [[0, 0, 1, 2]], [[1, 2, 3, 0]]),
          model=LOGISTIC),
    *each(lattice_operations, "lattice", NOT_OBJECTS),
    *each(lattice_operations, "step", (None, 1.5, -1, 3), lattice=LATTICE),
    *each(lattice_operations, "point_group", (None, 1, "D4"), lattice=LATTICE),
    *each(EDNN, "lattice", (*NOT_OBJECTS, square(3), square(5), honeycomb(4), BAR)),
    *each(EDNN, "focus", (*NOT_COUNTS, 5), lattice=LATTICE),
    *each(EDNN, "context", (*NOT_WHOLE, -1, 2), lattice=LATTICE),
    *each(EDNN, "widths", NOT_SIZES, lattice=LATTICE),
    *each(EDNN, "n_states", (*NOT_COUNTS, 1, 128), lattice=LATTICE),
    *(r for name in ("symmetric", "internal") for r in each(EDNN, name, NOT_FLAGS, lattice=LATTICE)),
    *each(EDNN, "rng", NOT_RNG, lattice=LATTICE),
    *each(EDNN(LATTICE), "states", (None, "up", torch.zeros(16), torch.zeros(9, dtype=torch.int8),
                                    torch.full((16,), 2))),
]  # fmt: skip
