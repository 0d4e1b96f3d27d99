"""Export to another runtime: the file is written to a temporary path, compared there with PyTorch, and then moved."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segnet.errors import ConfigError, ModelError
from segnet.exporting.comparison import NOISE, Comparison, Tolerance, compare, compare_noise, images, require_close
from segnet.exporting.formats import FORMATS, Format
from segnet.exporting.programs import Pipeline, make_program
from segnet.exporting.report import ExportReport, round_seconds
from segnet.exporting.sampled_checks import compare_samples
from segnet.exporting.settings import ExportConfig
from segnet.exporting.staging import count_bytes, require_replaceable, stage_file
from segnet.labels import ClassTable, require_table
from segnet.models.mc_dropout import dropouts
from segnet.models.model_file import Description
from segnet.models.segnet import SegNet, is_segnet
from segnet.runtimes.base import FileRuntime, ImageBatch
from segnet.runtimes.load import open_file
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.verification import record_reference, verify
from segnet.system.field_types import require_kind

__all__ = ["compare_file", "describe_file", "export", "export_format", "reference_pipeline", "write_checked"]

HALF_TOLERANCE = Tolerance(agreement=0.99, median=0.01, p999=0.25)
"""For filters in float16: their rounding moves about one pooled value in a hundred to another pixel."""

_HALF_FORMATS = ("onnx", "openvino")
_SAMPLED_FORMATS = ("onnx", "openvino", "aoti", "torch")


def export(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    format: str = "onnx",  # noqa: A002  the word that the command has
    config: ExportConfig = ExportConfig(),  # noqa: B008
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> ExportReport:
    """Write a network for another runtime, run the file there, and compare it with PyTorch.

    If the comparison fails, nothing is written.

    >>> segnet.export(model, labels, "model.onnx").agreement
    1.0

    Args:
        model: the network, unchanged.
        labels: its class table; it is stored in the file, like ``provenance`` and ``scores``.
        path: output path, with the format's suffix; FILE.report.json is written beside it.
        format: ``onnx``, ``openvino``, ``executorch``, ``litert``, ``coreml``, ``aoti`` or ``torch``.
        config: input and output of the file.
        provenance: source and license of the network.
        scores: scores of the network.
        on_stage: called with the name of each stage of the work as it begins.

    Raises:
        ConfigError: the suffix is not the format's, or the format cannot do what ``config`` asks.
        MissingPackageError: a library is not installed.
        ModelError: the model is no SegNet, the class table does not fit, provenance or scores are no mapping, or
            the file does not match PyTorch.
        OutputError: the files cannot be written.
    """
    say = on_stage or (lambda stage: None)
    require_kind("config", config, ExportConfig)
    kind = export_format(format, config)
    info = describe_file(model, labels, path, kind, config, provenance=provenance, scores=scores)
    path = Path(path)

    tolerance = HALF_TOLERANCE if config.half else Tolerance()
    comparisons: tuple[Comparison, ...] = ()
    with stage_file(path) as staged:
        started = time.perf_counter()
        say("tracing the network")
        program = make_program(model, config, batch=info.batch)
        say(f"converting it to {format}")
        write = partial(kind.write, kind.make(program, info))
        write(info, staged)
        written = time.perf_counter()
        if kind.runs_here:
            say("running the file and comparing it with PyTorch")
            runtime = open_file(staged)
            comparisons = compare_file(runtime, reference_pipeline(model, config), tolerance)
            require_close(comparisons, tolerance)
            say("adding its predictions on reference images, and verifying them")
            info = write_checked(write, info, staged, runtime)
        report = ExportReport(
            path=path,
            info=info,
            size_bytes=count_bytes(staged),
            seconds=round_seconds(export=written - started, check=time.perf_counter() - written),
            versions=kind.versions(),
            tolerance=tolerance,
            comparisons=comparisons,
        )
        report.write(staged)
    return report


def export_format(name: str, config: ExportConfig) -> Format:
    """The format of that name, if it supports the configuration.

    Raises:
        ConfigError: the name is unknown, or the format does not support the configuration.
    """
    if name not in FORMATS:
        raise ConfigError(f"format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    if FORMATS[name].fixed and config.size is None:
        raise ConfigError(f"{name} takes images of one size; give it, as in --size 360 480")
    if config.half and name not in _HALF_FORMATS:
        wanted = " or ".join(_HALF_FORMATS)
        raise ConfigError(f"{name} cannot keep filters in float16 here; leave --half out, or choose {wanted}")
    if config.samples is not None and name not in _SAMPLED_FORMATS:
        wanted = ", ".join(_SAMPLED_FORMATS)
        raise ConfigError(f"{name} cannot draw samples here; leave --samples out, or choose one of {wanted}")
    return FORMATS[name]


def describe_file(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    kind: Format,
    config: ExportConfig,
    *,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Metadata of a file to export, after checking that it can be written.

    Raises:
        ConfigError: the suffix is not the format's, or the network has no dropout to draw samples with.
        ModelError: the model is no SegNet, the class table does not fit, or provenance or scores are no mapping.
        OutputError: see ``require_replaceable``.
        MissingPackageError: a library is not installed.
    """
    if not is_segnet(model):
        raise ModelError(f"{path}: a {type(model).__name__} is no SegNet; segnet.export_module takes any module")
    require_table(labels, model.config.classes)
    path = Path(path)
    if path.suffix != kind.suffix:
        raise ConfigError(f"{path} is no name for this format; give one that ends in {kind.suffix}")
    require_replaceable(path)
    description = Description(labels=labels, provenance=provenance or {}, scores=scores or {})
    if config.samples is not None and not dropouts(model):
        raise ConfigError(
            f"{model.config.name} has no dropout, so its samples would all be the same; leave --samples out, or take "
            "a network with dropout, such as bayesian_segnet_basic"
        )
    kind.require()
    return ModelInfo(
        name=model.config.name,
        labels=labels,
        channels=model.config.in_channels,
        bands=model.config.bands,
        output=config.output,
        size=config.size,
        batch=1 if kind.fixed else None,
        precision="float16" if config.half else "float32",
        samples=config.samples,
        provenance=dict(description.provenance),
        scores=dict(description.scores),
    )


def reference_pipeline(model: SegNet, config: ExportConfig) -> Pipeline:
    """The network that a file is compared with: a copy in float32, on the CPU, in evaluation mode."""
    return Pipeline(deepcopy(model).to("cpu", torch.float32), config).eval()


def compare_file(
    runtime: FileRuntime, pipeline: Pipeline, tolerance: Tolerance | None = None
) -> tuple[Comparison, ...]:
    """Compare a file with PyTorch on noise, the packaged street scene and a synthetic scene.

    Args:
        runtime: the file.
        pipeline: see ``reference_pipeline``.
        tolerance: where the numbers on noise are out of it, other noise is tried: ``compare_noise``. None: one draw.

    Raises:
        ModelError: the file cannot be run, or its output has another shape.
    """
    info = runtime.info
    # An image of one pixel has too few numbers for a statistical comparison of samples.
    batches = images(info.size, info.channels, tiny=pipeline.takes_one_pixel and info.samples is None)
    check = compare if info.samples is None else compare_samples

    def check_noise(image: ImageBatch, draw: int) -> list[Comparison]:
        noise = np.random.default_rng(draw).random(image.shape, dtype=np.float32) if draw else image
        return [check(runtime, pipeline, NOISE, noise)]

    comparisons: list[Comparison] = []
    for name, image in batches:
        if name == NOISE:
            comparisons += compare_noise(partial(check_noise, image), tolerance)
        else:
            comparisons.append(check(runtime, pipeline, name, image))
    return tuple(comparisons)


def write_checked(
    write: Callable[[ModelInfo, Path], None], info: ModelInfo, path: Path, runtime: FileRuntime
) -> ModelInfo:
    """Write a checked network with its predictions on the reference images in its metadata, and verify the new file.

    Args:
        write: writes the network with that metadata to that path.
        info: metadata of the file.
        path: output path; an earlier file there is replaced.
        runtime: the checked file. If it draws samples, its predictions vary, and nothing is written.

    Returns:
        the metadata with the predictions.

    Raises:
        ModelError: the new file does not give the same predictions.
    """
    if info.samples is not None:
        return info
    info = replace(info, reference=record_reference(runtime))
    if path.is_dir():
        shutil.rmtree(path)
    write(info, path)
    verify(open_file(path))
    return info
