"""Keep freed memory in the process instead of handing it back to the system after every layer.

PyTorch asks the C library for a fresh buffer per result on the CPU. glibc maps big ones anew each time, and the kernel
has to zero every page: a fifth to a third of the time of a SegNet. Asking glibc to keep them costs nothing but that the
process holds its peak memory until it ends. It is a setting of the whole process, hence made by the command line alone.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory", "return_freed_memory"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_TOP_PAD_BYTES = 256 * 2**20
# Where glibc's own settings come to by themselves in a program with large buffers; once set, they stay as they are.
_GLIBC = (
    (_M_MMAP_MAX, 65536), (_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, 64 * 2**20), (_M_TOP_PAD, 128 * 2**10),
)  # fmt: skip


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; elsewhere than on glibc nothing happens.

    Returns:
        whether the setting was made.
    """
    return _set((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES))


def return_freed_memory() -> bool:
    """Take ``keep_freed_memory`` back: slower, and what is free is handed back to the system.

    Returns:
        whether the setting was made.
    """
    return _set(*_GLIBC)


def _set(*settings: tuple[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, such as musl
        return False
    made = [mallopt(name, value) for name, value in settings]
    return all(made)
