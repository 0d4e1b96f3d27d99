"""Draw the images of docs/explanation; every number in them comes out of ``segnet.nn.codes`` and ``segnet.models``.

    python tools/draw_codes.py

The drawings have a background of their own and follow the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segnet.models.efficientnet import CHANNELS
from segnet.models.squeezenet import squeezenet_channels
from segnet.models.zoo import MODELS
from segnet.nn.codes import max_pool, max_unpool

FOLDER = Path(__file__).parents[1] / "docs" / "explanation"

# Okabe and Ito's colors, one per position; black text can be read on each.
POSITION_COLORS = ("#56b4e9", "#e69f00", "#3fbf95", "#d98cba")

STYLE = """
.card{fill:#ffffff;stroke:#c8ccd2} text{font-family:sans-serif;font-size:14px;fill:#1b1f24}
.small{font-size:12px} .mono{font-family:monospace;font-size:14px} .on{fill:#101418} .mid{text-anchor:middle}
.cell{fill:#eef0f3;stroke:#8a929c} .line{stroke:#57606a;stroke-width:1.5;fill:none} .head{fill:#57606a}
.ink{fill:#1b1f24;stroke:#8a929c} .box{fill:#dbe7f3;stroke:#57606a} .c{stroke:#57606a}
"""
DARK = """
.card{fill:#161b22;stroke:#3d444d} text{fill:#e6e9ed} .on{fill:#101418} .cell{fill:#262c35;stroke:#6b7480}
.line{stroke:#a9b2bd} .head{fill:#a9b2bd} .ink{fill:#e6e9ed;stroke:#6b7480} .box{fill:#24384d;stroke:#a9b2bd}
"""


def drawings() -> dict[str, str]:
    """File name -> SVG."""
    return {
        "codes.svg": codes(),
        "boundaries.svg": boundaries(),
        "bytes.svg": code_bytes(),
        "network.svg": network(),
        "segnet-light.svg": small_network(
            "segnet_light", "EfficientNet-Lite0", CHANNELS, down="strided blocks, codes of the windows", deep=""
        ),
        "segnet-squeezenet.svg": small_network(
            "segnet_squeezenet",
            "SqueezeNet 1.1",
            (*squeezenet_channels(2), squeezenet_channels(2)[-1]),
            down="2×2 max-pooling",
            deep=", with context around it",
        ),
    }


def codes() -> str:
    """One 4x4 map, pooled and unpooled."""
    x = torch.tensor([[2, 7, 1, 3], [4, 5, 0, 9], [8, 6, 2, 1], [3, 0, 4, 2]]).float()
    values, positions = _pool(x)
    restored = max_unpool(values, max_pool(x[None, None])[1], (4, 4))[0, 0]
    parts = [_grid(24, 62, x, _winners(positions)), _grid(300, 36, values[0, 0], positions)]
    parts += [_grid(300, 156, positions, positions, mono=True), _grid(576, 62, restored, _winners(positions))]
    parts += [_text(96, 48, "map"), _text(336, 26, "values"), _text(336, 146, "code"), _text(648, 48, "unpooled map")]
    parts += [_arrow(180, 110, 288, 78), _arrow(180, 150, 288, 186), _text(232, 136, "max_pool", "small mid")]
    parts += [_arrow(386, 78, 564, 110), _arrow(386, 186, 564, 150)]
    parts += [_text(484, 74, "deeper layers", "small mid"), _text(478, 206, "2 bits a window", "small mid")]
    parts += [_text(478, 136, "max_unpool", "small mid")]
    for position, name in enumerate(("upper left", "upper right", "lower left", "lower right")):
        left = 40 + 180 * position
        parts.append(_cell(left, 248, 20, POSITION_COLORS[position], str(position), "small on mid"))
        parts.append(_text(left + 28, 263, f"{position:02b}  {name}", "small"))
    return _svg(744, 286, "Pooling keeps a value and a two-bit position of each window; unpooling puts it back", parts)


def boundaries() -> str:
    """A thin slanted line, pooled once, brought back by repetition and by codes."""
    x = torch.zeros(8, 8)
    for row, column in enumerate((6, 5, 5, 4, 3, 3, 2, 1)):
        x[row, column] = 1
    values, code = max_pool(x[None, None])
    repeated = values[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    restored = max_unpool(values, code, (8, 8))[0, 0]
    panels = [("a line in a map", x), ("pooled", values[0, 0])]
    panels += [("enlarged by repetition", repeated), ("unpooled with codes", restored)]
    side, parts = 18, []
    for number, (name, panel) in enumerate(panels):
        width = panel.shape[1] * side
        left = 24 + 184 * number + (144 - width) // 2
        top = 44 + (144 - width) // 2
        parts.append(_text(96 + 184 * number, 30, name))
        for row, line in enumerate(panel.tolist()):
            for column, value in enumerate(line):
                parts.append(_square(left + column * side, top + row * side, side, "ink" if value else "cell"))
    return _svg(744, 208, "Codes put a thin line back on its own pixels; repetition makes it twice as wide", parts)


def code_bytes() -> str:
    """Twelve positions in three bytes."""
    x = torch.rand(6, 8, generator=torch.Generator().manual_seed(5))
    positions = _pool(x)[1]
    code = max_pool(x[None, None])[1][0, 0].tolist()
    flat = [int(value) for value in positions.flatten()]
    quarter = len(code)
    parts = [_text(24, 30, "positions of 12 windows, in raster order", "")]
    for index, position in enumerate(flat):
        left = 24 + 56 * index + 8 * (index // quarter)
        parts.append(_cell(left, 44, 48, POSITION_COLORS[position], f"{position:02b}", "mono on mid"))
        parts.append(_text(left + 24, 110, str(index), "small mid"))
    for part in range(4):
        left = 24 + part * (56 * quarter + 8)
        parts.append(f'<path class="line" d="M{left} 118h{56 * quarter - 8}"/>')
        parts.append(_text(left + 28 * quarter - 4, 136, f"quarter {part}", "small mid"))
    for byte, value in enumerate(code):
        left = 24 + 240 * byte
        parts.append(_text(left, 172, f"byte {byte} = {value}", "mono"))
        for field in range(4):
            index = byte + (3 - field) * quarter
            color = POSITION_COLORS[flat[index]]
            parts.append(_cell(left + 52 * field, 184, 52, color, f"{flat[index]:02b}", "mono on mid", height=36))
            parts.append(_text(left + 26 + 52 * field, 238, str(index), "small mid"))
    legend = "high bits at the left, low bits at the right; below each field the window it is of"
    parts.append(_text(24, 262, legend, "small"))
    return _svg(744, 280, "Twelve two-bit positions lie in three bytes, one of each quarter per byte", parts)


def network() -> str:
    """VGG16-SegNet at 360x480: sizes, and what goes from the encoder to the decoder."""
    height, width = 360, 480
    stages = MODELS["segnet"].encoder.widths
    parts = [_text(170, 30, "encoder"), _text(574, 30, "decoder"), _text(372, 30, "code")]
    for level, stage in enumerate(stages):
        top, indent = 44 + 52 * level, 22 * level
        h, w = (height + 1) // 2, (width + 1) // 2
        size = stage[-1] * ((h * w + 3) // 4)
        label = f"{height} × {width} × {stage[-1]}"
        parts.append(f'<rect class="box" x="{40 + indent}" y="{top}" width="{260 - indent}" height="34" rx="4"/>')
        parts.append(f'<rect class="box" x="444" y="{top}" width="{260 - indent}" height="34" rx="4"/>')
        parts.append(_text(170 + indent / 2, top + 22, label))
        parts.append(_text(574 - indent / 2, top + 22, f"{height} × {width}"))
        parts.append(_arrow(304, top + 24, 438, top + 24))
        parts.append(_text(371, top + 17, f"{size:,} bytes", "small mid"))
        height, width = h, w
    parts.append('<rect class="box" x="150" y="304" width="444" height="34" rx="4"/>')
    parts.append(_text(372, 326, f"{height} × {width} × {stages[-1][-1]}"))
    for level in range(len(stages)):
        x = 150 + 22 * level if level < 4 else 238
        top = 44 + 52 * level
        parts.append(_arrow(x, top + 35, x, top + 51))
        parts.append(_arrow(744 - x, top + 51, 744 - x, top + 35))
    return _svg(744, 358, "Between encoder and decoder only the codes and the deepest map are passed on", parts)


def small_network(name: str, encoder: str, channels: Sequence[int], *, down: str, deep: str) -> str:
    """A small network at 360x480: sizes, and what goes from the encoder to the decoder.

    ``channels`` are those of the encoder's maps, the deepest included.
    """
    height, width = 180, 240
    decoder = MODELS[name].decoder
    kept = " and map" if decoder.addition == "maps" else ""
    parts = [_text(170, 28, f"encoder: {encoder}"), _text(574, 28, "decoder")]
    parts.append('<rect class="cell" x="40" y="42" width="260" height="34" rx="4"/>')
    parts.append('<rect class="cell" x="444" y="42" width="260" height="34" rx="4"/>')
    parts.append(_text(170, 64, "convolution, stride 2") + _text(574, 64, "classes, upsampled bilinearly"))
    for level, (wide, widths) in enumerate(zip(channels[:-1], reversed(decoder.widths), strict=True)):
        top, indent = 98 + 54 * level, 22 * (level + 1)
        parts.append(f'<rect class="box" x="{40 + indent}" y="{top}" width="{260 - indent}" height="34" rx="4"/>')
        parts.append(f'<rect class="box" x="444" y="{top}" width="{260 - indent}" height="34" rx="4"/>')
        parts.append(_text(170 + indent / 2, top + 22, f"{height} × {width} × {wide}"))
        parts.append(_text(574 - indent / 2, top + 22, f"{height} × {width} × {widths[-1]}"))
        parts.append(_arrow(304, top + 22, 438, top + 22) + _text(371, top + 15, f"code{kept}", "small mid"))
        x = 50 + indent
        parts.append(_arrow(x, top - 20, x, top - 2) + _arrow(744 - x, top - 2, 744 - x, top - 20))
        height, width = (height + 1) // 2, (width + 1) // 2
    top = 98 + 54 * (len(channels) - 1)
    parts.append(f'<rect class="box" x="150" y="{top}" width="444" height="34" rx="4"/>')
    parts.append(_text(372, top + 22, f"{height} × {width} × {channels[-1]}{deep}"))
    parts.append(_arrow(160, top - 20, 160, top - 2) + _arrow(584, top - 2, 584, top - 20))
    legend = f"between blue boxes: down {down}; up unpooling; a 1×1 convolution brings a map to the decoder"
    parts.append(_text(372, top + 58, legend, "small mid"))
    title = f"{name}: {encoder}, and a decoder that unpools with codes and adds the encoder's maps"
    return _svg(744, top + 76, title, parts)


def _pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Values (1, 1, h, w) and, unpacked here on its own, the position of each maximum (h, w)."""
    values, _ = max_pool(x[None, None])
    corners = torch.stack([x[row::2, column::2] for row in (0, 1) for column in (0, 1)])
    return values, corners.argmax(0)


def _winners(positions: Tensor) -> Tensor:
    """(2h, 2w): the position where the maximum was, -1 elsewhere."""
    found = torch.full((positions.shape[0] * 2, positions.shape[1] * 2), -1)
    for row, line in enumerate(positions.tolist()):
        for column, position in enumerate(line):
            found[2 * row + position // 2, 2 * column + position % 2] = position
    return found


def _grid(left: int, top: int, numbers: Tensor, positions: Tensor, *, mono: bool = False) -> str:
    side, cells = 36, []
    for row, line in enumerate(numbers.tolist()):
        for column, number in enumerate(line):
            position = int(positions[row, column])
            text = f"{int(number):02b}" if mono else f"{number:g}"
            color = POSITION_COLORS[position] if position >= 0 else ""
            kind = ("mono " if mono else "") + ("on mid" if color else "mid")
            cells.append(_cell(left + column * side, top + row * side, side, color, text, kind))
    return "".join(cells)


def _cell(left: float, top: float, side: int, color: str, text: str, kind: str, *, height: int | None = None) -> str:
    height = height or side
    look = f'class="c" fill="{color}"' if color else 'class="cell"'
    box = f'<rect {look} x="{left}" y="{top}" width="{side}" height="{height}"/>'
    return box + _text(left + side / 2, top + height / 2 + 5, text, kind)


def _square(left: float, top: float, side: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{side}" height="{side}"/>'


def _text(x: float, y: float, text: str, kind: str = "mid") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{text}</text>'


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """A line with a head, drawn without markers, which some renderers lack."""
    length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
    along, across = ((to_x - x) / length, (to_y - y) / length), ((y - to_y) / length, (to_x - x) / length)
    base = (to_x - 8 * along[0], to_y - 8 * along[1])
    wings = [(base[0] + side * across[0], base[1] + side * across[1]) for side in (-4, 4)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in ((to_x, to_y), *wings))
    shaft = f'<path class="line" d="M{x:.1f} {y:.1f}L{base[0]:.1f} {base[1]:.1f}"/>'
    return shaft + f'<polygon class="head" points="{points}"/>'


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>{title}</title>\n<style>{STYLE}@media (prefers-color-scheme:dark){{{DARK}}}</style>\n'
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def main() -> None:
    for name, svg in drawings().items():
        (FOLDER / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
