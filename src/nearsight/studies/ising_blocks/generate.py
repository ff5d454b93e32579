"""Stage 1: snapshots in equilibrium, by clusters near the transition and single spins elsewhere."""

from __future__ import annotations

from nearsight.fields import SpinStore
from nearsight.sampling import sample
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import PARTS, ladder, model
from nearsight.studies.run import Run


def generate(run: Run, config: Config) -> None:
    """Training and test snapshots from different streams of random numbers, packed for the cutting of blocks."""
    for part in PARTS:
        wanted = config.training if part == "training" else config.testing
        kT = ladder(wanted.temperatures)
        # 64 chains that share words only pay where each of them is read more than once.
        chains = None if wanted.snapshots > 64 else min(4, wanted.snapshots)
        found = sample(
            model(config), kT, wanted.snapshots, run.path / f"{part}.zarr", seed=run.seed(part), chains=chains
        )
        run.log("note", text=f"{part}: {found}")
        run.log("note", text=f"{part}: {SpinStore.of(found, run.path / f'{part}.npy')}")
