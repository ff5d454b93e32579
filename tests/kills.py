"""Processes that are killed in the middle of their work."""

import signal
import subprocess
import time
from collections.abc import Callable


def kill_when(process: subprocess.Popen, condition: Callable[[], object]) -> None:
    """SIGKILL as soon as ``condition()`` holds, however slow the machine; a process that ends before fails the test."""
    while not condition() and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the process ended before it could be killed"
