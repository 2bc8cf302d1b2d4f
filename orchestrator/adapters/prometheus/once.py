"""What many want as of the same second, made once and kept for that second."""

import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class OncePerSecond(Generic[T]):
    """*is_done* tells what may be forgotten from what somebody still waits for."""

    def __init__(self, is_done: Callable[[T], bool]) -> None:
        self._is_done = is_done
        self._kept: dict[Hashable, T] = {}
        self._newest = -math.inf

    def get(self, key: Hashable, second: float, make: Callable[[], T]) -> T:
        if second > self._newest:
            self._newest = second
            self._kept = {key: one for key, one in self._kept.items() if not self._is_done(one)}
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = make()
        return found

    def take_all(self) -> list[T]:
        """What is kept, which is forgotten then."""
        kept, self._kept = list(self._kept.values()), {}
        return kept
