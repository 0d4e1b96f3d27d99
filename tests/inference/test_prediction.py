from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segnet.errors import ConfigError, OutputError
from segnet.inference.prediction import Prediction
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.masks import read_mask
from segnet.models.segnet import SegNet
from segnet.results.writer import ResultWriter
from segnet.runtimes.pytorch import TorchRuntime
from segnet.visualization.style import OverlayStyle

MASK = np.repeat(np.array([[0, 0, 2], [0, 1, 255]], dtype=np.uint8), 40, axis=0).repeat(40, axis=1)  # 80x120
IMAGE = np.random.default_rng(4).integers(0, 256, (80, 120, 3), dtype=np.uint8)


@pytest.fixture
def prediction(five_labels: ClassTable) -> Prediction:
    return Prediction(MASK, labels=five_labels, image=IMAGE, working_size=(40, 60))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_names_palette_and_shares_come_from_the_class_table(prediction: Prediction, five_labels: ClassTable) -> None:
    assert prediction.names == five_labels.names
    np.testing.assert_array_equal(prediction.palette[MASK], pixels(prediction.color()))
    shares = prediction.class_shares()
    assert list(shares) == list(five_labels.names)
    assert shares == {"sky": 0.6, "house": 0.2, "road": 0.2, "tree": 0, "car": 0}  # of the pixels with a class


@pytest.mark.parametrize("style", [None, OverlayStyle(opacity=0.8, legend="below", palette="colorblind")])
def test_views_are_the_files_that_the_command_writes(
    prediction: Prediction, five_labels: ClassTable, tmp_path: Path, style: OverlayStyle | None
) -> None:
    writer = ResultWriter(tmp_path, ("overlay", "color", "mask"), style or OverlayStyle(), five_labels)
    writer.write(Path("a"), IMAGE, prediction)
    for kind, view in (("overlay", prediction.overlay(style)), ("color", prediction.color(style))):
        np.testing.assert_array_equal(pixels(Image.open(tmp_path / kind / "a.png")), pixels(view))


def test_an_overlay_without_legend_has_the_size_of_the_image(prediction: Prediction) -> None:
    assert prediction.overlay(OverlayStyle(legend="none")).size == (120, 80)
    assert prediction.overlay().size[1] > 80
    np.testing.assert_array_equal(
        pixels(prediction.overlay(OverlayStyle(legend="none", opacity=0, outline_width=0))), IMAGE
    )


def test_an_unknown_class_of_the_style_is_an_error(prediction: Prediction) -> None:
    for view in (prediction.overlay, prediction.color):
        with pytest.raises(ConfigError, match="there is no class 'rod'; did you mean 'road'"):
            view(OverlayStyle(show_classes=("rod",)))


def test_a_style_of_another_type_is_an_error(prediction: Prediction) -> None:
    with pytest.raises(ConfigError, match=r"style=0.5 is not possible; give segnet.OverlayStyle\(opacity=0.7\) for"):
        prediction.overlay(0.5)  # type: ignore[arg-type]


def test_the_mask_is_saved_with_its_palette(prediction: Prediction, tmp_path: Path) -> None:
    saved = prediction.save(tmp_path / "new" / "mask.png")
    np.testing.assert_array_equal(read_mask(saved), MASK)
    for image in (Image.open(saved), prediction.to_pil()):
        assert image.mode == "P"
        np.testing.assert_array_equal(pixels(image), MASK)
        np.testing.assert_array_equal(pixels(image.convert("RGB")), pixels(prediction.color()))
    assert prediction.save(str(saved)) == saved  # an earlier file is replaced
    with pytest.raises(OutputError, match=r"a\.jpg cannot hold a mask; .* give a name that ends in \.png"):
        prediction.save(tmp_path / "a.jpg")


def test_a_mask_never_replaces_the_image(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(photo := tmp_path / "photo.png")
    prediction = Predictor(TorchRuntime(narrow, five_labels, device="cpu"))(str(photo))
    assert prediction.source == photo
    with pytest.raises(OutputError, match=r"photo\.png is the image itself, which the mask would replace"):
        prediction.save(tmp_path / "." / "photo.png")
    np.testing.assert_array_equal(pixels(Image.open(photo)), IMAGE)


def test_the_representation_is_short(prediction: Prediction, five_labels: ClassTable) -> None:
    assert repr(prediction) == "Prediction(80x120, sky 60.0 %, house 20.0 %, road 20.0 %)"
    full = Prediction(MASK, MASK / np.float32(255), MASK / np.float32(255), source=Path("a/b.jpg"))
    assert repr(full) == "Prediction('a/b.jpg', 80x120, confidence, uncertainty)"


def test_what_a_bare_mask_lacks_is_named(five_labels: ClassTable) -> None:
    bare: dict[str, Any] = {
        "names": lambda: Prediction(MASK).names,
        "class_shares": Prediction(MASK).class_shares,
        "color": Prediction(MASK).color,
    }
    for name, use in bare.items():
        with pytest.raises(ConfigError, match=r"no class table; give it one: Prediction\(mask, labels=table\)"):
            use()
        assert name
    with pytest.raises(ConfigError, match="this prediction has no image; give it one"):
        Prediction(MASK, labels=five_labels).overlay()
    assert Prediction(MASK, labels=five_labels).color().size == (120, 80)


def embedded(html: str) -> Image.Image:
    address = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert address
    return Image.open(io.BytesIO(base64.b64decode(address[1])))


def test_a_notebook_shows_the_overlay_beside_a_table_of_classes() -> None:
    labels = ClassTable.from_names(["<b>sky</b>", *(f"c{number}" for number in range(1, 20))])
    mask = np.repeat(np.arange(20, dtype=np.uint8)[:, None], 1600, axis=1).repeat(60, axis=0)  # 1200x1600
    mask[:360] = 0
    prediction = Prediction(mask, labels=labels, image=np.zeros((1200, 1600, 3), np.uint8))
    html = prediction._repr_html_()
    assert embedded(html).size == (640, 480)
    assert len(html) < 60_000
    cells = [re.sub(r"<[^>]+>", "", row).replace("\xa0", " ") for row in re.findall("<tr.*?</tr>", html)]
    assert cells[:2] == ["&lt;b&gt;sky&lt;/b&gt;30.0 %", "c65.0 %"]
    assert cells[12:] == ["3 more classes15.0 %"]
    assert html.count("box-shadow:0 0 0 1px #808080") == 12  # else a white class on white paper has no color
    assert "<script" not in html
    assert "http" not in html
    assert Image.open(io.BytesIO(prediction._repr_png_())).size[0] == 640


def test_small_gray_and_bare_predictions_are_shown_too(five_labels: ClassTable) -> None:
    for image in (None, IMAGE[..., :1]):
        prediction = Prediction(MASK, labels=five_labels, image=image)
        assert embedded(prediction._repr_html_()).size == (120, 80)
        assert Image.open(io.BytesIO(prediction._repr_png_())).size[1] > 80
    nothing = Prediction(np.full((9, 8), 255, np.uint8), labels=five_labels)
    assert "<tr" not in nothing._repr_html_()
    assert nothing.class_shares() == dict.fromkeys(five_labels.names, 0.0)
