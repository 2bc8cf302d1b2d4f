"""Whom a client trusts and what it shows: over real TLS, with authorities made for the test."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
from pydantic import ValidationError

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.tls import Credentials, usual_context
from orchestrator.allowance import Allowance
from stages.criteria.base import Measurement, MeasurementState
from stages.plan import Prometheus
from tests.support.http_server import ScriptedServer, answer_json

STATE = MeasurementState
ANSWER = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]}]}}


class TlsServer(ScriptedServer):
    """A ``ScriptedServer`` behind TLS, as ``localhost``."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``; ``server.pem`` (of localhost) and ``client.pem`` signed by it, each with its ``.key``; ``other.pem``,
    which signed neither; ``locked.key``, the client's with a password."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        run(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    for name in ("server", "client"):
        subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost")
        run(*new, *signed, *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    run("rsa", "-aes128", "-passout", "pass:hidden", "-in", "client.key", "-out", "locked.key")
    (folder / "nonsense.pem").write_text("not in PEM form\n")
    return folder


@pytest_asyncio.fixture
async def server(folder: Path) -> AsyncIterator[TlsServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    async with TlsServer(context) as server:
        server.behave(answer_json(ANSWER))
        yield server


@pytest_asyncio.fixture
async def strict(folder: Path) -> AsyncIterator[TlsServer]:
    """Lets in only who shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    async with TlsServer(context) as server:
        server.behave(answer_json(ANSWER))
        yield server


async def measured(url: str, folder: Path, tls: dict[str, Any], secrets: Secrets | None = None) -> Measurement:
    client = PrometheusClient(HttpClient(secrets or Secrets(environ={})))
    try:
        settings = {"url": url, "timeout": "5s", **({"tls": tls} if tls else {})}
        return await client.measure("sum(up)", settings, 1_700_000_000.0, str(folder))
    finally:
        await client.close()


async def test_an_authority_of_the_plan_is_trusted(server: TlsServer, folder: Path) -> None:
    found = await measured(server.url, folder, {"ca": "ca.pem"})
    assert found.state is STATE.OK, found.detail


async def test_an_authority_may_be_a_secret(server: TlsServer, folder: Path) -> None:
    secrets = Secrets(environ={"CA": (folder / "ca.pem").read_text()})
    found = await measured(server.url, folder, {"ca": {"env": "CA"}}, secrets)
    assert found.state is STATE.OK, found.detail


async def test_an_authority_that_the_environment_names_is_trusted(
    server: TlsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    usual_context.cache_clear()
    found = await measured(server.url, folder, {})
    monkeypatch.undo()
    usual_context.cache_clear()
    assert found.state is STATE.OK, found.detail


@pytest.mark.parametrize("tls", ({}, {"ca": "other.pem"}, {"ca": "ca.pem", "server_name": "elsewhere.example"}))
async def test_who_is_not_trusted_is_never_asked(server: TlsServer, folder: Path, tls: dict[str, Any]) -> None:
    found = await measured(server.url, folder, tls)
    assert found.state is STATE.ERROR
    assert "its certificate is not accepted" in found.detail
    assert server.requests == []


async def test_a_server_may_have_another_name_than_its_address(server: TlsServer, folder: Path) -> None:
    url = server.url.replace("localhost", "127.0.0.1")
    assert (await measured(url, folder, {"ca": "ca.pem"})).state is STATE.ERROR
    found = await measured(url, folder, {"ca": "ca.pem", "server_name": "localhost"})
    assert found.state is STATE.OK, found.detail
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_verification_can_be_left_out(server: TlsServer, folder: Path) -> None:
    found = await measured(server.url, folder, {"insecure_skip_verify": True})
    assert found.state is STATE.OK, found.detail


@pytest.mark.parametrize("key", ("client.key", {"env": "KEY"}))
async def test_a_certificate_is_shown_to_who_asks_for_one(strict: TlsServer, folder: Path, key: Any) -> None:
    secrets = Secrets(environ={"KEY": (folder / "client.key").read_text()})
    found = await measured(strict.url, folder, {"ca": "ca.pem", "cert": "client.pem", "key": key}, secrets)
    assert found.state is STATE.OK, found.detail


async def test_without_a_certificate_who_asks_for_one_does_not_answer(strict: TlsServer, folder: Path) -> None:
    found = await measured(strict.url, folder, {"ca": "ca.pem"})
    assert found.state is STATE.ERROR
    assert strict.requests == []


async def test_a_server_that_says_no_after_the_handshake_is_an_error_like_any_other(folder: Path) -> None:
    """With TLS 1.3 it learns only then that no certificate was shown, and the request is on its way."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(_refuse, listening, folder))
        found = await measured(f"https://localhost:{listening.getsockname()[1]}", folder, {"ca": "ca.pem"})
        await refusing
    assert found.state is STATE.ERROR
    assert "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED" in found.detail


def _refuse(listening: socket.socket, folder: Path) -> None:
    """Takes one connection, and reads it to its end after the refusal: else it would be reset, and nothing said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listening.settimeout(10)
    connection, _ = listening.accept()
    with socket.socket(fileno=os.dup(connection.fileno())) as plain:
        plain.settimeout(10)
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
            secured.settimeout(10)
            with contextlib.suppress(ssl.SSLError):
                secured.do_handshake()
            while plain.recv(4096):
                pass


@pytest.mark.parametrize(
    ("tls", "words"),
    (
        ({"ca": "absent.pem"}, "the certificates in absent.pem can't be read: No such file or directory"),
        ({"ca": "nonsense.pem"}, "tls.ca holds no certificates in PEM form"),
        ({"cert": "nonsense.pem", "key": "client.key"}, "tls.cert and tls.key can't be used together"),
        (
            {"cert": "client.pem", "key": "server.key"},
            "tls.cert and tls.key can't be used together: KEY_VALUES_MISMATCH",
        ),
        ({"cert": "client.pem", "key": "locked.key"}, "tls.cert and tls.key can't be used together"),
        ({"cert": "client.pem", "key": {"env": "ABSENT"}}, "the environment variable ABSENT is not set"),
        ({"ca": {"secret": "a/b"}}, "the secret a/b is in Kubernetes"),
    ),
)
async def test_what_can_not_be_used_is_named(server: TlsServer, folder: Path, tls: dict[str, Any], words: str) -> None:
    found = await measured(server.url, folder, tls)
    assert found.state is STATE.ERROR
    assert words in found.detail
    assert server.requests == []


async def test_files_of_certificates_are_read_only_where_the_controller_allows_it(
    server: TlsServer, folder: Path, tmp_path: Path
) -> None:
    secrets = Secrets(Allowance(folders=(tmp_path,)), environ={})
    found = await measured(server.url, folder, {"ca": "ca.pem"}, secrets)
    assert "plans may not read the file ca.pem" in found.detail


async def test_a_renewed_certificate_is_taken_up(server: TlsServer, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "other.pem", tmp_path / "ca.pem")
    assert (await measured(server.url, tmp_path, {"ca": "ca.pem"})).state is STATE.ERROR
    shutil.copy(folder / "ca.pem", tmp_path / "ca.pem")
    assert (await measured(server.url, tmp_path, {"ca": "ca.pem"})).state is STATE.OK


def test_a_key_is_not_shown() -> None:
    assert "hidden" not in repr(Credentials(key="hidden", cert="also hidden"))


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({"url": "https://p", "tls": {"cert": "c"}}, "tls has cert and key, or neither"),
        ({"url": "https://p", "tls": {"key": "k"}}, "tls has cert and key, or neither"),
        ({"url": "https://p", "tls": {"ca": "c", "insecure_skip_verify": True}}, "tls has ca or insecure_skip_verify"),
        ({"url": "http://p", "tls": {"ca": "c"}}, "tls is for a url that begins with https://"),
        ({"url": "https://p", "tls": {"cafile": "c"}}, "cafile"),
    ),
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Prometheus.model_validate(fields)
    assert words in str(refused.value)
