"""An INT8 file for ONNX Runtime, OpenVINO or ExecuTorch, held to its scores in the program that will run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.export import ExportedProgram

from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError
from segnet.exporting.comparison import Tolerance
from segnet.exporting.export import Report, deliver, described, export_format, reference
from segnet.exporting.formats import FORMATS, to_onnx, to_openvino, write_onnx, write_openvino
from segnet.exporting.int8.calibration import CalibratedOnnx
from segnet.exporting.int8.gate import Calibrated, Quantized, within
from segnet.exporting.int8.saturation import require_no_overflow
from segnet.exporting.int8.xnnpack import CalibratedProgram
from segnet.exporting.programs import ExportConfig, make_program
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.base import Image, Runtime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import PAIR_LIMIT, ModelInfo

__all__ = ["INT8_FORMATS", "Calibration", "export_int8"]

INT8_FORMATS = ("onnx", "openvino", "executorch")

# The labeled images judge an INT8 file; how far its numbers are from PyTorch's is told and no more.
_TOLERANCE = Tolerance(agreement=0.0, median=1e9, p999=1e9)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What an INT8 network is measured on.

    Attributes:
        images: for the ranges of its maps, float32 (1, C, H, W); some dozens like those it will see.
        data: labeled images, others than those, that judge it.
        max_drop: how much mIoU it may lose, from 0 to 1.
    """

    images: Sequence[Image]
    data: SegmentationDataset
    max_drop: float = 0.01


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
) -> tuple[Report, Quantized[Any]]:
    """Write a network in INT8 for another program, if it keeps its scores there; or write nothing.

    Args:
        model: the network; it stays as it is.
        labels: its class table.
        path: where to, with the format's suffix; FILE.report.json is written beside it.
        format: ``onnx``, ``openvino`` or ``executorch``.
        config: what the file takes and gives.
        calibration: what it is measured on.
        provenance: how the network came to be.
        progress: called with (done, all) after every scored image of each try.

    Returns:
        the report, as ``export`` gives it, and what INT8 cost.

    Raises:
        ConfigError: another format, or no image to calibrate with.
        ShapeError: ExecuTorch, and an image to calibrate with is not of ``config.size``.
        ModelError: the class table does not fit, too much mIoU is lost (what was tried is told), or the file could
            overflow on some processor.
        MissingPackageError: a library is not installed.
        OutputError: the files cannot be written.
    """
    path, kind = Path(path), export_format(format, config)
    if format not in INT8_FORMATS:
        raise ConfigError(f"{format} cannot be INT8 here; choose one of {', '.join(INT8_FORMATS)}")
    if config.half:
        raise ConfigError("a file is either INT8 or of float16 filters; leave one of the two out")
    if config.samples is not None:
        raise ConfigError("a file that draws samples cannot be INT8 here; leave one of the two out")
    about = described(model, labels, path, kind, config, provenance=provenance)
    info = replace(about, precision="int8", pair_limit=None if format == "executorch" else PAIR_LIMIT)
    network = _calibrated(make_program(model, config, batch=info.batch), info, format, calibration.images)
    write = _WRITE[format]
    with TemporaryDirectory(prefix="segnet-") as folder:
        finish = _Finish(write, info, Path(folder) / path.name)
        found = within(
            network,
            calibration.images,
            calibration.data,
            finish=finish,
            max_drop=calibration.max_drop,
            progress=progress,
        )
    told = replace(info, scores=found.scores.to_dict())
    report = deliver(
        lambda about, staged: write(found.model, about, staged),
        path,
        reference(model, config),
        told,
        tolerance=_TOLERANCE,
        versions=kind.versions(),
        accuracy=found.to_dict(),
    )
    return report, found


def _calibrated(
    program: ExportedProgram,
    info: ModelInfo,
    format: str,  # noqa: A002
    images: Sequence[Image],
) -> Calibrated[Any]:
    if format == "executorch":
        return CalibratedProgram(program, images)
    return CalibratedOnnx(to_onnx(program, info), images)


class _Finish:
    """Writes a network as the file that it is to be, and opens that; each under a name of its own."""

    def __init__(self, write: Callable[[Any, ModelInfo, Path], None], info: ModelInfo, path: Path) -> None:
        self._write, self._info, self._path = write, info, path
        self._made = 0

    def __call__(self, network: Any) -> Runtime:
        self._made += 1
        path = self._path.with_stem(f"{self._path.stem}-{self._made}")
        self._write(network, self._info, path)
        return open_runtime(path, device="cpu")


def _write_onnx(proto: Any, info: ModelInfo, path: Path) -> None:
    """Raises ModelError if the finished file could overflow."""
    import onnx

    write_onnx(deepcopy(proto), info, path)
    require_no_overflow(onnx.load(path))


def _write_openvino(proto: Any, info: ModelInfo, path: Path) -> None:
    """Raises ModelError if the graph that the file is made from could overflow."""
    require_no_overflow(proto)
    write_openvino(to_openvino(proto), info, path)


_WRITE = {"onnx": _write_onnx, "openvino": _write_openvino, "executorch": FORMATS["executorch"].write}
