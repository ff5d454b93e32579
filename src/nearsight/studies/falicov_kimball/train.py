"""Stage 2: an energy whose differences are those of the hops."""

from __future__ import annotations

import torch

from nearsight import forcefields, training
from nearsight.fields import occupation
from nearsight.forcefields import ConvolutionalForceField
from nearsight.lattices import Lattice, square
from nearsight.moves import LearnedMoves
from nearsight.networks import EmbeddedNetwork
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.generate import split
from nearsight.studies.run import Run


def untrained(config: Config, lattice: Lattice, seed: int) -> LearnedMoves:
    """A student with its initial weights."""
    rng = torch.Generator().manual_seed(seed)
    network = EmbeddedNetwork(lattice, occupation(), **config.network.model_dump(), rng=rng)
    return LearnedMoves(ConvolutionalForceField(lattice, network))


def train(run: Run, config: Config) -> None:
    """Fit the student and save its energy in ``model/``."""
    data = split(run, config)
    student = untrained(config, data.train.lattice, run.seed("weights"))
    run.log("note", text=f"{student}")
    training.fit_moves(student, data, options=config.fit, path=run.path / "fit", resume=True)
    forcefields.save(student.forcefield, run.path / "model")


def learned(run: Run, length: int) -> LearnedMoves:
    """The trained energies of hops on a lattice of this length."""
    energy = forcefields.load(run.path / "model")
    return LearnedMoves(energy).on(square(length))
