"""Server-sent events, from a server that may send anything."""

from __future__ import annotations

from dataclasses import dataclass

from flags._cache import MOST_BYTES
from flags.errors import FlagError


class Unusable(FlagError):
    """What came from a source can't be used."""

    def __init__(self, sentence: str, retry_after_seconds: float = 0.0) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Event:
    name: bytes
    id: bytes
    data: bytes


class EventReader:
    """Server-sent events from bytes as they arrive, lines ended by LF or CRLF. Unusable beyond `most_bytes`."""

    __slots__ = ("_data", "_id", "_most_bytes", "_name", "_parts", "_size")

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []  # of a line that has not ended yet
        self._size = 0  # of what is kept: that line, and the data of an event that has not ended yet
        self._name = self._id = b""
        self._data: list[bytes] = []

    @property
    def is_between_events(self) -> bool:
        return not self._parts and not self._data

    def feed(self, received: bytes) -> list[Event]:
        """The events that these bytes complete."""
        self._size += len(received)
        if self._size > self._most_bytes:
            raise Unusable(f"an event of the stream is larger than {self._most_bytes:,} bytes")
        if b"\n" not in received:
            self._parts.append(received)
            return []
        *lines, rest = b"".join((*self._parts, received)).split(b"\n")
        self._parts = [rest] if rest else []
        events = [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]
        self._size = len(rest) + sum(map(len, self._data))
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._ended()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value
        elif field == b"id":
            self._id = value
        return None

    def _ended(self) -> Event | None:
        event = Event(self._name, self._id, b"\n".join(self._data)) if self._data else None
        self._name, self._data = b"", []
        return event
