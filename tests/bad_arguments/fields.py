"""Field types, textures and stores of spins."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.fields import (
    FieldType,
    cone,
    ferromagnet,
    helix,
    ising,
    jahn_teller,
    perturbed,
    potts,
    random_spins,
    scalar,
    skyrmion_lattice,
    spin,
    spin_one,
)
from nearsight.fields.blocks import SpinStore
from nearsight.fields.field_type import check_field
from nearsight.lattices import chain, site_group, square, triangular

LATTICE, MOON = square(4), triangular(12)
RNG = torch.Generator().manual_seed(1)
D4 = site_group(LATTICE)
NOT_RNG = (None, 0, 1.5, "seed", np.random.default_rng(1), torch.Generator)
NOT_VECTORS = (None, "x", 1.0, (1.0, 2.0), (0, 0, 0), (0.0, math.nan, 1.0), (1j, 0, 0), (True, False, True))
SPINS = torch.ones(16, 3)
STORE = SpinStore.pack(np.ones((2, 4, 4)))

ROWS = [
    *each(FieldType, "name", (None, 3)),
    *each(FieldType, "law", (None, "B1", (), (1,), 3, (None,)), name="Q"),
    *each(FieldType, "internal", (None, "Z3", "o(n)", 2), name="Q"),
    *each(FieldType, "values", (None, "units", 1), name="Q"),
    *each(FieldType, "basis", ("x", 1.0, ((1.0, 0.0),), ((2.0,),), ((math.nan,),), ((1j,),)), name="Q"),
    row(FieldType, "S", ("B1",), "O(n)"),
    *(row(jahn_teller().representation, value) for value in NOT_OBJECTS),
    row(FieldType("Q", ("B7",)).representation, D4),
    row(FieldType("Q", ("B1",), basis=((1.0, 0.0), (0.0, 1.0))).representation, D4),
    *each(FieldType.from_matrices, "matrices", (None, "x", np.eye(2), np.ones((8, 2, 2))), name="Q", group=D4),
    *each(FieldType.from_matrices, "group", NOT_OBJECTS, name="Q", matrices=np.ones((8, 1, 1))),
    *each(scalar().random, "rng", NOT_RNG, sites=4, components=1),
    *each(scalar().random, "sites", [*NOT_WHOLE, -1], components=1, rng=RNG),
    *each(scalar().random, "components", NOT_COUNTS, sites=4, rng=RNG),
    *each(ising().internal_operation, "rng", NOT_RNG, components=1),
    *each(spin, "components", [*NOT_WHOLE, 1, 4]),
    *(r for name in ("unit", "time_reversal") for r in each(spin, name, NOT_FLAGS)),
    *each(spin_one, "even", NOT_FLAGS),
    *each(potts, "states", [*NOT_COUNTS, 1]),
    *(row(check_field, value, 16, 3) for value in (None, SPINS.numpy(), SPINS.long(), SPINS[:4], SPINS[:, :2],
                                                    SPINS[0])),
    row(check_field, SPINS * math.nan, 16, 3, finite=True),
    *(row(spin().check_values, value) for value in (2 * SPINS, math.nan * SPINS)),
    *each(random_spins, "lattice", NOT_OBJECTS, rng=RNG),
    *each(random_spins, "rng", NOT_RNG, lattice=LATTICE),
    *(row(random_spins, LATTICE, RNG, value) for value in (*NOT_WHOLE, -1)),
    *each(ferromagnet, "lattice", NOT_OBJECTS),
    *each(ferromagnet, "direction", NOT_VECTORS, lattice=LATTICE),
    *(r for texture in (helix, cone) for r in each(texture, "lattice", NOT_OBJECTS, Q=(0.0, 0.0))),
    *(r for texture in (helix, cone, skyrmion_lattice)
      for r in each(texture, "Q", (None, "x", 1.0, (0.1,), (math.nan, 0.0), (1j, 0), (0.3, 0.2)), lattice=MOON)),
    *(r for texture in (helix, cone) for r in each(texture, "axis", NOT_VECTORS, lattice=LATTICE, Q=(0.0, 0.0))),
    *(r for texture in (helix, cone) for r in each(texture, "phase", NOT_FINITE, lattice=LATTICE, Q=(0.0, 0.0))),
    *each(cone, "magnetisation", [*NOT_FINITE, 1.5, -2], lattice=LATTICE, Q=(0.0, 0.0)),
    *each(skyrmion_lattice, "lattice", [*NOT_OBJECTS, chain(6)]),
    *each(skyrmion_lattice, "vorticity", [*NOT_WHOLE, 0, 2], lattice=MOON),
    *(r for name in ("amplitude", "magnetisation", "phase")
      for r in each(skyrmion_lattice, name, (None, "x", math.nan, 1j, True, [1.0, 2.0]), lattice=MOON)),
    *each(perturbed, "spins", (None, SPINS.numpy(), 1.0), spread=0.1, rng=RNG),
    *each(perturbed, "spread", [*NOT_FINITE, -0.1], spins=SPINS, rng=RNG),
    *each(perturbed, "rng", NOT_RNG, spins=SPINS, spread=0.1),
    *each(SpinStore, "length", NOT_COUNTS, bits=STORE.bits),
    *each(SpinStore, "bits", (None, [[1]], STORE.bits.astype(int), STORE.bits[0]), length=4),
    *(row(SpinStore.pack, value) for value in (None, np.ones(4), np.zeros((1, 4, 4)), np.full((1, 4, 4), math.nan))),
    *(row(STORE.blocks, 0, np.zeros((1, 2), int), side) for side in (*NOT_COUNTS, 5)),
]  # fmt: skip
