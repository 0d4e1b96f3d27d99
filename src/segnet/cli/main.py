"""Entry point of the command line: runs one command and turns errors into exit codes.

Exit codes: 0 success; 1 a bug, with its traceback; 2 a user error, reported in one line; 130 interrupted; 143
stopped by SIGTERM, or because the terminal closed. This module imports no torch, so that help is quick.
"""

from __future__ import annotations

import atexit
import gc
import logging
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from segnet.cli.streams import prepare_standard_streams
from segnet.errors import ConfigError, MissingPackageError, SegNetError, one_line
from segnet.system import clock  # noqa: F401  it starts here, before torch is imported
from segnet.system.signals import terminate_on_hangup

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "predict": "predict masks, overlays and records of images, videos and live sources",
    "serve": "answer HTTP requests with masks, overlays and class shares",
    "check": "check a data set: files, pairing, values, duplicates, leaks, misplaced masks",
    "train": "train a model on labeled images",
    "evaluate": "evaluate a model on labeled images: mIoU, boundary F1, calibration, robustness",
    "score": "score predicted masks of any tool against labeled images",
    "export": "export a model to ONNX, OpenVINO, ExecuTorch, LiteRT, Core ML or torch.export, and check the file",
    "compare": "measure a PyTorch module of yours with max-unpooling by indices and by 2-bit codes",
    "demo": "serve a page that segments images, a camera and videos",
    "benchmark": "measure latency, memory and mIoU of models side by side",
    "models": "list the models with their parameters, multiply-accumulates and scores",
    "recalibrate": "recompute the batch-norm statistics of a model over a data set",
    "temperature": "calibrate the probabilities of a model by temperature scaling",
    "init": "describe a folder of images and masks in a data.yaml, with a validation split",
    "convert-data": "write a data set of any layout as folders of images and masks",
    "convert": "convert SegNet models of Caffe to model files",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    atexit.register(gc.freeze)  # else all objects of libraries are searched for garbage: a second after an export
    prepare_standard_streams()
    terminate_on_hangup()
    sys.exit(_exit_code(list(sys.argv[1:] if arguments is None else arguments)))


class _OneLine(logging.Formatter):
    """Messages as lines that no terminal obeys, whatever the names of files in them hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return one_line(super().formatMessage(record))


def _exit_code(arguments: list[str]) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("segnet").setLevel(logging.INFO)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except SegNetError as error:
        print(f"segnet: {one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # predicting with exported models needs no torch
        if error.name != "torch":
            raise
        print(f"segnet: {MissingPackageError.of('torch', 'torch')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # what only the system or the user can mend is no bug, whoever raised it
        from segnet.system.limits import describe_limit

        if isinstance(error, MemoryError):
            error.__traceback__ = error.__context__ = None  # all that the frames hold is free again
        if not (text := describe_limit(error, command=arguments[0])):
            raise
        print(f"segnet: {text}", file=sys.stderr)
        return 2


def _overview() -> str:
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: segnet COMMAND ...",
            "",
            "Semantic segmentation with SegNet: predict the class of every pixel of an image.",
            "",
            "commands:",
            *lines,
            "",
            "segnet COMMAND --help lists the flags of a command; segnet --version prints the version.",
        ]
    )


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"segnet {version('segnet')}")
        return 0
    return _run_command(arguments[0], arguments[1:])


def _run_command(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {name!r}; {hint}")
    import segnet.system.limits  # noqa: F401  when memory has run out, nothing more can be imported
    from segnet.cli.parser import parse

    run = import_module(f"segnet.cli.commands.{name.replace('-', '_')}").run
    positional, flags = parse(name, run, arguments)

    from segnet.system.allocator import keep_freed_memory

    keep_freed_memory()
    return int(run(*positional, **flags) or 0)
