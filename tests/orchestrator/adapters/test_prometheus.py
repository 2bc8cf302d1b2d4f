"""Prometheus' answers as measurements: each state has its sentence, and a sick server delays nobody else."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import REQUESTS_PER_SERVER, PrometheusClient, is_plain_selector
from orchestrator.adapters.prometheus.instant import SAMPLED
from orchestrator.adapters.prometheus.once import KEPT_SECONDS
from orchestrator.adapters.secrets import Secrets
from stages.criteria.base import Measurement, MeasurementState
from tests.support.http_server import (
    Behaviour,
    Received,
    ScriptedServer,
    answer,
    answer_json,
    dead_url,
    hang,
    reset,
    say_nonsense,
    talk_for_ever,
)
from tests.support.metrics_app import MetricsApp
from tests.support.process import wait_until
from tests.support.prometheus import Prometheus

# As Thanos 0.42 says it with partial_response=false
STORE_IS_AWAY = (
    "expanding series: proxy Series(): fetch series for Store Gateway: rpc error: code = Unavailable desc = ..."
)
AT = 1_700_000_000.4
STATE = MeasurementState


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest_asyncio.fixture
async def client() -> AsyncIterator[PrometheusClient]:
    client = PrometheusClient(HttpClient(Secrets(environ={"TOKEN": "t0p-secret", "PASSWORD": "pa55word"})))
    yield client
    await client.close()


def settings(url: str, timeout: str = "5s", **more: Any) -> dict[str, Any]:
    return {"url": url, "timeout": timeout, "scrape_interval": "15s", **more}


def success(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def entry(value: str, at: float = AT, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [at, value]}


def vector(*entries: dict[str, Any], **more: Any) -> Behaviour:
    return answer_json(success("vector", list(entries), **more))


def by_query(choose: Callable[[str], Behaviour]) -> Behaviour:
    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await choose(received.parameters["query"])(received, writer)

    return behave


# --- what is answered -------------------------------------------------------------------------------------------------


async def test_a_vector_gives_its_series_with_labels_but_without_the_name(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector(entry("0.5", __name__="up", job="a", env='p"1'), entry("2")))
    measured = await client.measure("sum by (job) (up)", settings(server.url), AT)
    assert measured.state is STATE.OK
    assert [(one.labels, one.value) for one in measured.series] == [('{env="p\\"1",job="a"}', 0.5), ("", 2)]
    assert measured.at == math.floor(AT)


async def test_a_scalar_is_one_series_without_labels(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(answer_json(success("scalar", [AT, "3"])))
    measured = await client.measure("scalar(up)", settings(server.url), AT)
    assert (measured.state, measured.series[0].labels, measured.series[0].value) == (STATE.OK, "", 3)


async def test_inf_and_nan_stay_what_they_are(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("+Inf", a="1"), entry("-Inf", a="2"), entry("NaN", a="3")))
    measured = await client.measure("1 / up", settings(server.url), AT)
    assert [one.value for one in measured.series[:2]] == [math.inf, -math.inf]
    assert math.isnan(measured.series[2].value)
    assert measured.state is STATE.OK


async def test_no_series_is_missing_and_names_server_and_query(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector())
    measured = await client.measure("no_such_series", settings(server.url), AT)
    assert measured.state is STATE.MISSING
    assert measured.detail == f"Prometheus at {server.url} has none for no_such_series"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    (
        (
            answer_json({"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}, 400),
            "refuses the query (400): bad_data: 1:3: parse error",
        ),
        (
            answer_json({"status": "error", "errorType": "execution", "error": "too many samples"}, 422),
            "refuses the query (422): execution: too many samples",
        ),
        (answer("<h1>no</h1>", 401), "does not let us in (401): <h1>no</h1>; see bearer, basic, tls and headers"),
        (answer("", 404), "has no API there (404); is the URL right?"),
        (answer_json({"error": STORE_IS_AWAY}, 422), "does not reach all of its data (422): error: expanding series"),
        (answer("slow down", 429), "is asked too much (429): slow down"),
        (answer("", 500), "is failing (500)"),
        (
            answer_json({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503),
            "is failing (503): timeout: query timed out",
        ),
        (answer("", 302, {"Location": "http://elsewhere.invalid/"}), "redirects to http://elsewhere.invalid"),
        (answer("", 204), "answered with status 204"),
        (answer("<html>"), "answered with something that is not JSON"),
        (answer("[" * 100_000), "answered with something that is not JSON"),
        (answer_json([1]), "answered with JSON that is not of its API"),
        (answer_json({"status": "error", "errorType": "internal"}), "refuses the query: internal: no reason is given"),
        (vector(entry("1"), warnings=["a store is away"]), "warns, so its answer is not relied on: a store is away"),
        (vector(entry("1"), isPartial=True), "answered with a part of the data only"),
        (answer_json(success("matrix", [])), "answered with a matrix, where one number a series is expected"),
        (answer_json(success("string", [AT, "x"])), "answered with a string"),
        (answer_json(success("cube", [])), "answered with a result of an unknown kind, 'cube'"),
        (vector({"metric": {}, "histogram": [AT, {}]}), "answered with a histogram"),
        (answer_json({"status": "success"}), "answered with a result that can't be read"),
        (vector({"metric": {}, "value": [AT, 3]}), "answered with a result that can't be read"),
        (vector({"metric": {}, "value": [AT, "many"]}), "answered with a result that can't be read"),
        (vector({"metric": [], "value": [AT, "1"]}), "answered with a result that can't be read"),
        (answer_json(success("vector", {"a": 1})), "answered with a result that can't be read"),
        (reset, "broke off without a whole answer"),
        (say_nonsense, "broke off without a whole answer"),
        (answer("cut", length=100), "broke off without a whole answer"),
        (talk_for_ever, "answered with more than 1024 KiB"),
        (answer("x" * 2_000_000), "answered with more than 1024 KiB"),
    ),
)
async def test_what_is_no_answer_is_an_error_that_names_the_server(
    server: ScriptedServer, client: PrometheusClient, behaviour: Behaviour, words: str
) -> None:
    server.behave(behaviour)
    measured = await client.measure("sum(up)", settings(server.url), AT)
    assert measured.state is STATE.ERROR
    assert words in measured.detail
    assert server.url in measured.detail
    assert measured.series == ()
    assert "\n" not in measured.detail


async def test_informative_notes_are_no_warnings(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("1"), infos=["metric might not be a counter"]))
    assert (await client.measure("sum(rate(x[1m]))", settings(server.url), AT)).state is STATE.OK


async def test_a_server_that_is_down_is_an_error(client: PrometheusClient) -> None:
    measured = await client.measure("up", settings(dead_url()), AT)
    assert measured.state is STATE.ERROR
    assert "can't be reached: Connection refused" in measured.detail


@pytest.mark.parametrize("url", ("http://[", "ftp://prometheus/", "prometheus:9090", "http://169.254.169.254/"))
async def test_a_wrong_address_is_an_error(client: PrometheusClient, url: str) -> None:
    assert (await client.measure("up", settings(url), AT)).state is STATE.ERROR


async def test_a_hung_server_is_an_error_after_its_timeout(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(hang)
    began = time.monotonic()
    measured = await client.measure("up", settings(server.url, "200ms"), AT)
    assert measured.state is STATE.ERROR
    assert "did not answer within" in measured.detail
    assert time.monotonic() - began < 2


# --- how it is asked --------------------------------------------------------------------------------------------------


async def test_a_query_is_evaluated_at_a_whole_second_and_told_its_time_limit(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector(entry("1")))
    await client.measure('sum(up{job="a b"})', settings(f"{server.url}/prefix/?dedup=true"), AT)
    got = server.requests[0]
    assert got.target.startswith("/prefix/api/v1/query?dedup=true&")
    assert got.parameters["query"] == 'sum(up{job="a b"})'
    assert got.parameters["time"] == "1700000000"
    assert got.parameters["timeout"] == "5000ms"


# As VictoriaMetrics 1.151 answers
OF_VICTORIA = (
    '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"queue_depth","job":"shop"},'
    '"value":[1700000000,"VALUE"]}]},"stats":{"seriesFetched": "1","executionTimeMsec":0}}'
)


async def test_a_server_that_answers_for_an_earlier_time_is_told_not_to_and_asked_again(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        exactly = {"nocache": "1", "latency_offset": "1ms"}.items() <= received.parameters.items()
        await answer(OF_VICTORIA.replace("VALUE", "7" if exactly else "5"))(received, writer)

    server.behave(behave)
    assert [one.value for one in (await client.measure("sum(queue)", settings(server.url), AT)).series] == [7]
    assert [one.value for one in (await client.measure("max(queue)", settings(server.url), AT)).series] == [7]
    assert [one.parameters["query"] for one in server.requests] == ["sum(queue)", "sum(queue)", "max(queue)"]


async def test_a_long_query_is_posted(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("1")))
    query = 'sum(up{job=~"' + "|".join(f"job-{number}" for number in range(500)) + '"})'
    assert (await client.measure(query, settings(server.url), AT)).state is STATE.OK
    got = server.requests[0]
    assert (got.method, got.target, got.parameters["query"]) == ("POST", "/api/v1/query", query)


@pytest.mark.parametrize(
    ("access", "header"),
    (
        ({"bearer": {"env": "TOKEN"}}, "Bearer t0p-secret"),
        ({"basic": {"username": "me", "password": {"env": "PASSWORD"}}}, "Basic bWU6cGE1NXdvcmQ="),
        ({"headers": {"Authorization": {"env": "TOKEN"}}}, "t0p-secret"),
    ),
)
async def test_access_is_sent_and_never_shown(
    server: ScriptedServer, client: PrometheusClient, access: dict[str, Any], header: str
) -> None:
    server.behave(answer("x" * 100 + header + "y" * 100, 403))
    measured = await client.measure("sum(up)", settings(server.url, **access), AT)
    assert server.requests[0].headers["authorization"] == header
    assert "***" in measured.detail
    assert header.rsplit(maxsplit=1)[-1][:6] not in measured.detail


async def test_a_missing_secret_is_an_error(server: ScriptedServer, client: PrometheusClient) -> None:
    measured = await client.measure("up", settings(server.url, bearer={"env": "ABSENT"}), AT)
    assert measured.detail == (
        "Prometheus could not be asked: the environment variable ABSENT is not set where the controller runs"
    )


async def test_how_far_back_a_value_reaches_is_range_and_two_scrapes(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector(entry("1")))
    measured = await client.measure("sum(rate(x[5m]))", settings(server.url), AT)
    assert measured.lookback_seconds == 300 + 30


# --- staleness --------------------------------------------------------------------------------------------------------


def dated(*ages: float) -> Behaviour:
    """A plain selector's answer with one series for each age of its newest sample, in seconds."""
    at = math.floor(AT)

    def choose(query: str) -> Behaviour:
        assert query.split(" or ")[1].startswith(f"label_replace(timestamp({query.split(' or ', maxsplit=1)[0]}), ")
        sampled = (entry(str(at - age), at, pod=str(n), **{SAMPLED: "at"}) for n, age in enumerate(ages))
        return vector(*(entry("7", at, pod=str(n), __name__="x") for n, _ in enumerate(ages)), *sampled)

    return by_query(choose)


async def test_a_sample_is_fresh_for_two_scrapes(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(dated(0, 30))
    measured = await client.measure("x", settings(server.url), AT)
    assert measured.state is STATE.OK
    assert [one.sampled_at for one in measured.series] == [1_700_000_000, 1_699_999_970]


async def test_an_older_sample_is_stale_and_said_so(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(dated(31, 200))
    measured = await client.measure('x{a="b"}', settings(server.url), AT)
    assert measured.state is STATE.STALE
    assert measured.series == ()
    assert '{pod="0"}, {pod="1"}' in measured.detail
    assert "200s old" in measured.detail
    assert "two scrapes of 15s" in measured.detail


async def test_fresh_series_are_kept_beside_stale_ones(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(dated(1, 100, 2))
    measured = await client.measure("x", settings(server.url), AT)
    assert measured.state is STATE.STALE
    assert [one.labels for one in measured.series] == ['{pod="0"}', '{pod="2"}']


async def test_a_longer_scrape_interval_allows_older_samples(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(dated(100))
    slow = {**settings(server.url), "scrape_interval": "1m"}
    assert (await client.measure("x", slow, AT)).state is STATE.OK


async def test_a_series_whose_age_is_not_told_is_stale(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("1", pod="a")))
    measured = await client.measure("x", settings(server.url), AT)
    assert measured.state is STATE.STALE
    assert "of unknown age" in measured.detail


@pytest.mark.parametrize(
    ("query", "plain"),
    (
        ("up", True),
        (" job:errors:rate5m ", True),
        ('up{job="a"}', True),
        ("up { job = 'a{b}', x=~`y\\`, } ", True),
        ('up{job="a\\"}"}', True),
        ("up offset 5m", False),
        ("up[5m]", False),
        ("up + 1", False),
        ("sum(up)", False),
        ('{__name__="up"}', False),
        ('up{job="a"} > 1', False),
        ("NaN", False),
        ("inf", False),
        ("1", False),
    ),
)
def test_a_plain_selector_is_told_from_everything_else(query: str, plain: bool) -> None:
    assert is_plain_selector(query) is plain


# --- many askers ------------------------------------------------------------------------------------------------------


async def test_the_same_question_at_the_same_second_is_asked_once(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector(entry("1")))
    where = settings(server.url)
    together = await asyncio.gather(*(client.measure("sum(up)", where, AT + n / 100) for n in range(20)))
    later = await client.measure("sum(up)", dict(where), AT)
    assert len(server.requests) == 1
    assert all(measured == later for measured in together)


async def test_another_second_query_server_or_access_is_another_question(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(vector(entry("1")))
    where = settings(server.url)
    await client.measure("sum(up)", where, AT)
    await client.measure("sum(up)", where, AT + 1)
    await client.measure("sum( up)", where, AT + 1)
    await client.measure("sum(up)", settings(f"{server.url}/other"), AT + 1)
    await client.measure("sum(up)", settings(server.url, bearer={"env": "TOKEN"}), AT + 1)
    assert len(server.requests) == 5


async def test_answers_are_kept_for_a_few_seconds_only(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("1")))
    for second in range(10):
        await client.measure("sum(up)", settings(server.url), AT + second)
    assert len(client._measured.take_all()) == len(client._api._shared.take_all()) == KEPT_SECONDS


async def test_an_asker_that_is_cancelled_leaves_the_answer_to_the_others(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(received: Received, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await go_on.wait()
        await vector(entry("1"))(received, writer)

    server.behave(wait)
    first, second = (asyncio.create_task(client.measure("sum(up)", settings(server.url), AT)) for _ in range(2))
    await arrived.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go_on.set()
    assert (await second).state is STATE.OK
    assert len(server.requests) == 1


async def test_a_hung_server_delays_nobody_who_asks_another(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(vector(entry("1")))
    async with ScriptedServer() as hung:
        hung.behave(hang)
        asked = settings(hung.url, "1h")
        waiting = [asyncio.create_task(client.measure(f"sum(up) + {n}", asked, AT)) for n in range(50)]
        await asyncio.sleep(0.1)
        assert (await client.measure("sum(up)", settings(server.url), AT)).state is STATE.OK
        assert not any(task.done() for task in waiting)
        assert len(hung.requests) <= REQUESTS_PER_SERVER
        await client.close()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_for_a_slot_has_no_time_beyond_its_own(client: PrometheusClient) -> None:
    async with ScriptedServer() as hung, asyncio.timeout(20):  # one after the other would take 25
        hung.behave(hang)
        asked = settings(hung.url, "500ms")
        answers = await asyncio.gather(*(client.measure(f"sum(up) + {n}", asked, AT) for n in range(400)))
    assert {one.state for one in answers} == {STATE.ERROR}


async def test_closing_ends_what_is_still_asked(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(hang)
    waiting = asyncio.create_task(client.measure("sum(up)", settings(server.url, "1h"), AT))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- a real one -------------------------------------------------------------------------------------------------------


@pytest.fixture
def prometheus(prometheus_binary: Path, tmp_path: Path, metrics_app: MetricsApp) -> Iterator[Prometheus]:
    metrics_app.set("temperature", 21, room="a")
    metrics_app.set("temperature", 25, room="b")
    metrics_app.set("broken", math.nan)
    metrics_app.set("full", math.inf)
    with Prometheus(prometheus_binary, tmp_path, [metrics_app.address], scrape_interval_ms=200) as prometheus:
        prometheus.wait_for("temperature")
        time.sleep(1.1)  # queries are evaluated at the whole second before, which the first scrape must lie before
        yield prometheus


def fast(prometheus: Prometheus, timeout: str = "5s") -> dict[str, Any]:
    return {"url": prometheus.url, "timeout": timeout, "scrape_interval": "1s"}


async def test_a_real_prometheus_is_measured(prometheus: Prometheus, client: PrometheusClient) -> None:
    where = fast(prometheus)

    async def measure(query: str) -> Measurement:
        return await client.measure(query, where, time.time())

    rooms = await measure("temperature")
    assert rooms.state is STATE.OK
    assert {one.labels.partition("room=")[2]: one.value for one in rooms.series} == {'"a"}': 21, '"b"}': 25}
    assert all(0 <= rooms.at - one.sampled_at <= 2 for one in rooms.series)
    assert [one.value for one in (await measure("sum(temperature)")).series] == [46]
    assert [one.value for one in (await measure("scalar(sum(temperature)) > bool 1")).series] == [1]
    assert math.isnan((await measure("broken")).series[0].value)
    assert (await measure("full")).series[0].value == math.inf
    assert math.isnan((await measure("sum(temperature * 0) / sum(temperature * 0)")).series[0].value)
    assert (await measure("no_such_series")).state is STATE.MISSING
    assert (await measure("temperature > 100")).state is STATE.MISSING
    matrix = await measure("temperature[1m]")
    assert (matrix.state, "a matrix" in matrix.detail) == (STATE.ERROR, True)
    wrong = await measure("sum(temperature")
    assert wrong.state is STATE.ERROR
    assert "refuses the query (400): bad_data:" in wrong.detail
    assert "unclosed left parenthesis" in wrong.detail


async def test_a_series_that_vanished_from_a_real_prometheus_is_missing(
    prometheus: Prometheus, client: PrometheusClient, metrics_app: MetricsApp
) -> None:
    metrics_app.clear()
    wait_until(lambda: not prometheus.query("temperature"), what="the end of the series")
    assert (await client.measure("temperature", fast(prometheus), time.time() + 1)).state is STATE.MISSING


async def test_samples_of_a_real_prometheus_that_were_not_renewed_are_stale(
    prometheus: Prometheus, client: PrometheusClient
) -> None:
    """A minute from now the newest sample would still be answered, and is a minute old."""
    measured = await client.measure("temperature", fast(prometheus), time.time() + 60)
    assert measured.state is STATE.STALE
    assert "more than two scrapes of 1s" in measured.detail


async def test_a_real_prometheus_that_freezes_stops_and_returns_is_followed(
    prometheus: Prometheus, client: PrometheusClient
) -> None:
    where = fast(prometheus, "1s")
    prometheus.freeze()
    assert "did not answer within 1s" in (await client.measure("up", where, time.time())).detail
    prometheus.thaw()
    prometheus.stop()
    assert "can't be reached" in (await client.measure("sum(up)", where, time.time() + 1)).detail
    prometheus.start()
    wait_until(lambda: prometheus.query("up"), what="its first scrape")
    assert (await client.measure("sum(up)", fast(prometheus), time.time() + 2)).state is STATE.OK
