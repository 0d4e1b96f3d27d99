"""A number of threads that would crash a library is refused."""

from __future__ import annotations

import pytest

from segnet.benchmark.measure import measure
from segnet.errors import ConfigError
from segnet.runtimes.load import open_runtime


@pytest.mark.parametrize("threads", [-3, 100_000])
def test_a_number_of_threads_that_cannot_be_started_is_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"threads={threads} is not possible; give 1 to 1024, or 0"):
        open_runtime("segnet_light", threads=threads)
    with pytest.raises(ConfigError, match=f"threads={threads} is not possible"):
        measure([], threads=threads)
