"""What a measurement ran on."""

from __future__ import annotations

import pytest
import torch

from segnet.system.hardware import about, peak_gmacs


def test_the_machine_and_the_versions_are_told() -> None:
    told = about("torch", "no_such_package")
    assert told["cores"]
    assert told["versions"] == {"torch": torch.__version__}
    assert isinstance(told["commit"], str)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_peak_is_a_rate_and_the_threads_stay(precision: str) -> None:
    before = torch.get_num_threads()
    peak = peak_gmacs(precision, threads=1)
    assert peak is not None
    assert peak > 1
    assert torch.get_num_threads() == before


def test_a_precision_without_a_product_has_no_peak() -> None:
    assert peak_gmacs("float16") is None
