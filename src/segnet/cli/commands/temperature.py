"""segnet temperature: make a model's probabilities mean what they say."""

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
    split: str = "val",
    samples: int = 0,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    longest: int | None = None,
    device: str = "auto",
) -> None:
    """Fit the temperature that makes a model's probabilities truest, and write the model with it to another file.

    The masks stay as they are, but for a few pixels where a mean decides, over samples or views for instance. Whatever
    is done with the new file, exporting too, has the temperature.

    Args:
        model: a model file, or the name of a bundled model ("segnet models" lists them).
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        out: the new model file; by default MODEL-temperature.safetensors, beside MODEL, or here for a bundled one.
        split: train, val or test; one that the model was not trained on.
        samples: fit it for so many samples with dropout, as "segnet predict --samples" draws them; 0: dropout is off.
        seed: decides what is dropped.
        size: resize images and masks to HEIGHT WIDTH first.
        longest: images with a longer side, in pixels, are labeled at this size, as "segnet predict" does; 0: never;
            by default the size of the images that the model learned from, or 1024 if it does not say that.
        device: auto, cpu, cuda or mps.
    """
    if out is not None and out.suffix != ".safetensors":
        raise ConfigError(f"{out} is no name for a model file; give --out a name that ends in .safetensors")
    if samples < 0 or samples == 1 or seed < 0:
        raise ConfigError(f"samples={samples} with seed={seed} is not possible; give 2 or more samples, or 0 for none")

    from segnet.cli.console import ProgressBar
    from segnet.data.layouts import open_source
    from segnet.inference.evaluation import check_same_classes
    from segnet.models import checkpoint
    from segnet.runtimes.model_info import ModelInfo
    from segnet.training.temperature import TRIED, fit_temperature, scale_logits

    kept = checkpoint.load(model)
    dataset = open_source(data).dataset(split, size=size, channels=kept.model.config.in_channels)
    if longest is None:
        longest = ModelInfo(name=model, labels=kept.labels, provenance=kept.provenance).max_size
    check_same_classes(kept.labels, dataset.labels, model=model, data=data)
    bar = ProgressBar(f"{kept.path.stem} on {split}")
    bar.start(total=len(dataset))
    try:
        found = fit_temperature(
            kept.model,
            dataset,
            samples=samples,
            seed=seed,
            max_size=longest or None,
            device=device,
            workers=1,
            progress=lambda done, total: bar.advance(),
        )
    finally:
        bar.stop()
    scale_logits(kept.model, found.value)
    earlier = kept.provenance.get("temperature", {}).get("value", 1.0)
    about = {
        "value": found.value * earlier,
        "data": data,
        "split": split,
        "images": len(dataset),
        "samples": samples,
        "longest": longest,
        "nll_before": found.nll_before,
        "nll_after": found.nll_after,
    }
    print(
        f"temperature {found.value:.3f}: NLL {found.nll_before:.4f} -> {found.nll_after:.4f} on {found.pixels} pixels"
    )
    if found.value in TRIED:
        low, high = TRIED
        print(f"this is the end of what is tried, {low:g} to {high:g}: its probabilities say little of these images")
    print(
        checkpoint.save(
            kept.model,
            kept.labels,
            out or Path(model).with_name(f"{kept.path.stem}-temperature.safetensors"),
            provenance={**kept.provenance, "temperature": about},
            scores=kept.scores,
        )
    )
