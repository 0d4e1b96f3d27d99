"""Make a trained model a bundled one: filters in float16 or eight bits, scored as it will be shipped.

python tools/bundle.py runs/a/best.safetensors CAMVID --name segnet_basic --terms "..."

--mean-with takes further files of runs that began with the same weights, and the mean of all is taken (Wortsman et al.,
Model soups, 2022). One may be the last.ckpt of the same run, whose averaged weights are those of its last step. With
--out the file is written there, such as for a later stage of training that begins with a mean.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from segnet.data.layouts import open_source
from segnet.inference.evaluation import check_same_classes, evaluate
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.system.files import replacing
from segnet.training.averaging import mean_weights
from segnet.training.temperature import scale_logits

WEIGHTS = Path(__file__).parents[1] / "src" / "segnet" / "models" / "weights"
LARGEST_BYTES = {"float16": 6 * 2**20, "int8": 30 * 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="model file of the run")
    parser.add_argument("data", help="data set whose val gives the scores in the file")
    parser.add_argument("--name", required=True, help="of the bundled model")
    parser.add_argument("--mean-with", type=Path, nargs="*", default=[], help="model files to average the weights with")
    parser.add_argument("--int8", action="store_true", help="filters in eight bits, for large models")
    parser.add_argument("--temperature", type=float, default=1.0, help="divides the logits; see bench_temperature.py")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="model files of the stages before, in order"
    )
    parser.add_argument("--out", type=Path, help="of the file; default: with the bundled models")
    parser.add_argument("--terms", required=True, help="license of the weights and terms of the data")
    arguments = parser.parse_args()

    kept = checkpoint.load(arguments.trained)
    model = SegNet(replace(kept.model.config, name=arguments.name))
    others = [last_of(kept, path) if path.suffix == ".ckpt" else checkpoint.load(path) for path in arguments.mean_with]
    model.load_state_dict(mean_weights([each.model for each in (kept, *others)]))
    scale_logits(model, arguments.temperature)
    data = open_source(arguments.data).dataset("val")
    check_same_classes(kept.labels, data.labels, model=str(kept.path), data=arguments.data)
    provenance = {**_provenance(kept, arguments.name), "terms": arguments.terms}
    if arguments.temperature != 1.0:
        provenance["temperature"] = {"value": arguments.temperature, "fitted_on": "CamVid's drives, each left out once"}
    if others:
        provenance["mean_with"] = [_provenance(each, arguments.name) for each in others]
    if arguments.earlier:
        stages = [checkpoint.load(path) for path in arguments.earlier]
        provenance["earlier_stages"] = [_provenance(each, arguments.name) for each in stages]
    stored: dict[str, Any] = {"int8": True} if arguments.int8 else {"half": True}
    with tempfile.TemporaryDirectory() as folder:
        rounded = checkpoint.save(model, kept.labels, Path(folder) / "rounded.safetensors", **stored)
        scores = evaluate(Predictor.load(rounded, device="cpu", max_size=None, tiles=None), data)
        exact = checkpoint.save(model, kept.labels, Path(folder) / "exact.safetensors")
        before = evaluate(Predictor.load(exact, device="cpu", max_size=None, tiles=None), data)
    path = arguments.out or WEIGHTS / f"{arguments.name}.safetensors"
    largest = LARGEST_BYTES["int8" if arguments.int8 else "float16"]
    stored |= {"provenance": provenance, "scores": scores.to_dict()}
    size = write_small(model, kept.labels, path, largest=largest, **stored)
    print(f"{path}: {size} bytes, val mIoU {scores.miou:.4f}, global {scores.global_accuracy:.4f}")
    print(f"before its filters were rounded: val mIoU {before.miou:.4f}, global {before.global_accuracy:.4f}")


def write_small(model: SegNet, labels: ClassTable, path: Path, *, largest: int, **stored: Any) -> int:
    """Write the model file and return its bytes; one of more bytes than ``largest`` replaces nothing."""
    with tempfile.TemporaryDirectory() as folder:
        written = checkpoint.save(model, labels, Path(folder) / path.name, **stored)
        size = written.stat().st_size
        if size > largest:
            raise SystemExit(
                f"{path} would have {size} bytes, and was not written; bundled models have at most {largest}"
            )
        with replacing(path) as temporary:
            shutil.copyfile(written, temporary)
    return size


def last_of(kept: checkpoint.Checkpoint, path: Path) -> checkpoint.Checkpoint:
    """The averaged weights of a run's last step, beside ``kept``, its best ones."""
    run: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    state = {
        name.removeprefix("model."): value for name, value in run["state_dict"].items() if name.startswith("model.")
    }
    model = SegNet(kept.model.config)
    model.load_state_dict(state)
    return replace(kept, model=model, provenance={**kept.provenance, "step": run["global_step"]})


def _provenance(kept: checkpoint.Checkpoint, name: str) -> dict[str, Any]:
    settings = {key: _without_folders(value) for key, value in kept.provenance["settings"].items()}
    return {**kept.provenance, "settings": {**settings, "model": name}}


def _without_folders(value: object) -> object:
    """Paths of the machine it was trained on say nothing elsewhere."""
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    return "/".join(Path(value).parts[-2:]) if isinstance(value, str) and Path(value).is_absolute() else value


if __name__ == "__main__":
    main()
