"""ONNX files with filters stored in float16, at half the size; a cast to float32 stands before each convolution.

ONNX Runtime does the casts once, when it opens the file, and computes in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["halve_filters"]


def halve_filters(proto: Any) -> Any:
    """A ``ModelProto``, changed in place: every filter is stored in float16 and cast to float32 at the graph's start.

    Biases stay as they are: they are few, and are added to large sums.
    """
    from onnx import TensorProto, helper, numpy_helper

    filters = {node.input[1] for node in proto.graph.node if node.op_type in {"Conv", "ConvTranspose"}}
    casts = []
    for stored in proto.graph.initializer:
        if stored.name in filters and stored.data_type == TensorProto.FLOAT:
            name = stored.name
            half = numpy_helper.to_array(stored).astype(np.float16)
            stored.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [stored.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto
