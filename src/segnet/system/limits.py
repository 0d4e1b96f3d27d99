"""Limits of the machine that reach a user as errors of libraries: memory, disk, open files, processes."""

from __future__ import annotations

from segnet.system.files import describe_os_error

__all__ = ["describe_limit"]

# Phrases of PyTorch on CPU, CUDA, cuDNN and MPS, of ONNX Runtime and of OpenVINO.
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate memory", "bad allocation",
    "bad_alloc", "alloc_failed", "storage size calculation overflowed", "could not create a primitive",
)  # fmt: skip
_SMALL_BYTES = 8_000_000
_NO_THREAD = ("can't start new thread", "resource temporarily unavailable")
_SMALLER_IMAGES = "give a smaller --max-size, or --device cpu if a GPU is full"
_LESS_MEMORY = {
    "train": "halve --batch and double --accumulate, give a smaller --crop, or add --save-memory",
    "predict": "give a smaller --memory or --max-size, or --device cpu if a GPU is full",
    "evaluate": "give a smaller --memory or --max-size, or --device cpu if a GPU is full",
    "recalibrate": "give a smaller --batch or --resize, or --device cpu if a GPU is full",
    "temperature": _SMALLER_IMAGES,
    "benchmark": "give smaller --sizes",
}


def describe_limit(error: BaseException, *, command: str) -> str:
    """What was exhausted and what to do, in one sentence; empty for an error of another kind.

    Args:
        error: From any library.
        command: Name of the command, whose flags are named.
    """
    text = str(error).lower()
    no_memory = f"memory ran out; {_LESS_MEMORY.get(command, 'close other programs, or take a smaller model')}"
    if isinstance(error, MemoryError) or any(phrase in text for phrase in _NO_MEMORY):
        return no_memory
    if isinstance(error, RuntimeError | OSError) and any(phrase in text for phrase in _NO_THREAD):
        return "no more processes or threads can be started; give fewer --workers, or raise the limit with ulimit -u"
    if isinstance(error, RuntimeError) and "dataloader worker" in text and ("killed" in text or "exited" in text):
        return "a process that reads images was killed, often because memory ran out; close other programs"
    refused = describe_os_error(error) if isinstance(error, OSError) else ""
    return refused or (no_memory if _is_memory_full() else "")


def _is_memory_full() -> bool:
    """Whether no memory is left, so that libraries fail with any error."""
    try:
        bytearray(_SMALL_BYTES)
    except MemoryError:
        return True
    return False
