"""A look as a whole: a criterion's own source and what its kind wants beside, of the same server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.measure import SourceMeasurer
from orchestrator.adapters.process import ProcessRunner
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sources import SourceReader
from orchestrator.adapters.sql import SqlReader
from orchestrator.ports import Scene
from stages.checks import Source
from stages.criteria.base import Count, Counting, History, Measurement, MeasurementState, SeriesValue, Wanted
from tests.orchestrator.adapters.counter_world import NOW, START, Store, every
from tests.support.http_server import Received, ScriptedServer, answer_json

STATE = MeasurementState
AT = START + 75.5
COUNTING = Counting({"total": "total"}, START, START + 60)
WANTED = Wanted(COUNTING)
NOTHING_TO_ASK = Source()


class StillClock:
    def now(self) -> float:
        return AT

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Desk:
    store: Store
    server: ScriptedServer
    measurer: SourceMeasurer
    scene: Scene

    async def measure(self, source: Source, wanted: Wanted = WANTED) -> Measurement:
        return await self.measurer.measure(source, self.scene, AT, wanted)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    http = HttpClient(Secrets(environ={"NUMBER": "0.25"}))
    prometheus = PrometheusClient(http, now=lambda: NOW)
    store = Store()
    store.scraped("total", {}, every(15, -30, 60))
    async with ScriptedServer() as server:
        server.behave(store)
        settings = {"url": server.url, "timeout": "2s", "scrape_interval": "15s"}
        scene = Scene("run", "production", prometheus={"": settings, "eu": {**settings, "scrape_interval": "20s"}})
        reader = SourceReader(
            http, prometheus, ProcessRunner(tmp_path, http.secrets), SqlReader(http.secrets), StillClock()
        )
        yield Desk(store, server, SourceMeasurer(reader), scene)
    await prometheus.close()


async def test_a_source_that_asks_nothing_is_measured_by_what_is_wanted_alone(desk: Desk) -> None:
    measured = await desk.measure(NOTHING_TO_ASK)
    assert (measured.state, measured.series) == (STATE.OK, ())
    assert measured.counts == (Count("total", (), 4),)
    assert measured.at - measured.lookback_seconds == START


async def test_where_nothing_is_wanted_a_source_that_asks_nothing_is_ok_and_reaches_back_one_scrape(desk: Desk) -> None:
    measured = await desk.measure(NOTHING_TO_ASK, Wanted())
    assert (measured.state, measured.lookback_seconds, desk.server.requests) == (STATE.OK, 15, [])
    eu = await desk.measure(Source(source="eu"), Wanted())
    assert eu.lookback_seconds == 20


async def test_where_nothing_is_wanted_a_source_is_measured_as_ever(desk: Desk) -> None:
    measured = await desk.measure(Source(env="NUMBER"), Wanted())
    assert measured == Measurement(STATE.OK, AT, (SeriesValue("", 0.25, AT),))
    assert desk.server.requests == []


async def test_the_named_server_is_asked_with_the_time_limit_of_the_source(desk: Desk) -> None:
    await desk.measure(Source(source="eu", timeout=1.5))
    assert desk.server.requests[0].parameters["timeout"] == "1500ms"


@pytest.mark.parametrize(
    ("source", "words"),
    ((NOTHING_TO_ASK, "the plan names no prometheus to ask"), (Source(source="us"), "the plan has no source us")),
)
async def test_without_a_server_nothing_is_counted_and_the_reason_said(desk: Desk, source: Source, words: str) -> None:
    scene = Scene("run", "production", prometheus={})
    measured = await desk.measurer.measure(source, scene, AT, WANTED)
    assert (measured.state, measured.counts) == (STATE.ERROR, ())
    assert words in measured.detail


async def test_a_number_and_counts_are_one_measurement_that_reaches_back_as_far_as_either(desk: Desk) -> None:
    measured = await desk.measure(Source(env="NUMBER"))
    assert (measured.state, measured.at) == (STATE.OK, START + 75)
    assert [one.value for one in measured.series] == [0.25]
    assert measured.counts == (Count("total", (), 4),)
    assert measured.at - measured.lookback_seconds == START


async def test_a_query_and_history_are_asked_together(desk: Desk) -> None:
    both_here, waiting = asyncio.Event(), []

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        waiting.append(received)
        if len(waiting) == 2:
            both_here.set()
        await both_here.wait()
        kind = "matrix" if "query_range" in received.target else "vector"
        entry: dict[str, Any] = {"metric": {}, "value": [START, "3"], "values": [[START - 60, "2"]]}
        await answer_json({"status": "success", "data": {"resultType": kind, "result": [entry]}})(received, writer)

    desk.server.behave(behave)
    wanted = Wanted(history=(History("before", "sum(x)", START - 60, START, 60.0),))
    measured = await desk.measure(Source(query="sum(rate(x[5m]))"), wanted)
    assert measured.state is STATE.OK, measured.detail
    assert [one.value for one in measured.series] == [3]
    assert [(one.at - START, one.value) for one in measured.past] == [(-60, 2)]
    assert measured.lookback_seconds == 300 + 30


async def test_what_is_worse_decides_and_then_nothing_is_counted(desk: Desk) -> None:
    failed = await desk.measure(Source(env="ABSENT"))
    assert (failed.state, failed.counts) == (STATE.ERROR, ())
    assert "ABSENT is not set" in failed.detail
    missing = await desk.measure(Source(query="nowhere"))
    assert (missing.state, missing.counts) == (STATE.MISSING, ())
    assert "has none for nowhere" in missing.detail
    nowhere = Wanted(Counting({"it": "nowhere"}, START, START + 60))
    uncounted = await desk.measure(Source(env="NUMBER"), nowhere)
    assert (uncounted.state, [one.value for one in uncounted.series]) == (STATE.MISSING, [0.25])
    assert "has no series for it" in uncounted.detail


async def test_two_that_fail_are_both_named(desk: Desk) -> None:
    measured = await desk.measurer.measure(Source(env="ABSENT"), Scene("run", "production", prometheus={}), AT, WANTED)
    assert "ABSENT is not set" in measured.detail
    assert "the plan names no prometheus to ask" in measured.detail
