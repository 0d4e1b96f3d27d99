from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segnet.media.images.resizing import resize_image, resize_mask, resize_planes


@pytest.mark.parametrize("size", [(5, 3), (16, 24), (7, 12), (1, 1), (8, 12), (40, 97)])
def test_masks_are_resized_as_by_pytorchs_exact_nearest_neighbor(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).integers(0, 256, (8, 12), dtype=np.uint8)
    expected = F.interpolate(torch.from_numpy(mask)[None, None], size, mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(resize_mask(mask, size), expected.numpy())


def test_a_color_image_is_resized_as_its_channels() -> None:
    image = np.random.default_rng(2).integers(0, 256, (19, 30, 3), dtype=np.uint8)
    for size in ((7, 12), (19, 44), (38, 60)):
        expected = np.moveaxis(resize_planes(np.moveaxis(image, 2, 0), size), 0, 2)
        np.testing.assert_array_equal(resize_image(image, size), expected)
