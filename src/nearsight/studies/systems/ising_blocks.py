"""Ising model: intensive properties from blocks.

**Question.** How large must a block be for its phase and energy to be those of the whole Ising lattice?

**System.** The square-lattice ferromagnet, H = -J Σ_<ij> s_i s_j, L × L sites with periodic boundaries, T_c = 2.2692 J.
A model reads blocks of l × l spins, anywhere on the lattice; its mean over the blocks of a snapshot is the property:

    Q = 1/M Σ_α f(B_α)

The loss compares this mean with the label of the snapshot: the energy per site (squares), or the phase, 0 for T < T_c
and 1 for T > T_c (cross-entropy of the mean probability). f is invariant under D4 about the centre of the block and
under s → -s, exactly. Three ways to look at a block, each followed by a small network, are compared on the same
snapshots: `network`, group convolutions and averages over 2 × 2 sites of the raw block; `irreps`, the invariants of the
paper; `moments`, |m| and the energy of the block, the two numbers a physicist would write down first. No function of a
block exceeds the accuracy that follows from the exact probabilities of blocks (`bound`).

**What to expect.** Mean energies of the L × L torus (B. Kaufman, Phys. Rev. 76, 1232 (1949)). Tian, Zhang, Chern
(2023): ΔT, the window where single blocks are right less often than 85 % or 90 %, ~ l^-1/ν with ν = 1 (fig. 5);
(1 - A) l^θ against (T - T_c) l^1/ν on one curve for θ = 0.12, ν = 1 (fig. 6); the bias of the energy about T_c shrinks
with l (fig. 3). The paper does not say whether its accuracy is that of single blocks or of whole snapshots; the law
ΔT ~ 1/l holds for blocks. Exponents are fitted for l ≥ 8: the window of l = 4 is 0.8 J wide and leaves the critical
region.

**Cost.** `quick`: L = 128, l = 4 to 32, minutes on two cores. `paper`: L = 320, l = 8 to 64, 50,000 training snapshots;
hours on two cores.

    nearsight run ising_blocks --preset quick
    nearsight run ising_blocks --preset quick --set fit.loss=block          # the label against every block alone
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator
from scipy import stats

import nearsight as ns
from nearsight import analysis
from nearsight.descriptors import BlockIrreps, BlockMoments
from nearsight.fields import SpinStore
from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.networks import MLP, BlockCNN
from nearsight.properties import PropertyModel
from nearsight.sampling import Snapshots, ising_torus, sample
from nearsight.studies.checks import Check, PValue
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.property import PropertyStudy, Task, load_model, opened
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import rms
from nearsight.studies.systems import _ising_blocks_accuracy as accuracy
from nearsight.studies.systems._ising_blocks_accuracy import CURVES, DIMS, TC, Measured, of_all, phase
from nearsight.training import PropertyFitOptions

DIGITS = 6
"""Temperatures are rounded to this many digits, so that they read as they were meant."""

Features = Literal["network", "irreps", "moments"]
Side = Annotated[int, Field(ge=3)]


class Temperatures(Section):
    """Temperatures in units of J, the transition being at 2.269: an even grid, and a denser one around the transition.

    The dense grid is symmetric about the transition and never on it, so that neither phase is favoured there.
    """

    low: Positive = 1.2
    high: Positive = 3.6
    number: Annotated[int, Field(ge=2)] = 40
    """Points of the even grid; the paper's has 40, spaced 0.0615."""
    nearest: Positive = 0.01
    farthest: Positive = 0.3
    near: Annotated[int, Field(ge=0)] = 10
    """Points of the dense grid on either side, at distances from ``nearest`` to ``farthest`` in geometric steps."""

    @model_validator(mode="after")
    def _ordered(self) -> Temperatures:
        if not self.low < 2.269 < self.high:
            raise ValueError(f"low={self.low:g}, high={self.high:g} must lie on either side of the transition, 2.269")
        if self.nearest >= self.farthest:
            raise ValueError(f"nearest={self.nearest:g} must be less than farthest={self.farthest:g}")
        return self

    @property
    def ladder(self) -> np.ndarray:
        """The temperatures of the grid, ascending."""
        even = np.linspace(self.low, self.high, self.number)
        near = np.geomspace(self.nearest, self.farthest, self.near)
        return np.unique(np.round(np.concatenate([even, TC - near, TC + near]), DIGITS))


class Data(Section):
    """Snapshots of one purpose."""

    temperatures: Temperatures = Temperatures()
    snapshots: Annotated[int, Field(ge=2)] = 32
    """At every temperature."""


class Model(Section):
    """The network on what is seen of a block, and how it is fitted."""

    widths: tuple[Count, ...] = (32, 16)
    optimizer: Literal["soap", "adamw"] = "adamw"
    learning_rate: Positive = 3e-3
    steps: Count = 400


class Network(Model):
    """The convolutional network on the raw block."""

    widths: tuple[Count, ...] = (64, 32, 16)
    optimizer: Literal["soap", "adamw"] = "soap"
    learning_rate: Positive = 5e-3
    steps: Count = 300
    channels: Count = 2


class FeatureModels(Section):
    """What is compared: the network on raw blocks, the paper's invariants of irreps, and (|m|, e)."""

    network: Network = Network()
    irreps: Model = Model(widths=(256, 128, 64, 32, 16), learning_rate=1e-3)
    """Five reducing layers, as in the paper; its first layer, which does not reduce, is left out."""
    moments: Model = Model(widths=(16, 16), learning_rate=1e-2)


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 128
    """L of all snapshots."""
    training: Data = Data()
    testing: Data = Data(temperatures=Temperatures(number=16, nearest=0.005, farthest=0.8, near=18), snapshots=16)
    """Other temperatures, closer to each other near the transition than in the paper, whose grid cannot resolve the
    windows of blocks of 32 and more."""
    sides: Annotated[tuple[Side, ...], Field(min_length=3)] = (4, 8, 16, 32)
    """l of the blocks that tell the phase."""
    energy_sides: Annotated[tuple[Side, ...], Field(min_length=2)] = (8, 16)
    """l of the blocks that tell the energy."""
    features: FeatureModels = FeatureModels()
    compared: Annotated[tuple[Features, ...], Field(min_length=1)] = ("network", "irreps", "moments")
    fit: PropertyFitOptions = PropertyFitOptions()
    """What all fits share; steps, rates and optimisers are set with each kind of features. Energies are fitted with its
    loss, the paper's of the mean over blocks: it leaves a mean free of the bias that the best guess of every block has.
    """
    phase_loss: Literal["average", "block"] = "block"
    """Phases are judged block by block. With "average", the paper's loss, one step learns less of single blocks: the
    mean over many knows the phase whatever each of them says."""
    train_spins: Annotated[int, Field(ge=64)] = 4096
    """Spins of a snapshot that one training step sees, in blocks."""
    max_blocks: Count = 32
    """Blocks of a snapshot in one training step, at most."""
    test_blocks: Count = 256
    """Blocks of a test snapshot, at most; they never overlap."""
    bound_sides: tuple[Side, ...] = (4, 8, 16, 32)
    """Sides of which the exact bound is computed, where they are among ``sides``; 64 takes a CPU hour."""
    bound_blocks: Count = 64
    """Blocks of a test snapshot that measure the bound, at most."""
    scaling_from: Side = 8
    """Exponents are fitted to blocks of this side and larger: windows of smaller ones, 0.8 J wide for l = 4, reach
    beyond the temperatures at which the correlation length follows its power law."""
    critical_window: Positive = 0.15
    """Accuracies near the transition are averaged over |T - Tc| up to this."""
    samples: Annotated[int, Field(ge=20)] = 200
    """Resamplings of the snapshots behind every error bar."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        for name in ("sides", "energy_sides"):
            sides = getattr(self, name)
            if list(sides) != sorted(set(sides)):
                raise ValueError(f"{name}={sides} must be different and in ascending order")
            if 2 * sides[-1] > self.length:
                needed = f"blocks of {sides[-1]} need a lattice of {2 * sides[-1]} or more, not {self.length}"
                raise ValueError(f"{needed}: a block that sees most of the lattice tells of its boundary")
        if sum(side >= self.scaling_from for side in self.sides) < 3:
            few = f"fewer than three from scaling_from={self.scaling_from} on, too few for exponents"
            raise ValueError(f"sides={self.sides} hold {few}")
        if "network" not in self.compared:
            raise ValueError("compared must hold the network, of which the exponents are measured")
        return self


# --- snapshots and models ---------------------------------------------------------------------------------------------


def generate(run: Run, c: Config) -> None:
    """Snapshots in equilibrium from different streams of random numbers, packed for the cutting of blocks."""
    for part, wanted in (("training", c.training), ("testing", c.testing)):
        # 64 chains that share words only pay where each of them is read more than once.
        chains = None if wanted.snapshots > 64 else min(4, wanted.snapshots)
        kT, path = wanted.temperatures.ladder, run.path / f"{part}.zarr"
        found = sample(Ising(square(c.length)), kT, wanted.snapshots, path, seed=run.seed(part), chains=chains)
        run.log("note", text=f"{part}: {found}")
        run.log("note", text=f"{part}: {SpinStore.of(found, run.path / f'{part}.npy')}")


def labels(c: Config, target: str, data: Snapshots) -> np.ndarray:
    """What the mean over the blocks of every snapshot should be: its phase, or its energy per site."""
    return phase(data.kT) if target == "phase" else data.energy / c.length**2


PASSES = {"network": 1.3e-6, "irreps": 1.2e-7, "moments": 6e-9}
"""CPU seconds that one spin of one block costs in training, about."""


def tasks(c: Config) -> list[Task]:
    """All fits of a run, the longest first, so that no core is left with one at the end.

    Of (|m|, e) the second is the energy itself.
    """
    energy = [Task("energy", f, side) for f in c.compared if f != "moments" for side in c.energy_sides]
    phases = [Task("phase", f, side) for f in c.compared for side in c.sides]
    return sorted([*energy, *phases], key=lambda task: -seconds(c, task))


def seconds(c: Config, task: Task) -> float:
    options = fit_options(c, task)
    return PASSES[task.features] * options.steps * options.batch_size * options.blocks * task.side**2


def fit_options(c: Config, task: Task) -> PropertyFitOptions:
    """The options of one fit; as many blocks of a snapshot as hold the spins that a step is to see."""
    model = getattr(c.features, task.features)
    own = model.model_dump(include={"steps", "optimizer", "learning_rate"})
    own["blocks"] = min(c.max_blocks, max(2, c.train_spins // task.side**2))
    return c.fit.model_copy(update={**own, "loss": c.phase_loss if task.target == "phase" else c.fit.loss})


def build_model(c: Config, task: Task, rng: torch.Generator) -> PropertyModel:
    settings = getattr(c.features, task.features)
    if isinstance(settings, Network):
        seen: Any = BlockCNN(task.side, channels=settings.channels, rng=rng)
    else:
        seen = BlockIrreps(task.side) if task.features == "irreps" else BlockMoments(task.side)
    network = MLP(settings.widths, rng=rng)
    return PropertyModel(seen, network, kind="value" if task.target == "energy" else "probability")


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_energy(run: Run, c: Config) -> xr.Dataset:
    """Learned energies of all test snapshots beside their own and the exact mean ones of the torus."""
    data, store = opened(run.path, "testing", c.length)
    name, error = (
        {"long_name": "energy per site", "units": "J"},
        {"long_name": "standard error of the mean over blocks"},
    )

    def learned(features: str, side: int) -> Measured:
        task = Task("energy", features, side)
        blocks = min(c.test_blocks, max(2, (c.length // side) ** 2))
        found = load_model(run.path, *task).predict(store, blocks, run.rng("energy", task.name))
        return {"learned": (found.mean, name), "error": (found.error, error)}

    kT, looked = data.temperatures, [f for f in c.compared if f != "moments"]
    return of_all(kT, looked, c.energy_sides, learned).assign(
        sampled=(DIMS, labels(c, "energy", data).reshape(len(kT), -1), name),
        exact=("temperature", ising_torus(c.length, c.length, kT).energy, name),
    )


# --- checks -----------------------------------------------------------------------------------------------------------


def _energy_checks(energy: xr.Dataset) -> list[Check]:
    """Snapshots against Kaufman; then the error of the learned energies, and whether their own error bars tell it."""
    summary, n = analysis.mean_and_error(energy.sampled, "snapshot"), energy.sizes["snapshot"]
    # Student's t at every temperature, as a normal deviate, so that few snapshots do not look like failures.
    t = ((summary["mean"] - energy.exact) / summary["error"]).values
    deviate = stats.norm.isf(stats.t.sf(np.abs(t), n - 1))
    name, p = "energy of the snapshots against the exact torus, p-value", stats.chi2.sf((deviate**2).sum(), len(t))
    note = f"{len(t)} temperatures, worst {np.abs(deviate).max():.1f} sigma"
    found = [Check(name, float(p), criterion=PValue(0.001), note=note)]
    x = energy.temperature - TC
    for features, side in product(energy.features.values, energy.side.values):
        here = energy.sel(features=features, side=side)
        off, name = here.learned - here.sampled, f"energy per site, {features}, l = {side}"
        bias, pull = off.mean("snapshot"), rms(off / here.error.where(here.error > 0))
        low, high = (float(bias[(sign * x > 0) & (sign * x < 0.5)].mean()) for sign in (-1, 1))
        found += [
            Check(f"{name}: error of a snapshot, rms", rms(off), unit="J"),
            Check(f"{name}: error of a snapshot in units of its error bar, rms", pull),
            Check(f"{name}: mean error within 0.5 J below the transition", low, unit="J"),
            Check(f"{name}: mean error within 0.5 J above the transition", high, unit="J"),
            Check(f"{name}: bias, rms over temperatures", rms(bias), unit="J", note="shrinks with l in the paper"),
        ]
    return found


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    return [
        *_energy_checks(measured["energy"]),
        *accuracy.accuracy_checks(run, c, measured["accuracy"], measured["bound"]),
        *accuracy.scaling_checks(c, measured["scaling"]),
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def _draw_energy(run: Run, c: Config) -> dict[str, Any]:
    data = run.observable("energy")
    off = (data.learned - data.sampled).assign_attrs(long_name="error of the energy per site", units="J")
    return {str(f): ns.plots.compare(off.sel(features=f), levels=(0.0,), **CURVES) for f in data.features.values}


def _draw_parity(run: Run, c: Config) -> Any:
    data = run.observable("energy").sel(features="network").isel(side=-1)
    return ns.plots.parity(data.sampled, data.learned, quantity="e")


def _notes(run: Run, c: Config) -> list[str]:
    return [
        "The exact bound is that of a lattice without end, wired far from the block. Where the correlation length "
        f"exceeds L = {c.length}, blocks of the periodic lattice are a little different.",
        "Accuracies are fractions of single blocks. The mean over the blocks of a snapshot knows the phase much closer "
        "to the transition, where the size of the lattice decides more than that of the block.",
        f"Windows of the largest blocks span few temperatures and {c.testing.snapshots} snapshots each; within a "
        f"correlation length of L = {c.length} of the transition the label itself is a matter of convention.",
        "Error bars are over test snapshots. What other weights and other training snapshots change is not in them.",
    ]


# --- presets ----------------------------------------------------------------------------------------------------------

PRESETS = {
    "quick": Config(),  # a laptop: minutes on two cores
    # The lattice and the number of snapshots of the paper (50,000 and 9,500); two to three hours on two cores.
    "paper": Config(
        length=320,
        training=Data(temperatures=Temperatures(nearest=0.005, near=20), snapshots=625),
        testing=Data(temperatures=Temperatures(number=16, nearest=0.002, farthest=0.8, near=30), snapshots=125),
        sides=(8, 16, 32, 64),
        energy_sides=(32, 64),
        features=FeatureModels(
            network=Network(steps=2000),
            irreps=Model(widths=(256, 128, 64, 32, 16), learning_rate=1e-3, steps=4000),
            moments=Model(widths=(16, 16), learning_rate=1e-2, steps=2000),
        ),
        fit=PropertyFitOptions(batch_size=64, validate_every=200, validation=0.1, average=0.998),
        train_spins=16384,
        max_blocks=8,
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=24,
        training=Data(temperatures=Temperatures(number=4, nearest=0.06, farthest=0.6, near=3), snapshots=6),
        testing=Data(temperatures=Temperatures(number=5, nearest=0.05, farthest=0.8, near=4), snapshots=3),
        sides=(3, 4, 8),
        energy_sides=(4, 6),
        features=FeatureModels(
            network=Network(channels=2, widths=(16,), steps=30),
            irreps=Model(widths=(16,), learning_rate=1e-2, steps=30),
            moments=Model(widths=(8,), learning_rate=1e-2, steps=30),
        ),
        fit=PropertyFitOptions(batch_size=12, validate_every=10, checkpoint_every=10, average=0.9),
        scaling_from=3,
        train_spins=128,
        test_blocks=9,
        samples=20,
    ),
}

STUDY = PropertyStudy(
    question="How large must a block be for its phase and energy to be those of the whole Ising lattice?",
    title="Ising model: intensive properties from blocks",
    presets=PRESETS,
    generate=generate,
    tasks=tasks,
    build=build_model,
    options=fit_options,
    labels=labels,
    seconds=seconds,
    measures={
        "energy": measure_energy,
        "accuracy": accuracy.measure_accuracy,
        "bound": accuracy.measure_bound,
        "scaling": accuracy.measure_scaling,
    },
    judge=judge,
    notes=_notes,
    symbols={
        "A": "fraction of blocks that tell their phase",
        r"\ell": "side of a block",
        "t": "distance from the transition, T - T_c",
    },
    figures={
        "accuracy": accuracy.draw_accuracy,
        "windows": accuracy.draw_windows,
        "collapse": accuracy.draw_collapse,
        "comparison": accuracy.draw_comparison,
        "energy": _draw_energy,
        "parity": _draw_parity,
    },
)
