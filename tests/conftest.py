"""What all tests share: a cache folder of their own, and a tiny data set in CamVid's layout."""

from __future__ import annotations

import gc
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import write_scenes
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of garbage need not walk through all of PyTorch again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def quick_compiler() -> Iterator[None]:
    """Inductor compiles no programs only to see whether the processor can do what it says."""
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.vec_isa_ok": True}):
        yield


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def own_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder: empty for every test, and never the user's.

    Not pytest's ``mktemp``, which looks through the folders of all tests before to find the next number.
    """
    cache = Path(tempfile.mkdtemp(dir=caches))
    monkeypatch.setenv("SEGNET_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def same_seed() -> Iterator[None]:
    """Random tensors are the same in every run; the number of threads stays what it was."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def camvid_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn scenes to train on and three to validate on, 48x64 pixels, in CamVid's layout; not to be changed."""
    return write_scenes(tmp_path_factory.mktemp("camvid"), train=6, val=3, size=(48, 64))


@pytest.fixture(scope="session")
def camvid(camvid_root: Path):
    """The same as a ``Source``."""
    return open_source(camvid_root)


@pytest.fixture
def narrow_config() -> SegNetConfig:
    """The published SegNet's stages, few and narrow; five classes."""
    return SegNetConfig(
        name="narrow",
        encoder=EncoderConfig(widths=((4, 4), (6, 6), (8, 8)), dropout_after_pooling=(2, 3)),
        decoder=DecoderConfig(widths=((8, 6), (6, 4), (4,)), dropout_stages=(2, 3)),
        classes=5,
    )


@pytest.fixture
def narrow(narrow_config: SegNetConfig) -> SegNet:
    return SegNet(narrow_config)


@pytest.fixture
def five_labels() -> ClassTable:
    return ClassTable.from_names(["sky", "house", "road", "tree", "car"])


@pytest.fixture(scope="session")
def toy() -> SegNet:
    """Two stages, with batch norm that has seen images; not to be changed."""
    torch.manual_seed(3)
    model = SegNet(
        SegNetConfig(
            name="toy",
            encoder=EncoderConfig(widths=((4,), (6,))),
            decoder=DecoderConfig(widths=((4,), (4,))),
            classes=3,
        )
    )
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, 3, 24, 32))
    return model.eval()


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests run in the background and it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
