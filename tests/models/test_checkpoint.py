"""Model files: what goes in comes out, and what is damaged is refused with its name."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from segnet.errors import ModelError, OutputError
from segnet.labels import CAMVID, ClassTable
from segnet.metrics.confusion import Scores
from segnet.models.bundled import EXPORTED_SUFFIXES, bundled_models, find
from segnet.models.checkpoint import Checkpoint, load, save
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model

CAMVID_SCORES = Scores(np.eye(11, dtype=np.int64), CAMVID)


@pytest.fixture
def trained(narrow: SegNet) -> SegNet:
    """As after training: statistics are not neutral, variances beyond float16."""
    for module in narrow.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 1.0, 2.0)
            module.num_batches_tracked += 9
    narrow.encoder.stages[0][0].bn.running_var.fill_(1e6)
    return narrow


@pytest.fixture
def file(trained: SegNet, five_labels: ClassTable, tmp_path: Path) -> Path:
    return save(trained, five_labels, tmp_path / "model.safetensors")


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> None:
    """The same file with another description or other tensors, and without digests, as an earlier version wrote it."""
    with safe_open(path, framework="pt") as opened:
        header = json.loads(opened.metadata()["segnet"])
        state = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    del header["sha256"], header["tensors"]
    change(header, state)
    save_file(state, path, metadata={"segnet": json.dumps(header)})


@torch.no_grad()
def test_a_model_comes_back_as_it_was_saved(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    path = tmp_path / "new" / "folder" / "model.safetensors"
    provenance, scores = {"data": "camvid", "epochs": 3, "terms": "Übung"}, {"miou": 0.5, "per_class": {"sky": None}}
    assert save(trained, five_labels, path, provenance=provenance, scores=scores) == path
    kept = load(str(path))
    assert (kept.labels, kept.provenance, kept.scores, kept.path) == (five_labels, provenance, scores, path)
    assert kept.model.config == trained.config
    assert not kept.model.training
    state = kept.model.state_dict()
    for name, value in trained.state_dict().items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value), name
    image = torch.rand(1, 3, 13, 11)
    assert torch.equal(kept.model(image), trained.eval()(image))


def test_saving_leaves_the_model_as_it_is(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    save(trained.to(memory_format=torch.channels_last), five_labels, tmp_path / "m.safetensors", half=True)
    assert trained.training
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())


class Tied(nn.Module):
    """Halves twice with the same filters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(2))
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, self.first(x), self.second(self.first(x))]


class Rows(Tied):
    """Makes tensors of its own, too."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return super().forward(x + torch.arange(x.shape[2])[:, None] / x.shape[2])


class Scaled(Tied):
    """Has a scale of its own beside filters."""

    def __init__(self) -> None:
        super().__init__()
        self.second.weight_scale = nn.Parameter(torch.rand(3))


@torch.no_grad()
@pytest.mark.parametrize("encoder", [Tied, Rows])
def test_an_encoder_with_shared_filters_and_with_tensors_of_its_own_comes_back(
    encoder: type[Tied], five_labels: ClassTable, tmp_path: Path
):
    model = create_model("segnet_basic", classes=5, encoder=encoder()).eval()
    kept = load(save(model, five_labels, tmp_path / "own.safetensors"), encoder=encoder()).model
    image = torch.rand(1, 3, 13, 11)
    assert torch.equal(kept(image), model(image))


def pruned(model: SegNet) -> SegNet:
    prune.l1_unstructured(model.classifier, "weight", 0.3)
    return model


def normed(model: SegNet) -> SegNet:
    weight_norm(model.classifier)
    return model


def classified_otherwise(model: SegNet) -> SegNet:
    model.classifier = nn.Conv2d(4, 7, 3, padding=1)
    return model


@pytest.mark.parametrize(
    ("change", "tensor"),
    [
        (pruned, "classifier.weight"),
        (normed, "classifier.parametrizations.weight.original0"),
        (classified_otherwise, "classifier.bias"),
        (SegNet.folded, "decoder.stages.0.0.bn.bias"),
    ],
)
def test_a_network_that_no_file_can_hold_is_not_saved(
    change: Callable[[SegNet], SegNet], tensor: str, narrow: SegNet, five_labels: ClassTable, tmp_path: Path
):
    model = change(narrow)
    for write in (
        lambda: save(model, five_labels, tmp_path / "new.safetensors"),
        lambda: model.save_pretrained(tmp_path),
    ):
        with pytest.raises(ModelError, match=f"its tensor {tensor} is not as its config says"):
            write()
    assert not list(tmp_path.iterdir())


def test_a_network_in_a_wrapper_is_not_saved(narrow: SegNet, five_labels: ClassTable, tmp_path: Path):
    with pytest.raises(
        ModelError, match=r"new\.safetensors: a DataParallel was given.* give the network in it .*\.module"
    ):
        save(torch.nn.DataParallel(narrow), five_labels, tmp_path / "new.safetensors")


def test_a_compiled_network_comes_back(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    compiled = torch.compile(trained, backend="eager")
    kept = load(save(compiled, five_labels, tmp_path / "new.safetensors")).model
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in trained.state_dict().items())


@torch.no_grad()
def test_half_keeps_filters_in_float16_and_everything_else_in_float32(
    trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    path = save(trained, five_labels, tmp_path / "half.safetensors", half=True)
    with safe_open(path, framework="pt") as opened:
        kinds = {name: opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
    for name, kind in kinds.items():
        if name.endswith("conv.weight") or name == "classifier.weight":
            assert kind == torch.float16, name
        elif not name.endswith("num_batches_tracked"):
            assert kind == torch.float32, name
    kept = load(path).model
    assert all(parameter.dtype == torch.float32 for parameter in kept.parameters())
    image = torch.rand(2, 3, 13, 11)
    exact, rounded = trained.eval()(image), kept(image)
    assert (exact - rounded).norm() < 0.02 * exact.norm()
    assert torch.equal(kept.encoder.stages[0][0].bn.running_var, trained.encoder.stages[0][0].bn.running_var)


@torch.no_grad()
def test_int8_rounds_filters_to_a_127th_of_the_largest_of_their_channel(
    trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    trained.decoder.stages[0][0].conv.weight[1] = 0.0  # a channel without a largest value
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    path = save(trained, five_labels, tmp_path / "int8.safetensors", int8=True)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    with safe_open(path, framework="pt") as opened:
        stored = {name: opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
    kept = load(path).model.state_dict()
    filters = {name for name, kind in stored.items() if kind == torch.int8}
    assert filters == {name for name, value in before.items() if value.ndim == 4 and name not in ("mean", "std")}
    assert set(kept) == set(before)
    for name, value in before.items():
        assert kept[name].dtype == value.dtype
        if name not in filters:
            assert torch.equal(kept[name], value), name
            continue
        for channel, exact in zip(kept[name], value, strict=True):
            step = float(exact.abs().max()) / 127
            assert float((channel - exact).abs().max()) <= 0.501 * step, name
            assert len(channel.unique()) <= 255


def test_int8_filters_are_read_as_they_were_read_before(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    first = load(save(trained, five_labels, tmp_path / "first.safetensors", int8=True))
    second = load(save(first.model, five_labels, tmp_path / "second.safetensors", int8=True))
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=1e-6, atol=0)


def test_int8_leaves_scales_of_an_encoder_alone(five_labels: ClassTable, tmp_path: Path):
    model = create_model("segnet_basic", classes=5, encoder=Scaled()).eval()
    kept = load(save(model, five_labels, tmp_path / "own.safetensors", int8=True), encoder=Scaled()).model
    assert torch.equal(kept.encoder.body.second.weight_scale, model.encoder.body.second.weight_scale)


def test_int8_takes_a_quarter_of_the_bytes_of_the_filters(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    filters = [p for p in trained.parameters() if p.ndim == 4]
    whole = save(trained, five_labels, tmp_path / "whole.safetensors").stat().st_size
    int8 = save(trained, five_labels, tmp_path / "int8.safetensors", int8=True).stat().st_size
    saved = 3 * sum(p.numel() for p in filters) - 4 * sum(len(p) for p in filters)
    assert abs(whole - int8 - saved) <= 200 * len(filters)  # the header names the scales and their digests


def test_filters_have_one_precision(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    with pytest.raises(ModelError, match=r"in float16 \(half\) or in eight bits \(int8\), not both"):
        save(trained, five_labels, tmp_path / "m.safetensors", half=True, int8=True)
    assert not list(tmp_path.iterdir())


def test_a_path_in_the_place_of_the_table_is_named(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    with pytest.raises(ModelError, match=r"a .*Path was given as class table"):
        save(trained, tmp_path / "a.safetensors", five_labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["model.pth", "model.onnx", "model"])
def test_a_model_file_has_its_own_suffix(trained: SegNet, five_labels: ClassTable, tmp_path: Path, name: str):
    with pytest.raises(OutputError, match="is no name for a model file; give one that ends in"):
        save(trained, five_labels, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("score", "fault"), [(np.float32(0.5), "type float32 "), (float("nan"), "float values ")])
def test_what_json_cannot_hold_is_refused(
    trained: SegNet, five_labels: ClassTable, tmp_path: Path, score: object, fault: str
):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match=rf"cannot be kept as JSON \(.*{fault}.*\); give text"):
        save(trained, five_labels, path, scores={"miou": score})
    assert not path.exists()


@pytest.mark.parametrize("change", ["without", "shorter", "whole numbers"])
def test_int8_filters_without_their_scales_are_refused(
    change: str, trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    path = save(trained, five_labels, tmp_path / "int8.safetensors", int8=True)
    name = "classifier.weight_scale"

    def spoil(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        scale = tensors.pop(name)
        if change != "without":
            tensors[name] = scale[:-1] if change == "shorter" else scale.int()

    rewrite(path, spoil)
    with pytest.raises(ModelError, match=r"filters classifier\.weight are in eight bits, without a scale for each"):
        load(path)


def test_half_takes_nearly_half_the_bytes_of_the_filters(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    filters = sum(p.numel() for p in trained.parameters() if p.ndim == 4)
    whole = save(trained, five_labels, tmp_path / "whole.safetensors").stat().st_size
    half = save(trained, five_labels, tmp_path / "half.safetensors", half=True).stat().st_size
    assert abs(whole - half - 2 * filters) <= 256  # the headers name other types and places


def test_a_class_table_of_another_length_is_not_saved(trained: SegNet, tmp_path: Path):
    with pytest.raises(ModelError, match="network has 5 classes but the class table 2"):
        save(trained, ClassTable.from_names(["a", "b"]), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    trained: SegNet, five_labels: ClassTable, file: Path, monkeypatch: pytest.MonkeyPatch
):
    old = file.read_bytes()

    def write_half(self: Path, data: bytes) -> int:
        with self.open("wb") as opened:
            opened.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    trained.classifier.bias.data += 1
    with pytest.raises(OutputError, match=r"model\.safetensors cannot be written \(No space left"):
        save(trained, five_labels, file)
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_refused(file: Path, share: float):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"model\.safetensors: is not a readable model file"):
        load(file)


@pytest.mark.parametrize(
    "content",
    [b"hello, this is a text\n", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" + b"x" * 99, b"\x02" + 7 * b"\x00" + b"{]"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a readable model file"):
        load(path)


def test_a_file_without_permission_is_named(file: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root, as whom tests often run
    with pytest.raises(ModelError, match=r"model\.safetensors: may not be read; give yourself the permission"):
        load(file)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path):
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {"a": torch.rand(2)}}, path)
    with pytest.raises(ModelError, match=r"read the weights of torch.save with model.load_state_dict.* segnet.save$"):
        load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_of_another_program_are_refused(tmp_path: Path, metadata: dict[str, str] | None):
    save_file({"weight": torch.rand(2)}, tmp_path / "other.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match="was not written by segnet"):
        load(tmp_path / "other.safetensors")


DEEP = 100_000 * "[" + 100_000 * "]"


@pytest.mark.parametrize(
    "description", ["{", "", "[1]", "3", '"text"', "{}", "null", DEEP, '{"version": ' + 5000 * "1" + "}"]
)
def test_a_damaged_description_is_refused(tmp_path: Path, description: str):
    save_file({"weight": torch.rand(2)}, tmp_path / "m.safetensors", metadata={"segnet": description})
    with pytest.raises(ModelError, match="the description in the file is damaged"):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("version", [0, 3, "1", None, True])
def test_another_version_is_refused(file: Path, version: object):
    rewrite(file, lambda header, _: header.update(version=version))
    with pytest.raises(ModelError, match=f"has format version {version}, this program reads 1, 2;"):
        load(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("model"),
        lambda header: header.pop("labels"),
        lambda header: header.update(model=None),
        lambda header: header.update(model="segnet"),
        lambda header: header.update(model=[]),
        lambda header: header.update(scores=[]),
        lambda header: header.update(provenance=None),
        lambda header: header["model"].update(kernel=3.0),
        lambda header: header["model"].update(in_channels=3.0),
        lambda header: header["model"].update(encoder=[[64.5]]),
        lambda header: header["model"].update(std=[float("nan")]),
        lambda header: header["labels"].update(colors=[[float("inf"), 0, 0]]),
        lambda header: header["model"].update(depth=3),
        lambda header: header["model"].pop("encoder"),
        lambda header: header["model"].update(encoder=[], decoder=[]),
        lambda header: header["model"].update(kernel="three"),
        lambda header: header["model"].update(classes=0),
        lambda header: header.update(labels=[]),
        lambda header: header["labels"].update(colors=[[0, 0]]),
    ],
)
def test_a_description_that_describes_no_network_is_refused(file: Path, change: Callable[[dict[str, Any]], Any]):
    rewrite(file, lambda header, _: change(header))
    with pytest.raises(ModelError, match="the description in the file cannot be used"):
        load(file)


def test_a_description_that_is_nested_too_deeply_is_refused(file: Path):
    widths: list[Any] = []
    for _ in range(700):
        widths = [widths]
    rewrite(file, lambda header, _: header["model"].update(encoder=widths))
    with pytest.raises(ModelError, match="the description in the file cannot be used"):
        load(file)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (None, {"in_channels": 10**12}),
        ("encoder", {"kernel": 10**4000 + 1}),
        ("encoder", {"kernel": 10**6 + 1}),
        ("encoder", {"widths": [[10**12], [10**12], [10**12]]}),
        ("encoder", {"widths": [[4] * 10**5, [6], [8]]}),
        ("decoder", {"classifier_kernel": 10**6 + 1}),
        ("decoder", {"context": 10**20}),
        ("decoder", {"upsampling": "learned", "widths": [[10**9], [], []]}),
    ],
)
def test_a_network_larger_than_its_file_is_refused_before_it_is_built(
    file: Path, part: str | None, change: dict[str, Any]
):
    rewrite(file, lambda header, _: (header["model"][part] if part else header["model"]).update(change))
    message = ["describes more or wider", "must be odd", "cannot be built", "has shape", "is missing", "does not have"]
    with pytest.raises(ModelError, match="|".join(message)):
        load(file)


def test_loading_draws_no_random_numbers_of_the_caller(file: Path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load(file)
    assert torch.equal(torch.rand(2), expected)


def test_a_class_table_of_another_length_is_refused(file: Path):
    rewrite(file, lambda header, _: header.update(labels=ClassTable.from_names(["a", "b"]).to_dict()))
    with pytest.raises(ModelError, match="network has 5 classes but the class table 2; write the file again"):
        load(file)


def test_a_missing_tensor_is_named(file: Path):
    rewrite(file, lambda _, state: state.pop("classifier.bias"))
    with pytest.raises(ModelError, match=r"tensor classifier\.bias is missing"):
        load(file)


def test_an_unknown_tensor_is_named(file: Path):
    rewrite(file, lambda _, state: state.update(extra=torch.rand(2)))
    with pytest.raises(ModelError, match="holds the tensor extra, which a narrow does not have"):
        load(file)


def test_a_misshapen_tensor_is_named(file: Path):
    rewrite(file, lambda _, state: state.update({"classifier.bias": torch.rand(4)}))
    with pytest.raises(ModelError, match=r"classifier\.bias has shape \(4,\), expected \(5,\)"):
        load(file)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_numbers_of_another_kind_are_refused(file: Path, dtype: torch.dtype):
    rewrite(file, lambda _, state: state.update({"classifier.bias": state["classifier.bias"].to(dtype)}))
    with pytest.raises(ModelError, match=rf"classifier\.bias holds {dtype}, expected torch\.float32"):
        load(file)


def test_a_model_with_dropout_fits_the_file_of_one_without(file: Path):
    rewrite(file, lambda header, _: header["model"].update(dropout=0.5))
    assert any(isinstance(module, nn.Dropout) for module in load(file).model.modules())


def test_bundled_models_are_found_by_name(file: Path, monkeypatch: pytest.MonkeyPatch):
    for name, path in bundled_models().items():
        assert find(name) == path
        assert path.suffix == ".safetensors"
        assert load(name).labels.classes > 0
    monkeypatch.chdir(file.parent)
    assert find("model.safetensors") == Path("model.safetensors")


def test_what_is_neither_file_nor_bundled_is_refused_with_what_there_is(tmp_path: Path):
    with pytest.raises(ModelError, match="neither such a model file nor a bundled model") as caught:
        find("segnet_enormous")
    assert all(name in str(caught.value) for name in bundled_models())
    with pytest.raises(ModelError, match="neither such a model file"):
        load(tmp_path)


def test_the_folder_of_a_run_is_refused_with_its_model_file(file: Path) -> None:
    best = file.rename(file.with_name("best.safetensors"))
    with pytest.raises(ModelError, match=f"is the folder of a run; give its model file, {best}"):
        load(best.parent)


def test_a_checkpoint_of_a_run_is_refused_with_its_model_file(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK" * 100)
    with pytest.raises(ModelError, match=r"last\.ckpt: is for --resume only; give the best\.safetensors beside it"):
        load(tmp_path / "last.ckpt")


@pytest.mark.parametrize("suffix", sorted(EXPORTED_SUFFIXES))
def test_an_exported_file_is_no_damaged_model_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.mkdir() if suffix == ".mlpackage" else path.write_bytes(b"anything but weights")
    with pytest.raises(ModelError, match=r"is an exported file; give the \.safetensors file that it came from"):
        load(path)


def test_the_representation_is_one_line() -> None:
    path = bundled_models()["segnet_light"]
    assert repr(load("segnet_light")) == f"Checkpoint(segnet_light, 11 classes, mIoU 0.765, '{path}')"


# --- digests and finite values


def flip(path: Path, where: int, bits: int) -> None:
    content = bytearray(path.read_bytes())
    content[where] ^= bits
    path.write_bytes(content)


def same(one: Checkpoint, other: Checkpoint) -> bool:
    states = one.model.state_dict(), other.model.state_dict()
    about = [(kept.model.config, kept.labels, kept.provenance, kept.scores) for kept in (one, other)]
    return about[0] == about[1] and all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_file_with_digests_is_verified_and_one_without_is_not(file: Path):
    whole = load(file)
    assert whole.verified
    rewrite(file, lambda header, state: None)
    old = load(file)
    assert not old.verified
    assert same(old, whole)


def test_every_bundled_model_is_verified():
    assert all(load(name).verified for name in bundled_models())


@pytest.mark.parametrize("half", [False, True])
def test_a_flipped_bit_in_a_tensor_is_refused_with_its_name(
    half: bool, trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    path = save(trained, five_labels, tmp_path / "model.safetensors", half=half)
    flip(path, path.stat().st_size - 1, 1)
    with pytest.raises(ModelError, match=r"the tensor \S+ has another SHA-256 digest .*copy or download it again"):
        load(path)


@pytest.mark.parametrize("word", [b"house", b"tensors", b"sha256", b"epochs", b"[[4, 4]"])
def test_a_flipped_bit_in_the_description_is_refused(
    word: bytes, trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    path = save(trained, five_labels, tmp_path / "model.safetensors", provenance={"epochs": 3})
    flip(path, path.read_bytes().index(word) + 2, 1)
    with pytest.raises(ModelError, match="the description has another SHA-256 digest"):
        load(path)


def test_a_file_that_lost_its_digests_or_a_tensor_is_refused(file: Path):
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["segnet"])
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    without = {key: value for key, value in header.items() if key != "sha256"}
    save_file(state, file, metadata={"segnet": json.dumps(without)})
    with pytest.raises(ModelError, match="another SHA-256 digest"):
        load(file)
    state.pop("classifier.bias")
    save_file(state, file, metadata={"segnet": json.dumps(header)})
    with pytest.raises(ModelError, match=r"the tensor classifier\.bias is missing; the file is damaged"):
        load(file)


def test_damage_anywhere_is_refused_or_harmless(file: Path):
    """All of the header, and places in the tensors; the same at random in benchmarks/bench_faults.py."""
    whole, expected = file.read_bytes(), load(file)
    header = 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(0)
    for where in (*range(0, header, 37), *random.integers(header, len(whole), 40).tolist()):
        content = bytearray(whole)
        content[where : where + 3] = random.bytes(3)
        file.write_bytes(content)
        try:
            found = load(file)
        except ModelError:
            continue
        assert same(found, expected), where


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_neither_written_nor_read(
    value: float, trained: SegNet, five_labels: ClassTable, file: Path
):
    rewrite(file, lambda _, state: state["classifier.bias"].__setitem__(1, value))
    with pytest.raises(ModelError, match=r"the tensor classifier\.bias holds values that are infinite or not a number"):
        load(file)
    trained.classifier.bias.data[0] = value
    with pytest.raises(ModelError, match=r"classifier\.bias holds values that are infinite"):
        save(trained, five_labels, file.with_name("new.safetensors"))
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("value", "dtype"), [(1e300, torch.float64), (float("nan"), torch.float8_e4m3fn)])
def test_values_that_are_not_finite_in_float32_are_not_read(value: float, dtype: torch.dtype, file: Path):
    bias = torch.full((5,), value, dtype=torch.float64).to(dtype)
    rewrite(file, lambda _, state: state.update({"classifier.bias": bias}))
    with pytest.raises(ModelError, match=r"the tensor classifier\.bias holds values that are infinite or not a number"):
        load(file)


def test_large_values_are_finite_though_their_sum_is_not(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    trained.classifier.bias.data.fill_(3e38)
    assert load(save(trained, five_labels, tmp_path / "model.safetensors")).verified


def test_filters_beyond_float16_are_not_written_as_infinity(trained: SegNet, five_labels: ClassTable, tmp_path: Path):
    trained.encoder.stages[0][0].conv.weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(ModelError, match=r"conv\.weight holds values that are infinite"):
        save(trained, five_labels, tmp_path / "model.safetensors", half=True)


@pytest.mark.parametrize("name", ["segnet_basic", "segnet_light"])
def test_weights_are_float32_on_the_cpu_whatever_pytorchs_defaults_are(name: str):
    wanted = load(name).model.state_dict()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            read = load(name).model.state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for value in read.values()} == {value.dtype for value in wanted.values()}
    assert all(torch.equal(value, wanted[name]) for name, value in read.items())


@pytest.mark.parametrize("words", [{"scores": CAMVID_SCORES}, {"provenance": [1]}, {"scores": "0.5"}])
def test_scores_and_provenance_are_dicts(
    words: dict[str, Any], trained: SegNet, five_labels: ClassTable, tmp_path: Path
):
    with pytest.raises(ModelError, match=r"(scores|provenance): a \w+ was given; give a dict, of Scores their to_dict"):
        save(trained, five_labels, tmp_path / "model.safetensors", **words)
    with pytest.raises(ModelError, match="was given; give a dict"):
        trained.save_pretrained(tmp_path / "folder", **words)
    assert not list(tmp_path.iterdir())
