"""Counters of the past, summed at any bounds."""

from itertools import pairwise

import pytest

from orchestrator.backtest.counts import StepCounts
from orchestrator.backtest.ledger import BLOCK_SECONDS, Ledger
from orchestrator.backtest.placebo import AsItWas
from stages.criteria.base import Count, Counting, MeasurementState
from tests.support.archive import ValueAt, WrittenPast

BEGIN = 1_790_000_000.0 // BLOCK_SECONDS * BLOCK_SECONDS
HOURS = 3600.0


def past_of(*pods: tuple[str, ValueAt]) -> WrittenPast:
    past = WrittenPast()
    for pod, rise in pods:
        past.counter("requests_total", rise, pod=pod)
    return past


def counts_of(past: WrittenPast, begin: float = 0.0, end: float = 6 * HOURS) -> StepCounts:
    ledger = Ledger(past, BEGIN, BEGIN + 24 * HOURS)
    return StepCounts(ledger, AsItWas(), BEGIN + begin, BEGIN + end, 15.0)


def asked(from_: float, to: float, *by: str) -> Counting:
    return Counting({"all": "requests_total"}, BEGIN + from_, BEGIN + to, by)


@pytest.mark.parametrize(
    ("from_", "to", "number"), ((0, 60, 4), (0, 59, 3), (14, 15, 1), (15, 16, 0), (7190, 7210, 1), (0, 21600, 1440))
)
async def test_an_interval_counts_the_samples_after_its_begin_and_up_to_its_end(
    from_: float, to: float, number: int
) -> None:
    state, counts = await counts_of(past_of(("a", lambda _: 1.0))).answer(asked(from_, to))
    assert state is MeasurementState.OK
    assert counts == (Count("all", (), float(number), 1),)


async def test_intervals_that_follow_one_another_add_up_over_blocks() -> None:
    counts = counts_of(past_of(("a", lambda at: at % 7), ("b", lambda at: at % 11)))
    bounds = [0.0, 100.0, 7000.0, 7300.0, 15000.0, 21600.0]
    parts = [(await counts.answer(asked(*pair)))[1][0].value for pair in pairwise(bounds)]
    assert sum(parts) == (await counts.answer(asked(0.0, 21600.0)))[1][0].value


async def test_labels_are_kept_apart_and_series_counted() -> None:
    past = past_of(("a", lambda _: 1.0), ("b", lambda _: 2.0))
    past.counter("requests_total", lambda _: 5.0, pod="b", code="500")
    _, counts = await counts_of(past).answer(asked(0, 60, "pod"))
    assert sorted(counts, key=lambda one: one.labels) == [Count("all", ("a",), 4.0, 1), Count("all", ("b",), 28.0, 2)]


async def test_a_series_that_has_ended_is_gone_and_one_that_has_not_begun_is_not_there_yet() -> None:
    past = past_of(
        ("early", lambda at: 1.0 if at <= BEGIN + 600 else None),
        ("late", lambda at: 1.0 if at >= BEGIN + 1200 else None),
        ("whole", lambda _: 1.0),
    )
    counts = counts_of(past)
    for from_, to, pods in ((0, 300, {"early", "whole"}), (700, 1000, {"whole"}), (1300, 1500, {"late", "whole"})):
        _, found = await counts.answer(asked(from_, to, "pod"))
        assert {one.labels[0] for one in found} == pods


async def test_without_a_fresh_sample_the_look_is_stale_and_without_any_it_is_missing() -> None:
    counts = counts_of(past_of(("a", lambda at: 1.0 if at <= BEGIN + 600 else None)))
    assert (await counts.answer(asked(560, 620)))[0] is MeasurementState.OK
    assert await counts.answer(asked(600, 640)) == (MeasurementState.STALE, ())
    assert await counts_of(WrittenPast()).answer(asked(0, 60)) == (MeasurementState.MISSING, ())


async def test_a_series_that_is_fresh_and_has_no_sample_in_a_short_interval_is_there_with_nothing() -> None:
    _, found = await counts_of(past_of(("a", lambda _: 1.0))).answer(asked(31, 40))
    assert found == (Count("all", (), 0.0, 1),)


async def test_the_past_is_read_once_however_often_it_is_counted_and_never_all_at_once() -> None:
    past = past_of(("a", lambda _: 1.0))
    counts = counts_of(past)
    for at in range(0, 20_000, 60):
        await counts.answer(asked(at, at + 60))
    spans = [(begin, end) for _, begin, end in past.asked]
    assert len(spans) == 3
    assert max(end - begin for begin, end in spans) == BLOCK_SECONDS
