"""segnet benchmark: how fast models are, how much memory they take, and how good they are."""

from __future__ import annotations

import json
import logging
import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.benchmark.worker import Rival
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.benchmark.measure import Candidate, Measured
    from segnet.cli.console import ProgressBar

__all__ = ["run"]

log = logging.getLogger("segnet")

_INT8_SUFFIXES = frozenset((".onnx", ".xml", ".pte"))
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
    limit: float = 20.0,
    verify: bool = False,
    data: str | None = None,
    split: str = "val",
    score_limit: float = 600.0,
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
        limit: seconds that the images of each may take in all; a slow model has fewer, but one at least.
        verify: first check that exported files predict the same classes here as where they were exported, on packaged
            reference images, in float32 or as they are quantized.
        data: labeled images to score the models on as well: a folder, a pair list, a data.yaml.
        split: of the data: train, val or test.
        score_limit: seconds; a model that would take longer for the data has no score here.
        json: write all figures, with machine and versions, to this file.
        plot: draw mIoU against latency, or latency alone, into this image (.png, .svg).
    """
    from segnet.benchmark.measure import measure

    _verify([name for name in dict.fromkeys(model) if not _in_torch(name)], threads, always=verify)
    candidates = _candidates(model or ("segnet_light",), sizes, precision, rivals, compiled=compiled)
    rows = measure(candidates, rounds=rounds, images=images, threads=threads, limit=limit)
    own = [candidate for candidate in candidates if candidate.rival is None]
    scores = {} if data is None else _scores(own, data, split, threads=threads, limit=score_limit)
    _print(rows, scores)
    _explain(rows, asked=rounds * images, limit=limit)
    if json is not None:
        settings = {"data": data, "split": split, "rounds": rounds, "images": images, "threads": threads}
        _write(json, rows, scores, **settings, limit=limit, score_limit=score_limit)
    if plot is not None:
        from segnet.benchmark.plot import draw

        draw(rows, scores, plot)


def _candidates(
    models: tuple[str, ...], sizes: list[str], precisions: list[Any], rivals: list[Any], *, compiled: bool
) -> list[Candidate]:
    """Every combination that makes sense, each once."""
    from segnet.benchmark.measure import Candidate

    copied = Path(models[0]).stem
    _check_rivals(copied, rivals)
    found = []
    for size in map(_size, sizes):
        for name in models:
            in_torch = _in_torch(name)
            kinds = precisions if in_torch or name.endswith(".xml") else ["float32"]
            found += [Candidate(model=name, precision=kind, size=size) for kind in kinds]
            if compiled and in_torch:
                found += [Candidate(model=name, precision=kind, size=size, compiled=True) for kind in kinds]
        found += [Candidate(model=copied, rival=rival, size=size) for rival in rivals]
    return found


def _check_rivals(copied: str, rivals: list[Any]) -> None:
    if any(rival.startswith("textbook") for rival in rivals):
        from segnet.benchmark.baselines import copied_config

        copied_config(copied)


def _in_torch(model: str) -> bool:
    return Path(model).suffix in {"", ".safetensors"}


def _verify(files: list[str], threads: int, *, always: bool) -> None:
    """Exported files, before any is timed; unless ``always``, only INT8 files at their first use."""
    from segnet.runtimes.protocol import open_runtime
    from segnet.runtimes.verification import apply_verification

    if always and not files:
        raise ConfigError("--verify checks files that 'segnet export' wrote, and none is named; leave it out")
    for name in files:
        if always or Path(name).suffix in _INT8_SUFFIXES:
            apply_verification(open_runtime(name, threads=threads), "always" if always else "first_use")


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None or "0" in match.groups():
        raise ConfigError(f"size {text!r} is not possible; give HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])


class _TooLongError(Exception):
    """Scoring would take longer than it may."""


def _scores(
    candidates: list[Candidate], data: str, split: str, *, threads: int, limit: float
) -> dict[tuple[str, str], float]:
    """mIoU by model and precision, at the data's own size; without those that would take longer than the limit."""
    from segnet.cli.console import ProgressBar
    from segnet.data.layouts import open_source
    from segnet.inference.evaluation import check_same_classes, evaluate
    from segnet.runtimes.protocol import open_runtime

    source, found = open_source(data), {}
    for name, precision in dict.fromkeys(candidate.kind for candidate in candidates):
        runtime = open_runtime(name, precision=precision, threads=threads)
        dataset = source.dataset(split, channels=runtime.info.channels)
        check_same_classes(runtime.info.labels, dataset.labels, model=name, data=data)
        bar = ProgressBar(f"{name} on {split}")
        bar.start(total=len(dataset))
        try:
            progress = partial(_advance, bar, limit, time.perf_counter())
            found[name, precision] = evaluate(runtime, dataset, workers=1, progress=progress).miou
        except _TooLongError as error:
            log.warning("%s in %s has no score: %s", name, precision, error)
        finally:
            bar.stop()
    return found


def _advance(bar: ProgressBar, limit: float, started: float, done: int, total: int) -> None:
    """Go on, unless the images so far, once they have taken a tenth of the limit, show that it is too short."""
    bar.advance()
    taken = time.perf_counter() - started
    if taken > limit / 10 and taken / done * total > limit:
        raise _TooLongError(
            f"{total} images would take {taken / done * total:.0f} s, longer than --score-limit {limit:g}; "
            "give a larger one, or score the model by 'segnet evaluate'"
        )


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
            "-" if row.no_peak else _shown(row.share_of_peak, ".0%"),
            _shown(miou, ".4f"),
        )
    Console(width=None if Console().is_terminal else 120).print(table)
    print("peak: share of what a matrix product in the same precision does here; MB: growth of the resident memory")


def _explain(rows: list[Measured], *, asked: int, limit: float) -> None:
    """Tell what is missing in the table, and why."""
    for reason in dict.fromkeys(row.no_peak for row in rows if row.no_peak):
        print(f"no peak: {reason}")
    for row in rows:
        if row.timed < asked:
            name = f"{row.candidate.label} in {row.candidate.precision}"
            print(f"{name}: {row.timed} of {asked} images in {limit:g} s; --limit gives it more")


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(path: Path, rows: list[Measured], scores: dict[tuple[str, str], float], **settings: Any) -> None:
    from segnet.system.files import replacing
    from segnet.system.hardware import about

    table = [{**row.to_dict(), "miou": None if row.candidate.rival else scores.get(row.candidate.kind)} for row in rows]
    told = {**about("segnet", "torch", "onnxruntime", "openvino"), **settings, "rows": table}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
