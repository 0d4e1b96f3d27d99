"""How the threads of a library wait for each other: asleep, so that a busy machine does not stand still.

The threads of a parallel loop meet at its end. By default those of OpenMP, and those of ONNX Runtime, spin there: each
keeps its core busy until the last one comes. That is the quickest where every thread has a core. Where another program
runs, the spinning threads hold the cores that the last thread waits for, and a network takes several times as long
(docs/how-to/benchmark.md). This module imports nothing heavy: OpenMP reads its settings when torch is imported.
"""

from __future__ import annotations

import os
import sys

__all__ = ["SETTINGS", "let_threads_sleep", "may_spin"]

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables by which a user decides; if any is set, none is changed."""


def let_threads_sleep() -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` for this process and its children, unless the user or torch came first."""
    if "torch" not in sys.modules and not any(name in os.environ for name in SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def may_spin() -> bool:
    """Whether the user asks for threads that spin, with ``OMP_WAIT_POLICY=ACTIVE``."""
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE"
