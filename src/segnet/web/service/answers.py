"""What a client gets: a mask, an overlay or JSON, by ``?format=`` or the ``Accept`` header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.media.images.writing import encode_image, encode_mask
from segnet.results.coco import annotate, categories
from segnet.results.records import make_record
from segnet.visualization.overlay import finished_view
from segnet.visualization.style import OverlayStyle
from segnet.web.service.refusals import RefusedError

__all__ = ["ANSWERS", "Answer", "AnswerFormat", "choose_answer", "encode_answer"]

AnswerFormat = Literal["mask", "overlay", "json"]
"""Value of ``?format=``."""


@dataclass(frozen=True)
class Answer:
    """What a client gets.

    Attributes:
        format: mask (class values in a palette PNG), overlay, or JSON of class shares and COCO annotations.
        media_type: of the body.
    """

    format: AnswerFormat
    media_type: str


ANSWERS = (
    Answer("mask", "image/png"), Answer("overlay", "image/png"), Answer("overlay", "image/jpeg"),
    Answer("json", "application/json"),
)  # fmt: skip
"""All answers; the first that fits a request is taken."""

_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg"}


def choose_answer(format_name: AnswerFormat | None, accept: str) -> Answer:
    """The answer that a client asks for.

    Args:
        format_name: value of ``?format=``; None: by the ``Accept`` header alone.
        accept: value of the header; empty: anything.

    Raises:
        RefusedError: no answer fits.
    """
    fitting = [answer for answer in ANSWERS if format_name in (None, answer.format)]
    weights = [(_weight(answer.media_type, accept), -number, answer) for number, answer in enumerate(fitting)]
    weight, _, answer = max(weights, key=lambda each: each[:2])
    if not weight:
        kinds = ", ".join(dict.fromkeys(answer.media_type for answer in fitting))
        raise RefusedError(HTTPStatus.NOT_ACCEPTABLE, f"Accept: {accept[:60]!a} fits no answer; there are {kinds}")
    return answer


def _weight(media_type: str, accept: str) -> float:
    """How much a client wants a media type, from 0 (not at all) to 1; the most specific range decides."""
    if not accept.strip():
        return 1.0
    weights: dict[str, float] = {}
    for text in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in text.split(";"))
        weights[kind] = _quality(parameters)
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((weights[kind] for kind in ranges if kind in weights), 0.0)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def encode_answer(answer: Answer, prediction: Prediction, model: str, style: OverlayStyle) -> bytes:
    """The body of an answer; a mask is byte for byte the file of ``segnet predict``.

    Args:
        answer: what is asked for.
        prediction: with its image and class table.
        model: name of the model.
        style: colors and outlines.

    Raises:
        DataError: the image is larger than the format of the answer allows.
    """
    assert prediction.labels is not None
    assert prediction.image is not None
    if answer.format == "mask":
        return encode_mask(prediction.mask, style.colored(prediction.labels))
    if answer.format == "overlay":
        view = finished_view(
            "overlay", prediction.image, prediction.mask, prediction.labels, style, working_size=prediction.working_size
        )
        return encode_image(view, _SUFFIXES[answer.media_type])
    return json.dumps(_describe(prediction, model, style), ensure_ascii=False, separators=(",", ":")).encode()


def _describe(prediction: Prediction, model: str, style: OverlayStyle) -> Mapping[str, Any]:
    assert prediction.labels is not None
    assert prediction.image is not None
    labels = style.colored(prediction.labels)
    record = make_record(SegmentedFrame(prediction.image, prediction), labels)
    return {
        "model": model,
        "width": record["width"],
        "height": record["height"],
        "shares": record["shares"],
        "annotations": annotate(prediction.mask, labels),
        "categories": categories(labels),
    }
