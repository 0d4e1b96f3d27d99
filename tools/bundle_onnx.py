"""Make the ONNX files of the bundled models, for those who predict without PyTorch.

    python tools/bundle_onnx.py [NAME ...]

The filters of a bundled model have values of float16. An exported network has them multiplied with the scales of its
batch norms. Here the two are stored apart and multiplied when the file is opened: half the size, and the same float32
numbers as in PyTorch. Each file is run and compared with PyTorch before it takes its place, and has the SHA-256 of the
model file that it was made from.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from segnet.exporting.comparison import Tolerance, require_close
from segnet.exporting.export import compare_file, export, open_file, reference_pipeline
from segnet.exporting.float16 import halve_filters
from segnet.exporting.settings import ExportConfig
from segnet.models import checkpoint
from segnet.models.bundled import bundled_models, bundled_onnx
from segnet.models.segnet import SegNet, normed_convolutions
from segnet.system.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(bundled_onnx()))
    for name in parser.parse_args().names:
        path = bundled_models()[name]
        agreement = bundle(path, path.with_suffix(".onnx"))
        size = path.with_suffix(".onnx").stat().st_size
        print(f"{name}.onnx: {size} bytes, {agreement:.4%} of the pixels as in PyTorch")


def bundle(source: Path, out: Path) -> float:
    """Write the ONNX file of a model file; the share of pixels of the same class as in PyTorch, of the worst image."""
    kept = checkpoint.load(source)
    provenance = {**kept.provenance, "model_file": {"name": source.name, "sha256": sha256(source)}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / out.name
        export(kept.model, kept.labels, path, provenance=provenance, scores=kept.scores)
        onnx.save(halve_filters(onnx.load(path), filter_scales(kept.model)), path)
        tolerance = Tolerance(agreement=0.9999)
        comparisons = compare_file(open_file(path), reference_pipeline(kept.model, ExportConfig()), tolerance)
        require_close(comparisons, tolerance)
        with replacing(out) as temporary:
            temporary.write_bytes(path.read_bytes())
    return min(each.agreement for each in comparisons)


def filter_scales(model: SegNet) -> dict[str, NDArray[np.float32]]:
    """By the names that filters have in exported files: what folding the batch norm multiplies them with."""
    scales = {}
    for name, _, _, norm in normed_convolutions(model):
        assert norm.running_var is not None
        scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        scales[f"model.{name}.conv.weight"] = scale.reshape(-1, 1, 1, 1).numpy()
    return scales


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
