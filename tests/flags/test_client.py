"""What an application asks of its client: answers, never an exception, whatever is asked and whoever feeds it."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from flags.client import FlagClient, InvalidSetting, Origin
from flags.errors import ErrorCode
from flags.evaluate import Reason
from flags.feed import Feed
from flags.model import FlagDocument, Version
from tests.flags.client_world import QUICK, USER, FeedServer, deaf, feed_of, until
from tests.support.ports import free_port
from tests.support.process import ROOT

DOCUMENTS = (
    FlagDocument("on", percentage=100, version=Version(1, 1)),
    FlagDocument("team", targets={"team": ("a",)}, version=Version(1, 2)),
    FlagDocument("half", percentage=50, version=Version(1, 3)),
    FlagDocument("limit", variants={"on": 20, "off": 10}, percentage=100, version=Version(1, 4)),
    FlagDocument("rate", variants={"on": 2.0, "off": 1.0}, percentage=100, version=Version(1, 5)),
    FlagDocument("mode", variants={"on": "fast", "off": "slow"}, percentage=100, version=Version(1, 6)),
    FlagDocument("shape", variants={"on": {"a": 1}, "off": {}}, percentage=100, version=Version(1, 7)),
    FlagDocument(
        "tuned",
        parameters={"size": 1, "name": "x"},
        profiles={"big": {"size": 9}},
        profile="big",
        version=Version(1, 8),
    ),
)


def written(path: Path, feed: Feed) -> Path:
    path.write_bytes(feed.encode())
    return path


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlagClient]:
    file = written(tmp_path / "flags.json", feed_of(0, *DOCUMENTS))
    defaults = {"unknown-on": True, "unknown-limit": 7, "unknown.parameters": {"size": 3}}
    with FlagClient(file=file, defaults=defaults) as made:
        yield made


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        yield made


# --- answers ----------------------------------------------------------------------------------------------------------


def test_flags_answer_as_their_documents_say(client: FlagClient) -> None:
    assert client.is_on("on") is True
    assert client.is_on("team", {"team": "a"}) is True
    assert client.is_on("team", {"team": "b"}) is False
    assert client.value("limit", 1) == 20
    assert client.value("rate", 0.5) == 2.0
    assert client.value("mode", "none") == "fast"
    assert client.value("shape", {}) == {"a": 1}
    assert client.parameters("tuned") == {"size": 9, "name": "x"}
    details = client.details("team", False, {"team": "a"})
    assert (details.value, details.variant, details.reason) == (True, "on", Reason.TARGETING_MATCH)
    assert client.details("half").error_code is ErrorCode.TARGETING_KEY_MISSING


def test_an_unknown_flag_gives_the_default_of_the_client_and_else_that_of_the_call(client: FlagClient) -> None:
    assert client.is_on("unknown") is False
    assert client.is_on("unknown-on") is True
    assert client.is_on("unknown-limit") is False
    assert client.value("unknown", 3) == 3
    assert client.value("unknown-limit", 3) == 7
    assert client.value("unknown-limit", "three") == "three"
    assert client.parameters("unknown") == {"size": 3}
    assert client.parameters("on") == {}
    details = client.details("unknown-limit", 3)
    assert (details.value, details.reason, details.error_code) == (7, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    assert "'unknown-limit'" in str(details.error_details)


@pytest.mark.parametrize(
    ("key", "default", "answer"),
    (
        ("on", 1, 1),
        ("on", "yes", "yes"),
        ("limit", True, True),
        ("limit", "many", "many"),
        ("limit", 1.5, 20.0),  # an integer will do for a float
        ("rate", 1, 1),
        ("mode", {}, {}),
        ("shape", "round", "round"),
    ),
)
def test_a_flag_of_another_type_gives_the_default(client: FlagClient, key: str, default: Any, answer: Any) -> None:
    found = client.value(key, default)
    assert (found, type(found)) == (answer, type(answer))


class Hostile(dict[str, object]):
    def get(self, *arguments: object) -> Any:
        raise RuntimeError("no")

    __getitem__ = __contains__ = get


@pytest.mark.parametrize("key", (None, [], {}, 3, b"half", "half", "\ud800", "x" * 1_000_000))
@pytest.mark.parametrize(
    "context",
    (None, {}, [], "text", 3, Hostile(), {"targetingKey": []}, {"targetingKey": "\ud800"}, {"team": object()}),
)
def test_nothing_that_is_asked_raises(client: FlagClient, key: Any, context: Any) -> None:
    assert isinstance(client.is_on(key, context), bool)
    assert client.value(key, 5, context) == 5
    assert isinstance(client.details(key, 5, context).reason, Reason)
    assert client.parameters(key) == {}


def test_a_key_that_breaks_an_evaluation_is_said_once(client: FlagClient, caplog: pytest.LogCaptureFixture) -> None:
    key: Any = ["half"]
    for _ in range(100):
        assert client.is_on(key, USER) is False
    (record,) = caplog.records
    assert record.message.startswith("flag ['half'] (list) is answered by its default: TypeError: unhashable")


def test_what_is_answered_cannot_be_changed(client: FlagClient) -> None:
    shape: Any = client.value("shape", {})
    with pytest.raises(TypeError):
        shape["a"] = 2
    assert isinstance(client.parameters("tuned"), MappingProxyType)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        ({}, "url or file"),
        ({"url": "http://x", "file": "y"}, "url or file"),
        ({"url": "x"}, "url: the server's address"),
        ({"url": ""}, "url: the server's address"),
        ({"url": 3}, "url: the server's address"),
        ({"url": "ftp://x"}, "url: the server's address"),
        ({"url": "http://x:99999"}, "url: the server's address"),
        ({"url": "http://x y"}, "url: the server's address"),
        ({"url": "http://x/\r\nHost: y"}, "url: the server's address"),
        ({"url": "http://user:secret@x"}, "url: the server's address"),
        ({"url": "http://x?environment=y"}, "url: the server's address"),
        ({"url": "http://x", "environment": ""}, "environment"),
        ({"url": "http://x", "environment": None}, "environment"),
        ({"url": "http://x", "token": ""}, "token"),
        ({"url": "http://x", "token": "a\nb"}, "token"),
        ({"url": "http://x", "mode": "push"}, "mode: 'stream' or 'poll'"),
        ({"url": "http://x", "poll_seconds": 0}, "poll_seconds"),
        ({"url": "http://x", "poll_seconds": float("nan")}, "poll_seconds"),
        ({"url": "http://x", "poll_seconds": "5"}, "poll_seconds"),
        ({"url": "http://x", "defaults": [1]}, "defaults"),
        ({"url": "http://x", "defaults": {"a": object()}}, "defaults.a"),
        ({"file": "x", "cache": "y"}, "cache"),
        ({"file": "x", "token": "y"}, "token"),
    ),
)
def test_an_argument_that_cannot_be_meant_is_refused_in_a_sentence(arguments: Any, said: str) -> None:
    threads = threading.active_count()
    with pytest.raises(InvalidSetting) as caught:
        FlagClient(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert threading.active_count() == threads


# --- without a server -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ("stream", "poll"))
def test_without_a_server_the_defaults_answer_and_the_status_says_so(mode: Any) -> None:
    with FlagClient(f"http://127.0.0.1:{free_port()}", mode=mode, defaults={"on": True}, timing=QUICK) as client:
        assert client.is_on("on") is True
        assert client.wait_until_ready(0.05) is False
        until(lambda: client.status().last_error is not None)
        status = client.status()
        assert (status.source, status.version, status.age_seconds, status.connected) == ("defaults", None, None, False)
        assert "Connection refused" in str(status.last_error)


def test_a_server_that_comes_later_is_found_and_a_long_absence_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FeedServer()
    server.port = free_port()
    server.feed = feed_of(100)
    caplog.set_level(logging.INFO, "flags.client")
    with FlagClient(server.url, timing=QUICK) as client:
        until(lambda: client.status().last_error is not None)
        with server:
            assert client.wait_until_ready(20)
            assert client.is_on("new-api", USER)
            status = client.status()
            assert (status.source, status.version, status.connected) == (Origin.SERVER, "1.100.0", True)
            assert status.age_seconds is not None
            assert status.last_error is None
    assert [record.levelname for record in caplog.records[:2]] == ["WARNING", "INFO"]


def test_a_client_answers_and_closes_while_its_server_says_nothing() -> None:
    with deaf() as url, FlagClient(url, timing=QUICK) as client:
        assert client.is_on("new-api") is False
    assert not client._thread_is_alive


# --- being read while it is fed ---------------------------------------------------------------------------------------


def test_threads_never_see_a_mixture_of_two_feeds(server: FeedServer) -> None:
    def both(number: int) -> Feed:
        percentage, version = (100.0 if number % 2 else 0.0), Version(1, number)
        return feed_of(0, *(FlagDocument(key, percentage=percentage, version=version) for key in ("a", "b")))

    server.show(both(1))
    mixtures: list[object] = []
    done = threading.Event()

    def read(client: FlagClient) -> None:
        while not done.is_set():
            snapshot = client.snapshot
            answers = [flag.is_on({}) for key in ("a", "b") if (flag := snapshot.get(key)) is not None]
            if len(set(answers)) > 1:
                mixtures.append(answers)

    with FlagClient(server.url, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        readers = [threading.Thread(target=read, args=(client,)) for _ in range(4)]
        for reader in readers:
            reader.start()
        for number in range(2, 20):
            server.show(both(number))
            until(lambda: client.status().version == f"1.{number}.0")  # noqa: B023
        done.set()
        for reader in readers:
            reader.join()
    assert mixtures == []


async def test_in_asyncio_nothing_blocks_but_what_says_so(server: FeedServer) -> None:
    server.show(feed_of(100))
    with FlagClient(server.url, timing=QUICK) as client:
        assert await asyncio.to_thread(client.wait_until_ready, 20)
        assert client.is_on("new-api", USER)


def test_listeners_hear_which_flags_changed_and_cannot_break_the_client(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[frozenset[str]] = []
    kept, moved = FlagDocument("kept", version=Version(1, 1)), FlagDocument("moved", version=Version(1, 1))
    server.show(feed_of(0, kept, moved))
    with FlagClient(server.url, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        client.on_change(lambda _: 1 / 0)
        end = client.on_change(heard.append)
        server.show(feed_of(0, kept, FlagDocument("moved", percentage=5, version=Version(1, 2))))
        until(lambda: heard == [{"moved"}])
        server.show(feed_of(0, kept, FlagDocument("new", version=Version(1, 3)), revision=1))
        until(lambda: heard[1:] == [{"moved", "new"}])
        permanent = FlagDocument("new", permanent=True, version=Version(1, 4))
        server.show(feed_of(0, kept, permanent, revision=2))
        until(lambda: len(heard) == 3)
        server.show(feed_of(0, kept, permanent, revision=3, killed=True))
        until(lambda: heard[3:] == [{"kept"}])
        server.show(feed_of(0, kept, permanent, revision=4, killed=True, held=("new",)))
        until(lambda: heard[4:] == [{"new"}])
        end()
        server.show(feed_of(0, kept, permanent, revision=5))
        until(lambda: client.status().version == "1.4.5")
        assert len(heard) == 5
    assert "a listener for changed flags failed" in caplog.text


def test_a_listener_may_close_the_client(server: FeedServer) -> None:
    client = FlagClient(server.url, timing=QUICK)
    assert client.wait_until_ready(20)
    client.on_change(lambda _: client.close())
    server.show(feed_of(50))
    until(lambda: not client._thread_is_alive)
    assert client.status().version == "1.50.0"


def test_the_kill_switch_reaches_a_client_and_a_lifted_flag_is_on_again(server: FeedServer) -> None:
    server.show(feed_of(100))
    with FlagClient(server.url, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        assert client.is_on("new-api", USER)
        server.show(feed_of(100, revision=1, killed=True))
        until(lambda: not client.is_on("new-api", USER))
        assert client.details("new-api").reason is Reason.DISABLED
        server.show(feed_of(100, revision=2, killed=True, lifted=("new-api",)))
        until(lambda: client.is_on("new-api", USER))


# --- alone ------------------------------------------------------------------------------------------------------------

ALONE = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in {"flags", "mmh3"} and root not in sys.stdlib_module_names:
            raise ImportError(f"flags.client must do without {root}")

sys.meta_path.insert(0, Refusing())
from flags.client import FlagClient
with FlagClient(file="/nowhere", defaults={"x": True}) as client:
    print(client.is_on("x"))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"orchestrator", "stages", "httpx", "pydantic"}))
"""


def test_the_client_needs_nothing_but_the_standard_library_and_the_hash() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["True", "[]"]), done.stderr
