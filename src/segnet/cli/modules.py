"""A module of the user's on the command line: MODULE:FUNCTION, its weights, and the shape of its input."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.errors import ConfigError, ModelError, describe_error, first_line, list_names

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ModuleFlags", "is_function"]

_FUNCTION = re.compile(r"[\w./-]*\w:[A-Za-z_]\w*")  # with a path, too, which is refused with the right form
_SHAPE = re.compile(r"\d+(x\d+)+")
_NESTED = ("state_dict", "model_state_dict", "model")  # where training programs keep the weights in their files


def is_function(name: str) -> bool:
    """Whether a model is given as MODULE:FUNCTION."""
    return _FUNCTION.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True)
class ModuleFlags:
    """A PyTorch module of the user's.

    Attributes:
        weights: File of the weights for MODULE:FUNCTION (.pth, .pt, .safetensors). Default: those that the function
            gives. It is read without running code that it may contain.
        example: Shape of an input for MODULE:FUNCTION, such as 1x3x360x480; several inputs with commas between.
            Default: none.
    """

    weights: Path | None = None
    example: tuple[str, ...] = ()

    def load(self, name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The module in evaluation mode, and an example of random numbers from 0 to 1.

        Args:
            name: MODULE:FUNCTION. The module is searched in the current folder, too.

        Raises:
            ConfigError: there is no such function, it fails or returns no module, the shape is missing or not possible,
                or the module fails with it.
            ModelError: the weights do not fit, or cannot be read.
        """
        import torch

        if not self.example:
            raise ConfigError(f"{name} needs the shape of its input; add --example, such as --example 1x3x360x480")
        shapes = [_shape(text) for text in self.example]
        module = _call(name)
        if self.weights is not None:
            _fill(module, self.weights)
        generator = torch.Generator().manual_seed(0)
        example = tuple(torch.rand(shape, generator=generator) for shape in shapes)
        _require_running(name, module.eval(), example)
        return module, example


def _shape(text: str) -> list[int]:
    if not _SHAPE.fullmatch(text) or 0 in map(int, text.split("x")):
        raise ConfigError(f"--example {text} is no shape; give sizes with x between, such as 1x3x360x480")
    return [int(side) for side in text.split("x")]


def _call(name: str) -> nn.Module:
    from torch import nn

    file, _, function = name.partition(":")
    if "/" in file or file.endswith(".py"):
        right = f"{Path(file).name.removesuffix('.py')}:{function}"
        raise ConfigError(f"{file} is a path, and MODULE a name without folder and .py; run in its folder with {right}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(file), function, None)
    except ModuleNotFoundError as error:
        if error.name not in {file, file.partition(".")[0]}:
            raise ConfigError(f"{file} imports {error.name}, which is not installed; install it") from error
        raise ConfigError(f"there is no Python module {file}; run in the folder of {file}.py") from error
    except SystemExit as error:
        raise ConfigError(f'{file} ends the program when imported; guard that by if __name__ == "__main__"') from error
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"{file} cannot be imported: {describe_error(error)}; mend it") from error
    if not callable(found):
        raise ConfigError(f"{file} has no function {function}; give MODULE:FUNCTION, such as mynet:build")
    try:
        signature(found).bind()
    except TypeError as error:
        raise ConfigError(f"{name} cannot be called without arguments ({error}); give a function that can") from error
    try:
        module = found()
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ConfigError(
            f"{name} fails: {describe_error(error)}; mend it, and call it in Python to see where"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{name} returns a {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _require_running(name: str, module: nn.Module, example: tuple[Tensor, ...]) -> None:
    import torch

    try:
        with torch.no_grad():
            module(*example)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        shapes = ", ".join("x".join(map(str, tensor.shape)) for tensor in example)
        raise ConfigError(
            f"the module of {name} fails with an input of {shapes}: {describe_error(error)}; give --example another "
            "shape"
        ) from error


def _fill(module: nn.Module, path: Path) -> None:
    wanted = module.state_dict()
    weights = _without_wrappers(_read(path), wanted)
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    others = sorted(name for name in wanted.keys() & weights.keys() if wanted[name].shape != weights[name].shape)
    if missing or unknown or others:
        raise ModelError(
            f"{path}: does not fit {type(module).__name__}: missing {list_names(missing)}; unknown "
            f"{list_names(unknown)}; of another shape {list_names(others)}; give the weights of this network"
        )
    module.load_state_dict(weights)


def _without_wrappers(weights: dict[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The weights without what wrappers put before their names.

    That is ``module.`` of ``nn.DataParallel``, ``_orig_mod.`` of ``torch.compile``, or an attribute of a Lightning
    module.
    """
    if weights.keys() == set(wanted):
        return weights
    weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in weights.items()}
    first = next(iter(wanted), "")
    before = [name.removesuffix(first) for name in weights if name.endswith(f".{first}")]
    prefix = next((one for one in before if all(one + name in weights for name in wanted)), "")
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def _read(path: Path) -> dict[str, Any]:
    """Names and tensors of a file of weights.

    Raises:
        ModelError: the file does not exist, cannot be read without running code, or holds no weights.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give a file of weights (.pth, .pt, .safetensors)")
    try:
        is_safe = path.suffix == ".safetensors"
        with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is refused
            table = load_file(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the readers of damaged files raise; their texts advise to run the code
        reason = f" ({first_line(error)})" if isinstance(error, OSError) else ", or has objects beside them"
        raise ModelError(f"{path}: holds no plain weights{reason}; save model.state_dict() with torch.save") from error
    for name in _NESTED:
        if isinstance(table, Mapping) and isinstance(table.get(name), Mapping):
            table = table[name]
    if not isinstance(table, Mapping) or not all(isinstance(each, torch.Tensor) for each in table.values()):
        raise ModelError(f"{path}: holds no weights by name; save model.state_dict() with torch.save")
    return dict(table)
