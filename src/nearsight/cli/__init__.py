"""The door: the ``nearsight`` command, thin over what Python can call as well."""

from nearsight.cli.app import main

__all__ = ["main"]
