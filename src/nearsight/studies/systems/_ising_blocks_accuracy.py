"""Ising blocks: how often they tell the phase, how often they could, and how that scales with their side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import nearsight as ns
from nearsight import analysis
from nearsight.fields import tiles
from nearsight.parallel import resumable
from nearsight.sampling import ExactBlocks, Snapshots, critical_temperature
from nearsight.studies.checks import Above, Below, Check, Published, Within
from nearsight.studies.ensembles import mean_check
from nearsight.studies.fits import fits, with_fits
from nearsight.studies.property import load_model, opened
from nearsight.studies.run import Run

PAPER = "Tian, Zhang, Chern (2023)"
TC = critical_temperature("square")
DIMS = ("temperature", "snapshot")
THRESHOLDS = (0.85, 0.90)
REACH = 0.15
"""Curves are collapsed for |T - Tc| up to this. Further away the correlation length is less than 8 lattice constants,
the smallest block that counts, and no power law yet."""
CURVES: dict[str, Any] = {"x": "temperature", "by": "side", "over": "snapshot", "points": True, "mark": TC}


def phase(kT: np.ndarray) -> np.ndarray:
    """The label of the paper: 0 in the ferromagnet, 1 in the paramagnet."""
    return (np.asarray(kT) > TC).astype(float)


Measured = dict[str, tuple[np.ndarray, dict[str, str]]]
"""Values and attributes by name, a row for every test snapshot."""


def of_all(kT: np.ndarray, features: Sequence[str], sides: Sequence[int], measure: Any) -> xr.Dataset:
    """What ``measure(features, side)`` tells, joined: ``(features, side, temperature, snapshot)``."""

    def one(found: Measured) -> xr.Dataset:
        shaped = {name: (DIMS, values.reshape(len(kT), -1), attrs) for name, (values, attrs) in found.items()}
        return xr.Dataset(shaped, {"temperature": ("temperature", kT, {"units": "J"})})

    parts = [[one(measure(f, side)) for side in sides] for f in features]
    return xr.combine_nested(parts, ["features", "side"]).assign_coords(features=list(features), side=list(sides))


# --- how often blocks are right -------------------------------------------------------------------------------------


def _corners(run: Run, c: Any, side: int, snapshots: int, blocks: int) -> np.ndarray:
    """Corners of the first ``blocks`` of every test snapshot ``(snapshot, block, 2)``, in an order of no meaning."""
    corners = tiles(c.length, side)
    chosen = corners[torch.randperm(len(corners), generator=run.rng("tiles", side)).numpy()[: c.test_blocks]][:blocks]
    return np.broadcast_to(chosen, (snapshots, *chosen.shape))


def measure_accuracy(run: Run, c: Any) -> xr.Dataset:
    """Fraction of right blocks and rightness of the mean, ``(features, side, temperature, snapshot)``."""
    data, store = opened(run.path, "testing", c.length)
    rows, label = np.arange(len(data))[:, None], phase(data.kT)
    corners = {side: _corners(run, c, side, len(data), c.test_blocks) for side in c.sides}
    single, whole = (
        {"long_name": f"accuracy of {name}", "units": "1"} for name in ("single blocks", "whole snapshots")
    )

    def accuracy(features: str, side: int) -> Measured:
        p = load_model(run.path, "phase", features, side).of_blocks(store, rows, corners[side])
        right = ((p > 0.5) == label[:, None]).mean(1)
        return {"block": (right, single), "whole": (((p.mean(1) > 0.5) == label).astype(float), whole)}

    counted = [corners[side].shape[1] for side in c.sides]
    measured = of_all(data.temperatures, c.compared, c.sides, accuracy)
    return measured.assign(blocks=("side", counted, {"long_name": "blocks of a snapshot"}))


def near_transition(c: Any, accuracy: xr.Dataset) -> xr.DataArray:
    """Accuracy of blocks, averaged over the critical window ``(features, side, snapshot)``, both phases alike."""
    x = accuracy.temperature - TC
    below, above = (
        accuracy.block.sel(temperature=(sign * x > 0) & (abs(x) <= c.critical_window)).mean("temperature")
        for sign in (-1, 1)
    )
    return (0.5 * (below + above)).assign_attrs(long_name="accuracy near the transition", units="1")


def measure_bound(run: Run, c: Any) -> xr.Dataset:
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


def _best_and_learned(path: Path, c: Any, side: int, kT: np.ndarray) -> np.ndarray:
    """Fraction of right blocks of one side ``(features, temperature, snapshot)``, the exact guess first."""
    data, store = opened(path, "testing", c.length)
    rows = np.flatnonzero(np.isin(data.kT, kT))
    corners = _corners(Run(path), c, side, len(rows), c.bound_blocks)
    blocks = store.blocks(rows[:, None], corners, side).reshape(-1, side, side)
    learned = (load_model(path, "phase", features, side) for features in c.compared)
    guesses = [
        log_odds(blocks, kT).reshape(len(rows), -1) > 0,
        *(model.of_blocks(store, rows[:, None], corners) > 0.5 for model in learned),
    ]
    right = np.stack(guesses) == (phase(data.kT[rows]) > 0.5)[:, None]
    return right.mean(-1).reshape(len(guesses), len(kT), -1)


def log_odds(blocks: np.ndarray, kT: np.ndarray) -> np.ndarray:
    """ln of P(block | above) / P(block | below) ``(block,)``, of temperatures that are equally likely on a side."""
    logarithm = ExactBlocks(blocks.shape[1]).log_probability(blocks, kT)
    above, below = (logarithm[:, side] for side in (kT > TC, kT < TC))
    mean = [np.logaddexp.reduce(part, axis=1) - np.log(part.shape[1]) for part in (above, below)]
    return mean[0] - mean[1]


def accuracy_checks(run: Run, c: Any, accuracy: xr.Dataset, bound: xr.Dataset) -> list[Check]:
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


def _symmetry(run: Run, c: Any) -> Check:
    """The largest change of p over the 16 operations of D4 × Z2."""
    _, store = opened(run.path, "testing", c.length)
    side, probed = c.sides[-1], 64
    corners = torch.randint(c.length, (probed, 2), generator=run.rng("symmetry")).numpy()
    blocks = torch.from_numpy(store.blocks(np.linspace(0, len(store) - 1, probed).astype(int), corners, side))
    model = load_model(run.path, "phase", "network", side)
    images = [torch.rot90(b, k, (1, 2)) for b in (blocks, blocks.transpose(1, 2)) for k in range(4)]
    with torch.no_grad():
        p = model(blocks)
        worst = max(float((model(sign * image) - p).abs().max()) for image in images for sign in (1, -1))
    name = "symmetry of the network, worst of 16 operations of D4 × Z2"
    return Check(name, worst, criterion=Below(1e-5), note=f"change of p, l = {side}")


# --- windows and their scaling ----------------------------------------------------------------------------------------


def windows(run: Run, c: Any, accuracy: xr.Dataset) -> xr.Dataset:
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


def measure_scaling(run: Run, c: Any) -> xr.Dataset:
    """Windows with their laws ΔT ~ l^(-1/ν), and the collapse of the network's accuracies."""
    accuracy = run.observable("accuracy")
    measured = windows(run, c, accuracy)
    laws = {f"{f} {t:g}": law(c, measured, f, t) for f in c.compared for t in THRESHOLDS}
    return with_fits(measured, collapse=collapse(c, accuracy, measured, "network"), **laws)


def law(c: Any, scaling: xr.Dataset, features: str, threshold: float) -> analysis.SizeLaw | None:
    """ΔT ~ l^(-1/ν) through the large sizes whose window opened and closed; None if they are fewer than three."""
    chosen = _large(c, scaling).sel(kind="block", features=features, threshold=threshold)
    known = (chosen.window > 0) & ((chosen.window_samples > 0).mean("sample") > 0.8)
    if known.sum() < 3:
        return None
    chosen = chosen.sel(side=known)
    return analysis.size_law(chosen.side.values, chosen.window.values, chosen.window_samples.values)


def _large(c: Any, data: xr.Dataset) -> xr.Dataset:
    """The blocks of which exponents are made."""
    return data.sel(side=data.side >= c.scaling_from)


def curves(c: Any, accuracy: xr.Dataset, scaling: xr.Dataset, features: str) -> tuple[np.ndarray, ...]:
    """Sides, t = |T - Tc| ``(point,)``, the mean error at Tc ± t ``(side, point)``, its error, and resamplings."""
    accuracy, drawn = (_large(c, data).sel(features=features) for data in (accuracy, scaling))
    x = accuracy.temperature.values - TC
    t, y = analysis.mean_of_both_sides(x, 1 - accuracy.block.mean("snapshot").values, reach=REACH)
    _, samples = analysis.mean_of_both_sides(x, 1 - drawn.accuracy_samples.values, reach=REACH)
    trials = 2 * accuracy.blocks.values[:, None] * accuracy.sizes["snapshot"]
    # Where all or no blocks are right, no resampling says how seldom that could be.
    return accuracy.side.values, t, y, np.maximum(samples.std(0, ddof=1), 1 / trials), samples


def collapse(c: Any, accuracy: xr.Dataset, scaling: xr.Dataset, features: str) -> analysis.Collapse:
    """θ and ν of ε l^θ = F(t l^(1/ν)), with ε the mean fraction of wrong blocks at Tc ± t."""
    *curve, samples = curves(c, accuracy, scaling, features)
    return analysis.fit_collapse(*curve, samples=samples)


def scaling_checks(c: Any, scaling: xr.Dataset) -> list[Check]:
    """Exponents of the network, judged; those of the other features, and of whole snapshots, not."""
    found, laws, nu = [], fits(scaling), Published(1.0, PAPER)
    for features, threshold in product(scaling.features.values, THRESHOLDS):
        name = f"ΔT({100 * threshold:.0f} %) of single blocks, {features}"
        size_law = laws.get(f"{features} {threshold:g}")
        data = scaling.sel(kind="block", features=features, threshold=threshold)
        scatter = data.window_samples.std("sample", ddof=1)
        for side, width, error in zip(data.side.values, data.window.values, scatter.values, strict=True):
            known = np.isfinite([width, error]).all()
            width, error, note = (width, error, "") if known else (None, None, "the window does not open and close")
            found.append(Check(f"{name}, l = {side}", width, error, unit="J", note=note))
        found.append(
            Check(
                f"exponent of {name} ~ l^-a", size_law and -size_law.exponent, size_law and size_law.error,
                exact=1.0, published=nu, criterion=Within(0.1) if features == "network" else None,
                note=f"l ≥ {c.scaling_from}; {size_law}" if size_law else "too few windows",
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


def draw_windows(run: Run, c: Any) -> Any:
    """Windows against the side of the blocks, with their laws."""
    data = run.observable("scaling")
    drawn, laws = {}, {}
    for features, threshold in product(data.features.values, THRESHOLDS):
        part = data.sel(kind="block", features=features, threshold=threshold)
        if part.window.notnull().any() and (features == "network" or threshold == THRESHOLDS[0]):
            name, error = f"{features}, {100 * threshold:.0f} %", part.window_samples.std("sample", ddof=1)
            drawn[name] = xr.Dataset({"mean": part.window, "error": error})
            laws[name] = fits(data).get(f"{features} {threshold:g}")
    return ns.plots.compare(drawn, x="side", log="xy", fits=(laws,), points=True)


def draw_collapse(run: Run, c: Any) -> Any:
    """Errors of the network against the distance from the transition, as measured and rescaled."""
    scaling = run.observable("scaling")
    best = fits(scaling)["collapse"]
    sides, x, y, error, _ = curves(c, run.observable("accuracy"), scaling, "network")
    coords = {"side": sides, "t": ("t", x, {"long_name": "distance from the transition", "units": "J"})}
    attrs = {"long_name": "fraction of wrong blocks", "units": "1"}
    data = xr.Dataset({"mean": (("side", "t"), y, attrs), "error": (("side", "t"), error)}, coords=coords)
    side = data.side.astype(float)
    labels = r"$t\,\ell^{1/\nu}$", r"$(1 - A)\,\ell^{\theta}$"
    return ns.plots.collapse(data, side**best.inverse_nu, side**best.theta, labels=labels, fit=best)


def draw_accuracy(run: Run, c: Any) -> Any:
    data = run.observable("accuracy").sel(features="network")
    return ns.plots.compare(data.block, data.whole, levels=(THRESHOLDS[0],) * 2, **CURVES)


def draw_comparison(run: Run, c: Any) -> Any:
    learned, bound = (near_transition(c, run.observable(name)) for name in ("accuracy", "bound"))
    lack = bound.sel(features="exact", drop=True) - bound.sel(features=list(c.compared))
    lack.attrs = {"long_name": "exact bound minus accuracy", "units": "1"}
    options: dict[str, Any] = {"x": "side", "by": "features", "over": "snapshot", "log": "x", "points": True}
    return ns.plots.compare(learned, lack, levels=(None, 0.0), **options)
