"""Settings of the augmentation, as flags: no torch is imported for them."""

from __future__ import annotations

from dataclasses import dataclass

from segnet.errors import ConfigError

__all__ = ["AugmentConfig"]

_LARGEST_SHARE = 16  # a quarter of the scale
_EFFECTS = ("white_balance", "fog", "shadow", "night", "fourier")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random augmentation of the images of a batch, drawn for each image.

    Attributes:
        crop: Size in pixels to which random crops are resized. Smaller crops train faster and need less memory.
            Default: chosen from the size of the images; with --recipe scratch whole images, padded to the largest of
            the batch.
        crop_area: Range of the crop's share of the area of a typical image. With crop half as high and wide as the
            image, 0.25 keeps the scale of the image and 1.0 halves it. Images of other sizes have the same scales.
            Above 1, up to 16, the image is smaller than the crop, which is padded. Default: around the images' own
            scale; 0.25 1.0 with --recipe scratch.
        crop_stretch: Largest change of the crop's aspect ratio, as a factor. Set 1 to keep the aspect ratio.
        flip: Probability of a horizontal flip. Set 0 if left and right differ in meaning.
        color: Strength of random changes of gamma, brightness and contrast, from 0 to below 1; the color balance
            changes by an eighth of it. Raise it if the light varies. Default: 0.3 for few images; 0 with --recipe
            scratch.
        gray: Probability of conversion to grayscale. Default: 0.1 for few images; 0 with --recipe scratch.
        blur: Probability of a Gaussian blur with a standard deviation of 0.4 to 2 pixels. Default: 0.1 for few images;
            0 with --recipe scratch.
        noise: Probability of sensor noise with a standard deviation of up to 0.1 of white. Default: 0.1 for few images;
            0 with --recipe scratch.
        white_balance: Probability of another white balance: color channels times 0.7 to 1.36.
        fog: Probability of fog: light gray that makes up 5 to 79 % of each pixel.
        shadow: Probability of a shadow: a darker band in any direction.
        night: Probability of darkness: a half to a sixteenth of the light, and the noise of the sensor.
        fourier: Probability of random Fourier amplitudes (PASTA), which changes textures and keeps shapes.
        jpeg: Probability of JPEG compression of quality 20 to 90.
        mix: Probability of pasting half of the classes of another image (ClassMix). Raise it if there are few images.

    Raises:
        ConfigError: A value is out of range.
    """

    crop: tuple[int, int] | None = None
    crop_area: tuple[float, float] = (0.25, 1.0)
    crop_stretch: float = 1.15
    flip: float = 0.5
    color: float = 0.0
    gray: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    white_balance: float = 0.0
    fog: float = 0.0
    shadow: float = 0.0
    night: float = 0.0
    fourier: float = 0.0
    jpeg: float = 0.0
    mix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "gray", "blur", "noise", "jpeg", "mix", *_EFFECTS):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give a probability from 0 to 1")
        if not 0.0 < self.crop_area[0] <= self.crop_area[1] <= _LARGEST_SHARE:
            raise ConfigError(
                f"crop_area={self.crop_area} is not possible; give lowest and highest share, above 0 and up to "
                f"{_LARGEST_SHARE}"
            )
        if not self.crop_stretch >= 1.0:
            raise ConfigError(f"crop_stretch={self.crop_stretch} is not possible; give a factor of at least 1")
        if not 0.0 <= self.color < 1.0:
            raise ConfigError(f"color={self.color} is not possible; give 0 (none) to below 1")
        if self.crop is not None and min(self.crop) < 1:
            raise ConfigError(f"crop={self.crop} is not possible; give height and width of at least 1 pixel")
