"""Custom encoders: any module that returns a list of maps, and the models of timm.

The contract: ``forward(x)`` takes a normalized image (N, C, H, W) of any size and returns its feature maps,
shallowest first, each (N, C_i, H_i, W_i). Where a map is half as large as the one before it, the decoder unpools with
the positions of the maxima of the larger one; elsewhere it interpolates bilinearly. Odd sides may be rounded up or
down; where down, no window covers the last row or column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.efficientnet import EfficientNetLite0
from segnet.models.encoders import Kept, Skip, fitted, recomputed
from segnet.nn.codes import max_pool
from segnet.nn.modes import in_evaluation
from segnet.system.packages import importing

__all__ = ["Backbone", "timm_backbone"]

# Halved up to six times, rounded up or down each time, some side is odd before each halving, and some side is even.
_PROBES = ((97, 131), (136, 119), (108, 101))

Size = tuple[int, int]


class Backbone(nn.Module):
    """Encoder from a module that returns a list of maps.

    Args:
        body: see the contract above; its own weights are kept.
        in_channels: channels of the image.
        codes: whether the positions of the maxima are kept.

    Attributes:
        channels, pooled_channels: per map but the deepest, its channels, shallowest first.
        deepest_channels: of the deepest map.
        halving: whether every map is half as large as the one before it.
        full_resolution: whether the first map has the image's size; if not, the logits are interpolated in the end.
        save_memory: in training, keep nothing of the body's inside and compute it again.

    Raises:
        ConfigError: the module does not keep to the contract.
    """

    def __init__(self, body: nn.Module, in_channels: int, *, codes: bool) -> None:
        super().__init__()
        self.body = body
        self.codes = codes
        self.save_memory = False
        probes = [_map_shapes(body, in_channels, size) for size in _PROBES]
        sizes = [[shape[1:] for shape in shapes] for shapes in probes]
        self._covers = [_cover([(s[i], s[i + 1]) for s in sizes]) for i in range(len(sizes[0]) - 1)]
        self.halving = all(cover is not None for cover in self._covers)
        self.full_resolution = tuple(s[0] for s in sizes) == _PROBES
        channels = _fixed_channels(probes)
        self.channels = self.pooled_channels = channels[:-1]
        self.deepest_channels = channels[-1]

    def forward(self, x: Tensor, skips: Sequence[Skip]) -> tuple[Tensor, list[Kept]]:
        """From (N, C, H, W) to the deepest map and one ``Kept`` per map above it, shallowest first."""
        *maps, deepest = recomputed(self, self.body, x)
        kept = []
        for features, skip, cover in zip(maps, skips, self._covers, strict=True):
            size = (features.shape[-2], features.shape[-1])
            covered = cover(size) if cover is not None else size
            code = max_pool(fitted(features, covered))[1] if self.codes and cover is not None else None
            kept.append(Kept(code, covered, size, skip(features, features)))
        return deepest, kept


def timm_backbone(name: str, in_channels: int, *, pretrained: bool = False) -> nn.Module:
    """A model of timm that returns its maps (``features_only``).

    Args:
        name: as ``timm.list_models()`` has it, without address or path.
        in_channels: channels of the image.
        pretrained: whether timm is to download its weights.

    Raises:
        ConfigError: timm does not know it, or cannot return its maps.
        MissingPackageError: timm is not installed or does not work.
    """
    with importing("timm", "timm"):
        import timm
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise ConfigError(
            f"timm has no model {name!r}; {'such are ' + ', '.join(near) if near else 'see timm.list_models()'}"
        )
    try:
        body: nn.Module = timm.create_model(name, features_only=True, in_chans=in_channels, pretrained=pretrained)
    except (RuntimeError, AssertionError, AttributeError, TypeError, NotImplementedError) as error:
        raise ConfigError(f"timm's {name} cannot return its feature maps ({error}); take another") from error
    return body


def _map_shapes(body: nn.Module, in_channels: int, size: Size) -> list[tuple[int, int, int]]:
    """Channels and size of each map of an image; a module that knows them is asked, since running it takes time."""
    if isinstance(body, EfficientNetLite0):
        return body.map_shapes(size)
    return [(m.shape[1], m.shape[2], m.shape[3]) for m in _probe(body, in_channels, size)]


def _fixed_channels(probes: Sequence[Sequence[tuple[int, int, int]]]) -> tuple[int, ...]:
    """Channels of each map, which must not depend on the size of the image."""
    channels = {tuple(shape[0] for shape in shapes) for shapes in probes}
    if len(channels) > 1:
        raise ConfigError(
            f"the encoder's maps have {' or '.join(map(str, sorted(channels)))} channels, by the size of the image; "
            "expected maps (N, C, H, W), not (N, H, W, C); permute them, or take another encoder"
        )
    return channels.pop()


def _probe(body: nn.Module, in_channels: int, size: Size) -> list[Tensor]:
    """The maps of an empty image; the module is not changed."""
    first = next(body.parameters(), torch.zeros(1))
    image = torch.zeros(1, in_channels, *size, device=first.device, dtype=first.dtype)
    try:
        # The device is that of tensors which the module makes itself; a model file is read where it is "meta".
        with in_evaluation(body), first.device:
            maps: Any = body(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"the encoder cannot take an image of {size[0]}x{size[1]} with {in_channels} channels ({error}); "
            "it must take any size"
        ) from error
    if not isinstance(maps, list | tuple) or len(maps) < 2 or any(not _is_map(m) for m in maps):
        raise ConfigError("the encoder must return a list of at least two maps (N, C, H, W), shallowest first")
    return list(maps)


def _cover(pairs: Sequence[tuple[Size, Size]]) -> Callable[[Size], Size] | None:
    """Size of the part of a map that the windows of its halving cover; None if it is not halved."""
    if all(deeper == ((size[0] + 1) // 2, (size[1] + 1) // 2) for size, deeper in pairs):
        return _whole
    if all(deeper == (size[0] // 2, size[1] // 2) for size, deeper in pairs):
        return _even
    return None


def _whole(size: Size) -> Size:
    return size


def _even(size: Size) -> Size:
    return size[0] - size[0] % 2, size[1] - size[1] % 2


def _is_map(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()
