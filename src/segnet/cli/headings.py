"""The headings under which the help of a command shows its flags."""

from __future__ import annotations

__all__ = ["HEADINGS", "group_of"]

_GROUPS = {
    "input": (
        "data", "layout", "map", "only", "add", "split", "resize", "resize_mode", "classes", "ignore_index", "encoding",
        "partial", "calibrate",
    ),
    "model": (
        "model", "in_channels", "encoder", "encoder_weights", "encoder_norms", "weights", "freeze_encoder", "dropout",
        "samples", "verify", "net", "format", "runtime_files", "int8", "max_drop", "size", "resize_to", "half",
        "example",
    ),
    "size and tiles": ("max_size", "image_scale", "tile", "overlap", "memory"),
    "output": (
        "out", "save", "records", "json", "html", "worst", "plot", "measure", "output", "loggers", "save_every",
        "resume", "force",
    ),
    "style": ("opacity", "legend", "outline_width", "show_classes", "palette"),
    "video": (
        "start", "end", "every", "smoothing", "flicker", "codec", "frames", "rate", "live", "reconnect_timeout", "show",
    ),
    "test-time augmentation": ("tta_flip", "tta_scales"),
    "metrics": ("boundary", "one_to_one", "corruptions", "calibration", "monitor", "validate_every"),
    "optimization": (
        "recipe", "time", "epochs", "batch", "accumulate", "lr", "encoder_lr", "optimizer", "weight_decay", "schedule",
        "warmup", "ema", "clip", "loss", "loss_divisor", "class_weights", "label_smoothing", "prior_correction",
        "teacher", "teacher_scales", "distillation", "unlabeled", "unfreeze_at", "batch_norm", "patience", "overfit",
        "find_lr",
    ),
    "augmentation": (
        "crop", "crop_area", "crop_stretch", "flip", "color", "gray", "blur", "noise", "white_balance", "fog",
        "shadow", "night", "fourier", "jpeg", "mix",
    ),
    "runtime": (
        "runtime", "device", "precision", "threads", "seed", "workers", "devices", "nodes", "strategy", "compile",
        "save_memory", "timing", "engine", "address",
    ),
    "service": (
        "host", "port", "queue", "batch_wait", "max_upload", "max_pixels", "timeout", "token_file", "cors",
    ),
    "benchmark": ("sizes", "compiled", "baselines", "rounds", "images", "limit", "neighbors", "score_limit"),
}  # fmt: skip

_HEADINGS = {name: heading for heading, names in _GROUPS.items() for name in names}

HEADINGS = tuple(_GROUPS)
"""All headings, in the order in which help shows them."""


def group_of(name: str) -> str:
    """The heading of a flag.

    Raises:
        KeyError: the flag has no place in ``_GROUPS``.
    """
    return _HEADINGS[name]
