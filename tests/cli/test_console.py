from __future__ import annotations

import numpy as np
import pytest

from segnet.cli.console import print_boundary_scores, print_calibration, print_scores
from segnet.labels import ClassTable
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.metrics.confusion import CONVENTION, Scores
from segnet.results.images import print_shares


def test_scores_are_printed_to_four_digits_with_their_convention(capsys: pytest.CaptureFixture[str]) -> None:
    labels = ClassTable.from_names(["road [wet]", "sky", "never"])
    print_scores(Scores(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), labels), "a heading")
    told = capsys.readouterr().out
    assert "a heading" in told
    assert "global accuracy 0.8500   class average 0.8500   mIoU 0.7386   frequency-weighted IoU 0.7386" in told
    rows = {line.split("  ")[0].strip(): line.split() for line in told.splitlines()}
    assert rows["road [wet]"][-3:] == ["0.7273", "0.8000", "50.00%"]
    assert rows["sky"][-3:] == ["0.7500", "0.9000", "50.00%"]
    assert "absent: never" in told
    assert " ".join(CONVENTION.split()) in " ".join(told.split())
    assert "over all 3 classes, absent ones as 0 (the authors' script): class average 0.5667   mIoU 0.4924" in told
    assert "no class was predicted" not in told


def test_class_names_of_any_length_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{'construction--barrier--' * 4}{end}" for end in ("wall", "other-barrier")]
    labels, edge = ClassTable.from_names(names), np.repeat([[0] * 8 + [1] * 8], 16, axis=0).astype(np.uint8)
    meter = BoundaryMeter(labels)
    meter.add("edge", edge, edge)
    for show in (
        lambda: print_scores(Scores(np.eye(2, dtype=np.int64), labels), "a heading"),
        lambda: print_boundary_scores(meter.scores),
        lambda: print_shares(dict.fromkeys(names, 0.5)),
    ):
        show()
        rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith(" construction")]
        assert rows == names


def test_pixels_without_a_predicted_class_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(Scores(np.eye(2, dtype=np.int64), ClassTable.from_names(["a", "b"]), np.array([0, 2])), "a heading")
    told = capsys.readouterr().out
    assert "no class was predicted for 2 pixels (50.00%); they count as wrong" in told
    assert "over all" not in told


def test_boundary_scores_are_printed_with_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    meter = BoundaryMeter(ClassTable.from_names(["road [wet]", "sky", "never"]))
    edge = np.repeat([[0] * 8 + [1] * 8], 16, axis=0).astype(np.uint8)
    meter.add("edge", edge, edge)
    for name in "abcd":
        meter.add(name, edge, np.zeros_like(edge))
    print_boundary_scores(meter.scores)
    told = capsys.readouterr().out
    assert "boundary F1 1.0000 (paper)   0.2000 (script)" in told
    assert "mIoU near true borders: 2 px 1.0000   4 px 1.0000" in told
    rows = {line.split("  ")[0].strip(): line.split() for line in told.splitlines()}
    assert rows["road [wet]"][-4:] == ["1.0000", "0.2000", "0.2000", "1.0000"]
    assert rows["never"][-4:] == ["nan"] * 4
    assert "4 without a true boundary left out: a, b, c, ..." in " ".join(told.split())


def test_calibration_is_printed_with_its_convention(capsys: pytest.CaptureFixture[str]) -> None:
    meter = CalibrationMeter("mutual_information")
    probabilities = np.array([[[0.9, 0.6]], [[0.1, 0.4]]], dtype=np.float32)
    meter.add(probabilities, np.array([[0, 1]], dtype=np.uint8), np.array([[0.1, 0.5]], dtype=np.float32))
    print_calibration(meter.scores)
    told = capsys.readouterr().out
    assert "ECE 0.3500   NLL 0.5108   Brier 0.3700   mean confidence 0.7500 at accuracy 0.5000" in told
    assert "uncertainty by mutual information: AUROC for errors 1.0000" in told
    rows = [line.split() for line in told.splitlines()]
    assert ["0", "100", "%", "0.5000"] in rows
    assert ["50", "50", "%", "1.0000"] in rows
    assert "convention: ECE of 15 bins of equal width" in " ".join(told.split())


def test_a_long_heading_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    heading = "best.safetensors on " + "/long/folder" * 20
    print_scores(Scores(np.eye(2, dtype=np.int64), ClassTable.from_names(["a", "b"])), heading)
    assert heading in capsys.readouterr().out.splitlines()
