"""Model files on the Hugging Face hub: downloads by addresses like ``hf://OWNER/NAME``, and uploads.

``huggingface_hub`` downloads and caches them, and finds them in its cache without a network. It compares the size only;
the digests in a model file are compared whenever it is read, and a commit in the address pins the file.
"""

from __future__ import annotations

from pathlib import Path

from segnet.errors import ModelError, first_line
from segnet.system.packages import importing

__all__ = ["FILE", "fetch", "is_hub_address", "upload"]

_SCHEME = "hf:/"  # one slash is left of two where an address went through a path
FILE = "model.safetensors"
"""Name of the model file of a repository."""


def is_hub_address(source: str | Path) -> bool:
    """Whether a model is named by an address of the hub."""
    return str(source).startswith(_SCHEME)


def fetch(address: str | Path) -> Path:
    """The path of a file of the hub in the local cache; it is downloaded if it is not there, or there is a newer one.

    Args:
        address: ``hf://OWNER/NAME``, with ``/FILE`` behind it for another file than ``model.safetensors``, and with
            ``@REVISION`` at the end for a branch, tag or commit.

    Raises:
        ModelError: the address has another form, or the file cannot be had.
        MissingPackageError: huggingface_hub is not installed.
    """
    owner, name, file, revision = _parts(str(address))
    with importing("huggingface_hub", "hub"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    try:
        return Path(hf_hub_download(f"{owner}/{name}", file, revision=revision))
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{address}: the hub does not answer, and the file is not in the cache; go online") from error
    except _hub_errors() as error:
        raise ModelError(
            f"{address}: cannot be had ({first_line(error)}); correct owner, name, file or revision"
        ) from error


def upload(
    folder: Path, name: str, *, keep: str, private: bool, revision: str | None, token: str | None, message: str
) -> str:
    """Upload the files of a folder in one commit.

    Args:
        folder: of the files.
        name: ``OWNER/NAME``; it is created if it does not exist.
        keep: a file that is not replaced if it is there.
        private: whether a new repository is private.
        revision: branch; None: the main branch.
        token: of the hub; None: that of ``hf auth login``, or of HF_TOKEN.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ModelError: the hub refuses, or does not answer.
        MissingPackageError: huggingface_hub is not installed.
    """
    with importing("huggingface_hub", "hub"):
        from huggingface_hub import HfApi
    api = HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        ignored = [keep] if api.file_exists(name, keep, revision=revision) else None
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, revision=revision, commit_message=message, ignore_patterns=ignored
        )
    except _hub_errors() as error:
        raise ModelError(
            f"{name}: cannot be uploaded ({first_line(error)}); go online, log in with 'hf auth login', or correct "
            "OWNER/NAME or revision"
        ) from error
    return str(commit.commit_url)


def _hub_errors() -> tuple[type[Exception], ...]:
    """What is raised where the hub refuses or does not answer.

    The HTTP library of huggingface_hub is requests, httpx or httpx2, by its version; the error class of that library is
    among the bases of its own.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    kinds = (kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)
    return HFValidationError, *kinds


def _parts(address: str) -> tuple[str, str, str, str | None]:
    """Owner, name, file and revision."""
    place, _, revision = address.removeprefix(_SCHEME).lstrip("/").partition("@")
    owner, _, rest = place.partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise ModelError(f"{address[:80]}: is no address of the hub; expected hf://OWNER/NAME")
    return owner, name, file or FILE, revision or None
