"""What a measurement ran on."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segnet.system import hardware as machine
from segnet.system.hardware import Peak, about, instruction_sets, peak_gmacs, processor_fingerprint, why_emulated

OF_2013 = ["avx", "avx2"]
OF_2023 = ["avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"]


class Clock:
    """Products that take as long as their rate says, on a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, rate: float) -> None:
        self.now, self.rate, self.sides = 0.0, rate, []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def product(self, side: int) -> Callable[[], None]:
        self.sides.append(side)
        return lambda: self.work(side)

    def work(self, side: int) -> None:
        self.now += side**3 / self.rate


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def processor(monkeypatch: pytest.MonkeyPatch, *found: str, **seconds: float) -> None:
    """A stand-in with these instruction sets, and small products that take so many seconds."""
    monkeypatch.setattr(machine, "instruction_sets", lambda: list(found))
    monkeypatch.setattr(machine, "_small_product", seconds.__getitem__)


def test_the_machine_and_the_versions_are_told() -> None:
    told = about("torch", "no_such_package")
    assert told["cores"]
    assert told["versions"] in ({"torch": torch.__version__}, {"torch": torch.__version__.partition("+")[0]})
    assert told["instruction_sets"] == " ".join(instruction_sets())
    assert isinstance(told["commit"], str)


def test_the_commit_is_that_of_this_package_and_not_of_a_project_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "venv" / "hardware.py"
    installed.parent.mkdir()
    installed.touch()
    author = ("-c", "user.name=a", "-c", "user.email=a")
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "__file__", str(installed))
    assert about()["commit"] == "unknown"
    subprocess.run(["git", "add", "venv"], cwd=tmp_path, check=True)
    assert str(about()["commit"]).endswith("+changes")


@pytest.mark.usefixtures("unlimited")
def test_switches_that_limit_the_instruction_sets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "instruction_sets_limited" not in about()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert about()["instruction_sets_limited"] == "ONEDNN_MAX_CPU_ISA=AVX2"


def test_pytorch_and_linux_name_the_same_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["model name : A", "flags : fpu avx avx2 avx512f avx512_bf16 amx_int8 avx512vl", "flags : none"]
    monkeypatch.setattr(machine.Path, "read_text", lambda self, encoding: "\n".join(lines))
    monkeypatch.setattr(machine.Path, "is_file", lambda self: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # older versions have none
    expected = ["avx", "avx2", "avx512f", "avx512_bf16", "amx_int8"]
    assert instruction_sets() == expected
    assert about()["processor"] == "A"
    told = {"avx": True, "avx2": True, "avx512_f": True, "avx512_vl": True, "avx512_bf16": True, "amx_int8": True}
    told |= {"avx_vnni": False, "l2_cache_size": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert instruction_sets() == expected
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"neon": True, "dot": True, "bf16": True}, raising=False)
    assert instruction_sets() == ["asimd", "asimddp", "bf16"]


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize(
    ("found", "emulated"),
    [
        (OF_2013, {"bf16": "none of avx512_bf16, amx_bf16$", "int8": "none of avx_vnni, avx512_vnni, amx_int8$"}),
        (["avx", "avx2", "avx_vnni"], {"bf16": "none of"}),
        (["avx", "avx2", "avx512f", "avx512_vnni"], {"bf16": "none of"}),
        (OF_2023, {}),
        (["asimd"], {"bf16": "none of bf16$", "int8": "none of asimddp, i8mm$"}),
        (["asimd", "asimddp", "bf16"], {}),
        ([], {}),
    ],
)
def test_a_precision_is_emulated_where_no_instruction_multiplies_in_it(
    found: list[str], emulated: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, *found, float32=1.0, bf16=0.5, int8=0.3)
    reasons = {name: why_emulated(name) for name in ("float32", "bf16", "int8", "float16")}
    assert {name for name, reason in reasons.items() if reason} == set(emulated)
    for name, pattern in emulated.items():
        assert re.match(f"{name} is emulated on this processor, which has {pattern}", reasons[name] or "")


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize("found", [OF_2023, []])
def test_a_small_product_that_is_far_slower_than_in_float32_is_emulated(
    found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, *found, float32=1.0, bf16=20.0, int8=3.0)
    assert "bf16 is emulated by this PyTorch" in (why_emulated("bf16") or "")
    assert why_emulated("int8") is None


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize(
    ("limit", "emulated"),
    [
        ("AVX2", {"bf16", "int8"}),
        ("avx2_vnni", {"bf16"}),
        ("AVX512_CORE_VNNI", {"bf16"}),
        ("AVX512_CORE_BF16", set()),
        ("ALL", set()),
    ],
)
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_what_onednn_may_not_use_is_not_there(
    name: str, limit: str, emulated: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, *OF_2023, float32=1.0, bf16=0.5, int8=0.3)
    monkeypatch.setenv(name, limit)
    assert {precision for precision in ("bf16", "int8") if why_emulated(precision)} == emulated


def test_the_peak_is_a_rate_and_the_threads_stay() -> None:
    before = torch.get_num_threads()
    peak = peak_gmacs("float32", threads=1, budget_s=0.1)
    assert peak.gmacs is not None
    assert peak.gmacs > 0
    assert peak.reason == ""
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_has_a_peak_or_a_reason(precision: str) -> None:
    peak = peak_gmacs(precision, threads=1, budget_s=0.1)
    assert (peak.gmacs is None) == bool(peak.reason)


@pytest.mark.usefixtures("unlimited")
def test_an_emulated_precision_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, *OF_2013)
    monkeypatch.setattr(machine, "_best_gmacs", None)
    assert peak_gmacs("bf16") == Peak(reason=why_emulated("bf16") or "")


@pytest.mark.parametrize("rate", [1e7, 1e8, 1e9, 1e10, 1e11, 1e13])
def test_the_peak_takes_a_second_whatever_the_machine_does(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, rate=rate)
    assert machine._best_gmacs(clock.product) == pytest.approx(rate / 1e9)
    assert clock.now <= 1.0 + 1e-9
    assert clock.sides == [128, 256, 512, 1024, 2048][: len(clock.sides)]
    assert (clock.sides[-1] == 2048) == (rate > 1e10)


@pytest.mark.parametrize("way", [machine._matrix_product, machine._convolution])
def test_both_ways_multiply_the_whole_matrices(way: Callable[..., Callable[[], torch.Tensor]]) -> None:
    found = way("float32", 128)()
    assert found.numel() == 128 * 128
    assert bool((found == 128).all())


def test_a_precision_without_a_product_has_no_peak() -> None:
    assert peak_gmacs("float16") == Peak(reason="PyTorch multiplies no matrices in float16")


def test_a_limit_on_instruction_sets_is_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = processor_fingerprint()
    assert processor_fingerprint() == before
    assert re.fullmatch("[0-9a-f]{64}", before)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2_LIMITED")
    assert processor_fingerprint() != before
