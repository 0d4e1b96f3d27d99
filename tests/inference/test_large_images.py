from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.errors import ConfigError, DataError, OutputError
from segnet.inference.large_images import predict_large
from segnet.inference.prediction import concatenate_rows
from segnet.inference.predictor import Predictor
from segnet.inference.tiling import Rows, TileConfig
from segnet.labels import ClassTable
from segnet.media.images.reading import read_image
from segnet.media.images.strips import ImageRows
from segnet.models.segnet import SegNet
from segnet.runtimes.pytorch import TorchRuntime
from segnet.visualization import overlay as visualize
from segnet.visualization.legends import class_names
from segnet.visualization.overlay import OverlayStyle

KINDS = ("mask", "overlay", "color", "side", "confidence", "uncertainty")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    path = tmp_path / "big.png"
    Image.fromarray(coarse).resize((270, 400), Image.Resampling.BICUBIC).save(path)
    return path


def predictor_of(model: SegNet, labels: ClassTable, **settings: object) -> Predictor:
    runtime = TorchRuntime(model, labels, device="cpu")
    tiles = TileConfig(tile=160, overlap=32)
    return Predictor(runtime, **{"tiles": tiles, "confidence": True, "uncertainty": True, **settings})  # type: ignore[arg-type]


class InMemory(Rows):
    """All of an image at once."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def read(self, rows: int) -> np.ndarray:
        found, self.image = np.split(self.image, [rows])
        return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("settings", [{}, {"max_size": 200}, {"image_scale": 1.3}], ids=str)
def test_files_are_those_of_the_whole_image(
    tmp_path: Path, path: Path, narrow: SegNet, five_labels: ClassTable, settings: dict[str, object]
) -> None:
    labels = replace(five_labels, values=(0, 3, 4, 9, 254))
    predictor = predictor_of(narrow, labels, **settings)
    files = {kind: tmp_path / "out" / f"{kind}.png" for kind in KINDS}
    style = OverlayStyle(outline_width=3, legend="none")
    rows: list[tuple[int, int]] = []
    shares = predict_large(predictor, path, files, style=style, progress=lambda done, total: rows.append((done, total)))  # type: ignore[arg-type]
    assert rows[-1] == (400, 400)
    image = read_image(path)
    working_size = predictor.working_size(400, 270)  # resized by libvips, whose pixels differ by 1 from Pillow's
    small = ImageRows(path, size=working_size).read(working_size[0])
    whole = concatenate_rows([rows.prediction for rows in predictor.predict_rows(InMemory(small), (400, 270))])
    mask = whole.mask
    np.testing.assert_array_equal(pixels(files["mask"]), labels.to_file_values(mask))
    np.testing.assert_allclose(shares, visualize.class_shares(mask, labels), atol=1e-9)
    with Image.open(files["mask"]) as stored:
        assert stored.mode == "P"
    overlay = visualize.overlay(image, mask, labels, style)
    np.testing.assert_array_equal(pixels(files["overlay"]), overlay)
    np.testing.assert_array_equal(pixels(files["color"]), visualize.colorize(mask, labels))
    np.testing.assert_array_equal(pixels(files["side"]), np.concatenate([image, overlay], axis=1))
    for kind, values, top in (("confidence", whole.confidence, 1.0), ("uncertainty", whole.uncertainty, np.log(5))):
        assert values is not None
        numbers = pixels(files[kind]).astype(float) / 65535 * top
        assert np.abs(numbers - values).max() < 2e-5


def test_outlines_continue_across_strips(
    tmp_path: Path, path: Path, narrow: SegNet, five_labels: ClassTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segnet.inference.large_images._PIXELS_PER_STRIP", 270 * 7)  # seven rows
    predictor = predictor_of(narrow, five_labels)
    for lines in (1, 4, 20):
        predict_large(
            predictor, path, {"overlay": tmp_path / "o.png"}, style=OverlayStyle(outline_width=lines, legend="none")
        )
        image = read_image(path)
        expected = visualize.overlay(image, predictor(image).mask, five_labels, OverlayStyle(outline_width=lines))
        np.testing.assert_array_equal(pixels(tmp_path / "o.png"), expected)


def test_a_legend_of_all_classes_stands_below(
    tmp_path: Path, path: Path, narrow: SegNet, five_labels: ClassTable
) -> None:
    files = {kind: tmp_path / f"{kind}.png" for kind in ("overlay", "side", "color")}
    predict_large(predictor_of(narrow, five_labels), path, files)  # type: ignore[arg-type]
    legend = class_names(400, 270, five_labels)
    assert legend.shape[1] == 270
    np.testing.assert_array_equal(pixels(files["overlay"])[400:], legend)
    assert pixels(files["side"]).shape[0] > 400
    assert pixels(files["color"]).shape == (400, 270, 3)
    predict_large(
        predictor_of(narrow, five_labels), path, {"color": files["color"]}, style=OverlayStyle(legend="below")
    )
    np.testing.assert_array_equal(pixels(files["color"])[400:], legend)


def test_a_damaged_image_leaves_no_file(tmp_path: Path, narrow: SegNet, five_labels: ClassTable) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 270, 3), dtype=np.uint8)
    path = tmp_path / "cut.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:200_000])
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"cut\.png"):
        predict_large(predictor_of(narrow, five_labels), path, {"mask": out / "mask.png", "overlay": out / "o.png"})
    assert list(out.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error(
    tmp_path: Path, path: Path, narrow: SegNet, five_labels: ClassTable
) -> None:
    (tmp_path / "mask.png").mkdir()
    with pytest.raises(OutputError, match=r"mask.png is a folder"):
        predict_large(predictor_of(narrow, five_labels), path, {"mask": tmp_path / "mask.png"})


def test_what_the_predictor_does_not_compute_is_an_error(
    tmp_path: Path, path: Path, narrow: SegNet, five_labels: ClassTable
) -> None:
    for kind in ("confidence", "uncertainty"):
        predictor = predictor_of(narrow, five_labels, confidence=False, uncertainty=False)
        with pytest.raises(ConfigError, match=f"computes no {kind}; load it with {kind}=True"):
            predict_large(predictor, path, {kind: tmp_path / "x.png"})  # type: ignore[dict-item]
        assert not (tmp_path / "x.png").exists()
