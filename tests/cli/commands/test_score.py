from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from html_page import Page, assert_asks_nobody
from segnet.cli.main import main
from segnet.data.layouts import Source
from segnet.labels import CAMVID, IGNORE_INDEX
from segnet.metrics.boundary.counts import BoundaryConfig
from segnet.metrics.boundary.scores import BoundaryMeter

ROAD = CAMVID.names.index("Road")


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main([*words])
    return int(left.value.code or 0)


def scored(out: Path, folder: Path, truth: Path, *words: str) -> dict[str, Any]:
    """What stands in the JSON."""
    assert leave("score", str(folder), str(truth), *words, "--json", str(out)) == 0
    kept: dict[str, Any] = json.loads(out.read_text())
    return kept


def truths(camvid: Source) -> dict[str, np.ndarray]:
    data = camvid.dataset("val")
    return {sample.name: data.read_classes(index) for index, sample in enumerate(data.samples)}


def write(folder: Path, masks: dict[str, np.ndarray], *, colors: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(CAMVID.palette()[mask] if colors else mask.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def figures(kept: dict[str, Any]) -> dict[str, Any]:
    """Without what was asked for."""
    asked = {"model", "data", "split", "predicted", "truth", "missing", "superfluous"}
    return {key: value for key, value in kept.items() if key not in asked}


@pytest.mark.parametrize("way", ["its own files", "colors", "a folder of label maps alone"])
def test_truth_against_itself_is_one_everywhere(camvid_root: Path, camvid: Source, tmp_path: Path, way: str) -> None:
    folder, truth, words = camvid_root / "valannot", camvid_root, []
    if way == "colors":
        folder = write(tmp_path / "found", truths(camvid), colors=True)
    if way == "a folder of label maps alone":
        truth, words = camvid_root / "valannot", ["--classes", "camvid", "--ignore-index", "11"]
    kept = scored(tmp_path / "scores.json", folder, truth, "--boundary", *words)
    for name in ("global_accuracy", "class_average", "miou", "frequency_weighted_iou"):
        assert kept[name] == 1.0
    assert {row["iou"] for row in kept["per_class"].values()} <= {1.0, None}
    assert kept["boundary"]["bf_paper"] == kept["boundary"]["bf_script"] == 1.0
    assert all(band["miou"] == 1.0 for band in kept["boundary"]["trimap"])
    assert kept["unlabeled_pixels"] == 0


def test_all_road_has_the_share_of_road_as_its_global_accuracy(
    camvid_root: Path, camvid: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = truths(camvid)
    every = np.concatenate([mask.ravel() for mask in masks.values()])
    share = np.mean(every[every != IGNORE_INDEX] == ROAD)
    road = {name: np.full_like(mask, ROAD) for name, mask in masks.items()}
    kept = scored(tmp_path / "scores.json", write(tmp_path / "road", road), camvid_root)
    assert kept["global_accuracy"] == pytest.approx(share)
    assert kept["over_all_classes"]["miou"] == pytest.approx(share / 11)
    assert f"global accuracy {share:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["mask", "color"])
def test_what_predict_writes_scores_as_evaluate_says(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    model = ("--model", str(model_file), "--device", "cpu")
    assert leave("predict", str(camvid_root / "val"), "--out", str(tmp_path / "p"), "--save", kind, *model) == 0
    words = (str(camvid_root), *model, "--boundary", "--json", str(tmp_path / "evaluated.json"))
    capsys.readouterr()
    assert leave("evaluate", *words) == 0
    told = capsys.readouterr().out
    kept = scored(tmp_path / "scores.json", tmp_path / "p" / kind, camvid_root, "--boundary")
    evaluated = json.loads((tmp_path / "evaluated.json").read_text())
    # evaluate segments images together, which may change the last bit of a logit, and so the class where two are equal
    assert np.abs(np.subtract(kept["confusion"], evaluated["confusion"])).sum() <= 1e-3 * kept["pixels"]
    assert set(figures(kept)) == set(figures(evaluated))
    for name in ("global_accuracy", "class_average", "miou", "frequency_weighted_iou"):
        assert kept[name] == pytest.approx(evaluated[name], abs=1e-3)
    assert kept["boundary"]["bf_paper"] == pytest.approx(evaluated["boundary"]["bf_paper"], abs=1e-3)
    assert [line.split()[:1] for line in capsys.readouterr().out.splitlines()[1:]] == [
        line.split()[:1] for line in told.splitlines()[1:]
    ]


@pytest.mark.parametrize("words", [("--workers", "2"), ("--worst", "0")])
def test_one_or_two_threads_give_the_same_files(camvid_root: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    folder, page = camvid_root / "valannot", tmp_path / "page.html"
    one = scored(tmp_path / "one.json", folder, camvid_root, "--html", str(page))
    before = page.read_bytes()
    assert scored(tmp_path / "many.json", folder, camvid_root, "--html", str(page), *words) == one
    assert (page.read_bytes() == before) == ("--worst" not in words)


def test_a_predicted_void_counts_as_wrong_and_is_told(
    camvid_root: Path, camvid: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = truths(camvid)
    spoiled = {name: np.where(np.arange(mask.shape[1]) < 20, IGNORE_INDEX, mask) for name, mask in masks.items()}
    lost = sum(int((masks[name] != spoiled[name]).sum()) for name in masks)
    counted = sum(int((mask != IGNORE_INDEX).sum()) for mask in masks.values())
    kept = scored(tmp_path / "scores.json", write(tmp_path / "found", spoiled), camvid_root, "--boundary")
    assert (kept["unlabeled_pixels"], kept["pixels"]) == (lost, counted)
    assert kept["global_accuracy"] == pytest.approx(1 - lost / counted)
    assert all(band["miou"] < 1 for band in kept["boundary"]["trimap"])
    assert f"no class was predicted for {lost} pixels" in capsys.readouterr().out


def test_boundary_figures_are_those_of_the_meter(camvid_root: Path, camvid: Source, tmp_path: Path) -> None:
    masks = truths(camvid)
    shifted = {name: np.roll(mask, 2, axis=1) for name, mask in masks.items()}
    kept = scored(tmp_path / "scores.json", write(tmp_path / "found", shifted), camvid_root, "--boundary")
    meter = BoundaryMeter(CAMVID)
    for name, mask in masks.items():
        meter.add(name, shifted[name], mask)
    assert kept["boundary"] == json.loads(json.dumps(meter.scores.to_dict()))
    assert "boundary" not in scored(tmp_path / "scores.json", tmp_path / "found", camvid_root)


def test_points_are_paired_one_to_one_if_that_is_asked_for(
    camvid_root: Path, camvid: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = truths(camvid)
    folder = write(tmp_path / "p", {name: np.roll(mask, 1, axis=0) for name, mask in masks.items()})
    near = scored(tmp_path / "near.json", folder, camvid_root, "--boundary")["boundary"]
    capsys.readouterr()
    paired = scored(tmp_path / "paired.json", folder, camvid_root, "--boundary", "--one-to-one")["boundary"]
    assert "of the diagonal, one to one; mean" in capsys.readouterr().out
    meter = BoundaryMeter(camvid.labels, config=BoundaryConfig(one_to_one=True))
    for name, mask in masks.items():
        meter.add(name, np.roll(mask, 1, axis=0), mask)
    assert paired == json.loads(json.dumps(meter.scores.to_dict()))
    assert paired["bf_paper"] <= near["bf_paper"]
    assert (paired["settings"]["one_to_one"], near["settings"]["one_to_one"]) == (True, False)


def test_a_folder_of_label_maps_has_no_split(camvid_root: Path, camvid: Source, tmp_path: Path) -> None:
    truth = write(tmp_path / "t", truths(camvid))
    assert scored(tmp_path / "a.json", truth, truth, "--classes", "camvid")["split"] is None
    assert scored(tmp_path / "b.json", truth, camvid_root)["split"] == "val"


def test_partial_scores_those_that_exist_and_says_so(
    camvid_root: Path, camvid: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *missing = truths(camvid)
    mask = truths(camvid)[first]
    found = write(tmp_path / "found", {first: mask, "extra": mask})
    words = ("--partial", "--html", str(tmp_path / "page.html"))
    kept = scored(tmp_path / "scores.json", found, camvid_root, *words)
    assert (kept["images"], kept["missing"], kept["superfluous"]) == (1, missing, ["extra"])
    assert kept["pixels"] == (mask != IGNORE_INDEX).sum()
    assert "split val, 1 of 3 images, 1 without truth left out" in capsys.readouterr().out
    assert "which are not scored: 2." in (tmp_path / "page.html").read_text()


def test_the_page_shows_the_worst_images_with_their_images(camvid_root: Path, camvid: Source, tmp_path: Path) -> None:
    masks = truths(camvid)
    name = [*masks][1]
    page = tmp_path / "page.html"
    found = write(tmp_path / "found", {**masks, name: np.full_like(masks[name], ROAD)})
    scored(tmp_path / "scores.json", found, camvid_root, "--html", str(page), "--worst", "1", "--boundary")
    html = Page(page.read_text())
    assert_asks_nobody(html)
    assert html.all("img")[0]["alt"] == name
    assert len(html.all("img")) == 4
    assert "boundary F1 (paper)" in html.texts
    scored(
        tmp_path / "scores.json",
        found,
        camvid_root / "valannot",
        "--classes",
        "camvid",
        "--ignore-index",
        "11",
        "--html",
        str(page),
    )
    assert len(Page(page.read_text()).all("img")) == 3 * len(masks)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("FOUND", "ROOT"), "do not pair up by name; without prediction (2 of 3): "),
        (("FOUND", "nowhere"), "nowhere: there is no such data set"),
        (("FOUND", "ROOT", "--split", "test"), "has no split 'test'; it has train, val"),
        (("FOUND", "FOUND"), "masks do not say which classes they mean"),
        (("FOUND", "FOUND", "--classes", "nowhere"), "nowhere: there is no such file or table"),
        (("FOUND", "ROOT", "--ignore-index", "70000", "--partial"), "ignore_index=70000 is not possible"),
        (("FOUND", "ROOT", "--workers", "-1"), "give --worst 0 or more, --workers 1"),
        (("FOUND", "ROOT", "--encoding", "guess"), "'guess' is unknown; choose from auto, numbers, colors"),
        (("FOUND", "ROOT", "--one-to-one"), "--one-to-one matches boundary points; add --boundary"),
        (("FOUND", "ROOT", "--worst", "3"), "--worst is the number of images on the page; add --html"),
        (("FOUND", "ROOT", "--json", "a", "--html", "a"), "a would be written twice, by two flags"),
        (("FOUND", "IMAGE"), "is one image; give the folder that holds all masks, or a data set"),
        (("nowhere", "ROOT"), "nowhere: there is no such folder"),
        (("FOUND", "ROOT", "--partial", "--encoding", "colors"), "color (0, 0, 1) on"),
        (("FOUND", "nowhere", "--json", "/proc/scores/a.json"), "give another --json"),
        (("FOUND", "ROOT", "--partial", "--json", "FOUND"), "cannot be written as a file"),
        (("FOUND", "ROOT", "--partial", "--html", "FOUND"), "cannot be written as a file"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    words: tuple[str, ...],
    told: str,
    camvid_root: Path,
    camvid: Source,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, mask = next(iter(truths(camvid).items()))
    found = write(tmp_path / "found", {name: mask})
    if "colors" in words:
        Image.fromarray(np.full((*mask.shape, 3), (0, 0, 1), np.uint8)).save(found / f"{name}.png")
    places = {"FOUND": str(found), "ROOT": str(camvid_root), "IMAGE": str(found / f"{name}.png")}
    assert leave("score", *(places.get(word, word) for word in words)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("segnet: ")
    assert told in error
