"""Tiny files of which the tests of layouts make data sets: images of 24x36 pixels, and one mask for all of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import segnet
from segnet.data.check.report import check_data
from segnet.data.layouts import Source, open_source
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

MASK = np.kron([[0, 1, 1], [255, 0, 1]], np.ones((12, 12))).astype(np.uint8)
"""What every data set here must give for its first image."""


def save(path: Path, pixels: Sequence[object] | NDArray[np.generic], mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def photo(path: Path, size: tuple[int, int] = (24, 36)) -> Path:
    """Noise, another one for each path, so that no two images are alike."""
    return save(path, np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 255, (*size, 3)))


def colored(first: tuple[int, ...], second: tuple[int, ...], ignored: tuple[int, ...]) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[0], table[1], table[255] = first, second, ignored
    return table[MASK]


def masks_of(source: Source, split: str = "train") -> NDArray[np.generic]:
    mask = source.dataset(split)[0]["mask"]
    assert not isinstance(mask, str)
    return mask.numpy()


def numbered(values: tuple[int, int, int]) -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    table[0], table[1], table[255] = values
    return table[MASK]


_TRUE_OF_FIXTURES = {"same_mask", "absent_class", "small_image"}  # few images, with one mask for all of them


def check_and_train(root: Path, *, out: Path) -> None:
    """``segnet check`` raises no false alarm, and ``segnet train`` takes two steps with the smallest network."""
    report = check_data(root)
    assert {finding.kind for finding in report.findings} <= _TRUE_OF_FIXTURES, report.findings
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    network = SegNet(SegNetConfig(name="smallest", encoder=encoder, decoder=decoder, classes=2))
    with TemporaryDirectory() as folder:
        model = checkpoint.save(network, ClassTable.numbered(2), Path(folder) / "smallest.safetensors")
        result = segnet.train(root, model=str(model), out=out, epochs=2, workers=0, precision="float32")
    assert result.predictor().labels.names == open_source(root).labels.names
