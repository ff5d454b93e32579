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

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator
from scipy import stats

import nearsight as ns
from nearsight import analysis
from nearsight.descriptors import BlockIrreps, BlockMoments
from nearsight.fields import SpinStore, tiles
from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.networks import MLP, BlockCNN
from nearsight.parallel import resumable
from nearsight.properties import PropertyModel
from nearsight.sampling import ExactBlocks, Snapshots, critical_temperature, ising_torus, sample
from nearsight.studies.checks import Above, Below, Check, Published, PValue, Within
from nearsight.studies.ensembles import mean_check
from nearsight.studies.fits import fits, with_fits
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.property import PropertyStudy
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import rms
from nearsight.training import PropertyFitOptions, fit_property

PAPER = "Tian, Zhang, Chern (2023)"
TC = critical_temperature("square")
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


def phase(kT: np.ndarray) -> np.ndarray:
    """The label of the paper: 0 in the ferromagnet, 1 in the paramagnet."""
    return (np.asarray(kT) > TC).astype(float)


def _opened(path: Path, c: Config, part: str) -> tuple[Snapshots, SpinStore]:
    """Temperatures and energies of a set of snapshots; and the spins where blocks are cut from, mapped from disk."""
    return Snapshots.open(path / f"{part}.zarr"), SpinStore.open(path / f"{part}.npy", c.length)


PASSES = {"network": 1.3e-6, "irreps": 1.2e-7, "moments": 6e-9}
"""CPU seconds that one spin of one block costs in training, about."""


class Task(NamedTuple):
    """One fit."""

    target: str
    features: Any
    side: int

    @property
    def name(self) -> str:
        return f"{self.target}-{self.features}-{self.side}"


def tasks(c: Config) -> dict[str, Task]:
    """All fits of a run, the longest first, so that no core is left with one at the end."""
    energy = [Task("energy", f, side) for f in c.compared if f != "moments" for side in c.energy_sides]
    phases = [Task("phase", f, side) for f in c.compared for side in c.sides]
    return {task.name: task for task in sorted([*energy, *phases], key=lambda task: -seconds(c, task))}


def seconds(c: Config, task: Task) -> float:
    """A guess of the time of a fit."""
    options = fit_options(c, task)
    return PASSES[task.features] * options.steps * options.batch_size * options.blocks * task.side**2


def fit_options(c: Config, task: Task) -> PropertyFitOptions:
    """The options of one fit; as many blocks of a snapshot as hold the spins that a step is to see."""
    model = getattr(c.features, task.features)
    own = model.model_dump(include={"steps", "optimizer", "learning_rate"})
    own["blocks"] = min(c.max_blocks, max(2, c.train_spins // task.side**2))
    return c.fit.model_copy(update={**own, "loss": c.phase_loss if task.target == "phase" else c.fit.loss})


def _build_model(c: Config, task: Task, rng: torch.Generator) -> PropertyModel:
    """A model with its initial weights."""
    settings = getattr(c.features, task.features)
    if isinstance(settings, Network):
        seen: Any = BlockCNN(task.side, channels=settings.channels, rng=rng)
    else:
        seen = BlockIrreps(task.side) if task.features == "irreps" else BlockMoments(task.side)
    return PropertyModel(
        seen, MLP(settings.widths, rng=rng), kind="value" if task.target == "energy" else "probability"
    )


def fit(path: Path, c: Config, seed: int, task: Task) -> None:
    """Fit and save one model; what an interrupted fit left is gone on with."""
    data, store = _opened(path, c, "training")
    labels = phase(data.kT) if task.target == "phase" else data.energy / c.length**2
    model, folder = _build_model(c, task, torch.Generator().manual_seed(seed)), path / "fit" / task.name
    fit_property(model, store, labels, options=fit_options(c, task), path=folder, resume=True, progress=False)
    model.save(path / "models" / task.name)


def _load_model(path: Path, *task: Any) -> PropertyModel:
    """The model of a finished fit."""
    return PropertyModel.load(path / "models" / Task(*task).name)


# --- what is measured -------------------------------------------------------------------------------------------------


def _of_all(features: Sequence[str], sides: Sequence[int], measure: Callable[[str, int], xr.Dataset]) -> xr.Dataset:
    """What is measured of every kind of features and every side, joined."""
    parts = [[measure(f, side) for side in sides] for f in features]
    return xr.combine_nested(parts, ["features", "side"]).assign_coords(features=list(features), side=list(sides))


def measure_energy(run: Run, c: Config) -> xr.Dataset:
    """Learned energies of all test snapshots beside their own and the exact mean ones of the torus."""
    data, store = _opened(run.path, c, "testing")
    kT, dims, unit = data.temperatures, ("temperature", "snapshot"), {"units": "J"}
    name, error = {"long_name": "energy per site", **unit}, {"long_name": "standard error of the mean over blocks"}

    def learned(features: str, side: int) -> xr.Dataset:
        task = Task("energy", features, side)
        blocks = min(c.test_blocks, max(2, (c.length // side) ** 2))
        found = _load_model(run.path, *task).predict(store, blocks, run.rng("energy", task.name))
        values = {"learned": (found.mean, name), "error": (found.error, error)}
        return xr.Dataset({k: (dims, v.reshape(len(kT), -1), attrs) for k, (v, attrs) in values.items()})

    # Of (|m|, e) the second is the energy itself.
    measured = _of_all([f for f in c.compared if f != "moments"], c.energy_sides, learned)
    return measured.assign(
        sampled=(dims, (data.energy / c.length**2).reshape(len(kT), -1), name),
        exact=("temperature", ising_torus(c.length, c.length, kT).energy, name),
    ).assign_coords(temperature=("temperature", kT, unit))


def _corners(run: Run, c: Config, side: int) -> np.ndarray:
    """Corners of the blocks of every test snapshot, in an order of no meaning: the first few stand for all."""
    corners = tiles(c.length, side)
    return corners[torch.randperm(len(corners), generator=run.rng("tiles", side)).numpy()[: c.test_blocks]]


def measure_accuracy(run: Run, c: Config) -> xr.Dataset:
    """Fraction of right blocks and rightness of the mean, ``(features, side, temperature, snapshot)``."""
    data, store = _opened(run.path, c, "testing")
    kT, rows, label = data.temperatures, np.arange(len(data))[:, None], phase(data.kT)
    corners, dims = {side: _corners(run, c, side) for side in c.sides}, ("temperature", "snapshot")

    def accuracy(features: str, side: int) -> xr.Dataset:
        everywhere = np.broadcast_to(corners[side], (len(data), *corners[side].shape))
        p = _load_model(run.path, "phase", features, side).of_blocks(store, rows, everywhere)
        block, whole = ((p > 0.5) == label[:, None]).mean(1), ((p.mean(1) > 0.5) == label).astype(float)
        attrs = [{"long_name": f"accuracy of {name}", "units": "1"} for name in ("single blocks", "whole snapshots")]
        values = {"block": block, "whole": whole}.items()
        return xr.Dataset({k: (dims, v.reshape(len(kT), -1), a) for (k, v), a in zip(values, attrs, strict=True)})

    measured = _of_all(c.compared, c.sides, accuracy).assign_coords(temperature=("temperature", kT, {"units": "J"}))
    counted = [len(corners[side]) for side in c.sides]
    return measured.assign(blocks=("side", counted, {"long_name": "blocks of a snapshot"}))


def near_transition(c: Config, accuracy: xr.Dataset) -> xr.DataArray:
    """Accuracy of blocks, averaged over the critical window ``(features, side, snapshot)``, both phases alike."""
    x = accuracy.temperature - TC
    below, above = (
        accuracy.block.sel(temperature=(sign * x > 0) & (abs(x) <= c.critical_window)).mean("temperature")
        for sign in (-1, 1)
    )
    return (0.5 * (below + above)).assign_attrs(long_name="accuracy near the transition", units="1")


def measure_bound(run: Run, c: Config) -> xr.Dataset:
    """Fraction of right blocks near the transition, exact and learned, on the same blocks.

    The best guess from a block at one of the temperatures that are averaged over is the phase with the larger mean of
    P(block | T) over its temperatures there. It does not need training, and nothing that sees the block alone is right
    more often on average; a sample may differ from the average by its error.
    """
    kT = Snapshots.open(run.path / "testing.zarr").temperatures
    kT = kT[np.abs(kT - TC) <= c.critical_window]
    sides = [side for side in c.sides if side in c.bound_sides]
    work = [(run.path, c, side, kT) for side in sides]
    found = resumable(_best_and_learned, work, seconds=15.0 * len(sides), title="exact bound")
    coords = {"side": sides, "features": ["exact", *c.compared], "temperature": ("temperature", kT, {"units": "J"})}
    attrs = {"long_name": "accuracy of single blocks", "units": "1"}
    return xr.Dataset({"block": (("side", "features", "temperature", "snapshot"), np.stack(found), attrs)}, coords)


def _best_and_learned(path: Path, c: Config, side: int, kT: np.ndarray) -> np.ndarray:
    """Fraction of right blocks of one side ``(features, temperature, snapshot)``, the exact guess first."""
    data, store = _opened(path, c, "testing")
    rows = np.flatnonzero(np.isin(data.kT, kT))
    corners = _corners(Run(path), c, side)[: c.bound_blocks]
    everywhere = np.broadcast_to(corners, (len(rows), *corners.shape))
    blocks = store.blocks(rows[:, None], everywhere, side)
    models = [_load_model(path, "phase", features, side) for features in c.compared]
    guesses = [
        log_odds(blocks.reshape(-1, side, side), kT).reshape(len(rows), -1) > 0,
        *(model.of_blocks(store, rows[:, None], everywhere) > 0.5 for model in models),
    ]
    right = np.stack(guesses) == (phase(data.kT[rows]) > 0.5)[:, None]
    return right.mean(-1).reshape(len(guesses), len(kT), -1)


def log_odds(blocks: np.ndarray, kT: np.ndarray) -> np.ndarray:
    """ln of P(block | above) / P(block | below) ``(block,)``, of temperatures that are equally likely on a side."""
    logarithm = ExactBlocks(blocks.shape[1]).log_probability(blocks, kT)
    above, below = (logarithm[:, side] for side in (kT > TC, kT < TC))
    mean = [np.logaddexp.reduce(part, axis=1) - np.log(part.shape[1]) for part in (above, below)]
    return mean[0] - mean[1]


# --- windows and their scaling ----------------------------------------------------------------------------------------

THRESHOLDS = (0.85, 0.90)
REACH = 0.15
"""Curves are collapsed for |T - Tc| up to this. Further away the correlation length is less than 8 lattice constants,
the smallest block that counts, and no power law yet."""


def windows(run: Run, c: Config, accuracy: xr.Dataset) -> xr.Dataset:
    """ΔT of blocks and of whole snapshots with their resamplings, and of the block accuracy its resamplings."""
    x = accuracy.temperature.values - TC
    kinds = accuracy[["block", "whole"]].to_dataarray("kind").transpose(..., "temperature", "snapshot")
    samples = analysis.resampled_means(kinds.values, rng=run.rng("bootstrap"), samples=c.samples)
    window, drawn = (
        np.stack([analysis.threshold_width(x, curves, t) for t in THRESHOLDS], axis=-1)
        for curves in (kinds.values.mean(-1), samples)
    )
    dims = (*kinds.dims[:-2], "threshold")
    measured = {
        "window": (dims, window, {"long_name": "ΔT below the threshold", "units": "J"}),
        "window_samples": (("sample", *dims), drawn, {"units": "J"}),
        "accuracy_samples": (("sample", *dims[1:-1], "temperature"), samples[:, 0]),
    }
    return xr.Dataset(measured, coords={**kinds.coords, "threshold": list(THRESHOLDS)})


def measure_scaling(run: Run, c: Config) -> xr.Dataset:
    accuracy = run.observable("accuracy")
    measured = windows(run, c, accuracy)
    laws = {f"{f} {t:g}": law(c, measured, f, t) for f in c.compared for t in THRESHOLDS}
    return with_fits(measured, collapse=collapse(c, accuracy, measured, "network"), **laws)


def law(c: Config, scaling: xr.Dataset, features: str, threshold: float) -> analysis.SizeLaw | None:
    """ΔT ~ l^(-1/ν) through the large sizes whose window opened and closed; None if they are fewer than three."""
    chosen = _large(c, scaling).sel(kind="block", features=features, threshold=threshold)
    known = (chosen.window > 0) & ((chosen.window_samples > 0).mean("sample") > 0.8)
    if known.sum() < 3:
        return None
    chosen = chosen.sel(side=known)
    return analysis.size_law(chosen.side.values, chosen.window.values, chosen.window_samples.values)


def _large(c: Config, data: xr.Dataset) -> xr.Dataset:
    """The blocks of which exponents are made."""
    return data.sel(side=data.side >= c.scaling_from)


def curves(c: Config, accuracy: xr.Dataset, scaling: xr.Dataset, features: str) -> tuple[np.ndarray, ...]:
    """Sides, t = |T - Tc| ``(point,)``, the mean error at Tc ± t ``(side, point)``, its error, and resamplings."""
    accuracy, drawn = (_large(c, data).sel(features=features) for data in (accuracy, scaling))
    x = accuracy.temperature.values - TC
    t, y = analysis.mean_of_both_sides(x, 1 - accuracy.block.mean("snapshot").values, reach=REACH)
    _, samples = analysis.mean_of_both_sides(x, 1 - drawn.accuracy_samples.values, reach=REACH)
    trials = 2 * accuracy.blocks.values[:, None] * accuracy.sizes["snapshot"]
    # Where all or no blocks are right, no resampling says how seldom that could be.
    return accuracy.side.values, t, y, np.maximum(samples.std(0, ddof=1), 1 / trials), samples


def collapse(c: Config, accuracy: xr.Dataset, scaling: xr.Dataset, features: str) -> analysis.Collapse:
    """θ and ν of ε l^θ = F(t l^(1/ν)), with ε the mean fraction of wrong blocks at Tc ± t."""
    sides, x, y, error, samples = curves(c, accuracy, scaling, features)
    return analysis.fit_collapse(sides, x, y, error, samples=samples)


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


def _accuracy_checks(run: Run, c: Config, accuracy: xr.Dataset, bound: xr.Dataset) -> list[Check]:
    """Models at equal l, on the same blocks, against each other and against the exact bound; the symmetry."""
    near, limited = near_transition(c, accuracy), near_transition(c, bound)
    where = f"accuracy within {c.critical_window:g} of Tc"
    mean = partial(mean_check, dim="snapshot")

    def by_side(name: str, values: xr.DataArray) -> list[Check]:
        return [mean(f"{name}, l = {side}", values.sel(side=side)) for side in values.side.values]

    found = [check for f in c.compared for check in by_side(f"{where}, {f}", near.sel(features=f))]
    for other in c.compared[1:] if c.compared[0] == "network" else c.compared:
        gain, name = near.sel(features="network") - near.sel(features=other), f"{where}, network minus {other}"
        check = mean(f"{name}, mean over l", gain.mean("side"))
        if other == "irreps" and check.value is not None and check.error:
            sigmas, note = check.value / check.error, f"{check.value:+.4f} ± {check.error:.4f}"
            check = Check(f"{check.name}, in standard errors", sigmas, criterion=Above(2.0), note=note)
        found += [check, *by_side(name, gain)]
    best = limited.sel(features="exact")
    found += by_side(f"{where}, exact bound", best)
    for features in c.compared:
        lack, name = best - limited.sel(features=features), f"{where}, exact bound minus {features}"
        criterion = Below(0.005) if features == "network" else None
        found += [mean(f"{name}, mean over l", lack.mean("side"), criterion=criterion), *by_side(name, lack)]
    return [*found, _symmetry(run, c)]


def _symmetry(run: Run, c: Config) -> Check:
    """The largest change of p over the 16 operations of D4 × Z2."""
    _, store = _opened(run.path, c, "testing")
    side, probed = c.sides[-1], 64
    corners = torch.randint(c.length, (probed, 2), generator=run.rng("symmetry")).numpy()
    blocks = torch.from_numpy(store.blocks(np.linspace(0, len(store) - 1, probed).astype(int), corners, side))
    model = _load_model(run.path, "phase", "network", side)
    images = [torch.rot90(b, k, (1, 2)) for b in (blocks, blocks.transpose(1, 2)) for k in range(4)]
    with torch.no_grad():
        p = model(blocks)
        worst = max(float((model(sign * image) - p).abs().max()) for image in images for sign in (1, -1))
    name = "symmetry of the network, worst of 16 operations of D4 × Z2"
    return Check(name, worst, criterion=Below(1e-5), note=f"change of p, l = {side}")


def scaling_checks(c: Config, scaling: xr.Dataset) -> list[Check]:
    """Exponents of the network, judged; those of the other features, and of whole snapshots, not."""
    found, laws, nu = [], fits(scaling), Published(1.0, PAPER)
    for features, threshold in product(scaling.features.values, THRESHOLDS):
        name = f"ΔT({100 * threshold:.0f} %) of single blocks, {features}"
        fitted = laws.get(f"{features} {threshold:g}")
        data = scaling.sel(kind="block", features=features, threshold=threshold)
        scatter = data.window_samples.std("sample", ddof=1)
        for side, width, error in zip(data.side.values, data.window.values, scatter.values, strict=True):
            known = np.isfinite([width, error]).all()
            width, error, note = (width, error, "") if known else (None, None, "the window does not open and close")
            found.append(Check(f"{name}, l = {side}", width, error, unit="J", note=note))
        found.append(
            Check(
                f"exponent of {name} ~ l^-a", fitted and -fitted.exponent, fitted and fitted.error, exact=1.0,
                published=nu, criterion=Within(0.1) if features == "network" else None,
                note=f"l ≥ {c.scaling_from}; {fitted}" if fitted else "too few windows",
            )
        )  # fmt: skip
    whole = scaling.window.sel(kind="whole", features="network", threshold=THRESHOLDS[0])
    note = "together blocks know the phase where one does not"
    for side, width in zip(whole.side.values, whole.values, strict=True):
        name = f"ΔT(85 %) of whole snapshots, network, l = {side}"
        found.append(Check(name, width if width == width else None, note=note))
    best = laws["collapse"]
    note = f"S = {best.quality:.2f}; mean of both sides of Tc, where half of all guesses are wrong for every l"
    interval, theta = "68 %: {:.3f} to {:.3f}".format(*best.inverse_nu_interval), Published(0.12, PAPER)
    return [
        *found,
        Check("data collapse, θ, network", best.theta, best.theta_error, exact=0.0, published=theta, note=note),
        Check(
            "data collapse, 1/ν, network", best.inverse_nu, best.inverse_nu_error, exact=1.0, published=nu,
            criterion=Within(0.1), note=interval,
        ),
    ]  # fmt: skip


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    return [
        *_energy_checks(measured["energy"]),
        *_accuracy_checks(run, c, measured["accuracy"], measured["bound"]),
        *scaling_checks(c, measured["scaling"]),
    ]


# --- figures ----------------------------------------------------------------------------------------------------------

CURVES: dict[str, Any] = {"x": "temperature", "by": "side", "over": "snapshot", "points": True, "mark": TC}


def _draw_accuracy(run: Run, c: Config) -> Any:
    data = run.observable("accuracy").sel(features="network")
    return ns.plots.compare(data.block, data.whole, levels=(THRESHOLDS[0],) * 2, **CURVES)


def _draw_energy(run: Run, c: Config) -> dict[str, Any]:
    data = run.observable("energy")
    off = (data.learned - data.sampled).assign_attrs(long_name="error of the energy per site", units="J")
    return {str(f): ns.plots.compare(off.sel(features=f), levels=(0.0,), **CURVES) for f in data.features.values}


def _draw_comparison(run: Run, c: Config) -> Any:
    learned, bound = (near_transition(c, run.observable(name)) for name in ("accuracy", "bound"))
    lack = bound.sel(features="exact", drop=True) - bound.sel(features=list(c.compared))
    lack.attrs = {"long_name": "exact bound minus accuracy", "units": "1"}
    options: dict[str, Any] = {"x": "side", "by": "features", "over": "snapshot", "log": "x", "points": True}
    return ns.plots.compare(learned, lack, levels=(None, 0.0), **options)


def _draw_windows(run: Run, c: Config) -> Any:
    data = run.observable("scaling")
    drawn, laws = {}, {}
    for features, threshold in product(data.features.values, THRESHOLDS):
        part = data.sel(kind="block", features=features, threshold=threshold)
        if part.window.notnull().any() and (features == "network" or threshold == THRESHOLDS[0]):
            name, error = f"{features}, {100 * threshold:.0f} %", part.window_samples.std("sample", ddof=1)
            drawn[name] = xr.Dataset({"mean": part.window, "error": error})
            laws[name] = fits(data).get(f"{features} {threshold:g}")
    return ns.plots.compare(drawn, x="side", log="xy", fits=(laws,), points=True)


def _draw_collapse(run: Run, c: Config) -> Any:
    scaling = run.observable("scaling")
    best = fits(scaling)["collapse"]
    sides, x, y, error, _ = curves(c, run.observable("accuracy"), scaling, "network")
    coords = {"side": sides, "t": ("t", x, {"long_name": "distance from the transition", "units": "J"})}
    attrs = {"long_name": "fraction of wrong blocks", "units": "1"}
    data = xr.Dataset({"mean": (("side", "t"), y, attrs), "error": (("side", "t"), error)}, coords=coords)
    side = data.side.astype(float)
    labels = r"$t\,\ell^{1/\nu}$", r"$(1 - A)\,\ell^{\theta}$"
    return ns.plots.collapse(data, side**best.inverse_nu, side**best.theta, labels=labels, fit=best)


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
    data=("training.zarr", "training.npy", "testing.zarr", "testing.npy"),
    seen=("training.zarr", "training.npy"),
    generate=generate,
    models=tasks,
    fit=fit,
    seconds=seconds,
    measures={
        "energy": measure_energy,
        "accuracy": measure_accuracy,
        "bound": measure_bound,
        "scaling": measure_scaling,
    },
    judge=judge,
    notes=_notes,
    figures={
        "accuracy": _draw_accuracy,
        "windows": _draw_windows,
        "collapse": _draw_collapse,
        "comparison": _draw_comparison,
        "energy": _draw_energy,
        "parity": _draw_parity,
    },
)
