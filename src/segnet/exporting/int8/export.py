"""INT8 export for ONNX Runtime, OpenVINO and ExecuTorch: the file must keep its mIoU in its own runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.export import ExportedProgram

from segnet.errors import ConfigError
from segnet.exporting.export import compare_file, describe_file, export_format, reference_pipeline, write_checked
from segnet.exporting.formats import FORMATS, Format, to_onnx, to_openvino, write_onnx, write_openvino
from segnet.exporting.int8.calibration import CalibratedOnnx
from segnet.exporting.int8.gate import Calibrated, Calibration, Quantized, quantize_within
from segnet.exporting.int8.saturation import require_no_overflow
from segnet.exporting.int8.xnnpack import CalibratedProgram
from segnet.exporting.programs import make_program
from segnet.exporting.report import ExportReport, round_seconds
from segnet.exporting.settings import ExportConfig
from segnet.exporting.staging import count_bytes, stage_file
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.base import FileRuntime, ImageBatch
from segnet.runtimes.load import open_file
from segnet.runtimes.model_info import PAIR_LIMIT, ModelInfo

__all__ = ["INT8_FORMATS", "WRITERS", "Stage", "calibrate", "export_int8", "int8_format"]

INT8_FORMATS = ("onnx", "openvino", "executorch")


def export_int8(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    format: str = "onnx",  # noqa: A002  the word that the command has
    config: ExportConfig = ExportConfig(),  # noqa: B008
    calibration: Calibration,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> tuple[ExportReport, Quantized[Any]]:
    """Write a network in INT8 for another runtime if it keeps its mIoU there; otherwise write nothing.

    Args:
        model: the network, unchanged.
        labels: its class table.
        path: output path, with the format's suffix; FILE.report.json is written beside it.
        format: ``onnx``, ``openvino`` or ``executorch``.
        config: input and output of the file.
        calibration: images to measure ranges on, and labeled images to score the file on.
        provenance: source and license of the network, for the metadata.
        progress: called with (done, all) after every scored image of each attempt.
        on_stage: called with the name of each stage of the work as it begins.

    Returns:
        the report, as ``export`` gives it, and the scores of float32 and INT8.

    Raises:
        ConfigError: another format, or no image to calibrate with.
        ShapeError: ExecuTorch, and an image to calibrate with is not of ``config.size``.
        ModelError: the class table does not fit, the file loses too much mIoU, or it could overflow on some processor.
        MissingPackageError: a library is not installed.
        OutputError: the files cannot be written.
    """
    say = on_stage or (lambda stage: None)
    path, kind = Path(path), int8_format(format, config)
    info = describe_file(model, labels, path, kind, config, provenance=provenance)
    info = replace(info, precision="int8", pair_limit=None if format == "executorch" else PAIR_LIMIT)
    started = time.perf_counter()
    say("tracing the network")
    program = make_program(model, config, batch=info.batch)
    say(f"measuring the ranges of its values on {len(calibration.images)} images")
    network = calibrate(program, info, format, calibration.images)
    with TemporaryDirectory(prefix="segnet-") as folder:
        stage = Stage(WRITERS[format], info, Path(folder) / path.name)
        say("quantizing it, and scoring float32 and INT8")
        quantized = quantize_within(network, calibration, stage=stage, progress=progress)
        scored = time.perf_counter()
        say("comparing the file with PyTorch, and verifying its predictions on reference images")
        comparisons = compare_file(quantized.runtime, reference_pipeline(model, config))
        write, info = partial(WRITERS[format], quantized.model), replace(info, scores=quantized.scores.to_dict())
        with stage_file(path) as staged:
            report = ExportReport(
                path=path,
                info=write_checked(write, info, staged, quantized.runtime),
                size_bytes=count_bytes(staged),
                seconds=round_seconds(export=scored - started, check=time.perf_counter() - scored),
                versions=kind.versions(),
                comparisons=comparisons,
                accuracy=quantized.to_dict(),
            )
            report.write(staged)
    return report, quantized


def int8_format(name: str, config: ExportConfig) -> Format:
    """The format of that name, if it can be INT8 with this configuration.

    Raises:
        ConfigError: it cannot.
    """
    kind = export_format(name, config)
    if name not in INT8_FORMATS:
        raise ConfigError(f"{name} cannot be INT8 here; choose one of {', '.join(INT8_FORMATS)}")
    if config.half:
        raise ConfigError("a file is either INT8 or of float16 filters; leave one of the two out")
    if config.samples is not None:
        raise ConfigError("a file that draws samples cannot be INT8 here; leave one of the two out")
    return kind


def calibrate(
    program: ExportedProgram,
    info: ModelInfo,
    format: str,  # noqa: A002
    images: Sequence[ImageBatch],
) -> Calibrated[Any]:
    """A network with the ranges of its maps on images, for a format that can be INT8."""
    if format == "executorch":
        return CalibratedProgram(program, images)
    return CalibratedOnnx(to_onnx(program, info), images)


class Stage:
    """Writes each network to a numbered temporary file, and opens the file."""

    def __init__(self, write: Callable[[Any, ModelInfo, Path], None], info: ModelInfo, path: Path) -> None:
        self._write, self._info, self._path = write, info, path
        self._numbers = count(1)

    def __call__(self, network: Any) -> FileRuntime:
        """The network as an opened file."""
        path = self._path.with_stem(f"{self._path.stem}-{next(self._numbers)}")
        self._write(network, self._info, path)
        return open_file(path)


def _write_onnx(proto: Any, info: ModelInfo, path: Path) -> None:
    """Raises ModelError if the finished file could overflow."""
    import onnx

    write_onnx(deepcopy(proto), info, path)
    require_no_overflow(onnx.load(path))


def _write_openvino(proto: Any, info: ModelInfo, path: Path) -> None:
    """Raises ModelError if the graph that the file is made from could overflow."""
    require_no_overflow(proto)
    write_openvino(to_openvino(proto), info, path)


WRITERS = {"onnx": _write_onnx, "openvino": _write_openvino, "executorch": FORMATS["executorch"].write}
