from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as Pillow

from segnet.errors import ConfigError, ModelError, ShapeError
from segnet.inference.inferer import as_batch
from segnet.inference.predictor import Predictor
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.base import FileRuntime, ImageBatch, Output, argmax
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.pytorch import TorchRuntime
from segnet.visualization.style import OverlayStyle


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (21, 30, 3), dtype=np.uint8)


def predictor_of(model: SegNet, labels: ClassTable, **options: object) -> Predictor:
    return Predictor(TorchRuntime(model, labels, device="cpu"), **options)  # type: ignore[arg-type]


def test_mask_is_the_argmax_of_the_plain_model(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    prediction = predictor_of(narrow, five_labels)(image)
    with torch.no_grad():
        logits = narrow.eval()(torch.tensor(image).permute(2, 0, 1)[None] / 255)
    assert prediction.mask.dtype == np.uint8
    assert prediction.confidence is None
    assert (prediction.mask == logits[0].argmax(0).numpy()).mean() > 0.99  # folding rounds


def test_confidence_is_the_largest_softmax_probability(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    prediction = predictor_of(narrow, five_labels, confidence=True)(image)
    with torch.no_grad():
        logits = narrow.eval()(torch.tensor(image).permute(2, 0, 1)[None] / 255)[0].double().numpy()
    power = np.exp(logits - logits.max(axis=0))
    assert prediction.confidence is not None
    assert prediction.confidence.dtype == np.float32
    np.testing.assert_allclose(prediction.confidence, (power / power.sum(axis=0)).max(axis=0), atol=1e-4)
    assert prediction.confidence.min() > 0
    assert prediction.confidence.max() <= 1
    np.testing.assert_array_equal(prediction.mask, predictor_of(narrow, five_labels)(image).mask)


def test_a_gray_model_takes_one_channel() -> None:
    model = SegNet(
        SegNetConfig(
            name="gray",
            encoder=EncoderConfig(widths=((4,),)),
            decoder=DecoderConfig(widths=((4,),)),
            classes=2,
            in_channels=1,
        )
    )
    predictor = predictor_of(model, ClassTable.from_names(["a", "b"]))
    for shape in ((7, 5, 1), (7, 5), (7, 5, 3)):
        prediction = predictor(np.zeros(shape, np.uint8))
        assert prediction.mask.shape == (7, 5)
        assert prediction.image is not None
        assert prediction.image.shape == (7, 5, 1)
        assert prediction.overlay(OverlayStyle(legend="none")).size == (5, 7)


def test_views_and_read_only_images_are_taken_without_a_warning(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    predictor = predictor_of(narrow, five_labels)
    view = image[::-1, ::-1]
    frozen = np.ascontiguousarray(view)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(predictor(view).mask, predictor(frozen).mask)


def test_a_predictor_is_loaded_from_a_model_file(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray, tmp_path: Path
) -> None:
    path = checkpoint.save(narrow, five_labels, tmp_path / "a.safetensors")
    loaded = Predictor.load(path, device="cpu", confidence=True)
    assert (loaded.labels, loaded.channels, loaded.confidence) == (five_labels, 3, True)
    np.testing.assert_array_equal(loaded(image).mask, predictor_of(narrow, five_labels)(image).mask)
    with pytest.raises(ModelError, match=r"nowhere\.safetensors"):
        Predictor.load(tmp_path / "nowhere.safetensors")


def test_a_larger_image_is_downscaled_and_its_probabilities_are_upsampled(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    large = np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)  # 84x120
    prediction = predictor_of(narrow, five_labels, max_size=30, confidence=True)(large)
    assert prediction.confidence is not None
    assert prediction.mask.shape == prediction.confidence.shape == (84, 120)
    inside = np.asarray(Pillow.fromarray(large).resize((30, 21), Pillow.Resampling.BILINEAR))
    probabilities = torch.from_numpy(
        TorchRuntime(narrow, device="cpu").run(as_batch(inside), probabilities=True).probabilities
    )
    assert prediction.working_size == (21, 30)
    confidence, mask = F.interpolate(probabilities, (84, 120), mode="bilinear")[0].max(dim=0)
    np.testing.assert_array_equal(prediction.mask, mask)
    np.testing.assert_allclose(prediction.confidence, confidence, atol=1e-6)
    small = predictor_of(narrow, five_labels, max_size=30)(image)
    plain = predictor_of(narrow, five_labels)(image)
    assert np.array_equal(small.mask, plain.mask)  # not longer, hence untouched
    assert (predictor_of(narrow, five_labels)(large).mask.shape) == (84, 120)


@pytest.fixture
def bayesian(narrow_config: SegNetConfig) -> SegNet:
    return SegNet(replace(narrow_config, dropout=0.5))


def test_uncertainty_comes_with_the_mask_of_the_mean(
    bayesian: SegNet, five_labels: ClassTable, image: np.ndarray, tmp_path: Path
) -> None:
    path = checkpoint.save(bayesian, five_labels, tmp_path / "a.safetensors")
    wanted = TorchRuntime(bayesian, device="cpu", samples=4, seed=2).run(as_batch(image), measure="mutual_information")
    found = Predictor.load(
        path, device="cpu", samples=4, seed=2, confidence=True, uncertainty=True, measure="mutual_information"
    )(image)
    assert found.uncertainty is not None
    assert wanted.probabilities is not None
    assert wanted.uncertainty is not None
    np.testing.assert_array_equal(found.mask, wanted.mask[0])
    np.testing.assert_array_equal(found.confidence, wanted.probabilities.max(axis=1)[0])
    np.testing.assert_array_equal(found.uncertainty, wanted.uncertainty[0])
    alone = Predictor.load(path, device="cpu", samples=4, seed=2)(image)
    assert alone.confidence is None
    assert alone.uncertainty is None
    np.testing.assert_array_equal(alone.mask, found.mask)


def test_the_measure_is_variance_of_samples_and_entropy_without(
    bayesian: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    assert predictor_of(bayesian, five_labels, uncertainty=True).measure == "entropy"
    sampled = Predictor(TorchRuntime(bayesian, five_labels, device="cpu", samples=2), uncertainty=True)
    assert sampled.measure == "variance"
    assert sampled(image).confidence is None
    with pytest.raises(ConfigError, match="narrow gives no variance as it is used here"):
        predictor_of(bayesian, five_labels, uncertainty=True, measure="variance")


def test_uncertainty_of_a_larger_image_is_upsampled(
    bayesian: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    large = np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)
    found = predictor_of(bayesian, five_labels, uncertainty=True, max_size=30)(large).uncertainty
    assert found is not None
    assert (found.shape, found.dtype) == ((84, 120), np.float32)
    inside = np.asarray(Pillow.fromarray(large).resize((30, 21), Pillow.Resampling.BILINEAR))
    small = predictor_of(bayesian, five_labels, uncertainty=True)(inside).uncertainty
    assert small is not None
    wanted = F.interpolate(torch.from_numpy(small)[None, None], (84, 120), mode="bilinear")[0, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


class Masks(FileRuntime):
    """A file that draws samples and outputs the mask of their mean, and their variance."""

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        size = (len(image), *image.shape[2:])
        return [np.ones(size, np.uint8), np.full(size, 0.5, np.float32)]


def test_a_file_of_class_indices_has_uncertainty_but_no_confidence(five_labels: ClassTable, image: np.ndarray) -> None:
    runtime = Masks(Path("toy.onnx"), ModelInfo(name="toy", labels=five_labels, output="mask", samples=4))
    found = Predictor(runtime, uncertainty=True)(image)
    assert found.uncertainty is not None
    assert (found.mask.min(), found.uncertainty.max()) == (1, 0.5)
    with pytest.raises(ModelError, match=r"toy.onnx: outputs class indices only; export it with --output"):
        Predictor(runtime, confidence=True, uncertainty=True)


def test_pixels_of_another_kind_are_refused(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    predictor = predictor_of(narrow, five_labels)
    assert np.array_equal(predictor.predict_pixels(np.float32(image / 255)).mask, predictor(image).mask)
    for pixels in (image / 255, np.float16(image / 255), image[..., 0], image[..., :1], image[:0]):
        for method in (predictor.predict_pixels, predictor.predict_pixel_planes, predictor.resize_pixels):
            with pytest.raises(ShapeError, match=r"were given; expected \(H, W, 3\) of uint8, or of float32"):
                method(pixels)


def test_a_batch_has_images_of_one_working_size(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    predictor = predictor_of(narrow, five_labels)
    for images, sizes in (([image, image[:9]], 2), ([], 0)):
        with pytest.raises(ShapeError, match=f"images of {sizes} working sizes were given; expected one or more"):
            predictor.predict_batch(images)


@pytest.fixture
def wide() -> np.ndarray:
    coarse = np.random.default_rng(7).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(coarse).resize((420, 300), Pillow.Resampling.BICUBIC))


def test_tiles_give_what_the_whole_image_gives(narrow: SegNet, five_labels: ClassTable, wide: np.ndarray) -> None:
    settings = {"confidence": True, "uncertainty": True}
    whole = predictor_of(narrow, five_labels, tiles=None, **settings)(wide)
    tiled = predictor_of(narrow, five_labels, tiles=TileConfig(tile=256, overlap=96), **settings)(wide)
    assert whole.confidence is not None
    assert tiled.confidence is not None
    assert whole.uncertainty is not None
    assert tiled.uncertainty is not None
    assert (tiled.mask != whole.mask).mean() < 0.005
    np.testing.assert_allclose(tiled.confidence, whole.confidence, atol=0.01)
    np.testing.assert_allclose(tiled.uncertainty, whole.uncertainty, atol=0.02)


def test_images_are_cut_when_they_would_take_more_memory_than_allowed(
    narrow: SegNet, five_labels: ClassTable, wide: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    inner = TorchRuntime.run

    def run(self: TorchRuntime, batch: ImageBatch, **options: Any) -> Output:
        seen.append(batch.shape)
        return inner(self, batch, **options)

    monkeypatch.setattr(TorchRuntime, "run", run)
    predictor_of(narrow, five_labels)(wide)
    assert seen == [(1, 3, 300, 420)]
    seen.clear()
    predictor_of(narrow, five_labels, tiles=TileConfig(memory=0.1, overlap=32))(wide)
    assert len(seen) > 1
    assert max(height * width for _, _, height, width in seen) * (1200 + 16 * 5) < 0.1e9
    seen.clear()
    predictor_of(narrow, five_labels, tiles=TileConfig(memory=0.1, overlap=32), max_size=100)(wide)
    assert seen == [(1, 3, 71, 100)]


def test_a_file_with_a_fixed_input_size_segments_larger_images_in_tiles_of_it(
    five_labels: ClassTable, wide: np.ndarray
) -> None:
    class Fixed(Masks):
        def forward(self, image: ImageBatch) -> list[np.ndarray]:
            assert image.shape == (1, 3, 128, 160)
            return super().forward(image)

    info = ModelInfo(name="toy", labels=five_labels, output="mask", samples=4, size=(128, 160))
    found = Predictor(Fixed(Path("toy.onnx"), info), uncertainty=True)(wide)
    assert found.mask.shape == (300, 420)
    assert (found.mask == 1).all()
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, 0.5, rtol=1e-5)
    with pytest.raises(ShapeError, match="was exported for images of 128x160, not 100x420"):
        Predictor(Fixed(Path("toy.onnx"), info))(wide[:100])


def test_an_image_is_not_downscaled_below_a_fixed_input_size(five_labels: ClassTable) -> None:
    info = ModelInfo(name="toy", labels=five_labels, output="mask", samples=4, size=(480, 640))
    predictor = Predictor(Masks(Path("toy.onnx"), info), max_size=480)
    assert predictor.working_size(480, 640) == (480, 640)
    assert predictor.working_size(1080, 1920) == (480, 853)
    found = predictor(np.zeros((700, 700, 3), np.uint8)).mask
    assert found.shape == (700, 700)
    assert (found == 1).all()  # upsampled from class indices


def test_too_little_memory_is_an_error_with_the_given_value(
    narrow: SegNet, five_labels: ClassTable, wide: np.ndarray
) -> None:
    tta = TTAConfig(tta_scales=(1.0, 2.0))
    predictor = predictor_of(narrow, five_labels, tiles=TileConfig(memory=0.05), tta=tta)
    with pytest.raises(ConfigError, match=r"memory=0\.05 GB is too little for an image 420 pixels wide"):
        predictor(wide)


def test_image_scale_overrides_max_size(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    predictor = predictor_of(narrow, five_labels, max_size=10, image_scale=2.0)
    assert predictor.working_size(21, 30) == (42, 60)
    assert predictor(image).mask.shape == (21, 30)
    assert predictor_of(narrow, five_labels, image_scale=0.001).working_size(21, 30) == (1, 1)
    for scale in (0.0, -1.0, 20.0):
        with pytest.raises(ConfigError, match=r"give a number from 0\.001 to 16"):
            predictor_of(narrow, five_labels, image_scale=scale)


def test_by_default_the_working_size_is_that_of_the_training_images(narrow: SegNet, five_labels: ClassTable) -> None:
    for provenance, size in (({"longest": 320}, 320), ({}, 1024)):
        runtime = TorchRuntime(narrow, five_labels, device="cpu", provenance=provenance)
        assert Predictor(runtime).resize.max_size == Predictor(runtime, max_size="model").resize.max_size == size
        assert Predictor(runtime, max_size=None).working_size(3000, 2000) == (3000, 2000)
    assert Predictor.load("segnet_light").working_size(720, 960) == (360, 480)


def test_copies_of_an_image_are_averaged(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    tta = TTAConfig(tta_flip=True)
    one, other = (predictor_of(narrow, five_labels, tta=tta)(copied) for copied in (image, image[:, ::-1]))
    assert (one.mask == other.mask[:, ::-1]).mean() > 0.99
    assert (one.mask != predictor_of(narrow, five_labels)(image).mask).any()


SETTINGS = (
    {},
    {"max_size": 20},
    {"image_scale": 1.7},
    {"tiles": TileConfig(tile=160, overlap=32)},
    {"tiles": TileConfig(tile=160, overlap=32), "image_scale": 0.8},
)


@pytest.fixture
def tall() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (250, 210, 3), dtype=np.uint8)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_planes_are_what_the_prediction_is_made_of(
    narrow: SegNet, five_labels: ClassTable, tall: np.ndarray, settings: dict[str, object]
) -> None:
    predictor = predictor_of(narrow, five_labels, confidence=True, uncertainty=True, **settings)
    prediction, planes = predictor(tall), predictor.predict_planes(tall)
    assert planes.shape == (6, 250, 210)
    np.testing.assert_array_equal(argmax(planes[None, :5])[0], prediction.mask)
    np.testing.assert_array_equal(planes[:5].max(axis=0), prediction.confidence)
    np.testing.assert_allclose(planes[:5].sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(planes[5], prediction.uncertainty)
    assert prediction.working_size is not None
    assert (prediction.working_size == (250, 210)) == ("max_size" not in settings and "image_scale" not in settings)
    assert predictor.needs_tiles(*prediction.working_size) == ("tiles" in settings)


def test_class_indices_become_planes_of_zero_and_one(five_labels: ClassTable, tall: np.ndarray) -> None:
    runtime = Masks(Path("toy.onnx"), ModelInfo(name="toy", labels=five_labels, output="mask", samples=4))
    planes = Predictor(runtime, max_size=50, uncertainty=True).predict_planes(tall)
    assert planes.shape == (6, 250, 210)
    assert (planes[1] == 1).all()
    assert (planes[[0, 2, 3, 4]] == 0).all()
    np.testing.assert_allclose(planes[5], 0.5)


def test_the_start_of_each_image_is_marked_once(narrow: SegNet, five_labels: ClassTable, tall: np.ndarray) -> None:
    started: list[None] = []

    class Remembering(TorchRuntime):
        def start_image(self, size: tuple[int, int]) -> None:
            started.append(None)

    for settings in SETTINGS:
        predictor = Predictor(Remembering(narrow, five_labels, device="cpu"), **settings)  # type: ignore[arg-type]
        started.clear()
        predictor(tall)
        predictor.predict_planes(tall)
        assert len(started) == 2


def test_planes_take_what_the_predictor_takes(narrow: SegNet, five_labels: ClassTable, tall: np.ndarray) -> None:
    predictor = predictor_of(narrow, five_labels)
    wanted = predictor.predict_planes(tall)
    np.testing.assert_array_equal(predictor.predict_planes(tall[..., ::-1], order="bgr"), wanted)
    np.testing.assert_array_equal(predictor.predict_planes(Pillow.fromarray(tall)), wanted)
    with pytest.raises(ShapeError, match=r"shape \(250, 210, 2\); expected \(H, W, 3\) or \(H, W\)"):
        predictor.predict_planes(tall[..., :2])


@pytest.fixture
def mixed(image: np.ndarray, tmp_path: Path) -> list[Any]:
    """Images of two kinds and sizes in turn: four are segmented at 21x30, two at 30x21."""
    Pillow.fromarray(image).save(tmp_path / "a.png")
    Pillow.fromarray(np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)).save(tmp_path / "double.png")
    upright = image.transpose(1, 0, 2)
    return [image, upright, tmp_path / "a.png", Pillow.fromarray(upright), image[::-1], str(tmp_path / "double.png")]


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_list_is_predicted_as_its_images_are_one_by_one(
    narrow: SegNet, five_labels: ClassTable, mixed: list[Any], uncertain: bool
) -> None:
    predictor = predictor_of(narrow, five_labels, max_size=30, confidence=uncertain, uncertainty=uncertain)
    found = predictor(iter(mixed))
    assert [one.source for one in found] == [None, None, mixed[2], None, None, Path(mixed[5])]
    for one, source in zip(found, mixed, strict=True):
        wanted = predictor(source)
        assert (one.mask == wanted.mask).mean() > 0.99  # a batch rounds differently
        assert one.working_size == wanted.working_size
        np.testing.assert_array_equal(one.image, wanted.image)
        for name in ("confidence", "uncertainty"):
            values = getattr(one, name)
            assert (values is not None) == uncertain
            if uncertain:
                np.testing.assert_allclose(values, getattr(wanted, name), atol=1e-4)


def test_images_of_one_working_size_run_together(
    narrow: SegNet, five_labels: ClassTable, mixed: list[Any], wide: np.ndarray
) -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(TorchRuntime):
        def run(self, batch: ImageBatch, **options: Any) -> Output:
            seen.append(batch.shape)
            return super().run(batch, **options)

    predictor = Predictor(Watched(narrow, five_labels, device="cpu"), max_size=30)
    predictor(mixed)
    assert seen == [(4, 3, 21, 30), (2, 3, 30, 21)]
    seen.clear()
    predictor([mixed[0]] * 17)
    assert [shape[0] for shape in seen] == [16, 1]
    seen.clear()
    Predictor(predictor.runtime, max_size=None)([wide] * 4)  # 300x420
    assert [shape[0] for shape in seen] == [3, 1]
    seen.clear()
    Predictor(predictor.runtime, max_size=None, tiles=TileConfig(tile=256, overlap=32))([wide] * 2)
    assert {shape[0] for shape in seen} == {1}


def test_a_file_with_a_fixed_batch_gets_batches_of_it(five_labels: ClassTable, image: np.ndarray) -> None:
    class Two(Masks):
        def forward(self, batch: ImageBatch) -> list[np.ndarray]:
            assert len(batch) == 2
            return super().forward(batch)

    info = ModelInfo(name="toy", labels=five_labels, output="mask", samples=4, batch=2)
    assert len(Predictor(Two(Path("toy.onnx"), info))([image] * 4)) == 4


def test_the_representation_names_model_classes_and_settings(narrow: SegNet, five_labels: ClassTable) -> None:
    assert repr(predictor_of(narrow, five_labels, max_size=100)) == (
        "Predictor(TorchRuntime(narrow, 5 classes, cpu, float32), RGB, max_size=100)"
    )
    options = {"confidence": True, "uncertainty": True, "image_scale": 0.5, "tta": TTAConfig(tta_flip=True)}
    assert repr(predictor_of(narrow, five_labels, **options)) == (
        "Predictor(TTARuntime(TorchRuntime(narrow, 5 classes, cpu, float32)), RGB, image_scale=0.5, confidence, "
        "uncertainty=entropy)"
    )
    runtime = Masks(Path("a/toy.onnx"), ModelInfo(name="toy", labels=five_labels, output="mask", samples=4))
    assert repr(runtime) == "Masks(a/toy.onnx, 5 classes, an unknown library)"


def test_arguments_of_another_type_are_refused(narrow: SegNet, five_labels: ClassTable) -> None:
    with pytest.raises(ModelError, match=r"a SegNet is no runtime; give a file or a name to Predictor.load"):
        Predictor(narrow)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"is no model file; .* predict with segnet.Predictor\(segnet.TorchRuntime\(m"):
        Predictor.load(narrow)  # type: ignore[arg-type]
    for name, value in (("tiles", 256), ("tta", True)):
        with pytest.raises(ConfigError, match=f"{name}={value} is not possible; give segnet.T"):
            predictor_of(narrow, five_labels, **{name: value})
