"""Which interval a look counts, what its counts say, and how counts of hours are kept in few numbers."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.criteria import bins as binned
from stages.criteria.base import NOTHING_WANTED, Count, Measurement, MeasurementState, Memory, Setting
from stages.criteria.bins import Bin, Bins
from stages.criteria.counting import (
    COUNTED_TO,
    LONGEST_SECONDS,
    Events,
    Interval,
    counting,
    events_of,
    interval_of,
    is_settling,
    remembered,
    total_of,
    with_counted_to,
)

SETTING = Setting(since=1000.0, before=1000.0, warmup_seconds=60.0)


def counted_to(seconds: float) -> Memory:
    return Memory(extra={COUNTED_TO: seconds})


def measured(*counts: Count) -> Measurement:
    return Measurement(MeasurementState.OK, 1100.0, counts=counts)


# --- intervals --------------------------------------------------------------------------------------------------------


def test_counting_begins_with_the_change_and_ends_one_scrape_before_the_look() -> None:
    assert interval_of(SETTING, Memory(), 1050.0) == Interval(1000.0, 1035.0, is_warmup=True)


@pytest.mark.parametrize("at", (1000.0, 1005.0, 1015.0))
def test_before_a_scrape_has_passed_there_is_nothing_to_count(at: float) -> None:
    assert interval_of(SETTING, Memory(), at) is None
    assert counting(SETTING, Memory(), at, {"bad": "x"}) is NOTHING_WANTED


def test_the_next_interval_begins_where_the_last_one_ended() -> None:
    assert interval_of(SETTING, counted_to(1090.0), 1120.0) == Interval(1090.0, 1105.0, is_warmup=False)
    assert interval_of(SETTING, counted_to(1105.0), 1120.0) is None


def test_an_interval_ends_with_the_warm_up() -> None:
    assert interval_of(SETTING, counted_to(1050.0), 1120.0) == Interval(
        1050.0, 1060.0, is_warmup=True, ends_warmup=True
    )
    assert interval_of(SETTING, counted_to(1060.0), 1120.0) == Interval(1060.0, 1105.0, is_warmup=False)


def test_without_a_warm_up_all_counts() -> None:
    setting = replace(SETTING, warmup_seconds=0.0)
    assert interval_of(setting, Memory(), 1050.0) == Interval(1000.0, 1035.0, is_warmup=False)


def test_nothing_of_before_a_step_is_counted() -> None:
    setting = replace(SETTING, since=2000.5)
    assert interval_of(setting, counted_to(1985.0), 2050.0) == Interval(2001.0, 2035.0, is_warmup=True)


def test_nothing_of_before_a_person_dropped_the_evidence_is_counted() -> None:
    setting = replace(SETTING, evidence_from=5000.0)
    assert interval_of(setting, counted_to(4000.0), 5100.0) == Interval(
        5000.0, 5060.0, is_warmup=True, ends_warmup=True
    )


def test_an_interval_is_at_most_an_hour_long() -> None:
    interval = interval_of(SETTING, counted_to(2000.0), 100_000.0)
    assert interval == Interval(100_000.0 - 15.0 - LONGEST_SECONDS, 99_985.0, is_warmup=False)


def test_a_clock_that_was_set_back_begins_anew_one_look_before() -> None:
    assert interval_of(SETTING, counted_to(900_000.0), 5000.0) == Interval(4970.0, 4985.0, is_warmup=False)


@pytest.mark.parametrize("extra", (None, [], "x", {COUNTED_TO: "x"}, {COUNTED_TO: math.nan}, {COUNTED_TO: True}))
def test_a_memory_that_says_nothing_counts_from_the_change_on(extra: Any) -> None:
    assert interval_of(SETTING, Memory(extra=extra), 1050.0) == Interval(1000.0, 1035.0, is_warmup=True)


@given(
    st.lists(st.floats(0.1, 5000.0), min_size=1, max_size=30),
    st.floats(0.0, 300.0),
    st.sampled_from((1.0, 7.5, 15.0, 60.0)),
)
def test_intervals_follow_one_another_whenever_looks_come(waits: list[float], warmup: float, scrape: float) -> None:
    setting = replace(SETTING, warmup_seconds=warmup, scrape_seconds=scrape)
    memory, at, last = Memory(), setting.since, None
    for wait in waits:
        at += wait
        interval = interval_of(setting, memory, at)
        assert interval == interval_of(setting, memory, float(math.floor(at)))  # as a server answers
        if interval is None:
            continue
        assert setting.since <= interval.from_ < interval.to <= at - scrape + 1
        assert interval.from_.is_integer()
        assert interval.to.is_integer()
        assert interval.seconds <= LONGEST_SECONDS
        assert last is None or interval.from_ == last or interval.seconds == LONGEST_SECONDS
        assert interval.is_warmup == (interval.from_ < setting.since + math.ceil(warmup))
        memory, last = with_counted_to(memory, interval, {}), interval.to


def test_a_change_settles_until_something_of_after_the_warm_up_can_be_counted() -> None:
    assert is_settling(SETTING, 1075.0)
    assert not is_settling(SETTING, 1076.0)


def test_what_is_wanted_are_the_counters_over_the_interval() -> None:
    wanted = counting(SETTING, Memory(), 1050.0, {"bad": "x"}, by=("pod",)).counting
    assert wanted is not None
    assert (wanted.from_, wanted.to, wanted.selectors, wanted.by) == (1000.0, 1035.0, {"bad": "x"}, ("pod",))


def test_a_count_ends_what_was_missing_and_keeps_a_kinds_own_state() -> None:
    memory = with_counted_to(Memory(missing_since=5.0, missed_looks=2), Interval(1.0, 9.0, False), {"a": 1})
    assert (memory.missing_since, memory.missed_looks) == (None, 0)
    assert remembered(memory) == {"a": 1, COUNTED_TO: 9.0}


# --- counts -----------------------------------------------------------------------------------------------------------


def test_counts_of_a_name_are_summed_over_labels() -> None:
    found = measured(Count("bad", ("a",), 2.0, 3), Count("bad", ("b",), 1.0), Count("total", (), 10.0))
    assert total_of(found, "bad") == 3.0
    assert total_of(found, "other") is None
    assert events_of(found) == Events(3.0, 10.0, bad_series=4)


def test_without_a_series_of_bad_events_there_were_none() -> None:
    assert events_of(measured(Count("total", (), 10.0))) == Events(0.0, 10.0, bad_series=0)


def test_without_a_series_of_all_events_nothing_is_known() -> None:
    assert events_of(measured(Count("bad", (), 1.0))) is None
    assert events_of(measured()) is None


@pytest.mark.parametrize(
    ("bad", "total", "said"),
    (
        (-3.0, 10.0, "the counters of bad fell by 3: counters only rise (is it a gauge?)"),
        (1.0, -10.0, "the counters of total fell by 10: counters only rise (is it a gauge?)"),
        (math.nan, 10.0, "the counters of bad rose by nan, which is no number of events"),
        (1.0, math.inf, "the counters of total rose by inf, which is no number of events"),
        (1000.0, 12.0, "there were more bad events than total (1,000 of 12)"),
        (50.0, 0.0, "there were more bad events than total (50 of 0)"),
    ),
)
def test_counts_that_cannot_be_are_told_in_a_sentence(bad: float, total: float, said: str) -> None:
    found = events_of(measured(Count("bad", (), bad), Count("total", (), total)))
    assert isinstance(found, str)
    assert said in found


def test_swapped_arguments_are_named_as_what_may_be_wrong() -> None:
    found = events_of(measured(Count("bad", (), 1000.0), Count("total", (), 12.0)))
    assert isinstance(found, str)
    assert "are the two swapped" in found


@pytest.mark.parametrize(("bad", "total"), ((101.0, 100.0), (2.0, 1.0), (1.0, 0.0)))
def test_a_few_more_bad_than_all_come_of_scrapes_at_different_moments(bad: float, total: float) -> None:
    assert events_of(measured(Count("bad", (), bad), Count("total", (), total))) == Events(total, total)


# --- counts of hours --------------------------------------------------------------------------------------------------


def kept(seconds: float, every: float = 15.0, kept_seconds: float = binned.LONGEST_WINDOW_SECONDS) -> Bins:
    """1 bad of 10 events in each interval."""
    bins: Bins = ()
    at = 6000.0
    while at < 6000.0 + seconds:
        bins = binned.with_interval(bins, Interval(at, at + every, False), Events(1.0, 10.0), kept_seconds)
        bins = binned.from_json(json.loads(json.dumps(binned.to_json(bins))))
        at += every
    return bins


@pytest.mark.parametrize("every", (5.0, 15.0, 45.0, 90.0, 600.0))
def test_six_hours_of_counts_are_few_numbers_and_windows_hold_what_they_say(every: float) -> None:
    bins = kept(8 * 3600, every)
    assert len(bins) <= binned.MOST_BINS
    for window_seconds in (300.0, 1800.0, 3600.0, 6 * 3600.0):
        window = binned.within(bins, window_seconds)
        assert window is not None
        longest = window_seconds + binned.FINE_SECONDS
        assert window_seconds - max(every, binned.COARSE_SECONDS) <= window.seconds <= max(longest, every)
        assert window.total == pytest.approx(10 * window.seconds / every)
        assert window.share == pytest.approx(0.1)


def test_an_interval_of_a_gap_is_not_cut_and_soon_out_of_short_windows() -> None:
    bins = binned.with_interval(kept(600.0), Interval(6600.0, 8400.0, False), Events(500.0, 1000.0))
    gap = binned.within(bins, 300.0)
    assert gap is not None
    assert (gap.seconds, gap.total) == (1800.0, 1000.0)
    bins = binned.with_interval(bins, Interval(8400.0, 8415.0, False), Events(1.0, 10.0))
    newest, hour = binned.within(bins, 300.0), binned.within(bins, 3600.0)
    assert newest is not None
    assert hour is not None
    assert (newest.total, hour.total) == (10.0, 1410.0)


def test_what_began_before_a_time_is_left_out() -> None:
    bins = binned.after(kept(600.0), 6300.0)
    assert bins[0].from_ == 6300.0
    assert binned.after(bins, 9999.0) == ()
    assert binned.within((), 300.0) is None


def test_a_clock_that_was_set_back_replaces_what_overlaps() -> None:
    bins = binned.with_interval(kept(600.0), Interval(6270.0, 6285.0, False), Events(0.0, 1.0))
    assert bins[-1].to == 6285.0
    assert all(one.to <= 6285.0 for one in bins)


def test_a_window_without_events_has_the_share_zero() -> None:
    assert Bin(0.0, 10.0, 10.0, 0.0, 0.0).share == 0.0


@pytest.mark.parametrize(
    "value",
    (
        None,
        {},
        [[1, 2, 3]],
        [[2, 1, 1, 0, 0]],
        [[1, 2, 1, 5, 4]],
        [[1, 2, 1, -1, 4]],
        [[1, 2, 1, 0, "x"]],
        [[1, 9, 1, 0, 4], [5, 12, 1, 0, 4]],
        [[1, 2, 1, 0, 1]] * 1000,
    ),
)
def test_bins_that_were_never_written_are_none(value: Any) -> None:
    assert binned.from_json(value) == ()
