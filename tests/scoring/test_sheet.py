"""The page of the worst images, as a browser would find it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from html_page import Page, assert_asks_nobody, assert_can_be_read, images_of
from segnet.data.masks import MaskReader
from segnet.errors import OutputError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.media.images.writing import write_image
from segnet.metrics.confusion import Scores, score_mask
from segnet.scoring.counting import ScoredImage
from segnet.scoring.page import write_sheet
from segnet.scoring.pairs import Pair, Pairing
from segnet.visualization.html.panels import UNCOUNTED, WRONG

MARKUP = ClassTable.from_names(["<tree>", "a & b", "</style><script>alert(1)</script>"])


def image_of(labels: ClassTable, *, name: str = "one", image: Path | None = None) -> ScoredImage:
    """A third is void in the truth, of the rest a half is right, a quarter wrong, and a quarter without a class."""
    truth = np.zeros((30, 40), dtype=np.uint8)
    truth[:10] = IGNORE_INDEX
    predicted = np.zeros_like(truth)
    predicted[:, 20:30], predicted[:, 30:] = 1, IGNORE_INDEX
    pair = Pair(name=name, predicted=Path("found.png"), truth=Path("true.png"), image=image)
    return ScoredImage(pair=pair, predicted=predicted, truth=truth, scores=score_mask(predicted, truth, labels))


def sheet(
    folder: Path,
    labels: ClassTable,
    worst: list[ScoredImage],
    *,
    among: int = 9,
    missing: tuple[str, ...] = (),
    boundary: float | None = None,
) -> Page:
    pair, reader = Pair(name="any", predicted=Path(), truth=Path(), image=None), MaskReader(labels=labels)
    write_sheet(
        folder / "sheet.html",
        title="mine",
        lead="scored against <all>",
        scores=sum((one.scores for one in worst), Scores(np.zeros((labels.classes,) * 2, dtype=np.int64), labels)),
        pairing=Pairing(pairs=[pair] * among, predicted=reader, truth=reader, missing=missing),
        worst=worst,
        boundary=boundary,
    )
    return Page((folder / "sheet.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("labels", [CAMVID, MARKUP], ids=["plain", "markup"])
@pytest.mark.parametrize("shown", [0, 2])
def test_the_page_is_whole_asks_nobody_and_can_be_read(tmp_path: Path, labels: ClassTable, shown: int) -> None:
    page = sheet(tmp_path, labels, [image_of(labels, name=f"<{index}>") for index in range(shown)], missing=("a",))
    assert_asks_nobody(page)
    assert_can_be_read(page)
    assert "nan" not in page.text
    assert set(labels.names) <= {text.strip() for text in page.texts}
    assert "scored against <all>" in page.texts


def test_the_result_is_that_of_the_scores(tmp_path: Path) -> None:
    text = sheet(tmp_path, CAMVID, [image_of(CAMVID)], boundary=0.125).text
    # Of 800 pixels of Sky 400 are right, 200 are taken for Building, and 200 have no class.
    for told in ("mIoU 25.00 %", "global accuracy 50.00 %", "frequency-weighted IoU 50.00 %", "(paper) 12.50 %"):
        assert told in text
    assert "as the authors’ script does: class average 4.55 %, mIoU 4.55 %" in text
    assert "No class was predicted for 25.00 % of the pixels; they count as wrong." in text
    assert "without a prediction" not in text


def test_images_without_a_prediction_are_told_first(tmp_path: Path) -> None:
    page = sheet(tmp_path, CAMVID, [image_of(CAMVID)], missing=("a", "b"))
    assert page.texts.index("Images without a prediction, which are not scored: 2.") < page.texts.index("mIoU")


def test_each_image_has_its_score_its_worst_classes_and_its_commonest_error(tmp_path: Path) -> None:
    text = sheet(tmp_path, CAMVID, [image_of(CAMVID)]).text
    assert "The worst 1 of 9" in text
    assert "one  mIoU 25.0 %; lowest IoU: Sky 50.0 %; 25.0 % are Sky taken for Building" in text
    assert "All 1, the worst first" in sheet(tmp_path, CAMVID, [image_of(CAMVID)], among=1).text


def test_truth_and_prediction_have_the_colors_of_the_classes_and_errors_are_red(tmp_path: Path) -> None:
    image = image_of(CAMVID)
    found = images_of(sheet(tmp_path, CAMVID, [image]))
    assert [alt.replace("\N{NO-BREAK SPACE}", " ") for alt, _ in found] == [
        "one, truth: Sky 100.0 %",
        "one, prediction: Sky 66.7 %, Building 33.3 %",
        "one: 50.0 % of the pixels are wrong",
    ]
    truth, predicted, errors = (pixels for _, pixels in found)
    np.testing.assert_array_equal(truth, CAMVID.palette()[image.truth])
    np.testing.assert_array_equal(predicted, CAMVID.palette()[image.predicted])
    counted = image.truth != IGNORE_INDEX
    np.testing.assert_array_equal((errors == WRONG).all(axis=2), counted & (image.truth != image.predicted))
    np.testing.assert_array_equal((errors == UNCOUNTED).all(axis=2), ~counted)


def test_the_image_itself_is_shown_if_it_is_at_hand(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((30, 40, 3), 200, dtype=np.uint8))
    found = images_of(sheet(tmp_path, CAMVID, [image_of(CAMVID, image=tmp_path / "a.png")]))
    assert len(found) == 4
    assert abs(found[0][1].mean() - 200) < 3
    errors = found[3][1][image_of(CAMVID).predicted == 0][-1]
    assert 0 < errors.max() < 0.5 * 200


def test_an_image_that_cannot_be_read_takes_nothing_else_from_the_page(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"damaged")
    page = sheet(tmp_path, CAMVID, [image_of(CAMVID, image=tmp_path / "one.png"), image_of(CAMVID, name="two")])
    assert "its image cannot be read" in page.text
    assert len(images_of(page)) == 6


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sheet.html").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        sheet(tmp_path, CAMVID, [])
