"""How a data set is read, as flags: no torch is imported before it is opened."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segnet.data.layouts import Source
    from segnet.labels import ClassTable

__all__ = ["SourceConfig"]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How a data set is read, and which classes are made of its own.

    Attributes:
        layout: Layout of the data set, such as data.yaml, cityscapes or pascal. Default: the first that fits its files;
            an unknown name lists all.
        map: Classes to merge or to ignore: "car,truck,bus=vehicle; sky=ignore"; or camvid11, which maps the classes of
            CamVid and of Cityscapes to the paper's eleven. Default: those of the data set, or those that the model was
            trained on.
        only: Names of the classes that count, after --map, with commas between; all other pixels are ignored. Default:
            all classes.
    """

    layout: str | None = None
    map: str = ""
    only: tuple[str, ...] = ()

    def open(self, location: str | Path, *, model: ClassTable | None = None) -> Source:
        """The data set, with its classes mapped as is asked for, or else as they were for the model.

        Raises:
            DataError, ConfigError: see ``open_source`` and ``map_classes``.
        """
        from segnet.data.layouts import open_source

        source = open_source(location, layout=self.layout).mapped(self.map, self.only)
        return source if model is None or self.map or self.only else source.for_model(model)

    def flags(self) -> list[str]:
        """The words on a command line that say the same."""
        values = {"--layout": self.layout, "--map": self.map, "--only": ",".join(self.only)}
        return [word for flag, value in values.items() if value for word in (flag, value)]

    def command(self, name: str, location: str | Path) -> str:
        """A command on a data set that is read so, such as ``segnet check``, as one writes it in a shell."""
        return shlex.join(["segnet", name, str(location), *self.flags()])
