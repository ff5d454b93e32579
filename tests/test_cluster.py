"""A Dask scheduler takes the tasks of a study, with the results of this machine; what cannot be meant is refused."""

import importlib.util
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from nearsight.cli.app import app
from nearsight.dynamics import Brownian, State
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.parallel import cluster, resumable
from nearsight.solvers import Dense
from nearsight.storage import tree_hash
from nearsight.studies.ensembles import Quench, carried_out
from nearsight.studies.system import System
from nearsight.training import DataSet

distributed = pytest.importorskip("distributed")


def nearsight(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler on this machine with two workers, processes of their own."""
    options = dict(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0)
    with distributed.LocalCluster(processes=True, **options) as local:
        yield local.scheduler_address


@pytest.fixture
def submitted(monkeypatch) -> list[str]:
    """Names of the functions that go to a cluster."""
    names: list[str] = []
    submit = distributed.Client.submit

    def noted(self, function, handle, apply, *task, **options):
        names.append(apply.__name__)
        return submit(self, function, handle, apply, *task, **options)

    monkeypatch.setattr(distributed.Client, "submit", noted)
    return names


def test_inside_a_cluster_tasks_go_to_its_workers_unless_workers_are_named(scheduler):
    tasks: list[tuple] = [()] * 6
    with cluster(scheduler=scheduler) as client:
        assert client is not None
        elsewhere = set(resumable(os.getpid, tasks, progress=False))
        assert elsewhere <= set(client.run(os.getpid).values()) and os.getpid() not in elsewhere
        assert set(resumable(os.getpid, tasks, workers=1, progress=False)) == {os.getpid()}
    assert set(resumable(os.getpid, tasks, seconds=0.0, progress=False)) == {os.getpid()}
    with cluster() as nothing:
        assert nothing is None


def test_the_data_of_a_study_are_those_of_this_machine(scheduler, submitted, tmp_path):
    words = ["generate", "holstein", "--preset", "tiny", "--debug"]
    for place, more in (("there", ("--scheduler", scheduler)), ("here", ())):
        done = nearsight(*words, "--runs", tmp_path / place, *more)
        assert done.exit_code == 0, done.output
        assert len(submitted) == 12
    here, there = (DataSet.open(tmp_path / place / "holstein" / "tiny" / "data.zarr") for place in ("here", "there"))
    assert here.hash == there.hash and tree_hash(here.path) == tree_hash(there.path)


def density(state: State) -> xr.Dataset:
    return xr.Dataset({"Q": (("replica", "site"), state.field[..., 0].numpy())})


def test_exact_quenches_are_those_of_this_machine(scheduler, submitted, tmp_path, monkeypatch):
    exact = ExactForceField(Holstein(square(4)), Dense(filling=0.5, kT=0.1))
    fields = 0.1 * torch.randn(8, 16, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    system = System(
        exact=exact,
        scheme=Brownian(dt=0.1, kT=0.2),
        initial_fields=lambda n, rng: fields,
        build_model=lambda rng: exact,
    )

    def quenched(name: str) -> xr.Dataset:
        common = {"system": system, "engine": exact, "steps": (0, 3, 6), "measure": density}
        quenches = [
            Quench(**common, field=part, path=tmp_path / name / str(k), seed=k)
            for k, part in enumerate(fields.split(4))
        ]
        return carried_out(quenches, title=name)

    here = quenched("here")
    monkeypatch.chdir(tmp_path)
    with cluster(scheduler=scheduler):
        assert quenched("there").identical(here)
    assert len(submitted) == 2


@pytest.mark.parametrize("address", ["", "node7", "tcp://node7", "8786"])
def test_what_is_no_address_is_refused(address, tmp_path):
    result = nearsight("run", "holstein", "--preset", "tiny", "--runs", tmp_path, f"--scheduler={address}")
    assert result.exit_code == 2 and "tcp://HOST:8786" in result.stderr and not list(tmp_path.iterdir())


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("nearsight.parallel.clusters.PATIENCE", 0.5)
    words = ["run", "holstein", "--preset", "tiny", "--runs", tmp_path]
    result = nearsight(*words, "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 2 and "tcp://127.0.0.1:9" in result.stderr and not list(tmp_path.iterdir())
    both = nearsight(*words, "--scheduler", "tcp://127.0.0.1:9", "--slurm", "queue.yaml")
    assert both.exit_code == 2 and "one of the two" in both.stderr


def test_an_interrupted_run_goes_on_with_the_same_workers(scheduler, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nearsight.studies.Study.run", interrupted)
    words = ["train", "holstein", "--runs", tmp_path, "--scheduler", scheduler]
    assert f"--scheduler {scheduler} --resume" in nearsight(*words).stderr.replace("\n", " ")


# --- SLURM ----------------------------------------------------------------------------------------------------------

QUEUE = "cores: 2\nmemory: 2GB\nn_workers: 2\nqueue: short\nwalltime: 00:20:00\ninterface: lo\n"
QUEUE += "scheduler_options: {dashboard_address: '127.0.0.1:0'}\n"


def refused(file: Path) -> str:
    with pytest.raises((ValueError, OSError, TypeError)) as error, cluster(slurm=file):
        pytest.fail("this file cannot be meant")
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (None, "queue.yaml"),
        ("- a", "must list keyword arguments"),
        ("a: [", r"queue\.yaml is not a whole YAML file"),
        ("cores: 2\nmemory: 2GB", "lacks n_workers"),
        (QUEUE.replace("cores: 2", "cores: two"), "cores in .*queue.yaml must be a whole number"),
        (QUEUE.replace("n_workers: 2", "n_workers: 0"), "n_workers in .*queue.yaml must be"),
    ],
    ids=["missing", "list", "cut", "workers", "word", "none"],
)
def test_a_file_that_cannot_be_meant_is_refused_at_the_door(content, answer, tmp_path):
    if content is not None:
        (tmp_path / "queue.yaml").write_text(content)
    assert re.search(answer, refused(tmp_path / "queue.yaml"))


@pytest.mark.parametrize(("module", "extra"), [("dask_jobqueue", "slurm"), ("distributed", "cluster")])
def test_an_extra_that_is_missing_is_named(module, extra, tmp_path, monkeypatch):
    (tmp_path / "queue.yaml").write_text(QUEUE)
    monkeypatch.setitem(sys.modules, module, None)
    place = {"slurm": tmp_path / "queue.yaml"} if extra == "slurm" else {"scheduler": "tcp://127.0.0.1:9"}
    with (
        pytest.raises(ImportError, match=rf"{module} is missing.*pip install 'nearsight\[{extra}\]'"),
        cluster(**place),
    ):
        pytest.fail("nothing can be done without it")


@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="needs dask-jobqueue")
def test_a_misspelt_option_is_refused_and_the_nearest_named(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    (tmp_path / "queue.yaml").write_text(QUEUE.replace("walltime", "waltime"))
    assert "Did you mean 'walltime'?" in refused(tmp_path / "queue.yaml")
    assert signal.getsignal(signal.SIGINT) is before  # dask_jobqueue takes it when it is imported


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="needs dask-jobqueue")
def test_workers_that_a_queue_starts_do_the_tasks(tmp_path, monkeypatch):
    """A queue that starts what it is given at once, and keeps the script."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(
        f'#!/bin/sh\ncp "$1" {tmp_path}/job\nsh {tmp_path}/job > {tmp_path}/log 2>&1 &\necho Submitted batch job 1\n'
    )
    (tmp_path / "bin" / "scancel").write_text("#!/bin/sh\n")
    for command in ("sbatch", "scancel"):
        (tmp_path / "bin" / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.yaml").write_text(QUEUE)
    with cluster(slurm="queue.yaml") as client:
        assert client is not None
        client.wait_for_workers(2, timeout=120)
        found = resumable(os.getpid, [()] * 8, progress=False)
        threads = {worker["nthreads"] for worker in client.scheduler_info()["workers"].values()}
    script = (tmp_path / "job").read_text()
    assert os.getpid() not in found and threads == {1}
    assert "#SBATCH -p short" in script and "#SBATCH -t 00:20:00" in script and "#SBATCH --cpus-per-task=2" in script
