"""Where messages arrive: a mail server, and an HTTPS server that stands in for services whose hosts are fixed.

    async with Receivers() as receivers:
        sender = receivers.sender(secrets)       # apprise's own connections end here, whatever host they are meant for
        ... receivers.mails, receivers.calls ...

The HTTPS server shows a certificate for every host of ``HOSTS``, which the sender is told to trust.
"""

import asyncio
import contextlib
import email
import email.policy
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session

from orchestrator.adapters.addresses import Address, Resolver
from orchestrator.adapters.apprise_sender import AppriseSender
from orchestrator.adapters.secrets import Secrets
from tests.support.http_server import Received, ScriptedServer

FLOW = "flow.logic.azure.com"
HOSTS = ("hooks.slack.com", "slack.com", FLOW, "events.pagerduty.com", "events.eu.pagerduty.com", "api.opsgenie.com")


@dataclass(frozen=True, slots=True)
class Mail:
    sender: str
    to: tuple[str, ...]
    message: EmailMessage

    @property
    def text(self) -> str:
        return str(self.message.get_content())


class _Mailbox:
    def __init__(self, receivers: "Receivers") -> None:
        self._receivers = receivers

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self._receivers.mail_refusal is not None:
            return self._receivers.mail_refusal
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self._receivers.mails.append(Mail(str(envelope.mail_from), tuple(envelope.rcpt_tos), message))
        return "250 taken"


class _Nearby(Resolver):
    """Names of services lead to loopback."""

    async def resolve(self, host: str, port: int) -> list[Address]:
        return await super().resolve("127.0.0.1" if host in HOSTS else host, port)


class _Sender(AppriseSender):
    def __init__(self, secrets: Secrets, https_port: int, environ: Mapping[str, str]) -> None:
        super().__init__(secrets, _Nearby(), environ)
        self._https_port = https_port

    def place(self, host: str, address: Address, port: int) -> tuple[str, int]:
        return str(address), self._https_port if host in HOSTS else port


class Receivers:
    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.mail_refusal: str | None = None
        self.https = ScriptedServer()
        self.smtp_port = 0
        self._stack = contextlib.AsyncExitStack()
        self._trusted = Path()

    @property
    def calls(self) -> list[Received]:
        return self.https.requests

    def calls_of(self, host: str) -> list[Received]:
        return [one for one in self.calls if one.headers["host"].partition(":")[0] == host]

    def sender(self, secrets: Secrets, **environ: str) -> AppriseSender:
        return _Sender(secrets, self.https.port, {"REQUESTS_CA_BUNDLE": str(self._trusted), **environ})

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        authority = trustme.CA()
        self._trusted = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self._trusted))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*HOSTS).configure_cert(context)
        self.https = await self._stack.enter_async_context(ScriptedServer(context))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._smtp, "127.0.0.1", 0)
        self.smtp_port = server.sockets[0].getsockname()[1]
        self._stack.callback(server.close)
        return self

    def _smtp(self) -> Any:
        return SMTP(_Mailbox(self), hostname="mail.example", loop=asyncio.get_running_loop())

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
