"""Working size: at which size an image is segmented, before the result is brought back to the image's own size."""

from __future__ import annotations

from dataclasses import dataclass

from segnet.errors import ConfigError

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
        min_size: (height, width) that ``max_size`` does not go below, for files with a fixed input size; an image
            that is smaller keeps its size.

    Raises:
        ConfigError: a value is out of range.
    """

    max_size: int | None = None
    image_scale: float | None = None
    min_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.max_size is not None and self.max_size < 1:
            raise ConfigError(
                f"max_size={self.max_size} is not possible; give pixels; to keep the image's size, None or --max-size 0"
            )
        if self.image_scale is not None and not _SMALLEST_SCALE <= self.image_scale <= _LARGEST_SCALE:
            raise ConfigError(
                f"image_scale={self.image_scale} is not possible; give a number from {_SMALLEST_SCALE} to "
                f"{_LARGEST_SCALE}, 1 for the image's own size"
            )

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels at which an image of this height and width is segmented."""
        scale = self.image_scale
        if scale is None:
            scale = 1.0 if self.max_size is None else min(1.0, self.max_size / max(height, width))
            if self.min_size is not None:
                scale = min(1.0, max(scale, self.min_size[0] / height, self.min_size[1] / width))
        return max(1, round(height * scale)), max(1, round(width * scale))
