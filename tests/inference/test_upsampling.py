from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segnet.inference.prediction import Prediction, concatenate_rows
from segnet.inference.upsampling import Upsampler, upsample
from segnet.runtimes.base import softmax

SIZES = (
    ((5, 7), (5, 7)),
    ((5, 7), (20, 28)),
    ((5, 7), (13, 40)),
    ((13, 40), (5, 7)),
    ((1, 1), (4, 6)),
    ((1, 9), (1, 20)),
    ((9, 1), (3, 3)),
    ((5, 7), (5, 20)),
    ((12, 7), (4, 30)),
)


def scene(size: tuple[int, int], classes: int = 6) -> torch.Tensor:
    """Probabilities with regions of one class and noise between them."""
    generator = torch.Generator().manual_seed(size[0] * 100 + size[1])
    coarse = torch.rand(1, classes, 1 + size[0] // 3, 1 + size[1] // 3, generator=generator)
    noise = torch.rand(1, classes, *size, generator=generator)
    return (8 * F.interpolate(coarse, size) + noise).softmax(dim=1)[0]


def upsampled(planes: torch.Tensor, size: tuple[int, int], *, parts: int = 1, classes: int = 6) -> Prediction:
    found = Upsampler(tuple(planes.shape[1:]), size, classes=classes, confidence=True)  # type: ignore[arg-type]
    bands = np.array_split(planes.numpy(), parts, axis=1)
    return concatenate_rows([part for band in bands for part in found.add(band)])


@pytest.mark.parametrize(("working_size", "size"), SIZES, ids=str)
def test_the_class_is_chosen_after_interpolation(working_size: tuple[int, int], size: tuple[int, int]) -> None:
    planes = torch.cat([scene(working_size), torch.rand(1, *working_size, generator=torch.Generator().manual_seed(1))])
    wanted = F.interpolate(planes[None], size, mode="bilinear")[0]
    confidence, mask = wanted[:6].max(dim=0)
    found = upsampled(planes, size)
    assert found.mask.dtype == np.uint8
    assert found.confidence is not None
    assert found.uncertainty is not None
    assert found.confidence.dtype == found.uncertainty.dtype == np.float32
    np.testing.assert_array_equal(found.mask, mask)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, wanted[6], atol=1e-6)
    everywhere = upsample(planes.numpy(), size)
    np.testing.assert_allclose(everywhere, wanted, atol=1e-6)
    np.testing.assert_array_equal(everywhere[:6].max(axis=0), found.confidence)  # to the last bit
    np.testing.assert_array_equal(everywhere[6], found.uncertainty)


@pytest.mark.parametrize("size", [(60, 30), (23, 31), (7, 5)], ids=str)
@pytest.mark.parametrize("parts", [2, 3, 7])
def test_rows_that_come_in_parts_give_the_same(size: tuple[int, int], parts: int) -> None:
    planes = torch.cat([scene((23, 14)), torch.rand(1, 23, 14, generator=torch.Generator().manual_seed(1))])
    whole, found = upsampled(planes, size), upsampled(planes, size, parts=parts)
    for kind in ("mask", "confidence", "uncertainty"):
        np.testing.assert_array_equal(getattr(found, kind), getattr(whole, kind))


def test_little_is_yielded_and_interpolated_together(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = scene((23, 14))
    whole = upsampled(planes, (60, 30))
    monkeypatch.setattr("segnet.inference.upsampling._PIXELS_PER_PART", 70)
    monkeypatch.setattr("segnet.inference.upsampling._VALUES_PER_COPY", 14 * 6 * 7)  # seven rows
    monkeypatch.setattr("segnet.inference.upsampling._VALUES_PER_STEP", 50)
    found = list(Upsampler((23, 14), (60, 30), classes=6, confidence=True).add(planes.numpy()))
    assert {len(part.mask) for part in found} <= {1, 2}
    np.testing.assert_array_equal(concatenate_rows(found).mask, whole.mask)
    np.testing.assert_array_equal(concatenate_rows(found).confidence, whole.confidence)


def test_a_slanted_outline_becomes_a_line_without_steps() -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    right = torch.sigmoid(2 * (columns - 0.5 * rows - 3.0))
    mask = upsampled(torch.stack([1 - right, right]), (96, 96), classes=2).mask
    middles = (torch.arange(96.0) + 0.5) / 8 - 0.5
    edge = (np.argmax(mask[16:80], axis=1) + 0.5) / 8 - 0.5
    assert np.abs(edge - (0.5 * middles[16:80].numpy() + 3.0)).max() < 0.2  # nearest neighbor: 0.7


def test_of_one_pixel_or_one_class_everything_is_that_class() -> None:
    for planes in (torch.tensor([0.2, 0.8]).reshape(2, 1, 1), torch.stack([torch.zeros(3, 4), torch.ones(3, 4)])):
        found = upsampled(planes, (30, 50), classes=2)
        assert (found.mask == 1).all()
        assert found.confidence is not None
        assert np.ptp(found.confidence) == 0


def test_logits_give_the_mask_of_their_probabilities() -> None:
    logits = 4 * torch.randn(1, 6, 9, 13, generator=torch.Generator().manual_seed(3)).numpy()
    wanted = upsampled(torch.from_numpy(softmax(logits)[0]), (31, 40)).mask
    found = Upsampler((9, 13), (31, 40), classes=6, confidence=False, logits=True)
    np.testing.assert_array_equal(concatenate_rows(list(found.add(logits[0]))).mask, wanted)
