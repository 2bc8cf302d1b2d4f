"""Trails: how a criterion's value, and the evidence of its test, came to be what they are.

A controller keeps tens of thousands of them, so they are packed: a point takes 16 bytes, 32 if there is a test, where
objects took 120. Each takes its room when it begins, so that a controller does not grow while its runs are young.
"""

import math
from array import array
from collections.abc import Iterable, Iterator
from operator import sub
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from stages.lean import dataclass

MOST_POINTS = 31  # and one more: enough for a picture, and no more than Python's small blocks of 512 bytes hold
NEARLY = 0.9  # looks are not spaced to the millisecond
Pair = tuple[float | None, float | None]
_ROOM = array("d", [math.nan]) * (2 * (MOST_POINTS + 1))


@dataclass(frozen=True, slots=True)
class Point:
    """One look: its time and value, and the logarithms of the evidence against and for the release."""

    at: float
    value: float | None
    log_evidence: float | None = None
    log_excluded: float | None = None


class Trail:
    """Points, oldest first: every look while there are few, then evenly thinned. Is never changed."""

    __slots__ = ("_count", "_plain", "_tests")

    def __init__(self, points: Iterable[Point] = ()) -> None:
        points = tuple(points)
        self._count = len(points)
        self._plain = _filled((point.at, point.value) for point in points)
        self._tests = _filled((point.log_evidence, point.log_excluded) for point in points)

    def with_look(self, point: Point) -> "Trail":
        """The newest point is replaced while it stands closer to the one before than those are apart."""
        if self._count > MOST_POINTS:
            return Trail(tuple(self)[::2]).with_look(point)
        times = self._plain[: 2 * self._count : 2]
        apart_seconds = min(map(sub, times[1:-1], times), default=0.0)
        is_replaced = self._count > 1 and times[-1] - times[-2] < NEARLY * apart_seconds
        return self._followed(self._count - is_replaced, point)

    def _followed(self, kept: int, point: Point) -> "Trail":
        found = Trail()
        found._count = kept + 1
        found._plain = _put(self._plain, kept, (point.at, point.value))
        found._tests = _put(self._tests, kept, (point.log_evidence, point.log_excluded))
        return found

    def __iter__(self) -> Iterator[Point]:
        for number in range(self._count):
            place = slice(2 * number, 2 * number + 2)
            at, value = self._plain[place]
            yield Point(at, _unpacked(value), *map(_unpacked, self._tests[place]))

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trail) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Trail({list(self)})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A checkpoint has it as its points."""
        points = handler.generate_schema(tuple[Point, ...])
        as_points = core_schema.plain_serializer_function_ser_schema(tuple, return_schema=points)
        return core_schema.no_info_after_validator_function(cls, points, serialization=as_points)


def _filled(pairs: Iterable[Pair]) -> "array[float]":
    """Nothing where all are None, else as long as it will ever be: where tens of thousands grow side by side, memory
    that one has outgrown fits no other."""
    packed = array("d", [_packed(one) for pair in pairs for one in pair])
    if all(map(math.isnan, packed)):
        return array("d")
    packed.extend(_ROOM[len(packed) :])
    return packed


def _put(packed: "array[float]", number: int, pair: Pair) -> "array[float]":
    if not packed and pair == (None, None):
        return packed
    found = packed[:] or _ROOM[:]
    found[2 * number : 2 * number + 2] = array("d", map(_packed, pair))
    return found


def _packed(value: float | None) -> float:
    return math.nan if value is None else value


def _unpacked(value: float) -> float | None:
    return None if math.isnan(value) else value
