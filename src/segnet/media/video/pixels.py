"""The pixels of a decoded frame: upright, in RGB or gray, and HDR in the brightness of ordinary video."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.media.video.hdr import HLG, PQ, tone_map

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

__all__ = ["pixel_aspect", "pixels"]

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_ITU709 = 1  # SWS_CS_ITU709
_BT2020 = 9  # AVCOL_PRI_BT2020
_HD = 720  # rows from which a video without color metadata is ITU-R BT.709, below BT.601


def pixel_aspect(frame: VideoFrame, stream: VideoStream) -> Fraction:
    """Width of a pixel of the upright frame divided by its height."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return 1 / aspect if round(frame.rotation / 90) % 2 else aspect


def pixels(frame: VideoFrame, channels: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """A decoded frame, turned upright: uint8 (H, W, channels), RGB for 3 channels, gray for 1.

    HDR (HLG and PQ) is mapped to the brightness of ordinary video.

    Args:
        frame: the frame.
        channels: 3 or 1.
        reformatter: of ``new_reformatter``, for one thread.

    Raises:
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ConfigError(f"video cannot be read with {channels} channels; use a model with 3 (RGB) or 1 (gray)")
    if getattr(frame, "color_trc", None) in (HLG, PQ):
        image = _map_hdr(frame, channels, reformatter)
    else:
        image = _to_eight_bits(frame, channels, reformatter)
    quarter_turns, mirrored = _transform_of(frame)
    if mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns or mirrored else image


def _transform_of(frame: VideoFrame) -> tuple[int, bool]:
    """Counterclockwise quarter turns to upright, and whether the frame is flipped left to right before them.

    Phones mirror videos of their front camera by the display matrix. PyAV's ``rotation`` is that of a matrix which does
    not mirror: a video flipped left to right would be turned upside down.
    """
    every: Any = frame.side_data
    matrix = next((data for data in every if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return round(frame.rotation / 90) % 4, False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return round(math.atan2(c, d) / (math.pi / 2)) % 4, a * d < b * c


def _to_eight_bits(frame: VideoFrame, channels: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    space = _ITU709 if frame.colorspace == _UNSPECIFIED and frame.height >= _HD else None
    plain = reformatter.reformat(frame, format="rgb24" if channels == 3 else "gray", src_colorspace=space)
    return np.asarray(plain.to_ndarray(), np.uint8).reshape(frame.height, frame.width, channels)


def _map_hdr(frame: VideoFrame, channels: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    coded = np.asarray(reformatter.reformat(frame, format="rgb48le").to_ndarray(), np.uint16)
    image = tone_map(coded, frame.color_trc, wide_gamut=frame.color_primaries == _BT2020)
    if channels == 3:
        return image
    gray: NDArray[np.uint8] = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    return gray
