from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segnet.bands import Bands
from segnet.data.band_statistics import measure_bands
from segnet.data.samples import Sample
from segnet.errors import DataError


def write(folder: Path, *arrays: NDArray[Any]) -> list[Sample]:
    samples = []
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array)
        samples.append(Sample(image=folder / f"{number}.npy", mask=folder / "none.png", name=str(number)))
    return samples


def random(kind: str, *, bands: int = 4, seed: int = 0, size: tuple[int, int] = (9, 11)) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if kind == "float32":
        return rng.normal(3, 2, (*size, bands)).astype(np.float32)
    return rng.integers(0, np.iinfo(kind).max, (*size, bands), dtype=kind)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_mean_and_std_are_those_of_all_pixels_of_all_images(tmp_path: Path, kind: str) -> None:
    arrays = [random(kind), random(kind, seed=1, size=(20, 7))]
    found = measure_bands(write(tmp_path, *arrays), Bands(indices=(2, 0)))
    pixels = np.concatenate([array.reshape(-1, 4) for array in arrays]).astype(np.float64)[:, [2, 0]]
    low, high = (pixels.min(), pixels.max()) if kind == "float32" else (0, np.iinfo(kind).max)
    np.testing.assert_allclose(found.mean, ((pixels - low) / (high - low)).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.std, (pixels / (high - low)).std(axis=0), rtol=1e-5)
    assert (found.bands.count, found.bands.indices) == (4, (2, 0))
    assert found.bands.value_range == ((low, high) if kind == "float32" else ())


def test_a_stated_range_is_kept(tmp_path: Path) -> None:
    array = random("uint16")
    found = measure_bands(write(tmp_path, array), Bands(indices=(1,), value_range=(0.0, 100000.0)))
    assert found.bands.value_range == (0.0, 100000.0)
    np.testing.assert_allclose(found.mean, array[:, :, 1].mean() / 100000, rtol=1e-6)


def test_they_are_measured_once(tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = write(tmp_path, random("float32"))
    with caplog.at_level(logging.INFO, logger="segnet"):
        first = measure_bands(samples, Bands(indices=(0, 1)))
        assert measure_bands(samples, Bands(indices=(0, 1))) == first
        assert caplog.text.count("measuring mean and standard deviation of bands 0, 1 over 1 images") == 1
        next(own_cache.rglob("*.json")).write_text("{}")
        assert measure_bands(samples, Bands(indices=(0, 1))) == first
    np.save(samples[0].image, random("float32", seed=5, size=(4, 30)))
    assert measure_bands(samples, Bands(indices=(0, 1))) != first


def test_a_band_of_one_value_does_not_divide_by_zero(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = random("uint8")
    array[:, :, 3] = 255
    found = measure_bands(write(tmp_path, array), Bands(indices=(0, 3)))
    assert (found.mean[1], found.std[1]) == (1.0, 1.0)
    assert "band 3 has one value in all training images" in caplog.text


def test_a_band_of_small_values_beside_one_of_large_values_has_its_own_deviation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    array = random("float32").astype(np.float64)
    array[:, :, 0] *= 3e7
    found = measure_bands(write(tmp_path, array), Bands(indices=(0, 3)))
    low, high = found.bands.value_range
    assert found.std[1] * (high - low) == pytest.approx(array[:, :, 3].std())
    assert "one value" not in caplog.text


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (random("uint16", bands=5), r"1\.npy has 5 bands, and .*0\.npy has 4"),
        (random("float32"), r"1\.npy holds float32, and .*0\.npy uint16; .*value_range"),
        (random("float32") * np.float32("nan"), "1.npy holds NaN or infinity in 99 pixels"),
        (random("uint16", bands=2), "1.npy has 2 bands, so there is no band 3"),
    ],
)
def test_images_that_do_not_belong_together_are_named(tmp_path: Path, second: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure_bands(write(tmp_path, random("uint16"), second), Bands(indices=(0, 3)))
