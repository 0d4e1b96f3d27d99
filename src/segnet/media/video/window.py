"""A window that shows images, in Tk, which comes with Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError

__all__ = ["Window"]


class Window:
    """A window that opens immediately; Escape, Q or the close button close it.

    Args:
        title: of the window.

    Attributes:
        closed: whether the user has closed it.

    Raises:
        ConfigError: there is no display, or Python came without Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            self._root = tkinter.Tk(className="segnet")
        except ImportError as error:
            raise ConfigError("show needs Tk, which this Python lacks; install python3-tk, or leave it out") from error
        except tkinter.TclError as error:
            raise ConfigError(f"show needs a display ({error}); leave it out, and play the written video") from error
        self._image = tkinter.PhotoImage
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self.closed = False
        for event in ("<Escape>", "<q>"):
            self._root.bind(event, lambda _: self._close())
        self._root.protocol("WM_DELETE_WINDOW", self._close)

    def show(self, image: NDArray[np.uint8]) -> None:
        """Show an image, uint8 (H, W, 3) RGB, and process key events."""
        height, width = image.shape[:2]
        shown = self._image(data=b"P6 %d %d 255 " % (width, height) + image.tobytes(), format="PPM")
        self._label.configure(image=shown)
        self._shown = shown  # Tk keeps no reference
        self._root.update()

    def close(self) -> None:
        """Close the window."""
        if not self.closed:
            self._close()

    def _close(self) -> None:
        self.closed = True
        self._root.destroy()
