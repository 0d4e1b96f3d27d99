from __future__ import annotations

import pytest

from segnet.errors import ConfigError
from segnet.inference.working_size import ResizePolicy
from segnet.labels import CAMVID
from segnet.runtimes.model_info import ModelInfo


@pytest.mark.parametrize(
    ("policy", "size", "working_size"),
    [
        (ResizePolicy(), (3000, 2000), (3000, 2000)),
        (ResizePolicy(max_size=480), (360, 480), (360, 480)),
        (ResizePolicy(max_size=480), (720, 960), (360, 480)),
        (ResizePolicy(max_size=480), (1920, 1080), (480, 270)),
        (ResizePolicy(max_size=480), (1, 4000), (1, 480)),
        (ResizePolicy(image_scale=0.5), (721, 960), (360, 480)),
        (ResizePolicy(max_size=10, image_scale=2.0), (21, 30), (42, 60)),
        (ResizePolicy(image_scale=0.001), (21, 30), (1, 1)),
        (ResizePolicy(max_size=480, min_size=(480, 640)), (1080, 1920), (480, 853)),
        (ResizePolicy(max_size=480, min_size=(480, 640)), (480, 640), (480, 640)),
        (ResizePolicy(max_size=480, min_size=(480, 640)), (300, 900), (300, 900)),
        (ResizePolicy(box=(240, 320)), (480, 480), (240, 240)),
        (ResizePolicy(box=(240, 320)), (30, 60), (160, 320)),
        (ResizePolicy(box=(240, 320), stretch=True), (480, 480), (240, 320)),
        (ResizePolicy(box=(240, 320), image_scale=1.0), (480, 480), (480, 480)),
        (ResizePolicy(box=(240, 320), min_size=(240, 320)), (480, 480), (320, 320)),
    ],
    ids=str,
)
def test_the_working_size(policy: ResizePolicy, size: tuple[int, int], working_size: tuple[int, int]) -> None:
    assert policy.working_size(*size) == working_size


@pytest.mark.parametrize("max_size", [0, -1])
def test_a_size_below_one_pixel_is_refused(max_size: int) -> None:
    with pytest.raises(ConfigError, match=f"max_size={max_size} is not possible; give pixels"):
        ResizePolicy(max_size=max_size)


@pytest.mark.parametrize("scale", [0.0, -1.0, 20.0])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"give a number from 0\.001 to 16"):
        ResizePolicy(image_scale=scale)


@pytest.mark.parametrize(
    ("provenance", "policy", "setting"),
    [
        ({"longest": 320}, ResizePolicy(max_size=320), {"max_size": 320}),
        (
            {"longest": 320, "resize": [240, 320], "resize_mode": "letterbox"},
            ResizePolicy(max_size=320, box=(240, 320)),
            {"resize": [240, 320], "resize_mode": "letterbox"},
        ),
        (
            {"longest": 320, "resize": [240, 320], "resize_mode": "stretch"},
            ResizePolicy(max_size=320, box=(240, 320), stretch=True),
            {"resize": [240, 320], "resize_mode": "stretch"},
        ),
        ({"longest": 320, "resize": "wide"}, ResizePolicy(max_size=320), {"max_size": 320}),
        ({"longest": 320, "resize": [0, 3]}, ResizePolicy(max_size=320), {"max_size": 320}),
    ],
)
def test_a_model_is_used_at_the_size_at_which_it_was_trained(
    provenance: dict[str, object], policy: ResizePolicy, setting: dict[str, object]
) -> None:
    info = ModelInfo(name="toy", labels=CAMVID, provenance=provenance)
    assert ResizePolicy.of_model(info) == policy
    assert policy.to_dict() == setting
    assert ResizePolicy.of_model(info, max_size=None) == ResizePolicy()
    assert ResizePolicy.of_model(info, image_scale=2.0).to_dict() == {"image_scale": 2.0}
