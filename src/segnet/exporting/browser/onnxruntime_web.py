"""The files of onnxruntime-web that a page runs on: read from its npm package, and compared with their known hashes.

They are 31 MB, so this package does not contain them.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segnet.errors import ConfigError

__all__ = ["PAGE", "find_package", "read_package"]

PAGE = Path(__file__).with_name("page")
"""The page without model and runtime, as ``web/browser`` builds it."""


def find_package(given: Path | None = None) -> Path:
    """The npm package of onnxruntime-web: the given path, or what npm left in the current folder.

    Raises:
        ConfigError: there is none.
    """
    version = _wanted()["version"]
    places = [Path(f"onnxruntime-web-{version}.tgz"), Path("node_modules/onnxruntime-web")]
    for place in [given] if given else places:
        if place.exists():
            return place
    missing = f"{given} does not exist" if given else f"there is no {places[0]} here"
    raise ConfigError(
        f"the page runs on onnxruntime-web, and {missing}; run 'npm pack onnxruntime-web@{version}', and give the "
        "file that it downloads as --runtime-files if it is in another folder"
    )


def read_package(package: Path) -> dict[str, bytes]:
    """Content of each file that the page needs, by its name.

    Args:
        package: the .tgz file of ``npm pack``, or the folder that npm unpacked.

    Raises:
        ConfigError: the package is damaged, or of another version.
    """
    wanted = _wanted()
    hint = f"give onnxruntime-web {wanted['version']}, as 'npm pack onnxruntime-web@{wanted['version']}' downloads it"
    try:
        contents = (
            _read_folder(package, wanted["files"]) if package.is_dir() else _read_archive(package, wanted["files"])
        )
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise ConfigError(f"{package}: is not the expected package ({error}); {hint}") from error
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != wanted["files"][name]:
            raise ConfigError(f"{package}: {name} is damaged or of another version; {hint}")
    return contents


def _wanted() -> dict[str, Any]:
    """Version and hashes of the files, as the build of the page recorded them."""
    wanted: dict[str, Any] = json.loads((PAGE / "runtime.json").read_text(encoding="utf-8"))
    return wanted


def _read_folder(folder: Path, names: dict[str, str]) -> dict[str, bytes]:
    return {name: (folder / "dist" / name).read_bytes() for name in names}


def _read_archive(archive: Path, names: dict[str, str]) -> dict[str, bytes]:
    with tarfile.open(archive, "r:gz") as package:
        return {name: _member(package.extractfile, f"package/dist/{name}") for name in names}


def _member(extract: Callable[[str], Any], name: str) -> bytes:
    file = extract(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    content: bytes = file.read()
    return content
