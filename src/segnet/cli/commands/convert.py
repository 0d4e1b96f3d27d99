"""segnet convert: converts models of Caffe to model files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.output_files import require_writable_files
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.labels import ClassTable
    from segnet.models.caffe.conversion import Conversion
    from segnet.models.caffe.files import Net

__all__ = ["run"]

_LICENSE = (
    "that of the Caffe files, which is not known here; the weights that the authors of SegNet published are "
    "CC BY-NC 4.0 (no commercial use)"
)


def run(weights: Path, /, *, net: Path | None = None, out: Path | None = None, classes: str | None = None) -> None:
    """Convert a SegNet model of Caffe to a model file, or a VGG model of Caffe to weights of an encoder.

    Args:
        weights: Weights of Caffe (.caffemodel).
        net: Network description of Caffe (.prototxt). Default: the description inside the weights.
        out: Path of the new model file. Default: WEIGHTS with the suffix .safetensors.
        classes: Class table: camvid, camvid12, sun, pascal, a data.yaml, or a file of one name per line. Default: the
            table with this number of classes.
    """
    from segnet.models.caffe import conversion
    from segnet.models.caffe.files import read_description, read_weights

    weights = Path(weights)
    if out is not None and out.suffix != ".safetensors":
        raise ConfigError(f"--out {out} has another ending than .safetensors; give a name that ends so")
    require_writable_files({"--out": out})
    blobs = read_weights(weights)
    out = out or weights.with_suffix(".safetensors")
    description = blobs if net is None else read_description(net)
    if conversion.is_segnet(description):
        _save(conversion.convert(blobs, description, name=f"{weights.stem}-caffe"), weights, net, out, classes)
    elif classes is not None:
        raise ConfigError(f"{weights} is an encoder, which has no classes; leave --classes out")
    else:
        _save_encoder(blobs, out)


def _save(converted: Conversion, weights: Path, net: Path | None, out: Path, classes: str | None) -> None:
    from segnet.models import checkpoint

    config = converted.model.config
    table, note = _class_table(classes, config.classes)
    provenance = {
        "converted_from": "Caffe",
        "weights": weights.name,
        "net": "inside the weights" if net is None else net.name,
        "batch_norm": _batch_norm(converted),
        "terms": _LICENSE,
    }
    checkpoint.save(converted.model, table, out, provenance=provenance)
    parameters = sum(parameter.numel() for parameter in converted.model.parameters())
    print(f"{out}: {config.name}, {config.classes} classes, {parameters:,} parameters")
    print(f"batch norm: {provenance['batch_norm']}")
    for line in (*note, *converted.notes):
        print(f"note: {line}")
    if converted.batch_norm == "unfolded":
        print(f"warning: the statistics are missing and the masks wrong until you run: segnet recalibrate {out} DATA")
    print(f"license: {_LICENSE}")


def _batch_norm(converted: Conversion) -> str:
    words = {
        "folded": "folded, the statistics are in scale and shift",
        "unfolded": "a snapshot of the solver; the statistics are missing",
        "absorbed": "absorbed by the convolutions",
    }
    return f"{words[converted.batch_norm]} ({converted.reason})"


def _save_encoder(blobs: Net, out: Path) -> None:
    from segnet.models.caffe import conversion

    state, left_out = conversion.convert_encoder(blobs)
    conversion.save_encoder(state, out, source=blobs.path.name)
    print(f"{out}: {len(state) // 2} convolutions of an encoder; left out: {', '.join(left_out) or 'nothing'}")
    print(f"use it with: segnet train DATA --model segnet --encoder-weights {out}")


def _class_table(chosen: str | None, classes: int) -> tuple[ClassTable, tuple[str, ...]]:
    """The class table, and a note if its names are not known."""
    from segnet.data.class_tables import TABLES, open_labels
    from segnet.labels import SUN, ClassTable

    learned = ClassTable(names=SUN.names[1:], colors=SUN.colors[1:])
    tables = {**TABLES, "sun": learned if classes == 37 else SUN}
    if chosen is not None:
        return open_labels(chosen, tables), ()
    for table in tables.values():
        if table.classes == classes:
            return table, ()
    numbered = ClassTable.numbered(classes)
    return numbered, (f"the names of the {classes} classes are not known; give them with --classes FILE",)
