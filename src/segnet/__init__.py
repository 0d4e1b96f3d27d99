"""SegNet for PyTorch: semantic segmentation with 2-bit max-pooling indices.

    >>> import segnet
    >>> predictor = segnet.Predictor.load("segnet_light")
    >>> mask = predictor(image).mask          # image: uint8 (H, W, 3), RGB

Each public name is loaded when it is first used, so that ``import segnet`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segnet.system.waiting import let_threads_sleep

if TYPE_CHECKING:
    from segnet import nn as nn
    from segnet.bands import Bands
    from segnet.data.augment_config import AugmentConfig
    from segnet.data.dataset import SegmentationDataset
    from segnet.data.layouts import Source, open_dataset, open_source
    from segnet.data.samples import Sample
    from segnet.data.synthetic.scenes import render_scene, write_scenes
    from segnet.errors import SegNetError
    from segnet.exporting.browser.export import export_page
    from segnet.exporting.comparison import Tolerance
    from segnet.exporting.export import export
    from segnet.exporting.int8.gate import Int8Gate
    from segnet.exporting.modules import export_module
    from segnet.exporting.report import ExportReport, ModuleReport
    from segnet.exporting.settings import ExportConfig
    from segnet.inference.evaluation import evaluate
    from segnet.inference.prediction import Prediction, SegmentedFrame
    from segnet.inference.predictor import Predictor
    from segnet.inference.stream import stream
    from segnet.inference.tiling import TileConfig
    from segnet.inference.tta import TTAConfig
    from segnet.inference.video import segment_video
    from segnet.inference.working_size import ResizePolicy
    from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
    from segnet.media.video.settings import VideoConfig
    from segnet.metrics.boundary.counts import BoundaryConfig
    from segnet.metrics.boundary.scores import BoundaryMeter, BoundaryScores
    from segnet.metrics.calibration.scores import CalibrationConfig, CalibrationMeter, CalibrationScores
    from segnet.metrics.confusion import Scores, confusion, score_mask
    from segnet.models.bundled import bundled_models
    from segnet.models.checkpoint import Checkpoint, load, save
    from segnet.models.segnet import SegNet, SegNetConfig
    from segnet.models.zoo import create_model, list_encoders, list_models
    from segnet.nn.codes import max_pool, max_unpool
    from segnet.nn.conversion import Conversion, convert_unpooling, restore_unpooling
    from segnet.results.coco import CocoFile
    from segnet.results.records import RecordFile
    from segnet.runtimes.pytorch import TorchRuntime
    from segnet.runtimes.verification import Verification
    from segnet.training.entry import TrainResult, train
    from segnet.training.recalibration import recalibrate
    from segnet.training.run_config import NetworkConfig
    from segnet.training.settings import TrainConfig
    from segnet.training.temperature import fit_temperature, scale_logits
    from segnet.visualization.style import OverlayStyle

    __version__: str

_HOMES = {
    "segnet.metrics.boundary.counts": ("BoundaryConfig",),
    "segnet.metrics.boundary.scores": ("BoundaryMeter", "BoundaryScores"),
    "segnet.metrics.calibration.scores": ("CalibrationConfig", "CalibrationMeter", "CalibrationScores"),
    "segnet.models.bundled": ("bundled_models",),
    "segnet.models.checkpoint": ("Checkpoint", "load", "save"),
    "segnet.results.coco": ("CocoFile",),
    "segnet.bands": ("Bands",),
    "segnet.data.dataset": ("SegmentationDataset",),
    "segnet.data.samples": ("Sample",),
    "segnet.data.layouts": ("Source", "open_dataset", "open_source"),
    "segnet.data.synthetic.scenes": ("render_scene", "write_scenes"),
    "segnet.data.augment_config": ("AugmentConfig",),
    "segnet.errors": ("SegNetError",),
    "segnet.inference.evaluation": ("evaluate",),
    "segnet.exporting.browser.export": ("export_page",),
    "segnet.exporting.comparison": ("Tolerance",),
    "segnet.exporting.export": ("export",),
    "segnet.exporting.int8.gate": ("Int8Gate",),
    "segnet.exporting.modules": ("export_module",),
    "segnet.exporting.report": ("ExportReport", "ModuleReport"),
    "segnet.exporting.settings": ("ExportConfig",),
    "segnet.inference.predictor": ("Predictor",),
    "segnet.labels": ("CAMVID", "IGNORE_INDEX", "ClassTable"),
    "segnet.visualization.style": ("OverlayStyle",),
    "segnet.metrics.confusion": ("Scores", "confusion", "score_mask"),
    "segnet.models.segnet": ("SegNet", "SegNetConfig"),
    "segnet.models.zoo": ("create_model", "list_encoders", "list_models"),
    "segnet.nn.codes": ("max_pool", "max_unpool"),
    "segnet.nn.conversion": ("Conversion", "convert_unpooling", "restore_unpooling"),
    "segnet.inference.prediction": ("SegmentedFrame", "Prediction"),
    "segnet.training.recalibration": ("recalibrate",),
    "segnet.results.records": ("RecordFile",),
    "segnet.inference.tta": ("TTAConfig",),
    "segnet.runtimes.pytorch": ("TorchRuntime",),
    "segnet.runtimes.verification": ("Verification",),
    "segnet.training.temperature": ("fit_temperature", "scale_logits"),
    "segnet.inference.tiling": ("TileConfig",),
    "segnet.training.entry": ("TrainResult", "train"),
    "segnet.training.run_config": ("NetworkConfig",),
    "segnet.training.settings": ("TrainConfig",),
    "segnet.inference.video": ("segment_video",),
    "segnet.inference.working_size": ("ResizePolicy",),
    "segnet.media.video.settings": ("VideoConfig",),
    "segnet.inference.stream": ("stream",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CAMVID",
    "IGNORE_INDEX",
    "AugmentConfig",
    "Bands",
    "BoundaryConfig",
    "BoundaryMeter",
    "BoundaryScores",
    "CalibrationConfig",
    "CalibrationMeter",
    "CalibrationScores",
    "Checkpoint",
    "ClassTable",
    "CocoFile",
    "Conversion",
    "ExportConfig",
    "ExportReport",
    "Int8Gate",
    "ModuleReport",
    "NetworkConfig",
    "OverlayStyle",
    "Prediction",
    "Predictor",
    "RecordFile",
    "ResizePolicy",
    "Sample",
    "Scores",
    "SegNet",
    "SegNetConfig",
    "SegNetError",
    "SegmentationDataset",
    "SegmentedFrame",
    "Source",
    "TTAConfig",
    "TileConfig",
    "Tolerance",
    "TorchRuntime",
    "TrainConfig",
    "TrainResult",
    "Verification",
    "VideoConfig",
    "bundled_models",
    "confusion",
    "convert_unpooling",
    "create_model",
    "evaluate",
    "export",
    "export_module",
    "export_page",
    "fit_temperature",
    "list_encoders",
    "list_models",
    "load",
    "max_pool",
    "max_unpool",
    "open_dataset",
    "open_source",
    "recalibrate",
    "render_scene",
    "restore_unpooling",
    "save",
    "scale_logits",
    "score_mask",
    "segment_video",
    "stream",
    "train",
    "write_scenes",
]  # fmt: skip


let_threads_sleep()


if not TYPE_CHECKING:  # with it, every misspelled name would be of type Any

    def __getattr__(name: str) -> Any:
        if name == "nn":
            return import_module("segnet.nn")
        if name == "__version__":
            from importlib.metadata import version

            return version("segnet")
        if name not in _HOME_OF:
            raise AttributeError(f"module 'segnet' has no attribute {name!r}")
        return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """What editors and notebooks complete; ``segnet.nn`` is not in ``__all__``, where it would hide ``torch.nn``."""
    return [*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__", "nn"]
