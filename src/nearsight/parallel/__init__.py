"""The cores of this machine, and independent tasks on all of them."""

from nearsight.parallel.tasks import completed, progress_bar, refuse_in_child
from nearsight.parallel.workers import WORTHWHILE, cores, local_client, threads

__all__ = ["WORTHWHILE", "completed", "cores", "local_client", "progress_bar", "refuse_in_child", "threads"]
