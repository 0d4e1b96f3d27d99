"""segnet evaluate: scores of a model on labelled pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

__all__ = ["run"]


def run(
    data: str,
    /,
    *,
    model: str = "segnet_basic",
    split: str = "val",
    size: tuple[int, int] | None = None,
    boundary: bool = False,
    json: Path | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    threads: int = 0,
) -> None:
    """Score a model on labelled pictures: global accuracy, class average, mIoU and IoU per class.

    Args:
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        model: a model file (.safetensors, or what "segnet export" wrote: .onnx, .xml, .pte, .tflite, .pt2), or the name
            of a bundled model ("segnet models" lists them).
        split: train, val or test.
        size: resize pictures and masks to HEIGHT WIDTH first; the published figures are at the pictures' own size.
        boundary: measure boundaries too: boundary F1 as in the paper, and mIoU within 2, 4, 8 and 16 pixels of them.
        json: write all figures, the confusion matrix too, to this file.
        device: auto, cpu, cuda or mps.
        precision: bf16 is faster where the processor has bfloat16 arithmetic, and a little less exact; auto finds out.
        threads: how many to compute with; 0: as many as the library takes.
    """
    from segnet.boundary.scores import BoundaryMeter
    from segnet.console import ProgressBar, print_boundary_scores, print_scores
    from segnet.data.sources import open_source
    from segnet.evaluation import check_same_classes, evaluate
    from segnet.runtimes.protocol import open_runtime

    runtime = open_runtime(model, device=device, precision=precision, threads=threads)
    source = open_source(data)
    dataset = source.dataset(split, size=size, channels=runtime.info.channels)
    check_same_classes(runtime.info.labels, dataset.labels, model=model, data=data)
    name = Path(model).name
    meter = BoundaryMeter(dataset.labels) if boundary else None
    bar = ProgressBar(f"{name} on {split}")
    bar.start(total=len(dataset))
    try:
        scores = evaluate(
            runtime,
            dataset,
            workers=1,
            progress=lambda done, total: bar.advance(),
            observe=meter.add if meter else None,
        )
    finally:
        bar.stop()
    heading = f"{name} on {source.root} ({source.layout}), split {split}, {len(dataset)} pictures"
    print_scores(scores, heading)
    figures = {"model": name, "data": data, "split": split, "pictures": len(dataset), **scores.to_dict()}
    if meter is not None:
        print_boundary_scores(meter.scores)
        figures["boundary"] = meter.scores.to_dict()
    if json is not None:
        _write(json, figures)


def _write(path: Path, figures: dict[str, Any]) -> None:
    from segnet.files import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
