from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segnet.media.video.hdr import HLG, PQ, tone_map
from segnet.media.video.reading import open_clip

# Signals of BT.2408: black, a gray card (18 %) in HLG and PQ, reference white, and the peak.
SIGNALS = {HLG: (0.0, 0.38, 0.75, 1.0), PQ: (0.0, 0.38, 0.58, 0.7518)}


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_gray_becomes_as_bright_as_in_ordinary_video(transfer: int) -> None:
    coded = np.array([SIGNALS[transfer]] * 3).T[None] * 65535
    mapped = tone_map(coded.astype(np.uint16), transfer)
    assert mapped.shape == (1, 4, 3)
    assert np.ptp(mapped.astype(int), axis=2).max() <= 1  # gray stays gray
    black, gray, white, peak = mapped[0, :, 1].tolist()
    assert black == 0
    assert 95 <= gray <= 125
    assert 215 <= white <= 235
    assert peak >= 250


def test_brighter_is_never_darker_and_colors_keep_their_order() -> None:
    ramp = np.arange(65536, dtype=np.uint16)[None, :, None].repeat(3, axis=2)
    for transfer in (HLG, PQ):
        assert (np.diff(tone_map(ramp, transfer).astype(int), axis=1) >= 0).all()
    red = np.array([[[40000, 20000, 20000]]], dtype=np.uint16)
    narrow, wide = (tone_map(red, HLG, wide_gamut=gamut)[0, 0].astype(int) for gamut in (False, True))
    assert wide[0] - wide[1] > narrow[0] - narrow[1] > 0


def hdr_clip(path: Path, transfer: int, signal: float) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace, stream.codec_context.color_range = 9, 1
        frame = av.VideoFrame(32, 24, "yuv420p10le")
        for plane, value in zip(frame.planes, (round(64 + 876 * signal), 512, 512), strict=True):
            plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("transfer", [HLG, PQ, 1])
def test_hdr_video_is_tone_mapped_and_other_video_is_not(tmp_path: Path, transfer: int, channels: int) -> None:
    path = hdr_clip(tmp_path / "a.mkv", transfer, SIGNALS.get(transfer, (0, 0, 0.75))[2])
    (frame,) = open_clip(path).read(channels=channels)
    assert frame.image.shape == (24, 32, channels)
    expected = range(215, 236) if transfer != 1 else range(188, 194)  # 0.75 * 255
    assert int(frame.image.min()) in expected
    assert int(frame.image.max()) in expected
