"""Events of the study `edgb`: the configuration, the prior, and what each estimator says of one injection."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from nearsight.gravity import (
    DETECTORS,
    ComponentRatio,
    Cosine,
    Coupling,
    GaussBonnet,
    Likelihood,
    MatchedFilter,
    Posterior,
    PosteriorFitOptions,
    PosteriorFlow,
    Power,
    Prior,
    Simulator,
    Sine,
    TaylorF2,
    Uniform,
    frequency_grid,
    importance,
    inject,
    nested,
    refine,
)
from nearsight.studies.options import Count, Device, Positive, Window
from nearsight.studies.settings import Section

KNOWN = {"chi_1": 0.0, "chi_2": 0.0, "inclination": 0.5, "ra": 1.0, "dec": -0.5, "psi": 0.2}
"""Of parameters that are not free."""
ESTIMATORS = ("flow", "weighted", "refined", "nested")
LEVELS = (0.05, 0.5, 0.9, 0.95)
Whole = Annotated[int, Field(ge=0)]


class Training(PosteriorFitOptions):
    """How the network is fitted, and what it is."""

    steps: Count = 2000
    size: Count = 96
    """Complex coefficients for each detector."""
    templates: Count = 4096
    """Signals of the bank of the matched filter."""
    transforms: Count = 4
    """Spline transforms of the flow."""
    hidden: Count = 96
    """Neurons of a layer of the transforms."""
    width: Count = 192
    """Features of the residual network that reads the data."""
    blocks: Count = 3
    """Its residual blocks."""


class Injections(Section):
    """What is asked of the network."""

    calibration: Annotated[int, Field(ge=20)] = 400
    """Signals from the prior, of which ranks are counted."""
    drawn: Annotated[int, Field(ge=2)] = 20
    """Signals from the prior of which likelihoods are evaluated, too."""
    samples: Annotated[int, Field(ge=200)] = 4000
    """Of each of these."""
    pilot: Annotated[int, Field(ge=200)] = 2000
    """Samples in a round of refinement."""
    snr: tuple[Positive, Positive, Positive] = (8.0, 12.0, 20.0)
    """Of the event in general relativity at three distances; the second is the event that referees see."""
    coupling: Positive = 1.2
    """√α in km of the event beyond general relativity."""
    live: Whole = 250
    """Points of nested sampling; 0: without this referee."""


class Config(Section):
    """Everything that decides the numbers of a run."""

    companion: Literal["neutron star", "black hole"] = "neutron star"
    """What the heavier object, a black hole, circles with."""
    chirp_mass: Window = (2.34, 2.46)
    """In solar masses."""
    mass_ratio: Window = (0.15, 0.4)
    """Lighter over heavier."""
    distance: Window = (140.0, 450.0)
    """In Mpc."""
    most: Positive = 1.6
    """Largest √α in km."""
    event: tuple[Positive, Positive] = (2.42, 0.244)
    """Chirp mass (M_sun, as detected) and mass ratio of the event."""
    free: tuple[Literal["chi_1", "chi_2", "inclination", "ra", "dec", "psi"], ...] = ()
    """Parameters besides masses, distance, time and coupling."""
    spin: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Largest spin."""
    band: Window = (30.0, 512.0)
    """Frequencies in Hz."""
    duration: Positive = 32.0
    jitter: Positive = 5e-3
    """Half width in s of the window of the time of coalescence."""
    detectors: tuple[Literal["H1", "L1", "V1"], ...] = ("H1", "L1")
    """Which listen."""
    spread: Annotated[float, Field(ge=0)] = 0.0
    """Of the noise curves about the design; 0: all alike."""
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance that a detector is off."""
    notched: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Chance that a band of frequencies is cut out."""
    training: Training = Training()
    injections: Injections = Injections()
    device: Device = "cpu"
    """Where the network is trained."""
    seed: Whole = 1

    @property
    def one_curve(self) -> bool:
        return not (self.spread or self.missing or self.notched)


def prior(c: Config) -> Prior:
    """What is believed before the strain is seen."""
    bodies = ("black hole", c.companion)
    time = c.duration - 2.0
    wanted: Mapping[str, Any] = {
        "chi_1": Uniform(-c.spin, c.spin), "chi_2": Uniform(-c.spin, c.spin), "inclination": Sine(),
        "ra": Uniform(0.0, 2 * math.pi), "dec": Cosine(), "psi": Uniform(0.0, math.pi),
    }  # fmt: skip
    parameters: dict[str, Any] = {
        "chirp_mass": Power(1.0, *c.chirp_mass),
        "mass_ratio": ComponentRatio(*c.mass_ratio),
        "distance": Power(2.0, *c.distance),
        "time": Uniform(time - c.jitter, time + c.jitter),
        "sqrt_alpha": Coupling(most=c.most, bodies=bodies),
    }
    others = {name: wanted[name] if name in c.free else value for name, value in KNOWN.items()}
    return Prior(parameters | others, marginal={"phase": Uniform(0.0, 2 * math.pi)})


def waveform(c: Config) -> TaylorF2:
    return TaylorF2([GaussBonnet(("black hole", c.companion))])


@functools.lru_cache(maxsize=1)
def simulator(c: Config) -> Simulator:
    """Compressed strains, the same in every process."""
    return Simulator(
        waveform(c), [DETECTORS[name] for name in c.detectors], prior(c), frequency_grid(*c.band, c.duration),
        size=c.training.size, radians=1.0, spread=c.spread, missing=c.missing, notched=c.notched, seed=c.seed,
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def matched_filter(c: Config) -> MatchedFilter:
    """What makes data for the network, the same in every process."""
    return MatchedFilter(simulator(c), c.training.templates, rng=torch.Generator().manual_seed(c.seed))


@functools.lru_cache(maxsize=1)
def trained(path: Path) -> PosteriorFlow:
    return PosteriorFlow.load(path / "model")


def tasks(c: Config) -> dict[str, tuple[float, float] | int]:
    """Events by name: (signal-to-noise ratio, √α), or the number of a draw from the prior."""
    middle = c.injections.snr[1]
    events: dict[str, tuple[float, float] | int] = {"gr": (middle, 0.0), "edgb": (middle, c.injections.coupling)}
    events |= {f"gr_{snr:g}": (snr, 0.0) for snr in c.injections.snr if snr != middle}
    return events | {f"drawn_{k}": k for k in range(c.injections.drawn)}


def _event(c: Config, snr: float, coupling: float) -> torch.Tensor:
    """Parameters of the event, heard with this signal-to-noise ratio if the window of distances allows."""
    p = prior(c)
    theta = p.middle
    for name, value in zip(("chirp_mass", "mass_ratio", "sqrt_alpha"), (*c.event, coupling), strict=True):
        theta[p.names.index(name)] = value
    heard = float(simulator(c).signals(theta[None]).abs().square().sum().sqrt())
    distance = float(theta[p.names.index("distance")]) * heard / snr
    theta[p.names.index("distance")] = min(max(distance, c.distance[0]), c.distance[1])
    if not bool(p.log_density(theta).isfinite()):
        raise ValueError(
            f"The event with √α = {coupling:g} km lies outside of the prior. Widen its windows, or set event and "
            "injections.coupling."
        )
    return theta


def infer(path: Path, c: Config, seed: int, task: Any) -> xr.Dataset:
    """Posterior of one injection by the network, by weights, by a refined proposal, and of two by the referee."""
    rng, p, setting = torch.Generator().manual_seed(seed), prior(c), c.injections
    theta = p.sample(1, rng)[0] if isinstance(task, int) else _event(c, *task)
    source = p.source(theta, {name: value[0] for name, value in p.nuisances(1, rng).items()})
    s = simulator(c)
    strain = inject(source, waveform(c), s.detectors, s.asd, s.frequencies, rng=rng)
    data = matched_filter(c).embed(strain)
    proposal = trained(path).given(data)
    drawn = proposal.sample(2000, rng)
    likelihood = Likelihood(strain, waveform(c), p, around=torch.cat([drawn[:300], theta[None]]))
    rounds: dict[str, Any] = {"pilot": setting.pilot, "efficiency": 0.3}
    found = {"weighted": importance(likelihood, proposal, setting.samples, rng)}
    if isinstance(task, int):
        with contextlib.suppress(ValueError):  # what cannot be refined counts as an efficiency of zero
            found["refined"] = refine(likelihood, proposal, setting.samples, rng, fits=0, **rounds)
    else:
        found["refined"] = refine(likelihood, proposal, setting.samples, rng, **rounds)
    equal = torch.zeros(len(drawn), dtype=torch.float64)
    found["flow"] = Posterior(p, drawn, equal, math.nan, math.nan)
    factor = (math.nan, math.nan)
    if not isinstance(task, int) and task[0] == setting.snr[1]:
        if setting.live:
            found["nested"] = nested(likelihood, live=setting.live, seed=seed % 2**31)
        relativity = p.known(sqrt_alpha=0.0)
        alone = Likelihood(strain, waveform(c), relativity)
        without = refine(alone, relativity, setting.samples, rng, **rounds)
        factor = found["refined"].bayes_factor(without)
    told = {"truth": ("parameter", theta.numpy()), "snr": ((), float(data[-1]))}
    return _told(p, found, rng).assign(told | {"bayes": ((), factor[0]), "bayes_error": ((), factor[1])})


def _told(p: Prior, found: Mapping[str, Posterior], rng: torch.Generator) -> xr.Dataset:
    """What the estimators say of one event."""
    blank = np.full(len(ESTIMATORS), np.nan)
    data = {name: blank.copy() for name in ("efficiency", "efficiency_error", "evidence", "evidence_error", "tail",
                                            "bound", "bound_error", "bound_squared")}  # fmt: skip
    quantiles = np.full((len(ESTIMATORS), len(p.names), len(LEVELS)), np.nan)
    samples = np.full((len(ESTIMATORS), 1000, len(p.names)), np.nan)
    density = p.parameters["sqrt_alpha"]
    assert isinstance(density, Coupling)
    squared = Prior(
        {**p.parameters, "sqrt_alpha": Coupling("alpha_squared", density.most, density.zeta, density.bodies)},
        p.marginal,
    )
    for k, name in enumerate(ESTIMATORS):
        if name not in found:
            continue
        posterior = found[name]
        if name in ("weighted", "refined"):
            data["efficiency"][k], data["tail"][k] = posterior.efficiency, posterior.tail
            data["efficiency_error"][k] = posterior.effective_error / len(posterior.theta)
            data["bound_squared"][k] = posterior.reweighted(squared).bound("sqrt_alpha")[0]
        data["evidence"][k], data["evidence_error"][k] = posterior.log_evidence, posterior.log_evidence_error
        data["bound"][k], data["bound_error"][k] = posterior.bound("sqrt_alpha")
        quantiles[k] = [posterior.quantiles(parameter, LEVELS) for parameter in p.names]
        samples[k] = posterior.samples(1000, rng).numpy()
    coords = {"estimator": list(ESTIMATORS), "parameter": list(p.names), "level": list(LEVELS)}
    several = {"quantiles": (("estimator", "parameter", "level"), quantiles),
               "samples": (("estimator", "sample", "parameter"), samples)}  # fmt: skip
    return xr.Dataset({name: ("estimator", values) for name, values in data.items()} | several, coords)
