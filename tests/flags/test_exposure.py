from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flags import CompiledFlag, FlagDocument, FlagState, Snapshot, Version
from flags.bucketing import hash_key, threshold
from flags.client import FlagClient
from flags.exposure import BUCKETS, Answer, Exposure
from flags.exposure_labels import MOST_VARIANTS
from flags.exposure_names import (
    BAND_ENDS,
    BANDS,
    CANARY,
    CONTROL,
    ERROR,
    EXPOSURES,
    NO_ARM,
    NO_BAND,
    OK,
    OTHER,
    SECONDS,
    TARGET,
)
from flags.feed import Feed, FeedVersion
from tests.support.process import wait_until

# 0x8e759240 and 0x2058c8e6 stand at 55.6 % and 12.6 % of the flag "new-api"
LATE, EARLY = {"targetingKey": "user-1"}, {"targetingKey": "user-2"}
Labels = tuple[str, str, str, str, str]
"""Flag, variant, arm, band, outcome."""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def exposing(registry: CollectorRegistry, *documents: FlagDocument, **options: Any) -> Exposure:
    return Exposure(Snapshot(documents), registry=registry, **options)


def new_api(registry: CollectorRegistry, **fields: Any) -> Exposure:
    return exposing(registry, FlagDocument("new-api", **{"percentage": 30, **fields}))


def samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """As a server reads them: from the text that is scraped."""
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        yield from ((one.labels, one.value) for one in family.samples if one.name == name)


def counted(registry: CollectorRegistry) -> dict[Labels, float]:
    """What was counted at least once."""
    found: dict[Labels, float] = {}
    for labels, value in samples(registry, EXPOSURES):
        if value:
            found[labels["flag"], labels["variant"], labels["arm"], labels["band"], labels["outcome"]] = value
    return found


def latencies(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    """How many were observed, by flag, variant and arm."""
    found = samples(registry, f"{SECONDS}_count")
    return {(labels["flag"], labels["variant"], labels["arm"]): value for labels, value in found if value}


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_a_block_is_as_true_as_the_flag_is_on_and_counts_as_ok(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    with flags.exposure("new-api", EARLY) as on:
        assert on
        assert (on.on, on.variant) == (True, "on")
    with flags.exposure("new-api", LATE) as on:
        assert not on
        assert (on.on, on.variant) == (False, "off")
    assert counted(registry) == {
        ("new-api", "on", CANARY, "25", OK): 1,
        ("new-api", "off", CONTROL, "100", OK): 1,
    }
    assert latencies(registry) == {("new-api", "on", CANARY): 1, ("new-api", "off", CONTROL): 1}


def test_an_exception_goes_on_and_is_an_error(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    with pytest.raises(ZeroDivisionError), flags.exposure("new-api", EARLY):
        _ = 1 / 0
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1}
    assert latencies(registry) == {("new-api", "on", CANARY): 1}


def test_the_first_error_rises_from_zero_and_is_no_new_series(registry: CollectorRegistry) -> None:
    with new_api(registry).exposure("new-api", EARLY):
        pass
    values = {labels["outcome"]: value for labels, value in samples(registry, EXPOSURES)}
    assert values == {OK: 1, ERROR: 0}


def test_an_exception_that_is_expected_goes_on_and_is_no_error(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    with pytest.raises(KeyError), flags.exposure("new-api", EARLY, expected=(LookupError, OSError)):
        raise KeyError("nobody")
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 1}


def test_expected_without_types_does_not_hide_the_exception(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    wrong: Any = "ValueError"
    with pytest.raises(ValueError, match="the real one"), flags.exposure("new-api", EARLY, expected=wrong):
        raise ValueError("the real one")
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1}


def test_a_block_can_say_its_outcome_itself(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    with flags.exposure("new-api", EARLY) as on:
        on.failed()
    with suppress(ValueError), flags.exposure("new-api", LATE) as on:
        on.ok()
        raise ValueError
    assert counted(registry) == {
        ("new-api", "on", CANARY, "25", ERROR): 1,
        ("new-api", "off", CONTROL, "100", OK): 1,
    }


def test_a_cancelled_block_counts_nowhere(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    with flags.exposure("new-api", EARLY) as on:
        on.cancel()
    with suppress(ValueError), flags.exposure("new-api", EARLY) as on:
        on.cancel()
        raise ValueError
    assert counted(registry) == {}
    assert latencies(registry) == {}


@pytest.mark.parametrize("ending", (KeyboardInterrupt, SystemExit, GeneratorExit))
def test_the_end_of_the_process_is_no_outcome(registry: CollectorRegistry, ending: type[BaseException]) -> None:
    with pytest.raises(ending), new_api(registry).exposure("new-api", EARLY):
        raise ending
    assert counted(registry) == {}


def test_a_block_that_no_with_can_hold_is_finished_once(registry: CollectorRegistry) -> None:
    block = new_api(registry).exposure("new-api", EARLY)
    assert block.on
    block.finish(error=True)
    block.finish()
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1}
    assert latencies(registry) == {("new-api", "on", CANARY): 1}


def test_a_block_that_is_never_entered_counts_nothing(registry: CollectorRegistry) -> None:
    assert new_api(registry).exposure("new-api", EARLY)
    assert counted(registry) == {}


def test_a_block_entered_again_is_counted_again_and_has_forgotten_what_was_said(registry: CollectorRegistry) -> None:
    block = new_api(registry).exposure("new-api", EARLY)
    with block as on:
        on.failed()
    with block:
        pass
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1, ("new-api", "on", CANARY, "25", OK): 1}


def test_blocks_stand_inside_each_other(registry: CollectorRegistry) -> None:
    flags = exposing(registry, FlagDocument("outer", percentage=100), FlagDocument("inner", percentage=0))
    with flags.exposure("outer", EARLY), suppress(ValueError), flags.exposure("inner", EARLY):
        raise ValueError
    assert {(labels[0], labels[2], labels[4]) for labels in counted(registry)} == {
        ("outer", CANARY, OK),
        ("inner", CONTROL, ERROR),
    }


async def test_a_block_in_a_coroutine(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    async with flags.exposure("new-api", EARLY) as on:
        assert on
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="late"):
        async with flags.exposure("new-api", LATE):
            raise ValueError("late")
    assert counted(registry) == {
        ("new-api", "on", CANARY, "25", OK): 1,
        ("new-api", "off", CONTROL, "100", ERROR): 1,
    }


async def test_a_task_that_is_cancelled_for_being_slow_is_an_error(registry: CollectorRegistry) -> None:
    flags = new_api(registry)

    async def slow() -> None:
        with flags.exposure("new-api", EARLY):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow(), 0.01)
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1}


# --- other forms ----------------------------------------------------------------------------------------------------


def test_a_function_can_be_the_block(registry: CollectorRegistry) -> None:
    flags = new_api(registry)

    @flags.exposed("new-api", context=lambda user: {"targetingKey": user})
    def handle(user: str, on: Any = None) -> str:
        """What it does."""
        return f"{user} {'new' if on else 'old'}"

    assert [handle("user-1"), handle("user-2")] == ["user-1 old", "user-2 new"]
    assert handle.__doc__ == "What it does."
    assert {labels[2]: value for labels, value in counted(registry).items()} == {CANARY: 1, CONTROL: 1}


async def test_a_coroutine_function_can_be_the_block(registry: CollectorRegistry) -> None:
    flags = new_api(registry)

    class Handler:
        @flags.exposed("new-api", EARLY)
        async def handle(self, on: Any = None) -> None:
            await asyncio.sleep(0)
            assert on
            raise ValueError("in the new way")

    with pytest.raises(ValueError, match="in the new way"):
        await Handler().handle()
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1}


def test_a_context_that_a_decorator_cannot_get_is_none(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    flags = new_api(registry)

    def context(request: Mapping[str, str]) -> Mapping[str, object]:
        return {"targetingKey": request["user"]}

    @flags.exposed("new-api", context)
    def handle(request: Mapping[str, str], on: Any = None) -> bool:
        return bool(on)

    assert not handle({})
    assert not handle({})
    assert counted(registry) == {("new-api", "off", NO_ARM, NO_BAND, OK): 2}
    (record,) = caplog.records
    assert "gives no context for a flag: KeyError('user')" in record.getMessage()


def test_a_generator_is_refused_as_a_block(registry: CollectorRegistry) -> None:
    flags = new_api(registry)

    def values(on: Any = None) -> Iterator[int]:
        yield 1

    async def slow_values(on: Any = None) -> AsyncIterator[int]:
        yield 1

    for function in (values, slow_values):
        with pytest.raises(TypeError, match=r"is a generator: .* use `with`"):
            flags.exposed("new-api", EARLY)(function)


def test_what_is_over_already_is_observed(registry: CollectorRegistry) -> None:
    flags = new_api(registry)
    flags.observe("new-api", EARLY, error=True, seconds=0.3)
    flags.observe("new-api", EARLY)
    assert counted(registry) == {("new-api", "on", CANARY, "25", ERROR): 1, ("new-api", "on", CANARY, "25", OK): 1}
    assert latencies(registry) == {("new-api", "on", CANARY): 1}
    ((_, seconds),) = samples(registry, f"{SECONDS}_sum")
    assert seconds == 0.3
    edges = {labels["le"]: value for labels, value in samples(registry, f"{SECONDS}_bucket")}
    assert (edges["0.25"], edges["0.5"]) == (0, 1)


@pytest.mark.parametrize("seconds", (float("nan"), float("inf"), -1.0, True, "1", 10**400))
def test_what_is_no_span_of_time_is_left_out_and_the_outcome_counted(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, seconds: Any
) -> None:
    flags = new_api(registry)
    for _ in range(3):
        flags.observe("new-api", EARLY, seconds=seconds)
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 3}
    assert latencies(registry) == {}
    assert len(caplog.records) == 1


def test_the_answer_of_another_flag_system_is_counted_as_it_was_given(registry: CollectorRegistry) -> None:
    flags = Exposure(registry=registry)
    with flags.answered("theirs", "user-1", Answer(True, "treatment")) as on:
        assert on
    with flags.answered("theirs", "user-1", Answer(False, banded=False)):
        pass
    with flags.answered("theirs", "user-1", Answer(True, targeted=True, banded=False)):
        pass
    with flags.answered("theirs", None, Answer(True)):
        pass
    band = BANDS[sum(hash_key("theirs", "user-1") >= threshold(round(end * 1000)) for end in BAND_ENDS)]
    assert counted(registry) == {
        ("theirs", "treatment", CANARY, band, OK): 1,
        ("theirs", "off", CONTROL, NO_BAND, OK): 1,
        ("theirs", "on", TARGET, NO_BAND, OK): 1,
        ("theirs", "on", NO_ARM, NO_BAND, OK): 1,
    }


# --- arms and bands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(BANDS)))
def test_a_band_ends_exactly_where_its_percentage_does(registry: CollectorRegistry, index: int) -> None:
    end = threshold(round(BAND_ENDS[index] * 1000))
    last = key_at("new-api", end - 1)
    flags = new_api(registry, percentage=BAND_ENDS[index])
    with flags.exposure("new-api", {"targetingKey": last}) as on:
        assert on
    wanted: dict[Labels, float] = {("new-api", "on", CANARY, BANDS[index], OK): 1}
    if index + 1 < len(BANDS):
        with flags.exposure("new-api", {"targetingKey": key_at("new-api", end)}) as on:
            assert not on
        wanted["new-api", "off", CONTROL, BANDS[index + 1], OK] = 1
    assert counted(registry) == wanted


def test_the_band_is_recorded_while_nobody_has_the_flag_and_stays_the_same(registry: CollectorRegistry) -> None:
    key = {"targetingKey": key_at("new-api", 0)}
    states: tuple[dict[str, Any], ...] = (
        {"percentage": 0},
        {"state": FlagState.DISABLED},
        {"percentage": 0.05},
        {"percentage": 100},
    )
    for fields in states:
        with new_api(registry, **fields).exposure("new-api", key):
            pass
    with Exposure(Snapshot([FlagDocument("new-api", percentage=100)], killed=True), registry=registry).exposure(
        "new-api", key
    ) as on:
        assert not on
    assert counted(registry) == {
        ("new-api", "off", CONTROL, "0.1", OK): 3,
        ("new-api", "on", CANARY, "0.1", OK): 2,
    }


def test_the_shares_of_the_bands_are_their_widths(registry: CollectorRegistry) -> None:
    flags = new_api(registry, percentage=0)
    for number in range(20_000):
        flags.observe("new-api", {"targetingKey": f"user-{number}"})
    counts = {labels[3]: value for labels, value in counted(registry).items()}
    for band, begin, end in zip(BANDS, (0.0, *BAND_ENDS), BAND_ENDS, strict=False):
        share = (end - begin) / 100
        assert abs(counts[band] - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("percentage", (0, 30, 100))
def test_who_has_the_flag_by_targeting_is_in_neither_arm(registry: CollectorRegistry, percentage: float) -> None:
    flags = new_api(registry, percentage=percentage, targets={"team": ["a"]})
    for context in (EARLY | {"team": "a"}, LATE | {"team": "a"}, {"team": "a"}):
        with flags.exposure("new-api", context) as on:
            assert on
    assert counted(registry) == {
        ("new-api", "on", TARGET, "25", OK): 1,
        ("new-api", "on", TARGET, "100", OK): 1,
        ("new-api", "on", TARGET, NO_BAND, OK): 1,
    }


@pytest.mark.parametrize("context", (None, {}, {"targetingKey": ""}, {"targetingKey": None}, {"targetingKey": 7}))
def test_without_a_targeting_key_nobody_is_in_an_arm(registry: CollectorRegistry, context: Any) -> None:
    flags = exposing(registry, FlagDocument("drawn", percentage=30), FlagDocument("all", percentage=100))
    with flags.exposure("drawn", context) as on:
        assert not on
    with flags.exposure("all", context) as on:
        assert on
    assert counted(registry) == {("drawn", "off", NO_ARM, NO_BAND, OK): 1, ("all", "on", NO_ARM, NO_BAND, OK): 1}


def test_variants_are_counted_by_their_names_whatever_their_type(registry: CollectorRegistry) -> None:
    colors = {"blue": "#00f", "red": "#f00"}
    flags = new_api(registry, variants=colors, on_variant="blue", default_variant="red")
    with flags.exposure("new-api", EARLY) as on:
        assert (on.on, on.variant) == (True, "blue")
    with flags.exposure("new-api", LATE) as on:
        assert (on.on, on.variant) == (False, "red")
    assert {labels[:3] for labels in counted(registry)} == {("new-api", "blue", CANARY), ("new-api", "red", CONTROL)}


def test_a_changed_flag_counts_at_once_as_it_answers(registry: CollectorRegistry) -> None:
    snapshots = [Snapshot([FlagDocument("new-api", percentage=0)])]
    flags = Exposure(lambda: snapshots[-1], registry=registry)
    for percentage in (0, 50, 20, 10):
        snapshots.append(Snapshot([FlagDocument("new-api", percentage=percentage)]))
        with flags.exposure("new-api", EARLY) as on:
            assert on.on is (percentage > 12.6)
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 2, ("new-api", "off", CONTROL, "25", OK): 2}


def test_a_block_counts_what_it_answered_even_if_the_flag_changes_meanwhile(registry: CollectorRegistry) -> None:
    snapshots = [Snapshot([FlagDocument("new-api", percentage=100)])]
    flags = Exposure(lambda: snapshots[-1], registry=registry)
    with flags.exposure("new-api", EARLY):
        snapshots.append(Snapshot([FlagDocument("new-api", percentage=0)]))
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 1}


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_flag_that_is_not_known_is_off_counted_under_other_and_logged_once(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    flags = new_api(registry)
    for _ in range(3):
        with flags.exposure("new-apj", EARLY) as on:
            assert not on
            assert on.variant is None
    assert counted(registry) == {(OTHER, OTHER, NO_ARM, NO_BAND, OK): 3}
    (record,) = caplog.records
    assert record.getMessage() == "flag 'new-apj' is not known: its default is answered, counted under flag='other'"


def test_ten_thousand_flags_have_series_for_the_first_ones_only(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [FlagDocument(f"flag-{number}", percentage=100) for number in range(10_000)]
    flags = exposing(registry, *documents)
    for document in documents:
        with flags.exposure(document.key, EARLY) as on:
            assert on
            assert on.variant == "on"
    counts = counted(registry)
    assert len({labels[0] for labels in counts}) == 201
    assert counts[OTHER, OTHER, NO_ARM, NO_BAND, OK] == 9_800
    (record,) = caplog.records
    assert "beyond the first 200" in record.getMessage()


def test_ten_thousand_keys_that_are_no_flags_make_one_series_and_few_lines(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    flags = new_api(registry)
    for number in range(10_000):
        flags.observe(f"nowhere-{number}", EARLY)
    assert counted(registry) == {(OTHER, OTHER, NO_ARM, NO_BAND, OK): 10_000}
    assert len(caplog.records) == 32


def test_the_series_of_a_flag_are_as_few_as_promised(registry: CollectorRegistry) -> None:
    ends = [0, *(round(end * 1000) for end in BAND_ENDS)]
    keys = [key_at("new-api", threshold(weight) - 1) for weight in ends[1:]]
    contexts: list[Mapping[str, object]] = [{"targetingKey": key} for key in keys]
    contexts.append({})
    for fields in ({"percentage": 0}, {"percentage": 100}, {"percentage": 30}):
        flags = new_api(registry, targets={"team": ["a"]}, **fields)
        for context in contexts:
            flags.observe("new-api", context, seconds=1)
            flags.observe("new-api", {**context, "team": "a"}, seconds=1)
    assert len(list(samples(registry, EXPOSURES))) == 54
    assert len(list(samples(registry, f"{SECONDS}_count"))) == 5
    assert len(list(samples(registry, f"{SECONDS}_bucket"))) == 5 * (len(BUCKETS) + 1)


def test_variants_that_are_renamed_for_ever_end_up_under_other_and_keep_their_arms(registry: CollectorRegistry) -> None:
    for number in range(50):
        names = {"variants": {f"on-{number}": True, "off": False}, "on_variant": f"on-{number}"}
        with new_api(registry, **names).exposure("new-api", EARLY) as on:
            assert on.variant == f"on-{number}"
    counts = counted(registry)
    assert len(counts) == MOST_VARIANTS + 1
    assert counts["new-api", OTHER, CANARY, "25", OK] == 50 - MOST_VARIANTS


def test_a_flag_with_the_key_other_is_counted_with_the_others(registry: CollectorRegistry) -> None:
    with exposing(registry, FlagDocument(OTHER, percentage=100)).exposure(OTHER, EARLY) as on:
        assert on
    assert counted(registry) == {(OTHER, OTHER, NO_ARM, NO_BAND, OK): 1}


def test_keys_that_need_quoting_arrive_as_they_are(registry: CollectorRegistry) -> None:
    key = 'team/"a b"\\{💡}'
    with exposing(registry, FlagDocument(key, percentage=100)).exposure(key, EARLY):
        pass
    assert {labels[0] for labels in counted(registry)} == {key}


class Hostile(Mapping[str, object]):
    """Has keys, and breaks whenever it is asked for one."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")


@pytest.mark.parametrize("context", ("user-1", 7, ["targetingKey"], object(), Hostile()))
def test_an_absurd_context_is_as_good_as_none(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, context: Any
) -> None:
    flags = exposing(registry, FlagDocument("drawn", percentage=30), FlagDocument("all", percentage=100))
    for _ in range(3):
        with flags.exposure("drawn", context) as on:
            assert not on
        with flags.exposure("all", context) as on:
            assert on
    assert counted(registry) == {("drawn", "off", NO_ARM, NO_BAND, OK): 3, ("all", "on", NO_ARM, NO_BAND, OK): 3}
    (record,) = caplog.records
    assert "is asked without its context" in record.getMessage()
    assert "user-1" not in record.getMessage(), "what a context holds is nobody's business"


@pytest.mark.parametrize("targeting_key", ("\ud800", "x" * 1_000_000, b"user-1", ["user-1"], {"a": 1}))
def test_an_absurd_targeting_key_breaks_nothing(registry: CollectorRegistry, targeting_key: Any) -> None:
    with new_api(registry).exposure("new-api", {"targetingKey": targeting_key}):
        pass
    assert sum(counted(registry).values()) == 1


@pytest.mark.parametrize("key", (None, 7, ["new-api"], "", "\ud800", "x" * 100_000))
def test_an_absurd_flag_key_is_off_and_counted_under_other(registry: CollectorRegistry, key: Any) -> None:
    flags = new_api(registry)
    with flags.exposure(key, EARLY) as on:
        assert not on
    with flags.answered(key, "user-1", Answer(True)) as on:
        assert on
    assert counted(registry) == {(OTHER, OTHER, NO_ARM, NO_BAND, OK): 2}


def test_a_source_that_breaks_leaves_the_flag_off(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Mapping[str, CompiledFlag]:
        raise RuntimeError("the disk is gone")

    flags = Exposure(broken, registry=registry)
    for _ in range(3):
        with flags.exposure("new-api", EARLY) as on:
            assert not on
    (record,) = caplog.records
    assert record.getMessage() == "flag 'new-api' cannot be asked and is off: RuntimeError('the disk is gone')"
    assert counted(registry) == {(OTHER, OTHER, NO_ARM, NO_BAND, OK): 3}


def test_a_registry_that_breaks_never_reaches_the_application(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = new_api(registry)

    def broken(self: object, amount: float = 1) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("prometheus_client.Counter.inc", broken)
    with flags.exposure("new-api", EARLY) as on:
        assert on
    with pytest.raises(ValueError, match="of the block"), flags.exposure("new-api", LATE):
        raise ValueError("of the block")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no space left on device" in caplog.text


def test_what_is_no_source_is_refused_at_once() -> None:
    wrong: Any = "flags.json"
    with pytest.raises(TypeError, match="source: a FlagClient, a Snapshot or a function"):
        Exposure(wrong, registry=CollectorRegistry())


@pytest.mark.parametrize("buckets", ((), (2, 1), (1, 1), (float("nan"), 1)))
def test_buckets_that_do_not_rise_are_refused(registry: CollectorRegistry, buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="buckets: rising numbers of seconds"):
        Exposure(registry=registry, buckets=buckets)


# --- a client -------------------------------------------------------------------------------------------------------


def test_a_client_is_followed_and_its_defaults_are_answered(registry: CollectorRegistry, tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    before = Feed("production", FeedVersion(Version(1, 1)), (FlagDocument("new-api", version=Version(1, 1)),))
    file.write_bytes(before.encode())
    with FlagClient(file=file, poll_seconds=0.01, defaults={"not-yet": True}) as client:
        assert client.wait_until_ready()
        flags = Exposure(client, registry=registry)
        with flags.exposure("new-api", EARLY) as on:
            assert not on
        with flags.exposure("not-yet", EARLY) as on:
            assert on
        document = FlagDocument("new-api", percentage=30, version=Version(1, 2))
        (tmp_path / "next").write_bytes(Feed("production", FeedVersion(Version(1, 2)), (document,)).encode())
        (tmp_path / "next").replace(file)
        wait_until(lambda: client.is_on("new-api", EARLY), what="the client to read the new feed")
        with flags.exposure("new-api", EARLY) as on:
            assert on
    assert counted(registry) == {
        ("new-api", "off", CONTROL, "25", OK): 1,
        (OTHER, OTHER, NO_ARM, NO_BAND, OK): 1,
        ("new-api", "on", CANARY, "25", OK): 1,
    }


# --- registries, threads --------------------------------------------------------------------------------------------


def test_two_exposures_share_the_metrics_of_a_registry(registry: CollectorRegistry) -> None:
    for _ in range(2):
        with new_api(registry).exposure("new-api", EARLY):
            pass
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 2}


def test_two_exposures_of_a_registry_share_its_bound(registry: CollectorRegistry) -> None:
    documents = [FlagDocument(f"flag-{number}") for number in range(4)]
    first, second = (exposing(registry, *documents, most_flags=3) for _ in range(2))
    for exposure, keys in ((first, (0, 1)), (second, (2, 3)), (first, (3,))):
        for number in keys:
            exposure.observe(f"flag-{number}", EARLY)
    assert {labels[0] for labels in counted(registry)} == {"flag-0", "flag-1", "flag-2", OTHER}


def test_a_registry_has_its_metrics_in_one_way(registry: CollectorRegistry) -> None:
    Exposure(registry=registry)
    with pytest.raises(ValueError, match="has the exposure metrics already"):
        Exposure(registry=registry, buckets=(1, 2))


def test_a_registry_that_nobody_uses_any_more_is_forgotten() -> None:
    registry = CollectorRegistry()
    with new_api(registry).exposure("new-api", EARLY):
        pass
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_it_counts_into_the_usual_registry_unless_told_otherwise() -> None:
    Exposure()
    assert f"# TYPE {EXPOSURES} counter" in generate_latest(REGISTRY).decode()


def test_threads_lose_nothing_and_see_one_series(registry: CollectorRegistry) -> None:
    snapshots = [Snapshot([FlagDocument("new-api", percentage=30)])]
    flags = Exposure(lambda: snapshots[-1], registry=registry)
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait()
        for turn in range(1000):
            if turn % 100 == number:
                snapshots.append(Snapshot([FlagDocument("new-api", percentage=30)]))
            with suppress(ValueError), flags.exposure("new-api", EARLY if turn % 2 else LATE):
                if turn % 10 == 0:
                    raise ValueError

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(registry) == {
        ("new-api", "on", CANARY, "25", OK): 4000,
        ("new-api", "off", CONTROL, "100", OK): 3200,
        ("new-api", "off", CONTROL, "100", ERROR): 800,
    }
    assert latencies(registry) == {("new-api", "on", CANARY): 4000, ("new-api", "off", CONTROL): 4000}


# --- a key at any place ---------------------------------------------------------------------------------------------


def key_at(flag: str, place: int) -> str:
    """A targeting key that hashes to exactly this place on the flag.

    murmur3 can be undone: its last mix is a bijection, and for given bytes before them one last block of four leads to
    any hash. Prefixes are tried until that block is ASCII.
    """
    for number in range(100_000):
        length = 8 + -(len(flag.encode()) + 3 + 8) % 4
        prefix = f"{number:0{length - 4}d}".encode()
        head = b"\x82" + bytes((0x60 + len(flag.encode()),)) + flag.encode() + bytes((0x60 + length,))
        before = head + prefix
        block = _last_block(before, place)
        if all(byte < 0x80 for byte in block):
            key = (prefix + block).decode()
            assert hash_key(flag, key) == place
            return key
    raise AssertionError(f"no key at {place}")


_C1, _C2, _ADDED, _WORD = 0xCC9E2D51, 0x1B873593, 0xE6546B64, 0xFFFFFFFF


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _WORD


def _last_block(before: bytes, place: int) -> bytes:
    state = 0
    for index in range(0, len(before), 4):
        word = int.from_bytes(before[index : index + 4], "little")
        state ^= _rotated(word * _C1 & _WORD, 15) * _C2 & _WORD
        state = (_rotated(state, 13) * 5 + _ADDED) & _WORD
    wanted = _unmixed(place) ^ (len(before) + 4)
    wanted = _rotated((wanted - _ADDED) * pow(5, -1, 1 << 32) & _WORD, 32 - 13)
    word = _rotated((wanted ^ state) * pow(_C2, -1, 1 << 32) & _WORD, 32 - 15) * pow(_C1, -1, 1 << 32) & _WORD
    return word.to_bytes(4, "little")


def _unmixed(word: int) -> int:
    word ^= word >> 16
    word = word * pow(0xC2B2AE35, -1, 1 << 32) & _WORD
    word ^= word >> 13 ^ word >> 26
    word = word * pow(0x85EBCA6B, -1, 1 << 32) & _WORD
    return word ^ word >> 16
