"""The model card of a folder for the hub, written from what the model file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from segnet.models.model_file import Description
from segnet.system.files import replacing

__all__ = ["model_card", "write_card"]

_FIGURES = {"miou": "mean IoU", "global_accuracy": "global accuracy", "class_average": "class average accuracy"}
_MOST_SETTINGS = 60


def write_card(path: Path, config: Any, description: Description, *, parameters: int) -> None:
    """Write a model card; see ``model_card``.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(model_card(config, description, parameters=parameters), encoding="utf-8")


def model_card(config: Any, description: Description, *, parameters: int) -> str:
    """Markdown with the metadata that the hub reads in front.

    Args:
        config: the ``SegNetConfig`` of the network.
        description: class table, provenance and scores. Only what they hold is written: nothing is guessed.
        parameters: how many the network has.
    """
    parts = [
        f"# {_text(config.name)}",
        f"SegNet for semantic segmentation: the class of every pixel, {config.classes} classes, {parameters:,} "
        f"parameters, images of {config.in_channels} channels in [0, 1] and any size.",
        '## Use\n\n```python\nimport segnet\n\npredictor = segnet.Predictor.load("hf://OWNER/NAME")\n'
        'predictor("photo.jpg").overlay().save("overlay.png")\n```\n\n`segnet predict photo.jpg --model '
        "hf://OWNER/NAME` does the same. Put in the owner and the name of this page.",
        f"## Classes\n\n{_table(('value', 'class'), _classes(description))}",
        f"## Data\n\n{_text(description.provenance.get('data')) or 'Not recorded.'}",
        f"## Scores\n\n{_scores(description.scores)}",
        f"## License\n\n{_text(description.provenance.get('terms')) or 'Not recorded: state it here.'}",
        f"## Recipe\n\n{_recipe(description.provenance)}",
    ]
    return f"---\n{_front(config, description)}---\n\n" + "\n\n".join(parts) + "\n"


def _front(config: Any, description: Description) -> str:
    """The metadata as YAML; ``license: other`` where terms are recorded, which the page then states."""
    table: dict[str, Any] = {
        "library_name": "segnet",
        "pipeline_tag": "image-segmentation",
        "tags": ["segnet", "semantic-segmentation"],
    }
    if description.provenance.get("terms"):
        table |= {"license": "other", "license_name": "see-model-card", "license_link": "README.md#license"}
    figures = [
        {"type": key, "name": name, "value": round(float(description.scores[key]), 4)}
        for key, name in _FIGURES.items()
        if isinstance(description.scores.get(key), int | float)
    ]
    if figures:
        data = {"name": _text(description.provenance.get("data")) or "not recorded", "type": "custom"}
        task = {"type": "image-segmentation"}
        results = [{"task": task, "dataset": data, "metrics": figures}]
        table["model-index"] = [{"name": config.name, "results": results}]
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True)


def _classes(description: Description) -> Iterator[tuple[str, str]]:
    labels = description.labels
    for value, name in zip(labels.values, labels.names, strict=True):
        yield str(value), name


def _scores(scores: Mapping[str, Any]) -> str:
    figures = [(name, f"{scores[key]:.4f}") for key, name in _FIGURES.items() if isinstance(scores.get(key), float)]
    if not figures:
        return "Not measured."
    parts = [_table(("score", "value"), figures)]
    classes = scores.get("per_class")
    if isinstance(classes, Mapping):
        rows = [(str(name), _figure(row, "iou"), _figure(row, "accuracy")) for name, row in classes.items()]
        parts.append(_table(("class", "IoU", "accuracy"), rows))
    if isinstance(scores.get("convention"), str):
        parts.append(f"Convention: {_text(scores['convention'])}.")
    return "\n\n".join(parts)


def _recipe(provenance: Mapping[str, Any]) -> str:
    facts = {"epoch": provenance.get("epoch"), **_mapping(provenance.get("versions"))}
    settings = {
        key: value for key, value in _mapping(provenance.get("settings")).items() if value not in (None, [], "")
    }
    rows = [(key, json.dumps(value)) for key, value in [*facts.items(), *settings.items()] if value is not None]
    return _table(("setting", "value"), rows[:_MOST_SETTINGS]) if rows else "Not recorded."


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _figure(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, Mapping) else None
    return f"{value:.3f}" if isinstance(value, float) else "–"


def _table(heading: tuple[str, ...], rows: Any) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(_text(cell).replace('|', '&#124;') for cell in line)} |" for line in lines)


def _text(value: Any) -> str:
    """As one line that cannot be HTML or a heading."""
    return " ".join(str(value or "").split()).replace("<", "&lt;")
