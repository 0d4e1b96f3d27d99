"""segnet predict: images in, labeled images out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.media.sources import ImageFile, VideoSource, find_sources, is_video_file
from segnet.media.video.settings import VideoConfig
from segnet.visualization.style import OverlayStyle

if TYPE_CHECKING:
    from segnet.inference.predictor import Predictor
    from segnet.labels import ClassTable
    from segnet.results.images import ImageReport

__all__ = ["run"]

log = logging.getLogger("segnet")

_SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "street.jpg"


def run(
    *source: str,
    model: str = "segnet_light",
    out: Path = Path("predictions"),
    save: list[Literal["mask", "overlay", "color", "confidence", "uncertainty", "side", "coco", "polygons"]]
    | None = None,
    records: Path | None = None,
    samples: int = 0,
    seed: int = 0,
    measure: Literal["variance", "entropy", "mutual_information"] | None = None,
    look: OverlayStyle = OverlayStyle(),  # noqa: B008
    longest: int | None = None,
    scale: float | None = None,
    tiles: TileConfig = TileConfig(),  # noqa: B008
    average: TTAConfig = TTAConfig(),  # noqa: B008
    device: str = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    threads: int = 0,
    timing: bool = False,
    json: Path | None = None,
    video: VideoConfig = VideoConfig(),  # noqa: B008
) -> int:
    """Label images and videos; for each kind of result a folder in OUT, with their names and sub-folders.

    Args:
        *source: images, folders, or globs; a video, numbered images as frames/%06d.jpg, a camera's number, a
            stream's address, a named pipe, or - for standard input; none takes the packaged sample image.
        model: a model file (.safetensors, or what "segnet export" wrote: .onnx, .xml, .pte, .tflite, .pt2), or the name
            of a bundled model ("segnet models" lists them).
        out: where the results go; for one video also the name of a movie: .mp4, .m4v, .mov, .mkv, .webm or .gif.
        save: what to write: mask (palette PNG of class numbers), overlay (with legend), color, side (the image beside
            its overlay), confidence and uncertainty (each as a gray PNG of 16 bits, and in colors with a scale); of a
            video overlay, color and side are movies; coco and polygons (a COCO file of all images and frames, with
            run lengths or polygons); by default mask,overlay, and of a video overlay.
        records: a file, .jsonl or .csv, that gets a line for each image and frame as it is labeled: the share of
            each class, the confidence, the time.
        samples: label each image so many times with dropout, 40 for instance, and take the mean; 0: dropout is off.
        seed: decides what is dropped.
        measure: of uncertainty: variance, entropy or mutual_information; by default the variance of the samples, and
            without samples the entropy.
        look: of overlays and colors.
        longest: images with a longer side, in pixels, are labeled at this size and the result enlarged; 0: never; by
            default the size of the images that the model learned from, or 1024 if it does not say that.
        scale: label images at this multiple of their own size instead.
        tiles: of what is too large for the memory.
        average: over views of each image.
        device: auto, cpu, cuda or mps.
        precision: bf16 is faster where the processor has bfloat16 arithmetic, and a little less exact; auto finds out.
        threads: how many to compute with; 0: as many as the library takes.
        timing: tell how long starting, loading, labeling and writing took.
        json: write the figures of videos, and the mean shares of the classes in images, to this file.
        video: of videos and live sources.
    """
    started = time.perf_counter()

    from segnet.results.images import ImageReport, find_jobs, predict_images, require_writable
    from segnet.results.records import require_record_file
    from segnet.results.videos import VideoOutput, predict_videos, require_fitting

    images, videos = _find_sources(source or (str(_SAMPLE),), out=out)
    jobs = find_jobs(images)
    if videos:
        require_fitting(videos, out=out, kinds=save or ["overlay"], config=video, images=len(jobs))
    require_writable(out.parent if videos and is_video_file(out) else out)
    if records is not None:
        require_record_file(records)
        require_writable(records.parent, flag="--records")
    kinds = save or ["mask", "overlay"]

    from segnet.inference.predictor import Predictor
    from segnet.results.writer import ResultWriter, open_lists

    imported = time.perf_counter()
    predictor = Predictor.load(
        model,
        device=device,
        precision=precision,
        threads=threads,
        samples=samples,
        seed=seed,
        confidence="confidence" in kinds,
        uncertainty="uncertainty" in kinds,
        measure=measure,
        longest="model" if longest is None else longest or None,
        scale=scale,
        tiles=tiles,
        average=average,
    )
    loaded = time.perf_counter()
    look.require_known_classes(predictor.labels)
    if records is not None:
        _ask_confidence(predictor)
    writer = ResultWriter(out, tuple(kinds), look, predictor.labels, predictor.measure)
    report = ImageReport()
    try:
        with open_lists(out, kinds, look.colored(predictor.labels), records=records) as each:
            if jobs:
                predict_images(predictor, jobs, writer, report, each=each)
            if videos:
                frames = VideoOutput(
                    out=out,
                    kinds=tuple(save or ["overlay"]),
                    style=look,
                    config=video,
                    write=writer.without_views().write,
                    each=each,
                )
                report.failures += predict_videos(predictor, videos, frames, report.videos)
    finally:
        _tell(report, predictor.labels, json)
    finished = time.perf_counter()
    if timing:
        rate = (len(jobs) + sum(figures["frames"] for figures in report.videos)) / (finished - loaded)
        print(
            f"imports {imported - started:.2f} s, model {loaded - imported:.2f} s, "
            f"label and write {finished - loaded:.2f} s ({rate:.2f} images/s)"
        )
    return 2 if report.failures else 0


def _find_sources(words: Sequence[str], *, out: Path) -> tuple[list[ImageFile], list[VideoSource]]:
    """The images without results of an earlier run, and the videos; a .gif is a video if the output is one."""
    found = [source for word in words for source in find_sources(word, animations=is_video_file(out), exclude=out)]
    images = [source for source in found if isinstance(source, ImageFile)]
    return images, [source for source in found if isinstance(source, VideoSource)]


def _ask_confidence(predictor: Predictor) -> None:
    """Of any model but one that gives masks alone."""
    if predictor.runtime.info.output == "mask":
        log.info("segnet: this model gives masks alone, so the records have no confidence")
    else:
        predictor.confidence = True


def _tell(report: ImageReport, labels: ClassTable, file: Path | None) -> None:
    """What could not be read, or only in part; and all figures to the file that was asked for."""
    from segnet.system.files import write_json

    for failure in report.failures:
        log.error("segnet: %s", failure)
    if file is not None:
        figures = {
            "images": len(report.shares),
            "shares": report.mean_shares(labels),
            "videos": report.videos,
            "failures": report.failures,
        }
        write_json(file, figures)
