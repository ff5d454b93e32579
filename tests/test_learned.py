"""Learned force fields: what their construction guarantees, and their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from nearsight.descriptors import ACSF, Irreps
from nearsight.fields import FieldType, displacement, potts, scalar, spin
from nearsight.forcefields import ForceField, LearnedForceField, load, save
from nearsight.lattices import Lattice, diamond, honeycomb, site_group, square, triangular
from nearsight.networks import MLP, GroupCNN
from nearsight.storage import CorruptFileError

LATTICE = square(8)


def convolution(head="energy", parity=None, **options) -> LearnedForceField:
    network = GroupCNN(LATTICE, scalar(), channels=3, parity=parity, head=head, **options)
    return LearnedForceField(network).eval()


def irreps() -> LearnedForceField:
    return LearnedForceField(Irreps(LATTICE, scalar(), cutoff=3.0), MLP((16, 16))).eval()


STUDENTS = [
    pytest.param(irreps, id="irreps"),
    pytest.param(convolution, id="energy"),
    pytest.param(lambda: convolution("force", "odd"), id="force, odd"),
]
student = pytest.mark.parametrize("make", STUDENTS)


def field(rng, *batch, dtype=torch.float64):
    return torch.randn(*batch, LATTICE.n_sites, 1, generator=rng, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("head", ["energy", "force"])
def test_an_odd_network_has_an_odd_force_and_an_even_energy(head, rng):
    forcefield, q = convolution(head, "odd").double(), field(rng)
    torch.testing.assert_close(forcefield(-q).force, -forcefield(q).force, atol=1e-14, rtol=0)
    if head == "energy":
        torch.testing.assert_close(forcefield(-q).energy, forcefield(q).energy, atol=1e-13, rtol=0)


@student
def test_a_repeated_field_has_the_same_forces_on_a_larger_lattice(make, rng):
    forcefield = make().double()
    q = field(rng).reshape(8, 8)
    large = forcefield.on(square(16, 24))
    force = large(q.repeat(2, 3).reshape(-1, 1)).force.reshape(16, 24)
    expected = forcefield(q.reshape(-1, 1)).force.reshape(8, 8).repeat(2, 3)
    torch.testing.assert_close(force, expected, atol=1e-12, rtol=0)
    assert {id(p) for p in large.parameters()} == {id(p) for p in forcefield.parameters()}


@pytest.mark.parametrize("make", [irreps, convolution, lambda: convolution("force", "odd")])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_tiles_give_the_forces_of_the_whole(make, batch, rng, monkeypatch):
    forcefield = make().double().on(square(11, 8))
    q = torch.randn(*batch, 88, 1, generator=rng, dtype=torch.float64)
    whole = forcefield(q)
    monkeypatch.setattr(type(forcefield.model), "tile", 30)
    tiled = forcefield(q)
    torch.testing.assert_close(tiled.force, whole.force, atol=1e-13, rtol=1e-12)
    if whole.energy is not None:
        torch.testing.assert_close(tiled.energy, whole.energy, atol=1e-12, rtol=1e-12)
    assert torch.equal(forcefield(q).force, tiled.force)


def test_tiles_serve_several_sites_per_cell_and_three_dimensions(rng, monkeypatch):
    for lattice, law in [(honeycomb(6, 5), scalar()), (diamond(3), displacement())]:
        forcefield = LearnedForceField(Irreps(lattice, law, 1.7), MLP((8,))).double().eval()
        q = torch.randn(2, lattice.n_sites, forcefield.components, generator=rng, dtype=torch.float64)
        whole = forcefield(q)
        with monkeypatch.context() as patch:
            patch.setattr(type(forcefield.model), "tile", 20)
            tiled = forcefield(q)
        torch.testing.assert_close(tiled.force, whole.force, atol=1e-13, rtol=1e-12)
        torch.testing.assert_close(tiled.energy, whole.energy, atol=1e-12, rtol=1e-12)


def test_an_open_lattice_is_not_closed_by_tiles(rng, monkeypatch):
    forcefield = LearnedForceField(ACSF(square(7, periodic=False), scalar(), 2.1), MLP((8,))).double().eval()
    q = torch.randn(2, 49, 1, generator=rng, dtype=torch.float64)
    whole = forcefield(q)
    monkeypatch.setattr(type(forcefield.model), "tile", 10)
    assert torch.equal(forcefield(q).force, whole.force)


@student
def test_forces_are_the_same_in_inference_mode_and_training_goes_on(make, rng):
    forcefield, q = make().double(), field(rng, 2)
    with torch.inference_mode():
        force = forcefield(q.clone()).force
    assert torch.equal(force, forcefield(q).force)
    forcefield.train()(q).force.square().mean().backward()


@student
def test_an_empty_batch_has_no_forces(make):
    forcefield = make()
    force, energy = forcefield(torch.zeros(0, LATTICE.n_sites, 1))
    assert force.shape == (0, LATTICE.n_sites, 1) and (energy is None or energy.shape == (0,))


@student
def test_what_is_beyond_the_receptive_field_does_not_matter(make, rng):
    forcefield = make().double()
    large = forcefield.on(square(32))
    q = torch.randn(32 * 32, 1, generator=rng, dtype=torch.float64)
    moved = q.clone().reshape(32, 32)
    moved[16, 16] += 1.0
    change = (large(moved.reshape(-1, 1)).force - large(q).force).reshape(32, 32).abs()
    changed = change.nonzero() - 16
    assert 0 < int(changed.abs().max()) <= 12
    assert float(change[0].max()) == 0.0


@student
def test_single_precision_agrees_with_double(make, rng):
    forcefield, q = make(), field(rng)
    single = forcefield(q.float()).force
    assert single.dtype == torch.float32 and forcefield(q).force.dtype == torch.float64
    torch.testing.assert_close(single.double(), forcefield.double()(q).force, atol=2e-5, rtol=1e-4)


@student
def test_forces_can_be_trained(make, rng):
    forcefield = make().train()
    loss = forcefield(field(rng, 2, dtype=torch.float32)).force.square().mean()
    loss.backward()
    # The last bias is a constant of the energy and has no part in the forces.
    gradients = [p.grad for name, p in forcefield.named_parameters() if not name.endswith("2.bias")]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert sum(float(g.abs().sum()) for g in gradients) > 0


def test_a_kernel_follows_its_weights():
    """The expanded kernel is kept between calls; an optimiser step must make a new one."""
    forcefield = convolution("force")
    layer = forcefield.model.layers[0]
    with torch.no_grad():
        before = layer.kernel()
        assert layer.kernel() is before
        layer.weight.mul_(2.0)
        torch.testing.assert_close(layer.kernel(), 2.0 * before)


def test_equal_calls_make_equal_networks():
    a, b = convolution(), convolution()
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    other = convolution(rng=torch.Generator().manual_seed(1))
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), other.parameters(), strict=True))


def test_calibrated_features_have_unit_variance(rng):
    forcefield = irreps().double()
    q = field(rng, 20)
    forcefield.calibrate(q)
    features = (forcefield.model.descriptor(q) - forcefield.model.network.shift) * forcefield.model.network.scale
    torch.testing.assert_close(features.flatten(0, -2).std(0), torch.ones(features.shape[-1], dtype=torch.float64))


def test_rounding_of_a_constant_feature_is_not_blown_up(rng):
    network = MLP((4,)).build(2)
    varied = torch.randn(100, generator=rng)
    constant = 3.0 * (1 + torch.finfo(torch.float32).eps * torch.randint(-1, 2, (100,), generator=rng))
    network.calibrate(torch.stack([varied, constant], -1))
    torch.testing.assert_close(network.scale, torch.stack([1 / varied.std(), torch.ones(())]))


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("noise", [5e-9, 6e-8])
def test_a_constant_feature_is_told_by_its_own_size_in_any_unit(unit, noise, rng):
    """Features of double precision made from spins of single precision: lengths are 1 up to the noise."""
    draw = torch.randn(500, 3, generator=rng, dtype=torch.float64)
    features = torch.stack([draw[:, 0], 1.0 + noise * draw[:, 1], 1e-16 * draw[:, 2], 3.0 + 1e-4 * draw[:, 2]], -1)
    network = MLP((4,)).double().build(4)
    network.double().calibrate(unit * features)
    deviation = (unit * features).std(0)
    expected = torch.tensor([1 / deviation[0], 1.0, 1.0, 1 / deviation[3]])
    torch.testing.assert_close(network.scale, expected.double())


def test_a_sum_acts_on_one_field():
    parts = [LearnedForceField(Irreps(LATTICE, law, 1.0), MLP((4,))) for law in (scalar(), displacement())]
    with pytest.raises(ValueError, match="one field, got 1 and 2 components"):
        parts[0] + parts[1]


# --- files ----------------------------------------------------------------------------------------------------------


@student
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_force_field_comes_back_the_same(make, dtype, rng, tmp_path):
    forcefield: ForceField = make().to(dtype)
    if isinstance(forcefield, LearnedForceField):
        forcefield.calibrate(field(rng, 3))
    forcefield.reference.energy_offset.fill_(-0.4)
    save(forcefield, tmp_path / "model")
    again = load(tmp_path / "model")
    q = field(rng, dtype=dtype)
    assert torch.equal(again(q).force, forcefield(q).force)
    assert again(q).energy is None or torch.equal(again(q).energy, forcefield(q).energy)
    assert not list((tmp_path / "model").glob("*.pkl")) and len(list((tmp_path / "model").iterdir())) == 2


@pytest.mark.parametrize("periodic", [True, (True, False)])
def test_symmetry_functions_and_open_edges_are_saved(periodic, rng, tmp_path):
    forcefield = LearnedForceField(ACSF(square(5, periodic=periodic), scalar(), 2.5), MLP((8,))).double().eval()
    save(forcefield, tmp_path / "model")
    again, q = load(tmp_path / "model"), torch.randn(25, 1, generator=rng, dtype=torch.float64)
    assert again.lattice.coincides(forcefield.lattice)
    assert torch.equal(again(q).force, forcefield(q).force)


def test_numbers_of_numpy_are_saved_as_plain_ones(tmp_path):
    law = FieldType("v", ("vector",))
    lattice = Lattice("square", np.eye(2), np.zeros((1, 2)), np.array([4, 4]), True, np.array([1]))
    network = GroupCNN(
        lattice, law, channels=np.int64(2), radii=(np.float64(1.0), np.float64(1.5)), scales=(np.float64(1.0),)
    )
    save(LearnedForceField(network), tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.lattice.coincides(lattice) and again.model.radii == (1.0, 1.5)


def as_written_by_0_1(page: Path, text: str) -> str:
    """The page of a model as it was before there were hashes; the file is rewritten so."""
    lines = [line for line in text.splitlines() if not line.startswith(("hash:", "weights:"))]
    page.write_text("\n".join(lines).replace("format: 3", "format: 1") + "\n")
    return page.read_text()


def test_models_without_hashes_are_read(tmp_path, rng):
    forcefield = convolution()
    save(forcefield, tmp_path / "model")
    page = tmp_path / "model" / "model.yaml"
    as_written_by_0_1(page, page.read_text())
    weights = {name: value.contiguous() for name, value in forcefield.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "model" / "weights.safetensors")
    q = field(rng, dtype=torch.float32)
    assert torch.equal(load(tmp_path / "model")(q).force, forcefield(q).force)


def test_no_flipped_bit_of_a_model_and_no_foreign_weights_go_unnoticed(tmp_path, rng):
    forcefield, q = convolution(), field(rng, dtype=torch.float32)
    save(forcefield, tmp_path / "model")
    for file in sorted((tmp_path / "model").iterdir()):
        content = file.read_bytes()
        for place in range(0, len(content), 23):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            file.write_bytes(changed)
            try:
                assert torch.equal(load(tmp_path / "model")(q).force, forcefield(q).force)
            except CorruptFileError as error:
                assert str(tmp_path / "model") in str(error)
        file.write_bytes(content)
    save(convolution(rng=torch.Generator().manual_seed(8)), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", tmp_path / "model")
    with pytest.raises(CorruptFileError, match="the weights are not those the page was written with"):
        load(tmp_path / "model")


def test_damaged_model_files_are_named(tmp_path):
    save(convolution(), tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors"):
        load(tmp_path / "model")
    weights.write_bytes(whole)
    page = tmp_path / "model" / "model.yaml"
    page.write_text(page.read_text().replace("channels: 3", "channels: 4"))
    with pytest.raises(CorruptFileError, match=r"model\.yaml.*hash.*fit the model again"):
        load(tmp_path / "model")
    text = as_written_by_0_1(page, text=page.read_text().replace("channels: 4", "channels: 3"))
    page.write_text(text.replace("channels: 3", "channels: 4"))
    with pytest.raises(CorruptFileError, match="do not fit together"):
        load(tmp_path / "model")
    page.write_text(text.replace("type: GroupCNN", "type: MLP"))
    with pytest.raises(CorruptFileError, match="'MLP' is no LatticeNetwork"):
        load(tmp_path / "model")
    save(irreps(), tmp_path / "model")
    page.write_text(as_written_by_0_1(page, page.read_text()).replace("type: Irreps", "type: MODES"))
    with pytest.raises(CorruptFileError, match="'MODES' is no Descriptor"):
        load(tmp_path / "model")
    page.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.yaml"):
        load(tmp_path / "model")


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupCNN(honeycomb(4), scalar()), "one site per cell"),
        (lambda: GroupCNN(LATTICE, scalar(), channels=0), "channels must be a whole number ≥ 1"),
        (lambda: GroupCNN(LATTICE, scalar(), parity="even"), "parity"),
        (lambda: GroupCNN(LATTICE, scalar(), head="density"), "head"),
        (lambda: GroupCNN(LATTICE, spin()), "SpinCNN"),
        (lambda: GroupCNN(LATTICE, potts(3)), r"S\(n\)"),
        (lambda: GroupCNN(LATTICE, scalar(), group=site_group(triangular(4))), "no subgroup"),
        (lambda: LearnedForceField(GroupCNN(square(8, periodic=False), scalar())), "periodic"),
        (lambda: convolution().on(triangular(8)), "square lattice"),
        (lambda: MLP(()), "hidden layers"),
        (lambda: MLP((4,)).build(3).build(4), "built for 3"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
