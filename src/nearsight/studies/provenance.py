"""What it takes to tell where numbers came from."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr

import nearsight


def provenance() -> dict[str, Any]:
    """Version, commit, date, libraries, machine."""
    return {
        "nearsight": nearsight.__version__,
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {library.__name__: str(library.__version__) for library in (torch, np, xr, zarr)},
        "machine": {
            "name": platform.node(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _commit() -> str | None:
    """The commit of the checkout this package is imported from, "+" if files were changed; None for an installation."""
    source = Path(nearsight.__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source.parent), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", source.name)  # an environment may lie inside an unrelated repository
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
