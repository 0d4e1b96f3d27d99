from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from html_page import Page, assert_asks_nobody, assert_can_be_read, images_of
from segnet.data.class_weights import ClassCounts
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import OutputError
from segnet.labels import CAMVID, IGNORE_INDEX, SUN, ClassTable
from segnet.media.images.writing import write_mask
from segnet.training.report.curves import ticks
from segnet.training.report.images import Example, choose_examples
from segnet.training.report.page import write_report
from segnet.training.report.record import Record
from segnet.training.report.splits import Split, describe_split
from segnet.training.settings import TrainConfig
from segnet.visualization.html.panels import UNCOUNTED, WRONG
from segnet.visualization.html.style import STYLE

MARKUP = ClassTable.from_names(["<tree>", "a & b", "\"quoted\" 'twice'", "x" * 60, "</style><script>alert(1)</script>"])


def rows_of(labels: ClassTable, epochs: int, **changed: Sequence[float]) -> list[dict[str, Any]]:
    rows = []
    for place in range(epochs):
        row: dict[str, Any] = {
            "epoch": 2 * place + 1,
            "step": 10 * place,
            "seconds": 61.5 * place,
            "lr": 0.1 / (place + 1),
        }
        row |= {"train_loss": 2 / (place + 1), "global_accuracy": 0.9, "class_average": 0.7, "miou": 0.5 + place / 1000}
        row |= {f"iou_{name}": 0.9 / (index + 1) for index, name in enumerate(labels.names)}
        rows.append(row | {name: values[place] for name, values in changed.items()})
    return rows


def split_of(pixels: Sequence[int], images: int = 7) -> Split:
    counted = np.array(pixels, dtype=np.int64)
    return Split(
        images=images,
        counts=ClassCounts(counted, counted),
        ignored=0.031,
        sizes={(36, 48): images},
        sampled=images,
    )


def record_of(labels: ClassTable, epochs: int = 5, **changed: Any) -> Record:
    classes = labels.classes
    confusion = np.eye(classes, dtype=np.int64) * 900 + 10
    given: dict[str, Any] = {
        "title": "toy",
        "rows": rows_of(labels, epochs),
        "labels": labels,
        "monitor": "miou",
        "confusion": confusion,
        "settings": {"data": "/some/where", **TrainConfig(epochs=9, lr=0.0125).to_dict()},
        "environment": {"processor": "a slow one", "torch": "2.99"},
        "data": {"train": split_of([1000] * classes), "val": split_of([100] * classes)},
        "warnings": ["beware of <this>"],
        "commands": ["segnet train 'a & b' --out runs/again"],
    }
    return Record(**given | changed)


def example_of(height: int = 40, width: int = 60, name: str = "one", **changed: Any) -> Example:
    truth = np.zeros((height, width), dtype=np.uint8)
    truth[: height // 4] = IGNORE_INDEX
    predicted = np.zeros((height, width), dtype=np.uint8)
    predicted[:, : width // 3] = 1
    given: dict[str, Any] = {
        "name": name,
        "image": np.full((height, width, 3), 200, dtype=np.uint8),
        "truth": truth,
        "predicted": predicted,
        "confidence": np.full((height, width), 0.75, dtype=np.float32),
        "miou": 0.25,
        "rank": 1,
        "scored": 1,
    }
    return Example(**given | changed)


def page_of(record: Record, examples: Sequence[Example] = (), *, folder: Path) -> Page:
    write_report(folder / "report.html", record, examples)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def count(image: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((image == color).all(axis=2).sum())


CASES = {
    "plain": record_of(CAMVID),
    "markup": record_of(MARKUP),
    "one epoch": record_of(CAMVID, 1),
    "one class": record_of(ClassTable.from_names(["all"])),
    "many classes and epochs": record_of(SUN, 300),
    "more classes than a matrix has rows": record_of(ClassTable.numbered(100), 3),
    "no score at all": record_of(
        CAMVID,
        1,
        rows=rows_of(CAMVID, 1, miou=[math.nan], train_loss=[math.nan], iou_Sky=[math.nan]),
        confusion=np.zeros((11, 11), dtype=np.int64),
        data={"train": split_of([0] * 11)},
    ),
    "gaps": record_of(CAMVID, 3, rows=rows_of(CAMVID, 3, miou=[0.1, math.nan, 0.2], iou_Sky=[math.nan, 0.5, math.nan])),
    "no score of a kind": record_of(CAMVID, 2, rows=rows_of(CAMVID, 2, train_loss=[math.nan] * 2, lr=[0, 0])),
    "nothing to say": record_of(CAMVID, 2, warnings=(), commands=(), settings={}, environment={}),
}


@pytest.mark.parametrize("record", CASES.values(), ids=CASES)
def test_the_page_is_whole_and_asks_nobody_for_anything(record: Record, tmp_path: Path) -> None:
    page = page_of(record, [example_of()] if record.labels.classes > 1 else [], folder=tmp_path)
    assert_asks_nobody(page)
    assert "url(" not in STYLE
    assert "@import" not in STYLE


@pytest.mark.parametrize("record", CASES.values(), ids=CASES)
def test_the_page_can_be_read_by_ear_and_by_keyboard(record: Record, tmp_path: Path) -> None:
    page = page_of(record, [example_of()] if record.labels.classes > 1 else [], folder=tmp_path)
    assert_can_be_read(page)


@pytest.mark.parametrize("record", CASES.values(), ids=CASES)
def test_no_number_that_is_none_is_written(record: Record, tmp_path: Path) -> None:
    page = page_of(record, folder=tmp_path)
    assert not re.search(r"\b(nan|inf)\b", page.text)
    for tag, attributes in page.elements:
        for name in ("d", "cx", "cy", "x", "y", "style", "aria-label"):
            assert not re.search(r"\b(nan|inf)\b", attributes.get(name, "")), (tag, attributes)


@pytest.mark.parametrize("record", CASES.values(), ids=CASES)
def test_every_class_has_its_chart_and_its_name(record: Record, tmp_path: Path) -> None:
    page = page_of(record, folder=tmp_path)
    assert sum(figure.get("class") == "small" for figure in page.all("figure")) == record.labels.classes
    assert set(record.labels.names) <= {text.strip() for text in page.texts}


def test_every_setting_warning_command_and_part_of_the_hardware_is_shown(tmp_path: Path) -> None:
    record = record_of(CAMVID)
    page = page_of(record, folder=tmp_path)
    assert set(record.settings) <= set(page.cells)
    assert page.cells[page.cells.index("lr", page.cells.index("data")) :][:3] == ["lr", "0.0125", "0.05"]
    assert page.cells[page.cells.index("optimizer") :][:3] == ["optimizer", "muon", ""]
    for told in (*record.environment, *record.environment.values(), *record.warnings, *record.commands):
        assert told in page.texts


def test_the_warnings_stand_before_the_sections(tmp_path: Path) -> None:
    page = page_of(record_of(CAMVID), folder=tmp_path)
    assert page.texts.index("beware of <this>") < page.texts.index("mIoU")


def test_the_headline_is_the_best_row_and_says_what_it_beat(tmp_path: Path) -> None:
    rows = rows_of(
        CAMVID, 4, miou=[0.1, 0.61234, 0.6, 0.3], global_accuracy=[0.5, 0.87654, 0.9, 0.9], train_loss=[2, 1.25, 1, 0.5]
    )
    text = page_of(record_of(CAMVID, rows=rows), folder=tmp_path).text
    assert "61.23 %" in text
    assert "87.65 %" in text
    assert "1.25" in text
    assert "+51.23 points since epoch 1" in text
    assert "it has the highest mIoU of 4 validations, 1.23 points above epoch 5 (60.00 %)" in text
    assert "No later epoch, up to 7, was better." in text
    assert "Sky has the highest IoU (90.0 %), Bicyclist the lowest (8.2 %)" in text


@pytest.mark.parametrize(("monitor", "epoch"), [("miou", 1), ("global_accuracy", 3), ("class_average", 5)])
def test_the_monitor_decides_which_epoch_is_best(monitor: str, epoch: int, tmp_path: Path) -> None:
    rows = rows_of(
        CAMVID, 3, miou=[0.9, math.nan, 0.1], global_accuracy=[0.1, 0.9, 0.9], class_average=[math.nan, 0.1, 0.9]
    )
    record = record_of(CAMVID, rows=rows, monitor=monitor)
    assert record.epochs[record.best] == epoch
    assert page_of(record, folder=tmp_path).texts.count(f"best: epoch {epoch}") == 3


def test_a_single_validation_beats_nothing(tmp_path: Path) -> None:
    text = page_of(record_of(CAMVID, 1), folder=tmp_path).text
    assert "It is the only epoch that was validated" in text
    assert "since epoch" not in text


def test_a_run_with_a_time_is_not_measured_by_its_epochs(tmp_path: Path) -> None:
    record = record_of(CAMVID)
    lead = "Training report · epoch 9"
    assert f"{lead} of 9 · /some/where" in page_of(record, folder=tmp_path).text
    timed = replace(record, settings={**record.settings, "time": "10m"})
    assert f"{lead}, --time 10m · /some/where" in page_of(timed, folder=tmp_path).text


def test_rates_that_differ_in_the_third_digit_have_labels_of_their_own(tmp_path: Path) -> None:
    rows = rows_of(CAMVID, 1, lr=[1.19e-6])
    texts = page_of(record_of(CAMVID, rows=rows), folder=tmp_path).texts
    marks = [text for text in texts if text.endswith("e-06") and text != "1.19e-06"]
    assert len(marks) > 4
    assert len(marks) == len(set(marks))


def test_the_table_of_the_numbers_has_every_row(tmp_path: Path) -> None:
    rows = rows_of(CAMVID, 3, miou=[0.123456, 0.2, math.nan])
    cells = page_of(record_of(CAMVID, rows=rows), folder=tmp_path).cells
    assert cells[cells.index("1") :][:8] == ["1", "0", "0", "0.1", "2", "0.9", "0.7", "0.12346"]
    assert cells[cells.index("3 (best)") :][:8] == ["3 (best)", "10", "61.5", "0.05", "1", "0.9", "0.7", "0.2"]
    assert cells[cells.index("5") :][7] == "–"


def test_the_confusion_matrix_is_divided_by_its_rows(tmp_path: Path) -> None:
    labels = ClassTable.from_names(["sky", "road", "car", "none"])
    counts = np.array([[990, 10, 0, 0], [1, 96, 203, 0], [0, 0, 7, 0], [0, 0, 0, 0]])
    page = page_of(record_of(labels, confusion=counts), folder=tmp_path)
    cells = page.cells[page.cells.index("true ↓ predicted →") + 5 :][:20]
    assert cells == [
        "sky", "99", "1", "", "", "road", "·", "32", "68", "", "car", "", "", "100", "", "none", "–", "–", "–", "–",
    ]  # fmt: skip
    assert "road  taken for  car : 15.53 % of all pixels, 67.7 % of road" in page.text.replace("  :", " :")


def test_the_scores_of_the_classes_are_those_of_the_matrix(tmp_path: Path) -> None:
    labels = ClassTable.from_names(["sky", "road"])
    counts = np.array([[30, 10], [20, 40]])
    cells = page_of(record_of(labels, confusion=counts), folder=tmp_path).cells
    start = cells.index("otherwise mostly taken for") + 1
    told = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells[start : start + 10]]
    assert told[:5] == ["road", "57.1 %", "66.7 %", "80.0 %", "sky 33.3 %"]
    assert told[5:] == ["sky", "50.0 %", "75.0 %", "60.0 %", "road 25.0 %"]


def test_the_matrix_of_very_many_classes_keeps_those_with_most_errors(tmp_path: Path) -> None:
    counts = np.eye(100, dtype=np.int64) * 50
    counts[99, 98] = 7
    page = page_of(record_of(ClassTable.numbered(100), confusion=counts), folder=tmp_path)
    assert "the 60 with the most wrong pixels" in page.text
    matrix = page.cells[page.cells.index("true ↓ predicted →") + 1 :][:60]
    assert {"class98", "class99"} <= set(matrix)


def test_rare_and_absent_classes_are_named(tmp_path: Path) -> None:
    labels = ClassTable.from_names(["sky", "road", "car"])
    data = {"train": split_of([9000, 1000, 20]), "val": split_of([500, 500, 0])}
    page = page_of(record_of(labels, data=data), folder=tmp_path)
    assert "Rare in train: car." in page.text
    assert "Absent from val: car." in page.text
    start = page.cells.index("remark") + 1
    told = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in page.cells[start : start + 12]]
    assert told[:8] == ["sky", "89.8 %", "50.0 %", "", "road", "10.0 %", "50.0 %", ""]
    assert told[8:] == ["car", "0.20 %", "0.00 %", "rare in train, absent from val"]


def test_a_split_is_described_as_a_slow_loop_would(camvid: Source) -> None:
    data = camvid.dataset("train")
    masks = [data.read_classes(index) for index in range(len(data))]
    split = describe_split(data)
    assert split.images == split.sampled == 6
    assert split.sizes == {(48, 64): 6}
    assert split.ignored == pytest.approx(np.mean([mask == IGNORE_INDEX for mask in masks]))
    counted = [sum(int((mask == index).sum()) for mask in masks) for index in range(11)]
    assert split.counts.pixels.tolist() == counted
    np.testing.assert_allclose(split.shares, np.array(counted) / sum(counted))


def test_a_large_run_with_images_stays_below_two_megabytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((60, 45)).resize((960, 720)))
    examples = [example_of(720, 960, f"image {n}", image=smooth, rank=n, scored=200) for n in range(1, 9)]
    page_of(record_of(SUN, 300), examples, folder=tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_errors_are_orange_ignored_pixels_are_gray_and_the_rest_is_dim(tmp_path: Path) -> None:
    example = example_of()
    page = page_of(record_of(CAMVID), [example], folder=tmp_path)
    errors = next(pixels for alt, pixels in images_of(page) if "wrong" in alt)
    wrong = (example.truth != IGNORE_INDEX) & (example.truth != example.predicted)
    assert errors.shape == (40, 60, 3)
    np.testing.assert_array_equal((errors == WRONG).all(axis=2), wrong)
    np.testing.assert_array_equal((errors == UNCOUNTED).all(axis=2), example.truth == IGNORE_INDEX)
    rest = errors[(example.truth != IGNORE_INDEX) & ~wrong]
    assert (rest.max(), rest.std()) < (0.5 * 200, 1e-9)
    assert f"errors {100 * wrong.sum() / (example.truth != IGNORE_INDEX).sum():.1f} %" in page.text


def test_truth_and_prediction_have_the_colors_of_the_classes(tmp_path: Path) -> None:
    example = example_of()
    found = images_of(page_of(record_of(CAMVID), [example], folder=tmp_path))
    for kind, mask in (("truth", example.truth), ("prediction", example.predicted)):
        pixels = next(pixels for alt, pixels in found if kind in alt)
        np.testing.assert_array_equal(pixels, CAMVID.palette()[mask])


def test_confidence_goes_from_dark_to_light(tmp_path: Path) -> None:
    confidence = np.repeat(np.linspace(0, 1, 60, dtype=np.float32)[None], 40, axis=0)
    found = images_of(page_of(record_of(CAMVID), [example_of(confidence=confidence)], folder=tmp_path))
    pixels = next(pixels for alt, pixels in found if "confidence" in alt)
    light = pixels.mean(axis=(0, 2))
    assert light[-5:].mean() > light[25:35].mean() > light[:5].mean()


@pytest.mark.parametrize(
    ("size", "panel"), [((720, 960), (240, 320)), ((40, 60), (40, 60)), ((2000, 100), (480, 24)), ((3, 1000), (1, 320))]
)
def test_panels_fit_and_small_images_are_not_enlarged(
    size: tuple[int, int], panel: tuple[int, int], tmp_path: Path
) -> None:
    found = images_of(page_of(record_of(CAMVID), [example_of(*size)], folder=tmp_path))
    assert [pixels.shape[:2] for _, pixels in found] == [panel] * 5


def test_worst_and_best_stand_under_headings_of_their_own(tmp_path: Path) -> None:
    examples = [example_of(name=f"image {rank}", rank=rank, scored=9) for rank in (1, 2, 8, 9)]
    texts = page_of(record_of(CAMVID), examples, folder=tmp_path).texts
    shown = (
        "The 2 worst of 9 images, the worst first",
        "image 1 ",
        "image 2 ",
        "The 2 best of 9 images, the best first",
        "image 9 ",
        "image 8 ",
    )
    places = [texts.index(text) for text in shown]
    assert places == sorted(places)


def test_the_best_of_nine_images_are_three(tmp_path: Path) -> None:
    """Five are the worst, and the fifth of them is in the middle of all."""
    examples = [example_of(name=f"image {rank}", rank=rank, scored=9) for rank in (1, 2, 3, 4, 5, 7, 8, 9)]
    texts = page_of(record_of(CAMVID), examples, folder=tmp_path).texts
    assert "The 5 worst of 9 images, the worst first" in texts
    assert "The 3 best of 9 images, the best first" in texts


def test_without_examples_the_page_says_when_they_come(tmp_path: Path) -> None:
    page = page_of(record_of(CAMVID), folder=tmp_path)
    assert "Images are added when the run has ended." in page.texts
    assert not page.all("img")


class Guess(nn.Module):
    """A fixed 1x1 convolution: some images are labeled better than others."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 11, 1)
        self.drop = nn.Dropout(0.9)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.drop(self.layer(image))
        return logits


def slow_miou(predicted: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> float:
    known = truth != IGNORE_INDEX
    ratios = []
    for index in range(11):
        a, b = (predicted == index) & known, (truth == index) & known
        if (a | b).any():
            ratios.append((a & b).sum() / (a | b).sum())
    return float(np.mean(ratios))


def slow_scores(model: nn.Module, data: SegmentationDataset) -> Mapping[str, float]:
    scores = {}
    with torch.no_grad():
        for index in range(len(data)):
            sample = data[index]
            assert isinstance(sample["image"], Tensor)
            assert isinstance(sample["mask"], Tensor)
            mask = model.eval()(sample["image"][None]).argmax(1)[0]
            scores[str(sample["name"])] = slow_miou(mask.numpy(), sample["mask"].numpy())
    return scores


@pytest.mark.parametrize(("best", "worst"), [(1, 2), (2, 1), (0, 3), (3, 0), (3, 5)])
def test_the_chosen_are_those_of_a_slow_loop(camvid: Source, best: int, worst: int) -> None:
    model, data = Guess(), camvid.dataset("train")
    scores = slow_scores(model, data)
    order = sorted(scores, key=scores.__getitem__)
    wanted = order if best + worst >= len(order) else order[:worst] + order[len(order) - best :]
    chosen = choose_examples(model, data, device="cpu", best=best, worst=worst)
    assert [example.name for example in chosen] == wanted
    assert [example.miou for example in chosen] == pytest.approx([scores[name] for name in wanted])
    assert [example.rank for example in chosen] == [order.index(name) + 1 for name in wanted]
    assert {example.scored for example in chosen} == {len(order)}


def test_an_example_holds_the_image_and_the_model_s_answer(camvid: Source) -> None:
    model, data = Guess(), camvid.dataset("val")
    example = choose_examples(model, data, device="cpu", best=0, worst=1)[0]
    index = [sample.name for sample in data.samples].index(example.name)
    image, mask = data[index]["image"], data[index]["mask"]
    assert isinstance(image, Tensor)
    assert isinstance(mask, Tensor)
    probability, predicted = model.eval()(image[None]).softmax(1)[0].max(0)
    np.testing.assert_array_equal(example.truth, mask.numpy())
    np.testing.assert_array_equal(example.predicted, predicted.numpy())
    np.testing.assert_allclose(example.confidence, probability.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(example.image / 255, image.permute(1, 2, 0).numpy(), atol=1e-6)
    assert [array.dtype for array in (example.image, example.truth, example.predicted)] == [np.uint8] * 3
    assert example.confidence.dtype == np.float32


def test_at_most_so_many_images_are_sampled(camvid: Source) -> None:
    data = camvid.dataset("train")
    chosen = choose_examples(Guess(), data, device="cpu", most=3)
    assert {example.name for example in chosen} == {data.samples[index].name for index in (0, 2, 5)}


@pytest.mark.parametrize("training", [True, False])
def test_choosing_leaves_the_mode_of_the_model(camvid: Source, training: bool) -> None:
    model = Guess().train(training)
    choose_examples(model, camvid.dataset("val"), device="cpu")
    assert model.training == training


def test_images_of_ignored_pixels_only_are_skipped(camvid: Source, tmp_path: Path) -> None:
    data = camvid.dataset("val")
    write_mask(tmp_path / "void.png", np.full((48, 64), IGNORE_INDEX, dtype=np.uint8), CAMVID)
    nothing = replace(data.samples[0], mask=tmp_path / "void.png", name="void")
    more = SegmentationDataset([nothing, *data.samples], data.labels, ignore_index=(11, IGNORE_INDEX))
    chosen = choose_examples(Guess(), more, device="cpu")
    assert sorted(example.name for example in chosen) == sorted(sample.name for sample in data.samples)
    assert {example.scored for example in chosen} == {3}


def test_gray_images_are_shown_gray(camvid: Source, tmp_path: Path) -> None:
    chosen = choose_examples(Guess(channels=1), camvid.dataset("val", channels=1), device="cpu")
    assert chosen[0].image.shape == (48, 64, 3)
    assert (chosen[0].image[..., 0] == chosen[0].image[..., 2]).all()
    assert len(page_of(record_of(CAMVID), chosen, folder=tmp_path).all("img")) == 15


def test_the_page_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    page_of(record_of(CAMVID, title="before"), folder=tmp_path)
    assert "after" in page_of(record_of(CAMVID, title="after"), folder=tmp_path).texts
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_report(tmp_path, record_of(CAMVID))


def test_names_that_are_no_letters_can_be_written(tmp_path: Path) -> None:
    assert page_of(record_of(CAMVID, settings={"data": "bad\udcff"}), folder=tmp_path).texts.count("bad?") == 1


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.41, 0.89), (1, 300), (0, 0), (3.2, 3.2), (-2, -1), (1e-7, 3e-7), (0.999, 1), (5, 1e9)]
)
def test_ticks_are_few_round_even_and_cover_the_values(low: float, high: float) -> None:
    marks = ticks(low, high)
    steps = np.diff(marks)
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(marks) <= 8
    np.testing.assert_allclose(steps, steps[0])
    assert f"{steps[0]:e}"[0] in "125"


def test_lines_are_interrupted_where_there_is_no_score(tmp_path: Path) -> None:
    rows = rows_of(CAMVID, 5, train_loss=[1, math.nan, 2, 3, math.nan])
    page = page_of(record_of(CAMVID, rows=rows), folder=tmp_path)
    svg = next(
        place for place, (tag, a) in enumerate(page.elements) if a.get("aria-label", "").startswith("Training loss")
    )
    line = next(a["d"] for tag, a in page.elements[svg:] if a.get("class") == "line a")
    assert line.count("M") == 2
    assert line.count("L") == 1
    assert "epoch 1: 1" in page.texts  # of a line without a name


def light(color: Sequence[float]) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [part / 255 for part in color]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_letters_and_lines_stand_out_in_both_schemes(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", STYLE, re.S)[scheme]
    colors = {
        name: [int(part, 16) for part in re.findall("..", code)] for name, code in re.findall(r"--(\S+): #(\w+)", block)
    }
    colors |= {name: list(map(int, code.split())) for name, code in re.findall(r"--(\S+): (\d+ \d+ \d+)", block)}
    for name in ("ink", "soft", "a", "b", "c", "beware"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
    for ground in ("raised", "note", "bar"):
        assert contrast(colors["ink"], colors[ground]) >= 4.5, ground
    assert contrast(colors["soft"], colors["raised"]) >= 4.5
    assert contrast(colors["shared"], colors["paper"]) >= 3
    for share in np.linspace(0, 1, 101):
        letters = colors["full" if share > 0.82 else "cell"]
        for kind in ("right", "wrong"):
            ground = share * np.array(colors[kind]) + (1 - share) * np.array(colors["paper"])
            assert contrast(letters, ground.tolist()) >= 4.4, (kind, share)
