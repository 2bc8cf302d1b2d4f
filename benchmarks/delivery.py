"""How long it takes until a change is *evaluated* by 5,000 applications that listen, and what clients that poll cost.

The server is the real `rollout serve`, in a process of its own; one more timer in its event loop notes how late the
loop is, every few milliseconds. A change is a PATCH of a flag, counted from the moment before it is sent: the durable
write is part of it.

The applications are 5,000 connections of one process, on the second of two cores, without the threads of `FlagClient`
but with its code: `EventReader` takes the stream apart, `Feed.decode` and `Feed.snapshot` make flags of the text, and
each client swaps its snapshot, asks the flag, and notes the time when the answer is the new one. Real applications have
a processor each; here 5,000 share one. So the feed is decoded and compiled once for each version (``decode_ms``, and
part of the time of all who come after it) and the snapshot is shared. ``own_decode`` is the same with a decoding by
every client, which measures this machine rather than the server.

Polling: 500 clients ask for the feed every second with the ETag that they have, over connections that stay open; the
cost is the processor time of the server, less what it uses while nobody asks.
"""

import contextlib
import multiprocessing
import selectors
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks._flag_server import (
    DEADLINE_SECONDS,
    FLAG,
    Server,
    lateness_in,
    more_files,
    percentile,
    rest,
    served,
)
from benchmarks._machine import load, machine, stated, versions
from flags._events import EventReader
from flags._sources import EVENT, FEED_PATH, STREAM_PATH
from flags.feed import Feed
from flags.snapshot import Snapshot

LIMITS = {"p99_s": 0.3, "polling_share": 0.25}
SPARE_FILES = 300  # what a process has open besides its clients


def run(quick: bool) -> dict[str, Any]:
    wanted, rounds, pollers, polling_seconds = (500, 3, 100, 3.0) if quick else (5000, 10, 500, 15.0)
    files = more_files(wanted + SPARE_FILES)
    clients = min(wanted, files - SPARE_FILES)
    with tempfile.TemporaryDirectory(prefix="bench-delivery-") as folder, served(Path(folder)) as server:
        server.put(0.0)
        empty_mb = server.rss_mb()
        with _applications(server.port) as applications:
            quiet = server.share_of_a_core(2.0)
            applications.listen(clients)
            shared = [_change(server, applications, number % 2 == 0) for number in range(rounds)]
            rss_mb = server.rss_mb()
            resting = rest(2.0)
            own = [_change(server, applications, number % 2 == 0, own=True) for number in range(3)]
            decode_ms = applications.decode_ms()
            applications.hang_up()
            polling = _polling(server, applications, pollers, polling_seconds)
        server.stop()
        lateness = server.lateness()
    return {
        "clients": clients,
        "wanted_clients": wanted,
        "files": files,
        "rounds": rounds,
        **_percentiles(shared),
        "own_decode": _percentiles(own),
        "decode_ms": decode_ms,
        "rss_mb": rss_mb,
        "rss_without_clients_mb": empty_mb,
        "lateness_ms": {
            "resting": lateness_in(lateness, [resting]),
            "changing": lateness_in(lateness, [(one.began, one.ended) for one in shared]),
        },
        "polling": {"clients": pollers, "quiet_share": quiet, **polling, "share": polling["busy_share"] - quiet},
        "machine": machine(),
        "load": load()[0],
        "versions": versions("uvicorn", "httptools"),
    }


def table(result: dict[str, Any]) -> str:
    polling, own = result["polling"], result["own_decode"]
    lines = [
        f"Delivery: seconds until {result['clients']:,} clients evaluate a change ({result['rounds']} changes)",
        stated(result),
        "",
        f"{'':<44}{'p50':>9}{'p99':>9}{'last':>9}{'wanted':>14}",
        _row("one decoding for each version", result, f"p99 <= {LIMITS['p99_s']}"),
        _row("every client decodes, on one core", own, ""),
        "",
        f"{'lateness of the event loop, ms':<44}{'p50':>9}{'p99':>9}{'most':>9}",
    ]
    for name, found in result["lateness_ms"].items():
        lines.append(f"{name:<44}{found['p50']:>9.1f}{found['p99']:>9.1f}{found['most']:>9.1f}")
    lines += [
        "",
        f"p99 of the changes, least, median and most: {', '.join(f'{one:.3f}' for one in result['p99_of_rounds_s'])} s",
        f"processor time of the server for one change: {result['server_seconds']:.3f} s",
        f"decoding and compiling one feed: {result['decode_ms']:.2f} ms",
        f"memory of the server: {result['rss_mb']:.0f} MB ({result['rss_without_clients_mb']:.0f} MB without clients)",
        f"{polling['clients']} clients polling every second: {polling['share']:.3f} of a core",
        f"  wanted: <= {LIMITS['polling_share']}; {polling['answers_per_second']:.0f} answers/s",
        f"  not modified: {polling['not_modified']:.0%}",
    ]
    if result["clients"] < result["wanted_clients"]:
        lines.append(
            f"NOT {result['wanted_clients']:,} clients: a process may have only {result['files']:,} files open here"
        )
    return "\n".join(lines)


def _row(name: str, found: dict[str, Any], wanted: str) -> str:
    return f"{name:<44}{found['p50_s']:>9.3f}{found['p99_s']:>9.3f}{found['last_s']:>9.3f}{wanted:>14}"


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Seconds until each client had evaluated it, when (monotonic) it began and was everywhere, and the processor time
    of the server."""

    began: float
    ended: float
    seconds: Sequence[float]
    server_seconds: float


def _change(server: "Server", applications: "_Applications", on: bool, own: bool = False) -> Change:
    applications.expect(on, own)
    began, used = time.monotonic(), server.cpu_seconds()
    server.put(100.0 if on else 0.0)
    moments = applications.evaluated()
    rest(0.3)
    return Change(began, max(moments), [moment - began for moment in moments], server.cpu_seconds() - used)


def _percentiles(changes: Sequence[Change]) -> dict[str, Any]:
    """Over all clients and changes; `p99_of_rounds_s` (least, median, most) shows how much these differ."""
    seconds = sorted(second for change in changes for second in change.seconds)
    by_round = [round(percentile(sorted(change.seconds), 0.99), 4) for change in changes]
    return {
        "p50_s": round(percentile(seconds, 0.5), 4),
        "p99_s": round(percentile(seconds, 0.99), 4),
        "last_s": round(seconds[-1], 4),
        "server_seconds": round(statistics.mean(change.server_seconds for change in changes), 3),
        "p99_of_rounds_s": [min(by_round), statistics.median(by_round), max(by_round)],
    }


def _polling(server: "Server", applications: "_Applications", clients: int, seconds: float) -> dict[str, Any]:
    applications.poll(clients, seconds + 2.0)
    rest(1.0)
    busy = server.share_of_a_core(seconds)
    answers, not_modified = applications.polled()
    return {
        "busy_share": busy,
        "answers_per_second": answers / (seconds + 2.0),
        "not_modified": not_modified / max(answers, 1),
    }


# --- the applications, seen from here ---------------------------------------------------------------------------------


class _Applications:
    """Speaks to the process that they are in: one order, one answer."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def _ask(self, *order: Any) -> Any:
        self._pipe.send(order)
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(DEADLINE_SECONDS):
            raise RuntimeError(f"the clients did not get through within {DEADLINE_SECONDS:.0f} s")
        return self._pipe.recv()

    def listen(self, clients: int) -> None:
        self._ask("listen", clients)

    def expect(self, on: bool, own: bool) -> None:
        self._ask("expect", on, own)

    def evaluated(self) -> list[float]:
        moments: list[float] = self._ask("evaluated")
        return moments

    def decode_ms(self) -> float:
        return float(self._ask("decode_ms"))

    def hang_up(self) -> None:
        self._ask("hang_up")

    def poll(self, clients: int, seconds: float) -> None:
        self._pipe.send(("poll", clients, seconds))

    def polled(self) -> tuple[int, int]:
        answers, not_modified = self._answer()
        return answers, not_modified


@contextlib.contextmanager
def _applications(port: int) -> Iterator[_Applications]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, port), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _Applications(ours)
    finally:
        ours.close()
        process.join(5)
        process.kill()


# --- the applications themselves --------------------------------------------------------------------------------------


def _work(pipe: Connection, port: int) -> None:
    group = _Group(port)
    orders: dict[str, Callable[..., Any]] = {
        name: getattr(group, name) for name in ("listen", "expect", "evaluated", "decode_ms", "hang_up", "poll")
    }
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            while not pipe.poll():
                group.turn(0.02)
            name, *arguments = pipe.recv()
            pipe.send(orders[name](*arguments))


@dataclass(eq=False)
class _Listener:
    """One client: a connection, what has come of an event, and the flags it answers from."""

    socket: socket.socket
    reader: EventReader = field(default_factory=EventReader)
    left: bytes = b""  # of the head, or of a chunk
    is_begun: bool = False
    snapshot: Snapshot = field(default_factory=Snapshot)


class _Group:
    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._listeners: list[_Listener] = []
        self._expected = False
        self._own = False
        self._moments: dict[_Listener, float] = {}
        self._text, self._shared = b"", Snapshot()
        self._decodings_ms: list[float] = []

    def listen(self, clients: int) -> int:
        head = f"GET {STREAM_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()
        self._expected = False
        for _ in range(clients):
            connected = socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE_SECONDS)
            connected.sendall(head)
            connected.setblocking(False)
            listener = _Listener(connected)
            self._listeners.append(listener)
            self._selector.register(connected, selectors.EVENT_READ, listener)
            self.turn(0)
        self._until(lambda: len(self._moments) == clients)
        return clients

    def expect(self, on: bool, own: bool) -> None:
        self._expected, self._own = on, own
        self._moments.clear()

    def evaluated(self) -> list[float]:
        self._until(lambda: len(self._moments) == len(self._listeners))
        return list(self._moments.values())

    def decode_ms(self) -> float:
        return round(statistics.median(self._decodings_ms), 3)

    def hang_up(self) -> None:
        for listener in self._listeners:
            self._selector.unregister(listener.socket)
            listener.socket.close()
        self._listeners.clear()

    def turn(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            self._read(key.data)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {len(self._moments)} of {len(self._listeners)} clients have heard of it")
            self.turn(0.05)

    def _read(self, listener: _Listener) -> None:
        received = listener.socket.recv(65536)
        if not received:
            raise RuntimeError("the server ended a stream")
        for event in listener.reader.feed(_body(listener, received)):
            if event.name == EVENT:
                listener.snapshot = self._decoded(event.data)
                flag = listener.snapshot.get(FLAG)
                if flag is not None and flag.is_on({"targetingKey": "user-1"}) is self._expected:
                    self._moments.setdefault(listener, time.monotonic())

    def _decoded(self, text: bytes) -> Snapshot:
        if self._own:
            return Feed.decode(text).snapshot()
        if text != self._text:
            began = time.perf_counter()
            self._text, self._shared = text, Feed.decode(text).snapshot()
            self._decodings_ms.append((time.perf_counter() - began) * 1000)
        return self._shared

    def poll(self, clients: int, seconds: float) -> tuple[int, int]:
        """How many answers came within so many seconds, and how many of them were 304."""
        pollers = [_Poller(self._port) for _ in range(clients)]
        selector = selectors.DefaultSelector()
        for poller in pollers:
            selector.register(poller.socket, selectors.EVENT_READ, poller)
        began = time.monotonic()
        asked = 0
        while (now := time.monotonic()) < began + seconds:
            while asked < (now - began) * clients:  # each once a second, one after the other
                pollers[asked % clients].ask()
                asked += 1
            for key, _ in selector.select(0.5 / clients):
                key.data.read()
        for poller in pollers:
            poller.socket.close()
        return sum(one.answers for one in pollers), sum(one.not_modified for one in pollers)


def _body(listener: _Listener, received: bytes) -> bytes:
    """What came of the answer's body, out of its chunks."""
    left = listener.left + received
    if not listener.is_begun:
        head, found, left = left.partition(b"\r\n\r\n")
        if not found:
            listener.left = head
            return b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a stream was refused: {head[:100]!r}")
        listener.is_begun = True
    parts: list[bytes] = []
    while True:
        size, found, rest = left.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if not found or len(rest) < length + 2:
            listener.left = left
            return b"".join(parts)
        parts.append(rest[:length])
        left = rest[length + 2 :]


class _Poller:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)
        self.answers = 0
        self.not_modified = 0
        self._tag = ""
        self._received = b""
        self._is_waiting = False

    def ask(self) -> None:
        if self._is_waiting:  # the server is behind: one question at a time
            return
        known = f"If-None-Match: {self._tag}\r\n" if self._tag else ""
        self.socket.sendall(f"GET {FEED_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{known}\r\n".encode())
        self._is_waiting = True

    def read(self) -> None:
        self._received += self.socket.recv(65536)
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().lower().split("\r\n")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        is_known = lines[0].startswith("http/1.1 304")
        if not is_known and len(body) < int(headers["content-length"]):
            return
        self._received, self._is_waiting, self._tag = b"", False, headers["etag"]
        self.answers += 1
        self.not_modified += is_known
