"""The client against the application that really serves it, and through TLS."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flags import FlagDocument, Version
from flags.client import FlagClient
from orchestrator.api.feed import streams_of
from tests.flags.client_world import QUICK, USER, FeedServer, feed_of
from tests.flags.client_world import until as until_so
from tests.orchestrator.api.fake_service import SECRETS, FakeService
from tests.orchestrator.api.test_streams import serving, until

MODES = pytest.mark.parametrize("mode", ("stream", "poll"))


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    put(service, 100)
    service.put(FlagDocument("only-staging", environment="staging", percentage=100))
    return service


def put(service: FakeService, percentage: float) -> None:
    service.put(FlagDocument("new-api", percentage=percentage, version=Version(1, service.moves + 1)))


@MODES
async def test_changes_and_the_kill_switch_arrive_from_the_real_application(service: FakeService, mode: Any) -> None:
    async with serving(service) as server:
        url = f"http://127.0.0.1:{server.port}"
        with FlagClient(url, mode=mode, poll_seconds=0.02, token=SECRETS["viewer"], timing=QUICK) as client:
            assert await asyncio.to_thread(client.wait_until_ready, 20)
            assert client.is_on("new-api", USER)
            put(service, 0)
            await until(lambda: not client.is_on("new-api", USER))
            put(service, 100)
            await until(lambda: client.is_on("new-api", USER))
            service.killed["*"] = "test"
            service.move()
            await until(lambda: not client.is_on("new-api", USER))
            assert client.status().connected
        await until(lambda: streams_of(server.app.state).places.taken == 0)


@MODES
async def test_an_environment_has_its_own_flags(service: FakeService, mode: Any) -> None:
    async with serving(service) as server:
        url = f"http://127.0.0.1:{server.port}"
        with FlagClient(url, mode=mode, environment="staging", timing=QUICK) as client:
            assert await asyncio.to_thread(client.wait_until_ready, 20)
            assert client.is_on("only-staging", USER)
            assert not client.is_on("new-api", USER)


@MODES
async def test_a_wrong_token_is_named(service: FakeService, mode: Any) -> None:
    async with serving(service) as server:
        with FlagClient(f"http://127.0.0.1:{server.port}", mode=mode, token="wrong", timing=QUICK) as client:
            await until(lambda: "401" in str(client.status().last_error))
            assert "token=" in str(client.status().last_error)


async def test_where_no_place_is_left_the_feed_is_asked_for(service: FakeService) -> None:
    async with serving(service) as server:
        streams_of(server.app.state).places.most = 0
        with FlagClient(f"http://127.0.0.1:{server.port}", timing=QUICK) as client:
            assert await asyncio.to_thread(client.wait_until_ready, 20)
            assert client.is_on("new-api", USER)
            assert client.status().connected


async def test_many_clients_of_one_process_hear_of_one_change(service: FakeService) -> None:
    async with serving(service) as server:
        clients = [FlagClient(f"http://127.0.0.1:{server.port}", timing=QUICK) for _ in range(60)]
        try:
            await until(lambda: all(client.is_on("new-api", USER) for client in clients))
            put(service, 0)
            await until(lambda: not any(client.is_on("new-api", USER) for client in clients))
        finally:
            await asyncio.to_thread(close_all, clients)
        assert not any(client._thread_is_alive for client in clients)


def close_all(clients: list[FlagClient]) -> None:
    for client in clients:
        client.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of `localhost` in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made: list[str | Path] = ["-keyout", folder / "key", "-out", folder / "certificate"]
    command: list[str | Path] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *subject,
        *made,
    ]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "certificate").read_text() + (folder / "key").read_text())
    return both


@pytest.fixture
def secured(certificate: Path) -> Iterator[FeedServer]:
    with FeedServer() as server:
        server.show(feed_of(100))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        assert server._server is not None
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        yield server


@MODES
def test_over_tls_flags_arrive_and_closing_ends_a_read(secured: FeedServer, certificate: Path, mode: Any) -> None:
    secured.heartbeat_seconds = 1000
    trust = ssl.create_default_context(cafile=str(certificate))
    client = FlagClient(f"https://localhost:{secured.port}", mode=mode, poll_seconds=0.05, timing=QUICK, tls=trust)
    assert client.wait_until_ready(20), client.status()
    assert client.is_on("new-api", USER)
    secured.show(feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
    until_so(lambda: not client.is_on("new-api", USER))
    client.close()
    assert not client._thread_is_alive


def test_a_certificate_that_nobody_vouches_for_is_refused(secured: FeedServer) -> None:
    with FlagClient(f"https://localhost:{secured.port}", timing=QUICK) as client:
        until_so(lambda: client.status().last_error is not None)
        assert "certificate verify failed" in str(client.status().last_error).lower()
        assert client.is_on("new-api", USER) is False
