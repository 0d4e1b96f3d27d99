from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.synthetic import scenes as synthetic
from segnet.data.synthetic.scenes import SAMPLE_SEED, render_scene, write_scenes
from segnet.errors import ConfigError, OutputError
from segnet.labels import CAMVID, IGNORE_INDEX

TOY = (48, 64)


def test_the_same_seed_draws_the_same_bytes() -> None:
    first, second = render_scene(5, size=TOY), render_scene(5, size=TOY)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_another_seed_draws_another_scene() -> None:
    image, mask = render_scene(5, size=TOY)
    other_image, other_mask = render_scene(6, size=TOY)
    assert np.mean(image != other_image) > 0.5
    assert np.mean(mask != other_mask) > 0.1


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (48, 64), (45, 61), (96, 16), (16, 96), (90, 120)])
def test_any_size_gives_an_rgb_image_and_a_mask_of_that_size(size: tuple[int, int]) -> None:
    image, mask = render_scene(1, size=size)
    assert image.shape == (*size, 3)
    assert mask.shape == size
    assert image.dtype == mask.dtype == np.uint8


def test_the_default_size_is_camvids() -> None:
    image, mask = render_scene(0)
    assert image.shape == (360, 480, 3)
    assert mask.shape == (360, 480)


def test_a_mask_holds_only_classes_and_void() -> None:
    values = {int(value) for seed in range(12) for value in np.unique(render_scene(seed, size=TOY)[1])}
    assert values <= {*range(CAMVID.classes), IGNORE_INDEX}


def test_every_class_occurs_in_at_least_a_third_of_the_scenes() -> None:
    masks = [render_scene(seed, size=(90, 120))[1] for seed in range(20)]
    for index, name in enumerate(CAMVID.names):
        share = np.mean([(mask == index).any() for mask in masks])
        assert share >= 1 / 3, f"{name} occurs in {share:.0%} of the scenes"


def test_class_shares_are_near_those_of_camvid() -> None:
    # Shares of the 367 training masks of the authors' tutorial (480x360), without void.
    camvid = {"Sky": 0.169, "Building": 0.233, "Road": 0.317, "Pavement": 0.045, "Tree": 0.097, "Car": 0.059}
    masks = np.stack([render_scene(seed, size=TOY)[1] for seed in range(30)])
    for name, share in camvid.items():
        drawn = float(np.mean(masks == CAMVID.names.index(name)))
        assert share / 2 < drawn < share * 2, f"{name}: {drawn:.3f}, CamVid {share:.3f}"


def test_a_seed_is_the_same_street_at_every_size() -> None:
    _, small = render_scene(3, size=(60, 80))
    _, large = render_scene(3, size=(180, 240))
    counted = (small != IGNORE_INDEX) & (large[1::3, 1::3] != IGNORE_INDEX)
    assert np.mean((small == large[1::3, 1::3])[counted]) > 0.9


def test_the_sky_is_brighter_than_the_road() -> None:
    for seed in range(8):
        image, mask = render_scene(seed, size=TOY)
        assert image[mask == CAMVID.names.index("Sky")].mean() > image[mask == CAMVID.names.index("Road")].mean()


def test_the_mask_follows_the_image() -> None:
    """Color changes more across the mask's borders than inside its areas."""
    image, mask = render_scene(2, size=(90, 120))
    steps = np.abs(np.diff(image.astype(int), axis=1)).sum(axis=2)
    border = mask[:, 1:] != mask[:, :-1]
    assert steps[border].mean() > 2 * steps[~border].mean()


@pytest.mark.parametrize("size", [(15, 64), (64, 15), (0, 0)])
def test_a_size_below_16_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        render_scene(0, size=size)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="-1"):
        render_scene(-1, size=TOY)


def test_write_scenes_writes_camvids_folders_and_nothing_else(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "street", train=3, val=2, size=(24, 32))
    assert sorted(folder.name for folder in root.iterdir()) == ["train", "trainannot", "val", "valannot"]
    for split, count in (("train", 3), ("val", 2)):
        images = sorted(path.name for path in (root / split).iterdir())
        assert len(images) == count
        assert images == sorted(path.name for path in (root / f"{split}annot").iterdir())


def test_written_masks_are_palette_images_with_void_stored_as_11(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, train=1, val=1, size=TOY, seed=4)
    image, mask = render_scene(4, size=TOY)
    with Image.open(root / "train" / "scene_00004.png") as opened:
        assert np.array_equal(np.asarray(opened), image)
    with Image.open(root / "trainannot" / "scene_00004.png") as stored:
        assert stored.mode == "P"
        assert np.array_equal(np.asarray(stored), np.where(mask == IGNORE_INDEX, 11, mask))
        colors = np.asarray(stored.convert("RGB"))
    assert (mask == IGNORE_INDEX).any()
    assert np.array_equal(colors, CAMVID.palette()[mask])


def test_scenes_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_scenes(tmp_path / "file", train=1, val=0, size=(16, 16))


def test_scenes_are_not_written_over_others(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=1, val=1, size=(16, 16))
    with pytest.raises(OutputError, match="train is there already; give another folder"):
        write_scenes(str(tmp_path), train=1, val=1, size=(24, 32))
    with Image.open(tmp_path / "train" / "scene_00000.png") as first:
        assert first.size == (16, 16)


def test_train_and_val_hold_different_scenes(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, train=2, val=2, size=(24, 32))
    names = [{path.name for path in (root / split).iterdir()} for split in ("train", "val")]
    assert not names[0] & names[1]


def test_the_packaged_sample_is_the_scene_of_its_seed() -> None:
    path = Path(synthetic.__file__).parents[1] / "sample" / "street.jpg"
    with Image.open(path) as opened:
        stored = np.asarray(opened.convert("RGB")).astype(int)
    image, _ = render_scene(SAMPLE_SEED)
    assert path.stat().st_size < 120_000
    assert np.abs(stored - image).mean() < 4
