"""The collector of cycles in a controller: it never walks over what has lived long, and loses nothing for good."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import Iterator

import pytest

from orchestrator.cli.collecting import (
    ALL,
    FOUND_SECONDS,
    GROWN_BLOCKS,
    ONE_OF,
    SELDOM_SECONDS,
    SHARE_OF_TIME,
    SOON_SECONDS,
    THRESHOLDS,
    YOUNG,
    Collecting,
    rare_collection,
)


class Node:
    """Part of a cycle: it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def looks() -> Iterator[list[int]]:
    """The generations that were looked at, in order; nothing but the tested looks."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.append(info["generation"])

    gc.collect()
    gc.disable()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.enable()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def taking(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at all takes so long."""
    times = itertools.count(0.0, seconds)
    monkeypatch.setattr("time.perf_counter", lambda: next(times))


def test_what_lives_long_is_set_aside() -> None:
    kept = [Node() for _ in range(1000)]
    Collecting(0.0).look(10.0)
    assert gc.get_freeze_count() > len(kept)
    assert not any(one is kept for one in gc.get_objects())


def test_a_young_cycle_is_freed_at_the_next_look() -> None:
    gone = weakref.ref(Node())
    Collecting(0.0).look(10.0)
    assert gone() is None


def test_a_cycle_that_was_set_aside_is_freed_when_all_is_looked_at() -> None:
    collecting, node = Collecting(0.0), Node()
    gone = weakref.ref(node)
    collecting.look(10.0)
    del node
    collecting.look(20.0)
    assert gone() is not None
    collecting.look(SELDOM_SECONDS)
    assert gone() is None


def test_where_there_are_no_cycles_what_is_new_is_mostly_set_aside_unseen(looks: list[int]) -> None:
    collecting = Collecting(-SOON_SECONDS)
    for _ in range(3 * ONE_OF):
        collecting.look(0.0)
    assert looks == [YOUNG] * 3
    node = Node()
    collecting.look(1.0)
    assert not any(one is node for one in gc.get_objects()), "it was not set aside"


def test_where_a_cycle_was_found_each_look_at_what_is_new_is_made_for_a_while(looks: list[int]) -> None:
    collecting = Collecting(-SOON_SECONDS)
    Node()
    collecting.look(0.0)
    for number in range(ONE_OF):
        collecting.look(FOUND_SECONDS - 1.0 - number)
    assert looks == [YOUNG] * (1 + ONE_OF)
    del looks[:]
    for _ in range(ONE_OF):
        collecting.look(FOUND_SECONDS)
    assert looks == [YOUNG]


def test_looking_at_all_takes_a_small_share_of_the_time(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    collecting = Collecting(0.0)
    taking(10.0, monkeypatch)
    collecting.look(SELDOM_SECONDS)
    collecting.look(SELDOM_SECONDS + 9.0 / SHARE_OF_TIME)
    assert looks == [ALL, YOUNG]
    collecting.look(SELDOM_SECONDS + 10.0 / SHARE_OF_TIME)
    assert looks == [ALL, YOUNG, ALL]


def test_all_is_looked_at_soon_where_there_is_clearly_more(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [GROWN_BLOCKS]
    monkeypatch.setattr("sys.getallocatedblocks", lambda: blocks[-1])
    collecting = Collecting(-SOON_SECONDS)
    Node()  # so that each look is made
    collecting.look(0.0)
    blocks.append(round(2.25 * GROWN_BLOCKS))
    collecting.look(SOON_SECONDS)
    assert looks == [YOUNG, YOUNG]
    del looks[1:]
    blocks.append(round(2.26 * GROWN_BLOCKS))
    collecting.look(SOON_SECONDS)
    collecting.look(SOON_SECONDS + 1.0)
    assert looks == [YOUNG, ALL, YOUNG]
    blocks.append(10 * GROWN_BLOCKS)
    collecting.look(2 * SOON_SECONDS - 1.0)
    assert looks == [YOUNG, ALL, YOUNG, YOUNG]
    collecting.look(2 * SOON_SECONDS)
    assert looks == [YOUNG, ALL, YOUNG, YOUNG, ALL]


def test_all_is_as_it_was_when_the_controller_ends() -> None:
    usual = gc.get_threshold()

    async def controlled() -> tuple[int, int, int]:
        with rare_collection():
            await asyncio.sleep(0)
            return gc.get_threshold()

    assert asyncio.run(controlled()) == THRESHOLDS
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
