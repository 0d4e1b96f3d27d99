from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from segnet.system.allocator import keep_freed_memory

RESIDENT = """
from segnet.system.allocator import keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_glibc_takes_the_setting() -> None:
    # In a process of its own: it is a setting of the whole process.
    code = "from segnet.system.allocator import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_the_setting_can_be_taken_back() -> None:
    code = RESIDENT + (
        "from segnet.system.allocator import return_freed_memory\n"
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


# Prints whether the memory of a large buffer is in huge pages, and whether the machine lets a process ask for them.
HUGE = """
import ctypes
from segnet.system import allocator
made = allocator.keep_freed_memory()
data = ctypes.create_string_buffer(64 * 2**20)
address, inside = ctypes.addressof(data), False
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first:
        start, end = (int(part, 16) for part in first.split("-"))
        inside = start <= address < end
    elif inside and first == "VmFlags:":
        print(made, "hg" in line.split(), allocator._may_reserve())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_kept_memory_is_in_huge_pages_where_linux_gives_them_on_demand() -> None:
    done = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    made, huge, possible = done.stdout.split()
    choices = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    assert made == "True"
    assert huge == possible
    assert possible == str("[madvise]" in choices and Path("/proc/sys/vm/overcommit_memory").read_text() != "2\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_no_addresses_are_reserved_where_they_are_limited() -> None:
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))\n" + HUGE
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is there on Linux alone")
def test_the_reserved_addresses_take_no_memory() -> None:
    code = RESIDENT + (
        "before = resident()\nfor _ in range(3):\n    keep_freed_memory()\nprint(resident() - before < 16 * 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


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
