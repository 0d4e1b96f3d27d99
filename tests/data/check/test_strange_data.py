"""Data sets at the edge of what is possible are checked like any other."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.check.report import CheckReport, check_data, refuse_known_faults
from segnet.data.layouts import open_source
from segnet.errors import DataError


def kinds(report: CheckReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def write(root: Path, names: list[str], mask: np.ndarray, *, suffix: str = ".png") -> Path:
    """A data set of two classes in image folders, with noise for images."""
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for name in names:
            image = noise.integers(0, 255, (*mask.shape, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "images" / split / f"{split} {name}{suffix}", format="PNG")
            Image.fromarray(mask).save(root / "masks" / split / f"{split} {name}.png")
    (root / "classes.txt").write_text("field\nroad\n")
    return root


@pytest.fixture
def halves() -> np.ndarray:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[:, 15:] = 1
    return mask


def test_names_with_spaces_unicode_and_capitals_pair_up(tmp_path: Path, halves: np.ndarray) -> None:
    report = check_data(write(tmp_path, ["straße 1", "空 b"], halves, suffix=".PNG"))
    assert not report.failed
    assert len(report.data.samples) == 4
    assert kinds(report) == {}


def test_a_clean_set_of_one_image_passes(tmp_path: Path, halves: np.ndarray) -> None:
    report = check_data(write(tmp_path, ["only"], halves))
    assert not report.failed
    assert report.command == f"segnet train {tmp_path}"


def test_masks_with_palettes_of_different_orders_are_named(tmp_path: Path, halves: np.ndarray) -> None:
    """As image editors write them; without colors of the classes nothing else shows that the numbers are mixed up."""
    write(tmp_path, ["a", "b"], halves)
    green, red = (0, 128, 0), (255, 0, 0)
    for path in sorted(tmp_path.glob("masks/*/*.png")):
        turned = path.stem == "val b"
        mask = Image.fromarray(1 - halves if turned else halves, mode="P")
        mask.putpalette([*red, *green] if turned else [*green, *red])
        mask.save(path)
    report = check_data(tmp_path)
    found = next(finding for finding in report.findings if finding.kind == "mixed_palettes")
    text = "color (255, 0, 0) has the value 0, and 1 in most masks"
    assert [(Path(mark.path).stem, mark.text) for mark in found.marks] == [("val b", text)]
    assert not report.failed


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1)])
def test_images_of_one_row_or_column_are_named(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = (np.arange(shape[0] * shape[1]) % 2).reshape(shape).astype(np.uint8)
    report = check_data(write(tmp_path, ["a", "b"], mask))
    assert kinds(report)["small_image"] == 4


def test_one_class_only_fails_by_split(tmp_path: Path, halves: np.ndarray) -> None:
    report = check_data(write(tmp_path, ["a", "b"], np.zeros_like(halves)))
    assert report.failed
    found = [finding for finding in report.findings if finding.kind == "single_class"]
    assert [finding.count for finding in found] == [2, 2]
    assert "class 0 (field) only" in found[0].title
    (tmp_path / "classes.txt").write_text("field\n")
    assert kinds(check_data(tmp_path))["single_class"] == 1


def test_masks_without_any_known_value_are_not_called_ignored(tmp_path: Path, halves: np.ndarray) -> None:
    report = check_data(write(tmp_path, ["a"], halves + 7))
    assert kinds(report) == {"value_out_of_range": 2}
    assert report.failed


def test_black_and_white_masks_count_as_two_classes(tmp_path: Path, halves: np.ndarray) -> None:
    report = check_data(write(tmp_path, ["a"], halves * 255))
    assert not report.failed
    assert report.statistics is not None
    assert report.statistics.pixels.tolist() == [600, 600]


def test_black_and_white_masks_that_a_data_yaml_reads_otherwise_are_called_so(
    tmp_path: Path, halves: np.ndarray
) -> None:
    write(tmp_path, ["a"], halves * 255)
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [field, road]\nignore_index: 255\n"
    )
    report = check_data(tmp_path)
    assert report.failed
    assert kinds(report) == {"single_class": 1, "two_tone": 2, "absent_class": 1}


def test_classes_called_as_none_or_as_another_are_named(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    (tmp_path / "classes.txt").write_text("Unlabeled\nroad\n")
    (found,) = check_data(tmp_path).findings
    assert (found.kind, found.count) == ("unlabeled_class", 1)
    (tmp_path / "classes.txt").write_text("Road\nroad\n")
    (found,) = check_data(tmp_path).findings
    assert (found.kind, found.remedy) == ("similar_names", 'if they are one class, give --map "Road=road"')


def test_an_absent_class_is_named_with_its_split(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    (tmp_path / "classes.txt").write_text("field\nroad\nboat\n")
    report = check_data(tmp_path)
    assert [mark.path for finding in report.findings for mark in finding.marks] == ["boat", "boat"]
    assert report.statistics is not None
    assert report.statistics.weights["median"].tolist() == [1, 1, 0]


def test_a_mask_with_specks_of_the_brush_is_named(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a", "b"], halves)
    specks = halves.copy()
    specks[2::4, 2::5] ^= 1
    Image.fromarray(specks).save(tmp_path / "masks" / "val" / "val b.png")
    found = {finding.kind: finding for finding in check_data(tmp_path).findings}
    assert [(Path(mark.path).name, mark.text) for mark in found["islands"].marks] == [("val b.png", "30 islands")]


def test_all_masks_with_specks_are_listed(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, [f"{number:02}" for number in range(30)], halves)
    specks = halves.copy()
    specks[2::4, 2::5] ^= 1
    wrong = sorted((tmp_path / "masks" / "val").iterdir())[:25]
    for path in wrong:
        Image.fromarray(specks).save(path)
    found = {finding.kind: finding for finding in check_data(tmp_path).findings}["islands"]
    assert [Path(mark.path) for mark in found.marks] == wrong
    assert found.to_dict()["count"] == len(found.to_dict()["files"]) == 25


def test_loops_and_broken_links_neither_hang_nor_hide(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    (tmp_path / "images" / "train" / "loop").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "images" / "train" / "self.png").symlink_to("self.png")
    (tmp_path / "masks" / "train" / "self.png").symlink_to("nowhere.png")
    report = check_data(tmp_path)
    assert kinds(report)["unreadable"] == 2
    assert {Path(mark.path).name for finding in report.findings for mark in finding.marks} >= {"self.png"}


def test_a_tree_that_may_not_be_written_is_checked_and_unchanged(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    before = sorted(tmp_path.rglob("*"))
    folders = [tmp_path, *(path for path in before if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        assert not check_data(tmp_path).failed
    finally:
        for path in folders:
            path.chmod(0o755)
    assert sorted(tmp_path.rglob("*")) == before


def test_thousands_of_files_are_paired_and_checked(tmp_path: Path, halves: np.ndarray) -> None:
    """Hard links to one image and mask: each is read, and known as a copy."""
    write(tmp_path, ["a"], halves[:4, 13:17])
    for number in range(700):
        for kind in ("images", "masks"):
            for split in ("train", "val"):
                os.link(tmp_path / kind / split / f"{split} a.png", tmp_path / kind / split / f"b{number:05}.png")
    report = check_data(tmp_path)
    assert len(report.data.samples) == 1_402
    assert kinds(report)["duplicate"] == 1_400


def test_lines_of_a_list_that_lead_nowhere_are_collected(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    line = "images/{0}/{0} a.png\tmasks/{0}/{0} a.png\n"
    (tmp_path / "train.txt").write_text(line.format("train") + "images/none.png masks/none.png\nalone.png\n")
    (tmp_path / "val.txt").write_text(line.format("val"))
    report = check_data(tmp_path / "train.txt")
    assert kinds(report) == {"listing": 2}
    assert [mark.path.partition(": ")[0][-6:] for mark in report.findings[0].marks] == ["line 2", "line 3"]


def test_a_listed_image_without_a_mask_is_collected_with_all_other_faults(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a", "b"], halves)
    for kind in ("images", "masks"):
        for path in list((tmp_path / kind).rglob("*.png")):
            path.rename(tmp_path / kind / path.name.replace(" ", "_"))
        for split in ("train", "val"):
            (tmp_path / kind / split).rmdir()
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"{split}_a\n{split}_b\n")
    (tmp_path / "masks" / "train_a.png").unlink()
    Image.fromarray(halves[:-1]).save(tmp_path / "masks" / "val_a.png")
    report = check_data(tmp_path)
    assert kinds(report) == {"image_without_mask": 1, "listing": 1, "size_mismatch": 1}
    assert [len(report.data.splits[split]) for split in ("train", "val")] == [1, 2]


def test_a_missing_split_fails(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    shutil.rmtree(tmp_path / "images" / "val")
    shutil.rmtree(tmp_path / "masks" / "val")
    assert kinds(check_data(tmp_path)) == {"missing_split": 1}


def test_one_folder_for_every_split_is_read_once_and_named(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a"], halves)
    for kind in ("images", "masks"):
        for split in ("train", "val"):
            for file in (tmp_path / kind / split).iterdir():
                file.rename(tmp_path / kind / file.name)
            (tmp_path / kind / split).rmdir()
    report = check_data(tmp_path)
    assert len(report.data.samples) == 2
    assert kinds(report) == {"no_validation_split": 2}


def test_an_image_that_two_lists_name_is_a_leak(tmp_path: Path, halves: np.ndarray) -> None:
    root = write(tmp_path, ["a", "b"], halves)
    lines = {name: f"images/{name}.png\tmasks/{name}.png\n" for name in ("train/train a", "train/train b", "val/val a")}
    (root / "classes.txt").rename(root / "labels.txt")
    (root / "train.txt").write_text("".join(lines.values()))
    (root / "val.txt").write_text(lines["val/val a"] + lines["train/train b"])
    leak, *_ = [finding for finding in check_data(root / "train.txt").findings if finding.kind == "leak"]
    assert [(Path(mark.path).name, mark.text) for mark in leak.marks] == [
        ("train b.png", "in train and val"), ("val a.png", "in train and val"),
    ]  # fmt: skip
    (root / "val.txt").write_text("".join(reversed(lines.values())))
    assert kinds(check_data(root / "train.txt")) == {"no_validation_split": 3}


def test_training_refuses_what_is_known_without_reading_pixels(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a", "b"], halves)
    refuse_known_faults(open_source(tmp_path), check="segnet check it")
    Image.fromarray(halves[:-2]).save(tmp_path / "masks" / "val" / "val b.png")
    (tmp_path / "images" / "train" / "train a.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 of 4 pairs cannot be used.*segnet check"):
            refuse_known_faults(open_source(tmp_path), check="segnet check it")
        check_data(tmp_path)  # and again by what the check has read


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def break_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        (truncate, "is damaged"),
        (break_link, "does not exist"),
    ],
)
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_training_names_the_file_at_fault_and_its_fault(
    kind: str, damage: Callable[[Path], None], reason: str, tmp_path: Path, halves: np.ndarray
) -> None:
    write(tmp_path, ["a", "b"], np.tile(halves, (20, 20)))
    path = tmp_path / kind / "train" / "train b.png"
    damage(path)
    check_data(tmp_path)
    with pytest.raises(DataError, match="1 of 4 pairs cannot be used") as refused:
        refuse_known_faults(open_source(tmp_path), check="segnet check it")
    assert f"files that cannot be read, such as {path}: {reason}" in str(refused.value)


def test_training_names_sizes_and_values_at_fault(tmp_path: Path, halves: np.ndarray) -> None:
    path = write(tmp_path, ["a", "b"], halves) / "masks" / "val" / "val b.png"
    faults = {f"{path}: 30x18, its image 30x20": halves[:-2], f"{path}: value 8 on 300 pixels": halves + halves * 7}
    for text, mask in faults.items():
        Image.fromarray(mask).save(path)
        check_data(tmp_path)
        with pytest.raises(DataError, match=re.escape(text)):
            refuse_known_faults(open_source(tmp_path), check="segnet check it")


def test_training_refuses_what_only_pixels_say_once_a_check_has_read_them(tmp_path: Path, halves: np.ndarray) -> None:
    write(tmp_path, ["a", "b"], halves)
    Image.fromarray(halves + 7).save(tmp_path / "masks" / "val" / "val b.png")
    image = tmp_path / "images" / "train" / "train a.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:-200])
    refuse_known_faults(open_source(tmp_path), check="segnet check it")
    assert check_data(tmp_path).failed
    with pytest.raises(DataError, match="2 of 4 pairs"):
        refuse_known_faults(open_source(tmp_path), check="segnet check it")
    image.write_bytes(whole)
    Image.fromarray(halves).save(tmp_path / "masks" / "val" / "val b.png")
    refuse_known_faults(open_source(tmp_path), check="segnet check it")
