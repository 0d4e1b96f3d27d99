"""The notebook runs from top to bottom in a kernel, except for the cell that installs. Its outputs are not committed.

Run by ``tools/check.sh``, which puts nbclient and a kernel on the path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from segnet.data.synthetic.scenes import write_scenes
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "segnet.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own, of event loops


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def tagged(notebook: Any, tag: str) -> Any:
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]
    return cell


def test_it_is_valid_and_holds_no_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
    assert tagged(notebook, "install").source.splitlines()[-1].startswith("%pip install")


def test_it_predicts_trains_and_exports(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small scenes and a small network: rendering and export of the large ones would take longest."""
    scenes = write_scenes(tmp_path / "scenes", train=4, val=2, size=(48, 64))
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    network = SegNet(SegNetConfig(name="small", encoder=encoder, decoder=decoder, classes=11))
    model = checkpoint.save(network, CAMVID, tmp_path / "small.safetensors")
    notebook.cells.remove(tagged(notebook, "install"))
    tagged(notebook, "parameters").source = f"DATA, MODEL, EPOCHS, SIZE = {str(scenes)!r}, {str(model)!r}, 1, (48, 64)"
    monkeypatch.setenv("SEGNET_CACHE", str(tmp_path / "cache"))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [str(output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("text/html" in text and "<table" in text for text in shown)
    assert any("'best.safetensors'" in text and "'report.html'" in text for text in shown)
    # Not always all: in flat areas of a scene the values of a window differ by rounding, which chooses the position.
    (agreement,) = re.findall(r"([\d.]+)% of the pixels have the same class in ONNX Runtime", "".join(shown))
    assert float(agreement) > 97
    assert {"mask.png", "overlay.jpg", "street.onnx"} <= {path.name for path in tmp_path.iterdir()}
