from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.cli.main import main
from segnet.data.layouts import Source
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID
from segnet.metrics.boundary.counts import BoundaryConfig
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.models import checkpoint
from segnet.runtimes.load import open_runtime


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *words])
    return int(left.value.code or 0)


def counted(root: Path, model_file: Path, split: str) -> np.ndarray:
    """The confusion matrix by plain loops: Pillow, the model, and one pixel at a time."""
    model = checkpoint.load(model_file).model
    counts = np.zeros((11, 11), dtype=np.int64)
    for single in sorted((root / split).iterdir()):
        image = torch.tensor(np.array(Image.open(single).convert("RGB"))).permute(2, 0, 1)[None] / 255
        truth = np.array(Image.open(root / f"{split}annot" / single.name))
        with torch.no_grad():
            predicted = model(image)[0].argmax(0).numpy()
        for true, found in zip(truth.ravel(), predicted.ravel(), strict=True):
            if true != 11:
                counts[true, found] += 1
    return counts


def test_json_printed_figures_and_a_count_by_hand_agree(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.json"
    words = (str(camvid_root), "--model", str(model_file), "--split", "val", "--json", str(out), "--device", "cpu")
    assert leave(*words) == 0
    told = capsys.readouterr().out
    kept = json.loads(out.read_text())
    counts = counted(camvid_root, model_file, "val")
    found = np.array(kept["confusion"])
    assert found.sum() == counts.sum() == kept["pixels"]
    np.testing.assert_array_equal(found.sum(axis=1), counts.sum(axis=1))
    assert np.abs(found - counts).sum() <= 0.01 * counts.sum()  # folding rounds, which may turn a tie

    hits, union = np.diag(found), found.sum(axis=0) + found.sum(axis=1) - np.diag(found)
    iou = {name: hits[i] / union[i] if union[i] else None for i, name in enumerate(CAMVID.names)}
    assert kept["miou"] == pytest.approx(np.mean([value for value in iou.values() if value is not None]))
    assert kept["global_accuracy"] == pytest.approx(hits.sum() / found.sum())
    assert kept["absent_classes"] == [name for name, value in iou.items() if value is None]
    assert {name: row["iou"] for name, row in kept["per_class"].items()} == pytest.approx(iou)
    assert (kept["model"], kept["split"], kept["images"]) == ("toy.safetensors", "val", 3)

    assert f"mIoU {kept['miou']:.4f}" in told
    assert f"global accuracy {kept['global_accuracy']:.4f}" in told
    assert f"class average {kept['class_average']:.4f}" in told
    assert kept["convention"] in " ".join(told.split())
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
    for name, value in iou.items():
        assert rows[name][1] == ("nan" if value is None else f"{value:.4f}")


def test_a_model_that_knows_the_truth_scores_one(camvid: Source) -> None:
    data = camvid.dataset("val")
    truths = iter([data[index]["mask"] for index in range(len(data))])
    together = []

    class Oracle(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            together.append(len(images))
            masks = torch.stack([next(truths) for _ in images])
            known = torch.where(masks == 255, 0, masks)
            return torch.nn.functional.one_hot(known, 11).permute(0, 3, 1, 2).float()

    scores = evaluate(Oracle(), data, workers=0)
    assert together == [3]  # images of one size
    assert (scores.miou, scores.global_accuracy, scores.class_average) == (1.0, 1.0, 1.0)


def test_boundary_figures_are_printed_and_kept_as_python_counts_them(
    camvid_root: Path, camvid: Source, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ("--model", str(model_file), "--json", str(out), "--device", "cpu", "--boundary")
    assert leave(str(camvid_root), *words) == 0
    told = capsys.readouterr().out
    kept = json.loads(out.read_text())["boundary"]
    meter = BoundaryMeter(CAMVID)
    evaluate(Predictor.load(str(model_file), device="cpu"), camvid.dataset("val"), observe=meter.add)
    assert kept == json.loads(json.dumps(meter.scores.to_dict()))
    assert f"boundary F1 {kept['bf_paper']:.4f} (paper)   {kept['bf_script']:.4f} (script)" in told
    assert "  ".join(f"{band['radius']} px {band['miou']:.4f} " for band in kept["trimap"]).strip() in told
    rows = [words for line in told.splitlines() if (words := line.split())[:1] == ["Road"]]
    figures = [kept["per_class"]["Road"][key] for key in ("bf_paper", "bf_script", "precision", "recall")]
    assert rows[1][1:] == ["nan" if value is None else f"{value:.4f}" for value in figures]


def test_points_are_paired_one_to_one_if_that_is_asked_for(
    camvid_root: Path, camvid: Source, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    words = (str(camvid_root), "--model", str(model_file), "--boundary", "--one-to-one", "--json", str(out))
    assert leave(*words, "--device", "cpu") == 0
    meter = BoundaryMeter(camvid.labels, config=BoundaryConfig(one_to_one=True))
    evaluate(Predictor.load(str(model_file), device="cpu"), camvid.dataset("val"), observe=meter.add)
    assert json.loads(out.read_text())["boundary"] == json.loads(json.dumps(meter.scores.to_dict()))


def test_without_boundary_none_is_measured(camvid_root: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert leave(str(camvid_root), "--model", str(model_file), "--json", str(out)) == 0
    assert "boundary" not in json.loads(out.read_text())


def test_calibration_is_printed_kept_and_drawn_as_python_counts_it(
    camvid_root: Path, camvid: Source, bayesian_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "new" / "out.png"
    words = ("--model", str(bayesian_file), "--json", str(out), "--device", "cpu", "--samples", "3", "--seed", "4")
    assert leave(str(camvid_root), *words, "--calibration", "--plot", str(plot)) == 0
    told = capsys.readouterr().out
    kept = json.loads(out.read_text())
    meter = CalibrationMeter("variance")
    predictor = Predictor.load(str(bayesian_file), device="cpu", samples=3, seed=4, uncertainty=True)
    scores = evaluate(predictor, camvid.dataset("val"), calibration=meter)
    wanted = {"samples": 3, "seed": 4, **meter.scores.to_dict()}
    assert kept["calibration"] == json.loads(json.dumps(wanted))
    assert kept["confusion"] == scores.counts.tolist()
    assert kept["calibration"]["accuracy"] == kept["global_accuracy"]
    assert f"ECE {meter.scores.ece:.4f}   NLL {meter.scores.nll:.4f}" in told
    assert f"uncertainty by variance: AUROC for errors {meter.scores.auroc:.4f}" in told
    with Image.open(plot) as drawn:
        assert drawn.size[0] > 1000


def test_samples_alone_score_the_mean(camvid_root: Path, camvid: Source, bayesian_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ("--model", str(bayesian_file), "--json", str(out), "--device", "cpu", "--samples", "3")
    assert leave(str(camvid_root), *words) == 0
    kept = json.loads(out.read_text())
    runtime = open_runtime(str(bayesian_file), device="cpu", samples=3)
    data, counts = camvid.dataset("val"), np.zeros((11, 11), dtype=np.int64)
    for index in range(len(data)):
        mean = runtime.run(data[index]["image"][None].numpy(), probabilities=True).probabilities[0]
        truth = data[index]["mask"].numpy()
        np.add.at(counts, (truth[truth != 255], mean.argmax(axis=0)[truth != 255]), 1)
    assert kept["confusion"] == counts.tolist()
    assert "calibration" not in kept


def test_size_is_the_size_that_is_scored(camvid_root: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = (str(camvid_root), "--model", str(model_file), "--json", str(out), "--resize", "24", "32")
    assert leave(*words) == 0
    assert 0 < json.loads(out.read_text())["pixels"] <= 3 * 24 * 32


@pytest.mark.parametrize("words", [("--max-size", "20"), ("--image-scale", "1.5"), ("--tta-flip",)], ids=str)
def test_what_is_scored_is_what_predict_writes(
    camvid_root: Path, model_file: Path, tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--model", str(model_file), *words)
    assert leave(str(camvid_root), *chosen, "--json", str(tmp_path / "evaluated.json")) == 0
    told = "predicted at another size than their own, as 'segnet predict' does" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["predict", str(camvid_root / "val"), *chosen, "--save", "mask", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        main(["score", str(tmp_path / "mask"), str(camvid_root), "--json", str(tmp_path / "s.json")])
    evaluated, scored = (json.loads((tmp_path / name).read_text()) for name in ("evaluated.json", "s.json"))
    assert evaluated["confusion"] == scored["confusion"]
    assert told == ("inference" in evaluated) == ("--tta-flip" not in words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--max-size", "-1"),
            "max_size=-1 is not possible; give pixels; to keep the image's size, None or --max-size 0",
        ),
        (("--model", "TWO"), "knows 2 classes but"),
        (("--model", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--split", "test"), "has no split 'test'; it has train, val"),
        (("--device", "gpu"), "device 'gpu' cannot be used"),
        (("--precision", "int4"), "'int4' is unknown; choose from auto, float32, bf16"),
        (("--max-size", "40", "--image-scale", "1"), "both set the size that the model sees; give one of them"),
        (("--resize", "0", "32"), "size (0, 32) is not possible"),
        (("--samples", "8"), "toy was made without dropout"),
        (("--calibration", "--measure", "variance"), "gives no variance as it is used here, but entropy"),
        (("--measure", "entropy"), "--measure chooses the uncertainty of --calibration; add it"),
        (("--one-to-one",), "--one-to-one matches boundary points; add --boundary"),
        (("--calibration", "--plot", "a.png", "--json", "a.png"), "a.png would be written twice, by two flags"),
        (("--plot", "a.png"), "--plot draws the calibration; add --calibration"),
        (("--plot", "a.bmp", "--calibration"), "--plot a.bmp has another ending than .png, .svg or .pdf"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    words: tuple[str, ...],
    told: str,
    camvid_root: Path,
    model_file: Path,
    two_class_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = [str(two_class_file) if word == "TWO" else word for word in words]
    model = [] if "--model" in words else ["--model", str(model_file)]
    assert leave(str(camvid_root), *model, *chosen) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("segnet: ")
    assert told in error


def test_a_missing_data_set_is_told(model_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert leave(str(tmp_path / "nowhere"), "--model", str(model_file)) == 2
    assert "nowhere: there is no such data set" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_told_before_the_model_runs(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for path, told in ((tmp_path, "cannot be written as a file"), (tmp_path / "file/a.json", "give another --json")):
        assert leave(str(camvid_root), "--model", "no such model", "--json", str(path)) == 2
        assert told in capsys.readouterr().err


def test_corrupted_images_are_scored_too(
    camvid_root: Path, camvid: Source, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = (
        "--model",
        str(model_file),
        "--corruptions",
        "gray,half",
        "--json",
        str(out),
        "--device",
        "cpu",
        "--boundary",
    )
    assert leave(str(camvid_root), *words) == 0
    told, kept = capsys.readouterr().out, json.loads(out.read_text())
    assert list(kept["corrupted"]) == ["gray", "half"]
    for kind, means in kept["corrupted"].items():
        meter = BoundaryMeter(camvid.labels)
        predictor = Predictor.load(str(model_file), device="cpu", precision="float32", threads=0)
        scores = evaluate(predictor, camvid.dataset("val", corruption=kind), observe=meter.add)
        assert means["miou"] == pytest.approx(scores.miou)
        assert means["class_average"] == pytest.approx(scores.class_average)
        assert means["global_accuracy"] == pytest.approx(scores.global_accuracy)
        assert means["boundary_f1"] == pytest.approx(meter.scores.bf("paper"))
        share = f"{means['miou'] / kept['miou']:.0%}"
        (line,) = (line for line in told.splitlines() if line.split()[:1] == [kind])
        assert line.split()[1:] == [f"{value:.4f}" for value in means.values()] + [share]


def test_scores_that_are_not_defined_are_null_in_json(camvid_root: Path, model_file: Path, tmp_path: Path) -> None:
    copytree(camvid_root, tmp_path / "data")
    for path in (tmp_path / "data/valannot").iterdir():  # one class alone has no boundary
        Image.fromarray(np.full((48, 64), 3, dtype=np.uint8)).save(path)
    out = tmp_path / "out.json"
    words = ("--model", str(model_file), "--corruptions", "gray", "--boundary", "--json", str(out))
    assert leave(str(tmp_path / "data"), *words) == 0
    kept = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert kept["corrupted"]["gray"]["boundary_f1"] is None


def test_what_is_resized_is_told_of_the_images_that_were(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ("--model", str(model_file), "--corruptions", "double,half", "--max-size", "64", "--json", str(out))
    assert leave(str(camvid_root), *words) == 0
    told, kept = capsys.readouterr().out, json.loads(out.read_text())
    assert "inference" not in kept
    assert "another size" not in told
    assert kept["corrupted"]["double"]["resized"] == kept["images"]
    assert "resized" not in kept["corrupted"]["half"]
    tiles = ("--tile", "128", "--overlap", "16", "--image-scale", "5")
    assert leave(str(camvid_root), "--model", str(model_file), *tiles, "--json", str(out)) == 0
    images = kept["images"]
    assert json.loads(out.read_text())["inference"] == {
        "resized": images, "tiled": images, "image_scale": 5.0, "tile": 128, "overlap": 16, "memory": 2.0,
    }  # fmt: skip


def test_a_corruption_that_does_not_exist_is_told_before_anything_is_scored(
    camvid_root: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(str(camvid_root), "--model", str(model_file), "--corruptions", "fog") == 2
    told = capsys.readouterr()
    assert "'fog' is unknown; choose from gray, night" in told.err
    assert "mIoU" not in told.out
