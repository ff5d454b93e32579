"""Compiled loops that draw random numbers are compiled anew when the streams they draw from have changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nearsight.sampling import _streams as streams

USER = """
import numpy as np
from streams import below, kernel, stream

@kernel
def drawn(state, n):
    return below(state, n)

print(drawn(stream(1)[:, 0], 10**6))
"""


def run(folder) -> int:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "user.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_kept_loops_notice_edited_streams(tmp_path):
    shutil.copy(streams.__file__, tmp_path / "streams.py")
    (tmp_path / "user.py").write_text(USER)
    first = run(tmp_path)
    kept = set((tmp_path / "cache").rglob("*.nbc"))
    assert run(tmp_path) == first
    assert set((tmp_path / "cache").rglob("*.nbc")) == kept
    text = Path(tmp_path / "streams.py").read_text()
    (tmp_path / "streams.py").write_text(text.replace("int(uniform(state) * n)", "int(uniform(state) * n) + n"))
    assert run(tmp_path) == first + 10**6
