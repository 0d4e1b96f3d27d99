"""The page: what stands where, and what happens on which click."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError, SegNetError, one_line
from segnet.inference.inputs import ImageSource
from segnet.inference.video import segment_video
from segnet.media.video.settings import VideoConfig
from segnet.visualization.style import OverlayStyle
from segnet.web.demo.library import import_gradio
from segnet.web.demo.models import UPLOADABLE, Models
from segnet.web.demo.results import (
    Segmentation,
    class_table,
    confidence_map,
    draw_overlay,
    uncertainty_map,
    write_downloads,
)

__all__ = ["build_page"]

_TITLE = "SegNet: the class of every pixel"
_INTRODUCTION = (
    f"# {_TITLE}\nDrop an image, use the camera or give a video. The model runs on the computer that serves this page, "
    "and nothing is sent elsewhere."
)
_HEIGHT = 420
_MOST_SAMPLES = 40
_SECONDS = 10.0
_SHOWN_AS = "png"  # Gradio's own choice, WebP, takes up to 16,383 pixels on a side
_KEPT = 24 * 60 * 60  # seconds; Gradio's copies of older visits are removed, and all files when the demo ends
_FOLDERS = 32  # more than visitors whose files Gradio copies at one time
_CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}  # most models would downscale more
_CAMERAS = 8  # a camera holds its place as long as it runs
_PRIVATE = {"api_visibility": "private"}


class _Controls(NamedTuple):
    """What all tabs share, as components of Gradio: model, number of samples, opacity."""

    model: Any
    samples: Any
    opacity: Any


def build_page(models: Models, examples: Sequence[Path], folder: Path) -> Any:
    """The page as ``gradio.Blocks``, not yet running.

    Args:
        models: that the visitor chooses of.
        examples: image files.
        folder: of files to download; it should be removed in the end.

    Raises:
        MissingPackageError: Gradio is not installed.
    """
    gr = import_gradio()
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, _KEPT)) as page:
        gr.Markdown(_INTRODUCTION)
        controls = _add_controls(gr, models)
        with gr.Tab("Image"):
            _add_images(gr, models, controls, examples, _Folders(folder))
        with gr.Tab("Camera"):
            _add_camera(gr, models, controls)
        with gr.Tab("Video"):
            _add_videos(gr, models, controls, _Folders(folder))
    return page


class _Folders:
    """Folders of files that Gradio copies before it shows them, so that only the last few are needed.

    Args:
        parent: where they are made.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._made: deque[Path] = deque()

    def make(self) -> Path:
        """Make a folder, and remove one that is old."""
        self._made.append(folder := Path(mkdtemp(dir=self._parent)))
        if len(self._made) > _FOLDERS:
            rmtree(self._made.popleft(), ignore_errors=True)
        return folder


def _add_controls(gr: Any, models: Models) -> _Controls:
    with gr.Row(equal_height=True, elem_id="controls"):
        model = gr.Dropdown(list(models.names), label="Model", min_width=220, elem_id="model")
        upload = gr.UploadButton(
            "Use your own model file", file_types=list(UPLOADABLE), min_width=240, scale=0, size="md", elem_id="upload"
        )
        opacity = _slider(
            gr, 0, 1, 0.5, step=0.05, label="Opacity of the class colors", min_width=220, elem_id="opacity"
        )
        with gr.Column(min_width=220, visible=_has_dropout(models, models.names[0])) as sampling:
            samples = _slider(
                gr, 0, _MOST_SAMPLES, 0, step=4, precision=0, label="Monte Carlo dropout samples (0: off)",
                elem_id="samples",
            )  # fmt: skip

    @_reporting(gr)
    def add(file: str) -> Any:
        models.add(Path(file))
        choices = [*((name, name) for name in models.names), (Path(file).name, file)]
        return gr.Dropdown(choices=choices, value=file)

    @_reporting(gr)
    def show_samples(name: str) -> Any:
        return gr.Column(visible=_has_dropout(models, name))  # a new slider would have Gradio's own ``preprocess``

    upload.upload(add, upload, model, **_PRIVATE)
    model.change(show_samples, model, sampling, **_PRIVATE)
    return _Controls(model, samples, opacity)


def _slider(gr: Any, low: float, high: float, value: float, **shown: Any) -> Any:
    """A slider whose number field may be empty or beyond the ends while somebody types: the nearest value counts."""
    slider = gr.Slider(low, high, value, **shown)
    convert = slider.preprocess
    slider.preprocess = lambda given: convert(low if given is None else min(max(given, low), high))
    return slider


def _add_images(gr: Any, models: Models, controls: _Controls, examples: Sequence[Path], folders: _Folders) -> None:
    with gr.Row():
        with gr.Column(min_width=300):
            image = gr.Image(
                type="filepath", image_mode=None, sources=["upload", "clipboard"], label="Image", height=_HEIGHT,
                buttons=["fullscreen"], elem_id="image",
            )  # fmt: skip
            image.preprocess = _uploaded  # a subclass would make Gradio write a file beside this module
            gr.Examples([[str(path)] for path in examples], image, label="Synthetic scenes", cache_examples=False)
        with gr.Column(min_width=300):
            results = _add_results(gr)
    state = gr.State(None, time_to_live=_KEPT)

    @_reporting(gr)
    def segment(source: str | None, name: str, samples: int, opacity: float) -> tuple[Any, ...]:
        if source is None:
            return clear()
        result = _segment(models, name, samples, Path(source))
        shown = _shown(gr, result, opacity, folders.make())
        return result, *shown, confidence_map(result), uncertainty_map(result), class_table(result)

    def clear() -> tuple[Any, ...]:
        return (None, None, None, *_files(gr, None, None), None, None, "")

    @_reporting(gr)
    def redraw(result: Segmentation | None, opacity: float) -> tuple[Any, ...]:
        if result is None:
            return (None, None, *_files(gr, None, None))
        return _shown(gr, result, opacity, folders.make())

    segmented = gr.on(
        [image.change, controls.model.change, controls.samples.change], segment, [image, *controls],
        [state, *results], trigger_mode="always_last", **_PRIVATE,
    )  # fmt: skip
    segmented.failure(clear, None, [state, *results], **_PRIVATE)  # no result of another image stays beside this one
    controls.opacity.change(
        redraw, [state, controls.opacity], results[:4], trigger_mode="always_last", show_progress="hidden",
        **_PRIVATE,
    )  # fmt: skip


def _add_results(gr: Any) -> list[Any]:
    """Overlay, slider, mask file, overlay file; confidence, uncertainty, class table."""
    shown = {
        "interactive": False, "height": _HEIGHT, "buttons": ["fullscreen"], "show_label": False, "format": _SHOWN_AS,
    }  # fmt: skip
    with gr.Tab("Overlay"):
        overlay = gr.Image(**shown, elem_id="overlay")
    with gr.Tab("Before and after"):
        both = gr.ImageSlider(**shown, max_height=_HEIGHT, elem_id="both")
    with gr.Tab("Confidence"):
        confidence = gr.Image(**shown, elem_id="confidence")
    with gr.Tab("Uncertainty"):
        uncertainty = gr.Image(**shown, elem_id="uncertainty")
    table = gr.HTML(elem_id="classes")
    button = {"interactive": False, "min_width": 140, "size": "md"}
    with gr.Row():
        mask_file = gr.DownloadButton("Save mask", **button, elem_id="save-mask")
        overlay_file = gr.DownloadButton("Save overlay", **button, elem_id="save-overlay")
    return [overlay, both, mask_file, overlay_file, confidence, uncertainty, table]


def _add_camera(gr: Any, models: Models, controls: _Controls) -> None:
    with gr.Row():
        with gr.Column(min_width=300):
            camera = gr.Image(
                sources=["webcam"], streaming=True, label="Camera", height=_HEIGHT,
                webcam_options=gr.WebcamOptions(mirror=False, constraints=_CAMERA), elem_id="camera",
            )  # fmt: skip
        with gr.Column(min_width=300):
            live = gr.Image(interactive=False, label="Overlay", height=_HEIGHT, buttons=["fullscreen"], elem_id="live")
            table = gr.HTML(elem_id="live-classes")

    @_reporting(gr)
    def segment(frame: NDArray[np.uint8] | None, name: str, samples: int, opacity: float) -> tuple[Any, ...]:
        if frame is None:
            return None, ""
        result = _segment(models, name, samples, frame)
        return draw_overlay(result, opacity), class_table(result)

    camera.stream(
        segment, [camera, *controls], [live, table], stream_every=0.1, concurrency_limit=_CAMERAS,
        show_progress="hidden", **_PRIVATE,
    )  # fmt: skip


def _add_videos(gr: Any, models: Models, controls: _Controls, folders: _Folders) -> None:
    with gr.Row():
        with gr.Column(min_width=300):
            video = gr.Video(sources=["upload"], label="Video", height=_HEIGHT, elem_id="video")
            seconds = _slider(gr, 1, 60, _SECONDS, step=1, label="Seconds that are segmented", elem_id="seconds")
            smoothing = _slider(gr, 0, 0.9, 0, step=0.1, label="Temporal smoothing (0: off)", elem_id="smoothing")
            start = gr.Button("Segment the video", variant="primary", size="md", elem_id="start")
        with gr.Column(min_width=300):
            segmented = gr.Video(interactive=False, label="Overlay", height=_HEIGHT, elem_id="segmented")
            report = gr.Markdown(elem_id="report")

    @_reporting(gr)
    def segment(
        source: str | None, seconds: float, smoothing: float, name: str, samples: int, opacity: float
    ) -> tuple[Any, ...]:
        if source is None:
            raise DataError("no video is given; drop one first")
        out = folders.make() / f"{Path(source).stem}-overlay.mp4"
        predictor = models.open_own(name, samples)  # images are segmented meanwhile
        done = segment_video(
            predictor, source, out, style=OverlayStyle(opacity=opacity),
            config=VideoConfig(end=seconds, smoothing=smoothing),
        )  # fmt: skip
        return str(out), f"{done.frames} frames in {done.seconds:.1f} s, {done.rate:.1f} frames/s"

    started = start.click(segment, [video, seconds, smoothing, *controls], [segmented, report], **_PRIVATE)
    started.failure(lambda: (None, ""), None, [segmented, report], **_PRIVATE)  # as for images


def _segment(models: Models, model: str, samples: int, source: ImageSource) -> Segmentation:
    predictor = models.open(model, samples)
    with models.turn:
        started = time.perf_counter()
        prediction = predictor(source)
        took = 1000 * (time.perf_counter() - started)
    info = predictor.runtime.info
    name = source.stem if isinstance(source, Path) else "camera"
    return Segmentation(prediction, info.name, took, predictor.measure, info.samples or 0, name)


def _shown(gr: Any, result: Segmentation, opacity: float, folder: Path) -> tuple[Any, ...]:
    """What depends on the opacity: overlay, the two sides of the slider, mask file, overlay file."""
    overlay = draw_overlay(result, opacity)
    files = write_downloads(result, folder, opacity)
    return overlay, (result.image, overlay), *_files(gr, *files)


def _files(gr: Any, *paths: Path | None) -> tuple[Any, ...]:
    """The buttons for downloads, which work only if there is a file."""
    return tuple(gr.DownloadButton(value=path and str(path), interactive=path is not None) for path in paths)


def _has_dropout(models: Models, name: str) -> bool:
    return models.open(name).runtime.has_dropout


def _reporting(gr: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Shows user errors on the page, in one line that names files without their folders."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*values: Any) -> Any:
            try:
                return function(*values)
            except SegNetError as error:
                raise gr.Error(_public(one_line(error), values), duration=None, print_exception=False) from error

        return call

    return decorate


def _public(text: str, values: Sequence[Any]) -> str:
    for value in values:
        if isinstance(value, str) and Path(value).is_absolute():
            text = text.replace(value, Path(value).name)
    return text


def _uploaded(payload: Any) -> str | None:
    """The path of the file as it was uploaded, so that it is read as ``segnet predict`` reads it."""
    return None if payload is None or payload.path is None else str(payload.path)
