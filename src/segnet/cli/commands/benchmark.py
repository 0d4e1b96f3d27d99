"""segnet benchmark: measures latency, memory and scores of models."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.benchmark.worker import Rival
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.benchmark.measure import Candidate, Measured

__all__ = ["run"]

_SIZE = re.compile(r"(\d+)x(\d+)")


def run(
    *model: str,
    sizes: tuple[str, ...] = ("360x480",),
    precision: tuple[Literal["float32", "bf16"], ...] = ("float32",),
    compiled: bool = False,
    baselines: tuple[Rival, ...] = (),
    rounds: int = 5,
    images: int = 4,
    threads: int = 0,
    data: str | None = None,
    split: str = "val",
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure latency and memory of models by turns, each in a process of its own, from an image to its mask.

    Args:
        *model: Model files of any kind, bundled models, or names of models with random weights. Default: the bundled
            segnet_light.
        sizes: Sizes of the image in pixels, each HEIGHTxWIDTH, with commas between.
        precision: Precision of models in PyTorch and OpenVINO; an exported file keeps its own.
        compiled: Measure PyTorch models also after torch.compile.
        baselines: Baselines with random weights: textbook is the usual implementation of the first named model,
            textbook_compiled the same after torch.compile, textbook_onnx its export in ONNX Runtime; unet_vgg16 and
            segformer_b0 come from segmentation_models_pytorch. Default: none.
        rounds: Number of turns of each model. Raise it on a busy machine.
        images: Number of images per turn.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
        data: Labeled images to score the models on: a folder, a pair list or a data.yaml. Default: no scores.
        split: Split of the data set: train, val or test.
        json: Path of a JSON file of all figures, with hardware and versions. Default: no file.
        plot: Path of a figure of mIoU against latency, or of latency only (.png, .svg, .pdf). Default: no figure.
    """
    from segnet.benchmark.measure import measure

    candidates = _candidates(model or ("segnet_light",), sizes, precision, baselines, compiled=compiled)
    rows = measure(candidates, rounds=rounds, images=images, threads=threads)
    scores = {} if data is None else _scores([c for c in candidates if c.rival is None], data, split, threads)
    _print(rows, scores)
    if json is not None:
        _write(json, rows, scores, data=data, split=split, rounds=rounds, images=images, threads=threads)
    if plot is not None:
        from segnet.benchmark.plot import draw

        draw(rows, scores, plot)


def _candidates(
    models: Sequence[str],
    sizes: Sequence[str],
    precisions: Sequence[str],
    baselines: Sequence[Rival],
    *,
    compiled: bool,
) -> list[Candidate]:
    """Every combination that can run, each once."""
    from segnet.benchmark.measure import Candidate

    candidates = []
    for size in map(_size, sizes):
        for name in models:
            in_torch = Path(name).suffix in {"", ".safetensors"}
            kinds = precisions if in_torch or name.endswith(".xml") else ["float32"]
            candidates += [Candidate(model=name, precision=kind, size=size) for kind in kinds]
            if compiled and in_torch:
                candidates += [Candidate(model=name, precision=kind, size=size, compiled=True) for kind in kinds]
        copied = Path(models[0]).stem
        candidates += [Candidate(model=copied, rival=baseline, size=size) for baseline in baselines]
    return candidates


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None or "0" in match.groups():
        raise ConfigError(f"size {text!r} is not possible; give HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])


def _scores(candidates: list[Candidate], data: str, split: str, threads: int) -> dict[tuple[str, str], float]:
    """mIoU by model and precision, at the data's own size."""
    from segnet.data.layouts import open_source
    from segnet.inference.evaluation import check_same_classes, evaluate
    from segnet.runtimes.protocol import open_runtime
    from segnet.system.progress import progress_bar

    source, scores = open_source(data), {}
    for name, precision in dict.fromkeys(candidate.kind for candidate in candidates):
        runtime = open_runtime(name, precision=precision, threads=threads)
        dataset = source.dataset(split, channels=runtime.info.channels)
        check_same_classes(runtime.info.labels, dataset.labels, model=name, data=data)
        with progress_bar(f"{name} on {split}", len(dataset)) as progress:
            scores[name, precision] = evaluate(runtime, dataset, workers=1, progress=progress).miou
    return scores


def _print(rows: list[Measured], scores: dict[tuple[str, str], float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "model", "size", "precision", "p50 ms", "p90 ms", "images/s", "MB", "file MB", "peak", "mIoU", box=None
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for row in rows:
        candidate = row.candidate
        miou = None if candidate.rival else scores.get(candidate.kind)
        table.add_row(
            candidate.label,
            f"{candidate.size[0]}x{candidate.size[1]}",
            candidate.precision,
            f"{row.p50_ms:.1f}",
            f"{row.p90_ms:.1f}",
            f"{row.images_per_s:.2f}",
            _shown(row.memory_mb, ".0f"),
            _shown(row.file_mb, ".1f"),
            _shown(row.share_of_peak, ".0%"),
            _shown(miou, ".4f"),
        )
    Console(width=None if Console().is_terminal else 120).print(table)
    print("peak: share of the speed of a matrix product in the same precision; MB: growth of the resident memory")


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(path: Path, rows: list[Measured], scores: dict[tuple[str, str], float], **settings: Any) -> None:
    from segnet.system.files import replacing
    from segnet.system.hardware import about

    table = [{**row.to_dict(), "miou": None if row.candidate.rival else scores.get(row.candidate.kind)} for row in rows]
    figures = {**about("segnet", "torch", "onnxruntime", "openvino"), **settings, "rows": table}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
