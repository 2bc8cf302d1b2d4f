"""Messages through apprise: each in a process of its own (``apprise_child``), which asks here for every address.

What may be called is decided here, as for every request of a plan: by the allowance for the name and for each address
that it has. The process is killed when the time is over, and its environment has no proxies, no home and no secrets.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.adapters.addresses import Resolver, Unreachable
from orchestrator.adapters.http import PUT_OFF
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import ANYWHERE, refuse
from orchestrator.errors import Permanent, Temporary

LIMIT_SECONDS = 30.0
MOST_AT_ONCE = 4
MOST_LINE_BYTES = 64 * 1024
CHILD = Path(__file__).with_name("apprise_child.py")
_KEPT = ("LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_AGAIN_OF_MAIL = range(400, 500)  # SMTP's temporary answers are HTTP's permanent ones


@dataclass(frozen=True, slots=True)
class Job:
    """*plugin*: module and class below ``apprise.plugins``, with *arguments* or a *url* of the service's own; None:
    any, by apprise's own *url*."""

    title: str
    text: str
    kind: str  # info, success, warning, failure
    plugin: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    is_mail: bool = False


class AppriseSender:
    def __init__(
        self, secrets: Secrets, resolver: Resolver | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._allowance = secrets.allowance or ANYWHERE
        self._resolver = resolver or Resolver()
        self._environ = os.environ if environ is None else environ
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def send(self, job: Job, named: str) -> None:
        """*named* says in errors which channel it is. Raises ``Temporary`` or ``Permanent``, with nothing that is
        secret."""
        async with self._slots:
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    answer, refused = await self._talk(job)
            except TimeoutError:
                raise Temporary(f"{named} did not take the message within {LIMIT_SECONDS:g} s") from None
        _judge(answer, refused, job, named)

    async def _talk(self, job: Job) -> tuple[dict[str, Any], Temporary | Permanent | None]:
        """What the process said last, and why it may not call what it asked for, or could not."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-s", str(CHILD),
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=self._environment(), cwd="/", start_new_session=True,
            limit=MOST_LINE_BYTES,
        )  # fmt: skip
        try:
            return await self._answer(process, job)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answer(self, process: Process, job: Job) -> tuple[dict[str, Any], Temporary | Permanent | None]:
        assert process.stdout is not None
        refused: Temporary | Permanent | None = None
        await _say(
            process,
            title=job.title,
            text=job.text,
            type=job.kind,
            plugin=job.plugin,
            url=job.url,
            arguments=dict(job.arguments),
            path=sys.path,
            seconds=LIMIT_SECONDS,
            reads_files=self._allowance.is_free,
        )
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                line = b""
            said: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"sent": False, "crashed": "it ended"}
            if "ask" not in said:
                return said, refused
            try:
                await _say(process, addresses=await self._addresses(str(said["ask"]), int(said["port"])))
            except (Temporary, Permanent) as problem:
                refused = problem
                await _say(process, refused=True)

    async def _addresses(self, host: str, port: int) -> list[tuple[str, int]]:
        refuse(self._allowance.host(host))
        found = await self._resolver.resolve(host, port)
        for address in found:
            refuse(self._allowance.address(host, address))
        return [self.place(host, address, port) for address in found]

    def place(self, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> tuple[str, int]:
        """Where a service is connected to."""
        return str(address), port

    def _environment(self) -> dict[str, str]:
        kept = {name: self._environ[name] for name in _KEPT if name in self._environ}
        return {**kept, "PATH": os.defpath, "HOME": "/nonexistent", "NETRC": os.devnull}


async def _say(process: Process, **message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    with contextlib.suppress(ConnectionError):  # it has ended; what it said last tells more
        await process.stdin.drain()


def _judge(answer: dict[str, Any], refused: Temporary | Permanent | None, job: Job, named: str) -> None:
    if answer.get("sent"):
        return
    if isinstance(refused, Unreachable):
        raise Unreachable(f"{named} can't be reached: {refused}")
    if refused is not None:
        raise type(refused)(str(refused))
    if answer.get("unusable"):
        raise Permanent(f"{named} is not usable: what it is given is not of the form that the service has")
    if answer.get("untrusted"):
        raise Temporary(f"{named} can't be reached: its certificate is not accepted")
    status = answer.get("status")
    if isinstance(status, int):
        is_later = status in _AGAIN_OF_MAIL if job.is_mail else status >= 500 or status in PUT_OFF
        but = "" if status >= 300 else ", and did not take the message"
        raise (Temporary if is_later else Permanent)(f"{named} answered with {status}{but}")
    if crashed := answer.get("crashed"):
        raise Temporary(f"{named} could not be asked: {crashed}")
    raise Temporary(f"{named} can't be reached" if answer.get("unreachable") else f"{named} did not take the message")
