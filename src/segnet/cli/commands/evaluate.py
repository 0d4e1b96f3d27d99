"""segnet evaluate: scores of a model on labeled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segnet.errors import ConfigError
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segnet.data.dataset import SegmentationDataset
    from segnet.inference.predictor import Predictor
    from segnet.metrics.boundary.scores import BoundaryMeter
    from segnet.metrics.calibration.scores import CalibrationMeter
    from segnet.metrics.confusion import Scores

__all__ = ["run"]


def run(
    data: str,
    /,
    *,
    model: str = "segnet_light",
    split: str = "val",
    size: tuple[int, int] | None = None,
    boundary: bool = False,
    matching: bool = False,
    corrupt: list[str] = [],  # noqa: B006
    longest: int | None = None,
    scale: float | None = None,
    tiles: TileConfig = TileConfig(),  # noqa: B008
    average: TTAConfig = TTAConfig(),  # noqa: B008
    samples: int = 0,
    seed: int = 0,
    calibration: bool = False,
    measure: Literal["variance", "entropy", "mutual_information"] | None = None,
    plot: Path | None = None,
    json: Path | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    threads: int = 0,
) -> None:
    """Score a model on labeled images: global accuracy, class average, mIoU and IoU per class.

    Args:
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        model: a model file (.safetensors, or what "segnet export" wrote: .onnx, .xml, .pte, .tflite, .pt2), or the name
            of a bundled model ("segnet models" lists them).
        split: train, val or test.
        size: resize images and masks to HEIGHT WIDTH first; the published figures are at the images' own size.
        boundary: measure boundaries too: boundary F1 as in the paper, and mIoU within 2, 4, 8 and 16 pixels of them.
        matching: pair boundary points one to one, as the paper's figures do; needs SciPy, and takes much longer.
        corrupt: score again on spoiled images: gray, night, rain, blur, noise, jpeg, half, double, or all of them.
        longest: images with a longer side, in pixels, are labeled at this size and the result enlarged, as "segnet
            predict" does; 0: never; by default the size of the images that the model learned from, or 1024 if it
            does not say that.
        scale: label images at this multiple of their own size instead.
        tiles: of what is too large for the memory.
        average: over views of each image.
        samples: label each image so many times with dropout, 40 for instance, and score the mean; 0: dropout is off.
        seed: decides what is dropped.
        calibration: measure too whether probabilities are true (ECE, NLL, Brier) and whether uncertainty tells where
            the labeling is wrong (accuracy of the least uncertain pixels, AUROC, PAvPU).
        measure: of uncertainty: variance, entropy or mutual_information; by default the variance of the samples, and
            without samples the entropy.
        plot: draw the calibration into this file (.png, .svg, .pdf).
        json: write all figures, the confusion matrix too, to this file.
        device: auto, cpu, cuda or mps.
        precision: bf16 is faster where the processor has bfloat16 arithmetic, and a little less exact; auto finds out.
        threads: how many to compute with; 0: as many as the library takes.
    """
    from segnet.data.corruptions import CORRUPTIONS
    from segnet.data.layouts import open_source
    from segnet.inference.evaluation import check_same_classes
    from segnet.inference.predictor import Predictor
    from segnet.metrics.boundary.counts import BoundaryConfig
    from segnet.metrics.boundary.scores import BoundaryMeter
    from segnet.metrics.calibration.plot import draw, require_drawable
    from segnet.metrics.calibration.scores import CalibrationMeter
    from segnet.system.files import write_json

    if matching and not boundary:
        raise ConfigError("--matching pairs boundary points; add --boundary")
    if plot is not None:
        if not calibration:
            raise ConfigError("--plot draws the calibration; add --calibration")
        require_drawable(plot)
    corruptions = list(CORRUPTIONS) if corrupt == ["all"] else corrupt
    predictor = Predictor.load(
        model,
        device=device,
        precision=precision,
        threads=threads,
        samples=samples,
        seed=seed,
        uncertainty=calibration,
        measure=measure,
        max_size="model" if longest is None else longest or None,
        image_scale=scale,
        tiles=tiles,
        tta=average,
    )
    info = predictor.runtime.info
    weigher = CalibrationMeter(predictor.measure) if predictor.measure else None
    source = open_source(data)
    name = Path(model).name
    datasets = {
        kind: source.dataset(split, size=size, channels=info.channels, corruption=kind) for kind in (None, *corruptions)
    }
    check_same_classes(info.labels, source.labels, model=model, data=data)
    found = {
        kind: _score(
            predictor,
            dataset,
            f"{name} on {kind or split}",
            boundary=BoundaryMeter(dataset.labels, BoundaryConfig(matching=matching)) if boundary else None,
            calibration=None if kind else weigher,
        )
        for kind, dataset in datasets.items()
    }
    scores, meter, labeled = found[None]
    images = len(datasets[None])
    rows = {kind or "as they are": _means(scored, bounds) for kind, (scored, bounds, _) in found.items()}
    figures = {"model": name, "data": data, "split": split, "images": images}
    if average != TTAConfig():
        figures["average"] = asdict(average)
    if labeled:
        given = {"max_size": predictor.resize.max_size} if scale is None else {"image_scale": scale}
        figures["labeled"] = {**labeled, **given, **asdict(tiles)}
    figures |= scores.to_dict()
    if meter is not None:
        figures["boundary"] = meter.scores.to_dict()
    if weigher is not None:
        figures["calibration"] = {"samples": info.samples, "seed": seed, **weigher.scores.to_dict()}
    if corruptions:
        figures["corrupted"] = {kind: {**rows[kind], **found[kind][2]} for kind in corruptions}
    if json is not None:  # before anything is printed, so that `segnet evaluate ... | head` leaves the file
        write_json(json, figures)
    if plot is not None and weigher is not None:
        told = f"{info.samples} samples" if info.samples else "no samples"
        draw(weigher.scores, plot, title=f"{name} on {split}, {images} images, {told}")
    if resized := labeled.get("resized"):
        print(
            f"{resized} images were labeled at another size than their own, as 'segnet predict' does, and scored at "
            "their own; --scale 1 labels all at their own"
        )
    heading = f"{name} on {source.root} ({source.layout}), split {split}, {images} images"
    _print(heading, scores, meter, weigher, rows if corruptions else None)


def _score(
    predictor: Predictor,
    dataset: SegmentationDataset,
    heading: str,
    *,
    boundary: BoundaryMeter | None,
    calibration: CalibrationMeter | None,
) -> tuple[Scores, BoundaryMeter | None, dict[str, int]]:
    """With a progress bar; and how many images were resized or cut into tiles, where some were."""
    from segnet.cli.console import ProgressBar
    from segnet.inference.evaluation import evaluate

    counts = {"resized": 0, "tiled": 0}

    def observe(name: str, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        working_size = predictor.working_size(*truth.shape)
        counts["resized"] += working_size != truth.shape
        counts["tiled"] += predictor.needs_tiles(*working_size)
        if boundary is not None:
            boundary.add(name, predicted, truth)

    bar = ProgressBar(heading)
    bar.start(total=len(dataset))
    try:
        scores = evaluate(
            predictor,
            dataset,
            workers=1,
            progress=lambda done, total: bar.advance(),
            observe=observe,
            calibration=calibration,
        )
    finally:
        bar.stop()
    return scores, boundary, counts if any(counts.values()) else {}


def _means(scores: Scores, meter: BoundaryMeter | None) -> dict[str, float]:
    """What a line of the robustness table says."""
    means = {
        "global_accuracy": scores.global_accuracy,
        "class_average": scores.class_average,
        "miou": scores.miou,
    }
    return means if meter is None else {**means, "boundary_f1": meter.scores.bf("paper")}


def _print(
    heading: str,
    scores: Scores,
    meter: BoundaryMeter | None,
    weigher: CalibrationMeter | None,
    rows: Mapping[str, Mapping[str, float]] | None,
) -> None:
    from segnet.cli.console import print_boundary_scores, print_calibration, print_robustness, print_scores

    print_scores(scores, heading)
    if meter is not None:
        print_boundary_scores(meter.scores)
    if weigher is not None:
        print_calibration(weigher.scores)
    if rows is not None:
        print_robustness(rows)
