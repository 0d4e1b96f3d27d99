"""Class counts and weights, against an example counted by hand."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.class_weights import BALANCES, CAMVID_PUBLISHED, ClassCounts, class_weights, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError
from segnet.labels import CAMVID, ClassTable

LABELS = ClassTable.from_names(["sky", "road", "car", "never"])
# 2x4 pixels each. sky: 4+8 of 16; road: 3 of 8; car: 1 of 8; the last pixel of the third is the only one not void.
MASKS = [[[0, 0, 0, 0], [1, 1, 1, 2]], [[0, 0, 0, 0], [0, 0, 0, 0]], [[255, 255, 255, 255], [255, 255, 255, 1]]]


@pytest.fixture
def data(tmp_path: Path) -> SegmentationDataset:
    samples = []
    for number, mask in enumerate(MASKS):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.array(mask, np.uint8)).save(path)
        samples.append(Sample(image=path, mask=path, name=str(number)))
    return SegmentationDataset(samples, LABELS)


def test_counts_are_those_of_the_hand(data: SegmentationDataset):
    counts = count_classes(data)
    assert counts.pixels.tolist() == [12, 4, 1, 0]
    assert counts.around.tolist() == [16, 16, 8, 0]
    assert counts.frequency.tolist() == [12 / 16, 4 / 16, 1 / 8, 0]


def test_counts_of_drawn_scenes_equal_a_plain_count(camvid):
    data = camvid.dataset("train")
    counts = count_classes(data)
    masks = [np.array(Image.open(sample.mask)) for sample in data.samples]
    for index in range(11):
        assert counts.pixels[index] == sum((mask == index).sum() for mask in masks)
        assert counts.around[index] == sum(mask.size for mask in masks if (mask == index).any())


def test_median_weights_are_those_of_the_hand(data: SegmentationDataset):
    # frequencies 3/4, 1/4, 1/8; their median is 1/4
    assert class_weights(count_classes(data), "median", LABELS).tolist() == pytest.approx([1 / 3, 1, 2, 0])


def test_sqrt_median_weights_are_the_roots(data: SegmentationDataset):
    counts = count_classes(data)
    weights = class_weights(counts, "sqrt_median", LABELS)
    assert weights.tolist() == pytest.approx([3**-0.5, 1, 2**0.5, 0])
    assert weights.dtype == np.float32


def test_without_balance_every_class_that_occurs_weighs_one(data: SegmentationDataset):
    assert class_weights(count_classes(data), "none", LABELS).tolist() == [1, 1, 1, 0]


def test_other_formulas_are_those_of_the_hand(data: SegmentationDataset):
    counts, shares = count_classes(data), np.array([12, 4, 1]) / 17
    inverse = class_weights(counts, "inverse", LABELS)
    assert inverse.tolist() == pytest.approx([*(1 / 3 / shares), 0])
    assert class_weights(counts, "enet", LABELS).tolist() == pytest.approx([*(1 / np.log(1.02 + shares)), 0])
    numbers = np.array([sum((16 / 17) ** power for power in range(pixels)) for pixels in (12, 4, 1)])
    expected = 1 / numbers / (1 / numbers).mean()
    assert class_weights(counts, "effective", LABELS).tolist() == pytest.approx([*expected, 0])


@pytest.mark.parametrize("balance", ["none", "median", "sqrt_median", "inverse", "enet", "effective"])
def test_an_absent_class_is_said(data: SegmentationDataset, balance: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="segnet"):
        class_weights(count_classes(data), balance, LABELS)
    assert [record.getMessage() for record in caplog.records] == [
        "class never does not occur in the training masks: its loss weight is 0"
    ]


def test_masks_are_read_once(data: SegmentationDataset):
    first = count_classes(data)
    for sample in data.samples:  # other content under the same name, size and time: a second reading would fail
        stat = sample.mask.stat()
        sample.mask.write_bytes(b"\0" * stat.st_size)
        os.utime(sample.mask, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError):
        data.read_classes(0)
    again = count_classes(data)
    assert again.pixels.tolist() == first.pixels.tolist()
    assert again.around.tolist() == first.around.tolist()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"pixels": [1], "around": [1]}', '{"pixels": 1, "around": "x"}']
)
def test_a_damaged_cache_is_counted_again(data: SegmentationDataset, own_cache: Path, content: str):
    first = count_classes(data)
    (cache,) = own_cache.rglob("*.json")
    good = cache.read_text()
    cache.write_text(content)
    assert count_classes(data).pixels.tolist() == first.pixels.tolist()
    assert cache.read_text() == good


def test_a_cache_that_cannot_be_written_is_a_warning(
    data: SegmentationDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGNET_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, logger="segnet"):
        assert count_classes(data).pixels.tolist() == [12, 4, 1, 0]
    (record,) = caplog.records
    assert "the class counts are not cached" in record.getMessage()
    assert "SEGNET_CACHE" in record.getMessage()


def test_counts_are_equal_to_themselves_alone(data: SegmentationDataset):
    counts = count_classes(data)
    assert counts == counts
    assert counts != count_classes(data)


def test_a_changed_mask_is_counted_again(data: SegmentationDataset):
    count_classes(data)
    path = data.samples[1].mask
    Image.fromarray(np.array([[2, 2, 2, 2], [2, 2, 2, 2]], np.uint8)).save(path)
    os.utime(path, ns=(0, 0))
    assert count_classes(data).pixels.tolist() == [4, 4, 9, 0]


def test_other_ignored_values_are_counted_again(data: SegmentationDataset):
    count_classes(data)
    other = SegmentationDataset(data.samples, LABELS, ignore_index=(255, 0))
    assert count_classes(other).pixels.tolist() == [4, 1, 0]


def test_the_published_list_is_the_authors(data: SegmentationDataset):
    published = {
        "Sky": 0.2595, "Building": 0.1826, "Pole": 4.5640, "Road": 0.1417, "Pavement": 0.9051, "Tree": 0.3826,
        "SignSymbol": 9.6446, "Fence": 1.8418, "Car": 0.6823, "Pedestrian": 6.2478, "Bicyclist": 7.3614,
    }  # fmt: skip
    assert dict(zip(CAMVID.names, CAMVID_PUBLISHED, strict=True)) == published
    nothing = ClassCounts(np.zeros(11, np.int64), np.zeros(11, np.int64))
    assert class_weights(nothing, "published", CAMVID).tolist() == pytest.approx(list(published.values()))


def test_the_published_list_is_refused_for_other_classes(data: SegmentationDataset):
    with pytest.raises(ConfigError, match="CamVid's eleven classes"):
        class_weights(count_classes(data), "published", LABELS)


def test_an_unknown_balance_is_refused_with_the_known_ones(data: SegmentationDataset):
    with pytest.raises(ConfigError, match=f"'focal' is unknown; choose one of {', '.join(BALANCES)}"):
        class_weights(count_classes(data), "focal", LABELS)


@pytest.mark.parametrize("balance", ["none", "median", "sqrt_median"])
def test_masks_of_ignored_pixels_only_are_refused(balance: str):
    nothing = ClassCounts(np.zeros(4, np.int64), np.zeros(4, np.int64))
    with pytest.raises(DataError, match="ignored pixels only"):
        class_weights(nothing, balance, LABELS)


def test_a_missing_mask_is_named(data: SegmentationDataset):
    data.samples[2].mask.unlink()
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        count_classes(data)


def test_a_wrong_mask_value_is_reported_and_nothing_is_cached(data: SegmentationDataset, own_cache: Path):
    Image.fromarray(np.array([[9]], np.uint8)).save(data.samples[0].mask)
    with pytest.raises(DataError, match="value 9 on 1 pixel"):
        count_classes(data)
    assert not list(own_cache.rglob("*.json"))
