import time

from orchestrator.adapters.clock import SystemClock


async def test_the_system_clock_reads_both_clocks_and_sleeps() -> None:
    clock = SystemClock()
    began, wall = clock.monotonic(), clock.now()

    await clock.sleep(0.02)
    await clock.sleep(-1.0)  # what is already past is not waited for

    assert 0.015 < clock.monotonic() - began < 5
    assert wall <= clock.now()
    assert abs(clock.now() - time.time()) < 5
