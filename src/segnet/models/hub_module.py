"""Networks as folders of the Hugging Face hub: ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.

Such a folder holds the model file, which describes itself, and a model card. This layer takes the place of
``huggingface_hub.ModelHubMixin``: docs/design.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from torch import Tensor, nn

from segnet.errors import ModelError
from segnet.labels import ClassTable
from segnet.models.hub import FILE, fetch, is_hub_address, upload
from segnet.models.model_card import write_card
from segnet.models.model_file import Description, ModelFile, read_model_file, write_model_file

__all__ = ["HubModule"]

_CARD = "README.md"


class HubModule(nn.Module):
    """A network with a ``config`` that model files describe.

    Attributes:
        description: class table, provenance and scores of the model file that the network was read from; None of a new
            network.
    """

    config: Any
    description: Description | None

    def __init__(self) -> None:
        super().__init__()
        self.description = None

    @classmethod
    def from_file(cls, content: ModelFile, path: Path, *, encoder: nn.Module | None = None) -> Self:
        """The network of a model file; each network has its own."""
        raise NotImplementedError

    def stored_state(self, path: Path) -> dict[str, Tensor]:
        """The tensors for a model file, those that ``from_file`` expects; each network has its own."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, encoder: nn.Module | None = None
    ) -> Self:
        """Load a network from a folder of ``save_pretrained``, or from the Hugging Face hub.

        >>> model = SegNet.from_pretrained("OWNER/NAME")
        >>> model.description.labels.names

        ``segnet.load`` reads the same files, and bundled models; it returns class table and scores beside the network.

        Args:
            source: a folder, a model file, or ``OWNER/NAME``. An existing path comes first.
            revision: branch, tag or commit of the hub; None: the main branch.
            encoder: see ``segnet.load``.

        Raises:
            ModelError: there is no such model, it cannot be downloaded, or its digests show damage.
            MissingPackageError: the hub is asked for, and huggingface_hub is not installed.
        """
        path = Path(source)
        if path.is_dir():
            path /= FILE
            if not path.is_file():
                raise ModelError(f"{source}: holds no {FILE}; give a folder of save_pretrained, or a model file")
        elif not path.is_file():
            path = _fetch(str(source), revision)
        return cls.from_file(read_model_file(path), path, encoder=encoder)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        labels: ClassTable | None = None,
        provenance: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        half: bool = False,
    ) -> Path:
        """Write ``model.safetensors`` and a model card, ``README.md``, into a folder. An existing card stays.

        Args:
            folder: is created; an earlier model file in it is replaced.
            labels: the class table; None: that of ``description``, or numbered classes.
            provenance: how the weights came to be; None: that of ``description``.
            scores: what they scored; None: those of ``description``. Give new ones after training.
            half: keep the convolutions in float16.

        Returns:
            The folder.

        Raises:
            ModelError: the class table does not fit, the layers are no longer those of ``config``, or a tensor is not
                finite.
            OutputError: a file cannot be written.
        """
        folder = Path(folder)
        description = self._described(labels, provenance, scores)
        write_model_file(folder / FILE, self.config.to_dict(), description, self.stored_state(folder / FILE), half=half)
        if not (folder / _CARD).exists():
            write_card(folder / _CARD, self.config, description, parameters=sum(p.numel() for p in self.parameters()))
        return folder

    def push_to_hub(
        self,
        name: str,
        *,
        labels: ClassTable | None = None,
        provenance: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        half: bool = False,
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
        message: str = "Upload a SegNet model",
    ) -> str:
        """Upload the model file and a model card to the Hugging Face hub. A card that is there stays.

        >>> segnet.load("runs/mine/best.safetensors").model.push_to_hub("OWNER/NAME")

        Args:
            name: ``OWNER/NAME``; it is created if it does not exist.
            labels, provenance, scores, half: see ``save_pretrained``.
            private: whether a new repository is private.
            revision: branch; None: the main branch.
            token: of the hub; None: that of ``hf auth login``, or of HF_TOKEN.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            ModelError: the hub refuses, or the model cannot be saved.
            MissingPackageError: huggingface_hub is not installed.
        """
        with TemporaryDirectory(prefix="segnet-hub-") as folder:
            self.save_pretrained(folder, labels=labels, provenance=provenance, scores=scores, half=half)
            return upload(
                Path(folder), name, keep=_CARD, private=private, revision=revision, token=token, message=message
            )

    def _described(
        self, labels: ClassTable | None, provenance: Mapping[str, Any] | None, scores: Mapping[str, Any] | None
    ) -> Description:
        known = self.description or Description(labels=labels or ClassTable.numbered(self.config.classes))
        description = Description(
            labels=labels or known.labels,
            provenance=known.provenance if provenance is None else provenance,
            scores=known.scores if scores is None else scores,
        )
        description.labels.require_classes(self.config.classes)
        return description


def _fetch(source: str, revision: str | None) -> Path:
    if Path(source).is_absolute() or (Path(source).suffix == ".safetensors" and not is_hub_address(source)):
        raise ModelError(f"{source}: there is no such file; give a model file, its folder, or OWNER/NAME of the hub")
    address = source if is_hub_address(source) else f"hf://{source}"
    return fetch(f"{address}@{revision}" if revision else address)
