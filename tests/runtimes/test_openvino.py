from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.models.segnet import SegNet
from segnet.runtimes import openvino as runtime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.openvino import OpenVinoRuntime
from segnet.system.threads import available_cores


@pytest.fixture(scope="session")
def path(exported: Callable[[str, str], Path]) -> Path:
    return exported("openvino", ".xml")


@pytest.fixture
def copied(path: Path, tmp_path: Path) -> Path:
    for file in (path, path.with_suffix(".bin")):
        shutil.copy(file, tmp_path / f"copied{file.suffix}")
    return tmp_path / "copied.xml"


def test_a_file_gives_pytorchs_logits(path: Path, toy: SegNet, image: np.ndarray) -> None:
    with torch.no_grad():
        expected = toy(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(OpenVinoRuntime(path).output(image), expected, atol=1e-4)


def test_one_image_does_not_overwrite_the_previous_one(path: Path) -> None:
    runtime, zeros = OpenVinoRuntime(path), np.zeros((1, 3, 8, 8), dtype=np.float32)
    first = runtime.output(zeros)
    kept = first.copy()
    runtime.output(zeros + 1)
    np.testing.assert_array_equal(first, kept)


def test_two_images_at_the_same_time_give_what_each_gives_alone(path: Path) -> None:
    images = [np.random.default_rng(seed).random((1, 3, 16, 24), dtype=np.float32) for seed in range(12)]
    runtime = OpenVinoRuntime(path)
    alone = [runtime.output(image) for image in images]
    with runtime.concurrent() as threads, ThreadPoolExecutor(4) as pool:  # more than there are requests
        assert threads == (2 if available_cores() > 1 else 1)
        for found, expected in zip(pool.map(runtime.output, images), alone, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_inference_begins_before_the_first_of_a_model_has_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's bindings hang if two threads use arrays for the first time at the same time."""
    runtime, image, events = OpenVinoRuntime(path), np.zeros((1, 3, 8, 8), dtype=np.float32), []
    infer = runtime._infer

    def slow(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        events.append("begin")
        time.sleep(0.05)
        outputs = infer(inputs)
        events.append("end")
        return outputs

    monkeypatch.setattr(runtime, "_infer", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(runtime.output, [image, image]))
    assert events == ["begin", "end"] * 2


def test_a_file_that_changed_is_not_read_again(copied: Path) -> None:
    runtime = OpenVinoRuntime(copied)
    copied.with_suffix(".bin").unlink()
    with runtime.concurrent() as threads:
        assert threads == 1
    assert runtime.output(np.zeros((1, 3, 8, 8), dtype=np.float32)).shape == (1, 3, 8, 8)


def test_one_thread_computes_one_image_at_a_time(path: Path) -> None:
    with OpenVinoRuntime(path, threads=1).concurrent() as threads:
        assert threads == 1


def test_a_file_has_its_metadata(path: Path) -> None:
    info = open_runtime(path).info
    assert (info.name, info.output, info.size, info.batch) == ("toy", "logits", None, None)
    assert info.labels.names == ("sky", "Straße", "<tree>")
    assert (info.provenance, info.scores) == ({"terms": "mine"}, {"miou": 0.5})


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_other_precisions_predict_nearly_the_same(precision: str, path: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 24), dtype=np.float32)
    rough = OpenVinoRuntime(path, device="cpu", precision=precision, threads=1).run(image).mask
    assert np.mean(rough == OpenVinoRuntime(path).run(image).mask) > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "abacus"}, "OpenVINO has no device 'abacus' here; choose one of .*CPU"),
        ({"precision": "int4"}, "precision 'int4' is unknown; choose auto, float32 or bf16"),
    ],
)
def test_unavailable_devices_and_precisions_are_an_error(settings: dict[str, str], message: str, path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenVinoRuntime(path, **settings)


def opened_elsewhere(path: Path) -> str:
    """What opening it raises, in a process of its own: OpenVINO's reader may leave one that crashes later."""
    code = (
        "import sys, pathlib\nfrom segnet.runtimes.openvino import OpenVinoRuntime, ModelError\n"
        "try: OpenVinoRuntime(pathlib.Path(sys.argv[1]))\nexcept ModelError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_file_is_an_error(damage: Callable[[bytes], bytes], suffix: str, copied: Path) -> None:
    part = copied.with_suffix(suffix)
    part.write_bytes(damage(part.read_bytes()))
    lines = opened_elsewhere(copied).splitlines()
    assert len(lines) == 1
    assert "copied.xml: OpenVINO cannot use it" in lines[0]


def test_metadata_that_is_no_text_is_an_error(copied: Path) -> None:
    content = copied.read_bytes()
    copied.write_bytes(content.replace(b"&quot;name&quot;: &quot;toy", b"&quot;name&quot;: &quot;\xff\xfey"))
    assert copied.read_bytes() != content
    with pytest.raises(ModelError, match=r"copied.xml: OpenVINO cannot use it"):
        OpenVinoRuntime(copied)


def test_missing_weights_are_an_error(copied: Path) -> None:
    copied.with_suffix(".bin").unlink()
    assert "its complete .bin must lie beside it" in opened_elsewhere(copied)


def test_a_file_of_another_program_is_an_error(path: Path, tmp_path: Path) -> None:
    model = openvino.Core().read_model(path)
    del model.rt_info["segnet"]
    openvino.save_model(model, tmp_path / "foreign.xml")
    with pytest.raises(ModelError, match=r"foreign.xml: has no segnet metadata"):
        OpenVinoRuntime(tmp_path / "foreign.xml")


def test_a_missing_library_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_core", runtime._core.__wrapped__)  # without what it remembers
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match=r"openvino is not installed; .*'segnet\[openvino\]'"):
        OpenVinoRuntime(path)


def test_signals_are_handled_after_a_file_was_closed(path: Path) -> None:
    """OpenVINO installs a signal stack in its thread, and would free it in the thread that closes the last file."""
    program = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np
from segnet.runtimes.openvino import OpenVinoRuntime
signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
kept = [OpenVinoRuntime(Path(sys.argv[1]))]
kept[0].run(np.zeros((1, 3, 16, 16), dtype=np.float32))
closing = threading.Thread(target=kept.clear)
closing.start()
closing.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
