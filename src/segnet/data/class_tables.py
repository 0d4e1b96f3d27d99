"""Class tables by name, or out of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segnet.data.class_lists import read_class_list
from segnet.data.class_settings import read_class_table
from segnet.data.description import read_class_settings, read_text
from segnet.errors import ConfigError, DataError
from segnet.labels import CAMVID, CAMVID12, PASCAL, SUN, ClassTable
from segnet.system.files import path_fault

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
    if path_fault(chosen) or not path.is_file():
        raise ConfigError(f"--classes {chosen[:200]}: there is no such file or table; known are {', '.join(tables)}")
    try:
        text = read_text(path)
        if path.suffix not in {".yaml", ".yml"}:
            return read_class_list(text)
        return read_class_table(read_class_settings(text))
    except (DataError, ConfigError) as error:
        raise ConfigError(
            f"--classes {path}: is no class table ({error}); give a data.yaml with 'names', or one name per line"
        ) from error
