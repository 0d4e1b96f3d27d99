"""From the file of an uploaded image to the bytes of its answer; nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from segnet.bands import Channels, stored_bands
from segnet.errors import SegNetError
from segnet.inference.predictor import Predictor
from segnet.media.images.stored import read_pixels, read_pixels_size
from segnet.visualization.style import OverlayStyle
from segnet.web.service.admission import Admission, PixelBudget
from segnet.web.service.answers import Answer, encode_answer
from segnet.web.service.batching import Batcher
from segnet.web.service.models import ModelSet
from segnet.web.service.refusals import DisconnectedError, RefusedError
from segnet.web.service.settings import ServiceConfig
from segnet.web.service.uploads import FORM, check_upload, extract_part, not_stored, receive

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["InferenceService"]

_Value = TypeVar("_Value")

_THREADS = 2  # that decode images and encode answers
_IMAGES_AHEAD = 2  # of the largest size, that are decoded at once
_STARTS = {b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif", b"\x93NUM": ".npy"}


class InferenceService:
    """Models with their threads, queue and temporary folder.

    Args:
        models: that predict.
        config: limits.
        style: of overlays, and the colors of masks.
        observe: see ``Batcher``.

    Attributes:
        admission: of requests.
        batcher: runs the models.
    """

    def __init__(
        self, models: ModelSet, config: ServiceConfig, style: OverlayStyle,
        observe: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:  # fmt: skip
        self.models = models
        self.config = config
        self.admission = Admission(config.queue)
        self.batcher = Batcher(wait=config.batch_wait / 1000, observe=observe)
        self._style = style
        self._budget = PixelBudget(_IMAGES_AHEAD * config.pixel_limit)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="segnet-image")
        self._folder = _create_folder()

    def close(self) -> None:
        """End the threads when they have finished, and remove the temporary folder."""
        self.batcher.close()
        self._threads.shutdown()
        self._folder.cleanup()

    async def answer(self, request: Request, model: str | None, answer: Answer) -> bytes:
        """Receive the image of a request, and predict it.

        Raises:
            RefusedError: with the status code and the reason.
            DisconnectedError: the client went away.
        """
        name, predictor = self.models.find(model)
        check_upload(request, self.config.body_limit)
        with self._request_folder() as folder:
            body = Path(folder) / "body"
            with self.admission.upload():
                await receive(request, body, limit=self.config.body_limit, seconds=self.config.timeout)
            with self.admission.place():
                content_type = request.headers.get("content-type", "")
                return await self._watched(request, self._predict(body, content_type, name, predictor, answer))

    def _request_folder(self) -> TemporaryDirectory[str]:
        """A folder in that of the service, which is created again if a cleaner of temporary files removed it.

        Raises:
            RefusedError: it cannot be created.
        """
        try:
            if not Path(self._folder.name).exists():
                self._folder.cleanup()
                self._folder = _create_folder()
            return TemporaryDirectory(dir=self._folder.name, ignore_cleanup_errors=True)
        except OSError as error:
            raise not_stored(error) from error

    async def _watched(self, request: Request, work: Awaitable[bytes]) -> bytes:
        """The result of the work, unless the client goes away or the time is over."""
        working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((working, gone), timeout=self.config.timeout, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if gone.done():
                raise DisconnectedError
            raise RefusedError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"the image was not predicted within {self.config.timeout:g} seconds; try again, or send a smaller one",
                retry_after=1,
            )
        finally:
            gone.cancel()
            working.cancel()
            await asyncio.wait((working,))  # the place is free when the batcher knows that nobody waits

    async def _predict(self, body: Path, content_type: str, name: str, predictor: Predictor, answer: Answer) -> bytes:
        file = body
        if content_type.lower().startswith(FORM):
            file = body.with_name("part")
            await self._in_thread(extract_part, body, content_type, file)
        file, pixels = await self._in_thread(_inspect, file, predictor.channels, self.config.pixel_limit)
        async with self._budget.holding(pixels):
            try:
                with self.batcher.announcing():  # until it waits, so that its batch does not start without it
                    decoded = await self._in_thread(read_pixels, file, predictor.channels)
                    predicting = self.batcher.submit(predictor, decoded)
                del decoded
                prediction = await asyncio.wrap_future(predicting)
                return await self._in_thread(encode_answer, answer, prediction, name, self._style)
            except SegNetError as error:
                raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, _without_path(error, file)) from error

    async def _in_thread(self, function: Callable[..., _Value], *arguments: Any) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _create_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="segnet-serve-", ignore_cleanup_errors=True)


async def _disconnected(request: Request) -> None:
    """Wait until the client closes its connection; its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _inspect(image: Path, channels: Channels, limit: int) -> tuple[Path, int]:
    """The file under a name that fits its content, and the number of its pixels, by its header.

    Raises:
        RefusedError: it is no image, or has more than ``limit`` pixels.
    """
    if stored_bands(channels) is not None:  # only these are read by their suffix
        with image.open("rb") as file:
            image = image.rename(image.with_suffix(_STARTS.get(file.read(4), "")))
    if (size := read_pixels_size(image)) is None:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body is not an image that can be read; send PNG, JPEG, BMP, GIF, PPM, TIFF, WebP, AVIF or JPEG 2000",
        )
    if (pixels := size[0] * size[1]) > limit:
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the image has {size[1]} x {size[0]} pixels, and at most {limit:,} are taken; send a smaller one",
        )
    return image, pixels


def _without_path(error: Exception, path: Path) -> str:
    """The reason without the name of the temporary file, which means nothing to a client."""
    return str(error).replace(str(path), "the image")
