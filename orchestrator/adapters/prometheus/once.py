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
        self._kept: dict[Hashable, tuple[float, T]] = {}
        self._newest = -math.inf

    def get(self, key: Hashable, second: float, make: Callable[[], T]) -> T:
        if second > self._newest:
            self._newest = second
            self._forget_before(second - KEPT_SECONDS)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = second, make()
        return found[1]

    def _forget_before(self, oldest: float) -> None:
        self._kept = {
            key: (second, one) for key, (second, one) in self._kept.items() if second > oldest or not self._is_done(one)
        }

    def take_all(self) -> list[T]:
        """What is kept, which is forgotten then."""
        kept, self._kept = [one for _, one in self._kept.values()], {}
        return kept
