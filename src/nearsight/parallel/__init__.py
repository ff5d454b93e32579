"""Independent tasks, on the cores of this machine or on a Dask cluster, resumable at any moment."""

from nearsight.parallel._processes import kept_workers
from nearsight.parallel.clusters import cluster
from nearsight.parallel.resumable import once, resumable
from nearsight.parallel.scan import scan
from nearsight.parallel.tasks import progress_bar
from nearsight.parallel.workers import cores, threads

__all__ = ["cluster", "cores", "kept_workers", "once", "progress_bar", "resumable", "scan", "threads"]
