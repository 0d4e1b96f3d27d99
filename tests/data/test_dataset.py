"""Samples as tensors, and the errors of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source, open_dataset, open_source
from segnet.data.samples import Sample
from segnet.data.tensors import collate, worker_error
from segnet.errors import (
    BrokenPackageError,
    ConfigError,
    DataError,
    MissingPackageError,
    ModelError,
    SegNetError,
    ShapeError,
)
from segnet.labels import ClassTable

LABELS = ClassTable.from_names(["sky", "road", "car"])


def sample(folder: Path, mask: np.ndarray, image: np.ndarray | None = None, name: str = "a") -> Sample:
    if image is None:
        image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    paths = folder / f"{name}.png", folder / f"{name}_mask.png"
    for array, path in zip((image, mask), paths, strict=True):
        Image.fromarray(array).save(path)
    return Sample(image=paths[0], mask=paths[1], name=name)


def one(folder: Path, mask: list[list[int]], dtype: type = np.uint8, **options) -> SegmentationDataset:
    return SegmentationDataset([sample(folder, np.array(mask, dtype=dtype))], LABELS, **options)


def test_a_sample_is_the_image_in_zero_to_one_and_its_classes(tmp_path: Path):
    pixels = np.array([[[0, 51, 255], [255, 0, 0]]], dtype=np.uint8)
    data = SegmentationDataset([sample(tmp_path, np.array([[2, 255]], dtype=np.uint8), pixels)], LABELS)
    item = data[0]
    torch.testing.assert_close(item["image"], torch.tensor([[[0.0, 1.0]], [[0.2, 0.0]], [[1.0, 0.0]]]))
    assert item["image"].dtype == torch.float32
    assert item["mask"].tolist() == [[2, 255]]
    assert item["mask"].dtype == torch.int64
    assert item["name"] == "a"
    assert len(data) == 1


def test_a_gray_channel_is_made_of_the_colors(tmp_path: Path):
    pixels = np.array([[[255, 0, 0], [9, 9, 9]]], dtype=np.uint8)
    data = SegmentationDataset([sample(tmp_path, np.zeros((1, 2), np.uint8), pixels)], LABELS, channels=1)
    assert data[0]["image"].shape == (1, 1, 2)
    torch.testing.assert_close(data[0]["image"][0, 0] * 255, torch.tensor([76.0, 9.0]))  # 0.299 red


def test_every_void_value_of_the_files_becomes_255(tmp_path: Path):
    assert one(tmp_path, [[0, 1, 2, 11, 200]], ignore_index=(11, 200))[0]["mask"].tolist() == [[0, 1, 2, 255, 255]]


def test_a_class_with_an_ignored_value_is_no_class(tmp_path: Path):
    data = one(tmp_path, [[0, 1, 2]], ignore_index=(0,))
    assert data[0]["mask"].tolist() == [[255, 0, 1]]
    assert data.labels.names == ("road", "car")


def test_values_with_gaps_become_class_indices(tmp_path: Path):
    labels = ClassTable.from_names(["building", "grass"], [1, 254])
    mask = sample(tmp_path, np.array([[0, 1, 254, 5]], dtype=np.uint8))
    data = SegmentationDataset([mask], labels, ignore_index=(0, 5))
    assert data[0]["mask"].tolist() == [[255, 0, 1, 255]]
    with pytest.raises(DataError, match=r"a_mask\.png: value 0 on 1 pixel, value 5 on 1 pixel, but the classes are "):
        SegmentationDataset([mask], labels)[0]
    with pytest.raises(DataError, match=r"classes are 1 \(building\), 254 \(grass\) and ignored values are 5"):
        SegmentationDataset([mask], labels, ignore_index=(5,))[0]


@pytest.mark.parametrize("void", [1000, 65535])
def test_void_values_beyond_a_byte_work_with_masks_of_both_depths(tmp_path: Path, void: int):
    assert one(tmp_path, [[0, 2]], ignore_index=(void,))[0]["mask"].tolist() == [[0, 2]]
    deep = one(tmp_path, [[0, void, 2]], dtype=np.uint16, ignore_index=(void,))
    assert deep[0]["mask"].tolist() == [[0, 255, 2]]


def test_a_value_out_of_range_is_told_with_file_value_and_pixel_count(tmp_path: Path):
    data = one(tmp_path, [[0, 7, 7], [9, 1, 2]])
    with pytest.raises(DataError) as caught:
        data[0]
    told = str(caught.value)
    for part in (
        "a_mask.png",
        "value 7 on 2 pixels",
        "value 9 on 1 pixel",
        "classes are 0 to 2",
        "ignored values are 255",
    ):
        assert part in told


def test_more_than_three_wrong_values_are_summed_up(tmp_path: Path):
    with pytest.raises(DataError, match="and 2 more values"):
        one(tmp_path, [[3, 4, 5, 6, 7]])[0]


def test_sixteen_bit_values_do_not_wrap_around(tmp_path: Path):
    with pytest.raises(DataError, match="value 256 on 1 pixel, value 65535 on 1 pixel"):
        one(tmp_path, [[256, 65535, 1]], dtype=np.uint16)[0]


def test_a_black_and_white_mask_is_recognized_when_void_is_another_value(tmp_path: Path):
    with pytest.raises(DataError, match="look like a two-class mask"):
        one(tmp_path, [[0, 255]], ignore_index=())[0]


def test_no_void_is_said(tmp_path: Path):
    with pytest.raises(DataError, match="ignored values are not used"):
        one(tmp_path, [[0, 9]], ignore_index=())[0]


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path):
    image = np.zeros((4, 5, 3), np.uint8)
    data = SegmentationDataset([sample(tmp_path, np.zeros((2, 3), np.uint8), image)], LABELS)
    with pytest.raises(DataError, match=r"a_mask\.png: the mask is 3x2 pixels but its image a\.png is 5x4"):
        data[0]


@pytest.mark.parametrize("size", [(5, 3), (16, 24), (7, 12), (1, 1)])
def test_resizing_gives_the_size_and_invents_no_class(tmp_path: Path, size: tuple[int, int]):
    mask = np.random.default_rng(1).choice(np.array([0, 2, 255], np.uint8), (8, 12))
    item = SegmentationDataset([sample(tmp_path, mask)], LABELS, size=size)[0]
    assert item["image"].shape == (3, *size)
    assert item["mask"].shape == size
    assert set(item["mask"].unique().tolist()) <= {0, 2, 255}
    assert 0 <= item["image"].min() <= item["image"].max() <= 1


def test_a_letterbox_keeps_the_aspect_and_ignores_what_it_pads(tmp_path: Path):
    mask = np.ones((8, 12), np.uint8)
    image = np.full((8, 12, 3), 200, np.uint8)
    item = SegmentationDataset([sample(tmp_path, mask, image)], LABELS, size=(6, 6))[0]
    assert item["mask"].tolist() == [[255] * 6, *[[1] * 6] * 4, [255] * 6]
    assert ((item["image"][0] * 255).round().long() == torch.where(item["mask"] == 1, 200, 0)).all()
    stretched = SegmentationDataset([sample(tmp_path, mask, image)], LABELS, size=(6, 6), resize_mode="stretch")[0]
    assert (stretched["mask"] == 1).all()
    with pytest.raises(ConfigError, match="resize_mode='fit' is unknown; choose one of letterbox, stretch"):
        SegmentationDataset([], LABELS, size=(6, 6), resize_mode="fit")  # type: ignore[arg-type]


def test_resizing_keeps_image_and_mask_together(tmp_path: Path):
    mask = np.zeros((12, 16), np.uint8)
    mask[4:, 8:] = 2
    image = np.repeat(mask[:, :, None] * 100, 3, axis=2)
    item = SegmentationDataset([sample(tmp_path, mask, image)], LABELS, size=(6, 8))[0]
    torch.testing.assert_close((item["image"][0] * 255 / 100).round().long(), item["mask"])


def test_the_mask_at_its_own_size_is_read_without_resizing(tmp_path: Path):
    classes = one(tmp_path, [[0, 255, 2]], size=(9, 9)).read_classes(0)
    assert classes.dtype == np.uint8
    assert classes.tolist() == [[0, 255, 2]]


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_an_impossible_size_is_refused(size: tuple[int, int]):
    with pytest.raises(ConfigError, match="height and width of at least 1"):
        SegmentationDataset([], LABELS, size=size)


@pytest.mark.parametrize("void", [-1, 65536, 10**12])
def test_a_void_value_that_no_file_can_hold_is_refused(void: int):
    with pytest.raises(ConfigError, match=f"ignore_index={void} is not possible"):
        SegmentationDataset([], LABELS, ignore_index=(255, void))


def test_samples_of_one_size_become_a_batch(camvid):
    data = camvid.dataset("train")
    batch = collate([data[0], data[1]])
    assert batch["image"].shape == (2, 3, 48, 64)
    assert batch["mask"].shape == (2, 48, 64)
    assert batch["name"] == [data.samples[0].name, data.samples[1].name]


def test_samples_of_different_sizes_are_padded_to_the_largest(tmp_path: Path):
    items = [
        SegmentationDataset([sample(tmp_path, np.zeros(shape, np.uint8), name=name)], LABELS)[0]
        for name, shape in (("wide", (2, 5)), ("high", (6, 3)))
    ]
    batch = collate(items, padding=[0.5, 0.25, 0.0])
    assert batch["image"].shape == (2, 3, 6, 5)
    for index, (height, width) in enumerate([(2, 5), (6, 3)]):
        torch.testing.assert_close(batch["image"][index, :, :height, :width], items[index]["image"])
        inside = torch.zeros(6, 5, dtype=torch.bool)
        inside[:height, :width] = True
        assert ((batch["mask"][index] == 255) == ~inside).all()
        assert (batch["image"][index, 1][~inside] == 0.25).all()
    assert (collate(items)["image"][0, :, 2:] == 0).all()


def test_an_error_from_a_worker_process_is_told_as_it_was_raised(tmp_path: Path):
    data = one(tmp_path, [[0, 7]])
    with pytest.raises(DataError) as direct:
        data[0]
    with pytest.raises(DataError) as wrapped:
        next(iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=1)))
    assert "Traceback" in str(wrapped.value)
    told = worker_error(wrapped.value)
    assert type(told) is DataError
    assert str(told) == str(direct.value)


def test_an_error_with_a_cause_in_a_worker_loses_the_traceback_too(tmp_path: Path):
    data = one(tmp_path, [[0]])
    data.samples[0].image.write_bytes(b"a text")
    with pytest.raises(DataError) as wrapped:
        next(iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=1)))
    told = str(worker_error(wrapped.value))
    assert told.startswith(str(data.samples[0].image))
    assert "Traceback" not in told


class Raising(torch.utils.data.Dataset[int]):
    """An optional library is missed where images are read."""

    def __init__(self, error: SegNetError) -> None:
        self.error = error

    def __getitem__(self, index: int) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [MissingPackageError.of("a", "b"), BrokenPackageError.of("a", "b", "OSError: no c", "run: pip")]
)
def test_a_library_missed_in_a_worker_process_is_one_line(error: SegNetError) -> None:
    with pytest.raises(type(error)) as wrapped:
        next(iter(torch.utils.data.DataLoader(Raising(error), batch_size=None, sampler=[0], num_workers=1)))
    assert str(worker_error(wrapped.value)) == str(error)


@pytest.mark.parametrize(
    "error",
    [ShapeError("tensors"), DataError("the line 'DataError: x' is odd"), MissingPackageError.of("onnx", "onnx")],
)
def test_an_error_of_this_process_stays_what_it_is(error: Exception):
    assert worker_error(error) is error  # type: ignore[arg-type]


def test_the_representations_count_images_and_classes(camvid_root: Path) -> None:
    source = open_source(camvid_root)
    assert repr(source) == f"Source('{camvid_root}', CamVid folders, train 6, val 3 images, 11 classes)"
    assert repr(source.dataset("train")) == "SegmentationDataset(6 images, each its own size, 11 classes)"
    assert repr(source.dataset("val", size=(24, 32))) == "SegmentationDataset(3 images, 24x32, 11 classes)"


def test_files_may_be_named_by_text(tmp_path: Path):
    made = sample(tmp_path, np.zeros((4, 6), dtype=np.uint8))
    named = Sample(str(made.image), str(made.mask), "a")
    assert named == made
    assert {get_type_hints(Sample.__init__)[name] for name in ("image", "mask")} == {Path | str}
    assert SegmentationDataset([named], LABELS)[0]["image"].shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore_index": 255}, r"ignore_index=255 is not possible; give a list of values, such as \[255\]"),
        ({"size": 64}, "size 64 is not possible; give height and width"),
        ({"size": (64, 64, 3)}, r"size \(64, 64, 3\) is not possible; give height and width"),
        ({"channels": [3, 2, 1]}, r"channels=\[3, 2, 1\] is not possible; give .* segnet.Bands"),
    ],
)
def test_an_option_of_another_form_is_refused(options: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        one(tmp_path, [[0, 1]], **options)


def test_names_are_no_class_table():
    with pytest.raises(ModelError, match=r"a list was given as class table; give segnet.ClassTable.from_names"):
        SegmentationDataset([], ["sky", "road"])  # type: ignore[arg-type]


def test_a_data_set_object_is_no_location(camvid: Source):
    with pytest.raises(DataError, match="the data set is a Source; give the path of a folder or file"):
        open_dataset(camvid)  # type: ignore[arg-type]


def test_a_number_of_threads_is_not_negative(tmp_path: Path):
    with pytest.raises(ConfigError, match="-1 threads or workers are not possible; give 0 or more"):
        next(one(tmp_path, [[0, 1]]).read_all(threads=-1))
