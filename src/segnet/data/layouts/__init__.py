"""Data sets as they lie on disk: one function per layout, and ``open_source`` that picks it by what is there."""

from segnet.data.layouts.opening import LAYOUTS, holds_data_set, open_dataset, open_source
from segnet.data.layouts.source import Source
from segnet.data.splits import SPLITS

__all__ = ["LAYOUTS", "SPLITS", "Source", "holds_data_set", "open_dataset", "open_source"]
