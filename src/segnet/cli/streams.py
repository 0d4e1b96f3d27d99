"""Standard streams that no command fails on: closed ones, names that they cannot show, readers that end early."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["prepare_standard_streams"]


def prepare_standard_streams() -> None:
    """Let results depend on neither who reads standard output and error, nor on whether anybody does.

    A stream that the caller closed leads nowhere. So does a pipe once its reader, such as ``head``, has ended, and a
    terminal once it is closed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _outlasting_reader(stream))
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and classes may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")


class _OutlastingFile(io.FileIO):
    """A file that leads nowhere once the reader of its pipe has ended, or its terminal is closed."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


def _outlasting_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The stream, or one of the same settings in its place if it is a pipe, a socket or a terminal."""
    buffer = stream.buffer
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.FileIO) or isinstance(raw, _OutlastingFile):
        return stream
    mode = os.fstat(raw.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or raw.isatty()):
        return stream
    file = _OutlastingFile(raw.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        file if raw is buffer else io.BufferedWriter(file),  # python -u: no buffer
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
