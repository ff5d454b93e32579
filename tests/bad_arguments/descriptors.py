"""Descriptors: cutoffs, modes and what they are built on."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.descriptors import (
    ACSF,
    Angular,
    BlockIrreps,
    BlockMoments,
    Irreps,
    Radial,
    SpinACE,
    SpinInvariants,
    angular_functions,
    count_distinct,
    inequivalent_occupations,
    radial_functions,
)
from nearsight.fields import scalar, spin
from nearsight.lattices import Lattice, site_group, square

LATTICE = square(4)
WIDE = Lattice("wide", 3.9 * np.eye(2), [[0, 0]], (4, 4))
SCALAR = {Irreps: scalar(), ACSF: scalar(), SpinInvariants: spin(), SpinACE: spin()}
NOT_RNG = (0, 1.5, "seed", np.random.default_rng(1), torch.Generator)
NOT_CUTOFFS = [*NOT_FINITE, -1.0, 0.5, 1e9]
IRREPS = Irreps(LATTICE, scalar(), 1.0)

ROWS = [
    *(r for kind, field in SCALAR.items() for r in each(kind, "lattice", NOT_OBJECTS, field_type=field, cutoff=1.5)),
    *(r for kind in SCALAR for r in each(kind, "field_type", NOT_OBJECTS, lattice=LATTICE, cutoff=1.5)),
    *(r for kind, field in SCALAR.items() for r in each(kind, "cutoff", NOT_CUTOFFS,
      lattice=LATTICE, field_type=field)),
    *(row(kind, WIDE, field, 1.5) for kind, field in SCALAR.items()),
    *(r for kind in (Irreps, SpinInvariants)
      for r in each(kind, "mode", (None, "lift", 1), lattice=LATTICE, field_type=SCALAR[kind], cutoff=1.5)),
    *(r for kind in (Irreps, SpinInvariants, SpinACE)
      for r in each(kind, "eps", [*NOT_FINITE, -0.1], lattice=LATTICE, field_type=SCALAR[kind], cutoff=1.5)),
    *each(Irreps, "include_centre", NOT_FLAGS, lattice=LATTICE, field_type=scalar(), cutoff=1.5),
    *(r for name in ("radial", "angular")
      for r in each(ACSF, name, ("x", 3, [1.0], [Radial], Radial(1.0)), lattice=LATTICE, field_type=scalar())),
    *(r for name in ("bond_cutoff", "chirality_cutoff")
      for r in each(SpinInvariants, name, [v for v in NOT_CUTOFFS if v is not None], lattice=LATTICE, field_type=spin(),
                    cutoff=1.5)),
    *each(SpinACE, "channels", NOT_COUNTS, lattice=LATTICE, field_type=spin(), cutoff=1.0),
    *each(SpinACE, "order", [*NOT_WHOLE, 1, 5], lattice=LATTICE, field_type=spin(), cutoff=1.0),
    *each(SpinACE, "learnable", NOT_FLAGS, lattice=LATTICE, field_type=spin(), cutoff=1.0),
    *each(SpinACE, "rng", NOT_RNG, lattice=LATTICE, field_type=spin(), cutoff=1.0),
    *each(Radial, "distance", NOT_FINITE),
    *each(Radial, "width", [*NOT_FINITE, 0.0, -1.0], distance=1.0),
    *each(Angular, "distances", (None, 1.0, "12", (1.0,), (1.0, math.nan), (1.0, None), (1j, 1))),
    *each(Angular, "width", [*NOT_FINITE, 0.0], distances=(1.0, 1.0)),
    *each(Angular, "zeta", [*NOT_COUNTS, 1.5], distances=(1.0, 1.0)),
    *each(Angular, "sign", [*NOT_WHOLE, 0, 2], distances=(1.0, 1.0)),
    *each(Angular, "pair", (1.0, "12", (1.0,), (1.0, math.nan), (1.0, 0.0)), distances=(1.0, 1.0)),
    *each(radial_functions, "cutoff", [*NOT_FINITE, 0.0]),
    *each(radial_functions, "spacing", [*NOT_FINITE, 0.0], cutoff=2.0),
    *each(angular_functions, "width", NOT_FINITE),
    *(r for kind in (BlockIrreps, BlockMoments) for r in each(kind, "side", [*NOT_COUNTS, 1])),
    *each(BlockIrreps, "mode", (None, "powers", 1), side=4),
    *each(count_distinct, "features", (None, "x", [1.0], [[math.nan]], [[1j]])),
    *each(count_distinct, "tolerance", [*NOT_FINITE, 0.0], features=[[1.0]]),
    *each(inequivalent_occupations, "neighbourhood", NOT_OBJECTS, group=site_group(LATTICE)),
    *each(inequivalent_occupations, "group", NOT_OBJECTS, neighbourhood=LATTICE.neighbourhood(1.0)),
    *(r for name in ("centre", "flip")
      for r in each(inequivalent_occupations, name, NOT_FLAGS, neighbourhood=LATTICE.neighbourhood(1.0),
                    group=site_group(LATTICE))),
    *(row(IRREPS, value)
      for value in (None, np.zeros((16, 1)), torch.zeros(16), torch.zeros(15, 1),
                    torch.zeros(16, 1, dtype=torch.int64))),
    *(row(IRREPS.on, value) for value in (*NOT_OBJECTS, WIDE)),
]  # fmt: skip
