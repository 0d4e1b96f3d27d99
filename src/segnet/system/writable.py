"""Whether results can be written into a folder, asked before the work that makes them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from segnet.errors import OutputError
from segnet.system.files import explained, temporary_file

__all__ = ["require_writable"]


def require_writable(out: Path, *, flag: str = "--out") -> None:
    """Check that files can be written into a folder, before the model runs; leaves no file and no folder behind.

    Raises:
        OutputError: nothing can be written there; the message names the flag.
    """
    missing = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    try:
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
            with temporary_file(out / "probe"):
                pass
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise OutputError(f"{out}: results cannot be written there ({reason}); give another {flag}") from error
    finally:
        for folder in missing:  # innermost first
            with suppress(OSError):  # it could not be created, or another program writes into it by now
                folder.rmdir()
