"""TLS of the server: what it shows, whom it speaks to, and what becomes of it when the files change."""

import asyncio
import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from orchestrator.api.server import bind, serving
from orchestrator.api.tls import LOOK_SECONDS, Certificates
from orchestrator.cli.client import Client, NoController
from orchestrator.cli.settings import CACERT, Address
from orchestrator.errors import UsageError
from orchestrator.flagd_sync import serving_flagd
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService, app_of

AUTHORITY = trustme.CA()


@dataclass
class Files:
    """A certificate for localhost and its key, as somebody renews them; *pass_seconds* is the server's time."""

    folder: Path
    seconds: float = 0.0

    @property
    def cert(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def renew(self, *, cert: bool = True, key: bool = True, name: str = "localhost") -> None:
        made = AUTHORITY.issue_cert(name)
        if cert:
            self.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        if key:
            self.key.write_bytes(made.private_key_pem.bytes())

    def certificates(self) -> Certificates:
        return Certificates(self.cert, self.key, lambda: self.seconds)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.renew()
    AUTHORITY.cert_pem.write_to_path(str(made.ca))
    return made


def shown_at(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a server shows, by a whole request."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("GET", "/healthz")
        socket = cast(ssl.SSLSocket, connection.sock)
        shown = socket.getpeercert(binary_form=True)
        answer = connection.getresponse()
        assert answer.status == 200
        assert shown is not None
        return shown
    finally:
        connection.close()


async def test_the_server_speaks_tls_and_shows_a_renewed_certificate_without_a_restart(files: Files) -> None:
    bound = bind("localhost", 0)
    port = bound.getsockname()[1]
    async with serving(app_of(FakeService()), bound, files.certificates().context()):
        first = await asyncio.to_thread(shown_at, port, files.trusting())
        files.renew()
        assert await asyncio.to_thread(shown_at, port, files.trusting()) == first  # looked at a moment ago
        files.seconds += LOOK_SECONDS
        second = await asyncio.to_thread(shown_at, port, files.trusting())
        assert second != first
        files.renew(key=False)  # half of it: whoever renews it is not through
        files.seconds += LOOK_SECONDS
        assert await asyncio.to_thread(shown_at, port, files.trusting()) == second
        files.key.unlink()
        files.seconds += LOOK_SECONDS
        assert await asyncio.to_thread(shown_at, port, files.trusting()) == second
        files.renew()
        files.seconds += LOOK_SECONDS
        assert await asyncio.to_thread(shown_at, port, files.trusting()) not in (first, second)


async def test_browsers_are_told_to_stay_with_https_but_not_on_loopback(files: Files) -> None:
    for loopback, told in ((False, "max-age=31536000"), (True, None)):
        transport = httpx.ASGITransport(app=app_of(FakeService(), loopback=loopback))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
            assert (await client.get("/healthz")).headers.get("Strict-Transport-Security") == told


async def test_nothing_older_than_tls_1_2_is_spoken_and_no_cipher_that_authenticates_nothing(files: Files) -> None:
    bound = bind("localhost", 0)
    port = bound.getsockname()[1]

    def old() -> ssl.SSLContext:
        context = files.trusting()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        return context

    def weak() -> ssl.SSLContext:
        context = files.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
        return context

    def plain() -> ssl.SSLContext:
        context = files.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    async with serving(app_of(FakeService()), bound, files.certificates().context()):
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context = old()
        for refused in (context, weak()):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(shown_at, port, refused)
        assert await asyncio.to_thread(shown_at, port, plain())


def encrypted(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    (
        (lambda files: files.cert.unlink(), r"tls\.crt can't be read: no such file"),
        (lambda files: files.key.unlink(), r"tls\.key can't be read: no such file"),
        (lambda files: files.cert.write_text("hello"), r"--tls-cert .*tls\.crt has no BEGIN CERTIFICATE in it"),
        (lambda files: files.key.write_text("hello"), r"--tls-key .*tls\.key has no PRIVATE KEY in it"),
        (lambda files: files.renew(cert=False), r"tls\.key is not the key of the certificate in --tls-cert"),
        (encrypted, "--tls-key is encrypted: give a key without a password"),
        (
            lambda files: files.cert.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "can't be used",
        ),
    ),
)
def test_files_that_can_t_be_used_are_said_with_the_remedy(
    files: Files, spoil: Callable[[Files], Any], sentence: str
) -> None:
    spoil(files)
    with pytest.raises(UsageError, match=sentence):
        files.certificates()


async def test_the_command_trusts_whom_it_is_told_to(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = bind("localhost", 0)
    address = f"localhost:{bound.getsockname()[1]}"
    secure = Client(Address(f"https://{address}", SECRETS["viewer"]))
    async with serving(app_of(FakeService()), bound, files.certificates().context()):
        with pytest.raises(NoController, match=r"its certificate is not trusted: .*--cacert FILE or ROLLOUT_CACERT"):
            await asyncio.to_thread(secure.runs)
        monkeypatch.setenv(CACERT, str(files.ca))
        assert await asyncio.to_thread(secure.runs) == []
        with pytest.raises(NoController, match=r"Hostname mismatch|not valid for '127.0.0.1'"):
            await asyncio.to_thread(Client(Address(f"https://127.0.0.1:{bound.getsockname()[1]}", "x")).runs)
        with pytest.raises(NoController, match="https:// is needed"):
            await asyncio.to_thread(Client(Address(f"http://{address}", "x")).runs)
        monkeypatch.delenv(CACERT)
        own = Client(Address(f"https://127.0.0.1:{bound.getsockname()[1]}", SECRETS["viewer"], 1, str(files.cert)))
        assert await asyncio.to_thread(own.runs) == []
        files.renew()  # the file has another one than the server shows
        with pytest.raises(NoController, match="not trusted"):
            await asyncio.to_thread(own.runs)


async def test_a_server_that_speaks_no_tls_is_told_from_one_that_does() -> None:
    bound = bind("localhost", 0)
    async with serving(app_of(FakeService()), bound):
        client = Client(Address(f"https://localhost:{bound.getsockname()[1]}", "x"))
        with pytest.raises(NoController, match="does not speak TLS; try http://"):
            await asyncio.to_thread(client.runs)


@pytest.mark.parametrize(("content", "sentence"), (("hello", "has no certificate in PEM"), (None, "can't be read")))
def test_authorities_that_are_none_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, sentence: str
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(CACERT, str(file))
    with pytest.raises(UsageError, match=sentence):
        Client(Address("https://localhost:1", "x"))


async def test_flagd_s_providers_are_shown_a_renewed_certificate_too(files: Files) -> None:
    async def answered(port: int, ca: bytes) -> bytes:
        credentials = grpc.ssl_channel_credentials(ca)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            call: Any = channel.unary_unary("/flagd.sync.v1.FlagSyncService/FetchAllFlags")
            answer: bytes = await call(b"", metadata=(("authorization", f"Bearer {SECRETS['viewer']}"),), timeout=20)
            return answer

    other = trustme.CA()
    service = cast(Service, FakeService())
    async with serving_flagd(service, "127.0.0.1", 0, TOKENS, certificate=files.certificates()) as port:
        assert await answered(port, files.ca.read_bytes())
        made = other.issue_cert("localhost")
        files.cert.write_bytes(made.cert_chain_pems[0].bytes())
        files.key.write_bytes(made.private_key_pem.bytes())
        files.seconds += LOOK_SECONDS
        assert await answered(port, other.cert_pem.bytes())
