"""The OpenFeature provider over a real client: what OpenFeature is told of its state, and how it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, EventHandler, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.provider import ProviderStatus

from flags import FlagDocument
from flags.client import FlagClient
from flags.model import Version
from flags.openfeature import RolloutProvider
from tests.flags.client_world import QUICK, FeedServer, feed_of, until
from tests.support.ports import free_port

DOMAIN = "events"


def documents(percentage: float, number: int) -> tuple[FlagDocument, ...]:
    return (
        FlagDocument("new-api", percentage=percentage, version=Version(1, number)),
        FlagDocument("other", version=Version(1, 1)),
    )


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        made.show(feed_of(0, *documents(100, 2)))
        yield made


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    api.clear_providers()


@dataclass
class Heard:
    """The events that a client of OpenFeature is told."""

    events: list[tuple[str, EventDetails]] = field(default_factory=list)

    def noting(self, name: str) -> EventHandler:
        return lambda details: self.events.append((name, details))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def last(self, name: str) -> EventDetails:
        return [details for found, details in self.events if found == name][-1]


def listening(client: OpenFeatureClient) -> Heard:
    heard = Heard()
    for event in ProviderEvent:
        client.add_handler(event, heard.noting(event.name.removeprefix("PROVIDER_").lower()))
    return heard


def provided(client: FlagClient, **settings: float) -> tuple[OpenFeatureClient, RolloutProvider]:
    provider = RolloutProvider(client, look_seconds=0.05, **settings)  # type: ignore[arg-type]
    api.set_provider_and_wait(provider, domain=DOMAIN)
    return api.get_client(domain=DOMAIN), provider


def fed_by(server: FeedServer, cache: Path | None = None) -> FlagClient:
    return FlagClient(server.url, timing=QUICK, cache=cache)


def test_a_provider_is_ready_when_its_client_has_heard_from_the_server(server: FeedServer) -> None:
    asked, _ = provided(fed_by(server))
    assert asked.get_provider_status() is ProviderStatus.READY
    assert asked.get_boolean_value("new-api", False) is True


def test_a_change_is_told_with_the_keys_of_the_flags(server: FeedServer) -> None:
    asked, _ = provided(fed_by(server))
    heard = listening(asked)
    server.show(feed_of(0, *documents(0, 3)))
    until(lambda: "configuration_changed" in heard.names())
    assert heard.last("configuration_changed").flags_changed == ["new-api"]
    assert heard.last("configuration_changed").provider_name == "rollout"
    assert asked.get_boolean_value("new-api", True) is False


def test_a_server_that_goes_makes_the_provider_stale_and_ready_when_it_is_back(server: FeedServer) -> None:
    asked, _ = provided(fed_by(server))
    heard = listening(asked)
    server.kill()
    until(lambda: "stale" in heard.names())
    assert asked.get_provider_status() is ProviderStatus.STALE
    assert "may be out of date" in (heard.last("stale").message or "")
    assert asked.get_boolean_value("new-api", False) is True
    server.start()
    until(lambda: asked.get_provider_status() is ProviderStatus.READY)
    until(lambda: heard.names().count("ready") >= 2)


def test_without_a_server_and_a_cache_the_provider_is_in_error_until_there_are_flags() -> None:
    server = FeedServer()
    server.port = free_port()
    server.show(feed_of(0, *documents(100, 2)))
    provider = RolloutProvider(fed_by(server), look_seconds=0.05, ready_seconds=0.1)
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(provider, domain=DOMAIN)
    asked = api.get_client(domain=DOMAIN)
    heard = listening(asked)
    assert asked.get_provider_status() is ProviderStatus.ERROR
    details = asked.get_boolean_details("new-api", False)
    assert (details.value, details.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
    assert "no flags have been received yet" in (details.error_message or "")
    with server:
        until(lambda: asked.get_provider_status() is ProviderStatus.READY)
        until(lambda: "ready" in heard.names())
        assert asked.get_boolean_value("new-api", False) is True
        provider.shutdown()


def test_flags_of_the_cache_are_answered_and_called_stale(server: FeedServer, tmp_path: Path) -> None:
    cache = tmp_path / "flags.json"
    with fed_by(server, cache) as first:
        assert first.wait_until_ready()
        until(cache.exists)
    server.kill()
    asked, _ = provided(fed_by(server, cache), ready_seconds=0.1)
    heard = listening(asked)
    assert asked.get_boolean_value("new-api", False) is True
    until(lambda: asked.get_provider_status() is ProviderStatus.STALE)
    until(lambda: "stale" in heard.names())


def test_a_file_is_a_source_like_a_server(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_bytes(feed_of(0, *documents(100, 2)).encode())
    asked, _ = provided(FlagClient(file=file, poll_seconds=0.05))
    heard = listening(asked)
    assert asked.get_boolean_value("new-api", False) is True
    file.write_bytes(feed_of(0, *documents(0, 3)).encode())
    until(lambda: "configuration_changed" in heard.names())
    assert asked.get_boolean_value("new-api", True) is False


def threads() -> set[threading.Thread]:
    """Of clients and providers."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("flags")}


def is_watched() -> bool:
    return any(thread.name == "flags-openfeature" for thread in threads())


def test_shutting_down_ends_the_threads_and_closes_the_client(server: FeedServer) -> None:
    before = threads()
    client = fed_by(server)
    _, provider = provided(client)
    assert {thread.name for thread in threads() - before} == {"flags", "flags-openfeature"}
    api.shutdown()
    until(lambda: threads() <= before)
    assert not client.status().connected
    provider.shutdown()


def test_a_client_that_the_application_owns_is_left_open(server: FeedServer) -> None:
    with fed_by(server) as client:
        _, provider = provided(client, owns_source=False)
        provider.shutdown()
        assert client.status().connected
        server.show(feed_of(0, *documents(0, 3)))
        until(lambda: not client.is_on("new-api"))


def test_a_provider_that_was_shut_down_can_be_set_again(server: FeedServer) -> None:
    with fed_by(server) as client:
        _, provider = provided(client, owns_source=False)
        provider.shutdown()
        api.clear_providers()
        api.set_provider_and_wait(provider, domain=DOMAIN)
        heard = listening(api.get_client(domain=DOMAIN))
        server.show(feed_of(0, *documents(0, 3)))
        until(lambda: heard.names().count("configuration_changed") == 1)
        provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_goes_on_watching(server: FeedServer) -> None:
    provided(fed_by(server))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, b"watched" if is_watched() else b"alone")
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"watched"
