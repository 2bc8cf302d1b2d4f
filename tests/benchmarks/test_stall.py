"""How a controller comes back from standing still is measured: with few runs, at once."""

import pytest

from benchmarks import stall


@pytest.mark.slow
def test_a_controller_that_stood_still_is_on_time_again_and_asks_no_more_than_before() -> None:
    result = stall.run(quick=True)
    assert result["seconds"] is not None
    assert result["most_late_p99_s"] > stall.ON_TIME_SECONDS
    assert result["asked_per_s"] > 0
    assert "on time after" in stall.table(result)
