from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.errors import ConfigError, ModelError
from segnet.exporting.comparison import Tolerance, require_close
from segnet.exporting.export import export, reference_pipeline
from segnet.exporting.programs import Pipeline, make_program
from segnet.exporting.sampled_checks import compare_samples
from segnet.exporting.sampling import AlwaysOnDropout, keep_dropout_on, mean_and_uncertainty
from segnet.exporting.settings import ExportConfig
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import largest_uncertainty
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.mc_dropout import dropouts
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.runtimes.base import FileRuntime, ImageBatch
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo

SAMPLES = 4
SIZE = (24, 32)
CONFIG = ExportConfig(samples=SAMPLES, output="probabilities")
TWO = ExportConfig(samples=2, output="probabilities", size=SIZE)
"""The least that is drawn: the time that an export takes grows with the samples, and more where any size is taken."""
NOTHING = 1e-12  # a probability that no draw comes below


def make(probability: float, *, first: int = 1, stages: int = 2) -> SegNet:
    """Two stages, dropout after the pooling of the ``first`` and in the decoder; or only the shallower of them."""
    torch.manual_seed(3)
    encoder = EncoderConfig(widths=((4,), (6,))[:stages], dropout_after_pooling=(first,) if first else ())
    decoder = DecoderConfig(widths=((4,),) * stages, dropout_stages=(2,) if stages == 2 else ())
    return SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, dropout=probability, classes=5)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By suffix, a file that draws samples of any number of images; not to be changed."""
    folder, labels = tmp_path_factory.mktemp("sampled"), ClassTable.numbered(5)

    @cache
    def written(suffix: str) -> Path:
        kind = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}[suffix]
        return export(make(0.5, stages=1), labels, folder / f"toy{suffix}", format=kind, config=TWO).path

    return written


@pytest.fixture
def twice() -> ImageBatch:
    """One image, two times."""
    return np.repeat(np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32), 2, axis=0)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_every_run_and_every_image_of_a_batch_is_drawn_anew(
    suffix: str, exported: Callable[[str], Path], twice: ImageBatch
) -> None:
    runtime = open_runtime(exported(suffix), device="cpu")
    assert isinstance(runtime, FileRuntime)
    assert runtime.info.samples == TWO.samples
    report = json.loads(runtime.path.with_name(f"{runtime.path.name}.report.json").read_text(encoding="utf-8"))
    assert report["reference"] == {"reason": "the file draws samples, so its classes differ from run to run"}
    (first, uncertainty), (again, _) = runtime.outputs(twice), runtime.outputs(twice)
    assert (uncertainty.shape, uncertainty.dtype) == ((2, *SIZE), np.float32)
    assert uncertainty.min() >= 0.0 < uncertainty.max()
    np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert np.mean(first != again) > 0.9
    assert np.mean(first[0] != first[1]) > 0.9
    np.testing.assert_allclose(runtime.run(twice, probabilities=True).probabilities.sum(axis=1), 1.0, rtol=1e-5)


def test_a_predictor_takes_the_files_own_uncertainty(exported: Callable[[str], Path]) -> None:
    predictor = Predictor.load(exported(".onnx"), device="cpu", confidence=True, uncertainty=True)
    found = predictor(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    assert predictor.measure == "variance"
    assert found.confidence is not None
    assert found.uncertainty is not None
    assert 0 < found.uncertainty.max() <= largest_uncertainty("variance", 5)
    assert found.confidence[found.uncertainty == found.uncertainty.max()].max() < found.confidence.max()


def test_an_onnx_file_names_what_it_gives(exported: Callable[[str], Path]) -> None:
    import onnxruntime as ort

    outputs = ort.InferenceSession(exported(".onnx")).get_outputs()
    assert [output.name for output in outputs] == ["probabilities", "uncertainty"]
    assert [len(output.shape) for output in outputs] == [4, 3]


@pytest.mark.parametrize(("output", "size", "stages"), [("probabilities", None, 1), ("mask", (13, 18), 2)])
def test_a_file_that_drops_nothing_gives_the_plain_networks_output(
    output: Any, size: tuple[int, int] | None, stages: int, tmp_path: Path
) -> None:
    model, config = make(NOTHING, stages=stages), replace(TWO, output=output, size=size)
    path = export(model, ClassTable.numbered(5), tmp_path / "toy.onnx", config=config).path
    runtime, image = open_runtime(path, device="cpu"), torch.rand(2, 3, 13, 18)
    assert isinstance(runtime, FileRuntime)
    with torch.no_grad():
        wanted = Pipeline(model, ExportConfig(output=output))(image)
    found, uncertainty = runtime.outputs(image.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(uncertainty, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "config"), [(0, TWO), (1, replace(TWO, size=None)), (2, TWO)], ids=["0", "1-any size", "2"]
)
def test_what_stands_before_the_first_dropout_is_computed_once(first: int, config: ExportConfig) -> None:
    counts = Counter(str(node.target) for node in make_program(make(0.5, first=first), config).graph.nodes)
    shared, samples = first or 3, config.samples or 0  # convolutions before it, of five
    assert counts["aten.conv2d.default"] == shared + (5 - shared) * samples
    assert counts["aten.rand_like.default"] == (2 if first else 1) * samples


def test_operators_that_overwrite_their_input_are_counted_right() -> None:
    """Merged as they stand, both samples would overwrite the same map."""
    model = make(0.5)
    model.encoder.stages[0].append(torch.nn.SiLU(inplace=True))
    model.encoder.dropouts[0].p = NOTHING
    model.decoder.dropouts[0].p = NOTHING
    image = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        found, _ = make_program(model, TWO).module()(image)
        torch.testing.assert_close(found, model(image).softmax(dim=1), rtol=1e-4, atol=1e-5)


def test_the_mean_and_the_variance_are_numpys() -> None:
    samples = torch.rand(7, 2, 5, 3, 4)
    mean, uncertainty = mean_and_uncertainty(samples)
    np.testing.assert_allclose(mean, samples.numpy().mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(uncertainty, samples.numpy().var(axis=0).mean(axis=1), rtol=1e-4)


def test_drop_keeps_the_mean_and_the_share() -> None:
    found = AlwaysOnDropout(0.3)(torch.ones(1, 1, 400, 500))
    assert float((found == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.02)


class Sampler(FileRuntime):
    """A network as a file that draws samples."""

    def __init__(self, model: SegNet, config: ExportConfig = CONFIG, *, seed: int | None = None) -> None:
        super().__init__(Path("toy.onnx"), ModelInfo(name="toy", labels=ClassTable.numbered(5), samples=config.samples))
        self.network, self.seed = Pipeline(keep_dropout_on(model), config).eval(), seed

    @torch.no_grad()
    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        if self.seed is not None:
            torch.manual_seed(self.seed)
        return [output.numpy() for output in self.network(torch.from_numpy(image))]


class SameMasks(Sampler):
    """All samples of a run are one, as where a program takes random nodes that look alike for the same."""

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        with torch.no_grad():
            one = self.network.logits(torch.from_numpy(image)).softmax(dim=1)
        return [one.numpy(), np.zeros((len(image), *image.shape[2:]), dtype=np.float32)]


def judge(runtime: FileRuntime, config: ExportConfig = CONFIG) -> None:
    image = np.random.default_rng(0).random((2, 3, *SIZE), dtype=np.float32)
    require_close([compare_samples(runtime, reference_pipeline(make(0.5), config), "noise", image)], Tolerance())


@pytest.mark.parametrize("output", ["probabilities", "mask"])
def test_what_chance_explains_passes(output: Any) -> None:
    config = replace(CONFIG, output=output)
    judge(Sampler(make(0.5), config), config)


@pytest.mark.parametrize("output", ["probabilities", "mask"])
@pytest.mark.parametrize("probability", [0.3, 0.7])
def test_another_probability_does_not_pass(output: Any, probability: float) -> None:
    config = replace(CONFIG, output=output)
    with pytest.raises(ModelError, match=r"does not give what PyTorch gives: .* nothing was written"):
        judge(Sampler(make(probability), config), config)


def test_samples_that_are_one_do_not_pass() -> None:
    with pytest.raises(ModelError, match="the exported file"):
        judge(SameMasks(make(0.5)))


def test_a_shifted_mean_does_not_pass() -> None:
    model = make(0.5)
    with torch.no_grad():
        model.classifier.bias[0] += 1.0
    with pytest.raises(ModelError, match="does not give what PyTorch gives"):
        judge(Sampler(model))


def test_the_same_draws_at_each_run_do_not_pass() -> None:
    with pytest.raises(ModelError, match="drops the same at each run"):
        judge(Sampler(make(0.5), seed=1))


def test_another_shape_does_not_pass() -> None:
    with pytest.raises(ModelError, match=r"gives \[\(2, 24, 32\), .*\] where PyTorch gives \[\(2, 5, 24, 32\)"):
        judge(Sampler(make(0.5), replace(CONFIG, output="mask")))


def test_the_check_leaves_the_callers_generators_and_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Still(Sampler):
        def forward(self, image: ImageBatch) -> list[np.ndarray]:
            number = np.float32(np.random.default_rng().random())
            return [np.full((1, 5, *SIZE), number), np.full((1, *SIZE), number)]

    network, image = reference_pipeline(make(0.5), CONFIG), np.zeros((1, 3, *SIZE), dtype=np.float32)
    runtime, before = Still(make(0.5)), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPUs were seeded"))
    compare_samples(runtime, network, "noise", image)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(part.training for part in network.modules())


@pytest.mark.parametrize("format", ["executorch", "litert"])
def test_formats_that_draw_nothing_are_refused(format: str, tmp_path: Path) -> None:  # noqa: A002
    config = replace(CONFIG, size=SIZE)
    with pytest.raises(ConfigError, match=f"{format} cannot draw samples here; leave --samples out, or choose one of"):
        export(make(0.5), ClassTable.numbered(5), tmp_path / "toy.pte", format=format, config=config)


def test_a_network_without_dropout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="toy has no dropout, so its samples would all be the same"):
        export(make(0.0), ClassTable.numbered(5), tmp_path / "toy.onnx", config=CONFIG)


def test_the_places_of_the_published_network_are_found() -> None:
    assert list(dropouts(create_model("bayesian_segnet_basic"))) == [
        *("encoder.dropouts.2", "encoder.dropouts.3", "decoder.dropouts.0", "decoder.dropouts.1"),
    ]
    assert dropouts(create_model("segnet_basic")) == {}
