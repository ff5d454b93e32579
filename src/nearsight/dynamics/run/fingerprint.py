"""What makes two runs the same run."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from nearsight.forcefields import ForceField
from nearsight.storage import tensor_hash

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe(forcefield: ForceField) -> dict[str, str]:
    """A force field in words, and a hash of its parameters if it was learned.

    Object addresses, which some representations print, are left out: they change from process to process.
    """
    description = {"forcefield": ADDRESS.sub("", repr(forcefield))}
    learned = forcefield.state_dict()
    if learned:
        description["parameters"] = tensor_hash({k: v for k, v in learned.items() if isinstance(v, Tensor)})
    return description


def until(identity: dict[str, Any], step: int) -> dict[str, Any]:
    """What decided a run up to a step: neither how long it goes on nor which records are still to come."""
    decisive = {name: value for name, value in identity.items() if name != "steps"}  # named by 0.1
    record = decisive.get("record")
    if record and "at" in record:
        decisive["record"] = record | {"at": [at for at in record["at"] if at <= step]}
    return decisive
