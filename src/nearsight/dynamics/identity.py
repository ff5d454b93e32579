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


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line for every entry that is not the same, nested entries by their full name."""
    lines = []
    for name in dict.fromkeys([*then, *now]):
        a, b = then.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += [f"{name}.{line}" for line in differences(a, b)]
        elif a != b:
            lines.append(f"{name}: {a} (then), {b} (now)")
    return lines
