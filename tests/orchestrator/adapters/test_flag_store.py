from typing import Any

import pytest

from flags.model import FlagDocument
from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.core.effect import Effect, EffectState
from orchestrator.errors import StoreError, Temporary
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import FlagRecord, FlagWrite, Scene
from stages.effects import ObserveFlag, SetFlag, TargetKind
from stages.flag_spec import ABSENT, to_document, to_value

SCENE = Scene("r1", "production")
BEFORE = to_value(FlagDocument(key="-", percentage=5.0))
WANTED = to_value(FlagDocument(key="-", percentage=25.0))
OTHER = to_value(FlagDocument(key="-", percentage=50.0))
LOOK = ObserveFlag(environment="production", key="beta")


class StandingClock:
    def now(self) -> float:
        return 100.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


class RacingStore(MemoryStore):
    """Somebody writes *races* between our look and our write, one each time."""

    def __init__(self, *races: dict[str, Any]) -> None:
        super().__init__()
        self._races = list(races)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        if write.by == "run r1" and self._races:
            await put(self, self._races.pop(0))
        return await super().write(write, at)


class BrokenStore(MemoryStore):
    async def get(self, environment: str, key: str) -> FlagRecord | None:
        raise StoreError("the disk is full")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def performer(store: MemoryStore) -> FlagPerformer:
    return FlagPerformer(store, StandingClock())


def effect(value: dict[str, Any], before: dict[str, Any] | None) -> Effect:
    return Effect(
        id="r1-e3",
        target="flag:production/beta",
        target_kind=TargetKind.FLAG,
        label="beta at 25 %",
        operation=SetFlag(environment="production", key="beta", value=value),
        before=before,
        environment="production",
    )


async def put(store: MemoryStore, value: dict[str, Any], by: str = "ann") -> FlagRecord:
    stored = await store.get("production", "beta")
    document = to_document(value, "beta", "production")
    expected = stored.document.version if stored else None
    return await MemoryStore.write(store, FlagWrite(document, expected, by, "by hand"), 50.0)


async def test_a_flag_that_stands_as_it_was_is_set_and_read_back(store: MemoryStore) -> None:
    first = await put(store, BEFORE)

    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, WANTED)
    stored = await store.get("production", "beta")
    assert stored is not None
    assert to_value(stored.document) == WANTED
    assert stored.document.version > first.document.version
    assert (stored.by, stored.run, stored.effect, stored.at) == ("run r1", "r1", "r1-e3", 100.0)


@pytest.mark.parametrize("resumed", (False, True))
async def test_a_flag_that_is_as_wanted_is_not_written(store: MemoryStore, resumed: bool) -> None:
    first = await put(store, WANTED)

    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=resumed)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, WANTED)
    assert await store.get("production", "beta") == first


async def test_what_somebody_else_changed_is_left_and_said(store: MemoryStore) -> None:
    await put(store, OTHER)

    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.REFUSED, OTHER)
    assert "was changed by ann (by hand)" in outcome.detail
    stored = await store.get("production", "beta")
    assert stored is not None
    assert to_value(stored.document) == OTHER


@pytest.mark.parametrize("before", (None, ABSENT))
async def test_a_flag_that_does_not_exist_is_created(store: MemoryStore, before: dict[str, Any] | None) -> None:
    outcome = await performer(store).perform(effect(WANTED, before), SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, WANTED)


async def test_a_flag_that_was_removed_meanwhile_is_not_created_again(store: MemoryStore) -> None:
    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.REFUSED, ABSENT)
    assert "removed" in outcome.detail


async def test_without_a_word_of_what_was_before_it_is_set_whatever_stands(store: MemoryStore) -> None:
    await put(store, OTHER)

    outcome = await performer(store).perform(effect(WANTED, None), SCENE, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, WANTED)


async def test_types_count_when_values_are_compared(store: MemoryStore) -> None:
    await put(store, {**BEFORE, "parameters": {"limit": 1}})
    before = {**BEFORE, "parameters": {"limit": True}}

    outcome = await performer(store).perform(effect(WANTED, before), SCENE, resumed=False)

    assert outcome.state is EffectState.REFUSED


async def test_a_write_that_somebody_was_faster_than_is_looked_at_again() -> None:
    to_the_same, to_another = RacingStore(WANTED), RacingStore(OTHER)
    for store in (to_the_same, to_another):
        await put(store, BEFORE)

    same = await performer(to_the_same).perform(effect(WANTED, BEFORE), SCENE, resumed=False)
    another = await performer(to_another).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert (same.state, another.state) == (EffectState.DONE, EffectState.REFUSED)


async def test_when_others_never_stop_writing_it_gives_up_for_now() -> None:
    store = RacingStore(BEFORE, BEFORE, BEFORE, BEFORE)
    await put(store, BEFORE)

    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert outcome.state is EffectState.TEMPORARY


async def test_a_value_that_is_no_flag_is_refused(store: MemoryStore) -> None:
    outcome = await performer(store).perform(effect({**WANTED, "percentage": 101}, None), SCENE, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "percentage" in outcome.detail


async def test_a_store_that_is_away_is_temporary() -> None:
    store = BrokenStore()

    outcome = await performer(store).perform(effect(WANTED, BEFORE), SCENE, resumed=False)

    assert (outcome.state, outcome.detail) == (EffectState.TEMPORARY, "the disk is full")
    with pytest.raises(Temporary, match="disk"):
        await performer(store).observe(LOOK, SCENE)


async def test_observing_says_what_stands_and_who_wrote_it(store: MemoryStore) -> None:
    absent = await performer(store).observe(LOOK, SCENE)
    await put(store, OTHER)
    there = await performer(store).observe(LOOK, SCENE)

    assert (absent.value, absent.exists) == (ABSENT, False)
    assert (there.value, there.exists, there.changed_by) == (OTHER, True, "ann")
