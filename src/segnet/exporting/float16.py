"""ONNX files with filters stored in float16, at half the size; a cast to float32 stands before each convolution.

ONNX Runtime does the casts once, when it opens the file, and computes in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["halve_filters"]


def halve_filters(proto: Any, scales: Mapping[str, NDArray[np.float32]] | None = None) -> Any:
    """A ``ModelProto``, changed in place: every filter is stored in float16 and cast to float32 at the graph's start.

    Biases stay as they are: they are few, and are added to large sums.

    Args:
        proto: the model.
        scales: float32 (C_out, 1, 1, 1) by the name of a filter: what a batch norm multiplied it with. The filter is
            stored without it, and multiplied at the graph's start. So nothing is rounded where the filters of the
            network have values of float16, as those of a bundled model.
    """
    from onnx import TensorProto, helper, numpy_helper

    filters = {node.input[1] for node in proto.graph.node if node.op_type in {"Conv", "ConvTranspose"}}
    casts, added = [], []
    for stored in proto.graph.initializer:
        if stored.name in filters and stored.data_type == TensorProto.FLOAT:
            name, value = stored.name, numpy_helper.to_array(stored)
            scale = (scales or {}).get(name)
            half = (value if scale is None else value / scale).astype(np.float16)
            stored.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            cast = name if scale is None else f"{name}.unscaled"
            casts.append(helper.make_node("Cast", [stored.name], [cast], f"{name}.cast", to=TensorProto.FLOAT))
            if scale is not None:
                added.append(numpy_helper.from_array(scale, f"{name}.scale"))
                casts.append(helper.make_node("Mul", [cast, f"{name}.scale"], [name], f"{name}.scaled"))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.initializer.extend(added)
    proto.graph.node.extend(nodes)
    return proto
