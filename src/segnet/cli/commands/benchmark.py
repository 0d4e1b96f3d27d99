"""segnet benchmark: measures latency, memory and scores of models."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.benchmark.worker import Baseline
from segnet.cli.output_files import require_distinct, require_writable_files
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.benchmark.measure import Candidate, Measured
    from segnet.data.dataset import SegmentationDataset
    from segnet.inference.predictor import Predictor

__all__ = ["run"]

log = logging.getLogger("segnet")

_INT8_SUFFIXES = frozenset((".onnx", ".xml", ".pte"))
_SIZE = re.compile(r"(\d+)x(\d+)")


def run(
    *model: str,
    sizes: tuple[str, ...] = ("360x480",),
    precision: tuple[Literal["float32", "bf16"], ...] = ("float32",),
    compiled: bool = False,
    baselines: tuple[Baseline, ...] = (),
    rounds: int = 5,
    images: int = 4,
    threads: int = 0,
    limit: float = 20.0,
    neighbors: int = 0,
    verify: bool = False,
    data: str | None = None,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    split: str = "val",
    score_limit: float = 600.0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure latency and memory of models by turns, each in a process of its own, from an image to its mask.

    Args:
        *model: Model files of any kind, bundled models, or names of models with random weights. Default: the bundled
            segnet_light.
        sizes: Sizes of the image in pixels, each HEIGHTxWIDTH, with commas between.
        precision: Precision of models in PyTorch and OpenVINO; an exported file keeps its own.
        compiled: Measure PyTorch models also after torch.compile (PyTorch 2.12).
        baselines: Baselines with random weights: reference is the reference implementation of the first named model
            (nn.MaxPool2d(return_indices=True) + nn.MaxUnpool2d), reference_compiled the same after torch.compile,
            reference_onnx its export in ONNX Runtime; unet_vgg16 and segformer_b0 come from
            segmentation_models_pytorch. Default: none.
        rounds: Number of turns of each model. Raise it on a busy machine.
        images: Number of images per turn.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
        limit: Maximum time in seconds for the images of each model. A slow model runs fewer images, but at least one.
        neighbors: Number of busy processes beside which every model is measured a second time, as on a machine with
            other work.
        verify: Check first, on packaged reference images, that exported files predict the same classes here as where
            they were exported.
        data: Labeled images to score the models on: a folder, a pair list or a data.yaml. Default: no scores.
        source: how the data set is read.
        split: Split of the data set: train, val or test.
        score_limit: Maximum time in seconds to score a model on --data. A slower model gets no score.
        json: Path of a JSON file of all figures, with hardware and versions. Default: no file.
        plot: Path of a figure of mIoU against latency, or of latency only (.png, .svg, .pdf). Default: no figure.
    """
    if not score_limit > 0:
        raise ConfigError(f"score_limit={score_limit} is not possible; give seconds above 0")
    require_distinct(json, plot)
    require_writable_files({"--json": json, "--plot": plot})
    from segnet.benchmark.measure import measure
    from segnet.benchmark.plot import plot_benchmark
    from segnet.system.plots import require_plottable

    if plot is not None:
        require_plottable(plot)
    candidates = _candidates(model or ("segnet_light",), sizes, precision, baselines, compiled=compiled)
    _verify([name for name in dict.fromkeys(model) if not _in_torch(name)], threads, always=verify)
    own = [candidate for candidate in candidates if candidate.baseline is None]
    if data is not None:
        for candidate in {each.model: each for each in own}.values():
            _open_scored(*candidate.kind, data, source, split, threads=threads)
    rows = measure(candidates, rounds=rounds, images=images, threads=threads, limit=limit, neighbors=neighbors)
    scores = {} if data is None else _scores(own, data, source, split, threads=threads, limit=score_limit)
    _print(rows, scores)
    _print_missing(rows, asked=rounds * images, limit=limit)
    if json is not None:
        settings = {"data": data, "split": split, "rounds": rounds, "images": images, "threads": threads}
        _write(json, rows, scores, **settings, limit=limit, score_limit=score_limit, neighbors=neighbors)
    if plot is not None:
        plot_benchmark(rows, scores, plot)


def _candidates(
    models: Sequence[str],
    sizes: Sequence[str],
    precisions: Sequence[str],
    baselines: Sequence[Baseline],
    *,
    compiled: bool,
) -> list[Candidate]:
    """Every combination that can run, each once.

    Raises:
        ConfigError: a baseline is not possible, or no model can be compiled.
    """
    from segnet.benchmark.measure import Candidate

    copied = Path(models[0]).stem
    _check_baselines(copied, baselines)
    if compiled and not any(map(_in_torch, models)):
        raise ConfigError("--compiled is for models that PyTorch runs, and none is named; leave it out")
    candidates, files = [], Counter(Path(name).name for name in dict.fromkeys(models))
    for size in map(_size, sizes):
        for name in models:
            in_torch = _in_torch(name)
            kinds = precisions if in_torch or name.endswith(".xml") else ["float32"]
            one = Candidate(model=name, size=size, name=name if files[Path(name).name] > 1 else None)
            candidates += [replace(one, precision=kind) for kind in kinds]
            if compiled and in_torch:
                candidates += [replace(one, precision=kind, compiled=True) for kind in kinds]
        candidates += [Candidate(model=copied, baseline=baseline, size=size) for baseline in baselines]
    return candidates


def _check_baselines(copied: str, baselines: Sequence[Baseline]) -> None:
    """Refuse a reference implementation of a model that has none, and a missing library, before anything runs."""
    if any(baseline.startswith("reference") for baseline in baselines):
        from segnet.benchmark.baselines import reference_config

        reference_config(copied)
    if not all(baseline.startswith("reference") for baseline in baselines):
        from segnet.benchmark.baselines import require_library

        require_library()


def _in_torch(model: str) -> bool:
    return Path(model).suffix in {"", ".safetensors"}


def _verify(files: list[str], threads: int, *, always: bool) -> None:
    """Exported files, before any is timed; unless ``always``, only INT8 files at their first use."""
    from segnet.runtimes.load import open_runtime
    from segnet.runtimes.verification import apply_verification

    if always and not files:
        raise ConfigError("--verify checks files that 'segnet export' wrote, and none is named; leave it out")
    for name in files:
        if always or Path(name).suffix in _INT8_SUFFIXES:
            apply_verification(open_runtime(name, threads=threads), "always" if always else "first_use")


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not height or not width:
        raise ConfigError(f"size {text!r} is not possible; give HEIGHTxWIDTH, such as 360x480")
    return height, width


class _TooLongError(Exception):
    """Scoring would take longer than its limit."""


def _scores(
    candidates: list[Candidate], data: str, source: SourceConfig, split: str, *, threads: int, limit: float
) -> dict[tuple[str, str], float]:
    """mIoU by model and precision, at the data's own size; models that exceed the limit are left out."""
    from segnet.inference.evaluation import evaluate
    from segnet.system.progress import progress_bar

    scores = {}
    for name, precision in dict.fromkeys(candidate.kind for candidate in candidates):
        predictor, dataset = _open_scored(name, precision, data, source, split, threads=threads)
        try:
            with progress_bar(f"{name} on {split}", len(dataset)) as progress:
                limited = partial(_advance, progress, limit, time.perf_counter())
                scores[name, precision] = evaluate(predictor, dataset, workers=1, progress=limited).miou
        except _TooLongError as error:
            log.warning("%s in %s has no score: %s", name, precision, error)
    return scores


def _open_scored(
    name: str, precision: str, data: str, source: SourceConfig, split: str, *, threads: int
) -> tuple[Predictor, SegmentationDataset]:
    """A model and the images that it is scored on.

    Raises:
        SegNetError: one of them cannot be opened, or they have other classes.
    """
    from segnet.inference.evaluation import check_same_classes
    from segnet.inference.predictor import Predictor

    predictor = Predictor.load(name, precision=precision, threads=threads, max_size=None, tiles=None)
    dataset = source.open(data, model=predictor.labels).dataset(split, channels=predictor.channels)
    check_same_classes(predictor.labels, dataset.labels, model=name, data=data)
    return predictor, dataset


def _advance(progress: Callable[[int, int], None], limit: float, started: float, done: int, total: int) -> None:
    """Report progress; stop where the images so far, after a tenth of the limit, show that it is too short."""
    progress(done, total)
    seconds = time.perf_counter() - started
    if seconds > limit / 10 and seconds / done * total > limit:
        raise _TooLongError(
            f"{total} images would take {seconds / done * total:.0f} s, longer than --score-limit {limit:g}; "
            "give a larger one, or score the model by 'segnet evaluate'"
        )


def _print(rows: list[Measured], scores: dict[tuple[str, str], float]) -> None:
    from rich.markup import escape

    from segnet.system.tables import new_table, print_table

    busy = any(row.neighbors for row in rows)
    figures = ("p50 ms", "p90 ms", "images/s", "MB", "file MB", "peak", "mIoU")
    table = new_table("model", "size", "precision", *["neighbors"] * busy, *figures, texts=3)
    for row in rows:
        candidate = row.candidate
        miou = None if candidate.baseline else scores.get(candidate.kind)
        table.add_row(
            escape(candidate.label),
            f"{candidate.size[0]}x{candidate.size[1]}",
            row.precision,
            *[str(row.neighbors)] * busy,
            f"{row.p50_ms:.1f}",
            f"{row.p90_ms:.1f}",
            f"{row.images_per_s:.2f}" + (f" ({row.at_once} at once)" if row.at_once > 1 else ""),
            _shown(row.memory_mb, ".0f"),
            _shown(row.file_mb, ".1f"),
            "-" if row.no_peak else _shown(row.share_of_peak, ".0%"),
            _shown(miou, ".4f"),
        )
    print_table(table)
    print("peak: share of the speed of a matrix product in the same precision; MB: growth of the resident memory")


def _print_missing(rows: list[Measured], *, asked: int, limit: float) -> None:
    """Print what is missing in the table, and why."""
    for reason in dict.fromkeys(row.no_peak for row in rows if row.no_peak):
        print(f"no peak: {reason}")
    for row in rows:
        if row.timed < asked:
            name = f"{row.candidate.label} in {row.precision}"
            print(f"{name}: {row.timed} of {asked} images in {limit:g} s; raise --limit for more")


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(path: Path, rows: list[Measured], scores: dict[tuple[str, str], float], **settings: Any) -> None:
    from segnet.system.files import write_json
    from segnet.system.hardware import about

    table = [
        {**row.to_dict(), "miou": None if row.candidate.baseline else scores.get(row.candidate.kind)} for row in rows
    ]
    limits = {name: None if value == math.inf else value for name, value in settings.items()}  # JSON has no infinity
    write_json(path, {**about("segnet", "torch", "onnxruntime", "openvino"), **limits, "rows": table})
