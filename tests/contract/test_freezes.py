"""What every store promises about freezes."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from orchestrator.core.freeze import EVERYWHERE, Freeze, Lift
from orchestrator.freeze_port import FROZEN, UNFROZEN
from orchestrator.token_port import Note
from tests.contract.conftest import Store

PRODUCTION = Freeze("production", "kim", "quarter end", 100.0, 200.0)
ALL = Freeze(EVERYWHERE, "lee", "incident 4711", 110.5)
LIFTED = replace(PRODUCTION, revision=2, lifted=Lift(150.0, "ann", "closed early"))


def note(number: int, what: str = FROZEN) -> Note:
    return Note(f"f{number}", 100.0 + number, what, "kim", {"environment": "production", "until": None})


async def test_a_freeze_is_kept_with_all_that_is_known_of_it(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    assert await store.freezes.newest() == []
    assert await store.freezes.put(PRODUCTION, None, note(1))
    assert await store.freezes.put(ALL, None, note(2))
    again = await reopen()
    assert await again.freezes.newest() == [ALL, PRODUCTION]


async def test_a_freeze_that_was_lifted_says_by_whom_and_why(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    await store.freezes.put(PRODUCTION, None, note(1))
    assert await store.freezes.put(LIFTED, 1, note(2, UNFROZEN))
    again = await reopen()
    assert await again.freezes.newest() == [LIFTED]


async def test_whoever_comes_second_to_a_place_changes_nothing(store: Store) -> None:
    await store.freezes.put(PRODUCTION, None, note(1))
    assert not await store.freezes.put(replace(PRODUCTION, by="lee"), None, note(2))
    assert await store.freezes.put(LIFTED, 1, note(3, UNFROZEN))
    assert not await store.freezes.put(replace(LIFTED, revision=2, lifted=None, until=None), 1, note(4))
    assert not await store.freezes.put(ALL, 1, note(5))
    assert await store.freezes.newest() == [LIFTED]
    assert [one.id for one in await store.tokens.notes()] == ["f3", "f1"]


async def test_the_same_call_again_changes_nothing_and_is_true(store: Store) -> None:
    for _ in range(2):
        assert await store.freezes.put(PRODUCTION, None, note(1))
    assert await store.freezes.newest() == [PRODUCTION]
    assert [one.id for one in await store.tokens.notes()] == ["f1"]


async def test_a_freeze_has_a_line_of_its_own_in_the_log(store: Store) -> None:
    await store.freezes.put(PRODUCTION, None, note(1))
    await store.freezes.put(LIFTED, 1, note(2, UNFROZEN))
    lines = await store.tokens.notes()
    assert [(one.what, one.by, one.is_refusal) for one in lines] == [
        (UNFROZEN, "kim", False),
        (FROZEN, "kim", False),
    ]
