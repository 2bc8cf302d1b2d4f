"""Messages to people. A webhook gets JSON, every other service what apprise makes of it.

The key lets a receiver drop what is sent a second time; the head says what the journal was then, so that it can't be
written anew behind the back of whoever keeps the message. With a secret of the channel's, the request is signed.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from orchestrator.adapters.apprise_sender import AppriseSender
from orchestrator.adapters.http import PUT_OFF, excerpt
from orchestrator.adapters.http_client import HttpClient, Reply, server_of
from orchestrator.adapters.services import job_of
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Clock, Scene
from orchestrator.signing import Signer
from stages.checks import HttpRequest
from stages.notify import Channel, Grafana, Heartbeat, Webhook
from stages.values import Json

LIMIT_SECONDS = 5.0
SIGNATURE = "X-Rollout-Signature"


class ChannelMessenger:
    """Signs each head where there is a *signer*. *address*: what links to runs begin with; empty: not known."""

    def __init__(
        self,
        client: HttpClient,
        clock: Clock,
        signer: Signer | None = None,
        address: str = "",
        apprise: AppriseSender | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._signer = signer
        self._address = address.rstrip("/")
        self._apprise = apprise or AppriseSender(client.secrets)

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        if channel.webhook is not None:
            await self._to_webhook(notice, channel.webhook, scene)
        elif channel.grafana is not None:
            await self._to_grafana(notice, channel.grafana, scene)
        else:
            await self._by_apprise(notice, channel, scene)

    # --- webhooks -------------------------------------------------------------------------------------------------

    async def _to_webhook(self, notice: Notice, webhook: Webhook, scene: Scene) -> None:
        secrets = self._client.secrets
        content = _content(self._body(notice, scene))
        headers = {"Idempotency-Key": f"{scene.run}/{notice.key}", "Content-Type": "application/json"}
        if webhook.secret is not None:
            headers[SIGNATURE] = signature(
                secrets.resolve(webhook.secret, scene.directory), int(self._clock.now()), content
            )
        request = HttpRequest(
            url=secrets.resolve(webhook.url, scene.directory),
            method="POST",
            headers=webhook.headers,
            timeout=LIMIT_SECONDS,
        )
        reply = await self._client.request(request, headers=headers, content=content, directory=scene.directory)
        self._judge(reply, f"the channel {notice.channel} at {server_of(request.url)}")

    async def _to_grafana(self, notice: Notice, grafana: Grafana, scene: Scene) -> None:
        """An annotation at the time at which it is sent. Sent twice it stands there twice: Grafana knows no keys."""
        secrets = self._client.secrets
        redact = secrets.redactor.redact
        body = {
            "time": int(self._clock.now() * 1000),
            "tags": ["staged-rollout", scene.run, notice.severity.value, *grafana.tags],
            "text": redact("\n".join(part for part in (notice.title, self.link(scene.run)) if part)),
        }
        url = f"{secrets.resolve(grafana.url, scene.directory).rstrip('/')}/api/annotations"
        request = HttpRequest(url=url, method="POST", bearer=grafana.token, timeout=LIMIT_SECONDS)
        headers = {"Content-Type": "application/json"}
        reply = await self._client.request(request, headers=headers, content=_content(body), directory=scene.directory)
        self._judge(reply, f"the channel {notice.channel} at {server_of(url)}")

    def _body(self, notice: Notice, scene: Scene) -> dict[str, str]:
        """``at`` is when it is sent, RFC 3339 in UTC."""
        redact = self._client.secrets.redactor.redact
        signed = {"signature": self._signer.sign(scene.run, scene.head)} if self._signer is not None else {}
        link = "" if scene.shown_by else self.link(scene.run)
        return {
            "title": redact(notice.title),
            "text": redact(notice.text),
            "severity": notice.severity.value,
            "run": scene.run,
            "key": notice.key,
            **({"subject": notice.subject} if notice.subject else {}),
            **({"link": link} if link else {}),
            "head": scene.head,
            **signed,
            "at": self._now(),
        }

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")

    def _judge(self, reply: Reply, named: str) -> None:
        if 200 <= reply.status < 300:
            return
        detail = f"{named} answered with {reply.status}{self._client.secrets.redactor.redact(excerpt(reply))}"
        if reply.status >= 500 or reply.status in PUT_OFF:
            raise Temporary(detail, reply.retry_after_seconds)
        raise Permanent(detail)

    # --- everything else ------------------------------------------------------------------------------------------

    async def _by_apprise(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        secrets = self._client.secrets
        shown = notice.model_copy(
            update={
                "title": secrets.redactor.redact(notice.title),
                "text": secrets.redactor.redact(self._text(notice, scene)),
            }
        )
        subject = f"{scene.run}/{notice.subject or notice.key}"
        job = job_of(
            channel,
            shown,
            subject,
            "" if scene.shown_by else self.link(scene.run),
            lambda value: secrets.resolve(value, scene.directory),
        )
        await self._apprise.send(job, f"the channel {notice.channel} ({channel.service})")

    def _text(self, notice: Notice, scene: Scene) -> str:
        """With where to look, and what ends the escalation."""
        if scene.shown_by:
            return f"{notice.text}\n\n{scene.shown_by}"
        run = scene.run
        lines = [notice.text, "", self.link(run) or f"rollout status {run}"]
        if notice.severity is not NoticeSeverity.NEWS:
            lines.append(f"rollout ack {run} --reason TEXT ends the escalation")
        return "\n".join(lines)

    def link(self, run: str) -> str:
        """To the run's page; empty if nobody knows where the controller is reached."""
        return f"{self._address}/runs/{quote(run, safe='')}" if self._address else ""

    # --- signs of life --------------------------------------------------------------------------------------------

    async def beat(self, heartbeat: Heartbeat, scene: Scene, *, ended: bool) -> None:
        url = heartbeat.ended if ended and heartbeat.ended is not None else heartbeat.url
        state = "ended" if ended else "looked_at"
        body = {"run": scene.run, "state": state, "every_seconds": f"{heartbeat.every:g}", "at": self._now()}
        request = HttpRequest(
            url=self._client.secrets.resolve(url, scene.directory),
            method="POST",
            headers=heartbeat.headers,
            timeout=LIMIT_SECONDS,
        )
        headers = {"Content-Type": "application/json"}
        reply = await self._client.request(request, headers=headers, content=_content(body), directory=scene.directory)
        self._judge(reply, f"notify.heartbeat at {server_of(request.url)}")


def signature(secret: str, at: int, content: bytes) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 of the seconds, a full stop and the body. The time is signed too, so that a
    receiver can refuse what somebody recorded."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + content, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _content(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
