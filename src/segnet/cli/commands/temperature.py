"""segnet temperature: calibrates a model's probabilities by temperature scaling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.flags import DataFlags, SamplingFlags
from segnet.cli.output_files import model_file_beside, require_writable_files

if TYPE_CHECKING:
    from segnet.training.temperature import Temperature

__all__ = ["run"]


def run(
    model: str,
    data: str,
    /,
    *,
    out: Path | None = None,
    data_flags: DataFlags = DataFlags(),  # noqa: B008
    sampling: SamplingFlags = SamplingFlags(),  # noqa: B008
    max_size: int | None = None,
    device: str = "auto",
) -> None:
    """Calibrate a model's probabilities by temperature scaling, and write the model to another file.

    Masks stay as they are, except for a few pixels where a mean over samples, tiles or resized pixels decides. Every
    use of the new file has the temperature, and so has every file that is exported from it.

    Args:
        model: Model file (.safetensors), or name of a bundled model ("segnet models" lists them).
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        out: Path of the new model file. Default: MODEL-temperature.safetensors, beside MODEL, or in the current folder
            for a model that is bundled or of the hub.
        data_flags: which images; none that the model was trained on.
        sampling: Monte Carlo dropout, as "segnet predict" will draw it.
        max_size: Longest side of an image in pixels. A larger image is resized for the model and its probabilities are
            upsampled. Default: the size of the training images, or 1024 if the model file does not hold it. Set 0 to
            keep every image at its own size.
        device: Device of computation: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
    """
    out = model_file_beside(model, out, ending="temperature")
    require_writable_files({"--out": out})

    from segnet.inference.evaluation import check_same_classes
    from segnet.inference.working_size import ResizePolicy
    from segnet.models import checkpoint
    from segnet.runtimes.model_info import ModelInfo
    from segnet.system.progress import progress_bar
    from segnet.training.temperature import fit_temperature, save_scaled

    kept = checkpoint.load(model)
    source = data_flags.source.open(data, model=kept.labels)
    dataset = data_flags.open(source, channels=kept.model.config.image_channels)
    check_same_classes(kept.labels, dataset.labels, model=model, data=data)
    info = ModelInfo(name=model, labels=kept.labels, provenance=kept.provenance)
    resize = ResizePolicy.of_model(info, max_size="model" if max_size is None else max_size or None)
    with progress_bar(f"{kept.path.stem} on {data_flags.split}", len(dataset)) as progress:
        temperature = fit_temperature(
            kept.model,
            dataset,
            samples=sampling.samples,
            seed=sampling.seed,
            resize=resize,
            device=device,
            workers=1,
            progress=progress,
        )
    _print(temperature)
    fitted_on = {
        "data": data, "split": data_flags.split, "images": len(dataset), "samples": sampling.samples,
        **resize.to_dict(),
    }  # fmt: skip
    print(save_scaled(kept, temperature, out, fitted_on=fitted_on))


def _print(temperature: Temperature) -> None:
    from segnet.training.temperature import TRIED

    print(
        f"temperature {temperature.value:.3f}: NLL {temperature.nll_before:.4f} -> {temperature.nll_after:.4f} on "
        f"{temperature.pixels} pixels"
    )
    if temperature.value in TRIED:
        low, high = TRIED
        print(f"this is the end of the tried range, {low:g} to {high:g}; the probabilities fit these images badly")
