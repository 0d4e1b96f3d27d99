"""Style of overlays on images and videos; ``visualization.overlay`` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, get_args

from segnet.errors import ConfigError
from segnet.system.field_types import check_types

if TYPE_CHECKING:
    from segnet.labels import ClassTable

__all__ = ["VIEWS", "Legend", "OverlayStyle", "Palette", "View"]

Legend = Literal["auto", "below", "none"]
Palette = Literal["model", "colorblind"]

View = Literal["overlay", "color", "side"]
"""What is shown: colors over the image, colors alone, or the image beside its overlay."""

VIEWS: tuple[View, ...] = get_args(View)

_WIDEST_LINE = 100  # the time grows with the width


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """How masks are shown to people; the values in mask files never change, their colors are those of the palette.

    Attributes:
        opacity: Opacity of the colors in overlays, from 0 (image only) to 1 (colors only).
        legend: Place of the legend. auto puts it below overlays of images, but into no video.
        outline_width: Width of the light outlines between classes in overlays in pixels. Default: by the size of the
            image. Set 0 for no outlines.
        show_classes: Classes that are colored and outlined; all others stay as in the image. A name that holds a comma
            stands in double quotes. Default: all classes.
        palette: Colors of the classes. model takes those of the model's class table; colorblind takes colors that
            color-blind readers can tell apart.
    """

    opacity: float = 0.5
    legend: Legend = "auto"
    outline_width: int | None = None
    show_classes: tuple[str, ...] = ()
    palette: Palette = "model"

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.opacity <= 1:
            raise ConfigError(f"opacity={self.opacity} is not possible; give 0 (image alone) to 1 (colors alone)")
        if self.outline_width is not None and not 0 <= self.outline_width <= _WIDEST_LINE:
            raise ConfigError(
                f"outline_width={self.outline_width} is not possible; give pixels, 0 (no lines) to {_WIDEST_LINE}"
            )

    def has_legend(self, view: View) -> bool:
        """Whether an image of this kind gets a legend; videos have one only where ``legend`` is ``below``."""
        return self.legend == "below" or (self.legend == "auto" and view != "color")

    def colored(self, labels: ClassTable) -> ClassTable:
        """The same classes in the colors of ``palette``."""
        return labels.colorblind() if self.palette == "colorblind" else labels

    def hidden(self, labels: ClassTable) -> list[int]:
        """The classes that ``show_classes`` leaves out.

        Raises:
            ConfigError: a name in ``show_classes`` is not among the labels.
        """
        self.require_known_classes(labels)
        return [index for index, name in enumerate(labels.names) if self.show_classes and name not in self.show_classes]

    def require_known_classes(self, labels: ClassTable) -> None:
        """Fail before anything is drawn.

        Raises:
            ConfigError: a name in ``show_classes`` is not among the labels.
        """
        for name in self.show_classes:
            if name not in labels.names:
                lower = {known.lower(): known for known in labels.names}
                near = [repr(lower[match]) for match in get_close_matches(name.lower(), lower, n=3)]
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                if any("," in known for known in labels.names):
                    hint += """quote a name that holds a comma, as in --show-classes '"Road, paved",Sky'; """
                raise ConfigError(f"there is no class {name!r}; {hint}known are {', '.join(labels.names)}")
