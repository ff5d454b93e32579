"""The trainer by itself: a task of one's own, several processes, what stands on disk."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import test_fit
import test_gravity_flow
import test_move_fit
from nearsight.gravity import PosteriorFitOptions, PosteriorFlow, fit_posterior
from nearsight.networks import MLP, BlockCNN
from nearsight.properties import PropertyModel
from nearsight.storage import load_tensors
from nearsight.training import (
    DataSet,
    PropertyFitOptions,
    Trainer,
    TrainerOptions,
    _distributed,
    fit,
    fit_moves,
    fit_property,
)
from nearsight.training.trainer import minibatch


class Normal(nn.Module):
    """A normal distribution of every component, by mean and logarithm of the width."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_width = (nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))

    def negative_log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        scaled = (x - self.mean) * torch.exp(-self.log_width)
        return (0.5 * scaled.square() + self.log_width + 0.5 * math.log(2 * math.pi)).sum(-1).mean()


class Likelihood:
    quantity = "nll"

    def __init__(self, options: TrainerOptions) -> None:
        noise = torch.randn(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        self.options, self.identity = options, {"samples": 400}
        x = torch.tensor([1.0, -2.0]) + torch.tensor([0.5, 3.0]) * noise
        self.train, self.validation = x[:300], x[300:]

    def batch(self, step: int) -> torch.Tensor:
        return self.train[minibatch(step, 300, self.options.batch_size, [self.options.seed])]

    def loss(self, model: Normal, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": model.negative_log_likelihood(batch)}

    def validate(self, model: Normal) -> float:
        return float(model.negative_log_likelihood(self.validation))


def test_a_planted_likelihood_is_maximised(tmp_path):
    options = TrainerOptions(steps=400, batch_size=300, learning_rate=3e-2, warmup=10, average=0.9, validate_every=400)
    model, task = Normal(), Likelihood(options)
    Trainer(model, task, options).run(tmp_path, progress=False)
    torch.testing.assert_close(model.mean.data, task.train.mean(0), atol=1e-2, rtol=0)
    torch.testing.assert_close(model.log_width.data.exp(), task.train.std(0), atol=1e-2, rtol=2e-2)
    header = "step,learning_rate,loss,validation_nll,best_nll"
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == header


def test_a_log_that_was_lost_is_written_again_from_the_checkpoint(tmp_path):
    options = TrainerOptions(steps=30, validate_every=10)
    Trainer(Normal(), Likelihood(options), options).run(tmp_path, progress=False)
    log = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv").write_text("step,loss\n1,nonsense\n")
    Trainer(Normal(), Likelihood(options), options).run(tmp_path, resume=True, progress=False)
    assert (tmp_path / "log.csv").read_bytes() == log and log.count(b"\n") == 4


# --- several processes ----------------------------------------------------------------------------------------------

FORCES = test_fit.SHORT
MOVES = test_move_fit.OPTIONS.model_copy(update={"steps": 30, "validate_every": 10, "hops": 5})
POSTERIOR = PosteriorFitOptions(
    steps=30, batch_size=16, parts=4, validate_every=10, held_out=64, warmup=4, dtype="float64"
)
PROPERTY = PropertyFitOptions(steps=30, batch_size=8, blocks=2, validate_every=10, dtype="float64")


def fits(data: Path, start: int, path: Path | None, resume: bool = False) -> dict[str, nn.Module]:
    """One fit of every kind: forces with energies (on disk), energies of hops, properties of blocks, a posterior."""
    rng = torch.Generator().manual_seed(1)
    moves = test_move_fit.student().double()
    for p in moves.parameters():
        p.data += 1e-2 * start
    spins = 2 * torch.randint(2, (24, 8, 8), generator=rng) - 1
    block = PropertyModel(BlockCNN(5, channels=2, rng=torch.Generator().manual_seed(start)), MLP((4,), rng=rng))
    labels = torch.linspace(0, 1, 24).numpy()
    flow = PosteriorFlow(test_gravity_flow.TWO, 4, rng=torch.Generator().manual_seed(start), **test_gravity_flow.SMALL)
    quiet, network = {"progress": False}, test_fit.Network(test_fit.LATTICE, seed=start)
    return {
        "forces": fit(network, DataSet.open(data), options=FORCES, path=path, resume=resume, **quiet),
        "moves": fit_moves(moves, test_move_fit.gas(rng)[1], options=MOVES, **quiet),
        "property": fit_property(block, spins, labels, options=PROPERTY, **quiet),
        "posterior": fit_posterior(flow, test_gravity_flow.linear, options=POSTERIOR, **quiet),
    }


SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
import test_trainer
from nearsight.storage import save_tensors
from nearsight.training import Trainer
folder, rank = Path(sys.argv[1]), torch.distributed.get_rank()
(folder / f"process{rank}").write_text(str(os.getpid()))
if sys.argv[2] == "slowly":
    def slow(self, advance=Trainer.advance):
        time.sleep(0.05)
        advance(self)
    Trainer.advance = slow
# Every process starts from weights of its own and names a folder of its own.
found = test_trainer.fits(folder / "data", rank, folder / f"fit{rank}", resume=True)
for name, model in found.items():
    save_tensors(folder / f"{name}{rank}.safetensors", model.state_dict())
torch.distributed.destroy_process_group()
"""


@contextlib.contextmanager
def torchrun(folder: Path, how: str) -> Iterator[subprocess.Popen]:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    places = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, str(folder / "script.py"), str(folder), how], env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()  # with its workers, if a test fails while they run


@pytest.mark.slow
def test_two_processes_of_torchrun_killed_and_resumed_take_the_steps_of_one(tmp_path):
    data = test_fit.planted()
    arrays = {name: getattr(data, name) for name in ("field", "force", "energy", "trajectory")}
    DataSet.from_arrays(tmp_path / "data", lattice=data.lattice, **arrays)
    with torchrun(tmp_path, "slowly") as process:
        while not (tmp_path / "fit0" / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        os.kill(int((tmp_path / "process0").read_text()), signal.SIGKILL)
        assert process.wait(60) != 0  # torchrun ends the other one
    begun = json.loads(load_tensors(tmp_path / "fit0" / "checkpoint.safetensors")[1]["numbers"])
    assert begun["count"] > 0 and begun["step"] < FORCES.steps, "the fit ended before it could be killed"
    shutil.copytree(tmp_path / "fit0", tmp_path / "alone half way")
    with torchrun(tmp_path, "at once") as process:
        assert process.wait(240) == 0
    assert not (tmp_path / "fit1").exists()
    for name, alone in fits(tmp_path / "data", 0, tmp_path / "alone").items():
        first, second = (load_tensors(tmp_path / f"{name}{rank}.safetensors")[0] for rank in range(2))
        for key, value in alone.state_dict().items():
            assert torch.equal(first[key], second[key])
            if key != "net.2.bias":  # the constant of the energy, whose gradient is rounding
                torch.testing.assert_close(first[key], value, rtol=1e-7, atol=1e-9)
    fits(tmp_path / "data", 2, tmp_path / "alone half way", resume=True)
    logs = [test_fit.read_log(tmp_path / folder) for folder in ("fit0", "alone", "alone half way")]
    for name in logs[0].dtype.names:
        for log in logs[1:]:
            np.testing.assert_allclose(log[name], logs[0][name], rtol=1e-6, atol=1e-9)


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    monkeypatch.setattr(_distributed, "ranks", lambda: 3)
    with pytest.raises(ValueError, match="batch of 8 cannot be divided among 3 processes"):
        minibatch(0, 20, 8, [0])
    assert len(minibatch(0, 20, 6, [0])) == 6


def test_processes_that_do_not_know_each_other_are_told_how_to_meet(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    options = TrainerOptions(steps=2)
    with pytest.raises(RuntimeError, match="init_process_group"):
        Trainer(Normal(), Likelihood(options), options).run(progress=False)
