from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segnet.cli.commands.predict import run
from segnet.cli.flags import ModelFlags
from segnet.cli.main import main
from segnet.data.synthetic.scenes import render_scene
from segnet.errors import DataError, OutputError
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID, ClassTable
from segnet.media.images.stored import read_pixels
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.results.images import _predict
from segnet.visualization.style import OverlayStyle
from video_clips import terminate_once


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["predict", *map(str, words)])
    return int(left.value.code or 0)


def written(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("[!.]*") if path.is_file()}


def image_file(path: Path, seed: int = 0, size: tuple[int, int] = (24, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render_scene(seed, size=size)[0]).save(path)
    return path


def indices(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def values(path: Path) -> np.ndarray:
    """As the file itself says how to read them."""
    with Image.open(path) as image:
        assert image.mode == "I;16"
        return np.array(image) / 65535 * float(image.text["largest"])


def test_one_image_gives_the_predictors_own_mask_in_the_labels_colors(model_file: Path, tmp_path: Path) -> None:
    source, out = image_file(tmp_path / "street.png", size=(25, 31)), tmp_path / "out"
    assert leave(source, "--model", model_file, "--out", out, "--save", "mask,color,confidence,overlay") == 0
    kinds = ("mask", "color", "confidence", "confidence_color", "overlay")
    assert written(out) == {f"{kind}/street.png" for kind in kinds}
    image = np.array(Image.open(source))
    own = Predictor.load(model_file, confidence=True)(image)
    np.testing.assert_array_equal(indices(out / "mask/street.png"), own.mask)
    palette = np.array(Image.open(out / "mask/street.png").getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette[:11], CAMVID.colors)
    np.testing.assert_array_equal(np.array(Image.open(out / "color/street.png")), np.array(CAMVID.colors)[own.mask])
    assert own.confidence is not None
    np.testing.assert_allclose(values(out / "confidence/street.png"), own.confidence, atol=0.6 / 65535)
    overlay = np.array(Image.open(out / "overlay/street.png"))
    assert overlay.shape[0] > 25  # the legend is below


@pytest.mark.parametrize("kinds", ["mask", "overlay", "color", "confidence", "mask,uncertainty"])
def test_what_is_saved_is_what_was_asked_for(kinds: str, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert leave(image_file(tmp_path / "a.png"), "--model", model_file, "--out", out, "--save", kinds) == 0
    colored = {f"{kind}_color" for kind in kinds.split(",") if kind in {"confidence", "uncertainty"}}
    assert written(out) == {f"{kind}/a.png" for kind in {*kinds.split(","), *colored}}


def test_without_samples_uncertainty_is_the_entropy(model_file: Path, tmp_path: Path) -> None:
    source = image_file(tmp_path / "a.png")
    assert leave(source, "--model", model_file, "--out", tmp_path / "out", "--save", "uncertainty") == 0
    own = Predictor.load(model_file, device="cpu", uncertainty=True)(np.array(Image.open(source)))
    assert own.uncertainty is not None
    with Image.open(tmp_path / "out/uncertainty/a.png") as image:
        assert image.text["Description"] == "uncertainty: entropy, in nats"
        assert float(image.text["largest"]) == pytest.approx(np.log(11), abs=1e-6)
    np.testing.assert_allclose(values(tmp_path / "out/uncertainty/a.png"), own.uncertainty, atol=2e-5)


@pytest.mark.parametrize("measure", [None, "mutual_information"])
def test_samples_give_the_predictors_own_uncertainty(measure: str | None, bayesian_file: Path, tmp_path: Path) -> None:
    source, asked = image_file(tmp_path / "a.png"), ("--measure", measure) if measure else ()
    words = ("--samples", 4, "--seed", 5, "--save", "mask,uncertainty", "--device", "cpu", *asked)
    assert leave(source, "--model", bayesian_file, "--out", tmp_path / "out", *words) == 0
    loaded = Predictor.load(bayesian_file, device="cpu", samples=4, seed=5, uncertainty=True, measure=measure)
    own = loaded(np.array(Image.open(source)))
    assert own.uncertainty is not None
    np.testing.assert_array_equal(indices(tmp_path / "out/mask/a.png"), own.mask)
    np.testing.assert_allclose(values(tmp_path / "out/uncertainty/a.png"), own.uncertainty, atol=2e-5)
    with Image.open(tmp_path / "out/uncertainty/a.png") as image:
        assert image.text["Description"] == f"uncertainty: {'mutual information, in nats' if measure else 'variance'}"
    with Image.open(tmp_path / "out/uncertainty_color/a.png") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--samples", "8"), "toy was made without dropout, so all its samples would be the same"),
        (("--samples", "1"), "samples=1 with seed=0 is not possible"),
        (("--save", "uncertainty", "--measure", "variance"), "toy gives no variance as it is used here, but entropy"),
    ],
)
def test_samples_that_say_nothing_are_refused_before_anything_is_written(
    words: tuple[str, ...], told: str, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(image_file(tmp_path / "a.png"), "--model", model_file, "--out", tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("segnet: ")
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_opacity_0_shows_the_image_and_1_the_colors(model_file: Path, tmp_path: Path) -> None:
    source = image_file(tmp_path / "a.png")
    for opacity in (0.0, 1.0):
        style = OverlayStyle(opacity=opacity)
        run(
            str(source),
            model=ModelFlags(model=str(model_file)),
            out=tmp_path / f"{opacity}",
            save=("overlay", "color"),
            style=style,
        )
    clear, full = (np.array(Image.open(tmp_path / f"{opacity}/overlay/a.png"))[:24, :32] for opacity in (0.0, 1.0))
    image, color = np.array(Image.open(source)), np.array(Image.open(tmp_path / "1.0/color/a.png"))
    for mixed, pure in ((clear, image), (full, color)):
        lines = 128 + pure // 2  # between two classes
        assert np.all((mixed == pure) | (mixed == lines))


def test_a_folder_keeps_its_structure(model_file: Path, tmp_path: Path) -> None:
    for place in ("a.png", "x/b.jpg", "x/y/c.bmp"):
        image_file(tmp_path / "in" / place)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    assert leave(tmp_path / "in", "--model", model_file, "--out", out, "--save", "mask") == 0
    assert written(out) == {"mask/a.png", "mask/x/b.png", "mask/x/y/c.png"}


def test_the_masks_of_a_data_set_are_not_taken_for_images_silently(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in ("images/a.png", "labels/a.png"):
        image_file(tmp_path / "in" / place)
    for source in ("in/images", "in"):
        assert caplog.text == ""
        assert leave(tmp_path / source, "--model", model_file, "--out", tmp_path / source / "out") == 0
    assert f"{tmp_path}/in is a data set, and the masks in {tmp_path}/in/labels are segmented" in caplog.text
    assert f"give {tmp_path}/in/images for the images alone" in caplog.text


def test_flags_of_videos_are_warned_of_where_only_images_are(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("--model", model_file, "--out", tmp_path / "out", "--rate", "9", "--smoothing", "0.8")
    assert leave(image_file(tmp_path / "a.png"), *words) == 0
    assert "--rate, --smoothing: without effect, since no video is given; numbered images are one as" in caplog.text
    assert "frames/%06d.jpg" in caplog.text


def test_a_glob_and_an_image_are_labeled_once_each(model_file: Path, tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b1.png"):
        image_file(tmp_path / "in" / name)
    glob, again, out = tmp_path / "in" / "a*.png", tmp_path / "in" / "a1.png", tmp_path / "out"
    assert leave(glob, again, "--model", model_file, "--out", out, "--save", "mask") == 0
    assert written(out) == {"mask/a1.png", "mask/a2.png"}


def test_without_a_source_the_packaged_sample_is_labeled(model_file: Path, tmp_path: Path) -> None:
    assert leave("--model", model_file, "--out", tmp_path, "--save", "mask") == 0
    assert indices(tmp_path / "mask/street.png").shape == (360, 480)


def test_colliding_stems_keep_their_suffixes(model_file: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        image_file(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert leave(tmp_path / "in", "--model", model_file, "--out", out, "--save", "mask") == 0
    assert written(out) == {"mask/a.png.png", "mask/a.jpg.png", "mask/b.png"}


def test_images_of_one_name_from_two_folders_are_refused_before_anything_is_written(
    model_file: Path, tmp_path: Path
) -> None:
    first, second = image_file(tmp_path / "x/a.png"), image_file(tmp_path / "y/a.png")
    with pytest.raises(DataError, match=r"x/a\.png and .*y/a\.png would be written to the same name"):
        run(str(first.parent), str(second.parent), model=str(model_file), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_run_does_not_label_the_results_of_the_first(model_file: Path, tmp_path: Path) -> None:
    image_file(tmp_path / "in/a.png")
    out = tmp_path / "in" / "predictions"
    for _ in range(2):
        assert leave(tmp_path / "in", "--model", model_file, "--out", out) == 0
        assert written(out) == {"mask/a.png", "overlay/a.png"}


def test_a_glob_that_covers_out_passes_over_earlier_results(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image_file(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert leave("**/*.png", "--model", model_file, "--out", "out") == 0
        assert "1 of 1 images predicted" in capsys.readouterr().out


def test_a_wrong_model_leaves_no_output_folder(tmp_path: Path) -> None:
    source = image_file(tmp_path / "a.png")
    assert leave(source, "--model", "nowhere", "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_longest_is_a_number_of_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(image_file(tmp_path / "a.png"), "--max-size", "-1", "--out", tmp_path / "out") == 2
    assert "max_size=-1 is not possible" in capsys.readouterr().err


def test_broken_images_are_told_at_the_end_and_the_others_written(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(6):
        image_file(folder / f"{number}.png", seed=number)
    (folder / "1.png").write_text("this is text")
    (folder / "3.png").write_bytes(b"")
    whole = image_file(tmp_path / "whole.jpg", size=(90, 120)).read_bytes()
    (folder / "5.jpg").write_bytes(whole[: len(whole) // 2])
    assert leave(folder, "--model", model_file, "--out", out, "--save", "mask") == 2
    names = {f"mask/{stem}.png" for stem in ("0", "2", "4", "5.png")}
    assert written(out) == names
    told = caplog.text
    for name in ("1.png", "3.png", "5.jpg"):
        assert name in told
    assert "6 images" not in capsys.readouterr().out.replace("4 of 7 images", "")


def test_only_broken_images_are_no_crash(model_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no")
    assert leave(broken, "--model", model_file, "--out", tmp_path / "out") == 2


def images_of_all_kinds() -> dict[str, Image.Image]:
    rgb = Image.fromarray(render_scene(5, size=(24, 32))[0])
    gray = rgb.convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(np.array(gray).astype(np.uint16) * 257)
    return {
        "rgb.png": rgb, "rgba.png": rgb.convert("RGBA"), "gray.png": gray, "gray_alpha.png": gray.convert("LA"),
        "palette.gif": rgb.convert("P"), "bilevel.png": gray.convert("1"), "sixteen.png": sixteen,
        "cmyk.jpg": rgb.convert("CMYK"), "float.tif": Image.fromarray(np.array(gray, dtype=np.float32) / 255),
        "one_pixel.png": rgb.crop((0, 0, 1, 1)),
    }  # fmt: skip


def test_every_kind_of_image_is_labeled_upright_at_its_own_size(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    kinds = images_of_all_kinds()
    for name, image in kinds.items():
        image.save(tmp_path / "in" / name)
    turned = Image.Exif()
    turned[0x0112] = 6  # a viewer turns it by 90 degrees
    kinds["rgb.png"].save(tmp_path / "in" / "turned.jpg", exif=turned)
    out = tmp_path / "out"
    assert leave(tmp_path / "in", "--model", model_file, "--out", out, "--save", "mask,overlay") == 0
    for name, image in kinds.items():
        mask = indices(out / "mask" / f"{Path(name).stem}.png")
        assert mask.shape == (image.height, image.width)
        assert mask.max() < 11
    assert indices(out / "mask" / "turned.png").shape == (32, 24)
    same = [indices(out / "mask" / f"{stem}.png") for stem in ("rgb", "rgba")]
    np.testing.assert_array_equal(*same)
    np.testing.assert_array_equal(indices(out / "mask/gray.png"), indices(out / "mask/sixteen.png"))


def test_the_table_holds_the_mean_shares_of_the_masks(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, size in enumerate([(24, 32), (48, 40)]):
        image_file(tmp_path / "in" / f"{number}.png", number, size)
    out = tmp_path / "out"
    assert leave(tmp_path / "in", "--model", model_file, "--out", out, "--save", "mask") == 0
    told = capsys.readouterr().out
    masks = [indices(out / "mask" / f"{number}.png") for number in range(2)]
    shares = {
        name: float(np.mean([(mask == index).mean() for mask in masks])) for index, name in enumerate(CAMVID.names)
    }
    rows = [line.split() for line in told.splitlines() if line.split() and line.split()[0] in shares]
    assert dict(rows) == {name: f"{share:.1%}" for name, share in shares.items()}
    figures = [float(text.rstrip("%")) for _, text in rows]
    assert figures == sorted(figures, reverse=True)
    assert "nan" not in told
    assert f"2 of 2 images predicted -> {out}" in told


def test_timing_tells_four_figures(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = image_file(tmp_path / "a.png")
    assert leave(source, "--model", model_file, "--out", tmp_path / "out", "--timing") == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("imports ", "model ", "prediction and writing ", "images/s"))


def test_a_style_changes_what_is_seen_and_no_number(model_file: Path, tmp_path: Path) -> None:
    source = image_file(tmp_path / "a.png", size=(64, 96))
    shown = CAMVID.names[
        int(np.bincount(Predictor.load(model_file)(np.array(Image.open(source))).mask.ravel()).argmax())
    ]
    words = (source, "--model", model_file, "--save", "mask,overlay,color,side")
    flags = ("--palette", "colorblind", "--show-classes", f"{shown},Fence", "--legend", "none", "--outline-width", 0)
    assert leave(*words, "--out", tmp_path / "plain") == 0
    assert leave(*words, "--out", tmp_path / "style", *flags) == 0
    mask = indices(tmp_path / "plain/mask/a.png")
    np.testing.assert_array_equal(indices(tmp_path / "style/mask/a.png"), mask)
    palette = np.array(Image.open(tmp_path / "style/mask/a.png").getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette[:11], CAMVID.colorblind().colors)
    image, overlay = np.array(Image.open(source)), np.array(Image.open(tmp_path / "style/overlay/a.png"))
    assert overlay.shape == image.shape  # no legend
    hidden = ~np.isin(mask, [CAMVID.names.index(name) for name in (shown, "Fence")])
    np.testing.assert_array_equal((overlay == image).all(axis=2), hidden)
    np.testing.assert_array_equal((np.array(Image.open(tmp_path / "style/color/a.png")) == 0).all(axis=2), hidden)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "style/side/a.png")), np.hstack([image, overlay]))


@pytest.mark.parametrize(
    ("legend", "higher"), [("auto", {"overlay", "side"}), ("below", {"overlay", "side", "color"}), ("none", set())]
)
def test_the_legend_stands_where_it_was_asked_for(
    legend: str, higher: set[str], model_file: Path, tmp_path: Path
) -> None:
    words = ("--model", model_file, "--out", tmp_path, "--save", "overlay,color,side", "--legend", legend)
    assert leave(image_file(tmp_path / "a.png"), *words) == 0
    heights = {kind: len(np.array(Image.open(tmp_path / kind / "a.png"))) for kind in ("overlay", "color", "side")}
    assert {kind for kind, height in heights.items() if height > 24} == higher
    assert min(heights.values()) >= 24


LOOKS = [
    ("--opacity", "1.5", "opacity=1.5 is not possible; give 0 (image alone) to 1 (colors alone)"),
    ("--outline-width", "-1", "outline_width=-1 is not possible; give pixels, 0 (no lines) to 100"),
    ("--legend", "above", "'above'"),
    ("--show-classes", "Car,Rode", "there is no class 'Rode'; did you mean 'Road'? known are Sky, Building"),
]


@pytest.mark.parametrize(("flag", "value", "told"), LOOKS)
def test_a_look_that_cannot_be_is_told_in_a_line_before_anything_is_written(
    flag: str, value: str, told: str, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = image_file(tmp_path / "a.png"), tmp_path / "out"
    assert leave(source, "--model", model_file, "--out", out, flag, value) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_file_in_the_place_of_the_output_folder_is_told_before_the_model_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"results cannot be written there \(File exists\)"):
        run(model="no such model", out=tmp_path / "file")


def test_a_result_that_cannot_be_written_is_code_2(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mask").write_text("in the way")
    for number in range(10):
        image_file(tmp_path / "in" / f"{number}.png")
    assert leave(tmp_path / "in", "--model", model_file, "--out", tmp_path, "--save", "mask") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_code_2(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_to_a_full_disk(path: Path, content: bytes) -> int:
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
            return full.write(content) or 0

    source = image_file(tmp_path / "a.png")
    monkeypatch.setattr(Path, "write_bytes", write_to_a_full_disk)
    assert leave(source, "--model", model_file, "--out", tmp_path / "out", "--save", "mask") == 2
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert not written(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.png"], "nowhere.png does not exist"),
        (["EMPTY"], "no image was found"),
        (["IMAGE", "--model", "nowhere.safetensors"], "neither such a model file"),
        (["IMAGE", "--device", "gpu"], "device 'gpu'"),
        (["IMAGE", "--save", "mask", "--show-classes", "Car"], "--show-classes: for overlay, color, side, and --save"),
        (
            ["IMAGE", "--measure", "entropy"],
            "--measure chooses the uncertainty that is saved; add uncertainty to --save",
        ),
        (["IMAGE", "--engine", "ray", "--timing"], "--timing is of one process; leave it out with --engine ray"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    words: list[str], told: str, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "IMAGE": str(image_file(tmp_path / "a.png"))}
    model = [] if "--model" in words else ["--model", str(model_file)]
    assert leave(*[places.get(word, word) for word in words], *model, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no names here")
def test_standard_output_is_no_file_of_figures(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "stdout"
    with (tmp_path / "redirected").open("w") as opened:
        link.symlink_to(f"/proc/self/fd/{opened.fileno()}")
        words = [image_file(tmp_path / "a.png"), "--model", model_file, "--out", tmp_path / "out", "--json", link]
        assert leave(*words) == 2
    assert "give --json the name of a file" in capsys.readouterr().err
    assert link.is_symlink()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["mask/a.png", "overlay/a.png", "confidence_color/a.png", "coco.json", "r.csv", "f.json"]
)
def test_files_that_no_run_wrote_are_refused_by_name_and_force_replaces_them(
    name: str, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, theirs = image_file(tmp_path / "images/a.png"), tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("theirs")
    words = [source, "--model", model_file, "--out", tmp_path, "--save", "mask,overlay,confidence,coco"]
    words += ["--records", tmp_path / "r.csv", "--json", tmp_path / "f.json"]
    assert leave(*words) == 2
    error = capsys.readouterr().err
    assert f"{theirs} was not written by an earlier run" in error
    assert "--force" in error
    assert theirs.read_text() == "theirs"
    assert written(tmp_path) == {"images/a.png", name}
    assert leave(*words, "--force") == 0
    assert theirs.read_bytes() != b"theirs"
    assert leave(*words) == 0


def test_a_mask_that_was_corrected_by_hand_stays(model_file: Path, tmp_path: Path) -> None:
    words = [image_file(tmp_path / "a.png"), "--model", model_file, "--out", tmp_path / "out"]
    assert leave(*words) == 0
    image_file(tmp_path / "out/mask/a.png", seed=3)
    corrected = (tmp_path / "out/mask/a.png").read_bytes()
    assert leave(*words) == 2
    assert (tmp_path / "out/mask/a.png").read_bytes() == corrected


def test_the_overlay_that_is_predicted_is_not_replaced_by_its_own_overlay(model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert leave(image_file(tmp_path / "a.png"), "--model", model_file, "--out", out) == 0
    before = (out / "overlay/a.png").read_bytes()
    assert leave(out / "overlay/a.png", "--model", model_file, "--out", out) == 2
    assert (out / "overlay/a.png").read_bytes() == before


@pytest.mark.parametrize(
    "flags",
    [
        ["--out", "out", "--save", "coco", "--json", "out/coco.json"],
        ["--out", "out", "--json", "out/mask/a.png"],
        ["--out", "a.jpg", "--json", "./a.jpg"],
        ["--records", "x.csv", "--json", "x.csv"],
    ],
)
def test_no_result_is_written_over_another_one(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave(image_file(tmp_path / "a.png"), "--model", "never opened", *flags) == 2
    assert f"{Path(flags[-1])} would be written twice, by two flags" in capsys.readouterr().err
    assert written(tmp_path) == {"a.png"}


def test_whatever_one_file_raises_is_its_own_failure(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "model", "reader", "writer", "z"):
        image_file(folder / f"{name}.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (out / "mask/writer.png").mkdir(parents=True)

    def raising(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if any(name in str(getattr(argument, "image", argument)) for argument in arguments):
                raise RuntimeError("nobody thought of it")
            return function(*arguments, **options)

        return call

    monkeypatch.setattr("segnet.results.images.read_pixels", raising(read_pixels, "reader.png"))
    monkeypatch.setattr("segnet.results.images._predict", raising(_predict, "model.png"))
    for source in (folder, folder / "*.png"):
        caplog.clear()
        assert leave(source, "--model", model_file, "--out", out, "--save", "mask") == 2
        assert written(out) == {"mask/a.png", "mask/z.png"}
        for name in ("model", "reader", "writer", "loop", "broken", "pipe"):
            assert f"/{name}.png" in caplog.text
        assert "Traceback" not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_told_and_the_others_are_recorded(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", os.fsdecode(b"m\xff.png"), "z.png"):
        image_file(tmp_path / "in" / name)
    words = [tmp_path / "in", "--model", model_file, "--out", tmp_path / "out", "--save", "mask,coco"]
    for records in ("r.jsonl", "r.csv"):
        assert leave(*words, "--records", tmp_path / records) == 2
        assert "a name that is not UTF-8" in caplog.text
        lines = (tmp_path / records).read_text(encoding="utf-8")
        assert "in/a.png" in lines
        assert "in/z.png" in lines
    assert len(json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))["images"]) == 2
    assert {path.name for path in (tmp_path / "out/mask").iterdir()} == {"a.png", os.fsdecode(b"m\xff.png"), "z.png"}
    assert leave(*words) == 2


def test_a_name_that_is_too_long_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("x" * 300 + ".png") == 2
    assert "cannot be looked up (File name too long); check the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "save"),
    [("x.png", None), ("new/x.jpg", "side"), ("x.PNG", "mask"), ("x.png", "confidence"), ("x.webp", "color")],
)
def test_an_image_name_is_the_file_of_one_image(name: str, save: str | None, model_file: Path, tmp_path: Path) -> None:
    source, out = image_file(tmp_path / "in/a.png"), tmp_path / "out" / name
    words = [source, "--model", model_file, "--save", save or "overlay"]
    assert leave(*(words if save else words[:-2]), "--out", out) == 0
    assert written(tmp_path / "out") == {name}
    if out.suffix.lower() == ".png":
        assert leave(*words, "--out", tmp_path / "folder") == 0
        assert out.read_bytes() == (tmp_path / "folder" / (save or "overlay") / "a.png").read_bytes()


def test_an_image_file_larger_than_memory_is_written_whole_unless_it_is_png(model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvips", exc_type=ImportError)
    source = image_file(tmp_path / "a.png", size=(520, 750))
    words = ("--model", model_file, "--memory", "0.018", "--overlap", "0", "--max-size", "256", "--legend", "none")
    for name in ("x.png", "x.jpg"):
        assert leave(source, *words, "--out", tmp_path / name) == 0
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("PNG" if name == "x.png" else "JPEG", (750, 520))


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (2, ["x.png"], "is one file, and 2 images and 0 videos as overlay"),
        (1, ["x.png", "--save", "mask,overlay"], "is one file, and 1 images and 0 videos as mask,overlay"),
        (1, ["x.png", "--save", "coco"], "is one file"),
        (1, ["x.jpg", "--save", "mask"], "cannot hold mask of an image; give a name that ends in .png"),
        (1, ["x.tga"], "cannot hold overlay of an image; give a name that ends in .bmp .jpeg"),
        (1, ["x.mp4"], "cannot hold overlay of an image"),
        (1, ["x.gif"], "cannot hold overlay of an image"),
    ],
)
def test_an_image_name_that_cannot_be_the_file_is_told(
    count: int, words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(count):
        image_file(tmp_path / f"in/{number}.png")
    assert leave(tmp_path / "in", "--out", tmp_path / words[0], *words[1:]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / words[0]).exists()


def test_a_file_with_several_images_is_told(model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.fromarray(render_scene(seed, size=(24, 32))[0]) for seed in range(4)]
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "a.gif", "a.webp", "a.png"):
        pages[0].save(tmp_path / "in" / name, save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "in/one.tif")
    assert leave(tmp_path / "in", "--model", model_file, "--out", tmp_path / "out", "--save", "mask") == 0
    for name in ("a.tif", "a.gif", "a.webp", "a.png"):
        assert f"{name} holds 4 images, and only the first was predicted" in caplog.text
    assert "one.tif" not in caplog.text


def test_a_class_with_a_comma_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = SegNet(
        SegNetConfig(name="t", encoder=EncoderConfig(widths=((4,),)), decoder=DecoderConfig(widths=((4,),)), classes=3)
    )
    labels = ClassTable.from_names(["Road, paved", "Sky", "Tree"])
    file = checkpoint.save(model, labels, tmp_path / "t.safetensors")
    words = [image_file(tmp_path / "a.png"), "--model", file, "--save", "color", "--out"]
    for names in ('"Road, paved"', 'Sky,"Road, paved"', 'Sky, "Road, paved"'):
        assert leave(*words, tmp_path / f"{names}.png", "--show-classes", names) == 0
    assert leave(*words, tmp_path / "x.png", "--show-classes", "Road, paved") == 2
    assert "there is no class 'Road'; quote a name that holds a comma" in capsys.readouterr().err


def test_a_subfolder_that_cannot_be_read_is_told_and_the_others_are_predicted(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "secret/b.png", "z/c.png"):
        image_file(tmp_path / "in" / name)
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # chmod does not stop root, as whom tests often run
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert leave(tmp_path / "in", "--model", model_file, "--out", tmp_path / "out", "--save", "mask") == 2
    assert "secret cannot be searched for images (Permission denied)" in caplog.text
    assert (tmp_path / "out/mask/z/c.png").exists()
    assert (tmp_path / "out/mask/a.png").exists()


def test_sigterm_completes_the_image_in_hand_and_all_files(model_file: Path, tmp_path: Path) -> None:
    image = image_file(tmp_path / "images" / "000.png").read_bytes()
    for number in range(1, 400):
        (tmp_path / "images" / f"{number:03}.png").write_bytes(image)
    out, before = tmp_path / "out", signal.getsignal(signal.SIGTERM)
    thread = terminate_once(out / "mask" / "000.png")
    words = (
        "--model",
        model_file,
        "--out",
        out,
        "--save",
        "mask,coco",
        "--records",
        out / "r.jsonl",
        "--device",
        "cpu",
    )
    assert leave(tmp_path / "images", *words, "--json", out / "r.json") == 143
    thread.join()
    masks = sorted(out.glob("mask/[!.]*.png"))
    assert 0 < len(masks) < 400
    assert [indices(mask).shape for mask in masks] == [(24, 32)] * len(masks)
    names = [json.loads(line)["name"] for line in (out / "r.jsonl").read_text().splitlines()]
    assert names == [mask.stem for mask in masks]
    assert [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]] == [
        mask.name for mask in masks
    ]
    assert json.loads((out / "r.json").read_text())["images"] == len(masks)
    assert signal.getsignal(signal.SIGTERM) == before
