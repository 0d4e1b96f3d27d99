"""segnet recalibrate: batch-norm statistics of a model over a data set."""

from __future__ import annotations

from pathlib import Path

from segnet.errors import ConfigError

__all__ = ["run"]


def run(
    model: str,
    data: str,
    /,
    *,
    out: Path | None = None,
    split: str = "train",
    batch: int = 4,
    size: tuple[int, int] | None = None,
    device: str = "auto",
) -> None:
    """Take a model's batch-norm statistics anew, over a whole data set, and write it to another file.

    Args:
        model: a model file, or the name of a bundled model ("segnet models" lists them).
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        out: the new model file; by default MODEL-recalibrated.safetensors, beside MODEL, or here for a bundled one.
        split: train, val or test.
        batch: how many images share their statistics; best as in training.
        size: resize images to HEIGHT WIDTH first; needed if they differ in size.
        device: auto, cpu, cuda or mps.
    """
    if out is not None and out.suffix != ".safetensors":
        raise ConfigError(f"{out} is no name for a model file; give --out a name that ends in .safetensors")

    from segnet.cli.console import ProgressBar
    from segnet.data.layouts import open_source
    from segnet.models import checkpoint
    from segnet.training.recalibration import recalibrate

    kept = checkpoint.load(model)
    dataset = open_source(data).dataset(split, size=size, channels=kept.model.config.in_channels)
    bar = ProgressBar(f"{kept.path.stem} on {split}")

    def advance(done: int, total: int) -> None:
        bar.advance(by=(done - 1) % batch + 1)  # the last batch may be smaller

    bar.start(total=len(dataset))
    try:
        recalibrate(kept.model, dataset, batch=batch, device=device, workers=1, progress=advance)
    finally:
        bar.stop()
    about = {"data": data, "split": split, "images": len(dataset), "batch": batch, "size": size and list(size)}
    print(
        checkpoint.save(
            kept.model,
            kept.labels,
            out or Path(model).with_name(f"{kept.path.stem}-recalibrated.safetensors"),
            provenance={**kept.provenance, "recalibrated": about},
        )
    )
