"""segnet check: checks a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from segnet.cli.flags import WORST
from segnet.cli.output_files import require_distinct, require_writable_files
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError

__all__ = ["run"]


def run(
    data: str,
    /,
    *,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    model: str | None = None,
    json: Path | None = None,
    html: Path | None = None,
    worst: int = WORST,
    device: str = "auto",
    workers: int | None = None,
) -> int:
    """Check a data set: files, pairing, sizes, values, classes, duplicates, leaks, and masks that lie wrong.

    The exit code is 2 if training would fail or be meaningless, and 0 with warnings.

    Args:
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        source: how the data set is read.
        model: Model file or name of a bundled model, by whose loss images are listed, the worst first: their labels are
            probably wrong. Default: none.
        json: Path of a JSON file of all findings with all files, and of the classes. Default: no file.
        html: Path of an HTML page with every finding and every class in images. Default: no page.
        worst: Number of images on the page for each finding, the worst first.
        device: Device of the model, and of the suggested training: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if
            there is one.
        workers: Number of threads that read the files. Default: two for each core. Lower it to leave cores to other
            programs.
    """
    if worst < 0 or (workers is not None and workers < 1):
        raise ConfigError(f"worst={worst} and workers={workers} is not possible; give --worst 0 or more, --workers 1")
    if model is None and device.partition(":")[0] not in {"auto", "cpu", "cuda", "mps"}:
        raise ConfigError(f"device {device!r} is unknown; choose auto, cpu, cuda or mps")
    require_distinct(json, html)
    require_writable_files({"--json": json, "--html": html})
    from segnet.cli.check_table import print_check
    from segnet.data.check.report import check_data
    from segnet.system.files import write_json
    from segnet.system.hardware import has_nvidia_gpu
    from segnet.system.progress import progress_bar

    with progress_bar("checking", None) as progress:
        gpu = has_nvidia_gpu() if device == "auto" else device != "cpu"
        report = check_data(data, reading=source, gpu=gpu, workers=workers, progress=progress)
    if model is not None:
        from segnet.checking.losses import open_predictor, with_losses

        with progress_bar(f"losses of {Path(model).name}", len(report.data.samples)) as progress:
            report = with_losses(report, open_predictor(model, report.data.labels, device), progress=progress)
    if json is not None:  # before anything is printed, so that `segnet check ... | head` leaves the files
        write_json(json, report.to_dict())
    if html is not None:
        from segnet.checking.page import write_check_page

        write_check_page(html, report, most=worst)
    print_check(report)
    return 2 if report.failed else 0
