"""Intensive properties from blocks: cutting, exact invariance, predictions and their errors, fits."""

import errno
import os

import numpy as np
import pytest
import torch

from nearsight.descriptors import BlockIrreps, BlockMoments
from nearsight.fields import SpinStore, tiles
from nearsight.networks import MLP, BlockCNN
from nearsight.properties import PropertyModel, error_of_mean
from nearsight.storage import CorruptFileError
from nearsight.training import PropertyFitOptions, Trainer, fit_property, property_fit
from nearsight.training.property_fit import property_loss

FRONTS = {
    "moments": BlockMoments,
    "irreps": BlockIrreps,
    "lifted": lambda side: BlockIrreps(side, mode="lifted"),
    "network": BlockCNN,
}


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def spins(rng, *shape):
    return 2 * torch.randint(2, shape, generator=rng, dtype=torch.int8) - 1


def images(blocks):
    """All eight images of blocks under D4 about their centres, and those with all spins reversed."""
    turned = [torch.rot90(b, k, (-2, -1)) for b in (blocks, blocks.transpose(-2, -1)) for k in range(4)]
    return turned + [-b for b in turned]


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 8, 13, 16])
def test_packed_blocks_are_the_blocks_of_the_torus(rng, length):
    s = spins(rng, 3, length, length).numpy()
    store = SpinStore.pack(s)
    np.testing.assert_array_equal(store.spins(np.arange(3)), s)
    np.testing.assert_array_equal(store.spins(1), s[1])
    corners = np.array([[0, 0], [length - 1, 2], [3, length - 2], [length - 1, length - 1]])
    for side in (1, 4, length):
        for k, (x, y) in enumerate(corners):
            expected = np.roll(s[k % 3], (-x, -y), (0, 1))[:side, :side]
            np.testing.assert_array_equal(store.blocks(k % 3, corners[k], side), expected)
        many = store.blocks(np.arange(3)[:, None], np.broadcast_to(corners, (3, 4, 2)), side)
        assert many.shape == (3, 4, side, side)
        np.testing.assert_array_equal(many[2, 1], store.blocks(2, corners[1], side))


@pytest.mark.parametrize("mapped", [False, True])
def test_sampled_snapshots_are_packed_as_they_are(tmp_path, rng, mapped, monkeypatch):
    from nearsight import hamiltonians, lattices, sampling
    from nearsight.fields import blocks

    monkeypatch.setattr(blocks, "CHUNK", 3)
    model = hamiltonians.Ising(lattices.square(6))
    found = sampling.sample(model, [2.0, 3.0], 4, seed=1, progress=False)
    store = SpinStore.of(found, tmp_path / "s.npy" if mapped else None)
    expected = found.fields()[..., 0].reshape(8, 6, 6).numpy()
    np.testing.assert_array_equal(store.spins(np.arange(8)), expected)
    if mapped:
        np.testing.assert_array_equal(SpinStore.open(tmp_path / "s.npy", 6).bits, store.bits)
    model = hamiltonians.Potts(lattices.square(6), q=3)
    with pytest.raises(ValueError, match="3 states on square"):
        SpinStore.of(sampling.sample(model, [2.0], 2, seed=1, progress=False))


def test_tiles_cover_every_site_once():
    covered = np.zeros((12, 12), int)
    for x, y in tiles(12, 4):
        covered[x : x + 4, y : y + 4] += 1
    assert (covered == 1).all()
    assert len(tiles(13, 4)) == 9


def test_a_mapped_file_holds_what_was_written_and_damage_is_named(tmp_path, rng):
    s = spins(rng, 2, 9, 9).numpy()
    store = SpinStore.create(tmp_path / "s.npy", 2, 9)
    store.bits[:] = SpinStore.pack(s).bits
    store.bits.flush()
    again = SpinStore.open(tmp_path / "s.npy", 9)
    np.testing.assert_array_equal(again.spins(np.arange(2)), s)
    content = (tmp_path / "s.npy").read_bytes()
    for damage in (content[:-3], b"junk" + content[4:]):
        (tmp_path / "bad.npy").write_bytes(damage)
        with pytest.raises(CorruptFileError, match=r"bad\.npy"):
            SpinStore.open(tmp_path / "bad.npy", 9)
    with pytest.raises(CorruptFileError, match="10 × 10"):
        SpinStore.open(tmp_path / "s.npy", 10)
    with pytest.raises(FileNotFoundError, match="absent"):
        SpinStore.open(tmp_path / "absent.npy", 9)


def test_values_that_are_no_spins_and_blocks_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="2 \\* states - 1"):
        SpinStore.pack(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"\(L, L\)"):
        SpinStore.pack(np.ones((2, 3, 4)))
    store = SpinStore.pack(spins(rng, 6, 6))
    with pytest.raises(ValueError, match="7 × 7 sites does not fit on 6 × 6"):
        store.blocks(0, np.zeros(2, int), 7)
    with pytest.raises(ValueError, match="does not fit"):
        PropertyModel(BlockMoments(8)).predict(store, 4, rng)


# --- invariants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [3, 4, 5, 8, 9, 12, 15, 16])
@pytest.mark.parametrize("front", FRONTS)
def test_invariants_do_not_see_rotations_reflections_and_the_sign(rng, front, side):
    model = FRONTS[front](side).double()
    # Symmetric, ordered and striped blocks are where references vanish.
    x = torch.arange(side)
    stripes = (1 - 2 * (x % 2)).to(torch.int8).expand(side, side)
    special = torch.stack([torch.ones(side, side, dtype=torch.int8), stripes, stripes * stripes.T])
    blocks = torch.cat([spins(rng, 12, side, side), special]).double()
    features = model(blocks).detach()
    assert features.shape == (15, model.features)
    assert torch.isfinite(features).all()
    for image in images(blocks):
        torch.testing.assert_close(model(image).detach(), features, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("front", ["irreps", "network"])
def test_invariants_see_a_single_spin_and_the_arrangement(rng, front):
    model = FRONTS[front](8).double()
    blocks = spins(rng, 1, 8, 8).double().repeat(64, 1, 1)
    blocks[torch.arange(64), torch.arange(64) // 8, torch.arange(64) % 8] *= -1
    distinct = torch.unique((model(blocks).detach() * 1e7).round(), dim=0)
    assert len(distinct) == 64


def test_even_blocks_have_the_centre_of_a_plaquette_and_the_irreps_of_the_paper():
    counts = {side: BlockIrreps(side) for side in (8, 16)}
    assert [counts[side].features for side in (8, 16)] == [96, 384]
    table = counts[8].contraction.variables.table().splitlines()
    assert table[0] == "4 sites at r = 0.707: A1 + B2 + E"
    assert table[1] == "8 sites at r = 1.581: A1 + A2 + B1 + B2 + 2E"
    assert len(table) == 10
    odd = BlockIrreps(5).contraction.variables.table().splitlines()
    assert odd[:2] == ["1 site at r = 0.000: A1", "4 sites at r = 1.000: A1 + B1 + E"]


def test_powers_of_an_orbit_add_up_to_its_spins(rng):
    front = BlockIrreps(8).double()
    features = front(spins(rng, 5, 8, 8).double())
    powers = [k for k, name in enumerate(front.feature_names) if name.startswith("|")]
    torch.testing.assert_close(features[:, powers].sum(1), torch.full((5,), 64.0, dtype=torch.float64))


def test_phases_are_cosines_and_zero_where_the_reference_vanishes(rng):
    front = BlockIrreps(8).double()
    angles = [k for k, name in enumerate(front.feature_names) if name.startswith("∠")]
    features = front(spins(rng, 50, 8, 8).double())[:, angles]
    assert features.abs().max() <= 1 + 1e-12
    assert (features.abs() > 1e-3).any(0).all()
    ordered = front(torch.ones(1, 8, 8, dtype=torch.float64))[0, angles]
    trivial = torch.tensor([front.feature_names[k].startswith("∠A1") for k in angles])
    assert (ordered[trivial] == 1).all()
    assert (ordered[~trivial] == 0).all()


def test_the_moments_are_those_of_the_block():
    ordered, stripes = torch.ones(6, 6), torch.ones(6, 6)
    stripes[::2] = -1
    torch.testing.assert_close(
        BlockMoments(6)(torch.stack([ordered, stripes])), torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    )


@pytest.mark.parametrize("make", [lambda: BlockCNN(2), lambda: BlockIrreps(1), lambda: BlockMoments(0)])
def test_blocks_too_small_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


# --- predictions ----------------------------------------------------------------------------------------------------


def test_a_block_of_another_side_is_refused(rng):
    with pytest.raises(ValueError, match="8 × 8"):
        PropertyModel(BlockMoments(8))(spins(rng, 2, 7, 7))


@pytest.mark.parametrize("front", FRONTS)
def test_a_saved_model_predicts_the_same(tmp_path, rng, front):
    model = PropertyModel(FRONTS[front](6), MLP((8,)), kind="probability").eval()
    blocks = spins(rng, 7, 6, 6)
    model.calibrate(blocks)
    model.save(tmp_path / "m")
    assert torch.equal(PropertyModel.load(tmp_path / "m")(blocks), model(blocks))


def test_damaged_models_are_named(tmp_path, rng):
    PropertyModel(BlockMoments(6)).save(tmp_path / "m")
    file = tmp_path / "m" / "model.yaml"
    text = file.read_text()
    for damage in (text.replace("side: 6", "side: 1"), text.replace("format: 3", "format: 9"), "[1", "front: 3"):
        file.write_text(damage)
        with pytest.raises(CorruptFileError, match="yaml"):
            PropertyModel.load(tmp_path / "m")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.yaml"):
        PropertyModel.load(tmp_path / "m")


def test_error_of_the_mean_counts_overlaps(rng):
    # Random fields, Q = mean of the block: for 400 independent lattices the scatter of the predictions is their error.
    # Independent values would be taken for several times more certain than they are.
    length, side, count = 48, 8, 150
    means, errors, naive = [], [], []
    for _ in range(400):
        field = torch.randn(length, length, generator=rng, dtype=torch.float64).numpy()
        total = np.pad(np.cumsum(np.cumsum(np.tile(field, (2, 2)), 0), 1), ((1, 0), (1, 0)))
        corners = torch.randint(length, (count, 2), generator=rng).numpy()
        x, y = corners.T
        values = (total[x + side, y + side] - total[x, y + side] - total[x + side, y] + total[x, y]) / side**2
        means.append(values.mean())
        errors.append(error_of_mean(values, corners, side, length))
        naive.append(values.std() / np.sqrt(count))
    scatter = np.std(means)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(scatter, rel=0.12)
    assert np.mean(naive) < 0.6 * scatter


def test_error_of_the_mean_knows_its_limits(rng):
    corners = torch.randint(12, (30, 2), generator=rng).numpy()
    assert np.isnan(error_of_mean(np.arange(30.0), corners, 8, 12))
    assert error_of_mean(np.full(30, 2.0), corners, 2, 12) == 0.0


def test_predictions_are_means_over_blocks_of_their_own_snapshot(rng):
    s = torch.ones(3, 32, 32, dtype=torch.int8)
    s[1, ::2] = -1
    s[2] = spins(rng, 32, 32)
    model = PropertyModel(BlockMoments(8), MLP((4,))).double().eval()
    found = model.predict(SpinStore.pack(s), 200, rng)
    for k in (0, 1):  # every block is like every other, up to reflections
        expected = float(model(s[k, :8, :8][None]).detach())
        assert found.mean[k] == pytest.approx(expected)
        assert found.spread[k] == pytest.approx(0, abs=1e-9)
    assert found.spread[2] > 0
    assert found.error[2] < found.spread[2]
    again = [model.predict(spins, 20, torch.Generator().manual_seed(0)) for spins in (s, s.numpy(), SpinStore.pack(s))]
    assert all(np.array_equal(other.mean, again[0].mean) for other in again)
    only = model.predict(SpinStore.pack(s), 50, rng, index=np.array([0, 2]))
    assert only.mean.shape == (2,)
    with pytest.raises(ValueError, match="n_blocks must be a whole number ≥ 2"):
        model.predict(SpinStore.pack(s), 1, rng)


def test_the_cost_of_a_prediction_is_that_of_its_blocks(tmp_path, rng, monkeypatch):
    length = 10_000
    store = SpinStore.create(tmp_path / "large.npy", 1, length)  # a sparse file: 12.5 MB, of which little is touched
    seen = []
    cut = SpinStore.blocks
    monkeypatch.setattr(SpinStore, "blocks", lambda self, *a: seen.append(out := cut(self, *a)) or out)
    found = PropertyModel(BlockMoments(16)).eval().predict(store, 64, rng)
    assert sum(block.size for block in seen) == 64 * 16 * 16
    assert found.spread[0] == pytest.approx(0, abs=1e-6)


# --- fits -----------------------------------------------------------------------------------------------------------


def test_the_cross_entropy_is_that_of_the_mean_probability(rng):
    z = 3 * torch.randn(6, 5, generator=rng, dtype=torch.float64)
    label = torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy(torch.sigmoid(z).mean(1), label)
    torch.testing.assert_close(property_loss(z, label, "probability", "average"), expected)
    every = torch.nn.functional.binary_cross_entropy(torch.sigmoid(z), label[:, None].expand(6, 5))
    torch.testing.assert_close(property_loss(z, label, "probability", "block"), every)


def test_the_cross_entropy_is_finite_where_probabilities_underflow():
    z = torch.tensor([[-500.0, -800.0], [900.0, 400.0]], requires_grad=True)
    loss = property_loss(z, torch.tensor([1.0, 0.0]), "probability", "average")
    loss.backward()
    assert 400 <= float(loss.detach()) <= 510
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().sum() > 0.5


def planted(rng, count=200, length=24):
    """Independent spins with a bias of either sign: the property is its size, seen alike by every block."""
    bias = torch.rand(count, generator=rng, dtype=torch.float64)
    sign = spins(rng, count, 1, 1)
    s = torch.where(torch.rand(count, length, length, generator=rng) < (0.5 + 0.5 * bias)[:, None, None], 1, -1)
    return SpinStore.pack((s * sign).to(torch.int8)), bias.numpy()


OPTIONS = PropertyFitOptions(
    steps=160, learning_rate=1e-2, blocks=4, validate_every=25, checkpoint_every=40, average=0.9
)


@pytest.mark.parametrize("optimizer", ["soap", "adamw"])
@pytest.mark.parametrize("front", ["moments", "network"])
def test_a_planted_value_is_learned(rng, front, optimizer):
    store, bias = planted(rng)
    model = PropertyModel(FRONTS[front](6), MLP((16,)))
    fit_property(model, store, bias, options=OPTIONS.model_copy(update={"optimizer": optimizer}), progress=False)
    test, known = planted(rng, 60)
    error = model.predict(test, 64, rng).mean - known
    assert np.sqrt((error**2).mean()) < 0.3 * known.std()


@pytest.mark.parametrize("loss", ["average", "block"])
def test_a_planted_phase_is_learned(rng, loss):
    store, bias = planted(rng)
    model = PropertyModel(BlockIrreps(6), MLP((16,)), kind="probability")
    options = OPTIONS.model_copy(update={"loss": loss})
    fit_property(model, store, (bias > 0.5).astype(float), options=options, progress=False)
    test, known = planted(rng, 80)
    predicted = model.predict(test, 64, rng).mean > 0.5
    clear = np.abs(known - 0.5) > 0.1
    assert (predicted == (known > 0.5))[clear].mean() > 0.95


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize("optimizer", ["soap", "adamw"])
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(tmp_path, rng, optimizer, monkeypatch):
    store, bias = planted(rng, 60)
    options = OPTIONS.model_copy(update={"steps": 60, "optimizer": optimizer})

    def start():
        return PropertyModel(BlockCNN(5, channels=2), MLP((8,)))

    whole = fit_property(start(), store, bias, options=options, progress=False)
    advance = Trainer.advance

    def stopping(self):
        if self.step == 47:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Trainer, "advance", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit_property(start(), store, bias, options=options, path=tmp_path, progress=False)
    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(FileExistsError, match="resume=True"):
        fit_property(start(), store, bias, options=options, path=tmp_path, progress=False)
    resumed = fit_property(start(), store, bias, options=options, path=tmp_path, resume=True, progress=False)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"another fit: options.steps: 60 \(then\), 70 \(now\)"):
        other = options.model_copy(update={"steps": 70})
        fit_property(start(), store, bias, options=other, path=tmp_path, resume=True, progress=False)
    with pytest.raises(ValueError, match=r"another fit: snapshots: "):  # of the same number, size and labels
        fit_property(start(), planted(rng, 60)[0], bias, options=options, path=tmp_path, resume=True, progress=False)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"junk")
    with pytest.raises(CorruptFileError, match="checkpoint"):
        fit_property(start(), store, bias, options=options, path=tmp_path, resume=True, progress=False)


def test_snapshots_of_one_trajectory_are_not_parted(rng):
    """A model that has seen one snapshot of a chain half knows the label of the next."""
    store, bias = planted(rng, 24)
    chains = np.arange(24) % 12
    task = property_fit._BlockProperty(PropertyModel(BlockMoments(4)), store, bias, chains, OPTIONS)
    train, validation = (chains[part.snapshot] for part in (task.train, task.validation))
    assert len(train) == 20 and len(validation) == 4 and not set(train) & set(validation)


def test_labels_that_cannot_be_learned_are_refused(rng):
    store, bias = planted(rng, 12)
    value, phase = PropertyModel(BlockMoments(4)), PropertyModel(BlockMoments(4), kind="probability")
    with pytest.raises(ValueError, match="0 or 1, got"):
        fit_property(phase, store, bias)
    with pytest.raises(ValueError, match="as many labels"):
        fit_property(value, store, bias[:5])
    for trajectory in (np.arange(5), np.ones(12)):
        with pytest.raises(ValueError, match="one integer for each of the 12"):
            fit_property(value, store, bias, trajectory=trajectory)
    with pytest.raises(ValueError, match="of 2 independent snapshots or trajectories"):
        fit_property(value, store, bias, trajectory=np.arange(12) // 6)
    with pytest.raises(ValueError, match="snapshot 3"):
        fit_property(value, store, np.where(np.arange(12) == 3, np.nan, bias))
    with pytest.raises(ValueError, match="does not fit on 24"):
        fit_property(PropertyModel(BlockMoments(25)), store, bias)
    with pytest.raises(ValueError, match="more snapshots"):
        fit_property(value, SpinStore(store.bits[:2], 24), bias[:2])


def test_a_mapped_file_for_which_a_disk_has_no_room_is_refused_at_once(tmp_path, monkeypatch):
    """Not when it is written to, by a signal that kills the process."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"Make room for.*spins\.npy"):
        SpinStore.create(tmp_path / "spins.npy", 3, 8)
