"""segnet models: what can be created, and what comes with the package."""

from __future__ import annotations

__all__ = ["run"]


def run() -> None:
    """List the models by name: parameters, and whether trained weights are bundled."""
    from rich.console import Console
    from rich.table import Table

    from segnet import checkpoint
    from segnet.models.zoo import create_model, list_models

    bundled = checkpoint.bundled_models()
    table = Table("model", "parameters", "bundled weights", box=None, header_style="bold")
    for name in list_models():
        parameters = sum(parameter.numel() for parameter in create_model(name).parameters())
        table.add_row(name, f"{parameters:,}", "yes" if name in bundled else "")
    Console().print(table)
