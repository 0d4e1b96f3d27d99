"""Table 1 of the paper: what it says, what it claims of the eight decoders, and ours beside it.

Source: Badrinarayanan, Kendall, Cipolla, PAMI 2017, Table 1 and section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from study import markdown

__all__ = [
    "BALANCES", "ORDERINGS", "PAPER", "Measured", "Ordering", "Published", "table_of", "verdict_table", "verdicts",
]  # fmt: skip

BALANCES = ("median", "natural")
TITLES = {"global_accuracy": "G", "class_average": "C", "miou": "mIoU", "bf": "BF", "bf_near": "BF, near"}

Scores = Mapping[str, float]
"""By the names of ``TITLES``, in percent."""


@dataclass(frozen=True)
class Published:
    """One row of the paper's table.

    Attributes:
        name: as the paper writes it.
        parameters: 10^6.
        storage: what the encoder keeps for the decoder, SegNet-Basic's codes being 1; None: not given.
        ms: of one image of 360x480 on a Titan GPU.
        median, natural: G, C, mIoU and BF on the test images, in percent, by balancing.
    """

    name: str
    parameters: float
    storage: float | None
    ms: float
    median: tuple[float, float, float, float]
    natural: tuple[float, float, float, float]

    def scores(self, balance: str) -> dict[str, float]:
        """Those of one balancing, by name."""
        return dict(zip(TITLES, self.median if balance == "median" else self.natural, strict=False))


PAPER: Mapping[str, Published] = {
    "bilinear": Published(
        "Bilinear-Interpolation", 0.625, 0, 24.2, (77.9, 61.1, 43.3, 20.83), (82.7, 52.5, 43.8, 23.08)
    ),
    "segnet_basic": Published("SegNet-Basic", 1.425, 1, 52.6, (82.7, 62.0, 47.7, 35.78), (84.0, 54.6, 46.3, 36.67)),
    "segnet_basic_encoder_addition": Published(
        "SegNet-Basic-EncoderAddition", 1.425, 64, 53.0, (83.4, 63.6, 48.5, 35.92), (84.2, 56.5, 47.7, 36.27)
    ),
    "segnet_basic_single_channel_decoder": Published(
        "SegNet-Basic-SingleChannelDecoder", 0.625, 1, 33.1, (81.2, 60.7, 46.1, 31.62), (83.5, 53.9, 45.2, 32.45)
    ),
    "fcn_basic": Published("FCN-Basic", 0.65, 11, 24.2, (81.7, 62.4, 47.3, 38.11), (83.9, 55.6, 45.0, 37.33)),
    "fcn_basic_no_addition": Published(
        "FCN-Basic-NoAddition", 0.65, None, 23.8, (80.5, 58.6, 44.1, 31.96), (82.3, 53.9, 44.2, 29.43)
    ),
    "fcn_basic_no_dim_reduction": Published(
        "FCN-Basic-NoDimReduction", 1.625, 64, 44.8, (84.1, 63.4, 50.1, 37.37), (83.5, 57.3, 47.0, 37.13)
    ),
    "fcn_basic_no_addition_no_dim_reduction": Published(
        "FCN-Basic-NoAddition-NoDimReduction", 1.625, 0, 43.9, (80.5, 61.6, 45.9, 30.47), (83.7, 54.8, 45.5, 33.17)
    ),
}
"""The rows by our names of the networks."""


@dataclass(frozen=True)
class Ordering:
    """A claim: by this score, each of the better networks is above each of the worse."""

    claim: str
    score: str
    better: tuple[str, ...]
    worse: tuple[str, ...]

    def margin(self, scores: Mapping[str, Scores]) -> float | None:
        """From the best of the worse up to the worst of the better: above 0 if the claim holds; None if one is missing.

        Args:
            scores: by network.
        """
        if not {*self.better, *self.worse} <= set(scores):
            return None
        best = max(scores[name][self.score] for name in self.worse)
        return min(scores[name][self.score] for name in self.better) - best


def _all_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in PAPER if name not in names)


_BEST = ("fcn_basic_no_dim_reduction", "segnet_basic_encoder_addition")

ORDERINGS = (
    Ordering("bilinear is worst", "miou", _all_but("bilinear"), ("bilinear",)),
    Ordering("bilinear is worst at boundaries", "bf", _all_but("bilinear"), ("bilinear",)),
    Ordering("without addition FCN-Basic loses at boundaries", "bf", ("fcn_basic",), ("fcn_basic_no_addition",)),
    Ordering(
        "so it does without dimension reduction",
        "bf",
        ("fcn_basic_no_dim_reduction",),
        ("fcn_basic_no_addition_no_dim_reduction",),
    ),
    Ordering("a single-channel decoder loses", "miou", ("segnet_basic",), ("segnet_basic_single_channel_decoder",)),
    Ordering("but little: it is above bilinear", "miou", ("segnet_basic_single_channel_decoder",), ("bilinear",)),
    Ordering("NoDimReduction and EncoderAddition are best", "miou", _BEST, _all_but(*_BEST)),
)
"""What the paper says of its table; all of it holds in the paper's own figures."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row of ours.

    Attributes:
        parameters: 10^6.
        storage: as in ``Published``.
        ms: of one image of 360x480; None: not timed.
        scores: by balancing, and of each by the names of ``TITLES``; a balancing that was not trained is missing.
    """

    parameters: float
    storage: float
    ms: float | None
    scores: Mapping[str, Scores]


def table_of(rows: Mapping[str, Measured]) -> str:
    """All rows by balancing, in each cell ours and the paper's."""
    titles = ["ours / paper", "classes weigh", "M parameters", "storage", "ms", *TITLES.values()]
    return markdown(titles, [_line(name, rows[name], balance) for balance in BALANCES for name in PAPER])


def verdicts(rows: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """For each of ``ORDERINGS`` and each balancing the margin, ours and the paper's, and whether the claim holds."""
    found = []
    for ordering in ORDERINGS:
        for balance in BALANCES:
            ours = ordering.margin({name: row.scores[balance] for name, row in rows.items() if balance in row.scores})
            theirs = ordering.margin({name: row.scores(balance) for name, row in PAPER.items()})
            holds = None if ours is None else ours > 0
            found.append({**asdict(ordering), "balance": balance, "holds": holds, "margin": ours, "paper": theirs})
    return found


def verdict_table(found: list[dict[str, Any]]) -> str:
    """The same as a table, a claim in each line."""
    words = {True: "holds", False: "does not hold", None: "not known"}
    lines = [
        [row["claim"], TITLES[row["score"]], row["balance"], words[row["holds"]], _signed(row["margin"]),
         _signed(row["paper"])]
        for row in found
    ]  # fmt: skip
    return markdown(["the paper's claim", "by", "classes weigh", "ours", "by points", "the paper's"], lines)


def _line(name: str, row: Measured, balance: str) -> list[str]:
    published, ours = PAPER[name], row.scores.get(balance, {})
    theirs = published.scores(balance)
    parts = [
        _pair(row.parameters, published.parameters, digits=3),
        _pair(row.storage, published.storage),
        _pair(row.ms, published.ms),
    ]
    return [published.name, balance, *parts, *(_pair(ours.get(score), theirs.get(score)) for score in TITLES)]


def _pair(ours: float | None, theirs: float | None, digits: int = 1) -> str:
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in (ours, theirs))


def _signed(points: float | None) -> str:
    return "-" if points is None else f"{points:+.1f}"
