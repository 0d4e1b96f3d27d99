"""segnet evaluate: scores a model on labeled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.cli.flags import DataFlags, ModelFlags, ResizeFlags
from segnet.cli.output_files import require_distinct, require_writable_files
from segnet.errors import ConfigError
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.metrics.uncertainty import Measure

if TYPE_CHECKING:
    from segnet.inference.predictor import Predictor
    from segnet.scoring.evaluation import DatasetScores

__all__ = ["Corruption", "run"]

Corruption = Literal["gray", "night", "rain", "blur", "noise", "jpeg", "half", "double", "all"]


def run(
    data: str,
    /,
    *,
    model: ModelFlags = ModelFlags(),  # noqa: B008
    data_flags: DataFlags = DataFlags(),  # noqa: B008
    boundary: bool = False,
    one_to_one: bool = False,
    corruptions: tuple[Corruption, ...] = (),
    resize: ResizeFlags = ResizeFlags(),  # noqa: B008
    tiles: TileConfig = TileConfig(),  # noqa: B008
    tta: TTAConfig = TTAConfig(),  # noqa: B008
    calibration: bool = False,
    measure: Measure | None = None,
    plot: Path | None = None,
    json: Path | None = None,
) -> None:
    """Evaluate a model on labeled images: global accuracy, class average, mIoU and IoU per class.

    Args:
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        model: the model.
        data_flags: which images.
        boundary: Measure boundary F1 as in the paper, and mIoU within 2, 4, 8 and 16 pixels of true boundaries.
        one_to_one: Match boundary points one to one with --boundary, as the paper's figures do. It needs SciPy and
            takes some thirty times as long.
        corruptions: Corruptions of the images under which the model is scored, too. Default: none. Give all to measure
            the robustness of the model.
        resize: working size.
        tiles: tiles.
        tta: test-time augmentation.
        calibration: Measure confidence calibration (ECE, NLL, Brier) and how well uncertainty finds errors (AUROC,
            PAvPU, accuracy of the most certain pixels).
        measure: Measure of uncertainty. Default: the variance of --samples, or the entropy without samples.
        plot: Path of a figure of the calibration (.png, .svg, .pdf). Default: no figure.
        json: Path of a JSON file of all figures, the confusion matrix included. Default: no file.
    """
    if not calibration:
        _require_no_calibration(measure, plot)
    require_distinct(json, plot)
    require_writable_files({"--json": json, "--plot": plot})

    from segnet.data.corruptions import CORRUPTIONS
    from segnet.inference.evaluation import check_same_classes
    from segnet.inference.predictor import Predictor
    from segnet.metrics.boundary.counts import BoundaryConfig
    from segnet.scoring.evaluation import evaluate_predictor
    from segnet.system.files import write_json
    from segnet.system.plots import require_plottable
    from segnet.system.progress import progress_bar

    if plot is not None:
        require_plottable(plot)
    predictor = Predictor(
        model.open(), uncertainty=calibration, measure=measure,
        max_size=resize.limit, image_scale=resize.image_scale, tiles=tiles, tta=tta,
    )  # fmt: skip
    source = data_flags.source.open(data, model=predictor.labels)
    name, split = Path(model.model).name, data_flags.split
    kinds = [None, *(CORRUPTIONS if "all" in corruptions else corruptions)]
    datasets = {kind: data_flags.open(source, channels=predictor.channels, corruption=kind) for kind in kinds}
    check_same_classes(predictor.labels, source.labels, model=model.model, data=data)
    results: dict[str | None, DatasetScores] = {}
    for kind, dataset in datasets.items():
        with progress_bar(f"{name} on {kind or split}", len(dataset)) as progress:
            results[kind] = evaluate_predictor(
                predictor, dataset, boundary=BoundaryConfig(one_to_one=one_to_one) if boundary else None,
                calibration=calibration and kind is None, progress=progress,
            )  # fmt: skip
    if json is not None:  # before anything is printed, so that `segnet evaluate ... | head` leaves the file
        origin = {"model": name, "data": data, "split": split}
        write_json(json, {**origin, **_figures(results, predictor, model, tiles, tta)})
    _draw(plot, results[None], f"{name} on {split}", model.sampling.samples)
    _print(f"{name} on {source.root} ({source.layout}), split {split}", results)


def _require_no_calibration(measure: str | None, plot: Path | None) -> None:
    """Refuse the flags of --calibration."""
    if measure is not None:
        raise ConfigError("--measure chooses the uncertainty of --calibration; add it")
    if plot is not None:
        raise ConfigError("--plot draws the calibration; add --calibration")


def _figures(
    results: Mapping[str | None, DatasetScores],
    predictor: Predictor,
    model: ModelFlags,
    tiles: TileConfig,
    tta: TTAConfig,
) -> dict[str, Any]:
    """What the JSON file holds besides model and data."""
    clean = results[None]
    figures: dict[str, Any] = {"images": clean.images}
    if tta != TTAConfig():
        figures["tta"] = asdict(tta)
    if clean.size_counts:
        figures["inference"] = {**clean.size_counts, **predictor.resize.to_dict(), **asdict(tiles)}
    figures |= clean.to_dict()
    if clean.calibration is not None:
        sampling = {"samples": predictor.runtime.info.samples, "seed": model.sampling.seed}
        figures["calibration"] = {**sampling, **clean.calibration.to_dict()}
    corrupted = {kind: {**_storable(result.means), **result.size_counts} for kind, result in results.items() if kind}
    return {**figures, "corrupted": corrupted} if corrupted else figures


def _storable(means: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if isnan(value) else value for name, value in means.items()}


def _draw(plot: Path | None, result: DatasetScores, title: str, samples: int) -> None:
    from segnet.metrics.calibration.plot import draw

    if plot is not None and result.calibration is not None:
        drawn = f"{samples} samples" if samples else "no samples"
        draw(result.calibration, plot, title=f"{title}, {result.images} images, {drawn}")


def _print(heading: str, results: Mapping[str | None, DatasetScores]) -> None:
    from segnet.cli.console import print_boundary_scores, print_calibration, print_robustness, print_scores

    clean = results[None]
    if clean.resized:
        print(
            f"{clean.resized} images were predicted at another size than their own, as 'segnet predict' does, and "
            "scored at their own; --image-scale 1 predicts all at their own"
        )
    print_scores(clean.scores, f"{heading}, {clean.images} images")
    if clean.boundary is not None:
        print_boundary_scores(clean.boundary)
    if clean.calibration is not None:
        print_calibration(clean.calibration)
    if len(results) > 1:
        print_robustness({kind or "as they are": result.means for kind, result in results.items()})
