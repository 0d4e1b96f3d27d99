"""Flags that do nothing without another one: they are refused on the command line, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from segnet.errors import ConfigError

__all__ = ["require_companions", "unused_flags"]

_COMPANIONS = {
    "one_to_one": ("matches boundary points", ("boundary",)),
    "worst": ("is the number of images on the page", ("html",)),
    "seed": ("is of Monte Carlo dropout", ("samples",)),
    "resize_mode": ("chooses how images are resized", ("resize", "recipe")),  # which may decide on --resize
    "layout": ("is of labeled images", ("data", "calibrate")),
    "map": ("is of labeled images", ("data", "calibrate")),
    "only": ("is of labeled images", ("data", "calibrate")),
    "split": ("is of labeled images", ("data",)),
    "score_limit": ("is the time to score a model", ("data",)),
    "max_drop": ("is the largest loss by INT8", ("calibrate",)),
    "encoder_norms": ("is of pretrained weights of the encoder", ("encoder_weights", "resume")),
    "teacher_scales": ("resizes the images of teachers", ("teacher", "resume")),
    "distillation": ("weighs the loss of teachers", ("teacher", "resume")),
}  # the others of which a command needs one, if it has any of them as a flag


def require_companions(typed: Iterable[str], values: Mapping[str, object]) -> None:
    """Refuse flags of the command line that do nothing without another one.

    Args:
        typed: names of the flags on the command line.
        values: all flags of the command by name.

    Raises:
        ConfigError: the flag that one needs is missing.
    """
    for name in sorted(typed):
        meaning, companions = _COMPANIONS.get(name, ("", ()))
        known = [companion for companion in companions if companion in values]
        if known and not any(values[companion] for companion in known):
            raise ConfigError(f"{_option(name)} {meaning}; add {_option(known[0])}")


def unused_flags(typed: Collection[str], names: Collection[str]) -> str:
    """Those of the names that stand on the command line, as --rate, --smoothing."""
    return ", ".join(_option(name) for name in sorted(set(typed) & set(names)))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
