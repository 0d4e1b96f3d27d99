"""Gradio, imported on first use with everything switched off that would ask another server."""

from __future__ import annotations

import os
from typing import Any

from segnet.system.packages import importing

__all__ = ["import_gradio"]

_OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SSR_MODE": "False"}


def import_gradio() -> Any:
    """Import Gradio without analytics and without a second server for Node.

    Raises:
        MissingPackageError: it is not installed.
    """
    os.environ.update(_OFFLINE)
    with importing("gradio", "demo"):
        import gradio
    return gradio
