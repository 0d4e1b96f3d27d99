"""segnet compare: measures a module with PyTorch's max-unpooling and with 2-bit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.modules import ModuleFlags, is_function
from segnet.cli.output_files import require_writable_files
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.benchmark.unpooling import UnpoolingCost

__all__ = ["run"]


def run(
    module: str,
    /,
    *,
    flags: ModuleFlags = ModuleFlags(),  # noqa: B008
    rounds: int = 5,
    threads: int = 0,
    json: Path | None = None,
) -> None:
    """Replace the max-unpooling of a module by codes, and compare memory, latency and determinism before and after.

    Args:
        module: MODULE:FUNCTION, a function in a Python file of yours that returns any PyTorch module.
        flags: the module of the user's.
        rounds: Number of turns of each model. Raise it on a busy machine.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
        json: Path of a JSON file of all figures, with hardware and versions. Default: no file.
    """
    if not is_function(module):
        raise ConfigError(f"{module!r} is no MODULE:FUNCTION; give one, such as mynet:build")
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds} is not possible; give 1 or more")
    require_writable_files({"--json": json})
    import torch

    from segnet.benchmark.unpooling import compare_unpooling
    from segnet.system.files import write_json
    from segnet.system.hardware import about
    from segnet.system.threads import check_threads

    check_threads(threads)
    if threads:
        torch.set_num_threads(threads)
    model, example = flags.load(module)
    conversion, before, after = compare_unpooling(model, example, rounds=rounds)
    print(conversion, file=sys.stderr)
    _print(before, after)
    if json is not None:
        figures = {
            "machine": about("torch", "segnet"),
            "example": list(flags.example),
            "replaced": list(conversion.replaced),
            "left": [str(each) for each in conversion.left],
            "before": before.to_dict(),
            "after": after.to_dict(),
        }
        write_json(json, figures)


def _print(before: UnpoolingCost, after: UnpoolingCost) -> None:
    from segnet.system.tables import new_table, print_table

    table = new_table("", "indices (PyTorch)", "codes", "ratio")
    table.pad_edge = False
    for title, name, unit, scale in (
        ("kept for the decoder", "decoder_bytes", "kB", 1e-3),
        ("peak memory, inference", "inference_bytes", "MB", 1e-6),
        ("peak memory, training step", "step_bytes", "MB", 1e-6),
        ("latency, inference", "inference_ms", "ms", 1.0),
        ("latency, training step", "step_ms", "ms", 1.0),
    ):
        old, new = (getattr(one, name) * scale for one in (before, after))
        table.add_row(title, f"{old:.1f} {unit}", f"{new:.1f} {unit}", f"{new / old:.3f}")
    table.add_row("runs deterministically", *("yes" if one.deterministic else "no" for one in (before, after)), "")
    print_table(table)
