"""How the window of uncertainty about Tc shrinks with the block, and whether its curves are one."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight.analysis import Collapse, SizeLaw, Verdict, fit_collapse, size_law, threshold_window
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import TC
from nearsight.studies.run import Run

THRESHOLDS = (0.85, 0.90)
REACH = 0.15
"""Curves are collapsed for |T - Tc| up to this. Further away the correlation length is less than 8 lattice constants,
the smallest block that counts, and no power law yet."""
SAME = 1e-5
"""Temperatures are paired across the transition if their distances to it differ by less."""
FEWEST = 3
"""Sizes whose window must be known for a power law."""


def resampled(right: np.ndarray, count: int, rng: torch.Generator) -> np.ndarray:
    """Means over resampled snapshots ``(sample, ..., temperature)`` of ``(..., temperature, snapshot)``.

    Snapshots are drawn anew at every temperature; all fronts and block sizes see the same ones, as they do in the data.
    """
    temperatures, n = right.shape[-2:]
    result = np.empty((count, *right.shape[:-1]))
    for k in range(count):
        draw = torch.randint(n, (temperatures, n), generator=rng).numpy()
        result[k] = np.take_along_axis(right, np.broadcast_to(draw, right.shape), axis=-1).mean(-1)
    return result


def widths(x: np.ndarray, accuracy: np.ndarray, threshold: float) -> np.ndarray:
    """ΔT = T₊ - T₋ of curves ``(..., temperature)``, NaN where an accuracy never reaches the threshold."""
    flat = accuracy.reshape(-1, accuracy.shape[-1])
    edges = np.array([threshold_window(x, row, threshold) for row in flat])
    return (edges[:, 1] - edges[:, 0]).reshape(accuracy.shape[:-1])


def measure(run: Run, config: Config, accuracy: xr.Dataset) -> xr.Dataset:
    """Windows of blocks and of whole snapshots with their resamplings, and of the block accuracy its resamplings."""
    x = accuracy.temperature.values - TC
    kinds = np.stack([accuracy.block.values, accuracy.whole.values])
    samples = resampled(kinds, config.samples, run.rng("bootstrap"))
    window = np.stack([widths(x, kinds.mean(-1), t) for t in THRESHOLDS], axis=-1)
    drawn = np.stack([widths(x, samples, t) for t in THRESHOLDS], axis=-1)
    dims = ("kind", "front", "side", "threshold")
    return xr.Dataset(
        {
            "window": (dims, window, {"long_name": "ΔT below the threshold", "units": "J"}),
            "window_samples": (("sample", *dims), drawn, {"units": "J"}),
            "accuracy_samples": (("sample", "front", "side", "temperature"), samples[:, 0]),
        },
        coords={
            "kind": ["block", "whole"],
            "front": accuracy.front.values,
            "side": accuracy.side.values,
            "threshold": list(THRESHOLDS),
            "temperature": ("temperature", accuracy.temperature.values, {"units": "J"}),
        },
    )


def law(config: Config, scaling: xr.Dataset, front: str, threshold: float) -> SizeLaw | None:
    """ΔT ~ l^(-1/ν) through the large sizes whose window opened and closed; None if they are too few."""
    chosen = large(config, scaling).sel(kind="block", front=front, threshold=threshold)
    known = np.nan_to_num(chosen.window.values) > 0
    known &= (np.nan_to_num(chosen.window_samples.values) > 0).mean(0) > 0.8
    if known.sum() < FEWEST:
        return None
    return size_law(chosen.side.values[known], chosen.window.values[known], chosen.window_samples.values[:, known])


def large(config: Config, data: xr.Dataset) -> xr.Dataset:
    """The blocks of which exponents are made."""
    return data.isel(side=np.flatnonzero(data.side.values >= config.scaling_from))


def curves(config: Config, accuracy: xr.Dataset, scaling: xr.Dataset, front: str) -> tuple[np.ndarray, ...]:
    """Sides, t = |T - Tc| ``(point,)``, the mean error at Tc ± t ``(side, point)``, its error, and resamplings.

    Blocks are distributed alike on both sides of the transition itself, where their label changes: A(Tc-) + A(Tc+) = 1,
    whatever guesses. Errors therefore jump at Tc, by as much as a model leans to one phase, and this depends on the
    temperatures it was trained at, which know nothing of l. The mean of both sides does not jump, and is 1/2 at t = 0
    for every l.
    """
    accuracy, scaling = large(config, accuracy), large(config, scaling)
    x = accuracy.temperature.values - TC
    above = [k for k in np.flatnonzero((x > 0) & (x <= REACH)) if np.abs(x + x[k]).min() < SAME]
    below = [int(np.abs(x + x[k]).argmin()) for k in above]
    wrong = 1 - accuracy.block.sel(front=front).mean("snapshot").values
    drawn = 1 - scaling.accuracy_samples.sel(front=front).values
    y, samples = (0.5 * (values[..., above] + values[..., below]) for values in (wrong, drawn))
    trials = 2 * accuracy.blocks.values[:, None] * accuracy.sizes["snapshot"]
    # Where all or no blocks are right, no resampling says how seldom that could be chance.
    error = np.maximum(samples.std(0, ddof=1), 1 / trials)
    return accuracy.side.values, x[above], y, error, samples


def collapse(config: Config, accuracy: xr.Dataset, scaling: xr.Dataset, front: str) -> Collapse:
    """θ and ν of ε l^θ = F(t l^(1/ν)), with ε the mean share of wrong blocks at Tc ± t."""
    sides, x, y, error, samples = curves(config, accuracy, scaling, front)
    return fit_collapse(sides, x, y, error, samples=samples)


def verdicts(config: Config, scaling: xr.Dataset, found: Collapse) -> list[Verdict]:
    """Exponents of the network, judged; those of the others, and of whole snapshots, told."""
    result = []
    for front in scaling.front.values:
        for threshold in THRESHOLDS:
            fitted = law(config, scaling, front, threshold)
            name = f"exponent of ΔT({100 * threshold:.0f} %) ~ l^-a, {front}, single blocks, l ≥ {config.scaling_from}"
            windows = scaling.sel(kind="block", front=front, threshold=threshold)
            listed = ", ".join(
                f"{float(w):.3f} ± {float(s):.3f}"
                for w, s in zip(windows.window, windows.window_samples.std("sample", ddof=1), strict=True)
            )
            judged = front == "network"
            inside = fitted is not None and abs(-fitted.exponent - 1) <= 0.1
            low, high = (0.0, 0.0) if fitted is None else fitted.confidence
            result.append(
                Verdict(
                    name,
                    exact="1/ν = 1",
                    learned="too few windows" if fitted is None else f"{-fitted.exponent:.3f} ± {fitted.error:.3f}",
                    paper=1.0,
                    target="1.0 ± 0.1" if judged else None,
                    passed=inside if judged else None,
                    note=f"ΔT = {listed}" + ("" if fitted is None else f"; 95 %: {-high:.2f} to {-low:.2f}"),
                )
            )
    whole = scaling.window.sel(kind="whole", front="network", threshold=THRESHOLDS[0])
    result += [
        Verdict(
            f"ΔT({100 * THRESHOLDS[0]:.0f} %) of whole snapshots, network",
            learned=", ".join(f"{float(w):.3f}" for w in whole),
            note=f"l = {', '.join(str(int(s)) for s in whole.side)}; together blocks know the phase where one does not",
        ),
        Verdict(
            "data collapse, θ, network",
            exact="0 for large l",
            learned=f"{found.theta:.3f} ± {found.theta_error:.3f}",
            paper=0.12,
            note=f"68 %: {found.theta_interval[0]:.3f} to {found.theta_interval[1]:.3f}; S = {found.quality:.2f}; "
            "mean of both sides of Tc, where half of all guesses are wrong for every l",
        ),
        Verdict(
            "data collapse, 1/ν, network",
            exact=1.0,
            learned=f"{found.inverse_nu:.3f} ± {found.inverse_nu_error:.3f}",
            paper=1.0,
            target="1.0 ± 0.1",
            passed=abs(found.inverse_nu - 1) <= 0.1,
            note=f"68 %: {found.inverse_nu_interval[0]:.3f} to {found.inverse_nu_interval[1]:.3f}",
        ),
    ]
    return result
