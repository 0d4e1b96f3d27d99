"""A run is resumed on data of the same meaning only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.data.unlabeled import UnlabeledImages
from segnet.errors import ConfigError
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.run import train
from segnet.training.run_data import describe_data
from segnet.training.settings import TrainConfig

CONFIG = TrainConfig(epochs=1, batch=2, precision="float32", workers=0)


def network(classes: int = 11, channels: int = 3) -> SegNet:
    encoder, decoder = EncoderConfig(widths=((4,), (6,))), DecoderConfig(widths=((4,), (4,)))
    return SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, classes=classes, in_channels=channels))


def swapped(labels: ClassTable) -> ClassTable:
    names = list(labels.names)
    names[0], names[1] = names[1], names[0]
    return ClassTable.from_names(names)


@pytest.fixture(scope="module")
def run(camvid: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch."""
    out = tmp_path_factory.mktemp("run")
    train(network(), camvid.dataset("train"), camvid.dataset("val"), out=out, config=CONFIG)
    return out


def resume(run: Path, source: Source, *, classes: int = 11) -> None:
    config = replace(CONFIG, epochs=2)
    train(network(classes), source.dataset("train"), source.dataset("val"), out=run, config=config, resume=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_swapped_classes_are_refused_with_both_lists_and_nothing_is_written(run: Path, camvid: Source) -> None:
    before = content(run)
    with pytest.raises(ConfigError) as error:
        resume(run, replace(camvid, labels=swapped(camvid.labels)))
    text = str(error.value)
    assert f"classes {', '.join(camvid.labels.names)}," in text
    assert f"has {', '.join(swapped(camvid.labels).names)};" in text
    assert "new run with another --out" in text
    assert content(run) == before


def test_a_class_more_is_refused_as_classes_and_not_as_another_network(run: Path, camvid: Source) -> None:
    more = ClassTable.from_names([*camvid.labels.names, "bridge"], [*range(11), 12])
    with pytest.raises(ConfigError, match=r"started with classes .*, but the data now has .*, bridge;"):
        resume(run, replace(camvid, labels=more), classes=12)


def test_other_ignore_values_are_refused(run: Path, camvid: Source) -> None:
    with pytest.raises(ConfigError, match="started with ignore values 11, but the data now has 11, 255;"):
        resume(run, replace(camvid, ignore_index=(11, 255)))


def test_other_values_of_classes_are_refused(run: Path, camvid: Source) -> None:
    moved = replace(camvid.labels, values=(*range(10), 12))
    with pytest.raises(ConfigError, match=r"started with class values 0, .*, 10, but the data now has 0, .*, 12;"):
        resume(run, replace(camvid, labels=moved))


def test_other_colors_of_classes_are_refused_since_masks_in_color_are_read_by_them(run: Path, camvid: Source) -> None:
    turned = replace(camvid.labels, colors=camvid.labels.colors[::-1])
    with pytest.raises(ConfigError, match="started with class colors"):
        resume(run, replace(camvid, labels=turned))


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_images_are_refused(split: str, run: Path, camvid: Source) -> None:
    fewer = {**camvid.splits, split: camvid.splits[split][:-1]}
    number = len(camvid.splits[split])
    with pytest.raises(ConfigError, match=rf"images {number} \(.*but the data now has {number - 1} \("):
        resume(run, replace(camvid, splits=fewer))


def test_images_under_other_names_are_refused(run: Path, camvid: Source) -> None:
    first, *others = camvid.splits["train"]
    renamed = {**camvid.splits, "train": (replace(first, name="other"), *others)}
    with pytest.raises(ConfigError, match=r"training images 6 \(.*has 6 \(other"):
        resume(run, replace(camvid, splits=renamed))


def test_images_of_another_order_are_refused(run: Path, camvid: Source) -> None:
    turned = {**camvid.splits, "train": camvid.splits["train"][::-1]}
    with pytest.raises(ConfigError, match="training images"):
        resume(run, replace(camvid, splits=turned))


def test_channels_and_size_belong_to_the_description(camvid: Source) -> None:
    color, gray = (
        describe_data(train_set, camvid.dataset("val"), UnlabeledImages((), train_set))
        for train_set in (camvid.dataset("train"), camvid.dataset("train", channels=1, size=(32, 32)))
    )
    assert {name for name in color if color[name] != gray[name]} == {"input channels", "image size", "resize mode"}


def test_data_that_moved_are_resumed(run: Path, camvid: Source, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(camvid.root)

    def follow(path: Path) -> Path:
        return moved / path.relative_to(camvid.root)

    splits = {
        split: tuple(replace(sample, image=follow(sample.image), mask=follow(sample.mask)) for sample in samples)
        for split, samples in camvid.splits.items()
    }
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, data in content(run).items():
        (copy / name).write_bytes(data)
    source = replace(camvid, root=moved, splits=splits)
    sets: list[SegmentationDataset] = [source.dataset(split) for split in ("train", "val")]
    train(network(), *sets, out=copy, config=replace(CONFIG, epochs=2), resume=True)
    assert len((copy / "metrics.csv").read_text().splitlines()) == 3
