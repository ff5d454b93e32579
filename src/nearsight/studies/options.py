"""Settings that several studies share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Length = Annotated[int, Field(ge=4, le=2**14, multiple_of=2)]
"""Even: on an odd torus the checkerboard does not fit and frustrates the order of a bipartite lattice."""
Device = Literal["cpu", "cuda"]


def _rising(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"a window is (first, last), got {window}; the first must be less")
    return window


Window = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]
"""Times, or lengths, from the first to the last."""


def device_present(config: Any) -> None:
    """What a stage requires that works on ``config.device``, the CPU where there is no such setting."""
    torch_device(getattr(config, "device", "cpu"))


def torch_device(name: Device) -> torch.device:
    """The device of this name; an error says what to do if it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "This run is set to device=cuda, but torch sees no CUDA device. Start one with --set device=cpu."
        )
    return torch.device(name)
