"""Stage 1: which texture has the lowest energy at which density, and which phases coexist."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy.spatial import ConvexHull

from nearsight.analysis import Verdict
from nearsight.studies.double_exchange.bubbles import bubbles
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.physics import disordered, magnet
from nearsight.studies.run import Run

AFM_ENERGY = -6.31517
"""Energy per site of the half-filled antiferromagnet at J = 6t by an independent diagonalisation; the ferromagnet has
-6."""
DENSITIES = np.linspace(0.5, 1.0, 201)
"""Electrons per site at which energies are compared."""
ONE_PHASE = 0.01
"""Segments of the hull shorter than this are the curvature of one phase."""


def ground_states(run: Run, config: Config) -> None:
    """E(n) of every texture, the common tangent, and what it costs to take an electron out of the antiferromagnet."""
    phases = energies(config, run.rng("ground", "random"))
    trapped = bubbles(config)
    run.record("phases", phases)
    run.record("bubbles", trapped)
    run.judge("ground_states", verdicts(config, phases, trapped))


def levels(config: Config, Q: tuple[float, float], cone: float, *, mesh: int | None = None) -> np.ndarray:
    r"""Levels of the electrons of a spiral on an infinite lattice, sorted; ``mesh``² wave vectors, two levels each.

    Spins turn with the wave vector Q about an axis, at an angle θ (``cone``) to it. Translations followed by rotations
    are symmetries, so that the matrix of a wave vector has two rows,

    .. math:: h(\mathbf k) = \begin{pmatrix} \epsilon(\mathbf k + \mathbf Q/2) - J\cos\theta & -J\sin\theta \\
              -J\sin\theta & \epsilon(\mathbf k - \mathbf Q/2) + J\cos\theta \end{pmatrix}, \qquad
              \epsilon(\mathbf k) = -2t(\cos k_x + \cos k_y).

    Wave vectors are shifted by half a step, which leaves out the points of highest symmetry.
    """
    t, J = config.model.t, config.model.J
    mesh = config.ground.mesh if mesh is None else mesh
    k = 2 * math.pi * (np.arange(mesh) + 0.5) / mesh
    kx, ky = np.meshgrid(k, k, indexing="ij")
    up, down = (-2 * t * (np.cos(kx + s * Q[0] / 2) + np.cos(ky + s * Q[1] / 2)) for s in (1, -1))
    up, down = up - J * math.cos(cone), down + J * math.cos(cone)
    middle, apart = (up + down) / 2, np.hypot((up - down) / 2, J * math.sin(cone))
    return np.sort(np.concatenate([(middle - apart).ravel(), (middle + apart).ravel()]))


def energy_per_site(levels: np.ndarray, sites: int, density: np.ndarray) -> np.ndarray:
    """Energy of the lowest ``density`` · ``sites`` levels per site, the last of them filled in part."""
    filled = np.concatenate([[0.0], np.cumsum(levels)])
    return np.interp(density * sites, np.arange(len(filled)), filled) / sites


def family(config: Config) -> Iterator[tuple[str, float, tuple[float, float], float]]:
    """Name, number (q/π or θ/π), wave vector and cone of every spiral that is compared."""
    pi = math.pi
    yield "ferromagnet", 0.0, (0.0, 0.0), 0.0
    yield "antiferromagnet", 1.0, (pi, pi), pi / 2
    for q in np.linspace(0, 1, config.ground.waves + 1)[1:-1]:
        yield "spiral (q, q)", q, (q * pi, q * pi), pi / 2
        yield "spiral (q, π)", q, (q * pi, pi), pi / 2
        yield "spiral (q, 0)", q, (q * pi, 0.0), pi / 2
        yield "canted antiferromagnet", q / 2, (pi, pi), q * pi / 2


def energies(config: Config, rng: torch.Generator) -> xr.Dataset:
    """The lowest energy per site of each family at every density, and of random spins, from which quenches start."""
    mesh, options = config.ground.mesh, config.ground
    best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, number, Q, cone in family(config):
        E = energy_per_site(levels(config, Q, cone), mesh**2, DENSITIES)
        old, numbers = best.get(name, (np.full_like(E, np.inf), np.zeros_like(E)))
        best[name] = np.minimum(E, old), np.where(old > E, number, numbers)
    model = magnet(config, options.random_length)
    spectra = torch.linalg.eigvalsh(model.matrix(disordered(model.lattice, options.random, rng))).numpy()
    random = np.mean([energy_per_site(s, model.lattice.n_sites, DENSITIES) for s in spectra], axis=0)
    best["random"] = random, np.zeros_like(random)
    dims = ("texture", "density")
    return xr.Dataset(
        {
            "energy": (dims, np.stack([E for E, _ in best.values()]), {"long_name": "energy per site", "units": "t"}),
            "number": (dims, np.stack([n for _, n in best.values()]), {"long_name": "q/π of spirals, θ/π of cones"}),
        },
        coords={"texture": list(best), "density": ("density", DENSITIES, {"long_name": "electrons per site"})},
    )


class Coexistence(NamedTuple):
    """The ends of the tangent on which a density lies; equal for one phase."""

    low: float
    high: float
    mu: float
    phases: tuple[str, str]

    @property
    def one_phase(self) -> bool:
        return self.low == self.high


def coexistence(phases: xr.Dataset, density: float) -> Coexistence:
    """Maxwell's construction: the segment of the lower convex hull of all E(n) on which ``density`` lies."""
    ordered = phases.energy.sel(texture=phases.texture != "random")
    n, lowest = phases.density.values, ordered.min("texture").values
    hull = np.sort(ConvexHull(np.stack([n, lowest - n * (lowest[-1] - lowest[0])], 1)).vertices)
    below = hull[(lowest[hull] - np.interp(n[hull], n[[0, -1]], lowest[[0, -1]])) <= 1e-12]
    k = min(max(int(np.searchsorted(n[below], density - 1e-9)), 1), len(below) - 1)
    a, b = below[k - 1], below[k]
    mu = float((lowest[b] - lowest[a]) / (n[b] - n[a]))
    names = tuple(str(ordered.texture.values[int(ordered.values[:, i].argmin())]) for i in (a, b))
    if n[b] - n[a] < ONE_PHASE or density >= n[-1] - 1e-9:
        nearest = min((a, b), key=lambda i: abs(n[i] - density))
        name = names[0] if nearest == a else names[1]
        return Coexistence(float(n[nearest]), float(n[nearest]), mu, (name, name))
    return Coexistence(float(n[a]), float(n[b]), mu, (names[0], names[1]))


def verdicts(config: Config, phases: xr.Dataset, trapped: xr.Dataset) -> list[Verdict]:
    half = phases.energy.sel(density=1.0)
    standard = (config.model.t, config.model.J) == (1.0, 6.0)
    afm, fm = (float(half.sel(texture=name)) for name in ("antiferromagnet", "ferromagnet"))
    lowest = str(half.texture.values[int(half.values.argmin())])
    found = coexistence(phases, config.density)
    window = coexistence(phases, 1.0 - 2 * ONE_PHASE)
    at_mesh = f"mean over {config.ground.mesh}² wave vectors"
    f = config.filling
    inside = window.low < config.density < window.high
    result = [
        Verdict(
            "half filling: energy per site of the antiferromagnet",
            exact=f"{afm:.5f} t",
            target=f"{AFM_ENERGY} ± 0.00002" if standard else None,
            passed=abs(afm - AFM_ENERGY) < 2e-5 if standard else None,
            note=f"{at_mesh}; the ferromagnet has {fm:.5f}",
        ),
        Verdict(
            "half filling: texture of lowest energy",
            exact=lowest,
            target="antiferromagnet",
            passed=lowest == "antiferromagnet",
            note=", ".join(f"{half.texture.values[i]!s} {half.values[i]:.4f}" for i in np.argsort(half.values)),
        ),
        Verdict(
            "fillings at which two phases coexist",
            exact=f"{window.low / 2:.4g} to {window.high / 2:.4g}",
            note=f"{window.phases[0]} and {window.phases[1]}, μ* = {window.mu:.4f} t, by the common tangent of "
            f"{len(phases.texture) - 1} families of textures",
        ),
    ]
    if config.half_filled:
        return result
    share = (found.high - config.density) / (found.high - found.low) if not found.one_phase else math.nan
    alone = float(trapped.energy.sel(holes=1).min())
    band = float(trapped.energy.sel(holes=1, radius=-1.0))
    many = trapped.energy.min("radius")
    return [
        *result,
        Verdict(
            "the filling lies between those of the phases",
            exact=f"{f:.4g}",
            target=f"in {window.low / 2:.4g} to {window.high / 2:.4g}",
            passed=bool(inside),
            note=f"lever rule: {100 * share:.3g} % of the sites ferromagnetic, with {found.low:.3g} electrons each",
        ),
        Verdict(
            "energy of one hole: in the antiferromagnet, trapped, in the ferromagnet",
            exact=f"{band:.3f} t, {alone:.3f} t, {-window.mu:.3f} t",
            target="falling",
            passed=band > alone > -window.mu,
            note=f"a hole that reverses the spins around it gains {band - alone:.2g} t and stays there; "
            + ", ".join(
                f"{float(h):g} in one bubble {float(e):.3f}" for h, e in zip(many.holes, many.values, strict=True)
            )
            + " t per hole",
        ),
    ]
