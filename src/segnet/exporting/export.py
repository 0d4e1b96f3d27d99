"""A network becomes a file of another program's, which is run there and compared before it gets its name."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from segnet.errors import ConfigError, ModelError, OutputError
from segnet.exporting.chance import compare_samples
from segnet.exporting.comparison import Comparison, Tolerance, compare, images, require_close, total_agreement
from segnet.exporting.formats import FORMATS, Format
from segnet.exporting.programs import ExportConfig, Pipeline, make_program
from segnet.labels import ClassTable
from segnet.models.mc_dropout import dropouts
from segnet.models.segnet import SegNet
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.verification import record_reference, verify
from segnet.system.files import replacing

__all__ = ["Report", "deliver", "described", "export", "export_format", "reference"]

HALF_TOLERANCE = Tolerance(agreement=0.99, median=0.01, p999=0.25)
"""For filters in float16: their rounding moves one pooled value in some hundred to another pixel."""

_HALF_FORMATS = ("onnx", "openvino")
_SAMPLED_FORMATS = ("onnx", "openvino", "aoti", "torch")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was exported, and how near it is to PyTorch; beside the file as FILE.report.json.

    Attributes:
        path: the file.
        size_bytes: of the file and of what belongs to it.
        seconds: how long ``export`` and ``check`` took.
        versions: of the libraries.
        info: what the file says of itself.
        tolerance: what it had to keep to.
        comparisons: one for each batch of images.
        accuracy: what labeled images say of an INT8 file; empty for others.
    """

    path: Path
    size_bytes: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    info: ModelInfo
    tolerance: Tolerance
    comparisons: tuple[Comparison, ...]
    accuracy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checked(self) -> bool:
        """Whether the file was run and compared; a package of Core ML's can be on macOS alone."""
        return bool(self.comparisons)

    @property
    def agreement(self) -> float:
        """Share of all pixels with the same class as in PyTorch; NaN if the file was not run."""
        return total_agreement(self.comparisons) if self.checked else math.nan

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = json.loads(self.info.to_json())
        return {
            "file": self.path.name,
            "bytes": self.size_bytes,
            **{key: about[key] for key in ("name", "output", "size", "batch", "precision", "samples")},
            "seconds": dict(self.seconds),
            "versions": dict(self.versions),
            "tolerance": asdict(self.tolerance),
            "checked": self.checked,
            "agreement": self.agreement if self.checked else None,
            **({"accuracy": dict(self.accuracy)} if self.accuracy else {}),
            "reference": self._reference(),
            "images": [comparison.to_dict() for comparison in self.comparisons],
        }

    def _reference(self) -> dict[str, Any]:
        """The predictions on the reference images, or the reason why there are none."""
        if self.info.reference:
            return dict(self.info.reference)
        if self.info.samples is not None:
            return {"reason": "the file draws samples, so its classes differ from run to run"}
        return {"reason": "this system cannot run the file"}


def export(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    format: str = "onnx",  # noqa: A002  the word that the command has
    config: ExportConfig = ExportConfig(),  # noqa: B008
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> Report:
    """Write a network for another program, run the file there, and compare it with PyTorch; or write nothing.

    >>> segnet.export(model, labels, "model.onnx").agreement
    1.0

    Args:
        model: the network; it stays as it is.
        labels: its class table; it goes into the file, as ``provenance`` and ``scores`` do.
        path: where to, with the format's suffix; FILE.report.json is written beside it.
        format: ``onnx``, ``openvino``, ``executorch``, ``litert``, ``coreml``, ``aoti`` or ``torch``.
        config: what the file takes and gives.
        provenance: how the network came to be.
        scores: what it scored.

    Raises:
        ConfigError: the suffix is not the format's, or the format cannot do what ``config`` asks.
        MissingPackageError: a library is not installed.
        ModelError: the class table does not fit, or the file does not give what PyTorch gives.
        OutputError: the files cannot be written.
    """
    path, kind = Path(path), export_format(format, config)
    info = described(model, labels, path, kind, config, provenance=provenance, scores=scores)

    @cache
    def make() -> Any:
        return kind.make(make_program(model, config, batch=info.batch), info)

    tolerance = HALF_TOLERANCE if config.half else Tolerance()
    return deliver(
        lambda about, staged: kind.write(make(), about, staged),
        path,
        reference(model, config),
        info,
        tolerance=tolerance,
        versions=kind.versions(),
        checked=kind.runs_here,
    )


def export_format(name: str, config: ExportConfig) -> Format:
    """The format of that name, if it can do what is asked.

    Raises:
        ConfigError: there is none, or it cannot.
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


def described(
    model: SegNet,
    labels: ClassTable,
    path: Path,
    kind: Format,
    config: ExportConfig,
    *,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """What a file will say of itself, once all that it needs is there.

    Raises:
        ConfigError: the suffix is not the format's, or samples are asked of a network that drops nothing.
        ModelError: the class table does not fit.
        MissingPackageError: a library is not installed.
    """
    if path.suffix != kind.suffix:
        raise ConfigError(f"{path} is no name for this format; give one that ends in {kind.suffix}")
    if labels.classes != model.config.classes:
        raise ModelError(f"the network has {model.config.classes} classes but the class table {labels.classes}")
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
        output=config.output,
        size=config.size,
        batch=1 if kind.fixed else None,
        precision="float16" if config.half else "float32",
        samples=config.samples,
        provenance=dict(provenance or {}),
        scores=dict(scores or {}),
    )


def reference(model: SegNet, config: ExportConfig) -> Pipeline:
    """What a file is compared with: a copy of the network, float32, on the CPU, in evaluation mode."""
    return Pipeline(deepcopy(model).to("cpu", torch.float32), config).eval()


def deliver(
    write: Callable[[ModelInfo, Path], None],
    path: Path,
    network: Pipeline,
    info: ModelInfo,
    *,
    tolerance: Tolerance,
    versions: Mapping[str, str],
    accuracy: Mapping[str, Any] | None = None,
    checked: bool = True,
) -> Report:
    """Have a file written out of sight, check it in its own runtime, and give it its name with its report beside it.

    Args:
        write: makes the file, and what belongs to it, with that metadata and under that name; called twice, since the
            file's own predictions are part of its metadata.
        path: the file's name in the end; its suffix says which runtime checks it.
        network: what the file is to compute: float32, on the CPU, in evaluation mode.
        info: what the file says of itself.
        tolerance: what it has to keep to.
        versions: for the report.
        accuracy: for the report: what labeled images say of the file, if they were asked.
        checked: whether this system can run the file; otherwise it is written unchecked, and the report says so.

    Raises:
        ModelError: the file cannot be run, or is out of the tolerance.
        OutputError: the files cannot be written.
    """
    with _staging(path) as staged:
        started = time.perf_counter()
        write(info, staged)
        written = time.perf_counter()
        comparisons: tuple[Comparison, ...] = ()
        if checked:
            runtime = cast("FileRuntime", open_runtime(staged, device="cpu"))
            comparisons = _compare(runtime, network)
            require_close(comparisons, tolerance)
            if info.samples is None:
                info = replace(info, reference=record_reference(runtime))
                _write_again(write, info, staged)
        seconds = {"export": round(written - started, 2), "check": round(time.perf_counter() - written, 2)}
        report = Report(
            path=path,
            size_bytes=sum(file.stat().st_size for file in staged.parent.rglob("*") if file.is_file()),
            seconds=seconds,
            versions=versions,
            info=info,
            tolerance=tolerance,
            comparisons=comparisons,
            accuracy=dict(accuracy or {}),
        )
        text = json.dumps(report.to_dict(), indent=2) + "\n"
        staged.with_name(f"{path.name}.report.json").write_text(text, encoding="utf-8")
    return report


def _compare(runtime: FileRuntime, network: Pipeline) -> tuple[Comparison, ...]:
    info = runtime.info
    # An image of one pixel has too few numbers for chance to even out.
    batches = images(info.size, info.channels, tiny=network.takes_one_pixel and info.samples is None)
    check = compare if info.samples is None else compare_samples
    return tuple(check(runtime, network, name, image) for name, image in batches)


def _write_again(write: Callable[[ModelInfo, Path], None], info: ModelInfo, path: Path) -> None:
    """Replace a file by one with other metadata, and make sure that it still predicts the same."""
    if path.is_dir():
        shutil.rmtree(path)
    write(info, path)
    verify(open_runtime(path, device="cpu"))


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """The name to write under, in a folder of its own beside ``path``; once the block is left, its files move there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".segnet-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            for made in sorted(Path(folder).iterdir()):
                _move(made, path.with_name(made.name))
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place") from error


def _move(made: Path, to: Path) -> None:
    if made.is_dir():
        _move_folder(made, to)
        return
    with replacing(to) as temporary:
        made.replace(temporary)


def _move_folder(made: Path, to: Path) -> None:
    """A package takes the place of one of its name, which goes with the folder that ``made`` stands in."""
    if to.exists():
        if not (to / "Manifest.json").is_file():
            raise OutputError(f"{to} is there and is no package of Core ML's; give another name")
        to.replace(made.with_name(f".old-{made.name}"))
    made.replace(to)
