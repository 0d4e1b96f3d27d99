"""Working size: at which size an image is segmented, before the result is brought back to the image's own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from segnet.errors import ConfigError
from segnet.runtimes.model_info import ModelInfo
from segnet.system.field_types import check_types

__all__ = ["ResizePolicy"]

_SMALLEST_SCALE, _LARGEST_SCALE = 0.001, 16


@dataclass(frozen=True, kw_only=True)
class ResizePolicy:
    """At which size images are segmented.

    Attributes:
        max_size: longest side in pixels; larger images are downscaled to it, smaller ones keep their size. None: all
            images keep their size.
        image_scale: segment each image at this multiple of its own size instead, 0.001 to 16; ``max_size`` and
            ``min_size`` are then ignored.
        box: (height, width) into which each image is resized, larger or smaller, with its aspect kept, instead of
            ``max_size``: that of a training run with ``--resize``.
        stretch: whether images get the size of the box itself, with the aspect changed.
        min_size: (height, width) that ``max_size`` does not go below, for files with a fixed input size; an image
            that is smaller keeps its size.

    Raises:
        ConfigError: a value is out of range.
    """

    max_size: int | None = None
    image_scale: float | None = None
    box: tuple[int, int] | None = None
    stretch: bool = False
    min_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if self.max_size is not None and self.max_size < 1:
            raise ConfigError(
                f"max_size={self.max_size} is not possible; give pixels; to keep the image's size, None or --max-size 0"
            )
        if self.image_scale is not None and not _SMALLEST_SCALE <= self.image_scale <= _LARGEST_SCALE:
            raise ConfigError(
                f"image_scale={self.image_scale} is not possible; give a number from {_SMALLEST_SCALE} to "
                f"{_LARGEST_SCALE}, 1 for the image's own size"
            )

    @classmethod
    def of_model(
        cls, info: ModelInfo, *, max_size: int | Literal["model"] | None = "model", image_scale: float | None = None
    ) -> ResizePolicy:
        """The policy of a model: unless it is given, that with which the model was trained."""
        if max_size != "model":
            return cls(max_size=max_size, image_scale=image_scale, min_size=info.size)
        box, mode = info.training_resize or (None, "letterbox")
        return cls(
            max_size=info.max_size, image_scale=image_scale, box=box, stretch=mode == "stretch", min_size=info.size
        )

    def to_dict(self) -> dict[str, Any]:
        """The setting that decides, by the name of its flag."""
        if self.image_scale is not None:
            return {"image_scale": self.image_scale}
        if self.box is not None:
            return {"resize": list(self.box), "resize_mode": "stretch" if self.stretch else "letterbox"}
        return {"max_size": self.max_size}

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels at which an image of this height and width is segmented."""
        if self.image_scale is None and self.box is not None and self.stretch:
            smallest = self.min_size or (1, 1)
            return max(self.box[0], smallest[0]), max(self.box[1], smallest[1])
        scale = self._scale(height, width) if self.image_scale is None else self.image_scale
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _scale(self, height: int, width: int) -> float:
        if self.box is not None:
            scale = min(self.box[0] / height, self.box[1] / width)
        else:
            scale = 1.0 if self.max_size is None else min(1.0, self.max_size / max(height, width))
        if self.min_size is None:
            return scale
        return max(scale, min(1.0, max(self.min_size[0] / height, self.min_size[1] / width)))
