"""Which device to compute on, and in which precision."""

from __future__ import annotations

import logging

import torch

from segnet.errors import ConfigError, first_line
from segnet.system.hardware import seconds, why_emulated

__all__ = ["pick_device", "pick_precision"]

log = logging.getLogger("segnet")

# A half-sized type must be this much quicker in a matrix product to pay in a network, which has more to do than that.
_WORTH_IT = 0.6


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name, such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; ``auto`` takes a GPU if there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(
            f"device {str(name)!r} cannot be used ({first_line(error)}); choose auto, cpu, cuda or mps"
        ) from error
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; ``auto`` takes bfloat16 on CUDA, and on a CPU that has it and is quicker with it.

    What is named is taken; where bfloat16 would be emulated, a warning says so.

    Raises:
        ConfigError: no such precision.
    """
    if name not in {"auto", "float32", "bf16"}:
        raise ConfigError(f"precision {name!r} is unknown; choose auto, float32 or bf16")
    if name == "auto":
        quick = device.type == "cuda" or (device.type == "cpu" and _pays())
        log.info("precision auto: %s", "bf16" if quick else "float32")
        return torch.bfloat16 if quick else torch.float32
    reason = why_emulated(name) if device.type == "cpu" else None
    if reason:
        log.warning("precision %s is slow here: %s; float32 is faster", name, reason)
    return torch.bfloat16 if name == "bf16" else torch.float32


def _pays() -> bool:
    """Whether this CPU has bfloat16, and a short timing, which emulation would make a long one, shows it quicker."""
    if why_emulated("bf16"):
        return False
    return _product_seconds(torch.bfloat16) < _WORTH_IT * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    return min(seconds(lambda: torch.mm(matrix, matrix)) for _ in range(5))
