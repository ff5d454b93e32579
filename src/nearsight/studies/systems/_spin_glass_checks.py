"""What is measured of an amorphous magnet: learned fields on unseen structures, and how glassy its spins are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.dynamics import AB2Rotation, simulate
from nearsight.fields import random_spins, spin, tangent
from nearsight.forcefields import ForceField
from nearsight.hamiltonians import SDModel
from nearsight.lattices import PointCloud, Structures
from nearsight.parallel import threads
from nearsight.studies import speed
from nearsight.studies.checks import DISSERTATION, Above, Below, Check, Published, PValue
from nearsight.studies.ensembles import SIGNIFICANCE, at_end
from nearsight.studies.snapshots import SYMMETRY, forces, relative_rms
from nearsight.studies.system import System
from nearsight.training import DataSet

TURNS = 12
"""Random operations under which the symmetry of the learned field is seen."""


def compare_snapshots(test: DataSet, learned: ForceField, rng: torch.Generator) -> tuple[xr.Dataset, list[Check]]:
    """H normal to the spins on structures no fit has seen, by the stage of relaxation, and the symmetry of it."""
    lattice: Structures = test.lattice  # type: ignore[assignment]
    exact, H = tangent(test.force, test.field), tangent(forces(learned, test.field), test.field)
    dims = ("snapshot", "site", "component")
    dataset = xr.Dataset(
        {
            "exact_force": (dims, exact.numpy(), {"long_name": r"exact $H_\perp$", "units": "t"}),
            "learned_force": (dims, H.numpy(), {"long_name": r"learned $H_\perp$", "units": "t"}),
        },
        coords={"time": ("snapshot", test.time, {"long_name": "time", "units": "ħ/t"}), "component": ["x", "y", "z"]},
    )
    every = np.ones(len(test), dtype=bool)
    error = float((H - exact).square().sum(-1).mean())
    checks = [
        Check(
            "relative rms error of H normal to the spins, unseen structures",
            value=relative_rms(H, exact, every),
            criterion=Below(0.05),
            note=f"{len(test)} states of {lattice!r}",
        ),
        Check(
            "mean square error of H normal to the spins",
            value=error,
            unit="t²",
            published=Published(1e-3, f"{DISSERTATION}, fig. 4.3", note="about, and called σ"),
            note=f"of the vector; the field itself has {float(exact.square().sum(-1).mean()):.3g} t²",
        ),
    ]
    stages = {"random spins": test.time == 0, "second half": test.time > 0.5 * test.time.max()}
    checks += [
        Check(f"relative rms error of H, {name}", value=relative_rms(H, exact, chosen))
        for name, chosen in stages.items()
    ]
    checks.append(
        Check(
            f"symmetry of the learned field, worst of {TURNS} operations",
            value=_symmetry(learned.on(lattice.structures[0]), rng),
            criterion=Below(SYMMETRY),
            note="random rotations, reflections and permutations of the sites with rotations or reversal of all spins, "
            "relative to the largest field",
        )
    )
    return dataset, checks


def _symmetry(learned: ForceField, rng: torch.Generator) -> float:
    cloud, worst = learned.lattice, 0.0
    spins = random_spins(cloud, rng)
    H = tangent(forces(learned, spins[None])[0], spins)
    for _ in range(TURNS):
        law = spin()
        R, g = law.internal_operation(3, rng), law.internal_operation(3, rng).numpy()
        order = torch.randperm(cloud.n_sites, generator=rng)
        moved = PointCloud(cloud.basis[order] @ g.T, cloud.vectors @ g.T)
        turned = spins[order] @ R.T
        found = tangent(forces(learned.on(moved), turned[None])[0], turned)
        worst = max(worst, float((found - H[order] @ R.T).abs().max() / H.abs().max()))
    return worst


def transfer(system: System, learned: ForceField, spins: Tensor, trained: int, small: float) -> list[Check]:
    """The error on a larger structure of the same density, over that on unseen small ones of random spins; the cost.

    spins: random ones ``(replica, site, 3)``. trained: sites of a structure of the data; small: the error there.
    """
    exact, H = (tangent(forces(f, spins), spins) for f in (system.exact, learned))
    ratio = relative_rms(H, exact, np.ones(len(spins), dtype=bool)) / small
    with threads(1):
        one = spins[:1]
        slow, fast = speed.seconds(system.exact.electrons, one), speed.seconds(learned, one.float())
    sites = spins.shape[-2]
    return [
        Check(
            f"error on {sites} sites over that on {trained}, random spins",
            value=ratio,
            criterion=Below(1.3) if sites > trained else None,
        ),
        Check(
            f"time of an exact over a learned field of {sites} sites, one thread",
            value=slow / fast,
            criterion=Above(speed.TARGET) if sites >= 500 else None,
            note=f"{1e3 * slow:.3g} ms and {1e3 * fast:.3g} ms",
        ),
    ]


def at_every_time(C: xr.DataArray) -> list[Check]:
    """Whether learned and exact C(r) agree at every recorded time, each by itself."""
    p = [
        analysis.compare_curves(C.sel(source="exact").isel(time=k), C.sel(source="learned").isel(time=k), paired=True)
        .p_value
        for k in range(C.sizes["time"])
    ]  # fmt: skip
    return [
        Check(
            "C(r, t): same mean curve at each time by itself, smallest p-value",
            value=min(p),
            criterion=PValue(SIGNIFICANCE / len(p)),
            note=f"of {len(p)} times, {C.sizes['replica']} pairs; the bound is {SIGNIFICANCE} divided among them",
        )
    ]


def time_step(learned: ForceField, spins: Tensor, duration: float, *, dt: float, damping: float) -> list[Check]:
    """How far spins ``(site, 3)`` are off after a while because of the step: learned fields, no noise."""
    last = max(4, round(duration / dt))
    ends = []
    for parts in (1, 4):
        scheme = AB2Rotation(dt=dt / parts, kT=0.0, damping=damping, tangent=True)
        with torch.no_grad():
            ends.append(simulate(learned, scheme, spins, steps=parts * last, record=None, rng=None).final.field)
    return [
        Check(
            "rms change of the spins when the time step is divided by 4",
            value=float((ends[0] - ends[1]).square().sum(-1).mean().sqrt()),
            note=f"dt = {dt:g}, at t = {last * dt:g}, without noise",
        )
    ]


def levels(models: Sequence[SDModel], width: float = 0.06) -> xr.Dataset:
    """The density of states of models without coupling to spins, relative to the Fermi energy of half filling."""
    found = []
    for model in models:
        h = model.matrix(torch.zeros(model.lattice.n_sites, 3, dtype=torch.float64))
        e = torch.linalg.eigvalsh(h[::2, ::2].real)  # of one spin; the other has the same
        half = len(e) // 2
        found.append(e - 0.5 * (e[half - 1] + e[half]))
    energies = np.linspace(-2.0, 12.0, 561)
    dos = 2 * analysis.level_density(torch.stack(found), energies, width, models[0].lattice.n_sites)
    return xr.Dataset({"dos": dos.mean("replica").assign_attrs(long_name="density of states per site", units="1/t")})


def analyse_glass(
    growth: xr.Dataset,
    spins: xr.DataArray,
    lattice: Structures,
    *,
    windows: Sequence[tuple[float, float]],
    waiting: Sequence[float],
    rng: Callable[..., torch.Generator],
) -> tuple[xr.Dataset, list[Check]]:
    """ξ(t) and its laws, overlaps of replicas, the susceptibility, and what spins remember.

    growth: C(r) of every replica. spins: ``(time, replica, site, component)`` at the same times. windows: of the fits
    to ξ(t); the first is compared with the thesis. rng: of the bootstrap, by name.
    """
    later = growth.C.isel(time=slice(1, None))
    lengths = {
        f"xi{power}": analysis.correlation_moment_length(later, power=power).assign_attrs(
            units="l", symbol=rf"\xi_{power}", scale="log"
        )
        for power in (1, 2)
    }
    published = Published(1.02, f"{DISSERTATION}, fig. 4.5", note="one window, no error, no other law")
    checks = [
        _growth(lengths[name], words, window, rng("bootstrap", name, k), published if k == 0 else None)
        for name, words in (("xi2", "ξ₂"), ("xi1", "ξ₁ of the thesis"))
        for k, window in enumerate(windows)
        if int(((later.time >= window[0]) & (later.time <= window[1])).sum()) >= 4
    ]
    fields = spins.transpose("time", "replica", "site", "component").astype(float)
    chi = xr.concat(
        [analysis.spin_glass_susceptibility(torch.from_numpy(x.values), lattice) for x in fields], dim=growth.time
    )
    q = analysis.replica_overlap(torch.from_numpy(fields.isel(time=-1).values), lattice)
    earlier = [t for t in waiting if t < float(growth.time[-1])] or [float(growth.time[1])]
    memory = analysis.autocorrelation(
        fields, sorted({float(fields.time.sel(time=t, method="nearest")) for t in earlier})
    )
    end = chi.isel(time=-1)
    checks += [
        at_end("ξ₂", lengths["xi2"].isel(time=-1)),
        at_end("ξ₁", lengths["xi1"].isel(time=-1)),
        at_end("C at the smallest distance", growth.nearest.isel(time=-1)),
        Check(
            "spin-glass susceptibility at the end",
            value=float(end.susceptibility.mean()),
            error=float((end.error**2).sum() ** 0.5 / end.sizes["structure"]),
            note=f"1 for independent random spins; {fields.sizes['replica']} replicas of {lattice!r}",
        ),
        Check(
            "rms overlap of replicas at the end",
            value=float((q**2).mean() ** 0.5),
            exact=float(np.mean([part.n_sites for part in lattice.structures]) ** -0.5),
            note="beside it that of independent replicas",
        ),
    ]
    found = xr.Dataset(
        {
            "C": growth.C,
            "nearest": growth.nearest,
            **lengths,
            "susceptibility": chi.susceptibility.mean("structure").assign_attrs(chi.susceptibility.attrs),
            "overlap": q,
            "memory": memory,
        }
    )
    return found, checks


def _growth(
    xi: xr.DataArray, words: str, window: tuple[float, float], rng: torch.Generator, published: Published | None
) -> Check:
    """ψ of one length in one window, where the length grows at all."""
    name = f"ψ of {words} ~ (ln t)^(1/ψ), t from {window[0]:g} to {window[1]:g}"
    if not float(xi.mean("replica").where((xi.time >= window[0]) & (xi.time <= window[1])).min()) > 0:
        return Check(name, value=None, published=published, note="the correlation is lost in its noise")
    law = analysis.glass_growth(xi, rng=rng, window=window)
    best = max(law.preferred, key=lambda name: law.preferred[name])
    rivals = ", ".join(f"{name} {x:.3g}" for name, x in law.chi2.items())
    grows = law.exponent > 2 * law.exponent_sigma
    note = f"power of time n = {law.exponent:.3f} ± {law.exponent_sigma:.3f}; χ²/{law.dof}: {rivals}; "
    return Check(
        name,
        value=law.psi if grows else None,
        error=law.sigma if grows else None,
        published=published,
        note=note + (f"{best} law in {100 * law.preferred[best]:.0f} % of draws" if grows else "it does not grow"),
    )


def audit(exact: ForceField, learned: ForceField, spins: Tensor) -> Check:
    """The learned field against the exact one of one structure, on states ``(replica, site, 3)`` of a run."""
    S = spins.double() / spins.double().norm(dim=-1, keepdim=True)
    right, H = (tangent(forces(f, S), S) for f in (exact, learned))
    return Check(
        "audit: relative rms error of H on the last states of the large run",
        value=relative_rms(H, right, np.ones(len(S), dtype=bool)),
        criterion=Below(0.1),
        note=f"{len(S)} replicas of a structure of {exact.lattice.n_sites} sites",
    )
