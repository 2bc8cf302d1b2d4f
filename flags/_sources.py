"""Where a client's flags come from: a file that is watched, or a server that is listened to or asked again and again.

Theory of operation. A source runs in a thread of its client and hands what it reads to a `Sink`, which judges it. It
never gives up: whatever goes wrong is told to the sink in one sentence, and tried again after a pause that doubles and
is jittered, so that thousands of clients don't come back to a restarted server at once.

A server may be slow, broken or hostile. Every read has a limit in seconds and every text one in bytes; redirects are
not followed; a stream without a heartbeat counts as dead. `stop` may be called from any thread at any time: it shuts
the socket, which ends a read that would block.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from flags._cache import MOST_BYTES, Origin, log, read_bounded, reason_of
from flags._events import EventReader, Unusable
from flags.errors import FlagError
from flags.feed import FeedVersion

FEED_PATH: Final = "/flags/v1/feed"
STREAM_PATH: Final = "/flags/v1/stream"
EVENT: Final = b"feed"
"""The name of the event whose data is a whole feed."""

codecs.lookup("idna")
"""What every look-up of a server's name imports. Were it left to the thread, a child that is forked in the midst of the
import could look up no name for the rest of its life."""

_READ_BYTES: Final = 65536
_LONGEST_RETRY_AFTER_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a client waits for what.

    `connect_seconds`: until a connection stands, and then until an answer begins; `answer_seconds`: until a whole feed
    is read; `silent_seconds`: a stream without a byte is given up (the server's heartbeat is every 15 s);
    `retry_seconds`: about the first pause after a failure, doubled each time up to `longest_retry_seconds`;
    `close_seconds`: what `close` waits for the thread at most.
    """

    connect_seconds: float = 5.0
    answer_seconds: float = 30.0
    silent_seconds: float = 45.0
    retry_seconds: float = 1.0
    longest_retry_seconds: float = 30.0
    close_seconds: float = 2.0

    def pause_seconds(self, failures: int) -> float:
        longest = min(self.retry_seconds * 2 ** min(failures - 1, 30), self.longest_retry_seconds)
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads clients, hides nothing


class Sink(Protocol):
    """See `Holder`."""

    @property
    def version(self) -> FeedVersion | None: ...
    def opened(self) -> None: ...
    def confirm(self, origin: Origin) -> None: ...
    def take(self, text: bytes, origin: Origin, *, edited: bool = False) -> None: ...
    def failed(self, sentence: str) -> None: ...


class Source(Protocol):
    """`run` returns after `stop`, and raises nothing that the world outside could cause."""

    def run(self, sink: Sink) -> None: ...
    def stop(self) -> None: ...
    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a word to the other side."""


# --- a file -----------------------------------------------------------------------------------------------------------


class FileSource:
    """Looks every so often whether the file is another one, or was written."""

    def __init__(self, path: Path, every_seconds: float) -> None:
        self._path = path
        self._every_seconds = every_seconds
        self._closing = threading.Event()
        self._seen: tuple[int, ...] | None = None  # None also after a failure: it may have been half written

    def run(self, sink: Sink) -> None:
        while not self._closing.wait(self._every_seconds):
            self.look(sink)

    def look(self, sink: Sink) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
            if seen == self._seen:
                sink.confirm(Origin.FILE)
                return
            self._seen = None
            sink.take(read_bounded(self._path), Origin.FILE, edited=True)
            self._seen = seen
        except (OSError, FlagError) as problem:
            sink.failed(f"{self._path}: {reason_of(problem)}")

    def stop(self) -> None:
        self._closing.set()

    def abandon(self) -> None:
        pass


# --- a server ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """Who is asked, for which environment, and how it is told who asks."""

    url: str
    environment: str
    token: str | None = None
    tls: ssl.SSLContext | None = None
    """For https: whom to trust. None: the system's authorities."""

    def connection(self, timeout_seconds: float) -> HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if parts.scheme == "https":
            context = self.tls or ssl.create_default_context()
            return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_seconds, context=context)
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)

    def target(self, path: str) -> str:
        return f"{urlsplit(self.url).path.rstrip('/')}{path}?environment={quote(self.environment, safe='')}"

    def headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "staged-rollout-flags", "Cache-Control": "no-cache"}
        return headers if self.token is None else {**headers, "Authorization": f"Bearer {self.token}"}


class _Patience:
    """How long a read may take: `each_seconds`, and no longer than `until` (monotonic) in all."""

    def __init__(self) -> None:
        self.each_seconds = 0.0
        self.until = 0.0

    def left_seconds(self) -> float:
        left = min(self.each_seconds, self.until - time.monotonic())
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        return left


class _PatientReads(io.RawIOBase):
    """A socket's bytes. A time-out of the socket alone would begin anew with every byte that drips in."""

    def __init__(self, connected: socket, patience: _Patience) -> None:
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)  # keeps the descriptor as long as it is read from
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._patience.left_seconds())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class Link:
    """One connection to a server at a time, kept for the next question where the server allows that."""

    def __init__(self, server: Server, timing: Timing) -> None:
        self.server = server
        self.closing = threading.Event()
        self.patience = _Patience()
        self._timing = timing
        self._connection: HTTPConnection | None = None
        self._socket: socket | None = None
        self._is_kept = False  # the last answer was read to its end, and the server lets the connection stand

    @contextlib.contextmanager
    def asked(self, path: str, accept: str, headers: dict[str, str]) -> Iterator[HTTPResponse]:
        """The answer's head is there, its body is not. The connection is closed if anything goes wrong."""
        headers = self.server.headers(accept) | headers
        try:
            try:
                response = self._ask(path, headers)
            except (ConnectionError, HTTPException):
                if self._connection is None or not self._is_kept:
                    raise
                self.close()  # the server had closed what was kept
                response = self._ask(path, headers)
            yield response
            self._is_kept = response.isclosed() and not response.will_close
            if not self._is_kept:
                self.close()
        except BaseException:
            self.close()
            raise

    def _ask(self, path: str, headers: dict[str, str]) -> HTTPResponse:
        connection = self._connection
        if connection is None or connection.sock is None:
            self._is_kept = False
            connection = self._connection = self.server.connection(self._timing.connect_seconds)
            connection.response_class = self._response  # type: ignore[assignment]
            connection.connect()
        self._socket = connection.sock
        if self.closing.is_set():
            raise ConnectionAbortedError("the client is closed")
        self.patience.each_seconds = self._timing.connect_seconds
        self.patience.until = time.monotonic() + self._timing.connect_seconds
        connection.sock.settimeout(self._timing.connect_seconds)
        connection.request("GET", self.server.target(path), headers=headers)
        return connection.getresponse()

    def _response(self, connected: socket, *arguments: Any, **more: Any) -> HTTPResponse:
        response = HTTPResponse(connected, *arguments, **more)
        response.fp.close()
        response.fp = io.BufferedReader(_PatientReads(connected, self.patience), _READ_BYTES)
        return response

    def close(self) -> None:
        """By the thread that asks."""
        connection, self._connection, self._socket, self._is_kept = self._connection, None, None, False
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):
                connection.close()

    def stop(self) -> None:
        self.closing.set()
        connected = self._socket
        if connected is not None:
            with contextlib.suppress(OSError, ValueError):
                socket.shutdown(connected, SHUT_RDWR)  # not TLS's own, which takes its state away from the reader

    def abandon(self) -> None:
        connected, self._connection, self._socket = self._socket, None, None
        if connected is not None:
            with contextlib.suppress(OSError, ValueError):
                os.close(connected.detach())


class ServerSource:
    """What polling and listening have in common: going on after failures."""

    def __init__(self, server: Server, timing: Timing) -> None:
        self.timing = timing
        self.link = Link(server, timing)
        self._was_answered = False

    def stop(self) -> None:
        self.link.stop()

    def abandon(self) -> None:
        self.link.abandon()

    def run(self, sink: Sink) -> None:
        failures = 0
        while not self.link.closing.is_set():
            self._was_answered = False
            try:
                pause_seconds, failures = self.converse(sink), 0
            except (OSError, HTTPException, FlagError, ValueError) as problem:
                if self.link.closing.is_set():
                    break
                failures = 1 if self._was_answered else failures + 1
                sink.failed(f"{self.link.server.url}: {_sentence(problem)}")
                pause_seconds = max(self.timing.pause_seconds(failures), getattr(problem, "retry_after_seconds", 0.0))
            self.link.closing.wait(pause_seconds)
        self.link.close()

    def converse(self, sink: Sink) -> float:
        """In how many seconds to come again."""
        raise NotImplementedError

    def ask_once(self, sink: Sink) -> None:
        """The whole feed, unless it is the one that is held."""
        known = {"If-None-Match": f'"{sink.version}"'} if sink.version is not None else {}
        with self.link.asked(FEED_PATH, "application/json", known) as response:
            if response.status == 304:
                response.read()
                sink.opened()
                sink.confirm(Origin.SERVER)
                return
            _check(response, "application/json")
            sink.opened()
            sink.take(self._whole(response), Origin.SERVER)

    def _whole(self, response: HTTPResponse) -> bytes:
        self.link.patience.until = time.monotonic() + self.timing.answer_seconds
        if (response.length or 0) > MOST_BYTES:
            raise Unusable(f"the answer is larger than {MOST_BYTES:,} bytes")
        parts, size = [], 0
        while part := response.read(_READ_BYTES):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise Unusable(f"the answer is larger than {MOST_BYTES:,} bytes")
        if response.length:
            raise Unusable("the answer ended before it was whole")
        return b"".join(parts)


class PollSource(ServerSource):
    def __init__(self, server: Server, timing: Timing, every_seconds: float) -> None:
        super().__init__(server, timing)
        self._every_seconds = every_seconds

    def converse(self, sink: Sink) -> float:
        self.ask_once(sink)
        return self._every_seconds * random.uniform(0.9, 1.1)  # noqa: S311 - spreads clients, hides nothing


class StreamSource(ServerSource):
    """Listens. Where a stream can't be had (no place is left, a proxy keeps it back) it asks for the feed instead, once
    before each new attempt."""

    def __init__(self, server: Server, timing: Timing) -> None:
        super().__init__(server, timing)
        self._refusals = 0

    def converse(self, sink: Sink) -> float:
        try:
            self._listen(sink)
        except Unusable as refused:
            if self._was_answered or self.link.closing.is_set():
                raise
            self.ask_once(sink)
            self._refusals += 1
            if self._refusals == 1:
                log.warning("no stream from %s (%s): the feed is asked for instead", self.link.server.url, refused)
            return max(self.timing.pause_seconds(self._refusals), refused.retry_after_seconds)
        return 0.0

    def _listen(self, sink: Sink) -> None:
        resume = {"Last-Event-ID": str(sink.version)} if sink.version is not None else {}
        with self.link.asked(STREAM_PATH, "text/event-stream", resume) as response:
            _check(response, "text/event-stream")
            sink.opened()
            self._read_events(response.read1, sink)

    def _read_events(self, read: Callable[[int], bytes], sink: Sink) -> None:
        reader = EventReader()
        patience = self.link.patience
        patience.each_seconds, patience.until = self.timing.silent_seconds, float("inf")
        while not self.link.closing.is_set():
            try:
                received = read(_READ_BYTES)
            except TimeoutError:
                raise Unusable(f"the stream was silent for {self.timing.silent_seconds:g} s") from None
            if not received:
                raise ConnectionResetError("the server ended the stream")
            for event in reader.feed(received):
                if event.name == EVENT:
                    sink.take(event.data, Origin.SERVER)
            if reader.is_between_events:
                sink.confirm(Origin.SERVER)
                self._was_answered = True
                self._refusals = 0


def _sentence(problem: Exception) -> str:
    if isinstance(problem, IncompleteRead | RemoteDisconnected):
        return "the connection ended before the answer did"
    if isinstance(problem, HTTPException):
        return f"what it answers is not HTTP ({type(problem).__name__})"
    return reason_of(problem)


def _check(response: HTTPResponse, content_type: str) -> None:
    status = response.status
    if 300 <= status < 400:
        raise Unusable(f"it answered {status}, and redirects are not followed: give the address that it redirects to")
    if status in (401, 403):
        raise Unusable(f"it answered {status}: give a token= that this server knows")
    if status != 200:
        raise Unusable(f"it answered {status}", _retry_after_seconds(response))
    found = response.headers.get_content_type()
    if found != content_type:
        raise Unusable(f"it answered with {found[:100]!r} instead of {content_type}: is this the server of the flags?")


def _retry_after_seconds(response: HTTPResponse) -> float:
    text = response.headers.get("Retry-After", "").strip()
    return min(float(text), _LONGEST_RETRY_AFTER_SECONDS) if text.isdecimal() and len(text) < 9 else 0.0
