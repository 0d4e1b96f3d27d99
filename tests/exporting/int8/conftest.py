"""A network as ONNX, and images for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segnet.data.synthetic.scenes import render_scene
from segnet.exporting.formats import to_onnx
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import CAMVID
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.base import ImageBatch
from segnet.runtimes.model_info import ModelInfo


@pytest.fixture(scope="session")
def images() -> list[ImageBatch]:
    """Drawn scenes."""
    scenes = [render_scene(seed, size=(48, 64))[0] for seed in range(4)]
    return [np.ascontiguousarray(scene.transpose(2, 0, 1)[None] / np.float32(255)) for scene in scenes]


@pytest.fixture(scope="session")
def toy(images: list[ImageBatch]) -> SegNet:
    """Two stages, whose batch norm has seen the images; not to be changed."""
    torch.manual_seed(0)
    config = SegNetConfig(
        name="toy",
        encoder=EncoderConfig(widths=((8,), (8, 8))),
        decoder=DecoderConfig(widths=((8,), (8,)), relu=False),
        classes=CAMVID.classes,
    )
    model = SegNet(config)
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(np.concatenate(images)))
    return model.eval()


@pytest.fixture(scope="session")
def network(toy: SegNet) -> Any:
    """The same in ONNX, float32; not to be changed."""
    return to_onnx(make_program(toy, ExportConfig()), ModelInfo(name="toy", labels=CAMVID))
