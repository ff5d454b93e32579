"""The cores of this machine, as :mod:`nearsight.parallel` knows them."""

from nearsight.parallel.workers import WORTHWHILE, cores, local_client, threads

__all__ = ["WORTHWHILE", "cores", "local_client", "threads"]
