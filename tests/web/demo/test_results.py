from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.errors import ConfigError
from segnet.inference.prediction import Prediction
from segnet.labels import ClassTable
from segnet.web.demo.results import (
    Segmentation,
    class_table,
    confidence_map,
    draw_overlay,
    uncertainty_map,
    write_downloads,
)  # fmt: skip

TABLE = ClassTable.from_names(["sky", "<b>", "never"], [4, 7, 9])


@pytest.fixture
def result() -> Segmentation:
    """Four by six pixels; the first column is sky, of confidence 0.5, and the rest of confidence 0.9."""
    mask = np.ones((4, 6), dtype=np.uint8)
    mask[:, 0] = 0
    confidence = np.where(mask == 0, 0.5, 0.9).astype(np.float32)
    image = np.full((4, 6, 3), 200, dtype=np.uint8)
    prediction = Prediction(mask, confidence, 1 - confidence, (4, 6), TABLE, image)
    return Segmentation(prediction, "net", 12.3, "entropy", name="photo")


def test_the_class_table_has_share_and_mean_confidence_of_the_classes_that_occur(result: Segmentation) -> None:
    html = class_table(result)
    cells = [re.sub("<[^>]+>", " ", row).split() for row in re.findall("<tr>.*?</tr>", html)[1:]]
    assert cells == [["&lt;b&gt;", "83.3", "%", "90.0", "%"], ["sky", "16.7", "%", "50.0", "%"]]
    assert "6x4 pixels, net, 12 ms" in html


def test_a_model_of_class_indices_only_has_no_confidence(result: Segmentation) -> None:
    plain = replace(result, prediction=replace(result.prediction, confidence=None, uncertainty=None), measure=None)
    assert "Confidence" not in class_table(plain)
    assert confidence_map(plain) is None
    assert uncertainty_map(plain) is None


def test_opacity_mixes_image_and_class_color(result: Segmentation) -> None:
    assert (draw_overlay(result, 0.0)[1, 3] == 200).all()
    assert tuple(draw_overlay(result, 1.0)[1, 3]) == TABLE.colors[1]


def test_downloads_hold_the_values_of_the_data_set(result: Segmentation, tmp_path: Path) -> None:
    mask, overlay = write_downloads(result, tmp_path / "new", 0.5)
    assert (mask.name, overlay.name) == ("photo-mask.png", "photo-overlay.png")
    with Image.open(mask) as image:
        np.testing.assert_array_equal(np.asarray(image), TABLE.to_file_values(result.prediction.mask))


def test_a_prediction_of_some_rows_is_no_result(result: Segmentation) -> None:
    part = replace(result, prediction=result.prediction.rows(slice(0, 2)))
    with pytest.raises(ConfigError, match="has no class table"):
        class_table(part)
    with pytest.raises(ConfigError, match="has no image"):
        _ = part.image
