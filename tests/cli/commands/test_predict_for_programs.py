"""What ``segnet predict`` writes for programs: records, COCO files."""

from __future__ import annotations

import csv
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segnet.cli.commands import predict
from segnet.cli.main import main
from segnet.data.synthetic.scenes import render_scene
from segnet.inference.large_images import predict_large
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID
from segnet.runtimes.base import FileRuntime, ImageBatch
from segnet.runtimes.model_info import ModelInfo
from video_clips import feed_and_interrupt, write_clip

# pycocotools' decoder, built for an earlier NumPy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["predict", *map(str, words)])
    return int(left.value.code or 0)


def images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(render_scene(number, size=(24, 32))[0]).save(folder / f"{number}.png")
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_images_get_a_line_each_in_order(model_file: Path, tmp_path: Path) -> None:
    source, out = images(tmp_path / "in", 4), tmp_path / "out"
    words = ("--model", model_file, "--out", out, "--save", "mask", "--records", tmp_path / "new/a.jsonl")
    assert leave(source, *words) == 0
    found = lines(tmp_path / "new/a.jsonl")
    assert [line["name"] for line in found] == ["0", "1", "2", "3"]
    predictor = Predictor.load(model_file, confidence=True)
    for line in found:
        own = predictor(np.array(Image.open(str(line["source"]))))
        assert own.confidence is not None
        assert line["confidence"] == pytest.approx(own.confidence.mean(), abs=2e-6)
        shares = [float((own.mask == number).mean()) for number in range(11)]
        assert line["shares"] == pytest.approx(dict(zip(CAMVID.names, shares, strict=True)), abs=1e-6)
    assert {path.parent.name for path in out.rglob("*.png")} == {"mask"}  # no maps of confidence, which nobody wanted


def test_no_image_is_left_out_because_it_is_large(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that would be read in strips is held in memory for the records."""
    streamed = []

    def spy(predictor: Predictor, image: Path, *arguments: object, **options: object) -> np.ndarray:
        streamed.append(image.name)
        return predict_large(predictor, image, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("segnet.results.images.predict_large", spy)
    source = images(tmp_path / "in", 1)
    Image.fromarray(render_scene(1, size=(300, 400))[0]).save(source / "large.png")
    tiles = ("--tile", 160, "--overlap", 16, "--memory", 0.005)
    words = ("--model", model_file, "--save", "mask", "--image-scale", 1, *tiles)
    assert leave(source, *words, "--out", tmp_path / "strips") == 0
    assert streamed == ["large.png"]
    assert leave(source, *words, "--out", tmp_path / "whole", "--records", tmp_path / "a.jsonl") == 0
    assert streamed == ["large.png"]
    assert [line["name"] for line in lines(tmp_path / "a.jsonl")] == ["0", "large"]
    one, other = (np.array(Image.open(tmp_path / out / "mask" / "large.png")) for out in ("strips", "whole"))
    np.testing.assert_array_equal(one, other)


def test_an_image_too_wide_for_the_memory_does_not_stop_the_others(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = images(tmp_path / "in", 1)
    Image.fromarray(np.zeros((500, 4000, 3), dtype=np.uint8)).save(source / "-wide.png")
    words = ("--model", model_file, "--save", "mask", "--image-scale", 1, "--overlap", 32, "--memory", 0.01)
    assert leave(source, *words, "--out", tmp_path / "out") == 2
    assert "-wide.png: memory=0.01 GB is too little for an image 4000 pixels wide" in caplog.text
    assert "1 of 2 images predicted" in capsys.readouterr().out


def test_frames_get_a_line_each_with_their_time(model_file: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 5)
    words = ("--model", model_file, "--out", tmp_path / "out", "--records", tmp_path / "a.csv", "--every", 2)
    assert leave(source, *words) == 0
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["clip/000000", "clip/000001", "clip/000002"]
    assert [float(row["time"]) for row in rows] == [0, 0.08, 0.16]
    assert sum(float(rows[0][f"share_{name}"]) for name in CAMVID.names) == pytest.approx(1, abs=1e-5)
    assert 0 < float(rows[0]["confidence"]) <= 1


def test_uncertainty_is_told_if_it_was_asked_for(model_file: Path, tmp_path: Path) -> None:
    source = images(tmp_path / "in", 1)
    words = ("--model", model_file, "--out", tmp_path / "out", "--records", tmp_path / "a.jsonl")
    assert leave(source, *words, "--save", "uncertainty") == 0
    (line,) = lines(tmp_path / "a.jsonl")
    own = Predictor.load(model_file, uncertainty=True)(np.array(Image.open(source / "0.png")))
    assert own.uncertainty is not None
    assert line["uncertainty"] == pytest.approx(own.uncertainty.mean(), abs=2e-6)


class Masks(FileRuntime):
    """A file that gives nothing but classes."""

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        return [np.zeros((len(image), *image.shape[2:]), dtype=np.uint8)]


def test_a_model_of_class_indices_only_gives_records_without_confidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Masks(Path("toy.onnx"), ModelInfo(name="toy", labels=CAMVID, output="mask"))
    monkeypatch.setattr("segnet.runtimes.load.open_runtime", lambda *_, **__: runtime)
    source = images(tmp_path / "in", 2)
    with caplog.at_level("INFO"):
        assert predict.run(str(source), out=tmp_path / "out", records=tmp_path / "a.jsonl", save=("mask",)) == 0
    assert [line["confidence"] for line in lines(tmp_path / "a.jsonl")] == [None, None]
    assert [record.message for record in caplog.records] == [
        "segnet: this model outputs class indices only, so the records have no confidence"
    ]


def test_coco_files_hold_the_masks_of_images_and_frames(model_file: Path, tmp_path: Path) -> None:
    source, clip, out = images(tmp_path / "in", 2), write_clip(tmp_path / "clip.mp4", 2), tmp_path / "out"
    assert leave(source, clip, "--model", model_file, "--out", out, "--save", "mask,coco,polygons") == 0
    assert {path.name for path in out.glob("[!.]*")} == {"mask", "coco.json", "polygons.json"}
    names = ["0.png", "1.png", "clip/000000.png", "clip/000001.png"]
    for kind in ("coco", "polygons"):
        found = COCO(str(out / f"{kind}.json"))
        assert [image["file_name"] for image in found.imgs.values()] == names
        for number, name in enumerate(names, start=1):
            mask = np.array(Image.open(out / "mask" / name))
            own = np.zeros_like(mask)
            for annotation in found.imgToAnns[number]:
                own += found.annToMask(annotation) * np.uint8(annotation["category_id"])
            np.testing.assert_array_equal(own, mask + 1)


def test_the_categories_have_the_colors_of_the_look(model_file: Path, tmp_path: Path) -> None:
    words = ("--model", model_file, "--out", tmp_path, "--save", "coco", "--palette", "colorblind")
    assert leave(images(tmp_path / "in", 1), *words) == 0
    categories = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))["categories"]
    assert [tuple(one["color"]) for one in categories] == list(CAMVID.colorblind().colors)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_keeps_what_was_labeled(model_file: Path, tmp_path: Path) -> None:
    pipe, out, records = tmp_path / "pipe", tmp_path / "out", tmp_path / "a.jsonl"
    os.mkfifo(pipe)
    data = write_clip(tmp_path / "a.ts", 50).read_bytes()

    feeder = feed_and_interrupt(pipe, data, once=records, until=out / "coco.json")
    assert leave(pipe, "--model", model_file, "--out", out, "--save", "coco", "--records", records) == 130
    feeder.join(10)
    found = lines(records)
    assert [line["frame"] for line in found] == list(range(len(found)))
    assert found[0]["source"] == "pipe"
    assert isinstance(found[0]["latency_ms"], float)
    assert len(COCO(str(out / "coco.json")).imgs) == len(found) > 0


def test_a_full_disk_is_code_2_and_leaves_no_half_file(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = images(tmp_path / "in", 8), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        code = leave(source, "--model", model_file, "--out", out, "--save", "coco")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert told.startswith(f"segnet: {out / 'coco.json'} cannot be written")
    assert not list(out.rglob("*"))


def test_what_cannot_be_written_is_told_before_the_model_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ("--model", "no such model", "--out", tmp_path / "out")
    assert leave(*words, "--records", tmp_path / "file" / "a.csv") == 2
    assert "give another --records" in capsys.readouterr().err
    assert leave(*words, "--json", tmp_path / "file" / "a.json") == 2
    assert "give another --json" in capsys.readouterr().err
    assert leave(*words, "--records", tmp_path / "a.txt") == 2
    assert "a.txt has no known ending; give a name that ends in .jsonl or .csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
