from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segnet.errors import ModelError
from segnet.exporting.comparison import (
    NOISE,
    Comparison,
    Tolerance,
    compare,
    compare_noise,
    images,
    require_close,
)
from segnet.labels import ClassTable
from segnet.runtimes.base import FileRuntime, ImageBatch
from segnet.runtimes.model_info import ModelInfo

LABELS = ClassTable.from_names(["a", "b", "c"])


class Changed(FileRuntime):
    """The image itself, changed: a file that does not quite do what it should."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(Path("changed.onnx"), ModelInfo(name="changed", labels=LABELS))
        self.change = change

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        return [self.change(image.copy())]


class Itself(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image


def judge(change: Callable[[np.ndarray], np.ndarray], tolerance: Tolerance = Tolerance()) -> None:  # noqa: B008
    compared = [compare(Changed(change), Itself(), name, image) for name, image in images(None, 3)]
    require_close(compared, tolerance)


def rounded(values: np.ndarray) -> np.ndarray:
    return values + np.float32(1e-6) * np.sign(values - 0.5)


def flipped_somewhere(values: np.ndarray) -> np.ndarray:
    """One number in 5000, as a pooling code that flips moves it."""
    values.ravel()[1000::5000] += 0.3
    return values


def last_column_moved(values: np.ndarray) -> np.ndarray:
    values[..., -1] = values[..., 0]
    return values


def not_a_number(values: np.ndarray) -> np.ndarray:
    values[..., -1] = np.nan
    return values


@pytest.mark.parametrize("change", [lambda values: values, rounded, flipped_somewhere])
def test_rounding_passes(change: Callable[[np.ndarray], np.ndarray]) -> None:
    judge(change)


@pytest.mark.parametrize(
    "change",
    [
        last_column_moved,
        not_a_number,
        lambda values: values + 0.001,
        lambda values: values * 1.01,
        lambda values: values[:, ::-1],
        lambda values: values.transpose(0, 1, 3, 2).reshape(values.shape),
    ],
)
def test_a_wrong_file_does_not_pass(change: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(ModelError, match=r"does not give what PyTorch gives: .* nothing was written"):
        judge(change)


def test_a_network_that_gives_nan_is_blamed_and_not_its_file() -> None:
    class Broken(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image / 0 - image / 0

    noise = next(image for name, image in images((4, 6), 3) if name == NOISE)
    compared = compare(Changed(not_a_number), Broken(), NOISE, noise)
    with pytest.raises(ModelError, match=r"network gives NaN .* of shape \(1, 3, 4, 6\); check its weights"):
        require_close([compared], Tolerance())


def test_another_shape_does_not_pass() -> None:
    with pytest.raises(ModelError, match=r"gives \(1, 3, 1, 0\) where PyTorch gives \(1, 3, 1, 1\)"):
        judge(lambda values: values[..., :-1])


def test_a_rough_file_passes_where_that_is_allowed() -> None:
    judge(lambda values: values + 0.001, Tolerance(median=0.01))


def test_the_figures_are_those_of_numpy() -> None:
    image = np.random.default_rng(1).random((2, 3, 20, 30), dtype=np.float32)
    noise = np.random.default_rng(2).normal(0, 0.1, image.shape).astype(np.float32)
    found = compare(Changed(lambda values: values + noise), Itself(), "noise", image)
    assert (found.pixels, found.shape) == (1200, (2, 3, 20, 30))
    assert found.agreement == np.mean((image + noise).argmax(axis=1) == image.argmax(axis=1))
    assert found.largest == pytest.approx(np.abs(noise).max(), rel=1e-4)
    assert found.median == pytest.approx(np.median(np.abs(noise)), rel=1e-4)
    assert found.mean == pytest.approx(np.abs(noise).mean(), rel=1e-4)
    assert np.mean(np.abs(noise) <= found.p999 + 1e-6) == pytest.approx(0.999, abs=5e-4)


@pytest.mark.parametrize(
    ("far", "kept"), [([], [0]), ([0], [1, 2]), ([0, 1], [0]), ([0, 2], [0]), ([1, 2], [0]), ([0, 1, 2], [0])]
)
def test_noise_with_a_tie_is_drawn_again_and_a_wrong_file_does_not_pass(far: list[int], kept: list[int]) -> None:
    def check(draw: int) -> list[Comparison]:
        image = np.random.default_rng(draw).random((1, 3, 20, 30), dtype=np.float32)
        offset = 0.1 * (draw in far)
        return [compare(Changed(lambda values: values + offset), Itself(), NOISE, image)]

    found = compare_noise(check, Tolerance())
    assert found == [one for draw in kept for one in check(draw)]
    if set(far) & set(kept):
        with pytest.raises(ModelError, match="on noise of shape"):
            require_close(found, Tolerance())
    else:
        require_close(found, Tolerance())


def test_masks_are_compared_by_their_pixels() -> None:
    class Mask(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.argmax(dim=1).to(torch.uint8)

    def three_of_four(values: np.ndarray) -> np.ndarray:
        mask = values.argmax(axis=1).astype(np.uint8)
        mask[:, ::2, ::2] = 77
        return mask

    image = np.random.default_rng(1).random((1, 3, 10, 10), dtype=np.float32)
    found = compare(Changed(three_of_four), Mask(), "noise", image)
    assert (found.agreement, found.largest, found.is_near(Tolerance())) == (0.75, None, True)
    with pytest.raises(ModelError, match=r"75\.0000% of the pixels"):
        require_close([found], Tolerance())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_have_the_size_and_the_channels_that_the_file_takes(channels: int) -> None:
    shapes = [image.shape for _, image in images((24, 31), channels)]
    assert shapes == [(1, channels, 24, 31)] * 3
    free = [image.shape for _, image in images(None, channels)]
    assert {(1, channels, 1, 1), (2, channels, 33, 47), (1, channels, 360, 480)} <= set(free)
    assert min(min(image.shape[2:]) for _, image in images(None, channels, tiny=False)) > 32
    for _, image in images(None, channels):
        assert image.dtype == np.float32
        assert 0.0 <= image.min() <= image.max() <= 1.0
