"""What makes two runs the same run."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch
from torch import Tensor

from nearsight.forcefields import ForceField

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


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
