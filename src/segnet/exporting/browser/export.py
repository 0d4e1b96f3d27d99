"""Export of a page: the model as ONNX, its description for the page, the page, and the files that it runs on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from segnet.errors import ConfigError, OutputError
from segnet.exporting.browser.onnxruntime_web import PAGE, find_package, read_package
from segnet.exporting.export import export
from segnet.exporting.report import ExportReport
from segnet.exporting.settings import ExportConfig
from segnet.exporting.staging import stage_file
from segnet.inference.working_size import ResizePolicy
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.model_info import ModelInfo
from segnet.system.field_types import require_kind

__all__ = ["export_page"]

_SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "street.jpg"
_MODEL, _DESCRIPTION = "model.onnx", "model.json"


def export_page(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    runtime_files: str | Path | None = None,
    config: ExportConfig = ExportConfig(),  # noqa: B008
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> ExportReport:
    """Write a folder with a page that runs a network in the browser, for any file server.

    The network is exported to ONNX and compared with PyTorch first, see ``segnet.export``. The page resizes images and
    chooses classes as ``segnet predict`` does.

    Args:
        model: the network, unchanged; its images have 1 or 3 channels.
        labels: its class table.
        path: output folder: a new or empty one, or an earlier page, whose files are replaced.
        runtime_files: npm package of onnxruntime-web, a .tgz file or a folder; None: the one in the current folder.
        config: ``half`` and ``resize_to`` are possible; see ``ExportConfig``.
        provenance: source and license of the network.
        scores: scores of the network.
        on_stage: called with the name of each stage of the work as it begins.

    Returns:
        the report on ``model.onnx`` in the folder.

    Raises:
        ConfigError: the package of onnxruntime-web is missing, damaged or of another version, or the page cannot do
            what ``config`` asks.
        MissingPackageError: a library is not installed.
        ModelError: the class table does not fit, or the file does not match PyTorch.
        OutputError: the folder holds something else, or cannot be written.
    """
    require_kind("config", config, ExportConfig)
    path = Path(path)
    _require_possible(config, model.config.in_channels)
    _require_free(path)
    runtime = read_package(find_package(Path(runtime_files) if runtime_files else None))
    is_new = not path.exists()
    try:
        with stage_file(path / _MODEL) as staged:
            report = export(
                model, labels, staged, config=config, provenance=provenance, scores=scores, on_stage=on_stage
            )
            _add_page(staged, report.info, runtime)
    finally:
        if is_new:
            with suppress(OSError):
                path.rmdir()  # only if nothing was written
    return replace(report, path=path / _MODEL)


def _require_possible(config: ExportConfig, channels: int) -> None:
    if config.output != "logits" or config.size is not None or config.samples is not None:
        raise ConfigError(
            "a page takes images of any size, and chooses classes itself; leave output, size and samples out"
        )
    if channels not in (1, 3):
        raise ConfigError(
            f"a page shows images of 1 or 3 channels, and the network takes {channels}; export it to onnx"
        )


def _require_free(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; give the name of a folder for the page")
    if path.is_dir() and any(path.iterdir()) and not _holds_page(path):
        raise OutputError(f"{path} holds other files and no page; give a new folder")


def _holds_page(folder: Path) -> bool:
    """Whether an earlier export wrote the folder; pages of other programs have a model.json too."""
    try:
        described: object = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("file") == _MODEL


def _add_page(model: Path, info: ModelInfo, runtime: Mapping[str, bytes]) -> None:
    """Write all files beside the staged model."""
    for file in (*PAGE.iterdir(), _SAMPLE):
        shutil.copyfile(file, model.with_name("sample.jpg" if file == _SAMPLE else file.name))
    for name, content in runtime.items():
        model.with_name(name).write_bytes(content)
    text = json.dumps(_describe(info, model.read_bytes()), indent=2) + "\n"
    model.with_name(_DESCRIPTION).write_text(text, encoding="utf-8")


def _describe(info: ModelInfo, content: bytes) -> dict[str, Any]:
    """What the page needs to know; ``web/browser/src/model.ts`` reads it."""
    policy = ResizePolicy.of_model(info)
    return {
        "name": info.name,
        "names": list(info.labels.names),
        "colors": [list(color) for color in info.labels.colors],
        "values": list(info.labels.values),
        "channels": info.channels,
        "resize": {"max_size": policy.max_size, "box": policy.box, "stretch": policy.stretch},
        "file": _MODEL,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
