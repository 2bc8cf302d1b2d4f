"""What a client meets: a server of flags whose behaviour tests choose, and a network in between that may fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from flags.client import Timing
from flags.feed import Feed, FeedVersion, newest
from flags.model import FlagDocument, Version
from tests.support.process import wait_until

QUICK = Timing(
    connect_seconds=2.0,
    answer_seconds=2.0,
    silent_seconds=1.0,
    retry_seconds=0.02,
    longest_retry_seconds=0.1,
    close_seconds=5.0,
)
"""Of a client whose server is near: so that failures are noticed before a test gets long."""

USER = {"targetingKey": "user-1"}


def feed_of(number: int, *documents: FlagDocument, generation: int = 1, revision: int = 0, **more: Any) -> Feed:
    """Version GENERATION.NUMBER.REVISION. Without documents: `new-api` at *number* per cent, 100 at most."""
    version = Version(generation, number)
    flags = documents or (FlagDocument("new-api", percentage=min(number, 100), version=version),)
    return Feed("production", FeedVersion(version if not documents else newest(flags), revision), flags, **more)


def until(condition: Callable[[], object], what: str = "it") -> None:
    wait_until(condition, what=what, every_seconds=0.005)


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    headers: dict[str, str]


Behaviour = Callable[["Handler"], None]


class FeedServer:
    """Serves `feed` as the real one does, until `behave` says otherwise. It can be killed and started again on its
    port; connections end with it."""

    def __init__(self) -> None:
        self.feed = feed_of(0)
        self.heartbeat_seconds = 0.1
        self.asked: list[Asked] = []
        self.moved = threading.Condition()
        self._behaviour: Behaviour | None = None
        self._server: _Listening | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> list[Asked]:
        return [one for one in self.asked if one.path.startswith("/flags/v1/stream")]

    def show(self, feed: Feed) -> None:
        with self.moved:
            self.feed = feed
            self.moved.notify_all()

    def behave(self, behaviour: Behaviour | None) -> None:
        self._behaviour = behaviour

    def answer(self, handler: Handler) -> None:
        self.asked.append(Asked(handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        if self._behaviour is not None:
            self._behaviour(handler)
        elif handler.path.startswith("/flags/v1/stream"):
            self._stream(handler)
        else:
            self._answer_whole(handler)

    def _answer_whole(self, handler: Handler) -> None:
        tag = f'"{self.feed.version}"'
        if handler.headers.get("If-None-Match") == tag:
            handler.send_response(304)
            handler.end_headers()
            return
        text = self.feed.encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.send_header("ETag", tag)
        handler.end_headers()
        handler.wfile.write(text)

    def _stream(self, handler: Handler) -> None:
        handler.begin_stream()
        sent = handler.headers.get("Last-Event-ID")
        while self._server is handler.server:
            with self.moved:
                feed = self.feed
                if str(feed.version) == sent and not self.moved.wait(self.heartbeat_seconds):
                    handler.chunk(b": heartbeat\n\n")
                    continue
            if str(feed.version) != sent:
                sent = str(feed.version)
                handler.event(sent, feed.encode())

    def start(self) -> Self:
        self._server = _Listening(self, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def kill(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut_all()
        with self.moved:
            self.moved.notify_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: FeedServer, port: int) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what tests do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listening

    def do_GET(self) -> None:
        self.server.owner.answer(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Not into the output of tests."""

    def begin_stream(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, version: str, text: bytes, name: str = "feed") -> None:
        self.chunk(f"id: {version}\nevent: {name}\ndata: ".encode() + text + b"\n\n")

    def whole(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@dataclass
class Network:
    """Carries bytes between clients and a port, until it is parted: then what either side sends is lost, new
    connections lead nowhere, and nobody is told. What was open then stays dead for good, as when a router forgot it.
    """

    target: int
    port: int = 0
    _parted: threading.Event = field(default_factory=threading.Event)
    _partings: int = 0
    _sockets: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets.copy()):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def part(self) -> None:
        self._parted.set()
        self._partings += 1

    def heal(self) -> None:
        self._parted.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.add(near)
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        age = self._partings
        far = None
        if not self._parted.is_set():
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except ConnectionRefusedError:
                near.shutdown(socket.SHUT_RDWR)
            else:
                self._sockets.add(far)
                threading.Thread(target=self._carry, args=(far, near, age), daemon=True).start()
        threading.Thread(target=self._carry, args=(near, far, age), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket | None, age: int) -> None:
        """Until *one* ends; that too is told to *other* only as long as the two are connected."""
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if other is not None and age == self._partings:
                    other.sendall(data)
        with contextlib.suppress(OSError):
            if other is not None and age == self._partings:
                other.shutdown(socket.SHUT_RDWR)
        self._sockets.discard(one)
        one.close()


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
