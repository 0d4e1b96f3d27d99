"""segnet serve: an HTTP service that segments images."""

from __future__ import annotations

from collections import Counter
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.flags import Precision, ResizeFlags
from segnet.errors import ConfigError
from segnet.inference.tiling import TileConfig
from segnet.system.packages import importing
from segnet.visualization.style import OverlayStyle
from segnet.web.service.settings import ServiceConfig

if TYPE_CHECKING:
    from segnet.inference.predictor import Predictor

__all__ = ["run"]

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "pycocotools")


def run(
    *model: str,
    service: ServiceConfig = ServiceConfig(),  # noqa: B008
    device: str = "auto",
    precision: Precision = "float32",
    threads: int = 0,
    verify: bool = False,
    resize: ResizeFlags = ResizeFlags(),  # noqa: B008
    tiles: TileConfig = TileConfig(),  # noqa: B008
    style: OverlayStyle = OverlayStyle(),  # noqa: B008
) -> int:
    """Answer HTTP requests with predictions: POST an image to /v1/segment, get its mask, overlay or class shares.

    Args:
        *model: Model files of any kind, or bundled models. A request names one by its file name without suffix, or
            with it where two differ in nothing else; the first is the default. Default: the bundled segnet_light.
        service: address and limits.
        device: Device of PyTorch models: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
        precision: Precision of computation. bf16 is faster on processors with bfloat16 arithmetic, and slightly less
            exact. auto measures which is faster.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
        verify: Check first, on packaged reference images, that exported files predict the same classes here as where
            they were exported.
        resize: working size.
        tiles: tiles.
        style: colors and outlines.
    """
    for package in _PACKAGES:
        with importing(package, "serve"):
            import_module(package)
    openers = {
        name: partial(
            _open, source, device=device, precision=precision, threads=threads, verify=verify, resize=resize,
            tiles=tiles,
        )
        for name, source in _names(model or ("segnet_light",)).items()
    }  # fmt: skip
    from segnet.web.service.server import serve

    return serve(openers, service, style)


def _names(models: tuple[str, ...]) -> dict[str, str]:
    """The models by the name that a request gives: a file's name, without its suffix where that is enough."""
    stems = Counter(Path(source).stem for source in models)
    names = {Path(source).stem if stems[Path(source).stem] == 1 else Path(source).name: source for source in models}
    if len(names) < len(models):
        raise ConfigError(
            f"two of {', '.join(models)} have one name; rename a file, so that requests can tell them apart"
        )
    return names


def _open(
    source: str, *, device: str, precision: str, threads: int, verify: bool, resize: ResizeFlags, tiles: TileConfig
) -> Predictor:
    from segnet.inference.predictor import Predictor

    return Predictor.load(
        source, device=device, precision=precision, threads=threads, verify="always" if verify else "first_use",
        max_size=resize.limit, image_scale=resize.image_scale, tiles=tiles,
    )  # fmt: skip
