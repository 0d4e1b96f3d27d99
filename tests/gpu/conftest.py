"""The device of the GPU tests: CUDA; they are skipped where there is none.

``SEGNET_TEST_DEVICE=cpu`` runs them on the CPU, to try the tests themselves; ``tools/gpu.sh --dry-run`` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    wanted = torch.device(os.environ.get("SEGNET_TEST_DEVICE", "cuda"))
    if wanted.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return wanted


@pytest.fixture
def exact_float32() -> Iterator[None]:
    """No TF32, which rounds the factors of float32 products to 10 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
