"""Which device to compute on, and in which precision."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from segnet.errors import ConfigError
from segnet.system.hardware import seconds

__all__ = ["Precision", "pick_device", "pick_precision"]

log = logging.getLogger("segnet")

Precision = Literal["auto", "float32", "bf16"]

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
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {str(name)!r} cannot be used ({reason}); choose auto, cpu, cuda or mps") from error
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; ``auto`` takes bfloat16 on CUDA, and on a CPU where a short timing shows it to be quicker.

    Raises:
        ConfigError: no such precision.
    """
    if name in {"float32", "bf16"}:
        return torch.bfloat16 if name == "bf16" else torch.float32
    if name != "auto":
        raise ConfigError(f"precision {name!r} is unknown; choose auto, float32 or bf16")
    quick = device.type == "cuda" or (
        device.type == "cpu" and _product_seconds(torch.bfloat16) < _WORTH_IT * _product_seconds(torch.float32)
    )
    log.info("precision auto: %s", "bf16" if quick else "float32")
    return torch.bfloat16 if quick else torch.float32


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    return min(seconds(lambda: torch.mm(matrix, matrix)) for _ in range(5))
