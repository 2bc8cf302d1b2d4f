"""What a gate would read, on a real Prometheus that scrapes a real endpoint of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from flags import FlagDocument, Snapshot
from flags.exposure import Exposure
from flags.exposure_names import BANDS, selectors
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.prometheus
PERCENTAGE = 25
KEY = 'team/"new api"'


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def prometheus(prometheus_binary: Path, tmp_path: Path, registry: CollectorRegistry) -> Iterator[Prometheus]:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    target = f"127.0.0.1:{server.server_port}"
    with Prometheus(prometheus_binary, tmp_path, [target], scrape_interval_ms=200) as started:
        yield started
    server.shutdown()
    server.server_close()
    thread.join()


def total(prometheus: Prometheus, selector: str | None) -> float:
    (row,) = prometheus.query(f"sum({selector}) or vector(0)")
    return float(row["value"][1])


def test_arms_bands_and_outcomes_arrive_as_a_gate_reads_them(
    prometheus: Prometheus, registry: CollectorRegistry
) -> None:
    snapshots = [Snapshot([FlagDocument(KEY, percentage=0)])]
    flags = Exposure(lambda: snapshots[-1], registry=registry)
    contexts: list[dict[str, object]] = [{"targetingKey": f"user-{number}"} for number in range(400)]
    for context in contexts:  # before the step: nobody has it, and the first of a hundred fails
        flags.observe(KEY, context, error=context is contexts[0], seconds=0.002)
    snapshots.append(Snapshot([FlagDocument(KEY, percentage=PERCENTAGE, targets={"team": ("a",)})]))
    canaries = failed = 0
    for context in contexts:
        with flags.exposure(KEY, context) as on:
            canaries += on.on
            if on and canaries % 4 == 0:
                on.failed()
                failed += 1
        with flags.exposure(KEY, {**context, "team": "a"}) as on:
            on.failed()  # in neither arm, so no gate sees it
    read = selectors(KEY, PERCENTAGE)
    controls = len(contexts) - canaries
    assert 60 < canaries < 140

    prometheus.wait_for(f"sum({read.drawn_total}) == {2 * len(contexts)}")
    assert total(prometheus, read.canary_total) == canaries
    assert total(prometheus, read.canary_bad) == failed
    assert total(prometheus, read.control_total) == controls + len(contexts)
    assert total(prometheus, read.control_bad) == 1
    assert total(prometheus, read.drawn_bad) == failed + 1
    assert total(prometheus, read.cohort_total) == 2 * canaries, "the same keys, before the step and after it"
    assert total(prometheus, read.late) == canaries, "those of before the step"
    assert total(prometheus, f"{read.canary_seconds}".replace("{", "_count{", 1)) == canaries
    assert total(prometheus, f"{read.control_seconds}".replace("{", "_count{", 1)) == controls + len(contexts)

    rows = prometheus.query(f"sum by (band) ({read.drawn_total})")
    by_band = {row["metric"]["band"]: float(row["value"][1]) for row in rows}
    assert set(by_band) <= set(BANDS)
    below = sum(value for band, value in by_band.items() if float(band) <= PERCENTAGE)
    assert below == 2 * canaries
