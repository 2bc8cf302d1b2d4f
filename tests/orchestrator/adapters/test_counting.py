"""What is asked of a server to count, and what its answers mean: all of it is counted, or nothing and why."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.prometheus.counting import pieces_of, range_seconds
from orchestrator.adapters.secrets import Secrets
from stages.criteria.base import Count, Counting, History, Measurement, MeasurementState, Wanted
from tests.orchestrator.adapters.counter_world import NOW, START, Store, every
from tests.support.http_server import Behaviour, Received, ScriptedServer, answer, answer_json, hang

STATE = MeasurementState


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def store(server: ScriptedServer) -> Store:
    store = Store()
    server.behave(store)
    return store


@pytest_asyncio.fixture
async def client() -> AsyncIterator[PrometheusClient]:
    client = PrometheusClient(HttpClient(Secrets(environ={})), now=lambda: NOW)
    yield client
    await client.close()


Counted = Callable[..., Any]


@pytest.fixture
def counted(server: ScriptedServer, client: PrometheusClient) -> Counted:
    async def count(
        *names: str, from_: float = 0, to: float = 60, by: tuple[str, ...] = (), **settings: Any
    ) -> Measurement:
        """Of series by these names, between seconds from START, at a look one scrape later."""
        counting = Counting({name: name for name in names}, START + from_, START + to, by)
        return await look(client, server, Wanted(counting), START + to + 15.5, **settings)

    return count


async def look(
    client: PrometheusClient, server: ScriptedServer, wanted: Wanted, at: float = START + 75.5, **settings: Any
) -> Measurement:
    where = {"url": server.url, "timeout": "5s", "scrape_interval": "15s", **settings}
    return await client.look(wanted, where, at)


def values(measured: Measurement) -> dict[str, float]:
    assert measured.state is STATE.OK, measured.detail
    return {" ".join((count.name, *count.labels)): count.value for count in measured.counts}


# --- an ordinary look -------------------------------------------------------------------------------------------------


async def test_rises_are_summed_over_series_by_name_and_labels(store: Store, counted: Counted) -> None:
    store.scraped("total", {"arm": "canary", "pod": "a"}, every(15, -30, 60, rise=1))
    store.scraped("total", {"arm": "canary", "pod": "b"}, every(15, -30, 60, rise=10))
    store.scraped("total", {"pod": "c"}, every(15, -30, 60, rise=100))
    store.scraped("bad", {"arm": "canary"}, every(15, -25, 60, rise=2))
    measured = await counted("total", "bad", by=("arm", "zone"))
    assert measured.counts == (
        Count("bad", ("canary", ""), 8, 1),
        Count("total", ("", ""), 400, 1),
        Count("total", ("canary", ""), 44, 2),
    )


async def test_a_look_asks_once_for_each_selector_at_the_end_of_its_interval(store: Store, counted: Counted) -> None:
    store.scraped("bad", {}, every(15, -30, 60))
    store.scraped("total", {}, every(15, -30, 60))
    await counted("bad", "total")
    assert sorted(store.asked) == [("bad[120s]", 60), ("total[120s]", 60)]


async def test_all_selectors_are_asked_for_at_the_same_time(
    server: ScriptedServer, counted: Counted, store: Store
) -> None:
    """Nobody is answered before all have asked."""
    waiting, all_here = [], asyncio.Event()

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        waiting.append(received)
        if len(waiting) == 4:
            all_here.set()
        await all_here.wait()
        await store(received, writer)

    server.behave(behave)
    for name in "abcd":
        store.scraped(name, {}, every(15, -30, 60))
    assert len(values(await counted(*"abcd"))) == 4


@pytest.mark.parametrize("at", (75.0, 75.1, 75.123456789, 75.9999))
async def test_the_lookback_ends_exactly_where_the_interval_begins(
    server: ScriptedServer, client: PrometheusClient, store: Store, at: float
) -> None:
    """Also as it is added up for a look between two seconds: from there on a pass counts, to the second."""
    store.scraped("total", {}, every(15, -30, 60))
    look_at = START + at
    measured = await look(client, server, Wanted(Counting({"total": "total"}, START + 17, START + 60)), look_at)
    assert measured.at == START + 75
    assert measured.at - measured.lookback_seconds == START + 17
    assert look_at - (measured.lookback_seconds + (look_at - measured.at)) == START + 17


async def test_where_nothing_is_wanted_nothing_is_asked(server: ScriptedServer, client: PrometheusClient) -> None:
    measured = await look(client, server, Wanted())
    assert (measured.state, measured.lookback_seconds, server.requests) == (STATE.OK, 15, [])


@pytest.mark.parametrize(
    ("interval_seconds", "scrape_seconds", "range_"),
    ((15, 15, 90), (30, 15, 90), (31, 15, 120), (15, 60, 180), (1, 0.2, 90), (600, 15, 660)),
)
def test_the_range_holds_a_base_before_the_interval(
    interval_seconds: float, scrape_seconds: float, range_: float
) -> None:
    assert range_seconds(START, START + interval_seconds, scrape_seconds) == range_


async def test_a_sample_at_the_very_begin_of_the_interval_is_its_base(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {-15: 1, 0: 10, 15: 12, 45: 15, 60: 19})
    assert values(await counted("total")) == {"total": 9}
    assert values(await counted("total", from_=15)) == {"total": 7}


# --- series that were not there before --------------------------------------------------------------------------------


async def test_a_new_series_of_a_target_that_was_there_counts_from_0(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    store.scraped("bad", {}, {40: 3, 55: 4})
    assert values(await counted("bad", "total")) == {"bad": 4, "total": 4}
    assert store.queries.count("last_over_time(bad[1h])") == 1
    assert not any("up{" in query for query in store.queries)


async def test_a_new_series_that_begins_with_0_is_asked_no_further(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {40: 0, 55: 4})
    assert values(await counted("total")) == {"total": 4}
    assert store.queries == ["total[120s]"]


async def test_a_series_that_was_away_goes_on_from_what_it_was(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {-1800: 1_000_000, 40: 1_000_003, 55: 1_000_005})
    assert values(await counted("total")) == {"total": 5}


async def test_a_series_that_was_away_and_was_reset_begins_at_0(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {-1800: 1_000_000, 40: 3, 55: 5})
    assert values(await counted("total")) == {"total": 5}


async def test_a_series_that_was_no_number_when_it_was_last_there_is_new(store: Store, counted: Counted) -> None:
    store.scraped("total", {"pod": "a"}, every(15, -30, 60))
    store.scraped("total", {"pod": "b"}, {-1800: "NaN", 40: 37, 55: 39})
    assert values(await counted("total", by=("pod",))) == {"total a": 4, "total b": 39}


async def test_names_that_the_server_leaves_out_of_its_answer_are_not_needed(
    server: ScriptedServer, counted: Counted, store: Store
) -> None:
    store.scraped("total", {"pod": "a"}, {-1800: 100, 40: 103, 55: 105})

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        kind, result = store.answer(received.parameters["query"], float(received.parameters["time"]))
        if kind == "vector":
            result = [{**one, "metric": {k: v for k, v in one["metric"].items() if k != "__name__"}} for one in result]
        await answer_json({"status": "success", "data": {"resultType": kind, "result": result}})(received, writer)

    server.behave(behave)
    assert values(await counted("total")) == {"total": 5}


async def test_a_target_that_could_not_be_scraped_for_longer_than_an_hour_counts_from_what_was_seen_first(
    store: Store, counted: Counted
) -> None:
    store.scraped("total", {"instance": "other"}, every(15, -30, 60))
    store.scraped("total", {}, {40: 1_000_000, 55: 1_000_002})
    store.up("a", {**dict.fromkeys(range(-3600, 30, 15), 0), 40: 1, 55: 1})
    assert values(await counted("total", by=("instance",))) == {"total a": 2, "total other": 4}


async def test_a_target_whose_first_scrapes_failed_is_new(store: Store, counted: Counted) -> None:
    store.scraped("total", {"instance": "other"}, every(15, -30, 60))
    store.scraped("total", {}, {40: 37, 55: 39})
    store.up("a", {-20: 0, -5: 0, 10: 0, 25: 0, 40: 1, 55: 1})
    assert values(await counted("total", by=("instance",))) == {"total a": 39, "total other": 4}


async def test_a_new_target_counts_from_0_where_others_were_there(store: Store, counted: Counted) -> None:
    store.scraped("total", {"instance": "other"}, every(15, -30, 60))
    store.scraped("total", {}, {40: 37, 55: 39})
    assert values(await counted("total", by=("instance",)))["total a"] == 39


async def test_the_first_series_ever_count_from_0_if_their_targets_were_scraped(store: Store, counted: Counted) -> None:
    """A flag that nobody has used before."""
    store.scraped("total", {"job": 'shop.v2"x'}, {40: 37, 55: 39})
    store.up("a", dict.fromkeys(range(-3600, 60, 15), 1), job='shop.v2"x')
    assert values(await counted("total")) == {"total": 39}


async def test_the_first_series_of_a_new_target_count_from_0_if_others_of_its_job_were_scraped(
    store: Store, counted: Counted
) -> None:
    store.scraped("total", {"instance": "new"}, {40: 37, 55: 39})
    store.up("a", dict.fromkeys(range(-600, 60, 15), 1))
    assert values(await counted("total")) == {"total": 39}


@pytest.mark.parametrize("labels", ({}, {"job": "", "instance": ""}))
async def test_where_nothing_is_known_of_before_everything_counts_from_what_was_seen_first(
    store: Store, counted: Counted, labels: dict[str, str]
) -> None:
    """As after an outage of the server of more than an hour."""
    store.scraped("total", labels, {40: 1_000_000, 55: 1_000_002})
    assert values(await counted("total")) == {"total": 2}


async def test_each_part_of_a_question_about_before_must_be_answered(
    server: ScriptedServer, counted: Counted, store: Store
) -> None:
    store.scraped("total", {}, {40: 37, 55: 39})

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        is_about_before = "last_over_time" in received.parameters["query"]
        await (answer("", 503) if is_about_before else store)(received, writer)

    server.behave(behave)
    measured = await counted("total")
    assert (measured.state, measured.counts) == (STATE.ERROR, ())
    assert "is failing (503)" in measured.detail


# --- series that end, and samples that are old ------------------------------------------------------------------------


async def test_a_series_that_has_ended_contributes_what_it_had(store: Store, counted: Counted) -> None:
    store.scraped("total", {"pod": "old"}, {-10: 100, 5: 107})
    store.scraped("total", {"pod": "new"}, every(15, -30, 60))
    assert values(await counted("total", by=("pod",))) == {"total new": 4, "total old": 7}


async def test_a_series_that_ended_before_the_interval_is_not_there(store: Store, counted: Counted) -> None:
    store.scraped("total", {"pod": "old"}, {-25: 100, -10: 107})
    store.scraped("total", {"pod": "new"}, every(15, -30, 60))
    assert values(await counted("total", by=("pod",))) == {"total new": 4}


async def test_a_fresh_series_without_a_sample_in_a_short_interval_is_there(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {-20: 1, -6: 2})
    measured = await counted("total", from_=0, to=5)
    assert measured.counts == (Count("total", (), 0),)


async def test_a_selector_whose_series_have_all_ended_holds_nothing_up(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    store.series("bad", {"job": "shop", "instance": "gone"}, {-10: 5, 5: 6}, ended=True)
    assert values(await counted("bad", "total")) == {"bad": 1, "total": 4}


async def test_samples_that_are_late_beside_others_are_stale(store: Store, counted: Counted) -> None:
    """Without the mark of an end: what sends them is away."""
    store.scraped("total", {}, every(15, -30, 60))
    store.scraped("bad", {"instance": "far"}, {-10: 5, 5: 6})
    measured = await counted("bad", "total")
    assert (measured.state, measured.counts) == (STATE.STALE, ())
    assert "the newest sample of bad (bad) was 55s old at Prometheus" in measured.detail
    assert "more than two scrapes of 15s (scrape_interval, if it is scraped less often)" in measured.detail


async def test_late_samples_hold_up_nothing_for_longer_than_five_minutes(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, every(15, -30, 360))
    store.scraped("bad", {"instance": "far"}, {-10: 5, 5: 6})
    assert values(await counted("bad", "total", to=360)) == {"bad": 1, "total": 24}


async def test_where_all_samples_are_old_the_look_is_stale(store: Store, counted: Counted) -> None:
    store.scraped("bad", {}, {-30: 1, -15: 1})
    store.scraped("total", {}, {-30: 1, -15: 2, 0: 3, 15: 4})
    measured = await counted("bad", "total")
    assert (measured.state, measured.counts) == (STATE.STALE, ())
    assert "the newest sample of total (total) was 45s old" in measured.detail


async def test_a_scrape_interval_that_is_longer_than_the_plan_says_is_named(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, {-90: 1, -30: 2, 25: 3})
    measured = await counted("total", from_=0, to=60)
    assert measured.state is STATE.STALE
    assert "its samples come every 55s: is that its scrape_interval?" in measured.detail
    assert values(await counted("total", from_=0, to=60, scrape_interval="55s")) == {"total": 1}


async def test_no_series_at_all_are_missing(store: Store, counted: Counted) -> None:
    measured = await counted("bad", "total")
    assert (measured.state, measured.counts) == (STATE.MISSING, ())
    assert "has no series for bad, total (bad)" in measured.detail


async def test_a_numerator_that_is_not_there_is_no_count_beside_its_total(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    assert values(await counted("bad", "total")) == {"total": 4}


# --- long intervals ---------------------------------------------------------------------------------------------------


def test_a_long_interval_is_cut_into_pieces_without_gaps() -> None:
    assert pieces_of(0, 15) == [(0, 15)]
    assert pieces_of(0, 600) == [(0, 600)]
    assert pieces_of(0, 1201) == [(0, 600), (600, 1200), (1200, 1201)]
    assert len(pieces_of(0, 3600)) == 6


async def test_an_hour_is_counted_in_pieces_that_add_up(store: Store, counted: Counted) -> None:
    store.scraped("total", {"pod": "a"}, every(15, -30, 3600, begin=500, rise=2))
    store.scraped("total", {"pod": "b"}, every(15, 1000, 2000, begin=9, rise=1))
    measured = await counted("total", to=3600)
    assert measured.counts == (Count("total", (), 480 + 9 + 66, 2),)
    assert len([query for query in store.queries if query.startswith("total[")]) == 6


async def test_a_gap_over_pieces_is_counted_once(store: Store, counted: Counted) -> None:
    samples = {**every(15, -30, 300, begin=1000), **every(15, 2700, 3600, begin=2000)}
    store.scraped("total", {}, samples)
    assert values(await counted("total", to=3600)) == {"total": 2060 - 1002}


async def test_what_was_counted_before_a_gap_that_lasts_is_stale(store: Store, counted: Counted) -> None:
    store.scraped("total", {}, every(15, -30, 300, begin=1000))
    measured = await counted("total", to=3600)
    assert (measured.state, measured.counts) == (STATE.STALE, ())
    assert "has had no samples for 10m" in measured.detail


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_seconds", "words"),
    ((300, "a clock that is 5m ahead of the controller's"), (-300, "a clock that is 5m behind the controller's")),
)
async def test_a_server_whose_clock_is_off_counts_nothing(
    store: Store, counted: Counted, ahead_seconds: float, words: str
) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    store.ahead_seconds = ahead_seconds
    measured = await counted("total")
    assert (measured.state, measured.counts) == (STATE.ERROR, ())
    assert words in measured.detail


@pytest.mark.parametrize("ahead_seconds", (None, 0, 10, -10))
async def test_a_clock_that_is_right_to_a_scrape_is_right(
    store: Store, counted: Counted, ahead_seconds: float | None
) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    store.ahead_seconds = ahead_seconds
    assert values(await counted("total")) == {"total": 4}


@pytest.mark.parametrize("headers", ({"Age": "300"}, {"Date": "yesterday"}))
async def test_a_date_that_says_nothing_of_the_server_is_not_held_against_it(
    store: Store, counted: Counted, headers: dict[str, str]
) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    store.headers, store.ahead_seconds = headers, None if "Date" in headers else -300
    assert values(await counted("total")) == {"total": 4}


# --- what is no answer ------------------------------------------------------------------------------------------------


def matrix(*entries: dict[str, Any], **more: Any) -> Behaviour:
    return answer_json({"status": "success", "data": {"resultType": "matrix", "result": list(entries)}, **more})


BAD_DATA = {"status": "error", "errorType": "bad_data", "error": "parse error"}


@pytest.mark.parametrize(
    ("behaviour", "words"),
    (
        (answer_json(BAD_DATA, 400), "refuses the query (400): bad_data: parse error; it was asked for total"),
        (answer_json(BAD_DATA), "refuses the query: bad_data: parse error; it was asked for total, the series total"),
        (answer("", 503), "is failing (503)"),
        (answer("slow down", 429), "is asked too much (429): slow down"),
        (answer("<html>"), "answered with something that is not JSON"),
        (answer_json({"status": "success", "data": []}), "answered with a result that can't be read"),
        (matrix(warnings=["a store is away"]), "warns, so its answer is not relied on"),
        (matrix(isPartial=True), "answered with a part of the data only"),
        (matrix({"metric": {}, "histograms": [[1, {}]]}), "has a native histogram"),
        (matrix({"metric": {}, "values": [[START, "-1"]]}), "looks like a gauge"),
        (answer("x" * (17 * 1024 * 1024)), "answered with more than 16384 KiB"),
    ),
)
async def test_what_is_no_answer_counts_nothing_and_says_why(
    server: ScriptedServer, counted: Counted, behaviour: Behaviour, words: str
) -> None:
    server.behave(behaviour)
    measured = await counted("total")
    assert (measured.state, measured.counts) == (STATE.ERROR, ())
    assert words in measured.detail
    assert server.url in measured.detail


async def test_one_selector_that_is_not_answered_leaves_nothing_counted(
    server: ScriptedServer, counted: Counted, store: Store
) -> None:
    store.scraped("total", {}, every(15, -30, 60))

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await (answer("", 500) if "bad" in received.parameters["query"] else store)(received, writer)

    server.behave(behave)
    measured = await counted("bad", "total")
    assert (measured.state, measured.counts) == (STATE.ERROR, ())


async def test_a_look_ends_with_the_servers_time_limit_however_many_questions_it_takes(
    server: ScriptedServer, counted: Counted, store: Store
) -> None:
    """Each answer alone would be in time."""
    store.scraped("total", {}, {40: 37, 55: 39})

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        await store(received, writer)

    server.behave(behave)
    began = time.monotonic()
    measured = await counted("total", timeout="600ms")
    assert measured.state is STATE.ERROR
    assert "did not answer within 600ms" in measured.detail
    assert time.monotonic() - began < 5


async def test_a_server_that_hangs_delays_no_look_at_another(server: ScriptedServer, client: PrometheusClient) -> None:
    store = Store()
    store.scraped("total", {}, every(15, -30, 60))
    server.behave(store)
    async with ScriptedServer() as hung:
        asked = asyncio.Event()

        async def tell_and_hang(received: Received, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await hang(received, writer)

        hung.behave(tell_and_hang)
        names = {f"n{number}": f"n{number}" for number in range(40)}
        wanted = Wanted(Counting(names, START, START + 60))
        waiting = asyncio.create_task(look(client, hung, wanted, timeout="1h"))
        await asked.wait()
        counting = Counting({"total": "total"}, START, START + 60)
        assert values(await look(client, server, Wanted(counting))) == {"total": 4}
        assert not waiting.done()
        await client.close()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_large_answers_are_read_whole(server: ScriptedServer, counted: Counted) -> None:
    entries = [
        {
            "metric": {"__name__": "total", "pod": f"pod-{n}"},
            "values": [[START + at, str(at + 30)] for at in range(-30, 61, 15)],
        }
        for n in range(5000)
    ]
    server.behave(matrix(*entries))
    assert (await counted("total")).counts == (Count("total", (), 5000 * 60, 5000),)


# --- many askers ------------------------------------------------------------------------------------------------------


async def test_runs_that_count_the_same_series_at_the_same_second_ask_once(
    server: ScriptedServer, client: PrometheusClient, store: Store
) -> None:
    """Their intervals may differ."""
    store.scraped("total", {}, every(15, -30, 60))
    wanted = [Wanted(Counting({"x": "total"}, START + 40 + n, START + 60)) for n in range(10)]
    found = await asyncio.gather(*(look(client, server, one) for one in wanted))
    assert {one.state for one in found} == {STATE.OK}
    assert len(store.asked) == 1


async def test_a_selector_under_two_names_is_asked_for_once(
    server: ScriptedServer, client: PrometheusClient, store: Store
) -> None:
    store.scraped("total", {}, every(15, -30, 60))
    wanted = Wanted(Counting({"one": "total", "two": "total"}, START, START + 60))
    assert values(await look(client, server, wanted)) == {"one": 4, "two": 4}
    assert len(store.asked) == 1


# --- history ----------------------------------------------------------------------------------------------------------


def history(**changed: Any) -> Wanted:
    fields = {"name": "share", "expression": "x", "from_": START, "to": START + 60, "step_seconds": 30.0, **changed}
    return Wanted(history=(History(**fields),))


async def test_history_is_asked_for_by_range_and_told_by_labels_without_nan(
    server: ScriptedServer, client: PrometheusClient
) -> None:
    server.behave(
        matrix(
            {
                "metric": {"band": "1", "pod": "a"},
                "values": [[START, "0.5"], [START + 30, "NaN"], [START + 60, "+Inf"]],
            },
            {"metric": {"band": "2"}, "values": [[START + 30, "0.25"]]},
        )
    )
    measured = await look(client, server, history(by=("band",)))
    assert measured.state is STATE.OK
    assert [(one.name, one.labels, one.at - START, one.value) for one in measured.past] == [
        ("share", ("1",), 0, 0.5),
        ("share", ("1",), 60, float("inf")),
        ("share", ("2",), 30, 0.25),
    ]
    got = server.requests[0]
    assert got.target.startswith("/api/v1/query_range?")
    assert got.parameters == {
        "query": "x",
        "start": "1700000000",
        "end": "1700000060",
        "step": "30",
        "timeout": "5000ms",
    }


@pytest.mark.parametrize(
    ("behaviour", "changed", "words"),
    (
        (matrix(), {"to": START + 11_000 * 30}, "can't be asked for more than 11,000 values of share at once"),
        (matrix(), {"step_seconds": 0.0}, "can't be asked for more than 11,000 values of share at once"),
        (
            matrix({"metric": {"a": "1"}, "values": []}, {"metric": {"a": "2"}, "values": []}),
            {},
            "has 2 series for x, where one is expected: aggregate them",
        ),
        (
            matrix({"metric": {"a": "1", "b": "1"}, "values": []}, {"metric": {"a": "1", "b": "2"}, "values": []}),
            {"by": ("a",)},
            "has 2 series with a=1 for x, where one is expected",
        ),
        (answer("", 500), {}, "is failing (500)"),
        (
            answer_json({"status": "success", "data": {"resultType": "vector", "result": []}}),
            {},
            "answered with a vector",
        ),
    ),
)
async def test_a_history_that_can_not_be_told_is_an_error(
    server: ScriptedServer, client: PrometheusClient, behaviour: Behaviour, changed: dict[str, Any], words: str
) -> None:
    server.behave(behaviour)
    measured = await look(client, server, history(**changed))
    assert (measured.state, measured.past) == (STATE.ERROR, ())
    assert words in measured.detail


async def test_a_history_of_nothing_and_of_no_time_is_empty(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(matrix())
    assert (await look(client, server, history())).state is STATE.OK
    assert (await look(client, server, history(to=START - 60))).past == ()
    assert len(server.requests) == 1


async def test_counts_and_history_are_whole_together_or_not_there(
    server: ScriptedServer, client: PrometheusClient, store: Store
) -> None:
    store.scraped("total", {}, every(15, -30, 60))

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await (matrix() if "query_range" in received.target else store)(received, writer)

    counting = Counting({"total": "total"}, START, START + 60)
    both = Wanted(counting, history().history)
    server.behave(behave)
    assert values(await look(client, server, both)) == {"total": 4}
    server.behave(store)  # knows nothing of ranges
    measured = await look(client, server, both, START + 76)
    assert (measured.state, measured.counts) == (STATE.ERROR, ())


async def test_long_selectors_are_posted(server: ScriptedServer, client: PrometheusClient) -> None:
    server.behave(matrix({"metric": {}, "values": [[START + 55, "0"]]}))
    selector = 'total{pod=~"' + "|".join(f"pod-{number}" for number in range(500)) + '"}'
    wanted = Wanted(Counting({"total": selector}, START, START + 60))
    assert (await look(client, server, wanted)).state is STATE.OK
    got = server.requests[0]
    assert (got.method, got.parameters["query"]) == ("POST", f"{selector}[120s]")


def test_the_stand_in_answers_what_is_asked_of_it_as_the_api_does() -> None:
    """So that a test that gets an empty answer gets it for a reason."""
    store = Store()
    store.scraped("x", {"pod": "a"}, {-10: 1, 5: 2})
    store.up("a", {-3500: 0, 0: 1})
    kind, result = store.answer("x[15s]", START + 5)
    assert (kind, result[0]["values"]) == ("matrix", [[START + 5, "2"]])
    assert json.dumps(result)
    assert store.answer("last_over_time(x[1h])", START)[1][0]["value"][1] == "1"
    assert store.answer("x", START + 304)[1]
    assert not store.answer("x", START + 306)[1]
    jobs = re.escape("shop")
    assert store.answer(f'max by (job, instance) (max_over_time(up{{job=~"{jobs}"}}[1h])) > 0', START)[1]
    assert store.answer(f'max by (job, instance) (last_over_time(up{{job=~"{jobs}"}}[10m] offset 50m))', START)[1]
