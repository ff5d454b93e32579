"""Learning a spin glass: every bond of an Edwards-Anderson model from configurations.

**Question.** How precisely do configurations of a spin glass, seen at one temperature, tell each of its couplings?

**System.** H = -Σ_<ij> J_ij s_i s_j on a square torus with Gaussian couplings, mean 0 and standard deviation J = 1,
under single-spin Metropolis dynamics at β = 0.4407. No two bonds are alike, so that nothing can be averaged over the
lattice: every bond has its own coupling and error bar. Five ways to learn them from the same configurations are
compared: maximum likelihood, pseudo-likelihood, interaction screening, and inversions of the correlation matrix (Bethe,
TAP). The glass is then cooled with the couplings of maximum likelihood beside the true ones by parallel tempering:
energies, which Pfaffians give exactly, and the overlap q = (1/N) Σ_i s_i s'_i of two independent copies with its
distribution P(q).

**What to expect.** Sprague, Carrasquilla, Whitelam, Tamblyn (2021), fig. 5, show energies of a recurrent network for
one sample of couplings. No unbiased estimate from n independent configurations is more precise than the bound of Cramér
and Rao, kT [(n C)^-1]_kk^{1/2}, with the covariance C of the products s_i s_j, which is exact here: about 0.003 J for a
million.

**Cost.** `quick`: 10⁶ configurations of 8 × 8 spins, two minutes. `paper`: 16 × 16 spins, six minutes of two cores.

    nearsight run learn_spin_glass --preset quick
    nearsight run learn_spin_glass --preset quick --set sample=2            # other couplings
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

import nearsight as ns
from nearsight.hamiltonians import EdwardsAnderson
from nearsight.inference import Terms, learn_couplings
from nearsight.lattices import square
from nearsight.sampling import ParallelTempering, mean_and_error, planar_thermodynamics
from nearsight.sampling._kac_ward import bond_moments
from nearsight.studies.checks import Above, Below, Check, Sigma
from nearsight.studies.inference import InferenceStudy, Watched, Work, observed, result, watch
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import Cost

METHODS = ("likelihood", "pseudo-likelihood", "interaction-screening", "bethe", "tap")


class Tempering(Section):
    """Copies at temperatures in equal ratios, which trade places."""

    low: Positive = 0.4
    high: Positive = 3.0
    number: Annotated[int, Field(ge=2)] = 16
    """Temperatures."""
    sweeps: Annotated[int, Field(ge=64)] = 40_000
    """A fifth is discarded."""
    every: Count = 4
    """Sweeps between two measurements."""

    @property
    def ladder(self) -> np.ndarray:
        return np.geomspace(self.low, self.high, self.number)


class Config(Watched):
    """Everything that decides the numbers of a run."""

    length: Length = 8
    sample: Annotated[int, Field(ge=0)] = 1
    """Number that names the couplings."""
    beta: Positive = 0.4407
    period: Count = 640
    """Attempts to flip a spin from one observation to the next; ten sweeps of 8 × 8 spins leave little memory."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = METHODS
    """Estimators that are compared, the first of which goes on."""
    tempering: Tempering = Tempering()
    seed: Annotated[int, Field(ge=0)] = 1


def glass(c: Config) -> EdwardsAnderson:
    """The true model."""
    return EdwardsAnderson(square(c.length), seed=c.sample)


def observe_all(run: Run, c: Config) -> None:
    watch(run, c, glass(c), 1 / c.beta)


# --- learning ---------------------------------------------------------------------------------------------------------


def learn(path: Path, c: Config, seed: int, method: Any) -> xr.Dataset:
    """Couplings of all bonds by one method, their errors, and which intervals hold the true ones."""
    seen = observed(path)
    learned = learn_couplings(seen, Terms.pairs(seen.lattice, by="bond"), method=method, seed=seed % 2**31)
    low, high = learned.interval(0.95)
    inside = (low <= glass(c).couplings) & (glass(c).couplings <= high)
    return xr.Dataset(
        {
            "value": ("bond", learned.value, {"long_name": "learned coupling", "units": "J"}),
            "error": ("bond", learned.error, {"long_name": "standard error", "units": "J"}),
            "inside": ("bond", inside.astype(np.int8), {"long_name": "whether the 95 % interval holds the coupling"}),
            "effective": ((), learned.effective),
        }
    )


def learned_glass(path: Path, c: Config) -> EdwardsAnderson:
    """The model with the couplings of the first method."""
    return EdwardsAnderson(square(c.length), result(path, "learn", c.methods[0]).value.values)


# --- cooling ----------------------------------------------------------------------------------------------------------


def transfer(path: Path, c: Config, seed: int, source: str) -> xr.Dataset:
    """Energies and overlaps of two copies at all temperatures of a ladder."""
    model = glass(c) if source == "true" else learned_glass(path, c)
    t, n = c.tempering, model.lattice.n_sites
    copies = [ParallelTempering(model, t.ladder, seed=(seed + k) % 2**31) for k in range(2)]
    for copy in copies:
        copy.sweep(t.sweeps // 5)
    energy, overlap = [], []
    for _ in range((t.sweeps - t.sweeps // 5) // t.every):
        for copy in copies:
            copy.sweep(t.every)
        first, second = (2.0 * copy.states.numpy() - 1 for copy in copies)
        overlap.append((first * second).mean(-1))
        energy.append(copies[0].energy.numpy() / n)
    q, e = np.array(overlap).T, np.array(energy).T
    edges = np.arange(-n - 1, n + 2, 2) / n
    measured = {
        name: np.array([mean_and_error(row) for row in rows]).T for name, rows in (("energy", e), ("square", q**2))
    }
    names = {"energy": "energy per site", "square": "mean square of the overlap"}
    data: dict[str, Any] = {
        "density": (("temperature", "q"), np.stack([np.histogram(row, edges, density=True)[0] for row in q])),
        "round_trips": ((), float(copies[0].round_trips)),
    }
    for name, (mean, error) in measured.items():
        unit = {"units": "J" if name == "energy" else "1"}
        data[name] = ("temperature", mean, {"long_name": names[name], **unit})
        data[f"{name}_error"] = ("temperature", error, unit)
    coords = {
        "temperature": ("temperature", t.ladder, {"long_name": "temperature", "units": "J"}),
        "q": ("q", (edges[1:] + edges[:-1]) / 2, {"long_name": "overlap", "units": "1"}),
    }
    return xr.Dataset(data, coords)


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_couplings(run: Run, c: Config) -> xr.Dataset:
    """True and learned couplings with their errors, ``(estimator, bond)``."""
    found = xr.concat([result(run.path, "learn", method) for method in c.methods], dim="estimator")
    true = ("bond", glass(c).couplings, {"long_name": "true coupling", "units": "J"})
    return found.assign_coords(estimator=list(c.methods)).assign(true=true)


def measure_bound(run: Run, c: Config) -> xr.Dataset:
    """The smallest standard error that any unbiased estimate can have, exactly, ``(bond,)``."""
    model, kT = glass(c), 1 / c.beta
    covariance = bond_moments(model.lattice, model.couplings / kT).covariance
    error = kT * np.sqrt(np.diag(np.linalg.inv(covariance)) / c.observations)
    return xr.Dataset({"error": ("bond", error, {"long_name": "bound of Cramér and Rao", "units": "J"})})


def exact_energy(model: EdwardsAnderson, kT: float) -> float:
    """Of the glass, or NaN where it is too cold for Pfaffians."""
    try:
        return float(planar_thermodynamics(model, kT).energy)
    except ArithmeticError:
        return float("nan")


def measure_cooling(run: Run, c: Config) -> xr.Dataset:
    """Energies and overlaps of the true and of the learned glass, ``(source, temperature)``."""
    found = xr.concat([result(run.path, "transfer", source) for source in ("true", "learned")], dim="source")
    glasses = glass(c), learned_glass(run.path, c)
    exact = [[exact_energy(model, kT) for kT in found.temperature.values] for model in glasses]
    unit = {"long_name": "exact energy per site", "units": "J"}
    return found.assign_coords(source=["true", "learned"]).assign(exact=(("source", "temperature"), exact, unit))


# --- checks -----------------------------------------------------------------------------------------------------------


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    return [*_coupling_checks(c, measured["couplings"], measured["bound"]), *_cooling_checks(measured["cooling"])]


def _coupling_checks(c: Config, couplings: xr.Dataset, bound: xr.Dataset) -> list[Check]:
    found, best = [], float(np.sqrt((bound.error**2).mean()))
    found.append(Check("bound of Cramér and Rao, rms over bonds", best, unit="J", note=f"{c.observations} independent"))
    for method in c.methods:
        here, first = couplings.sel(estimator=method), method == c.methods[0]
        off = here.value - couplings.true
        rms, bonds = float(np.sqrt((off**2).mean())), off.sizes["bond"]
        correlation = float(np.corrcoef(here.value, couplings.true)[0, 1])
        found += [
            Check(f"{method}: correlation of couplings", correlation, criterion=Above(0.999) if first else None),
            Check(
                f"{method}: rms error of couplings over the bound", rms / best, rms / best / np.sqrt(2 * bonds),
                exact=1.0, criterion=Below(1.2) if first else None,
                note=f"{rms:.2g} J; {float(here.effective):.3g} effective",
            ),
        ]  # fmt: skip
        if method in ("likelihood", "pseudo-likelihood", "interaction-screening"):
            name, share = f"{method}: bonds whose 95 % interval holds the true coupling", float(here.inside.mean())
            error = float(np.sqrt(0.95 * 0.05 / bonds))
            found.append(Check(name, 100 * share, 100 * error, unit="%", exact=95.0, criterion=Sigma(4.0)))
    return found


def _cooling_checks(cooling: xr.Dataset) -> list[Check]:
    found = []
    for source in ("true", "learned"):
        here = cooling.sel(source=source).dropna("temperature")
        if here.sizes["temperature"]:
            off = np.abs(here.energy - here.exact) / here.energy_error
            worst = here.isel(temperature=int(off.values.argmax()))
            found.append(
                Check(
                    f"U of the {source} glass by tempering, where it is furthest from exact", float(worst.energy),
                    float(worst.energy_error), unit="J", exact=float(worst.exact), criterion=Sigma(4.0),
                    note=f"kT = {float(worst.temperature):.3g}, of {here.sizes['temperature']} temperatures; Pfaffians",
                )
            )  # fmt: skip
    for t in (cooling.temperature.values[0], cooling.temperature.values[cooling.sizes["temperature"] // 2]):
        true, learned = (cooling.sel(source=source, temperature=t) for source in ("true", "learned"))
        for name, symbol, unit in (("energy", "U", "J"), ("square", "⟨q²⟩", "")):
            value, exact = learned[name], true[name]
            found.append(
                Check(
                    f"{symbol} of the learned glass at kT = {t:.3g}", float(value), float(learned[f"{name}_error"]),
                    unit=unit, exact=float(exact), exact_error=float(true[f"{name}_error"]), criterion=Sigma(4.0),
                    note="errors of sampling alone",
                )
            )  # fmt: skip
    return found


# --- figures ----------------------------------------------------------------------------------------------------------


def _draw_parity(run: Run, c: Config) -> dict[str, Any]:
    data = run.observable("couplings")
    return {m: ns.plots.parity(data.true, data.value.sel(estimator=m), quantity="J") for m in c.methods}


def _draw_cooling(run: Run, c: Config) -> Any:
    data = run.observable("cooling")
    shown = [xr.Dataset({"mean": data[name], "error": data[f"{name}_error"]}) for name in ("energy", "square")]
    exact = data.exact.sel(source=["true"]).assign_coords(source=["exact"])
    known = xr.Dataset({"mean": exact.rename("mean"), "error": xr.zeros_like(exact)})
    shown[0] = xr.concat([shown[0], known], dim="source", combine_attrs="override")
    return ns.plots.compare(*shown, x="temperature", by="source", points=True, log="x")


def _draw_overlap(run: Run, c: Config) -> Any:
    density = run.observable("cooling").density.isel(temperature=0).assign_attrs(long_name="P(q)", units="1")
    return ns.plots.compare(density, x="q", by="source", log="")


def _notes(run: Run, c: Config) -> list[str]:
    return [
        "The bound counts observations as independent; what memory they have is in the error bars, not in the bound.",
        "Overlaps of two copies are those of one sample of couplings: averages over samples are another question.",
    ]


# --- presets ----------------------------------------------------------------------------------------------------------

PRESETS = {
    "quick": Config(),
    "paper": Config(length=16, period=2560, tempering=Tempering(number=24, sweeps=200_000)),
    "tiny": Config(  # seconds: shows that the machinery works
        length=4,
        observations=20_000,
        chains=8,
        period=64,
        methods=("likelihood", "pseudo-likelihood", "bethe"),
        tempering=Tempering(low=0.8, number=4, sweeps=400),
    ),
}

STUDY = InferenceStudy(
    question="How precisely do configurations of a spin glass, seen at one temperature, tell each of its couplings?",
    title="Learning a spin glass: every bond from configurations",
    presets=PRESETS,
    cost={
        "quick": Cost({"observe": 42, "learn": 35, "transfer": 12, "validate": 4, "report": 14}, megabytes=11),
        "paper": Cost({"observe": 132, "learn": 43, "transfer": 89, "validate": 45, "report": 15}, megabytes=34),
    },
    observe=observe_all,
    learn=Work(
        tasks=lambda c: {method: method for method in c.methods},
        do=learn,
        seconds=lambda c, method: 2e-7 * c.observations * c.length**2,
    ),
    transfer=Work(
        tasks=lambda c: {source: source for source in ("true", "learned")},
        do=transfer,
        seconds=lambda c, source: 1e-7 * c.tempering.sweeps * c.tempering.number * c.length**2,
    ),
    measures={"couplings": measure_couplings, "bound": measure_bound, "cooling": measure_cooling},
    judge=judge,
    notes=_notes,
    figures={"parity": _draw_parity, "cooling": _draw_cooling, "overlap": _draw_overlap},
)
