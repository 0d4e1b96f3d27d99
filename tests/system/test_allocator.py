from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from segnet.system.allocator import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_glibc_takes_the_setting() -> None:
    # In a process of its own: it is a setting of the whole process.
    code = "from segnet.system.allocator import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_the_setting_can_be_taken_back() -> None:
    code = (
        "from segnet.system.allocator import keep_freed_memory, return_freed_memory\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "def left_of(size):\n"
        "    before = resident()\n"
        "    data = bytearray(size)\n"
        "    del data\n"
        "    return resident() - before > size // 2\n"
        "keep_freed_memory()\n"
        "kept = left_of(256 * 2**20)\n"
        "return_freed_memory()\n"
        "print(kept, left_of(256 * 2**20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_nothing_happens_on_other_systems(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("the C library was touched"))
    assert keep_freed_memory() is False


def test_another_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


def test_a_refused_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def mallopt(self, name: int, value: int) -> int:
            return 0

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Refusing())
    assert keep_freed_memory() is False
