"""What many want as of the same second, made once and kept for as long as the last of them may come later."""

import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KEPT_SECONDS = 3.0
T = TypeVar("T")


class OncePerSecond(Generic[T]):
    """*is_done* tells what may be forgotten from what somebody still waits for."""

    def __init__(self, is_done: Callable[[T], bool]) -> None:
        self._is_done = is_done
        self._kept: dict[tuple[float, Hashable], T] = {}
        self._newest = -math.inf

    def get(self, key: Hashable, second: float, make: Callable[[], T]) -> T:
        """What is kept under *key* as of that *second*; another second is another question."""
        if second > self._newest:
            self._newest = second
            self._forget_before(second - KEPT_SECONDS)
        found = self._kept.get((second, key))
        if found is None:
            found = self._kept[(second, key)] = make()
        return found

    def _forget_before(self, oldest: float) -> None:
        self._kept = {place: one for place, one in self._kept.items() if place[0] > oldest or not self._is_done(one)}

    def take_all(self) -> list[T]:
        """What is kept, which is forgotten then."""
        kept, self._kept = list(self._kept.values()), {}
        return kept
