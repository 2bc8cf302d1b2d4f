"""What every store promises about scheduled checks."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from orchestrator.schedule_port import MOST_TURNS, SCHEDULED, UNSCHEDULED, Schedule, Turn
from orchestrator.token_port import Note
from tests.contract.conftest import Store

DOCUMENT = {"kind": "ScheduledChecks", "spec": {"rounds": [{"name": "morgens", "at": "09:00", "checks": ["ä"]}]}}
OPS = Schedule("ops", "d" * 64, DOCUMENT, {"./ask.sh": "echo 1\n"}, "/srv/ops", "kim", 100.0, is_owners=True)
MORNING = Turn("ops", "morning", 1000.0, "one", 1000.5)
RESULT = {"round": "morning", "standing": "yes", "checks": []}


def note(number: int, what: str = SCHEDULED) -> Note:
    return Note(f"s{number}", 100.0 + number, what, "kim", {"schedule": "ops"})


async def test_a_document_is_kept_with_all_that_is_known_of_it(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    other = replace(OPS, name="deploy", directory=None, is_owners=False)
    await store.schedules.put_schedule(OPS, note(1))
    await store.schedules.put_schedule(other, note(2))
    again = await reopen()
    assert await again.schedules.schedules() == [other, OPS]
    assert [one.id for one in await again.tokens.notes()] == ["s2", "s1"]


async def test_a_document_takes_the_place_of_one_of_its_name(store: Store) -> None:
    await store.schedules.put_schedule(OPS, note(1))
    await store.schedules.put_schedule(replace(OPS, digest="e" * 64, by="lee"), note(2))
    (found,) = await store.schedules.schedules()
    assert (found.digest, found.by) == ("e" * 64, "lee")


async def test_a_document_that_is_dropped_is_gone_and_its_turns_stay(store: Store) -> None:
    await store.schedules.put_schedule(OPS, note(1))
    await store.schedules.claim_turn(MORNING, 0.0)
    await store.schedules.finish_turn(replace(MORNING, result=RESULT))
    assert await store.schedules.drop_schedule("ops", note(2, UNSCHEDULED))
    assert not await store.schedules.drop_schedule("ops", note(3, UNSCHEDULED))
    assert await store.schedules.schedules() == []
    assert [turn.result for turn in await store.schedules.turns("ops")] == [RESULT]
    assert [one.id for one in await store.tokens.notes()] == ["s2", "s1"]


async def test_of_two_controllers_one_asks(store: Store) -> None:
    assert await store.schedules.claim_turn(MORNING, 0.0)
    assert await store.schedules.claim_turn(MORNING, 0.0), "tried again, its answer being lost"
    assert not await store.schedules.claim_turn(replace(MORNING, by="two"), 0.0)
    assert await store.schedules.turns("ops") == [MORNING]


async def test_a_turn_that_was_never_answered_may_be_taken_over_and_one_that_was_may_not(store: Store) -> None:
    await store.schedules.claim_turn(MORNING, 0.0)
    later = replace(MORNING, by="two", claimed=2000.0)
    assert not await store.schedules.claim_turn(later, MORNING.claimed)
    assert await store.schedules.claim_turn(later, MORNING.claimed + 1.0)
    await store.schedules.finish_turn(replace(MORNING, result={"standing": "no"}))
    assert await store.schedules.turns("ops") == [later], "who came too late changes nothing"
    await store.schedules.finish_turn(replace(later, result=RESULT))
    assert not await store.schedules.claim_turn(replace(later, by="three"), 9000.0)
    assert await store.schedules.turns("ops") == [replace(later, result=RESULT)]


async def test_turns_come_newest_first_and_the_newest_of_each_round_is_known(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    turns = [replace(MORNING, round=name, due=due) for name, due in (("b", 3.0), ("a", 3.0), ("a", 2.0), ("b", 1.0))]
    for turn in reversed(turns):
        await store.schedules.claim_turn(turn, 0.0)
    await store.schedules.claim_turn(replace(MORNING, schedule="other", due=9.0), 0.0)
    again = await reopen()
    assert await again.schedules.turns("ops") == [turns[1], turns[0], turns[2], turns[3]]
    assert await again.schedules.turns("ops", 2) == [turns[1], turns[0]]
    assert await again.schedules.newest_turns("ops") == {"a": turns[1], "b": turns[0]}
    assert await again.schedules.newest_turns("none") == {}


async def test_the_oldest_turns_go_when_there_are_many(store: Store) -> None:
    for number in range(MOST_TURNS + 3):
        await store.schedules.claim_turn(replace(MORNING, due=float(number)), 0.0)
    await store.schedules.finish_turn(replace(MORNING, due=float(MOST_TURNS + 2), result=RESULT))
    kept = await store.schedules.turns("ops", 2 * MOST_TURNS)
    assert (len(kept), kept[0].due, kept[-1].due) == (MOST_TURNS, MOST_TURNS + 2.0, 3.0)
