"""Counters as a real Prometheus has scraped them from a real exporter, through what happens to both.

Bounds of counts are whole seconds. ``World.mark`` gives one by which a scrape has seen all that was done before, and
before which nothing of what is done next can happen: so counts are exact, however slow the machine is.
"""

import contextlib
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from stages.criteria.base import Count, Counting, History, Measurement, MeasurementState, Wanted
from tests.support.metrics_app import MetricsApp
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, wait_until
from tests.support.prometheus import Prometheus

STATE = MeasurementState
SCRAPE_MS = 200


@dataclass
class World:
    """*app* and *other* are scraped, and so is whatever listens at *spare_port*: nothing at first."""

    prometheus: Prometheus
    app: MetricsApp
    other: MetricsApp
    spare_port: int
    client: PrometheusClient

    def mark(self) -> float:
        asked = time.time()
        scraped = wait_until(lambda: self._scraped_after(asked), what="another scrape")
        return self.pass_by(math.ceil(scraped))

    def pass_by(self, second: float) -> float:
        """Waits until a whole second is over, and has been written down."""
        wait_until(lambda: time.time() > second + 0.2, what="the end of a second", every_seconds=0.02)
        return float(second)

    def _scraped_after(self, when: float) -> float:
        """When all targets have been tried, if that was after *when*; else 0."""
        times = [float(one["value"][1]) for one in self.prometheus.query("timestamp(up)")]
        return max(times) if times and min(times) > when else 0.0

    async def look(self, wanted: Wanted, **settings: Any) -> Measurement:
        where = {"url": self.prometheus.url, "timeout": "5s", "scrape_interval": "1s", **settings}
        return await self.client.look(wanted, where, time.time())

    async def counted(self, from_: float, to: float, *by: str, **selectors: str) -> Measurement:
        return await self.look(Wanted(Counting(selectors, from_, to, by)))

    async def rose(self, from_: float, to: float, selector: str) -> float | None:
        measured = await self.counted(from_, to, it=selector)
        assert measured.state is STATE.OK, measured.detail
        return measured.counts[0].value if measured.counts else None


@pytest.fixture(scope="module")
def shared(
    prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, MetricsApp, MetricsApp, int]]:
    """For all tests, as a server takes five seconds to find its targets; each has metrics of its own."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    with MetricsApp() as app, MetricsApp() as other:
        app.set("always_total", 1)
        targets = [app.address, other.address, f"127.0.0.1:{port}"]
        with Prometheus(prometheus_binary, folder, targets, scrape_interval_ms=SCRAPE_MS) as prometheus:
            prometheus.wait_for("always_total")
            yield prometheus, app, other, port


@pytest_asyncio.fixture
async def client() -> AsyncIterator[PrometheusClient]:
    client = PrometheusClient(HttpClient(Secrets(environ={})))
    yield client
    await client.close()


@pytest.fixture
def world(shared: tuple[Prometheus, MetricsApp, MetricsApp, int], client: PrometheusClient) -> Iterator[World]:
    prometheus, app, other, port = shared
    yield World(prometheus, app, other, port, client)
    app.answer_scrapes_with(None)
    other.answer_scrapes_with(None)
    if not prometheus.running:
        prometheus.start()


# --- what rises -------------------------------------------------------------------------------------------------------


async def test_counts_of_intervals_are_what_was_counted_in_them_and_add_up(world: World) -> None:
    world.app.set("plain_total", 1000)
    marks = [world.mark()]
    for rise in (7, 0, 30):
        world.app.add("plain_total", rise)
        marks.append(world.mark())
    rises = [await world.rose(begin, end, "plain_total") for begin, end in pairwise(marks)]
    assert rises == [7, 0, 30]
    assert await world.rose(marks[0], marks[-1], "plain_total") == 37


async def test_series_are_summed_by_the_labels_that_are_kept_apart(world: World) -> None:
    for arm, pod in (("canary", "a"), ("control", "b"), ("control", "c")):
        world.app.set("by_total", 5, arm=arm, pod=pod)
    begin = world.mark()
    world.app.add("by_total", 1, arm="canary", pod="a")
    world.app.add("by_total", 10, arm="control", pod="b")
    world.app.add("by_total", 100, arm="control", pod="c")
    measured = await world.counted(begin, world.mark(), "arm", all="by_total", few='by_total{pod="b"}')
    assert measured.counts == (
        Count("all", ("canary",), 1, 1),
        Count("all", ("control",), 110, 2),
        Count("few", ("control",), 10, 1),
    )


async def test_the_restart_of_a_process_loses_nothing_but_what_no_scrape_saw(world: World) -> None:
    world.app.set("reset_total", 5000)
    begin = world.mark()
    world.app.add("reset_total", 10)
    world.mark()
    world.app.set("reset_total", 4)  # a new process, which has counted 4
    world.mark()
    world.app.add("reset_total", 2)
    assert await world.rose(begin, world.mark(), "reset_total") == 10 + 4 + 2


async def test_the_first_errors_of_a_process_that_was_there_are_counted(world: World) -> None:
    world.app.set("first_total", 100, outcome="ok")
    begin = world.mark()
    world.app.set("first_total", 3, outcome="error")
    assert await world.rose(begin, world.mark(), 'first_total{outcome="error"}') == 3


async def test_a_series_that_ends_has_contributed_what_it_had_and_then_is_not_there(world: World) -> None:
    world.app.set("end_total", 100, pod="old")
    world.app.set("end_total", 200, pod="new")
    begin = world.mark()
    world.app.add("end_total", 5, pod="old")
    world.app.add("end_total", 1, pod="new")
    world.mark()
    world.app.remove("end_total", pod="old")
    middle = world.mark()
    measured = await world.counted(begin, middle, "pod", it="end_total")
    assert measured.counts == (Count("it", ("new",), 1), Count("it", ("old",), 5))
    world.app.add("end_total", 1, pod="new")
    end = world.pass_by(world.mark() + 2)  # until the last sample is older than two scrapes of a second
    measured = await world.counted(middle, end, "pod", it="end_total")
    assert measured.counts == (Count("it", ("new",), 1),)


async def test_errors_whose_series_have_all_ended_are_none_beside_a_total_that_goes_on(world: World) -> None:
    world.app.set("gone_total", 100, outcome="ok")
    world.app.set("gone_total", 100, outcome="error")
    world.mark()
    world.app.remove("gone_total", outcome="error")
    begin = world.mark()
    world.app.add("gone_total", 1, outcome="ok")
    end = world.pass_by(begin + 3)
    measured = await world.counted(begin, end, bad='gone_total{outcome="error"}', total="gone_total")
    assert measured.state is STATE.OK, measured.detail
    assert measured.counts == (Count("total", (), 1),)


async def test_what_is_not_there_is_missing_alone_and_absent_beside_what_is(world: World) -> None:
    world.app.set("there_total", 1)
    begin = world.mark()
    end = world.mark()
    alone = await world.counted(begin, end, bad="nowhere_total")
    assert alone.state is STATE.MISSING
    assert "has no series for bad (nowhere_total)" in alone.detail
    beside = await world.counted(begin, end, bad="nowhere_total", total="there_total")
    assert (beside.state, beside.counts) == (STATE.OK, (Count("total", (), 0),))


async def test_a_gauge_is_told_by_its_falls(world: World) -> None:
    begin = time.time() // 1
    for value in (10, 7, 10, 7, 10, 7):
        world.app.set("up_and_down", value)
        wait_until(lambda: world.prometheus.query(f"up_and_down == {value}"), what="the value")  # noqa: B023
    measured = await world.counted(begin, world.mark(), it="up_and_down")
    assert measured.state is STATE.ERROR
    assert "up_and_down" in measured.detail
    assert "looks like a gauge" in measured.detail


async def test_a_selector_that_is_none_is_named_with_what_the_server_says_of_it(world: World) -> None:
    end = world.mark()
    measured = await world.counted(end - 1, end, errors="sum(always_total)")
    assert measured.state is STATE.ERROR
    assert "refuses the query (400): bad_data:" in measured.detail
    assert "it was asked for errors, the series sum(always_total)" in measured.detail


async def test_the_past_of_an_expression_is_told_by_labels(world: World) -> None:
    world.app.set("temperature", 20, room="a")
    world.app.set("temperature", 30, room="b")
    begin = world.mark()
    end = begin + 2
    world.pass_by(end)
    history = History("t", "max by (room) (temperature)", begin, end, 1.0, ("room",))
    measured = await world.look(Wanted(history=(history,)))
    assert measured.state is STATE.OK, measured.detail
    assert [(one.labels, one.at - begin, one.value) for one in measured.past] == [
        ((room,), at, value) for room, value in (("a", 20), ("b", 30)) for at in (0, 1, 2)
    ]


async def test_a_past_that_has_nothing_or_nan_only_is_empty_and_whole(world: World) -> None:
    end = world.mark()
    for expression in ("no_such_metric", "vector(0) / 0"):
        measured = await world.look(Wanted(history=(History("t", expression, end - 5, end, 1.0),)))
        assert (measured.state, measured.past) == (STATE.OK, ())


async def test_a_plain_selector_is_told_with_the_times_of_its_samples_and_a_calculation_is_not(world: World) -> None:
    world.app.set("level", 3.0)
    world.mark()
    where = {"url": world.prometheus.url, "timeout": "5s", "scrape_interval": "1s"}
    plain = await world.client.measure("level", where, time.time())
    assert (plain.state, [one.value for one in plain.series]) == (STATE.OK, [3.0])
    assert 0 <= plain.at - plain.series[0].sampled_at < 1
    assert "sampled" not in plain.series[0].labels
    ups = await world.client.measure('up{job!=""}', where, time.time())
    assert len(ups.series) == len({one.labels for one in ups.series}) == 3
    made = await world.client.measure("max(level)", where, time.time())
    assert [one.value for one in made.series] == [3.0]


# --- outages ----------------------------------------------------------------------------------------------------------


async def test_what_happens_while_no_scrape_succeeds_is_counted_afterwards_once(world: World) -> None:
    world.app.set("blind_total", 1_000_000)
    begin = world.mark()
    world.app.add("blind_total", 1)
    world.mark()
    world.app.answer_scrapes_with(HTTPStatus.INTERNAL_SERVER_ERROR)
    failed = world.mark()
    world.app.add("blind_total", 20)
    blind = await world.counted(failed, world.pass_by(failed + 3), it="blind_total")
    assert blind.state is STATE.STALE  # nothing of it is fresh, and no zero
    assert "more than two scrapes of 1s" in blind.detail
    world.app.answer_scrapes_with(None)
    end = world.mark()
    assert await world.rose(begin, end, "blind_total") == 21
    assert await world.rose(failed, end, "blind_total") == 20


async def test_a_target_that_is_out_of_reach_is_no_zero_beside_one_that_is_not(world: World) -> None:
    world.other.set("served_total", 10, arm="canary")
    world.app.set("served_total", 10, arm="control")
    world.mark()
    world.other.answer_scrapes_with(HTTPStatus.BAD_GATEWAY)
    begin = world.mark()
    world.app.add("served_total", 5, arm="control")
    measured = await world.counted(begin, world.pass_by(begin + 3), "arm", total="served_total")
    assert (measured.state, measured.counts) == (STATE.OK, (Count("total", ("control",), 5),))


@pytest.mark.parametrize("end", ("stop", "kill"))
async def test_an_outage_of_prometheus_is_bridged_and_none_of_the_life_before_is_counted(
    world: World, end: str
) -> None:
    name = f"{end}_total"
    world.app.set(name, 1_000_000)
    begin = world.mark()
    world.app.add(name, 3)
    world.mark()
    getattr(world.prometheus, end)()
    down = await world.counted(begin, begin + 1, it=name)
    assert down.state is STATE.ERROR
    assert "can't be reached" in down.detail
    world.app.add(name, 40)
    world.prometheus.start()
    world.prometheus.wait_for(f"{name} == 1000043")
    assert await world.rose(begin, world.mark(), name) == 43


async def test_a_process_counts_from_0_when_it_is_new_and_when_it_is_killed_and_started_again(
    world: World, tmp_path: Path
) -> None:
    """Its target is there before it, and does not answer."""
    world.app.set("life_total", 500, pod="old")
    begin = world.mark()
    selector, pod = 'life_total{pod="new"}', {"pod": "new"}
    command = [sys.executable, "-m", "tests.support.metrics_app", str(world.spare_port)]
    with Child(command, tmp_path, environment={**os.environ, "PYTHONPATH": str(ROOT)}) as exporter:
        _put(world.spare_port, "life_total", 1_000, **pod)
        world.prometheus.wait_for(f"{selector} == 1000")
        middle = world.mark()
        measured = await world.counted(begin, middle, "pod", it="life_total")
        assert measured.counts == (Count("it", ("new",), 1_000), Count("it", ("old",), 0))
        _put(world.spare_port, "life_total", 1_002, **pod)
        world.mark()
        exporter.kill()
        world.prometheus.wait_for(f'up{{instance="127.0.0.1:{world.spare_port}"}} == 0')
        exporter.start()
        _put(world.spare_port, "life_total", 6, **pod)
        world.prometheus.wait_for(f"{selector} == 6")
        assert await world.rose(middle, world.mark(), selector) == 2 + 6


def _put(port: int, name: str, value: float, **labels: str) -> None:
    def try_to() -> bool:
        series = {"name": name, "labels": labels, "value": value}
        with contextlib.suppress(httpx.TransportError):
            return httpx.put(f"http://127.0.0.1:{port}/series", json=series, trust_env=False).is_success
        return False

    wait_until(try_to, what="the exporter to answer")


async def test_a_prometheus_that_knows_nothing_of_before_counts_from_what_it_saw_first(
    world: World, prometheus_binary: Path, tmp_path: Path
) -> None:
    world.app.set("old_total", 1_000_000)
    begin = math.floor(time.time())
    with Prometheus(prometheus_binary, tmp_path, [world.app.address], scrape_interval_ms=SCRAPE_MS) as prometheus:
        prometheus.wait_for("old_total")
        fresh = replace(world, prometheus=prometheus)
        world.app.add("old_total", 2)
        assert await fresh.rose(begin, fresh.mark(), "old_total") == 2
