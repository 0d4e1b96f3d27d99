from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segnet.errors import ConfigError
from segnet.exporting.export import export
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.pytorch import ProgramRuntime
from segnet.runtimes.verification import verify

QUICK = {
    "aot_inductor.precompile_headers": False,  # they would serve later models
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.enable_line_tables": False,
}


@pytest.fixture
def model() -> SegNet:
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    return SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, classes=5)).eval()


@pytest.mark.usefixtures("quick_compiler")
def test_a_compiled_file_gives_pytorchs_mask_and_says_what_it_is(
    model: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    config = ExportConfig(size=(17, 23), output="probabilities")
    with torch._inductor.config.patch(QUICK):
        path = export(model, five_labels, tmp_path / "toy.pt2", format="aoti", config=config).path
    runtime, image = ProgramRuntime(path), torch.rand(2, 3, 17, 23)
    with torch.no_grad():
        expected = model(image).softmax(dim=1)
    torch.testing.assert_close(
        torch.from_numpy(runtime.run(image.numpy(), probabilities=True).probabilities), expected, rtol=1e-4, atol=1e-4
    )
    assert verify(runtime).pixels == 3 * 17 * 23
    assert (runtime.info.name, runtime.info.labels) == ("toy", five_labels)


def test_a_missing_compiler_is_refused(model: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    missing = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    message = r"AOTInductor could not compile the model .* needs a C\+\+ compiler"
    with missing, pytest.raises(ConfigError, match=message):
        export(model, five_labels, tmp_path / "toy.pt2", format="aoti", config=ExportConfig(size=(9, 8)))
    assert list(tmp_path.iterdir()) == []
