"""segnet predict: predicts masks, overlays and records of images and videos."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segnet.cli.flags import ModelFlags, ResizeFlags
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.media.video.settings import VideoConfig
from segnet.media.video.sources import VideoSource, find_videos
from segnet.visualization.style import OverlayStyle

if TYPE_CHECKING:
    from segnet.labels import ClassTable
    from segnet.results.images import Tally
    from segnet.results.jobs import Job
    from segnet.runtimes.model_info import ModelInfo

__all__ = ["run"]

log = logging.getLogger("segnet")

_SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "street.jpg"

Kind = Literal["mask", "overlay", "color", "confidence", "uncertainty", "side", "coco", "polygons"]


def run(
    *source: str,
    model: ModelFlags = ModelFlags(),  # noqa: B008
    resize: ResizeFlags = ResizeFlags(),  # noqa: B008
    tiles: TileConfig = TileConfig(),  # noqa: B008
    out: Path = Path("predictions"),
    save: tuple[Kind, ...] | None = None,
    records: Path | None = None,
    json: Path | None = None,
    measure: Literal["variance", "entropy", "mutual_information"] | None = None,
    style: OverlayStyle = OverlayStyle(),  # noqa: B008
    video: VideoConfig = VideoConfig(),  # noqa: B008
    tta: TTAConfig = TTAConfig(),  # noqa: B008
    timing: bool = False,
) -> int:
    """Predict masks of images and videos. OUT gets one folder per kind of result, with the names of the images.

    Args:
        *source: Images, folders or globs; or videos, numbered images (frames/%06d.jpg), the number of a camera, the
            address of a stream, a named pipe, or - for standard input. Default: the packaged sample image.
        model: the model.
        resize: working size.
        tiles: tiles.
        out: Folder of the results; for one video also the name of a video file: .mp4, .m4v, .mov, .mkv, .webm or .gif.
        save: Kinds of results. mask is a palette PNG of class indices, overlay has a legend, side is the image beside
            its overlay, confidence and uncertainty are 16-bit PNGs and colored images, coco and polygons are COCO
            files. overlay, color and side of a video are video files. Default: mask,overlay for images, overlay for
            videos.
        records: Path of a .jsonl or .csv file that gets one line per image and frame: class shares, confidence, time.
            Default: no file.
        json: Path of a JSON file of the figures of videos and the mean class shares of images. Default: no file.
        measure: Measure of uncertainty. Default: the variance of --samples, or the entropy without samples.
        style: colors and outlines.
        video: videos and live sources.
        tta: test-time augmentation.
        timing: Print the time of start, loading, and prediction with writing.
    """
    started = time.perf_counter()

    from segnet.results.videos import VideoOutput, is_movie, predict_videos

    images, videos = _split_sources(source or (str(_SAMPLE),), animations=is_movie(out))
    jobs = _checked_jobs(images, videos, out=out, save=save, records=records, video=video)
    kinds = save or ("mask", "overlay")

    from segnet.inference.predictor import Predictor
    from segnet.results.images import Tally, predict_images
    from segnet.results.output import Output, lists

    imported = time.perf_counter()
    runtime = model.open()
    predictor = Predictor(
        runtime, confidence="confidence" in kinds or (records is not None and _has_confidence(runtime.info)),
        uncertainty="uncertainty" in kinds, measure=measure,
        max_size=resize.limit, image_scale=resize.image_scale, tiles=tiles, tta=tta,
    )  # fmt: skip
    loaded = time.perf_counter()
    style.require_known_classes(predictor.labels)
    output = Output(out, kinds, style, predictor.labels, predictor.measure, whole=records is not None)
    tally = Tally()
    try:
        with lists(output, records) as add:
            if jobs:
                predict_images(predictor, jobs, output, tally, each=add)
            if videos:
                frames = VideoOutput(
                    out=out, kinds=save or ("overlay",), look=style, config=video, write=output.numbers().write,
                    each=add,
                )  # fmt: skip
                tally.failures += predict_videos(predictor, videos, frames, tally.videos)
    finally:
        _report(tally, predictor.labels, json)
    if timing:
        count = len(jobs) + sum(figures["frames"] for figures in tally.videos)
        _print_timing(started, imported, loaded, images=count)
    return 2 if tally.failures else 0


def _split_sources(words: Sequence[str], *, animations: bool) -> tuple[list[str], list[VideoSource]]:
    """The sources of images, and the videos that the other sources stand for."""
    sources = [(word, find_videos(word, animations=animations)) for word in words]
    return [word for word, videos in sources if not videos], [video for _, videos in sources for video in videos]


def _checked_jobs(
    images: list[str],
    videos: list[VideoSource],
    *,
    out: Path,
    save: tuple[Kind, ...] | None,
    records: Path | None,
    video: VideoConfig,
) -> list[Job]:
    """The images; an error if results cannot be written, before the model is loaded."""
    from segnet.results.jobs import find_jobs, require_writable
    from segnet.results.records import require_record_file
    from segnet.results.videos import is_movie, require_fitting

    jobs = find_jobs(images, out=out)
    if videos:
        require_fitting(videos, out=out, kinds=save or ["overlay"], config=video, images=len(jobs))
    require_writable(out.parent if videos and is_movie(out) else out)
    if records is not None:
        require_record_file(records)
        require_writable(records.parent, flag="--records")
    return jobs


def _has_confidence(info: ModelInfo) -> bool:
    """Whether a model outputs probabilities; a message if it does not."""
    if info.output == "mask":
        log.info("segnet: this model outputs class indices only, so the records have no confidence")
    return info.output != "mask"


def _print_timing(started: float, imported: float, loaded: float, *, images: int) -> None:
    seconds = time.perf_counter() - loaded
    print(
        f"imports {imported - started:.2f} s, model {loaded - imported:.2f} s, "
        f"prediction and writing {seconds:.2f} s ({images / seconds:.2f} images/s)"
    )


def _report(tally: Tally, labels: ClassTable, file: Path | None) -> None:
    """Print what could not be read, and write all figures to the JSON file."""
    from segnet.system.files import write_json

    for failure in tally.failures:
        log.error("segnet: %s", failure)
    if file is not None:
        figures = {
            "images": len(tally.shares),
            "shares": tally.mean_shares(labels),
            "videos": tally.videos,
            "failures": tally.failures,
        }
        write_json(file, figures)
