"""Whether an exported file predicts the same classes here as where it was exported; in NumPy, without torch.

The file's metadata keeps its predictions on three packaged reference images (``ModelInfo.reference``):

    images   SHA-256 of the pixels of the reference images
    shape    of the kept masks: [images, height, width]
    masks    uint8, packed by zlib, in base64
    sha256   of the masks
    backend, processor, instructions   what predicted them; the last is ``processor_fingerprint``
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import isqrt, prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError, OutputError
from segnet.media.images.reading import read_image
from segnet.runtimes.base import FileRuntime, ImageBatch, Runtime
from segnet.system.files import cache_dir, write_json
from segnet.system.hardware import processor, processor_fingerprint

__all__ = [
    "AGREEMENT",
    "Verification",
    "Verify",
    "apply_verification",
    "record_reference",
    "reference_images",
    "verify",
    "verify_first_use",
]

log = logging.getLogger("segnet")

AGREEMENT = 0.999
"""Least share of the pixels with the same class."""

Verify = Literal["first_use", "always", "never"]
"""When to verify: ``first_use`` of an INT8 file on this machine (a warning), ``always`` (an error), ``never``."""

_SAMPLE = Path(__file__).parents[1] / "data" / "sample"
_FILES = ("reference_1.png", "reference_2.png", "reference_3.png")
_KEPT_PIXELS = 360 * 480  # per mask; a mask with more is kept at every second, third, ... row and column


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How far the predictions of an exported file on this machine agree with those at its export.

    Attributes:
        path: the file.
        agreement: share of the pixels with the same class, from 0 to 1.
        images: number of reference images.
        pixels: number of compared pixels, over all images.
    """

    path: Path
    agreement: float
    images: int
    pixels: int

    @property
    def passed(self) -> bool:
        """Whether at least 99.9 % of the pixels have the same class."""
        return self.agreement >= AGREEMENT

    def __str__(self) -> str:
        return (
            f"{self.path}: same classes as where it was exported in {_percent(self.agreement)} of the pixels of "
            f"{self.images} reference images"
        )


def apply_verification(runtime: Runtime, when: Verify) -> None:
    """Verify a model that was just opened, as far as ``when`` asks for it, and log the result.

    Raises:
        ConfigError: ``when`` is unknown.
        ModelError: ``always``, and see ``verify``.
    """
    if when not in get_args(Verify):
        raise ConfigError(f"verify={when!r} is unknown; choose one of {', '.join(get_args(Verify))}")
    if when == "always":
        log.info("segnet: %s", verify(runtime))
    elif when == "first_use":
        verify_first_use(runtime)


def verify(runtime: Runtime) -> Verification:
    """Run the reference images through an exported file, and compare the classes with those at its export.

    Raises:
        ModelError: fewer than 99.9 % of the pixels have the same class; or the model stores no predictions.
    """
    if not isinstance(runtime, FileRuntime):
        raise ModelError(
            f"{runtime.info.name}: runs in PyTorch from its weights, so there is nothing to verify; "
            "only files that 'segnet export' wrote keep reference predictions"
        )
    expected = _expected_masks(runtime)
    predicted = _reference_masks(runtime)
    if predicted.shape != expected.shape:
        raise ModelError(f"{runtime.path}: its reference predictions are of another size; export the model anew")
    same = predicted == expected
    verification = Verification(
        path=runtime.path, agreement=float(same.mean()), images=len(expected), pixels=expected.size
    )
    if not verification.passed:
        raise ModelError(_explanation(runtime, verification))
    return verification


def verify_first_use(runtime: Runtime) -> None:
    """Verify an INT8 file once per machine and library version, and log a warning if it predicts other classes.

    A success is remembered in the cache folder; if that cannot be written, the next use verifies again.
    """
    if not isinstance(runtime, FileRuntime) or runtime.info.precision != "int8" or not runtime.info.reference:
        return
    note = cache_dir() / "verified" / f"{_key(runtime)}.json"
    if _exists(note):
        return
    try:
        verification = verify(runtime)
    except ModelError as error:
        log.warning("segnet: %s", error)
        return
    with suppress(OutputError):
        write_json(note, {"file": runtime.path.name, "backend": runtime.backend, "agreement": verification.agreement})


def record_reference(runtime: FileRuntime) -> dict[str, Any]:
    """Predictions of a file on the reference images, for ``ModelInfo.reference``."""
    masks = _reference_masks(runtime)
    return {
        "images": _images_digest(),
        "shape": list(masks.shape),
        "masks": b64encode(zlib.compress(masks.tobytes(), 9)).decode(),
        "sha256": _digest(masks),
        "backend": runtime.backend,
        "processor": processor(),
        "instructions": processor_fingerprint(),
    }


def reference_images(size: tuple[int, int] | None, channels: int) -> list[ImageBatch]:
    """The packaged reference images, float32 (1, channels, H, W) in [0, 1]; the same bits on every machine.

    Args:
        size: (H, W) to bring them to, by the nearest pixel; None: 120x160, their own.
        channels: red, green and blue in turn, as many as asked for.
    """
    images = []
    for pixels in _packaged():
        height, width = size or pixels.shape[:2]
        rows, columns = (np.arange(n) * own // n for n, own in zip((height, width), pixels.shape[:2], strict=True))
        planes = pixels[rows][:, columns].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        images.append(np.ascontiguousarray(np.resize(planes, (channels, height, width))[None]))
    return images


@cache
def _packaged() -> tuple[NDArray[np.uint8], ...]:
    """Pixels of the reference images, each uint8 (120, 160, 3)."""
    return tuple(read_image(_SAMPLE / name) for name in _FILES)


def _images_digest() -> str:
    return _digest(np.stack(_packaged()))


def _digest(array: NDArray[np.uint8]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _reference_masks(runtime: FileRuntime) -> NDArray[np.uint8]:
    """Classes of the reference images, (images, H, W); of large masks every n-th row and column."""
    info = runtime.info
    masks = np.concatenate([runtime.run(image).mask for image in reference_images(info.size, info.channels)])
    step = isqrt((masks[0].size - 1) // _KEPT_PIXELS) + 1
    return np.ascontiguousarray(masks[:, ::step, ::step])


def _expected_masks(runtime: FileRuntime) -> NDArray[np.uint8]:
    """The masks in the file's metadata.

    Raises:
        ModelError: there are none, they are damaged, or they belong to other images.
    """
    path, record = runtime.path, runtime.info.reference
    if not record:
        raise ModelError(f"{path}: {_absence(runtime)}")
    try:
        shape = tuple(map(int, record["shape"]))
        most = prod(shape) + 1 if min(shape) > 0 else 1  # 0 would mean no limit
        unpacked = zlib.decompressobj().decompress(b64decode(record["masks"]), most)
        masks = np.frombuffer(unpacked, np.uint8).reshape(shape)
        intact = len(shape) == 3 and _digest(masks) == record["sha256"]
    except (LookupError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise ModelError(f"{path}: its reference predictions are damaged ({error}); export the model anew") from error
    if not intact:
        raise ModelError(f"{path}: its reference predictions are damaged; export the model anew")
    if record.get("images") != _images_digest():
        raise ModelError(
            f"{path}: was exported with other reference images, by another version of segnet; export the model anew"
        )
    return masks


def _absence(runtime: FileRuntime) -> str:
    if runtime.info.samples is not None:
        return "draws samples, so its classes differ from run to run and cannot be verified; leave --verify out"
    return "keeps no reference predictions, so it cannot be verified; export the model anew, or leave --verify out"


def _explanation(runtime: FileRuntime, verification: Verification) -> str:
    """One line: what differs, what is the likely cause, and what cures it."""
    return (
        f"{verification.path}: other classes than where it was exported: only {_percent(verification.agreement)} of "
        f"the pixels of {verification.images} reference images are the same, at least {_percent(AGREEMENT)} expected; "
        f"{_likely_cause(runtime)}; export it anew on this machine"
    )


def _likely_cause(runtime: FileRuntime) -> str:
    exported, here = runtime.info.reference, runtime.backend
    same_instructions = exported.get("instructions") == processor_fingerprint()
    if same_instructions and exported.get("backend") == here:
        return "the library and the processor are those of its export, so the file was probably changed since"
    reason = (
        "INT8 rounds differently with another instruction set or library version"
        if runtime.info.precision == "int8"
        else "another library version, device or precision computes differently"
    )
    return (
        f"it was exported with {exported.get('backend')} on {exported.get('processor')} and runs with {here} on "
        f"{processor()}{'' if same_instructions else ' with other instruction sets'}: {reason}"
    )


def _percent(share: float) -> str:
    """Rounded down, so that only a share of 1 reads as 100 %."""
    return f"{int(share * 10_000) / 100:.2f} %"


def _key(runtime: FileRuntime) -> str:
    """Of the file's content, the library and the processor."""
    digests = []
    for file in _files_of(runtime.path):
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    parts = [*digests, runtime.backend, processor_fingerprint()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _files_of(path: Path) -> list[Path]:
    """The file, with OpenVINO's weights beside it, or all files of a package."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that this user may not enter
        return False
