"""Busy processes beside a measurement, as on a machine with other work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["busy_neighbors"]

# It ends with the process that started it, even if that one is killed.
_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100000): pass"
_START_S = 0.2


@contextmanager
def busy_neighbors(count: int) -> Iterator[None]:
    """Run processes in the block that each keep a core busy.

    Args:
        count: number of processes; 0: none.
    """
    command = [sys.executable, "-S", "-E", "-c", _LOOP]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        if processes:
            time.sleep(_START_S)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
