"""Keep freed memory in the process instead of handing it back to the system after every layer, and in huge pages.

PyTorch asks the C library for a fresh buffer per result on the CPU. glibc maps big ones anew each time, and the kernel
has to zero every page: a fifth to a third of the time of a SegNet. Asking glibc to keep them costs nothing but that the
process holds its peak memory until it ends. It is a setting of the whole process, hence made by the command line alone.

The kept memory is read and written again and again, and finding its pages takes time too: less with pages of 2 MiB
than of 4 KiB. Forward and backward passes of VGG16 SegNet took 0.92 to 0.97 of the time with them in a quiet virtual
machine, 0.65 in a busy one. Linux gives huge pages to whom asks for them (``madvise``), unless an administrator forbids
it; glibc itself asks for none unless its environment says so before the process starts.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

__all__ = ["keep_freed_memory", "return_freed_memory"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_TOP_PAD_BYTES = 256 * 2**20
_NEVER_TRIM = -1
# Where glibc's own settings come to by themselves in a program with large buffers; once set, they stay as they are.
_GLIBC = (
    (_M_MMAP_MAX, 65536), (_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, 64 * 2**20), (_M_TOP_PAD, 128 * 2**10),
)  # fmt: skip


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, and Linux to use huge pages; elsewhere than on glibc nothing happens.

    Returns:
        whether the setting was made. Without huge pages it still is.
    """
    made = _set((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_TOP_PAD, _TOP_PAD_BYTES))
    if made and _may_reserve():
        _use_huge_pages(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2)
    return made


def return_freed_memory() -> bool:
    """Take ``keep_freed_memory`` back: slower, and what is free is handed back to the system.

    Returns:
        whether the setting was made.
    """
    return _set(*_GLIBC)


def _may_reserve() -> bool:
    """Whether huge pages are to be had for asking, and addresses without memory behind them cost nothing."""
    import resource  # not on Windows

    try:
        choices = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        overcommit = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    except OSError:
        return False
    limits = {resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)}
    return "[madvise]" in choices and overcommit != "2" and limits == {resource.RLIM_INFINITY}


def _use_huge_pages(size: int) -> None:
    """Let the heap grow by ``size`` bytes and ask for huge pages there. Memory is taken only where it is written."""
    libc = ctypes.CDLL(None)
    address = ctypes.c_size_t  # as wide as a pointer on Linux
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], address
    libc.free.argtypes = [address]
    libc.madvise.argtypes = [address, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(size)
    if start:
        libc.madvise(start - start % mmap.PAGESIZE, size, mmap.MADV_HUGEPAGE)  # from the beginning of a page
        libc.free(start)


def _set(*settings: tuple[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, such as musl
        return False
    made = [mallopt(name, value) for name, value in settings]
    return all(made)
