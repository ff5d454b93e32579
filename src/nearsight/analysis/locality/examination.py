"""The whole examination: the range of the exact forces, that of learned ones, and whether it is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality._range import Model, doubled, farthest, forces
from nearsight.analysis.locality.assessment import LocalityReport, assess_growth, assess_size
from nearsight.analysis.locality.response import Decay, Response, response
from nearsight.analysis.locality.truncation import ensemble_length, truncation
from nearsight.fields import tangent
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies

Say = Callable[[str], None]

PROBED = 2
"""Fields on which the cutoff of a probe is measured."""


def examine_locality(
    exact: Model,
    fields: Tensor,
    *,
    truth: Tensor | np.ndarray | None = None,
    models: Mapping[str, Model] | None = None,
    canonical: Model | None = None,
    probes: Mapping[str, Model] | None = None,
    spins: bool = False,
    turn: bool = False,
    radii: Sequence[float] | None = None,
    rng: torch.Generator,
    samples: int = 64,
    sources: int = 4,
    groups: np.ndarray | None = None,
    elsewhere: Tensor | None = None,
    quantity: str | None = None,
    say: Say = lambda text: None,
) -> LocalityReport:
    """The range of forces or energies of hops, how much is decided beyond any cutoff, and how learned ones compare.

    Give the part of the force that is learned (``exact.electrons``): springs are known, and would count as response.

    Parameters
    ----------
    exact: the reference, a force field or energies of hops; ``fields`` ``(sample, site, component)`` a typical ensemble
        that no model was trained on.
    truth: the exact forces on the fields, where they are known already; of hops the energies ``(sample, move)``,
        infinite where impossible.
    models: learned ones on the same lattice, by name. Their cutoff is measured: the largest distance at which
        they respond at all.
    canonical: the exact force field at a fixed number of electrons, examined for a response that does not decay.
    probes: more models, of growing cutoffs and with the same training, shorter than that of the others: they show what
        a larger cutoff brings. Their cutoffs are measured as well.
    spins: the fields are unit spins, of which only the part of a force normal to them counts: of responses, of the
        floor and of errors (``truth`` may hold all of the force, or this part). The correlation length is then that of
        the spin structure factor, :func:`ensemble_length`.
    radii: where the floor is measured; multiples of the nearest-neighbour distance up to half the period of the
        lattice, or half of an open edge that is longer, and the models' cutoffs, if not given.
    samples, sources, groups, turn, elsewhere: see :func:`truncation` and :func:`response`; a quarter of the samples, 4
        to 16 fields, serve to measure responses.
    quantity: what it is called; "force" or "energy of a hop" if not given.
    say: called with a line about every step.
    """
    models, probes, lattice = dict(models or {}), dict(probes or {}), exact.lattice
    quantity = quantity or ("energy of a hop" if isinstance(exact, MoveEnergies) else "force")
    error, rms = _errors(exact, fields, truth, {**probes, **models}, spins)
    same, apart = (int(torch.randint(2**62, (), generator=rng)) for _ in range(2))
    few = fields[torch.randperm(len(fields), generator=rng)[: min(16, max(4, samples // 4))]]

    def see(model: Model, few: Tensor, sources: int) -> Response:
        return response(model, few, rng=_again(same), sources=sources, spins=spins)  # at the same sites for all

    seen: dict[str, Response] = {}
    for name, model in {"exact": exact, **models, **({} if canonical is None else {"canonical": canonical})}.items():
        say(f"response of {'the exact force at fixed number' if name == 'canonical' else name}, {len(few)} fields")
        seen[name] = see(model, few, sources)
    limit = farthest(lattice)
    cutoffs = {name: seen[name].reach for name in models}
    radii = _radii(lattice, limit, cutoffs.values()) if radii is None else radii
    say(f"what lies beyond {len(radii)} radii, {samples} sites each")
    settings: dict[str, Any] = dict(samples=samples, groups=groups, spins=spins, turn=turn, elsewhere=elsewhere)
    floor = truncation(exact, fields, radii, rng=_again(apart), **settings)
    say("errors of the models")
    assessed = assess_size(
        floor["radius"].values,
        {name: (cutoffs[name], error(model)) for name, model in models.items()},
        floor=floor["floor"].values,
        floor_error=floor["error"].values,
        length=None if lattice.disordered else ensemble_length(fields, lattice, spins=spins),
        quantity=quantity,
    )
    decays = {name: seen[name].decay(rng=rng) for name in seen}
    data = assessed.data.merge(_responses(seen, decays)).assign_attrs(assessed.data.attrs)
    data["largest"] = floor["largest"]
    if models or probes:
        data["rms"] = ((), rms, {"long_name": f"rms {quantity}"})
    data.attrs |= {"samples": samples, "fields": len(fields), "half_period": limit, "lattice": repr(lattice)}
    sentences = [*_on_response(f"exact {quantity}", seen["exact"], decays["exact"])]
    for name in models:
        if seen[name].whole:
            sentences.append(f"The model {name} responds to the whole lattice: examine it on a larger one.")
    sentences += assessed.sentences
    if probes:
        grown = {name: (see(model, few[:PROBED], 1).reach, error(model)) for name, model in probes.items()}
        growth = assess_growth(grown, quantity=quantity)
        data = data.merge(growth.data)
        sentences += growth.sentences
    if "canonical" in seen:
        sentences += _on_fixed_number(seen["canonical"])
    return LocalityReport(data, tuple(sentences))


def _errors(
    exact: Any, fields: Tensor, truth: Any, models: Mapping[str, Any], spins: bool
) -> tuple[Callable[[Any], float], float]:
    """The rms error of any model on the fields, and the rms of the truth; models that do not fit are refused."""
    if isinstance(exact, MoveEnergies):
        for name, model in models.items():
            if not model.lattice.coincides(exact.lattice) or model.hops.shell != exact.hops.shell:
                raise ValueError(f"The model {name!r} has {model.hops!r}, the exact energies are of {exact.hops!r}.")
        exact.hops.check(fields)
        if truth is None:
            truth = exact.differences(fields).numpy() if models else np.zeros((len(fields), 0))
        elif truth.shape != (len(fields), len(exact.hops)):
            raise ValueError(f"truth must hold {len(exact.hops)} energies for each of {len(fields)} fields.")
        known = np.isfinite(truth)

        def of_hops(energies: Any) -> float:
            found = torch.stack([doubled(energies).differences(field) for field in fields]).numpy()
            return _rms(found[known] - truth[known])

        return of_hops, _rms(truth[known])
    for name, model in models.items():
        if model.lattice.n_sites != exact.lattice.n_sites or model.components != exact.components:
            raise ValueError(
                f"The model {name!r} is for {model.lattice!r} with {model.components} components, the exact "
                f"force field for {exact.lattice!r} with {exact.components}; move it with .on(lattice)."
            )
    if truth is None:
        truth = forces(exact, fields.double()) if models else torch.zeros_like(fields)
    elif truth.shape != fields.shape:
        raise ValueError(f"truth must hold the forces on all fields, {tuple(fields.shape)}, got {tuple(truth.shape)}.")

    def judged(force: Tensor) -> Tensor:
        return tangent(force.double(), fields.double()) if spins else force.double()

    true = judged(truth)
    return lambda model: _rms((judged(forces(doubled(model), fields.double())) - true).numpy()), _rms(true.numpy())


def _radii(lattice: Lattice, limit: float, cutoffs: Iterable[float]) -> list[float]:
    """Multiples of the nearest-neighbour distance up to a limit, and the cutoffs within it."""
    within = [c for c in cutoffs if c <= limit + lattice.tolerance]
    steps = np.arange(np.floor((limit + lattice.tolerance) / lattice.spacing) + 0.5)
    return sorted({*(lattice.spacing * steps), *within})


def _again(seed: int) -> torch.Generator:
    """The same random numbers for every force field: its result does not depend on which others are examined."""
    return torch.Generator().manual_seed(seed)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0


def _responses(seen: Mapping[str, Response], decays: Mapping[str, Decay]) -> xr.Dataset:
    """Profiles and cumulative fractions of several force fields on their common distances."""
    r = np.unique(np.concatenate([np.round(found.r, 9) for found in seen.values()]))

    def on_all(values: xr.DataArray, found: Response) -> np.ndarray:
        result = np.full(len(r), np.nan)
        result[np.searchsorted(r, np.round(found.r, 9))] = values.values
        return result

    result = xr.Dataset(
        {
            "response": (("source", "r"), np.stack([on_all(f.profile, f) for f in seen.values()])),
            "share": (("source", "r"), np.stack([on_all(f.share, f) for f in seen.values()])),
            "reach": ("source", [f.reach for f in seen.values()], {"long_name": "largest distance with a response"}),
            "decay_length": ("source", [d.length for d in decays.values()], {"long_name": "ξ of the response"}),
            "decay_error": ("source", [d.error for d in decays.values()]),
            "radius_90": ("source", [f.radius(0.9) for f in seen.values()], {"units": "a"}),
            "radius_99": ("source", [f.radius(0.99) for f in seen.values()], {"units": "a"}),
            "spread_out": ("source", [f.spread_out for f in seen.values()]),
            "fixed_number": ("source", [f.fixed_number for f in seen.values()]),
        },
        coords={"source": list(seen), "r": ("r", r, {"long_name": "distance", "units": "a"})},
    )
    result["response"].attrs["long_name"] = "response |∂F_i/∂Φ_j|, rms"
    result["share"].attrs["long_name"] = "fraction of the response within r"
    return result


def _on_response(what: str, found: Response, decay: Decay) -> list[str]:
    ninety, nearly_all = found.radius(0.9), found.radius(0.99)
    said = [f"90 % of the response of the {what} lie within {ninety:.3g} a, 99 % within {nearly_all:.3g} a."]
    if np.isfinite(decay.length):
        error = f" ± {decay.error:.1g}" if np.isfinite(decay.error) else ""
        low, high = decay.window
        said.append(f"It decays with ξ_F = {decay.length:.2g}{error} a between {low:.3g} and {high:.3g} a.")
    return said + _if_not_local(found)


def _if_not_local(found: Response) -> list[str]:
    if found.fixed_number:
        return [
            "Not local: fixed number. A part of the response does not decay with distance, because a level that "
            "crosses the Fermi energy moves μ for all sites; learn at fixed μ and fix the number with FixedNumber."
        ]
    if found.spread_out:
        return ["Not local on this lattice: a part of the response does not decay up to its edge."]
    return []


def _on_fixed_number(found: Response) -> list[str]:
    if not found.fixed_number:
        return []
    a, b = np.unravel_index(np.abs(found.uniform).argmax(), found.uniform.shape)
    return [
        "In the ensemble of the quenches the exact force is not local: fixed number. Its response keeps a part of "
        f"{found.uniform[a, b]:.2g} at all distances, which FixedNumber adds to a model learned at fixed μ."
    ]
