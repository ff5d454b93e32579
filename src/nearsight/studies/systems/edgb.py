"""Posteriors beyond general relativity: how small is the coupling of Einstein-dilaton-Gauss-Bonnet gravity?

**Question.** Does a network that is trained once on simulated strains give the right posterior of a binary's masses and
of the coupling √α, for any noise, and which coupling can one event exclude?

**System.** Compact binaries in quasi-circular inspiral (:class:`~nearsight.gravity.TaylorF2`), whose phase is changed
by scalar dipole radiation (:class:`~nearsight.gravity.GaussBonnet`, -1PN, 0PN and 0.5PN), in Gaussian noise of two
detectors. The phase of coalescence is integrated out. Strains are compressed on a basis of signals and prepared by a
matched filter; a neural spline flow is fitted to fresh simulations and then corrected by likelihoods: importance
weights, and rounds of an adapted proposal where these are not enough. The referee is nested sampling.

Masses, mass ratio and distance have densities of a volume and of uniform component masses within windows about the
event, √α is uniform between 0 and the bound of small coupling or ``most``. Bounds depend on this choice: the report
gives that of a prior uniform in α², too.

**What to expect.** Injections from the prior have ranks that are uniform. Published 90 % bounds on √α are 1.33 km from
two binaries of a neutron star and a black hole, of which GW200115 is the stronger (Z. Lyu, N. Jiang, K. Yagi, Phys.
Rev. D 105, 064001 (2022)), and 1.7 km from black holes (S. E. Perkins, R. Nair, H. O. Silva, N. Yunes, Phys. Rev. D
104, 024060 (2021)). GW150914, with two heavy black holes of nearly equal mass, says nothing at small coupling. Appendix
B of the dissertation reports 931 effective of 10⁷ samples for it, 0.0093 %.

**Cost.** `quick`: GW200115-like, five parameters, a quarter of an hour of one core, of which the network takes five
minutes and two runs of the referee another five. `thesis`: GW150914-like, six parameters, not yet carried out in full.
`gpu`: eleven parameters, noise curves and masks drawn anew for every signal; meant for a GPU or ``torchrun``, not yet
carried out.

    nearsight run edgb --preset quick
    nearsight run edgb --preset thesis
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

import nearsight as ns
from nearsight.analysis import calibration, expected_coverage
from nearsight.gravity import PosteriorFlow, fit_posterior
from nearsight.storage import read_json, write_json
from nearsight.studies.checks import Above, Below, Check, Published, PValue, Sigma, Within
from nearsight.studies.inference import Work, result
from nearsight.studies.options import device_present, torch_device
from nearsight.studies.run import Run
from nearsight.studies.study import MeasuredStudy, Stage
from nearsight.studies.systems._edgb_events import (
    Config,
    Injections,
    Training,
    infer,
    matched_filter,
    prior,
    simulator,
    tasks,
    trained,
)

UNITS = {
    "chirp_mass": "M_sun",
    "distance": "Mpc",
    "time": "s",
    "sqrt_alpha": "km",
    "ra": "rad",
    "dec": "rad",
    "psi": "rad",
}


def draws(c: Config, fiducial: bool = False) -> Callable[..., Any]:
    return functools.partial(matched_filter(c).draw, fiducial=fiducial or c.one_curve)


def with_flows(c: Config) -> None:
    """What the stages require besides the library itself."""
    device_present(c)
    for module in ("zuko", "dynesty"):
        try:
            __import__(module)
        except ImportError as error:
            raise ImportError(f"This study needs {module}; pip install nearsight[gw].") from error


# --- stages -----------------------------------------------------------------------------------------------------------


def simulate(run: Run, c: Config) -> None:
    """The basis of signals, and what it loses."""
    basis = simulator(c)
    lost = basis.mismatch(400, run.rng("mismatch"))
    write_json(run.path / "basis.json", lost | {"cells": len(basis.cells), "numbers": basis.width})
    run.log("note", text=f"{len(basis.cells)} cells, {basis.width} numbers, mismatch {lost['median']:.1e}")


def train(run: Run, c: Config) -> None:
    t = c.training
    flow = PosteriorFlow(
        prior(c), matched_filter(c).width, transforms=t.transforms, hidden=(t.hidden, t.hidden), width=t.width,
        blocks=t.blocks, rng=run.rng("weights"),
    ).to(torch_device(c.device))  # fmt: skip
    first = draws(c, fiducial=True) if t.first_steps else None
    options = t.model_copy(update={"seed": c.seed})
    fit_posterior(flow, draws(c), first=first, options=options, path=run.path / "fit", resume=True)
    flow.cpu().save(run.path / "model")


def measure_calibration(run: Run, c: Config) -> xr.Dataset:
    """Ranks of the truth in posteriors of the network alone, and its bounds on √α by the loudness found."""
    theta, samples, snr = _calibrated(run, c)
    names, rng = prior(c).names, run.rng("ranks")
    data = calibration(theta, samples, rng=rng, names=names)
    bound = np.quantile(samples[:, :, names.index("sqrt_alpha")], 0.9, axis=1)
    inside = theta[:, names.index("sqrt_alpha")] <= bound
    extra = {
        "snr": ("trial", snr),
        "bound": ("trial", bound, {"units": "km"}),
        "inside": ("trial", inside.astype(np.int8)),
    }
    return data.assign(extra)


def measure_coverage(run: Run, c: Config) -> xr.Dataset:
    """Coverage of regions of all parameters at once."""
    theta, samples, _ = _calibrated(run, c)
    return expected_coverage(theta, samples, rng=run.rng("references"))


@functools.lru_cache(maxsize=1)
def _calibrated(run: Run, c: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters ``(trial, d)``, samples ``(trial, sample, d)`` and the signal-to-noise ratio found ``(trial,)``."""
    theta, data = draws(c)(c.injections.calibration, run.rng("calibration"))
    samples = trained(run.path).sample(500, data, run.rng("calibration samples")).transpose(0, 1)
    return theta.numpy(), samples.numpy(), data[:, -1].double().numpy()


def measure_draws(run: Run, c: Config) -> xr.Dataset:
    """What each estimator found for signals from the prior, ``(event, estimator)``."""
    found = [result(run.path, "infer", name).drop_vars("samples") for name in tasks(c) if name.startswith("drawn")]
    return xr.concat(found, dim="event")


def measure_events(run: Run, c: Config) -> xr.Dataset:
    """The event of general relativity at three distances and the one beyond it, by name."""
    names = [name for name in tasks(c) if not name.startswith("drawn")]
    return xr.concat([result(run.path, "infer", name) for name in names], dim="event").assign_coords(event=names)


# --- checks -----------------------------------------------------------------------------------------------------------


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    return [
        *_calibration_checks(run, c, measured["calibration"], measured["coverage"]),
        *_efficiency_checks(measured["draws"]),
        *_event_checks(c, measured["events"]),
    ]


def _calibration_checks(run: Run, c: Config, ranks: xr.Dataset, coverage: xr.Dataset) -> list[Check]:
    lost = read_json(run.path / "basis.json")
    found = [Check("mismatch of the basis, median", lost["median"], criterion=Below(0.01))]
    for name in ranks.parameter.values:
        here, trials = ranks.sel(parameter=name), ranks.sizes["trial"]
        note = f"{trials} injections; truths scatter by {float(here.scatter):.2f} widths"
        found.append(Check(f"ranks of {name}, p-value", float(here.p_value), criterion=PValue(0.01), note=note))
    found.append(Check("coverage of all parameters, p-value", float(coverage.p_value), criterion=PValue(0.01)))
    edges = np.quantile(ranks.snr, [0, 1 / 3, 2 / 3, 1])
    for k, word in enumerate(("faint", "medium", "loud")):
        third = ranks.where((ranks.snr >= edges[k]) & (ranks.snr <= edges[k + 1]), drop=True)
        error = math.sqrt(0.9 * 0.1 / third.sizes["trial"])
        found.append(
            Check(
                f"{word} signals: 90 % bounds that hold √α", 100 * float(third.inside.mean()), 100 * error, unit="%",
                exact=90.0, criterion=Sigma(3.0), note=f"found with SNR {edges[k]:.0f} to {edges[k + 1]:.0f}",
            )
        )  # fmt: skip
    return found


def _efficiency_checks(drawn: xr.Dataset) -> list[Check]:
    found = []
    goals = {"weighted": ("network", Above(5.0)), "refined": ("refined proposal", Above(20.0))}
    for name, (word, criterion) in goals.items():
        here = 100 * drawn.efficiency.sel(estimator=name).fillna(0.0)
        low, high = (float(here.quantile(q)) for q in (0.1, 0.9))
        tail = float((drawn["tail"].sel(estimator=name) > 0.7).mean())
        source = "PhD dissertation, appendix B: 931 of 10⁷"
        found.append(
            Check(
                f"sampling efficiency of the {word}, median", float(here.median()), unit="%", criterion=criterion,
                published=Published(0.0093, source) if name == "weighted" else None,
                note=f"{here.sizes['event']} injections; deciles {low:.2g} and {high:.2g} %; {100 * tail:.0f} % have "
                "tails that cannot be trusted",
            )
        )  # fmt: skip
    return found


def _event_checks(c: Config, events: xr.Dataset) -> list[Check]:
    found, p = [], prior(c)
    for event, words in (("gr", "general relativity"), ("edgb", f"√α = {c.injections.coupling:g} km")):
        refined, referee = (events.sel(event=event, estimator=name) for name in ("refined", "nested"))
        evidence: dict[str, Any] = {}
        bound: dict[str, Any] = {}
        if c.injections.live:
            evidence = {"exact": float(referee.evidence), "exact_error": float(referee.evidence_error)}
            evidence |= {"criterion": Sigma(3.0), "note": "exact: nested sampling"}
            bound = {"exact": float(referee.bound), "criterion": Within(0.05, relative=True)}
        found += [
            Check(f"{words}: ln Z", float(refined.evidence), float(refined.evidence_error), **evidence),
            Check(f"{words}: 90 % bound on √α", float(refined.bound), float(refined.bound_error), unit="km", **bound),
            Check(f"{words}: ln of the Bayes factor over GR", float(refined.bayes), float(refined.bayes_error)),
        ]  # fmt: skip
    alone = p.sample(20_000, torch.Generator().manual_seed(1))[:, p.names.index("sqrt_alpha")]
    edge = float(alone.quantile(0.9))
    for event in [name for name in events.event.values if str(name).startswith("gr")]:
        here = events.sel(event=event, estimator="refined")
        published = None
        if c.companion == "neutron star":
            published = Published(1.33, "Phys. Rev. D 105, 064001 (2022)", note="GW200105 and GW200115 together")
        found.append(
            Check(
                f"90 % bound on √α, event {event}",
                float(here.bound), float(here.bound_error), unit="km", published=published,
                note=f"found with SNR {float(here.snr):.1f}; {float(here.bound) / edge:.2f} of the prior's own; "
                f"{float(here.bound_squared):.3g} km under a prior uniform in α²",
            )
        )  # fmt: skip
    return found


# --- figures ----------------------------------------------------------------------------------------------------------


def _draw_corner(run: Run, c: Config) -> dict[str, Any]:
    events, pictures = run.observable("events"), {}
    units = ("parameter", [UNITS.get(str(name), "1") for name in events.parameter.values])
    for event in ("gr", "edgb"):
        here = events.sel(event=event).assign_coords(units=units)
        names = ("flow", "refined", *(["nested"] if c.injections.live else []))
        shown = {name: here.samples.sel(estimator=name) for name in names}
        pictures[event] = ns.plots.corner(shown, here.truth)
    return pictures


def _draw_probabilities(run: Run, c: Config) -> Any:
    return ns.plots.probabilities(run.observable("calibration"), run.observable("coverage"))


def _draw_bounds(run: Run, c: Config) -> Any:
    data = run.observable("calibration")
    drawn = xr.Dataset({"bound": data.bound, "snr": data.snr})
    drawn["bound"].attrs = {"long_name": "90 % bound on √α", "units": "km"}
    drawn["snr"].attrs = {"long_name": "signal-to-noise ratio found", "units": "1"}
    return ns.plots.points(drawn.snr, drawn.bound)


# --- presets ----------------------------------------------------------------------------------------------------------

PRESETS = {
    "quick": Config(),
    "thesis": Config(
        companion="black hole",
        chirp_mass=(25.0, 37.0),
        mass_ratio=(0.4, 1.0),
        distance=(200.0, 2500.0),
        event=(30.6, 0.86),
        free=("chi_1",),
        most=12.0,
        band=(20.0, 512.0),
        duration=8.0,
        injections=Injections(snr=(12.0, 24.0, 40.0), coupling=5.0),
        training=Training(steps=5000),
    ),
    "gpu": Config(
        free=("chi_1", "chi_2", "inclination", "ra", "dec", "psi"),
        spread=0.2,
        missing=0.1,
        notched=0.1,
        distance=(20.0, 350.0),
        jitter=0.03,
        training=Training(
            size=200, templates=16384, steps=100_000, first_steps=40_000, batch_size=4096, learning_rate=5e-4,
            validate_every=1000, held_out=16384, transforms=8, hidden=512, width=1024, blocks=8,
        ),
        injections=Injections(samples=50_000, calibration=1000),
    ),
    "tiny": Config(  # seconds: shows that the machinery works
        chirp_mass=(2.4, 2.44),
        mass_ratio=(0.23, 0.26),
        most=1.0,
        band=(50.0, 200.0),
        duration=8.0,
        training=Training(
            size=16, templates=128, steps=60, batch_size=64, validate_every=30, held_out=128, transforms=1, hidden=16,
            width=16, blocks=1,
        ),
        injections=Injections(
            calibration=40, drawn=2, samples=400, pilot=400, snr=(7.0, 8.0, 9.0), coupling=0.9, live=0
        ),
    ),
}  # fmt: skip

INFER = Work(
    tasks=tasks,
    do=infer,
    seconds=lambda c, task: 2e-3 * c.injections.samples + (0.0 if isinstance(task, int) else 0.4 * c.injections.live),
)


class PosteriorStudy(MeasuredStudy):
    """A network of posteriors: its basis, its training, single events, and the verdict."""

    def usual_stages(self) -> Sequence[Stage]:
        return (
            Stage("simulate_basis", simulate, outputs=("basis.json",), requires=with_flows),
            Stage("train", train, outputs=("fit", "model"), inputs=("basis.json",)),
            INFER.stage("infer", ("model",)),
            self.validation(("basis.json", "model", "infer")),
        )


STUDY = PosteriorStudy(
    question="How small must the coupling of Einstein-dilaton-Gauss-Bonnet gravity be, given the strain of one binary?",
    title="Posteriors beyond general relativity",
    presets=PRESETS,
    measures={
        "calibration": measure_calibration, "coverage": measure_coverage,
        "draws": measure_draws, "events": measure_events,
    },
    judge=judge,
    symbols={"p": "probability of ranks as uneven as these, were the posterior right"},
    figures={"corner": _draw_corner, "probabilities": _draw_probabilities, "bounds": _draw_bounds},
)  # fmt: skip
