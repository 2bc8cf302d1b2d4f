"""The past of a Prometheus, in pieces: everything, as a live look counts it, or a sentence."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.prometheus.archive import PAUSES_SECONDS, PrometheusArchive
from orchestrator.adapters.secrets import Secrets
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import PastSeries
from stages.criteria.base import Counting, MeasurementState, Wanted
from tests.orchestrator.adapters.counter_world import NOW, START, Store, every
from tests.support.http_server import Behaviour, Received, ScriptedServer, answer, answer_json, dead_url, hang

# As Thanos 0.42 says it with partial_response=false, but for what of it is long
STORE_IS_AWAY = (
    "expanding series: proxy Series(): fetch series for Store Gateway Addr: 127.0.0.1:9841: rpc error: code = "
    "Unavailable desc = connection error: dial tcp 127.0.0.1:9841: connect: connection refused"
)
# The same of limits, of Prometheus and Thanos, VictoriaMetrics, and Mimir
TOO_MANY_SAMPLES = "query processing would load too many samples into memory in query execution"
MORE_THAN_VICTORIA_SELECTS = (
    'error when exporting data for query="x" on the time range (start=1795702835001, end=1795710035000): cannot select '
    "more than -search.maxSamplesPerQuery=5000 samples; possible solutions: increase the -search.maxSamplesPerQuery"
)
MORE_THAN_MIMIR_LOADS = (
    "the query exceeded the maximum allowed estimated amount of memory consumed by a single query (limit: 20000 bytes) "
    "(err-mimir-max-estimated-memory-consumption-per-query). Consider reducing the time range"
)


class Patience:
    """Waits without waiting, and keeps what was said meanwhile."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.said: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def store(server: ScriptedServer) -> Store:
    store = Store()
    server.behave(store)
    return store


@pytest.fixture
def patience() -> Patience:
    return Patience()


@asynccontextmanager
async def archive_of(url: str, patience: Patience, **settings: Any) -> AsyncIterator[PrometheusArchive]:
    http = HttpClient(Secrets(environ={"TOKEN": "a-secret-token"}))
    archive = PrometheusArchive(http, {"url": url, **settings}, tell=patience.said.append, sleep=patience.sleep)
    yield archive
    await archive.close()


@pytest_asyncio.fixture
async def archive(server: ScriptedServer, patience: Patience) -> AsyncIterator[PrometheusArchive]:
    async with archive_of(server.url, patience) as archive:
        yield archive


def rose(series: list[PastSeries], from_: float, to: float) -> float:
    return sum(float(one.values[(one.times > START + from_) & (one.times <= START + to)].sum()) for one in series)


# --- counters ---------------------------------------------------------------------------------------------------------


async def test_each_rise_belongs_to_the_sample_that_shows_it(store: Store, archive: PrometheusArchive) -> None:
    store.scraped("errors_total", {}, {-10: 5, 5: 7, 20: 7, 35: 12})
    (series,) = await archive.rises("errors_total", START, START + 60)
    assert (series.times - START).tolist() == [5, 20, 35]
    assert series.values.tolist() == [2, 0, 5]
    assert series.labels["instance"] == "a"


async def test_a_reset_counts_what_came_after_it(store: Store, archive: PrometheusArchive) -> None:
    store.scraped("errors_total", {}, {-10: 50, 5: 52, 20: 3, 35: 4})
    assert rose(await archive.rises("errors_total", START, START + 60), 0, 60) == 2 + 3 + 1


async def test_a_new_series_of_a_target_that_was_scraped_counts_whole(store: Store, archive: PrometheusArchive) -> None:
    store.up("a", every(15, -600, 60, 1, 0))
    store.scraped("errors_total", {}, {35: 4, 50: 5})
    assert rose(await archive.rises("errors_total", START, START + 60), 0, 60) == 5


async def test_a_series_that_nobody_watched_before_counts_from_its_first_sample(
    store: Store, archive: PrometheusArchive
) -> None:
    store.scraped("errors_total", {}, {35: 1_000_000, 50: 1_000_003})
    assert rose(await archive.rises("errors_total", START, START + 60), 0, 60) == 3


async def test_after_a_gap_a_series_goes_on_from_what_it_was(store: Store, archive: PrometheusArchive) -> None:
    store.scraped("errors_total", {}, {-1200: 1000, 35: 1004})
    assert rose(await archive.rises("errors_total", START, START + 60), 0, 60) == 4


@pytest.mark.parametrize("seed", range(8))
async def test_the_sums_over_any_interval_are_what_a_live_look_counts(
    seed: int, server: ScriptedServer, store: Store, archive: PrometheusArchive
) -> None:
    dice = random.Random(seed)
    for pod in ("a", "b", "c"):
        store.up(pod, every(15, -3600, 900, 1, 0))
        store.series("errors_total", {"job": "shop", "instance": pod}, _walk(dice))
    series = await archive.rises("errors_total", START, START + 900)
    live = PrometheusClient(HttpClient(Secrets(environ={})), now=lambda: NOW)
    bounds, compared = sorted(dice.sample(range(61), 6)), 0
    for from_, to in pairwise(bounds):
        counting = Counting({"it": "errors_total"}, START + 15 * from_, START + 15 * to)
        looked = await live.look(Wanted(counting), {"url": server.url}, START + 15 * to + 15.5)
        if looked.state is MeasurementState.OK:
            assert sum(one.value for one in looked.counts) == rose(series, 15 * from_, 15 * to)
            compared += 1
    await live.close()
    assert compared >= 3


def _walk(dice: random.Random) -> dict[float, float]:
    """Samples every 15 s that rise, now and then begin anew, and begin at some time."""
    found: dict[float, float] = {}
    value, first = float(dice.randrange(1000)), dice.choice((-3600, -3600, 200))
    value = value if first < 0 else 0.0
    for at in range(-3600 + dice.randrange(15), 901, 15):
        if at < first:
            continue
        value = float(dice.randrange(3)) if dice.random() < 0.02 else value + dice.randrange(4)
        found[at] = value
    return found


# --- expressions ------------------------------------------------------------------------------------------------------


def a_range(values: Any, **labels: str) -> Behaviour:
    """Answers range queries with what *values* gives at each of their points."""

    async def behave(received: Received, writer: Any) -> None:
        asked = received.parameters
        begin, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        points = [begin + place * step for place in range(int((end - begin) / step + 1e-9) + 1)]
        samples = [[at, str(found)] for at in points if (found := values(asked["query"], at)) is not None]
        result = [{"metric": labels, "values": samples}] if samples else []
        await answer_json({"status": "success", "data": {"resultType": "matrix", "result": result}})(received, writer)

    return behave


async def test_an_expression_is_asked_for_in_pieces_and_no_point_is_lost_or_told_twice(
    server: ScriptedServer, archive: PrometheusArchive
) -> None:
    server.behave(a_range(lambda _, at: at - START, pod="a"))
    (series,) = await archive.values("sum(x)", START, START + 86400, 15)
    assert series.values.tolist() == [15.0 * place for place in range(5761)]
    assert 2 < len(server.requests) < 12


async def test_times_that_a_frontend_has_moved_back_are_those_that_were_asked_for(
    server: ScriptedServer, archive: PrometheusArchive
) -> None:
    """Thanos' query-frontend, as it is set up by itself: 1_700_000_000 is no multiple of 300."""
    whole = a_range(lambda _, at: at)

    async def behave(received: Received, writer: Any) -> None:
        floored = {name: str(float(received.parameters[name]) // 300 * 300) for name in ("start", "end")}
        target = f"{urlsplit(received.target).path}?{urlencode(received.parameters | floored)}"
        await whole(replace(received, target=target), writer)

    server.behave(behave)
    (series,) = await archive.values("sum(x)", START, START + 864_000, 300)
    assert series.times.tolist() == [START + 300.0 * place for place in range(2881)]
    assert set(series.times - series.values) == {START % 300}
    assert len(server.requests) > 2


async def test_a_selector_that_goes_on_with_an_old_sample_has_no_value(
    server: ScriptedServer, archive: PrometheusArchive
) -> None:
    """Its newest sample is of second 60; two scrapes later it is stale, though the server answers for five minutes."""
    stale = a_range(lambda query, at: min(at, START + 60) if query.startswith("timestamp") else 5.0)
    server.behave(stale)
    (series,) = await archive.values("queue_depth", START, START + 300, 15)
    assert series.times[-1] == START + 90


@pytest.mark.parametrize("words", (TOO_MANY_SAMPLES, MORE_THAN_VICTORIA_SELECTS, MORE_THAN_MIMIR_LOADS))
async def test_what_is_too_much_for_the_server_is_asked_for_in_halves(
    server: ScriptedServer, archive: PrometheusArchive, words: str
) -> None:
    whole = a_range(lambda _, at: 1.0)
    refused = answer_json({"status": "error", "errorType": "execution", "error": words}, 422)

    async def behave(received: Received, writer: Any) -> None:
        span = float(received.parameters["end"]) - float(received.parameters["start"])
        await (whole if span <= 600 else refused)(received, writer)

    server.behave(behave)
    (series,) = await archive.values("sum(x)", START, START + 7200, 15)
    assert len(series.times) == 481


async def test_a_query_that_is_too_much_however_short_the_time_is_given_up(
    server: ScriptedServer, archive: PrometheusArchive
) -> None:
    server.behave(answer_json({"status": "error", "errorType": "execution", "error": "too many samples"}, 422))
    with pytest.raises(Permanent, match=r"too many samples, be it ever so short a time \(sum\(x\)\)"):
        await archive.values("sum(x)", START, START + 7200, 15)
    assert len(server.requests) < 20


# --- when it does not answer ------------------------------------------------------------------------------------------


async def test_a_server_that_comes_back_costs_nothing_but_time(
    server: ScriptedServer, archive: PrometheusArchive, patience: Patience
) -> None:
    whole, away = a_range(lambda _, at: 1.0), answer("Bad Gateway", 502)

    async def behave(received: Received, writer: Any) -> None:
        await (away if 2 <= len(server.requests) <= 4 else whole)(received, writer)

    server.behave(behave)
    (series,) = await archive.values("sum(x)", START, START + 86400, 15)
    assert len(series.times) == 5761
    assert patience.slept == [1.0, 2.0, 4.0]
    assert "is failing (502): Bad Gateway; asking again in 1 s" in patience.said[0]


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    (
        (answer("Bad Gateway", 502), "is failing (502): Bad Gateway, 6 times in 31 s"),
        (answer_json({"status": "error", "error": "slow down"}, 429), "is asked too much (429)"),
        (
            answer_json({"status": "success", "warnings": ["a store is away"], "data": {"result": []}}),
            "a store is away, 6 times in 31 s",
        ),
        (
            answer_json({"status": "error", "errorType": "execution", "error": STORE_IS_AWAY}, 422),
            "does not reach all of its data (422): execution: expanding series",
        ),
    ),
)
async def test_one_that_stays_away_is_given_up_with_what_to_do(
    server: ScriptedServer, archive: PrometheusArchive, patience: Patience, behaviour: Behaviour, sentence: str
) -> None:
    server.behave(behaviour)
    with pytest.raises(Temporary) as raised:
        await archive.values("sum(x)", START, START + 60, 15)
    assert sentence in str(raised.value)
    assert str(raised.value).startswith("Prometheus at http://127.0.0.1:")
    assert "run it again when Prometheus answers" in str(raised.value)
    assert patience.slept == list(PAUSES_SECONDS)


async def test_one_that_nobody_hears_is_given_up_with_its_address(patience: Patience) -> None:
    url = dead_url()
    async with archive_of(url, patience) as archive:
        with pytest.raises(Temporary, match=rf"{url} can't be reached: Connection refused, 6 times"):
            await archive.values("sum(x)", START, START + 60, 15)


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    (
        (answer_json({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400), "refuses the query"),
        (answer("no", 401), "does not let us in (401)"),
        (answer("no", 404), "has no API there (404)"),
        (answer("<html>"), "something that is not JSON"),
        (
            answer_json({"status": "success", "warnings": ["PromQL warning: no le"]}),
            "warns, so its answer is not relied on",
        ),
        (answer_json({"status": "success", "data": {"resultType": "vector", "result": []}}), "answered with a vector"),
    ),
)
async def test_what_will_not_become_an_answer_is_not_asked_for_again(
    server: ScriptedServer, archive: PrometheusArchive, patience: Patience, behaviour: Behaviour, sentence: str
) -> None:
    server.behave(behaviour)
    with pytest.raises(Permanent) as raised:
        await archive.values("sum(x)", START, START + 60, 15)
    assert sentence in str(raised.value)
    assert "(sum(x))" in str(raised.value)
    assert (len(server.requests), patience.slept) == (1, [])


async def test_it_logs_in_as_a_live_look_does_and_keeps_secrets_to_itself(
    server: ScriptedServer, patience: Patience
) -> None:
    server.behave(answer("you said Bearer a-secret-token", 403))
    async with archive_of(server.url, patience, bearer={"env": "TOKEN"}) as archive:
        with pytest.raises(Permanent) as raised:
            await archive.values("sum(x)", START, START + 60, 15)
    assert server.requests[0].headers["authorization"] == "Bearer a-secret-token"
    assert "a-secret-token" not in str(raised.value)


async def test_a_server_that_hangs_is_waited_for_longer_than_by_a_gate(
    server: ScriptedServer, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.prometheus.archive.SHORTEST_TIMEOUT_SECONDS", 0.05)
    server.behave(hang)
    async with archive_of(server.url, patience, timeout="10ms") as archive:
        with pytest.raises(Temporary, match=r"did not answer within 50ms, 6 times"):
            await archive.values("sum(x)", START, START + 60, 15)
