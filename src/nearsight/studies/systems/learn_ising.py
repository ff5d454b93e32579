"""Learning Ising: the Hamiltonian from configurations seen at one temperature.

**Question.** What do configurations, seen at one temperature on 8 × 8 sites, tell about all temperatures and sizes?

**System.** The square-lattice Ising model H = -J Σ_<ij> s_i s_j, J = 1, under single-spin Metropolis dynamics, one
observation every 10 attempts in 32 chains; neither energies nor couplings are told. Three roads lead from there to an
energy, each taken at β = 0.125, 0.25 and 0.4407 ≈ β_c:

- `autoregressive`: P(s), a product of conditionals fitted by maximum likelihood and averaged over the symmetry of the
  torus; E = -kT ln P + C holds on this lattice alone;
- `tiles`: the extensive energy of overlapping 4 × 4 tiles closest to it on random configurations;
- `couplings`: pairs up to the fourth shell and four spins around a plaquette, each with its error bar, and of them
  those that the observations support.

Errors are root mean squares over 63 energies, most of which are never seen at any temperature, of the difference to the
true energy of the 8 × 8 torus; the constant C is that of random configurations. Couplings are then carried to other
sizes and temperatures, with what their error bars make of every prediction.

**What to expect.** Sprague, Carrasquilla, Whitelam, Tamblyn (2021), table 2: RMSE of recurrent networks 1.673, 1.431,
2.863 J, of their extensive networks 0.651, 1.231, 1.585 J; table 3: U, |M|, S, F of 16 × 16 and 24 × 24 spins at β_c,
which are known exactly (B. Kaufman, Phys. Rev. 76, 1232 (1949)). The entropy per spin of the 8 × 8 torus at
β = 0.4407 is 0.282357; kT_c = 2.269185 J.

**Cost.** `quick`: 10⁷ observations at each temperature, about fifteen minutes on two cores. `paper`: 5.12·10⁷, an hour
and a half.

    nearsight run learn_ising --preset quick
    nearsight run learn_ising --preset quick --set betas=[0.44]          # another temperature
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from scipy import stats

import nearsight as ns
from nearsight.hamiltonians import Ising, TileModel
from nearsight.inference import (
    AutoregressiveEnergy,
    LearnedCouplings,
    LikelihoodOptions,
    Observations,
    Terms,
    cross_entropy,
    distil,
    energy_errors,
    fit_likelihood,
    predict,
    reference_set,
    select_couplings,
)
from nearsight.lattices import Lattice, square
from nearsight.networks import HiddenSpinAutoregression, LogisticAutoregression, Symmetrised, lattice_operations
from nearsight.sampling import critical_temperature, ising_torus
from nearsight.storage import load_tensors, save_tensors
from nearsight.studies.checks import Below, Check, Published, Sigma, Within
from nearsight.studies.inference import (
    InferenceStudy,
    Watched,
    Work,
    no_others,
    observed,
    result,
    selected,
    selection,
    watch,
)
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.run import Run

PAPER = "Sprague et al. (2021), table"
RMSE = {0.125: (1.673, 0.651, 0.05), 0.25: (1.431, 1.231, 0.05), 0.4407: (2.863, 1.585, 0.5)}
"""In print of the recurrent and of the extensive network, and what couplings should reach."""
TABLE = {
    16: {"energy": (-1.459, 0.001), "order": (0.725, 0.002), "entropy": (0.32, 0.02), "free_energy": (-2.07, 0.04)},
    24: {"energy": (-1.449, 0.001), "order": (0.697, 0.003), "entropy": (0.328, 0.009), "free_energy": (-2.074, 0.009)},
}
"""Values and errors in print, per site at β_c, by the side of the lattice."""
SYMBOLS = {"energy": "U", "order": "|M|", "entropy": "S", "free_energy": "F"}


class Config(Watched):
    """Everything that decides the numbers of a run."""

    length: Length = 8
    betas: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.125, 0.25, 0.4407)
    """Inverse temperatures 1/J of the observations."""
    observations: Annotated[int, Field(ge=1000)] = 10_000_000
    shells: Count = 4
    """Neighbour shells whose couplings are looked for, besides plaquettes of four spins."""
    fit: LikelihoodOptions = LikelihoodOptions()
    hidden: Annotated[int, Field(ge=0)] = 4
    """Hidden spins per site of a second network, which starts from the logistic one; 0: the logistic one alone."""
    hidden_fit: LikelihoodOptions = LikelihoodOptions(steps=1000)
    step: Count = 4
    """P is averaged over translations by multiples of so many sites, and over the point group."""
    labels: Annotated[int, Field(ge=1000)] = 300_000
    """Random configurations, labelled by ln P, to which tiles are fitted."""
    per_level: Count = 1000
    """Configurations of each of the 63 energies on which errors are measured; 8000 in print."""
    sizes: tuple[Length, ...] = (16, 24)
    """Sides of the lattices that are predicted, exactly solved for comparison."""
    at: tuple[Positive, ...] = (0.3407, 0.4407, 0.5407)
    """Inverse temperatures of the predictions for ``sizes``."""
    large: Length = 64
    """Side of a lattice that is predicted at all temperatures."""
    temperatures: tuple[Positive, ...] = (1.6, 2.0, 2.2, 2.3, 2.4, 2.6, 3.0, 4.0)
    snapshots: Annotated[int, Field(ge=128)] = 4000
    """Configurations at each temperature of a prediction."""
    nodes: Count = 24
    """Inverse temperatures at which energies are integrated, about."""
    seed: Annotated[int, Field(ge=0)] = 1


def observe_all(run: Run, c: Config) -> None:
    """The paper's protocol at every temperature."""
    for beta in c.betas:
        watch(run, c, Ising(square(c.length)), 1 / beta, f"{beta:g}")


def candidates(c: Config, lattice: Lattice) -> Terms:
    """The couplings that are looked for."""
    return Terms.pairs(lattice, c.shells) + Terms.plaquettes(lattice)


# --- learning ---------------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """One road to an energy, from the observations at one temperature."""

    road: str
    beta: float

    @property
    def name(self) -> str:
        return f"{self.road}-{self.beta:g}"


def learning(c: Config) -> dict[str, Task]:
    tasks = [Task(road, beta) for road in ("autoregressive", "couplings") for beta in c.betas]
    return {task.name: task for task in tasks}


def learn(path: Path, c: Config, seed: int, task: Task) -> xr.Dataset:
    """What one road ends at; networks and tiles are kept in ``models``."""
    seen, rng = observed(path, f"{task.beta:g}"), torch.Generator().manual_seed(seed)
    if task.road == "couplings":
        return selection(select_couplings(seen, candidates(c, seen.lattice), rng=rng))
    return _autoregressive(path, c, seen, rng, task)


def _autoregressive(path: Path, c: Config, seen: Observations, rng: torch.Generator, task: Task) -> xr.Dataset:
    parts = seen.split(c.fit.validation, rng=rng)
    folder, models = path / "fit" / task.name, path / "models"
    model: Any = LogisticAutoregression(seen.lattice)
    fit_likelihood(model, parts, options=c.fit, path=folder / "logistic", resume=True, progress=False)
    if c.hidden:
        model = HiddenSpinAutoregression(seen.lattice, hidden=c.hidden, rng=rng).start_from(model)
        fit_likelihood(model, parts, options=c.hidden_fit, path=folder / "hidden", resume=True, progress=False)
    operations = lattice_operations(seen.lattice, step=c.step)
    energy = AutoregressiveEnergy(Symmetrised(model, operations), kT=1 / task.beta)
    energy.save(models / task.name)
    tiles = distil(energy, seen.lattice, count=c.labels, rng=rng)
    save_tensors(models / f"tiles-{task.beta:g}.safetensors", {"table": torch.from_numpy(tiles.model.table.copy())})
    entropy = cross_entropy(model, parts[1])
    return xr.Dataset(
        {
            "entropy": ((), entropy.value, {"long_name": "-ln P per site on validation observations", "units": "1"}),
            "entropy_error": ((), entropy.error),
            "residual": ((), tiles.residual, {"long_name": "residual of the tiles", "units": "J"}),
            "label_error": ((), tiles.label_error, {"long_name": "violation of symmetry by the labels", "units": "J"}),
        }
    )


def energies(path: Path, c: Config, beta: float) -> dict[str, Any]:
    """The three energies learned at one temperature, by the roads to them."""
    table, _ = load_tensors(path / "models" / f"tiles-{beta:g}.safetensors")
    return {
        "autoregressive": AutoregressiveEnergy.load(path / "models" / f"autoregressive-{beta:g}"),
        "tiles": TileModel(square(c.length), table["table"]).energy,
        "couplings": learned_couplings(path, c, beta).energy,
    }


def learned_couplings(path: Path, c: Config, beta: float) -> LearnedCouplings:
    """The supported couplings, as they were kept."""
    return selected(result(path, "learn", f"couplings-{beta:g}"), candidates(c, square(c.length)), c, 1 / beta)


# --- other sizes and temperatures -------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """Of the couplings learned at one temperature, or None: of the true ones, for one lattice."""

    beta: float | None
    side: int

    @property
    def name(self) -> str:
        return f"{'true' if self.beta is None else f'{self.beta:g}'}-{self.side}"


def predictions(c: Config) -> dict[str, Prediction]:
    """The largest lattices first."""
    sides = sorted({*c.sizes, c.large}, reverse=True)
    found = [Prediction(beta, side) for side in sides for beta in (*c.betas, None)]
    return {task.name: task for task in found}


def _temperatures(c: Config, side: int) -> np.ndarray:
    return np.array(c.temperatures) if side == c.large else 1 / np.array(c.at)


def transfer(path: Path, c: Config, seed: int, task: Prediction) -> xr.Dataset:
    """What the couplings say; of the true model the order parameter, which no formula gives, by the same way."""
    lattice, kT = square(task.side), _temperatures(c, task.side)
    options: dict[str, Any] = {"snapshots": c.snapshots, "seed": seed, "progress": False}
    if task.beta is None:
        return predict(Ising(lattice), lattice, kT, nodes=0, **options)
    return predict(learned_couplings(path, c, task.beta), lattice, kT, nodes=c.nodes, **options)


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_errors(run: Run, c: Config) -> xr.Dataset:
    """Errors of all energies at all levels, ``(beta, road, level)``."""
    reference = reference_set(Ising(square(c.length)), per_level=c.per_level, seed=run.seed("reference"))
    rows = []
    for beta in c.betas:
        found = {road: energy_errors(energy, reference) for road, energy in energies(run.path, c, beta).items()}
        of_all = {name: [getattr(f, name) for f in found.values()] for name in ("rmse", "best", "bias", "spread")}
        data = {
            "rmse": ("road", of_all["rmse"], {"long_name": "RMSE", "units": "J"}),
            "best": ("road", of_all["best"], {"long_name": "RMSE with the best constant", "units": "J"}),
            "bias": (("road", "level"), of_all["bias"], {"long_name": "mean error of E", "units": "J"}),
            "spread": (("road", "level"), of_all["spread"], {"units": "J"}),
        }
        level = ("level", reference.energies, {"long_name": "E", "units": "J"})
        rows.append(xr.Dataset(data, {"road": list(found), "level": level}))
    return xr.concat(rows, dim="beta").assign_coords(beta=list(c.betas))


def measure_couplings(run: Run, c: Config) -> xr.Dataset:
    """All couplings that were looked for, with their errors ``(beta, term)``."""
    names = ["value", "error", "p_value", "chosen", "rest", "effective"]
    found = [result(run.path, "learn", f"couplings-{beta:g}")[names] for beta in c.betas]
    return xr.concat(found, dim="beta").assign_coords(beta=list(c.betas))


def measure_entropy(run: Run, c: Config) -> xr.Dataset:
    """Cross entropy of the networks on observations they did not learn from, and the exact entropy."""
    found = [result(run.path, "learn", f"autoregressive-{beta:g}") for beta in c.betas]
    exact = ising_torus(c.length, c.length, 1 / np.array(c.betas)).entropy
    return xr.concat(found, dim="beta").assign_coords(beta=list(c.betas)).assign(exact=("beta", exact))


def measure_predictions(run: Run, c: Config) -> xr.Dataset:
    """U, |M|, S and F of the lattices in print, ``(side, beta, temperature)``."""
    return _joined(run, c, c.sizes)


def measure_curves(run: Run, c: Config) -> xr.Dataset:
    """The same of a large lattice at all temperatures, ``(beta, temperature)``."""
    return _joined(run, c, (c.large,)).isel(side=0)


def _joined(run: Run, c: Config, sides: tuple[int, ...]) -> xr.Dataset:
    """Predictions ``(side, beta, temperature)``, and what is exact ``(side, temperature)``."""
    found = [[result(run.path, "transfer", Prediction(b, side).name) for b in c.betas] for side in sides]
    coords = {"side": list(sides), "beta": list(c.betas)}
    data = xr.combine_nested(found, ["side", "beta"], combine_attrs="override").assign_coords(coords)
    true = [result(run.path, "transfer", Prediction(None, side).name) for side in sides]
    exact = [ising_torus(side, side, _temperatures(c, side)) for side in sides]
    dims = ("side", "temperature")
    for name in ("energy", "free_energy", "entropy", "specific_heat"):
        data[f"{name}_exact"] = (dims, [getattr(x, name) for x in exact])
        data[f"{name}_exact_error"] = xr.zeros_like(data[f"{name}_exact"])
    for name, source in (("order_exact", "order"), ("order_exact_error", "order_sampling")):
        data[name] = (dims, [x[source].values for x in true])
    return data


# --- checks -----------------------------------------------------------------------------------------------------------


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    return [
        *_error_checks(c, measured["errors"]),
        *_coupling_checks(measured["couplings"]),
        *_entropy_checks(measured["entropy"]),
        *_prediction_checks(c, measured["predictions"]),
        *_transition_checks(c, measured["couplings"]),
    ]


def _error_checks(c: Config, errors: xr.Dataset) -> list[Check]:
    found = []
    for beta in c.betas:
        recurrent, extensive, wanted = RMSE.get(beta, (None, None, None))
        for road in errors.road.values:
            value = recurrent if road == "autoregressive" else extensive
            name = f"energy from β = {beta:g}, {road}: RMSE over all levels"
            found.append(
                Check(
                    name, float(errors.rmse.sel(beta=beta, road=road)), unit="J",
                    published=None if value is None else Published(value, f"{PAPER} 2"),
                    criterion=Below(wanted) if road == "couplings" and wanted else None,
                    note=f"best constant: {float(errors.best.sel(beta=beta, road=road)):.3g} J",
                )
            )  # fmt: skip
    return found


def _coupling_checks(couplings: xr.Dataset) -> list[Check]:
    found = []
    for beta in couplings.beta.values:
        here = couplings.sel(beta=beta)
        first = here.sel(term="J1")
        effective = f"{float(here.effective):.3g} independent observations"
        where = f"from β = {beta:g}"
        found += [
            Check(
                f"J {where}", float(first.value), float(first.error), unit="J", exact=1.0, criterion=Sigma(3.0),
                note=effective,
            ),
            *no_others(here, where),
        ]  # fmt: skip
    return found


def _entropy_checks(entropy: xr.Dataset) -> list[Check]:
    return [
        Check(
            f"-ln P per site at β = {beta:g}", float(here.entropy), float(here.entropy_error),
            exact=float(here.exact), note="on validation observations; exceeds the entropy by what P lacks",
        )
        for beta, here in ((b, entropy.sel(beta=b)) for b in entropy.beta.values)
    ]  # fmt: skip


def _prediction_checks(c: Config, found: xr.Dataset) -> list[Check]:
    checks, deviates = [], []
    for side, beta in ((s, b) for s in c.sizes for b in c.betas):
        for t, at in zip(found.temperature.values, c.at, strict=True):
            here = found.sel(side=side, beta=beta, temperature=t)
            for name, symbol in SYMBOLS.items():
                value, exact = float(here[name]), float(here[f"{name}_exact"])
                error = float(np.hypot(here[f"{name}_sampling"], here[f"{name}_learning"]))
                known = TABLE.get(side, {}).get(name) if beta == at == 0.4407 else None
                checks.append(
                    Check(
                        f"{symbol} of {side} × {side} at β = {at:g}, learned at {beta:g}", value, error,
                        unit="J" if name.endswith("energy") else "", exact=exact,
                        exact_error=float(here[f"{name}_exact_error"]),
                        published=known and Published(known[0], f"{PAPER} 3", known[1]), criterion=Sigma(4.0),
                    )
                )  # fmt: skip
                deviates.append((value - exact) / np.hypot(error, float(here[f"{name}_exact_error"])))
    worst = stats.norm.isf(0.05 / 2 / len(deviates))
    name = "largest deviation of a prediction, in standard errors"
    note = (
        f"{len(deviates)} predictions, many of them correlated; 95 % of the largest of as many stay below {worst:.2f}"
    )
    return [*checks, Check(name, float(np.abs(deviates).max()), criterion=Below(4.0), note=note)]


def _transition_checks(c: Config, couplings: xr.Dataset) -> list[Check]:
    """kT_c of the learned model, which is 2.269 J where J is its only coupling."""
    found, exact = [], critical_temperature("square")
    for beta in couplings.beta.values:
        J = couplings.sel(beta=beta, term="J1")
        found.append(
            Check(
                f"transition temperature, learned at β = {beta:g}", exact * float(J.value), exact * float(J.error),
                unit="J", exact=exact, criterion=Within(0.002, relative=True) if c.observations > 10**6 else None,
            )
        )  # fmt: skip
    return found


# --- figures ----------------------------------------------------------------------------------------------------------


def _draw_errors(run: Run, c: Config) -> dict[str, Any]:
    data, pictures = run.observable("errors"), {}
    for beta in c.betas:
        here = data.sel(beta=beta)
        shown = xr.Dataset({"mean": here.bias.assign_attrs(long_name="error of E", units="J"), "error": here.spread})
        pictures[f"{beta:g}"] = ns.plots.compare(shown, x="level", by="road", levels=(0.0,), log="")
    return pictures


def _draw_couplings(run: Run, c: Config) -> Any:
    data = run.observable("couplings")
    off = data.value.where(data.term != "J1", data.value - 1)
    off = off.assign_attrs(long_name="coupling minus true one", units="J")
    number = xr.DataArray(np.arange(1.0, data.sizes["term"] + 1), dims="term", attrs={"long_name": "coupling"})
    beta = data.beta.assign_attrs(long_name="β").broadcast_like(off)
    picture = ns.plots.points(number.broadcast_like(off), off, error=data.error, by=beta)
    picture.axes[0].set_xticks(number.values, data.term.values)
    return picture


def _draw_curves(run: Run, c: Config) -> Any:
    data = run.observable("curves")
    shown = []
    for name in ("energy", "specific_heat", "order"):
        learned = data[name].isel(beta=-1, drop=True)
        both = xr.concat([data[f"{name}_exact"], learned], dim="source")
        error = xr.concat([0 * learned, data[f"{name}_sampling"].isel(beta=-1, drop=True)], dim="source")
        both = both.assign_coords(source=["exact", "learned"]).assign_attrs(data[name].attrs)
        shown.append(xr.Dataset({"mean": both, "error": error.assign_coords(source=["exact", "learned"])}))
    return ns.plots.compare(*shown, x="temperature", by="source", points=True, log="")


def _notes(run: Run, c: Config) -> list[str]:
    return [
        "Networks and tiles are judged where no observation was: errors of a few J at high energies cost nothing in "
        "likelihood. Couplings need an idea of what may couple; the tests say whether it was enough.",
        "Predictions carry two errors: of their samples, and of the couplings. Those of one temperature of observation "
        "share the latter and move together.",
    ]


# --- presets ----------------------------------------------------------------------------------------------------------

PRESETS = {
    "quick": Config(),
    "paper": Config(
        observations=51_200_000,
        fit=LikelihoodOptions(steps=5000),
        hidden_fit=LikelihoodOptions(steps=4000),
        labels=960_000,
        per_level=8000,
        large=128,
        temperatures=(1.4, 1.8, 2.0, 2.1, 2.2, 2.25, 2.3, 2.35, 2.4, 2.5, 2.7, 3.0, 3.5, 4.5, 6.0),
        snapshots=5000,
    ),
    "tiny": Config(  # seconds: shows that the machinery works
        length=6,
        betas=(0.4407,),
        observations=20_000,
        chains=8,
        shells=2,
        fit=LikelihoodOptions(steps=20, batch_size=256, validate_every=10, checkpoint_every=10, validation=0.2),
        hidden=1,
        hidden_fit=LikelihoodOptions(steps=10, batch_size=256, validate_every=5, checkpoint_every=5),
        step=3,
        labels=2000,
        per_level=10,
        sizes=(8,),
        at=(0.4407,),
        large=10,
        temperatures=(2.5,),
        snapshots=128,
        nodes=3,
    ),
}


def _learning_seconds(c: Config, task: Task) -> float:
    if task.road == "couplings":
        return 3e-6 * c.observations
    return 4e-6 * (c.fit.steps * c.fit.batch_size + (1 + c.hidden) * c.hidden_fit.steps * c.hidden_fit.batch_size)


def _transfer_seconds(c: Config, task: Prediction) -> float:
    return 6e-7 * task.side**2 * c.snapshots * 30


STUDY = InferenceStudy(
    question="What do configurations seen at one temperature tell about all temperatures and sizes?",
    title="Learning Ising: the Hamiltonian from configurations",
    presets=PRESETS,
    observe=observe_all,
    learn=Work(tasks=learning, do=learn, seconds=_learning_seconds, outputs=("models",)),
    transfer=Work(tasks=predictions, do=transfer, seconds=_transfer_seconds),
    measures={
        "errors": measure_errors,
        "couplings": measure_couplings,
        "entropy": measure_entropy,
        "predictions": measure_predictions,
        "curves": measure_curves,
    },
    judge=judge,
    notes=_notes,
    symbols={"E": "energy of a configuration", r"\beta": "inverse temperature of the observations, in 1/J"},
    figures={"errors": _draw_errors, "couplings": _draw_couplings, "curves": _draw_curves},
)
