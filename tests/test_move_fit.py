"""Fitting energies of hops: what is learned, what is stored, what a stopped fit comes to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import square, triangular
from nearsight.moves import Hops, LatticeGas, LearnedMoves
from nearsight.networks import EmbeddedNetwork
from nearsight.storage import CorruptFileError
from nearsight.training import MoveData, MoveFitOptions, Trainer, evaluate_moves, fit_moves

OPTIONS = MoveFitOptions(steps=150, batch_size=6, hops=20, validate_every=30, checkpoint_every=20, dtype="float64")


def gas(rng: torch.Generator, lattice=None, count: int = 40) -> tuple[LatticeGas, MoveData]:
    """Configurations of a lattice gas, four of every trajectory."""
    lattice = lattice or square(8)
    exact = LatticeGas(lattice, J=(0.3, -0.2))
    field = (torch.rand(count, lattice.n_sites, 1, generator=rng, dtype=torch.float64) < 0.35).double()
    return exact, MoveData.label(exact, field, trajectory=np.arange(count) // 4, time=np.arange(count) % 4)


def student(lattice=None) -> LearnedMoves:
    lattice = lattice or square(8)
    network = EmbeddedNetwork(lattice, occupation(), radius=1.5, channels=3, widths=(4,))
    return LearnedMoves(LearnedForceField(network))


@pytest.mark.parametrize("optimizer", ["soap", "adamw"])
def test_a_planted_pair_energy_is_learned(optimizer, rng):
    exact, data = gas(rng)
    options = OPTIONS.model_copy(update={"steps": 300, "optimizer": optimizer, "learning_rate": 1e-2})
    moves = fit_moves(student(), data, options=options, progress=False)
    unseen = MoveData.label(exact, gas(torch.Generator().manual_seed(9))[1].field[:8])
    found = evaluate_moves(moves, unseen, kT=0.05)
    assert found["relative"] < 0.06 and found["mse"] == pytest.approx(found["rmse"] ** 2)
    assert found["rmse_kT"] == pytest.approx(found["rmse"] / 0.05) and found["hops"] == unseen.labels


def test_what_is_learned_on_a_small_lattice_holds_on_a_large_one(rng):
    _, data = gas(rng)
    moves = fit_moves(student(), data, options=OPTIONS.model_copy(update={"steps": 300}), progress=False)
    large, labels = gas(rng, square(20), 2)
    assert evaluate_moves(moves, labels)["relative"] < 0.05
    assert evaluate_moves(moves.on(large.lattice), labels) == evaluate_moves(moves, labels)


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize("optimizer", ["soap", "adamw"])
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(tmp_path, rng, optimizer, monkeypatch):
    _, data = gas(rng)
    options = OPTIONS.model_copy(update={"steps": 60, "optimizer": optimizer})
    whole = fit_moves(student(), data, options=options, progress=False)
    advance = Trainer.advance

    def stopping(self):
        if self.step == 47:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Trainer, "advance", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit_moves(student(), data, options=options, path=tmp_path, progress=False)
    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(FileExistsError, match="resume=True"):
        fit_moves(student(), data, options=options, path=tmp_path, progress=False)
    resumed = fit_moves(student(), data, options=options, path=tmp_path, resume=True, progress=False)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    with pytest.raises(ValueError, match=r"options.steps: 60 \(then\), 70 \(now\)"):
        other = options.model_copy(update={"steps": 70})
        fit_moves(student(), data, options=other, path=tmp_path, resume=True, progress=False)
    with pytest.raises(ValueError, match="train: "):
        fit_moves(student(), gas(rng)[1], options=options, path=tmp_path, resume=True, progress=False)


def test_hops_of_another_shell_are_not_fitted(rng):
    lattice = square(8)
    network = student().forcefield.model
    diagonal = LearnedMoves(LearnedForceField(network), Hops(lattice, 2))
    with pytest.raises(ValueError, match="shell 1"):
        fit_moves(diagonal, gas(rng)[1], options=OPTIONS, progress=False)


def test_hops_of_another_shell_are_not_judged(rng):
    """Both shells of the square lattice have four directions: only the number tells their moves apart."""
    data = gas(rng)[1]
    with pytest.raises(ValueError, match="shell 1"):
        evaluate_moves(LatticeGas(data.lattice, shell=2), data)


# --- data -----------------------------------------------------------------------------------------------------------


def test_labels_survive_a_file(tmp_path, rng):
    exact, data = gas(rng, triangular(5))
    data.save(tmp_path / "hops")
    again = MoveData.open(tmp_path / "hops")
    assert again.hash == data.hash and repr(again) == repr(data) and torch.equal(again.field, data.field)
    np.testing.assert_array_equal(again.difference, exact.differences(data.field).numpy())
    assert again.attrs["energies"] == exact.config()


def test_a_damaged_file_is_named(tmp_path, rng):
    _, data = gas(rng)
    data.save(tmp_path / "hops")
    file = tmp_path / "hops" / "difference" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"hops/difference/c/0/0 is damaged"):
        MoveData.open(tmp_path / "hops")


def test_a_split_shares_no_trajectory(rng):
    split = gas(rng)[1].split(validation=0.2, test=0.3, seed=1)
    trajectories = [set(part.trajectory.tolist()) for part in split]
    assert set.union(*trajectories) == set(range(10)) and sum(map(len, trajectories)) == 10
    assert [len(part) for part in split] == [20, 8, 12]


def test_impossible_moves_have_no_finite_energy(rng):
    exact, data = gas(rng)
    wrong = data.difference.copy()
    wrong[3, np.flatnonzero(np.isinf(wrong[3]))[5]] = 0.0
    with pytest.raises(ValueError, match="of configuration 3 has 0"):
        MoveData.from_arrays(hops=exact.hops, field=data.field, difference=wrong)
    with pytest.raises(ValueError, match="1 trajectories are too few to give"):
        data.take(data.trajectory == 0).split()
