"""Label maps as other tools write them: the same classes, whatever the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.class_tables import TABLES, open_labels
from segnet.data.masks import MaskReader
from segnet.errors import DataError
from segnet.labels import CAMVID, IGNORE_INDEX, PASCAL, ClassTable
from segnet.media.images.masks import read_mask_file
from segnet.media.images.writing import write_mask

READER = MaskReader(labels=CAMVID, ignore_index=(11, IGNORE_INDEX), encoding="auto")


def classes() -> np.ndarray:
    """All of CamVid's and void, in runs."""
    return np.repeat(np.array([[*range(11), IGNORE_INDEX]] * 5, dtype=np.uint8), 2, axis=1)


def palette_image(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask)
    image.putpalette(CAMVID.palette().tobytes())
    return image


def colored(mask: np.ndarray, labels: ClassTable = CAMVID) -> np.ndarray:
    return labels.palette()[mask]


def with_alpha(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colored(mask), np.full(mask.shape, 9, np.uint8)]))


WRITERS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "8 bits": Image.fromarray,
    "16 bits": lambda mask: Image.fromarray(mask.astype(np.uint16)),
    "void as the data set has it": lambda mask: Image.fromarray(np.where(mask == IGNORE_INDEX, np.uint8(11), mask)),
    "palette": palette_image,
    "colors": lambda mask: Image.fromarray(colored(mask)),
    "colors with alpha": with_alpha,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_kind_of_file_gives_the_same_classes(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"map{suffix}"
    WRITERS[kind](classes()).save(path)
    found = READER.read(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, classes())


@pytest.mark.parametrize("labels", [*TABLES.values(), ClassTable.numbered(100)], ids=[*TABLES, "numbered"])
def test_colors_of_each_table_are_found(labels: ClassTable, tmp_path: Path) -> None:
    mask = np.arange(labels.classes, dtype=np.uint8)[None]
    Image.fromarray(colored(mask, labels)).save(tmp_path / "map.png")
    np.testing.assert_array_equal(MaskReader(labels=labels, encoding="auto").read(tmp_path / "map.png"), mask)


def test_black_is_void_unless_it_is_a_class(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "map.png")
    assert (READER.read(tmp_path / "map.png") == IGNORE_INDEX).all()
    assert (MaskReader(labels=PASCAL, encoding="auto").read(tmp_path / "map.png") == 0).all()


def saved(tmp_path: Path, values: np.ndarray) -> Path:
    path = tmp_path / "map.png"
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


GAPS = ClassTable.from_names(["building", "grass", "car"], [1, 7, 255])


def test_a_written_mask_is_read_back_by_its_numbers_and_by_its_colors(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
    write_mask(tmp_path / "map.png", mask, GAPS)
    assert read_mask_file(tmp_path / "map.png").values.tolist() == [[1, 7, 255], [255, 7, 1]]
    for encoding in ("auto", "numbers", "colors"):
        reader = MaskReader(labels=GAPS, ignore_index=(0,), encoding=encoding)
        np.testing.assert_array_equal(reader.read(tmp_path / "map.png"), mask)


def test_a_palette_speaks_of_the_values_of_the_classes(tmp_path: Path) -> None:
    write_mask(tmp_path / "map.png", np.array([[0, 1]], dtype=np.uint8), GAPS)
    swapped = ClassTable(names=GAPS.names, colors=GAPS.colors, values=(7, 1, 255))
    with pytest.raises(DataError, match="number 1 is grass in the class table, but has the color of building in"):
        MaskReader(labels=swapped, ignore_index=(), encoding="auto").read(tmp_path / "map.png")


def test_an_unknown_color_is_told_with_its_pixels_and_what_was_expected(tmp_path: Path) -> None:
    values = colored(np.zeros((4, 4), dtype=np.uint8)).copy()
    values[0, :3] = (1, 2, 3)
    values[1, 0] = (9, 9, 8)
    told = (
        r"map\.png: color \(1, 2, 3\) on 3 pixels \(nearest: Pedestrian\), color \(9, 9, 8\) on 1 pixel "
        r"\(nearest: Pedestrian\), but expected "
        r"Sky \(128, 128, 128\), Building \(128, 0, 0\), Pole \(192, 192, 128\) and 8 more classes, "
        r"and black for ignored pixels; give the class table of these colors with --classes"
    )
    with pytest.raises(DataError, match=told):
        READER.read(saved(tmp_path, values))


def test_a_smoothed_map_is_told_as_such(tmp_path: Path) -> None:
    smooth = np.stack([np.arange(90), np.arange(90), np.arange(1, 91)], axis=-1)[:, None]
    with pytest.raises(DataError, match=r"and 87 more colors.* are a photo's, or a smoothed mask's"):
        READER.read(saved(tmp_path, smooth))


def test_numbers_in_three_equal_channels_are_read_if_that_is_said(tmp_path: Path) -> None:
    numbers = np.array([[1, 2], [3, 10]], dtype=np.uint8)
    path = saved(tmp_path, np.dstack([numbers] * 3))
    with pytest.raises(DataError, match="class numbers in three equal channels, give --encoding numbers"):
        READER.read(path)
    reader = MaskReader(labels=CAMVID, encoding="numbers")
    np.testing.assert_array_equal(reader.read(path), numbers)


def reordered(tmp_path: Path, mask: np.ndarray) -> Path:
    """As ImageMagick writes colors: a palette of those that occur, in its own order."""
    used = np.unique(mask)[::-1]
    image = Image.fromarray(np.searchsorted(-used.astype(int), -mask.astype(int)).astype(np.uint8))
    image.putpalette(CAMVID.palette()[used].tobytes())
    image.save(tmp_path / "map.png")
    return tmp_path / "map.png"


def test_a_palette_that_speaks_of_other_classes_than_the_numbers_is_refused_unless_said(tmp_path: Path) -> None:
    mask = np.array([[0, 3], [3, 8]], dtype=np.uint8)
    path = reordered(tmp_path, mask)
    with pytest.raises(DataError, match=r"map\.png: number 0 is Sky in the class table, but has the color of Car in"):
        READER.read(path)
    colors = MaskReader(labels=CAMVID, encoding="colors")
    np.testing.assert_array_equal(colors.read(path), mask)
    numbers = MaskReader(labels=CAMVID, encoding="numbers")
    np.testing.assert_array_equal(numbers.read(path), [[2, 1], [1, 0]])


def test_a_palette_of_other_colors_does_not_matter(tmp_path: Path) -> None:
    mask = np.array([[1, 3], [3, 10]], dtype=np.uint8)
    for palette in (PASCAL.palette(), np.zeros((256, 3), dtype=np.uint8)):
        image = Image.fromarray(mask)
        image.putpalette(palette.tobytes())
        image.save(tmp_path / "map.png")
        np.testing.assert_array_equal(READER.read(tmp_path / "map.png"), mask)


def test_a_number_that_is_no_class_is_told_with_the_remedy(tmp_path: Path) -> None:
    reader = MaskReader(labels=CAMVID, ignore_index=(11,), encoding="auto", remedy="give --ignore-index")
    with pytest.raises(
        DataError, match=r"value 12 on 4 pixels, but the classes are .* and ignored values are 11; give --ignore-index"
    ):
        reader.read(saved(tmp_path, np.full((2, 2), 12)))


def test_classes_of_one_color_cannot_be_told_by_color(tmp_path: Path) -> None:
    labels = ClassTable(names=("a", "b"), colors=((1, 1, 1), (1, 1, 1)))
    with pytest.raises(DataError, match=r"the classes a and b have one color, \(1, 1, 1\); give a class table"):
        MaskReader(labels=labels, encoding="auto").read(saved(tmp_path, np.ones((2, 2, 3))))


def test_colors_that_may_have_changed_are_refused(tmp_path: Path) -> None:
    Image.fromarray(colored(classes())).save(tmp_path / "map.jpg")
    with pytest.raises(DataError, match="is a JPEG file, which may change class numbers"):
        READER.read(tmp_path / "map.jpg")
    Image.fromarray(classes().astype(np.uint16)).save(tmp_path / "map.png")
    with pytest.raises(DataError, match="has more than 8 bits a channel"):
        read_mask_file(tmp_path / "map.png", encoding="colors")


def test_gray_can_be_taken_for_colors_if_that_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path, np.full((2, 2), 128))
    assert (MaskReader(labels=CAMVID, encoding="colors").read(path) == 0).all()  # Sky is (128, 128, 128)


def test_class_tables_are_found_by_name() -> None:
    assert open_labels("camvid") == CAMVID
