"""Lattices, their neighbours, images and groups."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FLAGS, NOT_NUMBERS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.groups import PointGroup, clebsch_gordan, decompose
from nearsight.lattices import (
    Lattice,
    aligned_neighbourhoods,
    bcc,
    bond_centre,
    chain,
    crystal_class,
    cubic,
    diamond,
    fcc,
    half_period,
    honeycomb,
    kagome,
    lengths,
    nearest_image,
    neighbour_permutations,
    plaquette_centre,
    select_pairs,
    select_sites,
    select_triplets,
    site_group,
    site_permutations,
    square,
    sublattice_operations,
    torus_distance,
    torus_group,
    triangular,
)

GIVEN = [v for v in NOT_COUNTS if v is not None]  # None leaves a length to the first
PLANE = [square, triangular, honeycomb, kagome]
GOOD = {"name": "x", "vectors": np.eye(2), "basis": [[0.0, 0.0]], "shape": (2, 2)}
FLAT = [[1.0, 0.0], [2.0, 0.0]]
NAN = [[1.0, math.nan], [0.0, 1.0]]
LATTICE = square(4)
AROUND, D4 = LATTICE.neighbourhood(1.5), site_group(LATTICE)
TAKES_LATTICE = [
    aligned_neighbourhoods, bond_centre, crystal_class, half_period, nearest_image, plaquette_centre, site_group,
    site_permutations, sublattice_operations, torus_distance, torus_group,
]  # fmt: skip
MORE = {
    aligned_neighbourhoods: {"cutoff": 1.0},
    nearest_image: {"vectors": np.zeros(2)},
    torus_distance: {"vectors": np.zeros(2)},
    site_permutations: {"group": D4},
}

ROWS = [
    *(r for make in (*PLANE, cubic, chain, fcc, bcc, diamond) for r in each(make, "length", NOT_COUNTS)),
    *(r for make in (*PLANE, cubic) for r in each(make, "width", GIVEN, length=4)),
    *each(cubic, "height", GIVEN, length=4),
    *(r for make in (square, chain, diamond) for r in each(make, "periodic", NOT_FLAGS, length=4)),
    *each(square, "periodic", [(True, 1), ("yes", "no"), (None, True), (True,) * 3, "yes"], length=4),
    *each(Lattice, "name", (None, 3), **GOOD),
    *each(Lattice, "vectors", (None, "x", 1.0, np.eye(3)[:2], FLAT, NAN, 1j * np.eye(2), np.eye(2) > 0, [[1], [0, 1]],
                               [["1", "0"], ["0", "1"]], np.zeros((2, 2)), np.full((2, 2), np.inf)), **GOOD),
    *each(Lattice, "basis", (None, "x", [[0.0]], [0.0, 0.0], [[math.nan, 0.0]], [[1j, 0]], [[0, 0], [0, 0]],
                             [[0, 0], [1, 0]], [[0.0, 0.0], [0.5, 1e-7], [0.5, 0.0]], [[True, False]]), **GOOD),
    *each(Lattice, "shape", (None, "22", (2,), (2, 0), (2, -1), (2, 2.5), (2, 2.0), (2, None), 2, (True, 2), np.eye(2)),
          **GOOD),
    *each(Lattice, "periodic", [*NOT_FLAGS, (True,), (1, 0)], **GOOD),
    *each(Lattice, "species", ((0, 1), 5 * (1,)), **GOOD),
    *each(Lattice, "symmetrise", ("no", 1, bool), **GOOD),
    *(r for function in TAKES_LATTICE for r in each(function, "lattice", NOT_OBJECTS, **MORE.get(function, {}))),
    *each(LATTICE.neighbourhood, "cutoff", [*NOT_NUMBERS, math.inf, -1.0]),
    *each(LATTICE.neighbourhood, "centre", (None, -1, 16, 1.5, True, "a", [0.0], [math.nan, 0.0], [1j, 0]), cutoff=1.0),
    *each(LATTICE.bonds, "shell", [*NOT_COUNTS, 99]),
    *each(LATTICE.neighbour_table, "neighbourhood", NOT_OBJECTS),
    *(row(LATTICE.resized, value) for value in NOT_COUNTS),
    row(LATTICE.resized),
    row(LATTICE.resized, 2, 2, 2),
    *each(site_group, "radius", [v for v in (*NOT_NUMBERS, 0.0, -1.0, 0.3) if v is not None], lattice=LATTICE),
    *each(site_group, "centre", (None, "a", 99, [1.0]), lattice=LATTICE),
    *each(site_permutations, "group", (*NOT_OBJECTS, site_group(triangular(3))), lattice=LATTICE),
    *each(neighbour_permutations, "neighbourhood", NOT_OBJECTS, group=D4),
    *each(neighbour_permutations, "group", NOT_OBJECTS, neighbourhood=AROUND),
    *each(bond_centre, "shell", [*NOT_COUNTS, 99], lattice=LATTICE),
    *each(plaquette_centre, "corners", [v for v in (*NOT_WHOLE, 0, 7) if v is not None], lattice=LATTICE),
    *each(aligned_neighbourhoods, "cutoff", [*NOT_NUMBERS, -1.0], lattice=LATTICE),
    *each(nearest_image, "vectors", (None, "x", [1.0], [[0.0, math.nan]], [1j, 0], [True, False], 1.0),
          lattice=LATTICE),
    *each(lengths, "vectors", (None, "x", [math.nan, 1.0], [1j, 0.0])),
    *(row(select, None, D4) for select in (select_sites, select_pairs, select_triplets)),
    *(row(select, AROUND, None) for select in (select_sites, select_pairs, select_triplets)),
    *(row(select, AROUND, D4, 3) for select in (select_sites, select_pairs, select_triplets)),
    *(row(select, AROUND, D4, lambda *r: "x") for select in (select_sites, select_pairs, select_triplets)),
    *(row(select, AROUND, D4, centre="no") for select in (select_sites, select_pairs)),
    *each(PointGroup, "matrices", (None, "D4", 1.0, np.eye(2), 2 * np.eye(2)[None], -np.eye(2)[None], [],
                                   math.nan * np.eye(2)[None], 1j * np.eye(2)[None], torch.eye(2))),
    *each(D4.irrep, "name", (None, "E1", 3, "")),
    *each(D4.subgroup, "elements", (None, [99], [0, 1.5], [], "x", [True, False], [-1])),
    *each(D4.stabiliser, "vectors", (None, "x", [1.0], [math.nan, 0.0])),
    *each(D4.stabiliser, "ordered", ("no", 1), vectors=[1.0, 0.0]),
    *each(D4.indices, "subgroup", (*NOT_OBJECTS, site_group(triangular(3)))),
    *each(D4.decompose, "representation", (None, "x", np.eye(2), math.nan * np.ones((8, 2, 2)), np.ones((8, 2, 2)))),
    row(D4.product),
    row(D4.product, "A3"),
    row(D4.product, None),
    row(decompose, np.ones((8, 2, 2)), None),
    row(clebsch_gordan, None, "A1", "A1", "A1"),
    row(clebsch_gordan, D4, "A1", "A1", "A7"),
]  # fmt: skip
