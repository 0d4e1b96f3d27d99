from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.exporting.settings import ExportConfig
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.inference.working_size import ResizePolicy
from segnet.media.video.settings import VideoConfig
from segnet.metrics.boundary.counts import BoundaryConfig
from segnet.metrics.calibration.scores import CalibrationConfig
from segnet.visualization.style import OverlayStyle


@pytest.mark.parametrize(
    ("kind", "settings", "wanted"),
    [
        (BoundaryConfig, {"radii": 3}, "a list, each item a finite number, wanted"),
        (CalibrationConfig, {"bins": "15"}, "a whole number wanted"),
        (ExportConfig, {"size": 480}, "a list of 2 items, each item a whole number, or None wanted"),
        (OverlayStyle, {"show_classes": "Road"}, "a list, each item a text, wanted"),
        (OverlayStyle, {"opacity": math.nan}, "a finite number wanted"),
        (ResizePolicy, {"max_size": "x"}, "a whole number or None wanted"),
        (ResizePolicy, {"image_scale": math.nan}, "a finite number or None wanted"),
        (TileConfig, {"tile": 512.5}, "a whole number wanted"),
        (TTAConfig, {"tta_scales": 1.5}, "a list, each item a finite number, wanted"),
        (TTAConfig, {"tta_scales": (math.nan,)}, "a list, each item a finite number, wanted"),
        (VideoConfig, {"every": "2"}, "a whole number wanted"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_is_wanted(
    kind: type, settings: dict[str, Any], wanted: str
) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"^{name}=.* is not possible: {wanted}$"):
        kind(**settings)


def test_lists_and_numbers_of_numpy_are_taken() -> None:
    scales = TTAConfig(tta_flip=np.bool_(True), tta_scales=[np.float32(1), 0.5])  # type: ignore[arg-type]
    assert asdict(scales) == {"tta_flip": True, "tta_scales": (1.0, 0.5)}
    assert type(TileConfig(tile=np.int64(512)).tile) is int  # type: ignore[arg-type]
    assert TTAConfig(tta_scales=[1.0]) == TTAConfig()  # type: ignore[arg-type]
