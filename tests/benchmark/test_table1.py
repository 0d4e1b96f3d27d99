"""The paper's Table 1 again: the table, what it says of the paper's claims, and runs that are cut, shared or mixed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from segnet.data.layouts import Source
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import MODELS
from segnet.training.settings import TrainConfig

ROOT = Path(__file__).parents[2]
HOLDING = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def beside_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def paper() -> Any:
    return import_module("table1_paper")


@pytest.fixture
def study() -> Any:
    return import_module("study")


@pytest.fixture
def table1() -> Any:
    return import_module("table1")


def made_up(paper: Any, **changed: float) -> dict[str, Any]:
    """The paper's own figures as ours, but for the mIoU of some networks by the median balancing."""
    rows = {}
    for name, row in paper.PAPER.items():
        scores = {balance: {**row.scores(balance), "bf_near": 50.0} for balance in paper.BALANCES}
        scores["median"]["miou"] = changed.get(name, scores["median"]["miou"])
        rows[name] = paper.Measured(parameters=row.parameters, storage=1.0, ms=None, scores=scores)
    return rows


def test_the_papers_rows_are_the_eight_decoders_of_the_zoo(paper: Any) -> None:
    assert set(paper.PAPER) <= set(MODELS)
    assert len(paper.PAPER) == 8


def test_every_claim_holds_in_the_papers_own_figures(paper: Any) -> None:
    verdicts = paper.verdicts(made_up(paper))
    assert len(verdicts) == 2 * len(paper.ORDERINGS)
    assert all(row["holds"] and row["margin"] == row["paper"] > 0 for row in verdicts)


def test_a_claim_fails_by_as_much_as_the_worst_of_the_better_is_below(paper: Any) -> None:
    rows = made_up(paper, bilinear=45.0)  # the lowest of the others is FCN-Basic-NoAddition at 44.1
    found = {(row["claim"], row["balance"]): row for row in paper.verdicts(rows)}
    assert found["bilinear is worst", "median"]["margin"] == pytest.approx(44.1 - 45.0)
    assert not found["bilinear is worst", "median"]["holds"]
    assert found["bilinear is worst", "natural"]["holds"]
    line = "| bilinear is worst | mIoU | median | does not hold | -0.9 | +0.8 |"
    assert line in paper.verdict_table(list(found.values())).splitlines()


def test_a_claim_about_a_missing_network_is_not_known(paper: Any) -> None:
    rows = made_up(paper)
    rows["segnet_basic"] = replace(rows["segnet_basic"], scores={})
    found = {row["claim"]: row for row in paper.verdicts(rows)}
    assert found["a single-channel decoder loses"]["holds"] is None
    assert found["without addition FCN-Basic loses at boundaries"]["holds"]


def test_each_cell_has_ours_and_the_papers(paper: Any) -> None:
    rows = made_up(paper, segnet_basic=40.0)
    rows["fcn_basic"] = replace(rows["fcn_basic"], scores={"natural": rows["fcn_basic"].scores["natural"]})
    lines = paper.table_of(rows).splitlines()
    assert len(lines) == 2 + 16
    ours = "1.425 / 1.425 | 1.0 / 1.0 | - / 52.6 | 82.7 / 82.7 | 62.0 / 62.0 | 40.0 / 47.7 | 35.8 / 35.8 | 50.0 / -"
    assert f"| SegNet-Basic | median | {ours} |" in lines
    missing = next(line for line in lines if line.startswith("| FCN-Basic | median "))
    assert missing.endswith("| - / 81.7 | - / 62.4 | - / 47.3 | - / 38.1 | - / - |")


def test_the_paper_recipe_is_that_of_segnet_basic() -> None:
    """One recipe for eight networks; the one that has the same numbers by itself must not drift from it."""
    single, table = (
        yaml.safe_load((ROOT / "recipes" / name).read_text(encoding="utf-8"))
        for name in ("paper_segnet_basic.yaml", "table1/paper.yaml")
    )
    assert single == table


def quick(table1: Any, camvid_root: Path, out: Path, *more: str) -> None:
    """One of the sixteen runs on drawn scenes, a step long."""
    fixed = ["--recipe", "quick", "--size", "24", "32", "--models", "fcn_basic", "--balances", "natural"]
    table1.main([str(camvid_root), *fixed, "--out", str(out), "--json", str(out / "table.json"), *more])


def test_a_part_of_the_table_is_written_drawn_and_never_mixed(
    table1: Any, camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"machine": {}, "device": "cpu", "threads": 1, "ms": {"fcn_basic": 12.5}}
    (tmp_path / "times.json").write_text(json.dumps(times))
    quick(table1, camvid_root, tmp_path, "--fraction", "0.01")
    printed = capsys.readouterr().out
    assert "1 epochs (1 steps of 4) at 24x32, bf16 on cpu, fraction 0.01, scored on 3 val images" in printed
    assert "missing: median bilinear, " in printed
    table = json.loads((tmp_path / "table.json").read_text())
    assert len(table["missing"]) == 15
    assert table["budget"]["images"] == 6
    assert table["rows"]["fcn_basic"]["ms"] == 12.5
    assert table["timed"] == {"machine": {}, "device": "cpu", "threads": 1}
    scores = table["rows"]["fcn_basic"]["scores"]["natural"]
    assert 0 <= scores["bf"] <= scores["bf_near"] <= 100  # a partner of its own is harder to have than any

    quick(table1, camvid_root, tmp_path, "--figure", str(tmp_path / "figure.png"))
    assert "missing in" in capsys.readouterr().out
    with Image.open(tmp_path / "figure.png") as figure:  # three panels of 48x64 beside each other
        assert figure.width >= 3 * 64
        assert figure.height > 48

    with pytest.raises(SystemExit, match=r"figure\.txt is no name for a figure; give one that ends in \.png or"):
        quick(table1, camvid_root, tmp_path, "--figure", str(tmp_path / "figure.txt"))
    with pytest.raises(SystemExit, match=r"--fraction 0 is not possible; give a number above 0"):
        quick(table1, camvid_root, tmp_path, "--fraction", "0")

    before = (tmp_path / "table.json").read_bytes()
    with pytest.raises(SystemExit, match=r"runs of fraction 0.02 and 0.01 cannot stand in one table"):
        quick(table1, camvid_root, tmp_path, "--fraction", "0.02")
    assert (tmp_path / "table.json").read_bytes() == before


def test_runs_of_other_settings_are_not_put_into_one_table(table1: Any) -> None:
    one = {"model": "fcn_basic", "class_weights": "median", "lr": 0.05, "workers": 1}
    table1.check_one_recipe([one, {**one, "model": "bilinear", "class_weights": "none", "workers": 2}])
    with pytest.raises(SystemExit, match=r"runs with lr 0\.05 and 0\.5 cannot stand in one table; give another --out"):
        table1.check_one_recipe([one, one, {**one, "lr": 0.5}])
    with pytest.raises(SystemExit, match=r"runs with ema None and 0\.9"):
        table1.check_one_recipe([one, {**one, "ema": 0.9}])


def test_without_runs_there_is_no_table(table1: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no run is done yet"):
        table1.report(tmp_path, tmp_path / "table.json")
    with pytest.raises(SystemExit, match="no run is done yet"):
        table1.draw(None, tmp_path, None, tmp_path / "figure.png")


class Cut(Exception):  # noqa: N818
    """What ends a run."""


class Run:
    """A small network's run, that can be cut."""

    def __init__(self, study: Any, small: SegNetConfig, source: Source) -> None:
        self.study = study
        self.small = replace(small, classes=11)
        self.sets = source.dataset("train"), source.dataset("val")
        self.steps = 0

    def __call__(self, out: Path, *, epochs: int = 2, cut: int | None = None, score: Any = None) -> None:
        """Train it in two epochs of three steps.

        Args:
            cut: the step in which it ends.
        """
        config = TrainConfig(epochs=epochs, batch=2, validate_every=epochs, workers=0, precision="float32")

        def network() -> SegNet:
            made = SegNet(self.small)
            made.register_forward_pre_hook(lambda model, _: self._count(cut) if model.training else None)
            return made

        self.study.learn_and_score(
            self.study.Row(about="small", network=network, config=config), self.sets, out, score=score, device="cpu"
        )

    def _count(self, cut: int | None) -> None:
        self.steps += 1
        if self.steps == cut:
            raise Cut


def test_a_run_that_was_cut_ends_as_one_that_was_not(
    study: Any, narrow_config: SegNetConfig, camvid: Source, tmp_path: Path
) -> None:
    whole = Run(study, narrow_config, camvid)
    whole(tmp_path / "whole")
    run = Run(study, narrow_config, camvid)
    with pytest.raises(Cut):
        run(tmp_path / "cut", cut=5)
    assert not (tmp_path / "cut" / "scores.json").exists()
    (tmp_path / "cut" / "last.ckpt").rename(tmp_path / "cut" / "previous.ckpt")  # as between its two renamings

    def failing(_: SegNet) -> dict[str, Any]:
        raise Cut

    with pytest.raises(Cut):
        run(tmp_path / "cut", score=failing)
    assert run.steps == 5 + 3  # the second epoch again
    run(tmp_path / "cut")
    assert run.steps == 8
    scores = [(tmp_path / name / "scores.json").read_bytes() for name in ("cut", "whole")]
    assert scores[0] == scores[1]


def test_a_finished_run_and_one_of_another_process_are_left_alone(
    study: Any, narrow_config: SegNetConfig, camvid: Source, tmp_path: Path
) -> None:
    run = Run(study, narrow_config, camvid)
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    with holding:
        assert holding.stdout is not None
        holding.stdout.readline()
        run(tmp_path)
        assert run.steps == 0
        holding.kill()
    with study.claimed(tmp_path) as mine:
        assert mine  # a dead process keeps nothing
    (tmp_path / "scores.json").write_text("{}")
    run(tmp_path)
    assert run.steps == 0


def test_a_run_that_was_begun_with_other_epochs_is_refused(
    study: Any, narrow_config: SegNetConfig, camvid: Source, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    with pytest.raises(SystemExit, match="was begun with 3 epochs and not 2; give another --out"):
        Run(study, narrow_config, camvid)(tmp_path)


def test_a_network_of_small_images_labels_large_ones_at_their_size(table1: Any) -> None:
    """A network that repeats its image gives it back blurred, and a flat one unchanged."""
    repeated = table1.AtSize(torch.nn.Identity(), (6, 8))
    image = torch.full((1, 3, 13, 17), 0.25)
    torch.testing.assert_close(repeated(image), image)
    image = torch.rand(1, 3, 13, 17, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(image, (6, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(repeated(image), F.interpolate(small, (13, 17), mode="bilinear"))
