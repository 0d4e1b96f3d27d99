"""The check reads masks as training does: colors, palettes, mapped classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.check.report import check_data, refuse_known_faults
from segnet.data.layouts import open_source
from segnet.data.source_config import SourceConfig
from segnet.errors import DataError

FIELD, ROAD, WATER = (0, 128, 0), (128, 64, 128), (0, 0, 255)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three bands of classes, in colors, two pairs."""
    colors = np.repeat(np.array([FIELD, ROAD, WATER, (0, 0, 0)], dtype=np.uint8)[:, None], 30, axis=1).repeat(5, axis=0)
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.fromarray(noise.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(
            tmp_path / f"images/{split}/{split}.png"
        )
        Image.fromarray(colors).save(tmp_path / f"masks/{split}/{split}.png")
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in
                   (("field", FIELD), ("road", ROAD), ("water", WATER)))  # fmt: skip
    (tmp_path / "class_dict.csv").write_text(f"name,r,g,b\n{rows}")
    return tmp_path


def kinds(root: Path) -> dict[str, int]:
    return {finding.kind: finding.count for finding in check_data(root).findings}


def test_colors_are_counted_as_their_classes_and_black_as_ignored(root: Path) -> None:
    report = check_data(root)
    assert not report.failed
    assert report.statistics is not None
    assert report.statistics.pixels.tolist() == [300, 300, 300]
    assert report.statistics.ignored == 300


def test_a_color_of_no_class_is_named_and_refused(root: Path) -> None:
    with Image.open(root / "masks/train/train.png") as mask:
        mask.putpixel((3, 4), (1, 2, 3))
        mask.save(root / "masks/train/train.png")
    report = check_data(root)
    assert report.failed
    assert [mark.text for finding in report.findings for mark in finding.marks if finding.severity == "error"] == [
        "color (1, 2, 3) (nearest: field) on 1 pixel"
    ]
    assert report.findings[0].detail == "in all masks: color (1, 2, 3) (nearest: field) on 1 pixel of 1 mask"
    with pytest.raises(DataError, match="1 of 2 pairs cannot be used"):
        refuse_known_faults(open_source(root), check="segnet check it")


def test_a_palette_in_another_order_is_an_error_as_in_training(root: Path) -> None:
    mask = Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 300).reshape(20, 30), mode="P")
    mask.putpalette([*ROAD, *FIELD, *WATER])
    mask.save(root / "masks/val/val.png")
    assert kinds(root)["other_palette"] == 1
    with pytest.raises(DataError, match="has the color of"):
        open_source(root).dataset("val")[0]
    with pytest.raises(DataError, match="1 of 2 pairs"):
        refuse_known_faults(open_source(root), check="segnet check it")


def test_color_masks_that_went_through_jpeg_are_named_under_any_suffix(root: Path) -> None:
    for split, suffix in (("train", ".jpg"), ("val", ".png")):
        path = root / f"masks/{split}/{split}.png"
        with Image.open(path) as mask:
            large = mask.convert("RGB").resize((300, 200))
        path.unlink()
        large.save(path.with_suffix(".jpg"), quality=30)
        if suffix == ".png":  # saved again, as a lossless file of lost values
            with Image.open(path.with_suffix(".jpg")) as blurred:
                noise = np.random.default_rng(0).integers(0, 40, (200, 300, 3))
                Image.fromarray((np.array(blurred) // 2 + noise).astype(np.uint8)).save(path)
            path.with_suffix(".jpg").unlink()
        Image.new("RGB", (300, 200)).save(root / f"images/{split}/{split}.png")
    found = {finding.kind: finding for finding in check_data(root).findings if finding.severity == "error"}
    assert set(found) == {"lossy", "no_mask"}
    assert "is a JPEG file, which may change class numbers" in found["lossy"].marks[0].text
    assert "one that went through JPEG; save the original mask as PNG" in found["no_mask"].marks[0].text


def test_masks_in_arrays_are_checked(root: Path) -> None:
    (root / "class_dict.csv").unlink()
    (root / "classes.txt").write_text("field\nroad\n")
    halves = np.arange(600).reshape(20, 30) % 2
    for split in ("train", "val"):
        (root / f"masks/{split}/{split}.png").unlink()
        np.save(root / f"masks/{split}/{split}.npy", halves if split == "train" else 1 - halves)
    assert kinds(root) == {}
    np.save(root / "masks/train/train.npy", halves * 7)
    assert kinds(root) == {"value_out_of_range": 1, "absent_class": 1, "single_class": 1}
    np.save(root / "masks/train/train.npy", halves / 2)
    (root / "masks/val/val.npy").write_bytes(b"no")
    assert kinds(root) == {"no_mask": 1, "unreadable": 1}


def test_mapped_classes_are_checked_as_they_are_trained(root: Path) -> None:
    report = check_data(root, reading=SourceConfig(map="field,water=nature"))
    assert report.statistics is not None
    assert report.data.labels.names == ("nature", "road")
    assert report.statistics.pixels.tolist() == [600, 300]
