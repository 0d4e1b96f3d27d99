"""Max-pooling and max-unpooling modules with codes of two bits, in place of PyTorch's pair with int64 indices.

>>> pool, unpool = segnet.nn.MaxPool2d(2, return_indices=True), segnet.nn.MaxUnpool2d(2)
"""

from segnet.nn.modules import MaxPool2d, MaxUnpool2d

__all__ = ["MaxPool2d", "MaxUnpool2d"]
