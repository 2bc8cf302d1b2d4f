"""The collector of cycles in a controller: it never walks over what has lived long, and loses nothing for good."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from orchestrator.cli.collecting import SELDOM_SECONDS, SHARE_OF_TIME, THRESHOLDS, Collecting, rare_collection


class Node:
    """Part of a cycle: it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


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


def test_looking_at_all_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting, looked = Collecting(0.0), iter((100.0, 110.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(looked))
    collecting.look(SELDOM_SECONDS)
    monkeypatch.undo()
    node = Node()
    gone = weakref.ref(node)
    collecting.look(SELDOM_SECONDS + 10.0)
    del node
    collecting.look(SELDOM_SECONDS + 9.0 / SHARE_OF_TIME)
    assert gone() is not None
    collecting.look(SELDOM_SECONDS + 10.0 / SHARE_OF_TIME)
    assert gone() is None


def test_all_is_as_it_was_when_the_controller_ends() -> None:
    usual = gc.get_threshold()

    async def controlled() -> tuple[int, int, int]:
        with rare_collection():
            await asyncio.sleep(0)
            return gc.get_threshold()

    assert asyncio.run(controlled()) == THRESHOLDS
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
