"""How a client is fed by a server that listens, restarts, hangs, lies, or is somebody else."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from flags._cache import Holder
from flags._events import EventReader, Unusable
from flags.client import FlagClient, Origin
from flags.errors import FlagError
from flags.model import FlagDocument, Version
from tests.flags.client_world import QUICK, USER, FeedServer, Handler, Network, deaf, feed_of, until

Mode = Literal["stream", "poll"]
MODES = pytest.mark.parametrize("mode", ("stream", "poll"))


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        made.show(feed_of(100))
        yield made


def fed(server: FeedServer, **settings: Any) -> FlagClient:
    """A client that has heard from its server."""
    client = FlagClient(server.url, **{"timing": QUICK, "poll_seconds": 0.02, **settings})
    assert client.wait_until_ready(20), client.status()
    return client


# --- the ordinary ways ------------------------------------------------------------------------------------------------


@MODES
def test_a_change_arrives(server: FeedServer, mode: Mode) -> None:
    with fed(server, mode=mode) as client:
        assert client.is_on("new-api", USER)
        server.show(feed_of(101, FlagDocument("new-api", version=Version(1, 101))))
        until(lambda: not client.is_on("new-api", USER))
        status = client.status()
        assert (status.source, status.version, status.connected) == ("server", "1.101.0", True)
        assert status.last_error is None


@MODES
def test_the_server_is_told_who_asks_for_what(server: FeedServer, mode: Mode) -> None:
    with fed(server, mode=mode, token="secret"):
        pass
    assert server.asked[0].headers["authorization"] == "Bearer secret"
    assert server.asked[0].path == f"/flags/v1/{'stream' if mode == 'stream' else 'feed'}?environment=production"


def test_an_environment_and_a_path_before_the_routes_are_kept_as_they_are(server: FeedServer) -> None:
    with FlagClient(f"{server.url}/behind/", environment="a b/ü&c", timing=QUICK):
        until(lambda: server.asked)
    assert server.asked[0].path == "/behind/flags/v1/stream?environment=a%20b%2F%C3%BC%26c"


def test_polling_names_the_version_that_it_has_on_one_connection(server: FeedServer) -> None:
    ports: set[int] = set()

    def answer(handler: Handler) -> None:
        ports.add(handler.client_address[1])
        server._answer_whole(handler)

    server.behave(answer)
    with fed(server, mode="poll"):
        until(lambda: len(server.asked) > 5)
    assert "if-none-match" not in server.asked[0].headers
    assert {one.headers.get("if-none-match") for one in server.asked[1:]} == {'"1.100.0"'}
    assert len(ports) == 1


def test_a_connection_that_the_server_closed_between_two_polls_is_no_failure(server: FeedServer) -> None:
    def answer_and_close(handler: Handler) -> None:
        server._answer_whole(handler)
        handler.close_connection = True  # without a word in the head

    server.behave(answer_and_close)
    with fed(server, mode="poll") as client:
        until(lambda: len(server.asked) > 5)
        assert client.status().last_error is None
        assert client.status().connected


def test_a_stream_is_taken_up_where_it_ended(server: FeedServer) -> None:
    with fed(server) as client:
        server.kill()
        until(lambda: not client.status().connected)
        assert client.is_on("new-api", USER)
        with server:
            until(lambda: client.status().connected)
            assert server.streams[-1].headers["last-event-id"] == "1.100.0"
            server.show(feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
            until(lambda: not client.is_on("new-api", USER))


def test_a_client_that_is_up_to_date_is_ready_by_a_heartbeat(server: FeedServer, tmp_path: Any) -> None:
    cache = tmp_path / "flags.json"
    cache.write_bytes(server.feed.encode())
    with FlagClient(server.url, cache=cache, timing=QUICK) as client:
        assert client.is_on("new-api", USER)
        assert client.wait_until_ready(20)
        assert client.status().source == "server"


def test_a_silent_stream_is_given_up_and_another_begun(server: FeedServer) -> None:
    def fall_silent(handler: Handler) -> None:
        handler.begin_stream()
        handler.event(str(server.feed.version), server.feed.encode())
        until(lambda: len(server.streams) > 1)

    server.behave(fall_silent)
    with fed(server, timing=replace(QUICK, silent_seconds=0.2)) as client:
        until(lambda: len(server.streams) > 1)
        server.behave(None)
        until(lambda: client.status().connected)


@pytest.mark.parametrize("status", (404, 406, 500, 501, 503))
def test_where_no_stream_can_be_had_the_feed_is_asked_for(
    server: FeedServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_streams(handler: Handler) -> None:
        if "/stream" in handler.path:
            handler.whole(status, b"no")
        else:
            server._answer_whole(handler)

    server.behave(refuse_streams)
    with fed(server) as client:
        server.show(feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
        until(lambda: not client.is_on("new-api", USER))
        assert client.status().connected
        until(lambda: len(server.streams) > 3)  # it goes on trying
        server.behave(None)
        seen = len(server.asked)
        until(lambda: len(server.asked) > seen)
        server.show(feed_of(102))
        until(lambda: client.is_on("new-api", USER))
    assert [record.message for record in caplog.records] == [
        f"no stream from {server.url} (it answered {status}): the feed is asked for instead"
    ]


def test_a_server_that_asks_for_patience_is_left_alone_so_long(server: FeedServer) -> None:
    server.behave(lambda handler: handler.whole(429, Retry_After="300"))
    with FlagClient(server.url, mode="poll", timing=QUICK) as client:
        until(lambda: client.status().last_error is not None)
        assert "429" in str(client.status().last_error)
        assert client.wait_until_ready(0.5) is False
        assert len(server.asked) == 1


# --- versions never go back -------------------------------------------------------------------------------------------


@MODES
def test_an_older_feed_is_not_taken_and_a_newer_generation_is(server: FeedServer, mode: Mode) -> None:
    server.show(feed_of(100, revision=3))
    with fed(server, mode=mode) as client:
        for older in (feed_of(0), feed_of(99, revision=3), feed_of(100, revision=2)):
            server.show(older)
            until(lambda: f"has version {older.version}" in str(client.status().last_error))  # noqa: B023
            assert client.is_on("new-api", USER)
            assert client.status().version == "1.100.3"
        aged = client.status().age_seconds
        until(lambda: (client.status().age_seconds or 0) > (aged or 0))
        server.show(feed_of(0, FlagDocument("new-api", version=Version(2, 1))))
        until(lambda: not client.is_on("new-api", USER))
        assert client.status().last_error is None


@MODES
def test_of_an_older_feed_the_kill_switch_is_taken_if_it_was_moved_since(server: FeedServer, mode: Mode) -> None:
    server.show(feed_of(100, revision=3))
    with fed(server, mode=mode) as client:
        assert client.is_on("new-api", USER)
        server.show(feed_of(50, revision=4, killed=True))
        until(lambda: not client.is_on("new-api", USER), "the kill switch")
        assert client.status().version == "1.100.4"
        server.show(feed_of(60, revision=5))
        until(lambda: client.is_on("new-api", USER), "the kill switch to be lifted")
        assert client.status().version == "1.100.5"


# --- a hostile server -------------------------------------------------------------------------------------------------


def raw(data: bytes) -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return behave


def streamed(data: bytes) -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        if "/stream" in handler.path:
            handler.begin_stream()
            handler.chunk(data)
        else:
            handler.whole(200, data, Content_Type="application/json")
        handler.close_connection = True

    return behave


def without_end(piece: bytes, content_type: str = "text/event-stream") -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        handler.begin_stream("application/json" if "/feed" in handler.path else content_type)
        while True:
            handler.chunk(piece)

    return behave


def elsewhere(handler: Handler) -> None:
    handler.whole(302, Location="http://127.0.0.1:1/flags/v1/feed")


def dripping(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        handler.wfile.write(b"X")
        threading.Event().wait(0.02)


GOOD = feed_of(200).encode()
OF_STAGING = GOOD.replace(b"production", b"staging")
HOSTILE: dict[str, Callable[[Handler], None]] = {
    "closes": raw(b""),
    "speaks something else": raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "endless head": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000),
    "endless line in the head": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000),
    "drips its head": dripping,
    "redirects": elsewhere,
    "refuses": lambda handler: handler.whole(401),
    "a page": lambda handler: handler.whole(200, b"<html>", Content_Type="text/html"),
    "not JSON": streamed(b"event: feed\ndata: {\n\n"),
    "null": streamed(b"event: feed\ndata: null\n\n"),
    "deep": streamed(b"event: feed\ndata: " + b"[" * 100_000 + b"\n\n"),
    "a huge number": streamed(b'event: feed\ndata: {"format":1,"x":' + b"9" * 100_000 + b"}\n\n"),
    "not UTF-8": streamed(b"event: feed\ndata: \xff\xfe{}\n\n"),
    "another environment": streamed(b"event: feed\ndata: " + OF_STAGING + b"\n\n"),
    "an event cut short": streamed(b"event: feed\ndata: " + GOOD),
    "a length that is a lie": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n" + GOOD
    ),
    "a length of petabytes": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999999999999\r\n\r\n" + GOOD
    ),
    "a chunk of nonsense": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "an endless chunk head": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 1_000_000
    ),
}


@MODES
@pytest.mark.parametrize("behaviour", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_changes_no_flag_and_is_named(
    server: FeedServer, behaviour: Callable[[Handler], None], mode: Mode
) -> None:
    with fed(server, mode=mode, timing=replace(QUICK, connect_seconds=0.3, silent_seconds=0.3)) as client:
        server.behave(behaviour)
        server.show(feed_of(100, revision=1))  # wakes a stream that is open
        for connection in list(server._server.connections if server._server else ()):
            connection.shutdown(2)
        until(lambda: client.status().last_error is not None and not client.status().connected)
        assert client.is_on("new-api", USER)
        assert client.status().version in ("1.100.0", "1.100.1")
        error = str(client.status().last_error)
        assert server.url in error
        assert len(error) < 500
        server.behave(None)
        server.show(feed_of(300, FlagDocument("new-api", version=Version(1, 300))))
        until(lambda: not client.is_on("new-api", USER))


@MODES
@pytest.mark.parametrize("piece", (b"x" * 65536, b"data: " + b"y" * 60_000 + b"\n"))
def test_an_answer_without_end_is_given_up_before_it_fills_the_memory(
    server: FeedServer, piece: bytes, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flags._sources as sources

    monkeypatch.setattr(sources, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(EventReader.__init__, "__defaults__", (1_000_000,))
    with fed(server, mode=mode) as client:
        server.behave(without_end(piece))
        server.kill()
        server.start()
        until(lambda: "larger than 1,000,000 bytes" in str(client.status().last_error))
        assert client.is_on("new-api", USER)


@pytest.mark.parametrize("seed", range(5))
def test_a_feed_with_bytes_changed_at_random_is_taken_whole_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    text = feed_of(0, FlagDocument("a", percentage=1.5, targets={"b": ("c",)}, parameters={"d": [1]})).encode()
    holder = Holder("production", None, lambda *_: None)
    for _ in range(400):
        changed = bytearray(text)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(changed))
            changed[at : at + dice.randint(0, 3)] = bytes(
                dice.choices(b'[]{}",:0159etrufalsn\\\xff\x00 ', k=dice.randint(0, 3))
            )
        with contextlib.suppress(FlagError):
            holder.take(bytes(changed), Origin.SERVER, edited=True)


def test_comments_without_end_cost_nothing() -> None:
    reader = EventReader(10_000)
    for _ in range(1000):
        assert reader.feed(b": heartbeat\n\n" * 100) == []
    assert reader.is_between_events


def test_other_events_are_passed_over(server: FeedServer) -> None:
    def with_others(handler: Handler) -> None:
        handler.begin_stream()
        handler.event("9.9.9", b"{}", name="weather")
        handler.chunk(b"retry: 1\nunknown\n: comment\n\n")
        handler.event("1.100.0", server.feed.encode())
        until(lambda: server._behaviour is None)

    server.behave(with_others)
    with fed(server) as client:
        assert client.is_on("new-api", USER)
        server.behave(None)


# --- server-sent events, in whatever pieces they come -----------------------------------------------------------------

TEXT = b': hello\n\nid: 1\nevent: feed\ndata: {"a":\ndata:1}\n\nid: 2\r\nevent: feed\r\ndata: x\r\n\r\n'


@pytest.mark.parametrize("size", (1, 2, 3, 7, 1000))
def test_events_are_the_same_in_pieces_of_any_size(size: int) -> None:
    reader = EventReader()
    found = [event for at in range(0, len(TEXT), size) for event in reader.feed(TEXT[at : at + size])]
    assert [(one.name, one.id, one.data) for one in found] == [
        (b"feed", b"1", b'{"a":\n1}'),
        (b"feed", b"2", b"x"),
    ]
    assert reader.is_between_events


@pytest.mark.parametrize("piece", (b"data: " + b"x" * 50, b"data: xxxxxxxxx\n"))
def test_an_event_that_is_too_large_is_refused_in_one_line_and_in_many(piece: bytes) -> None:
    reader = EventReader(200)
    pieces = [piece] * 1000
    with pytest.raises(Unusable, match="larger than 200 bytes"):
        list(map(reader.feed, pieces))


# --- ending -----------------------------------------------------------------------------------------------------------


@MODES
def test_closing_ends_a_read_that_would_block(server: FeedServer, mode: Mode) -> None:
    server.heartbeat_seconds = 1000
    patient = replace(QUICK, silent_seconds=1000, connect_seconds=1000, close_seconds=1000)
    client = fed(server, mode=mode, timing=patient, poll_seconds=1000)
    client.close()
    assert not client._thread_is_alive
    assert client.is_on("new-api", USER)
    assert not client.status().connected
    client.close()


@MODES
def test_closing_ends_the_wait_for_an_answer_that_never_comes(mode: Mode) -> None:
    patient = replace(QUICK, connect_seconds=1000, close_seconds=1000)
    with deaf() as url:
        client = FlagClient(url, mode=mode, timing=patient)
        until(lambda: client._source.link._socket is not None)  # type: ignore[attr-defined]
        client.close()
        assert not client._thread_is_alive


def test_closing_does_not_wait_for_a_thread_that_cannot_end() -> None:
    release = threading.Event()
    with FeedServer() as server:
        client = fed(server, timing=replace(QUICK, close_seconds=0.05))
        client.on_change(lambda _: release.wait(60))
        server.show(feed_of(1))
        until(lambda: client.status().version == "1.1.0")
        client.close()
        assert client._thread_is_alive
        release.set()
        until(lambda: not client._thread_is_alive)


# --- a network that fails ---------------------------------------------------------------------------------------------


def test_fifty_clients_answer_through_restarts_a_partition_and_an_old_snapshot_and_never_go_back(
    server: FeedServer,
) -> None:
    patience = replace(QUICK, silent_seconds=1.5, connect_seconds=1.5)
    with Network(server.port) as network:
        clients = [
            FlagClient(network.url, mode="poll" if number % 5 == 0 else "stream", poll_seconds=0.1, timing=patience)
            for number in range(50)
        ]
        watch = Watch(clients)
        try:
            assert all(client.wait_until_ready(30) for client in clients)
            watch.start()
            server.kill()
            until(lambda: not any(client.status().connected for client in clients))
            server.start()
            until(lambda: all(client.status().connected for client in clients))

            network.part()
            server.show(feed_of(100, revision=1))
            until(lambda: not any(client.status().connected for client in clients))
            assert all(client.is_on("new-api", USER) for client in clients)
            network.heal()
            until(lambda: all(client.status().version == "1.100.1" for client in clients))

            server.kill()
            server.feed = feed_of(50)  # an older snapshot
            server.start()
            until(lambda: all("older" in str(client.status().last_error) for client in clients))
            assert all(client.is_on("new-api", USER) for client in clients)
            server.show(feed_of(100, generation=2))
            until(lambda: all(client.status().version == "2.100.0" for client in clients))
        finally:
            watch.stop()
            for client in clients:
                client.close()
    assert watch.looks > 10
    assert watch.wrong == []
    assert not any(client._thread_is_alive for client in clients)


class Watch:
    """Asks all clients without a pause, and notes who does not answer and whose version goes back."""

    def __init__(self, clients: list[FlagClient]) -> None:
        self.clients = clients
        self.looks = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        newest = [client._holder.version for client in self.clients]
        while not self._over.wait(0.005):
            self.looks += 1
            for number, client in enumerate(self.clients):
                now, before = client._holder.version, newest[number]
                if now is None or before is None or now < before:
                    self.wrong.append(f"client {number} went from {before} to {now}")
                newest[number] = now
                if not client.is_on("new-api", USER):
                    self.wrong.append(f"client {number} lost its flag")
