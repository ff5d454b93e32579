"""Tasks on local processes: errors are raised here, scripts need no main guard, nobody is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import resource_tracker

import numpy as np
import pytest
import torch

from nearsight.parallel import cores, kept_workers, resumable, workers
from nearsight.parallel.tasks import completed
from nearsight.storage import CorruptFileError, DamagedFileWarning


def missing():
    raise ImportError("No module named 'ghost'")


class Unreadable:
    """Can be sent, and not be read where a module is missing."""

    def __reduce__(self):
        return missing, ()


def total(shared, *numbers):
    return shared + sum(numbers)


def failing(shared, number):
    raise ValueError(f"{number} is not allowed")


def deadly(shared, number):
    os._exit(1)


def clumsy(shared, number):
    """Dies once, over the second task."""
    if number == 2 and not shared.exists():
        shared.touch()
        os._exit(1)
    return number


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    options = dict(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0)
    with LocalCluster(processes=False, **options) as cluster, Client(cluster) as found:
        yield found


@pytest.fixture(params=["processes", "cluster"])
def place(request):
    return {"workers": 2} if request.param == "processes" else {"client": request.getfixturevalue("client")}


def test_results_are_numbered_whoever_computes_them(place):
    work = [(1,), (2, 3), (4,)]
    alone = dict(completed(total, 10, work))
    assert alone == {0: 11, 1: 15, 2: 14}
    assert dict(completed(total, 10, work, **place)) == alone
    assert dict(completed(total, 20, work, **place)) == {0: 21, 1: 25, 2: 24}


def test_errors_of_tasks_are_raised_here(place):
    with pytest.raises(ValueError, match="2 is not allowed"):
        list(completed(failing, None, [(2,), (2,)], **place))


def test_a_worker_that_cannot_import_what_it_needs_says_so(place):
    with pytest.raises(RuntimeError, match=r"cannot read its work: ImportError: No module named 'ghost'"):
        list(completed(total, Unreadable(), [(1,), (2,)], **place))


def test_nobody_waits_for_workers_that_never_come():
    resource_tracker.ensure_running()  # started by the same executable
    multiprocessing.set_executable("/bin/false")
    try:
        with pytest.raises(RuntimeError, match="Workers died"):
            list(completed(total, 1, [(1,), (2,)], workers=2))
    finally:
        multiprocessing.set_executable(sys.executable)


def test_workers_that_die_over_a_task_end_the_computation():
    with pytest.raises(RuntimeError, match="died over a task"):
        list(completed(deadly, None, [(1,), (2,)], workers=2))


def test_a_worker_that_dies_once_is_replaced(tmp_path):
    assert sorted(completed(clumsy, tmp_path / "died", [(1,), (2,), (3,)], workers=2)) == [(0, 1), (1, 2), (2, 3)]


# --- results that are kept ------------------------------------------------------------------------------------------


def held() -> int:
    """Other calls that a worker still knows, apart from this one."""
    from nearsight.parallel import _processes

    return len(_processes._WORK) - 1


def squares(offset: int, number: int) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(number) ** 2 + offset}


def stumbling(offset: int, number: int) -> dict[str, torch.Tensor]:
    if number == 3:
        raise KeyboardInterrupt
    return squares(offset, number)


NUMBERS = [(1,), (2,), (3,), (4,)]
KEPT = dict(shared=(7,), plan={"offset": 7}, progress=False)
ALONE = dict(workers=1, progress=False)


def test_killed_work_goes_on_where_it_was(tmp_path, place):
    whole = resumable(squares, NUMBERS, shared=(7,), progress=False, **place)
    with pytest.raises(KeyboardInterrupt):
        resumable(stumbling, NUMBERS, tmp_path / "r", workers=1, **KEPT)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "r").glob("0*")}
    assert len(before) == 2
    kept = resumable(squares, NUMBERS, tmp_path / "r", **KEPT, **place)
    assert len(kept) == 4 and all(torch.equal(a["x"], b["x"]) for a, b in zip(kept, whole, strict=True))
    assert all(file.stat().st_mtime_ns == written for file, written in before.items())
    assert torch.equal(kept[-1]["x"], kept[3]["x"]) and len(kept[1:3]) == 2
    with pytest.raises(IndexError):
        kept[4]


def test_arrays_are_kept_like_tensors(tmp_path):
    [kept] = resumable(lambda: {"x": np.arange(3, dtype=np.int32)}, [()], tmp_path / "r", **ALONE)
    assert torch.equal(kept["x"], torch.arange(3, dtype=torch.int32))


def test_results_of_another_plan_are_refused_and_the_difference_named(tmp_path):
    resumable(squares, NUMBERS, tmp_path / "r", workers=1, **KEPT)
    with pytest.raises(ValueError, match=r"r was made differently: offset: 7 \(then\), 8 \(now\)"):
        resumable(squares, NUMBERS, tmp_path / "r", shared=(8,), plan={"offset": 8}, **ALONE)


def test_a_part_of_another_plan_is_no_part(tmp_path):
    """Even where the plan itself is lost, which alone says what the parts were made for."""
    resumable(squares, NUMBERS, tmp_path / "r", workers=1, **KEPT)
    (tmp_path / "r" / "plan.json").unlink()
    with pytest.warns(DamagedFileWarning, match=r"00000[0-3]\.safetensors.*another plan"):
        kept = resumable(squares, NUMBERS, tmp_path / "r", shared=(8,), plan={"offset": 8}, **ALONE)
    assert [int(part["x"][0]) for part in kept] == [8] * 4


def test_a_damaged_plan_is_named_and_written_again_and_its_parts_stay(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        resumable(stumbling, NUMBERS, tmp_path / "r", workers=1, **KEPT)
    file, made = tmp_path / "r" / "plan.json", []
    file.write_bytes(file.read_bytes().replace(b"7", b"8", 1))
    with pytest.warns(DamagedFileWarning, match=r"plan\.json"):
        resumable(lambda *task: made.append(task) or squares(*task), NUMBERS, tmp_path / "r", workers=1, **KEPT)
    assert made == [(7, 3), (7, 4)]


def test_a_part_that_is_damaged_after_it_was_found_is_named(tmp_path):
    kept = resumable(squares, NUMBERS, tmp_path / "r", workers=1, **KEPT)
    (tmp_path / "r" / "000002.safetensors").write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"000002\.safetensors"):
        kept[2]


# --- scripts and signals --------------------------------------------------------------------------------------------

SCRIPT = textwrap.dedent("""
    from nearsight.parallel.tasks import completed
    print("top", flush=True)
    class Pair:
        def __init__(self, x, y): self.x, self.y = x, y
    def add(shared, pair):
        return Pair(shared, pair.x + pair.y)
    found = dict(completed(add, 10, [(Pair(k, 1),) for k in range(3)], workers=2))
    assert all(isinstance(p, Pair) for p in found.values())
    print(sorted((k, p.x, p.y) for k, p in found.items()), flush=True)
""")


@pytest.mark.parametrize("how", ["file", "standard input", "argument"])
def test_a_script_needs_no_main_guard(how, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    words = {"file": ["script.py"], "standard input": ["-"], "argument": ["-c", SCRIPT]}[how]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, input=SCRIPT, capture_output=True, text=True, timeout=600
    )
    assert done.stderr == "" and done.stdout == "top\n[(0, 10, 1), (1, 10, 2), (2, 10, 3)]\n"


SLEEPY = textwrap.dedent("""
    import os, sys, time
    from nearsight.parallel.tasks import completed
    def nap(shared, number):
        if number:
            time.sleep(100)
        return os.getpid()
    for number, process in completed(nap, None, [(0,), (1,), (1,)], workers=2):
        print(process, flush=True)
""")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
@pytest.mark.parametrize("early", [False, True], ids=["at work", "at the start"])
def test_workers_end_with_the_process_that_started_them_and_say_nothing(sent, early):
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", SLEEPY], start_new_session=True, **piped)
    assert process.stdout is not None and process.stderr is not None
    if early:
        while not children(process.pid):
            time.sleep(0.02)
        workers = []
    else:
        workers = [int(process.stdout.readline())]
    workers += children(process.pid)
    if sent == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sent)  # as the terminal does, and a queue: to all of them
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -sent
    if sent != signal.SIGKILL:
        assert errors.count("Traceback") == (sent == signal.SIGINT), errors
    deadline = time.monotonic() + 300
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kept_workers_take_the_tasks_of_several_calls():
    def seen(workers: int = 2) -> set[int]:
        return set(resumable(os.getpid, [()] * 4, workers=workers, progress=False))

    with kept_workers():
        first = seen()
        assert len(first) == 2 and seen() == first < (more := seen(3))
        with pytest.raises(RuntimeError, match="died over a task"):
            resumable(os._exit, [(1,), (1,)], workers=2, progress=False)
        last = seen()
        assert not last & more  # which all ended with the error
        with kept_workers():
            inner = seen()  # of its own
        assert seen() == last and not inner & last
        half = completed(os._exit, 1, [()] * 4, workers=2)
        half.close()  # nothing has begun
        half = completed(os.kill, 0, [(0,)] * 4, workers=2)
        next(half)
        half.close()  # what is not read to its end leaves no worker that is still at it
        assert not seen() & last
    assert not [pid for pid in first | more | inner | last if alive(pid)]


def test_waiting_workers_hold_nothing_of_the_last_call():
    with kept_workers():
        resumable(os.getpid, [(), ()], workers=2, progress=False)
        assert resumable(held, [(), ()], workers=2, progress=False) == [0, 0]


def test_cores_are_at_most_those_of_the_environment(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    for most, found in (("", 6), ("1", 1), (" 4 ", 4), ("64", 6)):
        monkeypatch.setenv("NEARSIGHT_CORES", most)
        assert cores() == found
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("NEARSIGHT_CORES", wrong)
        with pytest.raises(ValueError, match="is no number of cores"):
            cores()
    monkeypatch.delenv("NEARSIGHT_CORES")
    assert cores() == 6


# --- threads ----------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds and processor seconds of a call by its number of threads, in place of the machine's."""

    def __init__(self, costs):
        self.costs, self.wall, self.processor, self.calls = costs, 0.0, 0.0, []

    def perf_counter(self):
        return self.wall

    def process_time(self):
        return self.processor

    def work(self):
        seconds, processor = self.costs[torch.get_num_threads()]
        stalled = 50.0 if torch.get_num_threads() not in self.calls else 1.0  # the first call starts the threads
        self.calls.append(torch.get_num_threads())
        self.wall, self.processor = self.wall + stalled * seconds, self.processor + stalled * processor


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({1: (1, 1), 2: (1.2, 2.4)}, 1),
        ({1: (1, 1), 2: (0.9, 1.1)}, 1),  # hardly sooner
        ({1: (1, 1), 2: (0.7, 1.6)}, 1),  # sooner, at the price of others
        ({1: (1, 1), 2: (0.6, 1.2), 4: (0.5, 2.0)}, 2),
        ({1: (1, 1), 2: (0.6, 1.2), 4: (0.35, 1.4), 8: (0.2, 1.6)}, 8),
        ({1: (1e-3, 1e-3), 2: (6e-4, 1.1e-3)}, 2),
    ],
)
def test_more_threads_are_taken_only_where_they_clearly_pay(costs, expected, monkeypatch):
    clock = Clock(costs)
    monkeypatch.setattr(workers, "time", clock)
    before = torch.get_num_threads()
    assert workers.fastest_threads(clock.work, max(costs)) == expected
    assert torch.get_num_threads() == before
    assert len(clock.calls) <= 2 * workers.ROUNDS * len(costs)


def test_one_thread_needs_no_measurement():
    assert workers.fastest_threads(lambda: pytest.fail("measured"), 1) == 1
