"""An exported file keeps its predictions on reference images, and is held to them wherever it runs."""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import segnet
from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ModelError
from segnet.exporting.export import export
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.media.images.reading import read_image
from segnet.models.segnet import SegNet
from segnet.runtimes import verification
from segnet.runtimes.base import FileRuntime, ImageBatch, softmax
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.verification import (
    apply_verification,
    record_reference,
    reference_images,
    verify,
    verify_first_use,
)

LABELS = ClassTable.from_names(["red", "green", "blue"])
SEEDS = (25, 8, 42)


class Brightest(FileRuntime):
    """The image's own channels are the logits, of another library version if wanted; counts its runs."""

    def __init__(self, path: Path, *, shift: float = 0.0, backend: str = "Toy 1.0", **changes: Any) -> None:
        super().__init__(path, ModelInfo(name="brightest", labels=LABELS, **changes), backend=backend)
        self.shift = shift
        self.runs = 0

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        self.runs += 1
        logits = image.copy()
        logits[:, 0] += self.shift
        if self.info.output == "mask":
            return [logits.argmax(axis=1).astype(np.uint8)]
        return [softmax(logits) if self.info.output == "probabilities" else logits]


def exported_runtime(folder: Path, **changes: Any) -> Brightest:
    """As ``segnet export`` leaves it: a file, and its predictions in its metadata."""
    path = folder / "brightest.onnx"
    path.write_bytes(b"weights")
    runtime = Brightest(path, **changes)
    runtime.info = replace(runtime.info, reference=record_reference(runtime))
    runtime.runs = 0
    return runtime


def moved(runtime: Brightest, *, shift: float, backend: str = "Toy 2.0") -> Brightest:
    """The same file with a library that computes otherwise."""
    other = Brightest(runtime.path, shift=shift, backend=backend)
    other.info = runtime.info
    return other


def with_changed_reference(runtime: Brightest, **changes: Any) -> Brightest:
    runtime.info = replace(runtime.info, reference={**runtime.info.reference, **changes})
    return runtime


def notes(cache: Path) -> list[Path]:
    return sorted(cache.glob("verified/*"))


def test_reference_images_are_packaged_pixel_by_pixel() -> None:
    """The digest is part of every exported file: other pixels would make all of them unverifiable."""
    digest = hashlib.sha256()
    for number, seed in enumerate(SEEDS, start=1):
        pixels = read_image(Path(segnet.__file__).parent / "data" / "sample" / f"reference_{number}.png")
        drawn = render_scene(seed, size=(120, 160))[0]
        assert np.abs(pixels.astype(int) - drawn).mean() < 0.5  # the drawing may round differently elsewhere
        digest.update(pixels.tobytes())
    assert digest.hexdigest() == "ffbe99d9f2d0662f4afd4f858421fede5f97a64b29b27409f059d250332ee081"


@pytest.mark.parametrize("size", [None, (120, 160), (37, 42), (250, 161)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reference_images_take_the_nearest_pixel(size: tuple[int, int] | None, channels: int) -> None:
    height, width = size or (120, 160)
    own = [image[0] for image in reference_images(None, 3)]
    for image, source in zip(reference_images(size, channels), own, strict=True):
        assert (image.shape, image.dtype) == ((1, channels, height, width), np.float32)
        for channel, y, x in [(0, 0, 0), (channels - 1, height - 1, width - 1), (0, height // 2, width // 3)]:
            assert image[0, channel, y, x] == source[channel % 3, y * 120 // height, x * 160 // width]


@pytest.mark.parametrize(("kind", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml"), ("torch", ".pt2")])
def test_an_exported_file_is_verified(kind: str, suffix: str, exported: Callable[[str, str], Path]) -> None:
    runtime = open_runtime(exported(kind, suffix), device="cpu")
    found = verify(runtime)
    assert (found.path, found.images, found.pixels) == (runtime.path, 3, 3 * 120 * 160)
    assert found.agreement >= 0.9999
    assert str(found).startswith(f"{runtime.path}: same classes as where it was exported in ")
    assert str(found).endswith(" % of the pixels of 3 reference images")


def test_the_report_and_the_file_keep_the_same_predictions(toy: SegNet, tmp_path: Path) -> None:
    config = ExportConfig(size=(24, 32))
    path = export(toy, ClassTable.from_names(["a", "b", "c"]), tmp_path / "onnx.onnx", config=config).path
    runtime = open_runtime(path, device="cpu")
    report = json.loads(path.with_name(f"{path.name}.report.json").read_text(encoding="utf-8"))
    kept = report["reference"]
    assert kept == runtime.info.reference
    masks = np.frombuffer(zlib.decompress(b64decode(kept["masks"])), np.uint8).reshape(kept["shape"])
    expected = [runtime.output(image).argmax(axis=1)[0] for image in reference_images((24, 32), 3)]
    assert np.mean(masks == np.stack(expected)) > 0.9999
    assert hashlib.sha256(masks.tobytes()).hexdigest() == kept["sha256"]
    assert kept["backend"].startswith("ONNX Runtime 1.")


@pytest.mark.parametrize("output", ["logits", "probabilities", "mask"])
def test_every_output_is_verified_by_its_classes(output: Any, tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path, output=output)
    assert verify(runtime).agreement == 1.0
    assert runtime.runs == 3
    runtime.shift = 0.05
    with pytest.raises(ModelError, match="other classes than where it was exported"):
        verify(runtime)


@pytest.mark.parametrize(("size", "shape"), [((37, 42), [3, 37, 42]), ((720, 961), [3, 240, 321])])
def test_a_file_of_one_size_is_verified_at_that_size(size: Any, shape: list[int], tmp_path: Path) -> None:
    """Large masks are kept at every n-th row and column."""
    runtime = exported_runtime(tmp_path, size=size, batch=1)
    assert runtime.info.reference["shape"] == shape
    assert verify(runtime).pixels == np.prod(shape)


def test_less_than_a_thousandth_of_the_pixels_may_differ(tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path)
    masks = np.concatenate([runtime.run(image).mask for image in reference_images(None, 3)])

    def kept(changed: int) -> Brightest:
        other = masks.ravel().copy()
        other[:changed] = (other[:changed] + 1) % 3
        packed = b64encode(zlib.compress(other.tobytes())).decode()
        return with_changed_reference(runtime, masks=packed, sha256=hashlib.sha256(other.tobytes()).hexdigest())

    found = verify(kept(57))  # of 57,600
    assert "in 99.90 % of the pixels" in str(found)
    assert found.passed
    with pytest.raises(ModelError, match=r"only 99.89 % of the pixels .*, at least 99.90 % expected"):
        verify(kept(58))


def test_the_likely_cause_is_told(tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path, precision="int8")
    with pytest.raises(
        ModelError, match=r"exported with Toy 1.0 on .* runs with Toy 2.0 on .*: INT8 rounds differ"
    ) as e:
        verify(moved(runtime, shift=0.05))
    assert str(e.value).endswith("; export it anew on this machine")
    assert "\n" not in str(e.value)
    with pytest.raises(ModelError, match="so the file was probably changed since"):
        verify(moved(runtime, shift=0.05, backend="Toy 1.0"))
    limited = with_changed_reference(moved(runtime, shift=0.05, backend="Toy 1.0"), instructions="0" * 64)
    with pytest.raises(ModelError, match=r"runs with Toy 1.0 on .* with other instruction sets: INT8 rounds differ"):
        verify(limited)
    runtime = exported_runtime(tmp_path)
    with pytest.raises(ModelError, match="another library version, device or precision computes differently"):
        verify(moved(runtime, shift=0.05))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": 4, "output": "probabilities"}, "draws samples, so its classes differ from run to run"),
        ({}, "keeps no reference predictions, so it cannot be verified; export the model anew"),
    ],
)
def test_a_file_without_predictions_says_why(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"a.onnx: {told}"):
        verify(Brightest(tmp_path / "a.onnx", **changes))


def test_a_network_in_pytorch_has_nothing_to_verify() -> None:
    with pytest.raises(
        ModelError, match="segnet_basic: runs in PyTorch from its weights, so there is nothing to verify"
    ):
        segnet.Predictor.load("segnet_basic", runtime="torch", device="cpu").verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": "a"},
        {"masks": b64encode(b"no zlib").decode()},
        {"masks": 7},
        {"masks": b64encode(zlib.compress(bytes(3 * 120 * 160))).decode()},
        {"masks": b64encode(zlib.compress(bytes(10**7))).decode()},
        {"shape": [3, 120]},
        {"shape": [3, -120, 160]},
        {"shape": [-1, 1, 1]},
        {"shape": [10**30, 1, 1]},
        {"shape": [float("inf"), 1, 1]},
        {"shape": None},
        {"sha256": "0" * 64},
    ],
)
def test_damaged_predictions_are_told(changes: dict[str, Any], tmp_path: Path) -> None:
    runtime = with_changed_reference(exported_runtime(tmp_path), **changes)
    with pytest.raises(
        ModelError, match=r"brightest.onnx: its reference predictions are damaged.*export the model anew"
    ):
        verify(runtime)


def test_predictions_of_other_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was exported with other reference images"):
        verify(with_changed_reference(exported_runtime(tmp_path), images="0" * 64))


def test_predictions_of_another_size_are_told(tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path)
    runtime.info = replace(runtime.info, size=(60, 80))
    with pytest.raises(ModelError, match="its reference predictions are of another size"):
        verify(runtime)


def test_the_first_use_of_an_int8_file_is_verified_and_remembered(own_cache: Path, tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path, precision="int8")
    verify_first_use(runtime)
    assert runtime.runs == 3
    (note,) = notes(own_cache)
    assert json.loads(note.read_text()) == {"file": "brightest.onnx", "backend": "Toy 1.0", "agreement": 1.0}
    verify_first_use(runtime)
    assert runtime.runs == 3
    verify(runtime)
    assert runtime.runs == 6


@pytest.mark.parametrize("change", ["file", "library", "processor"])
def test_another_file_library_or_processor_is_another_first_use(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = exported_runtime(tmp_path, precision="int8")
    verify_first_use(runtime)
    if change == "file":
        runtime.path.write_bytes(b"other weights")
    elif change == "library":
        runtime = moved(runtime, shift=0.0)
    else:
        monkeypatch.setattr(verification, "processor_fingerprint", lambda: "another")
    runtime.runs = 0
    verify_first_use(runtime)
    assert runtime.runs == 3


@pytest.mark.parametrize("changes", [{}, {"precision": "float16"}])
def test_other_files_are_not_verified_unasked(changes: dict[str, Any], own_cache: Path, tmp_path: Path) -> None:
    runtime = exported_runtime(tmp_path, **changes)
    apply_verification(runtime, "first_use")
    apply_verification(runtime, "never")
    assert (runtime.runs, notes(own_cache)) == (0, [])


def test_an_int8_file_without_predictions_runs_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = Brightest(tmp_path / "old.onnx", precision="int8")
    verify_first_use(runtime)
    assert (runtime.runs, caplog.text) == (0, "")


def test_a_failing_first_use_is_a_warning_and_is_not_remembered(
    own_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = moved(exported_runtime(tmp_path, precision="int8"), shift=0.05)
    for runs in (3, 6):
        verify_first_use(runtime)
        assert runtime.runs == runs
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert told[0].startswith(f"segnet: {runtime.path}: other classes than where it was exported: only ")
    assert notes(own_cache) == []


@pytest.mark.parametrize("place", ["brightest.onnx/cache", "/proc/segnet"])  # not even root can write there
def test_a_cache_folder_that_cannot_be_written_breaks_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SEGNET_CACHE", str(tmp_path / place))
    runtime = exported_runtime(tmp_path, precision="int8")
    for runs in (3, 6):
        verify_first_use(runtime)
        assert runtime.runs == runs
    assert caplog.text == ""


def test_a_cache_folder_that_cannot_be_entered_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if "verified" in path.parts:
            raise PermissionError(path)
        return is_file(path)

    runtime = exported_runtime(tmp_path, precision="int8")
    monkeypatch.setattr(Path, "is_file", refuse)
    verify_first_use(runtime)
    assert runtime.runs == 3


def test_both_files_of_openvino_decide(exported: Callable[[str, str], Path], tmp_path: Path) -> None:
    path = tmp_path / "toy.xml"
    for suffix in (".xml", ".bin"):
        path.with_suffix(suffix).write_bytes(exported("openvino", ".xml").with_suffix(suffix).read_bytes())
    before = verification._key(Brightest(path))
    path.with_suffix(".bin").write_bytes(b"other")
    assert verification._key(Brightest(path)) != before


def test_weights_that_were_changed_are_noticed(exported: Callable[[str, str], Path], tmp_path: Path) -> None:
    model = onnx.load(exported("onnx", ".onnx"))
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    filters = next(tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
    filters.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(filters), filters.name))
    onnx.save(model, tmp_path / "tampered.onnx")
    predictor = segnet.Predictor.load(tmp_path / "tampered.onnx", device="cpu")
    with pytest.raises(ModelError, match=r"tampered.onnx: other classes .* probably changed since; export it anew"):
        predictor.verify()
    with pytest.raises(ModelError, match="other classes"):
        segnet.Predictor.load(tmp_path / "tampered.onnx", device="cpu", verify="always")


def test_verification_ignores_test_time_augmentation(exported: Callable[[str, str], Path]) -> None:
    tta = segnet.TTAConfig(tta_flip=True)
    predictor = segnet.Predictor.load(exported("onnx", ".onnx"), device="cpu", tta=tta, verify="always")
    assert predictor.verify().passed


def test_files_of_before_still_open(exported: Callable[[str, str], Path], tmp_path: Path) -> None:
    model = onnx.load(exported("onnx", ".onnx"))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    about = json.loads(properties[KEY])
    del about["reference"]
    onnx.helper.set_model_props(model, {**properties, KEY: json.dumps(about)})
    onnx.save(model, tmp_path / "old.onnx")
    assert open_runtime(tmp_path / "old.onnx", device="cpu").info.reference == {}
