"""segnet predict: predicts masks, overlays and records of images and videos."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segnet.batch.settings import EngineConfig
from segnet.cli.batches import predict_in_processes
from segnet.cli.companions import unused_flags
from segnet.cli.flags import Given, ModelFlags, PredictorFlags, ResizeFlags
from segnet.cli.output_files import require_distinct, require_writable_files
from segnet.errors import ConfigError
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.media.sources import ImageFile, VideoSource, find_sources, is_image_file, is_video_file
from segnet.media.video.settings import VideoConfig
from segnet.metrics.uncertainty import Measure
from segnet.system.signals import TERMINATED, noting_termination
from segnet.visualization.style import VIEWS, OverlayStyle

if TYPE_CHECKING:
    from segnet.inference.prediction import SegmentedFrame
    from segnet.inference.predictor import Predictor
    from segnet.labels import ClassTable
    from segnet.results.images import ImageReport, Job
    from segnet.results.writer import ResultWriter
    from segnet.system.earlier import EarlierResults

__all__ = ["run"]

log = logging.getLogger("segnet")

_SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "street.jpg"

Kind = Literal[
    "mask", "overlay", "color", "confidence", "uncertainty", "side", "coco", "polygons", "parquet", "webdataset"
]


def run(
    *source: str,
    model: ModelFlags = ModelFlags(),  # noqa: B008
    resize: ResizeFlags = ResizeFlags(),  # noqa: B008
    tiles: TileConfig = TileConfig(),  # noqa: B008
    out: Path = Path("predictions"),
    save: tuple[Kind, ...] | None = None,
    records: Path | None = None,
    json: Path | None = None,
    force: bool = False,
    measure: Measure | None = None,
    style: OverlayStyle = OverlayStyle(),  # noqa: B008
    video: VideoConfig = VideoConfig(),  # noqa: B008
    tta: TTAConfig = TTAConfig(),  # noqa: B008
    engine: EngineConfig = EngineConfig(),  # noqa: B008
    timing: bool = False,
    given: Given = Given(),  # noqa: B008
) -> int:
    """Predict masks of images and videos. OUT gets one folder per kind of result, with the names of the images.

    Args:
        *source: Images, folders or globs; or videos, numbered images (frames/%06d.jpg), the number of a camera, the
            address of a stream, a named pipe, or - for standard input. Default: the packaged sample image.
        model: the model.
        resize: working size.
        tiles: tiles.
        out: Folder of the results; for one image also the name of an image file, such as overlay.jpg, and for one video
            that of a video file: .mp4, .m4v, .mov, .mkv, .webm or .gif.
        save: Kinds of results. mask is a palette PNG of class indices, overlay has a legend, side is the image beside
            its overlay, confidence and uncertainty are 16-bit PNGs and colored images, coco and polygons are COCO
            files; parquet and webdataset are shards of run lengths, class shares and confidences (--engine ray).
            overlay, color and side of a video are video files. Default: mask,overlay for images, overlay for
            videos and for an image file.
        records: Path of a .jsonl or .csv file that gets one line per image and frame: class shares, confidence, time.
            Default: no file.
        json: Path of a JSON file of the figures of videos and the mean class shares of images. Default: no file.
        force: Replace files that no earlier run of segnet predict wrote, or that were changed since.
        measure: Measure of uncertainty. Default: the variance of --samples, or the entropy without samples.
        style: colors and outlines.
        video: videos and live sources.
        tta: test-time augmentation.
        engine: one process or many.
        timing: Print the time of start, loading, and prediction with writing.
        given: names of the flags that the user gave.
    """
    started = time.perf_counter()
    source, flags = source or (str(_SAMPLE),), PredictorFlags(model, resize, tiles, tta, measure)
    _require_engine(engine, save, timing, [path for path in (records, json, out if _is_file(out) else None) if path])
    if engine.engine == "ray":
        _check_used(given, save, videos=False, window=False)
        kinds = save or ("mask", "overlay")
        return predict_in_processes(source, flags, engine, style, kinds=kinds, out=out, force=force)
    images, videos, unreadable = _find_sources(source, out=out)
    _check_used(given, save, videos=bool(videos), window=video.show)
    file = _image_file(out, images, videos, save)
    kinds = save or (("mask", "overlay") if file is None else ("overlay",))
    jobs = _checked_jobs(images, videos, out=out, save=save, records=records, json=json, video=video)
    results = list(_list_results(jobs, videos, out, kinds, save, video))
    require_distinct(records, json, results=results)
    results += [path for path in (records, json) if path]
    earlier = _require_replaceable(results, jobs, videos, out=out, force=force)

    from segnet.results.images import ImageReport, predict_images
    from segnet.results.writer import ResultWriter, open_lists

    imported = time.perf_counter()
    predictor = flags.open(kinds, rows=records is not None)
    loaded = time.perf_counter()
    style.require_known_classes(predictor.labels)
    writer = ResultWriter(out, kinds, style, predictor.labels, predictor.measure, earlier, file)
    report = ImageReport(failures=unreadable)
    try:
        with (
            noting_termination() as terminated,
            open_lists(out, kinds, style.colored(predictor.labels), records=records, earlier=earlier) as each,
        ):
            if jobs:
                predict_images(predictor, jobs, writer, report, each=each, stop=terminated)
            if videos:
                _predict_videos(predictor, videos, writer, report, kinds=save, config=video, each=each, stop=terminated)
    finally:
        _report(report, predictor.labels, json, earlier)
    if timing:
        _print_timing(started, imported, loaded, report)
    return _exit_code(report, terminated=terminated())


def _require_engine(engine: EngineConfig, save: tuple[Kind, ...] | None, timing: bool, single: Sequence[Path]) -> None:
    """Check that the engine can write all results.

    Raises:
        ConfigError: a kind of result, a single file of results, or the times need the other engine.
    """
    if timing and engine.engine == "ray":
        raise ConfigError("--timing is of one process; leave it out with --engine ray")
    shards, lists = {"parquet", "webdataset"} & set(save or ()), {"coco", "polygons"} & set(save or ())
    if engine.engine == "local" and shards:
        raise ConfigError(
            f"save={','.join(sorted(shards))} needs --engine ray; give --records for the class shares and --save coco "
            "for the run lengths"
        )
    if engine.engine == "ray" and (lists or single):
        raise ConfigError(
            f"{', '.join([*sorted(lists), *map(str, single)])}: many processes cannot write one file together; give a "
            "folder for --out, and --save parquet or webdataset for run lengths, class shares and confidences"
        )


def _check_used(given: Given, save: tuple[Kind, ...] | None, *, videos: bool, window: bool) -> None:
    """Refuse flags of overlays where none are made; warn of flags of videos, since a folder may hold some tomorrow."""
    drawn = unused_flags(given.typed, ("opacity", "legend", "outline_width", "show_classes"))
    if drawn and save and not {*save} & {*VIEWS} and not window:
        raise ConfigError(f"{drawn}: for {', '.join(VIEWS)}, and --save has none of them; leave out what has no effect")
    if not videos and (unused := unused_flags(given.typed, [field.name for field in fields(VideoConfig)])):
        log.warning(
            "%s: without effect, since no video is given; numbered images are one as a pattern, frames/%%06d.jpg",
            unused,
        )


def _predict_videos(
    predictor: Predictor,
    videos: list[VideoSource],
    writer: ResultWriter,
    report: ImageReport,
    *,
    kinds: tuple[Kind, ...] | None,
    config: VideoConfig,
    each: Callable[[SegmentedFrame], None] | None,
    stop: Callable[[], bool],
) -> None:
    from segnet.results.videos import VideoOutput, predict_videos

    output = VideoOutput(
        out=writer.root, kinds=kinds or ("overlay",), config=config, writer=writer, each=each, stop=stop
    )
    report.failures += predict_videos(predictor, videos, output, report.videos)


def _exit_code(report: ImageReport, *, terminated: bool) -> int:
    if terminated:
        log.warning("segnet: stopped by SIGTERM; the results so far are complete")
        return TERMINATED
    return 2 if report.failures else 0


def _find_sources(words: Sequence[str], *, out: Path) -> tuple[list[ImageFile], list[VideoSource], list[str]]:
    """The images without results of an earlier run, the videos, and sentences on folders that cannot be read.

    A .gif is a video if the output is one.
    """
    failures: list[str] = []
    animations = is_video_file(out)
    found = [
        each for word in words for each in find_sources(word, animations=animations, exclude=out, failures=failures)
    ]
    images = [source for source in found if isinstance(source, ImageFile)]
    _warn_of_masks(words, images)
    return images, [source for source in found if isinstance(source, VideoSource)], failures


def _warn_of_masks(words: Sequence[str], images: Sequence[ImageFile]) -> None:
    """Say it where the folder of a data set is given, whose masks are images, too."""
    from segnet.data.layouts.pairing import IMAGE_FOLDERS, MASK_FOLDERS, find_folder

    for folder in map(Path, words):
        inside, masks = find_folder(folder, IMAGE_FOLDERS), find_folder(folder, MASK_FOLDERS)
        if inside and masks and any(image.path.is_relative_to(masks) for image in images):
            log.warning(
                "segnet: %s is a data set, and the masks in %s are segmented like images; give %s for the images alone",
                folder, masks, inside,
            )  # fmt: skip


def _is_file(out: Path) -> bool:
    return is_image_file(out) or is_video_file(out)


def _image_file(
    out: Path, images: list[ImageFile], videos: list[VideoSource], save: tuple[Kind, ...] | None
) -> Path | None:
    """The path of the only result, if ``out`` names an image file.

    Raises:
        ConfigError: there is more than one result, or no such file can hold it.
    """
    if (videos and is_video_file(out)) or not _is_file(out):
        return None  # a video file is checked with the videos
    from segnet.media.images.writing import WRITABLE_IMAGE_SUFFIXES

    kinds = save or ("overlay",)
    if videos or len(images) != 1 or len(kinds) != 1 or kinds[0] in {"coco", "polygons"}:
        raise ConfigError(
            f"out={out} is one file, and {len(images)} images and {len(videos)} videos as {','.join(kinds)} were "
            "requested; give one image and one kind of result, or a folder"
        )
    suffixes = {".png"} if kinds[0] in {"mask", "confidence", "uncertainty"} else WRITABLE_IMAGE_SUFFIXES
    if out.suffix.lower() not in suffixes:
        raise ConfigError(
            f"out={out} cannot hold {kinds[0]} of an image; give a name that ends in {' '.join(sorted(suffixes))}, "
            "or a folder"
        )
    return out


def _checked_jobs(
    images: list[ImageFile],
    videos: list[VideoSource],
    *,
    out: Path,
    save: tuple[Kind, ...] | None,
    records: Path | None,
    json: Path | None,
    video: VideoConfig,
) -> list[Job]:
    """The images; an error if results cannot be written, before the model is loaded."""
    from segnet.results.images import find_jobs
    from segnet.system.writable import require_writable

    jobs = find_jobs(images)
    if videos:
        from segnet.results.videos import require_fitting

        names = [job.name for job in jobs]
        require_fitting(videos, out=out, kinds=save or ["overlay"], config=video, images=names)
    require_writable(out.parent if _is_file(out) else out)
    for kind in (save or ("mask", "overlay")) if jobs else ():
        if (out / kind).exists():
            require_writable(out / kind)
    if records is not None:
        from segnet.results.records import require_record_file

        require_record_file(records)
        require_writable(records.parent, flag="--records")
    require_writable_files({"--json": json}, any_ending=True)
    return jobs


def _list_results(
    jobs: list[Job],
    videos: list[VideoSource],
    out: Path,
    kinds: Sequence[Kind],
    save: Sequence[Kind] | None,
    video: VideoConfig,
) -> Iterator[Path]:
    """The files that this run will write below ``out``."""
    from segnet.results.writer import list_results

    if is_image_file(out):
        yield out
    else:
        yield from list_results(out, kinds, [job.name for job in jobs])
    if videos:
        from segnet.results.videos import list_video_results

        yield from list_video_results(videos, out=out, kinds=save or ("overlay",), config=video)


def _require_replaceable(
    results: Sequence[Path], jobs: list[Job], videos: list[VideoSource], *, out: Path, force: bool
) -> EarlierResults:
    """The results of earlier runs; an error if a file of somebody else, or an input, would be replaced."""
    from segnet.system.earlier import EarlierResults

    earlier = EarlierResults(out.parent if _is_file(out) else out, force=force)
    inputs = [*(job.image for job in jobs), *(file for source in videos for file in source.files)]
    earlier.require_replaceable(results, inputs=inputs)
    return earlier


def _print_timing(started: float, imported: float, loaded: float, report: ImageReport) -> None:
    seconds = time.perf_counter() - loaded
    images = len(report.shares) + sum(figures["frames"] for figures in report.videos)
    print(
        f"imports {imported - started:.2f} s, model {loaded - imported:.2f} s, "
        f"prediction and writing {seconds:.2f} s ({images / seconds:.2f} images/s)"
    )


def _report(report: ImageReport, labels: ClassTable, file: Path | None, earlier: EarlierResults) -> None:
    """Print what could not be read, and write all figures to the JSON file."""
    from segnet.system.files import write_json

    for note in report.notes:
        log.warning("segnet: %s", note)
    for failure in report.failures:
        log.error("segnet: %s", failure)
    if file is not None:
        figures = {
            "images": len(report.shares),
            "shares": report.mean_shares(labels),
            "videos": report.videos,
            "failures": report.failures,
        }
        with earlier.noting(file):
            write_json(file, figures)
