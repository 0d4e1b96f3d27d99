from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segnet.media.images.resizing import resize_mask


@pytest.mark.parametrize("size", [(5, 3), (16, 24), (7, 12), (1, 1), (8, 12), (40, 97)])
def test_masks_are_resized_as_by_pytorchs_exact_nearest_neighbor(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).integers(0, 256, (8, 12), dtype=np.uint8)
    expected = F.interpolate(torch.from_numpy(mask)[None, None], size, mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(resize_mask(mask, size), expected.numpy())
