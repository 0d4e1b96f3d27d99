from __future__ import annotations

import errno
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segnet.errors import DataError, OutputError
from segnet.inference.prediction import Prediction
from segnet.inference.predictor import Predictor
from segnet.media.images.writing import write_image
from segnet.media.sources import ImageFile
from segnet.results.images import ImageReport, _read, find_jobs, keeping_faults, predict_images
from segnet.results.writer import ResultWriter
from segnet.visualization.style import OverlayStyle
from video_clips import Brightness, InPairs, clip_images


def images(*names: str, folder: str = "in") -> list[ImageFile]:
    return [ImageFile(Path(folder, name), Path(name)) for name in names]


def test_each_image_is_one_job_and_names_that_differ_in_their_suffix_keep_it() -> None:
    jobs = find_jobs([*images("a.png", "a.jpg", "x/a.png"), *images("a.png")])
    assert [job.name.as_posix() for job in jobs] == ["a.png", "a.jpg", "x/a"]
    assert find_jobs([]) == []


def test_results_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"x/a\.png and y/a\.png would be written to the same name; predict them"):
        find_jobs([*images("a.png", "b.png", folder="x"), *images("a.png", folder="y")])


def test_only_images_larger_than_the_memory_are_read_in_strips(tmp_path: Path) -> None:
    pytest.importorskip("pyvips", exc_type=ImportError)
    for name in ("a.png", "a.webp"):
        write_image(tmp_path / name, np.zeros((300, 400, 3), dtype=np.uint8))
    (job,) = find_jobs([ImageFile(tmp_path / "a.png", Path("a.png"))])
    assert _read(job, channels=3, memory=0.005) is None  # 48 bytes per pixel are 5.76 MB
    for memory in (0.006, float("inf")):
        whole = _read(job, channels=3, memory=memory)
        assert whole is not None
        assert whole.shape == (300, 400, 3)
    (webp,) = find_jobs([ImageFile(tmp_path / "a.webp", Path("a.webp"))])
    assert _read(webp, channels=3, memory=0.005) is not None  # libvips holds the whole image, too


def test_images_predicted_at_the_same_time_are_written_as_those_predicted_alone(tmp_path: Path) -> None:
    for number, pixels in enumerate(clip_images(16)):
        write_image(tmp_path / "in" / f"{number:02}.png", pixels)
    (tmp_path / "in" / "08.png").write_bytes(b"no image")
    (tmp_path / "in" / "17.png").write_bytes((tmp_path / "in" / "00.png").read_bytes())  # an even number is left
    jobs = find_jobs([ImageFile(path, Path(path.name)) for path in sorted((tmp_path / "in").iterdir())])
    reports = []
    for name, runtime in (("pairs", InPairs()), ("alone", Brightness())):
        writer = ResultWriter(tmp_path / name, ("mask", "overlay"), OverlayStyle(), runtime.info.labels)
        predict_images(Predictor(runtime), jobs, writer, report := ImageReport())
        reports.append(report)
    assert all(len(report.shares) == 16 for report in reports)
    np.testing.assert_allclose(reports[0].shares, reports[1].shares)
    assert reports[0].failures == reports[1].failures
    assert len(reports[0].failures) == 1
    found, expected = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("pairs", "alone")
    )
    assert found == expected
    assert len(found) == 32


@pytest.mark.parametrize(
    ("error", "count"),
    [(KeyboardInterrupt(), 5), (OutputError("the disk is full"), 4)],  # 4: the third one does not fit
)
def test_images_that_were_written_before_an_error_are_counted(
    error: BaseException, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    for number, pixels in enumerate(clip_images(30)):
        write_image(tmp_path / "in" / f"{number:02}.png", pixels)
    jobs = find_jobs([ImageFile(path, Path(path.name)) for path in sorted((tmp_path / "in").iterdir())])
    runtime, stopped = Brightness(), threading.Event()

    class Writer(ResultWriter):
        def write(self, name: Path, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.float64]:
            stopped.wait(60)
            if isinstance(error, OutputError) and name == Path("02"):
                raise error
            return super().write(name, image, prediction)

    def stop() -> bool:
        calls.append(1)
        if len(calls) < 5:
            return False
        stopped.set()
        if isinstance(error, KeyboardInterrupt):
            raise error
        return True

    calls: list[int] = []
    writer = Writer(tmp_path / "out", ("mask",), OverlayStyle(), runtime.info.labels)
    with pytest.raises(type(error)):
        predict_images(Predictor(runtime), jobs, writer, report := ImageReport(), stop=stop)
    assert len(report.shares) == len(list((tmp_path / "out/mask").glob("*.png"))) == count
    assert f"{count} of 30 images predicted" in capsys.readouterr().out
    assert not report.failures


def test_an_image_for_which_memory_ran_out_is_no_bug() -> None:
    failures: list[str] = []
    with keeping_faults("a.png", failures):
        raise MemoryError
    (failure,) = failures
    assert failure.startswith("a.png cannot be predicted: memory ran out; give a smaller --memory or --max-size")
