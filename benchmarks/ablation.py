"""What each part of a small SegNet, and of the recipe it is trained by, is worth on a drive that was never seen.

python benchmarks/ablation.py CAMVID --encoder-weights FILE [--light-weights FILE] [--frames FOLDER]
    [--out runs/ablation] [--rows NAME ...] [--drives NAME ...] [--figures FILE]

The first row is segnet_squeezenet with 64 channels in its last stage; most others differ from it in one thing.
segnet_light (from EfficientNet-Lite0's weights) and segnet_basic are there for comparison. A row is trained once for
each of CamVid's three drives, on the training images of the other two, and scored on all training and validation images
of that drive. A row of a later stage begins with the weights of another row. The scores stand in
benchmarks/results/ablation.json, or --figures, once a row has been trained for every drive. A stopped study goes on
when it is started again, and several processes may share it, each with other rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import write_scenes
from segnet.data.unlabeled import find_unlabeled
from segnet.models import checkpoint
from segnet.models.cost import cost_of
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.settings import TrainConfig
from study import SCORES, WEIGHTS, Row, Sets, learn_and_score, leave_out, markdown

RESULT = Path(__file__).parent / "results" / "ablation.json"
DRIVES = ("0001TP", "0006R0", "0016E5")
RECIPE = TrainConfig(
    epochs=12,
    batch=4,
    lr=0.01,
    warmup=0.03,
    validate_every=12,
    augment=AugmentConfig(crop=(240, 320), crop_area=(0.3, 1.0), flip=0.5, color=0.3, gray=0.1, blur=0.1, noise=0.1),
)

LIGHT = replace(
    RECIPE,
    lr=0.001,
    optimizer="adamw",
    loss="cross_entropy+0.5*lovasz",
    augment=replace(RECIPE.augment, crop_area=(0.11, 1.0)),
)
# Photometric changes between cameras.
OTHER_CAMERAS: dict[str, Any] = {
    "white_balance": 0.3, "fog": 0.1, "shadow": 0.2, "night": 0.1, "fourier": 0.3, "jpeg": 0.1, "color": 0.4,
}  # fmt: skip
WHOLE = replace(
    LIGHT,
    epochs=6,
    validate_every=6,
    lr=0.0004,
    augment=replace(LIGHT.augment, crop=(360, 480), crop_area=(0.36, 1.0)),
)
LIGHT_COLORS, WHOLE_COLORS = (
    replace(config, augment=replace(config.augment, white_balance=0.3, fourier=0.3)) for config in (LIGHT, WHOLE)
)
# Averages of weights over a seventh of the long run, and over a fifth of its later stages.
LIGHT_LONG = replace(LIGHT_COLORS, ema=0.998, prior_correction=0.5, precision="float32")
LIGHT_LONG_MORE = replace(LIGHT_LONG, ema=0.99)
LIGHT_LONG_MIX = replace(LIGHT_LONG_MORE, augment=replace(LIGHT_LONG_MORE.augment, mix=0.5))
LIGHT_LONG_WHOLE_MIX = replace(
    LIGHT_LONG_MIX,
    lr=WHOLE.lr,
    augment=replace(LIGHT_LONG_MIX.augment, crop=WHOLE.augment.crop, crop_area=WHOLE.augment.crop_area),
)
LIGHT_LONG_WHOLE_LONGER = replace(LIGHT_LONG_WHOLE_MIX, ema=0.997)
LATER_STAGES = {
    "light_whole": "light",
    "light_whole_colors": "light",
    "light_longer": "light_whole_colors",
    "light_longer_whole": "light_longer",
    "light_third": "light_longer",
    "light_third_taught": "light_longer",
    "light_third_frames": "light_longer",
    "light_long_more": "light_long",
    "light_long_mix": "light_long",
    "light_long_whole_mix": "light_long",
    "light_long_whole_cameras": "light_long",
    "light_long_whole_scaled": "light_long",
    "light_long_whole_taught": "light_long",
    "light_long_whole_frames": "light_long",
    "light_long_whole_scenes": "light_long",
    "light_long_whole_drawn": "light_long",
    "light_long_whole_longer": "light_long",
    "light_long_whole_again": "light_long_whole_longer",
    "light_long_whole_again_drawn": "light_long_whole_again",
    "light_long_whole_again_drawn_longer": "light_long_whole_again",
    "light_long_whole_again_more": "light_long_whole_again",
}
# These have not seen the drive either.
TEACHERS = {
    "light_third_taught": "light_longer",
    "light_third_frames": "light_longer",
    "light_long_whole_taught": "light_long_whole_mix",
    "light_long_whole_frames": "light_long_whole_mix",
    "light_long_whole_scenes": "light_long_whole_mix",
}
FRAMES = ("light_third_frames", "light_long_whole_frames", "light_long_whole_scenes")
# Synthetic scenes with masks among the training images, of seeds that segnet evaluate synthetic does not use.
DRAWN = {
    "light_long_drawn": 111,
    "light_long_whole_drawn": 111,
    "light_long_whole_again_drawn": 111,
    "light_long_whole_again_drawn_longer": 333,
}
# Instead of epochs, whose crops differ between drives.
CROPS = {
    "light_longer": 5900, "light_longer_whole": 1600,
    "light_third": 2000, "light_third_taught": 2000, "light_third_frames": 2000,
    "light_long": 12000, "light_long_drawn": 12000, "light_long_more": 1500, "light_long_mix": 1500,
    "light_long_whole_mix": 1500, "light_long_whole_cameras": 1500, "light_long_whole_scaled": 1500,
    "light_long_whole_taught": 1500, "light_long_whole_frames": 1500, "light_long_whole_scenes": 1500,
    "light_long_whole_drawn": 1500, "light_long_whole_longer": 6000, "light_long_whole_again": 4500,
    "light_long_whole_again_drawn": 1500, "light_long_whole_again_drawn_longer": 4500,
    "light_long_whole_again_more": 1500,
}  # fmt: skip

WIDE_END = ((64, 256), (128,), (64, 64), (64,))
NARROW_END = (*WIDE_END[:-1], (32,))

Change = Callable[[SegNetConfig], SegNetConfig]


def base(config: SegNetConfig) -> SegNetConfig:
    return decoder(config, widths=WIDE_END)


def unchanged(config: SegNetConfig) -> SegNetConfig:
    return config


def decoder(config: SegNetConfig, **changes: Any) -> SegNetConfig:
    return replace(config, decoder=replace(config.decoder, **changes))


def network(change: Change, weights: str | None) -> SegNet:
    """The first row's net with a change behind its encoder, which keeps its ImageNet weights."""
    made = create_model("segnet_squeezenet", classes=11, encoder_weights=weights)
    changed = SegNet(change(base(made.config)))
    changed.encoder.load_state_dict(made.encoder.state_dict())
    return changed


def learned(path: Path) -> SegNet:
    return checkpoint.load(path).model


def rows(weights: str, light_weights: str | None) -> dict[str, Row]:
    """The table, by the names of its folders."""

    def net(about: str, change: Change) -> Row:
        return Row(about=about, network=partial(network, change, weights), config=RECIPE)

    def recipe(about: str, config: TrainConfig) -> Row:
        return Row(about=about, network=partial(network, unchanged, weights), config=config)

    def light(about: str, config: TrainConfig) -> Row:
        make = partial(create_model, "segnet_light", classes=11, encoder_weights=light_weights)
        return Row(about=about, network=make, config=config)

    return {
        "base": net("64 channels in the last stage", unchanged),
        "bilinear": net("bilinear upsampling instead of codes", partial(decoder, upsampling="bilinear")),
        "no_maps": net("without the encoder's maps", partial(decoder, addition="none")),
        "bilinear_no_maps": net(
            "bilinear, and without the encoder's maps", partial(decoder, upsampling="bilinear", addition="none")
        ),
        "no_context": net("without context", partial(decoder, context=0)),
        "narrow_end": net("32 channels there", partial(decoder, widths=NARROW_END)),
        "wide": net("more channels", partial(decoder, widths=((128, 256), (128, 128), (128, 64), (64, 64)))),
        "from_nothing": Row(
            about="without ImageNet, learning rate 0.05",
            network=partial(network, unchanged, None),
            config=replace(RECIPE, lr=0.05),
        ),
        "lovasz": recipe("loss cross_entropy+0.5*lovasz", replace(RECIPE, loss="cross_entropy+0.5*lovasz")),
        "bundled": Row(
            about="32 channels there and that loss, as bundled (but for its 30 epochs)",
            network=partial(network, partial(decoder, widths=NARROW_END), weights),
            config=replace(RECIPE, loss="cross_entropy+0.5*lovasz"),
        ),
        "mix": recipe(
            "half of the images with another's classes pasted in (mix 0.5)",
            replace(RECIPE, augment=replace(RECIPE.augment, mix=0.5)),
        ),
        "slow_encoder": recipe("a fifth of the learning rate for the encoder", replace(RECIPE, encoder_lr=0.2)),
        "light": light("segnet_light, its own recipe but for the 12 epochs", LIGHT),
        "light_other_cameras": light(
            "segnet_light, with photometric augmentation for other cameras",
            replace(LIGHT, augment=replace(LIGHT.augment, **OTHER_CAMERAS)),
        ),
        "light_colors": light("segnet_light, with changes of white balance and Fourier amplitudes alone", LIGHT_COLORS),
        "light_slow_encoder": light(
            "segnet_light, a tenth of the learning rate for the encoder", replace(LIGHT, encoder_lr=0.1)
        ),
        "light_whole": light("segnet_light, and 6 more epochs on crops of 360x480", WHOLE),
        "light_whole_colors": light(
            "these 6 epochs with changes of white balance and Fourier amplitudes", WHOLE_COLORS
        ),
        "light_longer": light("and 5,900 more crops of 240x320", LIGHT_COLORS),
        "light_longer_whole": light("and 1,600 more crops of 360x480", WHOLE_COLORS),
        "light_third": light("light_longer, and 2,000 more crops of 240x320", LIGHT_COLORS),
        "light_third_taught": light("these 2,000 crops, with light_longer at three scales as teacher", LIGHT_COLORS),
        "light_third_frames": light("so, and among them frames without masks", LIGHT_COLORS),
        "light_long": light("segnet_light, 12,000 crops of 240x320 at once, with prior correction", LIGHT_LONG),
        "light_long_drawn": light("so, and among the crops synthetic scenes with masks", LIGHT_LONG),
        "light_long_more": light("and 1,500 more crops", LIGHT_LONG_MORE),
        "light_long_mix": light(
            "these 1,500 crops, half of them with another's classes pasted in (mix 0.5)",
            LIGHT_LONG_MIX,
        ),
        "light_long_whole_mix": light(
            "so, but crops of 360x480 and learning rate 0.0004",
            LIGHT_LONG_WHOLE_MIX,
        ),
        "light_long_whole_cameras": light(
            "so, with all photometric augmentation for other cameras",
            replace(LIGHT_LONG_WHOLE_MIX, augment=replace(LIGHT_LONG_WHOLE_MIX.augment, **OTHER_CAMERAS)),
        ),
        "light_long_whole_scaled": light(
            "light_long_whole_mix, of 0.7 to 1.7 times the images' own scale instead of 1 to 1.7",
            replace(LIGHT_LONG_WHOLE_MIX, augment=replace(LIGHT_LONG_WHOLE_MIX.augment, crop_area=(0.36, 2.0))),
        ),
        "light_long_whole_taught": light(
            "light_long_whole_mix, with light_long_whole_mix at three scales as teacher",
            LIGHT_LONG_WHOLE_MIX,
        ),
        "light_long_whole_frames": light("so, and among them frames without masks", LIGHT_LONG_WHOLE_MIX),
        "light_long_whole_scenes": light("so, but the frames are 111 synthetic scenes", LIGHT_LONG_WHOLE_MIX),
        "light_long_whole_drawn": light(
            "light_long_whole_mix, and among the crops synthetic scenes with masks", LIGHT_LONG_WHOLE_MIX
        ),
        "light_long_whole_longer": light("light_long_whole_mix with 6,000 crops", LIGHT_LONG_WHOLE_LONGER),
        "light_long_whole_again": light("light_long_whole_longer, and 4,500 more such crops", LIGHT_LONG_WHOLE_LONGER),
        "light_long_whole_again_drawn": light(
            "and 1,500 more, with synthetic scenes with masks among them", LIGHT_LONG_WHOLE_MIX
        ),
        "light_long_whole_again_drawn_longer": light(
            "4,500 more, with three times the scenes", LIGHT_LONG_WHOLE_LONGER
        ),
        "light_long_whole_again_more": light("these 1,500 without the scenes", LIGHT_LONG_WHOLE_MIX),
        "segnet_basic": Row(
            about="segnet_basic on crops of 180x240, learning rate 0.05",
            network=partial(create_model, "segnet_basic", classes=11),
            config=replace(RECIPE, lr=0.05, augment=replace(RECIPE.augment, crop=(180, 240), crop_area=(0.2, 0.6))),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--encoder-weights", required=True, help="of SqueezeNet 1.1")
    parser.add_argument("--light-weights", help="of EfficientNet-Lite0")
    parser.add_argument("--frames", help="images without masks, for rows that end in _frames or _scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--rows", nargs="*")
    parser.add_argument("--drives", nargs="*", default=DRIVES, choices=DRIVES)
    parser.add_argument("--figures", type=Path, default=RESULT, help="file of the scores on these drives")
    arguments = parser.parse_args()
    source, table = open_source(arguments.data), rows(arguments.encoder_weights, arguments.light_weights)
    for name in arguments.rows or (name for name in table if arguments.frames or name not in FRAMES):
        for drive in arguments.drives:
            scenes = DRAWN.get(name, 0)
            sets = with_drawn(leave_out(source, drive), scenes, arguments.out / f"drawn_{scenes}" / drive)
            row = of_drive(table[name], name, drive, images=len(sets[0]), out=arguments.out, frames=arguments.frames)
            learn_and_score(row, sets, arguments.out / name / drive)
    done = {name: row for name, row in table.items() if all(scored(arguments.out, name, arguments.drives))}
    found = {name: figures(row, arguments.out / name, arguments.drives) for name, row in done.items()}
    print(table_of(found, arguments.drives))
    machine = about("segnet", "torch", "lightning", "kornia")
    write_json(arguments.figures, {"machine": machine, "rows": found})


def with_drawn(sets: Sets, count: int, folder: Path) -> Sets:
    """The sets with so many synthetic scenes among the training images."""
    if count == 0:
        return sets
    if not (folder / "valannot").exists():  # which is written last
        write_scenes(folder, train=count, val=1, seed=1000)
    own, drawn = sets[0], open_source(str(folder)).dataset("train")
    samples = (*own.samples, *drawn.samples)
    return SegmentationDataset(samples, own.reader.labels, ignore_index=own.ignore_index), sets[1]


def of_drive(row: Row, name: str, drive: str, *, images: int, out: Path, frames: str | None) -> Row:
    """The row with what depends on the drive: weights, teacher and epochs."""
    config = row.config
    if name in TEACHERS:
        teacher = out / TEACHERS[name] / drive / WEIGHTS
        config = replace(config, teacher=(str(teacher),), teacher_scales=(0.75, 1.0, 1.25))
    if name in FRAMES:
        if frames is None:
            raise SystemExit(f"{name} needs images without masks: give --frames FOLDER")
        config = replace(config, unlabeled=(frames,))
    if name in CROPS:
        epochs = round(CROPS[name] / (images + len(find_unlabeled(config.unlabeled))))
        config = replace(config, epochs=epochs, validate_every=epochs)
    if name in LATER_STAGES:
        row = replace(row, network=partial(learned, out / LATER_STAGES[name] / drive / WEIGHTS))
    return replace(row, config=config)


def scored(out: Path, name: str, drives: Sequence[str]) -> list[bool]:
    return [(out / name / drive / SCORES).is_file() for drive in drives]


def figures(row: Row, folder: Path, drives: Sequence[str]) -> dict[str, Any]:
    """Cost, and the scores of each drive."""
    cost = cost_of(row.network())
    scores = {drive: json.loads((folder / drive / SCORES).read_text(encoding="utf-8")) for drive in drives}
    return {"about": row.about, "parameters": cost.parameters, "gmac": cost.macs / 1e9, "drives": scores}


def table_of(found: dict[str, dict[str, Any]], drives: Sequence[str]) -> str:
    lines = []
    for row in found.values():
        mious = [drive["miou"] for drive in row["drives"].values()]
        bfs = [drive["boundary"]["bf_paper"] for drive in row["drives"].values()]
        means = [sum(values) / len(values) for values in (mious, bfs)]
        lines.append([
            row["about"], f"{row['parameters'] / 1e6:.2f}", f"{row['gmac']:.1f}", *(f"{m:.3f}" for m in mious),
            *(f"{mean:.3f}" for mean in means),
        ])  # fmt: skip
    return markdown(["", "M parameters", "GMAC", *drives, "mIoU, mean", "BF, mean"], lines)


if __name__ == "__main__":
    main()
