"""segnet models: lists the models, their costs, the bundled weights and the encoders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.cli.output_files import require_writable_files
from segnet.system.files import write_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["run"]

_SIZE = (360, 480)  # the paper's images
_DECODER = "segnet"
_SCORES = ("global_accuracy", "class_average", "miou")


def run(*, json: Path | None = None) -> None:
    """List the models with parameters, multiply-accumulates and memory, the bundled weights, and the encoders.

    Args:
        json: Path of a JSON file of the same figures, with exact numbers. Default: no file.
    """
    require_writable_files({"--json": json})
    bundled = {name: _describe(name) for name in _bundled_names()}
    models, encoders = _models(bundled), _encoders()
    if json is not None:
        write_json(json, {"size": list(_SIZE), "models": models, "encoders": encoders})
    _print_tables(models, bundled, encoders)


def _models(bundled: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    from segnet.models.cost import cost_of
    from segnet.models.zoo import MODELS, list_models

    nothing = {"bundled": False, "scores": None, "data": None, "split": None}
    return [
        {"name": name, **asdict(cost_of(MODELS[name], _SIZE)), **bundled.get(name, nothing)} for name in list_models()
    ]


def _encoders() -> list[dict[str, Any]]:
    """The costs of our encoders under the decoder of ``segnet``."""
    import torch

    from segnet.models.cost import cost_of
    from segnet.models.zoo import create_model, list_encoders

    with torch.device("meta"):
        configs = {name: create_model(_DECODER, encoder=name).config for name in list_encoders()}
    return [{"name": name, "under": _DECODER, **asdict(cost_of(config, _SIZE))} for name, config in configs.items()]


def _bundled_names() -> list[str]:
    from segnet.models.bundled import bundled_models

    return list(bundled_models())


def _describe(name: str) -> dict[str, Any]:
    """The scores of a bundled model, and the data they were measured on."""
    from segnet.models import checkpoint

    kept = checkpoint.load(name)
    scores = {score: kept.scores[score] for score in _SCORES if score in kept.scores}
    data = {key: kept.provenance.get(key) for key in ("data", "split")}
    return {"bundled": True, "scores": scores or None, **data}


def _print_tables(
    models: list[dict[str, Any]], bundled: dict[str, dict[str, Any]], encoders: list[dict[str, Any]]
) -> None:
    from segnet.system.tables import print_table

    print_table(_cost_table("model", models))
    print(f"for an image of {_SIZE[1]}x{_SIZE[0]}: GMAC, 10^9 multiply-accumulates; codes and maps,")
    print("the pooling codes and skip connections (1 MB is 10^6 bytes)\n")
    print_table(_score_table(bundled))
    print(f"\nAny model can be put on another encoder (--encoder NAME); {_DECODER} on these:\n")
    print_table(_cost_table("encoder", encoders))
    print("timm/NAME, such as timm/resnet18: any model of timm with feature maps")


def _cost_table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = _table(title, "parameters", "GMAC", "codes MB", "maps MB")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e9:.1f}",
            f"{row['code_bytes'] / 1e6:.3f}",
            f"{row['kept_bytes'] / 1e6:.1f}",
        )
    return table


def _score_table(bundled: dict[str, dict[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("bundled weights", "mIoU", "class average", "global accuracy", "measured on")
    table.columns[-1].justify = "left"
    for name, model in bundled.items():
        scores = model["scores"] or {}
        figures = [f"{scores[key]:.4f}" if key in scores else "" for key in reversed(_SCORES)]
        data = ", ".join(str(model[key]) for key in ("data", "split") if model[key])
        table.add_row(name, *figures, escape(data))
    return table


def _table(*titles: str) -> Table:
    from segnet.system.tables import new_table

    table = new_table(*titles)
    table.pad_edge, table.padding = False, (0, 2, 0, 0)
    return table
