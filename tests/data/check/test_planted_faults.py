"""Every fault is planted in a copy of one data set, and one run finds, names and counts them all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.check.findings import Finding
from segnet.data.check.report import CheckReport, check_data
from segnet.data.synthetic.scenes import render_scene, write_scenes


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn scenes to train on and 6 to validate on, 96x128 pixels; not to be changed."""
    return write_scenes(tmp_path_factory.mktemp("clean"), train=24, val=6, size=(96, 128))


@dataclass
class Planted:
    """A data set with faults: kind of finding -> names of the files at fault."""

    root: Path
    faults: dict[str, set[str]] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)

    def take(self, kind: str, folder: str = "trainannot") -> Path:
        path = self.root / folder / f"{self.free.pop()}.png"
        self.faults.setdefault(kind, set()).add(path.name)
        return path


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with Image.open(path) as image:
        pixels = np.array(image)
    Image.fromarray(change(pixels)).save(path)


def spoil_value(mask: np.ndarray) -> np.ndarray:
    mask[:3, :4] = 77
    return mask


def spoil_corner(mask: np.ndarray) -> np.ndarray:
    mask[:9, :9] = 11
    return mask


def through_jpeg(path: Path) -> None:
    with Image.open(path) as image:
        image.convert("L").point(lambda value: 20 * value).save(path.with_suffix(".jpg"), quality=40)
    with Image.open(path.with_suffix(".jpg")) as image:
        noise = np.array(image)
    path.with_suffix(".jpg").unlink()
    Image.fromarray((noise // 20).clip(0, 11) ^ (noise % 3 == 0)).save(path)


@pytest.fixture(scope="session")
def planted(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("planted") / "müll und mehr"
    shutil.copytree(clean, root)
    data = Planted(root, free=sorted(path.stem for path in (root / "train").iterdir()))
    take = data.take
    take("image_without_mask", "train")
    (root / "trainannot" / next(iter(data.faults["image_without_mask"]))).unlink()
    take("mask_without_image")
    (root / "train" / next(iter(data.faults["mask_without_image"]))).unlink()
    for folder in ("train", "trainannot"):
        truncated = take("unreadable", folder)
        truncated.write_bytes(truncated.read_bytes()[: -700 if folder == "train" else -60])
    take("lfs", "train").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    lossy = take("lossy")
    with Image.open(lossy) as image:
        image.convert("L").save(lossy, format="JPEG")
    rewrite(take("size_mismatch"), lambda mask: mask[:-6])
    rewrite(take("value_out_of_range"), spoil_value)
    through_jpeg(take("noisy_mask"))
    rewrite(take("shifted_mask"), lambda mask: np.roll(mask, (6, 9), axis=(0, 1)))
    rewrite(take("flipped_mask"), lambda mask: mask[:, ::-1])
    rewrite(take("flipped_mask"), lambda mask: mask[::-1])
    foreign = take("foreign_mask")
    shutil.copy(root / "valannot" / min(path.name for path in (root / "valannot").iterdir()), foreign)
    data.faults["same_mask"] = {foreign.name}
    no_mask = take("no_mask")
    shutil.copy(root / "train" / no_mask.name, no_mask)
    rewrite(take("ignored"), lambda mask: np.full_like(mask, 11))
    twice = take("same_name", "train")
    with Image.open(twice) as image:
        image.convert("RGB").save(twice.with_suffix(".bmp"))
    torn = data.free.pop()
    shutil.copy(root / "train" / f"{torn}.png", root / "train" / "torn.png")
    rewrite(shutil.copy(root / "trainannot" / f"{torn}.png", root / "trainannot" / "torn.png"), spoil_corner)
    data.faults["two_masks"] = {f"{torn}.png"} if torn > "torn" else {"torn.png"}
    data.faults["duplicate"] = data.faults["two_masks"]
    original = data.free.pop()
    for folder in ("train", "trainannot"):
        with Image.open(root / folder / f"{original}.png") as image:
            near = image.resize((112, 84), Image.Resampling.NEAREST)
        near.save(root / folder.replace("train", "val") / "near leak.png")
    data.faults["near_leak"] = {"near leak.png"}
    original = data.free.pop()
    for folder in ("train", "trainannot"):
        shutil.copy(root / folder / f"{original}.png", root / folder.replace("train", "val") / "leak.png")
    data.faults["leak"] = {"leak.png"}
    with Image.open(root / "train" / f"{data.free[0]}.png") as image:
        image.resize((120, 90)).save(root / "train" / "near copy.png")
    with Image.open(root / "trainannot" / f"{data.free[0]}.png") as image:
        image.resize((120, 90), Image.Resampling.NEAREST).save(root / "trainannot" / "near copy.png")
    data.faults["near_duplicate"] = {"near copy.png", f"{data.free[0]}.png"}
    return data


@pytest.fixture(scope="session")
def report(planted: Planted) -> CheckReport:
    return check_data(planted.root)


def of_kind(report: CheckReport, kind: str) -> Finding:
    return next(finding for finding in report.findings if finding.kind == kind)


@pytest.mark.parametrize(
    "kind",
    [
        "image_without_mask", "mask_without_image", "unreadable", "lfs", "lossy", "size_mismatch",
        "value_out_of_range", "noisy_mask", "shifted_mask", "flipped_mask", "foreign_mask", "same_mask", "no_mask",
        "ignored", "leak", "near_leak", "duplicate", "two_masks", "same_name",
    ],
)  # fmt: skip
def test_one_run_finds_names_and_counts(planted: Planted, report: CheckReport, kind: str) -> None:
    finding = of_kind(report, kind)
    assert {Path(mark.path).name for mark in finding.marks} == planted.faults[kind]
    assert finding.count == len(planted.faults[kind])


def test_faults_are_sorted_by_severity_and_training_would_fail(report: CheckReport) -> None:
    order = [finding.severity for finding in report.findings]
    assert order == sorted(order, key=("error", "warning", "note").index)
    assert report.failed


def test_a_near_copy_of_another_size_is_found(planted: Planted, report: CheckReport) -> None:
    (mark,) = of_kind(report, "near_duplicate").marks
    assert {Path(mark.path).name, Path(mark.text).name} == planted.faults["near_duplicate"]


def test_nothing_is_found_in_the_clean_set(clean: Path) -> None:
    """Its names are numbered, but its images are no film."""
    assert [finding.kind for finding in check_data(clean).findings if finding.severity != "note"] == []


def test_two_masks_that_were_exchanged_are_traced_to_each_other(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "exchanged"
    shutil.copytree(clean, root)
    one, other = sorted((root / "trainannot").iterdir())[2:4]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    texts = {Path(mark.path).name: mark.text for mark in of_kind(check_data(root), "foreign_mask").marks}
    assert set(texts) == {one.name, other.name}
    assert f"it lies well on {other.name}" in texts[one.name]
    assert f"it lies well on {one.name}" in texts[other.name]


def test_a_film_cut_into_splits_is_found_by_names_and_looks(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "film"
    shutil.copytree(clean, root)
    image, mask = render_scene(5, size=(96, 160))
    for number in range(20):
        split = "val" if number >= 14 else "train"
        left = 2 * (19 - number if number < 14 else number)
        for folder, pixels in ((split, image), (f"{split}annot", mask)):
            pixels = np.ascontiguousarray(pixels[:, left % 32 : left % 32 + 128])
            Image.fromarray(pixels).save(root / folder / f"drive_{number:04}.png")
    finding = of_kind(check_data(root), "shared_sequence")
    assert [Path(mark.path).name for mark in finding.marks] == [f"drive_{number:04}.png" for number in range(14, 20)]
    assert finding.marks[0].text == "1 frames from drive_0013 of train"
    assert "drive (6 of val, 14 of train)" in finding.detail
