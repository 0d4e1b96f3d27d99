from __future__ import annotations

import pytest
import torch

from segnet.models.zoo import create_model
from segnet.training.memory_format import pick_memory_format


@pytest.mark.parametrize(
    ("name", "capability", "device", "wanted"),
    [
        ("segnet_basic", "AVX2", "cpu", torch.contiguous_format),
        ("segnet_basic", "AVX512", "cpu", torch.channels_last),
        ("segnet_basic", "DEFAULT", "cpu", torch.channels_last),
        ("segnet_basic", "AVX2", "cuda", torch.channels_last),
        ("segnet_light", "AVX2", "cpu", torch.channels_last),
    ],
)
def test_dense_filters_are_contiguous_where_avx2_is_all_there_is(
    name: str, capability: str, device: str, wanted: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert pick_memory_format(create_model(name, classes=3), torch.device(device)) == wanted
