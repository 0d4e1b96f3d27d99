from __future__ import annotations

from typing import Any

import pytest
import torch

from segnet.errors import ConfigError
from segnet.system import devices
from segnet.system.devices import pick_device, pick_precision


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"precision 'int4' is unknown; choose auto, float32 or bf16"):
        pick_precision("int4", torch.device("cpu"))


def test_a_named_precision_is_taken_as_it_is() -> None:
    cpu = torch.device("cpu")
    assert (pick_precision("float32", cpu), pick_precision("bf16", cpu)) == (torch.float32, torch.bfloat16)


def stub(monkeypatch: pytest.MonkeyPatch, *, emulated: str | None, seconds: dict[torch.dtype, float]) -> None:
    monkeypatch.setattr(devices, "why_emulated", {"bf16": emulated, "float32": None}.__getitem__)
    monkeypatch.setattr(devices, "_product_seconds", seconds.__getitem__)


@pytest.mark.parametrize(("half", "taken"), [(0.5, torch.bfloat16), (0.9, torch.float32)])
def test_auto_takes_bf16_on_a_cpu_only_where_it_is_much_quicker(
    monkeypatch: pytest.MonkeyPatch, half: float, taken: torch.dtype
) -> None:
    stub(monkeypatch, emulated=None, seconds={torch.float32: 1.0, torch.bfloat16: half})
    assert pick_precision("auto", torch.device("cpu")) == taken


def test_auto_never_takes_emulated_bf16_and_times_nothing_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, emulated="it is", seconds={})  # a timing would be a KeyError
    assert pick_precision("auto", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("emulated", [None, "bf16 is emulated on this processor"])
def test_named_bf16_is_taken_with_a_warning_where_it_is_emulated(
    emulated: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub(monkeypatch, emulated=emulated, seconds={})
    assert pick_precision("bf16", torch.device("cpu")) == torch.bfloat16
    assert pick_precision("bf16", torch.device("cuda")) == torch.bfloat16
    expected = [f"precision bf16 is slow here: {emulated}; float32 is faster"] if emulated else []
    assert [record.getMessage() for record in caplog.records] == expected


def test_auto_takes_bf16_on_cuda_and_float32_elsewhere() -> None:
    assert pick_precision("auto", torch.device("cuda")) == torch.bfloat16
    assert pick_precision("auto", torch.device("mps")) == torch.float32


def test_the_timing_is_a_positive_number_of_seconds() -> None:
    assert devices._product_seconds(torch.float32) > 0


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "CPU!", None])
def test_an_unknown_device_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


def test_auto_takes_what_is_there() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")
