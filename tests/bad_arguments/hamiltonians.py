"""Models: their couplings, lattices and boundaries."""

import math

import numpy as np
import torch

from bad_arguments import NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.hamiltonians import (
    BlumeCapel,
    EdwardsAnderson,
    FalicovKimball,
    Heisenberg,
    Holstein,
    Ising,
    JahnTeller,
    Peierls,
    Potts,
    SDModel,
    SpinEnergy,
    TileModel,
    double_exchange,
    skyrmion_magnet,
)
from nearsight.lattices import chain, cubic, honeycomb, square, triangular

LATTICE = square(4)
ALL = [BlumeCapel, EdwardsAnderson, FalicovKimball, Heisenberg, Holstein, Ising, JahnTeller, Peierls, Potts, SDModel,
       SpinEnergy, TileModel,
       double_exchange, skyrmion_magnet]  # fmt: skip
MORE = {Potts: {"q": 3}, EdwardsAnderson: {"seed": 1}, TileModel: {"table": np.zeros(2**16)}}
BOND = ((0, 0), (0, 1))
NOT_COUPLINGS = [*(v for v in NOT_FINITE if np.ndim(v) == 0), (), (1.0, None), (1.0, math.nan), ("1",), (1.0,) * 60,
                 np.eye(2), [True], [1j]]  # fmt: skip
NOT_VECTORS = ("x", (1.0, 2.0), (0.0, math.nan, 1.0), (1j, 0, 0), (True, False, True), (None, 0, 0), np.eye(3), 1j)
NOT_TWISTS = (0.3, "pi", (0.1,), (0.1, math.nan), (0.1, None), (1j, 0), (True, False), (0.1, 0.2, 0.3), math.inf)
STATES = torch.zeros(16, dtype=torch.int8)

ROWS = [
    *(r for model in ALL for r in each(model, "lattice", NOT_OBJECTS, **MORE.get(model, {}))),
    *(r for name in ("D", "h") for r in each(BlumeCapel, name, NOT_FINITE, lattice=LATTICE)),
    *each(BlumeCapel, "J", NOT_COUPLINGS, lattice=LATTICE),
    *each(Ising, "J", NOT_COUPLINGS, lattice=LATTICE),
    *each(Ising, "h", NOT_FINITE, lattice=LATTICE),
    *each(Potts, "q", [*NOT_WHOLE, 1, 0, 128], lattice=LATTICE),
    *each(Potts, "J", NOT_COUPLINGS, lattice=LATTICE, q=3),
    *each(Potts, "kind", ("clok", None, 3, str), lattice=LATTICE, q=3),
    *each(EdwardsAnderson, "couplings", ("x", [1.0], np.full(32, math.nan), 1j * np.ones(32), np.ones(32) > 0),
          lattice=LATTICE),
    *each(EdwardsAnderson, "J", [*NOT_FINITE, 0.0, -1.0], lattice=LATTICE, seed=1),
    *each(EdwardsAnderson, "seed", [*NOT_WHOLE, -1], lattice=LATTICE),
    *each(EdwardsAnderson, "distribution", ("gauss", None, 1), lattice=LATTICE, seed=1),
    *each(TileModel, "table", (None, "x", np.zeros(16), np.zeros((256, 256)), np.full(2**16, math.nan),
                               1j * np.ones(2**16)), lattice=LATTICE),
    *(r for name in ("shape", "stride")
      for r in each(TileModel, name, (None, 4, "44", (4,), (4, 0), (4.0, 4), (True, 2)), lattice=LATTICE,
                    table=np.zeros(2**16))),
    *each(TileModel, "stride", ((5, 1), (3, 3)), lattice=LATTICE, table=np.zeros(2**16)),
    *each(TileModel, "shape", ((5, 5), (5, 2)), lattice=LATTICE, table=np.zeros(2**16)),
    *each(TileModel, "n_states", [*NOT_WHOLE, 1, 128], lattice=LATTICE, table=np.zeros(2**16)),
    *each(TileModel, "lattice", (honeycomb(4), square(4, periodic=False)), table=np.zeros(2**16)),
    *(row(TileModel.from_couplings, LATTICE, {BOND: value}) for value in (None, "x", math.nan, 1j, np.eye(2))),
    *(row(TileModel.from_couplings, LATTICE, {cluster: 1.0})
      for cluster in (((0,), (1,)), ((0, 0), (0, 0)), ((0, 0), (0, 0.5)), "bond", (0, 1), ((0, 0), (0, 3)))),
    row(TileModel.from_couplings, LATTICE, {BOND: 1.0}, symmetrise=1),
    row(TileModel.from_couplings, LATTICE, {BOND: 1.0}, shape=(2, 2), stride=(1, 1), n_states=3),
    *(row(TileModel(LATTICE, np.zeros(2**16)).couplings, sites=value) for value in (*NOT_WHOLE, -1)),
    *(row(TileModel(LATTICE, np.zeros(2**16)).retiled, *value) for value in (((9, 9), (1, 1)), ((3,), (1,)))),
    *each(FalicovKimball, "t", NOT_COUPLINGS, lattice=LATTICE),
    *each(FalicovKimball, "U", NOT_FINITE, lattice=LATTICE),
    *each(FalicovKimball, "spins", [*NOT_WHOLE, 0, 3], lattice=LATTICE),
    *(r for model in (FalicovKimball, Holstein, JahnTeller, Peierls, SDModel)
      for r in each(model, "twist", NOT_TWISTS, lattice=LATTICE)),
    *each(Holstein, "twist", ("x", (), (0.1, 0.2), 1j, math.nan), lattice=chain(4)),
    row(Holstein, square(4, periodic=(True, False)), twist=(0.0, 0.1)),
    *each(Holstein, "t", NOT_COUPLINGS, lattice=LATTICE),
    *(r for name in ("g", "k", "kappa") for r in each(Holstein, name, NOT_FINITE, lattice=LATTICE)),
    *each(Holstein, "spins", [*NOT_WHOLE, 0, 3], lattice=LATTICE),
    *each(Holstein, "symmetric", NOT_FLAGS, lattice=LATTICE),
    *(r for name in ("t", "lam", "K", "beta") for r in each(JahnTeller, name, NOT_FINITE, lattice=LATTICE)),
    *each(JahnTeller, "kappa", ("x", 1.0, np.eye(2), math.nan * np.eye(3), 1j * np.eye(3), np.triu(np.ones((3, 3)))),
          lattice=LATTICE),
    *each(JahnTeller, "symmetric", NOT_FLAGS, lattice=LATTICE),
    *each(JahnTeller, "lattice", (triangular(4), cubic(3), honeycomb(3))),
    *(r for name in ("t", "t2", "alpha", "k", "kappa") for r in each(Peierls, name, NOT_FINITE, lattice=LATTICE)),
    *each(Peierls, "spins", [*NOT_WHOLE, 0, 3], lattice=LATTICE),
    *each(SDModel, "t", NOT_COUPLINGS, lattice=LATTICE),
    *each(SDModel, "J", NOT_FINITE, lattice=LATTICE),
    *each(SDModel, "k", NOT_FINITE, lattice=LATTICE, unit=False),
    *each(SDModel, "exchange", NOT_COUPLINGS, lattice=LATTICE),
    *(r for name in ("pauli", "unit") for r in each(SDModel, name, NOT_FLAGS, lattice=LATTICE)),
    *(r for model in (SDModel, Heisenberg) for r in each(model, "B", (None, *NOT_VECTORS), lattice=LATTICE)),
    *(r for model in (SDModel, Heisenberg)
      for r in each(model, "axis", (None, 1.0, (0, 0, 0), *NOT_VECTORS), lattice=LATTICE, K=0.1)),
    *(r for model in (SDModel, Heisenberg) for r in each(model, "K", NOT_FINITE, lattice=LATTICE)),
    *each(Heisenberg, "J", NOT_COUPLINGS, lattice=LATTICE),
    *each(Heisenberg, "D", NOT_FINITE, lattice=LATTICE),
    *each(Heisenberg, "dm", ("bulk ", None, 1), lattice=LATTICE, D=0.1),
    row(Heisenberg, cubic(3), D=0.1),
    row(skyrmion_magnet, LATTICE),
    row(SDModel, LATTICE, k=0.1),
    *(row(model(LATTICE, **MORE.get(model, {})).on, value) for model in (Ising, Holstein, SDModel)
      for value in (*NOT_OBJECTS, triangular(4))),
    *(row(Holstein(LATTICE).matrix, value)
      for value in (None, np.zeros((16, 1)), torch.zeros(16), torch.zeros(15, 1), torch.full((16, 1), math.nan),
                    torch.zeros(16, 1, dtype=torch.long), torch.zeros(16, 1, dtype=torch.complex64))),
    *(row(Ising(LATTICE).energy, value)
      for value in (None, STATES.numpy(), STATES.double(), STATES.bool(), STATES[:3], STATES - 1, STATES + 2)),
    *(row(Ising(LATTICE).to_states, value)
      for value in (None, torch.zeros(16, 1), torch.ones(16, 1).numpy(), torch.full((16, 1), math.nan),
                    torch.ones(3, 1))),
    *(row(Ising(LATTICE).random_states, value) for value in (None, 0, 1.5, np.random.default_rng(1))),
    *(row(SDModel(LATTICE).normalised, value)
      for value in (None, torch.zeros(16, 3), torch.ones(16, 2), torch.full((16, 3), math.nan))),
]  # fmt: skip
