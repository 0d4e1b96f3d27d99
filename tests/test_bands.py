from __future__ import annotations

from dataclasses import asdict

import pytest

from segnet.bands import Bands, Channels, count_channels, describe_channels, same_input, stored_bands
from segnet.errors import ConfigError


@pytest.mark.parametrize(
    ("channels", "count", "words"),
    [
        (3, 3, "RGB"),
        (1, 1, "gray"),
        (13, 13, "13 bands"),
        (Bands(indices=(3, 2, 1, 7)), 4, "bands 3, 2, 1, 7"),
        (Bands(indices=(3, 2, 1), count=13), 3, "bands 3, 2, 1 of 13"),
    ],
)
def test_channels_are_color_gray_or_bands(channels: Channels, count: int, words: str) -> None:
    assert count_channels(channels) == count
    assert describe_channels(channels) == words
    assert (stored_bands(channels) is None) == (words in {"RGB", "gray"})


def test_a_number_stands_for_all_bands_of_files_that_have_as_many() -> None:
    assert stored_bands(4) == Bands(indices=(0, 1, 2, 3), count=4)
    assert same_input(4, Bands(indices=(0, 1, 2, 3), count=4))
    assert not same_input(4, Bands(indices=(0, 1, 2, 3), count=5))
    assert not same_input(3, Bands(indices=(0, 1, 2), count=3))


def test_bands_of_lists_equal_those_of_tuples() -> None:
    lists = Bands(indices=[3, 2, 1], shown=[2], value_range=[0, 9])  # type: ignore[arg-type]
    assert lists == Bands(indices=(3, 2, 1), shown=(2,), value_range=(0, 9))
    assert {lists: 1}


def test_bands_come_back_from_their_table() -> None:
    bands = Bands(indices=(3, 0), count=4, value_range=(-1.0, 2.5), shown=(0,))
    assert Bands.from_dict({name: list(v) if isinstance(v, tuple) else v for name, v in asdict(bands).items()}) == bands


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"indices": (0, -1)}, r"bands \[0, -1\] are not possible"),
        ({"indices": (0, 0)}, "each once"),
        ({"indices": (0, 4), "count": 4}, "band 4 is not possible in images of 4 bands; the last one is 3"),
        ({"indices": (0, 1), "shown": (2,)}, r"bands \[2\] cannot be shown; give one or three of 0, 1"),
        ({"indices": (0, 1), "shown": (0, 1)}, "cannot be shown"),
        ({"indices": (0,), "value_range": (1.0, 1.0)}, "give the lowest and the highest value"),
        ({"indices": (0,), "value_range": (0.0, float("inf"))}, "value_range"),
    ],
)
def test_impossible_bands_are_refused(values: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bands(**values)


@pytest.mark.parametrize(
    ("bands", "positions"),
    [
        (Bands(indices=(5, 4, 3, 2)), (0, 1, 2)),
        (Bands(indices=(5, 4)), (0,)),
        (Bands(indices=(5, 4, 3, 2), shown=(2, 3, 5)), (3, 2, 0)),
    ],
)
def test_the_first_three_bands_are_shown_or_those_named(bands: Bands, positions: tuple[int, ...]) -> None:
    assert bands.shown_positions == positions
