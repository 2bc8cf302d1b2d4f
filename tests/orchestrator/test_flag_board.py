"""What is served changes the moment that a write is durable or the switch is moved, and never goes back."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from flags.feed import Feed
from flags.model import FlagDocument, Version
from flags.snapshot import Snapshot
from orchestrator.errors import StoreError
from orchestrator.flag_board import FlagBoard
from orchestrator.journal.kill_switch import MemoryKillSwitch
from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.seen import SeenFile
from orchestrator.ports import FlagRecord, FlagStore, FlagWrite, Latch


@pytest.fixture
def switch() -> MemoryKillSwitch:
    return MemoryKillSwitch()


@pytest.fixture
def board(switch: MemoryKillSwitch) -> FlagBoard:
    return FlagBoard(MemoryStore(), switch)


async def write(board: FlagBoard, key: str, environment: str = "production", **fields: object) -> None:
    known = await board.get(environment, key)
    document = known.document if known is not None else FlagDocument(key, environment)
    changed = replace(document, **fields)  # type: ignore[arg-type]
    expected = known.document.version if known is not None else None
    await board.write(FlagWrite(document=changed, expected=expected, by="ann", reason="test"), 1.0)


async def test_versions_rise_with_every_write_and_every_move_of_the_switch(
    board: FlagBoard, switch: MemoryKillSwitch
) -> None:
    seen = [board.standing("production").feed.version]
    await write(board, "a")
    seen.append(board.standing("production").feed.version)
    switch.disable_all(Latch("production", "ann", "errors", 2.0))
    seen.append(board.standing("production").feed.version)
    switch.lift("production", "bob", "mended", 3.0, key="a")
    seen.append(board.standing("production").feed.version)
    await write(board, "a", percentage=5.0)
    seen.append(board.standing("production").feed.version)
    assert seen == sorted(set(seen))
    assert board.standing("production").feed.lifted == ("a",)


async def test_after_a_write_all_is_served_as_if_it_had_been_made_anew(board: FlagBoard) -> None:
    await write(board, "a", percentage=100.0, parameters={"rate": 1})
    await write(board, "b")
    before = board.standing("production")
    kept = before.snapshot.get("a"), before.text
    await write(board, "b", percentage=100.0)
    after = board.standing("production")
    assert after.text == after.feed.encode() != kept[1]
    assert after.snapshot.get("a") is kept[0]
    assert on(board) == {"a", "b"}


async def test_what_did_not_change_is_not_made_again(board: FlagBoard) -> None:
    await write(board, "a")
    first = board.standing("production")
    await write(board, "a", "staging")
    assert board.standing("production") is first
    assert board.standing("production").text is first.text


async def test_names_that_nobody_writes_flags_for_are_not_kept(board: FlagBoard) -> None:
    for number in range(100):
        assert board.snapshot(f"made up {number}").keys() == ()
    assert board._standings == {}


async def test_who_follows_is_woken_by_a_write_and_by_the_switch(board: FlagBoard, switch: MemoryKillSwitch) -> None:
    first = await board.changed("production", None)
    following = asyncio.create_task(board.changed("production", first.feed.version))
    await write(board, "elsewhere", "staging")
    await asyncio.sleep(0)
    assert not following.done()
    await write(board, "a")
    second = await following
    assert [one.key for one in second.feed.documents] == ["a"]
    following = asyncio.create_task(board.changed("production", second.feed.version))
    await asyncio.sleep(0)
    switch.disable_all(Latch("*", "ann", "errors", 2.0))
    board.look_at_kill_switch()
    assert (await following).feed.killed


async def test_single_flags_are_held_and_permanent_ones_only_where_that_is_asked_for(
    board: FlagBoard, switch: MemoryKillSwitch
) -> None:
    await write(board, "a", percentage=100.0)
    await write(board, "b", percentage=100.0)
    await write(board, "law", percentage=100.0, permanent=True)
    assert on(board) == {"a", "b", "law"}
    switch.disable_all(Latch("production", "ann", "errors", 2.0, ("a", "law")))
    assert (on(board), board.standing("production").feed.held) == ({"b", "law"}, ("a",))
    switch.disable_all(Latch("*", "ann", "errors", 3.0))
    assert on(board) == {"law"}
    switch.disable_all(Latch("*", "ann", "errors", 4.0, (), True))
    assert on(board) == set()
    switch.lift("*", "bob", "mended", 5.0)
    assert on(board) == {"a", "b", "law"}


def on(board: FlagBoard) -> set[str]:
    """Also when the text has travelled."""
    found = on_in(board.snapshot("production"))
    assert on_in(Feed.decode(board.standing("production").text).snapshot()) == found
    return found


def on_in(snapshot: Snapshot) -> set[str]:
    flags = {document.key: snapshot.get(document.key) for document in snapshot.documents()}
    return {key for key, flag in flags.items() if flag is not None and flag.is_on({})}


async def test_a_store_that_was_set_back_gets_a_new_generation_so_that_its_flags_are_news(tmp_path: Path) -> None:
    lived = FlagBoard(MemoryStore(), MemoryKillSwitch(), SeenFile(tmp_path / "seen"))
    for percentage in (1.0, 2.0, 3.0):
        await write(lived, "a", percentage=percentage)
    known = lived.standing("production").feed.version
    store = MemoryStore()
    await write(FlagBoard(store, MemoryKillSwitch()), "a", percentage=1.0)  # the backup
    for _ in ("restored", "started again"):
        restored = FlagBoard(store, MemoryKillSwitch(), SeenFile(tmp_path / "seen"))
        await restored.begin_anew_if_restored()
        await restored.load()
        assert restored.standing("production").feed.version > known
        assert await store.version() == Version(2, 1)


@pytest.mark.parametrize("text", ("", "x", "1.2.3", "\xff"))
async def test_a_note_of_versions_that_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "seen").write_text(text, encoding="latin-1")
    board = FlagBoard(MemoryStore(), MemoryKillSwitch(), SeenFile(tmp_path / "seen"))
    await board.begin_anew_if_restored()
    await write(board, "a")
    assert (tmp_path / "seen").read_text() == "1.1\n"


async def test_a_note_of_versions_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    board = FlagBoard(MemoryStore(), MemoryKillSwitch(), SeenFile(tmp_path / "nowhere" / "seen"))
    await write(board, "a")
    assert board.standing("production").feed.documents


class Counting:
    """A store that counts how often it is asked for a flag, and fails to answer a write that it makes."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.asked = 0
        self.loses_answers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        self.asked += 1
        return await self._store.get(environment, key)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        record = await self._store.write(write, at)
        if self.loses_answers:
            raise StoreError("the disk failed")
        return record


async def test_who_alone_writes_a_store_need_not_ask_it_what_stands_there() -> None:
    store = Counting()
    await write(FlagBoard(cast(FlagStore, store), MemoryKillSwitch()), "a", percentage=5.0)
    board = FlagBoard(cast(FlagStore, store), MemoryKillSwitch(), alone=True)
    await board.load()
    store.asked = 0
    await write(board, "a", percentage=7.0)
    record = await board.get("production", "a")
    assert record is not None
    assert (record.document.percentage, record.by) == (7.0, "ann")
    assert (await board.get("production", "b"), store.asked) == (None, 0)


async def test_before_it_is_loaded_and_where_others_write_too_the_store_is_asked() -> None:
    store = Counting()
    for alone in (True, False):
        board = FlagBoard(cast(FlagStore, store), MemoryKillSwitch(), alone=alone)
        if not alone:
            await board.load()
        await write(FlagBoard(cast(FlagStore, store), MemoryKillSwitch()), "a", percentage=5.0 + alone)
        record = await board.get("production", "a")
        assert record is not None
        assert record.document.percentage == 5.0 + alone


async def test_a_write_whose_answer_was_lost_is_found_in_the_store_and_served() -> None:
    store = Counting()
    board = FlagBoard(cast(FlagStore, store), MemoryKillSwitch(), alone=True)
    await board.load()
    await write(board, "a", percentage=100.0)
    store.loses_answers = True
    with pytest.raises(StoreError):
        await write(board, "a", percentage=0.0)
    assert on(board) == {"a"}
    record = await board.get("production", "a")
    assert record is not None
    assert record.document.percentage == 0.0
    assert on(board) == set()
