"""Images of 4 and 13 bands, from their files to a trained network, its scores, its predictions and its ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import segnet
from segnet.bands import Bands
from segnet.cli.main import main
from segnet.data.check.report import check_data
from segnet.data.layouts import open_source
from segnet.errors import ConfigError, DataError, ModelError
from segnet.inference.stream import stream
from segnet.media.video.settings import VideoConfig
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.pretrained import adapt_input_filters, first_filters
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.network import make_network
from segnet.training.run_config import NetworkConfig

QUICK: dict[str, Any] = {
    "epochs": 1, "batch": 2, "workers": 0, "device": "cpu", "precision": "float32", "crop": [24, 32],
}  # fmt: skip


def scene(rng: np.random.Generator, bands: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Fields with a house that is darker in the first bands and brighter in the last, in values of 0 to 1."""
    mask = np.zeros((32, 40), dtype=np.uint8)
    top, left = rng.integers(2, 14, 2)
    mask[top : top + 14, left : left + 18] = 1
    image = 0.3 + 0.02 * rng.standard_normal((32, 40, bands)) + mask[..., None] * np.linspace(-0.2, 0.4, bands)
    return image.clip(0, 1), mask


def save_image(folder: Path, name: str, image: NDArray[np.float64], kind: str) -> None:
    if kind == "rgba":
        Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(folder / f"{name}.png")
    elif kind == "pages":
        pages = [Image.fromarray(page) for page in np.moveaxis(np.rint(6000 * image).astype(np.uint16), 2, 0)]
        pages[0].save(folder / f"{name}.tif", save_all=True, append_images=pages[1:])
    else:
        np.save(folder / f"{name}.npy", np.moveaxis(40 * image - 10, 2, 0).astype(np.float32))


def write(root: Path, kind: str, channels: object, *, bands: int = 13, counts: Sequence[int] = (4, 2)) -> Path:
    rng = np.random.default_rng(0)
    for split, count in zip(("train", "val"), counts, strict=True):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            image, mask = scene(rng, bands)
            save_image(root / "images" / split, str(number), image, kind)
            Image.fromarray(mask).save(root / "masks" / split / f"{number}.png")
    (root / "data.yaml").write_text(f"names: [field, house]\nchannels: {channels}\n", encoding="utf-8")
    return root


def tiny(channels: int) -> SegNet:
    torch.manual_seed(0)
    encoder, decoder = EncoderConfig(widths=((4,), (6,))), DecoderConfig(widths=((4,), (4,)))
    return SegNet(SegNetConfig(name="tiny", encoder=encoder, decoder=decoder, classes=2, in_channels=channels))


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as left:
        main(list(map(str, words)))
    assert not left.value.code


def test_13_bands_are_trained_scored_predicted_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    root = write(tmp_path / "data", "pages", 13)
    result = segnet.train(root, model=tiny(13), out=tmp_path / "run", color=0.3, noise=0.5, **QUICK)
    kept = segnet.load(result.model_file).model
    assert kept.config.bands == Bands(indices=tuple(range(13)), count=13)
    assert "data:image/" in result.report.read_text(encoding="utf-8")

    run("evaluate", root, "--model", result.model_file)
    assert f"mIoU {result.scores.miou:.4f}" in capsys.readouterr().out

    run("export", result.model_file, "--out", tmp_path / "tiny.onnx")
    for number, model in enumerate((result.model_file, tmp_path / "tiny.onnx")):
        run(
            "predict", root / "images/val", "--model", model, "--out", tmp_path / f"p{number}", "--save", "mask,overlay"
        )
    one, other = ([np.array(Image.open(p)) for p in sorted((tmp_path / name).rglob("*.png"))] for name in ("p0", "p1"))
    assert len(one) == 4
    assert all(np.mean(a != b) < 0.01 for a, b in zip(one, other, strict=True))

    predictor = segnet.Predictor.load(tmp_path / "tiny.onnx")
    assert "13 bands" in repr(predictor)
    path = root / "images/val/0.tif"
    array = np.stack([np.array(page) for page in _pages(path)], axis=2)
    from_file, from_array = predictor(path), predictor(array)
    np.testing.assert_array_equal(from_file.mask, from_array.mask)
    assert from_array.overlay().mode == "RGB"
    assert [frame.image.shape for frame in stream(predictor, root / "images/val")] == [(32, 40, 3)] * 2


def _pages(path: Path) -> list[Image.Image]:
    with Image.open(path) as image:
        return [(image.seek(number), image.copy())[1] for number in range(13)]


@pytest.mark.parametrize(
    ("kind", "bands", "channels", "taken"),
    [("float", 13, [3, 2, 1, 7], (3, 2, 1, 7)), ("rgba", 4, 4, (0, 1, 2, 3))],
)
def test_the_model_file_alone_knows_how_to_read_images(
    tmp_path: Path, kind: str, bands: int, channels: object, taken: tuple[int, ...]
) -> None:
    """Range and statistics are measured once, over the training images."""
    root = write(tmp_path / "data", kind, channels, bands=bands)
    result = segnet.train(root, model=tiny(4), out=tmp_path / "run", **QUICK)
    (root / "data.yaml").unlink()
    config = segnet.load(result.model_file).model.config
    assert (config.bands.indices, config.bands.count) == (taken, bands)
    training = [read_whole(path, bands)[..., list(taken)] for path in sorted((root / "images/train").iterdir())]
    low, high = (min(map(np.min, training)), max(map(np.max, training))) if kind == "float" else (0, 255)
    pixels = (np.concatenate([image.reshape(-1, 4) for image in training]).astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(config.mean, pixels.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(config.std, pixels.std(axis=0), atol=1e-5)
    files = sorted((root / "images/val").iterdir())
    assert [one.mask.shape for one in segnet.Predictor.load(result.model_file)(files)] == [(32, 40)] * 2


def read_whole(path: Path, bands: int) -> NDArray[Any]:
    return np.moveaxis(np.load(path), 0, 2) if path.suffix == ".npy" else np.array(Image.open(path))


def test_pretrained_first_filters_are_adapted_to_bands(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "data", "pages", [3, 2, 1, 7]))
    model = make_network(NetworkConfig(model="segnet_light", weights="segnet_light"), source)
    bundled = segnet.load("segnet_light").model
    first = first_filters(bundled.encoder)
    expected = adapt_input_filters(bundled.encoder.state_dict()[first], 4)
    assert torch.equal(model.encoder.state_dict()[first], expected)
    assert model.config.bands == Bands(indices=(3, 2, 1, 7), count=13)
    image = source.dataset("train", channels=model.config.image_channels)[0]["image"]
    assert isinstance(image, torch.Tensor)
    photo = torch.rand(1, 3, 32, 32)
    spread = [model.normalized(image[None]).std(), bundled.normalized(photo).std() * 0.226 / photo.std()]
    assert 0.5 < spread[0] / spread[1] < 2.0  # numbers of the size that the filters know


def test_settings_of_a_run_choose_bands_too(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "data", "pages", 13))
    model = make_network(NetworkConfig(model="segnet_basic", in_channels=(7, 0)), source)
    assert model.config.bands == Bands(indices=(7, 0), count=13)
    with pytest.raises(ConfigError, match="in_channels=0 is not possible"):
        make_network(NetworkConfig(model="segnet_basic", in_channels=0), source)
    with pytest.raises(DataError, match="has 13 bands, and 5 are expected"):
        make_network(NetworkConfig(model="segnet_basic", in_channels=5), source)


def test_a_model_file_keeps_its_bands(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "pages", "[0, 1, 2]")
    source, network = open_source(root), tiny(3)
    file = checkpoint.save(network, source.labels, tmp_path / "rgb.safetensors")
    with pytest.raises(ConfigError, match="takes RGB for good, and the images are to be read as bands 0, 1, 2"):
        make_network(NetworkConfig(model=str(file)), source)
    network.set_bands(Bands(indices=(0, 1, 2), count=13), mean=(0.1,) * 3, std=(0.2,) * 3)
    file = checkpoint.save(network, source.labels, tmp_path / "bands.safetensors")
    assert make_network(NetworkConfig(model=str(file)), source).config == network.config
    with pytest.raises(ConfigError, match="leave --in-channels out"):
        make_network(NetworkConfig(model=str(file), in_channels=(2, 1, 0)), source)


def test_what_bands_cannot_do_is_said_in_one_line(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "rgba", 4, bands=4, counts=(1, 1))
    network, source = tiny(4), open_source(root)
    with pytest.raises(ConfigError, match="corruptions are for RGB images, and these are read as 4 bands"):
        source.dataset("val", channels=4, corruption="night")
    file = checkpoint.save(network, source.labels, tmp_path / "four.safetensors")
    predictor = segnet.Predictor.load(file)
    with pytest.raises(ConfigError, match="video cannot be read as 4 bands; use a model with 3 channels"):
        next(stream(predictor, tmp_path / "a.mp4", config=VideoConfig()))
    with pytest.raises(ModelError, match="takes 4 bands, and the network in training RGB"):
        segnet.training.distillation.Teacher.load([str(file)], source.labels, channels=3)


def test_a_check_finds_mixed_bands_and_holes(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "float", [0, 3], bands=5)
    images = root / "images/train"
    np.save(images / "1.npy", np.load(images / "1.npy")[:4])
    holes = np.load(images / "2.npy")
    holes[3, 0, 0] = np.nan
    np.save(images / "2.npy", holes)
    np.save(images / "3.npy", np.load(images / "3.npy")[:2])
    found = {finding.kind: finding.marks for finding in check_data(root).findings}
    assert [mark.text for mark in found["mixed_bands"]] == ["4 bands, most images have 5"]
    texts = [mark.text for mark in found["unreadable"]]
    assert any("2.npy holds NaN or infinity in 1 pixel" in text for text in texts)
    assert any("3.npy has 2 bands, so there is no band 3" in text for text in texts)
    with pytest.raises(DataError, match="2 of 6 pairs cannot be used"):
        segnet.train(root, model=tiny(2), out=tmp_path / "run", **QUICK)
