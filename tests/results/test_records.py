from __future__ import annotations

import csv
import json
import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from segnet.errors import ConfigError, DataError, OutputError
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.labels import ClassTable
from segnet.results.records import RecordFile, make_record

LABELS = ClassTable.from_names(["sky", "road", "a tree, or two"])


def frame(number: int = 0, *, confidence: bool = True) -> SegmentedFrame:
    random = np.random.default_rng(number)
    mask = random.integers(0, 2, (6, 9), dtype=np.uint8)
    sure = random.random((6, 9), dtype=np.float32) if confidence else None
    return SegmentedFrame(
        np.zeros((6, 9, 3), dtype=np.uint8),
        Prediction(mask, sure, None),
        time=Fraction(number, 25),
        source="drives/a.mp4",
        name=f"a/{number:06}",
        number=number,
    )


def write(path: Path, frames: int, *, error: type[BaseException] | None = None) -> None:
    with RecordFile(path, LABELS) as records:
        for number in range(frames):
            records.add(frame(number))
        if error is not None:
            raise error


def test_a_line_says_what_the_pixels_say() -> None:
    labeled = frame(3)
    found = make_record(labeled, LABELS)
    pixels = list(zip(labeled.mask.ravel().tolist(), labeled.confidence.ravel().tolist(), strict=True))
    for number, name in enumerate(LABELS.names[:2]):
        own = [sure for value, sure in pixels if value == number]
        assert found["shares"][name] == pytest.approx(len(own) / 54, abs=1e-6)
        assert found["confidences"][name] == pytest.approx(sum(own) / len(own), abs=1e-6)
    assert found["confidence"] == pytest.approx(sum(sure for _, sure in pixels) / 54, abs=1e-6)
    assert (found["shares"]["a tree, or two"], found["confidences"]["a tree, or two"]) == (0.0, None)
    about = {key: found[key] for key in ("source", "name", "frame", "time", "width", "height")}
    assert about == {
        "source": "drives/a.mp4", "name": "a/000003", "frame": 3, "time": 0.12, "width": 9, "height": 6,
    }  # fmt: skip
    assert (found["uncertainty"], found["latency_ms"]) == (None, None)


def test_without_confidence_only_the_shares_are_known() -> None:
    found = make_record(frame(confidence=False), LABELS)
    assert found["confidence"] is None
    assert set(found["confidences"].values()) == {None}
    assert sum(found["shares"].values()) == pytest.approx(1)


def test_what_is_not_finite_is_unknown_since_json_has_no_word_for_it() -> None:
    overflown = np.full((6, 9), np.nan, dtype=np.float32)
    found = make_record(replace(frame(), prediction=Prediction(frame().mask, overflown, overflown)), LABELS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["confidence"], found["uncertainty"], set(found["confidences"].values())) == (None, None, {None})


def test_uncertainty_and_latency_are_told_if_they_are_known() -> None:
    image, mask = np.zeros((2, 2, 3), dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8)
    unsure = np.array([[0, 0.25], [0.5, 0.25]], dtype=np.float32)
    found = make_record(SegmentedFrame(image, Prediction(mask, None, unsure), latency_ms=41.25), LABELS)
    assert (found["uncertainty"], found["latency_ms"]) == (0.25, 41.25)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "new/folder/a.CSV"])
def test_each_line_can_be_read_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    head = 1 if path.suffix.lower() == ".csv" else 0
    with RecordFile(path, LABELS) as records:
        for number in range(3):
            records.add(frame(number))
            text = path.read_text(encoding="utf-8")
            assert text.endswith("\n")
            assert len(text.splitlines()) == head + number + 1


def test_csv_holds_what_json_lines_hold(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        with RecordFile(tmp_path / name, LABELS) as records:
            records.add(frame(0))
            records.add(frame(1))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for line, row in zip(lines, rows, strict=True):
        for table, prefix in (("shares", "share"), ("confidences", "confidence")):
            line |= {f"{prefix}_{name}": value for name, value in line.pop(table).items()}
        assert row == {key: "" if value is None else str(value) for key, value in line.items()}


def test_an_earlier_file_stays_until_there_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("earlier\n")
    with RecordFile(path, LABELS) as records:
        assert path.read_text() == "earlier\n"
        records.add(frame())
        assert "earlier" not in path.read_text()


def test_what_is_finished_stays_whatever_comes_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(path, 1, error=KeyboardInterrupt)
    assert json.loads(path.read_text())["frame"] == 0


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.jsonl cannot be written"):
            write(path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    numbers = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 20


def test_a_table_whose_first_line_failed_has_its_header_with_the_second(tmp_path: Path) -> None:
    sizes: list[int] = []

    def note(size: int) -> None:
        sizes.append(size)
        if len(sizes) == 1:
            raise OutputError("the disk is full")

    with RecordFile(tmp_path / "a.csv", LABELS, before_line=note) as records:
        with pytest.raises(OutputError):
            records.add(frame(0))
        records.add(frame(1))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["a/000001"]


def test_a_name_that_is_not_utf8_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with RecordFile(path, LABELS) as records:
        with pytest.raises(DataError, match="is a name that is not UTF-8"):
            records.add(replace(frame(0), name="\udcff"))
        records.add(frame(1))
    assert json.loads(path.read_text(encoding="utf-8"))["frame"] == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        RecordFile(tmp_path / "file" / "a.csv", LABELS) as records,
        pytest.raises(OutputError, match=r"a\.csv cannot be written"),
    ):
        records.add(frame())


@pytest.mark.parametrize("name", ["a.json", "a", "a.txt"])
def test_another_ending_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name} has no known ending; give a name that ends in \.jsonl or \.csv"):
        RecordFile(tmp_path / name, LABELS)


def test_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        RecordFile(tmp_path / "a.csv", LABELS)


def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with RecordFile(path, LABELS) as first, RecordFile(path, LABELS) as second:
        first.add(frame(0))
        with pytest.raises(OutputError, match=r"a\.jsonl: another run writes this file at the moment"):
            second.add(frame(1))
        first.add(frame(2))
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [0, 2]
    write(path, 1)
    assert len(path.read_text().splitlines()) == 1
