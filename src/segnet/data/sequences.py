"""A validation split by sequence.

Neighbors in a film are nearly the same image, so chance would put copies of the training images into the validation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["hold_out", "sequence_of"]

_RUNNING = re.compile(r"^(.*?)((?<![a-z])[a-z])?\d+\D*$", re.IGNORECASE)  # before the last number of a name, or f0012
_LEAST, _MOST, _EVERY = 0.1, 0.35, 5


def sequence_of(name: str) -> str:
    """What names of the same sequence have in common: all before the running number, or folders above."""
    match = _RUNNING.match(name)
    return match[1] if match else name


def hold_out(names: Sequence[str]) -> tuple[set[str], str]:
    """Choose the names that validate, about a fifth, and describe how.

    Whole sequences if there are several (common beginning, running number); the last fifth of the only sequence, since
    its neighbors are alike; every fifth name if there are no sequences.
    """
    sequences = Counter(map(sequence_of, names))
    if len(names) < 2:
        return set(), "empty: there is one image only"
    if max(sequences.values()) == 1:
        chosen = sorted(names)[_EVERY // 2 :: _EVERY] or sorted(names)[-1:]
        return set(chosen), "every fifth image: names show no sequences"
    held = _small_sequences(sequences)
    if held:
        return {name for name in names if sequence_of(name) in held}, f"sequences {', '.join(sorted(held))}"
    longest = sequences.most_common(1)[0][0]
    running = sorted((name for name in names if sequence_of(name) == longest), key=_in_order)
    return set(running[-max(1, len(running) // _EVERY) :]), f"the end of sequence {longest or running[0]}"


def _small_sequences(sequences: Counter[str]) -> set[str]:
    """Whole sequences, the smallest first, that are a tenth to a third of all images; empty if there are none."""
    total, held, images = sequences.total(), set[str](), 0
    for name, count in sorted(sequences.items(), key=lambda item: (item[1], item[0])):
        if images >= _LEAST * total:
            break
        held.add(name)
        images += count
    return held if images <= _MOST * total else set()


def _in_order(name: str) -> tuple[int, str]:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]), name
