"""One writer at a time in a folder: the second is refused in words, the dead give way, nothing stays behind."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight import dynamics, forcefields, moves, properties, sampling, training
from nearsight.fields import occupation
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein, Ising
from nearsight.lattices import square
from nearsight.networks import MLP, BlockCNN, EmbeddedNetwork
from nearsight.solvers import Dense
from nearsight.storage import LockedError, Terminated, lock, locks

HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from nearsight import storage
    storage.locks.LEASE, storage.locks.HEARTBEAT = 0.6, 0.15
    with storage.lock(Path(sys.argv[1])):
        try:
            print("held", flush=True)
            time.sleep(60)
        finally:
            storage.write_atomic(Path(sys.argv[1]) / "last", "words")
""")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.6)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.15)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_lock_of_a_living_process_is_respected_and_that_of_a_dead_one_is_not(tmp_path, holder):
    with pytest.raises(LockedError, match=rf"in use by process {holder.pid} on .*[Ww]ait for it"), lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with lock(tmp_path):
        assert f"pid={os.getpid()}\n" in (tmp_path / ".lock").read_text()
    assert not list(tmp_path.iterdir())


def test_sigterm_releases_the_lock_and_runs_what_ctrl_c_runs(tmp_path, holder):
    holder.send_signal(signal.SIGTERM)
    assert holder.wait() != 0
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_sigterm_is_an_interrupt_inside_a_lock_and_what_it_was_outside(tmp_path):
    with pytest.raises(Terminated), lock(tmp_path / "a"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert issubclass(Terminated, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not list(tmp_path.iterdir())


def foreign(marker: Path, **changes: object) -> None:
    """What a process on another machine leaves there; nobody can ask it."""
    record = dict(pid=1, host="elsewhere", mode="lease", token="a", duration=0.6) | changes
    marker.write_text("filelock/2\n" + "".join(f"{key}={value}\n" for key, value in record.items()))


def test_a_process_on_another_machine_is_known_by_its_heartbeat(tmp_path):
    foreign(tmp_path / ".lock")
    ended = threading.Event()

    def beat():
        while not ended.wait(0.15):
            os.utime(tmp_path / ".lock")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(LockedError, match="process 1 on elsewhere"), lock(tmp_path):
            pass
    finally:
        ended.set()
        thread.join()
    start = time.monotonic()
    with lock(tmp_path):  # its heart has stopped
        assert 0.5 < time.monotonic() - start < 5.0
    assert not list(tmp_path.iterdir())


LEFT = {
    "another machine": foreign,
    "another duration": lambda marker: foreign(marker, duration=7.0),
    "nothing": lambda marker: marker.touch(),
    "noise": lambda marker: marker.write_bytes(os.urandom(2000)),
    "a dangling link": lambda marker: marker.symlink_to(marker.parent / "nowhere"),
    "a link to itself": lambda marker: marker.symlink_to(marker),
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("exchange", [True, False], ids=["", "no exchange of names"])
def test_nothing_that_is_left_over_blocks_forever(left, exchange, tmp_path, monkeypatch):
    LEFT[left](tmp_path / ".lock")
    if not exchange:  # NFS, exFAT
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *names: False)
    with lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_lock_is_named(tmp_path):
    (tmp_path / ".lock" / "inside").mkdir(parents=True)
    with pytest.raises(LockedError, match=r"\.lock does not let anybody in\. Delete it"), lock(tmp_path):
        pass


def test_file_systems_without_hard_links_will_do(tmp_path, monkeypatch):
    def refused(*names, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with lock(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())


def test_another_thread_is_another_writer_and_an_inner_block_is_not(tmp_path):
    with lock(tmp_path), ThreadPoolExecutor(1) as other:
        with lock(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()
        with pytest.raises(LockedError, match="by this process already"):
            other.submit(enter, tmp_path).result()
    assert not list(tmp_path.iterdir())


def enter(path):
    with lock(path):
        pass


def test_a_folder_where_nothing_can_be_written_can_be_read(tmp_path, monkeypatch):
    opened = os.open

    def read_only(path, flags, *rest, **options):
        if flags & os.O_CREAT and str(path).endswith(".lock"):
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    with lock(tmp_path):
        pass


def test_who_has_lost_the_lock_stops(tmp_path):
    with pytest.raises(LockedError, match=r"was taken away .* Another process may be writing"), lock(tmp_path):
        (tmp_path / ".lock").unlink()
        for _ in range(100):
            time.sleep(0.05)
        raise AssertionError("went on")


# --- every writer ---------------------------------------------------------------------------------------------------

LATTICE = square(4)
EXACT = ExactForceField(Holstein(LATTICE), Dense(filling=0.5, kT=0.05))
RECIPE = training.Recipe(
    random=training.Random(trajectories=4, snapshots=2),
    thermal=training.Thermal(trajectories=1, snapshots=1, burn_in=2, every=1),
    relaxing=training.Relaxing(trajectories=1, snapshots=2, steps=3),
    near_equilibrium=training.NearEquilibrium(trajectories=1, snapshots=2, steps=2, wavevector=(0.5, 0.5)),
)


def simulated(path):
    field = torch.zeros(16, 1, dtype=torch.float64)
    dynamics.simulate(EXACT, dynamics.TDGL(0.1), field, steps=1, record=None, rng=None, path=path, resume=True)


def generated(path):
    training.generate(EXACT, RECIPE, path, seed=1, workers=1, progress=False)


def sampled(path):
    sampling.sample(Ising(LATTICE), [4.0], 4, path, seed=1, workers=1, progress=False)


def imported(path):
    values = np.zeros((2, 16, 1))
    training.DataSet.from_arrays(path, lattice=LATTICE, field=values, force=values)


def gas() -> training.MoveData:
    occupied = (torch.arange(16).remainder(4) < 2).double().expand(8, 16)[..., None]
    return training.MoveData.label(moves.LatticeGas(LATTICE, J=1.0), occupied, trajectory=np.arange(8))


def student() -> moves.LearnedMoves:
    network = EmbeddedNetwork(LATTICE, occupation(), radius=1.5, channels=2, widths=(2,))
    return moves.LearnedMoves(forcefields.LearnedForceField(network))


def labelled(path):
    gas().save(path)


def fitted(path):
    options = training.MoveFitOptions(steps=1, batch_size=2, hops=4)
    training.fit_moves(student(), gas(), options=options, path=path, resume=True, progress=False)


def kept(path):
    properties.PropertyModel(BlockCNN(5, channels=2), MLP((2,))).save(path)


WRITERS = [(simulated, False), (fitted, False), (generated, True), (sampled, True), (imported, True)]
WRITERS += [(labelled, True), (kept, True)]


@pytest.mark.parametrize(("write", "beside"), WRITERS, ids=lambda x: getattr(x, "__name__", ""))
def test_two_do_not_write_in_one_place(write, beside, tmp_path):
    path = tmp_path / "results" / "place"
    with lock(path, beside=beside):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(LockedError, match="in use"), ThreadPoolExecutor(1) as other:
            other.submit(write, path).result()
        assert sorted(tmp_path.rglob("*")) == before
    write(path)
    assert path.exists() and not list(tmp_path.rglob("*.lock"))
