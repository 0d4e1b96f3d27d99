"""segnet benchmark: how fast models are, how much memory they take, and how good they are."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.benchmark.worker import Rival
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.benchmark.measure import Candidate, Measured
    from segnet.cli.console import ProgressBar

__all__ = ["run"]

_SIZE = re.compile(r"(\d+)x(\d+)")


def run(
    *model: str,
    sizes: list[str] = ["360x480"],  # noqa: B006
    precision: list[Literal["float32", "bf16"]] = ["float32"],  # noqa: B006
    compiled: bool = False,
    rivals: list[Rival] = [],  # noqa: B006
    rounds: int = 5,
    images: int = 4,
    threads: int = 0,
    data: str | None = None,
    split: str = "val",
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Time models by turns, each in a process of its own, from an image in memory to its mask.

    Args:
        *model: model files of any kind, bundled models, or names of models, whose weights are then random; none takes
            the bundled segnet_light.
        sizes: of the image, each HEIGHTxWIDTH.
        precision: for models in PyTorch and OpenVINO; a file that was exported in another keeps it.
        compiled: torch.compile models in PyTorch as well.
        rivals: textbook (the first named model as it is usually written), textbook_compiled, textbook_onnx (its own
            export in ONNX Runtime), unet_vgg16, segformer_b0 (of segmentation_models_pytorch), all with random weights.
        rounds: how many turns each has.
        images: per turn.
        threads: for each; 0: as many as its library takes.
        data: labeled images to score the models on as well: a folder, a pair list, a data.yaml.
        split: of the data: train, val or test.
        json: write all figures, with machine and versions, to this file.
        plot: draw mIoU against latency, or latency alone, into this image (.png, .svg).
    """
    from segnet.benchmark.measure import measure

    candidates = _candidates(model or ("segnet_light",), sizes, precision, rivals, compiled=compiled)
    rows = measure(candidates, rounds=rounds, images=images, threads=threads)
    scores = {} if data is None else _scores([c for c in candidates if c.rival is None], data, split, threads)
    _print(rows, scores)
    if json is not None:
        _write(json, rows, scores, data=data, split=split, rounds=rounds, images=images, threads=threads)
    if plot is not None:
        from segnet.benchmark.plot import draw

        draw(rows, scores, plot)


def _candidates(
    models: tuple[str, ...], sizes: list[str], precisions: list[Any], rivals: list[Any], *, compiled: bool
) -> list[Candidate]:
    """Every combination that makes sense, each once."""
    from segnet.benchmark.measure import Candidate

    found = []
    for size in map(_size, sizes):
        for name in models:
            in_torch = Path(name).suffix in {"", ".safetensors"}
            kinds = precisions if in_torch or name.endswith(".xml") else ["float32"]
            found += [Candidate(model=name, precision=kind, size=size) for kind in kinds]
            if compiled and in_torch:
                found += [Candidate(model=name, precision=kind, size=size, compiled=True) for kind in kinds]
        copied = Path(models[0]).stem
        found += [Candidate(model=copied, rival=rival, size=size) for rival in rivals]
    return found


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None or "0" in match.groups():
        raise ConfigError(f"size {text!r} is not possible; give HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])


def _scores(candidates: list[Candidate], data: str, split: str, threads: int) -> dict[tuple[str, str], float]:
    """mIoU by model and precision, at the data's own size."""
    from segnet.cli.console import ProgressBar
    from segnet.data.layouts import open_source
    from segnet.inference.evaluation import check_same_classes, evaluate
    from segnet.inference.predictor import Predictor

    source, found = open_source(data), {}
    for name, precision in dict.fromkeys(candidate.kind for candidate in candidates):
        predictor = Predictor.load(name, precision=precision, threads=threads, max_size=None, tiles=None)
        dataset = source.dataset(split, channels=predictor.channels)
        check_same_classes(predictor.labels, dataset.labels, model=name, data=data)
        bar = ProgressBar(f"{name} on {split}")
        bar.start(total=len(dataset))
        try:
            scores = evaluate(predictor, dataset, workers=1, progress=partial(_advance, bar))
        finally:
            bar.stop()
        found[name, precision] = scores.miou
    return found


def _advance(bar: ProgressBar, done: int, total: int) -> None:
    bar.advance()


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
    print("peak: share of what a matrix product in the same precision does here; MB: growth of the resident memory")


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(path: Path, rows: list[Measured], scores: dict[tuple[str, str], float], **settings: Any) -> None:
    from segnet.system.files import replacing
    from segnet.system.hardware import about

    table = [{**row.to_dict(), "miou": None if row.candidate.rival else scores.get(row.candidate.kind)} for row in rows]
    told = {**about("segnet", "torch", "onnxruntime", "openvino"), **settings, "rows": table}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
