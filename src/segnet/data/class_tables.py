"""Class tables by name, or out of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from segnet.errors import ConfigError
from segnet.labels import CAMVID, CAMVID12, PASCAL, SUN, ClassTable

__all__ = ["TABLES", "open_labels"]

TABLES: Mapping[str, ClassTable] = {"camvid": CAMVID, "camvid12": CAMVID12, "sun": SUN, "pascal": PASCAL}
"""The class tables that are known by name."""


def open_labels(chosen: str, tables: Mapping[str, ClassTable] = TABLES) -> ClassTable:
    """One of the tables by its name, or a data.yaml's names and colors, or a file of one name per line.

    Raises:
        ConfigError: there is no such table or file, or the file is no class table.
    """
    if chosen in tables:
        return tables[chosen]
    path = Path(chosen)
    if not path.is_file():
        raise ConfigError(f"--classes {path}: there is no such file or table; known are {', '.join(tables)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix not in {".yaml", ".yml"}:
            return ClassTable.from_lines(text)
        settings = yaml.safe_load(text)
        return ClassTable.from_settings(settings if isinstance(settings, dict) else {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--classes {path}: is no class table ({reason}); give a data.yaml with 'names', or one name per line"
        ) from error
