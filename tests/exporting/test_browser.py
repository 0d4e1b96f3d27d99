"""A page is refused in one sentence before anything is exported; ``tests/browser`` runs pages in a browser."""

from __future__ import annotations

import gzip
import io
import shlex
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from segnet.cli.commands import export as command
from segnet.errors import ConfigError, OutputError
from segnet.exporting.browser.export import export_page
from segnet.exporting.browser.onnxruntime_web import PAGE, find_package, read_package
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

LIBRARY = "ort.wasm.min.mjs"


def write_package(path: Path, content: bytes = b"") -> Path:
    """What npm downloads, with one of its files only, and that of another version."""
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"package/dist/{LIBRARY}")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(ConfigError, match=r"no onnxruntime-web-1\.\d+\.\d+\.tgz here; run 'npm pack onnxruntime-web@1"):
        find_package()
    with pytest.raises(ConfigError, match=r"nothing\.tgz does not exist"):
        find_package(Path("nothing.tgz"))


def test_packages_in_the_current_folder_are_found(tmp_path: Path) -> None:
    Path("node_modules/onnxruntime-web").mkdir(parents=True)
    assert find_package() == Path("node_modules/onnxruntime-web")
    version = (PAGE / "runtime.json").read_text(encoding="utf-8").split('"version": "')[1].split('"')[0]
    downloaded = write_package(Path(f"onnxruntime-web-{version}.tgz"))
    assert find_package() == downloaded


@pytest.mark.parametrize("kind", ["incomplete", "truncated", "no archive", "folder"])
def test_a_damaged_package_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    if kind == "folder":
        path.mkdir()
    elif kind == "no archive":
        path.write_bytes(b"<html>")
    else:
        write_package(path, b"x" * 5000)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"given: is not the expected package.*give onnxruntime-web 1"):
        read_package(path)


def test_a_package_with_damage_within_a_file_is_refused(tmp_path: Path) -> None:
    content = gzip.decompress(write_package(tmp_path / "whole", b"x" * 900_000).read_bytes())
    packer = zlib.compressobj(wbits=31)  # gzip
    start = packer.compress(content[:600_000]) + packer.flush(zlib.Z_FULL_FLUSH)
    (path := tmp_path / "given").write_bytes(start + b"\xff" * 100)  # no kind of block
    with pytest.raises(ConfigError, match=r"given: is not the expected package.*give onnxruntime-web 1"):
        read_package(path)


def test_files_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"version": "1.2.3", "files": {LIBRARY: "0" * 64}}
    monkeypatch.setattr("segnet.exporting.browser.onnxruntime_web._wanted", lambda: wanted)
    with pytest.raises(ConfigError, match=rf"{LIBRARY} is damaged or of another version; give onnxruntime-web 1\.2\.3"):
        read_package(write_package(tmp_path / "given", b"another"))


@pytest.mark.parametrize("config", [{"output": "mask"}, {"size": (8, 8)}, {"output": "probabilities", "samples": 2}])
def test_a_configuration_that_a_page_cannot_use_is_refused(
    config: dict[str, object], narrow: SegNet, five_labels: ClassTable
) -> None:
    with pytest.raises(ConfigError, match="leave output, size and samples out"):
        export_page(narrow, five_labels, "site", config=ExportConfig(**config))  # type: ignore[arg-type]
    assert not Path("site").exists()


def test_no_folder_of_other_files_is_written_into(narrow: SegNet, five_labels: ClassTable) -> None:
    Path("site").mkdir()
    Path("site/index.html").write_text("mine")
    Path("file").write_text("mine")
    with pytest.raises(OutputError, match="site holds other files and no page; give a new folder"):
        export_page(narrow, five_labels, "site")
    with pytest.raises(OutputError, match="file is a file; give the name of a folder"):
        export_page(narrow, five_labels, "file")
    assert [path.name for path in Path("site").iterdir()] == ["index.html"]


def test_a_page_of_another_program_is_not_written_into(narrow: SegNet, five_labels: ClassTable) -> None:
    Path("site").mkdir()
    Path("site/model.json").write_text('{"format": "layers-model"}')  # as TensorFlow.js names its models
    with pytest.raises(OutputError, match="site holds other files and no page; give a new folder"):
        export_page(narrow, five_labels, "site")


def test_flags_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="--runtime-files is for --format browser, not onnx"):
        command.run("segnet_light", runtime_files=Path("a.tgz"))
    with pytest.raises(ConfigError, match="--format browser takes no --int8"):
        command.run("segnet_light", format="browser", int8=True, calibrate="synthetic")


def test_the_command_that_serves_the_page_takes_its_folder(
    narrow_config: SegNetConfig,
    five_labels: ClassTable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A name with a space and one that a shell would read otherwise."""
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    shallow = SegNet(replace(narrow_config, encoder=encoder, decoder=decoder))
    monkeypatch.setattr("segnet.exporting.browser.onnxruntime_web._wanted", lambda: {"version": "1.2.3", "files": {}})
    model = checkpoint.save(shallow, five_labels, Path("net.safetensors"))
    Path("package").mkdir()
    command.run(str(model), format="browser", out=Path("my $HOME site"), runtime_files=Path("package"))
    printed = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(printed)[-2:] == ["--directory", "my $HOME site"]
