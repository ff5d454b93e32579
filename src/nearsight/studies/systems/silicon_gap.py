"""Silicon: how phonons close the band gap.

**Question.** How much do zero-point and thermal motion close the band gap of silicon, and how few exact gaps tell?

**System.** N × N × N primitive cells whose atoms are displaced as harmonic quantum oscillators at temperature T,

    u_i = m_i^-1/2 Σ_ν ξ_ν e_iν,   <ξ²> = ħ/2Ω coth(ħΩ / 2 k_B T)

with force constants of a valence force field fitted to first-principles phonons; the gap of every configuration by
tight binding, sp3s* with hoppings V (d₀/d)^n calibrated to plane waves, between the *means* of the states of either
band edge. The renormalisation is the difference to the perfect cell of the same size, which holds other valleys than
the infinite crystal (the offset). A surrogate of second order,

    E_g(u) = E_g(0) + 1/2 Σ u_i G_ij u_j

has the symmetry of the crystal exactly and a thermal mean without sampling error. It is learned from the gaps, or read
from one gradient of the tight-binding model. The network of the thesis, on invariants of Td of blocks of displacements,
learns from the same gaps. The mean gap is that of the surrogate, plus the mean of what it leaves of
exact gaps it has not seen (control variate, cross-fitted): without bias, whatever the surrogate is.

**What to expect.** S. Zhang, PhD thesis (2024), chapter 5: a network learns gaps of 432 atoms by density-functional
theory from 80 configurations at each of four temperatures, with errors of about 10 meV per configuration, and its mean
over 1000 configurations has a smaller error bar than that of the exact ones. Those are gaps between single states,
whose splittings by the finite cell scatter three times as much as the means here. Measured zero-point shifts of the
indirect gap lie near -60 meV; none of the numbers of the experiment stand in the thesis.

**Cost.** `quick`: 250 atoms, 300 gaps, a few minutes on two cores. `paper`: 432 atoms, 528 gaps to learn from, about
half an hour. `diamond`: the same of diamond, whose exponents are not calibrated.

    nearsight run silicon_gap --preset quick
    nearsight run silicon_gap --preset quick --set temperatures=[0,300,600]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator

from nearsight.analysis import controlled_mean
from nearsight.crystals import PropertyData, SecondOrder, evaluate
from nearsight.studies.checks import Above, Below, Check, Published, Sigma, Within
from nearsight.studies.options import Count, NotNegative
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import rms
from nearsight.studies.study import MeasuredStudy, Stage
from nearsight.studies.systems import _silicon_gap_figures as figures
from nearsight.studies.systems._silicon_gap_models import (
    KELVIN,
    MEV,
    atoms_of_block,
    crystal,
    gap,
    measure_bands,
    measure_sizes,
    network_shifts,
    thermal,
    train_network,
)
from nearsight.training import PropertyFitOptions

THESIS = "S. Zhang, PhD thesis (2024), fig. 5.6"
SECONDS = {54: 0.02, 128: 0.07, 250: 0.25, 432: 0.9}
"""One gap on one core, about."""


class Network(Section):
    """The model of the thesis: a network on the invariants of blocks of displacements and T, averaged over blocks."""

    edge: Annotated[int, Field(ge=1)] = 2
    """Cubic cells along an edge of a block; 3 in the thesis, 279 atoms."""
    widths: tuple[Count, ...] = (256, 128, 64)
    fit: PropertyFitOptions = PropertyFitOptions(
        steps=400, blocks=16, learning_rate=2e-3, validation=0.15, validate_every=50
    )
    """Blocks of a configuration are drawn anew in every step."""


class Config(Section):
    """Everything that decides the numbers of a run."""

    crystal: Literal["silicon", "diamond"] = "silicon"
    """Which crystal; the hoppings of diamond are scaled by Harrison's rule and not calibrated."""
    length: Annotated[int, Field(ge=3, le=10)] = 5
    """Primitive cells along each axis. 5 holds valleys near the minimum of the conduction band and no others close by;
    of 4, those that fold to X have other states beside them."""
    temperatures: Annotated[tuple[NotNegative, ...], Field(min_length=2)] = (0.0, 100.0, 200.0, 300.0)
    """Temperatures in K at which gaps are computed, ascending."""
    training: Annotated[int, Field(ge=6)] = 50
    """Configurations at every temperature to learn from, and to correct the mean with."""
    testing: Annotated[int, Field(ge=4)] = 25
    """Configurations at every temperature that no fit sees."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts of the training set that are left out in turn."""
    network: Network = Network()
    sizes: tuple[Annotated[int, Field(ge=3, le=10)], ...] = (3, 4, 5, 6)
    """Lengths of the supercells whose renormalisation is compared, to second order."""
    few: Annotated[int, Field(ge=5)] = 20
    """Exact gaps of one of the repetitions by which error bars are tested."""
    repetitions: Annotated[int, Field(ge=20)] = 200
    """Drawings with replacement by which error bars are tested."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        if list(self.temperatures) != sorted(set(self.temperatures)):
            raise ValueError(f"temperatures={self.temperatures} must be different and in ascending order")
        block, atoms = atoms_of_block(self.network.edge), 2 * self.length**3
        if block > atoms:
            raise ValueError(
                f"network.edge={self.network.edge}: blocks of {block} atoms do not fit among {atoms} atoms"
            )
        if self.folds > self.training:
            raise ValueError(f"folds={self.folds} of {self.training} training configurations leave some empty")
        return self


# --- gaps and surrogates ----------------------------------------------------------------------------------------------


def generate(run: Run, c: Config) -> None:
    """Independent displacements at every temperature and their gaps."""
    exact, source, number = gap(c, c.length), thermal(c, c.length), c.training + c.testing
    parts = [source.sample(number, t, run.rng("displacements", k)) for k, t in enumerate(c.temperatures)]
    heat = np.repeat(c.temperatures, number)
    seconds = SECONDS.get(exact.crystal.n_atoms, 2e-8 * exact.crystal.n_atoms**3)
    found = evaluate(exact, torch.cat(parts), run.path / "gaps.zarr", temperature=heat, seconds=seconds)
    run.log("note", text=f"{found}, {found.seconds:.2f} CPU seconds each")


def _data(run: Run, c: Config) -> tuple[torch.Tensor, np.ndarray]:
    """Displacements ``(temperature, configuration, site, 3)`` and gaps; first those to learn from, then the others."""
    data = PropertyData.open(run.path / "gaps.zarr")
    shape = len(c.temperatures), c.training + c.testing
    return data.displacement.unflatten(0, shape), data.value.reshape(shape)


def _fold(c: Config) -> np.ndarray:
    return np.arange(c.training) % c.folds


def train(run: Run, c: Config) -> None:
    """The surrogates: from a gradient, learned from all training configurations, and with every fold left out."""
    exact = gap(c, c.length)
    u, value = _data(run, c)
    u, value = u[:, : c.training], value[:, : c.training]
    folder = run.path / "models"
    SecondOrder.from_gradient(exact).save(folder / "gradient.safetensors")
    for k in (None, *range(c.folds)):
        keep = _fold(c) != (-1 if k is None else k)
        learned = SecondOrder.fitted(
            exact.crystal, u[:, keep].flatten(0, 1), value[:, keep].reshape(-1), constant=exact.perfect
        )
        learned.save(folder / f"{'learned' if k is None else f'fold-{k}'}.safetensors")
    train_network(run, c, u, MEV * (value - exact.perfect))


def _models(run: Run, c: Config) -> dict[str, SecondOrder]:
    names = ("gradient", "learned", *(f"fold-{k}" for k in range(c.folds)))
    return {name: SecondOrder.load(run.path / "models" / f"{name}.safetensors", crystal(c, c.length)) for name in names}


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_gaps(run: Run, c: Config) -> xr.Dataset:
    """Shifts of the gaps of configurations that no fit has seen, exact and by both surrogates, in meV."""
    u, value = _data(run, c)
    models, exact, source = _models(run, c), gap(c, c.length), thermal(c, c.length)
    zero, special = exact.perfect, torch.stack([source.special(t) for t in c.temperatures])
    fresh = u[:, c.training :]
    found = np.stack([models[name](fresh).numpy() for name in ("learned", "gradient")])
    name = {"long_name": "shift of the gap", "units": "meV", "symbol": r"\Delta E_g"}
    dims = ("temperature", "configuration")
    return xr.Dataset(
        {
            "exact": (dims, MEV * (value[:, c.training :] - zero), name),
            "special": ("temperature", MEV * exact.shift(special).numpy(), name),
            "training": (("temperature", "sample"), MEV * (value[:, : c.training] - zero), name),
            "learned": (("surrogate", *dims), np.stack([*(MEV * (found - zero)), network_shifts(run, c, fresh)]), name),
        },
        {"temperature": ("temperature", list(c.temperatures), KELVIN), "surrogate": ["learned", "gradient", "network"]},
    )


def measure_renormalisation(run: Run, c: Config) -> xr.Dataset:
    """Mean shifts at the temperatures of the data: of exact gaps alone, and with the help of either surrogate."""
    u, value = _data(run, c)
    u, value = u[:, : c.training], value[:, : c.training]
    models, zero, source, fold = _models(run, c), gap(c, c.length).perfect, thermal(c, c.length), _fold(c)
    crossed = np.empty_like(value)
    for k in range(c.folds):
        crossed[:, fold == k] = models[f"fold-{k}"](u[:, fold == k]).numpy()
    seen = {"learned": crossed, "gradient": models["gradient"](u).numpy()}
    known: dict[str, tuple[Any, Any]]
    rows, left = [], []
    for t, heat in enumerate(c.temperatures):
        means = np.array([models[f"fold-{k}"].mean(source, heat) for k in range(c.folds)])
        known = {"learned": (means, fold), "gradient": (models["gradient"].mean(source, heat), None)}
        rows.append([controlled_mean(value[t], seen[n][t], known[n][0], fold=known[n][1]) for n in seen])
        left.append([MEV * (value[t] - seen[n][t]) for n in seen])
    table = np.array(rows)  # (temperature, surrogate, entry of ControlledMean)
    dims, shift = ("temperature", "surrogate"), {"long_name": "shift of the mean gap", "units": "meV"}
    return xr.Dataset(
        {
            "mean": (dims, MEV * (table[..., 0] - zero), shift),
            "error": (dims, MEV * table[..., 1], shift),
            "plain": ("temperature", MEV * (table[:, 0, 2] - zero), shift),
            "plain_error": ("temperature", MEV * table[:, 0, 3], shift),
            "reduction": (dims, table[..., 4], {"long_name": "reduction of the variance", "units": "1"}),
            "explained": (dims, table[..., 5], {"long_name": "explained part of the variance", "units": "1"}),
            "left": ((*dims, "sample"), np.array(left), {"long_name": "exact minus surrogate", "units": "meV"}),
            "exact": (("temperature", "sample"), MEV * (value - zero), shift),
        },
        {"temperature": ("temperature", list(c.temperatures), KELVIN), "surrogate": list(seen)},
    )


def measure_curve(run: Run, c: Config) -> xr.Dataset:
    """The mean shift at all temperatures, and its slope.

    To second order it is exact at any temperature; the correction, a few per cent of it and smooth, is interpolated
    between the temperatures of the data.
    """
    data, model, source = run.observable("renormalisation"), _models(run, c)["gradient"], thermal(c, c.length)
    heat = np.linspace(c.temperatures[0], c.temperatures[-1], 25)
    second = MEV * np.array([model.mean(source, t) - model.constant for t in heat])
    weights = np.stack([np.interp(heat, c.temperatures, row) for row in np.eye(len(c.temperatures))], 1)
    correction = data["mean"].sel(surrogate="gradient").values - np.interp(c.temperatures, heat, second)
    total, error = second + weights @ correction, np.sqrt(weights**2 @ data.error.sel(surrogate="gradient").values ** 2)
    shift = {"long_name": "shift of the mean gap", "units": "meV"}
    return xr.Dataset(
        {
            "second": ("temperature", second, shift),
            "mean": ("temperature", total, shift),
            "error": ("temperature", error, shift),
            "slope": (
                "temperature",
                np.gradient(total, heat),
                {"long_name": "slope of the mean gap", "units": "meV/K"},
            ),
        },
        {"temperature": ("temperature", heat, KELVIN)},
    )


def measure_coverage(run: Run, c: Config) -> xr.Dataset:
    """How often means of few gaps, drawn with replacement, lie within one error bar of the mean of all of them."""
    data = run.observable("renormalisation")
    kinds = {
        "exact alone": data.exact.values,
        **{str(s): data.left.sel(surrogate=s).values for s in data.surrogate.values},
    }
    rng, inside = run.rng("coverage"), np.empty((len(kinds), len(c.temperatures), c.repetitions))
    for t in range(len(c.temperatures)):
        draws = torch.randint(c.training, (c.repetitions, c.few), generator=rng).numpy()
        for k, values in enumerate(kinds.values()):
            drawn = values[t][draws]
            error = drawn.std(1, ddof=1) / np.sqrt(c.few)
            inside[k, t] = np.abs(drawn.mean(1) - values[t].mean()) < error
    return xr.Dataset(
        {"inside": (("estimator", "temperature", "repetition"), inside, {"long_name": "within one error bar"})},
        {"estimator": list(kinds), "temperature": ("temperature", list(c.temperatures), KELVIN)},
    )


# --- checks -----------------------------------------------------------------------------------------------------------


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    gaps, means, curve = measured["gaps"], measured["renormalisation"], measured["curve"]
    within = (gaps.exact - gaps.exact.mean("configuration")).values

    def explained(off: np.ndarray) -> float:
        return float(1 - (off - off.mean(1, keepdims=True)).var() / within.var())

    off = (gaps.learned.sel(surrogate="network") - gaps.exact).values
    found = [
        Check("error of one gap, network on blocks, rms", rms(off), unit="meV"),
        Check("variance of gaps at one temperature explained, network on blocks", explained(off)),
    ]
    for name in ("learned", "gradient"):
        off = (gaps.learned.sel(surrogate=name) - gaps.exact).values
        note = f"{off.size} configurations at {len(c.temperatures)} temperatures; gaps spread by {within.std():.1f} meV"
        published = Published(10.0, THESIS, note="gaps between single states by density-functional theory")
        kind = {"learned": "learned", "gradient": "from a gradient"}[name]
        found += [
            Check(
                f"error of one gap, {kind}, rms",
                rms(off),
                unit="meV",
                criterion=Below(3.0),
                published=published,
                note=note,
            ),
            Check(
                f"variance of gaps at one temperature explained, {kind}",
                explained(off),
                criterion=Above(0.9),
            ),
            Check(
                f"variance of the mean gap reduced, {kind}",
                float(1 / (1 / means.reduction.sel(surrogate=name)).mean()),
                criterion=Above(10.0),
                note=f"harmonic mean over temperatures, {c.training} exact gaps at each",
            ),
        ]
    for name in measured["coverage"].estimator.values:
        share = float(measured["coverage"].inside.sel(estimator=name).mean())
        found.append(
            Check(f"coverage of the 68 % error bar, {name}", share, exact=0.675, criterion=Within(0.075),
                  note=f"{c.repetitions} repetitions of {c.few} gaps at each temperature")
        )  # fmt: skip
    for t in means.temperature.values:
        here = means.sel(temperature=t)
        both = float(here["mean"].sel(surrogate="gradient")), float(here.error.sel(surrogate="gradient"))
        found += [
            Check(f"shift of the mean gap at {t:g} K", *both, "meV", note="second order, corrected by exact gaps"),
            Check(f"the same at {t:g} K by exact gaps alone", float(here.plain), float(here.plain_error), "meV",
                  exact=both[0], exact_error=both[1], criterion=Sigma(4.0)),
        ]  # fmt: skip
        alone, name = float(gaps.special.sel(temperature=t)), f"shift by the special displacement at {t:g} K"
        found.append(Check(name, alone, unit="meV", exact=both[0], exact_error=both[1], note="one configuration"))
    off = float((curve["mean"] - curve.second)[-1])
    found += [
        Check(f"beyond second order at {c.temperatures[-1]:g} K", off, float(curve.error[-1]), "meV"),
        Check("slope of the mean gap at the highest temperature", float(curve.slope[-1]), unit="meV/K"),
        Check("gap of the perfect cell above that of the crystal", MEV * gap(c, c.length).offset, unit="meV",
              note=f"folding in {c.length} × {c.length} × {c.length} cells"),
        Check("change of a gap under translations and inversion", _asymmetry(run, c), unit="meV",
              criterion=Below(1e-7)),
    ]  # fmt: skip
    return found


def _asymmetry(run: Run, c: Config) -> float:
    """The largest change, exact or learned, of the gap of one displaced crystal that is moved or inverted."""
    u = _data(run, c)[0][-1, 0]
    lattice = crystal(c, c.length).lattice
    image = torch.from_numpy(lattice.index(-lattice.cells, 1 - lattice.sublattice))
    moved = torch.from_numpy(lattice.index(lattice.cells + np.array([1, 0, 2]), lattice.sublattice))
    same = torch.stack([u, torch.zeros_like(u).index_copy(0, image, -u), u[moved]])
    exact, learned = gap(c, c.length)(same), _models(run, c)["learned"](same)
    return float(max((v - v[0]).abs().max() for v in (exact, learned)) * MEV)


# --- report -----------------------------------------------------------------------------------------------------------


def _notes(run: Run, c: Config) -> list[str]:
    sizes = run.observable("sizes")
    spread = float(sizes["shift"].isel(temperature=0).max() - sizes["shift"].isel(temperature=0).min())
    return [
        f"Zero-point shifts of cells of {min(c.sizes)} to {max(c.sizes)} spread by {spread:.0f} meV: every size holds "
        "other valleys of the conduction band. This is larger than the error bars, which know one cell only.",
        "The crystal does not expand here, and its phonons are harmonic.",
        "sp3s* moves the conduction valleys too little under uniaxial strain, so that long acoustic waves couple too "
        "weakly and the gap falls less with temperature than in experiments.",
        "Error bars are tested on gaps that are drawn from those of the run; the surrogates are not fitted again.",
    ]


# --- presets ----------------------------------------------------------------------------------------------------------

PRESETS = {
    "quick": Config(),
    "paper": Config(  # 528 gaps of 432 atoms
        length=6,
        training=132,
        testing=50,
        network=Network(edge=3, widths=(512, 256, 128, 64), fit=PropertyFitOptions(steps=1000, learning_rate=1e-3)),
        sizes=(3, 4, 5, 6, 7),
    ),
    "diamond": Config(crystal="diamond", temperatures=(0.0, 300.0, 600.0, 900.0)),
    "tiny": Config(  # seconds: shows that the machinery works
        length=3,
        temperatures=(0.0, 300.0),
        training=24,
        testing=10,
        folds=3,
        network=Network(edge=1, widths=(16,), fit=PropertyFitOptions(steps=20, blocks=4, validate_every=10)),
        sizes=(3, 4),
        few=12,
        repetitions=40,
    ),
}


class GapStudy(MeasuredStudy):
    """Gaps, surrogates, and what is measured of both."""

    def usual_stages(self) -> tuple[Stage, ...]:
        return (
            Stage("generate", generate, outputs=("gaps.zarr",)),
            Stage("train", train, outputs=("models",), inputs=("gaps.zarr",)),
            self.validation(("gaps.zarr", "models")),
        )


STUDY = GapStudy(
    question="How much do zero-point and thermal motion close the band gap of silicon, and how few exact gaps tell?",
    title="Silicon: how phonons close the band gap",
    presets=PRESETS,
    measures={
        "bands": measure_bands,
        "gaps": measure_gaps,
        "renormalisation": measure_renormalisation,
        "curve": measure_curve,
        "sizes": measure_sizes,
        "coverage": measure_coverage,
    },
    judge=judge,
    notes=_notes,
    symbols={
        r"\Gamma": "centre of the Brillouin zone",
        "X": "centre of a square face of it",
        "L": "centre of a hexagonal face",
    },
    figures={
        "bands": figures.draw_bands,
        "histogram": figures.draw_histogram,
        "parity": figures.draw_parity,
        "errors": figures.draw_errors,
        "gap": figures.draw_curve,
        "sizes": figures.draw_sizes,
    },
)
