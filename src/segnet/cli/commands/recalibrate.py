"""segnet recalibrate: recomputes the batch-norm statistics of a model."""

from __future__ import annotations

from pathlib import Path

from segnet.cli.flags import DataFlags
from segnet.cli.output_files import model_file_beside, require_writable_files

__all__ = ["run"]


def run(
    model: str,
    data: str,
    /,
    *,
    out: Path | None = None,
    data_flags: DataFlags = DataFlags(split="train"),  # noqa: B008
    batch: int = 4,
    device: str = "auto",
) -> None:
    """Recompute a model's batch-norm statistics over a whole data set, and write the model to another file.

    Args:
        model: Model file (.safetensors), or name of a bundled model ("segnet models" lists them).
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        out: Path of the new model file. Default: MODEL-recalibrated.safetensors, beside MODEL, or in the current folder
            for a model that is bundled or of the hub.
        data_flags: which images.
        batch: Batch size in images, over which statistics are taken. Set that of the training.
        device: Device of computation: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
    """
    out = model_file_beside(model, out, ending="recalibrated")
    require_writable_files({"--out": out})

    from segnet.models import checkpoint
    from segnet.system.progress import progress_bar
    from segnet.training.recalibration import recalibrate

    kept = checkpoint.load(model)
    source = data_flags.source.open(data, model=kept.labels)
    dataset = data_flags.open(source, channels=kept.model.config.image_channels)
    with progress_bar(f"{kept.path.stem} on {data_flags.split}", len(dataset)) as progress:
        recalibrate(kept.model, dataset, batch=batch, device=device, workers=1, progress=progress)
    statistics = {
        "data": data, "split": data_flags.split, "images": len(dataset), "batch": batch,
        "resize": data_flags.resize and list(data_flags.resize), "resize_mode": data_flags.resize_mode,
    }  # fmt: skip
    print(checkpoint.save(kept.model, kept.labels, out, provenance={**kept.provenance, "recalibrated": statistics}))
