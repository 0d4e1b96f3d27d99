"""Threads that wait sleep, unless the user or torch decided first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from segnet.system.waiting import SETTINGS

SHOWN = "import os; print(os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("imports", "setting", "policy"),
    [
        ("import segnet", {}, "PASSIVE"),
        ("import segnet", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("import segnet", {"GOMP_SPINCOUNT": "1000"}, "None"),
        ("import sys; sys.modules['torch'] = None; import segnet", {}, "None"),
    ],
)
def test_threads_sleep_unless_the_user_or_torch_came_first(imports: str, setting: dict[str, str], policy: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    words = [sys.executable, "-c", f"{imports}; {SHOWN}"]
    done = subprocess.run(words, env={**clean, **setting}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == policy
