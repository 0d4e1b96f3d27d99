"""segnet export: writes a model for another runtime, and checks the file there."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from segnet.cli.modules import ModuleFlags, is_function
from segnet.cli.output_files import place_beside, require_writable_files
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.exporting.settings import ExportConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segnet.data.dataset import SegmentationDataset
    from segnet.exporting.comparison import Comparison
    from segnet.exporting.int8.gate import Quantized
    from segnet.exporting.report import ExportReport
    from segnet.models.checkpoint import Checkpoint
    from segnet.runtimes.base import ImageBatch

__all__ = ["run"]

_CALIBRATION_IMAGES = 32


def run(
    model: str,
    /,
    *,
    format: Literal[  # noqa: A002  the flag's name
        "onnx", "openvino", "executorch", "litert", "coreml", "aoti", "torch", "browser"
    ] = "onnx",
    out: Path | None = None,
    runtime_files: Path | None = None,
    int8: bool = False,
    calibrate: str | None = None,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    max_drop: float = 0.01,
    config: ExportConfig = ExportConfig(),  # noqa: B008
    module: ModuleFlags = ModuleFlags(),  # noqa: B008
) -> None:
    """Export a model to a file for another runtime, run the file there, and compare its output with PyTorch.

    Nothing is written if the comparison fails.

    Args:
        model: Model file (.safetensors), name of a bundled model ("segnet models" lists them), or MODULE:FUNCTION, a
            function in a Python file of yours that returns any PyTorch module, with --example.
        format: Format of the exported file: onnx (.onnx), openvino (.xml and .bin), executorch (.pte), litert
            (.tflite), coreml (.mlpackage, a folder), aoti (.pt2, compiled for this processor), torch (.pt2, a program
            of torch.export) or browser (a folder with a page that runs the model in its visitor's browser).
        out: Path of the exported file, with the suffix of the format. Default: MODEL with that suffix, beside MODEL, or
            in the current folder for a model that is bundled or of the hub. For browser: a folder; default: MODEL-page.
        runtime_files: For --format browser: npm package of onnxruntime-web, a .tgz file or a folder. Default: the one
            that "npm pack" or "npm install" left in the current folder.
        int8: Quantize to INT8 with --calibrate, for ONNX, OpenVINO and ExecuTorch. The file is smaller and faster.
        calibrate: Labeled images for --int8: a folder, a pair list or a data.yaml. Default: none. Ranges are measured
            on 32 training images, and the finished file is scored on val.
        source: how the data set is read.
        max_drop: Largest loss of mIoU by INT8. Beyond it, convolutions stay in float32 or nothing is written.
        config: input and output of the file.
        module: a module of the user's.
    """
    gc.set_threshold(50_000, 50, 50)  # libraries and traces make many objects that stay: half a second
    if runtime_files and format != "browser":
        raise ConfigError(f"--runtime-files is for --format browser, not {format}; leave it out")
    if is_function(model):
        _refuse_for_modules(config, format, int8=int8 or calibrate is not None)
        _export_module(model, out, format, module)
        return
    if module != ModuleFlags():
        raise ConfigError(f"--weights and --example belong to MODULE:FUNCTION, and {model} is a model; leave them out")

    from segnet.exporting.export import export, export_format
    from segnet.models import checkpoint

    if int8 != (calibrate is not None):
        raise ConfigError("--int8 and --calibrate DATA go together: labeled images decide whether INT8 is good enough")
    if format == "browser":
        _export_page(model, out, runtime_files, config, int8=int8)
        return
    kind = export_format(format, config)
    kind.require()
    kept = checkpoint.load(model)
    out = out or place_beside(model, f"{kept.path.stem}{kind.suffix}")
    _require_writable(out)
    if calibrate is not None:
        _export_int8(kept, out, format, config, calibrate, source, max_drop)
        return
    then = ", then comparing it with PyTorch" if kind.runs_here else ""
    print(f"exporting {kept.path.stem} to {out}{then}", file=sys.stderr, flush=True)
    report = export(
        kept.model,
        kept.labels,
        out,
        format=format,
        config=config,
        provenance=kept.provenance,
        scores=kept.scores,
        on_stage=_print_stage,
    )
    _print(report)


def _require_writable(out: Path) -> None:
    """Refuse, before the work, a path that cannot be written; a Core ML package is a folder."""
    if out.suffix != ".mlpackage":
        require_writable_files({"--out": out}, any_ending=True)


def _refuse_for_modules(config: ExportConfig, format: str, *, int8: bool) -> None:  # noqa: A002
    if format == "browser":
        raise ConfigError("--format browser makes pages of SegNet models; a module of yours can be exported to onnx")
    if int8:
        raise ConfigError(
            "--int8 and --calibrate score SegNet models; for a module of yours call segnet.export_module with int8="
        )
    if config != ExportConfig():
        raise ConfigError(
            "a module of yours is exported as it is; leave --output, --size, --resize-to, --samples and --half out"
        )


def _export_module(name: str, out: Path | None, format: str, flags: ModuleFlags) -> None:  # noqa: A002
    from segnet.exporting.formats import FORMATS
    from segnet.exporting.modules import export_module

    model, example = flags.load(name)
    out = out or Path(f"{name.partition(':')[0].rpartition('.')[2]}{FORMATS[format].suffix}")
    _require_writable(out)
    print(f"exporting {name} to {out}", file=sys.stderr, flush=True)
    report = export_module(model, example, out, format=format, on_stage=_print_stage)
    for reason in report.left:
        print(f"  left {reason}", file=sys.stderr)
    for input_name, shape in report.sizes.items():
        print(f"  input {input_name}: {' x '.join(map(str, shape))}", file=sys.stderr)
    _print(report)


def _print_stage(stage: str) -> None:
    print(f"  {stage}", file=sys.stderr, flush=True)


def _export_page(model: str, out: Path | None, runtime_files: Path | None, config: ExportConfig, *, int8: bool) -> None:
    from segnet.exporting.browser.export import export_page
    from segnet.exporting.formats import FORMATS
    from segnet.models import checkpoint

    if int8:
        raise ConfigError("--format browser takes no --int8; leave it out, or add --half for a smaller file")
    FORMATS["onnx"].require()
    kept = checkpoint.load(model)
    out = out or place_beside(model, f"{kept.path.stem}-page")
    print(f"exporting {kept.path.stem} as a page to {out}, comparing it with PyTorch", file=sys.stderr, flush=True)
    report = export_page(
        kept.model,
        kept.labels,
        out,
        runtime_files=runtime_files,
        config=config,
        provenance=kept.provenance,
        scores=kept.scores,
        on_stage=_print_stage,
    )
    _print(report)
    print(f"serve the folder with any file server, such as: python -m http.server --directory {quote(str(out))}")


def _export_int8(
    kept: Checkpoint,
    out: Path,
    format: str,  # noqa: A002
    config: ExportConfig,
    calibrate: str,
    source: SourceConfig,
    max_drop: float,
) -> None:
    from segnet.exporting.int8.export import export_int8
    from segnet.exporting.int8.gate import Calibration
    from segnet.inference.evaluation import check_same_classes
    from segnet.system.progress import ProgressBar

    data = source.open(calibrate, model=kept.labels)
    check_same_classes(kept.labels, data.labels, model=str(kept.path), data=calibrate)
    channels = kept.model.config.image_channels
    train, val = (data.dataset(split, size=config.size, channels=channels) for split in ("train", "val"))
    images = list(_calibration_images(kept, train, config))
    calibration = Calibration(images=images, data=val, max_drop=max_drop)
    bar = ProgressBar(f"{out.name} on val, float32 and INT8")
    try:
        report, quantized = export_int8(
            kept.model,
            kept.labels,
            out,
            format=format,
            config=config,
            calibration=calibration,
            provenance=kept.provenance,
            progress=bar.update,
            on_stage=bar.say,
        )
    finally:
        bar.stop()
    _print(report)
    _print_drop(quantized)


def _calibration_images(kept: Checkpoint, train: SegmentationDataset, config: ExportConfig) -> Iterator[ImageBatch]:
    """Images of the training split, as the exported network will see them."""
    from segnet.inference.inferer import as_batch
    from segnet.inference.working_size import ResizePolicy
    from segnet.media.images.resizing import resize_image
    from segnet.runtimes.model_info import ModelInfo

    info = ModelInfo(name=kept.path.stem, labels=kept.labels, provenance=kept.provenance)
    resize = ResizePolicy.of_model(info) if config.size is None else ResizePolicy()
    for index in range(0, len(train), max(1, len(train) // _CALIBRATION_IMAGES))[:_CALIBRATION_IMAGES]:
        image, _ = train.read(index)
        yield as_batch(resize_image(image, resize.working_size(*image.shape[:2])))


def _print_drop(quantized: Quantized[Any]) -> None:
    from rich.markup import escape

    from segnet.system.tables import new_table, print_table

    table = new_table("IoU", "float32", "INT8")
    table.pad_edge = False
    rows = zip(
        quantized.scores.labels.names, quantized.reference.iou.tolist(), quantized.scores.iou.tolist(), strict=True
    )
    for name, before, after in rows:
        table.add_row(escape(name), f"{before:.4f}", f"{after:.4f}")
    print_table(table)
    print(
        f"mIoU {quantized.reference.miou:.4f} in float32, {quantized.scores.miou:.4f} in INT8, both in this file's "
        f"program; {len(quantized.kept)} convolutions stayed in float32"
    )


def _print(report: ExportReport) -> None:
    if report.checked:
        _print_comparisons(report)
        return
    print(
        f"the numbers in {report.path} were not compared with PyTorch: this system cannot run such files",
        file=sys.stderr,
    )
    print(f"{report.path}: {report.size_bytes / 1e6:.1f} MB (exported in {report.seconds['export']:.0f} s)")


def _print_comparisons(report: ExportReport) -> None:
    from segnet.system.tables import new_table, print_table

    sampled = report.info.samples is not None
    columns = ("in PyTorch", "spread", "distance") if sampled else ("mean difference", "99.9 %", "largest")
    table = new_table("image", "size", "same class", *columns, texts=2)
    table.pad_edge = False
    for one in report.comparisons:
        numbers = _sampled_figures(one) if sampled else _differences(one)
        table.add_row(one.image, "x".join(map(str, one.shape)), f"{one.agreement:.3%}", *numbers)
    print_table(table)
    seconds = report.seconds
    print(
        f"{report.path}: {report.size_bytes / 1e6:.1f} MB, {report.agreement:.4%} of the pixels as in PyTorch "
        f"(exported in {seconds['export']:.0f} s, checked in {seconds['check']:.0f} s)"
    )


def _differences(one: Comparison) -> list[str]:
    return ["" if number is None else f"{number:.1e}" for number in (one.mean, one.p999, one.largest)]


def _sampled_figures(one: Comparison) -> list[str]:
    factors = ["" if number is None else f"{number:.2f}" for number in (one.spread, one.excess)]
    return [f"{one.repeat:.3%}", *factors]
