"""Force fields, energies of moves and models of properties."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.descriptors import BlockIrreps, Irreps
from nearsight.fields import occupation, scalar
from nearsight.forcefields import (
    Biased,
    ClassicalForceField,
    ElectronForceField,
    ExactForceField,
    FixedNumber,
    LearnedFamily,
    LearnedForceField,
    ParameterBox,
    PatchForces,
    Referee,
    SumForceField,
    load,
    save,
)
from nearsight.hamiltonians import FalicovKimball, Holstein
from nearsight.lattices import square
from nearsight.moves import ExactMoves, Hops, LatticeGas, LearnedMoves
from nearsight.networks import MLP, BarCNN, GroupCNN
from nearsight.properties import PropertyModel
from nearsight.reproductions import FiveCases, MoveCentred
from nearsight.solvers import Dense, Step

LATTICE = square(4)
MODEL, SOLVER = Holstein(LATTICE), Dense(mu=0.0, kT=0.1)
SPRINGS, ELECTRONS = ClassicalForceField(MODEL), ElectronForceField(MODEL, SOLVER)
NETWORK = GroupCNN(LATTICE, scalar(), channels=2)
EXACT, BOX = ExactForceField(MODEL, SOLVER), {"kT": (0.1, 0.2)}
FAMILY = LearnedFamily(GroupCNN(LATTICE, scalar(), channels=2), EXACT, BOX).double()
IRREPS = Irreps(LATTICE, scalar(), cutoff=1.1)
LEARNED = LearnedForceField(NETWORK).double()
OCCUPATIONS = LearnedForceField(GroupCNN(LATTICE, occupation(), channels=2)).double()
HOPS, GAS, ELECTRONS_AND_IONS = Hops(LATTICE), LatticeGas(LATTICE), FalicovKimball(LATTICE)
DRIVEN = LearnedForceField(BarCNN(square(4, periodic=(False, True)), channels=2)).double()
HEATED = LearnedForceField(DRIVEN.model.replaced(temperatures=(0.02, 0.15))).double()
FIELD = torch.zeros(16, 1, dtype=torch.float64)
HALF = (torch.arange(16) % 2).double()[:, None]
BLOCKS = PropertyModel(BlockIrreps(4), MLP((4,)))
SPIN_FIELDS = torch.ones(2, 8, 8)
NOT_GENERATORS = (None, 0, "seed", np.random.default_rng(1), torch.Generator)
NOT_FIELDS = (None, 3, "zeros", FIELD.numpy(), FIELD.long(), FIELD[:-1], FIELD[..., 0], FIELD.cfloat(),
              FIELD + math.nan, FIELD - math.inf, FIELD.to("meta"), FIELD.to_sparse(), torch.Tensor)  # fmt: skip

ROWS = [
    *each(PatchForces, "model", NOT_OBJECTS, lattice=LATTICE, kT=0.1, mu=0.0, radius=3),
    *each(PatchForces, "lattice", NOT_OBJECTS, model=Holstein(LATTICE), kT=0.1, mu=0.0, radius=3),
    *each(PatchForces, "radius", NOT_COUNTS, model=Holstein(LATTICE), lattice=LATTICE, kT=0.1, mu=0.0),
    *each(PatchForces, "mu", NOT_FINITE, model=Holstein(LATTICE), lattice=LATTICE, kT=0.1, radius=3),
    *each(PatchForces, "kT", (*NOT_FINITE, -1.0, 0.0), model=Holstein(LATTICE), lattice=LATTICE, mu=0.0, radius=3),
    *each(PatchForces, "boundary", ("closed", 1), model=Holstein(LATTICE), lattice=LATTICE, kT=0.1, mu=0.0, radius=3),
    *each(Referee, "solver", (*NOT_OBJECTS, Dense), model=Holstein(LATTICE), lattice=LATTICE),
    *each(Referee, "budget", NOT_FINITE, model=Holstein(LATTICE), lattice=LATTICE, solver=Dense(kT=0.1, mu=0.0)),
    *each(Referee, "boundaries", (("closed",),), model=Holstein(LATTICE), lattice=LATTICE, solver=Dense(kT=1, mu=0)),
    *(r for make in (ElectronForceField, ExactForceField) for r in each(
        make, "model", [*NOT_OBJECTS, LATTICE, Holstein], solver=SOLVER)),
    *(r for make in (ElectronForceField, ExactForceField) for r in each(
        make, "solver", [*NOT_OBJECTS, MODEL, Dense], model=MODEL)),
    *each(Biased, "whole", [*NOT_OBJECTS, SPRINGS, LEARNED, Biased(DRIVEN, 1.0)], voltage=1.0),
    *each(Biased, "voltage", [*NOT_FINITE, Step], whole=DRIVEN),
    *each(Biased, "kT", [x for x in (*NOT_FINITE, -0.1) if x is not None], whole=HEATED, voltage=1.0),
    *each(Biased, "kT", [0.1], whole=DRIVEN, voltage=1.0),
    *(row(Biased(DRIVEN, 1.0), field) for field in NOT_FIELDS),
    row(Biased(DRIVEN, Step(1.0)), FIELD),
    *each(ClassicalForceField, "model", [*NOT_OBJECTS, LATTICE, Holstein]),
    row(SumForceField),
    *(row(SumForceField, SPRINGS, wrong) for wrong in (*NOT_OBJECTS, MODEL, ClassicalForceField)),
    *each(LearnedForceField, "model", [*NOT_OBJECTS, Irreps, NETWORK], network=MLP((4,))),
    *each(LearnedForceField, "network", [*NOT_OBJECTS, MLP, NETWORK], model=IRREPS),
    *each(LearnedForceField, "model", [*NOT_OBJECTS, GroupCNN, MLP((4,))]),
    *each(ParameterBox, "ranges", [*NOT_OBJECTS, {}, {"": (0, 1)}, {3: (0, 1)}, {"g": (2.0, 1.0)}, {"g": (1.0, 1.0)}]),
    *(row(ParameterBox, {"g": (0.0, wrong)}) for wrong in NOT_FINITE),
    *(row(ParameterBox, {"g": wrong}) for wrong in (None, 3.0, "ab", (1.0,), (1.0, 2.0, 3.0))),
    *each(LearnedFamily, "model", [*NOT_OBJECTS, GroupCNN, MLP((4,)), LEARNED], exact=EXACT, box=BOX),
    *each(LearnedFamily, "exact", [*NOT_OBJECTS, MODEL, ELECTRONS], model=NETWORK, box=BOX),
    *each(LearnedFamily, "box", [*NOT_OBJECTS, {"U": (0.0, 1.0)}, {"lattice": (0.0, 1.0)}], model=NETWORK, exact=EXACT),
    *each(LearnedFamily, "degree", NOT_COUNTS, model=NETWORK, exact=EXACT, box=BOX),
    *(row(FAMILY, wrong) for wrong in (*NOT_FIELDS, FIELD)),
    *(row(FAMILY.with_parameters, kT=wrong) for wrong in NOT_FINITE),
    *(row(EXACT.with_parameters, g=wrong) for wrong in NOT_FINITE),
    *(row(x.with_parameters, U=1.0) for x in (EXACT, FAMILY, SPRINGS, LEARNED)),
    *each(FixedNumber, "electrons", [*NOT_OBJECTS, MODEL, ElectronForceField], mean_force=0.0),
    *each(FixedNumber, "mean_force", NOT_FINITE, electrons=ELECTRONS),
    *each(FixedNumber, "component", [*NOT_WHOLE, -1, 1], electrons=ELECTRONS, mean_force=0.0),
    *each(FixedNumber, "tolerance", [*NOT_FINITE, 0.0], electrons=ELECTRONS, mean_force=0.0),
    *each(Hops, "lattice", NOT_OBJECTS),
    *each(Hops, "shell", [*NOT_COUNTS, 99], lattice=LATTICE),
    *each(LatticeGas, "lattice", NOT_OBJECTS),
    *each(LatticeGas, "J", [v for v in NOT_FINITE if np.ndim(v) == 0], lattice=LATTICE),
    *each(LatticeGas, "shell", NOT_COUNTS, lattice=LATTICE),
    *each(ExactMoves, "model", [*NOT_OBJECTS, MODEL, FalicovKimball], kT=0.1, mu=0.0),
    *each(ExactMoves, "hops", (3, "hops", Hops, LATTICE), model=ELECTRONS_AND_IONS, kT=0.1, mu=0.0),
    *each(ExactMoves, "kT", [*NOT_FINITE, 0.0], model=ELECTRONS_AND_IONS, mu=0.0),
    *each(ExactMoves, "mu", [v for v in NOT_FINITE if v is not None], model=ELECTRONS_AND_IONS, kT=0.1),
    *each(ExactMoves, "number", [v for v in NOT_FINITE if v is not None], model=ELECTRONS_AND_IONS, kT=0.1),
    *each(ExactMoves, "filling", [v for v in NOT_FINITE if v is not None], model=ELECTRONS_AND_IONS, kT=0.1),
    *each(ExactMoves, "tolerance", [*NOT_FINITE, 0.1], model=ELECTRONS_AND_IONS, kT=0.1, mu=0.0),
    *each(ExactMoves, "rank", [*NOT_COUNTS, 3], model=ELECTRONS_AND_IONS, kT=0.1, mu=0.0),
    *each(ExactMoves, "energy", ("total", None, 1), model=ELECTRONS_AND_IONS, kT=0.1, filling=0.5),
    row(ExactMoves, ELECTRONS_AND_IONS, kT=0.1),
    *(r for make in (FiveCases, MoveCentred) for r in each(make, "hops", [*NOT_OBJECTS, Hops, LATTICE])),
    *(r for make in (FiveCases, MoveCentred) for r in each(make, "cutoff", [*NOT_FINITE, 0.0], hops=HOPS)),
    *(r for make in (FiveCases, MoveCentred) for r in each(make, "network", (3, "net", MLP, NETWORK), hops=HOPS)),
    *each(FiveCases, "directed", NOT_FLAGS, hops=HOPS),
    *each(LearnedMoves, "forcefield", [*NOT_OBJECTS, SPRINGS, LearnedForceField, GAS]),
    *each(LearnedMoves, "hops", (3, "hops", Hops, LATTICE), forcefield=OCCUPATIONS),
    *each(PropertyModel, "front", [*NOT_OBJECTS, BlockIrreps, IRREPS]),
    *each(PropertyModel, "head", (3, "mlp", MLP, NETWORK), front=BlockIrreps(4)),
    *each(PropertyModel, "kind", ("values", None, 1, str), front=BlockIrreps(4)),
    *each(BLOCKS.predict, "n_blocks", [*NOT_COUNTS, 1], snapshots=SPIN_FIELDS, rng=torch.Generator()),
    *each(BLOCKS.predict, "rng", NOT_GENERATORS, snapshots=SPIN_FIELDS, n_blocks=4),
    *each(BLOCKS.predict, "snapshots", (None, 3, "spins", torch.ones(8), torch.zeros(2, 8, 8) + math.nan),
          n_blocks=4, rng=torch.Generator()),
    *(row(forcefield.forward, wrong) for wrong in NOT_FIELDS
      for forcefield in (SPRINGS, ELECTRONS, LEARNED, SPRINGS + LEARNED, FixedNumber(ELECTRONS, 0.0))),
    *(row(ask, wrong) for wrong in (*NOT_FIELDS, FIELD + 0.5, HALF.clone().requires_grad_())
      for ask in (GAS.differences, GAS.start_walk, LearnedMoves(OCCUPATIONS).differences)),
    *(row(save, wrong, "nowhere") for wrong in (*NOT_OBJECTS, GAS, LearnedForceField)),
    *(row(load, wrong) for wrong in (None, 3, [], LEARNED)),
]  # fmt: skip
