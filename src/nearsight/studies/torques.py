"""Networks that learn torques, and what they know of snapshots that no training has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

import nearsight as ns
from nearsight import analysis, forcefields, networks
from nearsight.descriptors import SpinInvariants
from nearsight.fields import FieldType, tangent
from nearsight.forcefields import ForceField, LearnedForceField
from nearsight.lattices import Lattice, site_group, site_permutations, torus_distance
from nearsight.studies import figures
from nearsight.studies.checks import DISSERTATION, Below, Check, Published, Within
from nearsight.studies.options import Count, NotNegative, Positive
from nearsight.studies.refinement import REFINED, refined
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import forces, rms, symmetry_check, symmetry_error
from nearsight.training import DataSet, FitOptions

Kind = Literal["equivariant", "resnet", "descriptor"]
NETWORKS: tuple[Kind, ...] = get_args(Kind)
ANGLE = Published(10.0, f"{DISSERTATION}, sec. 3.3.1", note="most angles are below")
"""Degrees between learned and exact H normal to the spin."""
GROWTH = 0.03
"""Largest relative error of the rate at which peaks grow; one of 0.05 makes peaks of skyrmions a fifth too low."""
TURNED = 4
"""Snapshots that are turned to see how equivariant a network is."""
WITHIN = 0.95
"""Fraction of the response that lies within the effective receptive field."""


# --- networks ---------------------------------------------------------------------------------------------------------


class Equivariant(Section):
    """A convolutional network of spins, exactly equivariant under SO(3) and the point group."""

    head: Literal["energy", "force"] = "force"
    """The field H itself, or a local energy whose gradient it is."""
    channels: Count = 4
    radii: tuple[Positive, ...] = (3.1, 2.1, 1.1)
    """Cutoff of each layer; the receptive field is their sum."""


class ResNet(Section):
    """The residual network of the thesis, which learns the symmetry from turned snapshots."""

    channels: tuple[Count, ...] = (16, 16)
    """Outputs of every block of two convolutions; two more follow the last. Four blocks in the thesis."""
    kernel: Annotated[int, Field(ge=1)] = 5
    """Side of the windows of its convolutions."""


class Descriptor(Section):
    """Invariants of bonds and chiralities, and a perceptron for the local energy whose gradient is H."""

    cutoff: Positive = 3.0
    bond_cutoff: NotNegative = 1.0
    """Longest bond whose product of spins is an input."""
    widths: tuple[Count, ...] = (64, 32)


def equivariant_fit(**options: Any) -> FitOptions:
    """Only the part of H normal to the spins moves them; the other is 4 to 50 times larger and need not be learned."""
    torques: dict[str, Any] = {"component": "tangent", "energy_weight": 0.0, "batch_size": 4}
    return FitOptions(**torques | options)


def augmented_fit(**options: Any) -> FitOptions:
    """The same for a network that learns the symmetry from turned snapshots."""
    return equivariant_fit(**{"augment": True, "optimizer": "adamw", "learning_rate": 1e-3} | options)


SHORT = {"steps": 12, "batch_size": 2, "validate_every": 6, "checkpoint_every": 6}
TINY: dict[str, Any] = {
    "networks": NETWORKS,
    "equivariant": Equivariant(channels=2, radii=(1.1, 1.1)),
    "resnet": ResNet(channels=(3,), kernel=3),
    "descriptor": Descriptor(cutoff=1.0, bond_cutoff=0.0, widths=(3,)),
    "fit": equivariant_fit(**SHORT),
    "resnet_fit": augmented_fit(**SHORT),
}
"""Settings that show that the machinery works."""
THESIS: dict[str, Any] = {
    "networks": NETWORKS,
    "resnet": ResNet(channels=(32, 64, 64, 32)),
    "descriptor": Descriptor(cutoff=6.0, bond_cutoff=2.0, widths=(256, 128, 64)),
    "resnet_fit": augmented_fit(steps=200000, threads=None),
}
"""Networks as large as those of the thesis."""


def build_network(c: Any, lattice: Lattice, law: FieldType, kind: Kind, rng: torch.Generator) -> LearnedForceField:
    """A force field with random weights; all but the residual network are equivariant whatever they learn."""
    if kind == "descriptor":
        invariants = SpinInvariants(lattice, law, c.descriptor.cutoff, bond_cutoff=c.descriptor.bond_cutoff)
        return LearnedForceField(invariants, networks.MLP(c.descriptor.widths, rng=rng))
    network = networks.SpinCNN if kind == "equivariant" else networks.TorqueResNet
    return LearnedForceField(network(lattice, law, **getattr(c, kind).model_dump(), rng=rng))


def load_network(run: Run, c: Any, lattice: Lattice, kind: Kind | None = None) -> LearnedForceField:
    """A trained network, the first unless another is named: the electrons alone."""
    first = kind in (None, c.networks[0])
    folder = run.path / REFINED if first and refined(run, c) else run.path / "model" / (kind or c.networks[0])
    return cast(LearnedForceField, forcefields.load(folder)).on(lattice)


# --- checks -----------------------------------------------------------------------------------------------------------


def compare_torques(
    test: DataSet,
    networks: Mapping[str, ForceField],
    *,
    start: Sequence[str],
    peaks: np.ndarray,
    published: Published,
    comparable: bool,
    rng: Callable[[str], torch.Generator],
) -> tuple[xr.Dataset, list[Check]]:
    """Errors of the H of several networks normal to the spins, how well each keeps the symmetry, and how fast ``peaks``
    of S(q), wave vectors ``(peak, 2)``, grow under it.

    start: where the trajectory of every snapshot began; "random" for quenches. comparable: whether the ``published``
    mean square error is one of the torque. Only the first network is judged. rng: of the rotations, by network.
    """
    dims, exact = ("snapshot", "site", "component"), tangent(test.force, test.field)
    grid = np.geomspace(0.1, 180.0, 200)

    def growth(H: Tensor) -> xr.DataArray:
        rate = analysis.peak_growth(test.field, H, test.lattice, peaks, dims=("snapshot",))
        return rate.assign_attrs(long_name="growth of the peaks", symbol=r"\Gamma", units="t")

    parts = []
    for name, network in networks.items():
        H = tangent(forces(network, test.field), test.field)
        degrees = np.sort(angles(exact, H).numpy(), axis=None)
        below = np.searchsorted(degrees, grid, side="right") / degrees.size
        violation = equivariance(network, test.field[:TURNED], rng(name))
        parts.append(
            xr.Dataset(
                {
                    "learned_force": (dims, H.numpy(), {"long_name": r"learned $H_\perp$", "units": "t"}),
                    "learned_growth": growth(H),
                    "violation": (("turned", *dims[1:]), violation.numpy(), {"units": "t"}),
                    "below": ("angle", below, {"long_name": "fraction of sites below"}),
                },
                coords={"angle": ("angle", grid, {"long_name": "angle of learned and exact H", "units": "°"})},
            )
        )
    first = next(iter(networks.values()))
    assert first.field_type is not None
    broken = symmetry_error(first, first.field_type, test.field[:TURNED])
    dataset = xr.concat(parts, dim=xr.Variable("network", list(networks))).assign(
        exact_force=(dims, exact.numpy(), {"long_name": r"exact $H_\perp$", "units": "t"}),
        exact_growth=growth(exact),
        symmetry_error=("operation", broken, {"long_name": "violation relative to the largest force"}),
    )
    time = ("snapshot", test.time, {"long_name": "time", "units": "ħ/t", "scale": "log"})
    dataset = dataset.assign_coords(
        start=("snapshot", list(start)), trajectory=("snapshot", test.trajectory), time=time, component=["x", "y", "z"]
    )
    checks = []
    for name in networks:
        judged = name == next(iter(networks))
        bound = Below(published.value) if judged and comparable else None
        checks += _torque_checks(name, dataset.sel(network=name), published, bound, judged=judged)
    return dataset, [*checks, symmetry_check(broken)]


def _torque_checks(
    name: str, data: xr.Dataset, published: Published, bound: Below | None, *, judged: bool
) -> list[Check]:
    """What is known of one network. Errors that are alike on all sites add up in the peaks, and decide how fast spins
    order."""
    exact, error = data.exact_force, data.learned_force - data.exact_force
    degrees = angles(*(torch.from_numpy(data[f"{source}_force"].values) for source in ("exact", "learned")))
    quenches = data.start == "random"
    groups = {"": data.start != "", **{f", {s} start": data.start == s for s in np.unique(data.start)}}
    return [
        Check(
            f"{name}: mean square error of the torque",
            value=float((error**2).mean()),
            unit="t²",
            published=published,
            criterion=bound,
            note=f"by component, {data.sizes['snapshot']} unseen snapshots",
        ),
        *(
            Check(
                f"{name}: relative rms error of the torque{of}", value=rms(error[some].values) / rms(exact[some].values)
            )
            for of, some in groups.items()
        ),
        Check(
            f"{name}: angle between learned and exact H, median",
            value=float(degrees.median()),
            unit="°",
            published=ANGLE,
            criterion=Below(ANGLE.value) if judged else None,
            note="on all sites however small their torque",
        ),
        Check(f"{name}: sites with an angle below 10°", value=100 * float((degrees < 10).double().mean()), unit="%"),
        Check(f"{name}: sites with an angle above 30°", value=100 * float((degrees > 30).double().mean()), unit="%"),
        Check(
            f"{name}: rms violation of the symmetry over rms error",
            value=rms(data.violation.values) / rms(error.values),
            criterion=Below(1.0) if judged else None,
            note=f"random rotations and reversals of all spins and operations of the lattice, {TURNED} snapshots",
        ),
        Check(
            f"{name}: growth of the peaks on unseen quenches",
            value=float(data.learned_growth[quenches].mean()),
            unit="t",
            exact=float(data.exact_growth[quenches].mean()),
            criterion=Within(GROWTH, relative=True) if judged else None,
            note=f"Γ of d ln M / dt = 2αΓ by damping, mean over {int(quenches.sum())} snapshots",
        ),
    ]


def angles(a: Tensor, b: Tensor) -> Tensor:
    """Between vectors ``(..., 3)``, in degrees; exact for small angles as well."""
    cross = torch.linalg.cross(a, b).norm(dim=-1)
    return torch.rad2deg(torch.atan2(cross, (a * b).sum(-1)))


def equivariance(forcefield: ForceField, field: Tensor, rng: torch.Generator) -> Tensor:
    """H(g R Φ) - g R H(Φ) for a random rotation R of all spins and operation g for each field, normal to the spins."""
    law, group = forcefield.field_type, site_group(forcefield.lattice)
    assert law is not None
    permutations = site_permutations(forcefield.lattice, group)
    result = []
    for spins in field.split(1):
        R = law.internal_operation(3, rng)
        g = int(torch.randint(len(permutations), (), generator=rng))
        H = tangent(forces(forcefield, spins), spins)
        moved, expected = (law.transform(x @ R.T, group, g, permutations[g]) for x in (spins, H))
        result.append(tangent(forces(forcefield, moved), moved) - expected)
    return torch.cat(result)


def responses(forcefield: ForceField, field: Tensor, source: int) -> Tensor:
    """Norm of the change of the normal part of H_i on all sites i when spin ``source`` turns ``(site,)``."""
    return analysis.spin_derivative(forcefield, field, [source])[0][0].square().sum((0, -1)).sqrt()


def receptive_field(
    exact: ForceField, learned: ForceField, fields: Tensor, sources: Sequence[int], published: Published | None
) -> tuple[xr.Dataset, list[Check]]:
    """|∂H_i/∂S_j| of normal parts by the distance of i and j, exact and learned: one spin ``sources[k]`` of every field
    is turned about its two normals, and all others are asked."""
    lattice = exact.lattice
    rings, maps = [], []
    for forcefield in (exact, learned):
        chi = [responses(forcefield, field, j).numpy() for field, j in zip(fields, sources, strict=True)]
        by_distance, centred = [], []
        for values, j in zip(chi, sources, strict=True):
            distance = torus_distance(lattice.positions - lattice.positions[j], lattice)
            r, ring = np.unique(np.round(distance, 6), return_inverse=True)
            by_distance.append(np.bincount(ring, values, len(r)))
            shift = [n // 2 - int(cell) for n, cell in zip(lattice.shape, lattice.cells[j], strict=True)]
            centred.append(np.roll(values.reshape(lattice.shape), shift, axis=(0, 1)))
        rings.append(np.mean(by_distance, axis=0))
        maps.append(np.mean(centred, axis=0))
    total = np.stack(rings)
    fraction = total.cumsum(-1) / total.sum(-1, keepdims=True)
    dataset = xr.Dataset(
        {
            "fraction": (("source", "r"), fraction, {"long_name": "fraction of the response within r"}),
            "response": (("source", "x", "y"), np.stack(maps), {"long_name": "response", "units": "t"}),
        },
        coords={"source": ["exact", "learned"], "r": ("r", r, {"long_name": "distance", "units": "a"})},
    )
    radius = [float(r[np.argmax(row >= WITHIN)]) for row in fraction]
    name = f"effective receptive field: radius of {100 * WITHIN:.0f} % of the response"
    note = f"Σ |∂H_i/∂S_j| of {len(sources)} spins in unseen configurations"
    return dataset, [Check(name, value=radius[1], exact=radius[0], unit="a", published=published, note=note)]


# --- figures ----------------------------------------------------------------------------------------------------------


def parity(run: Run, config: Any) -> Any:
    data = run.observable("snapshots")
    picture = ns.plots.parity(data.exact_force, data.learned_force.isel(network=0))
    return figures.captioned(picture, f"Network: {data.network.values[0]}.")


def _angle(run: Run, config: Any) -> Any:
    """The distribution of angles between learned and exact fields."""
    return ns.plots.compare(run.observable("snapshots").below, x="angle", by="network", log="x", mark=ANGLE.value)


def _errors_by_start(run: Run, config: Any) -> Any:
    data = run.observable("snapshots")
    return ns.plots.rms_errors(data.exact_force, data.learned_force, by=("network", "start"))


def _violation(run: Run, config: Any) -> Any:
    """Violation of the symmetry beside the error of the prediction, network by network, on the same snapshots."""
    data = run.observable("snapshots")
    error = (data.learned_force - data.exact_force).isel(snapshot=slice(data.sizes["turned"]))
    both = [part.values.reshape(*part.shape[:1], data.sizes["turned"], -1) for part in (error, data.violation)]
    of = xr.DataArray(
        np.stack(both, axis=2), dims=("network", "snapshot", "of", "value"),
        coords={"network": data.network, "of": ["error", "violation"]}, attrs=data.exact_force.attrs,
    )  # fmt: skip
    return ns.plots.rms_errors(xr.zeros_like(of), of, by=("network", "of"))


def peak_growth(run: Run, config: Any) -> Any:
    """How fast the peaks of unseen quenches grow by exact and by learned torques on the same spins."""
    data = run.observable("snapshots")
    data = data[["exact_growth", "learned_growth"]].isel(snapshot=np.flatnonzero(data.start == "random"))
    data = data.rename(trajectory="replica").drop_vars("start").set_index(snapshot=("replica", "time"))
    curves = data.unstack("snapshot")
    learned = {str(name): curves.learned_growth.sel(network=name) for name in curves.network.values}
    picture = ns.plots.compare({"exact": curves.exact_growth, **learned}, log="x")
    return figures.captioned(picture, "d ln M / dt = 2αΓ by damping, for the height M of the peaks of S(q).")


def response(run: Run, config: Any) -> Any:
    chi = run.observable("response").response
    decades = np.log10(np.maximum(chi / chi.max(), 1e-4)) + 4
    lattice = DataSet.open(run.path / "data.zarr").lattice
    picture = ns.plots.maps(decades.assign_attrs(long_name="decades", units="1"), lattice)
    picture.caption += " The spin in the middle turns, and with it the field H of every site: the norm of its change"
    return figures.captioned(picture, "normal to the spin, in decades above 10⁻⁴ of the largest.")


def _reach(run: Run, config: Any) -> Any:
    return ns.plots.compare(run.observable("response").fraction, x="r")


FIGURES = {
    "parity": parity,
    "angles": _angle,
    "errors_by_start": _errors_by_start,
    "equivariance": _violation,
    "peak_growth": peak_growth,
    "response": response,
    "reach": _reach,
    "symmetry": figures.symmetry,
}
"""Of every study that compares torques."""
