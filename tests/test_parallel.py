"""Tasks on local workers: errors are raised here, and nobody waits for workers that never come."""

import contextlib
import os

import pytest

from nearsight.parallel import completed, local_client, tasks


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


@pytest.fixture(scope="module")
def client():
    with local_client(1) as found:
        yield found


def test_results_are_numbered_whoever_computes_them(client):
    work = [(1,), (2, 3), (4,)]
    alone = dict(completed(total, 10, work))
    assert alone == {0: 11, 1: 15, 2: 14}
    assert dict(completed(total, 10, work, client=client)) == alone
    assert dict(completed(total, 20, work, client=client)) == {0: 21, 1: 25, 2: 24}


def test_errors_of_tasks_are_raised_here(client):
    with pytest.raises(ValueError, match="2 is not allowed"):
        list(completed(failing, None, [(2,)], client=client))


def test_a_worker_that_cannot_import_what_it_needs_says_so(client):
    with pytest.raises(RuntimeError, match=r"cannot read its work: ImportError: No module named 'ghost'"):
        list(completed(total, Unreadable(), [(1,), (2,)], client=client))


def test_nobody_waits_for_workers_that_never_come(monkeypatch):
    from distributed import Client, LocalCluster

    @contextlib.contextmanager
    def empty(workers):
        with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
            yield client

    monkeypatch.setattr(tasks, "local_client", empty)
    monkeypatch.setattr(tasks, "PATIENCE", 0.5)
    with pytest.raises(RuntimeError, match=r"No worker has lived for 0\.5 s"):
        list(completed(total, 1, [(1,), (2,)], workers=2))


@pytest.mark.slow
def test_workers_that_die_over_a_task_end_the_computation():
    with pytest.raises(RuntimeError, match="died over a task"):
        list(completed(deadly, None, [(1,), (2,)], workers=2))
