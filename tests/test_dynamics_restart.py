"""A run killed at any moment ends, resumed, with the same bits; another run is refused; damage is named."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.dynamics import (
    TDGL,
    AB2Rotation,
    Brownian,
    Every,
    KineticMonteCarlo,
    Langevin,
    SpinFlips,
    Trajectory,
    simulate,
)
from nearsight.fields import random_spins
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import Holstein, SDModel
from nearsight.lattices import square
from nearsight.solvers import Chebyshev, random_vectors
from nearsight.storage import CorruptFileError, tree_hash

SCHEME = Langevin(dt=0.1, kT=0.2, damping=0.7)
FIELD = torch.zeros(2, 9, 1, dtype=torch.float64)

# Runs that kill themselves at the n-th time a file is about to be replaced, has just been replaced, or is half written.
# They are forks of one process, which has paid for the imports.
VICTIM = """
import hashlib, os, signal, sys
from pathlib import Path
import torch
import nearsight.dynamics as dynamics
from nearsight.storage import _zarr
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.storage import tree_hash

torch.set_num_threads(1)
root, stride = Path(sys.argv[1]), int(sys.argv[2])
_zarr.CHUNK_BYTES = 1500  # several chunks, of several records
schemes = {
    "langevin": dynamics.Langevin(dt=0.1, kT=0.2, damping=0.7),
    "brownian": dynamics.Brownian(dt=0.1, kT=0.2),
}
real_replace, real_fsync = os.replace, os.fsync

def arm(where, count):
    left = [count]
    def due():
        left[0] -= 1
        return left[0] == 0
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    def replace(source, target):
        now = due() if where != "half written" else False
        if now and where == "before":
            die()
        real_replace(source, target)
        if now:
            die()
    def fsync(handle):
        if where == "half written" and due():
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die()
        real_fsync(handle)
    os.replace, os.fsync = replace, fsync

def child(path, scheme, where=None, count=0):
    pid = os.fork()
    if pid == 0:
        if where:
            arm(where, count)
        forcefield = ClassicalForceField(Holstein(square(3), k=1.0, kappa=0.1))
        rng = torch.Generator().manual_seed(3)
        field = torch.zeros(2, 9, 1, dtype=torch.float64)
        run = dynamics.simulate(
            forcefield, schemes[scheme], field, steps=30, record=dynamics.Every(2), rng=rng, path=path,
            resume=True, checkpoint_every=11,
        )
        digest = hashlib.sha256(run.final.field.numpy().tobytes() + rng.get_state().numpy().tobytes()).hexdigest()
        (path.parent / (path.name + ".result")).write_text(
            f"{digest} {tree_hash(path / 'trajectory.zarr')} {tree_hash(path / 'checkpoint.safetensors')}"
        )
        names = sorted(p.name for p in path.rglob("*") if p.name.startswith(".") or p.name.endswith(".partial"))
        assert not names, names
        os._exit(0)
    return os.waitpid(pid, 0)[1]

kills = 0
for scheme in schemes if stride == 1 else ["langevin"]:
    assert child(root / scheme, scheme) == 0
    expected = (root / f"{scheme}.result").read_text()
    for where in ("before", "after", "half written"):
        count = 1
        while True:
            path = root / f"{scheme} {where} {count}"
            status = child(path, scheme, where, count)
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            kills += 1
            again = child(path, scheme, where, 3)  # and once more while it recovers
            kills += again != 0
            assert child(path, scheme) == 0, path
            assert (root / f"{path.name}.result").read_text() == expected, path
            count += stride
        assert count > 20
print(kills)
"""


def springs(k: float = 1.0) -> ClassicalForceField:
    return ClassicalForceField(Holstein(square(3), k=k, kappa=0.1))


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(path, *, forcefield=None, scheme=SCHEME, field=FIELD, record=None, rng=None, **changes):
    settings = dict(steps=20, record=record or Every(2), rng=rng or generator(), resume=True, checkpoint_every=6)
    return simulate(forcefield or springs(), scheme, field, path=path, **(settings | changes))


def interrupted(path, after: int = 11, **settings):
    """A run stopped by an error in a step, as the checkpoint before that step sees it."""

    class Stumbling(ClassicalForceField):
        calls = 0

        def evaluate(self, field):
            Stumbling.calls += 1
            if Stumbling.calls > after:
                raise KeyboardInterrupt
            return super().evaluate(field)

    Stumbling.__name__ = "ClassicalForceField"  # the same forces
    with pytest.raises(KeyboardInterrupt):
        run(path, forcefield=Stumbling(springs().model), **settings)


@pytest.mark.parametrize(
    ("stride", "least"),
    [pytest.param(25, 8, id="some moments"), pytest.param(1, 200, marks=pytest.mark.slow, id="every moment")],
)
def test_a_run_killed_at_any_file_operation_ends_with_the_same_bits(stride, least, tmp_path):
    victim = [sys.executable, "-c", VICTIM, str(tmp_path), str(stride)]
    ended = subprocess.run(victim, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > least


TIMED = """
import sys, torch
from nearsight.dynamics import *
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
torch.set_num_threads(1)
rng = torch.Generator().manual_seed(3)
print("ready", flush=True)
simulate(
    ClassicalForceField(Holstein(square(3), k=1.0, kappa=0.1)), Langevin(dt=0.1, kT=0.2, damping=0.7),
    torch.zeros(2, 9, 1, dtype=torch.float64), steps=3000, record=Every(3), rng=rng, path=sys.argv[1], resume=True,
    checkpoint_every=100,
)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_run_killed_from_outside_at_a_random_time_ends_with_the_same_bits(tmp_path):
    whole = simulate(
        springs(),
        SCHEME,
        FIELD,
        steps=3000,
        record=Every(3),
        rng=generator(),
        path=tmp_path / "whole",
        checkpoint_every=100,
    )
    kills = 0
    for delay in (0.15, 0.4, 0.7, None):
        process = subprocess.Popen(
            [sys.executable, "-c", TIMED, tmp_path / "killed"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        if delay is not None:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills >= 1
    assert torch.equal(Trajectory.open(tmp_path / "killed").final.field, whole.final.field)
    assert tree_hash(tmp_path / "killed") == tree_hash(tmp_path / "whole")


@pytest.mark.usefixtures("misaligned_reads")
@pytest.mark.parametrize(
    ("scheme", "start"),
    [(SCHEME, 0), (Brownian(0.1, 0.3), 0), (TDGL(0.1), 1), (KineticMonteCarlo(SpinFlips(springs(), kT=1.0)), 1)],
    ids=["Langevin", "Brownian", "TDGL", "KineticMonteCarlo"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_interrupted_run_goes_on_to_the_same_bits(scheme, start, dtype, tmp_path):
    field = (FIELD + start).to(dtype)
    chance, again = generator(), generator()
    whole = run(tmp_path / "whole", scheme=scheme, field=field, rng=chance)
    interrupted(tmp_path / "cut", after=11 * scheme.force_calls, scheme=scheme, field=field)
    assert Trajectory.open(tmp_path / "cut").final.step in range(1, 20)
    resumed = run(tmp_path / "cut", scheme=scheme, field=field, rng=again)
    assert torch.equal(resumed.final.field, whole.final.field) and torch.equal(again.get_state(), chance.get_state())
    assert tree_hash(tmp_path / "cut") == tree_hash(tmp_path / "whole")


def test_a_finished_run_is_opened_without_computing_or_writing(tmp_path):
    chance, again = generator(), generator()
    run(tmp_path, rng=chance)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    data = run(tmp_path, rng=again).data.load()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert torch.equal(again.get_state(), chance.get_state())
    assert data.sizes["record"] == 11 and bool(np.isfinite(data.field).all())


def test_records_beyond_the_checkpoint_are_not_shown_and_come_out_the_same(tmp_path):
    interrupted(tmp_path)  # at step 10: the checkpoint is of step 6, records 0 2 4 6
    seen = Trajectory.open(tmp_path)
    assert seen.final.step == 6 and seen.data.step.values.tolist() == [0, 2, 4, 6]


def test_an_existing_run_is_not_touched_unless_asked(tmp_path):
    run(tmp_path)
    before = tree_hash(tmp_path)
    with pytest.raises(FileExistsError, match="resume=True"):
        run(tmp_path, resume=False)
    assert tree_hash(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": Langevin(dt=0.1, kT=0.21, damping=0.7)}, r"scheme\.kT: 0\.2 \(then\), 0\.21 \(now\)"),
        ({"scheme": TDGL(dt=0.1)}, r"scheme\.type: Langevin \(then\), TDGL \(now\)"),
        ({"record": Every(4)}, r"record\.every: 2 \(then\), 4 \(now\)"),
        ({"record": Every(2, fields=("field",))}, r"record\.fields: "),
        ({"forcefield": springs(k=1.5)}, r"forcefield\.model\.k: 1\.0 \(then\), 1\.5"),
        ({"field": FIELD + 0.1}, "  field: "),
        ({"field": FIELD[:1]}, r"shape: \[2, 9, 1\] \(then\), \[1, 9, 1\]"),
        ({"field": FIELD.float()}, r"dtype: torch\.float64 \(then\), torch\.float32"),
        ({"rng": generator(4)}, "rng: "),
        ({"velocity": FIELD}, r"velocity: None \(then\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_refused_and_the_difference_named(change, message, tmp_path):
    interrupted(tmp_path)
    before = tree_hash(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **change)
    assert tree_hash(tmp_path) == before


def test_a_force_field_that_only_looks_the_same_is_refused(tmp_path):
    interrupted(tmp_path)

    class Secretive(Holstein):
        def __repr__(self) -> str:
            return repr(springs().model)

    Secretive.__name__ = "Holstein"
    other = ClassicalForceField(Secretive(square(3), k=1.0000001, kappa=0.1))
    assert repr(other) == repr(springs())
    with pytest.raises(ValueError, match=r"forcefield\.model\.k: 1\.0 \(then\), 1\.0000001"):
        run(tmp_path, forcefield=other)


def test_a_parameter_that_a_force_field_does_not_keep_is_refused(tmp_path):
    class Forgetful(ClassicalForceField):
        def __init__(self, stiffness):
            super().__init__(Holstein(square(3), k=stiffness))

    with pytest.raises(TypeError, match="Forgetful does not keep its argument stiffness"):
        run(tmp_path, forcefield=Forgetful(1.0))


def test_learned_parameters_are_part_of_the_identity(tmp_path):
    class Scaled(ClassicalForceField):
        def __init__(self, scale):
            super().__init__(springs().model)
            self.scale = torch.nn.Parameter(torch.tensor(scale))

    run(tmp_path, forcefield=Scaled(1.0))
    with pytest.raises(ValueError, match=r"forcefield\.parameters"):
        run(tmp_path, forcefield=Scaled(2.0))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut_short, flipped, lambda p: p.write_bytes(b"")], ids=["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    interrupted(tmp_path)
    damage(tmp_path / "checkpoint.safetensors")
    for attempt in (lambda: run(tmp_path), lambda: Trajectory.open(tmp_path)):
        with pytest.raises(
            CorruptFileError, match=r"checkpoint\.safetensors is not a whole checkpoint .* restore a copy"
        ):
            attempt()


@pytest.mark.parametrize("damage", [cut_short, flipped, Path.unlink], ids=["cut", "flipped", "missing"])
@pytest.mark.parametrize("victim", ["field/c/0/0/0/0", "energy/c/0/0", "time/c/0"])
def test_a_damaged_record_is_named(damage, victim, tmp_path):
    interrupted(tmp_path)
    damage(tmp_path / "trajectory.zarr" / victim)
    with pytest.raises(CorruptFileError, match=rf"trajectory\.zarr/{victim} is damaged"):
        run(tmp_path)


@pytest.mark.parametrize("damage", [cut_short, Path.unlink], ids=["cut", "missing"])
def test_damaged_metadata_are_named(damage, tmp_path):
    interrupted(tmp_path)
    damage(tmp_path / "trajectory.zarr" / "zarr.json")
    with pytest.raises(CorruptFileError, match=r"trajectory\.zarr is damaged"):
        run(tmp_path)


def test_a_missing_part_is_named(tmp_path):
    interrupted(tmp_path / "a")
    (tmp_path / "a" / "checkpoint.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="has no checkpoint beside it"):
        run(tmp_path / "a")
    interrupted(tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "trajectory.zarr")
    with pytest.raises(CorruptFileError, match=r"trajectory\.zarr is damaged"):
        run(tmp_path / "b")
    with pytest.raises(FileNotFoundError, match="no run in"):
        Trajectory.open(tmp_path / "nowhere")


def test_records_larger_than_a_chunk_are_cut_along_the_replicas_only(tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.storage._zarr.CHUNK_BYTES", 200)
    field = torch.zeros(7, 9, 1, dtype=torch.float64)
    run(tmp_path, field=field)
    chunks = sorted(
        p.relative_to(tmp_path).as_posix() for p in (tmp_path / "trajectory.zarr/field/c/0").rglob("*") if p.is_file()
    )
    assert chunks == [f"trajectory.zarr/field/c/0/{r}/0/0" for r in range(4)]
    memory = simulate(springs(), SCHEME, field, steps=20, record=Every(2), rng=generator())
    assert torch.equal(Trajectory.open(tmp_path).tensor("field"), memory.tensor("field"))


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_on_a_gpu_is_restarted_with_a_generator_of_either_device(device, tmp_path):
    field = FIELD.cuda()
    whole = run(tmp_path / "whole", field=field, rng=torch.Generator(device).manual_seed(3))
    interrupted(tmp_path / "cut", field=field, rng=torch.Generator(device).manual_seed(3))
    resumed = run(tmp_path / "cut", field=field, rng=torch.Generator(device).manual_seed(3))
    assert resumed.final.field.is_cuda and torch.equal(resumed.final.field, whole.final.field)
    if device == "cpu":
        torch.testing.assert_close(whole.final.field.cpu(), run(tmp_path / "cpu").final.field)


class Estimates(Chebyshev):
    """Fields by random vectors; the n-th is never found."""

    left = 10**6

    def solve(self, *arguments, **options):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().solve(*arguments, **options)


def estimated(path, left: int = 10**6, seed: int = 5, rng: torch.Generator | None = None) -> Trajectory:
    solver = Estimates(mu=-3.0, kT=0.5, moments=32, probes=random_vectors(8), rng=rng or generator(seed))
    solver.left = left
    electrons = ExactForceField(SDModel(square(4), t=1.0, J=1.0), solver)
    spins = random_spins(square(4), generator(1))
    return run(
        path,
        forcefield=electrons,
        scheme=AB2Rotation(dt=0.1, kT=0.1, damping=0.2),
        field=spins,
        rng=rng,
        record=Every(2, fields=("field", "force")),
    )


def test_fields_by_random_vectors_go_on_with_the_same_chance(tmp_path):
    whole = estimated(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        estimated(tmp_path / "killed", left=15)
    resumed = estimated(tmp_path / "killed")
    torch.testing.assert_close(resumed.final.field, whole.final.field, rtol=0, atol=0)
    assert tree_hash(tmp_path / "killed") == tree_hash(tmp_path / "whole")


def test_fields_by_other_random_vectors_are_another_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        estimated(tmp_path, left=15)
    with pytest.raises(ValueError, match="chance"):
        estimated(tmp_path, seed=6)


def test_a_run_does_not_share_its_chance_with_the_solver(tmp_path):
    with pytest.raises(ValueError, match="generator of its own"):
        estimated(tmp_path, rng=generator(2))
