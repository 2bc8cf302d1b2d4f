"""The arithmetic of counters: resets, falls that are none, and what is no counter at all."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.http_client import Reply
from orchestrator.adapters.prometheus.answers import Series, UnusableAnswer
from orchestrator.adapters.prometheus.counters import increase, looks_like_a_gauge, read_counters, risen


def series(*samples: tuple[float, float]) -> Series:
    return Series({}, [at for at, _ in samples], [value for _, value in samples])


def reply(*entries: dict[str, Any], **more: Any) -> Reply:
    document = {"status": "success", "data": {"resultType": "matrix", "result": list(entries)}, **more}
    return Reply(200, {}, json.dumps(document).encode())


def entry(*values: Any, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[15.0 * index, str(value)] for index, value in enumerate(values)]}


# --- what rises -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rise"),
    (
        ((), 0),
        ((7,), 0),
        ((7, 7), 0),
        ((7, 9, 12), 5),
        ((7, 9, 2), 4),  # a new process, which has counted 2
        ((7, 9, 0, 0), 2),
        ((9, 2, 1), 3),
        ((1000, 998, 1010), 10),  # another replica's sample
        ((1000, 998, 1), 1),
        ((20, 19), 0),
        ((20, 18), 18),
        ((0.5, 0.75), 0.25),
    ),
)
def test_a_counter_rises_by_its_differences_and_by_all_that_it_counts_after_a_reset(
    values: tuple[float, ...], rise: float
) -> None:
    assert risen(values) == rise


def test_a_rise_belongs_to_the_sample_that_shows_it() -> None:
    counter = series((10, 5), (20, 7), (30, 11))
    assert increase(counter, 10, 20, math.nan) == 2  # the sample at the begin is the base
    assert increase(counter, 9, 19, 4) == 1
    assert increase(counter, 15, 30, math.nan) == 6
    assert increase(counter, 30, 60, math.nan) == 0
    assert increase(counter, 0, 9, 5) == 0


def test_without_a_sample_before_it_rises_from_what_it_was_before() -> None:
    counter = series((10, 5), (20, 7))
    assert increase(counter, 0, 20, 0) == 7
    assert increase(counter, 0, 20, 4) == 3
    assert increase(counter, 0, 20, 5) == 2
    assert increase(counter, 0, 20, 100) == 7  # it was reset in between


@st.composite
def lives(draw: st.DrawFn) -> tuple[Series, float]:
    """A counter through several processes, and how much it counted after its first sample. No process is taken for the
    one before: each begins below the twentieth by which a fall may be none."""
    values, total = [float(draw(st.integers(0, 1000)))], 0.0
    for rise, may_reset in draw(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=40)):
        is_reset = may_reset and rise < 0.95 * values[-1]
        values.append(float(rise) if is_reset else values[-1] + rise)
        total += rise
    gaps = draw(st.lists(st.floats(0.5, 40), min_size=len(values), max_size=len(values)))
    times = [sum(gaps[: index + 1]) for index in range(len(values))]
    return Series({}, times, values), total


@given(lives(), st.lists(st.floats(0, 1000), max_size=8))
def test_intervals_that_follow_one_another_add_up_wherever_they_are_cut(
    life: tuple[Series, float], cuts: list[float]
) -> None:
    counter, total = life
    first, last = counter.times[0], counter.times[-1]
    bounds = [first, *sorted(cut for cut in cuts if first < cut < last), last]
    rises = [increase(counter, begin, end, math.nan) for begin, end in pairwise(bounds)]
    assert math.fsum(rises) == pytest.approx(total)
    assert min(rises) >= 0


# --- what is no counter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "is_gauge"),
    (
        ((10, 7, 10, 7, 10), True),
        ((480, 500, 470, 460), True),
        ((10, 10, 10, 10, 7, 7, 7, 7, 10, 10, 10, 10, 7, 7, 7, 7), True),
        ((10, 2, 5, 1, 4), False),  # a process that is started again and again
        ((100, 98, 110, 120, 130), False),  # one fall is none
        ((1, 2, 3, 4), False),
        ((5, 4, 9, 10, 11, 12, 10, 13, 14, 15, 16, 17), False),  # two falls in many steps
    ),
)
def test_falls_to_more_than_half_tell_a_gauge(values: tuple[float, ...], is_gauge: bool) -> None:
    assert looks_like_a_gauge(values) is is_gauge


@pytest.mark.parametrize(
    ("found", "words"),
    (
        (entry(10, 7, 10, 7, __name__="depth", queue="a"), 'has depth{queue="a"}, which looks like a gauge: it falls'),
        (entry(-3, -2, __name__="delta"), "has -3 for delta, which looks like a gauge: counters are never below 0"),
        (entry(1, "+Inf", __name__="x"), "has x at infinity, which is no count"),
        (entry("NaN", "NaN", __name__="x"), "has only NaN for x, which is no count"),
        (entry("NaN", "+Inf"), "has a series at infinity"),
        ({"metric": {"__name__": "seconds"}, "histograms": [[1, {}]]}, "has a native histogram under seconds"),
        ({"metric": {}, "values": [[1, "1"]], "histograms": [[2, {}]]}, "has a native histogram under it"),
        ({"metric": {}, "values": [[1, "many"]]}, "answered with a result that can't be read"),
        ({"metric": {}, "values": [["now", "1"]]}, "answered with a result that can't be read"),
        ({"metric": {}, "values": [[math.nan, "1"]]}, "answered with a result that can't be read"),
        ({"metric": {}, "values": [[1]]}, "answered with a result that can't be read"),
        ({"metric": {}, "values": 1}, "answered with a result that can't be read"),
        ({"metric": {}}, "answered with a result that can't be read"),
        ({"metric": [], "values": [[1, "1"]]}, "answered with a result that can't be read"),
    ),
)
def test_what_is_no_counter_is_refused_by_name(found: dict[str, Any], words: str) -> None:
    with pytest.raises(UnusableAnswer) as refused:
        read_counters(reply(entry(1, 2, __name__="good"), found))
    assert words in str(refused.value)


def test_more_series_than_can_be_meant_are_refused() -> None:
    with pytest.raises(UnusableAnswer, match="answered with 10,001 series, and 10,000 are the most that are read"):
        read_counters(reply(*(entry(1, pod=str(number)) for number in range(10_001))))


@pytest.mark.parametrize("kind", ("vector", "scalar", "string", "cube"))
def test_an_answer_of_another_kind_is_refused(kind: str) -> None:
    document = {"status": "success", "data": {"resultType": kind, "result": []}}
    with pytest.raises(UnusableAnswer, match=f"answered with a {kind}, where samples of series are expected"):
        read_counters(Reply(200, {}, json.dumps(document).encode()))


@pytest.mark.parametrize("more", ({"warnings": ["a store is away"]}, {"isPartial": True}))
def test_a_part_of_the_series_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UnusableAnswer):
        read_counters(reply(entry(1, 2), **more))


# --- what is put right ------------------------------------------------------------------------------------------------


def test_one_nan_among_numbers_is_the_mark_of_an_end_and_left_out() -> None:
    (found,) = read_counters(reply(entry(1, 2, "NaN")))
    assert (found.times, found.values) == ([0, 15], [1, 2])
    assert read_counters(reply(entry("NaN"))) == []


def test_times_of_creation_are_not_counted() -> None:
    found = read_counters(reply(entry(1, __name__="x_total"), entry(1.7e9, __name__="x_created")))
    assert [one.labels["__name__"] for one in found] == ["x_total"]


def test_of_two_servers_that_scrape_the_same_one_is_counted() -> None:
    found = read_counters(
        reply(
            entry(1, 2, pod="a", prometheus_replica="one"),
            entry(1, 2, 3, pod="a", prometheus_replica="two"),
            entry(5, pod="b", prometheus_replica="two"),
        )
    )
    assert [(one.labels["pod"], one.labels["prometheus_replica"]) for one in found] == [("a", "two"), ("b", "two")]


def test_samples_out_of_order_are_put_in_order_and_doubles_are_one() -> None:
    (found,) = read_counters(reply({"metric": {}, "values": [[30, "3"], [15, "2"], [30, "4"], [45, "5"]]}))
    assert (found.times, found.values) == ([15, 30, 45], [2, 4, 5])
