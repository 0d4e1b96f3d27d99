"""The network that a run trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from segnet.data.layouts import open_source
from segnet.training.network import make_network
from segnet.training.run_config import NetworkConfig


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        (
            "segnet_basic",
            None,
            "segnet_basic begins with random weights; --weights segnet_basic takes the bundled ones",
        ),
        ("bilinear", None, "bilinear begins with random weights"),
        ("segnet_basic", "segnet_basic", "loaded 60 of 60 tensors from segnet_basic"),
    ],
)
def test_a_new_network_says_which_weights_it_begins_with(
    model: str, weights: str | None, said: str, camvid_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="segnet")
    make_network(NetworkConfig(model=model, weights=weights), open_source(camvid_root))
    assert caplog.messages == [said]
