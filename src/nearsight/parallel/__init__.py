"""The cores of this machine, and independent tasks on all of them."""

from nearsight.parallel.tasks import completed, progress_bar
from nearsight.parallel.workers import WORTHWHILE, cores, threads

__all__ = ["WORTHWHILE", "completed", "cores", "progress_bar", "threads"]
