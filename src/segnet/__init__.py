"""SegNet: label every pixel of a picture; max-pooling positions, two bits each, are all the decoder keeps.

    >>> import segnet
    >>> predictor = segnet.Predictor.load("segnet_light")
    >>> mask = predictor(image).mask          # image: uint8 (H, W, 3), RGB

Each public name is loaded when it is first used, so that ``import segnet`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segnet.boundary.counts import BoundaryConfig
    from segnet.boundary.scores import BoundaryMeter, BoundaryScores
    from segnet.calibration.scores import CalibrationConfig, CalibrationMeter, CalibrationScores
    from segnet.checkpoint import Checkpoint, bundled_models, load, save
    from segnet.coco import CocoFile
    from segnet.data.dataset import Sample, SegmentationDataset
    from segnet.data.sources import Source, open_dataset, open_source
    from segnet.data.synthetic import draw_scene
    from segnet.data.transforms import AugmentConfig
    from segnet.errors import SegNetError
    from segnet.evaluation import evaluate
    from segnet.exporting.export import export
    from segnet.exporting.programs import ExportConfig
    from segnet.inference import Predictor
    from segnet.labels import CAMVID, VOID, Labels
    from segnet.look import Look
    from segnet.metrics import Scores, confusion, score_mask
    from segnet.models.segnet import SegNet, SegNetConfig
    from segnet.models.zoo import create_model, list_encoders, list_models
    from segnet.ops import max_pool, max_unpool
    from segnet.prediction import LabelledFrame, Prediction
    from segnet.recalibration import recalibrate
    from segnet.records import RecordFile
    from segnet.runtimes.averaging import AverageConfig
    from segnet.temperature import fit_temperature, scale_logits
    from segnet.tiling import TileConfig
    from segnet.training.run import train
    from segnet.training.settings import TrainConfig
    from segnet.video.pipeline import label_video
    from segnet.video.settings import VideoConfig
    from segnet.video.streaming import stream

_HOMES = {
    "segnet.boundary.counts": ("BoundaryConfig",),
    "segnet.boundary.scores": ("BoundaryMeter", "BoundaryScores"),
    "segnet.calibration.scores": ("CalibrationConfig", "CalibrationMeter", "CalibrationScores"),
    "segnet.checkpoint": ("Checkpoint", "bundled_models", "load", "save"),
    "segnet.coco": ("CocoFile",),
    "segnet.data.dataset": ("Sample", "SegmentationDataset"),
    "segnet.data.sources": ("Source", "open_dataset", "open_source"),
    "segnet.data.synthetic": ("draw_scene",),
    "segnet.data.transforms": ("AugmentConfig",),
    "segnet.errors": ("SegNetError",),
    "segnet.evaluation": ("evaluate",),
    "segnet.exporting.export": ("export",),
    "segnet.exporting.programs": ("ExportConfig",),
    "segnet.inference": ("Predictor",),
    "segnet.labels": ("CAMVID", "VOID", "Labels"),
    "segnet.look": ("Look",),
    "segnet.metrics": ("Scores", "confusion", "score_mask"),
    "segnet.models.segnet": ("SegNet", "SegNetConfig"),
    "segnet.models.zoo": ("create_model", "list_encoders", "list_models"),
    "segnet.ops": ("max_pool", "max_unpool"),
    "segnet.prediction": ("LabelledFrame", "Prediction"),
    "segnet.recalibration": ("recalibrate",),
    "segnet.records": ("RecordFile",),
    "segnet.runtimes.averaging": ("AverageConfig",),
    "segnet.temperature": ("fit_temperature", "scale_logits"),
    "segnet.tiling": ("TileConfig",),
    "segnet.training.run": ("train",),
    "segnet.training.settings": ("TrainConfig",),
    "segnet.video.pipeline": ("label_video",),
    "segnet.video.settings": ("VideoConfig",),
    "segnet.video.streaming": ("stream",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CAMVID", "VOID", "AugmentConfig", "AverageConfig", "BoundaryConfig", "BoundaryMeter", "BoundaryScores",
    "CalibrationConfig", "CalibrationMeter", "CalibrationScores", "Checkpoint", "CocoFile", "ExportConfig",
    "LabelledFrame", "Labels", "Look", "Prediction", "Predictor", "RecordFile", "Sample", "Scores", "SegNet",
    "SegNetConfig", "SegNetError", "SegmentationDataset", "Source", "TileConfig", "TrainConfig", "VideoConfig",
    "bundled_models", "confusion", "create_model", "draw_scene", "evaluate", "export", "fit_temperature", "label_video",
    "list_encoders", "list_models", "load", "max_pool", "max_unpool", "open_dataset", "open_source", "recalibrate",
    "save", "scale_logits", "score_mask", "stream", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'segnet' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
