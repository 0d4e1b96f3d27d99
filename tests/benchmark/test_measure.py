"""Timing by turns, each candidate in a process of its own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segnet.benchmark import measure as module
from segnet.benchmark import worker
from segnet.benchmark.measure import Measured, measure
from segnet.benchmark.worker import Candidate, serve, timed
from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.bundled import bundled_models
from segnet.models.cost import cost_of
from segnet.models.segnet import SegNet
from segnet.models.zoo import MODELS
from segnet.system.hardware import Peak, peak_gmacs
from video_clips import InPairs

SIZE = (24, 32)


class Pipe:
    """The far end of a pipe, in this process."""

    def __init__(self, *asked: Any) -> None:
        self.asked = list(asked)
        self.sent: list[Any] = []

    def recv(self) -> Any:
        return self.asked.pop(0)

    def send(self, value: Any) -> None:
        self.sent.append(value)


@pytest.fixture
def file(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> str:
    return str(checkpoint.save(narrow, five_labels, tmp_path / "narrow.safetensors"))


def test_two_candidates_are_measured_by_turns(file: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "peak_gmacs", lambda precision, **_: peak_gmacs(precision, threads=1, budget_s=0.05))
    baseline = Candidate(model="segnet_basic", baseline="reference", size=SIZE)
    alone_and_busy = measure([Candidate(model=file, size=SIZE), baseline], rounds=2, images=3, threads=1, neighbors=1)
    assert [(row.candidate.baseline, row.neighbors) for row in alone_and_busy] == [
        (None, 0), (None, 1), ("reference", 0), ("reference", 1)
    ]  # fmt: skip
    rows = [row for row in alone_and_busy if not row.neighbors]
    for row in alone_and_busy:
        assert 0 < row.p50_ms <= row.p90_ms
        assert row.images_per_s == pytest.approx(1000 / row.p50_ms)
        assert row.memory_mb is None or row.memory_mb > 0
    assert rows[0].file_mb == pytest.approx(Path(file).stat().st_size / 1e6)
    assert rows[0].gmacs is None  # no row of the zoo
    assert rows[1].gmacs == pytest.approx(cost_of(MODELS["segnet_basic"], SIZE).macs / 1e9)
    assert rows[1].share_of_peak is not None
    assert [(row.timed, row.no_peak) for row in rows] == [(6, "")] * 2
    assert set(rows[0].to_dict()) >= {"model", "precision", "size", "p50_ms", "share_of_peak"}


def test_a_file_has_the_precision_that_it_was_exported_in():
    handle = module._Worker(Candidate(model="light.xml", size=SIZE), threads=1, limit=1.0)
    handle.precision = "int8"
    end = {"memory_mb": None, "file_mb": None, "network": "narrow"}
    row = module._row(module._Run(handle, 0), [0.1], end, Peak(gmacs=1.0), None)
    assert (row.precision, row.to_dict()["precision"]) == ("int8", "int8")


def test_a_candidate_that_cannot_run_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="nowhere: there is neither such a model file nor a model of that name"):
        measure([Candidate(model="nowhere", size=SIZE)], rounds=1, images=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "give 1 or more"),
        ({"images": 0}, "give 1 or more"),
        ({"neighbors": -1}, "give 0 to 64"),
        ({"limit": 0.0}, "give seconds above 0"),
        ({"limit": float("nan")}, "give seconds above 0"),
    ],
)
def test_no_rounds_and_no_time_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        measure([], **wrong)


@pytest.mark.parametrize(
    ("image_s", "limit", "calls"),
    [(1.0, 100.0, 4), (1.0, 3.0, 3), (1.0, 2.9, 2), (50.0, 3.0, 1)],
)
def test_a_turn_ends_when_its_time_is_up(
    image_s: float, limit: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    assert timed(lambda: now.__setitem__(0, now[0] + image_s), 4, limit) == [image_s] * calls


class Worker:
    """A candidate whose images take so many seconds."""

    def __init__(self, image_s: float) -> None:
        self.image_s = image_s

    def turn(self, images: int, limit: float) -> list[float]:
        return [self.image_s] * max(1, min(images, int(limit / self.image_s)))


@pytest.mark.parametrize(("image_s", "timed"), [(0.1, 20), (2.0, 10), (7.0, 2), (300.0, 1)])
def test_all_turns_of_a_candidate_end_when_its_time_is_up(image_s: float, timed: int):
    slow, quick = module._turns([Worker(image_s), Worker(0.1)], 5, 4, limit=20.0)
    assert len(slow) == timed
    assert sum(slow) <= max(20.0, image_s)
    assert len(quick) == 20  # it does not suffer from the other


def test_percentiles_and_shares_are_of_the_seconds(monkeypatch: pytest.MonkeyPatch):
    end = {"network": "segnet", "classes": 11, "channels": 3, "memory_mb": 5.0, "file_mb": None}
    seconds = [0.1 * n for n in range(1, 12)]
    worker = SimpleNamespace(candidate=Candidate(model="x.onnx", size=(360, 480)), precision="int8")
    run = SimpleNamespace(worker=worker, neighbors=0)
    row: Measured = module._row(run, seconds, end, Peak(1000.0), None)
    assert row.p50_ms == pytest.approx(600)
    assert row.p90_ms == pytest.approx(1000)
    assert row.gmacs == pytest.approx(106.71, abs=0.01)
    assert row.share_of_peak == pytest.approx(106.71 / 0.6 / 1000, abs=1e-4)
    assert (row.timed, row.no_peak, row.precision) == (11, "", "int8")
    assert (row.images_per_s, row.at_once) == (pytest.approx(1 / 0.6), 1)
    without = module._row(run, seconds, end, Peak(reason="int8 is emulated"), None)
    assert (without.share_of_peak, without.no_peak) == (None, "int8 is emulated")


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(model="segnet_basic", size=SIZE),
        Candidate(model="bilinear", precision="bf16", size=SIZE),
        Candidate(model="segnet_basic", baseline="reference", size=SIZE),
    ],
    ids=lambda candidate: candidate.label,
)
def test_a_process_answers_its_precision_then_seconds_then_what_is_known(candidate: Candidate):
    pipe = Pipe((2, 60.0), (1, 60.0), "concurrent", None)
    serve(pipe, candidate, 1, 60.0)
    precision, two, one, at_once, known = pipe.sent
    assert at_once == 1
    assert precision == candidate.precision
    assert [len(two), len(one)] == [2, 1]
    assert all(value > 0 for value in two + one)
    assert known["network"] == candidate.model
    assert known["channels"] == 3
    bundled = None if candidate.baseline else bundled_models().get(candidate.model)
    assert known["file_mb"] == (bundled and pytest.approx(bundled.stat().st_size / 1e6))


def test_a_process_computes_as_many_images_at_the_same_time_as_its_runtime_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "_open", lambda candidate, threads: InPairs())
    pipe = Pipe((2, 60.0), "concurrent", (3, 2), None)
    serve(pipe, Candidate(model="pairs", size=SIZE), 0, 60.0)
    at_once, seconds = pipe.sent[-3:-1]
    assert at_once == 2
    assert 0 < seconds < 30  # a call without another one waits that long, and fails


class Concurrent:
    """A candidate that computes so many images at the same time, at these rates."""

    def __init__(self, at_once: int, *rates: float) -> None:
        self.at_once, self.rates, self.asked = at_once, list(rates), []

    def start_concurrent(self) -> int:
        return self.at_once

    def rate(self, images: int) -> float:
        self.asked.append(images)
        return self.rates.pop(0)


def test_the_rate_of_several_at_the_same_time_is_the_median_of_its_rounds():
    quick, slow, alone = Concurrent(2, 30.0, 20.0, 50.0), Concurrent(2, 1.0, 1.0, 1.0), Concurrent(1)
    assert module._rates({quick: 0.05, slow: 7.0, alone: 0.1}, 3, 4, limit=20.0) == {quick: 30, slow: 1, alone: None}
    assert (quick.asked, slow.asked) == ([10] * 3, [1] * 3)


def test_several_at_the_same_time_are_measured_without_a_limit():
    pair = Concurrent(2, 30.0)
    assert module._rates({pair: 0.05}, 1, 4, limit=float("inf")) == {pair: 30}
    assert pair.asked == [10]


def test_the_reference_implementation_copies_a_network_of_ours():
    pipe = Pipe()
    serve(pipe, Candidate(model="mine", baseline="reference", size=SIZE), 1, 60.0)
    assert isinstance(pipe.sent[0], ModelError)
    assert "mine: the reference implementation exists for segnet" in str(pipe.sent[0])


def test_the_reference_implementation_refuses_networks_with_other_layers():
    from segnet.benchmark.baselines import ReferenceSegNet, reference_config

    copied = {}
    for name in MODELS:
        with suppress(ConfigError):
            copied[name] = reference_config(name)
    assert {"segnet", "segnet_basic", "segnet_pascal"} <= set(copied)
    assert not set(copied) & {"segnet_light", "bilinear", "fcn_basic", "segnet_basic_encoder_addition"}
    for config in copied.values():
        with torch.device("meta"):
            logits = ReferenceSegNet(config).eval()(torch.rand(1, 3, 9, 11))
        assert logits.shape == (1, config.classes, 9, 11)


def test_labels_tell_candidates_apart():
    names = [
        Candidate(model="a/b.onnx").label,
        Candidate(model="segnet", compiled=True).label,
        Candidate(model="segnet", baseline="reference_onnx").label,
        Candidate(model="segnet", baseline="unet_vgg16").label,
    ]
    assert names == ["b.onnx", "segnet compiled", "reference_onnx segnet", "unet_vgg16"]


def test_the_reference_implementation_is_the_published_network(narrow: SegNet):
    from segnet.benchmark.baselines import ReferenceSegNet

    config = MODELS["segnet_basic"]
    ours, reference = SegNet(config).eval(), ReferenceSegNet(config).eval()
    learned = [value for name, value in ours.state_dict().items() if name not in {"mean", "std"}]
    reference.load_state_dict(dict(zip(reference.state_dict(), learned, strict=True)))
    image = torch.rand(1, 3, 21, 18)
    with torch.no_grad():
        np.testing.assert_allclose(reference(image * 255).numpy(), ours(image).numpy(), rtol=1e-3, atol=1e-3)


def test_the_peak_is_the_best_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([Peak(50.0), Peak(80.0), Peak(60.0)])
    monkeypatch.setattr(module, "peak_gmacs", lambda precision, **settings: next(measured))
    peaks = module._Peaks({"float32"}, 3, 1)
    module._turns([Worker(1.0)], 3, 1, 20.0, each_round=peaks.turn)
    assert peaks.best == {"float32": Peak(80.0)}


def test_a_precision_without_a_peak_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([Peak(reason="int8 is emulated")])
    monkeypatch.setattr(module, "peak_gmacs", lambda precision, **settings: next(measured))
    peaks = module._Peaks({"int8"}, 2, 1)
    peaks.turn()
    peaks.turn()
    assert peaks.best["int8"].reason == "int8 is emulated"
