"""One Ray cluster on this machine for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from segnet.batch.ray_engine import connected
from segnet.batch.settings import EngineConfig


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a cluster with room for two processes."""
    with connected(EngineConfig(engine="ray", workers=2), threads=1, device="cpu"):
        import ray

        yield ray.get_runtime_context().gcs_address
