"""The same answers with lesser instruction sets, as far as PyTorch and oneDNN have switches for it.

Run by ``tools/check.sh`` with ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` set, beside tests of other files.
OpenVINO's oneDNN obeys the second one too; ONNX Runtime has no such switch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.data.synthetic.scenes import SAMPLE_SEED, render_scene
from segnet.runtimes.pytorch import load_checkpoint
from segnet.system.devices import pick_precision
from segnet.system.hardware import instruction_sets, peak_gmacs

SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
FREE = """
import sys
import numpy as np
import torch
from segnet.runtimes.pytorch import load_checkpoint
runtime = load_checkpoint("segnet_light", device="cpu")
np.save(sys.argv[2], runtime.run(np.load(sys.argv[1]), probabilities=True).probabilities)
print(torch.backends.cpu.get_cpu_capability())
"""
KINDS = """
import numpy as np
import openvino
from openvino import opset13
image = opset13.parameter([1, 16, 8, 8], np.float32)
filters = opset13.constant(np.ones((16, 16, 3, 3), np.float32))
node = opset13.convolution(image, filters, [1, 1], [0, 0], [0, 0], [1, 1])
compiled = openvino.Core().compile_model(openvino.Model([node], [image], "one"), "CPU")
for each in compiled.get_runtime_model().get_ops():
    print(each.get_rt_info()["primitiveType"].value)
"""


def test_pytorch_is_limited() -> None:
    assert torch.backends.cpu.get_cpu_capability() == os.environ["ATEN_CPU_CAPABILITY"].upper()


def test_onednn_in_pytorch_is_limited() -> None:
    code = "import torch; torch.nn.functional.conv2d(torch.rand(1, 64, 64, 64), torch.rand(64, 64, 3, 3))"
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if ",cpu,isa:" in line]
    assert told
    assert all(line.endswith("isa:Intel AVX2") for line in told)
    assert "avx512" not in done.stdout


def test_openvino_is_limited() -> None:
    # OpenVINO 2026.4 fails where a processor with bfloat16 is limited to AVX2: there AVX-512 without AMX is its limit.
    bf16 = "avx512_bf16" in instruction_sets()
    limit, kind, beyond = ("AVX512_CORE", "avx512", "amx") if bf16 else ("AVX2", "avx2", "avx512")
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    words = [sys.executable, "-c", KINDS]
    kinds = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any(kind in each for each in kinds)
    assert not any(beyond in each or "amx" in each for each in kinds)


def test_bf16_is_emulated_and_auto_does_not_take_it() -> None:
    assert pick_precision("auto", torch.device("cpu")) == torch.float32
    assert peak_gmacs("bf16", threads=1).reason.startswith("bf16 is emulated")
    assert peak_gmacs("int8", threads=1).reason.startswith("int8 is emulated")


def test_a_bundled_model_predicts_what_it_predicts_without_limits(tmp_path: Path) -> None:
    scene, _ = render_scene(SAMPLE_SEED, size=(120, 160))
    image = np.ascontiguousarray(scene.transpose(2, 0, 1)[None] / np.float32(255))
    np.save(tmp_path / "image.npy", image)
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    words = [sys.executable, "-c", FREE, str(tmp_path / "image.npy"), str(tmp_path / "free.npy")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    if done.stdout.strip() == torch.backends.cpu.get_cpu_capability():
        pytest.skip("this processor has no more than the limit allows")
    found, free = (
        load_checkpoint("segnet_light", device="cpu").run(image, probabilities=True).probabilities,
        np.load(tmp_path / "free.npy"),
    )
    np.testing.assert_allclose(found, free, atol=1e-3)
    assert (found.argmax(1) == free.argmax(1)).mean() > 0.999
