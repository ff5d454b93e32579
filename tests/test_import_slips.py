"""Fields of electrons by the exact solver, stored with the slips of published files: each is refused and named."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch

from nearsight.fields import spin, tangent
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import Lattice, honeycomb, square, triangular
from nearsight.solvers import Dense
from nearsight.storage import write_yaml
from nearsight.training import import_spins

STATES = [pytest.param(False, id="random"), pytest.param(True, id="relaxed", marks=pytest.mark.slow)]


def models() -> dict[str, ExactForceField]:
    double_exchange, weak = Dense(filling=0.485, kT=0.05), Dense(filling=0.3, kT=0.05)
    return {
        "12 x 12": ExactForceField(SDModel(square(12), J=6.0), double_exchange),
        "8 x 18": ExactForceField(SDModel(square(8, 18), J=6.0), double_exchange),
        "8 x 18, weak": ExactForceField(SDModel(square(8, 18), J=1.0), weak),
        "10 x 12, open": ExactForceField(SDModel(square(10, 12, periodic=False), J=6.0), double_exchange),
        "12 x 12, one open axis": ExactForceField(
            SDModel(square(12, periodic=(True, False)), J=6.0), double_exchange
        ),
        "triangular": ExactForceField(
            skyrmion_magnet(triangular(6, 12), B=0.0), Dense(mu=-3.5, kT=0.02)
        ),
        "honeycomb": ExactForceField(SDModel(honeycomb(6, 8), J=4.0), weak),
    }  # fmt: skip


@cache
def snapshots(name: str, relaxed: bool = False) -> tuple[Lattice, torch.Tensor, torch.Tensor]:
    """Lattice, spins and exact fields: random spins, or spins on their way to equilibrium."""
    exact, rng = models()[name], torch.Generator().manual_seed(5)
    field = spin().random(exact.lattice.n_sites, 3, rng, 4)
    for _ in range(8 if relaxed else 0):
        force = tangent(exact(field).force, field)
        field = field + 0.25 * force / force.norm(dim=-1).mean()
        field = field / field.norm(dim=-1, keepdim=True)
    return exact.lattice, field, exact(field).force


def stored(folder, lattice: Lattice, field, force, **entries):
    np.savez(folder / "a.npz", spins=np.asarray(field), fields=np.asarray(force))
    kind = {"lattice": lattice.name, "shape": list(lattice.shape), "periodic": list(lattice.periodic)}
    card = {**kind, "files": ["a.npz"], "axes": ["snapshot", "site", "component"], "independent": True, **entries}
    write_yaml(folder / "card.yaml", card)
    return folder / "card.yaml"


def refused(path, message: str, **options):
    with pytest.raises(ValueError, match=message):
        import_spins(path, **options)


@pytest.mark.parametrize("relaxed", STATES)
@pytest.mark.parametrize("name", models())
def test_right_data_are_taken_without_a_word(name, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = import_spins(stored(tmp_path, lattice, field, force), exact=models()[name])
        torque = stored(tmp_path, lattice, field, torch.linalg.cross(field, force), meaning="torque")
        assert float((tangent(data.force, field) - import_spins(torque).force).abs().max()) < 1e-12
    assert torch.equal(data.force, force) and data.attrs["checks"]["exact"]["left"] < 1e-12


@pytest.mark.parametrize("relaxed", STATES)
@pytest.mark.parametrize(
    ("name", "shape", "cure"),
    [
        ("12 x 12", [8, 18], r"shape: \[12, 12\]"),
        ("12 x 12", [18, 8], r"shape: \[12, 12\]"),
        ("8 x 18", [12, 12], r"shape: \[8, 18\]"),
        ("8 x 18, weak", [9, 16], r"shape: \[8, 18\]"),
        ("triangular", [12, 6], r"shape: \[6, 12\]"),
        ("honeycomb", [8, 6], r"shape: \[6, 8\]"),
    ],
)
def test_another_shape_of_as_many_sites_is_named(name, shape, cure, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    refused(stored(tmp_path, lattice, field, force, shape=shape), cure)


@pytest.mark.parametrize("relaxed", STATES)
@pytest.mark.parametrize("name", ["8 x 18", "8 x 18, weak", "triangular"])
def test_a_transposed_grid_is_named(name, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    turned = [x.reshape(4, *lattice.shape, 3).transpose(1, 2).reshape(x.shape) for x in (field, force)]
    refused(stored(tmp_path, lattice, *turned), r"Fortran order|shape: \[(18, 8|12, 6)\]")
    refused(stored(tmp_path, lattice, turned[0], force), "fields had sites in another order: .*Fortran order")


@pytest.mark.parametrize("relaxed", STATES)
@pytest.mark.parametrize("name", ["12 x 12", "8 x 18, weak", "10 x 12, open", "honeycomb"])
def test_sites_sorted_by_sublattice_are_named(name, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    sites = np.arange(lattice.n_sites)
    order = np.argsort(lattice.sublattice if lattice.n_basis > 1 else lattice.cells.sum(1) % 2, kind="stable")
    assert not np.array_equal(order, sites)
    refused(stored(tmp_path, lattice, field[:, order], force[:, order]), "one sublattice after the other")
    refused(stored(tmp_path, lattice, field, force[:, order]), "another order: one sublattice after the other")


@pytest.mark.parametrize("relaxed", STATES)
def test_wrong_boundaries_are_named(relaxed, tmp_path):
    for name, declared, cure in [
        ("10 x 12, open", [True, False], r"axis 0 .* if that axis is open; give periodic: \[false, false\]"),
        ("10 x 12, open", True, r"axis 0 .* if that axis is open; give periodic: \[false, true\]"),
        ("12 x 12", [True, False], r"axis 1 .* if that axis is periodic; give periodic: \[true, true\]"),
        ("12 x 12, one open axis", True, r"axis 1 .* if that axis is open; give periodic: \[true, false\]"),
    ]:
        refused(stored(tmp_path, *snapshots(name, relaxed), periodic=declared), cure)


@pytest.mark.parametrize("relaxed", [False, True], ids=["random", "relaxed"])
@pytest.mark.parametrize("name", ["12 x 12", "8 x 18, weak", "triangular"])
def test_another_sign_is_told_by_the_concavity_of_the_energy(name, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    assert bool(((field * force).sum((-2, -1)) > 0).all())
    refused(stored(tmp_path, lattice, field, -force), "H·S is negative, .* give factor: -1 instead of 1")
    if relaxed:  # torques say it by the energies of spins that are no longer random
        torque = torch.linalg.cross(force, field)
        refused(stored(tmp_path, lattice, field, torque, meaning="torque"), "above those of random .* give factor: -1")


@pytest.mark.parametrize("relaxed", STATES)
@pytest.mark.parametrize("name", ["12 x 12", "8 x 18, weak", "triangular", "honeycomb"])
def test_torques_and_fields_are_told_apart(name, relaxed, tmp_path):
    lattice, field, force = snapshots(name, relaxed)
    torque, normal = torch.linalg.cross(field, force), tangent(force, field)
    refused(stored(tmp_path, lattice, field, torque), "as torques S × H do; give meaning: torque")
    refused(stored(tmp_path, lattice, field, force, meaning="torque"), "lies along the spins, .* give meaning: field")
    refused(stored(tmp_path, lattice, field, normal, meaning="torque"), "which holds fields; give meaning: field")


def test_fields_of_other_snapshots_are_named_and_taken_on_trust_alone(tmp_path):
    lattice, field, force = snapshots("12 x 12")
    path, message = stored(tmp_path, lattice, field, force.roll(1, 0)), "if the fields were those of the next snapshot"
    refused(path, message)
    with pytest.warns(UserWarning, match=message):
        assert torch.equal(import_spins(path, trust=True).force, force.roll(1, 0))


@pytest.mark.parametrize("scale", [0.5, 2.0, -1.0])
def test_the_unit_of_fields_is_told_by_a_model(scale, tmp_path):
    lattice, field, force = snapshots("8 x 18")
    path = stored(tmp_path, lattice, field, scale * force, factor=-3.0)
    message = f"H is {-3 * scale:.3g} × the exact field; give factor: {1 / scale:.3g} instead of -3"
    refused(path, message, exact=models()["8 x 18"])
    other = ExactForceField(SDModel(lattice, J=6.0), Dense(filling=0.3, kT=0.05))
    refused(stored(tmp_path, lattice, field, force), "training.identify looks for the filling", exact=other)
